"""`report.html`: the demo in pictures, one file that opens without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from millstream.app.console import charts
from millstream.app.demo.story import Told
from millstream.watch.drift import WORDS

CALIBRATION = """select coalesce(model, '') as model, floor(prediction * 10) / 10 + 0.05 as bin,
  avg(prediction) as predicted, avg(outcome::double) as happened, count(*) as n
  from late_outcomes where prediction is not null group by all having count(*) >= 30 order by all"""
SHARES = """select experiment, date_trunc('day', ts)::date::varchar as day, arm, count(*) as n
  from late_decisions where arm is not null group by all order by all"""
HOURS = """select s.local_hour as hour, avg(f.late::int) as late, avg(f.arr_delay) as delay
  from flight_days f join scheduled s using (flight_id) where f.late is not null group by all order by all"""
MONTHS = (
    "select month(ts) as month, avg(late::int) as late from flight_days where late is not null group by all order"
    " by all"
)


def write(told: Told, path: Path) -> None:
    """Query the project's lake by its own verb, draw, and write the page."""
    sections = [
        (
            "Calibration on November and December",
            (
                "Predicted against actual share of late flights, by tenths of the prediction; on the dashed line a"
                " model means what it says."
            ),
            _calibration(told),
        ),
        (
            "Shares of the arms, day by day",
            "The A/B test keeps its halves; the bandit moves its traffic to the arm that has earned more.",
            _shares(told),
        ),
        (
            "Delay by hour of departure",
            "Share of flights that arrive more than 15 minutes late; delays add up over a day.",
            _hours(told),
        ),
        (
            "Share of late flights, month by month",
            "What the drift monitor is about: December is another season.",
            _months(told),
        ),
        (
            "Drift against the training set",
            (
                "Distance of November and December from January to October, 0 to 1; beyond the mark (tolerance and what"
                " chance allows) a column has drifted."
            ),
            _drift(told),
        ),
    ]
    style = files("millstream.app.console").joinpath("static/console.css").read_text(encoding="utf-8")
    body = "".join(
        f"<section class='{'half' if 'figure' in drawn else ''}'><h2>{escape(t)}</h2><p"
        f" class='quiet'>{escape(text)}</p><div class='card'>{drawn}</div></section>"
        for t, text, drawn in sections
    )
    figures = "".join(
        f"<div class='card'><div class='name'>{escape(name)}</div><div class='figure'>{escape(value)}"
        f" <small>{escape(unit)}</small></div></div>"
        for name, value, unit in _figures(told)
    )
    path.write_text(
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width,"
        f" initial-scale=1'><title>Flights · Millstream</title><style>{style}</style></head><body><main><h1>The flights"
        " that left New York in 2013</h1><p class='lead'>Will it arrive more than 15 minutes late? Two models, one A/B"
        f" test, one bandit, two months of live requests.</p><div class='figures'>{figures}</div><div"
        f" class='sections'>{body}</div></main></body></html>",
        encoding="utf-8",
    )


def _ask(told: Told, query: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "millstream",
            "--project",
            str(told.folder),
            "--profile",
            told.profile,
            "sql",
            "--json",
            "--limit",
            "0",
            query,
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    return list(json.loads(done.stdout))


def _figures(told: Told) -> list[tuple[str, str, str]]:
    traffic = told.traffic
    return [
        ("live requests", f"{traffic.requests:,}", "answered"),
        ("live events", f"{traffic.events:,}", "applied"),
        ("request", f"{traffic.quantile(0.5):.1f}", f"ms median, {traffic.quantile(0.99):.1f} ms p99"),
        ("skew", *_skew(told)),
    ]


def _skew(told: Told) -> tuple[str, str]:
    found = next((v for v in told.found["monitors"] if v["check"] == "skew"), None)
    return (
        ("?", "not compared")
        if found is None or found["value"] is None
        else (f"{found['value']:,.0f}", "values that differ from offline")
    )


def _calibration(told: Told) -> str:
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in _ask(told, CALIBRATION):
        series[row["model"]].append((row["predicted"], row["happened"]))
    return charts.lines(
        series,
        label="Calibration of each model",
        low=0.0,
        high=1.0,
        diagonal=True,
        x_labels=[(x / 10, f"{x / 10:.1f}") for x in range(11)],
        x_name="predicted",
        y_name="share that was late",
    )


def _shares(told: Told) -> str:
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for row in _ask(told, SHARES):
        counts[row["experiment"], row["day"]][row["arm"]] = row["n"]
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    days = sorted({day for _, day in counts})
    for (experiment, day), arms in sorted(counts.items()):
        series[f"{experiment}: trees"].append((days.index(day), arms.get("trees", 0) / sum(arms.values())))
    return charts.lines(
        series,
        label="Share of the arm trees in each experiment",
        low=0.0,
        high=1.0,
        x_labels=[(i, day[5:]) for i, day in enumerate(days) if i % 10 == 0],
        x_name="day",
        y_name="share of trees",
    )


def _hours(told: Told) -> str:
    rows = _ask(told, HOURS)
    return charts.bars(
        [(str(r["hour"]), r["late"]) for r in rows],
        label="Share of late flights by scheduled hour",
        x_name="scheduled hour, local",
        y_name="share late",
    )


def _months(told: Told) -> str:
    names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    return charts.bars(
        [(names[r["month"] - 1], r["late"]) for r in _ask(told, MONTHS)],
        label="Share of late flights by month",
        x_name="month of 2013",
        y_name="share late",
    )


def _of(distance: Mapping[str, Any]) -> str:
    return f"{distance['column']} of {distance['of']}" if distance.get("of") else str(distance["column"])


def _drift(told: Told) -> str:
    """The distances furthest beyond what chance allows, each with a mark where it would count as drift."""
    rows = []
    for verdict in told.found["monitors"]:
        bound = verdict.get("bound") or 0.0
        for d in verdict["details"].get("distances", [])[:14] if verdict["check"].startswith("drift") else []:
            mark = min(1.0, bound + d["allowance"])
            fill, tag = ("fill bad", "tag warn") if d["status"] == "drifted" else ("fill", "tag plain")
            bar = f"<span class='{fill}' style='width:{100 * min(1.0, d['value']):.1f}%'></span>"
            bar += f"<span class='mark' style='left:{100 * mark:.1f}%'></span>"
            cells = [
                f"<td>{escape(_of(d))}</td>",
                f"<td><span class='bar'><span class='track'>{bar}</span></span></td>",
                f"<td class='n'>{d['value']:.3f}</td>",
                f"<td>{WORDS.get(d['kind'], d['kind'])}</td>",
                f"<td><span class='{tag}'>{escape(d['status'])}</span></td>",
            ]
            rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "<tr><th>column</th><th>distance</th><th class='n'></th><th>compared</th><th>status</th></tr>"
    return (
        f"<div class='scroll'><table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table></div>"
        if rows
        else "<p class='empty'>Nothing has been compared.</p>"
    )
