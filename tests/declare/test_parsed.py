"""Texts of modules as trees, whatever else the process does meanwhile, and however deep they are."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.base.errors import DefinitionErrors
from millstream.declare.load import load
from millstream.declare.parsed import parsed
from millstream.declare.unread import declared_in

LONG = "import millstream as ms\nms.stream('there', None)\nx = [" + "f(a, b), " * 20_000 + "]\n"
DEEP = "x = " + " + ".join(["1"] * 20_000) + "\n"


@pytest.fixture
def others_parse() -> Iterator[list[int]]:
    """Code that the garbage collector calls, and that parses too: CPython 3.11 gets the depths of the two trees mixed up."""
    calls = list[int]()

    def parse(phase: str, info: object) -> None:
        calls.append(len(ast.parse("y = 1").body))

    gc.callbacks.append(parse)
    yield calls
    gc.callbacks.remove(parse)


def test_a_tree_is_made_while_others_parse(others_parse: list[int], tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(LONG)
    assert declared_in(tmp_path / "m.py") == ["there"] and len(parsed(LONG).body) == 3
    assert gc.isenabled() and gc.collect() >= 0 and others_parse, "afterwards all is as it was"


def test_what_is_nested_too_deeply_is_no_python(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(DEEP)
    assert declared_in(tmp_path / "m.py") == []
    with pytest.raises(SyntaxError, match="nested too deeply"):
        parsed(DEEP)
    assert gc.isenabled() and parsed("x = 1").body


def test_a_module_that_is_nested_too_deeply_is_one_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "millstream.toml").write_text('[project]\nname = "deep"\n')
    (tmp_path / "streams.py").write_text(DEEP)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with pytest.raises(DefinitionErrors) as caught:
            load(".")
        (error,) = caught.value.errors
        assert (
            error.code == "E107"
            and str(error.place) == "streams.py:1"
            and "nested too deeply" in error.message
            and error.fix == "split the longest one into several"
        )
