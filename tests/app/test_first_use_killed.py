"""SIGKILL during a first use, at named points and at random moments: the same use again works, and so do two at the
same time.

KILLS is how many random rounds each has (a few by default, which take seconds; 50 is a good evening).
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from first_actors import Forge

from millstream.app.demo.story import clear
from millstream.templates import create

pytestmark = pytest.mark.fault
KILLS = int(os.environ.get("KILLS", "0"))


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    made = Forge(
        "millstream.engines.sqlite.log",
        "millstream.engines.sqlite.online",
        "millstream.lake.lake",
        "millstream.engines.local.files",
        "deltalake",
        "millstream.templates",
        "millstream.lang.cache",
        "millstream.engines.sqlite.state",
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def work() -> Iterator[Forge]:
    """One that has loaded what a run needs, MLflow included."""
    made = Forge(
        "mlflow",
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.store.model_registry.sqlalchemy_store",
        "alembic.command",
        "millstream.app.cli.work",
        "millstream.run.steps",
        "millstream.engines.duckdb.sql",
        "millstream.train.run",
    )
    yield made
    made.close()


@pytest.mark.parametrize("role", ["state", "log", "online", "lake", "init", "cache"])
def test_killed_at_random_and_used_again(role: str, forge: Forge, tmp_path: Path) -> None:
    (tmp_path / "measured").mkdir()
    assert forge.act(role, tmp_path / "measured") == [0]
    longest, dice = forge.seconds, random.Random(role)
    for n in range(KILLS or 4):
        folder = tmp_path / str(n)
        folder.mkdir()
        codes = [forge.act(role, folder, after=dice.uniform(0, longest))[0] for _ in range(3)]
        if role != "init" or not (folder / "p" / "millstream.toml").exists():  # a finished project is not made again
            assert forge.act(role, folder) == [0], f"{role} after {codes}, seeded {role}, round {n}"
        left = [path.name for path in folder.rglob("*.new*")]
        assert not left


@pytest.mark.parametrize("role", ["state", "log", "online", "lake", "cache"])
def test_several_at_once_are_one(role: str, forge: Forge, tmp_path: Path) -> None:
    assert forge.act(role, tmp_path, copies=4) == [0] * 4


@pytest.mark.parametrize("point", ["init.draft", "init.file"])
def test_a_template_copied_by_half_is_completed(point: str, forge: Forge, tmp_path: Path) -> None:
    assert forge.act("init", tmp_path, point=point) == [-9]
    assert not (tmp_path / "p" / "millstream.toml").exists()
    assert forge.act("init", tmp_path) == [0]
    create("quickstart", tmp_path / "whole")
    whole, again = (
        {str(f.relative_to(at)): f.read_bytes() for f in at.rglob("*") if f.is_file()}
        for at in (tmp_path / "whole", tmp_path / "p")
    )
    assert whole == again


def test_a_demo_killed_while_its_folder_is_made_or_cleared_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create("flights", tmp_path)
    (tmp_path / "millstream.toml").rename(tmp_path / ".millstream.toml.new")
    clear(tmp_path, force=False)
    assert (tmp_path / "streams.py").exists()
    create("flights", tmp_path)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", dies)
    with pytest.raises(KeyboardInterrupt):
        clear(tmp_path, force=True)
    monkeypatch.undo()
    clear(tmp_path, force=True)
    assert not list(tmp_path.iterdir())


def test_online_tables_without_their_format_are_completed(forge: Forge, tmp_path: Path) -> None:
    """What a kill between the tables and the number of their format used to leave."""
    assert forge.act("online", tmp_path) == [0]
    with sqlite3.connect(tmp_path / ".millstream" / "online.db") as con:
        con.execute("pragma user_version=0")
    assert forge.act("online", tmp_path) == [0]


def test_tracking_killed_before_it_is_in_place(work: Forge, tmp_path: Path) -> None:
    assert work.act("tracking", tmp_path, point="tracking.draft") == [-9]
    folder = tmp_path / ".millstream"
    assert not (folder / "mlflow.db").exists() and list(folder.glob(".mlflow.db.new-*"))
    assert work.act("tracking", tmp_path, copies=2) == [0, 0]
    assert not list(folder.glob(".mlflow.db.new-*"))
    with sqlite3.connect(folder / "mlflow.db") as con:
        assert con.execute("select count(*) from runs").fetchone() == (2,)


@pytest.mark.parametrize("role", ["tracking", "tracking_in_place"])
def test_tracking_killed_at_random_and_used_again(role: str, work: Forge, tmp_path: Path) -> None:
    """`tracking_in_place` leaves the half-migrated file of an older version."""
    dice = random.Random(role)
    for n in range(KILLS or 1):
        folder = tmp_path / str(n)
        folder.mkdir()
        assert work.act(role, folder, after=dice.uniform(0.2, 2.5)) in ([-9], [0])
        assert work.act("tracking", folder) == [0], f"{role}, seeded {role}, round {n}"
        assert not list((folder / ".millstream").glob(".mlflow.db.new-*"))


def test_a_first_run_killed_at_random_is_run_again(work: Forge, tmp_path: Path) -> None:
    dice = random.Random("run")
    for n in range(KILLS or 1):
        folder = tmp_path / str(n)
        create("quickstart", folder)
        for _ in range(2 if KILLS else 1):
            assert work.act("run", folder, after=dice.uniform(0.3, 6.0))[0] in (-9, 0)
        assert work.act("run", folder) == [0], f"seeded run, round {n}"
        assert (folder / ".millstream" / "mlflow.db").exists()
