"""The embedded orchestrator: dependency order, in parallel where safe, retries, history, resume after a kill."""

from __future__ import annotations

import fcntl
import os
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from millstream.base.errors import Busy, ClockWrong, MillstreamError, Transient, WorkFailed
from millstream.base.points import reach
from millstream.base.storage import refused
from millstream.base.theirs import details, is_theirs, pass_on, spot
from millstream.run import trouble
from millstream.run.plan import reasons
from millstream.run.step import Made, Report, Step
from millstream.state.port import State

RETRIES = 3


@dataclass(frozen=True)
class Done:
    """What became of one asset in a run. `status`: "made", "skipped", "failed", "blocked" (something before it failed).
    What failed in part has `made` too.
    """

    name: str
    kind: str
    status: str
    seconds: float
    made: Made | None = None
    error: str = ""


@contextmanager
def alone(folder: Path, *, shared: bool = False, up: bool = False) -> Iterator[None]:
    """Only one run of a project at a time on a machine; the lock goes with the process, however it ends.

    Args:
        shared: Beside others that say so too: steps whose order and number somebody else sees to. A run excludes them,
            and they exclude it.

        up: It is a `millstream up` that is to be the only one; runs beside it are another lock's.

    Raises:
        Busy: Another process is running this project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown process"
            if up:
                raise Busy(
                    f"another `millstream up` ({holder}) runs in this project; use that one, or stop it first: Ctrl-C"
                    f" in its terminal{_stop(holder)}"
                ) from None
            raise Busy(f"another run of this project is under way ({holder}); wait for it, or stop it") from None
        if shared:
            yield
            return
        lock.truncate(0)
        lock.write(f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        lock.flush()
        yield
        lock.truncate(0)


def _stop(holder: str) -> str:
    words = holder.split()
    return f", or  kill {words[1]}" if words[0] == "process" and len(words) > 1 else ""


def run(
    steps: Sequence[Step],
    state: State,
    *,
    force: bool = False,
    workers: int = 2,
    report: Callable[[str], Report] | None = None,
    told: Callable[[Done], None] = lambda done: None,
    run_id: str = "",
) -> list[Done]:
    """Make what is stale, in order; what is up to date costs a look.

    A step that raises Transient is tried again; what depends on a failed step is blocked, the rest continues. Every
    step is idempotent, so a run that was killed is resumed by running again.

    Args:
        steps: In order of dependency; only what is among them is waited for.
        state: Keeps the record of each asset and the history of runs.
        force: Make everything, stale or not.
        workers: Steps at a time.
        report: Gives each step something to report its progress to.
        told: Called with each step's end.
        run_id: Its name; one is made when none is given.
    """
    run_id = run_id or new_id()
    _close_killed(state)
    started = datetime.now(UTC)
    history: dict[str, Any] = {
        "started_at": started.isoformat(),
        "status": "running",
        "steps": [s.name for s in steps],
        "pid": os.getpid(),
    }
    state.put("run", run_id, history)
    results: dict[str, Done] = {}

    def ended(one: Done) -> None:
        with suppress(Transient):  # for those who look on; the end is told again
            state.put("run", run_id, history | {"results": [row(d) for d in results.values()]})
        _note(state, one)
        told(one)

    try:
        carry_out(steps, state, run_id, results, force=force, workers=workers, report=report, told=ended)
    finally:
        done = [results[s.name] for s in steps if s.name in results]
        failed = len(done) < len(steps) or any(d.status in ("failed", "blocked") for d in done)
        state.put(
            "run",
            run_id,
            history
            | {
                "status": "failed" if failed else "finished",
                "ended_at": datetime.now(UTC).isoformat(),
                "results": [row(d) for d in done],
            },
        )
    return done


def _note(state: State, one: Done) -> None:
    """What failed waits for the next run, as those who look on can see."""
    if one.status not in ("failed", "made", "skipped"):
        return
    part = {"source": trouble.SOURCE, "stream": trouble.SINK}.get(one.kind, trouble.ASSET)
    parts = one.made.waits if one.made is not None else {}
    waits = (parts or {one.name: one.error}) if one.status == "failed" else {}
    # All sources are one step
    before = {one.name, *(trouble.names(state, part) or ())} if one.kind == "source" else {one.name}
    for name in before - waits.keys():
        trouble.clear(state, part, name)
    for name, why in waits.items():
        trouble.keep(state, part, name, why, None)


def new_id() -> str:
    """Sorts by time, and is nobody else's."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


def carry_out(
    steps: Sequence[Step],
    state: State,
    run_id: str,
    results: dict[str, Done],
    *,
    force: bool = False,
    workers: int = 2,
    report: Callable[[str], Report] | None = None,
    told: Callable[[Done], None] = lambda done: None,
) -> None:
    """The steps of a run, without its history: see `run`. Each end is put into `results` by the step's name."""
    waiting, running = list(steps), dict[Future[Done], Step]()
    names = {step.name for step in steps}
    with ThreadPoolExecutor(workers, thread_name_prefix="step") as pool:
        while waiting or running:
            for step in [s for s in waiting if all(u in results for u in s.upstream if u in names)]:
                waiting.remove(step)
                bad = [
                    u
                    for u in step.upstream
                    if u in results and results[u].status in ("failed", "blocked") and results[u].made is None
                ]
                if bad:
                    results[step.name] = Done(step.name, step.kind, "blocked", 0.0, error=f"{bad[0]} failed")
                    told(results[step.name])
                else:
                    running[pool.submit(_one, step, state, run_id, force, report)] = step
            if running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    step = running.pop(future)
                    results[step.name] = future.result()
                    told(results[step.name])


def _one(step: Step, state: State, run_id: str, force: bool, report: Callable[[str], Report] | None) -> Done:
    begun = time.perf_counter()
    for attempt in range(1, RETRIES + 1):
        try:
            doc = state.get("asset", step.name)
            if not force and not reasons(step, doc.value if doc else None):
                return Done(step.name, step.kind, "skipped", time.perf_counter() - begun)
            reach("asset.begins")
            inputs, read = step.inputs(), step.cost().rows
            made = step.make(report(step.name) if report else Report())
            seconds = time.perf_counter() - begun
            if step.recorded:
                reach("asset.made")
                state.put(
                    "asset",
                    step.name,
                    {
                        "definition": step.definition,
                        "inputs": inputs,
                        "version": made.version,
                        "rows": made.rows,
                        "rows_read": read,
                        "bytes": made.bytes,
                        "seconds": seconds,
                        "note": made.note,
                        "run": run_id,
                        "at": datetime.now(UTC).isoformat(),
                    },
                )
            return Done(
                step.name, step.kind, "failed" if made.problems else "made", seconds, made, "; ".join(made.problems)
            )
        except ClockWrong as error:  # waiting a second sets no clock
            return Done(step.name, step.kind, "failed", time.perf_counter() - begun, error=str(error))
        except Transient as error:
            if attempt == RETRIES:
                return Done(step.name, step.kind, "failed", time.perf_counter() - begun, error=str(error))
            time.sleep(0.2 * 4**attempt)
        except MillstreamError as error:
            return Done(step.name, step.kind, "failed", time.perf_counter() - begun, error=str(error))
        except BaseException as error:
            # A user's function that calls sys.exit() too, or a fault of ours: what does not need it is still built.
            pass_on(error)
            known = refused(error, None, f"build {step.name}")
            if known is not None and not os.environ.get("MILLSTREAM_DEBUG"):
                return Done(step.name, step.kind, "failed", time.perf_counter() - begun, error=str(known))
            text = f"{type(error).__name__}: {error}"
            if os.environ.get("MILLSTREAM_DEBUG"):
                text = traceback.format_exc()
            elif is_theirs(error):  # e.g. a reader of theirs
                text = "\n".join([f"{text} ({spot(error)})", *details(error)])
            return Done(
                step.name,
                step.kind,
                "failed",
                time.perf_counter() - begun,
                error=str(WorkFailed(f"{step.kind} {step.name}: {text}")),
            )
    raise AssertionError("a step ends in one of the branches above")


def _close_killed(state: State) -> None:
    """Runs that still say "running" were killed: the caller holds the lock, so nobody is."""
    for doc in state.list("run", limit=5, newest=True):
        if doc.value["status"] == "running":
            state.put("run", doc.key, dict(doc.value) | {"status": "killed"})


def row(done: Done) -> dict[str, Any]:
    """As it is kept in the history and printed with `--json`."""
    made = done.made
    return {
        "name": done.name,
        "kind": done.kind,
        "status": done.status,
        "seconds": round(done.seconds, 3),
        "error": done.error,
        "rows": made.rows if made else None,
        "note": made.note if made else "",
        "version": made.version if made else "",
    }
