"""Files that grow, are replaced, renamed, copied, cut or rotated between two looks: each record once, or the file stops and is named."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import millstream as ms
from millstream.declare.errors import MillstreamError, NotFound, Recreated, UsageError
from millstream.engines.files import position as positions
from millstream.engines.files import source as sourcing
from millstream.engines.files import text
from millstream.engines.files.fingerprint import BLOCK, TAIL, Running, Trail, start_of
from millstream.engines.files.position import Position
from millstream.engines.files.source import FileSource, Quiet


class Tick(ms.Event):
    """Something happened."""

    n: int
    note: str | None = None
    ts: ms.EventTime


TICKS = ms.stream("ticks", Tick, key="n")
T0 = datetime(2026, 1, 1, tzinfo=UTC)
GROWING = ("csv", "jsonl", "csv.gz")
FORMS = (*GROWING, "parquet", "avro")
BOTH = re.compile(r"replaced after it had been read.*fingerprint [0-9a-f]{16}.* [0-9a-f]{16}; give the new contents another file name", re.DOTALL)


def whole(form: str, numbers: list[int]) -> bytes:
    """A file of these ticks."""
    rows = [{"n": n, "note": f"tick {n}", "ts": (T0 + timedelta(seconds=n)).isoformat()} for n in numbers]
    if form.startswith("csv"):
        return packed(form, b"n,note,ts\n") + more(form, numbers)
    if form == "jsonl":
        return more(form, numbers)
    out = io.BytesIO()
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows, pa.schema([("n", pa.int64()), ("note", pa.string()), ("ts", pa.string())])), out)
    else:
        kinds = {"n": "long", "note": "string", "ts": "string"}
        schema = {"type": "record", "name": "Tick", "fields": [{"name": name, "type": kind} for name, kind in kinds.items()]}
        fastavro.writer(out, schema, rows, sync_marker=b"0123456789abcdef")
    return out.getvalue()


def more(form: str, numbers: list[int]) -> bytes:
    """What is added to a file."""
    times = [(n, (T0 + timedelta(seconds=n)).isoformat()) for n in numbers]
    if form == "jsonl":
        return "".join(json.dumps({"n": n, "note": f"tick {n}", "ts": at}) + "\n" for n, at in times).encode()
    return packed(form, "".join(f"{n},tick {n},{at}\n" for n, at in times).encode())


def packed(form: str, data: bytes) -> bytes:
    return gzip.compress(data, mtime=0) if form.endswith(".gz") and data else data


def never_quiet() -> Quiet:
    return Quiet(steady=lambda: 0.0, wall=lambda: 0)


class Reader:
    """What `ingest` does, in small: looks, keeps what moved, reads; may die at any commit."""

    def __init__(self, root: Path, glob: str) -> None:
        self.root, self.glob = root, glob
        self.kept: dict[str, str] = {}
        self.out: list[tuple[str, int]] = []
        self.dead: list[str] = []
        self.errors: dict[str, MillstreamError] = {}

    def engine(self) -> FileSource:
        made = FileSource(ms.source(TICKS, ms.read.files(self.glob), name=f"ticks_{len(TICKS.fed_by)}"), self.root)
        made._quiet = never_quiet()
        return made

    def read(self, *, lives: int = 1_000_000, rows: int = 50_000, engine: FileSource | None = None) -> None:
        engine = engine or self.engine()
        for standing in [s for s in engine.look(dict(self.kept)) if s.moved_from]:
            if lives == 0:
                return
            assert standing.position is not None
            self.kept[standing.split], lives = standing.position, lives - 1
        self.errors = {}
        for standing in engine.look(dict(self.kept)):
            assert standing.moved_from is None, "moving once is enough"
            if standing.error is not None:
                self.errors[standing.split] = standing.error
            elif not standing.idle:
                for batch in engine.read(standing.split, self.kept.get(standing.split), rows):
                    if lives == 0:
                        return
                    lives -= 1
                    self.out += list(zip(batch.rows.column("_event_id").to_pylist(), batch.rows.column("n").to_pylist(), strict=True))
                    self.dead += batch.bad.column("error").to_pylist()
                    self.kept[standing.split] = batch.position

    def numbers(self) -> Counter[int]:
        return Counter(n for _, n in self.out)


class World:
    """Files, and what is done to them."""

    def __init__(self, root: Path, form: str, chance: random.Random) -> None:
        self.root, self.form, self.chance = root, form, chance
        self.held: dict[str, list[int]] = {}
        self.half: dict[str, bytes] = {}
        self.family: dict[str, int] = {}
        self.members: Counter[int] = Counter()
        self.of: dict[int, int] = {}
        self.there: set[str] = set()
        self.next = self.names = 0
        self.harmed = False

    def path(self, name: str) -> Path:
        return self.root / name

    def fresh(self) -> str:
        self.names += 1
        return f"{self.chance.choice('abc')}{self.names}.{self.form}"

    def numbers(self) -> list[int]:
        count = self.chance.randint(1, 4)
        self.next += count
        return list(range(self.next - count, self.next))

    def some(self) -> str | None:
        return self.chance.choice(sorted(self.held)) if self.held else None

    def put(self, name: str, numbers: list[int]) -> None:
        """Another inode or the same one, as editors and shells do."""
        if self.path(name).exists() and self.chance.random() < 0.5:
            self.path(name).unlink()
        self.path(name).write_bytes(whole(self.form, numbers))
        self.half.pop(name, None)
        self.family[name] = self.next = self.next + 1
        self.members[self.next] = 1
        self.hold(name, numbers)

    def hold(self, name: str, numbers: list[int]) -> None:
        """Of files that begin alike, a record of one may be taken for the other's."""
        self.held[name] = numbers
        self.of.update({n: self.family[name] for n in numbers if self.of.get(n, -1) < self.family[name]})

    def most(self, n: int) -> int:
        """How often a record may be read."""
        return self.members[self.of[n]]

    def create(self) -> None:
        self.put(self.fresh(), self.numbers())

    def grow(self) -> None:
        name = self.some()
        if name and self.form in GROWING:
            added = self.numbers()
            with self.path(name).open("ab") as file:
                file.write(self.half.pop(name, b"") + more(self.form, added))
            self.hold(name, self.held[name] + added)

    def begin_a_line(self) -> None:
        name = self.some()
        if name and self.form in ("csv", "jsonl") and name not in self.half:
            added = [self.numbers()[0]]
            line = more(self.form, added)
            cut = self.chance.randint(1, len(line) - 1)
            with self.path(name).open("ab") as file:
                file.write(line[:cut])
            self.hold(name, self.held[name] + added)
            self.half[name] = line[cut:]

    def rename(self) -> None:
        if name := self.some():
            self._move(name, self.fresh())

    def _move(self, name: str, to: str) -> None:
        self.path(name).rename(self.path(to))
        self.held[to], self.family[to] = self.held.pop(name), self.family.pop(name)
        self.there -= {name, to}
        if name in self.half:
            self.half[to] = self.half.pop(name)

    def rotate(self) -> None:
        """`mv day1 day2; mv today day1`, and a new `today`."""
        if name := self.some():
            if (other := self.some()) and other != name:
                self._move(other, self.fresh())
                self._move(name, other)
            else:
                self._move(name, self.fresh())
            self.put(name, self.numbers() if self.chance.random() < 0.8 else [])

    def swap(self) -> None:
        one, other = self.some(), self.some()
        if one and other and one != other:
            self._move(one, "aside")
            self._move(other, one)
            self._move("aside", other)

    def copy(self) -> None:
        if name := self.some():
            to = self.fresh()
            shutil.copy(self.path(name), self.path(to))
            self.held[to], self.family[to] = list(self.held[name]), self.family[name]
            self.members[self.family[name]] += 1
            if name in self.half:
                self.half[to] = self.half[name]

    def touch(self) -> None:
        if name := self.some():
            self.path(name).touch()

    def rewrite(self) -> None:
        """The same bytes under another inode."""
        if name := self.some():
            data = self.path(name).read_bytes()
            self.path(name).unlink()
            self.path(name).write_bytes(data)

    def replace(self) -> None:
        if name := self.some():
            self.harmed = True
            self.put(name, self.numbers() if self.chance.random() < 0.5 else [self.numbers()[0] for _ in self.held[name]])

    def cut(self) -> None:
        if name := self.some():
            self.harmed = True
            left = self.held[name][: self.chance.randint(0, len(self.held[name]))]
            family, moved = self.family[name], name not in self.there
            self.put(name, [])
            self.path(name).write_bytes(whole(self.form, left))
            self.held[name], self.family[name] = left, family
            self.members[family] += moved  # renamed before it was looked at, it is another file

    def overwrite(self) -> None:
        one, other = self.some(), self.some()
        if one and other and one != other:
            self.harmed = True
            self.held.pop(other)
            self.half.pop(other, None)
            self._move(one, other)

    def remove(self) -> None:
        if name := self.some():
            self.harmed = True
            self.path(name).unlink()
            self.held.pop(name)
            self.half.pop(name, None)

    def end(self) -> None:
        for name, rest in self.half.items():
            with self.path(name).open("ab") as file:
                file.write(rest)
        self.half = {}


KIND = ("create", "grow", "grow", "begin_a_line", "rename", "rotate", "swap", "copy", "touch", "rewrite")
HARM = ("replace", "cut", "overwrite", "remove")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("harm", [False, True])
def test_each_record_once_whatever_becomes_of_the_files(tmp_path: Path, form: str, harm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random lives of a folder, read now and then, by readers that die at random commits."""
    monkeypatch.setattr(text, "CHUNK", 100)
    for seed in range(60):
        chance = random.Random(f"{form} {harm} {seed}")
        root = tmp_path / str(seed)
        root.mkdir()
        world, reader = World(root, form, chance), Reader(root, f"*.{form}")
        for _ in range(20):
            getattr(world, chance.choice(KIND if not harm or chance.random() < 0.8 else HARM))()
            if chance.random() < 0.5:
                lives = chance.choice([0, 1, 2, 3, 1_000_000])
                reader.read(lives=lives, rows=chance.choice([1, 2, 50]))
                world.there = set(world.held) if lives > 3 else set()
        world.end()
        reader.read()
        holds(world, reader, f"{form} {harm} {seed}")


def holds(world: World, reader: Reader, what: str) -> None:
    ids = [one for one, _ in reader.out]
    assert len(set(ids)) == len(ids), f"{what}: an id was given twice: {Counter(ids).most_common(3)}"
    found = reader.numbers()
    for n, count in found.items():
        assert count <= world.most(n), f"{what}: record {n} was read {count} times"
    assert not reader.dead, f"{what}: {reader.dead}"
    for name, numbers in world.held.items():
        assert name in reader.errors or all(found[n] for n in numbers), f"{what}: {name} has records that were not read and is not named"
    for name, error in reader.errors.items():
        assert (isinstance(error, Recreated) and BOTH.search(str(error))) or (isinstance(error, NotFound) and "were not read" in str(error)), f"{what}: {name}: {error}"
    if not world.harmed:
        assert not reader.errors, f"{what}: nothing was harmed, and {reader.errors}"
