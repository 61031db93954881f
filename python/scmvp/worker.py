"""The engine in a separate process that another program controls, such as R.

A request is a line on standard input that names a file of `list(do, tell, arguments)` in R's binary
format (`r.rserial`). Standard output has one line of JSON per event: `{"note": ...}` for a warning,
with `tell` also `{"stage": {...}}` (module `progress`) and `{"epoch": {...}}` while training, and
`{"done": FILE}` at the end of a request, where FILE is `list(value)`, or of what failed
`list(error, class, details)`, in R's format again. What other code prints goes to standard error.
When standard input ends, so does the process, in the middle of a training too. SIGINT ends a
training with the best state so far, and any other request as failed. After the request `forget` the
process is as at its start, to be used again; it ends when nobody does for `IDLE_SECONDS`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import queue
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any, TextIO

import numpy as np

import scmvp
from scmvp.errors import InputNote, LeftOut

from .files import json_text
from .r import rserial
from .service import Service

IDLE_SECONDS = 660  # a minute more than R counts on (idle_seconds in engine-process.R)


class Worker:
    """Answers requests one after another."""

    def __init__(self, events: TextIO):
        self._events = events
        self._service = Service()
        self.idle = False
        self._interruptible, self._interrupted = False, False

    def say(self, **event: Any) -> None:
        """Write one complete line to the calling program; an interrupt waits for it."""
        may, self._interruptible = self._interruptible, False
        print(json_text(event), file=self._events, flush=True)
        self._interruptible = may
        if may and self._interrupted:
            self.interrupt()

    def interrupt(self, *_: Any) -> None:
        """Handle SIGINT: stop the current computation."""
        self._interrupted = True
        if self._interruptible:
            self._interruptible = False
            raise KeyboardInterrupt

    def answer(self, request: Path) -> None:
        """Carry out one request and report the outcome; only an exit of the process escapes."""
        try:
            self._answer(request)
        except KeyboardInterrupt as error:  # raised while another error was being handled
            self._reply(request, outcome_of(error))

    def _answer(self, request: Path) -> None:
        try:
            asked = request_in(request)
            self.idle = asked["do"] == "forget"
            if self.idle:
                self._service = Service()
                release_memory()
                return self._reply(request, {"value": None})
            self._interruptible, self._interrupted = True, False
            tell = asked.get("tell", False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("default", UserWarning)
                warnings.showwarning = self._note
                value = self._service.answer(
                    asked["do"],
                    asked["arguments"],
                    on_stage=(lambda stage: self.say(stage=stage)) if tell else None,
                    on_epoch=(lambda epoch: self.say(epoch=epoch)) if tell else None,
                )
            self._interruptible = False
            outcome = {"value": value}
        except BaseException as error:  # noqa: B902 - also KeyboardInterrupt and SystemExit
            self._interruptible = False
            outcome = outcome_of(error)
        self._reply(request, outcome)

    def _reply(self, request: Path, outcome: dict[str, Any]) -> None:
        reply = request.with_suffix(".reply")
        try:
            rserial.write(outcome, reply)
        except Exception as error:  # a full disk, or a value that R has not
            rserial.write(outcome_of(error), reply)
        self.say(done=str(reply))

    def _note(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category in (UserWarning, InputNote, LeftOut):
            self.say(note=str(message), kind=category.__name__)


def request_in(path: Path) -> dict[str, Any]:
    """A request: 'do', 'tell', 'arguments'. The file goes: it is a copy of all counts."""
    with open(path, "rb", buffering=2**20) as file:
        request = rserial.load(file, short=True)
    path.unlink()
    return unboxed(request)


def unboxed(value: Any) -> Any:
    """With single values in the place of vectors of length 1; R's lists stay lists."""
    if isinstance(value, dict):
        return {name: unboxed(part) for name, part in value.items()}
    if isinstance(value, list):
        if len(value) == 1 and (value[0] is None or isinstance(value[0], str)):
            return value[0]
        return [unboxed(part) for part in value]
    if isinstance(value, np.ndarray) and value.shape == (1,):
        return value[0].item()
    return value


def outcome_of(error: BaseException) -> dict[str, str]:
    """What is replied where something failed."""
    return {
        "error": message_of(error),
        "class": type(error).__name__,
        "details": "".join(traceback.format_exception(error)),
    }


def release_memory() -> None:
    """Return unused memory to the system and, on a GPU, to other users."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def message_of(error: BaseException) -> str:
    """The sentence of an error; of a failure of the system, with the file it is about."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def main() -> int:
    """Answer the requests on standard input until it ends."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not look like an event
    worker = Worker(events)
    signal.signal(signal.SIGINT, worker.interrupt)  # also where a shell's & has it ignored
    requests: queue.Queue[Path] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    worker.say(ready={"pid": os.getpid(), "version": scmvp.__version__, "python": sys.executable})
    while True:
        try:
            request = requests.get(timeout=IDLE_SECONDS if worker.idle else None)
        except queue.Empty:
            return 0
        worker.answer(request)


def _listen(requests: queue.Queue[Path]) -> None:
    for line in sys.stdin:
        requests.put(Path(line.rstrip("\n")))
    os._exit(0)  # the controlling program has ended


if __name__ == "__main__":
    sys.exit(main())
