"""The manifest: which assets go together, the same bytes for the same project, and what was changed since is told."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from export_project import project
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.base.errors import Corrupt, NotFound, UsageError
from millstream.run.export import code, make, read, write
from millstream.run.export.fuse import PHASES, fuse
from millstream.run.workspace import Workspace


@pytest.fixture
def rides(tmp_path: Path) -> Path:
    return project(tmp_path / "rides")


def made(folder: Path, **more: Any) -> Any:
    with Workspace.open(str(folder)) as ws:
        return make(ws, **more)


def test_groups_and_timetables(rides: Path) -> None:
    found = made(rides)
    assert {g.name: (g.assets, g.waits) for g in found.groups} == {
        "land": (("sources", "rides", "tips"), ()),
        "fill-riders": (("riders",), ("land",)),
        "make-days": (("days",), ("land",)),  # by another timetable than `weeks`, so not with it
        "make-long": (("long",), ("land",)),
        "make-tip_set": (("tip_set",), ("land",)),
        "make-weeks": (("weeks",), ("make-days",)),
        "train-tips_model": (("tips_model",), ("make-tip_set",)),
    }
    assert [(t.name, t.line, t.groups) for t in found.timetables] == [
        (
            "rides",
            "",
            ("land", "fill-riders", "make-days", "make-long", "make-tip_set", "make-weeks", "train-tips_model"),
        ),
        ("rides__0_4_x_x_1", "0 4 * * 1", ("land", "make-days", "make-weeks")),
        ("rides__daily", "@daily", ("land", "make-days")),
    ]
    assert found.group("make-days").makes == ("days",)
    assert found.asset("days") == "millstream://rides/days"


def test_same_project_same_bytes_wherever_it_lies_and_by_whatever_profile(rides: Path, tmp_path: Path) -> None:
    first = made(rides)
    shutil.copytree(rides, tmp_path / "elsewhere", ignore=shutil.ignore_patterns(".millstream", "__pycache__"))
    toml = tmp_path / "elsewhere" / "millstream.toml"
    toml.write_text(toml.read_text(encoding="utf-8") + '\n[profile.big]\nlake = "elsewhere/lake"\n', encoding="utf-8")
    (tmp_path / "elsewhere" / "tests").mkdir()
    (tmp_path / "elsewhere" / "tests" / "test_it.py").write_text("def test(): ...\n", encoding="utf-8")
    second = made(tmp_path / "elsewhere")
    assert first.to_bytes() == second.to_bytes()
    assert first.file_name == second.file_name


def test_another_project_another_name(rides: Path) -> None:
    first = made(rides)
    assert made(rides, pools={"make": "heavy"}).file_name != first.file_name
    (rides / "taxi.py").write_text(
        (rides / "taxi.py").read_text(encoding="utf-8").replace("km > 5", "km > 6"), encoding="utf-8"
    )
    assert made(rides).file_name != first.file_name
    assert code.changed(rides, first.code) == ["taxi.py"]
    (rides / "more.py").touch()
    (rides / "taxi.py").unlink()
    assert code.changed(rides, first.code) == ["taxi.py (gone)", "more.py (new)"]


def test_read_gives_what_was_written(rides: Path, tmp_path: Path) -> None:
    found = made(rides, pools={"train": "gpu"}, retries=5)
    file = write(found, tmp_path / "out")
    assert read(file) == found
    stamp = file.stat().st_mtime_ns
    write(found, tmp_path / "out")
    assert file.stat().st_mtime_ns == stamp
    assert [f.name for f in (tmp_path / "out").iterdir()] == [found.file_name]


def test_what_was_changed_by_hand_is_refused(rides: Path, tmp_path: Path) -> None:
    file = write(made(rides), tmp_path)
    told = json.loads(file.read_bytes())
    told["manifest"]["groups"][0]["retries"] = 9
    file.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(Corrupt, match="was changed after it was exported"):
        read(file)
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(Corrupt, match="is not a manifest"):
        read(file)
    with pytest.raises(NotFound, match="export it again"):
        read(tmp_path / "none.json")


def test_names_that_are_not_there(rides: Path) -> None:
    with pytest.raises(UsageError, match="no phase"):
        made(rides, pools={"cook": "x"})
    with pytest.raises(NotFound, match="there are land, fill-riders"):
        made(rides).group("cook")


@st.composite
def graphs(draw: st.DrawFn) -> list[Any]:
    """Steps in order of dependency, of random kinds and edges."""
    kinds = draw(
        st.lists(
            st.sampled_from(["stream", "table", "table", "training_set", "features", "model"]), min_size=1, max_size=12
        )
    )
    steps: list[Any] = [SimpleNamespace(name="s0", kind="stream", upstream=())]
    for i, kind in enumerate(kinds, 1):
        before = [s.name for s in steps if s.kind not in ("features", "model") or kind == "table"]
        ups = (
            ()
            if kind == "stream"
            else tuple(draw(st.lists(st.sampled_from(before), unique=True, max_size=3)))
            if before
            else ()
        )
        steps.append(SimpleNamespace(name=f"s{i}", kind=kind, upstream=ups))
    return steps


@settings(max_examples=300, deadline=None)
@given(graphs(), st.data())
def test_fused_graphs_have_no_circle_and_lose_no_edge(steps: list[Any], data: st.DataObject) -> None:
    lines = {
        s.name: frozenset(data.draw(st.sets(st.sampled_from("ab")))) if PHASES[s.kind] != "land" else frozenset("ab")
        for s in steps
    }
    parts = fuse(steps, lines)
    assert sorted(a for p in parts for a in p.assets) == sorted(s.name for s in steps)
    of = {asset: i for i, part in enumerate(parts) for asset in part.assets}
    for i, part in enumerate(parts):
        assert all(before < i for before in part.waits)
        assert len({(PHASES[s.kind], lines[s.name]) for s in steps if s.name in part.assets}) == 1
        order = [next(j for j, s in enumerate(steps) if s.name == a) for a in part.assets]
        assert all(a < b for a, b in pairwise(order))
    for step in steps:
        for up in step.upstream:
            assert of[up] == of[step.name] or of[up] in parts[of[step.name]].waits
