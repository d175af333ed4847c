"""What stands behind the endpoints: model versions, look-ups, routers and feature updaters, swapped while they serve.

A refresh builds the next `Decider` of an endpoint beside the one that answers, and then puts it in its place: a request
sees the one or the other, never a half. What cannot be built (a version whose files are gone) leaves what answers in
place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from millstream.base.errors import Conflict, MillstreamError, NotFound, Transient
from millstream.base.secrets import hide
from millstream.base.theirs import pass_on
from millstream.base.waits import Wait, Waits
from millstream.base.words import choices
from millstream.declare.endpoint import Endpoint
from millstream.declare.model import Model, ModelRef
from millstream.experiment import learn, phases
from millstream.experiment.route import Router
from millstream.features.definition import Definition
from millstream.ingest.doors import quietly
from millstream.log.envelope import Binding, topic_of
from millstream.log.port import OnDisk
from millstream.serve.decide import Arm, Decider
from millstream.serve.decisions import decisions_stream, feature_columns, request_schema
from millstream.serve.meter import Labels
from millstream.serve.request import RequestForm
from millstream.serve.updates import Updates

if TYPE_CHECKING:
    from millstream.ports import Engines

log = logging.getLogger("millstream.serve")


class Unbuilt(Transient):
    """An arm cannot be built at the moment."""


class Live:
    """Everything an endpoint needs, kept fresh.

    Args:
        definitions: Features kept alive beside those that the served versions pin (the project's own, as declared now).
        update: Run the feature updaters in threads of this process; False when another process runs them.
        refresh_s: How often versions, phases and posteriors are looked at again.
        predictor: (model, version) -> a predictor; by default the registered version's own. Tests give stubs.
        waiting: What waits after a failure in other parts of the project: part, name, why.
        failing: Called after each refresh with the endpoints and versions (MODEL@NUMBER) that wait, all of them; for
            those who look on from another process.
    """

    def __init__(
        self,
        engines: Engines,
        *,
        definitions: Mapping[str, Definition] | None = None,
        update: bool = True,
        refresh_s: float = 1.0,
        predictor: Callable[[Model[Any], int], Any] | None = None,
        waiting: Callable[[], Sequence[tuple[str, str, str]]] = tuple,
        failing: Callable[[Mapping[str, Wait]], None] | None = None,
    ) -> None:
        self._engines, self._project, self._refresh_s = engines, engines.project, refresh_s
        self._doors, self._elsewhere, self._failing = engines.doors, waiting, failing or (lambda waits: None)
        self._load = predictor or self._registered
        self._forms = {name: RequestForm(request_schema(e)) for name, e in self._project.endpoints.items()}
        self._bindings: dict[str, Binding] = {}
        self._begun = False
        self._deciders: dict[str, Decider] = {}
        self._marks: dict[str, Any] = {}
        self._arms: dict[tuple[str, int], Arm] = {}
        self._unbuilt, self._asked, self._unbuilt_waits = (
            dict[tuple[str, int], Wait](),
            set[tuple[str, int]](),
            Waits(first_s=1.0),
        )
        self._reads: dict[str, set[str]] = {}  # model@version -> streams that its features count
        self._troubles: dict[str, str] = {}
        self._waiting: Sequence[tuple[str, str, str]] = ()
        self._refuses = ""
        self._stop, self._thread = (
            threading.Event(),
            threading.Thread(target=self._keep_fresh, name="refresh", daemon=True),
        )
        self.updates = Updates(engines, run=update)
        for definition in (definitions or {}).values():
            self.updates.want(definition)

    def start(self) -> None:
        """Topics, deciders and updaters, then keep them fresh. An endpoint without a model's version yet is not an
        error.
        """
        self._begun = True  # from now on an endpoint without a topic is tried again
        self.refresh()
        self._thread.start()

    def _bind(self, name: str, endpoint: Endpoint[Any, Any]) -> None:
        self._bindings[name] = topic_of(
            self._engines.log, self._engines.schemas, decisions_stream(endpoint, self._project.params)
        )

    def close(self) -> None:
        """Stop refreshing and updating; the engines stay open."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.updates.close()

    def names(self) -> list[str]:
        return sorted(self._project.endpoints)

    def binding(self, endpoint: str) -> Binding:
        if endpoint not in self._bindings:
            raise Transient(f'endpoint "{endpoint}" is not ready: {self._troubles.get(endpoint, "it is being built")}')
        return self._bindings[endpoint]

    def features(self, endpoint: str) -> list[str]:
        return list(feature_columns(self._project.endpoints[endpoint], self._project.params))

    def decider(self, endpoint: str) -> Decider:
        """The endpoint as it stands; keep it for one request only.

        Raises:
            NotFound: No such endpoint.
            Transient: It is not built yet.
        """
        try:
            return self._deciders[endpoint]
        except KeyError:
            if endpoint in self._project.endpoints:
                raise Transient(
                    f'endpoint "{endpoint}" is not ready: {self._troubles.get(endpoint, "it is being built")}'
                ) from None
            raise NotFound(f'no endpoint "{endpoint}"; {choices(endpoint, self.names())}') from None

    def problems(self) -> list[str]:
        """Why it is not ready; empty when it is."""
        missing = [problem for name in self._deciders for problem in self._missing(name)]
        failed = [*self._troubles.values(), *(wait.why for wait in self._unbuilt.values())]
        found = dict.fromkeys([self._refuses, *missing, *failed, *self.updates.problems()])
        return [problem for problem in found if problem]

    def _missing(self, endpoint: str) -> list[str]:
        decider = self._deciders[endpoint]
        return [
            f'endpoint "{endpoint}": {arm.missing}' for arm in (*decider.arms.values(), decider.default) if arm.missing
        ]

    def answering(self) -> list[str]:
        """Endpoints of which every arm can answer now, by features that are kept up to date; though one may be of an
        older version than it should be.

        None while the log takes no decisions.
        """
        if self._refuses:
            return []
        troubled = set(self.updates.troubled())
        return [
            name
            for name in self.names()
            if name in self._deciders and not self._missing(name) and not troubled & self._streams(name)
        ]

    def _streams(self, endpoint: str) -> set[str]:
        decider = self._deciders[endpoint]
        return {
            stream for arm in (*decider.arms.values(), decider.default) for stream in self._reads.get(arm.label, ())
        }

    def waiting(self) -> Sequence[tuple[str, str, str]]:
        """What other parts of the project wait for, as of the last refresh: part, name, why."""
        return self._waiting

    def refuses(self) -> str:
        """Why the log takes no write, as of the last refresh; "" when it does."""
        return self._refuses

    def behind(self, after: Mapping[str, Mapping[int, int]]) -> str:
        return self.updates.behind(after)

    def gauges(self) -> dict[str, tuple[str, dict[Labels, float]]]:
        """What /metrics tells of the state behind."""
        versions: dict[Labels, float] = {}
        for name, decider in self._deciders.items():
            for arm in (*decider.arms.values(), decider.default):
                if arm.model and arm.version is not None:
                    versions[(("endpoint", name), ("model", arm.model), ("version", str(arm.version)))] = 1.0
        lag: dict[Labels, float] = {
            (("stream", stream),): float(records) for stream, records in self.updates.lag().items()
        }
        waits: dict[Labels, float] = {(("part", part), ("name", name)): 1.0 for part, name, _ in self._waiting}
        ready: dict[Labels, float] = {(("endpoint", name),): float(name in self.answering()) for name in self.names()}
        return {
            "millstream_model_version": ("Versions that answer now.", versions),
            "millstream_endpoint_ready": ("1 when every arm of the endpoint can answer.", ready),
            "millstream_waiting": (
                "1 for each stream, source, monitor, asset or experiment that has failed and waits for its next try.",
                waits,
            ),
            "millstream_updater_lag": ("Records in the log that the features have not applied.", lag),
        }

    def refresh(self) -> None:
        """Look at versions, phases and posteriors again, and swap in what changed."""
        self._asked = set()
        for name, endpoint in self._project.endpoints.items():
            self._try(f'endpoint "{name}" stays as it is', name, partial(self._refreshed, name, endpoint))
        self._try("the feature updaters", "", self.updates.refresh)
        self._try("whether the log takes writes", "  ", self._look_at_log)
        self._try("what other parts wait for", " ", self._look_around)
        self._forget()
        self._try("what fails here could not be recorded", " failing", self._tell)

    def _tell(self) -> None:
        now = time.monotonic()
        endpoints = {
            name: Wait(why, self._refresh_s, now, False)
            for name, why in self._troubles.items()
            if name in self._project.endpoints
        }
        self._failing(endpoints | {_label(key): wait for key, wait in self._unbuilt.items()})

    def _refreshed(self, name: str, endpoint: Endpoint[Any, Any]) -> None:
        if name not in self._bindings and self._begun:
            self._bind(name, endpoint)
        if name in self._bindings:
            quietly(self._doors.of(self._bindings[name].stream))
        self._refresh(name, endpoint)

    def _look_at_log(self) -> None:
        log = self._engines.log
        error = log.refuses() if isinstance(log, OnDisk) else None
        self._refuses = "" if error is None else str(error)

    def _look_around(self) -> None:
        self._waiting = tuple(self._elsewhere())

    def _try(self, what: str, key: str, work: Callable[[], object]) -> None:
        """What it raises is said once and kept as the trouble of `key`; the others are refreshed all the same."""
        try:
            work()
            self._troubles.pop(key, None)
        except BaseException as error:
            pass_on(error)
            ours = isinstance(error, MillstreamError)
            text = str(error) if ours else hide(f"{what}: {type(error).__name__}: {error}")
            if self._troubles.get(key) != text:
                log.warning("%s: %s", what, text, exc_info=None if ours else error)
            self._troubles[key] = text

    def _keep_fresh(self) -> None:
        while not self._stop.wait(self._refresh_s):
            try:
                self.refresh()
            except BaseException:  # nothing ends this thread but its end
                log.exception("a refresh failed; what answers stays as it is")

    def _refresh(self, name: str, endpoint: Endpoint[Any, Any]) -> None:
        known = {e.name: phase for e in endpoint.experiments if (phase := self._phase(e)) is not None}
        snapshots = {n: s for n in known if (s := learn.snapshot_of(self._engines.state, n)) is not None}
        before = self._deciders.get(name)
        default = _or(partial(self._default, endpoint), None if before is None else before.default, before is None)
        arms = {
            (n, p.number, arm): _or(
                partial(self._arm_of, endpoint, n, arm, p),
                None if before is None else before.arms.get((n, p.number, arm)),
                before is None,
            )
            for n, p in known.items()
            for arm in p.arms
        }
        mark = (
            id(default),
            [(k, id(a)) for k, a in arms.items()],
            [(p.number, p.status, p.winner) for p in known.values()],
            [(n, s.phase, s.draw) for n, s in snapshots.items()],
        )
        if mark == self._marks.get(name):
            return
        router = Router(endpoint.experiments, known, snapshots) if endpoint.experiments else None
        units = {n: p.unit for n, p in known.items()}
        self._deciders[name], self._marks[name] = (
            self._opened(name, Decider(name, self._forms[name], units, router, arms, default)),
            mark,
        )

    def _opened(self, name: str, decider: Decider) -> Decider:
        """With the clock of the endpoint's stream; before `start` there may be no topic, and the wall clock is all
        there is.
        """
        if name not in self._bindings:
            return decider
        decisions = self._bindings[name].stream
        return replace(decider, now_us=self._doors.of(decisions).now_us, ahead_us=decisions.ahead_us)

    def _phase(self, experiment: Any) -> phases.Phase | None:
        """The phase now, begun when it should be; None while an arm's model has no version (all units get the
        default).
        """
        try:
            return phases.ensure(
                experiment,
                self._engines.state,
                lambda ref: self._engines.tracking.version(ref.model.name, ref.version).number,
            )
        except Conflict:  # another process began it just now
            return phases.current(self._engines.state, experiment.name)
        except NotFound:
            return phases.current(self._engines.state, experiment.name)

    def _default(self, endpoint: Endpoint[Any, Any]) -> Arm:
        default = endpoint.default
        if not isinstance(default, ModelRef):
            return self._kept(("", hash((endpoint.name, repr(default)))), lambda: Arm(value=default))
        try:
            number = self._engines.tracking.version(default.model.name, default.version).number
        except NotFound:
            missing = (
                f'model "{default.model.name}" has no version "{default.version}" yet; millstream run'
                f" {default.model.name}"
            )
            return self._kept(("missing " + missing, 0), lambda: Arm(model=default.model.name, missing=missing))
        return self._model_arm(default.model, number)

    def _arm_of(self, endpoint: Endpoint[Any, Any], experiment: str, name: str, phase: phases.Phase) -> Arm:
        pinned = phase.arms[name]
        if pinned.model is None or pinned.version is None:
            return self._kept((f"value {experiment} {name}", phase.number), lambda: Arm(value=pinned.value))
        model = next((ref.model for ref in endpoint.refs() if ref.model.name == pinned.model), None)
        if model is None:
            raise NotFound(
                f'experiment "{experiment}" is in a phase with the model "{pinned.model}", which the endpoint no longer'
                " names"
            )
        return self._model_arm(model, pinned.version)

    def _model_arm(self, model: Model[Any], version: int) -> Arm:
        return self._kept((model.name, version), lambda: self._built(model, version))

    def _kept(self, key: tuple[str, int], build: Callable[[], Arm]) -> Arm:
        self._asked.add(key)
        if key not in self._arms:
            self._arms[key] = self._tried(key, build)
        return self._arms[key]

    def _tried(self, key: tuple[str, int], build: Callable[[], Arm]) -> Arm:
        """Built; after a failure not before a pause, which doubles: a model of a gigabyte is not read in vain each
        second. What may pass is not waited for.

        Raises:
            Unbuilt: It cannot be built, now or the last time that it was tried.
        """
        label = _label(key)
        if not self._unbuilt_waits.due(label):
            raise Unbuilt(self._unbuilt_waits.why(label))
        try:
            made = build()
        except BaseException as error:
            pass_on(error)
            ours = isinstance(error, MillstreamError)
            why = str(error) if ours else hide(f"model {label} cannot be loaded: {type(error).__name__}: {error}")
            wait = (
                Wait(why, self._refresh_s, time.monotonic(), False)
                if isinstance(error, Transient)
                else self._unbuilt_waits.failed(label, why)
            )
            if key not in self._unbuilt or self._unbuilt[key].why != why:
                log.warning("%s; what answers stays, and it is tried again", why, exc_info=None if ours else error)
            self._unbuilt[key] = wait
            raise Unbuilt(why) from error
        self._unbuilt_waits.well(label)
        self._unbuilt.pop(key, None)
        return made

    def _built(self, model: Model[Any], version: int) -> Arm:
        began = time.perf_counter()
        predictor = self._load(model, version)
        for definition, _, _ in predictor.definitions:
            self.updates.want(definition)
        self.updates.ready([definition for definition, _, _ in predictor.definitions])
        self._reads[f"{model.name}@{version}"] = {definition.stream for definition, _, _ in predictor.definitions}
        reads = self._engines.online.reader(predictor.definitions) if predictor.definitions else None
        if self._load == self._registered:  # else only its features are followed here, and another process answers
            log.info("%s@%d is ready after %.2f s", model.name, version, time.perf_counter() - began)
        return Arm(model=model.name, version=version, predictor=predictor, reads=reads, derive=dict(predictor.derive))

    def _registered(self, model: Model[Any], version: int) -> Any:
        from millstream.train.predictor import load

        return load(self._engines.tracking, model.name, str(version))

    def _forget(self) -> None:
        """Arms that nobody uses any more go, and with them the features that only they needed."""
        used = {id(arm) for d in self._deciders.values() for arm in (*d.arms.values(), d.default)}
        for key in [key for key, arm in self._arms.items() if id(arm) not in used]:
            del self._arms[key]
        for key in set(self._unbuilt) - self._asked:
            del self._unbuilt[key]
            self._unbuilt_waits.well(_label(key))


def _label(key: tuple[str, int]) -> str:
    return f"{key[0]}@{key[1]}"


def _or(build: Callable[[], Arm], before: Arm | None, first: bool) -> Arm:
    """The arm; when it cannot be built, the one that answers now, and at the very first one that says why it does not:
    the other arms answer.

    Raises:
        Unbuilt: There is none; the endpoint stays whole as it is.
    """
    try:
        return build()
    except Unbuilt as error:
        if before is not None:
            return before
        if first:
            return Arm(missing=str(error))
        raise
