"""The recorder: makes decisions durable before they are answered."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from millstream.base.errors import Full, Transient
from millstream.log.envelope import Binding, publish
from millstream.log.port import Log


def decision_id() -> str:
    """32 hex digits, the first 14 the microsecond: ids sort by time, so a file's minimum and maximum find a
    decision.
    """
    return f"{time.time_ns() // 1000:014x}{os.urandom(9).hex()}"


@dataclass
class _Group:
    """Rows that will be one append, and the future that all their requests wait on."""

    rows: list[Mapping[str, Any]] = field(default_factory=list)
    done: asyncio.Future[None] | None = None


class Recorder:
    """Appends decisions to the log in groups: while one append is under way, the next rows gather.

    Belongs to one event loop. `durable=False` answers before the append; rows still waiting are then lost in a crash.

    Args:
        binding: The topic and schema of the decisions.
        limit: Rows that may wait; more are refused with Full.
        retry_s: How long an append that the log refuses for the moment is tried again.
    """

    def __init__(
        self,
        log: Log,
        binding: Binding,
        *,
        durable: bool = True,
        limit: int = 10_000,
        retry_s: float = 2.0,
        report: Callable[[int, float], None] | None = None,
    ) -> None:
        self.written = self.lost = 0
        self._log, self._binding, self._durable, self._limit, self._retry_s = log, binding, durable, limit, retry_s
        # One conversion for all columns: half the time of one a column
        self._rows = pa.struct(list(binding.stream.schema.arrow()))
        self._report = report
        self._open, self._busy, self._waiting = _Group(), False, 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"record-{binding.stream.name}")
        self._idle: asyncio.Event | None = None

    async def put(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """These decisions; returns when they are durable (at once, when not `durable`).

        Raises:
            Full: Too many rows wait, or the log is below its floor.
            Transient: The log refused them for `retry_s`; none of them may be answered.
        """
        if self._waiting + len(rows) > self._limit:
            raise Full(f"{self._waiting} decisions of {self._binding.stream.name} wait for the log")
        self._waiting += len(rows)
        group = self._open
        group.rows.extend(rows)
        if group.done is None:
            group.done = asyncio.get_running_loop().create_future()
        if not self._busy:
            self._send()
        if self._durable:
            await asyncio.shield(group.done)  # a client that hangs up must not cancel its neighbours' group

    def _send(self) -> None:
        group, self._open = self._open, _Group()
        self._busy = True
        loop = asyncio.get_running_loop()
        append = loop.run_in_executor(self._thread, self.write, group.rows)
        append.add_done_callback(lambda done: self._sent(group, done))

    def _sent(self, group: _Group, append: asyncio.Future[None]) -> None:
        error = append.exception()
        self._waiting -= len(group.rows)
        self._busy = False
        assert group.done is not None
        if error is not None:
            self.lost += len(group.rows)
            group.done.set_exception(error)
            group.done.exception()  # retrieved: nobody may be waiting any more
        else:
            self.written += len(group.rows)
            group.done.set_result(None)
        if self._open.rows:
            self._send()
        elif self._idle is not None:
            self._idle.set()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows now, in this thread; durable on return. A column that a row does not name is NULL there."""
        began = time.perf_counter()
        batch = pa.RecordBatch.from_struct_array(pa.array(rows, self._rows))
        while True:
            try:
                publish(self._log, self._binding, batch)
                break
            except Transient:
                if time.perf_counter() - began > self._retry_s:
                    raise
                time.sleep(0.02)
        if self._report:
            self._report(len(rows), time.perf_counter() - began)

    async def flush(self) -> None:
        """Wait until nothing waits."""
        while self._busy or self._open.rows:
            self._idle = asyncio.Event()
            await self._idle.wait()

    async def close(self) -> None:
        """Flush, and let the thread go."""
        await self.flush()
        self._thread.shutdown()
