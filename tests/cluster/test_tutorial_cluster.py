"""The tutorial "from laptop to cluster" does what it says, on the engines it names."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import script

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(1200)
# Where they cannot be had, this skips as well, with the reason
@pytest.mark.usefixtures("kafka", "registry", "redis", "postgres", "hdfs")
def test_the_page_from_top_to_bottom(tmp_path: Path) -> None:
    page = script("tutorial").Tutorial(
        (ROOT / "docs" / "tutorial" / "to-a-cluster.md").read_text(encoding="utf-8"), tmp_path
    )
    try:
        page.run()
    finally:
        page.close()
        page._say("millstream cluster down --wipe")
