"""Words that people look for: when a monitor found something, which decisions an experiment counts, how many rows a
table has.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli_project import millstream, written

from millstream.app.console.overview import _notes
from millstream.app.lookup import streams
from millstream.experiment import report as reports
from millstream.experiment.ab import Result
from millstream.experiment.analyse import ArmReport, Report
from millstream.experiment.bandit import Stat
from millstream.experiment.phases import Phase
from millstream.run.workspace import Workspace
from millstream.serve.decisions import all_streams

STREAMS = """
import millstream as ms


class Order(ms.Event):
    order_id: str
    amount: float
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="order_id", lateness="10m")
ms.source(orders, ms.read.files("data/*.csv"))
ms.table("big", "select order_id, amount, ts from orders", time="ts", incremental="append")
ms.monitor(orders, ms.expect.rows("amount > 0"))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("read")
    for file, rows in ((1, 50), (2, 3)):
        lines = "".join(f"o{file}-{n},{n},2026-01-{file:02d}T00:{n:02d}:00Z\n" for n in range(rows))
        written(folder, STREAMS, {f"data/{file}.csv": "order_id,amount,ts\n" + lines})
        assert millstream(folder, "run").code == 0
    return folder


def test_the_graph_shows_the_rows_of_the_table_and_not_of_the_last_increment(project: Path) -> None:
    with Workspace.open(str(project)) as ws:
        doc = ws.state.get("asset", "big")
        assert doc is not None and doc.value["rows"] == 3
        assert _notes(ws, streams(ws), dict.fromkeys(all_streams(ws.project)))["big"] == "53 rows"


def test_the_history_of_monitors_has_times(project: Path) -> None:
    assert millstream(project, "monitor").code == 4
    said = millstream(project, "monitor", "--history")
    assert said.code == 0 and re.search(r"│?20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", said.out) and "violated" in said.out


def test_streams_say_what_their_columns_mean(project: Path) -> None:
    said = millstream(project, "show", "streams")
    head = said.out.splitlines()[1]
    assert "newest event" in head and "watermark" in head and "held" not in head
    for words in (
        "the latest event time in its table",
        "no earlier event is waited for",
        "records ever appended to the log",
    ):
        assert words in said.err
    (row,) = millstream(project, "show", "streams", "--json").json
    assert row["newest event"] == "2026-01-02 00:02:00" and row["watermark"] < row["newest event"]


LEARNS = (  # without a test of the shares it is one
    " The bandit itself learns from every decision with a complete reward."
)


def arm(name: str, decisions: int, units: int, judged: int, missing: int) -> ArmReport:
    return ArmReport(name, decisions, units, judged, Stat(), missing, 0.0, 0.0, 0.5)


def report(*arms: ArmReport) -> Report:
    phase = Phase("e", 2, "running", "ab", {}, {}, "", (0.0, 1.0), "user", "", datetime(2026, 1, 1, tzinfo=UTC))
    return Report("e", phase, list(arms), Result({}, [], None, 0.95, {}), [], None)


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        (
            [arm("a", 120, 100, 80, 5), arm("b", 130, 100, 75, 0)],
            "Only the first decision of each user in phase 2 (since 2026-01-01 00:00 UTC) counts: 150 of 200 have a"
            " complete reward; 45 wait for theirs; 5 got no outcome; 50 later decisions of the same units do not count."
            + LEARNS,
        ),
        (
            [arm("a", 9, 9, 9, 0)],
            "Only the first decision of each user in phase 2 (since 2026-01-01 00:00 UTC) counts: 9 of 9 have a"
            " complete reward." + LEARNS,
        ),
    ],
)
def test_an_experiment_says_which_decisions_count(
    arms: list[ArmReport], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Named:
        unit = "user"

    assert reports._counted(Named(), report(*arms)) == expected  # type: ignore[arg-type]
