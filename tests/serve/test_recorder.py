"""No decision is answered before it is durable; groups form by themselves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from serve_fakes import FakeLog, binding_of, endpoint_of_values

from millstream.base.errors import Busy, Full, Transient
from millstream.base.moments import moment_of
from millstream.serve.record import Recorder, decision_id


def row(n: int) -> dict[str, Any]:
    return {
        "decision_id": decision_id(),
        "flight_id": f"f{n}",
        "carrier": "UA",
        "distance": float(n),
        "value": "1",
        "as_of": "{}",
        "ts": moment_of(n),
    }


async def recorder(log: Any, **options: Any) -> Recorder:
    return Recorder(log, binding_of(endpoint_of_values()), **options)


def test_an_answer_comes_after_the_append() -> None:
    async def story() -> None:
        log = FakeLog(pause_s=0.05)
        made = await recorder(log)
        await made.put([row(1), row(2)])
        assert sorted(r["flight_id"] for r in log.rows()) == ["f1", "f2"] and made.written == 2
        await made.close()

    asyncio.run(story())


def test_rows_that_come_during_an_append_are_one_group() -> None:
    async def story() -> None:
        log, groups = FakeLog(pause_s=0.05), list[int]()
        made = await recorder(log, report=lambda rows, seconds: groups.append(rows))
        await asyncio.gather(*(made.put([row(n)]) for n in range(40)))
        assert groups == [1, 39] and len(log.rows()) == 40
        await made.close()

    asyncio.run(story())


def test_answers_before_the_append_when_asked_and_close_flushes() -> None:
    async def story() -> None:
        log = FakeLog(pause_s=0.05)
        made = await recorder(log, durable=False)
        for n in range(5):
            await made.put([row(n)])
        assert not log.rows()
        await made.close()
        assert len(log.rows()) == 5

    asyncio.run(story())


def test_a_log_that_refuses_fails_the_requests_and_not_the_server() -> None:
    async def story() -> None:
        errors: list[Exception | None] = [Full("disk")] * 1000
        log = FakeLog(refuse=lambda: errors.pop() if errors else None)
        made = await recorder(log, retry_s=0.1)
        with pytest.raises(Full):
            await made.put([row(1)])
        assert made.lost == 1
        errors.clear()
        await made.put([row(2)])
        assert [r["flight_id"] for r in log.rows()] == ["f2"]
        await made.close()

    asyncio.run(story())


def test_a_busy_log_is_tried_again() -> None:
    async def story() -> None:
        errors: list[Exception | None] = [Busy("lock"), Busy("lock")]
        log = FakeLog(refuse=lambda: errors.pop() if errors else None)
        made = await recorder(log)
        await made.put([row(1)])
        assert len(log.rows()) == 1 and not errors
        await made.close()

    asyncio.run(story())


def test_the_queue_is_bounded() -> None:
    async def story() -> None:
        made = await recorder(FakeLog(pause_s=0.2), limit=3, durable=False)
        for n in range(3):
            await made.put([row(n)])
        with pytest.raises(Transient, match="wait for the log"):
            await made.put([row(4)])
        await made.close()

    asyncio.run(story())


def test_room_is_given_back_by_every_append() -> None:
    """One that lands and one that fails."""

    async def story() -> None:
        errors: list[Exception | None] = []
        made = await recorder(FakeLog(refuse=lambda: errors.pop() if errors else None), limit=3, retry_s=0.0)
        for n in range(4):
            await made.put([row(n), row(n)])
            errors.append(Transient("no answer"))
            with pytest.raises(Transient, match="no answer"):
                await made.put([row(n), row(n)])
        assert (made.written, made.lost) == (8, 8)
        await made.close()

    asyncio.run(story())


def test_a_client_that_hangs_up_does_not_cancel_its_neighbours() -> None:
    async def story() -> None:
        log = FakeLog(pause_s=0.05)
        made = await recorder(log)
        first, second = asyncio.create_task(made.put([row(1)])), asyncio.create_task(made.put([row(2)]))
        await asyncio.sleep(0.01)
        first.cancel()
        await second
        assert len(log.rows()) == 2
        await made.close()

    asyncio.run(story())


def test_ids_sort_by_time() -> None:
    ids = [decision_id() for _ in range(1000)]
    assert (
        len(set(ids)) == 1000
        and [i[:14] for i in ids] == sorted(i[:14] for i in ids)
        and all(len(i) == 32 for i in ids)
    )
