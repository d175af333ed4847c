"""`check --parity` with an engine that is DuckDB too, honest or not."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from cli_project import millstream

from millstream.base import registry
from millstream.base.errors import EngineMissing, MillstreamError, Unreachable, WorkFailed
from millstream.engines.duckdb.sql import DuckDbSql
from millstream.run.parity import parity
from millstream.run.workspace import Workspace
from millstream.templates import create


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("parity") / "start"
    create("quickstart", made)
    assert millstream(made, "run", "visits", "orders", "+visits", "+orders").code == 0
    return made


class Wrong(DuckDbSql):
    """DuckDB, to which the text is passed with something replaced."""

    before, after = "", ""

    def query(
        self, sql: str, tables: Mapping[str, Any], params: Mapping[str, Any] | None = None
    ) -> pa.RecordBatchReader:
        return super().query(sql.replace(self.before, self.after) if self.before else sql, tables, params)

    def script(
        self, statements: Iterable[str], result: str, tables: Mapping[str, Any], params: Mapping[str, Any] | None = None
    ) -> pa.RecordBatchReader:
        if self.before == "SCRIPT":
            raise WorkFailed("a script has no equal here")
        return super().script(statements, result, tables, params)


def found(folder: Path, engine: DuckDbSql, rows: int = 20_000) -> dict[str, Any]:
    with Workspace.open(str(folder)) as ws:
        try:
            return {one.name: one for one in parity(ws, engine, rows)}
        finally:
            engine.close()


def test_one_engine_is_like_itself(folder: Path, tmp_path: Path) -> None:
    lake = sorted(str(path) for path in (folder / ".millstream" / "lake").iterdir())
    judged = found(folder, DuckDbSql("duckdb:?threads=1", tmp_path))
    assert {name: (one.kind, one.same) for name, one in judged.items()} == {
        "habit": ("features", True),
        "spend": ("features", True),
        "customer_days": ("table", True),
        "visit_set": ("training_set", True),
    }
    assert all(one.difference and one.difference.rows[0] > 0 for one in judged.values())
    # Nothing is left of the sample
    assert sorted(str(path) for path in (folder / ".millstream" / "lake").iterdir()) == lake


def test_the_sample_is_of_the_size_asked_for(folder: Path, tmp_path: Path) -> None:
    judged = found(folder, DuckDbSql("duckdb:?threads=1", tmp_path), rows=40)
    assert 0 < judged["habit"].difference.rows[0] <= 40


def test_another_meaning_is_found_and_shown(folder: Path, tmp_path: Path) -> None:
    engine = Wrong("duckdb:?threads=1", tmp_path)
    engine.before, engine.after = "count(*)", "count(*) + 1"
    judged = found(folder, engine)["customer_days"]
    assert not judged.same
    assert judged.difference.differ == judged.difference.rows[0]
    assert "rows differ" in judged.description and "\n" in judged.description


def test_a_refusal_is_told_and_the_rest_goes_on(folder: Path, tmp_path: Path) -> None:
    engine = Wrong("duckdb:?threads=1", tmp_path)
    engine.before = "SCRIPT"
    judged = found(folder, engine)
    assert {name: one.failed for name, one in judged.items()} == {
        "habit": True,
        "spend": True,
        "customer_days": False,
        "visit_set": True,
    }
    assert judged["habit"].description == "a script has no equal here"


class Away(DuckDbSql):
    """An engine whose driver is not there, from the start or from some query on."""

    error: MillstreamError = EngineMissing('compute on Spark needs pyspark: pip install "millstream[spark]"')
    answers = 0

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__("duckdb:?threads=1", folder)

    def _run(self, *given: Any, **named: Any) -> pa.RecordBatchReader:
        if self.answers <= 0:
            raise self.error
        self.answers -= 1
        return super()._run(*given, **named)


@pytest.mark.parametrize("answers", [0, 2])
@pytest.mark.parametrize("error", [Away.error, Unreachable("the cluster is gone")])
def test_an_engine_that_cannot_be_had_is_one_message_and_no_difference(
    folder: Path, answers: int, error: MillstreamError
) -> None:
    real = registry.engine
    with (
        mock.patch("millstream.base.registry.engine", lambda port, url: Away if url == "away" else real(port, url)),
        mock.patch.object(Away, "answers", answers),
        mock.patch.object(Away, "error", error),
    ):
        said = millstream(folder, "check", "--parity", "--against", "away", "--rows", "200")
    assert said.code == 3 and said.out == "" and "differs" not in said.err
    assert said.err.count(str(error)) == 1 and said.err.splitlines()[-1] == f"{type(error).__name__}: {error}"


def test_without_pyspark_the_command_names_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyspark"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    said = millstream(folder, "check", "--parity", "--rows", "200")
    assert (
        said.code == 3
        and said.out == ""
        and said.err.strip() == 'EngineMissing: the engine "spark" needs pyspark: pip install "millstream[spark]"'
    )


def test_the_command_says_it_and_exits_by_it(folder: Path, tmp_path: Path) -> None:
    said = millstream(folder, "check", "--parity", "--against", "duckdb:?threads=1", "--rows", "200", "--json")
    assert said.code == 0 and said.json["same"] is True
    assert {one["name"]: one["differ"] for one in said.json["assets"]} == {
        "habit": 0,
        "spend": 0,
        "customer_days": 0,
        "visit_set": 0,
    }
    real = registry.engine

    def engine(port: str, url: str) -> Any:
        return Wrong if url == "duckdb:?wrong" else real(port, url)

    with (
        mock.patch("millstream.base.registry.engine", engine),
        mock.patch.object(Wrong, "before", "count(*)"),
        mock.patch.object(Wrong, "after", "count(*) + 1"),
        mock.patch.object(
            Wrong, "__init__", lambda self, url, folder: DuckDbSql.__init__(self, "duckdb:?threads=1", folder)
        ),
    ):
        wrong = millstream(folder, "check", "--parity", "--against", "duckdb:?wrong", "--rows", "200")
    assert wrong.code == 1
    assert "differs" in wrong.out and "rows differ" in wrong.out
