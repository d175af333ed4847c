"""What there is to see, as plain values: one reading for the command line, `--json` and the console.

data.py      streams, the sources that feed them, and tables of the lake
making.py    features, training sets, and versions of models
deciding.py  experiments, endpoints, and a decision followed back to files
running.py   runs, their steps, and what has failed and waits
project.py   the graph of a project, and the pages of error codes
queries.py   a query of a user over the lake: checked, read-only
"""

from __future__ import annotations

from millstream.app.lookup.data import STREAMS, sources, streams, tables
from millstream.app.lookup.deciding import endpoint, endpoints, experiments, trace
from millstream.app.lookup.making import features, model, models, sets
from millstream.app.lookup.project import graph, page
from millstream.app.lookup.queries import ask
from millstream.app.lookup.running import find_run, run, runs, steps, waiting

__all__ = [
    "STREAMS",
    "ask",
    "endpoint",
    "endpoints",
    "experiments",
    "features",
    "find_run",
    "graph",
    "model",
    "models",
    "page",
    "run",
    "runs",
    "sets",
    "sources",
    "steps",
    "streams",
    "tables",
    "trace",
    "waiting",
]
