"""The demo verb."""

from __future__ import annotations

from pathlib import Path

import click

from millstream.app.cli.context import Context, pass_context
from millstream.base.errors import WorkFailed


@click.command()
@click.argument("folder", default="demo", type=click.Path(file_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Make an earlier demo's folder anew.")
@click.option(
    "--beside",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A demo that the laptop has made, to compare with.",
)
@pass_context
def demo(context: Context, folder: Path, force: bool, beside: Path | None) -> None:
    """The main job in FOLDER: a year of real flights from files to a served, experimented-on, watched, traced model.

    With `millstream --profile cluster demo` it runs on the engines that `millstream cluster` brings up; not a line of
    the project differs.
    """
    from millstream.app.demo import report, story, summary

    story.clear(folder, force)
    told = story.Story(folder, context.err, context.profile or "laptop", beside).tell()
    report.write(told, folder / "report.html")
    summary.show(told, context.err)
    if differ := [one.what for one in told.compared if not one.same]:
        raise WorkFailed(f"{len(differ)} of {len(told.compared)} things are not as in {beside}: {', '.join(differ)}")
