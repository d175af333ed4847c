"""A user's function that raises is shown as the user would look for it: their line, what it printed, the traceback from
their first line on.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_project import millstream, written

STREAMS = """
import millstream as ms
from helper import half


class Order(ms.Event):
    order_id: str
    amount: float
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="order_id", lateness="1s")
returns = ms.stream("returns", Order, key="order_id", lateness="1s")
for s in (orders, returns):
    ms.source(s, ms.read.files(f"data/{s.name}.csv"))
came_back = ms.outcome(returns, on="order_id", within="1h", otherwise=False)
paid = ms.training_set("paid", at=orders, label=came_back, features=[orders.fields("amount")])


class Never:
    def predict(self, X):
        return self.weights @ X


@ms.model(paid, input="frame", metrics=["brier"])
def sorted_out(train):
    for n in range(30):
        print("round", n)
    return train.X["no_such_column"].mean()


@ms.model(paid, metrics=["brier"])
def silent(train):
    return Never()


@ms.table(orders)
def halves(batch):
    return half(batch)
"""
HELPER = """
def half(batch):
    wanted = batch.column("amount")
    return batch.drop_columns(["no_such"])
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = "".join(f"o{n},{n},2026-01-{1 + n // 24:02d}T{n % 24:02d}:00:00Z\n" for n in range(96))
    data = {f"data/{name}.csv": "order_id,amount,ts\n" + lines for name in ("orders", "returns")}
    folder = written(tmp_path_factory.mktemp("raises"), STREAMS, {"helper.py": HELPER, **data})
    said = millstream(folder, "run", "+paid")
    assert said.code == 0, said.err
    return folder


@pytest.fixture
def project(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def line_of(text: str, source: str) -> int:
    return 1 + next(n for n, line in enumerate(source.splitlines()) if text in line)


def test_a_training_function(project: Path) -> None:
    said = millstream(project, "run", "sorted_out")
    line = line_of("no_such_column", STREAMS)
    assert said.code == 1
    assert f"raised KeyError: 'no_such_column' (streams.py:{line})" in said.err
    assert 'return train.X["no_such_column"].mean()' in said.err
    assert "printed (the last 20 of 30 lines):" in said.err and "round 29" in said.err and "round 9\n" not in said.err
    assert f"streams.py:{line} in sorted_out" in said.err and "/pandas/" not in said.err.replace("pandas/core", ""), (
        "libraries are named from site-packages"
    )
    assert "millstream/train/run.py" not in said.err, "frames of ours say nothing to the user"
    (run,) = [row for row in millstream(project, "show", "runs", "--json").json if row["failed"]]
    (step,) = [
        row
        for row in millstream(project, "show", "run", run["run"], "--json").json["results"]
        if row["status"] == "failed"
    ]
    assert "traceback (most recent call last" in step["error"] and "\n\n" not in step["error"]


def test_what_it_returned_cannot_predict(project: Path) -> None:
    said = millstream(project, "run", "silent")
    assert said.code == 1
    assert (
        "what it returned cannot predict: AttributeError: 'Never' object has no attribute 'weights'"
        f" (streams.py:{line_of('self.weights', STREAMS)})" in said.err
    )
    assert "return self.weights @ X" in said.err


def test_a_function_of_a_table_and_the_helper_that_it_calls(project: Path) -> None:
    said = millstream(project, "run", "halves")
    assert said.code == 1
    assert (
        'table "halves": its function raised KeyError' in said.err
        and f"(helper.py:{line_of('no_such', HELPER)})" in said.err
    )
    assert 'return batch.drop_columns(["no_such"])' in said.err
    assert f"streams.py:{line_of('return half(batch)', STREAMS)} in halves" in said.err
    assert "mapping.py" not in said.err
