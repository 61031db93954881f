"""One model in a process of its own, driven by another program: how R runs the core beside itself.

A request is a line on standard input that names a JSON file, `{"do": ..., "tell": ..., ...}`;
matrices are raw files beside it. Standard output has one line of JSON per event: `{"note": ...}`
for a warning, with `tell` also `{"stage": {...}}` (module `progress`) and `{"epoch": {...}}` while
training, and `{"done": FILE}` or `{"failed": {...}}` at the end of a request, where FILE is JSON
again. What other code prints goes to standard error. When standard input ends,
so does the process, in the middle of a training too. SIGINT ends a training with the best state so
far, and any other request as failed.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

import scmvp
from scmvp.errors import InputNote

from .data.matrices import entries_once
from .r import differential
from .r.tables import table_columns


class Worker:
    """Answers requests one after another; holds at most one model."""

    def __init__(self, events: TextIO):
        self._events = events
        self._model: Any = None
        self._tells = False
        self._interruptible, self._interrupted = False, False

    def say(self, **event: Any) -> None:
        """One line to whoever drives us, whole: an interrupt waits until it is said."""
        may, self._interruptible = self._interruptible, False
        print(json.dumps(plain(event)), file=self._events, flush=True)
        self._interruptible = may
        if may and self._interrupted:
            self.interrupt()

    def interrupt(self, *_: Any) -> None:
        """What SIGINT does: it ends what is being computed."""
        self._interrupted = True
        if self._interruptible:
            self._interruptible = False
            raise KeyboardInterrupt

    def answer(self, request: Path) -> None:
        """Carry out one request and say how it went; nothing but the end of the process escapes."""
        try:
            self._answer(request)
        except KeyboardInterrupt as error:  # it came in the moment in which something else failed
            self._fail(error)

    def _answer(self, request: Path) -> None:
        try:
            arguments = json.loads(request.read_text())
            verb = VERBS[arguments.pop("do")]
            self._tells = arguments.pop("tell", False)
            self._interruptible, self._interrupted = True, False
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("default", UserWarning)
                warnings.showwarning = self._note
                answer = verb(self, **arguments)
            self._interruptible = False
            reply = request.with_suffix(".reply")
            reply.write_text(json.dumps(plain(answer)))
            self.say(done=str(reply))
        except BaseException as error:  # noqa: B902 - also KeyboardInterrupt and SystemExit
            self._interruptible = False
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.say(
            failed={
                "type": type(error).__name__,
                "message": message_of(error),
                "traceback": traceback.format_exc(),
            }
        )

    def _note(self, message: Warning | str, category: type[Warning], *_: Any) -> None:
        if category in (UserWarning, InputNote):
            self.say(note=str(message))

    @property
    def _progress(self) -> Callable[[dict[str, Any]], None] | bool:
        return (lambda stage: self.say(stage=stage)) if self._tells else False

    # ---- the verbs

    def read(self, path: str, out: str, **options: Any) -> dict[str, Any]:
        """Paired cells of a file or folder; counts and names go to files in `out`."""
        return write_cells(scmvp.read(path, progress=self._progress, **options), Path(out))

    def simulate(self, out: str, **options: Any) -> dict[str, Any]:
        """Simulated cells, and what is true of them."""
        mdata = scmvp.simulate(**options)
        folder = Path(out)
        truth: dict[str, Any] = {
            "types": list(mdata.uns["types"]),
            "links": write_table(mdata.uns["links"], folder / "links"),
        }
        for name, adata in mdata.mod.items():
            profile = np.asarray(adata.varm["true_profile"], np.float64)
            truth[name] = {
                "file": _write(folder / f"{name}.profile", profile.T),
                "dim": list(profile.shape),
                "features": write_names(adata.var_names, folder / f"{name}.profiled"),
            }
        return write_cells(mdata, folder) | {"truth": truth}

    def build(
        self, rna: dict, atac: dict, obs: dict | None = None, **options: Any
    ) -> dict[str, Any]:
        """Make a model of these cells, untrained; `obs` has the columns of their batches."""
        self._model = scmvp.SCMVP(_mudata(rna, atac, obs), **options)
        return {"account": self._model.account} | self._features()

    def load(self, folder: str) -> dict[str, Any]:
        """Take a saved model."""
        self._model = scmvp.SCMVP.load(folder)
        return self._features()

    def train(self, **options: Any) -> dict[str, Any]:
        """Fit it."""
        callback = (lambda epoch: self.say(epoch=epoch)) if self._tells else None
        self._model.train(callback=callback, progress=self._progress, **options)
        return {"interrupted": self._model.interrupted}

    def fitted(self, latent: str, probabilities: str) -> dict[str, Any]:
        """What came of it; the two matrices go to these files."""
        model = self._model
        return {
            "latent": write_matrix(latent, model.get_latent_representation()),
            "probabilities": write_matrix(probabilities, model.predict_proba()),
            "history": model.history,
            "summary": model.summary(),
        }

    def embed(
        self, rna: dict, atac: dict, modality: str, latent: str, obs: dict | None = None
    ) -> dict[str, Any]:
        """Latent of other cells."""
        cells = _mudata(rna, atac, obs)
        values = self._model.get_latent_representation(cells, modality, self._progress)
        return {"latent": write_matrix(latent, values)}

    def responsibilities(self, latent: dict, probabilities: str) -> dict[str, Any]:
        """p(c|z) of points of the latent."""
        values = self._model.responsibilities(read_matrix(latent))
        return {"probabilities": write_matrix(probabilities, values)}

    def decode(self, latent: dict, values: str, **options: Any) -> dict[str, Any]:
        """Imputed profiles of points of the latent, cells x features."""
        return {"values": write_matrix(values, self._model.decode(read_matrix(latent), **options))}

    def decode_to_file(self, latent: dict, **options: Any) -> dict[str, Any]:
        """The same into HDF5."""
        self._model.decode_to_file(latent=read_matrix(latent), progress=self._progress, **options)
        return {}

    def differential(
        self,
        rna: dict,
        atac: dict,
        labels: str,
        table: str,
        obs: dict | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Differential features between groups, into a CSV file; an empty label is none."""
        cells = _mudata(rna, atac, obs)
        return differential.to_file(self._model, table, cells, _lines(labels), **options)

    def save(self, folder: str) -> dict[str, Any]:
        """The model as a folder."""
        self._model.save(folder)
        return {}

    def _features(self) -> dict[str, Any]:
        model = self._model
        features = {"genes": model.genes.tolist(), "peaks": model.peaks.tolist()}
        return features | {"batch": model.batch_levels}


VERBS: dict[str, Callable[..., dict[str, Any]]] = {
    verb.__name__: verb
    for verb in (
        Worker.read, Worker.simulate, Worker.build, Worker.load, Worker.train, Worker.fitted,
        Worker.embed, Worker.responsibilities, Worker.decode, Worker.decode_to_file,
        Worker.differential, Worker.save,
    )
}  # fmt: skip


def message_of(error: BaseException) -> str:
    """The sentence of an error; of a failure of the system, with the file it is about."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def plain(value: Any) -> Any:
    """A value that every JSON parser takes: no NumPy types, no NaN (null instead)."""
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_matrix(path: str, values: np.ndarray) -> dict[str, Any]:
    """A matrix as raw float32, column after column, as R keeps its matrices."""
    np.asarray(values, dtype=np.float32).T.tofile(path)
    return {"file": path, "dim": list(values.shape)}


def read_matrix(at: dict[str, Any]) -> np.ndarray:
    """A matrix of doubles that R has written."""
    rows, columns = at["dim"]
    return np.fromfile(at["file"]).reshape(columns, rows).T


def write_cells(mdata: Any, folder: Path) -> dict[str, Any]:
    """Paired cells as files: the parts of each CSR matrix, names, and the columns of the tables."""
    written: dict[str, Any] = {"obs": write_table(mdata.obs, folder / "obs")}
    for name, adata in mdata.mod.items():
        matrix = entries_once(adata.X)
        parts = {"x": np.float64, "i": np.int32, "p": np.int32}
        vectors = (matrix.data, matrix.indices, matrix.indptr)
        files = {
            part: _write(folder / f"{name}.{part}", np.asarray(vector, kind))
            for (part, kind), vector in zip(parts.items(), vectors, strict=True)
        }
        written[name] = files | {
            "cells": write_names(adata.obs_names, folder / f"{name}.cells"),
            "features": write_names(adata.var_names, folder / f"{name}.features"),
            "var": write_table(adata.var, folder / f"{name}.var"),
        }
    return written


def write_table(frame: pd.DataFrame, path: Path) -> dict[str, Any]:
    """A table column by column, each of a kind that R knows; missing values are None."""
    return {"index": write_names(frame.index, path), "columns": table_columns(frame)}


def write_names(names: Any, path: Path) -> str:
    """One name a line."""
    text = "".join(f"{name}\n" for name in names)
    path.write_text(text, encoding="utf-8", newline="\n")
    return str(path)


def _write(path: Path, values: np.ndarray) -> str:
    values.tofile(path)
    return str(path)


def _mudata(rna: dict[str, Any], atac: dict[str, Any], obs: dict | None = None) -> Any:
    return scmvp.from_parts(
        rna=_parts(rna), atac=_parts(atac), cells=_lines(rna["cells"]),
        genes=_lines(rna["features"]), peaks=_lines(atac["features"]), obs=obs,
    )  # fmt: skip


def _parts(at: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kind = at.get("type", "float64")  # whatever holds the values exactly
    files = [(at["x"], kind), (at["i"], "int32"), (at["p"], "int32")]
    data, indices, indptr = (np.fromfile(path, kind) for path, kind in files)
    for path, _ in files:  # a copy on disk of all counts is not needed any more
        os.unlink(path)
    return data, indices, indptr


def _lines(path: str) -> list[str]:
    # not splitlines(), which also splits at characters that a name may have
    return Path(path).read_text(encoding="utf-8").split("\n")[:-1]


def main() -> int:
    """Answer the requests on standard input until it ends."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not look like an event
    worker = Worker(events)
    signal.signal(signal.SIGINT, worker.interrupt)  # also where a shell's & has it ignored
    requests: queue.Queue[Path] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    worker.say(ready={"pid": os.getpid(), "version": scmvp.__version__, "python": sys.executable})
    while True:
        worker.answer(requests.get())


def _listen(requests: queue.Queue[Path]) -> None:
    for line in sys.stdin:
        requests.put(Path(line.rstrip("\n")))
    os._exit(0)  # whoever drove us is gone


if __name__ == "__main__":
    sys.exit(main())
