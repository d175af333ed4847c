"""Schemas in memory. They pass `SchemasContract`."""

from __future__ import annotations

from millstream.base.errors import NotFound
from millstream.log.schemas import canonical, check


class MemorySchemas:
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
