"""Loading: where a project is found, what is taken, and that loading again is safe."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import millstream
from millstream.base.errors import NotFound
from millstream.declare.load import load

STREAM = """\
import millstream as ms


class Order(ms.Event):
    customer: str
    amount: float
    ts: ms.EventTime


{name} = ms.stream("{name}", Order, key="customer")
"""


def project(folder: Path, name: str = "orders") -> Path:
    (folder / "tables").mkdir(parents=True)
    (folder / "millstream.toml").write_text(f'[project]\nname = "{name}"\n[params]\nbig = 5\n')
    (folder / "streams.py").write_text(STREAM.format(name=name))
    return folder


def test_found_from_below(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    (root / "deep" / "er").mkdir(parents=True)
    made = load(root / "deep" / "er")
    assert (
        made.root == root.resolve()
        and made.name == "orders"
        and made.params == {"big": 5}
        and list(made.streams) == ["orders"]
    )
    with pytest.raises(NotFound, match=r"millstream\.toml"):
        load(tmp_path)


def test_a_time_without_a_zone_is_of_utc_in_sql_as_in_expressions(tmp_path: Path) -> None:
    """SQL refused it when it ran, expressions took it as UTC."""
    root = project(tmp_path / "p")
    with (root / "millstream.toml").open("a") as file:
        file.write("day = 2026-01-05\nbare = 2026-01-05T10:00:00\nsaid = 2026-01-05T10:00:00+02:00\n")
    told = load(root).params
    assert (told["day"], told["bare"]) == (date(2026, 1, 5), datetime(2026, 1, 5, 10, tzinfo=UTC)) and told[
        "said"
    ].isoformat() == "2026-01-05T10:00:00+02:00"


def test_what_is_a_module(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    (root / "_helper.py").write_text("WORD = 'more'\n")
    (root / "test_it.py").write_text("raise SystemError\n")
    (root / "conftest.py").write_text("raise SystemError\n")
    (root / "scripts").mkdir()
    (root / "scripts" / "data.py").write_text("raise SystemError\n")
    (root / "more.py").write_text(
        "import millstream as ms\nfrom _helper import WORD\nfrom streams import Order\nmore = ms.stream(WORD, Order,"
        " key='customer')\n"
    )
    assert sorted(load(root).streams) == ["more", "orders"]


def test_loading_again_sees_every_edit(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    (root / "_helper.py").write_text("LATENESS = '1m'\n")
    (root / "streams.py").write_text(
        "from _helper import LATENESS\n"
        + STREAM.format(name="orders").replace('key="customer")', 'key="customer", lateness=LATENESS)')
    )
    first = load(root)
    (root / "_helper.py").write_text("LATENESS = '2m'\n")  # same size, same second
    second = load(root)
    assert (first.streams["orders"].lateness_us, second.streams["orders"].lateness_us) == (60_000_000, 120_000_000)
    assert first.streams["orders"] is not second.streams["orders"]


def test_two_projects_with_modules_of_one_name(tmp_path: Path) -> None:
    one, two = project(tmp_path / "one"), project(tmp_path / "two", "visits")
    for root in (one, two):
        (root / "views.py").write_text("import streams\n")
    assert list(load(one).streams) == ["orders"]
    assert list(load(two).streams) == ["visits"]
    assert sys.modules["streams"].__file__ == str(two.resolve() / "streams.py") and str(one.resolve()) not in sys.path
    assert list(load(one).streams) == ["orders"]


def test_tables_of_files(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    (root / "tables" / "days.sql").write_text(
        "-- Orders of a day.\n-- @time day\n-- @key customer, day\n-- @incremental 1d lookback 2d\n"
        "select customer, ts as day from orders where amount > $big and ts >= $start and ts < $end\n"
    )
    (root / "tables" / "kept.sql").write_text("-- @time day\n-- @lag 1h\nselect * from days\n")
    (root / "views.py").write_text(
        "import millstream as ms\nfrom millstream import agg\nkept = ms.table('kept', key='customer')\n"
        "f = ms.features('f', kept, key='customer', aggregates={'n': agg.count()})\n"
    )
    made = load(root)
    days, kept = made.tables["days"], made.tables["kept"]
    assert (days.time, days.key, days.incremental, days.doc) == (
        "day",
        ("customer", "day"),
        "1d lookback 2d",
        "Orders of a day.",
    )
    assert (kept.time, kept.key, kept.sql) == ("day", ("customer",), "-- @time day\n-- @lag 1h\nselect * from days\n")
    assert made.features["f"].source is kept
    assert (
        made.graph.upstream("days") == ("orders",)
        and made.graph.downstream("days") == ("kept",)
        and made.graph.upstream("f") == ("kept",)
    )
    order = made.graph.order()
    assert order.index("orders") < order.index("days") < order.index("kept") < order.index("f")
    with pytest.raises(NotFound):
        made.graph.upstream("nothing")


def test_checks_are_remembered_by_content(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    (root / "tables" / "a.sql").write_text("select amount > $big as x from orders\n")
    cache = tmp_path / "cache"
    load(root, cache=cache)
    stored = (cache / "checks.json").read_bytes()
    script = (
        "import sys; from millstream.declare.load import load; from pathlib import Path;"
        f"load({str(root)!r}, cache=Path({str(cache)!r})); print('sqlglot' in sys.modules)"
    )
    # Warm: nothing is parsed
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
    )
    assert (cache / "checks.json").read_bytes() == stored
    (cache / "checks.json").write_text("torn {")
    load(root, cache=cache)
    assert (cache / "checks.json").read_bytes() == stored


def test_the_front_door_is_exact_and_light() -> None:
    public = {
        "ArrivalTime",
        "Change",
        "Event",
        "EventTime",
        "Train",
        "agg",
        "assign",
        "by_time",
        "decisions",
        "endpoint",
        "expect",
        "experiment",
        "features",
        "field",
        "load",
        "model",
        "monitor",
        "outcome",
        "read",
        "source",
        "stream",
        "table",
        "training_set",
    }
    assert set(millstream.__all__) == public and list(millstream.__all__) == sorted(millstream.__all__)
    assert all(hasattr(millstream, name) for name in millstream.__all__)
    heavy = [
        "duckdb",
        "polars",
        "deltalake",
        "mlflow",
        "sklearn",
        "lightgbm",
        "pandas",
        "uvicorn",
        "sqlglot",
        "starlette",
        "fastavro",
        "sqlalchemy",
    ]
    script = f"import millstream, sys; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
