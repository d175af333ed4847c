"""Steps over a small project: what is made of a table is made again with it, the state that answers requests too."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_project import millstream

from millstream.features.define import define
from millstream.features.keys import encode
from millstream.run.workspace import Workspace

STREAMS = """
import millstream as ms
from millstream import agg


class Order(ms.Event):
    order_id: str
    customer: str
    amount: float
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="customer", dedupe="order_id")
ms.source(orders, ms.read.files("data/orders*.csv"))
paid = ms.table("paid", "select customer, ts, amount from orders where amount > 0",
                time="ts", schedule="@daily", lag="30m")
spent = ms.features("spent", paid, key="customer", windows=["1d"], aggregates={"sum": agg.sum("amount")})
bought = ms.features("bought", orders, key="customer", windows=["1d"], aggregates={"n": agg.count()})
"""
DAY_US = 86_400_000_000
NOON_US = 1_767_268_800_000_000  # 2026-01-01T12:00Z


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "steps"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    write(
        tmp_path,
        1,
        "o1,ada,2.0,2026-01-01T09:00:00Z",
        "o2,ada,3.0,2026-01-01T10:00:00Z",
        "o3,ada,-9.0,2026-01-01T10:30:00Z",
    )
    return tmp_path


def write(project: Path, number: int, *lines: str) -> None:
    (project / "data" / f"orders-{number}.csv").write_text("\n".join(["order_id,customer,amount,ts", *lines, ""]))


def online(project: Path, name: str, at_us: int = NOON_US) -> dict[str, Any]:
    with Workspace.open(str(project)) as ws:
        (found,) = ws.online.lookup(define(ws.project.features[name], ws.project.params), [encode(["ada"])], [at_us])
        return dict(found.values)


def test_features_over_a_table_follow_its_versions(project: Path) -> None:
    assert millstream(project, "run").code == 0
    assert online(project, "spent") == {"sum_1d": 5.0} and online(project, "bought") == {"n_1d": 3}
    write(project, 2, "o4,ada,4.5,2026-01-01T11:00:00Z")
    said = {row["name"]: row for row in millstream(project, "run", "--json").json}
    assert said["paid"]["status"] == said["spent"]["status"] == "made" and said["spent"]["note"] == "filled"
    assert online(project, "spent") == {"sum_1d": 9.5}
    again = {row["name"]: row for row in millstream(project, "run", "--force", "--json").json}
    assert again["bought"]["note"] == "live" and again["spent"]["note"] == "filled", (
        "a table made anew has a new version"
    )
    assert online(project, "spent") == {"sum_1d": 9.5}


def test_a_serving_process_fills_features_over_a_table_itself(project: Path) -> None:
    from millstream.run.serving import live

    assert millstream(project, "run", "paid", "orders", "sources").code == 0
    with Workspace.open(str(project)) as ws:
        definition = define(ws.project.features["spent"], ws.project.params)
        assert ws.online.applied(definition.generation) is None
        serving = live(ws)
        try:
            serving.updates.ready([definition])
            assert ws.online.applied(definition.generation).active  # type: ignore[union-attr]
        finally:
            serving.close()
    assert online(project, "spent") == {"sum_1d": 5.0}


def test_a_scheduled_table_is_made_when_it_is_due_with_the_features_over_it(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from millstream.run import runner
    from millstream.run.schedule import Schedule

    assert millstream(project, "run").code == 0
    write(project, 2, "o4,ada,4.5,2026-01-01T11:00:00Z")
    assert millstream(project, "ingest").code == 0
    begun, stop = datetime(2026, 1, 1, 12, tzinfo=UTC), threading.Event()
    with Workspace.open(str(project)) as ws:
        schedule = Schedule(ws)
        with runner.alone(ws.folder):
            schedule.tick(begun, stop)
            schedule.tick(begun + timedelta(hours=12), stop)
            assert "is due, but another run" in caplog.text and caplog.text.count("is due") == 1
        assert online(project, "spent") == {"sum_1d": 5.0}
        for hours, expected in ((12, 9.5), (13, 9.5)):
            schedule.tick(begun + timedelta(hours=hours), stop)
            assert online(project, "spent") == {"sum_1d": expected}, hours
        runs = len(ws.state.list("run"))
        Schedule(ws).tick(begun + timedelta(hours=13), stop)
        assert len(ws.state.list("run")) == runs, "a restart does not repeat what was made"
        schedule.tick(begun + timedelta(hours=36), stop)
        assert len(ws.state.list("run")) == runs + 1
