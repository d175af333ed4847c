"""Settings: precedence, origins, unknown keys, secrets that are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.base.errors import ConfigError
from millstream.run.settings import read
from millstream.run.workspace import Workspace

TOML = """
[project]
name = "p"

[serve]
port = 9000
host = "127.0.0.2"

[profile.laptop]
log = "sqlite:.millstream/log.db"

[profile.cluster]
log = "kafka://broker-1:9092,broker-2:9092"
state = "postgresql://me:secret@db/millstream"

[profile.cluster.serve]
port = 9100
token = "env:THE_TOKEN"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "millstream.toml").write_text(TOML)
    return tmp_path


def origins(made: object) -> dict[str, tuple[str, str]]:
    return {key: (value, origin) for key, value, origin in made.rows()}  # type: ignore[attr-defined]


def test_defaults_are_embedded_and_absolute(root: Path) -> None:
    made = read(root)
    assert (made.profile, made.compute, made.registry, made.serve_token) == ("laptop", "duckdb", "", None)
    assert (
        made.log == f"sqlite:{root}/.millstream/log.db"
        and made.lake == f"{root}/.millstream/lake"
        and made.tracking == f"mlflow:{root}/.millstream/mlflow.db"
    )
    assert origins(made)["online"] == ("sqlite:.millstream/online.db", "default")


@pytest.mark.parametrize(
    ("compute", "query", "one"),
    [("duckdb:?threads=1", "", True), ("spark://local[1]", "", False), ("duckdb", "duckdb:?threads=1", False)],
)
def test_questions_are_answered_by_duckdb(root: Path, compute: str, query: str, one: bool) -> None:
    """By the engine that makes assets, with its options, where that is DuckDB."""
    with Workspace.open(str(root), None, {"compute": compute, "query": query}) as ws:
        assert (ws.sql is ws.compute) == one
        assert ws.sql.query("select 1 as a", {}).read_all().num_rows == 1


def test_a_folder_of_configuration_is_seen_from_the_project(root: Path) -> None:
    flags = {
        "lake": "hdfs://c/lake?conf=.millstream/cluster/conf/hdfs&timeout=9s",
        "compute": "spark://yarn?spark.x=1&conf=/etc/spark",
        "sink": "spark://yarn?conf=~/spark",
    }
    made = read(root, flags=flags)
    assert made.lake == f"hdfs://c/lake?conf={root}/.millstream/cluster/conf/hdfs&timeout=9s"
    assert (made.compute, made.sink) == (flags["compute"], flags["sink"])
    assert origins(made)["lake"][0] == flags["lake"]


def test_flag_over_environment_over_profile_over_base(root: Path) -> None:
    environment = {"MILLSTREAM_PROFILE": "cluster", "THE_TOKEN": "tell-no-one"}
    assert (read(root).serve_port, origins(read(root))["serve.port"][1]) == (9000, "millstream.toml [serve]")
    made = read(root, environment=environment)
    assert (made.serve_port, origins(made)["serve.port"][1]) == (9100, "millstream.toml [profile.cluster]")
    assert origins(made)["profile"] == ("cluster", "MILLSTREAM_PROFILE") and made.serve_host == "127.0.0.2"
    made = read(root, environment={**environment, "MILLSTREAM_SERVE_PORT": "9200"})
    assert (made.serve_port, origins(made)["serve.port"][1]) == (9200, "MILLSTREAM_SERVE_PORT")
    made = read(root, environment={**environment, "MILLSTREAM_SERVE_PORT": "9200"}, flags={"serve.port": "9300"})
    assert (made.serve_port, origins(made)["serve.port"][1], made.flags) == (
        9300,
        "--set serve.port",
        {"serve.port": "9300"},
    )
    assert read(root, profile="laptop", environment=environment).profile == "laptop"


def test_secrets_are_read_and_never_shown(root: Path) -> None:
    made = read(
        root,
        profile="cluster",
        environment={"THE_TOKEN": "tell-no-one", "MILLSTREAM_ALERTS_WEBHOOK": "https://hook/tell-no-one"},
    )
    assert made.serve_token == "tell-no-one" and made.webhook == "https://hook/tell-no-one"
    (root / "token").write_text("tell-no-one-either\n")
    assert read(root, flags={"serve.token": "file:token"}).serve_token == "tell-no-one-either"
    shown = repr(made) + str(made) + str(made.rows())
    assert "tell-no-one" not in shown and "secret" not in shown
    assert (
        origins(made)["serve.token"][0] == "env:THE_TOKEN"
        and origins(made)["state"][0] == "postgresql://me:(hidden)@db/millstream"
    )
    assert made.state == "postgresql://me:secret@db/millstream"


def test_a_password_in_a_url_may_be_a_reference(root: Path) -> None:
    url = "kafka://alice:env:KAFKA_PASSWORD@b-1:9093,b-2:9093?replication=2"
    made = read(root, flags={"log": url}, environment={"KAFKA_PASSWORD": "s/e@t"})
    assert made.log == "kafka://alice:s%2Fe%40t@b-1:9093,b-2:9093?replication=2" and origins(made)["log"][0] == url
    (root / "password").write_text("tell\n")
    assert read(root, flags={"log": "kafka://alice:file:password@b:9093"}).log == "kafka://alice:tell@b:9093"
    with pytest.raises(ConfigError, match="nothing is at env:KAFKA_PASSWORD"):
        read(root, flags={"log": url})


@pytest.mark.parametrize(
    ("flags", "environment", "profile", "words"),
    [
        ({"serve.prt": "1"}, {}, None, ["serve.prt", 'did you mean "serve.port"?', "--set"]),
        ({"serve.port": "http"}, {}, None, ["serve.port", "http", "--set"]),
        ({"serve.port": "99999"}, {}, None, ["99999"]),
        ({}, {"MILLSTREAM_SERVE_PROT": "1"}, None, ["MILLSTREAM_SERVE_PROT", "MILLSTREAM_SERVE_PORT"]),
        ({}, {}, "clustre", ["clustre", "cluster", "millstream.toml"]),
        ({}, {}, "cluster", ["serve.token", "env:THE_TOKEN", "nothing is there"]),
        ({"serve.prt": "1", "lgo": "x"}, {}, None, ["serve.prt", "lgo"]),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    root: Path, flags: dict[str, str], environment: dict[str, str], profile: str | None, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(root, profile=profile, flags=flags, environment=environment)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("flags", [{"serve.token": "tell-no-one"}, {"alerts.webhook": "https://hook/tell-no-one"}])
def test_secrets_as_they_are_are_refused_and_not_repeated(root: Path, flags: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(root, flags=flags)
    assert "env:NAME" in str(caught.value) and "tell-no-one" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[serve]\nprot = 1\n",
            'millstream.toml:4 [serve]: there is no setting "serve.prot"; did you mean "serve.port"?    E195',
        ),
        ("[serve]\nport = -1\n", "millstream.toml:4 [serve]: serve.port is a port, 0 to 65535; it is -1    E195"),
        ("[serve]\nport = true\n", "serve.port is a port"),
        ("[serve]\nport = nan\n", "serve.port is a port"),
        ("[serve]\nport = []\n", "serve.port is a port"),
        ("[serve]\nhost = 5\n", "serve.host is a text; it is 5"),
        ('[serve]\nhost = ""\n', "serve.host is empty; leave it out for its default, 127.0.0.1"),
        (
            '[profile.laptop]\nlag = "x"\n',
            'millstream.toml:4 [profile.laptop]: there is no setting "lag"; did you mean "log"?',
        ),
        (
            '[profile.laptop]\nlog = "sqllite:x.db"\n',
            'log = sqllite:x.db: no engine "sqllite" serves log; did you mean "sqlite"?',
        ),
        (
            '[profile.laptop]\nlog = "kafak://me:secret@h"\n',
            'log = kafak://me:(hidden)@h: no engine "kafak" serves log; did you mean "kafka"?',
        ),
        ('[profile.laptop]\ncompute = "ducdb"\n', 'did you mean "duckdb"?'),
        ('[profile.laptop]\nsink = "lokal"\n', 'did you mean "local"?'),
        ('[profile.laptop]\nlake = "s3://x"\n', "known: file, hdfs"),
        ('[profile.laptop]\nonline = "redis"\n', "write redis://HOST:PORT"),
        ('[profile.laptop]\nlog = ""\n', "log is empty"),
        ("[console]\nport = 8600\n", "console.port is 8600, which is serve.port too"),
        ("[profile.laptop.serve]\nport = 99999\n", "millstream.toml:4 [profile.laptop]: serve.port is a port"),
        ("[profile]\nlaptop = 5\n", "laptop is a section; it is 5"),
    ],
)
def test_a_wrong_setting_is_found_by_check_at_its_line(tmp_path: Path, text: str, told: str) -> None:
    """An engine that nobody has was found by the first verb that needed it; an empty host listens everywhere."""
    (tmp_path / "millstream.toml").write_text(f'[project]\nname = "p"\n{text}')
    with pytest.raises(ConfigError) as caught:
        read(tmp_path)
    assert told in str(caught.value) and str(caught.value).endswith("E195") and "secret@" not in str(caught.value)


def test_an_address_that_is_a_reference_is_judged_by_what_it_stands_for(tmp_path: Path) -> None:
    (tmp_path / "millstream.toml").write_text(
        '[project]\nname = "p"\n[profile.laptop]\nlog = "env:OUR_LOG"\nonline = "file:online.txt"\n'
    )
    (tmp_path / "online.txt").write_text("redis://host:6379/0\n")
    made = read(tmp_path, environment={"OUR_LOG": "kafka://broker:9092"})
    assert (made.log, made.online) == ("kafka://broker:9092", "redis://host:6379/0")
    with pytest.raises(ConfigError, match=r'no engine "kafak" serves log; did you mean "kafka"') as caught:
        read(tmp_path, environment={"OUR_LOG": "kafak://me:tell-no-one@broker:9092"})
    assert "tell-no-one" not in str(caught.value)
