"""Flags of the command line, and sentences in their words."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from .modalities import MODALITIES
from .progress import STANDARD_ERROR
from .version import __version__


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if re.match("unrecognized arguments: [^-]", message):
            message += "; make one file of several samples with scmvp join"
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=STANDARD_ERROR)
        self.exit(2)


def parser(
    verbs: Mapping[str, Callable[[argparse.Namespace, Any], int]],
) -> argparse.ArgumentParser:
    """The parser of all commands.

    Args:
        verbs: Function of each command.
    """
    parser = _Parser(
        prog="scmvp",
        description="Joint latent space, clusters and imputed profiles of single cells from RNA, "
        "open chromatin, proteins and DNA methylation.",
    )
    parser.add_argument("--version", action="version", version=f"scmvp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_join, _add_fit, _add_embed, _add_clusters, _add_report, _add_impute, _add_differential,
        _add_info,
    ):  # fmt: skip
        add(commands)
    for name, command in commands.choices.items():
        command.set_defaults(run=verbs[name])
    return parser


def _add_join(commands: argparse._SubParsersAction) -> None:
    join = commands.add_parser(
        "join", help="join several samples into one file for the other commands"
    )
    join.add_argument(
        "samples",
        nargs="+",
        metavar="[NAME=]PATH",
        help="a sample in any format that fit reads; its default name is that of its folder",
    )
    join.add_argument("--out", required=True, metavar="FILE", help=".h5mu file to write or replace")
    join.add_argument(
        "--peaks",
        default="union",
        metavar="WHICH",
        help="union (default), shared, or a BED file for --fragments",
    )
    join.add_argument(
        "--fragments",
        nargs="*",
        metavar="NAME=FILE",
        help="count all samples in the same peaks, from the atac_fragments.tsv.gz next to each "
        "matrix or from these files",
    )
    _add_layers(join)
    join.add_argument("--quiet", action="store_true", help="print nothing except errors")


def _add_fit(commands: argparse._SubParsersAction) -> None:
    fit = commands.add_parser("fit", help="fit the model and write latent, clusters and the model")
    _add_input(fit)
    fit.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    fit.add_argument("--report", action="store_true", help="also write DIR/report.html")
    fit.add_argument("--overwrite", action="store_true", help="replace an earlier result in DIR")
    fit.add_argument("--n-clusters", type=_positive_int, metavar="K", help="default: estimated")
    fit.add_argument(
        "--n-latent",
        type=_positive_int,
        metavar="D",
        help="dimensions of the latent; default 20, or 10 with preset paper",
    )
    fit.add_argument(
        "--max-epochs",
        type=_positive_int,
        metavar="N",
        help="default 60, or fewer (at least 12) for more than 10,000 cells or for deep cells",
    )
    fit.add_argument(
        "--batch-size", type=_positive_int, default=128, metavar="N", help="default 128"
    )
    fit.add_argument("--lr", type=_positive, default=5e-3, metavar="RATE", help="default 0.005")
    fit.add_argument("--seed", type=int, default=0, help="default 0")
    fit.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    fit.add_argument(
        "--threads",
        type=_positive_int,
        metavar="N",
        help="CPU threads (default: half of the CPUs that the process may use, at most 8); the "
        "same number is needed to reproduce a fit bit for bit",
    )
    fit.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="file for the state of the training after each epoch; if the file exists, the "
        "training continues from it",
    )
    fit.add_argument(
        "--batch",
        nargs="+",
        metavar="COLUMN",
        help="columns of obs (donor, replicate) with the batches whose differences are removed "
        "from the latent and from imputed values",
    )
    fit.add_argument(
        "--preset",
        choices=("default", "paper"),
        default="default",
        help="'paper': the published model as far as possible",
    )
    fit.add_argument(
        "--min-cells",
        type=_positive_int,
        default=10,
        metavar="N",
        help="exclude genes and peaks with counts, and regions covered, in fewer cells "
        "(default 10); proteins only if they have no counts",
    )
    fit.add_argument(
        "--modalities",
        nargs="+",
        choices=tuple(MODALITIES),
        metavar="NAME",
        help="modalities to read and model: rna, atac, protein, methylation (default: all in the "
        "input, which must include rna and atac)",
    )


def _add_embed(commands: argparse._SubParsersAction) -> None:
    embed = commands.add_parser("embed", help="embed cells with a fitted model")
    embed.add_argument("model", metavar="MODEL", help="folder DIR/model of a fit")
    _add_input(embed)
    embed.add_argument("--out", required=True, metavar="FILE", help="CSV file to write or replace")
    embed.add_argument(
        "--modality",
        choices=("joint", *MODALITIES),
        default="joint",
        help="use the counts of one modality only (default: all that the cells have)",
    )


def _add_clusters(commands: argparse._SubParsersAction) -> None:
    clusters = commands.add_parser(
        "clusters", help="write more or fewer clusters of a fit, without a new fit"
    )
    clusters.add_argument("result", metavar="DIR", help="folder that `scmvp fit` wrote")
    clusters.add_argument("--out", required=True, metavar="FILE", help="CSV file to write")
    level = clusters.add_mutually_exclusive_group(required=True)
    level.add_argument("--n-clusters", type=_positive_int, metavar="N", help="number of clusters")
    level.add_argument(
        "--resolution", type=_positive, metavar="R",
        help="or the connectivity up to which components stay separate (0.15 in a fit without K)",
    )  # fmt: skip
    clusters.add_argument("--quiet", action="store_true", help="print nothing except errors")


def _add_report(commands: argparse._SubParsersAction) -> None:
    report = commands.add_parser("report", help="write a report of a fit as one HTML page")
    report.add_argument("result", metavar="DIR", help="folder that `scmvp fit` wrote")
    _add_input(report, nargs="?")
    report.add_argument("--out", required=True, metavar="FILE", help="HTML file to write")
    report.add_argument(
        "--columns",
        nargs="+",
        metavar="NAME",
        help="metadata to show (default: numbers and columns of few levels)",
    )
    report.add_argument(
        "--groupby", metavar="NAME", help="list markers of these groups, not of the clusters"
    )
    report.add_argument(
        "--markers", type=_positive_int, default=5, help="number per group, default 5"
    )
    report.add_argument("--title", default="scMVP report", help="title of the page")
    report.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the map, of the tests and of the simulated doublets, default 0",
    )
    level = report.add_mutually_exclusive_group()
    level.add_argument("--n-clusters", type=_positive_int, metavar="N", help="as in clusters")
    level.add_argument("--resolution", type=_positive, metavar="R", help="as in clusters")


def _add_impute(commands: argparse._SubParsersAction) -> None:
    impute = commands.add_parser("impute", help="write imputed values of a modality as HDF5")
    impute.add_argument("model", metavar="MODEL", help="folder DIR/model of a fit")
    _add_input(impute)
    impute.add_argument(
        "--modality", choices=tuple(MODALITIES), required=True, help="modality to impute"
    )
    impute.add_argument(
        "--out", required=True, metavar="FILE.h5", help="HDF5 file to write or replace"
    )
    impute.add_argument(
        "--features", metavar="FILE", help="file of names, one per line (default: all)"
    )
    impute.add_argument(
        "--cells", metavar="FILE", help="file of names, one per line (default: all)"
    )
    impute.add_argument(
        "--library-size",
        type=_positive,
        default=1e4,
        metavar="L",
        help="sum of the values of a cell over all features (10,000); not log-transformed, and not "
        "for levels of methylation",
    )
    impute.add_argument(
        "--batch",
        nargs="+",
        metavar="LEVEL",
        help="batch for which values are imputed, or COLUMN=LEVEL for several columns "
        "(default: the average)",
    )
    impute.add_argument("--threshold", type=float, metavar="T", help="set smaller values to zero")


def _add_differential(commands: argparse._SubParsersAction) -> None:
    differential = commands.add_parser(
        "differential", help="write features that differ between groups of cells as CSV"
    )
    differential.add_argument("model", metavar="MODEL", help="folder DIR/model of a fit")
    _add_input(differential)
    differential.add_argument(
        "--modality", choices=tuple(MODALITIES), required=True, help="modality to test"
    )
    differential.add_argument(
        "--out", required=True, metavar="FILE.csv", help="CSV file to write or replace"
    )
    by = differential.add_mutually_exclusive_group()
    by.add_argument("--groupby", metavar="NAME", help="column of the cells' metadata")
    by.add_argument(
        "--labels",
        metavar="FILE",
        help="CSV with a header and with cell and label as first columns, such as clusters.csv; "
        "empty or NA is no label (default: the clusters of the model)",
    )
    differential.add_argument(
        "--group1",
        nargs="+",
        metavar="LABEL",
        help="groups to test, one after the other (default: all)",
    )
    differential.add_argument(
        "--group2", nargs="+", metavar="LABEL", help="reference group (default: all other cells)"
    )
    differential.add_argument(
        "--features", metavar="FILE", help="file of names, one per line (default: all)"
    )
    differential.add_argument(
        "--only-pos",
        action="store_true",
        help="report only features that are higher in the group, and control their FDR",
    )
    differential.add_argument(
        "--delta",
        type=float,
        default=0.25,
        metavar="D",
        help="smallest log2 fold change that counts as a difference (0.25)",
    )
    differential.add_argument(
        "--fdr",
        type=float,
        default=0.05,
        metavar="Q",
        help="false discovery rate (0.05)",
    )
    differential.add_argument("--seed", type=int, default=0, help="default 0")


def _add_info(commands: argparse._SubParsersAction) -> None:
    info = commands.add_parser("info", help="show data, options and versions of a model as JSON")
    info.add_argument("model", metavar="MODEL", help="folder DIR/model of a fit")


def _add_input(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    parser.add_argument(
        "input",
        nargs=nargs,
        metavar="INPUT",
        help="folder with rna.h5ad and atac.h5ad, .h5mu, .h5ad, .zarr, 10x .h5, MatrixMarket "
        "folder, outs folder of Cell Ranger, .rds of a Seurat, SingleCellExperiment or "
        "MultiAssayExperiment object (needs R); for several samples, the file of scmvp join",
    )
    parser.add_argument(
        "--backed",
        choices=("auto", "yes", "no"),
        default="auto",
        help="leave the counts on disk; auto: if they need more than an eighth of the memory",
    )
    _add_layers(parser)
    parser.add_argument("--quiet", action="store_true", help="print nothing except errors")


# Options of a report that change nothing without INPUT.
ABOUT_INPUT = ("backed", "rna_layer", "atac_layer", "protein_layer", "mosaic", "markers")


def _add_layers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rna-layer",
        metavar="NAME",
        help="layer with the RNA counts, or X or raw (default: X, or the layer 'counts' or raw if "
        "X does not contain counts)",
    )
    parser.add_argument("--atac-layer", metavar="NAME", help="the same for the ATAC counts")
    parser.add_argument("--protein-layer", metavar="NAME", help="the same for the protein counts")
    parser.add_argument(
        "--mosaic",
        action="store_true",
        help="also use cells (in join: samples) with a single modality",
    )


def _positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return value


# What Python takes, and the flags for it.
_FLAGS = (
    (re.compile(r"\b(rna|atac|protein)_layer='([^']*)'"), r"--\1-layer '\2'"),
    (re.compile(r"\bmosaic=True\b"), "--mosaic"),
    (re.compile(r"(?<!\w)modalities=\('(\w+)',\)"), r"--modalities \1"),
    (re.compile(r"(?<!\w)modalities=\('(\w+)', '(\w+)'\)"), r"--modalities \1 \2"),
    (re.compile(r"(?<![\w'])modalities is [\[(]([^\])]*?),?[\])]"), r"--modalities is \1"),
    (re.compile(r"\bfragments=True\b"), "--fragments"),
    (re.compile(r"\bpeaks='([^']*)'"), r"--peaks '\1'"),
    (re.compile(r"give a dict of names and paths$"), "give each as NAME=PATH"),
    # in quotes they are names of the user's own
    (
        re.compile(
            r"(?<!['\w-])(n_clusters|n_latent|min_cells|max_epochs|batch_size|library_size|groupby|"
            r"group1|group2)(?!['\w])"
        ),
        None,
    ),
    (re.compile(r"^(delta|fdr|seed|lr|threads|batch|peaks|fragments)(?= is )"), None),
    (re.compile(r"leave batch out"), "leave --batch out"),
    (re.compile(r"give a dict of column and level"), "write COLUMN=LEVEL for each of them"),
    (re.compile(r"leave out backed=True"), "use --backed no"),
    (re.compile(r"\bbacked=True\b"), "--backed yes"),
    (re.compile(r"\bbacked=False\b"), "--backed no"),
    # what only Python has
    (re.compile(r", or give the two as a pair \(rna, atac\) of AnnData objects"), ""),
    (re.compile(r"apart: \(rna, atac\), or rna.h5ad"), "apart: rna.h5ad"),
    (re.compile(r"; read_rds takes the name of an assay \(rna_assay, peak_assay\)"), ""),
    (
        re.compile(r", e\.g\. with (adata\.(obs|var)_names_make_unique\(\)|scmvp\.filter_paired)"),
        "",
    ),
    (re.compile(r", or use engine='process' with Rscript on the PATH, which needs no rpy2"), ""),
)


def in_flags(sentence: str) -> str:
    """A sentence with the flags of the command line for the arguments of Python."""
    for pattern, flag in _FLAGS:
        if flag is None:
            sentence = pattern.sub(lambda found: "--" + found[1].replace("_", "-"), sentence)
        else:
            sentence = pattern.sub(flag, sentence)
    return sentence
