"""The quickstart through the command line, as a user goes through it: made, checked, planned, run, changed, run again,
looked at.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_project import Said, command, millstream

from millstream.templates import create

ASSETS = ["sources", "visits", "orders", "offer_decisions", "habit", "spend", "customer_days", "visit_set", "buyer"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart after its first run. Tests only look at it."""
    folder = tmp_path_factory.mktemp("quick") / "start"
    create("quickstart", folder)
    first = millstream(folder, "run")
    assert first.code == 0 and "done: 9 made, 0 up to date" in first.err, first
    return folder


@pytest.fixture
def mine(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "mine"))


def stale(folder: Path, *selectors: str) -> dict[str, list[str]]:
    return {
        a["name"]: a["reasons"] for a in millstream(folder, "plan", *selectors, "--json").json["assets"] if a["stale"]
    }


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def test_init_says_what_comes_next_and_overwrites_nothing(tmp_path: Path) -> None:
    said = millstream(tmp_path, "init", str(tmp_path / "p"))
    assert said.code == 0 and said.out.split("\n")[:4] == [
        f"  cd {tmp_path / 'p'}",
        "  millstream check",
        "  millstream plan",
        "  millstream run",
    ]
    again = millstream(tmp_path, "init", str(tmp_path / "p"))
    assert again.code == 2 and "is not empty" in again.err
    unknown = millstream(tmp_path, "init", str(tmp_path / "q"), "--template", "flight")
    assert unknown.code == 2 and 'did you mean "flights"?' in unknown.err and not (tmp_path / "q").exists()


def test_check_counts_the_nouns(made: Path) -> None:
    said = millstream(made, "check", "--json")
    assert said.code == 0 and said.json["nouns"] == {
        "stream": 2,
        "source": 4,
        "monitor": 2,
        "features": 2,
        "training_set": 1,
        "model": 1,
        "endpoint": 1,
        "table": 1,
    }
    told = millstream(made, "check")
    assert told.out == "" and "ok quickstart: 2 streams" in told.err


def test_check_tells_all_mistakes_together(mine: Path) -> None:
    edit(mine / "features.py", 'agg.sum("amount")', 'agg.sum("amonut")')
    edit(mine / "tables" / "customer_days.sql", "from orders", "from ordres")
    edit(mine / "live.py", '"offer"', '"orders"')
    said = millstream(mine, "check")
    assert said.code == 2 and said.out == ""
    assert {"E111", "E103", "E102"} <= {word for word in said.err.split() if word[0] == "E" and word[1:].isdigit()}
    assert 'did you mean "amount"?' in said.err and 'did you mean "orders"?' in said.err
    files = [line.split(":")[0] for line in said.err.splitlines() if line and not line.startswith(" ")]
    assert files == sorted(files) and set(files) == {"features.py", "live.py", "tables/customer_days.sql"}
    for verb in ("plan", "run"):
        assert millstream(mine, verb).code == 2, f"{verb} of a project with mistakes"


def test_check_binds_every_table_to_what_it_reads_and_remembers_what_it_has_bound(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = mine / "tables"
    (tables / "b.sql").write_text("select customer, nope from customer_days")
    (tables / "c.sql").write_text("select x from b")  # what reads a wrong table is not blamed for it
    (tables / "d.sql").write_text("select day > $big as y from customer_days")
    (tables / "e.sql").write_text("select origin, error from orders__dead")
    said = millstream(mine, "check")
    assert said.code == 2 and said.err.count("E138") == 2, said.err
    assert (
        re.search(r'tables/b.sql:1:\d+  table "b": its SQL does not fit what it reads', said.err)
        and 'there is no column "nope"' in said.err
        and "tables/d.sql:1" in said.err
    )
    (tables / "b.sql").write_text("select customer from customer_days")
    (tables / "c.sql").write_text("select upper(customer) as x from b")
    (tables / "d.sql").write_text("select spend > $big as y from customer_days")
    assert millstream(mine, "check").code == 0
    monkeypatch.setattr("millstream.engines.duckdb.sql.DuckDbSql.describe", lambda *given: pytest.fail("bound again"))
    assert millstream(mine, "check").code == 0
    (tables / "c.sql").unlink()
    assert millstream(mine, "check").code == 0


@pytest.mark.parametrize("verb", ["check", "plan", "run"])
def test_a_column_misspelt_in_sql_is_told_at_its_line_and_not_where_it_is_missed(mine: Path, verb: str) -> None:
    (mine / "tables" / "weeks.sql").write_text(
        "-- @time day\n-- @key customer\n-- @lag 1d\n\nselect c.custmer,\n  day\nfrom customer_days c"
    )
    (mine / "more.py").write_text(
        "import millstream as ms\nfrom millstream import agg\n\nweeks = ms.table('weeks')\n"
        "came = ms.features('came', weeks, key='customer', windows=['7d'], aggregates={'n': agg.count()})\n"
    )
    said = millstream(mine, verb)
    assert said.code == 2 and said.err.splitlines() == [
        'tables/weeks.sql:5:8  table "weeks": its SQL does not fit what it reads',
        (
            '  found  there is no column "custmer" in "c" (DuckDB: Binder Error: Values list "c" does not have a column'
            ' named "custmer")'
        ),
        '  fix    did you mean "customer"?    E138',
        "1 mistake; 1 definition was not checked, because it depends on what is wrong: came",
    ], said.err


def test_a_second_run_skips_everything(made: Path) -> None:
    before = [t["version"] for t in millstream(made, "show", "tables", "--json").json]
    said = millstream(made, "run", "--json")
    assert said.code == 0 and {row["name"]: row["status"] for row in said.json} == dict.fromkeys(ASSETS, "skipped")
    assert [t["version"] for t in millstream(made, "show", "tables", "--json").json] == before
    planned = millstream(made, "plan")
    assert planned.code == 0 and planned.out == "" and "nothing to do: 9 assets are up to date" in planned.err
    everything = millstream(made, "plan", "--all")
    assert everything.out.count("up to date") == 9


def test_a_changed_table_is_planned_and_made_alone(mine: Path) -> None:
    edit(mine / "tables" / "customer_days.sql", "count(*) as orders", "count(*) as bought")
    (orders,) = (t for t in millstream(mine, "show", "tables", "--json").json if t["table"] == "orders")
    (planned,) = (a for a in millstream(mine, "plan", "--json").json["assets"] if a["stale"])
    assert planned["name"] == "customer_days" and planned["reasons"] == ["its definition changed"]
    assert (planned["rows"], planned["bytes"]) == (orders["rows"], orders["bytes"]) == (
        93,
        orders["bytes"],
    ) and planned["seconds"] > 0
    told = millstream(mine, "plan")
    assert "1 of 9 assets would be made: 93 rows" in told.err and "endpoint" not in told.err
    done = {row["name"]: row["status"] for row in millstream(mine, "run", "--json").json}
    assert done == {**dict.fromkeys(ASSETS, "skipped"), "customer_days": "made"}
    assert "bought" in millstream(mine, "sql", "from customer_days limit 1", "--json").json[0]
    assert stale(mine) == {}


def test_what_is_downstream_of_a_change_is_planned_with_its_reason(mine: Path) -> None:
    edit(mine / "millstream.toml", "big = 100", "big = 50")
    assert stale(mine) == {
        "spend": ["its definition changed"],
        "customer_days": ["its definition changed"],
        "visit_set": ["its definition changed"],
        "buyer": ["visit_set will be made again"],
    }
    assert millstream(mine, "plan", "--json").json["endpoints"] == ["offer"]
    edit(mine / "millstream.toml", "big = 50", "big = 100")
    edit(mine / "models.py", "range(20)", "range(21)")
    assert stale(mine) == {"buyer": ["its definition changed"]}
    edit(mine / "models.py", "range(21)", "range(20)")
    edit(mine / "models.py", "import numpy as np", "import numpy as np  # nothing else")
    edit(mine / "tables" / "customer_days.sql", "-- @key", "-- one row a customer and day\n-- @key")
    assert stale(mine) == {}, "what is beside the model and its SQL is not a change"
    with (mine / "data" / "orders.csv").open("a") as file:
        file.write("x1,ada,12.50,2026-02-03T10:00:00Z\n")
    planned = stale(mine)
    assert planned["sources"] == ["34 B of files to read"] and {"orders", "customer_days", "visit_set", "buyer"} <= set(
        planned
    )
    assert millstream(mine, "ingest").code == 0
    assert stale(mine, "customer_days") == {"customer_days": ["orders has changed"]}


def test_selectors(made: Path) -> None:
    def chosen(*words: str) -> list[str]:
        return [a["name"] for a in millstream(made, "plan", *words, "--json").json["assets"]]

    assert chosen("+visit_set") == ["sources", "visits", "orders", "visit_set"]
    assert chosen("orders+") == ["orders", "spend", "customer_days", "visit_set", "buyer"]
    assert chosen("kind:table", "kind:model") == ["customer_days", "buyer"] and chosen("state:changed") == []
    said = millstream(made, "plan", "custmer_days")
    assert said.code == 2 and "customer_days" in said.err


def test_a_step_that_fails_blocks_only_what_needs_it(mine: Path) -> None:
    edit(mine / "tables" / "customer_days.sql", "sum(amount)", "error('boom')")
    (mine / "tables" / "best_days.sql").write_text("select max(spend) as best from customer_days")
    said = millstream(mine, "run", "--json")
    assert said.code == 1
    rows = {row["name"]: row for row in said.json}
    assert "boom" in rows["customer_days"]["error"] and rows["customer_days"]["status"] == "failed"
    assert rows["best_days"]["status"] == "blocked" and rows["buyer"]["status"] == "skipped"
    (last,) = millstream(mine, "show", "runs", "--limit", "1", "--json").json
    assert last["status"] == "failed" and last["failed"] >= 1
    told = millstream(mine, "show", "run", last["run"])
    assert told.code == 0 and "boom" in told.out and "best_days" in told.out
    edit(mine / "tables" / "customer_days.sql", "error('boom')", "sum(amount)")
    assert {r["name"] for r in millstream(mine, "run", "--json").json if r["status"] == "made"} == {"best_days"}, (
        "the other is as it was made before"
    )


def test_parameters_of_models(mine: Path) -> None:
    for word, says in (
        ("depth=3", 'no selected model has a parameter "depth"; there are ridge'),
        ("ridge=much", "its default 1.0 is float"),
        ("ridge", "NAME=VALUE"),
    ):
        said = millstream(mine, "run", "buyer", "--param", word)
        assert said.code == 2 and says in said.err, word
    assert millstream(mine, "run", "buyer", "--param", "ridge=5").code == 0
    told = millstream(mine, "show", "model", "buyer@latest", "--json").json
    assert told["version"] == 2 and told["parameters"] == {"ridge": 5.0}


@pytest.mark.parametrize(
    "what",
    [
        "runs",
        "streams",
        "tables",
        "models",
        "experiments",
        "endpoints",
        "graph",
        "model buyer",
        "model buyer@1",
        "endpoint offer",
    ],
)
def test_show_in_both_forms(made: Path, what: str) -> None:
    told, plain = millstream(made, "show", *what.split(), "--json"), millstream(made, "show", *what.split())
    assert told.code == plain.code == 0
    assert isinstance(told.json, list | dict) and "Traceback" not in plain.err
    assert (plain.out != "") == bool(told.json), what


def test_doctor_speaks_plainly(mine: Path) -> None:
    (online,) = [f["found"] for f in millstream(mine, "doctor", "--json").json if f["what"] == "online"]
    assert online == "2 definitions of features filled"


def test_show_refuses_what_is_not_there(made: Path) -> None:
    for words, says in (
        ("nothing", 'nothing is called "nothing" here'),
        ("model", "wants a name"),
        ("model nope", "there are buyer"),
        ("endpoint nope", "there are offer"),
        ("run nope", "see millstream show runs"),
        ("model buyer@99", "99"),
        ("E999", "no page E999"),
    ):
        said = millstream(made, "show", *words.split())
        assert said.code == 2 and says in said.err and said.out == "", words


def test_every_error_code_has_a_page(made: Path) -> None:
    from millstream.declare.pages import PAGES

    assert len(PAGES) > 40
    for code in PAGES:
        said = millstream(made, "show", code.lower())
        assert said.code == 0 and said.out.startswith(f"{code}: ") and "Fix" in said.out, code


@pytest.mark.parametrize(
    "words",
    [
        "check",
        "plan",
        "plan --all",
        "run",
        "ingest",
        "doctor",
        "config",
        "config --show-origin",
        "verify",
        "verify orders",
        "monitor orders_rows",
        "monitor --history",
        "experiment",
        "explore orders",
        "explore customer_days --columns spend",
        "show runs",
        "show graph",
        "sql from@orders",
        "experiment show",
    ],
)
def test_json_of_every_verb_is_one_document(made: Path, words: str) -> None:
    said = millstream(made, *(word.replace("@", " ") for word in words.split()), "--json")
    assert said.code == 0, said
    json.loads(said.out, parse_constant=lambda name: pytest.fail(f"{name} is not valid JSON"))


def test_explore_and_its_page(made: Path, tmp_path: Path) -> None:
    said = millstream(made, "explore", "orders", "--html", str(tmp_path / "orders.html"))
    page = (tmp_path / "orders.html").read_text()
    assert (
        said.code == 0 and said.out == "" and "amount" in page and "http" not in page.replace("http://www.w3.org", "")
    )
    told = millstream(made, "explore", "orders", "--json").json
    assert told["rows"] == 93
    assert millstream(made, "explore", "orders").out.count("amount") >= 1
    for words, says in (
        ("nope", "is not in the lake"),
        ("orders --columns nope", "there is no column"),
        ("orders --version 99", "99"),
    ):
        refused = millstream(made, "explore", *words.split())
        assert refused.code == 2 and says in refused.err, words


def test_sql_prints_rows_in_three_forms(made: Path) -> None:
    query = (
        "select customer, count(*)::int as n from orders where amount > $big group by all order by n desc, customer"
        " limit 2"
    )
    told = millstream(made, "sql", query, "--json").json
    assert len(told) == 2 and set(told[0]) == {"customer", "n"}
    assert millstream(made, "sql", query, "--csv").out.replace('"', "").splitlines() == [
        "customer,n",
        *(f"{row['customer']},{row['n']}" for row in told),
    ]
    assert millstream(made, "sql", "-", "--json", stdin=query).json == told
    short = millstream(made, "sql", "from orders", "--limit", "3")
    assert (
        "the first 3 rows" in short.err
        and len(millstream(made, "sql", "from orders", "--limit", "0", "--json").json) == 93
    )
    assert len(millstream(made, "sql", "from range(150)", "--json").json) == 150, "a script takes what it reads for all"
    assert millstream(made, "sql", "from range(150)", "--csv").out.count("\n") == 151
    cut = millstream(made, "sql", "from range(150)", "--json", "--limit", "100")
    assert len(cut.json) == 100 and "the first 100 rows" in cut.err
    assert "the first 100 rows" in millstream(made, "sql", "from range(150)").err
    assert millstream(made, "sql", "select 1/0 as x, 'nan'::double as y", "--json").json == [
        {"x": "Infinity", "y": "NaN"}
    ]
    assert millstream(made, "sql", "describe orders", "--json").json[0]["column_name"] == "order_id"
    assert {row["column_name"] for row in millstream(made, "sql", "summarize orders", "--json").json} > {"amount", "ts"}
    refused = millstream(made, "sql", "select nope from orders")
    assert refused.code == 2 and "nope" in refused.err


def test_an_object_of_json_has_no_two_columns_of_one_name(made: Path) -> None:
    said = millstream(made, "sql", "--json", "select 1 as n, 2 as n")
    assert said.code == 2 and 'two columns are called "n"' in said.err and "n as n_2" in said.err


@pytest.mark.parametrize(
    "query",
    [
        "insert into orders values (1)",
        "delete from orders",
        "update orders set amount = 0",
        "drop table orders",
        "create table x as select 1",
        "truncate orders",
        "alter table orders add column x int",
        "with x as (delete from orders returning *) from x",
        "select 1; drop table orders",
        "select 1; select 2",
        "",
        "from read_csv('FILE')",
        "from 'FILE'",
        "from read_text('FILE')",
        "from read_blob('FILE')",
        "from glob('/*')",
        "select (select max(content) from read_text('FILE'))",
        "from read_parquet('http://127.0.0.1:9/x')",
        "from 'https://127.0.0.1:9/x.csv'",
        "attach 'FILE'",
        "copy orders to 'FILE'",
        "copy (select 1) to 'FILE'",
        "export database 'FILE'",
        "import database 'FILE'",
        "pragma database_list",
        "call pragma_version()",
        "set threads = 1",
        "reset threads",
        "install httpfs",
        "load httpfs",
        "checkpoint",
        "vacuum",
        "begin",
        "explain analyze insert into orders values (1)",
        "select getenv('HOME')",
        "from duckdb_settings()",
        "from query('select 1')",
        "from query_table('orders')",
        "from information_schema.tables",
        "from sqlite_master",
        "from offer_outcomes",
        "prepare x as select 1",
    ],
)
def test_sql_reads_the_lake_and_nothing_else(made: Path, tmp_path: Path, query: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("word\nhunter2\n")
    said = millstream(made, "sql", query.replace("FILE", str(secret)))
    assert said.code == 2 and said.out == "" and said.err and "hunter2" not in said.err
    assert [p.name for p in tmp_path.iterdir()] == ["secret.csv"] and secret.read_text() == "word\nhunter2\n"


def test_verify_proves_and_finds_a_planted_gap(mine: Path) -> None:
    proven = {row["stream"]: row for row in millstream(mine, "verify", "--json").json}
    assert all(row["ok"] for row in proven.values()) and (proven["orders"]["rows"], proven["visits"]["rows"]) == (
        93,
        464,
    )
    assert millstream(mine, "verify", "nope").code == 2
    files = sorted((mine / ".millstream" / "lake" / "orders").glob("*.parquet"), key=lambda p: p.stat().st_size)
    log = mine / ".millstream" / "lake" / "orders" / "_delta_log" / f"{1:020}.json"
    lines = log.read_text().splitlines()
    log.write_text("\n".join(line for line in lines if files[-1].name not in line) + "\n")
    said = millstream(mine, "verify", "orders")
    assert said.code == 1 and "broken" in said.out


def test_doctor_finds_a_torn_tail_and_fixes_it(mine: Path) -> None:
    assert millstream(mine, "doctor").code == 0
    with (mine / "data" / "orders.csv").open("a") as file:
        file.write("x1,ada,12.50,2026-02-03T10:00:00Z\n")
    assert millstream(mine, "ingest").code == 0
    last = max((mine / ".millstream" / "lake" / "orders" / "_delta_log").glob("*.json"))
    last.write_bytes(last.read_bytes()[:40])
    found = millstream(mine, "doctor", "--json")
    assert found.code == 3 and any(
        f["status"] == "bad" and f["what"] == "table orders" and "--fix" in f["fix"] for f in found.json
    )
    fixed = millstream(mine, "doctor", "--fix", "--json")
    assert fixed.code == 0 and any(f["status"] == "fixed" for f in fixed.json)
    assert millstream(mine, "run", "orders").code == 0
    (orders,) = millstream(mine, "verify", "orders", "--json").json
    assert orders["ok"] and orders["rows"] == 94, "the log has filled the table again"


def test_config_says_where_each_value_comes_from(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_CONSOLE_PORT", "9000")
    rows = {
        row["key"]: row
        for row in millstream(made, "--set", "serve.port=9001", "config", "--show-origin", "--json").json
    }
    assert (rows["serve.port"]["value"], rows["serve.port"]["origin"]) == ("9001", "--set serve.port")
    assert rows["console.port"]["origin"] == "MILLSTREAM_CONSOLE_PORT" and rows["lake"]["origin"].startswith(
        "millstream.toml"
    )
    assert rows["state"]["origin"] == "default"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["plam"], 2, 'did you mean "plan"'),
        (["plan", "--nope"], 2, "--nope"),
        (["--set", "log", "plan"], 2, "KEY=VALUE"),
        (["--set", "lgo=x", "plan"], 3, 'did you mean "log"?'),
        (["--profile", "cluster", "plan"], 3, "it has laptop"),
        (["--set", "log=kafka://b:9092", "plan"], 3, 'no engine "kafka"'),
        (["ingest", "--until", "noon"], 2, "is not a time"),
        (["monitor", "nope"], 2, "there are orders_rows"),
        (["trace", "nope"], 2, "no decision"),
        (["experiment", "start", "nope"], 2, "no experiment"),
        (["serve", "--host", "0.0.0.0"], 3, "there is no serve.token"),
        (["part", "nope"], 2, 'no part "nope"'),
        (["plan", "kind:modle"], 2, 'no kind "modle"; did you mean "model"?'),
        (["run", "state:chnged"], 2, 'did you mean "state:changed"?'),
        (["sql", "select amonut from orders"], 2, 'there is no column "amonut"; did you mean "amount"?'),
        (["sql", "select $bog from orders"], 2, "the query asks for $bog"),
        (["sql", "select customer::int from orders"], 1, "Conversion Error"),
        (["explore", "orders", "--columns", "amonut"], 2, 'did you mean "amount"?'),
        (["show", "streem"], 2, 'did you mean "streams"?'),
        (["show", "model", "bayer"], 2, 'did you mean "buyer"?'),
        (["experiment", "strat", "x"], 2, 'did you mean "start"?'),
        (["experiment", "callab"], 2, "experiment show callab"),
        (["cluster", "statsu"], 2, 'no verb "statsu" of cluster; did you mean "status"?'),
        (["export", "airflw"], 2, 'did you mean "airflow"?'),
        (["completion", "bsh"], 2, 'did you mean "bash"?'),
        (["verify", "order"], 2, 'did you mean "orders"?'),
        (["monitor", "orders_row"], 2, 'did you mean "orders_rows"?'),
        (["zzz"], 2, 'no verb "zzz"; there are init, check'),
    ],
)
def test_exit_codes_and_sentences(made: Path, words: list[str], code: int, says: str) -> None:
    said = millstream(made, *words)
    assert said.code == code and says in said.err and "Traceback" not in said.err, said


def test_no_project_here(tmp_path: Path) -> None:
    said = millstream(tmp_path, "plan")
    assert said.code == 2 and "millstream init" in said.err


def test_a_violated_monitor_is_exit_code_4(mine: Path) -> None:
    assert millstream(mine, "monitor", "orders_rows").code == 0
    with (mine / "data" / "orders.csv").open("a") as file:
        file.write("x1,ada,-1.00,2026-02-01T10:00:00Z\n")
    assert millstream(mine, "ingest").code == 0
    said = millstream(mine, "monitor", "orders_rows", "--json")
    assert said.code == 4 and said.json[0]["status"] == "violated" and "1 of 94 rows" in said.json[0]["message"]
    assert millstream(mine, "monitor", "orders_rows", "--history", "--json").json[0]["status"] == "violated"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(made: Path, shell: str) -> None:
    said = millstream(made, "completion", shell)
    assert said.code == 0 and "_MILLSTREAM_COMPLETE" in said.out


def test_completion_completes_verbs() -> None:
    asked = os.environ | {"_MILLSTREAM_COMPLETE": "bash_complete", "COMP_WORDS": "millstream pl", "COMP_CWORD": "1"}
    code = "import sys; sys.argv[0] = 'millstream'; from millstream.app.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=asked, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["plain,plan"], done


HEAVY = (
    "duckdb",
    "pyarrow",
    "deltalake",
    "numpy",
    "polars",
    "mlflow",
    "pandas",
    "sklearn",
    "lightgbm",
    "sqlglot",
    "sqlalchemy",
    "uvicorn",
    "starlette",
    "jinja2",
    "rich",
    "pytest",
    "millstream.engines",
    "millstream.run.workspace",
)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom millstream.app.cli.main import main\nsys.argv = ['millstream', '--help']\n"
        f"try: main()\nexcept SystemExit: pass\nprint([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"
    assert all(
        verb in done.stdout for verb in ("init", "plan", "run", "serve", "trace", "demo")
    ) and "Exit codes: 0 ok" in " ".join(done.stdout.split())


def test_as_a_process_progress_and_errors_go_to_stderr(made: Path) -> None:
    done = subprocess.run(
        command("--project", str(made), "plan", "--json"), capture_output=True, text=True, timeout=60, check=True
    )
    assert isinstance(Said(0, done.stdout, done.stderr).json, dict) and done.stderr == ""
