"""No command replaces what it reads, and a place that cannot be written is refused at the start."""

from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path

import mudata
import pytest
from commands import FIT, assert_refused, run
from stored import write_pair

import scmvp
from scmvp import endings
from scmvp.data.genes import read_genes
from scmvp.data.sequences import sequences_of
from scmvp.files import SUFFIX
from scmvp.paths import output_file
from scmvp.several import _target_peaks, named_paths


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A file of cells, and a result of them."""
    folder = tmp_path_factory.mktemp("made")
    mdata = scmvp.simulate(n_cells=90, n_genes=100, n_peaks=150, n_types=3, seed=4)
    mdata.write_h5mu(folder / "cells.h5mu")
    arguments = ("fit", folder / "cells.h5mu", "--out", folder / "result", *FIT, "--quiet")
    assert run(*arguments).returncode == 0
    return folder


@pytest.fixture
def place(made, tmp_path) -> Path:
    """A copy of it, with a pair of h5ad, lists of names, and links."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    mdata = scmvp.read(tmp_path / "cells.h5mu")
    write_pair(mdata, tmp_path / "pair")
    (tmp_path / "genes.txt").write_text("Gene0001\n")
    (tmp_path / "names.txt").write_text("\n".join(mdata.obs_names))
    shutil.copy(tmp_path / "result" / "clusters.csv", tmp_path / "labels.csv")
    (tmp_path / "link.h5mu").symlink_to("cells.h5mu")
    (tmp_path / "short").symlink_to("result")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


MODEL, RNA = "result/model", ("--modality", "rna")
COMMANDS = {
    "input": (("embed", MODEL, "cells.h5mu"), "cells.h5mu"),
    "link": (("embed", MODEL, "cells.h5mu"), "link.h5mu"),
    "link as input": (("embed", MODEL, "link.h5mu"), "cells.h5mu"),
    "other spelling": (("embed", MODEL, "cells.h5mu"), "result/../cells.h5mu"),
    "model": (("embed", MODEL, "cells.h5mu"), "short/model/weights.safetensors"),
    "one of a pair": (("embed", MODEL, "pair"), "pair/atac.h5ad"),
    "impute": (("impute", MODEL, "cells.h5mu", *RNA), "cells.h5mu"),
    "features": (("impute", MODEL, "pair", *RNA, "--features", "genes.txt"), "genes.txt"),
    "cells": (("impute", MODEL, "pair", *RNA, "--cells", "names.txt"), "names.txt"),
    "labels": (("differential", MODEL, "pair", *RNA, "--labels", "labels.csv"), "labels.csv"),
    "latent": (("clusters", "result", "--n-clusters", "2"), "result/latent.csv"),
    "model of a result": (("clusters", "short", "--n-clusters", "2"), f"{MODEL}/model.json"),
    "report": (("report", "result"), "result/model/model.json"),
    "counts of a report": (("report", "result", "cells.h5mu"), "link.h5mu"),
    "sample": (("join", "cells.h5mu"), "link.h5mu"),
    "named sample": (("join", "a=pair", "b=cells.h5mu"), "cells.h5mu"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", COMMANDS)
def test_what_is_read_is_not_replaced(place, monkeypatch, case):
    monkeypatch.chdir(place)
    before, (command, out) = contents(place), COMMANDS[case]
    assert_refused(run(*command, "--out", out, "--quiet"), f"'{out}' would replace", "another")
    assert contents(place) == before


@pytest.mark.slow
def test_fragments_and_peaks_are_not_replaced(place, monkeypatch):
    monkeypatch.chdir(place)
    for name in ("fragments.tsv", "peaks.h5mu", "own.h5mu"):
        Path(name).write_text("kept")
    join = ("join", "a=cells.h5mu", "--quiet", "--out")
    assert_refused(run(*join, "fragments.tsv", "--fragments"), "would replace")
    assert_refused(run(*join, "own.h5mu", "--fragments", "a=own.h5mu"), "would replace")
    peaks = ("--fragments", "--peaks", "peaks.h5mu")
    assert_refused(run(*join, "peaks.h5mu", *peaks), "would replace")


@pytest.mark.parametrize("word", ["union", "shared"])
def test_the_words_for_peaks_are_no_files(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    Path(word).mkdir()
    arguments = Namespace(command="join", out=f"{word}/x.h5mu", samples=["a.h5mu"], peaks=word)
    assert output_file(arguments) == Path(word, "x.h5mu")


def test_the_home_folder_is_known_by_its_sign(tmp_path, monkeypatch, refused):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p.bed").write_text("chr1\t2\t5\n")
    (tmp_path / "g.bed").write_text("chr1\t2\t3\tA\t0\t+\n")
    (tmp_path / "g.fa").write_text(">chr1\nACGTACGT\n")
    peaks = _target_peaks("~/p.bed", True)
    assert peaks.names.tolist() == _target_peaks(tmp_path / "p.bed", True).names.tolist()
    assert len(peaks) == 1 and sequences_of("~/g.fa", peaks) == ["GTA"]
    assert read_genes("~/g.bed")["gene"].tolist() == ["A"]
    refused(lambda: read_genes(""), "a path is empty")
    refused(lambda: _target_peaks("", True), "give 'union', 'shared' or the path")
    assert named_paths(["~/a=b", "c=d"]) == {"~/a": "b", "c": "d"}
    (tmp_path / "a=b").touch()
    assert named_paths(["~/a=b"]) == ["~/a=b"]
    # of nobody's home
    assert endings._stamp(Namespace(out="~nobody-there/x")) is None


@pytest.mark.slow
def test_a_model_in_the_home_folder(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    expected = scmvp.SCMVP.load(place / MODEL)
    expected.save("~/saved")
    again = scmvp.SCMVP.load("~/saved")
    assert again.info()["weights_sha256"] == expected.info()["weights_sha256"]
    assert (place / "saved").is_dir()
    assert run("embed", f"~/{MODEL}", "~/cells.h5mu", "--out", "~/x.csv").returncode == 0
    assert (place / "x.csv").exists()
    (place / "saved" / "weights.safetensors").unlink()
    with pytest.raises(scmvp.ModelFileError, match="has no weights.safetensors"):
        scmvp.SCMVP.load("~/saved")


@pytest.mark.slow
def test_a_zarr_is_not_written_into(place, monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.chdir(place)
    scmvp.read("cells.h5mu").write_zarr("cells.zarr")
    embed = ("embed", MODEL, "cells.zarr", "--quiet", "--out")
    assert_refused(run(*embed, "cells.zarr/latent.csv"), "would replace")
    assert_refused(run("fit", "cells.zarr", *FIT, "--out", "cells.zarr/new"), "would replace")


@pytest.mark.slow
def test_what_is_not_read_is_replaced(place, monkeypatch):
    """Also beside what is read: the usual output of a command, and its second run."""
    monkeypatch.chdir(place)
    clusters = ("clusters", "result", "--n-clusters", "2", "--quiet", "--out")
    assert run(*clusters, "result/clusters.csv").returncode == 0
    for _ in range(2):
        embed = ("embed", MODEL, "pair", "--quiet", "--out", "pair/latent.csv")
        assert run(*embed).returncode == 0


@pytest.mark.slow
def test_counts_left_on_disk_are_not_replaced_from_python(place, refused):
    path = place / "cells.h5mu"
    before, on_disk = path.read_bytes(), scmvp.read(path, backed=True)
    model = scmvp.SCMVP.load(place / MODEL)
    fitted = scmvp.SCMVP(on_disk, n_clusters=3).train(max_epochs=1, threads=1, progress=False)
    opened = mudata.read_h5mu(path, backed=True)
    latent = fitted.get_latent_representation()
    for call in (
        lambda: model.impute_to_file(path, "rna", data=on_disk),
        lambda: model.impute_to_file(place / "link.h5mu", "rna", data=opened),
        lambda: fitted.impute_to_file(path, "rna"),
        lambda: fitted.decode_to_file(path, latent, "rna", fitted.cells),
        lambda: model.report(path, on_disk),
        lambda: scmvp.write_rds(opened, path),
    ):
        refused(call, "would replace what is read")
    pair = scmvp.read(place / "pair", backed=True)
    refused(lambda: model.impute_to_file(place / "pair" / "rna.h5ad", "rna", pair), "would replace")
    model.impute_to_file(path.with_suffix(".h5"), "rna", on_disk)
    assert path.read_bytes() == before


# ---- places of a fit


def test_a_checkpoint_has_a_place_of_its_own(place, monkeypatch):
    """Refused before the cells are read."""
    monkeypatch.chdir(place)
    monkeypatch.setattr("scmvp.cli.read_for_fit", None)
    fit, before = ("fit", "cells.h5mu", *FIT, "--quiet"), contents(place)
    inside = ("--overwrite", "--out", "result", "--checkpoint")
    assert_refused(run(*fit, *inside, "short/state"), "is inside --out", "outside of it")
    assert_refused(run(*fit, *inside, "result"), "is inside --out")
    new = ("--out", "new", "--checkpoint")
    assert_refused(run(*fit, *new, "new/state"), "is inside --out")
    assert_refused(run(*fit, *new, "nowhere/state"), "no folder 'nowhere'")
    assert_refused(run(*fit, *new, "link.h5mu"), "would replace")
    assert_refused(run(*fit, *new, "labels.csv"), "is not a checkpoint of scMVP; name another file")
    assert contents(place) == before


@pytest.mark.slow
def test_leftovers_of_a_kill_do_not_stop_a_fit(place, monkeypatch):
    monkeypatch.chdir(place)
    fit = ("fit", "cells.h5mu", *FIT, "--quiet", "--out", "result", "--overwrite")
    left = f"result/.clusters.csv.0a1b2c3d{SUFFIX}", f"{MODEL}/weights.{'ab' * 32}.safetensors"
    for name in left:
        Path(name).write_text("")
    assert run(*fit).returncode == 0
    assert not any(Path(name).exists() for name in left)
    Path(f"result/notes{SUFFIX}").write_text("mine")
    assert_refused(run(*fit), "notes")


def test_an_empty_path_is_not_the_current_folder(place, monkeypatch):
    monkeypatch.chdir(place / "pair")
    assert_refused(run("fit", "", *FIT, "--out", place / "new"), "a path is empty")
    assert_refused(run("fit", ".", *FIT, "--out", ""), "a path is empty")
    assert_refused(run("info", ""), "a path is empty")
