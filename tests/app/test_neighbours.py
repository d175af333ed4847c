"""One thing that fails, in a real project folder, through the command line: its neighbours are done, it is named, and
the exit code says so.
"""

from __future__ import annotations

import asyncio
import gzip
import importlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_project import command, millstream
from live_ports import free_ports

from millstream.base.errors import Corrupt, Recreated
from millstream.run import trouble
from millstream.run.feedback import feedback
from millstream.run.schedule import Schedule
from millstream.run.trouble import Watches
from millstream.run.workspace import Workspace

STREAMS = '''"""What the project declares."""
import millstream as ms
from millstream import expect


class Order(ms.Event):
    order_id: str
    amount: float
    ts: ms.EventTime


class Visit(ms.Event):
    visit_id: str
    n: int
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="order_id")
visits = ms.stream("visits", Visit, key="visit_id")
ms.source(orders, ms.read.files("orders/*", watch=True), name="order_files")
ms.source(visits, ms.read.files("visits/*", watch=True), name="visit_files")
{more}
'''
MONITORS = """
ms.monitor(orders, expect.rows("amount > 3"), every="1m", name="a_orders")
ms.monitor(visits, expect.rows("n > 0"), every="1m", name="b_visits")
"""


def orders(*ids: str) -> str:
    return "order_id,amount,ts\n" + "".join(f"{name},{n},2026-01-01T10:00:0{n}Z\n" for n, name in enumerate(ids, 1))


def visits(*ids: str) -> str:
    return "visit_id,n,ts\n" + "".join(f"{name},{n},2026-01-01T10:00:0{n}Z\n" for n, name in enumerate(ids, 1))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("orders", "visits", "tables"):
        (tmp_path / folder).mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "shop"\n')
    (tmp_path / "streams.py").write_text(STREAMS.format(more=""))
    (tmp_path / "orders/1.csv").write_text(orders("a", "b"))
    (tmp_path / "visits/1.csv").write_text(visits("v", "w"))
    return tmp_path


def rows(project: Path, table: str) -> int:
    return int(millstream(project, "sql", f"select count(*) as n from {table}", "--json").json[0]["n"])


def steps(said: Any) -> dict[str, tuple[str, str]]:
    return {step["name"]: (step["status"], step["error"]) for step in said.json}


def waiting(project: Path) -> dict[str, str]:
    return {f"{row['part']} {row['name']}": row["why"] for row in millstream(project, "show", "waiting", "--json").json}


def recreate(project: Path, stream: str) -> None:
    """The topic is another one of the same name from now on."""
    with Workspace.open(str(project)) as ws:
        ws.log.delete(stream)


@pytest.mark.parametrize("verb", ["ingest", "run"])
def test_a_damaged_file_and_a_class_that_breaks_its_contract_cost_their_own_source_only(
    project: Path, verb: str
) -> None:
    """The second made every source fail: topics were asked for in one go."""
    assert millstream(project, verb).code == 0
    (project / "orders/2.csv.gz").write_bytes(gzip.compress(orders("c").encode())[:-6])
    (project / "orders/3.csv").write_text(orders("d"))
    (project / "visits/2.csv").write_text(visits("x"))
    said = millstream(project, verb, "--json")
    status, error = steps(said)["sources"]
    assert said.code == 1 and status == "failed" and "orders/2.csv.gz" in error
    assert rows(project, "orders") == 3 and rows(project, "visits") == 3
    assert "orders/2.csv.gz" in waiting(project)["source order_files/orders/2.csv.gz"]

    (project / "orders/2.csv.gz").unlink()
    text = (project / "streams.py").read_text()
    (project / "streams.py").write_text(text.replace("    n: int\n", "    n: str\n"))
    (project / "orders/4.csv").write_text(orders("e"))
    said = millstream(project, verb, "--json")
    found = steps(said)
    assert (
        said.code == 1
        and "the field n was int64 and would be string" in found["sources"][1]
        and rows(project, "orders") == 4
    )
    assert found["orders"][0] == "made" and found["visits"][0] == "failed"

    (project / "streams.py").write_text(text)
    assert millstream(project, verb).code == 0 and millstream(project, "show", "waiting").err.strip() == "nothing waits"


def test_a_folder_that_is_gone_or_a_link_in_a_circle_stops_no_other_source(project: Path) -> None:
    assert millstream(project, "ingest").code == 0
    (project / "visits/1.csv").unlink()
    (project / "visits").rmdir()
    (project / "orders/2.csv").write_text(orders("c"))
    said = millstream(project, "ingest")
    assert rows(project, "orders") == 3 and "no file" in said.err and "visit_files" in said.err
    (project / "visits").symlink_to("visits")
    (project / "orders/3.csv").write_text(orders("d"))
    millstream(project, "ingest")
    assert rows(project, "orders") == 4


def test_what_nobody_foresaw_in_one_source_is_a_failure_of_that_source(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millstream.engines.files.source import FileSource

    look = FileSource.look

    def broken(self: FileSource, positions: Any) -> Any:
        if self.source.name == "visit_files":
            raise ZeroDivisionError("kafka://u:secretpass1@h:1")
        return look(self, positions)

    monkeypatch.setattr(FileSource, "look", broken)
    said = millstream(project, "ingest", "--json")
    assert (
        said.code == 1
        and 'source "visit_files": ZeroDivisionError' in steps(said)["sources"][1]
        and rows(project, "orders") == 2
    )
    assert "secretpass1" not in said.out + said.err + json.dumps(waiting(project))
    assert millstream(project, "plan").code == 0
    found = millstream(project, "show", "sources", "--json")
    assert [row["source"] for row in found.json] == ["order_files"] and found.code == 1 and "visit_files" in found.err


def test_a_recreated_topic_stops_its_own_stream_at_every_verb(project: Path) -> None:
    assert millstream(project, "ingest").code == 0
    recreate(project, "orders")
    (project / "orders/2.csv").write_text(orders("c"))
    (project / "visits/2.csv").write_text(visits("x"))
    said = millstream(project, "run", "--json")
    found = steps(said)
    assert said.code == 1 and found["orders"][0] == "failed" and found["visits"][0] == "made"
    assert "sink orders" in waiting(project)
    shown = {row["stream"]: row["stuck"] for row in millstream(project, "show", "streams", "--json").json}
    assert shown["orders"] and not shown["visits"]
    assert millstream(project, "plan").code in (0, 1)
    said = millstream(project, "verify", "--json")
    assert said.code != 0 and "visits" in [row["stream"] for row in said.json if row["ok"]]


def test_a_table_that_raises_stops_what_is_made_from_it_and_nothing_else(project: Path) -> None:
    (project / "tables/bad.sql").write_text("select cast(order_id as integer) as i from orders")
    (project / "tables/after_bad.sql").write_text("select count(*) as n from bad")
    (project / "tables/good.sql").write_text("select count(*) as n from orders")
    said = millstream(project, "run", "--json")
    assert said.code == 1
    assert {name: status for name, (status, _) in steps(said).items()} == {
        "sources": "made",
        "orders": "made",
        "visits": "made",
        "bad": "failed",
        "after_bad": "blocked",
        "good": "made",
    }
    assert "asset bad" in waiting(project) and "asset after_bad" not in waiting(project)
    (bad,) = [f for f in millstream(project, "doctor", "--json").json if f["status"] == "bad"]
    assert bad["what"] == "asset bad" and "Could not convert" in bad["found"]
    (project / "tables/bad.sql").write_text("select order_id as i from orders")
    assert millstream(project, "run").code == 0 and not waiting(project)


def test_looks_at_many_show_the_others_when_one_is_damaged(project: Path) -> None:
    """A table whose Delta log is garbage: `show`, `plan`, `verify` and the console gave one error and nothing else."""
    assert millstream(project, "ingest").code == 0
    for file in (project / ".millstream/lake/orders/_delta_log").glob("*.json"):
        file.write_text("{garbage")
    for what, key in (("streams", "stream"), ("tables", "table")):
        said = millstream(project, "show", what, "--json")
        assert said.code != 0 and "visits" in [row[key] for row in said.json] and "orders" in said.err, (what, said)
    said = millstream(project, "plan", "--json")
    assert said.code != 0 and {a["name"] for a in said.json["assets"]} == {"sources", "orders", "visits"}
    said = millstream(project, "verify", "--json")
    assert said.code != 0 and [row["stream"] for row in said.json] == ["visits"]
    said = millstream(project, "doctor", "--json")
    assert said.code == 3 and any("orders" in f["what"] for f in said.json if f["status"] == "bad")


def test_the_console_shows_the_neighbours_and_what_waits(project: Path) -> None:
    from millstream.app.console.server import app

    assert millstream(project, "ingest").code == 0
    with Workspace.open(str(project)) as ws:
        trouble.keep(ws.state, trouble.MONITOR, "a_orders", "cannot reach kafka://u:secretpass1@h:1", 15.0)
        for file in (project / ".millstream/lake/orders/_delta_log").glob("*.json"):
            file.write_text("{garbage")
        page = asyncio.run(_get(app(ws), "/"))
    assert (
        page.status_code == 200
        and "/tables/visits" in page.text
        and "a_orders" in page.text
        and "cannot reach kafka://u:(hidden)@h:1" in page.text
    )
    assert "secretpass1" not in page.text


async def _get(pages: Any, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=pages), base_url="http://127.0.0.1") as client:
        return await client.get(path)


def test_monitors_are_judged_one_by_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "streams.py").write_text(STREAMS.format(more=MONITORS))
    monkeypatch.setenv("MILLSTREAM_ALERTS_WEBHOOK", "http://[::1/xyzSecret99")
    assert millstream(project, "ingest").code == 0
    said = millstream(project, "monitor", "--json")
    assert said.code == 4 and {r["monitor"]: r["status"] for r in said.json} == {
        "a_orders": "violated",
        "b_visits": "ok",
    }
    assert "not a valid URL" in said.err and "not sent" in said.err and "xyzSecret99" not in said.err + said.out
    monkeypatch.delenv("MILLSTREAM_ALERTS_WEBHOOK")
    for file in (project / ".millstream/lake/orders/_delta_log").glob("*.json"):
        file.write_text("{garbage")
    said = millstream(project, "monitor", "--json")
    found = {r["monitor"]: r for r in said.json}
    assert (
        said.code == 1 and found["b_visits"]["status"] == "ok" and "could not be judged" in found["a_orders"]["message"]
    )


def test_an_alert_that_cannot_be_sent_is_not_exit_0(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "streams.py").write_text(STREAMS.format(more=MONITORS))
    assert millstream(project, "ingest").code == 0 and millstream(project, "monitor").code == 4
    (project / "streams.py").write_text(STREAMS.format(more=MONITORS.replace("amount > 3", "amount > 0")))
    monkeypatch.setenv("MILLSTREAM_ALERTS_WEBHOOK", "http://127.0.0.1:1/xyzSecret99")
    said = millstream(project, "monitor")
    assert said.code == 1 and "the next look sends the alert again" in said.err and "xyzSecret99" not in said.err


@pytest.fixture
def scheduled(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    (project / "streams.py").write_text(STREAMS.format(more=MONITORS))
    monkeypatch.setenv("MILLSTREAM_ALERTS_WEBHOOK", "http://[::1/xyzSecret99")
    assert millstream(project, "ingest").code == 0
    with Workspace.open(str(project)) as ws:
        yield ws


def test_the_schedule_outlives_a_webhook_and_a_monitor_and_tells_of_both(
    scheduled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ended the process, and `up` started it again and again."""
    ws, looked = scheduled, list[str]()
    schedule = Schedule(ws)
    run = schedule._monitors.run

    def looks(monitor: Any) -> Any:
        looked.append(monitor.name)
        if monitor.name == "b_visits":
            raise RuntimeError("a fault of ours")
        return run(monitor)

    monkeypatch.setattr(schedule._monitors, "run", looks)
    due, now = schedule, datetime.now(UTC)
    for minute in (0, 1, 2):
        due.tick(now + timedelta(minutes=minute), threading.Event())
    assert looked == ["a_orders", "b_visits", "a_orders", "a_orders"], "the broken one waits longer"
    told = {f"{one.part} {one.name}": one.why for one in trouble.found(ws.state)}
    assert (
        set(told) == {"monitor b_visits", "alerts webhook"}
        and "not a valid URL" in told["alerts webhook"]
        and "RuntimeError" in told["monitor b_visits"]
    )


def test_the_next_try_of_the_webhook_is_shown_as_it_is(scheduled: Workspace) -> None:
    """It has a pace of its own, of minutes; that of sinks, of seconds, was shown."""
    now, watches = datetime.now(UTC), Watches(scheduled.state)
    due = Schedule(scheduled, attempt=watches.attempt)
    for minute in (0, 1):
        due.tick(now + timedelta(minutes=minute), threading.Event())
    hook = due._monitors.webhook
    for pause in (15.0, 30.0, 60.0):
        (kept,) = [one for one in trouble.found(scheduled.state) if one.part == "alerts"]
        shown = datetime.fromisoformat(kept.next) - datetime.fromisoformat(kept.at)
        assert 0 < hook.again_s <= pause and hook.again_s - 1 < shown.total_seconds() < hook.again_s + 10
        assert pause - 10 < shown.total_seconds() <= pause and not watches.of("alerts").due("webhook")
        for waits in (hook.waits, watches.of("alerts").waits):
            waits.clock = lambda later=waits.clock: later() + 100.0  # type: ignore[misc]
        due.tick(now + timedelta(minutes=1), threading.Event())


def test_feedback_goes_on_past_an_endpoint_and_a_bandit_that_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    done = list[str]()

    def refresh(endpoint: Any, *rest: Any) -> Any:
        done.append(endpoint.name)
        if endpoint.name == "one":
            raise Corrupt("its outcomes table")
        return SimpleNamespace(rows=2)

    def update(experiment: Any, *rest: Any) -> None:
        done.append(experiment.name)
        if experiment.name == "x":
            raise ZeroDivisionError("a posterior")

    monkeypatch.setattr(importlib.import_module("millstream.experiment.outcomes"), "refresh", refresh)
    monkeypatch.setattr(importlib.import_module("millstream.experiment.analyse"), "update", update)
    named = [SimpleNamespace(name=name) for name in ("x", "y")]
    endpoints = {
        "one": SimpleNamespace(name="one", experiments=named),
        "two": SimpleNamespace(name="two", experiments=[]),
    }
    ws: Any = SimpleNamespace(project=SimpleNamespace(endpoints=endpoints, params={}), lake=None, sql=None, state=None)
    with pytest.raises(Corrupt):
        feedback(ws)
    assert done == ["one", "x", "y", "two"]
    failed = dict[str, Exception]()

    def attempt(part: str, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            failed[f"{part} {name}"] = error

    assert feedback(ws, attempt) == 2 and list(failed) == ["outcomes one", "experiment x"]


class Up:
    """`millstream up` of a project."""

    def __init__(self, folder: Path) -> None:
        self.folder, (serve,) = folder, free_ports(1)
        self.url = f"http://127.0.0.1:{serve}"
        self.log = (folder / "up.log").open("wb")
        words = command("--project", str(folder), "--set", f"serve.port={serve}", "up", "--no-console")
        self.process = subprocess.Popen(
            words,
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, "MILLSTREAM_ALERTS_WEBHOOK": "http://[::1/xyzSecret99"},
        )

    def until(self, what: str, holds: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.process.poll() is None and time.monotonic() < deadline, (
                f"it never came to pass: {what}\n{self.said()}"
            )
            time.sleep(0.1)

    def said(self) -> str:
        return (self.folder / "up.log").read_text()


@pytest.mark.fault
def test_up_lands_the_neighbours_of_all_that_is_broken_and_says_what_waits(project: Path) -> None:
    """A recreated topic, a damaged file, a webhook that is not an address: all at once, in real processes."""
    (project / "streams.py").write_text(
        STREAMS.format(
            more=MONITORS.replace("visits, expect", "orders, expect").replace('"n > 0"', '"amount > 9"')
            + "ms.source(visits, ms.read.http())\n"
        )
    )
    assert millstream(project, "ingest").code == 0
    recreate(project, "orders")
    (project / "orders/2.csv").write_text(orders("c"))
    (project / "orders/3.csv.gz").write_bytes(b"no gzip")
    up = Up(project)
    try:
        up.until("the server answers", lambda: _answers(f"{up.url}/healthz"))
        (project / "visits/2.csv").write_text(visits("x", "y"))
        event = {"visit_id": "z", "n": 1, "ts": "2026-01-01T11:00:00Z"}
        assert httpx.post(f"{up.url}/v1/events/visits", json=[event], timeout=10).status_code == 200
        up.until("five visits have landed", lambda: rows(project, "visits") == 5)
        up.until(
            "all three wait",
            lambda: {"sink orders", "source order_files/orders/3.csv.gz", "alerts webhook"} <= set(waiting(project)),
        )
        ready = httpx.get(f"{up.url}/readyz", timeout=10)
        assert ready.status_code == 200
        up.until(
            "/readyz says it",
            lambda: (
                {w["part"] for w in httpx.get(f"{up.url}/readyz", timeout=10).json()["waiting"]}
                >= {"sink", "source", "alerts"}
            ),
        )
        metrics = httpx.get(f"{up.url}/metrics", timeout=10).text
        assert (
            'millstream_waiting{part="sink",name="orders"} 1' in metrics and "xyzSecret99" not in metrics + ready.text
        )
        (project / "orders/3.csv.gz").write_bytes(gzip.compress(orders("d").encode()))
        up.until("the repaired file is read", lambda: "source order_files/orders/3.csv.gz" not in waiting(project))
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(40) == 0
    finally:
        up.process.kill()
        up.process.wait()
        up.log.close()
    assert "ended with" not in up.said() and "xyzSecret99" not in up.said() and "Traceback" not in up.said(), up.said()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_a_watch_says_an_error_once_keeps_it_and_forgets_it_when_it_works(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from millstream.base.waits import Waits

    now = [0.0]
    with Workspace.open(str(project)) as ws:
        watch = trouble.Watch(ws.state, trouble.MONITOR, Waits(1.0, 4.0, clock=lambda: now[0]))
        tried = list[float]()

        def work() -> None:
            tried.append(now[0])
            if len(tried) < 5:
                raise Recreated(f"file 17{len(tried)}ab is another one, token=abcd1234")

        for second in range(20):
            now[0] = float(second)
            watch.attempt("m", work)
            if second == 2:
                (kept,) = trouble.found(ws.state)
                assert (
                    kept.part == "monitor"
                    and kept.name == "m"
                    and "token=(hidden)" in kept.why
                    and kept.since <= kept.at < kept.next
                )
        assert tried[:5] == [0.0, 1.0, 3.0, 7.0, 11.0] and not trouble.found(ws.state)
        said = [record.message for record in caplog.records]
        assert (
            len(said) == 2 and "tried again" in said[0] and "works again" in said[1] and "abcd1234" not in caplog.text
        )
        trouble.keep(ws.state, trouble.MONITOR, "gone", "x", None)
        trouble.Watch(ws.state, trouble.MONITOR).only([])
        assert not trouble.found(ws.state)
