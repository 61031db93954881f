"""Damaged files: read as they were, or refused in one sentence, within bounds of memory and time.

SCMVP_FUZZ=n tries n times as many flipped bits.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anndata
import damages
import h5py
import numpy as np
import pytest
import torch
from conftest import TenX
from damages import Damage, Kind, digest_of_cells, outside_compressed
from safetensors.torch import load_file, save_file
from stored import write_pair, write_tensors

import scmvp
from scmvp import SCMVP, cli, storage
from scmvp.data.backed import read_backed
from scmvp.r import rserial
from scmvp.tools.groups import labels_in

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")

FUZZ = int(os.environ.get("SCMVP_FUZZ", "1"))


def read(path: Path) -> str:
    return digest_of_cells(scmvp.read(path), path)


def backed(path: Path) -> str:
    return digest_of_cells(read_backed(path), path)


def anywhere(file: Path, offset: int) -> bool:
    """Nothing in the file has a checksum, but a missing part is seen."""
    return offset >= 0


@pytest.fixture(scope="module")
def small():
    return scmvp.simulate(n_cells=60, n_genes=40, n_peaks=60, n_types=3, seed=5)


@pytest.fixture(scope="module")
def model(small):
    return SCMVP(small, n_clusters=3, min_cells=1, options={"n_hidden": 16, "n_heads": 4}).train(
        max_epochs=2, threads=1
    )


@pytest.fixture(scope="module")
def root(small, model, tmp_path_factory) -> Path:
    """One whole file of each kind."""
    root = tmp_path_factory.mktemp("whole")
    TenX(small).write_h5(root / "ten.h5")
    TenX(small).write_folder(root / "gz")
    TenX(small).write_folder(root / "plain", gzipped=False)
    small.write(root / "cells.h5mu")
    write_pair(small, root / "pair")
    (root / "zarrs").mkdir()
    for modality in ("rna", "atac"):
        small[modality].write_zarr(root / "zarrs" / f"{modality}.zarr")
    small.write_zarr(root / "cells.zarr")
    model.save(root / "model")
    state = {}

    def keep(epoch):
        if epoch["epoch"] == 2:
            state["content"] = (root / "state").read_bytes()

    fresh(small).train(max_epochs=3, threads=1, checkpoint=root / "state", callback=keep)
    (root / "state").write_bytes(state["content"])
    types = small.obs["cell_type"].astype(str)
    types.rename("label").to_csv(root / "labels.csv", index_label="cell")
    (root / "genes.txt").write_text("\n".join(small["rna"].var_names) + "\n")
    return root


def fresh(small) -> SCMVP:
    return SCMVP(small, n_clusters=3, min_cells=1, options={"n_hidden": 16, "n_heads": 4})


def parts_of_zarr(modality: str) -> tuple[str, ...]:
    """Files that matter, one of each sort."""
    parts = ("X/data/0", "X/indices/0", "X/indptr/.zarray", "X/.zattrs", "obs/_index/0")
    return tuple(f"{modality}/{part}" for part in parts)


def kinds(root: Path, small, model) -> dict[str, Kind]:
    latent = model.get_latent_representation()

    def read_model(path: Path) -> str:
        loaded = SCMVP.load(path)
        values = [loaded.decode(latent, modality) for modality in ("rna", "atac")]
        names = "\0".join([*loaded.genes, *loaded.peaks, json.dumps(loaded.info())])
        return names + "".join(str(part.tobytes()) for part in values)

    def go_on(path: Path) -> str:
        resumed = fresh(small).train(max_epochs=3, threads=1, checkpoint=path)
        return str(resumed.get_latent_representation().tobytes())

    def labels(path: Path) -> str:
        return labels_in(str(path), list(small.obs_names)).to_csv()

    def names(path: Path) -> str:
        return "\0".join(cli._names_in(str(path)))

    def any_cut(file: Path, offset: int) -> bool:
        return True  # a table without its end is a table

    def names_cut(file: Path, offset: int) -> bool:
        # the last name of a plain list may lose its end; the counts are counted
        return offset >= 0 or file.name in ("barcodes.tsv", "features.tsv")

    return {
        "10x h5": Kind(root / "ten.h5", read, outside_compressed),
        "10x h5, on disk": Kind(root / "ten.h5", backed, outside_compressed),
        "h5ad": Kind(root / "pair", read, outside_compressed),
        "h5ad, on disk": Kind(root / "pair", backed, outside_compressed),
        "h5mu": Kind(root / "cells.h5mu", read, outside_compressed),
        "zarr": Kind(root / "cells.zarr", read, anywhere, parts_of_zarr("mod/rna")),
        "zarr pair": Kind(root / "zarrs", read, anywhere, parts_of_zarr("atac.zarr")),
        "MatrixMarket, gzipped": Kind(root / "gz", read),
        "MatrixMarket": Kind(root / "plain", read, names_cut),
        "model": Kind(root / "model", read_model),
        "checkpoint": Kind(root / "state", go_on),
        "labels": Kind(root / "labels.csv", labels, any_cut),
        "names": Kind(root / "genes.txt", names, any_cut),
    }


KINDS = [
    "10x h5", "10x h5, on disk", "h5ad", "h5ad, on disk", "h5mu", "zarr", "zarr pair",
    "MatrixMarket, gzipped", "MatrixMarket", "model", "checkpoint", "labels", "names",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_files_cut_and_with_flipped_bits(name, root, small, model, tmp_path):
    kind = kinds(root, small, model)[name]
    found = list(damages.usual_damages(kind, KINDS.index(name), 12 * FUZZ))
    assert len(found) >= 10 + 12 * FUZZ  # cuts and bits
    wrong = damages.run(kind, found, tmp_path / "copies")
    assert not wrong, "\n\n".join(wrong[:10])


# ---- what headers claim


def in_hdf5(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    """Change an HDF5 file with h5py, as a malicious or broken program would."""

    def do(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return do


def replaced(name: str, **dataset) -> Callable[[Path], None]:
    """A dataset in the place of another one; never written."""

    def change(file: h5py.File) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, **dataset).attrs.update(attributes)

    return in_hdf5(change)


def values(name: str, change: Callable[[np.ndarray], None]) -> Callable[[Path], None]:
    """Other numbers in a dataset."""

    def do(file: h5py.File) -> None:
        content = file[name][:]
        change(content)
        file[name][:] = content

    return in_hdf5(do)


def attribute(name: str, key: str, value) -> Callable[[Path], None]:
    return in_hdf5(lambda file: file[name].attrs.__setitem__(key, value))


def linked(name: str, link) -> Callable[[Path], None]:
    """A link in the place of a dataset or a group."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = link

    return in_hdf5(change)


def holding_itself(file: h5py.File) -> None:
    file["uns/again"] = file["uns"]


def laughing(file: h5py.File) -> None:
    """Ten groups, each ten times in the one before: 10^10 parts."""
    inner = file.create_group("uns/laugh")
    for level in range(10):
        outer = file.create_group(f"uns/level{level}")
        for i in range(10):
            outer[f"{i}"] = inner
        inner = outer


def virtual(file: h5py.File) -> None:
    size = file["X/data"].shape
    layout = h5py.VirtualLayout(shape=size, dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "data", shape=size)
    del file["X/data"]
    file.create_virtual_dataset("X/data", layout)


def external(file: h5py.File) -> None:
    size = file["X/data"].shape
    del file["X/data"]
    file.create_dataset("X/data", size, "f4", external=[("/etc/passwd", 0, 4 * size[0])])


HUGE = 2**40
IN_H5AD = {
    "columns": attribute("X", "shape", np.array([60, HUGE])),
    "rows": attribute("X", "shape", np.array([HUGE, 40])),
    "negative rows": attribute("X", "shape", np.array([-60, 40])),
    "dense X, in chunks": replaced("X", shape=(HUGE, 40), dtype="f4", chunks=(1024, 40)),
    "dense X": replaced("X", shape=(HUGE, 40), dtype="f4"),
    "large chunks": replaced(
        "X", shape=(60, 40), dtype="f4", chunks=(2**14, 2**15), maxshape=(None, None)
    ),
    "data never written": replaced("X/data", shape=(HUGE,), dtype="f4", chunks=(1024,)),
    "indptr never written": replaced("X/indptr", shape=(HUGE,), dtype="i8", chunks=(1024,)),
    "names never written": replaced("obs/_index", shape=(HUGE,), dtype="S16", chunks=(1024,)),
    "indptr ends late": values("X/indptr", lambda p: p.__setitem__(-1, 2**31 - 1)),
    "indptr falls": values("X/indptr", lambda p: p.__setitem__(30, 2**30)),
    "indptr begins late": values("X/indptr", lambda p: p.__setitem__(0, 5)),
    "column beyond": values("X/indices", lambda i: i.__setitem__(7, 2**30)),
    "column before": values("X/indices", lambda i: i.__setitem__(7, -(2**30))),
    "link to nothing": linked("X", h5py.SoftLink("/nowhere")),
    "link to /etc/passwd": linked("X", h5py.ExternalLink("/etc/passwd", "/X")),
    "link to a good file": linked("X", h5py.ExternalLink("atac.h5ad", "/X")),
    "link to itself": linked("X", h5py.SoftLink("/X")),
    "link to what holds it": linked("uns/again", h5py.SoftLink("/uns")),
    "group in itself": in_hdf5(holding_itself),
    "many ways to a group": in_hdf5(laughing),
    "virtual": in_hdf5(virtual),
    "external": in_hdf5(external),
}
IN_10X = {
    "features": values("matrix/shape", lambda s: s.__setitem__(0, HUGE)),
    "cells": values("matrix/shape", lambda s: s.__setitem__(1, HUGE)),
    "negative": values("matrix/shape", lambda s: s.__setitem__(1, -1)),
    "barcodes": replaced("matrix/barcodes", shape=(HUGE,), dtype="S18", chunks=(1024,)),
    "data": replaced("matrix/data", shape=(HUGE,), dtype="i4", chunks=(1024,)),
    "indptr": values("matrix/indptr", lambda p: p.__setitem__(10, HUGE)),
    "indices": values("matrix/indices", lambda i: i.__setitem__(3, 2**31 - 1)),
    "link": linked("matrix/data", h5py.ExternalLink("/etc/passwd", "/data")),
}


def in_text(old: str, new: str) -> Callable[[Path], None]:
    """Other text in a file, gzipped or not."""

    def do(path: Path) -> None:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt") as file:
            text = file.read()
        assert old in text
        with opened(path, "wt") as file:
            file.write(text.replace(old, new, 1))

    return do


def bomb(path: Path) -> None:
    """10 MB that unpack to 10 GB."""
    member = gzip.compress(bytes(1 << 26), 9)
    path.write_bytes(path.read_bytes() + member * 160)


def in_json(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return do


def long_header(path: Path) -> None:
    """safetensors: a header longer than the file."""
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])


def deep_header(path: Path) -> None:
    header = b'{"a":' * 100_000
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def claims(root: Path, small, model) -> list[tuple[str, list[Damage]]]:
    """Kinds and what is claimed in their files."""
    size = "100 60 "  # features, cells
    market = {
        "rows": in_text(size, f"{HUGE} 60 "),
        "columns": in_text(size, f"100 {HUGE} "),
        "values": in_text(size, f"{size}{HUGE}"),
        "negative": in_text(size, "-100 60 "),
        "no numbers": in_text(size, "many "),
    }
    found = {
        "h5ad": ("rna.h5ad", IN_H5AD),
        "h5ad, on disk": ("rna.h5ad", IN_H5AD),
        "10x h5": ("", IN_10X),
        "10x h5, on disk": ("", IN_10X),
        "MatrixMarket": ("matrix.mtx", market),
        "MatrixMarket, gzipped": ("matrix.mtx.gz", market | {"bomb": bomb}),
        "zarr": (
            "mod/rna/X/data/.zarray",
            {
                "shape": in_json(lambda a: a.update(shape=[HUGE])),
                "chunks": in_json(lambda a: a.update(shape=[HUGE], chunks=[HUGE])),
            },
        ),
        "zarr pair": ("rna.zarr/X/indices/0", {"missing": Path.unlink}),
        "model": ("weights.safetensors", {"long": long_header, "deep": deep_header}),
        "checkpoint": ("", {"long": long_header, "deep": deep_header}),
    }
    result = []
    for kind, (file, changes) in found.items():
        parts = [
            Damage(f"{kind}: {name}", file, do, must_refuse=True) for name, do in changes.items()
        ]
        result.append((kind, parts))
    tables = [
        Damage("a bomb of barcodes", "barcodes.tsv.gz", bomb, must_refuse=True),
        Damage("a bomb of features", "features.tsv.gz", bomb, must_refuse=True),
    ]
    nested = [
        Damage("deep JSON", "model.json", lambda p: p.write_text("[" * 10**6), must_refuse=True)
    ]
    return [*result, ("MatrixMarket, gzipped", tables), ("model", nested)]


@pytest.mark.slow
def test_claims_of_headers_are_not_believed(root, small, model, tmp_path):
    known, wrong = kinds(root, small, model), []
    for number, (name, parts) in enumerate(claims(root, small, model)):
        kind = known[name]
        wrong += damages.run(kind, parts, tmp_path / f"{number}")
    assert not wrong, "\n\n".join(wrong)


# ---- models: every field, every tensor


def fields_of(value, path: tuple = ()) -> list[tuple]:
    """Paths of all parts of a JSON document; of long lists the first two."""
    inner = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value[:2]))
    return [path] * bool(path) + [p for key, part in inner for p in fields_of(part, (*path, key))]


def changed(info: dict, path: tuple, change: str) -> dict:
    """A copy with one part changed."""
    info = json.loads(json.dumps(info))
    holder = info
    for key in path[:-1]:
        holder = holder[key]
    new = {
        "null": None, "text": "x", "huge": 10**18, "negative": -1, "nan": float("nan"), "list": [],
        "dict": {}, "real": 0.5,
    }  # fmt: skip
    if change == "missing":
        del holder[path[-1]]
    elif change == "reversed" and isinstance(holder[path[-1]], list):
        holder[path[-1]] = holder[path[-1]][::-1]
    elif change == "twice" and isinstance(holder[path[-1]], list) and holder[path[-1]]:
        holder[path[-1]] = [holder[path[-1]][0]] * len(holder[path[-1]])
    else:
        holder[path[-1]] = new.get(change)
    return info


CHANGES = (
    "missing", "null", "text", "huge", "negative", "nan", "list", "dict", "real", "reversed",
    "twice",
)  # fmt: skip


def same(one, other) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@pytest.mark.slow
def test_no_field_of_a_model_changes_unseen(root, small, model, tmp_path):
    """As it is changed in the file; and as if it had been saved so, for the reader behind."""
    kind = kinds(root, small, model)["model"]
    info = json.loads((root / "model" / "model.json").read_text())
    cases = [
        (path, change, version)
        for path in fields_of(info)
        for change in CHANGES
        if not same(version := changed(info, path, change), info)
    ]
    rng = np.random.default_rng(0)
    # the digest sees any of them: a third is enough where not all are asked for
    some = rng.permutation(len(cases))[: len(cases) if FUZZ > 1 else len(cases) // 3]
    changes = [
        Damage(f"{path} {change}", "model.json", writing(version), must_refuse=True)
        for path, change, version in (cases[i] for i in some)
    ]
    of_the_model = ("account", "genes", "peaks", "model_options", "covariates", "layers")
    chosen = [case for case in cases if case[0][0] in of_the_model]
    chosen = [chosen[i] for i in rng.permutation(len(chosen))[: 80 * FUZZ]]
    signed = [
        Damage(f"{path} {change}, signed", "model.json", writing(storage.signed(version)), 0)
        for path, change, version in chosen
    ]
    wrong = damages.run(kind, changes, tmp_path / "changed")
    kind.may_differ = lambda file, offset: True  # then it is another model
    wrong += damages.run(kind, signed, tmp_path / "signed")
    assert not wrong, "\n\n".join(wrong[:10])


def writing(content: dict) -> Callable[[Path], None]:
    return lambda path: path.write_text(json.dumps(content))


@pytest.mark.slow
def test_models_without_a_digest_are_still_read(root, small, model, tmp_path):
    """Format version 3 had none of the JSON."""
    info = json.loads((root / "model" / "model.json").read_text())
    del info["content_sha256"]
    folder = tmp_path / "model"
    shutil.copytree(root / "model", folder)
    (folder / "model.json").write_text(json.dumps(info | {"format_version": 3}))
    np.testing.assert_array_equal(
        SCMVP.load(folder).get_latent_representation(small), model.get_latent_representation()
    )
    (folder / "model.json").write_text(json.dumps(info))
    with pytest.raises(scmvp.ModelFileError, match="lacks content_sha256"):
        SCMVP.load(folder)


def test_models_of_before_zeros_were_sampled_are_still_read(root, small, model, tmp_path):
    """Format version 4 did not say how the zeros were computed: exactly."""
    info = json.loads((root / "model" / "model.json").read_text()) | {"format_version": 4}
    del info["training_options"]["zeros"], info["training"]["features_per_step"]
    folder = tmp_path / "model"
    shutil.copytree(root / "model", folder)
    (folder / "model.json").write_text(json.dumps(storage.signed(info)))
    loaded = SCMVP.load(folder)
    assert loaded.info()["training_options"]["zeros"] == "exact"
    np.testing.assert_array_equal(
        loaded.get_latent_representation(small), model.get_latent_representation()
    )
    loaded.save(tmp_path / "again")
    assert SCMVP.load(tmp_path / "again").info()["training"]["features_per_step"] == {}


@pytest.mark.slow
def test_no_tensor_of_a_model_changes_unseen(root, small, model, tmp_path):
    kind = kinds(root, small, model)["model"]
    whole = load_file(root / "model" / "weights.safetensors")
    of_shape: dict[tuple, str] = {}
    changes, signed = [], []
    for number, (name, tensor) in enumerate(whole.items()):
        rest = {key: value for key, value in whole.items() if key != name}
        versions = {
            "missing": rest,
            "other name": rest | {name + "_": tensor},
            "other shape": rest | {name: torch.cat([tensor.reshape(-1), torch.zeros(1)])},
            "other type": rest | {name: tensor.to(torch.float16)},
            "one more": whole | {"more": tensor},
        }
        if tensor.is_floating_point() and tensor.numel():
            versions["nan"] = rest | {name: torch.full_like(tensor, torch.nan)}
        # as a model that was saved so: what the digests do not see
        for i, (change, tensors) in enumerate(versions.items()):
            if FUZZ > 1 or number % len(versions) == i:
                signed.append(Damage(f"{name} {change}, signed", "", saving(tensors, sign=True)))
        versions["other values"] = rest | {name: tensor + 1}
        partner = of_shape.setdefault(tuple(tensor.shape), name)
        if not torch.equal(whole[partner], tensor):
            versions["exchanged"] = rest | {name: whole[partner], partner: tensor}
        for i, (change, tensors) in enumerate(versions.items()):
            if FUZZ > 1 or (number + i) % 3 == 0:
                changes.append(Damage(f"{name} {change}", "weights.safetensors", saving(tensors)))
    for damage in changes + signed:
        damage.must_refuse = True
    wrong = damages.run(kind, changes, tmp_path / "changed")
    wrong += damages.run(kind, signed, tmp_path / "signed")
    assert not wrong, "\n\n".join(wrong[:10])


def saving(tensors: dict, sign: bool = False) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        content = {key: value.clone() for key, value in tensors.items()}
        if sign:
            write_tensors(path, content)
        else:
            save_file(content, path)

    return do


# ---- what R sends


@pytest.mark.slow
def test_an_answer_of_r_that_is_damaged(small, tmp_path):
    """A value or a ValueError; lengths that are not there ask for no memory."""
    answer = {
        "value": {
            "counts": rserial.Named(small["rna"].X, list(small.obs_names), list(small.var_names)),
            "obs": small.obs,
            "text": ["a", None, "é"],
        }
    }
    whole = tmp_path / "answer"
    with open(whole, "wb") as file:
        rserial.dump(answer, file)

    def load(path: Path) -> str:
        with open(path, "rb") as file:
            try:
                value = rserial.load(file)
            except ValueError as error:
                raise scmvp.InputError(f"{path}: {error}") from error
        return repr(value) + f"{matrices_in(value)}"

    def matrices_in(value) -> list[bytes]:
        if isinstance(value, rserial.Named):
            return [value.matrix.toarray().tobytes()]
        if not isinstance(value, dict | list):
            return []
        inner = value.values() if isinstance(value, dict) else value
        return [matrix for part in inner for matrix in matrices_in(part)]

    def long(at: int) -> Callable[[Path], None]:
        def do(path: Path) -> None:
            content = bytearray(path.read_bytes())
            content[at : at + 4] = struct.pack("<i", 2**31 - 1)
            path.write_bytes(bytes(content))

        return do

    kind = Kind(whole, load, anywhere)
    parts = list(damages.usual_damages(kind, 99, 100 * FUZZ))
    size = whole.stat().st_size
    parts += [Damage(f"2^31 at {at}", "", long(at), at) for at in range(14, min(size, 400), 4)]
    wrong = damages.run(kind, parts, tmp_path / "copies")
    assert not wrong, "\n\n".join(wrong[:10])


@pytest.mark.parametrize("content", [b"", b"nonsense", b"B\n" + bytes(200)])
def test_an_answer_of_r_that_is_none(tmp_path, monkeypatch, content):
    stand_in = tmp_path / "Rscript"
    (tmp_path / "content").write_bytes(content)
    stand_in.write_text(f'#!/bin/sh\ncp "{tmp_path}/content" "$3"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("SCMVP_RSCRIPT", str(stand_in))
    (tmp_path / "x.rds").write_text("")
    with pytest.raises(scmvp.InputError, match=r"x\.rds.* answer of R cannot be read") as refusal:
        scmvp.read_rds(tmp_path / "x.rds", engine="process")
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
@pytest.mark.parametrize(
    "content",
    [b"", b"no object\n" * 100, gzip.compress(bytes(1000))],
    ids=["empty", "text", "zeros, gzipped"],
)
def test_rds_that_is_no_object(tmp_path, refused, content, kept):
    path = tmp_path / "x.rds"
    path.write_bytes(content)
    refused(lambda: scmvp.read_rds(path, engine=kept), "x.rds", "not a readable .rds file")


# ---- names


AWKWARD = [
    "with space", "comma,semicolon;", 'quote"d', "apos'trophe", "tab\there", "new\nline", "é 細胞",
    "a\u2028b", "back\\slash", "=1+1", "#comment", "NA", "../up", "%s{x}", "\U0001f9ec",
]  # fmt: skip


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"][: 1 if FUZZ == 1 else 2])
@pytest.mark.slow
def test_awkward_names_pass_through_the_command_line(small, tmp_path, locale):
    """In a locale without any letters but ASCII, too."""
    mdata = small.copy()
    n = len(AWKWARD)
    for modality in ("rna", "atac"):
        adata = mdata[modality]
        adata.obs_names = AWKWARD + list(adata.obs_names[n:])
        adata.var_names = [f"{modality} {name}" for name in AWKWARD] + list(adata.var_names[n:])
    folder = write_pair(mdata, tmp_path / "cells é")
    wanted = [f"rna {name}" for name in AWKWARD if "\n" not in name]
    (tmp_path / "genes.txt").write_text("\n".join(wanted) + "\n", encoding="utf-8")
    script = (
        "import sys\nfrom scmvp.cli import main\n"
        "fit = ['fit', sys.argv[1], '--out', 'out', '--max-epochs', '1', '--n-clusters', '2']\n"
        "embed = ['embed', 'out/model', sys.argv[1], '--out', sys.argv[2]]\n"
        "impute = ['impute', 'out/model', sys.argv[1], '--modality', 'rna', '--out', 'x.h5']\n"
        "sys.exit(main([*fit, '--min-cells', '1']) or main(embed) or "
        "main([*impute, '--features', 'genes.txt']))\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LC_")}
    environment |= {"LANG": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment["PYTHONPATH"] = str(Path(scmvp.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), "latent é.csv"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = list(mdata["rna"].obs_names)
    for table in ("latent é.csv", "out/latent.csv", "out/clusters.csv"):
        with open(tmp_path / table, newline="", encoding="utf-8") as file:
            assert [row[0] for row in csv.reader(file)][1:] == names
    imputed = anndata.read_h5ad(tmp_path / "x.h5")
    assert list(imputed.obs_names) == names
    assert list(imputed.var_names) == wanted
    loaded = SCMVP.load(tmp_path / "out" / "model")
    assert set(loaded.genes) == set(mdata["rna"].var_names)
