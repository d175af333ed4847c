"""Python files, one a timetable, out of a template: what exports for tools that are configured in Python share."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from millstream.run.export.manifest import Manifest, Timetable, put, write


@dataclass(frozen=True)
class Deployment:
    """Where a task finds the project, on the machines that run it. It stands in the tool's files, not in the
    manifest.
    """

    root: str
    profile: str
    python: str


def export(tool: str, manifest: Manifest, folder: Path, deployment: Deployment) -> list[Path]:
    """Write the manifest and a file for each timetable, from `TOOL.py.tmpl`; the files, the manifest's first. Files of
    this project without a timetable are removed.
    """
    written = [write(manifest, folder)]
    mark = f"Written by `millstream export {tool}`: project {manifest.project!r}"
    for timetable in manifest.timetables:
        file = folder / f"{module_name(timetable)}.py"
        put(file, _rendered(tool, mark, manifest, timetable, deployment).encode())
        written.append(file)
    for file in sorted(folder.glob("*.py")):
        if file not in written and file.read_text(encoding="utf-8", errors="replace").startswith(f'"""{mark}'):
            file.unlink()
    return written


def module_name(timetable: Timetable) -> str:
    """A file's name that can be imported: without dots."""
    return timetable.name.replace(".", "_")


def _rendered(tool: str, mark: str, manifest: Manifest, timetable: Timetable, deployment: Deployment) -> str:
    template = Template(files(__package__).joinpath(f"{tool}.py.tmpl").read_text(encoding="utf-8"))
    return template.substitute(
        title=f"{mark}, {timetable.line or 'by hand'}. Not to be edited: export it again.",
        manifest=_text(manifest.file_name),
        timetable=_text(timetable.name),
        python=_text(deployment.python),
        root=_text(deployment.root),
        profile=_text(deployment.profile),
    )


def _text(value: str) -> str:
    """As a literal of Python, in double quotes where it can be."""
    return f'"{value}"' if value.isascii() and value.isprintable() and not set(value) & {'"', "\\"} else repr(value)
