"""Models in files: plan and fit into `model.json` and weights, and back."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import scipy.sparse as sp
import torch

from . import storage
from .arguments import whole_number
from .data.covariates import Covariates
from .data.scope import Scope, n_features
from .errors import ModelFileError
from .files import as_path, stamp_of
from .fit.build import untrained
from .fit.fitted import Fitted
from .fit.training import TrainingResult
from .fit.tree import ClusterTree
from .modalities import MODALITIES
from .nn.device import pick_device, seeded
from .options import ModelOptions, TrainingOptions
from .plan import Plan
from .settings import own_settings


class Saved(NamedTuple):
    """A model in a folder."""

    plan: Plan
    fit: Fitted
    info: dict[str, Any]  # `model.json`


def summary_of(plan: Plan, fit: Fitted, n_clusters_used: int) -> dict[str, Any]:
    """What was fitted, with which options and versions, and how it went."""
    result = fit.result
    return {
        "n_cells": fit.account["n_cells"],
        **{n_features(name): len(names) for name, names in plan.scope.features.items()},
        "n_clusters": fit.n_clusters,
        "n_clusters_used": n_clusters_used,
        "n_components": fit.module.n_clusters,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "seconds_fit": result.seconds,
        "elbo": result.elbo,
        "features_per_step": result.features_per_step,
        "interrupted": result.interrupted,
        "versions": storage.versions(),
        "options": {
            "preset": plan.preset,
            "device": str(fit.device),
            "threads": fit.account["threads"],
            **dataclasses.asdict(plan.options),
            **dataclasses.asdict(fit.options),
        },
        "account": fit.account,
    }


def info_of(plan: Plan, fit: Fitted, summary: dict[str, Any]) -> dict[str, Any]:
    """What made a model, as `model.json` has it."""
    scope = plan.scope
    return {
        "summary": summary,
        "preset": plan.preset,
        "account": fit.account,
        "layers": list(scope.layers),
        "covariates": None if scope.covariates is None else scope.covariates.info(),
        "model_options": dataclasses.asdict(plan.options),
        "training_options": dataclasses.asdict(fit.options),
        "training": dataclasses.asdict(fit.result),
        "tree": None if fit.tree is None else fit.tree.info() | {"level": fit.level},
        "modalities": [*scope.features],
        "gene_ids": scope.gene_ids,
        **{MODALITIES[name].features: names.tolist() for name, names in scope.features.items()},
    }


@own_settings()
def read(directory: str | os.PathLike, device: str) -> Saved:
    """A saved model on a device; no code in it is ever run.

    Raises:
        ModelFileError: A part is missing or broken, or of another version or shape.
    """
    directory = as_path(directory)
    picked, file = pick_device(device), directory / storage.INFO_FILE
    while True:
        seen = stamp_of(file)
        info = storage.load_info(directory)
        try:
            with storage.damage_reported(directory):
                found = _of_info(info, directory)
            break
        except ModelFileError:
            # between its two files another program may have put a new model
            if stamp_of(file) == seen:
                raise
    found.fit.module.to(picked).eval()
    return found


def _of_info(info: dict[str, Any], directory: Path) -> Saved:
    account, layers = info["account"], tuple(info["layers"])
    n_components, insertions = account["n_components"], account["atac_insertions"]
    features = {
        name: storage.names_in(info, MODALITIES[name].features)
        for name in storage.modalities_in(info, directory)
    }
    options = storage.options_of(ModelOptions, info["model_options"], directory)
    training = storage.options_of(TrainingOptions, info["training_options"], directory)
    threads = storage.threads_of(account, directory)
    result = _with_nan(storage.options_of(TrainingResult, info["training"], directory))
    covariates = Covariates.from_info(info["covariates"])
    weights = storage.read_weights(directory, info["weights_sha256"])
    sizes = [(options.n_latent, options.n_hidden), (options.n_latent, n_components)]
    for names in features.values():
        sizes.append((options.n_hidden, len(names)))
        if options.encoder_input == "spectral":
            sizes.append((options.n_components, len(names)))
    storage.check_sizes(directory, weights, *sizes)
    gene_ids = storage.gene_ids_in(info)
    scope = Scope(features, layers, covariates, insertions, gene_ids)
    blank = {
        name: sp.csr_matrix((1, MODALITIES[name].n_columns(len(names))))
        for name, names in features.items()
    }
    average = scope.row()
    design = None if average is None else average[None]
    with seeded(0, torch.device("cpu")):  # the caller's random numbers do not change
        module = untrained(options, n_components, blank, design, 0)
    storage.fill(module, weights, directory)
    plan = Plan(info["preset"], options, scope, account, n_components)
    tree = None if info["tree"] is None else ClusterTree.from_info(info["tree"], n_components)
    level = None if tree is None else _level_of(info["tree"]["level"], tree)
    fit = Fitted(module, training, result, account, threads, None, tree, level)
    return Saved(plan, fit, info)


def _level_of(level: int | None, tree: ClusterTree) -> int | None:
    if level is not None and not 1 <= whole_number("level", level) <= len(tree.n_cells):
        raise ValueError("the level of the clusters")
    return level


def _with_nan(result: TrainingResult) -> TrainingResult:
    """What was not measured is NaN, which JSON has no word for."""
    history = {
        name: [math.nan if value is None else value for value in values]
        for name, values in result.history.items()
    }
    elbo = math.nan if result.elbo is None else result.elbo
    return dataclasses.replace(result, history=history, elbo=elbo)
