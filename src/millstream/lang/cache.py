"""What the checks have judged before, by the hash of what they were given: a warm check of an unchanged project parses
nothing.

One small file, replaced whole; losing it, or racing for it, costs only time. Only good verdicts are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

VERSION = 2
"""Raised whenever a check changes, so that old verdicts are forgotten."""


class Cache:
    """A dictionary in `folder/checks.json`; without a folder it forgets at the end."""

    def __init__(self, folder: Path | None) -> None:
        self._file = None if folder is None else folder / "checks.json"
        self._old: dict[str, Any] = {}
        self._new: dict[str, Any] = {}
        if self._file is not None:
            try:
                found = json.loads(self._file.read_text(encoding="utf-8"))
                if isinstance(found, dict) and found.get("version") == _version():
                    self._old = found["known"]
            except (OSError, ValueError, KeyError):
                pass

    def get(self, key: str) -> Any:
        """The value kept, or None."""
        value = self._new.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self._new[key] = value
        return value

    def put(self, key: str, value: Any) -> None:
        """Keep a JSON value other than None."""
        self._new[key] = value

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was not asked for this time is dropped, so the file never outgrows the project."""
        if self._file is None or self._new == self._old:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            draft = self._file.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps({"version": _version(), "known": self._new}), encoding="utf-8")
            draft.replace(self._file)
            for left in self._file.parent.glob(f"{self._file.stem}.*"):  # drafts of processes that were killed
                if left.suffix[1:].isdigit() and time.time() - left.stat().st_mtime > 60:
                    left.unlink(missing_ok=True)
        except OSError:
            pass  # a read-only project is checked as well, only slower


def _version() -> str:
    return f"{VERSION} {version('sqlglot')}"


def digest(*parts: object) -> str:
    """The key of what a check is given."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
