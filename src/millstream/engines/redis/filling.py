"""Filling: who fills a generation, and tiles of Arrow batches as arrays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from millstream.base.errors import Conflict, Transient
from millstream.engines.redis.blobs import Array
from millstream.engines.redis.database import Names
from millstream.engines.redis.wire import Address, Wire
from millstream.features.definition import Definition
from millstream.features.lift import Columns
from millstream.features.state import PACKED, stored


class Filler:
    """The right to fill a generation, from here until it is closed; it ends by itself some time after its holder died.

    It only spares others the work: that one fills it at a time is held by `Stand.filling`, which every write of a fill
    compares.
    """

    def __init__(self, address: Address, names: Names, generation: str, space: int, length: timedelta) -> None:
        """Raises Conflict: Another has it."""
        self.space, self._owner = space, threading.current_thread()
        self._wire, self._name, self._length_ms = (
            Wire(address),
            names.filler(generation),
            length // timedelta(milliseconds=1),
        )
        if self._wire.ask([("SET", self._name, space, "NX", "PX", self._length_ms)]) == [None]:
            self._wire.close()
            raise Conflict(f"generation {generation} is being filled by another")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"fill-{generation}", daemon=True)
        self._thread.start()

    @property
    def mine(self) -> bool:
        """Whether this thread has it; also what one has left that is gone."""
        return self._owner is threading.current_thread() or not self._owner.is_alive()

    def _renew(self) -> None:
        while not self._stop.wait(self._length_ms / 3000):
            try:
                if self._mine():
                    self._wire.ask([("PEXPIRE", self._name, self._length_ms)])
            except Transient:
                pass  # at the next turn

    def _mine(self) -> bool:
        return bool(self._wire.ask([("GET", self._name)], again=True) == [str(self.space).encode()])

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        try:
            if self._mine():
                self._wire.ask([("DEL", self._name)])
        except Transient:
            pass  # it ends by itself
        self._wire.close()


def tiles(definition: Definition, batch: pa.RecordBatch) -> Iterator[tuple[int, list[str], Columns]]:
    """Level, names of keys and states of each level that a batch of `lift.tile_schema` has."""
    coded = batch.column("key").dictionary_encode()
    keys, names = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), coded.dictionary.to_pylist()
    levels, b = (batch.column(name).to_numpy() for name in ("level", "b"))
    states = [_column(batch.column(name), kind) for name, _, kind in stored(definition)]
    for level in np.unique(levels).tolist():
        at = np.flatnonzero(levels == level)
        yield (
            level,
            names,
            Columns(keys[at], b[at], [(values[at], None if there is None else there[at]) for values, there in states]),
        )


def _column(column: pa.Array, kind: pa.DataType) -> tuple[Array, Array | None]:
    there = column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else None
    if kind == PACKED:
        values: Any = np.frombuffer(column.buffers()[1], "V24")[column.offset : column.offset + len(column)]
        return values, there
    return (column if there is None else column.fill_null(0)).to_numpy(), there


__all__ = ["Filler", "tiles"]
