"""What every verb is given, and how it speaks: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from millstream.base.words import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from millstream.base.errors import MillstreamError
    from millstream.run.workspace import Workspace

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


class Styled(NamedTuple):
    """A word of ours in a style; texts that come from elsewhere are never read as markup."""

    style: str
    text: str


@dataclass
class Context:
    """The global options, and the project they lead to."""

    folder: str | None
    profile: str | None
    sets: tuple[str, ...]

    @cached_property
    def workspace(self) -> Workspace:
        """The project with its engines; loading it reports every mistake at once."""
        import pyarrow as pa

        from millstream.run.workspace import Workspace

        # Its readers of CSV would take SIGTERM and Ctrl-C for themselves, and lose one in thirty
        pa.enable_signal_handlers(False)
        workspace = Workspace.open(self.folder, self.profile, self.overrides)
        current = click.get_current_context(silent=True)
        if current is not None:
            current.find_root().call_on_close(workspace.close)
        return workspace

    @property
    def overrides(self) -> dict[str, str]:
        pairs = [item.partition("=") for item in self.sets]
        for key, equals, _ in pairs:
            if not equals:
                raise click.UsageError(f'--set wants KEY=VALUE, found "{key}"')
        return {key.strip(): value for key, _, value in pairs}

    @cached_property
    def err(self) -> Console:
        return _console(stderr=True)

    @cached_property
    def out(self) -> Console:
        return _console()

    def json(self, value: Any) -> None:
        """One JSON document on stdout, floats that JSON has not as texts (base/floats.py)."""
        import msgspec

        from millstream.base.floats import named

        sys.stdout.write(
            msgspec.json.format(msgspec.json.encode(named(msgspec.to_builtins(value, enc_hook=str))), indent=2).decode()
            + "\n"
        )

    def table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()
    ) -> None:
        """A table for people: texts are printed as they are, with control characters spelled out."""
        from rich.table import Table

        shown = Table(
            title=rich(title) if title else None,
            title_justify="left",
            title_style="bold",
            header_style="bold",
            border_style="dim",
            pad_edge=False,
        )
        for column in columns:
            shown.add_column(rich(column), justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            shown.add_row(*(rich(cell) for cell in row))
        self.out.print(shown)

    def say(self, text: object, mark: Styled | None = None) -> None:
        """A line on stderr, folded by the terminal alone: a word in a style, then a text as it is."""
        from rich.text import Text

        self.err.print(
            Text.assemble(rich(mark), " " if str(text) else "", rich(text)) if mark else rich(text), soft_wrap=True
        )

    def end(self, failed: Mapping[str, MillstreamError]) -> None:
        """Name what failed of several things, when the others are done, and exit with its code; nothing when all went
        well.

        Raises:
            MillstreamError: The same for each of them: it is said once.
        """
        from millstream.app.each import code

        if not failed:
            return
        if len(failed) > 1 and len({str(error) for error in failed.values()}) == 1:
            raise next(iter(failed.values()))
        for name, error in failed.items():
            self.say(error, Styled("red", f"{name}:"))
        raise click.exceptions.Exit(code(failed))

    def progress(self) -> Progress:
        """A progress bar on stderr, silent when it is not a terminal."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=self.err,
            transient=False,
            disable=not self.err.is_terminal,
        )


def rich(cell: object) -> Text:
    """A cell or a line for rich: no markup, no emoji, no control character but line ends."""
    from rich.text import Text

    from millstream.transform.cell import visible

    if isinstance(cell, Styled):
        return Text(visible(cell.text, keep="\n"), style=cell.style)
    return Text("" if cell is None else visible(str(cell), keep="\n"))


def ended(row: Mapping[str, Any]) -> Text:
    """A line for an asset that a run is through with; `row` as `runner.row` makes it."""
    from rich.text import Text

    made = (f"{counted(row['rows'], 'row')} " if row["rows"] else "") + row["note"]
    note = " ".join(text.strip() for text in (made, row["error"]) if text)
    return Text.assemble(
        rich(_ENDS[row["status"]]), rich(f" {row['name']:<28} {row['kind']:<13} {row['seconds']:7.2f} s  {note}")
    )


_ENDS = {
    "made": Styled("green", "✓"),
    "skipped": Styled("dim", "="),
    "failed": Styled("red", "✗"),
    "blocked": Styled("yellow", "–"),
}


def _console(*, stderr: bool = False) -> Console:
    """As wide as the terminal; a file or a pipe has no width, and tables folded to 80 columns are hard to read
    there.
    """
    from rich.console import Console

    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    return (
        made
        if made.is_terminal or "COLUMNS" in os.environ
        else Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=140)
    )


pass_context: Callable[[Any], Any] = click.pass_obj
