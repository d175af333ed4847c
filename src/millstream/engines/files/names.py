"""The columns of a file that are no fields of the event class."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache

from millstream.base.event import Schema
from millstream.base.words import otherwise_cased

log = logging.getLogger("millstream.files")


def left_out(split: str, names: Sequence[str], schema: Schema) -> list[str]:
    """These columns, in the file's order; they are told of in the log."""
    unknown = [name for name in names if name not in schema.names()]
    if unknown:
        log.info("%s: columns %s are not in %s and are left out", split, ", ".join(unknown), schema.name)
    for field in schema.names():
        cased = otherwise_cased(field, unknown) if field not in names else None
        if cased:
            _warn(split, schema.name, field, cased)
    return unknown


@lru_cache(maxsize=1024)  # once a process: a file that grows is opened again and again
def _warn(split: str, event: str, field: str, cased: str) -> None:
    log.warning('%s: the column "%s" is left out: names are case-sensitive, and the field of %s is "%s"; rename one of them', split, cased, event, field)
