"""What MLflow's own database says, read without MLflow, whose import and start cost five seconds of every verb.

Only of the revision of the tables that this was written for, and only in a SQLite file; everything else goes through
MLflow's client.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from millstream.base.errors import Busy, NotFound
from millstream.train.port import Point, Run, Version

REVISION = "dc11669786a5"
STATUS = {"RUNNING": "running", "SCHEDULED": "running", "FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}
MODEL = "millstream.model"
# MLflow reserves the alias "latest" (and "v1", "v2", ...) for its own URIs, so ours is kept under another name.
KEPT = {"latest": "millstream-latest"}
TOLD = {kept: told for told, kept in KEPT.items()}
_GONE = "Deleted_Internal"


class Tables:
    """Reads one database. A connection a question: nothing stays open, any thread may ask."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def usable(self) -> bool:
        """Whether the file is there and has the known revision."""
        if not self.path.exists():
            return False
        try:
            return self._all("select version_num from alembic_version") == [(REVISION,)]
        except sqlite3.DatabaseError:
            return False

    def run(self, run_id: str) -> Run:
        found = self._runs("run_uuid = ?", (run_id,))
        if not found:
            raise NotFound(f"tracking has no run {run_id}")
        return found[0]

    def runs(self, model: str | None, limit: int, before: Run | None = None) -> list[Run]:
        chosen = (
            f"lifecycle_stage = 'active' and run_uuid in (select run_uuid from tags where key = '{MODEL}' and value ="
            " ifnull(?, value))"
        )
        values: list[Any] = [model]
        if before is not None:
            chosen += " and (start_time, run_uuid) < (?, ?)"
            values += [round(before.started_at.timestamp() * 1000), before.id]
        return self._runs(f"{chosen} order by start_time desc, run_uuid desc limit ?", (*values, limit))

    def history(self, run_id: str, key: str) -> list[Point]:
        self.run(run_id)
        rows = self._all(
            "select step, timestamp, value, is_nan from metrics where run_uuid = ? and key = ? order by step,"
            " timestamp",
            (run_id, key),
        )
        return [Point(step, moment(at_ms), math.nan if is_nan else value) for step, at_ms, value, is_nan in rows]

    def versions(self, model: str) -> list[Version]:
        return self._versions("name = ? order by version", (model,))

    def version(self, model: str, name: str) -> Version:
        if name.isdigit():
            found = self._versions("name = ? and version = ?", (model, int(name)))
        else:
            named = "select version from registered_model_aliases where name = ? and alias = ?"
            found = self._versions(f"name = ? and version = ({named})", (model, model, KEPT.get(name, name)))
        if not found:
            raise NotFound(f'tracking has no version "{name}" of model "{model}"')
        return found[0]

    def source(self, model: str, number: int) -> Path | None:
        """Where a version's files are; None when that is not a folder of this machine."""
        found = self._all(
            "select source from model_versions where name = ? and version = ? and current_stage <> ?",
            (model, number, _GONE),
        )
        if not found:
            raise NotFound(f'tracking has no version {number} of model "{model}"')
        return Path(unquote(urlparse(found[0][0]).path)) if found[0][0].startswith("file:") else None

    def _runs(self, where: str, values: Sequence[Any]) -> list[Run]:
        found = self._all(f"select run_uuid, status, start_time, end_time from runs where {where}", values)
        tags, params, metrics = (
            self._of_runs(table, [row[0] for row in found]) for table in ("tags", "params", "latest_metrics")
        )
        return [
            Run(
                id=run,
                model=tags[run].get(MODEL, ""),
                status=STATUS.get(status, "failed"),
                started_at=moment(start),
                ended_at=moment(end) if end else None,
                params=params[run],
                metrics=metrics[run],
                tags={k: v for k, v in tags[run].items() if not k.startswith("mlflow.") and k != MODEL},
            )
            for run, status, start, end in found
        ]

    def _of_runs(self, table: str, runs: Sequence[str]) -> dict[str, dict[str, Any]]:
        value = "case when is_nan then null else value end" if table == "latest_metrics" else "value"
        made: dict[str, dict[str, Any]] = {run: {} for run in runs}
        places = ", ".join("?" * len(runs))
        for run, key, told in self._all(
            f"select run_uuid, key, {value} from {table} where run_uuid in ({places}) order by key", runs
        ):
            made[run][key] = math.nan if told is None else told
        return made

    def _versions(self, where: str, values: Sequence[Any]) -> list[Version]:
        found = self._all(
            f"select name, version, run_id, creation_time from model_versions where current_stage <> '{_GONE}' and"
            f" {where}",
            values,
        )
        made = []
        for name, number, run, created in found:
            aliases = [
                a
                for (a,) in self._all(
                    "select alias from registered_model_aliases where name = ? and version = ?", (name, number)
                )
            ]
            tags: Mapping[str, str] = dict(
                self._all("select key, value from model_version_tags where name = ? and version = ?", (name, number))
            )
            made.append(
                Version(name, number, run, moment(created), tuple(sorted(TOLD.get(a, a) for a in aliases)), tags)
            )
        return made

    def _all(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        if not self.path.exists():  # nothing has been tracked yet
            return []
        with self._reading() as connection:
            return connection.execute(text, tuple(values)).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=20)) as connection:
            try:
                yield connection
            except sqlite3.OperationalError as error:
                if "locked" in str(error) or "busy" in str(error):
                    raise Busy(f"the tracking database is locked ({self.path}); try again") from error
                raise


def moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
