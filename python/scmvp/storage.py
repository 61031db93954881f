"""A fitted model on disk: weights in safetensors, everything else in JSON, no pickles."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .errors import InputError, ModelFileError

FORMAT = "scmvp-model"
FORMAT_VERSION = 3
INFO_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
INFO_KEYS = (
    "summary", "preset", "account", "genes", "peaks", "model_options", "training_options",
    "training", "layers", "covariates", "weights_sha256",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of what computed the result."""
    found = {"python": platform.python_version()}
    for package in ("torch", "numpy", "scipy", "scikit-learn"):
        found[package] = version(package)
    from . import __version__

    return {"scmvp": __version__} | found


def save(directory: str | os.PathLike, weights: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write both files, each to a temporary name first.

    A crash leaves the old model, the new one, or a pair that `load_weights` refuses.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise InputError(f"'{directory}' is a file; give a folder to save the model in")
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    partial = directory / (WEIGHTS_FILE + ".partial")
    save_file(weights, partial)
    os.replace(partial, directory / WEIGHTS_FILE)
    partial = directory / (INFO_FILE + ".partial")
    header = {"format": FORMAT, "format_version": FORMAT_VERSION}
    header["weights_sha256"] = _sha256(directory / WEIGHTS_FILE)
    partial.write_text(json.dumps(header | info, indent=1))
    os.replace(partial, directory / INFO_FILE)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def damage_reported(directory: str | os.PathLike) -> Iterator[None]:
    """What a damaged model file makes fail inside, as one sentence."""
    try:
        yield
    except InputError:
        raise
    except (AttributeError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        path = Path(directory) / INFO_FILE
        raise ModelFileError(
            f"'{path}' is damaged ({type(error).__name__}); save the model again"
        ) from error


def load_info(directory: str | os.PathLike) -> dict[str, Any]:
    """`model.json` of a saved model.

    Raises:
        ModelFileError: Missing, not JSON, not a model of this format version.
    """
    path = Path(directory) / INFO_FILE
    if not path.is_file():
        raise ModelFileError(
            f"'{directory}' has no {INFO_FILE}; give the folder that save() or 'scmvp fit' made"
        )
    try:
        info = json.loads(path.read_text())
    except (ValueError, RecursionError):
        raise ModelFileError(f"'{path}' is not readable JSON; save the model again") from None
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise ModelFileError(f"'{path}' is not a scMVP model; give a folder that save() made")
    if info.get("format_version") != FORMAT_VERSION:
        raise ModelFileError(
            f"'{path}' has model format version {info.get('format_version')}, this scmvp reads "
            f"version {FORMAT_VERSION}; use the scmvp that wrote it or fit again"
        )
    if missing := [name for name in INFO_KEYS if name not in info]:
        raise ModelFileError(f"'{path}' lacks {', '.join(missing)}; save the model again")
    return info


def options_of(kind: type, values: dict[str, Any], directory: str | os.PathLike) -> Any:
    """A dataclass of options from a model file."""
    known = {field.name for field in dataclasses.fields(kind)}
    if set(values) != known:
        odd = ", ".join(sorted(set(values) ^ known))
        raise ModelFileError(
            f"the model in '{directory}' has other options than this scmvp knows ({odd}); "
            "use the scmvp that wrote it or fit again"
        )
    return kind(**values)


def load_weights(directory: str | os.PathLike, module: nn.Module, sha256: str) -> None:
    """Fill `module`, which must have exactly the tensors of the file.

    Raises:
        ModelFileError: Missing or truncated file, other tensors or other shapes.
    """
    path = Path(directory) / WEIGHTS_FILE
    if not path.is_file():
        raise ModelFileError(f"'{directory}' has no {WEIGHTS_FILE}; save the model again")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"'{path}' is broken or truncated ({error}); save the model again"
        ) from None
    if _sha256(path) != sha256:
        raise ModelFileError(
            f"'{path}' and its {INFO_FILE} are not of the same model; save the model again"
        )
    wanted = module.state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        here, there = wanted.get(name), weights.get(name)
        if here is None or there is None or here.shape != there.shape:
            shapes = ["no such tensor" if t is None else str(tuple(t.shape)) for t in (there, here)]
            raise ModelFileError(
                f"'{path}' does not fit its {INFO_FILE}: {name} is {shapes[0]} in the file and "
                f"{shapes[1]} in the model; save the model again"
            )
    module.load_state_dict(weights)
