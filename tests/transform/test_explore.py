"""A profile as a page and in the terminal: well formed, alone in the world, and whatever the data says it
stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from millstream.base.event import TIMESTAMP
from millstream.base.registry import engine
from millstream.transform.column import Histogram, Profile
from millstream.transform.explore import _distinct, fragment, html, plain, remarks, sparkline, terminal
from millstream.transform.port import Sql
from millstream.transform.profile import profile


class Page(HTMLParser):
    """Checks that elements nest and end, and keeps what is in them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.seen if name == tag]

    def said(self, tag: str) -> list[str]:
        return [text for name, text in self.text if name == tag]


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sql]:
    made: Sql = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


def flights(rows: int = 4000) -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "origin": random.choice(["EWR", "JFK", "LGA"], rows, p=[0.5, 0.3, 0.2]),
            "delay": pa.array(random.exponential(12, rows), mask=random.random(rows) < 0.02),
            "distance": random.integers(80, 4983, rows),
            "tail": [f"N{i}" for i in random.integers(0, 3000, rows)],
            "ts": pa.array(1_357_000_000_000_000 + random.integers(0, 10**13, rows), TIMESTAMP),
            "none": pa.nulls(rows, pa.string()),
            "one": pa.array([7] * rows),
            "late": random.random(rows) < 0.2,
            "odd": np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows)),
            "wild": random.standard_cauchy(rows),
            "nested": pa.array([{"a": 1, "b": [1, 2]}] * rows),
            "sparse": pa.array([1.5, 2.5] + [None] * rows, pa.float64()).slice(0, rows),
        }
    )


HOSTILE = "</style><script>alert(1)</script>\"'&amp;"
TABLES: dict[str, pa.Table] = {
    "flights": flights(),
    "empty": flights(0),
    "no columns": pa.table({}),
    "all null": pa.table(
        {n: pa.nulls(3, f.type) for n, f in zip(flights(0).column_names, flights(0).schema, strict=True)}
    ),
    "wide": pa.table({f"c{i}": [i, i + 1, i + 1] for i in range(300)}),
    "nested": pa.table(
        {
            "list": [[1], None],
            "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
            "raw": [b"\0\xff", None],
        }
    ),
    "unicode": pa.table(
        {"łódź": ["東京", "🇵🇱👩‍👩‍👧", None], "مرحبا": ["שלום", "\u202eevil", "a\nb\tc"], " ": ["", " ", "x" * 5000]}
    ),
    "hostile": pa.table({HOSTILE: [HOSTILE, HOSTILE, "\x1b[31m\x00"]}),
}


@pytest.fixture(scope="module")
def profiles(sql: Sql) -> dict[str, Profile]:
    return {name: profile(sql, table) for name, table in TABLES.items()}


@pytest.mark.parametrize("name", TABLES)
def test_a_page_is_well_formed_and_refers_to_nothing_outside(profiles: dict[str, Profile], name: str) -> None:
    text = html(profiles[name], title=HOSTILE if name == "hostile" else name)
    page = Page(text)
    ids = [attrs["id"] for _, attrs in page.seen if "id" in attrs]
    assert len(ids) == len(set(ids)) == len(TABLES[name].column_names)
    assert [attrs["href"] for attrs in page.all("a")] == [f"#{i}" for i in ids], "links lead within the page"
    assert not page.all("script") and not page.all("link") and not page.all("img") and not page.all("iframe")
    assert not [
        a
        for _, attrs in page.seen
        for a in attrs
        if a in ("src", "srcset", "action", "data", "xlink:href") or a.startswith("on")
    ]
    styles = "".join(page.said("style"))
    assert (
        "http" not in text
        and "url(" not in styles
        and "@import" not in styles
        and "prefers-color-scheme: dark" in styles
    )
    assert text.isprintable() or not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", text), (
        "no control character reaches the page"
    )
    assert len(page.all("main")) == 1 and len(page.all("h1")) == 1 and page.all("meta")[0] == {"charset": "utf-8"}


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_there(profiles: dict[str, Profile], name: str) -> None:
    found = profiles[name]
    page = Page(fragment(found))
    assert len(page.all("article")) == len(found.columns)
    drawn = [column for column in found.columns if column.histogram]
    labels = [a["aria-label"] for a in page.all("svg") if a.get("role") == "img"]
    assert len(labels) == len(drawn) and all(label and label.startswith("Histogram of ") for label in labels)
    assert not page.all("html") and not page.all("main"), "a part of a page, not one"


def test_the_page_says_what_the_profile_knows(profiles: dict[str, Profile]) -> None:
    found = profiles["flights"]
    text = html(found, title="flights")
    page = Page(text)
    words = " ".join(t for _, t in page.text)
    assert "4,000 rows, 12 columns." in words and page.said("title")[0] == "flights: profile"
    assert (
        f"{found['delay'].nulls:,} (" in words and "EWR" in words and f"{dict(found['origin'].top)['EWR']:,} (" in words
    )
    hovered = page.said("title")[1:]
    bins = found["distance"].histogram
    assert (
        bins is not None
        and sum(1 for c in bins.counts if c) <= len(hovered)
        and any(re.fullmatch(r"[\d,]+ to [\d,]+: \d+", t) for t in hovered)
    )
    assert (
        "no value" in words
        and "one value only" in words
        and f"{found['odd'].odd:,} NaN or infinite" in words
        and "mostly empty" in words
    )
    assert any(t.startswith("above ") for t in hovered) and any(t.startswith("below ") for t in hovered), (
        "the tails of a wild column"
    )
    assert "2013-01-01" in words and "struct<a: int64" in words


def test_the_json_marks_counts_of_distinct_values_that_are_estimates(profiles: dict[str, Profile]) -> None:
    """The terminal has a ~ before them; the JSON had the number alone."""
    for one in profiles.values():
        for column, said in zip(one.columns, plain(one)["columns"], strict=True):
            assert (
                said["distinct_is_estimate"] == _distinct(column).startswith("~")
                and said["distinct"] == column.distinct
            )
    assert {c["distinct_is_estimate"] for one in profiles.values() for c in plain(one)["columns"]} == {True, False}


def test_a_sample_and_a_version_are_said(sql: Sql) -> None:
    table = pa.table({"x": np.arange(30_000.0)})
    assert "1,000 rows drawn at random of 30,000, 1 column" in html(profile(sql, table, sample=1000))
    assert ", version 12." in html(Profile("t", 12, 0, 0))


def printed(found: Profile, width: int) -> list[str]:
    out = StringIO()
    Console(file=out, width=width, color_system=None).print(terminal(found))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("name", TABLES)
def test_the_terminal_keeps_its_width_and_loses_no_column(profiles: dict[str, Profile], name: str, width: int) -> None:
    from rich.cells import cell_len

    lines = printed(profiles[name], width)
    assert max(map(cell_len, lines)) <= width and "\x1b" not in "".join(lines)
    if profiles[name].columns:
        head = next(line for line in lines if line.startswith("column"))
        assert head.split() == ["column", "nulls", "distinct", "values"]
        body = lines[lines.index(head) + 1 :]
        assert len(body) == 2 * len(profiles[name].columns), "two lines a column"


def test_the_terminal_tells_the_shape(profiles: dict[str, Profile]) -> None:
    lines = printed(profiles["flights"], 120)
    by = {
        line.split()[0]: (line, lines[i + 1])
        for i, line in enumerate(lines)
        if line and not line.startswith(" ") and i + 1 < len(lines)
    }
    assert "█" in by["delay"][0] and ", median " in by["delay"][0] and "EWR 50." in by["origin"][1]
    assert "100 %" in by["none"][0] and "no value" in by["none"][0] and "one value only" in by["one"][1]


@pytest.mark.parametrize(
    ("counts", "line"),
    [((0, 0), "  "), ((1, 0, 8), "▁ █"), ((5,), "█"), ((), ""), (tuple([1] * 39 + [1000]), "▁" * 19 + "█")],
)
def test_sparklines(counts: tuple[int, ...], line: str) -> None:
    assert sparkline(Histogram(0.0, 1.0, counts)) == line


def test_most_columns_need_no_remark(profiles: dict[str, Profile]) -> None:
    told: dict[str, Any] = {c.name: remarks(c) for c in profiles["flights"].columns if remarks(c)}
    assert set(told) == {"none", "one", "odd", "sparse"}


def test_a_page_of_many_columns_is_small(profiles: dict[str, Profile], tmp_path: Path) -> None:
    (tmp_path / "wide.html").write_text(html(profiles["wide"]), encoding="utf-8")
    assert (tmp_path / "wide.html").stat().st_size < 300 * 5000
