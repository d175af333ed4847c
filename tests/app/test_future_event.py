"""One event of 2099, end to end: it becomes a dead letter, and labels, freshness and later rows are as if it had never come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_project import millstream

from millstream.app import doctor
from millstream.base.errors import ClockWrong, UsageError
from millstream.ingest import doors
from millstream.ingest.doors import Machine
from millstream.run.workspace import Workspace

STREAMS = """
import millstream as ms


class Order(ms.Event):
    order_id: str
    amount: float
    seen: ms.ArrivalTime | None = None
    ts: ms.EventTime


class Return(ms.Event):
    order_id: str
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="order_id", partitions=1, lateness="10m")
returns = ms.stream("returns", Return, key="order_id", lateness="10m")
for s in (orders, returns):
    ms.source(s, ms.read.files(f"data/{s.name}*.csv"))
came_back = ms.outcome(returns, on="order_id", within="7d", otherwise=False)
paid = ms.training_set("paid", at=orders, label=came_back, features=[orders.fields("amount")])
ms.monitor(orders, ms.expect.fresh("3h"))
"""
T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "future"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    times = [T0 + timedelta(hours=6 * n) for n in range(40)]
    (tmp_path / "data/orders-1.csv").write_text("order_id,amount,ts\n" + "".join(f"o{n},{n},{at.isoformat()}\n" for n, at in enumerate(times)))
    (tmp_path / "data/returns-1.csv").write_text(
        "order_id,ts\n" + "".join(f"o{n},{(at + timedelta(hours=5)).isoformat()}\n" for n, at in enumerate(times) if n % 5 == 0)
    )
    return tmp_path


def rows(project: Path, query: str) -> list[dict[str, Any]]:
    said = millstream(project, "sql", query, "--json", "--limit", "0")
    assert said.code == 0, said
    return list(said.json)


def test_an_event_of_2099_in_a_file_completes_no_label_and_makes_nothing_late(project: Path) -> None:
    assert millstream(project, "run").code == 0
    before = rows(project, "select count(*) as n, max(_t) as newest from paid")
    assert 0 < before[0]["n"] < 40, "only what is older than a week has its label"
    (project / "data/orders-2.csv").write_text("order_id,amount,ts\nf,5,2099-01-01T00:00:00Z\n")
    (project / "data/returns-2.csv").write_text("order_id,ts\ng,2099-01-01T00:00:00Z\n")
    said = millstream(project, "run")
    assert said.code == 1 and "no record of data/orders-2.csv is good" in said.err, "a file that is dead as a whole is loud, and stops nothing"
    assert rows(project, "select count(*) as n, max(_t) as newest from paid") == before
    (dead,) = rows(project, "select origin, error, decode(raw) as raw from orders__dead")
    assert dead["raw"] == "f,5,2099-01-01T00:00:00Z", "the line as it was found, as of any other bad record"
    assert dead["origin"] == "data/orders-2.csv:2" and 'event time "ts" is 2099-01-01' in dead["error"]
    (fresh,) = millstream(project, "monitor", "--json").json
    assert fresh["details"]["newest_us"] == int((T0 + timedelta(hours=6 * 39)).timestamp() * 1e6)
    later, hour = T0 + timedelta(days=10), timedelta(hours=1)
    (project / "data/orders-3.csv").write_text(
        f"order_id,amount,seen,ts\nlater,1,{(later + hour).isoformat()},{later.isoformat()}\ntoo late,1,{later.isoformat()},{(later - hour).isoformat()}\n"
    )
    (project / "data/returns-3.csv").write_text(f"order_id,ts\nlater,{later.isoformat()}\n")
    assert millstream(project, "run").code == 0
    assert rows(project, "select order_id from orders where _late") == [{"order_id": "too late"}], "as it would be without the row of 2099"
    assert rows(project, "select count(*) as n from orders") == [{"n": 42}]
    assert all(found["ok"] for found in millstream(project, "verify", "--json").json)


# a clock that is wrong


@pytest.fixture
def ws(project: Path) -> Iterator[Workspace]:
    with Workspace.open(str(project)) as made:
        yield made


def test_ingest_on_a_machine_that_starts_in_2020_exits_3_and_loses_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert millstream(project, "ingest").code == 0
    (project / "data/orders-3.csv").write_text(f"order_id,amount,ts\nlater,1,{(T0 + timedelta(days=10)).isoformat()}\n")
    in_2020 = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    with monkeypatch.context() as patched:
        patched.setattr(doors, "MACHINE", Machine(lambda: in_2020, lambda: 0))
        said = millstream(project, "ingest")
        assert said.code == 3 and "this machine's clock shows 2020-01-01" in said.err and "Traceback" not in said.err
    assert millstream(project, "ingest").code == 0
    assert rows(project, "select count(*) as n from orders") == [{"n": 41}] and not (project / "lake/orders__dead").exists()


def test_doctor_says_which_clock_it_was_and_releases_the_doors(project: Path, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert millstream(project, "ingest").code == 0
    assert {f["status"] for f in millstream(project, "doctor", "--json").json} == {"ok"}
    in_2020 = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    with monkeypatch.context() as patched:
        patched.setattr(doors, "wall_us", lambda: in_2020)
        (found, *_) = [f for f in doctor.examine(ws) if f.status == "bad"]
        assert "this machine's clock is wrong: " in found.found and found.fix == "set this machine's clock"
    with ws.log._write() as con:  # type: ignore[attr-defined]  # the wall clock of whoever appended had jumped
        con.execute("update batch set appended_us = appended_us + 36 * 365 * 86400000000")
    said = {f["what"]: f for f in millstream(project, "doctor", "--json").json if f["status"] == "bad"}
    assert "the append's clock was wrong" in said["clock"]["found"]
    door = ws.doors.of(ws.project.streams["orders"])
    door.refresh()
    with pytest.raises(ClockWrong, match="millstream doctor"):
        door.now_us()
    for name in ("orders", "returns"):
        assert "no longer waits" in millstream(project, "doctor", "--release", name, "--json").json[0]["found"]
    assert not [f for f in doctor.examine(ws) if f.status == "bad"]
    (project / "data/orders-3.csv").write_text(f"order_id,amount,ts\nlater,1,{(T0 + timedelta(days=10)).isoformat()}\n")
    assert millstream(project, "ingest").code == 0


def test_a_release_that_nothing_needs_is_refused(project: Path, ws: Workspace) -> None:
    assert millstream(project, "ingest").code == 0
    with pytest.raises(UsageError, match="does not lie ahead"):
        doctor.release(ws, "orders")
