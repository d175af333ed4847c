"""Files as they come: each record ends as a row, as a dead letter with its reason, or as a counted double, and a
damaged file stops loudly.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from cli_project import millstream

STREAMS = """
import millstream as ms


class Order(ms.Event):
    order_id: str
    customer: str
    amount: float
    note: str | None = None
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="customer", dedupe="order_id", lateness="10m")
ms.source(orders, ms.read.files("data/PATTERN"))
"""
HEADER = b"order_id,customer,amount,ts\n"


def row(order: str, at: str = "2026-01-01T09:00:00Z", customer: str = "ada") -> bytes:
    return f"{order},{customer},1.0,{at}\n".encode()


WHOLE = gzip.compress(HEADER + b"".join(row(f"o{n}", customer=f"c{n % 97}") for n in range(20_000)), mtime=0)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "bad"\n')
    (tmp_path / "streams.py").write_text(STREAMS.replace("PATTERN", "orders*"))
    return tmp_path


def landed(project: Path) -> dict[str, Any]:
    """What `verify` proves of the stream."""
    said = millstream(project, "verify", "--json")
    assert said.code == 0, said
    (found,) = said.json
    assert found["ok"] and not found["gaps"] and not found["overlaps"] and not found["doubles"]
    return dict(found)


def dead(project: Path) -> dict[str, str]:
    """Where each dead letter was -> why."""
    return {
        r["origin"]: r["error"]
        for r in millstream(project, "sql", "select origin, error from orders__dead", "--json", "--limit", "0").json
    }


def test_a_file_with_everything_wrong_in_it(project: Path) -> None:
    good = [row(f"o{n}", f"2026-01-01T09:{n:02d}:00Z") for n in range(20)]
    wrong = {
        row("jump3", "2099-01-01T00:00:00Z"): 'event time "ts" is 2099-01-01',
        b"b1,ada,much,2026-01-01T09:21:00Z\n": 'column "amount" is "much"',
        b"b2,ada,1.0,yesterday\n": 'column "ts" is "yesterday"',
        b"b3,ada\n": "the line has 2 fields and the header 4",
        b"b4,ada,1.0,2026-01-01T09:21:00Z,extra\n": "the line has 5 fields and the header 4",
        b"b5,\xff\xfe,1.0,2026-01-01T09:21:00Z\n": "it is not valid UTF-8: byte 3 is 0xff",
        b"b6,,1.0,2026-01-01T09:21:00Z\n": 'column "customer" is empty',
        b"b7,ada,nan,2026-01-01T09:21:00Z\n": "amount",
        b"b8,ada,1.0,99999-01-01T00:00:00Z\n": 'column "ts" is "99999',
        b"b9," + b"x" * 10_000_001 + b",1.0,2026-01-01T09:21:00Z\n": "10,000,000 are allowed",
        b"\0\0\0\n": "the line has 1 fields",
        b"b10,ada,1.0,2026-01-0": 'column "ts" is "2026-01-0"',  # cut off in the middle of the last line
    }
    odd = [
        row("jump1", "1950-01-01T00:00:00Z"),
        row("jump2", "0001-01-01T00:00:00Z"),
        row("late", "2025-12-31T00:00:00Z"),
    ]
    doubles = [row("o3"), row("o3", "2026-01-01T09:03:00Z")]
    quoted = [b'q1,"a,b",1.0,2026-01-01T09:00:00Z\n', b'q2,"say ""x""",1.0,2026-01-01T09:00:00Z\n', b"\n"]
    (project / "data" / "orders.csv").write_bytes(b"".join([HEADER, *good, *doubles, *quoted, *odd, *wrong]))
    said = millstream(project, "ingest")
    assert said.code == 0 and "27 rows" in said.err and "12 bad" in said.err, said.err[-2000:]
    assert "12 dead, 2 duplicates" in said.err
    found = landed(project)
    assert (found["rows"], found["dead"], found["duplicates"]) == (20 + 3 + 2, 12, 2)
    reasons = sorted(dead(project).items(), key=lambda item: int(item[0].rpartition(":")[2]))
    assert len(reasons) == 12
    for (origin, reason), expected in zip(reasons, wrong.values(), strict=True):
        assert reason.startswith(f"{origin}: ") and expected in reason
    assert millstream(project, "sql", "select order_id from orders where _late", "--json").json == [], (
        "what jumps back in a file arrived at its own time"
    )
    again = millstream(project, "ingest")
    assert "0 made, 2 up to date" in again.err and landed(project) == found


@pytest.mark.parametrize(
    ("name", "data", "rows", "reasons"),
    [
        ("orders.csv", b"", 0, []),
        ("orders.csv", HEADER, 0, []),
        ("orders.csv", b"order_id,customer,amount,colour,ts\no1,ada,1.0,red,2026-01-01T09:00:00Z\n", 1, []),
        ("orders.csv", b"\xef\xbb\xbf" + HEADER + row("o1"), 1, []),
        ("orders.csv", (HEADER + row("o1")).replace(b"\n", b"\r\n"), 1, []),
        (
            "orders.jsonl",
            (
                b'null\n[]\n7\n{"order_id": \n{"order_id": "o1", "customer": "ada", "amount": 1, "ts":'
                b' "2026-01-01T09:00:00Z", "colour": "red"}\n{}\n'
            ),
            1,
            None,
        ),
        ("orders.jsonl", b"null\n", 0, ["Order: Expected `object`, got `null`"]),
        ("orders.csv.gz", gzip.compress(HEADER + row("o1") + b"broken\n", mtime=0), 1, ["the line has 1 fields"]),
    ],
)
def test_files_of_a_strange_form(project: Path, name: str, data: bytes, rows: int, reasons: list[str] | None) -> None:
    (project / "data" / name).write_bytes(data)
    # Nobody is writing it: an unended last line is not waited for
    os.utime(project / "data" / name, (1_700_000_000, 1_700_000_000))
    said = millstream(project, "ingest", "--json")
    found = landed(project)
    assert found["rows"] == rows
    dead_as_a_whole = not rows and found["dead"]
    assert said.code == (1 if dead_as_a_whole else 0), said
    sources = next(step for step in said.json if step["name"] == "sources")
    assert (
        f"no record of data/{name} is good: its only one is a dead letter: data/{name}:" in sources["error"]
    ) == bool(dead_as_a_whole)
    log = millstream(project, "show", "streams", "--json").json[0]["in the log"]
    assert found["rows"] + found["dead"] + found["duplicates"] == log
    if reasons is None:
        assert found["dead"] > 0 and all(dead(project).values())
    elif reasons:
        assert [
            reason.partition(": ")[2][: len(r)] for reason, r in zip(dead(project).values(), reasons, strict=True)
        ] == reasons
    else:
        assert found["dead"] == 0


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("orders.csv", b"order_id,customer,ts\no1,ada,2026-01-01T09:00:00Z\n"),
        ("orders.csv.gz", WHOLE[:-300]),
        ("orders.csv.gz", HEADER + row("o1")),
        ("orders.parquet", b"PAR1 this is none PAR1"),
        ("orders.csv", bytes(range(256)) * 3),
        ("orders.csv", WHOLE),
        ("orders.csv", row("o1") * 2),
    ],
)
def test_a_damaged_file_stops_loudly_and_whole_again_nothing_is_lost_or_doubled(
    project: Path, name: str, data: bytes
) -> None:
    (project / "data" / name).write_bytes(data)
    said = millstream(project, "ingest", "--json")
    assert said.code == 1
    failed = next(r for r in said.json if r["status"] == "failed")
    fixes = (
        "put it there again whole",
        "correct its columns where it is",
        "begin the file with a header",
        "name it .gz",
    )
    assert f"data/{name}" in failed["error"] and any(fix in failed["error"] for fix in fixes)
    if name.endswith(".parquet"):
        return
    (project / "data" / name).write_bytes(WHOLE if name.endswith(".gz") else gzip.decompress(WHOLE))
    assert millstream(project, "ingest").code == 0
    found = landed(project)
    assert (found["rows"], found["dead"], found["duplicates"]) == (20_000, 0, 0)


def test_events_that_go_back_in_time_and_ids_that_come_again_in_another_file(project: Path) -> None:
    for day in (3, 1, 2):
        lines = b"".join(
            row(f"d{day}-{n % 50}", f"2026-01-{day:02d}T{n % 24:02d}:00:00Z", f"c{n % 7}") for n in range(60)
        )
        (project / "data" / f"orders-{day}.csv").write_bytes(HEADER + lines)
    assert millstream(project, "ingest").code == 0
    found = landed(project)
    assert found["rows"] + found["dead"] + found["duplicates"] == 180 and found["dead"] == 0 and found["rows"] >= 150
    (project / "data" / "orders-9.csv").write_bytes((project / "data" / "orders-3.csv").read_bytes())
    assert millstream(project, "ingest").code == 0
    after = landed(project)
    assert after["rows"] + after["duplicates"] == 240 and after["duplicates"] > found["duplicates"]


def test_until_stops_before_a_moment_and_goes_on_from_it(project: Path) -> None:
    (project / "data" / "orders.csv").write_bytes(
        HEADER + b"".join(row(f"o{n}", f"2026-01-{n + 1:02d}T12:00:00Z") for n in range(20))
    )
    assert millstream(project, "ingest", "--until", "2026-01-11").code == 0
    assert landed(project)["rows"] == 10
    assert millstream(project, "ingest", "--until", "2026-01-11T12:00:00.000001Z").code == 0
    assert landed(project)["rows"] == 11
    assert millstream(project, "ingest", "--no-sink").code == 0
    assert millstream(project, "show", "streams", "--json").json[0] == {
        "stream": "orders",
        "in the log": 20,
        "in the lake": 11,
        "behind": 9,
        "held": 0,
        "end": 20,
        "newest event": "2026-01-11 12:00:00",
        "watermark": "2026-01-11 11:50:00",
        "complete": "",
        "given up": 0,
        "stuck": "",
    }
    assert millstream(project, "run").code == 0 and landed(project)["rows"] == 20


def test_a_source_without_a_file_is_named(project: Path) -> None:
    said = millstream(project, "run")
    assert said.code == 0 and "no file matches data/orders* (source orders_files, streams.py:" in said.err
    (project / "data" / "orders.csv").write_bytes(HEADER + row("o1"))
    assert "no file" not in millstream(project, "run").err
    assert millstream(project, "ingest", "--json").err == ""
