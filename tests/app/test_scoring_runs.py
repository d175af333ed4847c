"""Batch scoring as a user has it: a table over a model is made after it, once, and again when the model or the rows
change.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCORES = '\nscores = ms.table("scores", buyer["champion"].over(visits), schedule="0 6 * * 1")\n'


class Shop:
    """The quickstart, with one table more, driven by the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "shop"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("MILLSTREAM_")}
        subprocess.run(
            [sys.executable, "-m", "millstream", "init", str(self.folder), "--template", "quickstart"],
            check=True,
            capture_output=True,
        )
        live = self.folder / "live.py"
        live.write_text(
            live.read_text().replace("from models import", "from streams import visits\nfrom models import") + SCORES
        )

    def verb(self, *words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "millstream", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return json.loads(done.stdout) if "--json" in words else done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_scores_follow_the_model_and_the_rows(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.verb("check")
    made = [row["name"] for row in shop.verb("run", "--json") if row["status"] == "made"]
    assert made.index("scores") > made.index("buyer")
    (row,) = shop.verb(
        "sql",
        "--json",
        "select count(*)::int as n, count(prediction)::int as said, min(version)::int as v, avg(prediction) as p from"
        " scores",
    )
    assert (row["n"], row["said"], row["v"]) == (464, 464, 1) and 0 < row["p"] < 1
    assert {r["status"] for r in shop.verb("run", "--json")} == {"skipped"}
    with (shop.folder / "data" / "visits.csv").open("a") as file:
        file.write("v999,ada,desk,2026-02-02T10:00:00Z\n")
    made = [row["name"] for row in shop.verb("run", "--json") if row["status"] == "made"]
    assert "scores" in made
    assert shop.verb("sql", "--json", "select count(*)::int as n from scores") == [{"n": 465}]


@pytest.mark.timeout(300)
def test_its_job_waits_for_the_models(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.verb("export", "airflow", str(tmp_path / "dags"))
    (manifest,) = (json.loads(f.read_bytes())["manifest"] for f in (tmp_path / "dags").glob("*.json"))
    groups = {asset: group for group in manifest["groups"] for asset in group["assets"]}
    assert groups["buyer"]["name"] in groups["scores"]["waits"]
    weekly = next(t for t in manifest["timetables"] if t["line"])
    assert {groups[a]["name"] for a in ("visits", "visit_set", "buyer", "scores")} <= set(weekly["groups"])
