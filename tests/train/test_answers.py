"""What a model answers is what its version answers: by class or by probability, whatever the order of its classes; what
no endpoint could serve is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_tracking import MemoryTracking
from train_world import DAY, PARAMS, T0, World, asked, done, late, traffic, world_in

import millstream as ms
from millstream.base.errors import WorkFailed
from millstream.train import predictor, run
from millstream.train.answers import probabilities
from millstream.train.compiled import LinearScorer
from millstream.train.dataset import Dataset, build
from millstream.train.scorer import PlainScorer, load, save

lightgbm = pytest.importorskip("lightgbm")
linear_model = pytest.importorskip("sklearn.linear_model")
HALF = 0.5
SPLIT = ms.by_time(test="2d")
COLUMNS: Any = [asked.fields("distance")]
as_bool: Any = ms.training_set("as_bool", at=asked, label=late, split=SPLIT, features=COLUMNS)
as_int: Any = ms.training_set(
    "as_int",
    at=asked,
    label=ms.outcome(done, on="ride", value="case when delay > 15 then 1 else 0 end", within="6h"),
    split=SPLIT,
    features=COLUMNS,
)
never: Any = ms.training_set(
    "never",
    at=asked,
    split=SPLIT,
    features=COLUMNS,
    label={"late": late, "lost": ms.outcome(done, on="ride", value="delay > 100000", within="6h")},
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = world_in(tmp_path_factory.mktemp("world"))
    asks, answers = traffic(300, 8)
    made.land(asked, asks)
    made.land(done, answers, upto=T0 + 9 * DAY)
    yield made
    made.sql.close()


@pytest.fixture(scope="module")
def sets(world: World) -> dict[str, Dataset]:
    return {one.name: build(one, world.lake, world.sql, PARAMS) for one in (as_bool, as_int, never)}


def trained(
    world: World, sets: dict[str, Dataset], folder: Path, on: Any, fit: Any, **options: Any
) -> tuple[predictor.Predictor, Any]:
    """The champion as an endpoint loads it, and the rows that it was judged by."""
    tracking = MemoryTracking(folder)
    model = replace(ms.model(on, **options)(fit), name="champ")
    run.train(model, sets[on.name], tracking, world.lake, world.sql)
    rows = world.sql.query(
        "select * from t where _split = 'test' order by _row",
        {"t": world.lake.table(on.name).snapshot(sets[on.name].version)},
    ).read_all()
    return predictor.load(tracking, "champ"), rows


def trees(train: Any) -> object:
    return lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(train.X, train.y)


def forest(train: Any) -> object:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=1)).fit(
        np.nan_to_num(train.X), train.y
    )


def logistic(train: Any) -> object:
    return linear_model.LogisticRegression().fit(np.nan_to_num(train.X), train.y)


@pytest.mark.parametrize("fit", [trees, forest, logistic])
@pytest.mark.parametrize(
    ("on", "options"),
    [
        (as_bool, {"output": "predict", "metrics": ["accuracy"]}),
        (as_int, {"metrics": ["mae"]}),
        (as_bool, {"metrics": ["auc"]}),
        (as_int, {"output": "probability", "metrics": ["mae"]}),
    ],
)
def test_a_classifier_answers_as_it_was_asked(
    world: World, sets: dict[str, Dataset], tmp_path: Path, fit: Any, on: Any, options: dict[str, Any]
) -> None:
    held, rows = trained(world, sets, tmp_path, on, fit, **options)
    said = held.predict(rows)
    by_class = options.get("output") == "predict" or (on is as_int and "output" not in options)
    assert (set(said.tolist()) == {0.0, 1.0}) is by_class
    assert [held.predict_row(row) for row in rows.to_pylist()] == pytest.approx(said.tolist(), rel=1e-9)
    if fit is trees:
        assert held.scorer.form == ("sklearn" if by_class else "lightgbm")


class Louder(lightgbm.LGBMClassifier):  # type: ignore[misc, name-defined, unused-ignore]
    """A wrapper that answers otherwise than the text of its booster."""

    def predict_proba(self, X: Any, *args: Any, **options: Any) -> Any:
        p = super().predict_proba(X, *args, **options)
        return np.stack([1 - p[:, 1] / 2, p[:, 1] / 2], axis=1)


def test_a_wrapper_of_ones_own_is_kept_whole(world: World, sets: dict[str, Dataset], tmp_path: Path) -> None:
    held, rows = trained(
        world, sets, tmp_path, as_bool, lambda train: Louder(n_estimators=5, verbose=-1).fit(train.X, train.y)
    )
    assert held.scorer.form == "sklearn" and held.predict(rows).max() < HALF


class Told:
    """P(true) is the distance squeezed into 0 to 1, in the column that its classes say."""

    def __init__(self, classes: Any = None, columns: int = 2, twist: Any = None) -> None:
        self.columns, self.twist = columns, twist
        if classes is not None:
            self.classes_ = classes

    def predict(self, X: Any) -> Any:
        return np.nan_to_num(X[:, 0]) > 8

    def predict_proba(self, X: Any) -> Any:
        p = np.nan_to_num(X[:, 0]) / (1 + np.nan_to_num(X[:, 0]))
        if self.twist:
            return self.twist(np.stack([1 - p, p], axis=1))
        if self.columns == 1:
            return np.ones((len(X), 1))
        if self.columns == 3:
            return np.stack([1 - p, p / 2, p / 2], axis=1)
        turned = str(getattr(self, "classes_", [0])[0]) in ("1", "1.0", "True", "yes", "YES")
        return np.stack([p, 1 - p] if turned else [1 - p, p], axis=1)


@pytest.mark.parametrize(
    "classes",
    [
        None,
        [0, 1],
        [1, 0],
        [True, False],
        np.array([1.0, 0.0]),
        ["no", "yes"],
        ["yes", "no"],
        np.array(["YES", "NO"]),
        ["1", "0"],
    ],
)
def test_the_probability_of_true_goes_by_the_names_of_the_classes(classes: Any) -> None:
    X = np.array([[0.0], [1.0], [9.0]])
    said = PlainScorer(Told(classes), True).matrix(X)
    assert said.tolist() == [0.0, 0.5, 0.9]

    class Line:
        """A pipeline that keeps its classes in its last step."""

        def __init__(self, last: Any) -> None:
            self.steps = [("scale", None), ("last", last)]

        def predict_proba(self, X: Any) -> Any:
            return self.steps[-1][1].predict_proba(X)

    assert PlainScorer(Line(Told(classes)), True).matrix(X).tolist() == [0.0, 0.5, 0.9]


@pytest.mark.parametrize(("words", "truth"), [(["no", "yes"], "yes"), (["false", "true"], "true")])
def test_a_label_in_words_is_compiled_all_the_same(tmp_path: Path, words: list[str], truth: str) -> None:
    X = np.arange(40.0).reshape(-1, 1)
    y = np.array([words[0]] * 20 + [words[1]] * 20)
    for made, form in (
        (linear_model.LogisticRegression(max_iter=500).fit(X, y), "linear"),
        (lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, y), "lightgbm"),
    ):
        said = PlainScorer(made, True).matrix(X)
        assert np.array_equal(said, made.predict_proba(X)[:, list(made.classes_).index(truth)])
        found = load(tmp_path, save(made, tmp_path, check=(X, said)), probability=True, check=(X, said))
        assert found.form == form and np.allclose([found.row(x) for x in X], said, rtol=1e-12)
    assert LinearScorer.of(made, probability=True, check=(X, said), else_=PlainScorer(made, True)) is None


@pytest.mark.parametrize(("only", "said"), [(0, 0.0), (1, 1.0), (True, 1.0), ("no", 0.0), ("yes", 1.0)])
def test_one_class_alone_is_0_or_1(only: Any, said: float) -> None:
    assert PlainScorer(Told([only], columns=1), True).matrix(np.ones((2, 1))).tolist() == [said, said]
    both = probabilities(
        [np.ones((2, 1)), np.array([[0.25, 0.75], [0.5, 0.5]])], [np.array([only]), np.array([0, 1])], 2, "it"
    )
    assert both.tolist() == [[said, 0.75], [said, 0.5]]


def test_a_label_of_several_that_was_always_the_same(world: World, sets: dict[str, Dataset], tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neural_network import MLPClassifier

    held, rows = trained(
        world, sets, tmp_path / "1", never, lambda train: RandomForestClassifier(5).fit(np.nan_to_num(train.X), train.y)
    )
    said = held.predict(rows)
    assert said.shape[1] == 2 and not said[:, 1].any() and 0 < said[:, 0].mean() < 1
    assert list(held.predict_row(rows.to_pylist()[0]).values()) == pytest.approx(said[0].tolist())
    net = MLPClassifier((3,), max_iter=5, random_state=1)  # one array of P(true), a column a label
    held, rows = trained(world, sets, tmp_path / "2", never, lambda train: net.fit(np.nan_to_num(train.X), train.y))
    assert np.array_equal(held.predict(rows), net.predict_proba(rows.select(["distance"]).to_pandas().to_numpy()))


def _masked(p: Any) -> Any:
    return np.ma.masked_array(p, mask=p > 0.9)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            Told([0, 1, 2], 3),
            (
                r"predict_proba\(\) of Told has 3 column\(s\) \(its classes_ are 0, 1, 2\), and a boolean has two:"
                r" false and true; fit it on train\.y"
            ),
        ),
        (Told(None, 3), r"has 3 column\(s\), and a boolean has two"),
        (Told(None, 1), r"has 1 column\(s\), and a boolean has two"),
        (Told(["late", "on time"]), "which of its classes_ late, on time is true is not known"),
        (Told([1, True]), "which of its classes_ 1, True is true is not known"),
        (Told(twist=_masked), r"predict_proba\(\) of Told answers \d+ values that are masked"),
        (Told(twist=lambda p: p + 0j), r"answers complex numbers \(complex128\)"),
        (
            Told(twist=lambda p: 1.5 * p),
            (
                r"answers 1\.\d+ for _row \d+ of the test rows, which is not a probability; return numbers from 0 to 1,"
                r" or say output=\"predict\""
            ),
        ),
        (Told(twist=lambda p: p.astype(str)), r"answers <U\d+, and a prediction is a number"),
        (Told(twist=lambda p: -p), "which is not a probability"),
    ],
)
def test_what_is_no_probability_is_refused_when_it_is_registered(
    world: World, sets: dict[str, Dataset], tmp_path: Path, made: Any, said: str
) -> None:
    tracking = MemoryTracking(tmp_path)
    model = replace(ms.model(as_bool)(lambda train: made), name="champ")
    with pytest.raises(WorkFailed, match=rf'^model "champ" \(.*test_answers.py:\d+\): .*{said}'):
        run.train(model, sets["as_bool"], tracking, world.lake, world.sql)
    assert tracking.versions("champ") == [] and tracking.runs("champ")[0].status == "failed"


class Forgets:
    """What is stored of it is not what it is."""

    def __init__(self, how: str) -> None:
        self.how, self.v = how, 0.25

    def __getstate__(self) -> dict[str, Any]:
        return {"how": self.how, "v": 0.75 if self.how == "other" else self.v}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["how"] == "loads":
            raise RuntimeError("no key")
        self.__dict__.update(state)

    def predict(self, X: Any) -> Any:
        if self.how == "alone" and len(X) == 1:
            return np.full(1, 0.5)
        return np.full(len(X), self.v)


class Open:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def predict(self, X: Any) -> Any:
        return np.full(len(X), 0.25)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            Forgets("other"),
            (
                r"what was stored of it is not the model that was trained, so it is not registered: of row 0 it says"
                r" 0\.75, and said 0\.25 before it was stored"
            ),
        ),
        (
            Forgets("loads"),
            r"so it is not registered: the stored model .*model\.pkl cannot be read: RuntimeError: no key",
        ),
        (
            Forgets("alone"),
            r"so it is not registered: of row 0 alone, as an endpoint asks, it says 0\.5, and said 0\.25 among others",
        ),
        (
            Open(),
            (
                r"Open cannot be stored, so no endpoint could load it: TypeError: cannot pickle .* keep what is open"
                r" \(files, locks, connections\) out of the model"
            ),
        ),
    ],
)
def test_a_version_that_cannot_be_served_is_never_registered(
    world: World, sets: dict[str, Dataset], tmp_path: Path, made: Any, said: str
) -> None:
    tracking = MemoryTracking(tmp_path)
    with pytest.raises(WorkFailed, match=said):
        run.train(
            replace(ms.model(as_bool)(lambda train: made), name="champ"),
            sets["as_bool"],
            tracking,
            world.lake,
            world.sql,
        )
    assert tracking.versions("champ") == [] and tracking.runs("champ")[0].status == "failed"


class Low:
    """The last bits of a whole number beyond 2^53."""

    def predict(self, X: Any) -> Any:
        return np.nan_to_num(X["big"].to_numpy(dtype="float64") - 2.0**53)


def test_a_whole_number_beyond_a_double_is_rounded_alike_in_training_and_serving(
    world: World, sets: dict[str, Dataset], tmp_path: Path
) -> None:
    """A frame holds it as float64, as a matrix does: a column with NULLs can hold it in no other way."""
    big: Any = ms.training_set(
        "big",
        at=asked,
        label=late,
        split=SPLIT,
        features=COLUMNS,
        derive={"big": "case when distance > 8 then 9007199254740993 when distance > 4 then 9007199254740995 end"},
    )
    sets = {"big": build(big, world.lake, world.sql, PARAMS)}
    held, rows = trained(world, sets, tmp_path, big, lambda train: Low(), input="frame")
    said = held.predict(rows)
    assert set(said.tolist()) == {0.0, 4.0} and [held.predict_row(row) for row in rows.to_pylist()] == said.tolist()
