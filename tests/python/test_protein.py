"""Surface proteins as a third modality: background, likelihood, imputed values, files."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp
import torch
from mudata import MuData
from populations import assert_types_found, faint_types

import scmvp
from scmvp import cli
from scmvp.data.checks import check_paired
from scmvp.data.matrices import in_memory
from scmvp.nn import distributions as dist
from scmvp.nn.background import Background, background_limit
from scmvp.nn.sparse import SparseRows
from scmvp.tools.compared import CountTest
from scmvp.tools.groups import Comparison, Groups
from scmvp.tools.posterior import posterior_of, q_values

N_PROTEINS = 24


def proteins_of(kind: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts of proteins, what of their means is foreground, and whether there is any.

    Each of the types has a third of the proteins; the background differs 20-fold between proteins
    and has a factor of the cell.
    """
    rng = np.random.default_rng(seed)
    on = np.arange(N_PROTEINS) % 3 == kind[:, None]
    background = np.geomspace(1, 20, N_PROTEINS) * rng.gamma(8, 1 / 8, (len(kind), 1))
    foreground = on * rng.uniform(60, 200, N_PROTEINS) * rng.gamma(8, 1 / 8, (len(kind), 1))
    mean = background + foreground
    return rng.poisson(rng.gamma(5, mean / 5)).astype(np.float32), foreground, on


@pytest.fixture(scope="module")
def cells() -> MuData:
    """Three types that RNA and ATAC hardly tell apart, and proteins that do."""
    pair, kind = faint_types()
    counts, foreground, on = proteins_of(kind)
    part = ad.AnnData(sp.csr_matrix(counts), obs=pair["rna"].obs[["cell_type"]].copy())
    part.var_names = [f"CD{j}" for j in range(N_PROTEINS)]
    part.layers["foreground"], part.layers["on"] = foreground, on.astype(float)
    # in another order: cells go by name
    return MuData({"rna": pair["rna"], "atac": pair["atac"], "ADT": part[::-1].copy()})


@pytest.fixture(scope="module")
def model(cells) -> scmvp.SCMVP:
    return scmvp.SCMVP(cells, n_clusters=3).train(max_epochs=30, seed=0, progress=False)


def parameters(seed: int = 0):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(6.0, (4, 5)) * (rng.random((4, 5)) > 0.3)
    mean, background = rng.gamma(1, 20, (4, 5)), rng.gamma(2, 2, (4, 5))
    return counts, mean, background, rng.normal(1, 1, 5), rng.normal(0, 3, (4, 5))


def test_the_likelihood_is_that_of_a_mixture_of_torch_distributions():
    counts, *numbers = parameters()
    mean, background, log_theta, logit = map(torch.from_numpy, numbers)
    theta = log_theta.exp()
    parts = [
        torch.distributions.NegativeBinomial(theta, logits=(m / theta).log())
        .log_prob(torch.from_numpy(counts).double())
        .exp()
        for m in (background, background + mean)
    ]
    phi = logit.sigmoid()
    expected = (phi * parts[0] + (1 - phi) * parts[1]).log().sum(1)
    rows = SparseRows.from_csr(sp.csr_matrix(counts.astype(float)))
    found = dist.above_background(rows, mean, background, log_theta, logit)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_gradients_of_the_likelihood_are_finite_differences():
    counts, *numbers = parameters(1)
    rows = SparseRows.from_csr(sp.csr_matrix(counts.astype(float)))
    tensors = [torch.from_numpy(part).requires_grad_() for part in numbers]
    assert torch.autograd.gradcheck(lambda *t: dist.above_background(rows, *t), tensors)


def test_the_background_is_found_where_the_truth_is_known():
    kind = np.random.default_rng(1).integers(0, 3, 600)
    counts, foreground, on = proteins_of(kind, 5)
    found = Background.of(sp.csr_matrix(counts), 0)
    truth = np.geomspace(1, 20, N_PROTEINS)
    assert np.abs(np.log(found.background.rate.numpy() / truth)).max() < np.log(1.25)
    split = found.background(SparseRows.from_csr(sp.csr_matrix(counts)))
    assert ((counts > found.background.limit.numpy()) == on).mean() > 0.98
    size = foreground.sum(1)
    log_size = np.log(split.size[:, 0].numpy())
    assert np.corrcoef(log_size, np.log(size))[0, 1] > 0.85  # counts of eight proteins are noisy
    assert abs((log_size - np.log(size)).mean()) < 0.05
    # cells of other counts of the same background: from their own counts, and from no others
    alone = found.background(SparseRows.from_csr(sp.csr_matrix(counts[:1])))
    torch.testing.assert_close(alone.background, split.background[:1])


@pytest.mark.parametrize("counts", [[0.0] * 50, [3.0] * 50, [0.0] * 49 + [900.0]])
def test_a_protein_of_one_kind_of_counts_has_a_background(counts):
    found = Background.of(sp.csr_matrix(np.array(counts)[:, None]), 0)
    assert np.isfinite(found.background.rate).all() and (found.background.rate > 0).all()
    assert torch.isfinite(found.logit).all() and torch.isfinite(found.totals).all()
    assert background_limit(np.array(counts)) in counts


@pytest.mark.slow
def test_proteins_tell_types_apart_and_are_imputed_without_background(cells, model):
    assert repr(model).startswith("SCMVP(200 genes, 400 peaks, 24 proteins, ")
    kind = cells["rna"].obs["cell_type"].cat.codes.to_numpy()
    assert_types_found(kind, model.predict())
    truth = cells["ADT"][model.cells]
    imputed = model.get_protein_expression(library_size=1.0)
    share = truth.layers["foreground"] / truth.layers["foreground"].sum(1, keepdims=True)
    assert np.corrcoef(imputed.ravel(), share.ravel())[0, 1] > 0.95
    on = truth.layers["on"] > 0
    assert imputed[~on].mean() < 0.05 * imputed[on].mean()  # a third of the counts is background
    probability = model.protein_foreground(proteins=["CD3", "CD0"])
    assert probability.shape == (300, 2)
    assert ((probability > 0.5) == on[:, [3, 0]]).mean() > 0.97


@pytest.mark.slow
def test_a_model_of_proteins_is_saved_loaded_and_embeds_other_cells(cells, model, tmp_path):
    model.save(tmp_path / "model")
    loaded = scmvp.SCMVP.load(tmp_path / "model")
    assert [*loaded.features] == ["rna", "atac", "protein"]
    latent = loaded.get_latent_representation(cells)
    np.testing.assert_allclose(latent, model.get_latent_representation(), atol=1e-4)
    pair = MuData({"rna": cells["rna"], "atac": cells["atac"]})  # of which they were not read
    assert np.isfinite(loaded.get_latent_representation(pair)).all()
    expression = model.get_protein_expression(proteins=["CD5"])
    np.testing.assert_allclose(
        loaded.get_protein_expression(cells, proteins=["CD5"]), expression, rtol=1e-3
    )


@pytest.mark.slow
def test_proteins_of_a_type_are_called(cells, model):
    kind = cells["rna"].obs["cell_type"].astype(str)
    table = model.differential_protein(groupby=kind.to_numpy(), only_pos=True)
    number = cells["rna"].obs["cell_type"].cat.categories.get_indexer(table["group"])
    own = table["feature"].str[2:].astype(int).to_numpy() % 3 == number
    called = table["is_de"].to_numpy()
    assert called[own].mean() > 0.95 and own.mean() > 0.5 and not called[~own].any()


@pytest.mark.slow
def test_fold_changes_of_proteins_are_relative_to_the_background():
    """Types have 14, 6 and 4 of the proteins, and one has 1.5 times the counts of all."""
    rng = np.random.default_rng(1)
    kind, owner = np.repeat([0, 1, 2], 150), np.repeat([0, 1, 2], [14, 6, 4])
    on = owner == np.arange(3)[:, None]
    rate, foreground = rng.permutation(np.geomspace(2, 20, N_PROTEINS)), 100.0
    factor = rng.gamma(8, 1 / 8, 450) * np.where(kind == 1, 1.5, 1)  # of the technique
    mean = factor[:, None] * (rate + on[kind] * foreground)
    part = ad.AnnData(sp.csr_matrix(rng.poisson(mean).astype(np.float32)))
    part.obs_names = [f"cell{i}" for i in range(450)]
    part.var_names = [f"CD{j}" for j in range(N_PROTEINS)]
    model = scmvp.SCMVP(MuData({"ADT": part}), n_clusters=3, modalities="protein")
    model.train(max_epochs=2, progress=False)
    level = rate + on * foreground
    for group, reference in ((0, 1), (1, 2), (0, 2)):
        table = model.differential_protein(
            groupby=kind.astype(str), group1=str(group), group2=str(reference)
        )
        table = table.set_index("feature").loc[list(part.var_names)]
        truth = np.log2(level[group] / level[reference])
        np.testing.assert_allclose(table["lfc"], truth, atol=0.4)
        differs = np.abs(truth) > 0
        assert table["is_de"][differs].all() and table["is_de"][~differs].sum() <= 1


@pytest.mark.slow
def test_decoded_fold_changes_of_proteins_are_of_counts_per_cell():
    """One type has nine proteins more, of which the fold change of a tenth must know nothing."""
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1, 2], 130)
    on = np.zeros((3, 16), bool)
    on[:2, 0], on[0, 1:10], on[1, 10], on[2, 11:13] = True, True, True, True
    counts = rng.negative_binomial(10, 10 / (50 + 60 * on[kind])).astype(np.float32)
    part = ad.AnnData(sp.csr_matrix(counts))
    part.var_names = [f"CD{j}" for j in range(16)]
    model = scmvp.SCMVP(MuData({"ADT": part}), n_clusters=3, modalities="protein")
    model.train(max_epochs=30, progress=False)
    types = kind.astype(str)
    table = model.differential_protein(groupby=types, group1="0", group2="1")
    table = table.set_index("feature")
    assert abs(table.loc["CD0", "lfc"]) < 0.15 and not table.loc["CD0", "is_de"]
    # what is left is the error of the background of single cells; relative to all counts it is -1
    assert abs(table.loc["CD0", "lfc_model"]) < 0.5
    assert table.loc["CD1", "lfc_model"] > 1


@pytest.mark.parametrize("n", [5, 20])
def test_the_background_of_few_cells_is_unbiased(n):
    """0.2 counts per cell and nothing that differs; half a count more in both would give 0.5."""
    centres, calls = [], 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        mean = np.full((n + 500, 40), 0.2)
        mean[:, :8] += 50  # proteins of all cells
        counts = sp.csr_matrix(rng.poisson(mean).astype(np.float32))
        pair = Comparison("few", "many", ([0], [1]))
        groups = Groups((np.arange(n + 500) >= n).astype(int), 2, [pair])
        limit = np.where(np.arange(40) < 8, 15.0, 5.0)
        found = CountTest.of_counts(counts, groups, None, limit, 1e4).of(pair)
        centres.append(found.centre)
        calls += (q_values(posterior_of(found.evidence, 0.25).prob) <= 0.05).sum()
    assert abs(np.mean(centres)) < 3 * np.std(centres) / np.sqrt(6) + 0.05 and calls == 0


def test_proteins_are_summed_and_followed_as_genes_are(cells, refused):
    donor = np.array([f"d{i % 5}" for i in range(300)])
    time = np.linspace(0, 1, 300)
    order = cells.obs_names
    counts = cells["ADT"][order].X.toarray()
    triple = (cells["rna"][order], cells["atac"][order], cells["ADT"])
    for data in (cells, triple):
        sums = scmvp.pseudobulk(data, donor, np.repeat("all", 300), "protein")
        expected = pd.DataFrame(counts).groupby(donor).sum()
        np.testing.assert_array_equal(sums.X.toarray(), expected)
        assert list(sums.obs["sample"]) == list(expected.index)
        assert list(sums.var_names) == list(cells["ADT"].var_names)
    found = scmvp.features_along(cells, "protein", pseudotime=time)
    same = scmvp.features_along(
        sp.csr_matrix(counts), pseudotime=time, features=list(cells["ADT"].var_names)
    )
    pd.testing.assert_frame_equal(found, same)
    pair = triple[:2]
    refused(
        lambda: scmvp.pseudobulk(pair, donor, np.repeat("all", 300), "protein"),
        "modality is 'protein'; use 'rna' or 'atac'",
    )


def ten_x(cells: MuData, path, names: tuple[str, ...]):
    """A file of 10x of these modalities, as Cell Ranger writes it."""
    types = {"rna": "Gene Expression", "atac": "Peaks", "ADT": "Antibody Capture"}
    order = cells["rna"].obs_names
    parts = [cells[name][order] for name in names]
    counts = sp.hstack([part.X for part in parts], format="csr")
    features = np.concatenate([part.var_names for part in parts])
    kinds = [types[name] for name in names for _ in cells[name].var_names]
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        values = {"data": counts.data.astype(np.int32), "indices": counts.indices}
        values |= {"indptr": counts.indptr, "shape": counts.shape[::-1]}
        for name, value in (values | {"barcodes": list(order)}).items():
            group[name] = value
        for name, value in (("id", features), ("name", features), ("feature_type", kinds)):
            group[f"features/{name}"] = list(value)
    return path


def matrix_market(path, h5):
    """The same as a folder of three files."""
    path.mkdir()
    with h5py.File(h5) as file:
        group = file["matrix"]
        parts = (group["data"][:], group["indices"][:], group["indptr"][:])
        counts = sp.csc_matrix(parts, shape=tuple(group["shape"][:]))
        scipy.io.mmwrite(path / "matrix.mtx", counts)
        barcodes = group["barcodes"].asstr()[:]
        columns = [group[f"features/{name}"].asstr()[:] for name in ("id", "name", "feature_type")]
    (path / "barcodes.tsv").write_text("\n".join(barcodes) + "\n")
    rows = ("\t".join(row) for row in zip(*columns, strict=True))
    (path / "features.tsv").write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.slow
def test_every_kind_of_file_has_its_proteins(cells, tmp_path):
    h5 = ten_x(cells, tmp_path / "cells.h5", ("rna", "atac", "ADT"))
    cells.write(tmp_path / "cells.h5mu")
    (tmp_path / "folder").mkdir()
    for name in ("rna", "atac", "ADT"):
        cells[name].write_h5ad(tmp_path / "folder" / f"{name.replace('ADT', 'protein')}.h5ad")
    forms = [h5, matrix_market(tmp_path / "mm", h5), tmp_path / "cells.h5mu", tmp_path / "folder"]
    wanted = cells["ADT"][cells["rna"].obs_names].X.toarray()
    for path in forms:
        mdata = scmvp.read(path)
        assert [*mdata.mod] == ["rna", "atac", "protein"]
        found = mdata["protein"][cells["rna"].obs_names]
        np.testing.assert_array_equal(found.X.toarray(), wanted)
        assert list(found.var_names) == list(cells["ADT"].var_names)
        if path.name != "mm":
            paired = scmvp.read(path, backed=True)
            at = pd.Index(paired.cells).get_indexer(cells["rna"].obs_names)
            counts = in_memory(paired.counts["protein"]).toarray()
            np.testing.assert_array_equal(counts[at], wanted)


@pytest.mark.parametrize("has", ["rna", "atac"])
def test_files_of_proteins_and_one_other_modality_are_read(cells, has, tmp_path):
    (tmp_path / "folder").mkdir()
    cells[has].write_h5ad(tmp_path / "folder" / f"{has}.h5ad")
    cells["ADT"].write_h5ad(tmp_path / "folder" / "protein.h5ad")
    wanted = cells["ADT"][cells[has].obs_names].X.toarray()
    for path in (ten_x(cells, tmp_path / "cells.h5", (has, "ADT")), tmp_path / "folder"):
        mdata = scmvp.read(path)
        assert [*mdata.mod] == [has, "protein"]
        found = mdata["protein"][cells[has].obs_names].X.toarray()
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_proteins_stay_with_their_cells(cells, tmp_path, refused):
    kept = scmvp.filter_paired(cells, min_genes=100, min_peaks=0, verbose=False)
    assert 20 < kept.n_obs < cells.n_obs
    found = kept["protein"]
    assert list(found.obs_names) == list(kept["rna"].obs_names) and found.n_vars == N_PROTEINS
    wanted = cells["ADT"][found.obs_names].X.toarray()
    np.testing.assert_array_equal(found.X.toarray(), wanted)
    paths = {}
    for sample, rows in (("a", slice(0, 150)), ("b", slice(150, None))):
        some = cells["rna"].obs_names[rows]
        part = MuData({name: cells[name][some].copy() for name in cells.mod})
        part.write(tmp_path / f"{sample}.h5mu")
        paths[sample] = tmp_path / f"{sample}.h5mu"
    joined = scmvp.read_samples(paths)["protein"]
    barcodes = joined.obs_names.str[2:]
    np.testing.assert_array_equal(joined.X.toarray(), cells["ADT"][barcodes].X.toarray())
    for lacking, left in (("RNA", "atac"), ("ATAC", "rna")):  # what b has besides
        MuData({name: cells[name][some].copy() for name in (left, "ADT")}).write(paths["b"])
        said = f"{lacking} is missing in 'b' but present in 'a'"
        refused(lambda: scmvp.read_samples(paths), said)
    MuData({name: cells[name][some].copy() for name in ("rna", "atac")}).write(paths["b"])
    with pytest.warns(scmvp.errors.InputNote, match="proteins are left out"):
        assert [*scmvp.read_samples(paths).mod] == ["rna", "atac"]


def test_a_protein_that_few_cells_have_is_modeled(cells):
    more = cells.copy()
    rare = np.zeros((300, 2), np.float32)
    rare[:3, 0] = 80
    part = ad.AnnData(sp.hstack([more["ADT"].X, rare]).tocsr(), obs=more["ADT"].obs)
    part.var_names = [*cells["ADT"].var_names, "rare", "never"]
    more = MuData({"rna": cells["rna"], "atac": cells["atac"], "protein": part})
    assert list(scmvp.SCMVP(more).proteins[-2:]) == ["CD23", "rare"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "modalities,names",
    [
        (("rna", "protein"), ["rna", "protein"]),
        (["ADT", "ATAC"], ["atac", "protein"]),
        ("rna", ["rna"]),
        (("adt",), ["protein"]),
    ],
)
def test_fewer_modalities_are_a_whole_data_set(cells, modalities, names, tmp_path, refused):
    model = scmvp.SCMVP(cells, n_clusters=3, modalities=modalities)
    model.train(max_epochs=3, progress=False)
    assert [*model.features] == names
    model.save(tmp_path / "model")
    loaded = scmvp.SCMVP.load(tmp_path / "model")
    assert [*loaded.features] == [*model.features]
    latent = loaded.get_latent_representation(cells)
    np.testing.assert_allclose(latent, model.get_latent_representation(), atol=1e-4)
    model.report(tmp_path / "report.html", cells, progress=False)
    if "atac" not in model.features:
        refused(lambda: model.get_accessibility_estimates(), "fitted without peaks")
        refused(lambda: model.peaks, "fitted without peaks")


def test_cells_without_chromatin_need_to_be_asked_for(cells, refused):
    citeseq = MuData({"rna": cells["rna"], "prot": cells["ADT"]})
    refused(lambda: scmvp.SCMVP(citeseq), "ATAC modality is missing", "('rna', 'protein')")
    assert [*scmvp.SCMVP(citeseq, modalities=("rna", "protein")).features] == ["rna", "protein"]
    refused(lambda: scmvp.SCMVP(cells, modalities=("rna", "protien")), "'protien'")
    refused(lambda: scmvp.SCMVP(citeseq, modalities=("rna", "atac")), "'rna' or 'protein'")
    refused(
        lambda: scmvp.SCMVP(citeseq, modalities=("rna", "protein"), preset="paper"), "needs RNA and"
    )


@pytest.mark.slow
def test_the_command_line_has_proteins(cells, tmp_path, capsys):
    path = ten_x(cells, tmp_path / "cells.h5", ("rna", "ADT"))
    out = ["--out", str(tmp_path / "fit"), "--n-clusters", "3", "--max-epochs", "2"]
    assert cli.main(["fit", str(path), *out]) == 2
    assert "--modalities rna protein" in capsys.readouterr().err
    assert cli.main(["fit", str(path), *out, "--modalities", "rna", "protein"]) == 0
    said = capsys.readouterr().err
    assert "modalities: RNA and protein" in said and "24 of 24 proteins" in said
    model = str(tmp_path / "fit" / "model")
    table = tmp_path / "table.csv"
    of = ["--modality", "protein"]
    assert cli.main(["differential", model, str(path), *of, "--out", str(table)]) == 0
    assert set(pd.read_csv(table)["feature"]) == set(cells["ADT"].var_names)
    assert cli.main(["impute", model, str(path), *of, "--out", str(tmp_path / "x.h5")]) == 0
    assert ad.read_h5ad(tmp_path / "x.h5").shape == (300, N_PROTEINS)
    latent = ["embed", model, str(path), *of, "--out", str(tmp_path / "latent.csv")]
    assert cli.main(latent) == 0


@pytest.mark.slow
@pytest.mark.parametrize("has", [("rna", "atac"), ("rna", "ADT"), ("atac",)])
def test_a_query_that_lacks_a_modality_is_the_same_from_disk(cells, model, has, tmp_path):
    query = MuData({name: cells[name].copy() for name in has})
    query.write_h5mu(tmp_path / "query.h5mu")
    model.save(tmp_path / "model")
    truth = model.get_latent_representation(query)
    on_disk = scmvp.read(tmp_path / "query.h5mu", backed=True) if len(has) > 1 else query
    np.testing.assert_allclose(model.get_latent_representation(on_disk), truth, atol=1e-5)
    if len(has) > 1:
        arguments = ["embed", str(tmp_path / "model"), str(tmp_path / "query.h5mu")]
        for backed in ("yes", "no"):
            out = tmp_path / f"{backed}.csv"
            assert cli.main([*arguments, "--out", str(out), "--backed", backed, "--quiet"]) == 0
            found = pd.read_csv(out, index_col=0)
            order = query.obs_names.get_indexer(found.index)
            np.testing.assert_allclose(found, truth[order], atol=1e-4)


@pytest.mark.slow
def test_cells_that_share_no_modality_with_the_model_are_refused(cells, refused):
    pair = MuData({"rna": cells["rna"], "atac": cells["atac"]})
    model = scmvp.SCMVP(pair, n_clusters=2).train(max_epochs=2, threads=1, progress=False)
    paired = check_paired(cells, modalities=["protein"])
    refused(lambda: model.predict(paired), "the cells have protein, but the model has RNA and ATAC")
