"""Words that a verb takes, with the nearest one suggested for a word that it does not take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from millstream.base.words import choices, nearest


class Group(click.Group):
    """Verbs, or the verbs of a verb."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            of = f" of {ctx.info_name}" if ctx.parent else ""
            raise click.UsageError(
                f'no verb "{args[0]}"{of}; {choices(args[0], self.list_commands(ctx))}', ctx
            ) from error


class OneOf(click.Choice[str]):
    """One of some words.

    Args:
        otherwise: What to do where a word is near none of them; `{}` is the word.
    """

    def __init__(self, words: Sequence[str], otherwise: str = "") -> None:
        super().__init__(words)
        self.otherwise = otherwise

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            near, otherwise = nearest(str(value), self.choices), self.otherwise.format(value)
            there = f"there are {', '.join(self.choices)}" + (f"; {otherwise}" if otherwise else "")
            raise click.UsageError(f'"{value}" is none of the words that stand here; {near or there}', ctx) from error
