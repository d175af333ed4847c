"""An address that a server cannot have is said with the setting to change, before anything is started."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_project import millstream, written

from millstream.app import supervise
from millstream.base.errors import Busy, ConfigError
from millstream.http.address import free

STREAMS = """
import millstream as ms


class Order(ms.Event):
    order_id: str
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="order_id")
ms.source(orders, ms.read.http())
"""


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("verb", "section"), [("serve", "serve"), ("console", "console"), ("up", "serve"), ("up", "console")]
)
def test_a_port_that_is_taken_is_named_with_its_setting(
    tmp_path: Path, taken: int, verb: str, section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "GRACE_S", 0.0)
    other = "console" if section == "serve" else "serve"
    said = millstream(
        written(tmp_path, STREAMS, {}), "--set", f"{section}.port={taken}", "--set", f"{other}.port=0", verb
    )
    assert said.code == 3, said
    assert (
        said.err.strip()
        == f"Busy: {section}.port is {taken}, and another process listens on 127.0.0.1:{taken} already; stop it (is"
        f" `millstream up` or `{section}` running?), or take another one: --set"
        f" {section}.port={taken + 10 if taken + 10 < 65536 else taken - 10}, or  port  under [{section}] of"
        " millstream.toml"
    )


def test_a_port_that_has_just_become_free_is_free(taken: int) -> None:
    with pytest.raises(Busy):
        free("127.0.0.1", taken, "serve")
    free("127.0.0.1", 0, "serve")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            server.accept()[0].close()  # the server's side closes first, so the system keeps the pair for a while
            client.recv(1)
    free("127.0.0.1", port, "serve")


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
def test_an_address_of_another_machine(host: str) -> None:
    with pytest.raises(
        ConfigError, match=rf'console.host is "{host}", which is not an address of this machine; say 127.0.0.1'
    ):
        free(host, 8601, "console")
