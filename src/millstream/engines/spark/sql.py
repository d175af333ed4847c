"""Spark, as the sql port. `SparkSql("spark://local[2]", folder)`; the URL's forms and options are in `session.Options`.

DuckDB's dialect goes in (dialect.py) and its types come out: DuckDB itself binds each query over empty tables (binder.py), so `describe` starts no
JVM. Spark starts with the first query, and is shared by all engines of the process.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from millstream.declare.errors import WorkFailed
from millstream.engines.spark.binder import Binder
from millstream.engines.spark.dialect import translate
from millstream.engines.spark.scratch import Scratch
from millstream.engines.spark.script import Script
from millstream.engines.spark.session import Options, acquire, release
from millstream.engines.spark.work import Work
from millstream.transform.parse import body
from millstream.transform.port import Relation


class SparkSql:
    """The sql port on Spark."""

    def __init__(self, url: str, folder: Path) -> None:
        self.options, self.folder = Options.read(url), Path(folder).absolute()
        self._lock = threading.Lock()
        self._session: Any = None
        self._closed = False
        self._working: set[Work] = set()

    def query(self, sql: str, tables: Mapping[str, Relation], params: Mapping[str, Any] | None = None) -> pa.RecordBatchReader:
        return self._run((), sql, tables, params or {})

    def script(
        self, statements: Iterable[str], result: str, tables: Mapping[str, Relation], params: Mapping[str, Any] | None = None
    ) -> pa.RecordBatchReader:  # fmt: skip
        return self._run(tuple(statements), result, tables, params or {})

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

    def _run(self, steps: tuple[str, ...], result: str, tables: Mapping[str, Relation], params: Mapping[str, Any]) -> pa.RecordBatchReader:
        used = _used(tables, result, *steps)
        with Binder({name: _schema(relation) for name, relation in used.items()}, params) as binder:
            script = Script(binder, used)
            planned = [step for text in steps for step in script.steps(text)]  # mistakes are told before a JVM is started
            last = translate(body(result), binder, script.known)
        work = self._work()
        try:
            for name, relation in used.items():
                work.see(name, relation)
            for step in planned:
                work.do(step)
            return pa.RecordBatchReader.from_batches(last.schema, work.batches(last))
        except BaseException:
            work.close()
            raise

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
    return {table: relation for table, relation in tables.items() if words.issuperset(re.findall(r"\w+", table.lower()))}


__all__ = ["SparkSql"]
