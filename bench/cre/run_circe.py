"""Circe (PyPI: circe-py, in its own environment) on groups R wrote: run_circe.py FOLDER JOBS."""

import json
import resource
import sys
import time
from pathlib import Path

import anndata
import numpy as np
from circe import graphical_lasso
from circe.circe import compute_atac_network
from circe.utils import add_region_infos, extract_atac_links


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    folder, jobs = Path(sys.argv[1]), int(sys.argv[2])
    names = (folder / "peaks.txt").read_text().split()
    groups = np.fromfile(folder / "groups.bin").reshape(-1, len(names))
    cells = anndata.AnnData(groups)
    del groups
    cells.var_names = names
    separator = "_" if "_" in names[0] else "-"
    cells = add_region_infos(cells, sep=(separator, separator))

    found = {}
    average_alpha = graphical_lasso.average_alpha

    def seen(*args, **options):
        found["alpha"] = average_alpha(*args, **options)
        return found["alpha"]

    graphical_lasso.average_alpha = seen
    began, cpu = time.time(), cpu_seconds()
    compute_atac_network(cells, njobs=jobs)
    links = extract_atac_links(cells)
    found |= {"wall": time.time() - began, "cpu": cpu_seconds() - cpu}
    (folder / "measured.json").write_text(json.dumps(found))
    links.to_csv(folder / "links.csv", index=False)


if __name__ == "__main__":
    main()
