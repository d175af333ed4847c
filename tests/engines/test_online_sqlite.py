"""SQLite passes the online store's suite, and lets go of what a killed filler held."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.base.errors import Busy, ConfigError, Conflict
from millstream.base.registry import engine
from millstream.engines.sqlite.online import SqliteOnline
from millstream.features.contract import T0, OnlineContract, apply, batch, definition, filled
from millstream.features.port import OnlineStore


class TestSqliteOnline(OnlineContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[OnlineStore]:
        made = SqliteOnline(f"sqlite:{tmp_path}/deep/online.db")
        yield made
        made.close()

    def again(self, store: OnlineStore) -> OnlineStore:
        assert isinstance(store, SqliteOnline)
        return SqliteOnline(store.path)


def test_found_by_url() -> None:
    assert engine("online", "sqlite:.millstream/online.db") is SqliteOnline
    with pytest.raises(ConfigError, match="names no file"):
        SqliteOnline("sqlite:")


def test_a_writer_that_waits_too_long_says_busy(tmp_path: Path) -> None:
    store, other = SqliteOnline(str(tmp_path / "online.db")), SqliteOnline(str(tmp_path / "online.db"), wait_s=0.05)
    of = definition()
    store.create(of)
    store.activate(of.generation, {}, 0)
    with store._transaction(), pytest.raises(Busy, match="locked"):
        other.apply([apply(of, [("a", T0, 1.0, 1)])])
    other.apply([apply(of, [("a", T0, 1.0, 1)])])
    store.close()
    other.close()


FILLER = """
import sys
from millstream.engines.sqlite.online import SqliteOnline
from millstream.features.contract import T0, batch, definition, filled
of = definition()
SqliteOnline(sys.argv[1]).load(of, *filled(of, batch(of, [("a", T0 - 1, 1.0, 1)])))
print("loaded", flush=True)
sys.stdin.readline()
"""


@pytest.mark.fault
def test_a_filler_that_lives_is_left_alone_and_one_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path, of = str(tmp_path / "online.db"), definition()
    child = subprocess.Popen(
        [sys.executable, "-c", FILLER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdin is not None and child.stdout.readline() == "loaded\n"
    store = SqliteOnline(path)
    with pytest.raises(Conflict, match="being filled"):
        store.load(of, *filled(of, batch(of, [("a", T0 - 1, 1.0, 1)] * 2)))
    child.kill()
    child.wait()
    child.stdout.close()
    child.stdin.close()
    store.load(of, *filled(of, batch(of, [("a", T0 - 1, 1.0, 1)] * 2)))
    store.activate(of.generation, {0: 2}, T0)
    assert store.lookup(of, ["a"], [T0])[0].values["c_7d"] == 2 and not list(tmp_path.glob("*.fill-*"))
    store.close()
