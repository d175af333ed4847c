"""An MLflow server: runs and registered models in PostgreSQL, artifacts below its data folder and served by it."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.cluster import ask
from millstream.cluster.fetch import Venv
from millstream.cluster.postgres import database, url
from millstream.cluster.service import LOOPBACK, Daemon, Fetch, Service, Site, Step

SERVER = Venv("mlflow", ("mlflow==3.17.2", "psycopg2-binary==2.9.13"))
_PORT, _DATABASE = 80, "mlflow"


class MlflowServer(Service):
    name = "mlflow"
    setting = "tracking"
    needs = ("postgres",)
    patience_s = 180.0  # it makes its tables on the first start

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return (SERVER,)

    def steps(self, site: Site) -> Sequence[Step]:
        options = {
            "host": LOOPBACK,
            "port": str(site.port + _PORT),
            "workers": "1",
            "backend-store-uri": url(site, _DATABASE, "postgresql+psycopg2"),
            "artifacts-destination": f"file://{site.data('mlflow')}",
        }
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        # Its pages' helpers of GenAI start as many processes again; nobody here asks them for anything.
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        return database(site, _DATABASE), Daemon(
            "mlflow", 0, [SERVER.bin("mlflow"), "server", *words], [site.port + _PORT], quiet
        )

    def missing(self, site: Site) -> str:
        found = ask.http_json(
            site.port + _PORT, "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default", timeout_s=10
        )
        return "" if "experiment" in found else "its first experiment"

    def address(self, site: Site) -> str:
        return f"http://{site.at(_PORT)}"
