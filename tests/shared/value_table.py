"""The one table of what a value may be spelled like: format x type x spelling -> the value that lands, or DEAD. The tests ask every door for each cell, and the
page `docs/reference/values.md` shows it.

A spelling means the same at each door of its format. Where doors must differ (times without a zone, which a file's source has and a request has not; NaN, which JSON
has not), there are two columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

DEAD = "dead"
"""What a value is that its field cannot hold: a dead letter of a file, a refusal of a request."""
MISSING = object()
"""No such field in the record."""


@dataclass(frozen=True)
class Cell:
    """One spelling of one type. `asked`: the value by a request, where it is not that of a file."""

    kind: str
    spelled: Any
    value: Any
    asked: Any = None
    note: str = ""

    @property
    def by_request(self) -> Any:
        return self.value if self.asked is None else self.asked


def _utc(hour: int = 3, minute: int = 4, second: int = 5, micro: int = 0) -> datetime:
    return datetime(2026, 1, 2, hour, minute, second, micro, UTC)


INF, DAY, MICROS = float("inf"), date(2026, 1, 2), _utc(micro=123456)
_NONE = {"": None, '""': DEAD, "null": DEAD}


def _cells(table: dict[str, dict[Any, Any]]) -> list[Cell]:
    return [Cell(kind, spelled, *(value if isinstance(value, tuple) else (value,))) for kind, row in table.items() for spelled, value in row.items()]


CSV = _cells({
    "int": {**_NONE, "1": 1, "1.0": 1, "1.": 1, "1e3": 1000, "100e-2": 1, "1.5": DEAD, ".5": DEAD, "1e-1": DEAD, "-0": 0, "-0.0": 0, "+1": 1, " 1 ": 1, "007": 7, "1_000": DEAD,
            "0x10": DEAD, "NaN": DEAD, "Infinity": DEAD, "true": DEAD, '"1,5"': DEAD, '"1,000"': DEAD, '"1.000,5"': DEAD, "1 000": DEAD, "N/A": DEAD, "1L": DEAD, "１": DEAD,
            "9007199254740993": 2**53 + 1, "9007199254740993.0": 2**53 + 1, "9223372036854775807": 2**63 - 1, "-9223372036854775808": -(2**63), "9223372036854775808": DEAD, "1e400": DEAD, "1e30": DEAD, "9" * 60: DEAD, "0e400": 0, "-0e400": 0, "0.000e999": 0, "0e99999999999999999999": 0,
            "1e99999999999999999999": DEAD, "1." + "0" * 50: 1, "1" + "0" * 50 + "e-50": 1, "1." + "0" * 50 + "1": DEAD},
    "float": {**_NONE, "1": 1.0, "1.0": 1.0, "1e3": 1000.0, ".5": 0.5, "-0": 0.0, "-0.0": 0.0, "+1.5": 1.5, " 1 ": 1.0, "007": 7.0, "1_000": DEAD, "0x10": DEAD, "NaN": None, "nan": None,
              "Infinity": INF, "-inf": -INF, "true": DEAD, '"1,5"': DEAD, '"1,000"': DEAD, "N/A": DEAD, "1d": DEAD, "0.1": 0.1, "0.1000000000000000055511151231257827": 0.1,
              "9007199254740992": 2.0**53, "9007199254740993": DEAD, "12345678901234567890": DEAD, "9223372036854776000": 2.0**63, "9.007199254740993e15": 2.0**53, "1e400": DEAD, "-1e400": DEAD, "1e-400": 0.0, "0e400": 0.0, "-0e400": 0.0,
              "0.000e999": 0.0, ".0e309": 0.0, "0e99999999999999999999": 0.0},
    "bool": {**_NONE, "true": True, "TRUE": True, "False": False, "1": True, "0": False, " true ": True, "t": DEAD, "yes": DEAD, "no": DEAD, "on": DEAD, "2": DEAD, "-1": DEAD, "1.0": DEAD},
    "str": {"": None, '""': "", "null": "null", '"null"': "null", "1": "1", "1.0": "1.0", "007": "007", " a ": " a ", '" a "': " a ", "true": "true", "NaN": "NaN", '"a,b"': "a,b", '"a ""b"""': 'a "b"'},
    "symbol": {**_NONE, "red": "red", '"red"': "red", "RED": DEAD, " red ": DEAD, "blue": DEAD},
    "date": {**_NONE, "2026-01-02": DAY, " 2026-01-02 ": DAY, "2026-1-2": DEAD, "20260102": DEAD, "2026-01-02T00:00:00": DEAD, "2026-01-02T00:00:00Z": DEAD, "02/01/2026": DEAD, "01.02.2026": DEAD,
             "20455": DEAD, "1767312000": DEAD, "2026-02-30": DEAD, "0000-01-01": DEAD},
    "datetime": {**_NONE, "2026-01-02T03:04:05Z": _utc(), "2026-01-02t03:04:05z": _utc(), "2026-01-02 03:04:05Z": _utc(), "2026-01-02 05:04:05+02:00": _utc(), "2026-01-02T05:04:05+0200": _utc(),
                 "2026-01-02T05:04:05+02": _utc(), "2026-01-02T03:04Z": _utc(second=0), "2026-01-02T03Z": _utc(minute=0, second=0), " 2026-01-02T03:04:05Z ": _utc(),
                 "2026-01-02T03:04:05.123456789Z": MICROS, "2026-01-02T03:04:05.1234567Z": MICROS, "2026-01-02T03:04:05": _utc(), "2026-01-02 03:04:05": _utc(), "2026-01-02T03:04": _utc(second=0),
                 "2026-01-02": _utc(0, 0, 0), "2026-01-02T03:04:05 UTC": DEAD, "2026-01-02T03:04:05 +02:00": DEAD, "20260102T030405Z": DEAD, "1767312000": DEAD, "1767312000000": DEAD, "1767312000.5": DEAD,
                 "2026-01-02T24:00:00Z": DEAD, "2026-01-02T23:59:60Z": DEAD, "01/02/2026 03:04": DEAD, '"2026-01-02T03:04:05,123Z"': DEAD},
    "bytes": {"": None, '""': b"", "YWJj": b"abc", "YW": DEAD, "!!": DEAD, "a-_b": DEAD},
    "list[int]": {**_NONE, "[]": [], '"[1,2]"': [1, 2], "[1.0]": [1], "[1e3]": [1000], "[-0]": [0], "[0e400]": [0], '"[1,null]"': DEAD, "[1.5]": DEAD, "[NaN]": DEAD, "[true]": DEAD, '"[""1""]"': DEAD, "1;2": DEAD, "1|2": DEAD,
                  "5": DEAD, "{1}": DEAD, "[[1]]": DEAD, "[9007199254740993]": [2**53 + 1], "[9223372036854775808]": DEAD},
    "list[float]": {"": None, "[]": [], '"[1,2.5]"': [1.0, 2.5], "[-0]": [0.0], "[0e400]": [0.0], '"[1.5,null]"': DEAD, "[NaN]": DEAD, "[Infinity]": DEAD, "[1e400]": DEAD, "[true]": DEAD, '"[""1""]"': DEAD, "1;2": DEAD,
                    "[9007199254740993]": DEAD, "[9007199254740992]": [2.0**53]},
    "list[bool]": {"": None, "[]": [], '"[true,false]"': [True, False], "[1]": DEAD, '"[""true""]"': DEAD, "[null]": DEAD},
    "list[str]": {"": None, "[]": [], '"[""a""]"': ["a"], "[1]": DEAD, "[true]": DEAD, "a;b": DEAD, '"[""a"",null]"': DEAD, '"[[""a""]]"': DEAD},
    "list[date]": {"": None, "[]": [], '"[""2026-01-02""]"': [DAY], "[20455]": DEAD, '"[""2026-01-02T00:00:00Z""]"': DEAD, '"["" 2026-01-02 ""]"': DEAD},
    "list[datetime]": {"": None, "[]": [], '"[""2026-01-02T03:04:05Z""]"': [_utc()], '"[""2026-01-02T03:04:05""]"': [_utc()], '"[""2026-01-02T03:04:05.123456789Z""]"': [MICROS], "[1767312000]": DEAD,
                       '"[""2026-01-02T03:04:05"",""2026-01-02T05:04:05+02:00""]"': [_utc(), _utc()], '"["" 2026-01-02T03:04:05Z ""]"': DEAD},
})  # fmt: skip

_MISSED = {MISSING: None, "null": None, '""': DEAD}
JSON = _cells({
    "int": {**_MISSED, "1": 1, "1.0": 1, "1e3": 1000, "100e-2": 1, "1.5": DEAD, "-0": 0, "-0.0": 0, "+1": DEAD, "01": DEAD, "0x10": DEAD, '"1"': DEAD, '"1.0"': DEAD, "NaN": DEAD, "Infinity": DEAD, "true": DEAD,
            "[1]": DEAD, "{}": DEAD, "9007199254740993": 2**53 + 1, "9007199254740993.0": 2**53 + 1, "9223372036854775807.0": 2**63 - 1, "9223372036854775808": DEAD, "1e19": DEAD, "1e400": DEAD, "0e400": 0, "-0e400": 0, "0.000e999": 0,
            "0e99999999999999999999": 0, "1e99999999999999999999": DEAD, "1." + "0" * 50: 1, "1" + "0" * 50 + "e-50": 1, "1." + "0" * 50 + "1": DEAD},
    "float": {**_MISSED, "1": 1.0, "1.0": 1.0, "1e3": 1000.0, "-0": 0.0, "-0.0": 0.0, '"1.5"': DEAD, '"NaN"': DEAD, "NaN": (None, DEAD), "Infinity": DEAD, "-Infinity": DEAD, "true": DEAD, "0.1": 0.1,
              "0.1000000000000000055511151231257827": 0.1, "9007199254740992": 2.0**53, "9007199254740993": DEAD, "-9007199254740993": DEAD, "12345678901234567890": DEAD, "9223372036854776000": 2.0**63,
              "1e300": 1e300, "1e400": DEAD, "-1e400": DEAD, "1e-400": 0.0, "0e400": 0.0, "-0e400": 0.0, "0.000e999": 0.0, "0e309": 0.0, "0E99999999999999999999": 0.0},
    "bool": {**_MISSED, "true": True, "false": False, "1": DEAD, "0": DEAD, '"true"': DEAD, "TRUE": DEAD},
    "str": {MISSING: None, "null": None, '""': "", '"a"': "a", '" a "': " a ", '"null"': "null", "1": DEAD, "1.0": DEAD, "true": DEAD, "[]": DEAD, "{}": DEAD},
    "symbol": {**_MISSED, '"red"': "red", '"RED"': DEAD, '" red "': DEAD, "1": DEAD},
    "date": {**_MISSED, '"2026-01-02"': DAY, '" 2026-01-02 "': DEAD, '"2026-1-2"': DEAD, '"20260102"': DEAD, '"2026-01-02T00:00:00Z"': DEAD, "20455": DEAD, '"2026-02-30"': DEAD, '"0000-01-01"': DEAD},
    "datetime": {**_MISSED, '"2026-01-02T03:04:05Z"': _utc(), '"2026-01-02t03:04:05z"': _utc(), '"2026-01-02 05:04:05+02:00"': _utc(), '"2026-01-02T05:04:05+0200"': _utc(), '"2026-01-02T05:04:05+02"': _utc(),
                 '"2026-01-02T03:04Z"': _utc(second=0), '"2026-01-02T03Z"': _utc(minute=0, second=0), '"2026-01-02T03:04:05.1Z"': _utc(micro=100000), '"2026-01-02T03:04:05.123456789Z"': MICROS,
                 '"2026-01-02T03:04:05.1234567Z"': MICROS, '"2026-01-02T03:04:05.9999999Z"': _utc(micro=999999), '"2026-01-02T03:04:05"': (_utc(), DEAD), '"2026-01-02 03:04"': (_utc(second=0), DEAD),
                 '"2026-01-02"': (_utc(0, 0, 0), DEAD), '" 2026-01-02T03:04:05Z "': DEAD, '"2026-01-02T03:04:05 UTC"': DEAD, '"20260102T030405Z"': DEAD, '"2026-01-02T24:00:00Z"': DEAD,
                 '"2026-01-02T23:59:60Z"': DEAD, '"01/02/2026 03:04"': DEAD, '"1767312000"': DEAD, "1767312000": DEAD, "1767312000.5": DEAD},
    "bytes": {MISSING: None, "null": None, '""': b"", '"YWJj"': b"abc", '"YW"': DEAD, '"a-_b"': DEAD, "[97]": DEAD},
    "list[int]": {**_MISSED, "[]": [], "[1,2]": [1, 2], "[1.0]": [1], "[1e3]": [1000], "[-0]": [0], "[0e400]": [0], "[1,null]": DEAD, "[1.5]": DEAD, "[NaN]": DEAD, "[true]": DEAD, '["1"]': DEAD, "5": DEAD, '"[1]"': DEAD,
                  "[[1]]": DEAD, "[9007199254740993]": [2**53 + 1], "[9223372036854775808]": DEAD},
    "list[float]": {**_MISSED, "[]": [], "[1,2.5]": [1.0, 2.5], "[-0]": [0.0], "[0e400]": [0.0], "[1.5,null]": DEAD, "[NaN]": DEAD, "[Infinity]": DEAD, "[1e400]": DEAD, "[true]": DEAD, '["1"]': DEAD, "1.5": DEAD,
                    "[9007199254740993]": DEAD, "[9007199254740992]": [2.0**53]},
    "list[bool]": {MISSING: None, "[]": [], "[true,false]": [True, False], "[1]": DEAD, '["true"]': DEAD, "[null]": DEAD},
    "list[str]": {MISSING: None, "[]": [], '["a"]': ["a"], "[1]": DEAD, "[true]": DEAD, '["a",null]': DEAD, '"a"': DEAD, '[["a"]]': DEAD},
    "list[date]": {MISSING: None, "[]": [], '["2026-01-02"]': [DAY], "[20455]": DEAD, '["2026-01-02T00:00:00Z"]': DEAD, '[" 2026-01-02 "]': DEAD},
    "list[datetime]": {MISSING: None, "[]": [], '["2026-01-02T03:04:05Z"]': [_utc()], '["2026-01-02T03:04:05.123456789Z"]': [MICROS], '["2026-01-02T05:04:05+02"]': [_utc()], "[1767312000]": DEAD,
                       '["2026-01-02T03:04:05"]': ([_utc()], DEAD), '[" 2026-01-02T03:04:05Z "]': DEAD},
})  # fmt: skip


def _column(value: Any, kind: pa.DataType | None = None) -> pa.Array:
    return pa.array([value], kind)


_US, _NS, _NAIVE = pa.timestamp("us", "UTC"), pa.timestamp("ns"), datetime(2026, 1, 2, 3, 4, 5)
_TWICE, _NEVER, _HALF = datetime(2026, 10, 25, 2, 30), datetime(2026, 3, 29, 2, 30), timedelta(minutes=30)
"""Local times that Berlin has twice, and never."""
COLUMNS = [Cell(kind, column, value) for kind, column, value in (
    ("int", _column(1.0), 1), ("int", _column(1.5), DEAD), ("int", _column(float("nan")), None), ("int", _column(INF), DEAD), ("int", _column(2.0**53 + 2), DEAD), ("int", _column(-0.0), 0),
    ("int", _column(True), DEAD), ("int", _column(Decimal("1.00")), 1), ("int", _column(Decimal("1.50")), DEAD), ("int", _column(2**63, pa.uint64()), DEAD), ("int", _column(5, pa.int8()), 5),
    ("int", _column(_utc(), _US), DEAD), ("int", _column(DAY), DEAD), ("int", _column("1.0"), 1), ("int", _column("1").dictionary_encode(), 1), ("int", _column(b"1"), DEAD), ("int", _column(None), None),
    ("float", _column(1), 1.0), ("float", _column(2**53 + 1), DEAD), ("float", _column(2**60), 2.0**60), ("float", _column(2**63 - 1), DEAD), ("float", _column(True), DEAD), ("float", _column(0.5, pa.float32()), 0.5),
    ("float", _column(Decimal("0.10")), 0.1), ("float", _column("9007199254740993"), DEAD), ("float", _column(INF), INF), ("float", _column(float("nan")), None), ("float", _column(-0.0), 0.0),
    ("float", _column(_utc(), _US), DEAD),
    ("bool", _column(1), True), ("bool", _column(0), False), ("bool", _column(2), DEAD), ("bool", _column(1.0), DEAD), ("bool", _column("true"), True), ("bool", _column("yes"), DEAD),
    ("str", _column(1), "1"), ("str", _column(1.0), DEAD), ("str", _column(True), DEAD), ("str", _column(Decimal("1.00")), "1.00"), ("str", _column(DAY), "2026-01-02"), ("str", _column(_utc(), _US), DEAD),
    ("str", _column(b"abc"), "abc"), ("str", _column(b"\xff"), DEAD), ("str", _column("a").dictionary_encode(), "a"), ("str", _column([1]), DEAD),
    ("symbol", _column("red").dictionary_encode(), "red"), ("symbol", _column(1), DEAD), ("symbol", _column("blue"), DEAD),
    ("date", _column(DAY), DAY), ("date", _column(datetime(2026, 1, 2), _NS), DAY), ("date", _column(_NAIVE), DEAD), ("date", _column(_utc(0, 0, 0), _US), DEAD), ("date", _column(20455, pa.int32()), DEAD),
    ("date", _column("2026-01-02"), DAY),
    ("datetime", _column(_NAIVE), _utc(2)), ("datetime", _column(DAY), datetime(2026, 1, 1, 23, tzinfo=UTC)), ("datetime", _column(1767312000), DEAD), ("datetime", _column(1767312000.5), DEAD),
    ("datetime", _column(1767323045123456789, pa.timestamp("ns", "UTC")), MICROS), ("datetime", _column(-1, pa.timestamp("ns", "UTC")), datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)),
    ("datetime", _column("2026-01-02T03:04:05"), _utc(2)), ("datetime", _column(_TWICE), DEAD), ("datetime", _column(_TWICE, _NS), DEAD), ("datetime", _column(str(_TWICE)), DEAD), ("datetime", _column(_NEVER), DEAD),
    ("datetime", _column(_TWICE.replace(hour=3)), datetime(2026, 10, 25, 2, tzinfo=UTC) + _HALF), ("datetime", _column("2026-10-25T02:30:00+01:00"), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
    ("bytes", _column("YWJj"), b"abc"), ("bytes", _column(b"abc", pa.binary(3)), b"abc"), ("bytes", _column(1), DEAD),
    ("list[int]", _column([1.0]), [1]), ("list[int]", _column([1.5]), DEAD), ("list[int]", _column([True]), DEAD), ("list[int]", _column([1, None]), DEAD), ("list[int]", _column([float("nan")]), DEAD),
    ("list[int]", _column([1, 2], pa.list_(pa.int64(), 2)), [1, 2]), ("list[int]", _column("[1]"), [1]), ("list[int]", _column(["1"]), [1]), ("list[int]", _column(5), DEAD),
    ("list[float]", _column([1]), [1.0]), ("list[float]", _column([2**53 + 1]), DEAD), ("list[float]", _column([True]), DEAD), ("list[float]", _column([float("nan")]), DEAD), ("list[float]", _column([INF]), [INF]),
    ("list[bool]", _column([1]), [True]), ("list[bool]", _column([2]), DEAD),
    ("list[str]", _column([1]), ["1"]), ("list[str]", _column([True]), DEAD), ("list[str]", _column([1.5]), DEAD), ("list[str]", _column([b"a"]), ["a"]),
    ("list[date]", _column([_NAIVE]), DEAD), ("list[date]", _column([20455], pa.list_(pa.int32())), DEAD), ("list[date]", _column(["2026-01-02"]), [DAY]),
    ("list[datetime]", _column([_NAIVE]), [_utc(2)]), ("list[datetime]", _column([1767312000]), DEAD), ("list[datetime]", _column(["2026-01-02T03:04:05"]), [_utc(2)]), ("list[datetime]", _column([_NAIVE, _TWICE]), DEAD), ("list[datetime]", _column([_NEVER]), DEAD),
)]  # fmt: skip
"""Columns of Parquet and Avro, of one row, read with the zone Europe/Berlin."""

_Z = {"type": "long", "logicalType": "timestamp-micros"}
_LOCAL = {"type": "long", "logicalType": "local-timestamp-micros"}
AVRO = [Cell(kind, (schema, sent), value) for kind, schema, sent, value in (
    ("int", "double", 1.0, 1), ("int", "double", 1.5, DEAD), ("int", "boolean", True, DEAD), ("int", "int", 5, 5), ("int", ["null", "long"], None, None), ("int", "string", "1.0", 1), ("int", _Z, _utc(), DEAD),
    ("float", "long", 2**53 + 1, DEAD), ("float", "long", 2**60, 2.0**60), ("float", "double", float("nan"), None), ("float", "double", INF, INF), ("float", "float", 0.5, 0.5), ("float", "boolean", True, DEAD),
    ("bool", "int", 1, True), ("bool", "int", 2, DEAD), ("str", "long", 1, "1"), ("str", "double", 1.0, DEAD), ("str", "boolean", True, DEAD),
    ("date", {"type": "int", "logicalType": "date"}, DAY, DAY), ("date", "int", 20455, DEAD), ("date", _Z, _utc(0, 0, 0), DEAD), ("datetime", _Z, _utc(), _utc()), ("datetime", "long", 1767312000, DEAD), ("datetime", _LOCAL, _NAIVE, _utc(2)), ("datetime", _LOCAL, _TWICE, DEAD), ("datetime", _LOCAL, _NEVER, DEAD),
    ("list[int]", {"type": "array", "items": "double"}, [1.0], [1]), ("list[int]", {"type": "array", "items": "boolean"}, [True], DEAD), ("list[float]", {"type": "array", "items": "double"}, [float("nan")], DEAD),
    ("list[float]", {"type": "array", "items": "long"}, [2**53 + 1], DEAD), ("list[str]", {"type": "array", "items": "long"}, [1], ["1"]),
)]  # fmt: skip
"""(the writer's type, what was written), read with the zone Europe/Berlin."""

PYTHON = [Cell(kind, sent, value) for kind, sent, value in (
    ("int", 1, 1), ("int", 1.5, DEAD), ("int", "1", DEAD), ("int", Decimal("1"), DEAD), ("int", 2**53 + 1, 2**53 + 1), ("int", 2**63, DEAD), ("int", float("nan"), None), ("int", None, None),
    ("float", 1, 1.0), ("float", 1.5, 1.5), ("float", "1.5", DEAD), ("float", float("nan"), None), ("float", INF, DEAD), ("float", -INF, DEAD), ("float", Decimal("1.5"), DEAD), ("float", 2**53 + 1, DEAD),
    ("float", 2**60, 2.0**60), ("float", 10**400, DEAD), ("float", None, None), ("bool", True, True), ("bool", 0, DEAD), ("bool", "true", DEAD), ("str", "a", "a"), ("str", 1, DEAD), ("str", b"a", DEAD),
    ("str", True, DEAD), ("str", DAY, DEAD), ("str", "\ud800", DEAD), ("symbol", "red", "red"), ("symbol", "blue", DEAD), ("symbol", 1, DEAD), ("date", DAY, DAY), ("date", _utc(0, 0, 0), DEAD),
    ("date", "2026-01-02", DEAD), ("date", 20455, DEAD), ("datetime", _utc(), _utc()), ("datetime", _NAIVE, DEAD), ("datetime", DAY, DEAD), ("datetime", "2026-01-02T00:00:00Z", DEAD),
    ("datetime", 1767312000, DEAD), ("bytes", b"abc", b"abc"), ("bytes", "YWJj", DEAD),
    ("int", 1.0, 1), ("int", True, DEAD), ("float", True, DEAD), ("float", -0.0, 0.0), ("bool", 1, DEAD), ("list[int]", [1, 2], [1, 2]), ("list[int]", [1.0], [1]), ("list[int]", [None], DEAD), ("list[int]", [True], DEAD),
    ("list[int]", [2**63], DEAD), ("list[int]", "[1]", DEAD), ("list[float]", [1, 2.5], [1.0, 2.5]), ("list[float]", [float("nan")], DEAD), ("list[float]", [INF], DEAD), ("list[float]", [2**53 + 1], DEAD),
    ("list[float]", [True], DEAD), ("list[str]", ["a"], ["a"]), ("list[str]", "ab", DEAD), ("list[str]", [1], DEAD), ("list[bool]", [1], DEAD), ("list[date]", [DAY], [DAY]), ("list[date]", [_utc()], DEAD),
    ("list[datetime]", [_utc()], [_utc()]), ("list[datetime]", [_NAIVE], DEAD),
    ("int", np.int64(3), 3), ("int", np.uint64(2**63), DEAD), ("int", np.float64(3.0), 3), ("int", np.float64(3.5), DEAD), ("int", np.bool_(True), DEAD), ("int", np.float64("nan"), None), ("float", np.float64(1.5), 1.5),
    ("float", np.float32(0.5), 0.5), ("float", np.int64(3), 3.0), ("float", np.int64(2**53 + 1), DEAD), ("float", np.float64("nan"), None), ("float", np.float64(INF), DEAD), ("float", np.bool_(True), DEAD),
    ("float", np.longdouble("0.1"), DEAD), ("bool", np.bool_(False), False), ("bool", np.int64(1), DEAD), ("str", np.str_("a"), "a"), ("str", np.int64(1), DEAD), ("str", np.bytes_(b"a"), DEAD), ("symbol", np.str_("red"), "red"),
    ("datetime", pd.Timestamp("2026-01-02T03:04:05.123456789Z"), MICROS), ("datetime", pd.Timestamp("2026-01-02T03:04:05"), DEAD), ("datetime", pd.NaT, DEAD), ("datetime", np.datetime64("2026-01-02T03:04:05"), DEAD),
    ("date", pd.Timestamp("2026-01-02T00:00:00Z"), DEAD), ("list[int]", [np.int64(1), 2], [1, 2]), ("list[int]", np.array([1, 2]), [1, 2]), ("list[int]", np.array([[1]]), DEAD), ("list[int]", (1, 2), [1, 2]),
    ("list[float]", np.array([0.5], np.float32), [0.5]), ("list[bool]", np.array([True]), [True]), ("list[datetime]", [pd.Timestamp("2026-01-02T03:04:05Z")], [_utc()]),
)]  # fmt: skip
"""Objects of the class, by the client and by the lab."""

LOGGED = [Cell(kind, (schema, sent), value) for kind, schema, sent, value in (
    ("int", "int", 5, 5), ("float", "long", 2**53 + 1, DEAD), ("float", "int", 1, 1.0), ("float", "double", float("nan"), None), ("float", "double", INF, INF), ("float", "double", -0.0, 0.0),
    ("float", "float", 0.5, 0.5), ("symbol", "string", "blue", DEAD), ("symbol", "string", "red", "red"), ("list[float]", {"type": "array", "items": "double"}, [float("nan")], DEAD),
    ("list[float]", {"type": "array", "items": "double"}, [-0.0], [0.0]), ("datetime", {"type": "long", "logicalType": "timestamp-millis"}, _utc(), _utc()),
)]  # fmt: skip
"""Records of a topic in Avro under another writer's schema. A type that Avro does not promote to the field's (double to long) stops the stream, and is not a cell."""
