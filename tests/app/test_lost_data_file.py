"""A data file of the lake that is gone is one sentence in every verb: the table, the file, and that `doctor` knows the way on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_project import Said, millstream, written

STREAMS = """
import millstream as ms
from millstream import agg


class Order(ms.Event):
    order_id: str
    customer: str
    amount: float
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="customer", partitions=1)
ms.source(orders, ms.read.files("data/*"))


class Return(ms.Event):
    customer: str
    ts: ms.EventTime


returns = ms.stream("returns", Return, key="customer", partitions=1)
ms.source(returns, ms.read.files("data/*"))
of = ms.features("of", orders, key="customer", windows=["1d"], aggregates={"n": agg.count()})
later = ms.outcome(returns, on="customer", value=agg.count(), within="1h", otherwise=0)
paid = ms.training_set("paid", at=orders, label=later, features=[of])
ms.monitor(orders, ms.expect.not_null("amount"))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = "".join(f"o{n},c{n % 5},1.0,2026-01-{1 + n % 20:02d}T00:00:00Z\n" for n in range(60))
    days = "select date_trunc('day', ts) as day, sum(amount) as amount from orders group by 1"
    folder = written(tmp_path_factory.mktemp("whole"), STREAMS, {"tables/days.sql": days, "data/1.csv": "order_id,customer,amount,ts\n" + lines})
    said = millstream(folder, "run")
    assert said.code == 0, said.err
    return folder


@pytest.fixture
def project(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def lose(project: Path, table: str) -> str:
    """Every data file of the table; the one that is named."""
    files = sorted((project / ".millstream" / "lake" / table).glob("*.parquet"))
    for file in files:
        file.unlink()
    return f"{table}/{files[0].name}"


def names(said: Said, table: str, file: str) -> bool:
    text = " ".join((said.err + said.out).split())
    return (
        said.code in (1, 3)
        and f'table "{table}"' in text
        and f"its data file {file} is lost" in text
        and "millstream doctor" in text
        and "Traceback" not in text
    )


@pytest.mark.parametrize(
    "verb",
    [
        ("sql", "select sum(amount) from orders"),
        ("sql", "select count(*) from orders"),
        ("explore", "orders"),
        ("run", "days", "--force"),
        ("run", "paid", "--force"),
        ("monitor",),
    ],
)
def test_every_verb_says_it_in_one_sentence(project: Path, verb: tuple[str, ...]) -> None:
    file = lose(project, "orders")
    if verb[:2] == ("run", "paid"):
        shutil.rmtree(project / ".millstream" / "lake" / "paid")
    said = millstream(project, *verb)
    if verb == ("monitor",):
        assert "is lost" in said.out + said.err and "Traceback" not in said.err
    else:
        assert names(said, "orders", file), said


@pytest.mark.parametrize("table", ["days", "paid"])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_doctor_knows_the_way_on_of_what_is_built(project: Path, table: str, checkpoint: bool) -> None:
    query = f"select * from {table} order by all"
    before = millstream(project, "sql", query, "--json").json
    if checkpoint:
        stand(project, table)
    file = lose(project, table)
    assert names(millstream(project, "sql", query), table, file)
    (found,) = [row for row in millstream(project, "doctor", "--json").json if row["what"] == f"table {table}"]
    assert found["status"] == "bad"
    if checkpoint:
        assert f"its data file {file} (version" in found["found"] and found["fix"].endswith(f"millstream run {table}")
        shutil.rmtree(found["fix"].partition("delete the folder ")[2].partition(",")[0])
    else:
        assert f"data file {file.partition('/')[2]} of commit 1 is missing" in found["found"]
        assert millstream(project, "doctor", "--fix").code == 0
    said = millstream(project, "plan", table)
    assert "deleted or cut back" in said.out, said
    assert millstream(project, "run", table).code == 0
    assert millstream(project, "sql", query, "--json").json == before
    assert millstream(project, "doctor").code == 0


def stand(project: Path, table: str) -> None:
    """A checkpoint above what will be lost: nothing can be cut."""
    from millstream.run.workspace import Workspace

    ws = Workspace.open(str(project))
    ws.lake.table(table).delta.create_checkpoint()
    ws.close()


def test_a_stream_of_which_a_checkpoint_stands_above_the_loss_is_no_less_bad(project: Path) -> None:
    stand(project, "orders")
    file = lose(project, "orders")
    (found,) = [row for row in millstream(project, "doctor", "--json").json if row["what"] == "table orders"]
    assert found["status"] == "bad" and file in found["found"] and "copy of the lake" in found["fix"]
