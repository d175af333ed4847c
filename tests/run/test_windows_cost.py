"""What a window of duplicates costs is said before it is paid: by `check` for what is declared, by `plan` for what the
tables hold.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_project import millstream

from millstream.log.dedupe import MEMORY_BYTES, cost
from millstream.run import windows

STREAMS = """
import millstream as ms


class Order(ms.Event):
    order_id: str
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="order_id", dedupe="order_id", dedupe_within="7d", partitions=1)
returns = ms.stream("returns", Order, key="order_id", dedupe="order_id", partitions=1)
notes = ms.stream("notes", Order, key="order_id", partitions=1)
for each in (orders, returns, notes):
    ms.source(each, ms.read.files(f"data/{each.name}*"))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "windows"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    for name in ("orders", "returns", "notes"):
        lines = "".join(f"o{n},2026-01-01T00:{n:02d}:00Z\n" for n in range(10))
        (tmp_path / "data" / f"{name}.csv").write_text("order_id,ts\n" + lines)
    return tmp_path


def test_check_names_the_windows_that_are_longer_than_a_day(project: Path) -> None:
    said = millstream(project, "check").err
    assert (
        "orders: dedupe_within=7d is 604,800,000 ids at 1,000 records a second, 789.6 MB of memory and 14.5 GB of"
        " scratch disk" in said
    )
    assert "returns" not in said and "notes" not in said


def test_plan_counts_what_the_tables_hold(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert millstream(project, "ingest").code == 0
    found = {row["stream"]: row for row in millstream(project, "plan", "--json").json["dedupe"]}
    assert {name: (row["ids"], row["memory_bytes"], row["disk_bytes"]) for name, row in found.items()} == {
        "orders": (10, 240, 0),
        "returns": (10, 240, 0),
    }
    assert "ids in dedupe_within" not in millstream(project, "plan").err
    monkeypatch.setattr(windows, "WORTH_TELLING", 10)
    assert (
        "orders: 10 ids in dedupe_within=7d, 240 B of memory and 0 B of scratch disk" in millstream(project, "plan").err
    )


def test_plan_says_that_a_window_has_changed(project: Path) -> None:
    assert millstream(project, "ingest").code == 0
    (project / "streams.py").write_text(STREAMS.replace('dedupe_within="7d"', 'dedupe_within="8d"'))
    changed = {
        row["name"]: row["reasons"] for row in millstream(project, "plan", "--json").json["assets"] if row["stale"]
    }
    assert list(changed) == ["orders"] and "its class, id or window has changed" in changed["orders"][0]
    assert millstream(project, "ingest").code == 0
    assert not [row for row in millstream(project, "plan", "--json").json["assets"] if row["stale"]]


def test_ids_that_do_not_fit_in_memory_cost_a_filter_and_disk() -> None:
    assert cost(1_000) == (24_000, 0)
    assert cost(173_000_000) == (MEMORY_BYTES + 216_250_000, 4_152_000_000)
