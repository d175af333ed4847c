"""A Delta table's own log, read through the files port: what delta-rs does not hand out.

delta-rs answers `transaction_version(app_id)` but lists no app ids, and its history drops the actions; so commits and the `txn`s of
checkpoints are read here. Nothing in this file writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from millstream.base.errors import Corrupt, Truncated
from millstream.lake.port import Files

LOG = "_delta_log"
_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")


@dataclass(frozen=True)
class File:
    """A data file as a commit names it. `path` is relative to the table."""

    path: str
    size: int
    rows: int | None
    data_change: bool
    partition: Mapping[str, str | None] = field(default_factory=dict)
    stats: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    """One version of a table: what it added, what it took away, and what it said about itself.

    Attributes:
        at_ms: When, by the committer's clock, in milliseconds since 1970.
        user: What the committer wrote under `userMetadata`, when that is a JSON object.
        removed: Path of each file taken away, and whether rows went with it.
    """

    version: int
    operation: str
    at_ms: int
    user: Mapping[str, Any]
    info: Mapping[str, Any]
    added: tuple[File, ...]
    removed: Mapping[str, bool]
    txns: Mapping[str, int]

    @property
    def rows(self) -> int:
        """Rows in the files that bring new data."""
        return sum(file.rows or 0 for file in self.added if file.data_change)


def commit_path(table: str, version: int) -> str:
    """Where the commit of a version is, below the lake's root."""
    return f"{table}/{LOG}/{version:020d}.json"


def versions(files: Files, table: str) -> list[int]:
    """Versions whose commit is still there, ascending."""
    return [int(match[1]) for name in files.list(f"{table}/{LOG}") if (match := _COMMIT.fullmatch(name))]


def newest(files: Files, table: str) -> int:
    """The newest version by the names in the log alone; -1 for no table."""
    return next((int(match[1]) for name in files.list(f"{table}/{LOG}")[::-1] if (match := _COMMIT.fullmatch(name) or _CHECKPOINT.fullmatch(name))), -1)


def checkpoints(files: Files, table: str) -> list[int]:
    """Versions that have a checkpoint file, ascending; whole or not."""
    return [int(match[1]) for name in files.list(f"{table}/{LOG}") if (match := _CHECKPOINT.fullmatch(name))]


def checkpoint_path(table: str, version: int) -> str:
    return f"{table}/{LOG}/{version:020d}.checkpoint.parquet"


def read(files: Files, table: str, version: int) -> Commit:
    """The commit of one version.

    Raises:
        FileNotFoundError: It is not there (any more).
        Corrupt: It is empty, or cut.
    """
    with files.open(commit_path(table, version)) as file:
        return parse(table, version, file.read())


def parse(table: str, version: int, text: bytes) -> Commit:
    """A commit from its bytes; raises Corrupt when they are not a whole commit."""
    info: dict[str, Any] = {}
    added: list[File] = []
    removed: dict[str, bool] = {}
    txns: dict[str, int] = {}
    try:
        for line in text.splitlines():
            for kind, action in json.loads(line).items():
                if kind == "add":
                    added.append(_file(action))
                elif kind == "remove":
                    removed[unquote(action["path"])] = bool(action.get("dataChange", True))
                elif kind == "txn":
                    txns[action["appId"]] = int(action["version"])
                elif kind == "commitInfo":
                    info = action
    except (ValueError, KeyError, AttributeError) as error:
        raise Corrupt(f'commit {version} of table "{table}" is cut or damaged ({error}); millstream doctor fixes it') from error
    if not text.strip():
        raise Corrupt(f'commit {version} of table "{table}" is empty; millstream doctor fixes it')
    return Commit(version, str(info.get("operation", "")), int(info.get("timestamp", 0)), _user(info), info, tuple(added), removed, txns)


def commits(files: Files, table: str, since: int, until: int) -> Iterator[Commit]:
    """Commits (since, until], ascending.

    Raises:
        Truncated: Some of them have been cleaned away.
    """
    for version in range(since + 1, until + 1):
        try:
            yield read(files, table, version)
        except FileNotFoundError as error:
            raise Truncated(f'commit {version} of table "{table}" has been cleaned away; what changed since version {since} is not known any more') from error


def txns(files: Files, table: str, version: int) -> dict[str, int]:
    """Every app id of the table at a version, with its position."""
    base = max((v for v in checkpoints(files, table) if v <= version), default=-1)
    found: dict[str, int] = {}
    if base >= 0:
        found = checkpointed(files, table, base)
    for commit in commits(files, table, base, version):
        found.update(commit.txns)
    return found


def checkpointed(files: Files, table: str, version: int) -> dict[str, int]:
    """Every app id that a checkpoint holds, with its position; raises Corrupt when it is not whole."""
    try:
        with files.open(checkpoint_path(table, version)) as file:
            rows = pq.ParquetFile(file).read(columns=["txn"]).column("txn").drop_null().to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise Corrupt(f'checkpoint {version} of table "{table}" is cut or damaged ({error}); millstream doctor fixes it') from error
    return {row["appId"]: int(row["version"]) for row in rows if row["appId"] is not None}


def _file(action: Mapping[str, Any]) -> File:
    stats = json.loads(action["stats"]) if action.get("stats") else {}
    return File(unquote(action["path"]), int(action["size"]), stats.get("numRecords"), bool(action["dataChange"]), action.get("partitionValues") or {}, stats)


def _user(info: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        user = json.loads(info.get("userMetadata") or "{}")
    except ValueError:
        return {}
    return user if isinstance(user, dict) else {}
