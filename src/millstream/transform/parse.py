"""Where each column of a table's SQL comes from; what the text says about itself is read in `lang/query.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from millstream.base.errors import DefinitionError
from millstream.lang.query import Header, Increment, body, dependencies, header, increment, line_of, placeholders, tables, tokens, tree

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Header", "Increment", "body", "dependencies", "header", "increment", "line_of", "lineage", "placeholders", "tables", "tokens", "tree"]


def lineage(sql: str, schemas: Mapping[str, pa.Schema]) -> dict[str, tuple[tuple[str, str], ...]]:
    """For each output column, the (table, column) pairs its value is made from. Dear (milliseconds a column): ask only when shown.

    Args:
        schemas: Of the tables that the query reads.

    Raises:
        DefinitionError: A name cannot be resolved.
    """
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import lineage as trace
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    known = {name: {field.name: "unknown" for field in schema} for name, schema in schemas.items()}
    try:
        query = qualify(tree(sql).copy(), schema=known, dialect="duckdb", validate_qualify_columns=False, identify=False)
        scope = build_scope(query)
        outputs = [name for name in query.named_selects if name != "*"]
        found: dict[str, tuple[tuple[str, str], ...]] = {}
        for output in outputs:
            leaves = [node for node in trace(output, query, schema=known, dialect="duckdb", scope=scope).walk() if isinstance(node.expression, exp.Table)]
            pairs = ((leaf.expression.name.lower(), leaf.name.rpartition(".")[2].strip('"')) for leaf in leaves)
            found[output] = tuple(dict.fromkeys(pair for pair in pairs if pair[0] in schemas))
        return found
    except SqlglotError as error:
        raise DefinitionError(
            f"columns cannot be traced: {str(error).splitlines()[0]}", found=" ".join(sql.split())[:100], fix="name the column's table", code="E133"
        ) from None
