"""What scMVP raises when the input, not the program, is wrong."""


class InputError(ValueError):
    """One sentence: what is wrong, where, and what to do. Nothing has been written or changed."""


class ModelFileError(InputError):
    """A saved model cannot be read: another format version, missing parts or other shapes."""


class RError(InputError):
    """R, one of its packages or rpy2 is missing or of the wrong version, or R itself failed."""


def first_line(error: BaseException) -> str:
    """The message of a library's error, for the middle of a sentence."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


class InputNote(UserWarning):
    """A decision about the input that the user should know of."""


class LeftOut(InputNote):
    """A part of what was asked for is missing; in R a warning, where others are messages."""
