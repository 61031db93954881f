"""The paths of a command: what it reads, and whether what it writes has a place beside that."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from .data.formats import files_read, fragments_beside
from .errors import InputError
from .files import as_path, refuse_source, writable
from .outputs import INFO_FILE, files_of_model, refuse_output_folder
from .several import WORDS_OF_PEAKS, named_paths

# What the commands write into their file; that of join is a MuData.
WRITTEN = {
    "embed": "CSV", "clusters": "CSV", "differential": "CSV", "impute": "HDF5", "report": "HTML",
}  # fmt: skip


def output_file(arguments: argparse.Namespace) -> Path:
    """`--out` of a command that writes a file.

    Raises:
        InputError: It cannot be made there, or would replace what the command reads.
    """
    out = as_path(arguments.out)
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file")
    return writable(out, _sources(arguments), WRITTEN.get(arguments.command))


def result_folder(arguments: argparse.Namespace) -> Path:
    """The folder of a fit that a command reads."""
    folder = as_path(arguments.result)
    if not (folder / "model" / INFO_FILE).is_file():
        raise InputError(
            f"'{folder}' has no model/model.json; give the folder that scmvp fit wrote, not its "
            "model"
        )
    return folder


def output_folder(arguments: argparse.Namespace) -> Path:
    """`--out` of a fit; its checkpoint is checked, too.

    Raises:
        InputError: One of them cannot be made there, or would replace something else.
    """
    out, sources = as_path(arguments.out).resolve(), _sources(arguments)
    refuse_output_folder(out, arguments.overwrite)
    refuse_source(out, sources)
    if arguments.checkpoint is None:
        return out
    checkpoint = as_path(arguments.checkpoint)
    if out in (checkpoint.resolve(), *checkpoint.resolve().parents):
        raise InputError(
            f"--checkpoint {checkpoint} is inside --out {out}, which is written as a whole; name a "
            "file outside of it"
        )
    from .fit.checkpoint import refuse_other_file  # with PyTorch, which is there by now

    refuse_other_file(writable(checkpoint, sources))
    return out


def _sources(arguments: argparse.Namespace) -> list[Path]:
    """All files that a command reads, and each zarr."""
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    samples = _listed(given.get("samples", [])) + ([given["input"]] if "input" in given else [])
    found = [file for path in samples for file in files_read(as_path(path))]
    if "fragments" in given:
        files = _listed(given["fragments"])
        found += map(as_path, files)
        for path in samples if not files else ():
            with suppress(InputError):  # a sample without peaks needs none
                found.append(fragments_beside(as_path(path)))
    if "model" in given:
        found += files_of_model(as_path(given["model"]))
    if "result" in given:
        result = as_path(given["result"])
        found += [result / "latent.csv", *files_of_model(result / "model")]
    if given.get("peaks") in WORDS_OF_PEAKS:
        del given["peaks"]
    tables = ("labels", "features", "cells", "peaks")
    return found + [as_path(given[name]) for name in tables if name in given]


def _listed(samples: list[str]) -> list[str]:
    """Paths of [NAME=]PATH."""
    named = named_paths(samples)
    return [*named.values()] if isinstance(named, dict) else named
