"""Selectors, and the layout of the graph."""

from __future__ import annotations

import pytest

from millstream.app.console.graph import Node, layout
from millstream.base.errors import UsageError
from millstream.run.select import KINDS as ALL
from millstream.run.select import select

UPS = {"s": [], "t": ["s"], "u": ["t"], "f": ["s"], "m": ["u", "f"]}
KINDS = {"s": "stream", "t": "table", "u": "table", "f": "features", "m": "model"}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], "stufm"),
        (["t"], "t"),
        (["+u"], "stu"),
        (["t+"], "tum"),
        (["+t+"], "stum"),
        (["kind:table"], "tu"),
        (["state:changed"], "f"),
        (["t", "f"], "tf"),
    ],
)
def test_selectors(words: list[str], names: str) -> None:
    assert "".join(select(words, UPS, KINDS, lambda: ["f"])) == names


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("sheduled", 'no asset "sheduled"; did you mean "scheduled"?'),
        ("+sheduled+", 'no asset "sheduled"; did you mean "scheduled"?'),
        ("kind:modle", 'no kind "modle"; did you mean "model"?'),
        ("kind:", 'no kind ""; there are source, stream, table, features, training_set, model'),
        ("state:chnged", 'no selector "state:chnged"; did you mean "state:changed"?'),
        ("knd:table", 'no selector "knd:table"; did you mean "kind:table"?'),
        ("owner:me", 'no selector "owner:me"; there are NAME, +NAME, NAME+, kind:KIND and state:changed'),
    ],
)
def test_a_word_that_names_nothing_is_refused_with_a_guess(word: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        select([word], {"scheduled": []}, {"scheduled": "stream"}, list)
    assert str(refused.value) == says


def test_a_kind_of_which_a_project_has_none_selects_nothing() -> None:
    assert select(["kind:model"], {"s": []}, {"s": "stream"}, list) == []


def test_kinds_are_those_of_the_steps() -> None:
    from millstream.run import intake, steps

    made = [
        c
        for module in (intake, steps)
        for name, c in vars(module).items()
        if name.endswith("Step") and getattr(c, "kind", None)
    ]
    assert {c.kind for c in made} == set(ALL)


def test_layout_puts_what_is_made_right_of_what_it_is_made_from_and_survives_a_cycle() -> None:
    names = ["a", "b", "c", "d"]
    drawing = layout([Node(n, "table", "/") for n in names], [("a", "b"), ("b", "c"), ("a", "d"), ("c", "a")])
    x = {n.name: n.x for n in drawing.nodes}
    assert x["b"] < x["c"]
    boxes = {(n.x, n.y) for n in drawing.nodes}
    assert len(boxes) == 4
    assert len(drawing.edges) == 4
