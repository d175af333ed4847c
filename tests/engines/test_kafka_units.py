"""What of the Kafka engine needs no broker: the URL, framing, positions, errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.base.errors import ConfigError, Corrupt, Fenced, Full, MillstreamError, NotFound, Terminal, Truncated, Unreachable, UsageError
from millstream.base.event import ARRIVED_AT, EVENT_ID, OFFSET
from millstream.engines.kafka.address import address_of
from millstream.engines.kafka.errors import Faults, error_of, mapped
from millstream.engines.kafka.java import java_settings
from millstream.engines.kafka.marks import Marks
from millstream.engines.kafka.positions import read_record, record
from millstream.engines.kafka.topics import DECLARED, Topics, kept
from millstream.engines.kafka.upkeep import Upkeep, due
from millstream.log.contract import SCHEMA, WIDER, rows
from millstream.log.framing import RAW_AVRO, Headers, Records, Texts, envelopes, framed, headers, holes, slices
from millstream.log.port import RAW, RAW_SCHEMA_ID, Ends, Slice


class Store:
    """Schemas 1 and 2; counts what it is asked."""

    def __init__(self, texts: Mapping[int, str]) -> None:
        self.texts, self.asked = dict(texts), 0

    def schema(self, schema_id: int) -> str:
        self.asked += 1
        if schema_id not in self.texts:
            raise NotFound(f"no schema {schema_id}")
        return self.texts[schema_id]

    def register(self, subject: str, schema: str, compatibility: str = "backward") -> int:
        raise AssertionError

    def versions(self, subject: str) -> list[int]:
        raise AssertionError


@pytest.fixture
def texts() -> Texts:
    return Texts(Store({1: SCHEMA, 2: WIDER, 3: '"string"'}), patience_s=0)


def records(values: list[bytes | None], at: int = 100, envelope: Sequence[Headers] | None = None) -> Records:
    """At offsets with a hole after each."""
    offsets = at + 2 * np.arange(len(values), dtype=np.int64)
    return Records(values, offsets, np.full(len(values), 1_700_000_000_000, np.int64), *envelopes(envelope or []))


def read(texts: Texts, made: Records) -> list[Slice]:
    return slices(texts, "t", 3, 90, made)


# the URL


def test_the_url() -> None:
    plain = address_of("kafka:b1:9092,b2:9092")
    assert (plain.brokers, plain.client, plain.replication) == ("b1:9092,b2:9092", {}, None)
    assert address_of("kafka://b1:9092/").brokers == "b1:9092"
    named = address_of("kafka://alice:p%40ss@b1:9093?ssl.ca.location=/etc/ca.pem&replication=2&positions=mine&max_message_bytes=1000000")
    assert named.client == {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "alice", "sasl.password": "p@ss",
                            "ssl.ca.location": "/etc/ca.pem"}  # fmt: skip
    assert (named.replication, named.positions, named.max_message_bytes, named.transaction_timeout_ms) == (2, "mine", 1_000_000, 10_000)
    assert "p@ss" not in repr(named)
    assert address_of("kafka://bob:x@b1:9093?sasl.mechanism=PLAIN").client["sasl.mechanism"] == "PLAIN"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://", "names no broker"),
        ("kafka://broker", "names no broker"),
        ("kafka://b:1?acks=1", "exactly-once rests on it"),
        ("kafka://b:1?isolation.level=read_uncommitted", "exactly-once rests on it"),
        ("kafka://b:1?replicaton=3", "replication"),
        ("kafka://b:1?replication=three", "a number from 1"),
    ],
)
def test_urls_that_are_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        address_of(url)


def test_a_refused_url_keeps_its_password() -> None:
    with pytest.raises(ConfigError) as caught:
        address_of("kafka://alice:secret@nowhere")
    assert "secret" not in str(caught.value)


# framing


def test_a_batch_goes_and_comes(texts: Texts) -> None:
    sent = rows(1, 2, 3, ids=True, arrived=datetime(2013, 1, 1, 5, 0, 0, 123_456, tzinfo=UTC))
    values = framed(sent, 1, SCHEMA)
    assert all(value[:5] == b"\0\0\0\0\1" for value in values)
    envelope = [[(name, value.encode()) for name, value in one] for one in headers(sent) or []]
    assert envelope[0] == [(EVENT_ID, b"id-1"), (ARRIVED_AT, b"1357016400123456")]
    (piece,) = read(texts, records(list(values), envelope=envelope))
    assert (piece.start, piece.end, piece.schema_id, piece.partition) == (90, 105, 1, 3)
    assert piece.rows.schema.names == ["n", "who", EVENT_ID, ARRIVED_AT, OFFSET]
    assert piece.rows.select(sent.schema.names).to_pydict() == sent.to_pydict()
    assert piece.rows.column(OFFSET).to_pylist() == [100, 102, 104]


def test_no_envelope_costs_no_header() -> None:
    assert headers(rows(1, 2)) is None
    assert headers(pa.record_batch({EVENT_ID: pa.nulls(2, pa.string())})) is None
    ids = pa.record_batch({EVENT_ID: pa.array(["a", None]), ARRIVED_AT: pa.array([None, 7], pa.timestamp("us", tz="UTC"))})
    assert headers(ids) == [[(EVENT_ID, "a")], [(ARRIVED_AT, "7")]]
    assert headers(ids.select([EVENT_ID])) == [[(EVENT_ID, "a")], []]


def test_the_stamp_stands_where_nothing_was_brought(texts: Texts) -> None:
    (piece,) = read(texts, records(list(framed(rows(1, 2), 1, SCHEMA)), envelope=[None, [(ARRIVED_AT, b"5"), ("other", None)]]))
    assert piece.rows.column(ARRIVED_AT).cast(pa.int64()).to_pylist() == [1_700_000_000_000_000, 5]
    assert piece.rows.column(EVENT_ID).to_pylist() == [None, None]


def test_slices_change_with_the_schema_and_abut(texts: Texts) -> None:
    wide = pa.record_batch({"n": [7], "who": ["x"], "x": [1.5]})
    bad = pa.record_batch([pa.array([b"\xff"]), pa.array(["not JSON"]), pa.array(["x.csv:17"])], schema=RAW)
    values = [*framed(rows(1, 2), 1, SCHEMA), *framed(wide, 2, WIDER), *framed(bad, RAW_SCHEMA_ID, RAW_AVRO), *framed(rows(3), 1, SCHEMA)]
    found = read(texts, records(list(values)))
    assert [(p.schema_id, p.start, p.end, p.rows.num_rows) for p in found] == [(1, 90, 103, 2), (2, 103, 105, 1), (0, 105, 107, 1), (1, 107, 109, 1)]
    assert found[1].rows.column("x").to_pylist() == [1.5]
    assert found[2].rows.select(RAW.names).to_pylist() == bad.to_pylist() and found[2].rows.schema.names == [*RAW.names, ARRIVED_AT, OFFSET]


def test_what_cannot_be_decoded_is_kept_as_found(texts: Texts) -> None:
    good = framed(rows(1, 2, 3, 4), 1, SCHEMA)
    values: list[bytes | None] = [good[0], None, b'{"n": 1}', b"\0\0", b"\0\0\0\0\x63abc", b"\0\0\0\0\3abc", good[1], good[2][:-1], good[3] + b"?", good[3]]
    found = read(texts, records(values))
    assert [(p.schema_id, p.rows.num_rows) for p in found] == [(1, 1), (0, 3), (0, 1), (0, 1), (1, 1), (0, 2), (1, 1)]
    raw = [row for p in found if p.schema_id == 0 for row in p.rows.to_pylist()]
    assert [row["raw"] for row in raw] == [v for v in values if v not in (good[0], good[1], good[3])]
    assert [row["origin"] for row in raw] == [f"t/3@{offset}" for offset in (102, 104, 106, 108, 110, 114, 116)]
    assert "no record of a schema registry" in raw[0]["error"] and "schema 99 is not in the registry" in raw[3]["error"]
    assert "schema 3: events are Avro records" in raw[4]["error"] and "left over" in raw[6]["error"]
    assert all(a.end == b.start for a, b in pairwise(found))
    assert [n for p in found if p.schema_id for n in p.rows.column("n").to_pylist()] == [1, 2, 4]


def test_a_header_that_cannot_be_read_makes_a_dead_letter(texts: Texts) -> None:
    good = framed(rows(1, 2, 3, 4), 1, SCHEMA)
    found = read(texts, records(list(good), envelope=[[(ARRIVED_AT, b"noon")], [(EVENT_ID, b"\xff")], [(ARRIVED_AT, b"-9"), (EVENT_ID, b"x")], None]))
    assert [(p.schema_id, p.rows.num_rows) for p in found] == [(0, 2), (1, 2)]
    assert [("_arrived_at" in e, "_event_id" in e) for e in found[0].rows.column("error").to_pylist()] == [(True, False), (False, True)]
    assert found[1].rows.column(ARRIVED_AT).cast(pa.int64()).to_pylist()[0] == -9


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=12), st.integers(0, 9)), min_size=1, max_size=30))
def test_every_record_comes_back_once_whatever_it_is(values: list[bytes | int | None]) -> None:
    """A number stands for a good record."""
    texts = Texts(Store({1: SCHEMA}), patience_s=0)
    good = framed(rows(*range(10)), 1, SCHEMA)
    found = read(texts, records([good[v] if isinstance(v, int) else v for v in values]))
    assert [o for p in found for o in p.rows.column(OFFSET).to_pylist()] == [100 + 2 * at for at in range(len(values))]
    assert found[0].start == 90 and found[-1].end == 100 + 2 * len(values) - 1
    assert [n for p in found if p.schema_id == 1 for n in p.rows.column("n").to_pylist()].count(3) >= values.count(3)


def test_an_unknown_schema_is_asked_for_again_and_not_each_time() -> None:
    now = [0.0]
    store = Store({})
    texts = Texts(store, patience_s=0, clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(NotFound):
            texts[7]
    assert store.asked == 2  # once, and once more a moment later
    store.texts[7], now[0] = SCHEMA, 61.0
    assert texts[7] == SCHEMA and texts[7] == SCHEMA and store.asked == 3


def test_a_registry_that_is_away_kills_no_record() -> None:
    class Away(Store):
        def schema(self, schema_id: int) -> str:
            raise Unreachable("the registry does not answer")

    with pytest.raises(Unreachable):
        read(Texts(Away({})), records(list(framed(rows(1), 1, SCHEMA))))


def test_holes_have_no_rows() -> None:
    piece = holes("t", 1, 5, 9)
    assert (piece.start, piece.end, piece.rows.num_rows) == (5, 9, 0)


# positions


def test_positions_carry_a_version() -> None:
    assert read_record(*record("files/né.csv", "line 3\n")) == ("files/né.csv", "line 3\n")
    assert read_record(b"s", None) == ("s", None)
    with pytest.raises(Corrupt, match="newer Millstream"):
        read_record(b"s", b'{"version": 2, "position": "x"}')
    for value in (b"\xff", b"3", b'{"position": "x"}', b'{"version": 1, "position": 3}'):
        with pytest.raises(Corrupt):
            read_record(b"s", value)


# errors


def code(name: str) -> int:
    return int(getattr(KafkaError, name))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("_FENCED", Fenced), ("INVALID_PRODUCER_EPOCH", Fenced), ("UNKNOWN_TOPIC_OR_PART", NotFound), ("MSG_SIZE_TOO_LARGE", UsageError),
        ("_AUTHENTICATION", ConfigError), ("TOPIC_AUTHORIZATION_FAILED", ConfigError), ("_AUTO_OFFSET_RESET", Truncated), ("_MSG_TIMED_OUT", Unreachable),
        ("NOT_ENOUGH_REPLICAS", Unreachable), ("_QUEUE_FULL", Full), ("_BAD_MSG", Corrupt), ("_STATE", Terminal),
    ],
)  # fmt: skip
def test_errors_by_what_one_would_do_next(name: str, kind: type[MillstreamError]) -> None:
    assert type(error_of(KafkaError(code(name)), "x")) is kind
    with pytest.raises(kind), mapped("x"):
        raise KafkaException(KafkaError(code(name)))


def test_no_driver_error_escapes() -> None:
    names = [n for n in dir(KafkaError) if re.fullmatch(r"_?[A-Z][A-Z_]+", n)]
    assert len(names) > 150
    for name in names:
        assert isinstance(error_of(KafkaError(code(name)), "topic t"), MillstreamError), name


def test_a_fault_that_only_a_fix_ends_is_remembered() -> None:
    now = [0.0]
    faults = Faults("Kafka at b:1", clock=lambda: now[0])
    faults(KafkaError(code("_TRANSPORT")))
    faults.check()
    faults(KafkaError(code("_AUTHENTICATION")))
    with pytest.raises(ConfigError, match="ACLs"):
        faults.check()
    now[0] = 61.0
    faults.check()  # what fails now fails for another reason


# retention


@pytest.mark.parametrize(
    ("young", "marks", "found"),
    [
        (-1, {"lake": 100}, 80),  # nothing is young: up to the last stable offset, and never -1
        (-1, {"lake": 30}, 30),
        (-1, {"lake": 0}, None),
        (-1, {}, None),  # nobody has said anything
        (-1, {"other": 50}, None),  # nor has the lake
        (40, {"lake": 70}, 40),
        (90, {"lake": 100}, 80),  # beyond what is stable
        (40, {"lake": 70, "slow": 20}, 20),
        (10, {"lake": 70}, None),  # that is the beginning
        (5, {"lake": 70}, None),
        (40, {"lake": 10}, None),
    ],
)
def test_what_is_due(young: int, marks: Mapping[str, int], found: int | None) -> None:
    assert due(Ends(10, 80), young, marks, 2_000_000, 1_000_000) == found


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(-5, 120), st.dictionaries(st.sampled_from(["lake", "a", "b"]), st.integers(0, 150)))
def test_no_offset_is_due_that_somebody_needs(low: int, more: int, young: int, marks: dict[str, int]) -> None:
    found = due(Ends(low, low + more), young, marks, 2_000_000, 1_000_000)
    if found is not None:
        assert low < found <= low + more and found <= marks["lake"] and all(found <= mark for mark in marks.values())
        assert young < 0 or found <= young


def test_what_a_topic_is_told() -> None:
    assert kept(timedelta(hours=1)) == {"retention.ms": "-1", "retention.bytes": "-1", DECLARED: "3600000"}
    assert kept(None)[DECLARED] is None


def test_upkeep_is_done_once_in_a_while() -> None:
    class Asked(Topics):
        count = 0

        def declared(self) -> dict[str, timedelta]:
            self.count += 1
            return {}

    now, asked = [0.0], Asked(address_of("kafka://b:1"))
    upkeep = Upkeep(asked, Marks(asked), clock=lambda: now[0])
    for now[0] in (0.0, 5.0, 59.0, 60.5, 65.0, 121.0):
        upkeep.maintain()
    assert asked.count == 3


def test_no_mark_is_negative() -> None:
    asked = Topics(address_of("kafka://b:1"))
    with pytest.raises(UsageError, match="below 0"):
        Marks(asked).write(Described(), "lake", {0: -1})


class Described:
    name, topic_id = "t", "uuid"


# -- the Java client of the same cluster


def test_a_url_for_the_java_client() -> None:
    plain = {"bootstrap.servers": "b:1", "isolation.level": "read_committed"}
    assert java_settings(address_of("kafka://b:1?replication=2&linger.ms=5")) == plain
    found = java_settings(address_of("kafka://al:p%22%5Cw@b:1?ssl.ca.location=/ca.pem&client.rack=r1&ssl.endpoint.identification.algorithm=none"))
    assert found == plain | {
        "security.protocol": "SASL_SSL", "client.rack": "r1", "ssl.truststore.type": "PEM", "ssl.truststore.location": "/ca.pem",
        "ssl.endpoint.identification.algorithm": "", "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": 'org.apache.kafka.common.security.scram.ScramLoginModule required username="al" password="p\\"\\\\w";',
    }  # fmt: skip
    assert "plain.PlainLoginModule" in java_settings(address_of("kafka://al:p@b:1?sasl.mechanism=PLAIN"))["sasl.jaas.config"]


@pytest.mark.parametrize("option", ["ssl.key.location=/k.pem", "sasl.mechanism=OAUTHBEARER", "sasl.kerberos.service.name=kafka"])
def test_security_that_the_java_client_cannot_be_told(option: str) -> None:
    who = "al:p@" if "OAUTH" in option else ""
    with pytest.raises(ConfigError, match="Spark"):
        java_settings(address_of(f"kafka://{who}b:1?{option}"))
