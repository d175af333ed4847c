"""`doctor` waits once for an engine that does not answer: each of its looks would wait as long again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_project import ORDERS, millstream, written

from millstream.base.errors import Unreachable
from millstream.run.workspace import Workspace


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = written(
        tmp_path / "shop",
        ORDERS + 'ms.source(orders, ms.read.files("data/*.csv"))\n',
        {"data/orders.csv": "order_id,customer,amount,ts\no1,c1,1.0,2026-01-01T10:00:00Z\n"},
    )
    assert millstream(made, "run").code == 0
    return made


@pytest.mark.parametrize("port", ["state", "log", "online"])
def test_an_engine_that_is_away_is_waited_for_once(project: Path, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, make = list[str](), Workspace._engine

    def engine(ws: Workspace, of: str, url: str, *more: Any) -> Any:
        asked.append(of)
        if of == port:
            raise Unreachable("it could not be reached within 10 s")
        return make(ws, of, url, *more)

    monkeypatch.setattr(Workspace, "_engine", engine)
    said = millstream(project, "doctor", "--json")
    found = {one["what"]: one for one in said.json}
    assert said.code == 3 and asked.count(port) == 1
    assert found[port]["status"] == "bad" and found[port]["found"] == "it could not be reached within 10 s"
    assert all(found[name]["status"] == "ok" for name in {"log", "lake", "state", "online"} - {port}), (
        "the others are looked at all the same"
    )


def test_how_long_postgresql_was_waited_for_is_said() -> None:
    pytest.importorskip("psycopg")
    from millstream.engines.postgres.server import Server

    server = Server("postgresql://127.0.0.1:1/x", setting="state", wait_s=0.2)
    with pytest.raises(
        Unreachable,
        match=r"^PostgreSQL at 127\.0\.0\.1:1/x could not be reached within 0\.2 s: connection failed: [^\n]+$",
    ):
        server.run(lambda con: None)
