"""The online store port: tiles of features, each with one writer, and the positions they stand at.

A generation is one definition's data (its fingerprint). State is kept per (key, partition, level, slot), so that each log
partition has one writer, and merged over partitions at look-up. Engine: `Engine(url: str)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from millstream.features.definition import Definition


@dataclass(frozen=True)
class Applied:
    """Where a generation stands: next offset and largest arrival time (us) per partition; `active` once its filling is whole."""

    offsets: Mapping[int, int]
    clock_us: int
    active: bool


@dataclass(frozen=True)
class Lookup:
    """The answer for one key at one moment.

    Attributes:
        values: Output name (`delay_3h`) -> value, None where there is none.
        reasons: Output -> why it is None: "never_seen", "outside_window", "null_key".
        offsets: The positions the answer is as of.
        exact: False when the moment lies before what the store still keeps apart (see FEATURES: horizon).
    """

    values: Mapping[str, float | int | None]
    reasons: Mapping[str, str]
    offsets: Mapping[int, int]
    exact: bool


class OnlineStore(Protocol):
    """Safe for several threads and processes; look-ups never wait for an update longer than one transaction."""

    def create(self, definition: Definition) -> None:
        """Make room for a generation; existing is fine."""
        ...

    def applied(self, generation: str) -> Applied | None:
        """Where it stands, None when unknown."""
        ...

    def generations(self) -> list[str]: ...

    def load(self, definition: Definition, tiles: pa.RecordBatchReader, heads: pa.RecordBatchReader) -> None:
        """Fill a generation that is not active; replaces what an earlier, killed fill left."""
        ...

    def activate(self, generation: str, offsets: Mapping[int, int], clock_us: int) -> None:
        """The filling is whole, and stands at these positions: one transaction."""
        ...

    def apply(self, definition: Definition, partition: int, start: int, end: int, clock_us: int, events: pa.RecordBatch) -> None:
        """Merge events of one partition, [start, end), and move the position: one transaction.

        Args:
            events: `key` (string, encoded by `features.keys`), `t` (event time us), `known` (us), `offset`, and one column
                a value of the definition; duplicates and rows that fail `where` are gone.

        Raises:
            Conflict: The stored position is not `start`; nothing was written.
        """
        ...

    def lookup(self, definition: Definition, keys: Sequence[str | None], at_us: Sequence[int]) -> list[Lookup]:
        """One answer for each key and moment, all from one snapshot of the store."""
        ...

    def expire(self, definition: Definition) -> int:
        """Drop what no window can reach any more; rows dropped."""
        ...

    def drop(self, generation: str) -> None: ...

    def close(self) -> None: ...
