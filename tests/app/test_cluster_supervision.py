"""How daemons are started, watched and stopped: with tiny processes instead of engines."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from cluster_standins import ANSWERS, SLOW, StandIn, cluster, python

from millstream.base.errors import Busy, NotFound, Unreachable, UsageError
from millstream.cluster import Cluster, process
from millstream.cluster.state import State, alone

pytestmark = pytest.mark.fault


def until(what: str, holds: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it never came to pass: {what}"
        time.sleep(0.02)


@pytest.fixture
def port() -> Iterator[int]:
    """The first of twenty free ports; the one before them is held, so that tests side by side choose others.

    Below the range from which the system takes ports for connections that go out.
    """
    for first in range(32020, 32740, 21):
        with socket.socket() as lock:
            try:
                lock.bind(("127.0.0.1", first - 1))
            except OSError:
                continue
            if not any(process.holder(p) for p in range(first, first + 20)):
                yield first
                return


@contextmanager
def stopped(it: Cluster) -> Iterator[Cluster]:
    try:
        yield it
    finally:
        it.down()


def pids(it: Cluster) -> dict[str, int | None]:
    return {s.role: s.pid for s in it.status()}


def test_up_twice_leaves_what_runs_and_down_leaves_nothing(tmp_path: Path, port: int) -> None:
    said: list[tuple[str, str]] = []
    with stopped(cluster(tmp_path, port, StandIn("a", 0, count=2), StandIn("b", 5))) as it:
        it.up(say=lambda service, text: said.append((service, text)))
        first = pids(it)
        assert list(first) == ["a#1", "a#2", "b#1"] and all(first.values())
        it.up()
        assert pids(it) == first
        assert {service for service, text in said if text == "ready"} == {"a", "b"}
        assert all(os.getsid(pid) == pid for pid in first.values() if pid)  # a Ctrl-C at `up` does not reach them
        it.down()
    assert not [pid for pid in first.values() if pid and psutil.pid_exists(pid)]
    assert pids(it) == dict.fromkeys(first)


def test_status_tells_part_memory_uptime_and_log(tmp_path: Path, port: int) -> None:
    with stopped(cluster(tmp_path, port, StandIn("a", 0))) as it:
        it.up()
        (one,) = it.status()
        assert (
            one.part == "leader"
            and one.alive
            and one.memory_bytes > 1_000_000
            and one.uptime_s is not None
            and 0 <= one.uptime_s < 60
        )
        assert one.log.read_text() == "listening\n"
        told = json.loads(json.dumps(it.describe()))
        assert told["services"]["a"] == {
            "address": f"standin://127.0.0.1:{port}",
            "setting": "",
            "environment": {},
            "running": True,
        }
        assert told["daemons"][0]["ports"] == [port]
        assert it.leader("a") == "a#1"


def test_a_killed_daemon_stays_dead_until_restart(tmp_path: Path, port: int) -> None:
    with stopped(cluster(tmp_path, port, StandIn("a", 0, count=2))) as it:
        it.up()
        first = pids(it)
        assert it.kill("a#2") == ["a#2"]
        assert pids(it) == {"a#1": first["a#1"], "a#2": None}
        with pytest.raises(NotFound, match="a#2 does not run"):
            it.kill("a#2")
        assert it.restart("a#2") == ["a#2"]
        again = pids(it)
        assert again["a#1"] == first["a#1"] and again["a#2"] not in (None, first["a#2"])
        assert it.restart("a") == ["a#1", "a#2"]
        assert not {*again.values()} & {*pids(it).values()}


def test_one_that_was_killed_by_others_is_noticed(tmp_path: Path, port: int) -> None:
    with stopped(cluster(tmp_path, port, StandIn("a", 0))) as it:
        it.up()
        (before,) = it.status()
        assert before.pid
        psutil.Process(before.pid).kill()
        until("it is seen as dead", lambda: not it.status()[0].alive)
        it.up()
        assert it.status()[0].alive and it.status()[0].pid != before.pid


def test_a_process_that_took_over_a_number_is_no_daemon(tmp_path: Path, port: int) -> None:
    """A number in the state file, held by somebody else by now: it is neither killed nor taken for ours."""
    with (
        stopped(cluster(tmp_path, port, StandIn("a", 0))) as it,
        subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger,
    ):
        it.up()
        it.down()
        state = it.folder / "state.json"
        told = json.loads(state.read_text())
        told["daemons"] = {
            "a#1": {"pid": stranger.pid, "born": "1@another-time", "at": 0, "service": "a", "stop": "SIGTERM"}
        }
        state.write_text(json.dumps(told))
        assert not it.status()[0].alive
        with pytest.raises(NotFound):
            it.kill("a#1")
        it.up()
        assert it.status()[0].pid not in (None, stranger.pid)
        it.down()
        state.write_text(json.dumps(told))
        it.down()
        assert stranger.poll() is None
        stranger.kill()


def test_a_taken_port_is_named_with_its_holder(tmp_path: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)), stopped(cluster(tmp_path, port, StandIn("a", 0))) as it:
        with pytest.raises(
            Busy,
            match=(
                rf"a#1 needs port {port}, and .* listens there; stop that, or choose other ports: --set cluster\.port=N"
            ),
        ):
            it.up()
        assert not any(s.alive for s in it.status())


def test_one_that_dies_at_once_is_told_with_its_last_words(tmp_path: Path, port: int) -> None:
    bad = StandIn("bad", 0, code="import sys; print('no room for my data'); sys.exit(3)")
    with (
        stopped(cluster(tmp_path, port, bad)) as it,
        pytest.raises(Unreachable, match=r"bad#1 has died while bad was waited for(.|\n)*no room for my data"),
    ):
        it.up()


def test_one_that_never_answers_is_told_after_its_patience(tmp_path: Path, port: int) -> None:
    mute = StandIn("mute", 0, code="import time; print('thinking', flush=True); time.sleep(60)")
    mute.patience_s = 0.5
    with (
        stopped(cluster(tmp_path, port, mute)) as it,
        pytest.raises(Unreachable, match=r"mute is not ready after 0 s, it lacks its first answer(.|\n)*thinking"),
    ):
        it.up()


def test_services_wait_for_those_they_need(tmp_path: Path, port: int) -> None:
    said: list[tuple[str, str]] = []
    user, used = StandIn("user", 0, needs=("used",)), StandIn("used", 5)
    with stopped(cluster(tmp_path, port, user, used)) as it:
        it.up(["user"], say=lambda service, text: said.append((service, text)))
        assert said.index(("used", "ready")) < said.index(("user", "starting user#1"))


def test_a_failure_of_one_ends_the_waiting_of_all(tmp_path: Path, port: int) -> None:
    bad = StandIn("bad", 0, code="raise SystemExit(1)")
    user = StandIn("user", 5, needs=("bad",))
    with stopped(cluster(tmp_path, port, bad, user)) as it, pytest.raises(Unreachable, match="bad#1"):
        it.up(["user"])


def test_an_up_that_was_killed_is_gone_on_with(tmp_path: Path, port: int) -> None:
    """Killed while a first start is half done: the daemon that ran is kept, the half work is cleared and done again,
    whole.
    """
    it = cluster(tmp_path, port, StandIn("quick", 0), SLOW)
    script = Path(__file__).with_name("cluster_standins.py")
    with stopped(it), subprocess.Popen([sys.executable, script, "up", tmp_path, str(port)]) as up:
        until("the first start is under way", lambda: (it.folder / "data" / "half").exists())
        until("the other service runs", lambda: "quick#1" in State(it.folder).daemons)
        up.send_signal(signal.SIGKILL)
        up.wait()
        quick = pids(it)["quick#1"]
        assert quick and not (it.folder / "once" / "slow-once").exists()
        (it.folder / "go").touch()
        it.up()
        assert pids(it)["quick#1"] == quick and all(pids(it).values())
        assert (it.folder / "once" / "slow-once").exists()


def test_one_whose_starter_dies_before_it_was_written_down_never_runs(tmp_path: Path) -> None:
    code = f"""
import os, pathlib, signal
from millstream.cluster.process import begin
log = pathlib.Path({str(tmp_path / "log")!r})
identity, _ = begin(["touch", {str(tmp_path / "ran")!r}], log=log, environment=dict(os.environ))
print(identity.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    until("it has ended", lambda: not psutil.pid_exists(int(done.stdout)))
    assert not (tmp_path / "ran").exists()


def test_what_a_dead_daemon_left_behind_goes_with_down(tmp_path: Path, port: int) -> None:
    leaves = (
        "import subprocess, sys\nprint(subprocess.Popen(['sleep', '300'], start_new_session=True).pid, flush=True)\n"
        + ANSWERS
    )
    with stopped(cluster(tmp_path, port, StandIn("a", 0, code=leaves))) as it:
        it.up()
        child = int(it.status()[0].log.read_text().splitlines()[0])
        it.kill("a#1")
        assert psutil.pid_exists(child)
        it.down()
        until("it is gone", lambda: not psutil.pid_exists(child))


def test_one_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"
    )
    log = tmp_path / "log"
    deaf, child = process.begin(python(code), log=log, environment={})
    process.release(child)
    until("it is deaf", lambda: log.read_text() == "deaf\n")
    process.stop([(deaf, signal.SIGTERM)], grace_s=0.2)
    assert not process.alive(deaf) and not psutil.pid_exists(deaf.pid)


def test_a_cluster_keeps_its_size_and_its_ports(tmp_path: Path, port: int) -> None:
    with stopped(cluster(tmp_path, port, StandIn("a", 0))) as it:
        it.up()
        with pytest.raises(UsageError, match=r"without --ha.*--wipe"):
            it.up(ha=True)
        with pytest.raises(UsageError, match=rf"ports from {port}.*cluster\.port.*--wipe"):
            cluster(tmp_path, port + 9, StandIn("a", 0)).up()
        it.down(wipe=True)
        assert not it.folder.exists()
        it.up(ha=True)
        assert list(pids(it)) == ["a#1", "a#2", "a#3"]
        it.up()
        assert len(pids(it)) == 3


def test_one_command_at_a_time(tmp_path: Path, port: int) -> None:
    it = cluster(tmp_path, port, StandIn("a", 0))
    with alone(it.folder), pytest.raises(Busy, match="another `millstream cluster` is at work here"):
        it.up()


def test_names_that_do_not_exist_are_told_with_those_that_do(tmp_path: Path, port: int) -> None:
    it = cluster(tmp_path, port, StandIn("alpha", 0))
    with pytest.raises(NotFound, match='no service "alhpa"; did you mean "alpha"'):
        it.up(["alhpa"])
    with pytest.raises(NotFound, match='no daemon "beta"; nothing was started here'):
        it.log("beta")
