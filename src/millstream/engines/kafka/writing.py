"""Fenced writers of splits: data and position in one Kafka transaction.

One `transactional.id` a split. `init_transactions` fences the predecessor and ends its open transaction; only then the
position is read, and only then the caller reads its data (docs/exactly-once.md, section 3). A transaction is open only
inside `commit`, never while a source waits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message

from millstream.base.errors import Busy, Fenced, MillstreamError, Terminal, Transient, Unreachable
from millstream.engines.kafka.address import Address
from millstream.engines.kafka.errors import Faults, cause, error_of
from millstream.engines.kafka.positions import Positions, record
from millstream.engines.kafka.sending import Encoder, Prepared, produce, producer
from millstream.log.port import Append, Range

GIVE_UP_S = 60.0
"""For so long a transaction that the cluster aborts is made again, and one whose outcome is not known is asked for
again.
"""
_ASK_S = 10.0


class KafkaWriter:
    """A split's writer."""

    def __init__(self, address: Address, encoder: Encoder, positions: Positions, split: str) -> None:
        self._split, self._encoder, self._positions = split, encoder, positions
        self._what = f'split "{split}" on Kafka at {address.brokers}'
        self._faults = Faults(self._what)
        self._lost: MillstreamError | None = None
        positions.ensure()
        self._producer = producer(
            address,
            self._faults,
            {
                "transactional.id": f"{address.positions}/{split}",
                "transaction.timeout.ms": address.transaction_timeout_ms,
            },
        )
        self._init()
        self._position = positions.read().get(split)

    def _init(self) -> None:
        deadline = time.monotonic() + GIVE_UP_S
        while True:
            try:
                # Connected, the next call takes 5 ms and not 500
                self._producer.list_topics(self._positions.topic, timeout=_ASK_S)
                self._producer.init_transactions(_ASK_S)
                return
            except KafkaException as error:
                final = self._faults.final()
                if final or not error.args[0].retriable() or time.monotonic() > deadline:
                    raise final or error_of(error, self._what) from error

    @property
    def position(self) -> str | None:
        return self._position

    def commit(self, appends: Sequence[Append], position: str) -> list[Range]:
        if self._lost is not None:
            raise self._lost
        prepared = self._encoder.prepare(appends)
        deadline = time.monotonic() + GIVE_UP_S
        while True:
            try:
                ranges = self._transaction(prepared, position)
                break
            except (KafkaException, SystemError) as error:
                self._undo(cause(error), deadline)
        self._position = position
        return ranges

    def _transaction(self, prepared: Sequence[Prepared], position: str) -> list[Range]:
        self._producer.begin_transaction()
        ends = [_Ends() for _ in prepared]
        for one, end in zip(prepared, ends, strict=True):
            produce(self._producer, one, end.heard, self._drain, ends_only=True)
        key, value = record(self._split, position)
        self._producer.produce(self._positions.topic, value, key, 0)
        self._producer.flush(_ASK_S)  # hears the acknowledgements; what is not acknowledged now fails the commit
        self._commit()
        return [
            Range(one.topic, one.partition, end.first, end.last + 1) for one, end in zip(prepared, ends, strict=True)
        ]

    def _drain(self) -> None:
        self._producer.poll(0.01)
        self._faults.check()

    def _commit(self) -> None:
        """Ask until the outcome is known."""
        deadline = time.monotonic() + GIVE_UP_S
        while True:
            try:
                self._producer.commit_transaction(_ASK_S)
                return
            except KafkaException as error:
                reason = error.args[0]
                if reason.txn_requires_abort() or reason.fatal() or not reason.retriable():
                    raise
                if time.monotonic() > deadline:
                    self._lost = Unreachable(
                        f"{self._what}: whether the last commit landed is not known; take the split over again to see"
                        f" ({reason.str()})"
                    )
                    raise self._lost from error

    def _undo(self, error: KafkaException, deadline: float) -> None:
        """Abort, so that the same transaction can be made again; raise what makes that useless.

        Raises:
            Fenced: This writer is of no further use.
            Busy: Nothing was written, and the cluster continues refusing it.
        """
        reason: KafkaError = error.args[0]
        found = self._faults.final() or error_of(error, self._what)
        if reason.fatal() or isinstance(found, Fenced):
            self._lost = found if isinstance(found, Fenced) else Terminal(str(found))
            raise self._lost from error
        try:
            self._producer.abort_transaction(_ASK_S)
        except KafkaException as second:
            again = error_of(second, self._what)
            self._lost = (
                again if isinstance(again, Fenced) else Unreachable(f"{self._what}: {again}; take the split over again")
            )
            raise self._lost from error
        if not isinstance(found, Transient):
            raise found from error
        if time.monotonic() > deadline:
            raise Busy(f"nothing was written: {found}") from error
        time.sleep(0.1)

    def close(self) -> None:
        """Ends no transaction: none is open between commits."""
        self._producer.close()


class _Ends:
    """Offsets of the first and the last record of an append."""

    first, last = -1, -1

    def heard(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            offset = int(message.offset() or 0)
            self.first, self.last = offset if self.first < 0 else self.first, offset
