"""CSV and JSON Lines: from whole records to an event's columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json

from millstream.base.event import Schema
from millstream.base.words import otherwise_cased
from millstream.engines.files.records import COMMA, QUOTE, RETURN, Cut, Ints
from millstream.ingest.cast import Errors, cast, missing
from millstream.ingest.digits import EXACT
from millstream.ingest.form import UNREAD, BadEvent, EventForm
from millstream.lake.sound import UNFIT


class Maker(Protocol):
    """From good-looking records to columns."""

    def look(self, buffer: bytes, cut: Cut, wrong: dict[int, str]) -> None:
        """Note records of a block that cannot be read at all."""
        ...

    def columns(
        self, parts: Sequence[bytes], count: int, record: Callable[[int], bytes]
    ) -> tuple[pa.RecordBatch, Errors]:
        """The event's columns of `count` records, which lie whole in `parts`; and what is wrong with some."""
        ...


class Csv:
    """Lines of a file with this header, its line 1."""

    def __init__(self, schema: Schema, zone: str, header: list[str]) -> None:
        self.schema, self.zone, self.header = schema, zone, header
        self.wanted = [name for name in dict.fromkeys(header) if name in schema.names()]
        twice = [name for name in self.wanted if header.count(name) > 1]
        self.refused = f'the header names "{twice[0]}" twice; name each column once' if twice else ""
        # Columns are told apart by place: headers may repeat names that nobody reads.
        self.places = [f"f{at}" for at in range(len(header))]

    def look(self, buffer: bytes, cut: Cut, wrong: dict[int, str]) -> None:
        codes = np.frombuffer(buffer, np.uint8)
        quotes = np.flatnonzero(codes == QUOTE)
        commas = self._unquoted(np.flatnonzero(codes == COMMA), quotes, cut)
        returns = self._unquoted(np.flatnonzero(codes == RETURN), quotes, cut) if b"\r" in buffer else commas[:0]
        if len(returns) and len(cut.ends):
            record = np.searchsorted(cut.starts, returns, side="right") - 1
            for at in np.unique(record[returns < cut.ends[record] - 1]).tolist():
                wrong.setdefault(
                    at,
                    "a carriage return stands inside an unquoted field; quote the field, or end lines with a line feed",
                )
        fields = np.searchsorted(commas, cut.ends) - np.searchsorted(commas, cut.starts) + 1
        filled = (
            (cut.ends > cut.starts)
            & ~((cut.ends - cut.starts == 1) & (codes[np.minimum(cut.starts, len(codes) - 1)] == RETURN))
            if len(codes)
            else cut.ends > cut.starts
        )
        for at in np.flatnonzero(fields != len(self.header)).tolist():
            if filled[at]:
                few = fields[at] < len(self.header)
                wrong.setdefault(
                    at,
                    f"the line has {fields[at]} fields and the header {len(self.header)}; "
                    + ("it was cut off, or a column is missing" if few else "quote fields that hold a comma"),
                )
        if self.refused:
            wrong.update(dict.fromkeys(np.flatnonzero(filled).tolist(), self.refused))

    @staticmethod
    def _unquoted(found: Ints, quotes: Ints, cut: Cut) -> Ints:
        """Those with an even number of quotes between them and the start of their record."""
        if not len(quotes) or not len(found) or not len(cut.starts):
            return found
        record = np.clip(np.searchsorted(cut.starts, found, side="right") - 1, 0, None)
        return found[(np.searchsorted(quotes, found) - np.searchsorted(quotes, cut.starts)[record]) % 2 == 0]

    def columns(
        self, parts: Sequence[bytes], count: int, record: Callable[[int], bytes]
    ) -> tuple[pa.RecordBatch, Errors]:
        errors = Errors(count)
        try:
            found = self._parsed(b"".join(_ended(parts)), count)
        except UNFIT:
            found = self._slowly([record(at) for at in range(count)], errors)
        return cast(found, count, self.schema, errors, zone=self.zone, others=self.header), errors

    def _parsed(self, data: bytes, count: int) -> dict[str, pa.Array]:
        if not count:
            return {name: pa.array([], pa.string()) for name in self.wanted}
        by_name = {name: self.places[self.header.index(name)] for name in self.wanted}
        table = pa_csv.read_csv(
            io.BytesIO(data),
            pa_csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=self.places),
            pa_csv.ParseOptions(newlines_in_values=True),
            pa_csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(self.places, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                include_columns=list(by_name.values()) or self.places[:1],
            ),
        )
        if table.num_rows != count:
            raise pa.ArrowInvalid("another number of records")
        return {name: _one(table.column(place)) for name, place in by_name.items()}

    def _slowly(self, records: list[bytes], errors: Errors) -> dict[str, pa.Array]:
        rows = [self._row(record, at, errors) for at, record in enumerate(records)]
        return {
            name: pa.array([row[at] if row[at] != "" else None for row in rows], pa.string())
            for at, name in enumerate(self.header)
            if name in self.wanted
        }

    def _row(self, record: bytes, at: int, errors: Errors) -> list[str]:
        try:
            row = next(csv.reader(io.StringIO(record.decode(), newline="")), [])
            if len(row) == len(self.header):
                return row
            why = f"it has {len(row)} fields and the header {len(self.header)}"
        except (csv.Error, UnicodeDecodeError) as error:
            why = str(error)
        errors.note(at, f"it cannot be read as one line of CSV: {why}")
        return [""] * len(self.header)


csv.field_size_limit(1 << 30)  # how long a record may be is the reader's to say, not the module's
_SPACE = b" \t\r\n"


class JsonLines:
    """One object a line."""

    def __init__(self, schema: Schema, zone: str) -> None:
        self.event, self.zone = schema, zone
        self.form = EventForm(schema, zoned=False, ids=False, closed=False)
        plain = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
        kinds = [
            (f.name, pa.list_(plain.get(str(f.item), pa.string())) if f.item else plain.get(f.kind, pa.string()))
            for f in schema.fields
        ]
        self.layout = pa.schema(kinds)
        self._strangers = False  # whether a record had a key that is not a field: Arrow's reader finds out at no cost

    def look(self, buffer: bytes, cut: Cut, wrong: dict[int, str]) -> None:
        """Any line may be an object."""

    def columns(
        self, parts: Sequence[bytes], count: int, record: Callable[[int], bytes]
    ) -> tuple[pa.RecordBatch, Errors]:
        errors, data, slowly = Errors(count), b"".join(_ended(parts)), False
        try:
            found = self._parsed(data, count)
        except UNFIT:
            found, slowly = self._slowly([record(at) for at in range(count)], errors), True
        if self._strangers or slowly:
            self._look_for_cased(found, data, record, errors)
        return cast(found, count, self.event, errors, zone=self.zone, what="field", trim=False), errors

    def _look_for_cased(
        self, found: dict[str, pa.Array], data: bytes, record: Callable[[int], bytes], errors: Errors
    ) -> None:
        """Records that lack a field and have a key of its name in another case: its value is there, and would
        be lost.
        """
        low: bytes | None = None
        for field in self.event.fields:
            if not found[field.name].null_count:
                continue
            low = data.lower() if low is None else low
            if field.name.isascii() and low.count(_quoted(field.name.lower())) == data.count(_quoted(field.name)):
                continue
            for at in np.flatnonzero(found[field.name].is_null()).tolist():
                names = _names(record(at)) if errors.good[at] else []
                if field.name not in names and otherwise_cased(field.name, names):
                    errors.note(at, missing(field, "field", names))

    def _parsed(self, data: bytes, count: int, *, looked_at: bool = False) -> dict[str, pa.Array]:
        """`looked_at`: the strict decoder has taken each record, so no number has lost digits."""
        if not count:
            return {field.name: pa.array([], field.type) for field in self.layout}
        if not _lined(data, count):
            raise pa.ArrowInvalid("not each line is an object")
        table = self._table(data)
        if table.num_rows != count:
            raise pa.ArrowInvalid("another number of records")
        found = {name: _one(table.column(name)) for name in self.layout.names}
        if any(_infinite(column) for column in found.values()):
            # JSON has no infinity; Arrow reads one, and takes 1e400 for it
            raise pa.ArrowInvalid("a number is out of range")
        if not looked_at and any(_large(column) for column in found.values()):
            raise pa.ArrowInvalid("a float may have lost digits")
        return found

    def _table(self, data: bytes) -> pa.Table:
        options = pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1)
        others = "ignore" if self._strangers else "error"
        try:
            return pa_json.read_json(
                io.BytesIO(data),
                options,
                pa_json.ParseOptions(explicit_schema=self.layout, unexpected_field_behavior=others),
            )
        except pa.ArrowInvalid as error:
            if self._strangers or "unexpected field" not in str(error):
                raise
            self._strangers = True
            return self._table(data)

    def _slowly(self, records: list[bytes], errors: Errors) -> dict[str, pa.Array]:
        """What Arrow takes record by record, so that a record's fate never hangs on its neighbours. The strict decoder
        sorts out suspects first, and says what is wrong with them.
        """
        why: dict[int, str] = {}
        for at, raw in enumerate(records):
            try:
                records[at] = self.form.normal(raw)
            except BadEvent as error:
                why[at] = str(error)
        found: list[tuple[list[int], dict[str, pa.Array]]] = []
        for group in ([at for at in range(len(records)) if at not in why], *([at] for at in why)):
            self._halved(group, records, found, errors, why)
        if not found:
            return {field.name: pa.nulls(len(records), field.type) for field in self.layout}
        places = [at for group, _ in found for at in group]
        index = np.full(len(records), -1)
        index[places] = np.arange(len(places))  # back to one row a record; the bad ones are null, and filtered out
        take = pa.array(index, mask=index < 0)
        return {
            name: pa.concat_arrays([columns[name] for _, columns in found]).take(take) for name in self.layout.names
        }

    def _halved(
        self,
        group: list[int],
        records: list[bytes],
        found: list[tuple[list[int], dict[str, pa.Array]]],
        errors: Errors,
        why: dict[int, str],
    ) -> None:
        if not group:
            return
        try:
            found.append(
                (
                    group,
                    self._parsed(
                        b"\n".join(records[at].strip(_SPACE) for at in group) + b"\n",
                        len(group),
                        looked_at=group[0] not in why,
                    ),
                )
            )
        except UNFIT as error:
            if len(group) == 1:
                errors.note(group[0], why.get(group[0], f"it cannot be read as one {self.event.name}: {error}"))
                return
            half = len(group) // 2
            self._halved(group[:half], records, found, errors, why)
            self._halved(group[half:], records, found, errors, why)


def _quoted(name: str) -> bytes:
    return f'"{name}"'.encode()


def _names(raw: bytes) -> list[str]:
    """The keys of an object."""
    try:
        return list(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]))
    except UNREAD:
        return []


def _lined(data: bytes, count: int) -> bool:
    """Whether each line is an object as far as its ends show. Arrow's reader does not ask: two objects on a line and
    one over two lines would pass as what they are not, with their neighbours' numbers; and a first value of null kills
    it (SIGSEGV).
    """
    if not data.startswith(b"{") or not data.endswith((b"}\n", b"}\r\n")):
        return False
    text = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(text[:-1] == 10)  # but the last; twice as fast as to search for `}\n{`
    closes = text[ends - 1] == 125
    if b"\r" in data:
        closes |= (text[ends - 1] == 13) & (text[ends - 2] == 125)
    return len(ends) == count - 1 and bool(closes.all()) and bool((text[ends + 1] == 123).all())


def _infinite(column: pa.Array) -> bool:
    values = column.flatten() if pa.types.is_list(column.type) else column
    return pa.types.is_floating(values.type) and bool(pc.any(pc.is_inf(values)).as_py())


def _large(column: pa.Array) -> bool:
    values = column.flatten() if pa.types.is_list(column.type) else column
    return pa.types.is_floating(values.type) and bool(
        pc.any(pc.and_(pc.is_finite(values), pc.greater_equal(pc.abs(values), float(EXACT)))).as_py()
    )


def _ended(parts: Sequence[bytes]) -> list[bytes]:
    return [part if part.endswith(b"\n") else part + b"\n" for part in parts]


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
