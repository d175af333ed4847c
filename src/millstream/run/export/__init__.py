"""A project as jobs of another orchestrator: one neutral manifest, and small files that the other tool reads.

manifest.py  which assets go together, what they wait for, when they run
fuse.py      assets into groups: as few jobs as lose nothing
code.py      the project's files by their hashes
modules.py   what exporters of Python files share
airflow.py   DAG files for Airflow
luigi.py     modules for luigi
oozie.py     workflows and coordinators for Oozie
"""

from __future__ import annotations

from millstream.run.export.manifest import Group, Manifest, Timetable, make, read, write

__all__ = ["Group", "Manifest", "Timetable", "make", "read", "write"]
