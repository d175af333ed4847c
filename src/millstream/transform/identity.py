"""Whether the rows of a table are what its `key` and `time` say: the columns are there, the time is one, and the key
tells the rows apart.

A declaration that the rows do not keep fails the build before anything is committed
(docs/decisions/0035-a-key-tells-rows-apart.md). SQL shows its columns to `check`; what a function gives is only known
here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from millstream.base.errors import Place, WorkFailed
from millstream.base.words import counted, nearest
from millstream.declare.table import Table
from millstream.lang.query import header
from millstream.transform.cell import cells

SHOWN = 3


@dataclass(frozen=True)
class Identity:
    """What a table's rows are known by.

    Attributes:
        key: Its columns, as declared; empty: none is declared, and rows may repeat.
        place: Where the user declared it.
    """

    table: str
    time: str | None
    key: tuple[str, ...]
    place: Place | None = None
    fix: str = "return it"
    """What to do about a column that is not there."""

    @classmethod
    def of(cls, table: Table) -> Identity:
        """As the noun, or the header of its SQL, says."""
        said = header(table.sql or "", table.file or "")
        fix = "add it to the rows that the function returns" if table.function else "select it"
        return cls(
            table.name,
            table.time or said.time,
            table.key or said.key or (),
            Place(table.file, 1) if table.file else table.place,
            fix,
        )

    def check(self, schema: pa.Schema) -> None:
        """Hold the columns against the declaration, before any row is read.

        Raises:
            WorkFailed: A declared column is not there, or the time is of another type.
        """
        for word, name in [*(("key", name) for name in self.key), *([("time", self.time)] if self.time else [])]:
            found = _column(schema, name)
            if found is None:
                self._fail(
                    f'its {word} "{name}" is not a column of it',
                    ", ".join(schema.names),
                    nearest(name, schema.names) or f"{self.fix}, or correct {word}=",
                )
            elif word == "time" and not (is_.is_timestamp(found.type) or is_.is_date(found.type)):
                self._fail(
                    f'its time "{name}" is not a time',
                    f"{found.name} is {found.type}",
                    "give it as a timestamp or a date, or name another column in time=",
                )

    def watch(self, schema: pa.Schema) -> Watch:
        return Watch(
            self,
            [schema.get_field_index(found.name) for name in self.key if (found := _column(schema, name)) is not None],
        )

    def _fail(self, what: str, found: str, fix: str) -> NoReturn:
        at = f" ({self.place})" if self.place else ""
        raise WorkFailed(f'table "{self.table}"{at}: {what}; found {found}; {fix}')


@dataclass
class Watch:
    """The keys of the rows of one build, as they pass."""

    identity: Identity
    columns: Sequence[int]
    seen: list[pa.Table] = field(default_factory=list)

    def take(self, batch: pa.RecordBatch) -> None:
        """Keep the keys of these rows.

        Raises:
            WorkFailed: One of them is NULL.
        """
        if not self.columns or not batch.num_rows:
            return
        keys = pa.Table.from_batches([batch]).select(list(self.columns))
        for name, column in zip(keys.column_names, keys.columns, strict=True):
            if column.null_count:
                self.identity._fail(
                    f'its key "{name}" is NULL',
                    f"{counted(column.null_count, 'row', 'rows')} without one among {batch.num_rows:,}",
                    "leave such rows out, or declare a key that every row has",
                )
        self.seen.append(keys)

    def end(self) -> None:
        """After the last row.

        Raises:
            WorkFailed: Several rows have one key.
        """
        if not self.seen:
            return
        keys = pa.concat_tables(self.seen)
        self.seen.clear()
        groups = keys.group_by(keys.column_names).aggregate([([], "count_all")])
        if groups.num_rows == keys.num_rows:
            return
        twice = groups.filter(pc.greater(groups["count_all"], 1))
        self.identity._fail(
            f"its key ({', '.join(self.identity.key)}) does not tell its rows apart",
            f"{counted(twice.num_rows, 'key', 'keys')} of several rows: {'; '.join(_shown(twice.slice(0, SHOWN)))}",
            "add the column to the key that tells them apart, or make one row of them (group by, or qualify"
            " row_number() = 1)",
        )


def _column(schema: pa.Schema, name: str) -> pa.Field | None:
    """As the engines read names: letter case does not count."""
    return next((field for field in schema if field.name.lower() == name.lower()), None)


def _shown(twice: pa.Table) -> Iterator[str]:
    names = [name for name in twice.column_names if name != "count_all"]
    spelled = [cells(twice[name]) for name in names]
    for row, times in enumerate(twice["count_all"].to_pylist()):
        yield (
            f"{', '.join(f'{name} = {column[row]}' for name, column in zip(names, spelled, strict=True))} in {times:,}"
            " rows"
        )
