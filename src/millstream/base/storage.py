"""What a disk refuses, as one of our errors: full, read-only, not yours, failing, too many open files.

Libraries below us (Arrow, delta-rs, DuckDB, SQLAlchemy) wrap the system's error and often drop its number, so the text
is read too.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from millstream.base.errors import ConfigError, Full, MillstreamError, Transient

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
TOO_MANY = frozenset({errno.EMFILE, errno.ENFILE})
_BY_TEXT = {
    "no space left": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "database or disk is full": errno.ENOSPC,
    "read-only file system": errno.EROFS,
    "too many open files": errno.EMFILE,
    "attempt to write a readonly database": errno.EROFS,
}
_OS_ERROR = re.compile(r"(?:os error |errno )(\d+)")


def number_of(error: BaseException) -> int | None:
    """The system's number of a refusal of the disk; None when the error is about something else.

    >>> number_of(OSError(28, "No space left on device")) == 28
    True
    >>> number_of(RuntimeError("Generic LocalFileSystem error: (os error 30)"))
    30
    >>> number_of(FileNotFoundError(2, "No such file or directory")), number_of(ValueError("no space left of it"))
    (None, None)
    >>> number_of(RuntimeError("403: permission denied")) is None  # nobody's disk
    True
    """
    known = FULL | REFUSED | TOO_MANY | {errno.EIO}
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in known else None
    if isinstance(error, (ValueError, TypeError, LookupError)):  # these speak of what a person wrote
        return None
    text = str(error).lower()
    found = _OS_ERROR.search(text)
    if found and int(found[1]) in known:
        return int(found[1])
    return next((number for words, number in _BY_TEXT.items() if words in text), None)


def refused(error: BaseException, path: str | Path | None, what: str) -> MillstreamError | None:
    """The error as one sentence that names the path, what was tried, and the fix; None when it is not the disk's.

    Args:
        path: Used where the error itself names no file.
        what: What was tried: "create table x", "run".
    """
    number = number_of(error)
    if number is None:
        return None
    named = getattr(error, "filename", None)
    place = os.path.abspath(os.fsdecode(named)) if isinstance(named, (str, bytes)) else str(path or Path.cwd())
    if number == errno.EFBIG:
        return Full(
            f"{place}: the file would exceed the size limit of this process while trying to {what}; raise it (ulimit"
            " -f), then try again"
        )
    if number in FULL:
        return Full(
            f"{place}: no space left on its disk while trying to {what}; free some space (df -h shows how much there"
            " is), then try again"
        )
    if number in TOO_MANY:
        return Transient(
            f"{place}: too many files are open while trying to {what}; raise the limit (ulimit -n), or stop what else"
            " holds files open"
        )
    if number == errno.EROFS:
        return ConfigError(
            f"{place} is on a read-only file system, so millstream cannot {what}; remount it for writing, or work on a"
            " copy of the project"
        )
    if number in REFUSED:
        return ConfigError(
            f"{place}: permission denied while trying to {what}; make it accessible to this user (chown or chmod), or"
            " run as its owner"
        )
    return MillstreamError(
        f"{place}: the disk reports an input/output error while trying to {what}; check the disk (dmesg), then try"
        " again"
    )
