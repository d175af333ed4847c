"""Parquet and Avro as batches of an event's columns. A record's number is its row's, from 1."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millstream.declare.errors import Corrupt
from millstream.declare.event import EVENT_ID, Schema
from millstream.engines.files.avro_slow import read_blocks
from millstream.engines.files.letters import dead, ids
from millstream.engines.files.position import Position, begin, replaced
from millstream.ingest.cast import Errors, cast, with_arrival
from millstream.ingest.port import Batch
from millstream.lake.shown import as_json
from millstream.lake.sound import UNFIT

GROUP_BYTES = 8 << 20
MAGIC = b"Obj\x01"


@dataclasses.dataclass
class ColumnFile:
    """One file to be read from a position; see `TextFile`."""

    path: Path
    split: str
    form: str
    compression: str | None
    schema: Schema
    zone: str

    def read(self, position: Position, max_rows: int) -> Iterator[Batch]:
        """Batches up to the file's end. Such files do not grow: another size is another file."""
        size = self.path.stat().st_size
        if position.whole >= 0 and position.whole != size:
            raise replaced(self.path, f"it has {size:,} bytes and had {position.whole:,} when it was read")
        at = begin(self.path, position)
        if position.whole == size:
            return
        try:
            groups, rows = self._parquet(at.line, max_rows) if self.form == "parquet" else self._avro(at.line, max_rows)
            for group in groups:
                for start in range(0, group.num_rows, max_rows):
                    part = group.slice(start, max_rows)
                    yield self._batch(part, at, size, rows)
                    at = dataclasses.replace(at, line=at.line + part.num_rows)
        except (*UNFIT, OSError, EOFError, IndexError, KeyError) as error:
            if isinstance(error, Corrupt):
                raise
            raise Corrupt(f"{self.split} cannot be read beyond row {at.line:,}: {error}; it is cut off or damaged, put it there again whole") from None

    def _batch(self, found: pa.RecordBatch, at: Position, size: int, rows: int | None) -> Batch:
        count, errors = found.num_rows, Errors(found.num_rows)
        columns = {name: found.column(i) for i, name in enumerate(found.schema.names)}
        numbers = np.arange(at.line + 1, at.line + 1 + count)
        made = with_arrival(cast(columns, count, self.schema, errors, zone=self.zone), self.schema).append_column(EVENT_ID, ids(self.split, numbers))
        kept, order = np.flatnonzero(errors.good), np.flatnonzero(~errors.good)
        if len(order):
            made = made.filter(pa.array(errors.good))
        bad = dead(self.split, [(as_json(found, int(i)), errors.texts[int(i)], int(numbers[i])) for i in order])

        def stand(taken: int) -> str:
            line = at.line + taken
            whole = size if line == rows else -1
            return dataclasses.replace(at, line=line, disk=size if rows is None else size * line // max(1, rows), whole=whole).text()

        def after(taken: int) -> tuple[int, str]:
            if taken >= len(kept):
                return len(order), stand(count)
            record = int(kept[taken - 1]) + 1 if taken else 0
            return int(np.searchsorted(order, record)), stand(record)

        return Batch(made, bad, stand(count), after)

    def _parquet(self, skip: int, max_rows: int) -> tuple[Iterator[pa.RecordBatch], int | None]:
        file = pq.ParquetFile(self.path)
        wanted = [name for name in file.schema_arrow.names if name in self.schema.names()]

        def groups() -> Iterator[pa.RecordBatch]:
            left = skip
            for number in range(file.num_row_groups):
                rows = file.metadata.row_group(number).num_rows
                if left >= rows:
                    left -= rows
                    continue
                for batch in file.iter_batches(max(max_rows, 4096), row_groups=[number], columns=wanted, use_threads=False):
                    if left >= batch.num_rows:
                        left -= batch.num_rows
                        continue
                    yield batch.slice(left)
                    left = 0

        return groups(), int(file.metadata.num_rows)

    def _avro(self, skip: int, max_rows: int) -> tuple[Iterator[pa.RecordBatch], int | None]:
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
                        yield from (batch.slice(left) if left else batch for batch in [_decoded(header, held, rows)])
                        left, held, rows = 0, [], 0

        return groups(), sum(sizes)


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
    try:
        import polars

        table = polars.read_avro(io.BytesIO(data)).to_arrow(compat_level=polars.CompatLevel.oldest())
        if table.num_rows != rows:
            raise ValueError("another number of rows")
    except BaseException as error:  # Polars panics on what it does not know, which is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return read_blocks(data)
    made = table.combine_chunks().to_batches()
    return made[0] if made else pa.RecordBatch.from_pylist([], schema=table.schema)
