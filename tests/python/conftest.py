from __future__ import annotations

import gzip
import json
import shutil
import signal
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp
from kept_r import KeptR
from stored import write_pair

import scmvp
from scmvp.errors import InputError, RError
from scmvp.r import rengine

# Where the tests run in the background, a shell has Ctrl-C ignored, there and by what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def simulated():
    """Paired cells to look at, never to change: take `.copy()`."""
    return scmvp.simulate(n_cells=240, n_genes=300, n_peaks=600, n_types=3, seed=3)


@pytest.fixture
def pair_folder(simulated, tmp_path) -> Path:
    return write_pair(simulated, tmp_path / "pair")


@pytest.fixture
def refused():
    """Call something that must be refused with one sentence holding the given words."""

    def check(call, *words: str) -> str:
        with pytest.raises(InputError) as caught:
            call()
        sentence = str(caught.value)
        assert "\n" not in sentence
        for word in words:
            assert word in sentence, sentence
        return sentence

    return check


@pytest.fixture
def usable():
    """Whether pandas can go on with a table that has `attrs`: it compares, copies and writes them.

    `to_parquet` needs them as JSON.
    """

    def check(table: pd.DataFrame, column: str) -> None:
        attrs = table.attrs
        assert attrs and json.loads(json.dumps(attrs))
        assert len(pd.concat([table, table.copy()])) == 2 * len(table)
        assert len(table.merge(table, left_index=True, right_index=True)) == len(table)
        assert table.nsmallest(1, column)[column].item() == table[column].min()
        assert table.sort_values(column).drop(columns=column).attrs == attrs

    return check


class TenX:
    """Cells as Cell Ranger ARC writes them: genes and peaks in one features x cells matrix."""

    def __init__(self, mdata, types=("Gene Expression", "Peaks")):
        self.counts = sp.hstack([mdata["rna"].X, mdata["atac"].X], format="csr").astype(np.int32)
        self.cells = list(mdata.obs_names)
        self.names = [*mdata["rna"].var_names, *mdata["atac"].var_names]
        n_genes, n_peaks = mdata["rna"].n_vars, mdata["atac"].n_vars
        self.ids = [f"ENSG{i:011d}" for i in range(n_genes)] + self.names[n_genes:]
        self.types = [types[0]] * n_genes + [types[1]] * n_peaks

    def write_h5(self, path: Path) -> Path:
        def text(values):
            return np.array(values, dtype="S")

        with h5py.File(path, "w") as file:
            group = file.create_group("matrix")
            group["barcodes"] = text(self.cells)
            for name in ("data", "indices", "indptr"):
                group.create_dataset(name, data=getattr(self.counts, name), compression="gzip")
            group["shape"] = np.array(self.counts.shape[::-1])
            features = group.create_group("features")
            features["id"], features["name"] = text(self.ids), text(self.names)
            features["feature_type"] = text(self.types)
            features["genome"] = text(["GRCh38"] * len(self.ids))
        return path

    def write_folder(self, folder: Path, gzipped: bool = True) -> Path:
        folder.mkdir()
        rows = zip(self.ids, self.names, self.types, strict=True)
        files = {
            "features.tsv": "".join("\t".join(row) + "\n" for row in rows),
            "barcodes.tsv": "".join(f"{cell}\n" for cell in self.cells),
        }
        scipy.io.mmwrite(folder / "matrix.mtx", self.counts.T.tocoo(), field="integer")
        files["matrix.mtx"] = (folder / "matrix.mtx").read_text()
        for name, content in files.items():
            (folder / name).write_text(content)
            if gzipped:
                (folder / name).unlink()
                with gzip.open(folder / f"{name}.gz", "wt") as file:
                    file.write(content)
        return folder


@pytest.fixture
def ten_x(simulated) -> TenX:
    return TenX(simulated)


@pytest.fixture(scope="session")
def kept():
    """The engine for calls that another test makes in an R of their own: one R for all tests.

    rpy2 where it is installed, else a process that goes on.
    """
    try:
        rengine._start_rpy2()
    except RError:
        if shutil.which("Rscript") is None:
            pytest.skip("R is not installed")
        process, engine_of = KeptR(), rengine._engine
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                rengine, "_engine", lambda name: process.run if name == "kept" else engine_of(name)
            )
            patch.setattr(rengine, "kept", process, raising=False)
            yield "kept"
        process.close()
    else:
        yield "rpy2"
