"""Rulings: what a verdict depends on besides the log, and from where on.

Whether a record is good, dead or a duplicate follows from the log and from a rule: the event class, the version of
`judge`, the id column and the window. The rule changes when the project does, and so do the facts it is applied to: a
gap that was accepted, a record set aside, a repair. Each such change is a ruling: it has a number, and it is stored in
a commit that names the position of EVERY partition of the topic. Two commits that name one position exclude one
another, so each record was written under one ruling or the next, and the stored positions of that commit are the
ruling's first offsets.

A sink compares the ruling on the handle that it commits from. One whose rule was replaced stops; one that finds an
amendment begins again at the stored positions, with fresh memory. Feature generations carry the stamp of the ruling
they were counted under.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from millstream.base.errors import Conflict, Fenced
from millstream.base.event import EVENT_ID, REQUIRED, Schema
from millstream.lake.judge import VERSION
from millstream.lake.port import Table, Tables
from millstream.lake.positions import app_id, stored
from millstream.log.port import Topic

NUMBER = "millstream-ruling/"
"""`millstream-ruling/<topic uuid>` -> the number of the newest ruling."""
RULE = "millstream-rule/"
"""`millstream-rule/<topic uuid>` -> the fingerprint of its rule."""
AMENDED = "millstream-amended/"
"""`millstream-amended/<topic uuid>` -> how many gaps, records set aside and repairs there were."""
IDENTITY = "millstream-verdicts/"
"""`millstream-verdicts/<topic uuid>` -> which rulings came one after the other up to here. A number alone does not
tell: a torn tail takes a ruling with it, and the next one has its number."""
_TRIES = 20


class Judgeable(Protocol):
    """What of a stream decides about its records."""

    @property
    def schema(self) -> Schema: ...

    @property
    def dedupe(self) -> str | None: ...

    @property
    def dedupe_within_us(self) -> int: ...


@dataclass(frozen=True)
class Rule:
    """What verdicts are made by.

    Attributes:
        id_column: Where a record's id is, None when there are no duplicates.
        within_us: The window, microseconds; 0 without an id column.
        fingerprint: Of all that decides, a positive integer of 62 bits.
    """

    id_column: str | None
    within_us: int
    fingerprint: int

    @classmethod
    def of(cls, stream: Judgeable) -> Rule:
        """A field that may be absent and takes any value of its type decides nothing, so adding one changes no rule."""
        column = EVENT_ID if stream.dedupe == "event_id" else stream.dedupe
        within = stream.dedupe_within_us if column else 0
        fields = [
            (f.name, f.kind, f.item, f.nullable, f.symbols)
            for f in stream.schema.fields
            if f.symbols or not (f.nullable or f.default is not REQUIRED)
        ]
        text = json.dumps([VERSION, column, within, sorted(fields, key=lambda f: f[0])])
        return cls(column, within, int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 2)


@dataclass(frozen=True)
class Ruling:
    """The newest ruling of a table; number 0 before the first."""

    number: int = 0
    rule: int = 0
    amended: int = 0
    identity: int = 0


def current(table: Table, topic: str) -> Ruling:
    """The ruling on this handle, of the topic of this uuid."""
    return Ruling(*(table.position(f"{kind}{topic}") or 0 for kind in (NUMBER, RULE, AMENDED, IDENTITY)))


def _follows(before: int, rule: int) -> int:
    """The identity of a changed definition: known beforehand, so that what is counted before the first ruling is
    counted under it.
    """
    return int.from_bytes(hashlib.sha256(f"{before} {rule}".encode()).digest()[:8], "big") >> 2


def replaced(stream: str, found: Ruling) -> Fenced:
    """What stops who is at work by a rule that another process has replaced."""
    return Fenced(
        f'stream "{stream}": another process writes it by another definition of its class, id or window (ruling'
        f" {found.number}); start this one again with the newest definition"
    )


def stamp(rule: Rule, table: Table | None, topic: str) -> str:
    """What a reader's state is counted under: the identity of the newest ruling; before the first, that of the
    first.
    """
    found = current(table, topic) if table is not None else Ruling()
    return f"{found.identity if found.number else _follows(0, rule.fingerprint):x}"


def moves(table: Table, topic: Topic, rule: int, amended: int) -> dict[str, tuple[int | None, int]]:
    """What a commit names that makes a new ruling: its number, and every partition, which stays where it stands."""
    found = current(table, topic.uuid)
    identity = _follows(found.identity, rule) if amended == found.amended else secrets.randbits(62)
    after = {
        f"{NUMBER}{topic.uuid}": found.number + 1,
        f"{RULE}{topic.uuid}": rule,
        f"{AMENDED}{topic.uuid}": amended,
        f"{IDENTITY}{topic.uuid}": identity,
    }
    after |= {app_id(topic, p): stored(table, topic, p) for p in range(topic.partitions)}
    return {app: (table.position(app), to) for app, to in after.items()}


def record_of(number: int, rule: Rule, table: Table, topic: Topic, why: str) -> dict[str, Any]:
    """What the commit of a new ruling says of it. `first` is the first offset of each partition that it decides."""
    first = {str(p): stored(table, topic, p) for p in range(topic.partitions)}
    return {
        "number": number,
        "why": why,
        "id": rule.id_column,
        "within_us": rule.within_us,
        "rule": rule.fingerprint,
        "first": first,
    }


def ensure(tables: Tables, stream: Judgeable, topic: Topic) -> Table:
    """The stream's table, with the stream's rule as its newest ruling; whoever reads by it may begin where the table
    stands.

    A table that nothing was written to has its first ruling from the sink.

    Raises:
        Conflict: Sinks never left a gap to record it in.
    """
    rule = Rule.of(stream)
    for _ in range(_TRIES):
        table = tables.table(topic.name)
        found = current(table, topic.uuid)
        untouched = not found.number and not any(table.position(app_id(topic, p)) for p in range(topic.partitions))
        if found.rule == rule.fingerprint or untouched:
            return table
        said = record_of(found.number + 1, rule, table, topic, "the stream's definition")
        with suppress(Conflict):
            table.land(
                [],
                txns=moves(table, topic, rule.fingerprint, found.amended),
                metadata={"by": "ruling", "topic": topic.uuid, "ruling": said},
            )
            return table
    raise Conflict(f'stream "{topic.name}": other commits never left a gap to record its definition in; try again')


def amend(tables: Tables, topic: Topic, why: str) -> None:
    """Have all who count by the table's verdicts begin again, by the rule it has.

    Raises:
        Conflict: Sinks never left a gap to record it in.
    """
    for _ in range(_TRIES):
        table = tables.table(topic.name)
        found = current(table, topic.uuid)
        said = {"number": found.number + 1, "why": why, "rule": found.rule}
        with suppress(Conflict):
            table.land(
                [],
                txns=moves(table, topic, found.rule, found.amended + 1),
                metadata={"by": "ruling", "topic": topic.uuid, "ruling": said},
            )
            return
    raise Conflict(f'table "{topic.name}": other commits never left a gap to record that {why}; try again')
