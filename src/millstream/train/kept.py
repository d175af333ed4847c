"""How many rows of its spine a training set kept, and why the others are not in it.

Each row is counted once, by the first reason that holds, in the order of `REASONS`; so kept and left out add up to the
rows of the spine. No row is left out for its features: one that nothing is known of has counts of 0 and NULL for the
rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millstream.train.dataset import Dataset

NO_TIME, OUTSIDE, WHERE, IMMATURE, UNLABELLED, PURGED = (
    "no_time",
    "outside",
    "where",
    "immature",
    "unlabelled",
    "purged",
)
REASONS = {
    NO_TIME: "without a time",
    OUTSIDE: "at or after until",
    WHERE: "not chosen by where",
    IMMATURE: "immature (the time for their label has not passed)",
    UNLABELLED: "without a label",
    PURGED: "whose label reaches over an edge of the split",
}


def counting(table: str, time: str, bound_us: int, until_us: int | None, where: str | None) -> str:
    """SQL for one row: `total`, and how many rows are out before labels are looked at.

    Args:
        where: SQL of the condition that rows must meet; None: none.
    """
    at = f'epoch_us("{time}")'
    timed, inside = f'"{time}" is not null', f"{at} < {until_us}" if until_us is not None else "true"
    chosen = f"coalesce({where}, false)" if where is not None else "true"
    counted = {
        NO_TIME: f"not ({timed})",
        OUTSIDE: f"{timed} and not ({inside})",
        WHERE: f"{timed} and {inside} and not ({chosen})",
        IMMATURE: f"{timed} and {inside} and {chosen} and {at} >= {bound_us}",
    }
    return (
        "select count(*) as total,"
        f' {", ".join(f"count(*) filter ({test}) as {name}" for name, test in counted.items())} from "{table}"'
    )


def sentence(dataset: Dataset) -> str:
    """One line for people; "" for a set that was stored before this was counted.

    3,875 of 6,589 rows of departures kept; left out: 2,031 immature (the time for their label has not passed), 683
    without a label
    """
    if dataset.total is None:
        return ""
    return f"{sum(dataset.rows.values()):,} of {dataset.total:,} rows of {dataset.spine} kept; {left(dataset.left_out)}"


def left(counts: Mapping[str, int]) -> str:
    """The rows that were left out, by reason."""
    told = [f"{counts[name]:,} {words}" for name, words in REASONS.items() if counts.get(name)]
    return f"left out: {', '.join(told)}" if told else "none left out"
