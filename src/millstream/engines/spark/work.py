"""One query at work: a session of its own, a job group that can be cancelled, a folder that goes with it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from millstream.base.errors import Full, WorkFailed
from millstream.engines.spark.dialect import Query
from millstream.engines.spark.executor import Call, recast
from millstream.engines.spark.kinds import quoted, spark_type
from millstream.engines.spark.relations import attach, type_name
from millstream.engines.spark.scratch import Scratch
from millstream.engines.spark.script import Step
from millstream.engines.spark.session import errors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


_ROWS_A_FILE = 65_536
"""Of a table that is kept. What one task made (it numbered the rows, say) would else be one file, and one task's work
ever after: one core's, and one lump of an answer.
"""


class Work:
    """`stop` may be called from any thread; the rest belongs to one at a time."""

    def __init__(
        self, session: SparkSession, scratch: Scratch, timeout_s: float | None, done: Callable[[Work], None]
    ) -> None:
        self._session, self._scratch, self._done = session.newSession(), scratch, done
        self._context, self._group = session.sparkContext, f"millstream-{scratch.folder.name}"
        self._stopped, self._closed = "", False
        self._tables: dict[str, tuple[Any, list[str]]] = {}  # of a script: name -> schema, folders
        self._timer = (
            threading.Timer(timeout_s, self.stop, [f"it took longer than {timeout_s:g} s"])
            if timeout_s is not None
            else None
        )
        if self._timer:
            self._timer.daemon = True
            self._timer.start()

    def see(self, name: str, relation: Any) -> None:
        """Let the query read the relation by this name."""
        with self.errors():
            self._ours()  # many files are looked for by a job
            attach(self._session, name, relation, self._scratch)

    def do(self, step: Step) -> None:
        """Make, fill or drop a table of a script. Rows that are kept go to Parquet files: what is read twice is made
        once, whatever becomes of an executor.
        """
        with self.errors():
            if step.verb == "drop":
                self._session.catalog.dropTempView(step.table)
                self._scratch.drop(self._tables.pop(step.table, (None, []))[1])
                return
            assert step.query is not None
            if not step.kept:
                self._frame(step.query).toDF(*step.query.names).createOrReplaceTempView(quoted(step.table))
                return
            schema, folders = self._tables.get(step.table, (None, []))
            if step.rows:
                self._ours()
                frame = self._frame(step.query).toDF(*step.query.names)
                schema, folders = schema or frame.schema, [*folders, self._scratch.path(self._scratch.name())]
                frame.write.option("maxRecordsPerFile", _ROWS_A_FILE).parquet(folders[-1])
            schema = schema or ", ".join(
                f"{quoted(name)} {spark_type(kind)}"
                for name, kind in zip(step.query.names, step.query.kinds, strict=True)
            )
            whole = (
                self._session.read.schema(schema).parquet(*folders)
                if folders
                else self._session.createDataFrame([], schema)
            )
            whole.createOrReplaceTempView(quoted(step.table))
            self._tables[step.table] = schema, folders

    def head(self, query: Query, rows: int) -> list[pa.RecordBatch]:
        """Some rows of the result."""
        with self.errors():
            self._ours()
            found = self._frame(query).limit(rows).toArrow().combine_chunks()
            return [recast(batch, query.schema) for batch in found.to_batches()]

    def batches(self, query: Query, call: Call | None = None) -> Batches:
        """The result as it comes, or what the executors make of its batches: partitions in order, the next one at work
        while one is read.
        """
        from pyspark.serializers import NoOpSerializer
        from pyspark.sql.pandas.types import to_arrow_schema
        from pyspark.util import _local_iterator_from_socket

        with self.errors():
            frame = self._frame(query)
            if call is not None:
                frame = self._mapped(frame, call)
            schema = to_arrow_schema(frame.schema, timezone="UTC")
            self._ours()
            rows = frame._jdf.toArrowBatchRdd()
            served = self._context._jvm.org.apache.spark.api.python.PythonRDD.toLocalIteratorAndServe(rows, True)
            return Batches(
                self,
                _local_iterator_from_socket(served, NoOpSerializer()),
                schema,
                query.schema if call is None else call.made,
            )

    def _frame(self, query: Query) -> DataFrame:
        """The query's columns as c0, c1 …, in DuckDB's types."""
        columns = [f"c{i}" for i in range(len(query.names))]
        found = self._session.sql(query.sql, args=query.args or None).toDF(*columns)
        return found.selectExpr(
            *(f"{made} as {column}" for made, column in zip(query.cast(columns), columns, strict=True))
        )

    def _mapped(self, frame: DataFrame, call: Call) -> DataFrame:
        """As `DataFrame.mapInArrow`, which wants pandas installed and uses none of it."""
        from pyspark.sql import DataFrame
        from pyspark.sql.udf import UserDefinedFunction
        from pyspark.util import PythonEvalType

        columns = ", ".join(f"c{i} {type_name(kind)}" for i, kind in enumerate(call.made.types))
        function = UserDefinedFunction(
            lambda batches: call(batches), columns, evalType=PythonEvalType.SQL_MAP_ARROW_ITER_UDF
        )
        return DataFrame(
            frame._jdf.mapInArrow(function(*(frame[name] for name in frame.columns))._jc, False, None), self._session
        )

    def _ours(self) -> None:
        """What this thread starts now belongs to this query."""
        if self._stopped:
            raise WorkFailed(f"the query was stopped: {self._stopped}")
        self._context.setJobGroup(self._group, "millstream", interruptOnCancel=True)

    def stop(self, why: str) -> None:
        """Cancel whatever runs; the one who waits for it gets WorkFailed with this reason."""
        self._stopped = self._stopped or why
        with contextlib.suppress(Exception):  # the context may be gone
            self._context._jsc.sc().cancelJobGroupAndFutureJobs(self._group)

    def close(self) -> None:
        """Let go of everything; twice is fine."""
        if self._closed:
            return
        self._closed = True
        if self._timer:
            self._timer.cancel()
        with contextlib.suppress(Exception):
            self._scratch.clear()
        self._done(self)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        try:
            with errors():
                yield
        except (WorkFailed, Full) as error:
            if self._stopped and "was stopped" not in str(error):
                raise WorkFailed(f"the query was stopped: {self._stopped}") from error
            raise


class Batches:
    """The batches of a running query. Exhausting or dropping it ends the query and clears its scratch away."""

    def __init__(self, work: Work, messages: Iterator[bytes], found: pa.Schema, wanted: pa.Schema) -> None:
        self._work: Work | None = work
        self._messages, self._found, self.schema = messages, found, wanted

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        if self._work is None:
            raise StopIteration
        try:
            with self._work.errors():
                batch = pa.ipc.read_record_batch(pa.ipc.read_message(next(self._messages)), self._found)
        except BaseException:
            self.close()
            raise
        return recast(batch, self.schema)

    def close(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.stop("its reader was closed")
            self._messages = iter(())
            work.close()

    def __del__(self) -> None:
        self.close()
