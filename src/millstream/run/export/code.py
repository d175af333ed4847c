"""The files that a project's definitions are made of, by their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from millstream.declare.load import FILE

_NOT_CODE = ("tests", "__pycache__")
_SECTIONS = ("project", "params")


def hashes(root: Path) -> dict[str, str]:
    """File, as seen from the root -> hash (64 hex), in order of names: Python modules, tables' SQL, and of
    millstream.toml what is not infrastructure.

    Tests are left out, and so are hidden folders and virtual environments.
    """
    found = {FILE: _sha(_definitions(root / FILE))}
    for file in _files(root):
        found[file.relative_to(root).as_posix()] = _sha(file.read_bytes())
    return dict(sorted(found.items()))


def changed(root: Path, known: Mapping[str, str]) -> list[str]:
    """Files that are not as they were: "streams.py", "tables/day.sql (new)", "models.py (gone)"."""
    now = hashes(root)
    new = [f"{name} (new)" for name in now if name not in known]
    return [name if name in now else f"{name} (gone)" for name, sha in known.items() if now.get(name) != sha] + new


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(
            f for f in folders if f[0] != "." and f not in _NOT_CODE and not (Path(folder) / f / "pyvenv.cfg").exists()
        )
        for name in sorted(files):
            if name.endswith(".py") and not name.startswith("test_") and name != "conftest.py":
                yield Path(folder) / name
    yield from sorted((root / "tables").glob("*.sql"))


def _definitions(file: Path) -> bytes:
    told = tomllib.loads(file.read_text(encoding="utf-8"))
    return json.dumps({key: told.get(key) for key in _SECTIONS}, sort_keys=True, default=str).encode()


def _sha(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
