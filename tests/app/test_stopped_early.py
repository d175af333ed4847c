"""Ctrl-C while a verb is still importing: exit code 130, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_project import ORDERS, command, written

INTERRUPTED = """import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(60)
"""


def interrupted(folder: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A verb that is interrupted in the moment when it imports the module."""
    (folder / "fakes").mkdir()
    (folder / "fakes" / f"{module}.py").write_text(INTERRUPTED)
    project = written(folder / "shop", ORDERS, {})
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder / "fakes"), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    return subprocess.run(
        command("--project", str(project), *words), env=env, capture_output=True, text=True, timeout=50, check=False
    )


@pytest.mark.parametrize("module", ["click", "tomllib", "pyarrow", "sqlite3"])
def test_any_verb_that_is_stopped_while_it_imports(module: str, tmp_path: Path) -> None:
    done = interrupted(tmp_path, module, "plan")
    assert done.returncode == 130 and "Traceback" not in done.stderr and "KeyboardInterrupt" not in done.stderr, done


def test_the_help_too(tmp_path: Path) -> None:
    done = interrupted(tmp_path, "click", "--help")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_what_is_to_ignore_it_ignores_it(tmp_path: Path) -> None:
    """A shell starts what runs in the background so."""
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit(7)\n")
    code = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable,"
        f" {command('--help')!r})"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False, timeout=50).returncode == 7


def test_little_is_imported_before_it_can_be_stopped() -> None:
    code = "import sys; before = {*sys.modules}; import millstream.__main__; print(*sorted({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in done.stdout.split()} <= {"millstream", "__future__", "types"}


def test_the_script_is_that_command_line() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["millstream"] == "millstream.__main__:main"
