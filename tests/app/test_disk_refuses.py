"""A read-only folder and a full disk: every verb works, or ends with exit code 3 and one sentence that names the path
and the fix.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_project import Said, command, millstream
from small_disk import SmallDisk

from millstream.app.cli.main import VERBS
from millstream.app.parts import persist
from millstream.base.errors import ConfigError, Full
from millstream.ingest.collector import Collector, Limits
from millstream.lake.lake import Lake
from millstream.run import trouble
from millstream.run.serving import live
from millstream.run.workspace import Workspace

STREAMS = """
import millstream as ms


class Order(ms.Event):
    order_id: str
    customer: str
    amount: float
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="customer", dedupe="order_id", lateness="10m")
ms.source(orders, ms.read.files("data/orders.csv"))
ms.source(orders, ms.read.http())
ms.monitor(orders, ms.expect.rows("amount > 0"))
"""
READS = {
    "check": ("check",),
    "config": ("config",),
    "completion": ("completion", "bash"),
    "plan": ("plan",),
    "sql": ("sql", "select count(*) from orders"),
    "explore": ("explore", "orders"),
    "show runs": ("show", "runs"),
    "show streams": ("show", "streams"),
    "show tables": ("show", "tables"),
    "show models": ("show", "models"),
    "show": ("show", "graph"),
    "verify": ("verify",),
    "experiment": ("experiment",),
    "monitor --history": ("monitor", "--history"),
    "cluster": ("cluster", "status"),
}
WRITES = {
    "init": ("init", "new"),
    "run": ("run",),
    "run --force": ("run", "--force"),
    "run --detach": ("run", "--detach"),
    "ingest": ("ingest",),
    "up": ("up", "--no-console"),
    "part": ("part", "serve"),
    "export": ("export", "airflow", "dags"),
    "explore --html": ("explore", "orders", "--html", "page.html"),
    "serve": ("serve",),
    "monitor": ("monitor",),
    "demo": ("demo", "@/demo"),
}
OTHERS = {
    "doctor": "reports what it finds, below",
    "console": "serves until it is stopped; its pages only read",
    "trace": "there is no decision here",
    "dead": "sets a record aside that waits for the lake; there is none here",
    "run-step": "needs a manifest; what it opens first is what `run` opens",
}


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was run."""
    folder = tmp_path_factory.mktemp("used") / "shop"
    (folder / "data").mkdir(parents=True)
    (folder / "tables").mkdir()
    (folder / "millstream.toml").write_text('[project]\nname = "shop"\n')
    (folder / "streams.py").write_text(STREAMS)
    (folder / "tables" / "totals.sql").write_text(
        "select customer, sum(amount) as total from orders group by customer\n"
    )
    rows = "".join(f"o{n},c{n % 3},{n + 1}.0,2026-01-01T09:{n:02d}:00Z\n" for n in range(30))
    (folder / "data" / "orders.csv").write_text("order_id,customer,amount,ts\n" + rows)
    said = millstream(folder, "run")
    assert said.code == 0, said
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "disk")
    yield made
    made.close()


@pytest.fixture
def project(used: Path, disk: SmallDisk) -> Path:
    return Path(shutil.copytree(used, disk.folder / "shop"))


def sentence(said: Said, path: Path) -> str:
    """The one that it ends with."""
    assert said.code == 3, said
    last = said.err.strip().splitlines()[-1]
    assert "Traceback" not in said.err + said.out and str(path) in said.err, said
    return last


def test_every_verb_is_looked_at() -> None:
    assert {name.split()[0] for name in (*READS, *WRITES, *OTHERS)} == set(VERBS)


def test_a_read_only_project(project: Path, disk: SmallDisk) -> None:
    disk.read_only()
    for name, words in READS.items():
        said = millstream(project, *words)
        assert said.code == 0, (name, said)
    for name, words in WRITES.items():
        said = millstream(project, *(word.replace("@", str(project)) for word in words))
        assert any(fix in sentence(said, disk.folder) for fix in ("remount it for writing", "its message is above")), (
            name,
            said,
        )


def test_a_read_only_project_that_was_never_run(project: Path, disk: SmallDisk) -> None:
    shutil.rmtree(project / ".millstream")
    disk.read_only()
    for words in (
        ("plan",),
        ("show", "runs"),
        ("show", "streams"),
        ("show", "models"),
        ("verify",),
        ("monitor", "--history"),
    ):
        assert millstream(project, *words).code == 0, words
    assert "remount" in sentence(millstream(project, "run"), project)


def test_a_full_disk(project: Path, disk: SmallDisk) -> None:
    disk.fill()
    for name, words in READS.items():
        said = millstream(project, *words)
        assert said.code == 0 or "free some space" in sentence(said, project), (name, said)
    for name, words in WRITES.items():
        said = millstream(project, *(word.replace("@", str(project)) for word in words))
        assert any(fix in sentence(said, disk.folder) for fix in ("free some space", "its message is above")), (
            name,
            said,
        )
    disk.empty()
    assert millstream(project, "run").code == 0


def test_doctor_reports_what_it_finds(project: Path, disk: SmallDisk) -> None:
    """Exit code 3 is for the disk, which is small."""
    disk.fill()
    said = millstream(project, "doctor", "--json")
    found = {one["what"]: one for one in said.json}
    assert (
        said.code == 3
        and found["disk"]["status"] == "bad"
        and found["lake"]["status"] == "ok"
        and "free some space" in found["log"]["found"]
    )
    disk.empty()
    disk.read_only()
    found = millstream(project, "doctor", "--json").json
    assert [one for one in found if one["what"] in ("log", "lake", "state", "online") and one["status"] != "ok"] == []


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENXIO]
)
def test_any_error_of_the_system_is_a_sentence(number: int, used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "the system says no", str(used / "some.file"))

    monkeypatch.setattr(Workspace, "open", refuse)
    said = millstream(used, "run")
    assert said.code == 3 and len(said.err.strip().splitlines()) == 1, said
    assert number == errno.EMFILE or "some.file" in said.err
    monkeypatch.setenv("MILLSTREAM_DEBUG", "1")
    with pytest.raises(OSError, match="the system says no"):
        millstream(used, "run")


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (MemoryError(), "out of memory"),
        (OSError("Generic LocalFileSystem error: Unable to open file /x (os error 30)"), "remount"),
        (RuntimeError("IO Error: No space left on device"), "free some space"),
        (OSError(errno.ENOSPC, "No space left on device"), "free some space"),
    ],
)
def test_errors_without_a_number_or_a_path(
    error: BaseException, found: str, used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(Workspace, "open", refuse)
    said = millstream(used, "run")
    assert said.code == 3 and found in said.err and len(said.err.strip().splitlines()) == 1, said


def test_a_fault_of_ours_keeps_its_traceback(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr(Workspace, "open", fail)
    with pytest.raises(KeyError):
        millstream(used, "run")


def test_a_step_that_meets_a_full_disk_says_so(used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Path(shutil.copytree(used, tmp_path / "shop"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(project / "a.file"))

    monkeypatch.setattr(Lake, "create", refuse)
    shutil.rmtree(project / ".millstream" / "lake" / "totals")
    said = millstream(project, "run", "--force", "totals")
    assert (
        said.code == 1
        and "a.file: no space left" in said.err
        and "free some space" in said.err
        and "OSError" not in said.err
    ), said


def test_results_onto_a_full_disk(used: Path, disk: SmallDisk) -> None:
    with (disk.folder / "out.txt").open("wb") as out:
        disk.fill()
        done = subprocess.run(
            command("--project", str(used), "show", "graph"), stdout=out, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (
        done.returncode == 3 and len(done.stderr.splitlines()) == 1 and "/dev/stdout: no space left" in done.stderr
    ), done


def test_parts_wait_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is waited out; a read-only one ends the part with a sentence."""
    stop, met = threading.Event(), []

    def work() -> None:
        met.append(1)
        if len(met) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stop, "wait", lambda seconds: False)
    persist("a part", work, stop)
    assert len(met) == 3

    def refuse() -> None:
        raise OSError(errno.EROFS, "Read-only file system", "/there")

    with pytest.raises(ConfigError, match="/there is on a read-only file system"):
        persist("a part", refuse, stop)


def test_the_collector_on_a_full_disk_refuses_and_comes_back(project: Path, disk: SmallDisk) -> None:
    with Workspace.open(str(project)) as ws:
        room = getattr(ws.log, "room")  # noqa: B009  # of this engine only
        room.floor_bytes = room.reserve_bytes = 0  # so that the disk itself refuses
        collector = Collector(ws.log, ws.schemas, ws.project.streams, limits=Limits(retry_s=0.1))
        collector.start()

        async def send(first: int, rows: int) -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(collector), base_url="http://here") as client:
                orders = [
                    {"order_id": f"h{n}", "customer": "c1", "amount": 1.0, "ts": "2026-01-01T10:00:00Z"}
                    for n in range(first, first + rows)
                ]
                return await client.post("/v1/events/orders", json=orders)

        assert asyncio.run(send(0, 1)).status_code == 200
        disk.fill()
        # A WAL that was grown before has some room in it
        answers = [asyncio.run(send(1 + 2000 * n, 2000)) for n in range(3)]
        assert answers[-1].status_code in (429, 503) and "retry-after" in answers[-1].headers
        assert "free some space" in answers[-1].json()["error"]["message"]
        disk.empty()
        assert asyncio.run(send(10_000, 1)).status_code == 200
        collector.close()


@pytest.mark.parametrize("how", ["full", "read_only"])
def test_a_log_that_was_refused_a_write_says_so_until_one_works(how: str, project: Path, disk: SmallDisk) -> None:
    """It finds out by itself: whoever is told that it is not ready sends nothing."""
    with Workspace.open(str(project)) as ws:
        log: Any = ws.log
        log.room.floor_bytes = log.room.reserve_bytes = 0
        made = live(ws, update=False)
        made.refresh()
        assert made.problems() == [] and not made.refuses()
        if how == "full":
            disk.fill()
        else:
            # A disk with open files cannot be remounted from here; the kernel does it after an error
            log._con.execute("pragma query_only=on")
        with pytest.raises((Full, ConfigError)):
            for n in range(500):
                log.create(f"topic{n}", partitions=64)
        for _ in range(2):
            made.refresh()
            assert (
                made.refuses() in made.problems() and ("free some space" if how == "full" else "writ") in made.refuses()
            )
        if how == "full":
            disk.empty()
        log._con.execute("pragma query_only=off")
        made.refresh()
        assert made.problems() == [] and not made.refuses() and not list(log.path.parent.glob("*.probe"))


def test_a_log_below_its_floor_says_so_before_anybody_writes(project: Path, disk: SmallDisk) -> None:
    with Workspace.open(str(project)) as ws:
        log: Any = ws.log
        log.room.floor_bytes = log.room.reserve_bytes = 0
        assert log.refuses() is None
        log.room.floor_bytes = 1 << 40
        assert "appends stop below" in str(log.refuses())


def test_a_part_that_waits_for_room_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, met = threading.Event(), []

    def work() -> None:
        met.append(1)
        if len(met) < 5:
            raise OSError(errno.ENOSPC, "No space left on device", f"/there/{len(met)}.log")

    monkeypatch.setattr(stop, "wait", lambda seconds: False)
    persist("a part", work, stop)
    assert len(caplog.records) == 1 and "no space left" in caplog.text


def test_what_a_full_disk_keeps_from_being_kept_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    broken = [True]
    state: Any = EmptyState()

    def put(*_: object) -> None:
        if broken:
            raise Full("no space")

    state.put = put
    for n in range(3):
        trouble.keep(state, trouble.SINK, "said_once", f"it fails {n}", 1.0)
    assert len(caplog.records) == 1
    broken.clear()
    trouble.keep(state, trouble.SINK, "said_once", "it fails", 1.0)
    broken.append(True)
    trouble.keep(state, trouble.SINK, "said_once", "it fails", 1.0)
    assert len(caplog.records) == 2


class EmptyState:
    def get(self, *_: object) -> None: ...

    def put(self, *_: object) -> None: ...
