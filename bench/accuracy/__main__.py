"""Accuracy of scMVP and of other methods: embeddings, clusters and imputed profiles.

    python bench/accuracy [--data NAME ...] [--methods NAME ...] [--results FILE.csv] [...]
    python bench/accuracy --report --results FILE.csv

One method on one data set with one seed is a unit; its scores are added to the CSV file when it is
done, and units that are there already are skipped. Environment: bench/requirements-peers.txt; some
methods have one of their own (bench/peers.sh), in the folder SCMVP_PEERS.
"""

from __future__ import annotations

import os

# Before numpy is imported: cpu_seconds of one thread are what can be compared.
for _library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import argparse  # noqa: E402
import contextlib  # noqa: E402
import datetime  # noqa: E402
import functools  # noqa: E402
import gc  # noqa: E402
import importlib.metadata  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import results  # noqa: E402

TASKS = ("embedding", "imputation")


def option(text: str) -> tuple[str, Any]:
    """'name=value' with the value as a number, a bool, None or text."""
    name, _, value = text.partition("=")
    constants = {"True": True, "False": False, "None": None}
    if value in constants:
        return name, constants[value]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return name, kind(value)
    return name, value


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="accuracy", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="NAME",
        help="'folder:*' stands for each batch of a folder, 'NAME@0.2' for a fifth of the counts",
    )
    parser.add_argument("--methods", nargs="+", metavar="NAME")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--imputation-seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--results", type=Path, default=Path("accuracy.csv"), metavar="FILE.csv")
    parser.add_argument(
        "--set", nargs="*", type=option, default=[], metavar="name=value", help="options of scmvp"
    )
    parser.add_argument("--data-folder", type=Path, default=Path("../shared/data"))
    parser.add_argument("--retry", action="store_true", help="try again what ended in an error")
    parser.add_argument("--report", action="store_true", help="only print tables")
    return parser.parse_args()


def unit(row: dict[str, Any]) -> tuple:
    """What a row of the CSV file is about."""
    options = json.loads(row["options"] or "{}")
    options.pop("error", None)
    return row["data"], row["method"], int(row["seed"]), row["task"], json.dumps(options)


def done(path: Path, retry: bool) -> set[tuple]:
    """Units with rows in the file; those with errors too, unless they are to be tried again."""
    rows = results.rows_of(path)
    return {unit(row) for row in rows if not (retry and row["metric"] == "error")}


@functools.cache
def version(package: str) -> str:
    """Version of an installed package, of scmvp with its commit."""
    try:
        number = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return f"{package} missing"
    if package == "scmvp":
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
        number += f" ({described.stdout.strip() or 'no commit'})"
    if package == "torch":
        number += gpu()
    return f"{package} {number}"


def versions(method) -> str:
    """Versions of the packages of a method, where it runs."""
    import elsewhere

    if method.home:
        return elsewhere.versions(method.home, *method.packages)
    return ", ".join(map(version, method.packages)) or seurat_version()


def gpu() -> str:
    """The GPU that PyTorch takes by itself, ' on NAME', or nothing."""
    import torch

    return f" on {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""


@functools.cache
def seurat_version() -> str:
    """Versions of R and Seurat."""
    code = 'cat(paste0("R ", getRversion(), ", Seurat ", packageVersion("Seurat")))'
    try:
        return subprocess.run(["Rscript", "-e", code], capture_output=True, text=True).stdout
    except FileNotFoundError:
        return "R missing"


def scored(task: str, method, paired, seed: int, options: dict[str, Any]) -> tuple[dict, float]:
    """Scores by name of result and of metric, and the CPU seconds of the method itself."""
    import metrics
    from data import thin
    from elsewhere import cpu_seconds

    if task == "embedding":
        start = cpu_seconds()
        results = method.embed(paired, seed, options)
        spent = cpu_seconds() - start
        scores = {}
        for result in results:
            scores[result.name] = dict(result.scores)
            if result.z is not None:
                scores[result.name] |= metrics.of_embedding(result.z, paired, seed)
            if result.clusters is not None:
                scores[result.name] |= metrics.of_clusters(result.clusters, paired)
        return scores, spent
    training, held_out = thin(paired, seed)
    start = cpu_seconds()
    proportions = method.impute(training, seed, options)
    spent = cpu_seconds() - start
    return {"": metrics.of_imputation(proportions, training, held_out, seed)}, spent


def run_unit(name: str, method, paired, seed: int, task: str, options: dict) -> list[dict]:
    """Rows of one unit; a method that fails gives one row that says why."""
    from elsewhere import cpu_seconds

    date, packages = datetime.date.today().isoformat(), versions(method)
    start = cpu_seconds()
    try:
        with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            scores, spent = scored(task, method, paired, seed, options)
    except Exception as error:  # a method of others may fail in any way; the rest goes on
        message = f"{type(error).__name__}: {error}"[:500]
        scores = {"": {"error": float("nan")}}
        spent, options = cpu_seconds() - start, {"error": message, **options}
    return [
        {
            "date": date,
            "data": paired.name,
            "method": part or name,
            "seed": seed,
            "task": task,
            "metric": metric,
            "value": f"{value:.6g}",
            "cpu_seconds": f"{spent:.1f}",
            "versions": packages,
            "options": json.dumps(options) if options else "",
        }
        for part, values in scores.items()
        for metric, value in values.items()
    ]


def keep(path: Path, rows: list[dict], key: tuple) -> None:
    """Add the rows of a unit; an error that an earlier try of it ended in is no longer true."""
    results.put(path, rows, lambda row: row["metric"] == "error" and unit(row) == key)


def run(arguments: argparse.Namespace) -> None:
    """All units that are asked for and not done."""
    from data import DEFAULT, expand, load
    from methods import METHODS

    logging.disable(logging.WARNING)
    unknown = [name for name in arguments.methods or [] if name not in METHODS]
    if unknown:
        raise SystemExit(f"unknown {', '.join(unknown)}; the methods are {', '.join(METHODS)}")
    methods = {
        name: method
        for name, method in METHODS.items()
        if not arguments.methods or name in arguments.methods
    }
    try:
        names = expand(arguments.data or list(DEFAULT), arguments.data_folder)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    seeds = {"embedding": arguments.seeds, "imputation": arguments.imputation_seeds}
    finished = done(arguments.results, arguments.retry)
    for seed in sorted({*arguments.seeds, *arguments.imputation_seeds}):
        for data_name in names:
            todo = []
            for task in arguments.tasks:
                for name, method in methods.items():
                    can = method.embed if task == "embedding" else method.impute
                    options = dict(arguments.set) if method.takes_options else {}
                    key = data_name, name, seed, task, json.dumps(options)
                    if can and seed in seeds[task] and not is_done(key, finished):
                        todo.append((task, name, method, options))
            if not todo:
                continue
            paired = load(data_name, arguments.data_folder)
            for task, name, method, options in todo:
                start = time.perf_counter()
                rows = run_unit(name, method, paired, seed, task, options)
                keep(arguments.results, rows, (data_name, name, seed, task, json.dumps(options)))
                print(
                    f"{time.strftime('%H:%M:%S')} seed {seed} {data_name:18s} {task:10s} "
                    f"{name:14s} {brief(rows)} ({time.perf_counter() - start:.0f} s)",
                    flush=True,
                )
                gc.collect()


def is_done(key: tuple, finished: set[tuple]) -> bool:
    """Whether the unit has rows, under its name or under that of a part of it ('name-part')."""
    data, name, *rest = key
    return any(
        row[0] == data and (row[1] == name or row[1].startswith(f"{name}-")) and [*row[2:]] == rest
        for row in finished
    )


def brief(rows: list[dict[str, Any]]) -> str:
    """The first scores of a unit in one line."""
    if rows[0]["metric"] == "error":
        return json.loads(rows[0]["options"])["error"].splitlines()[0][:100]
    shown = ("ari", "knn", "gain_rna", "gain_atac")
    return " ".join(f"{r['metric']} {float(r['value']):.3f}" for r in rows if r["metric"] in shown)


def main() -> None:
    """Run what is missing, or report."""
    arguments = parsed()
    if arguments.report:
        import report

        print(report.tables(arguments.results, arguments.seeds, arguments.imputation_seeds))
    else:
        run(arguments)


if __name__ == "__main__":
    main()
