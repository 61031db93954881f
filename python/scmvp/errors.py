"""What scMVP raises when the input, not the program, is wrong."""


class InputError(ValueError):
    """One sentence: what is wrong, where, and what to do. Nothing has been written or changed."""


class ModelFileError(InputError):
    """A saved model cannot be read: another format version, missing parts or other shapes."""


class InputNote(UserWarning):
    """Something that was decided about the input and that its owner should know."""
