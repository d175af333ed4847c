"""Whether a table, now that it is there, has columns of the types that the expressions of its features take
them for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.types as is_

from millstream.base.errors import DefinitionError
from millstream.base.event import Kind
from millstream.base.words import nearest
from millstream.features.definition import Definition
from millstream.lang.expression import Expression


def check(definition: Definition, columns: pa.Schema) -> None:
    """Hold a definition over a table against the table's columns.

    Raises:
        DefinitionError: The first of `mistakes`.
    """
    for error in mistakes(definition, columns):
        raise error


def mistakes(definition: Definition, columns: pa.Schema) -> Iterator[DefinitionError]:
    """Columns that an expression reads and that are not there, or that it takes for what they are not; of a stream the
    declaration knows the types.
    """
    expressions = [
        *(value.expression for value in definition.values),
        *((definition.where,) if definition.where else ()),
    ]
    for expression in () if definition.live else expressions:
        for name, kind in expression.takes:
            # As the engines read names
            found = next((field for field in columns if field.name.lower() == name.lower()), None)
            if found is None:
                yield _missing(definition, expression, name, columns.names)
            elif not _TAKEN[kind][0](found.type):
                yield _taken(definition, expression, found, kind)


def _missing(definition: Definition, expression: Expression, name: str, names: Sequence[str]) -> DefinitionError:
    return DefinitionError(
        f'features "{definition.name}": the table "{definition.stream}" has no column "{name}"',
        place=expression.place,
        found=f'"{expression.text}" over {", ".join(sorted(names))}',
        fix=nearest(name, names) or "select it in the table",
        code="E111",
    )


def _taken(definition: Definition, expression: Expression, found: pa.Field, kind: Kind) -> DefinitionError:
    _, word, fix = _TAKEN[kind]
    return DefinitionError(
        f'features "{definition.name}": "{expression.text}" takes the column "{found.name}" of "{definition.stream}"'
        f" for {word}",
        place=expression.place,
        found=f"{found.name} is {found.type}",
        fix=fix,
        code="E117",
    )


def _number(kind: pa.DataType) -> bool:
    return bool(
        is_.is_boolean(kind)
        or is_.is_integer(kind)
        or is_.is_floating(kind)
        or is_.is_decimal(kind)
        or is_.is_null(kind)
    )


def _text(kind: pa.DataType) -> bool:
    return bool(is_.is_string(kind) or is_.is_large_string(kind) or kind == pa.string_view() or is_.is_null(kind))


_TAKEN: dict[Kind, tuple[Callable[[pa.DataType], bool], str, str]] = {
    "float64": (
        _number,
        "a number",
        (
            "numbers and booleans (0 and 1) are aggregated: make one of it in the table's SQL, or count rows with"
            " agg.count() and where="
        ),
    ),
    "bool": (
        lambda kind: is_.is_boolean(kind) or is_.is_null(kind),
        "a condition",
        "compare it with something, e.g. n > 0",
    ),
    "string": (_text, "a text", "compare it with a value of its own type"),
    "timestamp": (
        lambda kind: is_.is_timestamp(kind) or is_.is_null(kind),
        "a time",
        "make a timestamp of it in the table's SQL",
    ),
    "date": (lambda kind: is_.is_date(kind) or is_.is_null(kind), "a date", "make a date of it in the table's SQL"),
}
