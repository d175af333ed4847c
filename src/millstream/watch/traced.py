"""What a prediction was made from, as plain values and as a tree for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.tree import Tree


@dataclass(frozen=True)
class ModelTrace:
    """The version that predicted, and what it was trained from."""

    model: str
    version: int
    run_id: str
    trained_at: datetime
    training_set: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class RowTrace:
    """One event that a feature was made of, or one row of a table.

    Attributes:
        time: Of a timeless table None.
        partition, offset, event_id, arrived_at: None for a row of a table.
        commit: Version of the lake table whose commit brought it, and the offsets [start, end) of that commit; None
            when the history of commits does not say.
        file: Of the lake, as it is now, that holds it: below the lake's folder, or a URL.
        source: File and line, or the id it was sent with; of a table, what the version that was read is built from.
    """

    time: datetime | None
    values: Mapping[str, Any]
    partition: int | None
    offset: int | None
    event_id: str | None
    arrived_at: datetime | None
    commit: Mapping[str, int] | None
    file: str | None
    source: str | None


@dataclass(frozen=True)
class FeatureTrace:
    """One feature of the decision.

    Attributes:
        what: In words: operation, expression, source, key, window.
        definition: Fingerprint of the generation that answered; "" for a derived column.
        start, end: The window [start, end); start is None when it reaches back to the beginning. Over a table it ends
            where the rows begin that were not known yet.
        as_of: Partition -> offset: only events below it had been applied. Over a table 0 -> the version that answered.
        table_version: Of the lake table the rows were read from, just now.
        count: Rows it was made of.
        rows: The newest of them.
        live: They are events of a stream; else rows of a table.
    """

    column: str
    value: Any
    reason: str | None
    what: str
    definition: str = ""
    stream: str = ""
    key: Mapping[str, Any] = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None
    as_of: Mapping[int, int] = field(default_factory=dict)
    table_version: int | None = None
    count: int = 0
    rows: Sequence[RowTrace] = ()
    live: bool = True


@dataclass(frozen=True)
class Trace:
    """A decision and all it came from."""

    endpoint: str
    decision: Mapping[str, Any]
    request: Mapping[str, Any]
    place: Mapping[str, Any]
    model: ModelTrace | None
    features: Sequence[FeatureTrace]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; times are ISO 8601. A feature's rows are flat: time, values, partition, offset, source, commit,
        file.
        """
        told: dict[str, Any] = plain(asdict(self))
        for feature in told["features"]:
            feature["rows"] = [
                {
                    "time": r["time"],
                    **r["values"],
                    "partition": r["partition"],
                    "offset": r["offset"],
                    "source": r["source"],
                    "commit": (r["commit"] or {}).get("version"),
                    "file": r["file"],
                    "arrived_at": r["arrived_at"],
                }
                for r in feature["rows"]
            ]
        return told

    def tree(self) -> Tree:
        """For the terminal."""
        from millstream.watch.render import tree

        return tree(self)


def plain(value: Any) -> Any:
    """JSON-able: times as ISO 8601, keys as strings."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value.isoformat() if isinstance(value, datetime) else value
