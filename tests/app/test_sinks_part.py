"""The part `sinks`: upkeep that fails costs no stream its sink, and no engine is closed under a sink that is at work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from millstream.app import parts
from millstream.base.errors import Corrupt, Fenced, Transient
from millstream.base.waits import Waits
from millstream.run import intake, trouble


class Sinks:
    """Of two streams, which note what they do; the upkeep of the log fails."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.stop, self.rounds, self.at_work = error, threading.Event(), 0, set[str]()
        state = SimpleNamespace(get=lambda *a: None, put=lambda *a: None)
        self.ws: Any = SimpleNamespace(state=state, project=None, catalog=None, log=SimpleNamespace(maintain=self.upkeep),
                                       lake=SimpleNamespace(names=list))  # fmt: skip

    def streams(self) -> dict[str, Any]:
        return {name: SimpleNamespace(name=name) for name in ("a", "b")}

    def sink(self, stream: Any, limits: Any) -> Any:
        def run(stop: threading.Event) -> None:
            self.at_work.add(stream.name)
            stop.wait()
            time.sleep(0.05)  # a batch in its hands
            self.at_work.discard(stream.name)

        return SimpleNamespace(step=lambda: None, run=run, close=lambda: None)

    def upkeep(self) -> None:
        self.rounds += 1
        if self.rounds == 3:
            assert self.at_work == {"a", "b"}
            self.stop.set()
        raise self.error


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(error: BaseException) -> Sinks:
        made = Sinks(error)
        wait = made.stop.wait
        monkeypatch.setattr(parts, "until_told", lambda: made.stop)
        monkeypatch.setattr(parts, "fix", lambda ws, stop: None)
        monkeypatch.setattr(parts, "all_streams", lambda project: made.streams())
        monkeypatch.setattr(intake, "sink", lambda ws, stream, limits: made.sink(stream, limits))
        monkeypatch.setattr(made.stop, "wait", lambda s=None: wait(s and 0.1))
        return made

    return run


@pytest.mark.parametrize("error", [Corrupt("batch 7"), Transient("not now"), OSError(28, "No space left on device"), ValueError("a bug")])
def test_upkeep_that_fails_stops_no_sink(quick: Any, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    made = quick(error)
    parts.sinks(made.ws)
    assert made.rounds == 3 and made.at_work == set()
    assert caplog.text.count(f"upkeep of the log: {error}") == 1, "three rounds, one message"


def test_upkeep_that_works_again_is_said(caplog: pytest.LogCaptureFixture) -> None:
    waits, errors = Waits(), [Transient("disk 1 is full"), Transient("disk 2 is full"), Transient("something else"), None, None, Transient("disk 1 is full")]

    def work() -> None:
        if (error := errors.pop(0)) is not None:
            raise error

    while errors:
        parts._upkeep(waits, "orders", work)
    told = [record.message for record in caplog.records]
    assert told == ["upkeep of orders: disk 1 is full", "upkeep of orders: something else", "upkeep of orders works again", "upkeep of orders: disk 1 is full"]


def test_what_ends_the_part_ends_it_after_its_sinks(quick: Any) -> None:
    made = quick(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        parts.sinks(made.ws)
    assert made.at_work == set(), "their engines are closed next"


class Torn:
    """A project with one torn table, which another process is repairing; a lease and its holder's death are told by the test."""

    def __init__(self) -> None:
        self.damage: str | None = "torn"
        self.held, self.asked, self.cuts = True, 0, 0
        state = SimpleNamespace(lease=self.lease, release=lambda *a: None)
        self.ws: Any = SimpleNamespace(lake=SimpleNamespace(names=lambda: ["t"]), files=None, log=None, state=state)

    def lease(self, *what: Any) -> bool:
        self.asked += 1
        if self.asked == 3:
            self.after_a_while()
        return not self.held

    def after_a_while(self) -> None: ...

    def cut(self, *what: Any) -> None:
        self.cuts += 1


@pytest.fixture
def torn(monkeypatch: pytest.MonkeyPatch) -> Torn:
    made = Torn()
    monkeypatch.setattr("millstream.lake.cut.needed", lambda files, name: made.damage)
    monkeypatch.setattr("millstream.lake.cut.cut", made.cut)
    return made


def test_sinks_say_that_they_wait_for_a_repair(torn: Torn, caplog: pytest.LogCaptureFixture) -> None:
    torn.after_a_while = lambda: setattr(torn, "held", False)  # type: ignore[method-assign]
    parts.fix(torn.ws, threading.Event())
    assert torn.cuts == 1 and caplog.text.count('table "t" is being repaired by another process') == 1


def test_sinks_go_on_when_another_has_repaired_the_table(torn: Torn) -> None:
    torn.after_a_while = lambda: setattr(torn, "damage", None)  # type: ignore[method-assign]
    parts.fix(torn.ws, threading.Event())
    assert torn.cuts == 0


def test_sinks_that_wait_for_a_repair_can_be_stopped(torn: Torn) -> None:
    stop = threading.Event()
    torn.after_a_while = stop.set  # type: ignore[method-assign]
    parts.fix(torn.ws, stop)
    assert torn.cuts == 0 and torn.asked == 3


class Panic(BaseException):
    """As pyo3's, which is not an Exception."""


class Stop:
    """Never told; notes for how long it is waited for."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        self.pauses.append(seconds)


def tried(errors: list[BaseException | None]) -> tuple[list[float], list[Any]]:
    """The pauses of a sink of which each try ends so, None standing for one that works for a while first; and what was kept."""
    stop, kept = Stop(), list[Any]()

    def work(well: Callable[[], None]) -> None:
        if errors and errors[0] is None:
            errors.pop(0)
            well()
        if errors:
            raise errors.pop(0) or AssertionError

    state: Any = SimpleNamespace(get=lambda *key: None, put=lambda kind, key, doc: kept.append(doc))
    trouble.alone(state, "orders", work, stop)  # type: ignore[arg-type]
    return stop.pauses, kept


@pytest.mark.parametrize("error", [Corrupt("batch is damaged"), Transient("not now"), ValueError("a bug")])
def test_pauses_grow_whatever_the_error_is_and_begin_anew_after_it_worked(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    pauses, _ = tried([*[error] * 9, None, error])
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 0.5]
    told = [record.message for record in caplog.records]
    assert [text.partition(";")[0] for text in told] == [told[0].partition(";")[0], "the sink of orders works again", told[0].partition(";")[0]]


def test_a_sink_that_was_fenced_stops_and_shows_no_next_try(caplog: pytest.LogCaptureFixture) -> None:
    pauses, kept = tried([Fenced("taken over")])
    assert pauses == [] and kept[-1]["next"] == "" and "it stops" in caplog.text


def test_a_stream_that_fails_is_tried_again_whatever_was_raised(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A read-only lake names another new file each time: that is one error, told once."""
    monkeypatch.setattr(trouble, "FIRST_S", 0.0)
    raised: list[BaseException] = [Panic("out of descriptors"), *(Transient(f"/lake/t/1733{n}-ab{n}f.parquet is read-only") for n in range(4))]
    kept: list[Any] = []

    def work(well: Callable[[], None]) -> None:
        if raised:
            raise raised.pop(0)

    trouble.alone(SimpleNamespace(get=lambda *key: None, put=lambda *what: kept.append(what)), "orders", work, threading.Event())
    assert not raised and len(kept) == 5
    said = [record.message for record in caplog.records]
    assert len(said) == 2 and "Panic: out of descriptors" in said[0] and "is read-only" in said[1]
