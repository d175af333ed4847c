"""No verb prints a secret: engines that are away or refuse, with a password, a token or a webhook in their address,
under every verb that may name it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_project import millstream, written

SECRET = "Zx9SecretValue77"
STREAMS = """
import millstream as ms


class Order(ms.Event):
    order_id: str
    amount: float
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="order_id")
ms.source(orders, ms.read.files("data/*.csv"))
spent = ms.features("spent", orders, key="order_id", windows=["1h"], aggregates={"n": ms.agg.count()})
ms.monitor(orders, ms.expect.rows("amount > 9"))
"""
SETTINGS = {
    "state, a password": ("state", f"postgresql://mill:{SECRET}@127.0.0.1:1/state"),
    "state, a password in a query": ("state", f"postgresql://127.0.0.1:1/state?user=mill&password={SECRET}"),
    "online, a password": ("online", f"redis://:{SECRET}@127.0.0.1:1/0"),
    "tracking, a password": ("tracking", f"http://mill:{SECRET}@127.0.0.1:1"),
    "registry, a password": ("registry", f"http://mill:{SECRET}@127.0.0.1:1"),
    "catalog, a password": ("catalog", f"hive://mill:{SECRET}@127.0.0.1:1/default"),
    "orchestrator, a password": ("orchestrator", f"airflow://mill:{SECRET}@127.0.0.1:1?dags=dags"),
    "an engine that there is none of": ("log", f"nosuch://mill:{SECRET}@127.0.0.1:1"),
    "a broker that is none": ("log", f"kafka://mill:{SECRET}@"),
    "a webhook that is away": ("alerts.webhook", f"http://127.0.0.1:1/services/{SECRET}"),
    "a webhook that is not an address": ("alerts.webhook", f"http://[::1/{SECRET}"),
    "a webhook with a password": ("alerts.webhook", f"http://mill:{SECRET}@127.0.0.1:x/y z"),
}
VERBS = [
    ("check",),
    ("config", "--show-origin"),
    ("config", "--json"),
    ("doctor",),
    ("plan",),
    ("ingest",),
    ("run", "--json"),
    ("sql", "select * from orders"),
    ("show", "streams"),
    ("show", "sources"),
    ("show", "waiting"),
    ("show", "models"),
    ("show", "runs"),
    ("verify",),
    ("monitor",),
    ("monitor", "--history"),
    ("experiment",),
    ("run", "--detach"),
    ("trace", "0123"),
    ("export", "airflow", "out"),
    ("explore", "orders"),
]
SLOW = [("doctor",), ("run", "--json")]
"""A database that is away is waited for."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    written(tmp_path, STREAMS, {"data/1.csv": "order_id,amount,ts\na,1.5,2026-01-01T10:00:00Z\n"})
    assert millstream(tmp_path, "ingest").code == 0
    return tmp_path


@pytest.mark.parametrize("case", SETTINGS)
def test_no_verb_shows_it(
    project: Path, case: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key, value = SETTINGS[case]
    monkeypatch.setenv(f"MILLSTREAM_{key.replace('.', '_').upper()}", value)
    for verb in SLOW if key == "state" else VERBS:
        said = millstream(project, *verb)
        assert SECRET not in said.out + said.err + caplog.text, (verb, said)
    for file in [*project.glob("out/**/*"), *(project / ".millstream").glob("*.db*")]:
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    "words",
    [
        ("--set", f"log=kafka://mill:{SECRET}@b:1", "config"),
        ("--set", f"https://hooks.slack.com/services/{SECRET}", "plan"),
        ("--set", f"alerts.webhook=https://hooks.slack.com/services/{SECRET}", "plan"),
        (f"https://mill:{SECRET}@host/x",),
    ],
)
def test_what_was_typed_is_not_shown_back(project: Path, words: tuple[str, ...]) -> None:
    said = millstream(project, *words)
    assert SECRET not in said.out + said.err, said


def test_a_user_function_that_raises_with_a_secret_leaves_none_in_the_history(project: Path) -> None:
    (project / "more.py").write_text(f"""
import millstream as ms
from streams import orders


@ms.table(orders)
def made(orders):
    raise ValueError("cannot reach postgresql://mill:{SECRET}@db/x, token={SECRET}")
""")
    said = millstream(project, "run", "--json")
    assert said.code == 1 and SECRET not in said.out + said.err, said
    for what in (("show", "runs"), ("show", "waiting"), ("doctor",)):
        assert SECRET not in json.dumps(millstream(project, *what, "--json").json)
