"""A trace for the terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from millstream.watch.trace import FeatureTrace, Trace

SHOWN = 5


def tree(trace: Trace) -> Tree:
    """The decision at the root, then its model, then each window of its features with the newest rows."""
    said = trace.decision
    chosen = f" · arm [bold]{said['arm']}[/] of {said['experiment']} (propensity {said['propensity']:.3f})" if said.get("arm") else ""
    root = Tree(f"[bold]{trace.endpoint}[/] decided [bold cyan]{_show(said.get('prediction') if said.get('prediction') is not None else said.get('value'))}[/] "
                f"at {_show(trace.request.get('ts', said.get('ts')))}{chosen}\n[dim]{said['decision_id']} in {trace.place['table']} version {trace.place['version']}, "
                f"partition {trace.place['partition']}, offset {trace.place['offset']}[/]")  # fmt: skip
    root.add("request  " + "  ".join(f"{k} [bold]{escape(_show(v))}[/]" for k, v in trace.request.items() if k != "ts"))
    if trace.model is not None:
        m = trace.model
        root.add(f"model  [bold]{m.model}@{m.version}[/] of {_show(m.trained_at)}, run {m.run_id[:12]}, trained on {m.training_set}")
    groups: dict[tuple[Any, ...], list[FeatureTrace]] = {}
    for feature in trace.features:
        groups.setdefault((feature.column.split("__")[0] if feature.definition else "", feature.start, feature.end), []).append(feature)
    for features in groups.values():
        _group(root, features)
    return root


def _group(root: Tree, features: list[FeatureTrace]) -> None:
    first = features[0]
    if not first.definition:
        for feature in features:
            root.add(f"{feature.column} = [bold cyan]{_show(feature.value)}[/]  [dim]{escape(feature.what)}[/]")
        return
    span = f"[{_show(first.start) if first.start else 'the beginning'}, {_show(first.end)})"
    key = ", ".join(f"{k} = {v}" for k, v in first.key.items())
    stood = "offsets " + ", ".join(f"{p}: {end:,}" for p, end in sorted(first.as_of.items()))
    if not first.live:
        stood = f"version {first.as_of.get(0)}"
    branch = root.add(
        f"[bold]{first.stream}[/] {escape(key)} in {escape(span)}: {first.count:,} rows  [dim]as of {stood}; table version {first.table_version}[/]"
    )
    for feature in features:
        why = f" [yellow]{feature.reason}[/]" if feature.reason else ""
        branch.add(f"{feature.column} = [bold cyan]{_show(feature.value)}[/]{why}  [dim]{escape(feature.what)}[/]")
    if first.rows:
        branch.add(_rows(first))
        if first.live:
            branch.add(_files([row.file for row in first.rows[:SHOWN] if row.file]))


def _files(held: list[str]) -> str:
    files = list(dict.fromkeys(held))
    if not files:
        return "[dim]in no file of the lake any more[/]"
    where = files[0] if "://" in files[0] else f"the lake's {files[0]}"
    return f"[dim]in {escape(where)}{f' and {len(files) - 1} more' if len(files) > 1 else ''}[/]"


def _rows(feature: FeatureTrace) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    names = list(feature.rows[0].values)
    for column in ("time", *names, *(("partition", "offset") if feature.live else ()), "commit", "from"):
        table.add_column(
            column, justify="right" if column in ("partition", "offset", "commit") else "left", no_wrap=column in ("time", "from"), overflow="ellipsis"
        )
    for row in feature.rows[:SHOWN]:
        commit = str(row.commit["version"]) if row.commit else ""
        table.add_row(
            _show(row.time), *(_show(row.values[n]) for n in names), *((str(row.partition), str(row.offset)) if feature.live else ()), commit, row.source or ""
        )
    if feature.count > SHOWN:
        table.add_row(f"[dim]and {feature.count - SHOWN:,} more[/]")
    return table


def _show(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.6g}"
    return "NULL" if value is None else str(value)
