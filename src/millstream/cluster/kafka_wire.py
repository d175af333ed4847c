"""Two questions to a Kafka broker, in its own protocol: who is there, and who leads the quorum of controllers.

Who leads the quorum is a question that no Python client asks (confluent-kafka's AdminClient has no DescribeQuorum), and
`status` and `kill` need the answer; with its frame written, readiness costs one function more, and starting a cluster
needs no driver. The formats are those of Kafka's protocol guide: DescribeCluster (60) and DescribeQuorum (55), both in
version 0.
"""

from __future__ import annotations

import socket
import struct

from millstream.cluster.service import LOOPBACK

_TAGS = b"\0"
_CLUSTER, _QUORUM = 60, 55


def brokers(port: int, timeout_s: float = 2.0) -> set[int]:
    """Ids of the brokers that are up and not fenced.

    Raises:
        OSError: No answer in time, or none that can be read.
    """
    answer = _ask(port, _CLUSTER, b"\0" + _TAGS, timeout_s)
    answer.skip(4)
    answer.check()
    answer.text()
    answer.text()
    answer.skip(4)
    found = set[int]()
    for _ in range(answer.length()):
        found.add(answer.int32())
        answer.text()
        answer.skip(4)
        answer.text()
        answer.skip(1)
    return found


def quorum_leader(port: int, timeout_s: float = 2.0) -> int:
    """Id of the controller that leads, -1 while there is none.

    Raises:
        OSError: No answer in time, or none that can be read.
    """
    topic = b"__cluster_metadata"
    body = b"\x02" + bytes([len(topic) + 1]) + topic + b"\x02" + struct.pack(">i", 0) + _TAGS + _TAGS + _TAGS
    answer = _ask(port, _QUORUM, body, timeout_s)
    answer.check()
    answer.skip(1)
    answer.text()
    answer.skip(1 + 4)
    answer.check()
    return answer.int32()


class _Answer:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def skip(self, count: int) -> None:
        self._at += count

    def int32(self) -> int:
        self._at += 4
        return int(struct.unpack_from(">i", self._data, self._at - 4)[0])

    def length(self) -> int:
        """Of a compact array or text: an unsigned varint that is one more; 0 stands for null."""
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return max(0, value - 1)

    def text(self) -> str:
        count = self.length()
        self._at += count
        return self._data[self._at - count : self._at].decode()

    def check(self) -> None:
        self._at += 2
        code = struct.unpack_from(">h", self._data, self._at - 2)[0]
        if code:
            raise OSError(f"Kafka answers with error {code}")


def _ask(port: int, key: int, body: bytes, timeout_s: float) -> _Answer:
    client = b"millstream"
    request = struct.pack(">hhih", key, 0, 1, len(client)) + client + _TAGS + body
    try:
        with socket.create_connection((LOOPBACK, port), timeout_s) as s:
            s.sendall(struct.pack(">i", len(request)) + request)
            whole = _read(s, struct.unpack(">i", _read(s, 4))[0])
    except struct.error as error:
        raise OSError(f"no Kafka answer: {error}") from error
    return _Answer(whole[5:])


def _read(s: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = s.recv(count - len(data))
        if not more:
            raise OSError("the broker closed the connection")
        data += more
    return data
