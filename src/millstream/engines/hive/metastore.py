"""The metastore's Thrift service, asked with pymetastore's generated client; its errors as ours."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pymetastore.hive_metastore import ThriftHiveMetastore, ttypes
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.Thrift import TException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TTransportException

from millstream.base.errors import ConfigError, Unreachable, WorkFailed

_URL = re.compile(r"hive://(?P<hosts>[\w.-]+(?::\d+)?(?:,[\w.-]+(?::\d+)?)*)(?:/(?P<database>\w+)?)?")
_PORT, _CONNECT_MS, _ANSWER_MS = 9083, 10_000, 120_000
# It logs what it raises as well, once for each host
logging.getLogger("thrift.transport.TSocket").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Address:
    """`hive://HOST[:PORT][,HOST[:PORT]]/DATABASE`; metastores are asked in order until one answers."""

    hosts: tuple[tuple[str, int], ...]
    database: str

    @classmethod
    def read(cls, url: str) -> Address:
        """Raises ConfigError."""
        found = _URL.fullmatch(url)
        if found is None:
            raise ConfigError(
                f"catalog = {url}: a metastore is hive://HOST:PORT/DATABASE, several of them"
                " hive://HOST:PORT,HOST:PORT/DATABASE"
            )
        pairs = [host.partition(":") for host in found["hosts"].split(",")]
        return cls(tuple((host, int(port or _PORT)) for host, _, port in pairs), (found["database"] or "lake").lower())

    def __str__(self) -> str:
        return f"hive://{','.join(f'{host}:{port}' for host, port in self.hosts)}/{self.database}"


@contextmanager
def client(address: Address) -> Iterator[Any]:
    """A connection for a few questions: the metastore's client.

    Raises:
        Unreachable: No metastore answers, or it broke off.
        WorkFailed: It refuses.
    """
    transport = None
    try:
        transport = _open(address)
        yield ThriftHiveMetastore.Client(TBinaryProtocolAccelerated(transport))
    except (TTransportException, OSError) as error:
        raise Unreachable(f"the Hive metastore {address} does not answer: {error}") from error
    except TException as error:
        raise WorkFailed(f"the Hive metastore {address} refuses: {getattr(error, 'message', None) or error}") from error
    finally:
        if transport is not None:
            transport.close()


def _open(address: Address) -> Any:
    for i, (host, port) in enumerate(address.hosts):
        socket = TSocket(host, port)
        socket.setTimeout(_CONNECT_MS)
        transport = TBufferedTransport(socket)
        try:
            transport.open()
        except TTransportException:
            if i == len(address.hosts) - 1:
                raise
        else:
            socket.setTimeout(_ANSWER_MS)  # a table of thousands of files takes it long
            return transport
    raise AssertionError("an address has a host")


def table_or_none(hive: Any, database: str, name: str) -> Any:
    """The table, None when there is none. (By `get_table_req`: `get_table` is gone in Hive 4.)"""
    with suppress(ttypes.NoSuchObjectException):
        return hive.get_table_req(ttypes.GetTableRequest(dbName=database, tblName=name)).table
    return None
