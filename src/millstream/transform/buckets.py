"""Categories too many to list, counted by buckets of their hash: the same bucket for the same text in every engine and
process.

Two columns whose categories were replaced fall into other buckets, whatever either lists. A bucket's share is a sum of
categories' shares, so a distance of buckets is never above that of the categories, but for chance. MD5 is used since
SQL engines have it, not for secrecy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TypeAlias

from millstream.base.sql import quoted
from millstream.transform.port import Relation, Sql
from millstream.transform.profile import Profile

BUCKETS = 4096
"""A power of two, so that the remainder by a smaller one folds them."""
Buckets: TypeAlias = Mapping[int, int]


def bucket(text: str) -> int:
    """Where a category is counted.

    >>> bucket("abc")
    1750
    """
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "little") % BUCKETS


def bucketed(sql: Sql, relation: Relation, profiled: Profile) -> dict[str, Buckets]:
    """Column -> bucket -> rows, of the categories that a profile of the same rows does not list whole."""
    names = [
        column.name for column in profiled.columns if column.kind == "category" and column.known and not column.complete
    ]
    found: dict[str, Buckets] = {}
    for name in names:
        column = quoted(name)
        text = (
            f"select md5_number_lower({column}::varchar) % {BUCKETS} as bucket, count(*) as n from t where {column} is"
            " not null group by 1 order by 1"
        )
        found[name] = {
            int(row["bucket"]): int(row["n"]) for row in sql.query(text, {"t": relation}).read_all().to_pylist()
        }
    return found


def of_listed(counts: Mapping[str, int]) -> Buckets:
    """The same of a column whose categories are all listed."""
    made: dict[int, int] = {}
    for text, count in counts.items():
        made[bucket(text)] = made.get(bucket(text), 0) + count
    return made
