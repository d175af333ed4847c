"""The sql port: compute over versions of lake tables. Engine: `Engine(url: str, folder: pathlib.Path)`; folder holds
its scratch.

Helpers for engines: `transform/parse.py`, `transform/mapping.py`, `transform/pointed.py`, `lake/lost.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from millstream.declare.table import ArrowFunction
from millstream.lake.port import Snapshot

Relation: TypeAlias = Snapshot | pa.Table | pa.RecordBatchReader  # type: ignore[valid-type,unused-ignore]


class Sql(Protocol):
    """Runs DuckDB's dialect, whatever the engine is."""

    def query(
        self, sql: str, tables: Mapping[str, Relation], params: Mapping[str, Any] | None = None
    ) -> pa.RecordBatchReader:
        """Stream the result. `$name` in the text is bound to `params[name]`, typed, never pasted.

        Sees only the named tables: no file, no network, no setting is reachable from `sql`. Large work spills to the
        engine's scratch folder. Closing the reader ends the query.

        Raises:
            WorkFailed: The engine refused the query; its message is kept.
            Corrupt: A data file of a table is lost, where the engine can tell; the message names both.
        """
        ...

    def map(
        self,
        sql: str,
        function: ArrowFunction,
        tables: Mapping[str, Relation],
        params: Mapping[str, Any] | None = None,
        *,
        what: str,
    ) -> pa.RecordBatchReader:
        """Stream what the function gives for the batches of the query, in no order.

        It is called for each batch by itself, wherever the engine runs: how many rows a batch has, in what order, and
        in how many processes at once is the engine's choice, and a batch that was lost with a machine is given once
        more. The columns are those of the first batch that it gives, which an engine may find out by a call on some
        rows of its own choice; every other batch is cast to them.

        Args:
            what: Whose function it is, for errors: `table "late"`.

        Raises:
            WorkFailed: As `query`; or the function raised, and the message has `what`, the error, and the file and
                line.
        """
        ...

    def script(
        self,
        statements: Iterable[str],
        result: str,
        tables: Mapping[str, Relation],
        params: Mapping[str, Any] | None = None,
    ) -> pa.RecordBatchReader:
        """Run statements in order in a scratch database of their own (temporary tables live there, on disk), then
        stream `result`. The scratch database goes when the reader is closed or exhausted."""
        ...

    def describe(self, sql: str, tables: Mapping[str, pa.Schema], params: Mapping[str, Any] | None = None) -> pa.Schema:
        """The result's columns, without running it. Raises WorkFailed with the engine's own words."""
        ...

    def close(self) -> None: ...
