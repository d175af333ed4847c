"""DuckDB's dialect as Spark's text: what is rewritten, what is refused. No JVM; that the texts mean the same is shown
in tests/cluster.
"""

from __future__ import annotations

import traceback
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from millstream.base.errors import ConfigError, WorkFailed
from millstream.engines.spark.binder import Binder
from millstream.engines.spark.dialect import Query, translate
from millstream.engines.spark.kinds import spark_type
from millstream.engines.spark.relations import type_name
from millstream.engines.spark.rules import NAMED, REFERENCE, RULES, SAME
from millstream.engines.spark.script import Script
from millstream.engines.spark.session import Options, ours
from millstream.engines.spark.values import Args, marked

TABLES = {
    "t": pa.schema(
        [
            ("i", pa.int64()),
            ("k", pa.int32()),
            ("f", pa.float64()),
            ("s", pa.string()),
            ("p", pa.bool_()),
            ("ts", pa.timestamp("us", "UTC")),
            ("day", pa.date32()),
            ("l", pa.list_(pa.int64())),
            ("dec", pa.decimal128(10, 2)),
        ]
    ),
    "u": pa.schema([("k", pa.int32()), ("x", pa.int64())]),
}
NOON = datetime(2013, 3, 10, 12, tzinfo=UTC)


def query(sql: str, params: dict[str, Any] | None = None) -> Query:
    with Binder(TABLES, params or {}) as binder:
        return translate(sql, binder, TABLES)


def scalar(expression: str) -> str:
    """Spark's text of one expression over t."""
    return query(f"select {expression} as v from t").sql.removeprefix("SELECT ").removesuffix(" AS `v` FROM `t`")


@pytest.mark.parametrize(
    ("duckdb", "spark"),
    [
        ("i // k", "(`i` div `k`)"),
        ("i % 3", "(`i` % 3)"),
        ("i / 4", "(cast(`i` as double) / cast(4 as double))"),
        (
            "i / k",
            (
                "(case when `k` = 0 then cast(`i` as double) * power(cast(`k` as double), -1) else cast(`i` as double)"
                " / cast(`k` as double) end)"
            ),
        ),
        ("2 ^ 3", "power(2, 3)"),
        ("i ** 2", "power(`i`, 2)"),
        ("log(f)", "log10(`f`)"),
        ("ln(f)", "LN(`f`)"),
        ("i::hugeint & 7", "pmod(cast(`i` as DECIMAL(38,0)), cast(8 as decimal(38,0)))"),
        ("i >> 2", "shiftright(`i`, 2)"),
        (
            "day + interval 1 day",
            "(cast(`day` as timestamp_ntz) + make_dt_interval(0, 0, 0, cast(86400.000000 as decimal(18,6))))",
        ),
        ("ts - interval 2 month", "`ts` - make_ym_interval(0, 2)"),
        ("day - date '2013-01-01'", "datediff(`day`, cast('2013-01-01' as DATE))"),
        ("epoch_us(ts)", "unix_micros(`ts`)"),
        ("epoch_us(ts::timestamp)", "unix_micros(cast(cast(`ts` as TIMESTAMP_NTZ) as timestamp))"),
        ("make_timestamptz(i)", "timestamp_micros(cast(`i` as bigint))"),
        ("extract(dow from ts)", "cast((dayofweek(`ts`) - 1) as bigint)"),
        ("second(ts)", "cast(second(`ts`) as bigint)"),
        ("date_trunc('day', ts)", "date_trunc('DAY', `ts`)"),
        ("date_trunc('day', day)", "cast(date_trunc('DAY', `day`) as timestamp_ntz)"),
        ("strftime(ts, '%Y-%m o''clock')", "date_format(`ts`, 'yyyy\\'-\\'MM\\' o\\'\\'clock\\'')"),
        ("date_diff('day', day, ts)", "cast(datediff(cast(`ts` as date), cast(`day` as date)) as bigint)"),
        ("s || i", "concat(`s`, `i`)"),
        ("concat(s, i)", "concat(coalesce(cast(`s` as string), ''), coalesce(cast(`i` as string), ''))"),
        ("s like 'a\\%'", "(`s` like 'a\\\\\\\\%')"),
        ("strpos(s, 'x')", "cast(instr(`s`, 'x') as bigint)"),
        ("length(s)", "cast(length(`s`) as bigint)"),
        ("len(l)", "cast(size(`l`) as bigint)"),
        ("l[2]", "try_element_at(`l`, 2)"),
        ("[i, 1]", "array(`i`, 1)"),
        ("row(i, f)", "named_struct('_1', `i`, '_2', `f`)"),
        ("row(i, f)[2]", "named_struct('_1', `i`, '_2', `f`).`_2`"),
        ("round_even(f, 0)", "rint(`f`)"),
        ("f::varchar = 'x'", ""),
        ("isfinite(f)", "(abs(`f`) < double('Infinity'))"),
        ("round(f)", "round(`f`)"),
        ("round(i, 2)", "`i`"),
        ("round(dec, 1)", "round(`dec`, 1)"),
        ("dec::int", "cast(round(`dec`) as INT)"),
        ("i::hugeint", "cast(`i` as DECIMAL(38,0))"),
        ("p::int", "cast(`p` as INT)"),
        ("'it''s \\ {x}'", "'it\\'s \\\\ {x}'"),
        ("sum(i)", "sum(cast(`i` as decimal(38,0)))"),
        ("sum(k)", "sum(`k`)"),
        ("sum(p)", "sum(cast(`p` as bigint))"),
        ("avg(dec)", "avg(cast(`dec` as double))"),
        ("median(f)", "percentile(cast(`f` as double), 0.5)"),
        ("count(*) filter (where p)", "COUNT(*) FILTER(WHERE `p`)"),
        ("arg_max(s, i)", "max_by(`s`, (CASE WHEN (NOT `s` IS NULL) THEN `i` END))"),
        ("arg_min(s, i) filter (where p)", "min_by(`s`, (CASE WHEN (NOT `s` IS NULL) AND (`p`) THEN `i` END))"),
        ("arg_min_null(s, i) filter (where p)", "min_by(`s`, (CASE WHEN (`p`) THEN `i` END))"),
        (
            "sum(i) filter (where p) over (order by i)",
            "sum(cast((CASE WHEN `p` THEN `i` END) as decimal(38,0))) OVER (ORDER BY `i` NULLS LAST)",
        ),
        ("count(*) filter (where p) over (partition by k)", "COUNT(CASE WHEN `p` THEN 1 END) OVER (PARTITION BY `k`)"),
        ("row_number() over ()", "ROW_NUMBER() OVER (ORDER BY NULL NULLS LAST)"),
        ("unnest(l)", "explode(`l`)"),
        (
            "range(1, i)",
            (
                "(case when cast(1 as bigint) < cast(`i` as bigint) then sequence(cast(1 as bigint), cast(`i` as"
                " bigint) - 1) when cast(1 as bigint) >= cast(`i` as bigint) then cast(array() as array<bigint>) end)"
            ),
        ),
    ],
)
def test_expressions(duckdb: str, spark: str) -> None:
    if not spark:
        with pytest.raises(WorkFailed, match="as text"):
            scalar(duckdb)
        return
    assert scalar(duckdb) == spark


@pytest.mark.parametrize(
    ("duckdb", "spark"),
    [
        ("select i from t order by i desc, k", "SELECT `i` FROM `t` ORDER BY `i` DESC, `k` NULLS LAST"),
        ("select i from t order by i nulls first", "SELECT `i` FROM `t` ORDER BY `i`"),
        ("select i from t order by i desc nulls first", "SELECT `i` FROM `t` ORDER BY `i` DESC NULLS FIRST"),
        ("select i, k from t order by all", "SELECT `i`, `k` FROM `t` ORDER BY 1 NULLS LAST, 2 NULLS LAST"),
        ("select * from u order by all desc", "SELECT * FROM `u` ORDER BY 1 DESC, 2 DESC"),
        ("select * exclude (i) from t", "SELECT * EXCEPT (`i`) FROM `t`"),
        ("from u select x", "SELECT `x` FROM `u`"),
        ("select k, count(*) as n from t group by all", "SELECT `k`, COUNT(*) AS `n` FROM `t` GROUP BY ALL"),
        ("select x from u semi join t using (k)", "SELECT `x` FROM `u` LEFT SEMI JOIN `t` USING (`k`)"),
        ("select a.range from range(5) a", "SELECT `a`.`range` FROM range(0, 5, 1, 1) as `a`(`range`)"),
        (
            "select x from u using sample 10 percent (bernoulli, 7)",
            "SELECT `x` FROM (SELECT * FROM `u`) tablesample (10 percent) repeatable (7)",
        ),
        (
            "with a as (select i // 2 as h from t) select h // 2 as q from a",
            "WITH `a` AS (SELECT (`i` div 2) AS `h` FROM `t`) SELECT (`h` div 2) AS `q` FROM `a`",
        ),
    ],
)
def test_queries(duckdb: str, spark: str) -> None:
    assert query(duckdb).sql == spark


@pytest.mark.parametrize(
    ("on", "beside", "ends"),
    [
        ("t.i >= u.x", "LEAD", "`t`.`i` < `u`.`_beside`"),
        ("u.x <= t.i", "LEAD", "`t`.`i` < `u`.`_beside`"),
        ("t.i > u.x", "LEAD", "`t`.`i` <= `u`.`_beside`"),
        ("t.i <= u.x", "LAG", "`t`.`i` > `u`.`_beside`"),
        ("u.x > t.i", "LAG", "`t`.`i` >= `u`.`_beside`"),
    ],
)
def test_an_asof_join_is_a_join_with_the_row_before_the_next(on: str, beside: str, ends: str) -> None:
    made = query(f"select t.i, u.x from t asof join u on t.k = u.k and {on}").sql
    assert (
        f"(SELECT *, {beside}(`u`.`x`) OVER (PARTITION BY `u`.`k` ORDER BY `u`.`x` NULLS LAST) AS `_beside` FROM `u` AS"
        " `u`) AS `u`" in made
    )
    assert made.endswith(f"AND (`u`.`_beside` IS NULL OR {ends})")


@pytest.mark.parametrize(
    ("duckdb", "fix"),
    [
        ("f // 2", "whole"),
        ("round(f, i::int)", "literal number from -22 to 22"),
        ("first(s)", "arg_min"),
        ("any_value(s)", "arg_min"),
        ("mode(s)", "arg_min"),
        ("ts::varchar", "strftime"),
        ("f::varchar", "decimal"),
        ("'a' || f", "decimal"),
        ("random()", "Arrow"),
        ("ts - ts", "epoch_us"),
        ("regexp_replace(s, 'a', 'b')", "'g'"),
        ("substring(s, 0, 1)", "1 or more"),
        ("string_agg(s, ',')", "order"),
        ("strptime(s, '%Y')", "ISO"),
        ("now()", "parameters"),
        ("typeof(i)", "Arrow"),
        ("list_transform(l, lambda x: x + 1)", "Arrow"),
        ("i << 2", "power of two"),
        ("time_bucket(interval 1 hour, ts)", "date_trunc"),
        ("i::interval", "not a type of Spark"),
        ("skewness(f)", "quantile_cont"),
        ("kurtosis(f)", "quantile_cont"),
        ("s[1:2]", "literal"),
        ("sum(f) filter (where p) over (order by i rows between 1 preceding and current row exclude ties)", "frame"),
    ],
)
def test_traps_are_refused_with_the_fix(duckdb: str, fix: str) -> None:
    with pytest.raises(WorkFailed, match=fix):
        scalar(duckdb)


def test_a_histogram_is_a_count_by_group_over_the_same_rows() -> None:
    made = query("select histogram(s) as h from t where i > 1").sql
    # One row, whatever t holds
    assert (
        made == "SELECT (SELECT `m` AS `m` FROM (SELECT case when count(*) > 0 then"
        " map_from_entries(array_sort(collect_list(struct(`k`, `n`)))) end AS `m`, max(`k`) AS `last` FROM (SELECT"
        " `s` AS `k`, COUNT(*) AS `n` FROM `t` WHERE (`i` > 1) AND (NOT (`s`) IS NULL) GROUP BY 1) AS `h`) AS `h`)"
        " AS `h`"
    )
    assert query("select histogram(s) as h, histogram(f, [1.0::double]) as e from t").sql.endswith(
        "AS `h`) AS `h`) AS `e`"
    )
    assert query("select histogram_exact(f, [1.0::double]) as e, count(*) as n from t").sql.endswith(
        " COUNT(*) AS `n` FROM `t`"
    )


@pytest.mark.parametrize(
    "duckdb",
    [
        "select i from t union all by name select x as i from u",
        "select * replace (i + 1 as i) from t",
        "select columns('i') from t",
        "select t.i from t positional join u",
        "select i from t limit 10%",
        "select * from t asof join u on t.k = u.k and t.i >= u.x",
        "pivot t on k using sum(i)",
        "select i from t tablesample 10%",
        "select distinct on (k) k, i from t",
        "with recursive r as (select 1 as a union all select a + 1 from r where a < 3) select * from r",
        "select 1; select 2",
        "insert into t select * from t",
        "select * from read_csv('x')",
        "select x from u, unnest([1]) as q(z)",
    ],
)
def test_what_does_not_travel_is_refused(duckdb: str) -> None:
    with pytest.raises(WorkFailed):
        query(duckdb)


def test_types_and_mistakes_are_duckdbs() -> None:
    made = query(
        "select sum(k) as n, avg(k) as m, hash(i) as h, i // 2 as q, {'a': k, 'b': [f]} as st from t group by all"
    )
    assert made.schema.types[:4] == [pa.decimal128(38, 0), pa.float64(), pa.uint64(), pa.int64()]
    assert made.cast(["c0", "c1", "c2", "c3", "c4"])[0::4] == [
        "cast(c0 as DECIMAL(38,0))",
        "cast(c4 as STRUCT<`a`: INT, `b`: ARRAY<DOUBLE>>)",
    ]
    with pytest.raises(WorkFailed, match="dealy"):
        query("select dealy from t")


def test_parameters_are_bound_with_their_types() -> None:
    args: Args = {}
    told = {
        "i": 1,
        "big": 2**70,
        "f": 0.1,
        "s": "'; drop",
        "b": True,
        "t": NOON,
        "d": date(1970, 1, 3),
        "raw": b"\x00x",
        "n": None,
        "l": [1, 2],
        "dec": Decimal("1.50"),
        "span": timedelta(hours=1),
    }
    texts = {name: marked(name, value, args) for name, value in told.items()}
    assert texts == {
        "i": "cast(:p0 as bigint)",
        "big": "cast(:p1 as decimal(38,0))",
        "f": "cast(:p2 as double)",
        "s": ":p3",
        "b": ":p4",
        "t": "timestamp_micros(cast(:p5 as bigint))",
        "d": "date_from_unix_date(cast(:p6 as int))",
        "raw": "unhex(:p7)",
        "n": "null",
        "l": "cast(from_json(:p8, 'array<string>') as array<bigint>)",
        "dec": "cast(:p9 as decimal(3,2))",
        "span": "make_dt_interval(0, 0, 0, cast(:p10 as decimal(18,6)))",
    }
    assert list(args.values()) == [
        1,
        str(2**70),
        "0.1",
        "'; drop",
        True,
        1362916800000000,
        2,
        "0078",
        '["1", "2"]',
        "1.50",
        "3600.000000",
    ]
    with pytest.raises(WorkFailed, match="zone"):
        marked("t", datetime(2013, 3, 10), {})


def test_parameters_of_a_query_are_markers() -> None:
    made = query(
        "select $l as l, $t as t, $i + i as other, $i as again from t where s = $s",
        {"l": [0.5, 2.0], "t": [NOON], "i": 7, "s": "x", "unused": NOON},
    )
    assert (
        made.sql
        == "SELECT cast(from_json(:p0, 'array<string>') as array<double>) AS `l`, array(timestamp_micros(cast(:p1 as"
        " bigint))) AS `t`, cast(:p2 as bigint) + `i` AS `other`, cast(:p2 as bigint) AS `again` FROM `t` WHERE `s`"
        " = :p3"
    )
    assert made.args == {"p0": '["0.5", "2.0"]', "p1": 1362916800000000, "p2": 7, "p3": "x"}


def test_a_script_is_planned_before_spark_is_asked() -> None:
    with Binder(TABLES, {}) as binder:
        script = Script(binder, TABLES)
        steps = [
            *script.steps("create temp table a as select i // 2 as h from t; insert into a values (1)"),
            *script.steps("create table b (n bigint)"),
            *script.steps("drop table a"),
        ]
        assert [(step.verb, step.table, step.rows) for step in steps] == [
            ("create", "a", True),
            ("insert", "a", True),
            ("create", "b", False),
            ("drop", "a", True),
        ]
        assert script.known == {"t", "u", "b"}
        for wrong in (
            "insert into t values (1)",
            "update b set n = 1",
            "drop table t",
            "load x",
            "create or replace table b as select 1 as n",
            "insert into b values (1, 2)",
        ):
            with pytest.raises(WorkFailed):
                list(script.steps(wrong))


@pytest.mark.parametrize(
    ("url", "master"),
    [
        ("spark://local[2]", "local[2]"),
        ("spark:local[1]", "local[1]"),
        ("spark://yarn", "yarn"),
        ("spark://yarn/", "yarn"),
        ("spark://host:7077", "spark://host:7077"),
        ("spark://yarn?spark.executor.instances=2&memory=1g&timeout=30s", "yarn"),
    ],
)
def test_urls(url: str, master: str) -> None:
    assert Options.read(url).master == master


@pytest.mark.parametrize(
    "url",
    ["spark://", "spark://yarn?memroy=1g", "spark://yarn?timeout=fast", "spark://yarn?spark.sql.ansi.enabled=false"],
)
def test_options_are_checked(url: str) -> None:
    with pytest.raises(ConfigError, match="compute"):
        Options.read(url)


def test_types() -> None:
    assert [
        spark_type(kind)
        for kind in (
            "HUGEINT",
            "UBIGINT",
            "TIMESTAMP",
            "TIMESTAMP WITH TIME ZONE",
            "VARCHAR[]",
            "MAP(VARCHAR, INTEGER)",
            "DECIMAL(18,3)",
        )
    ] == [
        "DECIMAL(38,0)",
        "DECIMAL(20,0)",
        "TIMESTAMP_NTZ",
        "TIMESTAMP",
        "ARRAY<STRING>",
        "MAP<STRING, INT>",
        "DECIMAL(18,3)",
    ]
    assert type_name(pa.struct([("a b", pa.list_(pa.uint32()))])) == "STRUCT<`a b`: ARRAY<BIGINT>>"
    for unknown in ("INTERVAL", "UUID", "TIME"):
        with pytest.raises(WorkFailed):
            spark_type(unknown)


def test_every_rule_is_in_the_reference_and_none_is_also_the_same() -> None:
    assert not SAME & set(RULES)
    assert all(entry.becomes or entry.fix for entry in REFERENCE)
    assert len({entry.what for entry in REFERENCE}) == len(REFERENCE) > 60
    assert all(name == name.lower() for name in NAMED)


def test_an_error_of_an_executor_is_known_by_its_class() -> None:
    """As Python writes it at the end of a traceback, wherever the class is."""
    raised = traceback.format_exception_only(WorkFailed('table "t": its function raised KeyError (t.py:3)'))[0]
    told = (
        "An error occurred while calling o1.x.\nCaused by: org.apache.spark.api.python.PythonException:"
        f" [PYTHON_EXCEPTION]\n{raised}\n\n\tat org.apache"
    )
    assert str(ours(told)) == 'table "t": its function raised KeyError (t.py:3)'
