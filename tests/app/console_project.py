"""A small real project for the console to show: the quickstart, an experiment over values, and a stream whose texts are
nasty.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from millstream.app.console.server import LOOPBACK, app
from millstream.base.event import rows_to_arrow
from millstream.log.envelope import publish, topic_of
from millstream.run import runner
from millstream.run.feedback import feedback
from millstream.run.serving import live
from millstream.run.steps import steps
from millstream.run.workspace import Workspace
from millstream.serve.server import Server
from millstream.templates import create

NASTY = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
MORE = f'''
from models import will_buy
from streams import Visit

import millstream as ms


class Note(ms.Event):
    """What people wrote: {NASTY}"""

    note_id: str
    text: str = ms.field(doc={NASTY!r})
    size: int
    ts: ms.EventTime


notes = ms.stream("notes", Note, key="note_id", dedupe="note_id")
ms.source(notes, ms.read.files("data/notes.csv"))
ms.monitor(notes, ms.expect.not_null("text"), ms.expect.rows("size > 0"))

banner_test = ms.experiment("banner_test", arms={{"off": False, "on": True}}, unit="customer", assign=ms.assign.ab(),
                            reward=will_buy)
banner = ms.endpoint("banner", banner_test, default=False, request=Visit)
'''


def made(folder: Path) -> Workspace:
    """The project, run for real: models trained, requests answered and landed, outcomes judged, monitors run."""
    create("quickstart", folder)
    (folder / "notes.py").write_text(MORE)
    quoted = NASTY.replace('"', '""')
    rows = [
        f'n{i},"{quoted if i == 1 else f"note {i}"}",{1_234_567 * i},2026-01-20T10:{i:02}:00Z' for i in range(1, 30)
    ]
    (folder / "data" / "notes.csv").write_text("\n".join(["note_id,text,size,ts", *rows]) + "\n")
    ws = Workspace.open(str(folder))
    _run(ws)
    asyncio.run(_ask(ws))
    _run(ws)
    feedback(ws)
    for monitor in ws.project.monitors.values():
        ws.monitors.run(monitor)
    return ws


def _run(ws: Workspace) -> None:
    done = runner.run(steps(ws), ws.state, workers=2)
    assert all(d.status in ("made", "skipped") for d in done), [(d.name, d.error) for d in done]


async def _ask(ws: Workspace) -> None:
    server = Server(live(ws), ws.log)
    await server.start()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=server), base_url="http://test") as client:
        for endpoint in ("offer", "banner"):
            asks = [
                {
                    "visit_id": f"{endpoint}{i}",
                    "customer": f"c{i}",
                    "device": "phone",
                    "ts": f"2026-01-21T10:{i:02}:00Z",
                }
                for i in range(40)
            ]
            (await client.post(f"/v1/predict/{endpoint}", json=asks)).raise_for_status()
    await server.stop()


def send(ws: Workspace, stream: str, *events: dict[str, Any]) -> None:
    """Events into the log, as the collector would put them there."""
    noun = ws.project.streams[stream]
    publish(
        ws.log,
        topic_of(ws.log, ws.schemas, noun),
        rows_to_arrow([noun.event(**event) for event in events], noun.schema),
    )


@contextmanager
def serving(ws: Workspace, *, token: str | None = None, hosts: tuple[str, ...] = LOOPBACK) -> Iterator[str]:
    """The console on a free port; its address."""
    server = uvicorn.Server(
        uvicorn.Config(app(ws, token=token, hosts=hosts), host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run, name="console")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the console did not start"
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
