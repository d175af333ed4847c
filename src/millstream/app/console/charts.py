"""Small charts as SVG text: lines and bars that follow the page's colours (CSS classes s0, s1, … and currentColor)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

W, H, LEFT, BOTTOM, TOP = 560, 218, 50, 42, 24
NOTHING = '<p class="empty">Nothing to draw yet.</p>'


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    label: str,
    low: float | None = None,
    high: float | None = None,
    x_labels: Sequence[tuple[float, str]] | None = None,
    diagonal: bool = False,
    x_name: str = "",
    y_name: str = "",
) -> str:
    """Line charts with a legend.

    Args:
        series: Name -> points (x, y) in order of x.
        label: Says what the chart shows, for those who do not see it.
        low, high: Range of y; that of the data when None.
        x_labels: Marks along the x axis; whole numbers at even steps when None.
        x_name, y_name: What the axes measure.
        diagonal: Draw y = x (calibration).
    """
    points = [p for s in series.values() for p in s]
    if not points:
        return NOTHING
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x0, x1 = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
    y0, y1, step = _even(min(ys) if low is None else low, max(ys) if high is None else high)

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (x - x0) / (x1 - x0) * (W - LEFT - 10), H - BOTTOM - (min(max(y, y0), y1) - y0) / (y1 - y0) * (
            H - BOTTOM - TOP
        )

    body = [_axis(y0, y1, step), _names(x_name, y_name)]
    marks = _steps(x0, x1) if x_labels is None else [(x, text) for x, text in x_labels if x0 <= x <= x1]
    body += [_mark(i, at(x, y0)[0], text) for i, (x, text) in enumerate(marks)]
    if diagonal:
        (ax, ay), (bx, by) = at(max(x0, y0), max(x0, y0)), at(min(x1, y1), min(x1, y1))
        body.append(f'<line x1="{ax:.1f}" y1="{ay:.1f}" x2="{bx:.1f}" y2="{by:.1f}" class="guide"/>')
    for i, values in enumerate(series.values()):
        path = " ".join(
            f"{'M' if j == 0 else 'L'}{px:.1f} {py:.1f}" for j, (px, py) in enumerate(at(*p) for p in values)
        )
        body.append(f'<path d="{path}" class="line s{i}"/>')
        if len(values) <= 24:
            body += [
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6" class="dot s{i}"/>' for px, py in (at(*p) for p in values)
            ]
    return _frame(body, label, list(series))


def bars(
    values: Sequence[tuple[str, float]],
    *,
    label: str,
    high: float | None = None,
    second: Sequence[float] | None = None,
    names: Sequence[str] = (),
    x_name: str = "",
    y_name: str = "",
) -> str:
    """Vertical bars, one or two a name; labels are thinned when there are many."""
    if not values:
        return NOTHING
    _, top, rung = _even(0.0, high or max([v for _, v in values] + list(second or [])) or 1.0)
    step = (W - LEFT - 10) / len(values)
    width = step * (0.38 if second else 0.74)
    body = [_axis(0.0, top, rung), _names(x_name, y_name)]
    every = max(1, -(-len(values) // 12))
    for i, (name, value) in enumerate(values):
        x = LEFT + i * step + step * 0.12
        for k, v in enumerate([value] + ([second[i]] if second else [])):
            tall = v / top * (H - BOTTOM - TOP)
            body.append(
                f'<rect x="{x + k * width:.1f}" y="{H - BOTTOM - tall:.1f}" width="{width:.1f}"'
                f' height="{max(tall, 0):.1f}" rx="1.5" class="bar s{k}"><title>{escape(name)}: {v:.4g}</title></rect>'
            )
        if i % every == 0:
            body.append(_mark(i // every, x + step * 0.38, name))
    return _frame(body, label, list(names))


def _even(low: float, high: float) -> tuple[float, float, float]:
    """The range widened to round numbers, and the step between its marks: 1, 2, 2.5 or 5 times a power of ten.

    >>> _even(0.502, 0.954), _even(0.0, 1.0)
    ((0.4, 1.0, 0.2), (0.0, 1.0, 0.25))
    """
    wide = high - low if high > low else abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(wide / 4))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= wide / 4 * 0.999)
    first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), math.floor(low / step + 1e-9) + 1)
    return round(first * step, 12), round(last * step, 12), step


def _axis(y0: float, y1: float, step: float) -> str:
    marks = []
    for k in range(round((y1 - y0) / step) + 1):
        y = H - BOTTOM - k * step / (y1 - y0) * (H - BOTTOM - TOP)
        odd = " odd" if k % 2 else ""
        marks.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{W - 10}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" class="tick{odd}" text-anchor="end">{_short(y0 + k * step)}</text>'
        )
    return "".join(marks)


def _mark(i: int, x: float, text: str) -> str:
    """A mark along the x axis; every other one may be left out where there is little room."""
    return (
        f'<text x="{x:.1f}" y="{H - BOTTOM + 16}" class="tick{" odd" if i % 2 else ""}"'
        f' text-anchor="middle">{escape(text)}</text>'
    )


def _names(x_name: str, y_name: str) -> str:
    told = (
        f'<text x="{(LEFT + W - 10) / 2:.0f}" y="{H - 5}" class="axis" text-anchor="middle">{escape(x_name)}</text>'
        if x_name
        else ""
    )
    return told + (f'<text x="{LEFT}" y="13" class="axis">{escape(y_name)}</text>' if y_name else "")


def _steps(x0: float, x1: float) -> list[tuple[float, str]]:
    """Five to ten whole numbers from x0 to x1.

    >>> [text for _, text in _steps(0.0, 61.0)]
    ['0', '10', '20', '30', '40', '50', '60']
    """
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500) if (x1 - x0) / s <= 9), 1000)
    first = -(-int(x0) // step) * step
    return [(float(x), str(x)) for x in range(first, int(x1) + 1, step)]


def _short(value: float) -> str:
    if value and abs(value) >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.3g}"


def _frame(body: Sequence[str], label: str, names: Sequence[str]) -> str:
    legend = "".join(f'<span class="key s{i}">{escape(name)}</span>' for i, name in enumerate(names)) if names else ""
    drawn = "".join(body)
    return (
        f'<figure class="chart"><svg viewBox="0 0 {W} {H}" role="img"'
        f' aria-label="{escape(label)}">{drawn}</svg><figcaption>{legend}</figcaption></figure>'
    )
