"""What code and pages cite is in the repository: pages by path and section, decisions by number, and no document that
only its author has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {".py", ".md", ".toml", ".sql", ".sh", ".html", ".js", ".css", ".yml", ".yaml", ".txt", ".cfg"}
FOLDERS = ("src", "tests", "docs", "scripts", "bench")
DEAD = re.compile(
    r"\bPROTOCOL\b(?:\.md|,? \d)|\bDESIGN\b(?:\.md| hop| says?\b)|\b(?:FEATURES|API2?|RULES|STYLE|HOUSE)\.md|\bRULES"
    r" \d|\b[Hh]oles? \d|\b[Rr]ules? \d+\b|/work/shared"
)
"""Working notes that were never part of the repository, and numbered rules of theirs."""
CITED = re.compile(r"\bdocs/([\w/-]+\.md)(?:#([\w-]+)|,? sections? (\d+))?")
DECISION = re.compile(r"\bdecisions?[ /](\d{4})\b")


def files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*")):
            if (
                file.is_file()
                and file.suffix in TEXTS
                and "__pycache__" not in file.parts
                and file != Path(__file__).resolve()
            ):
                yield file


def anchors(page: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }


def wrong(text: str) -> list[str]:
    """Citations of pages, sections and decisions that are not there."""
    found = []
    for cited in CITED.finditer(text):
        path, anchor, section = cited.groups()
        page = ROOT / "docs" / path
        heads = anchors(page.read_text(encoding="utf-8")) if page.exists() else set()
        if (
            not page.exists()
            or (anchor and anchor not in heads)
            or (section and not any(head.startswith(f"{section}-") for head in heads))
        ):
            found.append(cited[0])
    return found + [
        cited[0]
        for cited in DECISION.finditer(text)
        if len(list((ROOT / "docs" / "decisions").glob(f"{cited[1]}-*.md"))) != 1
    ]


def test_no_document_is_cited_that_is_not_in_the_repository() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {dead[0]}"
        for file in files(*FOLDERS)
        for dead in DEAD.finditer(file.read_text(encoding="utf-8"))
    ]
    assert found == [], "cite a page of docs/ by path and section, or give the reason itself"


def test_cited_pages_sections_and_decisions_exist() -> None:
    cited = 0
    for file in files(*FOLDERS):
        text = file.read_text(encoding="utf-8")
        cited += len(CITED.findall(text)) if file.suffix == ".py" else 0
        assert wrong(text) == [], file.relative_to(ROOT)
    assert cited > 15


@pytest.mark.parametrize(
    "text",
    [
        "PROTOCOL 13",
        "DESIGN hop 3",
        "FEATURES.md, rule 9",
        "API.md",
        "RULES 7",
        "(hole 34)",
        "by rule 9 of",
        "/work/shared",
    ],
)
def test_a_dead_name_is_found(text: str) -> None:
    assert DEAD.search(f"since then ({text})")


@pytest.mark.parametrize(
    "text",
    [
        "reference/api.md",
        "protocol 4",
        "MILLSTREAM_SECURITY_PROTOCOL=SSL",
        "RULES: dict[str, Rule]",
        "the rule of section 4",
        "Protocol 2",
    ],
)
def test_other_words_are_not(text: str) -> None:
    assert not DEAD.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "docs/nowhere.md",
        "docs/exactly-once.md, section 99",
        "docs/exactly-once.md#nothing",
        "decision 9999",
        "docs/decisions/9999",
    ],
)
def test_a_citation_that_leads_nowhere_is_found(text: str) -> None:
    assert wrong(f"see {text}.")


@pytest.mark.parametrize(
    "text", ["docs/exactly-once.md, section 4", "docs/exactly-once.md#8-duplicates", "docs/README.md", "decision 0017"]
)
def test_a_citation_that_leads_somewhere_is_fine(text: str) -> None:
    assert wrong(f"see {text}.") == []
