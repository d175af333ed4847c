"""Files that grow, are replaced, renamed, copied, cut or rotated between two looks: each record once, or the file stops
and is named.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import millstream as ms
from millstream.base.errors import Corrupt, MillstreamError, NotFound, Recreated, UsageError
from millstream.engines.files import position as positions
from millstream.engines.files import text
from millstream.engines.files.fingerprint import BLOCK, TAIL, Running, Trail, start_of
from millstream.engines.files.position import Position
from millstream.engines.files.source import QUIET_S, FileSource, Quiet


class Tick(ms.Event):
    """Something happened."""

    n: int
    note: str | None = None
    ts: ms.EventTime


TICKS = ms.stream("ticks", Tick, key="n")
T0 = datetime(2026, 1, 1, tzinfo=UTC)
GROWING = ("csv", "jsonl", "csv.gz")
FORMS = (*GROWING, "parquet", "avro")
BOTH = re.compile(
    r"replaced after it had been read.*fingerprint [0-9a-f]{16}.* [0-9a-f]{16}; give the new contents another file"
    r" name",
    re.DOTALL,
)


def whole(form: str, numbers: list[int]) -> bytes:
    """A file of these ticks."""
    rows = [{"n": n, "note": f"tick {n}", "ts": (T0 + timedelta(seconds=n)).isoformat()} for n in numbers]
    if form.startswith("csv"):
        return packed(form, b"n,note,ts\n") + more(form, numbers)
    if form == "jsonl":
        return more(form, numbers)
    out = io.BytesIO()
    if form == "parquet":
        pq.write_table(
            pa.Table.from_pylist(rows, pa.schema([("n", pa.int64()), ("note", pa.string()), ("ts", pa.string())])), out
        )
    else:
        kinds = {"n": "long", "note": "string", "ts": "string"}
        schema = {
            "type": "record",
            "name": "Tick",
            "fields": [{"name": name, "type": kind} for name, kind in kinds.items()],
        }
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
        moves = [s for s in engine.look(dict(self.kept)) if s.moved_from]
        while moves:
            for standing in moves:
                if lives == 0:
                    return
                assert standing.position is not None
                self.kept[standing.split], lives = standing.position, lives - 1
            before, moves = moves, [s for s in engine.look(dict(self.kept)) if s.moved_from]
            assert moves != before, "it comes to an end"
        self.errors = {}
        for standing in engine.look(dict(self.kept)):
            if standing.error is not None:
                self.errors[standing.split] = standing.error
            elif not standing.idle:
                for batch in engine.read(standing.split, self.kept.get(standing.split), rows):
                    if lives == 0:
                        return
                    lives -= 1
                    self.out += list(
                        zip(batch.rows.column("_event_id").to_pylist(), batch.rows.column("n").to_pylist(), strict=True)
                    )
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
        self.next = self.names = 0
        self.harmed = False
        self.cuts: set[str] = set()
        """Files that may have had records, and have none."""

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
        """How often a record may be read: once. Copies that grow apart and change places between two looks cannot
        always be told apart.
        """
        return 1 if self.members[self.of[n]] == 1 else 3 * self.members[self.of[n]]

    def create(self) -> None:
        self.put(self.fresh(), self.numbers() if self.chance.random() < 0.8 else [])

    def fill(self) -> None:
        """A file of no record is written anew: nothing was read of it, so nothing is lost."""
        blank = [name for name in sorted(self.held) if not self.held[name] and name not in self.cuts]
        if blank:
            self.put(self.chance.choice(blank), self.numbers())

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
            self.put(
                name, self.numbers() if self.chance.random() < 0.5 else [self.numbers()[0] for _ in self.held[name]]
            )

    def cut(self) -> None:
        if name := self.some():
            self.harmed = True
            left = self.held[name][: self.chance.randint(0, len(self.held[name]))]
            family = self.family[name]
            self.put(name, [])
            self.path(name).write_bytes(whole(self.form, left))
            self.held[name], self.family[name] = left, family
            self.cuts.add(name)
            self.members[family] += 1  # under another name it is another file

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


KIND = ("create", "fill", "grow", "grow", "begin_a_line", "rename", "rotate", "swap", "copy", "touch", "rewrite")
HARM = ("replace", "cut", "overwrite", "remove")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("harm", [False, True])
def test_each_record_once_whatever_becomes_of_the_files(
    tmp_path: Path, form: str, harm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
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
                reader.read(lives=chance.choice([0, 1, 2, 3, 1_000_000]), rows=chance.choice([1, 2, 50]))
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
        assert name in reader.errors or all(found[n] for n in numbers), (
            f"{what}: {name} has records that were not read and is not named"
        )
    for name, error in reader.errors.items():
        assert (isinstance(error, Recreated) and BOTH.search(str(error))) or (
            isinstance(error, NotFound) and "were not read" in str(error)
        ), f"{what}: {name}: {error}"
    if not world.harmed and max(world.members.values(), default=1) == 1:
        assert not reader.errors, f"{what}: nothing was harmed, and {reader.errors}"


# one by one


def read_at(root: Path, form: str) -> tuple[Reader, Path]:
    """A file of five ticks that was read to its end."""
    path = root / f"today.{form}"
    path.write_bytes(whole(form, [0, 1, 2, 3, 4]))
    reader = Reader(root, f"*.{form}*" if form in GROWING else f"*.{form}")
    reader.read()
    assert reader.numbers() == Counter(range(5))
    return reader, path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "numbers",
    [[5, 6, 7, 8, 9], [5, 6], [0, 1], [5, 6, 7, 8, 9, 10, 11, 12], []],
    ids=["equal", "smaller", "cut", "larger", "empty"],
)
def test_a_replaced_file_stops_and_its_neighbour_is_read(tmp_path: Path, form: str, numbers: list[int]) -> None:
    reader, path = read_at(tmp_path, form)
    path.write_bytes(whole(form, numbers))
    (tmp_path / f"next.{form}").write_bytes(whole(form, [20, 21]))
    reader.read()
    assert BOTH.search(str(reader.errors[path.name])), reader.errors
    assert sorted(reader.numbers()) == [0, 1, 2, 3, 4, 20, 21]
    path.rename(tmp_path / f"later.{form}")  # both ways on
    path.write_bytes(whole(form, [0, 1, 2, 3, 4]))
    reader.read()
    assert not reader.errors and set(reader.numbers()) == {*range(5), 20, 21, *numbers}


@pytest.mark.parametrize("form", FORMS)
def test_a_rotation_is_gone_on_with(tmp_path: Path, form: str) -> None:
    reader, path = read_at(tmp_path, form)
    for day in (1, 2, 3):
        for older in range(day - 1, 0, -1):
            (tmp_path / f"day{older}.{form}").rename(tmp_path / f"day{older + 1}.{form}")
        path.rename(tmp_path / f"day1.{form}")
        if form in GROWING:
            with (tmp_path / f"day1.{form}").open("ab") as file:
                file.write(more(form, [100 + day]))
        path.write_bytes(whole(form, [10 * day, 10 * day + 1]))
        reader.read()
        assert not reader.errors
    assert set(reader.numbers().values()) == {1} and len(reader.out) == 5 + 3 * 2 + (3 if form in GROWING else 0)
    assert (f"today.{form}~2:{3 if form == 'csv' or form == 'csv.gz' else 2}", 11) in reader.out, (
        "other lines of the same path have other ids"
    )


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_file_that_was_compressed_after_it_was_read(tmp_path: Path, form: str) -> None:
    reader, path = read_at(tmp_path, form)
    data = path.read_bytes() + more(form, [5])
    path.unlink()
    (tmp_path / f"day1.{form}.gz").write_bytes(gzip.compress(data))
    reader.read()
    assert reader.numbers() == Counter(range(6)) and not reader.errors


def test_a_copy_is_another_file_and_one_that_comes_back_too(tmp_path: Path) -> None:
    reader, path = read_at(tmp_path, "csv")
    shutil.copy(path, tmp_path / "copy.csv")
    reader.read()
    assert set(reader.numbers().values()) == {2}
    path.rename(tmp_path / "day1.csv")
    reader.read()
    shutil.copy(tmp_path / "day1.csv", path)
    reader.read()
    assert set(reader.numbers().values()) == {3} and len({one for one, _ in reader.out}) == 15


@pytest.mark.parametrize("form", FORMS)
def test_positions_of_an_older_version_are_understood(tmp_path: Path, form: str) -> None:
    """They have no fingerprint of all bytes: it is taken once, and what they marked is compared."""
    path = tmp_path / f"today.{form}"
    path.write_bytes(whole(form, [0, 1, 2]))
    data = path.read_bytes()
    text_of = len(gzip.decompress(data)) if form == "csv.gz" else len(data)
    ended = len(data) if form in ("csv.gz", "parquet", "avro") else -1
    old = {
        "v": 1,
        "line": 4 if form.startswith("csv") else 3,
        "byte": text_of if form in GROWING else 0,
        "disk": len(data),
        "head": positions.digest(data[:4096]),
        "head_n": len(data),
        "tail": positions.digest(data[-256:]) if form in ("csv", "jsonl") else "",
        "open": False,
        "whole": ended,
    }
    reader = Reader(tmp_path, f"*.{form}")
    reader.kept = {path.name: json.dumps(old)}
    reader.read()
    assert reader.out == [] and not reader.errors
    if form in GROWING:
        with path.open("ab") as file:
            file.write(more(form, [3]))
        reader.read()
        assert [n for _, n in reader.out] == [3]
    reader.kept = {path.name: json.dumps(old)}
    path.rename(tmp_path / f"day1.{form}")
    path.write_bytes(whole(form, [7, 8, 9]))
    reader.read()
    assert not reader.errors and set(reader.numbers()) == ({3} if form in GROWING else set()) | {7, 8, 9}
    reader.kept = {path.name: json.dumps(old)}
    (tmp_path / f"day1.{form}").unlink()
    reader.read()
    assert "was replaced after it had been read" in str(reader.errors[path.name])


def test_what_was_not_touched_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "SETTLED_NS", -(10**18))
    for form in FORMS:
        read_from = Reader(tmp_path, f"*.{form}")
        (tmp_path / f"a.{form}").write_bytes(whole(form, [1, 2]))
        read_from.read()
        engine = read_from.engine()
        engine._file = None  # type: ignore[assignment, method-assign]
        assert [(s.idle, s.done == s.size) for s in engine.look(read_from.kept)] == [(True, True)], form


def test_a_touched_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "SETTLED_NS", -(10**18))
    reader, path = read_at(tmp_path, "csv")
    os.utime(path, ns=(1, 1))
    reader.read()
    assert [s.idle for s in reader.engine().look(reader.kept)] == [True] and len(reader.out) == 5


def test_a_file_that_is_gone_before_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(whole("csv", list(range(9))))
    reader = Reader(tmp_path, "*.csv")
    reader.read(lives=1, rows=2)
    data = path.read_bytes()
    path.unlink()
    reader.read()
    assert re.search(
        r"the file a\.csv is gone, and \d+ of its bytes were not read; put it back", str(reader.errors["a.csv"])
    )
    (tmp_path / "b.csv").write_bytes(data)
    reader.read()
    assert not reader.errors and reader.numbers() == Counter(range(9))
    (tmp_path / "b.csv").unlink()
    reader.read()
    assert not reader.errors, "it was read to its end"


class Clock:
    now = 0.0

    def quiet(self) -> Quiet:
        return Quiet(steady=lambda: self.now, wall=lambda: 0)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_last_line_without_an_end_waits_for_five_seconds_of_quiet(tmp_path: Path, form: str) -> None:
    path, clock, reader = tmp_path / f"a.{form}", Clock(), Reader(tmp_path, f"a.{form}")
    data = whole(form, [0, 1, 2])
    path.write_bytes(data[:-5])
    engine = reader.engine()
    engine._quiet = clock.quiet()
    reader.read(engine=engine)
    assert [s.waits_s for s in engine.look(reader.kept)] == [5.0] and reader.numbers() == Counter([0, 1])
    clock.now = 4.0
    path.write_bytes(data[:-4])
    reader.read(engine=engine)
    clock.now = 8.0
    reader.read(engine=engine)
    assert reader.numbers() == Counter([0, 1]), "it changed four seconds ago"
    path.write_bytes(data)
    reader.read(engine=engine)
    assert reader.numbers() == Counter([0, 1, 2]) and reader.dead == []


def test_a_header_that_is_being_written_is_waited_for_and_one_that_is_none_is_named(tmp_path: Path) -> None:
    path, clock, reader = tmp_path / "a.csv", Clock(), Reader(tmp_path, "a.csv")
    path.write_bytes(b"x;y;2026")
    engine = reader.engine()
    engine._quiet = clock.quiet()
    assert list(engine.read("a.csv", None)) == []
    clock.now = 6.0
    with pytest.raises(
        MillstreamError,
        match=r'a\.csv:1: the first line, "x;y;2026", names no field of Tick; begin the file with a header',
    ):
        list(engine.read("a.csv", None))


NOTHING = {
    "a.csv": [b"", b"n,note,ts\n", b"n,note,ts", b"\xef\xbb\xbf", b"\xef\xbb\xbfn,note,ts\r\n", b"\n", b"n,note,ts\r"],
    "a.jsonl": [b"", b"\xef\xbb\xbf", b"\r\n\n"],
    "a.csv.gz": [b"", packed("csv.gz", b"n,note,ts\n"), gzip.compress(b"", mtime=0)],
    "a.parquet": [b"", whole("parquet", [])],
    "a.avro": [b"", whole("avro", [])],
}


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, several in NOTHING.items() for data in several])
def test_a_file_without_a_record_is_known_as_one_and_may_become_any(tmp_path: Path, name: str, data: bytes) -> None:
    path, reader = tmp_path / name, Reader(tmp_path, "a.*")
    path.write_bytes(data)
    engine = reader.engine()
    engine._quiet = Quiet(wall=lambda: 1 << 62)
    reader.read(engine=engine)
    (standing,) = reader.engine().look(dict(reader.kept))
    assert reader.out == [] and reader.dead == [] and not reader.errors
    assert standing.empty and standing.done == standing.size == len(data), "nothing waits"
    path.write_bytes(
        whole(name.removeprefix("a."), [5]) if not name.endswith("csv") else b"ts,n\n2026-01-01T00:00:00Z,5\n"
    )
    assert [s.error for s in reader.engine().look(dict(reader.kept))] == [None], (
        "nothing was read of it, so it was not replaced"
    )
    reader.read()
    assert [n for _, n in reader.out] == [5] and reader.out[0][0] in (
        "a.csv:2",
        "a.jsonl:1",
        "a.csv.gz:2",
        "a.parquet:1",
        "a.avro:1",
    )
    path.rename(tmp_path / name.replace("a.", "b."))
    path.write_bytes(data)
    moved = Reader(tmp_path, "[ab].*")
    moved.kept = reader.kept
    moved.read()
    assert moved.out == [] and not moved.errors, "and what was read continues under another name"


def test_a_folder_that_cannot_be_listed_is_named_and_its_files_are_not_taken_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests may run as root, whom no folder is closed to: the files that could not be seen are moved away."""
    (tmp_path / "data/closed").mkdir(parents=True)
    inside, aside = tmp_path / "data/closed/a.csv", tmp_path / "aside"
    inside.write_bytes(whole("csv", [1, 2]))
    reader = Reader(tmp_path, "data/**/*.csv")
    reader.read()
    shutil.copy(inside, tmp_path / "data/copy.csv")
    inside.rename(aside)
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda path, mode: Path(path).name != "closed")
        reader.read()
        assert list(reader.errors) == ["data/closed/"]
        assert "the folder data/closed/ cannot be listed: permission denied; let this user read it" in str(
            reader.errors["data/closed/"]
        )
        assert Counter(one for one, _ in reader.out)["data/copy.csv:2"] == 1, "the copy is another file"
    aside.rename(inside)
    reader.read()
    assert reader.numbers() == {1: 2, 2: 2} and not reader.errors


def test_a_file_without_a_record_is_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_bytes(b"n,note,ts\n")
    monkeypatch.setattr(positions, "SETTLED_NS", -1)
    reader = Reader(tmp_path, "a.csv")
    reader.read()
    (standing,) = reader.engine().look(dict(reader.kept))
    assert standing.idle and standing.empty


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.csv", "n,ts\n".encode("utf-16"), "it is UTF-16; write it in UTF-8"),
        ("a.csv", "n,ts\n".encode("utf-16-be"), r"it is UTF-16 \(every other byte is 0\); write it in UTF-8"),
        ("a.jsonl", '{"n": 1}\n'.encode("utf-16-le"), r"it is UTF-16 \(every other byte is 0\); write it in UTF-8"),
        ("a.csv", "n,ts\n".encode("utf-32"), "it is UTF-32; write it in UTF-8"),
        ("a.jsonl", whole("csv.gz", [1]), 'it is compressed by gzip; name it .gz, or say compression="gzip"'),
        ("a.csv.gz", gzip.compress(whole("csv.gz", [1]), mtime=0), "it is compressed by gzip"),
        ("a.csv", whole("parquet", [1]), 'it is a Parquet file; name it .parquet, or say format="parquet"'),
        ("a.csv", whole("avro", [1]), 'it is an Avro file; name it .avro, or say format="avro"'),
        ("a.csv", b"PK\x03\x04" + b"x" * 100, "it is a ZIP archive or a spreadsheet; unpack it, or save it as text"),
        (
            "a.csv",
            whole("csv", [1, 2, 3])[10:],
            'a.csv:1: the first line, "1,tick 1,2026-01-01T00:00:01[+]00:00", names no field of Tick',
        ),
        (
            "a.csv",
            whole("csv", [1]).replace(b",", b";"),
            'a.csv:1: the first line, "n;note;ts", names no field of Tick; begin the file with a header .n, note, ts.',
        ),
    ],
)
def test_a_file_that_is_something_else_stops_with_its_reason_and_is_read_when_it_was_corrected(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    path, reader = tmp_path / name, Reader(tmp_path, name)
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=said) as error:
        list(reader.engine().read(name, None))
    assert name in str(error.value)
    path.write_bytes(whole(name.removeprefix("a."), [1]))
    reader.read()
    assert [n for _, n in reader.out] == [1]


@pytest.mark.parametrize(
    "data",
    [
        "PAR1,n,ts\nx,1,2026-01-01T00:00:00Z\n",
        "BZh,n,ts\nx,1,2026-01-01T00:00:00Z\n",
        "Obj,n,ts\nx,1,2026-01-01T00:00:00Z\n",
    ],
)
def test_text_that_begins_like_something_else_is_text(tmp_path: Path, data: str) -> None:
    (tmp_path / "a.csv").write_text(data)
    reader = Reader(tmp_path, "a.csv")
    reader.read()
    assert [n for _, n in reader.out] == [1]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"n,note,ts\r1,a,2026-01-01T00:00:00Z\r2,b,2026-01-01T00:00:00Z", [1, 2]),
        (b'n,note,ts\r1,"two\nlines",2026-01-01T00:00:00Z\r', [1]),
        (b"n,note,ts\r\r\n1,a,2026-01-01T00:00:00Z\r\r\n", [1]),
        (b'n,"no\nte",ts\n1,a,2026-01-01T00:00:00Z\n', [1]),
        (b"\xef\xbb\xbfn,note,ts\n1,a,2026-01-01T00:00:00Z\n", [1]),
    ],
    ids=[
        "carriage returns",
        "returns, and a line feed in quotes",
        "two returns and a line feed",
        "a header of two lines",
        "a byte order mark",
    ],
)
def test_line_ends_and_headers_of_other_programs(tmp_path: Path, data: bytes, expected: list[int]) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    reader = Reader(tmp_path, "a.csv")
    engine = reader.engine()
    engine._quiet = Quiet(wall=lambda: 1 << 62)
    reader.read(engine=engine)
    assert [n for _, n in reader.out] == expected and reader.dead == [] and not reader.errors


def test_json_lines_with_a_byte_order_mark_or_carriage_returns(tmp_path: Path) -> None:
    lines = more("jsonl", [1, 2])
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + lines)
    (tmp_path / "b.jsonl").write_bytes(lines.replace(b"\n", b"\r"))
    reader = Reader(tmp_path, "*.jsonl")
    engine = reader.engine()
    engine._quiet = Quiet(wall=lambda: 1 << 62)
    reader.read(engine=engine)
    assert reader.out == [("a.jsonl:1", 1), ("a.jsonl:2", 2), ("b.jsonl:1", 1), ("b.jsonl:2", 2)] and reader.dead == []


def test_a_header_that_is_never_closed_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'n,"note,ts\n1,a,2026-01-01T00:00:00Z\n')
    with pytest.raises(MillstreamError, match=r"a\.csv:1: the header opens a quoted name and does not close it"):
        list(Reader(tmp_path, "a.csv").engine().read("a.csv", None))


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "part.parquet").mkdir()
    (tmp_path / "part.parquet/0.parquet").write_bytes(whole("parquet", [1]))
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "a.csv").write_bytes(whole("csv", [1]))
    reader = Reader(tmp_path, "*")
    reader.read()
    assert reader.numbers() == Counter([1])
    assert {name: type(error) for name, error in reader.errors.items()} == {
        "part.parquet": UsageError,
        "gone.csv": NotFound,
        "notes.txt": UsageError,
    }
    assert 'say ms.read.files("part.parquet/*")' in str(
        reader.errors["part.parquet"]
    ) and "a link to a file that is not there" in str(reader.errors["gone.csv"])
    assert {s.split for s in Reader(tmp_path, "**").engine().look({}) if s.error} == {"gone.csv", "notes.txt"}, (
        "the folder's file is read by this one"
    )


def test_the_fingerprint_depends_on_the_bytes_alone() -> None:
    chance = random.Random(3)
    data = chance.randbytes(3 * BLOCK + TAIL + 100)
    for size in (
        0,
        1,
        TAIL,
        BLOCK - 1,
        BLOCK,
        BLOCK + TAIL - 1,
        BLOCK + TAIL,
        BLOCK + TAIL + 1,
        2 * BLOCK + TAIL,
        len(data),
    ):
        once, pieces, at = Running().update(data[:size]), Running(), 0
        while at < size:
            step = min(size - at, chance.randint(1, BLOCK))
            pieces.update(data[at : at + step])
            at += step
        again = Running(once.chain, start_of(size)).update(data[start_of(size) : size])
        assert (
            once.text() == pieces.text() == again.text()
            and once.chain == pieces.chain == again.chain
            and size - start_of(size) >= min(size, TAIL)
        )
        if size:
            other = bytearray(data[:size])
            other[chance.randrange(size)] ^= 1
            assert Running().update(bytes(other)).text() != once.text()
    trail = Trail(Running(), data)
    for size in (5, 3 * BLOCK, 7, BLOCK + TAIL):
        assert trail.at(size).text() == Running().update(data[:size]).text()


def test_a_position_says_what_it_is_and_is_read_back(tmp_path: Path) -> None:
    reader, path = read_at(tmp_path, "csv")
    kept = reader.kept[path.name]
    assert json.loads(kept)["v"] == 2 and Position.read(kept).text() == kept and Position.read(kept).line == 6
    with pytest.raises(MillstreamError, match="not written by this version"):
        Position.read('{"v": 3}')
    with pytest.raises(MillstreamError, match="not written by this version"):
        Position.read('{"v": 2, "lin": 3}')


def test_a_clock_that_is_ahead_makes_no_file_quiet() -> None:
    steady = [0.0]
    quiet = Quiet(steady=lambda: steady[0], wall=lambda: 1_000_000_000_000)
    written_now = (1, 10, 1_000_000_000_000 - 30_000_000_000, 0)  # by a wall clock that is half a minute ahead
    assert quiet.left_s("a.csv", written_now) == QUIET_S
    steady[0] = QUIET_S
    assert quiet.left_s("a.csv", written_now) == 0.0
