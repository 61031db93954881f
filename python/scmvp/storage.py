"""A fitted model on disk: weights in safetensors, everything else in JSON, no pickles.

The JSON has a digest of the weights and one of itself, so that neither can change unseen.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_in
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from .errors import InputError, ModelFileError, first_line, is_of_memory
from .files import as_path, json_text, one_writer, plain, whole_file
from .modalities import MODALITIES, PAIR
from .outputs import INFO_FILE, WEIGHTS_FILE, new_weights
from .version import __version__
from .words import count_of

FORMAT = "scmvp-model"
FORMAT_VERSION = 7
READABLE_VERSIONS = (3, 4, 5, 6, FORMAT_VERSION)  # 3 has no digest of the JSON
DIGEST = "content_sha256"
INFO_KEYS = (
    "summary", "preset", "account", "model_options", "training_options",
    "training", "layers", "covariates", "weights_sha256",
)  # fmt: skip

_RENAMED = (
    (r"^read_(rna|atac)\.", r"readers.\1."),
    (r"^encoder_(joint|rna|atac)\.", r"encoders.\1."),
    (r"^decoder_(rna|atac)\.", r"decoders.\1."),
    (r"^log_theta$", "dispersions.rna"),
    (r"^log_dispersion$", "dispersions.atac"),
    (r"^zero_head\.", "zero_heads.atac."),
    (r"^readers\.methylation\.likeness$", "readers.methylation.correlation"),
)


def versions() -> dict[str, str]:
    """Versions of what computed the result."""
    found = {"python": platform.python_version()}
    for package in ("torch", "numpy", "scipy", "scikit-learn"):
        found[package] = version(package)
    return {"scmvp": __version__} | found


def save(
    directory: str | os.PathLike,
    weights: dict[str, Tensor],
    info: dict[str, Any],
    overwrite: bool,
) -> None:
    """Write both files; whatever ends it on the way leaves the old model or the new one.

    Until `model.json` is the new one, the new weights have a name of their own, under which they
    are found if this is as far as it came.
    """
    directory = as_path(directory)
    if directory.exists() and not directory.is_dir():
        raise InputError(f"'{directory}' is a file; give a folder to save the model in")
    if not overwrite and (directory / INFO_FILE).exists():
        raise InputError(
            f"'{directory}' holds a model already; name another folder, or set overwrite to "
            "replace it"
        )
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    content = to_bytes(weights)
    sha256 = hashlib.sha256(content).hexdigest()
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, "weights_sha256": sha256}
    with one_writer(directory):
        with whole_file(directory / new_weights(sha256)) as partial:
            partial.write_bytes(content)
        with whole_file(directory / INFO_FILE) as partial:
            text = json_text(signed(plain(header | info | header)), indent=1)
            partial.write_text(text, encoding="utf-8")
        os.replace(directory / new_weights(sha256), directory / WEIGHTS_FILE)
        for orphan in directory.glob(new_weights("[0-9a-f]*")):
            orphan.unlink(missing_ok=True)


def signed(info: dict[str, Any]) -> dict[str, Any]:
    """The same with a digest of all of it, however it is laid out."""
    content = {name: value for name, value in info.items() if name != DIGEST}
    return content | {DIGEST: _digest(content)}


def _digest(content: dict[str, Any]) -> str:
    plain = json.loads(json.dumps(content))  # keys are text, tuples are lists
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


@contextmanager
def damage_reported(directory: str | os.PathLike) -> Iterator[None]:
    """What a damaged model file makes fail inside, as one sentence."""
    try:
        yield
    except Exception as error:  # a dozen kinds, depending on what is damaged
        if isinstance(error, ModelFileError) or is_of_memory(error):
            raise
        path = as_path(directory) / INFO_FILE
        reason = str(error) if isinstance(error, InputError) else type(error).__name__
        raise ModelFileError(f"'{path}' is damaged ({reason}); save the model again") from error


def load_info(directory: str | os.PathLike) -> dict[str, Any]:
    """`model.json` of a saved model.

    Raises:
        ModelFileError: Missing, not JSON, not a model of this format version.
    """
    path = as_path(directory) / INFO_FILE
    if not path.is_file():
        raise ModelFileError(f"'{directory}' has no {INFO_FILE}; give the folder of a saved model")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileError(f"'{path}' cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ModelFileError(f"'{path}' is not readable JSON; save the model again") from None
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise ModelFileError(f"'{path}' is not a scMVP model; give the folder of a saved model")
    given = info.get("format_version")
    if given not in READABLE_VERSIONS:
        raise ModelFileError(
            f"'{path}' has model format version {str(given)[:40]}, this scmvp reads versions "
            f"{READABLE_VERSIONS[0]} to {FORMAT_VERSION}; use the scmvp that wrote it or fit again"
        )
    stored = info
    if given < 6:
        info = {"modalities": [*PAIR]} | info
    features = [MODALITIES[name].features for name in _known(info.get("modalities"))]
    needed = (*INFO_KEYS, "modalities", *features, *([DIGEST] if given > 3 else []))
    needed += ("tree",) if given > 6 else ()
    if missing := [name for name in needed if name not in info]:
        raise ModelFileError(f"'{path}' lacks {', '.join(missing)}; save the model again")
    if DIGEST in info and info[DIGEST] != signed(stored)[DIGEST]:
        raise ModelFileError(
            f"'{path}' is damaged or was changed after the model was saved; save the model again"
        )
    return _as_now(info) if given < FORMAT_VERSION else info


def _as_now(info: dict[str, Any]) -> dict[str, Any]:
    """With the fields that came later: zeros were never sampled, clusters were components."""
    account = info["account"]
    clusters = account.get("n_clusters") if isinstance(account, dict) else None
    for part, name, value in (
        ("training_options", "zeros", "exact"),
        ("training", "features_per_step", {}),
        ("account", "n_components", clusters),
    ):
        if isinstance(info[part], dict):
            info[part] = {name: value} | info[part]
    return {"tree": None} | info


def _known(names: Any) -> list[str]:
    """Those of some names that are modalities, each once."""
    strings = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return [name for name in dict.fromkeys(strings) if name in MODALITIES]


def modalities_in(info: dict[str, Any], directory: str | os.PathLike) -> list[str]:
    """The modalities of a model, in their order.

    Raises:
        ModelFileError: One is not known here.
    """
    names = info["modalities"]
    if not names or names != _known(names):
        raise ModelFileError(
            f"the model in '{directory}' is of modalities {names!r}, this scmvp knows "
            f"{', '.join(MODALITIES)}; use the scmvp that wrote it or fit again"
        )
    return names


def threads_of(account: dict[str, Any], directory: str | os.PathLike) -> int | None:
    """On how many threads the model was fitted, or as many of these as there are CPUs here."""
    threads = account.get("threads")
    if threads is None:  # of a model saved before this was kept
        return None
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ModelFileError(
            f"the model in '{directory}' is damaged: its number of threads is {threads!r}; save "
            "the model again"
        )
    return min(threads, os.cpu_count() or 1)


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


def names_in(info: dict[str, Any], what: str) -> np.ndarray:
    """The names under 'genes' or the like of a model, each once; see `damage_reported`."""
    names = info[what]
    if not _are_names(names):
        raise InputError(f"its {what} are not names")
    if len(set(names)) < len(names):
        raise InputError(f"it has {what} twice")
    return np.asarray(names, dtype=str)


def gene_ids_in(info: dict[str, Any]) -> np.ndarray | None:
    """The ids of the genes of a model; None where it has none, as before they were kept."""
    ids = info.get("gene_ids")
    if ids is None:
        return None
    if not _are_names(ids) or len(ids) != len(info.get("genes", ())):
        raise InputError("its gene_ids are not those of its genes")
    return np.array(ids, dtype=object)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def read_weights(directory: str | os.PathLike, sha256: str) -> dict[str, Tensor]:
    """The tensors that belong to a `model.json`.

    Raises:
        ModelFileError: Missing or truncated file, or another model's.
    """
    path = Path(directory) / new_weights(str(sha256))
    if not path.is_file():
        path = Path(directory) / WEIGHTS_FILE
    if not path.is_file():
        raise ModelFileError(f"'{directory}' has no {WEIGHTS_FILE}; save the model again")
    try:
        content = path.read_bytes()
        weights = {_as_named_now(name): part for name, part in tensors_in(content).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(
            f"'{path}' is broken or truncated ({first_line(error)}); save the model again"
        ) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelFileError(
            f"'{path}' and its {INFO_FILE} are not of the same model; save the model again"
        )
    return weights


def _as_named_now(name: str) -> str:
    """Of a tensor that an earlier scmvp named otherwise, most of them before version 6."""
    for before, now in _RENAMED:
        if re.match(before, name):
            return re.sub(before, now, name)
    return name


def check_sizes(
    directory: str | os.PathLike, weights: dict[str, Tensor], *products: tuple[int, int]
) -> None:
    """Refuse sizes that these weights cannot have, before a module of these sizes is made.

    Args:
        directory: Folder of the files.
        weights: The tensors.
        products: Sizes of matrices that are among them.
    """
    most = sum(tensor.numel() for tensor in weights.values())
    for rows, columns in products:
        if not 0 < rows * columns <= most:
            raise ModelFileError(
                f"'{Path(directory) / WEIGHTS_FILE}' does not fit its {INFO_FILE}: it has "
                f"{count_of(most, 'number')}, no {rows} x {columns}; save the model again"
            )


def fill(module: nn.Module, weights: dict[str, Tensor], directory: str | os.PathLike) -> None:
    """Fill `module`, which must have exactly these tensors.

    Raises:
        ModelFileError: Other tensors, shapes or types, or values that are not finite.
    """
    path = Path(directory) / WEIGHTS_FILE
    wanted = module.state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        here, there = wanted.get(name), weights.get(name)
        if _form(here) != _form(there):
            raise ModelFileError(
                f"'{path}' does not fit its {INFO_FILE}: {name} is {_form(there)} in the file and "
                f"{_form(here)} in the model; save the model again"
            )
        if there is not None and not torch.isfinite(there).all():
            raise ModelFileError(
                f"'{path}' is damaged: {name} has values that are not finite; save the model again"
            )
    module.load_state_dict(weights)


def _form(tensor: Tensor | None) -> str:
    if tensor is None:
        return "no such tensor"
    return f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
