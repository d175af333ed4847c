"""The page of the HTTP face has all that the code has: routes, statuses with their codes, metrics, limits, fields of answers."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from millstream.features.port import Lookup
from millstream.ingest import collector
from millstream.log.port import Log
from millstream.serve import backend, server
from millstream.serve.decide import ANSWER

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "http.md").read_text()
ROOMS = [ROOT / "src" / "millstream" / room for room in ("http", "serve", "ingest")]


def texts() -> list[ast.AST]:
    return [node for room in ROOMS for file in room.glob("*.py") for node in ast.walk(ast.parse(file.read_text()))]


def refusals() -> set[tuple[str, str]]:
    """(status, code) of every `Refused(status, "code", ...)`, whichever of two statuses it has."""
    found = set()
    for node in texts():
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refused" and len(node.args) > 1:
            code = ast.literal_eval(node.args[1])
            found |= {(str(n.value), code) for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant) and isinstance(n.value, int) and n.value > 1}
    return found


def test_every_refusal_stands_on_the_page_and_no_other() -> None:
    rows = set(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", PAGE, re.MULTILINE))
    assert len(refusals()) > 20
    assert rows - {("422", "invalid_event")} == refusals(), rows ^ refusals()


def test_every_route_stands_on_the_page() -> None:
    listed = re.findall(r"^\| `(GET|POST) (/\S+)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(server.ROUTES)
    for method, path in server.ROUTES:
        assert f"## {method} {path}\n" in PAGE
    known = [path.replace("STREAM", "").replace("ENDPOINT", "") for _, path in server.ROUTES]
    assert collector.PREFIX in known
    spelled = {
        node.value
        for node in texts()
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"/(v1/)?[a-z]+(/[a-z]*)?", node.value)
    }
    assert {"/healthz", "/readyz", "/metrics", "/v1/predict/", "/v1/events/"} <= spelled
    assert {path for path in spelled if path not in known and f"{path}/" not in known} == set()


def test_every_metric_limit_and_field_stands_on_the_page() -> None:
    metrics = {node.value for node in texts() if isinstance(node, ast.Constant) and re.fullmatch(r"millstream_[a-z_]+", str(node.value))}
    assert len(metrics) > 8 and metrics == set(re.findall(r"^\| `(millstream_\w+)`", PAGE, re.MULTILINE))
    assert all(f"`{name}`" in PAGE for name in (*ANSWER, "value", "as_of", "inexact", "features", "reasons"))
    taken, answered = collector.Limits(), backend.Limits()
    for said in (f"{taken.body_bytes:,} bytes unpacked, {taken.event_bytes:,} an event", f"at most {answered.requests:,}; at most {answered.body_bytes:,} bytes",
                 f"within {answered.answer_s:g} s", f"up to {answered.wait_s:g} s"):  # fmt: skip
        assert said in PAGE, said


def test_every_reason_stands_on_the_page() -> None:
    told = set(re.findall(r'"([a-z_]+)"', re.split(r"reasons: Output", Lookup.__doc__ or "")[1].split("offsets:")[0]))
    assert len(told) == 6 and told == set(re.findall(r"`(\w+)`", PAGE.split("why it is null:")[1].split(";")[0]))


class Names:
    def names(self) -> list[str]:
        return ["late", "early"]


@pytest.mark.parametrize("mounted", [True, False])
def test_a_path_without_a_route_is_told_the_routes(mounted: bool) -> None:
    async def mount(*given: Any) -> None: ...

    log: Any = Log
    app, sent = server.Server(Names(), log, mounts={"/v1/events": mount} if mounted else {}), list[Any]()  # type: ignore[arg-type]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "method": "GET", "path": "/predict/late", "query_string": b"", "headers": []}, receive, send))
    error = json.loads(sent[1]["body"])["error"]
    assert sent[0]["status"] == 404 and error["code"] == "not_found"
    events = "POST /v1/events/STREAM, " if mounted else ""
    assert error["fix"] == f"there are {events}POST /v1/predict/ENDPOINT (late, early), GET /healthz, GET /readyz, GET /readyz/ENDPOINT, GET /metrics"
