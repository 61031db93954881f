"""Files whose counts stay on disk against the same files in memory."""

import shutil
from pathlib import Path

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mudata import MuData
from stored import on_disk

import scmvp
from scmvp import cli
from scmvp.data.backed import bytes_in_memory, read_backed
from scmvp.data.matrices import DiskRows
from scmvp.errors import InputNote
from scmvp.nn import batches
from scmvp.nn.batches import Cells
from scmvp.r.objects import cells_table
from scmvp.reading import read_for_fit


def same_counts(backed, mdata) -> None:
    for modality, matrix in (("rna", backed.rna), ("atac", backed.atac)):
        assert isinstance(matrix, DiskRows)
        assert (matrix[:] != sp.csr_matrix(mdata[modality].X, dtype=np.float32)).nnz == 0
    assert list(backed.cells) == list(mdata.obs_names)
    assert list(backed.genes) == list(mdata["rna"].var_names)
    assert list(backed.peaks) == list(mdata["atac"].var_names)


@pytest.fixture(params=["h5ad", "zarr", "h5mu", "mudata.zarr", "10x"])
def stored(request, simulated, ten_x, tmp_path):
    """The simulated cells in a file of each kind."""
    if request.param in ("h5mu", "mudata.zarr"):
        path = tmp_path / f"cells.{request.param}"
        simulated.write(path) if request.param == "h5mu" else simulated.write_zarr(path)
        return path
    if request.param == "10x":
        return ten_x.write_h5(tmp_path / "cells.h5")
    for modality in ("rna", "atac"):
        path = tmp_path / f"{modality}.{request.param}"
        adata = simulated[modality]
        adata.write_h5ad(path) if request.param == "h5ad" else adata.write_zarr(path)
    return tmp_path


@pytest.mark.slow
def test_every_kind_of_file_is_read_row_by_row(stored, simulated):
    same_counts(scmvp.read(stored, backed=True), simulated)
    in_memory = scmvp.read(stored)
    assert (in_memory["atac"].X != simulated["atac"].X).nnz == 0
    n_bytes = 8 * (simulated["rna"].X.nnz + simulated["atac"].X.nnz)
    assert bytes_in_memory(stored) == n_bytes


def test_backed_anndata_stays_on_disk(pair_folder, simulated):
    pair = tuple(
        anndata.read_h5ad(pair_folder / f"{name}.h5ad", backed="r") for name in ("rna", "atac")
    )
    model = scmvp.SCMVP(pair, n_clusters=3)
    assert isinstance(model._data.rna, DiskRows)
    assert model.account["n_peaks"] == scmvp.SCMVP(simulated, n_clusters=3).account["n_peaks"]


def test_cells_are_matched_and_counts_found_as_in_memory(simulated, tmp_path):
    rna, atac = simulated["rna"].copy(), simulated["atac"][::-1].copy()
    rna.layers["counts"] = rna.X.copy()
    rna.X = rna.X * 0.5
    atac.layers["other"] = atac.X.copy()
    rna.write_h5ad(tmp_path / "rna.h5ad")
    atac.write_h5ad(tmp_path / "atac.h5ad")
    with pytest.warns(InputNote, match="layer 'counts' is taken"):
        same_counts(scmvp.read(tmp_path, backed=True), simulated)
    same_counts(read_backed(tmp_path, rna_layer="counts", atac_layer="other"), simulated)


@pytest.mark.slow
def test_what_cannot_stay_on_disk_is_refused(simulated, ten_x, tmp_path, refused):
    folder = ten_x.write_folder(tmp_path / "matrix")
    refused(lambda: scmvp.read(folder, backed=True), "cannot stay on disk", "leave out backed=True")
    assert bytes_in_memory(folder) is None
    assert len(read_for_fit(folder).obs_names) == 240

    by_columns = simulated["rna"].copy()
    by_columns.X = sp.csc_matrix(by_columns.X)
    by_columns.write_h5ad(tmp_path / "rna.h5ad")
    simulated["atac"].write_h5ad(tmp_path / "atac.h5ad")
    refused(lambda: scmvp.read(tmp_path, backed=True), "csc_matrix", "csr_matrix")
    assert len(read_for_fit(tmp_path).obs_names) == 240  # in memory it can be read

    refused(lambda: read_backed(tmp_path, rna_layer="none"), "no layer 'none'")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("place", ["counts", "raw"])
def test_counts_by_columns_beside_x(simulated, tmp_path, monkeypatch, refused, place):
    """They are compared with X as in memory, and refused only where they are what is taken."""
    both = anndata.concat([simulated[name][:40, :90] for name in simulated.mod], axis=1)
    both.var["feature_types"] = ["Gene Expression"] * 90 + ["Peaks"] * 90
    counts, order = both.X.copy(), np.arange(180)[::-1]

    def written(name, x, by_columns):
        both.X = sp.csr_matrix(x)
        if place == "counts":
            both.layers["counts"] = sp.csc_matrix(by_columns)
        else:  # with its features in another order
            both.raw = anndata.AnnData(sp.csc_matrix(by_columns)[:, order], var=both.var[::-1])
        both.write_h5ad(tmp_path / name)
        return tmp_path / name

    rows = scmvp.read(written("same.h5ad", counts, counts), backed=True)
    assert (rows.atac[:] != counts[:, 90:]).nnz == 0
    moved = counts.copy()
    moved[0, 0] += 1
    words = "the layer 'counts'" if place == "counts" else ".raw"
    path = written("moved.h5ad", counts, moved)
    sentence = refused(lambda: scmvp.read(path, backed=True), "is a csc_matrix", "a csr_matrix")
    assert sentence.startswith(f"{words} of the RNA modality of {path}")
    monkeypatch.setattr("scmvp.reading._physical_memory", lambda: 1e3)
    in_memory = read_for_fit(path)["rna"][:, both.var_names[:90]]
    assert (in_memory.X != moved[:, :90]).nnz == 0
    refused(lambda: read_for_fit(path, backed=True), "is a csc_matrix")
    rows = scmvp.read(path, backed=True, rna_layer="X", atac_layer="X")
    assert (rows.rna[:] != counts[:, :90]).nnz == 0
    if place == "counts":  # an X by columns that is not what is taken
        both.X, both.layers["counts"] = sp.csc_matrix(counts * 0.5), counts
        both.write_h5ad(tmp_path / "x.h5ad")
        assert (scmvp.read(tmp_path / "x.h5ad", backed=True).rna[:] != counts[:, :90]).nnz == 0


@pytest.mark.parametrize(
    "bad, word", [(-1.0, "negative"), (np.nan, "nan"), (0.5, "not an integer")]
)
def test_bad_values_on_disk_are_named(simulated, tmp_path, refused, bad, word):
    rna = simulated["rna"].copy()
    rna.X = rna.X.astype(np.float64)
    rna.X[200, rna.X[200].indices[0]] = bad
    rna.write_h5ad(tmp_path / "rna.h5ad")
    simulated["atac"].write_h5ad(tmp_path / "atac.h5ad")
    sentence = refused(lambda: scmvp.read(tmp_path, backed=True), word)
    assert rna.obs_names[200] in sentence


def test_a_truncated_file_is_refused(pair_folder, refused):
    path = pair_folder / "atac.h5ad"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(lambda: scmvp.read(pair_folder, backed=True), "write it again")


def test_what_takes_much_memory_stays_on_disk(pair_folder, monkeypatch):
    assert not isinstance(read_for_fit(pair_folder), scmvp.data.paired.Paired)
    monkeypatch.setattr("scmvp.reading._physical_memory", lambda: 1e5)
    assert isinstance(read_for_fit(pair_folder), scmvp.data.paired.Paired)
    assert not isinstance(read_for_fit(pair_folder, backed=False), scmvp.data.paired.Paired)


@pytest.mark.parametrize("world", [1, 3])
def test_an_epoch_from_disk_visits_every_cell_once(world, monkeypatch):
    monkeypatch.setattr(batches, "POOL_CELLS", 60)
    monkeypatch.setattr(batches, "RUN_CELLS", 7)
    n = 400
    counts = sp.csr_matrix(np.arange(1, n + 1, dtype=np.float32)[:, None])
    rows = on_disk(counts)
    wanted = np.setdiff1d(np.arange(n), [5, 6, 200])
    seen, n_steps, after, n_all = [], set(), set(), set()
    for rank in range(world):
        counts = {"rna": rows, "atac": rows}
        cells = Cells(counts, batches.torch.device("cpu"), batches.Ranks(rank, world))
        generator = np.random.default_rng(0)
        steps = [*cells.shuffled(wanted, 24, generator)]
        for part, batch in steps:
            np.testing.assert_array_equal(batch.counts["atac"].value, part.cells + 1)
            assert abs(len(part.cells) - 24 / world) <= 2
            # as many as this process takes of the noise that all draw
            assert len(part.cells) == len(range(rank, part.n_all, world))
        seen += [cell for part, _ in steps for cell in part.cells]
        n_steps.add(len(steps))
        n_all.add(tuple(part.n_all for part, _ in steps))
        after.add(int(generator.integers(1 << 60)))
    assert sorted(seen) == wanted.tolist()
    assert seen != sorted(seen)
    # all processes make the same steps with the same random numbers, and go on alike
    assert len(n_steps) == len(after) == len(n_all) == 1
    assert sum(*n_all) == len(wanted)


@pytest.mark.slow
def test_a_fit_from_disk_is_as_good_as_one_in_memory(pair_folder, simulated, tmp_path):
    for name in ("yes", "no"):
        arguments = ["fit", str(pair_folder), "--out", str(tmp_path / name), "--backed", name]
        assert cli.main([*arguments, "--n-clusters", "3", "--max-epochs", "12", "--quiet"]) == 0
    disk, memory = (scmvp.SCMVP.load(tmp_path / name / "model") for name in ("yes", "no"))
    assert disk.summary()["elbo"] == pytest.approx(memory.summary()["elbo"], rel=0.01)
    # the model of one is used on the file of the other
    backed = scmvp.read(pair_folder, backed=True)
    np.testing.assert_allclose(
        disk.get_latent_representation(backed),
        disk.get_latent_representation(simulated),
        atol=1e-4,
    )


def test_layers_of_a_backed_file_are_named_when_it_is_read(pair_folder, refused):
    backed = scmvp.read(pair_folder, backed=True)
    refused(lambda: scmvp.SCMVP(backed, rna_layer="counts"), "when it is read")


ANALYSES = {
    "pseudobulk": lambda d: scmvp.pseudobulk(d, "batch", "cell_type"),
    "conditions": lambda d: scmvp.differential_conditions(d, "batch", "batch", "cell_type"),
    "along": lambda d: scmvp.features_along(d, "rna", pseudotime="n"),
    "filter": scmvp.filter_paired,
    "motifs": lambda d: scmvp.motif_activity(d, pd.DataFrame()),
    "genes": lambda d: scmvp.gene_activity(d, pd.DataFrame()),
    "rds": lambda d: scmvp.write_rds(d, "x.rds"),
    "cicero": lambda d: scmvp.run_cicero(d),
    "diffusion": lambda d: scmvp.diffusion(d, root="a"),
    "transfer": lambda d: scmvp.transfer_labels(d, d, "cell_type"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ANALYSES)
def test_what_needs_more_than_a_model_says_how_to_read(pair_folder, refused, name):
    backed = scmvp.read(pair_folder, backed=True)
    refused(lambda: ANALYSES[name](backed), "backed=True work only in SCMVP", "read them without")


def test_targets_on_disk_are_refused(pair_folder, simulated, tmp_path, refused):
    backed, file = scmvp.read(pair_folder, backed=True), tmp_path / "x.rds"
    file.write_text("")
    model = scmvp.SCMVP(simulated, n_clusters=3)
    refused(lambda: model.add_to(backed), "backed=True work only in SCMVP")
    out = tmp_path / "y.rds"
    refused(lambda: scmvp.add_to_rds(file, backed, out), "backed=True work only in SCMVP")


@pytest.fixture
def part_on_disk(simulated, tmp_path):
    """Some cells of a file that is left on disk, in which others come first."""
    simulated.write(tmp_path / "cells.h5mu")
    return mudata.read_h5mu(tmp_path / "cells.h5mu", backed="r")[50:150]


@pytest.mark.slow
def test_a_part_of_cells_on_disk_is_filtered_as_in_memory(part_on_disk, simulated):
    expected = scmvp.filter_paired(simulated[50:150].copy(), min_cells=5, verbose=False)
    for given in (part_on_disk, (part_on_disk["rna"], part_on_disk["atac"])):
        found = scmvp.filter_paired(given, min_cells=5, verbose=False)
        assert list(found.obs_names) == list(expected.obs_names)
        for modality in ("rna", "atac"):
            assert list(found[modality].var_names) == list(expected[modality].var_names)
            assert (found[modality].X != expected[modality].X).nnz == 0


@pytest.mark.slow
def test_nothing_is_added_to_a_part_of_cells_on_disk(part_on_disk, simulated, refused):
    model = scmvp.SCMVP(simulated, n_clusters=3)
    for call, name in (
        (lambda: model.add_to(part_on_disk["rna"]), "target"),
        (lambda: model.add_to(part_on_disk), "target"),
        (lambda: scmvp.transfer_labels(np.eye(30, 3), list("ab") * 15, part_on_disk), "query"),
        (lambda: scmvp.diffusion(part_on_disk, root="a"), "data"),
        (lambda: scmvp.add_rank_genes_groups(part_on_disk["rna"], pd.DataFrame(), "a"), "adata"),
    ):
        refused(call, f"{name} is a part of an object on disk", "read the file without backed")


def test_an_empty_cell_on_disk_is_removed_in_the_file(simulated, tmp_path, refused):
    """`filter_paired` does not take it."""
    cells = simulated["rna"][:30].copy()
    cells.X = sp.csr_matrix(sp.diags((np.arange(30) > 0) * 1.0) @ cells.X)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    said = refused(
        lambda: scmvp.read(tmp_path / "cells.h5ad", backed=True), "1 cell has no count", "the file"
    )
    assert "filter_paired" not in said


@pytest.mark.slow
def test_the_file_may_go_after_the_fit(pair_folder, tmp_path):
    shutil.copytree(pair_folder, tmp_path / "copy")
    model = scmvp.SCMVP(scmvp.read(tmp_path / "copy", backed=True), n_clusters=3)
    model.train(max_epochs=3, threads=1)
    shutil.rmtree(tmp_path / "copy")
    assert model.get_latent_representation().shape == (240, 20)
    assert model.get_normalized_expression(genes=model.genes[:2]).shape == (240, 2)


@pytest.mark.parametrize("dense", [False, True])
def test_a_zarr_that_is_not_what_was_opened_is_refused(simulated, tmp_path, refused, dense):
    """A chunk that is not there reads as zeros."""
    path, away, cells = tmp_path / "cells.zarr", tmp_path / "away", simulated["rna"][:30].copy()
    cells.X = cells.X.toarray() if dense else cells.X
    counts = sp.csr_matrix(cells.X)
    cells.write_zarr(path)

    def changes(before: Path, after: Path):
        rows = scmvp.read(path, backed=True).rna
        assert (rows[:] != counts).nnz == 0
        before.rename(after)
        refused(lambda: rows[:], f"{path} is not what was opened", "has been changed, moved")
        after.rename(before)

    changes(path, away)
    folder = path / "X" if dense else path / "X" / "indices"
    changes(next(file for file in folder.rglob("*0") if file.is_file()), away)
    rows = scmvp.read(path, backed=True).rna
    shutil.rmtree(path)
    cells[::-1].copy().write_zarr(path)
    refused(lambda: rows[:], "read it again")
    assert (scmvp.read(path, backed=True).rna[:] != counts[::-1]).nnz == 0


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_one_matrix_of_all_modalities_is_counted_once(simulated, tmp_path, kind):
    both = anndata.concat([simulated["rna"][:9], simulated["atac"][:9]], axis=1)
    both.var["feature_types"] = ["Gene Expression"] * 300 + ["Peaks"] * 600
    for values, n_bytes in ((both.X, 8 * both.X.nnz), (both.X.toarray(), 8 * 9 * 900)):
        both.X, path = values, tmp_path / f"{type(values).__name__}.{kind}"
        both.write_h5ad(path) if kind == "h5ad" else both.write_zarr(path)
        assert bytes_in_memory(path) == n_bytes


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["h5mu", "zarr", "folder"])
def test_columns_are_those_in_memory(simulated, tmp_path, kind):
    """Own ones called like 'GEX:lane' stay; of two modalities with other values, both are kept."""
    rna, atac = (simulated[name][:30, :40].copy() for name in ("rna", "atac"))
    rna.obs = pd.DataFrame({"library": "x", "n": range(30)}, index=rna.obs_names)
    atac.obs = pd.DataFrame({"library": "y", "n": range(30)}, index=atac.obs_names)
    expected = {"n": [*range(30)], "library": ["x"] * 30, "atac:library": ["y"] * 30}
    path = tmp_path / f"cells.{kind}"
    if kind == "folder":
        path.mkdir()
        rna.write_h5ad(path / "rna.h5ad")
        atac.write_h5ad(path / "atac.h5ad")
    else:
        mdata = MuData({"GEX": rna, "peaks": atac})
        mdata.obs["GEX:lane"], mdata.obs["GEX:n"] = 7, range(30)
        mdata.write_h5mu(path) if kind == "h5mu" else mdata.write_zarr(path)
        expected["GEX:lane"] = [7] * 30
    for cells in (scmvp.read(path), scmvp.read(path, backed=True)):
        assert {name: cells.obs[name].tolist() for name in cells.obs} == expected
        assert [*cells.obs.index] == [*rna.obs_names]
    if kind == "h5mu":
        table = cells_table(mdata, {"rna": rna, "atac": atac})
        assert sorted(table) == ["GEX:lane", "atac_library", "library", "n"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["h5mu", "zarr"])
def test_columns_of_a_mudata_itself_are_read(simulated, tmp_path, kind):
    mdata = simulated.copy()
    mdata.obs["lane"] = np.arange(mdata.n_obs) % 2
    path = tmp_path / f"cells.{kind}"
    mdata.write_h5mu(path) if kind == "h5mu" else mdata.write_zarr(path)
    read = scmvp.read(path, backed=True)
    assert read.obs["lane"].astype(int).tolist() == mdata.obs["lane"].loc[read.cells].tolist()
    scmvp.SCMVP(read, n_clusters=2, batch="lane")
