"""The manifest as DAG files for Airflow 3: one a timetable, which reads the manifest beside it and starts `millstream run-step`.

A DAG file imports `airflow.sdk` and the standard library only, so neither Airflow's processes nor its environment ever load Millstream.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from millstream.app.export.manifest import Manifest, put, write


@dataclass(frozen=True)
class Deployment:
    """Where a task finds the project, on the machines that run it. It stands in the DAG files, not in the manifest."""

    root: str
    profile: str
    python: str


def export(manifest: Manifest, folder: Path, deployment: Deployment) -> list[Path]:
    """Write the manifest and its DAG files; the files, the manifest's first. DAG files of this project without a timetable are removed."""
    written = [write(manifest, folder)]
    for timetable in manifest.timetables:
        file = folder / f"{timetable.name}.py"
        put(file, dag_file(manifest, timetable.name, deployment).encode())
        written.append(file)
    mark = f'"""{_mark(manifest)}'
    for file in sorted(folder.glob("*.py")):
        if file not in written and file.read_text(encoding="utf-8", errors="replace").startswith(mark):
            file.unlink()
    return written


def dag_file(manifest: Manifest, timetable: str, deployment: Deployment) -> str:
    """The text of the DAG file of a timetable."""
    template = Template(files(__package__).joinpath("airflow.py.tmpl").read_text(encoding="utf-8"))
    line = next(t.line for t in manifest.timetables if t.name == timetable)
    return template.substitute(
        title=f"{_mark(manifest)}, {line or 'by hand'}. Not to be edited: export it again.", manifest=_text(manifest.file_name), timetable=_text(timetable),
        python=_text(deployment.python), root=_text(deployment.root), profile=_text(deployment.profile),
    )  # fmt: skip


def _mark(manifest: Manifest) -> str:
    return f"Written by `millstream export airflow`: project {manifest.project!r}"


def _text(value: str) -> str:
    """As a literal of Python, in double quotes where it can be."""
    return f'"{value}"' if value.isascii() and value.isprintable() and not set(value) & {'"', "\\"} else repr(value)
