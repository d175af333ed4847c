"""What is shown at the end of the demo: numbers a person enjoys, and what to try next."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from millstream.app.demo.story import LAPTOP, Told


def show(told: Told, console: Console) -> None:
    """Print the tables."""
    console.print()
    console.print(_speed(told))
    for experiment in told.found["experiments"]:
        console.print(_experiment(experiment))
    console.print(_monitors(told.found["monitors"]))
    if told.compared:
        console.print(_compared(told))
    total = sum(told.seconds.values())
    name, chosen = told.folder, "" if told.profile == LAPTOP else f" --profile {told.profile}"
    verbs = [
        f"  cd {name}",
        f"  millstream{chosen} run                  # nothing to do: all is up to date",
        f"  millstream{chosen} sql 'select carrier, avg(delay) from arrivals group by all order by 2 desc'",
        f"  millstream{chosen} explore departures",
        f"  millstream{chosen} show model trees@champion",
        f"  millstream{chosen} trace {told.traffic.traced}",
        f"  edit tables/carrier_days.sql, then: millstream{chosen} plan",
        f"  millstream{chosen} up                   # everything, continuously, with a console",
        *([] if told.profile == LAPTOP else ["  millstream cluster down         # stops its daemons; the data stays"]),
    ]
    text = Text.assemble(
        (f"{total:.0f} s", "bold"),
        " from nothing to a traced prediction. Pictures: ",
        (f"{name}/report.html", "bold"),
        "\n\n",
        "\n".join(verbs),
    )
    text.highlight_regex(r"# .*", "dim")
    console.print(Panel.fit(text, title="What to try next", border_style="cyan"))


def _table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", border_style="dim", pad_edge=False
    )
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    return table


def _speed(told: Told) -> Table:
    table = _table("The way of an event", "chapter", "seconds", right=("seconds",))
    for title, seconds in told.seconds.items():
        table.add_row(title, f"{seconds:.1f}")
    traffic = told.traffic
    table.add_section()
    table.add_row(f"live: {traffic.events:,} events and {traffic.requests:,} requests", f"{traffic.seconds:.1f}")
    table.add_row(f"a request: {traffic.quantile(0.5):.1f} ms median, {traffic.quantile(0.99):.1f} ms p99", "")
    rows = sum(r["rows"] for r in told.found["verify"])
    proven = all(r["ok"] for r in told.found["verify"])
    table.add_row(
        Text.assemble(
            f"{rows:,} rows in the lake: ", ("no gap, no overlap, no double", "green") if proven else ("broken", "red")
        ),
        "",
    )
    return table


def _experiment(found: dict[str, Any]) -> Table:
    table = _table(
        f"Experiment {found['name']} ({found['method']}, phase {found['phase']})",
        "arm",
        "units",
        "share",
        "reward",
        "effect",
        "95 % interval",
        right=("units", "share", "reward", "effect"),
    )
    for arm in found["arms"]:
        table.add_row(
            arm["arm"],
            f"{arm['units']:,}",
            f"{arm['share']:.1%}",
            f"{arm['mean']:.4f}" if arm["mean"] is not None else "",
            f"{arm['effect']:+.4f}" if arm.get("effect") is not None else "control" if arm.get("control") else "",
            f"{arm['low']:+.4f} to {arm['high']:+.4f}" if arm.get("low") is not None else "",
        )
    table.caption = found.get("verdict", "")
    table.caption_justify = "left"
    return table


def _compared(told: Told) -> Table:
    table = _table(
        "Beside the laptop's",
        "what",
        "here",
        "laptop",
        "rows that differ",
        "",
        right=("here", "laptop", "rows that differ"),
    )
    for one in told.compared:
        table.add_row(
            one.what,
            one.here,
            one.there,
            "" if one.differ is None else f"{one.differ:,}",
            Text("the same", "green") if one.same else Text("differs", "red"),
        )
    return table


def _monitors(verdicts: list[dict[str, Any]]) -> Table:
    marks = {
        "ok": ("ok", "green"),
        "violated": ("violated", "red"),
        "drifted": ("drifted", "yellow"),
        "unknown": ("not enough data", "dim"),
    }
    table = _table("Monitors", "target", "check", "", "found")
    for verdict in verdicts:
        table.add_row(
            verdict["target"],
            verdict["check"],
            Text(*marks.get(verdict["status"], (verdict["status"], ""))),
            verdict["message"],
        )
    return table
