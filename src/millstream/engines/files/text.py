"""CSV and JSON Lines as batches of an event's columns. A record's number is its first line's; the CSV header is line 1."""

from __future__ import annotations

import csv
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from millstream.declare.errors import Corrupt
from millstream.declare.event import EVENT_ID, Schema
from millstream.engines.files.formats import Csv, JsonLines, Maker
from millstream.engines.files.letters import dead, ids
from millstream.engines.files.position import Position, begin, replaced, tail_of
from millstream.engines.files.records import RETURN, Cut, Ints
from millstream.engines.files.stream import Blocks, Stream, ending
from millstream.ingest.cast import Errors, cast, with_arrival
from millstream.ingest.form import not_utf8
from millstream.ingest.port import Batch

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
        stream = Stream(self.path, self.compression)
        try:
            yield from self._batches(stream, at, max_rows)
        finally:
            stream.close()

    def _batches(self, stream: Stream, at: Position, max_rows: int) -> Iterator[Batch]:
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
        reader = Blocks(stream, header is not None, self.limit, take_open, min(CHUNK, max(1 << 16, max_rows << 8)))
        maker: Maker = Csv(self.schema, self.zone, header) if header is not None else JsonLines(self.schema, self.zone)
        for buffer, cut, final in reader:
            yield from self._block(maker, buffer, cut, at, before, max_rows, stream, final)
            at = dataclasses.replace(at, line=at.line + int(cut.lines_after[-1]), byte=at.byte + int(cut.nexts[-1]), disk=stream.disk)
            before = ending(before, buffer, int(cut.nexts[-1]), stream.last)

    def _block(self, maker: Maker, buffer: bytes, cut: Cut, at: Position, before: bytes, max_rows: int, stream: Stream, final: bool) -> Iterator[Batch]:
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
            tail = "" if self.compression else tail_of(ending(before, buffer, done, stream.last))
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
        raw = dead(self.split, [(buffer[cut.starts[r] : min(cut.ends[r], cut.starts[r] + self.limit)], bad[r], int(cut.lines[r]) + line + 1) for r in order])

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

    def _rest(self, stream: Stream, at: Position) -> tuple[Position, Batch | None] | None:
        """What has come after a last line without an end: its line end, or more of it, which is too late and so bad."""
        found = stream.line(self.limit)
        if not found:
            return None
        after = dataclasses.replace(at, byte=at.byte + len(found), open=not found.endswith(b"\n"), tail="", whole=-1)
        if not found.strip(b"\r\n"):
            return after, None
        why = f"line {at.line} went on after it had been read as the file's last; write whole lines, or read the file when it is complete"
        bad = dead(self.split, [(found.rstrip(b"\r\n"), why, at.line)])
        rows = with_arrival(cast({}, 0, self.schema, Errors(0)), self.schema).append_column(EVENT_ID, pa.array([], pa.string()))
        return after, Batch(rows, bad, after.text(), lambda rows: (1, after.text()))

    def _header(self, line: bytes) -> list[str]:
        text = line.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").rstrip("\r\n")
        try:
            names = [name.strip() for name in next(csv.reader([text]), [])]
        except csv.Error as error:
            raise Corrupt(f"{self.split}: the header cannot be read as CSV: {error}") from None
        unknown = [name for name in names if name not in self.schema.names()]
        if unknown:
            log.info("%s: columns %s are not in %s and are left out", self.split, ", ".join(unknown), self.schema.name)
        return names


def _runs(cut: Cut, kept: Ints) -> list[tuple[int, int]]:
    """Byte ranges of the kept records, neighbours joined."""
    if not len(kept):
        return []
    breaks = np.flatnonzero(np.diff(kept) != 1)
    firsts, lasts = kept[np.concatenate([[0], breaks + 1])], kept[np.concatenate([breaks, [len(kept) - 1]])]
    return list(zip(cut.starts[firsts].tolist(), cut.nexts[lasts].tolist(), strict=True))
