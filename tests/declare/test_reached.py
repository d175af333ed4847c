"""What a function reaches in its project: an edit of any of it is another code, an edit of anything else is not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import millstream as ms
from millstream.declare.reached import reached
from millstream.train.code import code_of
from millstream.transform.recipe import Recipe

FILES = {
    "users_models.py": (
        """
import functools
import os
import helpers
import pkg.far
import pkg.deep.below as under
import numpy as np
import millstream as ms
from helpers import from_it as renamed, Base, again
from pkg import shown
from pkg.deep import h
from starred import *

SIZES = (3, 5)
WORDS = ["a", "b"]
LIMITS = {"x": 1, "y": {"z": 2}}
FILLED = {}
FILLED["late"] = 7
PART = functools.partial(helpers.partly, 2)
UNUSED = 1
spare = 2
noun = ms.table("t", "select 1 as x")


def wrapped(f):
    @functools.wraps(f)
    def inner(*a, **k):
        return f(*a, **k) + 1
    return inner


def called_in_init():
    return 1


def called_in_method():
    return 2


class Mine(Base):
    field = helpers.in_body()

    def __init__(self):
        self.v = called_in_init()

    def predict(self, X):
        return called_in_method()


@wrapped
def decorated(x):
    return x


def unused():
    return 0


def fit(train, *, n=helpers.default()):
    import lazily
    spare = [x for x in SIZES] + WORDS + list(LIMITS) + list(FILLED)
    noun
    called = helpers.g(1), renamed(2), h(3), under.deepest(4), pkg.far.away(5), shown(6), star(7), lazily.late(8)
    return (called, again(9), decorated(10), Mine, PART, np.zeros(1), os.sep)
"""
    ),
    "helpers.py": (
        """
from pkg.deep import second

RATE = 0.5
OTHER = 0.5


def g(x):
    return x * RATE


def unrelated(x):
    return x * OTHER


def from_it(x):
    return second(x)


def partly(a, b):
    return a + b


def default():
    return 3


def in_body():
    return 4


def again(x):
    return x if x < 1 else again(x - 1)


class Base:
    def held(self):
        return by_base()


def by_base():
    return 1
"""
    ),
    "pkg/__init__.py": "from .inner import shown, hidden\n",
    "pkg/inner.py": "def shown(x):\n    return 11\n\ndef hidden(x):\n    return 12\n",
    "pkg/far.py": "def away(x):\n    return 21\n\ndef aside(x):\n    return 22\n",
    "pkg/deep/__init__.py": (
        "def h(x):\n    return 31\n\ndef second(x):\n    return 32\n\ndef third(x):\n    return 33\n"
    ),
    "pkg/deep/below.py": "from .. import far\n\ndef deepest(x):\n    return far.away(x) + 41\n",
    "starred.py": "def star(x):\n    return 51\n\ndef starless(x):\n    return 52\n",
    "lazily.py": "def late(x):\n    return 61\n\ndef later(x):\n    return 62\n",
}
REACHED = [
    ("users_models.py", "(3, 5)", "(3, 6)"),
    ("users_models.py", '["a", "b"]', '["a"]'),
    ("users_models.py", '{"z": 2}', '{"z": 3}'),
    ("users_models.py", "= 7", "= 8"),
    ("users_models.py", "partly, 2", "partly, 3"),
    ("users_models.py", "(*a, **k) + 1", "(*a, **k) + 2"),
    ("users_models.py", "return 1\n", "return 9\n"),
    ("users_models.py", "return 2\n", "return 9\n"),
    ("users_models.py", "class Mine(Base)", "class Mine"),
    ("users_models.py", "    return x\n", "    return -x\n"),
    ("helpers.py", "x * RATE", "x + RATE"),
    ("helpers.py", "RATE = 0.5", "RATE = 0.75"),
    ("helpers.py", "second(x)", "second(-x)"),
    ("helpers.py", "a + b", "a - b"),
    ("helpers.py", "return 3", "return 9"),
    ("helpers.py", "return 4", "return 9"),
    ("helpers.py", "return 1\n", "return 9\n"),
    ("helpers.py", "x < 1", "x < 2"),
    ("pkg/inner.py", "11", "19"),
    ("pkg/far.py", "21", "29"),
    ("pkg/deep/__init__.py", "31", "39"),
    ("pkg/deep/__init__.py", "32", "39"),
    ("pkg/deep/below.py", "41", "49"),
    ("starred.py", "51", "59"),
    ("lazily.py", "61", "69"),
]
LEFT = [
    ("users_models.py", "UNUSED = 1", "UNUSED = 9"),
    ("users_models.py", "return 0", "return 9"),
    ("users_models.py", "select 1", "select 9"),
    ("users_models.py", "spare = 2", "spare = 9"),
    ("helpers.py", "x * OTHER", "x + OTHER"),
    ("helpers.py", "OTHER = 0.5", "OTHER = 0.75"),
    ("pkg/inner.py", "12", "19"),
    ("pkg/far.py", "22", "29"),
    ("pkg/deep/__init__.py", "33", "39"),
    ("starred.py", "52", "59"),
    ("lazily.py", "62", "69"),
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], Any]]:
    """Writes files beside those of FILES, and imports the project anew."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget() -> None:
        for name in [
            n for n in sys.modules if n.partition(".")[0] in ("users_models", "helpers", "pkg", "starred", "lazily")
        ]:
            sys.modules.pop(name)
        importlib.invalidate_caches()

    def made(files: dict[str, str]) -> Any:
        forget()
        for name, text in {**FILES, **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return importlib.import_module("users_models")

    yield made
    forget()


def edited(file: str, was: str, now: str) -> dict[str, str]:
    assert was in FILES[file]
    return {file: FILES[file].replace(was, now)}


@pytest.mark.parametrize(("file", "was", "now"), REACHED)
def test_an_edit_of_what_is_reached_is_another_code(
    project: Callable[[dict[str, str]], Any], file: str, was: str, now: str
) -> None:
    before = reached(project({}).fit)
    assert reached(project(edited(file, was, now)).fit) != before


@pytest.mark.parametrize(("file", "was", "now"), LEFT)
def test_an_edit_of_anything_else_is_not(
    project: Callable[[dict[str, str]], Any], file: str, was: str, now: str
) -> None:
    before = reached(project({}).fit)
    assert reached(project(edited(file, was, now)).fit) == before


def test_models_and_tables_go_by_it_alike(project: Callable[[dict[str, str]], Any]) -> None:
    def codes(module: Any) -> tuple[str, int]:
        asked = ms.stream("asked", Asked, key="ride")
        rows: Any = ms.training_set(
            "rows", at=asked, label=ms.outcome(asked, on="ride", within="1d"), features=[asked.fields("ride")]
        )
        model: Any = ms.model(rows)(module.fit)
        return code_of(model), Recipe.of(ms.table(asked)(module.fit), {}).code

    before = codes(project({}))
    assert codes(project({})) == before
    for file, was, now in (("pkg/deep/__init__.py", "31", "39"), ("helpers.py", "x * RATE", "x + RATE")):
        assert not set(codes(project(edited(file, was, now)))) & set(before)
    assert codes(project(edited("helpers.py", "x * OTHER", "x + OTHER"))) == before


def test_a_module_that_is_passed_on_counts_as_a_whole(project: Callable[[dict[str, str]], Any]) -> None:
    text = {"users_models.py": "import helpers\n\ndef fit(train, name='g'):\n    return getattr(helpers, name)(1)\n"}
    before = reached(project(text).fit)
    assert reached(project({**text, **edited("helpers.py", "x * OTHER", "x + OTHER")}).fit) != before
    assert reached(project({**text, **edited("pkg/deep/__init__.py", "33", "39")}).fit) == before


def test_modules_that_import_each_other(project: Callable[[dict[str, str]], Any]) -> None:
    text = {
        "users_models.py": "import helpers\nK = 1\n\ndef fit(train):\n    return helpers.g(train) + helpers.nowhere\n",
        "helpers.py": (
            "import users_models\nfrom users_models import nowhere\n\ndef g(x):\n    return users_models.fit(x) +"
            " users_models.K\n"
        ),
    }
    broken = text["helpers.py"].replace("from users_models import nowhere\n", "nowhere = 1\n")
    before = reached(project({**text, "helpers.py": broken}).fit)
    assert (
        reached(
            project(
                {**text, "users_models.py": text["users_models.py"].replace("K = 1", "K = 2"), "helpers.py": broken}
            ).fit
        )
        != before
    )


def test_a_module_that_is_imported_when_called_counts_alike_before_and_after(
    project: Callable[[dict[str, str]], Any],
) -> None:
    lazy = {
        "lazily.py": (
            "import os\nK = 5  # of a kind\nL = len(os.sep) + 1\nseen = 0\n\ndef late(x):\n    global seen\n    seen +="
            " 1\n    return K + L + seen\n"
        )
    }
    module = project(lazy)
    before = reached(module.fit)
    module.fit(None)
    assert "lazily" in sys.modules and sys.modules["lazily"].seen == 1 and reached(module.fit) == before
    assert reached(project({"lazily.py": lazy["lazily.py"].replace("of a kind", "of another")}).fit) == before
    assert reached(project({"lazily.py": lazy["lazily.py"].replace("+ 1\nseen", "+ 2\nseen")}).fit) != before


def test_a_constant_that_is_computed_counts_by_its_value(
    project: Callable[[dict[str, str]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = edited("helpers.py", "RATE = 0.5", "import os\nRATE = float(os.environ['USERS_RATE'])")
    monkeypatch.setenv("USERS_RATE", "1")
    before = reached(project(text).fit)
    monkeypatch.setenv("USERS_RATE", "1.0")
    assert reached(project(text).fit) == before
    monkeypatch.setenv("USERS_RATE", "2")
    assert reached(project(text).fit) != before


def test_an_import_that_may_fail_counts_with_what_stands_in_for_it(project: Callable[[dict[str, str]], Any]) -> None:
    text = {
        "users_models.py": (
            "try:\n    from starred import star\nexcept ImportError:\n    def star(x):\n        return 0\n\ndef"
            " fit(train):\n    return star(1)\n"
        )
    }
    before = reached(project(text).fit)
    assert reached(project({**text, **edited("starred.py", "51", "59")}).fit) != before
    assert reached(project({"users_models.py": text["users_models.py"].replace("return 0", "return 9")}).fit) != before


def test_closures_and_wrappers_are_seen_through() -> None:
    def made(k: int, helper: Any) -> Any:
        class Held:
            def predict(self, X: Any) -> Any:
                return helper(X)

        def fit(train: Any) -> Any:
            return Held(), k

        return fit

    def one(x: Any) -> Any:
        return x

    def other(x: Any) -> Any:
        return -x

    assert reached(made(1, one)) == reached(made(1, one))
    assert len({str(reached(made(k, f))) for k in (1, 2) for f in (one, other)}) == 4
    assert reached(reached) and reached(len) == []


class Asked(ms.Event):
    ride: str
    ts: ms.EventTime
