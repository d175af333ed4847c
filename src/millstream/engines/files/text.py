"""CSV and JSON Lines as batches of an event's columns. A record's number is its first line's; the CSV header is line 1."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json

from millstream.declare.errors import Corrupt
from millstream.declare.event import EVENT_ID, Schema
from millstream.engines.files.position import TAIL, Position, begin, replaced, tail_of
from millstream.engines.files.records import COMMA, QUOTE, RETURN, Cut, Ints, cut_csv, cut_lines
from millstream.ingest.cast import Errors, cast, with_arrival
from millstream.ingest.form import BadEvent, EventForm, not_utf8
from millstream.ingest.port import Batch
from millstream.log.port import RAW

CHUNK = 8 << 20
QUIET_S = 5.0
log = logging.getLogger("millstream.files")


@dataclasses.dataclass
class TextFile:
    """One file to be read from a position.

    Attributes:
        split: Its name: the path as the project knows it.
        form: "csv" or "jsonl".
        limit: Bytes a record may have.
        watched: It may be growing: a last line without an end is left until the file has been quiet for a while.
    """

    path: Path
    split: str
    form: str
    compression: str | None
    schema: Schema
    zone: str
    limit: int
    watched: bool = False

    def read(self, position: Position, max_rows: int) -> Iterator[Batch]:
        """Batches up to the file's end as of now."""
        size = self.path.stat().st_size
        if (not self.compression and size < position.byte) or position.whole > size:
            raise replaced(self.path, f"it has {size:,} bytes, fewer than were read")
        at = begin(self.path, position)
        if position.whole == size:
            return
        stream = _Stream(self.path, self.compression)
        try:
            yield from self._batches(stream, at, max_rows)
        finally:
            stream.close()

    def _batches(self, stream: _Stream, at: Position, max_rows: int) -> Iterator[Batch]:
        header: list[str] | None = None
        if self.form == "csv":
            found = stream.line(self.limit)
            if not found.endswith(b"\n"):
                return  # the header is still to come
            header = self._header(found)
            if at.line == 0:
                at = dataclasses.replace(at, line=1, byte=len(found))
        before = stream.seek(at.byte)
        if at.open:
            rest = self._rest(stream, at)
            if rest is None:
                return
            at, batch = rest
            before = stream.seek(at.byte)
            if batch is not None:
                yield batch
        take_open = not self.watched or time.time() - self.path.stat().st_mtime > QUIET_S
        reader = _Blocks(stream, header is not None, self.limit, take_open, min(CHUNK, max(1 << 16, max_rows << 8)))
        maker = _Csv(self, header) if header is not None else _JsonLines(self)
        for buffer, cut, final in reader:
            yield from self._block(maker, buffer, cut, at, before, max_rows, stream, final)
            at = dataclasses.replace(at, line=at.line + int(cut.lines_after[-1]), byte=at.byte + int(cut.nexts[-1]), disk=stream.disk)
            before = _ending(before, buffer, int(cut.nexts[-1]), stream.last)

    def _block(self, maker: Maker, buffer: bytes, cut: Cut, at: Position, before: bytes, max_rows: int, stream: _Stream, final: bool) -> Iterator[Batch]:
        count, disk = len(cut.ends), stream.disk
        wrong = dict(cut.wrong)
        for record in np.flatnonzero(cut.ends - cut.starts > self.limit).tolist():
            wrong.setdefault(
                record, f"the record has {int(cut.ends[record] - cut.starts[record]):,} bytes and {self.limit:,} are allowed; raise the limit, or split it"
            )
        maker.look(buffer, cut, wrong)
        size = self.path.stat().st_size

        def stand(record: int) -> str:
            """The position after so many records of the block."""
            if record == 0:
                return at.text()
            done = int(cut.nexts[record - 1])
            last = record == count
            ended = final and last
            tail = "" if self.compression else tail_of(_ending(before, buffer, done, stream.last))
            unended = ended and buffer[done - 1 : done] != b"\n"
            whole = disk if ended and self.compression and disk == size else -1
            return dataclasses.replace(
                at, line=at.line + int(cut.lines_after[record - 1]), byte=at.byte + done, disk=disk if self.compression else at.byte + done,
                tail=tail, open=unended, whole=whole,
            ).text()  # fmt: skip

        for start in range(0, count, max_rows):
            yield self._batch(maker, buffer, cut, at.line, start, min(start + max_rows, count), wrong, stand)

    def _batch(self, maker: Maker, buffer: bytes, cut: Cut, line: int, start: int, stop: int, wrong: dict[int, str], stand: Callable[[int], str]) -> Batch:
        starts, ends = cut.starts[start:stop], cut.ends[start:stop]
        codes = np.frombuffer(buffer, np.uint8)
        blank = (ends == starts) | ((ends - starts == 1) & (codes[starts] == RETURN))
        good = ~blank
        bad = {record: why for record, why in wrong.items() if start <= record < stop}
        good[[record - start for record in bad]] = False
        good &= self._utf8(buffer, cut, start, stop, good, bad)
        kept = np.flatnonzero(good) + start
        rows, errors = maker.columns([buffer[a:b] for a, b in _runs(cut, kept)], len(kept), lambda at: buffer[cut.starts[kept[at]] : cut.ends[kept[at]]])
        bad.update({int(kept[at]): why for at, why in errors.texts.items()})
        numbers = cut.lines[kept] + (line + 1)
        made = with_arrival(rows, self.schema).append_column(EVENT_ID, ids(self.split, numbers))
        if errors.texts:
            made, kept = made.filter(pa.array(errors.good)), kept[errors.good]
        order = sorted(bad)
        raw = _bad(self.split, [(buffer[cut.starts[r] : min(cut.ends[r], cut.starts[r] + self.limit)], bad[r], int(cut.lines[r]) + line + 1) for r in order])

        def after(rows: int) -> tuple[int, str]:
            if rows >= len(kept):
                return len(order), stand(stop)
            record = int(kept[rows - 1]) + 1 if rows else start
            return int(np.searchsorted(order, record)), stand(record)

        return Batch(made, raw, stand(stop), after)

    def _utf8(self, buffer: bytes, cut: Cut, start: int, stop: int, good: Any, bad: dict[int, str]) -> Any:
        fine = np.ones(stop - start, bool)
        try:
            buffer[cut.starts[start] : cut.nexts[stop - 1]].decode()
        except UnicodeDecodeError:
            for record in (np.flatnonzero(good) + start).tolist():
                why = not_utf8(buffer[cut.starts[record] : cut.ends[record]])
                if why:
                    bad[record], fine[record - start] = f"{why}; write it in UTF-8", False
        return fine

    def _rest(self, stream: _Stream, at: Position) -> tuple[Position, Batch | None] | None:
        """What has come after a last line without an end: its line end, or more of it, which is too late and so bad."""
        found = stream.line(self.limit)
        if not found:
            return None
        after = dataclasses.replace(at, byte=at.byte + len(found), open=not found.endswith(b"\n"), tail="", whole=-1)
        if not found.strip(b"\r\n"):
            return after, None
        why = f"line {at.line} went on after it had been read as the file's last; write whole lines, or read the file when it is complete"
        bad = _bad(self.split, [(found.rstrip(b"\r\n"), why, at.line)])
        rows = with_arrival(cast({}, 0, self.schema, Errors(0)), self.schema).append_column(EVENT_ID, pa.array([], pa.string()))
        return after, Batch(rows, bad, after.text(), lambda rows: (1, after.text()))

    def _header(self, line: bytes) -> list[str]:
        text = line.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").rstrip("\r\n")
        names = [name.strip() for name in next(csv.reader([text]), [])]
        unknown = [name for name in names if name not in self.schema.names()]
        if unknown:
            log.info("%s: columns %s are not in %s and are left out", self.split, ", ".join(unknown), self.schema.name)
        return names


class Maker:
    """From good-looking records to columns."""

    def look(self, buffer: bytes, cut: Cut, wrong: dict[int, str]) -> None:
        """Note records of a block that cannot be read at all."""

    def columns(self, parts: Sequence[bytes], count: int, record: Callable[[int], bytes]) -> tuple[pa.RecordBatch, Errors]:
        """The event's columns of `count` records, which lie whole in `parts`; and what is wrong with some."""
        raise AssertionError("a format says how")


class _Csv(Maker):
    def __init__(self, file: TextFile, header: list[str]) -> None:
        self.file, self.header = file, header
        self.wanted = [name for name in dict.fromkeys(header) if name in file.schema.names()]
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
                wrong.setdefault(at, "a carriage return stands inside an unquoted field; quote the field, or end lines with a line feed")
        fields = np.searchsorted(commas, cut.ends) - np.searchsorted(commas, cut.starts) + 1
        for at in np.flatnonzero(fields != len(self.header)).tolist():
            if cut.ends[at] > cut.starts[at]:
                few = fields[at] < len(self.header)
                wrong.setdefault(at, f"the line has {fields[at]} fields and the header {len(self.header)}; " + ("it was cut off, or a column is missing" if few else "quote fields that hold a comma"))  # fmt: skip
        if self.refused:
            wrong.update({at: self.refused for at in range(len(cut.ends)) if cut.ends[at] > cut.starts[at]})

    @staticmethod
    def _unquoted(found: Ints, quotes: Ints, cut: Cut) -> Ints:
        """Those with an even number of quotes between them and the start of their record."""
        if not len(quotes) or not len(found) or not len(cut.starts):
            return found
        record = np.clip(np.searchsorted(cut.starts, found, side="right") - 1, 0, None)
        return found[(np.searchsorted(quotes, found) - np.searchsorted(quotes, cut.starts)[record]) % 2 == 0]

    def columns(self, parts: Sequence[bytes], count: int, record: Callable[[int], bytes]) -> tuple[pa.RecordBatch, Errors]:
        errors = Errors(count)
        schema = self.file.schema
        try:
            found = self._parsed(b"".join(_ended(parts)), count)
        except pa.ArrowInvalid:
            found = self._slowly([record(at) for at in range(count)])
        return cast(found, count, schema, errors, zone=self.file.zone), errors

    def _parsed(self, data: bytes, count: int) -> dict[str, pa.Array]:
        if not count:
            return {name: pa.array([], pa.string()) for name in self.wanted}
        by_name = {name: self.places[self.header.index(name)] for name in self.wanted}
        table = pa_csv.read_csv(
            io.BytesIO(data),
            pa_csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=self.places),
            pa_csv.ParseOptions(newlines_in_values=True),
            pa_csv.ConvertOptions(check_utf8=False, column_types=dict.fromkeys(self.places, pa.string()), null_values=[""], strings_can_be_null=True,
                                  quoted_strings_can_be_null=False, include_columns=list(by_name.values()) or self.places[:1]),
        )  # fmt: skip
        if table.num_rows != count:
            raise pa.ArrowInvalid("another number of records")
        return {name: _one(table.column(place)) for name, place in by_name.items()}

    def _slowly(self, records: list[bytes]) -> dict[str, pa.Array]:
        rows = [next(csv.reader(io.StringIO(record.decode(), newline=""))) for record in records]
        return {name: pa.array([row[at] if row[at] != "" else None for row in rows], pa.string()) for at, name in enumerate(self.header) if name in self.wanted}


class _JsonLines(Maker):
    def __init__(self, file: TextFile) -> None:
        self.file = file
        self.form = EventForm(file.schema, zoned=False, ids=False, closed=False)
        plain = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
        kinds = [(f.name, pa.list_(plain.get(str(f.item), pa.string())) if f.item else plain.get(f.kind, pa.string())) for f in file.schema.fields]
        self.schema = pa.schema(kinds)

    def columns(self, parts: Sequence[bytes], count: int, record: Callable[[int], bytes]) -> tuple[pa.RecordBatch, Errors]:
        errors = Errors(count)
        try:
            found = self._parsed(b"".join(_ended(parts)), count)
        except pa.ArrowInvalid:
            found = self._slowly([record(at) for at in range(count)], errors)
        return cast(found, count, self.file.schema, errors, zone=self.file.zone, what="field"), errors

    def _parsed(self, data: bytes, count: int) -> dict[str, pa.Array]:
        if not count:
            return {field.name: pa.array([], field.type) for field in self.schema}
        options = pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1)
        table = pa_json.read_json(io.BytesIO(data), options, pa_json.ParseOptions(explicit_schema=self.schema, unexpected_field_behavior="ignore"))
        if table.num_rows != count:
            raise pa.ArrowInvalid("another number of records")
        return {name: _one(table.column(name)) for name in self.schema.names}

    def _slowly(self, records: list[bytes], errors: Errors) -> dict[str, pa.Array]:
        """What Arrow takes record by record, so that a record's fate never hangs on its neighbours. The strict decoder sorts
        out suspects first, and says what is wrong with them.
        """
        why: dict[int, str] = {}
        for at, raw in enumerate(records):
            try:
                self.form.one(raw)
            except BadEvent as error:
                why[at] = f"{error}; {error.mend}"
        found: list[tuple[list[int], dict[str, pa.Array]]] = []
        for group in ([at for at in range(len(records)) if at not in why], *([at] for at in why)):
            self._halved(group, records, found, errors, why)
        if not found:
            return {field.name: pa.nulls(len(records), field.type) for field in self.schema}
        places = [at for group, _ in found for at in group]
        index = np.full(len(records), -1)
        index[places] = np.arange(len(places))  # back to one row a record; the bad ones are null, and filtered out
        take = pa.array(index, mask=index < 0)
        return {name: pa.concat_arrays([columns[name] for _, columns in found]).take(take) for name in self.schema.names}

    def _halved(self, group: list[int], records: list[bytes], found: list[tuple[list[int], dict[str, pa.Array]]], errors: Errors, why: dict[int, str]) -> None:
        if not group:
            return
        try:
            found.append((group, self._parsed(b"\n".join(records[at] for at in group) + b"\n", len(group))))
        except pa.ArrowInvalid as error:
            if len(group) == 1:
                errors.note(group[0], why.get(group[0], f"it cannot be read as one {self.file.schema.name}: {error}"))
                return
            half = len(group) // 2
            self._halved(group[:half], records, found, errors, why)
            self._halved(group[half:], records, found, errors, why)


class _Blocks:
    """Whole records of a stream, a buffer at a time, and whether it ended there. A line far beyond the limit comes alone, cut short."""

    def __init__(self, stream: _Stream, quoted: bool, limit: int, take_open: bool, chunk: int) -> None:
        self.stream, self.quoted, self.limit, self.take_open, self.chunk = stream, quoted, limit, take_open, chunk

    def __iter__(self) -> Iterator[tuple[bytes, Cut, bool]]:
        held, ended = b"", False
        while not ended:
            chunk = self.stream.read(self.chunk)
            held = held + chunk if held else chunk
            ended = not chunk
            final = ended and self.take_open
            cut = cut_csv(held, final, self.limit) if self.quoted else cut_lines(held, final)
            if len(cut.ends):
                yield held, cut, ended
                held = held[int(cut.nexts[-1]) :]
            elif len(held) > self.limit and b"\n" not in held:
                line, cut, held = self._endless(held)
                if line:
                    yield line, cut, False

    def _endless(self, held: bytes) -> tuple[bytes, Cut, bytes]:
        """A line that is too long: as much of it as a record may have, and what follows it."""
        size, chunk, tail = len(held), b"", held[-TAIL:]
        while b"\n" not in chunk:
            chunk = self.stream.read(CHUNK)
            if not chunk:
                break
            upto = chunk.index(b"\n") + 1 if b"\n" in chunk else len(chunk)
            size, tail = size + upto, (tail + chunk[:upto])[-TAIL:]
        if not chunk and not self.take_open:
            return b"", cut_lines(b"", False), b""
        rest = chunk[chunk.index(b"\n") + 1 :] if chunk else b""
        one, none = np.ones(1, np.int64), np.zeros(1, np.int64)
        line = held[: self.limit]
        self.stream.last = tail
        why = f"the line has {size:,} bytes and {self.limit:,} are allowed, which are kept here; raise the limit, or split it"
        return line, Cut(none, one * len(line), one * size, none, one, {0: why}), rest


class _Stream:
    """A file's bytes, decompressed. `disk` is how far it has been read as it lies on disk."""

    def __init__(self, path: Path, compression: str | None) -> None:
        self.path = path
        self._raw = pa.OSFile(str(path))
        self._file = pa.CompressedInputStream(self._raw, compression) if compression else self._raw
        self._compressed = bool(compression)
        self._at, self._ahead = 0, b""
        self.last = b""

    @property
    def disk(self) -> int:
        return int(self._raw.tell())

    def read(self, size: int) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            data = self._pull(size)
        self._at += len(data)
        return data

    def _pull(self, size: int) -> bytes:
        try:
            return bytes(self._file.read(size))
        except OSError as error:
            raise Corrupt(f"{self.path.name} cannot be decompressed beyond byte {self._at:,} of its text: {error}; the file is cut off or damaged, put it there again whole") from None  # fmt: skip

    def line(self, limit: int) -> bytes:
        """The next line with its end, or as much of one as there is, or as the limit allows."""
        found = b""
        while b"\n" not in found and len(found) <= limit:
            chunk = self.read(65536)
            if not chunk:
                return found
            found += chunk
        end = found.find(b"\n") + 1 or limit
        self._ahead, self._at = found[end:] + self._ahead, self._at - len(found[end:])
        return found[:end]

    def seek(self, byte: int) -> bytes:
        """Go to a byte of the text; the bytes just before it, as far as known."""
        if not self._compressed:
            self._ahead = b""
            self._raw.seek(max(0, byte - TAIL))
            before = bytes(self._raw.read(min(TAIL, byte)))
            self._at = byte
            return before
        if byte < self._at:
            raise AssertionError("an archive is read forwards")
        while self._at < byte:
            if not self.read(min(CHUNK, byte - self._at)):
                raise replaced(self.path, f"its text has {self._at:,} bytes, fewer than were read")
        return b""

    def close(self) -> None:
        self._file.close()
        self._raw.close()


def ids(split: str, numbers: Ints) -> pa.Array:
    """`<split>:<number>`."""
    return pc.binary_join_element_wise(pa.scalar(split), pa.array(numbers).cast(pa.string()), ":")


def _runs(cut: Cut, kept: Ints) -> list[tuple[int, int]]:
    """Byte ranges of the kept records, neighbours joined."""
    if not len(kept):
        return []
    breaks = np.flatnonzero(np.diff(kept) != 1)
    firsts, lasts = kept[np.concatenate([[0], breaks + 1])], kept[np.concatenate([breaks, [len(kept) - 1]])]
    return list(zip(cut.starts[firsts].tolist(), cut.nexts[lasts].tolist(), strict=True))


def _ended(parts: Sequence[bytes]) -> list[bytes]:
    return [part if part.endswith(b"\n") else part + b"\n" for part in parts]


def _ending(before: bytes, buffer: bytes, done: int, last: bytes) -> bytes:
    """The last bytes before `done` of a buffer; of a line cut short they are `last`."""
    if done > len(buffer):
        return last
    return buffer[done - TAIL : done] if done >= TAIL else (before + buffer[:done])[-TAIL:]


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _bad(split: str, found: Sequence[tuple[bytes, str, int]]) -> pa.RecordBatch:
    """Records as found, each with `<split>:<line>: why`."""
    origins = [f"{split}:{line}" for _, _, line in found]
    errors = [f"{origin}: {why}" for origin, (_, why, _) in zip(origins, found, strict=True)]
    return pa.record_batch([pa.array([raw for raw, _, _ in found], pa.binary()), pa.array(errors, pa.string()), pa.array(origins, pa.string())], schema=RAW)
