"""The one expression language: SQL scalars, checked against a schema, compiled to DuckDB and to a Python closure.

lang/scalar.py has the subset node by node; lang/kernel.py what the closures call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from millstream.base.errors import DefinitionError, Place
from millstream.base.event import Kind
from millstream.base.words import nearest

if TYPE_CHECKING:
    from sqlglot import exp


UNTYPED: Kind = cast("Kind", "untyped")
"""Of a field whose type is not known: a column of a table that is yet to be built. It is taken as what the expression
asks for, by default as a number, where booleans are 0 and 1; `Expression.takes` says what it was taken for, to be held
against the table's columns once there are any.
"""
OUTSIDE = "is not part of the expression language"
"""What the refusal of a construct says, whatever the types in it are."""


@dataclass(frozen=True)
class Expression:
    """A checked scalar expression.

    Attributes:
        text: As the user wrote it.
        sql: DuckDB SQL, columns quoted, parameters bound as typed literals, division by zero NULL and NaN never
            entering.
        kind: Type of the value.
        columns: Fields it reads, in order of first use.
        evaluate: The same as a function of one row (a mapping); None is NULL.
        takes: UNTYPED fields, and what each is taken for: "float64" stands for any number or boolean.
        place: Where it was written.
    """

    text: str
    sql: str
    kind: Kind
    columns: tuple[str, ...]
    evaluate: Callable[[Mapping[str, Any]], Any] = field(compare=False, repr=False)
    takes: tuple[tuple[str, Kind], ...] = field(default=(), compare=False, repr=False)
    place: Place | None = field(default=None, compare=False, repr=False)


def compile(
    text: str,
    fields: Mapping[str, Kind],
    params: Mapping[str, Any] | None = None,
    *,
    place: Place | None = None,
    what: str = "",
    truth: bool = False,
) -> Expression:
    """Check an expression and compile it for both readers.

    Args:
        text: SQL in DuckDB's dialect; `$name` is taken from `params`.
        fields: What it may read.
        params: `[params]` of the project.
        place: Where the user wrote it, for the error.
        what: Whose expression it is, for the error: 'features "x", late'.
        truth: It is a condition: an UNTYPED field that stands alone is a boolean.

    >>> made = compile("delay / flights > $limit", {"delay": "float64", "flights": "int64"}, {"limit": 15})
    >>> made.kind, made.columns
    ('bool', ('delay', 'flights'))
    >>> made.evaluate({"delay": 40.0, "flights": 2})
    True
    >>> made.evaluate({"delay": 40.0, "flights": 0})

    Raises:
        DefinitionError: It does not parse, reads what is not there, mixes types or leaves the subset.
    """
    from millstream.lang import kernel
    from millstream.lang.code import Refused
    from millstream.lang.scalar import Compiler

    told = f"{what}: " if what else ""
    if not isinstance(text, str) or not text.strip():
        raise DefinitionError(
            f"{told}an expression is wanted",
            place=place,
            found=repr(text),
            fix='write SQL, e.g. "delay > 15"',
            code="E116",
        )
    compiler = Compiler(fields, params or {})
    try:
        code = compiler.whole(parse(text), truth)
    except Refused as refused:
        raise _error(refused, text, fields, told, place) from None
    except RecursionError:
        raise DefinitionError(
            f"{told}the expression is nested too deeply", place=place, found=text[:100], fix="split it", code="E116"
        ) from None
    source = f"lambda r: {code.python}"
    try:
        # Made of checked nodes only: names are ours, texts are quoted by repr
        evaluate = eval(source, dict(kernel.NAMES))
    except (SyntaxError, MemoryError, RecursionError):
        raise DefinitionError(
            f"{told}the expression is too long", place=place, found=text[:100], fix="split it", code="E116"
        ) from None
    return Expression(
        text,
        code.sql,
        code.kind or "string",
        tuple(compiler.used),
        evaluate,
        tuple(dict.fromkeys(compiler.takes)),
        place,
    )


@lru_cache(maxsize=8192)
def parse(text: str) -> exp.Expression:
    """sqlglot's tree of a scalar. Treat it as read-only: it is shared."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    from millstream.lang.code import Refused

    try:
        return sqlglot.parse_one(text, into=exp.Condition, dialect="duckdb")
    except SqlglotError as error:
        said: Mapping[str, Any] = next(iter(getattr(error, "errors", ())), {})
        near = f"{said.get('start_context', '')}{said.get('highlight', '')}"[-40:].strip()
        raise Refused(
            f"it does not parse: {said.get('description') or str(error).splitlines()[0]}"
            + (f" near {near}" if near else ""),
            "write one scalar expression of SQL (DuckDB's dialect)",
            code="E116",
        ) from None


def _error(refused: Any, text: str, fields: Mapping[str, Kind], told: str, place: Place | None) -> DefinitionError:
    found, fix = f'"{text}"', refused.fix
    if refused.missing:
        names = sorted(fields)
        found = f'"{text}" over {", ".join(names) or "nothing"}'
        fix = nearest(refused.missing, names) or (
            f"it may read {', '.join(names)}" if names else "it may read no field here"
        )
    return DefinitionError(f"{told}{refused.found}", place=place, found=found, fix=fix, code=refused.code)
