"""From a URL to an engine: `kafka://...` is looked up among the entry points `millstream.<port>`, on first use."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from millstream.base.errors import ConfigError, EngineMissing
from millstream.base.words import nearest

# Schemes of engines that come as an extra of the same name but are not always installed.
_SCHEMELESS = {
    "files": "file",
    "sql": "duckdb",
    "log": "sqlite",
    "schemas": "sqlite",
    "online": "sqlite",
    "state": "sqlite",
    "tracking": "mlflow",
}


def scheme(port: str, url: str) -> str:
    """The engine's name in a URL; a bare path or word names the embedded engine, or the engine itself.

    >>> scheme("log", "kafka://broker:9092"), scheme("files", ".millstream/lake"), scheme("sql", "duckdb")
    ('kafka', 'file', 'duckdb')
    """
    head, colon, _ = url.partition(":")
    if colon and len(head) > 1 and "/" not in head:
        return {"http": "mlflow", "https": "mlflow"}.get(head, head) if port == "tracking" else head
    return url if port in ("sql", "sink", "orchestrator") else _SCHEMELESS[port]


def unknown(port: str, url: str) -> str:
    """What is wrong with a setting that names an engine by URL, without loading any; "" when an engine is known.

    >>> unknown("log", "sqllite:x.db"), unknown("online", "sqlite:x.db")
    ('no engine "sqllite" serves log; did you mean "sqlite"?', '')
    >>> unknown("online", "redis")
    '"redis" alone is the name of a file here; for the engine write redis://HOST:PORT'
    """
    known = {point.name for point in installed().select(group=f"millstream.{port}")}
    name = scheme(port, url)
    if name not in known:
        return (
            f'no engine "{name}" serves {port};'
            f" {nearest(name, known) or 'known: ' + (', '.join(sorted(known)) or 'none')}"
        )
    bare = url.rpartition("/")[2]
    if bare in known and scheme(port, bare) != bare:
        return f'"{bare}" alone is the name of a file here; for the engine write {bare}://HOST:PORT'
    return ""


@cache
def installed() -> Any:
    """The entry points of all that is installed, looked up once a process: it takes tens of milliseconds in a large
    environment.
    """
    return entry_points()


def engine(port: str, url: str) -> Any:
    """The class that serves `port` for this URL; it is constructed as the port's docstring says.

    Raises:
        ConfigError: No engine of that scheme is known to this port.
        EngineMissing: It is known, but its driver is not installed.
    """
    name = scheme(port, url)
    known = {point.name: point for point in installed().select(group=f"millstream.{port}")}
    if name not in known:
        shown = re.sub(r"//[^/]*@", "//...@", url)  # a password may stand there
        raise ConfigError(f'no engine "{name}" serves {port} ({shown}); known: {", ".join(sorted(known)) or "none"}')
    try:
        return known[name].load()
    except ImportError as error:
        module = known[name].module.split(".")
        # Postgresql:// is the engine of engines/postgres/
        extra = module[2] if module[:2] == ["millstream", "engines"] else name
        raise EngineMissing(f'the engine "{name}" needs {error.name}: pip install "millstream[{extra}]"') from error
