"""What sources bring ends in the lake: each record of a file in exactly one place, each retried event once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from collecting_server import LANDED as SENT
from test_client import NOW, collecting, landed
from test_pump import FAST, Store, line, sources, write

from millstream.base.errors import Unreachable
from millstream.base.registry import engine
from millstream.client import Client
from millstream.ingest.pump import pump
from millstream.lake.lake import Lake
from millstream.lake.sink import Sink


def drained(folder: Path, stream: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and dead letters of a stream."""
    store, lake = Store(folder), Lake(engine("files", "file")(str(folder / "lake")))
    sink = Sink(store.log, store.schemas, lake, stream)
    sink.drain()
    sink.close()
    found: list[list[dict[str, Any]]] = []
    for name in (stream.name, f"{stream.name}__dead"):
        if not lake.exists(name):
            found.append([])
            continue
        from deltalake import DeltaTable

        found.append(DeltaTable(str(folder / "lake" / name)).to_pyarrow_table().to_pylist())
    store.close()
    return found[0], found[1]


def test_each_line_of_a_file_is_a_row_or_a_dead_letter(tmp_path: Path) -> None:
    bad = {3: "f3,x,2013-01-01T00:03:00Z", 5: "cut", 8: 'f8,"8" ,2013-01-01T00:03:00Z', 9: ",9,2013-01-01T00:03:00Z"}
    lines = [line("f", i, i) if i not in bad else bad[i] + "\n" for i in range(20)]
    write(tmp_path / "data/fast.csv", lines)
    store = Store(tmp_path)
    counts = pump(store.log, store.schemas, sources(tmp_path))
    store.close()
    rows, dead = drained(tmp_path, FAST)
    assert (len(rows), len(dead)) == (counts.rows, counts.bad) == (16, 4)
    assert {r["_event_id"] for r in rows} == {f"data/fast.csv:{i + 2}" for i in range(20) if i not in bad}
    assert {d["raw"].decode(): d["origin"] for d in dead} == {text: f"data/fast.csv:{i + 2}" for i, text in bad.items()}
    assert all(d["error"].startswith(d["origin"]) for d in dead)


@pytest.mark.fault
def test_collector_committed_counts_once_in_the_table(tmp_path: Path) -> None:
    """Killed between the commit and the answer; the retry goes to another collector."""
    ids, events = [f"id-{i}" for i in range(10)], [landed(i, "die" if i == 5 else "UA") for i in range(10)]
    with collecting(tmp_path, "kill") as (url, child), Client(url, retry_for=NOW - NOW) as client:
        with pytest.raises(Unreachable):
            client.send(SENT, events, ids=ids)
        child.wait()
    with collecting(tmp_path) as (url, _), Client(url) as client:
        client.send(SENT, events, ids=ids)
    rows, dead = drained(tmp_path, SENT)
    assert sorted(r["_event_id"] for r in rows) == ids and dead == []
