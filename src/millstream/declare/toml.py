"""What `millstream.toml` says beside settings: the name, the parameters, and that sections are what they should be.
Settings are judged by `settings.py`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from millstream.base.errors import DefinitionError, Place
from millstream.base.place import shorten
from millstream.base.words import LONGEST, nearest, unfit
from millstream.declare.arguments import spelt
from millstream.declare.plain import Json

FILE = "millstream.toml"
SECTIONS = ("project", "params", "profile", "serve", "console", "alerts", "cluster")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_BOUNDS = ("start", "end")
"""Parameters that a table made by intervals has anyway."""


def said(root: Path) -> tuple[Mapping[str, Any], list[DefinitionError]]:
    """The file's sections, those that are wrong left out, and what is wrong."""
    file = root / FILE
    try:
        text = file.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return {}, [_wrong(f"{FILE} is not valid TOML", Place(shorten(str(file)), 1), str(error), "correct the syntax")]

    def at(section: str, key: str = "") -> Place:
        return Place(shorten(str(file)), line_of(text, section, key))

    errors = [
        _wrong(
            f'{FILE} has a section "{key}" that nothing reads',
            at(key),
            key,
            nearest(key, SECTIONS) or f"there are {', '.join(SECTIONS)}",
        )
        for key in found
        if key not in SECTIONS
    ]
    for key in [key for key in SECTIONS if key in found and not isinstance(found[key], Mapping)]:
        errors.append(
            _wrong(
                f'"{key}" is a section',
                at("", key),
                f"{key} = {spelt(found.pop(key))}",
                f"write  [{key}]  and its keys below it",
            )
        )
    if not errors:
        errors += _project(found.get("project", {}), at)
    errors += [
        error for key, value in found.get("params", {}).items() for error in _param(key, value, at("params", key))
    ]
    found["params"] = {key: _zoned(value) for key, value in found.get("params", {}).items()}
    for name, profile in found.get("profile", {}).items():
        if not isinstance(profile, Mapping):
            errors.append(
                _wrong(
                    f'the profile "{name}" is not a section',
                    at("profile", name),
                    f"{name} = {spelt(profile)}",
                    f"write  [profile.{name}]  and its keys below it",
                )
            )
    return found, errors


def _project(told: Mapping[str, Any], at: Any) -> Iterator[DefinitionError]:
    for key in told:
        if key != "name":
            yield _wrong(
                f'[project] has no "{key}"',
                at("project", key),
                f"{key} = {spelt(told[key])}",
                nearest(key, ["name"]) or "it has the name alone",
            )
    name = told.get("name", "")
    if not name and not any(key != "name" for key in told):
        yield _wrong("the project has no name", at("project"), FILE, '[project]\n         name = "..."')
    elif name and not (isinstance(name, str) and _PROJECT.fullmatch(name) and len(name) <= LONGEST):
        yield _wrong(
            "[project]: name is not a name of a project",
            at("project", "name"),
            f"name = {spelt(name)}",
            f"letters of a to z, digits, _ . and -, at most {LONGEST}: it becomes names of workflows",
        )


def _param(key: str, value: Any, place: Place) -> Iterator[DefinitionError]:
    if isinstance(value, list | Mapping):
        yield _wrong(
            f'the parameter "{key}" is not a single value',
            place,
            f"{key} = {spelt(value)}",
            "a parameter is a number, a string, a boolean, a date, or a date with a time",
        )
    elif not (isinstance(value, date) or Json().fits(value)) or (isinstance(value, int) and abs(value) >= 2**63):
        yield _wrong(
            f'the parameter "{key}" has no value that SQL takes',
            place,
            f"{key} = {spelt(value)}",
            "a finite number of 64 bits, a string, a boolean, a date, or a date with a time",
        )
    if unfit(key.lower()):
        yield _wrong(
            f'the parameter "{key}" cannot be said in SQL',
            place,
            key,
            f"letters of a to z, digits and _, beginning with a letter, at most {LONGEST}: ${key}",
        )
    elif key in _BOUNDS:
        yield _wrong(
            f'the parameter "{key}" is taken',
            place,
            f"{key} = {spelt(value)}",
            "rename it: $start and $end are the bounds of an interval",
        )


def _zoned(value: Any) -> Any:
    """A time without a zone is of UTC, as in files of events."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def line_of(text: str, section: str, key: str = "") -> int:
    """The line, from 1, of a key in a section, or of the section's header; dotted keys may be spread over both. 1 when
    it is not found.

    >>> line_of('[serve]\\nport = 1\\n[profile.x]\\nserve.port = 2\\n', "profile.x", "serve.port")
    4
    """
    inside, first = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([^\]]*?)\s*\]", line)
        if header:
            inside = header[1].replace('"', "")
            first = number if inside == section and first == 1 else first
            continue
        word = line.partition("=")[0].strip().replace('"', "")
        if key and word and ".".join(filter(None, (inside, word))) == ".".join(filter(None, (section, key))):
            return number
    return first


def _wrong(message: str, place: Place, found: str, fix: str) -> DefinitionError:
    return DefinitionError(message, place=place, found=found, fix=fix, code="E109")
