"""What hdfs-native and delta-rs raise about HDFS, as ours: the one place where they are told apart.

hdfs-native keeps the kinds of a file system (FileNotFoundError ...), says OSError when a connection fails, and
everything else as a RuntimeError whose text is the Rust value: `RPCError("org.apache...StandbyException", "Operation
...")`. delta-rs wraps the same causes.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator

from millstream.base.errors import ConfigError, Corrupt, Full, MillstreamError, Terminal, Unreachable

_PASSES = re.compile(
    r"StandbyException|RetriableException|SafeModeException|ObserverRetryOnActive|NotReplicatedYet|LeaseExpiredException|BlocksNotFound|blocks"
    r" not found"
    r"|DataTransferError|data transfer error|OperationFailed|operation failed|InvalidRPCResponse|failed to decode"
    r" RPC|ErasureCodingError|erasure coding error"
    r"|IO error occurred while communicating with HDFS|RPC listener disconnected|could only be written to|There are 0"
    r" datanode|NoRouteToHost|ConnectException"
    r"|InternalError|interal error"
)
"""A namenode that is not the active one (yet), or a datanode that has gone: another try, a little later, may
go well.
"""
_FULL = re.compile(
    r"QuotaExceededException|QuotaByStorageTypeExceeded|No space left|disk is out of space|DiskOutOfSpace"
)
_REFUSED = re.compile(
    r"AccessControlException|AuthorizationException|InvalidToken|SASLError|SASL error|GSSAPIError|GSSAPI"
    r" error|NoSASLMechanism|No valid SASL"
)
_NAMELESS = re.compile(r"No NameNode hosts found")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@contextlib.contextmanager
def mapped(root: str) -> Iterator[None]:
    """hdfs-native's errors.

    Raises:
        FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError: As any file system does.
        Unreachable, Full, ConfigError, Corrupt, Terminal: See `ours`.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, MillstreamError):
        raise
    except (OSError, RuntimeError, NotImplementedError) as error:
        # Of the local file that an upload is gathered in
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise Full(f"no space left for what is written to {root}") from error
        if "ParentNotDirectoryException" in str(error):
            raise NotADirectoryError(_short(error)) from error
        found = ours(root, error)
        if found is None:
            found = (
                Unreachable(f"HDFS {root} does not answer: {_short(error)}")
                if isinstance(error, OSError)
                else Terminal(f"HDFS {root}: {_short(error)}")
            )
        raise found from error


@contextlib.contextmanager
def mapped_delta(root: str) -> Iterator[None]:
    """delta-rs' errors, as far as they are about HDFS and not about the table."""
    try:
        yield
    except MillstreamError:
        raise
    except Exception as error:
        found = ours(root, error)
        if found is None:
            raise
        raise found from error


def ours(root: str, error: BaseException) -> MillstreamError | None:
    """The error of ours that says the same; None when the text is about none of this."""
    said = str(error)
    if _NAMELESS.search(said):
        return ConfigError(
            f'no namenode of "{root}" is known: set HADOOP_CONF_DIR, or say ?conf=FOLDER or'
            " ?namenodes=HOST:PORT,HOST:PORT in the URL of the lake"
        )
    if _FULL.search(said):
        return Full(f"no room in HDFS {root}: {_short(error)}")
    if _REFUSED.search(said):
        return ConfigError(
            f"HDFS {root} refuses this user: {_short(error)}; see HADOOP_USER_NAME, or with Kerberos `klist` and"
            " KRB5CCNAME"
        )
    if "ChecksumError" in said or "checksums didn't match" in said:
        return Corrupt(f"HDFS {root}: {_short(error)}; `hdfs fsck` says which replica is bad")
    if _PASSES.search(said):
        return Unreachable(f"HDFS {root} does not answer: {_short(error)}")
    return None


def _short(error: BaseException) -> str:
    """Without Java's stack and Rust's colours, in one line."""
    said = _COLOURS.sub("", str(error)).replace("\\n", "\n").replace("\\t", "\t")
    return " ".join(line.strip(' ↳"') for line in said.split("\n\tat ")[0].splitlines() if line.strip())[:400]
