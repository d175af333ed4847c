"""Columns of tables in expressions of features are taken for what is asked on Spark too: offline, and in what a fill
loads.
"""

from __future__ import annotations

from pathlib import Path

from spark_world import both
from test_columns_of_tables import holds


def test_spark_takes_columns_for_what_is_asked(tmp_path: Path) -> None:
    with both(tmp_path) as (_, spark):
        holds(
            spark,
            tmp_path,
            ("total", "share", "newest", "whole", "cased", "is_true", "filled", "times", "web"),
            ("not ok",),
        )
