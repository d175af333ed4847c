"""`dead`: records that cannot be written to the lake."""

from __future__ import annotations

import click

from millstream.app.cli.context import Context, Styled, pass_context
from millstream.app.cli.words import Group


@click.group(cls=Group)
def dead() -> None:
    """Work with dead letters: records that could not be written to a stream's table. They are rows of the table
    STREAM__dead.
    """


@dead.command("set")
@click.argument("stream")
@click.argument("record", metavar="PARTITION:OFFSET")
@pass_context
def set_(context: Context, stream: str, record: str) -> None:
    """Set one record of STREAM aside: its sink writes it to the dead letters without looking into it, and continues.

    For a record that stops its stream though it is well-formed. The stream's features are filled again, since one may
    have counted it.
    """
    from millstream.app.losses import set_aside

    set_aside(context.workspace, stream, record)
    context.say(f"record {record} of {stream}; its sink writes it to {stream}__dead", Styled("yellow", "set aside"))
