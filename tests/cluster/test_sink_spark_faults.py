"""Sinks of both kinds are killed with SIGKILL, and others continue: 0 lost, 0 doubled, the table as one sink alone
would have filled it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark import SparkContext
from sink_world import World, one_spark
from test_log_kafka import emptied

from millstream.base.errors import Unreachable

pytestmark = [pytest.mark.fault, pytest.mark.long]
HERE = Path(__file__).parent
KILLS = (
    ("spark", "sink.read"),
    ("python", "sink.files"),
    ("spark", "sink.quarantined"),
    ("python", "sink.quarantined"),
    ("spark", "sink.files"),
    ("spark", "commit.linked"),
)
"""Which sink dies, and where."""


@pytest.fixture
def world(kafka: str, tmp_path: Path) -> Iterator[World]:
    emptied(kafka)
    made = World(kafka, tmp_path)
    yield made
    made.close()


def actor(world: World, kind: str, rows: int, *point: object) -> subprocess.Popen[str]:
    words = [kind, world.kafka, str(world.folder), str(rows), *map(str, point)]
    return subprocess.Popen(
        [sys.executable, str(HERE / "sink_actors.py"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_drivers_killed_at_each_point_of_a_commit(world: World) -> None:
    """The next sink is always of the other kind, so that each meets what the other left: files that no commit names,
    letters ahead of the table.
    """
    with one_spark(world.folder / "spark"):
        for turn, (kind, point) in enumerate(KILLS):
            world.dirt(turn, 25)
            dying = actor(world, kind, 120, point, 1 + turn % 2)
            told = dying.communicate(timeout=240)
            assert dying.returncode == -signal.SIGKILL, told
            if turn % 2:
                world.drain("spark" if kind == "python" else "python", 170)
                world.prove()
        world.drain("python", 110)
    world.prove()


def test_the_jvm_killed_under_a_live_sink(world: World) -> None:
    """The driver's JVM dies in the middle of a micro-batch: Unreachable, nothing of it landed; a new sink starts
    another.
    """
    with one_spark(world.folder / "spark"):  # somebody else, who still holds the one that dies
        world.dirt(0, 40)
        sink = world.sink("spark", 100)
        sink.step()
        # A cluster's daemons are this process' children too
        killing = threading.Timer(0.5, SparkContext._gateway.proc.kill)
        killing.start()
        with pytest.raises(Unreachable, match="driver is gone"):
            for seed in range(1, 40):
                world.dirt(seed, 60)
                sink.step()
        killing.join()
        sink.close()
        began = time.monotonic()
        world.drain("spark")
    print(f"a new JVM had landed all of it after {time.monotonic() - began:.1f} s")
    world.prove()


def test_both_kinds_at_once_killed_again_and_again(world: World) -> None:
    """Two sinks in Python and one on Spark land from one topic while it fills; each is killed a moment after it began,
    wherever it is, and comes again.
    """
    world.dirt(0, 10)
    full, kills = threading.Event(), {"python": 0, "spark": 0}

    def fill() -> None:
        for seed in range(1, 8):
            world.dirt(seed, 60)
            time.sleep(1)
        full.set()

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    lives = {"python": 0.7, "spark": 4.0}
    running = {name: actor(world, name.split("-")[0], 90) for name in ("python-1", "python-2", "spark-1")}
    while not full.is_set() or kills["spark"] < 2:
        time.sleep(0.05)
        for name, process in list(running.items()):
            kind, begun = name.split("-")[0], world.folder / f"up-{process.pid}"
            assert process.poll() is None, process.communicate()
            if begun.exists() and time.time() - begun.stat().st_mtime > lives[kind] * (0.5 + kills[kind] % 4 / 4):
                process.kill()
                process.communicate(timeout=60)
                kills[kind] += 1
                running[name] = actor(world, kind, 90)
    thread.join()
    for process in running.values():
        process.kill()
        process.communicate(timeout=60)
    world.drain("spark", 2_000)
    world.prove()
    print(f"killed: {kills}")
