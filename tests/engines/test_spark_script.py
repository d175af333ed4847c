"""Which tables of a script Spark keeps, and which it works out where they are read. No JVM."""

from __future__ import annotations

import pyarrow as pa

from millstream.engines.spark.binder import Binder
from millstream.engines.spark.dialect import translate
from millstream.engines.spark.script import Script, once

GIVEN = {"t": pa.schema([("a", pa.int64())])}


def kept(*statements: str, result: str) -> list[str]:
    with Binder(GIVEN, {}) as binder:
        script = Script(binder, GIVEN)
        steps = [step for text in statements for step in script.steps(text)]
        last = translate(result, binder, script.known)
    return [step.table for step in once(steps, last) if step.verb == "create" and step.kept]


def test_what_is_read_once_is_not_kept() -> None:
    assert (
        kept(
            "create table x as select a from t", "create table y as select a + 1 as a from x", result="select a from y"
        )
        == []
    )


def test_what_is_read_twice_is() -> None:
    assert kept(
        "create table x as select a from t", result="select * from x join (select max(a) as m from x) on a = m"
    ) == ["x"]
    assert kept(
        "create table x as select a from t",
        "create table y as select a from x",
        result="select x.a from x join y using (a)",
    ) == ["x"]


def test_what_is_never_read_is() -> None:
    assert kept("create table x as select a // 0 as a from t", result="select a from t") == ["x"]


def test_what_its_source_is_no_more_is() -> None:
    gone = ["create table x as select a from t", "create table y as select a from x", "drop table x"]
    assert kept(*gone, result="select y.a, z.a from y, y as z") == ["y"]
    assert kept(*gone, result="select a from y") == ["y"]
    filled = ["create table x as select a from t", "create table y as select a from x", "insert into x values (7)"]
    assert kept(*filled, result="select x.a from x join y using (a)") == ["x", "y"]


def test_a_source_behind_a_source_counts() -> None:
    steps = [
        "create table x as select a from t",
        "create table y as select a from x",
        "create table z as select a from y",
        "drop table x",
    ]
    assert kept(*steps, result="select a from z") == ["z"]


def test_what_is_filled_later_is_kept() -> None:
    assert kept("create table x as select a from t", "insert into x values (7)", result="select a from x") == ["x"]


def test_a_name_made_again_is_another_table() -> None:
    steps = [
        "create table o (a bigint)",
        "create table x as select a from t",
        "insert into o select a from x",
        "drop table x",
    ]
    assert kept(*steps, *steps[1:], result="select a from o") == ["o"]
    assert kept(*steps, "create table x as select a from o", result="select l.a from x as l, x as r") == ["o", "x"]


def test_names_know_no_case() -> None:
    assert kept("create table Big as select a from t", result="select l.a from big as l, BIG as r") == ["Big"]
