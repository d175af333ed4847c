"""The SQL of tiles, covers and tails, in DuckDB's dialect. Names: k key number, t event time (us), b slot, o order of
first and last.

A tile row is keyed (k, b, vis): it holds the events of a slot, hour or day that are visible from `vis` on. What `vis`
counts is the label's `z`: its slot, where visibility follows the clock, or its step, where it follows logged positions
(steps.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millstream.base.sql import quoted
from millstream.features.definition import NUMBERS, Definition, Value
from millstream.features.state import LIMIT, PARTITION_BITS, Part, grid_limit, parts
from millstream.features.window import SLOT_US, hop_us

ORDER = f"t::hugeint * 18446744073709551616 + _partition::hugeint * {1 << PARTITION_BITS} + _offset"
NO_ORDER = "row(t, v{0})"
"""Where rows have no position, events of one microsecond are ordered by value."""


@dataclass(frozen=True)
class Tiling:
    """The SQL of one definition.

    Attributes:
        clock: Visibility follows a clock (z is a slot), else logged positions (z is a step).
        late: Events become known later than they happened, so that the tail must ask for the window's start.
    """

    definition: Definition
    clock: bool = True
    late: bool = True

    @property
    def parts(self) -> tuple[Part, ...]:
        return parts(self.definition)

    @property
    def _pairs(self) -> set[int]:
        return {part.value for part in self.parts if part.kind in ("f", "l")}

    def events(self, source: str, known: str, extra: Sequence[str] = (), *, raw: bool = False) -> str:
        """A select of k0.., t, known, values that count as v<i> or q<i>, g<i> where one is too large; rows of `where`
        with a whole key only.

        Args:
            known: Expression of the arrival time (us) over the source's columns.
            extra: More columns of the source to carry.
            raw: The values as they are instead, as r<i>: int64 or double; 0.0 for what is only counted.
        """
        d = self.definition
        time = "0" if d.time is None else f"epoch_us({quoted(d.time)})"
        keys = [f"{quoted(column)} as k{i}" for i, column in enumerate(d.key)]
        values = [f"{value.expression.sql} as r{i}" for i, value in enumerate(d.values)]
        conditions = [f"{quoted(column)} is not null" for column in d.key] + [
            "true" if d.time is None else f"{time} >= 0"
        ]
        if d.where:
            conditions.append(f"({d.where.sql})")
        inner = (
            f"select {', '.join([*keys, f'{time} as t', f'{known} as known', *values, *extra])} from {source} where"
            f" {' and '.join(conditions)}"
        )
        lifted = [
            column for i, value in enumerate(d.values) for column in ([_raw(i, value)] if raw else _lifted(i, value))
        ]
        kept = [f"k{i}" for i in range(len(d.key))] + ["t", "greatest(known, t) as known", *extra]
        return f"select {', '.join(kept + lifted)} from ({inner})"

    def values(self) -> list[str]:
        """The names of the columns of values that `events` makes."""
        return [
            name
            for i, value in enumerate(self.definition.values)
            for name in ([f"v{i}"] if value.scale is None else [f"q{i}", f"g{i}"])
        ]

    def orders(self) -> list[str]:
        """Columns that order the events of values with a first or last; NULL where the value does not count."""
        of = ORDER if self.definition.live else NO_ORDER
        return [f"case when v{i} is not null then {of.format(i)} end as o{i}" for i in sorted(self._pairs)]

    def lift(self, counted: str = "*", over: str = "", when: str = "", prefix: str = "") -> list[str]:
        """Aggregates of events, as states.

        Args:
            counted: What is counted for `c`: a column that is NULL where the row is not an event.
            over: The window, where they run along.
            when: Which events.
        """
        made, ending = [], (f" filter (where {when})" if when else "") + over
        for part in self.parts:
            i, name = part.value, prefix + part.name
            if part.kind in ("f", "l"):
                made += [f"arg_{_side(part)}(v{i}, o{i}){ending} as {name}", f"{_side(part)}(o{i}){ending} as {name}o"]
                continue
            value = f"{'v' if i >= 0 and self.definition.values[i].scale is None else 'q'}{i}"
            call = {
                "c": f"count({counted})",
                "n": f"count({value})",
                "o": f"count(g{i})",
                "s": f"sum({value})",
                "x": f"sum({value}::hugeint * {value})",
            }
            made.append(f"{call.get(part.kind) or f'{_side(part)}({value})'}{ending} as {name}")
        return made

    def merge(self) -> list[str]:
        """Aggregates of states."""
        made = []
        for part in self.parts:
            name = part.name
            if part.kind in ("f", "l"):
                made += [f"arg_{_side(part)}({name}, {name}o) as {name}", f"{_side(part)}({name}o) as {name}o"]
            elif part.merge == "add":
                made.append(f"cast(sum({name}) as {'bigint' if part.kind in ('c', 'n', 'o') else 'hugeint'}) as {name}")
            else:
                made.append(f"{_side(part)}({name}) as {name}")
        return made

    def states(self) -> list[str]:
        """The names of the columns that `lift` and `merge` make."""
        return [
            column
            for part in self.parts
            for column in ([part.name, f"{part.name}o"] if part.kind in ("f", "l") else [part.name])
        ]

    def tiles(self, events: str = "e") -> list[str]:
        """Statements that make t0, t1, t2 of events (k, t, b, z, ...): z is the slot known in, or the step."""
        lifted, merged = ", ".join(self.lift()), ", ".join(self.merge())
        if self.clock:
            return [
                f"create table t0 as select k, b, z + 1 as vis, {lifted} from {events} group by 1, 2, 3",
                (
                    f"create table t1 as select k, b // 12 as b, greatest(vis, (b // 12 + 1) * 12) as vis, {merged}"
                    " from t0 group by 1, 2, 3"
                ),
                (
                    f"create table t2 as select k, b // 24 as b, greatest(vis, (b // 24 + 1) * 288) as vis, {merged}"
                    " from t1 group by 1, 2, 3"
                ),
            ]
        return [
            (
                f"create table t0 as select k, b, {_seen('z')} as vis, {lifted} from {events} asof join floors on"
                f" {events}.b + 1 <= floors.slot group by 1, 2, 3"
            ),
            self._coarser(1, 12, 12, merged),
            self._coarser(2, 24, 288, merged),
        ]

    def _coarser(self, level: int, ratio: int, slots: int, merged: str) -> str:
        tile = f"select *, b // {ratio} as up from t{level - 1}"
        return (
            f"create table t{level} as select k, up as b, {_seen('vis')} as vis, {merged} "
            f"from ({tile}) x asof join floors on (x.up + 1) * {slots} <= floors.slot group by 1, 2, 3"
        )

    def covered(self, window_us: int | None) -> str:
        """A select of sid and merged states: the tiles before each of `sl`(sid, k, b, z)'s slots that a window
        holds.
        """
        d = "greatest(0, {})"
        hop = 1 if window_us is None else hop_us(window_us) // SLOT_US
        low = "0::bigint" if window_us is None else d.format(f"b // {hop} * {hop} - {window_us // SLOT_US}")
        c = (
            "(select sid, k, b, z, a, (a + 11) // 12 as a1, b // 12 as b1, ((a + 11) // 12 + 23) // 24 as a2, b // 288"
            f" as b2 from (select *, {low} as a from sl))"
        )
        # Each level's ends are ragged: its tiles run from the low end up to the next level's first tile, and from its
        # last to the high end.
        level0 = "case when a1 < b1 then range(a, 12 * a1) || range(12 * b1, b) else range(a, b) end"
        level1 = (
            "case when a1 >= b1 then [] when a2 < b2 then range(a1, 24 * a2) || range(24 * b2, b1) else range(a1,"
            " b1) end"
        )
        probes = [self._probe(0, f"unnest({level0})", c), self._probe(1, f"unnest({level1})", c)]
        if window_us is None:
            probes.append(
                f"select sid, {self._of('t2')} from {c} c join t2 on c.k = t2.k and t2.b < c.b2 and t2.vis <= c.z where"
                " c.a1 < c.b1 and c.a2 < c.b2"
            )
        else:
            probes.append(self._probe(2, "unnest(case when a1 < b1 and a2 < b2 then range(a2, b2) else [] end)", c))
        return f"select sid, {', '.join(self.merge())} from ({' union all '.join(probes)}) group by sid"

    def _probe(self, level: int, slots: str, c: str) -> str:
        tile = f"t{level}"
        return (
            f"select sid, {self._of(tile)} from (select sid, k, z, {slots} as x from {c}) c join {tile} on c.k ="
            f" {tile}.k and c.x = {tile}.b and {tile}.vis <= c.z"
        )

    def _of(self, table: str) -> str:
        return ", ".join(f"{table}.{state}" for state in self.states())

    def tail(self, windows: Sequence[int | None]) -> str:
        """A select of id and running states `w<i>_<state>`: what became known in a label's slot, before the label.
        Clock only.
        """
        running = [
            c
            for i, w in enumerate(windows)
            for c in self.lift("one", " over w", _start(w) if self.late and w is not None else "", f"w{i}_")
        ]
        carried = [*self.values(), *(f"o{i}" for i in sorted(self._pairs))]
        event = ", ".join(
            ["null::bigint as id", "sid", "1 as one", "e.t", "e.known", "sl.b", *(f"e.{c}" for c in carried)]
        )
        label = ", ".join(["l.id", "sid", "null", "l.t", "l.t", "sl.b", *("null" for _ in carried)])
        rows = f"select {event} from e join sl on e.k = sl.k and e.z = sl.b union all "
        rows += f"select {label} from l join sl on l.k = sl.k and l.b = sl.b"
        # A label comes before the events of its own microsecond: nulls first.
        frame = (
            "window w as (partition by sid order by known, one nulls first rows between unbounded preceding and current"
            " row)"
        )
        names = ", ".join(f"w{i}_{state}" for i in range(len(windows)) for state in self.states())
        return f"select id, {names} from (select id, {', '.join(running)} from ({rows}) {frame}) where id is not null"

    def tail_by_step(self) -> str:
        """The same where visibility follows positions: every pair of label and event of one (key, slot). One set of
        states for all windows.
        """
        columns = ", ".join(self.lift(prefix="w0_"))
        return (
            f"select l.id, {columns} from l join e on l.k = e.k and l.b = e.b and e.t < l.t and e.z <= l.z group by 1"
        )

    def merged(self, state: str, tiles: str, tail: str) -> str:
        """One state of a window from its tiles and its tail, either of which may be missing."""
        part = next(part for part in self.parts if state == part.name)
        a, b = f"{tiles}.{state}", f"{tail}_{state}"
        if part.kind in ("f", "l"):
            first, second = (f"{b}o", f"{a}o") if part.kind == "l" else (f"{a}o", f"{b}o")
            # The tail's is taken when it is the later (the earlier) of the two, or the only one.
            return (
                f"case when {a}o is null or ({b}o is not null and {first} {'>=' if part.kind == 'l' else '>'} {second})"
                f" then {b} else {a} end"
            )
        if part.merge == "add":
            return f"(coalesce({a}, 0) + coalesce({b}, 0))"
        return f"{part.merge}({a}, {b})"


def _seen(step: str) -> str:
    """Visible to all who can ask for the tile, or from its step on."""
    return f"case when {step} <= floors.least then 0 else {step} end"


def _lifted(i: int, value: Value) -> list[str]:
    raw = f"cast(r{i} as double)"
    if value.expression.kind not in NUMBERS:
        return [f"case when r{i} is not null then 0.0::double end as v{i}"]
    if value.scale is None:
        return [f"case when isfinite({raw}) then {raw} + 0.0::double end as v{i}"]
    if value.expression.kind != "float64":
        size, most = f"abs(cast(r{i} as hugeint))", int(LIMIT)
        return [
            f"case when {size} < {most} then cast(r{i} as bigint) end as q{i}",
            f"case when {size} >= {most} then true end as g{i}",
        ]
    unit, limit = repr(10.0**value.scale), f"{grid_limit(value.scale)!r}::double"
    return [
        (
            f"case when isfinite({raw}) and abs({raw}) < {limit} then cast(floor({raw} * {unit}::double + 0.5::double)"
            f" as bigint) end as q{i}"
        ),
        f"case when isfinite({raw}) and abs({raw}) >= {limit} then true end as g{i}",
    ]


def _raw(i: int, value: Value) -> str:
    """As `features.events` hands a value to the store."""
    if value.expression.kind not in NUMBERS:
        return f"case when r{i} is not null then 0.0::double end as r{i}"
    return f"cast(r{i} as {'double' if value.expression.kind == 'float64' else 'bigint'}) as r{i}"


def _side(part: Part) -> str:
    return "min" if part.merge == "least" else "max"


def _start(window_us: int) -> str:
    hop = hop_us(window_us) // SLOT_US
    return f"t >= (b // {hop} * {hop} - {window_us // SLOT_US}) * {SLOT_US}"
