from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from commands import FIT, SOURCE, assert_refused, environment, run

import scmvp
from scmvp import cli, files
from scmvp.outputs import FIT_OUTPUTS

SUMMARY = {
    "n_cells",
    "n_genes",
    "n_peaks",
    "n_clusters",
    "n_clusters_used",
    "epochs",
    "seconds_fit",
    "seconds_total",
    "peak_memory_mb",
    "elbo",
    "versions",
    "options",
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> Path:
    """Simulated cells of which one gene is seen nowhere, as a folder of two h5ad."""
    mdata = scmvp.simulate(n_cells=150, n_genes=120, n_peaks=200, n_types=3, seed=4)
    folder = tmp_path_factory.mktemp("cells")
    rna = mdata["rna"].copy()
    keep = np.ones(120, dtype=np.float32)
    keep[7] = 0
    rna.X = sp.csr_matrix(rna.X.multiply(keep))
    rna.X.eliminate_zeros()
    rna.write_h5ad(folder / "rna.h5ad")
    mdata["atac"].write_h5ad(folder / "atac.h5ad")
    return folder


@pytest.fixture(scope="module")
def fitted(cells, tmp_path_factory) -> Path:
    pytest.importorskip("torch")
    out = tmp_path_factory.mktemp("fit") / "deep" / "result"
    assert cli.main(["fit", str(cells), "--out", str(out), *FIT, "--quiet"]) == 0
    return out


def table(path: Path) -> tuple[list[str], list[list[str]]]:
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


# ---- fit


@pytest.mark.slow
def test_fit_writes_what_other_programs_read(fitted, cells):
    assert sorted(path.name for path in fitted.iterdir()) == sorted(FIT_OUTPUTS)
    names = list(anndata.read_h5ad(cells / "rna.h5ad").obs_names)

    header, rows = table(fitted / "latent.csv")
    assert header == ["cell", *(f"latent_{i}" for i in range(1, 21))]
    assert [row[0] for row in rows] == names
    assert np.isfinite(np.array([row[1:] for row in rows], dtype=float)).all()

    header, rows = table(fitted / "clusters.csv")
    assert header == ["cell", "cluster", "probability"]
    assert [row[0] for row in rows] == names
    assert {int(row[1]) for row in rows} <= {0, 1, 2}
    assert all(1 / 3 <= float(row[2]) <= 1 for row in rows)

    summary = json.loads((fitted / "summary.json").read_text())
    assert SUMMARY <= set(summary)
    assert (summary["n_cells"], summary["n_genes"], summary["n_peaks"]) == (150, 119, 200)
    assert summary["n_clusters"] == 3 and summary["epochs"] == 3
    assert summary["seconds_total"] >= summary["seconds_fit"] > 0
    assert summary["peak_memory_mb"] > 50
    assert summary["options"]["seed"] == 0

    header, rows = table(fitted / "history.csv")
    assert {"epoch", "phase", "elbo_train", "elbo_validation"} <= set(header)
    assert [row[header.index("epoch")] for row in rows] == ["1", "2", "3"]
    assert sorted(p.name for p in (fitted / "model").iterdir()) == [
        "model.json",
        "weights.safetensors",
    ]
    assert [p.name for p in fitted.parent.iterdir()] == ["result"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_files(fitted, cells, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    assert cli.main(["fit", str(cells), "--out", str(again), *FIT, "--quiet"]) == 0
    assert cli.main(["fit", str(cells), "--out", str(other), *FIT, "--quiet", "--seed", "1"]) == 0
    for name in ("latent.csv", "clusters.csv"):
        assert (again / name).read_bytes() == (fitted / name).read_bytes()
    assert (other / "latent.csv").read_bytes() != (fitted / "latent.csv").read_bytes()


@pytest.mark.slow
def test_fit_says_what_it_reads_and_how_far_it_is(cells, tmp_path, capsys):
    pytest.importorskip("torch")
    assert cli.main(["fit", str(cells), "--out", str(tmp_path / "out"), *FIT]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "150 cells, 120 genes, 200 peaks" in printed.err
    assert "119 of 120 genes" in printed.err and "clusters: 3 (as given)" in printed.err
    assert "epoch 1/3" in printed.err and "epoch 3/3" in printed.err
    assert "clusters used" in printed.err and "peak memory" in printed.err


@pytest.mark.slow
def test_fit_replaces_only_its_own_results(cells, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    arguments = ["fit", cells, "--out", out, *FIT]
    (out / "summary.json").write_text("earlier")
    assert_refused(run(*arguments), "not empty", "--overwrite")
    assert (out / "summary.json").read_text() == "earlier"
    (out / "notes.txt").write_text("mine")
    assert_refused(run(*arguments, "--overwrite"), "notes.txt")
    (out / "notes.txt").unlink()
    assert run(*arguments, "--overwrite").returncode == 0
    assert json.loads((out / "summary.json").read_text())["n_cells"] == 150
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_a_fit_that_fails_leaves_nothing(cells, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")

    def full(*_):
        raise OSError(28, "No space left on device", "history.csv")

    monkeypatch.setattr(cli, "write_history", full)
    assert cli.main(["fit", str(cells), "--out", str(tmp_path / "out"), *FIT, "--quiet"]) == 2
    assert capsys.readouterr().err == "scmvp: history.csv: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_report_that_fails_does_not_cost_the_fit(cells, tmp_path, monkeypatch, capsys):
    def fails(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(scmvp.SCMVP, "report", fails)
    with pytest.raises(ZeroDivisionError):
        cli.main(["fit", str(cells), "--out", str(tmp_path / "out"), *FIT, "--report"])
    assert "all results but the report" in capsys.readouterr().err
    assert {"latent.csv", "summary.json", "model"} <= {p.name for p in (tmp_path / "out").iterdir()}


@pytest.mark.slow
def test_a_training_outlives_a_full_disk(fitted, cells, tmp_path, monkeypatch):
    """The checkpoint is there until the results are; they then come without training."""
    out, state = tmp_path / "out", tmp_path / "state"
    arguments = ["fit", cells, "--out", out, *FIT, "--checkpoint", state]

    def full(*_):
        raise OSError(28, "No space left on device", "history.csv")

    with monkeypatch.context() as patch:
        patch.setattr(cli, "write_history", full)
        assert_refused(run(*arguments, "--quiet"), "No space left")
    assert state.exists() and not out.exists()
    result = run(*arguments)
    assert result.returncode == 0 and "epoch 1/3" not in result.stderr
    assert not state.exists()
    for name in ("latent.csv", "clusters.csv"):
        assert (out / name).read_bytes() == (fitted / name).read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.slow
def test_interrupted_fit_writes_its_best_state(cells, tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "scmvp", "fit", cells, "--out", out, "--max-epochs", "100000"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(OMP_NUM_THREADS="1"),
    )
    for line in process.stderr:
        if line.startswith("epoch 2/"):
            process.send_signal(signal.SIGINT)
            break
    said = process.stderr.read()
    assert process.wait() == 130
    assert "best state" in said and "Traceback" not in said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["interrupted"] is True
    assert len(table(out / "latent.csv")[1]) == 150


# ---- embed, impute, info


@pytest.mark.slow
def test_embed_repeats_the_fit_and_follows_the_order_of_the_input(fitted, cells, tmp_path):
    out = tmp_path / "latent.csv"
    assert cli.main(["embed", str(fitted / "model"), str(cells), "--out", str(out)]) == 0
    header, rows = table(fitted / "latent.csv")
    again, same = table(out)
    assert again == header
    expected = {row[0]: np.array(row[1:], dtype=float) for row in rows}

    order = np.random.default_rng(0).permutation(150)[:60]
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    for modality in ("rna", "atac"):
        adata = anndata.read_h5ad(cells / f"{modality}.h5ad")[order].copy()
        adata[:, adata.var_names[::-1]].write_h5ad(shuffled / f"{modality}.h5ad")
    assert cli.main(["embed", str(fitted / "model"), str(shuffled), "--out", str(out)]) == 0
    _, some = table(out)
    assert [row[0] for row in some] == [rows[i][0] for i in order]
    for row in same + some:
        np.testing.assert_allclose(np.array(row[1:], dtype=float), expected[row[0]], atol=1e-5)


@pytest.mark.parametrize("modality", ["rna", "atac"])
def test_embed_from_one_modality(fitted, cells, tmp_path, modality):
    out = tmp_path / "one.csv"
    arguments = ["embed", str(fitted / "model"), str(cells), "--out", str(out)]
    assert cli.main([*arguments, "--modality", modality]) == 0
    assert out.read_text() != (fitted / "latent.csv").read_text()
    assert len(table(out)[1]) == 150


@pytest.mark.slow
def test_impute_chosen_features_and_cells(fitted, cells, tmp_path):
    (tmp_path / "genes.txt").write_text("Gene0003\nGene0001\n\n")
    names = [row[0] for row in table(fitted / "latent.csv")[1]]
    (tmp_path / "cells.txt").write_text("\n".join(names[5:0:-1]))
    out = tmp_path / "imputed.h5"
    arguments = [
        "impute",
        str(fitted / "model"),
        str(cells),
        "--modality",
        "rna",
        "--out",
        str(out),
    ]
    chosen = ["--features", str(tmp_path / "genes.txt"), "--cells", str(tmp_path / "cells.txt")]
    assert cli.main([*arguments, *chosen]) == 0
    imputed = anndata.read_h5ad(out)
    assert list(imputed.var_names) == ["Gene0003", "Gene0001"]
    assert list(imputed.obs_names) == names[5:0:-1]
    assert (imputed.X > 0).all()

    assert cli.main(arguments) == 0
    whole = anndata.read_h5ad(out)
    assert whole.shape == (150, 119)
    np.testing.assert_allclose(whole.X.sum(axis=1), 1e4, rtol=1e-3)
    np.testing.assert_allclose(whole[imputed.obs_names, imputed.var_names].X, imputed.X, rtol=1e-4)

    assert cli.main([*arguments, "--threshold", "100"]) == 0
    sparse = anndata.read_h5ad(out)
    assert sp.issparse(sparse.X) and sparse.X.nnz == (whole.X >= 100).sum()


def test_info(fitted, capsys):
    assert cli.main(["info", str(fitted / "model")]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["summary"]["n_cells"] == 150
    assert "genes" not in info and "peaks" not in info


# ---- refusals


def test_wrong_input_is_one_sentence(cells, tmp_path):
    out = tmp_path / "out"
    assert_refused(run("fit", tmp_path / "none.h5mu", "--out", out), "none.h5mu does not exist")
    assert_refused(run("fit", cells), "--out")
    assert_refused(run("fit", cells, "--out", out, "--n-clusters", "0"), "--n-clusters", "'0'")
    assert_refused(run("fit", cells, "--out", out, "--lr", "nan"), "--lr", "'nan'")
    assert_refused(run("refit"), "refit")
    (tmp_path / "file").write_text("")
    assert_refused(run("fit", cells, "--out", tmp_path / "file"), "is a file")
    assert_refused(run("fit", cells, "--out", tmp_path / "file" / "deeper"), "cannot be made")
    assert not out.exists()


def test_input_the_model_refuses(fitted, cells, tmp_path):
    out = tmp_path / "out"
    assert_refused(run("fit", cells, "--out", out, "--n-clusters", "1000"), "1000")
    assert_refused(run("fit", cells, "--out", out, "--rna-layer", "raw"), "no layer 'raw'")
    assert_refused(run("embed", tmp_path, cells, "--out", out), "model.json")
    impute = ("impute", fitted / "model", cells, "--modality", "rna", "--out", out)
    (tmp_path / "genes.txt").write_text("Gene9999\n")
    assert_refused(run(*impute, "--features", tmp_path / "genes.txt"), "Gene9999")
    (tmp_path / "genes.txt").write_text("\n")
    assert_refused(run(*impute, "--features", tmp_path / "genes.txt"), "holds no names")
    assert_refused(run(*impute, "--cells", tmp_path / "none.txt"), "none.txt")
    assert not out.exists()


def test_a_file_has_no_ending_of_another_format(fitted, cells, tmp_path):
    model = fitted / "model"
    impute = "impute", model, cells, "--modality", "rna"
    written = {
        "csv": (("embed", model, cells), ("clusters", fitted, "--n-clusters", 2)),
        "h5": (impute,),
        "html": (("report", fitted),),
    }
    for ending, commands in written.items():
        for command in commands:
            for other in {*written, "rds", "tsv"} - {ending}:
                out = tmp_path / f"x.{other}"
                assert_refused(run(*command, "--out", out), str(out), f"ends in .{ending}")
                assert not out.exists()
    assert run(*impute, "--out", tmp_path / "x.v2").returncode == 0
    assert (tmp_path / "x.v2").read_bytes()[1:4] == b"HDF"


@pytest.mark.slow
def test_a_latent_is_read_by_name(fitted, tmp_path):
    result, file = tmp_path / "result", tmp_path / "x.csv"
    shutil.copytree(fitted, result)
    commands = [
        ("clusters", result, "--n-clusters", 2, "--quiet", "--out", file),
        ("report", result, "--quiet", "--out", tmp_path / "x.html"),
    ]
    table = pd.read_csv(result / "latent.csv", index_col="cell", dtype={"cell": str})

    def run_on(changed):
        changed.to_csv(result / "latent.csv")
        return [run(*command) for command in commands]

    assert [ran.returncode for ran in run_on(table)] == [0, 0]
    expected = pd.read_csv(file, index_col="cell")
    assert run_on(table.iloc[::-1, ::-1])[0].returncode == 0
    pd.testing.assert_frame_equal(pd.read_csv(file, index_col="cell").loc[expected.index], expected)
    n = len(table)
    twice = table.rename(index={table.index[1]: table.index[0]})
    for changed, words in (
        (table.iloc[1:], f"has {n - 1} rows of {n - 1} cells, but its model was fitted to {n}"),
        (twice, f"has {n} rows of {n - 1} cells, but"),
        (table.rename(columns={"latent_1": "latent_0"}), "cannot be read as the latent of a fit"),
        (table.assign(more=1), "cannot be read as the latent of a fit"),
    ):
        for ran in run_on(changed):
            assert_refused(ran, f"'{result / 'latent.csv'}'", words)


def test_a_report_without_cells_refuses_what_is_about_them(fitted, tmp_path):
    out = tmp_path / "x.html"
    for flag, *value in (
        ("--backed", "no"), ("--mosaic",), ("--rna-layer", "X"), ("--atac-layer", "X"),
        ("--protein-layer", "X"), ("--markers", "3"),
    ):  # fmt: skip
        assert_refused(run("report", fitted, "--out", out, flag, *value), f"{flag} is about INPUT")
    assert not out.exists()


def test_a_folder_that_cannot_be_made_is_refused_before_the_fit(cells):
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc, where root may write but cannot")
    assert_refused(run("fit", cells, "--out", "/proc/x", *FIT), "/proc/x cannot be made")
    with pytest.raises(OSError) as caught, files.whole_folder("/proc/x"):
        pass
    assert caught.value.filename == "/proc/x"


def test_refusals_are_of_what_was_given(fitted, cells, tmp_path):
    out = tmp_path / "x.csv"
    level = "--n-clusters", "2", "--out", out
    sentence = f"'{fitted / 'model'}' has no model/model.json; give the folder that scmvp fit wrote"
    assert_refused(run("clusters", fitted / "model", *level), sentence)
    assert_refused(run("report", fitted / "model", "--out", tmp_path / "x.html"), sentence)
    test = "differential", fitted / "model", cells, "--modality", "rna", "--group1", "9"
    result = run(*test, "--out", out)
    assert_refused(result, "--group1 is '9', and the clustering of the model has no such label")
    assert "groupby" not in result.stderr
    for given in (["protein"], ["rna", "protein"]):
        result = run("fit", cells, "--out", tmp_path / "out", "--modalities", *given)
        assert_refused(result, f"--modalities is {', '.join(map(repr, given))}; the data have")


@pytest.mark.slow
def test_notes_about_the_input_are_shown(cells, tmp_path, capsys):
    pytest.importorskip("torch")
    folder = tmp_path / "cells"
    folder.mkdir()
    rna = anndata.read_h5ad(cells / "rna.h5ad")
    rna.layers["counts"] = rna.X.copy()
    rna.X = np.log1p(rna.X)
    rna.write_h5ad(folder / "rna.h5ad")
    (folder / "atac.h5ad").write_bytes((cells / "atac.h5ad").read_bytes())
    assert cli.main(["fit", str(folder), "--out", str(tmp_path / "out"), *FIT]) == 0
    said = capsys.readouterr().err
    assert "note:" in said and "the layer 'counts' is taken instead" in said
    assert "Warning" not in said


@pytest.mark.slow
def test_as_a_module(tmp_path):
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "scmvp",
            "fit",
            str(tmp_path / "none"),
            "--out",
            str(tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert_refused(result, "none does not exist")


# ---- installation


def without_torch(code: str) -> subprocess.CompletedProcess:
    code = f"import sys; sys.modules['torch'] = None; sys.path.insert(0, {str(SOURCE)!r})\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.slow
def test_import_needs_no_torch():
    result = without_torch("import scmvp; scmvp.simulate(20, 60, 60, 2); print(scmvp.__version__)")
    assert result.stdout.strip() == scmvp.__version__, result.stderr


@pytest.mark.slow
def test_torch_is_not_imported_before_it_is_used():
    code = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); import scmvp, scmvp.cli; "
        "print('torch' in sys.modules, 'rpy2' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False False", result.stderr


@pytest.mark.slow
def test_missing_torch_is_said_in_one_sentence(cells, tmp_path):
    result = without_torch(
        f"from scmvp.cli import main; sys.exit(main(['fit', {str(cells)!r}, '--out', "
        f"{str(tmp_path / 'out')!r}]))"
    )
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert "torch" in result.stderr and sys.executable in result.stderr
    assert "pip install torch" in result.stderr
    result = without_torch("import scmvp; scmvp.SCMVP")
    assert "ImportError: scMVP needs torch" in result.stderr
    assert not hasattr(scmvp, "SCVI")


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.strip() == f"scmvp {scmvp.__version__}"


def test_overwrite_spares_what_fit_did_not_write(tmp_path, capsys):
    (tmp_path / "out" / "model").mkdir(parents=True)
    thesis = tmp_path / "out" / "model" / "thesis.txt"
    thesis.write_text("mine")
    status = cli.main(["fit", str(tmp_path), "--out", str(tmp_path / "out"), "--overwrite"])
    assert status == 2
    assert "did not write, such as 'thesis.txt'" in capsys.readouterr().err
    assert thesis.read_text() == "mine"


def test_the_working_folder_is_no_output_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", "data", "--out", "."]) == 2
    assert "cannot be replaced as a whole" in capsys.readouterr().err
