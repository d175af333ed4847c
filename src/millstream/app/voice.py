"""What this process says, without secrets: log records of every library and tracebacks go through the function that
hides them.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

from millstream.base.secrets import hide

_make = logging.getLogRecordFactory()


def quiet_about_secrets() -> None:
    """From now on, in this process: log records, and the tracebacks of errors that nobody catches. Doing it twice is
    doing it once.
    """
    if logging.getLogRecordFactory() is not _record:
        logging.setLogRecordFactory(_record)
    sys.excepthook = _failed
    threading.excepthook = _thread_failed


def _record(*args: Any, **more: Any) -> logging.LogRecord:
    """A record whose text and traceback are settled here, before any handler, ours or a library's, sees them."""
    made = _make(*args, **more)
    try:
        made.msg, made.args = hide(made.getMessage()), ()
    except Exception:
        return made  # arguments that do not fit the text: the handler reports it with its place
    if made.exc_info and made.exc_info[0] is not None:
        made.exc_text = hide("".join(traceback.format_exception(*made.exc_info)).rstrip("\n"))
    return made


def _failed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(hide("".join(traceback.format_exception(kind, error, trace))))


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    name = args.thread.name if args.thread is not None else "?"
    sys.stderr.write(
        hide(
            f"Exception in thread {name}:\n"
            + "".join(traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback))
        )
    )
