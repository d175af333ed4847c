"""What was measured in a phase stays to be seen after the next has begun: on the command line, in JSON and on the
console.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_project import millstream
from console_project import made
from starlette.requests import Request

from millstream.app.console import deciding
from millstream.run.workspace import Workspace


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The experiment has run, and its arm `on` was shipped."""
    folder = tmp_path_factory.mktemp("phases") / "shop"
    with made(folder) as workspace:
        assert millstream(folder, "experiment", "ship", "banner_test", "on").code == 0
        yield workspace


@pytest.fixture
def folder(ws: Workspace) -> Path:
    return ws.project.root


def decisions(told: Any) -> int:
    return sum(arm["decisions"] for arm in told["arms"])


def test_a_phase_that_is_over_has_its_report(folder: Path) -> None:
    (now,) = millstream(folder, "experiment", "show", "banner_test", "--json").json
    (then,) = millstream(folder, "experiment", "show", "banner_test", "--phase", "1", "--json").json
    assert (now["phase"], now["status"], decisions(now)) == (2, "shipped", 0)
    assert (then["phase"], then["status"], decisions(then)) == (1, "stopped", 40)
    assert now["phases"] == then["phases"]
    first, second = now["phases"]
    assert (first["phase"], first["status"], first["winner"], first["arms"]) == (
        1,
        "stopped",
        None,
        {"off": False, "on": True},
    )
    assert (second["phase"], second["status"], second["winner"], second["ended_at"]) == (2, "shipped", "on", None)
    assert first["started_at"] < first["ended_at"] == second["started_at"]


def test_the_phases_are_listed_with_their_dates(folder: Path) -> None:
    said = millstream(folder, "experiment", "show", "banner_test", "--phase", "1")
    (one,) = millstream(folder, "experiment", "show", "banner_test", "--json").json
    first, second = one["phases"]
    assert "banner_test: ab, stopped, phase 1" in said.out and "experiment show banner_test --phase N" in said.out
    days = [p["started_at"][:16].replace("T", " ") for p in (first, second)]
    assert f"in phase 1 ({days[0]} to {days[1]} UTC) counts" in said.out
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")] for line in said.out.splitlines() if line.startswith("│")
    ]
    assert ["1", "stopped", days[0], days[1], "off = False, on = True"] in rows and [
        "2",
        "shipped",
        days[1],
        "",
        "all on",
    ] in rows


def test_a_phase_that_is_not_there(folder: Path) -> None:
    said = millstream(folder, "experiment", "show", "banner_test", "--phase", "7")
    assert said.code == 2 and 'experiment "banner_test" has no phase 7; its phases are 1, 2' in said.err
    for words in (("show",), ("stop", "banner_test")):
        said = millstream(folder, "experiment", *words, "--phase", "1")
        assert said.code == 2 and "experiment show NAME --phase N" in said.err


def page(ws: Workspace, query: str = "") -> dict[str, Any]:
    return deciding.experiment(
        ws,
        Request(
            {"type": "http", "path_params": {"name": "banner_test"}, "query_string": query.encode(), "headers": []}
        ),
    )


def grid(values: dict[str, Any], title: str) -> Any:
    return next(section.grid for section in values["sections"] if section.title == title)


def test_the_page_leads_to_every_phase_and_begins_with_what_decides(ws: Workspace) -> None:
    assert [str(row[0].href) for row in grid(page(ws), "Phases").rows] == [
        "/experiments/banner_test?phase=1",
        "/experiments/banner_test?phase=2",
    ]
    arms = grid(page(ws, "phase=1"), "Arms")
    assert arms.columns[:4] == ["arm", "effect", "95 % interval", "reward"], "a phone shows the first few"
    assert sum(int(row[arms.columns.index("decisions")].replace(",", "")) for row in arms.rows) == 40
