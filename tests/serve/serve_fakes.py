"""Small stand-ins for the rooms above `serve`, so that its own behaviour is tested by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

import millstream as ms
from millstream.declare.endpoint import Endpoint
from millstream.features.online import Found
from millstream.log.envelope import Binding
from millstream.log.port import Append, Range, Topic
from millstream.serve.decide import Arm, Decider
from millstream.serve.decisions import decisions_stream
from millstream.serve.request import RequestForm


class Ask(ms.Event):
    """A flight will leave."""

    flight_id: str
    carrier: str
    distance: float
    seats: int | None = None
    ts: ms.EventTime


def endpoint_of_values(name: str = "rank") -> Endpoint[Any, Any]:
    things = ms.stream(f"{name}_things", Ask, key="flight_id")
    reward = ms.outcome(things, on="flight_id", within="1h")
    test = ms.experiment(
        f"{name}_test",
        arms={"a": {"show": True}, "b": {"show": False}},
        unit="flight_id",
        assign=ms.assign.ab(),
        reward=reward,
    )
    return ms.endpoint(name, test, default={"show": None}, request=Ask)


@dataclass
class FakeLog:
    """Keeps what is appended; `pause_s` makes an append slow, `refuse` makes it fail."""

    pause_s: float = 0.0
    refuse: Callable[[], Exception | None] = lambda: None
    batches: list[pa.RecordBatch] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def append(self, appends: Sequence[Append]) -> list[Range]:
        error = self.refuse()
        if error:
            raise error
        time.sleep(self.pause_s)
        with self.lock:
            self.batches += [a.rows for a in appends]
        return [Range(a.topic, a.partition, 0, a.rows.num_rows) for a in appends]

    def rows(self) -> list[dict[str, Any]]:
        with self.lock:
            return [row for batch in self.batches for row in batch.to_pylist()]


def binding_of(endpoint: Endpoint[Any, Any]) -> Binding:
    stream = decisions_stream(endpoint)
    return Binding(topic=Topic(stream.name, "0" * 32, stream.partitions), schema_id=1, stream=stream)


class FakeReader:
    """Look-ups of one feature by the request's carrier."""

    columns = ("left__flights_3h", "left__delay_3h")

    def __init__(self, known: Mapping[str, float]) -> None:
        self.known = dict(known)
        self.inexact: tuple[str, ...] = ()

    def __call__(self, request: Mapping[str, Any], at_us: int) -> Found:
        delay = self.known.get(request["carrier"])
        reasons = {} if delay is not None else {"left__delay_3h": "never_seen"}
        return Found(
            {"left__flights_3h": int(delay is not None), "left__delay_3h": delay},
            reasons,
            {"departures": {0: 0}},
            self.inexact,
        )


class Fixed:
    """A model that always says the same, or raises."""

    def __init__(self, says: Any = 0.5) -> None:
        self.says = says

    def predict_row(self, row: Mapping[str, Any]) -> Any:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says(row) if callable(self.says) else self.says


@dataclass
class FakeLive:
    """A `Live` whose deciders a test sets."""

    deciders: dict[str, Decider]
    bindings: dict[str, Binding]
    trouble: list[str] = field(default_factory=list)
    waits: list[tuple[str, str, str]] = field(default_factory=list)
    refused: str = ""
    applied: dict[str, dict[int, int]] = field(default_factory=dict)
    closed: bool = False

    def start(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def names(self) -> list[str]:
        return sorted(self.deciders)

    def decider(self, endpoint: str) -> Decider:
        from millstream.base.errors import NotFound

        if endpoint not in self.deciders:
            raise NotFound(f'no endpoint "{endpoint}"')
        return self.deciders[endpoint]

    def binding(self, endpoint: str) -> Binding:
        return self.bindings[endpoint]

    def features(self, endpoint: str) -> list[str]:
        return ["left__delay_3h", "left__flights_3h"]

    def problems(self) -> list[str]:
        return self.trouble

    def answering(self) -> list[str]:
        return [] if self.trouble else self.names()

    def waiting(self) -> list[tuple[str, str, str]]:
        return self.waits

    def refuses(self) -> str:
        return self.refused

    def behind(self, after: Mapping[str, Mapping[int, int]]) -> str:
        late = [
            f"{s} {p}"
            for s, ends in after.items()
            for p, end in ends.items()
            if self.applied.get(s, {}).get(p, 0) < end
        ]
        return ", ".join(late)

    def gauges(self) -> dict[str, Any]:
        return {"millstream_updater_lag": ("Records behind.", {(("stream", 'a "b"'),): 3.0})}


def live(predictor: Any = None, name: str = "late") -> FakeLive:
    """One endpoint `late` whose default arm is the predictor."""
    endpoint = endpoint_of_values(name)
    arm = Arm(model="trees", version=3, predictor=predictor or Fixed())
    decider = Decider(name, RequestForm(Ask.__schema__), {}, None, {}, arm)
    return FakeLive({name: decider}, {name: binding_of(endpoint)})
