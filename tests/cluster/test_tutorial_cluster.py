"""The tutorial "from laptop to cluster" does what it says, on the engines it names."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("kafka", "registry", "redis", "postgres", "hdfs")  # where they cannot be had, this skips as well, with the reason
def test_the_page_from_top_to_bottom(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("tutorial", ROOT / "scripts" / "tutorial.py")
    assert spec is not None and spec.loader is not None
    tutorial = importlib.util.module_from_spec(spec)
    sys.modules["tutorial"] = tutorial  # dataclasses look their module up
    spec.loader.exec_module(tutorial)
    page = tutorial.Tutorial((ROOT / "docs" / "tutorial" / "to-a-cluster.md").read_text(encoding="utf-8"), tmp_path)
    try:
        page.run()
    finally:
        page.close()
        page._say("millstream cluster down --wipe")
