"""What type checkers say of a project: what `check` takes they take, and what has a fixed vocabulary they
refuse too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_mistakes import project

from millstream.declare.load import load

RIGHT = """\
from typing import Any

import millstream as ms
from millstream import agg, assign
from streams import Asked, asked, landed, late
from zmodels import seen

hours = ms.table("hours", "select ts, carrier, flight_id, number from asked", time="ts")
hour_set = ms.training_set("hour_set", at=hours, label=late, features=[seen])
asked_set = ms.training_set("asked_set", at=asked, label={"late_": late}, features=(seen, asked.fields("number")))


@ms.model(hour_set, metrics=["auc"], input="frame")
def hourly(train: ms.Train) -> object:
    return None


@ms.model(hour_set)
def second(train: ms.Train) -> object:
    return None


tried = ms.experiment("tried", arms={"a": hourly["champion"], "b": second[1]}, unit="flight_id", assign=assign.ab(),
                      reward=late)
values = ms.experiment("values", arms={"a": 1, "b": 2}, unit="flight_id", assign=assign.ab(), reward=late)
by_model = ms.endpoint("by_model", hourly["champion"], request=Asked)
by_trial = ms.endpoint("by_trial", tried, default=hourly["champion"], request=Asked)
by_value = ms.endpoint("by_value", values, default=1, request=Asked)
"""
WRONG = [
    'ms.stream("a", Asked, key="flight_id", contract="backwards")',
    'ms.read.files("d/*", format="txt")',
    'ms.read.files("d/*", compression="rar")',
    'ms.outcome(landed, on="flight_id", within="1d", credit="newest")',
    'ms.model(hour_set, input="frames")',
    'ms.model(hour_set, output="proba")',
    'ms.model(hour_set, metrics=["gini"])',
    'ms.monitor(landed, severity="pager")',
    'hourly["chmapion"]',
    'ms.stream("a", Asked, key="flight_id", dedupe=["flight_id"])',
    'ms.endpoint("a", hourly)',
    'ms.training_set("a", at="asked", label=late, features=[seen])',
]


def checked(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("mypy")
    (project(folder) / "zzmore.py").write_text(text)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--ignore-missing-imports",
            "--cache-dir",
            str(folder / ".mypy"),
            "zzmore.py",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_check_takes_type_checkers_take(tmp_path: Path) -> None:
    """A set over a table wanted an annotation, and an endpoint of its model refused the `request=` that E173
    asks for.
    """
    done = checked(tmp_path, RIGHT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"by_model", "by_trial", "by_value"} <= set(load(tmp_path).endpoints)


def test_wrong_words_are_type_errors(tmp_path: Path) -> None:
    done = checked(tmp_path, RIGHT + "".join(f"{line}\n" for line in WRONG))
    first = len(RIGHT.splitlines())
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    assert found == {first + number for number in range(1, len(WRONG) + 1)}, done.stdout + done.stderr
