"""What a file's record is told when its local time is not a moment, or when a name is there in another letter case: in
each format, and its neighbours land.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import millstream as ms
from millstream.base.errors import Corrupt
from millstream.engines.files.columnar import ColumnFile
from millstream.engines.files.position import Position
from millstream.engines.files.text import TextFile
from millstream.lake.judge import judge
from millstream.log.schemas import reads

BERLIN = "Europe/Berlin"
TWICE, NEVER, PLAIN = datetime(2026, 10, 25, 2, 30), datetime(2026, 3, 29, 2, 30), datetime(2026, 6, 1, 12)
OCCURS = (
    ", a local time that occurs twice in Europe/Berlin, since the clock is set back; write it with an offset, or in UTC"
)
MISSES = (
    ", a local time that does not exist in Europe/Berlin, since the clock is set forward; write it with an offset, or"
    " in UTC"
)


class Reading(ms.Event):
    meter: str
    kwh: float | None = None
    room: str = "hall"
    ts: ms.EventTime


Made = Callable[[Path, Sequence[dict[str, Any]]], Any]


def csv_of(folder: Path, rows: Sequence[dict[str, Any]], zone: str = BERLIN) -> TextFile:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    (folder / "r.csv").write_text("\n".join(lines) + "\n")
    return TextFile(folder / "r.csv", "r.csv", "csv", None, Reading.__schema__, zone, 1 << 20)


def jsonl_of(folder: Path, rows: Sequence[dict[str, Any]], zone: str = BERLIN) -> TextFile:
    (folder / "r.jsonl").write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
    return TextFile(folder / "r.jsonl", "r.jsonl", "jsonl", None, Reading.__schema__, zone, 1 << 20)


def parquet_of(folder: Path, rows: Sequence[dict[str, Any]], zone: str = BERLIN) -> ColumnFile:
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "r.parquet")
    return ColumnFile(folder / "r.parquet", "r.parquet", "parquet", None, Reading.__schema__, zone)


def avro_of(folder: Path, rows: Sequence[dict[str, Any]], zone: str = BERLIN) -> ColumnFile:
    kinds = {str: "string", float: "double", datetime: {"type": "long", "logicalType": "local-timestamp-micros"}}
    fields = [{"name": name, "type": kinds[type(value)]} for name, value in rows[0].items()]
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema({"type": "record", "name": "r", "fields": fields}), rows)
    (folder / "r.avro").write_bytes(out.getvalue())
    return ColumnFile(folder / "r.avro", "r.avro", "avro", None, Reading.__schema__, zone)


FORMATS: list[Any] = [csv_of, jsonl_of, parquet_of, avro_of]


def read(file: Any) -> tuple[list[dict[str, Any]], list[str]]:
    rows, errors = list[dict[str, Any]](), list[str]()
    for batch in file.read(Position(), 1_000):
        rows += batch.rows.to_pylist()
        errors += batch.bad.column("error").to_pylist()
    return rows, errors


@pytest.mark.parametrize("made", FORMATS)
def test_a_local_time_that_is_no_moment_is_dead_and_says_why(tmp_path: Path, made: Made) -> None:
    rows, errors = read(
        made(
            tmp_path,
            [{"meter": f"m{at}", "kwh": 1.5, "ts": ts} for at, ts in enumerate((PLAIN, TWICE, PLAIN, NEVER, PLAIN))],
        )
    )
    assert [row["meter"] for row in rows] == ["m0", "m2", "m4"]
    assert {row["ts"] for row in rows} == {datetime(2026, 6, 1, 10, tzinfo=UTC)}
    assert (
        len(errors) == 2
        and str(TWICE) in errors[0]
        and errors[0].endswith(OCCURS)
        and str(NEVER) in errors[1]
        and errors[1].endswith(MISSES)
    )


def test_the_hours_around_the_doubled_one_are_moments(tmp_path: Path) -> None:
    """The doubled hour is [02:00, 03:00), the skipped one too."""
    sent = [
        "2026-10-25 01:59:59.999999",
        "2026-10-25 02:00",
        "2026-10-25 02:59:59.999999",
        "2026-10-25 03:00",
        "2026-03-29 01:59:59.999999",
        "2026-03-29 02:00",
        "2026-03-29 03:00",
    ]
    rows, errors = read(csv_of(tmp_path, [{"meter": f"m{at}", "ts": ts} for at, ts in enumerate(sent)]))
    assert [row["meter"] for row in rows] == ["m0", "m3", "m4", "m6"] and [
        error.split(", ", 1)[1] for error in errors
    ] == [OCCURS[2:], OCCURS[2:], MISSES[2:]]


def test_with_an_offset_both_hours_land(tmp_path: Path) -> None:
    sent = ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25 00:30:00Z", "2026-10-25 04:00"]
    for made in (csv_of, jsonl_of):
        rows, errors = read(made(tmp_path, [{"meter": "m", "ts": ts} for ts in sent]))
        assert not errors and [row["ts"].hour * 60 + row["ts"].minute for row in rows] == [30, 90, 30, 180]


def test_a_date_whose_midnight_comes_twice_says_so(tmp_path: Path) -> None:
    """A date in a field of a time is its midnight: in Havana the clock is set back over it."""
    file = parquet_of(tmp_path, [{"meter": "m", "ts": date(2026, 11, 1)}], "America/Havana")
    assert read(file) == (
        [],
        [
            'r.parquet:1: column "ts" is 2026-11-01 (date), a local time that occurs twice in America/Havana, since the'
            " clock is set back; write it with an offset, or in UTC"
        ],
    )


def refused(file: Any) -> tuple[list[dict[str, Any]], str]:
    """What is said of a file, or of its last object, that has a name in another case."""
    try:
        rows, errors = read(file)
    except Corrupt as error:
        return [], str(error)
    return rows, errors[-1]


@pytest.mark.parametrize("made", FORMATS)
def test_a_name_in_another_case_is_told(tmp_path: Path, made: Made) -> None:
    rows, error = refused(made(tmp_path, [{"METER": "m", "kwh": 1.0, "ts": PLAIN}]))
    assert not rows and '"meter" is missing' in error and '"METER"' in error and "names are case-sensitive" in error


def test_one_object_in_another_case_among_others(tmp_path: Path) -> None:
    rows, errors = read(
        jsonl_of(
            tmp_path,
            [
                {"meter": "a", "ts": PLAIN},
                {"Meter": "b", "ts": PLAIN},
                {"meter": None, "METER": "c", "ts": PLAIN},
                {"ts": PLAIN},
            ],
        )
    )
    assert [row["meter"] for row in rows] == ["a"]
    assert errors == [
        'r.jsonl:2: field "meter" is missing: "Meter" is there, and names are case-sensitive; rename it to "meter"',
        'r.jsonl:3: field "meter" is empty and the field is required; it takes text in UTF-8',
        'r.jsonl:4: field "meter" is empty and the field is required; it takes text in UTF-8',
    ]


def test_a_header_all_in_another_case(tmp_path: Path) -> None:
    with pytest.raises(Corrupt) as error:
        read(csv_of(tmp_path, [{"METER": "m", "KWH": 1.0, "TS": PLAIN}]))
    assert (
        str(error.value)
        == 'r.csv:1: the columns do not fit Reading: "meter" is missing (rename "METER" to it, since names are'
        ' case-sensitive), "kwh" is missing (rename "KWH" to it, since names are case-sensitive), "ts" is missing'
        ' (rename "TS" to it, since names are case-sensitive); nothing of the file was read, so correct its columns'
        " where it is"
    )


@pytest.mark.parametrize("made", [csv_of, parquet_of, avro_of])
def test_all_that_is_wrong_with_the_columns_is_told_at_once_and_before_anything_is_read(
    tmp_path: Path, made: Made
) -> None:
    """It was one dead letter a record, of the first column alone; then the corrected file had to have another name."""
    with pytest.raises(Corrupt) as error:
        read(made(tmp_path, [{"metre": "m", "kwh": 1.0, "when": PLAIN, "colour": "red"}]))
    assert (
        str(error.value).partition(": ")[2]
        == 'the columns do not fit Reading: "meter" is missing (rename "metre" to it), "ts" is missing (add it as a'
        ' time in ISO 8601, e.g. 2013-11-01T12:00:00Z); beside them there are "when", "colour", which Reading does'
        " not have; nothing of the file was read, so correct its columns where it is"
    )


@pytest.mark.parametrize("name", ["kwh", "room"])
@pytest.mark.parametrize("made", FORMATS)
def test_an_optional_field_in_another_case_is_told(tmp_path: Path, made: Made, name: str) -> None:
    """Left out as any other key, its values would be NULL, or the default, and nobody would know."""
    value = 1.0 if name == "kwh" else "hall"
    rows, error = refused(made(tmp_path, [{"meter": "m", name.upper(): value, "ts": PLAIN}] * 2))
    assert (
        not rows
        and f'"{name}" is missing' in error
        and f'"{name.upper()}"' in error
        and "names are case-sensitive" in error
    )


@pytest.mark.parametrize("made", FORMATS)
def test_a_field_that_is_there_has_namesakes_beside_it(tmp_path: Path, made: Made) -> None:
    """Nothing is lost: they are what the class does not have."""
    rows, errors = read(
        made(tmp_path, [{"meter": "m", "kwh": 1.0, "KWH": 2.0, "Room": "x", "room": "hall", "ts": PLAIN}])
    )
    assert not errors and [(row["kwh"], row["room"]) for row in rows] == [(1.0, "hall")]


def test_one_object_with_an_optional_key_in_another_case_among_others(tmp_path: Path) -> None:
    """Texts that look like keys are none; nor does a null make a namesake the field."""
    told: list[dict[str, Any]] = [
        {"meter": "KWH", "ts": PLAIN},
        {"meter": "b", "Kwh": 2.0, "ts": PLAIN},
        {"meter": "c", "kwh": None, "KWH": 3.0, "ts": PLAIN},
        {"meter": "d", "kwh": 4.0, "ts": PLAIN},
        {"meter": "e", "kwh": "x", "ts": PLAIN},
        {"meter": "f", "KWH": 5.0, "ts": PLAIN},
    ]
    rows, errors = read(jsonl_of(tmp_path, told))
    assert [(row["meter"], row["kwh"]) for row in rows] == [("KWH", None), ("c", None), ("d", 4.0)]
    assert (
        [error.split(":")[1] for error in errors] == ["2", "5", "6"]
        and '"Kwh" is there' in errors[0]
        and '"KWH" is there' in errors[2]
    )


@pytest.mark.parametrize("stranger", [{}, {"other": 1}], ids=["no other key", "another key first"])
def test_a_key_in_another_case_far_into_a_file(tmp_path: Path, stranger: dict[str, Any]) -> None:
    """After batches in which every key was a field, or some was none."""
    told = [
        {"meter": f"m{n}", "ts": PLAIN} | ({"KWH": 1.0} if n == 2_500 else {}) | (stranger if n == 0 else {})
        for n in range(3_000)
    ]
    rows, errors = read(jsonl_of(tmp_path, told))
    assert len(rows) == 2_999 and [error.split(":")[1] for error in errors] == ["2501"]


def test_a_topic_in_another_case_is_told() -> None:
    """Under its writer's schema, which is compared first, and record by record where it was taken."""
    said = list(
        reads(
            {"type": "record", "name": "r", "fields": [{"name": "meter", "type": "string"}]},
            {"type": "record", "name": "r", "fields": [{"name": "METER", "type": "string"}]},
        )
    )
    assert said == ['meter is missing there and has no default ("METER" is there, and names are case-sensitive)']
    ts = pa.array([TWICE.replace(tzinfo=UTC)], pa.timestamp("us", "UTC"))
    rows = pa.record_batch(
        {"METER": ["m"], "ts": ts, "_event_id": ["x"], "_arrived_at": ts, "_offset": pa.array([0], pa.int64())}
    )
    judged = judge(ms.stream("readings", Reading, key="meter"), rows, 1)
    assert judged.errors == {
        0: (
            'required field "meter" is missing or null; field "METER" differs from "meter" by letter case only, and a'
            " table has one of them"
        )
    }
