"""Python's own parser, with its two traps reported as what they are."""

from __future__ import annotations

import ast
import gc
import threading

_ONE = threading.Lock()


def parsed(text: str | bytes) -> ast.Module:
    """The tree of a module's text.

    CPython 3.11 counts the depth of a tree that it makes in one place for all of the process: whoever else parses
    meanwhile, in a callback of the garbage collector or in a thread that such a callback lets run, makes it raise
    SystemError (AST constructor recursion depth mismatch). So nothing is collected then.

    Raises:
        SyntaxError, ValueError: It is not valid Python, or is nested too deeply for Python to make a tree of it.
    """
    with _ONE:
        collects = gc.isenabled()
        gc.disable()
        try:
            return ast.parse(text)
        except (RecursionError, MemoryError):
            raise SyntaxError("it is nested too deeply") from None
        finally:
            if collects:
                gc.enable()
