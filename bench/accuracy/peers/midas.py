"""MIDAS: its documented defaults, the biological latent.

    python midas.py FOLDER

Peaks are encoded by chromosome, as in its publication, in minibatches of 256. Its documentation
asks for 1,000 to 2,000 epochs; 1,000 are run. Where part.npy is given, a cell has both modalities
(0), RNA alone (1) or ATAC alone (2); these are three batches, as in its tutorial of mosaic data.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import scipy.sparse as sp
import scmidas
import torch
from anndata import AnnData
from mudata import MuData

EPOCHS = int(os.environ.get("MIDAS_EPOCHS", 1000))
BATCHES = np.array(["both", "rna", "atac"])

folder = Path(sys.argv[1])
about = json.loads((folder / "about.json").read_text())
torch.set_num_threads(1)
lightning.seed_everything(about["seed"], verbose=False)
counts = {name: sp.load_npz(folder / f"{name}.npz").tocsr() for name in ("rna", "atac")}
chromosome = np.array([name.split("-")[0] for name in about["peaks"]])
order = np.argsort(chromosome, kind="stable")
counts["atac"] = counts["atac"][:, order]
chunks = np.unique(chromosome, return_counts=True)[1]
names = pd.Index([f"cell{i}" for i in range(counts["rna"].shape[0])])


def cells(part):
    """A MuData in which each modality has the cells that have it."""
    obs = pd.DataFrame({"batch": BATCHES[part]}, index=names)
    here = {"rna": part != 2, "atac": part != 1}
    mdata = MuData(
        {name: AnnData(counts[name][here[name]], obs=obs[here[name]]) for name in counts}
    )
    scmidas.MIDAS.setup_mudata(mdata, dims_x={"atac": chunks.tolist()})
    return mdata


def given(model, mdata):
    """Let a trained model predict for other cells of the same batches."""
    parts = model.get_info_from_mdata(mdata, "batch")
    transform = {"atac": "binarize"}  # its default, which training used
    model.datalist = model.get_datasets_from_adata(*parts, transform=transform)[0]
    return model


def of_cells(values, mdata):
    """Rows in the order of the counts."""
    return values[mdata.obs_names.get_indexer(names)]


is_mosaic = (folder / "part.npy").exists()
part = np.load(folder / "part.npy") if is_mosaic else np.zeros(len(names), int)
mdata = cells(part)
# loading in this process gives the same minibatches as the 20 of its default
loading = {"num_workers": 0, "pin_memory": False, "persistent_workers": False}
with tempfile.TemporaryDirectory() as checkpoints:
    configs = scmidas.load_config() | loading
    model = scmidas.MIDAS(mdata, configs=configs, save_model_path=checkpoints)
    model.train(
        max_epochs=EPOCHS, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
found = {"z": of_cells(model.get_latent_representation(), mdata)}
if is_mosaic:
    for name in counts:
        found[name] = of_cells(model.get_imputed_values(modality=name), mdata)
    found["atac"] = found["atac"][:, np.argsort(order)]
    # the cells of one modality by what was hidden of them
    hidden = cells(np.array([0, 2, 1])[part])
    z = given(model, hidden).get_latent_representation(hidden)
    found["z_hidden"] = of_cells(z, hidden)
np.savez(folder / "result.npz", epochs=EPOCHS, **found)
