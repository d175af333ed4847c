"""Where a generation stands: one small document a generation, that every writer of it changes and watches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from millstream.base.errors import Incompatible
from millstream.features.online import HEAD_US
from millstream.features.window import horizon_us

VERSION = 1


@dataclass(frozen=True)
class Stand:
    """See `features.port.Applied`.

    Attributes:
        space: Number of the space whose blobs are the generation's.
        expired_us: The horizon of the last expiry; what no look-up from there on can reach is gone, or is going.
        era, settled_us: Since the era began, nothing before that moment has changed.
        filling: The space that is being filled, or was when its filler died; 0: none.
        days: Which groups of days the space has blobs of.
    """

    name: str
    space: int
    offsets: Mapping[int, int] = field(default_factory=dict)
    clock_us: int = 0
    active: bool = False
    expired_us: int = 0
    era: int = 0
    settled_us: int = 0
    filling: int = 0
    days: tuple[int, ...] = ()
    ruling: str = ""

    @property
    def horizon_us(self) -> int:
        return horizon_us(self.clock_us, HEAD_US)

    def with_(self, **changes: Any) -> Stand:
        return replace(self, **changes)

    def text(self) -> str:
        return json.dumps({"v": VERSION, **asdict(self)}, separators=(",", ":"))


def read(text: bytes | None) -> Stand | None:
    """Raises Incompatible: a later Millstream wrote it."""
    if text is None:
        return None
    found = json.loads(text)
    if found.pop("v") != VERSION:
        raise Incompatible(
            f'the online store\'s "{found["name"]}" has another format than this Millstream reads; drop it, and it is'
            " filled again"
        )
    found |= {
        "offsets": {int(partition): at for partition, at in found["offsets"].items()},
        "days": tuple(found["days"]),
    }
    return Stand(**found)


__all__ = ["Stand", "read"]
