"""The manifest as modules for luigi: one a timetable, which reads the manifest beside it and starts `millstream
run-step`.

A module imports luigi and the standard library only. A step is complete when the project's state says that it has
finished in that run; so a run that was stopped is continued by the same command, on this machine or another.
"""

from __future__ import annotations

from pathlib import Path

from millstream.run.export import modules
from millstream.run.export.manifest import Manifest
from millstream.run.export.modules import Deployment


def export(manifest: Manifest, folder: Path, deployment: Deployment) -> list[Path]:
    """Write the manifest and its modules; the files, the manifest's first. Modules of this project without a timetable
    are removed.
    """
    return modules.export("luigi", manifest, folder, deployment)
