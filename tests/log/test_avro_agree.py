"""Both ways of reading and writing Avro agree with each other and with fastavro, and a bad body harms no neighbour."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
from typing import Any, Literal

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.base.errors import UsageError
from millstream.base.event import EventTime
from millstream.declare.event import Event
from millstream.log.avro import Decoded, arrow_schema, avro_schema, decode, encode
from millstream.log.avro_block import decode_block, encode_block
from millstream.log.avro_records import Records
from millstream.log.avro_types import columns_of, physical

LONG = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-130, 130), st.sampled_from([2**n for n in range(63)]))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=12),
    "bytes": st.binary(max_size=12),
    "long": LONG,
    "int": st.integers(-(2**31), 2**31 - 1),
    "boolean": st.booleans(),
    "double": st.floats(allow_nan=False),
    "float": st.floats(width=32, allow_nan=False),
    "enum": st.sampled_from(["A", "bb"]),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, pa.RecordBatch]:
    """A flat schema and rows that fit it."""
    fields, columns, rows = [], [], draw(st.integers(0, 20))
    for place in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(sorted(VALUES)))
        spec: Any = {"type": "enum", "name": f"e{place}", "symbols": ["A", "bb"]} if kind == "enum" else kind
        union = draw(st.sampled_from(["no", "first", "last"]))
        values = draw(
            st.lists(
                VALUES[kind] if union == "no" else st.one_of(st.none(), VALUES[kind]), min_size=rows, max_size=rows
            )
        )
        fields.append(
            {"name": f"f{place}", "type": {"no": spec, "first": ["null", spec], "last": [spec, "null"]}[union]}
        )
        columns.append(values)
    text = json.dumps({"type": "record", "name": "R", "fields": fields})
    schema = arrow_schema(text)
    return text, pa.record_batch([pa.array(v, f.type) for v, f in zip(columns, schema, strict=True)], schema=schema)


def with_fastavro(rows: pa.RecordBatch, text: str) -> list[bytes]:
    schema, bodies = fastavro.parse_schema(json.loads(text)), []
    for record in rows.to_pylist():
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, record)
        bodies.append(out.getvalue())
    return bodies


def one_by_one(bodies: list[bytes], text: str) -> Decoded:
    """What the record way alone makes of them, each body by itself."""
    good, bad = Records(columns_of(text), text).decode(bodies)
    columns = columns_of(text)
    arrays = [pa.array([g[c.name] for g in good], c.stored).cast(c.arrow) for c in columns]
    return Decoded(pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(text)), bad)


@settings(max_examples=200, deadline=None)
@given(tables())
def test_the_block_way_writes_what_fastavro_writes(table: tuple[str, pa.RecordBatch]) -> None:
    text, rows = table
    bodies, columns = encode(rows, text), columns_of(text)
    assert bodies == with_fastavro(rows, text)
    assert bodies == encode_block(columns, [physical(c, rows.column(c.name)) for c in columns], rows.num_rows)
    assert encode(rows, text, b"head") == [b"head" + body for body in bodies]
    assert decode_block(columns, bodies) is not None, "sound bodies take the fast way"
    back = decode(bodies, text)
    assert back.rows.equals(rows) and not back.bad and one_by_one(bodies, text).rows.equals(rows)


@settings(max_examples=300, deadline=None)
@given(tables(), st.data())
def test_a_bad_body_harms_no_neighbour(table: tuple[str, pa.RecordBatch], data: st.DataObject) -> None:
    """Bodies cut short, with bytes too many, flipped, emptied: the same as reading each by itself."""
    text, rows = table
    bodies = encode(rows, text)
    for _ in range(data.draw(st.integers(1, 3)) if bodies else 0):
        at = data.draw(st.integers(0, len(bodies) - 1))
        body, how = bodies[at], data.draw(st.sampled_from(["short", "long", "flip", "empty", "front"]))
        if how == "short" and body:
            body = body[:-1]
        elif how == "long":
            body += data.draw(st.binary(min_size=1, max_size=3))
        elif how == "flip" and body:
            place = data.draw(st.integers(0, len(body) - 1))
            body = body[:place] + bytes([body[place] ^ data.draw(st.integers(1, 255))]) + body[place + 1 :]
        elif how == "front":
            body = body[1:]
        else:
            body = b""
        bodies[at] = body
    found, alone = decode(bodies, text), one_by_one(bodies, text)
    assert set(found.bad) == set(alone.bad) and found.rows.num_rows + len(found.bad) == len(bodies)
    assert same(found.rows, alone.rows)


@pytest.mark.parametrize("kind", ["int", ["null", "int"], ["int", "null"]])
@pytest.mark.parametrize("number", [2**27, -(2**27) - 1, 2**31 - 1])
def test_a_number_beyond_its_type_is_a_bad_body(kind: Any, number: int) -> None:
    """One flipped bit in the last byte of an int adds 2**32, which a reader may cut off."""
    text = json.dumps({"type": "record", "name": "R", "fields": [{"name": "n", "type": kind}]})
    rows = pa.RecordBatch.from_arrays([pa.array([1, number, 3], pa.int32())], schema=arrow_schema(text))
    bodies = encode(rows, text)
    bodies[1] = bodies[1][:-1] + bytes([bodies[1][-1] | 0x10])
    found = decode(bodies, text)
    assert set(found.bad) == {1} == set(one_by_one(bodies, text).bad) and found.rows.column(0).to_pylist() == [1, 3]


def test_a_type_may_be_spelled_inside_another() -> None:
    plain, inside = (
        json.dumps(
            {"type": "record", "name": "R", "fields": [{"name": "n", "type": {"type": "array", "items": items}}]}
        )
        for items in ("long", {"type": {"type": "long"}})
    )
    assert arrow_schema(inside) == arrow_schema(plain)


@pytest.mark.parametrize("listed", [False, True])
def test_a_number_beyond_its_field_is_a_bad_body_and_harms_no_neighbour(listed: bool) -> None:
    """A writer may call a long an int: its bytes are sound, and no column of the type holds it."""

    def schema(kind: str) -> str:
        return json.dumps(
            {
                "type": "record",
                "name": "R",
                "fields": [{"name": "n", "type": {"type": "array", "items": kind} if listed else kind}],
            }
        )

    values = [[n] if listed else n for n in (1, 2**40, 3)]
    found = decode(with_fastavro(pa.record_batch({"n": values}), schema("long")), schema("int"))
    assert set(found.bad) == {1} and found.rows.column("n").to_pylist() == [values[0], values[2]]


def same(a: pa.RecordBatch, b: pa.RecordBatch) -> bool:
    def value(x: Any) -> Any:
        return "nan" if isinstance(x, float) and math.isnan(x) else x

    return [[value(v) for v in c.to_pylist()] for c in a.columns] == [
        [value(v) for v in c.to_pylist()] for c in b.columns
    ]


NESTED = json.dumps(
    {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "tags", "type": {"type": "array", "items": "string"}},
            {"name": "counts", "type": ["null", {"type": "map", "values": "long"}]},
            {"name": "any", "type": ["null", "string", "long", "boolean"]},
            {"name": "at", "type": {"type": "record", "name": "P", "fields": [{"name": "x", "type": "double"}]}},
            {"name": "days", "type": {"type": "array", "items": {"type": "int", "logicalType": "date"}}},
            {"name": "n", "type": "long"},
        ],
    }
)


def test_what_has_no_columns_takes_the_record_way() -> None:
    records: list[dict[str, Any]] = [
        {
            "tags": ["a", "ü"],
            "counts": {"x": 1},
            "any": '"7"',
            "at": {"x": 0.5},
            "days": [dt.date(2013, 3, 10)],
            "n": 1,
        },
        {"tags": [], "counts": None, "any": "7", "at": {"x": 1.5}, "days": [], "n": 2},
        {"tags": ["c"], "counts": {}, "any": None, "at": {"x": 2.5}, "days": [], "n": 3},
        {"tags": ["c"], "counts": {}, "any": "true", "at": {"x": 2.5}, "days": [], "n": 4},
    ]
    schema = arrow_schema(NESTED)
    rows = pa.RecordBatch.from_pylist(
        [r | {"counts": None if r["counts"] is None else list(r["counts"].items())} for r in records], schema
    )
    bodies = encode(rows, NESTED)
    assert decode(bodies, NESTED).rows.equals(rows)
    bodies[1] = bodies[1][:-1]
    found = decode(bodies, NESTED)
    assert list(found.bad) == [1] and found.rows.column("n").to_pylist() == [1, 3, 4]


class Landed(Event):
    """A flight."""

    flight: str
    delay: float | None = None
    state: Literal["late", "in time"]
    phase: Literal["late", "in_time"]
    day: dt.date
    stops: list[str]
    raw: bytes | None = None
    ts: EventTime


def test_an_event_class_there_and_back() -> None:
    text = avro_schema(Landed.__schema__)
    assert json.loads(text)["doc"] == "A flight."
    assert arrow_schema(text).equals(Landed.__schema__.arrow())
    now = dt.datetime(2013, 3, 10, 7, 59, 59, 999_999, tzinfo=dt.UTC)
    rows = pa.RecordBatch.from_pylist(
        [
            {
                "flight": "UA1",
                "delay": None,
                "state": "in time",
                "phase": "in_time",
                "day": now.date(),
                "stops": ["EWR"],
                "raw": b"\x00",
                "ts": now,
            }
        ],
        Landed.__schema__.arrow(),
    )
    assert decode(encode(rows, text), text).rows.equals(rows)


FLAT = json.dumps(
    {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "s", "type": "string"},
            {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A"]}},
        ],
    }
)


@pytest.mark.parametrize(("column", "value", "said"), [("s", None, "required"), ("e", "B", "none of the schema's A")])
def test_rows_that_do_not_fit_are_refused(column: str, value: Any, said: str) -> None:
    record = {"s": "x", "e": "A"} | {column: value}
    with pytest.raises(UsageError, match=said):
        encode(pa.RecordBatch.from_pylist([record], pa.schema([("s", pa.string()), ("e", pa.string())])), FLAT)
    with pytest.raises(UsageError, match="no column e"):
        encode(pa.record_batch({"s": ["x"]}), FLAT)


def test_a_union_that_no_table_can_hold_is_refused() -> None:
    with pytest.raises(UsageError, match="union"):
        arrow_schema(
            json.dumps(
                {
                    "type": "record",
                    "name": "R",
                    "fields": [{"name": "u", "type": ["string", {"type": "array", "items": "long"}]}],
                }
            )
        )


def test_slices_and_dictionaries_are_written_right() -> None:
    rows = pa.record_batch(
        {"s": pa.array(["a", "bb", None, "dddd"]).fill_null("ccc").dictionary_encode(), "e": pa.array(["A"] * 4)}
    ).slice(1, 2)
    assert decode(encode(rows, FLAT), FLAT).rows.column("s").to_pylist() == ["bb", "ccc"]


@pytest.mark.parametrize(
    ("body", "good"),
    [
        (b"\x02\x02\x00\x01", True),
        (b"\x04\x02\x00\x01", False),
        (b"\x02\x02\x04\x01", False),
        (b"\x82\x00\x02\x00\x01", True),
    ],
)
def test_a_branch_that_no_union_has(body: bytes, good: bool) -> None:
    """Polars takes any branch that is not null for the value. A number written longer than need be is sound."""
    text = json.dumps(
        {
            "type": "record",
            "name": "R",
            "fields": [{"name": "a", "type": ["null", "long"]}, {"name": "b", "type": ["boolean", "null"]}],
        }
    )
    found = decode([b"\x02\x06\x00\x00", body, b"\x00\x02"], text)
    expected = [{"a": 3, "b": False}, *([{"a": 1, "b": True}] if good else []), {"a": None, "b": None}]
    assert found.rows.to_pylist() == expected and list(found.bad) == ([] if good else [1])
