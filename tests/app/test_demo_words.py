"""What the demo prints in the end, by consoles that read no markup."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from millstream.app.demo import summary

MARKUP = re.compile(r"\[/\w*\]|\[(?:bold|dim|green|red|yellow|cyan)\b[^\]]*\]")
SOURCE = Path(summary.__file__).resolve().parents[2]


@pytest.mark.parametrize("profile", ["laptop", "cluster"])
def test_the_summary_has_styles_and_no_markup(profile: str) -> None:
    traffic = SimpleNamespace(events=3, requests=2, seconds=1.0, quantile=lambda q: q, traced="d1")
    found = {
        "experiments": [],
        "monitors": [
            {"target": "a[b]", "check": "rows", "status": status, "message": "[red]"}
            for status in ("ok", "violated", "new")
        ],
        "verify": [{"rows": 3, "ok": True}],
    }
    compared = [SimpleNamespace(what="rows", here="1", there="2", differ=1, same=False)]
    told: Any = SimpleNamespace(
        found=found, compared=compared, seconds={"A [b] chapter": 1.0}, folder="demo", profile=profile, traffic=traffic
    )
    console = Console(file=io.StringIO(), force_terminal=True, width=140, markup=False, highlight=False)
    summary.show(told, console)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())  # type: ignore[attr-defined]
    assert MARKUP.findall(shown.replace("│ [red]", "")) == [] and shown.count("[red]") == 3
    for text in (
        "A [b] chapter",
        "a[b]",
        "violated",
        "no gap, no overlap, no double",
        "differs",
        "demo/report.html",
        "millstream trace d1",
    ):
        if profile == "cluster":
            text = text.replace("millstream trace", "millstream --profile cluster trace")
        assert text in shown, text
    assert ("cluster down" in shown) == (profile == "cluster")


def test_no_text_of_ours_relies_on_markup() -> None:
    """A console that reads markup would read a user's values as markup, too."""
    files = [f for f in SOURCE.rglob("*.py") if "templates" not in f.parts and f.name != "cell.py"]
    assert len(files) > 300
    assert {
        f"{f.relative_to(SOURCE)}: {m}" for f in files for m in MARKUP.findall(f.read_text(encoding="utf-8"))
    } == set()
