"""One question to a Hive metastore in Thrift's binary protocol: `get_all_databases`."""

from __future__ import annotations

import socket
import struct
from typing import BinaryIO

from millstream.cluster.service import LOOPBACK

_CALL, _REPLY = 1, 2
_LIST, _STRING = 15, 11
_METHOD = b"get_all_databases"


def databases(port: int, timeout_s: float = 5.0) -> list[str]:
    """Names of the databases.

    Raises:
        OSError: No answer in time, or another one than a list of names.
    """
    question = struct.pack(">Ii", 0x80010000 | _CALL, len(_METHOD)) + _METHOD + struct.pack(">i", 1) + b"\0"
    with socket.create_connection((LOOPBACK, port), timeout_s) as s:
        s.sendall(question)
        answer = s.makefile("rb")
        (head,) = struct.unpack(">I", _take(answer, 4))
        _take(answer, _int(answer) + 4)  # the method's name, the number of the call
        if head & 0xFF != _REPLY or _take(answer, 3) != struct.pack(">bh", _LIST, 0) or _take(answer, 1)[0] != _STRING:
            raise OSError("the metastore answers with an error")
        return [_take(answer, _int(answer)).decode() for _ in range(_int(answer))]


def _int(answer: BinaryIO) -> int:
    return int(struct.unpack(">i", _take(answer, 4))[0])


def _take(answer: BinaryIO, count: int) -> bytes:
    data = answer.read(count)
    if len(data) < count:
        raise OSError("the metastore closed the connection")
    return data
