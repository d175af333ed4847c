"""The collector's side of HTTP: bodies with a bound, gzip, and the one shape of an error."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import msgspec

from millstream.base.secrets import hide

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
encode = msgspec.json.Encoder(order=None).encode


class Refused(Exception):
    """A request that gets an error for its answer: `code` is a word for programs, `mend` one sentence for people."""

    def __init__(self, status: int, code: str, message: str, mend: str, *, retry_after_s: int | None = None, **details: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.mend, self.retry_after_s, self.details = status, code, mend, retry_after_s, details

    def body(self) -> Mapping[str, Any]:
        return {"error": {"code": self.code, "message": hide(str(self)), "mend": hide(self.mend), **self.details}}


async def reply(send: Send, status: int, body: Mapping[str, Any], headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """One whole JSON answer."""
    data = encode(body)
    told = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": data})


async def refuse(send: Send, error: Refused) -> None:
    headers = [(b"retry-after", b"%d" % error.retry_after_s)] if error.retry_after_s is not None else []
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await reply(send, error.status, error.body(), headers)


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """By lower-case name; of a repeated one the last."""
    return dict(scope["headers"])


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """The request's body, unpacked.

    Raises:
        Refused: It is longer than `limit` bytes, before or after unpacking; or broken off; or packed in a way unknown.
    """
    told = headers.get(b"content-length", b"")
    if told.isdigit() and int(told) > limit:
        raise _too_large(limit)
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "hung_up", "the connection was closed before the body had come", "send the whole body")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    packed = headers.get(b"content-encoding", b"identity").strip().lower()
    if packed == b"identity":
        return body
    if packed != b"gzip":
        raise Refused(415, "encoding", f"the body is packed as {packed.decode('latin-1')!r}", "send it plain, or with Content-Encoding: gzip")
    return _unpacked(body, limit)


def _unpacked(body: bytes, limit: int) -> bytes:
    parts, size = [], 0
    try:
        while body:  # a gzip file may have several members
            member = zlib.decompressobj(wbits=31)
            parts.append(member.decompress(body, limit + 1 - size))
            size += len(parts[-1])
            if size > limit:
                raise _too_large(limit)
            if not member.eof:
                raise Refused(400, "gzip", "the gzip body is cut off", "send the whole body")
            body = member.unused_data
    except zlib.error as error:
        raise Refused(400, "gzip", f"the body is no gzip: {error}", "pack it with gzip, or leave Content-Encoding out") from None
    return b"".join(parts)


def _too_large(limit: int) -> Refused:
    return Refused(413, "too_large", f"the body is longer than {limit:,} bytes", "send fewer events at once")
