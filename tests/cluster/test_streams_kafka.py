"""The way of an event, unchanged, with Kafka and a registry in the place of the embedded log: sources, sink,
features.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from test_log_kafka import emptied as no_topics
from test_schemas_registry import emptied as no_subjects

import millstream as ms
from millstream.base.errors import Incompatible
from millstream.base.registry import engine
from millstream.declare.collect import collecting
from millstream.lake.lake import Lake
from millstream.lake.sink import Sink, SinkLimits
from millstream.lake.verify import verify
from millstream.log.envelope import publish, topic_of

START = datetime(2026, 1, 1, tzinfo=UTC)
VISITS, PER_FILE = 6_000, 1_500
PROJECT = {
    "millstream.toml": (
        '[project]\nname = "shop"\n[profile.kafka]\nlog = "env:TEST_LOG"\nregistry = "env:TEST_REGISTRY"\n'
    ),
    "streams.py": (
        '''
import millstream as ms
from millstream import agg

class Visit(ms.Event):
    """Somebody opens the shop."""
    visit_id: str
    user: str
    price: float | None
    ts: ms.EventTime

visits = ms.stream("visits", Visit, key="user", partitions=3, dedupe="visit_id", lateness="1m")
ms.source(visits, ms.read.files("data/*.csv"))
spent = ms.features("spent", visits, key="user", windows=["1h", "2d"],
                    aggregates={"times": agg.count(), "sum": agg.sum("price"), "top": agg.max("price")})
'''
    ),
    "tables/daily.sql": (
        "select user, count(*) as visits, sum(price) as price from visits group by user order by user\n"
    ),
}


class Visit(ms.Event):
    """Somebody opens the shop."""

    user: str
    n: int
    ts: ms.EventTime


class Wider(ms.Event):
    """The same, later, with one thing more."""

    user: str
    n: int
    device: str | None
    ts: ms.EventTime


with collecting():
    old = ms.stream("evolving", Visit, key="user", partitions=2)
    new = ms.stream("evolving", Wider, key="user", partitions=2)


@pytest.fixture
def world(kafka: str, registry: str, tmp_path: Path) -> Iterator[tuple[Any, Any, Lake]]:
    no_topics(kafka)
    no_subjects(registry)
    schemas = engine("schemas", registry)(registry)
    log = engine("log", kafka)(kafka, schemas)
    yield log, schemas, Lake(engine("files", "file")(str(tmp_path / "lake")))
    log.close()


def events(begin: int, count: int, *, device: bool = False) -> pa.RecordBatch:
    columns: dict[str, Any] = {
        "user": [f"u{n % 17}" for n in range(begin, begin + count)],
        "n": pa.array(range(begin, begin + count), pa.int64()),
        "ts": pa.array(
            [START + timedelta(seconds=n) for n in range(begin, begin + count)], pa.timestamp("us", tz="UTC")
        ),
    }
    if device:
        columns["device"] = ["phone" if n % 2 else None for n in range(begin, begin + count)]
    return pa.record_batch(columns)


@dataclass
class Running:
    """A sink in a thread."""

    sink: Sink
    stop: threading.Event = field(default_factory=threading.Event)
    failed: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.sink.run(self.stop)
        except BaseException as error:
            self.failed.append(error)

    def end(self) -> None:
        self.stop.set()
        self.thread.join(60)
        self.sink.close()


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def landed(folder: Path) -> list[tuple[int, Any]]:
    """(n, device) of each row, in order of n."""
    rows = DeltaTable(str(folder / "lake/evolving")).to_pyarrow_table().to_pylist()
    return sorted((row["n"], row.get("device")) for row in rows)


def test_a_schema_grows_while_sinks_run(world: tuple[Any, Any, Lake], tmp_path: Path) -> None:
    """Two sinks share the partitions; a producer with one field more begins, and one of the old kind continues beside
    it.
    """
    log, schemas, lake = world
    before = topic_of(log, schemas, old)
    limits = SinkLimits(age=timedelta(milliseconds=300))
    running = [Running(Sink(log, schemas, lake, old, limits=limits, member=f"m{n}")) for n in range(2)]
    try:
        publish(log, before, events(0, 1000))
        until(lambda: len(landed(tmp_path)) == 1000)
        after = topic_of(log, schemas, new)
        assert after.schema_id != before.schema_id
        for step in range(5):
            publish(log, after, events(1000 + 200 * step, 100, device=True))
            publish(log, before, events(1100 + 200 * step, 100))
        until(lambda: len(landed(tmp_path)) == 2000 or any(r.failed for r in running))
    finally:
        for one in running:
            one.end()
    assert not [r.failed for r in running if r.failed]
    found = landed(tmp_path)
    assert [n for n, _ in found] == list(range(2000))
    assert {n for n, device in found if device == "phone"} == {
        n for n in range(1000, 2000) if (n // 100) % 2 == 0 and n % 2
    }
    report = verify(lake, log, old)
    assert report.ok and report.rows == 2000, report


def test_a_schema_that_breaks_the_contract_stops_before_the_log(world: tuple[Any, Any, Lake]) -> None:
    log, schemas, _ = world
    topic_of(log, schemas, new)

    class Narrow(ms.Event):
        """One required field more."""

        user: str
        n: int
        device: str | None
        must: str
        ts: ms.EventTime

    with collecting():
        broken = ms.stream("evolving", Narrow, key="user", partitions=2)
    with pytest.raises(Incompatible, match="must is missing"):
        topic_of(log, schemas, broken)


class Shop:
    """The project in a folder, driven by the command line."""

    def __init__(self, folder: Path, profile: str, environment: dict[str, str]) -> None:
        self.folder, self.profile = folder, profile
        self.environment = {**os.environ, **environment}
        for name, text in PROJECT.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    def verb(self, *words: str) -> Any:
        command = [sys.executable, "-m", "millstream", "--profile", self.profile, *words]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        assert "rdkafka" not in done.stderr, done.stderr
        return json.loads(done.stdout) if "--json" in words else done.stdout + done.stderr

    def write(self, file: int) -> None:
        lines = ["visit_id,user,price,ts"]
        for n in range(file * PER_FILE, (file + 1) * PER_FILE):
            at = START + timedelta(seconds=20 * n, microseconds=n)
            twice = n - 3 if n % 50 == 49 else n  # some come again
            lines.append(
                "broken" if n % 400 == 7 else f"v{twice},u{n % 23},{'' if n % 9 == 0 else n / 8},{at.isoformat()}"
            )
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / f"data/{file}.csv").write_text("\n".join(lines) + "\n")


def test_a_project_gives_the_same_on_kafka(kafka: str, registry: str, tmp_path: Path) -> None:
    """The same tables row for row, arrival times to the microsecond, the same features; `verify` is clean in both."""
    no_topics(kafka)
    no_subjects(registry)
    shops = {
        profile: Shop(tmp_path / profile, profile, {"TEST_LOG": kafka, "TEST_REGISTRY": registry})
        for profile in ("laptop", "kafka")
    }
    said: dict[str, Any] = {}
    for profile, shop in shops.items():
        for file in range(VISITS // PER_FILE):
            shop.write(file)
            if file in (1, 3):
                shop.verb("run")
        assert "done: 0 made" in shop.verb("run")
        report = shop.verb("verify", "--json")
        rows = {
            table: shop.verb("sql", "--json", f"select * from {table} order by all", "--limit", "0")
            for table in ("visits", "daily")
        }
        for row in rows["visits"]:
            del row["_offset"]  # transactions leave holes
        said[profile] = (
            rows,
            [
                {k: v for k, v in one.items() if k in ("stream", "ok", "rows", "dead", "duplicates", "records")}
                for one in report
            ],
        )
    assert said["laptop"] == said["kafka"]
    assert len(said["kafka"][0]["visits"]) > 5_000
