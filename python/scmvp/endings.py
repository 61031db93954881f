"""How a command ends that does not do all its work: one sentence and an exit status."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import InputError, first_line, is_of_memory
from .files import as_path, stamp_of
from .flags import in_flags
from .progress import STANDARD_ERROR
from .starting import INTERRUPTED, TERMINATED


@contextmanager
def unseen_messages_dropped() -> Iterator[None]:
    """At the end, forget what standard error does not take: its last flush would decide the status.

    Python ends a process in which it fails with status 120.
    """
    try:
        yield
    finally:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except (OSError, ValueError):
            sys.stderr = None


def ended(run: Callable[[], int], arguments: argparse.Namespace) -> int:
    """Run a command; its exit status, after a sentence where it fails."""
    before, terminated = _stamp(arguments), threading.Event()
    with _signals_raise(terminated):
        try:
            status = run()
        except InputError as error:
            return _fail(in_flags(str(error)), 2)
        except ImportError as error:
            return _fail(str(error), 1)
        except OSError as error:
            # The disk is full, a folder is read-only: the reason and the file, no traceback.
            return _fail(f"{error.filename or 'output'}: {error.strerror or error}", 2)
        except (MemoryError, RuntimeError) as error:
            if not is_of_memory(error):
                raise
            return _fail_without_memory(error, arguments)
        except KeyboardInterrupt as interrupt:
            done = _done(arguments, changed=_stamp(arguments) != before)
            status = _fail(f"{str(interrupt) or 'interrupted'}; {done}", INTERRUPTED)
    if status == INTERRUPTED:
        # Python remembers an interrupt within exec() and ends `python -m` by SIGINT, whatever the
        # status, unless another text is run
        exec("")
    return TERMINATED if terminated.is_set() and status == INTERRUPTED else status


@contextmanager
def _signals_raise(terminated: threading.Event) -> Iterator[None]:
    """SIGTERM, which batch systems send at the time limit, is raised as Ctrl-C is."""
    if threading.current_thread() is not threading.main_thread():  # has no signals
        yield
        return

    def terminate(*_: Any) -> None:
        terminated.set()
        raise KeyboardInterrupt

    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate}
    earlier = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if signal.getsignal(number) not in (None, signal.SIG_IGN)
    }
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _stamp(arguments: argparse.Namespace) -> tuple[int, int, int] | None:
    """Of the output; `info` has none."""
    out = getattr(arguments, "out", None)
    return stamp_of(as_path(out)) if out else None


def _done(arguments: argparse.Namespace, changed: bool) -> str:
    """What there is after an interrupt."""
    if changed:
        return f"the results are in {arguments.out}"
    checkpoint = getattr(arguments, "checkpoint", None)
    if checkpoint and as_path(checkpoint).exists():
        return f"the same command goes on from {checkpoint}"
    return "nothing was written"


def _fail_without_memory(error: Exception, arguments: argparse.Namespace) -> int:
    why = re.sub(r"^.*(?=can't allocate memory)", "", first_line(error))
    reason = f" ({why})" if str(error) else ""
    on_disk = getattr(arguments, "backed", "yes") == "yes"
    advice = "give fewer cells" if on_disk else "leave counts on disk: --backed yes"
    if "CUDA" in reason and hasattr(arguments, "device"):
        advice = "use --device cpu"
    return _fail(f"there is not enough memory{reason}; {advice}", 2)


def _fail(sentence: str, status: int) -> int:
    print(f"scmvp: {sentence}", file=STANDARD_ERROR, flush=True)
    return status
