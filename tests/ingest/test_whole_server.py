"""The client, the collector and the endpoints together, over a real socket."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from whole_server import BOUGHT, RANK, Ask, Bought

from millstream.base.errors import UsageError
from millstream.client import Client, Receipt


def test_send_then_predict(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).parents[1] / "shared" / "whole_server.py"), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        url, now = child.stdout.readline().strip(), datetime.now(UTC)
        with pytest.raises(UsageError, match="wants a token"):
            Client(url).predict(RANK, Ask(visit_id="v1", device="phone", ts=now))
        with Client(url, token="secret") as client:
            receipt = client.send(BOUGHT, [Bought(visit_id=f"v{i}", price=1.5, ts=now) for i in range(10)])
            assert isinstance(receipt, Receipt) and receipt.accepted == 10
            decision = client.predict(RANK, Ask(visit_id="v1", device="phone", ts=now), after=receipt)
            assert (
                decision.value in ("cheap", "newest")
                and decision.experiment == "ranking"
                and decision.propensity == 0.5
            )
            many = client.predict_many(
                RANK, [Ask(visit_id="v1", device="phone", ts=now)] * 3, after=[receipt], explain=True
            )
            assert {d.arm for d in many} == {decision.arm} and len({d.decision_id for d in many}) == 3
    finally:
        child.terminate()
        assert child.wait(20) in (0, -signal.SIGTERM)
        child.stdout.close()
