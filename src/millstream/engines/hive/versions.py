"""A version of a table as Hive reads it without knowing Delta: its Parquet files by name, and a view that moves from
one version to the next.

Hive reads folders, and a folder holds files of many versions. So each registered version has a table of its own, which
is never changed: every file is a partition of it, whose location is that file. The view of the lake's name selects from
one of them; moving it is one change in the metastore. Whoever has planned a query continues with the table that the
view named then, which stays for an hour.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pymetastore.hive_metastore import ttypes

from millstream.engines.hive.describe import NO_PARTITION, ROWS, columns, hive_name, storage, value
from millstream.engines.hive.metastore import table_or_none
from millstream.lake.port import Listing

FILE = "_file"
KEPT_S = 3600
AT_ONCE = 500
"""Partitions of one call."""
_VIEW = ("org.apache.hadoop.mapred.TextInputFormat", "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat", None)
_QUIET = {"DO_NOT_UPDATE_STATS": "true"}


def located(root: str) -> str:
    """A path of this machine as a URL; a URL as it is."""
    return root if "://" in root else f"file://{root}"


def point(hive: Any, database: str, listing: Listing, properties: dict[str, str]) -> None:
    """Make the table of this version, and have the view select from it."""
    view = hive_name(listing.snapshot.table)
    behind = (  # nobody else's: two who tell the same do not meet
        f"{view}__{listing.snapshot.version}_{int(time.time()):x}{secrets.token_hex(2)}"
    )
    _make(hive, database, behind, listing, properties)
    told = ", ".join(_selected(column, listing.partition_by) for column in columns(listing.snapshot.schema))
    text = f"SELECT {told} FROM `{database}`.`{behind}`"
    made = ttypes.Table(
        tableName=view,
        dbName=database,
        owner="millstream",
        sd=storage(columns(listing.snapshot.schema), None, _VIEW),
        partitionKeys=[],
        parameters=dict(properties),
        tableType="VIRTUAL_VIEW",
        viewOriginalText=text,
        viewExpandedText=text,
    )
    if table_or_none(hive, database, view) is None:
        hive.create_table(made)
    else:
        hive.alter_table_with_environment_context(database, view, made, ttypes.EnvironmentContext(dict(_QUIET)))


def _selected(column: Any, partition_by: tuple[str, ...]) -> str:
    """A column of the view. Partition columns are kept as text, since Hive takes the spelling of NULL for a text, and
    for a boolean that is true.
    """
    if column.name not in {key.lower() for key in partition_by}:
        return f"`{column.name}`"
    text = f"NULLIF(`{column.name}`, '{NO_PARTITION}')"
    if column.type == "boolean":
        text = f"CASE {text} WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END"
    elif column.type != "string":
        text = f"CAST({text} AS {column.type})"
    return f"{text} AS `{column.name}`"


def _make(hive: Any, database: str, name: str, listing: Listing, properties: dict[str, str]) -> None:
    snapshot, keys = listing.snapshot, listing.partition_by
    stored = columns(field for field in snapshot.schema if field.name not in keys)
    parted = [ttypes.FieldSchema(name=key.lower(), type="string") for key in (*keys, FILE)]
    nowhere = located(f"{listing.root}/_hive")  # no file is there
    hive.create_table(
        ttypes.Table(
            tableName=name,
            dbName=database,
            owner="millstream",
            sd=storage(stored, nowhere, ROWS),
            partitionKeys=parted,
            parameters={"EXTERNAL": "TRUE", **properties},
            tableType="EXTERNAL_TABLE",
        )
    )
    for some in _some(snapshot.files):
        parts = []
        for i in some:
            values = [value(snapshot.partitions[i][key]) for key in keys] if keys else []
            parts.append(
                ttypes.Partition(
                    values=[*values, f"{i:06d}"],
                    dbName=database,
                    tableName=name,
                    sd=storage(stored, nowhere, ROWS),
                    parameters={},
                )
            )
        hive.add_partitions(parts)  # a new partition must be a folder; where it is moved to is not asked
        for i, part in zip(some, parts, strict=True):
            part.sd.location = located(snapshot.files[i])
        hive.alter_partitions_with_environment_context(database, name, parts, ttypes.EnvironmentContext(dict(_QUIET)))


def _some(files: tuple[str, ...]) -> Iterator[range]:
    for first in range(0, len(files), AT_ONCE):
        yield range(first, min(first + AT_ONCE, len(files)))


def retire(hive: Any, database: str, view: str, age_s: float = KEPT_S) -> None:
    """Drop tables behind a view, but the one that it names, that are older than that; files stay."""
    moved = table_or_none(hive, database, view)
    behind = re.compile(rf"{re.escape(view)}__\d+_([0-9a-f]+)[0-9a-f]{{4}}")
    for name in hive.get_all_tables(database):
        found = behind.fullmatch(name)
        if found and time.time() - int(found[1], 16) >= age_s and not (moved and f"`{name}`" in moved.viewExpandedText):
            drop(hive, database, name)


def drop(hive: Any, database: str, name: str) -> None:
    """The name goes, its files stay; absent is fine."""
    with suppress(ttypes.NoSuchObjectException):
        hive.drop_table(database, name, False)
