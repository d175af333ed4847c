"""`outcome`: what became of it. One truth with four readers: label, reward, experiment metric, performance monitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from millstream.base.duration import micros
from millstream.declare.arguments import checked
from millstream.declare.duration import Span
from millstream.declare.features import Aggregate
from millstream.declare.noun import Term
from millstream.declare.plain import Text
from millstream.declare.rules import Columns
from millstream.declare.stream import Stream

Answer = bool | int | float | Annotated[str, Text(empty=True)]
"""What an outcome may say."""
Credit = Literal["all", "last", "first"]


@dataclass(frozen=True, kw_only=True)
class Outcome(Term):
    """See `outcome`. `value` is an expression taken from the first event, or an aggregate over all."""

    stream: Stream[Any]
    on: tuple[str, ...]
    within_us: int
    where: str | None
    value: str | Aggregate
    otherwise: Answer | None
    credit: Credit

    @checked
    def score(self, expression: str) -> Reward:
        """A reward in SQL over `outcome`, `prediction`, `arm` and the request's fields; higher is better, always."""
        return Reward(outcome=self, expression=expression)


@dataclass(frozen=True, kw_only=True)
class Reward(Term):
    """What a decision was worth, once its outcome is mature."""

    outcome: Outcome
    expression: str


@checked
def outcome(
    stream: Stream[Any],
    *,
    on: Columns,
    within: Span,
    where: str | None = None,
    value: str | Aggregate = "true",
    otherwise: Answer | None = None,
    credit: Credit = "all",
) -> Outcome:
    """What the events after a moment say about it.

    Counts the events with equal `on` columns (and `where`) strictly after the row's moment and no later than `within`.
    Mature only when the stream's watermark has passed moment + `within`, for early answers too.

    Args:
        on: The join columns, of the same names in the spine (or `decision_id`).
        within: The horizon.
        value: SQL over the event, taken from the first one; or an aggregate over all.
        otherwise: What no event means; None: no label.
        credit: Which rows share one event when several could: all of them, the last or the first before it.
    """
    return Outcome(
        stream=stream,
        on=(on,) if isinstance(on, str) else tuple(on),
        within_us=micros(within),
        where=where,
        value=value,
        otherwise=otherwise,
        credit=credit,
    )
