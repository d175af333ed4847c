"""The names of a file's columns beside those of the event class's fields."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from millstream.base.errors import Corrupt
from millstream.base.event import REQUIRED, Field, Schema
from millstream.base.words import near, otherwise_cased
from millstream.ingest.cast import wanted

log = logging.getLogger("millstream.files")


def left_out(split: str, names: Sequence[str], schema: Schema) -> list[str]:
    """These columns, in the file's order; they are reported in the log."""
    unknown = [name for name in names if name not in schema.names()]
    if unknown:
        log.info("%s: columns %s are not in %s and are left out", split, ", ".join(unknown), schema.name)
    return unknown


def refuse(place: str, names: Sequence[str], schema: Schema) -> None:
    """That records can be read from columns of these names. All that is wrong with them is reported at once, before
    anything is read: such a file has no good record, and can be corrected where it is.

    Raises:
        Corrupt: A field that needs a column has none, or has it in another case; or a field has two.
    """
    lacking = [f for f in schema.fields if f.name not in names and (_needed(f) or otherwise_cased(f.name, names))]
    twice = [f'"{f.name}" is there {names.count(f.name)} times' for f in schema.fields if names.count(f.name) > 1]
    if not lacking and not twice:
        return
    unknown = [name for name in dict.fromkeys(names) if name not in schema.names()]
    told = []
    for field in lacking:
        meant = near(field.name, unknown)
        if meant is not None:
            unknown.remove(meant)
        told.append(f'"{field.name}" is missing ({_instead(field, meant)})')
    others = (
        ""
        if not unknown
        else (
            f"; beside them there {'is' if len(unknown) == 1 else 'are'} {', '.join(map(_quoted, unknown[:_SHOWN]))},"
            f" which {schema.name} does not have"
        )
    )
    raise Corrupt(
        f"{place}: the columns do not fit {schema.name}: {', '.join([*told, *twice])}{others if lacking else ''};"
        " nothing of the file was read, so correct its columns where it is"
    )


_SHOWN = 10


def _needed(field: Field) -> bool:
    return not field.nullable and field.default in (REQUIRED, None)


def _instead(field: Field, meant: str | None) -> str:
    if meant is None:
        return f"add it as {wanted(field)}"
    cased = ", since names are case-sensitive" if meant.lower() == field.name.lower() else ""
    return f"rename {_quoted(meant)} to it{cased}"


def _quoted(name: str) -> str:
    return f'"{name}"'
