"""How records get out of the log's file: short read transactions on a connection of the reader's own."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from millstream.base.errors import Corrupt, Damaged, NotFound, Recreated, Truncated
from millstream.engines.sqlite.database import error_of
from millstream.engines.sqlite.opening import reading
from millstream.engines.sqlite.records import Layouts, finished, unpack
from millstream.engines.sqlite.wake import Ear
from millstream.log.port import Slice, Topic

SMALL_ROWS = 4_000  # batches below it are handed out joined


class _Stored(NamedTuple):
    """A stored batch, of which rows up to offset `upto` are wanted."""

    partition: int
    start: int
    end: int
    upto: int
    schema_id: int
    layout: pa.Schema
    appended_us: int
    crc: int
    data: bytes


class SqliteReader:
    """Reads partitions of one topic. No transaction stays open while rows are decoded or waited for: a held one makes
    the WAL grow.
    """

    def __init__(self, path: Path, layouts: Layouts, topic: Topic, positions: Mapping[int, int]) -> None:
        self._path, self._layouts, self._topic = path, layouts, topic
        self._at: dict[int, int] = {}
        for partition, offset in positions.items():
            self.seek(partition, offset)
        self._turn = 0
        self._damage: dict[int, Damaged] = {}  # seen by the last poll, which had something else to hand out
        self._ear = Ear(path, topic.name)  # before the first read, so that no commit falls between
        self._con = reading(path)

    def poll(self, max_rows: int, timeout: timedelta) -> list[Slice]:
        deadline = time.monotonic() + timeout.total_seconds()
        while True:
            found = self._fetch(max(1, max_rows))
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            self._ear.wait(left)

    def _fetch(self, max_rows: int) -> list[Slice]:
        try:
            self._con.execute("begin")
            try:
                stored = list(self._stored(max_rows))
            finally:
                self._con.execute("rollback")
        except sqlite3.Error as error:
            raise error_of(error, self._path) from error
        slices, damage = list[Slice](), dict[int, Damaged]()
        for _, group in groupby(stored, _Together()):
            batches = list(group)
            partition = batches[0].partition
            if partition in damage:
                continue  # what follows the damage waits for it
            piece, damaged = self._slice(batches)
            if piece is not None:
                slices.append(piece)
                self._at[partition] = piece.end
            if damaged is not None:
                damage[partition] = damaged
        seen, self._damage = self._damage, damage
        due = next((error for p, error in damage.items() if not slices or p in seen), None)
        if due is not None and not any(piece.partition == due.partition for piece in slices):
            for piece in slices:  # handed out by the next poll
                self._at[piece.partition] = min(piece.start, self._at[piece.partition])
            raise due
        return slices

    def _stored(self, max_rows: int) -> Iterator[_Stored]:
        topic = self._known()
        partitions, left = sorted(self._at), max_rows
        self._turn = (self._turn + 1) % max(1, len(partitions))
        ends = {
            p: (low, high)
            for p, low, high in self._con.execute("select partition, low, high from part where topic = ?", (topic,))
        }
        for partition in partitions:
            self._check(partition, *ends[partition])
        for partition in partitions[self._turn :] + partitions[: self._turn]:
            at = self._at[partition]
            if at == ends[partition][1] or left <= 0:
                continue
            rows = self._con.execute(
                "select start, end, schema, layout, appended_us, crc, data from batch where topic = ? and partition = ?"
                " and end > ? order by end",
                (topic, partition, at),
            )
            for start, end, schema_id, layout, appended_us, crc, data in rows:
                begin = max(start, at)
                upto = min(end, begin + left)
                yield _Stored(
                    partition,
                    start,
                    end,
                    upto,
                    schema_id,
                    self._layouts.schema(self._con, layout),
                    appended_us,
                    crc,
                    data,
                )
                left -= upto - begin
                if left <= 0:
                    break

    def _check(self, partition: int, low: int, high: int) -> None:
        at = self._at[partition]
        if not low <= at <= high:
            raise Truncated(
                f'topic "{self._topic.name}", partition {partition}: offset {at} is asked for, and the log holds'
                f" [{low}, {high}); to continue without records that are gone:  millstream ingest --accept-loss"
                f" {self._topic.name}"
            )

    def _slice(self, batches: list[_Stored]) -> tuple[Slice | None, Damaged | None]:
        """The batches as one slice, up to the first that is damaged; and the damage."""
        first, damage = batches[0], None
        at = max(first.start, self._at[first.partition])
        what = f'{self._path}, topic "{self._topic.name}", partition {first.partition}'
        pieces = []
        for b in batches:
            begin = max(b.start, at)
            try:
                rows = unpack(b.data, b.crc, b.layout, b.end - b.start, f"{what}, offsets [{b.start}, {b.end})")
            except Corrupt as error:
                damage = Damaged(
                    f"{error}; to continue without these records:  millstream ingest --accept-loss {self._topic.name}",
                    partition=first.partition,
                    start=begin,
                    end=b.end,
                )
                break
            pieces.append(rows.slice(begin - b.start, b.upto - begin))
        if not pieces:
            return None, damage
        made = finished(pieces, [b.appended_us for b in batches[: len(pieces)]], at, first.schema_id)
        return (
            Slice(self._topic.name, first.partition, at, batches[len(pieces) - 1].upto, first.schema_id, made),
            damage,
        )

    def _known(self) -> int:
        row = self._con.execute("select id, uuid from topic where name = ?", (self._topic.name,)).fetchone()
        if row is None or row[1] != self._topic.uuid:
            raise Recreated(
                f'topic "{self._topic.name}" was deleted{"" if row is None else " and created again"}; its positions'
                " mean nothing any more"
            )
        return int(row[0])

    def seek(self, partition: int, offset: int) -> None:
        if not 0 <= partition < self._topic.partitions:
            raise NotFound(
                f'topic "{self._topic.name}" has partitions 0 to {self._topic.partitions - 1}, and no {partition}'
            )
        self._at[partition] = offset

    def drop(self, partition: int) -> None:
        self._at.pop(partition, None)

    def position(self, partition: int) -> int:
        return self._at[partition]

    def close(self) -> None:
        self._ear.close()
        self._con.close()


class _Together:
    """A key for `groupby`: the same for neighbours that can be one slice, small batches of one partition, schema and
    layout.
    """

    def __init__(self) -> None:
        self._before: _Stored | None = None
        self._group = 0

    def __call__(self, b: _Stored) -> int:
        a, self._before = self._before, b
        small = a is not None and a.end - a.start < SMALL_ROWS and b.end - b.start < SMALL_ROWS
        if not (
            small
            and a is not None
            and (a.partition, a.schema_id, a.upto, a.layout) == (b.partition, b.schema_id, b.start, b.layout)
        ):
            self._group += 1
        return self._group
