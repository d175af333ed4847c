"""A project's functions on executors: its modules go with them, the newest ones, and mistakes in them are told with
file and line.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from spark_world import SPARK

from millstream.base.errors import WorkFailed
from millstream.engines.spark.sql import SparkSql

SOME = "select i from range(1000) as r(i)"
MANY = "select i from range(200000) as r(i)"  # more than is tried in the driver


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSql]:
    engine = SparkSql(SPARK, tmp_path_factory.mktemp("spark"))
    engine.query("select 1 as a", {}).read_all()
    yield engine
    engine.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, as a project's is; its modules are forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("shop_tables", "_prices", "shop_parts", "shop_parts.tax"):
        sys.modules.pop(name, None)


def write(project: Path, price: str) -> None:
    (project / "shop_parts").mkdir(exist_ok=True)
    (project / "shop_parts" / "__init__.py").write_text("")
    (project / "shop_parts" / "tax.py").write_text("RATE = 2\n")
    (project / "_prices.py").write_text(f"from shop_parts.tax import RATE\n\n\ndef price(i):\n    return {price}\n")
    (project / "shop_tables.py").write_text(
        "import pyarrow as pa\n\nimport _prices\n\n\ndef priced(batch):\n    from shop_parts import tax\n    return"
        " pa.record_batch({'p': [_prices.price(i) + tax.RATE for i in batch['i'].to_pylist()]})\n\n\nclass Wrapped:\n  "
        "  pass\n\n\nfunction, priced = priced, Wrapped()  # as the decorator does\n"
    )


def made(engine: SparkSql, rows: str = SOME) -> pa.Table:
    importlib.invalidate_caches()
    return engine.map(rows, importlib.import_module("shop_tables").function, {}, what="it").read_all()


def test_the_modules_of_the_project_are_there(engine: SparkSql, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, "i * RATE")
    assert sorted(made(engine)["p"].to_pylist()) == [2 * i + 2 for i in range(1000)]
    for name in ("shop_tables", "_prices"):
        del sys.modules[name]
    write(project, "i * RATE + 1000")
    # By the same workers, which knew the old one
    assert sorted(made(engine)["p"].to_pylist()) == [2 * i + 1002 for i in range(1000)]


def test_a_mistake_in_a_helper_is_told_where_it_is(engine: SparkSql, project: Path) -> None:
    write(project, "1000 // (150_000 - i)")
    with pytest.raises(WorkFailed, match=r"(?m)^it: its function raised ZeroDivisionError: .* \(_prices.py:5\)$"):
        made(engine, MANY)


def test_what_cannot_travel_is_told(engine: SparkSql) -> None:
    held = (number for number in range(3))
    with pytest.raises(
        WorkFailed, match=r"it: its function cannot be sent to executors: .*generator.*make what it needs itself"
    ):
        engine.map(SOME, lambda batch: [batch][: next(held) + 1], {}, what="it")
