"""Engines for a test that has no project folder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from millstream.base.registry import engine
from millstream.declare.noun import Noun
from millstream.ingest.doors import Doors
from millstream.lake.lake import Lake


def project(*nouns: Noun, **params: Any) -> Any:
    """What rooms ask of a project: its nouns by kind and name, and its parameters."""
    kinds = ("source", "stream", "table", "features", "training_set", "model", "experiment", "endpoint", "monitor")
    by_kind: dict[str, dict[str, Noun]] = {**{f"{kind.rstrip('s')}s": {} for kind in kinds}, "features": {}}
    for noun in nouns:
        by_kind["features" if noun.kind == "features" else f"{noun.kind}s"][noun.name] = noun
    return SimpleNamespace(name="", params=params, by_name={noun.name: noun for noun in nouns}, **by_kind)


def engines(folder: Path, *nouns: Noun, **given: Any) -> Any:
    """Everything embedded, below a folder; `given` in the place of some of it."""
    url = f"sqlite:{folder / 'log.db'}"
    schemas = engine("schemas", url)(url)
    log = engine("log", url)(url, schemas)
    sql = engine("sql", "duckdb")("duckdb", folder / "scratch")
    made = {
        "folder": folder,
        "project": project(*nouns),
        "schemas": schemas,
        "log": log,
        "doors": Doors(log),
        "lake": Lake(engine("files", "file")(str(folder / "lake"))),
        "compute": sql,
        "sql": sql,
        "online": engine("online", "sqlite")(f"sqlite:{folder / 'online.db'}"),
        "state": engine("state", "sqlite")(f"sqlite:{folder / 'state.db'}"),
        "tracking": engine("tracking", "mlflow")(f"mlflow:{folder / 'mlflow.db'}", folder / "models"),
    }
    return SimpleNamespace(**made | given)


def of_world(world: Any, folder: Path, **given: Any) -> Any:
    """What a world of features has, as the serving process is handed it."""
    made = {
        "folder": folder,
        "project": project(world.stream),
        "schemas": world.schemas,
        "log": world.log,
        "doors": Doors(world.log),
        "lake": world.lake,
        "compute": world.sql,
        "online": world.store,
    }
    return SimpleNamespace(**made | given)
