"""What the console's pages are made of: the layout of graphs, rates, charts."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest

from millstream.app.console import charts
from millstream.app.console.graph import HEIGHT, Drawing, Node, layout
from millstream.app.console.rates import WINDOW_S, Rates


def drawn(edges: list[tuple[str, str]], names: list[str] | None = None) -> Drawing:
    found = names or list(dict.fromkeys(name for edge in edges for name in edge))
    return layout([Node(name, "table", f"/tables/{name}") for name in found], edges)


def test_a_chain_lies_on_a_line_from_left_to_right() -> None:
    boxes = drawn([("a", "b"), ("b", "c"), ("c", "d")]).nodes
    assert [box.name for box in boxes] == ["a", "b", "c", "d"]
    assert len({round(box.y, 3) for box in boxes}) == 1
    assert all(left.x < right.x for left, right in pairwise(boxes))


def test_feedback_is_drawn_below_everything_and_moves_nothing() -> None:
    there = drawn([("a", "b"), ("b", "c")])
    back = drawn([("a", "b"), ("b", "c"), ("c", "a")])
    assert [(n.name, n.x, n.y) for n in back.nodes] == [(n.name, n.x, n.y) for n in there.nodes]
    floor = max(
        float(y)
        for y in re.findall(r"[-\d.]+ ([-\d.]+)", next(path for s, t, path in back.edges if (s, t) == ("c", "a")))
    )
    assert floor > max(node.y for node in back.nodes) + HEIGHT
    assert back.height > floor


def test_boxes_never_overlap_and_stay_inside_whatever_the_graph() -> None:
    draw = random.Random(7)
    for _ in range(60):
        names = [f"n{i}" for i in range(draw.randint(1, 24))]
        edges = [(a, b) for a in names for b in names if draw.random() < 0.08]
        found = drawn(edges, names)
        assert {node.name for node in found.nodes} == set(names)
        for one in found.nodes:
            assert 0 <= one.x <= found.width - found.box and 0 <= one.y <= found.height - HEIGHT
            for other in found.nodes:
                apart = abs(one.x - other.x) >= found.box or abs(one.y - other.y) >= HEIGHT
                assert one is other or apart, (one, other)


def test_a_project_without_nouns_has_an_empty_drawing() -> None:
    assert layout([], []).nodes == () and layout([], []).edges == ()


def test_a_rate_is_the_slope_of_the_last_seconds_however_many_look() -> None:
    now = 0.0
    rates = Rates(lambda: now)
    assert rates.see("s", 1_000) is None
    for step in range(1, 41):  # two browsers, each every second, half a second apart
        now = step / 2
        seen = rates.see("s", 1_000 + 50 * step)
        assert seen is None if now < 0.8 else seen == pytest.approx(100)
    now += 2 * WINDOW_S
    assert rates.see("s", 9_000) is None, "nobody had looked for long: the mean over that time is not a present rate"
    now += 1
    assert rates.see("s", 9_500) == pytest.approx(500)
    now += 1
    assert rates.see("s", 10) is None, "the topic was made anew"
    assert rates.see("other", 5) is None


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.502, 0.954), (0.0, 1.0), (3.0, 3.0), (0.0, 0.0), (-5.0, 12.0), (1e-9, 2e-9), (0.0, 123_456.0), (-3.0, -2.0)],
)
def test_axes_hold_their_values_between_round_marks(low: float, high: float) -> None:
    svg = charts.lines({"a": [(0, low), (1, high)]}, label="x")
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", svg)]
    assert all(charts.TOP - 0.1 <= y <= charts.H - charts.BOTTOM + 0.1 for y in heights)
    marks = re.findall(r'text-anchor="end">([^<]+)<', svg)
    assert 2 <= len(marks) <= 8 and len(set(marks)) == len(marks), marks


def test_charts_name_their_series_and_axes_and_take_names_as_text() -> None:
    svg = charts.lines({"<b>": [(0, 1.0), (1, 2.0)]}, label='"quoted"', x_name="day <1>", y_name="share")
    assert (
        "<b>" not in svg
        and "&lt;b&gt;" in svg
        and "day &lt;1&gt;" in svg
        and ">share<" in svg
        and 'aria-label="&quot;quoted&quot;"' in svg
    )
    bars = charts.bars([("<i>", 3.0)], label="x", names=["n<o>"])
    assert "<i>" not in bars and "n<o>" not in bars
    assert "Nothing to draw yet" in charts.lines({}, label="x") and "Nothing to draw yet" in charts.bars([], label="x")
