"""What is exported for Oozie is valid by Oozie's own schemas, out of its client's jar."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_project import millstream
from export_project import project
from lxml import etree

from millstream.cluster.fetch import Jars

CLIENT = Jars("oozie-client", ("!org.apache.oozie:oozie-client:5.2.1",), unpack=("oozie-client-5.2.1.jar", ""))
SCHEMAS = {
    "workflow.xml": ("oozie-workflow-1.0.xsd", "shell-action-1.0.xsd"),
    "coordinator.xml": ("oozie-coordinator-0.5.xsd",),
}


def schema(*names: str) -> etree.XMLSchema:
    """One schema of several namespaces, as Oozie puts them together."""
    imports = []
    for name in names:
        (space,) = re.findall(r'targetNamespace="([^"]+)"', (CLIENT.folder / name).read_text())
        imports.append(f'<xs:import namespace="{space}" schemaLocation="{(CLIENT.folder / name).as_uri()}"/>')
    return etree.XMLSchema(
        etree.fromstring(f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{"".join(imports)}</xs:schema>')
    )


@pytest.fixture
def applications(tmp_path: Path) -> Path:
    CLIENT.fetch(lambda text: None)
    rides = project(tmp_path / "rides")
    assert millstream(rides, "export", "oozie", str(tmp_path / "apps"), "--pool", "train=gpu").code == 0
    return tmp_path / "apps"


def test_what_is_exported_is_valid(applications: Path) -> None:
    files = [file for name in SCHEMAS for file in sorted(applications.glob(f"*/{name}"))]
    assert len(files) == 5
    for file in files:
        schema(*SCHEMAS[file.name]).assertValid(etree.parse(file))


@pytest.mark.parametrize(
    ("old", "new"), [("<exec>", "<run>"), ('to="failed"', ""), ("<argument>-m</argument>", "<argument/><exec>b</exec>")]
)
def test_the_schemas_bite(applications: Path, old: str, new: str) -> None:
    text = (applications / "rides" / "workflow.xml").read_text()
    changed = text.replace(old, new).replace("</exec>", new.replace("<", "</") if old == "<exec>" else "</exec>")
    assert changed != text
    assert not schema(*SCHEMAS["workflow.xml"]).validate(etree.fromstring(changed.encode()))
