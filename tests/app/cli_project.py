"""The command line as a test calls it: in this process where a process of its own would add nothing, else as a user
does.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from millstream.app.cli.main import main

ORDERS = '''
import millstream as ms


class Order(ms.Event):
    """An order."""

    order_id: str
    customer: str
    amount: float
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="customer")
'''
"""The beginning of a project's streams.py: one stream, 13 lines."""


@dataclass(frozen=True)
class Said:
    """What a command has said: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document it must be."""
        return json.loads(self.out)


def written(folder: Path, streams: str, files: Mapping[str, str], name: str = "shop") -> Path:
    """A project of these streams, and files below its folder: path -> text."""
    for path, text in {"millstream.toml": f'[project]\nname = "{name}"\n', "streams.py": streams, **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def millstream(folder: Path, *words: str, stdin: str = "") -> Said:
    """`millstream --project FOLDER WORDS` in the folder, in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code: Any = None
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, {"COLUMNS": "200"}),
        mock.patch("sys.stdin", io.StringIO(stdin)),
    ):
        try:
            main(["--project", str(folder), *words])
        except SystemExit as done:
            code = done.code
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return Said(code, *texts)


def command(*words: str) -> list[str]:
    """The same as a process."""
    return [sys.executable, "-m", "millstream", *words]


def process(folder: Path, *words: str, timeout: float = 60) -> Said:
    """Run it as a process, in the folder."""
    done = subprocess.run(command(*words), cwd=folder, capture_output=True, text=True, timeout=timeout, check=False)
    return Said(done.returncode, done.stdout, done.stderr)
