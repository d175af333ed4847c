"""What is shown at the end of the demo: numbers a person enjoys, and what to try next."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

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
    last = "" if told.profile == LAPTOP else "\n  millstream cluster down         [dim]# stops its daemons; the data stays[/]"
    console.print(Panel.fit(
        f"[bold]{total:.0f} s[/] from nothing to a traced prediction. Pictures: [bold]{name}/report.html[/]\n\n"
        f"  cd {name}\n"
        f"  millstream{chosen} run                  [dim]# nothing to do: all is up to date[/]\n"
        f"  millstream{chosen} sql 'select carrier, avg(delay) from arrivals group by all order by 2 desc'\n"
        f"  millstream{chosen} explore departures\n"
        f"  millstream{chosen} show model trees@champion\n"
        f"  millstream{chosen} trace {told.traffic.traced}\n"
        f"  edit tables/carrier_days.sql, then: millstream{chosen} plan\n"
        f"  millstream{chosen} up                   [dim]# everything, continuously, with a console[/]{last}", title="What to try next", border_style="cyan"))  # fmt: skip


def _table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", border_style="dim", pad_edge=False)
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
    table.add_row(f"{rows:,} rows in the lake: " + ("[green]no gap, no overlap, no double[/]" if proven else "[red]broken[/]"), "")
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
        table.add_row(arm["arm"], f"{arm['units']:,}", f"{arm['share']:.1%}", f"{arm['mean']:.4f}" if arm["mean"] is not None else "",
                      f"{arm['effect']:+.4f}" if arm.get("effect") is not None else "control" if arm.get("control") else "",
                      f"{arm['low']:+.4f} to {arm['high']:+.4f}" if arm.get("low") is not None else "")  # fmt: skip
    table.caption = found.get("verdict", "")
    table.caption_justify = "left"
    return table


def _compared(told: Told) -> Table:
    table = _table("Beside the laptop's", "what", "here", "laptop", "rows that differ", "", right=("here", "laptop", "rows that differ"))
    for one in told.compared:
        table.add_row(one.what, one.here, one.there, "" if one.differ is None else f"{one.differ:,}", "[green]the same[/]" if one.same else "[red]differs[/]")
    return table


def _monitors(verdicts: list[dict[str, Any]]) -> Table:
    marks = {"ok": "[green]ok[/]", "violated": "[red]violated[/]", "drifted": "[yellow]drifted[/]", "unknown": "[dim]not enough data[/]"}
    table = _table("Monitors", "target", "check", "", "found")
    for verdict in verdicts:
        table.add_row(verdict["target"], verdict["check"], marks.get(verdict["status"], verdict["status"]), verdict["message"])
    return table
