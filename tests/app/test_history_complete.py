"""A history that is declared complete: its labels mature without an invented event, and a record that comes later takes
it back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_project import millstream, written

STREAMS = """
import millstream as ms


class Order(ms.Event):
    order_id: str
    amount: float = 0.0
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="order_id", lateness="10m")
returns = ms.stream("returns", Order, key="order_id", lateness="10m")
silent = ms.stream("silent", Order, key="order_id", lateness="10m")
for s in (orders, returns, silent):
    ms.source(s, ms.read.files(f"data/{s.name}*.csv"))
came_back = ms.outcome(returns, on="order_id", within="7d", otherwise=False)
paid = ms.training_set("paid", at=orders, label=came_back, features=[orders.fields("amount")])
"""
T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    times = [T0 + timedelta(hours=6 * n) for n in range(40)]
    lines = "".join(f"o{n},{n},{at.isoformat()}\n" for n, at in enumerate(times))
    written(tmp_path, STREAMS, {"data/orders-1.csv": "order_id,amount,ts\n" + lines})
    send(tmp_path, "returns-1", [(n, at + timedelta(hours=5)) for n, at in enumerate(times) if n % 5 == 0])
    assert millstream(tmp_path, "run").code == 0
    return tmp_path


def send(project: Path, file: str, rows: list[tuple[int, datetime]]) -> None:
    (project / f"data/{file}.csv").write_text(
        "order_id,amount,ts\n" + "".join(f"o{n},0,{at.isoformat()}\n" for n, at in rows)
    )


def kept(project: Path) -> tuple[int, int]:
    """Rows of the set, and how many of them came back."""
    (found,) = millstream(
        project, "sql", "select count(*) as n, count(*) filter (label) as back from paid", "--json"
    ).json
    return found["n"], found["back"]


def others(project: Path) -> str:
    (found,) = millstream(project, "show", "sets", "--json").json
    return str(found["others"])


def test_labels_of_a_complete_history_mature_and_no_event_is_invented(project: Path) -> None:
    before, _ = kept(project)
    assert 0 < before < 40 and f"{40 - before} immature" in others(project)
    events = millstream(project, "sql", "select count(*) as n from returns", "--json").json
    said = millstream(project, "ingest", "--complete", "returns")
    assert said.code == 0 and "complete returns: no event up to" in said.err, said.err
    assert "paid" in millstream(project, "plan").out
    assert millstream(project, "run").code == 0
    assert kept(project) == (40, 8) and others(project) == "none left out"
    assert millstream(project, "sql", "select count(*) as n from returns", "--json").json == events
    assert millstream(project, "verify").code == 0
    (row,) = [row for row in millstream(project, "show", "streams", "--json").json if row["stream"] == "returns"]
    assert row["complete"].startswith("up to ")


def test_a_later_record_takes_it_back(project: Path) -> None:
    rows, back = kept(project)
    assert millstream(project, "ingest", "--complete", "returns").code == 0
    assert millstream(project, "run").code == 0
    send(project, "returns-2", [(1, T0 + timedelta(hours=8))])
    said = millstream(project, "run")
    assert said.code == 0 and "it was declared complete, and is not any more" in said.err, said.err
    assert kept(project) == (rows, back + 1) and "immature" in others(project)
    (row,) = [row for row in millstream(project, "show", "streams", "--json").json if row["stream"] == "returns"]
    assert row["complete"] == "taken back: records came later"
    assert millstream(project, "ingest", "--complete", "returns").code == 0
    assert millstream(project, "run").code == 0
    assert kept(project) == (40, 9), "said again, with what came"


def test_what_is_not_all_there_is_not_declared(project: Path) -> None:
    for words, why in (
        (("--complete", "returns", "--no-sink"), "leave out --until and --no-sink"),
        (("--complete", "returns", "--until", "2026-01-02"), "leave out --until and --no-sink"),
        (("--complete", "retruns"), 'no stream "retruns"'),
    ):
        said = millstream(project, "ingest", *words)
        assert said.code == 2 and why in said.err
    (project / "data/returns-2.csv").write_text("order_id,amount,ts\no1,much,2026-01-01T00:00:00Z\n")
    said = millstream(project, "ingest", "--complete", "returns")
    assert said.code == 1 and "returns: not declared complete" in said.err
    (row,) = [row for row in millstream(project, "show", "streams", "--json").json if row["stream"] == "returns"]
    assert row["complete"] == ""


def test_a_stream_that_never_had_an_event_can_be_complete(project: Path) -> None:
    (project / "streams.py").write_text(STREAMS.replace("ms.outcome(returns", "ms.outcome(silent"))
    assert millstream(project, "ingest", "--complete", "silent").code == 0
    assert millstream(project, "run").code == 0
    assert kept(project) == (40, 0)
