"""The MLflow server as `millstream cluster` brings it up."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from millstream.cluster import Cluster


def call(url: str, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        f"{url}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def test_runs_outlive_a_kill_of_the_server_and_of_its_database(cluster: Cluster, mlflow: str) -> None:
    number = call(mlflow, "experiments/create", {"name": "kept"})["experiment_id"]
    run = call(mlflow, "runs/create", {"experiment_id": number})["run"]["info"]["run_id"]
    call(mlflow, "runs/log-metric", {"run_id": run, "key": "auc", "value": 0.75, "timestamp": 1})
    cluster.kill("mlflow")
    cluster.kill("postgres")
    cluster.up(["mlflow"])
    (found,) = call(mlflow, "runs/search", {"experiment_ids": [number]})["runs"]
    assert [(m["key"], m["value"]) for m in found["data"]["metrics"]] == [("auc", 0.75)]
