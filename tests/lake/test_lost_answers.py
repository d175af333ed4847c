"""A store that lands a commit and says it did not, or nothing; one that does not answer for a while, or for ever."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from millstream.base.errors import Conflict, Unreachable
from millstream.engines.local.files import LocalFiles
from millstream.lake import patience
from millstream.lake.contract import ROWS, rows_in
from millstream.lake.lake import Lake
from millstream.lake.patience import Unanswered, answered
from millstream.lake.table import LakeTable


class FarFiles(LocalFiles):
    """Lost connections are Unreachable, as engines of stores elsewhere say."""

    within_s = 10.0

    def call(self, work: Callable[[], Any]) -> Any:
        def ask() -> Any:
            try:
                return work()
            except ConnectionResetError as error:
                raise Unreachable("no answer") from error

        return answered(ask, self.within_s, "a far store")


@pytest.fixture
def table(tmp_path: Path) -> LakeTable:
    return Lake(FarFiles(str(tmp_path))).create("t", ROWS)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_FIRST_S", 0.001)


def failing(
    table: LakeTable, monkeypatch: pytest.MonkeyPatch, error: Exception, *, landed: bool, times: int = 1
) -> list[int]:
    """Make the next commits of a handle fail, before or after they land; returns what grows by one a try."""
    commit: Callable[..., Any] = table.delta.create_write_transaction
    tries: list[int] = []

    def lossy(*args: Any, **kwargs: Any) -> None:
        tries.append(1)
        if len(tries) > times:
            commit(*args, **kwargs)
            return
        if landed:
            commit(*args, **kwargs)
        raise error

    monkeypatch.setattr(table.delta, "create_write_transaction", lossy)
    return tries


def row(x: int) -> list[pa.RecordBatch]:
    return [pa.record_batch({"x": [x], "name": ["a"]}, schema=ROWS)]


@pytest.mark.parametrize("txns", [{"app": (None, 1)}, None])
@pytest.mark.parametrize("error", [ConnectionResetError(), CommitFailedError("there is one already")])
def test_what_landed_unheard_is_not_landed_again(
    table: LakeTable, monkeypatch: pytest.MonkeyPatch, error: Exception, txns: Any
) -> None:
    tries = failing(table, monkeypatch, error, landed=True)
    assert table.append(row(1), txns=txns) == 1
    assert len(tries) == 1 and rows_in(table.refresh()) == [{"x": 1, "name": "a"}] and table.refresh().version == 1


@pytest.mark.parametrize("txns", [{"app": (None, 1)}, None])
def test_what_did_not_land_is_tried_again(table: LakeTable, monkeypatch: pytest.MonkeyPatch, txns: Any) -> None:
    tries = failing(table, monkeypatch, ConnectionResetError(), landed=False, times=3)
    assert table.append(row(1), txns=txns) == 1
    assert len(tries) == 4 and table.refresh().rows() == 1


def test_the_version_is_told_though_another_came_between(table: LakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = failing(table, monkeypatch, ConnectionResetError(), landed=True)
    table.refresh().append(row(7))
    assert table.append(row(1), txns={"app": (None, 1)}) == 2
    assert len(tries) == 1 and sorted(r["x"] for r in rows_in(table.refresh())) == [1, 7]


def test_a_position_that_another_took_is_a_conflict_after_all(
    table: LakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(table, monkeypatch, ConnectionResetError(), landed=False)
    table.refresh().append(row(7), txns={"app": (None, 1)})
    with pytest.raises(Conflict):
        table.append(row(1), txns={"app": (None, 1)})
    assert [r["x"] for r in rows_in(table.refresh())] == [7]


def test_a_replacement_whose_answer_is_lost_replaces_once(table: LakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    table.append(row(1))
    failing(table, monkeypatch, CommitFailedError("there is one already"), landed=True)
    assert table.replace(row(2)) == 2
    assert [r["x"] for r in rows_in(table.refresh())] == [2] and table.refresh().version == 2


def test_patience_ends(table: LakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE", timedelta(milliseconds=20))
    tries = failing(table, monkeypatch, ConnectionResetError(), landed=False, times=10**6)
    with pytest.raises(Unreachable):
        table.append(row(1), txns={"app": (None, 1)})
    assert len(tries) >= 2 and table.refresh().version == 0


def test_opening_that_does_not_come_back_is_done_anew(table: LakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call is stuck for ever, as with a driver that lost its server; the next one is answered."""
    never, opened = threading.Event(), []

    def stuck(*args: Any, **kwargs: Any) -> DeltaTable:
        opened.append(1)
        if len(opened) == 1:
            never.wait()
        return DeltaTable(*args, **kwargs)

    monkeypatch.setattr(FarFiles, "within_s", 0.2)
    monkeypatch.setattr("millstream.lake.table.DeltaTable", stuck)
    assert table.refresh().version == 0 and len(opened) == 2
    never.set()


@pytest.mark.parametrize("lands", ["never", "before the next look", "after the next commit"])
def test_a_commit_that_does_not_come_back_is_unknown_and_never_doubles(
    table: LakeTable, monkeypatch: pytest.MonkeyPatch, lands: str
) -> None:
    go, done = threading.Event(), threading.Event()
    commit: Callable[..., Any] = table.delta.create_write_transaction

    def stuck(*args: Any, **kwargs: Any) -> None:
        go.wait()
        with contextlib.suppress(Exception):
            if lands != "never":
                commit(*args, **kwargs)
        done.set()

    monkeypatch.setattr(FarFiles, "within_s", 0.2)
    monkeypatch.setattr(table.delta, "create_write_transaction", stuck)
    with pytest.raises(Unanswered, match="a far store has not answered for 0 s"):
        table.append(row(1), txns={"app": (None, 1)})
    if lands == "before the next look":
        go.set()
        assert done.wait(10)
    again = table.refresh()
    if again.position("app") is None:  # what every caller with a position does: look, and do what is not done
        again.append(row(1), txns={"app": (None, 1)})
    go.set()
    assert done.wait(10)
    assert [r["x"] for r in rows_in(table.refresh())] == [1] and table.refresh().position("app") == 1
