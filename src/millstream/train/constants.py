"""The project's parameters as JSON, and back: dates and moments keep their type, since an expression over one compiles
by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

_DATE, _MOMENT = "$date", "$moment"


def plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold. A parameter is a single value, so an object is one of ours.

    >>> plain({"big": 100, "day": date(2026, 1, 5)})
    {'big': 100, 'day': {'$date': '2026-01-05'}}
    """
    return {name: _plain(value) for name, value in params.items()}


def typed(told: Mapping[str, Any]) -> dict[str, Any]:
    """What `plain` was given.

    >>> typed({"big": 100, "day": {"$date": "2026-01-05"}})
    {'big': 100, 'day': datetime.date(2026, 1, 5)}
    """
    return {name: _typed(value) for name, value in told.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return {_MOMENT: value.isoformat()}
    return {_DATE: value.isoformat()} if isinstance(value, date) else value


def _typed(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return date.fromisoformat(value[_DATE]) if _DATE in value else datetime.fromisoformat(value[_MOMENT])
