"""The error tree. Catch by what you would do next: fix a definition, fix a setting, wait, or give up.

MillstreamError
├── DefinitionError (ValueError)     a noun is wrong; names file, line, what was found and the fix    exit 2
│   └── DefinitionErrors             all the mistakes of one load, together
├── UsageError (ValueError)          a command or call was asked for something it cannot mean          exit 2
├── NotFound (LookupError)           no such stream, table, version, run …                             exit 2
├── ConfigError (ValueError)         a setting is wrong or missing; lists every place looked at        exit 3
├── EngineMissing (ImportError)      the engine of a URL is not installed; prints the install line     exit 3
├── WorkFailed (RuntimeError)        a user's function or a step failed                                exit 1
├── Transient                        try the same call again later                                     exit 3
│   ├── Busy                         a lock or a lease is held by someone else
│   ├── Full                         no room: below the free-space floor
│   ├── Unreachable (ConnectionError)
│   └── ClockWrong                   a clock cannot be trusted, so event times cannot be judged
└── Terminal                         the same call will fail again                                     exit 3
    ├── Fenced                       a newer holder took the split or the lease over
    ├── Conflict                     a position or a revision is not what the caller believed
    ├── Truncated                    the log no longer holds what was asked for
    ├── Recreated                    the topic or table is another one of the same name
    ├── Incompatible                 a schema breaks the contract of its subject
    ├── Unwritable                   one record of a stream cannot be written; it can be set aside
    └── Corrupt                      stored bytes are not what was written
        └── Damaged                  of one stretch of the log, which can be passed over
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millstream.base.secrets import hide


class MillstreamError(Exception):
    """Anything Millstream raises on purpose. As a text it has no secrets, whatever it was made of."""

    exit_code = 3

    def __str__(self) -> str:
        return hide(super().__str__())


@dataclass(frozen=True)
class Place:
    """Where the user wrote something: `file` as the user would name it, `line` and `column` from 1; 0: it is about the whole line."""

    file: str
    line: int
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f":{self.column}" if self.column else "")


class DefinitionError(MillstreamError, ValueError):
    """A noun is declared wrongly.

    Args:
        message: One sentence naming the noun and what is wrong with it.
        place: Where it was written, None when unknown.
        found: What was found there.
        fix: What to write instead.
        code: "E1xx"; `millstream show E1xx` prints its page.
    """

    exit_code = 2

    def __init__(self, message: str, *, place: Place | None = None, found: str = "", fix: str = "", code: str = "") -> None:
        self.message, self.place, self.found, self.fix, self.code = message, place, found, fix, code
        super().__init__(message)

    def __str__(self) -> str:
        lines = [f"{self.place}  {self.message}" if self.place else self.message]
        if self.found:
            lines.append(f"  found  {self.found}")
        if self.fix:
            lines.append(f"  fix    {self.fix}")
        if self.code:
            lines[-1] += f"    {self.code}"
        return hide("\n".join(lines))


class DefinitionErrors(DefinitionError):
    """Every mistake of one load, so that they can be fixed in one go.

    Args:
        unchecked: Names of the definitions that nothing was said about, because they depend on what is wrong.
    """

    def __init__(self, errors: Sequence[DefinitionError], unchecked: Sequence[str] = ()) -> None:
        self.errors, self.unchecked = tuple(errors), tuple(unchecked)
        super().__init__(f"{len(self.errors)} mistakes")

    def __str__(self) -> str:
        told = "\n".join(str(error) for error in self.errors)
        return f"{told}\n{hide(self._waiting())}" if self.unchecked else told

    def _waiting(self) -> str:
        n, m = len(self.unchecked), len(self.errors)
        were = "1 definition was not checked, because it depends" if n == 1 else f"{n} definitions were not checked, because they depend"
        return f"{m} mistake{'s' if m > 1 else ''}; {were} on what is wrong: {', '.join(self.unchecked)}"


class UsageError(MillstreamError, ValueError):
    """A command or call was asked for something it cannot mean."""

    exit_code = 2


class NotFound(MillstreamError, LookupError):
    """There is no stream, table, version or run of that name."""

    exit_code = 2


class ConfigError(MillstreamError, ValueError):
    """A setting is wrong or missing. Never shows the value of a secret."""


class EngineMissing(MillstreamError, ImportError):
    """The engine that a URL names is not installed."""


class WorkFailed(MillstreamError, RuntimeError):
    """A user's function, a query or a step of a run failed."""

    exit_code = 1


class Transient(MillstreamError):
    """The same call may succeed later."""


class Busy(Transient):
    """A lock or lease is held by someone else and did not come free in time."""


class Full(Transient):
    """There is no room: the disk is below the free-space floor, or a queue is at its bound."""


class Unreachable(Transient, ConnectionError):
    """A service does not answer."""


class ClockWrong(Transient):
    """A clock cannot be trusted: this machine's, or the one that stamped the newest append. Event times are not judged until it is clear which."""


class Terminal(MillstreamError):
    """The same call will fail again."""


class Fenced(Terminal):
    """A newer holder has taken this split or lease over; the caller must stop."""


class Conflict(Terminal):
    """A stored position or revision differs from the one the caller believed."""


class Truncated(Terminal):
    """The log's start has moved past the position asked for."""


class Recreated(Terminal):
    """A topic or table of this name is not the one known before."""


class Incompatible(Terminal):
    """A schema breaks the compatibility rule of its subject."""


class Unwritable(Terminal):
    """One record, which is named, is well-formed and cannot be written."""


class Corrupt(Terminal):
    """Stored bytes are not what was written."""


class Damaged(Corrupt):
    """Records [start, end) of a partition of the log cannot be read; what lies before and after them can.

    Args:
        start: The reader's position.
    """

    def __init__(self, message: str, *, partition: int = 0, start: int = 0, end: int = 0) -> None:
        super().__init__(message)
        self.partition, self.start, self.end = partition, start, end
