"""The first seconds of the command line, in which libraries are imported: a signal ends them.

An exception there would be shown with a traceback, by Python itself, as the package is imported
before any code of a command runs.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


def is_command_line() -> bool:
    """Whether this process is `scmvp` or `python -m scmvp`, and no other program's."""
    program = getattr(sys, "argv", [""])[:1]
    if program == ["-m"]:  # the module is not found yet
        return ("-m", "scmvp") in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    return bool(program) and os.path.splitext(os.path.basename(program[0]))[0] == "scmvp"


def end_on_signals() -> None:
    """Before a command begins, and after it, a signal ends the process with one line."""

    def end(number: int, _: Any) -> None:
        os.write(2, b"scmvp: interrupted\n")
        os._exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (None, signal.SIG_IGN):
                signal.signal(number, end)


def open_standard_error() -> None:
    """Where it is closed, open it on nothing.

    Otherwise the next opened file gets its file descriptor, and C libraries print into that file.
    """
    try:
        os.fstat(2)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


if is_command_line():
    open_standard_error()
    end_on_signals()
