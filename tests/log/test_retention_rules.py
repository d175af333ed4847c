"""What may be removed, and who is refused: the pure functions beside their words."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.log.retention import Stretch, needed, refused, removable

STRETCHES = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 30)), max_size=12)
MARKS = st.dictionaries(st.sampled_from(["lake", "updater", "other"]), st.integers(0, 40))


@settings(deadline=None)
@given(STRETCHES, MARKS, st.integers(0, 40), st.one_of(st.none(), st.integers(0, 20)), st.booleans(), st.booleans())
def test_only_what_is_old_and_held_by_all_goes(
    lengths: list[tuple[int, int]], marks: dict[str, int], now: int, kept: int | None, tight: bool, whole: bool
) -> None:
    ends = [sum(length for length, _ in lengths[: at + 1]) for at in range(len(lengths))]
    stretches = [Stretch(end, newest) for end, (_, newest) in zip(ends, lengths, strict=True)]
    upto = removable(stretches, marks, now, kept, tight=tight, whole=whole)
    if upto is None:
        return
    assert "lake" in marks and upto <= min(marks.values())
    age = 0 if kept is None else kept
    told = [
        next((later for _, later in lengths[at:] if later <= now), newest) if newest > now else newest
        for at, (_, newest) in enumerate(lengths)
    ]
    assert (kept is not None or tight) and all(
        now - newest > age for newest, end in zip(told, [0, *ends], strict=False) if end < upto
    )
    assert not whole or upto in ends


@settings(deadline=None)
@given(STRETCHES, st.integers(1, 100))
def test_all_that_may_go_goes(lengths: list[tuple[int, int]], kept: int) -> None:
    end = sum(length for length, _ in lengths)
    stretches = [
        Stretch(sum(length for length, _ in lengths[: at + 1]), newest) for at, (_, newest) in enumerate(lengths)
    ]
    assert removable(stretches, {"lake": 1000}, 200, kept) == (end or None)


def test_a_lake_that_never_said_anything_needs_everything() -> None:
    assert needed({}) == needed({"updater": 70}) == 0 and needed({"lake": 5, "updater": 3}) == 3
    assert removable([Stretch(10, 0)], {"updater": 10}, 100, 1) is None


def test_an_old_stretch_behind_a_young_one_waits() -> None:
    assert removable([Stretch(1, 0), Stretch(2, 90), Stretch(3, 0)], {"lake": 3}, 100, 50) == 1


def test_a_stamp_of_the_future_keeps_no_records_for_ever() -> None:
    """One append by a clock that had jumped to 2062 kept all that came after it."""
    far = 10**18
    assert removable([Stretch(1, 10), Stretch(2, far), Stretch(3, 20), Stretch(4, 90)], {"lake": 4}, 100, 50) == 3
    assert removable([Stretch(1, 10), Stretch(2, far), Stretch(3, 90)], {"lake": 3}, 100, 50) == 1, (
        "it may be as young as what follows"
    )
    assert removable([Stretch(1, 10), Stretch(2, far)], {"lake": 2}, 100, 50) == 1


def test_shares_of_a_short_disk() -> None:
    assert refused(200, 100, {"a": 10**6}) == frozenset(), "above twice the floor nobody is refused"
    assert refused(99, 100, {"a": 0, "b": 0}) is None, "below the floor all are"
    assert refused(150, 100, {"a": 0, "b": 900}) == {"b"}, "525 each: the one whose sink stands still"
    assert refused(150, 100, {"a": 900}) == frozenset(), "one alone has all there is"


@settings(deadline=None)
@given(st.integers(0, 500), st.dictionaries(st.text(max_size=2), st.integers(0, 1000), min_size=1))
def test_somebody_may_always_go_on_above_the_floor(free: int, unwritten: dict[str, int]) -> None:
    found = refused(free, 100, unwritten)
    assert found is None if free < 100 else found is not None and found < set(unwritten)
