"""The console's routes. It only reads; beyond loopback it refuses to start without a token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from millstream.app.console import views
from millstream.app.workspace import Workspace
from millstream.declare.errors import ConfigError, MillstreamError, NotFound

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
NAV = (("Overview", "/"), ("Tables", "/tables"), ("SQL", "/sql"), ("Runs", "/runs"), ("Models", "/models"), ("Experiments", "/experiments"),
       ("Endpoints", "/endpoints"), ("Monitors", "/monitors"), ("Trace", "/trace"))  # fmt: skip
POLICY = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def app(ws: Workspace, *, token: str | None = None, hosts: tuple[str, ...] = LOOPBACK) -> Starlette:
    """The pages of a project.

    Args:
        token: Asked for on every page when given: `Authorization: Bearer`, or once as `?token=`, then a cookie.
        hosts: Names it answers to; others are refused, so that a page elsewhere cannot reach it by a name of its own.
    """
    pages = Environment(loader=PackageLoader("millstream.app.console", "pages"), autoescape=True, trim_blocks=True)

    def page(template: str, view: Callable[[Workspace, Request], dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            status = 200
            try:
                values = await run_in_threadpool(view, ws, request)
            except NotFound as error:
                status, values = 404, {"title": "Not found", "kind": "", "lead": str(error), "sections": [], "template": "thing.html"}
            except MillstreamError as error:
                status, values = 503, {"title": "Not now", "kind": "", "lead": str(error), "sections": [], "template": "thing.html"}
            here = "/" + request.url.path.split("/")[1]
            text = pages.get_template(values.pop("template", template)).render(
                project=ws.project.name, profile=ws.settings.profile, nav=NAV, here=here, now=datetime.now(UTC).strftime("%H:%M:%S"), **values)  # fmt: skip
            return HTMLResponse(text, status)

        return answer

    routes = [
        Route("/", page("home.html", views.home)), Route("/tables", page("list.html", views.tables)), Route("/tables/{name}", page("thing.html", views.table)),
        Route("/sql", page("sql.html", views.sql)), Route("/runs", page("list.html", views.runs)), Route("/runs/{name}", page("thing.html", views.run)),
        Route("/models", page("list.html", views.models)), Route("/models/{name}", page("thing.html", views.model)),
        Route("/experiments", page("list.html", views.experiments)), Route("/experiments/{name}", page("thing.html", views.experiment)),
        Route("/endpoints", page("list.html", views.endpoints)), Route("/endpoints/{name}", page("thing.html", views.endpoint)),
        Route("/monitors", page("list.html", views.monitors)), Route("/monitors/{name}", page("thing.html", views.monitor)),
        Route("/trace", page("trace.html", views.trace)), Route("/{kind}/{name}", page("thing.html", views.noun)),
        Mount("/static", StaticFiles(directory=str(files("millstream.app.console").joinpath("static")))),
    ]  # fmt: skip
    made = Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))])

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and token is not None:
            request = Request(scope)
            given = request.headers.get("authorization", "").removeprefix("Bearer ") or request.cookies.get("millstream", "")
            asked = request.query_params.get("token", "")
            if not hmac.compare_digest(given.encode(), token.encode()):
                right = hmac.compare_digest(asked.encode(), token.encode())
                answer: Response = RedirectResponse(request.url.path, 303) if right else PlainTextResponse("a token is needed: open /?token=…\n", 401)
                if right:
                    answer.set_cookie("millstream", token, httponly=True, samesite="strict")
                await answer(scope, receive, send)
                return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [
                    (b"content-security-policy", POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        await made(scope, receive, with_headers)

    return guarded  # type: ignore[return-value]


def run(ws: Workspace) -> None:
    """Serve until told to stop.

    Raises:
        ConfigError: The address is beyond loopback and there is no token.
    """
    import uvicorn

    host, port, token = ws.settings.console_host, ws.settings.console_port, ws.settings.console_token
    if host not in LOOPBACK and not token:
        raise ConfigError(f"console.host is {host}, beyond loopback, and there is no console.token; set one (env:NAME or file:PATH), or bind 127.0.0.1")
    print(f"console: http://{host}:{port}", flush=True)
    hosts = LOOPBACK if host in LOOPBACK else ("*",)
    uvicorn.run(app(ws, token=token, hosts=hosts), host=host, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=5)
