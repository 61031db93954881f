"""A training that can be taken up again: all its state in one file, without pickles."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..data.names import note
from ..errors import InputError, first_line
from ..files import whole_file
from ..nn.batches import Cells
from ..nn.distributed import ranks
from ..words import count_of

if TYPE_CHECKING:
    from .training import Trainer

_KIND = "scmvp-checkpoint-"  # of any version
FORMAT = f"{_KIND}7"
_RESPONSIBILITIES = "shares"  # the name of their tensor in a checkpoint
_PLACE = "place of the counts"


class Checkpoint:
    """The file of one training."""

    def __init__(self, path: Path, identity: dict[str, str]):
        """Name it.

        Args:
            path: Where it is, or will be.
            identity: By which it can be told that it is of these cells, features and batches.
        """
        self.path, self.identity = path, identity
        self._training: dict[str, Any] = {}  # its identity, as in the file
        self._said = False

    def load(self, trainer: Trainer) -> None:
        """Put a trainer where the one was that wrote the file, if it is there.

        Raises:
            InputError: Not a checkpoint, damaged, or of a training on other cells or with other
                options.
        """
        self._training = self._identity(trainer)
        if self.path.exists():
            _load(self.path, trainer, self._training)

    def save(self, trainer: Trainer) -> None:
        """Write the state after an epoch; an earlier one is replaced as a whole.

        Where it cannot be written, or meanwhile another training writes it, that is said once and
        training goes on.
        """
        try:
            if self._is_of_another():
                self._say_once(
                    f"meanwhile another program has written '{self.path}', which stays as it is; "
                    "training goes on without a checkpoint: give each training a file of its own"
                )
            else:
                _save(self.path, trainer, self._training)
        except OSError as error:
            why = error.strerror or first_line(error)
            self._say_once(
                f"checkpoint '{self.path}' cannot be written ({why}); training goes on, and "
                "each further epoch tries again"
            )

    def delete(self) -> None:
        """Delete the file, unless another training has written it; of several processes, once."""
        if ranks().rank == 0 and not self._is_of_another():
            self.path.unlink(missing_ok=True)

    def _is_of_another(self) -> bool:
        """Whether the file is there and not of this training."""
        try:
            about = json.loads(_metadata(self.path).get("scmvp", "{}"))
            return about.get("training") != self._training
        except FileNotFoundError:
            return False
        except (ValueError, AttributeError):
            return True

    def _say_once(self, sentence: str) -> None:
        if not self._said:
            note(sentence)
        self._said = True

    def _identity(self, trainer: Trainer) -> dict[str, Any]:
        """What must be the same for a training to go on."""
        cells = self.identity | {
            "number of cells": len(trainer.cells),
            "number of features": [len(layer.bias) for layer in trainer.module.outputs()],
            "number of clusters": trainer.module.n_clusters_given,
            _PLACE: _place(trainer.cells),
        }
        options = dataclasses.asdict(trainer.module.options) | dataclasses.asdict(trainer.options)
        return json.loads(json.dumps(cells | options, default=_plain))


def _place(cells: Cells) -> str:
    """Where the counts are; minibatches depend on it, and for counts on disk on the processes."""
    if not cells.on_disk:
        return "in memory (backed=False)"
    return f"on disk (backed=True), read by {count_of(cells.ranks.world, 'process')}"


def _save(path: Path, trainer: Trainer, identity: dict[str, Any]) -> None:
    tensors = {f"module.{name}": value for name, value in trainer.module.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (trainer.best or {}).items()}
    for i, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": value for name, value in state.items()}
    if trainer.responsibilities is not None:
        tensors[_RESPONSIBILITIES] = torch.from_numpy(trainer.responsibilities)
    tensors["random.cpu"] = torch.get_rng_state()
    if trainer.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(trainer.device)
    about = {
        "format": FORMAT,
        "training": identity,
        "result": dataclasses.asdict(trainer.result),
        "progress": list(trainer.progress),
        "shuffler": trainer.shuffler.bit_generator.state,
    }
    tensors = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    text = json.dumps(about)
    with whole_file(path) as partial:
        try:
            save_file(tensors, partial, {"scmvp": text, "sha256": _digest(text, tensors)})
        except SafetensorError as error:
            raise OSError(first_line(error)) from error


def refuse_other_file(path: Path) -> None:
    """Refuse a file that is there and is no checkpoint of this version: by its header alone.

    Raises:
        InputError: What it is, if it may be deleted or not.
    """
    try:
        text = _metadata(path).get("scmvp", "") if path.exists() else FORMAT
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be read as a checkpoint ({error.strerror}); name another file"
        ) from error
    if _KIND not in text:
        raise InputError(f"'{path}' is not a checkpoint of scMVP; name another file")
    if FORMAT not in text:
        raise InputError(
            f"'{path}' is not a checkpoint of this version of scMVP; name another file, or delete "
            "it to train anew"
        )


def _metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a file of tensors; none of any other file."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        content = file.read(size) if size <= path.stat().st_size else b""
    try:
        known = json.loads(content).get("__metadata__", {})
        return {name: text for name, text in known.items() if isinstance(text, str)}
    except (ValueError, AttributeError, RecursionError):
        return {}


def _load(path: Path, trainer: Trainer, ours: dict[str, Any]) -> None:
    refuse_other_file(path)
    try:
        with safe_open(path, "pt") as file:
            known = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = known["scmvp"]
        if known["sha256"] != _digest(text, tensors):
            raise ValueError("its content has changed")
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(
            f"'{path}' is a damaged checkpoint ({first_line(error)}); delete it to train anew"
        ) from error
    about = json.loads(text)
    theirs = about["training"]
    if odd := sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name)):
        where = f", whose counts were {theirs.get(_PLACE)}," if _PLACE in odd else ""
        raise InputError(
            f"'{path}' belongs to another training ({', '.join(odd)} differ); repeat the call of "
            f"that training{where} or delete the file to train anew"
        )
    if trainer.module.n_clusters_given is None:
        trainer.set_n_clusters(len(tensors["module.prior.mean"]))
    trainer.module.load_state_dict(_part(tensors, "module."))
    trainer.best = _part(tensors, "best.") or None
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer.").items():
        i, _, kind = name.partition(".")
        states.setdefault(int(i), {})[kind] = value
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": states, "param_groups": groups})
    kept = tensors.get(_RESPONSIBILITIES)
    trainer.responsibilities = None if kept is None else kept.numpy()
    trainer.result = type(trainer.result)(**about["result"])
    trainer.progress = type(trainer.progress)(*about["progress"])
    trainer.shuffler.bit_generator.state = about["shuffler"]
    torch.set_rng_state(tensors["random.cpu"])
    if trainer.device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], trainer.device)


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        values = tensors[name].contiguous()
        found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        found.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
