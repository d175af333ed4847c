"""What `dedupe` is when a stream does not say: the position is the promise of sources that have one."""

from __future__ import annotations

from typing import Any

import pytest

import millstream as ms
from millstream.lake.ruling import Rule


class Click(ms.Event):
    user: str
    ts: ms.EventTime


def clicks(**said: Any) -> ms.Stream[Click]:
    return ms.stream("clicks", Click, key="user", **said)


def test_a_stream_fed_by_files_alone_keeps_every_record() -> None:
    stream = clicks()
    ms.source(stream, ms.read.files("data/a*"), name="a")
    ms.source(stream, ms.read.files("data/b*"), name="b")
    assert stream.dedupe is None and Rule.of(stream).id_column is None


@pytest.mark.parametrize("readers", [[], [ms.read.http()], [ms.read.files("data/*"), ms.read.http()]])
def test_whoever_may_send_again_is_told_apart_by_the_id_of_the_event(readers: list[Any]) -> None:
    """A stream without a source is an endpoint's, or one that other programs write."""
    stream = clicks()
    for reader in readers:
        ms.source(stream, reader)
    assert stream.dedupe == "event_id" and Rule.of(stream).id_column == "_event_id"


@pytest.mark.parametrize("said", ["user", "event_id", None])
def test_what_is_declared_counts(said: str | None) -> None:
    stream = clicks(dedupe=said)
    ms.source(stream, ms.read.files("data/*"))
    assert stream.dedupe == said
