"""Pages beside the references: links lead somewhere, names of files and verbs are right, how-to pages that are short
are run.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from scripts import script

from millstream.app.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted({*(ROOT / "docs").rglob("*.md"), ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"})
HOW_TO = (
    "bad-records",
    "features-over-tables",
    "several-sources",
    "schema-evolution",
    "serve-beyond-loopback",
    "add-an-engine",
    "retention",
)
RUN = ("feature-semantics", *(f"how-to/{name}" for name in HOW_TO))
"""Pages that take seconds; the others were run by hand with `python scripts/tutorial.py`."""


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
        headings = (
            re.findall(r"^#+ (.*)$", outside_fences(file.read_text(encoding="utf-8")), re.MULTILINE)
            if file.exists()
            else []
        )
        if not file.exists() or (part and part not in {anchor(h) for h in headings}):
            broken.append(target)
    assert not broken


def test_every_how_to_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    missing = [file.name for file in (ROOT / "docs" / "how-to").glob("*.md") if f"(how-to/{file.name})" not in index]
    assert not missing


def named_files(text: str) -> list[str]:
    """Files and folders of the repository that a page names in code: `lake/sink.py`, `src/millstream/ports.py`,
    `tests/sim/`, `base/errors.py: NAME`.
    """
    rooms = "|".join(
        sorted(room.name for room in (ROOT / "src" / "millstream").iterdir() if (room / "__init__.py").exists())
    )
    in_rooms = re.findall(rf"`(?:src/)?(?:millstream/)?((?:{rooms})/[\w/.*-]*)(?=[`:])", text)
    elsewhere = re.findall(r"`((?:src|tests|scripts|bench|docs)/[\w/.*-]*)(?=[`:])", text)
    return [f"src/millstream/{name}" for name in in_rooms] + elsewhere


def missing_files(text: str) -> list[str]:
    return [name for name in named_files(text) if not list(ROOT.glob(name.rstrip("/")))]


HISTORY = {file for file in PAGES if file.parent.name == "decisions"} | {ROOT / "CHANGELOG.md"}
"""Pages that say what was; a file that they name may have moved since."""
THEIRS = {"tests/", "docs/", "scripts/"}
"""Folders of a user's project have these names too; so have its files below `tests/`, which the page itself writes."""


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page not in HISTORY] + [ROOT / "README.md"],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_files_named_in_a_page_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    written = set(re.findall(r"^```.* file=(\S+)", text, re.MULTILINE))
    assert [name for name in missing_files(outside_fences(text)) if name not in written | THEIRS] == []


def test_a_file_that_is_not_there_is_found() -> None:
    text = (
        "`lake/sink.py` `lake/nothing.py` `base/errors.py: Full` `src/millstream/ports.py` `app/nothing/`"
        " `tests/none.py` `declare/validate*.py`"
    )
    assert len(named_files(text)) == 7 and missing_files(text) == [
        "src/millstream/lake/nothing.py",
        "src/millstream/app/nothing/",
        "tests/none.py",
    ]


def test_the_architecture_names_every_room_and_the_ladder_of_imports() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert len(named_files(text)) > 60
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][
        0
    ]["layers"]
    ladder = [
        sorted(room.strip().removeprefix("millstream.") for room in layer.split("|")) for layer in reversed(layers)
    ]
    for page in (text, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        (line,) = re.findall(r"^    (base < .*)$", page, re.MULTILINE)
        assert [sorted(layer.split(" | ")) for layer in line.split(" < ")] == ladder
    rows = re.findall(r"^\| (`.*) \| .* \|$", text, re.MULTILINE)
    assert [sorted(re.findall(r"`(\w+)/`", row)) for row in rows] == [*ladder, ["engines"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_verbs_in_text_exist(page: Path) -> None:
    """`millstream VERB` in code; options before the verb are passed over."""
    text = page.read_text(encoding="utf-8")
    named = re.findall(
        r"(?:`|^\$ (?:\w+=\S+ )*|ExecStart=\S*/)millstream ((?:--(?:set|project|profile) \S+ )*)([a-z]+)",
        text,
        re.MULTILINE,
    )
    assert {verb for _, verb in named} <= set(VERBS)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", RUN)
def test_a_page_does_what_it_says(tutorial: ModuleType, tmp_path: Path, name: str) -> None:
    run = tutorial.Tutorial((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"), tmp_path)
    try:
        run.run()
    finally:
        run.close()
