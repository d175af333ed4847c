"""What `judge` passes is written and read back equal, by Delta and by Avro; what it refuses costs its neighbours
nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_columnar import BAD_DAYS, BAD_MICROS, UTF8, days, micros
from hypothesis import given
from hypothesis import strategies as st
from poison import FIELDS, SEED, STREAM, good

from millstream.base.errors import Incompatible
from millstream.base.event import ARRIVED_AT, EVENT_ID, OFFSET, TIMESTAMP
from millstream.engines.local.files import LocalFiles
from millstream.lake.judge import judge, payload_schema, table_schema
from millstream.lake.lake import Lake
from millstream.lake.parquet import statistics
from millstream.lake.sound import lenient, unsound
from millstream.log.avro import avro_schema, decode, encode

_AS_NUMBERS: dict[Any, tuple[Any, Callable[[Any], Any]]] = {
    pa.date32(): (pa.int32(), days),
    TIMESTAMP: (pa.int64(), micros),
    pa.list_(pa.date32()): (pa.list_(pa.int32()), lambda v: [days(d) for d in v]),
    pa.string(): (pa.binary(), str.encode),
}
_BAD: dict[str, Any] = {
    "id": UTF8,
    "day": BAD_DAYS,
    "seen": BAD_MICROS,
    "ts": [None, *BAD_MICROS],
    "days": [[d] for d in BAD_DAYS] + [[None]],
    "tags": [[None], ["a", None]],
    "nums": [[None]],
    "word": [b"blue", *UTF8],
    "count": [None],
    ARRIVED_AT: [None, *BAD_MICROS],
    EVENT_ID: UTF8,
}


def logged(rng: random.Random, count: int) -> tuple[pa.RecordBatch, list[int]]:
    """Records as a log gives them, and which of them are poison."""
    names = {
        **{f.name: f.type for f in payload_schema(STREAM)},
        EVENT_ID: pa.string(),
        ARRIVED_AT: TIMESTAMP,
        OFFSET: pa.int64(),
    }
    records = [{**good(rng, f"g{at}"), EVENT_ID: f"e{at}", OFFSET: at} for at in range(count)]
    poisoned = sorted(rng.sample(range(count), count // 5))
    columns = {}
    for name, kind in names.items():
        built, to = _AS_NUMBERS.get(kind, (kind, lambda value: value))
        columns[name] = (
            [None if (value := record.get(name, record["ts"])) is None else to(value) for record in records],
            built,
            kind,
        )
    for at in poisoned:
        name = rng.choice(list(_BAD))
        columns[name][0][at] = rng.choice(_BAD[name])
    arrays = [
        pa.array(values, built) if built == kind else pa.array(values, built).view(kind)
        for values, built, kind in columns.values()
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(names)), poisoned


@pytest.mark.parametrize("seed", range(SEED, SEED + 5))
def test_what_is_passed_is_written_and_read_back_equal(tmp_path: Path, seed: int) -> None:
    rows, poisoned = logged(random.Random(seed), 400)
    judged = judge(STREAM, rows, 1)
    assert sorted(judged.errors) == poisoned, f"seed {seed}"
    assert all(judged.raw(at)[0] for at in poisoned)
    passed = judged.rows.filter(pa.array(judged.good))
    table = Lake(LocalFiles(str(tmp_path))).create(STREAM.name, table_schema(STREAM))
    table.append([passed])
    found = pa.Table.from_batches(table.delta.to_pyarrow_table().to_batches())
    assert found.select(passed.schema.names).sort_by(OFFSET).to_pylist() == passed.to_pylist(), f"seed {seed}"
    text = avro_schema(STREAM.schema)
    back = decode(encode(passed, text), text)
    assert not back.bad and back.rows.to_pylist() == passed.select(list(FIELDS)).to_pylist(), f"seed {seed}"


@pytest.mark.parametrize("kind", [pa.date32(), TIMESTAMP])
def test_statistics_of_what_is_no_date_of_python_are_left_out(tmp_path: Path, kind: pa.DataType) -> None:
    """A user's SQL may write such a value into a table of its own, which must not break for it."""
    numbers = (
        pa.array([-719_163, 0, 2_932_897], pa.int32())
        if kind == pa.date32()
        else pa.array([BAD_MICROS[2], 0, BAD_MICROS[3]], pa.int64())
    )
    sound = pa.table({"d": numbers.slice(1, 1).view(kind)})
    for table, bounded in ((pa.table({"d": numbers.view(kind)}), False), (sound, True)):
        pq.write_table(table, tmp_path / "x.parquet")
        found = statistics(pq.read_metadata(tmp_path / "x.parquet"), table.schema)
        assert (found["numRecords"], bool(found["minValues"]), found["nullCount"]) == (
            table.num_rows,
            bounded,
            {"d": 0},
        )
    made = Lake(LocalFiles(str(tmp_path / "lake"))).create("wide", pa.schema([("d", kind)]))
    made.append(pa.table({"d": numbers.view(kind)}))
    assert made.rows() == 3


def test_a_bad_item_of_a_list_harms_no_neighbour() -> None:
    """Arrow casts all items that lie under a slice of lists, so halving by slices alone found every record wrong."""
    column = pa.array([["2026-01-01"], None, ["2026-02-30"], [], ["2026-01-02"]])
    made, failed = lenient(column, lambda part: part.cast(pa.list_(pa.date32())), pa.list_(pa.date32()))
    assert failed == [2] and [None if v is None else list(map(str, v)) for v in made.to_pylist()] == [
        ["2026-01-01"],
        None,
        None,
        [],
        ["2026-01-02"],
    ]


@given(
    st.lists(
        st.one_of(st.none(), st.binary(max_size=6), st.text(max_size=6).map(str.encode), st.just(b"flat")), max_size=20
    ),
    st.booleans(),
    st.data(),
)
def test_a_text_is_unsound_if_python_cannot_decode_it(
    values: list[bytes | None], large: bool, data: st.DataObject
) -> None:
    stored = pa.array(values, pa.large_binary() if large else pa.binary()).view(
        pa.large_string() if large else pa.string()
    )
    start = data.draw(st.integers(0, len(values)))
    part, expected = stored.slice(start), [not _decodes(value) for value in values[start:]]
    assert [list(mask) for mask, _ in unsound(part)] == ([expected] if any(expected) else [])


def _decodes(value: bytes | None) -> bool:
    try:
        return value is None or isinstance(value.decode(), str)
    except UnicodeDecodeError:
        return False


def test_a_column_in_another_letter_case_is_refused_in_words(tmp_path: Path) -> None:
    table = Lake(LocalFiles(str(tmp_path))).create("t", pa.schema([("amount", pa.float64())]))
    with pytest.raises(Incompatible, match="letter case"):
        table.add_columns([pa.field("Amount", pa.float64())])
