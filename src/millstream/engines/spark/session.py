"""One Spark context a process and master, shared by the engines that ask for it; and Spark's errors as ours."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from millstream.base.duration import micros
from millstream.base.errors import ConfigError, EngineMissing, Full, Unreachable, WorkFailed
from millstream.engines.spark.shipped import UNPACKED

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SETTINGS = {
    "spark.app.name": "millstream",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "",  # a site's may bring a parser that binds no parameters; Delta's does
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "false",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
}
_LOCAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "4",
}
# What a query's meaning rests on is not for a profile to change.
_OURS = frozenset(key for key in _SETTINGS if key.startswith("spark.sql.") and "arrow" not in key)


@dataclass(frozen=True)
class Options:
    """Of the URL `spark://local[2]?memory=2g`, `spark://yarn?spark.executor.instances=4&scratch=hdfs://c/tmp`,
    `spark://host:7077`.

    Attributes:
        master: As Spark says it: "local[2]", "yarn", "spark://host:7077".
        settings: `spark.*`, as they were given.
        scratch: Folder that all executors reach, for the tables of scripts; "" is the engine's own folder on this
            machine, or `tmp/millstream` of the default file system on a cluster.
        timeout_s: Seconds after which a query is stopped; None never.
        python: Of functions over batches: a Python on every node that has the project's packages; "" leaves it to
            Spark's configuration, and else ships them.
        conf: Folder of spark-defaults.conf and spark-env.sh; "" leaves it to SPARK_CONF_DIR.
    """

    master: str
    settings: dict[str, str] = field(default_factory=dict)
    scratch: str = ""
    timeout_s: float | None = None
    python: str = ""
    conf: str = ""

    @property
    def local(self) -> bool:
        return self.master.startswith("local")

    @classmethod
    def read(cls, url: str) -> Options:
        """Raises ConfigError, naming the options there are."""
        place, _, query = url.partition("?")
        place = place.removeprefix("spark:").removeprefix("//").rstrip("/")
        given = dict(parse_qsl(query))
        unknown = [
            key
            for key in given
            if key not in ("conf", "memory", "scratch", "timeout", "python") and not key.startswith("spark.")
        ]
        if unknown:
            raise ConfigError(
                f'compute = "{url}": no option "{unknown[0]}"; known: conf, memory, scratch, timeout, python, and every'
                " spark.* setting"
            )
        if not place:
            raise ConfigError(
                f'compute = "{url}" names no master; write spark://local[2], spark://yarn or spark://host:7077'
            )
        kept = sorted(_OURS & set(given))
        if kept:
            raise ConfigError(
                f'compute = "{url}": {kept[0]} is set by Millstream, since the meaning of queries rests on it; leave'
                " it out"
            )
        if "conf" in given and not Path(given["conf"]).is_dir():
            raise ConfigError(f'compute = "{url}": there is no folder {given["conf"]}')
        settings = {key: value for key, value in given.items() if key.startswith("spark.")}
        if "memory" in given:
            settings["spark.driver.memory"] = given["memory"]
        try:
            timeout = micros(given["timeout"]) / 1e6 if "timeout" in given else None
        except ValueError as error:
            raise ConfigError(f'compute = "{url}": {error}') from None
        master = f"spark://{place}" if ":" in place and not place.startswith(("local", "k8s")) else place
        return cls(master, settings, given.get("scratch", ""), timeout, given.get("python", ""), given.get("conf", ""))


_YARN = {"spark.executorEnv.PYTHONPATH": UNPACKED}  # where the shipped environment comes to lie, if it does
# In an executor's traceback
_OURS_THERE = re.compile(
    rf"^{re.escape(f'{WorkFailed.__module__}.{WorkFailed.__qualname__}')}: (.*?)(?=\n\s*\n|\n\tat |\n\s*SQLSTATE|\Z)",
    re.MULTILINE | re.DOTALL,
)
_PATIENCE_S = 30.0  # for a JVM to end
_LOG = "spark.log"
"""What the driver's JVM says on its standard error."""
_lock = threading.Lock()
_running: dict[str, Any] = {"options": None, "session": None, "users": 0}


def acquire(options: Options, folder: Path) -> SparkSession:
    """The process's session, started at need; each `acquire` wants one `release`.

    Raises:
        ConfigError: One runs with another master already; Spark has one a process.
        EngineMissing: No pyspark, or no Java.
    """
    with _lock:
        if _gone():  # whoever else holds it will find out
            _end_jvm()
            _running["session"] = None
        if _running["session"] is None:
            _running["session"], _running["options"] = _start(options, folder), options
        elif any(
            getattr(_running["options"], name) != getattr(options, name) for name in ("master", "settings", "conf")
        ):
            raise ConfigError(
                f"Spark runs with {_running['options'].master} in this process, and {options.master} was asked for; one"
                " process has one"
            )
        _running["users"] += 1
        return _running["session"]


def release() -> None:
    with _lock:
        _running["users"] -= 1
        if _running["users"] <= 0:
            session, _running["session"], _running["users"] = _running["session"], None, 0
            if session is not None:
                with contextlib.suppress(Exception):  # its JVM may be gone
                    session.stop()
                _end_jvm()


def _gone() -> bool:
    """Whether the JVM of the session has ended."""
    if _running["session"] is None:
        return False
    from pyspark import SparkContext

    process = getattr(SparkContext._gateway, "proc", None)
    return process is not None and process.poll() is not None


def _end_jvm() -> None:
    """The next engine starts another: settings, class path and memory are a JVM's, and only its start reads them."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    gateway = SparkContext._gateway
    SparkContext._active_spark_context = SparkContext._gateway = SparkContext._jvm = None
    SparkSession._instantiatedSession = None
    if gateway is not None:
        with contextlib.suppress(Exception):
            gateway.shutdown()
        process = getattr(gateway, "proc", None)
        if process is not None:
            process.stdin.close()  # at which it ends
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(options: Options, folder: Path) -> SparkSession:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, which is not used
        try:
            from pyspark import SparkConf, SparkContext
            from pyspark.sql import SparkSession
        except ImportError as error:
            raise EngineMissing(f'the engine "spark" needs {error.name}: pip install "millstream[spark]"') from error
    logging.getLogger("SQLQueryContextLogger").disabled = True  # what it says is in the error we raise
    if options.local:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    if options.conf:
        os.environ["SPARK_CONF_DIR"] = options.conf  # its only way to spark-submit
    folder.mkdir(parents=True, exist_ok=True)
    conf = SparkConf().setMaster(options.master).setAll(list(_settings(options, folder).items()))
    with _starting(options, folder), (folder / _LOG).open("ab") as log, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyspark.java_gateway import launch_gateway

        SparkContext._ensure_initialized(gateway=launch_gateway(conf, {"stderr": log}), conf=conf)
        session = SparkSession.builder.config(conf=conf).getOrCreate()
    if "PYSPARK_PYTHON" not in os.environ:
        session.sparkContext.pythonExec = session.sparkContext.getConf().get("spark.pyspark.python", sys.executable)
    return session


def _settings(options: Options, folder: Path) -> dict[str, str]:
    quiet = folder / "log4j2.properties"
    quiet.write_text(
        "rootLogger.level = fatal\nrootLogger.appenderRef.stderr.ref = console\nappender.console.type ="
        " Console\nappender.console.name = console\nappender.console.target = SYSTEM_ERR\nappender.console.layout.type"
        " = PatternLayout\nappender.console.layout.pattern = %p %c{1}: %m%n\n"
    )
    here = {
        "spark.local.dir": str(folder / "blocks"),
        "spark.sql.warehouse.dir": str(folder / "none"),
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile=file:{quiet}",
    }
    return {
        **_SETTINGS,
        **(_LOCAL if options.local else _YARN if options.master == "yarn" else {}),
        **here,
    } | options.settings


@contextlib.contextmanager
def _starting(options: Options, folder: Path) -> Iterator[None]:
    """A JVM that does not come up, and a cluster that gives no driver or no executors; it may later."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkRuntimeError

    try:
        yield
    except PySparkRuntimeError as error:
        said = (folder / _LOG).read_text(errors="replace").strip()[-500:]
        raise EngineMissing(
            f"Spark does not start: {said or error}; it wants Java 17 or newer (JAVA_HOME), on Debian: apt-get install"
            " openjdk-17-jre-headless"
        ) from error
    except Py4JJavaError as error:
        said = str(error.java_exception.toString()).splitlines()[0].partition("Exception: ")[2]
        _end_jvm()
        raise Unreachable(f"Spark does not start on {options.master}: {said[:500]}") from error


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Spark's errors as ours; the one place where they are told apart."""
    from py4j.protocol import Py4JError, Py4JNetworkError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JNetworkError, ConnectionError) as error:
        raise Unreachable(
            f"Spark's driver is gone, for want of memory perhaps (memory=2g in the URL): {error}"
        ) from error
    except (Py4JError, PySparkException) as error:
        raise ours(str(error)) from error


def ours(said: str) -> WorkFailed | Full:
    words = said.split("\n\tat ")[0].split("JVM stacktrace")[0].strip()
    if "No space left on device" in said:
        return Full(f"no room for Spark's scratch: {words[:500]}")
    executors = _OURS_THERE.search(said)
    if executors:
        return WorkFailed(executors[1].strip())
    caused = [line.strip() for line in said.splitlines() if line.startswith("Caused by:")]
    return WorkFailed("\n".join([words[:2000], *caused[-1:]]))
