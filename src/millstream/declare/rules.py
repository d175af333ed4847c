"""What a value of an argument may be: one rule a kind of value, read off the type that the argument is annotated with.

`rule_of` is the only place that decides which rule an annotation means, so an argument has the check of its type without anybody writing one.
A rule that the type cannot say (a range, the letters of a name) stands beside it: `Annotated[int, Whole(1, 10_000)]`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from millstream.base.words import short
from millstream.declare.plain import Class, Cron, Flag, Function, Instance, Named, Number, Rule, Text, Whole, Word, Wrong, _spelt


@dataclass(frozen=True)
class Items(Rule):
    """Several values in order: a list or a tuple, never a text."""

    item: Rule
    least: int = 0
    most: int | None = None
    distinct: bool = False

    @property
    def wants(self) -> str:  # type: ignore[override]
        return f"a list, each of it {self.item.wants}" if self.most is None else f"{self.most} values, each {self.item.wants}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, Sequence) and not isinstance(value, str | bytes)

    def wrong(self, value: Any) -> Wrong | None:
        if not self.fits(value):
            alone = self.item.wrong(value) is None
            return Wrong("wants a list", value, f"write a list: [{_spelt(value)}]" if alone else f"give {self.wants}", self.code)
        if len(value) < self.least or (self.most is not None and len(value) > self.most):
            return Wrong("is empty" if not value else f"has {len(value)} values", value, f"give {self.wants}", "E193")
        for place, item in enumerate(value):
            found = self.item.wrong(item)
            if found is not None:
                return _inside(found, f"[{place}]")
        if self.distinct and len(set(value)) < len(value):
            return Wrong("names one thing twice", value, "name each once", "E193")
        return None


@dataclass(frozen=True)
class Entries(Rule):
    """Values by name."""

    key: Rule
    value: Rule

    @property
    def wants(self) -> str:  # type: ignore[override]
        return f"a mapping of names, each to {self.value.wants}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, Mapping)

    def wrong(self, value: Any) -> Wrong | None:
        if not isinstance(value, Mapping):
            return self.other(value)
        for name, item in value.items():
            found = self.key.wrong(name) or self.value.wrong(item)
            if found is not None:
                return _inside(found, f"[{short(name, 40)}]")
        return None


@dataclass(frozen=True)
class Either(Rule):
    """One of several kinds of value."""

    rules: tuple[Rule, ...]
    none: bool = False

    @property
    def wants(self) -> str:  # type: ignore[override]
        return " or ".join([*dict.fromkeys(rule.wants for rule in self.rules), *(["None"] if self.none else [])])

    def fits(self, value: Any) -> bool:
        return (self.none and value is None) or any(rule.fits(value) for rule in self.rules)

    def wrong(self, value: Any) -> Wrong | None:
        if self.none and value is None:
            return None
        near = [rule for rule in self.rules if rule.fits(value)]
        found = [rule.wrong(value) for rule in near]
        if near:
            return None if None in found else found[0]
        return self.rules[0].wrong(value) if len(self.rules) == 1 else self.other(value)


def rule_of(annotation: Any) -> Rule | None:
    """The rule that an annotation means; None when it says nothing that could be checked."""
    if isinstance(annotation, typing.TypeVar):
        return None if annotation.__bound__ is None else rule_of(annotation.__bound__)
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return next((said for said in reversed(annotation.__metadata__) if isinstance(said, Rule)), None) or rule_of(inner[0])
    if origin in (typing.Union, types.UnionType):
        return _either(inner)
    if origin is Literal:
        return Word(inner)
    if origin is type:
        bound = getattr(inner[0], "__bound__", None) or inner[0]
        return Class(bound)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        key, value = rule_of(inner[0]), rule_of(inner[1])
        return Entries(key, value) if key and value else None
    if origin is tuple and inner[-1] is not ...:
        item = rule_of(inner[0])
        return Items(item, least=len(inner), most=len(inner)) if item else None
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        item = rule_of(inner[0])
        return Items(item) if item else None
    if origin is Callable:
        return Function()
    return _plain(origin or annotation)


def _either(options: Sequence[Any]) -> Rule | None:
    rules = [rule_of(option) for option in options if option is not type(None)]
    if None in rules:
        return None
    return Either(tuple(rule for rule in rules if rule is not None), none=type(None) in options)


def _plain(of: Any) -> Rule | None:
    simple: dict[Any, Rule] = {str: Text(), int: Whole(), float: Number(), bool: Flag()}
    if of in simple:
        return simple[of]
    return Instance(of) if isinstance(of, type) and of is not object else None


def _inside(wrong: Wrong, part: str) -> Wrong:
    return Wrong(wrong.says, wrong.found, wrong.fix, wrong.code, part + wrong.part)


# The types of arguments whose range their Python type cannot say.
Name = Annotated[str, Named()]
Columns = Annotated[str | Sequence[str], Either((Text(), Items(Text(), least=1, distinct=True)))]
"""One name or several."""
Doc = Annotated[str, Text(empty=True)]
Schedule = Annotated[str, Cron()]
