"""One endpoint as it stands: which arm, which features, which prediction. Immutable, so it is swapped as a whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from millstream.base.duration import UNITS, spell
from millstream.base.errors import Transient, WorkFailed
from millstream.base.floats import finite, named
from millstream.base.moments import moment_of, moment_us, spelled
from millstream.base.theirs import pass_on, spot
from millstream.features.online import Found
from millstream.features.port import Reader
from millstream.ingest.doors import wall_us
from millstream.serve.record import decision_id
from millstream.serve.request import BadRequest, RequestForm

_json = msgspec.json.Encoder().encode
_NOTHING = Found({}, {}, {})


class Predicts(Protocol):
    """What is needed of a model version (see `train.predictor.Predictor`)."""

    def predict_row(self, row: Mapping[str, Any]) -> Any:
        """One row: the request's fields, the features and the derived columns."""
        ...


class Routes(Protocol):
    """What is needed of a router (see `experiment.route.Router`): `None` when no experiment takes the unit."""

    def route(self, unit: Any, request: Mapping[str, Any]) -> Any: ...


@dataclass(frozen=True)
class Arm:
    """What answers: a model's version with its look-ups, or a value.

    Attributes:
        derive: Column -> closure over the request and the features, in order.
        missing: Why it cannot answer yet, "" when it can.
    """

    model: str | None = None
    version: int | None = None
    predictor: Predicts | None = None
    reads: Reader | None = None
    derive: Mapping[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)
    value: Any = None
    missing: str = ""

    @property
    def label(self) -> str:
        return f"{self.model}@{self.version}" if self.model else ""


@dataclass(frozen=True)
class Decider:
    """An endpoint at one moment of its life.

    Attributes:
        units: Experiment -> the request's field that it randomises; empty without experiments.
        arms: (experiment, phase, arm) -> what answers.
        default: What answers when no experiment takes the unit.
        now_us: The clock, in microseconds since 1970 UTC. Raises ClockWrong while it cannot be trusted.
        ahead_us: How far ahead of it a request's event time and arrival time may lie.
    """

    endpoint: str
    form: RequestForm
    units: Mapping[str, str]
    router: Routes | None
    arms: Mapping[tuple[str, int, str], Arm]
    default: Arm
    now_us: Callable[[], int] = wall_us
    ahead_us: int = UNITS["d"]

    def decide(self, requests: Sequence[dict[str, Any]], began: float | None = None) -> list[dict[str, Any]]:
        """One decision a request: a row for the log, whose `value` and `as_of` are JSON texts.

        Args:
            requests: As `RequestForm.decode` gives them; a missing event time becomes now.
            began: `time.perf_counter()` when the request came.

        Raises:
            BadRequest: An event time or arrival time lies too far ahead of the clock; none was decided.
            ClockWrong: The clock cannot be trusted.
            Transient: An arm that the router chose cannot answer yet.
            WorkFailed: A model or a derived column raised.
        """
        began = time.perf_counter() if began is None else began
        moments = self._moments(requests)
        return [self._decide(request, at, began) for request, at in zip(requests, moments, strict=True)]

    def _decide(self, request: dict[str, Any], at_us: int, began: float) -> dict[str, Any]:
        routed, arm = self._route(request)
        if arm.missing:
            raise Transient(f'endpoint "{self.endpoint}": {arm.missing}')
        return self._row(
            request, at_us, routed, arm, _NOTHING if arm.reads is None else arm.reads(request, at_us), began
        )

    def _moments(self, requests: Sequence[dict[str, Any]]) -> list[int]:
        """The event time of each. All are judged before any is decided: what was decided is recorded, and this door
        judges once.
        """
        now, name, arrival = self.now_us(), self.form.time, self.form.arrival
        found = []
        for request in requests:
            given = request[name]
            if given is None:
                request[name] = moment_of(now)
            at = now if given is None else moment_us(given)
            self._check("event time", name, at, now)
            if arrival is not None and request[arrival] is not None:
                self._check("arrival time", arrival, moment_us(request[arrival]), now)
            found.append(at)
        return found

    def _check(self, what: str, name: str, at: int, now: int) -> None:
        if at > now + self.ahead_us:
            raise BadRequest(
                f'{what} "{name}" is {spelled(at)}, more than {spell(self.ahead_us)} ahead of the server\'s clock'
                f" ({spelled(now)})",
                name,
                (
                    f"send {name} as the time of the event, or leave it out for now"
                    if name == self.form.time
                    else f"send {name} as the time at which the event arrived"
                ),
            )

    def _route(self, request: Mapping[str, Any]) -> tuple[Any, Arm]:
        routed = None if self.router is None else self.router.route(None, request)
        return routed, self.default if routed is None else self.arms[routed.experiment, routed.phase, routed.arm]

    def _unit(self, request: Mapping[str, Any], experiment: str | None) -> str | None:
        field = self.units.get(experiment or "") or next(iter(self.units.values()), None)
        value = None if field is None else request[field]
        return None if value is None else str(value)

    def _row(
        self, request: Mapping[str, Any], at_us: int, routed: Any, arm: Arm, found: Found, began: float
    ) -> dict[str, Any]:
        row = {**request, **found.values}
        predicted = _predict(arm, row) if arm.predictor is not None else None
        several = dict(predicted) if isinstance(predicted, Mapping) else None
        value = arm.value if several is None else several
        reasons = {**found.reasons, **dict.fromkeys(found.inexact, INEXACT)} if found.inexact else found.reasons
        row |= {
            "decision_id": decision_id(),
            "unit": self._unit(request, routed.experiment if routed else None),
            "reasons": _json(reasons).decode() if reasons else None,
            "experiment": None,
            "phase": None,
            "arm": None,
            "propensity": None,
            "model": arm.model,
            "version": arm.version,
            "prediction": None if several else predicted,
            "value": None if arm.model and several is None else _json(value).decode(),
            "as_of": _json(found.offsets).decode(),
            "ts": moment_of(at_us),
        }
        if routed is not None:
            row |= {
                "experiment": routed.experiment,
                "phase": routed.phase,
                "arm": routed.arm,
                "propensity": routed.propensity,
            }
        row["latency_us"] = int((time.perf_counter() - began) * 1e6)
        return row


def _predict(arm: Arm, row: dict[str, Any]) -> Any:
    assert arm.predictor is not None
    try:
        for name, evaluate in arm.derive.items():
            row[name] = evaluate(row)
        predicted = arm.predictor.predict_row(row)
    except BaseException as error:
        pass_on(error)
        raise WorkFailed(f"model {arm.label} raised {type(error).__name__}: {error} ({spot(error)})") from error
    if not finite(predicted):  # an answer is JSON, which has no such number
        raise WorkFailed(f"model {arm.label} predicted {named(predicted)}, which is not a finite number")
    return predicted


INEXACT = "inexact"
"""Of a prefix of features: the moment lies further back than the store keeps apart, so its values are not those of that
moment.
"""
ANSWER = ("decision_id", "prediction", "experiment", "phase", "arm", "propensity", "model", "version")


def answer(row: Mapping[str, Any], explain: Sequence[str] = ()) -> dict[str, Any]:
    """A decision as the caller gets it; features that were looked up for a moment too old to be exact are named in any
    case. `explain` names the feature columns to add, with the reasons.
    """
    said = {name: row[name] for name in ANSWER}
    said["value"] = None if row["value"] is None else msgspec.Raw(row["value"].encode())
    said["as_of"] = msgspec.Raw(row["as_of"].encode())
    if (
        row["reasons"] is not None
        and INEXACT in row["reasons"]
        and (prefixes := [name for name, why in msgspec.json.decode(row["reasons"]).items() if why == INEXACT])
    ):
        said["inexact"] = prefixes
    if explain:
        said["features"] = {name: row[name] for name in explain if name in row}
        said["reasons"] = {} if row["reasons"] is None else msgspec.Raw(row["reasons"].encode())
    return said
