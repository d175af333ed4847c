"""CSV and JSON Lines as batches of an event's columns. A record's number is its first line's; the CSV header
is line 1.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from millstream.base.errors import Corrupt
from millstream.base.event import EVENT_ID, Schema
from millstream.base.words import near
from millstream.engines.files.fingerprint import Running, Trail, start_of
from millstream.engines.files.foreign import foreign
from millstream.engines.files.formats import Csv, JsonLines, Maker
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
from millstream.engines.files.records import RETURN, Cut, Ints, unclosed
from millstream.engines.files.stream import Blocks, Stream, ends_with_returns
from millstream.ingest.cast import Errors, cast, with_arrival
from millstream.ingest.form import not_utf8
from millstream.ingest.port import Batch

CHUNK = 8 << 20
BOM = b"\xef\xbb\xbf"


@dataclasses.dataclass
class TextFile:
    """One file to be read from a position.

    Attributes:
        split: Its path as the project knows it.
        form: "csv" or "jsonl".
        limit: Bytes a record may have.
        quiet: Whether a file of this identity has not changed for a while: only then is a last line without an end
            taken for whole.
        left: Called when a last record is left because it may still be written.
        verified: It was found to begin with what was read, as it is now.
    """

    path: Path
    split: str
    form: str
    compression: str | None
    schema: Schema
    zone: str
    limit: int
    quiet: Callable[[Identity], bool] = lambda seen: True
    left: Callable[[Identity], None] = lambda seen: None
    verified: bool = False

    def read(self, position: Position, max_rows: int) -> Iterator[Batch]:
        """Batches up to the file's end as of now."""
        stream = Stream(self.path, self.split, self.compression, position.cr)
        try:
            yield from self._from(stream, position, max_rows)
        finally:
            stream.close()

    def begins(self, position: Position) -> bool:
        """Whether it may hold what was read: it is large enough, and its first bytes are the same. Cheap."""
        if position.old:
            return old_marks_agree(self.path, position)
        if not self.compression and self.path.stat().st_size < position.byte:
            return False
        stream = Stream(self.path, self.split, self.compression, position.cr)
        try:
            found = stream.peek(lambda data: len(data) >= position.head_n)[: position.head_n]
        finally:
            stream.close()
        return digest(found.replace(b"\r", b"\n") if position.cr else found) == position.head

    def holds(self, position: Position) -> None:
        """Whether the file still begins with what was read.

        Raises:
            Recreated: It does not.
        """
        stream = Stream(self.path, self.split, self.compression, position.cr)
        try:
            resumed(stream, position, b"", split=self.split, path=self.path, verified=False)
        finally:
            stream.close()

    def _from(self, stream: Stream, position: Position, max_rows: int) -> Iterator[Batch]:
        seen = identity(stream.stat())
        if not position.byte and _blank(stream):
            yield from self._nothing(position, seen)
            return
        lead = self._lead(stream, position)
        if lead is None:
            if position.byte:
                self.holds(position)
            elif self._is_whole(stream, seen):
                yield from self._nothing(position, seen)
            return
        header, start, lines, first = lead
        if position.byte:
            run = resumed(stream, position, start, split=self.split, path=self.path, verified=self.verified)
            at = position
        else:
            run = Running().update(start)
            at = dataclasses.replace(
                position, line=lines, byte=run.size, born=position.born or (0 if position.name else 1), cr=stream.cr
            )
        at = dataclasses.replace(at, seen=settled(seen))
        reader = Blocks(
            stream,
            run,
            header is not None,
            self.limit,
            lambda: self._is_whole(stream, seen),
            min(CHUNK, max(1 << 16, max_rows << 8)),
        )
        known = _Known(first, seen, stream)
        read = False
        while at.open:
            rest = self._rest(stream, at, run, known)
            if rest is None:
                break
            at, batch = rest
            if batch is not None:
                read = True
                yield batch
        else:
            maker: Maker = (
                Csv(self.schema, self.zone, header) if header is not None else JsonLines(self.schema, self.zone)
            )
            for buffer, cut, final in reader:
                read = True
                trail = Trail(reader.run, buffer)
                yield from self._block(maker, buffer, cut, at, trail, reader.over, max_rows, known, final)
                done = int(cut.nexts[-1])
                reader.run = (reader.over if done > len(buffer) else trail.at(done)).copy()
                at = dataclasses.replace(
                    at, line=at.line + int(cut.lines_after[-1]), byte=at.byte + done, disk=stream.disk
                )
            run = reader.run
            if reader.left:
                self.left(seen)
        if position.byte and not read:
            yield from self._looked_at(position, known.at(at, run, at.line, stream.disk, final=True))
        elif not read and not reader.left:
            yield from self._nothing(position, seen)

    def _is_whole(self, stream: Stream, seen: Identity) -> bool:
        return bool(self.compression) or (identity(stream.stat()) == seen and self.quiet(seen))

    def _looked_at(self, before: Position, now: Position) -> Iterator[Batch]:
        """No record, but another position: the file was touched, or renamed, or read by an older version. It is not
        hashed again for that.
        """
        if now.seen is not None and now.seen[3] >= 0 and now != before:
            yield Batch(self._none(), dead(self.split, []), lambda rows: (0, now.text()))

    def _nothing(self, before: Position, seen: Identity) -> Iterator[Batch]:
        """No record, and that is known from now on: the file is not opened again until it changes."""
        if (now := bare(before, seen)) is not None:
            yield Batch(self._none(), dead(self.split, []), lambda rows: (0, now.text()))

    def _none(self) -> pa.RecordBatch:
        return with_arrival(cast({}, 0, self.schema, Errors(0)), self.schema).append_column(
            EVENT_ID, pa.array([], pa.string())
        )

    def _block(
        self,
        maker: Maker,
        buffer: bytes,
        cut: Cut,
        at: Position,
        trail: Trail,
        over: Running,
        max_rows: int,
        known: _Known,
        final: bool,
    ) -> Iterator[Batch]:
        count, disk = len(cut.ends), known.stream.disk
        wrong = dict(cut.wrong)
        for record in np.flatnonzero(cut.ends - cut.starts > self.limit).tolist():
            wrong.setdefault(
                record,
                f"the record has {int(cut.ends[record] - cut.starts[record]):,} bytes and {self.limit:,} are allowed;"
                " raise the limit, or split it",
            )
        maker.look(buffer, cut, wrong)

        def stand(record: int) -> str:
            """The position after so many records of the block."""
            if record == 0:
                return known.at(at, trail.at(0), at.line, at.disk, final=False).text()
            done, last = int(cut.nexts[record - 1]), final and record == count
            unended = last and buffer[done - 1 : done] != b"\n"
            run = over if done > len(buffer) else trail.at(done)
            return known.at(
                dataclasses.replace(at, open=unended), run, at.line + int(cut.lines_after[record - 1]), disk, final=last
            ).text()

        name = at.name or self.split
        for start in range(0, count, max_rows):
            yield self._batch(maker, buffer, cut, at.line, name, start, min(start + max_rows, count), wrong, stand)

    def _batch(
        self,
        maker: Maker,
        buffer: bytes,
        cut: Cut,
        line: int,
        name: str,
        start: int,
        stop: int,
        wrong: dict[int, str],
        stand: Callable[[int], str],
    ) -> Batch:
        starts, ends = cut.starts[start:stop], cut.ends[start:stop]
        codes = np.frombuffer(buffer, np.uint8)
        blank = (ends == starts) | ((ends - starts == 1) & (codes[starts] == RETURN))
        good = ~blank
        bad = {record: why for record, why in wrong.items() if start <= record < stop}
        good[[record - start for record in bad]] = False
        good &= self._utf8(buffer, cut, start, stop, good, bad)
        kept = np.flatnonzero(good) + start
        rows, errors = maker.columns(
            [buffer[a:b] for a, b in _runs(cut, kept)],
            len(kept),
            lambda at: buffer[cut.starts[kept[at]] : cut.ends[kept[at]]],
        )
        bad.update({int(kept[at]): why for at, why in errors.texts.items()})
        numbers = cut.lines[kept] + (line + 1)
        made = with_arrival(rows, self.schema).append_column(EVENT_ID, ids(name, numbers))
        if errors.texts:
            made, kept = made.filter(pa.array(errors.good)), kept[errors.good]
        order = sorted(bad)
        raw = dead(
            self.split,
            [
                (
                    buffer[cut.starts[r] : min(cut.ends[r], cut.starts[r] + self.limit)],
                    bad[r],
                    int(cut.lines[r]) + line + 1,
                )
                for r in order
            ],
        )

        def after(rows: int) -> tuple[int, str]:
            if rows >= len(kept):
                return len(order), stand(stop)
            record = int(kept[rows - 1]) + 1 if rows else start
            return int(np.searchsorted(order, record)), stand(record)

        return Batch(made, raw, after, found=lambda row: buffer[cut.starts[kept[row]] : cut.ends[kept[row]]])

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

    def _rest(self, stream: Stream, at: Position, run: Running, known: _Known) -> tuple[Position, Batch | None] | None:
        """What has come after a last line without an end: its line end, or more of it, which is too late and so bad."""
        found = stream.line(self.limit)
        if not found or (
            not found.endswith(b"\n") and len(found) <= self.limit and not self._is_whole(stream, known.seen)
        ):
            return None
        run.update(found)
        after = known.at(
            dataclasses.replace(at, open=not found.endswith(b"\n")), run, at.line, stream.disk, final=False
        )
        if not found.strip(b"\r\n"):
            return after, None
        why = (
            f"line {at.line} continued after it had been read as the file's last; write whole lines, or read the file"
            " when it is complete"
        )
        bad = dead(self.split, [(found.rstrip(b"\r\n"), why, at.line)])
        return after, Batch(self._none(), bad, lambda rows: (1, after.text()), fault=f"{self.split}:{at.line}: {why}")

    def _lead(self, stream: Stream, position: Position) -> tuple[list[str] | None, bytes, int, bytes] | None:
        """What precedes the records: the header's names, its bytes, how many lines they are; and the first bytes of the
        file. None: still to come.
        """
        quoted = self.form == "csv"
        if not position.byte:
            stream.cr = ends_with_returns(stream, quoted, self.limit)
        first = stream.peek(lambda data: len(data) >= HEAD)[:HEAD]
        if not position.byte and (what := foreign(first)):
            raise Corrupt(f"{self.split}: {what}")
        first = first.replace(b"\r", b"\n") if stream.cr else first
        if not quoted:
            return None, stream.read(len(BOM)) if first.startswith(BOM) else b"", 0, first
        line = self._header_line(stream)
        if not line.endswith(b"\n"):
            self._unended(line, identity(stream.stat()))
            return None
        header = self._header(line)
        if not position.byte:
            self._fits(header, line)
        return header, line, line.count(b"\n"), first

    def _header_line(self, stream: Stream) -> bytes:
        """The first record: a line, or those that a quoted name spans."""
        line = stream.line(self.limit)
        if not unclosed(line.rstrip(b"\r\n")):
            return line
        parts, size, odd = [line], len(line), True
        while odd and size <= self.limit and (line := stream.line(self.limit)):
            parts, size, odd = (
                [*parts, line] if len(parts) < 100 else [b"".join(parts), line],
                size + len(line),
                odd ^ (line.count(b'"') % 2 == 1),
            )
        if odd:
            raise Corrupt(
                f"{self.split}:1: the header opens a quoted name and does not close it; close it, or double the quote"
            )
        return b"".join(parts)

    def _unended(self, line: bytes, seen: Identity) -> None:
        """A header without a line end may still be written. When it is not, the file must have no record that was taken
        for a header.
        """
        if len(line) > self.limit:
            raise Corrupt(
                f"{self.split}:1: the header has more than {self.limit:,} bytes without a line end; end lines with a"
                " line feed"
            )
        if self.compression or self.quiet(seen):
            self._fits(self._header(line), line)

    def _fits(self, header: list[str], line: bytes) -> None:
        """Raises Corrupt when no record can be read with the header: said once of the file, which can be corrected
        where it is, and not of each of its lines.
        """
        fields = self.schema.names()
        misspelt = sum(near(name, fields) is not None for name in header)
        if any(name in fields for name in header) or 2 * misspelt >= len(header) > 1:
            refuse(f"{self.split}:1", header, self.schema)
            return
        text = json.dumps(line.rstrip(b"\r\n")[:40].decode(errors="replace"))
        raise Corrupt(
            f"{self.split}:1: the first line, {text}, names no field of {self.schema.name}; begin the file with a"
            f" header ({', '.join(fields[:5])}), separate its names by commas, and end lines with a line feed"
        )

    def _header(self, line: bytes) -> list[str]:
        names = self._names(line)
        left_out(self.split, names, self.schema)
        return names

    def _names(self, line: bytes) -> list[str]:
        text = line.removeprefix(BOM).decode(errors="replace").rstrip("\r\n")
        try:
            return [name.strip() for name in next(csv.reader(io.StringIO(text, newline="")), [])]
        except csv.Error as error:
            raise Corrupt(f"{self.split}:1: the header cannot be read as CSV: {error}") from None


@dataclasses.dataclass
class _Known:
    """What a position says of the file beside how far it was read."""

    first: bytes
    seen: Identity
    stream: Stream

    def at(self, position: Position, run: Running, line: int, disk: int, *, final: bool) -> Position:
        """The position after the bytes of `run`."""
        size, head_n = self.seen[1], max(position.head_n if not position.old else 0, min(len(self.first), run.size))
        ended = final and disk == size if self.stream.compressed else run.size == size
        head = position.head if head_n == position.head_n and not position.old else digest(self.first[:head_n])
        disk = disk if self.stream.compressed else run.size
        return dataclasses.replace(
            position.by(run), line=line, disk=disk, whole=size if ended else -1, head=head, head_n=head_n
        )


def _blank(stream: Stream) -> bool:
    """Whether a file has no byte but a mark and line ends: an export of no rows."""
    first = stream.peek(lambda data: len(data) >= HEAD)
    return len(first) < HEAD and not first.removeprefix(BOM).strip()


def resumed(stream: Stream, position: Position, start: bytes, *, split: str, path: Path, verified: bool) -> Running:
    """Bring the stream to the position, and the fingerprint up to it. The stream stands after `start`, the first bytes
    of its file.

    A file that was not touched, or has only grown, is read from a little before the position; any other once from its
    beginning.

    Raises:
        Recreated: It does not begin with what was read.
    """
    now = identity(stream.stat())
    grown = position.seen is not None and now[0] == position.seen[0] and now[1] > position.seen[1]
    if not stream.compressed and not position.old and (verified or now == position.seen or grown):
        back = start_of(position.byte)
        stream.seek(back)
        run = Running(position.chain, back)
        if stream.feed(run, position.byte) and run.text() == position.print:
            return run
        stream.seek(len(start))
    run = Running().update(start[: position.byte])
    whole = stream.feed(run, position.byte)
    if whole and (old_marks_agree(path, position) if position.old else run.text() == position.print):
        return run
    raise replaced(
        split,
        position,
        (
            f"its first {run.size:,} bytes now have {run.text()[:16]}"
            if whole
            else f"it now has {run.size:,} bytes in all, with {run.text()[:16]}"
        ),
    )


def _runs(cut: Cut, kept: Ints) -> list[tuple[int, int]]:
    """Byte ranges of the kept records, neighbours joined."""
    if not len(kept):
        return []
    breaks = np.flatnonzero(np.diff(kept) != 1)
    firsts, lasts = kept[np.concatenate([[0], breaks + 1])], kept[np.concatenate([breaks, [len(kept) - 1]])]
    return list(zip(cut.starts[firsts].tolist(), cut.nexts[lasts].tolist(), strict=True))
