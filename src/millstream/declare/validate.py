"""All checks of a loaded project. Each yields what is wrong and continues, so that one load reports every mistake.

validate_data.py   streams, sources, tables, features
validate_model.py  training sets and models
validate_live.py   experiments, endpoints, monitors
words.py           names that are refused         facts.py, cache.py  texts judged before are not judged again
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from millstream.base.errors import DefinitionError
from millstream.base.words import dialect, short, unfit
from millstream.declare.endpoint import Endpoint
from millstream.declare.experiment import Experiment
from millstream.declare.features import Features
from millstream.declare.graph import READABLE, build, made
from millstream.declare.model import Model
from millstream.declare.monitor import Monitor
from millstream.declare.noun import Noun
from millstream.declare.project import Project
from millstream.declare.source import Source
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.declare.training_set import TrainingSet
from millstream.declare.validate_data import check_class, check_features, check_source, check_stream, check_table
from millstream.declare.validate_live import check_endpoint, check_experiment, check_monitor
from millstream.declare.validate_model import check_model, check_training_set
from millstream.lang.cache import Cache

_CHECKS: tuple[tuple[type[Noun], Callable[[Any, Project, Cache], Iterator[DefinitionError]]], ...] = (
    (Stream, check_stream),
    (Source, check_source),
    (Table, check_table),
    (Features, check_features),
    (TrainingSet, check_training_set),
    (Model, check_model),
    (Experiment, check_experiment),
    (Endpoint, check_endpoint),
    (Monitor, check_monitor),
)

UNSELECTED = "E136"
"""A table's time or key is not among the columns that it selects: as often as not one of these is misspelt."""


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        wrong: Names of the nouns that have a mistake of their own, one that a wrong column in their SQL cannot be the
            cause of.
        doubted: Names of those that were not checked: what is wrong with them may follow from what they are made from.
    """

    errors: list[DefinitionError]
    wrong: frozenset[str]
    doubted: frozenset[str]


def validate(project: Project, whole: bool = True, cache: Cache | None = None, broken: Collection[str] = ()) -> Checked:
    """Every mistake of the project.

    Args:
        whole: All modules ran to their end; if not, names that are missing are not a mistake of those who use them.
        cache: Verdicts of earlier checks.
        broken: Names of nouns that are known to be wrong, so that what is made from them is not checked.
    """
    cache = cache or Cache(None)
    errors = [*_names(project), *_cycles(project, cache)]
    of_classes, users = _classes(project)
    errors += of_classes
    doubted = _below(project, [*users, *broken])
    wrong = set(users)
    for noun in project.nouns:
        if noun.name in doubted or noun.name in broken:
            continue
        for kind, check in _CHECKS:
            if isinstance(noun, kind):
                found = [error for error in _safely(check, noun, project, cache) if whole or error.code != "E103"]
                errors += found
                wrong |= {noun.name} if any(error.code != UNSELECTED for error in found) else set()
    return Checked(errors, frozenset(wrong), frozenset(doubted))


def below(project: Project, broken: Collection[str]) -> list[str]:
    """Names of the definitions that depend on what is broken, in order of declaration; sources and monitors are named
    by what they are about.
    """
    reached = _below(project, broken) - set(broken)
    return [noun.name for noun in project.nouns if noun.name in reached and noun.kind not in ("source", "monitor")]


def _below(project: Project, names: Iterable[str]) -> set[str]:
    """Users of wrong classes, and all that is made from them or from what is broken."""
    reached = list(names)
    for name in reached:  # grows while it is walked
        reached += [down for down in project.graph.downstream(name) if down not in reached]
    return set(reached)


def _classes(project: Project) -> tuple[list[DefinitionError], list[str]]:
    """What is wrong with the classes of events, once a class, and the names of the streams and endpoints that use
    these.
    """
    errors: list[DefinitionError] = []
    judged: dict[type[Any], bool] = {}
    doubted: list[str] = []
    asked = [(endpoint.request, endpoint) for endpoint in project.endpoints.values() if endpoint.request]
    for event, user in [*((stream.event, stream) for stream in project.streams.values()), *asked]:
        if event not in judged:
            found = list(check_class(event, user))
            errors += found
            judged[event] = bool(found)
        if judged[event]:
            doubted.append(user.name)
    return errors, doubted


def _safely(
    check: Callable[[Any, Project, Cache], Iterator[DefinitionError]], noun: Noun, project: Project, cache: Cache
) -> Iterator[DefinitionError]:
    """What a check yields, and what it could not continue after."""
    try:
        yield from check(noun, project, cache)
    except DefinitionError as error:
        yield (
            error
            if error.place
            else DefinitionError(
                f"{noun}: {error.message}", place=noun.place, found=error.found, fix=error.fix, code=error.code
            )
        )


def _names(project: Project) -> Iterator[DefinitionError]:
    first: dict[str, str] = {}
    for name in made(project.nouns):
        first[name] = "made by an endpoint: its decisions or outcomes"
    for noun in project.nouns:
        yield from _name(noun)
        if noun.name in first:
            fix = "names are unique in a project, over all kinds"
            if noun.kind in ("source", "monitor"):
                fix += f'; give this one its own:  ms.{noun.kind}(..., name="...")'
            yield DefinitionError(
                f'the name "{noun.name}" is taken', place=noun.place, found=first[noun.name], fix=fix, code="E102"
            )
        first.setdefault(noun.name, f"{noun.kind} at {noun.place}" if noun.place else noun.kind)


def _name(noun: Noun) -> Iterator[DefinitionError]:
    """The rule of all names, for those too that a file, a function or a default gave."""
    said = unfit(noun.name)
    if said:
        fix = said[1] + (f';  say ms.{noun.kind}(..., name="...")' if noun.kind in ("source", "monitor") else "")
        yield DefinitionError(
            f'{noun.kind} "{short(noun.name)[1:-1]}": its name {said[0]}',
            place=noun.place,
            found=noun.name,
            fix=fix,
            code="E101",
        )
    spoken = dialect(noun.name) if noun.kind in READABLE else None
    if spoken:
        yield DefinitionError(
            f"{noun}: its name is a word of SQL",
            place=noun.place,
            found=f"select ... from {noun.name}  does not parse in {spoken}",
            fix=f"rename it, e.g. {noun.name}s",
            code="E112",
        )


def _cycles(project: Project, cache: Cache) -> Iterator[DefinitionError]:
    project.graph = build(project.nouns, cache)
    for walk in project.graph.cycles():
        noun = project.by_name.get(walk[0])
        yield DefinitionError(
            f'"{walk[0]}" is made from itself',
            place=noun.place if noun else None,
            found=" -> ".join(walk),
            fix="break the circle; what comes back through the log is not a circle: read <endpoint>_decisions in SQL",
            code="E104",
        )
