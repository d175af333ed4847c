"""A version is what was registered: whatever becomes of the project's files, of its libraries, or of what predict()
does to its input.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory_tracking import MemoryTracking
from train_world import DAY, PARAMS, T0, World, asked, done, late, traffic, world_in

import millstream as ms
from millstream.base.errors import WorkFailed
from millstream.train.dataset import Dataset, build
from millstream.train.predictor import CHECKED, differs, load
from millstream.train.run import train

SET: Any = ms.training_set(
    "kept_set", at=asked, label=late, split=ms.by_time(test="2d"), features=[asked.fields("city", "distance")]
)
HELPER = """
import deeper

class Thing:
    def __init__(self, v):
        self.v = v

    def predict(self, X):
        return deeper.times(self.v, len(X))
"""
DEEPER = "import numpy as np\n\ndef times(v, n):\n    return np.full(n, v * 1)\n"
MODELS = "from helper import Thing\n\ndef fit(train, *, v=0.25):\n    return Thing(v)\n"
NAMES = ("kept_models", "helper", "deeper")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = world_in(tmp_path_factory.mktemp("world"))
    asks, answers = traffic(600, 8)
    made.land(asked, asks)
    made.land(done, answers, upto=T0 + 9 * DAY)
    yield made
    made.sql.close()


@pytest.fixture(scope="module")
def rows(world: World) -> Dataset:
    return build(SET, world.lake, world.sql, PARAMS)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    forget()


def forget() -> None:
    for name in NAMES:
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def written(folder: Path, helper: str = HELPER, deeper: str = DEEPER) -> Any:
    """The project as it stands in the files now; its function."""
    forget()
    (folder / "helper.py").write_text(helper)
    (folder / "deeper.py").write_text(deeper)
    (folder / "kept_models.py").write_text(MODELS)
    return importlib.import_module("kept_models").fit


def model(name: str, function: Any, **options: Any) -> Any:
    return replace(
        ms.model(SET, metrics=["brier"], promote_if="brier <= champion.brier", **options)(function), name=name
    )


def test_editing_and_renaming_in_helper_modules_changes_no_version(
    project: Path, world: World, rows: Dataset, tmp_path: Path
) -> None:
    tracking = MemoryTracking(tmp_path / "tracking")
    train(model("kept", written(project)), rows, tracking, world.lake, world.sql)
    asks = pa.table({"city": ["ams"], "distance": [1.0]})
    for helper, deeper in (
        (HELPER, DEEPER.replace("v * 1", "v * 3")),
        (HELPER.replace("Thing", "Other"), DEEPER),
        (HELPER.replace("self.v,", "0.9,"), DEEPER),
    ):
        forget()
        (project / "helper.py").write_text(helper)
        (project / "deeper.py").write_text(deeper)
        assert load(tracking, "kept", "1").predict(asks).tolist() == [0.25]
    for name in NAMES:
        (project / f"{name}.py").unlink()
    forget()
    assert load(tracking, "kept", "1").predict(asks).tolist() == [0.25], "the files are not needed"


def test_what_is_imported_late_and_edited_is_refused_with_its_row(
    project: Path, world: World, rows: Dataset, tmp_path: Path
) -> None:
    """An import inside predict() reads the file of today; the stored rows tell. A champion that cannot be loaded loses,
    so that a run repairs it.
    """
    tracking = MemoryTracking(tmp_path / "tracking")
    late_import = HELPER.replace("import deeper\n", "").replace(
        "        return deeper", "        import deeper\n        return deeper"
    )
    again = model("lazy", written(project, late_import))
    train(again, rows, tracking, world.lake, world.sql)
    assert load(tracking, "lazy").predict(pa.table({"city": ["ams"], "distance": [1.0]})).tolist() == [0.25]
    again = model("lazy", written(project, late_import, DEEPER.replace("v * 1", "v * 3")))
    with pytest.raises(
        WorkFailed,
        match=(
            r"lazy@1 is not what was registered: of its stored row 0 it says 0\.75 and said 0\.25; put back what it"
            r" uses, or train it again"
        ),
    ):
        load(tracking, "lazy")
    version = train(again, rows, tracking, world.lake, world.sql)
    assert version.aliases == ("champion", "latest")
    assert version.tags["reason"].startswith(
        "promoted: brier <= champion.brier: champion 1 cannot be loaded, which loses to any: lazy@1 is not what was"
        " registered"
    )
    (project / "deeper.py").unlink()
    forget()
    with pytest.raises(
        WorkFailed,
        match=(
            r"lazy@2 cannot predict the rows it was registered with any more: ModuleNotFoundError: No module named"
            r" 'deeper'"
        ),
    ):
        load(tracking, "lazy", "2")


def test_a_rule_that_asks_more_than_the_champion_holds_without_it(
    project: Path, world: World, rows: Dataset, tmp_path: Path
) -> None:
    tracking = MemoryTracking(tmp_path / "tracking")
    first = train(model("bar", written(project)), rows, tracking, world.lake, world.sql)
    (tracking.artifacts("bar", first.number) / "model.pkl").write_bytes(b"torn")
    worse = replace(model("bar", written(project)), promote_if="brier <= champion.brier and brier < 0.01")
    found = train(worse, rows, tracking, world.lake, world.sql)
    assert found.tags["reason"].startswith("not promoted: ") and "cannot be loaded" in found.tags["reason"]


def test_a_helper_that_holds_what_cannot_be_stored_is_named_instead(
    project: Path, world: World, rows: Dataset, tmp_path: Path
) -> None:
    """A module that is reached whole, with a lock in it: stored by its name, as a library is, and checked by
    its rows.
    """
    tracking = MemoryTracking(tmp_path / "tracking")
    helper = HELPER.replace("import deeper", "import deeper, threading\nLOCK = threading.Lock()")
    written(project, helper)
    (project / "kept_models.py").write_text(
        "import helper\n\nclass Mine:\n    def predict(self, X):\n        return helper.Thing(0.5).predict(X)\n\ndef"
        " fit(train):\n    return Mine()\n"
    )
    sys.modules.pop("kept_models")
    importlib.invalidate_caches()
    fit = importlib.import_module("kept_models").fit
    train(model("locked", fit), rows, tracking, world.lake, world.sql)
    assert load(tracking, "locked").predict(pa.table({"city": ["ams"], "distance": [1.0]})).tolist() == [0.5]


@pytest.mark.parametrize("form", ["matrix", "frame"])
def test_check_rows_are_stored_as_they_came_for_every_form(
    world: World, rows: Dataset, tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracking = MemoryTracking(tmp_path / "tracking")

    class Near:
        def predict(self, X: Any) -> Any:
            return np.nan_to_num(np.asarray(X["distance"] if form == "frame" else X[:, 1], dtype=float)) / 100

    def near(train: Any) -> object:
        return Near()

    train(model(f"rows_{form}", near, input=form), rows, tracking, world.lake, world.sql)
    folder = tracking.artifacts(f"rows_{form}", 1)
    kept = pq.read_table(folder / CHECKED)
    assert (
        kept.column_names == ["city", "distance", "_said0"]
        and 0 < kept.num_rows <= 256
        and pa.types.is_string(kept.schema.field("city").type)
    )
    load(tracking, f"rows_{form}")
    assert not caplog.records
    (folder / CHECKED).unlink()
    with caplog.at_level(logging.WARNING):
        load(tracking, f"rows_{form}")
    assert f"rows_{form}@1 keeps no rows to check it by" in caplog.text


class Bad:
    def __init__(self, how: str) -> None:
        self.how = how

    def predict(self, X: Any) -> Any:
        if self.how == "writes":
            X[:, 1] = 0.0
            return np.full(len(X), 0.5)
        if self.how == "draws":
            return np.random.default_rng().random(len(X))
        if self.how == "ranks":
            return np.argsort(np.argsort(X[:, 1])) / len(X)
        return np.full(len(X), float(self.how))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("writes", r"its predict\(\) writes into the rows that it is given; work on a copy"),
        ("draws", r"of the same \d+ rows it says other things alone than among \d+"),
        (
            "ranks",
            r"an endpoint asks for one row at a time: predict\(\) must neither draw lots nor depend on its other rows",
        ),
        ("nan", "predictions for the test rows are NaN or infinite"),
        ("inf", "predictions for the test rows are NaN or infinite"),
    ],
)
def test_what_cannot_be_served_is_found_when_it_is_registered(
    world: World, rows: Dataset, tmp_path: Path, how: str, said: str
) -> None:
    tracking = MemoryTracking(tmp_path / "tracking")
    with pytest.raises(WorkFailed, match=said):
        train(model(f"bad_{how}", lambda train: Bad(how)), rows, tracking, world.lake, world.sql)
    assert tracking.versions(f"bad_{how}") == []


def test_the_first_row_that_differs() -> None:
    then = np.array([[0.25], [1e9], [0.0]])
    assert differs(then * (1 + 1e-12), then) is None and differs(then * (1 + np.array([[0], [1e-8], [0]])), then) == 1
    assert (
        differs(then + np.array([[0], [0], [1e-3]]), then) == 2
        and differs(np.full((3, 1), np.nan), then) == 0
        and differs(then[:2], then) == 0
    )
