"""A training run: kept whole or failed, judged, promoted or not, told, and repeatable from what it recorded."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory_tracking import MemoryTracking
from train_world import DAY, PARAMS, T0, World, asked, city_done, done, late, traffic, world_in

import millstream as ms
from millstream.base.errors import Corrupt, NotFound, UsageError, WorkFailed
from millstream.base.registry import engine
from millstream.features.define import define
from millstream.lake import pins
from millstream.train.code import code_of
from millstream.train.dataset import Dataset, build, latest
from millstream.train.describe import describe
from millstream.train.metrics import measure
from millstream.train.port import Tracking
from millstream.train.predictor import load
from millstream.train.promote import decide, holds
from millstream.train.reproduce import reproduce
from millstream.train.run import parameters, train

SPLIT = ms.by_time(valid="2d", test="3d")
rides: Any = ms.training_set(
    "rides",
    at=asked,
    label=late,
    split=SPLIT,
    until="2013-01-13",
    features=[asked.fields("city", "distance"), city_done],
    derive={"far": "distance > 8"},
)
both: Any = ms.training_set(
    "both",
    at=asked,
    split=SPLIT,
    until="2013-01-13",
    features=[asked.fields("distance")],
    label={"late": late, "minutes": ms.outcome(done, on="ride", value="delay", within="6h")},
)
whole: Any = ms.training_set(
    "whole", at=asked, label=late, until="2013-01-13", features=[asked.fields("distance", "city")]
)


class Threshold:
    """P(late) by the distance alone."""

    def __init__(self, at: float, slope: float) -> None:
        self.at, self.slope = at, slope

    def predict(self, X: Any) -> Any:
        return X[:, 1] > self.at

    def predict_proba(self, X: Any) -> Any:
        p = 1 / (1 + np.exp(-self.slope * (np.nan_to_num(X[:, 1]) - self.at)))
        return np.stack([1 - p, p], axis=1)


@ms.model(rides, metrics=["auc", "brier"], promote_if="brier <= champion.brier")
def threshold(train: ms.Train, *, at: float = 9.0, slope: float = 0.5) -> object:
    return Threshold(at, slope)


@ms.model(rides, metrics=["auc"], promote_if="auc > champion.auc")
def trees(train: ms.Train, *, leaves: int = 7, rounds: int = 15, bagging: float = 0.7) -> object:
    from lightgbm import LGBMClassifier

    print("round 1 of many")
    warnings.warn("a word of caution", stacklevel=1)
    fit = LGBMClassifier(
        n_estimators=rounds, num_leaves=leaves, subsample=bagging, subsample_freq=1, random_state=train.seed, verbose=-1
    )
    return fit.fit(train.X, train.y, categorical_feature=train.categorical)


@ms.model(rides, metrics=["auc", "log_loss"])
def linear(train: ms.Train, *, c: float = 0.1) -> object:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), train.categorical),
        (make_pipeline(SimpleImputer(), StandardScaler()), train.numeric),
    )
    return make_pipeline(columns, LogisticRegression(C=c)).fit(train.X, train.y)


@ms.model(rides, metrics=["auc"])
def lucky(train: ms.Train, *, own: bool = False) -> object:
    return Threshold(float(np.random.default_rng().random() if own else np.random.random()), 0.5)


@ms.model(both, metrics=["mae"], promote_if="minutes.mae <= champion.minutes.mae")
def pair(train: ms.Train) -> object:
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(np.nan_to_num(train.X), train.y)


@ms.model(rides, metrics=["auc"], input="frame")
def framed(train: ms.Train) -> object:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=5, verbose=-1, random_state=train.seed).fit(train.X, train.y)


@ms.model(rides)
def broken(train: ms.Train, *, how: str = "raise") -> object:
    if how == "raise":
        raise ValueError(f"no {train.columns[0]} today")
    if how == "interrupt":
        raise KeyboardInterrupt

    class Odd(Threshold):
        def predict_proba(self, X: Any) -> Any:
            if how == "late":
                raise RuntimeError("cannot")
            if how in ("nan", "inf"):
                p = super().predict_proba(X)
                p[5:8, 1] = float(how)
                return p
            return np.zeros((len(X) + 1, 2))

    return object() if how == "nothing" else Odd(1.0, 1.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = world_in(tmp_path_factory.mktemp("world"))
    asks, answers = traffic(1500, 12)
    made.land(asked, asks)
    made.land(done, answers, upto=T0 + 13 * DAY)
    yield made
    made.sql.close()


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    return MemoryTracking(tmp_path_factory.mktemp("tracking"))


@pytest.fixture(scope="module")
def rows(world: World) -> Dataset:
    return build(rides, world.lake, world.sql, PARAMS)


def renamed(model: Any, name: str, **changed: Any) -> Any:
    """The same function under another name, so that tests of one tracking do not meet."""
    return replace(model, name=name, **changed)


def test_what_a_version_holds_and_says(world: World, tracking: Tracking, rows: Dataset) -> None:
    told: list[Any] = []
    version = train(
        renamed(threshold, "first"),
        rows,
        tracking,
        world.lake,
        world.sql,
        {"at": "10"},
        report=lambda *said: told.append(said),
    )
    assert (
        (version.number, version.aliases) == (1, ("champion", "latest"))
        and version.tags["promoted"] == "true"
        and told[-1] == (5, 5, "promoted: the first version")
    )
    run = tracking.run(version.run_id)
    assert (
        run.status == "finished"
        and run.params == {"at": "10.0", "slope": "0.5"}
        and run.tags["code"] == code_of(threshold)
    )
    held = load(tracking, "first")
    stored = pq.read_table(held.folder / "predictions.parquet")
    test = world.sql.query(
        "select * from t where _split = 'test' order by _row", {"t": world.lake.table("rides").snapshot(rows.version)}
    ).read_all()
    assert stored.num_rows == rows.rows["test"] == test.num_rows > 100
    said = held.predict(test)
    assert np.array_equal(said, stored.column("prediction").to_numpy())
    assert (
        run.metrics
        == measure(["auc", "brier"], test.column("label").cast(pa.float64()).to_numpy(), said)
        == held.manifest["metrics"]
    )
    assert [held.predict_row(row) for row in test.to_pylist()] == pytest.approx(said, rel=1e-12)
    assert pins.pinned(world.lake.files, "rides") and f"first@{version.number}" in str(
        pins.pinned(world.lake.files, "rides")[rows.version]
    )


def test_derived_columns_are_computed_where_they_are_not_given(world: World, tracking: Tracking, rows: Dataset) -> None:
    train(renamed(threshold, "derived"), rows, tracking, world.lake, world.sql)
    held = load(tracking, "derived")
    test = world.sql.query(
        "select * from t where _split = 'test' order by _row limit 80",
        {"t": world.lake.table("rides").snapshot(rows.version)},
    ).read_all()
    assert np.array_equal(held.predict(test.drop_columns(["far"])), held.predict(test))
    assert [held.derive["far"](row) for row in test.to_pylist()] == test.column("far").to_pylist()
    assert [(d.name, key, prefix) for d, key, prefix in held.definitions] == [("city_done", ("city",), "city_done")]
    assert held.definitions[0][0].generation == rows.uses[0]["generation"], (
        "pinned: the same definition, whatever the project says by then"
    )
    with pytest.raises(UsageError, match='no column "distance"'):
        held.predict(test.drop_columns(["distance", "far"]))
    manifest = held.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 9', 1))
    with pytest.raises(Corrupt, match="derived@1 was written in format 9; this Millstream reads 1"):
        load(tracking, "derived")


def test_dates_and_moments_of_the_project_keep_their_type_in_sets_and_versions(
    world: World, tracking: Tracking
) -> None:
    """They broke the metadata of the set's commit: TypeError, Object of type date is not JSON serializable."""
    since = {
        "day": date(2013, 1, 5),
        "other": date(2013, 1, 4),
        "moment": datetime(2013, 1, 5, 12, tzinfo=timezone(timedelta(hours=2))),
    }
    slow = ms.features("slow", done, key="city", windows=["1d"], aggregates={"late": ms.agg.mean("ts > $moment")})
    dated = ms.training_set(
        "dated",
        at=asked,
        label=late,
        split=SPLIT,
        until="2013-01-13",
        features=[asked.fields("city", "distance"), slow],
        derive={"after": "ts > $moment and $day > $other"},
    )
    made = build(dated, world.lake, world.sql, PARAMS | since)
    assert made.params == PARAMS | since and latest("dated", world.lake) == made
    assert (
        build(dated, world.lake, world.sql, PARAMS | since).reused
        and not build(
            dated, world.lake, world.sql, PARAMS | since | {"moment": datetime(2013, 1, 6, tzinfo=UTC)}
        ).reused
    )
    train(renamed(threshold, "dated"), made, tracking, world.lake, world.sql)
    held = load(tracking, "dated")
    rows = world.sql.query(
        "select * from t where _split = 'test' order by _row", {"t": world.lake.table("dated").snapshot(made.version)}
    ).read_all()
    assert [held.derive["after"](row) for row in rows.to_pylist()] == rows.column("after").to_pylist()
    assert [value.expression.sql for value in held.definitions[0][0].values] == [
        value.expression.sql for value in define(slow, since).values
    ]


def test_describe_tells_it_all_as_json(world: World, tracking: Tracking, rows: Dataset) -> None:
    version = train(renamed(threshold, "told"), rows, tracking, world.lake, world.sql, seed=5)
    told = describe(tracking, "told", "champion")
    assert told == describe(tracking, "told", "1") and json.loads(json.dumps(told)) == told
    assert (told["model"], told["version"], told["aliases"], told["run"]) == (
        "told",
        1,
        ["champion", "latest"],
        version.run_id,
    )
    assert (told["promoted"], told["verdict"], told["promote_if"]) == (
        True,
        "promoted: the first version",
        "brier <= champion.brier",
    )
    assert (
        told["metrics"] == dict(tracking.run(version.run_id).metrics)
        and told["judged_by"] == "test"
        and told["seed"] == 5
    )
    assert (
        told["parameters"] == {"at": 9.0, "slope": 0.5}
        and told["code"]["function"] == code_of(threshold)
        and told["libraries"]["numpy"] == np.__version__
    )
    assert (
        told["training_set"]["fingerprint"] == rows.fingerprint
        and told["training_set"]["version"] == rows.version
        and told["training_set"]["purged"] == rows.purged
    )
    assert (
        told["training_set"]["rows train"] == rows.rows["train"]
        and told["training_set"]["until"] == "2013-01-13T00:00:00+00:00"
    )
    assert told["tables"] == {"asked": 1, "done": 1} and told["features"] == {"city_done": rows.uses[0]["generation"]}
    assert told["columns"] == ["city", "distance", "city_done__rides_1d", "city_done__delay_1d", "far"] and told[
        "labels"
    ] == {"label": "bool"}
    with pytest.raises(NotFound):
        describe(tracking, "told", "9")
    (tracking.artifacts("told", 1) / "manifest.json").unlink()
    with pytest.raises(NotFound, match=r"manifest\.json of told@1 is gone"):
        describe(tracking, "told", "1")


def test_mlflow_keeps_and_tells_the_same(world: World, tracking: Tracking, rows: Dataset, tmp_path: Path) -> None:
    mlflow: Tracking = engine("tracking", "mlflow")(f"mlflow:{tmp_path}/t.db", tmp_path / "models")
    told = []
    for kept in (tracking, mlflow):
        train(renamed(threshold, "alike"), rows, kept, world.lake, world.sql, {"slope": 0.25})
        train(renamed(threshold, "alike"), rows, kept, world.lake, world.sql, {"slope": -1})
        assert [v.aliases for v in kept.versions("alike")] == [("champion",), ("challenger", "latest")]
        told.append(
            {
                k: v
                for k, v in describe(kept, "alike", "latest").items()
                if k not in ("run", "created", "started", "seconds")
            }
        )
        del told[-1]["code"]["commit"]  # somebody may commit meanwhile
    assert told[0] == told[1] and reproduce(renamed(threshold, "alike"), mlflow, world.lake, world.sql).same
    row = {"city": None, "distance": 12.5, "city_done__rides_1d": 0, "city_done__delay_1d": None, "far": True}
    assert load(mlflow, "alike", "latest").predict_row(row) == load(tracking, "alike", "latest").predict_row(row)
    mlflow.close()


# Promotion


def test_the_champion_is_judged_anew_on_the_same_rows(tmp_path: Path, tracking: Tracking) -> None:
    """The world turns: by its old rows the champion would win; by those of today the newcomer does, and the numbers
    told are today's.
    """
    world = world_in(tmp_path)
    asks, answers = traffic(600, 8)
    world.land(asked, asks)
    world.land(done, answers, upto=T0 + 9 * DAY)
    moving: Any = ms.training_set(
        "moving", at=asked, label=late, split=ms.by_time(test="2d"), features=[asked.fields("city", "distance")]
    )
    model = renamed(threshold, "turning", on=moving)

    def now() -> Dataset:
        return build(moving, world.lake, world.sql, PARAMS)

    first = train(model, now(), tracking, world.lake, world.sql, {"slope": 0.5})
    worse = train(model, now(), tracking, world.lake, world.sql, {"slope": -0.5})
    assert (
        tracking.version("turning", "champion").number,
        tracking.version("turning", "challenger").number,
        worse.aliases,
    ) == (1, 2, ("challenger", "latest"))
    assert (
        worse.tags["promoted"] == "false"
        and worse.tags["reason"].startswith("not promoted: brier <= champion.brier: ")
        and worse.tags["reason"].endswith("of champion 1")
    )
    turned = [{**a, "ride": f"t{a['ride']}", "ts": a["ts"] + 10 * DAY} for a in asks]
    world.land(asked, turned)
    world.land(
        done,
        [{**a, "ride": f"t{a['ride']}", "ts": a["ts"] + 10 * DAY, "delay": 30 - a["delay"]} for a in answers],
        upto=T0 + 19 * DAY,
    )
    newer = train(model, now(), tracking, world.lake, world.sql, {"slope": -0.5})
    assert newer.aliases == ("champion", "latest") and tracking.version("turning", "1").aliases == ()
    test = world.sql.query(
        "select * from t where _split = 'test' order by _row", {"t": world.lake.table("moving").snapshot()}
    ).read_all()
    theirs = measure(
        ["brier"], test.column("label").cast(pa.float64()).to_numpy(), load(tracking, "turning", "1").predict(test)
    )["brier"]
    assert (
        f"against {theirs:.5f} of champion 1" in newer.tags["reason"]
        and theirs != tracking.run(first.run_id).metrics["brier"]
    )
    world.sql.close()


def test_no_rule_promotes_and_a_rule_without_a_champion_is_a_bar(
    world: World, tracking: Tracking, rows: Dataset
) -> None:
    model = renamed(threshold, "bar", promote_if=None)
    assert [
        train(model, rows, tracking, world.lake, world.sql, {"slope": s}).tags["promoted"] for s in (0.5, -1.0)
    ] == ["true", "true"]
    strict = renamed(model, "bar", promote_if="auc > 0.6 and log_loss < 0.69")
    version = train(strict, rows, tracking, world.lake, world.sql, {"slope": -1.0})
    assert version.tags["reason"] == "not promoted: auc > 0.6 and log_loss < 0.69" and set(
        tracking.run(version.run_id).metrics
    ) == {"auc", "brier", "log_loss"}
    assert train(strict, rows, tracking, world.lake, world.sql).aliases == ("champion", "latest")


def test_rules() -> None:
    def held(rule: str, metrics: dict[str, float], champion: dict[str, float]) -> bool:
        return holds(renamed(threshold, "t", promote_if=rule), metrics, champion)

    assert held("auc >= champion.auc", {"auc": 0.7}, {"auc": 0.7}) and not held(
        "auc > champion.auc + 0.01", {"auc": 0.7}, {"auc": 0.7}
    )
    assert held(
        "late.auc > 0.5 and minutes.mae < champion.minutes.mae",
        {"late.auc": 0.6, "minutes.mae": 3.0},
        {"minutes.mae": 4.0},
    )
    assert not held("auc >= champion.auc", {"auc": 0.9}, {"auc": float("nan")}), (
        "a champion that cannot be judged is not beaten"
    )
    with pytest.raises(UsageError, match=r"promote_if names champion\.auc, which is not computed; there are auc"):
        held("auc >= champion.auc", {"auc": 0.9}, {})


def test_a_champion_that_cannot_be_judged_stays(world: World, tracking: Tracking, rows: Dataset) -> None:
    model = renamed(threshold, "stays")
    train(model, rows, tracking, world.lake, world.sql)
    fewer = pa.table({"city": ["ams"], "label": [True]})
    verdict = decide(model, tracking, {"brier": 0.0}, fewer, ["label"], ["brier"])
    assert (
        not verdict.promoted
        and verdict.reason.startswith("not promoted: champion 1 cannot be judged by these rows: ")
        and "distance" in verdict.reason
    )


class Short(Threshold):
    """Has an answer for distances below 50 only."""

    def predict_proba(self, X: Any) -> Any:
        return np.where(X[:, 1:2] < 50, super().predict_proba(X), np.nan)


@ms.model(rides, metrics=["auc", "brier"], promote_if="auc >= champion.auc and brier < 0.3")
def short(train: ms.Train) -> object:
    return Short(9.0, 0.5)


def test_a_champion_whose_answers_are_no_numbers_loses_to_any(world: World, tracking: Tracking, rows: Dataset) -> None:
    """Its metrics are NaN, no comparison with NaN is true, and no later version would ever take its place."""
    train(short, replace(rows), tracking, world.lake, world.sql)
    far = pa.table(
        {
            "city": ["ams"] * 4,
            "distance": [1.0, 2.0, 80.0, 3.0],
            "far": [False, False, True, False],
            "label": [True, False, True, False],
            "city_done__rides_1d": [1, 1, 1, 1],
            "city_done__delay_1d": [1.0] * 4,
        }
    )
    found = decide(short, tracking, {"auc": 0.4, "brier": 0.2}, far, ["label"], ["auc", "brier"])
    assert (
        found.promoted
        and found.reason
        == "promoted: auc >= champion.auc and brier < 0.3: auc of champion 1 is not a number on these rows, which loses"
        " to any"
    )
    bar = decide(short, tracking, {"auc": 0.4, "brier": 0.5}, far, ["label"], ["auc", "brier"])
    assert not bar.promoted, "what the rule asks besides still holds"
    one = far.filter(pa.compute.equal(far["label"], True))
    assert not decide(
        short, tracking, {"auc": float("nan"), "brier": 0.2}, one, ["label"], ["auc", "brier"]
    ).promoted, "the rows have no auc"


# Again


@pytest.mark.parametrize("model", [trees, linear])
def test_trained_again_it_is_the_same(world: World, tracking: Tracking, rows: Dataset, model: Any) -> None:
    version = train(model, rows, tracking, world.lake, world.sql, seed=11)
    world.land(asked, [])  # a newer version of an input changes nothing: the recorded one is read
    told = reproduce(model, tracking, world.lake, world.sql, str(version.number))
    assert told.same and told.apart == 0.0 and told.rows == rows.rows["test"] and told.changed == ()
    held = load(tracking, model.name, str(version.number))
    assert held.describe()["form"] == {"trees": "lightgbm", "linear": "linear"}[model.name]
    test = world.sql.query(
        "select * from t where _split = 'test' order by _row limit 50",
        {"t": world.lake.table("rides").snapshot(rows.version)},
    ).read_all()
    one_by_one = [held.predict_row(row) for row in test.to_pylist()]
    assert one_by_one == (
        held.predict(test).tolist() if model is trees else pytest.approx(held.predict(test), rel=1e-12)
    )


def test_what_was_printed_and_warned_is_in_the_run(
    world: World, tracking: Tracking, rows: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    version = train(renamed(trees, "noisy"), rows, tracking, world.lake, world.sql)
    assert capsys.readouterr() == ("", "")
    log = (tracking.artifacts("noisy", version.number) / "log.txt").read_text()
    assert "round 1 of many" in log and "UserWarning: a word of caution" in log
    assert "def trees(" in (tracking.artifacts("noisy", version.number) / "source.py").read_text()


def test_global_generators_are_seeded_and_luck_shows(world: World, tracking: Tracking, rows: Dataset) -> None:
    train(lucky, rows, tracking, world.lake, world.sql)
    assert reproduce(lucky, tracking, world.lake, world.sql).same
    version = train(lucky, rows, tracking, world.lake, world.sql, {"own": "true"})
    told = reproduce(lucky, tracking, world.lake, world.sql, str(version.number))
    assert not told.same and told.apart > 0.0
    changed = replace(lucky, function=threshold.function)
    with pytest.raises(UsageError, match='has no parameter "own"'):
        reproduce(changed, tracking, world.lake, world.sql, str(version.number))
    one = train(renamed(threshold, "moved"), rows, tracking, world.lake, world.sql)

    def other(train: Any, *, at: float = 9.0, slope: float = 0.5) -> object:
        return Threshold(at, slope)

    assert reproduce(
        replace(threshold, name="moved", function=other), tracking, world.lake, world.sql, str(one.number)
    ) == (True, 0.0, rows.rows["test"], ("code",))


def test_code_is_the_function_and_what_it_reaches() -> None:
    scope: dict[str, Any] = {"__name__": "users"}
    text = (
        "LIMIT = {}\ndef helper(x):\n    return x + LIMIT\ndef fit(train):\n    return helper(1)\ndef unused():\n   "
        " return {}\n"
    )

    def code(limit: int, other: int) -> str:
        made = dict(scope)
        exec(compile(text.format(limit, other), "users.py", "exec"), made)
        return code_of(replace(threshold, function=made["fit"]))

    assert code(1, 1) == code(1, 2) != code(2, 1)


# What goes wrong


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ("raise", WorkFailed, r'model "broken".* raised ValueError: no city today \(test_run\.py:\d+\)'),
        ("nothing", WorkFailed, r"returned object, which has no predict\(\)"),
        ("late", WorkFailed, "what it returned cannot predict: RuntimeError: cannot"),
        ("shape", WorkFailed, "its predictions have shape"),
        (
            "nan",
            WorkFailed,
            (
                r"3 of its \d+ predictions for the test rows are NaN or infinite, the first nan for _row \d+; such a"
                r" model is not kept"
            ),
        ),
        ("inf", WorkFailed, r"3 of its \d+ predictions for the test rows are NaN or infinite, the first inf"),
        ("interrupt", KeyboardInterrupt, None),
    ],
)
def test_a_function_that_fails_leaves_a_failed_run_and_no_version(
    world: World, tracking: Tracking, rows: Dataset, how: str, error: type[BaseException], said: str | None
) -> None:
    with pytest.raises(error, match=said):
        train(broken, rows, tracking, world.lake, world.sql, {"how": how})
    assert (
        tracking.runs("broken")[0].status == ("killed" if how == "interrupt" else "failed")
        and tracking.versions("broken") == []
    )


def test_no_train_row_and_no_test_row(world: World, tracking: Tracking) -> None:
    late_only: Any = ms.training_set(
        "late_only",
        at=asked,
        label=late,
        split=ms.by_time(test="12d"),
        until="2013-01-13",
        features=[asked.fields("distance", "city")],
    )
    found = build(late_only, world.lake, world.sql, PARAMS)
    with pytest.raises(WorkFailed, match='"late_only" has no train rows before the valid and test parts'):
        train(replace(threshold, name="none", on=late_only), found, tracking, world.lake, world.sql)
    every = train(
        replace(threshold, name="every", on=whole),
        build(whole, world.lake, world.sql, PARAMS),
        tracking,
        world.lake,
        world.sql,
    )
    assert load(tracking, "every", str(every.number)).manifest["judged_by"] == "train"


def test_parameters_are_read_as_their_defaults() -> None:
    def function(
        train: Any,
        *,
        n: int = 3,
        rate: float = 0.1,
        deep: bool = False,
        name: str = "x",
        sizes: tuple[int, ...] = (1,),
        free: Any = None,
    ) -> object:
        return None

    model = replace(threshold, function=function)
    assert parameters(
        model, {"n": "7", "rate": "1e-3", "deep": "true", "name": "12", "sizes": "[2, 3]", "free": "4"}
    ) == {"n": 7, "rate": 0.001, "deep": True, "name": "12", "sizes": [2, 3], "free": "4"}
    assert parameters(model, {"deep": "0", "n": 8})["deep"] is False
    for wrong, said in (
        ({"m": "1"}, 'no parameter "m"; it has n, rate'),
        ({"n": "1.5"}, "'1.5', and its default 3 is int"),
        ({"deep": "yes"}, "is bool"),
    ):
        with pytest.raises(UsageError, match=said):
            parameters(model, wrong)


# Other shapes


def test_several_labels(world: World, tracking: Tracking) -> None:
    version = train(pair, build(both, world.lake, world.sql, PARAMS), tracking, world.lake, world.sql)
    assert set(tracking.run(version.run_id).metrics) == {"late.mae", "minutes.mae"}
    held = load(tracking, "pair")
    one = held.predict_row({"distance": 10.0})
    assert list(one) == ["late", "minutes"] and list(one.values()) == pytest.approx(
        held.predict(pa.table({"distance": [10.0]}))[0].tolist(), rel=1e-12
    )
    assert reproduce(pair, tracking, world.lake, world.sql).same


def test_a_model_of_frames(world: World, tracking: Tracking, rows: Dataset) -> None:
    train(framed, rows, tracking, world.lake, world.sql)
    held = load(tracking, "framed")
    test = world.sql.query(
        "select * from t where _split = 'test' order by _row limit 20",
        {"t": world.lake.table("rides").snapshot(rows.version)},
    ).read_all()
    assert (
        held.scorer.form == "frame"
        and [held.predict_row(row) for row in test.to_pylist()] == held.predict(test).tolist()
    )
    assert held.predict_row({**test.to_pylist()[0], "city": "unseen", "distance": None}) >= 0.0
    assert reproduce(framed, tracking, world.lake, world.sql).same
