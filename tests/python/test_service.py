"""What R asks for, and the kinds of values it gets."""

import io

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scmvp
from scmvp.r import rserial
from scmvp.r.rserial import Named
from scmvp.r.tables import plain_frame
from scmvp.service import Service
from scmvp.worker import unboxed


def through_r(value, **options):
    file = io.BytesIO()
    rserial.dump(value, file)
    file.seek(0)
    return rserial.load(file, **options)


def test_single_values_are_unboxed_and_lists_stay_lists():
    sent = {"one": "a", "some": ["a", "b"], "whole": 3, "real": 1.5, "flag": True, "none": None}
    got = unboxed(through_r(sent | {"list": [["a"]], "vector": np.arange(3.0)}))
    assert {name: got[name] for name in sent} == sent
    assert got["list"] == ["a"]
    assert got["vector"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(3.0, np.float32), (2.0**24, np.float32), (2.0**24 + 2, np.float64), (0.5, np.float64)],
)
def test_counts_are_read_as_float32_where_it_holds_them(value, kind):
    matrix = sp.csr_matrix(np.array([[0.0, 1.0], [value, 0.0]]))
    sent = Named(matrix, ["c1", "c2"], ["f1", "f2"])
    got = through_r(sent, short=True).matrix
    assert got.dtype == kind and (got.toarray() == matrix.toarray()).all()
    assert through_r(sent).matrix.dtype == np.float64


def test_columns_of_every_type_become_columns_of_r():
    columns = {
        "nullable": pd.array([True, None, False], dtype="boolean"),
        "whole": pd.array([1, None, 3], dtype="Int64"),
        "real": pd.array([1.5, None, 3], dtype="Float64"),
        "half": np.array([1, np.nan, 3], np.float16),
        "text": pd.array(["a", None, "c"], dtype="string"),
        "object": np.array([True, None, False], dtype=object),
        "mixed": np.array(["a", 1, None], dtype=object),
        "empty": np.array([None] * 3, dtype=object),
        "levels": pd.Categorical([20, 3, None]),
        "yes": pd.Categorical([True, None, False]),
        "time": pd.to_datetime(["2024-01-01", None, "2024-01-02"]),
        "span": pd.to_timedelta(["1d", None, "2d"]),
        "complex": np.array([1j, 2, 3]),
        "sparse": pd.arrays.SparseArray([1, 0, 2]),
    }
    got = through_r(plain_frame(pd.DataFrame(columns, index=list("abc"))))
    assert list(got.index) == ["a", "b", "c"]
    kinds = {name: got[name].dtype.kind for name in columns}
    assert kinds == dict.fromkeys(("nullable", "object"), "b") | dict.fromkeys(
        ("whole", "real", "half", "sparse"), "f"
    ) | dict.fromkeys(("text", "mixed", "empty", "levels", "yes", "time", "span", "complex"), "O")
    assert got["nullable"].tolist() == got["object"].tolist() == [True, pd.NA, False]
    assert got["real"].tolist()[::2] == [1.5, 3] and np.isnan(got["whole"].iloc[1])
    assert got["text"].tolist() == ["a", None, "c"]
    assert got["mixed"].tolist() == ["a", "1", None]
    assert list(got["levels"].cat.categories) == ["3", "20"]
    assert got["levels"].astype(object).tolist()[:2] == ["20", "3"]


@pytest.mark.slow
def test_the_verbs_around_a_model(tmp_path):
    service = Service()
    made = service.answer(
        "simulate", {"n_cells": 80, "n_genes": 40, "n_peaks": 50, "n_types": 2, "seed": 1}
    )
    assert made["truth"]["rna"].matrix.shape == (2, 40)
    rna, atac = made["rna"]["counts"], made["atac"]["counts"]
    counts = {"rna": rna, "atac": atac}
    built = service.answer("build", {"counts": counts, "n_clusters": 2})
    assert built["account"]["n_cells"] == 80
    told = []
    service.answer(
        "train", {"max_epochs": 2, "threads": 1}, on_stage=told.append, on_epoch=told.append
    )
    assert any("epoch" in event for event in told) and any("stage" in event for event in told)
    fitted = through_r(service.answer("fitted", {}))
    assert fitted["latent"].shape == (80, 20) and fitted["probabilities"].shape == (80, 2)
    assert fitted["history"]["phase"][0] == "warm-up"
    features = list(built["genes"][:3])
    decoded = service.answer(
        "decode", {"latent": fitted["latent"], "modality": "rna", "features": features}
    )
    assert decoded.shape == (3, 80)
    labels = ["a"] * 30 + ["b"] * 30 + [None] * 20
    found = service.answer("differential", {"counts": counts, "labels": labels, "modality": "rna"})
    assert found["table"]["group"].unique().tolist() == ["a", "b"]
    turned = service.answer(
        "differential",
        {"counts": counts, "labels": labels, "levels": ["b", "a"], "modality": "rna"},
    )
    assert turned["table"]["group"].unique().tolist() == ["b", "a"]
    scores = service.answer("doublets", {"counts": counts, "n_simulated": 100})
    assert scores.shape == (80,) and ((scores >= 0) & (scores <= 1)).all()
    service.answer("save", {"folder": str(tmp_path / "model")})
    again = Service().answer("load", {"folder": str(tmp_path / "model")})
    assert list(again["genes"]) == list(built["genes"])
    assert again["summary"]["n_clusters"] == 2
    assert isinstance(scmvp.SCMVP.load(tmp_path / "model"), scmvp.SCMVP)


def test_cells_in_an_order_and_beside_a_reference():
    rng = np.random.default_rng(0)
    time = np.linspace(0, 1, 100)
    counts = Named(
        sp.csr_matrix(rng.poisson([[1 + 9 * t, 3] for t in time])),
        [f"c{i}" for i in range(100)],
        ["rising", "flat"],
    )
    table = Service().answer("along", {"counts": counts, "time": time, "size": np.ones(100)})
    assert table["feature"].tolist() == ["rising", "flat"] and table["p_value"].iloc[0] < 1e-10
    trends = Service().answer("trends", {"counts": counts, "time": time, "size": np.ones(100)})
    assert trends["values"].shape == (2, 50) and (np.diff(trends["values"][0]) > 0).all()
    assert trends["grid"][0] < 0.02 and trends["grid"][-1] > 0.98
    points = np.repeat(np.eye(2), 30, 0) * 9 + rng.normal(0, 0.5, (60, 2))
    labels = ["a"] * 30 + ["b"] * 30
    found = Service().answer("transfer", {"reference": points, "labels": labels, "query": points})
    assert found["best_label"].tolist() == labels
