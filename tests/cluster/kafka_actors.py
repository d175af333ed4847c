"""Processes that write to Kafka and are killed: `python kafka_actors.py ROLE URL FOLDER SPLIT`. Each says on stdout
what it has done.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from pathlib import Path

from millstream.base.errors import Fenced
from millstream.engines.kafka.log import KafkaLog
from millstream.engines.kafka.writing import KafkaWriter
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.log.contract import SCHEMA, rows
from millstream.log.port import Append

PAIRS = ("left", "right")


def open_log(url: str, folder: str | Path) -> KafkaLog:
    schemas = SqliteSchemas(f"sqlite:{folder}/schemas.db")
    assert schemas.register("t", SCHEMA) == 1
    return KafkaLog(url, schemas)


def say(*words: object) -> None:
    print(*words, flush=True)


def both(at: int, count: int) -> list[Append]:
    return [Append(topic, 0, 1, rows(*range(at, at + count))) for topic in PAIRS]


def two_topics(log: KafkaLog, split: str) -> None:
    """Commits the same numbers to two topics for ever, from where the split stands."""
    writer = log.writer(split)
    at = int(writer.position or 0)
    while True:
        count = 1 + at % 70
        writer.commit(both(at, count), str(at + count))
        at += count
        say(at)


def produced(log: KafkaLog, split: str) -> None:
    """Sends everything of a transaction, and hangs before its commit."""

    def hang(self: KafkaWriter) -> None:
        say("open")
        time.sleep(600)

    KafkaWriter._commit = hang  # type: ignore[method-assign]
    writer = log.writer(split)
    at = int(writer.position or 0)
    writer.commit(both(at, 10), str(at + 10))


def committed(log: KafkaLog, split: str) -> None:
    """Commits, and dies before it can remember that it did."""
    writer = log.writer(split)
    at = int(writer.position or 0)
    writer.commit(both(at, 10), str(at + 10))
    os.kill(os.getpid(), signal.SIGKILL)


def slow(log: KafkaLog, split: str) -> None:
    """Owns the split, waits to be told, then commits as if nothing had happened."""
    writer = log.writer(split)
    at = int(writer.position or 0)
    say("mine", at)
    sys.stdin.readline()
    try:
        writer.commit(both(at, 10), str(at + 10))
        say("committed")
    except Fenced as error:
        say("fenced", error)


def many(log: KafkaLog, split: str) -> None:
    """Appends its own numbers for ever, 50 a call, one call after the other, and says each that was acknowledged."""
    base = int(split) * 1_000_000
    for at in itertools.count(base, 50):
        log.append([Append("left", 0, 1, rows(*range(at, at + 50)))])
        say(at + 50)


if __name__ == "__main__":
    role, url, folder, word = sys.argv[1:5]
    globals()[role](open_log(url, folder), word)
