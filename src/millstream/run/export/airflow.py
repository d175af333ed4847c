"""The manifest as DAG files for Airflow 3: one a timetable, which reads the manifest beside it and starts `millstream
run-step`.

A DAG file imports `airflow.sdk` and the standard library only, so neither Airflow's processes nor its environment ever
load Millstream.
"""

from __future__ import annotations

from pathlib import Path

from millstream.run.export import modules
from millstream.run.export.manifest import Manifest
from millstream.run.export.modules import Deployment

__all__ = ["Deployment", "export"]


def export(manifest: Manifest, folder: Path, deployment: Deployment) -> list[Path]:
    """Write the manifest and its DAG files; the files, the manifest's first. DAG files of this project without a
    timetable are removed.
    """
    return modules.export("airflow", manifest, folder, deployment)
