"""The verb `cluster` and its own verbs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from millstream.app.cli.context import Context, Styled, as_json, pass_context, rich
from millstream.app.cli.words import Group

if TYPE_CHECKING:
    from rich.table import Table

    from millstream.cluster import Cluster, Status


def _cluster(context: Context) -> Cluster:
    """Of the project's folder; its definitions are not loaded, so mistakes in them do not matter here."""
    import os

    from millstream.cluster import Cluster
    from millstream.declare.load import find
    from millstream.run.settings import read

    root = find(context.folder or ".")
    # `up` makes some
    settings = read(root, profile=context.profile, flags=context.overrides, environment=os.environ, secrets=False)
    return Cluster(root, port=settings.cluster_port)


@click.group(cls=Group)
def cluster() -> None:
    """Run real engines on this machine, for development and tests.

    Daemons listen on loopback only, 1000 ports from cluster.port on. What they are run from is fetched once a user by
    Maven and pip; their configuration, data and logs lie in .millstream/cluster of the project. ROLE is a name that
    `status` shows: kafka#2, registry, or kafka for all of a role.
    """


@cluster.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option(
    "--ha",
    is_flag=True,
    help="The full count of daemons, so that any one may die. A cluster keeps its size until it is wiped.",
)
@pass_context
def up(context: Context, services: tuple[str, ...], ha: bool) -> None:
    """Start SERVICES and what they need (all when none is named), and wait until each answers a client.

    What runs is left alone; an `up` that was killed is continued by the next.
    """
    it = _cluster(context)
    with _waiting(context) as say:
        it.up(services, ha=ha, say=say)
    context.out.print(_table(it.status()))
    lines = [f'{key} = "{url}"' for key, url in it.profile().items()]
    context.err.print(
        "\n".join(["a profile for it in millstream.toml:", "[profile.cluster]", *lines]),
        highlight=False,
        soft_wrap=True,
    )


@contextmanager
def _waiting(context: Context) -> Iterator[Any]:
    """A line a service, what it is at, and for how long; plain lines when stderr is not a terminal."""
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.table import Table

    began, lock = time.monotonic(), threading.Lock()
    lines: dict[str, tuple[str, float]] = {}
    spinner = Spinner("dots")

    def shown() -> Table:
        table = Table.grid(padding=(0, 2))
        for service, (text, at) in list(lines.items()):
            ready = text == "ready"
            seconds = at if ready else time.monotonic() - began
            table.add_row(rich(Styled("green", "✓")) if ready else spinner, service, rich(text), f"{seconds:.0f} s")
        return table

    def say(service: str, text: str) -> None:
        with lock:
            lines[service] = (text, time.monotonic() - began)
            if not context.err.is_terminal:
                context.err.print(
                    f"{time.monotonic() - began:6.1f} s  {service}: {text}", highlight=False, soft_wrap=True
                )

    if not context.err.is_terminal:
        yield say
        return
    with Live(get_renderable=shown, console=context.err, refresh_per_second=8):
        yield say


@cluster.command()
@as_json
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@pass_context
def status(context: Context, as_json: bool, watch: bool) -> None:
    """Show every daemon: its role, who leads, process, memory, uptime, log. Exit code 3 when one of them does
    not run.
    """
    it = _cluster(context)
    found = it.status()
    if as_json:
        context.json(it.describe())
    elif watch:
        _watch(context, it)
    else:
        context.out.print(_table(found))
    if not all(s.alive for s in found):
        raise click.exceptions.Exit(3)


def _watch(context: Context, it: Cluster) -> None:
    from rich.live import Live

    with Live(_table(it.status()), console=context.out, auto_refresh=False) as live:
        while True:
            time.sleep(2)
            live.update(_table(it.status()), refresh=True)


def _table(found: list[Status]) -> Table:
    from rich.table import Table

    total = sum(s.memory_bytes for s in found)
    table = Table(
        header_style="bold",
        border_style="dim",
        pad_edge=False,
        caption=f"{total / 1e6:,.0f} MB in all",
        caption_justify="left",
    )
    for column, justify in {
        "role": "left",
        "": "left",
        "pid": "right",
        "MB": "right",
        "up": "right",
        "log": "left",
    }.items():
        table.add_column(column, justify="right" if justify == "right" else "left", overflow="fold")
    for s in found:
        mark = s.part if s.alive else rich(Styled("red", "not running"))
        table.add_row(
            s.role,
            mark,
            str(s.pid or ""),
            f"{s.memory_bytes / 1e6:,.0f}" if s.alive else "",
            _span(s.uptime_s),
            _near(s.log),
        )
    return table


def _span(seconds: float | None) -> str:
    """Hours, minutes and seconds.

    >>> _span(3725), _span(62), _span(None)
    ('1:02:05', '1:02', '')
    """
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _near(file: Path) -> str:
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)


@cluster.command()
@click.option("--wipe", is_flag=True, help="Remove data, configuration and logs too.")
@pass_context
def down(context: Context, wipe: bool) -> None:
    """Stop every daemon in order; no process stays. Data stays, and the next `up` finds it."""
    it = _cluster(context)
    running = sum(s.alive for s in it.status())
    it.down(wipe=wipe)
    context.err.print(
        f"{running} daemon{'' if running == 1 else 's'} stopped" + (", their data removed" if wipe else "")
    )


@cluster.command()
@click.argument("role")
@click.option("-n", "--lines", default=40, show_default=True, help="How many of the last lines.")
@click.option("-f", "--follow", is_flag=True, help="And what comes, until Ctrl-C.")
@pass_context
def logs(context: Context, role: str, lines: int, follow: bool) -> None:
    """Print the end of the log of ROLE."""
    files = [file for file in _cluster(context).log(role) if file.exists()]
    for file in files:
        if len(files) > 1:
            click.echo(f"==> {_near(file)} <==")
        with file.open(encoding="utf-8", errors="replace") as text:
            click.echo("".join(deque(text, lines)), nl=False)
    if follow:
        _follow(files)


def _follow(files: list[Path]) -> None:
    streams = [file.open(encoding="utf-8", errors="replace") for file in files]
    for stream in streams:
        stream.seek(0, 2)
    while True:
        for stream in streams:
            click.echo(stream.read(), nl=False)
        time.sleep(0.2)


@cluster.command()
@click.argument("role")
@pass_context
def kill(context: Context, role: str) -> None:
    """SIGKILL to ROLE, to see what a fault does. Nothing starts it again but `restart` and `up`."""
    context.err.print(f"killed {', '.join(_cluster(context).kill(role))}")


@cluster.command()
@click.argument("role")
@pass_context
def restart(context: Context, role: str) -> None:
    """Stop ROLE if it runs, start it, and wait until its service is ready."""
    it = _cluster(context)
    with _waiting(context) as say:
        names = it.restart(role, say=say)
    context.err.print(f"started {', '.join(names)}")
