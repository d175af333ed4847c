"""Which infrastructure a project runs on: layered mappings in, one frozen `Settings` out. Reads no file and no
environment.

Later layers win: base (sections of millstream.toml), profile, environment, flags. Each value remembers where it came
from.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millstream.base.errors import ConfigError
from millstream.base.secrets import hide, keep, keep_address, keep_password
from millstream.base.words import nearest, short

DEFAULTS: dict[str, str | int] = {
    "log": "sqlite:.millstream/log.db",
    "registry": "",
    "lake": ".millstream/lake",
    "catalog": "",
    "compute": "duckdb",
    "query": "",
    "sink": "local",
    "online": "sqlite:.millstream/online.db",
    "orchestrator": "local",
    "tracking": "mlflow:.millstream/mlflow.db",
    "state": "sqlite:.millstream/state.db",
    "serve.host": "127.0.0.1",
    "serve.port": 8600,
    "serve.token": "",
    "console.host": "127.0.0.1",
    "console.port": 8601,
    "console.token": "",
    "alerts.webhook": "",
    "cluster.port": 20000,
}
"""Every key with its embedded default; `a.b` is `b` of the section `[a]`."""
MEANINGS: dict[str, str] = {
    "log": "The log of events.",
    "registry": "The schema registry; empty means beside the log.",
    "lake": "The folder or object store of the lake's Delta tables.",
    "catalog": (
        "Where other tools find the lake's tables by name: a Hive metastore, `hive://HOST:PORT/DATABASE`; empty tells"
        " nobody."
    ),
    "compute": "What makes tables, features and training sets: the SQL engine of runs.",
    "query": (
        "What answers questions about them, in each process that asks: `sql`, `trace`, experiments, monitors, outcomes"
        " as they mature. Empty: DuckDB, and `compute` itself where that is DuckDB. Both give the same rows."
    ),
    "sink": (
        "What lands streams in the lake: `local`, in this process, or Spark, `spark://yarn`, whose executors read"
        " Kafka."
    ),
    "online": "Where features stand for serving.",
    "orchestrator": (
        "What runs the assets when nobody waits: `local`, this machine, or Airflow,"
        " `airflow://USER:env:NAME@HOST:PORT?dags=DIR`."
    ),
    "tracking": "Runs and registered versions of models: a file, or the address of an MLflow server.",
    "state": "Runs, phases of experiments, verdicts of monitors, leases.",
    "serve.host": "The address of the endpoints and the collector. Beyond loopback a token is needed.",
    "serve.port": "Their port.",
    "serve.token": "What a client must send as `Authorization: Bearer TOKEN`; empty asks for nothing.",
    "console.host": "The address of the console. Beyond loopback a token is needed.",
    "console.port": "Its port.",
    "console.token": "What a browser must send; empty asks for nothing.",
    "alerts.webhook": "Where alerts of monitors are posted as JSON; empty posts nothing.",
    "cluster.port": "The first of the 1000 ports that the daemons of `millstream cluster` listen on, all on loopback.",
}
"""What each key is for, as the generated reference says it."""
SECRETS = ("serve.token", "console.token", "alerts.webhook")
"""Keys whose value is never shown, and in files and flags is given by reference only: `env:NAME` or `file:PATH`."""
PORTS = {
    "log": "log",
    "registry": "schemas",
    "lake": "files",
    "catalog": "catalog",
    "compute": "sql",
    "query": "sql",
    "sink": "sink",
    "online": "online",
    "orchestrator": "orchestrator",
    "tracking": "tracking",
    "state": "state",
}
"""Setting -> the port whose engine it names."""
_PATHS = ("log", "registry", "lake", "online", "tracking", "state")
_REFERRED = re.compile(r"(?<=://)([^/@:]*):((?:env|file):[^@]+)@")
_CONF = re.compile(r"(?<=[?&]conf=)[^/~&][^&]*")
"""A folder of clients' configuration, as seen from the project."""
_HOSTS = re.compile(r"\w+:[\w.-]+:\d+(,[\w.-]+:\d+)*(/.*|\?.*)?")


@dataclass(frozen=True)
class Layer:
    """Values by key, and where each was written: "millstream.toml [serve]", "MILLSTREAM_LOG", "--set log".

    Attributes:
        place: The same with the line, for errors; None where there is no line.
        literal_secrets: Whether a secret may stand here as it is (the environment).
    """

    name: str
    values: Mapping[str, Any]
    origin: Callable[[str], str]
    literal_secrets: bool = False
    place: Callable[[str], str] | None = None

    def at(self, key: str) -> str:
        """Where a key was written, as errors say it."""
        return (self.place or self.origin)(key)


@dataclass(frozen=True)
class Settings:
    """URLs of the engines and addresses of the servers; paths are absolute. Secrets are in no repr.

    Attributes:
        flags: What the command line gave, to hand on to child processes; never a secret.
        origins: Key -> where its value was said.
        shown: Key -> the value as it may be shown.
    """

    profile: str
    log: str
    registry: str
    lake: str
    catalog: str
    compute: str
    query: str
    sink: str
    online: str
    orchestrator: str
    tracking: str
    state: str
    serve_host: str
    serve_port: int
    serve_token: str | None = field(repr=False)
    console_host: str
    console_port: int
    console_token: str | None = field(repr=False)
    webhook: str | None = field(repr=False)
    cluster_port: int
    flags: Mapping[str, str]
    origins: Mapping[str, str] = field(repr=False)
    shown: Mapping[str, str] = field(repr=False)

    def rows(self) -> list[tuple[str, str, str]]:
        """(key, value as it may be shown, origin) of every setting."""
        return [
            ("profile", self.profile, self.origins["profile"]),
            *((key, self.shown[key], self.origins[key]) for key in DEFAULTS),
        ]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{key}={value!r}' for key, value, _ in self.rows())})"


def settle(
    root: Path,
    layers: Sequence[Layer],
    *,
    profile: str,
    profile_origin: str = "default",
    flags: Mapping[str, str] | None = None,
    secret: Callable[[str], str | None],
    engine: Callable[[str, str], str] = lambda port, url: "",
) -> Settings:
    """The settings that the layers say together; the last that names a key wins.

    Args:
        engine: What is wrong with the URL of a port's engine, "" when nothing is.
        secret: What a reference (`env:NAME`, `file:PATH`) stands for, None when it is not there.

    Raises:
        ConfigError: Unknown keys, values of the wrong type, secrets that are not references or not there; all of them
            together.
    """
    wrong = [_unknown(layer, key) for layer in layers for key in layer.values if key not in DEFAULTS]
    values: dict[str, Any] = dict(DEFAULTS)
    origins = dict.fromkeys(DEFAULTS, "default")
    places = dict(origins)
    shown: dict[str, str] = {}
    for layer in layers:
        for key, value in layer.values.items():
            if key not in DEFAULTS:
                continue
            values[key], origins[key], places[key] = value, layer.origin(key), layer.at(key)
            if key in SECRETS and value and not layer.literal_secrets and not _is_reference(key, value):
                wrong.append(
                    f"{layer.at(key)}: {key} is a secret and stands here as it is; write env:NAME or file:PATH"
                )
    for key, value in values.items():
        shown[key] = _shown(key, value)
        try:
            values[key] = _settled(key, value, root, secret)
            named = values[key] if _is_reference(key, value) else value
            said = engine(PORTS[key], named) if key in PORTS and named else ""
            if said:
                raise ConfigError(f"{key} = {shown[key]}: {said}")
        except ConfigError as error:
            wrong.append(f"{places[key]}: {error}")
    if (
        not wrong
        and values["serve.port"]
        and (values["serve.host"], values["serve.port"]) == (values["console.host"], values["console.port"])
    ):
        wrong.append(
            f"{places['console.port']}: console.port is {values['serve.port']}, which is serve.port too; give one of"
            " them another"
        )
    if wrong:
        raise ConfigError("\n".join(f"{line}    E195" for line in wrong))
    fields = {key.replace(".", "_"): value for key, value in values.items() if key != "alerts.webhook"}
    for key in ("serve_token", "console_token"):
        fields[key] = fields[key] or None
    return Settings(
        profile=profile,
        webhook=values["alerts.webhook"] or None,
        flags=dict(flags or {}),
        origins={**origins, "profile": profile_origin},
        shown=shown,
        **fields,
    )


def flatten(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys.

    >>> flatten({"log": "x", "serve": {"port": 1}})
    {'log': 'x', 'serve.port': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in section.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _unknown(layer: Layer, key: str) -> str:
    return (
        f'{layer.at(key)}: there is no setting "{key}"; {nearest(key, DEFAULTS) or "there are " + ", ".join(DEFAULTS)}'
    )


def _is_reference(key: str, value: Any) -> bool:
    return isinstance(value, str) and (value.startswith("env:") or (key != "lake" and value.startswith("file:")))


def _shown(key: str, value: Any) -> str:
    if key in SECRETS and value and not _is_reference(key, value):
        return "(hidden)"
    return hide(str(value))


def _settled(key: str, value: Any, root: Path, secret: Callable[[str], str | None]) -> str | int:
    if _is_reference(key, value):
        found = secret(value)
        if not found:
            raise ConfigError(f"{key} = {value}: nothing is there")
        value = found
    if key in SECRETS and isinstance(value, str) and value:
        (keep_address if "://" in value else keep)(value)
    if isinstance(DEFAULTS[key], int):
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,5}", str(value)) or int(value) > 65535:
            raise ConfigError(f"{key} is a port, 0 to 65535; it is {value!r}")
        return int(value)
    if not isinstance(value, str):
        raise ConfigError(f"{key} is a text; it is {short(value)}")
    if not value.strip() and DEFAULTS[key]:
        raise ConfigError(f"{key} is empty; leave it out for its default, {DEFAULTS[key]}")
    value = _CONF.sub(lambda part: str(root / part[0]), _with_password(key, value, secret))
    keep_password(value)
    return _absolute(value, root) if key in _PATHS else value


def _with_password(key: str, url: str, secret: Callable[[str], str | None]) -> str:
    """`scheme://user:env:NAME@host` with what the reference stands for."""
    referred = _REFERRED.search(url)
    if referred is None:
        return url
    found = secret(referred[2])
    if not found:
        raise ConfigError(f"{key} = {url}: nothing is at {referred[2]}")
    return _REFERRED.sub(lambda part: f"{part[1]}:{urllib.parse.quote(found, safe='')}@", url)


def _absolute(url: str, root: Path) -> str:
    """`sqlite:PATH`, `mlflow:PATH`, `file:PATH` and `PATH` made absolute; other URLs, and `kafka:HOST:PORT`, as they
    are.

    >>> _absolute("sqlite:.millstream/log.db", Path("/p")), _absolute("lake", Path("/p"))
    ('sqlite:/p/.millstream/log.db', '/p/lake')
    >>> _absolute("kafka://broker:9092", Path("/p"))
    'kafka://broker:9092'
    >>> _absolute("kafka:b-1:9092,b-2:9092", Path("/p"))
    'kafka:b-1:9092,b-2:9092'
    """
    if not url or "://" in url or _HOSTS.fullmatch(url):
        return url
    scheme, colon, path = url.rpartition(":")
    return f"{scheme}{colon}{root / path}"
