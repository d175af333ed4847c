"""Small charts as SVG text: lines and bars that follow the page's colours (CSS classes s0, s1, … and currentColor)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

W, H, LEFT, BOTTOM, TOP = 560, 190, 44, 24, 10


def lines(series: Mapping[str, Sequence[tuple[float, float]]], *, label: str, low: float | None = None, high: float | None = None,
          x_labels: Sequence[tuple[float, str]] = (), diagonal: bool = False) -> str:  # fmt: skip
    """Line charts with a legend.

    Args:
        series: Name -> points (x, y) in order of x.
        label: Says what the chart shows, for those who do not see it.
        low, high: Range of y; that of the data when None.
        x_labels: Marks along the x axis.
        diagonal: Draw y = x (calibration).
    """
    points = [p for s in series.values() for p in s]
    if not points:
        return '<p class="quiet">Nothing to draw yet.</p>'
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x0, x1 = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
    y0 = min(ys) if low is None else low
    y1 = max(ys) if high is None else high
    y1 = y1 if y1 > y0 else y0 + 1

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (x - x0) / (x1 - x0) * (W - LEFT - 10), H - BOTTOM - (min(max(y, y0), y1) - y0) / (y1 - y0) * (H - BOTTOM - TOP)

    body = [_axis(y0, y1)]
    body += [f'<text x="{at(x, y0)[0]:.1f}" y="{H - 6}" class="tick" text-anchor="middle">{escape(text)}</text>' for x, text in x_labels]
    if diagonal:
        (ax, ay), (bx, by) = at(max(x0, y0), max(x0, y0)), at(min(x1, y1), min(x1, y1))
        body.append(f'<line x1="{ax:.1f}" y1="{ay:.1f}" x2="{bx:.1f}" y2="{by:.1f}" class="guide"/>')
    for i, values in enumerate(series.values()):
        path = " ".join(f"{'M' if j == 0 else 'L'}{px:.1f} {py:.1f}" for j, (px, py) in enumerate(at(*p) for p in values))
        body.append(f'<path d="{path}" class="line s{i}"/>')
        if len(values) <= 24:
            body += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6" class="dot s{i}"/>' for px, py in (at(*p) for p in values)]
    return _frame(body, label, list(series))


def bars(
    values: Sequence[tuple[str, float]], *, label: str, high: float | None = None, second: Sequence[float] | None = None, names: Sequence[str] = ()
) -> str:
    """Vertical bars, one or two a name; labels are thinned when there are many."""
    if not values:
        return '<p class="quiet">Nothing to draw yet.</p>'
    top = high or max([v for _, v in values] + list(second or [])) or 1.0
    step = (W - LEFT - 10) / len(values)
    width = step * (0.38 if second else 0.74)
    body = [_axis(0.0, top)]
    every = max(1, len(values) // 12)
    for i, (name, value) in enumerate(values):
        x = LEFT + i * step + step * 0.12
        for k, v in enumerate([value] + ([second[i]] if second else [])):
            tall = v / top * (H - BOTTOM - TOP)
            body.append(
                f'<rect x="{x + k * width:.1f}" y="{H - BOTTOM - tall:.1f}" width="{width:.1f}" height="{max(tall, 0):.1f}" rx="1.5" class="bar s{k}"><title>{escape(name)}: {v:.4g}</title></rect>'
            )
        if i % every == 0:
            body.append(f'<text x="{x + step * 0.38:.1f}" y="{H - 6}" class="tick" text-anchor="middle">{escape(name)}</text>')
    return _frame(body, label, list(names))


def _axis(y0: float, y1: float) -> str:
    marks = []
    for k in range(5):
        y = H - BOTTOM - k / 4 * (H - BOTTOM - TOP)
        marks.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{W - 10}" y2="{y:.1f}" class="grid"/><text x="{LEFT - 6}" y="{y + 3.5:.1f}" class="tick" text-anchor="end">{_short(y0 + (y1 - y0) * k / 4)}</text>'
        )
    return "".join(marks)


def _short(value: float) -> str:
    if value and abs(value) >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.3g}"


def _frame(body: Sequence[str], label: str, names: Sequence[str]) -> str:
    legend = "".join(f'<span class="key s{i}">{escape(name)}</span>' for i, name in enumerate(names)) if names else ""
    drawn = "".join(body)
    return f'<figure class="chart"><svg viewBox="0 0 {W} {H}" role="img" aria-label="{escape(label)}">{drawn}</svg><figcaption>{legend}</figcaption></figure>'
