"""Processes that land and are killed: `python sink_actors.py KIND KAFKA FOLDER ROWS [POINT TIMES]`; the last two say where, and the how manieth time there."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from sink_world import World

from millstream.lake import points


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
    world = World(kafka, Path(folder))
    print("landed", world.drain(kind, int(rows)).records, flush=True)


if __name__ == "__main__":
    main()
