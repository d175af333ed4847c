"""What a training function prints belongs to its run, not to the terminal: fitting libraries print a line a round."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Fitting uses all cores by itself, and sys.stdout is one for all threads: one function at a time.
_ONE = threading.Lock()


class _Ours:
    """Writes of this thread go to a text, those of others where they went before."""

    def __init__(self, before: Any, said: io.StringIO) -> None:
        self._before, self._said, self._thread = before, said, threading.get_ident()

    def write(self, text: str) -> int:
        return self._said.write(text) if threading.get_ident() == self._thread else self._before.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._before, name)


@contextmanager
def hushed() -> Iterator[io.StringIO]:
    """The text that this thread prints inside the block; nothing of it reaches stdout."""
    with _ONE:
        said = io.StringIO()
        before = sys.stdout
        ours: Any = _Ours(before, said)
        sys.stdout = ours
        try:
            yield said
        finally:
            if sys.stdout is ours:
                sys.stdout = before
