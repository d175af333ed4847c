"""A profile to look at: a page that opens without a network, a part of the console's page, and a table in the
terminal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from millstream.base.words import counted
from millstream.transform.column import Column, Histogram, Profile, spelled

if TYPE_CHECKING:
    from rich.console import RenderableType

_LISTED, _BLOCKS, _CELLS = 8, "▁▂▃▄▅▆▇█", 20
_MARKS = ((0.0, "min"), (0.01, "1 %"), (0.25, "25 %"), (0.5, "50 %"), (0.75, "75 %"), (0.99, "99 %"), (1.0, "max"))
_W, _H = 320, 84
# The console's colours, by the same names, for a page that stands alone.
_PAGE = """:root { --paper: #f7f6f2; --card: #fff; --ink: #1d2430; --quiet: #667085; --line: #e3e1d9;
  --accent: #0f6e84; --accent-soft: #e2f1f4; --warn: #9a5b00; --warn-soft: #fdf0d9; --s0: #0f6e84; --s1: #d1643b;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161d; --card: #1a2029; --ink: #e6e9ef; --quiet: #97a1b3;
  --line: #2b3441; --accent: #5cc2d6; --accent-soft: #16323a; --warn: #f0b657; --warn-soft: #3a2c13; --s0: #5cc2d6;
  --s1: #f0936b; } }
* { box-sizing: border-box; } html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 22px; }
h1 { font-size: 24px; letter-spacing: -.02em; margin: 6px 0 2px; overflow-wrap: anywhere; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
"""


def html(profile: Profile, title: str = "") -> str:
    """The whole page, light or dark as the reader's system is; nothing in it is loaded from elsewhere."""
    name = escape(_printed(title or profile.table or "profile"))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{name}: profile</title><style>{_PAGE}</style>"
    main = f"<h1><bdi>{name}</bdi></h1>\n{fragment(profile)}\n"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>{main}</main></body></html>\n'


def fragment(profile: Profile) -> str:
    """The part below the heading, for a page that has the console's colours."""
    style = files("millstream.transform").joinpath("explore.css").read_text(encoding="utf-8")
    lead = f'<p class="pf-quiet">{escape(_lead(profile))}</p>'
    if not profile.columns:
        return f'<section class="pf"><style>{style}</style>{lead}</section>'
    head = "".join(
        f"<th{' class=n' if right else ''}>{text}</th>"
        for text, right in (("column", 0), ("type", 0), ("nulls", 1), ("distinct", 1), ("values", 0))
    )
    rows = "".join(_row(i, column) for i, column in enumerate(profile.columns))
    cards = "".join(_card(i, column) for i, column in enumerate(profile.columns))
    overview = f'<div class="pf-scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f'<section class="pf"><style>{style}</style>{lead}{overview}<div class="pf-columns">{cards}</div></section>'


def terminal(profile: Profile) -> RenderableType:
    """For rich, two lines a column: histogram as blocks with the range, then the most frequent values; it fits 80
    characters.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("column", no_wrap=True, overflow="ellipsis", min_width=12)
    table.add_column("nulls", justify="right", no_wrap=True, min_width=5)
    table.add_column("distinct", justify="right", no_wrap=True, min_width=8)
    # The only one that gives way: rich shortens what may wrap first, and the cells say that they do not
    table.add_column("values")
    for column in profile.columns:
        spread = Text()
        if column.histogram:
            ends = [_value(column, at) for at in (column.low, column.high, column.quantile(0.5))]
            spread = Text.assemble((sparkline(column.histogram), "cyan"), "  {} to {}, median {}".format(*ends))
        elif column.known and column.kind == "category":
            spread = Text(f"{_cut(str(column.low), 24)} to {_cut(str(column.high), 24)}")
        notes = [Text("; ".join(told), style="yellow")] if (told := remarks(column)) else []
        most = Text("  ").join(
            [
                *notes,
                *(
                    Text.assemble(_cut(value, 20), (f" {_percent(share)}", "dim"))
                    for value, share in _often(column)[:4]
                ),
            ]
        )
        table.add_row(
            Text.assemble((_cut(column.name, 24), "bold"), "\n", (_cut(column.type, 20), "dim")),
            _percent(_share(column.nulls, column.rows)),
            _distinct(column),
            Text.assemble(
                *(part for part in (spread, "\n" if spread and most else "", most) if part),
                no_wrap=True,
                overflow="ellipsis",
            ),
        )
    return Group(Text(_lead(profile), style="dim"), table)


def sparkline(histogram: Histogram) -> str:
    """The bins as a line of blocks; empty ones are blank, and the least full one still shows.

    >>> sparkline(Histogram(0.0, 4.0, (1, 0, 4, 8)))
    '▁ ▄█'
    """
    counts = list(histogram.counts)
    together = max(1, math.ceil(len(counts) / _CELLS))
    cells = [sum(counts[i : i + together]) for i in range(0, len(counts), together)]
    most = max(cells, default=0)
    return "".join(" " if not cell else _BLOCKS[max(0, math.ceil(cell / most * len(_BLOCKS)) - 1)] for cell in cells)


def remarks(column: Column) -> list[str]:
    """What about a column deserves a second look; empty for most."""
    if not column.rows or column.kind == "other":
        return ["no value"] if column.rows and column.nulls == column.rows else []
    if not column.known:
        return ["no value"] if not column.odd else ["no finite value"]
    told = []
    if column.complete and column.distinct == 1:
        told.append("one value only" + (", or none" if column.nulls else ""))
    if column.nulls > column.rows / 2:
        told.append("mostly empty")
    if column.odd:
        told.append(f"{column.odd:,} NaN or infinite")
    if not column.complete and column.kind != "time" and column.top and column.top[0][1] > column.known / 2:
        told.append("one value is more than half")
    return told


def _lead(profile: Profile) -> str:
    looked = counted(profile.rows, "row") + (f" drawn at random of {profile.of:,}" if profile.rows < profile.of else "")
    version = f", version {profile.table_version}" if profile.table_version is not None else ""
    return (
        f"{looked}, {counted(len(profile.columns), 'column')}{version}. Quantiles are exact to 1/256; counts of"
        " distinct values above 256 are estimates."
    )


def _row(i: int, column: Column) -> str:
    drawn = _small(column.histogram) if column.histogram else ""
    if column.kind == "category" and column.known:
        drawn = ", ".join(
            f"<bdi>{escape(_cut(value, 18))}</bdi> <span class=pf-quiet>{_percent(share)}</span>"
            for value, share in _often(column)[:3]
        )
    return (
        f'<tr><td><a href="#pf-{i}"><bdi>{escape(_cut(column.name, 48))}</bdi></a></td><td'
        f' class="pf-type">{escape(_cut(column.type, 32))}</td><td'
        f' class="n">{_percent(_share(column.nulls, column.rows))}</td><td'
        f' class="n">{_distinct(column)}</td><td>{drawn}</td></tr>'
    )


def _card(i: int, column: Column) -> str:
    facts = [
        ("nulls", f"{column.nulls:,}" + (f" ({_percent(_share(column.nulls, column.rows))})" if column.nulls else ""))
    ]
    if column.known and column.kind != "other":
        facts.append(("distinct", _distinct(column)))
    if column.kind == "number" and column.mean is not None:
        facts += [
            ("mean", _number(column.mean)),
            ("deviation", _number(column.std) if column.std is not None and math.isfinite(column.std) else "none"),
        ]
    if column.kind == "time" and column.mean is not None:
        facts.append(("mean", _value(column, column.mean)))
    if column.kind == "category" and column.known and not column.complete:
        facts += [("first", _cut(str(column.low), 24)), ("last", _cut(str(column.high), 24))]
    listed = "".join(f"<li><span>{name}</span> <b>{escape(text)}</b></li>" for name, text in facts)
    tags = "".join(f'<span class="pf-remark">{escape(text)}</span>' for text in remarks(column))
    body = f'<ul class="pf-facts">{listed}</ul>'
    if column.kind != "other" and column.known:
        body += (_histogram(column) if column.histogram else "") + _quantiles(column) + _top(column)
    return (
        f'<article class="pf-column" id="pf-{i}"><h3><bdi>{escape(_printed(column.name))}</bdi></h3><div'
        f' class="pf-type">{escape(column.type)}</div>{tags}{body}</article>'
    )


def _histogram(column: Column) -> str:
    drawn = column.histogram
    assert drawn is not None
    counts = [drawn.under, *drawn.counts, drawn.over]
    step, most, floor = _W / len(counts), max(counts) or 1, _H - 16
    width = (drawn.high - drawn.low) / max(len(drawn.counts), 1)
    bars = []
    for k, count in enumerate(counts):
        if not count:
            continue
        at = drawn.low + (k - 1) * width
        place = (
            f"below {_value(column, drawn.low)}"
            if k == 0
            else (
                f"above {_value(column, drawn.high)}"
                if k == len(counts) - 1
                else f"{_value(column, at)} to {_value(column, at + width)}"
            )
        )
        tall = max(1.0, count / most * (floor - 4))
        bars.append(
            f'<rect class="{"tail" if k in (0, len(counts) - 1) else "bin"}" x="{k * step + 0.5:.1f}"'
            f' y="{floor - tall:.1f}" width="{max(step - 1, 0.5):.1f}" height="{tall:.1f}"><title>{escape(place)}:'
            f" {count:,}</title></rect>"
        )
    ends = (
        f'<text class="tick" x="{step:.1f}" y="{_H - 3}">{escape(_value(column, drawn.low))}</text><text class="tick"'
        f' x="{_W - step:.1f}" y="{_H - 3}" text-anchor="end">{escape(_value(column, drawn.high))}</text>'
    )
    said = escape(
        f"Histogram of {_printed(column.name)}, from {_value(column, drawn.low)} to {_value(column, drawn.high)}",
        quote=True,
    )
    line = f'<line class="base" x1="0" y1="{floor + 0.5}" x2="{_W}" y2="{floor + 0.5}"/>'
    return f'<svg viewBox="0 0 {_W} {_H}" role="img" aria-label="{said}">{line}{"".join(bars)}{ends}</svg>'


def _small(histogram: Histogram) -> str:
    most, step = max(histogram.counts, default=0) or 1, 92 / max(len(histogram.counts), 1)
    bars = "".join(
        f'<rect class="bin" x="{k * step:.1f}" y="{18 - max(1.0, 18 * count / most):.1f}" width="{step * 0.86:.1f}"'
        f' height="{max(1.0, 18 * count / most):.1f}"/>'
        for k, count in enumerate(histogram.counts)
        if count
    )
    return f'<svg class="pf-small" viewBox="0 0 92 18" aria-hidden="true">{bars}</svg>'


def _quantiles(column: Column) -> str:
    if column.kind == "category":
        return ""
    told = [
        (name, _value(column, column.low if p == 0 else column.high if p == 1 else column.quantile(p)))
        for p, name in _MARKS
    ]
    longest = max(len(text) for _, text in told)
    long = " pf-long" if longest > 10 else " pf-wide" if longest > 7 else ""
    return (
        f'<dl class="pf-quantiles{long}">'
        + "".join(f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in told)
        + "</dl>"
    )


def _often(column: Column) -> list[tuple[str, float]]:
    """The most frequent values with their shares; none of numbers and names that hardly repeat, since they say
    nothing.
    """
    listed = list(column.shares.items())[:_LISTED]
    return listed if listed and (column.complete or listed[0][1] >= 0.01) else []


def _bar(value: str, count: int, most: int, known: int) -> str:
    title, text = escape(_cut(value, 300), quote=True), escape(_cut(value, 60)) or "<span>(empty text)</span>"
    share, told = f"--share: {100 * count / most:.1f}%", f"{count:,} ({_percent(count / known)})"
    return f'<div style="{share}"><bdi title="{title}">{text}</bdi><span>{told}</span></div>'


def _top(column: Column) -> str:
    listed = column.top[: len(_often(column))]
    if not listed:
        return ""
    most = listed[0][1]
    rows = "".join(_bar(value, count, most, column.known) for value, count in listed)
    rest = column.known - sum(count for _, count in listed)
    others = f"<p>{rest:,} rows with other values ({_percent(rest / column.known)})</p>" if rest else ""
    return f'<div class="pf-top">{rows}{others}</div>'


def _distinct(column: Column) -> str:
    if column.kind == "other":
        return ""
    return f"~{column.distinct:,}" if _is_estimate(column) else f"{column.distinct:,}"


def _is_estimate(column: Column) -> bool:
    return column.kind != "other" and not column.complete and bool(column.known)


def plain(profile: Profile) -> dict[str, Any]:
    """The profile as JSON for people's programs: what is stored, and which counts of distinct values are estimates."""
    found = profile.to_dict()
    marks = {column.name: _is_estimate(column) for column in profile.columns}
    return found | {
        "columns": [{**column, "distinct_is_estimate": marks[column["name"]]} for column in found["columns"]]
    }


def _value(column: Column, value: float | str | None) -> str:
    """A value of the column as people read it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _printed(value)
    if column.kind == "time":
        # What lies between two moments that are there is told to the second, unless they are close.
        between = value not in (column.low, column.high) and float(column.high or 0) - float(column.low or 0) > 6e7
        return spelled(round(value / 1e6) * 1e6 if between else value)
    return f"{value:,.0f}" if column.type.startswith(("int", "uint")) and abs(value) < 1e15 else _number(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e7 else f"{value:.4g}"


def _share(count: int, whole: int) -> float:
    return count / whole if whole else 0.0


def _percent(share: float) -> str:
    """Never 0 % of something, nor 100 % of less than all.

    >>> _percent(0.0), _percent(0.00001), _percent(0.12345), _percent(0.99999), _percent(1.0)
    ('0 %', '<0.1 %', '12.3 %', '>99.9 %', '100 %')
    """
    if share in (0.0, 1.0):
        return f"{100 * share:.0f} %"
    return "<0.1 %" if share < 0.001 else ">99.9 %" if share > 0.999 else f"{100 * share:.1f} %"


def _printed(text: str) -> str:
    """On one line, without what would steer a terminal or turn the direction of the text around it."""
    kept: Sequence[str] = [
        c if c.isprintable() or c == "\u200d" else "⏎" if c == "\n" else " " if c.isspace() else "\ufffd" for c in text
    ]
    return "".join(kept)


def _cut(text: str, most: int) -> str:
    text = _printed(text)
    return text if len(text) <= most else text[: most - 1] + "…"
