"""The manifest as applications for Oozie: a folder a timetable, with a workflow that starts `millstream run-step`, and
a coordinator when there is a cron line.

The folder goes to HDFS as it is; Oozie brings the manifest to the machine that runs a step. Oozie wants every fork
joined, so steps go in layers: a step waits for all of the layer before it, not only for those that it needs.
"""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

from millstream.base.words import SCHEDULES
from millstream.run.export.manifest import Group, Manifest, Timetable, put, write
from millstream.run.export.modules import Deployment

WORKFLOW, SHELL, COORDINATOR = "uri:oozie:workflow:1.0", "uri:oozie:shell-action:1.0", "uri:oozie:coordinator:0.5"
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
"""Days as Oozie wants them: its numbers begin with 1 for Sunday, cron's with 0."""


def export(manifest: Manifest, folder: Path, deployment: Deployment) -> list[Path]:
    """Write an application for each timetable; the files, the first manifest's first. Applications of this project
    without a timetable are removed.
    """
    written: list[Path] = []
    for timetable in manifest.timetables:
        home = folder / timetable.name
        written.append(write(manifest, home))
        texts = {
            "workflow.xml": workflow(manifest, timetable, deployment),
            "job.properties": properties(manifest, timetable),
        }
        if timetable.line:
            texts["coordinator.xml"] = coordinator(manifest, timetable)
        for name, text in texts.items():
            put(home / name, text.encode())
            written.append(home / name)
    for file in sorted(folder.glob("*/job.properties")):
        if file not in written and file.read_text(encoding="utf-8", errors="replace").startswith(_mark(manifest)):
            shutil.rmtree(file.parent)
    return written


def workflow(manifest: Manifest, timetable: Timetable, deployment: Deployment) -> str:
    """`workflow.xml`: layers of steps, each forked and joined when it has more than one."""
    root = ET.Element("workflow-app", {"xmlns": WORKFLOW, "name": timetable.name})
    layers = _layers([manifest.group(name) for name in timetable.groups])
    entries = [layer[0].name if len(layer) == 1 else f"fork-{i}" for i, layer in enumerate(layers)] + ["end"]
    ET.SubElement(root, "start", {"to": entries[0]})
    for i, layer in enumerate(layers):
        after = entries[i + 1]
        if len(layer) > 1:
            fork = ET.SubElement(root, "fork", {"name": f"fork-{i}"})
            for group in layer:
                ET.SubElement(fork, "path", {"start": group.name})
        for group in layer:
            _action(root, manifest, timetable, group, deployment, after if len(layer) == 1 else f"join-{i}")
        if len(layer) > 1:
            ET.SubElement(root, "join", {"name": f"join-{i}", "to": after})
    ET.SubElement(
        ET.SubElement(root, "kill", {"name": "failed"}), "message"
    ).text = "${wf:lastErrorNode()}: ${wf:errorMessage(wf:lastErrorNode())}"
    ET.SubElement(root, "end", {"name": "end"})
    return _text(root)


def _layers(groups: list[Group]) -> list[list[Group]]:
    level: dict[str, int] = {}
    for group in groups:
        level[group.name] = 1 + max((level[before] for before in group.waits), default=-1)
    return [[group for group in groups if level[group.name] == n] for n in range(max(level.values(), default=-1) + 1)]


def _action(
    root: ET.Element, manifest: Manifest, timetable: Timetable, group: Group, deployment: Deployment, after: str
) -> None:
    minutes = max(1, -(-group.retry_delay_s // 60))
    action = ET.SubElement(
        root, "action", {"name": group.name, "retry-max": str(group.retries), "retry-interval": str(minutes)}
    )
    shell = ET.SubElement(action, "shell", {"xmlns": SHELL})
    ET.SubElement(shell, "resource-manager").text = "${resourceManager}"
    ET.SubElement(shell, "name-node").text = "${nameNode}"
    if group.pool:
        ET.SubElement(ET.SubElement(shell, "launcher"), "queue").text = group.pool
    ET.SubElement(shell, "exec").text = deployment.python
    # Oozie tries again without a new number; of two attempts with one number, the last one has the claim. The launcher
    # holds the pipe of --watched.
    words = [
        "-m",
        "millstream",
        "--project",
        deployment.root,
        "--profile",
        deployment.profile,
        "run-step",
        "--watched",
        "--manifest",
        manifest.file_name,
        "--step",
        group.name,
        "--run-id",
        f"{timetable.name}/${{wf:id()}}",
        "--try",
        "${wf:run() + 1}",
    ]
    for word in words:
        ET.SubElement(shell, "argument").text = word
    ET.SubElement(shell, "file").text = f"{manifest.file_name}#{manifest.file_name}"
    ET.SubElement(action, "ok", {"to": after})
    ET.SubElement(action, "error", {"to": "failed"})


def coordinator(manifest: Manifest, timetable: Timetable) -> str:
    """`coordinator.xml`: one run at a time, the newest one when several are due."""
    told = {"frequency": frequency(timetable.line), "start": "${start}", "end": "${end}", "timezone": "UTC"}
    root = ET.Element("coordinator-app", {"xmlns": COORDINATOR, "name": timetable.name, **told})
    controls = ET.SubElement(root, "controls")
    ET.SubElement(controls, "concurrency").text = "1"
    ET.SubElement(controls, "execution").text = "LAST_ONLY"
    runs = ET.SubElement(ET.SubElement(root, "action"), "workflow")
    ET.SubElement(runs, "app-path").text = "${application}"
    configuration = ET.SubElement(runs, "configuration")
    for name in ("nameNode", "resourceManager"):
        line = ET.SubElement(configuration, "property")
        ET.SubElement(line, "name").text = name
        ET.SubElement(line, "value").text = f"${{{name}}}"
    return _text(root)


def frequency(line: str) -> str:
    """A cron line as Oozie reads it.

    >>> frequency("@weekly"), frequency("*/5 4 * * 1-5"), frequency("0 0 1 * 0,7")
    ('0 0 * * SUN', '*/5 4 * * MON-FRI', '0 0 1 * SUN,SUN')
    """
    *others, days = SCHEDULES.get(line, line).split()
    return " ".join([*others, re.sub(r"(?<![/#\d])[0-7](?!\d)", lambda day: _DAYS[int(day[0])], days)])


def properties(manifest: Manifest, timetable: Timetable) -> str:
    """`job.properties`, for `oozie job -config`."""
    lines = [
        (
            f"{_mark(manifest)}, {timetable.line or 'by hand'}. Not to be edited: export it again. What is the"
            " cluster's own to say:"
        ),
        (
            "# oozie job -run -config job.properties -D nameNode=hdfs://... -D resourceManager=HOST:PORT -D"
            " application=hdfs://.../THIS-FOLDER"
        ),
        f"oozie.{'coord' if timetable.line else 'wf'}.application.path=${{application}}",
    ]
    if timetable.line:
        lines += ["start=2026-01-01T00:00Z", "end=2126-01-01T00:00Z"]
    return "\n".join(lines) + "\n"


def _mark(manifest: Manifest) -> str:
    return f"# Written by `millstream export oozie`: project {manifest.project!r}"


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{ET.tostring(root, encoding='unicode')}\n"
