"""What the command line prints of a user's data is the data: no markup, all digits, and no escape sequence that a
terminal would obey.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_project import millstream

STREAMS = """
import millstream as ms


class Order(ms.Event):
    id: str
    amount: float = 0.0
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="id")
ms.source(orders, ms.read.files("data/[o]*"))
"""
IDS = ["[red]", "a[b]c", "[/x]", ":smile:", "[link=http://x]y"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbatim")
    (folder / "data").mkdir()
    (folder / "millstream.toml").write_text('[project]\nname = "kind"\n')
    (folder / "streams.py").write_text(STREAMS)
    rows = "".join(f"{name},0.30000000000000004,2026-01-01T00:00:0{n}.123456Z\n" for n, name in enumerate(IDS))
    (folder / "data/orders.csv").write_text(f"id,amount,ts\n{rows}\x1b[31m[/red],much,2026-01-01T00:00:00Z\n")
    said = millstream(folder, "ingest")
    assert said.code == 0 and "5 rows" in said.err
    return folder


def test_sql_prints_values_as_they_are(project: Path) -> None:
    said = millstream(
        project,
        "sql",
        "select *, timestamp '12026-01-01' as far, date '0004-01-01 (BC)' as old from orders order by ts",
    )
    assert said.code == 0, said.err
    for name in IDS:
        assert f"│{name} " in said.out
    assert "0.30000000000000004" in said.out and "2026-01-01 00:00:00.123456" in said.out
    assert "12026-01-01 00:00:00" in said.out and "-0003-01-01" in said.out


def test_sql_shows_what_would_steer_a_terminal(project: Path) -> None:
    said = millstream(project, "sql", "select error, raw from orders__dead")
    assert said.code == 0 and "\x1b" not in said.out
    assert "\\x1b[31m[/red]" in said.out
    said = millstream(project, "sql", "select chr(27) || '[2J' as \"[bold]\", 'a' || chr(10) || 'b' as lines")
    assert "\x1b" not in said.out and "\\x1b[2J" in said.out and "[bold]" in said.out and "a\\nb" in said.out


def test_json_and_csv_take_far_dates_and_lists(project: Path) -> None:
    query = "select timestamp '12026-01-01' as far, [1.5::double, 2] as many from orders limit 1"
    assert millstream(project, "sql", query, "--json").json == [{"far": "12026-01-01T00:00:00", "many": [1.5, 2.0]}]
    said = millstream(project, "sql", query, "--csv")
    assert said.code == 0 and '"[1.5,2.0]"' in said.out


def test_explore_and_errors_print_names_as_they_are(project: Path) -> None:
    said = millstream(project, "explore", "orders")
    assert said.code == 0 and "[red]" in said.out and "[/x]" in said.out
    said = millstream(project, "sql", 'select "[/red]\x1b[31m" from orders')
    assert said.code != 0 and "\x1b" not in said.err and "[/red]" in said.err and "Traceback" not in said.err


def test_a_pattern_with_brackets_is_named_as_it_was_written(project: Path, tmp_path: Path) -> None:
    (tmp_path / "millstream.toml").write_text('[project]\nname = "kind"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    said = millstream(tmp_path, "ingest")
    assert "no file matches data/[o]*" in said.err
