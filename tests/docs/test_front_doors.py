"""The map in each room's `__init__.py` names every file of the room, once, and no other."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "millstream"
ROOMS = sorted(p.parent for p in SRC.rglob("__init__.py") if p.parent != SRC and "templates" not in p.parts)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(SRC)))
def test_the_map_names_each_file_once(room: Path) -> None:
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    named = Counter(re.findall(r"(?:^|(?<=\s))([a-z_]+(?:\.py|/))(?=\s|$)", text))
    files = {p.name for p in room.glob("*.py") if p.name != "__init__.py"} | {
        f"{p.name}/" for p in room.iterdir() if p.name != "__pycache__" and any(f.is_file() for f in p.glob("*"))
    }
    assert {name for name, times in named.items() if times > 1} == set()
    assert (files - named.keys(), named.keys() - files) == (set(), set()), "(not in the map, not in the folder)"
