"""What the suite of the orchestrator port asks of a project: a stream from files, two tables, one of which can be made
to fail.
"""

from __future__ import annotations

from pathlib import Path

from export_project import at

from millstream.ports import Engines
from millstream.run.contract import OrchestratorContract

CODE = """
from pathlib import Path

import millstream as ms


class Ride(ms.Event):
    ride: str
    km: float
    ts: ms.EventTime


rides = ms.stream("rides", Ride, key="ride", dedupe="ride")
ms.source(rides, ms.read.files("data/rides*.csv"))
ms.table("days", "select ts::date as day, count(*) as n, sum(km) as km from rides group by 1")


@ms.table(rides)
def checked(batch):
    if (Path(__file__).parent / "broken").exists():
        raise ValueError("it is broken")
    return batch.select(["ride", "km"])
"""


class OrchestratedProject(OrchestratorContract):
    """Subclasses give `ws` of `made(folder)`, and the engine."""

    def assets(self, ws: Engines) -> list[str]:
        return ["sources", "rides", "days", "checked"]

    def new_rows(self, ws: Engines) -> None:
        rides(ws.project.root, 100)

    def break_it(self, ws: Engines) -> str:
        (ws.project.root / "broken").touch()
        return "checked"


def made(folder: Path, name: str = "taxi") -> Path:
    """The project in a new folder."""
    (folder / "data").mkdir(parents=True)
    (folder / "millstream.toml").write_text(f'[project]\nname = "{name}"\n', encoding="utf-8")
    (folder / "taxi.py").write_text(CODE, encoding="utf-8")
    rides(folder, 0)
    return folder


def rides(folder: Path, first: int) -> None:
    """A file of a hundred rides more."""
    rows = "".join(f"t{i},{i % 11},{at(i)}\n" for i in range(first, first + 100))
    (folder / "data" / f"rides-{first}.csv").write_text(f"ride,km,ts\n{rows}", encoding="utf-8")
