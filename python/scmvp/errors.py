"""Errors and warnings of scMVP for invalid input."""


class InputError(ValueError):
    """Invalid input: one sentence states what is wrong, where, and what to do. Nothing changed."""


class ModelFileError(InputError):
    """A saved model cannot be read: another format version, missing parts or other shapes."""


class NotByRows(InputError):
    """A matrix in a file is stored by columns: it has to be read into memory as a whole."""


class RError(InputError):
    """R, an R package or rpy2 is missing or has the wrong version, or R itself failed."""


def first_line(error: BaseException) -> str:
    """The message of a library's error, for the middle of a sentence."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


class InputNote(UserWarning):
    """A decision about the input of which the user should know."""


class LeftOut(InputNote):
    """A part of the result is missing; a warning in R, where other notes are messages."""


def is_of_memory(error: BaseException) -> bool:
    """Whether memory ran out on the CPU or a GPU; detects PyTorch errors without importing it."""
    of_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return of_torch or isinstance(error, MemoryError)
