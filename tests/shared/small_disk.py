"""A disk of a few megabytes that a test fills up or makes read-only. Root ignores chmod, so only a mount of its own
stops it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


class SmallDisk:
    """A tmpfs; skips the test where mounting one is not permitted."""

    def __init__(self, folder: Path, size: str = "24m") -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")

    def read_only(self, really: bool = True) -> None:
        subprocess.run(["mount", "-o", f"remount,{'ro' if really else 'rw'}", str(self.folder)], check=True)

    def fill(self) -> None:
        """To the last byte."""
        with (self.folder / "filler").open("ab", buffering=0) as file:
            for piece in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(bytes(piece))
                except OSError:
                    pass

    def empty(self) -> None:
        os.truncate(self.folder / "filler", 0)

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=False)
