"""What is printed of a value is what is stored, whatever the value, and nothing in it steers the terminal."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.transform.cell import cells, visible
from millstream.transform.plain import flat, values

US = 2**62


def said(value: Any, kind: pa.DataType) -> str:
    (one,) = cells(pa.chunked_array([pa.array([value], kind)]))
    return one


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("[red]", pa.string(), "[red]"),
        ("[/x]", pa.string(), "[/x]"),
        (":smile:", pa.string(), ":smile:"),
        ("\x1b[31mred\x07", pa.string(), "\\x1b[31mred\\x07"),
        ("a\nb\tc\r", pa.string(), "a\\nb\\tc\\r"),
        ("\u202egnp.exe", pa.string(), "\\u202egnp.exe"),
        ("café 東京", pa.string(), "café 東京"),
        (b"\xff[x]", pa.binary(), "b'\\xff[x]'"),
        (0.1 + 0.2, pa.float64(), "0.30000000000000004"),
        (0.1, pa.float32(), "0.1"),
        (1e300, pa.float64(), "1e+300"),
        (1234567.25, pa.float64(), "1234567.25"),
        (2**63 - 1, pa.int64(), "9223372036854775807"),
        ([float("nan"), float("inf"), None], pa.list_(pa.float64()), "[nan, inf, NULL]"),
        (
            {"a": "[b]", "t": 1},
            pa.struct([("a", pa.string()), ("t", pa.timestamp("us"))]),
            "{a: [b], t: 1970-01-01 00:00:00.000001}",
        ),
        ([("k", 1)], pa.map_(pa.string(), pa.int64()), "{k: 1}"),
        (0, pa.timestamp("us", "UTC"), "1970-01-01 00:00:00"),
        (123_456, pa.timestamp("us", "UTC"), "1970-01-01 00:00:00.123456"),
        (1, pa.timestamp("ns"), "1970-01-01 00:00:00.000000001"),
        (317_318_256_000_000_000, pa.timestamp("us", "UTC"), "12025-06-01 00:00:00"),
        (-62_167_219_200_000_001, pa.timestamp("us"), "-0001-12-31 23:59:59.999999"),
        (4_000_000, pa.date32(), "12921-08-18"),
        (-719_529, pa.date32(), "-0001-12-31"),
        (None, pa.timestamp("us"), "NULL"),
    ],
)
def test_values_are_printed_as_they_are(value: Any, kind: pa.DataType, expected: str) -> None:
    assert said(value, kind) == expected


@settings(deadline=None)
@given(st.floats(allow_nan=False))
def test_a_double_has_the_digits_that_tell_it_from_every_other(value: float) -> None:
    assert struct.pack("d", float(said(value, pa.float64()))) == struct.pack("d", value)


@settings(deadline=None)
@given(st.integers(-US, US))
def test_every_moment_has_a_spelling_that_python_agrees_with_where_it_can(us: int) -> None:
    shown = said(us, pa.timestamp("us", "UTC"))
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    except OverflowError:
        assert shown[:1] == "-" or len(shown.partition("-")[0]) > 4 or shown.startswith("0000")
    else:
        assert shown == moment.replace(tzinfo=None).isoformat(" ")


@settings(deadline=None)
@given(st.text())
def test_no_text_steers_a_terminal(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


def test_json_and_csv_have_a_form_for_what_python_has_no_value_for() -> None:
    found = pa.table(
        {
            "at": pa.array([317_318_256_000_000_000, 0], pa.timestamp("us", "UTC")),
            "day": pa.array([4_000_000, None], pa.date32()),
            "list": pa.array([[1.5], None], pa.list_(pa.float64())),
        }
    )
    assert values(found)[0] == {"at": "12025-06-01T00:00:00Z", "day": "12921-08-18", "list": [1.5]}
    assert values(found)[1] == {"at": datetime(1970, 1, 1, tzinfo=UTC), "day": None, "list": None}
    assert flat(found).column("list").to_pylist() == ["[1.5]", None]
