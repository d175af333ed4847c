"""Which Avro schemas may follow which, by the rules of Avro's schema resolution (specification 1.12, "Schema Resolution").

backward: the new schema reads what the old ones wrote. forward: the old ones read what it writes. full: both. Plain, against the
latest; `_transitive`, against all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from millstream.base.errors import Incompatible, UsageError
from millstream.base.words import choices, otherwise_cased

RULES = ("none", "backward", "forward", "full", "backward_transitive", "forward_transitive", "full_transitive")
_PROMOTED = {
    ("int", "long"),
    ("int", "float"),
    ("int", "double"),
    ("long", "float"),
    ("long", "double"),
    ("float", "double"),
    ("string", "bytes"),
    ("bytes", "string"),
}


def canonical(schema: str) -> str:
    """The text without what does not matter: white space and order of attributes."""
    return json.dumps(json.loads(schema), sort_keys=True, separators=(",", ":"))


def check(compatibility: str, new: str, olds: Sequence[str], *, subject: str = "") -> None:
    """Refuse a schema that breaks the rule.

    Args:
        olds: Registered before, oldest first.

    Raises:
        Incompatible: Names the field and the fix.
        UsageError: No such rule.
    """
    if compatibility not in RULES:
        raise UsageError(f'no compatibility rule "{compatibility}"; {choices(compatibility, RULES)}')
    direction, _, transitive = compatibility.partition("_")
    for old in olds if transitive else olds[-1:]:
        faults: list[str] = []
        if direction in ("backward", "full"):
            faults += [f"the new schema cannot read old records: {fault}" for fault in reads(json.loads(new), json.loads(old))]
        if direction in ("forward", "full"):
            faults += [f"the old schema cannot read new records: {fault}" for fault in reads(json.loads(old), json.loads(new))]
        if faults:
            raise Incompatible(f'"{subject}" keeps the contract "{compatibility}", and this change breaks it: {"; ".join(faults)}. Give a new field a default or make it `| None`, add a field beside the old one, or declare contract="none" and a new stream')  # fmt: skip


def reads(reader: Any, writer: Any, at: str = "") -> Iterator[str]:
    """What keeps a reader's schema from reading a writer's records; nothing, when it can."""
    if isinstance(writer, list):
        for branch in writer:
            yield from reads(reader, branch, at)
        return
    if isinstance(reader, list):
        if not any(not list(reads(branch, writer, at)) for branch in reader):
            yield f"{at or 'it'} is {_name(writer)} and becomes {_name(reader)}"
        return
    r, w = _type(reader), _type(writer)
    if r == w == "record":
        yield from _records(reader, writer, at)
    elif r == w == "array":
        yield from reads(reader["items"], writer["items"], f"{at}[]")
    elif r == w == "map":
        yield from reads(reader["values"], writer["values"], f"{at}{{}}")
    elif r == w == "enum":
        lost = [s for s in writer["symbols"] if s not in reader["symbols"]]
        if lost and "default" not in reader:
            yield f"{at} may hold {', '.join(lost)}, which the reader does not know"
    elif (r != w and (w, r) not in _PROMOTED) or (_logical(reader) != _logical(writer) and r == w):
        yield f"{at or 'it'} is {_name(writer)} and becomes {_name(reader)}"


def _records(reader: Any, writer: Any, at: str) -> Iterator[str]:
    written = {f["name"]: f for f in writer["fields"]}
    for field in reader["fields"]:
        place = f"{at}.{field['name']}" if at else field["name"]
        found = next((written[n] for n in [field["name"], *field.get("aliases", [])] if n in written), None)
        if found is not None:
            yield from reads(field["type"], found["type"], place)
        elif "default" not in field:
            cased = otherwise_cased(field["name"], written)
            yield f"{place} is missing there and has no default" + (f' ("{cased}" is there, and names are case-sensitive)' if cased else "")


def _type(schema: Any) -> str:
    return str(schema["type"]) if isinstance(schema, dict) else str(schema)


def _logical(schema: Any) -> str | None:
    return schema.get("logicalType") if isinstance(schema, dict) else None


def _name(schema: Any) -> str:
    if isinstance(schema, list):
        return " or ".join(_name(branch) for branch in schema)
    return _logical(schema) or _type(schema)
