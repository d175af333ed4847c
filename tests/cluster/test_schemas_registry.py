"""A registry that speaks the Confluent REST API passes the suite of the schema store."""

from __future__ import annotations

import json
import urllib.request

import pytest

from millstream.base.errors import Incompatible, NotFound, Unreachable
from millstream.engines.registry import schemas as registry_module
from millstream.engines.registry.schemas import RegistrySchemas
from millstream.log.contract import OTHER, SCHEMA, WIDER, SchemasContract
from millstream.log.port import Schemas


def emptied(url: str) -> None:
    """A registry without subjects."""
    registry = RegistrySchemas(url)
    for subject in map(registry_module._quoted, registry._ask("GET", "/subjects?deleted=true")):
        for how in ("", "?permanent=true"):
            registry._ask("DELETE", f"/subjects/{subject}{how}", missing=True)
        registry._ask("DELETE", f"/config/{subject}", missing=True)


class TestRegistrySchemas(SchemasContract):
    @pytest.fixture
    def schemas(self, registry: str) -> Schemas:
        emptied(registry)
        self.url = registry
        return RegistrySchemas(registry)

    def again(self, schemas: Schemas) -> Schemas:
        return RegistrySchemas(self.url)

    def test_the_contract_binds_foreign_producers_too(self, schemas: Schemas) -> None:
        schemas.register("t", SCHEMA, "backward_transitive")
        assert _asked(self.url, "/config/t") == {"compatibilityLevel": "BACKWARD_TRANSITIVE"}
        with pytest.raises(Incompatible, match="409"):  # as a producer that is not ours would send it
            RegistrySchemas(self.url)._ask("POST", "/subjects/t/versions", {"schema": OTHER})
        assert len(schemas.versions("t")) == 1
        schemas.register("t", WIDER, "full")
        assert _asked(self.url, "/config/t") == {"compatibilityLevel": "FULL"}

    def test_a_schema_of_two_subjects_has_one_id(self, schemas: Schemas) -> None:
        assert schemas.register("t", SCHEMA) == schemas.register("a/b c", SCHEMA)
        assert schemas.versions("a/b c") == schemas.versions("t")

    def test_a_class_may_be_renamed(self, schemas: Schemas) -> None:
        """A registry holds the record's name to be part of the schema; here it is the name of a Python class."""
        enum = (
            '{"type": "record", "name": "%s", "fields": [{"name": "k", "type": {"type": "enum", "name": "%s_k",'
            ' "symbols": ["a", "b"]}}%s]}'
        )
        first = schemas.register("t", enum % ("Visit", "Visit", ""))
        assert schemas.register("t", enum % ("Visited", "Visited", "")) == first
        second = schemas.register(
            "t", enum % ("Visited", "Visited", ', {"name": "n", "type": ["null", "long"], "default": null}')
        )
        assert schemas.versions("t") == [first, second] and json.loads(schemas.schema(second))["name"] == "Visit"

    def test_a_registry_that_is_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry_module, "PAUSE_S", 0.01)
        with pytest.raises(Unreachable, match="does not answer"):
            RegistrySchemas("http://127.0.0.1:9").versions("t")

    def test_a_wrong_path_is_no_empty_registry(self, registry: str) -> None:
        with pytest.raises(NotFound):
            RegistrySchemas(registry.replace("/ccompat", "/nothing")).register("t", SCHEMA)


def _asked(url: str, path: str) -> object:
    with urllib.request.urlopen(url + path) as answer:
        return json.load(answer)
