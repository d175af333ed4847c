"""Sources of files whose glob matches none: no mistake, since files may come later, but a misspelt path would else be a
run that does nothing.
"""

from __future__ import annotations

import difflib
import glob
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.base.place import shorten
from millstream.declare.source import FileReader, Source
from millstream.run.sources import few, source_engines

if TYPE_CHECKING:
    from millstream.declare.project import Project

_NEAR, _ALIKE = 3, 0.6


def unmatched(project: Project) -> Iterator[str]:
    """A sentence for each such source: where was looked, and what is there instead."""
    for source, engine in source_engines(project):
        if isinstance(source.reader, FileReader) and not engine.splits():
            yield sentence(source, source.reader.glob, project.root)


def sentence(source: Source, pattern: str, root: Path) -> str:
    """E.g. `no file matches data/orders*.csv (source orders_files, streams.py:31): looked at /shop/data/orders*.csv;
    near it is orders.txt`.
    """
    return f"no file matches {pattern} (source {source.name}, {source.place}): {_instead(Path(pattern), root)}"


def _instead(pattern: Path, root: Path) -> str:
    parent, looked = pattern.parent, root / pattern
    folders = (
        [
            root / name
            for name in sorted(glob.glob(parent.as_posix(), root_dir=root, recursive=True))
            if (root / name).is_dir()
        ]
        if parent != Path()
        else [root]
    )
    if not folders:
        return f"looked at {looked}; there is no folder {_missing_part(parent, root)}"
    names = sorted(
        {
            file.name
            for folder in folders
            for file in folder.iterdir()
            if file.is_file() and not file.name.startswith(".")
        }
    )
    near = _near(pattern.name, names)
    if near:
        return f"looked at {looked}; near it {'is' if len(near) == 1 else 'are'} {', '.join(near)}"
    return (
        f"looked at {looked}; there {'is' if len(names) == 1 else 'are'} {few(names)}"
        if names
        else f"looked at {looked}; the folder has no file"
    )


def _missing_part(parent: Path, root: Path) -> str:
    """The first folder on the way that is not there, and the nearest that is."""
    at = Path()
    for part in parent.parts:
        if glob.glob((at / part).as_posix(), root_dir=root):
            at = at / part
            continue
        there = [entry.name for entry in (root / at).iterdir() if entry.is_dir()] if (root / at).is_dir() else []
        near = difflib.get_close_matches(part, there, 1, _ALIKE)
        return f"{shorten(str(root / at / part))}" + (f'; did you mean "{near[0]}"?' if near else "")
    return shorten(str(root / parent))


def _near(pattern: str, names: list[str]) -> list[str]:
    """Files of nearly the pattern: the same before the endings, or alike as a whole."""
    stem = pattern.partition(".")[0]
    same = (
        []
        if not stem.strip("*?")
        else [name for name in names if fnmatch(name.partition(".")[0].lower(), stem.lower())]
    )
    return (same or difflib.get_close_matches(pattern, names, _NEAR, _ALIKE))[:_NEAR]
