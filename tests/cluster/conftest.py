"""Real engines for tests: each is brought up on first use, shared by the session, and stopped at its end.

`kafka`, `registry` … are addresses, as a profile says them. A test whose engine cannot be had here is skipped with the
reason, unless CLUSTER_TESTS_NO_SKIP is set. Faults want `ha_cluster`, whose daemons they may kill and must have
restarted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults_told import FAULTS, Fault, table
from running_cluster import brought, running

from millstream.cluster import Cluster

HERE = Path(__file__).parent
# Of suites that live in other rooms: on Spark each of these costs a minute, and one of its kind stays.
LONG = (
    "TestOnSpark::test_sinks_side_by_side",
    "TestOnSpark::test_a_sink_that_dies_is_followed[7-",
    "test_profile_spark.py::test_numbers_are_numpys",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(600))
            if any(name in item.nodeid for name in LONG):
                item.add_marker(pytest.mark.long)


@pytest.fixture
def fault_told(pytestconfig: pytest.Config) -> Callable[[Fault], None]:
    """Puts a row into the table of faults, which is printed at the end."""
    return pytestconfig.stash.setdefault(FAULTS, []).append


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if faults := config.stash.get(FAULTS, []):
        terminalreporter.section("faults")
        for line in table(faults):
            terminalreporter.write_line(line)


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


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """For one test alone, which may stop it; nothing is up."""
    with running(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def kafka(cluster: Cluster) -> str:
    """kafka://127.0.0.1:PORT, one broker."""
    return brought(cluster, "kafka")


@pytest.fixture(scope="session")
def ha_kafka(ha_cluster: Cluster) -> str:
    """kafka://127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT, copies on all three brokers, two of which must have a
    record.
    """
    return brought(ha_cluster, "kafka", ha=True)


@pytest.fixture(scope="session")
def registry(cluster: Cluster) -> str:
    """http://127.0.0.1:PORT/apis/ccompat/v7"""
    return brought(cluster, "registry")


@pytest.fixture(scope="session")
def redis(cluster: Cluster) -> str:
    """redis://127.0.0.1:PORT/0"""
    return brought(cluster, "redis")


@pytest.fixture(scope="session")
def postgres(cluster: Cluster) -> str:
    """postgresql://postgres@127.0.0.1:PORT/millstream, an empty database; its user may make others."""
    return brought(cluster, "postgres")


# Clients of Hadoop find their cluster by the environment, which is one for the process: it is set for each test, not
# for the session.
@pytest.fixture
def hdfs(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """hdfs://127.0.0.1:PORT/lake, one namenode; HADOOP_CONF_DIR leads to it."""
    return with_variables(cluster, monkeypatch, brought(cluster, "hdfs"))


@pytest.fixture
def ha_hdfs(ha_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """hdfs://mycluster/lake, two namenodes and five datanodes; HADOOP_CONF_DIR leads to it."""
    return with_variables(ha_cluster, monkeypatch, brought(ha_cluster, "hdfs", ha=True))


@pytest.fixture
def spark(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """spark://yarn; the variables that Spark's clients need are set."""
    return with_variables(cluster, monkeypatch, brought(cluster, "spark"))


def with_variables(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, url: str) -> str:
    """The URL without the folder of configuration, to which the variables lead."""
    for key, value in cluster.environment().items():
        monkeypatch.setenv(key, value)
    return url.partition("?")[0]


@pytest.fixture(scope="session")
def mlflow(cluster: Cluster) -> str:
    """http://127.0.0.1:PORT of an MLflow server on PostgreSQL."""
    return brought(cluster, "mlflow")
