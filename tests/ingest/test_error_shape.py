"""Every door answers a request that it refuses in one shape: `{"error": {"code", "message", "fix", ...}}`."""

from __future__ import annotations

import gzip
import http.client
import json
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[1] / "shared"
TOKEN = {"authorization": "Bearer secret"}
DOORS = {"events": "/v1/events/bought", "predict": "/v1/predict/rank"}
REFUSED = {
    "no token": (401, "POST", "", b"[]", {}),
    "another token": (401, "POST", "", b"[]", {"authorization": "Bearer other"}),
    "another method": (405, "GET", "", b"", TOKEN),
    "an unknown name": (404, "POST", "x", b"[]", TOKEN),
    "no JSON": (400, "POST", "", b"[{", TOKEN),
    "another class": (422, "POST", "", b'[{"colour": "red"}]', TOKEN),
    "too long": (413, "POST", "", b"", TOKEN | {"content-length": str(1 << 31)}),
    "packed as nobody knows": (415, "POST", "", b"[]", TOKEN | {"content-encoding": "rot13"}),
    "half a gzip": (400, "POST", "", gzip.compress(b"[]")[:-6], TOKEN | {"content-encoding": "gzip"}),
    "no gzip": (400, "POST", "", b"[]", TOKEN | {"content-encoding": "gzip"}),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("shape")
    child = subprocess.Popen([sys.executable, str(SHARED / "whole_server.py"), str(folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        yield child.stdout.readline().strip()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", REFUSED)
def test_every_refusal_has_one_shape(server: str, door: str, case: str) -> None:
    status, method, more, body, headers = REFUSED[case]
    parts = urllib.parse.urlsplit(server)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.request(method, DOORS[door] + more, body, headers)
    reply = connection.getresponse()
    error = json.loads(reply.read())["error"]
    connection.close()
    assert reply.status == status and reply.headers["content-type"] == "application/json"
    assert all(isinstance(error[key], str) and error[key] for key in ("code", "message", "fix"))
    assert (reply.headers.get("www-authenticate") == "Bearer") is (status == 401)
