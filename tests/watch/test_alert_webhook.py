"""Webhooks that are bad neighbours: whatever they do, an alert costs a bounded time, says why, and shows no address."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from millstream.base.waits import Waits
from millstream.watch.alert import Webhook

SECRET = "/services/T000/B000/xyzSecret99"
TOLD = {"event": "opened", "severity": "warn", "text": "rows violated"}


def garbage(client: socket.socket) -> None:
    client.recv(4096)
    client.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")


def nothing(client: socket.socket) -> None: ...


def five_hundred(client: socket.socket) -> None:
    client.recv(4096)
    client.sendall(b"HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n")


def redirect(client: socket.socket) -> None:
    client.recv(4096)
    client.sendall(b"HTTP/1.1 302 x\r\nlocation: http://127.0.0.1:9/login\r\ncontent-length: 0\r\n\r\n")


def silence(client: socket.socket) -> None:
    while client.recv(4096):
        continue


def drip(client: socket.socket) -> None:
    """A header a moment, for ever: no single read times out."""
    client.recv(4096)
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        time.sleep(0.01)
        client.sendall(b"x: 1\r\n")


def endless_line(client: socket.socket) -> None:
    client.recv(4096)
    client.sendall(b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n")


def odd_status(client: socket.socket) -> None:
    client.recv(4096)
    client.sendall(b"HTTP/1.1 abc def\r\n\r\n")


@contextmanager
def served(by: Callable[[socket.socket], None]) -> Iterator[str]:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                with client, suppress(OSError):
                    by(client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}{SECRET}"
    finally:
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (garbage, "does not speak HTTP"),
        (nothing, ""),
        (five_hundred, "answered 500"),
        (redirect, "a redirect"),
        (silence, "no whole answer within 0.3 s"),
        (drip, "no whole answer within 0.3 s"),
        (endless_line, "does not speak HTTP"),
        (odd_status, "does not speak HTTP"),
    ],
)
def test_a_strange_server_takes_no_alert_and_is_named_without_its_address(
    server: Callable[[socket.socket], None], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with served(server) as url:
        hook = Webhook(url, whole_s=0.3)
        assert not hook.post(TOLD)
    assert "the alert webhook (alerts.webhook) did not take the alert" in hook.trouble and why in hook.trouble
    assert "xyzSecret99" not in caplog.text + hook.trouble and "B000" not in caplog.text + hook.trouble


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1/xyzSecret99",
        "http://user:xyzSecret99@host.invalid/x y",
        "http:///xyzSecret99",
        "ftp://x/xyzSecret99",
        "http://127.0.0.1:1/xyz\nSecret99",
        "http://127.0.0.1:99999999/xyzSecret99",
        "http://127.0.0.1:1/xyzSecret99",
        "xyzSecret99",
        "http://127.0.0.1:1/ü/xyzSecret99",
        "https://\udcff/xyzSecret99",
    ],
)
def test_an_address_that_is_none_is_a_sentence_without_it(url: str, caplog: pytest.LogCaptureFixture) -> None:
    hook = Webhook(url, whole_s=3.0)
    assert not hook.post(TOLD) and hook.trouble
    assert "Secret99" not in caplog.text + hook.trouble


def test_a_dead_webhook_is_asked_less_and_less_often() -> None:
    now, asked = [0.0], [0]

    def count(client: socket.socket) -> None:
        asked[0] += 1
        five_hundred(client)

    with served(count) as url:
        hook = Webhook(url, waits=Waits(10.0, 40.0, clock=lambda: now[0]))
        for second in range(200):
            now[0] = float(second)
            assert not hook.post(TOLD)
    assert asked[0] == 7, "at 0, 10, 30, 70, 110, 150, 190"


def test_the_time_of_the_next_post_is_known() -> None:
    now = [0.0]
    with served(five_hundred) as url:
        hook = Webhook(url, waits=Waits(10.0, 40.0, clock=lambda: now[0]))
        found = [hook.again_s]
        for second in (0.0, 4.0, 10.0):
            now[0] = second
            hook.post(TOLD)
            found.append(hook.again_s)
        now[0] = 100.0
        assert [*found, hook.again_s] == [0.0, 10.0, 6.0, 20.0, 0.0]


def test_without_an_address_nothing_is_posted_and_all_is_well() -> None:
    assert Webhook(None).post(TOLD) and not Webhook(None).trouble
