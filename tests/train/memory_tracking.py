"""The tracking port in a dictionary: what the tests train into, and proof that the contract asks for nothing of
MLflow's.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from millstream.base.errors import NotFound, UsageError
from millstream.train.port import Point, Run, Version


@dataclass
class _Kept:
    runs: dict[str, Run] = field(default_factory=dict)
    versions: dict[str, list[Version]] = field(default_factory=dict)
    aliases: dict[tuple[str, str], int] = field(default_factory=dict)
    points: dict[tuple[str, str], list[Point]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemoryTracking:
    """Files lie below `folder`; all else is forgotten with the object and those opened from it."""

    def __init__(self, folder: Path, beside: MemoryTracking | None = None) -> None:
        self.folder = folder
        self._kept: _Kept = beside._kept if beside else _Kept()

    def start(self, model: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        with self._kept.lock:
            run = f"run{len(self._kept.runs):06}"
            self._kept.runs[run] = Run(
                run, model, "running", datetime.now(UTC), None, {k: str(v) for k, v in params.items()}, {}, dict(tags)
            )
            return run

    def log(self, run_id: str, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        run = self.run(run_id)
        for key, value in metrics.items():
            self._kept.points.setdefault((run_id, key), []).append(Point(step or 0, datetime.now(UTC), value))
        self._kept.runs[run_id] = replace(
            run, metrics={**run.metrics, **{key: self.history(run_id, key)[-1].value for key in metrics}}
        )

    def store(self, run_id: str, folder: Path) -> None:
        shutil.copytree(folder, self.folder / self.run(run_id).id, dirs_exist_ok=True)

    def finish(self, run_id: str, status: str = "finished") -> None:
        if status not in ("finished", "failed", "killed"):
            raise UsageError(status)
        self._kept.runs[run_id] = replace(self.run(run_id), status=status, ended_at=datetime.now(UTC))

    def run(self, run_id: str) -> Run:
        if run_id not in self._kept.runs:
            raise NotFound(run_id)
        return self._kept.runs[run_id]

    def runs(self, model: str | None = None, *, limit: int = 100, before: Run | None = None) -> list[Run]:
        runs = [run for run in reversed(self._kept.runs.values()) if model in (None, run.model)]
        return [run for run in runs if before is None or run.id < before.id][:limit]

    def history(self, run_id: str, key: str) -> list[Point]:
        return sorted(self._kept.points.get((self.run(run_id).id, key), []), key=lambda point: point.step)

    def files(self, run_id: str) -> list[str]:
        place = self.folder / self.run(run_id).id
        return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())

    def register(self, model: str, run_id: str, tags: Mapping[str, str]) -> Version:
        if self.run(run_id).status != "finished":
            raise UsageError(f"{run_id} is not finished")
        with self._kept.lock:
            made = self._kept.versions.setdefault(model, [])
            made.append(Version(model, len(made) + 1, run_id, datetime.now(UTC), (), dict(tags)))
            return made[-1]

    def versions(self, model: str) -> list[Version]:
        def named(number: int) -> tuple[str, ...]:
            return tuple(sorted(alias for (of, alias), at in self._kept.aliases.items() if (of, at) == (model, number)))

        return [replace(version, aliases=named(version.number)) for version in self._kept.versions.get(model, [])]

    def version(self, model: str, name: str) -> Version:
        number = int(name) if name.isdigit() else self._kept.aliases.get((model, name), 0)
        found = [version for version in self.versions(model) if version.number == number]
        if not found:
            raise NotFound(f"{model}@{name}")
        return found[0]

    def alias(self, model: str, alias: str, number: int) -> None:
        self._kept.aliases[model, alias] = self.version(model, str(number)).number

    def artifacts(self, model: str, number: int) -> Path:
        return self.folder / self.version(model, str(number)).run_id

    def close(self) -> None: ...
