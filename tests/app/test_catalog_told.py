"""A catalog is told beside the work and never at its cost: by `run`, by `up`'s sinks, looked at by `doctor`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cli_project import millstream
from export_project import project

from millstream.app import catalog
from millstream.base.errors import Unreachable
from millstream.lake.port import Listing
from millstream.run.workspace import Workspace

NOBODY = ("--set", "catalog=hive://127.0.0.1:1/shop")


class Memory:
    """A catalog that is away for its first questions."""

    name = "memory"

    def __init__(self, away: int = 0) -> None:
        self.told: dict[str, int] = {}
        self.away = away

    def known(self, root: str) -> Mapping[str, int]:
        self.away -= 1
        if self.away >= 0:
            raise Unreachable("memory is away")
        return dict(self.told)

    def tell(self, listing: Listing) -> None:
        self.told[listing.snapshot.table] = listing.snapshot.version

    def forget(self, root: str, table: str) -> None:
        self.told.pop(table, None)

    def close(self) -> None: ...


@pytest.fixture
def rides(tmp_path: Path) -> Path:
    return project(tmp_path / "rides", 50)


def test_a_run_beside_a_catalog_that_is_away_does_its_work(rides: Path) -> None:
    done = millstream(rides, *NOBODY, "run", "+days")
    assert (
        done.code == 0
        and "hive://127.0.0.1:1/shop does not answer" in done.err
        and "the next pass makes up for it" in done.err
    )
    assert "catalog" not in millstream(rides, "run", "+days").err
    found = {f["what"]: f for f in millstream(rides, *NOBODY, "doctor", "--json").json}
    assert found["catalog"]["status"] == "bad" and "does not answer" in found["catalog"]["found"]
    assert "catalog" not in {f["what"] for f in millstream(rides, "doctor", "--json").json}


def test_a_pass_makes_up_for_all_that_were_missed_and_says_what_is_wrong_once(
    rides: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(catalog, "PAUSE_S", 0.01)
    stop, memory = threading.Event(), Memory(away=3)
    with Workspace.open(str(rides)) as ws, caplog.at_level(logging.WARNING, "millstream"):
        ws.__dict__["catalog"] = memory
        ws.lake.create("rows", pa.schema([("x", pa.int64())])).append(pa.table({"x": [1]}))
        told = threading.Event()
        tell = memory.tell

        def telling(listing: Listing) -> None:
            tell(listing)
            told.set()

        monkeypatch.setattr(memory, "tell", telling)
        following = threading.Thread(target=catalog.follow, args=(ws, "me", stop))
        following.start()
        assert told.wait(30)
        stop.set()
        following.join()
    assert memory.told == {"rows": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "catalog: memory is away; the next pass makes up for it"
    ]


def test_only_one_at_a_time_tells(rides: Path) -> None:
    with Workspace.open(str(rides)) as ws:
        memory: Any = Memory()
        ws.__dict__["catalog"] = memory
        ws.lake.create("rows", pa.schema([("x", pa.int64())]))
        assert ws.state.lease("catalog/memory", "another", catalog.LEASE)
        assert catalog.tell(ws, "me") == [] and memory.told == {}
        ws.state.release("catalog/memory", "another")
        assert catalog.tell(ws, "me") == [] and memory.told == {"rows": 0}
