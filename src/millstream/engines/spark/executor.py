"""What an executor's Python runs: a user's function over Arrow batches, with the project's modules before all others on
its path.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from millstream.transform.mapping import alike, called

_path = ""
"""The project's modules of the task before: a worker does many tasks, of one project after the other perhaps."""


@dataclass(frozen=True)
class Call:
    """Sent from the driver, by pickle.

    Attributes:
        function: Pickled by value, for it is not a name in its module: there the name is a table's.
        code: The name under which the project's modules were sent; "" for none.
        given: The columns of its batches.
        made: Of the batches it gives, as it gives them; `sent` as Spark takes them.
        what: Whose it is, for errors.
    """

    function: bytes
    code: str
    given: pa.Schema
    made: pa.Schema
    sent: pa.Schema
    what: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        _use(self.code)
        function = pickle.loads(self.function)
        for batch in alike(
            called(function, (recast(batch, self.given) for batch in batches), self.what), self.made, self.what
        ):
            yield recast(batch, self.sent)


def recast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The same rows in these types and names, by position."""
    columns = [
        pa.nulls(len(column)) if field.type == pa.null() else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _use(code: str) -> None:
    """Put the project's modules first on the path, and forget those of another version of them."""
    global _path
    from pyspark import SparkFiles

    path = SparkFiles.get(code) if code else ""
    if path == _path:
        return
    if _path:
        sys.path.remove(_path)
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(_path):
                del sys.modules[name]
    if path:
        sys.path.insert(0, path)
    _path = path
    importlib.invalidate_caches()
