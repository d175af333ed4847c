"""First uses in processes that are killed: forked from one server, so that one costs milliseconds and not its imports.

`python first_actors.py [preload ...]` is the server. A JSON line on stdin names a role, a folder, how many do it at
once, and the point or the delay after which each is killed; it answers with a JSON line: their exit codes, and the
seconds until the last had ended.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def state(folder: Path) -> None:
    from millstream.engines.sqlite.state import SqliteState

    one = SqliteState(f"sqlite:{folder}/.millstream/state.db")
    one.put("kind", f"key-{os.getpid()}", {"a": 1})
    assert one.list("kind")


def log(folder: Path) -> None:
    from millstream.engines.sqlite.log import SqliteLog
    from millstream.engines.sqlite.schemas import SqliteSchemas

    schemas = SqliteSchemas(f"sqlite:{folder}/.millstream/log.db")
    one = SqliteLog(f"sqlite:{folder}/.millstream/log.db", schemas)
    assert one.create("t", partitions=3).partitions == 3 and len(one.ends("t")) == 3
    schemas.register("t", '{"type": "record", "name": "T", "fields": []}')


def online(folder: Path) -> None:
    from millstream.engines.sqlite.online import SqliteOnline

    SqliteOnline(f"sqlite:{folder}/.millstream/online.db").generations()


def lake(folder: Path) -> None:
    import pyarrow as pa

    from millstream.engines.local.files import LocalFiles
    from millstream.lake.lake import Lake

    made = Lake(LocalFiles(f"{folder}/.millstream/lake")).create("t", pa.schema([("x", pa.int64())]))
    assert made.rows() == 0 and made.version == 0


def tracking(folder: Path) -> None:
    from millstream.engines.mlflow.tracking import MlflowTracking

    one = MlflowTracking(f"mlflow:{folder}/.millstream/mlflow.db", folder / "models")
    run = one.start("m", {"c": 1}, {})
    one.finish(run)
    assert one.run(run).status == "finished" and [r for r in one.runs("m") if r.id == run]
    one.close()


def tracking_in_place(folder: Path) -> None:
    """As older versions created it."""
    from millstream.engines.mlflow.tracking import _create

    (folder / ".millstream").mkdir(exist_ok=True)
    _create(f"sqlite:///{folder}/.millstream/mlflow.db")


def init(folder: Path) -> None:
    from millstream.templates import create

    create("quickstart", folder / "p")


def cache(folder: Path) -> None:
    from millstream.lang.cache import Cache

    with Cache(folder / ".millstream") as known:
        known.put("a", [os.getpid()])
    assert json.loads((folder / ".millstream" / "checks.json").read_text())["known"]


def run(folder: Path) -> None:
    from millstream.app.cli.main import main

    main(["--project", str(folder), "run"])


ROLES: dict[str, Callable[[Path], None]] = {
    f.__name__: f for f in (state, log, online, lake, tracking, tracking_in_place, init, cache, run)
}


def child(role: str, folder: str, point: str | None) -> None:
    """Never returns."""
    from millstream.base import points

    code: Any = 1
    try:
        if point:
            points.watch(lambda reached: os.kill(os.getpid(), signal.SIGKILL) if reached == point else None)
        ROLES[role](Path(folder))
        code = 0
    except SystemExit as done:
        code = done.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(int(code or 0))


def serve() -> None:
    for name in sys.argv[1:]:
        importlib.import_module(name)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        began, pids = time.monotonic(), []
        for _ in range(asked["copies"]):
            pid = os.fork()
            if pid == 0:
                child(asked["role"], asked["folder"], asked["point"])
            pids.append(pid)
        if asked["after"] is not None:
            time.sleep(asked["after"])
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        sys.stdout.write(json.dumps([codes, time.monotonic() - began]) + "\n")
        sys.stdout.flush()


class Forge:
    """The server, as tests see it."""

    def __init__(self, *preload: str) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__, *preload], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._server.stdout is not None and self._server.stdout.readline() == "ready\n"
        self.seconds = 0.0

    def act(
        self, role: str, folder: Path, *, point: str | None = None, after: float | None = None, copies: int = 1
    ) -> list[int]:
        """The exit codes; negative for a signal."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(
            json.dumps({"role": role, "folder": str(folder), "point": point, "after": after, "copies": copies}) + "\n"
        )
        self._server.stdin.flush()
        codes, self.seconds = json.loads(self._server.stdout.readline())
        return list(codes)

    def close(self) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(20)
        self._server.stdout.close()


if __name__ == "__main__":
    serve()
