"""Every advice can be followed: cases provoke messages, do what these say, and look that it works.

`advice.ADVICE` says of every message of the package which case that is, or why there is none.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from advice import ADVICE
from anndata import AnnData
from conftest import TenX
from messages import PACKAGE, Message, messages, texts
from mudata import MuData, read_h5mu
from runs import draw_runs, write_fragments, write_run

import scmvp
from scmvp import cli, flags
from scmvp.data.checks import count_matrix
from scmvp.data.matrices import DiskRows, StoredCsr
from scmvp.data.paired import Paired
from scmvp.errors import InputError, InputNote
from scmvp.r import regulation
from scmvp.tools.groups import groups_of, labels_in

SCMVP = scmvp.SCMVP
ROOT = Path(__file__).parents[2]
QUICK = {"max_epochs": 2, "threads": 1}
CASES = {}
NEED_SCANPY = {"column_along", "latent_in_obsm", "roots", "equal_cells", "parts"}


def case(function):
    """A generator of pairs: a call that is refused (or says a note), and the same as advised."""
    CASES[function.__name__] = function
    return function


@pytest.fixture(scope="module")
def fitted():
    """A model of few cells, and one of them in batches."""
    mdata = scmvp.simulate(n_cells=120, n_genes=150, n_peaks=300, n_types=3, seed=4)
    mdata.obs["donor"] = np.tile(["a", "b"], 60)
    mdata.obs["lane"] = np.repeat(["x", "y"], 60)
    mdata.obsm["X_scmvp"] = np.random.default_rng(0).normal(size=(120, 4))
    return SimpleNamespace(
        mdata=mdata,
        model=SCMVP(mdata, n_clusters=3, min_cells=1).train(**QUICK),
        batched=SCMVP(mdata, n_clusters=3, min_cells=1, batch=["donor", "lane"]).train(**QUICK),
    )


@pytest.fixture
def world(fitted, tmp_path, monkeypatch, capsys):
    """What cases use; calls of R are not made, but return what they were given."""
    monkeypatch.setattr(regulation, "call", lambda verb, arguments, *rest: arguments)
    monkeypatch.setattr(regulation, "_table", lambda given: given)
    monkeypatch.setattr(
        "scmvp.r.rbridge.call", lambda verb, given, *rest: Path(given["path"]).write_text(verb)
    )
    mdata = fitted.mdata.copy()
    return SimpleNamespace(
        mdata=mdata, rna=mdata["rna"], atac=mdata["atac"], model=fitted.model,
        batched=fitted.batched, tmp=tmp_path, monkeypatch=monkeypatch, capsys=capsys,
        cells=mdata.obs_names,
    )  # fmt: skip


def said(call, capsys) -> list[str]:
    """The refusal and the notes of a call, or what the command line printed as such."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = []
        try:
            status = call()
        except InputError as error:
            found = [str(error)]
        else:
            printed = capsys.readouterr().err
            if isinstance(status, int) and status != 0:
                found = [printed.strip()]
    return found + [str(note.message) for note in caught if note.category is InputNote]


def assigned(name: str) -> list[Message]:
    return [m for m in messages() if entry_of(m) == f"case {name}"]


SLOW = (
    "checkpoints", "counts_in_file", "files_of_fragments", "groups", "kinds_of_files",
    "links_of_peaks", "memory", "model_states", "motifs_of_peaks", "odd_kinds", "on_disk",
    "on_the_command_line", "options", "samples", "saved_models", "simulated_cells",
)  # fmt: skip


def entry_of(message: Message) -> str | None:
    entries = ADVICE.get(message.module, {})
    found = [fragment for fragment in entries if fragment in message.text]
    # the longest one, where a message has the words of another one's entry
    return entries[max(found, key=len)] if found else None


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in sorted(
            {v[5:] for e in ADVICE.values() for v in e.values() if v.startswith("case ")}
        )
    ],
)
def test_following(name, world):
    if name in NEED_SCANPY:
        pytest.importorskip("scanpy")
    expected = assigned(name)
    sentences = []
    for provoke, follow in CASES[name](world):
        refused = said(provoke, world.capsys)
        assert refused, inspect.getsource(provoke)
        sentences += refused
        again = said(follow, world.capsys)
        same = [m.text for m in expected for s in again if re.search(m.pattern, s)]
        assert not same, (again, inspect.getsource(follow))
    for message in expected:
        assert any(re.search(message.pattern, s) for s in sentences), (message.text, sentences)


# ---- all messages --------------------------------------------------------------------------------


def test_every_message_has_an_entry():
    lacking = [f"{m.module}: {m.text}" for m in messages() if entry_of(m) is None]
    assert not lacking, "\n".join(lacking)


def test_every_entry_has_a_message_and_a_case_or_test_that_exists():
    found = {module: [m for m in messages() if m.module == module] for module in ADVICE}
    used = {
        (m.module, max((f for f in ADVICE.get(m.module, ()) if f in m.text), key=len, default=""))
        for m in messages()
    }
    here = Path(__file__).parent
    for module, entries in ADVICE.items():
        assert found[module], module
        for fragment, value in entries.items():
            assert (module, fragment) in used, (module, fragment)
            if value.startswith("case "):
                assert value[5:] in CASES, value
            elif "::" in value:
                file, _, function = value.partition("::")
                assert f"def {function}(" in (here / f"{file}.py").read_text(), value
    assert {*CASES} == {v[5:] for e in ADVICE.values() for v in e.values() if v[:5] == "case "}


# What stands for some code in templates, where it makes names of arguments or functions.
PUT_IN = {
    "{modality}_layer='{layer}'": "rna_layer='a'",
    "{modality}_layer='{left.name}'": "atac_layer='a'",
    "{argument or f'{modality}_layer'}='{place.name}'": "rna_layer='a'",
    "{modality}_layer": "rna_layer",
    "{side}_imputed, {side}_log": "rna_imputed, peaks_log",
    "{attribute}": "obs_names",
}


def _bare(text: str) -> str:
    """A text without its code."""
    for code, value in PUT_IN.items():
        text = text.replace(code, value)
    while (shorter := re.sub(r"\{[^{}]*\}", "…", text)) != text:
        text = shorter
    return text


def _all_texts() -> list[tuple[str, str]]:
    return [
        (path.stem, _bare(text)) for path in sorted(PACKAGE.rglob("*.py")) for text in texts(path)
    ]


def _functions() -> dict[str, inspect.Signature]:
    """Public functions, and methods of the model, by name."""
    found = {name: getattr(scmvp, name) for name in scmvp.__all__}
    found = {name: part for name, part in found.items() if inspect.isroutine(part)}
    found["SCMVP"] = SCMVP
    for one in reversed(SCMVP.__mro__[:-1]):
        found |= {
            name: part for name, part in vars(one).items() if name[0] != "_" and callable(part)
        }
    found["load"] = SCMVP.load
    return {name: inspect.signature(function) for name, function in found.items()}


def _arguments() -> set[str]:
    """Their arguments, the fields of `options`, and the arguments of R that Python passes on."""
    from scmvp.options import ModelOptions, TrainingOptions

    found = {name for signature in _functions().values() for name in signature.parameters}
    for options in (ModelOptions, TrainingOptions):
        found |= {field.name for field in dataclasses.fields(options)}
    for verb in ("RunCicero", "FindCCANs", "LinkPeaksLASSO", "AggregateCells"):
        source = (ROOT / "R" / f"{verb}.R").read_text()
        found |= {name.replace(".", "_") for name in re.findall(r"\b([a-z][a-z._]*) = ", source)}
    return found


def test_arguments_and_functions_in_messages_exist():
    arguments, functions = _arguments(), _functions()
    containers = {*dir(AnnData), *dir(MuData), "feature_types", "csr_matrix", "to_adata", "not_a"}
    containers |= {"gene_name", "gene_id", "gene_ids"}  # columns of annotations
    containers |= {"read_h5mu"}  # of mudata
    for module, text in _all_texts():
        for name in re.findall(r"\b([a-z][a-z0-9_]*)=(?!=)", text):
            assert name in arguments or hasattr(MuData, name), (module, text, name)
        for name in re.findall(r"\bscmvp\.([a-z_]+)", text):
            assert name in scmvp.__all__, (module, text)
        for name in re.findall(r"\b([A-Za-z_]+)\((?:data)?\)", text):
            known = name in functions or hasattr(AnnData, name) or hasattr(MuData, name)
            assert known or name == "to_adata" or module == "rserial", (module, text, name)
        for name in re.findall(r"\b[am]data\.([a-z_]+)", text):
            assert hasattr(AnnData, name) or hasattr(MuData, name), (module, text)
    for m in messages():
        for name in re.findall(r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b", _bare(m.text)):
            assert name in arguments | {*functions} | containers, (m.module, m.text, name)


@pytest.mark.slow
def test_flags_in_messages_exist():
    subcommands = next(a for a in flags.parser(cli.VERBS)._actions if a.dest == "command").choices
    known = {flag for parser in subcommands.values() for flag in parser._option_string_actions}
    for module, text in _all_texts():
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text):
            assert flag in known | {"--help", "--version"}, (module, text)


def test_installs_in_messages_are_declared():
    declared = (ROOT / "python" / "pyproject.toml").read_text()
    found = []
    for path in PACKAGE.rglob("*.py"):
        for text in texts(path):
            found += re.findall(r"pip install '?([a-z0-9]+)(?:\[([a-z]+)\])?", text)
    assert found
    for package, extra in found:
        assert re.search(rf'name = "{package}"|"{package}[>=]', declared), package
        assert not extra or re.search(rf"^{extra} = \[", declared, re.M), extra


# Words that only Python users know.
PYTHON_WORDS = (
    r"\b[a-z_]+=(?:True|False|None|['\"…])|\b(?:True|False|None)\b|\bscmvp\.[a-z]|"
    r"\b[am]data\b|\b[A-Za-z_]+\((?:data)?\)|\bobs_names\b"
)
ONLY_PYTHON = {
    "along", "conditions", "forms", "pseudobulk", "trajectory", "transfer", "regulation", "__init__"
}  # fmt: skip
# The command line reads one sample.
OF_SAMPLES = {"several", "samples", "peaks", "fragments"}
# No command computes these.
OF_ACTIVITIES = {"motifs", "activity", "sequences", "genes", "regulators"}
# What neither the command line nor R can meet, by module: they pass no such argument or object.
NOT_BY_OTHERS = {
    "annotated": ["there is no '{use_rep}'", "keeps no metadata", "{argument}", "{what}"],
    "arguments": ["options must be", "unknown option", "give True or False"],
    "checks": ["call update()"],
    "containers": [
        "cannot read paired", "modality is missing", "cells read with backed=True",
        "part of an object on disk",
    ],
    "covariates": ["name of a column of obs"],
    "fitted": ["one from this model"],
    "groups": ["labels need groupby", "give True or False", "group1 is not given"],
    "model": ["new SCMVP"],
    "objects": [""],
    "options": [""],
    "places": ["put it into X", "adata.raw", "X is taken"],
    "progress": [""],
    "rbridge": [""],
    "rserial": [""],
    "rank": ["adata.X"],
    "reading": ["several paths"],
    "regulators": ["the activity has no", "links must be"],
    "scope": ["scmvp.read", "modality '{modality}'"],
    "several": ["paths is", "fragments is {fragments}", "cells"],
    "simulate": ["batch_effect", "separated_by"],
    "state": ["call train()"],
}  # fmt: skip


def _met_by_others(modules: set[str] = frozenset()) -> list[tuple[str, str]]:
    found = []
    for m in messages():
        odd = NOT_BY_OTHERS.get(m.module, [])
        if m.module in ONLY_PYTHON | modules or any(part in m.text for part in odd):
            continue
        found.append((m.module, _bare(m.text)))
    # ends of these, which are made apart
    found.append(("checks", "keep them in both, or use all cells with mosaic=True"))
    found.append(("formats", "; read_rds takes the name of an assay (rna_assay, peak_assay)"))
    return found


def test_the_command_line_says_its_flags():
    arguments = {name for name in _arguments() if "_" in name} | {"groupby", "group1", "group2"}
    words = rf"{PYTHON_WORDS}|(?<!['\w-])(?:{'|'.join(sorted(arguments))})(?!['\w])"
    for module, text in _met_by_others(
        {"simulate", "filtering", "rank", *OF_SAMPLES, *OF_ACTIVITIES}
    ):
        left = re.findall(words, flags.in_flags(text))
        assert not left, (module, flags.in_flags(text), left)


def test_r_says_its_arguments():
    """By the tables of R/core.R, applied here as as_sentence() applies them."""
    source = (ROOT / "R" / "core.R").read_text()

    def table(name):
        block = re.search(rf"^{name} <- c\((.*?)^\)", source, re.M | re.S)[1]
        pairs = re.findall(r'("(?:[^"\\]|\\.)*"|\w+) =\s+("(?:[^"\\]|\\.)*")', block)
        return [[json.loads(part) if part[0] == '"' else part for part in pair] for pair in pairs]

    phrases, names = table("r_words"), table("r_names")
    patterns = [(old, new.replace("\\\\", "\\")) for old, new in table("r_arguments")]

    def in_r(text):
        for old, new in phrases:
            text = text.replace(old, new)
        for old, new in names:
            text = re.sub(rf"(^|[^'\w.]){old}($|[^'\w])", rf"\g<1>{new}\g<2>", text)
        for old, new in patterns:
            text = re.sub(old, new, text)
        return text

    arguments = {name for name in _arguments() if "_" in name} | {"groupby", "group1", "group2"}
    words = rf"{PYTHON_WORDS}|(?<!['\w-])(?:{'|'.join(sorted(arguments))})(?!['\w])|--[a-z]"
    assert phrases and names and patterns
    for module, text in _met_by_others(
        {
            "cli",
            "paths",
            "outputs",
            "rengine",
            "checkpoint",
            "filtering",
            "rank",
            "backed",
            "regulators",
        }
    ):
        left = re.findall(words, re.sub(r"(make[.]unique|subset)\(\)", "", in_r(text)))
        assert not left, (module, in_r(text), left)


# ---- cells and containers ------------------------------------------------------------------------


@case
def same_cells(w):
    rna, atac = w.rna[10:].copy(), w.atac[:-10].copy()
    shared = rna.obs_names.intersection(atac.obs_names)
    pair, kept = (rna, atac), (rna[shared].copy(), atac[shared].copy())
    yield lambda: SCMVP(pair), lambda: SCMVP(kept)
    yield lambda: SCMVP(pair), lambda: SCMVP(pair, mosaic=True)
    for modality, adata in (("rna", rna), ("atac", atac)):
        adata.write_h5ad(w.tmp / f"{modality}.h5ad")
    for backed in (False, True):
        yield (
            lambda backed=backed: scmvp.read(w.tmp, backed),
            lambda backed=backed: scmvp.read(w.tmp, backed, mosaic=True),
        )
    yield lambda: scmvp.filter_paired(pair, 1, 1, 1), lambda: scmvp.filter_paired(kept, 1, 1, 1)
    other = w.atac.copy()
    other.obs_names = [f"{name}-1" for name in other.obs_names]

    def same_names():
        other.obs_names = w.rna.obs_names
        SCMVP((w.rna, other))

    yield lambda: SCMVP((w.rna, other)), same_names


def test_only_what_takes_mosaic_advises_it(world, refused):
    rna, atac = world.rna[10:].copy(), world.atac[:-10].copy()
    coordinates = pd.DataFrame({"gene": ["a"], "chrom": "chr1", "tss": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mosaic = MuData({"rna": rna, "atac": atac})
    for call in (
        lambda: scmvp.filter_paired((rna, atac), 1, 1, 1),
        lambda: scmvp.link_peaks_lasso((rna, atac), coordinates),
        lambda: scmvp.write_rds(mosaic, world.tmp / "x.rds"),
    ):
        sentence = refused(call, "10 only in RNA", "10 only in ATAC", "keep the 100 shared cells")
        assert "mosaic" not in sentence
    assert "mosaic=True" in refused(lambda: SCMVP((rna, atac)))


def _runs(w):
    return {name: write_run(w.tmp / name, run) / "outs" for name, run in draw_runs().items()}


def _read_samples(*arguments, **options):
    return lambda: scmvp.read_samples(*arguments, **options)


@case
def samples(w):
    runs = draw_runs()
    paths = _runs(w)
    one = paths["donor1"]
    good = _read_samples(paths)
    yield lambda: scmvp.read([*paths.values()]), good
    yield _read_samples([]), _read_samples([*paths.values()])
    yield _read_samples({"": one}), _read_samples({"a": one})
    yield _read_samples({"a": one, "b": one}), _read_samples({"a": one})
    again = write_run(w.tmp / "again" / "donor1", runs["donor1"]) / "outs"
    both = [again, paths["donor2"]]
    other = write_run(w.tmp / "again" / "donor2", runs["donor1"]) / "outs"
    yield _read_samples([other, paths["donor2"]]), _read_samples({"a": other, "b": both[1]})
    yield _read_samples({"a": one, "b": again}), _read_samples({"a": one})

    def written(name, run, **changes):
        return write_run(w.tmp / name, run, **changes) / "outs"

    first, second = draw_runs().values()
    first.cells[0], second.cells[0] = "b_x", "x"
    clash = {"a": written("e", first), "a_b": written("f", second)}
    yield _read_samples(clash), _read_samples(dict(zip("cd", clash.values(), strict=True)))
    second = runs["donor2"]
    genes = [f"ENSG{i}" for i in range(50)]
    ids = written("g", second, names=[*genes, *second.names])
    yield _read_samples({"a": one, "b": ids}), good
    second.peaks = [(chrom[3:], start, end) for chrom, start, end in second.peaks]
    yield _read_samples({"a": one, "b": written("h", second)}), good
    # peaks of one half of the genome and of the other, which the third has both
    half = {"a": draw_runs()["donor1"], "b": draw_runs()["donor2"], "c": draw_runs(1)["donor1"]}
    for name, chrom in (("a", "chr1"), ("b", "chr2")):
        half[name].peaks = [peak for peak in half[name].peaks if peak[0] == chrom]
    half["c"].peaks = half["a"].peaks + half["b"].peaks
    halves = {name: written(f"half-{name}", run) for name, run in half.items()}
    yield _read_samples(halves, peaks="shared"), _read_samples(halves)


@case
def peaks_to_count(w):
    run, path = draw_runs()["donor1"], _runs(w)["donor1"]
    file = path / "atac_fragments.tsv.gz"
    bed = w.tmp / "peaks.bed"

    def count(peaks=run.names, cells=run.cells):
        return lambda: scmvp.count_fragments(file, peaks, cells)

    def with_bed(text):
        def call():
            bed.write_text(text)
            return scmvp.count_fragments(file, bed, run.cells)

        return call

    tabs = "chr1\t0\t900000\nchr2\t0\t900000\n"
    yield count(["peak1"]), count()
    yield count(cells="AAA-1"), count()
    yield count(cells=run.cells * 2), count()
    yield with_bed(tabs.replace("\t", " ")), with_bed(tabs)
    yield with_bed(tabs + "chr1\t5\t9\n"), with_bed(tabs)
    samples = {"a": path}
    yield _read_samples(samples, peaks=bed), _read_samples(samples, peaks=bed, fragments=True)
    yield _read_samples(samples, peaks=bed), _read_samples(samples)


@case
def files_of_fragments(w):
    runs, paths = draw_runs(), _runs(w)
    own = {name: path / "atac_fragments.tsv.gz" for name, path in paths.items()}
    good = _read_samples(paths, fragments=own)
    yield _read_samples(paths, fragments="yes"), _read_samples(paths, fragments=True)
    yield _read_samples(paths, fragments="yes"), good
    yield _read_samples(paths, fragments={"donor1": own["donor1"]}), good
    swapped = dict(zip(own, [*own.values()][::-1], strict=True))
    yield _read_samples(paths, fragments=swapped), good
    rows = runs["donor1"].fragments
    renamed = write_fragments(w.tmp / "a.tsv", [(chrom[3:], *rest) for chrom, *rest in rows])
    yield _read_samples(paths, fragments=own | {"donor1": renamed}), good
    cells = runs["donor1"].cells
    places = [row[:3] for row in runs["donor2"].fragments]
    other = [(*place, cells[i % len(cells)]) for i, place in enumerate(places)]
    path = write_fragments(w.tmp / "b.tsv", other)
    yield _read_samples(paths, fragments=own | {"donor1": path}), good
    moved = {name: file.rename(w.tmp / f"{name}.tsv.gz") for name, file in own.items()}
    yield _read_samples(paths, fragments=True), _read_samples(paths, fragments=moved)


@case
def update(w):
    def renamed():
        mdata = w.mdata.copy()
        for modality in ("rna", "atac"):
            mdata.mod[modality].obs_names = [f"new_{name}" for name in w.cells]
        return mdata

    def less():
        mdata = w.mdata.copy()
        for modality in ("rna", "atac"):
            mdata.mod[modality] = mdata.mod[modality][:-5].copy()
        return mdata

    def updated(mdata):
        mdata.update()
        return mdata

    def cicero(mdata):
        return scmvp.run_cicero(mdata, groups="none")

    def write(mdata):
        return scmvp.write_rds(mdata, w.tmp / "x.rds")

    for mdata in (renamed, less):
        yield lambda mdata=mdata: SCMVP(mdata()), lambda mdata=mdata: SCMVP(updated(mdata()))
        yield lambda mdata=mdata: write(mdata()), lambda mdata=mdata: write(updated(mdata()))
    yield lambda: cicero(renamed()), lambda: cicero(updated(renamed()))
    yield lambda: write(less()), lambda: write(less()[less()["rna"].obs_names])


@case
def exchanged(w):
    yield lambda: SCMVP((w.atac, w.rna)), lambda: SCMVP((w.rna, w.atac))


def _emptied(adata, cell, column=None):
    """The same with no counts in a cell, but in one column that no other cell has counts in."""
    counts = adata.X.toarray()
    counts[cell] = 0
    if column is not None:
        counts[:, column], counts[cell, column] = 0, 3
    adata = adata.copy()
    adata.X = sp.csr_matrix(counts)
    return adata


@case
def empty_cells(w):
    pair = _emptied(w.rna, 3), _emptied(w.atac, 3)
    yield lambda: SCMVP(pair), lambda: SCMVP(scmvp.filter_paired(pair, 1, 1, 1, verbose=False))
    rare = _emptied(w.rna, 3, column=0), pair[1]
    keep = np.arange(120) != 3
    kept = tuple(adata[keep].copy() for adata in rare)
    yield lambda: SCMVP(rare), lambda: SCMVP(kept)
    model = SCMVP(kept, n_clusters=2).train(**QUICK)
    yield lambda: model.predict(rare), lambda: model.predict(kept)


@case
def unique_names(w):
    def doubled(what):
        pair = w.rna.copy(), w.atac.copy()
        for adata in pair:
            names = list(getattr(adata, what))
            setattr(adata, what, [names[1], *names[1:]])
        return pair

    def obs():
        pair = doubled("obs_names")
        for adata in pair:
            adata.obs_names_make_unique()
        SCMVP(pair)

    def var():
        pair = doubled("var_names")
        for adata in pair:
            adata.var_names_make_unique()
        SCMVP(pair)

    yield lambda: SCMVP(doubled("obs_names")), obs
    yield lambda: SCMVP(doubled("var_names")), var


@case
def numbers(w):
    counts = w.rna.X

    def changed(function):
        rna = w.rna.copy()
        rna.X = function(counts)
        return lambda: SCMVP((rna, w.atac))

    def with_value(value):
        def function(counts):
            counts = counts.copy()
            counts.data[0] = value
            return counts

        return function

    raw = changed(lambda counts: counts)
    for function in (lambda x: x * 0.5, with_value(-1), with_value(np.nan), with_value(1e9)):
        yield changed(function), raw
    yield changed(with_value(np.nan)), changed(with_value(0))
    yield changed(with_value(1e9)), changed(with_value(16_777_216))
    names = w.rna.obs_names, w.rna.var_names
    on_disk = counts.data.astype(complex), counts.indices, counts.indptr, counts.shape
    on_disk = DiskRows(StoredCsr(*on_disk))
    for odd in (on_disk, np.full(counts.shape, "1"), counts.T.tocsr()):
        yield (
            lambda odd=odd: count_matrix(odd, "rna", *names),
            lambda: count_matrix(counts, "rna", *names),
        )


@case
def places(w):
    def write(path):
        return w.model.impute_to_file(path, "rna")

    yield lambda: write(w.tmp), lambda: write(w.tmp / "x.h5")
    yield lambda: write(w.tmp / "no" / "x.h5"), lambda: write(w.tmp / "y.h5")
    yield lambda: write("/dev/null"), lambda: write(w.tmp / "z.h5")
    yield lambda: write(""), lambda: write(w.tmp / "w.h5")
    yield lambda: write(w.tmp / "x.csv"), lambda: write(w.tmp / "csv.h5")
    w.mdata.write_h5mu(w.tmp / "cells.h5mu")
    cells = scmvp.read(w.tmp / "cells.h5mu", backed=True)
    yield (
        lambda: w.model.impute_to_file(w.tmp / "cells.h5mu", "rna", cells),
        lambda: w.model.impute_to_file(w.tmp / "v.h5", "rna", cells),
    )
    w.monkeypatch.setattr("scmvp.files.os.access", lambda path, mode: path != w.tmp)
    (w.tmp / "sub").mkdir()
    yield lambda: write(w.tmp / "x.h5"), lambda: write(w.tmp / "sub" / "x.h5")


def _one_adata(w, types=("Gene Expression", "Peaks")):
    both = anndata.concat([w.rna, w.atac], axis=1)
    if types is not None:
        both.var["feature_types"] = np.repeat(types, [w.rna.n_vars, w.atac.n_vars])
    return both


@case
def types(w):
    yield lambda: SCMVP(_one_adata(w, None)), lambda: SCMVP(_one_adata(w))
    yield lambda: SCMVP(_one_adata(w, None)), lambda: SCMVP((w.rna, w.atac))
    yield lambda: SCMVP(_one_adata(w, ("HTO", "HTO"))), lambda: SCMVP(_one_adata(w))
    w.rna.var["feature_types"], w.atac.var["feature_types"] = "Gene Expression", "Peaks"
    yield lambda: SCMVP((w.atac, w.atac)), lambda: SCMVP((w.rna, w.atac))


@case
def layers(w):
    def with_x(x, *layers):
        rna = w.rna.copy()
        for layer in layers:
            rna.layers[layer] = w.rna.X.copy()
        rna.X = x
        return rna, w.atac

    pair = with_x(w.rna.X, "counts")
    for layer in ("counts", "X", None):  # those named, and none
        yield (
            lambda: SCMVP(pair, rna_layer="spliced"),
            lambda layer=layer: SCMVP(pair, rna_layer=layer),
        )
    yield lambda: SCMVP(with_x(None, "a")), lambda: SCMVP(with_x(None, "a"), rna_layer="a")
    yield lambda: SCMVP(with_x(None)), lambda: SCMVP(with_x(w.rna.X))
    half = with_x(w.rna.X * 0.5, "a")
    yield lambda: SCMVP(half), lambda: SCMVP(half, rna_layer="a")
    binary = with_x((w.rna.X > 0).astype(np.float32), "counts")
    yield lambda: SCMVP(binary), lambda: SCMVP(binary, rna_layer="counts")
    time = np.linspace(0, 1, 120)
    mdata = w.mdata.copy()
    mdata["rna"].layers["counts"], mdata["rna"].X = w.rna.X.copy(), w.rna.X * 0.5
    yield (
        lambda: scmvp.features_along(mdata, "rna", pseudotime=time),
        lambda: scmvp.features_along(mdata, "rna", pseudotime=time, layer="counts"),
    )


@case
def query_counts(w):
    def query():
        adata = w.rna.copy()
        adata.layers["counts"], adata.X = w.rna.X.copy(), w.rna.X * 0.5
        return adata

    def into_x():
        adata = query()
        adata.X = adata.layers["counts"]
        w.model.predict((adata, w.atac))

    yield lambda: w.model.predict((query(), w.atac)), into_x
    raw = w.rna.copy()
    raw.raw = w.rna
    raw.X = w.rna.X * 0.5
    yield (
        lambda: w.model.predict((raw, w.atac)),
        lambda: w.model.predict((raw.raw.to_adata(), w.atac)),
    )
    protein = w.rna[:, :3]
    other = Paired({"protein": protein.X.tocsr()}, {"protein": np.array(list("abc"))}, w.cells)
    yield lambda: w.model.predict(other), lambda: w.model.predict((w.rna, None))


@case
def containers(w):
    yield lambda: SCMVP(w.rna.X), lambda: SCMVP(w.mdata)
    yield lambda: SCMVP([w.rna.X]), lambda: SCMVP((w.rna, w.atac))
    yield lambda: SCMVP(w.rna.X), lambda: SCMVP(_one_adata(w))

    def named(**mod):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return MuData(mod)

    def both():
        return named(rna=w.rna.copy(), atac=w.atac.copy())

    yield lambda: SCMVP(named(a=w.rna.copy(), atac=w.atac.copy())), lambda: SCMVP(both())
    yield lambda: SCMVP(named(rna=w.rna.copy())), lambda: SCMVP((w.rna, w.atac))
    twice = {"gex": w.rna.copy(), "genes": w.rna.copy(), "atac": w.atac.copy()}
    meant = {"rna": w.rna.copy(), "genes": w.rna.copy(), "atac": w.atac.copy()}
    yield lambda: SCMVP(named(**twice)), lambda: SCMVP(named(**meant))
    yield lambda: SCMVP(MuData({"rna": w.rna, "atac": w.atac}, axis=1)), lambda: SCMVP(both())


# ---- files ---------------------------------------------------------------------------------------


@case
def absent_layers(w):
    w.mdata.write_h5mu(w.tmp / "cells.h5mu")
    for backed in (False, True):
        yield (
            lambda backed=backed: scmvp.read(w.tmp / "cells.h5mu", backed, protein_layer="x"),
            lambda backed=backed: scmvp.read(w.tmp / "cells.h5mu", backed),
        )
    yield lambda: SCMVP(w.mdata, protein_layer="x"), lambda: SCMVP(w.mdata)


@case
def counts_in_file(w):
    def written(x, **layers):
        mdata = w.mdata.copy()
        mdata["rna"].X = x
        mdata["rna"].layers.update(layers)
        mdata.write_h5mu(w.tmp / "cells.h5mu")
        return w.tmp / "cells.h5mu"

    for backed in (False, True):
        yield (
            lambda backed=backed: scmvp.read(written(None), backed),
            lambda backed=backed: scmvp.read(written(w.rna.X), backed),
        )
    both = {"counts": w.rna.X * 2}
    yield (
        lambda: scmvp.read(written(w.rna.X, **both)),
        lambda: scmvp.read(written(w.rna.X, **both), rna_layer="X"),
    )


@case
def on_disk(w):
    folder = TenX(w.mdata).write_folder(w.tmp / "ten_x")
    yield lambda: scmvp.read(folder, backed=True), lambda: scmvp.read(folder)
    columns = w.mdata.copy()
    columns["rna"].X = columns["rna"].X.tocsc()
    columns.write_h5mu(w.tmp / "columns.h5mu")
    w.mdata.write_h5mu(w.tmp / "rows.h5mu")
    path = w.tmp / "columns.h5mu"
    yield lambda: scmvp.read(path, backed=True), lambda: scmvp.read(path)
    rows = w.tmp / "rows.h5mu"
    yield lambda: scmvp.read(path, backed=True), lambda: scmvp.read(rows, backed=True)
    on_disk = scmvp.read(rows, backed=True)
    yield (
        lambda: SCMVP(on_disk, rna_layer="X"),
        lambda: SCMVP(scmvp.read(rows, backed=True, rna_layer="X")),
    )
    groups = np.tile(["a", "b"], 60), np.tile(["x", "x", "y", "y"], 30)
    for others in (lambda: scmvp.read(rows), lambda: read_h5mu(rows, backed=True)):
        yield (
            lambda: scmvp.pseudobulk(on_disk, *groups),
            lambda others=others: scmvp.pseudobulk(others(), *groups),
        )
    part, read = read_h5mu(rows, backed=True)[:60], read_h5mu(rows)
    yield lambda: w.model.add_to(part), lambda: w.model.add_to(read[:60])


@case
def kinds_of_files(w):
    (w.tmp / "pair").mkdir()
    w.rna.write_h5ad(w.tmp / "pair" / "rna.h5ad")

    def whole():
        w.atac.write_h5ad(w.tmp / "pair" / "atac.h5ad")
        return scmvp.read(w.tmp / "pair")

    (w.tmp / "cells.txt").write_text("cells")
    (w.tmp / "empty").mkdir()
    typed = w.tmp / "typed.h5ad"
    _one_adata(w).write_h5ad(typed)
    for path in (w.tmp / "cells.txt", w.tmp / "empty"):
        yield lambda path=path: scmvp.read(path), lambda: scmvp.read(typed)

    def as_bed(text):
        def call():
            (w.tmp / "bed" / "features.tsv").unlink(missing_ok=True)
            (w.tmp / "bed" / "peaks.bed").write_text(text)
            return scmvp.read(w.tmp / "bed")

        return call

    TenX(w.mdata).write_folder(w.tmp / "bed", gzipped=False)
    rows = "".join(f"chr1\t{i}00\t{i}50\n" for i in range(1, 1 + w.rna.n_vars + w.atac.n_vars))
    yield as_bed(rows.replace("\t", " ")), as_bed(rows)
    untyped = w.tmp / "untyped.h5ad"
    _one_adata(w, None).write_h5ad(untyped)
    yield lambda: scmvp.read(untyped), lambda: scmvp.read(typed)
    yield lambda: scmvp.read(untyped), whole

    h5 = TenX(w.mdata).write_h5(w.tmp / "cells.h5")
    for part in ("matrix/features", "matrix/features/feature_type"):
        odd = TenX(w.mdata).write_h5(w.tmp / "odd.h5")
        with h5py.File(odd, "a") as file:
            del file[part]
        yield lambda odd=odd: scmvp.read(odd), lambda: scmvp.read(h5)
        odd.unlink()
    yield lambda: scmvp.read(h5, rna_layer="a"), lambda: scmvp.read(h5)

    ten_x = TenX(w.mdata)
    folder = ten_x.write_folder(w.tmp / "ten_x", gzipped=False)
    features = (folder / "features.tsv").read_text()
    two = "".join("\t".join(line.split("\t")[:2]) + "\n" for line in features.splitlines())

    def with_features(text):
        (folder / "features.tsv").write_text(text)
        return scmvp.read(folder)

    for text in (two, features + features):
        yield lambda text=text: with_features(text), lambda: with_features(features)

    def without():
        (folder / "features.tsv").unlink()
        return scmvp.read(folder)

    yield without, lambda: with_features(features)

    other = w.tmp / "other.h5mu"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MuData({"a": w.rna.copy(), "b": w.atac.copy()}).write_h5mu(other)

        def renamed():
            MuData({"rna": w.rna.copy(), "atac": w.atac.copy()}).write_h5mu(other)
            return scmvp.read(other)

    yield lambda: scmvp.read(other), renamed


@case
def memory(w):
    path = w.tmp / "cells.h5mu"
    w.mdata.write_h5mu(path)

    def no_memory(*arguments, **options):
        raise MemoryError

    w.monkeypatch.setattr("scmvp.data.io.read_h5mu", no_memory)
    yield lambda: scmvp.read(path), lambda: scmvp.read(path, backed=True)
    arguments = ["fit", str(path), "--out", str(w.tmp / "out"), "--max-epochs", "1", "--quiet"]
    arguments += ["--n-clusters", "2", "--threads", "1"]
    yield (
        lambda: cli.main([*arguments, "--backed", "no"]),
        lambda: cli.main([*arguments, "--backed", "yes"]),
    )
    w.monkeypatch.setattr("scmvp.data.io.read_h5mu", lambda path: w.mdata)
    model = SCMVP.train
    w.monkeypatch.setattr(SCMVP, "train", no_memory)

    def enough():
        w.monkeypatch.setattr(SCMVP, "train", model)
        return cli.main([*arguments, "--overwrite"])

    yield lambda: cli.main([*arguments, "--overwrite"]), enough


@case
def saved_models(w):
    folder = w.tmp / "model"
    info, weights = folder / "model.json", folder / "weights.safetensors"

    def damaged(change):
        def load():
            w.model.save(folder, overwrite=True)
            change()
            return SCMVP.load(folder)

        return load

    def again():
        w.model.save(folder, overwrite=True)
        return SCMVP.load(folder)

    def with_info(signed=True, **changes):
        def change():
            values = json.loads(info.read_text()) | changes
            values = {name: value for name, value in values.items() if value != "gone"}
            values = scmvp.storage.signed(values) if signed else values
            info.write_text(json.dumps(values))

        return change

    def with_weights(**changes):
        from safetensors.torch import load_file, save_file

        def change():
            tensors = {name: values.clone() for name, values in load_file(weights).items()}
            name = next(name for name in tensors if tensors[name].is_floating_point())
            tensors[name] = changes["value"](tensors[name])
            save_file(tensors, weights)
            digest = scmvp.storage.hashlib.sha256(weights.read_bytes()).hexdigest()
            with_info(weights_sha256=digest)()

        return change

    genes, options = w.model.genes.tolist(), w.model.info()["model_options"]
    large = options | {"n_hidden": 10**7 * options["n_heads"]}
    for change in (
        info.unlink, weights.unlink, lambda: info.write_text("{"), lambda: info.write_text("{}"),
        with_info(genes="gone"), with_info(signed=False, preset="paper"), with_info(genes=[1]),
        with_info(genes=genes[:1] * len(genes)), lambda: weights.write_bytes(b"1234"),
        with_info(weights_sha256="0"), with_info(model_options=large), with_info(training=[]),
        with_weights(value=lambda x: x.flatten()[:1]), with_weights(value=lambda x: x * np.nan),
    ):  # fmt: skip
        yield damaged(change), again
    file = w.tmp / "file"
    file.write_text("")
    yield lambda: w.model.save(file), again
    yield lambda: w.model.save(folder), lambda: w.model.save(folder, overwrite=True)


@case
def checkpoints(w):
    path, model = w.tmp / "state", SCMVP(w.mdata, n_clusters=2)

    def stopped(**options):
        def stop(state):
            raise RuntimeError

        path.unlink(missing_ok=True)
        count = iter(range(9))
        with pytest.raises(RuntimeError):
            model.train(
                max_epochs=3, threads=1, checkpoint=path, **options,
                callback=lambda state: stop(state) if next(count) else None,
            )  # fmt: skip

    def train(**options):
        return model.train(max_epochs=3, threads=1, checkpoint=path, **options)

    def anew():
        path.unlink()
        train()

    def elsewhere():
        model.train(max_epochs=1, threads=1, checkpoint=w.tmp / "other")

    path.write_text("1")
    yield train, elsewhere
    w.model.save(w.tmp / "model")
    path.write_bytes((w.tmp / "model" / "weights.safetensors").read_bytes())
    yield train, elsewhere
    stopped(seed=1)
    path.write_bytes(path.read_bytes().replace(b"scmvp-checkpoint-7", b"scmvp-checkpoint-1"))
    yield train, elsewhere
    yield train, anew
    stopped(seed=1)
    path.write_bytes(path.read_bytes()[:-9])
    yield train, anew
    stopped(seed=1)
    yield train, lambda: train(seed=1)
    stopped(seed=1)
    yield train, anew
    stopped()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    yield train, anew


# ---- the model -----------------------------------------------------------------------------------


@case
def options(w):
    def model(**given):
        return lambda: SCMVP(w.mdata, **given)

    def train(**given):
        return lambda: SCMVP(w.mdata, n_clusters=2).train(**(QUICK | given))

    yield model(options=["distil"]), model(options={"distil": True})
    yield model(options={"hidden": 8}), model(options={"n_hidden": 128})
    yield model(options={"distil": 1}), model(options={"distil": True})
    yield model(options={"input_noise": -1}), model(options={"input_noise": 0.0})
    yield model(n_latent="8"), model(n_latent=8)
    yield model(n_latent=0.5), model(n_latent=1)
    yield train(lr=0), train(lr=0.01)
    yield model(options={"n_hidden": 10}), model(options={"n_hidden": 16})
    yield model(n_clusters=61), model(n_clusters=60)
    yield train(validation_fraction=0), train(validation_fraction=0.05)


@case
def names(w):
    genes = w.model.genes
    expression = w.model.get_normalized_expression
    for odd in (genes[0], ["no gene"], []):
        for right in ([genes[0]], None):
            yield lambda odd=odd: expression(genes=odd), lambda right=right: expression(genes=right)


@case
def model_states(w):
    yield lambda: SCMVP(w.mdata).predict(), lambda: SCMVP(w.mdata).train(**QUICK).predict()
    w.model.save(w.tmp / "model")
    loaded = SCMVP.load(w.tmp / "model")
    yield loaded.train, lambda: SCMVP(w.mdata, n_clusters=2).train(**QUICK)
    yield loaded.predict, lambda: loaded.predict(data=w.mdata)
    yield (
        lambda: loaded.get_normalized_expression(genes=loaded.genes[:2]),
        lambda: loaded.get_normalized_expression(data=w.mdata, genes=loaded.genes[:2]),
    )


@case
def latent_points(w):
    right = w.model.get_latent_representation()
    for odd in (right[:, :3], right[:0], right * np.nan, [[1, 2], [1]]):
        yield lambda odd=odd: w.model.decode(odd, "rna"), lambda: w.model.decode(right, "rna")

    def written(cells, threshold=None):
        path = w.tmp / "points.h5ad"
        path.unlink(missing_ok=True)
        try:
            w.model.decode_to_file(path, right, "rna", cells, threshold=threshold)
        except InputError:
            assert not path.exists()
            raise
        table = anndata.read_h5ad(path)
        assert table.obs_names.tolist() == list(w.cells)
        assert (np.asarray(table.X.sum(1)) > 0).all()

    names = list(w.cells)
    for odd in (names[:3], [*names, "a"], [*names[:-1], names[0]], None, "cell", [], iter(["a"])):
        for threshold in (None, 1.0):
            yield lambda odd=odd, at=threshold: written(odd, at), lambda: written(iter(names))


@case
def odd_kinds(w):
    rna, atac, t = w.rna.X, w.atac.X, np.arange(w.mdata.n_obs)
    model = SCMVP(w.mdata, n_clusters=2, min_cells=1)

    def along(values):
        return lambda: scmvp.features_along(w.mdata, "rna", pseudotime=values)

    def between(labels):
        return lambda: w.model.differential_expression(w.mdata, groupby=labels, genes=["Gene0001"])

    yield along(np.array(["a"] * len(t))), along(t)
    labels = w.mdata.obs[["cell_type"]]
    yield between(labels), between(labels["cell_type"])
    yield lambda: w.model.save(None), lambda: w.model.save(str(w.tmp / "model"))
    target = w.mdata.copy()
    yield lambda: w.model.add_to(target.obs), lambda: w.model.add_to(target)
    yield lambda: model.train(**QUICK, callback=3), lambda: model.train(**QUICK, callback=dict)
    yield lambda: model.train(**QUICK, progress=3), lambda: model.train(**QUICK, progress=False)
    number = scmvp.estimate_n_clusters
    yield lambda: number(rna[:9], atac), lambda: number(rna, atac)
    yield lambda: number(w.rna, w.atac), lambda: number(w.rna.X, w.atac.X)
    design = np.ones((len(t), 1))
    yield lambda: number(rna, atac, design=design[:9]), lambda: number(rna, atac, design=design)


@case
def diverged(w):
    from scmvp.fit.training import Trainer

    evaluate = Trainer._evaluate

    def steep(self, cells):
        """What too large steps do, which this seed and these cells need not do."""
        terms = evaluate(self, cells)
        odd = self.options.lr > 0.5
        nowhere = [term * np.nan for term in terms.named().values()]
        return terms.like(nowhere) if odd else terms

    w.monkeypatch.setattr(Trainer, "_evaluate", steep)
    model = SCMVP(w.mdata, n_clusters=2)
    yield lambda: model.train(**QUICK, lr=1), lambda: model.train(**QUICK, lr=0.005)


@case
def batches(w):
    def model(batch):
        return lambda: SCMVP(w.mdata, batch=batch)

    w.mdata.obs["one"], w.mdata.obs["many"] = "a", [f"cell {i}" for i in range(120)]
    w.mdata.obs["lacking"] = ["a", None, *["b"] * 118]
    w.monkeypatch.setattr("scmvp.data.covariates.MOST_LEVELS", 100)
    yield model("dono"), model("donor")
    twice = w.mdata.copy()
    twice.obs = pd.concat([twice.obs, twice.obs[["donor"]]], axis=1)

    def once():
        twice.obs = twice.obs.loc[:, ~twice.obs.columns.duplicated()]
        SCMVP(twice, batch="donor")

    yield lambda: SCMVP(twice, batch="donor"), once
    yield model(3), model("donor")
    yield model([3]), model(["donor", "lane"])
    yield model(["donor", "donor"]), model(["donor"])
    yield model("one"), model(None)
    yield model("many"), model("donor")

    def filled():
        w.mdata.obs["lacking"] = w.mdata.obs["lacking"].fillna("a")
        SCMVP(w.mdata, batch="lacking")

    yield model("lacking"), filled


@case
def levels(w):
    def impute(batch):
        return lambda: w.batched.get_normalized_expression(genes=w.model.genes[:2], batch=batch)

    yield impute("a"), impute({"donor": "a"})
    yield impute({"plate": "a"}), impute({"donor": "a", "lane": "x"})
    yield impute({"donor": "q"}), impute({"donor": "b"})
    genes = w.model.genes[:2]
    yield (
        lambda: w.model.get_normalized_expression(genes=genes, batch="a"),
        lambda: w.model.get_normalized_expression(genes=genes),
    )


@case
def query_features(w):
    half = w.rna[:, ::2].copy(), w.atac
    other = w.atac.copy()
    other.var_names = [f"chrX-{i}-{i + 9}" for i in range(other.n_vars)]
    for odd in (half, (w.rna, other)):
        yield lambda odd=odd: w.model.predict(odd), lambda: w.model.predict((w.rna, w.atac))


@case
def rare_features(w):
    few = w.rna[:25].copy(), w.atac[:25].copy()
    yield lambda: SCMVP(few, min_cells=26), lambda: SCMVP(few, min_cells=2)
    yield lambda: SCMVP(few, min_cells=26), lambda: SCMVP(w.mdata, min_cells=26)

    def filtered(*given):
        return lambda: scmvp.filter_paired(w.mdata, *given, verbose=False)

    yield filtered(10_000, 1, 1), filtered(1, 1, 1)
    yield filtered(1, 10_000, 1), filtered(1, 1, 1)
    yield filtered(1, 1, 121), filtered(1, 1, 10)


@case
def groups(w):
    def test(**given):
        return lambda: w.model.differential_expression(w.mdata, **given)

    kind = w.mdata.obs["cell_type"].astype(str)
    first, second, third = sorted(set(kind))
    mask = (kind == first).to_numpy()
    right = test(groupby="cell_type")
    yield lambda: w.model.differential_expression(groupby="cell_type"), right
    yield (
        lambda: w.model.differential_expression(groupby="cell_type"),
        lambda: w.model.differential_expression(groupby=list(kind)),
    )
    yield test(groupby=list(kind)[:5]), test(groupby=list(kind))
    yield test(groupby=["a"] * 120), right
    yield (
        test(groupby="cell_type", group2=first),
        test(groupby="cell_type", group1=[second, third], group2=first),
    )
    yield (
        test(groupby="cell_type", group1=first, group2=[first, second]),
        test(groupby="cell_type", group1=first, group2=[second]),
    )
    yield test(groupby="cell_type", group1="none"), test(groupby="cell_type", group1=first)
    yield test(groupby="cell_type", group1=[]), right
    yield test(group1=[[0]]), test(group1=mask)
    yield test(group1=[[0]]), test(group1=list(w.cells[mask]))
    yield test(group1=mask[:7]), test(group1=mask)
    missing = pd.array([None, *mask[1:]], dtype="boolean")
    yield test(group1=missing), test(group1=mask)
    yield test(groupby=[f"{i // 2}" for i in range(120)]), right
    yield test(group1=["no cell"]), test(group1=list(w.cells[:9]))
    yield test(group1=list(w.cells[:2])), test(group1=list(w.cells[:3]))
    yield (
        test(group1=list(w.cells[:9]), group2=list(w.cells[8:30])),
        test(group1=list(w.cells[:9]), group2=list(w.cells[9:30])),
    )
    for given in ((list(kind), None, None), (None, mask, None), (None, w.cells[:9], None)):
        yield (
            lambda: groups_of(w.cells, None, None, None),
            lambda given=given: groups_of(w.cells, *given),
        )


@case
def tables_for_scanpy(w):
    def add(table, adata=w.rna, groupby="cell_type"):
        return lambda: scmvp.add_rank_genes_groups(adata, table, groupby)

    w.rna.obs["cell_type"] = w.mdata.obs["cell_type"].to_numpy()
    w.rna.obs["one"] = "a"
    test = w.model.differential_expression
    table = test(w.mdata, groupby="cell_type")
    yield add(w.rna.var), add(table)
    yield add(table, w.atac), add(table, w.rna)
    for column in ("typo", "one"):
        yield add(table, groupby=column), add(table)
    w.mdata.obs["code"] = pd.Categorical(w.mdata.obs["cell_type"]).codes.astype(int)
    w.rna.obs["code"] = w.mdata.obs["code"].to_numpy()
    by_code = test(w.mdata, groupby="code")
    as_told = w.rna.copy()
    as_told.obs["code"] = as_told.obs["code"].astype("category")
    yield add(by_code, groupby="code"), add(by_code, as_told, "code")
    yield add(test(w.mdata, groupby="cell_type", only_pos=True)), add(table)
    yield add(pd.concat([table, table])), add(table)


@case
def groups_of_batches(w):
    lane = w.mdata.obs["lane"].to_numpy()
    named = {"groupby": lane, "group1": lane[0]}
    yield (
        lambda: w.batched.differential_expression(w.mdata, **named),
        lambda: w.batched.differential_expression(w.mdata, groupby="cell_type"),
    )
    yield (
        lambda: w.batched.differential_expression(w.mdata, **named),
        lambda: w.model.differential_expression(w.mdata, **named),
    )


@case
def too_few_to_score(w):
    yield (
        lambda: w.model.doublet_scores(w.mdata[:49].copy()),
        lambda: w.model.doublet_scores(w.mdata[:50].copy()),
    )


@case
def one_component(w):
    one = SCMVP(w.mdata, n_clusters=1, min_cells=1).train(**QUICK)
    yield one.doublet_scores, w.model.doublet_scores


@case
def label_files(w):
    path = w.tmp / "labels.csv"

    def labels(text):
        def read():
            path.write_text(text)
            labels_in(str(path), w.cells)

        return read

    rows = "".join(f"{cell},a\n" for cell in w.cells)
    right = labels(f"cell,label\n{rows}")
    for odd in ("", "cell\nx\n", f"cell,label\n{rows}{rows}", "cell,label\nx,a\n"):
        yield labels(odd), right


# ---- along a latent ------------------------------------------------------------------------------


@case
def few_pseudotimes(w):
    counts, time = w.rna.X, np.linspace(0, 1, 120)

    def along(time, **given):
        return lambda: scmvp.features_along(counts, pseudotime=time, **given)

    five = np.floor(5 * time * 0.999)
    yield along(five, df=8), along(five, df=3)
    yield along(np.floor(3 * time * 0.999)), along(np.floor(4 * time * 0.999), df=3)
    yield along(np.ones(120)), along(time)


@case
def matrix_along(w):
    counts, time = w.rna.X, np.linspace(0, 1, 120)
    right = {"pseudotime": time, "features": list(w.rna.var_names)}

    def along(data=counts, **given):
        return lambda: scmvp.features_along(data, **(right | given))

    yield along("counts"), along()
    yield along("counts"), lambda: scmvp.features_along(w.mdata, "rna", pseudotime=time)
    yield along((w.rna, w.atac)), lambda: scmvp.features_along(w.mdata, "rna", pseudotime=time)
    yield along(features=["a"]), along()
    yield along(pseudotime="scmvp_pseudotime"), along()
    yield along(layer="counts"), along()
    yield along(pseudotime=time[:9]), along()
    yield along(size=time[:9]), along(size=time + 1)
    yield along(counts.log1p()), along()


@case
def modality_along(w):
    time = np.linspace(0, 1, 120)

    def along(mdata, modality):
        return lambda: scmvp.features_along(mdata, modality, pseudotime=time)

    yield along(w.mdata, None), along(w.mdata, "rna")
    yield along(w.mdata, "adt"), along(w.mdata, "atac")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd, right = MuData({"a": w.rna.copy()}), MuData({"rna": w.rna.copy()})
    yield along(odd, "rna"), along(right, "rna")


@case
def column_along(w):
    def after_diffusion():
        scmvp.diffusion(w.mdata, root=w.cells[0])
        scmvp.features_along(w.mdata, "rna")

    w.mdata.obs["time"] = np.linspace(0, 1, 120)
    yield (
        lambda: scmvp.features_along(w.mdata, "rna"),
        lambda: scmvp.features_along(w.mdata, "rna", pseudotime="time"),
    )
    yield lambda: scmvp.features_along(w.mdata, "rna"), after_diffusion


@case
def cells_along(w):
    def along(cells):
        time = np.linspace(0, 1, 120)
        return lambda: scmvp.features_along(w.rna.X, pseudotime=time, cells=cells)

    yield along(np.ones(7, bool)), along(np.ones(120, bool))
    yield along(np.ones(7, bool)), along(np.arange(50))
    yield along(np.arange(29)), along(np.arange(30))

    def of_size(size):
        time = np.linspace(0, 1, 120)
        return lambda: scmvp.features_along(w.rna.X, pseudotime=time, size=size)

    yield of_size(np.full(120, np.inf)), of_size(np.ones(120))


@case
def latent_in_obsm(w):
    latent = w.mdata.obsm.pop("X_scmvp")
    mdata, root = w.mdata, w.cells[0]
    mdata.obsm["X_other"] = latent

    def there():
        mdata.obsm["X_scmvp"] = w.model.get_latent_representation()
        scmvp.diffusion(mdata, root=root)

    yield (
        lambda: scmvp.diffusion(mdata, root=root),
        lambda: scmvp.diffusion(mdata, root=root, use_rep="X_other"),
    )
    yield lambda: scmvp.diffusion(mdata, root=root), there
    yield lambda: scmvp.diffusion(latent[:, 0], root=0), lambda: scmvp.diffusion(latent, root=0)
    odd = latent.copy()
    odd[5] = np.nan
    keep = np.isfinite(odd).all(1)
    yield lambda: scmvp.diffusion(odd, root=0), lambda: scmvp.diffusion(odd[keep], root=0)


@case
def labels_by_name(w):
    mdata, latent = w.mdata, w.mdata.obsm["X_scmvp"]
    kind = mdata.obs["cell_type"].astype(str)

    def transfer(data, labels):
        return lambda: scmvp.transfer_labels(data, labels, latent)

    yield transfer(latent, "cell_type"), transfer(latent, list(kind))
    yield transfer(mdata, "kind"), transfer(mdata, "cell_type")
    yield transfer(mdata, list(kind)[:9]), transfer(mdata, list(kind))
    yield transfer(mdata, kind.iloc[:99]), transfer(mdata, kind.iloc[::-1])
    yield transfer(mdata, pd.concat([kind, kind.iloc[:1]])), transfer(mdata, kind)


@case
def roots(w):
    def order(**given):
        return lambda: scmvp.diffusion(w.mdata, **given)

    kind = str(w.mdata.obs["cell_type"].iloc[0])
    w.mdata.obs["all"] = "a"
    yield order(root="none", groupby="cell_type"), order(root=kind, groupby="cell_type")
    yield order(root="a", groupby="all"), order(root=w.cells[0])
    yield order(root=kind), order(root=w.cells[0])
    yield order(root=kind), order(root=kind, groupby="cell_type")


@case
def equal_cells(w):
    latent = w.mdata.obsm["X_scmvp"].copy()
    latent[1] = latent[0]
    kept = np.delete(latent, 1, axis=0)
    yield lambda: scmvp.diffusion(latent, root=0), lambda: scmvp.diffusion(kept, root=0)


@case
def parts(w):
    latent = w.mdata.obsm["X_scmvp"] + 100 * (np.arange(120) < 60)[:, None]

    def order(latent, n_neighbors):
        return lambda: scmvp.diffusion(latent, root=0, n_neighbors=n_neighbors)

    yield order(latent, 10), order(latent, 80)
    yield order(latent, 10), order(latent[:60], 10)


@case
def labels_to_transfer(w):
    latent, labels = w.mdata.obsm["X_scmvp"], w.mdata.obs["cell_type"].astype(str).to_numpy()

    def transfer(labels=labels, query=latent, **given):
        return lambda: scmvp.transfer_labels(latent, labels, query, **given)

    yield transfer(query=latent[:, :2]), transfer()
    yield transfer(calibration=latent[:9]), transfer(calibration=latent)
    none = np.full(120, None)
    few, enough = none.copy(), none.copy()
    few[:19], enough[:20] = labels[:19], labels[:20]
    yield transfer(few), transfer(enough)
    yield transfer(np.full(120, "a")), transfer()
    odd = np.where(np.arange(120) < 9, "unassigned", labels)
    yield transfer(odd), transfer(np.where(odd == "unassigned", None, odd))
    yield transfer(odd), transfer(np.where(odd == "unassigned", "other", odd))


# ---- R, simulation, command line -----------------------------------------------------------------


@case
def cicero(w):
    def run(data=w.mdata, **given):
        return lambda: scmvp.run_cicero(data, **given)

    w.mdata.obsm["X_lsi"] = w.mdata.obsm.pop("X_scmvp")

    def there():
        w.mdata.obsm["X_scmvp"] = w.model.get_latent_representation()
        scmvp.run_cicero(w.mdata)

    yield run(), run(reduction="X_lsi")
    yield lambda: scmvp.aggregate_cells((w.rna, w.atac)), run(reduction="X_lsi")
    yield run(), there
    for dims in ([99], 3, []):
        yield run(dims=dims), run(reduction="X_lsi", dims=[0, 3])
    yield run("peaks"), run(w.mdata)
    yield run("peaks"), run(w.atac, groups="none")
    yield run(w.atac, groups="none", dims=[0]), run(w.atac, groups="none")
    yield run(groups=3), run(groups=AnnData(sp.eye(120).tocsr(), obs=w.mdata.obs[[]]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = MuData({"rna": w.rna.copy(), "a": w.atac.copy()})
        right = MuData({"rna": w.rna.copy(), "atac": w.atac.copy()})
    yield run(odd, groups="none"), run(right, groups="none")
    bare = w.atac.copy()
    bare.layers["a"], bare.X = w.atac.X.copy(), None
    yield run(bare, groups="none"), run(bare, groups="none", layer="a")
    table = pd.DataFrame({"Peak1": ["a"], "Peak2": ["b"], "coaccess": [1.0]})
    yield lambda: scmvp.find_ccans(table[["Peak1"]]), lambda: scmvp.find_ccans(table)


@case
def lasso(w):
    coordinates = pd.DataFrame({"gene": w.rna.var_names, "chrom": "chr1", "tss": 1})

    def links(data, where=coordinates, names=None, **given):
        return lambda: scmvp.link_peaks_lasso(data, where, genes=names, **given)

    half = w.mdata.copy()
    for modality in ("rna", "atac"):
        adata = half[modality]
        adata.layers["counts"], adata.X = adata.X.copy(), adata.X * 0.5
    named = {"rna_layer": "counts", "atac_layer": "counts"}
    yield links(half), links(half, **named)
    for one in ("rna_layer", "atac_layer"):  # the other is still not counts
        side = {"rna_layer": "peaks", "atac_layer": "rna"}[one]
        for what in (f"{side}_imputed", f"{side}_log"):
            yield links(half), links(half, **{one: "counts", what: True})
    bare = w.mdata.copy()
    bare["rna"].var = bare["rna"].var[[]]
    yield links(bare, None), links(bare)

    def columns():
        bare["rna"].var["chrom"], bare["rna"].var["tss"] = "chr1", 1
        scmvp.link_peaks_lasso(bare)

    yield links(bare, None), columns
    name = w.rna.var_names[0]
    for genes in (name, 3):
        yield links(w.mdata, names=genes), links(w.mdata, names=[name])


@case
def written_for_r(w):
    def write(mdata, **given):
        return lambda: scmvp.write_rds(mdata, w.tmp / "x.rds", **given)

    yield write(w.rna), write(w.mdata)
    half = w.mdata.copy()
    half["rna"].layers["a"], half["rna"].X = half["rna"].X.copy(), half["rna"].X * 0.5
    yield write(half), write(half, rna_layer="a")
    unnamed = w.mdata.copy()
    unnamed["rna"].var_names = ["", *w.rna.var_names[1:]]
    yield write(unnamed), write(w.mdata)
    (w.tmp / "object.rds").write_text("")

    def add(imputed):
        return lambda: scmvp.add_to_rds(
            w.tmp / "object.rds", w.mdata, w.tmp / "y.rds", imputed={"rna": imputed}
        )

    def added(data):
        return lambda: scmvp.add_to_rds(w.tmp / "object.rds", data, w.tmp / "y.rds")

    yield added((w.rna, w.atac)), added(w.mdata)
    yield add(w.rna.X), add(w.rna)
    yield add(w.rna.X), add(w.rna.to_df())
    yield add(w.rna[:9]), add(w.rna)


@case
def simulated_cells(w):
    def simulate(**given):
        small = {"n_cells": 60, "n_genes": 60, "n_peaks": 90, "n_types": 3}
        return lambda: scmvp.simulate(**(small | given))

    def fitting(n_genes, n_peaks):
        return simulate(n_genes=n_genes, n_peaks=n_peaks, n_chromosomes=1)

    yield fitting(60, 100_000), fitting(3000, 1000)
    yield fitting(60, 100_000), fitting(60, 100)
    yield simulate(branches=2, n_types=4), simulate(branches=2, n_types=4, ordered=True)
    yield simulate(atac_lead=0.1), simulate(atac_lead=0.1, ordered=True)
    yield simulate(branches=2, ordered=True), simulate(branches=2, ordered=True, n_types=4)
    yield simulate(n_types=61), simulate(n_types=6)
    yield simulate(n_types=5, n_cells=4), simulate(n_types=5, n_cells=60)
    yield simulate(n_types=30), simulate(n_types=30, n_genes=100, n_peaks=100)
    yield simulate(n_types=30), simulate(n_types=10)


@case
def motifs_of_peaks(world):
    atac = world.atac
    peaks = atac.var_names
    table = pd.DataFrame(np.random.default_rng(0).random((len(peaks), 3)) < 0.2, peaks, list("abc"))
    table, gc = table.astype(float), pd.Series(np.linspace(0.3, 0.7, len(peaks)), peaks)
    atac.varm["known"], atac.var["gc"] = table, gc

    def run(motifs=table, gc=gc):
        return lambda: scmvp.motif_activity(world.mdata, motifs, gc=gc)

    for wrong in (
        "unknown",
        (table.to_numpy(), peaks[1:], list("abc")),
        table.iloc[:, :0],
        table.T,
        table.iloc[:-9],
        table.replace(1.0, np.nan),
        -table,
        table.iloc[:, [0, 0]],
        table.astype(str) + "?",
        table.to_numpy(),
        table * 0,
    ):
        yield run(wrong), run("known" if isinstance(wrong, str) else table)
    yield run(gc=gc.to_numpy()), run()
    yield run(gc=-gc), run()
    yield run(gc=pd.concat([gc, gc[:1]])), run()
    yield run(gc=None), run()
    yield run(gc="GC"), run(gc="gc")
    yield run(gc=gc.rename("x{}".format)), run()


@case
def activity_of_genes(world):
    var = world.rna.var
    genes = pd.DataFrame({"gene": var.index, "chr": var["chrom"], "tss": var["tss"]})
    bodies = genes.rename(columns={"tss": "start"}).assign(end=genes["tss"] + 9, strand="+")

    def run(genes, **options):
        return lambda: scmvp.gene_activity(world.mdata, genes, **options)

    def of_model(**options):
        return lambda: world.model.gene_activity(bodies, **options)

    yield run(bodies.assign(chr="x")), run(bodies)
    yield run(genes), run(genes, method="decay")
    for unused in ({"batch": "a"}, {"library_size": 5}):
        yield of_model(imputed=False, **unused), of_model(imputed=False)


@case
def links_of_peaks(world):
    var = world.rna.var
    genes = pd.DataFrame({"gene": var.index, "chr": var["chrom"], "tss": var["tss"]})
    labels = np.repeat(["a", "b"], world.mdata.n_obs)[: world.mdata.n_obs]

    def run(genes=genes, cells=None, **options):
        return lambda: world.model.link_peaks(genes, cells, **options)

    yield run(genes.assign(gene="none")), run()
    yield run(genes.assign(chr="x")), run()
    yield run(cells=world.mdata[:2].copy()), run(cells=world.mdata[:3].copy())
    yield run(groupby=labels[1:]), run(groupby=labels)
    yield run(groupby=[None] * len(labels)), run(groupby=labels)


@case
def factors(world):
    cells = world.cells
    z = np.random.default_rng(0).normal(size=(len(cells), 2))
    activity = AnnData(
        z, obs=pd.DataFrame(index=cells), var=pd.DataFrame({"gene": ["A", "B"]}, index=["m", "n"])
    )
    expression = pd.DataFrame(z, cells, ["A", "B"])
    links = pd.DataFrame({"gene": ["B"], "peak": ["p"], "score": [1.0]})
    table = pd.DataFrame([[1, 1]], ["p"], ["A", "B"])
    halves = np.arange(len(cells)) % 2

    def run(expression):
        return lambda: scmvp.motif_expression(activity, expression)

    yield (
        lambda: scmvp.rank_motifs(activity, halves * 0),
        lambda: scmvp.rank_motifs(activity, halves),
    )
    unnamed = activity.copy()
    del unnamed.var["gene"]
    yield lambda: scmvp.motif_expression(unnamed, expression), run(expression)
    twice = expression.set_axis(["A", "A"], axis=1)
    for wrong in (z, expression.set_axis(["X", "Y"], axis=1), expression.iloc[1:], twice):
        yield run(wrong), run(expression)
    yield lambda: scmvp.regulons([links], table), lambda: scmvp.regulons(links, table)
    yield (
        lambda: scmvp.regulons(links.drop(columns="score"), table),
        lambda: scmvp.regulons(links, table),
    )
    yield (
        lambda: scmvp.regulons(links, table.set_axis(["q"])),
        lambda: scmvp.regulons(links, table),
    )
    yield (
        lambda: scmvp.regulons(links, table, factors=["A", "C"]),
        lambda: scmvp.regulons(links, table, factors=["A"]),
    )


@case
def on_the_command_line(w):
    cells, model = w.tmp / "cells.h5mu", w.tmp / "model"
    w.mdata.write_h5mu(cells)
    w.batched.save(model)

    def run(*arguments):
        return lambda: cli.main([str(argument) for argument in arguments])

    def impute(*more, out=w.tmp / "x.h5"):
        return run("impute", model, cells, "--modality", "rna", "--out", out, "--quiet", *more)

    def fit(out, *more):
        given = ("--n-clusters", 2, "--max-epochs", 1, "--threads", 1, "--quiet")
        return run("fit", cells, "--out", out, *given, *more)

    right = impute("--batch", "donor=a", "lane=x")
    yield impute("--batch", "a", "x"), right
    yield impute("--batch", "a"), right
    names = w.tmp / "names.txt"
    names.write_text(" \n")

    def with_names():
        names.write_text(f"{w.model.genes[0]}\n{w.model.genes[1]}\n")
        return impute("--features", names)()

    yield impute("--features", names), with_names
    yield impute("--features", w.tmp / "none.txt"), with_names
    yield impute(out=w.tmp), impute()
    file, full, foreign = w.tmp / "file", w.tmp / "full", w.tmp / "foreign"
    file.write_text("")
    yield fit(file), fit(full)
    yield fit(file / "sub"), fit(w.tmp / "made" / "sub")
    yield fit(full), fit(full, "--overwrite")
    yield fit(full), fit(w.tmp / "another")
    foreign.mkdir()
    (foreign / "mine.txt").write_text("")
    yield fit(foreign, "--overwrite"), fit(w.tmp / "third")
    here = w.tmp / "here"
    here.mkdir()
    w.monkeypatch.chdir(here)
    yield fit(here), fit(here / "sub")
    for out in ("fourth", "fifth"):
        state = here / out / "state"
        yield (
            fit(here / out, "--checkpoint", state),
            fit(here / out, "--checkpoint", here / "state"),
        )
    level = "--n-clusters", 2, "--out", w.tmp / "level.csv", "--quiet"
    yield run("clusters", full / "model", *level), run("clusters", full, *level)
