"""The class of a stream's events, and the schema read off it.

class Departure(ms.Event):
    '''A flight has left the gate.'''
    flight_id: str
    delay: float = ms.field(doc="minutes, negative if early")
    ts: ms.EventTime
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, dataclass_transform, get_args, get_origin

from millstream.base.errors import DefinitionError, Place
from millstream.base.event import KINDS, REQUIRED, ArrivalTime, EventTime, Field, Schema
from millstream.base.place import here
from millstream.base.words import FIELD, unfit
from millstream.declare.arguments import checked, spelt
from millstream.declare.collect import refuse
from millstream.declare.plain import Anything
from millstream.declare.rules import Doc


@checked
def field(
    *, doc: Doc = "", default: Annotated[Any, Anything("its class, by the field's type")] = dataclasses.MISSING
) -> Any:
    """A field with a description; it shows in the schema, the console and the client."""
    return dataclasses.field(default=default, metadata={"doc": doc})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field, dataclasses.field))
class Event:
    """Subclass it to say what an event holds. Instances are frozen, keyword-only dataclasses; naive datetimes are
    refused.
    """

    __schema__: ClassVar[Schema]
    __place__: ClassVar[Place | None]
    __moments__: ClassVar[tuple[str, ...]]
    __unmade__: ClassVar[bool]
    """Whether a field of it is wrong, so that nothing can be said of what is declared with it."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__place__ = here()
        doc = cls.__dict__.get("__doc__")
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        cls.__doc__ = doc  # the generated signature is not a description
        cls.__schema__, wrong = _read(cls)
        cls.__moments__ = tuple(f.name for f in cls.__schema__.fields if f.kind == "timestamp")
        cls.__unmade__ = bool(wrong) or any(getattr(base, "__unmade__", False) for base in cls.__bases__)
        if wrong:
            refuse(wrong)

    def __post_init__(self) -> None:
        for name in self.__moments__:
            value = getattr(self, name)
            if not isinstance(value, datetime) or value.tzinfo is UTC:
                continue
            if value.tzinfo is None:
                raise ValueError(
                    f"{type(self).__name__}.{name} needs a time zone, e.g. {value.isoformat()}+00:00; it is {value!r}"
                )
            object.__setattr__(self, name, value.astimezone(UTC))


def _read(cls: type[Event]) -> tuple[Schema, list[DefinitionError]]:
    """The schema of the fields that are right, and what is wrong with the others; what is inherited was reported with
    its own class.
    """
    try:
        hints = typing.get_type_hints(cls, None, {cls.__name__: cls}, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        wrong = [
            DefinitionError(
                f"{cls.__name__} has a field of an unknown type",
                place=cls.__place__,
                found=str(error),
                fix="import the type",
                code="E121",
            )
        ]
        return Schema(cls.__name__, (cls.__doc__ or "").strip(), ()), wrong
    fields: list[Field] = []
    mistakes: list[DefinitionError] = []
    own = inspect.get_annotations(cls)
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]
        try:
            fields.append(_field(cls, item, hints[item.name]))
        except DefinitionError as error:
            mistakes += [error] if item.name in own else []
    return Schema(cls.__name__, (cls.__doc__ or "").strip(), tuple(fields)), mistakes


def _field(cls: type[Event], item: dataclasses.Field[Any], hint: Any) -> Field:
    role, nullable, doc = "", False, item.metadata.get("doc", "")
    if get_origin(hint) in (typing.Union, types.UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        nullable, hint = len(options) < len(get_args(hint)), options[0] if len(options) == 1 else hint
    if get_origin(hint) is Annotated:
        hint, role = get_args(hint)[0], str(get_args(hint)[1])
    default = REQUIRED if item.default is dataclasses.MISSING else item.default
    common: dict[str, Any] = {
        "name": item.name,
        "nullable": nullable,
        "role": role,
        "doc": doc,
        "default": default,
        "place": cls.__place__,
    }
    # What begins with _ has an error of its own
    said = unfit(item.name, letters=FIELD) if not item.name.startswith("_") else None
    if said:
        raise DefinitionError(
            f'the field "{item.name}" of {cls.__name__} {said[0]}',
            place=cls.__place__,
            found=item.name,
            fix=said[1],
            code="E101",
        )
    symbols = get_args(hint) if get_origin(hint) is Literal else ()
    if symbols and all(isinstance(value, str) and value for value in symbols):
        made = Field(kind="enum", symbols=symbols, **common)
    elif get_origin(hint) is list and _plain(get_args(hint)[0]):
        made = Field(kind="list", item=KINDS[get_args(hint)[0]], **common)
    elif _plain(hint):
        made = Field(kind=KINDS[hint], **common)
    else:
        raise DefinitionError(
            f'field "{item.name}" of {cls.__name__} has a type that no event can hold',
            place=cls.__place__,
            found=str(hint),
            fix=(
                "use str, int, float, bool, bytes, datetime, date, Literal[...], list[...] of these, or one of them |"
                " None"
            ),
            code="E122",
        )
    if default is not REQUIRED and not _holds(made, default):
        raise DefinitionError(
            f'the field "{item.name}" of {cls.__name__} has a default of another type',
            place=cls.__place__,
            found=f"{item.name} = {spelt(default)}",
            fix=f"give one of its type, {_wanted(made)}, or none",
            code="E123",
        )
    return made


def _plain(hint: Any) -> bool:
    return isinstance(hint, type) and hint in KINDS


def _wanted(of: Field) -> str:
    return "one of " + ", ".join(f'"{symbol}"' for symbol in of.symbols) if of.symbols else of.kind


def _holds(of: Field, value: Any) -> bool:
    """Whether a default is a value of the field."""
    if value is None:
        return of.nullable
    if of.symbols:
        return value in of.symbols
    if of.kind == "list":
        return isinstance(value, list | tuple)
    python = {kind: hint for hint, kind in KINDS.items()}[of.kind]
    if of.kind in ("int64", "float64"):
        return (
            isinstance(value, int | python)
            and not isinstance(value, bool)
            and abs(value) < (2**63 if of.kind == "int64" else float("inf"))
        )
    return isinstance(value, python) and not (of.kind == "date" and isinstance(value, datetime))


class Change(Event):
    """A change captured from a database: subclass it with the table's columns."""

    op: Literal["insert", "update", "delete", "snapshot"]
    committed_at: EventTime


__all__ = ["ArrivalTime", "Change", "Event", "EventTime", "field"]
