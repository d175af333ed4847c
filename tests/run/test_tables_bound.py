"""What `check` knows of a table from its SQL alone: columns that no table holds, and a time or key that is none of
them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_project import ORDERS, millstream, written

STREAMS = ORDERS + 't = ms.table("t", TABLE)\n'


@pytest.mark.parametrize(
    "table, says",
    [
        ('"select 1 as a, 2 as A from orders"', 'two columns named "a"'),
        ('"select o.*, p.* from orders o join orders p using (customer)"', 'two columns named "order_id"'),
        ('"select null as nothing from orders"', 'column "nothing" is NULL in every row'),
        ('"select interval 1 day as i from orders"', 'column "i" is an interval'),
        ('"select [interval 1 day] as i from orders"', "interval"),
        ("\"select time '10:00' as i from orders\"", 'column "i" is a time of day'),
        ('"select customer, amount::varchar as a from orders", time="a", lag="1h"', "a is string"),
        ('"select * from orders", time="nope"', 'its time "nope" is not a column of it'),
        ('"select * from orders", key="custmer"', 'did you mean "customer"'),
    ],
)
def test_check_says_what_the_run_would(tmp_path: Path, table: str, says: str) -> None:
    done = millstream(written(tmp_path, STREAMS.replace("TABLE", table), {}), "check")
    assert done.code == 2 and says in done.out + done.err and "streams.py:15" in done.out + done.err


@pytest.mark.parametrize(
    "table",
    [
        '"select *, ts::date as day from orders", time="day", key="customer"',
        '"select customer as Customer, ts as TS from orders", time="ts"',
    ],
)
def test_check_lets_sound_tables_through(tmp_path: Path, table: str) -> None:
    done = millstream(written(tmp_path, STREAMS.replace("TABLE", table), {}), "check")
    assert done.code == 0, done.out + done.err
