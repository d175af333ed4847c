"""Every argument of every declaration, checked in one place: `@checked` reads the signature and judges each value by the rule of its type.

A declaration with a mistake makes nothing. While a project loads, the mistake is kept and something unmade is given instead, so that the module
runs on; what is declared with that is withheld, since its mistakes would be consequences. Outside a load the mistake is raised.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from importlib import import_module
from types import CodeType
from typing import Any, TypeVar, cast

from millstream.base.errors import DefinitionError, Place
from millstream.base.place import here
from millstream.base.words import nearest, short
from millstream.declare.collect import Collection, listening, refuse
from millstream.declare.plain import Rule, Wrong
from millstream.declare.rules import rule_of
from millstream.declare.unmade import Unmade, unmade_in

F = TypeVar("F", bound=Callable[..., Any])
_LATER = {"Scoring": "model", "Reader": "source"}
"""Types that a declaration's file names and cannot import, with the file that has them."""


def checked(declaration: F) -> F:
    """The declaration, with each of its arguments checked."""

    @wraps(declaration)
    def check(*given: Any, **named: Any) -> Any:
        try:
            bound = _signature(declaration).bind(*given, **named).arguments
        except TypeError as error:
            return _unmade(refuse([_no_call(declaration, error, given, named)]), declaration, named.get("name", next(iter(given), None)))
        wrong = list(_wrong(declaration, given, bound))
        if wrong:
            return _unmade(refuse(wrong), declaration, bound.get("name"))
        heard = listening()
        if heard is not None and unmade_in([*given, *named.values()]):
            return _unmade(heard, declaration, bound.get("name"), follows=True)
        return declaration(*given, **named)

    check.__checked__ = True  # type: ignore[attr-defined]  # a test walks all that is public
    return cast(F, check)


_known: dict[CodeType, tuple[inspect.Signature, Mapping[str, Rule | None]]] = {}
"""By code and not by function: the function below a decorator is another one each time, and holds what it was made for."""


def _signature(declaration: Callable[..., Any]) -> inspect.Signature:
    found = _known.get(declaration.__code__)
    if found is None:
        found = _known[declaration.__code__] = (inspect.signature(declaration), _rules(declaration))
    return found[0]


def rules(declaration: Callable[..., Any]) -> Mapping[str, Rule | None]:
    """The rule of each parameter, by its annotation; None for one whose type says nothing. `self` has none."""
    _signature(declaration)
    return _known[declaration.__code__][1]


def _rules(declaration: Callable[..., Any]) -> Mapping[str, Rule | None]:
    parameters = [p for p in inspect.signature(declaration).parameters.values() if p.name != "self"]
    later = {name: getattr(import_module(f"millstream.declare.{file}"), name) for name, file in _LATER.items()}
    hints = typing.get_type_hints(declaration, localns={**later, **declaration.__globals__}, include_extras=True)
    return {p.name: rule_of(hints[p.name]) for p in parameters if p.name in hints}


def _wrong(declaration: Callable[..., Any], given: tuple[Any, ...], arguments: Mapping[str, Any]) -> Iterator[DefinitionError]:
    parameters = _signature(declaration).parameters
    by_name = rules(declaration)
    for name, value in arguments.items():
        rule, default = by_name.get(name), parameters[name].default
        if rule is None or unmade_in(value):
            continue
        if value is default or (isinstance(value, str) and value == default):
            continue
        if parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            found = next((w for w in map(rule.wrong, value) if w is not None), None)
        else:
            found = rule.wrong(value)
        if found is not None:
            yield mistake(_owner(declaration, given), name, found, here())


def mistake(told: str, name: str, wrong: Wrong, place: Place | None) -> DefinitionError:
    """The error of one argument: whose it is, which argument, what it was given, and what it may be."""
    argument = f"{name}{wrong.part}"
    return DefinitionError(f"{told}: {argument} {wrong.says}", place=place, found=f"{argument} = {spelt(wrong.found)}", fix=wrong.fix, code=wrong.code)


def spelt(value: Any) -> str:
    """A value as the user wrote it, nearly."""
    from millstream.declare.noun import Noun

    if isinstance(value, Noun):
        return str(value)
    if isinstance(value, str) and value.isprintable() and '"' not in value and len(value) < 80:
        return f'"{value}"'
    return short(value)


def _owner(declaration: Callable[..., Any], given: tuple[Any, ...]) -> str:
    """Whose argument it is: `stream "orders"`, `agg.mean`, `features "seen".on`."""
    from millstream.declare.noun import Noun

    owner, _, own = declaration.__qualname__.rpartition(".")
    if given and isinstance(given[0], Noun) and owner == type(given[0]).__name__:
        return str(given[0]) if own == "__getitem__" else f"{given[0]}, {own}"
    if owner.endswith("<locals>"):
        return f"@ms.{owner.partition('.')[0]}"
    if owner:
        return f"ms.{owner}.{own}" if owner.islower() else f"{owner}.{own}"
    return f'{own} "{short(given[0])[1:-1]}"' if given and isinstance(given[0], str) and "name" in rules(declaration) else f"ms.{own}"


def _no_call(declaration: Callable[..., Any], error: TypeError, given: tuple[Any, ...], named: Mapping[str, Any]) -> DefinitionError:
    """An argument that is not there, or one that is missing."""
    parameters = {p.name: p for p in _signature(declaration).parameters.values() if p.name != "self"}
    told = _owner(declaration, given)
    unknown = [name for name in named if name not in parameters]
    takes = f"it takes {', '.join(parameters) or 'nothing'}"
    if unknown:
        return DefinitionError(f'{told}: there is no argument "{unknown[0]}"', place=here(), found=f"{unknown[0]} = {spelt(named[unknown[0]])}",
                               fix=nearest(unknown[0], parameters) or takes, code="E194")  # fmt: skip
    said = str(error)
    return DefinitionError(f"{told}: {said}", place=here(), found=", ".join([*map(spelt, given), *named]) or "no argument", fix=takes, code="E194")


def _unmade(heard: Collection, declaration: Callable[..., Any], name: Any, *, follows: bool = False) -> Unmade:
    """What stands for the noun; what has no name of its own withholds none."""
    if "name" not in rules(declaration):
        return Unmade(heard, follows=follows)
    return Unmade(heard, name if isinstance(name, str) else "", follows=follows)
