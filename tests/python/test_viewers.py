"""Results in the files that scanpy, CELLxGENE and Vitessce open: the recipe of docs/python.md."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import anndata
import h5py
import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scmvp

GUIDE = Path(__file__).parents[2] / "docs" / "python.md"
VALIDATOR = shutil.which("cellxgene-schema")
# What the validator still asks for: what only the authors know.
OF_AUTHORS = (
    r"is not a valid feature ID|Could not infer organism from feature ID|"
    r"'obs' is missing column '(\w+_ontology_term_id|is_primary_data|donor_id|suspension_type|"
    r"tissue_type)'|'organism_ontology_term_id' in 'uns'|'cell_type' is a reserved column name"
)


@pytest.fixture(scope="module")
def model(simulated):
    pytest.importorskip("torch")
    model = scmvp.SCMVP(simulated, n_clusters=3, min_cells=1)
    return model.train(max_epochs=4, threads=1, progress=False)


@pytest.mark.slow
def test_results_are_added_by_name(model, simulated, refused):
    latent = pd.DataFrame(model.get_latent_representation(), index=model.cells)
    cluster = pd.Series(model.predict().astype(str), index=model.cells)
    for target in (simulated.copy(), simulated["rna"][::-2].copy()):
        model.add_to(target)
        names = target.obs_names
        np.testing.assert_array_equal(target.obsm["X_scmvp"], latent.loc[names])
        assert list(target.obs["scmvp_cluster"]) == list(cluster[names])
        assert list(target.obs["scmvp_cluster"].cat.categories) == sorted(set(cluster[names]))
        best = pd.Series(model.predict_proba().max(1), index=model.cells)[names]
        np.testing.assert_allclose(target.obs["scmvp_cluster_prob"], best, rtol=1e-5)
    model.add_to(target, n_clusters=2)
    two = pd.Series(model.predict(n_clusters=2), index=model.cells)[target.obs_names]
    assert list(target.obs["scmvp_cluster"]) == list(two.astype(str))
    other = simulated["rna"].copy()
    other.obs_names = [f"x{name}" for name in other.obs_names]
    refused(lambda: model.add_to(other), "cells that are not in the model: 'x")
    refused(lambda: model.add_to(other.obs), "target is a DataFrame; give an AnnData or a MuData")


def test_results_of_a_saved_model_are_the_same(model, simulated, tmp_path, refused):
    model.save(tmp_path / "model")
    again = scmvp.SCMVP.load(tmp_path / "model")
    first, second = (simulated["rna"][::-1].copy() for _ in range(2))
    model.add_to(first)
    again.add_to(second, simulated)
    np.testing.assert_allclose(first.obsm["X_scmvp"], second.obsm["X_scmvp"], atol=1e-5)
    pd.testing.assert_frame_equal(first.obs, second.obs, rtol=1e-4)
    refused(lambda: again.add_to(second), "without its cells")
    refused(lambda: again.add_to(second, simulated[:9].copy()), "not in the data")


@pytest.fixture(scope="module")
def written(model, simulated, tmp_path_factory):
    """The folder in which the recipe was run."""
    pytest.importorskip("scanpy")
    folder = tmp_path_factory.mktemp("viewers")
    section = GUIDE.read_text(encoding="utf-8").split("## View and publish the cells")[1]
    block = section.split("```py\n")[1].split("```")[0]
    block = re.sub(r'"(rna\.\w+)"', lambda found: repr(str(folder / found[1])), block)
    exec(compile(block, str(GUIDE), "exec"), {"mdata": simulated, "model": model})
    return folder


@pytest.mark.slow
def test_anndata_has_what_viewers_look_for(written, simulated):
    for rna in (anndata.read_h5ad(written / "rna.h5ad"), anndata.read_zarr(written / "rna.zarr")):
        assert rna.obsm["X_umap"].shape == (240, 2) and rna.obsm["X_scmvp"].shape == (240, 20)
        assert all(key.startswith("X_") for key in rna.obsm)
        assert sp.isspmatrix_csr(rna.X) and rna.raw.X.dtype == np.float32
        assert (rna.raw.X != simulated["rna"].X).nnz == 0
        assert list(rna.raw.var_names) == list(rna.var_names)
        assert rna.uns["default_embedding"] == "X_umap"
    with h5py.File(written / "rna.h5ad") as file:
        for column in file["obs"].values():
            if column.attrs["encoding-type"] == "categorical":
                assert column["categories"].attrs["encoding-type"] == "string-array"
        assert set(file["uns"]) == {"title", "default_embedding"}  # null there stops older readers
    simulated = simulated.copy()
    simulated.obsm["X_scmvp"] = rna.obsm["X_scmvp"]
    simulated.write(written / "cells.h5mu")
    assert "X_scmvp" in mudata.read_h5mu(written / "cells.h5mu").obsm


@pytest.mark.slow
@pytest.mark.skipif(VALIDATOR is None, reason="needs cellxgene-schema on the PATH")
def test_the_schema_of_cellxgene_lacks_what_only_authors_know(written):
    run = subprocess.run(
        [VALIDATOR, "validate", written / "rna.h5ad"], capture_output=True, text=True, timeout=300
    )
    said = (run.stdout + run.stderr).splitlines()
    assert any("Validation complete" in line for line in said), said[-5:]
    errors = [line for line in said if "ERROR:" in line]
    assert errors and not [line for line in errors if not re.search(OF_AUTHORS, line)]


@pytest.mark.slow
def test_vitessce_configures_a_view(written):
    vitessce = pytest.importorskip("vitessce")
    config = vitessce.VitessceConfig(schema_version="1.0.16", name="cells")
    wrapper = vitessce.AnnDataWrapper(
        adata_url="https://example.org/rna.zarr", obs_embedding_paths=["obsm/X_umap"],
        obs_set_paths=["obs/scmvp_cluster"], obs_feature_matrix_path="X",
    )  # fmt: skip
    config.add_dataset(name="cells").add_object(wrapper)
    options = config.to_dict()["datasets"][0]["files"][0]["options"]
    paths = [options["obsEmbedding"][0]["path"], options["obsSets"][0]["path"]]
    for path in [*paths, options["obsFeatureMatrix"]["path"]]:
        assert (written / "rna.zarr" / path).is_dir()
