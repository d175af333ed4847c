"""`HiveCatalog`: the lake's tables in two databases of a metastore, one for those who read Delta and one for those who
do not.

`DATABASE` has each table by its location, for Spark and its Thrift Server: they read the newest version, whatever the
metastore was sent last. Hive would take such a table for an empty one, so its classes are such that Hive refuses, and
says where to look: `DATABASE_hive` has a view of the same name, right at the version that was published last.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pymetastore.hive_metastore import ttypes

from millstream.base.errors import Conflict, Incompatible, Unreachable
from millstream.engines.hive import versions
from millstream.engines.hive.describe import columns, hive_name, storage
from millstream.engines.hive.metastore import Address, client, table_or_none
from millstream.lake.port import Listing

_ROOT, _TABLE, _UUID, _VERSION = "millstream.lake", "millstream.table", "millstream.uuid", "millstream.version"


class HiveCatalog:
    """See the module.

    Args:
        url: `hive://HOST:PORT/DATABASE`, DATABASE is `lake` when none is said. The databases are made when the first
            table is.
    """

    def __init__(self, url: str) -> None:
        self._address = Address.read(url)
        self._database, self._plain = self._address.database, f"{self._address.database}_hive"

    @property
    def name(self) -> str:
        return str(self._address)

    def known(self, root: str) -> Mapping[str, int]:
        with client(self._address) as hive:
            names = hive.get_all_tables(self._database) if self._database in hive.get_all_databases() else []
            found = (
                hive.get_table_objects_by_name_req(
                    ttypes.GetTablesRequest(dbName=self._database, tblNames=names)
                ).tables
                if names
                else []
            )
        told = [table.parameters for table in found if table.parameters.get(_ROOT) == root]
        return {table[_TABLE]: int(table[_VERSION]) for table in told}

    def tell(self, listing: Listing) -> None:
        name, snapshot = hive_name(listing.snapshot.table), listing.snapshot
        properties = {_ROOT: listing.root, _TABLE: snapshot.table, _UUID: listing.uuid, _VERSION: str(snapshot.version)}
        try:
            delta = self._delta(name, listing, properties)
        except Incompatible as error:
            raise Incompatible(f'table "{snapshot.table}": {error}') from None
        with client(self._address) as hive:
            self._databases(hive)
        # Dropping a table of thousands of files takes long; what is not done in time, the next telling finds done, or
        # does.
        with suppress(Unreachable), client(self._address) as hive:
            versions.retire(hive, self._plain, name)
        with client(self._address) as hive:
            for database in (self._database, self._plain):
                self._ours(hive, database, name, listing)
            if listing.plain:
                versions.point(hive, self._plain, listing, properties)
            else:  # rows that its files alone do not say: no table is better than a wrong one
                versions.drop(hive, self._plain, name)
            if table_or_none(hive, self._database, name) is None:
                hive.create_table(delta)
            else:  # last, since its version is what `known` says
                hive.alter_table_with_environment_context(
                    self._database, name, delta, ttypes.EnvironmentContext({"DO_NOT_UPDATE_STATS": "true"})
                )

    def forget(self, root: str, table: str) -> None:
        name = hive_name(table)
        with client(self._address) as hive:
            found = {database: table_or_none(hive, database, name) for database in (self._plain, self._database)}
            ours = [
                database
                for database, one in found.items()
                if one and (one.parameters.get(_ROOT), one.parameters.get(_TABLE)) == (root, table)
            ]
            if self._plain in ours:
                versions.drop(hive, self._plain, name)
            if ours:
                versions.retire(hive, self._plain, name, age_s=0)
            if self._database in ours:  # last, so that what was cut off is continued with
                versions.drop(hive, self._database, name)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _databases(self, hive: Any) -> None:
        for name in (self._database, self._plain):
            with suppress(ttypes.AlreadyExistsException, ttypes.NoSuchObjectException):
                if name not in hive.get_all_databases():
                    hive.create_database(
                        ttypes.Database(
                            name=name,
                            description="Tables of a Millstream lake; published by Millstream, not to be altered",
                        )
                    )

    def _ours(self, hive: Any, database: str, name: str, listing: Listing) -> None:
        found = table_or_none(hive, database, name)
        if found is None:
            return
        told = found.parameters or {}
        if (told.get(_ROOT), told.get(_TABLE)) != (listing.root, listing.snapshot.table):
            whose = (
                f'table "{told[_TABLE]}" of the lake {told[_ROOT]}'
                if _ROOT in told
                else "a table that Millstream did not make"
            )
            raise Conflict(
                f'table "{listing.snapshot.table}": {database}.{name} in {self._address} is {whose}; choose another'
                " database: hive://HOST:PORT/DATABASE"
            )

    def _delta(self, name: str, listing: Listing, properties: Mapping[str, str]) -> Any:
        """The table as Spark reads it. Spark finds its place by `path` and its columns in Delta's log; the classes are
        what Hive stumbles over.
        """
        place = versions.located(f"{listing.root}/{listing.snapshot.table}")
        refusal = f"millstream.delta.table.to.be.read.in.database.{self._plain}"
        told = storage(
            columns(listing.snapshot.schema),
            place,
            (refusal, refusal, refusal),
            {"path": place, "serialization.format": "1"},
        )
        return ttypes.Table(
            tableName=name,
            dbName=self._database,
            owner="millstream",
            sd=told,
            partitionKeys=[],
            tableType="EXTERNAL_TABLE",
            parameters={"EXTERNAL": "TRUE", "spark.sql.sources.provider": "delta", **properties},
        )
