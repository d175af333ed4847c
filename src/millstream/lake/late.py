"""Which rows are late: a function of the log alone, the same in every sink and in a repair."""

from __future__ import annotations

from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


def late(times: Ints, arrived: Ints, newest: int, lateness_us: int) -> tuple[Bools, int]:
    """Rows of one partition in the order of the log, against the watermark before each; and the newest time after them.

    A row that arrived within the lateness of its own time is not late, wherever it stands in the log: history arrives
    at its own time, and its files are read side by side, a batch of each at a time. No time counts as later than its
    arrival: one sender's clock that runs ahead would make all others late and mature every label.

    Args:
        times, arrived: Microseconds since 1970.
        newest: The newest time before the first of them.
    """
    before = np.maximum.accumulate(np.concatenate(([newest], np.minimum(times, arrived))))
    return (times < before[:-1] - lateness_us) & (arrived - lateness_us > times), int(before[-1])
