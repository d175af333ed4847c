"""What goes over HTTP: JSON replies, the one shape of an error, bodies with a limit, gzip."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import msgspec

from millstream.base.errors import ClockWrong, Full, NotFound, Transient, WorkFailed
from millstream.base.secrets import hide

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON: Header = (b"content-type", b"application/json")
TEXT: Header = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
encode = msgspec.json.Encoder().encode


class Refused(Exception):
    """A request that gets an error for its answer.

    Args:
        code: A word that programs test for.
        fix: What the caller can do, one sentence.
    """

    def __init__(self, status: int, code: str, message: str, fix: str, *, retry_after_s: int | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.fix, self.retry_after_s, self.details = status, code, fix, retry_after_s, dict(details or {})


def refusal(error: BaseException) -> Refused:
    """Any error as an answer; what nobody foresaw is a 500 that names its class and no more."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, Full):
        return Refused(429, "full", str(error), "send more slowly, or free disk space", retry_after_s=1)
    if isinstance(error, ClockWrong):
        return Refused(503, "clock", str(error), "send the same request again once the server's clock is right", retry_after_s=30)
    if isinstance(error, Transient):
        return Refused(503, "unavailable", str(error), "send the same request again", retry_after_s=1)
    if isinstance(error, NotFound):
        return Refused(404, "not_found", str(error), "check the name")
    if isinstance(error, WorkFailed):
        return Refused(500, "model_failed", str(error), "the server's log has the traceback; the model or its features must be fixed")
    return Refused(500, "internal", f"{type(error).__name__} while answering", "the server's log has the traceback")


async def reply(send: Send, status: int, body: bytes, headers: Iterable[Header] = (JSON,)) -> None:
    """One whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, error: Refused) -> None:
    """An error in the one shape: `{"error": {"code", "message", "fix"}}`."""
    headers = [JSON] if error.retry_after_s is None else [JSON, (b"retry-after", b"%d" % error.retry_after_s)]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await reply(send, error.status, encode({"error": {"code": error.code, "message": hide(str(error)), "fix": hide(error.fix), **error.details}}), headers)


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """By lower-case name; of a repeated one the last."""
    return dict(scope["headers"])


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int, what: str) -> bytes:
    """The request's body, unpacked.

    Args:
        limit: Bytes, before and after unpacking.
        what: Of which there should be fewer in one body, in the plural.

    Raises:
        Refused: It is too long, broken off, or packed in an unknown way.
    """
    told = headers.get(b"content-length", b"")
    if told.isdigit() and int(told) > limit:
        raise _too_large(limit, what)
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "hung_up", "the connection was closed before the body had come", "send the whole body")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(limit, what)
        more = message.get("more_body", False)
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    packed = headers.get(b"content-encoding", b"identity").strip().lower()
    if packed == b"identity":
        return body
    if packed != b"gzip":
        raise Refused(415, "encoding", f"the body is packed as {packed.decode('latin-1')!r}", "send it plain, or with Content-Encoding: gzip")
    return _unpacked(body, limit, what)


def _unpacked(body: bytes, limit: int, what: str) -> bytes:
    parts, size = [], 0
    try:
        while body:  # a gzip file may have several members
            member = zlib.decompressobj(wbits=31)
            parts.append(member.decompress(body, limit + 1 - size))
            size += len(parts[-1])
            if size > limit:
                raise _too_large(limit, what)
            if not member.eof:
                raise Refused(400, "gzip", "the gzip body is cut off", "send the whole body")
            body = member.unused_data
    except zlib.error as error:
        raise Refused(400, "gzip", f"the body is not valid gzip: {error}", "pack it with gzip, or leave Content-Encoding out") from None
    return b"".join(parts)


def _too_large(limit: int, what: str) -> Refused:
    return Refused(413, "too_large", f"the body is longer than {limit:,} bytes", f"send fewer {what} at once")
