"""Millstream turns raw events into models that are trained, served, experimented on, watched and explained.

`import millstream as ms` shows nine nouns (`stream`, `source`, `table`, `features`, `training_set`, `model`,
`experiment`, `endpoint`, `monitor`), the types they are written with, and four vocabularies: `agg`, `read`, `assign`,
`expect`.
"""

from __future__ import annotations

from millstream.declare.front import keep_nouns as _keep_nouns

# As type checkers know it: `typing` costs more than all else here, before the command line can be stopped without a
# traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from millstream.base.event import ArrivalTime, EventTime
    from millstream.declare.endpoint import decisions, endpoint
    from millstream.declare.event import Change, Event, field
    from millstream.declare.experiment import assign, experiment
    from millstream.declare.features import agg, features
    from millstream.declare.load import load
    from millstream.declare.model import Train, model
    from millstream.declare.monitor import expect, monitor
    from millstream.declare.outcome import outcome
    from millstream.declare.source import read, source
    from millstream.declare.stream import stream
    from millstream.declare.table import table
    from millstream.declare.training_set import by_time, training_set

__all__ = [
    "ArrivalTime",
    "Change",
    "Event",
    "EventTime",
    "Train",
    "agg",
    "assign",
    "by_time",
    "decisions",
    "endpoint",
    "expect",
    "experiment",
    "features",
    "field",
    "load",
    "model",
    "monitor",
    "outcome",
    "read",
    "source",
    "stream",
    "table",
    "training_set",
]

# Where each name is found. It is imported when it is asked for: the command line's help needs none of them, nor Arrow
# behind them.
_DOORS = {
    "ArrivalTime": "event",
    "Change": "event",
    "Event": "event",
    "EventTime": "event",
    "Train": "model",
    "agg": "features",
    "assign": "experiment",
    "by_time": "training_set",
    "decisions": "endpoint",
    "endpoint": "endpoint",
    "expect": "monitor",
    "experiment": "experiment",
    "features": "features",
    "field": "event",
    "load": "load",
    "model": "model",
    "monitor": "monitor",
    "outcome": "outcome",
    "read": "source",
    "source": "source",
    "stream": "stream",
    "table": "table",
    "training_set": "training_set",
}

_keep_nouns(__name__)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _DOORS:
        return _missing(name)
    found = globals()[name] = getattr(import_module(f"millstream.declare.{_DOORS[name]}"), name)
    return found


def _missing(name: str) -> Any:
    """A mistake of the project that is loading; a room is found by the import that asks for it."""
    from importlib.util import find_spec

    if name.startswith("_") or find_spec(f"millstream.{name}") is not None:
        raise AttributeError(f"module 'millstream' has no attribute {name!r}")
    from importlib import import_module

    from millstream.declare.missing import missing

    return missing(
        "ms", name, {word: getattr(import_module(f"millstream.declare.{file}"), word) for word, file in _DOORS.items()}
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
