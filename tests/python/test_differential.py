from __future__ import annotations

import csv
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mudata import MuData
from populations import counts, population

import scmvp
from scmvp import cli
from scmvp.data.scope import Scope
from scmvp.errors import InputError, InputNote, LeftOut
from scmvp.tools import differential
from scmvp.tools.groups import Comparison, Groups, groups_of, labels_in


def two(group):
    return Groups(np.where(group, 0, 1), 2, [Comparison("a", "b", ([0], [1]))])


def table_of(matrix, group, **options):
    names = np.array([f"f{i}" for i in range(matrix.shape[1])])
    means = np.ones((2, 2, matrix.shape[1]), np.float32)
    options = {"delta": 0.25, "fdr": 0.05, "library_size": 1e4} | options
    table = differential.compare(matrix, names, two(group), means, **options)
    return table.set_index("feature").reindex(names)


@pytest.mark.slow
def test_no_difference_gives_hardly_a_discovery():
    calls = []
    for seed in range(8):
        matrix, group, _ = population(seed, n=(50, 80), null=True)
        calls.append(table_of(matrix, group)["is_de"].sum())
    assert np.sum(np.array(calls) > 0) <= 1
    assert np.sum(calls) <= 3


@pytest.mark.slow
def test_error_rate_and_effects_of_known_differences():
    wrong = called = right = covered = 0
    for seed in range(6):
        matrix, group, effect = population(10 + seed)
        table = table_of(matrix, group)
        is_de = table["is_de"].to_numpy()
        wrong += (is_de & (effect == 0)).sum()
        right += (is_de & (effect != 0)).sum()
        called += is_de.sum()
        lfc = effect / np.log(2)
        covered += np.mean((table["lfc_low"] <= lfc + 0.04) & (table["lfc_high"] >= lfc - 0.04)) / 6
        strong = (effect != 0) & (table["mean_group"] + table["mean_reference"] > 10)
        assert np.median(np.abs(table["lfc"] - lfc)[strong]) < 0.25
    assert wrong / called < 0.08
    assert right / (6 * 120) > 0.75
    assert covered > 0.93


@pytest.mark.slow
def test_rate_of_features_that_are_higher_is_their_own():
    """Many sure losses beside a few weak gains: a filter of all calls borrows their certainty."""
    first = np.log(np.r_[np.full(300, 1 / 4), np.full(60, 1.7)])
    wrong, called = np.zeros(2), np.zeros(2)
    for seed in range(6):
        matrix, group, effect = population(seed, n=(60, 80), n_different=0, first=first)
        gain = effect > 0.25 * np.log(2)
        both = table_of(matrix, group)
        filtered = (both["is_de"] & (both["lfc"] > 0)).to_numpy()
        table = table_of(matrix, group, only_pos=True)
        called_up = (table["q_value"] <= 0.05).to_numpy()
        for i, calls in enumerate((filtered, called_up)):
            wrong[i] += (calls & ~gain).sum()
            called[i] += calls.sum()
        # only features that are higher, each with its part of the two-sided probability
        rows = table.dropna(subset="lfc")
        assert (rows["lfc"] > 0).all()
        assert (rows["detected_group"] > 0).all()
        np.testing.assert_array_equal(rows["lfc"], both.loc[rows.index, "lfc"])
        assert (rows["prob_de"] <= both.loc[rows.index, "prob_de"] + 1e-12).all()
        counted = matrix[group].sum(0).A1 > 0
        assert set(rows.index) == set(both.index[(both["lfc"] > 0) & counted])
        # the rate up to each is the mean probability that it is wrong
        p = np.sort(1 - rows["prob_de"])
        np.testing.assert_allclose(
            np.sort(rows["q_value"]), np.cumsum(p) / np.arange(1, len(p) + 1), atol=1e-12
        )
    assert wrong[0] / called[0] > 0.08
    assert wrong[1] / called[1] < 0.06
    assert called[1] > 60


@pytest.mark.slow
def test_cells_are_compared_within_their_batch():
    """Batches that change every feature, and of which the groups have other shares."""
    rng = np.random.default_rng(7)
    _, group, effect = population(7, n=(200, 200))
    batch = (rng.random(400) < np.where(group, 0.8, 0.3)).astype(int)
    share = rng.lognormal(0, 1, 1500) / 2500
    factor = np.exp(rng.normal(0, 1, (2, 1500)))
    size = 2000 * rng.lognormal(0, 0.4, 400)
    mean = size[:, None] * share * factor[batch] * np.where(group[:, None], np.exp(effect), 1)
    matrix = counts(rng, mean, 0.4)
    differs = effect != 0
    table = table_of(matrix, group, batch=batch)
    wrong = (table["is_de"].to_numpy() & ~differs).sum()
    assert wrong <= 0.1 * table["is_de"].sum()
    assert table["is_de"].to_numpy()[differs].mean() > 0.6
    without_batch = table_of(matrix, group)
    assert (without_batch["is_de"].to_numpy() & ~differs).sum() > 5 * wrong + 100
    # the order of the numbers means nothing, and a batch that one group lacks says nothing
    again = table_of(matrix, group, batch=1 - batch)
    np.testing.assert_allclose(again["lfc"], table["lfc"], atol=1e-9)
    alone = np.where(group & (np.arange(400) % 2 == 0), 2, batch)
    left = alone < 2
    kept = table_of(matrix[left], group[left], batch=alone[left])
    np.testing.assert_allclose(table_of(matrix, group, batch=alone)["lfc"], kept["lfc"], atol=1e-9)


def test_groups_without_a_common_batch_are_refused(refused):
    group = np.arange(20) < 8
    every = np.ones(20, bool)
    refused(lambda: two(group).testable(every, group.astype(int)), "no batch has 3 cells of 'a'")


def test_shares_that_sum_to_one_are_allowed_for():
    """One gene takes half of the counts of a group; the others have not changed."""
    rng = np.random.default_rng(5)
    share = rng.lognormal(0, 1, 600)
    share /= share.sum()
    group = np.arange(240) < 120
    profile = np.where(group[:, None], share, share).copy()
    profile[group, 0] = 1.0
    mean = 2000 * profile / profile.sum(1, keepdims=True)
    table = table_of(counts(rng, mean, 0.2), group)
    assert table["is_de"].to_numpy()[0]
    assert table["is_de"].sum() <= 2


def test_dispersed_noise_of_small_groups_is_no_difference():
    """A gene that one cell of a group has a lot of."""
    matrix, group, _ = population(6, n=(30, 30), n_features=400, null=True)
    dense = matrix.toarray()
    dense[0, 5] += 60
    table = table_of(sp.csr_matrix(dense), group)
    assert not table["is_de"].to_numpy()[5]


# ---- through the model


@pytest.fixture(scope="module")
def fitted(simulated):
    pytest.importorskip("torch")
    return scmvp.SCMVP(simulated, n_clusters=3, min_cells=5).train(max_epochs=4, threads=1)


@pytest.mark.slow
def test_table_of_the_model(fitted, simulated, usable):
    table = fitted.differential_expression(simulated, groupby="cell_type", n_samples=3)
    assert list(table) == list(differential.COLUMNS)
    assert list(table["group"].unique()) == ["Type01", "Type02", "Type03"]
    assert len(table) == 3 * len(fitted.genes)
    usable(table, "q_value")
    for _, part in table.groupby("group"):
        up = part["lfc"] > 0
        assert up.is_monotonic_decreasing
        for half in (part[up], part[~up]):
            assert half["q_value"].is_monotonic_increasing
            assert half["prob_de"].is_monotonic_decreasing
        assert (part["is_de"] == (part["q_value"] <= 0.05)).all()
    assert table.drop(columns="log_bayes_factor").notna().all(axis=None)
    # against the counts themselves
    label = simulated["rna"].obs["cell_type"].to_numpy() == "Type02"
    x = simulated["rna"][:, fitted.genes].X.toarray()
    line = table[(table["group"] == "Type02") & (table["feature"] == fitted.genes[3])].iloc[0]
    assert line["mean_group"] == pytest.approx(1e4 * x[label, 3].sum() / x[label].sum(), rel=1e-5)
    assert line["detected_reference"] == pytest.approx((x[~label, 3] > 0).mean())


def test_groups_may_be_given_in_any_way(fitted, simulated):
    label = simulated["rna"].obs["cell_type"].to_numpy().astype(str)
    options = {"n_samples": 1, "peaks": list(fitted.peaks[:40])}
    test = fitted.differential_accessibility
    first, second = label == "Type01", label == "Type03"
    by_mask = test(group1=first, group2=second, **options)
    names = np.array(fitted.cells)
    by_name = test(group1=list(names[first]), group2=list(names[second]), **options)
    by_label = test(groupby=label, group1="Type01", group2="Type03", **options)
    by_column = test(simulated, groupby="cell_type", group1="Type01", group2=["Type03"], **options)
    assert len(by_mask) == 40
    numbers = ["lfc", "prob_de", "q_value", "mean_group", "detected_group"]
    for other in (by_name, by_label, by_column):
        pd.testing.assert_frame_equal(
            by_mask.set_index("feature")[numbers], other.set_index("feature").loc[
                by_mask["feature"]][numbers]
        )  # fmt: skip


def test_the_order_of_the_cells_changes_nothing(fitted, simulated, monkeypatch):
    monkeypatch.setattr(differential, "MODEL_CELLS", 50)  # fewer than a type has
    order = np.random.default_rng(0).permutation(simulated.n_obs)
    here, there = (
        fitted.differential_expression(cells, groupby="cell_type", n_samples=2)
        for cells in (simulated, simulated[order].copy())
    )
    pd.testing.assert_frame_equal(here, there, rtol=1e-4, atol=1e-6)


def test_features_that_are_named_twice_are_tested_once(fitted):
    names = list(fitted.genes[:20])
    table = fitted.differential_expression(genes=names)
    again = fitted.differential_expression(genes=names + names[:3] * 4)
    pd.testing.assert_frame_equal(again, table)


@pytest.mark.slow
def test_nothing_is_said_of_absent_features(fitted, simulated):
    """The others have the effects that they have when the absent ones are counted as zero."""
    absent = list(fitted.genes[[1, 4]])
    kept = ~simulated["rna"].var_names.isin(absent)
    query = MuData({"rna": simulated["rna"][:, kept].copy(), "atac": simulated["atac"].copy()})
    zeros = simulated.copy()
    zeros["rna"].X = zeros["rna"].X @ sp.diags_array(kept.astype("f4"))
    labels = fitted.predict().astype(str)
    with pytest.warns(InputNote, match="2 genes of the model"):
        table = fitted.differential_expression(query, groupby=labels)
    assert not table["feature"].isin(absent).any()
    whole = fitted.differential_expression(zeros, groupby=labels)
    index = ["group", "feature"]
    whole = whole.set_index(index).loc[pd.MultiIndex.from_frame(table[index])]
    np.testing.assert_allclose(table["lfc"], whole["lfc"], atol=1e-6)
    genes = [absent[0], fitted.genes[0]]
    with pytest.warns(InputNote), pytest.raises(InputError, match=f"the cells lack '{absent[0]}'"):
        fitted.differential_expression(query, groupby=labels, genes=genes)
    with pytest.warns(InputNote):
        fitted.differential_expression(query, groupby=labels, genes=genes[1:])


def test_labels_of_a_file_are_text(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("cell,label\na,01\nb,None\nc,NA\nd,\ne,null\nNA,2\n")
    with pytest.warns(InputNote, match="2 of the 6 cells"):
        found = labels_in(str(file), ["NA", *"edcba"])
    assert found.dropna().to_dict() == {"a": "01", "b": "None", "e": "null", "NA": "2"}


def test_clusters_are_compared_without_arguments(fitted):
    groups = fitted.differential_expression(n_samples=1)["group"].unique()
    assert set(groups) == {str(c) for c in np.unique(fitted.predict())}


def test_cells_are_matched_once(fitted, simulated, monkeypatch):
    """On disk, each time reads all counts."""
    calls, matched = [], Scope.matched
    monkeypatch.setattr(Scope, "matched", lambda *given: calls.append(given) or matched(*given))
    of_others = fitted.differential_expression(simulated, n_samples=1)
    pd.testing.assert_frame_equal(of_others, fitted.differential_expression(n_samples=1))
    fitted.add_to(simulated.copy(), simulated)
    assert len(calls) == 2


def test_markers_are_found_with_their_effects(fitted, simulated):
    table = fitted.differential_expression(simulated, groupby="cell_type", n_samples=3)
    part = table[table["group"] == "Type03"].set_index("feature")
    markers = simulated["rna"].var["marker_of"].reindex(part.index) == "Type03"
    called = part["is_de"] & (part["lfc"] > 0)
    assert called[markers].mean() > 0.8
    assert np.corrcoef(part["lfc"], part["lfc_model"])[0, 1] > 0.5


def test_same_seed_same_table_and_the_callers_stream_untouched(fitted):
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    tables = [fitted.differential_expression(n_samples=2, seed=5) for _ in range(2)]
    pd.testing.assert_frame_equal(*tables)
    assert (np.random.get_state()[1] == before).all()


def test_bad_input_is_refused(fitted, simulated, refused):
    test, n = fitted.differential_expression, len(fitted.cells)
    label = np.where(np.arange(n) < 2, "few", "many")
    refused(lambda: test(groupby="cell_type"), "pass the cells as data")
    refused(lambda: test(simulated, groupby="nothing"), "no column 'nothing'", "cell_type")
    refused(lambda: test(simulated, groupby="cell_type", group1="X"), "group1 is 'X'", "Type01")
    refused(lambda: test(groupby=label), "no group can be tested: 'few' (2 cells)")
    refused(lambda: test(groupby=label[:5]), "5 labels for 240 cells")
    refused(lambda: test(groupby=["a"] * n), "all cells have the same label in groupby")
    refused(lambda: test(groupby=label, group2="few"), "without group1")
    refused(
        lambda: test(simulated, groupby="cell_type", group1="Type01", group2="Type01"),
        "both in group1 and in group2",
    )
    refused(lambda: test(group1=np.ones(3, bool)), "mask of 3 values for 240 cells")
    refused(lambda: test(group1=["nobody", *fitted.cells[:5]]), "not in the data: 'nobody'")
    refused(lambda: test(group1=fitted.cells[:9], group2=fitted.cells[5:20]), "share 4 cells")
    refused(lambda: test(group1=np.zeros(n, bool)), "has 0 cells")
    refused(lambda: test(genes=["none"]), "genes that are not in the RNA model")
    refused(lambda: test(delta=-1), "delta")
    refused(lambda: test(fdr=1), "fdr")
    refused(lambda: test(n_samples=0), "n_samples")
    refused(lambda: test(latent="x"), "latent 'x'")
    refused(lambda: test(only_pos="yes"), "only_pos is 'yes'; give True or False")
    refused(lambda: test(only_pos=None), "only_pos is None; give True or False")
    refused(lambda: test(form="seurat"), "form is 'seurat'; give 'table' or 'scanpy'")


def test_cells_without_the_modality_are_refused(fitted, simulated, refused):
    half = simulated[:120].copy()
    genes = half["rna"].copy()
    test = partial(fitted.differential_accessibility, (genes, None), groupby="cell_type")
    refused(test, "none of 120 cells has ATAC counts", "give cells in which ATAC was measured")
    half["atac"].X = half["atac"].X * 0
    whole = partial(scmvp.pseudobulk, half, "cell_type", "cell_type", "atac")
    refused(whole, "none of 120 cells has ATAC counts")


def test_small_groups_are_left_out_with_one_warning(fitted, simulated, refused):
    """The others are tested as by themselves, with the small ones among the rest."""
    test = partial(fitted.differential_accessibility, simulated, n_samples=1)
    label = simulated.obs["cell_type"].astype(str).to_numpy()
    label[:2], label[2] = "few", "one"
    with pytest.warns(LeftOut) as said:
        table = test(groupby=label)
    assert [str(one.message) for one in said] == [
        "2 of 5 groups are not tested: 'few' (2 cells), 'one' (1 cell); a comparison needs 3 cells "
        "on each side"
    ]
    assert list(table["group"].unique()) == ["Type01", "Type02", "Type03"]
    assert table.attrs["left_out"] == {"few": "2 cells", "one": "1 cell"}
    alone = test(groupby=label, group1="Type02")
    own = table[table["group"] == "Type02"].reset_index(drop=True)
    compared = [name for name in own if not name.startswith("lfc_model")]  # of cells drawn anew
    pd.testing.assert_frame_equal(own[compared], alone[compared], check_like=True)
    counts = simulated["atac"][:, own["feature"].to_list()].X.toarray()  # of all modeled peaks
    counts = (counts + 1) // 2 if fitted.account["atac_insertions"] else counts
    inside = label == "Type02"
    for column, cells in (("mean_group", inside), ("mean_reference", ~inside)):
        sums = counts[cells].sum(0)
        np.testing.assert_allclose(own[column], 1e4 * sums / sums.sum(), rtol=1e-5)
    refused(lambda: test(groupby=label, group1=["Type01", "few"]), "group 'few' has 2 cells")
    refused(lambda: test(groupby=label, group1="Type01", group2="few"), "group 'few' has 2 cells")


def test_each_reason_to_leave_a_group_out(refused):
    """Counts are looked for, then batches; a named group is refused in its own words."""
    label = np.repeat(["a", "b", "c", "d"], [5, 5, 5, 4])
    batch = np.r_[np.tile([0, 0, 1, 1, 1], 2), np.full(5, 2), np.zeros(4, int)]
    counted = np.arange(19) < 17
    names = [f"cell{i}" for i in range(19)]
    with pytest.warns(LeftOut, match="2 of 4 groups") as said:
        found = groups_of(names, label, None, None).testable(counted, batch)
    assert "'c' (no batch has 3 cells of both sides), 'd' (2 cells); " in str(said[0].message)
    assert [comparison.group for comparison in found.comparisons] == ["a", "b"]
    assert (found.unit == np.where(counted, np.repeat([0, 1, 2, 3], [5, 5, 5, 4]), -1)).all()
    one = groups_of(names, label, ["a", "c"], None)
    refused(lambda: one.testable(counted, batch), "no batch has 3 cells of 'c' and of 'rest'")
    most = groups_of(names, np.where(label == "d", "a", "b"), None, None)
    refused(
        lambda: most.testable(counted),
        "no group can be tested: 'a' (2 cells), 'b' (rest: 2 cells); a comparison needs 3 cells on "
        "each side, so choose larger groups with groupby",
    )


@pytest.mark.slow
def test_command_line(fitted, simulated, pair_folder, tmp_path, capsys):
    fitted.save(tmp_path / "model")
    call = ["differential", str(tmp_path / "model"), str(pair_folder), "--modality", "rna"]
    out = tmp_path / "table.csv"
    assert cli.main([*call, "--groupby", "cell_type", "--group1", "Type02", "--out", str(out)]) == 0
    assert "Type02 against rest" in capsys.readouterr().err
    table = pd.read_csv(out)
    truth = fitted.differential_expression(simulated, groupby="cell_type", group1="Type02")
    pd.testing.assert_frame_equal(table, truth, check_dtype=False)
    ups = tmp_path / "ups.csv"
    assert cli.main([*call, "--groupby", "cell_type", "--only-pos", "--out", str(ups)]) == 0
    truth = fitted.differential_expression(simulated, groupby="cell_type", only_pos=True)
    pd.testing.assert_frame_equal(pd.read_csv(ups), truth, check_dtype=False)
    assert (truth["lfc"] > 0).all()
    few = tmp_path / "few.txt"
    down = table.loc[table["lfc"] < 0, "feature"].iloc[0]
    few.write_text(f"{down}\n")
    call_few = ["--group1", "Type02", "--features", str(few), "--only-pos", "--out", str(ups)]
    capsys.readouterr()
    assert cli.main([*call, "--groupby", "cell_type", *call_few]) == 0
    assert "Type02 against rest: 0 genes at FDR 0.05" in capsys.readouterr().err
    assert len(pd.read_csv(ups)) == 0
    labels = tmp_path / "labels.csv"
    with open(labels, "w", newline="") as file:
        rows = zip(simulated.obs_names, simulated["rna"].obs["cell_type"], strict=True)
        csv.writer(file).writerows([("cell", "cluster"), *list(rows)[20:]])
    backed = [*call, "--labels", str(labels), "--backed", "yes", "--out", str(out), "--quiet"]
    assert cli.main(backed) == 0
    assert set(pd.read_csv(out)["group"]) == {"Type01", "Type02", "Type03"}
    labels.write_text("cell,cluster\nnobody,a\n")
    assert cli.main(backed) == 2
    assert "none of the cells" in capsys.readouterr().err


@pytest.mark.slow
def test_command_line_knows_metadata_on_disk_and_the_clusters_by_their_labels(
    fitted, simulated, pair_folder, tmp_path
):
    fitted.save(tmp_path / "model")
    call = ["differential", str(tmp_path / "model"), str(pair_folder), "--modality", "rna"]
    out = tmp_path / "table.csv"
    call += ["--quiet", "--out", str(out)]

    def agree(truth):
        pd.testing.assert_frame_equal(pd.read_csv(out, dtype={"group": str}), truth)

    assert cli.main([*call, "--groupby", "cell_type", "--backed", "yes"]) == 0
    agree(fitted.differential_expression(simulated, groupby="cell_type"))
    clusters = fitted.predict(simulated)
    largest = np.bincount(clusters).argsort()[::-1][:2].astype(str).tolist()
    assert cli.main([*call, "--group1", *largest]) == 0
    agree(fitted.differential_expression(simulated, groupby=clusters, group1=largest))


def test_the_plain_way(fitted, simulated):
    """Imputed values in scanpy: the largest effects are true ones.

    By p value everything is at the top; docs/differential.md says what these are worth.
    """
    sc = pytest.importorskip("scanpy")
    import anndata

    adata = anndata.AnnData(
        np.log1p(fitted.get_normalized_expression()),
        obs=simulated["rna"].obs[["cell_type"]],
        var=pd.DataFrame(index=fitted.genes),
    )
    sc.tl.rank_genes_groups(adata, "cell_type", method="wilcoxon")
    found = sc.get.rank_genes_groups_df(adata, "Type03")
    top = found.sort_values("logfoldchanges", ascending=False)["names"][:5]
    assert (simulated["rna"].var["marker_of"][top].str.contains("Type03")).mean() >= 0.6


@pytest.mark.slow
def test_small_groups_on_the_command_line(fitted, pair_folder, tmp_path, capsys):
    fitted.save(tmp_path / "model")
    labels, out = tmp_path / "labels.csv", tmp_path / "table.csv"
    label = np.where(np.arange(len(fitted.cells)) < 100, "large", "other")
    label[[3, 120]] = "few"
    labels.write_text("cell,label\n" + "".join(map("{},{}\n".format, fitted.cells, label)))
    call = ["differential", str(tmp_path / "model"), str(pair_folder), "--modality", "rna"]
    call += ["--labels", str(labels), "--out", str(out)]
    assert cli.main(call) == 0
    said = capsys.readouterr().err
    assert "note: 1 of 3 groups is not tested: 'few' (2 cells)" in said
    assert set(pd.read_csv(out)["group"]) == {"large", "other"}
    assert cli.main([*call, "--group1", "few"]) == 2
    assert "group 'few' has 2 cells" in capsys.readouterr().err
