"""MLflow passes the tracking suite, quietly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.declare.errors import ConfigError
from millstream.declare.registry import engine
from millstream.engines.mlflow.tracking import MlflowTracking
from millstream.train.contract import TrackingContract
from millstream.train.port import Tracking


class TestMlflowOnSqlite(TrackingContract):
    @pytest.fixture(scope="class")
    def shared(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowTracking]:
        folder = tmp_path_factory.mktemp("tracking")
        made = MlflowTracking(f"mlflow:{folder}/tracking.db", folder / "artifacts")
        yield made
        made.close()

    @pytest.fixture
    def tracking(self, shared: MlflowTracking) -> Tracking:  # type: ignore[override]
        return shared

    def again(self, tracking: Tracking) -> Tracking:
        assert isinstance(tracking, MlflowTracking)
        return MlflowTracking(tracking.url, tracking.folder)


def test_found_by_url() -> None:
    assert engine("tracking", "mlflow:.millstream/tracking.db") is MlflowTracking
    assert engine("tracking", "http://mlflow:5000") is MlflowTracking


def test_a_url_that_names_no_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no place"):
        MlflowTracking("mlflow:", tmp_path)


def test_first_use_is_quiet_and_sends_nothing(tmp_path: Path) -> None:
    """No line on stdout or stderr, no file in the working folder, no thread left (telemetry would be one)."""
    code = (
        "import sys, threading, pathlib; from millstream.engines.mlflow.tracking import MlflowTracking as M\n"
        "assert 'mlflow' not in sys.modules\n"
        "t = M('mlflow:state/t.db', pathlib.Path('art')); r = t.start('m', {}, {}); t.finish(r); t.close()\n"
        "from mlflow.telemetry.client import get_telemetry_client\n"
        "assert get_telemetry_client() is None\n"
        "assert threading.active_count() == 1\n"
    )
    # No PYTEST_CURRENT_TEST or CI here: either would switch telemetry off by itself.
    done = subprocess.run([sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code], cwd=tmp_path, env={"HOME": str(tmp_path)}, capture_output=True, text=True)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == ["state"]
