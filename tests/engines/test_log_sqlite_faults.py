"""The embedded log at the crash points of the protocol: nothing lost, nothing doubled, nothing torn."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import log_actors
import pyarrow as pa
import pytest
from actors import Start, actors, kill, line, tell
from log_actors import PAIRS, open_log, rows

from millstream.base.errors import Busy, Full
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.wake import Ear
from millstream.log.contract import numbers, read
from millstream.log.port import Append

pytestmark = pytest.mark.fault


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with actors(log_actors.__file__) as started:
        yield lambda role, word="s": started(role, str(tmp_path), word)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    made = open_log(tmp_path)
    for topic in PAIRS:
        made.create(topic, partitions=3)
    yield made
    made.close()


def in_log(log: SqliteLog, topic: str, partitions: int = 1) -> list[int]:
    """Everything readable now."""
    ends = log.ends(topic)
    reader = log.reader(topic, dict.fromkeys(range(partitions), 0))
    try:
        count = sum(ends[p].high for p in range(partitions))
        return numbers(read(reader, count, at_once=100_000)) if count else []
    finally:
        reader.close()


def test_in_commit(log: SqliteLog, start: Start) -> None:
    """SIGKILL anywhere in a loop of two-topic transactions: both topics or none, position and records agree, what was
    acknowledged is there.
    """
    dice, acknowledged = random.Random(7), 0
    for _ in range(12):
        actor = start("two_topics")
        acknowledged = max(acknowledged, int(line(actor) or 0))
        time.sleep(dice.random() * 0.06)
        acknowledged = max([acknowledged, *map(int, kill(actor))])
        position = int(log.position("s") or 0)
        assert position >= acknowledged
        for topic in PAIRS:
            assert log.ends(topic)[0].high == position
    for topic in PAIRS:
        assert in_log(log, topic) == list(range(position)), "dense, in order, once each"
    assert log._look.execute("pragma quick_check").fetchone() == ("ok",)


def test_produced(log: SqliteLog, start: Start) -> None:
    """Killed with everything written but COMMIT: readers never saw it, the position is the one before."""
    actor = start("produced")
    assert line(actor) == "open"
    assert in_log(log, "left") == [] and log.position("s") is None
    kill(actor)
    writer = log.writer("s")
    assert writer.position is None and in_log(log, "left") == []
    writer.commit([Append(topic, 0, 1, rows(0, 10)) for topic in PAIRS], "10")
    assert in_log(log, "left") == in_log(log, "right") == list(range(10))


def test_committed(log: SqliteLog, start: Start) -> None:
    """Dies right after COMMIT, three times: each successor begins after what was committed."""
    for turn in range(3):
        assert start("committed").wait() == -signal.SIGKILL
        assert log.position("s") == str(10 * (turn + 1))
    assert in_log(log, "left") == in_log(log, "right") == list(range(30))


@pytest.mark.parametrize("stopped", [True, False], ids=["zombie", "split_moved"])
def test_a_split_taken_over(log: SqliteLog, start: Start, stopped: bool) -> None:
    """The old owner, stopped or merely slow, comes back after the take-over: it is fenced, the split's records are
    there once.
    """
    old = start("slow")
    assert line(old) == "mine 0"
    if stopped:
        old.send_signal(signal.SIGSTOP)
    new = log.writer("s")
    new.commit([Append(topic, 0, 1, rows(0, 10)) for topic in PAIRS], "10")
    if stopped:
        old.send_signal(signal.SIGCONT)
    tell(old)
    assert line(old).startswith('fenced split "s" was taken over')
    new.commit([Append(topic, 0, 1, rows(10, 10)) for topic in PAIRS], "20")
    assert in_log(log, "left") == in_log(log, "right") == list(range(20))


def test_lock_holder_killed(log: SqliteLog, start: Start) -> None:
    holder = start("lock")
    assert line(holder) == "held"
    waiter = start("busy", "20")
    time.sleep(0.5)
    kill(holder)
    begun = time.monotonic()
    assert line(waiter) == "wrote 1" and time.monotonic() - begun < 5


def test_lock_holder_stopped(log: SqliteLog, start: Start) -> None:
    """Writers give up in time and say why; readers continue; once it is gone, so do writers."""
    log.append([Append("left", 0, 1, rows(0, 3))])
    holder = start("lock")
    assert line(holder) == "held"
    holder.send_signal(signal.SIGSTOP)
    log.wait_s = 0.3
    begun = time.monotonic()
    with pytest.raises(Busy, match=r"log\.db\.lock was held by another writer for 0\.3 s"):
        log.append([Append("left", 0, 1, rows(3, 1))])
    assert time.monotonic() - begun < 3
    assert in_log(log, "left") == [0, 1, 2]
    kill(holder)
    log.wait_s = 10
    log.append([Append("left", 0, 1, rows(3, 1))])
    assert in_log(log, "left") == [0, 1, 2, 3]


def test_wake_lost(log: SqliteLog, start: Start) -> None:
    """The writer dies between COMMIT and its datagram: a waiting reader sees the record within the fallback."""
    reader, actor = log.reader("left", {0: 0}), start("silent")
    assert line(actor) == "ready"
    tell(actor)
    begun = time.monotonic()
    assert numbers(reader.poll(10, timedelta(seconds=20))) == [0] and time.monotonic() - begun < 3
    assert actor.wait() == -signal.SIGKILL
    reader.close()
    assert not list(log.path.with_name("log.db.readers").iterdir())


def test_a_dead_readers_socket_is_removed(log: SqliteLog) -> None:
    reader = log.reader("left", {0: 0})
    assert reader._ear._socket is not None
    reader._ear._socket.close()  # as a killed process leaves it
    assert len(list(log.path.with_name("log.db.readers").iterdir())) == 1
    log.append([Append("left", 0, 1, rows(0, 1))])
    assert not list(log.path.with_name("log.db.readers").iterdir())


def test_only_who_follows_the_topic_is_woken(log: SqliteLog) -> None:
    left, right = Ear(log.path, "left"), Ear(log.path, "right")
    try:
        log.append([Append("left", 0, 1, rows(0, 1))])
        sockets = [ear._socket for ear in (left, right) if ear._socket is not None]
        assert [select.select([one], [], [], 0)[0] != [] for one in sockets] == [True, False]
    finally:
        left.close()
        right.close()


def test_three_writing_processes_and_a_reader(log: SqliteLog, start: Start) -> None:
    reader = log.reader("left", {0: 0, 1: 0, 2: 0})
    actors = [start("many", str(n)) for n in range(3)]
    pieces = read(reader, 120_000, at_once=50_000)
    assert [line(a) for a in actors] == ["done"] * 3
    seen = numbers(pieces)
    assert len(seen) == 120_000 and set(seen) == {base * 1_000_000 + n for base in range(3) for n in range(40_000)}
    for partition in range(3):
        for base in range(3):
            mine = [n for n in numbers(pieces, partition) if n // 1_000_000 == base]
            assert mine == sorted(mine)


def test_a_mark_may_use_the_reserve(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no room even for the mark that retention waits for, the reserve goes first."""
    log.maintain()
    reserve, mark = log.path.with_name("log.db.reserve"), log._mark
    assert reserve.exists()

    def full(*args: Any) -> None:
        if reserve.exists():
            raise Full("no room")
        mark(*args)

    monkeypatch.setattr(log, "_mark", full)
    log.append([Append("left", 0, 1, rows(0, 3))])
    log.retain("left", before={0: 2})
    assert log._rows("select partition, before from mark where before > 0") == [(0, 2)] and not reserve.exists()
    log.maintain()
    assert reserve.stat().st_size == log.room.reserve_bytes


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk is a tmpfs, and mounting one needs root")
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("this machine lets root mount no tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("floor", [4 << 20, 0], ids=["at the floor", "to the last byte"])
def test_full(tmp_path: Path, floor: int) -> None:
    """The disk is full: appends are refused and nothing is lost; retention finds its room; then it continues
    by itself.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, "64m"):
        log = open_log(disk)
        log.room.floor_bytes, log.room.reserve_bytes = floor, 24 << 20
        log.create("left", partitions=1)
        log.maintain()  # makes the reserve
        assert (disk / "log.db.reserve").stat().st_size == 24 << 20
        noise, count = random.Random(1), 0
        with pytest.raises(Full):
            for count in range(10_000):
                log.append(
                    [Append("left", 0, 1, pa.record_batch({"n": [count], "text": [noise.randbytes(50_000).hex()]}))]
                )
        assert count > 50 and log.ends("left")[0].high == count
        with pytest.raises(Full):
            log.writer("s").commit([Append("left", 0, 1, rows(0, 400_000))], "1")
        assert in_log(log, "left") == list(range(count)) and log.position("s") is None
        if floor == 0:  # the engine was below its own floor: say so, as it would have before
            log.room.floor_bytes = 4 << 20
        landed = count - 5
        log.retain("left", before={0: landed})
        log.maintain()
        assert 0 < log.ends("left")[0].low <= landed
        for more in range(count, count + 40):
            log.append([Append("left", 0, 1, pa.record_batch({"n": [more], "text": ["y" * 50_000]}))])
        reader = log.reader("left", {0: landed})
        assert numbers(read(reader, 45)) == list(range(landed, count + 40))
        assert log._look.execute("pragma quick_check").fetchone() == ("ok",)
        reader.close()
        log.close()
