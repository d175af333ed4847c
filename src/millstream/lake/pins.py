"""Versions that something names: kept from vacuum and log clean-up until it lets go.

A pin is a file of its own beside the tables, `_pins/<table>/<version>.<who>`, so that pinning needs no lock and no
other store.
"""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import quote, unquote

from millstream.lake.port import Files

FOLDER = "_pins"


def pin(files: Files, table: str, version: int, by: str) -> None:
    """Durable on return; doing it again is fine."""
    path = f"{FOLDER}/{table}/{version:020d}.{_spelled(by)}"
    try:
        with files.create(path) as file:
            file.write(by.encode())
    except FileExistsError:
        return
    files.sync(path)


def unpin(files: Files, table: str, by: str) -> None:
    """Let go every version of the table that `by` pinned."""
    for name in files.list(f"{FOLDER}/{table}"):
        if name.partition(".")[2] == _spelled(by):
            files.remove(f"{FOLDER}/{table}/{name}")


def pinned(files: Files, table: str) -> dict[int, list[str]]:
    """Pinned versions, each with who pinned it."""
    found: dict[int, list[str]] = {}
    for name in files.list(f"{FOLDER}/{table}"):
        version, _, by = name.partition(".")
        found.setdefault(int(version), []).append(unquote(by))
    return dict(sorted(found.items()))


def _spelled(by: str) -> str:
    """A file name; a very long one ends in a hash."""
    text = quote(by, safe="")
    return text if len(text) <= 180 else f"{text[:120]}~{sha256(by.encode()).hexdigest()[:32]}"
