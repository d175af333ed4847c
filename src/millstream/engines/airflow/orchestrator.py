"""Airflow, as an orchestrator: `airflow://USER:env:NAME@HOST:PORT?dags=DIR`, or `airflows://` for TLS.

DIR, as seen from the project, is the folder that Airflow reads DAG files from. Where it is none of this machine, leave
it out and bring what `millstream export airflow` writes there by the way of your own; a run is then refused until
Airflow has what belongs to the project as it is.
"""

from __future__ import annotations

import sys
import time
import urllib.parse
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from millstream.base.errors import ConfigError, NotFound, UsageError, WorkFailed
from millstream.engines.airflow.rest import Rest, quoted
from millstream.run.claim import KIND
from millstream.run.export import Manifest, Timetable, make
from millstream.run.export import airflow as dag_files
from millstream.run.export.modules import Deployment, module_name
from millstream.run.port import Run
from millstream.run.runner import new_id

if TYPE_CHECKING:
    from pathlib import Path

    from millstream.ports import Engines

_STATUS = {"queued": "queued", "running": "running", "success": "finished", "failed": "failed"}
_SEEN_WITHIN_S = 120.0


class AirflowOrchestrator:
    """Runs of the project's DAGs. A run's name is `DAG/RUN`, as its steps write it beside what they did."""

    keeps_time = True

    def __init__(self, url: str, ws: Engines) -> None:
        parts = urllib.parse.urlsplit(url)
        options = dict(urllib.parse.parse_qsl(parts.query))
        if not parts.hostname or not parts.username or set(options) - {"dags"}:
            raise ConfigError(
                "orchestrator is airflow://USER:env:NAME@HOST:PORT?dags=DIR, with airflows:// for TLS; ?dags= may be"
                " left out"
            )
        self._ws = ws
        port = f":{parts.port}" if parts.port else ""
        base = f"{'https' if parts.scheme == 'airflows' else 'http'}://{parts.hostname}{port}{parts.path.rstrip('/')}"
        self._rest = Rest(base, urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or ""))
        self._dags: Path | None = ws.project.root / options["dags"] if "dags" in options else None

    @cached_property
    def _manifest(self) -> Manifest:
        return make(self._ws)

    def deploy(self) -> None:
        files: list[Path] = []
        if self._dags is not None:
            deployment = Deployment(str(self._ws.project.root), self._ws.settings.profile, sys.executable)
            _, *files = dag_files.export(self._manifest, self._dags, deployment)
        for i, timetable in enumerate(self._manifest.timetables):
            self._await(timetable, files[i] if files else None)
            self._rest.ask("PATCH", f"/dags/{quoted(timetable.name)}?update_mask=is_paused", {"is_paused": False})

    def _await(self, timetable: Timetable, file: Path | None) -> None:
        """Until Airflow has read what was written; where it comes to it from elsewhere, it has to be there."""
        deadline, server = time.monotonic() + _SEEN_WITHIN_S, self._rest.base
        words = file.read_text(encoding="utf-8").strip() if file else self._manifest.file_name
        while not self._knows(timetable, words):
            self._refuse_broken(timetable)
            if file is None:
                raise UsageError(
                    f"Airflow at {server} does not have the DAG {timetable.name} of this project as it is; bring there"
                    " what `millstream export airflow DIR` writes, or say its folder in the setting:"
                    " airflow://...?dags=DIR"
                )
            if time.monotonic() >= deadline:
                raise WorkFailed(
                    f"Airflow at {server} has not read {file} within {_SEEN_WITHIN_S:.0f} s; does it read that folder?"
                )
            time.sleep(0.5)

    def _knows(self, timetable: Timetable, words: str) -> bool:
        """The text alone would not do: Airflow keeps what stands in the file when it stores the tasks, which it read a
        moment before.
        """
        dag = quoted(timetable.name)
        try:
            if words not in self._rest.ask("GET", f"/dagSources/{dag}", accept="text/plain"):
                return False
            tasks = self._rest.ask("GET", f"/dags/{dag}/tasks")["tasks"]
        except NotFound:
            return False
        groups = [self._manifest.group(name) for name in timetable.groups]
        return {t["task_id"]: set(t["downstream_task_ids"]) for t in tasks} == {
            g.name: {o.name for o in groups if g.name in o.waits} for g in groups
        }

    def _refuse_broken(self, timetable: Timetable) -> None:
        found = self._rest.ask("GET", f"/importErrors?filename_pattern={quoted(module_name(timetable))}.py")[
            "import_errors"
        ]
        if found:
            raise WorkFailed(
                f"Airflow at {self._rest.base} cannot read the DAG {timetable.name}: {found[0]['stack_trace'][-500:]}"
            )

    def start(self, assets: Sequence[str]) -> str:
        self.deploy()
        dag = self._manifest.timetables[0].name
        body = {"dag_run_id": new_id(), "logical_date": None, "conf": {"assets": list(assets)}}
        return f"{dag}/{self._rest.ask('POST', f'/dags/{quoted(dag)}/dagRuns', body)['dag_run_id']}"

    def runs(self, limit: int) -> list[Run]:
        dags = [timetable.name for timetable in self._manifest.timetables]
        found = self._rest.ask(
            "POST", "/dags/~/dagRuns/list", {"dag_ids": dags, "order_by": "-run_after", "page_limit": limit}
        )
        return [self._run(told) for told in found["dag_runs"]]

    def run(self, run_id: str) -> Run:
        dag, _, name = run_id.partition("/")
        try:
            return self._run(self._rest.ask("GET", f"/dags/{quoted(dag)}/dagRuns/{quoted(name)}"))
        except NotFound:
            raise NotFound(f'no run "{run_id}"; see millstream show runs') from None

    def _run(self, told: dict[str, Any]) -> Run:
        run_id = f"{told['dag_id']}/{told['dag_run_id']}"
        results = [
            row for doc in self._ws.state.list(KIND, prefix=f"{run_id}/") for row in doc.value.get("results", ())
        ]
        return Run(
            run_id,
            _STATUS.get(told["state"], told["state"]),
            _moment(told["start_date"]),
            _moment(told["end_date"]),
            tuple(results),
        )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
