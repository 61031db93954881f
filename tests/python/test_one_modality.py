"""Files in which one modality was measured: read as they are, embedded, joined to others."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from conftest import TenX
from mudata import MuData
from runs import draw_runs, write_run

import scmvp
from scmvp import cli
from scmvp.data.checks import check_paired
from scmvp.data.types import Expected
from scmvp.errors import InputNote
from scmvp.modalities import PAIR

TYPES = {"rna": "Gene Expression", "atac": "Peaks"}


def bare(adata: AnnData) -> AnnData:
    """Counts and names alone: nothing says what the features are."""
    names = pd.DataFrame(index=adata.obs_names), pd.DataFrame(index=adata.var_names)
    return AnnData(sp.csr_matrix(adata.X), *names)


def half(mdata: MuData, modality: str) -> TenX:
    """What Cell Ranger makes of one modality."""
    whole = TenX(mdata)
    kept = np.array(whole.types) == TYPES[modality]
    whole.counts = whole.counts[:, kept]
    for column in ("names", "ids", "types"):
        setattr(whole, column, list(np.array(getattr(whole, column))[kept]))
    return whole


def write(kind: str, mdata: MuData, modality: str, folder):
    """A file, or folder, of one modality."""
    adata = bare(mdata[modality])
    if kind == "untyped h5ad":
        adata.write_h5ad(path := folder / "cells.h5ad")
    elif kind == "typed h5ad":
        adata.var["feature_types"] = TYPES[modality]
        adata.write_h5ad(path := folder / "cells.h5ad")
    elif kind == "zarr":
        adata.write_zarr(path := folder / "cells.zarr")
    elif kind == "folder":
        path = folder / "pair"
        path.mkdir()
        adata.write_h5ad(path / f"{modality}.h5ad")
    elif kind == "h5mu":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MuData({modality: adata}).write(path := folder / "cells.h5mu")
    elif kind == "10x":
        path = half(mdata, modality).write_h5(folder / "filtered_feature_bc_matrix.h5")
    else:
        path = half(mdata, modality).write_folder(folder / "matrix", gzipped=False)
        rows = (path / "features.tsv").read_text().splitlines()
        if kind == "peaks.bed" and modality == "atac":
            places = [row.split("\t")[1].replace(":", "-").split("-") for row in rows]
            (path / "peaks.bed").write_text("".join("\t".join(place) + "\n" for place in places))
            (path / "features.tsv").unlink()
        elif kind == "genes.tsv":
            kept = ["\t".join(row.split("\t")[:2]) for row in rows]
            (path / "genes.tsv").write_text("\n".join(kept))
            (path / "features.tsv").unlink()
    return path


ROW_BY_ROW = ("untyped h5ad", "typed h5ad", "zarr", "folder", "h5mu", "10x")


@pytest.mark.slow
@pytest.mark.parametrize("modality", PAIR)
@pytest.mark.parametrize("kind", [*ROW_BY_ROW, "features.tsv", "genes.tsv", "peaks.bed"])
@pytest.mark.filterwarnings("ignore::scmvp.errors.InputNote")
def test_each_kind_of_file_may_have_one_modality(simulated, tmp_path, kind, modality):
    path = write(kind, simulated, modality, tmp_path)
    for backed in (False, True) if kind in ROW_BY_ROW else (False,):
        read = check_paired(scmvp.read(path, backed=backed), modalities=modality)
        assert [*read.counts] == [modality]
        assert list(read.cells) == list(simulated.obs_names)
        names = [str(name).replace(":", "-") for name in read.features[modality]]
        assert names == [str(name).replace(":", "-") for name in simulated[modality].var_names]
        counts = read.counts[modality]
        counts = counts if sp.issparse(counts) else sp.vstack(list(counts.blocks()))
        assert (counts != simulated[modality].X).nnz == 0


def test_what_is_guessed_is_said_and_what_is_stated_is_taken(simulated, tmp_path, refused):
    for modality, word in (("rna", "genes"), ("atac", "peaks")):
        bare(simulated[modality]).write_h5ad(tmp_path / "x.h5ad")
        with pytest.warns(InputNote, match=f"read as {word}"):
            scmvp.read(tmp_path / "x.h5ad")
    both = sp.hstack([simulated["rna"].X, simulated["atac"].X], format="csr")
    names = [*simulated["rna"].var_names, *simulated["atac"].var_names]
    mixed = AnnData(both, simulated.obs[[]], pd.DataFrame(index=names))
    mixed.write_h5ad(tmp_path / "mixed.h5ad")
    for backed in (False, True):
        call = lambda backed=backed: scmvp.read(tmp_path / "mixed.h5ad", backed=backed)  # noqa: E731
        refused(call, "does not state which", "rna.h5ad and atac.h5ad")
    refused(lambda: scmvp.SCMVP(mixed), "does not state which", "(rna, atac)")
    for stated in ("rna", "atac"):
        refused(lambda stated=stated: scmvp.SCMVP(mixed, modalities=stated), "does not state which")
    for stated in ("rna", "protein"):
        refused(lambda stated=stated: scmvp.read(tmp_path / "x.h5ad", modalities=stated), "ranges")
    bare(simulated["rna"]).write_h5ad(tmp_path / "x.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputNote)
        read = scmvp.read(tmp_path / "x.h5ad", modalities="protein")
    assert [*read.mod] == ["protein"] and read.n_vars == 300


@pytest.mark.slow
def test_only_the_modalities_that_are_asked_for_are_read(simulated, ten_x, tmp_path, refused):
    simulated.write(tmp_path / "cells.h5mu")
    paths = [tmp_path / "cells.h5mu", ten_x.write_h5(tmp_path / "x.h5")]
    for path in (*paths, ten_x.write_folder(tmp_path / "matrix")):
        for backed in (False, True) if path in paths else (False,):
            read = scmvp.read(path, backed=backed, modalities=["peaks"])
            assert [*check_paired(read, modalities="atac").counts] == ["atac"]
            refused(
                lambda path=path, backed=backed: scmvp.read(path, backed, modalities="protein"),
                str(path),
                "the data have 'rna' or 'atac'",
            )
    refused(lambda: scmvp.read(paths[0], modalities="atak"), "'atak'", "known are 'rna'")


@pytest.mark.slow
@pytest.mark.parametrize("backed", ["yes", "no"])
def test_a_fit_needs_both_or_a_word(simulated, tmp_path, capsys, backed):
    path = write("10x", simulated, "rna", tmp_path)
    how = ["--out", tmp_path / "out", "--max-epochs", 1, "--n-clusters", 2, "--backed", backed]
    command = ["fit", str(path), *map(str, how)]
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert "ATAC modality is missing" in said and "--modalities rna for these alone" in said
    assert "AnnData" not in said
    assert cli.main([*command, "--modalities", "rna"]) == 0


def test_an_anndata_of_one_modality_can_be_fitted(simulated, refused):
    rna = bare(simulated["rna"])
    model = scmvp.SCMVP(rna, modalities="rna", n_clusters=2)
    assert [*model.features] == ["rna"] and len(model.cells) == 240
    with pytest.warns(InputNote, match="read as genes"):
        refused(lambda: scmvp.SCMVP(rna), "ATAC modality is missing", "modalities=('rna',)")


@pytest.fixture(scope="module")
def folder(simulated, tmp_path_factory):
    """A fit of both modalities and of proteins that are called as genes."""
    folder = tmp_path_factory.mktemp("fitted")
    protein = bare(simulated["rna"][:, :30])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells = MuData({**dict(simulated.mod), "protein": protein})
    model = scmvp.SCMVP(cells, n_clusters=3).train(max_epochs=2, seed=0, progress=False)
    model.save(folder / "model")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("modality", PAIR)
@pytest.mark.parametrize("kind", ["untyped h5ad", "h5mu", "10x"])
def test_the_command_line_embeds_cells_of_one_modality(folder, simulated, tmp_path, kind, modality):
    path = write(kind, simulated, modality, tmp_path)
    model = scmvp.SCMVP.load(folder / "model")
    parts = tuple(simulated[of] if of == modality else None for of in PAIR)
    wanted = model.get_latent_representation(parts)
    np.testing.assert_array_equal(
        model.get_latent_representation(bare(simulated[modality])), wanted
    )
    for backed in ("yes", "no"):
        out = tmp_path / f"{backed}.csv"
        how = ["--out", str(out), "--backed", backed, "--quiet"]
        assert cli.main(["embed", str(folder / "model"), str(path), *how]) == 0
        found = pd.read_csv(out, index_col=0)
        assert list(found.index) == list(simulated.obs_names)
        np.testing.assert_allclose(found.to_numpy(), wanted, atol=1e-4)


@pytest.mark.slow
def test_cells_are_not_embedded_from_a_modality_that_none_has(
    folder, simulated, tmp_path, refused, capsys
):
    model, rna = scmvp.SCMVP.load(folder / "model"), simulated["rna"]
    for cells in ((rna, None), MuData({"rna": rna.copy()})):
        refused(
            lambda cells=cells: model.get_latent_representation(cells, "atac"),
            "none of 240 cells has ATAC counts", "in which ATAC was measured",
        )  # fmt: skip
    path, out = write("typed h5ad", simulated, "rna", tmp_path), tmp_path / "out.csv"
    how = ["--modality", "atac", "--out", str(out), "--quiet"]
    for backed in ("yes", "no"):
        call = ["embed", str(folder / "model"), str(path), *how, "--backed", backed]
        assert cli.main(call) == 2 and not out.exists()
        assert "none of 240 cells has ATAC counts" in capsys.readouterr().err


@pytest.mark.slow
def test_other_verbs_take_cells_of_one_modality(folder, simulated, tmp_path):
    path = write("untyped h5ad", simulated, "rna", tmp_path)
    model = scmvp.SCMVP.load(folder / "model")
    how = ["--modality", "atac", "--out", str(tmp_path / "out.h5"), "--quiet"]
    assert cli.main(["impute", str(folder / "model"), str(path), *how]) == 0
    cells = (simulated["rna"], None)
    wanted = model.get_accessibility_estimates(cells)
    np.testing.assert_allclose(anndata.read_h5ad(tmp_path / "out.h5").X, wanted, rtol=1e-3)
    model.report(tmp_path / "report.html", simulated["rna"], groupby="cell_type")
    page = (tmp_path / "report.html").read_text()
    assert "<h3>Genes</h3>" in page and "<h3>Peaks</h3>" not in page
    assert "240 cells have no ATAC counts" in page
    how = ["--modality", "rna", "--out", str(tmp_path / "out.csv"), "--quiet"]
    assert cli.main(["differential", str(folder / "model"), str(path), *how]) == 0
    table = pd.read_csv(tmp_path / "out.csv", dtype={"group": str})
    own = model.differential("rna", cells, groupby=model.predict(cells))
    pd.testing.assert_frame_equal(
        table, own, check_dtype=False, check_categorical=False, rtol=1e-3, atol=1e-3
    )


def test_features_that_may_be_of_two_modalities_of_the_model(folder, simulated, refused):
    model = scmvp.SCMVP.load(folder / "model")
    few = bare(simulated["rna"][:, :30])
    refused(lambda: model.get_latent_representation(few), "may hold RNA or protein")
    with_others = bare(simulated["rna"])
    renamed = [f"ADT{i}" if i >= 280 else name for i, name in enumerate(with_others.var_names)]
    with_others.var_names = renamed
    other = Expected(known=model.features | {"protein": np.array(renamed[280:])})
    refused(lambda: other.of_names(np.array(renamed), "x"), "x may hold RNA or protein")
    assert other.of_names(np.array(renamed[:290]), "x") == "rna"
    few.var["feature_types"] = "Antibody Capture"
    np.testing.assert_array_equal(
        model.get_latent_representation(few), model.get_latent_representation((None, None, few))
    )


def test_features_of_each_type_are_taken_where_genes_are_not_among_them(simulated, refused):
    """Peaks and proteins in one AnnData, as ASAP-seq has them."""
    peaks, proteins = bare(simulated["atac"]), bare(simulated["rna"][:, :30])
    both = AnnData(sp.hstack([peaks.X, proteins.X], format="csr"), simulated.obs[["cell_type"]])
    both.var_names = [*peaks.var_names, *proteins.var_names]
    both.var["feature_types"] = ["Peaks"] * 600 + ["Antibody Capture"] * 30
    both.obs["sample"] = np.repeat(["a", "b", "c"], 80)
    sums = {of: scmvp.pseudobulk(both, "sample", "cell_type", of) for of in ("atac", "protein")}
    assert list(sums["protein"].var_names) == list(proteins.var_names)
    assert list(sums["atac"].var_names) == list(peaks.var_names)
    for of, part in (("atac", peaks), ("protein", proteins)):
        assert sums[of].X.sum() == part.X.sum()
    refused(lambda: scmvp.pseudobulk(both, "sample", "cell_type", "rna"), "'atac' or 'protein'")
    typed = both[:, :600].copy()
    refused(lambda: scmvp.pseudobulk(typed, "sample", "cell_type", "rna"), "'atac'")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.random((600, 5)) < 0.1, peaks.var_names, list("ABCDE"))
    found, alone = (scmvp.motif_activity(cells, table, seed=0) for cells in (both, peaks))
    np.testing.assert_allclose(found.X, alone.X)


def test_cells_with_none_of_the_modalities_of_a_model(simulated, tmp_path, refused, capsys):
    rna = scmvp.SCMVP(simulated["rna"], modalities="rna", n_clusters=2)
    rna.train(max_epochs=1, progress=False).save(tmp_path / "rna")
    words = "the cells have ATAC, but the model has RNA"
    refused(lambda: rna.predict(simulated["atac"]), words)
    path = str(write("10x", simulated, "atac", tmp_path))
    for backed in ("yes", "no"):
        how = ["--out", str(tmp_path / "x.csv"), "--backed", backed]
        assert cli.main(["embed", str(tmp_path / "rna"), path, *how]) == 2
        assert words in capsys.readouterr().err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        some = MuData({"rna": simulated["rna"][:100].copy(), "atac": simulated["atac"].copy()})
    with pytest.warns(InputNote, match="140 cells have no RNA and are left out"):
        assert len(rna.get_latent_representation(some)) == 100


def test_counts_of_genes_and_peaks_in_raw_are_not_taken_for_genes(simulated, tmp_path, refused):
    both = sp.hstack([simulated["rna"].X, simulated["atac"].X], format="csr")
    names = [*simulated["rna"].var_names, *simulated["atac"].var_names]
    rna = bare(simulated["rna"])
    rna.X = rna.X * 0.5
    rna.raw = AnnData(both, rna.obs, pd.DataFrame(index=names))
    rna.write_h5ad(tmp_path / "x.h5ad")
    for backed in (False, True):
        call = lambda backed=backed: scmvp.read(tmp_path / "x.h5ad", backed=backed)  # noqa: E731
        refused(call, ".raw does not state which")
    call = lambda: scmvp.SCMVP(rna, modalities="rna", rna_layer="raw")  # noqa: E731
    refused(call, ".raw does not state which")


def test_one_anndata_is_filtered(simulated):
    found = scmvp.filter_paired(bare(simulated["rna"]), 1, 1, 1, verbose=False)
    assert [*found.mod] == ["rna"] and found.n_obs == 240


# ---- folders of Cell Ranger, and samples ---------------------------------------------------------


def test_outs_of_other_cell_rangers(simulated, tmp_path):
    outs = tmp_path / "run1" / "outs"
    outs.mkdir(parents=True)
    half(simulated, "atac").write_h5(outs / "filtered_peak_bc_matrix.h5")
    assert [*scmvp.read(outs).mod] == ["atac"]
    multi = tmp_path / "donor7" / "count"
    multi.mkdir(parents=True)
    half(simulated, "rna").write_h5(multi / "sample_filtered_feature_bc_matrix.h5")
    assert [*scmvp.read(multi).mod] == ["rna"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputNote)
        joined = scmvp.read_samples([outs, multi], mosaic=True)
    assert list(joined.obs["sample"].unique()) == ["donor7", "run1"]


def test_samples_of_one_modality_join_a_mosaic(simulated, tmp_path, refused):
    paths = {}
    parts = {"a": simulated[:100], "b": simulated[100:180], "c": simulated[180:]}
    for name, modality in (("a", None), ("b", "rna"), ("c", "atac")):
        (tmp_path / name).mkdir()
        if modality is None:
            paths[name] = TenX(parts[name]).write_h5(tmp_path / name / "x.h5")
        else:
            paths[name] = write("10x", parts[name], modality, tmp_path / name)
    refused(lambda: scmvp.read_samples(paths), "RNA is missing in 'c'", "'a', 'b'", "mosaic=True")
    joined = scmvp.read_samples(paths, mosaic=True)
    cells = {name: [f"{name}_{cell}" for cell in part.obs_names] for name, part in parts.items()}
    assert list(joined["rna"].obs_names) == cells["a"] + cells["b"]
    assert list(joined["atac"].obs_names) == cells["a"] + cells["c"]
    assert list(joined.obs["sample"]) == ["a"] * 100 + ["b"] * 80 + ["c"] * 60
    for modality, names in (("rna", "ab"), ("atac", "ac")):
        before = sp.vstack([parts[name][modality].X for name in names])
        assert (joined[modality].X != before).nnz == 0
    model = scmvp.SCMVP(joined, mosaic=True, batch="sample", n_clusters=2)
    assert model.account["cells_without_rna"] == 60 and model.account["cells_without_atac"] == 80
    alone = {"b": paths["b"]}
    assert [*scmvp.read_samples(alone).mod] == ["rna"]
    refused(lambda: scmvp.read_samples(alone, fragments=True), "no sample has ATAC")


def test_fragments_of_samples_without_peaks_are_not_asked_for(tmp_path, capsys):
    runs = draw_runs()
    paths = {name: write_run(tmp_path / name, run) / "outs" for name, run in runs.items()}
    first = next(iter(paths))
    mdata = scmvp.read(paths[first])
    mdata["rna"].X.data += 1  # other cells with the same barcodes
    (tmp_path / "rna").mkdir()
    paths["rna"] = write("10x", mdata, "rna", tmp_path / "rna").parent
    given = [f"{name}={path}" for name, path in paths.items()]
    command = ["join", *given, "--mosaic", "--fragments", "--out", str(tmp_path / "j.h5mu")]
    assert cli.main(command) == 0
    said = capsys.readouterr().err
    n = sum(len(run.cells) for run in runs.values()) + mdata.n_obs
    assert f"{len(paths)} samples, {n} cells" in said
    joined = scmvp.read(tmp_path / "j.h5mu", mosaic=True)
    assert joined["atac"].n_obs == n - mdata.n_obs
    files = {name: path / "atac_fragments.tsv.gz" for name, path in paths.items() if name != "rna"}
    files["rna"] = files[first]
    with pytest.warns(InputNote, match="fragments of 'rna' are not read"):
        scmvp.read_samples(paths, fragments=files, mosaic=True)


@pytest.mark.slow
def test_methylation_without_x_joins_the_samples(simulated, tmp_path):
    covered = sp.csr_matrix(np.random.default_rng(0).poisson(3.0, (240, 20)).astype(np.float32))
    paths = {}
    for name, rows in (("a", slice(0, 120)), ("b", slice(120, 240))):
        part = simulated[rows]
        methylation = AnnData(obs=part["rna"].obs[[]], var=pd.DataFrame(index=map(str, range(20))))
        methylation.layers["covered"] = covered[rows]
        methylation.layers["methylated"] = covered[rows].sign()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mods = {of: bare(part[of]) for of in PAIR} | {"methylation": methylation}
            MuData(mods).write(paths.setdefault(name, tmp_path / f"{name}.h5mu"))
    joined = scmvp.read_samples(paths)
    assert (joined["methylation"].layers["covered"] != covered).nnz == 0


def test_one_sample_that_is_given_as_two_is_told(simulated, tmp_path):
    paths = {}
    for modality in PAIR:
        (tmp_path / modality).mkdir()
        paths[modality] = write("10x", simulated, modality, tmp_path / modality)
    with pytest.warns(InputNote, match="rna has RNA and atac has ATAC of 240 cells of the same"):
        joined = scmvp.read_samples(paths, mosaic=True)
    assert joined.n_obs == 480


@pytest.mark.slow
def test_proteins_of_some_samples_join_a_mosaic(simulated, tmp_path):
    paths = {}
    for name, part in (("a", simulated[:120]), ("b", simulated[120:])):
        (tmp_path / name).mkdir()
        mods = {of: bare(part[of]) for of in PAIR}
        if name == "a":
            mods["protein"] = bare(part["rna"][:, :20])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MuData(mods).write(paths.setdefault(name, tmp_path / name / "cells.h5mu"))
    with pytest.warns(InputNote, match="proteins are left out"):
        assert "protein" not in scmvp.read_samples(paths).mod
    joined = scmvp.read_samples(paths, mosaic=True)
    assert joined["protein"].n_obs == 120 and joined.n_obs == 240
    model = scmvp.SCMVP(joined, mosaic=True, n_clusters=2)
    assert model.account["cells_without_protein"] == 120
