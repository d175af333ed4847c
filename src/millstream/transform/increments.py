"""Which intervals of a table its sources' new rows re-open.

Two rules. The newest interval done and those within the lookback before it are done again whenever any source has
something new. And whatever is new in the source that the table's time column comes from (its driving source) re-opens
exactly the intervals in which its rows fall, however late they are; other sources reach back as far as the lookback
says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from millstream.base.errors import DefinitionError, Truncated
from millstream.lake import deltalog
from millstream.lake.port import Snapshot
from millstream.transform.parse import Increment, lineage, tree
from millstream.transform.port import Sql

if TYPE_CHECKING:
    from millstream.lake.table import LakeTable

Span: TypeAlias = tuple[int, int]
_MOST = 8  # spans a run; nearer ones are joined, so that one very scattered batch is not a hundred commits


@dataclass(frozen=True)
class Driver:
    """Where the time column comes from: a table, and its column when the value is passed on unchanged."""

    table: str
    column: str | None


@dataclass(frozen=True)
class News:
    """What changed in a source since a version.

    Attributes:
        added: The source, holding its new files only.
        rewritten: Rows that were there have gone as well.
        spans: When they went by intervals of a column, those intervals; and `time`, that column.
    """

    added: Snapshot
    rewritten: bool = False
    spans: tuple[Span, ...] = ()
    time: str | None = None


def news(source: LakeTable, since: int, whole: Snapshot) -> News:
    """What the source holds at `whole.version` that it did not at `since`.

    Raises:
        Truncated: Its log no longer reaches back that far.
    """
    files: dict[str, Mapping[str, Any]] = {}
    found: list[tuple[str | None, Span]] = []
    rewritten = False
    for commit in deltalog.commits(source.files, source.name, since, whole.version):
        gone = any(commit.removed.values())
        if gone and commit.user.get("span"):
            low, high = commit.user["span"]
            found.append((commit.user.get("time"), (low, high)))
        elif gone:
            found.append((None, (0, 0)))
        rewritten = rewritten or gone
    values = dict(zip(whole.files, whole.partitions or ({},) * len(whole.files), strict=True))
    for path in source.added(since):
        if path not in values and whole.partitions:
            raise Truncated(f'table "{source.name}": the partition of {path} is not known any more')
        files[path] = values.get(path, {})
    added = replace(whole, files=tuple(files), partitions=tuple(files.values()) if whole.partitions else ())
    columns = {column for column, _ in found}
    time = columns.pop() if len(columns) == 1 else None
    return News(added, rewritten, tuple(span for _, span in found) if time else (), time)


def drivers(sql: str, time: str, inputs: Mapping[str, Snapshot]) -> tuple[Driver, ...]:
    """The sources whose columns make the time column; empty when that is not known."""
    try:
        pairs = lineage(sql, {name: snapshot.schema for name, snapshot in inputs.items()}).get(time, ())
    except DefinitionError:
        return ()
    plain = _plain(sql, time) if len(pairs) == 1 else None
    return tuple(Driver(table, column if column == plain else None) for table, column in dict(pairs).items())


def _plain(sql: str, time: str) -> str | None:
    """The name of the column that the query's own select list passes on as `time` from a table it reads itself."""
    from sqlglot import exp

    query = tree(sql)
    if not isinstance(query, exp.Select) or query.args.get("with_") or any(query.find_all(exp.Subquery)):
        return None
    for item in query.expressions:
        if item.alias_or_name.lower() == time.lower():
            column = item.unalias()
            return column.name if isinstance(column, exp.Column) else None
    return None


def touched(
    sql: Sql,
    text: str,
    time: str,
    driver: Driver,
    added: Snapshot,
    inputs: Mapping[str, Snapshot],
    params: Mapping[str, Any],
    step: Increment,
) -> list[Span]:
    """The intervals in which what was added to the driving source falls.

    Args:
        added: The driving source, holding its new files only.
        params: With `start` and `end` bound wide.
    """
    if not added.files:
        return []
    new = {**inputs, driver.table: added}
    moment = f'"{driver.column}" from "{driver.table}"' if driver.column else f'"{time}" from (\n{text}\n)'
    length = step.length_us or 1
    start = f"e - (e % {length} + {length}) % {length}"  # floor, before 1970 as well
    reader = sql.query(
        f"select distinct {start} from (select epoch_us(t::timestamptz) from (select {moment}) as _(t) where t is not"
        " null) as _(e)",
        new,
        params,
    )
    return [(low, low + length) for batch in reader for low in batch.column(0).to_pylist()]


def spans(found: Iterable[Span], newest_us: int, step: Increment) -> tuple[Span, ...]:
    """What to rebuild, in order and without overlap: the intervals found, the one of the newest row so far and the
    lookback before it.
    """
    assert step.length_us
    start = step.floor(newest_us)
    again = (step.floor(start - step.lookback_us), start + step.length_us)
    merged: list[Span] = []
    for low, high in sorted([*found, again]):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    while len(merged) > _MOST:
        gap = min(range(len(merged) - 1), key=lambda i: merged[i + 1][0] - merged[i][1])
        merged[gap : gap + 2] = [(merged[gap][0], merged[gap + 1][1])]
    return tuple(merged)
