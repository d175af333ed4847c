"""Skew: look-ups that a server logged, held against the offline reader in bits."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from watch_fakes import scene_in

import millstream as ms
from millstream.base.event import ARRIVED_AT, EVENT_ID, TIMESTAMP, rows_to_arrow
from millstream.declare.collect import collecting
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.online import SqliteOnline
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.features.fill import fill
from millstream.features.skew import compare
from millstream.features.updater import Updater
from millstream.lake.sink import Sink
from millstream.log.envelope import publish, topic_of
from millstream.serve.decide import Arm, Decider
from millstream.serve.decisions import decisions_stream, request_schema
from millstream.serve.record import Recorder
from millstream.serve.request import RequestForm
from millstream.train.dataset import uses_of
from millstream.train.pinned import derived, from_json, to_json
from millstream.watch.monitor import judge
from millstream.watch.scene import Scene
from millstream.watch.verdict import Verdict

MINUTE, HOUR = 60_000_000, 3_600_000_000
T0 = 1_700_000_100_000_000 // HOUR * HOUR


class Ask(ms.Event):
    carrier: str | None
    number: int
    ts: ms.EventTime


class Left(ms.Event):
    carrier: str
    number: int
    delay: float | None
    ts: ms.EventTime


asked = ms.stream("asked_now", Ask, key="carrier")
left = ms.stream("left_now", Left, key="number", partitions=3, dedupe="event_id")
agg = ms.agg
by_carrier = ms.features(
    "by_carrier",
    left,
    key="carrier",
    windows=["30m", "7d"],
    aggregates={
        "n": agg.count(),
        "delay": agg.mean("delay"),
        "spread": agg.variance("delay"),
        "final": agg.last("delay"),
        "worst": agg.max("delay", default=-1.0),
    },
)
by_number = ms.features(
    "by_number",
    left,
    key="number",
    windows=["3h"],
    where="delay > 0",
    aggregates={"late": agg.sum("delay"), "seen": agg.count("carrier")},
)
punctual = ms.training_set(
    "punctual",
    at=asked,
    label=ms.outcome(left, on="carrier", within="1h"),
    features=[by_carrier, by_number.on("number", name="flight"), by_number["late_3h"]],
)


@ms.model(punctual)
def guess(train: ms.Train) -> object:
    return None


ask = ms.endpoint("ask", guess["champion"])
MONITOR = ms.monitor(ask, ms.expect.skew())


class Always:
    def predict_row(self, row: Any) -> float:
        return 0.5


@dataclass
class Trackings:
    """Manifests in folders, as training leaves them."""

    folder: Path

    def pin(self, version: int, uses: Sequence[Any]) -> list[Any]:
        told = [to_json(use, {}) for use in uses]
        (self.folder / str(version)).mkdir(parents=True)
        (self.folder / str(version) / "manifest.json").write_text(json.dumps({"features": told}))
        return [from_json(one) for one in told]

    def artifacts(self, model: str, version: int) -> Path:
        return self.folder / str(version)


@dataclass
class World:
    """A log, a lake, an online store and a decider on them."""

    folder: Path
    chance: random.Random = field(default_factory=lambda: random.Random(5))

    def __post_init__(self) -> None:
        self.tracking = Trackings(self.folder / "models")
        self.scene: Scene = scene_in(self.folder, left, ask, tracking=self.tracking)
        url = f"sqlite:{self.folder}/log.db"
        self.schemas = SqliteSchemas(url)
        self.log = SqliteLog(url, self.schemas)
        self.store = SqliteOnline(f"sqlite:{self.folder}/online.db")
        self.decisions = decisions_stream(ask)
        self.bindings = {s.name: topic_of(self.log, self.schemas, s) for s in (left, self.decisions)}
        self.updaters: list[Updater] = []
        self.now = T0

    def train(self, version: int, uses: Sequence[Any]) -> None:
        """A version that serves from here on: its features filled, then moved on."""
        pinned = self.tracking.pin(version, uses)
        self.uses, self.version = pinned, version
        definitions = list({d.generation: d for d, _, _ in pinned}.values())
        for definition in definitions:
            if self.store.applied(definition.generation) is None:
                fill(self.scene.engines.sql, self.scene.engines.lake, self.store, definition, left)
        self.updaters.append(
            Updater(self.log, self.schemas, self.store, definitions, left, lake=self.scene.engines.lake)
        )
        arm = Arm("guess", version, Always(), self.store.reader(pinned))
        self.decider = Decider("ask", RequestForm(request_schema(ask)), {}, None, {}, arm)

    def send(self, n: int) -> None:
        """Events of the last hour, some late, some twice."""
        made = [
            Left(
                carrier=self.chance.choice(["UA", "AA", "B6"]),
                number=self.chance.randrange(5),
                delay=self.chance.choice([None, -3.5, 1e6, -0.0, 0.1, 0.0]),
                ts=self.moment(self.now - self.chance.randrange(HOUR)),
            )
            for _ in range(n)
        ]
        rows = rows_to_arrow(made, Left.__schema__)
        ids = [f"{self.now}-{i // 2 * 2 if self.chance.random() < 0.2 else i}" for i in range(n)]
        envelope = {EVENT_ID: pa.array(ids), ARRIVED_AT: pa.array([self.now] * n, TIMESTAMP)}
        publish(
            self.log,
            self.bindings["left_now"],
            pa.RecordBatch.from_pydict({**dict(zip(rows.schema.names, rows.columns, strict=True)), **envelope}),
        )
        self.now += MINUTE

    def moment(self, us: int) -> datetime:
        return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)

    def decide(self, n: int, back: int = 0) -> list[dict[str, Any]]:
        rows = [
            self.decider.decide(
                [
                    {
                        "carrier": self.chance.choice(["UA", "AA", None, "ZZ"]),
                        "number": self.chance.randrange(6),
                        "ts": self.moment(self.now - back - self.chance.randrange(5 * MINUTE)),
                    }
                ]
            )[0]
            for _ in range(n)
        ]
        self.log_decisions(rows)
        return rows

    def look_ups(self, rows: Sequence[dict[str, Any]]) -> pa.Table:
        """Decisions as `compare` takes them."""
        kept = [{**row, "_row": i, "_t": row["ts"], ARRIVED_AT: row["ts"]} for i, row in enumerate(rows)]
        return pa.Table.from_pylist(kept).drop_columns(["ts"])

    def log_decisions(self, rows: Sequence[dict[str, Any]]) -> None:
        recorder = Recorder(self.log, self.bindings["ask_decisions"])
        recorder.write(rows)

    def update(self) -> None:
        for updater in self.updaters:
            updater.drain()

    def land(self, *streams: Any) -> None:
        for stream in streams or (left, self.decisions):
            sink = Sink(self.log, self.schemas, self.scene.engines.lake, stream)
            sink.drain()
            sink.close()

    def verdict(self) -> Verdict:
        return judge(MONITOR.checks[0], MONITOR, self.scene)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for updater in made.updaters:
        updater.close()
    made.store.close()


def test_nothing_has_been_looked_up(world: World) -> None:
    assert world.verdict().status == "unknown"
    world.train(1, uses_of(punctual, {}))
    world.send(50)
    world.land()
    assert world.verdict().status == "unknown"


def test_zero_values_differ_between_an_updater_that_is_behind_and_offline(world: World) -> None:
    world.send(200)
    world.land()
    world.train(1, uses_of(punctual, {}))
    for turn in range(6):
        world.send(60)
        if turn % 2:
            world.update()
        world.decide(20)
    world.land()
    found = world.verdict()
    assert (found.status, found.value, found.details["lookups"], found.details["compared"]) == ("ok", 0.0, 120, 120), (
        found.message
    )
    assert found.details["values"] == 120 * 13 and found.details["inexact"] == found.details["ahead"] == 0


def test_a_difference_of_one_bit_is_found_and_named(world: World) -> None:
    world.train(1, uses_of(punctual, {}))
    world.send(200)
    world.update()
    rows = world.decide(30)
    wrong = next(r for r in rows if r["by_carrier__delay_7d"])
    one_bit = {
        **wrong,
        "decision_id": "wrong",
        "by_carrier__delay_7d": math.nextafter(wrong["by_carrier__delay_7d"], math.inf),
    }
    gone = {**wrong, "decision_id": "gone", "by_carrier__n_7d": None}
    world.log_decisions([one_bit, gone])
    world.land()
    found = world.verdict()
    assert (found.status, found.value) == ("violated", 2.0)
    assert found.details["differ"] == {"by_carrier__delay_7d": 1, "by_carrier__n_7d": 1}
    told = {e["decision_id"]: (e["column"], e["online"], e["offline"]) for e in found.details["examples"]}
    assert told["wrong"] == ("by_carrier__delay_7d", one_bit["by_carrier__delay_7d"], wrong["by_carrier__delay_7d"])
    assert told["gone"] == ("by_carrier__n_7d", None, wrong["by_carrier__n_7d"])
    other = judge(world_of_features(by_number).checks[0], world_of_features(by_number), world.scene)
    assert other.status == "ok" and other.details["values"] == 32 * 3, (
        "the monitor of one features noun looks at its columns alone"
    )


def world_of_features(noun: Any) -> Any:
    with collecting():
        return ms.monitor(noun, ms.expect.skew())


def test_derived_columns_are_compared_too(tmp_path: Path) -> None:
    """They were not looked at: here the online reader answers by another case of letters than SQL has, and by another
    rounding.
    """
    derive = {"shout": "upper(carrier)", "near": "round(by_carrier__delay_7d, 1)", "many": "by_carrier__n_7d + number"}
    logged = {"shout": "string", "near": "float64", "many": "int64"}
    world = World(tmp_path)
    try:
        world.train(1, uses_of(punctual, {}))
        manifest = tmp_path / "models" / "1" / "manifest.json"
        manifest.write_text(
            json.dumps(
                {
                    **json.loads(manifest.read_text()),
                    "derive": derive,
                    "project_params": {},
                    "fields": {"carrier": "string", "number": "int64", "ts": "timestamp"},
                }
            )
        )
        compiled = derived(json.loads(manifest.read_text()), world.uses)
        assert {name: one.kind for name, one in compiled.items()} == logged
        world.send(200)
        world.update()
        world.land(left)
        rows = [{**row, **{name: one.evaluate(row) for name, one in compiled.items()}} for row in world.decide(20)]
        table = world.look_ups(rows)
        assert (
            compare(
                world.scene.engines.sql, world.scene.engines.lake, table, world.uses, taken(manifest), compiled
            ).differ
            == {}
        )
        rows[3]["shout"], rows[4]["near"], rows[5]["many"] = "another", 1e9, -1
        found = compare(
            world.scene.engines.sql,
            world.scene.engines.lake,
            world.look_ups(rows),
            world.uses,
            taken(manifest),
            compiled,
        )
        assert found.differ == {"shout": 1, "near": 1, "many": 1} and found.values == 20 * (13 + 3)
        assert {(d.column, d.online) for d in found.examples} == {("shout", "another"), ("near", 1e9), ("many", -1)}
    finally:
        for updater in world.updaters:
            updater.close()
        world.store.close()


def taken(manifest: Path) -> list[str]:
    return [column for use in json.loads(manifest.read_text())["features"] for column in use["taken"]]


def test_what_has_not_landed_and_what_was_inexact_is_left_out_and_told(world: World) -> None:
    world.train(1, uses_of(punctual, {}))
    world.send(200)
    world.update()
    world.land(left)
    world.decide(10)
    world.now += 2 * HOUR
    world.send(10)
    world.update()
    world.decide(7)
    old = world.decide(5, back=3 * HOUR)
    assert all("inexact" in row["reasons"] for row in old)
    world.land(world.decisions)
    found = world.verdict()
    assert (found.status, found.details["compared"], found.details["ahead"]) == (
        "ok",
        10,
        12,
    ) and "not landed" in found.message
    world.land(left)
    found = world.verdict()
    assert (found.status, found.details["compared"], found.details["ahead"], found.details["inexact"]) == (
        "ok",
        17,
        0,
        5 * 13,
    )


def test_values_of_past_moments_that_count_later_arrivals_are_told(world: World) -> None:
    world.train(1, uses_of(punctual, {}))
    world.send(200)
    world.update()
    world.now += 10 * MINUTE
    world.decide(10)
    world.land()
    found = world.verdict()
    assert (found.details["compared"], found.details["look_ahead"]) == (10, 0) and "later" not in found.message
    world.now += HOUR
    world.send(200)  # of the last hour
    world.update()
    world.decide(10, back=HOUR // 2)
    world.land()
    found = world.verdict()
    assert (found.status, found.value, found.details["compared"], found.details["inexact"]) == ("ok", 0.0, 20, 0), (
        "the store held what it should"
    )
    assert 0 < found.details["look_ahead"] < 130 and "are not those of that moment" in found.message


def test_each_version_is_held_against_the_definitions_that_it_pinned(world: World) -> None:
    world.train(1, uses_of(punctual, {}))
    world.send(150)
    world.update()
    world.decide(20)
    changed = [
        dataclasses.replace(
            use,
            definition=dataclasses.replace(use.definition, generation="aa" + use.definition.generation[2:], where=None),
        )
        for use in uses_of(punctual, {})
    ]
    world.land(left)
    # The same columns, now of every flight: what offline says of version 1 would be wrong of version 2
    world.train(2, changed)
    world.send(50)
    world.updaters[-1].drain()  # the other definition stays behind, so positions are logged for each
    world.decide(20)
    world.land()
    found = world.verdict()
    assert (found.status, found.details["compared"]) == ("ok", 40), found.message
    (world.tracking.folder / "2" / "manifest.json").rename(world.folder / "away.json")
    found = world.verdict()
    assert (found.status, found.details["compared"], found.details["versions_gone"]) == (
        "ok",
        20,
        ["guess@2"],
    ) and "guess@2" in found.message
    (world.tracking.folder / "2" / "manifest.json").write_text(
        (world.tracking.folder / "1" / "manifest.json").read_text()
    )
    assert world.verdict().status == "violated", "the fixture must tell the two definitions apart"


def test_only_the_window_is_looked_at(world: World) -> None:
    world.train(1, uses_of(punctual, {}))
    world.send(50)
    world.update()
    wrong = world.decide(1)[0] | {"decision_id": "old", "by_carrier__n_7d": 99, "carrier": "ZZ"}
    world.log_decisions([wrong])
    world.now += 3 * HOUR
    world.decide(10)
    world.land()
    assert world.verdict().status == "violated"
    with collecting():
        monitor = ms.monitor(ask, ms.expect.skew(window="1h"))
    found = judge(monitor.checks[0], monitor, world.scene)
    assert (found.status, found.details["lookups"]) == ("ok", 10)
