"""Schemas and an online store in memory. The store keeps which records were counted, which is all that the simulator asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from millstream.declare.errors import Conflict, NotFound
from millstream.features.definition import Definition
from millstream.features.port import Applied, Apply
from millstream.log.schemas import canonical, check


class MemorySchemas:
    """Passes `SchemasContract`."""

    def __init__(self, texts: list[tuple[str, str]] | None = None) -> None:
        self.texts = [] if texts is None else texts

    def register(self, subject: str, schema: str, compatibility: str = "backward") -> int:
        for number, (of, text) in enumerate(self.texts, 1):
            if of == subject and canonical(text) == canonical(schema):
                return number
        check(compatibility, schema, [text for of, text in self.texts if of == subject], subject=subject)
        self.texts.append((subject, schema))
        return len(self.texts)

    def schema(self, schema_id: int) -> str:
        if not 1 <= schema_id <= len(self.texts):
            raise NotFound(f"no schema {schema_id}")
        return self.texts[schema_id - 1][1]

    def versions(self, subject: str) -> list[int]:
        return [number for number, (of, _) in enumerate(self.texts, 1) if of == subject]


@dataclass
class Generation:
    offsets: dict[int, int] = field(default_factory=dict)
    clock_us: int = 0
    active: bool = False
    ruling: str = ""
    ties: list[int] = field(default_factory=list)


class MemoryOnline:
    """What the updater asks of a store: positions and events in one step, refused where a position or a ruling is another."""

    def __init__(self) -> None:
        self.held: dict[str, Generation] = {}

    def create(self, definition: Definition) -> None:
        self.held.setdefault(definition.generation, Generation())

    def applied(self, generation: str) -> Applied | None:
        held = self.held.get(generation)
        return None if held is None else Applied(dict(held.offsets), held.clock_us, held.active, held.ruling)

    def activate(self, generation: str, offsets: Mapping[int, int], clock_us: int, ruling: str = "") -> None:
        held = self.held[generation]
        if held.active:
            raise Conflict(f"generation {generation} is filled already")
        held.offsets, held.clock_us, held.active, held.ruling = dict(offsets), clock_us, True, ruling

    def apply(self, applies: Sequence[Apply]) -> None:
        for one in applies:
            held = self.held.get(one.definition.generation)
            if held is None or not held.active or held.ruling != one.ruling or held.offsets.get(one.partition, 0) != one.start:
                raise Conflict("the store stands elsewhere")
        for one in applies:
            held = self.held[one.definition.generation]
            held.offsets[one.partition] = one.end
            held.clock_us = max(held.clock_us, one.clock_us)
            held.ties += one.events.column("tie").to_pylist()

    def expire(self, definition: Definition) -> int:
        return 0

    def drop(self, generation: str) -> None:
        self.held.pop(generation, None)
