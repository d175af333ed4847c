"""What a fault did, told in one table when the tests are done: `make test-faults` is for that table."""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Attributes:
        killed: What died: "kafka#2, leader of a partition".
        under: What continued meanwhile.
        seconds: From its death until what continued was as before, as `how` says.
        rows: That went through, and were proven to be there once.
    """

    killed: str
    under: str
    seconds: float
    how: str
    rows: int
    lost: int = 0
    doubled: int = 0


FAULTS = pytest.StashKey[list[Fault]]()


def table(faults: list[Fault]) -> list[str]:
    """Lines of text, columns aligned."""
    head = ("killed", "under", "s to recover", "measured to", "rows", "lost", "doubled")
    rows = [(f.killed, f.under, f"{f.seconds:.1f}", f.how, f"{f.rows:,}", str(f.lost), str(f.doubled)) for f in faults]
    wide = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return [
        "  ".join(
            cell.rjust(w) if i in (2, 4, 5, 6) else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, wide, strict=True))
        )
        for row in (head, *rows)
    ]
