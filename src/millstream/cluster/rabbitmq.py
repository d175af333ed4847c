"""RabbitMQ, one server, with the directory of Erlang's nodes that it needs (epmd), both on loopback; Airflow's Celery
takes its tasks from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from millstream.base.errors import EngineMissing
from millstream.cluster import ask
from millstream.cluster.fetch import Debian, program
from millstream.cluster.service import LOOPBACK, Daemon, Fetch, Service, Site, Step

USER, VHOST = "airflow", "airflow"
_PORT, _NODES, _EPMD = 85, 86, 87
_PACKAGE = "rabbitmq-server"
_HELLO = b"AMQP\x00\x00\x09\x01"
_START = b"\x00\x0a\x00\x0a"  # class 10 (connection), method 10 (start)


def server() -> Path | None:
    """The server's script. The one that Debian has on the path changes to another user and writes to the system's
    folders.
    """
    found = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return found if found.exists() else None


class RabbitMq(Service):
    name = "rabbitmq"

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return (Debian(_PACKAGE, server),)

    def files(self, site: Site) -> Mapping[str, str]:
        settings = {
            "listeners.tcp.1": site.at(_PORT),
            "default_user": USER,
            "default_pass": site.secret("rabbitmq"),
            "default_vhost": VHOST,
            "default_permissions.configure": ".*",
            "default_permissions.read": ".*",
            "default_permissions.write": ".*",
            "vm_memory_high_watermark.absolute": "256MB",
        }
        return {
            "rabbitmq.conf": "".join(f"{key} = {value}\n" for key, value in settings.items()),
            "enabled_plugins": "[].\n",
        }

    def steps(self, site: Site) -> Sequence[Step]:
        data, conf = site.data("rabbitmq"), site.conf(self.name)
        data.mkdir(parents=True, exist_ok=True)
        environment = {
            "HOME": str(data),  # of the cookie that its own tools show
            "RABBITMQ_NODENAME": "millstream@localhost",
            "RABBITMQ_CONFIG_FILE": str(conf / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(conf / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(data / "log"),
            "RABBITMQ_PID_FILE": str(data / "pid"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_DIST_PORT": str(site.port + _NODES),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(site.port + _EPMD),
            # An idle scheduler of Erlang's else spins for work.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
            ),
        }
        found = server()
        if found is None:
            raise EngineMissing(
                f"RabbitMQ is not installed; on Debian: apt-get install --no-install-recommends {_PACKAGE}"
            )
        epmd: list[str | Path] = [program("epmd", "erlang-base"), "-address", LOOPBACK, "-port", str(site.port + _EPMD)]
        return (
            Daemon("epmd", 0, epmd, [site.port + _EPMD], {"ERL_EPMD_RELAXED_COMMAND_CHECK": "true"}),
            Daemon("rabbitmq", 0, [found], [site.port + _PORT, site.port + _NODES], environment),
        )

    def missing(self, site: Site) -> str:
        answer = ask.line(site.port + _PORT, _HELLO)
        return "" if answer[7:11] == _START else "the beginning of a connection"

    def address(self, site: Site) -> str:
        return f"amqp://{USER}@{site.at(_PORT)}/{VHOST}"


def url(site: Site) -> str:
    """With its password."""
    return f"amqp://{USER}:{site.secret('rabbitmq')}@{site.at(_PORT)}/{VHOST}"
