"""Bytes cut into records: vectorised where quotes are as they should be, line by line where they are not.

A record is a line, or in CSV the lines that a quoted field spans. A line whose quotes are malformed, or that opens a
quote which does not close within the limit, is a record by itself, and bad; so one stray quote costs one line, not the
file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]
NEWLINE, QUOTE, COMMA, RETURN = 10, 34, 44, 13
_INSIDE = rb'[^"]*(?:""[^"]*)*'
_FIELD = rb'(?:[^",\n]+|"' + _INSIDE + rb'"|)'
_WHOLE = re.compile(_FIELD + rb"(?:," + _FIELD + rb")*\r?")
_OPEN = re.compile(rb"(?:" + _FIELD + rb',)*"' + _INSIDE)
_CLOSES = re.compile(_INSIDE + rb'"(?:,' + _FIELD + rb")*\r?")
_STAYS_OPEN = re.compile(_INSIDE + rb'(?:"(?:,' + _FIELD + rb')*,"' + _INSIDE + rb")?")
"""The last two are of a line that begins inside a quoted field: so each line is looked at once, however many a field
spans.
"""
UNCLOSED = "a quoted field is opened and not closed; close it, or double the quote"
STRAY = (
    "a quote stands inside an unquoted field, or text after a closing one; quote the whole field, and double the quotes"
    " in it"
)


@dataclass(frozen=True)
class Cut:
    """Records of a buffer.

    Attributes:
        starts, ends: Of each record; `ends` lies before its line end.
        nexts: Where the record after it starts.
        lines: Lines of the buffer before the record (0 for the first).
        lines_after: Lines of the buffer up to its end.
        wrong: Record -> why it cannot be one.
    """

    starts: Ints
    ends: Ints
    nexts: Ints
    lines: Ints
    lines_after: Ints
    wrong: dict[int, str]


def unclosed(line: bytes) -> bool:
    """Whether a line, without its end, opens a quoted field that continues in the next."""
    return b'"' in line and not _WHOLE.fullmatch(line) and bool(_OPEN.fullmatch(line))


def cut_lines(buffer: bytes, final: bool) -> Cut:
    """Each line a record; the last, without a line end, only when the buffer is `final`."""
    ends = np.flatnonzero(np.frombuffer(buffer, np.uint8) == NEWLINE)
    return _made(ends, ends, buffer, final, {})


def cut_csv(buffer: bytes, final: bool, limit: int) -> Cut:
    """Records of CSV."""
    if b'"' not in buffer:
        return cut_lines(buffer, final)
    codes = np.frombuffer(buffer, np.uint8)
    quotes, newlines = np.flatnonzero(codes == QUOTE), np.flatnonzero(codes == NEWLINE)
    ends = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    longest = np.diff(ends, prepend=-1).max(initial=0)
    complete = len(quotes) % 2 == 0
    if (
        _well_formed(codes, quotes)
        and longest <= limit
        and (complete or not final)
        and (len(buffer) - (ends[-1] + 1 if len(ends) else 0) <= limit)
    ):
        return _made(ends, newlines, buffer, final, {})
    return _cut_slowly(buffer, newlines, final, limit)


def _well_formed(codes: Any, quotes: Ints) -> bool:
    opens, closes = quotes[0::2], quotes[1::2]
    before = codes[opens[opens > 0] - 1]
    after = codes[closes[closes < len(codes) - 1] + 1]
    good_before = (before == COMMA) | (before == NEWLINE) | (before == QUOTE)
    returned = closes[closes < len(codes) - 2][after[: int((closes < len(codes) - 2).sum())] == RETURN]
    good_after = (after == COMMA) | (after == NEWLINE) | (after == QUOTE) | (after == RETURN)
    if (codes[returned + 2] != NEWLINE).any():
        return False
    return bool(good_before.all() and good_after.all())


def _cut_slowly(buffer: bytes, newlines: Ints, final: bool, limit: int) -> Cut:
    ends: list[int] = []
    wrong: dict[int, str] = {}
    starts = [0, *(newlines + 1).tolist()]
    stops = newlines.tolist() + ([len(buffer)] if final and starts[-1] < len(buffer) else [])
    quotes = np.flatnonzero(np.frombuffer(buffer, np.uint8) == QUOTE)
    quoted = np.unique(np.searchsorted(newlines, quotes))  # only a line with a quote can close one
    at = 0
    while at < len(stops):
        last, why = _last_line(buffer, at, starts, stops, quoted, final, limit)
        if last is None:
            return _made(np.array(ends, np.int64), newlines, buffer, False, wrong)
        if why:
            wrong[len(ends)] = why
        ends.append(stops[last])
        at = last + 1
    return _made(np.array(ends, np.int64), newlines, buffer, final, wrong)


def _last_line(
    buffer: bytes, at: int, starts: list[int], stops: list[int], quoted: Ints, final: bool, limit: int
) -> tuple[int | None, str]:
    """The last line of the record that begins with line `at` (None: more must be read to say), and why it is wrong.

    A line that opens a field has an odd number of quotes, and such a line closes one: so no line is looked at from more
    than two records.
    """
    line = buffer[starts[at] : stops[at]]
    if b'"' not in line or _WHOLE.fullmatch(line):
        return at, ""
    if not _OPEN.fullmatch(line):
        return at, STRAY
    for last in quoted[np.searchsorted(quoted, at, side="right") :].tolist():
        if last >= len(stops):
            break
        if stops[last] - starts[at] > limit:
            return at, UNCLOSED
        line = buffer[starts[last] : stops[last]]
        if _CLOSES.fullmatch(line):
            return last, ""
        if not _STAYS_OPEN.fullmatch(line):
            return at, STRAY
    return (at, UNCLOSED) if final or len(buffer) - starts[at] > limit else (None, "")


def _made(ends: Ints, newlines: Ints, buffer: bytes, final: bool, wrong: dict[int, str]) -> Cut:
    ends = ends.astype(np.int64)
    done = int(ends[-1]) + 1 if len(ends) else 0
    if final and done < len(buffer):
        ends = np.append(ends, len(buffer))
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1]) if len(ends) else ends
    nexts = np.minimum(ends + 1, len(buffer))
    return Cut(starts, ends, nexts, np.searchsorted(newlines, starts), np.searchsorted(newlines, ends) + 1, wrong)
