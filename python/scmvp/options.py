"""What the network is."""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import InputError
from .modalities import MODALITIES


@dataclass(frozen=True)
class ModelOptions:
    """What the network is; fixed once weights exist. Reasons and measurements: docs/MODEL.md."""

    n_latent: int = 20  # D
    n_hidden: int = 128  # width of every hidden layer
    # tokens of the self-attention (slices of the hidden layer); 0: none
    n_heads: int = field(default=8, metadata={"at_least": 0})
    mask_attention: bool = True
    cluster_gate: bool = True
    # of the peaks' counts: negative binomial of variance m (1 + c), "poisson", or "zip", zero
    # inflation per entry from the decoder
    likelihood_atac: str = "nb1"
    encoder_input: str = "spectral"  # or "counts": log counts and TF-IDF, as the paper has it
    n_components: int = 30  # of either modality, that "spectral" encoders read
    input_noise: float = 0.5  # sd added to these in training; a cell's own counts have about 1
    shrink: bool = True  # scores to what a cell would score on directions it had no part in
    decoder_precision: float = 1000.0  # of the Gaussian prior of the output weights; 0: none
    batch_precision: float = 10.0  # of the prior of what a batch does to a feature's log share
    distil: bool = True  # the consistency terms teach the single encoders, not the joint one
    weight_atac: float = 1.0  # of log p(y|z), log p(x|z) having 1
    weight_consistency_measured: float = 0.3  # of KL(q(z|x,y) || q(z|x)) and of the same with y
    weight_consistency_imputed: float = 1.0  # of KL(q(z|x,y) || q(z|x^)) and of the same with y^

    def likelihood(self, modality: str) -> str:
        """Which of `families.FAMILIES` the counts of a modality have."""
        return self.likelihood_atac if modality == "atac" else MODALITIES[modality].likelihood

    def weight(self, modality: str) -> float:
        """Of the log-likelihood of its counts in the objective."""
        return self.weight_atac if modality == "atac" else 1.0

    def __post_init__(self) -> None:
        if self.likelihood_atac not in ("nb1", "poisson", "zip"):
            raise InputError(
                f"likelihood_atac is {self.likelihood_atac!r}; use 'nb1', 'poisson' or 'zip'"
            )
        if self.n_heads and self.n_hidden % self.n_heads:
            raise InputError(
                f"n_hidden is {self.n_hidden}, which n_heads, {self.n_heads}, does not divide; "
                "give a multiple of it"
            )
        if self.encoder_input not in ("spectral", "counts"):
            raise InputError(f"encoder_input is {self.encoder_input!r}; use 'spectral' or 'counts'")
