"""No orphans: a process that ends, with all that it started, when whoever started it is gone."""

from __future__ import annotations

import os
import signal
import threading


def end_with_parent() -> None:
    """From now on the end of standard input kills this process and its group. The parent holds the other end, so it
    comes however the parent dies.

    Killed at once, since every step may be: what was half done is made again by the next attempt.
    """
    if os.getpgrp() != os.getpid():
        os.setpgrp()

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
