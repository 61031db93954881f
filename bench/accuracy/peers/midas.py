"""MIDAS on cells of one batch: its documented defaults, the biological latent.

    python midas.py FOLDER

Peaks are encoded by chromosome, as in its publication, in minibatches of 256. Its documentation
asks for 1,000 to 2,000 epochs; 1,000 are run.
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

folder = Path(sys.argv[1])
about = json.loads((folder / "about.json").read_text())
torch.set_num_threads(1)
lightning.seed_everything(about["seed"], verbose=False)
x, y = (sp.load_npz(folder / f"{modality}.npz") for modality in ("rna", "atac"))
chromosome = np.array([name.split("-")[0] for name in about["peaks"]])
order = np.argsort(chromosome, kind="stable")
chunks = np.unique(chromosome, return_counts=True)[1]
obs = pd.DataFrame({"batch": "all"}, index=[f"cell{i}" for i in range(x.shape[0])])
mdata = MuData({"rna": AnnData(x, obs=obs), "atac": AnnData(y[:, order], obs=obs.copy())})
scmidas.MIDAS.setup_mudata(mdata, dims_x={"atac": chunks.tolist()})
# loading in this process gives the same minibatches as the 20 of its default
loading = {"num_workers": 0, "pin_memory": False, "persistent_workers": False}
with tempfile.TemporaryDirectory() as checkpoints:
    configs = scmidas.load_config() | loading
    model = scmidas.MIDAS(mdata, configs=configs, save_model_path=checkpoints)
    model.train(
        max_epochs=EPOCHS, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    z = model.get_latent_representation()
np.savez(folder / "result.npz", z=z, epochs=EPOCHS)
