"""Scores of scib-metrics for an embedding.

    python scib.py FOLDER

FOLDER has given.npz with 'z' (cells, D), 'labels' and 'batch' (cells,); scores.json is written.
"""

import json
import sys
from pathlib import Path

sys.path.pop(0)

import numpy as np  # noqa: E402
import scib_metrics as scib  # noqa: E402
from scib_metrics.nearest_neighbors import pynndescent  # noqa: E402

N_NEIGHBORS = 90  # of the LISI scores; the graph of the connectivity has 15, as in its Benchmarker

folder = Path(sys.argv[1])
with np.load(folder / "given.npz") as given:
    z, labels, batch = given["z"].astype(np.float32), given["labels"], given["batch"]
near = pynndescent(z, N_NEIGHBORS, random_state=0)
kmeans = scib.nmi_ari_cluster_labels_kmeans(z, labels)
scores = {
    "nmi": kmeans["nmi"],
    "ari": kmeans["ari"],
    "isolated_labels": scib.isolated_labels(z, labels, batch),
    "graph_connectivity": scib.graph_connectivity(near.subset_neighbors(15), labels),
    "clisi": scib.clisi_knn(near, labels),
    "silhouette": scib.silhouette_label(z, labels),
}
(folder / "scores.json").write_text(json.dumps({k: float(v) for k, v in scores.items()}))
