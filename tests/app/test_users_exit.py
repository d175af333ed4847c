"""`sys.exit()` in a user's code, and a panic of a library in Rust, are one asset's failure: they neither end the
command nor stop a neighbour.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_project import ORDERS, millstream, written

STREAMS = (
    ORDERS
    + '''
import polars as pl
import pyarrow as pa

from millstream import agg


class Visit(ms.Event):
    """A visit."""

    customer: str
    ts: ms.EventTime


visits = ms.stream("visits", Visit, key="customer")
ms.source(orders, ms.read.files("data/orders.csv"))
ms.source(visits, ms.read.files("data/visits.csv"))
calm = ms.table("calm", "select count(*) as n from orders")
spend = ms.features("spend", orders, key="customer", windows=["1d"], aggregates={"n": agg.count()})
label = ms.outcome(orders, on="customer", within="2h", otherwise=False)
rows = ms.training_set("rows", at=visits, label=label, features=[spend])


@ms.table(orders)
def asked(batch: pa.RecordBatch) -> pa.RecordBatch:
    raise WRONG


@ms.model(rows)
def taught(train: ms.Train) -> object:
    raise WRONG
'''
)
ROWS = "order_id,customer,amount,ts\n" + "".join(
    f"o{i},c{i % 3},{i}.5,2026-01-{1 + i // 24:02}T{i % 24:02}:00:00Z\n" for i in range(96)
)
VISITS = "customer,ts\n" + "".join(f"c{i % 3},2026-01-{1 + i // 24:02}T{i % 24:02}:30:00Z\n" for i in range(90))


@pytest.mark.parametrize(
    "wrong", ["SystemExit(0)", "SystemExit('no')", 'pl.exceptions.PanicException("broken")', "GeneratorExit()"]
)
def test_what_ends_a_users_function_fails_that_asset_alone(tmp_path: Path, wrong: str) -> None:
    root = written(tmp_path, STREAMS.replace("WRONG", wrong), {"data/orders.csv": ROWS, "data/visits.csv": VISITS})
    done = millstream(root, "run", "--workers", "1", "--json")
    found = {one["name"]: one["status"] for one in done.json}
    assert (
        done.code == 1
        and found["calm"] == found["spend"] == found["rows"] == "made"
        and found["asked"] == found["taught"] == "failed"
    )


def test_a_module_that_exits_is_an_error_of_that_module(tmp_path: Path) -> None:
    root = written(tmp_path, STREAMS.replace("raise WRONG", "return None"), {"more.py": "import sys\n\nsys.exit(0)\n"})
    done = millstream(root, "check")
    assert done.code == 2 and "more.py:3" in done.out + done.err and "SystemExit" in done.out + done.err
