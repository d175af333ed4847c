"""librdkafka's errors as ours: the one place that knows them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

from millstream.base.errors import (
    ConfigError,
    Conflict,
    Corrupt,
    Fenced,
    Full,
    MillstreamError,
    NotFound,
    Terminal,
    Truncated,
    Unreachable,
    UsageError,
)  # fmt: skip

log = logging.getLogger("millstream.kafka")
LATELY_S = 60.0
_FENCED = {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_ID_MAPPING,
           KafkaError.FENCED_INSTANCE_ID}  # fmt: skip
_ABSENT = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_ID}
_REFUSED = {
    KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM, KafkaError.ILLEGAL_SASL_STATE, KafkaError.SECURITY_DISABLED, KafkaError.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
}  # fmt: skip
_DENIED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
_CONFIGURED = {KafkaError._INVALID_ARG, KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.INVALID_CONFIG, KafkaError.POLICY_VIOLATION,
               KafkaError.INVALID_TRANSACTION_TIMEOUT, KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION, KafkaError._FS,
               KafkaError.UNSUPPORTED_COMPRESSION_TYPE, KafkaError.INVALID_PARTITIONS,
               KafkaError._NOT_CONFIGURED, KafkaError.TOPIC_DELETION_DISABLED}  # fmt: skip
_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_PASSED = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION}
_NO_ROOM = {KafkaError._QUEUE_FULL, KafkaError.KAFKA_STORAGE_ERROR, KafkaError.THROTTLING_QUOTA_EXCEEDED}
_DAMAGED = {KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD}
_AWAY = {
    KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE, KafkaError._MSG_TIMED_OUT, KafkaError._RESOLVE,
    KafkaError.REQUEST_TIMED_OUT, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE, KafkaError.NETWORK_EXCEPTION, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR, KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, KafkaError.NOT_CONTROLLER,
    KafkaError.CONCURRENT_TRANSACTIONS, KafkaError._WAIT_COORD, KafkaError._WAIT_CACHE, KafkaError._IN_PROGRESS, KafkaError._RETRY,
    KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._DESTROY, KafkaError.PREFERRED_LEADER_NOT_AVAILABLE,
    KafkaError.ELIGIBLE_LEADERS_NOT_AVAILABLE, KafkaError.REASSIGNMENT_IN_PROGRESS, KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.OFFSET_NOT_AVAILABLE, KafkaError.LISTENER_NOT_FOUND,
    KafkaError.TRANSACTION_COORDINATOR_FENCED, KafkaError.TRANSACTION_ABORTABLE, KafkaError.REBALANCE_IN_PROGRESS, KafkaError._MAX_POLL_EXCEEDED,
}  # fmt: skip


def error_of(error: KafkaException | KafkaError, what: str) -> MillstreamError:
    """The error as ours.

    Args:
        what: What was being done, and where: `topic "t" of broker:9092`.
    """
    cause = error.args[0] if isinstance(error, KafkaException) else error
    if not isinstance(cause, KafkaError):
        return Terminal(f"{what}: {cause}")
    code, said = cause.code(), f"{what}: {cause.str()} ({cause.name()})"
    if code in _FENCED:
        return Fenced(f"{what}: a newer writer has taken over, or this one was silent for longer than its transaction may last; this task must stop")
    if code in _ABSENT:
        return NotFound(f"{what}: there is no such topic or partition")
    if code == KafkaError.TOPIC_ALREADY_EXISTS:
        return Conflict(said)
    if code in _TOO_LARGE:
        return UsageError(f"{what}: a record is larger than the topic takes; raise its max.message.bytes, and max_message_bytes in the URL of `log`")
    if code in _REFUSED:
        return ConfigError(f"{said}; see user, password, security.protocol, sasl.mechanism and ssl.ca.location in the URL of `log`, and the cluster's ACLs")
    if code in _CONFIGURED:
        return ConfigError(said)
    if code in _PASSED:
        return Truncated(f"{said}; to continue without records that are gone:  millstream ingest --accept-loss STREAM")
    if code in _NO_ROOM:
        return Full(said)
    if code in _DAMAGED:
        return Corrupt(said)
    if code in _AWAY or cause.retriable():
        return Unreachable(said)
    return Terminal(said)


def code_of(error: BaseException) -> int | None:
    """The driver's code behind one of our errors."""
    found: object = error.__cause__
    reason = found.args[0] if isinstance(found, KafkaException) and found.args else None
    return reason.code() if isinstance(reason, KafkaError) else None


def denied(error: BaseException) -> bool:
    """Whether the cluster's ACLs are what is in the way."""
    return code_of(error) in _DENIED


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Driver errors leave as ours."""
    try:
        yield
    except (KafkaException, SystemError) as error:
        raise error_of(cause(error), what) from error
    except BufferError as error:
        raise Full(f"{what}: the client's queue is full") from error


def cause(error: KafkaException | SystemError) -> KafkaException:
    """The driver's own error: a fatal one that it raises amid its callbacks comes out as a SystemError."""
    if isinstance(error, KafkaException):
        return error
    if isinstance(error.__cause__, KafkaException):
        return error.__cause__
    raise error


class Faults:
    """What a client says beside its calls: an `error_cb` that remembers what can only be fixed by hand.

    A producer with a wrong password, say, just seems to hang until its messages time out. To be asked when a call has failed: a refusal
    may also come of a broker that is going down, and then nothing fails.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self._clock = what, clock
        self._fatal: KafkaError | None = None
        self._refused: KafkaError | None = None
        self._at = 0.0

    def __call__(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error
        elif error.code() in _REFUSED:
            self._refused, self._at = error, self._clock()

    def final(self) -> MillstreamError | None:
        """The fault that nothing but a fix will end, if there was one lately."""
        lately = self._refused if self._clock() - self._at < LATELY_S else None
        found = self._fatal or lately
        return None if found is None else error_of(found, self.what)

    def check(self) -> None:
        """Raise it."""
        if (error := self.final()) is not None:
            raise error


class Quiet:
    """librdkafka's own log, as details of ours: what matters of it comes as an error too."""

    def log(self, level: int, text: str, *args: object) -> None:
        log.debug(text, *args)
