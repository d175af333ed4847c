"""The command line, as `python -m millstream` and as the script `millstream`.

The first moments of a verb are imports, and its last ones the end of the interpreter: Ctrl-C would be a traceback in
both. Nothing is open then, so the process just ends.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # the module of that name imports others first
import os

STOPPED = 130


def main() -> None:
    """Run the command line and exit with its code."""
    # Somebody has it ignored, as a shell for what runs in the background
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        from millstream.app.cli.main import main as run

        run()
        return
    _end_at_once()
    from millstream.app.cli.main import main as run

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:  # a second one, while the first was told
        raise SystemExit(STOPPED) from None
    finally:
        _end_at_once()


def _end_at_once() -> None:
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(STOPPED))


if __name__ == "__main__":
    main()
