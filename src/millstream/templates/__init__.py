"""Projects to begin with: `quickstart` (made-up visits and orders, a model, an endpoint; ready in a minute) and `flights` (real data, two models, an experiment)."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from millstream.declare.errors import UsageError

TEMPLATES = ("quickstart", "flights")


def create(template: str, folder: Path) -> list[Path]:
    """Copy a template into a folder; the files made.

    Raises:
        UsageError: No such template, or the folder holds something already.
    """
    if template not in TEMPLATES:
        raise UsageError(f'no template "{template}"; there are {", ".join(TEMPLATES)}')
    if folder.exists() and any(item.name not in (".git", ".venv") for item in folder.iterdir()):
        raise UsageError(f"{folder} is not empty; give another folder")
    return _copy(files("millstream.templates").joinpath(template), folder)


def _copy(source: Traversable, target: Path) -> list[Path]:
    target.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for item in source.iterdir():
        name = ".gitignore" if item.name == "gitignore" else item.name
        if item.is_dir():
            made += [] if item.name == "__pycache__" else _copy(item, target / name)
        else:
            (target / name).write_bytes(item.read_bytes())
            made.append(target / name)
    return made
