"""Real engines for tests: each is brought up on first use, shared by the session, and stopped at its end.

`kafka`, `registry` … are addresses, as a profile says them. A test whose engine cannot be had here is skipped with the reason, unless
CLUSTER_TESTS_NO_SKIP is set. Faults want `ha_cluster`, whose daemons they may kill and must have restarted.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from millstream.app.cluster import Cluster
from millstream.declare.errors import EngineMissing

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(600))


@contextmanager
def ports() -> Iterator[int]:
    """The first of 1000 ports that no other test session uses: its last port is bound for as long as we live."""
    for first in range(21000, 32000, 1000):
        with socket.socket() as lock:
            try:
                lock.bind(("127.0.0.1", first + 999))
            except OSError:
                continue
            yield first
            return
    raise RuntimeError("eleven clusters are under test on this machine")


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    with ports() as port:
        made = Cluster(folder, port=port)
        try:
            yield made
        finally:
            made.down(wipe=True)


def brought(cluster: Cluster, *services: str, ha: bool = False) -> str:
    """The address of the first service, with all of them up; or the test is skipped."""
    try:
        cluster.up(services, ha=ha)
    except EngineMissing as error:
        if "CLUSTER_TESTS_NO_SKIP" in os.environ:
            raise
        pytest.skip(str(error))
    return cluster.address(services[0])


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One daemon of each kind."""
    with running(tmp_path_factory.mktemp("small")) as made:
        yield made


@pytest.fixture(scope="session")
def ha_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The full count of daemons, on ports of its own."""
    with running(tmp_path_factory.mktemp("ha")) as made:
        yield made


@pytest.fixture(scope="session")
def kafka(cluster: Cluster) -> str:
    """kafka://127.0.0.1:PORT, one broker."""
    return brought(cluster, "kafka")


@pytest.fixture(scope="session")
def ha_kafka(ha_cluster: Cluster) -> str:
    """kafka://127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT, copies on all three brokers, two of which must have a record."""
    return brought(ha_cluster, "kafka", ha=True)


@pytest.fixture(scope="session")
def registry(cluster: Cluster) -> str:
    """http://127.0.0.1:PORT/apis/ccompat/v7"""
    return brought(cluster, "registry")
