"""SQLite, as the online store. `SqliteOnline("sqlite:PATH")` or a path.

A generation has two tables: `tile_<generation>` (key, level, slot, states) with every event, and `head_<generation>`
(key, time, tie, states) with a copy of the events since the horizon, one row each. A look-up sums the tiles of the
cover and the head's rows before the moment. What it read of the past it keeps for the next one of that key: no event
older than `settled` comes within an era, so a reader that sees another era forgets what it kept. SQLite has one writer
at a time, and the position is compared in its transaction, so the partitions of a topic share a tile: that reads a
fourth of the rows that one tile a partition would.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from millstream.base.errors import Busy, ConfigError, Conflict, MillstreamError, NotFound
from millstream.base.storage import REFUSED, refused
from millstream.engines.sqlite.database import error_of
from millstream.engines.sqlite.lookups import Query, Run, SqliteLookups, look_up, stand, standing
from millstream.engines.sqlite.opening import create, reading, writable
from millstream.features.definition import Definition
from millstream.features.lift import Lifted
from millstream.features.online import HEAD_US, SETTLED_US, Answers, Bound, Past, Use
from millstream.features.port import Applied, Apply, Lookup
from millstream.features.state import stored
from millstream.features.window import SLOT_US, horizon_us, reach

FORMAT = 1
_STEP_US = 3_600_000_000
"""How far the horizon moves between two expiries: each scans the tables."""
_ROWS = 20_000
_NEXT = "_next"
"""What follows the name of a generation that is filled beside the one that answers."""
_TABLES = """
create table if not exists generation (generation text primary key, name text not null, active integer not null,
  clock integer not null, expired integer not null, filling integer not null, era integer not null,
  settled integer not null, ruling text not null default '') strict;
create table if not exists position (generation text, partition integer, next integer not null,
  primary key (generation, partition)) strict, without rowid;
create table if not exists change (id integer primary key check (id = 1), n integer not null) strict;
insert or ignore into change values (1, 0);
"""


class SqliteOnline:
    """The online store on SQLite, in WAL mode: one writer at a time, readers on snapshots.

    `synchronous=normal`: a power cut may take the last commits back, state and position together, and the log brings
    them again.
    """

    def __init__(self, url: str, *, wait_s: float = 10.0) -> None:
        path = url.partition(":")[2] if url.startswith("sqlite:") else url
        if not path:
            raise ConfigError(f'online = "{url}" names no file; say online = "sqlite:.millstream/online.db"')
        self.path = str(Path(path).absolute())
        self._file, self._wait_s = Path(self.path), wait_s
        self.refused = _refusal(self._file)
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._write = threading.Lock()
        self._fills: dict[str, tuple[int, threading.Thread]] = {}
        """Generation -> the lock that is held, and the thread that fills."""
        try:
            self._writer = self._connect()
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        with self._errors():
            (found,) = self._writer.execute("pragma user_version").fetchone()
            if found not in (0, FORMAT):  # 0: new, or killed before its tables were whole
                raise ConfigError(
                    f"{self.path} has format {found}, and this Millstream reads {FORMAT}; delete it, and `millstream"
                    " run` fills it again"
                )
            if self.refused is None:
                self._writer.execute("pragma journal_mode=wal")
                create(self._writer, _TABLES, FORMAT)
                self._widen()

    def _widen(self) -> None:
        """A store of an older Millstream has no rulings; its generations are filled again."""
        with self._transaction() as run:
            if not any(name == "ruling" for _, name, *_ in run("pragma table_info(generation)")):
                run("alter table generation add column ruling text not null default ''")

    # -- generations

    def create(self, definition: Definition) -> None:
        with self._transaction() as run:
            _tables(run, definition, definition.generation)
            run(
                "insert or ignore into generation values (?, ?, 0, 0, 0, 0, random(), 0, '')",
                (definition.generation, definition.name),
            )

    def applied(self, generation: str) -> Applied | None:
        with self._snapshot() as run:
            stands = stand(run, generation)
            if stands is None:
                return None
            (ruling,) = run("select ruling from generation where generation = ?", (generation,)).fetchone()
            return Applied(stands.offsets, stands.clock_us, stands.active, ruling)

    def generations(self) -> list[str]:
        with self._snapshot() as run:
            return [g for (g,) in run("select generation from generation order by 1")]

    def drop(self, generation: str) -> None:
        with self._transaction() as run:
            run("delete from generation where generation = ?", (generation,))
            run("delete from position where generation = ?", (generation,))
            _drop(run, generation)
            _drop(run, generation + _NEXT)
        self._release(generation)

    # -- filling

    def load(self, definition: Definition, tiles: pa.RecordBatchReader, heads: pa.RecordBatchReader) -> None:
        g, names = definition.generation, [name for name, _, _ in stored(definition)]
        stands = self.applied(g)
        beside = stands is not None and stands.active
        into = g + _NEXT if beside else g
        if not beside:
            self.create(definition)
        with self._filling(g):
            with self._transaction() as run:
                if beside:
                    _drop(run, into)
                    _tables(run, definition, into)
                else:
                    self._inactive(run, g)
                    run("update generation set filling = 1 where generation = ?", (g,))
                    run(f"delete from tile_{g}")
                    run(f"delete from head_{g}")
            for batch in tiles:
                for i in range(0, batch.num_rows, _ROWS):  # short transactions: others write meanwhile
                    part = batch.slice(i, _ROWS)
                    rows = zip(*(part.column(c).to_pylist() for c in ("key", "level", "b", *names)), strict=True)
                    with self._transaction():
                        self._writer.executemany(_insert(f"tile_{into}", ("k", "level", "b", *names), "insert"), rows)
            for batch in heads:
                with self._transaction():
                    self._writer.executemany(
                        _insert(f"head_{into}", ("k", "t", "tie", *names), "insert or replace"),
                        Lifted(definition, batch).heads(0),
                    )

    def activate(self, generation: str, offsets: Mapping[int, int], clock_us: int, ruling: str = "") -> None:
        with self._transaction() as run:
            mine = self._mine(generation)
            if mine and run("select 1 from sqlite_master where name = ?", (f"tile_{generation}{_NEXT}",)).fetchone():
                _drop(run, generation)
                for kind in ("tile", "head"):
                    run(f"alter table {kind}_{generation}{_NEXT} rename to {kind}_{generation}")
                run("delete from position where generation = ?", (generation,))
            elif self._inactive(run, generation) and not mine:
                raise Conflict(f"generation {generation} is being filled by another")
            settled = max(0, clock_us - SETTLED_US)
            run(
                "update generation set active = 1, clock = ?, filling = 0, era = random(), settled = ?, ruling = ?"
                " where generation = ?",
                (clock_us, settled, ruling, generation),
            )
            self._writer.executemany(
                "insert into position values (?, ?, ?)", [(generation, p, n) for p, n in offsets.items()]
            )
        self._release(generation)

    def _inactive(self, run: Run, generation: str) -> bool:
        """Whether a fill of it has begun."""
        found = run("select active, filling from generation where generation = ?", (generation,)).fetchone()
        if found is None:
            raise NotFound(f"the online store has no generation {generation}; create it first")
        if found[0]:
            raise Conflict(f"generation {generation} is filled already; drop it to fill it again")
        return bool(found[1])

    @contextmanager
    def _filling(self, generation: str) -> Iterator[None]:
        """One filler a generation, from here until it is active: the lock goes with the process that holds it."""
        with self._guard:
            known = self._fills.get(generation)
            if known is None:
                held = self._locked(generation)
            elif known[1] is threading.current_thread() or not known[1].is_alive():
                held = known[0]
            else:
                raise Conflict(f"generation {generation} is being filled by another thread")
            self._fills[generation] = (held, threading.current_thread())
        try:
            yield
        except BaseException:
            if self._mine(generation):
                os.close(self._fills.pop(generation)[0])
            raise

    def _locked(self, generation: str) -> int:
        """The lock of a generation; of the file that has the name now, since whoever lets one go removes it. Raises
        Conflict.
        """
        path = self._lock_file(generation)
        while True:
            held = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists() and os.path.samestat(os.fstat(held), path.stat()):
                    return held
            except FileNotFoundError:
                pass  # removed between the two looks
            except BlockingIOError:
                os.close(held)
                raise Conflict(f"generation {generation} is being filled by another") from None
            os.close(held)

    def _mine(self, generation: str) -> bool:
        """Whether this thread fills it."""
        known = self._fills.get(generation)
        return known is not None and known[1] is threading.current_thread()

    def _release(self, generation: str) -> None:
        held = self._fills.pop(generation, None)
        if held is not None:
            self._lock_file(generation).unlink(missing_ok=True)
            os.close(held[0])

    def _lock_file(self, generation: str) -> Path:
        return Path(f"{self.path}.fill-{generation}")

    # -- updating

    def apply(self, applies: Sequence[Apply]) -> None:
        groups: dict[str, list[Apply]] = {}
        for one in applies:
            groups.setdefault(one.definition.generation, []).append(one)
        # The partitions of a definition share their tiles, so their events are grouped and written together.
        lifted = [
            (group, Lifted(group[0].definition, pa.Table.from_batches([one.events for one in group])))
            for group in groups.values()
        ]
        grouped = [(group, list(states.tiles()) if len(states) else [], states) for group, states in lifted]
        with self._transaction() as run:
            for group, levels, states in grouped:
                self._apply(run, group, levels, states)

    def _apply(
        self, run: Run, group: Sequence[Apply], levels: list[tuple[int, list[tuple[Any, ...]]]], states: Lifted
    ) -> None:
        definition = group[0].definition
        g = definition.generation
        stands = stand(run, g)
        if stands is None or not stands.active:
            raise Conflict(f'features "{definition.name}": generation {g} is not filled yet')
        moved: dict[int, int] = {}
        (ruling,) = run("select ruling from generation where generation = ?", (g,)).fetchone()
        for one in group:
            at = moved.get(one.partition, stands.offsets.get(one.partition, 0))
            if one.ruling != ruling:
                raise Conflict(
                    f'features "{definition.name}" are counted under ruling {ruling or "none"}, the update under'
                    f" {one.ruling or 'none'}"
                )
            if at != one.start:
                raise Conflict(
                    f'features "{definition.name}", partition {one.partition}: the store stands at {at}, the update'
                    f" begins at {one.start}"
                )
            moved[one.partition] = one.end
        clock = max(stands.clock_us, *(one.clock_us for one in group))
        for level, rows in levels:
            self._writer.executemany(_upsert(definition, level), rows)
        if levels:
            names = [name for name, _, _ in stored(definition)]
            self._writer.executemany(
                _insert(f"head_{g}", ("k", "t", "tie", *names), "insert or replace"),
                states.heads(horizon_us(clock, HEAD_US)),
            )
        if clock != stands.clock_us:
            run("update generation set clock = ? where generation = ?", (clock, g))
        if states.oldest_us() < stands.settled_us or clock - stands.settled_us > 2 * SETTLED_US:
            run(
                "update generation set era = random(), settled = ? where generation = ?",
                (max(0, clock - SETTLED_US), g),
            )
        sql = "insert into position values (?, ?, ?) on conflict do update set next = excluded.next"
        self._writer.executemany(sql, [(g, partition, end) for partition, end in moved.items()])

    def expire(self, definition: Definition) -> int:
        g = definition.generation
        with self._transaction() as run:
            found = run("select clock, expired from generation where generation = ?", (g,)).fetchone()
            horizon = 0 if found is None else horizon_us(found[0], HEAD_US)
            if found is None or horizon - found[1] < _STEP_US:
                return 0
            until = definition.until_us(horizon) // SLOT_US * SLOT_US
            dropped = run(f"delete from head_{g} where t < ?", (until,)).rowcount
            for level, first in enumerate(reach(horizon, definition.windows_us, until)):
                if first:
                    dropped += run(f"delete from tile_{g} where level = ? and b < ?", (level, first)).rowcount
            run("update generation set expired = ? where generation = ?", (horizon, g))
        return int(dropped)

    # -- reading

    def lookup(self, definition: Definition, keys: Sequence[str | None], at_us: Sequence[int]) -> list[Lookup]:
        answers, query, made = Answers(definition), Query(definition), []
        with self._snapshot() as run:
            stands = standing(run, definition)
            past = Past(stands.era, stands.settled_us)
            for key, at in zip(keys, at_us, strict=True):
                values: dict[str, Any] = {}
                reasons: dict[str, str] = {}
                look_up(run, answers, query, past, key, at, values, reasons)
                made.append(Lookup(values, reasons, stands.offsets, at >= stands.horizon_us))
        return made

    def reader(self, uses: Sequence[Use]) -> SqliteLookups:
        return SqliteLookups(self.connection, self._errors, [Bound(*use) for use in uses])

    # -- connections

    def _connect(self) -> sqlite3.Connection:
        with self._errors():
            if self.refused is not None:
                made = reading(self._file, _TABLES)
            else:
                made = sqlite3.connect(
                    self.path,
                    timeout=self._wait_s,
                    isolation_level=None,
                    check_same_thread=False,
                    cached_statements=1024,
                )
                made.execute("pragma synchronous=normal")
            made.execute("pragma cache_size=-65536")
            made.execute("pragma mmap_size=1073741824")
        with self._guard:
            self._all.append(made)
        return made

    def connection(self) -> sqlite3.Connection:
        """This thread's, for reading."""
        try:
            return self._local.connection
        except AttributeError:
            made = self._local.connection = self._connect()
            return made

    @contextmanager
    def _snapshot(self) -> Iterator[Run]:
        connection = self.connection()
        with self._errors():
            connection.execute("begin")
            try:
                yield connection.execute
            finally:
                connection.execute("commit")

    @contextmanager
    def _transaction(self) -> Iterator[Run]:
        if self.refused is not None:
            raise self.refused.with_traceback(None)
        if not self._write.acquire(timeout=self._wait_s):
            raise Busy(
                f"the online store {self.path} is being written by another thread for more than {self._wait_s:g} s"
            )
        try:
            with self._errors():
                self._writer.execute("begin immediate")
                try:
                    self._writer.execute("update change set n = n + 1")
                    yield self._writer.execute
                except BaseException:
                    self._writer.execute("rollback")
                    raise
                self._writer.execute("commit")
        finally:
            self._write.release()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """The driver's errors as ours; the one place where they are told apart."""
        try:
            yield
        except sqlite3.OperationalError as error:
            said = str(error)
            if "locked" in said or "busy" in said:
                raise Busy(f"the online store {self.path} is locked by another process: {said}") from error
            if "no such table" in said:
                raise NotFound(
                    f"the generation was dropped from the online store {self.path} meanwhile: {said}"
                ) from error
            raise error_of(error, self._file) from error

    def close(self) -> None:
        with self._guard:
            for connection in self._all:
                connection.close()
            self._all.clear()
            while self._fills:
                os.close(self._fills.popitem()[1][0])


def _refusal(path: Path) -> MillstreamError | None:
    """Why nothing can be written there; None when it can. Creates the folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = refused(error, path, "create the online store")
        if found is None or error.errno not in REFUSED:
            raise
        return found
    if writable(path):
        return None
    return ConfigError(
        f"{path} cannot be written; make it and its folder writable for this user, or work on a copy of the project"
    )


def _tables(run: Run, definition: Definition, name: str) -> None:
    types = {pa.float64(): "real", pa.int64(): "integer"}
    columns = stored(definition)
    # NULL + 1 is NULL
    states = ", ".join(
        f"{column} {types.get(kind, 'blob')}{' not null' if merge == 'add' else ''}" for column, merge, kind in columns
    )
    run(
        f"create table if not exists tile_{name} (k text, level integer, b integer, {states}, primary key (k, level,"
        " b)) strict, without rowid"
    )
    run(
        f"create table if not exists head_{name} (k text, t integer, tie integer, {states}, primary key (k, t, tie))"
        " strict, without rowid"
    )


def _drop(run: Run, name: str) -> None:
    for kind in ("tile", "head"):
        run(f'drop table if exists "{kind}_{name}"')


def _insert(table: str, columns: Sequence[str], verb: str) -> str:
    return f"{verb} into {table} ({', '.join(columns)}) values ({', '.join('?' * len(columns))})"


def _upsert(definition: Definition, level: int) -> str:
    columns, sets = stored(definition), []
    for name, merge, _ in columns:
        if merge == "add":
            sets.append(f"{name} = {name} + excluded.{name}")
        else:  # least and greatest of two, where either may be NULL
            call = "min" if merge == "least" else "max"
            sets.append(f"{name} = {call}(ifnull({name}, excluded.{name}), ifnull(excluded.{name}, {name}))")
    names = ["k", "b", *(name for name, _, _ in columns)]
    places = ", ".join("?" * len(names))
    return (
        f"insert into tile_{definition.generation} (level, {', '.join(names)}) values ({level}, {places}) on conflict"
        f" do update set {', '.join(sets)}"
    )


__all__ = ["SqliteOnline"]
