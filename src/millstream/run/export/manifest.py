"""The manifest: a project's assets as groups that an orchestrator runs, in one JSON file that never changes.

It says nothing of where the project lies, which profile it runs by and which Python runs it; whoever deploys it says
that beside it. So the same project gives the same bytes everywhere, and another project another name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.base.errors import ConfigError, Corrupt, NotFound, UsageError
from millstream.run.export import code
from millstream.run.export.fuse import PHASES, Part, fuse

if TYPE_CHECKING:
    from millstream.ports import Engines
    from millstream.run.step import Step

FORMAT = 1
RETRIES, RETRY_DELAY_S = 2, 10
_IN_THE_LAKE = ("stream", "table", "training_set")
_SPELT = {" ": "_", "*": "x", "/": "per", ",": ".", "#": "n", "?": "x", "@": ""}


@dataclass(frozen=True)
class Group:
    """One job: assets that are brought up to date together by `millstream run-step`.

    Attributes:
        name: Unique in the manifest; letters, digits, "_" and "-".
        phase: "land", "make", "fill" or "train".
        assets: In order of dependency.
        waits: Groups that must have succeeded before.
        makes: Tables of the lake that it writes.
        pool: What limits how many of it run at a time, in the orchestrator's own words; empty for no limit of its own.
        retries: How often it is tried again.
    """

    name: str
    phase: str
    assets: tuple[str, ...]
    waits: tuple[str, ...]
    makes: tuple[str, ...]
    pool: str = ""
    retries: int = RETRIES
    retry_delay_s: int = RETRY_DELAY_S


@dataclass(frozen=True)
class Timetable:
    """Groups that run together, in order of dependency: at the times of a cron line or "@daily" (UTC), or, when `line`
    is empty, when somebody asks.

    Attributes:
        name: Unique over projects: the project's name, and the line's spelling; letters, digits, "_", "-" and ".".
    """

    name: str
    line: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """What was exported.

    Attributes:
        code: The project's files and their hashes: what `run-step` compares with what it finds.
        timetables: The first one is of all groups, by hand; then one for each cron line.
    """

    project: str
    groups: tuple[Group, ...]
    timetables: tuple[Timetable, ...]
    code: Mapping[str, str] = field(repr=False)

    @property
    def sha(self) -> str:
        """64 hex digits of its contents."""
        return hashlib.sha256(_canonical(self._plain())).hexdigest()

    @property
    def file_name(self) -> str:
        return f"{_spelt(self.project)}-{self.sha[:12]}.json"

    def group(self, name: str) -> Group:
        """Raises NotFound."""
        for group in self.groups:
            if group.name == name:
                return group
        raise NotFound(f'no step "{name}" in the manifest; there are {", ".join(g.name for g in self.groups)}')

    def to_bytes(self) -> bytes:
        """The file's text: what it says, and the hash of that."""
        return json.dumps({"sha256": self.sha, "manifest": self._plain()}, indent=1, sort_keys=True).encode() + b"\n"

    def asset(self, table: str) -> str:
        """How other tools name a table of this project's lake."""
        return f"millstream://{_spelt(self.project)}/{table}"

    def _plain(self) -> dict[str, Any]:
        assets = {table: self.asset(table) for group in self.groups for table in group.makes}
        return {"format": FORMAT, **asdict(self), "assets": assets}


def make(ws: Engines, *, pools: Mapping[str, str] | None = None, retries: int = RETRIES) -> Manifest:
    """The manifest of a project.

    Args:
        pools: Phase -> the pool of its groups.
        retries: Of each group.

    Raises:
        UsageError: No such phase.
    """
    from millstream.run.steps import steps

    unknown = [phase for phase in pools or {} if phase not in PHASES.values()]
    if unknown:
        raise UsageError(f'no phase "{unknown[0]}"; there are {", ".join(dict.fromkeys(PHASES.values()))}')
    every = steps(ws)
    runs_by = {line: _closure(every, names) for line, names in _lines(ws).items()}
    wanted = {
        step.name: frozenset(
            line for line, names in runs_by.items() if PHASES[step.kind] == "land" or step.name in names
        )
        for step in every
    }
    groups = _groups(fuse(every, wanted), {step.name: step.kind for step in every}, pools or {}, retries)
    project = ws.project.name
    timetables = [Timetable(_spelt(project), "", tuple(g.name for g in groups))]
    for line in sorted(runs_by):
        timetables.append(
            Timetable(
                f"{_spelt(project)}__{_spelt(line)}", line, tuple(g.name for g in groups if line in wanted[g.assets[0]])
            )
        )
    return Manifest(project, groups, tuple(timetables), code.hashes(ws.project.root))


def _groups(
    parts: Sequence[Part], kinds: Mapping[str, str], pools: Mapping[str, str], retries: int
) -> tuple[Group, ...]:
    names = [part.phase if part.phase == "land" else f"{part.phase}-{part.assets[-1]}" for part in parts]
    return tuple(
        Group(
            name=name,
            phase=part.phase,
            assets=part.assets,
            waits=tuple(names[i] for i in part.waits),
            makes=tuple(asset for asset in part.assets if kinds[asset] in _IN_THE_LAKE),
            pool=pools.get(part.phase, ""),
            retries=retries,
        )
        for name, part in zip(names, parts, strict=True)
    )


def _lines(ws: Engines) -> dict[str, list[str]]:
    """Cron line -> the assets that name it."""
    found: dict[str, list[str]] = {}
    scheduled = {
        **{t.name: t.schedule for t in ws.project.tables.values()},
        **{m.name: m.schedule for m in ws.project.models.values()},
    }
    for name, line in scheduled.items():
        if line:
            found.setdefault(line, []).append(name)
    return found


def _closure(every: Sequence[Step], names: Sequence[str]) -> set[str]:
    """They, all they are made from, and the features that answer from what is made."""
    from millstream.run.select import select

    found = set(select([f"+{name}" for name in names], {s.name: s.upstream for s in every}, {}, list))
    made = {s.name for s in every if s.name in found and PHASES[s.kind] == "make"}
    return found | {s.name for s in every if s.kind == "features" and made.intersection(s.upstream)}


def _spelt(text: str) -> str:
    """A name that every tool takes, another for another cron line.

    >>> _spelt("@daily"), _spelt("*/5 4 * * 1-5")
    ('daily', 'xper5_4_x_x_1-5')
    """
    return re.sub(r"[^\w.-]", "_", "".join(_SPELT.get(letter, letter) for letter in text), flags=re.ASCII)


def write(manifest: Manifest, folder: Path) -> Path:
    """The manifest's file in a folder, which is made. One that is there is not touched: its name says what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / manifest.file_name
    put(file, manifest.to_bytes())
    return file


def put(file: Path, text: bytes) -> None:
    """The file with this text: whole or not at all, and untouched when it is the same already."""
    if file.exists() and file.read_bytes() == text:
        return
    new = file.with_name(f".{file.name}.{os.getpid()}")
    with new.open("wb") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)


def read(file: Path) -> Manifest:
    """A manifest as it was written.

    Raises:
        NotFound: There is no such file.
        Corrupt: It is not a manifest, or its contents are not what its hash says.
        ConfigError: Another version of Millstream wrote it.
    """
    try:
        told = json.loads(file.read_bytes())
        body, sha = told["manifest"], told["sha256"]
    except FileNotFoundError:
        raise NotFound(f"no manifest {file}; export it again: millstream export (airflow, luigi, oozie)") from None
    except (ValueError, TypeError, KeyError) as error:
        raise Corrupt(
            f"{file} is not a manifest ({error}); export it again: millstream export (airflow, luigi, oozie)"
        ) from None
    if hashlib.sha256(_canonical(body)).hexdigest() != sha:
        raise Corrupt(
            f"{file} was changed after it was exported, by its hash; export it again: millstream export (airflow,"
            " luigi, oozie)"
        )
    if body.pop("format") != FORMAT:
        raise ConfigError(
            f"{file} was written by another version of Millstream; export it again: millstream export (airflow, luigi,"
            " oozie)"
        )
    groups = tuple(_group(group) for group in body["groups"])
    timetables = tuple(Timetable(t["name"], t["line"], tuple(t["groups"])) for t in body["timetables"])
    return Manifest(body["project"], groups, timetables, body["code"])


def _group(told: Mapping[str, Any]) -> Group:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    return Group(**values)


def _canonical(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
