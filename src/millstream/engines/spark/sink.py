"""A stream's sink on Spark: executors read Kafka, judge and write Parquet; the driver commits by the rule of every sink
(`lake/landing.py`).

A micro-batch is a bounded read of Structured Streaming's Kafka source, from the positions in the table to ends that the
driver chose. There is no checkpoint of Spark's: the Delta commit alone says how far the stream has landed, so nothing
can disagree with it, and a table goes from the sink in Python to this one and back, or has both at once
(docs/decisions/0017).
"""

from __future__ import annotations

import json
import pickle
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from millstream.base.errors import (
    ConfigError,
    Conflict,
    EngineMissing,
    MillstreamError,
    NotFound,
    Recreated,
    Unreachable,
    WorkFailed,
)
from millstream.base.points import reach
from millstream.declare.stream import Stream
from millstream.engines.spark.errand import ANSWER, HEADERS, Errand, Failed, Needs, Part, Shape
from millstream.engines.spark.scratch import SHARED
from millstream.engines.spark.session import Options, acquire, errors, release
from millstream.engines.spark.shipped import equip
from millstream.lake.batch import Batch, Progress
from millstream.lake.lake import Lake
from millstream.lake.landing import GROUP, HOLES_AFTER, Landing, SinkLimits
from millstream.lake.positions import letters_id
from millstream.log.framing import Texts
from millstream.log.port import Log, OnKafka, Schemas, Share

ROWS_A_TASK = 250_000
"""Of a micro-batch, when nobody says: what a Python worker holds while it judges."""
# A header's last value. Executors take them out: Spark measures a batch with lists in it anew for each row it adds, so
# that a million of them took minutes.
_COLUMNS = (
    "value",
    "partition",
    "offset",
    "timestamp",
    *(f"try_element_at(filter(headers, h -> h.key = '{name}'), -1).value as `{name}`" for name in HEADERS),
)
_PAUSE = timedelta(milliseconds=100)
_quiet = threading.Lock()


class SparkSink(Landing):
    """See the module, and `Landing`. `SparkSink("spark://local[2]", folder, log, schemas, lake, stream)`.

    Args:
        url: As of the compute engine (`session.Options`). A process has one Spark: both are written alike, or only one
            of them is on Spark.
        folder: Of Spark's own files.
        limits: `rows` is what one micro-batch takes, over all partitions; `age` is how long a record waits for others.
        partitions, member, clock: As of `Sink`.

    Raises:
        ConfigError: The log is not Kafka, or the URL is wrong.
        EngineMissing: No pyspark, no Java.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        log: Log,
        schemas: Schemas,
        lake: Lake,
        stream: Stream[Any],
        *,
        limits: SinkLimits | None = None,
        partitions: Sequence[int] | None = None,
        member: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(log, OnKafka):
            raise ConfigError(
                f'sink = "{url}" reads Kafka, and the log is none; set log to kafka://HOST:PORT, or sink to "local"'
            )
        super().__init__(log, lake, stream)
        self._files = lake.files
        self.fixed, self.member, self.clock = partitions is not None, member or uuid.uuid4().hex, clock
        self.mine = frozenset(range(self.topic.partitions) if partitions is None else partitions)
        self.limits = limits or SinkLimits(rows=ROWS_A_TASK * self.topic.partitions)
        self.made: dict[int, Batch] = {}
        self._kafka = log.java_settings()
        self._texts, self._known = Texts(schemas), {i: schemas.schema(i) for i in schemas.versions(stream.name)}
        self._unknown: set[int] = set()
        self._errands: dict[int, str] = {}  # of what is held: the errand whose worker knows the ids at its end
        self._after: dict[int, tuple[int, str]] = {}  # of what landed last: where it ended, and that errand
        self._holes: dict[
            int, tuple[int, int, float]
        ] = {}  # partition -> a stretch [start, end) without records, and when it was found
        for partition in self.mine:
            self._begin(partition)
        self._session: Any = self._started(Options.read(url), folder)

    # -- what callers use
    # ------------------------------------------------------------------------------------------------

    def step(self, timeout: timedelta = timedelta(0)) -> Progress:
        """Land one micro-batch, if there is anything, waiting up to `timeout` for it.

        Raises:
            Truncated, Recreated, Corrupt, Incompatible: This stream must stop; nothing of the batch was committed.
        """
        deadline = self.clock() + timeout.total_seconds()
        while True:
            if any(self.clock() - found >= HOLES_AFTER.total_seconds() for _, _, found in self._holes.values()):
                return self._land_holes()
            if parts := self._plan({p: end for p, end in self._ends().items() if end > self._holes.get(p, (0, 0))[1]}):
                return self._micro_batch(parts)
            if self.clock() >= deadline:
                return Progress()
            time.sleep(_PAUSE.total_seconds())

    def drain(self, report: Callable[..., None] | None = None) -> Progress:
        """Land everything up to the log's ends as of this call; returns when it is durable.

        Args:
            report: Called with (records done, records in all).
        """
        ends = self._ends()
        todo, landed = self._behind(ends), Progress()
        while parts := self._plan(ends):
            landed += self._micro_batch(parts, drain=True)
            if report:
                report(todo - self._behind(ends), todo)
        return landed

    def run(self, stop: threading.Event) -> None:
        """Land what comes until `stop`, reading the partitions that the group gives this member."""
        with self._shared():
            while not stop.is_set():
                begun = self.clock()
                self.step(timedelta(milliseconds=250))
                stop.wait(max(0.0, self.limits.age.total_seconds() - (self.clock() - begun)))
            self._land_holes()

    def close(self) -> None:
        """Let go. What was not committed is read again by the next sink."""
        if self._session is not None:
            self._session = None
            release()

    @staticmethod
    def _started(options: Options, folder: Path) -> Any:
        session = acquire(options, folder)
        try:
            with errors():
                equip(session, folder, options.python, options.scratch or SHARED, local=options.local)
        except BaseException:
            release()
            raise
        return session

    # -- what is to be read
    # ----------------------------------------------------------------------------------------------

    def _ends(self) -> dict[int, int]:
        return {p: end.high for p, end in self.log.ends(self.stream.name).items() if p in self.mine}

    def _behind(self, ends: Mapping[int, int]) -> int:
        return sum(max(0, end - self.start(p)) for p, end in ends.items())

    def _plan(self, ends: Mapping[int, int]) -> dict[int, tuple[int, int]]:
        """Ranges of offsets that begin where the table stands now, together about as long as the limit: each partition
        gets its share of what is due.
        """
        if not ends:
            return {}
        self.table = self._open()
        due = {p: (self._begin(p), end) for p, end in ends.items() if end > self.start(p)}
        share = min(1.0, self.limits.rows / max(1, sum(end - start for start, end in due.values())))
        return {
            p: (start, min(end, start + max(1, int((end - start) * share))))
            for p, (start, end) in due.items()
            if end > start
        }

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """What the group gives us, asked for by a thread of its own: a micro-batch may take longer than a member may be
        silent.
        """
        if self.fixed:
            yield
            return
        share, left = self.log.share(self.stream.name, GROUP, self.member), threading.Event()
        self.mine = share.partitions()
        asking = threading.Thread(target=self._ask, args=(share, left), daemon=True)
        asking.start()
        try:
            yield
        finally:
            left.set()
            asking.join()
            share.leave()

    def _ask(self, share: Share, left: threading.Event) -> None:
        while not left.wait(1.0):
            # Of a broker that is away; who reads what is a hint, and what we read we had
            with suppress(MillstreamError):
                self.mine = share.partitions()

    # -- one micro-batch
    # -------------------------------------------------------------------------------------------------

    def _micro_batch(self, parts: Mapping[int, tuple[int, int]], *, drain: bool = False) -> Progress:
        """Read, write and commit these ranges. A partition that was overtaken meanwhile is left out.

        Args:
            drain: Commit also where there was no record at all.
        """
        token = uuid.uuid4().hex
        self._learn(self._unknown)
        while needs := self._read(token, parts):
            if needs.columns:
                self.table = self.table.add_columns(needs.columns.values())
                reach("sink.schema")
                return Progress()  # the handle is another one: where to begin is looked up again
            self._learn(needs.ids)
        reach("sink.read")
        if not drain and not any(batch.records for batch in self.made.values()):
            self._holes |= {
                p: (b.start, b.end, self._holes.get(p, (0, 0, self.clock()))[2]) for p, b in self.made.items()
            }
            self.made.clear()
            return Progress()
        self._holes = {p: held for p, held in self._holes.items() if p not in self.made}
        return self._land()

    def _land_holes(self) -> Progress:
        """Positions that have moved over holes only, or retention would look like loss later (docs/exactly-once.md,
        section 13).
        """
        self.made = {p: self._empty(p, start, end) for p, (start, end, _) in self._holes.items()}
        self._errands = {p: self._before(p) for p in self.made}
        self._holes.clear()
        return self._land()

    def _read(self, token: str, parts: Mapping[int, tuple[int, int]]) -> Needs | None:
        """Have the ranges read and written; `made` holds what came of it. Or what is needed first."""
        place = f"{time.time_ns():020d}-{token[:12]}.parquet"  # by the driver's clock: executors' may differ
        told = {p: Part(start, end, self._before(p), place) for p, (start, end) in parts.items()}
        errand = Errand(
            token,
            self._files,
            Shape.of(self.stream),
            self.topic,
            self.table.version,
            dict(self._known),
            frozenset(self._unknown),
            told,
        )
        answers = self._answers(errand, parts)
        needs = Needs()
        for answer in answers.values():
            if isinstance(answer, Failed):
                raise answer.error()
            if isinstance(answer, Needs):
                needs.ids |= answer.ids
                needs.columns |= answer.columns
        if needs:
            return needs
        self.made = {
            p: answers[p].batch if p in answers else self._empty(p, part.start, part.end) for p, part in told.items()
        }
        self._errands = {p: token if p in answers else part.after for p, part in told.items()}
        return None

    def _empty(self, partition: int, start: int, end: int) -> Batch:
        """Holes only."""
        return Batch(partition, start, end, judged_to=self.batcher.dead.position(letters_id(self.topic, partition)))

    def _answers(self, errand: Errand, parts: Mapping[int, tuple[int, int]]) -> dict[int, Any]:
        name = self.topic.name
        options = {f"kafka.{key}": value for key, value in self._kafka.items()} | {
            "assign": json.dumps({name: sorted(parts)}),
            "startingOffsets": json.dumps({name: {p: start for p, (start, _) in parts.items()}}),
            "endingOffsets": json.dumps({name: {p: end for p, (_, end) in parts.items()}}),
            "includeHeaders": "true",
            "failOnDataLoss": "true",
            "groupIdPrefix": "millstream",
        }
        try:
            with errors():
                frame = self._session.read.format("kafka").options(**options).load().selectExpr(*_COLUMNS)
                with _quiet, warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of pandas, which is not used
                    answers = frame.mapInArrow(errand, ANSWER)
                # A query of this thread may have left a cancelled one
                self._session.sparkContext.setJobGroup(f"millstream-sink-{errand.token}", f"landing {name}")
                rows = answers.collect()
        except WorkFailed as error:
            if "Failed to find data source: kafka" in str(error):
                raise EngineMissing(_NO_CONNECTOR) from error
            self._same()
            for partition in parts:  # retention may have come in between: then that is what is wrong
                self._begin(partition)
            if any(word in f"{error}{error.__cause__}" for word in _PASSING):
                raise Unreachable(f'topic "{name}" could not be read to the end by Spark: {error}') from error
            raise
        self._same()
        return {row.partition: pickle.loads(row.answer) for row in rows}

    def _same(self) -> None:
        """Raise where the records that were read are another topic's."""
        found = self.log.topic(self.topic.name)
        if found is None or found.uuid != self.topic.uuid:
            raise Recreated(
                f'topic "{self.topic.name}" was deleted while it was read; its positions mean nothing any more'
            )

    def _before(self, partition: int) -> str:
        end, token = self._after.get(partition, (-1, ""))
        return token if end == self.start(partition) else ""

    def _learn(self, ids: set[int]) -> None:
        """Ask the registry for these schemas' texts. Raises Unreachable: then nothing can be said about their
        records.
        """
        for schema_id in sorted(ids):
            try:
                self._known[schema_id] = self._texts[schema_id]
                self._unknown.discard(schema_id)
            except NotFound:
                self._unknown.add(schema_id)

    # -- committing
    # ------------------------------------------------------------------------------------------------------

    def _held(self) -> dict[int, int]:
        return {partition: batch.start for partition, batch in self.made.items()}

    def _give_up(self, partition: int) -> int:
        return self.made.pop(partition).records

    def _start_over(self) -> int:
        self._after.clear()  # workers that know earlier ids know them wrong
        return super()._start_over()

    def _commit(self) -> Progress:
        try:
            self.batcher.quarantine(self.made)
        except Conflict:
            self.made.clear()  # someone else's verdicts stand: all is judged again
            raise
        landed = self._append(self.made)
        self._after |= {p: (batch.end, self._errands[p]) for p, batch in self.made.items()}
        self.made = {}
        return landed


# Of a broker or an executor that was lost: the same range may be read again.
_PASSING = (
    "TimeoutException",
    "DisconnectException",
    "NetworkException",
    "NotLeaderOrFollowerException",
    "LeaderNotAvailableException",
    "ExecutorLostFailure",
)
_NO_CONNECTOR = (
    "Spark has no Kafka source: name its jars in the URL,"
    " spark://local[2]?spark.jars.packages=org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0, or by spark.jars where"
    " packages cannot be fetched; `millstream cluster up spark` brings them along"
)

__all__ = ["SparkSink"]
