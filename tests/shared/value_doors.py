"""Every way by which one value gets into a stream, as a function: spellings in, what would land out.

Each door is asked for many values at once and for each alone, so that a value's fate cannot hang on its neighbours.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import fastavro
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from value_table import DEAD, MISSING

import millstream as ms
from millstream.base.errors import MillstreamError
from millstream.base.event import rows_to_arrow
from millstream.base.registry import engine
from millstream.client import Client, _bodies
from millstream.declare.stream import Stream
from millstream.engines.files.columnar import ColumnFile
from millstream.engines.files.position import Position
from millstream.engines.files.text import TextFile
from millstream.ingest.collector import Collector
from millstream.lab.lab import _sent
from millstream.lake.judge import judge
from millstream.log.avro import decode

TS = datetime(2026, 1, 1, tzinfo=UTC)
KINDS: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "date": date,
    "datetime": datetime,
    "symbol": Literal["red", "green"],
    "bytes": bytes,
    "list[int]": list[int],
    "list[float]": list[float],
    "list[bool]": list[bool],
    "list[str]": list[str],
    "list[date]": list[date],
    "list[datetime]": list[datetime],
}


def _stream(kind: str, required: bool) -> Stream[Any]:
    hint = KINDS[kind] if required else KINDS[kind] | None
    named = "".join(letter for letter in kind if letter.isalpha())
    name = f"v_{named}_{'required' if required else 'optional'}"
    fields: dict[str, Any] = {"id": str, "v": hint, "ts": ms.EventTime}
    made = type(
        name.title().replace("_", ""),
        (ms.Event,),
        {"__doc__": "One value.", "__annotations__": fields, "__module__": __name__}
        | ({} if required else {"v": None}),
    )
    return ms.stream(name, made, key="id", dedupe=None, partitions=1)


STREAMS = {(kind, required): _stream(kind, required) for kind in KINDS for required in (False, True)}


def landed(stream: Stream[Any], rows: pa.RecordBatch) -> dict[str, Any]:
    """id -> the value that the table would hold, of rows as a log gives them."""
    if "_arrived_at" not in rows.schema.names:
        rows = rows.append_column("_arrived_at", pa.repeat(pa.scalar(TS, pa.timestamp("us", "UTC")), rows.num_rows))
    if "_offset" not in rows.schema.names:
        rows = rows.append_column("_offset", pa.array(np.arange(rows.num_rows)))
    if "_event_id" not in rows.schema.names:
        rows = rows.append_column("_event_id", rows.column("id"))
    judged = judge(stream, rows, 1)
    values = judged.rows.column("v")
    names = judged.rows.column("id").to_pylist()
    return {name: plain(values[at]) if judged.good[at] else DEAD for at, name in enumerate(names)}


def plain(value: pa.Scalar) -> Any:
    found = value.as_py()
    if isinstance(found, list):
        return [one.astimezone(UTC) if isinstance(one, datetime) else one for one in found]
    return found.astimezone(UTC) if isinstance(found, datetime) else found


def _read(file: Any, stream: Stream[Any], count: int) -> list[Any]:
    found: dict[str, Any] = {}
    for batch in file.read(Position(), 1_000):
        found |= landed(stream, batch.rows.drop_columns(["_event_id"])) if batch.rows.num_rows else {}
    return [found.get(str(at), DEAD) for at in range(count)]


def csv_file(folder: Path, stream: Stream[Any], texts: Sequence[Any], zone: str = "UTC") -> list[Any]:
    path = folder / "v.csv"
    path.write_bytes(
        b"id,v,ts\n" + b"".join(f"{at},{text},2026-01-01T00:00:00Z\n".encode() for at, text in enumerate(texts))
    )
    return _read(TextFile(path, "v.csv", "csv", None, stream.schema, zone, 1 << 20), stream, len(texts))


def _json(at: int, text: Any) -> str:
    return f'{{"id": "{at}", ' + ("" if text is MISSING else f'"v": {text}, ') + '"ts": "2026-01-01T00:00:00Z"}'


def jsonl_file(folder: Path, stream: Stream[Any], texts: Sequence[Any], zone: str = "UTC") -> list[Any]:
    path = folder / "v.jsonl"
    path.write_text("".join(_json(at, text) + "\n" for at, text in enumerate(texts)))
    return _read(TextFile(path, "v.jsonl", "jsonl", None, stream.schema, zone, 1 << 20), stream, len(texts))


class Http:
    """A collector without a socket, over a log in a folder."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:{folder / 'log.db'}"
        self.schemas = engine("schemas", url)(url)
        self.log = engine("log", url)(url, self.schemas)
        self.app = Collector(self.log, self.schemas, {stream.name: stream for stream in STREAMS.values()})
        self.app.start()
        self.ends: dict[str, int] = {}

    def close(self) -> None:
        self.app.close()
        self.log.close()
        self.schemas.close()

    def ask(self, stream: Stream[Any], body: bytes, count: int) -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": f"/v1/events/{stream.name}", "headers": []}
        asyncio.run(self.app(scope, receive, send))
        told = msgspec.json.decode(b"".join(m.get("body", b"") for m in sent[1:]))
        assert sent[0]["status"] in (200, 207, 422), told
        start = self.ends.get(stream.name, 0)
        reader = self.log.reader(stream.name, {0: start})
        found: dict[str, Any] = {}
        try:
            for piece in reader.poll(10_000, timedelta(0)):
                found |= landed(stream, piece.rows)
                self.ends[stream.name] = piece.end
        finally:
            reader.close()
        return [found.get(str(at), DEAD) for at in range(count)]

    def array(self, stream: Stream[Any], texts: Sequence[Any]) -> list[Any]:
        return self.ask(
            stream, ("[" + ",".join(_json(at, text) for at, text in enumerate(texts)) + "]").encode(), len(texts)
        )

    def lines(self, stream: Stream[Any], texts: Sequence[Any]) -> list[Any]:
        return self.ask(stream, "\n".join(_json(at, text) for at, text in enumerate(texts)).encode(), len(texts))


def predict(stream: Stream[Any], texts: Sequence[Any]) -> list[Any]:
    """Bodies of requests, as the endpoint's model sees them and its decisions record them."""
    from millstream.serve.request import BadRequest, RequestForm

    form, field = RequestForm(stream.schema), stream.schema["v"]
    found: list[Any] = []
    for at, text in enumerate(texts):
        try:
            (request,), _ = form.decode(_json(at, text).encode())
        except BadRequest:
            found.append(DEAD)
            continue
        found.append(plain(pa.array([request["v"]], field.arrow)[0]))
    return found


def parquet_file(folder: Path, stream: Stream[Any], column: pa.Array, count: int, zone: str) -> list[Any]:
    path = folder / "v.parquet"
    pq.write_table(
        pa.table(
            {
                "id": pa.array([str(at) for at in range(count)]),
                "v": column,
                "ts": pa.array([TS] * count, pa.timestamp("us", "UTC")),
            }
        ),
        path,
    )
    return _read(ColumnFile(path, "v.parquet", "parquet", None, stream.schema, zone), stream, count)


def avro_file(folder: Path, stream: Stream[Any], kind: Any, values: Sequence[Any], zone: str = "UTC") -> list[Any]:
    fields = [("id", "string"), ("v", kind), ("ts", {"type": "long", "logicalType": "timestamp-micros"})]
    schema = fastavro.parse_schema(
        {"type": "record", "name": "r", "fields": [{"name": n, "type": k} for n, k in fields]}
    )
    out = io.BytesIO()
    fastavro.writer(out, schema, [{"id": str(at), "v": value, "ts": TS} for at, value in enumerate(values)])
    path = folder / "v.avro"
    path.write_bytes(out.getvalue())
    return _read(ColumnFile(path, "v.avro", "avro", None, stream.schema, zone), stream, len(values))


def logged(stream: Stream[Any], kind: Any, value: Any) -> Any:
    """A record of a topic in Avro, under a writer's schema that is not the class's."""
    fields = [("id", "string"), ("v", kind), ("ts", {"type": "long", "logicalType": "timestamp-micros"})]
    schema = {"type": "record", "name": "r", "fields": [{"name": n, "type": k} for n, k in fields]}
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), {"id": "0", "v": value, "ts": TS})
    return landed(stream, decode([body.getvalue()], json.dumps(schema)).rows)["0"]


def client(stream: Stream[Any], http: Http, value: Any) -> Any:
    """An object of the class, by the client over HTTP."""
    try:
        (body,) = _bodies([Client("http://127.0.0.1:1")._json(stream.event(id="0", v=value, ts=TS))], [None])
    except (MillstreamError, ValueError):
        return DEAD
    return http.ask(stream, body, 1)[0]


def lab(stream: Stream[Any], value: Any) -> Any:
    """An object of the class, by the lab."""
    try:
        return landed(stream, rows_to_arrow(_sent(stream, (stream.event(id="0", v=value, ts=TS),)), stream.schema))["0"]
    except (MillstreamError, ValueError):
        return DEAD
