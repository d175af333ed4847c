"""Runs a tutorial: writes its files, runs its commands, compares what they say with what the page shows.

    python scripts/tutorial.py PAGE            run it in a temporary folder; exit code 1 at the first difference
    python scripts/tutorial.py PAGE --write    the same, and put into the page what the commands said

Fenced blocks are read in order. Their first line may say, after the language:

    file=PATH       the block is this file of the project (in a `diff` block: `-` lines become the `+` lines)
    console         lines with `$` are commands, those below each are its output
      loose         every number in the output may differ
      retry         the command is run again until its output is as shown, for a minute
      background    the command continues; the next block waits until it answers over HTTP
      stop          the command of the last background block is stopped as Ctrl-C does

A line `...` stands for any lines. Seconds, white space and the lines of tables never count. The port 8600 is replaced
by a free one.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WIDTH = 112
PATIENCE_S = 60.0


class Differs(Exception):
    """A command said something else than the page shows."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its words, its text, and where the text lies in the page."""

    language: str
    words: tuple[str, ...]
    text: str
    span: tuple[int, int]

    @property
    def file(self) -> str | None:
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), None)

    def commands(self) -> Iterator[tuple[str, str]]:
        """(command, output shown) of a console block; a command continues after a line that ends with a backslash."""
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            lines = part.split("\n")
            end = next(i for i, line in enumerate(lines) if not line.endswith("\\")) + 1
            yield "\n".join(lines[:end]), "\n".join(lines[end:]).strip("\n")


def blocks(page: str) -> list[Block]:
    return [Block(m[1], tuple(m[2].split()), m[3], m.span(3)) for m in FENCE.finditer(page)]


class Tutorial:
    """A run of one page in a folder; `close` stops what it has started."""

    def __init__(self, page: str, folder: Path) -> None:
        self.page, self.folder, self.port = page, folder, _free_port()
        self._behind: subprocess.Popen[bytes] | None = None
        scripts = str(Path(sys.executable).parent)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("MILLSTREAM_", "PYTEST_"))} | {
            "PATH": f"{scripts}:{os.environ['PATH']}",
            "COLUMNS": str(WIDTH),
            "NO_COLOR": "1",
            "MILLSTREAM_SERVE_PORT": str(self.port),
            "TZ": "UTC",
        }

    def run(self, *, compare: bool = True) -> str:
        """All blocks in order; the page with what was said.

        Raises:
            Differs: Something else was said than is shown (with `compare`), or a command did not answer.
        """
        made, at = [], 0
        for block in blocks(self.page):
            made.append(self.page[at : block.span[0]])
            at = block.span[1]
            if block.file:
                self._file(block)
                made.append(block.text)
            elif block.language == "console":
                made.append(
                    "".join(self._command(block, command, shown, compare) for command, shown in block.commands())
                )
            else:
                made.append(block.text)
        return "".join(made) + self.page[at:]

    def _file(self, block: Block) -> None:
        path = self.folder / str(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = block.text.replace("8600", str(self.port))
        if block.language == "diff":
            old = "".join(f"{line[1:]}\n" for line in text.splitlines() if line[:1] in "- ")
            new = "".join(f"{line[1:]}\n" for line in text.splitlines() if line[:1] in "+ ")
            before = path.read_text(encoding="utf-8")
            if before.count(old) != 1:
                raise Differs(f"{block.file} does not hold once:\n{old}")
            text = before.replace(old, new)
        path.write_text(text, encoding="utf-8")

    def _command(self, block: Block, command: str, shown: str, compare: bool) -> str:
        if "background" in block.words:
            self._start(command)
            return block.text
        if "stop" in block.words:
            self._stop()
            return block.text
        loose, begun = "loose" in block.words, time.monotonic()
        while True:
            said = self._say(command)
            same = like(shown, said, loose)
            if same or "retry" not in block.words or time.monotonic() - begun > PATIENCE_S:
                break
            time.sleep(0.3)
        if compare and not same:
            raise Differs(f"$ {command}\n--- the page shows\n{shown}\n--- it said\n{said}")
        kept = shown if same and ("\n...\n" in f"\n{shown}\n" or "retry" in block.words) else said
        return f"$ {command}\n" + (f"{kept}\n" if kept else "")

    def _say(self, command: str) -> str:
        """What the command says; a `cd` stays for those that follow."""
        where = self.folder / ".where"
        text = f"{{ {command.replace('8600', str(self.port))}\n}} 2>&1; pwd > '{where}'"
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=900,
        )
        self.folder = Path(where.read_text(encoding="utf-8").strip())
        where.unlink()
        return "\n".join(
            line.rstrip() for line in done.stdout.decode().replace(str(self.port), "8600").split("\n")
        ).strip("\n")

    def _start(self, command: str) -> None:
        self._heard = self.folder.parent / "background.log"
        with self._heard.open("wb") as heard:
            self._behind = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.environment, stdout=heard, stderr=heard
            )
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self._behind.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.1)
        self._stop()
        raise Differs(f"$ {command}\ndoes not answer:\n{self._heard.read_text(encoding='utf-8')[-3000:]}")

    def _stop(self) -> None:
        """As Ctrl-C does: what it has started ends with it."""
        behind, self._behind = self._behind, None
        if behind is not None and behind.poll() is None:
            behind.send_signal(signal.SIGINT)
            try:
                behind.wait(timeout=60)
            except subprocess.TimeoutExpired:
                behind.kill()
                raise Differs("the command in the background does not stop") from None

    def close(self) -> None:
        self._stop()


def like(shown: str, said: str, loose: bool) -> bool:
    """Whether an output is as shown: seconds, white space and lines of tables do not count; `...` is any lines.

    >>> like("3 rows  0.10 s", "3 rows 2.71 s", False), like("a\\n...\\nd", "a\\nb\\nc\\nd", False)
    (True, True)
    >>> like("3 rows", "4 rows", False), like("3 rows", "4 rows", True)
    (False, True)
    """
    wanted, found = _lines(shown, loose), _lines(said, loose)
    pattern = "".join("(?:.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in wanted)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in found)) is not None


def _lines(text: str, loose: bool) -> list[str]:
    text = re.sub(r"[^\S\n]*\b\d+(\.\d+)? ?(ms|s)\b", " T", re.sub(r"[┏┓┗┛━┃│┡┩┌┐└┘─├┤┬┴┼╇╈┳┻╋┷┯]", " ", text))
    if loose:
        text = re.sub(r"[0-9a-f]{8,}", "N", text)
        text = re.sub(r"[-+]?\d[\d.,:]*(e[-+]?\d+)?", "N", text)
    lines = [" ".join(line.split()) for line in text.split("\n") if line.strip()]
    # Assets are made side by side, so the order in which they are done does not count.
    return [
        line
        for done, group in groupby(lines, key=lambda line: line.startswith("✓"))
        for line in (sorted(group) if done else group)
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(args: Sequence[str]) -> int:
    path = Path(args[0])
    with tempfile.TemporaryDirectory() as folder:
        tutorial = Tutorial(path.read_text(encoding="utf-8"), Path(folder))
        try:
            said = tutorial.run(compare="--write" not in args)
        except Differs as error:
            print(error)
            return 1
        finally:
            tutorial.close()
    if "--write" in args:
        path.write_text(said, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
