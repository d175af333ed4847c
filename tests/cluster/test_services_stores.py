"""Redis and PostgreSQL as `millstream cluster` brings them up: a kill loses nothing that was answered."""

from __future__ import annotations

import subprocess

import pytest
from running_cluster import brought

from millstream.cluster import Cluster, ask
from millstream.cluster.postgres import program


def redis_says(url: str, words: str) -> str:
    return ask.line(int(url.rpartition(":")[2].removesuffix("/0")), f"{words}\r\n".encode()).decode()


def test_redis_keeps_what_it_answered_through_a_kill(cluster: Cluster, redis: str) -> None:
    assert redis_says(redis, "SET kept 17") == "+OK\r\n"
    cluster.kill("redis")
    with pytest.raises(OSError):
        redis_says(redis, "PING")
    cluster.restart("redis")
    assert redis_says(redis, "GET kept") == "$2\r\n17\r\n"


def sql(url: str, text: str) -> str:
    return subprocess.run(
        [program("psql"), url, "-qtAc", text], capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()


def test_postgres_keeps_what_it_committed_through_kills(cluster: Cluster, postgres: str) -> None:
    sql(postgres, "create table kept (n int); insert into kept select generate_series(1, 1000)")
    for _ in range(3):
        # A backend that is busy
        with subprocess.Popen([program("psql"), postgres, "-qtAc", "select pg_sleep(60)"], stderr=subprocess.DEVNULL):
            cluster.kill("postgres")
            cluster.restart("postgres")
    assert sql(postgres, "select count(*), sum(n) from kept") == "1000|500500"
    assert sql(postgres, "show wal_level") == "logical"


def test_data_outlives_down_and_up(own_cluster: Cluster) -> None:
    redis, postgres = brought(own_cluster, "redis"), brought(own_cluster, "postgres")
    redis_says(redis, "SET stays here")
    sql(postgres, "create table stays as select 1 as n")
    own_cluster.down()
    assert not [s.role for s in own_cluster.status() if s.alive]
    own_cluster.up(["redis", "postgres"])
    assert redis_says(redis, "GET stays") == "$4\r\nhere\r\n"
    assert sql(postgres, "select n from stays") == "1"
