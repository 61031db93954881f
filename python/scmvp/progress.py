"""Progress of long work: its stages, and the fraction of each that is done.

Code that does long work opens a stage and reports the fraction done. A listener is called with a
dict per event: `stage`, the name; `share`, the fraction, from 0 at the start, never falling, to 1
at the end; and `seconds` since the start. Callers pass `Stages` down: there is no global state.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from .errors import InputError

Listener = Callable[[dict[str, Any]], None]
Report = Callable[[float], None]
Part = TypeVar("Part")

_APART = 0.2  # seconds between two events of a stage, at least
_SHOWN_AFTER = 0.5  # seconds; shorter stages are not shown
_REPORTED_AFTER = 2.0  # seconds; longer stages have a line with their time when they are done


class Stages:
    """Opens stages, and sends their events to the listener, if there is one."""

    def __init__(
        self, listener: Listener | None = None, write: Callable[[str], None] | None = None
    ):
        self.listener, self._write = listener, write

    def tell(self, lines: Callable[[], Iterable[str]]) -> None:
        """Sentences between stages; they are made only where stages are shown to people."""
        if self._write is not None:
            for line in lines():
                self._write(line)

    @contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        """A stage; gives the function to report the fraction done. An interrupt gets its name."""
        started = last = time.monotonic()
        done = 0.0

        def send(share: float) -> None:
            if self.listener is not None:
                seconds = time.monotonic() - started
                self.listener({"stage": name, "share": share, "seconds": seconds})

        def report(share: float) -> None:
            nonlocal last, done
            if done < share < 1 and time.monotonic() - last >= _APART:
                last, done = time.monotonic(), float(share)
                send(done)

        try:
            send(0.0)
            yield report
            send(1.0)
        except KeyboardInterrupt as interrupt:
            if not interrupt.args:
                interrupt.args = (f"interrupted ({name})",)
            raise


SILENT = Stages()


def part_of(report: Report, start: float, stop: float) -> Report:
    """A report of a part of a stage, which goes from `start` to `stop` of the whole."""
    return lambda share: report(start + share * (stop - start))


def counted(parts: Iterable[Part], n: int, report: Report) -> Iterator[Part]:
    """Yield the n parts of some work; after each, the fraction done is reported."""
    for i, part in enumerate(parts, start=1):
        yield part
        report(i / n)


def no_report(share: float) -> None:
    """A report without a listener."""


# ---- what is seen of it --------------------------------------------------------------------------


class Display(Protocol):
    """Shows stages and epochs."""

    def stage(self, event: dict[str, Any]) -> None:
        """An event of `Stages`."""

    def epoch(self, state: dict[str, Any]) -> None:
        """The history of an epoch, as the callback gets it."""

    def write(self, line: str) -> None:
        """Another line, above those of the progress."""

    def close(self) -> None:
        """End the display."""


@contextmanager
def displayed() -> Iterator[Display]:
    """A display on standard error: a line that is drawn again on terminals and in notebooks."""
    display = _Redrawn() if _can_redraw() else _Lines()
    try:
        yield display
    finally:
        display.close()


@contextmanager
def followed(progress: bool | Listener) -> Iterator[tuple[Stages, Listener | None]]:
    """Stages as an argument `progress` has them, and the function that shows epochs, if any.

    Raises:
        InputError: It is neither a truth value nor a function.
    """
    if not isinstance(progress, bool) and not callable(progress):
        raise InputError(f"progress is {progress!r}; give True, False or a function of one dict")
    if progress is True:
        with displayed() as display:
            yield Stages(display.stage, display.write), display.epoch
    else:
        yield Stages(progress or None), None


def _can_redraw() -> bool:
    try:
        return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


class _StandardError:
    """Standard error as it is now. What cannot be written is dropped: no result depends on it."""

    def write(self, text: str) -> None:
        with suppress(AttributeError, OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(AttributeError, OSError, ValueError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


STANDARD_ERROR = _StandardError()


class _Clock:
    """Calls a function some time after a stage began, and every so often until it ends."""

    def __init__(self, call: Callable[[], None], again: bool):
        self._call, self._again = call, again
        self._ended, self._calling = threading.Event(), threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self._ended.wait(_SHOWN_AFTER):
            with self._calling:
                if not self._ended.is_set():
                    self._call()
            if not self._again:
                break

    def stop(self) -> None:
        with self._calling:
            self._ended.set()


class _Lines:
    """A line when a stage begins, one when a long one is done, one per epoch."""

    def __init__(self) -> None:
        self._clock: _Clock | None = None

    def stage(self, event: dict[str, Any]) -> None:
        if event["share"] == 0:
            self.close()  # of a stage that was interrupted
            self._clock = _Clock(lambda: self.write(event["stage"]), again=False)
        elif event["share"] == 1:
            self.close()
            if event["seconds"] > _REPORTED_AFTER:
                self.write(_done(event))

    def epoch(self, state: dict[str, Any]) -> None:
        self.write(
            f"epoch {state['epoch']}/{state['max_epochs']} {_state(state)} "
            f"{state['seconds']:.1f} s, {state['cells_per_second']:,.0f} cells/s, at most "
            f"{state['seconds_left']:.0f} s left"
        )

    def write(self, line: str) -> None:
        print(line, file=STANDARD_ERROR, flush=True)

    def close(self) -> None:
        if self._clock is not None:
            self._clock.stop()
            self._clock = None


class _Redrawn:
    """One line that is drawn again and again; epochs are a bar, beside which a stage is named."""

    def __init__(self) -> None:
        self._clock: _Clock | None = None
        self._now: dict[str, Any] = {}
        self._began = 0.0
        self._drawn = 0
        self._bar: Any = None
        self._lock = threading.RLock()  # the clock draws in a thread of its own

    def stage(self, event: dict[str, Any]) -> None:
        if event["share"] == 0:
            self._end_stage()  # one that was interrupted
        self._now = event
        if event["share"] == 0:
            self._began = time.monotonic()
            self._clock = _Clock(self._draw, again=True)
        elif event["share"] == 1:
            self._end_stage()
            if event["seconds"] > _REPORTED_AFTER:
                self.write(_done(event))

    def epoch(self, state: dict[str, Any]) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(unit="epoch", file=STANDARD_ERROR)
            # the first epoch is over when the bar appears
            self._bar.start_t -= state["seconds"]
            self._bar.last_print_t -= state["seconds"]
        self._bar.total = state["max_epochs"]
        rate = f"{state['cells_per_second']:,.0f} cells/s"
        self._bar.set_postfix_str(f"{_state(state)}, {rate}", refresh=False)
        self._bar.update(1)

    def write(self, line: str) -> None:
        with self._lock:
            self._clear()
            if self._bar is None:
                print(line, file=STANDARD_ERROR, flush=True)
            else:
                self._bar.write(line, file=STANDARD_ERROR)

    def close(self) -> None:
        self._end_stage()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw(self) -> None:
        with self._lock:
            share = f" {100 * self._now['share']:3.0f} %" if self._now["share"] else ""
            line = f"{self._now['stage']}{share}  {time.monotonic() - self._began:.0f} s"
            if self._bar is None:
                line = line[: shutil.get_terminal_size().columns - 1]
                print(f"\r{line:<{self._drawn}}", end="", file=STANDARD_ERROR, flush=True)
                self._drawn = len(line)
            else:
                self._bar.set_description_str(line)

    def _end_stage(self) -> None:
        if self._clock is not None:
            self._clock.stop()
            self._clock = None
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        if self._drawn:
            print(f"\r{'':{self._drawn}}\r", end="", file=STANDARD_ERROR, flush=True)
            self._drawn = 0
        if self._bar is not None and self._bar.desc:
            self._bar.set_description_str("")


def _done(event: dict[str, Any]) -> str:
    return f"{event['stage']}: {event['seconds']:.0f} s"


def _state(state: dict[str, Any]) -> str:
    shown = f"{state['phase']}, elbo {state['elbo_train']:.1f}"
    held_out = state.get("elbo_validation")
    return shown if held_out is None else f"{shown}, held out {held_out:.1f}"
