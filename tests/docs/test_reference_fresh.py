"""The generated references: fresh, whole, and the same on every machine."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from scripts import script

import millstream as ms
from millstream.app.cli.main import VERBS
from millstream.base.settings import DEFAULTS, MEANINGS
from millstream.declare.pages import PAGES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return script("reference")


@pytest.fixture(scope="module")
def made(reference: ModuleType) -> dict[str, str]:
    """Page -> the text that the code says now."""
    return {file.stem: text for file, text in reference.pages().items()}


def headings(page: str) -> set[str]:
    return {line.lstrip("#").strip().strip("`") for line in page.splitlines() if line.startswith("#")}


def test_pages_are_fresh(reference: ModuleType) -> None:
    old = [str(file.relative_to(ROOT)) for file in reference.stale(reference.pages())]
    assert not old, f"{', '.join(old)}: the code says something else now; run  python scripts/reference.py"


def test_pages_do_not_depend_on_the_process(reference: ModuleType, made: dict[str, str]) -> None:
    """Another hash seed, another terminal: addresses of objects and orders of sets would show."""
    environment = {"PYTHONHASHSEED": "7", "COLUMNS": "40", "PATH": "/usr/bin:/bin", "HOME": str(ROOT)}
    code = "import sys; sys.path.insert(0, 'scripts'); import reference; sys.stdout.write('\\0'.join(reference.pages().values()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split("\0") == list(made.values())


def test_each_verb_has_its_heading(made: dict[str, str]) -> None:
    assert {f"millstream {verb}" for verb in VERBS} == {h for h in headings(made["cli"]) if h.startswith("millstream ")}


def test_each_option_has_its_meaning(made: dict[str, str]) -> None:
    assert not re.findall(r"^\| `--.*\|  \|$", made["cli"], re.MULTILINE)


def test_each_setting_has_its_heading_and_meaning(made: dict[str, str]) -> None:
    assert set(MEANINGS) == set(DEFAULTS)
    assert set(DEFAULTS) <= headings(made["configuration"])


def test_each_error_code_has_its_heading_and_fix(made: dict[str, str]) -> None:
    assert {h for h in headings(made["errors"]) if re.fullmatch(r"E\d+", h)} == set(PAGES)
    assert made["errors"].count("**Fix:**") == len(PAGES)


def test_codes_that_the_source_raises_have_a_page() -> None:
    raised = {code for file in (ROOT / "src").rglob("*.py") for code in re.findall(r'code="(E\d{3})"', file.read_text(encoding="utf-8"))}
    assert raised and raised <= set(PAGES)


def test_each_public_name_has_its_heading(reference: ModuleType, made: dict[str, str]) -> None:
    assert {*reference.NOUNS, *reference.TYPES, *reference.VOCABULARIES, "load"} == set(ms.__all__)
    assert {f"ms.{name}" for name in ms.__all__} <= headings(made["api"])


def test_each_port_of_the_package_is_described(reference: ModuleType, made: dict[str, str]) -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    ports = {group.removeprefix("millstream."): engines for group, engines in groups.items() if group.startswith("millstream.")}
    assert set(ports) == set(reference.PORTS) <= headings(made["engines"])
    for engines in ports.values():
        for path in engines.values():
            assert path.replace(":", ".") in made["engines"]
