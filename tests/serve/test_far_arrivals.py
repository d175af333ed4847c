"""An arrival of the far future is refused by `/v1/predict` as it is by every other door."""

from __future__ import annotations

from typing import Any

import pytest

import millstream as ms
from millstream.serve.decide import Arm, Decider
from millstream.serve.request import BadRequest, RequestForm


class Reading(ms.Event):
    machine: str
    received: ms.ArrivalTime | None = None
    ts: ms.EventTime


class Asked(Reading):
    """The same, with a field of its own."""

    note: str | None = None


@pytest.mark.parametrize("of", [Reading, Asked])
@pytest.mark.parametrize(
    ("sent", "field"),
    [({"received": "2062-11-30T11:10:00Z"}, "received"), ({"ts": "2099-01-01T00:00:00Z"}, "ts"), ({"received": "2020-01-01T00:00:00Z"}, ""), ({}, "")],
)
def test_both_times_are_held_against_the_clock(of: Any, sent: dict[str, str], field: str) -> None:
    form = RequestForm(of.__schema__)
    decider = Decider("risk", form, {}, None, {}, Arm(value=1.0))
    body = ",".join(f'"{name}": "{value}"' for name, value in {"machine": "m1", **sent}.items())
    requests, _ = form.decode(f"{{{body}}}".encode())
    if not field:
        assert len(decider.decide(requests)) == 1
        return
    with pytest.raises(BadRequest, match=r"more than 1d ahead of the server's clock") as caught:
        decider.decide(requests)
    assert caught.value.field == field and field in caught.value.fix
