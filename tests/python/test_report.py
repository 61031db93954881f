"""The report: its numbers against their definitions, the page as a browser sees it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import mudata
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.sparse import csr_matrix
from sklearn.metrics import cohen_kappa_score
from sklearn.neighbors import NearestNeighbors

import scmvp
from scmvp import cli
from scmvp.data.spectral import fit_correspondence
from scmvp.errors import InputError, InputNote
from scmvp.progress import SILENT
from scmvp.report import contents
from scmvp.report.layout import fuzzy_graph, layout
from scmvp.report.page import page_of

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """Elements of a page, with their attributes, and the text of each section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def data_of(text: str) -> dict:
    return json.loads(re.search(r'id="cells">(.*?)</script>', text, re.S)[1])


@pytest.fixture(scope="module")
def cells():
    mdata = scmvp.simulate(n_cells=400, n_genes=300, n_peaks=500, n_types=4, n_batches=2, seed=4)
    mdata.obs["<script>alert('x')</script>"] = np.repeat(["a", "b"], 200)
    mdata.obs["score"] = np.r_[np.nan, np.linspace(0, 1, 399)]
    return mdata


@pytest.fixture(scope="module")
def model(cells):
    model = scmvp.SCMVP(cells, n_clusters=4, batch="batch")
    return model.train(max_epochs=25, threads=1, progress=False)


@pytest.fixture(scope="module")
def found(model, cells):
    paired = model._matched(cells)
    latent = model.get_latent_representation()
    of_cells = contents.Cells(
        paired.cells, latent, model.predict_proba(), cells.obs[["batch"]], ["batch"]
    )
    return contents.contents_of(model, of_cells, paired, latent[:, :2], 5, 0, SILENT)


@pytest.fixture(scope="module")
def page(model, cells, tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "report.html"
    model.report(file, cells, title="A <b>title</b>")
    return file


@pytest.mark.slow
def test_the_page_stands_alone_and_is_sound(page, model, cells):
    text = page.read_text()
    parsed = Page(text)
    assert not [a for _, a in parsed.elements if "src" in a or "href" in a]
    assert len(text) < 5e6
    assert "<b>title</b>" not in text and "<script>alert" not in text
    data = data_of(text)
    assert data["names"] == list(cells.obs_names)
    columns = {column["name"]: column for column in data["columns"]}
    assert columns["cluster"]["values"] == model.predict().tolist()
    assert columns["score"]["values"][:2] == [None, 0.0]
    assert columns["<script>alert('x')</script>"]["levels"] == ["a", "b"]
    assert {"batch", "cell_type", "RNA counts, log10"} <= set(columns)
    scores = model.doublet_scores(cells)
    np.testing.assert_allclose(columns["doublet score"]["values"], scores, atol=2e-3)
    for section in ("Cells", "Depth", "Clusters", "Markers", "Modalities", "Batches", "Training"):
        assert f"<h2>{section}</h2>" in text


@pytest.mark.slow
def test_markers_are_those_of_the_test(found, model, cells):
    labels = model.predict().astype(str)
    table = model.differential_expression(cells, groupby=labels, only_pos=True, n_samples=1)
    called = table[table["is_de"]]
    for cluster, part in called.groupby("group"):
        assert found.n_markers["rna"][cluster] == len(part)
        shown = found.markers["rna"].query("group == @cluster")
        assert list(shown["feature"]) == list(part["feature"][:5])


@pytest.mark.slow
def test_clusters_of_too_few_cells_are_told(model, cells):
    paired, latent = model._matched(cells), model.get_latent_representation()

    def contents_with(sizes):
        cluster = np.r_[np.zeros(400 - sum(sizes), int), np.repeat([1, 2], sizes)]
        of_cells = contents.Cells(
            paired.cells, latent, np.eye(3)[cluster], cells.obs[["batch"]], []
        )
        return contents.contents_of(model, of_cells, paired, latent[:, :2], 5, 0, SILENT)

    with warnings.catch_warnings():
        warnings.simplefilter("error", InputNote)
        found, none = contents_with([100, 2]), contents_with([1, 1])
    for modality, word in (("rna", "genes"), ("atac", "peaks")):
        assert list(found.n_markers[modality].index) == ["0", "1"]
        assert f"Too few cells for a test of {word}: cluster 2 (2 cells)." in found.warnings
        assert set(none.left_out[modality]) == {"0", "1", "2"}
    assert not none.markers
    assert "not two groups large enough" in page_of(none, "")


@pytest.mark.slow
def test_a_cluster_without_cells_is_left_out(model, cells, tmp_path):
    some = cells[model.predict() != 1].copy()
    model.report(tmp_path / "some.html", some)
    text = (tmp_path / "some.html").read_text()
    section = re.search(r"<h2>Markers</h2>.*?<h2>", text, re.S)[0]
    assert "cluster 2: " in section and "cluster 1: " not in section


@pytest.mark.slow
def test_means_of_markers_are_per_ten_thousand(found, model, cells):
    features, clusters, measured, imputed = found.means["rna"]
    assert list(clusters) == ["0", "1", "2", "3"]
    counts = cells["rna"][:, list(model.genes)].X.toarray()
    scaled = pd.DataFrame(counts / counts.sum(1, keepdims=True) * 1e4, columns=model.genes)
    decoded = model.get_normalized_expression(genes=features)
    for cluster in range(4):
        own = model.predict() == cluster
        np.testing.assert_allclose(measured[:, cluster], scaled[own][features].mean(), rtol=1e-4)
        np.testing.assert_allclose(imputed[:, cluster], decoded[own].mean(0), rtol=1e-4)


@pytest.mark.slow
def test_markers_may_be_those_of_groups_that_have_names(model, cells, tmp_path):
    named = cells.copy()
    types = named.obs["cell_type"].astype(str).replace({"Type02": "Type01"}).to_numpy()
    order = ["unused", *sorted(set(types), reverse=True)]
    types = np.where(np.arange(400) % 50 == 0, None, types)
    named.obs["cell <type>"] = pd.Categorical(types, order)
    file = tmp_path / "report.html"
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputNote)
        model.report(file, named, groupby="cell <type>", columns=["score"])
    text = file.read_text()
    names = [column["name"] for column in data_of(text)["columns"]]
    assert "cell <type>" in names and "score" in names and "cell <type>" not in text
    labels = pd.Series(types, index=cells.obs_names)
    table = model.differential_expression(cells, groupby=labels, only_pos=True, n_samples=1)
    called = table[table["is_de"]]
    section = re.search(r"<h3>Genes</h3>.*?<h3>", text, re.S)[0]
    sizes = ", ".join(f"{one}: {(called['group'] == one).sum():,}" for one in order[1:])
    assert f"called, by group of cell &lt;type&gt;: {sizes}<" in section
    counts = cells["rna"][:, list(model.genes)].X.toarray()
    scaled = pd.DataFrame(counts / counts.sum(1, keepdims=True) * 1e4, columns=model.genes)
    means = re.findall(r"<title>(\w+), group of cell &lt;type&gt; (\w+): ([\d.e+-]+)<", section)
    n_features = len({gene for gene, _, _ in means})
    for gene, one, said in means[: n_features * (len(order) - 1)]:  # measured, then imputed
        assert float(said) == pytest.approx(scaled[types == one][gene].mean(), rel=1e-2)
    crossed = pd.crosstab(model.predict(), pd.Series(types).fillna("missing"))
    first = crossed.loc[0, [*order[1:], "missing"]]
    assert "<td>cluster 0</td>" + "".join(f"<td>{n}</td>" for n in first) in text


@pytest.mark.slow
def test_cells_that_were_not_measured_are_not_zeros(model, cells, tmp_path):
    """A third of the cells without ATAC, most of them of one cluster."""
    cluster = model.predict()
    hidden = (np.arange(400) % 6 == 0) | (cluster == 1) & (np.arange(400) % 3 > 0)
    atac = cells["atac"][~hidden].copy()
    query = mudata.MuData({"rna": cells["rna"], "atac": atac})
    query.obs["batch"] = cells.obs["batch"]
    query.obs["ratio"] = np.where(np.arange(400) == 7, np.inf, np.arange(400.0))
    query.obs["plate"] = (np.arange(400) % 12).astype(str)
    query.obs["place"] = np.array(["lung", "fat", "12", "9"])[np.arange(400) % 4]
    file = tmp_path / "report.html"
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputNote)
        model.report(file, query, columns=["ratio", "plate", "place"])
    text = file.read_text()
    columns = {column["name"]: column for column in data_of(text)["columns"]}
    assert columns["ratio"]["values"][6:9] == [6, None, 8]
    assert columns["plate"]["levels"] == [str(i) for i in range(12)]
    assert columns["place"]["levels"] == ["9", "12", "fat", "lung"]
    unknown = [value is None for value in columns["ATAC counts, log10"]["values"]]
    assert unknown == hidden.tolist()
    counts = cells["atac"][:, list(model.peaks)].X.toarray()
    depth = counts.sum(1)
    assert f"ATAC: median {np.median(depth[~hidden]):,.0f} counts per cell" in text
    shown = re.search(r"<title>(chr[^,]+), cluster (\d): ([\d.e+]+)</title>", text)
    peak, one, said = shown.groups()
    paired = model._matched(query)
    assert (paired.counts["atac"].sum(1).A1 == 0)[hidden].all()
    own = (model.predict(query) == int(one)) & ~hidden
    at = list(model.peaks).index(peak)
    assert float(said) == pytest.approx((counts[own, at] / depth[own] * 1e4).mean(), rel=1e-2)


@pytest.mark.slow
def test_a_report_without_metadata(model, cells, tmp_path):
    model.report(tmp_path / "report.html", cells, columns=[])
    names = [one["name"] for one in data_of((tmp_path / "report.html").read_text())["columns"]]
    assert "batch" in names and "cell_type" not in names


def clouds():
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(4 * i, 1, (50, 6)) for i in range(3)])
    z[5] = z[6] = -9  # twins, that are no other cell's neighbors
    return z


def test_edges_of_the_map_are_those_of_its_paper():
    """By loops: of each cell weights sum to log2(k) but for the nearest ones; then a + b - ab."""
    z = clouds()
    full = np.linalg.norm(z[:, None] - z, axis=2)
    directed = np.zeros_like(full)
    for i, row in enumerate(full):
        near = np.argsort(row, kind="stable")[:15]
        others = near[near != i]
        first = row[others][row[others] > 0].min()
        beyond = np.maximum(row[others] - first, 0)
        width = brentq(lambda w, d=beyond: np.exp(-d / w).sum() - np.log2(15), 1e-3, 1e3)
        directed[i, others] = np.exp(-beyond / width)
    expected = directed + directed.T - directed * directed.T
    np.testing.assert_allclose(fuzzy_graph(z).toarray(), expected, atol=1e-5)


@pytest.mark.slow
def test_the_map_keeps_groups_apart():
    places, name = layout(clouds(), 0)
    assert places.shape == (150, 2) and name in ("UMAP", "t-SNE")
    near = NearestNeighbors(n_neighbors=11).fit(places).kneighbors(return_distance=False)
    group = np.repeat(range(3), 50)
    assert (group[near] == group[:, None]).mean() > 0.95
    assert layout(clouds()[:3], 0)[0].shape == (3, 2)
    same, _ = layout(clouds(), 0)
    np.testing.assert_array_equal(same, places)


@pytest.mark.slow
def test_agreement_is_the_kappa_of_neighbors_in_one_modality(found, model, cells):
    clusters, scores = model.predict(), model.input_scores(cells)
    for modality in ("rna", "atac"):
        z = scores[modality].astype(float)
        distance = np.square(z[:, None] - z[None]).sum(2)
        np.fill_diagonal(distance, np.inf)
        nearest = clusters[np.argsort(distance, 1)[:, :15]]
        guess = [np.bincount(row, minlength=4).argmax() for row in nearest]
        kappa = cohen_kappa_score(clusters, guess)
        assert found.agreement[modality] == pytest.approx(kappa, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_scores_of_cells_do_not_depend_on_the_training(preset, cells, tmp_path):
    """Correspondence analysis of each modality by its formula, with and without an encoder."""
    model = scmvp.SCMVP(cells, n_clusters=4, preset=preset)
    model.train(max_epochs=2, threads=1, progress=False).save(tmp_path / "model")
    found = scmvp.SCMVP.load(tmp_path / "model").input_scores(cells)
    for modality, features in (("rna", model.genes), ("atac", model.peaks)):
        counts = cells[modality][:, list(features)].X.tocsr()
        of = fit_correspondence(counts, model.options.n_components, 0)
        x = counts.toarray()
        size = x.sum(1, keepdims=True)
        expected = np.minimum(x, 10 * np.sqrt(size * of.share)) / size @ of.loading - of.centre
        np.testing.assert_allclose(found[modality], expected, atol=0.02)
        np.testing.assert_allclose(found[modality], model.input_scores()[modality], atol=1e-5)


@pytest.mark.slow
def test_mixing_counts_neighbors_of_the_same_batch(found, model, cells):
    batch = cells.obs["batch"].astype(str).to_numpy()
    z = model.get_latent_representation().astype(float)
    distance = np.square(z[:, None] - z[None]).sum(2)
    np.fill_diagonal(distance, np.inf)
    same = (batch[np.argsort(distance, 1)[:, :15]] == batch[:, None]).mean()
    part = pd.Series(batch).value_counts(normalize=True)
    row = found.mixing.iloc[0]
    assert row["of the same batch"] == pytest.approx(same, abs=0.005)
    assert row["by chance"] == pytest.approx((part**2).sum())


@pytest.mark.slow
def test_a_modality_without_signal_is_said():
    """RNA of one profile in all cells, which its encoder has learned by heart."""
    mdata = scmvp.simulate(n_cells=150, n_genes=200, n_peaks=300, n_types=3, seed=0)
    rng = np.random.default_rng(0)
    counts = mdata["rna"].X.toarray()
    profile = counts.sum(0) / counts.sum()
    mdata["rna"].X = csr_matrix(
        np.array([rng.multinomial(n, profile) for n in counts.sum(1).astype(int)], np.float32)
    )
    model = scmvp.SCMVP(mdata, n_clusters=3).train(max_epochs=60, threads=1, progress=False)
    paired, latent = model._matched(None), model.get_latent_representation()
    of_cells = contents.Cells(
        paired.cells, latent, model.predict_proba(), pd.DataFrame(index=paired.cells), []
    )
    found = contents.contents_of(model, of_cells, paired, latent[:, :2], 2, 0, SILENT)
    z, own = model.get_latent_representation(mdata, "rna"), model.predict()
    near = NearestNeighbors(n_neighbors=15).fit(z).kneighbors(return_distance=False)
    assert cohen_kappa_score(own, np.eye(3)[own[near]].sum(1).argmax(1)) > 0.4
    assert found.agreement["rna"] < 0.15 and found.agreement["atac"] > 0.8
    text = page_of(found, "noise")
    assert re.search(r"RNA alone hardly separates .*; they are mainly based on ATAC.<", text)
    assert "agreement (Cohen's kappa)" in text and "of all cells. Cells are near" in text


@pytest.mark.slow
def test_cells_without_counts_are_those_of_the_page(found):
    missing = found.depth["rna"].copy()
    missing[:7] = 0
    of_fit = {"account": found.account | {"cells_without_rna": 40, "cells_without_atac": 30}}
    shown = replace(found, **of_fit, depth=found.depth | {"rna": missing})
    assert contents.without_counts(shown) == ["7 cells have no RNA counts."]
    unknown = replace(found, **of_fit, depth={})
    assert len(contents.without_counts(unknown)) == 2
    assert contents.without_counts(found) == []


@pytest.mark.slow
def test_what_a_reader_should_beware_of(found):
    """Warnings for made-up clusters: one of a single batch, one unsure, one shallow."""
    n = len(found.cells.names)
    cluster = np.zeros(n, int)
    batch = np.where(np.arange(n) % 2, "a", "b").astype(object)
    cluster[:40], batch[:40] = 1, "a"
    cluster[40:80] = 2
    probability = np.eye(3)[cluster] * 0.6 + 0.4 / 3
    probability[cluster != 1] = np.eye(3)[cluster[cluster != 1]]
    probability[cluster == 1] = [0.3, 0.5, 0.2]
    made = contents.Contents(
        contents.Cells(
            found.cells.names, found.cells.latent, probability,
            pd.DataFrame({"donor": batch}, index=found.cells.names), ["donor"],
        ),
        found.shown, found.places, "made up", found.account, found.summary, found.history,
    )  # fmt: skip
    made.depth = {name: np.where(cluster == 2, 10.0, 1000.0) for name in ("rna", "atac")}
    made.doublets = np.where(cluster == 2, 0.9, 0.1)
    made.n_markers = {"rna": pd.Series([90, 80, 1], index=["0", "1", "2"])}
    none = replace(made, n_markers={name: 0 * made.n_markers["rna"] for name in ("rna", "atac")})
    none.cells = replace(none.cells, groupby="donor")
    assert (
        "In groups 0, 1 and 2 of donor, no gene and no peak is significantly higher than in the "
        "other cells."
    ) in contents.warnings_of(none)
    said = " ".join(contents.warnings_of(made))
    assert "Cluster 1 is 100 % cells of 'a' in 'donor'" in said
    assert "Many cells of cluster 1 cannot be assigned with confidence (median prob" in said
    assert "cells of cluster 2 have few counts and few markers" in said
    assert "Most cells of cluster 2 resemble doublets" in said
    assert "Cluster 0 is" not in said


@pytest.mark.slow
def test_coordinates_of_a_table_go_by_name(model, cells, tmp_path):
    file, pages = tmp_path / "report.html", []
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 2)), cells.obs_names)
    for given in (table.to_numpy(), table[::-1]):
        model.report(file, cells, coordinates=given, columns=[])
        pages.append(file.read_text())
    assert pages[0] == pages[1]
    with pytest.raises(InputError, match="coordinates has no value for"):
        model.report(file, cells, coordinates=table[1:])


@pytest.mark.slow
def test_refusals_write_nothing(model, cells, tmp_path):
    file = tmp_path / "report.html"
    for arguments, sentence in (
        ({"columns": ["none"]}, "columns that are not in the metadata: 'none'"),
        ({"coordinates": np.zeros((3, 2))}, "two numbers for each of 400 cells"),
        ({"markers": 0}, "markers is 0"),
        ({"n_clusters": 9}, "n_clusters is 9"),
    ):
        with pytest.raises(InputError, match=re.escape(sentence)):
            model.report(file, cells, **arguments)
    for arguments in ({"columns": ["cell_type"]}, {"groupby": "cell_type"}):
        with pytest.raises(InputError, match="keeps no metadata such as 'cell_type'.* as data$"):
            model.report(file, **arguments)
        model.report(file, cells, **arguments)
        file.unlink()
    with pytest.raises(InputError, match="folder"):
        model.report(tmp_path / "none" / "report.html", cells)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_on_the_command_line_with_and_without_counts(cells, tmp_path, capsys):
    cells.write_h5mu(tmp_path / "cells.h5mu")
    out, file = tmp_path / "result", tmp_path / "report.html"
    fit = ["fit", tmp_path / "cells.h5mu", "--out", out, "--max-epochs", 4, "--threads", 1]
    assert cli.main([*map(str, fit), "--n-clusters", "4", "--quiet", "--report"]) == 0
    whole = (out / "report.html").read_text()
    assert "<h2>Markers</h2>" in whole and "are of" not in whole
    assert cli.main(["report", str(out), "--out", str(file), "--n-clusters", "2"]) == 0
    text = file.read_text()
    assert "Markers need the counts of the cells" in text
    assert data_of(text)["columns"][0]["levels"] == ["0", "1"]
    assert cli.main(["report", str(tmp_path), "--out", str(file)]) == 2
    assert file.read_text() == text and "model.json" in capsys.readouterr().err
    by_type = ["--out", str(file), "--groupby", "cell_type"]
    assert cli.main(["report", str(out), *by_type]) == 2
    assert "such as 'cell_type'; give the cells with these as INPUT," in capsys.readouterr().err
    assert cli.main(["report", str(out), str(tmp_path / "cells.h5mu"), *by_type]) == 0


def browsed(page, *flags: str) -> str:
    """The document after its scripts ran, as headless Chromium has it."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", *flags, "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")
def test_a_browser_draws_the_map_and_needs_no_script(page, tmp_path):
    text = browsed(page)
    assert 'class="scripted"' in text
    options = re.search(r'<select id="color">(.*?)</select>', text)[1]
    assert options.count("<option") == len(data_of(page.read_text())["columns"])
    assert re.search(r'<canvas [^>]*width="\d+"', text)
    # the legend of numbers goes from the smallest to the largest known one
    chosen = tmp_path / "chosen.html"
    script = (
        "<script>var s = document.getElementById('color'); s.selectedIndex ="
        " [...s.options].findIndex(o => o.text === 'score');"
        " s.dispatchEvent(new Event('change'));</script>"
    )
    chosen.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    legend = re.search(r'id="legend">(.*?)</div>', browsed(chosen))[1]
    assert re.findall(r"</i>([^<]+)</span>", legend) == ["0", "1", "unknown"]
    # as where scripts are off
    still = tmp_path / "still.html"
    still.write_text(re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.S))
    plain = browsed(still)
    assert 'class="scripted"' not in plain and '<details class="static" open' in plain
    assert plain.count("<svg") == page.read_text().count("<svg")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")
@pytest.mark.parametrize("width", [1200, 480])
def test_nothing_is_wider_than_the_window(page, width, tmp_path):
    """A page that measures itself: no part of it makes the window scroll sideways."""
    measured = tmp_path / "measured.html"
    more = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    script = f"<script>document.title = 'beyond ' + ({more})</script>"
    measured.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    text = browsed(measured, f"--window-size={width},900")
    assert "<title>beyond 0</title>" in text
