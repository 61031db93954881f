"""On a GPU: what the CPU says of the same weights, and fits as good. Sums differ in their order."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from test_checkpoint import cut_after
from test_module import G, P, build, poisson

import scmvp
from scmvp import SCMVP
from scmvp.nn import batches
from scmvp.nn.batches import Cells

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def cells():
    return scmvp.simulate(n_cells=500, n_genes=500, n_peaks=1200, n_types=4, seed=5)


@pytest.fixture(scope="module")
def fitted(cells, tmp_path_factory) -> tuple[SCMVP, SCMVP]:
    """A model fitted on the GPU, and the same read back on the CPU."""
    model = SCMVP(cells, n_clusters=4).train(device="cuda")
    folder = tmp_path_factory.mktemp("fitted") / "model"
    model.save(folder)
    return model, SCMVP.load(folder, device="cpu")


@pytest.fixture(params=["resident", "sent"])
def where(request, monkeypatch):
    """Counts on the device, or sent there one minibatch after the other."""
    if request.param == "sent":
        monkeypatch.setattr(batches, "_fits", lambda *_: False)
    return request.param


def loss_and_gradients(options: dict, device: torch.device) -> tuple[float, torch.Tensor]:
    module = build(**options)
    noise = module.noise(20).each(lambda part: part.to(device))
    module = module.to(device).train()
    module.learn_dispersions()
    batch = Cells({"rna": poisson(G, 0.7), "atac": poisson(P, 0.4)}, device).take(
        np.arange(23, 3, -1)
    )
    loss = module.loss(batch, noise=noise).objective(module.options, 1.0)
    loss.backward()
    found = [p.grad.flatten().cpu() for p in module.parameters() if p.grad is not None]
    return loss.item(), torch.cat(found)


@pytest.mark.parametrize(
    "options",
    [{}, {"encoder_input": "counts"}, {"likelihood_atac": "zip"}],
    ids=str,
)
def test_loss_and_gradients_are_those_of_the_cpu(options, where):
    expected, gradients = loss_and_gradients(options, CPU)
    loss, found = loss_and_gradients(options, CUDA)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert (found - gradients).norm() < 1e-3 * gradients.norm()


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_a_fit_is_as_good_as_on_the_cpu(cells, where, preset):
    models = [SCMVP(cells, n_clusters=4, preset=preset) for _ in range(2)]
    for model, device in zip(models, ("cuda", "cpu"), strict=True):
        model.train(device=device)
    on_gpu, on_cpu = (model.summary()["elbo"] for model in models)
    assert models[0].summary()["options"]["device"].startswith("cuda")
    assert on_gpu == pytest.approx(on_cpu, rel=0.01)
    if preset == "default":
        assert adjusted_rand_score(models[0].predict(), models[1].predict()) > 0.95


def test_a_model_says_the_same_on_both(cells, fitted):
    gpu, cpu = fitted
    for modality in ("joint", "rna", "atac"):
        z = gpu.get_latent_representation(modality=modality)
        np.testing.assert_allclose(
            z, cpu.get_latent_representation(cells, modality=modality), rtol=1e-3, atol=1e-3
        )
    np.testing.assert_allclose(gpu.responsibilities(z), cpu.responsibilities(z), atol=1e-4)
    for modality in ("rna", "atac"):
        np.testing.assert_allclose(
            gpu.decode(z, modality), cpu.decode(z, modality), rtol=1e-3, atol=1e-6
        )
    group = cells["rna"].obs["cell_type"].to_numpy()
    tables = [
        model.differential_accessibility(data, groupby=group, group1=group[0], seed=0)
        for model, data in ((gpu, None), (cpu, cells))
    ]
    numbers = tables[0].select_dtypes("number").columns
    np.testing.assert_allclose(tables[0][numbers], tables[1][numbers], rtol=0.02, atol=0.02)


def test_from_disk_is_as_good_as_from_memory(pair_folder, simulated):
    backed = SCMVP(scmvp.read(pair_folder, backed=True), n_clusters=3).train(device="cuda")
    memory = SCMVP(simulated, n_clusters=3).train(device="cuda")
    assert backed.summary()["elbo"] == pytest.approx(memory.summary()["elbo"], rel=0.01)


def test_batches_and_single_modalities(cells, where):
    part = np.random.default_rng(0).integers(0, 3, cells.n_obs)
    data = cells["rna"][part != 2].copy(), cells["atac"][part != 1].copy()
    for adata in data:
        adata.obs["donor"] = np.where(np.arange(adata.n_obs) % 2 == 0, "a", "b")
    model = SCMVP(data, n_clusters=4, mosaic=True, batch="donor").train(device="cuda")
    truth = cells["rna"].obs["cell_type"].loc[model.cells]
    assert adjusted_rand_score(truth, model.predict()) > 0.9


def test_going_on_from_a_checkpoint(simulated, tmp_path):
    file = tmp_path / "state"
    options = {"max_epochs": 9, "device": "cuda"}
    whole = SCMVP(simulated, n_clusters=3).train(**options)
    cut_after(SCMVP(simulated, n_clusters=3), 4, file, **options)
    model = SCMVP(simulated, n_clusters=3).train(checkpoint=file, **options)
    elbos = (each.history["elbo_validation"] for each in (model, whole))
    np.testing.assert_allclose(*elbos, rtol=1e-3)
    assert not file.exists()
