"""A log with everything that can be wrong in it, a lake and an online store; as a module, an updater or a filler that
dies where it is told.
"""

from __future__ import annotations

import functools
import operator
import os
import random
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from oracle import HOUR, MINUTE, PAYLOAD, Reading, Row, definition, naive, readings, same

import millstream as ms
from millstream.base.event import ARRIVED_AT, EVENT_ID, TIMESTAMP
from millstream.base.registry import engine
from millstream.declare.collect import collecting
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.online import SqliteOnline
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.features.definition import Definition
from millstream.features.fill import fill
from millstream.features.keys import encode
from millstream.features.updater import Applied, Updater
from millstream.lake.lake import Lake
from millstream.lake.sink import Sink
from millstream.log.envelope import publish, raw_appends, topic_of
from millstream.log.port import RAW

T0 = 1_700_000_000_000_000 // HOUR * HOUR
KEYS = ["a", "b", "c", None]

with collecting():
    once = ms.stream("readings", Reading, key="k", partitions=3, dedupe="event_id", dedupe_within="2h")


@dataclass
class World:
    """Time passes by `send`: each call is a minute later."""

    folder: Path
    stream: Any = once
    chance: random.Random = field(default_factory=lambda: random.Random(2))
    now: int = T0

    def __post_init__(self) -> None:
        url = f"sqlite:{self.folder}/log.db"
        self.schemas = SqliteSchemas(url)
        self.log = SqliteLog(url, self.schemas)
        self.binding = topic_of(self.log, self.schemas, self.stream)
        self.lake = Lake(engine("files", "file")(str(self.folder / "lake")))
        self.sql = engine("sql", "duckdb")("duckdb:?threads=2", self.folder / "scratch")
        self.store = SqliteOnline(f"sqlite:{self.folder}/online.db")

    def close(self) -> None:
        self.sql.close()
        self.store.close()
        self.log.close()

    def send(self, n: int) -> None:
        """Events prompt, late and from the future, some sent twice, now and again one that nobody can read."""
        recent = [f"e{self.now // MINUTE - self.chance.randrange(3)}-{i}" for i in range(n)]
        times = [
            self.now
            - self.chance.choice([0, 1, self.chance.randrange(HOUR), self.chance.randrange(40 * HOUR), -5 * MINUTE])
            for _ in range(n)
        ]
        columns = {
            "k": [self.chance.choice(KEYS) for _ in range(n)],
            "i": [self.chance.choice([None, 1, 2]) for _ in range(n)],
            "v": [self.chance.choice([None, float("nan"), 0.1, -0.0, -3.5, 1e12]) for _ in range(n)],
            "n": [self.chance.choice([None, 1, -7, 2**60]) for _ in range(n)],
            "ts": times,
        }
        rows = {name: pa.array(values, PAYLOAD.field(name).type, from_pandas=False) for name, values in columns.items()}
        rows |= {EVENT_ID: pa.array(self.chance.choices(recent, k=n)), ARRIVED_AT: pa.array([self.now] * n, TIMESTAMP)}
        publish(self.log, self.binding, pa.RecordBatch.from_pydict(rows))
        if self.chance.random() < 0.3:
            # Without a time: it arrives years after what is replayed here
            bad = {"error": "cut", "raw": b"{", "origin": f"file:{self.now}"}
            self.log.append(
                raw_appends(
                    self.binding, pa.RecordBatch.from_pydict({f.name: pa.array([bad.get(f.name)], f.type) for f in RAW})
                )
            )
        self.now += MINUTE

    def land(self) -> Any:
        sink = Sink(self.log, self.schemas, self.lake, self.stream)
        try:
            return sink.drain()
        finally:
            sink.close()

    def updater(self, *definitions: Definition, **more: Any) -> Updater:
        return Updater(
            self.log, self.schemas, self.store, definitions, self.stream, **{"lake": self.lake, "max_rows": 40, **more}
        )

    def fill(self, d: Definition) -> int:
        return fill(self.sql, self.lake, self.store, d, self.stream, chunk_rows=60)

    def rows(self) -> list[Row]:
        """What the stream's table holds."""
        found = self.sql.query(
            "select k, i, v, n, epoch_us(ts) as t, epoch_us(_arrived_at) as arrived, _partition, _offset from t",
            {"t": self.lake.table(self.stream.name).snapshot()},
        ).read_all()
        return [Row(*row.values()) for row in found.to_pylist()]

    def differences(self, *definitions: Definition) -> list[str]:
        """The store beside the oracle over all that has landed."""
        rows, bad = self.rows(), []
        for d in definitions:
            applied = self.store.applied(d.generation)
            assert applied is not None
            ends = {p: end.high for p, end in self.log.ends(self.stream.name).items() if end.high}
            assert dict(applied.offsets) == ends, "the definition has not seen everything"
            for key in [("a",), ("b",), ("c",), ("d",)]:
                for t in (self.now - 1, self.now, self.now + HOUR):
                    (found,) = self.store.lookup(d, [encode(key)], [t])
                    assert found.exact
                    want = {n: v for w in d.windows_us for n, v in naive(d, rows, key, t, w, lambda r: True).items()}
                    bad += [
                        f"{key} at {t}: {n} is {found.values[n]!r} and should be {v!r}"
                        for n, v in want.items()
                        if not same(found.values[n], v)
                    ]
        return bad


def one(name: str = "all", where: str | None = None) -> Definition:
    """A definition of its own generation."""
    from dataclasses import replace

    made = definition(("30m", "7d"), where=where, source=readings)
    return replace(made, name=name, generation=name.encode().hex()[:8] + made.generation[8:]) if name != "all" else made


def across_restarts(world: World) -> Applied:
    """Everything sent is counted as the table holds it; updater and sink begin anew at different places. What was
    applied in all.
    """
    d, strict = one(), one("strict", where="v > 0")
    done, landed = Applied(), list[Any]()
    updater = world.updater(d, strict)
    for turn in range(9):
        world.send(30)
        if turn % 3 == 1:
            landed.append(world.land())
        done += updater.drain() if turn % 3 else updater.step()
        if turn % 4 == 3:  # another process takes over; it learns ids from the lake, or from the log alone
            updater.close()
            updater = world.updater(d, strict, lake=world.lake if turn > 4 else None)
    done += updater.drain()
    updater.close()
    sunk = functools.reduce(operator.add, [*landed, world.land()])
    assert world.differences(d, strict) == []
    assert sunk.duplicates > 15 and sunk.dead > 0, "the fixture must have something to leave out"
    assert (
        done.conflicts == 0
        and done.dead == sunk.dead
        and done.records == sunk.records
        and done.duplicates == sunk.duplicates
    )
    return done


def main(folder: str, what: str, after: str) -> None:
    """Update or fill, and die in the transaction, or once it is committed, of the given write."""
    world, left = World(Path(folder)), int(after.lstrip("-"))
    early = after.startswith("-")
    plain = SqliteOnline._transaction

    from contextlib import contextmanager

    @contextmanager
    def counted(self: SqliteOnline) -> Any:
        nonlocal left
        left -= 1
        with plain(self) as run:
            yield run
            if left <= 0 and early:
                os.kill(os.getpid(), signal.SIGKILL)
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    SqliteOnline._transaction = counted  # type: ignore[method-assign]
    import millstream.engines.sqlite.online as module

    module._ROWS = 7
    if what == "fill":
        world.fill(one())
    else:
        world.updater(one(), max_rows=25).drain()
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
