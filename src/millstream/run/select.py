"""Which assets a command means: `name`, `+name` (and all before it), `name+` (and all after it), `kind:table`,
`state:changed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from millstream.base.errors import UsageError
from millstream.base.words import choices, nearest

KINDS = ("source", "stream", "table", "features", "training_set", "model")
"""Of assets."""


def select(
    words: Sequence[str],
    upstream: Mapping[str, Sequence[str]],
    kinds: Mapping[str, str],
    changed: Callable[[], Iterable[str]],
) -> list[str]:
    """Names in the order of `upstream` (which is in order of dependency). No words select everything.

    Args:
        words: Selectors; their selections are united.
        upstream: Asset -> what it is made from, in an order in which upstream comes first.
        kinds: Asset -> its kind.
        changed: Names of what is stale, asked for only by `state:changed`.

    Raises:
        UsageError: A word names nothing.

    >>> ups = {"a": [], "b": ["a"], "c": ["b"]}
    >>> select(["b+"], ups, {"a": "stream", "b": "table", "c": "model"}, lambda: [])
    ['b', 'c']
    >>> select(["+b"], ups, {}, lambda: [])
    ['a', 'b']
    """
    if not words:
        return list(upstream)
    chosen: set[str] = set()
    for word in words:
        chosen |= _one(word, upstream, kinds, changed)
    return [name for name in upstream if name in chosen]


def _one(
    word: str, upstream: Mapping[str, Sequence[str]], kinds: Mapping[str, str], changed: Callable[[], Iterable[str]]
) -> set[str]:
    method, colon, value = word.partition(":")
    if colon:
        return _of_method(word, method, value, kinds, changed)
    name = word.strip("+")
    if name not in upstream:
        raise UsageError(f'no asset "{name}"; {choices(name, upstream)}')
    found = {name}
    if word.startswith("+"):
        found |= _reach(name, upstream)
    if word.endswith("+"):
        downstream: dict[str, list[str]] = {}
        for target, sources in upstream.items():
            for source in sources:
                downstream.setdefault(source, []).append(target)
        found |= _reach(name, downstream)
    return found


def _of_method(
    word: str, method: str, value: str, kinds: Mapping[str, str], changed: Callable[[], Iterable[str]]
) -> set[str]:
    if method == "kind":
        if value not in KINDS:
            raise UsageError(f'no kind "{value}"; {choices(value, KINDS)}')
        return {name for name, kind in kinds.items() if kind == value}
    if word == "state:changed":
        return set(changed())
    near = nearest(word, ["state:changed", *(f"kind:{kind}" for kind in KINDS)])
    raise UsageError(f'no selector "{word}"; {near or "there are NAME, +NAME, NAME+, kind:KIND and state:changed"}')


def _reach(start: str, edges: Mapping[str, Sequence[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for name in edges.get(todo.pop(), ()):
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return seen
