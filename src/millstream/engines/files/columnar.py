"""Parquet and Avro as batches of an event's columns. A record's number is its row's, from 1."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millstream.base.errors import Corrupt
from millstream.base.event import EVENT_ID, Schema
from millstream.base.theirs import pass_on
from millstream.engines.files.avro_slow import read_blocks
from millstream.engines.files.fingerprint import Running
from millstream.engines.files.letters import dead, ids
from millstream.engines.files.names import left_out, refuse
from millstream.engines.files.position import (
    HEAD,
    Identity,
    Position,
    bare,
    digest,
    identity,
    old_marks_agree,
    replaced,
    settled,
)
from millstream.ingest.cast import Errors, cast, with_arrival
from millstream.ingest.port import Batch
from millstream.lake.shown import as_json
from millstream.lake.sound import UNFIT

GROUP_BYTES = 8 << 20
MAGIC = b"Obj\x01"


@dataclasses.dataclass
class ColumnFile:
    """One file to be read from a position; see `TextFile`. Such files do not grow: what has other bytes is another
    file.
    """

    path: Path
    split: str
    form: str
    compression: str | None
    schema: Schema
    zone: str
    verified: bool = False
    _others: list[str] = dataclasses.field(default_factory=list, init=False)
    """The columns that are not fields of the class."""

    def read(self, position: Position, max_rows: int) -> Iterator[Batch]:
        """Batches up to the file's end."""
        try:
            seen = identity(self.path.stat())
            if (position.print and not self.verified and seen != position.seen) or position.old:
                self.holds(position)
        except PermissionError:
            raise Corrupt(f"the file {self.split} cannot be opened: permission denied; let this user read it") from None
        known = _Known(self.path, self.split, seen, position)
        if position.whole >= 0 and (position.print or position.old):
            yield from self._looked_at(position, known)
            return
        if not seen[1]:
            yield from self._nothing(position, seen)
            return
        at = dataclasses.replace(position, born=position.born or (0 if position.name else 1))
        try:
            groups, rows = self._parquet(at.line, max_rows) if self.form == "parquet" else self._avro(at.line, max_rows)
            for group in groups:
                for start in range(0, group.num_rows, max_rows):
                    part = group.slice(start, max_rows)
                    yield self._batch(part, at, known, rows)
                    at = dataclasses.replace(at, line=at.line + part.num_rows)
            if rows == 0:
                yield from self._nothing(position, seen)
        except (*UNFIT, OSError, EOFError, IndexError, KeyError) as error:
            if isinstance(error, Corrupt):
                raise
            raise Corrupt(
                f"{self.split} cannot be read beyond row {at.line:,}: {error}; it is cut off or damaged, put it there"
                " again whole"
            ) from None

    def begins(self, position: Position) -> bool:
        """See `TextFile`."""
        if position.old:
            return old_marks_agree(self.path, position)
        with self.path.open("rb") as file:
            return self.path.stat().st_size == position.byte and digest(file.read(position.head_n)) == position.head

    def holds(self, position: Position) -> None:
        """Raises Recreated when the file has other bytes than the one that was read."""
        if position.old:
            if not old_marks_agree(self.path, position) or position.whole not in (-1, self.path.stat().st_size):
                raise replaced(
                    self.split,
                    position,
                    f"it now has {self.path.stat().st_size:,} bytes that begin otherwise, or in another number",
                )
            return
        run = fingerprint(self.path)
        if run.text() != position.print:
            raise replaced(self.split, position, f"it now has {run.size:,} bytes in all, with {run.text()[:16]}")

    def _looked_at(self, before: Position, known: _Known) -> Iterator[Batch]:
        """See `TextFile`."""
        if before.old or (before.seen != known.seen and settled(known.seen)[3] >= 0):
            yield self._only(lambda: known.at(before, before.line, before.line))

    def _nothing(self, before: Position, seen: Identity) -> Iterator[Batch]:
        """See `TextFile`."""
        if (now := bare(before, seen)) is not None:
            yield self._only(lambda: now)

    def _only(self, position: Callable[[], Position]) -> Batch:
        none = with_arrival(cast({}, 0, self.schema, Errors(0)), self.schema).append_column(
            EVENT_ID, pa.array([], pa.string())
        )
        return Batch(none, dead(self.split, []), lambda rows: (0, position().text()))

    def _batch(self, found: pa.RecordBatch, at: Position, known: _Known, rows: int) -> Batch:
        count, errors = found.num_rows, Errors(found.num_rows)
        columns = {name: found.column(i) for i, name in enumerate(found.schema.names)}
        numbers = np.arange(at.line + 1, at.line + 1 + count)
        made = with_arrival(cast(columns, count, self.schema, errors, zone=self.zone, others=self._others), self.schema)
        made = made.append_column(EVENT_ID, ids(at.name or self.split, numbers))
        kept, order = np.flatnonzero(errors.good), np.flatnonzero(~errors.good)
        if len(order):
            made = made.filter(pa.array(errors.good))
        bad = dead(self.split, [(as_json(found, int(i)), errors.texts[int(i)], int(numbers[i])) for i in order])

        def after(taken: int) -> tuple[int, str]:
            if taken >= len(kept):
                return len(order), known.at(at, at.line + count, rows).text()
            record = int(kept[taken - 1]) + 1 if taken else 0
            return int(np.searchsorted(order, record)), known.at(at, at.line + record, rows).text()

        return Batch(made, bad, after)

    def _parquet(self, skip: int, max_rows: int) -> tuple[Iterator[pa.RecordBatch], int]:
        # Nanoseconds would wrap the years before 1677 and after 2262
        file = pq.ParquetFile(self.path, coerce_int96_timestamp_unit="us")
        names = file.schema_arrow.names
        wanted = [name for name in names if name in self.schema.names()]
        if not skip:
            refuse(self.split, names, self.schema)
        self._others = left_out(self.split, names, self.schema)

        def groups() -> Iterator[pa.RecordBatch]:
            left = skip
            for number in range(file.num_row_groups):
                rows = file.metadata.row_group(number).num_rows
                if left >= rows:
                    left -= rows
                    continue
                for batch in file.iter_batches(
                    max(max_rows, 4096), row_groups=[number], columns=wanted, use_threads=False
                ):
                    if left >= batch.num_rows:
                        left -= batch.num_rows
                        continue
                    yield batch.slice(left)
                    left = 0

        return groups(), int(file.metadata.num_rows)

    def _avro(self, skip: int, max_rows: int) -> tuple[Iterator[pa.RecordBatch], int]:
        header, blocks = _blocks(self.path, self.compression)
        sizes = [count for count, _, _ in blocks]

        def groups() -> Iterator[pa.RecordBatch]:
            left, held, rows, enough = skip, list[bytes](), 0, min(GROUP_BYTES, max_rows * 256)
            with _opened(self.path, self.compression) as file:
                for at, (count, start, size) in enumerate(blocks):
                    if left >= count and not held:
                        left -= count
                        continue
                    file.seek(start)
                    held.append(file.read(size))
                    rows += count
                    if sum(map(len, held)) >= enough or at + 1 == len(blocks):
                        batch = _decoded(header, held, rows)
                        if not skip:
                            refuse(self.split, batch.schema.names, self.schema)
                        self._others = left_out(self.split, batch.schema.names, self.schema)
                        yield batch.slice(left)
                        left, held, rows = 0, [], 0

        return groups(), sum(sizes)


class _Known:
    """By what the file of a reading is known; its bytes are hashed when the first position is asked for."""

    def __init__(self, path: Path, split: str, seen: Identity, position: Position) -> None:
        self.path, self.split, self.seen = path, split, seen
        self._kept = position if position.print else None

    def at(self, position: Position, line: int, rows: int) -> Position:
        """The position after so many of the file's rows.

        Raises:
            Corrupt: The file changes while it is read.
        """
        size = self.seen[1]
        if self._kept is None:
            run = fingerprint(self.path)
            if run.size != size or identity(self.path.stat()) != self.seen:
                raise Corrupt(f"the file {self.split} changes while it is read; it is read again when it is whole")
            with self.path.open("rb") as file:
                head = file.read(HEAD)
            self._kept = dataclasses.replace(Position().by(run), head=digest(head), head_n=len(head))
        kept, whole = self._kept, size if line == rows else -1
        return dataclasses.replace(
            position,
            line=line,
            byte=kept.byte,
            print=kept.print,
            chain=kept.chain,
            head=kept.head,
            head_n=kept.head_n,
            old=False,
            tail="",
            whole=whole,
            disk=size if whole >= 0 else size * line // max(1, rows),
            seen=settled(self.seen),
        )


def fingerprint(path: Path) -> Running:
    """Of a whole file."""
    run = Running()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            run.update(data)
    return run


def _opened(path: Path, compression: str | None) -> Any:
    """A seekable file; an archive is unpacked in memory."""
    if compression is None:
        return path.open("rb")
    with pa.CompressedInputStream(pa.OSFile(str(path)), compression) as stream:
        return io.BytesIO(stream.read())


def _blocks(path: Path, compression: str | None) -> tuple[bytes, list[tuple[int, int, int]]]:
    """The header of an Avro container file, and its blocks: rows, where each begins, how many bytes it has in all."""
    with _opened(path, compression) as file:
        if file.read(4) != MAGIC:
            raise ValueError("it does not begin as an Avro container file")
        while count := _long(file):
            if count < 0:
                count = -count
                _long(file)
            for _ in range(2 * count):
                file.seek(_long(file), 1)
        file.seek(16, 1)
        size = file.tell()
        file.seek(0)
        header = file.read(size)
        end = file.seek(0, 2)
        at, found = size, list[tuple[int, int, int]]()
        while at < end:
            file.seek(at)
            rows, body = _long(file), _long(file)
            length = file.tell() - at + body + 16
            if at + length > end:
                raise ValueError(f"block {len(found) + 1} is cut off")
            found.append((rows, at, length))
            at += length
    return header, found


def _long(file: Any) -> int:
    shift = value = 0
    while True:
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends in the middle of a number")
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return (value >> 1) ^ -(value & 1)
        shift += 7


def _decoded(header: bytes, blocks: list[bytes], rows: int) -> pa.RecordBatch:
    """Blocks as columns: natively by Polars, value by value what it cannot read."""
    data = header + b"".join(blocks)
    if b"timestamp-nanos" in header:  # which Polars takes for numbers
        return read_blocks(data)
    try:
        import polars

        table = polars.read_avro(io.BytesIO(data)).to_arrow(compat_level=polars.CompatLevel.oldest())
        if table.num_rows != rows:
            raise ValueError("another number of rows")
    except BaseException as error:  # what it does not know makes it panic
        pass_on(error)
        return read_blocks(data)
    made = table.combine_chunks().to_batches()
    return made[0] if made else pa.RecordBatch.from_pylist([], schema=table.schema)
