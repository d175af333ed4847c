"""The state port: what Millstream must remember beside data: runs, experiments, deployments, alerts, pins, leases.

Small JSON documents with a revision. `contract.py` is the suite every engine passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol


@dataclass(frozen=True)
class Doc:
    """A document as stored; `revision` counts its writes from 1."""

    kind: str
    key: str
    revision: int
    written_at: datetime
    value: Mapping[str, Any]


class State(Protocol):
    """Documents and leases, safe for several processes. Engine: `Engine(url: str)`, the URL or path of the profile.

    Every method is durable on return, and may raise Busy (try again) or Unreachable.
    """

    def put(self, kind: str, key: str, value: Mapping[str, Any], *, expect: int | None = None) -> Doc:
        """Write the document whole.

        Args:
            expect: The revision it must have now (0: it must not exist); None overwrites.

        Raises:
            Conflict: The revision is another; nothing was written.
        """
        ...

    def get(self, kind: str, key: str) -> Doc | None:
        """The document as of now, or None."""
        ...

    def list(self, kind: str, *, prefix: str = "", limit: int | None = None, newest: bool = False) -> list[Doc]:
        """Documents whose key begins with `prefix`, in key order; `newest` sorts by last write, latest first."""
        ...

    def delete(self, kind: str, key: str) -> None:
        """Forget it; absent is fine."""
        ...

    def lease(self, name: str, owner: str, length: timedelta) -> bool:
        """Take or renew a lease by the engine's clock. False: someone else holds it. A hint, never a proof of being
        alone.
        """
        ...

    def release(self, name: str, owner: str) -> None:
        """Give it up; not holding it is fine."""
        ...

    def close(self) -> None:
        """Release handles; the object may not be used again."""
        ...
