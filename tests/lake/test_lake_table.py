"""Tables: what a version holds, what two writers may do, and that half-done work leaves nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from lake_actors import World

from millstream.base.errors import Conflict, Corrupt, Incompatible, NotFound, Truncated, UsageError
from millstream.engines.local.files import LocalFiles
from millstream.lake import deltalog, parquet, pins
from millstream.lake.contract import ROWS, Died, at_once, dying, rows_in
from millstream.lake.lake import Lake
from millstream.lake.table import LakeTable


@pytest.fixture
def table(world: World) -> LakeTable:
    return world.lake.create("t", ROWS)


def rows(*numbers: int, name: str | None = "a") -> pa.RecordBatch:
    return pa.record_batch(
        {"x": pa.array(numbers, pa.int64()), "name": pa.array([name] * len(numbers), pa.string())}, schema=ROWS
    )


def xs(table: LakeTable) -> list[int]:
    return [row["x"] for row in rows_in(table)]


def data_files(lake: Lake, name: str = "t") -> set[str]:
    return {one for one in lake.files.list(name) if one.endswith(".parquet")}


def test_each_version_can_be_read(table: LakeTable) -> None:
    for n in (1, 2, 3):
        assert table.append([rows(n)], metadata={"n": n}) == n
    assert [xs(table.at(v)) for v in range(4)] == [[], [1], [1, 2], [1, 2, 3]]
    assert table.metadata(2) == {"n": 2} and table.rows() == 3 and table.bytes() > 0
    snapshot = table.snapshot(2)
    assert (snapshot.version, len(snapshot.files), snapshot.schema.names) == (2, 2, ["x", "name"])
    assert all(Path(path).exists() for path in snapshot.files)


def test_history_says_what_happened(table: LakeTable) -> None:
    table.append([rows(1, 2)], metadata={"by": "me"})
    table.replace([rows(3)])
    newest, middle, oldest = table.history()
    assert [(e["version"], e["rows"], e["files_added"], e["files_removed"]) for e in (newest, middle, oldest)] == [
        (2, 1, 1, 1),
        (1, 2, 1, 0),
        (0, 0, 0, 0),
    ]
    assert middle["metadata"] == {"by": "me"} and table.history(1) == [newest]
    assert abs(datetime.fromisoformat(newest["at"]) - datetime.now(UTC)) < timedelta(minutes=5)


def test_what_is_not_there(world: World, table: LakeTable) -> None:
    with pytest.raises(NotFound, match='"u" is not in the lake; there are t'):
        world.lake.table("u")
    with pytest.raises(NotFound, match="version 5"):
        table.at(5)
    with pytest.raises(NotFound, match="commit 5"):
        table.metadata(5)
    with pytest.raises(NotFound):
        table.pin(5, "me")
    assert pins.pinned(world.lake.files, "t") == {}
    for name in ("", "1t", "a/b", "../t", "_delta_log"):
        with pytest.raises(UsageError):
            world.lake.table(name)


def test_a_position_is_checked_on_the_handle_and_by_the_store(world: World, table: LakeTable) -> None:
    other = table.refresh()
    table.append([rows(1)], txns={"app": (None, 5)})
    assert (table.position("app"), other.position("app")) == (5, None)
    written = data_files(world.lake)
    with pytest.raises(Conflict, match="stands at 5, not at None"):
        table.append([rows(2)], txns={"app": (None, 6)})
    assert data_files(world.lake) == written, "what the handle knows is said before anything is written"
    with pytest.raises(Conflict):
        other.append([rows(2)], txns={"app": (None, 6)})
    other = other.refresh()
    other.append([rows(2)], txns={"app": (5, 6)})
    assert xs(other) == [1, 2] and other.txns() == {"app": 6}


def test_one_of_a_race_lands_whatever_the_overlap(table: LakeTable) -> None:
    """Commits of {a,b}, {b,c}, {a,c} from one snapshot: none lands in part."""
    for _ in range(8):
        stands = {app: table.refresh().position(app) for app in "abc"}
        handles = [table.refresh() for _ in range(3)]
        found = at_once(
            [
                partial(h.append, [rows(1)], txns={app: (stands[app], (stands[app] or 0) + 1) for app in pair})
                for h, pair in zip(handles, ("ab", "bc", "ac"), strict=True)
            ]
        )
        assert sorted(type(one).__name__ for one in found) == ["Conflict", "Conflict", "int"]
        now = {app: table.refresh().position(app) or 0 for app in "abc"}
        assert sum(now[app] - (stands[app] or 0) for app in "abc") == 2, "one pair moved by one"


def test_a_handle_moves_by_its_own_commits_only(table: LakeTable) -> None:
    other = table.refresh()
    table.append([rows(1)])
    assert other.version == 0
    assert other.append([rows(2)]) == 2 and other.version == 2
    assert other.append([rows(3)], txns={"app": (None, 1)}) == 3 and other.position("app") == 1


def test_a_zero_row_commit_moves_positions(table: LakeTable) -> None:
    assert table.append([], txns={"app": (None, 9)}) == 1
    assert table.refresh().position("app") == 9 and table.actions().num_rows == 0


def test_half_done_work_leaves_nothing(world: World, table: LakeTable) -> None:
    """Rows that cannot be written; and a failure in the middle of them."""

    def breaks() -> Any:
        yield rows(1)
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="broke"):
        table.append(breaks())
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        table.append([pa.record_batch({"x": ["no number"], "name": ["a"]})])
    assert data_files(world.lake) == set() and table.refresh().version == 0


def test_killed_between_file_and_commit(world: World, table: LakeTable) -> None:
    with dying("append.files"), pytest.raises(Died):
        table.append([rows(1)])
    assert len(data_files(world.lake)) == 1 and table.refresh().version == 0 and xs(table.refresh()) == []


def test_replace_all(table: LakeTable) -> None:
    table.append([rows(1)])
    table.append([rows(2)])
    version = table.replace([rows(7, 8)], txns={"app": (None, 1)}, metadata={"why": "new"})
    assert (version, xs(table), table.position("app"), table.metadata(version)) == (3, [7, 8], 1, {"why": "new"})
    assert xs(table.at(2)) == [1, 2]


def test_replace_brings_other_columns(table: LakeTable) -> None:
    table.append([rows(1)])
    table.replace(pa.table({"y": [1.5], "x": pa.array([4], pa.int32())}))
    assert [(f.name, f.type) for f in table.refresh().schema] == [("y", pa.float64()), ("x", pa.int32())]
    assert rows_in(table.refresh()) == [{"y": 1.5, "x": 4}] and table.at(1).schema.names == ["x", "name"]


def test_replace_an_interval(world: World, table: LakeTable) -> None:
    for n in range(0, 30, 10):
        table.append([rows(*range(n, n + 10))])
    table.append([pa.record_batch({"x": pa.array([None], pa.int64()), "name": ["null"]}, schema=ROWS)])
    untouched = table.snapshot().files[0]
    table.replace([rows(15, 16, name="new")], where=("x", 14, 25))
    found = rows_in(table.refresh())
    assert sorted(r["x"] for r in found if r["x"] is not None) == [*range(14), 15, 16, *range(25, 30)]
    assert [r["name"] for r in found if r["x"] is None] == ["null"], "rows of no value stay"
    assert untouched in table.snapshot().files
    with pytest.raises(UsageError, match='no column "z"'):
        table.replace([rows(1)], where=("z", 0, 1))


def test_replace_by_times_and_dates(world: World) -> None:
    schema = pa.schema([("ts", pa.timestamp("us", tz="UTC")), ("day", pa.date32()), ("n", pa.int64())])
    made = world.lake.create("d", schema, ("day",))
    at = partial(datetime, 2024, 1, tzinfo=UTC)

    def batch(*days: int) -> pa.RecordBatch:
        columns = {"ts": [at(n) for n in days], "day": [date(2024, 1, n) for n in days], "n": list(days)}
        return pa.record_batch(columns, schema=schema)

    def us(n: int) -> int:
        return int(at(n).timestamp() * 1e6)

    made.append([batch(1, 2, 3)])
    made.replace([batch(2, 2)], where=("day", at(2), at(3)))
    assert sorted(r["n"] for r in rows_in(made.refresh())) == [1, 2, 2, 3]
    made.replace([batch(4)], where=("ts", us(1), us(3)))
    assert sorted(r["n"] for r in rows_in(made.refresh())) == [3, 4]
    made.replace([], where=("day", us(4), us(5)))
    assert sorted(r["n"] for r in rows_in(made.refresh())) == [3]


def test_replace_and_append_side_by_side(world: World, table: LakeTable) -> None:
    """Appends come in between; the replacement looks again, and only what it meant to replace is gone."""
    table.append([rows(*range(10))])

    def appends() -> None:
        for n in range(100, 106):
            while True:
                try:
                    world.lake.table("t").append([rows(n)])
                    break
                except Conflict:  # delta-rs lets no append stand on rows that were replaced meanwhile
                    continue

    found = at_once([appends, lambda: world.lake.table("t").replace([rows(50)], where=("x", 0, 10), tries=50)])
    assert not any(isinstance(one, Exception) for one in found), found
    assert sorted(xs(table.refresh())) == [50, *range(100, 106)]


def test_two_replacements_are_one_after_the_other(world: World, table: LakeTable) -> None:
    table.append([rows(1, 2)])
    found = at_once([lambda n=n: world.lake.table("t").replace([rows(n)], tries=50) for n in (10, 20, 30)])  # type: ignore[misc]
    assert sorted(found) == [2, 3, 4] and len(xs(table.refresh())) == 1


def test_a_replacement_that_its_position_forbids_changes_nothing(table: LakeTable) -> None:
    table.append([rows(1)], txns={"run": (None, 3)})
    with pytest.raises(Conflict):
        table.refresh().replace([rows(2)], txns={"run": (2, 3)})
    assert xs(table.refresh()) == [1]


def test_columns_are_added(table: LakeTable) -> None:
    table.append([rows(1)])
    wider = table.add_columns([pa.field("y", pa.float64()), pa.field("x", pa.int64())])
    assert wider.schema.names == ["x", "name", "y"] and wider.version == 2
    assert wider.add_columns([pa.field("y", pa.float64())]).version == 2
    wider.append([pa.record_batch({"y": [0.5], "x": [2]})])
    assert rows_in(wider) == [{"x": 1, "name": "a", "y": None}, {"x": 2, "name": None, "y": 0.5}]
    with pytest.raises(Incompatible, match='column "x" is int64, and string now'):
        wider.add_columns([pa.field("x", pa.string())])
    with pytest.raises(Conflict):
        table.append([rows(3)], txns={"app": (None, 1)})
    table.refresh().append([rows(3)])


def test_columns_added_in_a_race_are_there_once(world: World, table: LakeTable) -> None:
    found = at_once(
        [
            lambda n=n: world.lake.table("t").add_columns([pa.field("y", pa.float64()), pa.field(f"z{n}", pa.string())])  # type: ignore[misc]
            for n in range(3)
        ]
    )
    assert not any(isinstance(one, Exception) for one in found), found
    assert set(table.refresh().schema.names) == {"x", "name", "y", "z0", "z1", "z2"}


def test_types_that_delta_lacks_become_plain_ones(world: World) -> None:
    given = pa.table(
        {
            "d": pa.array(["a", "b"]).dictionary_encode(),
            "u": pa.array([1, 2], pa.uint8()),
            "s": pa.array(["x", None], pa.large_string()),
            "t": pa.array([0, 1], pa.timestamp("ms")),
            "l": pa.array([["a"], []], pa.large_list(pa.string())),
            "f": pa.array([1, 2], pa.float16()),
        }
    )
    made = world.lake.create("plain", given.schema)
    made.append(given)
    assert [str(f.type) for f in made.schema] == [
        "string",
        "int16",
        "string",
        "timestamp[us, tz=UTC]",
        "list<element: string>",
        "float",
    ]
    assert rows_in(made)[0] == {"d": "a", "u": 1, "s": "x", "t": datetime(1970, 1, 1, tzinfo=UTC), "l": ["a"], "f": 1.0}
    assert DeltaTable(f"{world.lake.files.root}/plain").to_pyarrow_table().num_rows == 2, "delta-rs reads it"


def test_statistics_prune_and_never_lie(table: LakeTable, world: World) -> None:
    schema = pa.schema(
        [("f", pa.float64()), ("s", pa.string()), ("t", pa.timestamp("us", tz="UTC")), ("b", pa.bool_())]
    )
    made = world.lake.create("stats", schema)
    made.append(
        [
            pa.record_batch(
                {
                    "f": [1.0, float("nan")],
                    "s": ["a" * 100, "b"],
                    "t": [datetime(900, 1, 1, tzinfo=UTC)] * 2,
                    "b": [True, None],
                },
                schema=schema,
            )
        ]
    )
    made.append(
        [
            pa.record_batch(
                {"f": [2.0, None], "s": ["a", "b"], "t": [datetime(2020, 1, 1, tzinfo=UTC)] * 2, "b": [True, None]},
                schema=schema,
            )
        ]
    )
    odd, plain = made.actions().to_pylist()
    assert odd.get("max.f") is None and odd.get("max.t") is None and odd["null_count.b"] == 1, (
        "NaN and times before the year 1000 have no bounds"
    )
    assert (plain["min.f"], plain["max.f"], plain["max.s"], plain["null_count.f"]) == (2.0, 2.0, "b", 1)
    assert odd["num_records"] == plain["num_records"] == 2


def test_files_are_cut_at_their_size(world: World, table: LakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 1000)
    monkeypatch.setattr(parquet, "FILE_BYTES", 5000)
    table.append([rows(*range(n, n + 700)) for n in range(0, 7000, 700)])
    assert table.actions().num_rows > 2 and xs(table) == list(range(7000)), "in order, over several files"


def test_added_says_what_is_new(table: LakeTable) -> None:
    table.append([rows(1)])
    table.append([rows(2)])
    table.replace([rows(3)], where=("x", 2, 3))
    table.append([rows(4)])
    assert [Path(path).name for path in table.added(1)] == [Path(path).name for path in table.snapshot().files[1:]]
    assert table.added(table.version) == []
    table.files.remove(f"t/{Path(table.added(3)[0]).name}")
    with pytest.raises(Truncated, match="vacuumed"):
        table.added(3)


def test_pins_are_counted_by_who(world: World, table: LakeTable) -> None:
    for n in range(3):
        table.append([rows(n)])
    long = "training set " + "x" * 300
    for by in ("model/1", "model/1", long):
        table.pin(1, by)
    table.pin(2, "model/1")
    assert {version: len(who) for version, who in pins.pinned(world.lake.files, "t").items()} == {1: 2, 2: 1}
    assert pins.pinned(world.lake.files, "t")[2] == ["model/1"]
    table.unpin("model/1")
    table.unpin("nobody")
    assert list(pins.pinned(world.lake.files, "t")) == [1]
    table.unpin(long)
    assert pins.pinned(world.lake.files, "t") == {}


def test_made_with_other_columns(world: World, table: LakeTable) -> None:
    assert world.lake.create("t", ROWS).uuid == table.uuid
    assert world.lake.create("t", pa.schema([ROWS.field("x")])).uuid == table.uuid, "fewer will do"
    with pytest.raises(Conflict, match='"x" int64 and not string'):
        world.lake.create("t", pa.schema([("x", pa.string())]))
    with pytest.raises(Conflict, match="partitioned by"):
        world.lake.create("t", ROWS, ("name",))


def test_a_log_that_is_damaged_says_so(world: World, table: LakeTable) -> None:
    table.append([rows(1)])
    for text, what in ((b"", "empty"), (b'{"add', "cut or damaged|cannot be opened")):
        world.lake.files.remove(deltalog.commit_path("t", 1))
        with world.lake.files.create(deltalog.commit_path("t", 1)) as file:
            file.write(text)
        with pytest.raises(Corrupt, match=what):
            world.lake.table("t")
        with pytest.raises(Corrupt, match=what):
            deltalog.read(world.lake.files, "t", 1)


def test_partition_values_with_odd_characters(world: World) -> None:
    made = world.lake.create("p", ROWS, ("name",))
    names = ["a/b", "ä =%", None, "x y"]
    made.append([rows(n, name=name) for n, name in enumerate(names)])
    assert {(r["x"], r["name"]) for r in rows_in(made)} == set(enumerate(names))
    made.replace([rows(9, name="a/b")], where=("x", 0, 1))
    assert {(r["x"], r["name"]) for r in rows_in(made.refresh())} == {(9, "a/b"), *list(enumerate(names))[1:]}


@pytest.mark.parametrize(
    "left",
    [
        {},
        {"00000000000000000000.json#1": '{"proto'},
        {"00000000000000000000.json": ""},
        {"00000000000000000000.json": '{"protocol":{"minRea'},
    ],
    ids=["a folder", "a draft", "an empty commit", "a commit cut short"],
)
def test_a_creation_that_came_half_way_is_done_again(left: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "t" / "_delta_log"
    log.mkdir(parents=True)
    for name, text in left.items():
        (log / name).write_text(text)
    made = Lake(LocalFiles(str(tmp_path))).create("t", pa.schema([("x", pa.int64())]))
    assert (made.version, made.rows()) == (0, 0)
