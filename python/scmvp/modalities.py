"""What a modality is: one entry of a table, and nothing about it elsewhere.

An entry names the parts of the network that it has, which `networks`, `families` and `inputs` keep
in tables of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .words import in_a_row


@dataclass(frozen=True)
class Modality:
    """One kind of counts of a cell."""

    name: str  # in files, tables and arguments
    label: str  # in sentences
    feature: str  # the word for one of its features
    likelihood: str  # of its counts, in `families.FAMILIES`
    attention: str  # of its encoders and its decoder, in `networks.BRANCHES`
    paper_input: str  # what encoders of preset 'paper' read, in `paper.READERS`
    group: str  # its features as the subject of a stage: "correspondence analysis of peaks"
    spellings: tuple[str, ...]  # names that people give to it, small letters only
    is_panel: bool = False  # chosen before the experiment: no feature is left out for being rare
    is_level: bool = False  # two counts per feature, of which one is a part (module `levels`)

    def n_columns(self, n_features: int) -> int:
        """Columns of the matrix of counts of so many features."""
        return 2 * n_features if self.is_level else n_features

    @property
    def features(self) -> str:
        """Of many: under this name their names are kept, and their number under 'n_' and this."""
        return f"{self.feature}s"


RNA = Modality(
    name="rna",
    label="RNA",
    feature="gene",
    likelihood="nb",
    attention="mask",
    paper_input="log",
    group="RNA",
    spellings=(
        "rna", "gex", "geneexpression", "gene", "genes", "expression", "mrna", "scrna", "snrna",
        "rnaseq", "scrnaseq", "snrnaseq",
    ),
)  # fmt: skip
ATAC = Modality(
    name="atac",
    label="ATAC",
    feature="peak",
    likelihood="nb1",
    attention="self",
    paper_input="tf-idf",
    group="peaks",
    spellings=(
        "atac", "peak", "peaks", "chromatinaccessibility", "accessibility", "scatac", "snatac",
        "atacseq", "scatacseq", "snatacseq",
    ),
)  # fmt: skip
PROTEIN = Modality(
    name="protein",
    label="protein",
    feature="protein",
    likelihood="background",
    attention="mask",
    paper_input="log",
    group="proteins",
    spellings=(
        "protein", "proteins", "prot", "adt", "adts", "antibody", "antibodies", "antibodycapture",
        "surfaceprotein", "surfaceproteins",
    ),
    is_panel=True,
)  # fmt: skip

METHYLATION = Modality(
    name="methylation",
    label="methylation",
    feature="region",
    likelihood="beta-binomial",
    attention="mask",
    paper_input="",  # the published model has no part for it
    group="methylation",
    spellings=(
        "methylation", "dnamethylation", "methylome", "methyl", "meth", "mc", "mcg", "mch", "snmc",
        "snmcseq", "scbs", "scbsseq",
    ),
    is_level=True,
)  # fmt: skip

PAIR = (RNA.name, ATAC.name)  # what every paired cell has
MODALITIES = {modality.name: modality for modality in (RNA, ATAC, PROTEIN, METHYLATION)}


def label_of(modality: str) -> str:
    """What it is called in sentences."""
    return MODALITIES[modality].label


def feature_of(modality: str) -> str:
    """The word for one of its features."""
    return MODALITIES[modality].feature


def listed(modalities: Iterable[str], word: str = "and") -> str:
    """Their names in sentences: "RNA, ATAC and protein"."""
    return in_a_row([label_of(modality) for modality in modalities], word)


def all_of(n: int) -> str:
    """So many modalities in sentences: "both modalities"."""
    return "both modalities" if n == 2 else "all modalities"


def modality_of(name: object) -> str | None:
    """'rna', 'atac', 'protein' or 'methylation' for a name such as 'GEX' or 'ADT'; else None."""
    letters = re.sub("[^a-z]", "", str(name).lower())
    known = (of.name for of in MODALITIES.values() if letters in of.spellings)
    return next(known, None)
