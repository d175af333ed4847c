"""A user's code that raised: what becomes of it, and how it is reported in the user's words: the line, what it printed,
and the traceback from the first line of theirs on.

The frames before it are ours, and say nothing to the one who has to correct the function; those after it, inside the
libraries that it calls, do.
"""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

INSTALLED = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(__file__).parents[1])}
)
"""Folders of what is not the user's code."""
PRINTED = 20
"""Lines of what it printed, the last ones."""
FRAMES = 12
"""Frames of the traceback, the last ones."""
_WIDE = 500


def pass_on(error: BaseException) -> None:
    """Raise it again where it is Ctrl-C. For `except BaseException`, which is needed where code of a user's or of Rust
    is called: `sys.exit()` in the one and a panic in the other are not `Exception`s, and yet they are the failure of
    one thing only.
    """
    if isinstance(error, KeyboardInterrupt):
        raise error


def spot(error: BaseException, code: object = None) -> str:
    """FILE:LINE of the last line of the user's before the error; "" where no frame is known.

    Args:
        code: The user's function, when there is one: files of its folder are named from there.
    """
    frames = _theirs(error) or [*traceback.extract_tb(error.__traceback__)][1:]  # the first is ours
    return f"{_file(frames[-1].filename, _home(code))}:{frames[-1].lineno}" if frames else ""


def raised(what: str, error: BaseException, code: object = None, printed: str = "") -> str:
    """`WHAT raised KeyError: 'x' (models.py:31)`, and below it the line itself, what was printed, and the traceback."""
    place = spot(error, code)
    said = f"{what} raised {type(error).__name__}: {error}" + (f" ({place})" if place else "")
    return "\n".join([said, *details(error, code, printed)])


def where_of(code: object) -> str:
    """FILE:LINE of a function of the user's, from the folder of its file; "" of what is not a function of Python."""
    there = getattr(code, "__code__", None)
    return f"{_file(there.co_filename, _home(code))}:{there.co_firstlineno}" if there is not None else ""


def details(error: BaseException, code: object = None, printed: str = "") -> list[str]:
    """The lines below the sentence; none where no line of the user's is known. No line is blank: what crosses a process
    boundary ends at one.
    """
    lines, home = [], _home(code)
    if theirs := _theirs(error):
        lines.append(f"    {theirs[-1].line or '(its text is not there)'}")
    if said := [line.expandtabs() for line in printed.splitlines() if line.strip()]:
        more = f" (the last {PRINTED} of {len(said)} lines)" if len(said) > PRINTED else ""
        lines += [f"  printed{more}:", *(f"    {line[:_WIDE]}" for line in said[-PRINTED:])]
    if theirs:
        frames = _from_theirs(error)
        lines.append(
            "  traceback (most recent call"
            f" last{f', the last {FRAMES} of {len(frames)}' if len(frames) > FRAMES else ''}):"
        )
        for frame in frames[-FRAMES:]:
            lines.append(f"    {_file(frame.filename, home)}:{frame.lineno} in {frame.name}")
            lines += [f"      {frame.line[:_WIDE]}"] if frame.line else []
    return lines


def is_theirs(error: BaseException) -> bool:
    """Whether a line of the user's was at work."""
    return bool(_theirs(error))


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(error.__traceback__))


def _installed(frame: traceback.FrameSummary) -> bool:
    """Whether it was installed; compiled libraries name their sources as they were built."""
    return frame.filename.startswith((*INSTALLED, "<")) or frame.filename.endswith((".pyx", ".pxi", ".pxd"))


def _theirs(error: BaseException) -> list[traceback.FrameSummary]:
    return [frame for frame in _frames(error) if not _installed(frame)]


def _from_theirs(error: BaseException) -> list[traceback.FrameSummary]:
    frames = _frames(error)
    first = next(i for i, frame in enumerate(frames) if not _installed(frame))
    return frames[first:]


def _home(code: object) -> str:
    """The folder of the function's file."""
    there = getattr(code, "__code__", None)
    return f"{Path(there.co_filename).parent}/" if there is not None else ""


def _file(name: str, home: str) -> str:
    """Below the function's folder, or its name alone; a project's modules come to executors as a zip."""
    file = name.rpartition(".zip/")[2]
    if home and file.startswith(home):
        return file.removeprefix(home)
    for installed in sorted(INSTALLED, key=len, reverse=True):
        if file.startswith(f"{installed}/"):
            return file.removeprefix(f"{installed}/")
    return Path(file).name if file.startswith("/") else file
