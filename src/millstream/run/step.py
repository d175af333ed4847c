"""What the planner and the runner know of an asset, whatever its kind: what it is made from, what that costs, and the
making.

A step is idempotent: made twice, it is as if made once; killed in the middle, it is made by making it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


class Report:
    """Where a step tells how far it is; this one listens to nobody."""

    def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
        """`done` of `total` units, and a word about them."""


@dataclass(frozen=True)
class Cost:
    """What a step would read: rows and bytes, as far as they are known."""

    rows: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Made:
    """What a step made: its version's name, rows and bytes written, and a remark for people.

    Attributes:
        problems: What went wrong with parts of it. The run has failed then, but what is made from this step is made all
            the same.
        waits: The parts that failed, by name -> why; of sources, the files.
    """

    version: str
    rows: int = 0
    bytes: int = 0
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    waits: Mapping[str, str] = field(default_factory=dict)


class Step(Protocol):
    """One asset, as the planner and the runner see it."""

    name: str
    kind: str
    upstream: tuple[str, ...]
    recorded: bool  # False: it keeps its own position, and `pending` alone says whether there is work

    @property
    def definition(self) -> str:
        """Fingerprint of how it is made."""
        ...

    def inputs(self) -> dict[str, str]:
        """Asset -> its version now."""
        ...

    def pending(self) -> str:
        """Work that is there whatever the record says ("1.2 MB to read"), or ""."""
        ...

    def cost(self) -> Cost: ...

    def make(self, report: Report) -> Made: ...


@runtime_checkable
class Feeds(Protocol):
    """A step that brings something to some of those made from it, and nothing to the others."""

    def feeds(self) -> Mapping[str, int]:
        """Those it would bring something -> about how many rows, 0 where nothing tells."""
        ...


@runtime_checkable
class Expects(Protocol):
    """A step that reads another part of what is there when more has come."""

    def expects(self, rows: int) -> Cost:
        """What it would read once what it is made from has been made again, with so many rows more; 0 where nothing
        tells.
        """
        ...


def digest(*parts: object) -> str:
    """A short fingerprint of JSON-able parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def size(count: float) -> str:
    """Bytes for people.

    >>> size(1_500_000)
    '1.5 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
