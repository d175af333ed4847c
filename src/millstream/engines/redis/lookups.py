"""Look-ups in Redis: all blobs of a request, and where their generations stand, by one MGET, which is one snapshot.

What is past of a key is kept while its era lasts (`features.online.Past`), so most requests ask for what is recent
only. Which blobs to ask for follows from what was read before; when the answer says that a generation's blobs are
others by now, or its past is, it is asked again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from millstream.base.errors import Busy, NotFound
from millstream.engines.redis.blobs import GROUPS, MOMENTS, Layout
from millstream.engines.redis.database import Names
from millstream.engines.redis.stand import Stand, read
from millstream.engines.redis.wire import Wire
from millstream.features.definition import Definition
from millstream.features.online import Answers, Bound, Found, Past, Plan, Row, offsets_of
from millstream.features.window import SLOT_US

DAYS = 2
"""The level of days. Its blobs stay the longest, so they say whether a key was ever seen."""
_SLOTS = 256
_TRIES = 10


class Piece(NamedTuple):
    """Tiles [low, high) of the blob that is number `blob` of a cover; `high` None: up to where the windows of the
    moment asked for end.
    """

    blob: int
    low: int
    high: int | None


@dataclass(frozen=True)
class Cover:
    """The groups whose blobs are needed, and of each window (shortest first) the pieces of them."""

    groups: tuple[str, ...]
    windows: tuple[tuple[Piece, ...], ...]

    def rows(self, layout: Layout, blobs: Sequence[bytes | None], until_us: int) -> list[Row]:
        """The merged states of each window; they end before `until_us`."""
        return [
            layout.merged(
                [(blob, low, until_us if high is None else high) for i, low, high in pieces if (blob := blobs[i])]
            )
            for pieces in self.windows
        ]


def cover(shape: Sequence[Sequence[int]], bounds: Sequence[int], *, head: int | None) -> Cover:
    """Of the stretches of a plan; with a head, that window has the events from the last bound on too."""
    places: dict[str, int] = {}
    windows: list[tuple[Piece, ...]] = []
    at = iter(bounds)

    def pieces(level: int, low: int, high: int) -> list[Piece]:
        size, made = GROUPS[level], []
        for group in range(low // size, (high - 1) // size + 1):
            place = places.setdefault(f"{level}:{group}", len(places))
            made.append(Piece(place, max(low, group * size), min(high, (group + 1) * size)))
        return made

    for levels in shape:
        windows.append(tuple(piece for level in levels for piece in pieces(level, next(at), next(at))))
    if head is not None and head < len(windows):
        begins = next(at)
        (last,) = pieces(MOMENTS, begins, begins + SLOT_US)
        windows[head] += (last._replace(high=None),)
    return Cover(tuple(places), tuple(windows))


@dataclass(frozen=True)
class _Covers:
    """What to read for a slot. `past_bounds` None: nothing is past."""

    recent: Cover
    past: Cover
    past_bounds: tuple[int, ...] | None
    past_until_us: int

    @classmethod
    def of(cls, plan: Plan) -> _Covers:
        recent, past = (
            cover(plan.shape, plan.bounds, head=plan.head),
            cover(plan.past_shape, plan.past_bounds, head=None),
        )
        return cls(recent, past, plan.past_bounds if plan.past_until_us else None, plan.past_until_us)


@dataclass(frozen=True)
class Seen:
    """Where all definitions stood in one snapshot, and what is kept of the past of each."""

    texts: list[bytes]
    stands: list[Stand]
    pasts: list[Past]

    def others(self, then: Seen) -> bool:
        """Whether what was asked for by `then` is not what is needed now."""
        return any(
            (a.space, a.era, a.days) != (b.space, b.era, b.days) for a, b in zip(self.stands, then.stands, strict=True)
        )


class Part(NamedTuple):
    """Of one key: merged states by window, of what is recent and of what is past; and whether the key was ever seen."""

    recent: Sequence[Row]
    past: Sequence[Row]
    ever: bool


_NULL = Part((), (), False)


class Snapshots:
    """Reads what look-ups need of some definitions, each answer from one snapshot. Safe for several threads.

    Args:
        wire: This thread's.
    """

    def __init__(self, wire: Callable[[], Wire], names: Names, answers: Sequence[Answers]) -> None:
        self._wire, self._names, self._answers = wire, names, list(answers)
        self._layouts = [Layout(one.definition) for one in answers]
        self._stands = [names.stand(one.definition.generation) for one in answers]
        self._ruled = any(one.ruled for one in answers)
        self._covers: dict[int | tuple[int, ...], list[_Covers]] = {}
        self._local = threading.local()

    def look(self, asked: Sequence[tuple[int, str | None, int]]) -> tuple[Seen, list[Part]]:
        """For each (number of the definition, key, moment) its part.

        Raises:
            NotFound: A definition's generation is unknown.
        """
        wire = self._wire()
        seen: Seen | None = getattr(self._local, "seen", None)
        seen = seen or self._seen(wire.ask([("MGET", *self._stands)], again=True)[0], None)
        for _ in range(_TRIES):
            wanted = [self._wanted(seen, *one) for one in asked]
            (told,) = wire.ask([("MGET", *self._stands, *(name for names, _ in wanted for name in names))], again=True)
            texts = told[: len(self._stands)]
            now = seen if texts == seen.texts else self._seen(texts, seen)
            self._local.seen = now
            if now is seen or not now.others(seen):
                return now, self._parts(now, asked, wanted, told)
            seen = now
        raise Busy("the online store's generations change faster than they can be read")

    def _seen(self, texts: list[bytes | None], before: Seen | None) -> Seen:
        self._local.seen = None
        stands = []
        for text, one in zip(texts, self._answers, strict=True):
            stand = read(text)
            if stand is None:
                raise unknown(one.definition)
            stands.append(stand)
        kept = before.pasts if before else [None] * len(stands)
        pasts = [
            past if past and past.era == one.era else Past(one.era, one.settled_us)
            for past, one in zip(kept, stands, strict=True)
        ]
        return Seen(texts, stands, pasts)  # type: ignore[arg-type]  # none is None

    def _wanted(self, seen: Seen, i: int, key: str | None, at_us: int) -> tuple[list[str], Sequence[Row] | None]:
        """The names of blobs to read, and the past if it is kept."""
        if key is None:
            return [], ()
        covers, stand = self._cover(i, at_us), seen.stands[i]
        kept = seen.pasts[i].of(key, covers.past_bounds)
        groups = covers.recent.groups if kept is not None else covers.recent.groups + covers.past.groups
        if not kept or not any(row[0] for row in kept):
            groups += tuple(group for day in stand.days if (group := f"{DAYS}:{day}") not in groups)
        return [self._names.blob(stand.space, group, key) for group in groups], kept

    def _parts(
        self, seen: Seen, asked: Sequence[tuple[int, str | None, int]], wanted: Sequence[Any], told: list[bytes | None]
    ) -> list[Part]:
        made, begin = [], len(self._stands)
        for (i, key, at_us), (names, kept) in zip(asked, wanted, strict=True):
            blobs = told[begin : begin + len(names)]
            begin += len(names)
            made.append(_NULL if key is None else self._part(seen.pasts[i], i, key, at_us, blobs, kept))
        return made

    def _part(
        self, past: Past, i: int, key: str, at_us: int, blobs: list[bytes | None], kept: Sequence[Row] | None
    ) -> Part:
        covers, layout = self._cover(i, at_us), self._layouts[i]
        until = self._answers[i].until_us(at_us)
        recent = covers.recent.rows(layout, blobs, until)
        if kept is None:
            kept = covers.past.rows(layout, blobs[len(covers.recent.groups) :], until)
            if covers.past_bounds is not None and covers.past_until_us <= past.settled_us:
                past.keep(key, covers.past_bounds, kept)
        return Part(recent, kept, any(blobs) or any(row[0] for row in kept))

    def _cover(self, i: int, at_us: int) -> _Covers:
        place: int | tuple[int, ...] = at_us // SLOT_US
        if self._ruled:
            place = (at_us // SLOT_US, *(one.until_us(at_us) // SLOT_US for one in self._answers))
        found = self._covers.get(place)
        if found is None:
            if len(self._covers) >= _SLOTS:
                self._covers.clear()
            found = self._covers[place] = [_Covers.of(one.plan(at_us)) for one in self._answers]
        return found[i]


class RedisLookups:
    """Uses bound once, looked up for many requests: a round trip each."""

    def __init__(self, wire: Callable[[], Wire], names: Names, bounds: Sequence[Bound]) -> None:
        self._bounds = list(bounds)
        self._snapshots = Snapshots(wire, names, [bound.answers for bound in bounds])
        self.columns = tuple(name for bound in bounds for name in bound.answers.names)

    def __call__(self, request: Mapping[str, Any], at_us: int) -> Found:
        keys = [bound.key(request) for bound in self._bounds]
        seen, parts = self._snapshots.look([(i, key, at_us) for i, key in enumerate(keys)])
        values: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        for bound, key, part in zip(self._bounds, keys, parts, strict=True):
            add(bound.answers, key, part, values, reasons)
        late = tuple(
            bound.prefix for bound, stand in zip(self._bounds, seen.stands, strict=True) if at_us < stand.horizon_us
        )
        stood = {
            bound.definition.generation: stand.offsets for bound, stand in zip(self._bounds, seen.stands, strict=True)
        }
        return Found(values, reasons, offsets_of(self._bounds, stood), late)


def add(answers: Answers, key: str | None, part: Part, values: dict[str, Any], reasons: dict[str, str]) -> None:
    """Add the answers of one key."""
    if key is None:
        answers.nothing("null_key", values, reasons)
    else:
        answers.answer(part.recent, part.past, lambda: part.ever, values, reasons)


def unknown(definition: Definition) -> NotFound:
    return NotFound(
        f'features "{definition.name}": the online store has no generation {definition.generation}; `millstream run'
        f" {definition.name}` fills it"
    )


__all__ = ["DAYS", "RedisLookups", "Snapshots", "add", "unknown"]
