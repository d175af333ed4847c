"""The quarantine: `<stream>__dead` keeps each record that did not land, with why, so that nothing is dropped on the
way.

Order of a batch: quarantine first, then the main table. So after a crash the quarantine may be ahead of the main table,
and in that stretch recorded verdicts stand: an offset in quarantine is not judged again and never goes to main; any
other offset that fails now is quarantined first. A batch's verdicts hold as long as no other letter of its partition
came in between: commits with letters are counted, since one may lie behind where the quarantine stands. And letters are
written by one rule at a time: whoever judges by another claims the quarantine first, so a letter that an earlier worker
still has under way cannot land beside its record's row. So each record is in exactly one of the two, whatever the batch
bounds and the code's version. Readers look only below the main table's position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import Conflict
from millstream.base.event import ARRIVED_AT, ENVELOPE, EVENT_ID, OFFSET, PARTITION
from millstream.base.points import reach
from millstream.lake.parquet import Written
from millstream.lake.port import Table, Tables
from millstream.lake.positions import LETTERS_RULE, letters_id
from millstream.log.port import Topic

DEAD = pa.schema(
    [
        pa.field("error", pa.string()),
        pa.field("raw", pa.binary()),
        pa.field("origin", pa.string()),
        pa.field("topic", pa.string()),
        *(pa.field(name, ENVELOPE[name]) for name in (EVENT_ID, ARRIVED_AT, PARTITION, OFFSET)),
        pa.field("rule", pa.int64()),
    ]
)
"""`raw` is the record as found, or as JSON when it could be read and was refused; `topic` is the topic's uuid; `rule`
is the fingerprint of the rule that it was judged by (`ruling.py`), NULL in letters of an older Millstream."""
SET_ASIDE = "set aside by an operator"
"""How the error of a letter begins that `millstream dead set` wrote: `judge` passes the record, and it is dead all the
same.
"""

MOVED = "moved to the dead letters"
"""How the error of a letter begins that was a row until `doctor` moved it (`move.py`)."""
STANDS = (SET_ASIDE, MOVED)
"""Letters that are dead by a recorded verdict, whatever `judge` says of their record."""


_SUFFIX = "__dead"
_TRIES = 20


def dead_name(stream: str) -> str:
    """The table of a stream's dead letters."""
    return f"{stream}{_SUFFIX}"


class Quarantine:
    """One topic's dead letters, as one sink sees them. Touches no file while nothing is dead.

    Args:
        topic: Its uuid.
        rule: The fingerprint of the rule that letters are written by (`ruling.py`); None for those who only read, or
            repair.
    """

    def __init__(self, lake: Tables, stream: str, topic: str, rule: int | None = None) -> None:
        self._lake, self._name, self._topic, self._rule = lake, dead_name(stream), topic, rule
        self._table: Table | None = None
        self.refresh()

    @property
    def exists(self) -> bool:
        return self._table is not None

    def refresh(self) -> None:
        """See what others have quarantined. A sink commits its table on top of it, so what it sees must survive a power
        cut.
        """
        if not self._lake.exists(self._name):
            self._table = None
            return
        self._table = self._lake.table(self._name) if self._table is None else self._table.refresh()
        if self._rule is not None:
            self._table.settle()

    @property
    def rule(self) -> int | None:
        """By which rule letters were last claimed; None when no rule has ever changed."""
        return self.position(f"{LETTERS_RULE}{self._topic}")

    def claim(self, topic: Topic) -> None:
        """From now on letters are written by this rule, and none lands that was under way before: it finds that another
        commit came in between.

        Raises:
            Conflict: Other commits never left a gap.
        """
        if self._rule is not None and self._table is None:
            self._table = self._lake.create(self._name, DEAD)
        for _ in range(_TRIES):
            self.refresh()
            if self._table is None:
                return
            counts = {letters_id(topic, p): self.position(letters_id(topic, p)) for p in range(topic.partitions)}
            moves = {app: (count, (count or 0) + 1) for app, count in counts.items()}
            if self._rule is not None:
                moves[f"{LETTERS_RULE}{topic.uuid}"] = self.rule, self._rule
            with suppress(Conflict):
                self._table.land([], txns=moves, metadata={"by": "claim", "topic": topic.uuid})
                return
        raise Conflict(f'table "{self._name}": other commits never left a gap to claim it in; try again')

    def position(self, app: str) -> int | None:
        """How far a partition has been judged with a dead letter in it."""
        return None if self._table is None else self._table.position(app)

    def recorded(self, app: str, partition: int, start: int, end: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Offsets of [start, end) that are dead already, ascending."""
        stands = self.position(app)
        if self._table is None or stands is None or stands <= start:
            return np.empty(0, np.int64)
        where = (
            (pc.field("topic") == self._topic)
            & (pc.field(PARTITION) == partition)
            & (pc.field(OFFSET) >= start)
            & (pc.field(OFFSET) < end)
        )
        found = [
            batch.column(0).to_numpy()
            for batch in self._table.scan(
                [OFFSET], {PARTITION: (partition, partition), OFFSET: (start, end - 1)}, where
            )
        ]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)

    def land(
        self,
        letters: list[pa.RecordBatch],
        moves: Mapping[str, tuple[int | None, int]],
        metadata: Mapping[str, Any],
        files: Sequence[Written] = (),
    ) -> None:
        """Keep these letters: one commit, with the positions checked.

        Args:
            moves: App id -> (where it stood when verdicts were read, where it stands after).
            files: More letters, written already.

        Raises:
            Conflict: Someone else quarantined meanwhile: read the verdicts again.
        """
        if self._table is None:
            self._table = self._lake.create(self._name, DEAD)
        if set(DEAD.names) - set(self._table.schema.names):
            self._table = self._table.add_columns(DEAD)
        self._table.check(moves)
        if self._rule is not None and self.rule not in (None, self._rule):
            raise Conflict(
                f'dead letters of "{self._name.removesuffix(_SUFFIX)}": another process writes the stream by another'
                " definition of its class, id or window"
            )
        written = [*files, *self._table.write(letters)]
        reach("append.files")
        self._table.land(written, txns=moves, metadata=metadata)
        reach("sink.quarantined")
