"""What an experiment is doing: phases that begin and end, pinned arms, and one winner of two who change it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from decided_world import ARMS, ab, bought, buys, paid

import millstream as ms
from millstream.base.errors import Conflict, NotFound, UsageError
from millstream.base.registry import engine
from millstream.experiment import phases
from millstream.experiment.phases import Arm
from millstream.state.port import Doc, State

NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
some = ms.training_set("some", at=buys, label=bought, features=[])


@ms.model(some)
def trees(train: ms.Train) -> object:
    return None


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made: State = engine("state", "sqlite")(f"sqlite:{tmp_path}/state.db")
    yield made
    made.close()


def resolve(ref: Any) -> int:
    """The champion is version 3."""
    return 3 if ref.version == "champion" else int(ref.version)


def modelled(**options: Any) -> Any:
    return ab(
        **{
            "arms": {"now": trees["champion"], "old": trees[1], "none": {"x": [1, None]}},
            "assign": ms.assign.ab(0.5, 0.3, 0.2),
            **options,
        }
    )


def test_a_first_phase_pins_what_the_aliases_name(state: State) -> None:
    assert phases.current(state, "colours") is None and phases.history(state, "colours") == []
    made = phases.ensure(modelled(), state, resolve, NOON)
    assert (made.number, made.status, made.method, made.started_at, made.ended_at, made.winner) == (
        1,
        "running",
        "ab",
        NOON,
        None,
        None,
    )
    assert made.arms == {"now": Arm("trees", 3), "old": Arm("trees", 1), "none": Arm(value={"x": [1, None]})} and list(
        made.arms
    ) == ["now", "old", "none"]
    assert made.weights == {"now": 0.5, "old": 0.3, "none": 0.2} and (made.layer, made.traffic, made.unit) == (
        "colours",
        (0.0, 1.0),
        "user",
    )
    assert phases.current(state, "colours") == made == phases.history(state, "colours")[0]


def test_weights() -> None:
    assert phases.weights(ab()) == {"blue": 0.5, "red": 0.5} and phases.weights(ab(assign=ms.assign.thompson())) == {}


def test_a_running_one_keeps_its_versions_whatever_the_aliases_do(state: State) -> None:
    first = phases.ensure(modelled(), state, resolve, NOON)
    assert phases.ensure(modelled(), state, lambda ref: 99, NOON + HOUR) == first
    again = phases.start(modelled(), state, lambda ref: 99, NOON + HOUR)
    assert again.number == 2 and again.arms["now"].version == 99, "start, said so, pins anew"
    before = phases.history(state, "colours")[0]
    assert (before.status, before.ended_at, before.arms["now"].version) == ("stopped", NOON + HOUR, 3)


CHANGES: dict[str, Callable[[], Any]] = {
    "arms": lambda: ab(arms={"blue": {"colour": "navy"}, "red": ARMS["red"]}),
    "order of arms": lambda: ab(arms=dict(reversed(ARMS.items()))),
    "weights": lambda: ab(assign=ms.assign.ab(0.9, 0.1)),
    "method": lambda: ab(assign=ms.assign.thompson()),
    "traffic": lambda: ab(traffic=(0.0, 0.5)),
    "layer": lambda: ab(layer="page"),
    "unit": lambda: ab(unit="device"),
    "reward": lambda: ab(reward=bought.score("2 * outcome::int")),
    "outcome": lambda: ab(reward=ms.outcome(buys, on="decision_id", within="7h", otherwise=False)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_declaration_is_a_new_phase(state: State, change: str) -> None:
    phases.ensure(ab(), state, resolve, NOON)
    assert phases.ensure(ab(doc="another word", guardrails={"paid": paid}), state, resolve, NOON + HOUR).number == 1, (
        "words and guardrails are not a change"
    )
    changed = phases.ensure(CHANGES[change](), state, resolve, NOON + HOUR)
    assert (changed.number, changed.status) == (2, "running") and phases.ensure(
        CHANGES[change](), state, resolve, NOON + 2 * HOUR
    ) == changed


def test_epsilon_and_floor_are_part_of_the_declaration() -> None:
    prints = {
        phases.definition(ab(assign=a))
        for a in (
            ms.assign.epsilon_greedy(0.1),
            ms.assign.epsilon_greedy(0.2),
            ms.assign.thompson(floor=0.01),
            ms.assign.thompson(floor=0.02),
            ms.assign.thompson(floor=0.01, by=["device"]),
        )
    }
    assert len(prints) == 5


def test_stopped_stays_stopped_until_it_is_started(state: State) -> None:
    phases.ensure(ab(), state, resolve, NOON)
    ended = phases.stop("colours", state, NOON + HOUR)
    assert (ended.number, ended.status, ended.ended_at) == (1, "stopped", NOON + HOUR)
    assert phases.ensure(ab(traffic=(0.0, 0.1)), state, resolve).status == "stopped"
    with pytest.raises(
        UsageError,
        match=(
            'experiment "colours" was stopped already, in phase 1: its units get the default; to measure again: '
            " millstream experiment start colours"
        ),
    ):
        phases.stop("colours", state)
    assert phases.start(ab(), state, resolve, NOON + 2 * HOUR).number == 2
    assert [(p.number, p.status, p.ended_at) for p in phases.history(state, "colours")] == [
        (1, "stopped", NOON + HOUR),
        (2, "running", None),
    ]


def test_shipping_is_a_phase_of_its_own(state: State) -> None:
    phases.ensure(modelled(), state, resolve, NOON)
    with pytest.raises(UsageError, match=r'has no arm "green" in phase \d; there are now, old, none'):
        phases.ship("colours", "green", state)
    shipped = phases.ship("colours", "old", state, NOON + HOUR)
    assert (shipped.number, shipped.status, shipped.winner, shipped.started_at) == (2, "shipped", "old", NOON + HOUR)
    assert (
        shipped.arms == phases.history(state, "colours")[0].arms
        and phases.history(state, "colours")[0].status == "stopped"
    )
    assert phases.ensure(modelled(traffic=(0.0, 0.2)), state, resolve) == shipped, (
        "a shipped one stays, whatever is declared"
    )
    with pytest.raises(UsageError, match='was shipped with "old" in phase 2'):
        phases.ship("colours", "now", state)
    with pytest.raises(
        UsageError,
        match=(
            'was shipped in phase 2: all of its traffic gets "old", so nothing is left to stop; to measure again: '
            " millstream experiment start"
        ),
    ):
        phases.stop("colours", state)
    assert phases.start(modelled(), state, resolve).number == 3
    assert [p.status for p in phases.history(state, "colours")] == ["stopped", "shipped", "running"]


def test_one_that_was_stopped_can_be_shipped(state: State) -> None:
    phases.ensure(ab(), state, resolve, NOON)
    phases.stop("colours", state, NOON + HOUR)
    assert phases.ship("colours", "red", state, NOON + 2 * HOUR).number == 2
    assert phases.history(state, "colours")[0].ended_at == NOON + HOUR, "the end of its first phase is not moved"


def test_what_was_never_started(state: State) -> None:
    for call in (lambda: phases.stop("colours", state), lambda: phases.ship("colours", "red", state)):
        with pytest.raises(NotFound, match='"colours" was never started; millstream experiment start colours'):
            call()


def test_an_arm_without_a_version_starts_nothing(state: State) -> None:
    def missing(ref: Any) -> int:
        raise NotFound("trees has no champion yet")

    with pytest.raises(NotFound, match="no champion"):
        phases.start(modelled(), state, missing)
    assert phases.current(state, "colours") is None


class Between:
    """A state in which somebody else acts between our reading and our writing, once."""

    def __init__(self, state: State, act: Callable[[], Any]) -> None:
        self.state, self.act = state, act

    def get(self, kind: str, key: str) -> Doc | None:
        doc = self.state.get(kind, key)
        act, self.act = self.act, lambda: None
        act()
        return doc

    def put(self, kind: str, key: str, value: Mapping[str, Any], *, expect: int | None = None) -> Doc:
        return self.state.put(kind, key, value, expect=expect)


OURS: dict[str, Callable[[Any], Any]] = {
    "start": lambda state: phases.start(ab(), state, resolve),
    "stop": lambda state: phases.stop("colours", state),
    "ship": lambda state: phases.ship("colours", "red", state),
    "ensure": lambda state: phases.ensure(ab(traffic=(0.0, 0.5)), state, resolve),
}


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("theirs", OURS)
def test_of_two_at_once_one_is_told(state: State, ours: str, theirs: str) -> None:
    phases.ensure(ab(), state, resolve, NOON)
    with pytest.raises(Conflict):
        OURS[ours](Between(state, lambda: OURS[theirs](state)))
    doc = state.get("experiment", "colours")
    assert doc is not None and doc.revision == 2, "exactly one change happened"
    now = phases.current(state, "colours")
    assert (
        now is not None
        and (now.number, now.status)
        == {"start": (2, "running"), "stop": (1, "stopped"), "ship": (2, "shipped"), "ensure": (2, "running")}[theirs]
    )


def test_two_first_starts_make_one_phase(state: State) -> None:
    with pytest.raises(Conflict):
        phases.start(ab(), Between(state, lambda: phases.start(ab(), state, resolve)), resolve)  # type: ignore[arg-type]
    assert [p.number for p in phases.history(state, "colours")] == [1]
