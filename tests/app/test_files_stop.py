"""A file that stops, end to end: every verb says it, its neighbours land, and the streams of other files are made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_project import millstream

STREAMS = '''"""What the project declares."""
import datetime as dt

import millstream as ms


class Order(ms.Event):
    id: str
    n: int | None = None
    seen: dt.datetime | None = None
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="id")
ms.source(orders, ms.read.files("data/*"))
'''
HEADER = "id,n,ts\n"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "data").mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "files"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    yield tmp_path


def ids(project: Path) -> list[str]:
    said = millstream(project, "sql", "select id from orders order by id", "--json", "--limit", "0")
    return [row["id"] for row in said.json]


def test_a_replaced_file_is_said_by_every_verb(project: Path) -> None:
    (project / "data/today.csv").write_text(HEADER + "a,1,2026-01-01T00:00:00Z\nb,2,2026-01-01T00:00:00Z\n")
    assert millstream(project, "ingest").code == 0
    (project / "data/today.csv").write_text(HEADER + "x,7,2026-01-02T00:00:00Z\ny,8,2026-01-02T00:00:00Z\n")
    (project / "data/other.csv").write_text(HEADER + "c,3,2026-01-03T00:00:00Z\n")
    for verb in ("ingest", "run"):
        said = millstream(project, verb, "--json")
        (sources,) = [step for step in said.json if step["name"] == "sources"]
        assert (
            said.code == 1
            and sources["status"] == "failed"
            and "data/today.csv was replaced after it had been read" in sources["error"]
        )
        assert ids(project) == ["a", "b", "c"], "the neighbour has landed"
    (planned,) = [asset for asset in millstream(project, "plan", "--json").json["assets"] if asset["stale"]]
    assert planned["name"] == "sources" and "data/today.csv was replaced" in planned["reasons"][0]
    said = millstream(project, "doctor", "--json")
    (bad,) = [finding for finding in said.json if finding["status"] == "bad"]
    assert (
        said.code == 3
        and bad["what"] == "file data/today.csv"
        and "give the new contents another file name" in bad["found"]
    )
    (project / "data/today.csv").rename(project / "data/tomorrow.csv")
    assert millstream(project, "ingest").code == 0 and ids(project) == ["a", "b", "c", "x", "y"]
    assert millstream(project, "ingest", "--json").json[0]["status"] == "skipped"


def test_a_file_of_carriage_returns_is_read_and_one_without_a_good_record_is_loud(project: Path) -> None:
    (project / "data/mac.csv").write_bytes(b"id,n,ts\rp,1,2026-01-01T00:00:00Z\rq,2,2026-01-01T00:00:00Z\r")
    assert millstream(project, "ingest").code == 0 and ids(project) == ["p", "q"]
    (project / "data/wrong.csv").write_text("id,n,ts\nz,much,2026-01-01T00:00:00Z\n")
    said = millstream(project, "ingest")
    told = " ".join(said.err.split())
    assert (
        said.code == 1
        and "no record of data/wrong.csv is good: its only one is a dead letter: data/wrong.csv:2" in told
    )
    assert "write the corrected records to a new file, since these have been read" in told
    assert millstream(project, "ingest").code == 0, "it was said, and the dead letter is there"


def stale(project: Path) -> dict[str, list[str]]:
    return {
        asset["name"]: asset["reasons"]
        for asset in millstream(project, "plan", "--json").json["assets"]
        if asset["stale"]
    }


def source_findings(project: Path) -> list[tuple[str, str]]:
    return [
        (one["status"], one["found"])
        for one in millstream(project, "doctor", "--json").json
        if one["what"].startswith(("source", "file"))
    ]


def test_files_without_a_record_are_said_once_and_keep_nothing_stale(project: Path) -> None:
    (project / "data/head.csv").write_text(HEADER)
    for n in range(3):
        (project / f"data/none-{n}.csv").write_bytes(b"")
    assert stale(project) == {
        "sources": ["8 B of files to read; 3 new empty files"],
        "orders": ["it has no table yet", "sources will be made again"],
    }
    said = millstream(project, "ingest", "--json")
    assert (
        said.code == 0
        and said.json[0]["note"] == "no record in data/head.csv, data/none-0.csv, data/none-1.csv and 1 more"
    )
    assert stale(project) == {} and [step["status"] for step in millstream(project, "run", "--json").json] == [
        "skipped",
        "skipped",
    ]
    assert source_findings(project) == [
        ("ok", "no record in data/head.csv, data/none-0.csv, data/none-1.csv and 1 more")
    ]
    with (project / "data/head.csv").open("a") as file:
        file.write("a,1,2026-01-01T00:00:00Z\n")
    assert stale(project) == {"sources": ["33 B of files to read"], "orders": ["sources will be made again"]}
    assert millstream(project, "ingest").code == 0 and ids(project) == ["a"]
    assert source_findings(project) == [
        ("ok", "1 file read to the end, no record in data/none-0.csv, data/none-1.csv, data/none-2.csv")
    ]


def test_a_file_that_cannot_be_read_is_said_by_plan_and_doctor_too(project: Path) -> None:
    (project / "data/good.csv").write_text(HEADER + "a,1,2026-01-01T00:00:00Z\n")
    (project / "data/sheet.csv").write_bytes(b"PK\x03\x04" + b"x" * 100 + b"\n")
    why = "data/sheet.csv: it is a ZIP archive or a spreadsheet; unpack it, or save it as text"
    assert stale(project)["sources"] == [f"33 B of files to read; {why}"]
    assert source_findings(project) == [("bad", why), ("ok", "1 file with 33 B to read")]
    for verb in ("ingest", "run"):
        said = millstream(project, verb)
        assert said.code == 1 and why in " ".join(said.err.split()) and ids(project) == ["a"]
    assert stale(project) == {"sources": [why]}, "it brings nothing new to the stream"
    (project / "data/sheet.csv").write_text(HEADER + "b,1,2026-01-01T00:00:00Z\n")
    assert millstream(project, "ingest").code == 0 and ids(project) == ["a", "b"] and stale(project) == {}


def test_a_sharded_history_is_not_late(project: Path) -> None:
    """Files of the same hours are read side by side."""
    for shard in range(5):
        lines = "".join(f"s{shard}-{n},{n},2026-01-01T{n // 60:02}:{n % 60:02}:00Z\n" for n in range(600))
        (project / f"data/{shard}.csv").write_text(HEADER + lines)
    assert millstream(project, "run").code == 0
    assert millstream(
        project, "sql", "select count(*) as n, count(*) filter (_late) as late from orders", "--json"
    ).json == [{"n": 3000, "late": 0}]


def test_times_of_int96_keep_their_century(project: Path) -> None:
    years = [9999, 1600, 2026]
    moments = pa.array([f"{year}-12-31T00:00:00" for year in years]).cast(pa.timestamp("us"))
    table = pa.table({"id": ["a", "b", "c"], "seen": moments, "ts": ["2026-01-01T00:00:00Z"] * 3})
    pq.write_table(table, project / "data/spark.parquet", use_deprecated_int96_timestamps=True)
    assert millstream(project, "ingest").code == 0
    said = millstream(project, "sql", "select id, year(seen) as year from orders order by id", "--json")
    assert [row["year"] for row in said.json] == years
