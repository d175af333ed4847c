"""An engine imports ports, the helpers that its own ports name, `base` and `declare`: nothing else of Millstream, so
that one can be written from outside.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINES = ROOT / "src" / "millstream" / "engines"
ROOMS = {
    "log": "log",
    "schemas": "log",
    "files": "lake",
    "catalog": "lake",
    "sink": "lake",
    "sql": "transform",
    "online": "features",
    "state": "state",
    "orchestrator": "run",
    "tracking": "train",
    "source": "ingest",
}
"""Group of entry points -> the room of its port."""
POINTS = {
    group.removeprefix("millstream."): set(points.values())
    for group, points in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"].items()
    if group.startswith("millstream.")
}


def ports(engine: str) -> set[str]:
    return {
        f"millstream.{ROOMS[group]}.port"
        for group, points in POINTS.items()
        if any(p.startswith(f"millstream.engines.{engine}.") for p in points)
    }


def helpers(port: str) -> set[str]:
    """Modules, or packages, that the text of a port names as helpers."""
    named = re.findall(r"Helpers for engines[^:]*: ((?:`[\w/.]+`,?\s*)+)", import_module(port).__doc__ or "")
    return {
        "millstream." + path.removesuffix(".py").rstrip("/").replace("/", ".")
        for text in named
        for path in re.findall(r"`([\w/.]+)`", text)
    }


def imported(file: Path) -> Iterator[str]:
    """Modules of Millstream that a file imports anywhere."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("millstream"):
            for name in node.names:
                inner = ROOT.joinpath("src", *f"{node.module}.{name.name}".split("."))
                yield (
                    f"{node.module}.{name.name}"
                    if inner.is_dir() or inner.with_suffix(".py").exists()
                    else str(node.module)
                )
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("millstream"))


@pytest.mark.parametrize("engine", sorted(p.name for p in ENGINES.iterdir() if p.is_dir() and p.name != "__pycache__"))
def test_an_engine_imports_ports_and_their_helpers_only(engine: str) -> None:
    own = ports(engine)
    assert own, f"{engine} is behind no port"
    allowed = {helper for port in own for helper in helpers(port)}
    found = {module for file in (ENGINES / engine).glob("*.py") for module in imported(file)}
    others = {
        m
        for m in found
        if not re.fullmatch(r"millstream\.(base|declare)\..*|millstream\.\w+\.port|millstream\.ports", m)
    }
    others = {
        m for m in others if m != f"millstream.engines.{engine}" and not m.startswith(f"millstream.engines.{engine}.")
    }
    assert {m for m in others if not any(m == one or m.startswith(f"{one}.") for one in allowed)} == set()


def test_every_helper_is_there_and_used() -> None:
    for port in {f"millstream.{room}.port" for room in ROOMS.values()}:
        users = [p.name for p in ENGINES.iterdir() if p.is_dir() and port in ports(p.name)]
        found = {m for user in users for file in (ENGINES / user).glob("*.py") for m in imported(file)}
        assert {h for h in helpers(port) if not any(m == h or m.startswith(f"{h}.") for m in found)} == set(), port
