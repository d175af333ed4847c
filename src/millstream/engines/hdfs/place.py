"""`hdfs://AUTHORITY/PATH?OPTIONS`: where the lake is, and how its namenodes are found.

Options: `conf=FOLDER` (of core-site.xml and hdfs-site.xml; else HADOOP_CONF_DIR, else HADOOP_HOME/etc/hadoop),
`namenodes=HOST:PORT,HOST:PORT` (of a nameservice, without any such folder), `timeout=20s` (of a call that does not come
back), `ec=POLICY` and `ec.TABLE=POLICY` (erasure coding of all new tables, of one), and any of Hadoop's own keys that
hdfs-native knows, `dfs.client.use.datanode.hostname=true`.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from millstream.base.duration import micros
from millstream.base.errors import ConfigError

_KNOWN = "conf, namenodes, timeout, ec, ec.TABLE, and Hadoop's keys (dfs.*, fs.*, hadoop.*)"
_FILES = ("core-site.xml", "hdfs-site.xml")
REPLICATION = "replication"
"""`ec.TABLE=replication`: this table is not erasure-coded, whatever the others are."""


@dataclass(frozen=True)
class Place:
    """A URL, read.

    Attributes:
        authority: A nameservice, or the host and port of one namenode.
        path: Absolute, without a slash at its end; "" for the root of the file system.
        config: Hadoop's keys, as both drivers are given them.
        ec: Table -> erasure coding policy; "" for all others.
        timeout_s: After which a call that has not come back is given up.
    """

    authority: str
    path: str
    config: Mapping[str, str] = field(default_factory=dict)
    ec: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 20.0

    @property
    def root(self) -> str:
        return f"hdfs://{self.authority}{self.path}"

    @classmethod
    def read(cls, url: str) -> Place:
        """Raises ConfigError, naming the options there are."""
        parts = urlsplit(url)
        if parts.scheme != "hdfs" or not parts.netloc:
            raise ConfigError(f'lake = "{url}": an HDFS lake is hdfs://NAMESERVICE/PATH or hdfs://HOST:PORT/PATH')
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        config = read_folder(_folder(url, given["conf"])) if "conf" in given else {}
        if "namenodes" in given:
            config |= _namenodes(url, parts.netloc, given["namenodes"])
        ec: dict[str, str] = {}
        for key, value in given.items():
            if key == "ec" or key.startswith("ec."):
                ec[key[3:]] = value
            elif key.startswith(("dfs.", "fs.", "hadoop.")):
                config[key] = value
            elif key not in ("conf", "namenodes", "timeout"):
                raise ConfigError(f'lake = "{url}": no option "{key}"; known: {_KNOWN}')
        try:
            timeout_s = micros(given["timeout"]) / 1e6 if "timeout" in given else cls.timeout_s
        except ValueError as error:
            raise ConfigError(f'lake = "{url}": {error}') from None
        return cls(parts.netloc, parts.path.rstrip("/"), config, ec, timeout_s)

    def policy(self, table: str) -> str | None:
        """The erasure coding policy that the table's folder is to have; None: replicated, or whatever the folder above
        has.
        """
        found = self.ec.get(table, self.ec.get("", REPLICATION))
        return None if found == REPLICATION else found

    def web(self) -> list[str]:
        """HOST:PORT of the namenodes' HTTP side."""
        known = {**_ambient(), **self.config}
        prefix = f"dfs.namenode.http-address.{self.authority}."
        told = [value for key, value in known.items() if key.startswith(prefix)]
        if told:
            return told
        if ":" in self.authority:
            return [known.get("dfs.namenode.http-address", f"{self.authority.partition(':')[0]}:9870")]
        hosts = [value for key, value in known.items() if key.startswith(f"dfs.namenode.rpc-address.{self.authority}.")]
        return [f"{host.rpartition(':')[0]}:9870" for host in hosts]


def read_folder(folder: Path) -> dict[str, str]:
    """The keys of a Hadoop configuration folder, `${other.key}` replaced."""
    found: dict[str, str] = {}
    for name in _FILES:
        file = folder / name
        if not file.exists():
            continue
        try:
            tree = ElementTree.parse(file)
        except ElementTree.ParseError as error:
            raise ConfigError(f"{file} cannot be read: {error}") from error
        for one in tree.iterfind("property"):
            if key := (one.findtext("name") or "").strip():
                found[key] = (one.findtext("value") or "").strip()
    return {key: re.sub(r"\$\{([^}]+)\}", lambda m: found.get(m[1], m[0]), value) for key, value in found.items()}


def _folder(url: str, path: str) -> Path:
    folder = Path(path).expanduser()
    if not any((folder / name).exists() for name in _FILES):
        raise ConfigError(f'lake = "{url}": no {" and no ".join(_FILES)} in {folder}')
    return folder


def _ambient() -> dict[str, str]:
    """What the drivers read by themselves."""
    told, home = os.environ.get("HADOOP_CONF_DIR"), os.environ.get("HADOOP_HOME")
    return read_folder(Path(told)) if told else read_folder(Path(home) / "etc" / "hadoop") if home else {}


def _namenodes(url: str, nameservice: str, told: str) -> dict[str, str]:
    hosts = [host.strip() for host in told.split(",") if host.strip()]
    if ":" in nameservice or not hosts or any(not re.fullmatch(r".+:\d+", host) for host in hosts):
        raise ConfigError(f'lake = "{url}": namenodes=HOST:PORT,HOST:PORT are those of a nameservice, hdfs://NAME/PATH')
    names = [f"nn{number}" for number, _ in enumerate(hosts, 1)]
    addresses = {
        f"dfs.namenode.rpc-address.{nameservice}.{name}": host for name, host in zip(names, hosts, strict=True)
    }
    return {"dfs.nameservices": nameservice, f"dfs.ha.namenodes.{nameservice}": ",".join(names), **addresses}
