"""The checks that one query answers: freshness, volume, contract, nulls, rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import numpy as np

from millstream.base.duration import UNITS, spell
from millstream.base.floats import named
from millstream.base.moments import moment_of
from millstream.base.sql import quoted
from millstream.base.words import counted
from millstream.declare.endpoint import Endpoint
from millstream.declare.features import Features
from millstream.declare.monitor import ContractKept, Fresh, NotNull, Rows, Volume
from millstream.declare.noun import Noun
from millstream.declare.stream import Stream
from millstream.features.define import define
from millstream.lang.expression import compile as compile_expression
from millstream.watch.scene import Scene, kinds, table_of, time_of
from millstream.watch.verdict import Verdict, unknown

_DAY_US = UNITS["d"]


def fresh(check: Fresh, target: Noun, scene: Scene) -> Verdict:
    """How old the newest event is, in seconds: by the wall clock where more is expected, else by the newest event of
    the project. Of features: how far the live reader has come.
    """
    replayed, bound = not scene.is_growing(target, check.within_us), check.within_us / 1e6
    clock = scene.clock_us() if replayed else scene.wall_us()
    if isinstance(target, Features):
        applied = scene.engines.online.applied(define(target, scene.engines.project.params).generation)
        newest = applied.clock_us if applied and applied.active else None
        if newest is not None and newest > scene.wall_us() + _DAY_US:
            return unknown(
                "fresh",
                f"the live reader of {target} stands at {_moment(newest)}, which lies ahead of the clock; `millstream"
                " up` fills it again",
                bound,
            )
    else:
        time = time_of(target)
        if time is None:
            return unknown("fresh", f"{target} has no column of event time, so nothing says how old it is", bound)
        newest = scene.newest_us(target.name, time)
    if newest is None:
        return unknown("fresh", f"{target} holds nothing yet", bound)
    age = max(0, clock - newest)
    old = age > check.within_us
    by = f"{_moment(clock)}, the newest event of this project, which is all history" if replayed else _moment(clock)
    few = scene.few_live(target) if old and not replayed else ""
    text = f"the newest event is {_span(age)} old by {by}; at most {spell(check.within_us)}{few}"
    return Verdict(
        "fresh", "violated" if old else "ok", age / 1e6, bound, text, {"newest_us": newest, "clock_us": clock}
    )


def volume(check: Volume, target: Noun, scene: Scene, since_us: int | None = None) -> Verdict:
    """Rows in each whole interval of event time, up to now where more is expected, else up to the newest event; less
    the lateness.

    Args:
        since_us: Only intervals that end after this moment (what an earlier verdict did not see).
    """
    table, time = scene.table(target.name), time_of(target)
    if table is None or time is None:
        return unknown(
            "volume", f"{target} holds nothing yet" if time else f"{target} has no column of event time", check.at_least
        )
    counts = scene.rows(
        f"select epoch_us({quoted(time)}) // {check.every_us} as slot, count(*) as n, min(epoch_us({quoted(time)})) as"
        f" first from t where {quoted(time)} is not null and {scene.past(time)} group by 1 order by 1",
        table,
    )
    if not counts:
        return unknown("volume", f"{target} holds nothing yet", check.at_least)
    late = target.lateness_us if isinstance(target, Stream) else 0
    begin = counts[0]["slot"] + (counts[0]["first"] % check.every_us > 0)
    upto = scene.wall_us() if scene.is_growing(target, check.every_us) else scene.newest_us(target.name, time) or 0
    end = (upto - late) // check.every_us
    if since_us is not None:
        begin = max(begin, since_us // check.every_us)
    if end <= begin:
        return unknown(
            "volume",
            f"no whole interval of {spell(check.every_us)} has passed" + (" since the last look" if since_us else ""),
            check.at_least,
            through_us=since_us,
        )
    rows = np.zeros(end - begin, np.int64)
    for found in counts:
        if begin <= found["slot"] < end:
            rows[found["slot"] - begin] = found["n"]
    return _volume(check, rows, begin, end, scene.few_live(target))


def _volume(check: Volume, rows: np.ndarray[Any, Any], begin: int, end: int, few: str = "") -> Verdict:
    wrong = (rows < check.at_least) | ((rows > check.at_most) if check.at_most is not None else False)
    every = spell(check.every_us)
    wanted = f"at least {check.at_least:,}" + (f" and at most {check.at_most:,}" if check.at_most is not None else "")
    worst = (
        int(np.argmax(np.where(wrong, np.maximum(check.at_least - rows, rows - (check.at_most or rows)), -1)))
        if wrong.any()
        else int(rows.argmin())
    )
    where = [{"start_us": int(begin + i) * check.every_us, "rows": int(rows[i])} for i in np.flatnonzero(wrong)[:100]]
    details = {
        "intervals": len(rows),
        "wrong": int(wrong.sum()),
        "through_us": int(end) * check.every_us,
        "where": where,
    }
    if not wrong.any():
        text = f"{len(rows):,} intervals of {every} hold {int(rows.min()):,} to {int(rows.max()):,} rows; {wanted}"
        return Verdict("volume", "ok", float(rows.min()), check.at_least, text, details)
    text = (
        f"{int(wrong.sum()):,} of {len(rows):,} intervals of {every} are wrong, the worst from"
        f" {_moment((begin + worst) * check.every_us)} with {int(rows[worst]):,} rows; {wanted}{few}"
    )
    return Verdict("volume", "violated", float(rows[worst]), check.at_least, text, details)


def contract(check: ContractKept, target: Noun, scene: Scene) -> Verdict:
    """The share of records that could not be read as the stream's event."""
    table, dead = scene.table(target.name), scene.table(f"{target.name}__dead")
    rows = scene.row("select count(*) as n from t", table)["n"] if table else 0
    letters = scene.row("select count(*) as n from t", dead)["n"] if dead else 0
    if rows + letters == 0:
        return unknown("contract", f"{target} holds nothing yet", check.tolerance)
    share = letters / (rows + letters)
    broken = share > check.tolerance
    text = (
        f"{letters:,} of {counted(rows + letters, 'record')} {'is' if letters == 1 else 'are'} dead-lettered"
        f" ({share:.2%}); at most {check.tolerance:.2%}"
    )
    why = (
        {}
        if not dead or not letters
        else {
            r["error"]: r["n"]
            for r in scene.rows("select error, count(*) as n from t group by 1 order by 2 desc, 1 limit 10", dead)
        }
    )
    return Verdict(
        "contract",
        "violated" if broken else "ok",
        share,
        check.tolerance,
        text,
        {"dead": letters, "rows": rows, "errors": why},
    )


def not_null(check: NotNull, target: Noun, scene: Scene) -> Verdict:
    """The share of NULLs of each column, over rows whose time has come; the worst is the verdict's value."""
    table = scene.table(table_of(target))
    if table is None:
        return unknown("not_null", f"{target} holds nothing yet", check.tolerance)
    counts = ", ".join(f"count({quoted(c)}) as c{i}" for i, c in enumerate(check.columns))
    time = _time(target)
    found = scene.row(
        f"select count(*) as n, {counts} from t"
        + (f" where {scene.past(time)} or {quoted(time)} is null" if time else ""),
        table,
    )
    if not found["n"]:
        return unknown("not_null", f"{target} holds nothing yet", check.tolerance)
    shares = {column: 1 - found[f"c{i}"] / found["n"] for i, column in enumerate(check.columns)}
    column, share = max(shares.items(), key=lambda item: item[1])
    text = f"{column} is NULL in {share:.2%} of {counted(found['n'], 'row')}; at most {check.tolerance:.2%}"
    return Verdict(
        "not_null",
        "violated" if share > check.tolerance else "ok",
        share,
        check.tolerance,
        text,
        {"rows": found["n"], "shares": shares},
    )


def rows(check: Rows, target: Noun, scene: Scene) -> Verdict:
    """The share of rows that fail the expression; NULL passes."""
    table = scene.table(table_of(target))
    if table is None:
        return unknown("rows", f"{target} holds nothing yet", check.tolerance)
    expression = compile_expression(
        check.expression,
        kinds(table.schema),
        scene.engines.project.params,
        place=check.place,
        what=f"expect.rows of {target}",
    )
    found = scene.row(f"select count(*) as n, count(*) filter (not ({expression.sql})) as bad from t", table)
    if not found["n"]:
        return unknown("rows", f"{target} holds nothing yet", check.tolerance)
    share = found["bad"] / found["n"]
    samples = _samples(scene, table, expression.sql, expression.columns) if found["bad"] else []
    text = (
        f'{found["bad"]:,} of {found["n"]:,} rows fail "{check.expression}" ({share:.2%}); at most'
        f" {check.tolerance:.2%}"
    )
    details = {"rows": found["n"], "bad": found["bad"], "examples": samples}
    return Verdict("rows", "violated" if share > check.tolerance else "ok", share, check.tolerance, text, details)


def _time(target: Noun) -> str | None:
    """The column of event time of the table that a check reads."""
    return "ts" if isinstance(target, Endpoint) else time_of(target)


def _samples(scene: Scene, table: Any, condition: str, columns: tuple[str, ...]) -> list[Mapping[str, Any]]:
    names = [*columns, *(c for c in ("_partition", "_offset") if c in table.schema.names)]
    found = scene.rows(f"select {', '.join(map(quoted, names))} from t where not ({condition}) limit 5", table)
    return [{column: _plain(value) for column, value in row.items()} for row in found]


def _plain(value: Any) -> Any:
    """As JSON has it, whatever a row holds."""
    return value.isoformat() if isinstance(value, datetime) else named(msgspec.to_builtins(value))


def _moment(us: int) -> str:
    return moment_of(us).strftime("%Y-%m-%d %H:%M")


def _span(us: int) -> str:
    seconds = us / 1e6
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
