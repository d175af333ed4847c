"""One bad record costs itself: its neighbours are rows, it is a dead letter with its place, and the stream
continues.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_project import millstream

STREAMS = """
import datetime as dt

import millstream as ms


class Order(ms.Event):
    id: str
    n: int | None = None
    x: float | None = None
    d: dt.date | None = None
    seen: dt.datetime | None = None
    tags: list[str] | None = None
    nums: list[int] | None = None
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="id")
ms.source(orders, ms.read.files("data/*"))
"""
TS = "2026-01-01T00:00:00Z"
POISON = {
    "number too big": '{"id":"b","x":1e400,"ts":"%s"}',
    "integer of 5,000 digits": '{"id":"b","n":' + "9" * 5_000 + ',"ts":"%s"}',
    "100,000 levels": '{"id":"b","n":' + "[" * 100_000 + "]" * 100_000 + ',"ts":"%s"}',
    "half an emoji": '{"id":"b","tags":["\\ud800"],"ts":"%s"}',
    "half an emoji as the id": '{"id":"\\ud83d","ts":"%s"}',
    "a list value out of range": '{"id":"b","nums":[9223372036854775808],"ts":"%s"}',
    "a date before the year 1": '{"id":"b","d":"0000-01-01","ts":"%s"}',
    "a time of the year 0": '{"id":"b","seen":"0000-01-01T00:00:00Z","ts":"%s"}',
    "a null in a list": '{"id":"b","nums":[1,null],"ts":"%s"}',
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "poison"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    return tmp_path


def outcome(project: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Ids of the rows, and (place, reason) of the dead letters; after a run that is well and a proof."""
    said = millstream(project, "ingest")
    assert said.code == 0, said
    rows = [
        row["id"]
        for row in millstream(project, "sql", "select id from orders order by 1", "--json", "--limit", "0").json
    ]
    proven = millstream(project, "verify", "--json").json[0]
    assert proven["ok"] and proven["rows"] == len(rows), proven
    if not proven["dead"]:
        return rows, []
    letters = millstream(
        project, "sql", "select origin, error from orders__dead order by 1", "--json", "--limit", "0"
    ).json
    return rows, [(letter["origin"], letter["error"]) for letter in letters]


@pytest.mark.parametrize("kind", POISON)
def test_a_record_of_json_lines(project: Path, kind: str) -> None:
    lines = [f'{{"id":"a","x":1.5,"ts":"{TS}"}}', POISON[kind] % TS, f'{{"id":"c","x":2.5,"ts":"{TS}"}}']
    (project / "data" / "some.jsonl").write_text("\n".join(lines) + "\n")
    rows, letters = outcome(project)
    assert rows == ["a", "c"] and [place for place, _ in letters] == ["data/some.jsonl:2"] and letters[0][1]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("d", "0000-01-01"),
        ("d", "12026-01-01"),
        ("nums", "[9223372036854775808]"),
        ("tags", '"[""\\ud800""]"'),
        ("x", "1e400"),
        ("n", "9" * 5_000),
        ("seen", "0000-01-01T00:00:00Z"),
        ("nums", "[" * 50_000),
    ],
)
def test_a_record_of_csv(project: Path, column: str, value: str) -> None:
    (project / "data" / "some.csv").write_text(f"id,{column},ts\na,,{TS}\nb,{value},{TS}\nc,,{TS}\n")
    rows, letters = outcome(project)
    assert rows == ["a", "c"] and [place for place, _ in letters] == ["data/some.csv:3"]


def test_dates_of_parquet_that_are_no_dates_of_python(project: Path) -> None:
    days = pa.array([20_000, -800_000, 3_000_000, 20_002], pa.int32()).cast(pa.date32())
    stamps = pa.array([1_767_225_600_000_000] * 4, pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"id": ["a", "b", "c", "e"], "d": days, "ts": stamps}), project / "data" / "some.parquet")
    rows, letters = outcome(project)
    assert rows == ["a", "e"] and len(letters) == 2 and all("outside the years 1 to 9999" in why for _, why in letters)
    assert [place for place, _ in letters] == ["data/some.parquet:2", "data/some.parquet:3"]


def test_two_fields_that_differ_by_case(project: Path) -> None:
    (project / "streams.py").write_text(
        STREAMS.replace("    n: int | None = None\n", "    n: int | None = None\n    N: int | None = None\n")
    )
    said = millstream(project, "check")
    assert said.code == 2 and "E112" in said.err + said.out and "letter case" in said.err + said.out


def test_a_field_renamed_by_case(project: Path) -> None:
    """Refused before anything goes into the log; taken back, the stream continues."""
    (project / "data" / "1.csv").write_text(f"id,x,ts\na,1,{TS}\n")
    assert outcome(project) == (["a"], [])
    (project / "streams.py").write_text(STREAMS.replace("    x: float", "    X: float"))
    (project / "data" / "2.csv").write_text(f"id,X,ts\nb,2,{TS}\n")
    said = millstream(project, "ingest")
    assert said.code != 0 and "letter case" in said.err and "Traceback" not in said.err
    (project / "streams.py").write_text(STREAMS)
    (project / "data" / "2.csv").write_text(f"id,x,ts\nb,2,{TS}\n")
    assert outcome(project)[0] == ["a", "b"]


def test_a_date_that_is_in_the_log_already(project: Path) -> None:
    """From a door that knew no better: one dead letter, and the stream continues."""
    from millstream.log.envelope import split_appends, topic_of
    from millstream.run.workspace import Workspace

    with Workspace.open(str(project)) as ws:
        stream = ws.project.streams["orders"]
        binding = topic_of(ws.log, ws.schemas, stream)
        made: dict[str, Any] = {f.name: pa.nulls(3, f.type) for f in stream.schema.arrow()}
        made["id"], made["ts"] = (
            pa.array(["a", "b", "c"]),
            pa.array([date(2026, 1, 1)] * 3).cast(pa.timestamp("us", tz="UTC")),
        )
        made["d"] = pa.array([20_000, -800_000, None], pa.int32()).cast(pa.date32())
        ws.log.append(split_appends(binding, pa.record_batch({**made, "_event_id": pa.array(["1", "2", "3"])})))
    (project / "data" / "1.csv").write_text(f"id,x,ts\nd,1,{TS}\n")
    rows, letters = outcome(project)
    assert rows == ["a", "c", "d"] and len(letters) == 1 and "outside the years 1 to 9999" in letters[0][1]
