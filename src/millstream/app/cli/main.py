"""`millstream`: the verbs. Each lives in a file of its own that is imported only when it is called."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import click

from millstream.app.cli.context import Context
from millstream.app.cli.words import Group
from millstream.app.voice import quiet_about_secrets
from millstream.base.errors import MillstreamError
from millstream.base.secrets import hide

VERBS = {
    "init": ("project", "Create a project from a template."),
    "check": ("project", "Validate the project's definitions; imports its modules, builds nothing."),
    "doctor": ("project", "Look for what is missing, damaged or too far ahead, and fix what can be fixed."),
    "config": ("project", "Show every setting, and where it comes from."),
    "plan": ("work", "Say what a run would do, why, and what it would cost."),
    "run": ("work", "Bring assets up to date; what is unchanged is skipped."),
    "ingest": ("work", "Read the project's file sources into the log and the lake."),
    "up": ("work", "Run everything continuously, under a supervisor."),
    "part": ("work", "Run one part of `up` by itself, on a machine of its own."),
    "export": ("export", "Write the project as jobs of Airflow, or of another orchestrator."),
    "run-step": ("export", "One step of an exported project, as an orchestrator's task runs it."),
    "dead": ("dead", "Set a record aside that stops its stream."),
    "sql": ("look", "Query the lake with SQL, read-only."),
    "explore": ("look", "Profile a table: types, nulls, quantiles, histograms, top values."),
    "show": ("look", "Show runs, models, tables, streams, or the page of an error code."),
    "verify": ("look", "Prove that tables have no gap, no overlap, no double."),
    "trace": ("look", "Follow a prediction back to the rows, offsets and files it came from."),
    "serve": ("live", "Serve the endpoints and the collector over HTTP."),
    "experiment": ("experiment", "Start, stop, ship and analyse experiments."),
    "monitor": ("live", "Run the monitors once and say what they found."),
    "console": ("live", "Serve the console for a browser."),
    "demo": ("demo", "The main job on real data, from nothing to a traced prediction."),
    "cluster": ("cluster", "Real engines on this machine: start, watch, kill, stop."),
    "completion": ("project", "Print the shell's completion script."),
}


_NO_SPACE = 1 << 20
"""Free bytes below which a disk counts as full."""


class Verbs(Group):
    """Commands whose module is imported on use, so that help stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        place = VERBS.get(name)
        if place is None:
            return None
        return getattr(import_module(f"millstream.app.cli.{place[0]}"), name.replace("-", "_"))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--project",
    "folder",
    metavar="DIR",
    envvar="MILLSTREAM_PROJECT",
    help="The project's folder; found by searching upward when not given.",
)
@click.option("--profile", metavar="NAME", help="The profile of millstream.toml; laptop by default.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override one setting.")
@click.version_option(package_name="millstream", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, folder: str | None, profile: str | None, sets: tuple[str, ...]) -> None:
    """Raw events into models that are trained, served, experimented on, watched and explained.

    Exit codes: 0 ok, 1 failed work, 2 usage or definition error, 3 environment or service error, 4 monitor violated, 5
    fenced (run-step: a newer attempt has taken over).
    """
    ctx.obj = Context(folder=folder, profile=profile, sets=sets)


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its code; errors are sentences on stderr, never a traceback unless
    MILLSTREAM_DEBUG is set.
    """
    quiet_about_secrets()
    try:
        code = cli.main(args, prog_name="millstream", standalone_mode=False)
        _flush()
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:  # names what was typed, which may be a secret
        said = io.StringIO()
        error.show(said)
        click.echo(hide(said.getvalue()), nl=False, err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        _drop_output()
        sys.exit(0)
    except (MillstreamError, OSError, MemoryError) as error:
        if os.environ.get("MILLSTREAM_DEBUG"):
            raise
        _fail(error if isinstance(error, MillstreamError) else _sentence(error, sys.argv[1:] if args is None else args))
    except Exception as error:
        # A library's own error about the disk, that no engine has recognised; any other is a fault of ours, and its
        # traceback is wanted.
        known = _disk(error, sys.argv[1:] if args is None else args)
        if known is None or os.environ.get("MILLSTREAM_DEBUG"):
            raise
        _fail(known)


def _flush() -> None:
    """Results onto a full disk fail here, where there are words for it, and not at the end of the interpreter."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        raise OSError(error.errno, error.strerror, "/dev/stdout") from error


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: MillstreamError) -> NoReturn:
    """Report the error and exit with its code. On a full disk stderr may be a file that takes nothing more; the code
    still tells.
    """
    from millstream.transform.cell import visible

    said = f"{type(error).__name__}: {error}" if error.exit_code != 2 else str(error)
    with suppress(OSError):
        click.echo(visible(said, keep="\n"), err=True)
    sys.exit(error.exit_code)


def _sentence(error: OSError | MemoryError, args: Sequence[str]) -> MillstreamError:
    """What a person can do about an error that no engine has recognised."""
    verb = _verb(args)
    if isinstance(error, MemoryError):
        return MillstreamError(
            f"out of memory during `millstream {verb}`; give the machine more, or limit the work (compute ="
            ' "duckdb:?memory_limit=1GB", run --workers 1)'
        )
    known = _disk(error, args)
    if known is not None:
        return known
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return MillstreamError(
            f"too many open files during `millstream {verb}`; raise the limit (ulimit -n), then try again"
        )
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    return MillstreamError(
        f"{place}{error.strerror or error or type(error).__name__} during `millstream {verb}`; MILLSTREAM_DEBUG=1 shows"
        " where it happened"
    )


def _disk(error: Exception, args: Sequence[str]) -> MillstreamError | None:
    from millstream.base.storage import refused

    return refused(error, _place(args), f"complete `millstream {_verb(args)}`")


def _verb(args: Sequence[str]) -> str:
    return next((word for word in args if word in VERBS), "")


def _place(args: Sequence[str]) -> Path:
    """Where a write was refused whose error names no file: the full disk among those that verbs write to."""
    import shutil
    import stat
    import tempfile

    given = next((b for a, b in pairwise(args) if a == "--project"), os.environ.get("MILLSTREAM_PROJECT", "."))
    project = Path(given).absolute()
    with suppress(OSError, StopIteration):  # no folder at all may be usable for temporary files
        places = [project, Path(tempfile.gettempdir())]
        if stat.S_ISREG(os.fstat(1).st_mode):  # results that are redirected into a file
            places.append(Path("/dev/stdout"))
        return next(place for place in places if shutil.disk_usage(place).free < _NO_SPACE)
    return project
