"""What an executor does for the sink on Spark, without Spark: it is a function of Arrow batches."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.engines.local.files import LocalFiles
from millstream.engines.spark.errand import HEADERS, Done, Errand, Failed, Needs, Part, Shape, records
from millstream.lake.contract import READINGS, readings
from millstream.lake.dead import DEAD
from millstream.lake.judge import table_schema
from millstream.lake.lake import Lake
from millstream.log.avro import avro_schema
from millstream.log.framing import envelopes, framed
from millstream.log.port import Topic

TEXT = avro_schema(READINGS.schema)
TOPIC = Topic("readings", "u-1", 3)
Pairs = list[tuple[str, bytes | None]]


def kafka(
    values: list[bytes | None], offsets: list[int], headers: list[Pairs | None] | None = None, partition: int = 1
) -> pa.RecordBatch:
    """Rows as executors get them; of a header's values Spark has taken the last."""
    given = [dict(one or ()) for one in headers or [None] * len(values)]
    return pa.record_batch(
        {
            "value": pa.array(values, pa.binary()),
            "partition": pa.array([partition] * len(values), pa.int32()),
            "offset": pa.array(offsets, pa.int64()),
            "timestamp": pa.array([1_600_000_000_123_000 + at for at in offsets], pa.timestamp("us", tz="UTC")),
            **{name: pa.array([one.get(name) for one in given], pa.binary()) for name in HEADERS},
        }
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(LocalFiles(str(tmp_path / "lake")))
    made.create("readings", table_schema(READINGS))
    return made


def errand(lake: Lake, **more: Any) -> Errand:
    said: dict[str, Any] = {
        "token": "one",
        "texts": {7: TEXT},
        "unknown": frozenset(),
        "parts": {1: Part(10, 30, "", f"{5:020d}-{'0' * 12}.parquet")},
    }
    made = Errand(files=lake.files, shape=Shape.of(READINGS), topic=TOPIC, version=0, **{**said, **more})
    return pickle.loads(pickle.dumps(made))


def answer(made: Errand, *batches: pa.RecordBatch) -> Any:
    (one,) = made(iter(batches))
    assert one["partition"].to_pylist() == [1]
    return pickle.loads(one["answer"][0].as_py())


def test_a_range_becomes_files_that_nobody_has_committed(lake: Lake) -> None:
    good = framed(readings(1, 2, 3), 7, TEXT)
    ids: list[Pairs | None] = [[("_event_id", b"a")], [("_event_id", b"a")], None]
    found = answer(
        errand(lake), kafka([good[0], good[1]], [10, 12], ids[:2]), kafka([good[2], b"what is this"], [15, 19])
    )
    assert isinstance(found, Done)
    batch = found.batch
    assert (batch.start, batch.end, batch.records, batch.landed, batch.duplicates, batch.dead, batch.buried) == (
        10,
        30,
        4,
        2,
        1,
        1,
        1,
    )
    assert batch.rows == [] and batch.letters == [] and batch.files[0].path.startswith(f"{5:020d}-")
    assert lake.names() == ["readings"] and lake.table("readings").rows() == 0
    assert lake.files.size(f"readings/{batch.files[0].path}") == batch.files[0].size
    assert lake.files.size(f"readings__dead/{batch.letter_files[0].path}")
    assert lake.create("readings__dead", DEAD).version == 0, (
        "a folder with letters is not a table yet, and can become one"
    )


def test_what_is_needed_is_all_said_at_once(lake: Lake) -> None:
    strange = [b"\0" + n.to_bytes(4, "big") + b"x" for n in (8, 9, 8)]
    batch = kafka([*framed(readings(1), 7, TEXT), *strange], [10, 11, 12, 13])
    found = answer(errand(lake), batch)
    assert isinstance(found, Needs) and found.ids == {8, 9}
    assert not any(name.endswith(".parquet") for name in lake.files.list("readings"))
    done = answer(errand(lake, unknown=frozenset({8, 9})), batch)
    assert (done.batch.landed, done.batch.dead) == (1, 3)


def test_ids_are_remembered_for_the_errand_that_follows(lake: Lake) -> None:
    value = framed(readings(1), 7, TEXT)[0]
    first = answer(errand(lake), kafka([value], [10], [[("_event_id", b"a")]]))
    assert first.batch.landed == 1
    again = {"parts": {1: Part(30, 40, "one", f"{6:020d}-{'0' * 12}.parquet")}, "token": "two"}
    assert answer(errand(lake, **again), kafka([value], [31], [[("_event_id", b"a")]])).batch.duplicates == 1
    not_after = {"parts": {1: Part(30, 40, "one", f"{6:020d}-{'0' * 12}.parquet")}, "token": "three"}
    assert answer(errand(lake, **not_after), kafka([value], [31], [[("_event_id", b"a")]])).batch.duplicates == 0, (
        "the table is asked, and has none"
    )


@pytest.mark.parametrize("offsets", [[10, 10], [12, 11], [9, 10], [29, 30]])
def test_records_out_of_the_range_are_refused(lake: Lake, offsets: list[int]) -> None:
    value = framed(readings(1), 7, TEXT)[0]
    found = answer(errand(lake), kafka([value, value], offsets))
    assert isinstance(found, Failed) and found.kind == "Corrupt" and "out of order" in str(found.error())


def test_no_records_no_answer(lake: Lake) -> None:
    assert list(errand(lake)(iter([kafka([], [])]))) == []


@settings(deadline=None)
@given(
    st.lists(
        st.none()
        | st.lists(
            st.tuples(st.sampled_from(["_event_id", "_arrived_at", "x"]), st.none() | st.binary(max_size=3)), max_size=4
        ),
        min_size=1,
        max_size=8,
    )
)
def test_headers_are_read_as_by_the_other_client(headers: list[Pairs | None]) -> None:
    found = records(kafka([b""] * len(headers), list(range(len(headers))), headers))
    ids, arrivals = envelopes(headers)
    none = [None] * len(headers)
    assert (list(found.ids) or none, list(found.arrivals) or none) == (ids or none, arrivals or none)
    assert found.stamps_ms.tolist() == [1_600_000_000_123] * len(headers)
