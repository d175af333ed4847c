"""Pages beside the references: links lead somewhere, names of files and verbs are right, how-to pages that are short are run."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from scripts import script

from millstream.app.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted({*(ROOT / "docs").rglob("*.md"), ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"})
RUN = ("bad-records", "features-over-tables", "several-sources", "schema-evolution", "serve-beyond-loopback", "add-an-engine", "retention")
"""How-to pages that take seconds; the others were run by hand with `python scripts/tutorial.py`."""


@pytest.fixture(scope="module")
def tutorial() -> ModuleType:
    return script("tutorial")


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def outside_fences(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", outside_fences(page.read_text(encoding="utf-8"))):
        path, _, part = target.partition("#")
        if "://" in target:
            continue
        file = (page.parent / path).resolve() if path else page
        headings = re.findall(r"^#+ (.*)$", outside_fences(file.read_text(encoding="utf-8")), re.MULTILINE) if file.exists() else []
        if not file.exists() or (part and part not in {anchor(h) for h in headings}):
            broken.append(target)
    assert not broken


def test_every_how_to_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    missing = [file.name for file in (ROOT / "docs" / "how-to").glob("*.md") if f"(how-to/{file.name})" not in index]
    assert not missing


def test_files_named_in_the_architecture_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:declare|log|lake|ingest|transform|features|train|experiment|serve|watch|app|engines)/[\w/.*]*)`", text)
    assert len(named) > 40
    assert not [name for name in named if not list((ROOT / "src" / "millstream").glob(name.rstrip("/")))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_verbs_in_text_exist(page: Path) -> None:
    """`millstream VERB` in code; options before the verb are passed over."""
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?:`|^\$ (?:\w+=\S+ )*|ExecStart=\S*/)millstream ((?:--(?:set|project|profile) \S+ )*)([a-z]+)", text, re.MULTILINE)
    assert {verb for _, verb in named} <= set(VERBS)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", RUN)
def test_a_how_to_does_what_it_says(tutorial: ModuleType, tmp_path: Path, name: str) -> None:
    run = tutorial.Tutorial((ROOT / "docs" / "how-to" / f"{name}.md").read_text(encoding="utf-8"), tmp_path)
    try:
        run.run()
    finally:
        run.close()
