"""The generative model and its loss, in the symbols of the paper (docs/MODEL.md).

Cell i has counts x (G genes) and y (P peaks), library sizes l_x and l_y, a latent z (D) and a
component c (of K):

    c ~ Cat(softmax(pi))    z | c ~ N(mu_c, diag sigma_c^2)
    x | z ~ NB(l_x f_x(z), theta)    y | z ~ ZIP(l_y f_y(z), phi)

f_x and f_y are softmax outputs of decoders gated by p(c|z).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import distributions as dist
from .batches import PairedBatch
from .networks import AtacBranch, Decoder, Encoder, Gaussian, InputLinear, RnaBranch
from .preprocess import TFIDF_SCALE
from .sparse import SparseRows

START_LOG_THETA = 1.0  # variance mean + mean^2 / e: mild overdispersion until the data speak
START_ZERO_LOGIT = -3.0  # 5 % structural zeros


@dataclass(frozen=True)
class ModelOptions:
    """What the network is; fixed once weights exist. Reasons and measurements: docs/MODEL.md."""

    n_latent: int = 10  # D
    n_hidden: int = 128  # width of every hidden layer
    n_heads: int = 8  # tokens of the self-attention (slices of the hidden layer); 0: none
    mask_attention: bool = True
    cluster_gate: bool = True
    zero_inflation: str = "peak"  # phi: one logit per "peak", or per "entry" from the decoder
    weight_atac: float = 1.0  # of log p(y|z), log p(x|z) having 1
    weight_consistency_measured: float = 0.3  # of KL(q(z|x,y) || q(z|x)) and of the same with y
    weight_consistency_imputed: float = 1.0  # of KL(q(z|x,y) || q(z|x^)) and of the same with y^


class Decoded(NamedTuple):
    """Parameters of p(x|z) and p(y|z), up to the library sizes."""

    share_rna: Tensor  # (B, G), sums to 1 over genes
    share_atac: Tensor  # (B, P), sums to 1 over peaks
    zero_logit: Tensor  # (P,) or (B, P)


class LossTerms(NamedTuple):
    """Means over the cells of a batch, in nats per cell."""

    reconstruction_rna: Tensor  # -log NB(x)
    reconstruction_atac: Tensor  # -log ZIP(y)
    kl: Tensor  # KL(q(z,c|x,y) || p(z,c))
    consistency: Tensor  # the four KLs to the single-modality encoders, weighted

    @property
    def negative_elbo(self) -> Tensor:
        """-log p(x|z) - log p(y|z) + KL, without any weight."""
        return self.reconstruction_rna + self.reconstruction_atac + self.kl

    def objective(self, options: ModelOptions, warm_up: float) -> Tensor:
        """What is minimized; `warm_up` in (0, 1] scales the KLs while the decoders are young."""
        reconstruction = self.reconstruction_rna + options.weight_atac * self.reconstruction_atac
        return reconstruction + warm_up * (self.kl + self.consistency)


class MixturePrior(nn.Module):
    """p(z, c); K diagonal Gaussians that all start as N(0, I)."""

    def __init__(self, n_clusters: int, n_latent: int):
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(n_clusters))
        self.mean = nn.Parameter(torch.zeros(n_clusters, n_latent))
        self.log_var = nn.Parameter(torch.zeros(n_clusters, n_latent))
        # whether the components have been placed; before, p(z) is N(0, I) and nothing is gated
        self.register_buffer("started", torch.tensor(False))

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Normalized log-weights (K,), means (K, D), log-variances (K, D)."""
        return self.logit.log_softmax(0), self.mean, self.log_var

    @torch.no_grad()
    def start(self, weight: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Place the components: weights (K,), means (K, D), variances (K, D)."""
        self.logit.copy_(weight.clamp_min(1e-8).log())
        self.mean.copy_(mean)
        self.log_var.copy_(variance.log())
        self.started.fill_(True)

    def responsibilities(self, z: Tensor) -> Tensor:
        """p(c|z), (B, K)."""
        return dist.responsibilities(z, *self.parts())

    def kl(self, q: Gaussian, z: Tensor) -> Tensor:
        """KL(q(z,c|x,y) || p(z,c)) at a sample z of q, (B,).

        With q(c|z) = p(c|z) the component drops out exactly: what is left is
        E_q[log q(z) - log p(z)], p(z) being the whole mixture. In closed form under N(0, I).
        """
        if not self.started:
            zero = q.mean.new_zeros(())
            return dist.gaussian_kl(q.mean, q.log_var, zero, zero)
        log_q = dist.gaussian_log_density(z, q.mean, q.log_var)
        return log_q - dist.mixture_log_joint(z, *self.parts()).logsumexp(-1)


class PairedMixtureVAE(nn.Module):
    """Tensors in, loss out. Knows nothing of files, cells' names or progress."""

    def __init__(
        self,
        options: ModelOptions,
        n_clusters: int,
        rna_totals: Tensor,
        atac_totals: Tensor,
        idf: Tensor,
    ):
        """Build the untrained model.

        Args:
            options: Shape of the network and weights of the loss.
            n_clusters: K.
            rna_totals: (G,) counts of each gene over the cells to fit.
            atac_totals: (P,) counts of each peak.
            idf: (P,) inverse document frequency of each peak over the cells to fit.
        """
        super().__init__()
        o, h = options, options.n_hidden
        n_genes, n_peaks = len(rna_totals), len(atac_totals)
        self.options = options

        def rna_branch(layer: nn.Module) -> RnaBranch:
            return RnaBranch(layer, h, o.mask_attention)

        def atac_branch(layer: nn.Module) -> AtacBranch:
            return AtacBranch(layer, h, o.n_heads)

        def genes() -> RnaBranch:
            return rna_branch(InputLinear(n_genes, h))

        def peaks() -> AtacBranch:
            return atac_branch(InputLinear(n_peaks, h))

        self.encoder_joint = Encoder({"rna": genes(), "atac": peaks()}, h, o.n_latent)
        self.encoder_rna = Encoder({"rna": genes()}, h, o.n_latent)
        self.encoder_atac = Encoder({"atac": peaks()}, h, o.n_latent)
        self.prior = MixturePrior(n_clusters, o.n_latent)
        from_z = rna_branch(nn.Linear(o.n_latent, h))
        self.decoder_rna = Decoder(from_z, h, n_clusters, log_share(rna_totals))
        from_z = atac_branch(nn.Linear(o.n_latent, h))
        self.decoder_atac = Decoder(from_z, h, n_clusters, log_share(atac_totals))
        self.log_theta = nn.Parameter(torch.full((n_genes,), START_LOG_THETA))
        self.zero_logit = nn.Parameter(torch.full((n_peaks,), START_ZERO_LOGIT))
        self.zero_head = nn.Linear(h, n_peaks, bias=False) if o.zero_inflation == "entry" else None
        self.register_buffer("idf", idf)

    # ---- what the encoders read

    def rna_input(self, x: SparseRows) -> SparseRows:
        """log1p of counts; zeros stay zeros."""
        return x.with_values(x.value.log1p())

    def atac_input(self, y: SparseRows) -> SparseRows:
        """TF-IDF, log1p(1e4 tf idf), with the idf of the cells that were fitted."""
        tf = y.value / y.sums()[y.row]
        return y.with_values((TFIDF_SCALE * tf * self.idf[y.column]).log1p())

    # ---- the model

    def encode(self, batch: PairedBatch, modality: str = "joint") -> Gaussian:
        """q(z|x,y), q(z|x) or q(z|y) of measured cells."""
        if modality == "joint":
            return self.encoder_joint(self.rna_input(batch.rna), self.atac_input(batch.atac))
        if modality == "rna":
            return self.encoder_rna(self.rna_input(batch.rna))
        return self.encoder_atac(self.atac_input(batch.atac))

    def gate_input(self, z: Tensor) -> Tensor | None:
        """p(c|z) where the decoders are gated by it, else None."""
        if self.options.cluster_gate and self.prior.started:
            return self.prior.responsibilities(z)
        return None

    def decode(self, z: Tensor) -> Decoded:
        """Parameters of both likelihoods at z, (B, D)."""
        p_c = self.gate_input(z)
        share_rna, _ = self.decoder_rna(z, p_c)
        share_atac, h = self.decoder_atac(z, p_c)
        zero_logit = self.zero_logit
        if self.zero_head is not None:
            zero_logit = zero_logit + self.zero_head(h)
        return Decoded(share_rna, share_atac, zero_logit)

    def loss(self, batch: PairedBatch) -> LossTerms:
        """Every term of the loss at one sample of z per cell."""
        x, y = self.rna_input(batch.rna), self.atac_input(batch.atac)
        size_rna, size_atac = batch.rna.sums()[:, None], batch.atac.sums()[:, None]

        q = self.encoder_joint(x, y)
        z = q.sample()
        decoded = self.decode(z)
        mean_rna = decoded.share_rna * size_rna
        log_x = dist.negative_binomial(batch.rna, mean_rna, self.log_theta)
        # divided by 1 - phi, so that phi changes the shape of p(y|z) and not its mean
        poisson_mean = decoded.share_atac * size_atac * (1 + decoded.zero_logit.exp())
        log_y = dist.zero_inflated_poisson(batch.atac, poisson_mean, decoded.zero_logit)
        terms = (-log_x, -log_y, self.prior.kl(q, z), self._consistency(q, x, y, mean_rna, decoded))
        return LossTerms(*(term.mean() for term in terms))

    def _consistency(
        self, q: Gaussian, x: SparseRows, y: SparseRows, mean_rna: Tensor, decoded: Decoded
    ) -> Tensor:
        """KLs of the joint posterior to the single encoders, on measured and on imputed data."""
        total = q.mean.new_zeros(len(q.mean))
        if weight := self.options.weight_consistency_measured:
            kls = dist.gaussian_kl(*q, *self.encoder_rna(x))
            kls = kls + dist.gaussian_kl(*q, *self.encoder_atac(y))
            total = total + weight * kls
        if weight := self.options.weight_consistency_imputed:
            # detached: the decoder answers to the data, not to what the single encoders make of it
            imputed_x = mean_rna.detach().log1p()
            imputed_y = (decoded.share_atac.detach() * (TFIDF_SCALE * self.idf)).log1p()
            kls = dist.gaussian_kl(*q, *self.encoder_rna(imputed_x, measured=False))
            kls = kls + dist.gaussian_kl(*q, *self.encoder_atac(imputed_y, measured=False))
            total = total + weight * kls
        return total


def log_share(totals: Tensor) -> Tensor:
    """Log of each feature's share of all counts, with one pseudo-count."""
    smoothed = totals + 1
    return (smoothed / smoothed.sum()).log()
