"""Which modality is which and where its counts are, the same by every route."""

from __future__ import annotations

import re
import shlex
import shutil
import warnings
from functools import partial

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from conftest import TenX
from mudata import MuData

import scmvp
from scmvp import cli
from scmvp.data.annotated import column_of
from scmvp.data.checks import check_paired
from scmvp.data.containers import tables_of
from scmvp.data.joining import join
from scmvp.errors import InputNote
from scmvp.modalities import modality_of
from scmvp.report.write import obs_of


def dense(matrix) -> np.ndarray:
    matrix = matrix[:] if isinstance(matrix, scmvp.data.matrices.DiskRows) else matrix
    return sp.csr_matrix(matrix).toarray()


def rna_read(path, **options) -> np.ndarray:
    """RNA counts of a file by both ways of reading, which have to agree."""
    in_memory = dense(scmvp.read(path, **options)["rna"].X)
    on_disk = dense(scmvp.read(path, backed=True, **options).rna)
    np.testing.assert_array_equal(on_disk, in_memory)
    return in_memory


def notes_of(call) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(note.message) for note in caught if note.category is InputNote]


def run(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def counts(simulated) -> np.ndarray:
    return dense(simulated["rna"].X)


def corrected(counts: np.ndarray) -> np.ndarray:
    """Whole numbers that are not the counts, such as SCT's."""
    return np.ceil(counts / 2).astype(np.float32)


# ---- an X of whole numbers that is not the counts


@pytest.mark.slow
@pytest.mark.parametrize("where", ["layer", "raw"])
@pytest.mark.parametrize("change", [lambda x: (x > 0).astype(np.float32), corrected])
def test_files_give_the_counts_and_not_other_whole_numbers(
    pair_folder, simulated, counts, where, change
):
    rna = simulated["rna"].copy()
    if where == "layer":
        rna.layers["counts"] = rna.X.copy()
    else:
        rna.raw = rna.copy()
        rna = rna[:, ::-1].copy()  # and fewer, in another order
    rna.X = sp.csr_matrix(change(dense(rna.X)))
    rna.write_h5ad(pair_folder / "rna.h5ad")
    with pytest.warns(InputNote, match="other counts") as caught:
        np.testing.assert_array_equal(rna_read(pair_folder), counts)
    said = str(caught[0].message)
    assert str(pair_folder / "rna.h5ad") in said or str(pair_folder) in said
    # what the note says of the other choice can be followed
    name, value = re.search(r"use (rna_layer)='(\w+)'", said).groups()
    np.testing.assert_array_equal(rna_read(pair_folder, **{name: value}), dense(rna.X))
    # and a model of what was chosen has nothing to say against it
    for options in ({}, {name: value}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chosen = scmvp.read(pair_folder, **options)
        assert notes_of(lambda chosen=chosen: check_paired(chosen)) == []


def test_a_layer_of_ones_beside_counts_is_left(pair_folder, simulated, counts):
    rna = simulated["rna"].copy()
    rna.layers["counts"] = sp.csr_matrix((counts > 0).astype(np.float32))
    rna.write_h5ad(pair_folder / "rna.h5ad")
    with pytest.warns(InputNote, match="X is taken"):
        np.testing.assert_array_equal(rna_read(pair_folder), counts)


def test_the_same_counts_twice_or_fewer_of_raw_are_taken_without_a_word(pair_folder, simulated):
    rna = simulated["rna"].copy()
    rna.layers["counts"] = rna.X.astype(np.int64)
    rna.raw = rna.copy()
    rna = rna[:, 250:10:-1].copy()
    rna.write_h5ad(pair_folder / "rna.h5ad")
    assert notes_of(lambda: rna_read(pair_folder)) == []
    assert notes_of(lambda: check_paired((rna, simulated["atac"]))) == []


def test_in_memory_x_is_taken_and_the_argument_for_the_other_is_said(simulated, counts):
    rna = simulated["rna"].copy()
    rna.layers["counts"] = rna.X.copy()
    rna.X = sp.csr_matrix((counts > 0).astype(np.float32))
    pair = rna, simulated["atac"]
    with pytest.warns(InputNote, match="only zeros and ones") as caught:
        np.testing.assert_array_equal(dense(check_paired(pair).rna), counts > 0)
    argument = re.search(r"use (\w+)='(\w+)'", str(caught[0].message)).groups()
    followed = []
    assert notes_of(lambda: followed.append(check_paired(pair, **dict([argument])))) == []
    np.testing.assert_array_equal(dense(followed[0].rna), counts)
    assert notes_of(lambda: check_paired(pair, rna_layer="X")) == []


# ---- an X that is not counts: what is said can be done


def normalized(simulated, where: str) -> AnnData:
    rna = simulated["rna"].copy()
    if where == "raw":
        rna.raw = rna.copy()
    else:
        rna.layers[where] = rna.X.copy()
    rna.X = sp.csr_matrix(np.log1p(dense(rna.X)))
    return rna


@pytest.mark.parametrize("where", ["counts", "spliced", "raw"])
def test_python_says_which_argument_takes_the_counts(simulated, counts, refused, where):
    pair = normalized(simulated, where), simulated["atac"]
    said = refused(lambda: scmvp.SCMVP(pair), "looks normalized", "holds whole numbers")
    argument = dict([re.search(r"use (\w+)='(\w+)'", said).groups()])
    assert argument == {"rna_layer": where}
    np.testing.assert_array_equal(dense(check_paired(pair, **argument).rna), counts)
    pair[0].X = None
    assert str(argument["rna_layer"]) in refused(lambda: scmvp.SCMVP(pair), "has no X", "use")


def test_nothing_is_advised_where_there_are_no_counts(simulated, refused):
    rna = normalized(simulated, "counts")
    rna.layers["counts"] = rna.X
    said = refused(lambda: scmvp.SCMVP((rna, simulated["atac"])), "looks normalized")
    assert "layer" not in said and "raw counts" in said


@pytest.mark.slow
def test_the_command_line_says_which_flag_takes_the_counts(
    pair_folder, simulated, tmp_path, capsys
):
    normalized(simulated, "spliced").write_h5ad(pair_folder / "rna.h5ad")
    fit = ["fit", pair_folder, "--out", tmp_path / "out", "--max-epochs", 1, "--n-clusters", 3]
    for backed in ("no", "yes"):
        assert run(*fit, "--backed", backed) == 2
        said = capsys.readouterr().err
        assert "rna_layer" not in said
        flags = re.findall(r"use (--rna-layer '\w+')", said)
        assert len(flags) == 2  # in the note and in the refusal
    assert run(*fit, *shlex.split(flags[-1]), "--quiet") == 0
    # the model does not look for this layer elsewhere, as in R
    model = scmvp.SCMVP.load(tmp_path / "out" / "model")
    assert model.get_latent_representation(simulated).shape == (240, 20)


@pytest.mark.slow
def test_the_command_line_names_its_other_flags_too(pair_folder, simulated, tmp_path, capsys):
    simulated["atac"][5:].write_h5ad(pair_folder / "atac.h5ad")
    fit = ["fit", pair_folder, "--out", tmp_path / "out", "--max-epochs", 1, "--n-clusters", 3]
    assert run(*fit) == 2
    assert "or use all cells with --mosaic" in capsys.readouterr().err
    assert run(*fit, "--mosaic", "--quiet") == 0


@pytest.fixture(scope="module")
def model(simulated):
    return scmvp.SCMVP(simulated, n_clusters=3).train(max_epochs=2, threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["counts", "raw"])
def test_a_query_is_refused_with_how_to_get_its_counts(simulated, refused, model, where):
    adata = normalized(simulated, where)
    said = refused(
        lambda: model.get_latent_representation((adata, simulated["atac"])), "looks normalized"
    )
    if where == "counts":
        exec(re.search(r"\((adata\.X = .*)\)", said)[1])  # noqa: S102 - as a user would
    else:
        adata = eval(re.search(r"give (adata\.\S+)", said)[1])  # noqa: S307
    latent = model.get_latent_representation((adata, simulated["atac"]))
    np.testing.assert_allclose(latent, model.get_latent_representation(), atol=1e-4)


@pytest.mark.slow
def test_a_query_without_the_layer_of_the_fitted_cells_is_read_from_x(simulated):
    rna = normalized(simulated, "counts")
    pair = rna, simulated["atac"]
    model = scmvp.SCMVP(pair, n_clusters=3, rna_layer="counts").train(max_epochs=1, threads=1)
    expected = model.get_latent_representation()
    for query in (pair, simulated):
        np.testing.assert_allclose(model.get_latent_representation(query), expected, atol=1e-4)


@pytest.mark.slow
def test_layers_are_refused_where_there_can_be_none(ten_x, tmp_path, refused):
    path = ten_x.write_h5(tmp_path / "x.h5")
    folder = ten_x.write_folder(tmp_path / "matrix")
    for given in (path, folder):
        refused(lambda given=given: scmvp.read(given, rna_layer="counts"), "has no layers", "leave")


# ---- which modality is which


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("gex", "rna"), ("GEX", "rna"), ("RNA", "rna"), ("Gene Expression", "rna"),
        ("gene_expression", "rna"), ("scRNA", "rna"), ("peaks", "atac"), ("Peaks", "atac"),
        ("ATAC", "atac"), ("Chromatin Accessibility", "atac"), ("scATAC-seq", "atac"),
        ("Antibody Capture", "protein"), ("adt", "protein"), ("atac2", "atac"), ("", None),
        (None, None),
    ],
)  # fmt: skip
def test_names_of_modalities(name, modality):
    assert modality_of(name) == modality


@pytest.mark.slow
def test_mudata_with_other_names(simulated, tmp_path, refused):
    mdata = MuData({"Peaks": simulated["atac"].copy(), "GEX": simulated["rna"].copy()})
    paired = check_paired(mdata)
    np.testing.assert_array_equal(dense(paired.rna), dense(simulated["rna"].X))
    np.testing.assert_array_equal(dense(paired.atac), dense(simulated["atac"].X))
    mdata.write(tmp_path / "cells.h5mu")
    np.testing.assert_array_equal(rna_read(tmp_path / "cells.h5mu"), dense(simulated["rna"].X))
    parts = {"gex": simulated["rna"], "genes": simulated["rna"], "atac": simulated["atac"]}
    both = MuData({name: adata.copy() for name, adata in parts.items()})
    refused(lambda: check_paired(both), "'gex', 'genes'", "RNA")
    other = MuData({"a": simulated["rna"].copy(), "b": simulated["atac"].copy()})
    refused(lambda: check_paired(other), "'a', 'b'", "pair (rna, atac)")
    assert len(check_paired((other["a"], other["b"])).cells) == 240


@pytest.fixture(params=["feature_types", "modality"])
def both(request, simulated) -> AnnData:
    """What scanpy's read_10x_h5(gex_only=False) and scvi-tools make: all features in one."""
    parts = simulated["atac"], simulated["rna"]
    extra = sp.csr_matrix(np.full((240, 2), 7, np.float32))
    matrix = sp.hstack([parts[0].X, extra, parts[1].X], format="csr")
    names = [*parts[0].var_names, "CD3", "CD4", *parts[1].var_names]
    types = ["Peaks"] * 600 + ["Multiplexing Capture"] * 2 + ["Gene Expression"] * 300
    var = pd.DataFrame({request.param: pd.Categorical(types)}, index=names)
    obs = simulated.obs[["cell_type"]].copy()
    return AnnData(matrix, obs=obs, var=var)


def assert_both(paired, simulated):
    rna, atac = paired.rna, paired.atac
    np.testing.assert_array_equal(dense(rna), dense(simulated["rna"].X))
    np.testing.assert_array_equal(dense(atac), dense(simulated["atac"].X))
    assert list(paired.genes) == list(simulated["rna"].var_names)
    assert list(paired.peaks) == list(simulated["atac"].var_names)
    assert list(paired.cells) == list(simulated.obs_names)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["memory", "h5ad", "zarr", "backed h5ad", "backed zarr", "on disk"]
)
def test_one_anndata_of_both_modalities(both, simulated, tmp_path, kind):
    path = tmp_path / f"cells.{kind.split()[-1] if kind != 'on disk' else 'h5ad'}"
    if path.suffix == ".zarr":
        both.write_zarr(path)
    else:
        both.write_h5ad(path)
    with pytest.warns(InputNote, match="2 features of type Multiplexing Capture left out"):
        if kind == "memory":
            paired = check_paired(both, columns=["cell_type"])
        elif kind == "on disk":
            paired = check_paired(anndata.read_h5ad(path, backed="r"), columns=["cell_type"])
        elif "backed" in kind:
            paired = scmvp.read(path, backed=True)
        else:
            paired = check_paired(scmvp.read(path), columns=["cell_type"])
    assert_both(paired, simulated)
    assert list(paired.obs["cell_type"]) == list(simulated.obs["cell_type"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::scmvp.errors.InputNote")
def test_counts_of_both_in_raw_and_names_that_repeat(both, simulated, tmp_path):
    names = both.var_names.to_numpy().astype(object)
    names[602:604] = "A"  # as gene names of 10x do
    names[0] = "A"
    both.var_names = names
    both.raw = both.copy()
    both.X = both.X * 0.5
    both = both[:, 10:].copy()
    path = tmp_path / "cells.h5ad"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        both.write_h5ad(path)
    for paired in (
        scmvp.read(path, backed=True),
        check_paired(scmvp.read(path)),
        check_paired(both, "raw", "raw"),
    ):
        np.testing.assert_array_equal(dense(paired.rna), dense(simulated["rna"].X))
        np.testing.assert_array_equal(dense(paired.atac), dense(simulated["atac"].X))
        assert [*paired.genes[:2], paired.peaks[0]] == ["A.1", "A.2", "A"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::scmvp.errors.InputNote")
def test_a_model_of_one_anndata(both, simulated, model, tmp_path):
    latent = model.get_latent_representation(both)
    np.testing.assert_allclose(latent, model.get_latent_representation(), atol=1e-4)
    both.write_h5ad(tmp_path / "cells.h5ad")
    arguments = ["--out", tmp_path / "out", "--max-epochs", 1, "--n-clusters", 3, "--quiet"]
    assert run("fit", tmp_path / "cells.h5ad", *arguments) == 0
    filtered, wanted = (
        scmvp.filter_paired(cells, 180, 280, 60, verbose=False) for cells in (both, simulated)
    )
    assert 0 < wanted.n_obs < 240 and wanted["rna"].n_vars < 300 and wanted["atac"].n_vars < 600
    for name in ("rna", "atac"):
        assert list(filtered[name].obs_names) == list(wanted[name].obs_names)
        assert list(filtered[name].var_names) == list(wanted[name].var_names)
        assert (filtered[name].X != wanted[name].X).nnz == 0


@pytest.mark.slow
def test_modalities_of_different_cells_are_refused(simulated, tmp_path, refused, capsys):
    apart = MuData({name: simulated[name] for name in ("rna", "atac")}, axis=1)
    assert apart.n_obs == 2 * simulated.n_obs
    for call in (
        lambda: scmvp.SCMVP(apart),
        lambda: scmvp.filter_paired(apart),
        lambda: scmvp.pseudobulk(apart, "cell_type", "cell_type"),
        lambda: scmvp.write_rds(apart, tmp_path / "apart.rds"),
    ):
        refused(call, "the MuData has axis=1", "make it with axis=0")
    files = tmp_path / "apart.h5mu", tmp_path / "apart.zarr"
    apart.write_h5mu(files[0])
    apart.write_zarr(files[1])
    for file in files:
        refused(partial(scmvp.read, file), f"{file}: the MuData has axis=1")
        refused(partial(scmvp.read, file, backed=True), f"{file}: the MuData has axis=1")
    assert cli.main(["fit", str(files[0]), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert capsys.readouterr().err.startswith(f"scmvp: {files[0]}: the MuData has axis=1")


def test_one_anndata_that_does_not_say_what_features_are(simulated, tmp_path, refused):
    adata = simulated["rna"].copy()
    adata.var["feature_types"] = "Gene Expression"
    refused(lambda: scmvp.SCMVP(adata), "ATAC modality is missing", "'rna'")
    adata.var["feature_types"] = "Multiplexing Capture"
    adata.write_h5ad(tmp_path / "x.h5ad")
    for read in (
        lambda: scmvp.SCMVP(adata),
        lambda: scmvp.read(tmp_path / "x.h5ad"),
        lambda: scmvp.read(tmp_path / "x.h5ad", backed=True),
    ):
        refused(read, "no features of type 'Gene Expression'", "Multiplexing")


@pytest.mark.slow
@pytest.mark.parametrize("lacking", [None, "filtered_feature_bc_matrix.h5"])
def test_the_outs_folder_of_cell_ranger_arc(ten_x, simulated, tmp_path, lacking):
    outs = tmp_path / "outs"
    outs.mkdir()
    other = TenX(simulated[:50])
    other.write_h5(outs / "raw_feature_bc_matrix.h5")
    ten_x.write_h5(outs / "filtered_feature_bc_matrix.h5")
    ten_x.write_folder(outs / "filtered_feature_bc_matrix")
    if lacking:
        (outs / lacking).unlink()
    else:
        shutil.rmtree(outs / "filtered_feature_bc_matrix")
        assert_both(scmvp.read(outs, backed=True), simulated)
    assert_both(check_paired(scmvp.read(outs)), simulated)


def test_extra_feature_types_are_counted(ten_x, tmp_path):
    ten_x.types[0] = ten_x.types[1] = "Multiplexing Capture"
    ten_x.types[2] = "CRISPR Guide Capture"
    path = ten_x.write_h5(tmp_path / "x.h5")
    for backed in (False, True):
        (note,) = notes_of(lambda backed=backed: scmvp.read(path, backed=backed))
        assert "2 features of type Multiplexing Capture and 1 feature of type CRISPR Guide" in note


@pytest.mark.slow
def test_features_of_other_types_in_a_file_of_one_modality(pair_folder, simulated, refused):
    rna = simulated["rna"].copy()
    rna.var["feature_types"] = ["Antibody Capture"] * 3 + ["Gene Expression"] * 297
    rna.raw = rna.copy()
    rna.X = rna.X * 0.5
    rna.write_h5ad(pair_folder / "rna.h5ad")
    with pytest.warns(InputNote, match="3 features of type Antibody Capture left out"):
        np.testing.assert_array_equal(rna_read(pair_folder), dense(simulated["rna"].X)[:, 3:])
    with pytest.warns(InputNote, match="3 features of type Antibody Capture left out"):
        paired = check_paired((rna, simulated["atac"]), "raw")
    np.testing.assert_array_equal(dense(paired.rna), dense(simulated["rna"].X)[:, 3:])
    assert list(paired.genes) == list(rna.var_names[3:])
    rna.var["feature_types"] = "Peaks"
    rna.raw = None
    rna.X = simulated["rna"].X
    rna.write_h5ad(pair_folder / "rna.h5ad")
    for backed in (False, True):
        refused(
            lambda backed=backed: scmvp.read(pair_folder, backed=backed),
            "no features of type 'Gene Expression'",
            "'Peaks'",
        )


@pytest.mark.slow
def test_modalities_that_are_neither_are_said(simulated, tmp_path):
    parts = {"rna": simulated["rna"], "atac": simulated["atac"], "crispr": simulated["rna"][:, :3]}
    mdata = MuData({name: adata.copy() for name, adata in parts.items()})
    mdata.write(tmp_path / "cells.h5mu")
    for backed in (False, True):
        (note,) = notes_of(lambda b=backed: scmvp.read(tmp_path / "cells.h5mu", backed=b))
        assert "left out ('crispr')" in note


def test_modalities_that_were_exchanged_are_refused(simulated, refused):
    pair = simulated["atac"], simulated["rna"]
    refused(lambda: scmvp.SCMVP(pair), "genomic ranges", "exchange the two")


def test_matrix_market_of_cell_ranger_2(ten_x, tmp_path, refused):
    folder = ten_x.write_folder(tmp_path / "matrix", gzipped=False)
    lines = (folder / "features.tsv").read_text().splitlines()
    rows = ["\t".join(line.split("\t")[:2]) for line in lines]
    (folder / "genes.tsv").write_text("\n".join(rows))
    content = (folder / "features.tsv").read_text()
    (folder / "features.tsv").unlink()
    refused(lambda: scmvp.read(folder), "not state which", "rna.h5ad and atac", "features.tsv")
    (folder / "features.tsv").write_text(content)  # as the sentence says
    assert len(scmvp.read(folder).obs_names) == 240


# ---- files of anndata before 0.7


def write_old_h5ad(adata: AnnData, path) -> None:
    """As anndata 0.6 wrote it: tables as compound datasets, categories in uns."""
    with h5py.File(path, "w") as file:
        for name, at in (("X", "X"), ("raw.X", "raw.X")):
            matrix = sp.csr_matrix(adata.X) * (0.5 if name == "X" else 1)
            group = file.create_group(at)
            group.attrs["h5sparse_format"] = np.bytes_("csr")
            group.attrs["h5sparse_shape"] = np.array(matrix.shape)
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(matrix, part)
        obs = adata.obs["cell_type"].astype("category")
        dtype = [("index", "S20"), ("cell_type", "i1"), ("depth", "f4")]
        rows = zip(
            [c.encode() for c in adata.obs_names], obs.cat.codes, range(adata.n_obs), strict=True
        )
        file["obs"] = np.array(list(rows), dtype=dtype)
        file.create_group("uns")["cell_type_categories"] = np.array(
            [str(level) for level in obs.cat.categories], dtype="S20"
        )
        var = np.array([(name.encode(),) for name in adata.var_names], dtype=[("index", "S40")])
        file["var"] = file["raw.var"] = var


@pytest.mark.filterwarnings("ignore")
def test_old_h5ad_files_stay_on_disk_too(simulated, tmp_path):
    for modality in ("rna", "atac"):
        adata = simulated[modality].copy()
        adata.obs["cell_type"] = simulated.obs["cell_type"]
        write_old_h5ad(adata, tmp_path / f"{modality}.h5ad")
    backed = scmvp.read(tmp_path, backed=True)
    assert_both(backed, simulated)
    assert list(backed.obs["cell_type"]) == list(simulated.obs["cell_type"].astype(str))
    assert list(backed.obs["depth"]) == list(range(240))
    assert_both(check_paired(scmvp.read(tmp_path)), simulated)  # by anndata's own reader


# ---- columns of the cells


def test_columns_of_both_modalities(simulated):
    rna, atac = (simulated[name][:, :5].copy() for name in ("rna", "atac"))
    rna.obs = pd.DataFrame({"same": range(240), "other": 1.0, "gap": None}, index=rna.obs_names)
    atac.obs = pd.DataFrame({"same": range(240), "other": 2, "gap": None}, index=atac.obs_names)
    atac.obs["only"] = pd.array([None, *[True] * 239], dtype="boolean")
    obs = join(rna, atac[::-1].copy()).obs
    assert sorted(obs) == ["atac:other", "gap", "only", "other", "same"]
    assert (obs["other"] == 1).all() and (obs["atac:other"] == 2).all()
    assert obs["only"].isna().tolist() == [True] + [False] * 239
    # with unimodal cells, a column of both is of all cells
    obs = join(rna[:200].copy(), atac[100:].copy(), mosaic=True).obs
    assert obs.loc[rna.obs_names, "same"].tolist() == list(range(240))
    assert obs["atac:other"].isna().sum() == 100


def test_columns_of_the_whole_are_kept_and_categories_stay_so(simulated):
    rna, atac = (simulated[name][:, :5].copy() for name in ("rna", "atac"))
    kinds = pd.Categorical(["x", "y", None] * 80, categories=["y", "x", "unused"])
    rna.obs = pd.DataFrame({"type": "old", "kind": kinds}, index=rna.obs_names)
    atac.obs = pd.DataFrame({"kind": kinds.astype(object)}, index=atac.obs_names)
    whole = pd.DataFrame({"type": "new"}, index=rna.obs_names[::-1])
    obs = join(rna, atac, obs=whole).obs
    assert sorted(obs) == ["kind", "rna:type", "type"]
    assert (obs["type"] == "new").all() and (obs["rna:type"] == "old").all()
    assert list(obs["kind"].cat.categories) == ["y", "x", "unused"]
    mosaic = join(rna[:100].copy(), atac[50:].copy(), mosaic=True).obs
    assert list(mosaic["kind"].cat.categories) == ["y", "x"]  # AnnData drops unused ones
    expected = pd.Series(kinds, rna.obs_names)
    assert mosaic.loc[rna.obs_names, "kind"].astype(str).equals(expected.astype(str))


def test_tables_of_cells_are_the_parts_that_are_there(simulated):
    rna, atac = simulated["rna"], simulated["atac"]
    named = MuData({"peaks": atac, "HTO": atac[:, :3].copy(), "GEX": rna})
    expected = [named, named["GEX"], named["peaks"], named["HTO"]]
    for data, tables in (
        (named, expected), ((rna, atac), [rna, atac]), ([rna, atac], [rna, atac]),
        ((None, atac), [atac]), ((rna, None), [rna]), (rna, [rna]), (None, []),
    ):  # fmt: skip
        assert [*map(id, tables_of(data))] == [*map(id, tables)]


def test_columns_of_a_pair_are_those_of_all_its_cells():
    """In a report, a differential test and sums of samples, whatever part is lacking."""
    rna, atac = (AnnData(np.ones((2, 1), np.float32)) for _ in range(2))
    rna.obs_names, atac.obs_names = ["a", "b"], ["b", "c"]
    rna.obs["donor"], atac.obs["donor"], atac.obs["depth"] = ["x", "y"], ["y", "z"], [5.0, 6.0]
    rna.var_names, atac.var_names = ["g"], ["chr1:1-9"]
    both = check_paired((rna, atac), mosaic=True)
    for pair in ((rna, atac), [rna, atac]):
        obs = obs_of(pair, both).loc[["a", "b", "c"]]
        assert obs["donor"].tolist() == ["x", "y", "z"]
        assert obs["depth"].tolist()[1:] == [5.0, 6.0] and np.isnan(obs["depth"].iloc[0])
        assert column_of(pair, "donor", both.cells).tolist() == ["x", "y", "z"]
    alone = check_paired((None, atac), absent={"rna": np.array(["g"]), "atac": atac.var_names})
    assert obs_of((None, atac), alone)["depth"].tolist() == [5.0, 6.0]
    sums = scmvp.pseudobulk((None, atac), ["s", "s"], ["t", "t"], "atac", min_cells=1)
    assert sums.X.toarray().tolist() == [[2]] and [*sums.obs] == ["group", "sample", "n_cells"]


# ---- the other functions that take cells


@pytest.mark.parametrize("where", ["counts", "raw"])
def test_filtering_says_and_takes_the_same_places(simulated, counts, refused, where):
    pair = normalized(simulated, where), simulated["atac"]
    said = refused(lambda: scmvp.filter_paired(pair, 1, 1, 1, verbose=False), "looks normalized")
    argument = dict([re.search(r"use (\w+)='(\w+)'", said).groups()])
    filtered = scmvp.filter_paired(pair, 1, 1, 1, verbose=False, **argument)
    assert filtered.n_obs == 240
    layer = {} if where == "raw" else argument
    seen = (counts > 0).sum(0) > 0
    np.testing.assert_array_equal(dense(check_paired(filtered, **layer).rna), counts[:, seen])


def test_an_r_object_is_not_made_of_other_whole_numbers_without_a_word(simulated, counts):
    from scmvp.r.objects import features_part

    rna = simulated["rna"].copy()
    rna.layers["counts"] = rna.X.copy()
    rna.X = sp.csr_matrix(corrected(counts))
    with pytest.warns(InputNote, match="use rna_layer='counts'"):
        features_part(rna, "rna", None, {})
    part = features_part(rna, "rna", "counts", {})
    np.testing.assert_array_equal(part["counts"].matrix.toarray(), counts)


def test_links_are_not_made_of_other_whole_numbers_without_a_word(simulated, counts):
    from scmvp.r.regulation import _values

    rna = simulated["rna"].copy()
    rna.layers["counts"] = rna.X.copy()
    rna.X = sp.csr_matrix(corrected(counts))
    for argument, said in ((None, "rna_layer='counts'"), ("layer", "use layer='counts'")):
        with pytest.warns(InputNote, match=said):
            _values(rna, "rna", None, argument=argument)
    np.testing.assert_array_equal(_values(rna, "rna", "counts").matrix.toarray(), counts)
