"""Files, as a source: each file is a split, its name the path relative to the project."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from millstream.base.errors import Corrupt, NotFound, UsageError
from millstream.declare.source import FileReader, Source
from millstream.engines.files.columnar import ColumnFile
from millstream.engines.files.position import Identity, Position, identity
from millstream.engines.files.standing import Look, Verdicts, standing
from millstream.engines.files.text import TextFile
from millstream.ingest.port import Batch, Standing

QUIET_S, SURE_S = 5.0, 60.0
"""So long a file must not have changed, by a clock that nobody sets; the wall clock is trusted with what changed longer
ago than clocks differ.
"""
_AGAIN = re.compile(r"(~[1-9]\d*)?")
_COMPRESSION = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2"}
_FORMATS = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".avro": "avro",
}


class FileSource:
    """The files of one declared source, in name order. An empty or header-only file is not an error; it may
    still grow.
    """

    def __init__(self, source: Source, root: Path) -> None:
        if not isinstance(source.reader, FileReader):
            raise UsageError(f'source "{source.name}" reads {source.reader.kind}, not files')
        self.source, self.reader, self.root = source, source.reader, root
        self._verdicts, self._quiet = Verdicts(), Quiet()
        self._found_as: dict[str, tuple[int, int]] = {}

    def splits(self) -> Sequence[str]:
        """Hidden files are left out: what is still being written may be called `.name` until it is whole."""
        return [name for name in self._found() if (self.root / name).is_file()]

    def _found(self) -> list[str]:
        return sorted(Path(name).as_posix() for name in glob.glob(self.reader.glob, root_dir=self.root, recursive=True))

    def look(self, positions: Mapping[str, str]) -> Sequence[Standing]:
        found, files, wrong = self._found(), dict[str, os.stat_result](), list[Standing]()
        closed = tuple(f"{folder}/" for folder in self._closed())
        for folder in closed:
            wrong.append(
                Standing(
                    folder,
                    None,
                    error=NotFound(
                        f'source "{self.source.name}": the folder {folder} cannot be listed: permission denied; let'
                        f' this user read it, or leave it out of "{self.reader.glob}"'
                    ),
                )
            )
        for split in found:
            try:
                stat = (self.root / split).stat()
                if S_ISREG(stat.st_mode):
                    self._kind(self.root / split)
                    files[split] = stat
                elif error := self._no_file(split, stat, found):
                    wrong.append(Standing(split, None, error=error))
            except FileNotFoundError:
                if (self.root / split).is_symlink():
                    wrong.append(
                        Standing(
                            split,
                            None,
                            error=NotFound(
                                f'source "{self.source.name}": {split} is a link to a file that is not there; put the'
                                " file there, or remove the link"
                            ),
                        )
                    )
            except (OSError, UsageError) as error:
                said = (
                    error
                    if isinstance(error, UsageError)
                    else NotFound(
                        f'source "{self.source.name}": {split} cannot be looked at: {error.strerror}; put it right, or'
                        f' leave it out of "{self.reader.glob}"'
                    )
                )
                wrong.append(Standing(split, None, error=said))
        self._found_as = {split: (stat.st_dev, stat.st_ino) for split, stat in files.items()}
        kept = {
            split: text
            for split, text in positions.items()
            if split not in {w.split for w in wrong} and not split.startswith(closed)
        }
        return [
            *Look(
                self.root,
                files,
                kept,
                lambda split: self._file(self.root / split, split),
                self._verdicts,
                self._waits_s,
            ).standings(),
            *wrong,
        ]

    def _closed(self) -> list[str]:
        """Folders on the way to the files that cannot be listed: what is in them would disappear without a word."""
        parts = self.reader.glob.split("/")
        ways = ["/".join(parts[:n]) + "/" for n in range(1, len(parts))]
        folders = {Path(name).as_posix() for way in ways for name in glob.glob(way, root_dir=self.root, recursive=True)}
        return sorted(name for name in folders if not os.access(self.root / name, os.R_OK | os.X_OK))

    def _no_file(self, split: str, stat: os.stat_result, found: Sequence[str]) -> UsageError | None:
        """A folder whose name is a file's, and of which no file is read: what is in it would disappear without
        a word.
        """
        if S_ISDIR(stat.st_mode):
            if Path(split).suffix.lower() not in (*_FORMATS, *_COMPRESSION) or any(
                name.startswith(f"{split}/") for name in found
            ):
                return None
            return UsageError(
                f'source "{self.source.name}": {split} is a folder, of which no file is read; say'
                f' ms.read.files("{split}/*") for its files'
            )
        return UsageError(
            f'source "{self.source.name}": {split} is not a regular file; leave it out of "{self.reader.glob}"'
        )

    def _waits_s(self, split: str, stat: os.stat_result) -> float:
        """A last line without an end may still be being written, until the file has been quiet for a while."""
        form, compression = self._kind(self.root / split)
        if (
            compression
            or form in ("parquet", "avro")
            or not stat.st_size
            or not (left := self._quiet.left_s(split, identity(stat)))
        ):
            return 0.0
        try:
            with (self.root / split).open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return left if file.read(1) != b"\n" or self._quiet.open.get(split) == identity(stat) else 0.0
        except OSError:
            return 0.0  # the reading will say so

    def read(self, split: str, position: str | None, max_rows: int = 50_000) -> Iterator[Batch]:
        path = self.root / split
        if not _writable(split):
            raise Corrupt(
                f'source "{self.source.name}": the name of the file {split!a} is not UTF-8, so no record could say'
                " where it is from; rename it"
            )
        if not path.is_file():
            raise NotFound(
                f'source "{self.source.name}": the file {split} is not there any more; put it back, or leave it out of'
                f' "{self.reader.glob}"'
            )
        at, now = Position.read(position), path.stat()
        if self._found_as.get(split, (now.st_dev, now.st_ino)) != (now.st_dev, now.st_ino):
            # Another file has the name by now, maybe one that was read under another name: the next look tells.
            return iter(())
        file = self._file(path, split)
        file.verified = self._verdicts.verified(split, at, identity(now))
        return file.read(at, max_rows)

    def size(self, split: str, position: str | None) -> tuple[int, int] | None:
        path = self.root / split
        if not path.is_file():
            return None
        found = standing(split, Position.read(position), path.stat(), lambda split, stat: 0.0)
        return found.done, found.size or 0

    def locate(self, split: str, event_id: str) -> str | None:
        name, _, number = event_id.rpartition(":")
        born = name.removeprefix(split)
        if not number.isdecimal() or not name.startswith(split) or not _AGAIN.fullmatch(born):
            return None
        return f"{split}:{number}, of the {int(born[1:])}. file of this name" if born else event_id

    def _file(self, path: Path, split: str) -> TextFile | ColumnFile:
        form, compression = self._kind(path)
        schema, zone = self.source.into.schema, self.reader.zone
        if form in ("parquet", "avro"):
            return ColumnFile(path, split, form, compression, schema, zone)
        return TextFile(
            path,
            split,
            form,
            compression,
            schema,
            zone,
            self.reader.record_bytes,
            lambda seen: self._quiet.left_s(split, seen) == 0,
            lambda seen: self._quiet.open.update({split: seen}),
        )

    def _kind(self, path: Path) -> tuple[str, str | None]:
        endings = [ending.lower() for ending in path.suffixes]
        compression = self.reader.compression or (_COMPRESSION.get(endings[-1]) if endings else None)
        if endings and endings[-1] in _COMPRESSION:
            endings.pop()
        form = self.reader.format or (_FORMATS.get(endings[-1]) if endings else None)
        if form is None:
            raise UsageError(
                f'source "{self.source.name}": the ending of {path.name} says no format; say format="csv" (or jsonl,'
                " parquet, avro) in ms.read.files"
            )
        if form == "parquet" and compression:
            raise UsageError(
                f"{path.relative_to(self.root).as_posix()}: a Parquet file is compressed inside; unpack it"
            )
        return form, compression


class Quiet:
    """Since when files have not changed, by a clock that nobody sets; those that changed long ago by the clock of the
    wall need no watching.

    Args:
        steady: Seconds.
        wall: Nanoseconds since 1970.

    Attributes:
        open: Files whose last record was left, because more of it may come: a line without an end, a quoted field that
            is not closed.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic, wall: Callable[[], int] = time.time_ns) -> None:
        self._steady, self._wall = steady, wall
        self._since: dict[str, tuple[Identity, float]] = {}
        self.open: dict[str, Identity] = {}

    def left_s(self, split: str, seen: Identity) -> float:
        """Seconds until the file counts as one that nobody is writing; 0 when it does."""
        if self._wall() - seen[2] > SURE_S * 1e9:
            self._since.pop(split, None)
            return 0.0
        last = self._since.get(split)
        if last is None or last[0] != seen:
            self._since[split] = last = (seen, self._steady())
        return max(0.0, QUIET_S - (self._steady() - last[1]))


def _writable(name: str) -> bool:
    try:
        name.encode()
        return True
    except UnicodeEncodeError:
        return False
