"""A plan counts what the run then builds: the streams that new files bring something, what is made from those, and the
time that this takes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_project import millstream

STREAMS = """
import millstream as ms
from millstream import agg


class Order(ms.Event):
    order_id: str
    customer: str
    ts: ms.EventTime


names = ("orders", "visits", "returns")
orders, visits, returns = (ms.stream(name, Order, key="customer", lateness="1s") for name in names)
for s in (orders, visits, returns):
    ms.source(s, ms.read.files(f"data/{s.name}-*.csv"))
ms.table("order_days", "select date_trunc('day', ts) as day, count(*) as n from orders group by 1")
ms.table("visit_days", "select date_trunc('day', ts) as day, count(*) as n from visits group by 1")
ms.table("order_log", "select order_id, ts from orders", time="ts", incremental="append")
ms.table("two_days", "select day, o.n as orders, v.n as visits from order_days o join visit_days v using (day)")
ordered = ms.features("ordered", orders, key="customer", windows=["1d"], aggregates={"n": agg.count()})
visited = ms.features("visited", visits, key="customer", windows=["1d"], aggregates={"n": agg.count()})
came_back = ms.outcome(returns, on="customer", within="1h", otherwise=False)
paid = ms.training_set("paid", at=orders, label=came_back, features=[ordered])
seen = ms.training_set("seen", at=visits, label=came_back, features=[visited])
"""


def send(project: Path, stream: str, file: int, rows: int) -> None:
    lines = "".join(
        f"{stream}{file}-{n},c{n % 5},2026-01-{file:02d}T{n // 60 % 24:02d}:{n % 60:02d}:00Z\n" for n in range(rows)
    )
    (project / "data" / f"{stream}-{file}.csv").write_text("order_id,customer,ts\n" + lines)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "counts"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    for stream in ("orders", "visits", "returns"):
        send(tmp_path, stream, 1, 400)
    said = millstream(tmp_path, "run")
    assert said.code == 0, said
    return tmp_path


def planned(project: Path) -> dict[str, dict[str, object]]:
    return {a["name"]: a for a in millstream(project, "plan", "--json").json["assets"] if a["stale"]}


def built(project: Path) -> set[str]:
    said = millstream(project, "run", "--json")
    assert said.code == 0, said
    return {row["name"] for row in said.json if row["status"] == "made"}


def test_a_file_of_one_stream_makes_nothing_stale_that_is_made_from_others(project: Path) -> None:
    assert not planned(project)
    send(project, "orders", 2, 100)
    found = planned(project)
    said = millstream(project, "plan")
    assert set(found) == {"sources", "orders", "order_days", "order_log", "two_days", "ordered", "paid"}
    assert f"{len(found)} of 12 assets" in " ".join(said.err.split())
    assert built(project) == set(found)
    assert not planned(project)


def test_what_is_read_is_what_comes(project: Path) -> None:
    send(project, "orders", 2, 100)
    found = planned(project)
    rows = {name: int(str(asset["rows"])) for name, asset in found.items()}
    assert 90 <= rows["orders"] <= 110, "by the bytes of what was read before"
    assert rows["order_log"] == rows["orders"], "it appends"
    assert rows["order_days"] == 400 + rows["orders"], "it is built whole"
    assert rows["ordered"] == 0, "its online state is the updater's"
    last = {
        row["name"]: row["seconds"]
        for row in millstream(project, "show", "run", _last(project), "--json").json["results"]
    }
    assert float(str(found["order_log"]["seconds"])) <= 0.5 * last["order_log"]
    assert float(str(found["ordered"]["seconds"])) == 0


def _last(project: Path) -> str:
    return str(millstream(project, "show", "runs", "--json").json[0]["run"])


def test_an_empty_file_brings_nothing(project: Path) -> None:
    (project / "data" / "orders-3.csv").write_text("")
    assert set(planned(project)) == {"sources"}
    assert built(project) == {"sources"}


def test_the_time_of_what_was_never_built_is_said_to_be_unknown(project: Path) -> None:
    send(project, "orders", 2, 100)
    assert "s by the last run\n" in millstream(project, "plan").err, "all have been built"
    with (project / "streams.py").open("a") as file:
        file.write('ms.table("more", "select order_id from orders")\nms.table("again", "select order_id from more")\n')
    said = " ".join(millstream(project, "plan").err.split())
    known = sum(a["seconds"] is not None for a in planned(project).values())
    assert said.endswith(f"s by the last run for {known} of them; the time of 2, never built, is unknown"), said
    assert (
        millstream(project, "plan", "more")
        .err.strip()
        .endswith("; how long it takes is unknown, since none of them has been built")
    )
