"""The graph of a project, and the pages of error codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millstream.base.errors import UsageError
from millstream.base.words import choices

if TYPE_CHECKING:
    from millstream.run.workspace import Workspace


def graph(ws: Workspace, limit: int = 0) -> list[dict[str, Any]]:
    """Every noun, what it is made from, and what is made from it."""
    g = ws.project.graph
    return [
        {
            "name": name,
            "kind": ws.project.by_name[name].kind,
            "from": " ".join(g.upstream(name)),
            "to": " ".join(g.downstream(name)),
        }
        for name in g.order()
        if name in ws.project.by_name
    ]


def page(code: str) -> str:
    """The page of an error code."""
    from millstream.declare.pages import PAGES

    if code not in PAGES:
        raise UsageError(f"no page {code}; {choices(code, sorted(PAGES))}")
    return PAGES[code]
