"""The suite of the tracking port holds for an engine that shares nothing with MLflow."""

from __future__ import annotations

import pytest
from memory_tracking import MemoryTracking

from millstream.train.contract import TrackingContract
from millstream.train.port import Tracking


class TestMemory(TrackingContract):
    @pytest.fixture
    def tracking(self, tmp_path_factory: pytest.TempPathFactory) -> Tracking:
        return MemoryTracking(tmp_path_factory.mktemp("kept"))

    def again(self, tracking: Tracking) -> Tracking:
        assert isinstance(tracking, MemoryTracking)
        return MemoryTracking(tracking.folder, tracking)
