"""Small worlds that aim at the edges, and the readers of each held against the oracle.

A world is made from a seed: a definition, events and look-ups of some keys. Events lie on, one microsecond before and
after the ends of some look-up's windows, slots, hours and days; they arrive at once, late, early, or around the
look-up; ties and odd values abound.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from oracle import DAY, HOUR, MINUTE, Row, Stored, definition, hop, naive, readings, same, spine, start, table

from millstream.base.errors import Conflict
from millstream.engines.sqlite.online import SqliteOnline
from millstream.features import events
from millstream.features.definition import Definition
from millstream.features.fill import fill
from millstream.features.keys import encode
from millstream.features.offline import Mode, offline
from millstream.features.online import HEAD_US
from millstream.features.port import Apply, OnlineStore, Reader
from millstream.features.window import horizon_us

T0 = 19_700 * DAY
_NAMES, _NUMBERS = ["a", "b", "", "5", "é:ü", *(f"k{n}" for n in range(60))], [5, -7, 0, 2**40, *range(100, 160)]
KEYS: dict[tuple[str, ...], list[tuple[Any, ...]]] = {
    ("k",): [(k,) for k in _NAMES],
    ("i",): [(i,) for i in _NUMBERS],
    ("k", "i"): [("a", 5), ("a1", 5), ("a", 15), ("5", 5), *zip(_NAMES, _NUMBERS, strict=False)],
}
WINDOWS = [("30m", "3h", "7d", "14d"), ("30m", "7d"), ("3h",), ("14d",), ("7d", "12h"), (), ("5m", "1d", "11h")]
WHERE = [None, None, "v > 0", "n is null or v < 100", "k = 'a' and not (n > 3)"]
FLOATS = [
    None,
    float("nan"),
    float("inf"),
    -float("inf"),
    -0.0,
    0.0,
    0.1,
    -0.1,
    8.999999999e9,
    5e-7,
    -5e-7,
    2.5e-6,
    4e-7,
    0.25,
]
WHOLES = [None, 0, 1, -1, 3, 9 * 10**15 - 1]
LARGE = [1e12, -1e12, 9e9, 1e300], [9 * 10**15, -(9 * 10**15), 2**62 + 1, -(2**53) - 1]
"""No sum holds them, so one leaves its windows without an answer."""
CHUNK = 150
"""Rows worked on at once, so that the keys of most worlds are dealt into chunks."""
SOURCE = "readings"
APP = f"millstream/{'0' * 32}/"


@dataclass(frozen=True)
class World:
    """Rows in the order of their arrival, and look-ups in the order of their moments."""

    seed: int
    definition: Definition
    rows: list[Row]
    looks: list[tuple[tuple[Any, ...], int]]

    @cached_property
    def by_key(self) -> dict[tuple[Any, ...], list[Row]]:
        found: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.rows:
            found.setdefault(tuple(getattr(row, c) for c in self.definition.key), []).append(row)
        return found


def world(
    seed: int, *, keys: int = 30, events: int = 14, looks: int = 5, windows: Sequence[str] | None = None
) -> World:
    """The world of a seed."""
    chance = random.Random(seed)
    key = chance.choice([("k",), ("k",), ("i",), ("k", "i")])
    d = definition(chance.choice(WINDOWS) if windows is None else windows, key, chance.choice(WHERE))
    moments_of_all = [_moment(chance) for _ in range(2 * looks)]
    asked: list[tuple[tuple[Any, ...], int]] = []
    rows: list[Row] = []
    for name in chance.sample(KEYS[key], min(keys, len(KEYS[key]))):
        moments = chance.sample(moments_of_all, looks)
        asked += [(name, t) for t in moments]
        times: list[int] = []
        for _ in range(events):
            t = chance.choice(times) if times and chance.random() < 0.2 else _near(chance, chance.choice(moments), d)
            times.append(t)
            rows.append(_row(chance, dict(zip(key, name, strict=True)), t, chance.choice(moments)))
    asked += [
        (
            tuple(
                None if c == chance.choice(key) or len(key) == 1 else n for c, n in zip(key, KEYS[key][0], strict=True)
            ),
            T0,
        ),
        (_other(key), T0),
    ]
    rows += [
        replace(chance.choice(rows), **dict[str, Any]({chance.choice(key): None})),
        replace(chance.choice(rows), t=-chance.randrange(2, 10**6)),
    ]
    rows.sort(key=lambda r: r.arrived)
    at = [0, 0, 0]
    placed = []
    for row in rows:
        p = chance.randrange(3)
        placed.append(replace(row, partition=p, offset=at[p]))
        at[p] += chance.choice([1, 1, 1, 3])  # holes: dead letters and duplicates
    return World(seed, d, placed, sorted(asked, key=lambda look: look[1]))


def _other(key: Sequence[str]) -> tuple[Any, ...]:
    return tuple("nobody" if c == "k" else 99 for c in key)


def _moment(chance: random.Random) -> int:
    edge = T0 + chance.choice(
        [0, 0, 5 * MINUTE, 10 * MINUTE, HOUR, 7 * HOUR, 23 * HOUR, DAY, chance.randrange(2 * DAY)]
    )
    return edge + chance.choice([-1, 0, 1, 7, 150_000_000, chance.randrange(5 * MINUTE)])


def _near(chance: random.Random, t: int, d: Definition) -> int:
    """An event's time, where it matters to a look-up at t."""
    w = chance.choice(d.windows_us)
    s, h = (t - 15 * DAY, DAY) if w is None else (start(t, w), hop(w))
    aims = [
        s,
        s,
        t,
        t,
        s + h,
        s - h,
        t // (5 * MINUTE) * 5 * MINUTE,
        t // HOUR * HOUR,
        t // DAY * DAY,
        (s // DAY + 1) * DAY,
        (s // HOUR + 1) * HOUR,
        t - chance.randrange(15 * MINUTE),
        s + chance.randrange(t - s + 1),
        t - chance.randrange(20 * DAY),
    ]
    return chance.choice(aims) + chance.choice([-1, -1, 0, 0, 1, -5 * MINUTE, 5 * MINUTE])


def _row(chance: random.Random, key: dict[str, Any], t: int, look: int) -> Row:
    around = chance.choice(
        [look, t + 5 * MINUTE, t // HOUR * HOUR + HOUR, look // (5 * MINUTE) * 5 * MINUTE, look // DAY * DAY]
    ) + chance.choice([-1, 0, 1])
    arrived = chance.choice(
        [t, t, t + chance.randrange(30_000_000), t + 15 * MINUTE, t + 3 * DAY, t - 5 * MINUTE, around, around]
    )
    v = chance.choice([*FLOATS, chance.uniform(-1e6, 1e6), round(chance.uniform(-100, 100), 2)])
    n = chance.choice([*WHOLES, chance.randrange(-100, 100)])
    if chance.random() < 0.02:
        v, n = chance.choice(LARGE[0]), chance.choice(LARGE[1])
    return Row(
        key.get("k", chance.choice([None, "a", "b"])),
        key.get("i", chance.choice([None, 1, 2])),
        v,
        n,
        t,
        max(0, arrived),
    )


# -- readers, each as the answers to the look-ups


def read_offline(w: World, sql: Any, mode: Mode, chunk_rows: int = CHUNK) -> list[dict[str, Any]]:
    return _asked(
        offline(
            sql,
            Stored(readings=table(w.rows)),
            spine(w.looks, w.definition.key),
            [(w.definition, w.definition.key, "p")],
            mode,
            chunk_rows=chunk_rows,
        )
    )


def read_as_of(w: World, sql: Any, positions: Sequence[dict[int, int]]) -> list[dict[str, Any]]:
    texts = [json.dumps({SOURCE: {str(p): n for p, n in at.items()}}) for at in positions]
    asked = spine(w.looks, w.definition.key, texts)
    return _asked(
        offline(sql, Stored(readings=table(w.rows)), asked, [(w.definition, w.definition.key, "p")], as_of="as_of")
    )


def _asked(reader: pa.RecordBatchReader) -> list[dict[str, Any]]:
    rows = sorted(reader.read_all().to_pylist(), key=lambda r: r["_row"])
    return [{name.removeprefix("p__"): value for name, value in row.items() if name != "_row"} for row in rows]


@dataclass
class Online:
    """A store fed by the log as time goes by: batches of any size, replays, expiries."""

    world: World
    store: OnlineStore
    chance: random.Random

    def __post_init__(self) -> None:
        self.pending = {p: [r for r in self.world.rows if r.partition == p] for p in range(3)}
        self.at: dict[int, int] = {}
        self.applied: list[Row] = []
        self.clock = 0
        self.last: Apply | None = None
        self.reader: Reader | None = None

    def open(self) -> None:
        self.store.create(self.world.definition)
        self.store.activate(self.world.definition.generation, {}, 0)

    def filled(self, sql: Any, until_us: int) -> None:
        """Filled from a table that holds what had arrived before a moment, of some partitions only half of it."""
        for p, rows in self.pending.items():
            cut = int(sum(r.arrived < until_us for r in rows) * self.chance.choice([0.5, 1, 1, 1]))
            self.applied += rows[:cut]
            self.at[p] = rows[cut - 1].offset + 1 if cut else 0
            self.pending[p] = rows[cut:]
        self.clock = max((r.arrived for r in self.applied), default=0)
        lake: Any = Stored({APP + str(p): n for p, n in self.at.items()}, readings=table(self.applied))
        fill(sql, lake, self.store, self.world.definition, readings, chunk_rows=self.chance.choice([10, 10**6]))

    def feed(self, until_us: int) -> None:
        """Everything that had arrived before a moment, in pieces; now and then one of them twice, and an expiry."""
        while ready := [p for p, rows in self.pending.items() if rows and rows[0].arrived < until_us]:
            p = self.chance.choice(ready)
            rows = [r for r in self.pending[p][: self.chance.randrange(1, 60)] if r.arrived < until_us]
            self.pending[p] = self.pending[p][len(rows) :]
            self._apply(p, rows)
            if self.last is not None and self.chance.random() < 0.2:
                self._again(self.last)
            if self.chance.random() < 0.3:
                self.store.expire(self.world.definition)

    def _apply(self, p: int, rows: Sequence[Row]) -> None:
        d, begin, end = self.world.definition, self.at.get(p, 0), rows[-1].offset + 1
        arrived = max(r.arrived for r in rows)
        stands = self.store.applied(d.generation)
        assert stands is not None
        self.last = Apply(
            d,
            p,
            begin,
            end,
            arrived,
            events.events_of(d, table(rows).combine_chunks().to_batches()[0], p),
            stands.ruling,
        )
        self.store.apply([self.last])
        self.at[p], self.clock, self.applied = end, max(self.clock, arrived), [*self.applied, *rows]

    def _again(self, one: Apply) -> None:
        try:
            self.store.apply([one])
        except Conflict:
            return
        raise AssertionError("a batch was applied twice")

    def look(self, key: tuple[Any, ...], t: int) -> dict[str, Any]:
        (found,) = self.store.lookup(self.world.definition, [encode(key)], [t])
        assert found.exact == (t >= horizon_us(self.clock, HEAD_US)) and dict(found.offsets) == self.at, (
            found.exact,
            found.offsets,
            self.at,
        )
        reasons = {name for name, value in found.values.items() if value is None}
        assert set(found.reasons) == reasons
        return dict(found.values)

    def served(self, key: tuple[Any, ...], t: int) -> dict[str, Any]:
        """The same by a reader that lives as long as the store, and keeps what it may."""
        d = self.world.definition
        self.reader = self.reader or self.store.reader([(d, d.key, "p")])
        found = self.reader(dict(zip(d.key, key, strict=True)), t)
        assert bool(found.inexact) == (t < horizon_us(self.clock, HEAD_US)) and dict(found.offsets) == {SOURCE: self.at}
        return {name.removeprefix("p__"): value for name, value in found.values.items()}


def expected(w: World, look: tuple[tuple[Any, ...], int], seen: Callable[[Row], bool]) -> dict[str, Any]:
    key, t = look
    rows = w.by_key.get(key, [])
    return {
        name: value
        for window in w.definition.windows_us
        for name, value in naive(w.definition, rows, key, t, window, seen).items()
    }


def known_before(t: int) -> Callable[[Row], bool]:
    return lambda r: max(r.arrived, r.t) < t


def differences(w: World, reader: str, wanted: Iterable[dict[str, Any]], found: Iterable[dict[str, Any]]) -> list[str]:
    return [
        f"seed {w.seed}, {reader}, look-up {i} {w.looks[i]}: {name} is {got.get(name)!r} and should be {value!r}"
        for i, (want, got) in enumerate(zip(wanted, found, strict=True))
        for name, value in want.items()
        if not same(got.get(name, "absent"), value)
    ]


# -- checks: what differs from the oracle


def check_event(w: World, sql: Any, folder: Path) -> list[str]:
    return differences(
        w,
        "offline, event",
        (expected(w, look, lambda r: True) for look in w.looks),
        read_offline(w, sql, "event", 10**6),
    )


def check_known(w: World, sql: Any, folder: Path) -> list[str]:
    wanted = [expected(w, look, known_before(look[1])) for look in w.looks]
    return differences(w, "offline, known", wanted, read_offline(w, sql, "known"))


def embedded(folder: Path, name: str) -> OnlineStore:
    """A new store."""
    return SqliteOnline(str(folder / f"{name}.db"))


def check_online(
    w: World,
    sql: Any,
    folder: Path,
    until_us: int | None = None,
    *,
    store_of: Callable[[Path, str], OnlineStore] = embedded,
) -> list[str]:
    """Online as time goes by; then, at the positions each look-up had seen, offline again."""
    chance = random.Random(w.seed)
    store = store_of(folder, f"online-{w.seed}-{until_us}-{time.monotonic_ns()}")
    online = Online(w, store, chance)
    try:
        if until_us is None:
            online.open()
        else:
            online.filled(sql, until_us)
        wanted, found, served, positions, looks = [], [], [], [], []

        def turn(key: tuple[Any, ...], t: int) -> None:
            store.expire(w.definition)
            back, horizon = (
                t - chance.choice([0, 0, 1, 4 * MINUTE, HEAD_US - MINUTE]),
                horizon_us(online.clock, HEAD_US),
            )
            if back < horizon:
                back = horizon + chance.choice([0, 1, chance.randrange(10 * MINUTE), chance.randrange(HEAD_US)])
            if back <= max(t, online.clock):
                look(key, back)

        def look(key: tuple[Any, ...], t: int) -> None:
            seen = {(r.partition, r.offset) for r in online.applied}
            looks.append((key, t))
            wanted.append(expected(w, looks[-1], lambda r: (r.partition, r.offset) in seen))
            found.append(online.look(key, t))
            positions.append(dict(online.at))
            served.append(online.served(key, t))

        if until_us is not None:  # at once, where the head counts
            for key in {key for key, _ in w.looks}:
                for back in (10 * MINUTE, HEAD_US):
                    look(key, max(horizon_us(online.clock, HEAD_US), online.clock - chance.randrange(back)))
        for key, t in w.looks:
            # A key asked for again and again
            for soon in sorted(chance.randrange(HOUR) for _ in range(chance.choice([0, 0, 1, 3]))):
                online.feed(t - HOUR + soon)
                turn(key, t - HOUR + soon)
            online.feed(t)
            turn(key, t)
    finally:
        store.close()
    asked = replace(w, looks=looks)
    name = "online" if until_us is None else f"filled at {until_us}"
    bad = differences(asked, name, wanted, found) + differences(asked, f"{name}, served", wanted, served)
    return bad + (
        differences(asked, "offline, as of positions", wanted, read_as_of(asked, sql, positions)) if looks else []
    )


def check_filled(
    w: World, sql: Any, folder: Path, *, store_of: Callable[[Path, str], OnlineStore] = embedded
) -> list[str]:
    return check_online(w, sql, folder, random.Random(w.seed).choice(w.looks)[1], store_of=store_of)


CHECKS: dict[str, Callable[[World, Any, Path], list[str]]] = {
    "event": check_event,
    "known": check_known,
    "online": check_online,
    "filled": check_filled,
}
