"""The suite that every online store passes: subclass `OnlineContract` and give it a store."""

from __future__ import annotations

import random
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from millstream.base.errors import Conflict, NotFound
from millstream.base.event import EventTime
from millstream.declare.collect import collecting
from millstream.declare.event import Event
from millstream.declare.features import agg, features
from millstream.declare.stream import stream
from millstream.features.define import define
from millstream.features.definition import Definition
from millstream.features.lift import Lifted, schema, ties, tile_schema
from millstream.features.online import HEAD_US
from millstream.features.port import Applied, Apply, OnlineStore
from millstream.features.window import SLOT_US

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
T0 = 20_000 * DAY
KEYS = ("sa", "sb", "sc")
Row = tuple[str, int, float | None, int | None]
"""Key, event time, a float, an integer."""


class Read(Event):
    """An event of the suite."""

    k: str
    v: float | None
    n: int | None
    ts: EventTime


def definition(name: str = "all") -> Definition:
    """Every aggregate over a float and an integer, in a short window, a long one, and none."""
    with collecting():
        readings = stream("contract_readings", Read, key="k", partitions=3)
        of = {
            "c": agg.count(),
            "cv": agg.count("v"),
            "s": agg.sum("v"),
            "m": agg.mean("v"),
            "var": agg.variance("v"),
            "mn": agg.min("v"),
            "mx": agg.max("v"),
            "f": agg.first("v"),
            "l": agg.last("v"),
            "ns": agg.sum("n"),
            "nl": agg.last("n", default=-1.0),
        }
        return define(features(name, readings, key="k", aggregates=of, windows=["30m", "7d"]), {})


def batch(of: Definition, rows: Sequence[Row], partition: int = 0, start: int = 0) -> pa.RecordBatch:
    """Rows at consecutive offsets, as `Apply.events`."""
    import numpy as np

    tied = pa.array(ties(partition, np.arange(start, start + len(rows))))
    columns = {"v": [r[2] for r in rows], "n": [r[3] for r in rows]}
    values = [
        pa.array(columns[value.expression.text], schema(of).field(f"v{i}").type) for i, value in enumerate(of.values)
    ]
    return pa.RecordBatch.from_arrays(
        [pa.array([r[0] for r in rows], pa.string()), pa.array([r[1] for r in rows], pa.int64()), tied, *values],
        schema=schema(of),
    )


def apply(
    of: Definition, rows: Sequence[Row], start: int = 0, partition: int = 0, clock_us: int = T0, ruling: str = ""
) -> Apply:
    return Apply(of, partition, start, start + len(rows), clock_us, batch(of, rows, partition, start), ruling)


def some_rows(chance: random.Random, n: int, until_us: int = T0) -> list[Row]:
    """Events of the last ten days, most of them near the ends of slots, hours and days."""
    edges = [
        until_us - SLOT_US,
        until_us - 30 * MINUTE,
        until_us - HOUR,
        until_us - DAY,
        until_us - 7 * DAY,
        until_us - 10 * DAY,
    ]
    values = [None, 0.1, -0.0, 0.0, -3.5, 8.9e9, float("inf"), float("nan"), 2.5e-7, chance.uniform(-1e6, 1e6)]
    whole = [None, 0, 5, -7, 8_999_999_999_999_999]

    def value(usual: Sequence[Any], too_large: Sequence[Any]) -> Any:
        # Seldom, since one leaves a window without a sum
        return chance.choice(usual if chance.random() < 0.98 else too_large)

    return [
        (
            chance.choice(KEYS),
            chance.choice(edges) + chance.choice([-1, 0, 1, chance.randrange(2 * HOUR)]),
            value(values, [1e12, -9e9]),
            value(whole, [9_000_000_000_000_000, -(2**63)]),
        )
        for _ in range(n)
    ]


def filled(of: Definition, rows: pa.RecordBatch) -> tuple[pa.RecordBatchReader, pa.RecordBatchReader]:
    """Tiles and heads of these events, as a fill hands them over."""
    wanted = tile_schema(of)
    tiles = [(key, level, b, *states) for level, found in Lifted(of, rows).tiles() for key, b, *states in found]
    made = []
    if tiles:
        columns = [
            pa.array(column, field.type) for column, field in zip(zip(*sorted(tiles), strict=True), wanted, strict=True)
        ]
        made.append(pa.RecordBatch.from_arrays(columns, schema=wanted))
    return pa.RecordBatchReader.from_batches(wanted, made), pa.RecordBatchReader.from_batches(schema(of), [rows])


class OnlineContract:
    """The store is empty."""

    @pytest.fixture
    @abstractmethod
    def store(self) -> OnlineStore:
        """A fresh store."""

    @abstractmethod
    def again(self, store: OnlineStore) -> OnlineStore:
        """Another handle on the same data, as another process would have it."""

    def open(self, store: OnlineStore, of: Definition) -> None:
        store.create(of)
        store.activate(of.generation, {}, 0)

    def look(
        self,
        store: OnlineStore,
        of: Definition,
        keys: Sequence[str | None] = (*KEYS, "sz"),
        at: Sequence[int] = (T0, T0 + 1, T0 + SLOT_US),
    ) -> list[Mapping[str, Any]]:
        pairs = [(key, moment) for key in keys for moment in at]
        return [found.values for found in store.lookup(of, [k for k, _ in pairs], [m for _, m in pairs])]

    # -- generations

    def test_an_unknown_generation(self, store: OnlineStore) -> None:
        of = definition()
        assert store.applied(of.generation) is None and store.generations() == []
        with pytest.raises(NotFound):
            store.lookup(of, ["a"], [T0])
        with pytest.raises(NotFound):
            store.reader([(of, ["k"], "p")])({"k": "a"}, T0)
        with pytest.raises(NotFound):
            store.activate(of.generation, {}, 0)
        with pytest.raises(Conflict):
            store.apply([apply(of, [("a", T0 - 1, 1.0, 1)])])
        store.drop(of.generation)
        assert store.generations() == []

    def test_made_twice_is_made_once_and_drop_forgets(self, store: OnlineStore) -> None:
        of = definition()
        self.open(store, of)
        store.apply([apply(of, [("a", T0 - 1, 1.0, 1)])])
        store.create(of)
        assert store.generations() == [of.generation] and store.applied(of.generation) == Applied({0: 1}, T0, True)
        store.drop(of.generation)
        assert store.generations() == [] and store.applied(of.generation) is None
        self.open(store, of)
        assert self.look(store, of, "a")[0]["c_7d"] == 0

    def test_what_is_not_active_takes_no_updates(self, store: OnlineStore) -> None:
        of = definition()
        store.create(of)
        with pytest.raises(Conflict):
            store.apply([apply(of, [("a", T0 - 1, 1.0, 1)])])
        assert store.applied(of.generation) == Applied({}, 0, False)
        store.activate(of.generation, {1: 5}, 7, "rule.2")
        assert (
            store.applied(of.generation)
            == self.again(store).applied(of.generation)
            == Applied({1: 5}, 7, True, "rule.2")
        )
        with pytest.raises(Conflict):
            store.activate(of.generation, {1: 9}, 9)
        assert store.applied(of.generation) == Applied({1: 5}, 7, True, "rule.2")

    # -- updating

    def test_positions_and_events_move_together_or_not_at_all(self, store: OnlineStore) -> None:
        one, two = definition("one"), definition("two")
        self.open(store, one)
        self.open(store, two)
        rows: list[Row] = [("a", T0 - 5, 1.0, 1), ("a", T0 - 4, 2.0, 2)]
        store.apply([apply(one, rows), apply(two, rows), apply(one, rows, partition=2)])
        assert store.applied(one.generation) == Applied({0: 2, 2: 2}, T0, True)
        before = self.look(store, one), self.look(store, two)
        for wrong in (apply(two, rows, 0), apply(two, rows, 1), apply(two, rows, 3), apply(two, rows, 1, partition=1)):
            with pytest.raises(Conflict):  # replayed, overlapping, with a gap, and a partition that begins at 0
                store.apply([apply(one, rows, 2), wrong])
            assert (self.look(store, one), self.look(store, two)) == before
            assert store.applied(one.generation) == Applied({0: 2, 2: 2}, T0, True)
        store.apply([apply(one, rows, 2), apply(two, rows, 2)])
        assert self.look(store, one, "a")[0]["c_7d"] == 6 and self.look(store, two, "a")[0]["c_7d"] == 4

    def test_records_that_hold_no_event_move_the_position_too(self, store: OnlineStore) -> None:
        of = definition()
        self.open(store, of)
        store.apply([Apply(of, 1, 0, 40, T0 + 5, batch(of, []))])
        store.apply([Apply(of, 1, 40, 50, 0, batch(of, []))])
        assert store.applied(of.generation) == Applied({1: 50}, T0 + 5, True), "and the clock never goes back"

    def test_any_cut_order_and_partition_gives_the_same_bits(self, store: OnlineStore) -> None:
        chance = random.Random(11)
        whole, cut = definition("whole"), definition("cut")
        rows = some_rows(chance, 400)
        self.open(store, whole)
        self.open(store, cut)
        parts = [rows[p::3] for p in range(3)]
        store.apply([apply(whole, part, 0, p) for p, part in enumerate(parts)])
        at = [0, 0, 0]
        while any(at[p] < len(parts[p]) for p in range(3)):
            p, n = chance.randrange(3), chance.randrange(1, 40)
            piece = parts[p][at[p] : at[p] + n]
            if piece:
                store.apply([apply(cut, piece, at[p], p)])
                at[p] += len(piece)
        keys, moments = [*KEYS, "sz"], [T0 - 1, T0, T0 + 1, T0 + 29 * MINUTE, T0 + SLOT_US, T0 + DAY]
        assert [list(map(repr, v.values())) for v in self.look(store, whole, keys, moments)] == [
            list(map(repr, v.values())) for v in self.look(store, cut, keys, moments)
        ]
        assert self.look(store, whole, KEYS)[0]["c_7d"] > 20

    def test_of_two_updaters_one_wins_each_range(self, store: OnlineStore) -> None:
        of = definition()
        self.open(store, of)
        other, won, lost = self.again(store), list[int](), list[int]()

        def run(mine: OnlineStore) -> None:
            for i in range(30):
                try:
                    mine.apply([apply(of, [("a", T0 - i - 1, 1.0, 1)], i)])
                    won.append(i)
                except Conflict:
                    lost.append(i)

        threads = [threading.Thread(target=run, args=(s,)) for s in (store, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other.close()
        applied = store.applied(of.generation)
        assert (
            applied is not None
            and len(set(won)) == len(won)
            and self.look(store, of, "a")[0]["c_7d"] == len(won) == applied.offsets[0]
        )

    # -- look-ups

    def test_the_moment_is_outside_and_the_start_inside(self, store: OnlineStore) -> None:
        of = definition()
        self.open(store, of)
        start = T0 - 30 * MINUTE
        store.apply(
            [
                apply(
                    of,
                    [("a", t, float(i), None) for i, t in enumerate([start - 1, start, start + 1, T0 - 1, T0, T0 + 1])],
                )
            ]
        )
        counts = [v["c_30m"] for v in self.look(store, of, "a", [T0, T0 + 1, T0 + 2, T0 + SLOT_US - 1, T0 + SLOT_US])]
        assert counts == [3, 4, 5, 5, 3], "a start moves by whole slots, and holds for every moment of one"
        first = self.look(store, of, "a", [T0])[0]
        assert (first["f_30m"], first["l_30m"], first["f_7d"]) == (1.0, 3.0, 0.0)

    def test_why_a_value_is_missing(self, store: OnlineStore) -> None:
        of = definition()
        self.open(store, of)
        store.apply(
            [apply(of, [("old", T0 - 2 * HOUR, 1.0, 1), ("null", T0 - 1, None, None), ("one", T0 - 1, 1.0, 1)])]
        )
        old, null, one, never, none = store.lookup(of, ["old", "null", "one", "never", None], [T0] * 5)
        assert old.reasons["s_30m"] == "outside_window" and "s_7d" not in old.reasons and old.values["s_7d"] == 1.0
        assert null.reasons["s_30m"] == "no_value" and null.values["c_30m"] == 1 and null.values["cv_30m"] == 0
        assert one.reasons == {"var_30m": "no_value", "var_7d": "no_value"}
        store.apply(
            [
                apply(
                    of,
                    [
                        ("one", T0 - 2, 9e9, 3),
                        ("big", T0 - 3, 1.0, 9_000_000_000_000_000),
                        ("big", T0 - 2, -1e300, -(2**63)),
                    ],
                    3,
                )
            ]
        )
        one, big = store.lookup(of, ["one", "big"], [T0, T0])
        assert one.reasons == dict.fromkeys(["s_30m", "s_7d", "m_30m", "m_7d", "var_30m", "var_7d"], "too_large")
        assert (
            one.values["cv_30m"],
            one.values["mx_30m"],
            one.values["s_30m"],
            one.values["ns_30m"],
            one.values["nl_30m"],
        ) == (2, 9e9, None, 4.0, 1.0)
        assert (
            big.reasons["ns_7d"] == big.reasons["s_7d"] == "too_large"
            and big.values["mn_7d"] == -1e300
            and big.values["nl_7d"] == -float(2**63)
        )
        assert set(never.reasons.values()) == {"none_in_reach"} and set(none.reasons.values()) == {"null_key"}
        with collecting():
            ever = define(
                features(
                    "ever",
                    stream("contract_readings", Read, key="k", partitions=3),
                    key="k",
                    aggregates={"m": agg.mean("v")},
                ),
                {},
            )
        self.open(store, ever)
        assert store.lookup(ever, ["never"], [T0])[0].reasons == {"m": "never_seen"}, (
            "only a window over all time knows"
        )
        assert (
            never.values == none.values
            and never.values["nl_7d"] == -1.0
            and never.values["c_7d"] == 0
            and never.values["s_7d"] is None
        )

    def test_what_is_too_old_says_so(self, store: OnlineStore) -> None:
        of = definition()
        self.open(store, of)
        clock = T0 + HEAD_US + HOUR + 7
        horizon = (clock - HEAD_US) // SLOT_US * SLOT_US
        store.apply([apply(of, [("a", T0 - 1, 1.0, 1)], clock_us=clock)])
        assert [found.exact for found in store.lookup(of, ["a"] * 3, [horizon - 1, horizon, clock])] == [
            False,
            True,
            True,
        ]
        reader = store.reader([(of, ["k"], "p")])
        assert reader({"k": "a"}, horizon - 1).inexact == ("p",) and reader({"k": "a"}, horizon).inexact == ()

    def test_a_reader_answers_as_lookup_does(self, store: OnlineStore) -> None:
        chance = random.Random(3)
        one, two = definition("one"), definition("two")
        for of in (one, two):
            self.open(store, of)
            store.apply([apply(of, some_rows(chance, 100))])
        reader = store.reader([(one, ["k"], "x"), (two, ["other"], "y"), (one, ["other"], "z")])
        assert list(reader.columns) == [
            f"{p}__{c}" for p, of in (("x", one), ("y", two), ("z", one)) for c in of.columns
        ]
        for moment in (T0, T0 + 3, T0 + HOUR):
            found = reader({"k": "b", "other": None}, moment)
            bare = store.lookup(one, ["sb"], [moment])[0]
            assert {k: v for k, v in found.values.items() if k.startswith("x__")} == {
                f"x__{k}": v for k, v in bare.values.items()
            }
            assert bare.values["c_7d"]
            assert found.reasons["y__s_7d"] == found.reasons["z__s_7d"] == "null_key"
            assert set(found.values) == set(reader.columns) and found.offsets == {"contract_readings": {0: 100}}
        store.apply([apply(two, some_rows(chance, 5), 100)])
        assert reader({"k": "b", "other": "a"}, T0).offsets == {
            "contract_readings": {0: 100},
            "contract_readings/y": {0: 105},
        }

    def test_one_snapshot_for_all_uses(self, store: OnlineStore) -> None:
        one, two = definition("one"), definition("two")
        self.open(store, one)
        self.open(store, two)
        writer, stop, torn = self.again(store), threading.Event(), list[Any]()
        reader = store.reader([(one, ["k"], "x"), (two, ["k"], "y")])

        def read() -> None:
            while not stop.is_set():
                found = reader({"k": "a"}, T0)
                counts = found.values["x__c_7d"], found.values["y__c_7d"], found.offsets["contract_readings"].get(0, 0)
                if len(set(counts)) != 1 or len(found.offsets) != 1:
                    torn.append(counts)

        thread = threading.Thread(target=read)
        thread.start()
        for i in range(60):
            writer.apply([apply(of, [("sa", T0 - i - 1, 1.0, 1)], i) for of in (one, two)])
        stop.set()
        thread.join()
        writer.close()
        assert torn == [] and reader({"k": "a"}, T0).values["x__c_7d"] == 60

    def test_expiry_changes_no_exact_answer(self, store: OnlineStore) -> None:
        chance = random.Random(7)
        kept, expired = definition("kept"), definition("expired")
        for of in (kept, expired):
            self.open(store, of)
        dropped, clock, at = 0, T0 - 9 * DAY, 0
        for _ in range(12):
            rows = some_rows(chance, 40, clock)
            store.apply([apply(of, rows, at, clock_us=clock) for of in (kept, expired)])
            at += len(rows)
            dropped += store.expire(expired)
            moments = [clock - HEAD_US + SLOT_US, clock, clock + 1, clock + HOUR, clock + 30 * HOUR]
            assert list(map(repr, self.look(store, expired, KEYS, moments))) == list(
                map(repr, self.look(store, kept, KEYS, moments))
            )
            clock += chance.choice([HOUR, 7 * HOUR, DAY, 2 * DAY])
        assert dropped > 100

    # -- filling

    def test_a_fill_and_what_follows_is_as_if_all_had_been_applied(self, store: OnlineStore) -> None:
        chance = random.Random(5)
        straight, filling = definition("straight"), definition("filling")
        rows = some_rows(chance, 300)
        self.open(store, straight)
        store.apply([apply(straight, rows)])
        store.load(filling, *filled(filling, batch(filling, rows[:200])))
        assert store.applied(filling.generation) == Applied({}, 0, False)
        store.activate(filling.generation, {0: 200}, T0)
        store.apply([apply(filling, rows[200:], 200)])
        assert list(map(repr, self.look(store, filling))) == list(map(repr, self.look(store, straight)))
        assert store.applied(filling.generation) == Applied({0: 300}, T0, True)
        assert self.look(store, filling) == self.look(store, straight)

    def test_a_fill_replaces_what_a_killed_one_left(self, store: OnlineStore) -> None:
        of = definition()
        rows: list[Row] = [("a", T0 - i, 1.0, 1) for i in range(1, 60)]
        tiles, heads = filled(of, batch(of, rows))

        def broken() -> Any:
            yield tiles.read_next_batch()
            raise RuntimeError("killed")

        with pytest.raises(RuntimeError, match="killed"):
            store.load(of, pa.RecordBatchReader.from_batches(tiles.schema, broken()), heads)
        assert store.applied(of.generation) == Applied({}, 0, False)
        store.load(of, *filled(of, batch(of, rows[:3])))
        store.activate(of.generation, {0: 3}, T0)
        assert self.look(store, of, "a")[0]["c_7d"] == 3

    def test_of_two_fillers_what_becomes_active_is_ones_own(self, store: OnlineStore) -> None:
        of = definition()
        rows: list[Row] = [("a", T0 - i, 1.0, 1) for i in range(1, 60)]
        other = self.again(store)
        store.load(of, *filled(of, batch(of, rows)))
        with pytest.raises(Conflict):  # the other may be refused at once, or be the one that counts from here on
            other.load(of, *filled(of, batch(of, rows[:3])))
            store.activate(of.generation, {0: 59}, T0)
        winner, n = (store, 59) if self._activates(store, of, 59) else (other, 3)
        if winner is other:
            other.activate(of.generation, {0: 3}, T0)
        other.close()
        assert self.look(store, of, "a")[0]["c_7d"] == n and store.applied(of.generation) == Applied({0: n}, T0, True)

    def _activates(self, store: OnlineStore, of: Definition, n: int) -> bool:
        try:
            store.activate(of.generation, {0: n}, T0)
        except Conflict:
            return False
        return True

    def test_what_is_over_a_table_is_filled_again_while_it_answers(self, store: OnlineStore) -> None:
        of, chance = replace(definition(), live=False, generation="ab" * 8), random.Random(5)
        reader = store.reader([(of, ["k"], "r")])
        before = after = None
        for version in (1, 2, 3):
            rows = batch(of, some_rows(chance, 60))
            store.load(of, *filled(of, rows))
            if version > 1:
                assert self.look(store, of) == before, "until it is whole the old one answers"
                assert self.again(store).applied(of.generation) == Applied({0: version - 1}, T0, True)
            store.activate(of.generation, {0: version}, T0)
            after = self.look(store, of)
            assert after != before and self.look(self.again(store), of) == after
            assert {f"r__{name}": value for name, value in self.look(store, of, ["sa"], [T0])[0].items()} == dict(
                reader({"k": "a"}, T0).values
            )
            assert reader({"k": "a"}, T0).offsets[of.stream] == {0: version}
            before = after
        with pytest.raises(Conflict):
            store.activate(of.generation, {0: 9}, T0)
        # Killed here: nothing of it shows, and another fill takes its place
        store.load(of, *filled(of, batch(of, some_rows(chance, 60))))
        store.drop(of.generation)
        assert store.applied(of.generation) is None and store.generations() == []

    def test_what_updaters_move_on_is_filled_again_while_it_answers(self, store: OnlineStore) -> None:
        """Whether a record counts may change; the old answers stay, and move on, until the new ones are whole."""
        of, wanted, chance = definition("again"), definition("wanted"), random.Random(6)
        rows, fewer = some_rows(chance, 120), some_rows(chance, 60)
        store.load(of, *filled(of, batch(of, rows[:90])))
        store.activate(of.generation, {0: 90}, T0, "rule.1")
        store.load(of, *filled(of, batch(of, fewer)))
        store.apply([apply(of, rows[90:], 90, ruling="rule.1")])
        self.open(store, wanted)
        store.apply([apply(wanted, rows)])
        assert list(map(repr, self.look(store, of))) == list(map(repr, self.look(store, wanted)))
        assert self.again(store).applied(of.generation) == Applied({0: 120}, T0, True, "rule.1")
        store.activate(of.generation, {0: 60}, T0, "rule.2")
        with pytest.raises(Conflict):
            store.apply([apply(of, rows, 120, ruling="rule.1")])
        store.drop(wanted.generation)
        self.open(store, wanted)
        store.apply([apply(wanted, fewer)])
        assert list(map(repr, self.look(store, of))) == list(map(repr, self.look(store, wanted)))
        assert self.again(store).applied(of.generation) == Applied({0: 60}, T0, True, "rule.2")
        store.apply([apply(of, rows[60:], 60, ruling="rule.2")])
        assert store.applied(of.generation) == Applied({0: 120}, T0, True, "rule.2")

    def test_a_thread_is_another_too(self, store: OnlineStore) -> None:
        """Two threads of a process that find the same thing to do, through one handle."""
        of, half, more = definition(), threading.Event(), threading.Event()
        rows: list[Row] = [("a", T0 - i, 1.0, 1) for i in range(1, 60)]
        self.open(store, of)
        tiles, heads = filled(of, batch(of, rows))

        def slow() -> Iterator[pa.RecordBatch]:
            half.set()
            more.wait(20)
            yield from tiles

        def fill() -> None:
            store.load(of, pa.RecordBatchReader.from_batches(tiles.schema, slow()), heads)
            store.activate(of.generation, {0: 59}, T0)

        first = threading.Thread(target=fill)
        first.start()
        half.wait(20)
        with pytest.raises(Conflict):
            store.load(of, *filled(of, batch(of, rows[:3])))
        with pytest.raises(Conflict):
            store.activate(of.generation, {0: 3}, T0)
        more.set()
        first.join()
        assert self.look(store, of, "a")[0]["c_7d"] == 59 and store.applied(of.generation) == Applied({0: 59}, T0, True)
        store.load(of, *filled(of, batch(of, rows[:3])))
        store.activate(of.generation, {0: 3}, T0)
        assert self.look(store, of, "a")[0]["c_7d"] == 3

    def test_nobody_activates_what_another_has_begun_to_fill(self, store: OnlineStore) -> None:
        of = definition()
        other = self.again(store)
        store.load(of, *filled(of, batch(of, [("a", T0 - 1, 1.0, 1)])))
        with pytest.raises(Conflict):
            other.activate(of.generation, {}, 0)
        store.activate(of.generation, {0: 1}, T0)
        other.close()
        assert store.applied(of.generation) == Applied({0: 1}, T0, True)

    # -- lasting

    def test_another_handle_sees_what_was_applied(self, store: OnlineStore) -> None:
        of = definition()
        self.open(store, of)
        other = self.again(store)
        for i in range(3):
            store.apply([apply(of, [("a", T0 - i - 1, 1.0, 1)], i)])
            assert other.applied(of.generation) == store.applied(of.generation) == Applied({0: i + 1}, T0, True)
            assert self.look(other, of) == self.look(store, of)
        other.close()

    def test_generations_are_apart(self, store: OnlineStore) -> None:
        one = definition("one")
        two = replace(one, generation="b" * 16)
        self.open(store, one)
        self.open(store, two)
        store.apply([apply(one, [("a", T0 - 1, 1.0, 1)])])
        assert self.look(store, one, "a")[0]["c_7d"] == 1 and self.look(store, two, "a")[0]["c_7d"] == 0
        store.drop(one.generation)
        assert store.generations() == [two.generation] and self.look(store, two, "a")[0]["c_7d"] == 0
