"""A server process: uvicorn, which announces its address once it accepts connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def run(app: Any, host: str, port: int, started: Callable[[str], None] | None = None, **options: Any) -> None:
    """Serve an ASGI application until SIGTERM or Ctrl-C.

    Args:
        port: 0 takes a free one.
        started: Called with the address, `http://HOST:PORT`.
        options: Of `uvicorn.Config`.
    """
    import uvicorn

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[Any] | None = None) -> None:
            await super().startup(sockets)
            if self.started and started is not None:
                bound = self.servers[0].sockets[0].getsockname()
                started(f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}")

    Announcing(uvicorn.Config(app, host=host, port=port, access_log=False, server_header=False, **options)).run()
