"""A source whose glob matches no file is not a mistake, and `check`, `plan`, `doctor` and `run` say so, with what is
there instead.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_project import ORDERS, millstream, written

import millstream as ms
from millstream.run.unmatched import sentence


class Tick(ms.Event):
    n: int
    ts: ms.EventTime


def said(root: Path, pattern: str) -> str:
    return sentence(ms.source(ms.stream("ticks", Tick, key="n"), ms.read.files(pattern)), pattern, root).partition(
        "): "
    )[2]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("data/ticks*.csv", "looked at {root}/data/ticks*.csv; near it are ticks-1.CSV, ticks-2.jsonl"),
        ("data/tciks-1.csv", "looked at {root}/data/tciks-1.csv; near it is ticks-1.CSV"),
        ("data/x*.parquet", "looked at {root}/data/x*.parquet; there are other.txt, ticks-1.CSV, ticks-2.jsonl"),
        ("dta/*.csv", 'looked at {root}/dta/*.csv; there is no folder {root}/dta; did you mean "data"?'),
        ("data/deep/*.csv", "looked at {root}/data/deep/*.csv; there is no folder {root}/data/deep"),
        ("empty/*.csv", "looked at {root}/empty/*.csv; the folder has no file"),
        ("*.csv", "looked at {root}/*.csv; there is millstream.toml"),
        ("data/**/*.avro", "looked at {root}/data/**/*.avro; there are other.txt, ticks-1.CSV, ticks-2.jsonl"),
    ],
)
def test_what_is_there_instead(tmp_path: Path, pattern: str, expected: str) -> None:
    for name in (
        "data/ticks-1.CSV",
        "data/ticks-2.jsonl",
        "data/other.txt",
        "data/.ticks-3.csv",
        "empty/.keep",
        "millstream.toml",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert said(tmp_path, pattern) == expected.format(root=tmp_path)


def test_check_plan_and_doctor_warn_until_there_is_a_file(tmp_path: Path) -> None:
    """All three were "ok"."""
    written(tmp_path, ORDERS + 'ms.source(orders, ms.read.files("data/orders*"))\n', {"data/order.txt": ""})
    want = f"looked at {tmp_path}/data/orders*; near it is order.txt"
    checked = millstream(tmp_path, "check", "--json")
    assert checked.code == 0 and [want in warning for warning in checked.json["warnings"]] == [True]
    planned = millstream(tmp_path, "plan", "--json")
    assert planned.code == 0 and planned.json["warnings"] == checked.json["warnings"]
    found = {finding["what"]: finding for finding in millstream(tmp_path, "doctor", "--json").json}
    assert found["source orders_files"]["status"] == "warn" and want in found["source orders_files"]["found"]
    (tmp_path / "data" / "orders.csv").write_text("order_id,customer,amount,ts\n")
    assert (
        not millstream(tmp_path, "check", "--json").json["warnings"]
        and not millstream(tmp_path, "plan", "--json").json["warnings"]
    )
