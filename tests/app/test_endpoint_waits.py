"""An endpoint or version that cannot be loaded is seen from other processes, and is gone from there when it works
again.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from cli_project import ORDERS, millstream, written

from millstream.base.waits import Wait
from millstream.run import trouble
from millstream.run.serving import _kept, live
from millstream.run.workspace import Workspace


def test_what_an_endpoint_waits_for_is_shown_until_it_works(tmp_path: Path) -> None:
    root = written(tmp_path, ORDERS, {})
    with Workspace.open(str(root)) as ws:
        trouble.keep(ws.state, trouble.ENDPOINT, "left@1", "by a server that was killed", 1.0)
        keep = _kept(ws.state)
        keep({"buyer@3": Wait("model buyer@3 cannot be loaded: no token=s3cr3tvalue9", 8.0, 0.0, True)})
        found = millstream(root, "show", "waiting", "--json").json
        assert [(one["part"], one["name"]) for one in found] == [("endpoint", "buyer@3")] and "s3cr3tvalue9" not in str(
            found
        )
        assert any(
            one["what"] == "endpoint buyer@3" and one["status"] == "bad"
            for one in millstream(root, "doctor", "--json").json
        )
        keep({})
        assert millstream(root, "show", "waiting", "--json").json == []


def test_a_process_that_answers_nothing_tells_nothing_of_endpoints(tmp_path: Path) -> None:
    """The feature updaters read versions without loading them."""
    with Workspace.open(str(written(tmp_path, ORDERS, {}))) as ws:
        trouble.keep(ws.state, trouble.ENDPOINT, "buyer@3", "it cannot be loaded", 1.0)
        made = live(ws, predictor=lambda model, version: SimpleNamespace(definitions=[], derive={}))
        made.refresh()
        made.close()
        assert trouble.names(ws.state, trouble.ENDPOINT) == {"buyer@3"}
