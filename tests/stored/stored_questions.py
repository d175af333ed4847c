"""What a stored project is asked, by name; each answer is plain JSON, without words for people, moments of now, and
what chance makes new each time.

Questions that write (a decision, a verdict) are asked of another copy than the others; none changes the answer of
another one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from stored_project import CUSTOMERS
from stored_shop import Shop

from millstream.app import lookup
from millstream.app.lookup import trace
from millstream.base.errors import Damaged, MillstreamError, NotFound
from millstream.experiment import learn, phases
from millstream.features.define import define
from millstream.ingest.doors import released_us
from millstream.lake.aside import asides
from millstream.lake.dead import Quarantine
from millstream.lake.lineage import folded
from millstream.lake.maintain import KIND as UPKEEP
from millstream.lake.move import open_bound
from millstream.lake.pins import pinned
from millstream.lake.ruling import current
from millstream.run.claim import KIND as CLAIMS
from millstream.run.trouble import found as waiting
from millstream.serve.decisions import all_streams
from millstream.train import dataset, predictor
from millstream.train.reproduce import reproduce
from millstream.watch.monitor import episodes

Question = Callable[[Shop], Any]
QUESTIONS: dict[str, Question] = {}
WRITES: set[str] = set()
STREAMS = (
    "visits",
    "orders",
    "notes",
    "pings",
    "customers",
    "offer_decisions",
    "banner_decisions",
    "tile_decisions",
    "pair_decisions",
    "held_decisions",
)
TABLES = (
    *STREAMS,
    "notes__dead",
    "orders__dead",
    "customer_days",
    "visit_days",
    "order_lines",
    "priced",
    "customers_now",
    "customers_then",
    "scored",
    "visit_set",
    "both_set",
    "offer_outcomes",
    "banner_outcomes",
    "tile_outcomes",
    "pair_outcomes",
    "held_outcomes",
    "orders__lineage",
    "pings__lineage",
    "notes__dead__lineage",
)
MODELS = ("buyer", "linear", "trees", "reaches", "as_before", "plain", "framed", "both")
EXPERIMENTS = ("ab", "normal", "greedy", "banner_ab", "beta")
ASKED = [
    {"visit_id": f"q{i}", "customer": customer, "device": ["phone", "desk"][i % 2], "ts": "2026-01-22T12:00:00Z"}
    for i, customer in enumerate(CUSTOMERS[:8])
]
WORDS = {"message", "verdict", "counted", "why", "found", "text", "ratio"}
"""Keys whose values are sentences."""


def question(name: str, *, writes: bool = False) -> Callable[[Question], Question]:
    def add(of: Question) -> Question:
        QUESTIONS[name] = of
        WRITES.update([name] if writes else [])
        return of

    return add


def ask(name: str, shop: Shop) -> Any:
    """One answer, as JSON gives it back."""
    return plain(QUESTIONS[name](shop))


def plain(value: Any) -> Any:
    """As `json.loads` would give it back; a number that JSON lacks is a text."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return [plain(one) for one in value] if isinstance(value, list | tuple | set) else value


def without(rows: Iterable[Mapping[str, Any]], *keys: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in keys} for row in rows]


def quiet(value: Any) -> Any:
    """Without sentences, at any depth."""
    if isinstance(value, Mapping):
        return {key: quiet(one) for key, one in value.items() if key not in WORDS}
    return [quiet(one) for one in value] if isinstance(value, list | tuple) else value


def rounded(value: Any) -> Any:
    """What is computed anew may differ in its last digits from one processor to the next."""
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else str(value)
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


# Definitions, and whether what is stored is taken for what they make


@question("check")
def _check(shop: Shop) -> Any:
    return shop.said("check", "--json").code


@question("plan")
def _plan(shop: Shop) -> Any:
    """Nothing is stale: every stored fingerprint is what the code of the day computes."""
    told = shop.ask("plan", "--all")
    return {
        "assets": [[a["name"], a["kind"], a["stale"], a["reasons"]] for a in told["assets"]],
        "dedupe": told["dedupe"],
        "endpoints": told["endpoints"],
    }


@question("doctor")
def _doctor(shop: Shop) -> Any:
    return [
        [f["what"], f["status"]]
        for f in shop.said("doctor", "--json").json
        if f["what"] not in ("python", "disk", "lightgbm", "sklearn")
    ]


@question("verify")
def _verify(shop: Shop) -> Any:
    return quiet(shop.ask("verify", "--deep"))


# What `show` says


def _show(what: str, *left_out: str) -> None:
    @question(f"show {what}")
    def shown(shop: Shop) -> Any:
        return quiet(without(shop.ask("show", what, "--limit", "100"), *left_out))


for _what, _left_out in {
    "streams": ("stuck",),
    "sources": ("stuck",),
    "tables": (),
    "features": ("a row is known at", "stale"),
    "sets": ("others",),
    "models": (),
    "experiments": (),
    "endpoints": (),
    "graph": (),
    "runs": (),
    "waiting": (),
}.items():
    _show(_what, *_left_out)


@question("runs one by one")
def _runs(shop: Shop) -> Any:
    names = [row["run"] for row in shop.ask("show", "runs", "--limit", "100")]
    told = [lookup.run(shop.ws, name) for name in names]
    return [
        {
            **run,
            "results": [[end["name"], end["kind"], end["status"], end["rows"]] for end in run["results"]],
            "keys": sorted({key for end in run["results"] for key in end}),
        }
        for run in told
    ]


@question("steps of another orchestrator")
def _steps(shop: Shop) -> Any:
    return {"steps": shop.ask("show", "steps", "nightly"), "docs": [doc.key for doc in shop.ws.state.list(CLAIMS)]}


# Tables, rows, positions


def _table(name: str) -> None:
    @question(f"table {name}")
    def rows(shop: Shop) -> Any:
        if not shop.ws.lake.exists(name):
            return None
        table = shop.ws.lake.table(name)
        found = shop.ws.sql.query(f'select * from "{name}"', {name: table.snapshot()}).read_all().to_pylist()
        held = sorted(json.dumps(plain(row), sort_keys=True) for row in found)
        return {
            "rows": len(found),
            "of": digest(held),
            "schema": [[f.name, str(f.type), f.nullable] for f in table.schema],
            "version": table.version,
        }


for _name in TABLES:
    _table(_name)


def news(table: Any) -> list[Any]:
    """Since each version, the files that bring rows; where its log no longer tells, nothing."""
    told = list[Any]()
    for version in range(table.version):
        with suppress(MillstreamError):
            told.append([version, [path.rpartition("/")[2] for path in table.added(version)]])
    return [len(told), digest(told), *told[:1]]


def _stream(name: str) -> None:
    @question(f"positions {name}")
    def positions(shop: Shop) -> Any:
        """In the log and in the table: the keys are spelled as they are stored."""
        ws, topic = shop.ws, shop.ws.log.topic(name)
        assert topic is not None
        table = ws.lake.table(name)
        ranges = [asdict(one) for one in table.ranges()]
        return {
            "topic": asdict(topic) | {"retention": str(topic.retention)},
            "ends": {p: asdict(end) for p, end in ws.log.ends(name).items()},
            "table": table.txns(),
            "ruling": asdict(current(table, topic.uuid)),
            "asides": {p: asides(table, topic, p) for p in range(topic.partitions)},
            "bound": open_bound(table, topic),
            "letters_rule": Quarantine(ws.lake, name, topic.uuid).rule,
            "news": news(table),
            "folded": folded(ws.lake, table),
            "ranges": [len(ranges), digest(ranges), *ranges[:2]],
            "schemas": [json.loads(ws.schemas.schema(number)) for number in ws.schemas.versions(name)],
            "watermark": ws.lake.watermark(all_streams(ws.project)[name]),
        }

    @question(f"records {name}")
    def records(shop: Shop) -> Any:
        """Every record of the log, as it is stored."""
        ws, found = shop.ws, list[Any]()
        reader = ws.log.reader(name, {p: end.low for p, end in ws.log.ends(name).items()})
        try:
            while True:
                try:
                    pieces = reader.poll(10_000, timedelta(0))
                except Damaged as error:
                    return [name, "damaged", error.end]
                if not pieces:
                    break
                found += [[p.partition, p.start, p.end, p.schema_id, p.rows.to_pylist()] for p in pieces]
        finally:
            reader.close()
        rows = sorted(
            json.dumps([p, schema, plain(row)], sort_keys=True) for p, _, _, schema, held in found for row in held
        )
        return {"records": len(rows), "of": digest(rows), "schemas": sorted({schema for *_, schema, _ in found})}


for _name in STREAMS:
    _stream(_name)


@question("what sources have read")
def _positions(shop: Shop) -> Any:
    return {name: json.loads(text) for name, text in shop.ws.log.positions().items()}


@question("pins")
def _pins(shop: Shop) -> Any:
    return {name: pinned(shop.ws.lake.files, name) for name in ("visit_set", "both_set")}


@question("commits")
def _commits(shop: Shop) -> Any:
    """What each commit that is still there says of itself: who made it, and all else as a fingerprint."""
    told = {}
    for name in filter(shop.ws.lake.exists, TABLES):
        table, said = shop.ws.lake.table(name), []
        for version in range(table.version + 1):
            with suppress(NotFound):
                said.append(table.metadata(version))
        told[name] = {
            "by": [one.get("by") for one in said],
            "keys": sorted({key for one in said for key in one}),
            "of": digest(said),
        }
    return told


# Features, sets, models


@question("online")
def _online(shop: Shop) -> Any:
    ws = shop.ws
    found = {
        name: ws.online.applied(define(noun, ws.project.params).generation)
        for name, noun in ws.project.features.items()
    }
    return {
        name: [define(noun, ws.project.params).generation, asdict(at) if (at := found[name]) else None]
        for name, noun in ws.project.features.items()
    }


@question("sets")
def _sets(shop: Shop) -> Any:
    found: dict[str, Any] = {name: dataset.latest(name, shop.ws.lake) for name in ("visit_set", "both_set")}
    return {name: asdict(one) for name, one in found.items()}


def _model(name: str) -> None:
    @question(f"tracked {name}")
    def tracked(shop: Shop) -> Any:
        tracking = shop.ws.tracking
        return {
            "versions": [asdict(version) for version in tracking.versions(name)],
            "runs": [asdict(run) for run in tracking.runs(name)],
        }

    @question(f"described {name}")
    def described(shop: Shop) -> Any:
        return [
            without([shop.ask("show", "model", f"{name}@{version.number}")], "verdict")[0]
            for version in shop.ws.tracking.versions(name)
        ]

    @question(f"predicts {name}")
    def predicts(shop: Shop) -> Any:
        """Each version, of twenty stored rows together and one by one; its aliases, and in which form it answers."""
        ws, told = shop.ws, {}
        on = ws.project.models[name].on.name
        rows = ws.sql.query(
            f'select * from "{on}" where _row % 40 = 7 order by _row limit 20', {on: ws.lake.table(on).snapshot()}
        ).read_all()
        for version in ws.tracking.versions(name):
            model = predictor.load(ws.tracking, name, str(version.number))
            alone = [model.predict_row({column: row[column] for column in model.columns}) for row in rows.to_pylist()]
            fitted: Any = getattr(model.scorer, "fitted", None)
            told[version.number] = {
                "together": model.predict(rows),
                "alone": alone,
                "form": model.scorer.form,
                "aliases": list(version.aliases),
                "columns": model.columns,
                "said": fitted.said() if hasattr(fitted, "said") else None,
            }
        return told


for _name in MODELS:
    _model(_name)


@question("trained again")
def _reproduced(shop: Shop) -> Any:
    """From the recorded version of its set, parameters and seed."""
    ws = shop.ws
    told = reproduce(ws.project.models["buyer"], ws.tracking, ws.lake, ws.sql, "1")
    return {"same": told.same, "rows": told.rows, "changed": [change for change in told.changed if change == "code"]}


# Experiments, decisions, monitors


def _experiment(name: str) -> None:
    @question(f"experiment {name}")
    def experiment(shop: Shop) -> Any:
        known = phases.history(shop.ws.state, name)
        return {
            "phases": [asdict(phase) for phase in known],
            "definition": phases.definition(shop.ws.project.experiments[name]),
            "reports": [quiet(shop.ask("experiment", "show", name, "--phase", str(phase.number))) for phase in known],
            "snapshot": asdict(made) if (made := learn.snapshot_of(shop.ws.state, name)) else None,
        }


for _name in EXPERIMENTS:
    _experiment(_name)


def _endpoint(name: str) -> None:
    @question(f"decides {name}", writes=True)
    def decides(shop: Shop) -> Any:
        ((status, told),) = shop.post([("predict", name, ASKED)])
        return [status, without(told, "decision_id", "latency_us", "latency_ms")]

    @question(f"traces {name}")
    def traces(shop: Shop) -> Any:
        """A decision of each arm and model, back to files and offsets."""
        rows = shop.rows(
            f"select arm, model, max(decision_id) as one from {name}_decisions group by all order by all limit 4"
        )
        chosen = [row["one"] for row in rows]
        found = [quiet(trace(shop.ws, one).to_dict()) for one in chosen]
        first = {**found[0], "features": [{**feature, "rows": feature["rows"][:1]} for feature in found[0]["features"]]}
        return {"decisions": chosen, "of": [digest(rounded(one)) for one in found], "first": first}


for _name in ("offer", "banner", "tile", "pair", "held"):
    _endpoint(_name)


@question("monitor --history")
def _history(shop: Shop) -> Any:
    return [{**row, "details": digest(rounded(row["details"]))} for row in quiet(shop.ask("monitor", "--history"))]


@question("monitor", writes=True)
def _monitor(shop: Shop) -> Any:
    told = quiet(without(shop.ask("monitor", code=4), "at", "at_us"))
    for row in told:
        row["details"].pop("look_ahead", None)  # counted since this was stored
    return [{**row, "details": digest(rounded(row["details"]))} for row in told]


@question("trace as a verb")
def _trace(shop: Shop) -> Any:
    """What the verb says is what the console is given."""
    one = shop.rows("select max(decision_id) as one from tile_decisions")[0]["one"]
    return {
        "same": plain(shop.ask("trace", one)) == plain(trace(shop.ws, one).to_dict()),
        "keys": sorted(shop.ask("trace", one)),
    }


@question("episodes")
def _episodes(shop: Shop) -> Any:
    return [
        without([one], "first", "last", "alert", "opened_us", "target")[0] | {"alert": quiet(one.get("alert"))}
        for one in episodes(shop.ws.monitors.scene)
    ]


@question("kept by operators and upkeep")
def _kept(shop: Shop) -> Any:
    ws = shop.ws
    return {
        "released": released_us(ws.state, "pings"),
        "waiting": [[one.part, one.name, one.since] for one in waiting(ws.state)],
        "upkeep": {doc.key: doc.value["version"] for doc in ws.state.list(UPKEEP)},
        "schedule": {doc.key: doc.value for doc in ws.state.list("schedule")},
        "profiles": [doc.key for doc in ws.state.list("profile")],
        "assets": {doc.key: doc.value for doc in ws.state.list("asset")},
    }
