"""The address of a server, tried before anything is started: uvicorn ends the process with the system's own words."""

from __future__ import annotations

import errno
import socket

from millstream.base.errors import Busy, ConfigError


def free(host: str, port: int, section: str) -> None:
    """Nobody listens there, and this process may.

    Args:
        port: 0 is always free.
        section: Of the settings that say the address: "serve" or "console".

    Raises:
        Busy: Another process listens there.
        ConfigError: It cannot be listened on.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, of, protocol, _, address in found:
            with socket.socket(family, of, protocol) as probe:
                # What has just ended keeps no port, as it will not for the server
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
                probe.listen(1)  # two that only bind may share a port
    except OSError as error:
        kind = Busy if error.errno == errno.EADDRINUSE else ConfigError
        raise kind(_words(error, host, port, section)) from error


def _words(error: OSError, host: str, port: int, section: str) -> str:
    key = f"{section}.port"
    other = (
        f"take another one: --set {key}={port + 10 if port + 10 < 65536 else port - 10}, or  port  under [{section}] of"
        " millstream.toml"
    )
    if error.errno == errno.EADDRINUSE:
        return (
            f"{key} is {port}, and another process listens on {host}:{port} already; stop it (is `millstream up` or"
            f" `{section}` running?), or {other}"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{key} is {port}, which this user may not listen on; {other}"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return (
            f'{section}.host is "{host}", which is not an address of this machine; say 127.0.0.1, or 0.0.0.0 for all of'
            " its addresses"
        )
    return f"{section}.host and {key} are {host}:{port}, which cannot be listened on: {error.strerror or error}"
