"""A modality that nobody thought of is an entry of the table."""

import dataclasses

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from mudata import MuData
from populations import assert_types_found, faint_types

import scmvp
from scmvp.modalities import MODALITIES, Modality
from scmvp.nn import families
from scmvp.nn.networks import Gaussian, pooled

N_TAGS = 40


@pytest.fixture
def tags(monkeypatch):
    of = Modality("hashtag", "tag", "tag", "poisson", "mask", "log", "tags", ("hashtag", "hto"))
    monkeypatch.setitem(MODALITIES, of.name, of)
    return of


@pytest.fixture
def cells(tags) -> MuData:
    """Three types that RNA and ATAC hardly tell apart, and tags of which each type has ten."""
    pair, kind = faint_types()
    mean = np.full((3, N_TAGS), 1.0)
    for k in range(3):
        mean[k, 10 * k : 10 * k + 10] = 12
    counts = np.random.default_rng(0).poisson(mean[kind]).astype(np.float32)
    part = ad.AnnData(sp.csr_matrix(counts), obs=pair["rna"].obs[["cell_type"]].copy())
    part.var_names = [f"tag{j}" for j in range(N_TAGS)]
    # in another order: cells go by name
    return MuData({"rna": pair["rna"], "atac": pair["atac"], "HTO": part[::-1].copy()})


@pytest.mark.slow
def test_a_third_modality_is_fitted_imputed_saved_and_loaded(cells, tmp_path):
    model = scmvp.SCMVP(cells, n_clusters=3).train(max_epochs=30, seed=0, progress=False)
    assert repr(model).startswith("SCMVP(200 genes, 400 peaks, 40 tags, ")
    kind = cells["rna"].obs["cell_type"].cat.codes.to_numpy()
    assert_types_found(kind, model.predict())
    imputed = model.decode(model.get_latent_representation(), "hashtag", library_size=150.0)
    for k in range(3):
        mean = imputed[kind == k].mean(0)
        assert (
            mean[10 * k : 10 * k + 10].min() > 3 * np.delete(mean, slice(10 * k, 10 * k + 10)).max()
        )
    assert model.get_latent_representation(modality="hashtag").shape == (300, 20)
    model.save(tmp_path / "model")
    loaded = scmvp.SCMVP.load(tmp_path / "model")
    assert [*loaded.features] == ["rna", "atac", "hashtag"]
    latent = loaded.get_latent_representation(cells)
    np.testing.assert_allclose(latent, model.get_latent_representation(), atol=1e-4)
    # cells whose tags were not read
    pair = MuData({"rna": cells["rna"], "atac": cells["atac"]})
    assert np.isfinite(loaded.get_latent_representation(pair)).all()


def test_posteriors_given_some_modalities_are_their_logarithmic_pool():
    torch.manual_seed(0)
    single = [Gaussian(torch.randn(4, 2), torch.randn(4, 2)) for _ in range(3)]
    present = torch.tensor([[1, 0, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]]).bool()
    found = pooled(single, present)
    grid = torch.linspace(-40, 40, 200_001, dtype=torch.float64)
    for i, has in enumerate(present):
        logs = [
            torch.distributions.Normal(
                q.mean[i, 0].double(), (0.5 * q.log_var[i, 0]).exp().double()
            ).log_prob(grid)
            for q, there in zip(single, has, strict=True)
            if there
        ]
        density = (sum(logs) / len(logs)).softmax(0)
        mean = (density * grid).sum()
        torch.testing.assert_close(found.mean[i, 0].double(), mean, atol=1e-4, rtol=1e-4)
        variance = (density * (grid - mean) ** 2).sum()
        torch.testing.assert_close(found.log_var[i, 0].exp().double(), variance, rtol=1e-3, atol=0)


@pytest.mark.slow
def test_a_likelihood_is_an_entry_of_the_table(cells, tags, monkeypatch):
    """Geometric counts, from torch's own distribution: slow, but nothing else has to be written."""

    def geometric(counts, mean, parameter, zero_logit):
        dense = torch.zeros_like(mean).index_put((counts.row, counts.column), counts.value)
        return torch.distributions.Geometric(1 / (1 + mean)).log_prob(dense).sum(1)

    monkeypatch.setitem(families.FAMILIES, "geometric", families.CountModel(geometric, None, 0.0))
    monkeypatch.setitem(MODALITIES, "hashtag", dataclasses.replace(tags, likelihood="geometric"))
    model = scmvp.SCMVP(cells, n_clusters=3).train(max_epochs=6, seed=0, progress=False)
    losses = model.history["reconstruction_hashtag"]
    counts, latent = cells["HTO"].X.toarray()[::-1], model.get_latent_representation()
    size = counts.sum(1, keepdims=True)
    share = model.decode(latent, "hashtag", library_size=1.0)
    expected = -(counts * np.log(share * size) - (counts + 1) * np.log1p(share * size))
    expected = expected.sum(1).mean()
    assert losses[-1] < losses[0]
    assert losses[-1] == pytest.approx(
        expected, rel=0.05
    )  # at samples of z, and before the last step
