"""Where in the user's files a noun or a term was written."""

from __future__ import annotations

import os
import sys
from types import FrameType

from millstream.base.errors import Place

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_GENERATED = ("<frozen", "<string>")  # imports; the __init__ that dataclasses write


def here() -> Place | None:
    """The nearest caller outside Millstream, with its file named relative to the working folder when below it."""
    frame = caller()
    return None if frame is None else Place(shorten(frame.f_code.co_filename), frame.f_lineno)


def caller() -> FrameType | None:
    """The nearest frame outside Millstream."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if (
            not file.startswith(_PACKAGE)
            and not file.startswith(_GENERATED)
            and not file.endswith(("/dataclasses.py", "/typing.py"))
        ):
            return frame
        frame = frame.f_back  # type: ignore[assignment]
    return None


def shorten(file: str) -> str:
    """The path as a user standing in the project names it."""
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative
