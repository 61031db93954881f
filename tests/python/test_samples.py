"""Several samples, each with its own peaks, as one: against unions and counts made by loops."""

from __future__ import annotations

import itertools
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from runs import count_slowly, draw_runs, unite_slowly, write_fragments, write_run

import scmvp
from scmvp import cli
from scmvp.data.samples import _refuse_same_cells, join_samples
from scmvp.errors import InputError, InputNote
from scmvp.several import named_paths


@pytest.fixture(scope="module")
def runs():
    return draw_runs()


@pytest.fixture(scope="module")
def paths(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {name: write_run(folder / name, run) / "outs" for name, run in runs.items()}


def read(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputNote)
        return scmvp.read_samples(*arguments, **options)


def notes(call) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return "\n".join(str(note.message) for note in caught if note.category is InputNote)


def peaks_in(mdata):
    var = mdata["atac"].var
    rows = zip(var["chrom"], var["start"], var["end"], strict=True)
    return [(str(chrom), int(start), int(end)) for chrom, start, end in rows]


def sums_slowly(runs, united):
    """Counts of each sample in its own peaks, added up where these lie in one of the union."""
    parts = []
    for run in runs.values():
        own = count_slowly(run.fragments, run.peaks, run.cells)
        counts = np.zeros((len(run.cells), len(united)), int)
        for j, (chrom, start, end) in enumerate(run.peaks):
            at = [i for i, (c, s, e) in enumerate(united) if c == chrom and s <= start and end <= e]
            counts[:, at[0]] += own[:, j]
        parts.append(counts)
    return np.vstack(parts)


# ---- what is read


def test_counts_of_peaks_that_become_one_are_added(runs, paths):
    mdata = read(paths)
    united = peaks_in(mdata)
    assert sorted(united) == unite_slowly(peak for run in runs.values() for peak in run.peaks)
    np.testing.assert_array_equal(mdata["atac"].X.toarray(), sums_slowly(runs, united))
    assert mdata["atac"].var_names.tolist() == [f"{c}:{s}-{e}" for c, s, e in united]
    has = [
        sum(any(c == o and s < e2 and e > s2 for o, s2, e2 in run.peaks) for run in runs.values())
        for c, s, e in united
    ]
    assert mdata["atac"].var["n_samples"].tolist() == has and {*has} == {1, 2}


def test_from_fragments_they_are_those_of_all_fragments(runs, paths):
    mdata, added = read(paths, fragments=True), read(paths)
    united = peaks_in(mdata)
    assert united == peaks_in(added)
    truth = np.vstack([count_slowly(r.fragments, united, r.cells) for r in runs.values()])
    np.testing.assert_array_equal(mdata["atac"].X.toarray(), truth)
    # where a sample's own peak is that of the union, there is nothing to add
    same = np.vstack(
        [np.tile([peak in run.peaks for peak in united], (len(run.cells), 1))
         for run in runs.values()]
    )  # fmt: skip
    sums = added["atac"].X.toarray()
    assert (sums[same] == truth[same]).all() and same.any()
    assert (sums <= truth).all() and (sums < truth).any()


def test_peaks_that_all_samples_have(paths):
    shared, union = read(paths, peaks="shared"), read(paths)
    kept = (union["atac"].var["n_samples"] == 2).to_numpy()
    assert peaks_in(shared) == [peaks_in(union)[i] for i in np.flatnonzero(kept)]
    np.testing.assert_array_equal(shared["atac"].X.toarray(), union["atac"].X.toarray()[:, kept])
    counted = read(paths, peaks="shared", fragments=True)
    assert peaks_in(counted) == peaks_in(shared)


def test_peaks_of_a_bed_file(runs, paths, tmp_path, refused):
    wanted = [("chr2", 1000, 900_000), ("chr1", 5000, 700_000)]
    bed = tmp_path / "peaks.bed"
    bed.write_text("".join("\t".join(map(str, peak)) + "\n" for peak in wanted))
    mdata = read(paths, peaks=bed, fragments=True)
    truth = np.vstack([count_slowly(r.fragments, wanted, r.cells) for r in runs.values()])
    np.testing.assert_array_equal(mdata["atac"].X.toarray(), truth)
    refused(lambda: read(paths, peaks="all"), "'all'", "'union', 'shared' or the path of a BED")
    refused(lambda: read(paths, peaks=bed), "only be counted from fragments", "fragments=True")


def test_cells_have_their_sample_and_their_genes(runs, paths):
    mdata = read(paths)
    cells = [f"{name}_{cell}" for name, run in runs.items() for cell in run.cells]
    assert mdata.obs_names.tolist() == cells
    assert list(mdata.obs["sample"].cat.categories) == [*runs]
    for name, part in mdata.obs.groupby("sample", observed=True):
        assert part.index.str.startswith(f"{name}_").all()
    whole = np.vstack([scmvp.read(path)["rna"].X.toarray() for path in paths.values()])
    np.testing.assert_array_equal(mdata["rna"].X.toarray(), whole)
    assert mdata["rna"].var["gene_ids"].iloc[1] == "ENSG00000000001"


@pytest.mark.slow
def test_what_is_said(runs, paths):
    said = notes(lambda: scmvp.read_samples(paths))
    united = peaks_in(read(paths))
    sizes = [len(run.peaks) for run in runs.values()]
    assert f"peaks: donor1 {sizes[0]}, donor2 {sizes[1]}; {len(united)} in their union" in said
    longer = [sum(peak not in united for peak in run.peaks) for run in runs.values()]
    assert f"{longer[0]} of donor1 and {longer[1]} of donor2 are part of a longer one" in said
    for name, run in runs.items():
        none = sum(
            not any(c == o and s < e2 and e > s2 for o, s2, e2 in run.peaks) for c, s, e in united
        )
        assert f"{none} in {name}" in said
    assert "fragments=True" in said and "peaks='shared'" in said
    assert not notes(lambda: scmvp.read_samples(paths, fragments=True))


@pytest.mark.slow
def test_names_of_samples_and_the_order_of_cells(runs, paths):
    mdata = read([*paths.values()])
    assert list(mdata.obs["sample"].cat.categories) == [*runs]
    files = [path / "filtered_feature_bc_matrix.h5" for path in paths.values()]
    back = read(files[::-1])
    assert list(back.obs["sample"].cat.categories) == [*runs][::-1]
    assert {*back.obs_names} == {*mdata.obs_names}
    one = back[mdata.obs_names]["rna"].X
    np.testing.assert_array_equal(one.toarray(), mdata["rna"].X.toarray())
    named = read({"b": files[0], "a": files[1]})
    assert list(named.obs["sample"].cat.categories) == ["b", "a"]


@pytest.mark.slow
def test_one_sample(paths):
    said = notes(lambda: scmvp.read_samples({"a": paths["donor1"]}))
    assert not said
    mdata = read({"a": paths["donor1"]})
    alone = scmvp.read(paths["donor1"])
    assert mdata.obs_names.tolist() == [f"a_{name}" for name in alone.obs_names]
    assert (mdata["atac"][:, alone["atac"].var_names].X != alone["atac"].X).nnz == 0


@pytest.mark.slow
def test_a_model_of_samples(paths):
    mdata = read(paths, fragments=True)
    model = scmvp.SCMVP(mdata, batch="sample", n_clusters=2, min_cells=1)
    model.train(max_epochs=2, threads=1)
    assert model.batch_levels == {"sample": ["donor1", "donor2"]}
    assert model.cells.tolist() == mdata.obs_names.tolist()


@pytest.mark.slow
def test_the_lines_of_the_walk_through(runs, tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    code = text.split("## Several samples")[1].split("```\n")[1]
    for name, run in zip(("run1", "run2"), runs.values(), strict=True):
        write_run(tmp_path / name, run)
    monkeypatch.chdir(tmp_path)
    found: dict = {"scmvp": scmvp}
    exec(code.replace(".train()", ".train(max_epochs=2, threads=1)"), found)
    assert "model" in found and 'obs["sample"]' in text
    back = scmvp.read("cells.h5mu")
    assert back.obs["sample"].tolist() == found["mdata"].obs["sample"].tolist()
    assert (back["atac"].X != found["mdata"]["atac"].X).nnz == 0


@pytest.mark.slow
def test_samples_on_the_command_line(paths, tmp_path, capsys):
    out = tmp_path / "cells.h5mu"
    named = [f"{name}={path}" for name, path in paths.items()]

    def join(*arguments, out=out, status=0):
        assert cli.main(["join", *map(str, arguments), "--out", str(out)]) == status
        return capsys.readouterr().err

    def expect_same(expected):
        back = scmvp.read(out)
        assert back.obs_names.tolist() == expected.obs_names.tolist()
        assert back.obs["sample"].tolist() == expected.obs["sample"].tolist()
        for modality in ("rna", "atac"):
            assert back[modality].var_names.tolist() == expected[modality].var_names.tolist()
            assert (back[modality].X != expected[modality].X).nnz == 0

    said = join(*named)
    assert "cells.h5mu: 2 samples, " in said and "note: " in said
    expect_same(read(paths))
    join(*paths.values(), "--fragments", "--quiet")  # called by their folders
    expect_same(read(paths, fragments=True))
    shared = read(paths, "shared")
    bed = tmp_path / "peaks=1.bed"  # a path that has the sign
    var = shared["atac"].var[["chrom", "start", "end"]]
    var.to_csv(bed, sep="\t", header=False, index=False)
    files = {name: path / "atac_fragments.tsv.gz" for name, path in paths.items()}
    join(*named, "--fragments", *map("{}={}".format, files, files.values()), "--peaks", bed)
    expect_same(read(paths, str(bed), files))
    assert named_paths([str(bed)]) == [str(bed)]
    # every command takes the file
    fit = ["fit", str(out), "--out", str(tmp_path / "fit"), "--batch", "sample", "--min-cells", "1"]
    assert cli.main([*fit, "--n-clusters", "2", "--max-epochs", "2", "--quiet"]) == 0

    before = out.read_bytes()
    one, other = paths.values()
    for arguments, sentence in (
        ((named[0], other), f"{other} has no name, and others have; give each as NAME=PATH"),
        ((f"a={one}", f"a={other}"), "several are called 'a'; give each a name of its own"),
        ((one, one), "several samples would be called 'donor1'; give each as NAME=PATH"),
        ((*named, "--peaks", bed), f"use --fragments, or leave out --peaks '{bed}'"),
        ((*named, "--peaks", "both"), "--peaks is 'both'; give 'union', 'shared' or the path"),
        ((*named, "--fragments", files["donor1"]), "has files without names; give each as NAME="),
        ((*named, "--fragments", f"donor1={files['donor1']}"), "--fragments is given for donor1"),
    ):
        assert sentence in join(*arguments, status=2)
    assert "name a file that does" in join(*named, out=tmp_path / "x.h5ad", status=2)
    assert out.read_bytes() == before
    with pytest.raises(SystemExit):
        cli.main(["fit", str(one), str(other), "--out", "x"])
    assert "make one file of several samples with scmvp join" in capsys.readouterr().err


# ---- what does not fit


def test_paths_that_are_refused(paths, tmp_path, refused):
    one = paths["donor1"]
    refused(lambda: read([]), "give a dict of names and paths")
    refused(lambda: read("x"), "give a dict of names and paths")
    refused(lambda: read([one, tmp_path / "none"]), "none does not exist")
    refused(lambda: scmvp.read([one, one]), "scmvp.read_samples")
    other = tmp_path / "donor1" / "outs"
    shutil.copytree(one, other)
    refused(lambda: read([one, other]), "'donor1'", "give a dict of names and paths")
    refused(lambda: read({"a": one, "b": one}), "a and b are the same file", "once")
    refused(lambda: read({"a": one, "b": other}), "a and b hold the same cells", "once")
    refused(lambda: read({"": one}), "has no name")


def test_samples_whose_barcodes_are_of_different_types():
    """As anndata reads them from files with strings of its own or of pandas."""
    cells = [f"cell{i}" for i in range(5)]
    counts = np.arange(20.0).reshape(5, 4)
    one, other = (
        AnnData(counts + moved, obs=pd.DataFrame(index=pd.Index(cells, dtype=kind)))
        for moved, kind in ((0, "object"), (1, "string"))
    )
    _refuse_same_cells({"a": one, "b": other})
    with pytest.raises(InputError, match="a and b hold the same cells"):
        _refuse_same_cells({"a": one, "b": AnnData(counts, obs=other.obs)})


def test_a_sample_without_cells(runs, paths, tmp_path, refused):
    run = runs["donor1"]
    nothing = {"cells": [], "counts": sp.csr_matrix((0, 50 + len(run.peaks)), dtype=int)}
    empty = write_run(tmp_path / "empty", run, **nothing) / "outs"
    refused(lambda: read({"a": paths["donor2"], "b": empty}), "empty", "has no cells")


def parts(cells, peaks, genes=("A", "B", "C"), counts=None, **var):
    """A small sample in memory."""
    rng = np.random.default_rng(len(cells[0]))
    made = []
    for names in (genes, peaks):
        values = rng.poisson(1.5, (len(cells), len(names))) + 1.0
        made.append(
            AnnData(sp.csr_matrix(values), pd.DataFrame(index=cells), pd.DataFrame(index=names))
        )
    if counts is not None:
        made[1].X = sp.csr_matrix(counts)
    for name, values in var.items():
        made[0].var[name] = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MuData(dict(zip(("rna", "atac"), made, strict=True)))


def join(samples, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputNote)
        return join_samples(samples, **options)


PEAKS = ["chr1:100-200", "chr2:100-200"]


def test_genes_that_a_sample_lacks_are_left_out():
    samples = {
        "a": parts(["x", "y"], PEAKS, ["A", "B", "C", "D"]),
        "b": parts(["xx", "yy", "zz"], PEAKS, ["E", "D", "B", "A"]),
    }
    said = notes(lambda: join_samples(samples))
    assert "3 genes are kept" in said and "1 of a, 1 of b" in said
    mdata = join(samples)
    assert mdata["rna"].var_names.tolist() == ["A", "B", "D"]
    for name, sample in samples.items():
        part = mdata["rna"][mdata.obs["sample"].to_numpy() == name]
        other = sample["rna"][:, ["A", "B", "D"]].X
        np.testing.assert_array_equal(part.X.toarray(), other.toarray())


def test_genes_of_other_kinds_and_ids(refused):
    one = parts(["x", "y"], PEAKS, gene_ids=["E1", "E2.1", "E3"])
    other = parts(["xx", "yy"], PEAKS, ["E1", "E2", "E3"])
    refused(lambda: join({"a": one, "b": other}), "only 0 of the 3 genes of a", "a: 'A'", "b: 'E1'")
    other = parts(["xx", "yy"], PEAKS, gene_ids=["E1", "E2.7", "E9"])
    samples = {"a": one, "b": other}
    assert "1 gene left out, because their ids differ between samples ('C')" in notes(
        lambda: join_samples(samples)
    )
    assert join(samples)["rna"].var_names.tolist() == ["A", "B"]
    assert join(samples)["rna"].var["gene_ids"].tolist() == ["E1", "E2"]
    # ids that are not known everywhere are compared where they are
    none = parts(["x3", "y3"], PEAKS)
    some = parts(["x4", "y4"], PEAKS, gene_ids=["", "E2", None])
    for order in ([none, one, other], [one, none, other], [some, other, one], [one, some, other]):
        found = join(dict(zip("abc", order, strict=True)))["rna"].var
        assert found["gene_ids"].to_dict() == {"A": "E1", "B": "E2"}
    found = join({"a": one, "b": none})["rna"].var
    assert found["gene_ids"].to_dict() == {"A": "E1", "B": "E2", "C": "E3"}
    mouse = parts(["x5", "y5"], PEAKS, gene_ids=["M1", "M2", "M3"])
    refused(lambda: join({"a": none, "b": one, "c": mouse}), "no gene has the same id", "genome")
    other = parts(["xx", "yy"], PEAKS, gene_ids=["M1", "M2", "M3"])
    refused(lambda: join({"a": one, "b": other}), "no gene has the same id", "genome")


def test_chromosomes_and_genomes(refused):
    one, other = parts(["x", "y"], PEAKS), parts(["xx", "yy"], ["1:100-200", "2:100-200"])
    refused(lambda: join({"a": one, "b": other}), "no chromosome in common", "'chr1'", "b: '1'")
    other = parts(["xx", "yy"], ["chr1:900-990", "chr2:700-800"])
    refused(lambda: join({"a": one, "b": other}), "0 of the 2 peaks of b overlap", "genome")
    other = parts(["xx", "yy"], ["peak1", "peak2"])
    refused(lambda: join({"a": one, "b": other}), "2 peaks of b are not named by a range")


def test_barcodes_that_samples_share_stay_apart(refused):
    samples = {"a": parts(["x", "y"], PEAKS), "b": parts(["y", "x"], PEAKS)}
    samples["b"]["rna"].X = samples["b"]["rna"].X * 3
    samples["b"].update()
    mdata = join(samples)
    assert mdata.obs_names.tolist() == ["a_x", "a_y", "b_y", "b_x"]
    for name, sample in samples.items():
        for cell in sample.obs_names:
            one, whole = sample["rna"][cell].X, mdata["rna"][f"{name}_{cell}"].X
            np.testing.assert_array_equal(one.toarray(), whole.toarray())
    clash = {"a": parts(["b_x", "y"], PEAKS), "a_b": parts(["xxx", "x"], PEAKS)}
    refused(lambda: join(clash), "combine to the same name twice ('a_b_x')")


def test_spellings_and_peaks_that_a_sample_has_twice():
    one = parts(["x"], ["chr1-100-200", "chr1-150-300", "chr2-5-9"], counts=[[200, 100, 3]])
    other = parts(["yy"], ["chr1:290-310", "chr2:5-9"], counts=[[1, 2]])
    one["atac"].X = one["atac"].X.astype(np.uint8)
    said = notes(lambda: join_samples({"a": one, "b": other}))
    assert "1 of a overlaps another one" in said and "of b overlap" not in said
    mdata = join({"a": one, "b": other})
    assert mdata["atac"].var_names.tolist() == ["chr1-100-310", "chr2-5-9"]
    assert mdata["atac"].X.toarray().tolist() == [[300, 3], [1, 2]]


def test_long_peaks_that_came_of_many_are_told():
    one = parts(["x"], ["chr1:0-9000", "chr2:5-9"])
    other = parts(["yy"], ["chr1:8000-17000", "chr2:5-9"])
    said = notes(lambda: join_samples({"a": one, "b": other}))
    assert "longer than 10,000 base pairs: 1 peak of the union ('chr1:0-17000')" in said


def test_insertions_beside_fragments():
    rng = np.random.default_rng(0)
    names = [f"chr1:{i * 1000}-{i * 1000 + 500}" for i in range(40)]
    fragments = rng.poisson(2, (30, 40))
    cells = [f"c{i}" for i in range(30)]
    ends = 2 * fragments - (rng.random(fragments.shape) < 0.1) * (fragments > 0)
    other = parts([f"d{i}" for i in range(30)], names, counts=rng.poisson(1.5, (30, 40)))
    samples = {"a": parts(cells, names, counts=ends), "b": other}
    assert "of 'a' look like insertions" in notes(lambda: join_samples(samples))
    mdata = join(samples)
    np.testing.assert_array_equal(mdata["atac"].X.toarray()[:30], fragments)
    np.testing.assert_array_equal(mdata["atac"].X.toarray()[30:], other["atac"].X.toarray())
    alike = {"a": samples["a"], "b": parts(other.obs_names[:21], names, counts=ends[9:])}
    assert "insertions" not in notes(lambda: join_samples(alike))
    assert (join(alike)["atac"].X.toarray()[:30] == ends).all()


def test_the_peaks_of_one_sample_stay_as_they_are():
    overlapping = ["chr1:100-200", "chr1:150-300", "chr2:5-9"]
    one = parts(["x", "y"], overlapping, counts=np.array([[1, 2, 3], [4, 5, 6]]))
    mdata = join({"a": one})
    assert list(mdata["atac"].var_names) == overlapping
    np.testing.assert_array_equal(mdata["atac"].X.toarray(), one["atac"].X.toarray())


def test_columns_of_cells_are_kept():
    one, other = parts(["x", "y"], PEAKS), parts(["xx", "yy"], PEAKS)
    one.obs["type"] = pd.Categorical(["T", "B"])
    other.obs["type"] = pd.Categorical(["NK", "T"])
    other["rna"].obs["quality"] = [1.5, 2.5]
    one.obs["doublet"] = [True, False]
    one.obs["n"] = pd.array([1, None], dtype="Int64")
    other.obs["n"] = pd.array([3, 4], dtype="Int64")
    other.obs["sample"] = ["s1", "s2"]
    samples = {"a": one, "b": other}
    assert "'sample' of the cells was renamed to 'sample_before'" in notes(
        lambda: join_samples(samples)
    )
    obs = join(samples).obs
    assert obs["type"].tolist() == ["T", "B", "NK", "T"]
    assert list(obs["type"].cat.categories) == ["B", "T", "NK"]
    assert obs["doublet"].dtype == "boolean" and obs["doublet"].tolist()[:2] == [True, False]
    assert obs["n"].dtype == "Int64" and obs["n"].tolist()[::2] == [1, 3]
    assert obs["quality"].tolist()[2:] == [1.5, 2.5] and obs["quality"].isna().tolist()[0]
    assert obs["sample"].tolist() == ["a", "a", "b", "b"]
    assert obs["sample_before"].tolist()[2:] == ["s1", "s2"]
    # joined files are joined again
    again = join({"x": join(samples), "y": join({"c": one, "d": other})}).obs
    assert again["sample"].tolist() == [*"xxxxyyyy"]
    assert again["sample_before_2"].tolist() == [*"aabbccdd"]
    assert again["sample_before"].tolist()[2:4] == ["s1", "s2"]


def test_cells_of_one_modality(paths, tmp_path, refused):
    folder = tmp_path / "mosaic"
    folder.mkdir()
    mdata = scmvp.read(paths["donor1"])
    mdata["rna"].write_h5ad(folder / "rna.h5ad")
    mdata["atac"][:-5].copy().write_h5ad(folder / "atac.h5ad")
    samples = {"a": folder, "b": paths["donor2"]}
    refused(lambda: read(samples), "5 only in RNA", "mosaic=True")
    joined = read(samples, mosaic=True)
    assert joined["rna"].n_obs == 80 and joined["atac"].n_obs == 75 and joined.n_obs == 80
    assert joined.obs["sample"].value_counts().tolist() == [40, 40]


# ---- fragments of each sample


@pytest.mark.slow
def test_files_of_fragments(paths, tmp_path, refused):
    files = {name: path / "atac_fragments.tsv.gz" for name, path in paths.items()}
    whole = read(paths, fragments=True)
    again = read(paths, fragments=files)
    assert (again["atac"].X != whole["atac"].X).nnz == 0
    matrices = {name: tmp_path / f"{name}.h5" for name in paths}
    for name, path in matrices.items():
        shutil.copy(paths[name] / "filtered_feature_bc_matrix.h5", path)
    refused(lambda: read(matrices, fragments=True), "no atac_fragments.tsv.gz next to", "donor1.h5")
    moved = read(matrices, fragments=files)
    assert (moved["atac"].X != whole["atac"].X).nnz == 0
    numbers = [dict(enumerate(each.values())) for each in (paths, files)]
    numbered = read(numbers[0], fragments=numbers[1])
    assert (numbered["atac"].X != whole["atac"].X).nnz == 0
    assert set(numbered.obs["sample"]) == {"0", "1"}
    refused(lambda: read(paths, fragments={"donor1": files["donor1"]}),
            "fragments is given for donor1, but the samples are donor1, donor2")  # fmt: skip
    refused(lambda: read(paths, fragments="yes"), "give True, or a dict")
    refused(lambda: read(paths, fragments=dict(zip(paths, [*files.values()][::-1], strict=True))),
            "only 0 of the 40 cells")  # fmt: skip


def test_fragments_of_other_cells_with_the_same_barcodes(runs, paths, tmp_path, refused):
    """Nearly all barcodes of a kit are in every file, as background."""
    rng = np.random.default_rng(1)
    cells = runs["donor1"].cells
    rows = [(*row[:3], cells[rng.integers(len(cells))]) for row in runs["donor2"].fragments]
    files = {
        "donor1": write_fragments(tmp_path / "other.tsv.gz", rows),
        "donor2": paths["donor2"] / "atac_fragments.tsv.gz",
    }
    belongs = "other.tsv.gz does not belong to the cells of donor1"
    refused(lambda: read(paths, fragments=files), belongs, "rank correlation of")
    write_fragments(tmp_path / "other.tsv.gz", runs["donor1"].fragments[::8])
    refused(lambda: read(paths, fragments=files), belongs, "a typical cell has")
    # peaks of a file may have few counts
    bed = tmp_path / "peaks.bed"
    bed.write_text("chr1\t0\t9000\n")
    read(paths, peaks=bed, fragments=files)


def test_stages_of_reading_and_counting(paths):
    events = []
    read(paths, fragments=True, progress=events.append)
    stages = [name for name, _ in itertools.groupby(event["stage"] for event in events)]
    assert stages == ["reading donor1", "reading donor2", "counting fragments of donor1",
                      "counting fragments of donor2"]  # fmt: skip
