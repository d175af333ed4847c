"""Processes that a test starts, tells to continue, and kills."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Actor = subprocess.Popen[str]
Start = Callable[..., Actor]


@contextmanager
def actors(script: str | None) -> Iterator[Start]:
    """A function that runs the script with words, its stdin and stdout ours; whatever still runs at the end is
    killed.
    """
    assert script is not None
    started: list[Actor] = []

    def start(*words: str) -> Actor:
        started.append(
            subprocess.Popen([sys.executable, script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for actor in started:
        actor.kill()
        actor.communicate()


def line(actor: Actor) -> str:
    """The next line that it says."""
    assert actor.stdout is not None
    return actor.stdout.readline().strip()


def tell(actor: Actor) -> None:
    """Continue."""
    assert actor.stdin is not None
    actor.stdin.write("go\n")
    actor.stdin.flush()


def kill(actor: Actor) -> list[str]:
    """SIGKILL; whole lines it said since the last one read."""
    actor.send_signal(signal.SIGKILL)
    rest, _ = actor.communicate()
    return [said for said in rest.split("\n")[:-1] if said]
