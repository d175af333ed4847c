"""The source port: the world, read in splits with exact positions. `contract.py` is the suite every source passes.

Helpers for engines: `ingest/cast.py`, `ingest/form.py`, `ingest/digits.py`, `lake/sound.py`, `lake/shown.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from millstream.base.errors import MillstreamError


@dataclass(frozen=True)
class Batch:
    """Records of one split, and where it stands after them.

    Attributes:
        rows: Columns of the event's schema plus `_event_id`; cast and checked. History carries `_arrived_at`.
        bad: `millstream.log.port.RAW` columns: what could not be read as the event, kept as found.
        after: Where the split stands when only the first n of `rows` are taken: how many of `bad` come with them, and
            the position. So a merge by event time may stop inside a batch. `after(rows.num_rows)` is all of it.
        fault: What a person must hear of beside the bad records, "" for nothing.
        found: The bytes of a row as they were found; None where its form has none of its own (Parquet).
    """

    rows: pa.RecordBatch
    bad: pa.RecordBatch
    after: Callable[[int], tuple[int, str]]
    fault: str = ""
    found: Callable[[int], bytes] | None = None

    @property
    def position(self) -> str:
        """Opaque, versioned text: reading again from it yields exactly what follows. Made when it is asked for."""
        return self.after(self.rows.num_rows)[1]


@dataclass(frozen=True)
class Standing:
    """How a split stands before it is read.

    Attributes:
        position: From where it is read.
        moved_from: The split under whose name it was known, where that is another: the position has to be kept under
            this name before anything is read. The split itself, when another file has its name and is read from its
                beginning. None: nothing moved.
        done, size: Bytes; of `size` nothing is known where it is None.
        idle: There is nothing to read.
        empty: It was looked at, and no record is in it: a file without a byte, a header alone.
        error: Why it stands still. It alone does: its neighbours are read.
        waits_s: Its end may still be being written; in so many seconds that will be clear.
    """

    split: str
    position: str | None
    moved_from: str | None = None
    done: int = 0
    size: int | None = None
    idle: bool = False
    empty: bool = False
    error: MillstreamError | None = None
    waits_s: float = 0.0


class SourceEngine(Protocol):
    """One declared source. Engine: `Engine(source: declare.source.Source, root: pathlib.Path)`, root being the
    project's folder.
    """

    def splits(self) -> Sequence[str]:
        """Names of the units that own a position (a file, a slot, a shard), in the order they should be read.
        Stable: a split keeps its name for ever. Cheap; called again to find new ones."""
        ...

    def look(self, positions: Mapping[str, str]) -> Sequence[Standing]:
        """How the splits stand, and what has become of those that are gone, in the order in which they should be looked
        at: what moved is to be kept in this order. Cheap where nothing has changed.

        Args:
            positions: Split -> its position, of all that have one.
        """
        ...

    def read(self, split: str, position: str | None, max_rows: int = 50_000) -> Iterator[Batch]:
        """Batches of the split from a position (None: its beginning) to what is its end now. Deterministic: the same
        position gives the same records, in the same order, with the same `_event_id`. A batch has at most `max_rows`
        records, good and bad together.

        Raises:
            Recreated: The split is not the one that was read up to `position`.
            Corrupt: The rest cannot be read (a truncated archive); the batches before were whole.
        """
        ...

    def size(self, split: str, position: str | None) -> tuple[int, int] | None:
        """(bytes done, bytes in all) for a progress bar; None when unknown."""
        ...

    def locate(self, split: str, event_id: str) -> str | None:
        """Where a person finds the record of this id (`data/arrivals.csv:1234`), or None when the split cannot say."""
        ...
