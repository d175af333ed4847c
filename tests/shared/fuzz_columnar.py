"""Fuzzed Parquet and Avro files: good records in columns of many physical types, and between them values that Arrow or
Avro holds and a table does not.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from poison import FIELDS, Record, Sent, good

FILE_RECORDS = 500
_EPOCH, _DAY0 = datetime(1970, 1, 1, tzinfo=UTC), date(1970, 1, 1)
UTF8 = (b"\xff", b"\xed\xa0\x80", b"a\xc3", b"\xf8\x88\x80\x80\x80")


def micros(value: datetime) -> int:
    passed = value - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def days(value: date) -> int:
    return (value - _DAY0).days


BAD_DAYS = (-719_163, 2_932_897, -(2**31), 2**31 - 1)
BAD_MICROS = (-62_135_596_800_000_001, 253_402_300_800_000_000, -(2**63), 2**63 - 1)
BAD_MILLIS = (-62_135_596_800_001, 253_402_300_800_000, -(2**63), 2**63 - 1)


def parquet_files(folder: Path, rng: random.Random, count: int) -> list[Sent]:
    """Files with `count` records in all."""
    folder.mkdir(exist_ok=True)
    sent: list[Sent] = []
    for number, at in enumerate(range(0, count, FILE_RECORDS)):
        records = [
            Sent(b"", good(rng, f"g{at + i}") if rng.random() < 0.8 else None)
            for i in range(min(FILE_RECORDS, count - at))
        ]
        columns = {name: _COLUMNS[name](rng, [one.good for one in records]) for name in FIELDS}
        pq.write_table(pa.table(columns), folder / f"{number:06}.parquet", row_group_size=rng.choice([97, 1_000]))
        sent += records
    return sent


def _column(
    name: str, kinds: Sequence[tuple[pa.DataType, pa.DataType, Callable[[Any], Any], Sequence[Any]]]
) -> Callable[..., pa.Array]:
    """A column in one of several types: (what its values are built in, what they are then, a good value's, poison)."""

    def made(rng: random.Random, records: Sequence[Record | None]) -> pa.Array:
        built, kind, to, bad = rng.choice(kinds)
        filler = {"id": "p", "ts": _EPOCH, "count": 1}.get(name)
        values = [
            (
                (None if filler is None else to(filler))
                if record is None and rng.random() < 0.6
                else rng.choice(bad)
                if record is None
                else None
                if record[name] is None
                else to(record[name])
            )
            for record in records
        ]
        array = pa.array(values, built)
        return array if kind == built else array.view(kind)

    return made


_US, _MS, _S = pa.timestamp("us", "UTC"), pa.timestamp("ms", "UTC"), pa.timestamp("us")
_TEXTS = (pa.binary(), pa.string(), str.encode, UTF8)
_LONG = pa.int64()
_COLUMNS: dict[str, Callable[..., pa.Array]] = {
    "id": _column(
        "id",
        [
            _TEXTS,
            (pa.large_binary(), pa.large_string(), str.encode, UTF8),
            (pa.binary(), pa.binary(), str.encode, UTF8),
        ],
    ),
    "n": _column(
        "n",
        [(_LONG, _LONG, int, [0]), (pa.string(), pa.string(), str, ["9" * 5_000, "1e400", "x", "9223372036854775808"])],
    ),
    "x": _column(
        "x",
        [
            (pa.float64(), pa.float64(), float, [float("inf"), float("nan")]),
            (pa.string(), pa.string(), repr, ["1e400", "z", "9" * 400]),
        ],
    ),
    "ok": _column(
        "ok",
        [(pa.bool_(), pa.bool_(), bool, [True]), (pa.string(), pa.string(), lambda v: str(v).lower(), ["maybe", ""])],
    ),
    "raw": _column(
        "raw", [(pa.binary(), pa.binary(), bytes, [b"\xff" * 3]), (pa.large_binary(), pa.large_binary(), bytes, [b""])]
    ),
    "word": _column("word", [_TEXTS, (pa.string(), pa.string(), str, ["blue", "\u0000"])]),
    "day": _column(
        "day",
        [
            (pa.int32(), pa.date32(), days, BAD_DAYS),
            (_LONG, pa.date64(), lambda v: days(v) * 86_400_000, [86_400_000 * d for d in BAD_DAYS]),
            (pa.string(), pa.string(), str, ["0000-01-01", "10000-01-01", "2026-02-30"]),
        ],
    ),
    "seen": _column(
        "seen",
        [
            (_LONG, _US, micros, BAD_MICROS),
            (_LONG, _S, micros, BAD_MICROS),
            (pa.string(), pa.string(), datetime.isoformat, ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"]),
        ],
    ),
    "tags": _column(
        "tags",
        [
            (pa.list_(pa.string()),) * 2 + (list, [[None], ["a", None], []]),
            (pa.large_list(pa.large_string()),) * 2 + (list, [[None]]),
            (pa.string(), pa.string(), json.dumps, ['["\\ud800"]', "[", "[1]", "[" * 100_000]),
        ],
    ),
    "nums": _column(
        "nums",
        [
            (pa.list_(_LONG),) * 2 + (list, [[None]]),
            (pa.string(), pa.string(), json.dumps, ["[9223372036854775808]", "[1e400]", "[null]"]),
        ],
    ),
    "xs": _column("xs", [(pa.list_(pa.float64()),) * 2 + (list, [[None], [float("nan")], [float("inf")]])]),
    "days": _column(
        "days", [(pa.list_(pa.int32()), pa.list_(pa.date32()), lambda v: [days(d) for d in v], [[d] for d in BAD_DAYS])]
    ),
    "count": _column(
        "count",
        [(_LONG, _LONG, int, [None, 0]), (pa.float64(), pa.float64(), float, [1.5, float("inf"), 1e300, float("nan")])],
    ),
    "ts": _column(
        "ts",
        [
            (_LONG, _US, micros, [None, *BAD_MICROS]),
            (_LONG, _S, micros, BAD_MICROS),
            (pa.string(), pa.string(), datetime.isoformat, ["", "now", "0000-01-01"]),
        ],
    ),
}


# -- Avro: written as bytes and numbers under a schema that says texts, dates and times, since a writer in Python
# refuses what a file may hold

_DATE, _MICROS, _MILLIS = (
    {"type": base, "logicalType": word}
    for base, word in (("int", "date"), ("long", "timestamp-micros"), ("long", "timestamp-millis"))
)


def _avro_fields(rng: random.Random) -> list[tuple[str, Any, Any, Callable[[Any], Any], Sequence[Any]]]:
    """(name, the schema's type, what is written, a good value's, poison)."""
    wide = rng.random() < 0.3
    n: tuple[Any, Any] = (["null", "string", "long"],) * 2 if wide else (["null", "long"],) * 2
    return [
        ("id", "string", "bytes", str.encode, UTF8),
        ("n", *n, int, ["x", "9" * 400] if wide else [0]),
        ("x", *(["null", "double"],) * 2, float, [float("inf"), float("nan")]),
        ("ok", *(["null", "boolean"],) * 2, bool, [True]),
        ("raw", *(["null", "bytes"],) * 2, bytes, [b"\xff"]),
        ("word", ["null", "string"], ["null", "bytes"], str.encode, [*UTF8, b"blue"]),
        ("day", ["null", _DATE], ["null", "int"], days, BAD_DAYS),
        ("seen", ["null", _MICROS], ["null", "long"], micros, BAD_MICROS),
        (
            "tags",
            ["null", {"type": "array", "items": "string"}],
            ["null", {"type": "array", "items": "bytes"}],
            lambda v: [s.encode() for s in v],
            [[one] for one in UTF8],
        ),
        ("nums", *(["null", {"type": "array", "items": ["null", "long"]}],) * 2, list, [[None], [1, None]]),
        ("xs", *(["null", {"type": "array", "items": "double"}],) * 2, list, [[float("nan")]]),
        (
            "days",
            ["null", {"type": "array", "items": _DATE}],
            ["null", {"type": "array", "items": "int"}],
            lambda v: [days(d) for d in v],
            [[d] for d in BAD_DAYS],
        ),
        ("count", "long", "long", int, [0]),
        ("ts", _MICROS, "long", micros, BAD_MICROS),
    ]


def avro_files(folder: Path, rng: random.Random, count: int) -> list[Sent]:
    """Files with `count` records in all; every other file is without texts that are not UTF-8, so that the fast reader
    takes it.
    """
    folder.mkdir(exist_ok=True)
    sent: list[Sent] = []
    for number, at in enumerate(range(0, count, FILE_RECORDS)):
        fields = _avro_fields(rng)
        records = [
            Sent(b"", good(rng, f"g{at + i}") if rng.random() < 0.8 else None)
            for i in range(min(FILE_RECORDS, count - at))
        ]
        values = [_avro_record(rng, one.good, fields, texts=number % 2 == 0) for one in records]
        (folder / f"{number:06}.avro").write_bytes(
            container(
                [(name, kind, written) for name, kind, written, _, _ in fields], values, block=rng.choice([50, 500])
            )
        )
        sent += records
    return sent


def _avro_record(rng: random.Random, record: Record | None, fields: Sequence[Any], texts: bool) -> Record:
    if record is not None:
        return {name: None if record[name] is None else to(record[name]) for name, _, _, to, _ in fields}
    made = {"id": b"p", "count": 1, "ts": 0}
    chosen = rng.sample([f for f in fields if texts or f[4] is not UTF8], 3)
    return {
        **{name: made.get(name) for name, *_ in fields},
        **{name: rng.choice([b for b in bad if texts or not _not_text(b)] or [None]) for name, _, _, _, bad in chosen},
    }


def _not_text(value: Any) -> bool:
    return value in UTF8 or (isinstance(value, list) and any(item in UTF8 for item in value))


def container(fields: Sequence[tuple[str, Any, Any]], values: Sequence[Record], block: int = 100) -> bytes:
    """An Avro container file of records that are written under one schema and say another: (name, type said, type
    written).
    """
    said, written = (
        {"type": "record", "name": "r", "fields": [{"name": f[0], "type": f[place]} for f in fields]}
        for place in (1, 2)
    )
    out, sync, bare = io.BytesIO(), b"0123456789abcdef", fastavro.parse_schema(written)
    fastavro.writer(out, said, [], sync_marker=sync)
    for at in range(0, len(values), block):
        body = b"".join(_written(bare, one) for one in values[at : at + block])
        out.write(_written("long", len(values[at : at + block])) + _written("long", len(body)) + body + sync)
    return out.getvalue()


def _written(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()
