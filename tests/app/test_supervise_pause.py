"""When the supervisor starts a part again."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from millstream.app import supervise
from millstream.app.supervise import Part


def test_a_part_that_dies_again_and_again_is_started_after_a_pause_that_doubles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, starts = [1000.0], list[float]()

    def start(self: Part) -> None:
        starts.append(clock[0])
        self.started, self.process = clock[0], died

    died: Any = SimpleNamespace(poll=lambda: 1, returncode=1, stdin=None)
    monkeypatch.setattr(supervise, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(Part, "start", start)
    part = Part("sinks", ["never run"])
    part.start()
    while len(starts) < 10:
        supervise._watch([part], lambda *said: None)
        clock[0] += 0.25
    pauses = [round(after - before, 1) for before, after in pairwise(starts)]
    assert [round(pause) for pause in pauses] == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    died.poll = lambda: None  # it lives for more than a minute, and dies
    supervise._watch([part], lambda *said: None)
    clock[0] += 61
    died.poll = lambda: 1
    while len(starts) < 11:
        supervise._watch([part], lambda *said: None)
        clock[0] += 0.25
    assert clock[0] - 61 - starts[-2] < 2, "it has lived, so it is started at once"
