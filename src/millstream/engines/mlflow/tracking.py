"""MLflow, as tracking: runs and versions in MLflow's own tables, so that any MLflow UI or client reads them too.

URLs: `mlflow:PATH` or a bare path is a SQLite file (made on first use, a few seconds once); `sqlite:///`,
`postgresql://` and `http(s)://` behind `mlflow:` go to MLflow as they are. A model is one MLflow experiment and one
registered model of its name.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from millstream.base.errors import (
    Busy,
    ConfigError,
    Conflict,
    MillstreamError,
    NotFound,
    Unreachable,
    UsageError,
    WorkFailed,
)
from millstream.engines.mlflow.database import disk_error, ensure
from millstream.engines.mlflow.tables import KEPT, MODEL, STATUS, TOLD, Tables, moment
from millstream.train.port import Point, Run, Version

_FINAL = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
_PARAM_CHARS, _TAG_CHARS, _BATCH = 6000, 8000, 100


class MlflowTracking:
    """See `train.port.Tracking`. MLflow is imported by the first call that writes, or that reads what is not a known
    SQLite file.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self._uri = _uri(url)
        self._lock = threading.Lock()
        self._known: Any = None
        path = Path(self._uri.removeprefix("sqlite:///"))
        self._tables = Tables(path) if self._uri.startswith("sqlite:///") else None
        self._readable = False

    @property
    def _fast(self) -> Tables | None:
        """The tables themselves, where they can be read without MLflow; they are empty until the first write creates
        the file.
        """
        if self._tables is not None and not self._tables.path.exists():
            return self._tables
        if not self._readable:
            self._readable = self._tables is not None and self._tables.usable()
        return self._tables if self._readable else None

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._known is None:
                with self._mapped(f"tracking at {self.url}"):
                    if self._tables is not None:
                        ensure(self._tables.path, _create)
                    self._known = _open(self._uri)
            return self._known

    def start(self, model: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        client = self._client  # before any import of MLflow's: it is what makes MLflow quiet
        from mlflow.entities import Param, RunTag

        with self._mapped(f'a run of model "{model}"'):
            run = client.create_run(self._experiment(model), run_name=model, tags={MODEL: model})
            told = [RunTag(k, str(v)[:_TAG_CHARS]) for k, v in tags.items()]
            given = [Param(k, str(v)[:_PARAM_CHARS]) for k, v in params.items()]
            for i in range(0, max(len(told), len(given)), _BATCH):
                client.log_batch(run.info.run_id, params=given[i : i + _BATCH], tags=told[i : i + _BATCH])
            return str(run.info.run_id)

    def log(self, run_id: str, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        client = self._client
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        with self._mapped(f"run {run_id}"):
            client.log_batch(run_id, metrics=[Metric(k, float(v), now_ms, step or 0) for k, v in metrics.items()])

    def store(self, run_id: str, folder: Path) -> None:
        with self._mapped(f"run {run_id}"):
            place = _local(self._client.get_run(run_id).info.artifact_uri)
            if place is None or place.is_relative_to(self.folder.absolute()):
                self._client.log_artifacts(run_id, str(folder))
            else:  # an experiment keeps the folder it was created with, and the project was moved or copied since
                shutil.copytree(folder, self._beside(place), dirs_exist_ok=True)

    def finish(self, run_id: str, status: str = "finished") -> None:
        if status not in _FINAL:
            raise UsageError(f'a run cannot finish as "{status}"; it finishes as one of {", ".join(_FINAL)}')
        with self._mapped(f"run {run_id}"):
            self._client.set_terminated(run_id, _FINAL[status])

    def run(self, run_id: str) -> Run:
        if self._fast is not None:
            return self._fast.run(run_id)
        with self._mapped(f"run {run_id}"):
            return _run(self._client.get_run(run_id))

    def runs(self, model: str | None = None, *, limit: int = 100, before: Run | None = None) -> list[Run]:
        if self._fast is not None:
            return self._fast.runs(model, limit, before)
        with self._mapped("runs"):
            if model is None:
                folders = [e.experiment_id for e in self._client.search_experiments()]
            else:
                found = self._client.get_experiment_by_name(model)
                folders = [found.experiment_id] if found else []
            return list(islice(self._after(folders, before), limit)) if folders else []

    def _after(self, folders: list[str], before: Run | None) -> Iterator[Run]:
        """Our runs, latest first, from the one after `before` on. Of one millisecond MLflow orders by id."""
        until = "" if before is None else f"attributes.start_time <= {round(before.started_at.timestamp() * 1000)}"
        token, passed = None, before is None
        while True:
            page = self._client.search_runs(
                folders,
                filter_string=until,
                max_results=1000,
                order_by=["attributes.start_time DESC", "attributes.run_id DESC"],
                page_token=token,
            )
            for run in map(_run, (run for run in page if MODEL in run.data.tags)):
                if passed or (before is not None and (run.started_at, run.id) < (before.started_at, before.id)):
                    passed = True
                    yield run
            token = page.token
            if not token:
                return

    def history(self, run_id: str, key: str) -> list[Point]:
        if self._fast is not None:
            return self._fast.history(run_id, key)
        with self._mapped(f"run {run_id}"):
            self._client.get_run(run_id)
            found = [Point(m.step, moment(m.timestamp), m.value) for m in self._client.get_metric_history(run_id, key)]
            return sorted(found, key=lambda point: (point.step, point.at))

    def files(self, run_id: str) -> list[str]:
        with self._mapped(f"run {run_id}"):
            place = _local(self._client.get_run(run_id).info.artifact_uri)
            if place is not None:
                here = self._here(place)
                return sorted(path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file())
            return sorted(self._listed(run_id, None))

    def _listed(self, run_id: str, folder: str | None) -> Iterator[str]:
        for one in self._client.list_artifacts(run_id, folder):
            if one.is_dir:
                yield from self._listed(run_id, one.path)
            else:
                yield one.path

    def register(self, model: str, run_id: str, tags: Mapping[str, str]) -> Version:
        run = self.run(run_id)
        from mlflow.exceptions import MlflowException

        if run.status != "finished":
            raise UsageError(f'run {run_id} of "{run.model}" is {run.status}; only a finished run becomes a version')
        with self._mapped(f'model "{model}"'):
            try:
                self._client.create_registered_model(model)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            source = self._client.get_run(run_id).info.artifact_uri
            made = self._client.create_model_version(
                model, source, run_id, tags={k: str(v)[:_TAG_CHARS] for k, v in tags.items()}
            )
            return _version(made)

    def versions(self, model: str) -> list[Version]:
        if self._fast is not None:
            return self._fast.versions(model)
        client = self._client
        from mlflow.exceptions import MlflowException

        with self._mapped(f'versions of model "{model}"'):
            found: list[Any] = []
            token = None
            while True:
                page = client.search_model_versions(f"name = '{model}'", max_results=1000, page_token=token)
                found += page
                token = page.token
                if not token:
                    break
            # The search leaves the aliases out; the model has them.
            try:
                aliases = client.get_registered_model(model).aliases
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return []
                raise
        versions = [_version(v, aliases) for v in found]
        return sorted(versions, key=lambda version: version.number)

    def version(self, model: str, name: str) -> Version:
        if self._fast is not None:
            return self._fast.version(model, name)
        with self._mapped(f'version "{name}" of model "{model}"'):
            if name.isdigit():
                return _version(self._client.get_model_version(model, name))
            return _version(self._client.get_model_version_by_alias(model, KEPT.get(name, name)))

    def alias(self, model: str, alias: str, number: int) -> None:
        with self._mapped(f'version {number} of model "{model}"'):
            self._client.set_registered_model_alias(model, KEPT.get(alias, alias), str(number))

    def artifacts(self, model: str, number: int) -> Path:
        if self._fast is not None and (source := self._fast.source(model, number)) is not None:
            return self._here(source)
        with self._mapped(f'version {number} of model "{model}"'):
            version = self._client.get_model_version(model, str(number))
            if (place := _local(version.source)) is not None:
                return self._here(place)
            return self._fetched(model, number, version.run_id)

    def _here(self, source: Path) -> Path:
        """MLflow keeps absolute paths, so the files of a project that was moved or copied are below our folder, and not
        where it says.
        """
        beside = self._beside(source)
        return beside if beside.exists() else source

    def _beside(self, source: Path) -> Path:
        return self.folder.joinpath(*source.parts[-3:])  # model / run / artifacts

    def _fetched(self, model: str, number: int, run_id: str) -> Path:
        """A server's files, copied once; whole or not there at all, whoever is killed on the way."""
        kept = self.folder / "fetched" / model / str(number)
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            half = Path(tempfile.mkdtemp(dir=kept.parent, prefix=".half-"))
            self._client.download_artifacts(run_id, "", str(half))
            try:
                half.rename(kept)
            except OSError:
                if not kept.exists():
                    raise
                shutil.rmtree(half)
        return kept

    def close(self) -> None:
        with self._lock:
            if self._known is not None:
                _dispose(self._known)
                self._known = None

    def _mapped(self, what: str) -> AbstractContextManager[None]:
        return _mapped(what, None if self._tables is None else self._tables.path)

    def _experiment(self, model: str) -> str:
        found = self._client.get_experiment_by_name(model)
        from mlflow.exceptions import MlflowException

        if found is None:
            # A server decides by itself where files go; beside a database that is our folder.
            place = None if self._uri.startswith("http") else (self.folder.absolute() / model).as_uri()
            try:
                return str(self._client.create_experiment(model, artifact_location=place))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self._client.get_experiment_by_name(model)
        return str(found.experiment_id)


def _local(url: str) -> Path | None:
    """The folder of this machine that a URL names; None when it names none."""
    return Path(unquote(urlparse(url).path)) if url.startswith("file:") else None


def _uri(url: str) -> str:
    """MLflow's spelling of ours.

    >>> _uri("mlflow:/data/t.db"), _uri("http://mlflow:5000")
    ('sqlite:////data/t.db', 'http://mlflow:5000')
    """
    rest = url.removeprefix("mlflow:")
    if "://" in rest:
        return rest
    if not rest or rest == "mlflow":
        raise ConfigError(
            f'tracking is "{url}", which names no place; write tracking = "mlflow:.millstream/tracking.db" or'
            ' "http://host:5000"'
        )
    return f"sqlite:///{Path(rest).absolute()}"


def _open(uri: str) -> Any:
    """A client that says nothing, sends nothing home and touches no other global of MLflow's."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import mlflow.telemetry.client
    from mlflow.tracking import MlflowClient

    # A user may have imported MLflow before us: look at the setting again.
    mlflow.telemetry.client.set_telemetry_client()
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Prints the traceback of each error that it raises, too
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    client = MlflowClient(uri, uri)
    client.search_experiments(max_results=1)  # connects now, so that what goes wrong is reported here
    return client


def _create(uri: str) -> None:
    _dispose(_open(uri))


def _dispose(client: Any) -> None:
    for part in (client._tracking_client.store, client._get_registry_client().store):
        engine = getattr(part, "engine", None)
        if engine is not None:
            engine.dispose()


def _run(run: Any) -> Run:
    tags = run.data.tags
    ended = run.info.end_time
    return Run(
        id=run.info.run_id,
        model=tags.get(MODEL, ""),
        status=STATUS.get(run.info.status, "failed"),
        started_at=moment(run.info.start_time),
        ended_at=moment(ended) if ended else None,
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags={k: v for k, v in tags.items() if not k.startswith("mlflow.") and k != MODEL},
    )


def _version(version: Any, aliases: Mapping[str, Any] | None = None) -> Version:
    named = (
        version.aliases
        if aliases is None
        else [a for a, number in aliases.items() if int(number) == int(version.version)]
    )
    return Version(
        model=version.name,
        number=int(version.version),
        run_id=version.run_id,
        created_at=moment(version.creation_timestamp),
        aliases=tuple(sorted(TOLD.get(a, a) for a in named)),
        tags=dict(version.tags),
    )


@contextmanager
def _mapped(what: str, path: Path | None) -> Iterator[None]:
    """MLflow's and SQLAlchemy's errors as ours; the only place that knows theirs. `path`: of the database, when it is a
    file here.
    """
    try:
        yield
    except (MillstreamError, OSError):
        raise
    except Exception as error:
        if (
            path is not None
            and (found := disk_error(error, path, f"write {what} to the tracking database")) is not None
        ):
            raise found from error
        code, text = (
            getattr(error, "error_code", ""),
            (str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__),
        )
        if code == "RESOURCE_DOES_NOT_EXIST" or (code == "INVALID_PARAMETER_VALUE" and "not found" in text):
            raise NotFound(f"tracking has no {what}: {text}") from error
        if code == "RESOURCE_ALREADY_EXISTS":
            raise Conflict(f"{what}: {text}") from error
        if code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE"):
            raise UsageError(f"tracking refuses {what}: {text}") from error
        if "database is locked" in text:
            raise Busy(f"the tracking database is locked ({what}); try again") from error
        if code in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED") or type(error).__module__.startswith(
            ("requests", "urllib3")
        ):
            raise Unreachable(f"tracking does not answer ({what}): {text}") from error
        if "API request to" in text or "Max retries" in text:
            raise Unreachable(f"tracking does not answer ({what}): {text}") from error
        raise WorkFailed(f"tracking failed on {what}: {text}") from error
