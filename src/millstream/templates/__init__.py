"""Projects to begin with: `quickstart` and `flights`.

`quickstart` has made-up visits and orders, a model and an endpoint, and is ready in a minute; `flights` has real data,
two models and an experiment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from millstream.base.errors import UsageError
from millstream.base.points import reach
from millstream.base.words import choices

LAST = "millstream.toml"
"""Written last: a folder without it is not a project yet."""
TEMPLATES = ("quickstart", "flights")


def create(template: str, folder: Path) -> list[Path]:
    """Copy a template into a folder; the files made. What a killed copy has left is completed.

    Raises:
        UsageError: No such template, or the folder holds something already.
    """
    if template not in TEMPLATES:
        raise UsageError(f'no template "{template}"; {choices(template, TEMPLATES)}')
    wanted = _wanted(template, folder)
    if not _free(folder, wanted):
        raise UsageError(f"{folder} is not empty; give another folder")
    for file, text in wanted.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = _draft(file)
        draft.write_bytes(text)
        reach("init.draft")
        draft.replace(file)
        reach("init.file")
    return list(wanted)


def free(template: str, folder: Path) -> bool:
    """Whether `create` may write there."""
    return _free(folder, _wanted(template, folder))


def _wanted(template: str, folder: Path) -> dict[Path, bytes]:
    return dict(
        sorted(_texts(files("millstream.templates").joinpath(template), folder), key=lambda file: file[0].name == LAST)
    )


def _free(folder: Path, wanted: Mapping[Path, bytes]) -> bool:
    """Whether the folder is empty, or holds what a killed `create` of this template has left.

    That is files of it, whole, and the last one missing.
    """
    if not folder.exists():
        return True
    if (folder / LAST).exists():
        return False
    found = [
        file
        for item in folder.iterdir()
        if item.name not in (".git", ".venv")
        for file in (item.rglob("*") if item.is_dir() else [item])
    ]
    drafts = {_draft(file) for file in wanted}
    return all(
        file.is_dir() or file in drafts or (file in wanted and file.read_bytes() == wanted[file]) for file in found
    )


def _draft(file: Path) -> Path:
    return file.with_name(f".{file.name}.new")


def _texts(source: Traversable, target: Path) -> Iterator[tuple[Path, bytes]]:
    """Each file of a template, as it will be below the target."""
    for item in source.iterdir():
        name = ".gitignore" if item.name == "gitignore" else item.name
        if not item.is_dir():
            yield target / name, item.read_bytes()
        elif item.name != "__pycache__":
            yield from _texts(item, target / name)
