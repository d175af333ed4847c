"""What the two readers share: a features noun with its expressions compiled, and the fingerprint that names
its data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from millstream.base.duration import spell
from millstream.declare.features import Operation
from millstream.lang.expression import Expression

NUMBERS = ("float64", "int64", "bool")
"""Kinds of values; any other is only counted."""


class Value(NamedTuple):
    """An expression that is aggregated.

    Attributes:
        scale: Decimal places kept by sums, means and variances, whose addends are integers of value * 10**scale. None:
            the raw double, for what is only counted or compared, and so has no limit of size. One expression used in
            both ways is two values.
    """

    expression: Expression
    scale: int | None


@dataclass(frozen=True)
class Output:
    """One aggregate: what it does to which value. `value` indexes `Definition.values`; None counts events."""

    name: str
    operation: Operation
    value: int | None
    default: float | int | None = None

    def column(self, window_us: int | None) -> str:
        """`delay_3h`; without a window `delay`."""
        return self.name if window_us is None else f"{self.name}_{spell(window_us)}"


@dataclass(frozen=True)
class Definition:
    """One generation of features.

    Attributes:
        generation: Fingerprint (hex) of all below and of the layout of the state; it names the data kept for it.
        name: Of the noun, for messages.
        stream: The stream or table it reads.
        time: Its column of event time; None for a timeless table, whose rows have always been true.
        key: The key's columns.
        values: The distinct expressions aggregated.
        where: Which events count.
        windows_us: Lengths; None reaches back to the beginning.
        live: The source is a stream, whose rows have a partition, an offset and an arrival time.
        bucket_us, wait_us: A table's row of time t is known at t + wait, or at the end of the bucket (aligned to 1970
            UTC) that t lies in, + wait; a row counts at a moment after that, in both readers. A stream's events are
            known as they arrive, and these are 0.
    """

    generation: str
    name: str
    stream: str
    time: str | None
    key: tuple[str, ...]
    values: tuple[Value, ...]
    where: Expression | None
    outputs: tuple[Output, ...]
    windows_us: tuple[int | None, ...]
    live: bool = True
    bucket_us: int = 0
    wait_us: int = 0

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the answers, output by output and then window by window: `delay_3h`, `delay_7d`, ..."""
        return tuple(output.column(window) for output, window in self.answers())

    @property
    def ruled(self) -> bool:
        """Rows become known by a rule, later than their time."""
        return self.time is not None and (self.bucket_us > 0 or self.wait_us > 0)

    def known_us(self, time_us: int) -> int:
        """When a row of this time is known."""
        return (
            time_us + self.wait_us
            if not self.bucket_us
            else (time_us // self.bucket_us + 1) * self.bucket_us + self.wait_us
        )

    def until_us(self, at_us: int) -> int:
        """Rows before this time, and no others, are known before a moment: `known_us` is the same for all of a bucket
        and else grows with the time.
        """
        until = at_us - self.wait_us
        return max(0, until if not self.bucket_us else -(-until // self.bucket_us) * self.bucket_us - self.bucket_us)

    def known_sql(self, time: str) -> str:
        """`known_us` of an expression of microseconds."""
        return (
            f"({time} + {self.wait_us})"
            if not self.bucket_us
            else f"(({time} // {self.bucket_us} + 1) * {self.bucket_us} + {self.wait_us})"
        )

    def answers(self) -> Iterator[tuple[Output, int | None]]:
        for output in self.outputs:
            for window in self.windows_us:
                yield output, window
