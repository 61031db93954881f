"""Activity of genes: overlaps by brute force, and of a model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

import scmvp
from scmvp.data.peaks import peaks_of
from scmvp.errors import InputError, InputNote
from scmvp.tools import activity as tool

QUIET = pytest.mark.filterwarnings("ignore::scmvp.errors.InputNote")


def peaks_and_genes(seed=0, n_peaks=300, n_genes=40):
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 200_000, n_peaks)
    width = rng.integers(1, 4000, n_peaks)
    on = rng.choice(["chr1", "chr2"], n_peaks)
    peaks = np.array([f"{c}-{s}-{s + w}" for c, s, w in zip(on, start, width, strict=True)])
    first = rng.integers(1, 200_000, n_genes)
    genes = pd.DataFrame(
        {
            "gene": [f"g{i}" for i in range(n_genes)],
            "seqnames": rng.choice(["1", "2", "3"], n_genes),  # without 'chr'
            "start": first,
            "end": first + rng.integers(0, 20_000, n_genes),
            "strand": rng.choice(["+", "-"], n_genes),
        }
    )
    counts = rng.poisson(0.3, (12, n_peaks)).astype(np.float32)
    adata = AnnData(
        sp.csr_matrix(counts),
        obs=pd.DataFrame(index=[f"c{i}" for i in range(12)]),
        var=pd.DataFrame(index=peaks),
    )
    return adata, genes


def bases(peak: str) -> tuple[str, set[int]]:
    """Chromosome without 'chr' and the 1-based positions of a peak of BED's kind."""
    on, start, end = peak.split("-")
    return on[3:], range(int(start) + 1, int(end) + 1)


def by_loop(peak: str, gene: pd.Series, method: str) -> float:
    on, places = bases(peak)
    if on != gene.seqnames:
        return 0.0
    tss = gene.start if gene.strand == "+" else gene.end
    if method == "decay":
        gap = 0 if tss in places else min(abs(places[0] - tss), abs(places[-1] - tss))
        return float(np.exp(-gap / 5_000)) if gap <= 100_000 else 0.0
    low = gene.start - 2_000 * (gene.strand == "+")
    high = gene.end + 2_000 * (gene.strand == "-")
    return float(places[0] <= high and places[-1] >= low)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["body", "decay"])
def test_sums_are_those_of_a_plain_loop(method):
    adata, genes = peaks_and_genes()
    weights = np.array(
        [[by_loop(peak, gene, method) for _, gene in genes.iterrows()] for peak in adata.var_names]
    )
    found = scmvp.gene_activity(adata, genes, method=method)
    kept = weights.sum(0) > 0
    assert list(found.var_names) == list(genes["gene"][kept])
    assert list(found.obs_names) == list(adata.obs_names)
    assert sp.issparse(found.X)
    np.testing.assert_allclose(
        found.X.toarray(), adata.X.toarray().astype(float) @ weights[:, kept], rtol=1e-12
    )
    assert list(found.var["n_peaks"]) == list((weights[:, kept] > 0).sum(0))


def test_several_rows_of_a_gene_count_each_peak_once():
    adata, _ = peaks_and_genes()
    adata = adata[:, ["chr1" in name for name in adata.var_names]].copy()
    rows = pd.DataFrame({"gene": "A", "chr": "chr1", "tss": [50_000, 50_500]})
    found = scmvp.gene_activity(adata, rows, method="decay")
    # of a peak that several rows have, the largest weight
    each = [
        row.rename({"tss": "start"}) for _, row in rows.assign(seqnames="1", strand="+").iterrows()
    ]
    weights = np.array([max(by_loop(p, row, "decay") for row in each) for p in adata.var_names])
    assert list(found.var_names) == ["A"] and (weights > 0).sum() > 20
    np.testing.assert_allclose(
        found.X.toarray().ravel(), adata.X.toarray().astype(float) @ weights, rtol=1e-12
    )
    assert found.var["n_peaks"]["A"] == (weights > 0).sum()
    with pytest.warns(InputNote, match="have only the starts"):
        scmvp.gene_activity(adata, rows)


def test_genes_are_in_their_order_whichever_of_their_rows_has_a_peak():
    adata, _ = peaks_and_genes()
    on, start, end = adata.var_names[0].split("-")
    middle = (int(start) + int(end)) // 2
    rows = pd.DataFrame({"gene": ["A", "B", "A"], "chr": on, "tss": [10**8, middle, middle]})
    found = scmvp.gene_activity(adata, rows, method="decay", distance=1)
    assert list(found.var_names) == ["A", "B"]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_a_gene_on_several_chromosomes_is_where_most_peaks_are(order):
    adata, genes = peaks_and_genes()
    n_peaks = pd.Series([name.split("-")[0][3:] for name in adata.var_names]).value_counts()
    most, fewer = n_peaks.index
    here = genes.iloc[[0]].assign(seqnames=most, start=1, end=200_000)
    rows = pd.concat([here, here.assign(seqnames=fewer), here.assign(seqnames=f"{most}_alt")])
    with pytest.warns(InputNote, match="1 gene is on several chromosomes .*'g0'.*most peaks"):
        found = scmvp.gene_activity(adata, rows.iloc[order])
    assert np.array_equal(found.X.toarray(), scmvp.gene_activity(adata, here).X.toarray())


@QUIET
def test_genes_keep_their_order_if_the_first_place_is_on_another_chromosome():
    peaks = ["chr1-100-200", "chr1-300-400", "chr2-100-200"]
    adata = AnnData(np.ones((2, 3), np.float32), var=pd.DataFrame(index=peaks))
    names, on, start = ["b", "a", "b"], ["chr2", "chr1", "chr1"], [150, 350, 150]
    genes = pd.DataFrame({"gene": names, "seqnames": on, "start": start, "strand": "+"})
    genes["end"] = genes["start"] + 10
    assert scmvp.gene_activity(adata, genes).var_names.tolist() == ["b", "a"]


@QUIET
def test_of_chromosomes_with_as_many_peaks_the_shorter_name_is_taken():
    peaks, _ = peaks_of(np.array(["chr6_alt-1-9", "chr6-1-9", "chrX-1-9", "chrY-1-9"]), "x")
    on = ["chr6_alt", "chr6", "chrY", "chrX", "chr10_fix", "chr10"]
    rows = pd.DataFrame({"gene": list("aabbcc"), "seqnames": on, "row": range(6)})
    for some in (rows, rows[::-1]):
        found = tool.on_one_chromosome(some, peaks)
        assert set(found["seqnames"]) == {"chr6", "chrX", "chr10"}


def test_cells_without_counts_of_peaks_are_told():
    adata, genes = peaks_and_genes()
    known = np.setdiff1d(np.arange(12), [0, 5, 11])
    wanted = scmvp.gene_activity(adata[known].copy(), genes)
    counts = adata.X.toarray()
    counts[[0, 5, 11]] = 0
    adata.X = sp.csr_matrix(counts)
    with pytest.warns(InputNote, match="3 cells have no counts of peaks"):
        found = scmvp.gene_activity(adata, genes)
    assert sp.issparse(found.X)
    values = found.X.toarray()
    assert np.array_equal(values[known], wanted.X.toarray())
    assert not values[[0, 5, 11]].any() and found.X.nnz == wanted.X.nnz


def test_what_cannot_be_used_is_refused():
    adata, genes = peaks_and_genes()
    with pytest.raises(InputError, match="no gene has a peak"):
        scmvp.gene_activity(adata, genes.assign(seqnames="chrUn"))
    with pytest.raises(InputError, match="method is 'sum'"):
        scmvp.gene_activity(adata, genes, method="sum")
    with pytest.raises(InputError, match="decay is 0"):
        scmvp.gene_activity(adata, genes, decay=0)
    with pytest.raises(InputError, match="not named by a range"):
        adata.var_names = [f"p{i}" for i in range(adata.n_vars)]
        scmvp.gene_activity(adata, genes)


@pytest.mark.slow
@QUIET
def test_a_model_sums_what_it_decodes():
    mdata = scmvp.simulate(n_cells=120, n_genes=150, n_peaks=300, n_types=3, seed=2)
    model = scmvp.SCMVP(mdata, n_clusters=3, min_cells=1).train(max_epochs=2, threads=1)
    var = mdata["rna"].var
    genes = pd.DataFrame({"gene": var.index, "chrom": var["chrom"], "tss": var["tss"]})
    found = model.gene_activity(genes, method="decay")
    weights = tool.weights_of(model.peaks, genes, None, "decay", 0, 5_000, 100_000)
    values = model.get_accessibility_estimates().astype(np.float64)
    gene = found.var_names[3]
    of_gene = weights[weights["gene"] == gene]
    np.testing.assert_allclose(
        found[:, gene].X.ravel(), values[:, of_gene["peak"]] @ of_gene["weight"], rtol=1e-6
    )
    measured = model.gene_activity(genes, mdata, imputed=False, method="decay")
    alone = scmvp.gene_activity(mdata["atac"][:, model.peaks].copy(), genes, method="decay")
    assert np.array_equal(measured.X.toarray(), alone.X.toarray())
