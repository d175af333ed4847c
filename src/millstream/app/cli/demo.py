"""The demo verb."""

from __future__ import annotations

from pathlib import Path

import click

from millstream.app.cli.context import Context, pass_context


@click.command()
@click.argument("folder", default="demo", type=click.Path(file_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Make an earlier demo's folder anew.")
@pass_context
def demo(context: Context, folder: Path, force: bool) -> None:
    """The main job in FOLDER: a year of real flights from files to a served, experimented-on, watched, traced model."""
    from millstream.app.demo import report, story, summary

    story.clear(folder, force)
    told = story.Story(folder, context.err).tell()
    report.write(told, folder / "report.html")
    summary.show(told, context.err)
