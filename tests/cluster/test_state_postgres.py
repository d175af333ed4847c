"""PostgreSQL passes the state's suite, rides through a restart, and says what is wrong with a server."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from millstream.base.errors import ConfigError, Conflict, Incompatible, Unreachable, UsageError
from millstream.base.registry import engine
from millstream.cluster import Cluster
from millstream.engines.postgres.state import PostgresState
from millstream.state.contract import StateContract
from millstream.state.port import State


@pytest.fixture
def url(postgres: str) -> str:
    """An empty state on the session's server."""
    return f"{postgres}?schema=s{uuid.uuid4().hex}"


class TestPostgresState(StateContract):
    @pytest.fixture
    def state(self, url: str) -> Iterator[State]:
        self.url = url
        made = PostgresState(url)
        yield made
        made.close()

    def again(self, state: State) -> State:
        return PostgresState(self.url)


def test_found_by_url() -> None:
    assert (
        engine("state", "postgresql://localhost/millstream") is PostgresState
        and engine("state", "postgres://localhost/x") is PostgresState
    )


def test_schemas_are_apart_and_made_once_by_many(postgres: str) -> None:
    urls = [f"{postgres}?schema=a{uuid.uuid4().hex}", f"{postgres}?schema=b{uuid.uuid4().hex}"]
    made: list[PostgresState] = []
    threads = [threading.Thread(target=lambda u=u: made.append(PostgresState(u))) for u in urls * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    one, two = (PostgresState(u) for u in urls)
    one.put("run", "a", {"of": "one"})
    assert two.get("run", "a") is None
    for state in (*made, one, two):
        state.close()


def test_what_it_cannot_keep(url: str) -> None:
    with closing(PostgresState(url)) as state:
        with pytest.raises(UsageError, match="NUL"):
            state.put("run", "a\0b", {})
        state.put("run", "b", {"still": "alive"})


COUNTER = """
import sys
from millstream.base.errors import Conflict
from millstream.engines.postgres.state import PostgresState
state, left = PostgresState(sys.argv[1]), int(sys.argv[2])
while left:
    doc = state.get("count", "n")
    try:
        state.put("count", "n", {"n": doc.value["n"] + 1}, expect=doc.revision)
        left -= 1
    except Conflict:
        pass
"""


@pytest.mark.fault
def test_several_processes_count_on_while_the_server_is_killed_and_restarted(url: str, cluster: Cluster) -> None:
    """Each step once: a write whose answer was lost is neither lost nor done twice."""
    with closing(PostgresState(url)) as state:
        state.put("count", "n", {"n": 0})
        children = [subprocess.Popen([sys.executable, "-c", COUNTER, url, "400"]) for _ in range(3)]
        for kills in range(1, 4):
            while (doc := state.get("count", "n")) is not None and doc.value["n"] < 250 * kills:
                assert any(child.poll() is None for child in children)
            cluster.kill("postgres")
            cluster.restart("postgres")
        assert [child.wait(timeout=60) for child in children] == [0, 0, 0]
        doc = state.get("count", "n")
        assert doc is not None and doc.value == {"n": 1200} and doc.revision == 1201


@pytest.mark.fault
def test_a_killed_server_is_unreachable_and_the_next_call_works_again(url: str, cluster: Cluster) -> None:
    with closing(PostgresState(url, wait_s=0.3)) as state:
        state.put("run", "a", {"x": 1})
        assert state.lease("table", "me", timedelta(minutes=5))
        cluster.kill("postgres")
        try:
            for call in (
                lambda: state.get("run", "a"),
                lambda: state.put("run", "a", {}, expect=1),
                lambda: state.lease("table", "me", timedelta(minutes=5)),
            ):
                with pytest.raises(Unreachable, match=r"PostgreSQL at 127\.0\.0\.1:"):
                    call()
        finally:
            cluster.restart("postgres")
        doc = state.get("run", "a")
        assert doc is not None and doc.value == {"x": 1} and doc.revision == 1
        assert state.put("run", "a", {"x": 2}, expect=1).revision == 2
        with pytest.raises(Conflict):
            state.put("run", "a", {"x": 3}, expect=1)
        assert not state.lease("table", "you", timedelta(minutes=5)), "leases outlive the server"


def test_a_write_whose_answer_was_lost_is_found_by_its_id(url: str) -> None:
    with closing(PostgresState(url)) as state:
        run = state._server.run

        def twice(work: object) -> object:
            run(work)  # type: ignore[arg-type]  # done, but nobody heard of it
            return run(work)  # type: ignore[arg-type]

        state._server.run = twice  # type: ignore[assignment, method-assign]
        assert state.put("run", "a", {"x": 1}, expect=0).revision == 1
        assert state.put("run", "a", {"x": 2}, expect=1).revision == 2
        state._server.run = run  # type: ignore[method-assign]
        with pytest.raises(Conflict, match="at revision 2, not 1"):
            state.put("run", "a", {"x": 3}, expect=1)


# -- servers that will not do


def test_a_wrong_address_is_said_without_the_password(postgres: str) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1/db could not be reached within 0 s") as told:
        PostgresState("postgresql://me:s3cret@127.0.0.1:1/db", wait_s=0)
    assert "s3cret" not in str(told.value)
    with pytest.raises(ConfigError, match='role "nobody" does not exist') as refused:
        PostgresState(postgres.replace("postgres@", "nobody:s3cret@"))
    assert "s3cret" not in str(refused.value)
    with pytest.raises(ConfigError, match='database "none" does not exist'):
        PostgresState(postgres.rpartition("/")[0] + "/none")
    with pytest.raises(ConfigError, match="invalid"):
        PostgresState("postgresql://me:s3cret@host/db?no_such=1")
    with pytest.raises(ConfigError, match="is not a name of a schema"):
        PostgresState(f"{postgres}?schema=a-b")


def test_a_later_format_is_left_alone(url: str) -> None:
    with closing(PostgresState(url)) as state:
        state._done("update {schema}.format set version = 99")
    with pytest.raises(Incompatible, match="format 99"):
        PostgresState(url)
