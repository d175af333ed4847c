"""What clients of the simulator send: a thing from a small number, and its forms on the way (columns of the log, JSON,
lines of a file).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

import millstream as ms
from millstream.base.event import EVENT_ID, TIMESTAMP
from millstream.declare.features import agg, features
from millstream.declare.source import Source
from millstream.declare.stream import Stream, stream
from millstream.features.define import define
from millstream.ingest.cast import with_arrival
from millstream.ingest.port import Batch, Standing
from millstream.log.partition import partition
from millstream.log.port import RAW

SECOND = 1_000_000
DAY = 86_400 * SECOND
YEAR = 365 * DAY
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T0 = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * SECOND
PARTITIONS = 2
WINDOWS = (10, 4, 25)
"""Seconds; the first is what a schedule begins with."""
AHEAD, LATENESS = 60 * SECOND, 5 * SECOND
CODES = 7 * 12 * 8 * 16
RAW_KIND, LOOSE_KIND = 0, 1
"""Kinds of what is wrong: no JSON at all, and a required field that is null. All others are good."""


class Thing(ms.Event):
    """A thing has happened."""

    who: str
    n: int
    known: ms.ArrivalTime | None = None
    ts: ms.EventTime


class LooseThing(ms.Event):
    """The same by a writer who takes the number for optional."""

    who: str
    n: int | None
    known: ms.ArrivalTime | None = None
    tag: str | None = None
    ts: ms.EventTime


def things(window: int) -> Stream[Any]:
    return stream(
        "things",
        Thing,
        key="who",
        partitions=PARTITIONS,
        dedupe_within=f"{window}s",
        lateness="5s",
        retention="20s",
        ahead="60s",
    )


STREAMS = {window: things(window) for window in WINDOWS}
FEED = Source(name="feed", into=STREAMS[WINDOWS[0]], reader=ms.read.files("feed.jsonl"))
HOUR = 3600 * SECOND
_COUNTED = features(
    "counted",
    STREAMS[WINDOWS[0]],
    key="who",
    windows=["1h"],
    aggregates={"c": agg.count(), "s": agg.sum("n"), "l": agg.last("n")},
)
COUNT = replace(define(_COUNTED, {}), windows_us=(HOUR, None))
"""Over an hour, and over all there ever was."""


def _names() -> list[list[str]]:
    """Two keys of each partition."""
    found: list[list[str]] = [[] for _ in range(PARTITIONS)]
    for name in "abcdefghijklmnop":
        parts = partition(pa.record_batch({"who": pa.array([name])}), ("who",), PARTITIONS)
        found[next(p for p, part in enumerate(parts) if part is not None)].append(name)
    return [names[:2] for names in found]


NAMES = _names()


@dataclass(frozen=True)
class Sent:
    """What a client says.

    Attributes:
        number: Of the thing; no two have one.
        known: The arrival time that comes along; None: the log's stamp.
    """

    number: int
    who: str
    id: str | None
    happened: int
    known: int | None
    kind: int

    @property
    def good(self) -> bool:
        return self.kind not in (RAW_KIND, LOOSE_KIND)

    def json(self) -> bytes:
        if self.kind == RAW_KIND:
            return b"?"
        said = {
            "who": self.who,
            "n": self.number if self.good else None,
            "ts": _moment(self.happened).isoformat(),
            "event_id": self.id,
        }
        return json.dumps(said | ({} if self.known is None else {"known": _moment(self.known).isoformat()})).encode()


def made(number: int, code: int, part: int, now: int) -> Sent:
    """Of a code: an id of a few (0 is none, 1 the empty one), how the arrival lies from now, what is wrong, and how the
    event time lies from the arrival.
    """
    name, shift, kind, far = code % 7, code // 7 % 12, code // 84 % 8, code // 672 % 16
    # Half live; else up to a minute of history, or a clock that runs ahead.
    known = None if shift < 6 else now + (-3, -8, -11, -30, -60, 9)[shift - 6] * SECOND
    known = {9: T0 + 73 * YEAR, 10: T0 - 55 * YEAR, 14: now + 62 * SECOND}.get(far, known)
    base = now if known is None or far in (9, 14) else known
    happened = {
        6: base - 7 * SECOND,
        7: base - HOUR,
        8: T0 + 73 * YEAR,
        11: now + 66 * SECOND,
        12: -200 * DAY,
        13: base - 2 * DAY,
        15: now + 55 * SECOND,
    }.get(far, base)
    return Sent(
        number, NAMES[part][code % 2], None if name == 0 else "" if name == 1 else f"id{name}", happened, known, kind
    )


def _moment(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def columns(sent: Sequence[Sent]) -> dict[str, pa.Array]:
    """The payload."""
    return {
        "who": pa.array([one.who for one in sent]),
        "n": pa.array([one.number if one.good else None for one in sent], pa.int64()),
        "known": pa.array([one.known for one in sent], TIMESTAMP),
        "ts": pa.array([one.happened for one in sent], TIMESTAMP),
    }


def raw(sent: Sequence[Sent]) -> pa.RecordBatch:
    """Records that no reader could read; the number is in them, so that they are found again."""
    return pa.record_batch(
        [
            pa.array([b'{"n": %d}' % one.number for one in sent], pa.binary()),
            pa.array(["no JSON"] * len(sent), pa.string()),
            pa.array([f"feed:{one.number}" for one in sent], pa.string()),
        ],
        schema=RAW,
    )


class Feed:
    """The source port over a list that grows: a file of one thing a line."""

    def __init__(self, lines: Sequence[Sent]) -> None:
        self._lines = lines

    def splits(self) -> list[str]:
        return ["feed"]

    def look(self, positions: Mapping[str, str]) -> list[Standing]:
        return [Standing("feed", positions.get("feed"))]

    def read(self, split: str, position: str | None, max_rows: int = 50_000) -> Iterator[Batch]:
        at = int(position or 0)
        while at < len(self._lines):
            yield _batch(self._lines[at : at + max_rows], at)
            at += max_rows

    def size(self, split: str, position: str | None) -> None:
        return None

    def locate(self, split: str, event_id: str) -> str | None:
        return f"feed:{event_id}"


def _batch(lines: Sequence[Sent], start: int) -> Batch:
    good = [at for at, one in enumerate(lines) if one.good]
    fine = [lines[at] for at in good]
    rows = pa.record_batch({**columns(fine), EVENT_ID: pa.array([one.id for one in fine], pa.string())})
    bad = raw([one for one in lines if not one.good])
    return Batch(with_arrival(rows, Thing.__schema__), bad, _after(good, len(lines), start))


def _after(good: Sequence[int], lines: int, start: int) -> Callable[[int], tuple[int, str]]:
    def after(rows: int) -> tuple[int, str]:
        taken = lines if rows == len(good) else good[rows]
        return taken - rows, str(start + taken)

    return after
