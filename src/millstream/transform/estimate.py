"""What a build would read and write, from the lake's own records without running anything; for `plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from millstream.base.moments import moment_us
from millstream.declare.table import Table
from millstream.transform.build import How, Work
from millstream.transform.increments import Span, drivers, spans
from millstream.transform.recipe import Recipe

if TYPE_CHECKING:
    from millstream.lake.lake import Lake
    from millstream.lake.table import LakeTable


@dataclass(frozen=True)
class Estimate:
    """Of one build. Bytes are those of whole files; an engine that skips columns reads fewer.

    Attributes:
        rows: To be read; exact for whole and appending builds.
        written: Rows to be written: as many as the part of the table that is replaced has now, or as are read.
        kind: How the table would be built; "nothing" when no input has anything new.
        missing: Inputs that are not in the lake yet; they count nothing.
        spans: Intervals that would be replaced, in microseconds, as far as files' statistics tell.
    """

    kind: How
    rows: int = 0
    bytes: int = 0
    written: int = 0
    written_bytes: int = 0
    missing: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()


def estimate(table: Table, lake: Lake, params: Mapping[str, Any], *, full: bool = False) -> Estimate:
    """What `build` with the same arguments would do now."""
    recipe = Recipe.of(table, params)
    missing = tuple(name for name in recipe.inputs if not lake.exists(name))
    if missing:
        there = [lake.table(name) for name in recipe.inputs if name not in missing]
        return Estimate("full", sum(map(_rows, there)), sum(map(_bytes, there)), missing=missing)
    work = Work.open(recipe, lake, None, 0)
    how = "full" if full else work.how()
    if how == "nothing":
        return Estimate("nothing")
    if how == "append":
        found = _appended(work)
        if found is not None:
            return found
    if how == "intervals":
        found = _replaced(work)
        if found is not None:
            return found
    sources = list(work.sources.values())
    rows, size = sum(map(_rows, sources)), sum(map(_bytes, sources))
    before = work.target
    return Estimate("full", rows, size, _rows(before) if before else rows, _bytes(before) if before else size)


def _appended(work: Work) -> Estimate | None:
    (name,) = work.inputs
    news = work.news(name)
    if news is None or news.rewritten:
        return None
    rows, size = _of(work.sources[name], news.added.files)
    return Estimate("append", rows, size, rows, size)


def _replaced(work: Work) -> Estimate | None:
    """The driving source is read where its intervals are re-opened; the others whole, since a join may look
    anywhere.
    """
    step, moment, target = work.recipe.step, work.recipe.time, work.target
    if step is None or moment is None or target is None:
        return None
    newest = max((high for _, high, _, _ in _ranges(target, moment)), default=None)
    driving = {driver.table: driver.column for driver in drivers(work.recipe.text, moment, work.inputs)}
    if newest is None or not driving:
        return None
    found: list[Span] = []
    for name, column in driving.items():
        news = work.news(name)
        if news is None or column is None or (news.rewritten and news.time != column):
            return None
        new = set(news.added.files)
        touched = [(low, high) for low, high, path, _ in _ranges(work.sources[name], column) if path in new] + list(
            news.spans
        )
        found += [(step.floor(low), step.ceil(high + 1)) for low, high in touched]
    plan = spans(found, newest, step)
    rows = size = 0
    for name, source in work.sources.items():
        part = _within(source, driving[name] or "", plan) if name in driving else (_rows(source), _bytes(source))
        rows, size = rows + part[0], size + part[1]
    written = _within(target, moment, plan)
    return Estimate("intervals", rows, size, *written, spans=plan)


def _ranges(table: LakeTable, column: str) -> list[tuple[int, int, str, tuple[int, int]]]:
    """(least, greatest, path, (rows, bytes)) of each file, times in microseconds; files without bounds are left out."""
    found = []
    for row in table.actions().to_pylist():
        low, high = row.get(f"min.{column}"), row.get(f"max.{column}")
        if isinstance(low, datetime) and isinstance(high, datetime):
            path = f"{table.files.root}/{table.name}/{row['path']}"
            found.append((moment_us(low), moment_us(high), path, (row["num_records"] or 0, row["size_bytes"])))
    return found


def _within(table: LakeTable, column: str, plan: tuple[Span, ...]) -> tuple[int, int]:
    """Rows and bytes of the part of the table inside the intervals, taking each file's rows as evenly spread over its
    range.
    """
    rows = size = 0.0
    for low, high, _, (count, weight) in _ranges(table, column):
        inside = sum(max(0, min(high + 1, end) - max(low, start)) for start, end in plan) / (high + 1 - low)
        rows, size = rows + count * inside, size + weight * inside
    return round(rows), round(size)


def _of(table: LakeTable, files: tuple[str, ...]) -> tuple[int, int]:
    wanted = {path.removeprefix(f"{table.files.root}/{table.name}/") for path in files}
    chosen = [row for row in table.actions().to_pylist() if row["path"] in wanted]
    return sum(row["num_records"] or 0 for row in chosen), sum(row["size_bytes"] for row in chosen)


def _rows(table: LakeTable) -> int:
    return table.rows()


def _bytes(table: LakeTable) -> int:
    return table.bytes()
