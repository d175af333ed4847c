"""Millstream's own Parquet: durable before it is committed, `_offset` as deltas, statistics taken from the footer.

delta-rs writes files that no power cut has to leave whole; these are synced through the files port before a commit
names them.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as is_
from deltalake._util import encode_partition_value
from deltalake.transaction import AddAction

from millstream.lake.port import Files
from millstream.lake.sound import years

GROUP_ROWS = 131_072
"""Rows of a row group: what a reader skips or reads, and what is held before it is written."""
FILE_BYTES = 128 << 20
_NAME = re.compile(r"(\d{20})-[0-9a-f]{12}(?:-(\d{20}))?\.parquet")
_STATS_TEXT = 64  # longer strings make commits heavy and prune nothing


@dataclass(frozen=True)
class Written:
    """A synced data file that no commit names yet. `path` is relative to the table."""

    path: str
    size: int
    rows: int
    stats: str
    partition: Mapping[str, str | None]

    def action(self, *, data_change: bool = True) -> AddAction:
        return AddAction(
            self.path, self.size, dict(self.partition), time.time_ns() // 1_000_000, data_change, self.stats
        )


def plain(kind: pa.DataType) -> pa.DataType:
    """The type as a plain Delta table holds it: no views, no dictionaries, nothing large, nothing unsigned."""
    if is_.is_dictionary(kind):
        return plain(kind.value_type)
    if is_.is_large_string(kind) or str(kind) == "string_view":
        return pa.string()
    if is_.is_large_binary(kind) or is_.is_fixed_size_binary(kind) or str(kind) == "binary_view":
        return pa.binary()
    if is_.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC")
    if is_.is_unsigned_integer(kind):
        return {8: pa.int16(), 16: pa.int32()}.get(kind.bit_width, pa.int64())
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        return pa.list_(pa.field("element", plain(kind.value_type)))
    if is_.is_struct(kind):
        return pa.struct([field.with_type(plain(field.type)) for field in kind])
    return pa.float32() if is_.is_float16(kind) else kind


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with `plain` types, without metadata."""
    return pa.schema([pa.field(field.name, plain(field.type), field.nullable) for field in schema])


def write(
    files: Files,
    table: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    partition_by: tuple[str, ...] = (),
    place: str | None = None,
) -> list[Written]:
    """Write the rows into new files of the table, and sync them.

    Args:
        schema: Of the table, partition columns included; the batches must fit it by name.
        place: A file of the table whose place in the order the new ones take; None: after all there are.

    Returns:
        The files, in order of their rows; none when there are no rows. Nothing is left behind when it fails.
    """
    stored = pa.schema([field for field in schema if field.name not in partition_by])
    made: list[Written] = []
    try:
        for partition, group in _groups(_batches(batches, schema), partition_by):
            _file_into(made, files, table, stored, group, partition, place)
    except BaseException:
        for file in made:
            files.remove(f"{table}/{file.path}")
        raise
    files.sync(*(f"{table}/{file.path}" for file in made))
    return made


def fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the schema's columns, by name: cast, and null where it has none."""
    if batch.schema.equals(schema):
        return batch
    columns = []
    for field in schema:
        at = batch.schema.get_field_index(field.name)
        if at < 0:
            columns.append(pa.nulls(batch.num_rows, field.type))
        else:
            column = batch.column(at)
            columns.append(column if column.type.equals(field.type) else column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def encoded_rows(rows: pa.RecordBatch) -> None:
    """Everything that writing these rows does, in memory alone; raises what it would."""
    footers: list[pq.FileMetaData] = []
    with pq.ParquetWriter(
        pa.BufferOutputStream(),
        rows.schema,
        use_dictionary=_dictionaries(rows.schema),
        column_encoding=_encodings(rows.schema),
        metadata_collector=footers,
        store_schema=False,
    ) as writer:
        writer.write_batch(rows)
    json.dumps(statistics(footers[0], rows.schema))


def encoded(value: Any) -> str | None:
    """A partition value as the Delta log spells it."""
    return None if value is None else str(encode_partition_value(value))


def _batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if batch.num_rows:
            yield fit(batch, schema)


def _groups(
    batches: Iterator[pa.RecordBatch], partition_by: tuple[str, ...]
) -> Iterator[tuple[dict[str, str | None], Iterator[pa.RecordBatch]]]:
    """Rows by their partition values. Without partition columns nothing is held back."""
    if not partition_by:
        yield {}, batches
        return
    held = list(batches)
    if not held:
        return
    whole = pa.Table.from_batches(held)
    keys = whole.select(list(partition_by))
    for key in keys.group_by(list(partition_by)).aggregate([]).to_pylist():
        mask = None
        for name, value in key.items():
            one = (
                pc.is_null(whole[name]) if value is None else pc.equal(whole[name], pa.scalar(value, whole[name].type))
            )
            mask = one if mask is None else pc.and_(mask, one)
        values = {name: encoded(value) for name, value in key.items()}
        yield values, iter(whole.filter(mask).drop_columns(list(partition_by)).to_batches())


def _file_into(
    made: list[Written],
    files: Files,
    table: str,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    partition: Mapping[str, str | None],
    place: str | None,
) -> None:
    held: list[pa.RecordBatch] = []
    rows = 0
    open_: _Open | None = None
    try:
        for batch in batches:
            held.append(batch)
            rows += batch.num_rows
            if rows >= GROUP_ROWS:
                open_ = open_ or _Open(files, table, schema, partition, _name(place, len(made)))
                open_.write(held)
                held, rows = [], 0
                if open_.size >= FILE_BYTES:
                    made.append(open_.close())
                    open_ = None
        if held:
            open_ = open_ or _Open(files, table, schema, partition, _name(place, len(made)))
            open_.write(held)
        if open_:
            made.append(open_.close())
    except BaseException:
        if open_:
            open_.abandon()
        raise


def _name(place: str | None, step: int) -> str:
    """A name that sorts in the order of writing, so that a snapshot reads in the order of the log; with a place, it
    says when it was written too.
    """
    now, unique = time.time_ns(), uuid.uuid4().hex[:12]
    held = _NAME.fullmatch(place) if place else None
    return f"{now:020d}-{unique}.parquet" if held is None else f"{int(held[1]) + step:020d}-{unique}-{now:020d}.parquet"


def written_ns(name: str) -> int | None:
    """When a data file was begun, in nanoseconds since 1970; None for a file that somebody else named."""
    held = _NAME.fullmatch(name)
    return None if held is None else int(held[2] or held[1])


class _Open:
    """A file that is being written."""

    def __init__(
        self, files: Files, table: str, schema: pa.Schema, partition: Mapping[str, str | None], name: str
    ) -> None:
        self.name = name
        self.files, self.table, self.schema, self.partition = files, table, schema, partition
        self.rows, self.nan = 0, set[str]()
        self.footers: list[pq.FileMetaData] = []
        self.file = files.create(f"{table}/{self.name}")
        self.writer = pq.ParquetWriter(
            self.file,
            schema,
            compression="snappy",
            use_dictionary=_dictionaries(schema),
            column_encoding=_encodings(schema),
            metadata_collector=self.footers,
            store_schema=False,
            write_page_checksum=True,
        )

    @property
    def size(self) -> int:
        return self.file.tell()

    def write(self, batches: list[pa.RecordBatch]) -> None:
        table = pa.Table.from_batches(
            [b if b.schema.equals(self.schema) else b.select(self.schema.names).cast(self.schema) for b in batches]
        )
        for field in self.schema:
            if (
                is_.is_floating(field.type)
                and field.name not in self.nan
                and pc.any(pc.is_nan(table[field.name])).as_py()
            ):
                self.nan.add(field.name)
        self.rows += table.num_rows
        self.writer.write_table(table, row_group_size=GROUP_ROWS)

    def close(self) -> Written:
        self.writer.close()
        size = self.file.tell()
        self.file.close()
        return Written(
            self.name, size, self.rows, json.dumps(statistics(self.footers[0], self.schema, self.nan)), self.partition
        )

    def abandon(self) -> None:
        try:
            self.writer.close()
        except (OSError, ValueError, RuntimeError, pa.ArrowException):
            pass  # the disk is full, or the file is gone: there is nothing to finish
        finally:
            self.file.close()
            self.files.remove(f"{self.table}/{self.name}")


def _dictionaries(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if is_.is_string(field.type) or is_.is_int32(field.type)]


def _encodings(schema: pa.Schema) -> dict[str, str]:
    """Offsets and times mostly climb: as deltas they cost a fraction of a byte a row (0.009 against 4.3 for an
    offset).
    """
    return {
        field.name: "DELTA_BINARY_PACKED" for field in schema if field.name == "_offset" or is_.is_timestamp(field.type)
    }


def statistics(footer: pq.FileMetaData, schema: pa.Schema, nan: Iterable[str] = ()) -> dict[str, Any]:
    """Delta's statistics of a file, from its footer.

    Args:
        nan: Float columns that hold a NaN; they get no bounds, since readers disagree on where NaN sorts.
    """
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    leaf = {footer.schema.column(i).path: i for i in range(len(footer.schema))}
    for field in schema:
        if field.name not in leaf:
            continue  # a list or a struct
        parts = [footer.row_group(g).column(leaf[field.name]).statistics for g in range(footer.num_row_groups)]
        if any(part is None or not part.has_null_count for part in parts):
            continue
        nulls[field.name] = sum(part.null_count for part in parts)
        bounds = [(part.min_raw, part.max_raw) for part in parts if part.has_min_max]
        full = all(part.has_min_max or part.num_values == 0 for part in parts)
        if bounds and full and field.name not in nan and _bounded(field.type):
            least, most = _stat(min(b[0] for b in bounds), field.type), _stat(max(b[1] for b in bounds), field.type)
            if least is not None and most is not None:
                low[field.name], high[field.name] = least, most
    return {"numRecords": footer.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}


def _bounded(kind: pa.DataType) -> bool:
    return (
        is_.is_integer(kind)
        or is_.is_floating(kind)
        or is_.is_string(kind)
        or is_.is_timestamp(kind)
        or is_.is_date(kind)
    )


def _stat(value: Any, kind: pa.DataType) -> Any:
    """A bound, which Parquet stores as a number or as bytes, as Delta spells it; None for one that it cannot.

    The footer's own bounds are taken, since a date or time that is not a date of Python makes pyarrow's raise: a table
    may hold one, by a user's SQL.
    """
    if is_.is_timestamp(kind) or is_.is_date(kind):
        least, most = years(kind)
        if not least <= value <= most:
            return None
        if is_.is_date(kind):
            return pa.scalar(value, pa.int32()).cast(kind).as_py().isoformat()
        moment = pa.scalar(value, pa.int64()).cast(kind).as_py()
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment.year >= 1000 else None
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return None
        return text if len(text) <= _STATS_TEXT else None
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
