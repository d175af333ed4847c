"""The index of decisions lists each of them once, by its own number and file, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "decisions"
FILES = sorted(file.name for file in FOLDER.iterdir() if file.name != "README.md")
ROWS = re.findall(
    r"^\| \[(\d{4})\]\(([^)]+)\) \| (.+) \|$", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE
)


def test_each_file_is_named_by_a_number_of_its_own() -> None:
    assert len(FILES) > 30
    assert [name for name in FILES if not re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name)] == []
    assert [number for number, times in Counter(name[:4] for name in FILES).items() if times > 1] == []


def test_the_index_lists_each_decision_once_and_nothing_else() -> None:
    assert [file for _, file, _ in ROWS] == FILES, "one row for each file of docs/decisions, in order"
    assert [(number, file) for number, file, _ in ROWS if file[:4] != number] == []


def test_every_row_of_the_index_is_a_decision() -> None:
    rows = [line for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert len(rows) == len(ROWS) + 2, "the table has a heading, a line below it, and decisions"


def test_each_decision_begins_with_its_number() -> None:
    heads = {name: (FOLDER / name).read_text(encoding="utf-8").split("\n", 1)[0] for name in FILES}
    assert {name: head for name, head in heads.items() if not head.startswith(f"# {name[:4]} ")} == {}
