"""What is sent to executors with a function, without a JVM."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyarrow.compute as pc
import pytest

from millstream.engines.spark import shipped
from millstream.transform import mapping


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for name in (
        "market_tables.py",
        "_helper.py",
        "parts/__init__.py",
        "parts/deep/one.py",
        "data/prices.csv",
        "loose/two.py",
        ".venv/lib/three.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("def function(batch):\n    return batch\n" if name.startswith("market") else "")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("market_tables")
    del sys.modules["market_tables"]


def test_modules_of_the_root_and_packages_are_sent(module: ModuleType, tmp_path: Path) -> None:
    root = shipped._root(module.function)
    assert root == tmp_path.resolve()
    assert sorted(name for name, _ in shipped._modules(root)) == [
        "_helper.py",
        "market_tables.py",
        "parts/__init__.py",
        "parts/deep/one.py",
    ]


def test_of_installed_packages_nothing_is_sent() -> None:
    assert shipped._root(pc.add) is None
    assert shipped._root(mapping.mapped) is None  # type: ignore[arg-type]


def test_the_environment_holds_what_is_installed_and_what_is_edited_but_not_spark() -> None:
    files = dict(shipped._installed())
    assert "millstream/transform/mapping.py" in files and "pyarrow/__init__.py" in files
    assert not [name for name in files if name.startswith(("pyspark/", "pip/")) or "__pycache__" in name]


def test_who_says_where_python_is() -> None:
    assert shipped.python(None, "/opt/env/bin/python", local=False) == "/opt/env/bin/python"
    assert shipped.python(None, "", local=True) == sys.executable
