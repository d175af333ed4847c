"""A decision that was moved to the dead letters: `trace` says so, and does not say that it never came."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

import millstream as ms
from millstream.base.errors import NotFound
from millstream.base.event import OFFSET, PARTITION
from millstream.engines.local.files import LocalFiles
from millstream.lake.dead import DEAD, MOVED
from millstream.lake.lake import Lake
from millstream.watch.trace import trace


class Visit(ms.Event):
    """A request."""

    user: str
    ts: ms.EventTime


def asked(lake: Lake, decision_id: str) -> str:
    bought = ms.outcome(ms.stream("visits", Visit, key="user"), on="user", within="1h")
    tries = ms.experiment("tries", arms={"a": {"x": 1}}, unit="user", assign=ms.assign.ab(), reward=bought)
    endpoint = ms.endpoint("shop", [tries], request=Visit, default={"x": 0})
    nothing = cast("Any", None)
    with pytest.raises(NotFound) as raised:
        trace(decision_id, cast("Any", SimpleNamespace(endpoints={"shop": endpoint})), lake, nothing, nothing)
    return str(raised.value)


def test_a_decision_that_is_a_dead_letter(tmp_path: Path) -> None:
    lake = Lake(LocalFiles(str(tmp_path)))
    assert "has landed in the lake" in asked(lake, "d1")
    why = f'{MOVED}: event time "ts" is 2099-01-01 00:00:00 UTC, more than 1d ahead'
    letters = [
        {"raw": b"no JSON, d1", "error": "unreadable", PARTITION: 0, OFFSET: 6},
        {"raw": b"7", "error": "x", PARTITION: 0, OFFSET: 7},
        {"raw": b'{"decision_id": "d10", "user": "d1"}', "error": "x", PARTITION: 0, OFFSET: 8},
        {"raw": b'{"decision_id": "d1"}', "error": why, PARTITION: 0, OFFSET: 9},
    ]
    lake.create("shop_decisions__dead", DEAD).append(
        pa.RecordBatch.from_pylist([{**dict.fromkeys(DEAD.names), **letter} for letter in letters], schema=DEAD)
    )
    assert asked(lake, "d1") == f'decision "d1" is a dead letter, record 0:9 of shop_decisions: {why}'
    assert "has landed in the lake" in asked(lake, "d2")
