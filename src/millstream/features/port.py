"""The online store port: tiles of features, each with one writer, and the positions they stand at.

A generation is one definition's data (its fingerprint). State merges by adding, least and greatest (state.py), so a
store may keep it per partition or merge partitions as they come, as long as each partition's position moves in the
transaction that brings its events. `contract.py` proves what is promised here. Engine: `Engine(url: str)`.
Helpers for engines: `features/definition.py`, `features/online.py`, `features/lift.py`, `features/state.py`,
`features/window.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from millstream.features.definition import Definition
from millstream.features.online import Found, Use


@dataclass(frozen=True)
class Applied:
    """Where a generation stands: next offset per partition, largest arrival time (us); `active` once its filling is
    whole.

    Attributes:
        ruling: What decided which records count (`lake/ruling.py: stamp`), as `activate` was given; "" where nothing
            did.
    """

    offsets: Mapping[int, int]
    clock_us: int
    active: bool
    ruling: str = ""


@dataclass(frozen=True)
class Apply:
    """Events of one partition, [start, end), for one definition.

    Attributes:
        clock_us: The largest arrival time among the good records of [start, end), whether or not `where` takes them; 0
            when there is none.
        events: Columns of `lift.schema`: key (`features.keys`, never NULL), t (event time us, never negative), tie, one
            a value; duplicates and rows that fail `where` are gone.
        ruling: What decided which records count; must be the generation's.
    """

    definition: Definition
    partition: int
    start: int
    end: int
    clock_us: int
    events: pa.RecordBatch
    ruling: str = ""


@dataclass(frozen=True)
class Lookup:
    """The answer for one key at one moment.

    Attributes:
        values: Output name (`delay_3h`) -> value, None where there is none.
        reasons: Output -> why it is None: "never_seen", "none_in_reach" (no event of the key within the longest window;
            older ones are not kept online), "outside_window" (the key is known, and has no event in this window),
            "no_value" (events, but too few values that count), "too_large" (a value beyond what can be summed exactly),
            "null_key".
        offsets: The positions the answer is as of.
        exact: False when the moment lies before what the store still keeps apart: its slot began earlier than two hours
            (`online.HEAD_US`) before the newest arrival applied.
    """

    values: Mapping[str, float | int | None]
    reasons: Mapping[str, str]
    offsets: Mapping[int, int]
    exact: bool


class Reader(Protocol):
    """Uses bound once, looked up for many requests. Safe for several threads."""

    @property
    def columns(self) -> Sequence[str]:
        """`<prefix>__<output>` of each use, in order."""
        ...

    def __call__(self, request: Mapping[str, Any], at_us: int) -> Found:
        """The features of one request, all from one snapshot.

        Raises:
            NotFound: A use's generation is unknown to the store.
        """
        ...


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
        """Fill a generation, made when it is unknown; replaces what an earlier, killed fill left.

        Of two that fill one generation, at most one can get to `activate`: what it activates is all its own.
        One that is active is filled next to what answers, which updaters keep moving; `activate` puts the new one in
        its place, so that a look-up sees the one or the other.

        Args:
            tiles: Columns of `lift.tile_schema`, each tile once, levels 0 to 2.
            heads: Columns of `lift.schema`: the events from the horizon on, which are in the tiles too.

        Raises:
            Conflict: Another fills it.
        """
        ...

    def activate(self, generation: str, offsets: Mapping[int, int], clock_us: int, ruling: str = "") -> None:
        """The filling is whole, and stands at these positions: one transaction. `applied` gives `ruling` back.

        Raises:
            Conflict: It is active, and was not filled again; or another has begun to fill it since.
        """
        ...

    def apply(self, applies: Sequence[Apply]) -> None:
        """Merge events and move positions: all of it in one transaction.

        Raises:
            Conflict: A stored position is not `start`, or a generation is not active, or counted under another ruling;
                nothing was written.
        """
        ...

    def lookup(self, definition: Definition, keys: Sequence[str | None], at_us: Sequence[int]) -> list[Lookup]:
        """One answer for each key and moment, all from one snapshot of the store. Raises NotFound for an unknown
        generation.
        """
        ...

    def reader(self, uses: Sequence[Use]) -> Reader:
        """Bind what one model needs, for look-ups request by request."""
        ...

    def expire(self, definition: Definition) -> int:
        """Drop what no window can reach any more; rows dropped."""
        ...

    def drop(self, generation: str) -> None:
        """Forget the generation and its state; absent is fine."""
        ...

    def close(self) -> None: ...
