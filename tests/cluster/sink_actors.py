"""Processes that land and are killed: `python sink_actors.py KIND KAFKA FOLDER ROWS [POINT TIMES]`.

With a point they land what there is, and die when they come there the how manieth time; else they land for ever.
`up-PID` in the folder says that one has begun.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from sink_world import World

from millstream.base import points


def at_point(point: str, times: int) -> None:
    left = [times]

    def handler(reached: str) -> None:
        left[0] -= reached == point
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    points.watch(handler)


def main() -> None:
    kind, kafka, folder, rows, *point = sys.argv[1:]
    if point:
        at_point(point[0], int(point[1]))
    sink = World(kafka, Path(folder)).sink(kind, int(rows))
    Path(folder, f"up-{os.getpid()}").touch()
    sink.drain()
    while not point:
        sink.drain()
        time.sleep(0.05)


if __name__ == "__main__":
    main()
