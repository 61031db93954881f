"""scMDC on RNA and ATAC: the steps of its run_scMDC.py, the settings of its script for SMAGE-seq.

    python scmdc.py FOLDER

Its modules are imported from a clone beside this Python (bench/peers.sh). Peaks are read as counts;
its authors summed them over genes. 2,000 genes and 2,000 peaks are selected by its geneSelection.
"""

import json
import sys
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from scanpy import AnnData

sys.path[0] = str(Path(sys.prefix) / "scMDC" / "src")

from preprocess import normalize, read_dataset  # noqa: E402
from scMDC import scMultiCluster  # noqa: E402
from utils import geneSelection  # noqa: E402

N_SELECTED = 2000

folder = Path(sys.argv[1])
about = json.loads((folder / "about.json").read_text())
torch.set_num_threads(1)
torch.manual_seed(about["seed"])
np.random.seed(about["seed"])
device = "cuda" if torch.cuda.is_available() else "cpu"


def prepared(modality: str) -> dict:
    """Scaled logarithms, counts and size factors of the selected features."""
    counts = sp.load_npz(folder / f"{modality}.npz").toarray()
    if counts.shape[1] > N_SELECTED:
        counts = counts[:, geneSelection(counts, n=N_SELECTED, plot=False, verbose=0)]
    adata = normalize(read_dataset(AnnData(counts), copy=True))
    if adata.n_obs != len(counts):
        raise SystemExit(
            f"{len(counts) - adata.n_obs} cells without counts in the selected {modality}"
        )
    factors = adata.obs["size_factors"].to_numpy(np.float32)
    return {"X": np.asarray(adata.X, np.float32), "X_raw": adata.raw.X, "sf": factors}


both = {f"{key}{i}": value for i, modality in enumerate(("rna", "atac"), 1)
        for key, value in prepared(modality).items()}  # fmt: skip
model = scMultiCluster(
    input_dim1=both["X1"].shape[1],
    input_dim2=both["X2"].shape[1],
    tau=0.1,
    encodeLayer=[256, 128, 64],
    decodeLayer1=[64, 128, 256],
    decodeLayer2=[64, 128, 256],
    activation="elu",
    sigma1=2.5,
    sigma2=2.5,
    gamma=0.1,
    cutoff=0.5,
    phi1=0.005,
    phi2=0.005,
    device=device,
).to(device)
model.pretrain_autoencoder(**both, batch_size=256, epochs=400, ae_save=False)
clusters, epochs = model.fit(
    **both, n_clusters=about["n_clusters"], batch_size=256, num_epochs=5000, tol=1e-3, lr=1.0
)
z = model.encodeBatch(*(torch.tensor(both[name]).to(device) for name in ("X1", "X2")))
np.savez(folder / "result.npz", z=z.cpu().numpy(), clusters=clusters)
