"""A unit's place on a salted line [0, 1): the first 53 bits of SHA-256 of `salt:unit`, in Python and in SQL the same
bits.

A cryptographic hash of salt and unit keeps experiments independent of one another and of any order in the ids
(Kohavi, Tang, Xu, Trustworthy Online Controlled Experiments, 2020, ch. 4; FIPS 180-4). 53 bits are what a double holds
exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

_UNIT = 2.0**-53


def bucket(salt: str, unit: Any) -> float:
    """The place of `str(unit)` on the line of this salt: a multiple of 2**-53 in [0, 1).

    >>> bucket("late_model", "2013-11-01-UA-9-EWR")
    0.8482211951070622
    """
    return (int.from_bytes(sha256(f"{salt}:{unit}".encode()).digest()[:7], "big") >> 3) * _UNIT


def sql(salt: str, column: str) -> str:
    """DuckDB text of the same double. `column` is an SQL expression of strings; NULL gives NULL."""
    text = salt.replace("'", "''")
    return f"((('0x' || substr(sha256('{text}:' || {column}), 1, 14))::bigint >> 3)::double / 9007199254740992)"


def layer_salt(layer: str) -> str:
    """The line that experiments of one layer share."""
    return f"layer/{layer}"


def arm_salt(experiment: str, phase: int, draw: int = 0) -> str:
    """The line on which a unit's arm lies: new in every phase, and for a bandit with every snapshot of its posterior
    (`draw`).
    """
    return f"arm/{experiment}/{phase}" if not draw else f"arm/{experiment}/{phase}/{draw}"


def pick(position: float, probabilities: Mapping[str, float]) -> str:
    """The arm whose part of the line holds the position; the parts lie in the order of the arms.

    >>> pick(0.5, {"a": 0.5, "b": 0.5})
    'b'
    """
    reached = 0.0
    arm = ""
    for arm, probability in probabilities.items():
        reached += probability
        if position < reached:
            return arm
    return arm  # the sum may be a rounding below 1


def pick_sql(position: str, probabilities: Mapping[str, float]) -> str:
    """The same as `pick`, in SQL over an expression of the position."""
    reached, cases = 0.0, []
    for arm, probability in probabilities.items():
        reached += probability
        cases.append((reached, arm))
    whens = " ".join(f"when {position} < {edge!r}::double then {_literal(arm)}" for edge, arm in cases[:-1])
    return f"case {whens} else {_literal(cases[-1][1])} end" if whens else _literal(cases[-1][1])


def even(arms: Sequence[str]) -> dict[str, float]:
    """The same probability for all."""
    return {arm: 1.0 / len(arms) for arm in arms}


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
