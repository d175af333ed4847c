"""Who may ask: tokens, and which hosts may be served without one."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping

from millstream.base.errors import ConfigError
from millstream.http.wire import Refused


def same(given: str, token: str) -> bool:
    """Whether they are equal, in a time that tells nothing of how nearly."""
    return hmac.compare_digest(given.encode(), token.encode())


def bears(headers: Mapping[bytes, bytes], token: str | None) -> bool:
    """Whether a request carries the token; all do where there is none."""
    return token is None or hmac.compare_digest(headers.get(b"authorization", b""), b"Bearer " + token.encode())


def authorise(headers: Mapping[bytes, bytes], token: str | None) -> None:
    """Raises Refused (401) for a request without the token."""
    if not bears(headers, token):
        raise Refused(401, "token", "this server wants a token", "send the header  Authorization: Bearer TOKEN")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def guard(host: str, token: str | None, section: str) -> None:
    """Nothing that others can reach is served without a token.

    Args:
        section: Of the settings: "serve" or "console".

    Raises:
        ConfigError: The host is beyond loopback, and there is no token.
    """
    if not is_loopback(host) and not token:
        raise ConfigError(
            f"{section}.host is {host}, which others can reach, and there is no {section}.token; set one (env:NAME or"
            " file:PATH), or listen on 127.0.0.1"
        )
