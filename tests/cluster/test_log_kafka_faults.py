"""Kafka's writers at the crash points of the protocol: nothing lost, nothing doubled, nothing torn."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import kafka_actors
import pytest
from actors import Start, actors, kill, line, tell
from faults_told import Fault
from kafka_actors import PAIRS, both, open_log
from test_log_kafka import emptied

from millstream.base.errors import Fenced
from millstream.cluster import Cluster
from millstream.engines.kafka.log import KafkaLog
from millstream.log.contract import numbers

pytestmark = pytest.mark.fault


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Start]:
    with actors(kafka_actors.__file__) as started:
        yield lambda url, role, word="s": started(role, url, str(tmp_path), word)


def made(url: str, folder: Path) -> KafkaLog:
    emptied(url)
    log = open_log(url, folder)
    for topic in PAIRS:
        log.create(topic, partitions=1)
    return log


@pytest.fixture
def log(kafka: str, tmp_path: Path) -> Iterator[KafkaLog]:
    opened = made(kafka, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def start(kafka: str, starting: Start) -> Start:
    return lambda role, word="s": starting(kafka, role, word)


def in_log(log: KafkaLog, topic: str) -> list[int]:
    """Everything readable now, once the open transactions have ended."""
    reader, found = log.reader(topic, {0: 0}), list[int]()
    end = log._topics.offsets(topic, [0], _latest(), uncommitted=True)[0]
    deadline = time.monotonic() + 30
    while reader.position(0) < end:
        assert time.monotonic() < deadline, "held back for longer than a transaction may last"
        found += numbers([p for p in reader.poll(10_000, timedelta(seconds=1)) if p.rows.num_rows])
    reader.close()
    return found


def _latest() -> Any:
    from confluent_kafka.admin import OffsetSpec

    return OffsetSpec.latest()


def test_produced_and_killed(log: KafkaLog, start: Start) -> None:
    """source.produced: readers never see it, the position is the previous one, then each comes once."""
    log.writer("s").commit(both(0, 10), "10")
    actor = start("produced")
    assert line(actor) == "open"
    kill(actor)
    began = time.monotonic()
    writer = log.writer("s")
    print(f"taken over in {time.monotonic() - began:.2f} s")
    assert writer.position == "10" and time.monotonic() - began < 5  # its transaction was ended, and not waited for
    writer.commit(both(10, 10), "20")
    assert in_log(log, "left") == in_log(log, "right") == list(range(20))


def test_committed_and_killed(log: KafkaLog, start: Start) -> None:
    """source.committed: the successor starts after it."""
    actor = start("committed")
    assert actor.wait(30) == -signal.SIGKILL
    writer = log.writer("s")
    assert writer.position == "10"
    writer.commit(both(10, 5), "15")
    assert in_log(log, "left") == in_log(log, "right") == list(range(15))


def test_another_split_hangs_open(log: KafkaLog, start: Start) -> None:
    """source.other_open: the successor waits, and reads the last position and no older one."""
    hanging = start("produced", "other")
    assert line(hanging) == "open"
    hanging.send_signal(signal.SIGSTOP)
    writer = log.writer("s")  # waits as well: nothing of its own is there, and that is not known before
    writer.commit(both(0, 10), "10")
    again = start("produced", "another")
    assert line(again) == "open"
    kill(again)
    writer.commit(both(10, 10), "20")
    writer.close()
    assert log.writer("s").position == "20"
    assert log.position("other") is None and log.position("another") is None
    hanging.send_signal(signal.SIGCONT)
    assert sorted(in_log(log, "left")) == list(range(20))


def test_a_stopped_zombie_is_fenced(log: KafkaLog, start: Start) -> None:
    """source.zombie and source.split_moved: stopped, taken over, resumed."""
    zombie = start("slow")
    assert line(zombie) == "mine 0"
    zombie.send_signal(signal.SIGSTOP)
    writer = log.writer("s")
    writer.commit(both(0, 10), "10")
    zombie.send_signal(signal.SIGCONT)
    tell(zombie)
    assert line(zombie).startswith("fenced")
    writer.commit(both(10, 10), "20")
    assert in_log(log, "left") == in_log(log, "right") == list(range(20))


def test_a_zombie_stopped_inside_its_transaction(log: KafkaLog, start: Start) -> None:
    zombie = start("produced")
    assert line(zombie) == "open"
    zombie.send_signal(signal.SIGSTOP)
    writer = log.writer("s")
    assert writer.position is None
    writer.commit(both(0, 10), "10")
    zombie.send_signal(signal.SIGCONT)
    kill(zombie)
    assert in_log(log, "left") == in_log(log, "right") == list(range(10))


def test_a_writer_that_was_silent_in_its_transaction_is_fenced_by_time(
    kafka: str, log: KafkaLog, tmp_path: Path
) -> None:
    """The cluster ends a transaction after its timeout; whoever comes back after it may not continue."""
    short = open_log(f"{kafka}?transaction_timeout_ms=1000", tmp_path)
    writer = short.writer("s")
    writer.commit(both(0, 5), "5")
    writer._producer.begin_transaction()
    writer._producer.produce("left", b"\0\0\0\0\1", None, 0)
    writer._producer.flush(5)
    time.sleep(13)  # the broker looks every 10 s
    with pytest.raises(Fenced):
        writer._producer.produce("left", b"\0\0\0\0\1", None, 0)
        writer._undo(_raised(writer._producer.commit_transaction), time.monotonic() + 5)
    assert log.writer("s").position == "5" and in_log(log, "left") == list(range(5))
    short.close()


def _raised(call: Callable[[float], None]) -> Any:
    from confluent_kafka import KafkaException

    try:
        call(10)
    except KafkaException as error:
        return error
    raise AssertionError("it was accepted")


def test_killed_again_and_again(log: KafkaLog, start: Start) -> None:
    """Twelve kills at any moment: both topics and the position agree, each number once."""
    chance, said = random.Random(7), 0
    for _ in range(12):
        actor = start("two_topics")
        said = max(said, int(line(actor)))
        time.sleep(chance.random() * 0.4)
        said = max([said, *map(int, kill(actor))])
    position = int(log.writer("s").position or 0)
    assert position >= said  # what was acknowledged is there
    assert in_log(log, "left") == in_log(log, "right") == list(range(position))


def test_the_leader_dies(
    ha_cluster: Cluster, ha_kafka: str, starting: Start, tmp_path: Path, fault_told: Callable[[Fault], None]
) -> None:
    """kafka.leader: of the topics, the positions and the transactions; nobody sees an error."""
    log = made(ha_kafka, tmp_path)
    assert log._topics.configs(["left"])["left"]["min.insync.replicas"] == "2"
    writing, appending = starting(ha_kafka, "two_topics"), starting(ha_kafka, "many", "7")
    reader = log.reader("left", {0: 0})
    line(writing), line(appending)
    leader = log._topics.known("left").partitions[0].leader.id
    before = sorted({int(said) for said in (line(writing), line(appending))})
    ha_cluster.kill(f"kafka#{leader}")
    began, gap, last = time.monotonic(), 0.0, time.monotonic()
    seen: list[int] = []
    assert writing.stdout is not None and appending.stdout is not None
    while time.monotonic() - began < 25:
        ready, _, _ = select.select([writing.stdout, appending.stdout], [], [], 0.1)
        for pipe in ready:
            os.read(pipe.fileno(), 1 << 16)
        if ready:
            gap, last = max(gap, time.monotonic() - last), time.monotonic()
        seen += numbers([p for p in reader.poll(10_000, timedelta(0)) if p.rows.num_rows])
    assert writing.poll() is None and appending.poll() is None, "an error reached the user"
    assert time.monotonic() - last < 2, "nothing continues"
    kill(writing), kill(appending)
    ha_cluster.restart(f"kafka#{leader}")
    position = int(log.writer("s").position or 0)
    left = in_log(log, "left")
    assert [n for n in left if n < 1_000_000] == in_log(log, "right") == list(range(position))
    appended = [n for n in left if n >= 1_000_000]
    assert appended == list(range(7_000_000, 7_000_000 + len(appended))), "an acknowledged append was lost or doubled"
    assert seen == left[: len(seen)] and before[0] <= position
    fault_told(
        Fault(
            f"Kafka's leader of all (kafka#{leader})",
            "transactions, appends, a reader",
            gap,
            "longest silence of the writers",
            2 * position + len(appended),
        )
    )
    log.close()
