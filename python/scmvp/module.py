"""The generative model and its loss, in the symbols of the paper (docs/MODEL.md).

Cell i has counts x (G genes) and y (P peaks), library sizes l_x and l_y, a latent z (D) and a
component c (of K):

    c ~ Cat(softmax(pi))    z | c ~ N(mu_c, diag sigma_c^2)
    x | z ~ NB(l_x f_x(z), theta)    y | z ~ ZIP(l_y f_y(z), phi)

f_x and f_y are softmax outputs of decoders gated by p(c|z).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import distributions as dist
from . import likelihood
from .batches import PairedBatch
from .errors import InputError
from .inputs import SpectralScores
from .networks import AtacBranch, Decoder, Encoder, Gaussian, RnaBranch
from .sparse import SparseRows

START_LOG_THETA = 1.0  # variance mean + mean^2 / e: mild overdispersion until the data speak
START_ZERO_LOGIT = -3.0  # 5 % structural zeros


@dataclass(frozen=True)
class ModelOptions:
    """What the network is; fixed once weights exist. Reasons and measurements: docs/MODEL.md."""

    n_latent: int = 20  # D
    n_hidden: int = 128  # width of every hidden layer
    n_heads: int = 8  # tokens of the self-attention (slices of the hidden layer); 0: none
    mask_attention: bool = True
    cluster_gate: bool = True
    zero_inflation: str = "none"  # phi: one logit per "peak", or per "entry" from the decoder
    encoder_input: str = "spectral"  # or "counts": log counts and TF-IDF, as the paper has it
    n_components: int = 30  # of either modality, that "spectral" encoders read
    input_noise: float = 0.5  # sd added to these in training; a cell's own counts have about 1
    decoder_precision: float = 1000.0  # of the Gaussian prior of the output weights; 0: none
    distil: bool = True  # the consistency terms teach the single encoders, not the joint one
    weight_atac: float = 1.0  # of log p(y|z), log p(x|z) having 1
    weight_consistency_measured: float = 0.3  # of KL(q(z|x,y) || q(z|x)) and of the same with y
    weight_consistency_imputed: float = 1.0  # of KL(q(z|x,y) || q(z|x^)) and of the same with y^

    def __post_init__(self) -> None:
        if self.zero_inflation not in ("none", "peak", "entry"):
            raise InputError(
                f"zero_inflation is {self.zero_inflation!r}; use 'none', 'peak' or 'entry'"
            )
        if self.encoder_input not in ("spectral", "counts"):
            raise InputError(f"encoder_input is {self.encoder_input!r}; use 'spectral' or 'counts'")


class Inputs(NamedTuple):
    """What the encoders read, of measured cells or of imputed profiles."""

    rna: SparseRows | Tensor  # (B, G) sparse, or (B, d)
    atac: SparseRows | Tensor  # (B, P) sparse, or (B, d)


class Noise(NamedTuple):
    """Standard normal numbers of a training step."""

    z: Tensor  # (B, D)
    rna: Tensor  # (B, d), for what the encoders read; (B, 0) where nothing is added to it
    atac: Tensor  # (B, d)


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
    """p(z, c); K diagonal Gaussians that all start as N(0, I).

    They are diagonal in the coordinates u = (z - centre) @ axes, the frame, which is the latent
    that users see. With `mixture_update="refit"` the components' common covariance is the identity
    there; else u is z.
    """

    def __init__(self, n_clusters: int, n_latent: int):
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(n_clusters))
        self.mean = nn.Parameter(torch.zeros(n_clusters, n_latent))
        self.log_var = nn.Parameter(torch.zeros(n_clusters, n_latent))
        self.register_buffer("centre", torch.zeros(n_latent))
        self.register_buffer("axes", torch.eye(n_latent))
        # whether the components have been placed; before, p(z) is N(0, I) and nothing is gated
        self.register_buffer("started", torch.tensor(False))
        self.has_started = False  # the same, known without waiting for a GPU
        self.register_load_state_dict_post_hook(MixturePrior._read_started)

    def _read_started(self, _: object = None) -> None:
        self.has_started = bool(self.started)

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Normalized log-weights (K,), means (K, D), log-variances (K, D), in the frame."""
        return self.logit.log_softmax(0), self.mean, self.log_var

    @torch.no_grad()
    def start(self, weight: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Place the components: weights (K,), means (K, D), variances (K, D), in the frame."""
        self.logit.copy_(weight.clamp_min(1e-8).log())
        self.mean.copy_(mean)
        self.log_var.copy_(variance.log())
        self.note_start()

    def note_start(self) -> None:
        """The components are where they belong."""
        self.started.fill_(True)
        self.has_started = True

    @torch.no_grad()
    def set_frame(self, centre: Tensor, axes: Tensor) -> None:
        """Take other coordinates: (D,), and (D, D), not singular; the components do not follow."""
        self.centre.copy_(centre)
        self.axes.copy_(axes)

    def to_frame(self, z: Tensor) -> Tensor:
        """Latent of the networks to the frame, (B, D)."""
        return (z - self.centre) @ self.axes

    def from_frame(self, u: Tensor) -> Tensor:
        """Frame to the latent of the networks, (B, D)."""
        return torch.linalg.solve(self.axes, u, left=False) + self.centre

    def responsibilities(self, u: Tensor) -> Tensor:
        """p(c|z) at points of the frame, (B, K)."""
        return dist.responsibilities(u, *self.parts())

    def kl(self, q: Gaussian, z: Tensor) -> Tensor:
        """KL(q(z,c|x,y) || p(z,c)) at a sample z of q, (B,).

        With q(c|z) = p(c|z) the component drops out exactly: what is left is
        E_q[log q(z) - log p(z)], p(z) being the whole mixture. In closed form under N(0, I).
        """
        if not self.has_started:
            zero = q.mean.new_zeros(())
            return dist.gaussian_kl(q.mean, q.log_var, zero, zero)
        log_q = dist.gaussian_log_density(z, q.mean, q.log_var)
        log_p = dist.mixture_log_joint(self.to_frame(z), *self.parts()).logsumexp(-1)
        return log_q - log_p - torch.linalg.slogdet(self.axes).logabsdet


class Features(NamedTuple):
    """What a modality's part of the network is built from."""

    totals: Tensor  # (F,) counts of each feature over the cells to fit
    read: nn.Module  # what its encoders read of counts (module `inputs`)


class PairedMixtureVAE(nn.Module):
    """Tensors in, loss out. Knows nothing of files, cells' names or progress."""

    def __init__(self, options: ModelOptions, n_clusters: int, rna: Features, atac: Features):
        """Build the untrained model.

        Args:
            options: Shape of the network and weights of the loss.
            n_clusters: K.
            rna: G genes.
            atac: P peaks.
        """
        super().__init__()
        o, h = options, options.n_hidden
        self.options = options
        self.read_rna, self.read_atac = rna.read, atac.read

        def rna_branch(layer: nn.Module) -> RnaBranch:
            return RnaBranch(layer, h, o.mask_attention)

        def atac_branch(layer: nn.Module) -> AtacBranch:
            return AtacBranch(layer, h, o.n_heads)

        def genes() -> RnaBranch:
            return rna_branch(rna.read.layer(h))

        def peaks() -> AtacBranch:
            return atac_branch(atac.read.layer(h))

        self.encoder_joint = Encoder({"rna": genes(), "atac": peaks()}, h, o.n_latent)
        self.encoder_rna = Encoder({"rna": genes()}, h, o.n_latent)
        self.encoder_atac = Encoder({"atac": peaks()}, h, o.n_latent)
        self.prior = MixturePrior(n_clusters, o.n_latent)
        self.decoder_rna = Decoder(
            rna_branch(nn.Linear(o.n_latent, h)), h, n_clusters, log_share(rna.totals)
        )
        self.decoder_atac = Decoder(
            atac_branch(nn.Linear(o.n_latent, h)), h, n_clusters, log_share(atac.totals)
        )
        n_genes, n_peaks = len(rna.totals), len(atac.totals)
        self.log_theta = nn.Parameter(torch.full((n_genes,), START_LOG_THETA))
        self.zero_logit = nn.Parameter(torch.full((n_peaks,), START_ZERO_LOGIT))
        self.zero_inflated = o.zero_inflation != "none"
        self.zero_logit.requires_grad_(self.zero_inflated)
        self.zero_head = nn.Linear(h, n_peaks, bias=False) if o.zero_inflation == "entry" else None
        self.pool: likelihood.Pool | None = None  # set while training

    # ---- the model

    def read(self, batch: PairedBatch) -> Inputs:
        """What the encoders read of measured cells."""
        return Inputs(self.read_rna(batch.rna), self.read_atac(batch.atac))

    def encode(self, read: Inputs, modality: str = "joint") -> Gaussian:
        """q(z|x,y), q(z|x) or q(z|y) of what was read of cells."""
        if modality == "joint":
            return self.encoder_joint(*read)
        return self.encoder_rna(read.rna) if modality == "rna" else self.encoder_atac(read.atac)

    def gate_input(self, z: Tensor) -> Tensor | None:
        """p(c|z) where the decoders are gated by it, else None."""
        if self.options.cluster_gate and self.prior.has_started:
            return self.prior.responsibilities(self.prior.to_frame(z))
        return None

    def decode(self, z: Tensor) -> Decoded:
        """Parameters of both likelihoods at z, (B, D)."""
        p_c = self.gate_input(z)
        h = self.decoder_atac.hidden(z, p_c)
        zero_logit = self.zero_logit
        if self.zero_head is not None:
            zero_logit = zero_logit + self.zero_head(h)
        return Decoded(self.decoder_rna(z, p_c), self.decoder_atac.share(h), zero_logit)

    def noise(self, n_cells: int) -> Noise:
        """Draw what a training step of so many cells needs."""
        o = self.options
        blurred = isinstance(self.read_rna, SpectralScores) and o.input_noise > 0
        readers = (self.read_rna, self.read_atac)
        widths = [o.n_latent, *(len(reader.centre) if blurred else 0 for reader in readers)]
        drawn = torch.randn(n_cells, sum(widths), device=self.log_theta.device)
        return Noise(*drawn.split(widths, 1))

    def loss(
        self, batch: PairedBatch, read: Inputs | None = None, noise: Noise | None = None
    ) -> LossTerms:
        """Every term of the loss at one sample of z per cell.

        In training, what the encoders read of measured cells is blurred (docs/MODEL.md, D16).

        Args:
            batch: The cells.
            read: What `read` makes of them, where it is known already.
            noise: What `noise` draws; drawn when None.
        """
        read = self.read(batch) if read is None else read
        noise = self.noise(batch.rna.n_rows) if noise is None else noise
        if self.training and noise.rna.shape[1]:
            blur = self.options.input_noise
            read = Inputs(read.rna + blur * noise.rna, read.atac + blur * noise.atac)
        q = self.encoder_joint(*read)
        z = q.sample(noise.z)
        one_pass = self.zero_head is None and isinstance(self.read_rna, SpectralScores)
        likelihoods = self._in_one_pass if one_pass else self._of_shares
        log_x, log_y, imputed = likelihoods(batch, z)
        kl, consistency = self.prior.kl(q, z), self._consistency(q, read, imputed)
        return LossTerms(-log_x, -log_y, kl.mean(), consistency.mean())

    def _in_one_pass(self, batch: PairedBatch, z: Tensor) -> tuple[Tensor, Tensor, Inputs]:
        """Log p(x|z), log p(y|z) and what is read of the imputed profiles, never forming these."""
        p_c = self.gate_input(z)
        log_lik, scores = [], []
        for family, parameter, decoder, counts, reader in (
            (
                likelihood.NegativeBinomial,
                self.log_theta,
                self.decoder_rna,
                batch.rna,
                self.read_rna,
            ),
            (
                likelihood.ZeroInflatedPoisson if self.zero_inflated else likelihood.Poisson,
                self.zero_logit,
                self.decoder_atac,
                batch.atac,
                self.read_atac,
            ),
        ):
            h = decoder.hidden(z, p_c)
            found = likelihood.of_counts(
                family, parameter, h, decoder.output, counts, reader.loading, self.pool
            )
            log_lik.append(found.log_lik)
            scores.append(found.scores - reader.centre)
        return *log_lik, Inputs(*scores)

    def _of_shares(self, batch: PairedBatch, z: Tensor) -> tuple[Tensor, Tensor, Inputs]:
        """The same by way of the shares of all features."""
        decoded = self.decode(z)
        size_rna, size_atac = batch.rna.sums()[:, None], batch.atac.sums()[:, None]
        log_x = dist.negative_binomial(batch.rna, decoded.share_rna * size_rna, self.log_theta)
        mean_atac = decoded.share_atac * size_atac
        if self.zero_inflated:
            # divided by 1 - phi, so that phi changes the shape of p(y|z) and not its mean
            poisson_mean = mean_atac * (1 + decoded.zero_logit.exp())
            log_y = dist.zero_inflated_poisson(batch.atac, poisson_mean, decoded.zero_logit)
        else:
            log_y = dist.poisson(batch.atac, mean_atac)
        imputed = Inputs(
            self.read_rna.imputed(decoded.share_rna.detach(), size_rna),
            self.read_atac.imputed(decoded.share_atac.detach(), size_atac),
        )
        return log_x.mean(), log_y.mean(), imputed

    def outputs(self) -> tuple[nn.Linear, nn.Linear]:
        """The output layers of both decoders."""
        return self.decoder_rna.output, self.decoder_atac.output

    def parameter_groups(self, n_cells: int) -> list[dict[str, Any]]:
        """What there is to learn from `n_cells` cells, as an optimizer takes it.

        The Gaussian prior of the output weights, -log N(W; 0, 1 / precision) of all cells, has the
        gradient precision W: per cell, that is a weight decay.
        """
        outputs = [layer.weight for layer in self.outputs()]
        known = set(map(id, outputs))
        learnt = [part for part in self.parameters() if part.requires_grad]
        decay = self.options.decoder_precision / n_cells
        return [
            {"params": outputs, "weight_decay": decay},
            {"params": [part for part in learnt if id(part) not in known]},
        ]

    def _consistency(self, q: Gaussian, measured: Inputs, imputed: Inputs) -> Tensor:
        """KLs of the joint posterior to the single encoders, on measured and on imputed data.

        The imputed data come detached: the decoder answers to the data, not to what the single
        encoders make of it. So does the joint encoder, where the options say so.
        """
        if self.options.distil:
            q = Gaussian(q.mean.detach(), q.log_var.detach())
        total = q.mean.new_zeros(len(q.mean))
        if weight := self.options.weight_consistency_measured:
            total = total + weight * self._single_kls(q, measured)
        if weight := self.options.weight_consistency_imputed:
            total = total + weight * self._single_kls(q, imputed, measured=False)
        return total

    def _single_kls(self, q: Gaussian, read: Inputs, measured: bool = True) -> Tensor:
        return dist.gaussian_kl(*q, *self.encoder_rna(read.rna, measured=measured)) + (
            dist.gaussian_kl(*q, *self.encoder_atac(read.atac, measured=measured))
        )


def log_share(totals: Tensor) -> Tensor:
    """Log of each feature's share of all counts, with one pseudo-count."""
    smoothed = totals + 1
    return (smoothed / smoothed.sum()).log()
