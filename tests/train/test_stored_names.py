"""A version names no room of Millstream: it loads in a Millstream whose rooms and modules have other names, and so does one that was stored under the old names."""

from __future__ import annotations

import importlib
import pickletools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import millstream
from millstream import stored
from millstream.declare.errors import WorkFailed
from millstream.train.scorer import PICKLE, load, project_modules, save

PROJECT = '''
"""A module of a user's project, as models.py is one: streams, features and models beside one another."""
from datetime import UTC, datetime

import millstream as ms
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
        self.stream, self.one, self.required = orders, Order(order_id="a", price=0.25, ts=datetime(2026, 1, 1, tzinfo=UTC)), REQUIRED

    def predict(self, X):
        assert type(orders) is type(self.stream) and self.stream.schema.names() == ("order_id", "price", "ts")
        assert self.stream.schema["price"].nullable and self.stream.schema["order_id"].default is self.required is REQUIRED
        assert spend.columns() and ms.__name__ == "millstream" and agg.count() == agg.count()
        assert isinstance(self.one, Order) and issubclass(Order, ms.Event) and first_of(["x"]) == "x"
        return [self.one.price] * len(X)
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
def reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "kept_nouns.py").write_text(PROJECT)
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    yield importlib.import_module("kept_nouns").Reaches()
    sys.modules.pop("kept_nouns", None)
    importlib.invalidate_caches()


def in_older(model: Any, folder: Path) -> Path:
    """The model as older versions stored it, rooms and all."""
    import cloudpickle

    folder.mkdir()
    modules = project_modules(sys.modules["kept_nouns"])
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    held, modulus = sys.modules.pop("millstream"), sys.modules["kept_nouns"]
    try:
        modulus.ms = held.declare.event  # `ms` itself could not be stored
        sys.modules["millstream"] = held
        (folder / PICKLE).write_bytes(cloudpickle.dumps(Older(model.stream, model.one)))
    finally:
        sys.modules["millstream"], modulus.ms = held, held
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
    return folder
