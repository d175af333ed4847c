"""A project as jobs of an orchestrator that is not ours: one neutral manifest, and small files that another tool reads.

manifest.py   which assets go together, what they wait for, when they run; content-hashed, the same bytes for the same project
fuse.py       assets into groups: as few jobs as lose nothing
airflow.py    DAG files for Airflow            luigi.py      modules for luigi
modules.py    what both share                  oozie.py      workflows and coordinators for Oozie
code.py       the project's files by their hashes, so that a job knows whether it runs what was exported
"""

from __future__ import annotations

from millstream.run.export.manifest import Group, Manifest, Timetable, make, read, write

__all__ = ["Group", "Manifest", "Timetable", "make", "read", "write"]
