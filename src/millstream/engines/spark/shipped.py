"""What goes to executors with a function: the project's modules, and on YARN the Python environment.

Modules are a zip, sent when a function needs them. The environment is an archive of what is installed here, made once
and kept on the shared file system under the hash of what is in it; nodes bring a Python of the same version. Sites that
install it on their nodes say where.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.base.errors import ConfigError
from millstream.declare.table import ArrowFunction

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

UNPACKED = "environment"
"""The folder of the archive beside an executor, which is on its Python's path."""
_SKIPPED = ("__pycache__", "pyspark", "py4j", "pip", "setuptools")  # Spark sends its own Python side
_EPOCH = (1980, 1, 1, 0, 0, 0)


def python(session: SparkSession, asked: str, *, local: bool) -> str:
    """The Python that executors run, "" when they get one with the archive.

    Args:
        asked: The option `python`.
    """
    return asked or (
        sys.executable
        if local
        else session.sparkContext.getConf().get("spark.pyspark.python", "") or os.environ.get("PYSPARK_PYTHON", "")
    )


def equip(session: SparkSession, folder: Path, asked: str, place: str, *, local: bool) -> None:
    """Have the tasks of what comes run by a Python that has what is installed here; see `python` and
    `send_environment`.
    """
    there = python(session, asked, local=local)
    if not there:
        send_environment(session, folder, place)
    session.sparkContext.pythonExec = there or f"python{sys.version_info.major}.{sys.version_info.minor}"


def send_environment(session: SparkSession, folder: Path, place: str) -> None:
    """Let executors have what is installed here, by way of `place` on the shared file system; the archive is made in
    `folder`.

    Raises:
        ConfigError: The master does not unpack archives for its executors.
    """
    context = session.sparkContext
    if context.master != "yarn":
        raise ConfigError(
            f"functions on {context.master} need a Python with this project's packages on all nodes: say where,"
            " &python=/path/to/bin/python"
        )
    files = dict(sorted(_installed()))
    told = "\n".join(f"{name} {path.stat().st_size} {path.stat().st_mtime_ns}" for name, path in files.items())
    name = f"{UNPACKED}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.tar.gz"
    there = _path(session, f"{place.rstrip('/')}/environments/{name}")
    store = there.getFileSystem(session._jsc.hadoopConfiguration())
    if not store.exists(there):
        here, half = folder / f"{name}.{os.getpid()}", there.suffix(f".{context.applicationId}")
        try:
            with tarfile.open(here, "w:gz", compresslevel=1) as archive:
                for inside, path in files.items():
                    archive.add(path, inside, recursive=False)
            store.copyFromLocalFile(True, True, _path(session, f"file://{here}"), half)
        finally:
            here.unlink(missing_ok=True)
        store.rename(half, there)  # nobody sees half of it; who comes second finds one there
    context.addArchive(f"{store.makeQualified(there)}#{UNPACKED}")


def send_code(session: SparkSession, function: ArrowFunction, folder: Path) -> str:
    """Let executors have the modules of the function's project. Returns the name they have there; "" when it is of an
    installed package.
    """
    root = _root(function)
    if root is None:
        return ""
    files = sorted(_modules(root))
    digest = hashlib.sha256(
        "".join(f"{name}\0{path.read_text(errors='replace')}\0" for name, path in files).encode()
    ).hexdigest()[:16]
    made = folder / f"code-{digest}.zip"
    if not made.exists():
        half = made.with_suffix(f".{os.getpid()}")
        with zipfile.ZipFile(half, "w") as out:
            for name, path in files:
                out.writestr(zipfile.ZipInfo(name, _EPOCH), path.read_bytes())
        half.replace(made)
    session.sparkContext.addFile(str(made))  # one that was added is not added again
    return made.name


def _root(function: ArrowFunction) -> Path | None:
    """The folder of the module that the function is in, where it is one of a project: its modules lie at the root."""
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    if file is None or "." in function.__module__:
        return None
    folder = Path(file).resolve().parent
    return None if any(folder.is_relative_to(path) for path in _homes()) else folder


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    for path in root.glob("*.py"):
        yield path.name, path
    for package in root.glob("*/__init__.py"):
        for path in package.parent.rglob("*.py"):
            yield str(path.relative_to(root)), path


def _homes() -> list[Path]:
    return [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]


def _installed() -> Iterator[tuple[str, Path]]:
    """Each file of what is installed; of what is installed to be edited, its packages."""
    for home in {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}:
        yield from _files(home, home)
    for one in distributions():
        if "editable" in (one.read_text("direct_url.json") or ""):
            for name in (one.read_text("top_level.txt") or "").split():
                for home in (Path(path) for path in sys.path if path and Path(path, name).is_dir()):
                    yield from _files(home, home / name)


def _files(home: Path, start: Path) -> Iterator[tuple[str, Path]]:
    for folder, below, names in os.walk(start):
        below[:] = [name for name in below if name not in _SKIPPED]
        yield from (
            (str(path.relative_to(home)), path) for path in (Path(folder, name) for name in names) if path.is_file()
        )


def _path(session: SparkSession, text: str) -> Any:
    return session._jvm.org.apache.hadoop.fs.Path(text)
