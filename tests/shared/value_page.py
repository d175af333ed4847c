"""The page `docs/reference/values.md`, made of the table that the tests ask every door by."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Any

import value_table as table
from value_table import DEAD, MISSING, Cell

_INTRO = """# Values, as they may be written

<!-- Made by `make docs` from tests/shared/value_table.py. Change the table, not this page. -->

One record gives one value by every door and format, or it is refused: a dead letter from a file or a topic, an error of
a request, before anything is stored. What would lose digits or has to be guessed is refused.
`tests/ingest/test_one_value.py` asks every door for every cell below.

- **No value.** An empty field of CSV, a JSON `null`, a field that is missing, a null of a column and NaN are not
  values: NULL where the field may be NULL, else the field's default, else refused. `""` is an empty text, and nothing
  else but an empty `bytes`. The words `null` and `N/A` are texts.
- **Whole numbers** may be written `1.0` or `1e3`, in every format. A float in a column is one up to 2^53; beyond, it
  may stand for several.
- **Floats** are the nearest to what is written, except for a whole number that is written out (no point, no exponent)
  and that no float holds: `9007199254740993` is refused, since each digit was meant. JSON has no infinity, so only CSV,
  Parquet, Avro and topics can bring one. Zero has no sign: `-0` lands as `0.0`.
- **Booleans** are `true` and `false`; in CSV in any case, and `1` and `0` there and in columns of whole numbers.
- **Texts** are taken as they stand. Columns of whole numbers, decimals and dates become texts; floats, booleans and
  times do not, since each tool writes them in its own way.
- **Dates** have no time and no zone. A column of times without a zone gives dates when each is a midnight, as pandas
  writes them.
- **Times** are cut to microseconds, never rounded: what is finer is dropped, downwards before 1970 too, by every door
  and in every format (digits of a text, nanoseconds of Parquet, Avro, pandas and topics). Without a zone they are of
  the source's zone (`ms.read.files(..., zone=)`) in files, and refused in requests. Numbers are not times: their unit
  would be a guess. So would be a local time that the zone has twice, in the hour when its clock is set back, in every
  format: write such times with an offset or in UTC (Z), or all of them. A local time that the clock skips does not
  exist, and is refused too.
- **Spaces** around a number, a date or a time do not count in CSV; in JSON they do.
- **Lists** are JSON arrays, in CSV too, with the items of JSON; no item may be null or NaN.
- **Objects** of the Python client and of `lab.send` are checked by their types before they are sent: no text is a date,
  `True` is no 1. Scalars and arrays of numpy, and times of pandas, count as the values of Python that they equal.

A record of a topic is read under its writer's Avro schema, promoted as Avro does (`int` to `long`, `long` to `double`
where it is exact); another change of type stops the stream, which is not a question of one record.
"""

_PRINTED = """## What is printed

`millstream sql --json` and `--csv` lose nothing in silence. Every `--json` prints floats as shown here.
`tests/transform/test_plain.py` checks each line.

| value | JSON | CSV |
|---|---|---|
| NULL | `null` | an empty field |
| an empty text | `""` | `""` |
| NaN, infinities | the texts `"NaN"` `"Infinity"` `"-Infinity"`: JSON has no such numbers | `nan` `inf` `-inf` |
| whole numbers, of any size | all digits; read them as 64-bit integers or more, not as doubles | all digits |
| decimals | a text with all places, `"1.50"`; without places (`sum` of integers) a whole number | `1.50` |
| times | ISO 8601, `Z` where the type has a zone; year 10000 and nanoseconds too | `2026-01-02 03:04:05.000000Z` |
| intervals and durations | ISO 8601, each part with its own sign: `"P1Y2M-1DT2.5S"` | the same |
| bytes | base64 | base64 |
| lists, structs | arrays, objects | JSON |
| maps | an object if the keys are texts, else an array of pairs | JSON |

Requests and answers of an endpoint have no such floats: a model that predicts one fails the request.
"""


def page() -> str:
    """The page as text."""
    parts = [_INTRO]
    for kind in dict.fromkeys(cell.kind for cell in table.CSV):
        parts.append(f"## {kind}\n\n" + _table(kind))
    parts.append(
        "## Columns of Parquet and Avro\n\nFor types that are not the field's own. The source's zone here is"
        " Europe/Berlin.\n\n" + _columns()
    )
    parts.append("## Objects of Python\n\n" + _objects())
    parts.append(_PRINTED)
    return "\n".join(parts)


def _table(kind: str) -> str:
    csv, files = (
        _by_value(kind, table.CSV, lambda cell: cell.value),
        _by_value(kind, table.JSON, lambda cell: cell.value),
    )
    asked = _by_value(kind, table.JSON, lambda cell: cell.by_request)
    differ = files != asked
    lines = [
        f"| value | CSV | {'JSON Lines | requests' if differ else 'JSON'} |",
        "|---|---|---|---|" if differ else "|---|---|---|",
    ]
    for value in sorted(dict.fromkeys([*csv, *files, *asked]), key=lambda told: told == "refused"):
        lines.append(
            f"| {value} | {csv.get(value, '')} | {files.get(value, '')} |"
            + (f" {asked.get(value, '')} |" if differ else "")
        )
    return "\n".join(lines) + "\n"


def _by_value(kind: str, cells: Iterable[Cell], of: Callable[[Cell], Any]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for cell in cells:
        if cell.kind == kind:
            found.setdefault(_value(of(cell)), []).append(_spelled(cell.spelled))
    return {value: " ".join(dict.fromkeys(spelled)) for value, spelled in found.items()}


def _spelled(text: Any) -> str:
    if text is MISSING:
        return "*missing*"
    return "*empty*" if text == "" else f"`{text.replace('|', chr(92) + '|')}`"


def _value(value: Any) -> str:
    if value is DEAD or value == DEAD:
        return "refused"
    return "NULL" if value is None else f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, bytes):
        return repr(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(value)


def _columns() -> str:
    found = [
        (cell.kind, str(cell.spelled.type), _listed(cell.spelled.to_pylist()[0]), _value(cell.value))
        for cell in table.COLUMNS
    ]
    avro = [
        (cell.kind, f"Avro {_avro(cell.spelled[0])}", _listed(cell.spelled[1]), _value(cell.value))
        for cell in table.AVRO
    ]
    lines = [f"| {kind} | {column} | `{sent}` | {value} |" for kind, column, sent, value in found + avro]
    return "| field | column | holds | value |\n|---|---|---|---|\n" + "\n".join(lines) + "\n"


def _objects() -> str:
    lines = [f"| {cell.kind} | `{_listed(cell.spelled)}` | {_value(cell.value)} |" for cell in table.PYTHON]
    return "| field | object | value |\n|---|---|---|\n" + "\n".join(lines) + "\n"


def _listed(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    text = f"{type(value).__name__} {value}" if isinstance(value, date) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _avro(kind: Any) -> str:
    if isinstance(kind, list):
        return " or ".join(map(_avro, kind))
    if isinstance(kind, dict):
        return f"array of {_avro(kind['items'])}" if kind["type"] == "array" else str(kind["logicalType"])
    return str(kind)
