"""Tables and folders that commands write, and read again."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .errors import InputError
from .files import SUFFIX, json_text, takes_folders
from .modalities import MODALITIES, listed
from .words import count_of

# What `fit` writes; --overwrite replaces a folder that holds nothing else.
FIT_OUTPUTS = {"latent.csv", "clusters.csv", "summary.json", "history.csv", "model"}
REPORT = "report.html"  # and this where it is asked for
INFO_FILE, WEIGHTS_FILE = "model.json", "weights.safetensors"  # of a model
_LEFTOVER = re.compile(rf"[.].*{re.escape(SUFFIX)}|weights[.][0-9a-f]+[.]safetensors")  # of a kill


def refuse_output_folder(out: Path, overwrite: bool) -> None:
    """Say before the fit, not after it, that the results have no place to go."""
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not takes_folders(parent):
        raise InputError(f"{out} cannot be made: {parent} is not a writable folder")
    if not out.exists():
        return
    if out == Path.cwd() or out.is_mount():
        raise InputError(f"{out} cannot be replaced as a whole; name a folder inside it")
    if not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    present = {entry.name for entry in out.iterdir()}
    if present and not overwrite:
        raise InputError(f"{out} is not empty; name another folder or add --overwrite")
    foreign = sorted(present - FIT_OUTPUTS - {REPORT})
    if (out / "model").is_dir():
        foreign += sorted(set(os.listdir(out / "model")) - {INFO_FILE, WEIGHTS_FILE})
    if foreign := [name for name in foreign if not _LEFTOVER.fullmatch(name)]:
        raise InputError(
            f"{out} holds files that scmvp fit did not write, such as '{foreign[0]}'; name another "
            "folder"
        )


def new_weights(sha256: str) -> str:
    """Name of weights that are not yet, or never became, `weights.safetensors`."""
    return f"weights.{sha256}.safetensors"


def files_of_model(folder: Path) -> list[Path]:
    """What is read of the folder of a model."""
    return [*folder.glob(INFO_FILE), *folder.glob("weights*.safetensors")]


def write_latent(path: Path, cells: Iterable[str], latent: np.ndarray) -> None:
    """`latent.csv`."""
    header = ["cell", *_latent_columns(latent.shape[1])]
    rows = ((cell, *map(_number, row)) for cell, row in zip(cells, latent, strict=True))
    _write_table(path, header, rows)


def write_clusters(path: Path, cells: Iterable[str], probabilities: np.ndarray) -> None:
    """`clusters.csv`, of (n, C) probabilities."""
    cluster = probabilities.argmax(axis=1)
    best = probabilities.max(axis=1)
    rows = zip(cells, cluster.tolist(), map(_number, best), strict=True)
    _write_table(path, ["cell", "cluster", "probability"], rows)


def read_latent(path: Path, n_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Names of cells, and their latent, (n, D), of a `latent.csv` in any order of these.

    Raises:
        InputError: It has other columns, or is not of the cells of the model, `n_cells`.
    """
    try:
        table = pd.read_csv(path, dtype={"cell": str}, keep_default_na=False).set_index("cell")
        latent = table[_latent_columns(table.shape[1])].to_numpy(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"'{path}' cannot be read as the latent of a fit; fit again") from error
    if table.index.nunique() != n_cells or len(table) != n_cells:
        raise InputError(
            f"'{path}' has {count_of(len(table), 'row')} of "
            f"{count_of(table.index.nunique(), 'cell')}, but its model was fitted to "
            f"{count_of(n_cells, 'cell')}; put back the file that scmvp fit wrote, or fit again"
        )
    return table.index.to_numpy(), latent


def _latent_columns(n_latent: int) -> list[str]:
    return [f"latent_{number + 1}" for number in range(n_latent)]


def write_history(path: Path, history: dict[str, list[Any]]) -> None:
    """`history.csv`, one line per epoch."""
    columns = list(history)
    rows = zip(*(map(_number, history[name]) for name in columns), strict=True)
    _write_table(path, columns, rows)


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """`summary.json`."""
    path.write_text(json_text(content, indent=2) + "\n", encoding="utf-8")


def _number(value: Any) -> Any:
    # Nine digits bring every float32 back exactly.
    return f"{value:.9g}" if isinstance(value, float | np.floating) else value


def describe_account(account: dict[str, Any]) -> list[str]:
    """What of the input the model reads, in sentences."""
    modeled = [of for of in MODALITIES.values() if f"n_{of.features}" in account]
    kinds: dict[bool, list[str]] = {False: [], True: []}
    for of in modeled:
        kept, given = account[f"n_{of.features}"], account[f"n_{of.features}_in"]
        kinds[of.is_panel].append(f"{kept:,} of {count_of(given, of.feature)}")
    if kinds[False]:
        seen = f" (seen in at least {count_of(account['min_cells'], 'cell')})"
        kinds[False] = [" and ".join(kinds[False]) + seen]
    modeled_in = [f"{count_of(account['n_cells'], 'cell')} (all)", *kinds[False], *kinds[True]]
    lines = [f"modeled: {', '.join(modeled_in)}"]
    if len(modeled) != 2 or kinds[True]:
        lines.append(f"modalities: {listed(of.name for of in modeled)}")
    for of in modeled:
        if number := account[f"cells_without_{of.name}"]:
            lines.append(
                f"{count_of(number, 'cell', 'has', 'have')} no {of.label} count; the other "
                f"{'modality places' if len(modeled) == 2 else 'modalities place'} "
                f"{'it' if number == 1 else 'them'}"
            )
    if account["batch"]:
        lines.append(f"batches: {', '.join(account['batch'])}")
    if account["atac_insertions"]:
        lines.append("ATAC counts are of insertions (most are even); the model reads fragments")
    how = "estimated" if account["n_clusters_estimated"] else "as given"
    found = account["n_clusters"] or "to be found after the warm-up"
    lines.append(f"clusters: {found} ({how})")
    return lines


def describe_fit(summary: dict[str, Any]) -> str:
    """What a fit has found, and its length."""
    n, components = summary["n_clusters"], summary["n_components"]
    found = f"{summary['n_clusters_used']} of {count_of(n, 'cluster')} used"
    if summary["account"]["n_clusters_estimated"] and n < components:
        found = f"{count_of(n, 'cluster')} of {count_of(components, 'component')}"
    epochs, most = summary["epochs"], summary["options"]["max_epochs"]
    ended = ""
    if epochs < most and not summary["interrupted"]:
        ended = f" (of at most {most}: the held-out ELBO no longer rose)"
    return f"{found}, {count_of(epochs, 'epoch')}{ended} in {summary['seconds_fit']:.1f} s"
