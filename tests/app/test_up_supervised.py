"""`up` as a user has it: parts that are killed come back, nothing is lost or doubled, Ctrl-C leaves no process."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from millstream.lake.verify import verify
from millstream.run.workspace import Workspace

pytestmark = pytest.mark.fault
STREAMS = '''
import millstream as ms


class Order(ms.Event):
    """A customer has paid."""

    order_id: str
    amount: float
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="order_id", dedupe="order_id")
ms.source(orders, ms.read.http())
ms.monitor(orders, ms.expect.rows("amount > 0"))
'''


def until(what: str, holds: Callable[[], object], seconds: float = 45) -> None:
    """Look again and again; these are real processes, whose clock is the machine's."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it never came to pass: {what}"
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Up:
    """The command, running in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, (serve, console) = folder, free_ports(2)
        self.events, self.console = f"http://127.0.0.1:{serve}", f"http://127.0.0.1:{console}"
        self.words = [
            sys.executable,
            "-m",
            "millstream",
            "--project",
            str(folder),
            "--set",
            f"serve.port={serve}",
            "--set",
            f"console.port={console}",
            "up",
        ]
        self.log = (folder / "up.log").open("wb")
        self.process = subprocess.Popen(self.words, stdout=self.log, stderr=self.log)

    def part(self, name: str) -> psutil.Process | None:
        """The part's process, as the system knows it."""
        for child in psutil.Process(self.process.pid).children():
            try:
                if child.cmdline()[-1:] == [name]:
                    return child
            except psutil.Error:
                continue
        return None

    def answers(self, url: str) -> bool:
        assert self.process.poll() is None, self.said()
        try:
            return httpx.get(url, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def send(self, first: int, last: int) -> None:
        """Orders `first` to `last`, sent again with the same ids until they are taken, as a client does."""
        rows = [{"order_id": f"o{i}", "amount": 1.0 + i, "ts": "2026-01-01T10:00:00Z"} for i in range(first, last + 1)]

        def taken() -> bool:
            try:
                return httpx.post(f"{self.events}/v1/events/orders", json=rows, timeout=10).status_code == 200
            except httpx.TransportError:
                return False

        until("the events are taken", taken)

    def streams(self) -> list[str]:
        """The row of `orders` on the console: name, in the log, in the lake, behind, ..."""
        page = httpx.get(self.console, timeout=10)
        assert page.status_code == 200, page.text
        row = re.search(r"<tr>(?:(?!</tr>).)*?/tables/orders.*?</tr>", page.text, re.DOTALL)
        assert row is not None
        return [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row[0], re.DOTALL)]

    def said(self) -> str:
        return (self.folder / "up.log").read_text()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    (tmp_path / "millstream.toml").write_text('[project]\nname = "shop"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    started = Up(tmp_path)
    yield started
    for process in (
        [*psutil.Process(started.process.pid).children(recursive=True)] if started.process.poll() is None else []
    ):
        process.kill()
    started.process.kill()
    started.process.wait()
    started.log.close()


def test_killed_parts_come_back_and_ctrl_c_leaves_nothing(up: Up) -> None:
    until("the collector answers", lambda: up.answers(f"{up.events}/healthz"))
    until("the console answers", lambda: up.answers(up.console))
    up.send(1, 100)
    until("100 events have landed, as the console shows", lambda: up.streams()[1:4] == ["100", "100", "0"])

    for name in ("sinks", "serve"):
        before = up.part(name)
        assert before is not None
        before.send_signal(signal.SIGKILL)
        up.send(101, 150) if name == "sinks" else up.send(151, 200)
        up.streams()  # the console answers meanwhile
        until(f"{name} is started again", partial(lambda name, gone: up.part(name) not in (None, gone), name, before))
    until("all 200 have landed", lambda: up.streams()[2:4] == ["200", "0"])
    assert "sinks ended with -9" in up.said() and "serve ended with -9" in up.said()

    second = subprocess.run(up.words, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 3 and "runs in this project" in second.stderr

    children = psutil.Process(up.process.pid).children(recursive=True)
    assert len(children) >= 4
    begun = time.monotonic()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(25) == 0
    assert time.monotonic() - begun < 20
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert "Traceback" not in up.said()

    with Workspace.open(str(up.folder)) as ws:
        report = verify(ws.lake, ws.log, ws.project.streams["orders"])
        ids = (
            ws.sql.query(
                "select count(*) as n, count(distinct order_id) as d from t",
                {"t": ws.lake.table("orders").snapshot()},
                {},
            )
            .read_all()
            .to_pylist()
        )
    assert report.ok and ids == [{"n": 200, "d": 200}], json.dumps(ids)


def test_parts_do_not_outlive_a_supervisor_that_is_killed(up: Up) -> None:
    until("all parts are there", lambda: len(psutil.Process(up.process.pid).children()) == 4)
    until("the console answers", lambda: up.answers(up.console))
    children = psutil.Process(up.process.pid).children(recursive=True)
    up.process.kill()
    gone, alive = psutil.wait_procs(children, timeout=25)
    assert not alive and len(gone) == 4
