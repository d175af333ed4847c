"""Redis passes the online store's suite, leaves nothing behind, and says what is wrong with a server."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from millstream.base.errors import Busy, ConfigError, Full, Unreachable
from millstream.base.registry import engine
from millstream.engines.redis.online import RedisOnline
from millstream.engines.redis.wire import Address, Wire
from millstream.features.contract import DAY, HOUR, T0, OnlineContract, apply, batch, definition, filled
from millstream.features.port import Applied, OnlineStore


@pytest.fixture
def url(redis: str) -> str:
    """An empty store on the session's server."""
    return f"{redis}?prefix={uuid.uuid4().hex}"


class TestRedisOnline(OnlineContract):
    @pytest.fixture
    def store(self, url: str) -> Iterator[OnlineStore]:
        self.url = url
        made = RedisOnline(url)
        yield made
        made.close()

    def again(self, store: OnlineStore) -> OnlineStore:
        return RedisOnline(self.url)


@pytest.fixture
def store(url: str) -> Iterator[RedisOnline]:
    with closing(RedisOnline(url)) as made:
        yield made


def names(store: RedisOnline) -> list[str]:
    prefix = store._db.names.prefix
    return sorted(name.decode().removeprefix(prefix) for name in store._db.reading([("KEYS", f"{prefix}:*")])[0])


def test_found_by_url() -> None:
    assert (
        engine("online", "redis://localhost/0") is RedisOnline
        and engine("online", "rediss://localhost/0") is RedisOnline
    )


def test_what_is_dropped_replaced_or_expired_leaves_nothing(store: RedisOnline) -> None:
    of, table = definition(), replace(definition(), live=False, generation="ab" * 8)
    store.create(of)
    store.activate(of.generation, {}, 0)
    rows = [(f"k{i % 50}", T0 - i * HOUR, 1.0, i) for i in range(400)]
    store.apply([apply(of, rows)])
    blobs = len(names(store))
    store.apply([apply(of, [("a", T0 + 40 * DAY, 1.0, 1)], 400, clock_us=T0 + 40 * DAY)])
    assert store.expire(of) > 1000 and blobs > 1000 and len(names(store)) < 200, (
        "only the groups of 32 days are not over yet"
    )
    assert store.lookup(of, ["k1"], [T0 + 40 * DAY])[0].values["c_7d"] == 0
    for version in (1, 2, 3):
        store.load(table, *filled(table, batch(table, [("a", T0 - version, 1.0, 1)])))
        store.activate(table.generation, {0: version}, T0)
    # A process was killed before it removed this space
    store._db.writing([("SADD", store._db.names.trash, store._db.writing([("INCR", store._db.names.spaces)])[0])])
    store.drop(of.generation)
    store.drop(table.generation)
    assert names(store) == [":spaces"]


def test_what_is_not_settled_is_read_again(store: RedisOnline) -> None:
    """A moment far ahead of the newest arrival: what is past of it may still come without beginning an era."""
    of = definition()
    store.create(of)
    store.activate(of.generation, {}, 0)
    store.apply([apply(of, [("sa", T0 - 1, 1.0, 1)], clock_us=T0)])
    reader = store.reader([(of, ["k"], "p")])
    assert [reader({"k": "a"}, T0 + 20 * HOUR).values["p__c_7d"] for _ in range(2)] == [1, 1]
    store.apply([apply(of, [("sa", T0 + 10 * HOUR, 1.0, 1)], 1, clock_us=T0)])
    assert reader({"k": "a"}, T0 + 20 * HOUR).values["p__c_7d"] == 2


def test_a_writer_whom_others_are_always_faster_than_gives_up(url: str) -> None:
    of = definition()
    with closing(RedisOnline(url, wait_s=0.2)) as store, closing(RedisOnline(url)) as other:
        store.create(of)
        store.activate(of.generation, {}, 0)
        ask, at = store._db.writer.ask, [0]

        def late(commands: object, *, again: bool = False) -> object:
            if commands[0] == ("MULTI",):  # type: ignore[index]
                other.apply([apply(of, [], at[0], partition=1)])
                other._db.writing(
                    [
                        (
                            "SET",
                            other._db.names.stand(of.generation),
                            other._db.reading([("GET", other._db.names.stand(of.generation))])[0],
                        )
                    ]
                )
            return ask(commands, again=again)  # type: ignore[arg-type]

        store._db.writer.ask = late  # type: ignore[assignment, method-assign]
        with pytest.raises(Busy, match="always faster"):
            store.apply([apply(of, [("a", T0 - 1, 1.0, 1)])])
        store._db.writer.ask = ask  # type: ignore[method-assign]
        assert store.applied(of.generation) == Applied({1: 0}, T0, True)
        store.apply([apply(of, [("a", T0 - 1, 1.0, 1)])])


WRITER = """
import sys
from millstream.base.errors import Conflict
from millstream.engines.redis.online import RedisOnline
from millstream.features.contract import T0, apply, definition
of, store, won = definition(), RedisOnline(sys.argv[1]), 0
while (at := store.applied(of.generation).offsets.get(0, 0)) < 120:
    try:
        store.apply([apply(of, [("a", T0 - at - 1, 1.0, 1)], at)])
        won += 1
    except Conflict:
        pass
print(won)
"""


def test_several_processes_write_each_range_once(store: RedisOnline, url: str) -> None:
    of = definition()
    store.create(of)
    store.activate(of.generation, {}, 0)
    children = [
        subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    won = [int(child.communicate(timeout=60)[0]) for child in children]
    assert sum(won) == 120 == store.lookup(of, ["a"], [T0])[0].values["c_7d"]


# -- servers that will not do


@contextmanager
def configured(redis: str, **settings: str) -> Iterator[None]:
    """The session's server with other settings, for a while."""
    wire = Wire(Address(redis))
    before = {name: wire.ask([("CONFIG", "GET", name.replace("_", "-"))])[0][1] for name in settings}
    try:
        for name, value in settings.items():
            wire.ask([("CONFIG", "SET", name.replace("_", "-"), value)])
        yield
    finally:
        for name, value in before.items():
            wire.ask([("CONFIG", "SET", name.replace("_", "-"), value)])
        wire.close()


@pytest.mark.parametrize("url", ["redis://", "redis://host/name", "rediss:///0", "redis:/x", "redis://host:port/0"])
def test_a_url_that_names_no_server(url: str) -> None:
    with pytest.raises(ConfigError, match="redis"):
        RedisOnline(url)


def test_nobody_there_or_the_wrong_password_is_said_without_the_password(redis: str) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1/0 does not answer"):
        RedisOnline("redis://:s3cret@127.0.0.1:1/0")
    with pytest.raises(ConfigError, match="does not let us") as told:
        RedisOnline(redis.replace("redis://", "redis://me:s3cret@"))
    assert "s3cret" not in str(told.value)
    with pytest.raises(ConfigError, match="number of the database"):
        RedisOnline(redis.removesuffix("0") + "77")


def test_a_server_that_throws_data_away_is_refused(redis: str) -> None:
    with (
        configured(redis, maxmemory="1gb", maxmemory_policy="allkeys-lru"),
        pytest.raises(ConfigError, match="set it to noeviction"),
    ):
        RedisOnline(redis)
    with configured(redis, maxmemory="1gb", maxmemory_policy="noeviction"):
        RedisOnline(redis).close()


def test_a_full_server_takes_nothing_and_says_so(redis: str, store: RedisOnline) -> None:
    of = definition()
    store.create(of)
    store.activate(of.generation, {}, 0)
    store.apply([apply(of, [("a", T0 - 1, 1.0, 1)])])
    with configured(redis, maxmemory="1mb"):
        with pytest.raises(Full, match="maxmemory"):
            store.apply([apply(of, [("a", T0 - 2, 1.0, 1)], 1)])
        assert store.lookup(of, ["a"], [T0])[0].values["c_7d"] == 1 and store.applied(of.generation) == Applied(
            {0: 1}, T0, True
        )
    store.apply([apply(of, [("a", T0 - 2, 1.0, 1)], 1)])
    assert store.lookup(of, ["a"], [T0])[0].values["c_7d"] == 2
