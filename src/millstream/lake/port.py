"""Four ports of the lake.

Tables and Table: what a stream's sink, updater and proof need of the lake. `Lake` over Delta is the one that is used;
the simulator has one in memory. Files: where the tables live. Engine: `Engine(url: str)`, the `lake` of the profile.
Sinks: what brings streams from the log into their tables. Engine: `Engine(url: str, folder: Path)`, the `sink` of the
profile. Catalog: where tables are published for other tools. Engine: `Engine(url: str)`, the `catalog` of the profile.

Helpers for engines of files: `lake/patience.py`.
Helpers for engines of sinks: `lake/sink.py`, `lake/landing.py`, `lake/batch.py`, `lake/dead.py`, `lake/positions.py`,
`lake/lake.py`, `lake/table.py`, `lake/parquet.py`, `log/framing.py`, `log/dedupe.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias, TypeVar, runtime_checkable

import pyarrow as pa

if TYPE_CHECKING:
    from millstream.declare.stream import Stream
    from millstream.lake.batch import Progress
    from millstream.lake.lake import Lake
    from millstream.lake.landing import SinkLimits
    from millstream.lake.lineage import Range
    from millstream.lake.parquet import Written
    from millstream.log.port import Log, Schemas


T = TypeVar("T")
Txns: TypeAlias = Mapping[str, tuple[int | None, int]]
"""App id -> (where it must stand now, None: nowhere; where it stands after the commit)."""


class Table(Protocol):
    """A handle on one version of a table: rows, and positions that move with them in one step.

    What it commits, it commits from there. It moves on by its own commits and by `refresh`, never by itself.
    """

    @property
    def name(self) -> str: ...

    @property
    def uuid(self) -> str:
        """Another one when the table was dropped and made again."""
        ...

    @property
    def version(self) -> int: ...

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def configuration(self) -> Mapping[str, str]: ...

    def refresh(self) -> Table:
        """The newest version, on a new handle; what was checked on this one must be checked again."""
        ...

    def position(self, app: str) -> int | None:
        """Where an app id stands on this handle; None when it never committed."""
        ...

    def txns(self) -> dict[str, int]:
        """Every app id of this version, with where it stands."""
        ...

    def check(self, txns: Txns | None) -> None:
        """Raises Conflict when a position on this handle is not where the caller believes."""
        ...

    def write(self, batches: Iterable[pa.RecordBatch]) -> list[Written]:
        """The rows in new, durable files that no commit names yet. Raises Full, with nothing left behind."""
        ...

    def land(self, files: Sequence[Written], *, txns: Txns, metadata: Mapping[str, Any]) -> int:
        """Bring these files and move these positions in one durable commit from this handle; the version that holds
        them.

        Any two commits that name one app id exclude one another, also where they leave it in its place.

        Raises:
            Conflict: Another commit of one of these app ids came first, or the columns changed. Nothing was committed.
            Transient, OSError: Whether it was committed is not known.
        """
        ...

    def edit(
        self,
        change: Callable[[pa.RecordBatch], pa.RecordBatch],
        bounds: Mapping[str, tuple[Any, Any]],
        files: Sequence[Written] = (),
        *,
        txns: Txns,
        metadata: Mapping[str, Any],
    ) -> int:
        """Put what `change` makes of the rows in their place, in the same order, bring these files and move these
        positions: one durable commit from this handle; the version that holds it. Older versions stay as they are.

        Args:
            change: Called with batches of all columns, twice with most; gives back the very batch where nothing
                changes.
            bounds: As of `scan`: rows that lie outside need not be shown to it.

        Raises:
            Conflict, Transient, OSError: As `land`.
        """
        ...

    def add_columns(self, fields: Iterable[pa.Field]) -> Table:
        """The table with these columns as well, null in every old row; those that are there are left. Raises
        Incompatible.
        """
        ...

    def scan(
        self,
        columns: Sequence[str],
        bounds: Mapping[str, tuple[Any, Any]] | None = None,
        where: Any = None,
        *,
        skip: Collection[str] = (),
    ) -> Iterator[pa.RecordBatch]:
        """Batches of these columns, in order of writing.

        Args:
            bounds: Column -> (least, most), inclusive, None is open: what surely lies outside may be left out.
            where: A pyarrow expression that rows must meet.
            skip: Files, as `TABLE/PATH`, to leave out.
        """
        ...

    def ranges(self) -> list[Range]:
        """What each commit of a sink brought, up to this version, by partition and start."""
        ...

    def settle(self) -> None:
        """Have all that this handle shows survive a power cut, whoever committed it; durable on return."""
        ...

    def tend(self) -> None:
        """Do what keeps commits cheap, when it is overdue."""
        ...


@runtime_checkable
class CanInspect(Protocol):
    """A table in files, which may be damaged."""

    def inspect(self, *, deep: bool) -> Iterator[tuple[str, str]]:
        """Files of this version that are not as they were written, by path below the table, and in which way.

        Args:
            deep: Read every page, and compare its checksum; else only that the file is there, and as long as it was.
        """
        ...


class Tables(Protocol):
    """Tables by name."""

    def exists(self, name: str) -> bool: ...

    def table(self, name: str) -> Table:
        """The newest version. Raises NotFound; Corrupt when it cannot be read."""
        ...

    def create(self, name: str, schema: pa.Schema) -> Table:
        """An empty table; one that someone else made a moment ago is returned as it is. Raises Conflict: it exists with
        other columns.
        """
        ...


@dataclass(frozen=True)
class Snapshot:
    """A lake table at one version: the files of it, by absolute path or URL.

    Attributes:
        schema: The table's Arrow schema, partition columns included.
        partitions: For each file, the values of the partition columns as the Delta log has them (empty: none).
        store: Where the files are opened, when they are not paths of this machine.
    """

    table: str
    version: int
    schema: pa.Schema
    files: tuple[str, ...]
    partitions: tuple[Mapping[str, Any], ...] = ()
    store: Files | None = field(default=None, repr=False, compare=False)


class Files(Protocol):
    """A tree of files below one root. Paths are relative, with forward slashes. Safe for several threads.

    Pickled, it is opened again wherever it is unpickled: a worker elsewhere sees the same tree. A store that is
    somewhere else waits out what passes (`lake/patience.py`) before it raises Unreachable.
    """

    @property
    def root(self) -> str:
        """The root as delta-rs and the compute engine are given it: an absolute path, or a URL."""
        ...

    @property
    def options(self) -> Mapping[str, str]:
        """delta-rs storage options."""
        ...

    def call(self, work: Callable[[], T]) -> T:
        """What a call of delta-rs on this store returns. Its errors about the store as ours: Unreachable when another
        try may go well (Unanswered when it did not come back in the store's time, and holds what it was made with),
        Full, ConfigError. Any other comes through as it is.
        """
        ...

    def create(self, path: str) -> BinaryIO:
        """Open a new file for writing, with its folders. It is durable only after `sync(path)`.

        Raises:
            FileExistsError: Someone made it first.
        """
        ...

    def open(self, path: str) -> BinaryIO:
        """Open for reading; seekable. Raises FileNotFoundError."""
        ...

    def sync(self, *paths: str) -> None:
        """These closed files, and the folders that name them, survive a power cut on return."""
        ...

    def size(self, path: str) -> int | None:
        """Bytes, or None when it does not exist."""
        ...

    def list(self, folder: str) -> list[str]:
        """Names of the files and folders in it, sorted; empty when it does not exist."""
        ...

    def remove(self, path: str) -> None:
        """Delete the file; absent is fine."""
        ...

    def remove_tree(self, folder: str) -> None:
        """Delete the folder and all in it; absent is fine."""
        ...

    def free_bytes(self) -> int | None:
        """Space left, None when the store has no such bound."""
        ...


class LandsStream(Protocol):
    """One worker of a stream. Any number may run at once, of any engine: what each commits is checked by the one rule
    (`landing.py`).

    All calls raise Truncated, Recreated, Corrupt or Incompatible where the stream must stop, and Transient where a new
    worker may continue.
    """

    def step(self, timeout: timedelta = timedelta(0)) -> Progress:
        """Land what is due, waiting up to `timeout` for it."""
        ...

    def drain(self, report: Callable[..., None] | None = None) -> Progress:
        """Land everything up to the log's ends as of this call; durable on return.

        Args:
            report: Called with (records done, records in all).
        """
        ...

    def run(self, stop: threading.Event) -> None:
        """Land what comes until `stop`, reading the partitions that the group gives this worker."""
        ...

    def close(self) -> None:
        """Let go; what has not landed is for the next worker."""
        ...


class Sinks(Protocol):
    """Makes workers, and keeps what they share until it is closed. Safe for several threads. `folder` is for files of
    its own.
    """

    def worker(
        self, log: Log, schemas: Schemas, lake: Lake, stream: Stream[Any], limits: SinkLimits | None = None
    ) -> LandsStream:
        """One more worker of a stream that has its topic; the caller's to close.

        Raises:
            ConfigError: The log is none that it can read.
        """
        ...

    def close(self) -> None:
        """After its workers."""
        ...


@runtime_checkable
class CanPrepare(Protocol):
    """Files whose folders have properties that must be there before the first file is."""

    def prepare(self, folder: str) -> None:
        """Make the folder as the settings want it; again is fine."""
        ...


@dataclass(frozen=True)
class Listing:
    """What a catalog is sent about a table.

    Attributes:
        root: Of the lake, as `Files.root` says it.
        uuid: Of the table.
        partition_by: Columns whose values are in the log and not in the files.
        plain: Whether the files alone, each read whole and by column names, are the rows; not so with deletion vectors
            and mapped columns.
    """

    root: str
    uuid: str
    snapshot: Snapshot
    partition_by: tuple[str, ...] = ()
    plain: bool = True


class Catalog(Protocol):
    """Where others find the lake's tables by name. Engine: `Engine(url: str)`, the `catalog` of the profile. Safe for
    several threads.

    It is informed after the fact, and may be late: between two updates its readers see an older version, or the newest,
    as the engine's documentation says.
    """

    @property
    def name(self) -> str:
        """The same for everybody who tells this catalog; pins are called after it."""
        ...

    def known(self, root: str) -> Mapping[str, int]:
        """Tables of this lake that it has, with their versions. Raises Unreachable."""
        ...

    def tell(self, listing: Listing) -> None:
        """Have the table at that version: a reader sees all of the version before, or all of this one. Again is fine.

        On return the files of older versions may go, after the lake's usual grace.

        Raises:
            Conflict: Another lake's, or another's, table has that name there.
            Incompatible: A column cannot be said in its types.
            Unreachable: It does not answer.
        """
        ...

    def forget(self, root: str, table: str) -> None:
        """Have the table of this lake no more; its files stay. Absent is fine. Raises Unreachable."""
        ...

    def close(self) -> None: ...
