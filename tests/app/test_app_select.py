"""Selectors, and the layout of the graph."""

from __future__ import annotations

import pytest

from millstream.app.console.graph import Node, layout
from millstream.app.run.select import select
from millstream.declare.errors import UsageError

UPS = {"s": [], "t": ["s"], "u": ["t"], "f": ["s"], "m": ["u", "f"]}
KINDS = {"s": "stream", "t": "table", "u": "table", "f": "features", "m": "model"}


@pytest.mark.parametrize(
    ("words", "names"),
    [([], "stufm"), (["t"], "t"), (["+u"], "stu"), (["t+"], "tum"), (["+t+"], "stum"), (["kind:table"], "tu"), (["state:changed"], "f"), (["t", "f"], "tf")],
)
def test_selectors(words: list[str], names: str) -> None:
    assert "".join(select(words, UPS, KINDS, lambda: ["f"])) == names


def test_a_word_that_names_nothing_is_refused_with_a_guess() -> None:
    with pytest.raises(UsageError, match='did you mean "scheduled"'):
        select(["sheduled"], {"scheduled": []}, {}, list)


def test_layout_puts_what_is_made_right_of_what_it_is_made_from_and_survives_a_cycle() -> None:
    names = ["a", "b", "c", "d"]
    drawing = layout([Node(n, "table", "/") for n in names], [("a", "b"), ("b", "c"), ("a", "d"), ("c", "a")])
    x = {n.name: n.x for n in drawing.nodes}
    assert x["b"] < x["c"]
    boxes = {(n.x, n.y) for n in drawing.nodes}
    assert len(boxes) == 4
    assert len(drawing.edges) == 4
