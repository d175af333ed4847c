"""Arrow batches as Kafka records and back, a batch at a time.

A record's value is Confluent's framing: a zero byte, the schema's id in four (big-endian), the Avro body. Under id 0,
which no registry gives, lies what its source could not read (`RAW`). The envelope travels in headers: `_event_id` as
text, `_arrived_at` as a decimal count of microseconds since 1970, and only where the writer gave one; the key is left
to others.

What cannot be decoded becomes a RAW slice whose origin is `topic/partition@offset`: nothing is lost on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.base.errors import NotFound, UsageError
from millstream.base.event import ARRIVED_AT, EVENT_ID, OFFSET, TIMESTAMP
from millstream.log.avro import decode, encode
from millstream.log.port import RAW, RAW_SCHEMA_ID, Schemas, Slice

RAW_AVRO = (
    '{"type": "record", "name": "Raw", "namespace": "millstream", "fields": [{"name": "raw", "type": ["null",'
    ' "bytes"]}, {"name": "error", "type": ["null", "string"]}, {"name": "origin", "type": ["null", "string"]}]}'
)
FRAME = 5
NO_FRAME = -1
Headers = Sequence[tuple[str, bytes | str | None]] | None
Ints = npt.NDArray[np.int64]


# -- writing


def framed(rows: pa.RecordBatch, schema_id: int, text: str) -> list[bytes]:
    """One value a row.

    Raises:
        UsageError: A row does not fit the schema.
    """
    return encode(rows, text, b"\0" + schema_id.to_bytes(4, "big"))


def headers(rows: pa.RecordBatch) -> list[list[tuple[str, str]]] | None:
    """The envelope of each row; None when no row has any."""
    given = [(name, _texts(rows.column(name))) for name in (EVENT_ID, ARRIVED_AT) if name in rows.schema.names]
    given = [(name, column) for name, column in given if column.null_count < len(column)]
    if not given:
        return None
    (name, column), *more = [(name, column.to_pylist()) for name, column in given]
    if not more:
        return [[(name, value)] if value is not None else [] for value in column]
    ((other, others),) = more
    both = zip(column, others, strict=True)
    return [
        (
            [(name, value), (other, second)]
            if value is not None and second is not None
            else _some(name, value, other, second)
        )
        for value, second in both
    ]


def _some(name: str, value: str | None, other: str, second: str | None) -> list[tuple[str, str]]:
    return [(n, v) for n, v in ((name, value), (other, second)) if v is not None]


def _texts(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return (
        column.cast(TIMESTAMP).cast(pa.int64()).cast(pa.string())
        if pa.types.is_timestamp(column.type)
        else column.cast(pa.string())
    )


# -- reading


class ById(Protocol):
    """Schemas' texts by id."""

    def __getitem__(self, schema_id: int) -> str:
        """Raises NotFound."""
        ...


class Texts:
    """Schemas by id, asked for once. An id that the registry does not know is asked for again a second later, and then
    each minute.

    A registry that does not answer is an error of the reader and never one of the record.
    """

    def __init__(
        self, schemas: Schemas, *, patience_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._schemas, self._patience_s, self._clock = schemas, patience_s, clock
        self._known: dict[int, str] = {RAW_SCHEMA_ID: RAW_AVRO}
        self._unknown: dict[int, float] = {}

    def __getitem__(self, schema_id: int) -> str:
        """Raises NotFound."""
        if schema_id not in self._known:
            if self._clock() < self._unknown.get(schema_id, float("-inf")):
                raise NotFound(f"no schema {schema_id} in the registry")
            self._known[schema_id] = self._ask(schema_id)
        return self._known[schema_id]

    def _ask(self, schema_id: int) -> str:
        try:
            return self._schemas.schema(schema_id)
        except NotFound:
            time.sleep(self._patience_s)  # a registry may be a moment behind its writer
        try:
            return self._schemas.schema(schema_id)
        except NotFound:
            self._unknown[schema_id] = self._clock() + 60.0
            raise


@dataclass
class Records:
    """Consecutive records of one partition as a consumer gives them.

    Attributes:
        stamps_ms: The log's time of each record.
        ids, arrivals: What its headers say, as found; empty when none says anything.
    """

    values: Sequence[bytes | None]
    offsets: Ints
    stamps_ms: Ints
    ids: Sequence[bytes | None] = ()
    arrivals: Sequence[bytes | None] = ()


def envelopes(given: Sequence[Headers]) -> tuple[list[bytes | None], list[bytes | None]]:
    """Ids and arrivals out of each record's headers; none at all where nobody has any."""
    if not any(given):
        return [], []
    ids: list[Any] = [None] * len(given)
    arrivals: list[Any] = [None] * len(given)
    for at, one in enumerate(given):
        for name, value in one or ():
            if name == EVENT_ID:
                ids[at] = value
            elif name == ARRIVED_AT:
                arrivals[at] = value
    return ids, arrivals


def slices(texts: ById, topic: str, partition: int, start: int, records: Records) -> list[Slice]:
    """The records as slices that abut, the first beginning at `start` and the last ending after the last record.

    Raises:
        Unreachable: The registry does not answer; nothing can be said about the records.
    """
    ids, envelope, found = _ids(records.values), _envelope(records), list[Slice]()
    for begin, end in pairwise([0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]):
        rows, bad = _decoded(texts, int(ids[begin]), records.values[begin:end])
        row_at = np.cumsum([0, *(at not in bad for at in range(end - begin))]) if bad else np.arange(end - begin + 1)
        bad |= {at - begin: why for at, why in envelope.wrong.items() if begin <= at < end}
        for first, last in _runs(end - begin, bad):
            here, schema_id = slice(begin + first, begin + last), RAW_SCHEMA_ID if first in bad else int(ids[begin])
            if first in bad:
                part = _raw(records, here, [bad[at] for at in range(first, last)], f"{topic}/{partition}")
            else:
                part = rows.slice(int(row_at[first]), last - first)
            known = envelope.ids[here] if schema_id else None
            offsets = records.offsets[here]
            upto = int(offsets[-1]) + 1
            found.append(
                Slice(topic, partition, start, upto, schema_id, _finished(part, known, envelope.arrived[here], offsets))
            )
            start = upto
    return found


def holes(topic: str, partition: int, start: int, end: int) -> Slice:
    """A slice that only passes holes: markers of transactions, aborted or compacted records."""
    nothing = np.empty(0, np.int64)
    return Slice(
        topic,
        partition,
        start,
        end,
        RAW_SCHEMA_ID,
        _finished(pa.RecordBatch.from_pylist([], schema=RAW), None, nothing, nothing),
    )


def _ids(values: Sequence[bytes | None]) -> Ints:
    """The schema id in each frame; NO_FRAME where there is none."""
    sound = [v or b"" for v in values] if None in values else values
    lengths = np.fromiter(map(len, sound), np.int64, len(sound))  # type: ignore[arg-type]
    if lengths.min(initial=FRAME) < FRAME:
        return _ids([v if v is not None and len(v) >= FRAME else b"\xff" * FRAME for v in values])
    head = np.frombuffer(b"".join(sound), np.uint8)[(np.cumsum(lengths) - lengths)[:, None] + np.arange(FRAME)]  # type: ignore[arg-type]
    ids = np.ascontiguousarray(head[:, 1:]).view(">u4").astype(np.int64).ravel()
    return np.where(head[:, 0] == 0, ids, NO_FRAME)


def _decoded(texts: ById, schema_id: int, values: Sequence[bytes | None]) -> tuple[pa.RecordBatch, dict[int, str]]:
    """The rows that could be read, and why the others could not."""
    if schema_id == NO_FRAME:
        why = "no record of a schema registry: it does not begin with a zero byte and a schema's id"
    else:
        try:
            return decode([value[FRAME:] for value in values], texts[schema_id])  # type: ignore[index]
        except NotFound:
            why = f"schema {schema_id} is not in the registry"
        except UsageError as error:
            why = f"schema {schema_id}: {error}"
    return pa.RecordBatch.from_pylist([], schema=RAW), dict.fromkeys(range(len(values)), why)


def _runs(count: int, bad: dict[int, str]) -> Iterator[tuple[int, int]]:
    """Neighbours that are all good or all bad."""
    if not bad:
        yield 0, count
        return
    is_bad = np.zeros(count, bool)
    is_bad[list(bad)] = True
    yield from pairwise([0, *(np.flatnonzero(np.diff(is_bad)) + 1).tolist(), count])


def _raw(records: Records, here: slice, why: list[str], place: str) -> pa.RecordBatch:
    origins = [f"{place}@{offset}" for offset in records.offsets[here].tolist()]
    return pa.RecordBatch.from_arrays(
        [pa.array(records.values[here], pa.binary()), pa.array(why), pa.array(origins)], schema=RAW
    )


def _finished(rows: pa.RecordBatch, ids: pa.Array | None, arrived: Ints, offsets: Ints) -> pa.RecordBatch:
    """As a reader sees them."""
    names, columns = list(rows.schema.names), list(rows.columns)
    if ids is not None:
        names, columns = [*names, EVENT_ID], [*columns, ids]
    columns += [pa.array(arrived).cast(TIMESTAMP), pa.array(offsets)]
    return pa.RecordBatch.from_arrays(columns, names=[*names, ARRIVED_AT, OFFSET])


@dataclass
class _Envelope:
    """Of some records: ids (NULL where none), arrivals in microseconds, and which headers could not be read."""

    ids: pa.Array
    arrived: Ints
    wrong: dict[int, str]


def _envelope(records: Records) -> _Envelope:
    arrived, wrong = records.stamps_ms * 1000, dict[int, str]()
    if not records.ids:
        return _Envelope(pa.nulls(len(records.values), pa.string()), arrived, wrong)
    try:
        ids = pa.array(records.ids, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        ids = pa.array([_text(value, at, wrong) for at, value in enumerate(records.ids)], pa.string())
    found = pa.array(records.arrivals, pa.binary())
    if found.null_count < len(found):
        try:
            found = found.cast(pa.string()).cast(pa.int64())
        except pa.ArrowInvalid:
            found = pa.array([_number(value, at, wrong) for at, value in enumerate(records.arrivals)], pa.int64())
        arrived = np.where(np.asarray(found.is_valid()), np.asarray(found.fill_null(0)), arrived)
    return _Envelope(ids, arrived, wrong)


def _text(value: bytes | None, at: int, wrong: dict[int, str]) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        wrong[at] = f"the header {EVENT_ID} is not valid UTF-8: {value!r}"
        return None


def _number(value: bytes | None, at: int, wrong: dict[int, str]) -> int | None:
    if value is None:
        return None
    digits = value.removeprefix(b"-")
    if digits.isdigit() and len(digits) <= 18:
        return int(value)
    wrong[at] = f"the header {ARRIVED_AT} is not a count of microseconds: {value!r}"
    return None
