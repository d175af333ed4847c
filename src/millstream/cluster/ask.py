"""Short questions to services, as a client would put them: HTTP, lines over a socket, SQL by HiveServer2's protocol."""

from __future__ import annotations

import getpass
import json
import logging
import socket
import urllib.request
from typing import Any

from millstream.base.errors import EngineMissing
from millstream.cluster.service import LOOPBACK, Note

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
        raise OSError(f"{path} is not valid JSON: {body[:100]!r}") from error


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


class Impyla:
    """Python's client of HiveServer2's protocol, from the extra `cluster`."""

    def fetch(self, say: Note) -> None:
        self.connect()

    @staticmethod
    def connect() -> Any:
        """`impala.dbapi.connect`."""
        try:
            from impala.dbapi import connect
        except ImportError as error:
            raise EngineMissing(
                'HiveServer2 and the Spark Thrift Server are asked through impyla: pip install "millstream[cluster]"'
            ) from error
        return connect


IMPYLA = Impyla()


def sql(port: int, question: str, timeout_s: float = 60.0, rows: bool = True) -> list[tuple[Any, ...]]:
    """The rows that a server of HiveServer2's protocol answers; none are asked for when `rows` is false, as after DDL.

    Raises:
        OSError: No answer in time, or an error.
    """
    connect = IMPYLA.connect()
    logging.getLogger("thrift.transport.TSocket").setLevel(logging.CRITICAL)  # it says what it raises, each time
    try:
        with (
            connect(
                LOOPBACK, port, auth_mechanism="PLAIN", user=getpass.getuser(), password="-", timeout=timeout_s
            ) as session,
            session.cursor() as cursor,
        ):
            cursor.execute(question)
            return list(cursor.fetchall()) if rows else []
    except Exception as error:  # impyla lets errors of Thrift, of SASL and of sockets through as they are
        raise OSError(f"port {port}: {error}") from error
