"""DuckDB as the one who knows its dialect: it names the columns and types of a query over empty tables, and runs
nothing.

The text is DuckDB's, so DuckDB says what it means: result types, types of operands, mistakes, in its own words and in
milliseconds, without a JVM. Spark's result is then cast to these types.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from millstream.base.errors import WorkFailed
from millstream.engines.spark.rules import Node
from millstream.transform.pointed import placed

_SETTINGS: dict[str, Any] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    "threads": 1,
}


class Binder:
    """Empty tables of these schemas; a context manager."""

    def __init__(self, tables: Mapping[str, pa.Schema], params: Mapping[str, Any]) -> None:
        self.params = params
        self._connection = duckdb.connect(":memory:", config=_SETTINGS)
        self._connection.execute("SET TimeZone = 'UTC'")
        for name, schema in tables.items():
            self._connection.register(name, schema.empty_table())
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def bound(self, sql: str) -> tuple[list[str], list[str], pa.Schema]:
        """Names, DuckDB's types and the Arrow schema of a query's columns.

        Raises:
            WorkFailed: With DuckDB's words.
        """
        with _errors():
            found = self._connection.extract_statements(sql)
            kinds = [statement.type.name for statement in found]
            if kinds != ["SELECT"]:
                raise WorkFailed(
                    f"a query is one SELECT; found {', '.join(kinds) or 'nothing'} in: {' '.join(sql.split())[:120]}"
                )
            values = self._values(found[0]) or None
            try:
                relation = self._connection.sql(found[0], params=values)
            except duckdb.Error as error:
                raise WorkFailed(
                    placed(lambda text: self._connection.execute(text, values), sql, str(error))
                ) from error
            return (
                list(relation.columns),
                [spelled(kind) for kind in relation.types],
                relation.limit(0).to_arrow_table().schema,
            )

    def change(self, sql: str) -> None:
        """Run a statement that makes, fills or drops an empty table."""
        with _errors():
            statement = self._connection.extract_statements(sql)[0]
            self._connection.execute(statement, self._values(statement) or None)

    def kinds(self, select: exp.Select, wanted: Sequence[Node]) -> list[str]:
        """DuckDB's types of expressions of this select; "" of those that are not known."""
        if not wanted:
            return []
        with contextlib.suppress(WorkFailed):
            return self._probe(select, wanted)
        if len(wanted) == 1:
            return [""]
        half = len(wanted) // 2
        return self.kinds(select, wanted[:half]) + self.kinds(select, wanted[half:])

    def _probe(self, select: exp.Select, wanted: Sequence[Node]) -> list[str]:
        counted = any(node.find(exp.AggFunc) and not node.find_ancestor(exp.Window) for node in wanted)
        probe = exp.Select(expressions=[exp.alias_(node.copy(), f"_p{i}") for i, node in enumerate(wanted)])
        alone = not any(node.find(exp.Column, exp.AggFunc, exp.Window) for node in wanted)
        for part in ("from_", "joins", "laterals", "windows", *(("group",) if counted else ())):
            if select.args.get(part) and not alone:
                value = select.args[part]
                probe.set(part, [one.copy() for one in value] if isinstance(value, list) else value.copy())
        group = probe.args.get("group")
        if group is not None:
            group.set("expressions", [_meant(select, key) for key in group.expressions])
        text = probe.sql("duckdb")
        around = _around(select)
        if around:
            text = f"with {', '.join(around)} {text}"
        return self.bound(text)[1]

    def _values(self, statement: Any) -> dict[str, Any]:
        missing = sorted(set(statement.named_parameters) - set(self.params))
        if missing:
            known = ", ".join(f"${name}" for name in sorted(self.params)) or "none"
            raise WorkFailed(
                f"the query asks for ${missing[0]}, which has no value; known: {known}; set it under [params] of"
                " millstream.toml"
            )
        return {name: _typed(name, self.params[name]) for name in statement.named_parameters}

    def __enter__(self) -> Binder:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()


def spelled(kind: Any) -> str:
    """DuckDB's name of a type, the fields of a row named by their places."""
    if kind.id in ("tuple", "struct"):
        return (
            "STRUCT("
            + ", ".join(
                f'"{(name or f"_{i}").replace(chr(34), 2 * chr(34))}" {spelled(of)}'
                for i, (name, of) in enumerate(kind.children, 1)
            )
            + ")"
        )
    if kind.id == "list":
        return f"{spelled(kind.children[0][1])}[]"
    if kind.id == "map":
        return f"MAP({spelled(kind.children[0][1])}, {spelled(kind.children[1][1])})"
    return str(kind)


def _around(select: Node) -> list[str]:
    """The definitions of WITH that this select can see, as text, outermost first."""
    found: list[list[str]] = []
    inside: Node = select
    at: Node | None = select
    while at is not None:
        within = at.args.get("with_") if not isinstance(at, exp.With) else None
        if isinstance(within, exp.With) and inside is not within:
            found.append([cte.sql("duckdb") for cte in within.expressions])
        if isinstance(at, exp.With):
            found.append(
                [
                    cte.sql("duckdb")
                    for cte in at.expressions[: next(i for i, cte in enumerate(at.expressions) if cte is inside)]
                ]
            )
        inside, at = at, at.parent
    return [text for texts in reversed(found) for text in texts]


def _meant(select: exp.Select, key: Node) -> Node:
    """A grouping key by place or by alias, as the expression it stands for."""
    if isinstance(key, exp.Literal) and re.fullmatch(r"\d+", key.name):
        return select.expressions[int(key.name) - 1].unalias().copy()
    return key


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise WorkFailed(str(error)) from error


def _typed(name: str, value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return duckdb.Value(value, "BIGINT" if -(2**63) <= value < 2**63 else "HUGEINT")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise WorkFailed(f"${name} is {value!r}, a time without a zone; give it one, e.g. {value.isoformat()}+00:00")
    if isinstance(value, list | tuple):
        return [_typed(name, item) for item in value]
    if isinstance(value, Mapping):
        return {key: _typed(name, item) for key, item in value.items()}
    return value
