"""One record gives one value by every door and format, or is a dead letter: the table of `tests/shared/value_table.py`, cell by cell and door by door."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import value_doors as doors
import value_table as table
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from value_doors import KINDS, STREAMS, TS, Http
from value_table import DEAD, MISSING, Cell

import millstream as ms
from millstream.base.errors import UsageError
from millstream.engines.files.columnar import ColumnFile
from millstream.engines.files.position import Position
from millstream.engines.files.text import TextFile
from millstream.ingest.form import BadEvent, EventForm
from millstream.ingest.objects import Objects
from millstream.serve.request import BadRequest, RequestForm

ZONE = "Europe/Berlin"


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    made = Http(tmp_path_factory.mktemp("http"))
    yield made
    made.close()


def bits(value: Any) -> str:
    """What tells values apart: their types, and the signs of zeros too."""
    return repr(value)


def wrong(cells: Sequence[Cell], door: str, found: Sequence[Any], right: Callable[[Cell], Any]) -> list[str]:
    assert len(cells) == len(found)
    return [
        f"{door}: {cell.kind} {'(missing)' if cell.spelled is MISSING else cell.spelled!r} gives {value!r}, and is {right(cell)!r}"
        for cell, value in zip(cells, found, strict=True)
        if bits(value) != bits(right(cell))
    ]


def of(cells: Sequence[Cell], kind: str) -> list[Cell]:
    return [cell for cell in cells if cell.kind == kind]


def required(value: Any) -> Any:
    return DEAD if value is None else value


@pytest.mark.parametrize("kind", KINDS)
def test_csv(kind: str, tmp_path: Path) -> None:
    """All in one file, each in a file of its own, and for a field that is required."""
    cells = of(table.CSV, kind)
    texts = [cell.spelled for cell in cells]
    optional, needed = STREAMS[kind, False], STREAMS[kind, True]
    found = wrong(cells, "CSV", doors.csv_file(tmp_path, optional, texts), lambda cell: cell.value)
    found += wrong(cells, "CSV alone", [doors.csv_file(tmp_path, optional, [text])[0] for text in texts], lambda cell: cell.value)
    found += wrong(cells, "CSV required", doors.csv_file(tmp_path, needed, texts), lambda cell: required(cell.value))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_in_columns_are_read_as_csv(kind: str, tmp_path: Path) -> None:
    cells = [cell for cell in of(table.CSV, kind) if cell.spelled and not cell.spelled.startswith('"')]
    found = doors.parquet_file(tmp_path, STREAMS[kind, False], pa.array([cell.spelled for cell in cells]), len(cells), "UTC")
    assert not (said := wrong(cells, "Parquet texts", found, lambda cell: cell.value)), "\n".join(said)


@pytest.mark.parametrize("kind", KINDS)
def test_json(kind: str, tmp_path: Path, http: Http) -> None:
    """JSON Lines, `/v1/events` as an array and as lines, `/v1/predict`; together and alone, optional and required."""
    cells = of(table.JSON, kind)
    texts = [cell.spelled for cell in cells]
    optional, needed = STREAMS[kind, False], STREAMS[kind, True]
    found = wrong(cells, "JSON Lines", doors.jsonl_file(tmp_path, optional, texts), lambda cell: cell.value)
    found += wrong(cells, "JSON Lines alone", [doors.jsonl_file(tmp_path, optional, [text])[0] for text in texts], lambda cell: cell.value)
    found += wrong(cells, "JSON Lines required", doors.jsonl_file(tmp_path, needed, texts), lambda cell: required(cell.value))
    asked = [cell for cell in cells if cell.spelled not in ("+1", "01", "0x10", "NaN", "Infinity", "-Infinity", "TRUE", "[NaN]", "[Infinity]")]
    bodies = [cell.spelled for cell in asked]
    found += wrong(asked, "HTTP array", http.array(optional, bodies), lambda cell: cell.by_request)
    found += wrong(cells, "HTTP lines", http.lines(optional, texts), lambda cell: cell.by_request)
    found += wrong(cells, "HTTP lines required", http.lines(needed, texts), lambda cell: required(cell.by_request))
    found += wrong(
        cells,
        "predict",
        [0.0 + one if one == 0.0 and isinstance(one, float) else one for one in _zeros(doors.predict(optional, texts))],
        lambda cell: cell.by_request,
    )
    assert not found, "\n".join(found)


def _zeros(values: Sequence[Any]) -> list[Any]:
    """A model is asked with the zero that was sent; what is recorded has no sign, see `judge`."""
    return [[0.0 if isinstance(item, float) and item == 0.0 else item for item in one] if isinstance(one, list) else one for one in values]


@pytest.mark.parametrize("kind", KINDS)
def test_columns(kind: str, tmp_path: Path) -> None:
    stream = STREAMS[kind, False]
    cells = of(table.COLUMNS, kind)
    found = wrong(cells, "Parquet", [doors.parquet_file(tmp_path, stream, cell.spelled, 1, ZONE)[0] for cell in cells], lambda cell: cell.value)
    cells = of(table.AVRO, kind)
    found += wrong(cells, "Avro", [doors.avro_file(tmp_path, stream, cell.spelled[0], [cell.spelled[1]], ZONE)[0] for cell in cells], lambda cell: cell.value)
    cells = of(table.LOGGED, kind)
    found += wrong(cells, "topic", [doors.logged(stream, *cell.spelled) for cell in cells], lambda cell: cell.value)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("kind", KINDS)
def test_objects(kind: str, http: Http) -> None:
    cells = of(table.PYTHON, kind)
    found = list[str]()
    for needed in (False, True):
        stream = STREAMS[kind, needed]
        right: Callable[[Cell], Any] = (lambda cell: required(cell.value)) if needed else lambda cell: cell.value
        found += wrong(cells, "client", [doors.client(stream, http, cell.spelled) for cell in cells], right)
        found += wrong(cells, "lab", [doors.lab(stream, cell.spelled) for cell in cells], right)
    assert not found, "\n".join(found)


def test_each_kind_is_in_each_table() -> None:
    for cells in (table.CSV, table.JSON, table.COLUMNS, table.PYTHON):
        assert {cell.kind for cell in cells} == set(KINDS)
        refusing = {cell.kind for cell in cells if cell.value == DEAD}
        assert refusing == set(KINDS) - ({"str"} if cells is table.CSV else set()), "each kind refuses something; in CSV all is text"


def test_columns_without_any_value_stay_empty(tmp_path: Path) -> None:
    """A check of all values must not fail where there is none."""
    for kind, type_ in (
        ("int", pa.float64()),
        ("int", pa.int8()),
        ("bool", pa.int8()),
        ("float", pa.int64()),
        ("date", pa.timestamp("ns")),
        ("list[int]", pa.list_(pa.float64())),
    ):
        assert doors.parquet_file(tmp_path, STREAMS[kind, False], pa.nulls(3, type_), 3, ZONE) == [None] * 3, kind


def test_a_moment_that_arrow_cannot_cut_to_microseconds_is_dead(tmp_path: Path) -> None:
    """The first nanoseconds of its range, of 1677, wrapped around and became a moment of 2262."""
    column = pa.array([-(2**63), 1_000], pa.timestamp("ns", "UTC"))
    assert doors.parquet_file(tmp_path, STREAMS["datetime", False], column, 2, ZONE) == [DEAD, datetime(1970, 1, 1, 0, 0, 0, 1, UTC)]


def test_lists_keep_their_rows(tmp_path: Path) -> None:
    """Items are converted in one column, beside empty lists, nulls and slices."""
    column = pa.array([[9.0], [1.0, 2.0], None, [], [3.0], [0.5], None], pa.list_(pa.float64())).slice(1)
    assert doors.parquet_file(tmp_path, STREAMS["list[int]", False], column, 6, ZONE) == [[1, 2], None, [], [3], DEAD, None]
    signed = pa.array([[-0.0, 1.0], None, [], [-0.0]], pa.list_(pa.float64()))
    assert repr(doors.parquet_file(tmp_path, STREAMS["list[float]", False], signed, 4, ZONE)) == "[[0.0, 1.0], None, [], [0.0]]"


@pytest.mark.parametrize(("kind", "spelled", "said"), [
    ("float", "9007199254740993", 'column "v" is "9007199254740993" (text); it takes a number, e.g. 12.5, or nothing (a float would lose digits of it: declare the field int)'),
    ("float", "12,5", 'column "v" is "12,5" (text); it takes a number, e.g. 12.5, or nothing'),
    ("int", "1.5", 'column "v" is "1.5" (text); it takes a whole number, e.g. 12, or nothing'),
    ("bool", "yes", 'column "v" is "yes" (text); it takes true or false, or nothing'),
])  # fmt: skip
def test_a_dead_letter_names_the_value_and_the_place(tmp_path: Path, kind: str, spelled: str, said: str) -> None:
    path = tmp_path / "v.csv"
    path.write_text(f'id,v,ts\n1,"{spelled}",2026-01-01T00:00:00Z\n')
    (batch,) = TextFile(path, "v.csv", "csv", None, STREAMS[kind, False].schema, "UTC", 1 << 20).read(Position(), 10)
    assert batch.bad.column("error").to_pylist() == [f"v.csv:2: {said}"]


def test_a_refusal_names_the_field() -> None:
    lossy, stream = b'{"id": "a", "v": 9007199254740993, "ts": "2026-01-01T00:00:00Z"}', STREAMS["float", False]
    said = f'field "v" of {stream.schema.name} is 9007199254740993, and a float keeps only 9007199254740992.0 of it'
    with pytest.raises(BadEvent) as event:
        EventForm(stream.schema, zoned=True, ids=False, closed=True).one(lossy)
    with pytest.raises(BadRequest) as request:
        RequestForm(stream.schema).decode(b"[" + lossy + b"]")
    assert event.value.message == str(request.value) == said and event.value.fix == request.value.fix == "declare v as int, or send fewer digits"
    with pytest.raises(UsageError, match=r"\.v is inf") as infinite:
        Objects(stream.schema).json(stream.event(id="a", v=float("inf"), ts=TS))
    assert infinite.value.fix == "give v as a number, e.g. 12.5, or nothing"  # type: ignore[attr-defined]


def test_what_needs_a_closer_look_costs_its_neighbours_nothing(tmp_path: Path, http: Http) -> None:
    """One event with another spelling: the others land as they are."""
    texts = ["1", "2.0", "3", "x", "4e0", "9223372036854775808"]
    right = [1, 2, 3, DEAD, 4, DEAD]
    assert doors.jsonl_file(tmp_path, STREAMS["int", False], texts) == right
    assert http.lines(STREAMS["int", False], texts) == right


@pytest.mark.parametrize("kind", ["float", "int", "list[float]"])
def test_what_nobody_reads_may_be_beyond_any_number(tmp_path: Path, kind: str) -> None:
    """A key that is not a field of the class, beside a value that needs the closer look and beside one that does not."""
    value, right = ("[1.0]", [1.0]) if kind == "list[float]" else ("1.0", 1)
    texts = [f'{value}, "other": 1e400', f'{value}, "other": 0e400', value]
    assert doors.jsonl_file(tmp_path, STREAMS[kind, False], texts) == [right] * 3


@pytest.mark.parametrize("digits", [19, 20, 37, 38, 39, 40, 100, 300, 5_000])
def test_digits_without_end_are_no_whole_number(tmp_path: Path, http: Http, digits: int) -> None:
    """A library that wraps around would make -1 of them."""
    for text in ("9" * digits, "9" * digits + ".0", "-" + "9" * digits, f"1e{digits}"):
        assert doors.csv_file(tmp_path, STREAMS["int", False], ["1", text, "2.0"]) == [1, DEAD, 2]
        assert doors.jsonl_file(tmp_path, STREAMS["int", False], ["1", text, "2.0"]) == [1, DEAD, 2]
        assert http.lines(STREAMS["int", False], ["1", text, "2.0"]) == [1, DEAD, 2]


def test_texts_that_look_like_times_stay_as_they_are(tmp_path: Path, http: Http) -> None:
    text = '"at 2026-01-02T03:04:05.123456789Z"'
    assert (
        doors.jsonl_file(tmp_path, STREAMS["str", False], [text])
        == http.array(STREAMS["str", False], [text])
        == http.lines(STREAMS["str", False], [text])
        == [text[1:-1]]
    )
    assert doors.predict(STREAMS["str", False], [text]) == [text[1:-1]]


_NANOS = st.integers(-9_000_000_000_000_000_000, 9_000_000_000_000_000_000) | st.integers(-5_000, 5_000)
"""Nanoseconds since 1970, which pandas and Arrow hold for the years 1677 to 2262."""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_NANOS, min_size=1, max_size=20))
@example([-1, -999, -1_000, -1_001, 0, 1, 999, 1_000])
def test_what_is_finer_than_microseconds_is_cut_downwards_by_every_door(tmp_path: Path, http: Http, nanos: list[int]) -> None:
    """Before 1970 too, where cutting the number would be rounding up."""
    right = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=one // 1_000) for one in nanos]
    moments = [pd.Timestamp(one, tz="UTC") for one in nanos]
    texts, naive = [one.isoformat() for one in moments], [one.tz_localize(None).isoformat() for one in moments]
    quoted, count = [f'"{text}"' for text in texts], len(nanos)
    one, several = STREAMS["datetime", False], STREAMS["list[datetime]", False]
    column, local = (pa.array(nanos, pa.timestamp("ns", zone)) for zone in ("UTC", None))
    lists, nano = pa.array([[at] for at in nanos], pa.list_(column.type)), {"type": "long", "logicalType": "timestamp-nanos"}
    doubled = f'"[""{texts[0]}""]"'
    found = {
        "CSV": doors.csv_file(tmp_path, one, texts), "CSV without a zone": doors.csv_file(tmp_path, one, naive), "JSON Lines": doors.jsonl_file(tmp_path, one, quoted),
        "HTTP array": http.array(one, quoted), "HTTP lines": http.lines(one, quoted), "predict": [at.astimezone(UTC) for at in doors.predict(one, quoted)],
        "Parquet": doors.parquet_file(tmp_path, one, column, count, "UTC"), "Parquet without a zone": doors.parquet_file(tmp_path, one, local, count, "UTC"),
        "Parquet texts": doors.parquet_file(tmp_path, one, pa.array(texts), count, "UTC"),
        "Avro": doors.avro_file(tmp_path, one, nano, nanos), "Avro or null": doors.avro_file(tmp_path, one, ["null", nano], nanos),
        "Avro without a zone": doors.avro_file(tmp_path, one, {"type": "long", "logicalType": "local-timestamp-nanos"}, nanos),
        "topic": [doors.logged(one, nano, at) for at in nanos], "lab": [doors.lab(one, at) for at in moments], "client": [doors.client(one, http, at) for at in moments[:3]],
    }  # fmt: skip
    for door, values in found.items():
        assert values == right[: len(values)], door
    listed = {
        "CSV": doors.csv_file(tmp_path, several, [doubled]), "JSON Lines": doors.jsonl_file(tmp_path, several, [f"[{text}]" for text in quoted]),
        "HTTP": http.array(several, [f"[{text}]" for text in quoted]), "Parquet": doors.parquet_file(tmp_path, several, lists, count, "UTC"),
        "Avro": doors.avro_file(tmp_path, several, {"type": "array", "items": nano}, [[at] for at in nanos]),
        "topic": [doors.logged(several, {"type": "array", "items": nano}, [at]) for at in nanos], "lab": [doors.lab(several, [at]) for at in moments],
    }  # fmt: skip
    for door, values in listed.items():
        assert values == [[at] for at in right[: len(values)]], f"lists of {door}"


def test_int96_is_a_time_like_any_other(tmp_path: Path) -> None:
    stream = STREAMS["datetime", False]
    column = pa.array([TS], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"id": ["0"], "v": column, "ts": column}), tmp_path / "v.parquet", use_deprecated_int96_timestamps=True)
    assert doors._read(ColumnFile(tmp_path / "v.parquet", "v.parquet", "parquet", None, stream.schema, "UTC"), stream, 1) == [TS]


class Loose(ms.Event):
    """Fields that may be left out stand before those that may not."""

    note: str | None
    ts: ms.EventTime
    channel: str = "shop"
    user: str


def test_the_order_in_which_fields_are_declared_is_that_of_the_columns_only() -> None:
    schema, at = Loose.__schema__, datetime(2013, 11, 1, 12, tzinfo=UTC)
    form = EventForm(schema, zoned=True, ids=True, closed=True)
    told = Objects(schema).json(Loose(note=None, user="u", ts=at))
    assert form.columns([form.one(told), form.one(b'{"ts": "2013-11-01T12:00:00Z", "user": "v"}')]).to_pylist() == [
        {"note": None, "ts": at, "channel": "shop", "user": user, "_event_id": None} for user in "uv"
    ]
