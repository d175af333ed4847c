"""A bandit of this version learns from means pooled over time: whoever declares, starts or reads one is told what that
does.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_project import millstream

LIVE = """
import millstream as ms
from millstream import assign


class Visit(ms.Event):
    user: str
    ts: ms.EventTime


class Buy(ms.Event):
    user: str
    ts: ms.EventTime


buys = ms.stream("buys", Buy, key="user", dedupe=None)
bought = ms.outcome(buys, on="user", within="1h", otherwise=False)
test = ms.experiment("test", arms={"a": 1, "b": 2}, unit="user", assign=assign.ab(), reward=bought, layer="l",
                     traffic=(0.0, 0.5))
bandit = ms.experiment("bandit", arms={"a": 1, "b": 2}, unit="user", assign=assign.thompson(), reward=bought, layer="l",
                       traffic=(0.5, 1.0))
offer = ms.endpoint("offer", [test, bandit], request=Visit, default=0)
"""
WARNED = (
    "It learns from means pooled over time: when the rewards of all arms rise and fall from day to day, it moves to the"
    " arm that had more traffic on good days"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "millstream.toml").write_text('[project]\nname = "warned"\n')
    (tmp_path / "live.py").write_text(LIVE)
    return tmp_path


def test_check_start_and_show_warn_of_a_bandit_and_of_nothing_else(project: Path) -> None:
    told = " ".join(millstream(project, "check").err.split())
    assert f"warning bandit: {WARNED}" in told and told.count("warning") == 1
    warnings = millstream(project, "check", "--json").json["warnings"]
    assert len(warnings) == 1 and warnings[0].startswith(f"bandit: {WARNED}")
    for name, warned in (("test", False), ("bandit", True)):
        begun = millstream(project, "experiment", "start", name)
        assert begun.code == 0 and (WARNED in " ".join(begun.err.split())) == warned
        assert (WARNED in " ".join(millstream(project, "experiment", "show", name).out.split())) == warned
