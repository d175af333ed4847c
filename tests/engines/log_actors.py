"""Processes that write to a log and are killed: `python log_actors.py ROLE FOLDER ...`. Each says on stdout what it has
done.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pyarrow as pa

from millstream.base.errors import Busy, Fenced
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.engines.sqlite.writing import prepare, store
from millstream.log.port import Append

PAIRS = ("left", "right")


def open_log(folder: str | Path) -> SqliteLog:
    url = f"sqlite:{folder}/log.db"
    return SqliteLog(url, SqliteSchemas(url))


def rows(begin: int, count: int) -> pa.RecordBatch:
    return pa.record_batch(
        {"n": pa.array(range(begin, begin + count), pa.int64()), "text": pa.array(["x" * 50] * count)}
    )


def say(*words: object) -> None:
    print(*words, flush=True)


def two_topics(log: SqliteLog, split: str) -> None:
    """Commits the same numbers to two topics for ever, from where the split stands."""
    writer = log.writer(split)
    at = int(writer.position or 0)
    while True:
        appends = [Append(topic, 0, 1, rows(at, 1 + at % 700)) for topic in PAIRS]
        at += 1 + at % 700
        writer.commit(appends, str(at))
        say(at)


def produced(log: SqliteLog, split: str) -> None:
    """Writes everything of a transaction, and hangs before COMMIT."""
    with log._write() as con:
        store(con, prepare([Append(topic, 0, 1, rows(0, 10)) for topic in PAIRS]), log._layouts)
        con.execute("insert into split values (?, 7, '10') on conflict(name) do update set position = '10'", (split,))
        say("open")
        time.sleep(600)


def committed(log: SqliteLog, split: str) -> None:
    """Commits, and dies before it can remember that it did."""
    writer = log.writer(split)
    at = int(writer.position or 0)
    writer.commit([Append(topic, 0, 1, rows(at, 10)) for topic in PAIRS], str(at + 10))
    os.kill(os.getpid(), signal.SIGKILL)


def slow(log: SqliteLog, split: str) -> None:
    """Owns the split, waits to be told, then commits as if nothing had happened."""
    writer = log.writer(split)
    at = int(writer.position or 0)
    say("mine", at)
    sys.stdin.readline()
    try:
        writer.commit([Append(topic, 0, 1, rows(at, 10)) for topic in PAIRS], str(at + 10))
        say("committed")
    except Fenced as error:
        say("fenced", error)


def lock(log: SqliteLog, split: str) -> None:
    """Holds the write lock, inside a transaction."""
    with log._write() as con:
        con.execute("update part set high = high")
        say("held")
        time.sleep(600)


def busy(log: SqliteLog, wait_s: str) -> None:
    """Tries to write, and says how it went."""
    log.wait_s = float(wait_s)
    try:
        say("wrote", log.append([Append("left", 0, 1, rows(0, 1))])[0].end)
    except Busy as error:
        say("busy", error)


def silent(log: SqliteLog, split: str) -> None:
    """Commits, and dies before the datagram."""
    log._bell.ring = lambda topics: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    say("ready")
    sys.stdin.readline()
    log.append([Append("left", 0, 1, rows(0, 1))])


def many(log: SqliteLog, split: str) -> None:
    """Appends its own numbers, 1,000 a batch, to every partition of `left` in turn."""
    base = int(split) * 1_000_000
    for batch in range(40):
        log.append([Append("left", batch % 3, 1, rows(base + batch * 1_000, 1_000))])
    say("done")


if __name__ == "__main__":
    role, folder, word = sys.argv[1:4]
    globals()[role](open_log(folder), word)
