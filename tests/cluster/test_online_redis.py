"""Redis passes the online store's suite, and leaves nothing behind."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from millstream.declare.registry import engine
from millstream.engines.redis.online import RedisOnline
from millstream.features.contract import OnlineContract
from millstream.features.port import OnlineStore


@pytest.fixture
def url(redis: str) -> str:
    """An empty store on the session's server."""
    return f"{redis}?prefix={uuid.uuid4().hex}"


class TestRedisOnline(OnlineContract):
    @pytest.fixture
    def store(self, url: str) -> Iterator[OnlineStore]:  # type: ignore[override]
        self.url = url
        made = RedisOnline(url)
        yield made
        made.close()

    def again(self, store: OnlineStore) -> OnlineStore:
        return RedisOnline(self.url)


def test_found_by_url() -> None:
    assert engine("online", "redis://localhost/0") is RedisOnline and engine("online", "rediss://localhost/0") is RedisOnline
