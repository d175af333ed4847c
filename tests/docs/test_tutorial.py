"""The tutorial does what it says: its files are written, its commands are run, and they say what the page shows."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import pytest
from scripts import script

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial" / "README.md"


@pytest.fixture(scope="module")
def tutorial() -> ModuleType:
    return script("tutorial")


@pytest.mark.timeout(420)
@pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("bash")), reason="the page asks the endpoint by curl, in bash"
)
def test_the_page_from_top_to_bottom(tutorial: ModuleType, tmp_path: Path) -> None:
    run = tutorial.Tutorial(PAGE.read_text(encoding="utf-8"), tmp_path)
    try:
        run.run()
    finally:
        run.close()


def test_it_shows_every_step_of_the_way(tutorial: ModuleType) -> None:
    said = [
        command.split()[1]
        for block in tutorial.blocks(PAGE.read_text(encoding="utf-8"))
        if block.language == "console"
        for command, _ in block.commands()
        if command.startswith("millstream ")
    ]
    assert {
        "init",
        "check",
        "ingest",
        "plan",
        "run",
        "sql",
        "explore",
        "show",
        "verify",
        "experiment",
        "up",
        "monitor",
        "trace",
    } <= set(said)


def test_a_wrong_output_is_found(tutorial: ModuleType, tmp_path: Path) -> None:
    page = "```text file=a.txt\n8 rows\n```\n```console\n$ cat a.txt\n9 rows\n```\n"
    with pytest.raises(tutorial.Differs, match="8 rows"):
        tutorial.Tutorial(page, tmp_path).run()
    assert tutorial.Tutorial(page, tmp_path).run(compare=False).endswith("$ cat a.txt\n8 rows\n```\n")
    tutorial.Tutorial(page.replace("```console", "```console loose"), tmp_path).run()


def test_a_diff_that_does_not_fit_is_found(tutorial: ModuleType, tmp_path: Path) -> None:
    page = (
        "```text file=a.txt\none\ntwo\n```\n```diff file=a.txt\n-two\n+three\n```\n```console\n$ cat"
        " a.txt\none\nthree\n```\n"
    )
    tutorial.Tutorial(page, tmp_path).run()
    with pytest.raises(tutorial.Differs, match=r"a\.txt"):
        tutorial.Tutorial(page.replace("-two", "-four"), tmp_path).run()


@pytest.mark.parametrize(
    ("shown", "said", "loose", "same"),
    [
        ("3 rows  0.10 s", "3 rows 12.71 s", False, True),
        ("3 rows", "4 rows", False, False),
        ("3 rows", "1,234 rows", True, True),
        ("3 rows", "3 columns", True, False),
        ("a\n...\nd", "a\nb\nc\nd", False, True),
        ("a\n...\nd", "a\nb\nc", False, False),
        ("┃ a ┃ b┃", "┃ a  ┃ b  ┃", False, True),
        ("✓ b\n✓ a\ndone", "✓ a\n✓ b\ndone", False, True),
        ("b\na", "a\nb", False, False),
    ],
)
def test_what_counts_as_the_same(tutorial: ModuleType, shown: str, said: str, loose: bool, same: bool) -> None:
    assert tutorial.like(shown, said, loose) is same
