"""The features of requests: one look-up a use, and all uses of a stream as of the same positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from millstream.features.definition import Definition
from millstream.features.port import Lookup, OnlineStore

# How often a set of look-ups is made again when an updater moved one definition between them.
TRIES = 4


@dataclass(frozen=True)
class Use:
    """One definition looked up for a request.

    Attributes:
        columns: The request's columns in the key's order.
        prefix: What the columns of the answer begin with.
        key: A request -> the encoded key, None when a part is NULL.
    """

    definition: Definition
    columns: tuple[str, ...]
    prefix: str
    key: Callable[[Mapping[str, Any]], str | None]


@dataclass
class Looked:
    """What was found for one request.

    Attributes:
        values: `<prefix>__<output>` -> value.
        reasons: The same -> why it is None; `<prefix>` alone -> "inexact" when the moment is older than the store keeps apart.
        as_of: Stream -> partition -> next offset not seen. A use that stood elsewhere than its stream's first has an
            entry of its own, `<stream>/<prefix>`.
    """

    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    as_of: dict[str, Mapping[int, int]] = field(default_factory=dict)


class Reads:
    """The look-ups that one model version needs."""

    def __init__(self, uses: Sequence[Use], store: OnlineStore) -> None:
        self.uses, self._store = tuple(uses), store
        self._columns = [{output: f"{use.prefix}__{output}" for output in use.definition.columns} for use in uses]

    def __call__(self, requests: Sequence[Mapping[str, Any]], moments_us: Sequence[int]) -> list[Looked]:
        """One answer a request, each as of its moment."""
        if not self.uses:
            return [Looked() for _ in requests]
        keys = [[use.key(request) for request in requests] for use in self.uses]
        found = self._consistent(keys, moments_us)
        return [self._joined([answers[i] for answers in found]) for i in range(len(requests))]

    def _consistent(self, keys: list[list[str | None]], moments_us: Sequence[int]) -> list[list[Lookup]]:
        found: list[list[Lookup]] = []
        for _ in range(TRIES):
            found = [self._store.lookup(use.definition, of, moments_us) for use, of in zip(self.uses, keys, strict=True)]
            stood: dict[str, Mapping[int, int]] = {}
            if all(stood.setdefault(use.definition.stream, a[0].offsets) == a[0].offsets for use, a in zip(self.uses, found, strict=True)):
                break
        return found

    def _joined(self, answers: list[Lookup]) -> Looked:
        looked = Looked()
        for use, columns, answer in zip(self.uses, self._columns, answers, strict=True):
            for output, value in answer.values.items():
                looked.values[columns[output]] = value
            for output, why in answer.reasons.items():
                looked.reasons[columns[output]] = why
            if not answer.exact:
                looked.reasons[use.prefix] = "inexact"
            stream = use.definition.stream
            if looked.as_of.setdefault(stream, answer.offsets) != answer.offsets:
                looked.as_of[f"{stream}/{use.prefix}"] = answer.offsets
        return looked
