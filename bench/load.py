"""A load generator for one HTTP server: keep-alive connections, each with one request in flight.

python bench/load.py URL BODY_FILE --connections 16 --seconds 3     prints one line of JSON
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import urllib.parse
from functools import partial
from pathlib import Path


class Connection(asyncio.Protocol):
    """Sends the next body when the answer to the last one has come whole."""

    def __init__(
        self, requests: list[bytes], start: int, until: float, latencies: list[float], done: asyncio.Future[None]
    ) -> None:
        self.requests, self.next, self.until, self.latencies, self.done = requests, start, until, latencies, done
        self.buffer, self.sent, self.failed = b"", 0.0, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        now = time.perf_counter()
        if now >= self.until:
            self.transport.close()
            return
        self.next = (self.next + 1) % len(self.requests)
        self.sent = now
        self.transport.write(self.requests[self.next])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lowered = self.buffer[:head].lower()
        at = lowered.index(b"content-length:") + 15
        end = lowered.find(b"\r", at)
        length = int(lowered[at : end if end > 0 else head])
        if len(self.buffer) < head + 4 + length:
            return
        if self.buffer[9:12] != b"200":
            self.failed += 1
            self.error = self.buffer[head + 4 :]
        self.latencies.append(time.perf_counter() - self.sent)
        self.buffer = b""
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def drive(url: str, bodies: list[bytes], connections: int, seconds: float) -> dict[str, float]:
    """Requests a second and latencies in milliseconds over the whole time."""
    parts = urllib.parse.urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
    requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
    loop, latencies, made, waits = (
        asyncio.get_running_loop(),
        list[float](),
        list[Connection](),
        list[asyncio.Future[None]](),
    )
    host = parts.hostname or "127.0.0.1"
    began = time.perf_counter()
    for i in range(connections):
        done = loop.create_future()
        step = i * len(requests) // connections
        _, connection = await loop.create_connection(
            partial(Connection, requests, step, began + seconds, latencies, done), host, parts.port or 80
        )
        made.append(connection)
        waits.append(done)
    await asyncio.gather(*waits)
    took = time.perf_counter() - began
    failed = [c for c in made if c.failed]
    if failed:
        raise SystemExit(f"{sum(c.failed for c in failed)} requests failed, e.g. {failed[0].error[:300]!r}")
    latencies.sort()
    at = lambda q: round(latencies[min(len(latencies) - 1, int(q * len(latencies)))] * 1e3, 3)  # noqa: E731
    return {"rps": round(len(latencies) / took), "p50_ms": at(0.5), "p99_ms": at(0.99), "requests": len(latencies)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("bodies", type=Path, help="one JSON body a line")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    import uvloop

    print(
        json.dumps(
            uvloop.run(drive(given.url, given.bodies.read_bytes().splitlines(), given.connections, given.seconds))
        )
    )


if __name__ == "__main__":
    main()
