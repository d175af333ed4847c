"""Files, as a source: each file is a split, its name the path relative to the project."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from millstream.declare.errors import Corrupt, NotFound, UsageError
from millstream.declare.source import FileReader, Source
from millstream.engines.files.columnar import ColumnFile
from millstream.engines.files.position import Position
from millstream.engines.files.text import TextFile
from millstream.ingest.port import Batch

_COMPRESSION = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2"}
_FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet", ".avro": "avro"}


class FileSource:
    """The files of one declared source, in name order. An empty or header-only file is no error; it may still grow."""

    def __init__(self, source: Source, root: Path) -> None:
        if not isinstance(source.reader, FileReader):
            raise UsageError(f'source "{source.name}" reads {source.reader.kind}, not files')
        self.source, self.reader, self.root = source, source.reader, root

    def splits(self) -> Sequence[str]:
        """Hidden files are left out: what is still being written may be called `.name` until it is whole."""
        found = glob.glob(self.reader.glob, root_dir=self.root, recursive=True)
        return sorted(Path(name).as_posix() for name in found if (self.root / name).is_file())

    def read(self, split: str, position: str | None, max_rows: int = 50_000) -> Iterator[Batch]:
        path = self.root / split
        if not _writable(split):
            raise Corrupt(f'source "{self.source.name}": the name of the file {split!a} is not UTF-8, so no record could say where it is from; rename it')
        if not path.is_file():
            raise NotFound(f'source "{self.source.name}": the file {split} is not there any more; put it back, or leave it out of "{self.reader.glob}"')
        return self._file(path, split).read(Position.read(position), max_rows)

    def size(self, split: str, position: str | None) -> tuple[int, int] | None:
        path = self.root / split
        if not path.is_file():
            return None
        size, at = path.stat().st_size, Position.read(position)
        return (size if at.whole == size else min(at.disk, size)), size

    def locate(self, split: str, event_id: str) -> str | None:
        name, _, number = event_id.rpartition(":")
        return event_id if name == split and number.isdecimal() else None

    def _file(self, path: Path, split: str) -> TextFile | ColumnFile:
        form, compression = self._kind(path)
        schema, zone = self.source.into.schema, self.reader.zone
        if form in ("parquet", "avro"):
            if form == "parquet" and compression:
                raise UsageError(f"{split}: a Parquet file is compressed inside; unpack it")
            return ColumnFile(path, split, form, compression, schema, zone)
        return TextFile(path, split, form, compression, schema, zone, self.reader.record_bytes, self.reader.watch)

    def _kind(self, path: Path) -> tuple[str, str | None]:
        endings = [ending.lower() for ending in path.suffixes]
        compression = self.reader.compression or (_COMPRESSION.get(endings[-1]) if endings else None)
        if endings and endings[-1] in _COMPRESSION:
            endings.pop()
        form = self.reader.format or (_FORMATS.get(endings[-1]) if endings else None)
        if form is None:
            raise UsageError(
                f'source "{self.source.name}": the ending of {path.name} says no format; say format="csv" (or jsonl, parquet, avro) in ms.read.files'
            )
        return form, compression


def _writable(name: str) -> bool:
    try:
        name.encode()
        return True
    except UnicodeEncodeError:
        return False
