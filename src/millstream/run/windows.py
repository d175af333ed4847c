"""What the windows of duplicates cost: the ids that each sink and updater of a stream has to remember."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from millstream.base.duration import spell
from millstream.base.event import ARRIVED_AT
from millstream.declare.stream import Stream
from millstream.lake import scan
from millstream.log.dedupe import Cost, cost
from millstream.ports import Engines
from millstream.run.step import size
from millstream.serve.decisions import all_streams

WORTH_TELLING = 1_000_000
"""Ids. Fewer cost less than 25 MB."""
DAY_US = 86_400_000_000
A_RATE = 1_000
"""Records a second, for streams whose own rate nobody knows yet."""


@dataclass(frozen=True)
class Window:
    """The window of one stream.

    Attributes:
        ids: That arrived within it, up to the newest record in the table; at most, since files are counted whole.
    """

    stream: str
    within_us: int
    ids: int

    @property
    def cost(self) -> Cost:
        return cost(self.ids)

    def __str__(self) -> str:
        return f"{self.stream}: {self.ids:,} ids in dedupe_within={spell(self.within_us)}, {_shown(self.cost)}"


def measured(ws: Engines) -> Iterator[Window]:
    """The windows of streams that dedupe, by what their tables hold."""
    for stream in all_streams(ws.project).values():
        if stream.dedupe is not None and ws.lake.exists(stream.name):
            yield Window(stream.name, stream.dedupe_within_us, _ids(ws, stream))


def _ids(ws: Engines, stream: Stream[Any]) -> int:
    table = ws.lake.table(stream.name)
    newest = max(
        (row[f"max.{ARRIVED_AT}"] for row in table.actions().to_pylist() if row.get(f"max.{ARRIVED_AT}")), default=None
    )
    if newest is None:
        return 0
    low = newest - timedelta(microseconds=min(stream.dedupe_within_us, 1000 * 365 * DAY_US))
    return sum(row["num_records"] or 0 for row in scan.candidates(table, {ARRIVED_AT: (low, None)}))


def declared(streams: Iterable[Stream[Any]]) -> Iterator[str]:
    """What windows of more than a day would cost, before anything is known of the rates."""
    for stream in streams:
        if stream.dedupe is not None and stream.dedupe_within_us > DAY_US:
            ids = stream.dedupe_within_us * A_RATE // 1_000_000
            yield (
                f"{stream.name}: dedupe_within={spell(stream.dedupe_within_us)} is {ids:,} ids at {A_RATE:,} records a"
                f" second, {_shown(cost(ids))}"
            )


def _shown(price: Cost) -> str:
    return f"{size(price.memory)} of memory and {size(price.disk)} of scratch disk in each sink and updater"
