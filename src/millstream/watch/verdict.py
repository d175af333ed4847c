"""What a check found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from millstream.base.floats import named

Status = Literal["ok", "violated", "drifted", "unknown"]
"""`unknown` is not enough data (or none): neither good nor bad news."""
BAD: frozenset[str] = frozenset({"violated", "drifted"})


@dataclass(frozen=True)
class Verdict:
    """One check at one moment.

    Attributes:
        check: "fresh", "volume", ... as `ms.expect` names them.
        value: The number judged, in the unit the message says; None when there is none.
        bound: What it was held against.
        message: One sentence for people.
        details: JSON-able: per column, per interval.
        at_us: The project's clock when it was judged.
    """

    check: str
    status: Status
    value: float | None
    bound: float | None
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    at_us: int = 0

    @property
    def bad(self) -> bool:
        return self.status in BAD

    @property
    def failed(self) -> bool:
        """Whether it could not be judged because something is broken."""
        return bool(self.details.get("failed"))

    def json(self) -> dict[str, Any]:
        """As kept in the state, floats that JSON has not as texts."""
        return {
            "check": self.check,
            "status": self.status,
            "value": named(self.value),
            "bound": self.bound,
            "message": self.message,
            "details": named(dict(self.details)),
            "at_us": self.at_us,
        }

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Verdict:
        return cls(
            **{name: stored[name] for name in ("check", "status", "value", "bound", "message", "details", "at_us")}
        )


def unknown(check: str, message: str, bound: float | None = None, **details: Any) -> Verdict:
    """Nothing can be said."""
    return Verdict(check, "unknown", None, bound, message, details)


def failed(check: str, why: str) -> Verdict:
    """It could not be judged, since something is broken; that is more than not enough data."""
    return Verdict(check, "unknown", None, None, f"could not be judged: {why}", {"failed": True})
