"""What an older Millstream stored opens, verifies, serves and answers as it did then, and lives on. See README.md for what is in the archive."""

from __future__ import annotations

import json
import math
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import fields, is_dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from stored_questions import QUESTIONS, WRITES, ask, digest
from stored_shop import ANSWERS, Shop, unpacked

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]
"""Libraries warn of what older ones have stored."""
for library in ("sklearn", "lightgbm"):
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed, and stored models are made of it", allow_module_level=True)
TOLD = json.loads(ANSWERS.read_text())
THEN = TOLD["answers"]
RUNS_MODELS = ("predicts ", "decides ", "trained again")
bytecode = pytest.mark.skipif(
    platform.python_version_tuple()[:2] != tuple(TOLD["python"].split(".")[:2]), reason=f"the stored models hold bytecode of Python {TOLD['python']}"
)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The project in a folder that it has never been in."""
    shop = Shop(unpacked(tmp_path_factory.mktemp("read")))
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(unpacked(tmp_path_factory.mktemp("written")))
    yield shop
    shop.close()


def apart(now: Any, then: Any, at: str = "") -> Iterator[str]:
    """Where two answers differ; numbers that are computed anew may differ in their last digits."""
    if isinstance(now, dict) and isinstance(then, dict):
        for key in sorted({*now, *then}):
            if key in now and key in then:
                yield from apart(now[key], then[key], f"{at}.{key}")
            else:
                yield f"{at}.{key} is {'new' if key in now else 'gone'}"
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        for i, (one, other) in enumerate(zip(now, then, strict=True)):
            yield from apart(one, other, f"{at}[{i}]")
    elif isinstance(now, float) and isinstance(then, float):
        if not math.isclose(now, then, rel_tol=1e-9, abs_tol=1e-9):
            yield f"{at} is {now!r}, and was {then!r}"
    elif type(now) is not type(then) or now != then:
        yield f"{at} is {str(now)[:300]}, and was {str(then)[:300]}"


@pytest.mark.parametrize("name", [pytest.param(n, marks=bytecode if n.startswith(RUNS_MODELS) else ()) for n in QUESTIONS])
def test_it_answers_as_it_did(name: str, request: pytest.FixtureRequest) -> None:
    shop = request.getfixturevalue("written" if name in WRITES else "read")
    found = list(apart(ask(name, shop), THEN[name], name))
    assert not found, "\n".join(found[:20])


def test_every_answer_is_asked_for() -> None:
    assert set(QUESTIONS) == set(THEN)


def test_the_archive_holds_what_it_is_for() -> None:
    """Or the answers would be the same because nothing was asked."""
    verified = {one["stream"]: one for one in THEN["verify"]}
    assert all(one["ok"] for one in verified.values()) and len(verified) == 10
    assert verified["notes"]["dead"] == 4 and verified["orders"]["dead"] == 2 and verified["orders"]["duplicates"] == 6 and verified["pings"]["gaps"]
    made_by = {by for one in THEN["commits"].values() for by in one["by"]}
    assert made_by >= {"sink", "build", "move", "ruling", "claim", "complete", "compaction"}
    assert len(THEN["positions orders"]["schemas"]) == 2 and THEN["positions orders"]["ruling"]["number"] == 2
    assert {row["status"] for row in THEN["monitor --history"]} == {"ok", "violated"}
    assert {row["status"] for row in THEN["show runs"]} == {"finished", "failed"}
    assert {alias for row in THEN["show models"] for alias in row["aliases"].split()} == {"champion", "challenger", "latest"}
    assert {one["form"] for name in ("buyer", "linear", "trees", "framed") for one in THEN[f"predicts {name}"].values()} == {
        "sklearn",
        "linear",
        "lightgbm",
        "frame",
    }
    assert [phase["status"] for phase in THEN["experiment banner_ab"]["phases"]] == ["stopped", "stopped", "shipped"]
    assert all(THEN[f"experiment {name}"]["snapshot"]["draw"] > 1 for name in ("normal", "greedy", "beta"))
    assert not any(stale for _, _, stale, _ in THEN["plan"]["assets"])


@bytecode
@pytest.mark.parametrize("name", ["reaches", "as_before"])
def test_the_attributes_of_stored_nouns_are_those_of_the_day(read: Shop, name: str) -> None:
    """A pickle brings back attributes as they were spelled, whatever the class has become."""
    from millstream.train import predictor

    nouns = dict[int, Any]()
    fitted: Any = predictor.load(read.ws.tracking, name, "1").scorer
    gather(vars(fitted.fitted), nouns)
    kinds = {type(noun).__name__ for noun in nouns.values()}
    assert kinds >= {
        "Stream",
        "Schema",
        "Field",
        "Place",
        "Features",
        "Aggregate",
        "Outcome",
        "TrainingSet",
        "Payload",
        "Split",
        "Table",
        "Contents",
        "FileReader",
    }
    lacks = {f"{type(noun).__name__}.{field.name}" for noun in nouns.values() for field in fields(noun) if not hasattr(noun, field.name)}
    unread = {
        f"{type(noun).__name__}.{key}"
        for noun in nouns.values()
        for key in vars(noun)
        if not hasattr(type(noun), key) and key not in {f.name for f in fields(noun)}
    }
    assert not lacks and not unread


def gather(value: Any, found: dict[int, Any]) -> None:
    """Every noun and term below a value."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        for one in value:
            gather(one, found)
    elif is_dataclass(value) and not isinstance(value, type) and type(value).__module__.startswith("millstream.") and id(value) not in found:
        found[id(value)] = value
        gather(vars(value), found)
        gather(getattr(getattr(value, "event", None), "__schema__", None), found)


# It continues living


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A day more by the code of the day, on what was stored."""
    from millstream.experiment import learn
    from millstream.lake.maintain import maintain
    from millstream.run.feedback import feedback

    shop, leases = Shop(unpacked(tmp_path_factory.mktemp("lived"))), set[str]()
    engine = type(shop.ws.state)
    lease = engine.lease

    def noted(self: Any, name: str, *more: Any) -> bool:
        leases.add(name)
        return bool(lease(self, name, *more))

    before = {one["stream"]: one for one in THEN["verify"]}
    last = max(shop.rows("select * exclude (coupon), coupon from orders"), key=lambda row: row["ts"])
    again = {name: last[name] for name in ("order_id", "customer", "amount", "coupon", "ts")}
    visits = [{"visit_id": f"w{i}", "customer": f"c{i}", "device": ["phone", "desk"][i % 2], "ts": f"2026-01-23T10:{i:02}:00Z"} for i in range(30)]
    orders = [{"order_id": f"p{i}", "customer": f"c{i}", "amount": 10.5 + i, "coupon": None, "ts": f"2026-01-23T11:{i:02}:00Z"} for i in range(0, 30, 2)]
    corrected = {"order_id": "bad1", "customer": "c1", "amount": 12.5, "ts": "2026-01-23T12:00:00Z"}
    (shop.folder / "data" / "orders_3.csv").write_text(
        "order_id,customer,amount,coupon,ts\np30,c3,7.5,ten,2026-01-23T14:00:00Z\np31,c3,much,,2026-01-23T14:01:00Z\n"
    )
    sent = shop.post(
        [("events", "visits", visits), ("predict", "offer", visits), ("predict", "tile", visits), ("events", "orders", [*orders, corrected, again])]
    )
    run = shop.ask("run", "+scored", "spend", "ever", "habit", "days", "person", "offer_decisions", "tile_decisions")
    feedback(shop.ws)
    snapshots = {name: learn.snapshot_of(shop.ws.state, name) for name in ("normal", "greedy", "beta")}
    shop.ask("monitor", "orders_well")
    shop.said("experiment", "start", "ab")
    step = ("run-step", "--manifest", str(shop.manifest), "--step", shop.group, "--run-id", "nightly", "--try")
    with mock.patch.object(engine, "lease", noted):
        tries = [shop.said(*step, attempt).code for attempt in ("1", "3")]
        swept = {name: maintain(shop.ws.lake, name, shop.ws.state, "test", now=lambda: 2e9) for name in ("orders", "visits", "visit_set", "pings")}
    yield SimpleNamespace(shop=shop, before=before, sent=sent, run=run, snapshots=snapshots, swept=swept, leases=leases, tries=tries,
                          verified={one["stream"]: one for one in shop.ask("verify", "--deep")})  # fmt: skip
    shop.close()


def test_new_events_are_counted_once_beside_the_old(lived: SimpleNamespace) -> None:
    assert [status for status, _ in lived.sent] == [200] * 4
    assert {row["status"] for row in lived.run} <= {"made", "skipped"} and {"sources", "orders", "buyer"} <= {
        row["name"] for row in lived.run if row["status"] == "made"
    }
    now, before = lived.verified, lived.before
    assert all(one["ok"] for one in now.values())
    assert now["visits"]["rows"] == before["visits"]["rows"] + 30 and now["orders"]["rows"] == before["orders"]["rows"] + 17
    assert now["orders"]["duplicates"] == before["orders"]["duplicates"] + 1, "the id of an order that was there is known from the table"
    assert now["orders"]["dead"] == before["orders"]["dead"] + 1, "what a new file holds is judged as ever"
    assert lived.shop.rows("select order_id, amount from orders where order_id = 'bad1'") == [{"order_id": "bad1", "amount": 12.5}], (
        "a letter, corrected and sent again"
    )
    (orders,) = [row for row in lived.shop.ask("show", "streams") if row["stream"] == "orders"]
    assert orders["complete"] and "2026" not in orders["complete"], "that the history is complete was taken back"


@bytecode
def test_a_version_more_follows_the_stored_ones(lived: SimpleNamespace) -> None:
    versions = {version.number: version.aliases for version in lived.shop.ws.tracking.versions("buyer")}
    assert sorted(versions) == [1, 2, 3, 4, 5] and "latest" in versions[5] and [n for n, a in versions.items() if "champion" in a] in ([2], [5])
    place = lived.shop.ws.tracking.artifacts("buyer", 5)
    assert place.is_relative_to(lived.shop.folder) and (place / "manifest.json").exists(), "the folder that wrote the archive is gone, and is not made again"
    assert ask("trained again", lived.shop) == THEN["trained again"], "what a version is pinned to outlives the clean-up"


def test_bandits_learn_on_from_what_they_knew(lived: SimpleNamespace) -> None:
    for name, snapshot in lived.snapshots.items():
        then = THEN[f"experiment {name}"]["snapshot"]
        counted = {arm: sum(of[arm][0] for of in then["stats"].values()) for arm in next(iter(then["stats"].values()))}
        now = {arm: sum(of[arm].n for of in snapshot.stats.values()) for arm in counted}
        taken = sum(row["arm"] is not None for row in decided(lived, name))
        assert snapshot.draw == then["draw"] + 1 and snapshot.phase == then["phase"] and all(now[arm] >= counted[arm] for arm in counted)
        assert sum(now.values()) == sum(counted.values()) + taken and taken


def decided(lived: SimpleNamespace, experiment: str) -> list[dict[str, Any]]:
    return [row for _, rows in lived.sent[1:3] for row in rows if row["experiment"] == experiment]


def test_experiments_and_monitors_go_on_with_their_history(lived: SimpleNamespace) -> None:
    shown = lived.shop.ask("experiment", "show", "ab")[0]
    assert [phase["phase"] for phase in shown["phases"]] == [1, 2, 3] and shown["status"] == "running"
    history = [row for row in lived.shop.ask("monitor", "--history") if row["monitor"] == "orders_well" and row["check"] == "rows"]
    assert len(history) == sum(row["monitor"] == "orders_well" and row["check"] == "rows" for row in THEN["monitor --history"]) + 1


def test_upkeep_sweeps_and_every_row_stays(lived: SimpleNamespace) -> None:
    assert lived.swept["orders"].folded, "its ranges were copied"
    assert not lived.swept["pings"].joined
    for name in ("orders", "visits", "pings"):
        assert lived.verified[name]["ok"]
    rows = [row for row in lived.shop.rows("select * from pings") if row["n"] >= 0]
    assert len(rows) == 40 and digest(sorted(row["n"] for row in rows)) == digest(list(range(40)))


def test_a_step_of_the_stored_export_runs(lived: SimpleNamespace) -> None:
    assert lived.tries == [5, 0], "attempt 2 was there before the first, and gives way to the third"


def test_leases_have_the_names_that_older_processes_know(lived: SimpleNamespace) -> None:
    assert lived.leases >= {"step/land", "upkeep/orders", "upkeep/pings"}, "or two versions beside one another would not wait for each other"


def test_a_lease_of_the_older_code_is_kept(tmp_path: Path) -> None:
    """While an older process repairs a table, a newer one waits for it: the names of leases stay."""
    from millstream.app.parts import fix
    from millstream.lake.cut import needed

    shop = Shop(unpacked(tmp_path))
    with closing(shop.ws) as ws:
        path = max(ws.lake.table("visits").actions().to_pylist(), key=lambda file: file["modification_time"])["path"]
        (shop.folder / ".millstream" / "lake" / "visits" / path).write_bytes(b"torn")
        assert ws.state.lease("mend/visits", "an older process", timedelta(minutes=1))
        repairs = threading.Thread(target=fix, args=(ws, threading.Event()))
        repairs.start()
        repairs.join(1.5)
        assert repairs.is_alive() and needed(ws.files, "visits"), "the other holds the lease"
        ws.state.release("mend/visits", "an older process")
        repairs.join(30)
        assert not repairs.is_alive() and not needed(ws.files, "visits")


def test_retention_knows_what_the_lake_has(tmp_path: Path) -> None:
    shop, then = Shop(unpacked(tmp_path)), THEN["positions pings"]["ends"]["0"]
    with closing(shop.ws) as ws:
        late = time.time_ns() + 20 * 365 * 86_400 * 10**9  # its retention is ten years
        with mock.patch("time.time_ns", lambda: late):
            ws.log.maintain()
        now = ws.log.ends("pings")[0]
    assert (then["low"], then["high"], now.low, now.high) == (0, 50, 50, 50)


def test_an_alert_that_was_not_taken_is_sent(tmp_path: Path) -> None:
    from millstream.watch.alert import Webhook
    from millstream.watch.monitor import send_again

    got = list[Any]()

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    shop, server = Shop(unpacked(tmp_path)), HTTPServer(("127.0.0.1", 0), Takes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with closing(shop.ws) as ws:
            assert send_again(ws.project.monitors.values(), ws.monitors.scene, Webhook(f"http://127.0.0.1:{server.server_port}/")) == []
            assert send_again(ws.project.monitors.values(), ws.monitors.scene, Webhook("http://127.0.0.1:9/")) == [], "it is sent once"
    finally:
        server.shutdown()
        server.server_close()
    assert [(one["monitor"], one["event"], one["project"]) for one in got] == [("orders_late", "opened", "kept")]
