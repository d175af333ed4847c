"""HDFS without a cluster: URLs, errors, and files that are gathered and sent again."""

from __future__ import annotations

import io
import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from millstream.base.errors import ConfigError, Corrupt, Full, Terminal, Unreachable
from millstream.base.registry import engine
from millstream.engines.hdfs import streams, webhdfs
from millstream.engines.hdfs.errors import mapped, mapped_delta
from millstream.engines.hdfs.place import Place
from millstream.engines.hdfs.streams import Download, Upload

SITE = """<configuration>
<property><name>dfs.nameservices</name><value>one</value></property>
<property><name>dfs.namenode.rpc-address.one.a</name><value>${host}:8020</value></property>
<property><name>dfs.namenode.http-address.one.a</name><value> ${host}:9870 </value></property>
<property><name>host</name><value>master</value></property>
<property><name>empty</name></property>
</configuration>"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hdfs-site.xml").write_text(SITE)
    return tmp_path


def test_found_by_url() -> None:
    assert engine("files", "hdfs://one/lake").__name__ == "HdfsFiles"


def test_the_root_has_no_options() -> None:
    place = Place.read("hdfs://host:8020/a/lake/?dfs.client.use.datanode.hostname=true")
    assert (place.root, place.path, place.authority) == ("hdfs://host:8020/a/lake", "/a/lake", "host:8020")
    assert place.config == {"dfs.client.use.datanode.hostname": "true"}
    assert Place.read("hdfs://one").path == ""


def test_a_folder_of_settings_is_read(folder: Path) -> None:
    place = Place.read(f"hdfs://one/lake?conf={folder}")
    assert place.config["dfs.namenode.rpc-address.one.a"] == "master:8020" and place.config["empty"] == ""
    assert place.web() == ["master:9870"]


def test_namenodes_make_a_nameservice() -> None:
    place = Place.read("hdfs://one/lake?namenodes=m1:8020,m2:8021")
    assert (
        place.config["dfs.ha.namenodes.one"] == "nn1,nn2"
        and place.config["dfs.namenode.rpc-address.one.nn2"] == "m2:8021"
    )
    assert place.web() == ["m1:9870", "m2:9870"]


def test_the_web_side_of_what_the_driver_finds_by_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Place.read("hdfs://one/lake").web() == []
    monkeypatch.setenv("HADOOP_CONF_DIR", str(folder))
    assert Place.read("hdfs://one/lake").web() == ["master:9870"]
    assert Place.read("hdfs://other:8020/lake").web() == ["other:9870"]


def test_policies_are_of_tables_or_of_all() -> None:
    place = Place.read("hdfs://one/lake?ec=RS-6-3-1024k&ec.small=replication&ec.cold=RS-3-2-1024k")
    assert [place.policy(table) for table in ("small", "cold", "any")] == [None, "RS-3-2-1024k", "RS-6-3-1024k"]
    assert Place.read("hdfs://one/lake").policy("any") is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("hdfs:///lake", "hdfs://NAMESERVICE/PATH"),
        ("hdfs://one/lake?colour=red", 'no option "colour"; known: conf, namenodes'),
        ("hdfs://one/lake?namenodes=m1,m2", "namenodes=HOST:PORT"),
        ("hdfs://one:8020/lake?namenodes=m1:8020", "those of a nameservice"),
        ("hdfs://one/lake?conf=/nowhere", "no core-site.xml and no hdfs-site.xml in /nowhere"),
    ],
)
def test_a_wrong_url_is_told_what_is_right(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        Place.read(url)


def test_a_damaged_settings_file_is_named(folder: Path) -> None:
    (folder / "core-site.xml").write_text("<configuration>")
    with pytest.raises(ConfigError, match=r"core-site\.xml cannot be read"):
        Place.read(f"hdfs://one/lake?conf={folder}")


DRIVER = [
    (OSError("Connection refused (os error 111)"), Unreachable),
    (OSError("RPC listener disconnected"), Unreachable),
    (
        RuntimeError('RPCError("org.apache.hadoop.ipc.StandbyException", "Operation category READ is not supported")'),
        Unreachable,
    ),
    (
        RuntimeError('RPCError("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "Cannot create file")'),
        Unreachable,
    ),
    (
        RuntimeError(
            'RPCError("java.io.IOException", "File /x could only be written to 0 of the 1 minReplication nodes.")'
        ),
        Unreachable,
    ),
    (RuntimeError('DataTransferError("All DataNodes failed")'), Unreachable),
    (
        RuntimeError(
            'RPCError("org.apache.hadoop.hdfs.protocol.DSQuotaExceededException", "The DiskSpace quota of /q is'
            ' exceeded")'
        ),
        Full,
    ),
    (
        RuntimeError('RPCError("org.apache.hadoop.security.AccessControlException", "Permission denied: user=x")'),
        ConfigError,
    ),
    (RuntimeError('SASLError("...")'), ConfigError),
    (RuntimeError('InvalidArgument("No NameNode hosts found")'), ConfigError),
    (RuntimeError("ChecksumError"), Corrupt),
    (
        RuntimeError('RPCError("org.apache.hadoop.fs.ParentNotDirectoryException", "/a (is not a directory)")'),
        NotADirectoryError,
    ),
    (RuntimeError('RPCError("org.apache.hadoop.HadoopIllegalArgumentException", "no")'), Terminal),
    (FileNotFoundError("x"), FileNotFoundError),
    (FileExistsError("x"), FileExistsError),
]


@pytest.mark.parametrize(("error", "ours"), DRIVER)
def test_the_drivers_errors_are_ours(error: Exception, ours: type[Exception]) -> None:
    with pytest.raises(ours), mapped("hdfs://one/lake"):
        raise error


def test_a_message_is_one_line_without_javas_stack() -> None:
    java = (
        'RPCError("org.apache.hadoop.ipc.StandbyException", "Operation category READ\\n\\tat'
        ' org.apache.hadoop.hdfs.X(Y.java:1)\\n\\tat more")'
    )
    with pytest.raises(Unreachable) as caught, mapped("hdfs://one/lake"):
        raise RuntimeError(java)
    assert (
        "Operation category READ" in str(caught.value)
        and "Y.java" not in str(caught.value)
        and "\n" not in str(caught.value)
    )


def test_of_delta_rs_errors_only_those_about_hdfs() -> None:
    rust = (
        "Kernel error -> Generic HdfsObjectStore error\n   \x1b[31m↳\x1b[0m IO error occurred while communicating with"
        " HDFS\n   \x1b[31m↳\x1b[0m Connection refused"
    )
    with pytest.raises(Unreachable, match="Connection refused"), mapped_delta("hdfs://one/lake"):
        raise OSError(rust)
    with pytest.raises(ValueError, match="a column"), mapped_delta("hdfs://one/lake"):
        raise ValueError("a column is missing")


class Sink(io.BytesIO):
    """An HDFS file that keeps what it was sent."""

    def __init__(self, fails_after: int | None = None) -> None:
        super().__init__()
        self.fails_after, self.whole = fails_after, b""

    def write(self, buf: Any) -> int:
        if self.fails_after is not None and self.tell() >= self.fails_after:
            raise OSError("the pipeline broke")
        return super().write(buf)

    def close(self) -> None:
        self.whole = self.getvalue()


@pytest.mark.parametrize("in_memory", [1, 1 << 20])
def test_a_file_is_sent_again_whole_when_a_pipeline_breaks(in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "IN_MEMORY", in_memory)
    monkeypatch.setattr(streams, "_CHUNK", 1000)
    content = random.Random(1).randbytes(10_500)
    broken, good = Sink(fails_after=4000), Sink()

    sizes: list[int] = []

    def send(copy: Any, size: int) -> None:
        sizes.append(size)
        with pytest.raises(OSError, match="pipeline"):
            copy(broken)
        copy(good)

    with Upload(send) as file:
        file.write(content)
        assert file.tell() == len(content) and good.whole == b""
    assert good.whole == content and file.closed and sizes == [len(content)]


def test_an_upload_that_fails_says_so_once() -> None:
    def send(copy: Any, size: int) -> None:
        raise Unreachable("nobody")

    file = Upload(send)
    with pytest.raises(Unreachable):
        file.close()
    file.close()


def test_any_place_is_read() -> None:
    content = bytes(range(256))
    file = Download(lambda at, length: content[at : at + length], len(content))
    assert file.read(3) == b"\x00\x01\x02" and file.tell() == 3
    assert file.seek(-2, io.SEEK_END) == 254 and file.read() == b"\xfe\xff" and file.read(5) == b""
    assert file.seek(300) == 300 and file.read() == b""
    assert file.seek(10) == 10 and file.seek(-3, io.SEEK_CUR) == 7
    held = bytearray(4)
    assert file.readinto(held) == 4 and held == content[7:11]
    with pytest.raises(ValueError, match="seek"):
        file.seek(-1)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read()


class Namenode(BaseHTTPRequestHandler):
    """Answers as it is told."""

    told: tuple[int, dict[str, Any]] = (200, {})
    asked: list[str]

    def do_PUT(self) -> None:
        type(self).asked.append(self.path)
        status, body = type(self).told
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def namenodes() -> Iterator[list[tuple[str, type[Namenode]]]]:
    kinds = [type(f"Namenode{n}", (Namenode,), {"asked": []}) for n in (1, 2)]
    servers = [HTTPServer(("127.0.0.1", 0), kind) for kind in kinds]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [(f"127.0.0.1:{server.server_port}", kind) for server, kind in zip(servers, kinds, strict=True)]
    for server in servers:
        server.shutdown()
        server.server_close()


def refusal(kind: str, said: str) -> tuple[int, dict[str, Any]]:
    return 403, {"RemoteException": {"exception": kind, "message": said}}


def test_the_active_namenode_sets_a_policy(namenodes: list[tuple[str, type[Namenode]]]) -> None:
    (first, standby), (second, active) = namenodes
    standby.told = refusal("StandbyException", "not here")
    webhdfs.set_policy([first, second], "/lake/my table", "RS-3-2-1024k")
    assert len(standby.asked) == 1 and active.asked[0].startswith(
        "/webhdfs/v1/lake/my%20table?op=SETECPOLICY&ecpolicy=RS-3-2-1024k&user.name="
    )


def test_a_refused_policy_is_told_with_what_an_administrator_types(namenodes: list[tuple[str, type[Namenode]]]) -> None:
    (first, kind), _ = namenodes
    kind.told = refusal("AccessControlException", "Permission denied\nat x")
    with pytest.raises(
        ConfigError,
        match=(
            "Permission denied; an administrator can do it: hdfs dfs -mkdir -p /lake/t && hdfs ec -setPolicy -path"
            " /lake/t"
        ),
    ):
        webhdfs.set_policy([first], "/lake/t", "RS-3-2-1024k")


def test_no_active_namenode_is_waited_for(namenodes: list[tuple[str, type[Namenode]]]) -> None:
    (first, kind), _ = namenodes
    kind.told = refusal("StandbyException", "not here")
    with pytest.raises(Unreachable, match="not here"):
        webhdfs.set_policy([first], "/lake/t", "RS-3-2-1024k")
    with pytest.raises(Unreachable, match="no address"):
        webhdfs.set_policy([], "/lake/t", "RS-3-2-1024k")
