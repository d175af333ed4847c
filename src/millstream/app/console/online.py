"""Where the online state of features stands, in words: of a stream as records behind its log, of a table as the version
that answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from millstream.app.console.show import Figure, Grid
from millstream.declare.stream import Stream
from millstream.features.define import define

if TYPE_CHECKING:
    from millstream.declare.features import Features
    from millstream.features.port import Applied
    from millstream.run.workspace import Workspace


@dataclass(frozen=True)
class Stand:
    """Where it stands.

    Attributes:
        note: Below its box in the graph.
        figure: On its own page.
    """

    note: str
    figure: Figure


_EMPTY = Stand("not filled yet", Figure("Online", "not filled", "`millstream run` fills it"))


def stand(ws: Workspace, features: Features) -> Stand:
    """Of features over a stream, or over a table."""
    applied = _applied(ws, features)
    if applied is None or not applied.active:
        return _EMPTY
    return (
        _of_stream(ws, features, applied) if isinstance(features.source, Stream) else _of_table(ws, features, applied)
    )


def positions(ws: Workspace, features: Features) -> Grid | None:
    """What the state has applied: offsets of a log, or the version of a table. None where nothing has begun to
    fill it.
    """
    applied = _applied(ws, features)
    if applied is None:
        return None
    if not isinstance(features.source, Stream):
        return Grid(["table", "version"], [[features.source.name, f"{_version(applied)}"]], "applied", ("version",))
    told = [[str(p), f"{offset:,}"] for p, offset in sorted(applied.offsets.items())]
    return Grid(["partition", "next offset"], told, "applied", ("partition", "next offset"))


def _applied(ws: Workspace, features: Features) -> Applied | None:
    return ws.online.applied(define(features, ws.project.params).generation)


def _of_stream(ws: Workspace, features: Features, applied: Applied) -> Stand:
    name = features.source.name
    ends = ws.log.ends(name) if ws.log.topic(name) is not None else {}
    lag = sum(max(0, end.high - applied.offsets.get(p, 0)) for p, end in ends.items())
    return Stand(f"live · {lag:,} behind", Figure("Online", f"{lag:,}", "records behind the log"))


def _of_table(ws: Workspace, features: Features, applied: Applied) -> Stand:
    """A table's features answer from one version of it until a run fills another; a version without a changed row is
    none to fill.
    """
    from millstream.features.fill import current

    name, at = features.source.name, _version(applied)
    if current(ws.lake, ws.online, define(features, ws.project.params), features.source):
        return Stand(f"live · version {at}", Figure("Online", f"version {at}", f"of {name}, which has no newer rows"))
    return Stand(
        f"stale · version {at}",
        Figure("Online", f"version {at}", f"of {name}, which was rebuilt: `millstream run` fills it", "warn"),
    )


def _version(applied: Applied) -> int:
    return applied.offsets.get(0, 0)
