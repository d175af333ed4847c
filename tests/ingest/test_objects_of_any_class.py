"""Objects of any class of events are sent: whichever of its fields have defaults, in whatever order, and whatever is wrong with them is named."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

import millstream as ms
from millstream.base.errors import UsageError
from millstream.client import Client
from millstream.ingest.form import BadEvent, EventForm
from millstream.ingest.objects import Objects
from millstream.lab.lab import _sent
from millstream.serve.request import RequestForm

TS = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "meter": (str, {}),
    "kwh": (float | None, {"kwh": None}),
    "ok": (bool, {"ok": True}),
    "tags": (list[str], {"tags": ("a", "b")}),
    "ts": (ms.EventTime, {}),
}


def made(order: tuple[str, ...]) -> type[ms.Event]:
    defaults = {name: value for field in order for name, value in FIELDS[field][1].items()}
    return type("Reading", (ms.Event,), {"__annotations__": {name: FIELDS[name][0] for name in order}, "__module__": __name__} | defaults)


@pytest.mark.parametrize("order", list(itertools.permutations(FIELDS)), ids="-".join)
def test_defaults_may_stand_anywhere(order: tuple[str, ...]) -> None:
    """Every place that builds a decoder or an encoder of a class."""
    event: Any = made(order)
    one = event(meter="m", ts=TS)
    raw = Objects(event.__schema__).json(one)
    assert msgspec.json.decode(raw) == {"meter": "m", "kwh": None, "ok": True, "tags": ["a", "b"], "ts": "2026-01-01T00:00:00Z"}
    assert list(EventForm(event.__schema__, zoned=True, ids=True, closed=True).one(b'{"meter": "m", "ts": "2026-01-01T00:00:00Z"}').tags) == ["a", "b"]
    (asked,), _ = RequestForm(event.__schema__).decode(b'{"meter": "m"}')
    assert asked["ok"] is True and asked["kwh"] is None and asked["ts"] is None
    stream = ms.stream("readings", event, key="meter")
    assert _sent(stream, (one,))[0].ok is True


class Reading(ms.Event):
    meter: str
    kwh: float | None = None
    ok: bool = True
    ts: ms.EventTime


class Other(ms.Event):
    meter: str
    ts: ms.EventTime


class Ask(ms.Event):
    meter: str
    ts: ms.EventTime


READINGS = ms.stream("readings", Reading, key="meter")
ENDPOINT: Any = ms.endpoint(
    "noshow",
    ms.experiment("ab", arms={"a": "one", "b": "two"}, unit="meter", assign=ms.assign.ab(0.5, 0.5), reward=ms.outcome(READINGS, on="meter", within="1h", value="kwh")),
    default="one",
    request=Ask,
)  # fmt: skip


class Told(Client):
    """Answers by itself, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.asked: list[tuple[str, bytes]] = []

    def _post(self, path: str, body: bytes, headers: Any) -> Any:
        self.asked.append((path, body))
        one = {"decision_id": "d", "value": "one"}
        return (
            {"offsets": {"0": 1}, "accepted": body.count(b"\n") + 1, "repeated": 0}
            if "events" in path
            else [one] * body.count(b'"meter"')
            if body[:1] == b"["
            else one
        )


def test_an_event_may_stand_alone_and_events_may_be_any_iterable() -> None:
    client = Told()
    assert client.send(READINGS, Reading(meter="m", ts=TS)).accepted == 1
    assert client.send(READINGS, (Reading(meter=f"m{at}", ts=TS) for at in range(3))).accepted == 3
    assert client.send(READINGS, Reading(meter="m", ts=TS), ids=["x"]).accepted == 1 and b'"event_id":"x"' in client.asked[-1][1]
    assert len(client.predict_many(ENDPOINT, (Ask(meter=f"m{at}", ts=TS) for at in range(3)))) == 3
    assert client.predict(ENDPOINT, Ask(meter="m", ts=TS)).value == "one"


READING: Any = Reading(meter="m", ts=TS)


@pytest.mark.parametrize(("call", "said"), [
    (lambda c: c.send(READINGS, Other(meter="m", ts=TS)), 'stream "readings" takes Reading, and was given Other'),
    (lambda c: c.send(READINGS, [READING, {"meter": "m"}]), 'stream "readings" takes Reading, and was given a value of type dict'),
    (lambda c: c.send(READINGS, [Reading]), 'stream "readings" takes Reading, and was given Reading, the class itself'),
    (lambda c: c.send(READINGS, {"meter": "m"}), "events are a list of events, and {'meter': 'm'} is none; write [event, ...]"),
    (lambda c: c.send(READINGS, None), "events are a list of events, and None is none; write [event, ...]"),
    (lambda c: c.send(READINGS, [READING], ids="x"), 'ids is a list of ids, and was given the text "x"; write ids=["x"]'),
    (lambda c: c.send("readings", [READING]), "send takes the stream that ms.stream(...) returned, and was given 'readings'; import it from the project's module"),
    (lambda c: c.predict("noshow", READING), "predict takes the endpoint that ms.endpoint(...) returned, and was given 'noshow'; import it from the project's module"),
    (lambda c: c.predict_many("noshow", []), "predict_many takes the endpoint that ms.endpoint(...) returned, and was given 'noshow'; import it from the project's module"),
    (lambda c: c.predict(ENDPOINT, READING), 'endpoint "noshow" takes Ask, and was given Reading'),
    (lambda c: c.predict(ENDPOINT, [Ask(meter="m", ts=TS)]), 'endpoint "noshow" takes Ask, and was given a value of type list'),
    (lambda c: c.predict(ENDPOINT, Ask(meter="m", ts=TS), after="x"), "after= takes what send returned, a Receipt or a list of them, and was given 'x'"),
    (lambda c: c.predict(ENDPOINT, Ask(meter="m", ts=TS), after=[None]), "after= takes what send returned, a Receipt or a list of them, and was given None"),
])  # fmt: skip
def test_what_the_client_cannot_take_is_refused_before_it_is_sent(call: Any, said: str) -> None:
    client = Told()
    with pytest.raises(UsageError) as error:
        call(client)
    assert str(error.value) == said and not client.asked


class Colour(StrEnum):
    RED = "red"


def test_values_of_libraries_arrive_as_the_ones_they_equal() -> None:
    sent: Any = Reading(meter=Colour.RED, kwh=np.float64(1.5), ok=np.bool_(False), ts=TS)  # type: ignore[arg-type]
    assert msgspec.json.decode(Objects(Reading.__schema__).json(sent)) == {"meter": "red", "kwh": 1.5, "ok": False, "ts": "2026-01-01T00:00:00Z"}
    assert _sent(READINGS, (sent,))[0].kwh == 1.5


@pytest.mark.parametrize(("values", "said", "fix"), [
    ({"ts": "2026-01-01T00:00:00Z"}, "Reading.ts is '2026-01-01T00:00:00Z'", "give ts as a datetime with a zone, e.g. datetime(2013, 11, 1, 12, tzinfo=UTC)"),
    ({"ts": np.datetime64("2026-01-01")}, "Reading.ts is np.datetime64('2026-01-01')", "give ts as a datetime with a zone, e.g. datetime(2013, 11, 1, 12, tzinfo=UTC)"),
    ({"kwh": np.bool_(True), "ts": TS}, "Reading.kwh is np.True_", "give kwh as a number, e.g. 12.5, or nothing"),
])  # fmt: skip
def test_a_refused_object_names_what_python_has_to_give(values: dict[str, Any], said: str, fix: str) -> None:
    with pytest.raises(BadEvent) as error:
        Objects(Reading.__schema__).json(Reading(meter="m", **values))
    assert (error.value.message, error.value.fix, str(error.value)) == (said, fix, f"{said}; {fix}")


def test_a_refused_object_of_several_is_numbered() -> None:
    """The client's text said neither which event it was nor what to give."""
    client, good = Told(), Reading(meter="m", kwh=1.0, ts=TS)
    bad = Reading(meter="m", kwh="much", ts=TS)  # type: ignore[arg-type]
    with pytest.raises(BadEvent) as error:
        client.send(READINGS, [good, good, bad])
    assert str(error.value) == "events[2]: Reading.kwh is 'much'; give kwh as a number, e.g. 12.5, or nothing" and error.value.field == "kwh"
    with pytest.raises(BadEvent, match=r"requests\[1\]: Ask\.meter is 5; give meter as text"):
        client.predict_many(ENDPOINT, [Ask(meter="m", ts=TS), Ask(meter=5, ts=TS)])  # type: ignore[arg-type]
    assert not client.asked


def test_moments_in_lists_are_as_exact_as_alone() -> None:
    """Zones of before 1900 have offsets with seconds, for which ISO 8601 has no place."""

    class Born(ms.Event):
        at: datetime
        all: list[datetime]
        ts: ms.EventTime

    moment = datetime(1890, 6, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    sent = json.loads(Objects(Born.__schema__).json(Born(at=moment, all=[moment], ts=datetime(2026, 1, 1, tzinfo=UTC))))
    assert sent["all"] == [sent["at"]] == ["1890-06-01T11:06:32Z"]
