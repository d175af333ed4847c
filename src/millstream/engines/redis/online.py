"""Redis, as the online store. `RedisOnline("redis://HOST:PORT/DB")`, or rediss:// for TLS; `?prefix=NAME` keeps several
projects apart in one database.

A generation's data is a space of blobs, one for each key and group of tiles (`blobs`). A writer reads the blobs it
changes, merges, and writes them with the positions by MULTI/EXEC, having watched where the generations stand: whoever
else wrote meanwhile makes it begin again. (A script that compares the positions and writes took 0.6 to 1.0 ms for 200
blobs where this took 0.3 to 0.4, and was no faster for 20,000. Kept in hashes, 30 blobs of a look-up took 160 us by
HGETs in a script and 140 in a MULTI; as keys of their own, by one MGET, 42. One sitting, on a busy machine.) A fill
writes a space of its own, and `activate` puts it in place. A space that is let go is first named in the trash, in the
transaction that lets it go, so that whoever empties the trash next finishes what a killed process began.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa

from millstream.base.errors import Conflict, NotFound
from millstream.engines.redis.blobs import GROUPS, MOMENTS, Layout, Touched, rewritten, together, touched
from millstream.engines.redis.database import Database
from millstream.engines.redis.filling import Filler, tiles
from millstream.engines.redis.lookups import DAYS, RedisLookups, Snapshots, add
from millstream.engines.redis.stand import Stand, read
from millstream.engines.redis.wire import Command
from millstream.features.definition import Definition
from millstream.features.lift import Columns, Lifted
from millstream.features.online import SETTLED_US, Answers, Bound, Use
from millstream.features.port import Applied, Apply, Lookup
from millstream.features.window import reach

_STEP_US = 3_600_000_000
"""How far the horizon moves between two expiries."""
_ROWS = 20_000


class RedisOnline:
    """The online store on one Redis (6.2 or later; not a Redis Cluster, whose transactions end at a slot).

    With `appendfsync everysec` a crash of its machine may take the last second back, state and positions together, and
    the log brings it again.

    Args:
        wait_s: For how long a writer whom others are always faster than continues trying.
        fill_lease: How long a fill is still taken for alive after its process was last heard of.
    """

    def __init__(self, url: str, *, wait_s: float = 10.0, fill_lease: timedelta = timedelta(seconds=30)) -> None:
        self._db = Database(url, wait_s)
        self._lease = fill_lease
        self._fills: dict[str, Filler] = {}
        self._layouts: dict[str, Layout] = {}

    # -- generations

    def create(self, definition: Definition) -> None:
        g = definition.generation
        (space,) = self._db.writing([("INCR", self._db.names.spaces)]) if self.applied(g) is None else (0,)
        self._db.change(
            [g],
            lambda stands: (
                [] if stands[g] or not space else self._made(definition, Stand(definition.name, space, era=_era()))
            ),
        )

    def _made(self, definition: Definition, stand: Stand) -> list[Command]:
        return [
            ("SADD", self._db.names.generations, definition.generation),
            self._standing(definition.generation, stand),
        ]

    def applied(self, generation: str) -> Applied | None:
        stand = read(self._db.reading([("GET", self._db.names.stand(generation))])[0])
        return None if stand is None else Applied(stand.offsets, stand.clock_us, stand.active, stand.ruling)

    def generations(self) -> list[str]:
        return sorted(g.decode() for g in self._db.reading([("SMEMBERS", self._db.names.generations)])[0])

    def drop(self, generation: str) -> None:
        def work(stands: Mapping[str, Stand | None]) -> list[Command]:
            stand = stands[generation]
            if stand is None:
                return []
            return [
                ("DEL", self._db.names.stand(generation)),
                ("SREM", self._db.names.generations, generation),
                *self._db.let_go(stand.space, stand.filling),
            ]

        self._db.change([generation], work)
        self._release(generation)
        self._db.empty_trash()

    # -- filling

    def load(self, definition: Definition, tiles_: pa.RecordBatchReader, heads: pa.RecordBatchReader) -> None:
        g, layout = definition.generation, self._layout(definition)
        space = self._begin(definition)
        try:
            for batch in tiles_:
                for i in range(0, batch.num_rows, _ROWS):  # short transactions: others write meanwhile
                    self._fill(
                        g, space, layout, [touched(layout, *part) for part in tiles(definition, batch.slice(i, _ROWS))]
                    )
            for batch in heads:
                for i in range(0, batch.num_rows, _ROWS):
                    lifted = Lifted(definition, batch.slice(i, _ROWS))
                    self._fill(g, space, layout, [touched(layout, MOMENTS, lifted.names, lifted.moments(0))])
        except BaseException:
            self._release(g)
            raise

    def _begin(self, definition: Definition) -> int:
        """A new space that only this fill writes to."""
        g = definition.generation
        if (known := self._fills.get(g)) is not None and not known.mine:
            raise Conflict(f"generation {g} is being filled by another thread")
        (space,) = self._db.writing([("INCR", self._db.names.spaces)])

        def work(stands: Mapping[str, Stand | None]) -> list[Command]:
            stand = stands[g]
            if stand is None:
                return self._made(definition, Stand(definition.name, space, era=_era(), filling=space))
            return [
                self._standing(g, stand.with_(filling=space)),
                *self._db.let_go(stand.filling if stand.filling != stand.space else 0),
            ]

        self._release(g)
        self._fills[g] = Filler(self._db.address, self._db.names, g, space, self._lease)
        try:
            self._db.change([g], work)
        except BaseException:
            self._release(g)
            raise
        self._db.empty_trash()
        return int(space)

    def _fill(self, generation: str, space: int, layout: Layout, parts: list[Touched]) -> None:
        def work(stands: Mapping[str, Stand | None]) -> list[Command]:
            stand = stands[generation]
            if stand is None or stand.filling != space:
                raise Conflict(f"generation {generation} was dropped, or another has begun to fill it")
            return self._written([(space, layout, together(parts))])

        if any(part.blobs for part in parts):
            self._db.change([generation], work)

    def activate(self, generation: str, offsets: Mapping[int, int], clock_us: int, ruling: str = "") -> None:
        def work(stands: Mapping[str, Stand | None]) -> list[Command]:
            stand, mine = stands[generation], self._fills.get(generation)
            if stand is None:
                raise NotFound(f"the online store has no generation {generation}; create it first")
            filled = mine is not None and mine.mine and stand.filling == mine.space
            if stand.active and not filled:
                raise Conflict(f"generation {generation} is filled already; drop it to fill it again")
            if stand.filling and not filled:
                raise Conflict(f"generation {generation} is being filled by another")
            space = stand.filling or stand.space
            (groups,) = self._db.writer.ask([("HKEYS", self._db.names.groups(space))])
            days = tuple(sorted(int(group[2:]) for group in groups if group.startswith(b"%d:" % DAYS)))
            now = stand.with_(
                space=space,
                offsets=dict(offsets),
                clock_us=clock_us,
                active=True,
                expired_us=0,
                era=_era(),
                settled_us=max(0, clock_us - SETTLED_US),
                filling=0,
                days=days,
                ruling=ruling,
            )
            return [self._standing(generation, now), *self._db.let_go(stand.space if space != stand.space else 0)]

        self._db.change([generation], work)
        self._release(generation)
        self._db.empty_trash()

    def _release(self, generation: str) -> None:
        held = self._fills.pop(generation, None)
        if held is not None:
            held.close()

    # -- updating

    def apply(self, applies: Sequence[Apply]) -> None:
        groups: dict[str, list[Apply]] = {}
        for one in applies:
            groups.setdefault(one.definition.generation, []).append(one)
        # The partitions of a definition share their tiles, so their events are grouped and written together.
        lifted = {
            g: Lifted(group[0].definition, pa.Table.from_batches([one.events for one in group]))
            for g, group in groups.items()
        }
        levels = {g: list(states.columns()) if len(states) else [] for g, states in lifted.items()}

        def work(stands: Mapping[str, Stand | None]) -> list[Command]:
            moved = {g: _moved(group, stands[g], lifted[g].oldest_us()) for g, group in groups.items()}
            parts = [
                (
                    moved[g].space,
                    self._layout(group[0].definition),
                    self._touched(group[0].definition, moved[g], levels[g], lifted[g]),
                )
                for g, group in groups.items()
                if levels[g]
            ]
            commands = self._written(parts)
            for g, stand in moved.items():
                days = {
                    at
                    for space, _, changed in parts
                    if space == stand.space
                    for level, at, _ in changed.blobs
                    if level == DAYS
                }
                commands.append(self._standing(g, stand.with_(days=tuple(sorted({*stand.days, *days})))))
            return commands

        self._db.change(list(groups), work)

    def _touched(self, definition: Definition, stand: Stand, levels: list[Columns], lifted: Lifted) -> Touched:
        """What no look-up can reach any more is left out: an expiry may be removing it right now."""
        layout, since = (
            self._layout(definition),
            reach(stand.expired_us, definition.windows_us, definition.until_us(stand.expired_us)),
        )
        parts = [touched(layout, level, lifted.names, found, since[level] or 0) for level, found in enumerate(levels)]
        return together([*parts, touched(layout, MOMENTS, lifted.names, lifted.moments(stand.horizon_us))])

    def _written(self, updates: Sequence[tuple[int, Layout, Touched]]) -> list[Command]:
        """Reads the blobs that are touched; the commands that write them anew."""
        names = [
            [self._db.names.blob(space, f"{level}:{group}", key) for level, group, key in changed.blobs]
            for space, _, changed in updates
        ]
        wanted = [name for some in names for name in some]
        stood = iter(self._db.writer.ask([("MGET", *wanted)])[0] if wanted else ())
        commands: list[Command] = []
        for (space, layout, changed), mine in zip(updates, names, strict=True):
            old = [next(stood) for _ in mine]
            blobs, gained = rewritten(layout, changed, old)
            new: dict[str, list[str]] = {}
            rows: dict[str, int] = {}
            for (level, group, key), was, more in zip(changed.blobs, old, gained, strict=True):
                rows[f"{level}:{group}"] = rows.get(f"{level}:{group}", 0) + more
                if was is None:
                    new.setdefault(f"{level}:{group}", []).append(key)
            if blobs:
                commands.append(("MSET", *(part for pair in zip(mine, blobs, strict=True) for part in pair)))
            commands += [("RPUSH", self._db.names.keys(space, group), *keys) for group, keys in new.items()]
            commands += [("HINCRBY", self._db.names.groups(space), group, more) for group, more in rows.items() if more]
        return commands

    def expire(self, definition: Definition) -> int:
        g, gone = definition.generation, list[tuple[int, int]]()

        def work(stands: Mapping[str, Stand | None]) -> list[Command]:
            stand = stands[g]
            gone.clear()
            if stand is None or stand.horizon_us - stand.expired_us < _STEP_US:
                return []
            gone.append((stand.space, stand.horizon_us))
            return [self._standing(g, stand.with_(expired_us=stand.horizon_us))]

        self._db.change([g], work)  # from here on nobody writes what is removed now
        rows = 0
        for space, horizon in gone:
            until = definition.until_us(horizon)
            first = (*reach(horizon, definition.windows_us, until), until)
            groups = [group.decode() for group in self._db.writing([("HKEYS", self._db.names.groups(space))])[0]]
            rows += self._db.swept(space, [group for group in groups if _ends(group) <= (first[int(group[0])] or 0)])
        return rows

    # -- reading

    def lookup(self, definition: Definition, keys: Sequence[str | None], at_us: Sequence[int]) -> list[Lookup]:
        answers, made = Answers(definition), []
        seen, parts = Snapshots(self._db.wire, self._db.names, [answers]).look(
            [(0, key, at) for key, at in zip(keys, at_us, strict=True)]
        )
        (stand,) = seen.stands
        for key, at, part in zip(keys, at_us, parts, strict=True):
            values: dict[str, Any] = {}
            reasons: dict[str, str] = {}
            add(answers, key, part, values, reasons)
            made.append(Lookup(values, reasons, stand.offsets, at >= stand.horizon_us))
        return made

    def reader(self, uses: Sequence[Use]) -> RedisLookups:
        return RedisLookups(self._db.wire, self._db.names, [Bound(*use) for use in uses])

    # -- parts

    def _standing(self, generation: str, stand: Stand) -> Command:
        return ("SET", self._db.names.stand(generation), stand.text())

    def _layout(self, definition: Definition) -> Layout:
        found = self._layouts.get(definition.generation)
        if found is None:
            found = self._layouts[definition.generation] = Layout(definition)
        return found

    def close(self) -> None:
        while self._fills:
            self._fills.popitem()[1].close()
        self._db.close()


def _moved(group: Sequence[Apply], stand: Stand | None, oldest_us: int) -> Stand:
    """Where the generation stands after these.

    Raises:
        Conflict: A position is not where one begins, or the generation is not active.
    """
    definition = group[0].definition
    if stand is None or not stand.active:
        raise Conflict(f'features "{definition.name}": generation {definition.generation} is not filled yet')
    offsets = dict(stand.offsets)
    for one in group:
        if one.ruling != stand.ruling:
            raise Conflict(
                f'features "{definition.name}" are counted under ruling {stand.ruling or "none"}, the update under'
                f" {one.ruling or 'none'}"
            )
        at = offsets.get(one.partition, 0)
        if at != one.start:
            raise Conflict(
                f'features "{definition.name}", partition {one.partition}: the store stands at {at}, the update begins'
                f" at {one.start}"
            )
        offsets[one.partition] = one.end
    clock = max(stand.clock_us, *(one.clock_us for one in group))
    moved = stand.with_(offsets=offsets, clock_us=clock)
    if oldest_us < stand.settled_us or clock - stand.settled_us > 2 * SETTLED_US:
        return moved.with_(era=_era(), settled_us=max(0, clock - SETTLED_US))
    return moved


def _era() -> int:
    return random.SystemRandom().getrandbits(53)


def _ends(group: str) -> int:
    """The first tile after a group LEVEL:NUMBER."""
    return (int(group[2:]) + 1) * GROUPS[int(group[0])]


__all__ = ["RedisOnline"]
