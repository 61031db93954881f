from __future__ import annotations

import tracemalloc

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

import scmvp
from scmvp.data.checks import check_paired, count_matrix
from scmvp.data.paired import Paired
from scmvp.data.values import holds_counts
from scmvp.errors import InputError

RNA = np.array([[1, 0, 3], [0, 2, 0], [0, 0, 5], [1, 1, 0]], dtype=np.float32)
ATAC = np.array([[1, 0], [0, 1], [2, 0], [1, 1]], dtype=np.float32)


def adata(values, prefix, cells="abcd"):
    result = AnnData(values)
    result.obs_names = list(cells)
    result.var_names = [f"{prefix}{i}" for i in range(values.shape[1])]
    return result


def pair(rna=RNA, atac=ATAC):
    return adata(sp.csr_matrix(rna), "g"), adata(sp.csr_matrix(atac), "p")


def assert_canonical(matrix, expected):
    assert isinstance(matrix, sp.csr_matrix) and matrix.dtype == np.float32
    assert matrix.has_sorted_indices and matrix.has_canonical_format
    assert np.count_nonzero(matrix.data) == matrix.nnz
    np.testing.assert_array_equal(matrix.toarray(), expected)


@pytest.mark.parametrize(
    "form",
    [
        sp.csr_matrix,
        sp.csc_matrix,
        sp.csr_array,
        sp.csc_array,
        np.asarray,
        lambda x: sp.csr_matrix(x.astype(np.int64)),
        lambda x: sp.csr_matrix(x.astype(np.float64)),
        lambda x: x.astype(np.uint16),
    ],
)
def test_every_form_of_matrix_becomes_the_same_counts(form):
    paired = check_paired((adata(form(RNA), "g"), adata(form(ATAC), "p")))
    assert_canonical(paired.rna, RNA)
    assert_canonical(paired.atac, ATAC)
    assert list(paired.cells) == list("abcd")
    assert list(paired.genes) == ["g0", "g1", "g2"]
    assert list(paired.peaks) == ["p0", "p1"]
    assert check_paired(paired) is paired


def test_mudata_and_binarized_peaks(simulated):
    paired = check_paired(simulated)
    assert paired.rna.shape == simulated["rna"].shape
    rna, atac = pair(atac=ATAC)
    atac.X = sp.csr_matrix(ATAC > 0)
    assert_canonical(check_paired((rna, atac)).atac, (ATAC > 0).astype(np.float32))


def test_counts_on_disk(tmp_path):
    rna, atac = pair()
    rna.write_h5ad(tmp_path / "rna.h5ad")
    backed = anndata.read_h5ad(tmp_path / "rna.h5ad", backed="r")
    assert_canonical(check_paired((backed, atac)).rna[:], RNA)


def test_what_is_canonical_is_not_copied():
    rna, atac = pair()
    paired = check_paired((rna, atac))
    assert np.shares_memory(paired.rna.data, rna.X.data)
    assert np.shares_memory(paired.rna.indices, rna.X.indices)
    as_double = sp.csr_matrix(RNA.astype(np.float64))
    kept = count_matrix(as_double, "rna", paired.cells, paired.genes)
    assert np.shares_memory(kept.indices, as_double.indices)


@pytest.mark.slow
def test_a_large_canonical_matrix_is_checked_without_a_copy_of_it():
    matrix = sp.random(4000, 5000, density=0.2, format="csr", dtype=np.float32, random_state=0)
    matrix.data[:] = 1
    names = np.arange(4000).astype(str), np.arange(5000).astype(str)
    tracemalloc.start()
    count_matrix(matrix, "atac", *names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.6 * matrix.data.nbytes


def test_the_callers_matrix_is_left_alone():
    unsorted = sp.csr_matrix(
        (np.array([2, 0, 1, 1], np.float32), [1, 0, 1, 1], [0, 2, 4]), shape=(2, 2)
    )
    before = unsorted.data.copy(), unsorted.indices.copy()
    cleaned = count_matrix(unsorted, "rna", np.array(["a", "b"]), np.array(["g", "h"]))
    assert_canonical(cleaned, [[0, 2], [0, 2]])
    np.testing.assert_array_equal(unsorted.data, before[0])
    np.testing.assert_array_equal(unsorted.indices, before[1])


def test_read_only_memory_is_accepted():
    matrix = sp.csr_matrix(RNA)
    for part in (matrix.data, matrix.indices, matrix.indptr):
        part.flags.writeable = False
    assert_canonical(count_matrix(matrix, "rna", np.array(list("abcd")), np.arange(3)), RNA)


def test_layers_by_name(refused):
    rna, atac = pair()
    rna.layers["counts"] = rna.X.copy()
    rna.X = sp.csr_matrix(np.log1p(RNA))
    assert_canonical(check_paired((rna, atac), rna_layer="counts").rna, RNA)
    refused(lambda: check_paired((rna, atac)), "looks normalized", "'a'", "'g0'", "'counts'")
    refused(lambda: check_paired((rna, atac), atac_layer="raw"), "ATAC", "no layer 'raw'", "none")
    rna.X = None
    refused(lambda: check_paired((rna, atac)), "RNA", "no X", "'counts'")


def test_cells_are_matched_by_name_to_the_order_of_the_rna():
    rna, atac = pair()
    paired = check_paired((rna, atac[["c", "a", "d", "b"]].copy()))
    assert list(paired.cells) == list("abcd")
    assert_canonical(paired.atac, ATAC)


def test_cells_that_are_not_shared_are_refused(refused):
    rna, atac = pair()
    atac.obs_names = list("abxy")
    refused(lambda: check_paired((rna, atac)), "2 only in RNA ('c', 'd')", "2 only in ATAC", "2 sh")
    atac.obs_names = list("wxyz")
    refused(lambda: check_paired((rna, atac)), "no cells in common", "'a'", "'w'")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-1, "negative value, -1"),
        (0.5, "looks normalized: 0.5"),
        (np.nan, "nan"),
        (np.inf, "inf"),
        (3e9, "too large"),
    ],
)
@pytest.mark.parametrize("modality", ["rna", "atac"])
def test_values_that_are_not_counts_are_named(value, words, modality, refused):
    rna, atac = pair()
    wrong = {"rna": rna, "atac": atac}[modality]
    values = wrong.X.toarray()
    values[3, 1] = value
    wrong.X = sp.csr_matrix(values)
    feature = "gene 'g1'" if modality == "rna" else "peak 'p1'"
    refused(lambda: check_paired((rna, atac)), modality.upper(), words, "cell 'd'", feature)


def test_wrong_types(refused):
    rna, atac = pair()
    refused(lambda: check_paired(rna), "AnnData", "pair")
    refused(lambda: check_paired((rna,)), "tuple")
    refused(lambda: check_paired("cells.h5mu"), "str")
    rna.X = sp.csr_matrix(RNA.astype(np.complex64))
    refused(lambda: check_paired((rna, atac)), "RNA", "complex64")


def test_missing_modality(simulated, refused):
    from mudata import MuData

    only = MuData({"rna": simulated["rna"].copy(), "adt": simulated["atac"].copy()})
    refused(lambda: check_paired(only), "ATAC modality is missing", "'adt'")


def test_nothing_to_fit(refused):
    rna, atac = pair()
    refused(lambda: check_paired((rna[:0].copy(), atac[:0].copy())), "no cells")
    refused(lambda: check_paired((rna, atac[:, :0].copy())), "no peaks")


def test_duplicated_names(refused):
    for attribute, names, words in (
        ("obs_names", list("aacd"), "cell names"),
        ("var_names", ["g", "h", "g"], "gene names"),
    ):
        rna, atac = pair()
        setattr(rna, attribute, names)
        refused(lambda rna=rna, atac=atac: check_paired((rna, atac)), "duplicated", words, "unique")


def test_duplicated_names_outside_a_fit(simulated, refused):
    """A name that stands for two features, or two cells, has no meaning in a table either."""
    genes, cells = simulated.copy(), simulated["rna"].copy()
    genes["rna"].var_names = [genes["rna"].var_names[1], *genes["rna"].var_names[1:]]
    time = np.arange(genes.n_obs)
    refused(lambda: scmvp.features_along(genes, "rna", pseudotime=time), "duplicated gene names")
    refused(lambda: scmvp.pseudobulk(genes, time % 3, time % 2), "duplicated gene names")
    cells.obs_names = [cells.obs_names[1], *cells.obs_names[1:]]
    cells.obs["type"], cells.obs["donor"] = (time % 2).astype(str), (time % 3).astype(str)
    for sample, group in ((time % 3, time % 2), ("donor", "type")):
        refused(
            lambda sample=sample, group=group: scmvp.pseudobulk(cells, sample, group),
            "duplicated cell names",
        )
    empty = simulated[:0].copy()
    coordinates = pd.DataFrame({"gene": ["A"], "chrom": ["chr1"], "start": [1], "end": [10**8]})
    refused(lambda: scmvp.gene_activity(empty, coordinates), "has no cells")


def test_a_cell_needs_counts_in_one_modality_only(refused):
    rna, atac = RNA.copy(), ATAC.copy()
    rna[1] = 0
    assert check_paired(pair(rna, atac)).rna.shape == RNA.shape
    atac[1] = 0
    refused(lambda: check_paired(pair(rna, atac)), "1 cell has no count", "'b'", "filter_paired")


def test_stored_zeros_do_not_hide_an_empty_cell():
    rna, atac = pair()
    for part in (rna, atac):
        part.X.data[part.X.indptr[1] : part.X.indptr[2]] = 0
    with pytest.raises(InputError, match="no count in either"):
        check_paired((rna, atac))


def test_holds_counts():
    assert holds_counts(RNA) and holds_counts(sp.csr_matrix(RNA))
    assert not holds_counts(RNA / 2) and not holds_counts(-RNA)
    assert not holds_counts(np.array([["a"]]))


def test_paired_is_frozen():
    paired = check_paired(pair())
    assert isinstance(paired, Paired)
    with pytest.raises(AttributeError):
        paired.rna = None


# ---- kinds of numbers


def big_endian(matrix):
    return sp.csr_matrix(
        (matrix.data.astype(">f4"), matrix.indices, matrix.indptr), shape=matrix.shape
    )


def in_half_precision(form):
    def make(x):
        matrix = form(sp.csr_matrix(x))
        matrix.data = matrix.data.astype(np.float16)
        return matrix

    return make


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x.astype(np.float16),
        lambda x: x.astype(np.longdouble),
        lambda x: x.astype(np.uint64),
        lambda x: x.astype(">f8"),
        lambda x: np.ma.array(x, mask=False),
        lambda x: pd.DataFrame(x),
        in_half_precision(sp.csr_matrix),
        in_half_precision(sp.csc_matrix),
        lambda x: big_endian(sp.csr_matrix(x)),
        sp.coo_matrix, sp.lil_matrix, sp.dok_matrix, sp.bsr_matrix, sp.dia_matrix, sp.coo_array,
    ],
)  # fmt: skip
def test_numbers_of_every_kind_become_the_same_counts(form):
    names = np.array(list("abcd")), np.array(["g0", "g1", "g2"])
    values = form(RNA)
    assert_canonical(count_matrix(values, "rna", *names), RNA)
    assert holds_counts(values)
    assert not holds_counts(form(RNA - 1))


def test_entries_given_twice_are_summed_beyond_8_bits():
    twice = sp.coo_matrix((np.array([100, 100], np.int8), ([0, 0], [0, 0])), shape=(1, 1))
    assert count_matrix(twice, "rna", np.array(["a"]), np.array(["g"])).toarray() == 200


@pytest.mark.parametrize(
    ("form", "word"),
    [
        (lambda x: np.ma.array(x, mask=x == 5), "masked"),
        (lambda x: x.astype(object), "object"),
        (lambda x: x.astype(complex), "complex128"),
        (lambda x: sp.csr_matrix(x.astype(complex)), "complex128"),
        (lambda x: x.astype(str), "not a matrix of numbers"),
        (lambda x: x.ravel(), "not a matrix of numbers"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_named(refused, form, word):
    names = np.array(list("abcd")), np.array(["g0", "g1", "g2"])
    refused(lambda: count_matrix(form(RNA), "rna", *names), word, "RNA")


def test_half_precision_on_disk(tmp_path):
    for name, dense in (("rna", RNA), ("atac", ATAC)):
        values = adata(dense, name).copy()
        values.X = values.X.astype(np.float16)
        values.write_h5ad(tmp_path / f"{name}.h5ad")
    paired = scmvp.read(tmp_path, backed=True)
    assert_canonical(paired.rna[:], RNA)
    assert_canonical(paired.rna[np.array([2, 0])], RNA[[2, 0]])
    assert_canonical(check_paired(scmvp.read(tmp_path)).rna, RNA)
