"""Floats in JSON, which has no NaN and no infinity: they are the texts "NaN", "Infinity" and "-Infinity", since `null`
is NULL.
"""

from __future__ import annotations

import math
from typing import Any


def named(value: Any) -> Any:
    """Builtins with such floats as texts, keys and nested values too.

    >>> named({"a": [float("nan"), 1.5, None], "b": float("-inf")})
    {'a': ['NaN', 1.5, None], 'b': '-Infinity'}
    """
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        )
    if isinstance(value, dict):
        return {named(key): named(held) for key, held in value.items()}
    return [named(held) for held in value] if isinstance(value, list | tuple) else value


def finite(value: Any) -> bool:
    """Whether no float in it is NaN or infinite.

    >>> finite([1.5, None, "x"]), finite({"a": float("nan")})
    (True, False)
    """
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    return (
        all(map(finite, value))
        if isinstance(value, list | tuple)
        else not isinstance(value, float) or math.isfinite(value)
    )
