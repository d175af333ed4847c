"""The one expression language: SQL scalars, checked against a schema, compiled to DuckDB and to a Python closure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from millstream.declare.event import Kind


@dataclass(frozen=True)
class Expression:
    """A checked scalar expression.

    Attributes:
        text: As the user wrote it.
        sql: DuckDB SQL, columns quoted, parameters bound as typed literals, division by zero NULL and NaN never entering.
        kind: Type of the value.
        columns: Fields it reads, in order of first use.
        evaluate: The same as a function of one row (a mapping); None is NULL.
    """

    text: str
    sql: str
    kind: Kind
    columns: tuple[str, ...]
    evaluate: Callable[[Mapping[str, Any]], Any] = field(compare=False, repr=False)
