"""The suite that every state engine passes: subclass `StateContract` and give it a fresh engine."""

from __future__ import annotations

import threading
from abc import abstractmethod
from datetime import UTC, datetime, timedelta

import pytest

from millstream.base.errors import Conflict, UsageError
from millstream.state.port import State


class StateContract:
    """`state` starts empty."""

    @pytest.fixture
    @abstractmethod
    def state(self) -> State:
        """An engine; empty."""

    @abstractmethod
    def again(self, state: State) -> State:
        """A second engine at the same URL, as another process would open it."""

    def test_a_document_is_read_back(self, state: State) -> None:
        value = {"n": 1, "f": 0.1, "t": "grüß Gott \u0000", "b": True, "none": None, "list": [1, {"x": []}]}
        before = datetime.now(UTC) - timedelta(seconds=1)
        put = state.put("run", "2026-01-01/a b%_", value)
        got = state.get("run", "2026-01-01/a b%_")
        assert got == put and got is not None
        assert (got.kind, got.key, got.revision, got.value) == ("run", "2026-01-01/a b%_", 1, value)
        assert before < got.written_at < datetime.now(UTC) + timedelta(seconds=1)

    def test_what_is_not_there(self, state: State) -> None:
        state.put("run", "a", {})
        assert state.get("run", "b") is None and state.get("job", "a") is None
        assert state.list("job") == []
        state.delete("run", "b")
        state.release("nobody's", "me")

    def test_a_write_replaces_the_whole_document(self, state: State) -> None:
        state.put("run", "a", {"x": 1, "y": 2})
        assert state.put("run", "a", {"y": 3}).revision == 2
        got = state.get("run", "a")
        assert got is not None and got.value == {"y": 3} and got.revision == 2

    def test_the_callers_mapping_may_change_later(self, state: State) -> None:
        value = {"list": [1]}
        doc = state.put("run", "a", value)
        value["list"].append(2)
        assert doc.value == {"list": [1]}

    def test_expect_guards_against_a_write_in_between(self, state: State) -> None:
        other = self.again(state)
        assert state.put("run", "a", {"by": "me"}, expect=0).revision == 1
        with pytest.raises(Conflict):
            other.put("run", "a", {"by": "late"}, expect=0)
        assert other.put("run", "a", {"by": "other"}, expect=1).revision == 2
        with pytest.raises(Conflict):
            state.put("run", "a", {"by": "me again"}, expect=1)
        with pytest.raises(Conflict):
            state.put("run", "absent", {}, expect=1)
        got = state.get("run", "a")
        assert (
            got is not None
            and got.value == {"by": "other"}
            and got.revision == 2
            and state.get("run", "absent") is None
        )
        other.close()

    def test_expect_lets_one_of_many_writers_through(self, state: State) -> None:
        """A counter raised by compare-and-set from several engines at once loses no step."""
        state.put("count", "n", {"n": 0})
        engines = [self.again(state) for _ in range(3)]

        def raise_it(engine: State, times: int) -> None:
            while times:
                doc = engine.get("count", "n")
                assert doc is not None
                try:
                    engine.put("count", "n", {"n": doc.value["n"] + 1}, expect=doc.revision)
                    times -= 1
                except Conflict:
                    pass

        threads = [threading.Thread(target=raise_it, args=(engine, 20)) for engine in engines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        doc = state.get("count", "n")
        assert doc is not None and doc.value == {"n": 60} and doc.revision == 61
        for engine in engines:
            engine.close()

    def test_a_list_is_in_key_order(self, state: State) -> None:
        for key in ("b/2", "a/10", "b/1", "a%", "a/9"):
            state.put("run", key, {"key": key})
        state.put("job", "a/0", {})
        assert [d.key for d in state.list("run")] == ["a%", "a/10", "a/9", "b/1", "b/2"]
        assert [d.key for d in state.list("run", prefix="a/")] == ["a/10", "a/9"]
        assert [d.key for d in state.list("run", prefix="a%")] == ["a%"]
        assert [d.key for d in state.list("run", prefix="b", limit=1)] == ["b/1"]
        assert state.list("run", limit=0) == []

    def test_newest_is_by_last_write(self, state: State) -> None:
        for key in ("a", "b", "c"):
            state.put("run", key, {})
        state.put("run", "a", {"again": True})
        assert [d.key for d in state.list("run", newest=True)] == ["a", "c", "b"]
        assert [d.key for d in state.list("run", newest=True, limit=2)] == ["a", "c"]

    def test_deleted_is_gone(self, state: State) -> None:
        state.put("run", "a", {})
        state.delete("run", "a")
        assert state.get("run", "a") is None and state.list("run") == []
        assert state.put("run", "a", {}, expect=0).revision == 1

    def test_what_is_not_json_is_refused_whole(self, state: State) -> None:
        state.put("run", "a", {"x": 1})
        for value in ({"x": object()}, {"x": float("nan")}, {"x": b"bytes"}):
            with pytest.raises(UsageError):
                state.put("run", "a", value)
        got = state.get("run", "a")
        assert got is not None and got.value == {"x": 1}

    def test_it_outlives_the_engine(self, state: State) -> None:
        state.put("run", "a", {"x": 1})
        other = self.again(state)
        got = other.get("run", "a")
        assert got is not None and got.value == {"x": 1}
        other.close()

    def test_a_lease_has_one_holder(self, state: State) -> None:
        other = self.again(state)
        assert state.lease("table", "me", timedelta(minutes=5))
        assert state.lease("table", "me", timedelta(minutes=5)), "the holder renews"
        assert not other.lease("table", "you", timedelta(minutes=5))
        assert other.lease("another", "you", timedelta(minutes=5))
        other.release("table", "you")
        assert not other.lease("table", "you", timedelta(minutes=5)), "only the holder can give it up"
        state.release("table", "me")
        assert other.lease("table", "you", timedelta(minutes=5))
        other.close()

    def test_a_lease_ends_by_itself(self, state: State) -> None:
        assert state.lease("table", "me", timedelta(0))
        assert state.lease("table", "you", timedelta(minutes=5))
        assert not state.lease("table", "me", timedelta(minutes=5))
        assert state.lease("table", "you", timedelta(0)), "renewing may shorten it"
        assert state.lease("table", "me", timedelta(minutes=5))
