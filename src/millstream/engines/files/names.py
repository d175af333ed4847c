"""The columns of a file that are not fields of the event class."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from millstream.base.event import Schema

log = logging.getLogger("millstream.files")


def left_out(split: str, names: Sequence[str], schema: Schema) -> list[str]:
    """These columns, in the file's order; they are reported in the log."""
    unknown = [name for name in names if name not in schema.names()]
    if unknown:
        log.info("%s: columns %s are not in %s and are left out", split, ", ".join(unknown), schema.name)
    return unknown
