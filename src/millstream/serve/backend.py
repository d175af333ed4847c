"""What the HTTP server needs of what is behind it, and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from millstream.log.envelope import Binding
from millstream.serve.decide import Decider
from millstream.serve.meter import Labels


@dataclass(frozen=True)
class Limits:
    """Bounds of the server; beyond them a request is refused, never queued without end."""

    body_bytes: int = 1_000_000
    requests: int = 1_000
    in_flight: int = 1_000
    answer_s: float = 10.0
    wait_s: float = 5.0
    drain_s: int = 20


class Serves(Protocol):
    """What the face needs behind it (see `live.Live`)."""

    def start(self) -> None: ...
    def close(self) -> None: ...
    def names(self) -> list[str]: ...

    def decider(self, endpoint: str) -> Decider:
        """Raises NotFound."""
        ...

    def binding(self, endpoint: str) -> Binding:
        """Raises Transient."""
        ...

    def features(self, endpoint: str) -> list[str]:
        """Names of the feature columns an explanation shows."""
        ...

    def problems(self) -> list[str]:
        """What is not as it should be; empty when all is."""
        ...

    def answering(self) -> list[str]:
        """Endpoints that can answer now."""
        ...

    def waiting(self) -> Sequence[tuple[str, str, str]]:
        """What other parts of the project wait for: part, name, why."""
        ...

    def refuses(self) -> str:
        """Why the log takes no write; "" when it does."""
        ...

    def behind(self, after: Mapping[str, Mapping[int, int]]) -> str:
        """Which of these positions the features have not applied yet, in words; "" when all are."""
        ...

    def gauges(self) -> dict[str, tuple[str, dict[Labels, float]]]: ...
