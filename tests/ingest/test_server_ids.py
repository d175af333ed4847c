"""Ids that a door gives to events that come without one."""

from __future__ import annotations

import time

import pyarrow as pa

from millstream.base.event import EVENT_ID
from millstream.ingest.append import _with_ids


def given(*ids: str | None) -> list[str]:
    rows = pa.record_batch({"n": pa.array(range(len(ids))), EVENT_ID: pa.array(ids, pa.string())})
    return list(_with_ids(rows).column(EVENT_ID).to_pylist())


def test_each_event_has_an_id_of_its_own_in_every_request() -> None:
    made = [id_ for _ in range(500) for id_ in given(None, "", None)]
    assert len(set(made)) == 1500 and all(len(id_) == 32 for id_ in made)


def test_an_id_that_came_along_stays() -> None:
    made = given("mine", None, "")
    assert made[0] == "mine" and len({*made}) == 3
    assert given("a", "b") == ["a", "b"]


def test_ids_sort_by_time_and_within_a_request() -> None:
    first = given(*[None] * 20)
    time.sleep(0.002)
    second = given(*[None] * 20)
    assert [*first, *second] == sorted([*first, *second])
