"""Two results compared: order, types, lone rows, doubles."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from millstream.transform.parity import Row, compare

BASE = pa.table(
    {
        "k": [1, 2, 3, 4],
        "s": ["a", "b", None, "d"],
        "x": [0.5, None, math.nan, 4.0],
        "l": [[1.0], [], None, [2.0, None]],
    }
)


def changed(column: str, at: int, value: Any) -> pa.Table:
    values = BASE.column(column).to_pylist()
    values[at] = value
    return BASE.set_column(
        BASE.column_names.index(column), BASE.schema.field(column), pa.array(values, BASE.schema.field(column).type)
    )


@pytest.mark.parametrize("key", [(), ("k",)])
def test_order_plays_no_part(key: tuple[str, ...]) -> None:
    assert compare(BASE, BASE.take([2, 0, 3, 1]), key).same
    assert compare(BASE.slice(0, 0), BASE.slice(0, 0), key).same


@pytest.mark.parametrize(
    ("column", "at", "value", "differs"),
    [
        ("x", 0, 0.5 * (1 + 1e-12), False),
        ("x", 0, 0.5 * (1 + 1e-6), True),
        ("x", 2, None, True),
        ("x", 1, math.nan, True),
        ("s", 2, "", True),
        ("s", 0, "A", True),
        ("l", 0, [1.0 + 1e-13], False),
        ("l", 3, [2.0, 0.0], True),
        ("l", 2, [], True),
    ],
)
def test_values(column: str, at: int, value: Any, differs: bool) -> None:
    found = compare(BASE, changed(column, at, value).take([3, 2, 1, 0]), ["k"])
    assert found.same is not differs
    if differs:
        (row,) = found.shown
        assert row.at == {"k": at + 1} and list(row.columns) == [column]
        assert repr(row.columns[column]) == repr((BASE.column(column)[at].as_py(), value))


def test_without_a_key_rows_are_sorted_beside_one_another() -> None:
    found = compare(BASE, changed("x", 0, 7.0).take([1, 3, 0, 2]))
    assert (found.differ, found.shown[0].columns) == (1, {"x": (0.5, 7.0)})
    assert found.shown[0].at["s"] == "a"


def test_equal_rows_are_counted() -> None:
    assert compare(pa.table({"a": [1, 1, 2]}), pa.table({"a": [1, 2, 1]})).same
    found = compare(pa.table({"a": [1, 1, 2]}), pa.table({"a": [1, 2]}))
    assert (found.same, found.rows, found.differ, found.shown) == (False, (3, 2), 1, (Row({"a": 1}, {}, "left"),))


def test_lone_rows_are_told_from_changed_ones() -> None:
    found = compare(
        BASE,
        pa.concat_tables(
            [
                changed("s", 1, "B").slice(1),
                pa.table({"k": [9], "s": ["z"], "x": [1.0], "l": [None]}, schema=BASE.schema),
            ]
        ),
        ["k"],
    )
    assert [(row.at, row.only) for row in found.shown] == [({"k": 1}, "left"), ({"k": 9}, "right"), ({"k": 2}, "")]
    assert found.differ == 3


def test_types_and_columns_are_part_of_it() -> None:
    found = compare(pa.table({"a": [1], "b": [1]}), pa.table({"a": pa.array([1], pa.int32()), "c": [1]}))
    assert not found.same
    assert found.schema == {"a": ("int64", "int32"), "b": ("int64", ""), "c": ("", "int64")}


def test_few_of_many_are_shown() -> None:
    found = compare(pa.table({"k": range(1000), "v": [0] * 1000}), pa.table({"k": range(1000), "v": [1] * 1000}), ["k"])
    assert (found.differ, len(found.shown)) == (1000, 5)
