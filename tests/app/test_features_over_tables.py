"""Features over a table from the files to the monitor: trained and served by one rule, stale when the table was
rebuilt, traced through it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli_project import millstream
from starlette.requests import Request

from millstream.app.console.online import positions
from millstream.app.console.overview import _notes
from millstream.app.console.show import Figure, Grid
from millstream.app.console.tables import noun
from millstream.app.lookup import streams
from millstream.features.define import define
from millstream.features.keys import encode
from millstream.lake.compact import compact
from millstream.run.steps import steps
from millstream.run.workspace import Workspace
from millstream.serve.decisions import all_streams

TOML = '[project]\nname = "shop"\n'
HOURS = """\
-- @time hour
-- @incremental 1h lookback 1h
-- @lag {lag}
select customer, date_trunc('hour', ts) as hour, count(*) as n, sum(amount) as total
from orders where ts >= $start and ts < $end group by all
"""
SHOP = """
import numpy as np
import millstream as ms
from millstream import agg, expect


class Visit(ms.Event):
    visit_id: str
    customer: str
    ts: ms.EventTime


class Order(ms.Event):
    order_id: str
    customer: str
    amount: float
    ts: ms.EventTime


visits = ms.stream("visits", Visit, key="customer", dedupe="visit_id")
orders = ms.stream("orders", Order, key="customer", dedupe="order_id", lateness="10m")
for s in (visits, orders):
    ms.source(s, ms.read.files(f"data/{s.name}*.csv"))
hours = ms.table("hours")
spent = ms.features("spent", hours, key="customer", windows=["1d"],
                    aggregates={"n": agg.sum("n", default=0), "total": agg.sum("total")})
bought = ms.outcome(orders, on="customer", within="1h", otherwise=False)
sets = ms.training_set("sets", at=visits, label=bought, features=[spent])


@ms.model(sets)
def guess(train: ms.Train) -> object:
    class Half:
        def predict_proba(self, X): return np.full((len(X), 2), 0.5)
        def predict(self, X): return np.zeros(len(X))
    return Half()


ask = ms.endpoint("ask", guess["champion"])
ms.monitor(ask, expect.skew())
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    for folder in ("data", "tables"):
        (tmp_path / folder).mkdir()
    (tmp_path / "millstream.toml").write_text(TOML)
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "tables" / "hours.sql").write_text(HOURS.format(lag="10m"))
    put(tmp_path, "visits", 1, *(f"v{i},ada,2026-01-01T{9 + i:02}:30:00Z" for i in range(6)))
    put(tmp_path, "orders", 1, *(f"o{i},ada,{i}.5,2026-01-01T{9 + i // 2:02}:{10 + i:02}:00Z" for i in range(8)))
    yield tmp_path


def put(project: Path, stream: str, number: int, *lines: str) -> None:
    head = {"visits": "visit_id,customer,ts", "orders": "order_id,customer,amount,ts"}[stream]
    (project / "data" / f"{stream}-{number}.csv").write_text("\n".join([head, *lines, ""]))


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-01T{clock}:00").replace(tzinfo=UTC)


def served(project: Path, *asked: tuple[str, str]) -> list[dict[str, Any]]:
    """Decisions for customers at times, on record."""
    from millstream.run.serving import live
    from millstream.serve.record import Recorder

    with Workspace.open(str(project)) as ws:
        serving = live(ws, update=False)
        try:
            serving.start()
            rows = serving.decider("ask").decide(
                [{"visit_id": f"{who}-{when}", "customer": who, "ts": at(when)} for who, when in asked]
            )
            Recorder(ws.log, serving.binding("ask")).write(rows)
        finally:
            serving.close()
    assert millstream(project, "run", "ask_decisions").code == 0
    return rows


def skew(project: Path) -> Mapping[str, Any]:
    (found,) = millstream(project, "monitor", "--json").json
    return dict(found)


def test_a_row_counts_from_the_end_of_its_hour_and_the_lag(project: Path) -> None:
    assert millstream(project, "run").code == 0
    rows = served(project, ("ada", "12:09"), ("ada", "12:10"), ("ada", "12:11"), ("ada", "13:30"), ("bob", "13:30"))
    assert [row["spent__n_1d"] for row in rows] == [4.0, 4.0, 6.0, 8.0, 0.0], (
        "an hour is known at its end + 10m, and not in that microsecond"
    )
    found = skew(project)
    assert found["status"] == "ok" and found["details"]["compared"] == 5, found
    trained = millstream(project, "sql", "--json", "select _t, spent__n_1d as n from sets order by _t").json
    assert [row["n"] for row in trained] == [0.0, 2.0], "of the visits at 9:30 and 10:30; the others are not mature"


def test_a_feature_that_is_null_for_every_training_row_is_said(project: Path) -> None:
    (project / "shop.py").write_text(
        SHOP.replace('"total": agg.sum("total")', '"total": agg.sum("nullif(total, total)")')
    )
    done = millstream(project, "run")
    (line,) = [line for line in done.err.splitlines() if " sets " in line]
    assert done.code == 0 and line.endswith(
        "; NULL in every training row: spent__total_1d (no row of hours has a value)"
    ), line


def test_what_came_too_late_is_counted_with_the_lag_to_declare(project: Path) -> None:
    assert millstream(project, "run").code == 0
    served(project, ("ada", "12:30"), ("bob", "12:30"), ("eve", "12:30"))
    put(project, "orders", 2, "late1,ada,7.0,2026-01-01T10:59:00Z", "late2,bob,1.0,2026-01-01T09:20:00Z")
    assert millstream(project, "run", "sources", "orders", "hours").code == 0
    found = skew(project)
    assert found["status"] == "violated", found
    assert found["details"]["tables"] == {
        "hours": {"late": 1, "restated": 1, "unread_versions": 0, "lag": "10m", "declare": "150m"}
    }, found["details"]
    assert 'rows of "hours" came later than its lag of 10m, and none would be late with lag="150m"' in found["message"]
    assert '1 rows of "hours" were restated after look-ups had counted them' in found["message"]
    assert {(e["column"], e["online"], e["offline"]) for e in found["details"]["examples"]} == {
        ("spent__n_1d", 6.0, 7.0),
        ("spent__total_1d", 18.0, 25.0),
        ("spent__n_1d", 0.0, 1.0),
        ("spent__total_1d", None, 1.0),
    }
    (project / "tables" / "hours.sql").write_text(HOURS.format(lag="150m"))
    assert millstream(project, "run").code == 0
    rows = served(project, ("bob", "12:30"), ("bob", "12:31"))
    assert [row["spent__n_1d"] for row in rows] == [0.0, 1.0]


def test_features_of_a_rebuilt_table_are_stale_and_say_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert millstream(project, "run").code == 0
    put(project, "orders", 2, "more,ada,7.0,2026-01-01T14:59:00Z")
    done = millstream(project, "run", "sources", "orders", "hours")
    assert "stale spent: hours was rebuilt: it is at version" in done.err and "millstream run spent" in done.err
    (planned,) = [a for a in millstream(project, "plan", "--json").json["assets"] if a["name"] == "spent"]
    assert planned["stale"] and "hours was rebuilt" in planned["reasons"][0]
    (shown,) = millstream(project, "show", "features", "--json").json
    assert (
        "hours was rebuilt" in shown["stale"] and shown["a row is known at"] == "its time + 1h, which it sums up, + 10m"
    )
    assert millstream(project, "run", "spent").code == 0
    (shown,) = millstream(project, "show", "features", "--json").json
    assert shown["stale"] == "" and shown["online"] == shown["in the lake"]
    with Workspace.open(str(project)) as ws:
        table = ws.lake.table("hours")
        monkeypatch.setattr("millstream.lake.compact.AT_LEAST", (2, 2, 2))
        before = table.version
        assert compact(table) > 0 and ws.lake.table("hours").version > before
        (step,) = [s for s in steps(ws) if s.name == "spent"]
        assert step.pending() == "", "compaction changes no row"


def test_the_console_says_which_version_answers(project: Path) -> None:
    def shown() -> tuple[str, Figure, Grid | None]:
        with Workspace.open(str(project)) as ws:
            features = ws.project.features["spent"]
            request = Request({"type": "http", "path_params": {"kind": "features", "name": "spent"}, "headers": []})
            page = noun(ws, request)
            return (
                _notes(ws, streams(ws), dict.fromkeys(all_streams(ws.project)))["spent"],
                page["figures"][0],
                positions(ws, features),
            )

    assert shown() == ("not filled yet", Figure("Online", "not filled", "`millstream run` fills it"), None)
    assert millstream(project, "run").code == 0
    (row,) = millstream(project, "show", "features", "--json").json
    at = row["online"]
    assert shown() == (
        f"live · version {at}",
        Figure("Online", f"version {at}", "of hours, which has no newer rows"),
        Grid(["table", "version"], [["hours", str(at)]], "applied", ("version",)),
    )
    put(project, "orders", 2, "more,ada,7.0,2026-01-01T14:59:00Z")
    assert millstream(project, "run", "sources", "orders", "hours").code == 0
    note, figure, _ = shown()
    assert note == f"stale · version {at}" and figure == Figure(
        "Online", f"version {at}", "of hours, which was rebuilt: `millstream run` fills it", "warn"
    )


def test_a_table_that_up_would_never_rebuild_is_told(project: Path) -> None:
    (warning,) = millstream(project, "check", "--json").json["warnings"]
    assert (
        warning
        == "hours: it has no schedule, so `up` never rebuilds it, and spent answers requests from the rows of its last"
        " run; give it one, e.g.  -- @schedule @hourly"
    )
    assert f"warning {warning}" in millstream(project, "check").err
    later = project / "tables" / "later.sql"
    # What is scheduled takes along what it is made from
    later.write_text("-- @schedule @daily\nselect customer, n from hours")
    assert millstream(project, "check", "--json").json["warnings"] == []
    later.unlink()
    hours = project / "tables" / "hours.sql"
    hours.write_text("-- @schedule @hourly\n" + hours.read_text())
    assert millstream(project, "check", "--json").json["warnings"] == []


def test_up_tells_it_before_it_starts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from millstream.app import supervise

    def started(part: supervise.Part) -> None:
        raise RuntimeError("the first part")

    monkeypatch.setattr(supervise.Part, "start", started)
    monkeypatch.setattr(supervise, "_free", lambda *given: None)
    monkeypatch.setattr("signal.signal", lambda *given: None)
    said: list[tuple[str, ...]] = []
    with Workspace.open(str(project)) as ws, pytest.raises(RuntimeError, match="the first part"):
        supervise.supervise(ws, console=False, say=lambda *words: said.append(words))
    assert [words[1] for words in said] == ["warning", "stopped"] and said[0][2].startswith("hours: it has no schedule")


def test_a_serving_process_follows_a_table_that_another_rebuilds(project: Path) -> None:
    from millstream.run.serving import live

    assert millstream(project, "run").code == 0
    with Workspace.open(str(project)) as ws:
        definition = define(ws.project.features["spent"], ws.project.params)
        before = ws.online.applied(definition.generation)
        put(project, "orders", 2, "more,ada,7.0,2026-01-01T14:59:00Z")
        assert millstream(project, "run", "sources", "orders", "hours").code == 0
        serving = live(ws)
        try:
            serving.updates.refresh()
            after = ws.online.applied(definition.generation)
        finally:
            serving.close()
        assert before is not None and after is not None and after.offsets[0] > before.offsets[0]
        assert after.offsets[0] == ws.lake.table("hours").version


def test_a_decision_is_traced_through_a_table(project: Path) -> None:
    assert millstream(project, "run").code == 0
    (row,) = served(project, ("ada", "12:05"))
    found = millstream(project, "trace", row["decision_id"], "--json").json
    total = next(f for f in found["features"] if f["column"] == "spent__total_1d")
    assert (total["value"], total["count"], total["table_version"], total["as_of"]) == (8.0, 2, 1, {"0": 1}), (
        "the hour of 11 is not known yet"
    )
    assert total["end"] == "2026-01-01T10:55:00+00:00" and [r["time"] for r in total["rows"]] == [
        "2026-01-01T10:00:00+00:00",
        "2026-01-01T09:00:00+00:00",
    ]
    assert [r["total"] for r in total["rows"]] == [6.0, 2.0]
    assert all(r["source"] and r["source"].startswith("built from orders at version") for r in total["rows"])
    text = millstream(project, "trace", row["decision_id"])
    assert text.code == 0 and "hours customer = ada" in text.out and "as of version 1" in text.out


FLAGS = """
import millstream as ms
from millstream import agg


class Read(ms.Event):
    meter: str
    ok: bool = True
    note: str | None = None
    ts: ms.EventTime


reads = ms.stream("reads", Read, key="meter", lateness="1h")
ms.source(reads, ms.read.files("data/*.csv"))
oks = ms.table("oks")
flags = ms.features("flags", oks, key="meter", windows=["1d"], where="ok or not ok", aggregates={
    "total": agg.sum("ok"), "share": agg.mean("ok = true"), "whole": agg.sum("ok::int"),
    "cased": agg.sum("case when ok then 1 else 0 end")})
"""


def flagged(folder: Path, features: str = FLAGS) -> Path:
    for name in ("data", "tables"):
        (folder / name).mkdir()
    (folder / "millstream.toml").write_text(TOML)
    (folder / "streams.py").write_text(features)
    (folder / "tables" / "oks.sql").write_text("-- @time ts\n-- @lag 1h\nselect meter, ts, ok, note from reads\n")
    (folder / "data" / "r.csv").write_text(
        "meter,ok,note,ts\na,true,x,2026-01-01T09:00:00Z\na,false,,2026-01-01T10:00:00Z\na,,y,2026-01-01T11:00:00Z\n"
    )
    return folder


def test_booleans_of_a_table_count_as_0_and_1(tmp_path: Path) -> None:
    project = flagged(tmp_path)
    assert millstream(project, "check").code == 0
    assert (said := millstream(project, "run")).code == 0, said.err
    with Workspace.open(str(project)) as ws:
        definition = define(ws.project.features["flags"], ws.project.params)
        (found,) = ws.online.lookup(definition, [encode(("a",))], [int(at("13:00").timestamp() * 1e6)])
    assert found.values == {"total_1d": 2.0, "share_1d": pytest.approx(2 / 3), "whole_1d": 2.0, "cased_1d": 2.0}


def test_check_finds_a_column_of_another_type(tmp_path: Path) -> None:
    """As the engine binds the table's SQL, nothing being there yet."""
    project = flagged(tmp_path, FLAGS.replace('agg.sum("ok")', 'agg.sum("note")').replace('"ok or not ok"', '"meter"'))
    said = millstream(project, "check")
    assert said.code == 2
    assert 'streams.py:17  features "flags": "note" takes the column "note" of "oks" for a number' in said.err, said.err
    assert (
        'streams.py:16  features "flags": "meter" takes the column "meter" of "oks" for a condition' in said.err
        and said.err.count("E117") == 2
    ), said.err
