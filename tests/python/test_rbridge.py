from __future__ import annotations

import functools
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp
from anndata import AnnData
from commands import environment
from conftest import TenX
from mudata import MuData, read_h5mu

import scmvp
from scmvp.cli import main
from scmvp.errors import InputNote
from scmvp.modalities import ATAC
from scmvp.r import objects as objects_of_r
from scmvp.r import regulation, rengine, rserial, tables

HERE = Path(__file__).parent
KINDS = ("v3", "v5", "v5_split", "chromatin", "sce", "mae")
needs_r = pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")


def rscript(*arguments: object) -> str:
    done = subprocess.run(["Rscript", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@functools.cache
def r_has(package: str) -> bool:
    code = f"cat(nzchar(system.file(package = '{package}')))"
    return bool(shutil.which("Rscript")) and rscript("-e", code).endswith("TRUE")


@pytest.fixture(params=["process", "rpy2"])
def engine(request):
    if request.param == "rpy2":
        pytest.importorskip("rpy2")
    return request.param


# ---- R's own format


def awkward_values() -> dict:
    frame = pd.DataFrame(
        {
            "whole": [1, 2],
            "large": [2**31, 1],
            "real": [0.1, np.nan],
            "flag": [True, False],
            "type": pd.Categorical(["x", None], categories=["y", "x"]),
            "stage": pd.Categorical(["b", "a"], categories=["b", "a"], ordered=True),
            "text": ["é", None],
            "lost": pd.array([1, None], dtype="Int64"),
            "maybe": pd.array([True, None], dtype="boolean"),
            "string": pd.array(["q", None], dtype="string"),
        },
        index=["r1", "r2"],
    )
    csr = sp.random(5, 4, 0.5, format="csr", random_state=0)
    return {
        "frame": frame,
        "sparse": rserial.Named(csr, list("abcde"), list("wxyz")),
        "dense": rserial.Named(np.arange(6.0).reshape(2, 3), ["c1", "c2"], ["f1", "f2", "f3"]),
        "array": np.arange(6).reshape(2, 3),
        "list": [1, "a", None, {}],
        "long": np.random.default_rng(0).normal(size=100_000),
    }


@pytest.mark.slow
@needs_r
def test_r_reads_what_is_written_and_writes_it_again(tmp_path):
    values = awkward_values()
    with open(tmp_path / "in", "wb") as file:
        rserial.dump(values, file)
    said = rscript(
        "-e",
        f"""suppressMessages(library(Matrix)); x <- readRDS("{tmp_path}/in")
        f <- x$frame
        stopifnot(methods::validObject(x$sparse), identical(rownames(f), c("r1", "r2")),
          is.integer(f$whole), identical(f$large, c(2^31, 1)), identical(f$real, c(0.1, NA)),
          identical(f$flag, c(TRUE, FALSE)), identical(f$type, factor(c("x", NA), c("y", "x"))),
          identical(f$stage, factor(c("b", "a"), c("b", "a"), ordered = TRUE)),
          identical(f$text, c("\\u00e9", NA)), identical(f$lost, c(1L, NA)),
          identical(f$maybe, c(TRUE, NA)), identical(f$string, c("q", NA)),
          identical(dim(x$sparse), c(4L, 5L)), identical(rownames(x$sparse), c("w", "x", "y", "z")),
          identical(x$dense, matrix(0:5 + 0, 3, dimnames = list(paste0("f", 1:3), c("c1", "c2")))),
          identical(x$array, matrix(0:5, 2, byrow = TRUE)), is.null(x$list[[3]]))
        out <- file("{tmp_path}/out", "wb")
        serialize(x[names(x) != "dense"], out, version = 2, xdr = FALSE)
        close(out); cat("good")""",
    )
    assert said.endswith("good")
    with open(tmp_path / "out", "rb") as file:
        back = rserial.load(file)
    frame = values["frame"]
    for name in ("whole", "large", "real", "flag", "type", "stage"):
        assert back["frame"][name].tolist()[0] == frame[name].tolist()[0]
    pd.testing.assert_series_equal(back["frame"]["type"], frame["type"])
    pd.testing.assert_series_equal(back["frame"]["stage"], frame["stage"])
    assert back["frame"]["text"].tolist() == ["é", None]
    assert back["frame"]["maybe"].tolist() == [True, pd.NA]
    assert (back["sparse"].matrix != values["sparse"].matrix).nnz == 0
    assert (back["long"] == values["long"]).all()


def compare(kept: str, *arguments: object) -> str:
    """What r_compare.R prints."""
    given = ", ".join(f'"{argument}"' for argument in arguments)
    code = (
        f"local({{ commandArgs <- function(...) c({given}); printed <- utils::capture.output("
        f'source("{HERE}/r_compare.R", local = TRUE)); paste(printed, collapse = "\\n") }})'
    )
    if kept == "kept":
        return rengine.kept.eval(f"cat({code})")
    from rpy2 import rinterface

    return rinterface.evalr(code)[0]


@pytest.mark.parametrize(
    ("length", "written"),
    [
        (2**31 - 1, "ffffff7f"),
        (2**31, "ffffffff 00000000 00000080"),
        (3 * 2**32 + 5, "ffffffff 03000000 05000000"),
    ],
)
def test_lengths_of_long_vectors_are_those_of_r(length, written):
    """R writes -1, how often 2^32 is in it, and the rest ("R Internals", 1.8)."""
    file = io.BytesIO()
    rserial._Writer(file)._length(length)
    assert file.getvalue() == bytes.fromhex(written)
    file.seek(0)
    assert rserial._Reader(file)._length() == length


def test_what_r_cannot_hold_is_refused(refused):
    import io

    refused(lambda: rserial.dump(np.array([1j]), io.BytesIO()), "complex", "no counterpart")
    refused(lambda: rserial.dump(["a\0b"], io.BytesIO()), "NUL")


def test_results_without_cells_or_with_repeated_ones_are_refused(tmp_path, refused):
    path = tmp_path / "object.rds"
    path.touch()
    peaks = AnnData(np.ones((3, 1)), pd.DataFrame(index=["a", "a", "b"]))
    sentence = refused(lambda: scmvp.add_to_rds(path, peaks, path), "cell names of mdata: 'a'")
    assert "RNA" not in sentence
    refused(lambda: scmvp.add_to_rds(path, peaks[:0], path), "mdata has no cells")


# ---- objects


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> Path:
    """A folder with an object of each kind that R can make here; `written` names them."""
    if not r_has("SeuratObject"):
        pytest.skip("R with SeuratObject is not installed")
    folder = tmp_path_factory.mktemp("objects")
    (folder / "written").write_text(rscript(HERE / "r_objects.R", folder))
    return folder


@pytest.fixture
def object_of(objects):
    def find(kind: str) -> Path:
        if kind not in (objects / "written").read_text().split():
            pytest.skip(f"the R packages of an object '{kind}' are not installed")
        return objects / f"{kind}.rds"

    return find


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_object_to_mudata_and_back(kind, object_of, objects, tmp_path, kept):
    path = object_of(kind)
    mdata = scmvp.read_rds(path, layers=True, engine="process" if kind == "v3" else kept)
    for modality in ("rna", "atac"):
        written = sp.csr_matrix(scipy.io.mmread(objects / f"{modality}.mtx").T)
        assert (mdata[modality].X != written).nnz == 0
    assert list(mdata.obs["type"].cat.categories) == ["C", "B", "A"]
    assert list(mdata.obs["type"].astype(object).fillna("-")[:3]) == ["A", "B", "-"]
    assert mdata.obs["stage"].cat.ordered
    assert mdata.obs["good"].tolist()[:3] == [True, False, pd.NA]
    assert mdata.obs["sample"].tolist()[:3] == ["s1", None, "sé3"]
    assert np.isnan(mdata.obs["score"].iloc[0]) and mdata.obs["all_good"].dtype == bool
    peaks = mdata["atac"].var
    assert peaks.loc["chr2-41000-41500", ["chrom", "start", "end"]].tolist() == [
        "chr2",
        41000,
        41500,
    ]
    if kind in ("sce", "mae"):
        genes = mdata["rna"].var.loc[["Gene2", "Gene3"]]
        assert genes["strand"].tolist() == ["-", "+"] and genes["start"].tolist() == [1800, 2700]
        assert "strand" not in peaks  # none is known
    if kind in ("v3", "v5", "v5_split", "chromatin"):
        ranked = mdata["rna"].var.sort_values("highly_variable_rank")
        assert list(ranked.index[:3]) == ["Gene7", "Gene3", "Gene11"]
        assert "data" in mdata["rna"].layers
    # also after a file in between
    mdata.copy().write_h5mu(tmp_path / "x.h5mu")
    filed = read_h5mu(tmp_path / "x.h5mu")
    assert filed.uns["r_object"]["kind"] == mdata.uns["r_object"]["kind"]
    if kind == "mae":
        return
    scmvp.write_rds(mdata, tmp_path / "back.rds", mdata.uns["r_object"]["kind"], engine=kept)
    assert compare(kept, path, tmp_path / "back.rds", "same") == ""
    filed.uns["r_object"]["reductions"]["x"] = {}
    # what was chosen and computed anew is not mixed with what was before
    pca = "PCA" if kind == "sce" else "pca"
    filed["rna"].var["highly_variable"] = filed["rna"].var_names.isin(["Gene3", "Gene20"])
    filed.obsm[f"X_{pca}"] *= 2
    with pytest.warns(InputNote, match=f"X_{pca}.* has other values"):
        scmvp.write_rds(filed, tmp_path / "filed.rds", mdata.uns["r_object"]["kind"], engine=kept)
    back = scmvp.read_rds(tmp_path / "filed.rds", engine=kept)
    assert [*back["rna"].var_names[back["rna"].var["highly_variable"]]] == ["Gene3", "Gene20"]
    assert {*back.uns["r_object"]["reductions"][pca]} <= {"key", "assay", "global", "columns"}


def test_loadings_go_with_the_values_they_are_of():
    """Also of some cells, in another order, rounded to float32; not of other values."""
    values = np.random.default_rng(0).normal(size=(5, 2))
    counts = rserial.Named(sp.eye(5, format="csr"), list("abcde"), list("vwxyz"))
    part = {"counts": counts, "var": pd.DataFrame(index=range(5)), "layers": []}
    read = {"values": values, "key": ["PC_"], "columns": ["PC_1", "PC_2"], "stdev": np.ones(2)}
    parts = {
        "kind": ["Seurat"],
        "methylation": [False],
        "modalities": {"rna": {**part, "name": ["RNA"], "class": ["Assay"]}},
        "obs": pd.DataFrame({"type": list("xyxyx")}, index=range(5)),
        "reductions": {"pca": read},
    }
    mdata = objects_of_r.mudata_of(parts, Path("x.rds"))
    some = mdata[["d", "a"]].copy()
    some.obsm["X_pca"] = some.obsm["X_pca"].astype(np.float32)
    for cells in (mdata, some):
        found = objects_of_r.reductions_of(cells, {})["pca"]
        assert {*found} == {"values", "key", "columns", "stdev"}
    some.obsm["X_pca"][0, 0] += 1
    with pytest.warns(InputNote, match="without the original loadings"):
        found = objects_of_r.reductions_of(some, {})["pca"]
    assert {*found} == {"values", "key", "columns"}


@pytest.mark.parametrize("kind", ["v3_proteins", "citeseq", "sce_proteins"])
@pytest.mark.slow
def test_proteins_of_an_object_to_mudata_and_back(kind, object_of, objects, tmp_path, kept):
    path = object_of(kind)
    mdata = scmvp.read_rds(path, layers=True, engine=kept)
    others = ["rna"] if kind == "citeseq" else ["rna", "atac"]
    assert [*mdata.mod] == [*others, "protein"]
    written = sp.csr_matrix(scipy.io.mmread(objects / "protein.mtx").T)
    assert (mdata["protein"].X != written).nnz == 0
    assert list(mdata["protein"].var_names) == [f"CD{j}" for j in range(1, 9)]
    as_ = mdata.uns["r_object"]["kind"]
    scmvp.write_rds(mdata[::-1][::-1].copy(), tmp_path / "back.rds", as_, engine=kept)
    assert compare(kept, path, tmp_path / "back.rds", "same") == ""
    imputed = pd.DataFrame(
        np.arange(60.0).reshape(30, 2)[::-1], index=mdata.obs_names[::-1], columns=["CD7", "CD2"]
    )
    out = tmp_path / "added.rds"
    scmvp.add_to_rds(path, mdata, out, imputed={"protein": imputed}, engine=kept)
    *differences, logged = compare(kept, path, out, "added", "ADT", "CD2", "CD7").splitlines()
    assert differences == []
    np.testing.assert_allclose([float(x) for x in logged.split()], np.log1p([3, 2]), rtol=1e-6)
    again = scmvp.read_rds(out, engine=kept)  # imputed proteins are not taken for data
    assert (again["protein"].X != written).nnz == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_results_are_added_and_all_else_stays(kind, object_of, tmp_path, kept):
    path = object_of(kind)
    mdata = scmvp.read_rds(path, engine=kept)
    latent = np.random.default_rng(0).normal(size=(30, 4))
    mdata.obsm["X_scmvp"] = latent
    mdata.obs["scmvp_cluster"] = pd.Categorical(["a", "b", "c"] * 10)
    genes = ["Gene5", "Gene2"]
    rna = pd.DataFrame(np.arange(60.0).reshape(30, 2), index=mdata.obs_names, columns=genes)
    atac = pd.DataFrame(np.ones((30, 3)), mdata.obs_names, mdata["atac"].var_names[[7, 2, 5]])
    mixed = mdata[::-1].copy()
    before = path.read_bytes()
    if kind == "mae":
        with pytest.raises(scmvp.InputError, match="MultiAssayExperiment"):
            scmvp.add_to_rds(path, mixed, tmp_path / "new.rds", engine=kept)
        return
    imputed = {"rna": rna, "atac": atac}
    scmvp.add_to_rds(path, mixed, tmp_path / "new.rds", imputed=imputed, engine=kept)
    assert path.read_bytes() == before
    *differences, logged = compare(
        kept, path, tmp_path / "new.rds", "added", "RNA", "Gene2", "Gene5"
    ).splitlines()
    assert differences == []
    back = scmvp.read_rds(tmp_path / "new.rds", engine=kept)
    np.testing.assert_array_equal(back.obsm["X_scmvp"], latent)
    assert list(back.obs["scmvp_cluster"]) == ["a", "b", "c"] * 10
    new = set(back.obs) - set(mdata.obs)
    assert {re.sub("^n(Count|Feature)_scMVP_(RNA|ATAC)$", "", name) for name in new} <= {
        "",
        "scmvp_cluster",
    }
    # assays of scMVP are not taken for data, and hold what was given, logged
    assert back["rna"].n_vars == 50
    values = [float(x) for x in logged.split()]
    np.testing.assert_allclose(values, np.log1p([3, 2]), rtol=1e-6)


@pytest.mark.slow
def test_columns_of_other_classes_and_columns_that_differ(objects, tmp_path, kept):
    def read(path):
        with pytest.warns(InputNote, match="dates or times are text, in UTC: 'day', 'time'"):
            return scmvp.read_rds(path, engine=kept)

    mdata = read(objects / "classes.rds")
    first = mdata.obs.iloc[:3]
    np.testing.assert_array_equal(first["id"], [2**40 + 1, -5, np.nan])
    assert first["day"].tolist() == ["2024-02-29", "2024-03-01", "2024-03-02"]
    assert first["time"].tolist()[:2] == [
        "2024-01-02T04:59:59.250000Z",
        "2024-01-02T05:00:00.250000Z",
    ]
    new = mdata.copy()
    new.obs["small"] = new.obs["small"].to_numpy()[::-1]
    new.obs["type"] = new.obs["type"].cat.reorder_categories(["B", "C", "A"])
    new.obs["many"] = [[1, 2]] * 30
    with pytest.warns(InputNote) as told:
        scmvp.add_to_rds(objects / "classes.rds", new, tmp_path / "new.rds", engine=kept)
    notes = [str(one.message) for one in told if one.category is InputNote]
    assert len(notes) == 2 and notes[0].endswith("whose values are written: 'small'")
    assert notes[1].endswith("are written as text: 'many'")
    back = read(tmp_path / "new.rds")  # where dates still are dates
    pd.testing.assert_frame_equal(back.obs[[*mdata.obs]], new.obs[[*mdata.obs]])
    assert {*back.obs} - {*mdata.obs} == {"many"}
    if not r_has("bit64"):
        return
    some = mdata[mdata.obs["type"].isin(["B"])].copy()  # without the other categories
    scmvp.add_to_rds(
        objects / "classes.rds", some, tmp_path / "new.rds", cells="shared", engine=kept
    )
    back = read(tmp_path / "new.rds")
    pd.testing.assert_frame_equal(back.obs, mdata.obs.loc[some.obs_names])


def test_columns_of_python_objects_are_what_they_hold():
    frame = pd.DataFrame(
        {
            "flag": np.array([True, None], dtype=object),
            "number": np.array([1.5, None], dtype=object),
            "whole": [1, 2],
            "text": ["a", None],
            "type": pd.Categorical(["x", None]),
            "day": pd.to_datetime(["2024-02-28", None]),
            "list": [[1], [2, 3]],
        },
        index=["r1", "r2"],
    )
    found, told = tables.vectors(frame)
    assert told == ["day", "list"] and list(found) == list(frame)
    assert found["flag"].tolist() == [True, pd.NA] and found["flag"].dtype == "boolean"
    np.testing.assert_array_equal(found["number"], [1.5, np.nan])
    pd.testing.assert_frame_equal(
        found[["whole", "text", "type"]], frame[["whole", "text", "type"]]
    )
    assert found["day"].tolist() == ["2024-02-28 00:00:00", None]


@pytest.mark.slow
def test_experiments_of_a_file_and_what_each_is(object_of, objects, tmp_path, refused, kept):
    mdata = scmvp.read_rds(object_of("sce"), engine=kept)
    twice = objects / "peaks_twice.rds"
    refused(
        lambda: scmvp.read_rds(twice, engine=kept),
        "2 experiments could be the peak experiment (open, again)",
        "peak_assay",
    )
    # peaks that only the name of their part tells, and columns that Seurat would not take
    mdata["atac"].var_names = [f"p{i}" for i in range(80)]
    mdata.uns["r_object"]["atac"]["name"] = "ATAC"
    mdata.uns["r_object"]["reductions"]["PCA"]["columns"] = np.array(["X", "Y", "Z"], object)
    for kind in ("SingleCellExperiment", "Seurat"):
        scmvp.write_rds(mdata, tmp_path / "x.rds", kind, engine=kept)
        back = scmvp.read_rds(tmp_path / "x.rds", engine=kept)
        places = ["chrom", "start", "end"]
        for modality in ("rna", "atac"):
            assert (back[modality].X != mdata[modality].X).nnz == 0
            expected = mdata[modality].var[places]
            assert back[modality].var[places].to_numpy().tolist() == expected.to_numpy().tolist()
        np.testing.assert_array_equal(back.obsm["X_PCA"], mdata.obsm["X_PCA"])
    # several that could be the RNA: the main one
    genes = scmvp.read_rds(object_of("sce"), engine=kept)
    genes.uns["r_object"]["atac"]["name"] = "tiles"
    genes["atac"].var_names = mdata["atac"].var_names
    scmvp.write_rds(genes, tmp_path / "x.rds", "SingleCellExperiment", engine=kept)
    with pytest.warns(InputNote, match="read as the RNA, and 'tiles' not; .* with rna_assay$"):
        only = scmvp.read_rds(tmp_path / "x.rds", engine=kept)
    assert [*only.mod] == ["rna"] and (only["rna"].X != genes["rna"].X).nnz == 0


@pytest.mark.parametrize("kind", ["v3", "sce"])
@pytest.mark.slow
def test_columns_keep_their_names(kind, object_of, tmp_path, kept):
    """Three that one name of R's would stand for, of which the object has one."""
    path = object_of(kind)
    mdata = scmvp.read_rds(path, engine=kept)
    columns = {
        name: np.arange(30.0) + 100 * i for i, name in enumerate(["x.1", "x 1", "x-1", "é 2"])
    }
    mdata.obs["x.1"] = columns["x.1"]
    scmvp.write_rds(mdata, tmp_path / "one.rds", mdata.uns["r_object"]["kind"], engine=kept)
    for name, values in columns.items():
        mdata.obs[name] = values
    scmvp.write_rds(mdata, tmp_path / "all.rds", mdata.uns["r_object"]["kind"], engine=kept)
    scmvp.add_to_rds(tmp_path / "one.rds", mdata[::-1].copy(), tmp_path / "added.rds", engine=kept)
    for file in ("all.rds", "added.rds"):
        back = scmvp.read_rds(tmp_path / file, engine=kept)
        for name, values in columns.items():
            np.testing.assert_array_equal(back.obs[name].loc[mdata.obs_names], values)


@pytest.mark.slow
def test_names_that_are_one_name_in_seurat(simulated, tmp_path, kept):
    """The name that Seurat would not change stays, as in ReadSCMVP()."""
    rna, atac = simulated["rna"][:30, :4].copy(), simulated["atac"][:30].copy()
    rna.var_names = ["g_0", "g-0", "h_1", "i"]
    with pytest.warns(UserWarning, match="changed 2 feature names .first: 'g_0' is now 'g-0.1'"):
        scmvp.write_rds(MuData({"rna": rna, "atac": atac}), tmp_path / "x.rds", engine=kept)
    back = scmvp.read_rds(tmp_path / "x.rds", engine=kept)["rna"]
    with pytest.warns(UserWarning, match="changed 1 feature name .first: 'h_1' is now 'h-1'"):
        scmvp.write_rds(MuData({"rna": rna[:, 1:], "atac": atac}), tmp_path / "y.rds", engine=kept)
    assert list(back.var_names) == ["g-0.1", "g-0", "h-1", "i"]
    np.testing.assert_array_equal(back.X.toarray(), rna.X.toarray())


@pytest.mark.slow
def test_embeddings_that_are_one_name_in_seurat(simulated, tmp_path, kept):
    cells = simulated[:30].copy()
    cells.obsm = {"X_a/b": np.full((30, 2), 1.0), "X_a.b": np.full((30, 2), 2.0)}
    with pytest.raises(
        scmvp.InputError, match="call embedding 'a/b' 'a.b', .*another one; rename it"
    ):
        scmvp.write_rds(cells, tmp_path / "x.rds", engine=kept)
    other = cells.obsm.pop("X_a/b")
    scmvp.write_rds(cells, tmp_path / "x.rds", engine=kept)
    cells.obsm = {"X_a/b": other}
    with pytest.raises(scmvp.InputError, match="call embedding 'a/b' 'a.b', which is the name"):
        scmvp.add_to_rds(tmp_path / "x.rds", cells, tmp_path / "y.rds", engine=kept)
    cells.obsm = {"X_1": other}
    with pytest.warns(InputNote, match="changed 1 name of embeddings .first: '1' is now 'X1'"):
        scmvp.add_to_rds(tmp_path / "x.rds", cells, tmp_path / "y.rds", engine=kept)
    back = scmvp.read_rds(tmp_path / "y.rds", engine=kept).obsm
    found = {name: values.max() for name, values in back.items() if name.startswith("X_")}
    assert found == {"X_a.b": 2, "X_X1": 1}


@pytest.mark.slow
def test_identities_beside_a_column_of_that_name(object_of, simulated, tmp_path, kept):
    """A user's column 'ident' stays, whether it says what Idents() says or something else."""
    cells = scmvp.read_rds(object_of("v3"), engine=kept)
    cells.obs["ident"] = np.resize(["p", "q"], 30)
    cells.uns["r_object"]["identity_added"] = False
    for identity, columns in (("ident", {"ident"}), (None, {"ident", "ident.1"})):
        if identity is None:
            cells.uns["r_object"].pop("identity")  # that of the project's name
        else:
            cells.uns["r_object"]["identity"] = identity
        scmvp.write_rds(cells, tmp_path / "x.rds", engine=kept)
        back = scmvp.read_rds(tmp_path / "x.rds", engine=kept)
        assert {name for name in back.obs if "ident" in name} - {"orig.ident"} == columns
        assert back.obs["ident"].tolist() == cells.obs["ident"].tolist()
        back.obs["new"] = np.arange(30.0)
        scmvp.write_rds(back, tmp_path / "again.rds", engine=kept)
        scmvp.add_to_rds(tmp_path / "x.rds", back, tmp_path / "added.rds", engine=kept)
        for file in ("again.rds", "added.rds"):
            found = scmvp.read_rds(tmp_path / file, engine=kept)
            assert {*found.obs} == {*back.obs}
            for name in columns:
                assert found.obs[name].tolist() == back.obs[name].tolist()


@pytest.mark.parametrize("as_", ["Seurat", "SingleCellExperiment"])
def test_empty_names_are_refused(simulated, tmp_path, refused, as_):
    def write(change):
        cells = simulated[:30].copy()
        change(cells)
        return lambda: scmvp.write_rds(cells, tmp_path / "x.rds", as_)

    refused(write(lambda cells: cells.obs.insert(0, "", 1.0)), "column of the cells has an empty")
    refused(
        write(lambda cells: cells["rna"].var.insert(0, "", 1.0)),
        "column of the features of 'RNA' has an empty",
    )
    refused(write(lambda cells: cells.obsm.update({"X_": np.ones((30, 2))})), "obsm['X_'] has no")
    refused(write(lambda cells: cells["atac"].obsm.update({"X_": np.ones((30, 2))})), "obsm['X_']")


@pytest.mark.slow
def test_cells_of_results_and_of_the_object(object_of, tmp_path, refused, kept):
    path = object_of("v3")
    some = scmvp.read_rds(path, engine=kept)[5:25].copy()
    some.obsm["X_scmvp"] = np.ones((20, 2))
    out = tmp_path / "out.rds"

    def add(mdata, **more):
        scmvp.add_to_rds(path, mdata, out, engine=kept, **more)

    said = refused(lambda: add(some), "lack 10 of its 30 cells", "shared")
    assert "cannot be read" not in said
    assert not out.exists()
    add(some, cells="shared")
    assert list(scmvp.read_rds(out, engine=kept).obs_names) == list(some.obs_names)
    strange = some.copy()
    strange.obs_names = [f"other{i}" for i in range(20)]
    refused(lambda: add(strange), "20 cells", "are not in it")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("as_", ["Seurat", "SingleCellExperiment"])
def test_cells_that_never_were_in_r(as_, simulated, tmp_path, kept):
    if not r_has("SeuratObject" if as_ == "Seurat" else "SingleCellExperiment"):
        pytest.skip(f"R packages for {as_} are not installed")
    mdata = simulated.copy()
    mdata.obsm["X_scmvp"] = np.random.default_rng(1).normal(size=(240, 3)).astype(np.float32)
    mdata["rna"].obsm["X_pca"] = np.ones((240, 2))
    scmvp.write_rds(mdata, tmp_path / "new.rds", as_, engine=kept)
    back = scmvp.read_rds(tmp_path / "new.rds", engine=kept)
    for modality in ("rna", "atac"):
        assert (back[modality].X != mdata[modality].X).nnz == 0
        assert list(back[modality].var["chrom"]) == list(mdata[modality].var["chrom"])
    np.testing.assert_array_equal(back.obsm["X_scmvp"], mdata.obsm["X_scmvp"])
    assert {"X_pca", "X_scmvp"} <= set(back.obsm)
    assert list(back.obs["cell_type"]) == list(mdata.obs["cell_type"])


@needs_r
def test_writing_refuses_what_is_not_counts_and_leaves_the_file(simulated, tmp_path, refused):
    out = tmp_path / "x.rds"
    out.write_text("earlier")
    mdata = simulated.copy()
    mdata["rna"].X = mdata["rna"].X * 0.5
    refused(lambda: scmvp.write_rds(mdata, out), "RNA", "not counts", "nor is any layer")
    mdata["rna"].layers["raw counts"] = simulated["rna"].X
    refused(lambda: scmvp.write_rds(mdata, out), "not counts", "use rna_layer='raw counts'")
    refused(lambda: scmvp.write_rds(simulated, out, "Loom"), "as_ must be")
    refused(lambda: scmvp.write_rds(simulated, tmp_path / "no" / "x.rds"), "no folder")
    assert out.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
def test_files_that_cannot_be_used(objects, tmp_path, refused, engine):
    def read(path, **more):
        return scmvp.read_rds(path, engine=engine, **more)

    refused(lambda: read(objects / "two.rds"), "2 assays could be the RNA", "(RNA, again)")
    assert read(objects / "two.rds", rna_assay="again")["rna"].n_vars == 50
    refused(lambda: read(objects / "none.rds"), "no RNA assay")
    refused(lambda: read(objects / "numbers.rds"), "class integer")
    content = (objects / "v3.rds").read_bytes()
    (tmp_path / "cut.rds").write_bytes(content[: len(content) // 2])
    refused(lambda: read(tmp_path / "cut.rds"), "cut.rds", "truncated")


@pytest.mark.slow
def test_an_object_may_have_one_modality(objects, tmp_path, kept):
    mdata = scmvp.read_rds(objects / "no_peaks.rds", engine=kept)
    assert [*mdata.mod] == ["rna"]
    both = scmvp.read_rds(objects / "two.rds", rna_assay="RNA", engine=kept)
    some = scmvp.read(objects / "v3.rds", modalities="atac")
    assert [*some.mod] == ["atac"] and {"X_pca", "X_umap"} <= {*some.obsm}
    for kind in ("Seurat", "SingleCellExperiment"):
        try:
            scmvp.write_rds(mdata, tmp_path / "again.rds", kind, engine=kept)
        except scmvp.RError:
            assert kind != "Seurat"  # SingleCellExperiment is not installed
            continue
        again = scmvp.read(tmp_path / "again.rds", modalities="rna")
        assert [*again.mod] == ["rna"] and again.shape == (30, mdata.n_vars)
        assert list(again.obs_names) == list(both.obs_names)
        assert (again["rna"].X != both["rna"].X).nnz == 0


@pytest.mark.slow
def test_command_line_with_an_experiment(object_of, tmp_path, capsys):
    path = object_of("sce")
    arguments = ["fit", str(path), "--out", str(tmp_path / "fit"), "--n-clusters", "2"]
    assert main([*arguments, "--max-epochs", "1", "--min-cells", "1", "--quiet"]) == 0
    summary = json.loads((tmp_path / "fit" / "summary.json").read_text())
    assert summary["n_cells"] == 30
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    assert "SingleCellExperiment" in " ".join(capsys.readouterr().out.split())


def test_the_wheel_has_the_files_of_r_that_the_bridge_shares():
    root = Path(scmvp.__file__).parent
    project = root.parent / "pyproject.toml"
    if not project.exists():
        pytest.skip("this is not a source tree")
    told = re.search(r"shared_files <- c\((.*?)\)", (root / "r" / "bridge.R").read_text(), re.S)
    shared = re.findall(r'"([a-z-]+)"', told[1])
    packed = re.findall(r'"shared/([a-z-]+)\.R"', project.read_text())
    assert packed == shared
    assert all((root / "r" / "shared" / f"{name}.R").exists() for name in shared)


def test_peaks_have_the_same_names_in_r():
    code = (Path(scmvp.__file__).parent / "r" / "objects-in.R").read_text(encoding="utf-8")
    told = re.search(r"peak_spellings <- c\((.*?)\)", code, re.S)
    assert tuple(re.findall('"([a-z]+)"', told[1])) == ATAC.spellings


@pytest.mark.slow
@needs_r
def test_the_shared_files_have_every_function_they_use():
    """Also those that only objects of packages need which are not installed here (Signac)."""
    folder = Path(scmvp.__file__).parent / "r"
    if not (folder / "shared").exists():
        pytest.skip("this is not a source tree")
    assert rscript(HERE / "r_missing.R", folder) == ""


# ---- regulatory elements


@pytest.fixture(scope="module")
def with_latent(simulated):
    if not (r_has("scMVP") and r_has("glasso") and r_has("igraph")):
        pytest.skip("the R packages scMVP, glasso and igraph are not installed")
    mdata = simulated.copy()
    types = pd.get_dummies(mdata.obs["cell_type"]).to_numpy(float)
    noise = np.random.default_rng(2).normal(size=(mdata.n_obs, 4))
    mdata.obsm["X_scmvp"] = np.hstack([3 * types, noise])
    return mdata


@pytest.fixture(scope="module")
def of_r(with_latent, tmp_path_factory, kept):
    """What R answers for the object that write_rds makes of the same cells."""
    folder = tmp_path_factory.mktemp("regulation")
    scmvp.write_rds(with_latent, folder / "object.rds", engine=kept)
    rscript(HERE / "r_regulation.R", folder / "object.rds", folder / "out")
    with open(folder / "out", "rb") as file:
        return rserial.load(file)


def identical(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    assert list(ours) == list(theirs) and len(ours) > 0
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, check_exact=True)


@pytest.mark.filterwarnings("ignore::scmvp.errors.InputNote")
@pytest.mark.slow
def test_python_answers_as_r_does(with_latent, of_r, engine):
    quiet = {"verbose": False, "engine": engine}
    groups = scmvp.aggregate_cells(with_latent, k=15, seed_use=5, **quiet)
    assert list(groups.obs_names) == list(with_latent.obs_names)
    assert list(groups.var_names) == of_r["groups"]["names"]
    csc = groups.X.tocsc()
    np.testing.assert_array_equal(csc.indptr, of_r["groups"]["p"])
    np.testing.assert_array_equal(csc.indices, of_r["groups"]["i"])

    connections = scmvp.run_cicero(with_latent, groups=groups, n_windows=8, seed_use=3, **quiet)
    identical(connections, of_r["connections"]["table"])
    about = of_r["connections"]["about"]
    assert connections.attrs["distance_parameter"] == about["distance_parameter"][0]

    options = {"coaccess_cutoff_override": 0.05, "seed_use": 4}
    ccans = scmvp.find_ccans(connections, **options, **quiet)
    identical(ccans, of_r["ccans"]["table"])

    links = scmvp.link_peaks_lasso(with_latent, seed_use=6, n_permutations=2, **quiet)
    identical(links, of_r["links"]["table"])
    identical(pd.DataFrame(links.attrs["genes"]), of_r["links"]["about"]["genes"])


def test_tables_of_r_are_usable_in_pandas(usable):
    table = pd.DataFrame({"gene": ["a", "b"], "fdr": [0.5, np.nan]})
    about = {"genes": table.astype({"gene": "category"}), "cutoff": np.array([0.3, 0.4])}
    found = regulation._table({"table": table, "attributes": about | {"groups": np.array([7])}})
    usable(found, "fdr")
    pd.testing.assert_frame_equal(pd.DataFrame(found.attrs["genes"]), table)
    assert found.attrs["groups"] == 7 and found.attrs["cutoff"] == [0.3, 0.4]


@pytest.mark.filterwarnings("ignore::scmvp.errors.InputNote")
@pytest.mark.slow
def test_groups_are_made_on_the_way_and_progress_is_shown(with_latent, capfd):
    fast = {"sample_num": 2, "k": 15}
    made = scmvp.aggregate_cells(with_latent, k=15, verbose=False)
    given = scmvp.run_cicero(with_latent["atac"], groups=made, verbose=False, sample_num=2)
    capfd.readouterr()
    pd.testing.assert_frame_equal(scmvp.run_cicero(with_latent, **fast), given)
    assert "distance parameter" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore::scmvp.errors.InputNote")
@pytest.mark.slow
def test_refusals_of_regulation(with_latent, refused, kept):
    mdata, quiet = with_latent, {"verbose": False, "engine": kept}
    refused(lambda: scmvp.run_cicero(mdata, reduction="X_other"), "X_other", "'X_scmvp'")
    refused(
        lambda: scmvp.run_cicero(mdata, windows=1, **quiet), "windows", "no argument", "n_windows"
    )
    refused(lambda: scmvp.run_cicero(mdata, window=-1, **quiet), "window must be")
    refused(lambda: scmvp.link_peaks_lasso(mdata, min_cells=-1, **quiet), "min_cells must")
    few = scmvp.aggregate_cells(mdata, k=15, **quiet)[:, :5]
    refused(
        lambda: scmvp.link_peaks_lasso(mdata, groups=few, min_cells=1, **quiet),
        "at least nfolds = 10 groups",
        "there are 5: lower nfolds to 5 or less, or give more groups",
    )
    places = {"groups": few, "reduced_coordinates": mdata.obsm["X_scmvp"]}
    refused(lambda: scmvp.run_cicero(mdata, **places, **quiet), "no argument 'reduced_coordinates'")
    refused(lambda: scmvp.run_cicero(mdata, engine="java"), "engine must be")
    refused(lambda: scmvp.find_ccans(pd.DataFrame({"Peak1": []})), "coaccess")
    for length in ("a", None, -1, np.nan):
        refused(lambda length=length: scmvp.run_cicero(mdata, genome={"chr1": length}), "'chr1' is")
    sentence = refused(lambda: scmvp.link_peaks_lasso(mdata, bogus=3, **quiet), "no argument")
    assert {"lambda_", "lambda_sequence"} <= {*re.findall(r"\w+", sentence)}
    assert "lambda" not in re.findall(r"\w+", sentence)
    refused(lambda: scmvp.link_peaks_lasso(mdata, lambda_="x", **quiet), "lambda_ must be")
    smooth = mdata.copy()
    smooth["atac"].X = smooth["atac"].X * 0.3
    refused(lambda: scmvp.link_peaks_lasso(smooth, **quiet), "not counts", "peaks_imputed")
    bare = mdata.copy()
    bare["rna"].var = bare["rna"].var.drop(columns=["strand", "tss"])
    with pytest.warns(InputNote, match="gene_coordinates: the strand of"):
        scmvp.link_peaks_lasso(bare, genes=bare["rna"].var_names[:1].tolist(), **quiet)
    bare["rna"].var = bare["rna"].var[[]]
    refused(lambda: scmvp.link_peaks_lasso(bare, **quiet), "gene_coordinates is needed")


# ---- R that is missing, old, killed or interrupted


@pytest.mark.parametrize("as_", ["Seurat", "SingleCellExperiment"])
def test_empty_names_do_not_go_to_r(as_, simulated, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(rengine, "_process", None)
    for names in ("obs_names", "var_names"):
        rna, atac = simulated["rna"][:30].copy(), simulated["atac"][:30].copy()
        for adata in (rna, atac) if names == "obs_names" else (atac,):
            setattr(adata, names, ["", *getattr(adata, names)[1:]])
        mdata = MuData({"rna": rna, "atac": atac})
        refused(
            lambda mdata=mdata: scmvp.write_rds(mdata, tmp_path / "x.rds", as_, engine="process"),
            {"obs_names": "a cell name of the RNA", "var_names": "a peak name of the ATAC"}[names],
        )
    assert not list(tmp_path.iterdir())


def test_without_r(tmp_path, refused, monkeypatch):
    (tmp_path / "x.rds").write_bytes(b"")
    monkeypatch.setenv("SCMVP_RSCRIPT", "/nowhere/Rscript")
    sentence = refused(
        lambda: scmvp.read_rds(tmp_path / "x.rds", engine="process"), "x.rds", "SCMVP_RSCRIPT"
    )
    assert "R 4.2" in sentence
    monkeypatch.setattr(rengine, "_rinterface", None)  # which another test may have started
    monkeypatch.setitem(sys.modules, "rpy2", None)
    with pytest.raises(scmvp.RError, match="SCMVP_RSCRIPT"):
        scmvp.read(tmp_path / "x.rds")
    with pytest.raises(scmvp.RError, match="rpy2.*engine='process'"):
        scmvp.read_rds(tmp_path / "x.rds", engine="rpy2")


@pytest.mark.skipif(os.name != "posix", reason="PATH")
def test_without_r_beside_rpy2(tmp_path, monkeypatch):
    pytest.importorskip("rpy2")
    (tmp_path / "x.rds").write_bytes(b"")
    for name in ("SCMVP_RSCRIPT", "R_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(scmvp.RError, match="not found .there is no Rscript on PATH"):
        scmvp.read_rds(tmp_path / "x.rds")
    monkeypatch.setattr(rengine, "_rinterface", None)
    monkeypatch.setitem(sys.modules, "rpy2.rinterface", None)
    monkeypatch.delattr("rpy2.rinterface", raising=False)
    with pytest.raises(scmvp.RError, match="not found .there is no R on PATH"):
        scmvp.read_rds(tmp_path / "x.rds", engine="rpy2")


def fake_rscript(folder: Path, body: str) -> str:
    path = folder / "Rscript"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(os.name != "posix", reason="shell scripts")
def test_r_that_dies_leaves_python_alive(tmp_path, monkeypatch):
    for body, words in (
        ("echo 'cannot allocate' >&2; exit 3", "status 3: cannot allocate"),
        ("kill -9 $$", "SIGKILL, most often for lack of memory"),
    ):
        monkeypatch.setenv("SCMVP_RSCRIPT", fake_rscript(tmp_path, body))
        with pytest.raises(scmvp.RError, match=words):
            rengine.call("read", {}, "process")


@pytest.mark.slow
@needs_r
def test_without_the_r_package(simulated, monkeypatch, tmp_path, refused):
    mdata = simulated.copy()
    mdata.obsm["X_scmvp"] = np.zeros((mdata.n_obs, 2))
    for name in ("R_LIBS", "R_LIBS_USER", "R_LIBS_SITE"):
        monkeypatch.setenv(name, str(tmp_path))
    code = 'cat(nzchar(system.file(package = "scMVP")))'
    if rscript("-e", code).endswith("TRUE"):
        pytest.skip("scMVP is in R's own library")
    sentence = refused(lambda: scmvp.run_cicero(mdata, verbose=False), "R package scMVP")
    assert sentence.endswith("run R CMD INSTALL .")  # with the folder that it installs


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_ends_r(tmp_path):
    marker = tmp_path / "alive"
    script = fake_rscript(tmp_path, f"sleep 60 & echo $! > {marker}; echo begun >&2; wait")
    code = (
        "from scmvp.r import rengine\n"
        "try:\n    rengine.call('read', {}, 'process', verbose=True)\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment(SCMVP_RSCRIPT=script, TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "interrupted\n"
    worker = int(marker.read_text())
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{worker}/stat").exists():
            if Path(f"/proc/{worker}/stat").read_text().split(")")[1].split()[0] == "Z":
                break
        time.sleep(0.1)
    else:
        pytest.fail("the worker of R goes on")
    assert not list(tmp_path.glob("scmvp-r-*"))


@pytest.mark.slow
def test_notes_point_at_the_caller(objects, object_of, tmp_path, kept):
    with pytest.warns(InputNote, match="dates or times are text") as caught:
        scmvp.read_rds(objects / "classes.rds", engine=kept)
    assert {note.filename for note in caught if note.category is InputNote} == {__file__}
    if "5" > rscript("-e", 'cat(format(packageVersion("SeuratObject")))'):
        mdata = scmvp.read_rds(object_of("sce"), layers=["logcounts"], engine=kept)
        mdata["rna"].layers["spliced"] = mdata["rna"].X.copy()
        with pytest.warns(InputNote, match="'spliced' is left out"):
            scmvp.write_rds(mdata, tmp_path / "x.rds", engine=kept)


# ---- the walk-through


# R that runs for half a minute unless it is interrupted, or ends at once
ENDLESS = """function(request, result) {
  end <- Sys.time() + 30
  cat("begun\\n", file = stderr())
  while (endless && Sys.time() < end) sqrt(2)
  file.copy(request, result)
}"""
HANDLED = """
import os, signal, sys, threading, time
from pathlib import Path
from scmvp.r import rengine

def send():
    os.kill(os.getpid(), signal.SIGINT)

def begun(line):
    if line == "begun":
        send() if at_once else threading.Timer(0.3, send).start()

def call():
    started = time.monotonic()
    try:
        rengine._inside(Path("request"), Path("result"), begun)
        said = "ran"
    except BaseException as error:
        said = f"{type(error).__name__} {error}"
    return said if time.monotonic() - started < 15 else f"late {said}"

def raising(*_):
    raise ValueError("mine")

def noting(*_):
    noted.append(True)

noted = []
rengine._SCRIPT = Path("endless.R")
for handler in (raising, signal.default_int_handler, noting, signal.SIG_IGN):
    for at_once in (True, False):
        signal.signal(signal.SIGINT, handler)
        raises = handler in (raising, signal.default_int_handler)
        rengine._start_rpy2()
        from rpy2 import rinterface
        rinterface.globalenv["endless"] = rinterface.BoolSexpVector([raises])
        said = call()
        time.sleep(0 if raises else 0.5)
        print(said, signal.getsignal(signal.SIGINT) is handler)
print(len(noted))
threads = threading.Thread(target=lambda: print(call()))
threads.start()
threads.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_ends_r_inside_python_and_handlers_stay(tmp_path):
    pytest.importorskip("rpy2")
    (tmp_path / "endless.R").write_text(ENDLESS)
    (tmp_path / "request").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", HANDLED],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(scmvp.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    expected = ["ValueError mine", "KeyboardInterrupt ", "ran", "ran"]
    lines = [f"{said} True" for said in expected for _ in range(2)]
    assert done.stdout.splitlines() == [*lines, "2", "ran"]


@pytest.mark.slow
@pytest.mark.parametrize("given", ["process", "rpy2"])
def test_names_beyond_ascii_in_the_locale_c(given, simulated, tmp_path):
    if given == "rpy2":
        pytest.importorskip("rpy2")
    if not r_has("SeuratObject"):
        pytest.skip("SeuratObject is not installed")
    mdata = simulated[:20].copy()
    mdata.obs["été"] = "ü"
    mdata.write_h5mu(tmp_path / "x.h5mu")
    code = (
        "import mudata, scmvp\n"
        "scmvp.write_rds(mudata.read_h5mu('x.h5mu'), 'ö.rds', engine=ENGINE)\n"
        "assert set(scmvp.read_rds('ö.rds', engine=ENGINE).obs['été']) == {'ü'}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"ENGINE = '{given}'\n{code}"],
        cwd=tmp_path,
        env={**os.environ, "LC_ALL": "C", "PYTHONPATH": str(Path(scmvp.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ö.rds").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_the_walk_through_runs(tmp_path, monkeypatch, kept):
    if not (r_has("scMVP") and r_has("glasso") and r_has("igraph") and r_has("SeuratObject")):
        pytest.skip("the R packages scMVP, glasso, igraph and SeuratObject are not installed")
    if not r_has("SingleCellExperiment"):
        pytest.skip("the R package SingleCellExperiment is not installed")
    mdata = scmvp.simulate(
        n_cells=200,
        n_genes=700,
        n_peaks=1400,
        n_types=3,
        median_umi=2500,
        median_fragments=3000,
        seed=1,
    )
    TenX(mdata).write_h5(tmp_path / "filtered_feature_bc_matrix.h5")
    var = mdata["rna"].var
    bed = pd.DataFrame({"chrom": var["chrom"], "start": var["tss"] - 1, "end": var["tss"]})
    bed = bed.assign(gene=var.index, score=0, strand=var["strand"])
    bed[::7].to_csv(tmp_path / "genes.bed", sep="\t", header=False, index=False)
    mdata.uns["links"][["gene", "peak"]].to_csv(tmp_path / "known_links.csv", index=False)
    text = (HERE.parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    assert len(blocks) == 8
    monkeypatch.chdir(tmp_path)
    if kept == "rpy2":  # which is what is taken where there is no Rscript
        monkeypatch.setenv("SCMVP_RSCRIPT", "/nowhere/Rscript")
    else:
        monkeypatch.setattr(rengine, "_process", rengine.kept.run)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert (names["markers"]["lfc"] > 0).all()
    assert "rank_genes_groups" in names["mdata"]["rna"].uns
    assert len(names["networks"]) and len(names["links"]) and len(names["connections"])
    back = scmvp.read("with_results.rds")
    np.testing.assert_array_equal(back.obsm["X_scmvp"], names["mdata"].obsm["X_scmvp"])
    truth = mdata.obs["cell_type"][back.obs_names]
    table = pd.crosstab(truth.to_numpy(), back.obs["scmvp_cluster"].to_numpy())
    assert table.max(axis=1).sum() > 0.9 * back.n_obs
