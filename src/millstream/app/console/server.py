"""The console's routes. They only read, except `POST /runs`, which starts a run; beyond loopback it refuses to start
without a token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.resources import files
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, PackageLoader
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millstream.app.console import deciding, making, overview, tables, watching
from millstream.app.console.rates import Rates
from millstream.app.console.show import Bar, Link, Tag, Values, code, run_page
from millstream.base.errors import MillstreamError, NotFound
from millstream.base.secrets import hide
from millstream.http.access import guard, is_loopback, same
from millstream.http.address import free
from millstream.http.server import run as run_server
from millstream.run.workspace import Workspace

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
NAV = (
    ("Overview", "/"),
    ("Tables", "/tables"),
    ("SQL", "/sql"),
    ("Runs", "/runs"),
    ("Models", "/models"),
    ("Experiments", "/experiments"),
    ("Endpoints", "/endpoints"),
    ("Monitors", "/monitors"),
    ("Trace", "/trace"),
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
View = Callable[[Workspace, Request], Values]


def app(ws: Workspace, *, token: str | None = None, hosts: tuple[str, ...] = LOOPBACK) -> ASGIApp:
    """The pages of a project.

    Args:
        token: Asked for on every page when given: `Authorization: Bearer`, or once as `?token=`, then a cookie.
        hosts: Names it answers to; others are refused, so that a page elsewhere cannot reach it by a name of its own.
    """
    pages = Environment(
        loader=PackageLoader("millstream.app.console", "pages"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters["code"] = code
    pages.tests |= {
        "link": lambda cell: isinstance(cell, Link),
        "tag": lambda cell: isinstance(cell, Tag),
        "bar": lambda cell: isinstance(cell, Bar),
    }

    def render(request: Request, template: str, values: Values, status: int = 200) -> Response:
        here = "/" + request.url.path.split("/")[1]
        text = pages.get_template(template).render(
            project=ws.project.name,
            profile=ws.settings.profile,
            nav=NAV,
            here=here,
            now=datetime.now(UTC).strftime("%H:%M:%S"),
            **values,
        )
        return HTMLResponse(text, status, {"cache-control": "no-store"})

    def page(template: str, view: View) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                return render(request, template, await run_in_threadpool(view, ws, request))
            except NotFound as error:
                return render(request, "thing.html", {"title": "Not found", "lead": str(error), "sections": []}, 404)
            except MillstreamError as error:
                return render(request, "thing.html", {"title": "Not now", "lead": str(error), "sections": []}, 503)

        return answer

    async def begin(request: Request) -> Response:
        """Starts a run, if one of these very pages asks for it: a form elsewhere could send the same."""
        if urlsplit(request.headers.get("origin", "")).netloc != request.headers["host"]:
            return render(
                request,
                "thing.html",
                {"title": "Refused", "lead": "A run is begun from these pages only.", "sections": []},
                403,
            )
        try:
            return RedirectResponse(run_page(await run_in_threadpool(making.begin, ws)), 303)
        except MillstreamError as error:
            return render(request, "thing.html", {"title": "Not now", "lead": str(error), "sections": []}, 503)

    async def lost(request: Request, error: Exception) -> Response:
        return render(
            request,
            "thing.html",
            {"title": "Not found", "lead": f"Nothing is at `{request.url.path}`.", "sections": []},
            404,
        )

    async def failed(request: Request, error: Exception) -> Response:
        lead = (
            f"{type(error).__name__}: {hide(str(error))}. That is a fault of Millstream; the console's output says"
            " where."
        )
        return render(request, "thing.html", {"title": "This page failed", "lead": lead, "sections": []}, 500)

    routes = [
        Mount("/static", StaticFiles(directory=str(files("millstream.app.console").joinpath("static")))),
        Route("/", page("home.html", overview.home)),
        Route("/sql", page("sql.html", tables.sql)),
        Route("/trace", page("trace.html", watching.trace)),
        Route("/tables", page("list.html", tables.tables)),
        Route("/tables/{name}", page("thing.html", tables.table)),
        Route("/runs", page("list.html", making.runs), methods=["GET"]),
        Route("/runs", begin, methods=["POST"]),
        Route("/runs/{name:path}", page("thing.html", making.run)),
        Route("/models", page("list.html", making.models)),
        Route("/models/{name}", page("thing.html", making.model)),
        Route("/experiments", page("list.html", deciding.experiments)),
        Route("/experiments/{name}", page("thing.html", deciding.experiment)),
        Route("/endpoints", page("list.html", deciding.endpoints)),
        Route("/endpoints/{name}", page("thing.html", deciding.endpoint)),
        Route("/monitors", page("list.html", watching.monitors)),
        Route("/monitors/{name}", page("thing.html", watching.monitor)),
        Route("/{kind}/{name}", page("thing.html", tables.noun)),
    ]
    made = Starlette(
        routes=routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={404: lost, Exception: failed},
    )
    made.state.rates, made.state.drawing = Rates(), overview.draw(ws)
    return _with_headers(made if token is None else _with_token(made, token))


def _with_token(inner: ASGIApp, token: str) -> ASGIApp:
    """Asks for the token before anything else is looked at."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        request = Request(scope)
        given = request.headers.get("authorization", "").removeprefix("Bearer ") or request.cookies.get(
            "millstream", ""
        )
        if same(given, token):
            await inner(scope, receive, send)
            return
        answer: Response = PlainTextResponse(
            "a token is needed: open /?token=… once, or send Authorization: Bearer …\n",
            401,
            {"www-authenticate": "Bearer"},
        )
        if same(request.query_params.get("token", ""), token):
            rest = urlencode([(k, v) for k, v in request.query_params.multi_items() if k != "token"])
            # One slash in front, whatever was asked for: two of them would lead to another host.
            answer = RedirectResponse("/" + request.url.path.lstrip("/\\") + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(
                "millstream", token, httponly=True, samesite="strict", secure=request.url.scheme == "https"
            )
        await answer(scope, receive, send)

    return guarded


def _with_headers(inner: ASGIApp) -> ASGIApp:
    """Every reply, refusals too, says what a page may load: only what comes from here."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        await inner(scope, receive, with_headers)

    return answer


def run(ws: Workspace) -> None:
    """Serve until told to stop.

    Raises:
        ConfigError: The address is beyond loopback and there is no token.
        Busy: Another process listens there.
    """
    host, port, token = ws.settings.console_host, ws.settings.console_port, ws.settings.console_token
    guard(host, token, "console")
    free(host, port, "console")
    hosts = (*LOOPBACK, host) if is_loopback(host) else ("*",)
    run_server(
        app(ws, token=token, hosts=hosts),
        host,
        port,
        lambda url: print(f"console: {url}", flush=True),
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
