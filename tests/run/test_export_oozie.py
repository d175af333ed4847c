"""The export for Oozie: every step once, after all it waits for; the same bytes; what is gone is removed. Its schemas:
tests/cluster/test_export_oozie_schemas.py.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from cli_project import millstream
from export_project import project

from millstream.run.export import oozie, read

W, S = f"{{{oozie.WORKFLOW}}}", f"{{{oozie.SHELL}}}"


@pytest.fixture
def rides(tmp_path: Path) -> Path:
    return project(tmp_path / "rides")


def export(rides: Path, *words: str) -> Path:
    done = millstream(
        rides,
        "export",
        "oozie",
        str(rides.parent / "apps"),
        "--root",
        "/srv/rides",
        "--python",
        "/srv/venv/bin/python",
        *words,
    )
    assert done.code == 0, done.err
    return rides.parent / "apps"


def walk(root: ET.Element) -> list[set[str]]:
    """Names of actions that run side by side, in order, as Oozie would go through the workflow."""
    nodes = {node.get("name"): node for node in root}
    at, layers = root.find(f"{W}start").get("to"), []  # type: ignore[union-attr]
    while at != "end":
        node = nodes[at]
        names = [path.get("start") for path in node.findall(f"{W}path")] if node.tag == f"{W}fork" else [at]
        after = {nodes[name].find(f"{W}ok").get("to") for name in names}  # type: ignore[union-attr]
        assert len(after) == 1
        (at,) = after
        if nodes[at].tag == f"{W}join":
            at = nodes[at].get("to")
        layers.append(set(names))
    return layers  # type: ignore[return-value]


def test_every_step_runs_once_after_all_it_waits_for(rides: Path) -> None:
    folder = export(rides)
    manifest = read(next((folder / "rides").glob("*.json")))
    for timetable in manifest.timetables:
        root = ET.parse(folder / timetable.name / "workflow.xml").getroot()
        layers = walk(root)
        assert sorted(name for layer in layers for name in layer) == sorted(timetable.groups)
        done: set[str] = set()
        for layer in layers:
            assert all(done.issuperset(manifest.group(name).waits) for name in layer)
            done |= layer
        assert (folder / timetable.name / "coordinator.xml").exists() == bool(timetable.line)


def test_an_action_says_all_that_a_step_needs(rides: Path) -> None:
    folder = export(rides, "--pool", "train=gpu", "--retries", "4")
    root = ET.parse(folder / "rides" / "workflow.xml").getroot()
    action = next(a for a in root.iter(f"{W}action") if a.get("name") == "train-tips_model")
    shell = action.find(f"{S}shell")
    assert shell is not None and (action.get("retry-max"), action.get("retry-interval")) == ("4", "1")
    (manifest,) = (folder / "rides").glob("*.json")
    assert (
        shell.findtext(f"{S}exec") == "/srv/venv/bin/python"
        and shell.findtext(f"{S}file") == f"{manifest.name}#{manifest.name}"
    )
    assert shell.findtext(f"{S}launcher/{S}queue") == "gpu"
    said = " ".join(a.text or "" for a in shell.findall(f"{S}argument"))
    assert (
        said
        == f"-m millstream --project /srv/rides --profile laptop run-step --watched --manifest {manifest.name} --step"
        " train-tips_model --run-id rides/${wf:id()} --try ${wf:run() + 1}"
    )


def test_the_same_bytes_again_and_what_is_gone_is_removed(rides: Path) -> None:
    folder = export(rides)
    first = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*.*")}
    export(rides)
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*.*")} == first
    (folder / "others").mkdir()
    (folder / "others" / "job.properties").write_text("# somebody else's\n")
    code = rides / "taxi.py"
    code.write_text(code.read_text().replace(', schedule="@daily"', ""))
    export(rides)
    assert {f.name for f in folder.iterdir()} == {"rides", "rides__0_4_x_x_1", "others"}
    coordinator = ET.parse(folder / "rides__0_4_x_x_1" / "coordinator.xml").getroot()
    assert coordinator.get("frequency") == "0 4 * * MON"
