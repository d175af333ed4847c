"""SQLite passes the state suite, also between processes and under kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from millstream.base.errors import Corrupt
from millstream.base.registry import engine
from millstream.engines.sqlite.state import SqliteState
from millstream.state.contract import StateContract
from millstream.state.port import State


class TestSqliteState(StateContract):
    @pytest.fixture
    def state(self, tmp_path: Path) -> Iterator[State]:
        made = SqliteState(f"sqlite:{tmp_path}/deep/state.db")
        yield made
        made.close()

    def again(self, state: State) -> State:
        assert isinstance(state, SqliteState)
        return SqliteState(str(state.path))


def test_found_by_url() -> None:
    assert engine("state", "sqlite:.millstream/state.db") is SqliteState


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is not a database, and it is long enough to be looked at" * 100)
    with pytest.raises(Corrupt, match=r"state\.db"):
        SqliteState(str(tmp_path / "state.db"))


@pytest.mark.fault
def test_a_killed_writer_leaves_whole_documents_and_no_lock(tmp_path: Path) -> None:
    """What `put` returned from is there after SIGKILL; the killed writer's lock is free."""
    code = (
        "import sys; from millstream.engines.sqlite.state import SqliteState as S\n"
        "s = S(sys.argv[1]); n = 0\n"
        "while True:\n"
        "    n += 1; s.put('run', 'a', {'n': n, 'same': n}); print(n, flush=True)\n"
    )
    url, told = str(tmp_path / "state.db"), 0
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(20):
            told = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split("\n")
        told = max([told, *(int(line) for line in rest[:-1] if line)])
        child.wait()
        child.stdout.close()
        state = SqliteState(url)
        doc = state.get("run", "a")
        assert doc is not None and doc.value["n"] >= told and doc.value["n"] == doc.value["same"]
        state.put("run", "after", {})
        state.close()


@pytest.mark.parametrize("ahead_s", [7_200, 400 * 86_400])
def test_a_lease_that_a_wrong_clock_has_written_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    """Its holder was killed while its clock was ahead; nobody else could have the lease until then."""
    state, real = SqliteState(str(tmp_path / "state.db")), time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + ahead_s * 10**9)
    assert state.lease("table", "dead", timedelta(minutes=1))
    monkeypatch.setattr(time, "time_ns", real)
    assert state.lease("table", "me", timedelta(minutes=1))
    assert not state.lease("table", "dead", timedelta(minutes=1))
    state.close()
