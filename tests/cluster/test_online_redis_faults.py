"""Redis dies: in the middle of updates, with its last second, with all it had, and under a filler. What is counted is
what the table holds.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from given import of_world
from oracle import naive, same
from running_cluster import brought
from updater_world import World, one

from millstream.base.errors import Conflict, Transient, Unreachable
from millstream.cluster import Cluster
from millstream.engines.redis.online import RedisOnline
from millstream.features.contract import T0, batch, definition, filled
from millstream.features.keys import encode
from millstream.serve.updates import Updates

pytestmark = pytest.mark.fault


@pytest.fixture
def world(tmp_path: Path, redis: str) -> Iterator[World]:
    made = World(tmp_path / "world")
    made.store.close()
    made.store = RedisOnline(f"{redis}?prefix={uuid.uuid4().hex}")  # type: ignore[assignment]
    yield made
    made.close()


def torn(world: World, d: Any, now: int) -> list[str]:
    """The store beside the oracle over exactly what its positions say; the stream has landed."""
    stands = world.store.applied(d.generation)
    assert stands is not None
    rows, bad = world.rows(), []
    for key in [("a",), ("b",), ("c",)]:
        (found,) = world.store.lookup(d, [encode(key)], [now])
        assert found.offsets == stands.offsets
        want = {
            n: v
            for w in d.windows_us
            for n, v in naive(d, rows, key, now, w, lambda r: r.offset < stands.offsets.get(r.partition, 0)).items()
        }
        bad += [
            f"{key}: {n} is {found.values[n]!r} and should be {v!r}"
            for n, v in want.items()
            if not same(found.values[n], v)
        ]
    return bad


def test_killed_in_the_middle_of_updates_nothing_is_lost_or_doubled(world: World, cluster: Cluster) -> None:
    d, chance, stop, troubles = one(), random.Random(4), threading.Event(), list[str]()
    world.send(60)
    updater = world.updater(d, max_rows=30)
    reader = world.store.reader([(d, ["k"], "p")])

    def applied() -> int:
        return sum(world.store.applied(d.generation).offsets.values())  # type: ignore[union-attr]

    def update() -> None:
        while not stop.is_set():
            try:
                updater.step(timedelta(milliseconds=20))
            except Transient as error:
                troubles.append(type(error).__name__)
                stop.wait(0.02)

    thread = threading.Thread(target=update, daemon=True)
    thread.start()
    for _ in range(4):
        before = applied()
        for _ in range(30):  # more than the updater can do before the kill
            world.send(60)
        while applied() < before + 200:
            assert thread.is_alive()
            time.sleep(0.01)
        time.sleep(chance.random() * 0.1)
        cluster.kill("redis")
        with pytest.raises(Unreachable):
            reader({"k": "a"}, world.now)
        cluster.restart("redis")
        assert reader({"k": "a"}, world.now).values["p__c_7d"] is not None, "the same reader continues"
    stop.set()
    thread.join()
    world.land()
    assert torn(world, d, world.now) == []
    updater.drain()
    updater.close()
    assert "Unreachable" in troubles and world.differences(d) == []
    assert dict(reader({"k": "a"}, world.now).values) == {
        f"p__{n}": v for n, v in world.store.lookup(d, ["sa"], [world.now])[0].values.items()
    }


@pytest.mark.parametrize("cut", [0.2, 0.6])
def test_a_server_that_lost_its_last_second_is_told_again(
    world: World, tmp_path: Path, own_cluster: Cluster, cut: float
) -> None:
    """State and positions go back together, in the middle of a transaction too; an updater and a reader that saw more
    continue from there.
    """
    world.store.close()
    world.store = RedisOnline(brought(own_cluster, "redis"))  # type: ignore[assignment]
    d = one()
    for _ in range(8):
        world.send(60)
    updater = world.updater(d, max_rows=25)
    reader = world.store.reader([(d, ["k"], "p")])
    for _ in range(20):
        updater.step()
        reader({"k": "a"}, world.now)
    before = dict(world.store.applied(d.generation).offsets)  # type: ignore[union-attr]
    own_cluster.kill("redis")
    (appends,) = (own_cluster.site.data("redis") / "appendonlydir").glob("*.incr.aof")
    whole = appends.read_bytes()
    appends.write_bytes(whole[: int(len(whole) * (1 - cut))])
    own_cluster.restart("redis")
    world.land()
    after = dict(world.store.applied(d.generation).offsets)  # type: ignore[union-attr]
    assert sum(after.values()) < sum(before.values()) and torn(world, d, world.now) == []
    reader({"k": "a"}, world.now)
    updater.step()
    assert updater.step().conflicts == 0
    world.send(30)
    updater.drain()
    updater.close()
    world.land()
    assert world.differences(d) == []
    assert dict(reader({"k": "a"}, world.now).values) == {
        f"p__{n}": v for n, v in world.store.lookup(d, ["sa"], [world.now])[0].values.items()
    }


def test_a_server_that_lost_everything_is_filled_again(world: World, tmp_path: Path, own_cluster: Cluster) -> None:
    world.store.close()
    world.store = RedisOnline(brought(own_cluster, "redis"))  # type: ignore[assignment]
    d = one()
    for _ in range(5):
        world.send(40)
    world.land()
    with closing(Updates(of_world(world, tmp_path))) as updates:
        updates.want(d)
        updates.refresh()
        wait(world, d)
        own_cluster.kill("redis")
        shutil.rmtree(own_cluster.site.data("redis") / "appendonlydir")
        own_cluster.restart("redis")
        world.send(40)
        wait(world, d)
        assert updates.problems() == []
    world.land()
    assert world.differences(d) == []


def wait(world: World, d: Any) -> None:
    ends = {p: end.high for p, end in world.log.ends("readings").items() if end.high}
    while (found := world.store.applied(d.generation)) is None or dict(found.offsets) != ends:
        time.sleep(0.01)


FILLER = """
import sys
from datetime import timedelta
from millstream.engines.redis.online import RedisOnline
from millstream.features.contract import T0, batch, definition, filled
of = definition()
RedisOnline(sys.argv[1], fill_lease=timedelta(seconds=1)).load(of, *filled(of, batch(of, [("a", T0 - 1, 1.0, 1)])))
print("loaded", flush=True)
sys.stdin.readline()
"""


def test_a_filler_that_lives_is_left_alone_and_one_that_was_killed_is_replaced(redis: str) -> None:
    url, of = f"{redis}?prefix={uuid.uuid4().hex}", definition()
    child = subprocess.Popen(
        [sys.executable, "-c", FILLER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdin is not None and child.stdout.readline() == "loaded\n"
    store, mine = RedisOnline(url), batch(of, [("a", T0 - 1, 1.0, 1)] * 2)
    lives = time.monotonic() + 1.5
    while time.monotonic() < lives:  # longer than its lease: it renews it
        with pytest.raises(Conflict, match="being filled"):
            store.load(of, *filled(of, mine))
        time.sleep(0.1)
    child.kill()
    child.wait()
    child.stdout.close()
    child.stdin.close()
    while True:
        try:
            store.load(of, *filled(of, mine))
            break
        except Conflict:
            time.sleep(0.05)
    store.activate(of.generation, {0: 2}, T0)
    assert store.lookup(of, ["a"], [T0])[0].values["c_7d"] == 2
    store.drop(of.generation)
    left = store._db.reading([("KEYS", f"{store._db.names.prefix}:*")])[0]
    assert left == [store._db.names.spaces.encode()], "nothing of the killed fill is left either"
    store.close()
