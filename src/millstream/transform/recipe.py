"""How a table is made, apart from the data, and the fingerprint that says whether it must be made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from millstream.base.errors import DefinitionError, UsageError
from millstream.declare.reached import reached
from millstream.declare.table import Table
from millstream.transform import contents
from millstream.transform.parse import Increment, body, dependencies, header, increment, placeholders, tokens


def inputs(table: Table) -> tuple[str, ...]:
    """Names of the lake tables that the table is made from."""
    return Recipe.of(table, {}).inputs


def fingerprint(table: Table, input_versions: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """What a build would be made from: equal fingerprints need no second build.

    Args:
        input_versions: Of each input, whatever tells its contents (a version; or uuid and version).
    """
    made = {"code": Recipe.of(table, params).code, "inputs": sorted((name, str(version)) for name, version in input_versions.items())}
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Recipe:
    """How a table is made, apart from the data: read off the noun once.

    Attributes:
        text: The query over the inputs; for a function, its input's columns.
        params: Those that the query names.
        code: Fingerprint of all of it, 60 bits.
    """

    table: str
    text: str
    inputs: tuple[str, ...]
    time: str | None
    step: Increment | None
    params: Mapping[str, Any]
    function: Callable[..., Any] | None
    code: int

    @classmethod
    def of(cls, table: Table, params: Mapping[str, Any]) -> Recipe:
        """Raises DefinitionError when the noun does not say enough."""
        text, names = _text(table)
        said = header(table.sql or "", table.file or "")
        incremental, moment = table.incremental or said.incremental, table.time or said.time
        step = increment(incremental) if incremental else None
        if step and step.length_us and (moment is None or table.function is not None or table.contents is not None):
            raise DefinitionError(f'table "{table.name}" is rebuilt by intervals of nothing' if moment is None else f'table "{table.name}" cannot be rebuilt by intervals',
                                  place=table.place, found=f"incremental {incremental}", fix="name its column of time:  -- @time ts" if moment is None else "only SQL can; a function can append",
                                  code="E131")  # fmt: skip
        if step and not step.length_us and (len(names) != 1 or table.contents is not None):
            raise DefinitionError(f'table "{table.name}" appends, so it reads one stream, row by row', place=table.place, found=", ".join(names) or "no table",
                                  fix='rebuild it by intervals: "1d lookback 2d"', code="E131")  # fmt: skip
        used = {name: params[name] for name in placeholders(text) if name in params} if table.function is None else {}
        made = [
            1,
            list(tokens(text)),
            "\n".join(reached(table.function)) if table.function else "",
            moment,
            str(step),
            {name: repr(value) for name, value in sorted(used.items())},
        ]
        code = int(hashlib.sha256(json.dumps(made).encode()).hexdigest()[:15], 16)
        return cls(table.name, text, names, moment, step, used, table.function, code)


def _text(table: Table) -> tuple[str, tuple[str, ...]]:
    if table.function is not None and table.reads is not None:
        return f'select * from "{table.reads.name}"', (table.reads.name,)
    if table.contents is not None:
        return contents.sql(table.contents), (table.contents.stream.name,)
    if table.sql is None:
        raise UsageError(
            f'table "{table.name}" has no SQL' + (": a model makes it (train/scoring.py)" if table.scoring else f"; write tables/{table.name}.sql")
        )
    return body(table.sql), dependencies(table.sql, table.file or "")
