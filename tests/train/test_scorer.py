"""A stored model says what it said when it was trained: LightGBM and linear pipelines in their fast forms, anything
else as it is.
"""

from __future__ import annotations

import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millstream.base.errors import UsageError, WorkFailed
from millstream.train.compiled import BoosterScorer, LinearScorer
from millstream.train.scorer import PlainScorer, Scorer, load, save, scorer

lightgbm = pytest.importorskip("lightgbm")
linear_model = pytest.importorskip("sklearn.linear_model")
ROWS, NUMBERS = 400, 4


def data(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Four numbers with holes, two columns of codes with holes; a label that depends on them."""
    random = np.random.default_rng(seed)
    X = np.column_stack(
        [random.normal(size=(ROWS, NUMBERS)), random.integers(0, 5, ROWS), random.integers(0, 3, ROWS)]
    ).astype(np.float64)
    y = (X[:, 0] + 0.5 * X[:, 1] - (X[:, 4] == 2) + random.normal(0, 0.5, ROWS) > 0).astype(np.float64)
    X[random.random(X.shape) < 0.08] = np.nan
    return X, y


def kept(folder: Path, fitted: Any, X: np.ndarray, *, probability: bool = True) -> tuple[Scorer, np.ndarray]:
    """Saved and loaded again, with what the model itself says."""
    said = PlainScorer(fitted, probability).matrix(X)
    return load(folder, save(fitted, folder), probability=probability, check=(X[:200], said[:200])), said


@pytest.mark.filterwarnings("ignore:The argument 'eval_set'")  # newer LightGBMs spell it in two
@pytest.mark.parametrize("kind", ["classifier", "regressor", "booster", "early"])
def test_lightgbm_is_itself_bit_for_bit(tmp_path: Path, kind: str) -> None:
    X, y = data()
    if kind == "booster":
        made: Any = lightgbm.train(
            {"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, y, categorical_feature=[4, 5]), 20
        )
    elif kind == "regressor":
        made = lightgbm.LGBMRegressor(n_estimators=20, verbose=-1).fit(X, y)
    else:
        stop = [lightgbm.early_stopping(2, verbose=False)] if kind == "early" else None
        made = lightgbm.LGBMClassifier(n_estimators=60, verbose=-1).fit(
            X[:200], y[:200], categorical_feature=[4, 5], eval_set=[(X[200:], 1 - y[200:])], callbacks=stop
        )
        assert kind != "early" or 0 < made.best_iteration_ < 60
    found, said = kept(tmp_path, made, X, probability=kind in ("classifier", "early"))
    assert isinstance(found, BoosterScorer) and found.form == "lightgbm" and found.fast
    assert np.array_equal(found.matrix(X), said) and np.array_equal([found.row(x) for x in X], said)
    assert np.array_equal([found._slow(x) for x in X[:20]], said[:20])


def test_lightgbm_from_several_threads(tmp_path: Path) -> None:
    X, y = data()
    found, said = kept(tmp_path, lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(X, y), X)
    told: dict[int, list[float]] = {}

    def ask(i: int) -> None:
        told[i] = [found.row(x) for x in X]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(told[i], said) for i in range(4))


def test_a_fast_form_that_disagrees_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data()
    monkeypatch.setattr(BoosterScorer, "_fast", lambda self: lambda x: 0.5)
    found, said = kept(tmp_path, lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(X, y), X)
    assert (
        isinstance(found, BoosterScorer)
        and not found.fast
        and np.array_equal([found.row(x) for x in X[:30]], said[:30])
    )


def pipeline(last: Any, *scalers: Any) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    numbers = make_pipeline(SimpleImputer(strategy="median"), *scalers) if scalers else SimpleImputer()
    return make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), [4, 5]), (numbers, [0, 1, 2, 3])), last
    )


def shapes() -> dict[str, Any]:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

    logistic = linear_model.LogisticRegression
    return {
        "logistic": pipeline(logistic(), StandardScaler()),
        "no scaler": pipeline(logistic(max_iter=500)),
        "minmax": pipeline(logistic(), MinMaxScaler()),
        "robust": pipeline(logistic(), RobustScaler()),
        "twice": pipeline(logistic(), StandardScaler(), MaxAbsScaler()),
        "ridge": pipeline(linear_model.Ridge(), StandardScaler()),
        "scaled before imputed": make_pipeline(StandardScaler(), SimpleImputer(), linear_model.LinearRegression()),
        "lasso": pipeline(linear_model.Lasso(0.01)),
    }


@pytest.mark.parametrize(
    "name", ["logistic", "no scaler", "minmax", "robust", "twice", "ridge", "scaled before imputed", "lasso"]
)
def test_a_linear_pipeline_is_a_dot_product(tmp_path: Path, name: str) -> None:
    X, y = data()
    made = shapes()[name].fit(X, y)
    found, _ = kept(tmp_path, made, X, probability=hasattr(made, "predict_proba"))
    assert isinstance(found, LinearScorer) and found.form == "linear"
    fresh, _ = data(2)
    fresh[:20, 4] = 9.0  # a code the encoder never saw
    truth = PlainScorer(made, hasattr(made, "predict_proba")).matrix(fresh)
    assert np.allclose([found.row(x) for x in fresh], truth, rtol=1e-12, atol=1e-12) and np.array_equal(
        found.matrix(fresh), truth
    )


def test_what_is_not_linear_is_called_as_it_is(tmp_path: Path) -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    X, y = data()
    odd = {
        "poly": make_pipeline(SimpleImputer(), PolynomialFeatures(), linear_model.LogisticRegression(max_iter=2000)),
        "tree": DecisionTreeClassifier(max_depth=3),
        "indicator": make_pipeline(
            SimpleImputer(add_indicator=True), StandardScaler(), linear_model.LogisticRegression()
        ),
    }
    for made in odd.values():
        found, said = kept(tmp_path, made.fit(X, y), X)
        assert isinstance(found, PlainScorer) and found.form == "sklearn"
        assert np.array_equal(found.matrix(X), said) and np.allclose(
            [found.row(x) for x in X[:40]], said[:40], rtol=1e-12
        )


def test_a_compiled_form_that_disagrees_is_not_used(tmp_path: Path) -> None:
    """The stored rows are the judge: a pipeline changed behind its class's back stays what it is."""
    X, y = data()
    made = shapes()["scaled before imputed"].fit(X, y)
    made.predict = types.MethodType(lambda self, X: np.full(len(X), 7.0), made)
    assert LinearScorer.of(made, probability=False, check=(X, np.zeros(len(X))), else_=PlainScorer(made, False)) is None


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_a_label_that_was_always_the_same(tmp_path: Path, only: float) -> None:
    """A new project's first days may hold no late flight; P(true) is then 0, not an index error."""
    from sklearn.tree import DecisionTreeClassifier

    X, _ = data()
    for made in (
        DecisionTreeClassifier().fit(np.nan_to_num(X), np.full(ROWS, only)),
        lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, np.full(ROWS, only)),
    ):
        found, said = kept(tmp_path, made, np.nan_to_num(X))
        assert np.allclose(said, only, atol=1e-9) and np.allclose(
            [found.row(x) for x in np.nan_to_num(X)[:5]], only, atol=1e-9
        )


def test_what_the_function_may_return() -> None:
    class Silent:
        pass

    class Plain:
        def predict(self, X: Any) -> Any:
            return np.zeros(len(X))

    with pytest.raises(WorkFailed, match=r"returned Silent, which has no predict\(\)"):
        scorer(Silent(), output="auto", boolean=True)
    with pytest.raises(UsageError, match=r'output="probability", and Plain has no predict_proba'):
        scorer(Plain(), output="probability", boolean=True)
    X, y = data()
    tree = linear_model.LogisticRegression().fit(np.nan_to_num(X), y)
    for output, boolean, probability in (
        ("auto", True, True),
        ("auto", False, False),
        ("predict", True, False),
        ("probability", False, True),
    ):
        assert scorer(tree, output=output, boolean=boolean).probability is probability


def test_a_class_of_the_users_file_outlives_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("users_models")
    exec(
        "import numpy as np\nclass Half:\n    def predict(self, X):\n        return np.full(len(X), 0.5)\n",
        module.__dict__,
    )
    monkeypatch.setitem(sys.modules, "users_models", module)
    file = save(module.Half(), tmp_path, "users_models")
    monkeypatch.delitem(sys.modules, "users_models")
    assert load(tmp_path, file, probability=False).matrix(np.zeros((3, 2))).tolist() == [0.5, 0.5, 0.5]


def test_two_models_of_one_file_are_stored_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("users_models")
    exec(
        "import numpy as np\nclass Half:\n    def predict(self, X):\n        return np.full(len(X), 0.5)\n",
        module.__dict__,
    )
    module.Half.held = np.zeros(200_000)  # stored with the class: long enough that the threads meet
    monkeypatch.setitem(sys.modules, "users_models", module)
    failed: list[Exception] = []

    def again(folder: Path) -> None:
        folder.mkdir()
        try:
            for _ in range(40):
                save(module.Half(), folder, "users_models")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=again, args=(tmp_path / str(one),)) for one in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []


def test_a_library_that_another_thread_is_importing_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = data()
    fitted = linear_model.LogisticRegression().fit(np.nan_to_num(X), y)
    monkeypatch.setitem(sys.modules, "lightgbm", types.ModuleType("lightgbm"))  # as it is in the middle of its import
    assert save(fitted, tmp_path) == "model.pkl"


def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"cgone_library\nModel\n.")
    with pytest.raises(WorkFailed, match="cannot be read: ModuleNotFoundError"):
        load(tmp_path, "model.pkl", probability=False)


def test_several_labels_in_one_row(tmp_path: Path) -> None:
    from sklearn.multioutput import MultiOutputClassifier

    X, y = data()
    Y = np.stack([y, 1 - y], axis=1)
    made = MultiOutputClassifier(linear_model.LogisticRegression()).fit(np.nan_to_num(X), Y)
    found, said = kept(tmp_path, made, np.nan_to_num(X))
    assert said.shape == (ROWS, 2) and np.allclose([found.row(x) for x in np.nan_to_num(X)[:20]], said[:20], rtol=1e-12)
