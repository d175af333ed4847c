"""A server killed in mid-flight loses no answered decision; one told to stop answers all it holds."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from given import engines

SHARED = Path(__file__).parents[1] / "shared"


@contextmanager
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, str(SHARED / "live_server.py"), str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask_on(url: str, answered: list[str], broken: list[str], worker: int) -> None:
    """One connection, request after request, until the server is gone."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        for n in range(100_000):
            connection.request("POST", "/v1/predict/rank", json.dumps({"visit_id": f"{worker}-{n}", "device": "desk"}))
            reply = connection.getresponse()
            body = json.loads(reply.read())
            if reply.status == 200:
                answered.append(body["decision_id"])
            elif reply.status != 503:
                broken.append(str(body))
    except (OSError, http.client.HTTPException, ValueError):
        pass  # the server is gone, in the middle of an answer or between two
    finally:
        connection.close()


def recorded(folder: Path) -> list[str]:
    """Decision ids in the log, in all partitions."""
    log = engines(folder).log
    reader = log.reader("rank_decisions", dict.fromkeys(log.ends("rank_decisions"), 0))
    ids: list[str] = []
    while slices := reader.poll(50_000, timedelta(0)):
        ids += [i for s in slices for i in s.rows["decision_id"].to_pylist()]
    reader.close()
    return ids


def drive(url: str, process: subprocess.Popen[str], how: int, after: int) -> list[str]:
    answered, broken = list[str](), list[str]()
    clients = [threading.Thread(target=ask_on, args=(url, answered, broken, i)) for i in range(8)]
    for client in clients:
        client.start()
    while len(answered) < after and not broken:
        if process.poll() is not None:
            raise AssertionError("the server ended by itself")
        threading.Event().wait(0.005)
    process.send_signal(how)
    for client in clients:
        client.join()
    assert not broken
    return answered


@pytest.mark.fault
def test_killed_in_mid_flight(tmp_path: Path) -> None:
    answered: list[str] = []
    for kill in range(3):
        with server(tmp_path) as (process, url):
            answered += drive(url, process, signal.SIGKILL, 100 + 57 * kill)
    kept = recorded(tmp_path)
    assert len(answered) > 450 and set(answered) <= set(kept)
    assert len(kept) == len(set(kept)), "no decision twice"


def test_told_to_stop_it_answers_what_it_holds(tmp_path: Path) -> None:
    with server(tmp_path) as (process, url):
        answered = drive(url, process, signal.SIGTERM, 200)
        assert process.wait(20) in (0, -signal.SIGTERM)
    assert set(answered) == set(recorded(tmp_path)), "answered and recorded are the same decisions"
