"""Every public argument of every declaration, found by reflection, meets every hostile value: one coded error that names it, or a use that the table allows.

An argument that is new fails here until it has a type with a rule, and a line in `ARGUMENTS`: its kind and a right value.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import millstream as ms
import millstream.declare
from millstream.base.errors import DefinitionError
from millstream.declare.arguments import rules
from millstream.declare.noun import Noun, Term
from millstream.declare.pages import PAGES
from millstream.declare.plain import Anything, Word
from millstream.declare.rules import Either, Items


class Order(ms.Event):
    customer: str
    amount: float
    ts: ms.EventTime


class Visit(ms.Event):
    customer: str
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="customer")
visits = ms.stream("visits", Visit, key="customer")
days = ms.table("days", "select 1 as ts", time="ts")
spend = ms.features("spend", orders, key="customer", windows=["3h"], aggregates={"n": ms.agg.count()})
bought = ms.outcome(orders, on="customer", within="1d")
rows = ms.training_set("rows", at=visits, label=bought, features=[spend])


@ms.model(rows)
def trees(train: ms.Train) -> object:
    return None


champion = trees["champion"]
trial = ms.experiment("trial", arms={"a": champion, "b": champion}, unit="customer", assign=ms.assign.ab(), reward=bought)


def learn(train: ms.Train) -> object:
    return None


STRAY = object()
HOSTILE: dict[str, Any] = {
    "unknown word": "nosuchword", "None": None, "list": ["customer"], "number": 5, "fraction": 0.5, "empty": "", "blank": "  ", "long": "l" * 250,
    "slash": "a/b", "emoji": "late😀", "upper": "Late", "keyword": "select", "dot": ".late", "up": "../late", "root": "/late", "control": "a\0b",
    "NaN": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "negative": -1, "zero": 0, "bool": True, "huge": 10**30, "bytes": b"a", "mapping": {"a": STRAY},
    "no unit": "5", "below nothing": "-3m", "year": "1y", "aeons": "999999999d", "object": STRAY, "class": int, "event": ms.Event, "stream": orders, "model": trees,
    "negative length": timedelta(-1), "function": len,
}  # fmt: skip
_TEXTS = {name for name, value in HOSTILE.items() if isinstance(value, str)}
_SAID = _TEXTS - {"empty", "blank"}
KINDS: dict[str, set[str]] = {
    "name": {"unknown word", "keyword"},
    "text": _SAID,  # names of fields and SQL: the checks of the project judge them, see test_texts_are_judged
    "any text": _TEXTS,
    "columns": _SAID | {"list"},
    "length": {"zero length"},
    "span": set(),
    "word": set(),
    "version": {"number"},
    "flag": {"bool"},
    "positive": {"number"},
    "count": {"number", "zero"},
    "number": {"number", "fraction", "negative", "zero"},
    "share": {"fraction", "zero"},
    "above 0": {"fraction"},
    "path": _SAID - {"up", "root", "control"},
    "object": set(),
    "stream": {"stream"},
    "stream or table": {"stream"},
    "monitored": {"stream", "model"},
    "table": {"unknown word", "keyword", "stream"},
    "answer": _TEXTS | {"number", "fraction", "negative", "zero", "bool"},
    "arm": _TEXTS | {"None", "list", "number", "fraction", "negative", "zero", "bool", "huge"},
    "judged by its class": set(HOSTILE),
}
"""What each kind of argument takes of the hostile values."""
ARGUMENTS: dict[str, dict[str, tuple[str, Any]]] = {
    "ms.stream": {"name": ("name", "sold"), "event": ("object", Order), "key": ("columns", "customer"), "dedupe": ("text?", "customer"), "dedupe_within": ("length", "1h"),
                  "lateness": ("length", "0s"), "ahead": ("length", "1d"), "partitions": ("positive", 4), "retention": ("span?", "7d"), "contract": ("word", "full"), "doc": ("doc", "d")},
    "ms.source": {"into": ("stream", orders), "reader": ("object", ms.read.http()), "name": ("name?", "mine")},
    "ms.read.files": {"glob": ("path", "data/*.csv"), "format": ("word?", "csv"), "compression": ("word?", "gzip"), "watch": ("flag", True), "zone": ("word", "Europe/Paris"), "record_bytes": ("positive", 100)},
    "ms.read.http": {},
    "ms.table": {"name": ("table", "t"), "body": ("text?", "select 1 as ts"), "time": ("text?", "ts"), "key": ("columns", "ts"), "incremental": ("text?", "1d"), "schedule": ("word?", "@daily"), "lag": ("length?", "2h"), "doc": ("doc", "d")},
    "ms.features": {"name": ("name", "f"), "source": ("stream or table", orders), "key": ("columns", "customer"), "aggregates": ("object", {"n": ms.agg.count()}), "windows": ("object", ["3h"]),
                    "where": ("text?", "amount > 1"), "timeless": ("flag", False), "doc": ("doc", "d")},
    "ms.outcome": {"stream": ("stream", orders), "on": ("columns", "customer"), "within": ("span", "1d"), "where": ("text?", "amount > 1"), "value": ("text", "true"), "otherwise": ("answer?", False), "credit": ("word", "last")},
    "ms.by_time": {"valid": ("length", "1d"), "test": ("length", "1d")},
    "ms.training_set": {"name": ("name", "s"), "at": ("stream or table", visits), "label": ("object", bought), "features": ("object", [spend]), "derive": ("object?", {"x": "amount"}), "where": ("text?", "amount > 1"),
                        "until": ("word?", "2020-01-01"), "split": ("object?", ms.by_time(test="1d")), "doc": ("doc", "d")},
    "ms.model": {"on": ("object", rows), "metrics": ("object", ["auc"]), "schedule": ("word?", "0 6 * * 1"), "promote_if": ("text?", "auc >= 0.5"), "input": ("word", "frame"), "output": ("word", "predict")},
    "ms.experiment": {"name": ("name", "e"), "arms": ("object", {"a": 1, "b": 2}), "unit": ("text", "customer"), "assign": ("object", ms.assign.ab()), "reward": ("object", bought), "guardrails": ("object?", {"g": bought}),
                      "layer": ("name?", "l"), "traffic": ("object", (0.0, 0.5)), "adjust": ("object?", spend["n_3h"]), "doc": ("doc", "d")},
    "ms.endpoint": {"name": ("name", "p"), "decide": ("object", champion), "default": ("arm?", champion), "request": ("object?", Visit), "doc": ("doc", "d")},
    "ms.decisions": {"endpoint": ("name", "p")},
    "ms.monitor": {"target": ("monitored", orders), "checks": ("object", ms.expect.fresh("3h")), "every": ("span", "5m"), "severity": ("word", "page"), "name": ("name?", "m")},
    "ms.field": {"doc": ("doc", "d"), "default": ("judged by its class", 1)},
    "ms.agg.count": {"expression": ("text?", "amount"), "default": ("whole?", 1)},
    **{f"ms.agg.{name}": {"expression": ("text", "amount"), "default": ("number?", 1.5)} for name in ("min", "max", "first", "last")},
    **{f"ms.agg.{name}": {"expression": ("text", "amount"), "default": ("number?", 1.5), "scale": ("count?", 2)} for name in ("sum", "mean", "variance")},
    "ms.assign.ab": {"weights": ("share", 1.0)},
    "ms.assign.epsilon_greedy": {"epsilon": ("above 0", 0.1), "by": ("list", ["customer"])},
    "ms.assign.thompson": {"floor": ("share", 0.1), "by": ("list", ["customer"])},
    "ms.expect.fresh": {"within": ("span", "3h")},
    "ms.expect.volume": {"at_least": ("count", 1), "at_most": ("count?", 9), "every": ("span", "1d")},
    "ms.expect.contract": {"tolerance": ("share", 0.1)},
    "ms.expect.not_null": {"columns": ("text", "amount"), "tolerance": ("share", 0.1)},
    "ms.expect.rows": {"expression": ("text", "amount > 0"), "tolerance": ("share", 0.1)},
    "ms.expect.drift": {"against": ("object", rows), "tolerance": ("share", 0.1), "window": ("span", "7d")},
    "ms.expect.performance": {"outcome": ("object", bought), "expression": ("text", "auc >= 0.6"), "window": ("span", "7d")},
    "ms.expect.skew": {"window": ("span?", "7d")},
    "Stream.fields": {"names": ("text", "customer")},
    "Stream.latest": {}, "Stream.history": {},
    "Features.on": {"columns": ("text", "customer"), "name": ("name?", "other")},
    "Features.__getitem__": {"output": ("text", "n_3h")},
    "Outcome.score": {"expression": ("text", "outcome")},
    "Model.__getitem__": {"version": ("version", "latest")},
    "ModelRef.over": {"spine": ("stream or table", visits)},
    "@ms.model": {"function": ("object", learn)},
    "@ms.table": {"function": ("object", learn)},
}  # fmt: skip
KINDS |= {"doc": KINDS["any text"], "whole": {"number", "negative", "zero"}, "list": {"list"}}
SELF: dict[str, Any] = {"Stream": orders, "Features": spend, "Outcome": bought, "Model": trees, "ModelRef": champion}
PLAIN = ("ms.load", "Model.__call__")
"""Public, and no declaration: opening a project, and running a user's own function."""


def walk() -> Iterator[tuple[str, Callable[..., Any]]]:
    """What a user calls to declare: the functions of `ms`, of its vocabularies, and the methods of what these give."""
    for name in ms.__all__:
        value = getattr(ms, name)
        if inspect.isfunction(value):
            yield f"ms.{name}", value
        elif inspect.isclass(value) and name.islower():
            yield from ((f"ms.{name}.{method}", getattr(value, method)) for method, made in vars(value).items() if isinstance(made, staticmethod))
    for module in pkgutil.iter_modules(millstream.declare.__path__):
        if module.name == "contract":
            continue
        for cls in vars(importlib.import_module(f"millstream.declare.{module.name}")).values():
            if inspect.isclass(cls) and issubclass(cls, Noun | Term) and cls.__module__.endswith(f".{module.name}"):
                yield from ((f"{cls.__name__}.{name}", getattr(cls, name)) for name, made in vars(cls).items() if _for_users(name, made))
    yield "@ms.model", ms.model(rows)
    yield "@ms.table", ms.table(orders)


def _for_users(name: str, made: object) -> bool:
    asked = name in ("__getitem__", "__call__") or not name.startswith("_")
    return inspect.isfunction(made) and asked and name not in ("upstream", "columns", "outputs", "refs")


PUBLIC: dict[str, Any] = dict(walk())
CASES = [(label, name) for label, arguments in ARGUMENTS.items() for name in arguments]


def call(label: str, said: dict[str, Any]) -> Any:
    function, own = PUBLIC[label], SELF.get(label.partition(".")[0])
    given, named = [] if own is None else [own], {}
    starred = {p.name for p in inspect.signature(function).parameters.values() if p.kind is p.VAR_POSITIONAL}
    first = [name for name in said if name in starred]
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name not in said:
            continue
        if first or parameter.kind is parameter.POSITIONAL_ONLY:
            (given.append(said[parameter.name]) if parameter.kind is not parameter.KEYWORD_ONLY else named.update({parameter.name: said[parameter.name]}))
        else:
            named[parameter.name] = said[parameter.name]
    return function(*given, **named)


def right(label: str) -> dict[str, Any]:
    return {name: value for name, (_, value) in ARGUMENTS[label].items()}


def test_the_table_has_every_argument_of_everything_public_and_each_has_a_rule() -> None:
    """A new declaration, or a new argument of one, has a rule by its type and a line in the table."""
    assert {label for label in PUBLIC if label not in PLAIN} == set(ARGUMENTS)
    for label, arguments in ARGUMENTS.items():
        function = PUBLIC[label]
        assert getattr(function, "__checked__", False), f"{label} is not @checked"
        parameters = [name for name in inspect.signature(function).parameters if name != "self"]
        assert parameters == list(arguments), label
        for name, rule in rules(function.__wrapped__).items():
            assert rule is not None, f"{label}: the type of {name} says nothing that could be checked"
            assert not isinstance(rule, Anything) or ARGUMENTS[label][name][0] == "judged by its class"


@pytest.mark.parametrize("label", ARGUMENTS)
def test_right_values_are_taken(label: str) -> None:
    call(label, right(label))


@pytest.mark.parametrize(("label", "name"), CASES)
def test_hostile_values(label: str, name: str) -> None:
    kind = ARGUMENTS[label][name][0]
    taken = KINDS[kind.rstrip("?")] | ({"None"} if kind.endswith("?") else set())
    for what, value in HOSTILE.items():
        default = inspect.signature(PUBLIC[label]).parameters[name].default
        if what in taken or (isinstance(value, str) and value == default):
            call(label, {**right(label), name: value})
            continue
        with pytest.raises(DefinitionError) as caught:
            call(label, {**right(label), name: value})
            pytest.fail(f"{label}({name}={value!r}) was taken")
        error = caught.value
        assert error.code in PAGES, (what, error)
        assert error.place is not None and Path(error.place.file).name == Path(__file__).name, (what, error)
        assert error.found.startswith(name) and len(error.found) < 200 and error.fix, (what, error)
        assert "object at 0x" not in error.message + error.fix, (what, error)


WORDS = [(label, name, word, rule.code) for label, arguments in ARGUMENTS.items() for name in arguments
         for rule in [rules(PUBLIC[label].__wrapped__)[name]] for rule in (rule.rules if isinstance(rule, Either) else (rule,))
         for rule in [rule.item if isinstance(rule, Items) else rule] if isinstance(rule, Word) for word in rule.words]  # fmt: skip


@pytest.mark.parametrize(("label", "name", "word", "code"), WORDS)
def test_near_misses_are_told_the_word(label: str, name: str, word: str, code: str) -> None:
    """A letter more, a letter too few, two letters turned round, another case: none is taken, and the word that was meant is named."""
    many = isinstance(ARGUMENTS[label][name][1], list)
    for near in (word + "s", word[:-1], word[:1] + word[1:3][::-1] + word[3:], word.upper()):
        if near == word or near in {w for at, argument, w, _ in WORDS if (at, argument) == (label, name)}:
            continue
        with pytest.raises(DefinitionError) as caught:
            call(label, {**right(label), name: [near] if many else near})
        assert caught.value.code == code and f'"{word}"' in caught.value.fix, str(caught.value)


def test_every_literal_of_a_signature_is_a_vocabulary() -> None:
    """What has a fixed vocabulary says so in its type, and the words that are asked about are those of the type."""
    assert {(label, name) for label, name, _, _ in WORDS} == {
        ("ms.stream", "contract"), ("ms.read.files", "format"), ("ms.read.files", "compression"), ("ms.outcome", "credit"), ("ms.model", "input"),
        ("ms.model", "output"), ("ms.model", "metrics"), ("ms.monitor", "severity"), ("Model.__getitem__", "version"),
    }  # fmt: skip


@pytest.mark.parametrize("label", [label for label in ARGUMENTS if not label.endswith("__getitem__")])
def test_arguments_that_are_not_there(label: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        call_with_more(label)
    assert caught.value.code == "E194" and caught.value.fix
    for name in ARGUMENTS[label]:
        if len(name) > 3 and not label.endswith(("ab",)) and name not in ("checks", "columns", "names"):
            with pytest.raises(DefinitionError) as caught:
                function, own = PUBLIC[label], SELF.get(label.partition(".")[0])
                function(*([] if own is None else [own]), **{name[:-1]: 1})
            assert caught.value.fix == f'did you mean "{name}"?', str(caught.value)


def call_with_more(label: str) -> None:
    function, own = PUBLIC[label], SELF.get(label.partition(".")[0])
    function(*([] if own is None else [own]), nothing_is_called_so=1)


@pytest.mark.parametrize("what", [trees, spend])
def test_what_has_parts_by_name_is_no_endless_list(what: Any) -> None:
    """`endpoint("x", trees)` took all memory: Python walks whatever has `[...]`, from 0 on."""
    with pytest.raises(TypeError):
        iter(what)
    with pytest.raises(DefinitionError, match="wants"):
        ms.endpoint("p", what)
