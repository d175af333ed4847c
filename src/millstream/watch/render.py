"""A trace for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from millstream.transform.cell import read, visible
from millstream.watch.traced import FeatureTrace, Trace

SHOWN = 5


def tree(trace: Trace) -> Tree:
    """The decision at the root, then its model, then each window of its features with the newest rows."""
    said, place = trace.decision, trace.place
    parts: list[str | tuple[str, str]] = [
        (trace.endpoint, "bold"),
        " decided ",
        (read(said.get("prediction") if said.get("prediction") is not None else said.get("value")), "bold cyan"),
        f" at {read(trace.request.get('ts', said.get('ts')))}",
    ]
    if said.get("arm"):
        parts += [
            " · arm ",
            (str(said["arm"]), "bold"),
            f" of {said['experiment']} (propensity {said['propensity']:.3f})",
        ]
    where = (
        f"{said['decision_id']} in {place['table']} version {place['version']}, partition {place['partition']}, offset"
        f" {place['offset']}"
    )
    root = Tree(_line(*parts, "\n", (where, "dim")))
    asked: list[str | tuple[str, str]] = [
        part for name, value in trace.request.items() if name != "ts" for part in (f"  {name} ", (read(value), "bold"))
    ]
    root.add(_line("request", *asked))
    if trace.model is not None:
        m = trace.model
        root.add(
            _line(
                "model  ",
                (f"{m.model}@{m.version}", "bold"),
                f" of {read(m.trained_at.replace(microsecond=0))}, run {m.run_id[:12]}, trained on {m.training_set}",
            )
        )
    groups: dict[tuple[Any, ...], list[FeatureTrace]] = {}
    for feature in trace.features:
        groups.setdefault(
            (feature.column.split("__")[0] if feature.definition else "", feature.start, feature.end), []
        ).append(feature)
    for features in groups.values():
        _group(root, features)
    return root


def _line(*parts: str | tuple[str, str]) -> Text:
    """Texts as they are, some in a style: nothing that came from outside is read as markup."""
    return Text.assemble(
        *(visible(part, "\n") if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts)
    )


def _group(root: Tree, features: list[FeatureTrace]) -> None:
    first = features[0]
    if not first.definition:
        for feature in features:
            root.add(_line(f"{feature.column} = ", (read(feature.value), "bold cyan"), "  ", (feature.what, "dim")))
        return
    span = f"[{read(first.start) if first.start else 'the beginning'}, {read(first.end)})"
    key = ", ".join(f"{k} = {read(v)}" for k, v in first.key.items())
    stood = (
        "offsets " + ", ".join(f"{p}: {end:,}" for p, end in sorted(first.as_of.items()))
        if first.live
        else f"version {first.as_of.get(0)}"
    )
    known = f"as of {stood}; table version {first.table_version}"
    branch = root.add(_line((first.stream, "bold"), f" {key} in {span}: {first.count:,} rows  ", (known, "dim")))
    for feature in features:
        why: list[str | tuple[str, str]] = [" ", (feature.reason, "yellow")] if feature.reason else []
        branch.add(_line(f"{feature.column} = ", (read(feature.value), "bold cyan"), *why, "  ", (feature.what, "dim")))
    if first.rows:
        branch.add(_rows(first))
        if first.live:
            branch.add(_files([row.file for row in first.rows[:SHOWN] if row.file]))


def _files(held: list[str]) -> Text:
    files = list(dict.fromkeys(held))
    if not files:
        return _line(("in no file of the lake any more", "dim"))
    where = files[0] if "://" in files[0] else f"the lake's {files[0]}"
    return _line((f"in {where}{f' and {len(files) - 1} more' if len(files) > 1 else ''}", "dim"))


def _rows(feature: FeatureTrace) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    names = list(feature.rows[0].values)
    for column in ("time", *names, *(("partition", "offset") if feature.live else ()), "commit", "from"):
        table.add_column(
            _line(column),
            justify="right" if column in ("partition", "offset", "commit") else "left",
            no_wrap=column in ("time", "from"),
            overflow="ellipsis",
        )
    for row in feature.rows[:SHOWN]:
        commit = str(row.commit["version"]) if row.commit else ""
        place = (str(row.partition), str(row.offset)) if feature.live else ()
        table.add_row(
            *map(_line, [read(row.time), *(read(row.values[n]) for n in names), *place, commit, row.source or ""])
        )
    if feature.count > SHOWN:
        table.add_row(_line((f"and {feature.count - SHOWN:,} more", "dim")))
    return table
