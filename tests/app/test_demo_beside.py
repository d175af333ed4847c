"""What `demo --beside` calls the same, and what it does not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from cli_project import millstream

from millstream.app.demo.beside import Compared, compare
from millstream.run.workspace import Workspace

PROJECT = {
    "millstream.toml": '[project]\nname = "small"\n',
    "streams.py": (
        "import millstream as ms\n\n\nclass Seen(ms.Event):\n    name: str\n    n: float\n    ts:"
        ' ms.EventTime\n\n\nseen = ms.stream("seen", Seen, key="name", partitions=2)\nms.source(seen,'
        ' ms.read.files("data/*.csv"))\n'
    ),
    "tables/days.sql": "select name, count(*) as n, sum(n) as total from seen group by name\n",
}
EXPERIMENT: dict[str, Any] = {
    "name": "x",
    "method": "ab",
    "arms": [
        {"arm": "a", "units": 10, "mean": 0.5, "effect": None},
        {"arm": "b", "units": 11, "mean": 0.25, "effect": -0.25},
    ],
}


def project(folder: Path, lines: list[str]) -> Path:
    for name, text in (PROJECT | {"data/a.csv": "\n".join(["name,n,ts", *lines]) + "\n"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    said = millstream(folder, "run")
    assert said.code == 0, said.err
    return folder


LINES = [f"k{i % 3},{i}.5,2026-01-01T00:{i:02}:00Z" for i in range(30)]


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("laptop"), LINES)


def compared(here: Path, there: Path, ours: list[dict[str, Any]] | None = None) -> dict[str, Compared]:
    said = {"here": ours or [EXPERIMENT], "there": [EXPERIMENT]}
    with Workspace.open(str(here)) as a, Workspace.open(str(there)) as b:
        return {one.what: one for one in compare(a, b, said)}


def test_the_same_rows_in_another_order_are_the_same(laptop: Path, tmp_path: Path) -> None:
    found = compared(project(tmp_path / "other", [*LINES[15:], *LINES[:15]]), laptop)
    assert all(one.same for one in found.values()) and found["table seen"] == Compared(
        "table seen", "30 rows", "30 rows", True, 0
    )
    assert "experiment x, b, effect" in found


def test_one_value_that_differs_is_found(laptop: Path, tmp_path: Path) -> None:
    found = compared(project(tmp_path / "other", [*LINES[:-1], LINES[-1].replace("29.5", "29.25")]), laptop)
    assert {what: one.differ for what, one in found.items() if not one.same} == {"table seen": 2, "table days": 2}


def test_a_row_that_is_there_twice_is_found(laptop: Path, tmp_path: Path) -> None:
    found = compared(project(tmp_path / "other", [*LINES, LINES[0]]), laptop)
    assert not found["table seen"].same and found["table seen"].differ == 1


def test_numbers_of_experiments_agree_to_rounding_and_no_further(laptop: Path) -> None:
    near, far = copy.deepcopy(EXPERIMENT), copy.deepcopy(EXPERIMENT)
    near["arms"][1]["mean"] = 0.25 * (1 + 1e-12)
    far["arms"][1]["mean"] = 0.25 * (1 + 1e-6)
    assert compared(laptop, laptop, [near])["experiment x, b, mean"].same
    assert not compared(laptop, laptop, [far])["experiment x, b, mean"].same
