"""A JSON array cut into its items by brackets and quotes alone, so that an item that no decoder takes (half an emoji,
levels without end) harms no neighbour.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

_SPACE = b" \t\r\n"
_QUOTE, _ESCAPE = b'"'[0], b"\\"[0]
_COMMA = 2
_STEPS = np.zeros(256, np.int8)
"""What a byte does to the depth: 1, -1, nothing; and the comma."""
for _bytes, _step in ((b"[{", 1), (b"]}", -1), (b",", _COMMA)):
    _STEPS[list(_bytes)] = _step


def array_items(body: bytes) -> list[bytes] | None:
    """The items of an array, each without the white space around it; None when brackets and quotes do not show where
    they begin and end.

    Whether an item is JSON is not asked. One pass of numpy over the bytes, whatever their depth: what a sender nests
    costs no recursion.
    """
    text = body.strip(_SPACE)
    if text[:1] != b"[" or text[-1:] != b"]":
        return None
    codes = np.frombuffer(text, np.uint8)
    quotes = _unescaped(codes)
    if len(quotes) % 2:
        return None
    steps = _STEPS[codes]
    places = np.flatnonzero(steps)
    if len(quotes):
        places = places[np.searchsorted(quotes, places) % 2 == 0]  # outside of strings
    found = steps[places]
    depth = np.cumsum(np.where(found == _COMMA, 0, found), dtype=np.int32)
    if depth[-1] != 0 or (depth[:-1] < 1).any():
        return None
    cuts = [0, *places[(found == _COMMA) & (depth == 1)].tolist(), len(text) - 1]
    items = [text[start + 1 : stop].strip(_SPACE) for start, stop in pairwise(cuts)]
    if items == [b""]:
        return []
    return None if b"" in items else items


def _unescaped(codes: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Quotes that no odd number of backslashes precedes."""
    quotes = np.flatnonzero(codes == _QUOTE)
    if not (codes == _ESCAPE).any():
        return quotes
    others = np.flatnonzero(codes != _ESCAPE)
    before = np.searchsorted(others, quotes) - 1  # the last byte before it that is not a backslash
    run = quotes - 1 - np.where(before >= 0, others[before], -1)
    return quotes[run % 2 == 0]
