"""What the two readers share: a features noun with its expressions compiled, and the fingerprint that names its data."""

from __future__ import annotations

from dataclasses import dataclass

from millstream.declare.expression import Expression
from millstream.declare.features import Operation


@dataclass(frozen=True)
class Output:
    """One aggregate: what it does to which value. `value` indexes `Definition.values`; None counts events."""

    name: str
    operation: Operation
    value: int | None
    default: float | int | None = None


@dataclass(frozen=True)
class Definition:
    """One generation of features.

    Attributes:
        generation: Fingerprint (hex) of all below and of the layout of the state; it names the data kept for it.
        name: Of the noun, for messages.
        stream: The stream (or row-wise table over one stream) it reads.
        time: Its column of event time.
        key: The key's columns.
        values: The distinct expressions aggregated, and each one's scale (decimal places kept in sums).
        where: Which events count.
        windows_us: Lengths; None reaches back to the beginning.
    """

    generation: str
    name: str
    stream: str
    time: str
    key: tuple[str, ...]
    values: tuple[tuple[Expression, int], ...]
    where: Expression | None
    outputs: tuple[Output, ...]
    windows_us: tuple[int | None, ...]
