"""Writes what the test opens: `python tests/stored/make.py` makes `project.tar.xz` and `answers.json` anew, by the code
of the day.

They are to be made anew only when a new kind of thing is stored, and then beside the old ones: the archive is worth
something because an older Millstream wrote it. What is in it, and which answer looks at it, is in README.md.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "app")]

import stored_project as project  # noqa: E402
from stored_questions import QUESTIONS, WRITES, ask  # noqa: E402
from stored_shop import ANSWERS, ARCHIVE, DAGS, NAME, Shop, pack, unpacked  # noqa: E402

from millstream.ingest.doors import RELEASED  # noqa: E402
from millstream.run import intake  # noqa: E402

CLOSED_PORT = "http://127.0.0.1:9/"


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, NAME)
        folder.mkdir()
        make(folder)
        pack(folder, ARCHIVE)
    print(f"{ARCHIVE.name}: {ARCHIVE.stat().st_size:,} bytes")
    answer()


def make(folder: Path) -> None:
    shop = Shop(folder)
    for stage in (first, second, served, tended, settled):
        stage(shop)
    shop.close()


def answer() -> None:
    """Every question, asked of the archive in another folder."""
    with tempfile.TemporaryDirectory() as place:
        read, written = (Shop(unpacked(Path(place, name))) for name in ("read", "written"))
        answers = {name: ask(name, written if name in WRITES else read) for name in QUESTIONS}
        read.close()
        written.close()
    lines = [
        f"{json.dumps(name)}: {json.dumps(one, sort_keys=True, ensure_ascii=False)}"
        for name, one in sorted(answers.items())
    ]
    told = f'"written_by": "{_commit()}", "python": "{platform.python_version()}"'
    ANSWERS.write_text(f'{{{told}, "answers": {{\n' + ",\n".join(lines) + "\n}}\n")
    print(f"{ANSWERS.name}: {len(answers)} answers, {ANSWERS.stat().st_size:,} bytes")


def first(shop: Shop) -> None:
    """Files by the first definitions: letters, duplicates, a late row, one far ahead, a stop before the end."""
    project.write(shop.folder)
    _ok(shop, "ingest", "--until", "2026-01-10")
    _ok(shop, "ingest")


def second(shop: Shop) -> None:
    """The event's second version, the changed window, and all that is made of it."""
    project.changed(shop.folder)
    _ok(shop, "ingest")
    _ok(shop, "doctor", "--fix", codes=(0, 3))
    import cloudpickle

    with mock.patch("millstream.stored.dumps", cloudpickle.dumps):  # as it was until 9d87512
        _ok(shop, "run", "+as_before")
    _ok(shop, "run")
    _ok(shop, "run", "buyer", "--param", "ridge=1000000", "--force")
    _ok(shop, "run", "buyer", "--param", "ridge=-1", "--force", codes=(1,))
    _ok(shop, "export", "airflow", str(shop.folder / DAGS))
    _ok(shop, "run-step", "--manifest", str(shop.manifest), "--step", shop.group, "--run-id", "nightly", "--try", "2")


def served(shop: Shop) -> None:
    """Two days over HTTP: events, some of them twice; decisions; experiments begun again and shipped; rewards."""
    from millstream.run.feedback import feedback

    said = {
        name: [row | {"ts": project.spelled(row["ts"])} for row in rows if row["ts"] >= project.LIVE]
        for name, rows in project.history().items()
    }
    noon = project.spelled(project.LIVE + timedelta(days=1))
    early = {name: [row for row in rows if row["ts"] < noon] for name, rows in said.items()}
    late = {name: [row for row in rows if row["ts"] >= noon] for name, rows in said.items()}
    _taken(shop, [("events", name, early[name]) for name in early] + [("events", "orders", early["orders"][:5])])
    _taken(
        shop,
        [("predict", name, said["visits"]) for name in ("offer", "banner", "tile")]
        + [("predict", name, late["visits"][:5]) for name in ("pair", "held")],
    )
    _taken(shop, [("events", "orders", late["orders"]), ("events", "visits", late["visits"])])
    _ok(shop, "run")
    feedback(shop.ws)
    _ok(shop, "experiment", "start", "banner_ab")
    _ok(shop, "experiment", "stop", "ab")
    _ok(shop, "experiment", "start", "ab")
    _taken(shop, [("predict", name, late["visits"][5:25]) for name in ("offer", "banner")])
    _ok(shop, "experiment", "ship", "banner_ab", "on")
    _ok(shop, "run")
    feedback(shop.ws)


def tended(shop: Shop) -> None:
    """What operators and upkeep do: a record set aside, records given up, many small commits joined, folded,
    checkpointed and swept; leases; a lost alert.
    """
    from millstream.lake.maintain import maintain
    from millstream.run.schedule import Schedule

    ((_, told),) = _taken(shop, [("events", "notes", [project.note(200)])])
    ((partition, end),) = told["offsets"].items()
    _ok(shop, "dead", "set", "notes", f"{partition}:{end - 1}")
    _taken(shop, [("events", "pings", [{"n": n, "ts": "2026-01-21T00:00:00Z"} for n in range(10)])])
    shop.close()
    with closing(sqlite3.connect(shop.folder / ".millstream" / "log.db")) as con, con:
        assert con.execute(
            "update batch set crc = crc + 1 where topic = (select id from topic where name = 'pings')"
        ).rowcount
    _ok(shop, "ingest", codes=(1,))
    _ok(shop, "ingest", "--accept-loss", "pings")
    ws = shop.ws
    with closing(intake.sink(ws, ws.project.streams["pings"])) as sink:
        for n in range(40):
            _taken(shop, [("events", "pings", [{"n": n, "ts": f"2026-01-21T01:00:{n:02}Z"}])])
            sink.drain()
    ws.log.maintain()
    for name in ws.lake.names():
        maintain(ws.lake, name, ws.state, "make")
    ws.state.lease("upkeep/left", "make", timedelta(minutes=1))
    shop.close()
    _ok(shop, "monitor", "orders_well", "orders_large", "offer_data", "offer_good", codes=(4,))
    # An alert that is not taken, and so waits
    with mock.patch.dict(os.environ, {"MILLSTREAM_ALERTS_WEBHOOK": CLOSED_PORT}):
        Schedule(shop.ws, assets=False).tick(datetime.now(UTC), threading.Event())
        shop.close()


def settled(shop: Shop) -> None:
    """Until nothing is stale; then what only a wrong clock would leave."""
    from millstream.run.feedback import feedback

    _ok(shop, "ingest", "--complete", "orders")
    _ok(shop, "run")
    feedback(shop.ws)
    _ok(shop, "run")
    feedback(shop.ws)
    shop.ws.state.put(RELEASED, "pings", {"append_us": 1_700_000_000_000_000})
    assert not [asset for asset in shop.ask("plan")["assets"] if asset["stale"]]


def _ok(shop: Shop, *words: str, codes: Sequence[int] = (0,)) -> None:
    said = shop.said(*words)
    assert said.code in codes, (words, said.code, said.out, said.err)
    print("$ millstream", *words)


def _taken(shop: Shop, sent: list[tuple[str, str, Sequence[Any]]]) -> list[tuple[int, Any]]:
    told = shop.post(sent)
    assert all(status == 200 for status, _ in told), [told for status, told in told if status != 200]
    return told


def _commit() -> str:
    """Of the code that wrote it."""
    return subprocess.run(
        ["git", "log", "-1", "--format=%H", "--", "../../src"], cwd=HERE, capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    main()
