"""A version names no room of Millstream: it loads in a Millstream whose rooms and modules have other names, and so does
one that was stored under the old names.
"""

from __future__ import annotations

import importlib
import os
import pickletools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle  # type: ignore[import-untyped,unused-ignore]
import numpy as np
import pytest

import millstream
from millstream import stored
from millstream.base.errors import WorkFailed
from millstream.base.event import REQUIRED
from millstream.train.scorer import PICKLE, load, save

PROJECT = '''
"""A module of a user's project, as models.py is one: streams, features and models beside one another."""
from datetime import UTC, datetime

import millstream as ms
import numpy as np
from millstream import agg
from millstream.declare.event import REQUIRED


class Order(ms.Event):
    """One order."""

    order_id: str
    price: float | None = None
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="order_id")
spend = ms.features("spend", orders, key="order_id", windows=["1d"], aggregates={"n": agg.count()})


def first_of(names):
    return names[0]


class Reaches:
    """By its globals, its attributes and the classes of both."""

    def __init__(self):
        self.one = Order(order_id="a", price=0.25, ts=datetime(2026, 1, 1, tzinfo=UTC))
        self.stream, self.required = orders, REQUIRED

    def predict(self, X):
        assert type(orders) is type(self.stream) and self.stream.schema.names() == ("order_id", "price", "ts")
        assert self.stream.schema["price"].nullable
        assert self.stream.schema["order_id"].default is self.required is REQUIRED
        assert spend.columns() and ms.__name__ == "millstream" and agg.count() == agg.count()
        assert isinstance(self.one, Order) and issubclass(Order, ms.Event) and first_of(["x"]) == "x"
        return np.full(len(X), self.one.price)


class Plain:
    def __init__(self):
        self.stream, self.one = orders, Order(order_id="a", price=0.5, ts=datetime(2026, 1, 1, tzinfo=UTC))

    def predict(self, X):
        assert orders.name == self.stream.name == "orders"
        assert type(self.one).__schema__.names() == self.stream.schema.names()
        return np.full(len(X), self.one.price)
'''
ASK = """
import sys
from pathlib import Path
import numpy as np
import millstream.said.flow
from millstream.train.scorer import load
try:
    import millstream.declare
    raise SystemExit("the room has its old name")
except ModuleNotFoundError:
    pass
for folder in sys.argv[1:]:
    print(load(Path(folder), "model.pkl", probability=False).matrix(np.zeros((2, 1))).tolist())
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "kept_nouns.py").write_text(PROJECT)
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    yield importlib.import_module("kept_nouns")
    sys.modules.pop("kept_nouns", None)
    importlib.invalidate_caches()


def kept(model: Any, folder: Path) -> Path:
    folder.mkdir()
    assert save(model, folder, "kept_nouns") == PICKLE
    return folder


def kept_by_older(model: Any, folder: Path) -> Path:
    """As versions were stored before: under the names of rooms."""
    folder.mkdir()
    module = sys.modules["kept_nouns"]
    cloudpickle.register_pickle_by_value(module)
    try:
        (folder / PICKLE).write_bytes(cloudpickle.dumps(model))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    return folder


def reached(folder: Path) -> set[str]:
    """The modules of Millstream that a stored model imports by their names."""
    texts, found = list[str](), set[str]()
    for code, value, _ in pickletools.genops((folder / PICKLE).read_bytes()):
        if "UNICODE" in code.name:
            texts.append(str(value))
        elif code.name == "STACK_GLOBAL":
            found.add(texts[-2])
        elif code.name == "GLOBAL":
            found.add(str(value).partition(" ")[0])
    return {name for name in found if name.partition(".")[0] == "millstream"}


def renamed(folder: Path) -> Path:
    """Millstream with another name for a room, and for a module in it."""
    home = Path(millstream.__file__).parent
    shutil.copytree(
        home, folder / "millstream", ignore=shutil.ignore_patterns("__pycache__", "console", "templates", "demo")
    )
    (folder / "millstream" / "declare" / "stream.py").rename(folder / "millstream" / "declare" / "flow.py")
    (folder / "millstream" / "declare").rename(folder / "millstream" / "said")
    for file in (folder / "millstream").rglob("*.py"):
        text = (
            file.read_text()
            .replace("millstream.declare", "millstream.said")
            .replace("millstream.said.stream", "millstream.said.flow")
        )
        file.write_text(text.replace('"stream": "stream"', '"stream": "flow"'))
    return folder


def test_versions_load_when_rooms_have_other_names(project: ModuleType, tmp_path: Path) -> None:
    now, before = kept(project.Reaches(), tmp_path / "now"), kept_by_older(project.Plain(), tmp_path / "before")
    again = kept(project.Plain(), tmp_path / "again")
    assert reached(now) == reached(again) == {"millstream.stored"}
    assert "millstream.declare.stream" in reached(before), "or it would not be a test"
    for folder, says in ((now, 0.25), (before, 0.5), (again, 0.5)):
        assert load(folder, PICKLE, probability=False).matrix(np.zeros((2, 1))).tolist() == [says] * 2
    sources = renamed(tmp_path / "renamed")
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(now), str(before), str(again)],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(sources)},
    )
    assert (done.stdout.split("\n"), done.returncode) == (["[0.25, 0.25]", "[0.5, 0.5]", "[0.5, 0.5]", ""], 0), (
        done.stderr
    )


def test_what_has_no_name_any_more_is_said(tmp_path: Path) -> None:
    (tmp_path / PICKLE).write_bytes(b"\x80\x04cmillstream.declare.gone\nGoneForGood\n.")
    said = (
        "a stored model reaches GoneForGood, which was in millstream.declare.gone when it was trained, and is in none"
        " of its modules in this Millstream; train it again"
    )
    with pytest.raises(WorkFailed, match=re.escape(said)):
        load(tmp_path, PICKLE, probability=False)


def test_of_several_names_the_one_in_a_module_of_the_same_name() -> None:
    assert stored.named("Column", "millstream.elsewhere.matrix").__module__ == "millstream.train.matrix"
    with pytest.raises(
        ImportError, match=r"reaches Column, .* and is in millstream\.log\.avro_types, millstream\.train\.matrix"
    ):
        stored.named("Column", "millstream.elsewhere.other")
    assert stored.module("millstream.elsewhere.matrix").__name__ == "millstream.train.matrix"
    assert stored.named("EventForm.one", "millstream.elsewhere.form").__qualname__ == "EventForm.one"
    assert (
        stored.named("Departure", "millstream.elsewhere.other").__module__ == "millstream.templates.flights.streams"
    ), "an example in a text is not a class"


NOUNS = {
    "event": ("Event", "Field", "Schema", "REQUIRED", "Change"),
    "stream": ("Stream",),
    "table": ("Table",),
    "features": ("Features",),
    "outcome": ("Outcome",),
    "training_set": ("TrainingSet",),
    "model": ("Model", "ModelRef"),
    "experiment": ("Experiment",),
    "endpoint": ("Endpoint",),
    "monitor": ("Monitor",),
    "errors": ("Place",),
    "source": ("Source",),
}
"""What a project's module holds, where it is in the first version: stored models say so, so these pairs stay as they
are when modules move.
"""


@pytest.mark.parametrize("place", NOUNS)
def test_each_noun_is_found_under_its_first_name(place: str) -> None:
    """When this fails, a module has moved and its name alone does not tell where to: add it to `stored.MOVED`."""
    for name in NOUNS[place]:
        found = stored.named(name, f"millstream.declare.{place}")
        kind = found if isinstance(found, type) else type(found)
        assert (
            kind.__module__.startswith("millstream.")
            and found in (kind, REQUIRED)
            and (found is REQUIRED or kind.__name__ == name)
        )


def test_a_module_that_moved_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match="reaches Change"):
        stored.named("Change", "millstream.declare.occurrence")
    monkeypatch.setitem(stored.MOVED, "millstream.declare.occurrence", "millstream.declare.event")
    assert stored.named("Change", "millstream.declare.occurrence") is millstream.Change
    assert stored.module("millstream.declare.occurrence").__name__ == "millstream.declare.event"


def test_what_is_no_part_of_millstream_is_stored_as_ever() -> None:
    class Local:
        answer = 42

    assert stored.loads(stored.dumps(Local)).answer == 42 and stored.loads(stored.dumps(np.mean)) is np.mean
    with pytest.raises(ModuleNotFoundError):
        stored.loads(b"\x80\x04cno_such_library\nThing\n.")
