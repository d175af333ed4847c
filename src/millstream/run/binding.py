"""Every table's SQL as the compute engine takes it, bound and not run: a column that is not there is found by `check`, not by the run.

What was bound before is remembered by its text and the columns of what it reads, so a check of an unchanged project asks no engine.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.types as is_

from millstream.base.errors import DefinitionError, MillstreamError, Place, WorkFailed
from millstream.declare.features import Features
from millstream.declare.table import Table
from millstream.declare.validate_data import no_column
from millstream.features.define import define
from millstream.lang.cache import Cache, digest
from millstream.serve.decisions import all_streams

if TYPE_CHECKING:
    from millstream.ports import Engines

_SOME = datetime(2000, 1, 1, tzinfo=UTC)


def unbound(ws: Engines, skip: Collection[str] = ()) -> dict[str, list[DefinitionError]]:
    """The tables whose SQL does not fit what it reads, each with its mistakes.

    What reads a table of unknown columns (a function's, one that is wrong) is not judged.

    Args:
        skip: Names of nouns that are wrong, or may be.
    """
    from millstream.lake.dead import DEAD, dead_name
    from millstream.lake.judge import table_schema

    errors: dict[str, list[DefinitionError]] = {}
    known: dict[str, pa.Schema] = {}
    for name, stream in all_streams(ws.project, skip).items():
        known |= {name: table_schema(stream), dead_name(name): DEAD}
    with Cache(ws.folder / "bound") as cache:
        for name in ws.project.graph.order():
            table = ws.project.by_name.get(name)
            if isinstance(table, Table) and name not in skip:
                try:
                    schema = _bound(ws, table, known, cache)
                except WorkFailed as error:
                    errors[name] = [_mistake(table, str(error), known)]
                    continue
                if schema is not None:
                    if unfit := list(_unfit(table, schema)):
                        errors[name] = unfit
                    known[name] = schema
    for features in ws.project.features.values():
        if features.name not in skip and (wrong := _taken_for(ws, features, {name: known[name] for name in known.keys() - errors.keys()})):
            errors[features.name] = wrong
    return errors


def _taken_for(ws: Engines, features: Features, known: Mapping[str, pa.Schema]) -> list[DefinitionError]:
    """What features take the columns of a table for, and these are not."""
    from millstream.features.fits import mistakes

    if not isinstance(features.source, Table) or features.source.name not in known:
        return []
    return list(mistakes(define(features, ws.project.params), known[features.source.name]))


def _unfit(table: Table, schema: pa.Schema) -> Iterator[DefinitionError]:
    """Columns that no table holds, and a time or key that is none of them."""
    from millstream.transform.fit import fit

    place = Place(table.file, 1) if table.file else table.place
    try:
        fit(schema, table.name)
    except WorkFailed as error:
        found, _, fix = str(error).removeprefix(f'table "{table.name}": ').partition("; ")
        yield DefinitionError(f"{table}: its SQL gives what no table holds", place=place, found=found, fix=fix, code="E138")
    names = {name.lower(): name for name in schema.names}
    for word, name in [*(("key", name) for name in table.key), *([("time", table.time)] if table.time else [])]:
        if name.lower() not in names:
            yield no_column(table, word, name, schema.names, place)
        elif word == "time" and not is_.is_temporal(kind := schema.field(names[name.lower()]).type):
            yield DefinitionError(f'{table}: its time "{name}" is not a time', place=place, found=f"{name} is {kind}",
                                  fix="name a column of a time or a date, or cast it, e.g. ts::timestamptz", code="E136")  # fmt: skip


def _bound(ws: Engines, table: Table, known: dict[str, pa.Schema], cache: Cache) -> pa.Schema | None:
    """The table's columns; None when nothing can be said about them.

    Raises:
        WorkFailed: The engine refuses the SQL.
    """
    from millstream.transform.recipe import Recipe

    if table.scoring is not None or table.function is not None:
        return None
    try:
        recipe = Recipe.of(table, ws.project.params)
    except MillstreamError:  # the declaration's own checks say it
        return None
    reads = {name: known[name] for name in recipe.inputs if name in known}
    if len(reads) < len(recipe.inputs):
        return None
    params: dict[str, Any] = {**recipe.params, "start": _SOME, "end": _SOME}
    key = digest(ws.settings.compute, recipe.text, sorted(recipe.params.items()), [(name, str(schema)) for name, schema in sorted(reads.items())])
    kept = cache.get(key)
    if kept is not None:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(kept)))
    found = ws.compute.describe(recipe.text, reads, params)
    cache.put(key, base64.b64encode(found.serialize().to_pybytes()).decode())
    return found


def _mistake(table: Table, text: str, known: Mapping[str, pa.Schema]) -> DefinitionError:
    from millstream.transform.refused import refusal

    why = refusal(text, table.sql or "", known)
    fix = why.fix or "correct the SQL; millstream sql tries a query on what has landed"
    place = Place(table.file, why.line or 1, why.column) if table.file else table.place
    at = f" at line {why.line}, column {why.column} of its SQL" if why.column and not table.file else ""
    return DefinitionError(f'table "{table.name}": its SQL does not fit what it reads', place=place, found=why.found + at + (f" (DuckDB: {why.said})" if why.said else ""),
                           fix=fix, code="E138")  # fmt: skip
