"""One R for the calls of many tests: packages of R load for seconds."""

from __future__ import annotations

import subprocess
from pathlib import Path

from scmvp.r import rengine

_END = "<answered>"
_LOOP = f"""
room <- new.env()
room$scmvp_inside <- TRUE
room$scmvp_folder <- "{rengine._SCRIPT.parent}"
answer <- eval(parse("{rengine._SCRIPT}", keep.source = FALSE), room)
input <- file("stdin", "r")
while (length(code <- readLines(input, 1)) > 0) {{
  eval(parse(text = code), new.env())
  cat("\\n{_END}\\n")
}}
"""


class KeptR:
    """Rscript that goes on; `run` is an engine of `rengine`, as its own process and rpy2 are."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [rengine.find_rscript() or "Rscript", "-e", _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=rengine._environment(),
            encoding="utf-8",
        )

    def run(self, request: Path, result: Path, say: rengine.Say) -> None:
        """Answer a request of `rengine`."""
        self.eval(f'setwd("{Path.cwd()}"); answer("{request}", "{result}")')

    def eval(self, code: str) -> str:
        """What a line of R prints."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.rstrip() == _END:
                return "".join(lines).strip()
            lines.append(line)
        raise AssertionError(f"R has ended: {''.join(lines)}")

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()
