"""How the splits of sources stand, in the words of `run`, `plan` and `doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from millstream.base.errors import MillstreamError
from millstream.base.registry import engine
from millstream.declare.source import FileReader, Source

if TYPE_CHECKING:
    from millstream.declare.project import Project
    from millstream.ingest.port import SourceEngine, Standing

NAMED = 3
OPENED = 100
"""How many splits that wait a plan opens. What cannot be read waits at each plan, and is among the first when its
neighbours are read.
"""


def source_engines(project: Project, sources: Iterable[Source] | None = None) -> list[tuple[Source, SourceEngine]]:
    """The pulled ones of these sources, or of all of the project, each with the engine that reads it."""
    chosen = project.sources.values() if sources is None else sources
    return [
        (s, engine("source", f"{s.reader.kind}:")(s, project.root)) for s in chosen if isinstance(s.reader, FileReader)
    ]


def left(found: Iterable[Standing]) -> int:
    """Bytes to read."""
    return sum((s.size or 0) - s.done for s in found)


def few(names: Sequence[str]) -> str:
    """The first names, and how many there are beside them."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def count(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"


def unreadable(engine: SourceEngine, standing: Standing) -> Exception | None:
    """Why a split stands still, or why its next record cannot be read: it may not be opened, is cut off, or is
    something else.
    """
    if standing.error is not None or standing.idle or standing.moved_from is not None:
        return standing.error
    try:
        next(iter(engine.read(standing.split, standing.position, 1)), None)
    except (MillstreamError, OSError) as error:
        return error
    return None


def apart(found: Iterable[tuple[SourceEngine, Standing]]) -> tuple[list[Standing], list[str]]:
    """Splits that can be read, as far as a look at their next record says, and why the others cannot."""
    fine: list[Standing] = []
    stopped: list[str] = []
    opened = 0
    for reader, standing in found:
        opened += not standing.idle
        why = unreadable(reader, standing) if opened <= OPENED else standing.error
        if why is None:
            fine.append(standing)
        else:
            stopped.append(str(why))
    return fine, stopped


def summary(found: Sequence[Standing], size: str) -> str:
    """What was read, what waits, and what holds nothing. `size`: of what waits."""
    empty, waits = [s.split for s in found if s.empty], sum(s.size is None or s.done < s.size for s in found)
    read = len(found) - len(empty) - waits
    said = [
        f"{count(read, 'file', 'files')} read to the end" if read else "",
        f"{count(waits, 'file', 'files')} with {size} to read" if waits else "",
    ]
    return ", ".join([*(text for text in said if text), *([f"no record in {few(empty)}"] if empty else [])])
