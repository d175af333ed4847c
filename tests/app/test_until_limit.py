"""After `ingest --until`, whoever reads on says that it passed the limit: in the plan beforehand, and in the run's own
line.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_project import millstream

STREAMS = """
import millstream as ms


class Order(ms.Event):
    id: str
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="id")
ms.source(orders, ms.read.files("data/*.csv"))
"""
PAST = "past 2026-01-01 12:00:00 UTC, where `ingest --until` had stopped"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "limit"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    (tmp_path / "data/1.csv").write_text("id,ts\n" + "".join(f"o{n},2026-01-01T{n:02d}:00:00Z\n" for n in range(24)))
    return tmp_path


def rows(project: Path) -> int:
    return int(millstream(project, "sql", "select count(*) as n from orders", "--json").json[0]["n"])


def test_a_run_that_reads_past_the_limit_says_so(project: Path) -> None:
    assert millstream(project, "ingest", "--until", "2026-01-01T12:00Z").code == 0
    assert rows(project) == 12
    planned = " ".join(
        row for asset in millstream(project, "plan", "--json").json["assets"] for row in asset["reasons"]
    )
    assert PAST in planned
    said = millstream(project, "run")
    assert said.code == 0 and f"12 rows read {PAST}" in said.err
    assert rows(project) == 24
    (project / "data/2.csv").write_text("id,ts\np,2026-01-02T00:00:00Z\n")
    assert "past" not in millstream(project, "run").err, "the limit is behind it"


def test_a_later_limit_is_passed_too_and_an_earlier_one_is_kept(project: Path) -> None:
    assert millstream(project, "ingest", "--until", "2026-01-01T12:00Z").code == 0
    said = millstream(project, "ingest", "--until", "2026-01-01T11:00Z")
    assert said.code == 0 and "past" not in said.err and rows(project) == 12
    said = millstream(project, "ingest", "--until", "2026-01-01T18:00Z")
    assert said.code == 0 and "where `ingest --until` had stopped" in said.err and rows(project) == 18


def test_a_limit_behind_the_last_event_is_none(project: Path) -> None:
    assert millstream(project, "ingest", "--until", "2026-02-01").code == 0
    (project / "data/2.csv").write_text("id,ts\np,2026-01-02T00:00:00Z\n")
    assert "past" not in millstream(project, "run").err
