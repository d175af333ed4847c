"""SQLite, as tracking: runs and versions of models in one small file, their files in folders beside it.

The database holds text and numbers only. A run's files are in `<folder>/<model>/<run>/artifacts`: they are copied under
another name, synced, and renamed into place, so what a run names is whole. Paths follow from the model and the run, so
a project may be moved or copied.
"""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from millstream.base.errors import ConfigError, NotFound, UsageError
from millstream.base.moments import moment_of, moment_us
from millstream.base.points import reach
from millstream.base.storage import refused
from millstream.engines.sqlite.database import WriteLock, error_of, transaction
from millstream.engines.sqlite.opening import opened, path_of, reading
from millstream.train.port import Point, Run, Version

FORMAT = 1
TABLES = """
create table if not exists run(
  id text primary key, model text not null, status text not null, started_us integer not null, ended_us integer
) strict, without rowid;
create index if not exists run_by_start on run(started_us, id);
create index if not exists run_of_model on run(model, started_us, id);
create table if not exists param(run text, key text, value text not null, primary key(run, key)) strict, without rowid;
create table if not exists tag(run text, key text, value text not null, primary key(run, key)) strict, without rowid;
create table if not exists metric(
  run text not null, key text not null, step integer not null, at_us integer not null, value real
) strict;
create index if not exists metric_of_run on metric(run, key, step, at_us);
create table if not exists version(
  model text, number integer, run text not null, created_us integer not null, primary key(model, number)
) strict, without rowid;
create table if not exists version_tag(
  model text, number integer, key text, value text not null, primary key(model, number, key)
) strict, without rowid;
create table if not exists alias(
  model text, alias text, number integer not null, primary key(model, alias)
) strict, without rowid;
"""
FINAL = ("finished", "failed", "killed")
_HALF, _HALF_S = ".half-", 86_400
"""Copies under way; what a killed process has left of one is removed after a day."""


class SqliteTracking:
    """See `train.port.Tracking`. Readers never wait for writers."""

    def __init__(self, url: str, folder: Path) -> None:
        self.path, self.folder = path_of(url), folder
        _not_of_mlflow(self.path)
        self._lock, self._looking = WriteLock(self.path), threading.Lock()
        self._con = opened(self.path, TABLES, self._lock, FORMAT)
        self._look = reading(self.path, TABLES)

    def start(self, model: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        run = uuid.uuid4().hex
        with self._writing() as con:
            con.execute("insert into run values (?, ?, 'running', ?, null)", (run, model, _now_us()))
            con.executemany(
                "insert into param values (?, ?, ?)", [(run, key, str(value)) for key, value in params.items()]
            )
            con.executemany("insert into tag values (?, ?, ?)", [(run, key, str(value)) for key, value in tags.items()])
        return run

    def log(self, run_id: str, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        rows = [(run_id, key, step or 0, _now_us(), float(value)) for key, value in metrics.items()]
        with self._writing() as con:
            _known(con, run_id)
            con.executemany("insert into metric values (?, ?, ?, ?, ?)", rows)

    def store(self, run_id: str, folder: Path) -> None:
        place = self._place(self.run(run_id).model, run_id)
        half = place.with_name(f"{_HALF}{uuid.uuid4().hex}")
        try:
            self._sweep(place.parent.parent)
            shutil.copytree(folder, half)
            _sync(half)
            reach("tracking.copied")
            _into(half, place)
            reach("tracking.stored")
        except OSError as error:
            shutil.rmtree(half, ignore_errors=True)
            raise refused(error, place, f"keep the files of run {run_id}") or error from error

    def finish(self, run_id: str, status: str = "finished") -> None:
        if status not in FINAL:
            raise UsageError(f'a run cannot finish as "{status}"; it finishes as one of {", ".join(FINAL)}')
        with self._writing() as con:
            _known(con, run_id)
            con.execute("update run set status = ?, ended_us = ? where id = ?", (status, _now_us(), run_id))

    def run(self, run_id: str) -> Run:
        found = self._runs("where id = ?", (run_id,))
        if not found:
            raise _no_run(run_id)
        return found[0]

    def runs(self, model: str | None = None, *, limit: int = 100, before: Run | None = None) -> list[Run]:
        where = ["model = ?"] if model is not None else []
        values: list[Any] = [model] if model is not None else []
        if before is not None:
            where.append("(started_us, id) < (?, ?)")
            values += [moment_us(before.started_at), before.id]
        chosen = f"where {' and '.join(where)}" if where else ""
        return self._runs(f"{chosen} order by started_us desc, id desc limit ?", (*values, limit))

    def history(self, run_id: str, key: str) -> list[Point]:
        self.run(run_id)
        rows = self._rows(
            "select step, at_us, value from metric where run = ? and key = ? order by step, at_us, rowid", (run_id, key)
        )
        return [Point(step, moment_of(at_us), _number(value)) for step, at_us, value in rows]

    def files(self, run_id: str) -> list[str]:
        place = self._place(self.run(run_id).model, run_id)
        return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())

    def register(self, model: str, run_id: str, tags: Mapping[str, str]) -> Version:
        run = self.run(run_id)
        if run.status != "finished":
            raise UsageError(f'run {run_id} of "{run.model}" is {run.status}; only a finished run becomes a version')
        with self._writing() as con:
            (number,) = con.execute(
                "select coalesce(max(number), 0) + 1 from version where model = ?", (model,)
            ).fetchone()
            con.execute("insert into version values (?, ?, ?, ?)", (model, number, run_id, _now_us()))
            con.executemany(
                "insert into version_tag values (?, ?, ?, ?)",
                [(model, number, key, str(value)) for key, value in tags.items()],
            )
        reach("tracking.registered")
        return self.version(model, str(number))

    def versions(self, model: str) -> list[Version]:
        return self._versions("model = ? order by number", (model,))

    def version(self, model: str, name: str) -> Version:
        if name.isdigit():
            found = self._versions("model = ? and number = ?", (model, int(name)))
        else:
            found = self._versions(
                "model = ?1 and number = (select number from alias where model = ?1 and alias = ?2)", (model, name)
            )
        if not found:
            raise NotFound(f'tracking has no version "{name}" of model "{model}"')
        return found[0]

    def alias(self, model: str, alias: str, number: int) -> None:
        with self._writing() as con:
            if con.execute("select 1 from version where model = ? and number = ?", (model, number)).fetchone() is None:
                raise NotFound(f'tracking has no version {number} of model "{model}"')
            con.execute("insert or replace into alias values (?, ?, ?)", (model, alias, number))

    def artifacts(self, model: str, number: int) -> Path:
        run = self.run(self.version(model, str(number)).run_id)
        return self._place(run.model, run.id)

    def close(self) -> None:
        self._look.close()
        self._con.close()
        self._lock.close()

    # files

    def _place(self, model: str, run_id: str) -> Path:
        return self.folder / model / run_id / "artifacts"

    def _sweep(self, models: Path) -> None:
        """Remove what killed copies have left."""
        for left in models.glob(f"*/{_HALF}*"):
            with suppress(FileNotFoundError):  # its copy was finished meanwhile
                if time.time() - left.stat().st_mtime > _HALF_S:
                    shutil.rmtree(left, ignore_errors=True)

    # rows

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock.held(), transaction(self._con, self.path) as con:
            yield con

    def _rows(self, sql: str, values: Sequence[object]) -> list[Any]:
        try:
            with self._looking:
                return self._look.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise error_of(error, self.path) from error

    def _runs(self, chosen: str, values: Sequence[object]) -> list[Run]:
        rows = self._rows(f"select id, model, status, started_us, ended_us from run {chosen}", values)
        ids = [row[0] for row in rows]
        params, tags = self._pairs("param", ids), self._pairs("tag", ids)
        metrics = self._latest(ids)
        return [
            Run(
                id_,
                model,
                status,
                moment_of(started),
                None if ended is None else moment_of(ended),
                params[id_],
                metrics[id_],
                tags[id_],
            )
            for id_, model, status, started, ended in rows
        ]

    def _pairs(self, table: str, runs: Sequence[str]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {run: {} for run in runs}
        for run, key, value in self._rows(
            f"select run, key, value from {table} where run in ({_marks(runs)}) order by key", runs
        ):
            found[run][key] = value
        return found

    def _latest(self, runs: Sequence[str]) -> dict[str, dict[str, float]]:
        """The value of each metric at its last step; of one step the one that was logged last."""
        found: dict[str, dict[str, float]] = {run: {} for run in runs}
        order = "partition by run, key order by step desc, at_us desc, rowid desc"
        text = f"""select run, key, value from (
                     select *, row_number() over ({order}) as place from metric where run in ({_marks(runs)}))
                   where place = 1 order by key"""
        for run, key, value in self._rows(text, runs):
            found[run][key] = _number(value)
        return found

    def _versions(self, where: str, values: Sequence[object]) -> list[Version]:
        rows = self._rows(f"select model, number, run, created_us from version where {where}", values)
        return [self._version(*row) for row in rows]

    def _version(self, model: str, number: int, run: str, created_us: int) -> Version:
        aliases = self._rows("select alias from alias where model = ? and number = ? order by alias", (model, number))
        tags = self._rows(
            "select key, value from version_tag where model = ? and number = ? order by key", (model, number)
        )
        return Version(model, number, run, moment_of(created_us), tuple(alias for (alias,) in aliases), dict(tags))


def _not_of_mlflow(path: Path) -> None:
    """Raises ConfigError when the file is MLflow's: its runs would look lost."""
    if not path.exists() or path.stat().st_size == 0:
        return
    con = reading(path)
    try:
        if con.execute("select 1 from sqlite_master where name = 'alembic_version'").fetchone():
            raise ConfigError(f'{path} is a database of MLflow; write tracking = "mlflow:{path}", or name another file')
    except sqlite3.Error as error:
        raise error_of(error, path) from error
    finally:
        con.close()


def _known(con: sqlite3.Connection, run_id: str) -> None:
    if con.execute("select 1 from run where id = ?", (run_id,)).fetchone() is None:
        raise _no_run(run_id)


def _no_run(run_id: str) -> NotFound:
    return NotFound(f"tracking has no run {run_id}")


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _number(stored: float | None) -> float:
    """SQLite keeps NaN as NULL."""
    return math.nan if stored is None else stored


def _now_us() -> int:
    return time.time_ns() // 1000


def _sync(folder: Path) -> None:
    """All files and folders below, durably."""
    for parent, _, names in os.walk(folder, topdown=False):
        for path in [*(Path(parent, name) for name in names), Path(parent)]:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _into(half: Path, place: Path) -> None:
    """Rename a finished copy into place; where files are there already, one by one."""
    if not place.exists():
        half.rename(place)
    else:
        for path in sorted(half.rglob("*")):
            target = place / path.relative_to(half)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                path.replace(target)
        shutil.rmtree(half)
        _sync(place)
    descriptor = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["SqliteTracking"]
