"""Rows to numbers: a vocabulary that stays as it was, unseen and NULL as NaN and counted; a row is the same bits as in
the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.base.errors import Corrupt, UsageError
from millstream.base.event import TIMESTAMP
from millstream.train.matrix import Column, Encoder, kind_of

SCHEMA = pa.schema(
    [
        ("city", pa.string()),
        ("far", pa.float64()),
        ("n", pa.int64()),
        ("rush", pa.bool_()),
        ("at", TIMESTAMP),
        ("day", pa.date32()),
    ]
)
moments = st.datetimes(timezones=st.just(UTC))
rows = st.fixed_dictionaries(
    {
        "city": st.none() | st.sampled_from(["ams", "ber", "", "cdg\0", "łódź", "new"]),
        "far": st.none() | st.floats(allow_infinity=False, width=64),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "rush": st.none() | st.booleans(),
        "at": st.none() | moments,
        "day": st.none() | st.dates(),
    }
)


def fitted(cities: Sequence[str | None] = ("ber", "ams", None, "cdg\0", "", "łódź")) -> Encoder:
    first = [dict.fromkeys(SCHEMA.names) | {"city": city} for city in cities]
    return Encoder.fit(pa.Table.from_pylist(first, SCHEMA), SCHEMA.names)


def test_kinds_and_vocabulary_come_from_the_rows() -> None:
    encoder = fitted()
    assert encoder.columns == (
        Column("city", "category", ("", "ams", "ber", "cdg\0", "łódź")),
        Column("far", "number"),
        Column("n", "number"),
        Column("rush", "bool"),
        Column("at", "timestamp"),
        Column("day", "date"),
    )
    assert (encoder.categorical, encoder.numeric) == ([0], [1, 2, 3, 4, 5])


def test_values_by_hand() -> None:
    table = pa.Table.from_pylist(
        [
            {
                "city": "ber",
                "far": -0.5,
                "n": 7,
                "rush": True,
                "at": datetime(1970, 1, 2, microsecond=500_000, tzinfo=UTC),
                "day": date(1970, 1, 11),
            }
        ],
        SCHEMA,
    )
    assert fitted().matrix(table).tolist() == [[2.0, -0.5, 7.0, 1.0, 86_400.5, 10.0]]


@settings(max_examples=80, deadline=None)
@given(st.lists(rows, min_size=1, max_size=12))
def test_a_row_is_the_same_bits_as_in_the_matrix(given: list[dict[str, Any]]) -> None:
    one, other = fitted(), fitted()
    matrix = one.matrix(pa.Table.from_pylist(given, SCHEMA))
    assert _equal(np.stack([other.row(row) for row in given]), matrix)
    assert matrix.flags.c_contiguous and matrix.dtype == np.float64


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit for bit, whatever the payload of a NaN."""
    return bool(np.all((np.isnan(a) & np.isnan(b)) | (a.view(np.uint64) == b.view(np.uint64))))


def test_unseen_and_null_are_nan_and_counted() -> None:
    encoder = fitted()
    table = pa.Table.from_pylist(
        [
            {"city": c, "far": 1.0, "n": None, "rush": True, "at": None, "day": None}
            for c in ("ams", "osl", "osl", None)
        ],
        SCHEMA,
    )
    assert np.isnan(encoder.matrix(table)[:, 0]).tolist() == [False, True, True, True]
    assert encoder.unseen == {"city": 2} and {k: v for k, v in encoder.nulls.items() if v} == {
        "city": 1,
        "n": 4,
        "at": 4,
        "day": 4,
    }
    alone = fitted()
    for row in table.to_pylist():
        alone.row(row)
    assert alone.unseen == encoder.unseen and alone.nulls["city"] == 1 and alone.nulls["n"] == 4


def test_the_vocabulary_is_frozen() -> None:
    encoder = fitted(["b", "d"])
    later = pa.Table.from_pylist([dict.fromkeys(SCHEMA.names) | {"city": c} for c in "abcd"], SCHEMA)
    codes = encoder.matrix(later)[:, 0]
    assert codes[1] == 0.0 and codes[3] == 1.0 and np.isnan(codes[[0, 2]]).all()
    again = Encoder.from_json(encoder.to_json())
    assert again.columns == encoder.columns and _equal(again.matrix(later), encoder.matrix(later))


def test_other_arrow_types_of_one_meaning() -> None:
    table = pa.table(
        {
            "a": pa.array(["x", "y", None]).dictionary_encode(),
            "b": pa.array(["x", "y", None], pa.large_string()),
            "c": pa.array([1.5, None, 2.5], pa.float32()),
            "d": pa.array([Decimal("1.25"), None, Decimal("2.5")]),
            "e": pa.array([1, 2, None], pa.int8()),
        }
    )
    told = Encoder.fit(table, table.column_names).matrix(table)
    assert (
        told[0].tolist() == [0.0, 0.0, 1.5, 1.25, 1.0]
        and np.isnan(told[2, [0, 1, 4]]).all()
        and np.isnan(told[1, [2, 3]]).all()
    )
    assert kind_of(table.schema.field("a").type) == "string" and kind_of(pa.list_(pa.int64())) is None


def test_what_no_matrix_can_hold_and_what_a_row_lacks() -> None:
    with pytest.raises(UsageError, match=r'column "x" is list<item: int64>, which no matrix can hold'):
        Encoder.fit(pa.table({"x": [[1]]}), ["x"])
    encoder = fitted()
    whole = {"city": "ams", "far": 1.0, "n": 1, "rush": False, "at": None, "day": None}
    with pytest.raises(UsageError, match="the row has no 'far'"):
        encoder.row({k: v for k, v in whole.items() if k != "far"})
    with pytest.raises(UsageError, match="\"n\" is 'many'"):
        encoder.row(whole | {"n": "many"})
    with pytest.raises(UsageError, match='no column "day"'):
        encoder.matrix(pa.table({name: pa.nulls(1, SCHEMA.field(name).type) for name in SCHEMA.names[:-1]}))
    with pytest.raises(Corrupt, match="format 9"):
        Encoder.from_json('{"format": 9, "columns": []}')


def test_one_column_is_a_matrix_too() -> None:
    encoder = Encoder([Column("x", "number")])
    assert (
        encoder.row({"x": 2}).tolist() == [2.0] and math.isnan(encoder.row({"x": None})[0]) and encoder.nulls["x"] == 1
    )
    assert encoder.matrix(pa.table({"x": pa.array([], pa.float64())})).shape == (0, 1)


def test_times_before_1970_and_zones() -> None:
    encoder = Encoder([Column("at", "timestamp"), Column("day", "date")])
    old = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    from datetime import timezone

    row = encoder.row({"at": old.astimezone(timezone(timedelta(hours=5))), "day": date(1969, 12, 31)})
    assert row.tolist() == [-1e-6, -1.0]


@pytest.mark.parametrize(
    "at",
    [
        datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
        datetime(1, 1, 1, 0, 0, 0, 1, UTC),
        datetime(2255, 6, 5, 23, 47, 34, 740_993, UTC),
        datetime(2400, 2, 29, 1, 2, 3, 333_333, UTC),
    ],
)
def test_a_time_of_any_year_is_the_same_number_in_training_and_in_serving(at: datetime) -> None:
    """Beyond 2^53 microseconds a double of them is rounded; an end of 9999-12-31 is what many sources say for
    "never".
    """
    encoder = Encoder([Column("at", "timestamp")])
    near = datetime(2013, 1, 1, tzinfo=UTC)
    table = pa.table({"at": pa.chunked_array([pa.array([near, at], TIMESTAMP), pa.array([None, at], TIMESTAMP)])})
    told = encoder.matrix(table)[:, 0]
    assert told[1] == told[3] == encoder.row({"at": at})[0] == (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    assert told[0] == near.timestamp() and math.isnan(told[2])
