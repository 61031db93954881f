"""The command line: calls of it in this process, and the environment of other ones."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import subprocess
from pathlib import Path

import scmvp
from scmvp import cli

SOURCE = Path(scmvp.__file__).parents[1]
FIT = ("--max-epochs", "3", "--n-clusters", "3", "--threads", "1")


def environment(**more: str) -> dict[str, str]:
    """That of a process that imports the scmvp of this one."""
    return os.environ | {"PYTHONPATH": str(SOURCE)} | more


@dataclasses.dataclass
class Result:
    returncode: int | str | None
    stdout: str
    stderr: str


def run(*arguments: object) -> Result:
    """The command line in this process: a new one spends seconds on imports."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            status = exit_.code
    return Result(status, stdout.getvalue(), stderr.getvalue())


def assert_refused(result: Result | subprocess.CompletedProcess, *words: str) -> None:
    """In one line that has the words, with status 2."""
    assert result.returncode == 2
    assert result.stdout == ""
    stages = ("loading ", "reading ", "checking ")  # which a slow machine gets to see
    said = [line for line in result.stderr.strip().splitlines() if not line.startswith(stages)]
    assert len(said) == 1, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
