"""The command line: `robench` and `python -m robench`."""

from __future__ import annotations

import os
import signal

__all__ = ["main"]


def main() -> None:
    """Run the command line; an interruption while Python imports it ends like a later one."""
    # An exception would not do here: the machinery of classes turns it into another one.
    handles = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if handles:
        signal.signal(signal.SIGINT, _end)
    from robench.cli import main as run

    if handles:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    except KeyboardInterrupt:
        _end()


def _end(*_: object) -> None:
    """Print one line and end the process."""
    os.write(2, b"error: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
