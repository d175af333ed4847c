"""Fuzzed values of each kind of field, edges too, in columns of many types, through every door into the lake: good ones
land with equal values, each of the others is counted once, and only documented errors are raised.

FUZZ_RECORDS=100000 for more, FUZZ_SEED= for a fresh seed; a failure names the seed.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fuzz_columnar as columnar
import msgspec
import poison
import pytest
from poison import RECORDS, SEED, STREAM, Record, Sent

import millstream as ms
from millstream.base.registry import engine
from millstream.engines.files.source import FileSource
from millstream.ingest.collector import Collector
from millstream.ingest.form import BadEvent, EventForm
from millstream.ingest.pump import pump
from millstream.lake.lake import Lake
from millstream.lake.sink import Sink

FILE_RECORDS = 1_000
BODY_RECORDS = 100
FORM = EventForm(STREAM.schema, zoned=True, ids=True, closed=True)


class Way:
    """A log and a lake in a folder, and how many records of what end where."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        url = f"sqlite:{folder / 'log.db'}"
        self.schemas = engine("schemas", url)(url)
        self.log = engine("log", url)(url, self.schemas)
        self.lake = Lake(engine("files", "file")(str(folder / "lake")))

    def ingest(self, glob: str) -> Any:
        source = ms.source(STREAM, ms.read.files(glob))
        return pump(self.log, self.schemas, [(source, FileSource(source, self.folder))])

    def drain(self) -> Any:
        sink = Sink(self.log, self.schemas, self.lake, STREAM)
        try:
            return sink.drain()
        finally:
            sink.close()

    def rows(self) -> list[Record]:
        return self.lake.table(STREAM.name).delta.to_pyarrow_table().to_pylist()

    def close(self) -> None:
        self.log.close()
        self.schemas.close()


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Way]:
    made = Way(tmp_path)
    yield made
    made.close()


def check_good(rows: Sequence[Record], sent: Sequence[Record]) -> None:
    """Every good record is there once, with equal values."""
    found: dict[str, Record] = {}
    names = Counter(row["id"] for row in rows)
    for row in rows:
        found[row["id"]] = poison.landed(row)
    wrong = [
        (record, found.get(record["id"]))
        for record in sent
        if names[record["id"]] != 1 or found[record["id"]] != record
    ]
    assert not wrong, (
        f"seed {SEED}: {len(wrong)} of {len(sent)} good records did not land as they were; sent and found: {wrong[0]}"
    )


def check_files(way: Way, sent: Sequence[Sent], glob: str) -> None:
    counts = way.ingest(glob)
    assert counts.rows + counts.bad == len(sent), f"seed {SEED}: {counts.rows} + {counts.bad} of {len(sent)}"
    landed = way.drain()
    assert landed.rows + landed.dead + landed.duplicates == landed.records == len(sent), f"seed {SEED}: {landed}"
    check_good(way.rows(), [one.good for one in sent if one.good is not None])
    dead = way.lake.table(f"{STREAM.name}__dead").delta.to_pyarrow_table().to_pylist()
    assert len(dead) == landed.dead and all(letter["error"].startswith(letter["origin"] + ": ") for letter in dead), (
        f"seed {SEED}"
    )


def lines(way: Way, made: Callable[[random.Random, int], Iterator[Sent]], ending: str, head: bytes = b"") -> None:
    sent = list(made(random.Random(SEED), RECORDS))
    for at in range(0, len(sent), FILE_RECORDS):
        path = way.folder / "data" / f"{at:09}.{ending}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(head + b"".join(one.text + b"\n" for one in sent[at : at + FILE_RECORDS]))
    check_files(way, sent, f"data/*.{ending}")


def test_csv(way: Way) -> None:
    lines(way, poison.csv_records, "csv", (",".join(poison.FIELDS) + "\n").encode())


def test_json_lines(way: Way) -> None:
    lines(way, poison.json_records, "jsonl")


def test_parquet(way: Way) -> None:
    check_files(way, columnar.parquet_files(way.folder / "data", random.Random(SEED), RECORDS), "data/*.parquet")


def test_avro(way: Way) -> None:
    check_files(way, columnar.avro_files(way.folder / "data", random.Random(SEED), RECORDS), "data/*.avro")


class Asked:
    """A collector over the way's log, asked without a socket between."""

    def __init__(self, way: Way) -> None:
        self.app = Collector(way.log, way.schemas, {STREAM.name: STREAM})

    async def post(self, body: bytes) -> tuple[int, Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(
            {"type": "http", "method": "POST", "path": f"/v1/events/{STREAM.name}", "headers": []}, receive, send
        )
        return sent[0]["status"], msgspec.json.decode(b"".join(m.get("body", b"") for m in sent[1:]))


def posted(way: Way, bodies: Sequence[Sequence[Sent]], written: Callable[[Sequence[Sent]], bytes]) -> None:
    asked, accepted, good = Asked(way), 0, list[Record]()
    asked.app.start()
    try:
        for sent in bodies:
            status, told = asyncio.run(asked.post(written(sent)))
            assert status in (200, 207, 422), f"seed {SEED}: {status} {told}"
            errors = told["errors"] if status == 207 else told["error"]["errors"] if status == 422 else []
            wrong = {error["index"] for error in errors}
            taken = told.get("accepted", 0)
            assert taken + len(wrong) == len(sent), f"seed {SEED}: {taken} + {len(wrong)} of {len(sent)}"
            blamed = [at for at, one in enumerate(sent) if one.good is not None and at in wrong]
            assert not blamed, (
                f"seed {SEED}: refused {sent[blamed[0]].text[:300]!r} for"
                f" {[e for e in errors if e['index'] == blamed[0]]}"
            )
            accepted += taken
            good += [one.good for one in sent if one.good is not None]
    finally:
        asked.app.close()
    landed = way.drain()
    assert (landed.rows, landed.dead, landed.records) == (accepted, 0, accepted), (
        f"seed {SEED}: {landed}: what a door took must land"
    )
    check_good(way.rows(), good)


def bodies(fits: Callable[[bytes], bool]) -> list[list[Sent]]:
    sent = [one for one in poison.json_records(random.Random(SEED), RECORDS * 11 // 10) if fits(one.text)][:RECORDS]
    return [sent[at : at + BODY_RECORDS] for at in range(0, len(sent), BODY_RECORDS)]


def closed(text: bytes) -> bool:
    """An item whose brackets or quotes do not close takes the whole array with it, which is a 400; all others are
    judged one by one.
    """
    try:
        return FORM.items(b"[" + text + b"]") == [text.strip()]
    except BadEvent:
        return False


def test_http_array(way: Way) -> None:
    posted(way, bodies(closed), lambda sent: b"[" + b", ".join(one.text for one in sent) + b"]")


def test_http_lines(way: Way) -> None:
    posted(way, bodies(lambda text: bool(text.strip())), lambda sent: b"\n".join(one.text for one in sent))
