"""Spark, as the sql port. `SparkSql("spark://local[2]", folder)`; the URL's forms and options are in `session.Options`.

DuckDB's dialect goes in (dialect.py) and its types come out: DuckDB itself binds each query over empty tables
(binder.py), so `describe` starts no JVM. Spark starts with the first query, and is shared by all engines of the
process.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from millstream.base.errors import WorkFailed
from millstream.declare.table import ArrowFunction
from millstream.engines.spark import shipped
from millstream.engines.spark.binder import Binder
from millstream.engines.spark.dialect import Query, translate
from millstream.engines.spark.executor import Call
from millstream.engines.spark.relations import stored
from millstream.engines.spark.scratch import SHARED, Scratch
from millstream.engines.spark.script import Script, once
from millstream.engines.spark.session import Options, acquire, errors, release
from millstream.engines.spark.work import Batches, Work
from millstream.transform.mapping import columns, empty
from millstream.transform.parse import body
from millstream.transform.port import Relation

_HEAD = 1000
"""Rows on which a function's columns are found out."""


class SparkSql:
    """The sql port on Spark."""

    def __init__(self, url: str, folder: Path) -> None:
        self.options, self.folder = Options.read(url), Path(folder).absolute()
        self._lock = threading.Lock()
        self._session: Any = None
        self._sent = False  # the environment, to executors
        self._closed = False
        self._working: set[Work] = set()

    def query(
        self, sql: str, tables: Mapping[str, Relation], params: Mapping[str, Any] | None = None
    ) -> pa.RecordBatchReader:
        return self._run((), sql, tables, params or {}, Work.batches)

    def map(
        self,
        sql: str,
        function: ArrowFunction,
        tables: Mapping[str, Relation],
        params: Mapping[str, Any] | None = None,
        *,
        what: str,
    ) -> pa.RecordBatchReader:
        """On the executors; once more here, on some rows, for its columns."""

        def batches(work: Work, last: Query) -> Batches:
            made = columns(function, chain(work.head(last, _HEAD), [empty(last.schema)]), what)
            return work.batches(last, self._call(function, last.schema, made, what))

        return self._run((), sql, tables, params or {}, batches)

    def script(
        self,
        statements: Iterable[str],
        result: str,
        tables: Mapping[str, Relation],
        params: Mapping[str, Any] | None = None,
    ) -> pa.RecordBatchReader:
        return self._run(tuple(statements), result, tables, params or {}, Work.batches)

    def describe(self, sql: str, tables: Mapping[str, pa.Schema], params: Mapping[str, Any] | None = None) -> pa.Schema:
        used = _used(tables, sql)
        with Binder(used, params or {}) as binder:
            return translate(body(sql), binder, used).schema

    def close(self) -> None:
        """Stop every query; those who wait for one get WorkFailed."""
        with self._lock:
            self._closed, working, session = True, list(self._working), self._session
            self._session = None
        for work in working:
            work.stop("the compute engine was closed")
        if session is not None:
            release()

    def _run(
        self,
        steps: tuple[str, ...],
        result: str,
        tables: Mapping[str, Relation],
        params: Mapping[str, Any],
        batches: Callable[[Work, Query], Batches],
    ) -> pa.RecordBatchReader:
        used = _used(tables, result, *steps)
        with Binder({name: _schema(relation) for name, relation in used.items()}, params) as binder:
            script = Script(binder, used)
            # Mistakes are told before a JVM is started
            planned = [step for text in steps for step in script.steps(text)]
            last = translate(body(result), binder, script.known)
        work = self._work()
        try:
            for name, relation in used.items():
                work.see(name, relation)
            for step in once(planned, last):
                work.do(step)
            found = batches(work, last)
            return pa.RecordBatchReader.from_batches(found.schema, found)
        except BaseException:
            work.close()
            raise

    def _call(self, function: ArrowFunction, given: pa.Schema, made: pa.Schema, what: str) -> Call:
        """What executors run, with all that it needs sent ahead."""
        from pyspark import cloudpickle

        try:
            told = cloudpickle.dumps(function)
        except Exception as error:  # of any object the function holds
            raise WorkFailed(
                f"{what}: its function cannot be sent to executors: {error}; have it make what it needs itself"
            ) from error
        with self._lock, errors():
            context, there = (
                self._session.sparkContext,
                shipped.python(self._session, self.options.python, local=self.options.local),
            )
            if not there and not self._sent:
                shipped.send_environment(self._session, self.folder, self.options.scratch or SHARED)
                self._sent = True
            context.pythonExec = there or f"python{sys.version_info.major}.{sys.version_info.minor}"
            return Call(told, shipped.send_code(self._session, function, self.folder), given, made, stored(made), what)

    def _work(self) -> Work:
        with self._lock:
            if self._closed:
                raise WorkFailed("the compute engine is closed")
            if self._session is None:
                self._session = acquire(self.options, self.folder)
            scratch = Scratch(self._session, self.folder, local=self.options.local, place=self.options.scratch)
            work = Work(self._session, scratch, self.options.timeout_s, self._working.discard)
            self._working.add(work)
            return work


def _schema(relation: Any) -> pa.Schema:
    return relation.schema


def _used(tables: Mapping[str, Any], *texts: str) -> dict[str, Any]:
    """The tables whose names occur in the texts: a caller may name the whole lake."""
    words = {word.lower() for text in texts for word in re.findall(r"\w+", text)}
    return {
        table: relation for table, relation in tables.items() if words.issuperset(re.findall(r"\w+", table.lower()))
    }


__all__ = ["SparkSql"]
