"""The guard of the SQL box: what it lets through, what it refuses, and that the engine behind it refuses the same by
itself.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from millstream.base.errors import UsageError, WorkFailed
from millstream.base.registry import engine
from millstream.transform.guard import read_only
from millstream.transform.port import Sql

KNOWN = ("departures", "arrivals")
ALLOWED = {
    "select * from departures": ("departures",),
    "with a as (select * from departures) select * from a;": ("departures",),
    "from departures select delay where delay > 1": ("departures",),
    "describe departures": ("departures",),
    "describe select * from arrivals": ("arrivals",),
    "summarize departures": ("departures",),
    "select * from departures d asof join arrivals a on d.ts >= a.ts": ("departures", "arrivals"),
    "select carrier, avg(delay), quantile_cont(delay, .5) from departures group by all order by 2 desc limit 10": (
        "departures",
    ),
    "select * from range(10)": (),
    "select delay, x from departures, unnest([1, 2]) t(x)": ("departures",),
    "select 'read_csv(''x'')' as s from departures": ("departures",),
    "select * from departures where carrier = 'user (42)'": ("departures",),
    "select * exclude (delay) from DEPARTURES qualify row_number() over (partition by carrier order by ts) = 1": (
        "departures",
    ),
    "-- late ones\nselect 1 -- one\n;": (),
    "select list_transform([1, 2], lambda x: x + 1), now(), current_date": (),
    "select * from departures union all by name select * from arrivals": ("departures", "arrivals"),
}
ATTACKS = (
    "",
    ";",
    "-- nothing",
    "select 1; select 2",
    "select 1; drop table departures",
    "select * from departures; copy departures to '/tmp/x'",
    "insert into departures values (1)",
    "update departures set delay = 0",
    "delete from departures",
    "drop table departures",
    "truncate departures",
    "create table x as select * from departures",
    "create temp view x as select 1",
    "create macro f(x) as x",
    "alter table departures drop delay",
    "copy departures to '/tmp/x.csv'",
    "copy (select * from departures) to '/tmp/x.csv'",
    "export database '/tmp/x'",
    "import database '/tmp/x'",
    "attach '/tmp/x.db' as x",
    "detach memory",
    "use memory",
    "install httpfs",
    "load httpfs",
    "set threads = 1",
    "reset threads",
    "set variable a = 1",
    "pragma database_list",
    "pragma table_info('departures')",
    "call pragma_version()",
    "checkpoint",
    "vacuum",
    "begin",
    "prepare a as select 1",
    "execute a",
    "explain analyze select * from departures",
    "explain copy departures to '/tmp/x'",
    "values (1)",
    "show tables",
    "show all tables",
    "select * from read_csv('/etc/passwd')",
    "select * from READ_CSV_AUTO('/etc/passwd')",
    "select * from read_text('/etc/passwd')",
    "select * from read_blob('/etc/passwd')",
    "select * from read_parquet('/x.parquet')",
    "select * from parquet_scan('/x.parquet')",
    "select * from parquet_metadata('/x')",
    "select * from read_json('/x')",
    "select * from read_ndjson_objects('/x')",
    "select * from sniff_csv('/x')",
    "select * from glob('/*')",
    "select * from '/etc/passwd'",
    "select * from '/x.parquet'",
    'select * from "/etc/passwd"',
    "select * from \"read_csv\"('/etc/passwd')",
    "from '/etc/passwd'",
    "describe '/etc/passwd'",
    "summarize '/x.parquet'",
    "describe select * from read_text('/etc/passwd')",
    "summarize select * from read_text('/etc/passwd')",
    "select * from arrow_scan(1, 2, 3)",
    "select * from arrow_scan_dumb(1, 2, 3)",
    "select * from pandas_scan(1)",
    "select * from python_map_function(1)",
    "select * from query('select 1')",
    "select * from query_table('departures')",
    "select * from json_execute_serialized_sql('{}')",
    "select * from duckdb_settings()",
    "select * from duckdb_secrets()",
    "select * from duckdb_functions()",
    "select * from pragma_storage_info('departures')",
    "select * from information_schema.tables",
    "select * from pg_catalog.pg_tables",
    "select * from main.departures",
    "select * from memory.main.departures",
    "select * from sqlite_master",
    "select * from duckdb_tables",
    "select current_setting('allowed_paths')",
    "select getenv('HOME')",
    "select getvariable('x')",
    "select nextval('s')",
    "select pg_sleep(5)",
    "select * from departures where delay > (select count(*) from read_csv('/etc/passwd'))",
    "select (select content from read_text('/etc/passwd')) from departures",
    "with a as (select * from read_text('/etc/passwd')) select * from a",
    "with a as (insert into departures values (1) returning *) select * from a",
    "select * from departures join '/etc/passwd' on true",
    "select * from departures, lateral read_text(carrier)",
    "select * from departures union all select * from read_text('/x')",
    "select * from nowhere",
    "select * from departure",
    "select E'\\'' || (select content from read_text('/etc/passwd')) || ''",
    "/* ' */ select * from read_text('/x') /* ' */",
    "select $$ ' $$, content from read_text('/x')",
    'select 1 as "a""b" from read_text ( \'/x\' )',
    "select * from read_text\n(\n'/x')",
    "select * from u&\"read_text\"('/x')",
    "select 1\x00; drop table departures",
    "select * into x from departures",
    "select * from enable_logging()",
    "select * from departures for update",
    "call enable_logging(storage = 'file')",
    "comment on table departures is 'x'",
    "merge into departures using arrivals on true when matched then delete",
    "select write_log('x')",
    "pivot '/etc/passwd' on a",
    "select * from (pivot '/x.csv' on a)",
    "select " + "(" * 3000 + "1" + ")" * 3000,
    "select '" + "x" * 100_001 + "'",
)


@pytest.mark.parametrize("text", ALLOWED)
def test_reading_is_let_through_and_says_what_it_reads(text: str) -> None:
    assert read_only(text, KNOWN).tables == ALLOWED[text]


@pytest.mark.parametrize("text", ATTACKS)
def test_all_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as error:
        read_only(text, KNOWN)
    assert str(error.value)


def test_a_near_name_is_offered() -> None:
    with pytest.raises(UsageError, match='did you mean "departures"'):
        read_only("select * from departure", KNOWN)


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Sql:
    made: Sql = engine("sql", "duckdb")("duckdb:?timeout=5s", tmp_path_factory.mktemp("scratch"))
    return made


DEPARTURES = pa.table({"carrier": ["UA"], "delay": [5.0], "ts": pa.array([0], pa.timestamp("us", tz="UTC"))})


@pytest.mark.parametrize("text", ALLOWED)
def test_what_is_let_through_runs(text: str, sql: Sql) -> None:
    query = read_only(text, KNOWN)
    sql.query(query, dict.fromkeys(query.tables, DEPARTURES)).read_all()


# Reading the engine's own catalogue, and a crash that only a process may see, are the guard's alone; the rest the
# engine refuses too.
HARMLESS = (
    "duckdb_",
    "pragma_",
    "information_schema",
    "pg_catalog",
    "sqlite_master",
    "current_setting",
    "query",
    "arrow_scan",
    "pandas_scan",
    "show",
    "values",
    "main.departures",
    "memory.main",
    "glob",
    "getvariable",
    "write_log",
    "'xxx",
    "((((",
    "select * from (pivot",
)


@pytest.mark.parametrize("text", [text for text in ATTACKS if not any(word in text for word in HARMLESS)])
def test_the_second_wall_holds_without_the_first(text: str, sql: Sql, tmp_path: Path) -> None:
    with pytest.raises(WorkFailed):
        sql.query(
            text.replace("/tmp/x", str(tmp_path / "x")), {"departures": DEPARTURES, "arrivals": DEPARTURES}
        ).read_all()
    assert list(tmp_path.iterdir()) == []
