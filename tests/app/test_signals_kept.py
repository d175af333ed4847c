"""SIGTERM reaches a process that reads CSV: pyarrow's reader would take it for itself, and loses one in thirty."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cli_project import ORDERS, written

READS = """
import io, os, signal, sys, threading, time
import pyarrow.csv as csv
from millstream.app.cli.context import Context

Context(sys.argv[1], None, ()).workspace.close()
heard, done, data = threading.Event(), [], b"a,b\\n" + b"1,2\\n" * 20_000
signal.signal(signal.SIGTERM, lambda number, frame: heard.set())

def send():
    for _ in range(300):
        heard.clear()
        os.kill(os.getpid(), signal.SIGTERM)
        done.append(heard.wait(2.0))
        time.sleep(0.001)

sender = threading.Thread(target=send)
sender.start()
while sender.is_alive():
    csv.read_csv(io.BytesIO(data))
print(len(done), done.count(False))
"""


def test_no_signal_is_lost_to_a_reader(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READS, str(written(tmp_path, ORDERS, {}))], capture_output=True, text=True, timeout=110
    )
    assert done.stdout.split() == ["300", "0"], done.stderr
