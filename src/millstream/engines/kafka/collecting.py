"""A rest for Python's garbage collector."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_resting = 0


@contextmanager
def no_collection() -> Iterator[None]:
    """A hundred thousand new objects start the collector again and again, which then looks at all of them: half of the
    time of a read.

    For stretches of code that wait for nothing. Whoever had it off has it off afterwards; threads may overlap.
    """
    global _resting
    with _lock:
        if not _resting and not gc.isenabled():
            own = False
        else:
            own, _resting = True, _resting + 1
            gc.disable()
    try:
        yield
    finally:
        if own:
            with _lock:
                _resting -= 1
                if not _resting:
                    gc.enable()
