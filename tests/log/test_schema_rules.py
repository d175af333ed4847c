"""Compatibility says what resolution can do: what the rule lets through reads, and defaults stand in for what was not
written.
"""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.base.errors import Incompatible, UsageError
from millstream.log.avro import arrow_schema, resolve
from millstream.log.schemas import RULES, check, reads

KINDS = ["string", "bytes", "long", "int", "double", "float", "boolean"]
SOME = {"string": "s", "bytes": b"b", "long": 7, "int": 7, "double": 0.5, "float": 0.5, "boolean": True}
DEFAULT = {"string": "d", "bytes": "d", "long": 1, "int": 1, "double": 1.5, "float": 1.5, "boolean": False}


@st.composite
def records(draw: st.DrawFn) -> str:
    fields = []
    for name in draw(st.lists(st.sampled_from("abcd"), unique=True, min_size=1)):
        kind = draw(st.sampled_from(KINDS))
        field: dict[str, Any] = {"name": name, "type": draw(st.sampled_from([kind, ["null", kind]]))}
        if draw(st.booleans()):
            field["default"] = None if isinstance(field["type"], list) else DEFAULT[kind]
        fields.append(field)
    return json.dumps({"type": "record", "name": "R", "fields": fields})


def value(kind: Any, null: bool) -> Any:
    return (None if null else SOME[kind[1]]) if isinstance(kind, list) else SOME[kind]


@settings(max_examples=400, deadline=None)
@given(records(), records())
def test_the_rule_agrees_with_fastavro(writer: str, reader: str) -> None:
    """Every record of the writer, NULLs included, reads under the reader's schema just when the rule says so."""
    w, r = fastavro.parse_schema(json.loads(writer)), fastavro.parse_schema(json.loads(reader))
    readable = True
    for null in (False, True):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, w, {f["name"]: value(f["type"], null) for f in json.loads(writer)["fields"]})
        out.seek(0)
        try:
            fastavro.schemaless_reader(out, w, r)
        except Exception:  # fastavro has many names for "does not resolve"
            readable = False
    said = not list(reads(json.loads(reader), json.loads(writer)))
    assert said <= readable, "what the rule lets through must be readable"


@settings(max_examples=300, deadline=None)
@given(records(), records())
def test_what_the_rule_lets_through_resolves_like_fastavro(writer: str, reader: str) -> None:
    if list(reads(json.loads(reader), json.loads(writer))):
        return
    fields = json.loads(writer)["fields"]
    original = [{f["name"]: value(f["type"], null) for f in fields} for null in (False, True)]
    w, r = fastavro.parse_schema(json.loads(writer)), fastavro.parse_schema(json.loads(reader))
    expected = []
    for record in original:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, w, record)
        out.seek(0)
        read: Any = fastavro.schemaless_reader(out, w, r)
        # fastavro hands a bytes field's default out as the text in the schema.
        expected.append(
            {
                f["name"]: (
                    read[f["name"]].encode()
                    if f["type"] == "bytes" and isinstance(read[f["name"]], str)
                    else read[f["name"]]
                )
                for f in json.loads(reader)["fields"]
            }
        )
    rows = pa.RecordBatch.from_pylist(original, arrow_schema(writer))
    assert resolve(rows, writer, reader).to_pylist() == expected


def record(*fields: Any) -> str:
    return json.dumps({"type": "record", "name": "R", "fields": list(fields)})


N, OPTIONAL, REQUIRED = (
    {"name": "n", "type": "long"},
    {"name": "x", "type": "long", "default": 0},
    {"name": "x", "type": "long"},
)


@pytest.mark.parametrize(
    ("rule", "new", "olds", "fits"),
    [
        ("backward", record(N, OPTIONAL), [record(N)], True),
        ("backward", record(N, REQUIRED), [record(N)], False),
        ("backward", record(N), [record(N, REQUIRED)], True),
        ("forward", record(N, REQUIRED), [record(N)], True),
        ("forward", record(N), [record(N, REQUIRED)], False),
        ("forward", record(N), [record(N, OPTIONAL)], True),
        ("full", record(N, OPTIONAL), [record(N)], True),
        ("full", record(N, REQUIRED), [record(N)], False),
        ("full", record(N), [record(N, REQUIRED)], False),
        ("backward", record(N, REQUIRED), [record(N), record(N, OPTIONAL)], True),
        ("backward_transitive", record(N, REQUIRED), [record(N), record(N, OPTIONAL)], False),
        ("forward_transitive", record(N), [record(N, REQUIRED), record(N, OPTIONAL)], False),
        ("forward", record(N), [record(N, REQUIRED), record(N, OPTIONAL)], True),
        ("full_transitive", record(N, OPTIONAL), [record(N), record(N, OPTIONAL)], True),
        ("none", record({"name": "z", "type": "string"}), [record(N)], True),
    ],
)
def test_rules(rule: str, new: str, olds: list[str], fits: bool) -> None:
    if fits:
        check(rule, new, olds)
    else:
        with pytest.raises(Incompatible, match='"t" keeps the contract'):
            check(rule, new, olds, subject="t")


@settings(max_examples=100, deadline=None)
@given(records(), st.lists(records(), max_size=3))
def test_transitive_is_the_plain_rule_against_each(new: str, olds: list[str]) -> None:
    def fits(rule: str, against: list[str]) -> bool:
        try:
            check(rule, new, against)
        except Incompatible:
            return False
        return True

    for rule in ("backward", "forward", "full"):
        assert fits(f"{rule}_transitive", olds) == all(fits(rule, [old]) for old in olds)
        assert fits("full", olds[-1:]) == (fits("backward", olds[-1:]) and fits("forward", olds[-1:]))
    assert fits("full_transitive", [new]), "a schema fits itself"


def test_no_such_rule() -> None:
    with pytest.raises(UsageError, match="full_transitive"):
        check("sideways", record(N), [])
    assert len(RULES) == 7


def test_symbols_aliases_and_the_envelope() -> None:
    old = record({"name": "state", "type": {"type": "enum", "name": "S", "symbols": ["a", "b"]}}, N)
    new = record(
        {
            "name": "phase",
            "aliases": ["state"],
            "type": {"type": "enum", "name": "S", "symbols": ["a", "c"], "default": "c"},
        },
        {"name": "n", "type": "double"},
    )
    rows = pa.record_batch({"state": ["a", "b"], "n": pa.array([1, 2]), "_event_id": ["x", None]})
    assert resolve(rows, old, new).to_pydict() == {"phase": ["a", "c"], "n": [1.0, 2.0], "_event_id": ["x", None]}
    with pytest.raises(UsageError, match="none of a"):
        resolve(rows, old, record({"name": "state", "type": {"type": "enum", "name": "S", "symbols": ["a"]}}))
    with pytest.raises(UsageError, match='"y" was not written'):
        resolve(rows, old, record({"name": "y", "type": "long"}))
    with pytest.raises(UsageError, match="does not become"):
        resolve(rows, old, record({"name": "state", "type": "long"}))
