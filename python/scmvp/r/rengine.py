"""One call to R: which R, how values are passed, and how progress and errors are reported.

Nothing here knows what is called; `bridge.R` does. Two engines run the same code of R:

* "process" (the default): `Rscript` in a process of its own. Needs no rpy2, works with any R from
  4.2 on, can be interrupted at any time, and leaves Python alive when R dies or fills the memory.
* "rpy2": R inside this process, started once and kept, so that a call begins at once.

Values travel through a temporary file in R's own format (`rserial`) either way.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ..errors import InputError, InputNote, RError
from ..progress import STANDARD_ERROR
from . import rserial

ENGINES = ("auto", "process", "rpy2")
_SCRIPT = Path(__file__).with_name("bridge.R")
_KEPT_LINES = 20

Say = Callable[[str], None]


def call(verb: str, arguments: dict[str, Any], engine: str = "auto", verbose: bool = False) -> Any:
    """Call a function of `bridge.R` and return its value.

    Args:
        verb: Name of the function, without `call_`.
        arguments: Its arguments by name; see `rserial` for what becomes what.
        engine: 'process', 'rpy2', or 'auto': the first of these two that is there.
        verbose: Print what R says on the way, on standard error.

    Raises:
        InputError: What R says of the input.
        RError: R, one of its packages or rpy2 is missing or of the wrong version; or R failed.
    """
    run = _engine(engine)
    say = _print if verbose else _say_nothing
    with tempfile.TemporaryDirectory(prefix="scmvp-r-") as folder:
        request, result = Path(folder, "request.rds"), Path(folder, "result.rds")
        with open(request, "wb", buffering=2**20) as file:
            rserial.dump({"verb": verb, "arguments": arguments}, file)
        run(request, result, say)
        with open(result, "rb", buffering=2**20) as file:
            try:
                outcome = rserial.load(file)
                if not isinstance(outcome, dict):
                    raise ValueError("it is no list")
            except ValueError as error:
                raise RError(f"the answer of R cannot be read ({error}); run it again") from error
    for sentence in outcome.get("warnings") or []:
        warnings.warn(_one_line(sentence), InputNote, stacklevel=_levels_to_caller())
    if "error" in outcome:
        _raise(outcome["error"][0], outcome["class"])
    return outcome["value"]


def _levels_to_caller() -> int:
    """Frames from a function of this module to the code that called the package."""
    package, level = str(Path(__file__).parent), 1
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level


def _raise(sentence: str, classes: list[str]) -> None:
    if "scmvp_error_input" in classes:
        raise InputError(_one_line(sentence))
    if any(name.startswith("scmvp_error") for name in classes):
        raise RError(_one_line(sentence))
    raise RError(f"R failed: {_one_line(sentence)}")


def _one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text).strip()


def _engine(name: str) -> Callable[[Path, Path, Say], None]:
    if name not in ENGINES:
        raise InputError(f"engine must be one of {', '.join(map(repr, ENGINES))}, not '{name}'")
    if name == "rpy2" or (name == "auto" and find_rscript() is None and _rpy2_finds_r()):
        return _inside
    return _process


# ---- a process -----------------------------------------------------------------------------------


def find_rscript() -> str | None:
    """Rscript: of SCMVP_RSCRIPT, of R_HOME, or on the PATH; None where there is none."""
    named = os.environ.get("SCMVP_RSCRIPT")
    if named:
        return shutil.which(named)
    home = os.environ.get("R_HOME")
    return (home and shutil.which("Rscript", path=f"{home}/bin")) or shutil.which("Rscript")


def _process(request: Path, result: Path, say: Say) -> None:
    rscript = find_rscript()
    if rscript is None:
        named = os.environ.get("SCMVP_RSCRIPT")
        where = f"SCMVP_RSCRIPT={named} cannot be run" if named else "there is no Rscript on PATH"
        raise RError(
            f"R is needed and was not found ({where}); install R 4.2 or later, or set "
            "SCMVP_RSCRIPT to its Rscript"
        )
    process = subprocess.Popen(
        [rscript, str(_SCRIPT), str(request), str(result), str(_SCRIPT.parent)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_environment(),
        text=True,
        encoding="utf-8",
        errors="replace",
        # A group of its own: Ctrl-C reaches Python alone, which then ends R and its workers.
        start_new_session=True,
    )
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    assert process.stderr is not None
    try:
        with process.stderr:
            for line in process.stderr:
                last.append(line.rstrip())
                say(line.rstrip())
        status = process.wait()
    except BaseException:
        _end(process)
        raise
    if status != 0 or not result.exists():
        told = next((line for line in reversed(last) if line.strip()), "it said nothing")
        if status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
            if -status == getattr(signal, "SIGKILL", None):
                how += ", most often for lack of memory"
        else:
            how = f"ended with status {status}"
        raise RError(f"R ({rscript}) {how}: {told}")


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    # Names beyond ASCII need a locale that has them.
    locale = next(
        (environment[k] for k in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(k)), "C"
    )
    if "utf" not in locale.lower():
        environment.pop("LC_ALL", None)
        environment["LC_CTYPE"] = "C.UTF-8"
    return environment


def _end(process: subprocess.Popen) -> None:
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        try:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, number)
            else:
                process.terminate()
        except ProcessLookupError:
            pass
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            continue
        if number != signal.SIGTERM:
            return


# ---- rpy2 ----------------------------------------------------------------------------------------

# says on standard error that there is no R, which is in our sentence
logging.getLogger("rpy2.situation").addHandler(logging.NullHandler())

_rinterface: Any = None  # once R is started
_answer: Any = None


def _inside(request: Path, result: Path, say: Say) -> None:
    global _answer
    rinterface = _start_rpy2()
    from rpy2.rinterface_lib import callbacks

    before = callbacks.consolewrite_warnerror
    callbacks.consolewrite_warnerror = lambda text: say(text.rstrip()) if text.strip() else None
    try:
        with _interrupts_end_r():
            if _answer is None:
                _answer = _answer_of(rinterface)
            paths = [rinterface.StrSexpVector([str(path)]) for path in (request, result)]
            _answer(*paths)
    except rinterface.embedded.RRuntimeError as error:
        raise RError(f"R failed: {_one_line(str(error))}") from error
    finally:
        callbacks.consolewrite_warnerror = before


def _answer_of(rinterface: Any) -> Any:
    """The function of `bridge.R`."""
    code = rinterface.StrSexpVector([_SCRIPT.read_text(encoding="utf-8")])
    base = rinterface.baseenv
    room = base["new.env"]()
    folder = rinterface.StrSexpVector([str(_SCRIPT.parent)])
    base["assign"](rinterface.StrSexpVector(["scmvp_inside"]), True, envir=room)
    base["assign"](rinterface.StrSexpVector(["scmvp_folder"]), folder, envir=room)
    return base["eval"](base["parse"](text=code, **{"keep.source": False}), room)


@contextmanager
def _interrupts_end_r() -> Iterator[None]:
    """Call the caller's handler of Ctrl-C while R runs; what it raises ends R and is raised then.

    Without this it is raised in a callback of rpy2, which most often loses it.
    """
    handler = signal.getsignal(signal.SIGINT)
    # a signal that is ignored, or ends the process, needs no help; other threads get none
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    from rpy2.rinterface_lib import openrlib

    pending = "UserBreak" if os.name == "nt" else "R_interrupts_pending"
    raised: list[BaseException] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as error:
            raised.append(error)
            setattr(openrlib.rlib, pending, 1)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if raised:
            setattr(openrlib.rlib, pending, 0)  # R may have ended before it saw it
            raise raised[0] from None


def _start_rpy2() -> Any:
    global _rinterface
    if _rinterface is not None:
        return _rinterface
    handler = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            # Starting R redefines environment variables; rpy2 warns of each.
            warnings.simplefilter("ignore")
            from rpy2 import rinterface

            rinterface.initr()
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # missing, no R, or versions that do not go together
        raise _cannot_be_loaded(error) from error
    finally:
        # rpy2 puts the default in the place of the caller's handler
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
    _rinterface = rinterface
    return rinterface


def _cannot_be_loaded(error: BaseException) -> RError:
    if _has_rpy2() and not _rpy2_finds_r():
        return RError(
            "R is needed and was not found (there is no R on PATH); install R 4.2 or later, or put "
            "the folder of its program R on PATH"
        )
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return RError(
        f"the Python package rpy2{_rpy2_version()} cannot be loaded ({reason}); install one "
        f"that goes with your R ({sys.executable} -m pip install 'rpy2==3.5.17' for R before "
        "4.5, 'rpy2>=3.6' from 4.5 on), or use engine='process' with Rscript on the PATH, "
        "which needs no rpy2"
    )


def _has_rpy2() -> bool:
    from importlib.util import find_spec

    return sys.modules.get("rpy2", "") is not None and find_spec("rpy2") is not None


def _rpy2_finds_r() -> bool:
    if not _has_rpy2():
        return False
    from rpy2 import situation

    return situation.get_r_home() is not None


def _rpy2_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f" {version('rpy2')}"
    except PackageNotFoundError:
        return ""


def _print(line: str) -> None:
    print(line, file=STANDARD_ERROR, flush=True)


def _say_nothing(line: str) -> None:
    pass
