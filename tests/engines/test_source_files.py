"""Files pass the source suite in every format and compression; what is wrong in them is named, and nothing is lost."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import random
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import fastavro
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import millstream as ms
from millstream.base.errors import Corrupt, NotFound, Recreated, UsageError
from millstream.base.registry import engine as registered
from millstream.engines.files import records as records_of_text
from millstream.engines.files import text
from millstream.engines.files.source import FileSource
from millstream.ingest.contract import SourceContract, read_all
from millstream.ingest.port import SourceEngine


class Landing(ms.Event):
    """A flight has landed."""

    flight_id: str
    carrier: Literal["UA", "AA", "B6"]
    delay: float
    gate: int | None = None
    note: str | None = None
    seats: int = 100
    ts: ms.EventTime


LANDINGS = ms.stream("landings", Landing, key="flight_id")
T0 = datetime(2013, 1, 1, tzinfo=UTC)


def source(root: Path, glob: str, stream: Any = LANDINGS, **options: Any) -> FileSource:
    return FileSource(ms.source(stream, ms.read.files(glob, **options)), root)


def packed(data: bytes, how: str) -> bytes:
    if how == "zst":
        return pa.compress(data, codec="zstd", asbytes=True)
    return {"": lambda d: d, "gz": gzip.compress, "bz2": bz2.compress}[how](data)


def records(count: int = 40) -> list[dict[str, Any]]:
    return [
        {
            "flight_id": f"f{i}",
            "carrier": ("UA", "AA", "B6")[i % 3],
            "delay": i / 2,
            "gate": None if i % 4 else i,
            "note": 'a "b", c' if i % 5 == 0 else None,
            "seats": i,
            "ts": (T0 + timedelta(minutes=i)).isoformat(),
        }
        for i in range(count)
    ]


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    lines = ["flight_id,carrier,delay,gate,note,seats,ts"]
    for at, row in enumerate(rows):
        note = (
            ""
            if row["note"] is None
            else '"' + row["note"].replace('"', '""') + ("\n second line" if at % 10 == 0 else "") + '"'
        )
        gate = "" if row["gate"] is None else row["gate"]
        lines.append(f"{row['flight_id']},{row['carrier']},{row['delay']},{gate},{note},{row['seats']},{row['ts']}")
    lines[3] = "f2,UA,late,,,3,2013-01-01T00:02:00Z"
    lines[9] = 'f8,"UA"x,1,,,3,2013-01-01T00:02:00Z'
    lines.insert(11, "")
    lines[12] = "f10,UA,1"
    lines[-1] = lines[-1].replace("2013", "20x3")
    return "\n".join(lines).encode() + b"\n"


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    lines = [json.dumps(row).encode() for row in rows]
    lines[0] = json.dumps({**rows[0], "unknown": {"deep": [1]}}).encode()
    lines[4] = b'{"flight_id": "f4", "carrier": "XX", "delay": 1, "ts": "2013-01-01T00:04:00Z"}'
    lines[5] = b'{"flight_id": "f5", "carrier": "UA", "delay": "1", "ts": "2013-01-01T00:04:00Z"}'
    lines[8] = b'{"flight_id": "f8", '
    lines[9] = lines[9].replace(b"f9", b"f\xff")
    return b"\n".join(lines) + b"\n"


class TextCase(SourceContract):
    how = ""
    form = "csv"

    @pytest.fixture(autouse=True)
    def small_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(text, "CHUNK", 300)

    @pytest.fixture
    def engine(self, tmp_path: Path) -> SourceEngine:
        data = as_csv(records()) if self.form == "csv" else as_jsonl(records())
        (tmp_path / "data").mkdir()
        (tmp_path / f"data/a.{self.form}{self.how and '.' + self.how}").write_bytes(packed(data, self.how))
        return source(tmp_path, "data/*")

    def again(self, engine: SourceEngine) -> SourceEngine:
        assert isinstance(engine, FileSource)
        return FileSource(engine.source, engine.root)

    def planted(self) -> tuple[int, int]:
        return 36, 4


class TestCsv(TextCase):
    pass


class TestCsvGzip(TextCase):
    how = "gz"


class TestCsvZstd(TextCase):
    how = "zst"


class TestCsvBz2(TextCase):
    how = "bz2"


class TestJsonLines(TextCase):
    form = "jsonl"


class TestJsonLinesGzip(TextCase):
    form, how = "jsonl", "gz"


class ColumnCase(SourceContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> SourceEngine:
        rows = records()
        rows[3]["carrier"] = "XX"
        rows[7]["ts"] = "no time"
        rows[8]["delay"] = None
        self.write(tmp_path, rows)
        return source(tmp_path, "*")

    def write(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        raise AssertionError

    def again(self, engine: SourceEngine) -> SourceEngine:
        assert isinstance(engine, FileSource)
        return FileSource(engine.source, engine.root)

    def planted(self) -> tuple[int, int]:
        return 37, 3


class TestParquet(ColumnCase):
    def write(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet", row_group_size=7)


class TestAvro(ColumnCase):
    optional: Any = staticmethod(lambda kind: ["null", kind])
    codec = "deflate"

    def write(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        kinds = {
            "flight_id": "string",
            "carrier": "string",
            "delay": "double",
            "gate": "long",
            "note": "string",
            "seats": "long",
            "ts": "string",
        }
        schema = {
            "type": "record",
            "name": "Landing",
            "fields": [{"name": n, "type": type(self).optional(k)} for n, k in kinds.items()],
        }
        with (folder / "a.avro").open("wb") as file:
            fastavro.writer(file, schema, rows, codec=self.codec, sync_interval=200)


class TestAvroThatPolarsCannotRead(TestAvro):
    optional = staticmethod(lambda kind: ["null", kind, "boolean"])
    codec = "null"


# what is wrong is named


def long_ago(path: Path) -> None:
    """Nobody is writing it any more."""
    os.utime(path, (time.time() - 60, time.time() - 60))


def bad_of(
    tmp_path: Path, data: bytes, name: str = "x.csv", **options: Any
) -> tuple[list[dict[str, Any]], list[str], list[bytes]]:
    (tmp_path / name).write_bytes(data)
    long_ago(tmp_path / name)
    rows, bad, _ = read_all(source(tmp_path, name, **options), name)
    return rows, [b["error"] for b in bad], [b["raw"] for b in bad]


GOOD = "f1,UA,1.5,7,,9,2013-01-01T00:00:00Z"
HEADER = "flight_id,carrier,delay,gate,note,seats,ts\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("f2,UA,abc,7,,9,2013-01-01T00:00:00Z", 'column "delay" is "abc" (text); it takes a number'),
        ("f2,UA,,7,,9,2013-01-01T00:00:00Z", 'column "delay" is empty and the field is required'),
        ("f2,UA,nan,7,,9,2013-01-01T00:00:00Z", 'column "delay" is empty and the field is required'),
        ("f2,ZZ,1,7,,9,2013-01-01T00:00:00Z", 'column "carrier" is "ZZ" (text); it takes one of UA, AA, B6'),
        (
            "f2,UA,1,7.5,,9,2013-01-01T00:00:00Z",
            'column "gate" is "7.5" (text); it takes a whole number, e.g. 12, or nothing',
        ),
        ("f2,UA,1,99999999999999999999,,9,2013-01-01T00:00:00Z", 'column "gate" is "99999999999999999999" (text)'),
        ("f2,UA,1,7,,9,yesterday", 'column "ts" is "yesterday" (text); it takes a time in ISO 8601'),
        ("f2,UA,1,7,,9,2013-13-01T00:00:00Z", 'column "ts" is "2013-13-01T00:00:00Z" (text)'),
        ("f2,UA,1", "the line has 3 fields and the header 7; it was cut off"),
        (
            "f2,UA,1,7,,9,2013-01-01T00:00:00Z,x",
            "the line has 8 fields and the header 7; quote fields that hold a comma",
        ),
        ('f2,U"A,1,7,,9,2013-01-01T00:00:00Z', "a quote stands inside an unquoted field"),
        ('f2,UA,1,7,"open,9,2013-01-01T00:00:00Z', "a quoted field is opened and not closed"),
    ],
)
def test_a_wrong_line_of_csv(tmp_path: Path, line: str, says: str) -> None:
    """It costs one line: its neighbours on both sides are read, and it is kept byte for byte."""
    rows, errors, raw = bad_of(tmp_path, f"{HEADER}{GOOD}\n{line}\n{GOOD}\n{GOOD}\n".encode())
    assert [r["_event_id"] for r in rows] == ["x.csv:2", "x.csv:4", "x.csv:5"]
    assert raw == [line.encode()] and len(errors) == 1
    assert errors[0].startswith("x.csv:3: ") and says in errors[0]


def test_truncated_csv(tmp_path: Path) -> None:
    rows, errors, raw = bad_of(tmp_path, f"{HEADER}{GOOD}\n{GOOD}\n{GOOD[:12]}".encode())
    assert len(rows) == 2 and raw == [GOOD[:12].encode()] and "x.csv:4: the line has 5 fields" in errors[0]


def test_invalid_utf8(tmp_path: Path) -> None:
    line = GOOD.replace("f1", "f2").encode().replace(b"f2", b"f\xe9")
    rows, errors, raw = bad_of(tmp_path, f"{HEADER}{GOOD}\n".encode() + line + f"\n{GOOD}\n".encode())
    assert (
        len(rows) == 2
        and raw == [line]
        and errors == ["x.csv:3: it is not valid UTF-8: byte 1 is 0xe9; write it in UTF-8"]
    )


def test_unknown_columns_are_left_out_and_order_is_free(tmp_path: Path) -> None:
    rows, errors, _ = bad_of(
        tmp_path, b"\xef\xbb\xbfcolour,ts,delay,carrier,flight_id,colour\r\nred,2013-01-01T00:00:00Z,1,UA,f1,x\r\n"
    )
    assert (
        errors == []
        and rows[0]["flight_id"] == "f1"
        and "colour" not in rows[0]
        and rows[0]["seats"] == 100
        and rows[0]["gate"] is None
    )


def test_a_missing_column_stops_the_file_and_it_may_be_corrected_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(
        Corrupt,
        match=(
            r'x\.csv:1: the columns do not fit Landing: "delay" is missing \(add it as a number, e\.g\. 12\.5\);'
            r" nothing of the file was read"
        ),
    ):
        bad_of(tmp_path, b"ts,carrier,flight_id\n2013-01-01T00:00:00Z,UA,f1\n2013-01-01T00:00:00Z,UA,f2\n")
    rows, errors, _ = bad_of(tmp_path, b"ts,carrier,flight_id,delay\n2013-01-01T00:00:00Z,UA,f1,1\n")
    assert len(rows) == 1 and not errors


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        Corrupt, match=r'x\.csv:1: the columns do not fit \w+: "delay" is there 2 times; nothing of the file was read'
    ):
        bad_of(tmp_path, b"flight_id,carrier,delay,ts,delay\nf1,UA,1,2013-01-01T00:00:00Z,2\n")


def test_a_column_that_a_parquet_file_has_twice_stops_that_file(tmp_path: Path) -> None:
    rows = pa.Table.from_pylist(records(3))
    pq.write_table(rows.append_column("delay", rows.column("delay")), tmp_path / "a.parquet")
    with pytest.raises(Corrupt, match=r'a\.parquet: the columns do not fit \w+: "delay" is there 2 times'):
        list(source(tmp_path, "a.parquet").read("a.parquet", None, 10))


def test_empty_and_quoted_empty(tmp_path: Path) -> None:
    rows, errors, _ = bad_of(
        tmp_path, f'{HEADER}f1,UA,1,,,,2013-01-01T00:00:00Z\nf2,UA,1,,"",,2013-01-01T00:00:00Z\n'.encode()
    )
    assert errors == [] and [r["note"] for r in rows] == [None, ""] and rows[0]["seats"] == 100


def test_times_with_and_without_a_zone(tmp_path: Path) -> None:
    times = [
        "2013-07-01T12:00:00Z",
        "2013-07-01 12:00:00",
        "2013-07-01T12:00:00.123456789+02:00",
        "2013-07-01",
        "2013-03-10 02:30:00",
        "2013-07-01T12:00-0500",
    ]
    data = HEADER + "".join(f"f{i},UA,1,,,,{t}\n" for i, t in enumerate(times))
    rows, errors, _ = bad_of(tmp_path, data.encode(), zone="America/New_York")
    assert [r["ts"].astimezone(UTC).isoformat() for r in rows] == [
        "2013-07-01T12:00:00+00:00",
        "2013-07-01T16:00:00+00:00",
        "2013-07-01T10:00:00.123456+00:00",
        "2013-07-01T04:00:00+00:00",
        "2013-07-01T17:00:00+00:00",
    ]
    assert len(errors) == 1 and "2013-03-10 02:30:00" in errors[0], "an hour that the clock skips is not a time"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("kept", [True, False])
def test_records_of_ten_megabytes(tmp_path: Path, form: str, kept: bool) -> None:
    """Up to the limit a record is read; beyond it goes to the dead letters, cut, and the file continues."""
    note = "n" * (9_000_000 if kept else 21_000_000)
    big = {"flight_id": "big", "carrier": "UA", "delay": 1.0, "note": note, "ts": "2013-01-01T00:00:00Z"}
    small = {**big, "flight_id": "small", "note": ""}
    if form == "csv":
        lines = [",".join(big), *(",".join(str(v) for v in one.values()) for one in (small, big, small))]
    else:
        lines = [json.dumps(one) for one in (small, big, small)]
    rows, errors, raw = bad_of(tmp_path, ("\n".join(lines) + "\n").encode(), f"x.{form}")
    number = 3 if form == "csv" else 2
    if kept:
        assert [len(r["note"] or "") for r in rows] == [0, 9_000_000, 0] and errors == []
    else:
        assert [r["_event_id"] for r in rows] == [f"x.{form}:{number - 1}", f"x.{form}:{number + 1}"]
        assert (
            f"x.{form}:{number}: the line has {len(lines[number - 1]) + 1:,} bytes and 10,000,000 are allowed"
            in errors[0]
        )
        assert len(raw[0]) == 10_000_000 and lines[number - 1].encode().startswith(raw[0])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            '{"flight_id": "a", "carrier": "UA", "delay": "1", "ts": "2013-01-01T00:00:00Z"}',
            'field "delay" of Landing is "1" (text); send delay as a number',
        ),
        (
            '{"flight_id": 1, "carrier": "UA", "delay": 1, "ts": "2013-01-01T00:00:00Z"}',
            'field "flight_id" of Landing is 1 (a whole number); send flight_id as text',
        ),
        ('{"flight_id": "a", "carrier": "UA", "delay": 1}', 'field "ts" is empty and the field is required'),
        (
            '{"flight_id": "a", "carrier": "UA", "delay": null, "ts": "2013-01-01T00:00:00Z"}',
            'field "delay" is empty and the field is required',
        ),
        (
            '{"flight_id": "a", "carrier": "UA", "gate": 1.5, "delay": 1, "ts": "2013-01-01T00:00:00Z"}',
            'field "gate" of Landing is 1.5 (a number)',
        ),
        ('{"flight_id": "a", "carrier": "UA", "delay": 1, "ts": 12}', 'field "ts" of Landing is 12'),
        ('{"flight_id": "a"', "it is not valid JSON"),
        ("[1, 2]", "Expected `object`, got `array`"),
    ],
)
def test_a_wrong_line_of_json(tmp_path: Path, line: str, says: str) -> None:
    good = (
        '{"flight_id": "f", "carrier": "UA", "delay": 1, "seats": null, "other": {"x": 1}, "ts":'
        ' "2013-01-01T00:00:00Z"}'
    )
    rows, errors, raw = bad_of(tmp_path, f"{good}\n{line}\n{good}\n".encode(), "x.jsonl")
    assert [(r["_event_id"], r["seats"]) for r in rows] == [("x.jsonl:1", 100), ("x.jsonl:3", 100)]
    assert raw == [line.encode()] and errors[0].startswith("x.jsonl:2: ") and says in errors[0]


@pytest.mark.parametrize("line", ["null", "null null", "nullx", '"{"', "7", "[{}]"])
def test_a_first_line_that_is_no_object_kills_nobody(tmp_path: Path, line: str) -> None:
    good = '{"flight_id": "f", "carrier": "UA", "delay": 1, "ts": "2013-01-01T00:00:00Z"}'
    rows, errors, raw = bad_of(tmp_path, f"{line}\n{good}\n{line}\n".encode(), "x.jsonl")
    assert [r["_event_id"] for r in rows] == ["x.jsonl:2"] and raw == [line.encode()] * 2
    assert [e.partition(": ")[0] for e in errors] == ["x.jsonl:1", "x.jsonl:3"]
    rows, errors, raw = bad_of(tmp_path, f"{line}\n".encode(), "x.jsonl")
    assert (rows, raw, len(errors)) == ([], [line.encode()], 1)


# files change


def lines_of(count: int, start: int = 0) -> bytes:
    return "".join(f"f{i},UA,1,{i},,,2013-01-01T00:00:00Z\n" for i in range(start, start + count)).encode()


@pytest.mark.parametrize("how", ["", "gz", "bz2", "zst"])
def test_a_growing_file_is_gone_on_with(tmp_path: Path, how: str) -> None:
    path = tmp_path / f"x.csv{how and '.' + how}"
    path.write_bytes(packed(HEADER.encode() + lines_of(1000), how))
    engine = source(tmp_path, "x*", watch=True)
    first, _, position = read_all(engine, path.name)
    assert list(engine.read(path.name, position)) == []
    with path.open("ab") as file:
        file.write(packed(lines_of(500, 1000), how))
    more, bad, _ = read_all(engine, path.name, position)
    assert [r["gate"] for r in first + more] == list(range(1500)) and bad == []
    assert [r["_event_id"] for r in more[:1]] == [f"{path.name}:1002"]


def test_a_line_still_being_written_is_left_until_it_is_whole(tmp_path: Path) -> None:
    path, data = tmp_path / "x.csv", HEADER.encode() + lines_of(3)
    path.write_bytes(data[:-10])
    engine = source(tmp_path, "x.csv", watch=True)
    rows, bad, position = read_all(engine, "x.csv")
    assert (len(rows), bad) == (2, [])
    path.write_bytes(data)
    more, bad, _ = read_all(engine, "x.csv", position)
    assert [r["gate"] for r in more] == [2] and bad == []


def test_a_last_line_without_an_end_is_taken_when_the_file_is_quiet(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes((HEADER.encode() + lines_of(3))[:-1])
    long_ago(path)
    engine = source(tmp_path, "x.csv", watch=True)
    rows, bad, position = read_all(engine, "x.csv")
    assert (len(rows), bad) == (3, []) and list(engine.read("x.csv", position)) == []
    with path.open("ab") as file:
        file.write(b"\n" + lines_of(2, 3))
    more, bad, _ = read_all(engine, "x.csv", position)
    assert [(r["gate"], r["_event_id"]) for r in more] == [(3, "x.csv:5"), (4, "x.csv:6")] and bad == []


def test_the_rest_of_a_line_taken_too_early_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(HEADER.encode() + lines_of(1) + b"f1,UA,1,1,,,2013-01-01")
    long_ago(path)
    engine = source(tmp_path, "x.csv")
    rows, _, position = read_all(engine, "x.csv")
    assert len(rows) == 2
    with path.open("ab") as file:
        file.write(b"T12:00:00Z\n" + lines_of(1, 2))
    more, bad, _ = read_all(engine, "x.csv", position)
    assert [r["_event_id"] for r in more] == ["x.csv:4"]
    assert [(b["raw"], b["origin"]) for b in bad] == [
        (b"T12:00:00Z", "x.csv:3")
    ] and "line 3 continued after it had been read" in bad[0]["error"]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"f0,", b"g0,"),
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"f998,", b"g998,") + lines_of(1),
    ],
    ids=["beginning", "shorter", "before the position"],
)
def test_a_replaced_file_is_noticed(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path, data = tmp_path / "x.csv", HEADER.encode() + lines_of(1000)
    path.write_bytes(data)
    engine = source(tmp_path, "x.csv")
    _, _, position = read_all(engine, "x.csv")
    path.write_bytes(change(data))
    with pytest.raises(Recreated, match="give the new contents another file name"):
        list(engine.read("x.csv", position))


def test_a_replaced_parquet_file_is_noticed(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(records()), tmp_path / "a.parquet")
    engine = source(tmp_path, "*.parquet")
    _, _, position = read_all(engine, "a.parquet")
    pq.write_table(pa.Table.from_pylist(records(41)), tmp_path / "a.parquet")
    with pytest.raises(Recreated):
        list(engine.read("a.parquet", position))


@pytest.mark.parametrize("how", ["gz", "bz2", "zst"])
def test_a_truncated_archive_gives_what_it_holds_then_says_so(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole again, it is continued: a copy that was under way is not a loss."""
    monkeypatch.setattr(text, "CHUNK", 10_000)
    random.seed(7)
    body = "".join(
        f"f{i},UA,{random.random()},{i},{random.getrandbits(400):x},,2013-01-01T00:00:00Z\n" for i in range(20_000)
    ).encode()
    data, path = packed(HEADER.encode() + body, how), tmp_path / f"x.csv.{how}"
    path.write_bytes(data[: len(data) // 2])
    engine, rows, position = source(tmp_path, "x*"), [], None
    with pytest.raises(Corrupt, match="cut off or damaged"):
        for batch in engine.read(path.name, None):
            rows += batch.rows.column("gate").to_pylist()
            position = batch.position
    assert rows == list(range(len(rows))) and (len(rows) > 0 or how == "bz2")
    path.write_bytes(data)
    more, bad, _ = read_all(engine, path.name, position)
    assert rows + [r["gate"] for r in more] == list(range(20_000)) and bad == []


@pytest.mark.parametrize("name", ["a.parquet", "a.avro"])
def test_a_truncated_columnar_file_is_said(tmp_path: Path, name: str) -> None:
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(records()), tmp_path / name)
    else:
        pl.DataFrame(records()).write_avro(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(Corrupt, match=rf"{name} cannot be read"):
        read_all(source(tmp_path, "*"), name)


# the rest


def test_files_in_name_order_below_the_project(tmp_path: Path) -> None:
    for name in ("data/b.csv", "data/a.csv", "data/deep/c.csv", "data/.hidden.csv", "other/d.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(HEADER.encode())
    assert list(source(tmp_path, "data/**/*.csv").splits()) == ["data/a.csv", "data/b.csv", "data/deep/c.csv"]
    engine = source(tmp_path, "data/*.csv")
    assert read_all(engine, "data/a.csv")[:2] == ([], []), "a header alone is not an error"
    with pytest.raises(NotFound, match="not there any more"):
        list(engine.read("data/gone.csv", None))


def test_an_ending_that_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(HEADER.encode() + lines_of(2))
    with pytest.raises(UsageError, match=r"the ending of a\.dat says no format"):
        read_all(source(tmp_path, "a.dat"), "a.dat")
    assert len(read_all(source(tmp_path, "a.dat", format="csv"), "a.dat")[0]) == 2


def test_arrival_is_the_events_own_time_or_its_field(tmp_path: Path) -> None:
    class Reading(ms.Event):
        sensor: str
        seen: ms.ArrivalTime | None = None
        ts: ms.EventTime

    (tmp_path / "x.csv").write_bytes(
        b"sensor,seen,ts\na,2013-01-02T00:00:00Z,2013-01-01T00:00:00Z\nb,,2013-01-01T00:00:00Z\n"
    )
    rows, bad, _ = read_all(source(tmp_path, "x.csv", ms.stream("readings", Reading, key="sensor")), "x.csv")
    assert [r["_arrived_at"].day for r in rows] == [2, 1] and bad == []


def test_every_kind_of_field(tmp_path: Path) -> None:
    class Every(ms.Event):
        name: str
        data: bytes
        day: date
        yes: bool
        values: list[float]
        moments: list[datetime]
        ts: ms.EventTime

    stream = ms.stream("every", Every, key="name")
    rows = [
        {
            "name": "a",
            "data": "aGk=",
            "day": "2013-01-01",
            "yes": True,
            "values": [1, 2.5],
            "moments": ["2013-01-01T00:00:00Z"],
            "ts": "2013-01-01T00:00:00Z",
        },
        {
            "name": "b",
            "data": "!",
            "day": "2013-01-01",
            "yes": True,
            "values": [],
            "moments": [],
            "ts": "2013-01-01T00:00:00Z",
        },
        {
            "name": "c",
            "data": "",
            "day": "2013-02-30",
            "yes": False,
            "values": [],
            "moments": [],
            "ts": "2013-01-01T00:00:00Z",
        },
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, bad, _ = read_all(source(tmp_path, "x.jsonl", stream), "x.jsonl")
    assert (
        len(found) == 1
        and found[0]["data"] == b"hi"
        and found[0]["values"] == [1.0, 2.5]
        and found[0]["moments"] == [T0]
    )
    assert 'field "data" of Every' in bad[0]["error"] or 'field "data" is' in bad[0]["error"]
    assert '"day"' in bad[1]["error"]
    out = io.StringIO()
    out.write("name,data,day,yes,values,ts,moments\n")
    out.write('a,aGk=,2013-01-01,true,"[1, 2.5]",2013-01-01T00:00:00Z,[]\n')
    (tmp_path / "y.csv").write_text(out.getvalue())
    found, bad, _ = read_all(source(tmp_path, "y.csv", stream), "y.csv")
    assert bad == [] and (found[0]["data"], found[0]["values"], found[0]["yes"], found[0]["day"]) == (
        b"hi",
        [1.0, 2.5],
        True,
        date(2013, 1, 1),
    )


def test_found_by_its_reader() -> None:
    assert registered("source", "files:") is FileSource


FIELD = st.one_of(st.text("ab, \n\"'é", max_size=6), st.just("1"), st.just(""))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(FIELD, FIELD).map(lambda f: ",".join('"' + x.replace('"', '""') + '"' for x in f)),
            st.text('ab,"\n\r', max_size=12),
        ),
        max_size=12,
    ),
    st.integers(1, 60),
    st.integers(1, 5),
)
def test_no_byte_is_lost_whatever_the_quotes(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], chunk: int, max_rows: int
) -> None:
    """Chunk and batch size change nothing, and each line of the file is in a row or in a bad record, once."""

    class Pair(ms.Event):
        a: str | None = None
        b: str | None = None
        ts: ms.EventTime = T0

    folder = tmp_path_factory.mktemp("quotes")
    data = ("a,b\n" + "\n".join(lines)).encode()
    (folder / "x.csv").write_bytes(data)
    long_ago(folder / "x.csv")
    engine = source(folder, "x.csv", ms.stream("pairs", Pair, key="a"), record_bytes=200)
    whole = read_all(engine, "x.csv")[:2]
    before, text.CHUNK = text.CHUNK, chunk
    try:
        assert read_all(engine, "x.csv", None, max_rows)[:2] == whole
    finally:
        text.CHUNK = before
    starts = sorted(int(r["_event_id"].split(":")[1]) for r in whole[0]) + sorted(
        int(b["origin"].split(":")[1]) for b in whole[1]
    )
    assert len(starts) == len(set(starts))
    covered = sum(b["raw"].count(b"a") for b in whole[1]) + sum(
        ((r["a"] or "") + (r["b"] or "")).count("a") for r in whole[0]
    )
    assert covered == data[4:].count(b"a")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_last_line_without_an_end_beyond_the_limit(tmp_path: Path, form: str) -> None:
    """It is bad; what is added to it later is bad too, under the same line, and the next line is read."""
    start = HEADER.encode() if form == "csv" else b""
    good = (
        lines_of(1)
        if form == "csv"
        else b'{"flight_id": "f", "carrier": "UA", "delay": 1, "ts": "2013-01-01T00:00:00Z"}\n'
    )
    path = tmp_path / f"x.{form}"
    path.write_bytes(start + good + b"x" * 5_000)
    long_ago(path)
    engine = source(tmp_path, path.name, record_bytes=1_000)
    rows, bad, position = read_all(engine, path.name)
    number = 3 if form == "csv" else 2
    assert len(rows) == 1 and [(b["origin"], len(b["raw"])) for b in bad] == [(f"{path.name}:{number}", 1_000)]
    assert list(engine.read(path.name, position)) == []
    with path.open("ab") as file:
        file.write(b"yy\n" + good)
    rows, bad, _ = read_all(engine, path.name, position)
    assert [r["_event_id"] for r in rows] == [f"{path.name}:{number + 1}"] and [b["raw"] for b in bad] == [b"yy"]


class Counted:
    """A pattern that counts the bytes it is shown."""

    def __init__(self, pattern: Any, shown: list[int]) -> None:
        self.pattern, self.shown = pattern, shown

    def fullmatch(self, data: bytes) -> Any:
        self.shown.append(len(data))
        return self.pattern.fullmatch(data)


@pytest.mark.parametrize("strays", [1, 2, 50])
def test_stray_quotes_cost_their_lines_and_are_linear(
    tmp_path: Path, strays: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quote that is never closed, before lines that hold quotes: each of them is looked at a few times, not once for
    each line before it.
    """
    shown: list[int] = []
    for name in ("_WHOLE", "_OPEN", "_CLOSES", "_STAYS_OPEN"):
        monkeypatch.setattr(records_of_text, name, Counted(getattr(records_of_text, name), shown))
    good = 'f1,UA,1.5,7,"",9,2013-01-01T00:00:00Z\n'
    stray = 'f2,UA,1.5,7,"oops,9,2013-01-01T00:00:00Z\n'
    data = (HEADER + (stray + good * (4_000 // strays)) * strays).encode()
    rows, errors, raw = bad_of(tmp_path, data)
    assert len(rows) == 4_000 and raw == [stray[:-1].encode()] * strays and sum(shown) < 8 * len(data)
    assert "a quoted field is opened and not closed" in errors[-1]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_blank_lines_are_no_records(tmp_path: Path, end: str) -> None:
    lines = [
        "flight_id,carrier,delay,ts",
        "",
        "f1,UA,1,2013-01-01T00:00:00Z",
        "",
        "",
        "f2,UA,2,2013-01-01T00:00:00Z",
        "",
        "",
    ]
    rows, errors, _ = bad_of(tmp_path, end.join(lines).encode())
    assert [row["flight_id"] for row in rows] == ["f1", "f2"] and errors == []


def test_a_file_that_took_a_name_after_it_was_looked_at_is_left_to_the_next_look(tmp_path: Path) -> None:
    """It may be one that was read under its old name; minutes may lie between a look and the reading."""
    engine = source(tmp_path, "*.csv")
    (tmp_path / "old.csv").write_bytes(as_csv(records(20)))
    (tmp_path / "new.csv").write_bytes(as_csv(records(30)))
    assert {standing.split for standing in engine.look({})} == {"old.csv", "new.csv"}
    (tmp_path / "new.csv").rename(tmp_path / "newer.csv")
    (tmp_path / "old.csv").rename(tmp_path / "new.csv")
    assert list(engine.read("new.csv", None)) == []
    engine.look({})
    assert sum(batch.rows.num_rows for batch in engine.read("new.csv", None)) == 16
