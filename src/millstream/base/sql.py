"""Words of SQL."""

from __future__ import annotations


def quoted(name: str) -> str:
    """A name as an identifier, in double quotes.

    >>> print(quoted('a "b"'))
    "a ""b\"""
    """
    return '"' + name.replace('"', '""') + '"'
