"""November and December as live traffic: events keep coming in event time, and every scheduled flight asks for a
prediction.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any

from millstream.client import Client, Receipt
from millstream.declare.endpoint import Endpoint
from millstream.declare.event import Event
from millstream.declare.stream import Stream

STEP = timedelta(hours=1)
"""While an hour's requests are answered the next hour's events are sent, and the online store keeps moments exact for
two (features.online.HEAD_US).
"""
ASKERS = 4
TOGETHER = 12
TRACED_AFTER = timedelta(hours=12)


@dataclass
class Traffic:
    """What was sent and answered.

    Attributes:
        latencies: Seconds a request, as the asker saw them.
        traced: A decision of the first day: its short windows hold what came live, its long ones what came from files.
    """

    events: int = 0
    requests: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    arms: dict[str, int] = field(default_factory=dict)
    traced: str = ""

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def replay(
    url: str,
    folder: Path,
    streams: dict[str, Stream[Any]],
    endpoint: Endpoint[Any, Any],
    start: datetime,
    end: datetime,
    progress: Callable[[datetime, Traffic], None],
) -> Traffic:
    """Send what became known in each hour, then ask for each flight that was scheduled in it, some at a time in one
    request.

    A look-up counts only what was known before its own moment, so events of the same hour may be sent first. Each
    request carries the receipts of what was sent before it, and is answered when the features have applied them.
    """
    spine = endpoint.spine
    assert spine is not None, "the endpoint is over models"
    rows = {name: _Rows(folder / f"{name}.csv", stream.event, start, end) for name, stream in streams.items()}
    done, begun, moment = Traffic(), time.perf_counter(), start
    with Client(url, history=True) as client, ThreadPoolExecutor(2 * ASKERS) as pool:
        asked: Iterator[list[tuple[float, Any]]] = iter(())
        sent: dict[tuple[str, int], Receipt] = {}  # the newest of each stream and partition: an hour may bring nothing
        while moment < end:
            moment += STEP
            due = {name: events for name in rows if (events := rows[name].before(moment))}
            for receipt in pool.map(client.send, [streams[name] for name in due], due.values()):
                sent |= {(receipt.stream, p): Receipt(receipt.stream, {p: end}) for p, end in receipt.offsets.items()}
            receipts = list(sent.values())
            _count(done, asked, moment - STEP - start)
            done.events += sum(map(len, due.values()))
            asks = due.get(spine.name, [])
            asked = pool.map(
                _ask, repeat(client), repeat(endpoint), [asks[i::ASKERS] for i in range(ASKERS)], repeat(receipts)
            )
            done.seconds = time.perf_counter() - begun
            progress(moment, done)
        _count(done, asked, end - start)
    done.seconds = time.perf_counter() - begun
    progress(end, done)
    return done


def _count(done: Traffic, asked: Iterator[list[tuple[float, Any]]], since: timedelta) -> None:
    """Wait for the answers of a step."""
    for answers in asked:
        for seconds, decision in answers:
            done.latencies.append(seconds)
            done.arms[decision.arm or "default"] = done.arms.get(decision.arm or "default", 0) + 1
            if not done.traced and since > TRACED_AFTER:
                done.traced = decision.decision_id
        done.requests += len(answers)


def _ask(
    client: Client, endpoint: Endpoint[Any, Any], events: list[Event], receipts: list[Any]
) -> list[tuple[float, Any]]:
    """Seconds and decision of each; several in one body share its seconds."""
    answers = []
    for start in range(0, len(events), TOGETHER):
        begun = time.perf_counter()
        decisions = client.predict_many(endpoint, events[start : start + TOGETHER], after=receipts)
        answers += [(time.perf_counter() - begun, decision) for decision in decisions]
    return answers


class _Rows:
    """A file's events from `start` to `end`, as objects of the stream's class, in order of event time."""

    def __init__(self, path: Path, event: type[Event], start: datetime, end: datetime) -> None:
        self.event, self.rows = event, self._read(path, start, end)
        self.waiting = next(self.rows, None)

    def before(self, moment: datetime) -> list[Event]:
        found = []
        while self.waiting is not None and self.waiting.ts < moment:  # type: ignore[attr-defined]
            found.append(self.waiting)
            self.waiting = next(self.rows, None)
        return found

    def _read(self, path: Path, start: datetime, end: datetime) -> Iterator[Event]:
        casts = {f.name: {"int64": int, "float64": float}.get(f.kind, str) for f in self.event.__schema__.fields}
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                moment = datetime.fromisoformat(row["ts"]).astimezone(UTC)
                if start <= moment < end:
                    values: dict[str, Any] = {
                        name: cast(row[name]) if row[name] != "" else None
                        for name, cast in casts.items()
                        if name != "ts"
                    }
                    yield self.event(**values | {"ts": moment})
