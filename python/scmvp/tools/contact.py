"""How often two places of a chromosome are in contact, by their distance or by a contact map."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd

from ..data.contacts import ContactMap
from ..data.genes import bare_chromosome
from ..data.names import note
from ..errors import InputError
from ..words import name_some

DECAY = 0.87  # of contacts in Hi-C maps, Fulco et al. 2019
PLATEAU = 5_000  # base pairs; contacts are equally frequent within it
FLOOR = 1_000_000  # base pairs; contacts at this distance are added to those of a map

Contacts = pd.DataFrame | str | os.PathLike | None


def contact_of(distance: np.ndarray, decay: float) -> np.ndarray:
    """Relative frequency of contacts at a distance, 1 within the plateau."""
    return (np.maximum(np.abs(distance), PLATEAU) / PLATEAU) ** -decay


def contact_within(
    source: pd.DataFrame | str | os.PathLike,
    seqnames: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    decay: float,
) -> np.ndarray:
    """Relative frequency of contacts between places, from a map.

    As in the activity-by-contact model, what is expected at 1 Mb is added to the frequencies, so
    that bins without a contact are not impossible; contacts within a bin, which a map does not
    measure well, and those of bins without any contact follow from the distance. The frequencies of
    the map are scaled so that their sum over the pairs is that expected from the distances.

    Args:
        source: The map, as `ContactMap` takes it.
        seqnames: Chromosome of each pair, (n,).
        one: A place of each, 1-based, (n,).
        other: The other place, (n,).
        decay: Exponent of the contacts at a distance.

    Raises:
        InputError: The map cannot be read, or has no contacts between these places.
    """
    distance = np.abs(other - one)
    contacts = ContactMap(source, int(distance.max()))
    chromosome = bare_chromosome(seqnames)
    found = np.full(len(one), np.nan)
    absent = []
    for name in pd.unique(chromosome):
        here = np.flatnonzero(chromosome == name)
        if name not in contacts:
            absent.append(str(seqnames[here[0]]))
            continue
        found[here] = contacts.frequencies(name, one[here], other[here])
    found[distance < contacts.width] = np.nan
    measured = np.isfinite(found)
    if not found[measured].sum() > 0:
        raise InputError(
            f"{contacts.where} has no contacts between nearby genes and peaks (it has "
            f"{name_some(contacts.chromosomes)}; peaks are on {name_some(pd.unique(seqnames))}); "
            "give a map of the same genome with bins narrower than their distances"
        )
    if absent:
        note(
            f"{contacts.where} has no contacts on {name_some(absent)}: contacts there are computed "
            "from the distance"
        )
    expected = contact_of(distance, decay)
    scale = expected[measured].sum() / found[measured].sum()
    floor = contact_of(np.maximum(distance, FLOOR), decay)
    return np.where(measured, found * scale + floor, expected)
