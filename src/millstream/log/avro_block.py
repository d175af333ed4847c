"""Avro a batch at a time: columns into one buffer of bodies, and many bodies as one container block.

Writing is numpy throughout: the length of every field of every record first (it also says where each begins), then each
column's bytes into their places. Reading joins the bodies into one in-memory container block that Polars reads natively
into columns; afterwards the length of every record is computed from the columns and compared with its body's. Without
that, one body a byte short gives no error and spoils a good neighbour. A record that reads in its body's length was
read from its own bytes: computed lengths never exceed those consumed, and both sum up to the block.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import UsageError
from millstream.base.theirs import pass_on
from millstream.log.avro_types import Column

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
_SYNC = b"millstream block"
_READ_AS = {"enum": "int"}  # Polars would make a category of it


class _Wire:
    """One column: its bytes a record, and where to put them."""

    def __init__(self, column: Column, array: pa.Array) -> None:
        self.column, self.rows = column, len(array)
        self.valid = np.asarray(array.is_valid()) if array.null_count else None
        self.text: tuple[Ints, Bytes] | None = None
        self.number: npt.NDArray[np.uint64] | None = None
        self.fixed: Bytes | None = None
        wire = column.wire
        if wire in ("string", "bytes"):
            offsets, data = _text(array)
            self.text, self.number = (offsets, data), _zigzag(np.diff(offsets))
        elif wire in ("long", "int", "enum"):
            self.number = _zigzag(np.asarray(pc.fill_null(_codes(column, array).cast(pa.int64()), 0)))
        elif wire == "boolean":
            self.fixed = np.asarray(pc.fill_null(array, False).cast(pa.uint8())).reshape(-1, 1)
        else:
            values = np.ascontiguousarray(np.asarray(pc.fill_null(array, 0.0)))
            self.fixed = values.view(np.uint8).reshape(self.rows, values.itemsize)
        self.digits = None if self.number is None else _digits(self.number)
        self.lengths = self._lengths()

    def _lengths(self) -> Ints:
        if self.digits is not None:
            lengths = self.digits + np.diff(self.text[0]) if self.text is not None else self.digits
        else:
            assert self.fixed is not None
            lengths = np.full(self.rows, self.fixed.shape[1], np.int64)
        if self.valid is not None:
            lengths = np.where(self.valid, lengths, 0)
        return lengths + 1 if self.column.null_branch is not None else lengths

    def branch(self) -> Any:
        """The byte that says null or not."""
        null, value = np.uint8(2 * (self.column.null_branch or 0)), np.uint8(2 - 2 * (self.column.null_branch or 0))
        return value if self.valid is None else np.where(self.valid, value, null)

    def wraps(self, data: Bytes, at: Ints) -> bool:
        """Whether a number beyond 32 bits was read as an int: what lies beyond is cut off in silence, and the length
        stays the same.
        """
        if self.number is None or self.digits is None or self.column.wire not in ("int", "enum"):
            return False
        longest = self.digits == 5
        if self.valid is not None:
            longest &= self.valid
        rows = np.flatnonzero(longest)
        return bool(
            (data[at[rows] + (self.column.null_branch is not None) + 4] != self.number[rows] >> np.uint64(28)).any()
        )

    def write(self, out: Bytes, at: Ints) -> None:
        if self.column.null_branch is not None:
            out[at] = self.branch()
            at = at + 1
        here = slice(None) if self.valid is None else np.flatnonzero(self.valid)
        at = at[here]
        if self.fixed is not None:
            for byte in range(self.fixed.shape[1]):
                out[at + byte] = self.fixed[here, byte]
            return
        assert self.number is not None and self.digits is not None
        _varints(out, at, self.number[here], self.digits[here])
        if self.text is not None:
            offsets, data = self.text
            lengths = np.diff(offsets)[here]
            move = at + self.digits[here] - offsets[:-1][here]
            if len(data):
                out[np.arange(len(data)) + np.repeat(move, lengths)] = data


def encode_block(columns: Sequence[Column], arrays: Sequence[pa.Array], rows: int, head: bytes = b"") -> list[bytes]:
    """One body a row, each behind `head`."""
    if not rows:
        return []
    wires = [_Wire(column, array) for column, array in zip(columns, arrays, strict=True)]
    ends = np.cumsum(sum((w.lengths for w in wires), np.full(rows, len(head), np.int64)))
    out, at = np.empty(int(ends[-1]), np.uint8), np.concatenate([[0], ends[:-1]])
    for byte in head:
        out[at] = byte
        at = at + 1
    for wire in wires:
        wire.write(out, at)
        at = at + wire.lengths
    whole, cuts = out.tobytes(), [0, *ends.tolist()]
    return [whole[begin:end] for begin, end in pairwise(cuts)]


def decode_block(columns: Sequence[Column], bodies: Sequence[bytes]) -> list[pa.Array] | None:
    """A column a field; None when any body is not sound, or when a writer wrote soundly but not shortest."""
    if not bodies:
        return [pa.array([], c.stored) for c in columns]
    if not columns:
        return None
    import polars as pl

    data = b"".join(bodies)
    try:
        frame = pl.read_avro(io.BytesIO(_container(columns, len(bodies), data)))
    except BaseException as error:  # what it does not know makes it panic
        pass_on(error)
        return None
    if frame.height != len(bodies):
        return None
    table = frame.to_arrow()
    try:
        arrays = [_symbols(c, table.column(i).combine_chunks()) for i, c in enumerate(columns)]
        return arrays if _sound(columns, arrays, bodies, np.frombuffer(data, np.uint8)) else None
    except (pa.ArrowException, UsageError):
        return None


def _sound(columns: Sequence[Column], arrays: Sequence[pa.Array], bodies: Sequence[bytes], data: Bytes) -> bool:
    """Each record was read from its own body, to the last byte; each union and boolean says what it may."""
    wires = [_Wire(column, array) for column, array in zip(columns, arrays, strict=True)]
    found = sum((w.lengths for w in wires), np.zeros(len(bodies), np.int64))
    told = np.fromiter(map(len, bodies), np.int64, len(bodies))
    if not np.array_equal(found, told):
        return False
    at = np.concatenate([[0], np.cumsum(found)[:-1]])
    for wire in wires:
        if wire.column.null_branch is not None and (data[at] != wire.branch()).any():
            return False
        if wire.column.wire == "boolean":
            last = (at + wire.lengths - 1)[slice(None) if wire.valid is None else wire.valid]
            if (data[last] > 1).any():
                return False
        if wire.wraps(data, at):
            return False
        at = at + wire.lengths
    return True


def _container(columns: Sequence[Column], rows: int, data: bytes) -> bytes:
    fields: list[dict[str, Any]] = []
    for place, column in enumerate(columns):
        kind = _READ_AS.get(column.wire, column.wire)
        union = ["null", kind] if column.null_branch == 0 else [kind, "null"]
        fields.append({"name": f"c{place}", "type": kind if column.null_branch is None else union})
    header = json.dumps({"type": "record", "name": "r", "fields": fields}).encode()
    meta = _long(2) + b"\x14avro.codec\x08null" + b"\x16avro.schema" + _long(len(header)) + header + b"\x00"
    return b"".join([b"Obj\x01", meta, _SYNC, _long(rows), _long(len(data)), data, _SYNC])


def _symbols(column: Column, array: pa.Array) -> pa.Array:
    """The column as stored; an enum's codes as its symbols."""
    if column.wire == "enum":
        return pa.array(column.symbols, pa.string()).take(array)
    return array if array.type == column.stored else array.cast(column.stored)


def _codes(column: Column, array: pa.Array) -> pa.Array:
    if column.wire != "enum":
        return array
    codes = pc.index_in(array, value_set=pa.array(column.symbols, pa.string()))
    if codes.null_count > array.null_count:
        strange = array.filter(pc.and_(pc.is_null(codes), pc.is_valid(array)))[0].as_py()
        raise UsageError(
            f'"{column.name}" holds {strange!r}, which is none of the schema\'s {", ".join(column.symbols)}'
        )
    return codes


def _text(array: pa.Array) -> tuple[Ints, Bytes]:
    """Offsets from 0, and the bytes of all values; a NULL has none."""
    if array.null_count:
        array = pc.fill_null(array, b"" if pa.types.is_binary(array.type) else "")
    array = array.cast(pa.large_binary())
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    body = array.buffers()[2]
    data = np.frombuffer(body, np.uint8) if body is not None else np.empty(0, np.uint8)
    return offsets - offsets[0], data[offsets[0] : offsets[-1]]


def _zigzag(values: Any) -> npt.NDArray[np.uint64]:
    values = np.asarray(values, np.int64)
    return ((values << 1) ^ (values >> 63)).view(np.uint64)


def _digits(numbers: npt.NDArray[np.uint64]) -> Ints:
    """Bytes of each as a variable-length integer."""
    digits, top = np.ones(len(numbers), np.int64), int(numbers.max(initial=0))
    for byte in range(1, 10):
        if top >> (7 * byte) == 0:
            break
        digits += numbers >= np.uint64(1 << (7 * byte))
    return digits


def _varints(out: Bytes, at: Ints, numbers: npt.NDArray[np.uint64], digits: Ints) -> None:
    byte = 0
    while len(numbers):
        more = digits > byte + 1
        out[at + byte] = (numbers & np.uint64(127)).astype(np.uint8) | (more.astype(np.uint8) << 7)
        if not more.all():
            at, numbers, digits = at[more], numbers[more], digits[more]
        numbers, byte = numbers >> np.uint64(7), byte + 1


def _long(value: int) -> bytes:
    out = np.empty(10, np.uint8)
    number = _zigzag([value])
    _varints(out, np.zeros(1, np.int64), number, _digits(number))
    return out[: int(_digits(number)[0])].tobytes()
