"""Fuzzed records through every door: only documented errors, each good record lands as it was, and rows + dead + duplicates = records.

FUZZ_RECORDS says how many a door (5,000 in `make test`, 100,000 in `make torture`); FUZZ_SEED makes the same again, or others.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_project import millstream
from test_poison import STREAMS, TS

from millstream.app.workspace import Workspace
from millstream.ingest.collector import Collector

MANY = int(os.environ.get("FUZZ_RECORDS", 5_000))
SEED = int(os.environ.get("FUZZ_SEED", 7))
TEXTS = ["", " ", "null", "nan", "inf", "1e400", "-1e400", "9" * 400, "0000-01-01", "12026-01-01", "2026-02-30", "true", "[1", "[]", "{}", "1.0", "\u0000", "ü", "\U0001f600",
         "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z", "2026-01-01T00:00:00", "-0", "0x10", "1_000", "९"]  # fmt: skip
RAW_JSON = ["1e400", "-1e999", "9" * 5_000, "[" * 3_000 + "]" * 3_000, '"\\ud800"', '["\\ud83d"]', "[9223372036854775808]", "[1,null]", "true", "null", "{}", "tru", "1e-400", "NaN", '"', "[",
            '{"a":{"b":[1]}}', "-9223372036854775809", "18446744073709551616", '"0000-01-01"', "01", "1.", '"\\u0000"', '"2026-13-01T00:00:00Z"']  # fmt: skip
FIELDS = ("n", "x", "d", "seen", "tags", "nums", "ts", "id")


def seeded(door: str) -> random.Random:
    print(f"FUZZ_SEED={SEED} FUZZ_RECORDS={MANY}")
    return random.Random(f"{door} {SEED}")


def json_record(chance: random.Random, at: int, pool: Sequence[str] = RAW_JSON) -> tuple[bytes, bool]:
    """One record, and whether it is surely good."""
    if chance.random() < 0.5:
        return f'{{"id":"g{at}","n":{at},"x":{at / 4},"tags":["a","ü"],"ts":"{TS}"}}'.encode(), True
    if pool is RAW_JSON and chance.random() < 0.3:  # bytes changed anywhere, but for what ends a line
        text = bytearray(f'{{"id":"m{at}","n":{at},"nums":[1,2],"ts":"{TS}"}}'.encode())
        for _ in range(chance.randint(1, 4)):
            text[chance.randrange(len(text))] = chance.choice([byte for byte in range(256) if byte not in b'\n\r"[]{},\\'])
        return bytes(text), False
    field = chance.choice(FIELDS)
    value = chance.choice(pool) if chance.random() < 0.6 else json.dumps(chance.choice(TEXTS))
    others = "".join(f'"{name}":{chance.choice(RAW_JSON[8:11])},' for name in chance.sample(FIELDS[:6], 2) if name != field)
    ids = "" if field == "id" else f'"id":"p{at}",'
    return f'{{{ids}{others}"{field}":{value}{"" if field == "ts" else f",{chr(34)}ts{chr(34)}:{chr(34)}{TS}{chr(34)}"}}}'.encode(errors="surrogatepass"), False


def csv_record(chance: random.Random, at: int) -> tuple[bytes, bool]:
    if chance.random() < 0.5:
        return f"g{at},{at},{at / 4},2026-01-01,{TS}".encode(), True
    cells = [f"p{at}", str(at), "1.5", "2026-01-01", TS]
    for _ in range(chance.randint(1, 2)):
        cells[chance.randrange(5)] = chance.choice(TEXTS).replace(",", ";")
    text = bytearray(",".join(cells).encode())
    if chance.random() < 0.3 and text:
        text[chance.randrange(len(text))] = chance.choice([byte for byte in range(256) if byte not in b'\n\r",'])
    return bytes(text), False


def outcome(project: Path, records: int, good: set[str]) -> None:
    """Every good record is a row as it was; each other is one of the three."""
    said = millstream(project, "ingest")
    assert said.code == 0, said
    found = millstream(project, "verify", "--json").json[0]
    assert found["ok"] and found["rows"] + found["dead"] + found["duplicates"] == records, found
    rows = {row["id"]: row for row in millstream(project, "sql", "select id, n, x from orders where id like 'g%'", "--json", "--limit", "0").json}
    assert set(rows) == good, (sorted(good - set(rows))[:5], sorted(set(rows) - good)[:5])
    assert all(row["n"] == int(name[1:]) and row["x"] == int(name[1:]) / 4 for name, row in rows.items())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "fuzz"\n')
    (tmp_path / "streams.py").write_text(STREAMS + "ms.source(orders, ms.read.http())\n")
    return tmp_path


@pytest.mark.timeout(0)
@pytest.mark.parametrize(("ending", "head", "make"), [("jsonl", b"", json_record), ("csv", b"id,n,x,d,ts\n", csv_record)])
def test_files_of_lines(project: Path, ending: str, head: bytes, make: Callable[[random.Random, int], tuple[bytes, bool]]) -> None:
    chance = seeded(ending)
    made = [make(chance, at) for at in range(MANY)]
    made = [(text, good) for text, good in made if text.strip()]
    (project / "data" / f"some.{ending}").write_bytes(head + b"".join(text + b"\n" for text, _ in made))
    outcome(project, len(made), {f"g{at}" for at in range(MANY) if made[at][1]})


@pytest.mark.timeout(0)
@pytest.mark.parametrize("form", ["parquet", "avro"])
def test_files_of_columns(project: Path, form: str) -> None:
    """Dates, times and list items over all that their types hold."""
    chance = seeded(form)
    rows: list[dict[str, Any]] = []
    for at in range(MANY):
        good = chance.random() < 0.5
        wild = chance.choice([None, -(2**31), 2**31 - 1, -719_163, 2_932_897, 0])
        late = chance.choice([-(2**62), 2**62, -62_135_596_800_000_001, 253_402_300_800_000_000, 0])
        rows.append({"id": f"{'g' if good else 'p'}{at}", "n": at, "x": at / 4 if good else chance.choice([float("nan"), float("inf"), 1.5]), "d": 20_000 if good else wild,
                     "seen": 0 if good else late, "nums": [1, 2], "ts": 1_767_225_600_000_000 if good or chance.random() < 0.7 else late})  # fmt: skip
    kinds = {
        "id": pa.string(),
        "n": pa.int64(),
        "x": pa.float64(),
        "d": pa.date32(),
        "seen": pa.timestamp("us", tz="UTC"),
        "nums": pa.list_(pa.int64()),
        "ts": pa.timestamp("us", tz="UTC"),
    }
    if form == "parquet":
        stored = {
            name: pa.array([row[name] for row in rows], {"d": pa.int32(), "seen": pa.int64(), "ts": pa.int64()}.get(name, kind)).cast(kind)
            for name, kind in kinds.items()
        }
        pq.write_table(pa.table(stored), project / "data" / "some.parquet", row_group_size=700)
    else:
        micros, day = {"type": "long", "logicalType": "timestamp-micros"}, {"type": "int", "logicalType": "date"}
        fields = [
            ("id", "string"),
            ("n", "long"),
            ("x", "double"),
            ("d", ["null", day]),
            ("seen", micros),
            ("nums", {"type": "array", "items": "long"}),
            ("ts", micros),
        ]
        plain = {"type": "record", "name": "Order", "fields": [{"name": name, "type": bare(kind)} for name, kind in fields]}
        full = {"type": "record", "name": "Order", "fields": [{"name": name, "type": kind} for name, kind in fields]}
        out = io.BytesIO()
        fastavro.writer(out, plain, rows, sync_interval=20_000)
        body = out.getvalue()
        out = io.BytesIO()
        fastavro.writer(out, full, [])  # the header with logical types, before the blocks without
        begins = _after_header(body)
        head = out.getvalue()[:-16] + body[begins - 16 : begins]
        (project / "data" / "some.avro").write_bytes(head + body[begins:])
    outcome(project, len(rows), {row["id"] for row in rows if row["id"].startswith("g")})


def bare(kind: Any) -> Any:
    """A type without its logical type: fastavro writes no date that Python does not have."""
    if isinstance(kind, list):
        return [bare(one) for one in kind]
    return kind["type"] if isinstance(kind, dict) and "logicalType" in kind else kind


def _after_header(body: bytes) -> int:
    """Where the blocks begin: the sync marker stands at the end of the header, and at the file's end."""
    sync = body[-16:]
    return body.index(sync) + 16


@pytest.mark.timeout(0)
@pytest.mark.parametrize("form", ["array", "lines"])
def test_http(project: Path, form: str) -> None:
    """Bodies of a hundred events: each answer names its bad ones by place, and takes the others."""
    chance, good, records, bodies = seeded(form), set[str](), 0, 0
    pool = RAW_JSON if form == "lines" else [text for text in RAW_JSON if _is_json(text)]
    with Workspace.open(str(project)) as ws:
        stream = ws.project.streams["orders"]
        collector = Collector(ws.log, ws.schemas, {"orders": stream})
        collector.start()
        try:
            for first in range(0, MANY, 100):
                made = [json_record(chance, at, pool) for at in range(first, min(first + 100, MANY))]
                status, told = asyncio.run(
                    ask(collector, (b"[" + b",".join(text for text, _ in made) + b"]") if form == "array" else b"\n".join(text for text, _ in made))
                )
                if status == 400:  # not JSON as a whole, so where an item ends cannot be told, and nothing of it was taken
                    assert form == "array" and "accepted" not in told
                    continue
                assert status in (200, 207), told
                wrong = {error["index"] for error in told.get("errors", [])}
                assert not any(made[at][1] for at in wrong), [(error, made[error["index"]]) for error in told["errors"] if made[error["index"]][1]]
                assert told["accepted"] + len(wrong) == len(made)
                bodies += 1
                records += told["accepted"]
                good |= {f"g{json.loads(text)['n']}" for text, fine in made if fine}
        finally:
            collector.close()
    assert bodies > MANY / 400
    outcome(project, records, good)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    except (RecursionError, ValueError):
        return True
    return True


async def ask(collector: Collector, body: bytes) -> tuple[int, Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await collector({"type": "http", "method": "POST", "path": "/v1/events/orders", "headers": []}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_what_is_sent_is_of_now() -> None:
    """The good records' time lies in no future, whenever this runs."""
    assert datetime.fromisoformat(TS) < datetime.now(UTC) + timedelta(days=1)
