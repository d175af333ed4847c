"""The end of a schedule: everything is healed and drained, and compared with the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from machines import Box, Wrong
from reference import Record, Window, counted, expected, lates, watermark
from things import COUNT, HOUR, LATENESS, NAMES, PARTITIONS, SECOND, T0, WINDOWS, YEAR

from millstream.base.errors import Damaged, Truncated
from millstream.base.event import LATE, OFFSET, PARTITION
from millstream.features.fill import current
from millstream.features.keys import encoder
from millstream.features.updater import BEYOND_US
from millstream.lake import aside
from millstream.lake.dead import SET_ASIDE, dead_name
from millstream.lake.positions import time_id
from millstream.lake.sink import Sink
from millstream.lake.verify import verify

if TYPE_CHECKING:
    from world import World

GOOD = 2 * 84
"""The code of a thing that nothing is wrong with, and without an id."""
_KEY = encoder(["who"])


def settle(world: World) -> None:
    """Raises Wrong."""
    world.trouble.clear()
    world.die_at = ""
    world.tables.arrive()
    _released(world)
    for box in world.boxes:
        box.kill()
    last = Box(world)
    _open(world, last)
    _drain(world)
    found = verify(world.tables, world.log, world.stream)
    if not found.ok:
        raise Wrong(f"verify: {found.words()[:5]}")
    wanted = [_expected(world, p) for p in range(PARTITIONS)]
    _compare(world, "rows", "things", [rows for rows, _, _ in wanted])
    _compare(world, "dead letters", dead_name("things"), [dead for _, dead, _ in wanted], world.given_up)
    if found.duplicates != sum(len(doubles) for _, _, doubles in wanted):
        raise Wrong(f"{found.duplicates} duplicates are counted, and there are {sum(len(d) for _, _, d in wanted)}")
    kept = [[world.records[p][at] for at in sorted(rows)] for p, (rows, _, _) in enumerate(wanted)]
    _times(world, kept)
    _features(world, last, kept)


def _released(world: World) -> None:
    """Processes that have waited for an append of the future take things in again, those whose own clock is right."""
    world.release()
    world._look()
    world.now += 2 * SECOND
    for box in world.boxes:
        box.post([world._made(GOOD, 0)], replay=False)


def _open(world: World, last: Box) -> None:
    """Whoever sent a wrong moment, a person looks once; then every door whose clock is right takes things in, and files
    to their end.
    """
    world.release()
    world._look()
    last.post([world._made(GOOD, 0)], replay=False)
    last.read(world.lines)
    if int(world.log.position("feed/feed") or 0) != len(world.lines):
        raise Wrong("files were not read to their end")


def _drain(world: World) -> None:
    for _ in range(200):
        try:
            Sink(world.log, world.schemas, world.tables, world.stream, clock=lambda: world.now / SECOND).drain()
            return
        except (Truncated, Damaged):
            world.accept()
    raise Wrong("the stream is stuck")


def _expected(world: World, partition: int) -> tuple[set[int], set[int], set[int]]:
    table = world.tables.table("things") if world.tables.exists("things") else None
    ruled = [m["ruling"] for m in table.metadata() if "ruling" in m] if table else []
    windows = [
        Window(0, WINDOWS[0] * SECOND),
        *(Window(r["first"][str(partition)], r["within_us"]) for r in ruled if "first" in r),
    ]
    given_up = world.given_up[partition] = {
        o for r in (table.ranges() if table else []) if r.gap and r.partition == partition for o in range(*r.gap)
    }
    if given_up - world.lost[partition]:
        raise Wrong(
            f"partition {partition}: {sorted(given_up - world.lost[partition])} were given up, and the log had them"
        )
    return expected(world.records[partition], windows, given_up, _set_aside(world, partition))


def _set_aside(world: World, partition: int) -> set[int]:
    """What operators set aside: the rulings that say so, and letters of those that a cut has taken away, which
    stand.
    """
    tables = world.tables
    said = (
        set(aside.asides(tables.table("things"), world.binding.topic, partition).tolist())
        if tables.exists("things")
        else set()
    )
    if tables.exists(dead_name("things")):
        for batch in tables.table(dead_name("things")).scan([PARTITION, OFFSET, "error"]):
            said |= {
                row[OFFSET] for row in batch.to_pylist() if row[PARTITION] == partition and row["error"] == SET_ASIDE
            }
    return said


def _compare(world: World, what: str, name: str, wanted: Sequence[set[int]], beside: Sequence[set[int]] = ()) -> None:
    """`beside`: what may be there or not; a record that was judged before it was given up has its letter."""
    found: list[list[int]] = [[] for _ in range(PARTITIONS)]
    if world.tables.exists(name):
        for batch in world.tables.table(name).scan([PARTITION, OFFSET]):
            for p, offset in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                if not beside or offset not in beside[p]:
                    found[p].append(offset)
    for p in range(PARTITIONS):
        if sorted(found[p]) != sorted(wanted[p]):
            lost, more = sorted(wanted[p] - set(found[p])), sorted(set(found[p]) - wanted[p])
            doubled = sorted({o for o in found[p] if found[p].count(o) > 1})
            raise Wrong(f"{what} of partition {p}: lost {lost}, too many {more}, doubled {doubled}")


def _times(world: World, kept: Sequence[Sequence[Record]]) -> None:
    """What is late and the newest times are functions of the log; the watermark that people see never passes the wall
    clock.
    """
    table, newest = world.tables.table("things"), []
    rows = {
        (row[PARTITION], row[OFFSET]): row[LATE]
        for batch in table.scan([PARTITION, OFFSET, LATE])
        for row in batch.to_pylist()
    }
    for p in range(PARTITIONS):
        late, at = lates(kept[p], LATENESS)
        newest.append(at)
        said = [rows[key] for key in sorted(rows) if key[0] == p]
        if said != late:
            raise Wrong(f"partition {p}: rows are late {said}, and should be {late}")
        if table.position(time_id(world.binding.topic, p)) != at:
            raise Wrong(
                f"partition {p}: the newest time is {table.position(time_id(world.binding.topic, p))}, and should be"
                f" {at}"
            )
    wanted, found = watermark(newest, world.now, LATENESS), world.tables.watermark(world.stream)
    if found != wanted:
        raise Wrong(f"the watermark is {found}, and should be {wanted}; now is {world.now}")


def _features(world: World, last: Box, kept: Sequence[Sequence[Record]]) -> None:
    """A machine whose clock is right makes the features whole; then every answer that is said to be exact is."""
    ends = {p: end.high for p, end in world.log.ends("things").items()}
    for _ in range(400):
        stands = last.store.applied(COUNT.generation)
        whole = current(world.tables, last.store, COUNT, world.stream)
        if (
            stands is not None
            and whole
            and stands.clock_us <= world.now + BEYOND_US
            and all(stands.offsets.get(p, 0) >= end for p, end in ends.items())
        ):
            break
        if (
            stands is not None
            and last.updater is None
            and any(part.damaged for held in world.log.held.parts["things"] for part in held.batches)
        ):
            last.store.drop(COUNT.generation)  # it waits for a record that is damaged behind the sink's back
        world.move(last)
    else:
        raise Wrong("the features never become whole")
    if stands.clock_us > world.latest_us:
        raise Wrong(
            f"the clock of the features is {(stands.clock_us - world.latest_us) / SECOND} s ahead of any wall clock"
        )
    for p, names in enumerate(NAMES):
        for who in names:
            _answers(world, last, kept[p], who, stands.clock_us)


def _answers(world: World, last: Box, kept: Sequence[Record], who: str, clock_us: int) -> None:
    moments = (world.now, world.now + 1, world.now + HOUR + 7, T0 + 80 * YEAR)
    for at, look in zip(moments, last.store.lookup(COUNT, [_KEY({"who": who})] * len(moments), moments), strict=True):
        if not look.exact and at >= clock_us:
            raise Wrong(f"features of {who} at {at} are not exact, and the clock stands at {clock_us}")
        for name, window in (("1h", HOUR), ("", None)):
            found = tuple(look.values[output.column(window)] for output in COUNT.outputs)
            wanted = counted([row for row in kept if row.happened >= 0], who, at, window)
            if look.exact and found != wanted:
                raise Wrong(f"features of {who} {name} at {at}: {found}, and should be {wanted}")
