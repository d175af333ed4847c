"""Airflow 3 with the Celery executor: API server, scheduler, DAG processor, triggerer, two workers; tables in
PostgreSQL, tasks through RabbitMQ.

Settings as they were measured for short tasks and quick recovery: a scheduler that looks ten times a second, a lost
worker noticed after 20 s.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from millstream.cluster import ask, rabbitmq
from millstream.cluster.fetch import Venv
from millstream.cluster.postgres import database, url
from millstream.cluster.service import LOOPBACK, Daemon, Fetch, Once, Service, Site, Step

USER = "admin"
WORKERS = 2
_PORT, _HEALTH = 90, 91
_DATABASE = "airflow"
_PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
_CELERY = "airflow.providers.celery.executors.celery_executor.app"


def environment_of_its_own() -> Venv:
    """Of exactly these packages: Airflow holds back some that a project wants newer."""
    pins = files(__package__).joinpath("airflow-constraints.txt").read_text(encoding="utf-8").splitlines()
    return Venv("airflow", tuple(pin for pin in pins if not pin.startswith("#")))


def dags(site: Site) -> Path:
    """The folder that it reads DAG files from."""
    return site.data("airflow") / "dags"


class Airflow(Service):
    name = "airflow"
    setting = "orchestrator"
    needs = ("postgres", "rabbitmq")
    patience_s = 300.0  # six Pythons that import Airflow

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return (environment_of_its_own(),)

    def files(self, site: Site) -> Mapping[str, str]:
        passwords = site.conf(self.name) / "passwords.json"
        sections: Mapping[str, Mapping[str, object]] = {
            "core": {
                "executor": "CeleryExecutor",
                "dags_folder": dags(site),
                "load_examples": False,
                "fernet_key": base64.urlsafe_b64encode(site.secret("airflow-fernet").encode()).decode(),
                "execution_api_server_url": f"http://{site.at(_PORT)}/execution/",
                "simple_auth_manager_users": f"{USER}:admin",
                "simple_auth_manager_passwords_file": passwords,
            },
            "database": {"sql_alchemy_conn": url(site, _DATABASE, "postgresql+psycopg2")},
            "api": {
                "host": LOOPBACK,
                "port": site.port + _PORT,
                "workers": 1,
                "base_url": f"http://{site.at(_PORT)}",
                "secret_key": site.secret("airflow-api"),
            },
            "api_auth": {"jwt_secret": site.secret("airflow-jwt") * 2},
            "celery": {
                "broker_url": rabbitmq.url(site),
                "result_backend": f"db+{url(site, _DATABASE, 'postgresql')}",
                "worker_concurrency": 2,
            },
            "scheduler": {
                # 1 by default: each task of a chain then waits a second for the one before
                "scheduler_idle_sleep_time": (0.1),
                "task_instance_heartbeat_timeout": 20,  # 300 by default: so long is a worker that died not missed
                "task_instance_heartbeat_timeout_detection_interval": 2,
                "enable_health_check": True,
                "scheduler_health_check_server_host": LOOPBACK,
                "scheduler_health_check_server_port": site.port + _HEALTH,
            },
            # 5 by default: so long is a slot held after the task's end. Heartbeats may fail as long as before, and the
            # API server be away.
            "workers": {"min_heartbeat_interval": 1, "max_failed_heartbeats": 15, "socket_cleanup_timeout": 10},
            "dag_processor": {"refresh_interval": 5, "min_file_process_interval": 5, "parsing_processes": 1},
            "logging": {"base_log_folder": site.data("airflow") / "logs"},
            "usage_data_collection": {"enabled": False},
        }
        text = "\n".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in section.items())
            for name, section in sections.items()
        )
        return {"airflow.cfg": text, "passwords.json": json.dumps({USER: site.secret("airflow")})}

    def steps(self, site: Site) -> Sequence[Step]:
        dags(site).mkdir(parents=True, exist_ok=True)
        program, own = environment_of_its_own().bin("airflow"), self.variables(site)
        return (
            database(site, _DATABASE),
            Once("airflow-migrate", [[program, "db", "migrate"]], environment=own),
            Daemon("airflow-api", 0, [program, "api-server"], [site.port + _PORT], own),
            Daemon("airflow-scheduler", 0, [program, "scheduler"], [site.port + _HEALTH], own),
            Daemon("airflow-dag-processor", 0, [program, "dag-processor"], environment=own),
            # Logs are files of this machine, so nobody needs to serve them: the servers would outlive a killed worker.
            Daemon("airflow-triggerer", 0, [program, "triggerer", "--skip-serve-logs"], environment=own),
            *(
                Daemon(
                    "airflow-worker",
                    n,
                    [program, "celery", "worker", "--skip-serve-logs", "--celery-hostname", f"worker{n}@{LOOPBACK}"],
                    environment=own,
                )
                for n in range(1, WORKERS + 1)
            ),
        )

    def variables(self, site: Site) -> dict[str, str | None]:
        """Of its processes. Without .pyc files each of them would compile all of Airflow."""
        return {
            "AIRFLOW_HOME": str(site.data("airflow")),
            "AIRFLOW_CONFIG": str(site.conf(self.name) / "airflow.cfg"),
            "PYTHONDONTWRITEBYTECODE": None,
            "PYTHONUNBUFFERED": "1",
        }

    def missing(self, site: Site) -> str:
        told = ask.http_json(site.port + _PORT, "/api/v2/monitor/health", timeout_s=10)
        bad = [part for part in _PARTS if (told.get(part) or {}).get("status") != "healthy"]
        if bad:
            return ", ".join(part.replace("_", " ") for part in bad)
        answered = self._workers(site)
        return "" if answered == WORKERS else f"{WORKERS - answered} of {WORKERS} workers"

    def _workers(self, site: Site) -> int:
        """How many answer a ping by the way that tasks come to them."""
        celery = environment_of_its_own().bin("celery")
        words: list[str | Path] = [celery, "--app", _CELERY, "inspect", "ping", "--json", "--timeout", "5"]
        environment = {key: value for key, value in {**os.environ, **self.variables(site)}.items() if value is not None}
        try:
            done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
            return len(json.loads(done.stdout.strip().splitlines()[-1])) if done.stdout.strip() else 0
        except (subprocess.TimeoutExpired, ValueError):
            return 0

    def address(self, site: Site) -> str:
        """As a profile says it: the password by reference, the DAG folder as seen from the project."""
        secret = site.folder / "secrets" / "airflow"
        return (
            f"airflow://{USER}:file:{site.from_project(secret)}@{site.at(_PORT)}?dags={site.from_project(dags(site))}"
        )
