"""Several things that are asked for together: each is done, what fails is named in the end, and costs the others
nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from millstream.base.errors import MillstreamError, WorkFailed
from millstream.base.theirs import pass_on
from millstream.run.trouble import said

T = TypeVar("T")
log = logging.getLogger("millstream")


class Each:
    """What failed of several things, by name."""

    def __init__(self) -> None:
        self.failed: dict[str, MillstreamError] = {}

    def attempt(self, name: str, work: Callable[[], T]) -> T | None:
        """What it gives; None when it fails, which is noted."""
        try:
            return work()
        except MillstreamError as error:
            self.failed[name] = error
        except BaseException as error:
            pass_on(error)
            if os.environ.get("MILLSTREAM_DEBUG"):
                log.error("%s", name, exc_info=error)
            self.failed[name] = WorkFailed(f"{said(error)}; MILLSTREAM_DEBUG=1 shows where it happened")
        return None


class Rows(list[dict[str, Any]]):
    """Rows to show; what could not be looked at is not a row, but named in `failed`."""

    def __init__(self, each: Each | None = None) -> None:
        super().__init__()
        self.each = each or Each()

    def add(self, name: str, row: Callable[[], dict[str, Any]]) -> None:
        """A row more, or a name more that failed."""
        made = self.each.attempt(name, row)
        if made is not None:
            self.append(made)

    @property
    def failed(self) -> Mapping[str, MillstreamError]:
        return self.each.failed


def code(failed: Mapping[str, MillstreamError]) -> int:
    """The exit code of a command of which these failed: 3 when it was the environment each time, else 1."""
    return 3 if all(error.exit_code == 3 for error in failed.values()) else 1
