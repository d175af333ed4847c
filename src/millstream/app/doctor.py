"""`doctor`: is what a project stands on there, and is what it wrote whole?"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from millstream.base.errors import ClockWrong, Corrupt, MillstreamError, NotFound, Transient, UsageError
from millstream.base.moments import spelled
from millstream.base.secrets import hide
from millstream.base.words import choices, counted
from millstream.declare.source import FileReader
from millstream.declare.table import Table
from millstream.declare.training_set import TrainingSet
from millstream.run.sources import source_engines
from millstream.run.trouble import said
from millstream.serve.decisions import all_streams

if TYPE_CHECKING:
    from millstream.declare.stream import Stream
    from millstream.run.workspace import Workspace

FLOOR_BYTES = 1_000_000_000
DO = "do what the message says"
"""Of a finding whose own words name the fix."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `status`: "ok", "warn", "fixed", "bad"; `fix` says what to do about a bad one."""

    what: str
    status: str
    found: str
    fix: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "found", hide(self.found))  # of libraries' errors, too


def examine(ws: Workspace, *, fix: bool = False, losses: Collection[str] = ()) -> list[Finding]:
    """Look at the machine, the engines, the tails of the lake's tables, rows that lie too far ahead, and streams that cannot continue.

    Args:
        fix: Cut torn tails off; positions fall with them, and the log fills the tables again. Move rows that lie too far ahead to the dead letters.
        losses: Streams whose records may be given up where the log no longer holds what would be cut off.
    """
    looks = [_machine(ws), _engines(ws), _clocks(ws), _sources(ws), _tables(ws, fix, losses), _ahead(ws, fix), _streams(ws), _catalog(ws)]
    found = [finding for look in looks for finding in _each(look)]
    return [*found, *_each(_waiting(ws, {f.found for f in found}))]


def _each(look: Iterator[Finding]) -> Iterator[Finding]:
    """What it finds; a look that fails is a finding too, and the others are made."""
    try:
        yield from look
    except Exception as error:
        yield Finding(getattr(look, "__name__", "").strip("_"), "bad", said(error), DO)


def _machine(ws: Workspace) -> Iterator[Finding]:
    yield Finding(
        "python", "ok" if sys.version_info >= (3, 11) else "bad", platform.python_version(), "" if sys.version_info >= (3, 11) else "use Python 3.11 or newer"
    )
    free = shutil.disk_usage(ws.project.root).free
    yield Finding(
        "disk",
        "ok" if free > FLOOR_BYTES else "bad",
        f"{free / 1e9:.1f} GB free",
        "" if free > FLOOR_BYTES else "free some space: appends are refused on a full disk",
    )
    wanted = {"lightgbm": "flights", "sklearn": "flights"}
    text = "\n".join(path.read_text(encoding="utf-8") for path in ws.project.root.glob("*.py"))
    for module, extra in wanted.items():
        if f"import {module}" in text or f"from {module}" in text:
            there = importlib.util.find_spec(module) is not None
            yield Finding(module, "ok" if there else "bad", "installed" if there else "not installed", "" if there else f'pip install "millstream[{extra}]"')


def _engines(ws: Workspace) -> Iterator[Finding]:
    looks: dict[str, Callable[[], str]] = {
        "log": lambda: counted(len(ws.log.topics()), "topic"),
        "lake": lambda: counted(len(ws.lake.names()), "table"),
        "state": lambda: counted(len(ws.state.list("run")), "run"),
        "online": lambda: _filled(len(ws.online.generations())),
    }
    for name, look in looks.items():
        try:
            yield Finding(name, "ok", look())
        except (MillstreamError, OSError) as error:
            yield Finding(name, "bad", str(error), f"look at the setting {name}: millstream config --show-origin")
            if isinstance(error, Transient):  # the looks that follow ask for it too, and each would wait as long again
                vars(ws)[name] = _Away(error)


class _Away:
    """Stands for an engine that was waited for once and does not answer."""

    def __init__(self, error: Transient) -> None:
        self._error = error

    def __getattr__(self, name: str) -> NoReturn:
        raise self._error.with_traceback(None)


def _filled(definitions: int) -> str:
    return "no features are filled yet" if not definitions else f"{definitions} definition{'' if definitions == 1 else 's'} of features filled"


def release(ws: Workspace, stream: str) -> Finding:
    """Take the stream's newest append for one that a wrong clock stamped: doors no longer wait for it.

    Raises:
        NotFound: No such stream.
        UsageError: The newest append does not lie ahead of the clock.
    """
    from millstream.ingest.doors import LEAST_US, RELEASED, wall_us

    streams = all_streams(ws.project)
    if stream not in streams:
        raise NotFound(f'no stream "{stream}"; {choices(stream, streams)}')
    newest = _newest(ws, stream)
    if newest is None or newest - wall_us() <= max(streams[stream].ahead_us, LEAST_US):
        raise UsageError(f'stream "{stream}" needs no release: its newest append does not lie ahead of this machine\'s clock')
    ws.state.put(RELEASED, stream, {"append_us": newest})
    return Finding("clock", "fixed", f'stream "{stream}" no longer waits for its append from {spelled(newest)}')


def _clocks(ws: Workspace) -> Iterator[Finding]:
    """This machine's clock against the newest append of each stream: one of the two is wrong where it lies behind."""
    from millstream.ingest.doors import LEAST_US, released_us, wall_us

    agree, bad = 0, False
    try:
        for name, stream in all_streams(ws.project).items():
            newest, now = _newest(ws, name), wall_us()
            if newest is None:
                continue
            if newest - now <= max(stream.ahead_us, LEAST_US) or newest <= (released_us(ws.state, name) or 0):
                agree += 1
                continue
            bad = True
            later = _changed_later(ws, now)
            why = (
                f"this machine's clock is wrong: {later} was changed later than that"
                if later
                else "the append's clock was wrong, as far as the project's files tell"
            )
            yield Finding("clock", "bad", f'stream "{name}": the newest append is from {spelled(newest)}, this machine\'s clock shows {spelled(now)}; {why}',
                          "set this machine's clock" if later else f"if this machine's clock is right: millstream doctor --release {name}")  # fmt: skip
    except (MillstreamError, OSError):
        return  # the engines' own findings say what does not answer
    if agree and not bad:
        yield Finding("clock", "ok", f"not behind the newest append of {counted(agree, 'stream')}")


def _sources(ws: Workspace) -> Iterator[Finding]:
    """Files that were replaced, are gone before they were read, or cannot be read: what `ingest` stops at; and what becomes of the others."""
    from millstream.ingest.pump import standings
    from millstream.run import sources
    from millstream.run.step import size
    from millstream.run.unmatched import told

    for source, engine in source_engines(ws.project):
        try:
            found = standings(ws.log, source, engine)
        except (MillstreamError, OSError) as error:
            yield Finding(f"source {source.name}", "bad", str(error), DO)
            continue
        stopped = {s.split: why for s in found if (why := sources.unreadable(engine, s)) is not None}
        for split, why in stopped.items():
            yield Finding(f"file {split}", "bad", str(why), DO)
        fine = [s for s in found if s.split not in stopped]
        if fine:
            yield Finding(f"source {source.name}", "ok", sources.summary(fine, size(sources.left(fine))))
        elif not found and isinstance(source.reader, FileReader):
            yield Finding(f"source {source.name}", "warn", told(source, source.reader.glob, ws.project.root))


def _newest(ws: Workspace, stream: str) -> int | None:
    return None if ws.log.topic(stream) is None else ws.log.newest(stream)


def _changed_later(ws: Workspace, now_us: int) -> str:
    """A file of the project that was changed after this moment: a witness that the moment is not now. "" when there is none."""
    files = [path for kind in ("*.py", "*.toml", "tables/*.sql") for path in ws.project.root.glob(kind)]
    newest = max(files, key=lambda path: path.stat().st_mtime_ns, default=None)
    return newest.name if newest is not None and newest.stat().st_mtime_ns // 1000 > now_us + 60_000_000 else ""


def _ahead(ws: Workspace, fix: bool) -> Iterator[Finding]:
    """Rows of streams whose times lie too far ahead: from before doors refused such records, or from a time when a clock was wrong."""
    try:
        streams = [stream for name, stream in all_streams(ws.project).items() if ws.lake.exists(name)]
    except (MillstreamError, OSError):
        return  # the engines' own findings say what does not answer
    for stream in streams:
        try:
            yield from _ahead_in(ws, stream, fix)
        except (MillstreamError, OSError) as error:
            yield Finding(f"rows of {stream.name}", "bad", str(error), DO)


def _ahead_in(ws: Workspace, stream: Stream[Any], fix: bool) -> Iterator[Finding]:
    from millstream.declare.event import Change
    from millstream.ingest.doors import wall_us
    from millstream.lake.far import look
    from millstream.lake.move import move, open_bound

    try:
        table = ws.lake.table(stream.name)
    except Corrupt:
        return  # the table's own finding says so
    what, topic = f"rows of {stream.name}", ws.log.topic(stream.name)
    begun = None if topic is None else open_bound(table, topic)
    found = look(table, stream, begun or wall_us() + stream.ahead_us)
    if found is None and begun is None:
        return
    if issubclass(stream.event, Change):
        yield Finding(what, "ok", f"{found}; changes stay whatever their time, or the state that they lead to would be wrong")
        return
    now = _trusted_us(ws, stream)
    if not fix:
        left = "a move of its rows to the dead letters was begun and not finished"
        yield Finding(what, "bad", "; ".join([*([left] if begun else []), *([str(found)] if found else [])]), "millstream doctor --fix")
        return
    done = move(ws.log, ws.lake, stream, now + stream.ahead_us)
    if done is not None:
        yield Finding(what, "fixed", f"{done}. Its features and what is made from it are made again; the letters are in {stream.name}__dead")


def _trusted_us(ws: Workspace, stream: Stream[Any]) -> int:
    """Now, where no stream's newest append and, without any, no file of the project says that this machine's clock is wrong.

    Raises:
        ClockWrong: One does: by such a clock, every row may seem to lie ahead.
    """
    from functools import partial

    from millstream.ingest.doors import Doors, released_us

    doors = Doors(ws.log, released=partial(released_us, ws.state))  # that have not asked yet
    for other in all_streams(ws.project).values():
        doors.of(other).refresh()
        doors.of(other).now_us()
    now = doors.of(stream).now_us()
    if all(_newest(ws, name) is None for name in all_streams(ws.project)) and (later := _changed_later(ws, now)):
        raise ClockWrong(f"this machine's clock shows {spelled(now)}, but {later} was changed later than that; set the clock")
    return now


def _catalog(ws: Workspace) -> Iterator[Finding]:
    from millstream.lake.catalog import behind

    if ws.catalog is None:
        return
    try:
        late, gone = behind(ws.lake, ws.catalog)
    except MillstreamError as error:
        yield Finding("catalog", "bad", str(error), "look at the setting catalog: millstream config --show-origin")
        return
    lag = [f"behind: {', '.join(late)}" if late else "", f"has what is gone: {', '.join(gone)}" if gone else ""]
    found = "; ".join(text for text in lag if text)
    yield Finding("catalog", "bad" if found else "ok", found or "up to date", "the next pass of `millstream up` or `run` makes up for it" if found else "")


def _streams(ws: Workspace) -> Iterator[Finding]:
    """Streams whose sink cannot continue."""
    from millstream.run import trouble

    for name, stream in all_streams(ws.project).items():
        try:
            why = trouble.why(ws, stream)
        except (MillstreamError, OSError):
            continue  # the engines' own findings say what does not answer
        if why:
            yield Finding(f"stream {name}", "bad", why, DO)


def _waiting(ws: Workspace, known: Collection[str]) -> Iterator[Finding]:
    """What failed last time and was not found above: monitors, experiments, assets, sources."""
    from millstream.run import trouble

    try:
        waiting = [one for one in trouble.found(ws.state) if one.part != trouble.SINK and one.why not in known]
    except (MillstreamError, OSError):
        return
    for one in waiting:
        yield Finding(f"{one.part} {one.name}", "bad", one.why, f"{DO}; the next try is {one.next[:19] or 'the next run'}")


def _lost(ws: Workspace, name: str) -> Iterator[Finding]:
    """Data files that are gone: what the log can fill again is damage of the tail, and this is the rest."""
    from millstream.lake.lost import missing

    try:
        table = ws.lake.table(name)
        gone = list(missing(table))
    except MillstreamError as error:
        yield Finding(f"table {name}", "bad", str(error), DO)
        return
    if gone:
        more = f" and {len(gone) - 1:,} more" if len(gone) > 1 else ""
        noun = "its data file" if len(gone) == 1 else "its data files"
        derived = isinstance(ws.project.by_name.get(name), Table | TrainingSet)
        way = (f"; or build it again from what it is made from: delete the folder {ws.files.root}/{name}, then  millstream run {name}") if derived else ""
        yield Finding(f"table {name}", "bad", f"{noun} {gone[0]}{more} (version {table.version}) {'is' if len(gone) == 1 else 'are'} lost",
                      f"put back what is lost from a copy of the lake{way}")  # fmt: skip


def _tables(ws: Workspace, fix: bool, losses: Collection[str]) -> Iterator[Finding]:
    from millstream.app.losses import accept
    from millstream.lake.cut import cut, needed

    for name in ws.lake.names():
        try:
            damage = needed(ws.files, name)
        except MillstreamError as error:
            yield Finding(f"table {name}", "bad", str(error), DO)
            continue
        if not damage:
            yield from _lost(ws, name)
            continue
        if fix:
            try:
                cut(ws.lake, ws.log, name, lossy=name in losses)
            except MillstreamError as error:
                yield Finding(f"table {name}", "bad", str(error), DO)
                continue
            given = [str(gap) for _, gaps in (accept(ws, [name]) if name in losses else []) for gap in gaps]
            yield Finding(
                f"table {name}", "fixed", "; ".join([f"{damage}; cut off, the log fills it again with the next run", *(f"given up {gap}" for gap in given)])
            )
        else:
            yield Finding(f"table {name}", "bad", str(damage), "millstream doctor --fix")
