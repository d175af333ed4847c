"""Short questions to services, as a client would put them: HTTP, and lines over a socket."""

from __future__ import annotations

import json
import socket
import urllib.request
from typing import Any

from millstream.app.cluster.service import LOOPBACK

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Loopback is not reached through the proxy that the environment may name."""


def http(port: int, path: str, timeout_s: float = 2.0) -> bytes:
    """The body of a 200.

    Raises:
        OSError: No answer in time, or another code.
    """
    with _DIRECT.open(f"http://{LOOPBACK}:{port}{path}", timeout=timeout_s) as answer:
        return answer.read()


def http_json(port: int, path: str, timeout_s: float = 2.0) -> Any:
    """The JSON of a 200.

    Raises:
        OSError: No answer in time, another code, or no JSON.
    """
    body = http(port, path, timeout_s)
    try:
        return json.loads(body)
    except ValueError as error:
        raise OSError(f"{path} is no JSON: {body[:100]!r}") from error


def line(port: int, question: bytes, timeout_s: float = 2.0) -> bytes:
    """What comes back until the other side is done or silent; for protocols of text.

    Raises:
        OSError: No answer in time.
    """
    with socket.create_connection((LOOPBACK, port), timeout_s) as s:
        s.sendall(question)
        return s.recv(65536)


def listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), 1.0).close()
    except OSError:
        return False
    return True
