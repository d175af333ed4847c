"""A copy of the kept project, and how it is asked: verbs in this process, its engines, its server."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
from cli_project import Said, millstream

from millstream.ingest.collector import Collector
from millstream.run.serving import live
from millstream.run.workspace import Workspace
from millstream.serve.server import EVENTS, Server

HERE = Path(__file__).parent
ARCHIVE, ANSWERS, NAME = HERE / "project.tar.xz", HERE / "answers.json", "kept"
DAGS = ".millstream/dags"
"""Where the project was exported to."""
LEFT_OUT = ("scratch", "__pycache__", "run.lock")
"""Of no use to whoever reads the project later."""


class Shop:
    """A project folder. `close` before the folder is copied or packed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def ws(self) -> Workspace:
        return Workspace.open(str(self.folder))

    def close(self) -> None:
        if "ws" in self.__dict__:
            self.ws.close()
            del self.ws

    @property
    def manifest(self) -> Path:
        (found,) = (self.folder / DAGS).glob("*.json")
        return found

    @property
    def group(self) -> str:
        """A step of the export."""
        return str(json.loads(self.manifest.read_text())["manifest"]["groups"][0]["name"])

    def said(self, *words: str) -> Said:
        return millstream(self.folder, *words)

    def ask(self, *words: str, code: int = 0) -> Any:
        """A verb with --json, which must end with this code."""
        said = self.said(*words, "--json")
        assert said.code == code, (words, said.code, said.out[-2000:], said.err[-4000:])
        return said.json

    def rows(self, query: str) -> list[dict[str, Any]]:
        return list(self.ask("sql", "--limit", "0", query))

    def post(self, sent: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]]) -> list[tuple[int, Any]]:
        """Each (verb, name, bodies) in order, as a client would: "events" of a stream, as history, or "predict" of an
        endpoint, which sees all events before it.
        """
        return asyncio.run(self._post(sent))

    async def _post(self, sent: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]]) -> list[tuple[int, Any]]:
        ws, answers, after = self.ws, [], dict[str, str]()
        collector = Collector(
            ws.log,
            ws.schemas,
            {s.into.name: s.into for s in ws.project.sources.values() if s.reader.kind == "http"},
            doors=ws.doors,
        )
        server = Server(live(ws), ws.log, mounts={EVENTS: collector})
        collector.start()
        await server.start()
        try:
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app=server), base_url="http://kept", timeout=60
            ) as client:
                for verb, name, bodies in sent:
                    events = verb == "events"
                    headers = (
                        {"millstream-replay": "true"}
                        if events
                        else {"millstream-after": ";".join(f"{s}:{at}" for s, at in after.items())}
                    )
                    found = await client.post(
                        f"/v1/{verb}/{name}" + ("" if events else "?explain=1"), json=list(bodies), headers=headers
                    )
                    answers.append((found.status_code, found.json()))
                    if events and name in ("visits", "orders"):  # what features are made of
                        after[name] = ",".join(
                            f"{partition}={end}" for partition, end in found.json()["offsets"].items()
                        )
        finally:
            await server.stop()
            collector.close()
        return answers


def pack(folder: Path, archive: Path) -> None:
    """The project's folder, without what nobody reads."""

    def chosen(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        return None if Path(info.name).name in LEFT_OUT else info

    with tarfile.open(archive, "w:xz", preset=9) as file:
        file.add(folder, NAME, filter=chosen)


def unpacked(folder: Path, archive: Path = ARCHIVE) -> Path:
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / NAME
