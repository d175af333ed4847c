"""From a URL to an engine, and what is said when that does not go."""

from __future__ import annotations

import sys

import pytest

from millstream.base.errors import ConfigError, EngineMissing
from millstream.base.registry import engine


def test_an_unknown_engine_is_named_without_the_password_of_its_url() -> None:
    with pytest.raises(
        ConfigError, match=r'no engine "redss" serves online \(redss://\.\.\.@host/0\); known: redis, rediss, sqlite'
    ) as told:
        engine("online", "redss://me:p@ss@host/0")
    assert "p@ss" not in str(told.value)


@pytest.mark.parametrize("url", ["redis://host/0", "rediss://host/0"])
def test_a_missing_driver_is_named_with_the_extra_that_has_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("millstream.engines.redis.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(EngineMissing, match=r'needs redis: pip install "millstream\[redis\]"'):
        engine("online", url)
