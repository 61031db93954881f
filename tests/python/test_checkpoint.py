"""A training taken up again is the training without a break."""

import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch
from mudata import MuData

import scmvp
from scmvp import SCMVP, flags
from scmvp.errors import InputNote
from scmvp.fit.checkpoint import _place
from scmvp.nn import kernels, zeros
from scmvp.nn.batches import Cells
from scmvp.nn.distributed import Ranks

OPTIONS = {"max_epochs": 9, "patience": 5, "threads": 1}  # all nine epochs
EPOCHS = (1, 3, 4, 8)  # within and between the phases


class PowerCut(Exception):
    pass


def cut_after(model: SCMVP, epoch: int, file, **options) -> None:
    def callback(latest):
        if latest["epoch"] == epoch + 1:
            raise PowerCut

    with pytest.raises(PowerCut):
        model.train(callback=callback, checkpoint=file, **OPTIONS | options)


def train_with_states(model: SCMVP, folder: Path, epochs: Iterable[int]) -> dict[int, Path]:
    """Train, and keep the checkpoint as it is after each of these epochs."""
    states = {epoch: folder / f"after {epoch}" for epoch in epochs}

    def callback(latest):  # the checkpoint of this epoch is not yet written
        if latest["epoch"] - 1 in states:
            shutil.copy(folder / "state", states[latest["epoch"] - 1])

    model.train(callback=callback, checkpoint=folder / "state", **OPTIONS)
    return states


@pytest.fixture(scope="module")
def cells():
    return scmvp.simulate(n_cells=120, n_genes=150, n_peaks=300, n_types=3, seed=3)


@pytest.fixture(
    scope="module",
    params=[3, pytest.param(None, marks=pytest.mark.slow)],
    ids=["given K", "K to be found"],
)
def whole(cells, request, tmp_path_factory) -> SCMVP:
    model = SCMVP(cells, n_clusters=request.param)
    model.states = train_with_states(model, tmp_path_factory.mktemp("states"), EPOCHS)
    model.given = request.param
    return model


@pytest.mark.slow
@pytest.mark.parametrize("epoch", EPOCHS)
def test_going_on_gives_the_same_model(cells, whole, tmp_path, epoch):
    file = tmp_path / "state"
    shutil.copy(whole.states[epoch], file)
    torch.manual_seed(epoch)  # a new process would draw something else, too
    model = SCMVP(cells, n_clusters=whole.given).train(checkpoint=file, **OPTIONS)
    assert model.n_clusters == whole.n_clusters
    np.testing.assert_array_equal(
        model.get_latent_representation(), whole.get_latent_representation()
    )
    assert model.history["elbo_validation"] == whole.history["elbo_validation"]
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
@pytest.mark.skipif(kernels.compiled() is None, reason="Numba is not installed")
@pytest.mark.parametrize("batch", [None, "batch"])
def test_going_on_with_zeros_from_a_sample_gives_the_same_model(tmp_path, monkeypatch, batch):
    """With batches their gradient is stored, without it is not."""
    monkeypatch.setattr(zeros, "_FEWEST_FEATURES", 100)
    monkeypatch.setattr(zeros, "_COUNT", 0.0)  # as if they were nearly all
    shape = {"n_cells": 120, "n_genes": 300, "n_peaks": 500, "n_types": 3, "n_batches": 2}
    depth = {"median_umi": 150, "median_fragments": 200}
    cells = scmvp.simulate(**shape, **depth, batch_effect=0.1, seed=3)
    make = partial(SCMVP, cells, n_clusters=3, batch=batch)
    whole = make()
    states = train_with_states(whole, tmp_path, (2, 8))
    assert {*whole.summary()["features_per_step"]} == {"rna", "atac"}
    for file in states.values():
        model = make().train(checkpoint=file, **OPTIONS)
        np.testing.assert_array_equal(
            model.get_latent_representation(), whole.get_latent_representation()
        )
        assert model.history["elbo_validation"] == whole.history["elbo_validation"]


@pytest.mark.slow
def test_going_on_with_four_modalities_gives_the_same_model(cells, tmp_path):
    """The prior of their output weights is another one in each phase."""
    rng, n = np.random.default_rng(0), cells.n_obs
    proteins = ad.AnnData(rng.poisson(4.0, (n, 12)).astype(np.float32))
    covered = rng.poisson(2.0, (n, 60)).astype(np.float32)
    layers = {"covered": covered, "methylated": rng.binomial(covered.astype(int), 0.6)}
    levels = ad.AnnData(shape=(n, 60), layers={k: v.astype(float) for k, v in layers.items()})
    parts = {"rna": cells["rna"], "atac": cells["atac"], "protein": proteins, "mCG": levels}
    for part in (proteins, levels):
        part.obs_names = cells.obs_names
    make = partial(SCMVP, MuData(parts), n_clusters=3)
    whole = make()
    for file in train_with_states(whole, tmp_path, (1, 4, 8)).values():
        model = make().train(checkpoint=file, **OPTIONS)
        assert model.history["elbo_validation"] == whole.history["elbo_validation"]


@pytest.mark.slow
def test_the_checkpoint_of_another_training_is_refused(cells, tmp_path, refused):
    file = tmp_path / "state"
    cut_after(SCMVP(cells, n_clusters=3), 1, file)
    state = file.read_bytes()
    refused(
        lambda: SCMVP(cells, n_clusters=4).train(checkpoint=file, **OPTIONS),
        "another training",
        "number of clusters",
    )
    refused(lambda: SCMVP(cells).train(checkpoint=file, **OPTIONS), "number of clusters")
    refused(lambda: SCMVP(cells, n_clusters=3).train(checkpoint=file, seed=1, **OPTIONS), "seed")
    others = cells[:100].copy()
    refused(
        lambda: SCMVP(others, n_clusters=3).train(checkpoint=file, **OPTIONS), "number of cells"
    )
    renamed, cycled = cells.copy(), np.roll(np.arange(cells["rna"].n_vars), 1)
    renamed["rna"].var_names = cells["rna"].var_names[cycled]
    rna = cells["rna"]

    def with_rna(other):
        return MuData({"rna": other, "atac": cells["atac"]})

    for other, what in (
        (cells[::-1].copy(), "(ATAC counts, RNA counts, cells differ)"),
        (renamed, "(genes differ)"),
        (with_rna(cells["rna"][:, cycled].copy()), "(RNA counts, genes differ)"),
        # the same names and sums, with counts of other cells and of other features
        (with_rna(ad.AnnData(rna.X[::-1], rna.obs, rna.var)), "(RNA counts differ)"),
        (with_rna(ad.AnnData(rna.X[:, cycled], rna.obs, rna.var)), "(RNA counts differ)"),
    ):
        refused(lambda other=other: SCMVP(other, n_clusters=3).train(checkpoint=file, **OPTIONS),
                "another training", what)  # fmt: skip
    assert file.read_bytes() == state


@pytest.mark.slow
def test_the_checkpoint_of_other_batches_is_refused(cells, tmp_path, refused):
    file, cells = tmp_path / "state", cells.copy()
    donor = np.resize(["a", "b"], cells.n_obs)
    columns = {"donor": donor, "swap": np.where(donor == "a", "b", "a"), "half": np.sort(donor)}
    for name, values in columns.items():
        cells.obs[name] = values
    cut_after(SCMVP(cells, n_clusters=3, batch="donor"), 1, file)
    swapped = cells.copy()
    swapped.obs["donor"] = cells.obs["swap"]
    for other, batch in ((cells, "half"), (cells, "swap"), (swapped, "donor"), (cells, None)):
        refused(
            lambda o=other, b=batch: SCMVP(o, n_clusters=3, batch=b).train(
                checkpoint=file, **OPTIONS
            ),
            "another training", "batch",
        )  # fmt: skip


@pytest.mark.slow
def test_the_checkpoint_of_counts_in_another_place_is_refused(cells, tmp_path, refused):
    """From memory and from disk, and in each number of processes, minibatches are other ones."""
    file, stored = tmp_path / "state", tmp_path / "cells.h5mu"
    cells.write(stored)
    on_disk = scmvp.read(stored, backed=True)
    cut_after(SCMVP(on_disk, n_clusters=3), 1, file)
    train = partial(SCMVP(cells, n_clusters=3).train, checkpoint=file, **OPTIONS)
    sentence = refused(train, "(place of the counts differ)", "on disk (backed=True)", "1 process,")
    assert "on disk (--backed yes)" in flags.in_flags(sentence)
    file.unlink()
    cut_after(SCMVP(cells, n_clusters=3), 1, file)
    train = partial(SCMVP(on_disk, n_clusters=3).train, checkpoint=file, **OPTIONS)
    assert "(--backed no)" in flags.in_flags(refused(train, "were in memory (backed=False), or"))

    def place(data, world):
        return _place(Cells(data, torch.device("cpu"), Ranks(0, world)))

    assert place(on_disk.counts, 1) != place(on_disk.counts, 2)
    in_memory = {name: cells[name].X for name in cells.mod}
    assert place(in_memory, 1) == place(in_memory, 2)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [3], indirect=True)
def test_a_checkpoint_that_cannot_be_written_does_not_end_the_training(cells, tmp_path, whole):
    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch, pytest.warns(InputNote, match="No space") as said:
        patch.setattr("scmvp.fit.checkpoint.save_file", full)
        model = SCMVP(cells, n_clusters=whole.given)
        model.train(checkpoint=tmp_path / "state", **OPTIONS)
    assert len([one for one in said if "No space" in str(one.message)]) == 1
    assert model.history["elbo_validation"] == whole.history["elbo_validation"]


@pytest.mark.parametrize("content", [b"", b"nothing of ours", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_is_no_checkpoint_is_refused(cells, tmp_path, refused, content, monkeypatch):
    """Before anything is computed, and without the advice to delete it."""
    file = tmp_path / "state"
    file.write_bytes(content)
    monkeypatch.setattr("scmvp.model.trained", None)
    train = partial(SCMVP(cells, n_clusters=3).train, checkpoint=file, **OPTIONS)
    assert "delete" not in refused(train, "is not a checkpoint of scMVP; name another file")
    assert file.read_bytes() == content

    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("scmvp.fit.checkpoint.open", forbidden, raising=False)
    refused(train, "cannot be read as a checkpoint (Permission denied)", "name another file")


@pytest.mark.slow
def test_a_damaged_checkpoint_may_be_deleted(cells, tmp_path, refused):
    file = tmp_path / "state"
    cut_after(SCMVP(cells, n_clusters=3), 1, file)
    state = file.read_bytes()
    flipped = state[:-1] + bytes([state[-1] ^ 1])
    for content in (state[:-5], flipped):
        file.write_bytes(content)
        refused(
            lambda: SCMVP(cells, n_clusters=3).train(checkpoint=file, **OPTIONS),
            "is a damaged checkpoint", "delete it",
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("foreign", [False, True])
def test_two_trainings_with_one_checkpoint(cells, tmp_path, foreign):
    """The file stays that of the first one to write it; the other one says once that it has none.

    A file of another kind stays, too.
    """
    file = tmp_path / "state"
    if foreign:
        theirs = b"nothing of ours"
    else:
        cut_after(SCMVP(cells, n_clusters=3), 1, file, seed=1)
        theirs = file.read_bytes()
        file.unlink()

    def meanwhile(latest):
        if latest["epoch"] == 2:
            file.write_bytes(theirs)

    with pytest.warns(InputNote, match="another program has written") as said:
        model = SCMVP(cells, n_clusters=3)
        model.train(checkpoint=file, callback=meanwhile, **OPTIONS)
    assert len([one for one in said if "meanwhile" in str(one.message)]) == 1
    assert len(model.history["epoch"]) == 9
    assert file.read_bytes() == theirs
    model.delete_checkpoint()
    assert file.read_bytes() == theirs


@pytest.mark.slow
def test_a_checkpoint_that_was_kept_can_be_deleted(cells, tmp_path):
    file = tmp_path / "state"
    model = SCMVP(cells, n_clusters=3)
    model.delete_checkpoint()
    model.train(checkpoint=file, keep_checkpoint=True, **OPTIONS)
    assert file.exists()
    # a fit that is taken up goes on counting the seconds
    again = SCMVP(cells, n_clusters=3).train(checkpoint=file, keep_checkpoint=True, **OPTIONS)
    assert again.summary()["seconds_fit"] >= model.history["seconds"][-1]
    model.delete_checkpoint()
    model.delete_checkpoint()
    assert not file.exists()
