"""PostgreSQL, one server with logical replication switched on. It trusts whoever comes over loopback.

It does not sync to disk: what it stands for would, and a killed server loses nothing by that, only a lost machine does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from millstream.base.errors import EngineMissing
from millstream.cluster.fetch import Debian
from millstream.cluster.service import LOOPBACK, Daemon, Fetch, Once, Service, Site, Step

USER = "postgres"
_PORT = 75
_PACKAGE = "postgresql"
_PREPARE = (
    'data=$1; shift; if [ "$(id -u)" = 0 ]; then install -d -o postgres -m 700 "$data"; else install -d -m 700 "$data";'
    ' fi && exec "$@"'
)
_FEED = 'line=$1; shift; printf "%s\\n" "$line" | "$@"'
_AS_POSTGRES = (
    "setpriv",
    f"--reuid={USER}",
    f"--regid={USER}",
    "--init-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)
"""PostgreSQL refuses to run as root. Its own user must still find a project below a folder that only root may enter,
hence the capability.
"""


def programs() -> Path | None:
    """The folder of the server's programs: Debian keeps them off the path, one folder a version."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda f: float(f.parent.name), reverse=True):
        if (folder / "postgres").exists():
            return folder
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found else None


def program(name: str) -> Path:
    folder = programs()
    if folder is None:
        raise EngineMissing(
            f"PostgreSQL's server is not installed; on Debian: apt-get install --no-install-recommends {_PACKAGE}"
        )
    return folder / name


class Postgres(Service):
    name = "postgres"
    setting = "state"

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return (Debian(_PACKAGE, programs),)

    def files(self, site: Site) -> Mapping[str, str]:
        settings = {
            "listen_addresses": f"'{LOOPBACK}'",
            "port": site.port + _PORT,
            "unix_socket_directories": "''",
            "wal_level": "logical",
            "max_replication_slots": 8,
            "max_wal_senders": 8,
            "max_slot_wal_keep_size": "4GB",
            "max_connections": 200,
            "shared_buffers": "128MB",
            "fsync": "off",
        }
        return {"postgresql.conf": "".join(f"{key} = {value}\n" for key, value in settings.items())}

    def steps(self, site: Site) -> Sequence[Step]:
        data, own = site.data("postgres"), _AS_POSTGRES if os.geteuid() == 0 else ()
        made: list[str | Path] = [
            program("initdb"),
            "-D",
            data,
            "-A",
            "trust",
            "-U",
            USER,
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]
        server: list[str | Path] = [
            *own,
            program("postgres"),
            "-D",
            data,
            "-c",
            f"config_file={site.conf(self.name)}/postgresql.conf",
        ]
        return (
            Once("postgres-initdb", [["sh", "-c", _PREPARE, "sh", data, *own, *made]], clear=[data]),
            Daemon("postgres", 0, server, [site.port + _PORT], stop="SIGINT"),  # SIGTERM waits for clients to leave
        )

    def missing(self, site: Site) -> str:
        words: list[str | Path] = [program("psql"), *_connect(site), "-qtAc", "select 1"]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            return "an answer within 10 s"
        return "" if done.stdout.strip() == "1" else (done.stderr.strip().splitlines() or ["an answer"])[0]

    def finish(self, site: Site) -> Sequence[Once]:
        return (database(site, "millstream"),)

    def address(self, site: Site) -> str:
        return url(site, "millstream")


def url(site: Site, name: str, scheme: str = "postgresql") -> str:
    """Of a database."""
    return f"{scheme}://{USER}@{site.at(_PORT)}/{name}"


def database(site: Site, name: str) -> Once:
    """Makes a database, if it is not there."""
    make = (
        f"select 'create database {name}' where not exists (select from pg_database where datname = '{name}') \\gexec"
    )
    return Once(
        f"postgres-database-{name}",
        [["sh", "-c", _FEED, "sh", make, program("psql"), *_connect(site), "-v", "ON_ERROR_STOP=1"]],
    )


def _connect(site: Site) -> list[str]:
    return ["-h", LOOPBACK, "-p", str(site.port + _PORT), "-U", USER, "-d", "postgres"]
