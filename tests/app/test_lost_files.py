"""A data file of a stream's table that is gone: it is cut back only as far as the log fills it again, and what is filled again is proven."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from cli_project import millstream

STREAMS = """
import millstream as ms


class Order(ms.Event):
    order_id: str
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="order_id", dedupe="order_id", partitions=1)
ms.source(orders, ms.read.files("data/*"))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three commits of ten rows, the second of which loses its file."""
    (tmp_path / "data").mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "lost"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    for n in range(3):
        send(tmp_path, 10 * n)
        assert millstream(tmp_path, "ingest").code == 0
    return tmp_path


def send(project: Path, first: int) -> None:
    lines = "".join(f"o{n},2026-01-01T00:{n % 60:02d}:00Z\n" for n in range(first, first + 10))
    (project / "data" / f"{first:03d}.csv").write_text("order_id,ts\n" + lines)


def lose(project: Path) -> Path:
    """The file of the second commit."""
    second = sorted((project / ".millstream" / "lake" / "orders").glob("*.parquet"))[1]
    return second.rename(project / "kept.parquet")


def forget(project: Path, below: int) -> None:
    """Retention has removed what the lake has."""
    with sqlite3.connect(project / ".millstream" / "log.db") as con:
        con.execute("delete from batch where end <= ?", (below,))
        con.execute("update part set low = ?", (below,))
    con.close()


def rows(project: Path) -> int:
    return int(millstream(project, "sql", "select count(*) as n from orders", "--json").json[0]["n"])


def test_what_the_log_has_comes_back_and_is_proven(project: Path) -> None:
    """With a lineage that knew the commits that went."""
    from millstream.lake.lineage import fold
    from millstream.run.workspace import Workspace

    ws = Workspace.open(str(project))
    fold(ws.lake, ws.lake.table("orders"))
    ws.close()
    lose(project)
    assert "cut off" in millstream(project, "doctor", "--fix").out
    assert millstream(project, "ingest").code == 0
    assert rows(project) == 30
    assert millstream(project, "verify").code == 0, millstream(project, "verify").err


def test_nothing_is_cut_that_the_log_no_longer_has(project: Path) -> None:
    forget(project, 20)
    file = lose(project)
    for verb in ((), ("--fix",)):
        assert millstream(project, "doctor", *verb).code == 3
    refused = millstream(project, "doctor", "--fix", "--json").json
    (found,) = [row for row in refused if row["what"] == "table orders"]
    assert "partition 0: [10, 20)" in found["found"] and "Put what is missing back" in found["found"] and "--accept-loss orders" in found["found"]
    file.rename(project / ".millstream" / "lake" / "orders" / _name(project))
    assert millstream(project, "doctor").code == 0 and rows(project) == 30 and millstream(project, "verify").code == 0


def _name(project: Path) -> str:
    """As the commit calls it."""
    said = millstream(project, "doctor", "--json").json
    (found,) = [row["found"] for row in said if row["what"] == "table orders"]
    return str(found).partition("data file ")[2].partition(" of commit")[0]


def test_without_a_copy_the_records_are_given_up_by_name(project: Path) -> None:
    forget(project, 20)
    lose(project)
    assert millstream(project, "doctor", "--accept-loss", "orders").code == 2
    assert millstream(project, "doctor", "--fix", "--accept-loss", "ordres").code == 2
    done = millstream(project, "doctor", "--fix", "--accept-loss", "orders", "--json").json
    (found,) = [row for row in done if row["what"] == "table orders"]
    assert found["status"] == "fixed" and "given up" in found["found"] and "[10, 20)" in found["found"]
    assert millstream(project, "ingest").code == 0
    assert rows(project) == 20
    proven = millstream(project, "verify")
    assert proven.code == 0 and "offsets [10, 20) were given up" in proven.err


def test_doctor_names_a_stream_that_cannot_go_on(project: Path) -> None:
    send(project, 30)
    assert millstream(project, "ingest", "--no-sink").code == 0
    with sqlite3.connect(project / ".millstream" / "log.db") as con:
        con.execute("update batch set data = zeroblob(length(data)) where start = 30")
    con.close()
    assert millstream(project, "ingest").code == 1
    said = {row["what"]: row for row in millstream(project, "doctor", "--json").json}
    assert said["stream orders"]["status"] == "bad" and "--accept-loss orders" in said["stream orders"]["found"]
    assert millstream(project, "ingest", "--accept-loss", "orders").code == 0
    assert millstream(project, "doctor").code == 0
