"""Clusters for tests, each on ports of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from millstream.base.errors import EngineMissing
from millstream.cluster import Cluster


@contextmanager
def ports() -> Iterator[int]:
    """The first of 1000 ports that no other test session uses: its last port is bound for as long as we live."""
    # Of a session that was killed, perhaps
    taken = {c.laddr.port for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    for first in range(25000, 32000, 1000):  # below them are clusters that people run
        if taken.intersection(range(first, first + 999)):
            continue
        with socket.socket() as lock:
            try:
                lock.bind(("127.0.0.1", first + 999))
            except OSError:
                continue
            yield first
            return
    raise RuntimeError("seven clusters are under test on this machine")


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
