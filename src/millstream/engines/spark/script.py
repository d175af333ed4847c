"""The statements of a script, planned before Spark is asked: tables are made of queries, filled and dropped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlglot import exp

from millstream.engines.spark.binder import Binder
from millstream.engines.spark.dialect import Query, statements, translate
from millstream.engines.spark.rules import Node, Refused, short


@dataclass(frozen=True)
class Step:
    """What is done to one table of the script.

    Attributes:
        query: Gives the rows, and the columns of the table they go to.
        rows: Whether there are any: a table may be created empty.
        kept: Rows are worked out now, and kept; else by the one who reads them.
    """

    verb: Literal["create", "insert", "drop"]
    table: str
    query: Query | None = None
    rows: bool = True
    kept: bool = True


class Script:
    """Attributes:
    known: Names that may be read now.
    """

    def __init__(self, binder: Binder, given: Iterable[str]) -> None:
        self._binder, self._own, self.known = binder, set[str](), set(given)

    def steps(self, text: str) -> Iterator[Step]:
        """Raises WorkFailed, with DuckDB's words or for what a script cannot do."""
        for node in statements(text):
            yield self._step(node)

    def _step(self, node: Node) -> Step:
        if (
            isinstance(node, exp.Create)
            and node.args.get("kind") == "TABLE"
            and isinstance(node.this, exp.Table)
            and node.expression
            and not node.args.get("replace")
        ):
            query = self._query(node.expression)
            self._binder.change(f"create table {_name(node.this)} as {node.expression.sql('duckdb')} with no data")
            return self._made(node.this, query)
        if (
            isinstance(node, exp.Create)
            and node.args.get("kind") == "TABLE"
            and isinstance(node.this, exp.Schema)
            and not node.args.get("replace")
        ):
            self._binder.change(f"create table {node.this.sql('duckdb')}")
            return self._made(
                node.this.this, Query("", {}, *self._binder.bound(f"select * from {_name(node.this.this)}")), rows=False
            )
        if (
            isinstance(node, exp.Insert)
            and isinstance(node.this, exp.Table)
            and node.this.name in self._own
            and node.expression
        ):
            query = self._query(node.expression)
            whole = self._binder.bound(f"select * from {_name(node.this)}")
            if len(whole[0]) != len(query.names):
                raise Refused(f"{short(node)}  has {len(query.names)} columns for {len(whole[0])}; name one for each")
            return Step("insert", node.this.name, Query(query.sql, query.args, *whole))
        if (
            isinstance(node, exp.Drop)
            and node.args.get("kind") == "TABLE"
            and all(table.name in self._own for table in node.args["tables"])
        ):
            (table,) = node.args["tables"]
            self._binder.change(f"drop table {_name(table)}")
            self._own.discard(table.name)
            self.known.discard(table.name)
            return Step("drop", table.name)
        raise Refused(f"a script creates tables from queries, fills and drops them; found: {short(node)}")

    def _made(self, table: exp.Table, query: Query, *, rows: bool = True) -> Step:
        self._own.add(table.name)
        self.known.add(table.name)
        return Step("create", table.name, query, rows)

    def _query(self, node: Node) -> Query:
        select = (
            exp.select("*").from_(exp.Subquery(this=node, alias=exp.TableAlias(this=exp.to_identifier("v"))))
            if isinstance(node, exp.Values)
            else node
        )
        return translate(select.sql("duckdb"), self._binder, self.known)


def once(steps: Sequence[Step], last: Query) -> list[Step]:
    """The same steps; a table that is read in one place, while all it was made from is still the same, is not kept: a
    step less of work for Spark.
    """
    made: list[Step] = []
    behind: dict[str, set[str]] = {}  # of tables that are not kept: what their rows will be made from
    for place, step in enumerate(steps):
        if (
            step.verb == "create"
            and step.rows
            and step.query is not None
            and _read_once(step.table, steps[place + 1 :], last)
        ):
            sources = _reads(step.query)
            sources |= {source for name in sources for source in behind.get(name, ())}
            if not _changed(sources, step.table, steps[place + 1 :]):
                behind[step.table.lower()] = sources
                made.append(replace(step, kept=False))
                continue
        behind.pop(step.table.lower(), None)
        made.append(step)
    return made


def _read_once(table: str, later: Sequence[Step], last: Query) -> bool:
    count = 0
    for step in later:
        if step.table.lower() == table.lower():
            return step.verb == "drop" and count == 1
        count += _count(table, step.query)
    return count + _count(table, last) == 1


def _changed(sources: set[str], table: str, later: Sequence[Step]) -> bool:
    """Whether one of them is, before the table is read."""
    for step in later:
        if _count(table, step.query):
            return False
        if step.table.lower() in sources:
            return True
    return False


def _count(table: str, query: Query | None) -> int:
    """How often it is read: at most so often, for a column may have the same name."""
    return (
        0
        if query is None
        else len(re.findall(rf"`{re.escape(table.replace('`', '``'))}`(?!\.)", query.sql, re.IGNORECASE))
    )


def _reads(query: Query) -> set[str]:
    """Tables, and columns; in lower case."""
    return {name.replace("``", "`").lower() for name in re.findall(r"`((?:[^`]|``)+)`(?!\.)", query.sql)}


def _name(table: exp.Table) -> str:
    return str(exp.to_identifier(table.name, quoted=True).sql("duckdb"))
