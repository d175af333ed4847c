"""Records of which some are poison: an event class with every kind of field, good values for it, and values and texts
that some writer cannot hold.

A good record must land with equal values whatever its neighbours are. A poison one may land or be refused, as its door
finds; it must be counted once.
"""

from __future__ import annotations

import json
import os
import random
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

import millstream as ms


class Everything(ms.Event):
    """One field of each kind."""

    id: str
    n: int | None = None
    x: float | None = None
    ok: bool | None = None
    raw: bytes | None = None
    word: Literal["red", "green"] | None = None
    day: date | None = None
    seen: datetime | None = None
    tags: list[str] | None = None
    nums: list[int] | None = None
    xs: list[float] | None = None
    days: list[date] | None = None
    count: int = 7
    ts: ms.EventTime


STREAM = ms.stream("everything", Everything, key="id", dedupe=None, partitions=2)
FIELDS = Everything.__schema__.names()
Record = dict[str, Any]
RECORDS = int(os.environ.get("FUZZ_RECORDS", "5000"))
SEED = (
    int(os.environ["FUZZ_SEED"])
    if os.environ.get("FUZZ_SEED", "").isdigit()
    else random.SystemRandom().getrandbits(32)
    if "FUZZ_SEED" in os.environ
    else 20_131_101
)
"""Fixed; FUZZ_SEED=N takes another, FUZZ_SEED= (or any word) a fresh one. Every failure names it."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime(1, 1, 3, tzinfo=UTC), NOW


@dataclass(frozen=True)
class Sent:
    """A record of a fuzzed file or body: `good` is what must land of it, None for poison."""

    text: bytes
    good: Record | None


def moment(rng: random.Random) -> datetime:
    return rng.choice(
        [_FIRST, _LAST, datetime(1970, 1, 1, tzinfo=UTC), _FIRST + rng.random() * (_LAST - _FIRST)]
    ).replace(tzinfo=UTC)


def text(rng: random.Random) -> str:
    return rng.choice(
        [
            "plain",
            "",
            "a,b",
            'a "b"',
            "\U0001f600",
            "zö\u0301",
            "x" * 70,
            "\u2028",
            "null",
            "NaN",
            "1e400",
            "a\x00b",
            "  ",
            "\ufffd",
            "{}",
            "[1]",
        ]
    )


def number(rng: random.Random) -> float:
    return rng.choice([0.0, -0.0, 1e308, -5e-324, 0.1, 1e15, float(rng.randrange(10**6))])


def day(rng: random.Random) -> date:
    return rng.choice([date(1, 1, 1), date(9999, 12, 31), date(1970, 1, 1), date(2000, 2, 29)])


def good(rng: random.Random, name: str) -> Record:
    """A record that every door takes."""
    whole: dict[str, Callable[[], Any]] = {
        "n": lambda: rng.choice([0, -(2**63), 2**63 - 1, rng.randrange(10**9)]),
        "x": lambda: number(rng),
        "ok": lambda: rng.random() < 0.5,
        "raw": lambda: rng.choice([b"", b"\xff\x00", b"abc"]),
        "word": lambda: rng.choice(["red", "green"]),
        "day": lambda: day(rng),
        "seen": lambda: moment(rng),
        "tags": lambda: [text(rng) for _ in range(rng.randrange(3))],
        "nums": lambda: [rng.choice([-(2**63), 2**63 - 1, 5]) for _ in range(rng.randrange(3))],
        "xs": lambda: [number(rng) for _ in range(rng.randrange(3))],
        "days": lambda: [day(rng) for _ in range(rng.randrange(3))],
    }
    return {
        "id": name,
        **{key: make() if rng.random() < 0.6 else None for key, make in whole.items()},
        "count": rng.choice([7, 1, -1]),
        "ts": moment(rng),
    }


def landed(row: Record) -> Record:
    """A row of the table, as `good` has it."""
    return {name: row[name].astimezone(UTC) if isinstance(row[name], datetime) else row[name] for name in FIELDS}


# -- JSON

_T = '"2026-01-01T00:00:00Z"'
DEEP = "[" * 100_000 + "]" * 100_000
JSON_VALUES = (
    "1e400",
    "-1e999",
    "9" * 5_000,
    "-" + "9" * 400,
    "9223372036854775808",
    "-9223372036854775809",
    "1.5",
    "NaN",
    "Infinity",
    "true",
    "{}",
    "[]",
    "[[1]]",
    "null",
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '["\\ud800"]',
    "[9223372036854775808]",
    "[-1e400]",
    "[null]",
    "[1.5]",
    '["0000-01-01"]',
    '["2026-02-30"]',
    '"0000-01-01"',
    '"10000-01-01"',
    '"9999-12-31T23:59:59-14:00"',
    '"0001-01-01T00:00:00+14:00"',
    '"0000-01-01T00:00:00Z"',
    '"2026-01-01T00:00:00"',
    '"292277026596-01-01"',
    '"!"',
    '"blue"',
    '"\\u0000"',
    '["a", 1]',
    '{"a": {"b": [1]}}',
    '[{"a": 1}]',
    "[" + "9" * 5_000 + "]",
    '"' + "z" * 70_000 + '"',
    '"2026-01-01T00:00:60Z"',
)
JSON_TEXTS = (
    b"null",
    b"[]",
    b"5",
    b"{}",
    b"true",
    b'"a"',
    b"{",
    b"}",
    b"nope",
    b'{"id": "p"',
    b'{"id": "p",}',
    b'{"id": "p", "ts": ' + _T.encode() + b"}{}",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"id": "p", "id": "q", "ts": ' + _T.encode() + b"}",
    b'{"id": "\xff", "ts": ' + _T.encode() + b"}",
    b'{"id": "p\x01", "ts": ' + _T.encode() + b"}",
    b'{"\\ud800": 1, "id": "p", "ts": ' + _T.encode() + b"}",
    b'{"id": "\xed\xa0\x80", "ts": ' + _T.encode() + b"}",
    b'{"id": "p", "zz": 1e400, "ts": ' + _T.encode() + b"}",
    b'{"id": "p", "n": ' + DEEP.encode() + b', "ts": ' + _T.encode() + b"}",
    b'{"id": "p", "zz": ' + DEEP.encode() + b', "ts": ' + _T.encode() + b"}",
    b'{"id": "p", "tags": ' + DEEP.encode() + b', "ts": ' + _T.encode() + b"}",
    DEEP.encode(),
    b'{"ts": ' + b'{"a":' * 3_000 + b"1" + b"}" * 3_000 + b"}",
)


def json_record(record: Record) -> bytes:
    """A good record as JSON."""
    sent = {
        key: b64encode(value).decode() if isinstance(value, bytes) else value
        for key, value in record.items()
        if value is not None or key == "n"
    }
    return json.dumps(sent, default=lambda value: value.isoformat(), ensure_ascii=record["count"] == 1).encode()


def json_poison(rng: random.Random) -> bytes:
    """A record with one or more poison values, a text that is not a record, or a good one with bytes changed. Never
    with a line end, never blank.
    """
    kind = rng.random()
    if kind < 0.1:
        return rng.choice(JSON_TEXTS)
    if kind < 0.75:
        fields = {name: rng.choice(JSON_VALUES) for name in rng.sample([*FIELDS, "zz", "N"], rng.randrange(1, 4))}
        return (
            "{" + ", ".join(f'"{name}": {value}' for name, value in {"id": '"p"', "ts": _T, **fields}.items()) + "}"
        ).encode()
    return _changed(rng, json_record(good(rng, "p")))


def _changed(rng: random.Random, data: bytes, never: bytes = b"\r\n") -> bytes:
    made = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(made))
        made[at : at + rng.randrange(2)] = bytes([rng.choice([rng.randrange(256), *b'"\\{}[],:0e-'])])
    made = bytearray(byte for byte in made if byte not in never)
    return bytes(made) if made.strip() else b"0"


def json_records(rng: random.Random, count: int) -> Iterator[Sent]:
    for at in range(count):
        record = good(rng, f"g{at}") if rng.random() < 0.7 else None
        yield Sent(json_poison(rng), None) if record is None else Sent(json_record(record), record)


# -- CSV

CSV_VALUES = (
    "1e400",
    "9" * 5_000,
    "9223372036854775808",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "0000-01-01",
    "10000-01-01",
    "2026-02-30",
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
    "2026-01-01",
    "[9223372036854775808]",
    '["\\ud800"]',
    "[null]",
    "[1e400]",
    "[1.5]",
    DEEP,
    "{}",
    "null",
    "!",
    "blue",
    "a\x00b",
    "=1+1",
    "-",
    "\u202e",
    "x" * 140_000,
    '["0000-01-01"]',
    "[" + "9" * 5_000 + "]",
    "0x10",
    "1_000",
    "١٢",
    " 5 ",
    "true",
    "5\n6",
    '"',
    "[1,",
    '{"a":1}',
    "[[1]]",
    "253402300800",
    "-62135596801",
)


def csv_record(record: Record) -> bytes:
    """A good record as CSV. A text that is empty, or absent, is the same there."""
    return ",".join(_cell(record[name]) for name in FIELDS).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        value = json.dumps(value, default=str)
    elif isinstance(value, bytes):
        value = b64encode(value).decode()
    elif isinstance(value, datetime):
        value = value.isoformat()
    elif isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, float):
        value = repr(value)
    return _quoted(str(value))


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"' if any(letter in value for letter in '",\n\r') or value == "" else value


def csv_poison(rng: random.Random) -> bytes:
    """As `json_poison`; quotes are whole, so that no line can swallow its neighbours."""
    if rng.random() < 0.8:
        cells = {**dict.fromkeys(FIELDS, ""), "id": "p", "count": "1", "ts": "2026-01-01T00:00:00Z"}
        cells |= {name: rng.choice(CSV_VALUES) for name in rng.sample(FIELDS, rng.randrange(1, 4))}
        return ",".join(_quoted(cell) if cell else "" for cell in cells.values()).encode()
    plain = {**good(rng, "p"), "tags": None, "days": None, "nums": None, "xs": None}
    return _changed(rng, csv_record(plain).replace(b'"', b""), never=b'\r\n"')


def csv_records(rng: random.Random, count: int) -> Iterator[Sent]:
    for at in range(count):
        if rng.random() < 0.3:
            yield Sent(csv_poison(rng), None)
            continue
        record = good(rng, f"g{at}")
        yield Sent(csv_record(record), record)
