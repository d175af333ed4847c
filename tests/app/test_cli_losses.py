"""A stream that cannot continue says its way on, and the way works: records that are gone, a damaged batch, one record
set aside.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from cli_project import millstream

STREAMS = """
import millstream as ms


class Order(ms.Event):
    order_id: str
    amount: float
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="order_id", dedupe="order_id", partitions=1, retention="1h")
returns = ms.stream("returns", Order, key="order_id", partitions=1)
ms.source(orders, ms.read.files("data/orders*"))
ms.source(returns, ms.read.files("data/returns*"))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "losses"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    for name in ("orders", "returns"):
        send(tmp_path, name, 0, 10)
    return tmp_path


def send(project: Path, name: str, first: int, many: int) -> None:
    lines = "".join(f"o{n},{n},2026-01-01T00:{n:02d}:00Z\n" for n in range(first, first + many))
    (project / "data" / f"{name}-{first}.csv").write_text("order_id,amount,ts\n" + lines)


def log(project: Path, *statements: str) -> None:
    with sqlite3.connect(project / ".millstream" / "log.db") as con:
        for statement in statements:
            con.execute(statement)
    con.close()


def stream(project: Path, name: str = "orders") -> dict[str, Any]:
    return next(dict(row) for row in millstream(project, "show", "streams", "--json").json if row["stream"] == name)


TOPIC = "(select id from topic where name = 'orders')"


def test_records_that_left_the_log_are_given_up_once(project: Path) -> None:
    assert millstream(project, "ingest").code == 0
    send(project, "orders", 10, 5)
    send(project, "returns", 10, 5)
    assert millstream(project, "ingest", "--no-sink").code == 0
    log(project, f"delete from batch where topic = {TOPIC}", f"update part set low = 15 where topic = {TOPIC}")
    stuck = millstream(project, "ingest")
    assert (
        stuck.code == 1
        and "records [10, 15) left the log before they were written" in stuck.err
        and "--accept-loss orders" in stuck.err
    )
    assert stream(project, "returns")["in the lake"] == 15, "its neighbour continues"
    assert "offsets [10, 15)" in stream(project)["stuck"] and stream(project)["given up"] == 0
    assert millstream(project, "verify", "orders").code == 1
    assert millstream(project, "ingest", "--accept-loss", "orers").code == 2
    gone = millstream(project, "ingest", "--accept-loss", "orders")
    assert gone.code == 0 and "given up orders partition 0, offsets [10, 15)" in gone.err
    assert "nothing was accepted" in millstream(project, "ingest", "--accept-loss", "orders").err
    send(project, "orders", 20, 2)
    assert millstream(project, "ingest").code == 0
    shown = stream(project)
    assert (shown["in the lake"], shown["given up"], shown["stuck"]) == (12, 5, "")
    proven = millstream(project, "verify")
    assert proven.code == 0 and "offsets [10, 15) were given up" in proven.err


def test_a_damaged_batch_is_passed_over(project: Path) -> None:
    assert millstream(project, "ingest", "--no-sink").code == 0
    send(project, "orders", 20, 5)
    assert millstream(project, "ingest", "--no-sink").code == 0
    log(project, f"update batch set data = zeroblob(length(data)) where topic = {TOPIC} and start = 0")
    stuck = millstream(project, "ingest")
    assert stuck.code == 1 and "--accept-loss orders" in stuck.err and "offsets [0, 10)" in stuck.err
    assert millstream(project, "run", "--accept-loss", "orders").code == 0
    found = next(r for r in millstream(project, "verify", "--json").json if r["stream"] == "orders")
    assert (
        found["ok"]
        and found["rows"] == 5
        and found["gaps"] == [{"partition": 0, "start": 0, "end": 10, "recorded": True, "version": 1}]
    )


def test_a_record_is_set_aside(project: Path) -> None:
    assert millstream(project, "ingest", "--no-sink").code == 0
    for wrong, why in (("orders", "7"), ("orders", "0:99"), ("nothing", "0:1"), ("orders", "4:1")):
        assert millstream(project, "dead", "set", wrong, why).code == 2
    aside = millstream(project, "dead", "set", "orders", "0:7")
    assert aside.code == 0 and "set aside record 0:7 of orders" in aside.err
    assert millstream(project, "ingest").code == 0
    found = next(r for r in millstream(project, "verify", "--json").json if r["stream"] == "orders")
    assert (found["ok"], found["rows"], found["dead"], found["recomputed"]) == (True, 9, 1, 10)
    letters = millstream(project, "sql", "select _offset, error, decode(raw) as raw from orders__dead", "--json").json
    assert [(r["_offset"], r["error"]) for r in letters] == [(7, "set aside by an operator")] and '"o7"' in letters[0][
        "raw"
    ]
    late = millstream(project, "dead", "set", "orders", "0:3")
    assert late.code == 2 and "has come to 0:10" in late.err


def test_verify_says_what_is_broken(project: Path) -> None:
    assert millstream(project, "ingest").code == 0
    (file,) = (project / ".millstream" / "lake" / "orders").glob("*.parquet")
    whole = file.read_bytes()
    middle = len(whole) // 3
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :])
    deep = millstream(project, "verify", "orders", "--deep")
    assert deep.code == 1 and "bits have changed since it was written" in deep.err and file.name in deep.err
    file.write_bytes(whole[:-9])
    torn = millstream(project, "verify", "orders")
    assert torn.code == 1 and f"it has {len(whole) - 9} bytes, and its commit says {len(whole)}" in torn.err
    file.unlink()
    missing = millstream(project, "verify", "orders")
    assert missing.code == 1 and "is missing" in missing.err and "Traceback" not in missing.err
    file.write_bytes(whole)
    assert millstream(project, "verify", "orders", "--deep").code == 0
