"""DuckDB, as the sql port. `DuckDbSql("duckdb", folder)`; options in the URL:
`duckdb:?memory_limit=4GB&threads=2&timeout=30s&copies=20GB`.

Every query runs on an instance of its own that sees the files of its tables and nothing else: no other file, no
network, no extension, no setting. Several threads may query at once; the result of one query belongs to one thread at a
time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from millstream.base.errors import WorkFailed
from millstream.declare.table import ArrowFunction
from millstream.engines.duckdb.copies import Copies
from millstream.engines.duckdb.instance import Bench, Instance, Options
from millstream.engines.duckdb.relations import attach, paths
from millstream.engines.duckdb.values import bind
from millstream.lake.port import Snapshot
from millstream.transform.mapping import mapped
from millstream.transform.parse import body
from millstream.transform.pointed import placed
from millstream.transform.port import Relation

_BATCH = 131_072
# Statements a script may hold: they touch its scratch database only. COPY, ATTACH, SET, LOAD, PRAGMA, CALL ... are none
# of them.
_SCRIPT = {"SELECT", "CREATE", "INSERT", "UPDATE", "DELETE", "DROP", "ALTER", "MERGE_INTO", "ANALYZE"}


class DuckDbSql:
    """The sql port on DuckDB."""

    def __init__(self, url: str, folder: Path) -> None:
        options = Options.read(url)
        self._bench = Bench(options, Path(folder).absolute())
        self._copies = Copies(self._bench.folder / "copies", options.copies_bytes)

    def query(
        self, sql: str, tables: Mapping[str, Relation], params: Mapping[str, Any] | None = None
    ) -> pa.RecordBatchReader:
        return self._run((), sql, tables, params or {}, on_disk=False)

    def map(
        self,
        sql: str,
        function: ArrowFunction,
        tables: Mapping[str, Relation],
        params: Mapping[str, Any] | None = None,
        *,
        what: str,
    ) -> pa.RecordBatchReader:
        return mapped(function, self.query(sql, tables, params), what)

    def script(
        self,
        statements: Iterable[str],
        result: str,
        tables: Mapping[str, Relation],
        params: Mapping[str, Any] | None = None,
    ) -> pa.RecordBatchReader:
        return self._run(tuple(statements), result, tables, params or {}, on_disk=True)

    def describe(self, sql: str, tables: Mapping[str, pa.Schema], params: Mapping[str, Any] | None = None) -> pa.Schema:
        instance = self._bench.take()
        try:
            with instance.errors():
                statement = _one(instance, body(sql))  # a closing semicolon would stand before the limit
                for table, schema in _used(tables, sql).items():
                    attach(instance.connection, table, schema.empty_table())
                instance.lock(())
                values = bind(statement.named_parameters, params or {})
                found = _bound(instance, statement, body(sql), values)
                schema = found.limit(0).to_arrow_table().schema
                # `limit` renames one of two of a name
                return pa.schema([field.with_name(name) for field, name in zip(schema, found.columns, strict=True)])
        finally:
            instance.close()

    def close(self) -> None:
        """Stop every query; those who wait for one get WorkFailed."""
        self._bench.close()

    def _run(
        self,
        statements: tuple[str, ...],
        result: str,
        tables: Mapping[str, Relation],
        params: Mapping[str, Any],
        *,
        on_disk: bool,
    ) -> pa.RecordBatchReader:
        instance = self._bench.take(on_disk=on_disk)
        try:
            used = _used(tables, result, *statements)
            relations = self._copies.local(used, instance.scratch / "copies")
            instance.reads = tuple(r for r in used.values() if isinstance(r, Snapshot) and r.store is None)
            with instance.errors():
                last = _one(instance, result)
                for table, relation in relations.items():
                    attach(instance.connection, table, relation)
                instance.lock(paths(relations))
                for text in statements:
                    instance.going()
                    _execute(instance, text, params)
                values = bind(last.named_parameters, params)
                instance.going()
                reader = instance.connection.sql(last, params=values or None).to_arrow_reader(_BATCH)
                return pa.RecordBatchReader.from_batches(reader.schema, _Batches(instance, reader))
        except BaseException:
            instance.close()
            raise


class _Batches:
    """The batches of a running query. Exhausting or dropping it ends the query and clears its scratch away."""

    def __init__(self, instance: Instance, reader: pa.RecordBatchReader) -> None:
        self._instance: Instance | None = instance
        self._reader = reader

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        if self._instance is None:
            raise StopIteration
        try:
            with self._instance.errors():
                return self._reader.read_next_batch()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        instance, self._instance = self._instance, None
        if instance is not None:
            instance.stop("its reader was closed")
            self._reader.close()
            instance.close()

    def __del__(self) -> None:
        """The collector runs this in any thread, at any place, also while this thread or one that it waits for holds a
        lock: so no lock of ours is taken, and no thread started.
        """
        instance, self._instance = self._instance, None
        if instance is not None:
            instance.stop("its reader was dropped")
            self._reader.close()
            instance.drop()


def _one(instance: Instance, sql: str) -> Any:
    """The one SELECT in the text. EXPLAIN ANALYZE and COPY would write what they hold, so nothing else will do."""
    found = instance.connection.extract_statements(sql)
    kinds = [statement.type.name for statement in found]
    if kinds != ["SELECT"]:
        raise WorkFailed(f"a query is one SELECT; found {', '.join(kinds) or 'nothing'} in: {_short(sql)}")
    return found[0]


def _bound(instance: Instance, statement: Any, sql: str, values: Mapping[str, Any]) -> duckdb.DuckDBPyRelation:
    try:
        return instance.connection.sql(statement, params=values or None)
    except duckdb.Error as error:
        raise WorkFailed(
            placed(lambda text: instance.connection.execute(text, values or None), sql, str(error))
        ) from error


def _execute(instance: Instance, text: str, params: Mapping[str, Any]) -> None:
    for statement in instance.connection.extract_statements(text):
        if statement.type.name not in _SCRIPT:
            raise WorkFailed(f"a script cannot {statement.type.name}; found: {_short(text)}")
        values = bind(statement.named_parameters, params)
        instance.connection.execute(statement, values or None)


def _used(tables: Mapping[str, Any], *texts: str) -> dict[str, Any]:
    """The tables whose names occur in the texts: a view costs a file's footer, and a caller may name the whole lake."""
    words = {word.lower() for text in texts for word in re.findall(r"\w+", text)}
    return {
        table: relation for table, relation in tables.items() if words.issuperset(re.findall(r"\w+", table.lower()))
    }


def _short(sql: str) -> str:
    line = " ".join(sql.split())
    return line if len(line) <= 120 else line[:117] + "..."


__all__ = ["DuckDbSql"]
