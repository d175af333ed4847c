"""Copies, on this machine's disk, of data files that lie somewhere else: what a query reads of an HDFS lake.

A file that a Delta log names never changes, so a copy of it is right for ever and needs no question to the store. A
query gets links to copies in its own scratch folder; so a copy may be let go at any time, by any process, and the query
still reads it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from millstream.base.errors import Corrupt, Full
from millstream.lake.lost import lost
from millstream.lake.port import Files, Snapshot

AT_MOST = 20 << 30
"""Bytes of all copies, unless the URL says `copies=`."""
_AT_ONCE = 8
_CHUNK = 4 << 20


class Copies:
    """The copies of one folder, shared by all processes of a project.

    Args:
        most: Bytes kept; the ones used last stay. A query that needs more is refused.
    """

    def __init__(self, folder: Path, most: int = AT_MOST) -> None:
        self.folder, self.most = folder, most

    def local(self, relations: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
        """The relations of a query as files of this machine: snapshots from elsewhere with paths in `scratch`, anything
        else as it is.

        Raises:
            Full: The files are more than copies may take.
            Corrupt: A file is lost.
            Unreachable: The store does not answer.
        """
        far = {
            name: (r, r.store)
            for name, r in relations.items()
            if isinstance(r, Snapshot) and r.store is not None and r.files
        }
        if not far:
            return dict(relations)
        scratch.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="copies") as pool:
            size = sum(
                pool.map(lambda one: self._size(*one), [(store, file) for r, store in far.values() for file in r.files])
            )
            if size > self.most:
                raise Full(
                    f"{', '.join(far)}: {_gb(size)} of the lake's files are needed here, and copies may take"
                    f" {_gb(self.most)}; in the setting compute, or query where only a question was asked, say"
                    " duckdb:?copies=40GB, or spark://... to work where the data is"
                )
            near = {
                n: replace(r, files=tuple(pool.map(partial(self._link, store, scratch), r.files)), store=None)
                for n, (r, store) in far.items()
            }
        self._let_go(file for r in near.values() for file in r.files)
        return {**relations, **near}

    def _size(self, store: Files, file: str) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self._at(file).stat().st_size
        size = store.size(_within(store, file))
        if size is None:
            raise _lost(store, file)
        return size

    def _link(self, store: Files, scratch: Path, file: str) -> str:
        """A link in the scratch folder to the copy, made if need be."""
        kept, link = self._at(file), scratch / self._at(file).name
        while not link.exists():
            try:
                os.link(kept, link)
                os.utime(kept)
            except FileExistsError:
                break
            except FileNotFoundError:
                self._fetch(store, file, kept)
        return str(link)

    def _fetch(self, store: Files, file: str, kept: Path) -> None:
        """Copy it; nobody sees half of it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        half = kept.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        try:
            with store.open(_within(store, file)) as source, half.open("wb") as target:
                shutil.copyfileobj(source, target, _CHUNK)
                target.flush()
                os.fsync(target.fileno())  # a power cut must not leave the name without the bytes
            half.replace(kept)
        except FileNotFoundError as error:
            raise _lost(store, file) from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise Full(f"no room for a copy of {file} in {self.folder}") from error
            raise
        finally:
            half.unlink(missing_ok=True)

    def _let_go(self, used: Iterable[str]) -> None:
        """Of copies beyond the bound, those that were used longest ago; never those just linked."""
        stay = {Path(link).name for link in used}
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    told = entry.stat()
                    found.append((told.st_mtime_ns, told.st_size, entry.name))
        over = sum(size for _, size, _ in found) - self.most
        for _, size, name in sorted(found):
            if over <= 0:
                return
            if name not in stay:
                (self.folder / name).unlink(missing_ok=True)
                over -= size

    def _at(self, file: str) -> Path:
        return self.folder / f"{hashlib.sha256(file.encode()).hexdigest()[:40]}.parquet"


def _lost(store: Files, file: str) -> Corrupt:
    within = _within(store, file)
    return lost(within.partition("/")[0], within)


def _within(store: Files, file: str) -> str:
    """The path below the store's root."""
    return file.removeprefix(f"{store.root}/")


def _gb(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
