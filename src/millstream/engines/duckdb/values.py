"""Python values as typed parameters: an int is BIGINT whatever its size, a float DOUBLE, a datetime TIMESTAMPTZ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import duckdb

from millstream.base.errors import WorkFailed


def bind(names: Iterable[str], params: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a statement's placeholders ask for; the project has more parameters than one query uses.

    Raises:
        WorkFailed: A placeholder has no value, or a time has no zone.
    """
    missing = sorted(set(names) - set(params))
    if missing:
        known = ", ".join(f"${name}" for name in sorted(params)) or "none"
        raise WorkFailed(
            f"the query asks for ${missing[0]}, which has no value; known: {known}; set it under [params] of"
            " millstream.toml"
        )
    return {name: _typed(name, params[name]) for name in names}


def _typed(name: str, value: Any) -> Any:
    # Bare ints would be INTEGER or BIGINT by their size, so a result's type would change with a parameter's value.
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return duckdb.Value(value, "BIGINT" if -(2**63) <= value < 2**63 else "HUGEINT")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise WorkFailed(f"${name} is {value!r}, a time without a zone; give it one, e.g. {value.isoformat()}+00:00")
    if isinstance(value, list | tuple):
        return [_typed(name, item) for item in value]
    if isinstance(value, Mapping):
        return {key: _typed(name, item) for key, item in value.items()}
    return value
