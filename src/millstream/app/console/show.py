"""What pages are made of: grids, figures, sections; and values as people read them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from millstream.declare.noun import Noun

Values = dict[str, Any]
PAGES = {
    "table": "tables",
    "stream": "tables",
    "training_set": "tables",
    "model": "models",
    "experiment": "experiments",
    "endpoint": "endpoints",
    "monitor": "monitors",
}


@dataclass(frozen=True)
class Link:
    """A cell that leads somewhere; `mono` for ids."""

    text: str
    href: str
    mono: bool = False


@dataclass(frozen=True)
class Tag:
    """A word of state, in its colour."""

    word: str


@dataclass(frozen=True)
class Bar:
    """A share from 0 to 1 to look at; `mark` is where it becomes too much."""

    share: float
    mark: float | None = None
    tone: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of cells: text, None (NULL), Link, Tag or Bar.

    Attributes:
        name: Of the element that is refreshed in place.
        right: Columns of numbers.
        wide: Columns of sentences, which wrap; in all others a long value is cut, and whole in its title.
        empty: What to say, and which command fills it, when there is no row; `words in backticks` become code.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    name: str = "grid"
    right: Collection[str] = ()
    wide: Collection[str] = ()
    empty: str = "Nothing yet."


@dataclass(frozen=True)
class Figure:
    """One number with its name."""

    name: str
    value: str
    unit: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page below its heading; what is None or empty is left out."""

    title: str
    text: str = ""
    grid: Grid | None = None
    code: str = ""
    charts: Sequence[tuple[str, str]] = ()
    html: str = ""
    facts: Sequence[tuple[str, object]] = ()
    chips: Sequence[str] = ()
    half: bool = False


def link(noun: Noun) -> str:
    """The page of a noun."""
    return f"/{PAGES.get(noun.kind, noun.kind)}/{noun.name}"


def text(value: object) -> str | None:
    """A value as a cell's text; None stays None, so that NULL and the empty text look different.

    >>> text(1234567), text(0.123456789), text(True), text(None)
    ('1,234,567', '0.1235', 'yes', None)
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {text(v)}" for k, v in value.items() if v not in (None, ""))
    if isinstance(value, list | tuple):
        return ", ".join(str(text(v)) for v in value)
    return str(value)


def number(value: float) -> str:
    """Four digits, and thousands apart.

    >>> number(12345.678), number(0.00001234), number(3.0)
    ('12,346', '1.234e-05', '3')
    """
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def run_page(run_id: str) -> str:
    """Where a run is shown; other orchestrators' names hold what an address may not."""
    return f"/runs/{quote(run_id)}"


def moment(value: datetime | str) -> str:
    """A time to the second, in UTC; also of ISO text.

    >>> moment("2026-03-01T12:00:00.123+00:00")
    '2026-03-01 12:00:00'
    """
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return (at.astimezone(UTC) if at.tzinfo else at).strftime("%Y-%m-%d %H:%M:%S")


def rate(value: float | None) -> str:
    """Events a second; a dash while it is not known.

    >>> rate(None), rate(0.0), rate(0.25), rate(1234.5)
    ('–', '0', '0.2', '1,234')
    """
    if value is None:
        return "–"
    return f"{value:.1f}" if 0 < value < 10 else f"{value:,.0f}"


def seconds(value: float | str | None) -> str:
    """A duration for people.

    >>> seconds(0.0214), seconds(3.21), seconds(75.0), seconds(None)
    ('21 ms', '3.2 s', '1 min 15 s', '')
    """
    if value is None or isinstance(value, str):
        return ""
    if value < 1:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s" if value < 60 else f"{value // 60:,.0f} min {value % 60:.0f} s"


def grid(rows: Sequence[Mapping[str, Any]], *, name: str, empty: str, wide: Collection[str] = ()) -> Grid:
    """A grid of plain values by column; columns of numbers are found."""
    columns = list(rows[0]) if rows else []
    right = {c for c in columns if any(isinstance(r[c], int | float) and not isinstance(r[c], bool) for r in rows)}
    cells = [[v if isinstance(v, Link | Tag | Bar) else text(v) for v in (r[c] for c in columns)] for r in rows]
    return Grid(columns, cells, name, right, wide, empty)


def code(words: str) -> Markup:
    """Text with `backticks` as code, everything else as it is.

    >>> code("run `a < b`")
    Markup('run <code>a &lt; b</code>')
    """
    parts = str(words).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)
    )
