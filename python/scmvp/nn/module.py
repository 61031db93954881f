"""The generative model and its loss, in the symbols of the paper (docs/MODEL.md).

Cell i has counts x (G genes) and y (P peaks), library sizes l_x and l_y, a latent z (D) and a
component c (of K):

    c ~ Cat(softmax(pi))    z | c ~ N(mu_c, Sigma)
    x | z ~ NB(l_x f_x(z), theta)    y | z ~ NB1(l_y f_y(z), alpha)

All components share the covariance Sigma (in preset `paper`, each has a diagonal one). f_x and f_y
are softmax outputs of decoders gated by p(c|z). The parts of each modality are kept by its name;
`modalities` has their networks and likelihoods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..modalities import MODALITIES
from ..options import MAX_CLUSTERS, ModelOptions
from . import distributions as dist
from . import likelihood, zeros
from .background import Background
from .batches import PairedBatch
from .families import FAMILIES, NO_DISPERSION, START_ZERO_LOGIT
from .inputs import Inputs, Reader, SpectralScores
from .levels import Levels
from .networks import BRANCHES, Decoder, Encoder, Gaussian, Modules, keep_first, pooled, spread
from .prior import MixturePrior
from .sparse import rows_of_mask
from .zeros import SampledZeros


class Posteriors(NamedTuple):
    """All posteriors of a minibatch."""

    joint: Gaussian  # q(z|all modalities of the cell)
    by_modality: dict[str, Gaussian]  # without meaning for cells without the modality
    present: Tensor | None  # as in Inputs


class Noise(NamedTuple):
    """Standard normal numbers of a training step."""

    z: Tensor  # (B, D)
    inputs: dict[str, Tensor]  # (B, d), input noise by modality; empty: there is none

    def each(self, change: Callable[[Tensor], Tensor]) -> Noise:
        """With `change` applied to every part."""
        return Noise(change(self.z), {name: change(part) for name, part in self.inputs.items()})


class Decoded(NamedTuple):
    """Parameters of the likelihoods by modality, up to the library sizes."""

    proportions: dict[str, Tensor]  # (B, F), expected proportions f
    zero_logit: dict[str, Tensor | None]  # (B, F), where the likelihood is zero-inflated


class LossTerms(NamedTuple):
    """Means over the cells of a batch, in nats per cell."""

    reconstruction: dict[str, Tensor]  # by modality, -log p(counts|z)
    kl: Tensor  # KL(q(z,c|x,y) || p(z,c))
    consistency: Tensor  # L3 and L4, weighted

    @property
    def negative_elbo(self) -> Tensor:
        """-log p(x|z) - log p(y|z) + KL, without any weight."""
        return sum(self.reconstruction.values()) + self.kl

    def objective(self, options: ModelOptions, warm_up_weight: float) -> Tensor:
        """L5, what is minimized; `warm_up_weight` in (0, 1] is w of the KL warm-up."""
        weighted = (options.weight(name) * term for name, term in self.reconstruction.items())
        return sum(weighted) + warm_up_weight * (self.kl + self.consistency)

    def named(self) -> dict[str, Tensor]:
        """Each term under a name of its own."""
        terms = {f"reconstruction_{name}": term for name, term in self.reconstruction.items()}
        return terms | {"kl": self.kl, "consistency": self.consistency}

    def like(self, values: Tensor) -> LossTerms:
        """The same terms of other values, in the order of `named`."""
        *reconstruction, kl, consistency = values
        return LossTerms(
            dict(zip(self.reconstruction, reconstruction, strict=True)), kl, consistency
        )


class Features(NamedTuple):
    """What a modality's part of the network is built from."""

    # (F,) counts of each feature over the cells to fit, above any background; of levels: the cells
    # in which it is covered, as the positions of a region are alike
    totals: Tensor
    reader: Reader  # computes the input of its encoders (module `inputs`)
    log_factor: Tensor | None = None  # (S, F), log factors of the batches
    background: Background | None = None  # where the likelihood has one
    start_logit: Tensor | float = START_ZERO_LOGIT  # of a zero, or of no foreground, (F,)
    levels: Tensor | None = None  # (F,), log odds of the features' levels, where these have such
    start_dispersion: float | None = None  # logarithm; None: that of the likelihood
    # by what the precision of the prior of the output weights is multiplied in early stages
    early_prior: Mapping[str, float] = MappingProxyType({})


class PairedMixtureVAE(nn.Module):
    """Tensors in, loss out. Knows nothing of files, cells' names or progress."""

    def __init__(
        self, options: ModelOptions, n_clusters: int | None, features: dict[str, Features]
    ):
        """Build the untrained model.

        Args:
            options: Shape of the network and weights of the loss.
            n_clusters: K; None leaves it open until `set_n_clusters`.
            features: Of each modality, in the order of `Inputs.present`.
        """
        super().__init__()
        o, h = options, options.n_hidden
        self.options = options
        self.n_clusters_given = n_clusters
        n_clusters = n_clusters or MAX_CLUSTERS
        self.count_models = {name: FAMILIES[o.likelihood(name)] for name in features}
        self.totals = {name: of.totals for name, of in features.items()}
        self.early_prior = {name: of.early_prior for name, of in features.items()}
        self.readers: Modules[Reader] = Modules({name: of.reader for name, of in features.items()})

        def branch(name: str, first: nn.Module) -> nn.Module:
            return BRANCHES[MODALITIES[name].attention](first, h, o)

        def encoder(*names: str) -> Encoder:
            branches = {name: branch(name, features[name].reader.layer(h)) for name in names}
            return Encoder(branches, h, o.n_latent)

        self.encoders: Modules[Encoder] = Modules({"joint": encoder(*features)})
        self.encoders.update({name: encoder(name) for name in features})
        self.prior = MixturePrior(n_clusters, o.n_latent)
        self.decoders: Modules[Decoder] = Modules()
        for name, of in features.items():
            first = branch(name, nn.Linear(o.n_latent, h))
            bias = log_proportions(of.totals) if of.levels is None else of.levels
            self.decoders[name] = Decoder(
                first, h, n_clusters, bias, of.log_factor, levels=of.levels is not None
            )
        self.dispersions = nn.ParameterDict()
        for name, of in features.items():
            known = of.start_dispersion
            start = self.count_models[name].start if known is None else known
            self.dispersions[name] = nn.Parameter(torch.full((len(of.totals),), start))
        self.dispersions.requires_grad_(False)  # until `learn_dispersions`
        self.undispersed: dict[str, bool] = {}  # whose features all have NO_DISPERSION
        self._read_dispersions()
        self.register_load_state_dict_post_hook(PairedMixtureVAE._read_dispersions)
        self.zero_heads: Modules[nn.Linear] = Modules()
        for name, model in self.count_models.items():
            if model.zero_inflated:
                self.zero_heads[name] = nn.Linear(h, len(self.totals[name]))
                with torch.no_grad():
                    self.zero_heads[name].bias.copy_(
                        torch.as_tensor(features[name].start_logit).expand(len(self.totals[name]))
                    )
        found = {name: of.background for name, of in features.items() if of.background is not None}
        self.backgrounds: Modules[Background] = Modules(found)
        # set while training: memory, and how the likelihood of zeros is estimated
        self.pool: likelihood.Pool | None = None
        self.zeros: dict[str, SampledZeros] = {}

    def _read_dispersions(self, _: object = None) -> None:
        """Note which modalities have no dispersion, so that no step has to wait for a GPU."""
        for name, parameter in self.dispersions.items():
            self.undispersed[name] = bool((parameter == NO_DISPERSION).all())

    # ---- the model

    @property
    def reads_scores(self) -> bool:
        """Whether the inputs are scores, few numbers per cell, and not counts."""
        return all(reader.n_scores is not None for reader in self.readers.values())

    def inputs(self, batch: PairedBatch) -> Inputs:
        """The observed inputs of cells."""
        counts, readers = batch.counts, self.readers.items()
        parts = {name: reader(counts[name], batch.design) for name, reader in readers}
        present = torch.stack([counts[name].sums() for name in parts], 1) > 0
        complete = not self.reads_scores and bool(present.all())  # sparse rows stay as they are
        return Inputs(parts, None if complete else present)

    def encode(self, inputs: Inputs, modality: str = "joint") -> Gaussian:
        """q(z|x,y), q(z|x) or q(z|y) of inputs.

        In the place of q(z|x,y), a unimodal cell has the posterior given its modality.
        """
        if modality == "joint":
            return self.posteriors(inputs).joint
        return self.encoders[modality](inputs.parts[modality])

    def posteriors(self, inputs: Inputs) -> Posteriors:
        """All posteriors; no encoder reads a cell that lacks its modality."""
        parts, joint = inputs.parts, self.encoders["joint"]
        if inputs.present is None:
            of_all = joint(*parts.values())
            given_one = {name: self.encoders[name](part) for name, part in parts.items()}
            return Posteriors(of_all, given_one, None)
        given_one = {}
        for name, has in zip(parts, inputs.present.unbind(1), strict=True):
            given_one[name] = spread(self.encoders[name](rows_of_mask(parts[name], has)), has)
        complete = inputs.present.all(1)
        both = [rows_of_mask(part, complete) for part in parts.values()]
        of_all = spread(joint(*both), complete)
        rest = pooled([*given_one.values()], inputs.present)
        pair = zip(of_all, rest, strict=True)
        chosen = Gaussian(*(torch.where(complete[:, None], a, b) for a, b in pair))
        return Posteriors(chosen, given_one, inputs.present)

    def gate_input(self, z: Tensor) -> Tensor | None:
        """p(c|z) where the decoders are gated by it, else None."""
        if self.options.cluster_gate and self.prior.has_started:
            return self.prior.responsibilities(self.prior.whiten(z))
        return None

    def decode(self, z: Tensor, design: Tensor | None = None) -> Decoded:
        """Parameters of the likelihoods at z, (B, D), in batches (B, S)."""
        p_c = self.gate_input(z)
        proportions, zero_logit = {}, {}
        for name, decoder in self.decoders.items():
            h = decoder.hidden(z, p_c)
            proportions[name] = decoder.proportions(h, design)
            zero_logit[name] = self._zero_logit(name, h)
        return Decoded(proportions, zero_logit)

    def expected(self, name: str, z: Tensor, design: Tensor | None = None) -> Tensor:
        """Mean counts of a cell of library size 1, without background, or levels, (B, F)."""
        decoder = self.decoders[name]
        h = decoder.hidden(z, self.gate_input(z))
        f = decoder.proportions(h, design)
        return f * self.foreground(name, h) if name in self.backgrounds else f

    def foreground(self, name: str, h: Tensor) -> Tensor:
        """Probability that an entry is more than background, (B, F), of last hidden layers."""
        return (-self.zero_heads[name](h)).sigmoid().clamp_min(dist.SMALLEST)

    def _zero_logit(self, name: str, h: Tensor) -> Tensor | None:
        return self.zero_heads[name](h) if name in self.zero_heads else None

    def noise(self, n_cells: int) -> Noise:
        """Draw the noise of a training step of so many cells."""
        noisy = self.reads_scores and self.options.input_noise > 0
        readers = self.readers.items() if noisy else ()
        n_scores = {name: reader.n_scores for name, reader in readers if reader.n_scores}
        widths = [self.options.n_latent, *n_scores.values()]
        drawn = torch.randn(n_cells, sum(widths), device=self.prior.mean.device)
        z, *parts = drawn.split(widths, 1)
        return Noise(z, dict(zip(n_scores, parts, strict=True)))

    def loss(
        self, batch: PairedBatch, inputs: Inputs | None = None, noise: Noise | None = None
    ) -> LossTerms:
        """Every term of the loss at one sample of z per cell.

        In training, input noise is added to the observed inputs (docs/decisions, D16).

        Args:
            batch: The cells.
            inputs: Their observed inputs, where these are known already.
            noise: What `noise` draws; drawn when None.
        """
        inputs = self.inputs(batch) if inputs is None else inputs
        noise = self.noise(batch.n_cells) if noise is None else noise
        if self.training and noise.inputs:
            sd = self.options.input_noise
            parts = {
                name: part + sd * noise.inputs[name] for name, part in inputs.tensors().items()
            }
            inputs = Inputs(parts, inputs.present)
        found = self.posteriors(inputs)
        q = found.joint
        z = q.sample(noise.z)
        log_lik, reconstructed = self._likelihoods(batch, z)
        kl, consistency = self.prior.kl(q, z), self._consistency(found, reconstructed)
        reconstruction = {name: -value for name, value in log_lik.items()}
        return LossTerms(reconstruction, kl.mean(), consistency.mean())

    def _likelihoods(self, batch: PairedBatch, z: Tensor) -> tuple[dict[str, Tensor], Inputs]:
        """Log p(counts|z), mean over cells, and reconstructed inputs."""
        p_c = self.gate_input(z)
        log_lik, parts = {}, {}
        for name, decoder in self.decoders.items():
            h = decoder.hidden(z, p_c)
            way = self._in_one_pass if self.is_in_one_pass(name) else self._of_proportions
            if self.count_models[name].levels:
                way = self._of_levels
            log_lik[name], parts[name] = way(name, h, batch)
        return log_lik, Inputs(parts)

    def _in_one_pass(self, name: str, h: Tensor, batch: PairedBatch) -> tuple[Tensor, Tensor]:
        """Of one modality; the expected proportions are never stored."""
        decoder, reader = self.decoders[name], self.readers[name]
        assert isinstance(reader, SpectralScores), "`is_in_one_pass` is checked before"
        family = self.count_models[name].fast(self.undispersed[name])
        h, weight = decoder.with_design(h, batch.design)
        parts = (family, self.dispersions[name], h, weight, decoder.output.bias)
        counts, scoring = batch.counts[name], reader.scoring(batch.design)
        if self.training and self.pool is not None and name in self.zeros:
            start = float(torch.rand(()))
            sampled = self.zeros[name]
            found = zeros.of_counts(*parts, counts, scoring, self.pool, sampled, start)
        else:
            found = likelihood.of_counts(*parts, counts, scoring, self.pool)
        return found.log_lik, found.scores - reader.centre

    def _of_proportions(self, name: str, h: Tensor, batch: PairedBatch) -> tuple[Tensor, Tensor]:
        """The same from the expected proportions of all features."""
        counts, reader, model = batch.counts[name], self.readers[name], self.count_models[name]
        f = self.decoders[name].proportions(h, batch.design)
        size, logit, expected = counts.sums()[:, None], self._zero_logit(name, h), f.detach()
        of_background: tuple[Tensor, ...] = ()
        if name in self.backgrounds and logit is not None:
            background, size = self.backgrounds[name](counts)
            of_background = (background,)
            expected = background + size * expected * (-logit.detach()).sigmoid()
            expected = expected / expected.sum(1, keepdim=True)
        of_cells = model.plain(counts, f * size, self.dispersions[name], logit, *of_background)
        if of_background:  # which a cell without the modality has not; all other terms are 0 there
            of_cells = of_cells * (counts.sums() > 0)
        return of_cells.mean(), reader.reconstructed(expected, counts.sums()[:, None], batch.design)

    def _of_levels(self, name: str, h: Tensor, batch: PairedBatch) -> tuple[Tensor, Tensor]:
        """The same of a modality whose features have levels."""
        logits = self.decoders[name].logits(h, batch.design)
        counts = Levels.of(batch.counts[name], logits.shape[1])
        of_cells = self.count_models[name].plain(*counts, logits, self.dispersions[name])
        level, size = logits.detach().sigmoid(), batch.counts[name].sums()[:, None]
        return of_cells.mean(), self.readers[name].reconstructed(level, size, batch.design)

    def is_in_one_pass(self, name: str) -> bool:
        """Whether a modality's likelihood and gradients are computed block by block."""
        fast = self.count_models[name].family is not None
        return fast and isinstance(self.readers[name], SpectralScores)

    @property
    def n_clusters(self) -> int:
        """K; the largest there may be where it is still open."""
        return len(self.prior.mean)

    def set_n_clusters(self, n_clusters: int) -> dict[nn.Parameter, nn.Parameter]:
        """Set a K that was left open, before the mixture starts.

        Returns:
            The parameters that are new, by those whose place they take.
        """
        new = [keep_first(self.prior, name, n_clusters) for name in ("logit", "mean", "log_var")]
        for decoder in self.decoders.values():
            new.append(keep_first(decoder.gate.score, "weight", n_clusters, dim=1))
            decoder.gate.score.in_features = n_clusters
        return dict(new)

    def outputs(self) -> list[nn.Linear]:
        """The output layers of the decoders."""
        return [decoder.output for decoder in self.decoders.values()]

    def _learned_dispersions(self) -> dict[str, nn.Parameter]:
        """The logarithms of the dispersions that are learned, by modality."""
        models = self.count_models
        return {name: value for name, value in self.dispersions.items() if models[name].learned}

    @torch.no_grad()
    def learn_dispersions(self) -> None:
        """Let gradients reach the dispersions from now on."""
        for name, dispersion in self._learned_dispersions().items():
            dispersion.requires_grad_()
            if (start := self.count_models[name].learned_from) is not None:
                dispersion[dispersion == NO_DISPERSION] = start
        self._read_dispersions()

    def parameter_groups(self, n_cells: int) -> list[dict[str, Any]]:
        """The parameters to learn from `n_cells` cells, as groups of an optimizer.

        The group of the dispersions is marked by "dispersions", those of output weights by "prior"
        (`optimizer.set_prior`).

        The Gaussian prior of the output weights, -log N(W; 0, 1 / precision) of all cells, has the
        gradient precision W: per cell, that is a weight decay.
        """
        decoders = self.decoders.values()
        outputs = {name: decoder.output.weight for name, decoder in self.decoders.items()}
        of_batches = [decoder.of_level for decoder in decoders if decoder.of_level is not None]
        known = set(map(id, [*outputs.values(), *of_batches]))
        learned = [part for part in self.parameters() if part.requires_grad]
        o = self.options
        decay = o.decoder_precision / n_cells
        groups: list[dict[str, Any]] = [
            {
                "params": [weight],
                "weight_decay": decay,
                "prior": decay,
                "early": dict(self.early_prior[name]),
            }
            for name, weight in outputs.items()
        ]
        groups.append({"params": [part for part in learned if id(part) not in known]})
        groups.append({"params": [*self._learned_dispersions().values()], "dispersions": True})
        if of_batches:
            groups.append({"params": of_batches, "weight_decay": o.batch_precision / n_cells})
        return groups

    def _consistency(self, found: Posteriors, reconstructed: Inputs) -> Tensor:
        """L3 and L4: KLs of the joint posterior to those of the encoders of one modality.

        The reconstructed inputs come detached, so that no gradient reaches the decoders; nor does
        it reach the joint encoder, with the option `distil`.
        """
        q = found.joint
        if self.options.distil:
            q = Gaussian(q.mean.detach(), q.log_var.detach())
        total = q.mean.new_zeros(len(q.mean))
        if weight := self.options.weight_consistency_measured:
            observed = [dist.gaussian_kl(*q, *given) for given in found.by_modality.values()]
            if found.present is not None:
                # a unimodal cell has one posterior only: there is nothing to compare
                several = found.present.sum(1) > 1
                counts = (found.present & several[:, None]).unbind(1)
                observed = [kl * has for kl, has in zip(observed, counts, strict=True)]
            total = total + weight * sum(observed)
        if weight := self.options.weight_consistency_imputed:
            parts = reconstructed.parts.items()
            posteriors = [self.encoders[name](part, observed=False) for name, part in parts]
            total = total + weight * sum(dist.gaussian_kl(*q, *given) for given in posteriors)
        return total


def log_proportions(totals: Tensor) -> Tensor:
    """Log of each feature's proportion in all counts, with one pseudo-count."""
    smoothed = totals + 1
    return (smoothed / smoothed.sum()).log()
