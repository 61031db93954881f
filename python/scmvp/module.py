"""The generative model and its loss, in the symbols of the paper (docs/MODEL.md).

Cell i has counts x (G genes) and y (P peaks), library sizes l_x and l_y, a latent z (D) and a
component c (of K):

    c ~ Cat(softmax(pi))    z | c ~ N(mu_c, diag sigma_c^2)
    x | z ~ NB(l_x f_x(z), theta)    y | z ~ NB1(l_y f_y(z), c)

f_x and f_y are softmax outputs of decoders gated by p(c|z).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import distributions as dist
from . import likelihood, zeros
from .batches import PairedBatch
from .errors import InputError
from .inputs import SpectralScores
from .networks import AtacBranch, Decoder, Encoder, Gaussian, RnaBranch, keep_first
from .preprocess import MAX_CLUSTERS
from .sparse import SparseRows
from .zeros import SampledZeros

# Logarithms of the dispersions until these are learnt: mild ones (docs/MODEL.md, D23).
START_LOG_THETA = 1.5  # of the genes: variance m + m^2 / 4.5
NO_DISPERSION = -20.0  # of the peaks: the Poisson
START_LOG_DISPERSION = -2.0  # of the peaks, where it begins to be learnt: variance 1.14 mean
START_ZERO_LOGIT = -3.0  # 5 % structural zeros


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


class Inputs(NamedTuple):
    """What the encoders read, of measured cells or of imputed profiles."""

    rna: SparseRows | Tensor  # (B, G) sparse, or (B, d)
    atac: SparseRows | Tensor  # (B, P) sparse, or (B, d)
    present: Tensor | None = None  # (B, 2) bool, which modalities a cell has; None: both, all cells

    def each(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The same change of every part."""
        return Inputs(*(None if part is None else change(part) for part in self))


class Posteriors(NamedTuple):
    """The three posteriors of a batch, of which a cell has those that its modalities allow."""

    joint: Gaussian  # q(z|x,y); q(z|x) or q(z|y) of a cell with one modality
    rna: Gaussian  # q(z|x); of a cell without RNA it means nothing
    atac: Gaussian  # q(z|y)
    paired: Tensor | None  # (B,) bool; None: all cells


class Noise(NamedTuple):
    """Standard normal numbers of a training step."""

    z: Tensor  # (B, D)
    rna: Tensor  # (B, d), for what the encoders read; (B, 0) where nothing is added to it
    atac: Tensor  # (B, d)


class Decoded(NamedTuple):
    """Parameters of p(x|z) and p(y|z), up to the library sizes."""

    share_rna: Tensor  # (B, G), sums to 1 over genes
    share_atac: Tensor  # (B, P), sums to 1 over peaks
    zero_logit: Tensor | None  # (B, P), where the likelihood of the peaks is 'zip'


class LossTerms(NamedTuple):
    """Means over the cells of a batch, in nats per cell."""

    reconstruction_rna: Tensor  # -log NB(x)
    reconstruction_atac: Tensor  # -log NB1(y)
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
    log_factor: Tensor | None = None  # (S, F), what the batches do to the features' shares


class PairedMixtureVAE(nn.Module):
    """Tensors in, loss out. Knows nothing of files, cells' names or progress."""

    def __init__(
        self,
        options: ModelOptions,
        n_clusters: int | None,
        rna: Features,
        atac: Features,
    ):
        """Build the untrained model.

        Args:
            options: Shape of the network and weights of the loss.
            n_clusters: K; None leaves it open until `set_n_clusters`.
            rna: G genes.
            atac: P peaks.
        """
        super().__init__()
        o, h = options, options.n_hidden
        self.options = options
        self.n_clusters_given = n_clusters
        n_clusters = n_clusters or MAX_CLUSTERS
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

        def decoder(branch: Callable[[nn.Module], nn.Module], of: Features) -> Decoder:
            first = branch(nn.Linear(o.n_latent, h))
            return Decoder(first, h, n_clusters, log_share(of.totals), of.log_factor)

        self.decoder_rna = decoder(rna_branch, rna)
        self.decoder_atac = decoder(atac_branch, atac)
        n_genes, n_peaks = len(rna.totals), len(atac.totals)
        self.log_theta = nn.Parameter(torch.full((n_genes,), START_LOG_THETA))
        self.log_dispersion = nn.Parameter(torch.full((n_peaks,), NO_DISPERSION))
        self.no_dispersion = True  # that the peaks still have none, known without a look at a GPU
        self.register_load_state_dict_post_hook(PairedMixtureVAE._read_dispersion)
        for dispersion in self.dispersions():
            dispersion.requires_grad_(False)  # until `learn_dispersions`
        self.zero_head = None
        if o.likelihood_atac == "zip":
            self.zero_head = nn.Linear(h, n_peaks)
            nn.init.constant_(self.zero_head.bias, START_ZERO_LOGIT)
        self.totals = {"rna": rna.totals, "atac": atac.totals}
        # set while training: memory, and how what the zeros say is estimated
        self.pool: likelihood.Pool | None = None
        self.zeros: dict[str, SampledZeros] = {}

    def _read_dispersion(self, _: object = None) -> None:
        self.no_dispersion = bool((self.log_dispersion == NO_DISPERSION).all())

    # ---- the model

    def read(self, batch: PairedBatch) -> Inputs:
        """What the encoders read of measured cells."""
        rna = self.read_rna(batch.rna, batch.design)
        atac = self.read_atac(batch.atac, batch.design)
        if not isinstance(rna, Tensor):
            return Inputs(rna, atac)
        return Inputs(rna, atac, torch.stack([batch.rna.sums(), batch.atac.sums()], 1) > 0)

    def encode(self, read: Inputs, modality: str = "joint") -> Gaussian:
        """q(z|x,y), q(z|x) or q(z|y) of what was read of cells.

        In the place of q(z|x,y), a cell of one modality has the posterior given that one.
        """
        if modality == "joint":
            return self.posteriors(read).joint
        return self.encoder_rna(read.rna) if modality == "rna" else self.encoder_atac(read.atac)

    def posteriors(self, read: Inputs) -> Posteriors:
        """All posteriors of what was read; no encoder sees a cell whose modality is missing."""
        if read.present is None:
            joint = self.encoder_joint(read.rna, read.atac)
            return Posteriors(joint, self.encoder_rna(read.rna), self.encoder_atac(read.atac), None)
        has_rna, has_atac = read.present.unbind(1)
        paired = has_rna & has_atac
        rna = _spread(self.encoder_rna(read.rna[has_rna]), has_rna)
        atac = _spread(self.encoder_atac(read.atac[has_atac]), has_atac)
        joint = _spread(self.encoder_joint(read.rna[paired], read.atac[paired]), paired)
        parts = zip(joint, rna, atac, strict=True)
        chosen = (
            torch.where(paired[:, None], both, torch.where(has_rna[:, None], of_rna, of_atac))
            for both, of_rna, of_atac in parts
        )
        return Posteriors(Gaussian(*chosen), rna, atac, paired)

    def gate_input(self, z: Tensor) -> Tensor | None:
        """p(c|z) where the decoders are gated by it, else None."""
        if self.options.cluster_gate and self.prior.has_started:
            return self.prior.responsibilities(self.prior.to_frame(z))
        return None

    def decode(self, z: Tensor, design: Tensor | None = None) -> Decoded:
        """Parameters of both likelihoods at z, (B, D), in batches (B, S)."""
        p_c = self.gate_input(z)
        h = self.decoder_atac.hidden(z, p_c)
        zero_logit = None if self.zero_head is None else self.zero_head(h)
        rna, atac = self.decoder_rna(z, p_c, design), self.decoder_atac.share(h, design)
        return Decoded(rna, atac, zero_logit)

    def noise(self, n_cells: int) -> Noise:
        """Draw what a training step of so many cells needs."""
        o = self.options
        blurred = isinstance(self.read_rna, SpectralScores) and o.input_noise > 0
        readers = (self.read_rna, self.read_atac)
        widths = [o.n_latent, *(reader.n_scores if blurred else 0 for reader in readers)]
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
            blurred = read.rna + blur * noise.rna, read.atac + blur * noise.atac
            read = Inputs(*blurred, read.present)
        found = self.posteriors(read)
        q = found.joint
        z = q.sample(noise.z)
        likelihoods = self._in_one_pass if self.one_pass else self._of_shares
        log_x, log_y, imputed = likelihoods(batch, z)
        kl, consistency = self.prior.kl(q, z), self._consistency(found, imputed)
        return LossTerms(-log_x, -log_y, kl.mean(), consistency.mean())

    def _in_one_pass(self, batch: PairedBatch, z: Tensor) -> tuple[Tensor, Tensor, Inputs]:
        """Log p(x|z), log p(y|z) and what is read of the imputed profiles, never forming these."""
        p_c = self.gate_input(z)
        log_lik, scores = [], []
        for name, family, parameter, decoder, counts, reader in (
            (
                "rna",
                likelihood.NegativeBinomial,
                self.log_theta,
                self.decoder_rna,
                batch.rna,
                self.read_rna,
            ),
            (
                "atac",
                likelihood.Poisson if self.no_dispersion else likelihood.LinearNegativeBinomial,
                self.log_dispersion,
                self.decoder_atac,
                batch.atac,
                self.read_atac,
            ),
        ):
            h, weight = decoder.with_design(decoder.hidden(z, p_c), batch.design)
            bias = decoder.output.bias
            scoring = reader.scoring(batch.design)
            parts = (family, parameter, h, weight, bias, counts, scoring, self.pool)
            if self.training and name in self.zeros:
                found = zeros.of_counts(*parts, self.zeros[name], float(torch.rand(())))
            else:
                found = likelihood.of_counts(*parts)
            log_lik.append(found.log_lik)
            scores.append(found.scores - reader.centre)
        return *log_lik, Inputs(*scores)

    def _of_shares(self, batch: PairedBatch, z: Tensor) -> tuple[Tensor, Tensor, Inputs]:
        """The same by way of the shares of all features."""
        decoded = self.decode(z, batch.design)
        size_rna, size_atac = batch.rna.sums()[:, None], batch.atac.sums()[:, None]
        log_x = dist.negative_binomial(batch.rna, decoded.share_rna * size_rna, self.log_theta)
        mean_atac = decoded.share_atac * size_atac
        if decoded.zero_logit is not None:
            # divided by 1 - phi, so that phi changes the shape of p(y|z) and not its mean
            poisson_mean = mean_atac * (1 + decoded.zero_logit.exp())
            log_y = dist.zero_inflated_poisson(batch.atac, poisson_mean, decoded.zero_logit)
        else:
            log_y = dist.linear_negative_binomial(batch.atac, mean_atac, self.log_dispersion)
        imputed = Inputs(
            self.read_rna.imputed(decoded.share_rna.detach(), size_rna, batch.design),
            self.read_atac.imputed(decoded.share_atac.detach(), size_atac, batch.design),
        )
        return log_x.mean(), log_y.mean(), imputed

    @property
    def one_pass(self) -> bool:
        """Whether the likelihoods and their gradients are computed without the shares."""
        return self.zero_head is None and isinstance(self.read_rna, SpectralScores)

    @property
    def n_clusters(self) -> int:
        """K; the largest there may be where it is still open."""
        return len(self.prior.mean)

    def set_n_clusters(self, n_clusters: int) -> dict[nn.Parameter, nn.Parameter]:
        """Settle a K that was left open, before the mixture starts.

        Returns:
            The parameters that are new, by those whose place they take.
        """
        new = [keep_first(self.prior, name, n_clusters) for name in ("logit", "mean", "log_var")]
        for decoder in self.decoders().values():
            new.append(keep_first(decoder.gate.score, "weight", n_clusters, dim=1))
            decoder.gate.score.in_features = n_clusters
        return dict(new)

    def decoders(self) -> dict[str, Decoder]:
        """By modality."""
        return {"rna": self.decoder_rna, "atac": self.decoder_atac}

    def outputs(self) -> list[nn.Linear]:
        """The output layers of both decoders."""
        return [decoder.output for decoder in self.decoders().values()]

    def dispersions(self) -> list[nn.Parameter]:
        """The logarithms of theta and, where the peaks' likelihood has one, of c."""
        of_atac = [self.log_dispersion] if self.options.likelihood_atac == "nb1" else []
        return [self.log_theta, *of_atac]

    @torch.no_grad()
    def learn_dispersions(self) -> None:
        """From now on gradients reach them."""
        for dispersion in self.dispersions():
            dispersion.requires_grad_()
            dispersion[dispersion == NO_DISPERSION] = START_LOG_DISPERSION
        self._read_dispersion()

    def parameter_groups(self, n_cells: int) -> list[dict[str, Any]]:
        """What there is to learn from `n_cells` cells, as an optimizer takes it.

        That of the dispersions says so.

        The Gaussian prior of the output weights, -log N(W; 0, 1 / precision) of all cells, has the
        gradient precision W: per cell, that is a weight decay.
        """
        decoders = self.decoders().values()
        of_latent = [decoder.output.weight for decoder in decoders]
        of_batches = [decoder.of_level for decoder in decoders if decoder.of_level is not None]
        known = set(map(id, of_latent + of_batches))
        learnt = [part for part in self.parameters() if part.requires_grad]
        o = self.options
        groups = [
            {"params": of_latent, "weight_decay": o.decoder_precision / n_cells},
            {"params": [part for part in learnt if id(part) not in known]},
            {"params": self.dispersions(), "dispersions": True},
        ]
        if of_batches:
            groups.append({"params": of_batches, "weight_decay": o.batch_precision / n_cells})
        return groups

    def _consistency(self, found: Posteriors, imputed: Inputs) -> Tensor:
        """KLs of the joint posterior to the single encoders, on measured and on imputed data.

        The imputed data come detached: the decoder answers to the data, not to what the single
        encoders make of it. So does the joint encoder, where the options say so.
        """
        q = found.joint
        if self.options.distil:
            q = Gaussian(q.mean.detach(), q.log_var.detach())
        total = q.mean.new_zeros(len(q.mean))
        if weight := self.options.weight_consistency_measured:
            measured = dist.gaussian_kl(*q, *found.rna) + dist.gaussian_kl(*q, *found.atac)
            # a cell of one modality has nothing that its posterior could be held against
            paired = 1.0 if found.paired is None else found.paired
            total = total + weight * measured * paired
        if weight := self.options.weight_consistency_imputed:
            rna = self.encoder_rna(imputed.rna, measured=False)
            atac = self.encoder_atac(imputed.atac, measured=False)
            total = total + weight * (dist.gaussian_kl(*q, *rna) + dist.gaussian_kl(*q, *atac))
        return total


def _spread(q: Gaussian, where: Tensor) -> Gaussian:
    """Posteriors of the cells `where` (B,) is true among those of all, 0 for the others."""
    return Gaussian(
        *(part.new_zeros(len(where), part.shape[1]).index_put((where,), part) for part in q)
    )


def log_share(totals: Tensor) -> Tensor:
    """Log of each feature's share of all counts, with one pseudo-count."""
    smoothed = totals + 1
    return (smoothed / smoothed.sum()).log()
