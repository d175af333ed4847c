"""Rows that lie too far ahead in a project's tables: `doctor` names them, `doctor --fix` moves them, and all that is made from them is as if they had never come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_project import millstream

from millstream.app import doctor
from millstream.base import points
from millstream.ingest import doors
from millstream.ingest.doors import Machine
from millstream.run.workspace import Workspace

STREAMS = """
from typing import Literal

import millstream as ms


class Order(ms.Event):
    order_id: str
    amount: float
    ts: ms.EventTime


class Return(ms.Event):
    order_id: str
    ts: ms.EventTime


class Customer(ms.Change):
    name: str


orders = ms.stream("orders", Order, key="order_id", dedupe="order_id", lateness="10m", partitions=2, ahead="AHEAD")
returns = ms.stream("returns", Return, key="order_id", lateness="10m", ahead="AHEAD")
for s in (orders, returns):
    ms.source(s, ms.read.files(f"data/{s.name}*.csv"))
came_back = ms.outcome(returns, on="order_id", within="7d", otherwise=False)
paid = ms.training_set("paid", at=orders, label=came_back, features=[orders.fields("amount")])
"""
T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAILY = "-- @incremental 1d lookback 1d\n-- @time day\nselect date_trunc('day', ts) as day, sum(amount) as amount from \"orders\" where ts >= $start and ts < $end group by all"
OLD, NOW = "36500d", "1d"


def made(folder: Path, ahead: str, *bad: str) -> Path:
    """A project whose orders hold these as well; `data/orders-2.csv` is what came after them."""
    (folder / "data").mkdir(parents=True)
    (folder / "tables").mkdir()
    (folder / "millstream.toml").write_text('[project]\nname = "future"\n')
    declare(folder, ahead)
    (folder / "tables/daily.sql").write_text(DAILY)
    times = [T0 + timedelta(hours=6 * n) for n in range(40)]
    (folder / "data/orders-1.csv").write_text("order_id,amount,ts\n" + "".join(f"o{n},{n},{at.isoformat()}\n" for n, at in enumerate(times)))
    (folder / "data/returns-1.csv").write_text(
        "order_id,ts\n" + "".join(f"o{n},{(at + timedelta(hours=5)).isoformat()}\n" for n, at in enumerate(times) if n % 5 == 0)
    )
    if bad:
        (folder / "data/orders-bad.csv").write_text("".join(["order_id,amount,ts\n", *(f"{line}\n" for line in bad)]))
    return folder


def later(folder: Path) -> None:
    at = T0 + timedelta(days=10)
    (folder / "data/orders-2.csv").write_text(f"order_id,amount,ts\nlater,1,{at.isoformat()}\nlast,2,{(at + timedelta(hours=1)).isoformat()}\n")


def declare(folder: Path, ahead: str) -> None:
    (folder / "streams.py").write_text(STREAMS.replace("AHEAD", ahead))


def rows(folder: Path, query: str) -> list[dict[str, Any]]:
    said = millstream(folder, "sql", query, "--json", "--limit", "0")
    assert said.code == 0, said
    return list(said.json)


def ran(folder: Path) -> None:
    said = millstream(folder, "run")
    assert said.code == 0, said


def findings(folder: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    said = millstream(folder, "doctor", *words, "--json")
    return said.code, [f for f in said.json if f["what"].startswith("rows of")]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Taken in when the project allowed a century."""
    folder = made(tmp_path / "bad", OLD, "x,100,2099-01-01T00:00:00Z", "y,200,2099-02-01T00:00:00Z")
    ran(folder)
    later(folder)
    ran(folder)
    declare(folder, NOW)
    return folder


def test_doctor_moves_them_and_all_is_as_if_they_had_never_come(project: Path, tmp_path: Path) -> None:
    assert rows(project, "select count(*) as n from orders where _late") == [{"n": 0}], "history arrived at its own time, whatever stands before it"
    code, (found,) = findings(project)
    assert (code, found["what"], found["status"], found["fix"]) == (3, "rows of orders", "bad", "millstream doctor --fix")
    assert (
        found["found"].startswith("2 of 44 rows lie too far ahead (later than 20")
        and 'event time "ts" is 2099-01-01 00:00:00 UTC, more than 1d ahead' in found["found"]
    )
    assert rows(project, "select count(*) as n from orders") == [{"n": 44}], "it only looked"
    code, (found,) = findings(project, "--fix")
    assert (code, found["status"]) == (0, "fixed")
    assert found["found"].startswith("2 rows later than 20") and "orders__dead" in found["found"]
    assert findings(project) == (0, []) == findings(project, "--fix")
    ran(project)
    clean = made(tmp_path / "clean", NOW)
    ran(clean)
    later(clean)
    ran(clean)
    for query in ("select order_id, amount, ts, _late from orders order by order_id", "select * from daily order by day",
                  "select * from paid order by _t, order_id"):  # fmt: skip
        assert rows(project, query) == rows(clean, query), query
    dead = rows(project, "select error, decode(raw) as raw from orders__dead order by raw")
    assert [one["raw"][:20] for one in dead] == ['{"order_id": "x", "a', '{"order_id": "y", "a']
    assert all(one["error"].startswith("moved to the dead letters: event time") for one in dead)
    said = millstream(project, "verify", "--json")
    assert said.code == 0 and all(found["ok"] for found in said.json)


def test_a_corrected_record_that_was_dropped_comes_back(tmp_path: Path) -> None:
    folder = made(tmp_path / "p", OLD, "x,100,2099-01-01T00:00:00Z", "x,100,2099-01-01T12:00:00Z")
    ran(folder)
    (folder / "data/orders-3.csv").write_text("order_id,amount,ts\nx,101,2026-01-11T00:00:00Z\n")
    declare(folder, NOW)
    assert millstream(folder, "doctor", "--fix").code == 0
    ran(folder)
    assert rows(folder, "select amount from orders where order_id = 'x'") == [{"amount": 101.0}], "its id is free again"
    assert rows(folder, "select count(*) as n from orders__dead") == [{"n": 2}], "and what repeated the moved row is dead with it"


def test_a_move_that_was_killed_is_named_and_finished(project: Path) -> None:
    class Died(BaseException):
        pass

    def die(point: str) -> None:
        if point == "edit.files":
            raise Died

    end = points.watch(die)
    try:
        with pytest.raises(Died):
            millstream(project, "doctor", "--fix")
    finally:
        end()
    code, (found,) = findings(project)
    assert code == 3 and found["found"].startswith("a move of its rows to the dead letters was begun and not finished; 2 of 44 rows lie")
    said = millstream(project, "verify", "--json")
    assert said.code != 0, "they are in both places until it is finished"
    assert findings(project, "--fix")[0] == 0
    assert millstream(project, "verify", "--json").code == 0
    assert findings(project) == (0, [])


@pytest.fixture
def ws(project: Path) -> Iterator[Workspace]:
    with Workspace.open(str(project)) as made:
        yield made


def test_a_doctor_whose_own_clock_is_wrong_moves_nothing(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of 2020 every row lies ahead."""
    in_2020 = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    with monkeypatch.context() as patched:
        patched.setattr(doors, "MACHINE", Machine(lambda: in_2020, lambda: 0))
        patched.setattr(doors, "wall_us", lambda: in_2020)
        for fix in (False, True):
            found = [f for f in doctor.examine(ws, fix=fix) if f.what.startswith("rows of")]
            assert {f.what for f in found} == {"rows of orders", "rows of returns"}
            assert all(f.status == "bad" and "this machine's clock shows 2020-01-01" in f.found for f in found)
    assert ws.lake.table("orders").rows() == 44 and not ws.lake.exists("orders__dead")


def test_without_any_append_a_file_of_the_project_is_the_witness(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with ws.log._write() as con:  # type: ignore[attr-defined]  # retention has removed all there was
        con.execute("delete from batch")
    assert ws.log.newest("orders") is None
    in_2020 = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    monkeypatch.setattr(doors, "MACHINE", Machine(lambda: in_2020, lambda: 0))
    monkeypatch.setattr(doors, "wall_us", lambda: in_2020)
    (found, *_) = [f for f in doctor.examine(ws, fix=True) if f.what == "rows of orders"]
    assert found.status == "bad" and "was changed later than that; set the clock" in found.found
    assert ws.lake.table("orders").rows() == 44


def test_changes_stay_whatever_their_time(tmp_path: Path) -> None:
    folder = made(tmp_path / "p", OLD)
    with (folder / "streams.py").open("a") as file:
        file.write('customers = ms.stream("customers", Customer, key="name", ahead="36500d")\nms.source(customers, ms.read.files("data/customers*.csv"))\n')
    (folder / "data/customers.csv").write_text("op,committed_at,name\ninsert,2099-01-01T00:00:00Z,a\n")
    ran(folder)
    (folder / "streams.py").write_text((folder / "streams.py").read_text().replace('key="name", ahead="36500d"', 'key="name"'))
    code, (found,) = findings(folder, "--fix")
    assert code == 0 and found["status"] == "ok" and "changes stay whatever their time" in found["found"]
    assert rows(folder, "select count(*) as n from customers") == [{"n": 1}]
