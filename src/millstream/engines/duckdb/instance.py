"""DuckDB instances that reach nothing but what they were given: one a query, thrown away after it.

Making one costs 9 ms, most of it the catalogue of built-in functions, and closing it 2 ms; so a thread in the
background closes the last one and makes a spare for the next.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

import duckdb

from millstream.base.duration import micros
from millstream.base.errors import ConfigError, Full, MillstreamError, WorkFailed
from millstream.base.storage import number_of, refused
from millstream.engines.duckdb.copies import AT_MOST
from millstream.engines.duckdb.relations import text
from millstream.lake.lost import first_lost
from millstream.lake.port import Snapshot

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Options:
    """Of the URL `duckdb:?memory_limit=4GB&threads=2&timeout=30s&copies=20GB`.

    Attributes:
        memory_limit: Of one query; beyond it the query spills. Half of the machine's memory when not said.
        threads: Of one query; None is every core.
        timeout_s: Seconds after which a query is stopped; None never.
        copies_bytes: What copies of a lake's files that are not on this machine may take of the disk.
    """

    memory_limit: str
    threads: int | None = None
    timeout_s: float | None = None
    copies_bytes: int = AT_MOST

    @classmethod
    def read(cls, url: str) -> Options:
        """Raises ConfigError, naming the options there are."""
        given = dict(parse_qsl(url.partition("?")[2]))
        unknown = set(given) - {"memory_limit", "threads", "timeout", "copies"}
        if unknown:
            raise ConfigError(
                f'compute = "{url}": no option "{min(unknown)}"; known: memory_limit, threads, timeout, copies'
            )
        try:
            threads = int(given["threads"]) if "threads" in given else None
            timeout = micros(given["timeout"]) / 1e6 if "timeout" in given else None
            copies = _bytes(given["copies"]) if "copies" in given else AT_MOST
        except ValueError as error:
            raise ConfigError(f'compute = "{url}": {error}') from None
        return cls(given.get("memory_limit") or _half_of_memory(), threads, timeout, copies)

    def config(self, spill: Path) -> dict[str, str | bool | int | float | list[str]]:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.memory_limit,
            "temp_directory": str(spill),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        }
        if self.threads:
            config["threads"] = self.threads
        return config


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise ValueError(f'"{text}" is not a size; write 500MB or 20GB')
    return int(found[1]) << (10 * " KMGT".index(found[2].upper() or " "))


def _half_of_memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 2**21}MiB"


@dataclass(eq=False)
class Instance:
    """One database with its scratch folder. `stop` may be called from any thread; the rest belongs to one at a time."""

    connection: duckdb.DuckDBPyConnection
    scratch: Path
    stopped: str = ""
    timer: threading.Timer | None = field(default=None, repr=False)
    bench: Bench | None = field(default=None, repr=False)
    reads: tuple[Snapshot, ...] = field(default=(), repr=False)

    def lock(self, files: Sequence[str]) -> None:
        """From here on: these files, the scratch folder, and no other; no extension, no setting."""
        run = self.connection.execute
        if files:
            run(f"SET allowed_paths = [{', '.join(map(text, files))}]")
        run("SET enable_external_access = false")
        run("SET lock_configuration = true")

    def stop(self, why: str) -> None:
        """Interrupt whatever runs; the one who waits for it gets WorkFailed with this reason."""
        self.stopped = self.stopped or why
        with contextlib.suppress(duckdb.Error):  # closed in the meantime
            self.connection.interrupt()

    def going(self) -> None:
        """Raises WorkFailed when it was stopped: DuckDB forgets an interrupt that comes between two statements."""
        if self.stopped:
            raise WorkFailed(f"the query was stopped: {self.stopped}")

    def close(self) -> None:
        """Let go of the database and of what it spilled; twice is fine."""
        if self.timer:
            self.timer.cancel()
        if self.bench:
            self.bench.take_back(self)
        else:
            self.clear()

    def drop(self) -> None:
        """`close` without waiting for anybody."""
        if self.timer:
            self.timer.cancel()
        if self.bench:
            self.bench.forget(self)
        self.clear()

    def clear(self) -> None:
        self.connection.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """The engine's errors as ours; the one place where they are told apart."""
        try:
            yield
        except duckdb.Error as error:
            raise self._ours(error) from error
        except (
            OSError,
            RuntimeError,
            ValueError,
        ) as error:  # what a stream's far side threw, its type lost on the way through Arrow's C interface
            if isinstance(error, MillstreamError):
                raise
            raise self._ours(error) from error

    def _ours(self, error: BaseException) -> MillstreamError:
        if self.stopped:
            return WorkFailed(f"the query was stopped: {self.stopped}")
        # A file that is gone is anything to DuckDB, once other files are forbidden: "file system operations are
        # disabled by configuration".
        return first_lost(self.reads) or disk_error(error, self.scratch.parent) or WorkFailed(str(error))


def disk_error(error: BaseException, scratch: Path) -> MillstreamError | None:
    """What the disk of the scratch folder refused; None when the error is about something else."""
    if "max_temp_directory_size" in str(error):
        return Full(f"no room to spill in {scratch}: {error}")
    return refused(error, scratch, "spill a query's data")


class Bench:
    """Hands instances out, keeps one spare, and knows those at work. Safe for threads, not across a fork."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options, self.folder = options, folder
        self._lock = threading.Lock()
        self._working: set[Instance] = set()
        self._done: list[Instance] = []
        self._spare: Instance | None = None
        self._cleaner: threading.Thread | None = None
        self._process = os.getpid()
        self._closed = False
        self._sweep()

    def take(self, *, on_disk: bool = False) -> Instance:
        """A fresh, still open instance, in memory or in a file of its scratch folder; the caller locks it and closes
        it.
        """
        # A fork copies locks that threads of DuckDB hold, and not the threads: one in eight children hung
        if self._process != os.getpid():
            raise WorkFailed(
                "the compute engine was opened before this process was forked; open one in the child, or start the"
                " child by spawn"
            )
        with self._lock:
            if self._closed:
                raise WorkFailed("the compute engine is closed")
            instance, self._spare = (None, self._spare) if on_disk else (self._spare, None)
        instance = instance or self._make(on_disk)
        instance.bench = self
        with self._lock:
            self._working.add(instance)
        if self.options.timeout_s is not None:
            instance.timer = threading.Timer(
                self.options.timeout_s, instance.stop, [f"it took longer than {self.options.timeout_s:g} s"]
            )
            instance.timer.daemon = True
            instance.timer.start()
        return instance

    def take_back(self, instance: Instance) -> None:
        """The caller is done with it. What it has on disk goes before this returns."""
        on_disk = instance.scratch.exists()
        with self._lock:
            if instance not in self._working:
                return
            self._working.discard(instance)
            if not on_disk:
                self._done.append(instance)
                if self._cleaner is None and not self._closed:
                    # No daemon: a thread inside DuckDB must not meet the end of the interpreter.
                    self._cleaner = threading.Thread(target=self._clean, name="duckdb-cleaner")
                    self._cleaner.start()
        if on_disk:
            instance.clear()

    def forget(self, instance: Instance) -> None:
        """It is not at work any more. Takes no lock (`_Batches.__del__`): a set forgets in one step."""
        self._working.discard(instance)

    def close(self) -> None:
        """Stop every query and make no more."""
        with self._lock:
            self._closed = True
            working, cleaner = list(self._working), self._cleaner
        for instance in working:
            instance.stop("the compute engine was closed")
        if cleaner:
            cleaner.join()
        self._clean()

    def _clean(self) -> None:
        while True:
            with self._lock:
                old = self._done.pop() if self._done else None
                if old is None and self._closed:
                    old, self._spare = self._spare, None
                if old is None and (self._closed or self._spare is not None):
                    self._cleaner = None
                    return
            if old is not None:
                old.clear()
            else:
                spare = self._make(False)
                with self._lock:
                    self._spare = spare

    def _make(self, on_disk: bool) -> Instance:
        scratch = self.folder / f"query-{os.getpid()}-{next(_NUMBERS)}"
        try:
            if on_disk:
                scratch.mkdir(parents=True)
            # DuckDB makes one folder, not two
            connection = duckdb.connect(
                str(scratch / "scratch.db") if on_disk else ":memory:",
                config=self.options.config(scratch / "spill" if on_disk else scratch),
            )
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET enable_progress_bar = false")  # it prints to stdout, between the lines of a result
            if on_disk:  # nobody reads the file again
                connection.execute("PRAGMA disable_checkpoint_on_shutdown")
                connection.execute("SET preserve_insertion_order = false")
        except (OSError, duckdb.Error) as error:
            raise disk_error(error, scratch) or error from error
        return Instance(connection, scratch)

    def _sweep(self) -> None:
        """Clear away what killed processes of this machine have left in the scratch folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if number_of(error) is None:
                raise
            return  # read-only or full: a query in memory needs no folder, and one that spills reports it
        for left in self.folder.glob("query-*-*"):
            process = left.name.split("-")[1]
            if process.isdigit() and not _alive(int(process)):
                shutil.rmtree(left, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
