"""Redis as seen from here: one connection, groups of commands in one round trip, errors as ours.

The driver's client and pipeline cost more than the server does, so its connection is used bare (MGET of 36 blobs: 42
us, of which 28 are ours).
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from typing import Any, TypeAlias

import redis
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.retry import Retry

from millstream.base.errors import Busy, ConfigError, Corrupt, Full, MillstreamError, Unreachable

Command: TypeAlias = tuple[Any, ...]
CONNECT_S, ANSWER_S = 3.0, 30.0
_SCHEMES = ("redis", "rediss")
# The driver has a class for some errors, whose code it takes off; the others begin with it.
_CONFIG = (redis.AuthenticationError, redis.exceptions.NoPermissionError, redis.exceptions.MovedError)
_DOWN = (redis.BusyLoadingError, redis.ReadOnlyError, redis.exceptions.MasterDownError, redis.exceptions.TryAgainError)
_SAID_CONFIG, _SAID_DOWN, _SAID_FULL = (
    ("NOAUTH", "WRONGPASS", "DB index", "invalid DB"),
    ("BUSY",),
    ("OOM", "MISCONF", "NOREPLICAS"),
)


class Address:
    """Where a server is, and what its keys begin with. `shown` is the URL as it may be shown: no user, no password.

    Raises:
        ConfigError: The URL is not one of Redis.
    """

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parts.query))
        self.prefix = query.pop("prefix", "millstream")
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        database = parts.path.strip("/")
        if parts.scheme not in _SCHEMES or not parts.hostname or not (database or "0").isdecimal():
            raise ConfigError(
                f'online = "{self.shown}" names no Redis; say redis://HOST:PORT/NUMBER, or rediss:// for TLS'
            )
        plain = parts._replace(query=urllib.parse.urlencode(query)).geturl()
        options: dict[str, Any] = {
            "socket_timeout": ANSWER_S,
            "socket_connect_timeout": CONNECT_S,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        try:
            pool = redis.ConnectionPool.from_url(plain, **options)  # what the URL says wins
            self._class, self._options = pool.connection_class, pool.connection_kwargs
            self.connection()
        except (TypeError, ValueError, redis.RedisError) as error:
            raise ConfigError(f"online = {self.shown}: {error}") from None

    def connection(self) -> Any:
        return self._class(**self._options)


class Wire:
    """One connection, made when it is first needed and again when it broke. For one thread at a time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection = address.connection()

    def ask(self, commands: Sequence[Command], *, again: bool = False) -> list[Any]:
        """The answers of commands that go in one round trip.

        Args:
            again: They change nothing, so they may be sent once more over a new connection, should the old one turn out
                broken.

        Raises:
            Unreachable, Busy, Full: Try again later. What changes something may have been done.
            ConfigError: The server does not let us.
        """
        sent = b"".join([pack_command(command) for command in commands])
        try:
            if again and self._connection.is_connected:
                try:
                    return self._exchange(sent, len(commands))
                except redis.ConnectionError:
                    pass
            return self._exchange(sent, len(commands))
        except redis.RedisError as error:
            raise error_of(error, self._address) from error

    def _exchange(self, sent: bytes, count: int) -> list[Any]:
        connection = self._connection
        connection.send_packed_command([sent], check_health=False)
        answers = []
        for _ in range(count):  # all are read, also after an error: the next answer must be the next command's
            try:
                answers.append(connection.read_response())
            except redis.ResponseError as error:
                answers.append(error)
        for answer in answers:
            # A command of a transaction may fail inside the answer of its EXEC
            for one in answer if isinstance(answer, list) else (answer,):
                if isinstance(one, Exception):
                    raise one
        return answers

    def close(self) -> None:
        self._connection.disconnect()


def error_of(error: redis.RedisError, address: Address) -> MillstreamError:
    """The one place where Redis's errors become ours."""
    said, where = str(error), f"Redis at {address.shown}"
    if isinstance(error, _CONFIG) or said.startswith(_SAID_CONFIG):
        return ConfigError(
            f"{where} does not let us: {said}; look at its user, its password and the number of the database"
        )
    if isinstance(error, _DOWN) or said.startswith(_SAID_DOWN):
        return Busy(f"{where} is not ready: {said}")
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return Unreachable(f"{where} does not answer: {said}")
    if isinstance(error, redis.exceptions.OutOfMemoryError) or said.startswith(_SAID_FULL):
        return Full(f"{where} takes no writes: {said}; give it memory (maxmemory), disk or its replicas")
    return Corrupt(f'{where}: {said}; is "{address.prefix}:*" in use by something else? Add ?prefix=NAME to the URL')


__all__ = ["Address", "Command", "Wire", "error_of"]
