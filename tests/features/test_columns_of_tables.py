"""Columns of a table in the expressions of features over it: each is taken for what the expression asks for, booleans
as 0 and 1, offline and online equal.

Their types are known once the table is there. One that is not what it is taken for is refused with its place, before
the engine sees it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from oracle import DAY, HOUR, MINUTE, Stored

import millstream as ms
from millstream.base.errors import DefinitionError
from millstream.base.event import TIMESTAMP
from millstream.base.registry import engine
from millstream.declare.features import Aggregate
from millstream.engines.sqlite.online import SqliteOnline
from millstream.features.define import define
from millstream.features.fill import fill
from millstream.features.fits import mistakes
from millstream.features.keys import encode
from millstream.features.offline import offline
from millstream.train.pinned import Use, from_json, to_json

T0 = 19_700 * DAY + 7 * HOUR
FLAGS = ms.table("flags", "select * from reads", time="ts")
ROWS = pa.table(
    {
        "k": ["a", "a", "a", "a", "b"],
        "ts": pa.array([T0 - MINUTE, T0 - 2 * MINUTE, T0 - 3 * MINUTE, T0 - 4 * MINUTE, T0 - MINUTE], TIMESTAMP),
        "ok": [True, False, None, True, True],
        "n": pa.array([1, 2, 3, None, 5], pa.int64()),
        "x": pa.array([0.5, None, 2.0, float("nan"), 1.0]),
        "name": ["web", "app", "web", None, "app"],
    }
)

AGGREGATES: dict[str, tuple[Aggregate, float | int | None]] = {
    "total": (ms.agg.sum("ok"), 2.0),
    "share": (ms.agg.mean("ok"), 2 / 3),
    "least": (ms.agg.min("ok"), 0.0),
    "most": (ms.agg.max("ok"), 1.0),
    "told": (ms.agg.count("ok"), 3),
    "newest": (ms.agg.last("ok"), 1.0),
    "oldest": (ms.agg.first("ok"), 1.0),
    "spread": (ms.agg.variance("ok"), 1 / 3),
    "same": (ms.agg.mean("ok = true"), 2 / 3),
    "whole": (ms.agg.sum("ok::int"), 2.0),
    "cased": (ms.agg.mean("case when ok then 1 else 0 end"), 0.5),
    "without": (ms.agg.sum("not ok"), 1.0),
    "is_true": (ms.agg.sum("ok is true"), 2.0),
    "known": (ms.agg.sum("ok is not null"), 3.0),
    "filled": (ms.agg.sum("coalesce(ok, false)"), 2.0),
    "if_filled": (ms.agg.sum("case when coalesce(ok, true) then n end"), 4.0),
    "both": (ms.agg.sum("ok and n > 0"), 1.0),
    "times": (ms.agg.sum("ok * n"), 1.0),
    "booled": (ms.agg.sum("ok::boolean"), 2.0),
    "web": (ms.agg.sum("name = 'web'"), 2.0),
    "in_web": (ms.agg.sum("name in ('web', 'x')"), 2.0),
    "liked": (ms.agg.sum("name like 'a%'"), 1.0),
    "long": (ms.agg.sum("length(name)"), 9.0),
    "hours": (ms.agg.max("hour(ts)"), 6.0),
    "nan": (ms.agg.count("x"), 2),
    "ints": (ms.agg.sum("n"), 6.0),
}
WHERE: dict[str, int] = {
    "ok": 2,
    "not ok": 1,
    "ok is not true": 2,
    "ok = false": 1,
    "coalesce(ok, true)": 3,
    "ok or n = 3": 3,
    "name = 'web' and ok": 1,
    "upper(name) = 'APP'": 1,
}


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


def over(aggregates: dict[str, Any], where: str | None = None, source: Any = FLAGS) -> ms.features:  # type: ignore[valid-type]
    return ms.features("f", source, key="k", windows=["1d"], aggregates=aggregates, where=where)


def answers(sql: Any, folder: Path, noun: Any) -> list[dict[str, Any]]:
    """Of key a at T0: offline, online, and by what a version of a model has pinned."""
    lake: Any = Stored(flags=ROWS)
    d = define(noun, {})
    pinned, _, _ = from_json(to_json(Use("f", d, ("k",), "f", set(d.columns), {}), {}))
    spine = pa.table({"_row": [0], "_t": pa.array([T0], TIMESTAMP), "k": ["a"]})
    found = [
        {
            name.removeprefix("f__"): value
            for name, value in offline(sql, lake, spine, [(of, ("k",), "f")]).read_all().to_pylist()[0].items()
            if name != "_row"
        }
        for of in (d, pinned)
    ]
    store = SqliteOnline(str(folder / "online.db"))
    try:
        fill(sql, lake, store, d, FLAGS)
        (one,) = store.lookup(d, [encode(("a",))], [T0])
        return [*found, dict(one.values)]
    finally:
        store.close()


def holds(sql: Any, folder: Path, names: Collection[str] = AGGREGATES, wheres: Collection[str] = WHERE) -> None:
    """What a Spark test asks too, where each script costs seconds."""
    want = {f"{name}_1d": AGGREGATES[name][1] for name in names}
    told = answers(sql, folder, over({name: AGGREGATES[name][0] for name in names}))
    for found in told:
        assert {name: value if value is None else pytest.approx(value) for name, value in want.items()} == found
    assert [repr(sorted(found.items())) for found in told[1:]] == [repr(sorted(told[0].items()))] * 2, "equal in bits"
    for at, where in enumerate(wheres):
        count = WHERE[where]
        (folder / str(at)).mkdir()
        assert answers(sql, folder / str(at), over({"n": ms.agg.count()}, where)) == [{"n_1d": count}] * 3, where


def test_columns_are_taken_for_what_is_asked(sql: Any, tmp_path: Path) -> None:
    holds(sql, tmp_path)


def test_a_stream_of_the_same_values_says_the_same() -> None:
    """The closures of the online reader, which streams have, over the same rows."""
    from millstream.lang.expression import compile as compiled

    kinds: Any = {"ok": "bool", "n": "int64", "x": "float64", "name": "string", "ts": "timestamp"}
    for text in [*(str(of.expression) for of, _ in AGGREGATES.values()), *WHERE]:
        typed, free = (
            compiled(text, kinds, truth=text in WHERE),
            compiled(text, dict.fromkeys(kinds, "untyped"), truth=text in WHERE),  # type: ignore[arg-type]
        )
        for row in ROWS.to_pylist():
            row["ts"] = datetime(2026, 1, 1, 6, tzinfo=UTC)
            assert free.evaluate(row) == typed.evaluate(row), (text, row)


@pytest.mark.parametrize(
    ("aggregates", "where", "said"),
    [
        (
            {"s": ms.agg.sum("name")},
            None,
            ('features "f": "name" takes the column "name" of "flags" for a number', "name is string"),
        ),
        (
            {"s": ms.agg.sum("ok")},
            "n",
            ('features "f": "n" takes the column "n" of "flags" for a condition', "n is int64"),
        ),
        (
            {"s": ms.agg.sum("ok")},
            "ok = 'yes'",
            ('features "f": "ok = \'yes\'" takes the column "ok" of "flags" for a text', "ok is bool"),
        ),
        (
            {"s": ms.agg.mean("hour(n)")},
            None,
            ('features "f": "hour(n)" takes the column "n" of "flags" for a time', "n is int64"),
        ),
        (
            {"s": ms.agg.sum("OKS")},
            None,
            ('features "f": the table "flags" has no column "OKS"', '"OKS" over k, n, name, ok, ts, x'),
        ),
    ],
)
def test_a_column_of_another_type_is_refused_with_its_place(
    sql: Any, tmp_path: Path, aggregates: Any, where: str | None, said: tuple[str, str]
) -> None:
    noun = over(aggregates, where)
    store = SqliteOnline(str(tmp_path / "online.db"))
    spine = pa.table({"_row": [0], "_t": pa.array([T0], TIMESTAMP), "k": ["a"]})
    lake: Any = Stored(flags=ROWS)
    for reader in (
        lambda: fill(sql, lake, store, define(noun, {}), FLAGS),
        lambda: offline(sql, lake, spine, [(define(noun, {}), ("k",), "f")]),
    ):
        with pytest.raises(DefinitionError) as error:
            reader()
        assert (
            (error.value.message, error.value.found) == said
            and error.value.place is not None
            and error.value.place.file.endswith("test_columns_of_tables.py")
        )
    store.close()


def test_all_mistakes_are_told() -> None:
    found = [
        error.code
        for error in mistakes(
            define(over({"a": ms.agg.sum("name"), "b": ms.agg.sum("nix + ok")}, "n"), {}), ROWS.schema
        )
    ]
    assert found == ["E117", "E111", "E117"]


@pytest.mark.parametrize(
    ("aggregates", "where", "code"),
    [
        ({"s": ms.agg.sum("name || 'x'")}, None, "E114"),
        ({"s": ms.agg.sum("ok")}, "n + 1", "E113"),
        ({"s": ms.agg.sum("name = 1 and name like 'x'")}, "1", "E113"),
    ],
)
def test_what_no_column_could_be_is_refused_by_its_text(aggregates: Any, where: str | None, code: str) -> None:
    with pytest.raises(DefinitionError) as error:
        define(over(aggregates, where), {})
    assert error.value.code == code
