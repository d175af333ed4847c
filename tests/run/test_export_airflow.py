"""DAG files for Airflow, without Airflow: what they import, the same bytes, and what they do when a stand-in of
`airflow.sdk` runs them.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from cli_project import millstream
from export_project import project


class Sdk(types.ModuleType):
    """As much of `airflow.sdk` as a DAG file uses."""

    class Operator:
        def __init__(self, **told: Any) -> None:
            self.told, self.before = told, []  # type: ignore[var-annotated]
            self.task_id = told["task_id"]

        def __rshift__(self, other: Sdk.Operator) -> Sdk.Operator:
            other.before.append(self.task_id)
            return other

    class Dag:
        def __init__(self, **told: Any) -> None:
            self.told = told

        def __enter__(self) -> Sdk.Dag:
            return self

        def __exit__(self, *error: object) -> None: ...


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    made, errors = Sdk("airflow.sdk"), types.ModuleType("airflow.sdk.exceptions")
    made.__dict__.update(DAG=Sdk.Dag, Asset=lambda uri: uri, BaseOperator=Sdk.Operator)
    errors.__dict__.update(
        AirflowFailException=type("Fail", (Exception,), {}), AirflowSkipException=type("Skip", (Exception,), {})
    )
    for name, module in (
        ("airflow", types.ModuleType("airflow")),
        ("airflow.sdk", made),
        ("airflow.sdk.exceptions", errors),
    ):
        monkeypatch.setitem(sys.modules, name, module)


def exported(tmp_path: Path, *words: str) -> tuple[Path, list[Path]]:
    rides = project(tmp_path / "rides", 50)
    done = millstream(rides, "export", "airflow", str(tmp_path / "dags"), *words)
    assert done.code == 0, done.err
    return rides, [Path(line) for line in done.out.splitlines()]


def run(file: Path) -> dict[str, Any]:
    told: dict[str, Any] = {"__file__": str(file), "__name__": file.stem}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), told)
    return told


def test_dag_files_import_airflow_sdk_and_the_standard_library_only(tmp_path: Path) -> None:
    _, (manifest, *files) = exported(tmp_path)
    assert manifest.suffix == ".json"
    assert [f.name for f in files] == ["rides.py", "rides__0_4_x_x_1.py", "rides__daily.py"]
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        named = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        named += [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        assert {m for m in named if m.partition(".")[0] not in sys.stdlib_module_names} == {
            "airflow.sdk",
            "airflow.sdk.exceptions",
        }
        calls = [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]
        # Each parse would be another version
        assert not [c for c in calls if c in ("datetime.now", "datetime.utcnow", "time.time", "uuid.uuid4")]


def test_the_same_bytes_twice_and_only_what_has_changed_is_written(tmp_path: Path) -> None:
    rides, files = exported(tmp_path)
    before = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in files}
    assert millstream(rides, "export", "airflow", str(tmp_path / "dags")).code == 0
    assert {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in files} == before
    (rides / "taxi.py").write_text(
        (rides / "taxi.py").read_text(encoding="utf-8").replace(', schedule="@daily"', ""), encoding="utf-8"
    )
    (tmp_path / "dags" / "users_own.py").write_text('"""Not ours."""\n', encoding="utf-8")
    assert millstream(rides, "export", "airflow", str(tmp_path / "dags")).code == 0
    left = {f.name for f in (tmp_path / "dags").iterdir()}
    assert "rides__daily.py" not in left  # its timetable is gone
    assert {"users_own.py", "rides.py", files[0].name} <= left  # runs under way still read the manifest of before
    assert len([name for name in left if name.endswith(".json")]) == 2


def test_what_airflow_is_told(tmp_path: Path, sdk: None) -> None:
    _, files = exported(tmp_path, "--retries", "4", "--pool", "train=gpu")
    told = run(files[1])
    dag, tasks = told["dag"].told, told["tasks"]
    assert (dag["dag_id"], dag["schedule"], dag["catchup"], dag["max_active_runs"]) == ("rides", None, False, 1)
    assert {name: sorted(t.before) for name, t in tasks.items()} == {
        "land": [],
        "fill-riders": ["land"],
        "make-days": ["land"],
        "make-long": ["land"],
        "make-tip_set": ["land"],
        "make-weeks": ["make-days"],
        "train-tips_model": ["make-tip_set"],
    }
    assert tasks["make-days"].told["outlets"] == ["millstream://rides/days"]
    assert (tasks["train-tips_model"].told["pool"], tasks["land"].told["pool"], tasks["land"].told["retries"]) == (
        "gpu",
        "default_pool",
        4,
    )
    daily = run(files[3])
    assert daily["dag"].told["schedule"] == "@daily"
    assert list(daily["tasks"]) == ["land", "make-days"]


class Instance:
    dag_id, run_id, try_number = "rides", "r1", 3


@pytest.mark.parametrize("code", [0, 1, 2, 5])
def test_a_task_calls_run_step_and_judges_its_exit_code(
    tmp_path: Path, sdk: None, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\necho it says\nexit {code}\n', encoding="utf-8"
    )
    python.chmod(0o755)
    rides, files = exported(tmp_path, "--python", str(python))
    told = run(files[1])
    context = {"ti": Instance(), "dag_run": types.SimpleNamespace(conf={"assets": ["rides", "tips", "days"]})}
    task = told["tasks"]["land"]
    if code:
        with pytest.raises(Exception, match=r"what was exported|exit code") as raised:
            task.execute(context)
        assert (type(raised.value).__name__ == "Fail") == (code == 2)  # else Airflow tries again
    else:
        task.execute(context)
    words = (tmp_path / "words").read_text(encoding="utf-8").split()
    assert words[:6] == ["-m", "millstream", "--project", str(rides), "--profile", "laptop"]
    assert words[6:8] == ["run-step", "--watched"]
    named = dict(zip(words[8::2], words[9::2], strict=True))
    assert (named["--manifest"], named["--step"], named["--run-id"], named["--try"]) == (
        str(files[0]),
        "land",
        "rides/r1",
        "3",
    )
    assert [words[i + 1] for i, w in enumerate(words) if w == "--only"] == ["rides", "tips"]
    assert "it says" in capfd.readouterr().out
    with pytest.raises(Exception, match="none of its assets") as skipped:
        told["tasks"]["make-weeks"].execute(context)
    assert type(skipped.value).__name__ == "Skip"


def test_killing_a_task_ends_its_step(tmp_path: Path, sdk: None) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat\ntouch {tmp_path}/ended\n", encoding="utf-8")
    python.chmod(0o755)
    _, files = exported(tmp_path, "--python", str(python))
    task = run(files[1])["tasks"]["land"]
    import threading

    thread = threading.Thread(
        target=task.execute, args=({"ti": Instance(), "dag_run": types.SimpleNamespace(conf=None)},)
    )
    thread.start()
    while not hasattr(task, "_job"):
        os.sched_yield()
    task.on_kill()
    thread.join(20)
    assert (tmp_path / "ended").exists()


def test_json_says_what_was_written(tmp_path: Path) -> None:
    rides = project(tmp_path / "rides", 50)
    told = millstream(rides, "export", "airflow", str(tmp_path / "dags"), "--json").json
    assert told["dags"] == ["rides", "rides__0_4_x_x_1", "rides__daily"]
    assert json.loads(Path(told["files"][0]).read_bytes())["sha256"] == told["sha256"]


def test_a_pool_without_a_phase(tmp_path: Path) -> None:
    rides = project(tmp_path / "rides", 50)
    assert millstream(rides, "export", "airflow", str(tmp_path), "--pool", "gpu").code == 2
    assert (
        "there are land, make, fill, train"
        in millstream(rides, "export", "airflow", str(tmp_path), "--pool", "cook=gpu").err
    )
