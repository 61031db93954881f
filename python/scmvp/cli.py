"""The command line: `scmvp join`, `fit`, `embed`, `clusters`, `report` and the others.

Messages go to stderr, results to files (`info` to stdout). Exit status: 0 done, 1 an installation
that cannot run, 2 wrong input (one sentence, nothing written), 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scmvp

from .arguments import once
from .data.checks import check_paired, refuse_none_shared
from .data.names import names_of_modalities
from .data.paired import Paired
from .data.types import Expected
from .endings import ended, unseen_messages_dropped
from .errors import InputError, InputNote
from .files import as_path, json_text, whole_file, whole_folder
from .flags import ABOUT_INPUT, in_flags, parser
from .modalities import MODALITIES, feature_of
from .outputs import (
    describe_account,
    describe_fit,
    read_latent,
    write_clusters,
    write_history,
    write_json,
    write_latent,
)
from .paths import output_file, output_folder, result_folder
from .progress import SILENT, Display, Listener, Stages, displayed
from .reading import read_for_fit
from .several import named_paths
from .starting import INTERRUPTED
from .words import count_of


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    with unseen_messages_dropped():
        arguments = parser(VERBS).parse_args(argv)
        return ended(lambda: _run(arguments), arguments)


def _run(arguments: argparse.Namespace) -> int:
    with displayed() as display, warnings.catch_warnings():
        messages = _Messages(display, getattr(arguments, "quiet", False))
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InputNote)
        warnings.showwarning = lambda message, *_: messages.show(f"note: {in_flags(str(message))}")
        return arguments.run(arguments, messages)


def _join(arguments: argparse.Namespace, messages: _Messages) -> int:
    out = output_file(arguments)
    if out.suffix != ".h5mu":
        raise InputError(f"--out {out} does not end in .h5mu; name a file that does")
    samples = named_paths(arguments.samples)
    fragments: Any = arguments.fragments is not None
    if arguments.fragments:
        fragments = named_paths(arguments.fragments)
        if not isinstance(fragments, dict):
            raise InputError("--fragments has files without names; give each as NAME=FILE")
    mdata = scmvp.read_samples(
        samples, arguments.peaks, fragments, arguments.mosaic, rna_layer=arguments.rna_layer,
        atac_layer=arguments.atac_layer, protein_layer=arguments.protein_layer,
        progress=messages.progress,
    )  # fmt: skip
    with messages.stages.stage("writing the file"), whole_file(out) as partial:
        mdata.write_h5mu(partial)
    number = count_of(mdata.obs["sample"].nunique(), "sample")
    messages.show(f"{arguments.out}: {number}, {_shape(mdata)}")
    return 0


def _fit(arguments: argparse.Namespace, messages: _Messages) -> int:
    # imported late to save time, but before the others: it reports a missing PyTorch
    first = os.environ.get("RANK", "0") == "0"  # of the processes of torchrun
    SCMVP = _loaded_model_class(messages.stages if first else SILENT)
    from .nn.distributed import joined

    with joined() as ranks:
        if ranks.rank > 0:  # the first process speaks and writes for all
            arguments.quiet = messages.quiet = True
        return _fit_and_write(SCMVP, arguments, messages, ranks.rank == 0)


def _fit_and_write(
    SCMVP: type[scmvp.SCMVP], arguments: argparse.Namespace, messages: _Messages, writes: bool
) -> int:
    started = time.perf_counter()
    out = output_folder(arguments)
    cells = _cells(arguments, messages, Expected.of(arguments.modalities))
    with messages.stages.stage("checking the counts"):
        model = SCMVP(
            cells,
            batch=arguments.batch,
            mosaic=arguments.mosaic,
            n_latent=arguments.n_latent,
            n_clusters=arguments.n_clusters,
            preset=arguments.preset,
            min_cells=arguments.min_cells,
            modalities=arguments.modalities,
        )
    # Only now, so that an error message is not preceded by other output.
    messages.show(f"{arguments.input}: {_shape(cells)}")
    for line in describe_account(model.account):
        messages.show(line)
    model.train(
        max_epochs=arguments.max_epochs,
        batch_size=arguments.batch_size,
        lr=arguments.lr,
        seed=arguments.seed,
        device=arguments.device,
        threads=arguments.threads,
        callback=messages.epoch,
        checkpoint=arguments.checkpoint,
        keep_checkpoint=True,  # until the results are written
        progress=messages.progress,
    )
    messages.end_epochs()
    if not writes:
        return 0
    with whole_folder(out, replace=arguments.overwrite) as folder:
        latent = model.get_latent_representation()
        write_latent(folder / "latent.csv", model.cells, latent)
        write_clusters(folder / "clusters.csv", model.cells, model.predict_proba())
        write_history(folder / "history.csv", model.history)
        model.save(folder / "model")
        failed = None
        if arguments.report:
            place = folder / "report.html"
            try:
                model.report(place, cells, title=out.name, progress=messages.progress)
            except (Exception, KeyboardInterrupt) as error:  # a failed report keeps the fit
                failed = error
        summary = dict(model.summary())
        summary["seconds_total"] = round(time.perf_counter() - started, 3)
        summary["peak_memory_mb"] = peak_memory_mb()
        write_json(folder / "summary.json", summary)
    model.delete_checkpoint()
    messages.show(
        f"{out}: {_of_latent(latent)}, {describe_fit(summary)}, "
        f"peak memory {summary['peak_memory_mb']:,.0f} MB"
    )
    if failed is not None:
        messages.show(f"{out} has all results but the report; make it with scmvp report")
        raise failed
    if model.interrupted:
        messages.show("interrupted: the best state so far was written")
        if arguments.checkpoint is not None:
            messages.show(f"with --overwrite, the same command goes on from {arguments.checkpoint}")
        return INTERRUPTED
    return 0


def _embed(arguments: argparse.Namespace, messages: _Messages) -> int:
    out = output_file(arguments)
    model = _load(arguments.model, messages)
    data = _other_cells(arguments, model, messages)
    latent = model.get_latent_representation(data, arguments.modality, progress=messages.progress)
    with whole_file(out) as partial:
        write_latent(partial, data.cells, latent)
    messages.show(f"{arguments.out}: {_of_latent(latent)}")
    return 0


def _clusters(arguments: argparse.Namespace, messages: _Messages) -> int:
    result, out = result_folder(arguments), output_file(arguments)
    model = _load(result / "model", messages)
    cells, latent = read_latent(result / "latent.csv", model.account["n_cells"])
    found = model.responsibilities(
        latent, n_clusters=arguments.n_clusters, resolution=arguments.resolution
    )
    with whole_file(out) as partial:
        write_clusters(partial, cells, found)
    messages.show(f"{arguments.out}: {count_of(found.shape[1], 'cluster')}")
    return 0


def _report(arguments: argparse.Namespace, messages: _Messages) -> int:
    from .report.write import write_report

    result, out = result_folder(arguments), output_file(arguments)
    if arguments.input is None:
        _refuse_flags_about_input(arguments)
    model = _load(result / "model", messages)
    how = {name: getattr(arguments, name) for name in ("n_clusters", "resolution", "title", "seed")}
    how |= {name: getattr(arguments, name) for name in ("markers", "columns", "groupby")}
    if arguments.input is not None:
        cells = _cells(arguments, messages, Expected(known=model.features))
        model.report(out, cells, progress=messages.progress, **how)
    else:  # without counts, the report shows only the fit itself
        names, latent = read_latent(result / "latent.csv", model.account["n_cells"])
        how["cells_as"] = "INPUT, after DIR"
        write_report(out, model, names, latent, stages=messages.stages, **how)
    messages.show(f"{arguments.out}: report written")
    return 0


def _refuse_flags_about_input(arguments: argparse.Namespace) -> None:
    """Refuse flags of a report that change nothing, where there is no INPUT."""
    unset = parser(VERBS).parse_args(["report", arguments.result, "--out", arguments.out])
    for name in ABOUT_INPUT:
        if getattr(arguments, name) != getattr(unset, name):
            flag = "--" + name.replace("_", "-")
            raise InputError(
                f"{flag} is about INPUT, which is not given; give it after DIR, or leave out {flag}"
            )


def _impute(arguments: argparse.Namespace, messages: _Messages) -> int:
    features = _names_in(arguments.features)
    cells = _names_in(arguments.cells)
    out = output_file(arguments)
    model = _load(arguments.model, messages)
    data = _other_cells(arguments, model, messages)
    model.impute_to_file(
        out,
        arguments.modality,
        data=data,
        features=features,
        cells=cells,
        library_size=arguments.library_size,
        threshold=arguments.threshold,
        batch=_batch_level(arguments.batch),
        progress=messages.progress,
    )
    messages.show(f"{arguments.out}: imputed {arguments.modality} written")
    return 0


def _differential(arguments: argparse.Namespace, messages: _Messages) -> int:
    from .tools.groups import OF_MODEL, labels_in

    features = _names_in(arguments.features)
    out = output_file(arguments)
    model = _load(arguments.model, messages)
    cells = _cells(arguments, messages, Expected(known=model.features))
    groupby = arguments.groupby
    if arguments.labels is not None:
        names = cells.cells if isinstance(cells, Paired) else cells.obs_names
        groupby = labels_in(arguments.labels, names)
    elif groupby is None and arguments.group1 is not None:
        # here group1 has labels, and never names of cells
        groupby = pd.Series(model.predict(cells), name=OF_MODEL)
    word = feature_of(arguments.modality)
    table = model.differential(
        arguments.modality, cells, groupby=groupby, group1=arguments.group1,
        group2=arguments.group2, features=features, delta=arguments.delta, fdr=arguments.fdr,
        seed=arguments.seed, only_pos=arguments.only_pos,
    )  # fmt: skip
    with whole_file(out) as partial:
        table.to_csv(partial, index=False)
    called = table[table["is_de"]].value_counts(["group", "reference"])
    for group, reference in table.attrs["comparisons"]:
        n = called.get((group, reference), 0)
        messages.show(f"{group} against {reference}: {count_of(n, word)} at FDR {arguments.fdr:g}")
    return 0


def _info(arguments: argparse.Namespace, messages: _Messages) -> int:
    info = _load(arguments.model, messages).info()
    # Omit up to 10^5 feature names, which would hide everything else; model.json lists them.
    # The same of the history of each epoch.
    hidden = (
        *(of.features for of in MODALITIES.values()),
        "gene_ids", "training", "account", "model_options", "training_options",
    )  # fmt: skip
    shown = {key: value for key, value in info.items() if key not in hidden}
    if sys.stdout is None:  # closed: print() would say nothing
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    print(json_text(shown, indent=2), flush=True)
    return 0


def peak_memory_mb() -> float | None:
    """Peak resident memory of this process so far, in MB; None if it is not available."""
    try:
        # getrusage() also includes the process that started this one
        status = Path("/proc/self/status").read_text()
        if found := re.search(r"VmHWM:\s*(\d+)", status):
            return round(int(found[1]) / 1024, 1)
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)


class _Messages:
    """Lines and progress on standard error; nothing when it is quiet."""

    def __init__(self, display: Display, quiet: bool) -> None:
        self._display, self.quiet = display, quiet

    def show(self, line: str) -> None:
        if not self.quiet:
            self._display.write(line)

    @property
    def progress(self) -> Listener | bool:
        """The function that shows stages."""
        return False if self.quiet else self._display.stage

    @property
    def stages(self) -> Stages:
        return Stages(None if self.quiet else self._display.stage)

    @property
    def epoch(self) -> Listener | None:
        """The function that shows epochs."""
        return None if self.quiet else self._display.epoch

    def end_epochs(self) -> None:
        """Leave the bar of the epochs as it is."""
        self._display.close()


def _load(path: str | Path, messages: _Messages) -> Any:
    SCMVP = _loaded_model_class(messages.stages)
    with messages.stages.stage("loading the model"):
        return SCMVP.load(path)


def _loaded_model_class(stages: Stages) -> type[scmvp.SCMVP]:
    with stages.stage("loading PyTorch"):
        with suppress(ImportError):  # scmvp.SCMVP has a better message
            import torch  # noqa: F401 - an interrupt need not wait here: it ends this process
        return scmvp.SCMVP


def _cells(arguments: argparse.Namespace, messages: _Messages, expected: Expected) -> Any:
    """The input, in memory or on disk."""
    backed = {"auto": None, "yes": True, "no": False}[arguments.backed]
    return read_for_fit(
        arguments.input, backed, arguments.rna_layer, arguments.atac_layer, arguments.mosaic,
        messages.progress, arguments.protein_layer, expected,
    )  # fmt: skip


def _other_cells(arguments: argparse.Namespace, model: Any, messages: _Messages) -> Paired:
    cells = _cells(arguments, messages, Expected(known=model.features))
    with messages.stages.stage("checking the counts"):
        has = cells.counts if isinstance(cells, Paired) else names_of_modalities(cells.mod)
        modalities = [name for name in model.features if name in has]
        if not modalities:
            refuse_none_shared(has, model.features)
        return check_paired(
            cells, mosaic=arguments.mosaic, columns=list(model.batch_levels), modalities=modalities
        )


def _batch_level(given: list[str] | None) -> Any:
    """A level of the only batch column, or levels by column, from LEVEL or COLUMN=LEVEL."""
    if given is None:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    if not all("=" in part for part in given):
        raise InputError(
            f"--batch {' '.join(given)}: with several columns, write COLUMN=LEVEL for each of them"
        )
    return dict(part.split("=", 1) for part in given)


def _names_in(path: str | None) -> list[str] | None:
    if path is None:
        return None
    try:
        # not splitlines(), which also splits at other characters that names may contain
        lines = as_path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of names, one per line") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise InputError(f"{path} holds no names; write one per line")
    return once(names)


def _of_latent(latent: np.ndarray) -> str:
    return f"{count_of(len(latent), 'cell')} in {count_of(latent.shape[1], 'dimension')}"


def _shape(cells: Any) -> str:
    on_disk = isinstance(cells, Paired)
    parts = cells.counts if on_disk else cells.mod
    n_cells = len(cells.cells) if on_disk else cells.n_obs
    features = [count_of(part.shape[1], feature_of(name)) for name, part in parts.items()]
    sizes = ", ".join([count_of(n_cells, "cell"), *features])
    return f"{sizes}; the counts stay on disk" if on_disk else sizes


VERBS = {
    "join": _join,
    "fit": _fit,
    "embed": _embed,
    "clusters": _clusters,
    "report": _report,
    "impute": _impute,
    "differential": _differential,
    "info": _info,
}
