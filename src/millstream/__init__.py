"""Millstream turns raw events into models that are trained, served, experimented on, watched and explained.

`import millstream as ms` shows nine nouns (`stream`, `source`, `table`, `features`, `training_set`, `model`, `experiment`,
`endpoint`, `monitor`), the types they are written with, and four vocabularies: `agg`, `read`, `assign`, `expect`.
"""

from typing import TYPE_CHECKING, Any

from millstream.declare.endpoint import decisions, endpoint
from millstream.declare.event import ArrivalTime, Change, Event, EventTime, field
from millstream.declare.experiment import assign, experiment
from millstream.declare.features import agg, features
from millstream.declare.front import keep_nouns as _keep_nouns
from millstream.declare.model import Train, model
from millstream.declare.monitor import expect, monitor
from millstream.declare.outcome import outcome
from millstream.declare.source import read, source
from millstream.declare.stream import stream
from millstream.declare.table import table
from millstream.declare.training_set import by_time, training_set

if TYPE_CHECKING:
    from millstream.declare.load import load

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

_keep_nouns(__name__)


def __getattr__(name: str) -> Any:
    """`load` is imported when it is asked for: declaring needs none of it."""
    if name == "load":
        from millstream.declare.load import load

        return load
    raise AttributeError(f"module 'millstream' has no attribute {name!r}")
