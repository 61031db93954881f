"""SnapATAC2: joint spectral embedding of RNA and ATAC, as in its tutorial of multi-omics.

    python snapatac2.py FOLDER

RNA as log(1 + counts per 10,000), peaks as counts. The tutorial selects 3,000 genes; with at most
3,000 genes, as here, that is all of them.
"""

import importlib
import json
import sys
from pathlib import Path

sys.path.pop(0)  # this file has the name of the package

import numpy as np  # noqa: E402
import scipy.sparse as sp  # noqa: E402
from anndata import AnnData  # noqa: E402

snap = importlib.import_module("snapatac2")

folder = Path(sys.argv[1])
seed = json.loads((folder / "about.json").read_text())["seed"]
x, y = (sp.load_npz(folder / f"{modality}.npz") for modality in ("rna", "atac"))
if x.shape[1] > 3000:
    raise SystemExit("more than 3,000 genes: the tutorial selects 3,000 with scikit-misc")
x = (sp.diags(1e4 / np.asarray(x.sum(1)).ravel()) @ x).tocsr().log1p()
z = snap.tl.multi_spectral([AnnData(x), AnnData(y)], features=None, random_state=seed)[1]
np.savez(folder / "result.npz", z=z)
