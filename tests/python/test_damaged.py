"""Damaged files: read as they were, or refused in one sentence, within bounds of memory and time.

SCMVP_FUZZ=n tries n times as many flipped bits.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
import sys
from pathlib import Path

import damages
import h5py
import numpy as np
import pytest
import torch
from conftest import TenX
from damages import Damage, Kind, digest_of_cells, outside_compressed
from safetensors.torch import load_file, save_file

import scmvp
from scmvp import SCMVP, cli, rserial, storage
from scmvp.backed import read_backed
from scmvp.differential import labels_in

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")

FUZZ = int(os.environ.get("SCMVP_FUZZ", "1"))
TOTALS: dict[str, dict[str, int]] = {}


def read(path: Path) -> str:
    return digest_of_cells(scmvp.read(path), path)


def backed(path: Path) -> str:
    return digest_of_cells(read_backed(path), path)


def anywhere(file: Path, offset: int) -> bool:
    """Nothing in the file has a checksum, but a missing part is seen."""
    return offset >= 0


@pytest.fixture(scope="module")
def small():
    return scmvp.simulate(n_cells=60, n_genes=40, n_peaks=60, n_types=3, seed=5)


@pytest.fixture(scope="module")
def model(small):
    return SCMVP(small, n_clusters=3, min_cells=1, options={"n_hidden": 16, "n_heads": 4}).train(
        max_epochs=2, threads=1
    )


@pytest.fixture(scope="module")
def room(small, model, tmp_path_factory) -> Path:
    """One whole file of each kind."""
    room = tmp_path_factory.mktemp("whole")
    TenX(small).write_h5(room / "ten.h5")
    TenX(small).write_folder(room / "gz")
    TenX(small).write_folder(room / "plain", gzipped=False)
    small.write(room / "cells.h5mu")
    (room / "pair").mkdir()
    (room / "zarrs").mkdir()
    for modality in ("rna", "atac"):
        small[modality].write_h5ad(room / "pair" / f"{modality}.h5ad")
        small[modality].write_zarr(room / "zarrs" / f"{modality}.zarr")
    small.write_zarr(room / "cells.zarr")
    model.save(room / "model")
    state = {}

    def keep(epoch):
        if epoch["epoch"] == 2:
            state["content"] = (room / "state").read_bytes()

    fresh(small).train(max_epochs=3, threads=1, checkpoint=room / "state", callback=keep)
    (room / "state").write_bytes(state["content"])
    types = small.obs["cell_type"].astype(str)
    types.rename("label").to_csv(room / "labels.csv", index_label="cell")
    (room / "genes.txt").write_text("\n".join(small["rna"].var_names) + "\n")
    return room


def fresh(small) -> SCMVP:
    return SCMVP(small, n_clusters=3, min_cells=1, options={"n_hidden": 16, "n_heads": 4})


def kinds(room: Path, small, model) -> dict[str, Kind]:
    latent = model.get_latent_representation()

    def read_model(path: Path) -> str:
        loaded = SCMVP.load(path)
        values = [loaded.decode(latent, modality) for modality in ("rna", "atac")]
        names = "\0".join([*loaded.genes, *loaded.peaks, json.dumps(loaded.info())])
        return names + "".join(str(part.tobytes()) for part in values)

    def go_on(path: Path) -> str:
        resumed = fresh(small).train(max_epochs=3, threads=1, checkpoint=path)
        return str(resumed.get_latent_representation().tobytes())

    def labels(path: Path) -> str:
        return labels_in(str(path), list(small.obs_names)).to_csv()

    def names(path: Path) -> str:
        return "\0".join(cli._names_in(str(path)))

    def any_cut(file: Path, offset: int) -> bool:
        return True  # a table without its end is a table

    def names_cut(file: Path, offset: int) -> bool:
        # the last name of a plain list may lose its end; the counts are counted
        return offset >= 0 or file.name in ("barcodes.tsv", "features.tsv")

    return {
        "10x h5": Kind(room / "ten.h5", read, outside_compressed),
        "10x h5, on disk": Kind(room / "ten.h5", backed, outside_compressed),
        "h5ad": Kind(room / "pair", read, outside_compressed),
        "h5ad, on disk": Kind(room / "pair", backed, outside_compressed),
        "h5mu": Kind(room / "cells.h5mu", read, outside_compressed),
        "zarr": Kind(room / "cells.zarr", read, anywhere),
        "zarr pair": Kind(room / "zarrs", read, anywhere),
        "MatrixMarket, gzipped": Kind(room / "gz", read),
        "MatrixMarket": Kind(room / "plain", read, names_cut),
        "model": Kind(room / "model", read_model),
        "checkpoint": Kind(room / "state", go_on),
        "labels": Kind(room / "labels.csv", labels, any_cut),
        "names": Kind(room / "genes.txt", names, any_cut),
    }


KINDS = [
    "10x h5", "10x h5, on disk", "h5ad", "h5ad, on disk", "h5mu", "zarr", "zarr pair",
    "MatrixMarket, gzipped", "MatrixMarket", "model", "checkpoint", "labels", "names",
]  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_files_cut_and_with_flipped_bits(name, room, small, model, tmp_path):
    kind = kinds(room, small, model)[name]
    found = list(damages.usual_damages(kind, KINDS.index(name), 12 * FUZZ))
    wrong = damages.run(kind, found, tmp_path / "copies")
    TOTALS[name] = dict(kind.outcomes)
    assert not wrong, "\n\n".join(wrong[:10])


def test_at_least_200_damages_were_tried():
    if len(TOTALS) < len(KINDS):
        pytest.skip("not all kinds were tried")
    for name, outcomes in TOTALS.items():
        print(f"{name}: {outcomes}")
    assert sum(sum(outcomes.values()) for outcomes in TOTALS.values()) >= 200
