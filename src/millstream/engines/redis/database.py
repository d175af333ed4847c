"""The database of the store: what things are called in it, who writes when, and what is removed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias
from weakref import WeakSet

from millstream.base.errors import Busy, ConfigError
from millstream.engines.redis.stand import Stand, read
from millstream.engines.redis.wire import Address, Command, Wire

_SWEPT = 5_000
"""Blobs that are removed at once: others wait as long."""
_SWEEP = """
local keys = redis.call('LPOP', KEYS[1], ARGV[3])
if keys then
    for _, key in ipairs(keys) do redis.call('UNLINK', ARGV[1] .. key) end
end
if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end
local rows = redis.call('HGET', KEYS[2], ARGV[2]) or 0
redis.call('HDEL', KEYS[2], ARGV[2])
return tonumber(rows)
"""
Work: TypeAlias = Callable[[Mapping[str, Stand | None]], list[Command]]


class Names:
    """What things are called in the database."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.generations, self.spaces, self.trash = (f"{prefix}:{name}" for name in ("generations", "spaces", "trash"))

    def stand(self, generation: str) -> str:
        return f"{self.prefix}:stand:{generation}"

    def filler(self, generation: str) -> str:
        return f"{self.prefix}:filler:{generation}"

    def blob(self, space: int, group: str, key: str) -> str:
        """`group` is LEVEL:NUMBER."""
        return f"{self.prefix}:{space}:{group}:{key}"

    def groups(self, space: int) -> str:
        """A hash: group -> how many records it has."""
        return f"{self.prefix}:{space}:groups"

    def keys(self, space: int, group: str) -> str:
        """A list of the keys that have a blob in the group."""
        return f"{self.prefix}:{space}:keys:{group}"


class Database:
    """One server, for several threads: each reads over a connection of its own, and they share one for writing.

    Args:
        wait_s: For how long a writer whom others are always faster than continues trying.

    Raises:
        ConfigError: The server would lose what it is given, or cannot do what is needed.
    """

    def __init__(self, url: str, wait_s: float) -> None:
        self.address = Address(url)
        self.names = Names(self.address.prefix)
        self._wait_s = wait_s
        self._local = threading.local()
        self._guard, self._write = threading.Lock(), threading.Lock()
        self._wires: WeakSet[Wire] = WeakSet()  # a thread's goes with it
        self.writer = self._wire()
        self._check()

    def _check(self) -> None:
        (text,) = self.writer.ask([("INFO",)], again=True)
        told = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
        where = f"Redis at {self.address.shown}"
        if told.get("cluster_enabled") == "1":
            raise ConfigError(
                f"{where} is a Redis Cluster, whose transactions end at a slot; use a server that is none (with"
                " replicas, if you like)"
            )
        if tuple(int(part) for part in told["redis_version"].split(".")[:2]) < (6, 2):
            raise ConfigError(f"{where} is version {told['redis_version']}; 6.2 or later is needed")
        if told.get("maxmemory", "0") != "0" and told.get("maxmemory_policy", "").startswith("allkeys"):
            raise ConfigError(
                f"{where} throws data away when it is full (maxmemory-policy {told['maxmemory_policy']}); set it to"
                " noeviction"
            )

    # -- reading and writing

    def change(self, generations: Sequence[str], work: Work) -> None:
        """Write what `work` says of where the generations stand, when nobody else has changed that meanwhile; else ask
        it again.
        """
        until, names = time.monotonic() + self._wait_s, [self.names.stand(g) for g in generations]
        with self._alone() as wire:
            while time.monotonic() < until:
                _, texts = wire.ask([("WATCH", *names), ("MGET", *names)], again=True)
                try:
                    commands = work({g: read(text) for g, text in zip(generations, texts, strict=True)})
                except Exception:
                    wire.ask([("UNWATCH",)], again=True)
                    raise
                if not commands:
                    wire.ask([("UNWATCH",)], again=True)
                    return
                done = wire.ask([("MULTI",), *commands, ("EXEC",)])[-1]
                if done is not None:
                    return
        raise Busy(f"others were always faster at writing to Redis at {self.address.shown}, for {self._wait_s:g} s")

    def _wire(self) -> Wire:
        made = Wire(self.address)
        with self._guard:
            self._wires.add(made)
        return made

    def wire(self) -> Wire:
        """This thread's, for reading."""
        try:
            return self._local.wire
        except AttributeError:
            made = self._local.wire = self._wire()
            return made

    @contextmanager
    def _alone(self) -> Iterator[Wire]:
        if not self._write.acquire(timeout=self._wait_s):
            raise Busy(
                f"Redis at {self.address.shown} is being written by another thread for more than {self._wait_s:g} s"
            )
        try:
            yield self.writer
        finally:
            self._write.release()

    def reading(self, commands: Sequence[Command]) -> list[Any]:
        return self.wire().ask(commands, again=True)

    def writing(self, commands: Sequence[Command]) -> list[Any]:
        with self._alone() as wire:
            return wire.ask(commands)

    def close(self) -> None:
        with self._guard:
            for wire in self._wires:
                wire.close()
            self._wires.clear()

    # -- removing

    def let_go(self, *spaces: int) -> list[Command]:
        """For the transaction after which nobody needs these (0: none): `empty_trash` removes them."""
        found = {space for space in spaces if space}
        return [("SADD", self.names.trash, *found)] if found else []

    def empty_trash(self) -> None:
        for space in self.writing([("SMEMBERS", self.names.trash)])[0]:
            groups = self.writing([("HKEYS", self.names.groups(int(space)))])[0]
            self.swept(int(space), [group.decode() for group in groups])
            self.writing([("SREM", self.names.trash, space)])

    def swept(self, space: int, groups: Iterable[str]) -> int:
        """Remove the blobs of these groups, some at a time; how many records they had."""
        rows = 0
        for group in groups:
            left = -1
            while left < 0:
                args = (
                    self.names.keys(space, group),
                    self.names.groups(space),
                    self.names.blob(space, group, ""),
                    group,
                    _SWEPT,
                )
                # One step, so that nobody else writes or removes in between
                (left,) = self.writing([("EVAL", _SWEEP, 2, *args)])
            rows += left
        return rows


__all__ = ["Database", "Names", "Work"]
