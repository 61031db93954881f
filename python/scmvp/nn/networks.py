"""Building blocks: the two attentions, encoders, decoder and cluster gate."""

from __future__ import annotations

from collections.abc import ItemsView, ValuesView
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .distributed import ranks, sum_over_ranks
from .sparse import SparseRows

if TYPE_CHECKING:
    from ..options import ModelOptions


Part = TypeVar("Part", bound=nn.Module)


class Modules(nn.ModuleDict, Generic[Part]):
    """Modules of one type, by name."""

    if TYPE_CHECKING:

        def __getitem__(self, key: str) -> Part: ...

        def items(self) -> ItemsView[str, Part]: ...

        def values(self) -> ValuesView[Part]: ...


class Gaussian(NamedTuple):
    """Diagonal Gaussians q(z|.), one per cell."""

    mean: Tensor  # (B, D)
    log_var: Tensor  # (B, D)

    def sample(self, noise: Tensor | None = None) -> Tensor:
        """One draw per cell, (B, D), from standard normal noise of that shape."""
        noise = torch.randn_like(self.mean) if noise is None else noise
        return self.mean + noise * (0.5 * self.log_var).exp()


def pooled(given_one: list[Gaussian], present: Tensor) -> Gaussian:
    """Posteriors of cells given some of the modalities, from the posteriors given each.

    Where a cell has one modality, it is the posterior given this one. Given n of them, it is
    proportional to the product of all n, each to the power 1/n (logarithmic pool): precisions are
    averaged, and means weighted by them.

    Args:
        given_one: q given each modality, (B, D).
        present: (B, modalities) bool, which a cell has; at least one.
    """
    found = given_one[-1]
    for i in reversed(range(len(given_one) - 1)):
        has = present[:, i, None]
        pair = zip(given_one[i], found, strict=True)
        found = Gaussian(*(torch.where(has, one, other) for one, other in pair))
    if len(given_one) <= 2:  # those of both have their own encoder
        return found
    weight = (present / present.sum(1, keepdim=True)).t()[:, :, None]
    precision = weight * torch.stack([(-q.log_var).exp() for q in given_one])
    mean = (precision * torch.stack([q.mean for q in given_one])).sum(0) / precision.sum(0)
    pool, several = (mean, -precision.sum(0).log()), present.sum(1, keepdim=True) > 1
    pair = zip(pool, found, strict=True)
    return Gaussian(*(torch.where(several, one, other) for one, other in pair))


def spread(q: Gaussian, where: Tensor) -> Gaussian:
    """Posteriors of the cells `where` (B,) is true among those of all, 0 for the others."""
    return Gaussian(
        *(part.new_zeros(len(where), part.shape[1]).index_put((where,), part) for part in q)
    )


class BatchNorm(nn.BatchNorm1d):
    """Batch norm whose running statistics are the averages over one epoch of observed inputs.

    Of one epoch, because a moving average with a fixed momentum has not forgotten its start after
    the few steps that a small data set makes. Of observed inputs, because reconstructed inputs pass
    through the same layer but are far smoother: with them in the average, evaluation would
    normalize observed inputs with a mixture of both.
    """

    def __init__(self, n_hidden: int):
        super().__init__(n_hidden, momentum=None)  # None: plain average since the last reset

    def forward(self, h: Tensor, observed: bool = True) -> Tensor:
        if self.training and ranks().world > 1:
            return self._of_all_ranks(h, observed)
        if self.training and len(h) < 2:  # no statistics of its own: few cells have both modalities
            return F.batch_norm(h, self.running_mean, self.running_var, self.weight, self.bias)
        if observed or not self.training:
            return super().forward(h)
        return F.batch_norm(h, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _of_all_ranks(self, h: Tensor, observed: bool) -> Tensor:
        """The same with the statistics of the whole minibatch, of which h is this process's part.

        torch's SyncBatchNorm does not run on CPUs.
        """
        n = h.new_full((1,), len(h))
        total, squares, n = sum_over_ranks(torch.cat([h.sum(0), h.square().sum(0), n])).split(
            [self.num_features, self.num_features, 1]
        )
        if float(n) < 2:  # see forward
            return F.batch_norm(h, self.running_mean, self.running_var, self.weight, self.bias)
        mean = total / n
        variance = (squares / n - mean.square()).clamp_min(0)
        if observed:
            averages = (self.running_mean, self.running_var, self.num_batches_tracked)
            running_mean, running_var, steps = (part for part in averages if part is not None)
            with torch.no_grad():
                steps += 1
                unbiased = variance * n / (n - 1)
                running_mean.lerp_(mean, 1 / steps)
                running_var.lerp_(unbiased, 1 / steps)
        return (h - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias


def start_epoch(module: nn.Module) -> None:
    """Training mode, with the averages of every batch norm begun anew."""
    module.train()
    for part in module.modules():
        if isinstance(part, BatchNorm):
            part.reset_running_stats()


def keep_first(
    module: nn.Module, name: str, n: int, dim: int = 0
) -> tuple[nn.Parameter, nn.Parameter]:
    """Put in the place of a parameter its first n slices along `dim`; (what was there, what is)."""
    old = getattr(module, name)
    new = nn.Parameter(old.detach().narrow(dim, 0, n).clone(), old.requires_grad)
    setattr(module, name, new)
    return old, new


class MaskAttention(nn.Module):
    """h * mask(h): each hidden unit has a weight that depends on the whole hidden layer."""

    def __init__(self, n_hidden: int):
        super().__init__()
        self.score = nn.Linear(n_hidden, n_hidden)

    def forward(self, h: Tensor) -> Tensor:
        return h * (2 * torch.sigmoid(self.score(h)))


class SelfAttention(nn.Module):
    """Self-attention of one head over slices (tokens) of a hidden layer, with skip and layer norm.

    The option `n_heads` is the number of tokens, for there is one head.
    """

    def __init__(self, n_hidden: int, n_tokens: int):
        super().__init__()
        self.n_tokens = n_tokens
        d = n_hidden // n_tokens
        self.query_key_value = nn.Linear(d, 3 * d)
        self.position = nn.Parameter(torch.randn(n_tokens, d) * 0.1)
        self.norm = nn.LayerNorm(n_hidden)

    def forward(self, h: Tensor) -> Tensor:
        tokens = h.unflatten(1, (self.n_tokens, -1))  # (B, T, d)
        q, k, v = self.query_key_value(tokens + self.position).chunk(3, -1)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, T, d)
        return self.norm(h + mixed.flatten(1))


class RnaBranch(nn.Module):
    """Genes (or latent dimensions, in the decoder) to a masked hidden layer."""

    def __init__(self, input_layer: nn.Module, n_hidden: int, options: ModelOptions):
        super().__init__()
        self.input = input_layer
        self.layer_norm = nn.LayerNorm(n_hidden)
        self.batch_norm = BatchNorm(n_hidden)
        self.mask = MaskAttention(n_hidden) if options.mask_attention else nn.Identity()

    def forward(self, x: SparseRows | Tensor, observed: bool = True) -> Tensor:
        h = self.batch_norm(self.layer_norm(self.input(x)), observed).relu()
        return self.mask(h)  # (B, H)


class AtacBranch(nn.Module):
    """Peaks (or latent dimensions, in the decoder) to a hidden layer with self-attention."""

    def __init__(self, input_layer: nn.Module, n_hidden: int, options: ModelOptions):
        super().__init__()
        self.input = input_layer
        self.batch_norm = BatchNorm(n_hidden)
        n_tokens = options.n_heads
        self.attention = SelfAttention(n_hidden, n_tokens) if n_tokens else nn.Identity()

    def forward(self, y: SparseRows | Tensor, observed: bool = True) -> Tensor:
        h = self.batch_norm(self.input(y), observed).relu()
        return self.attention(h)  # (B, H)


BRANCHES = {"mask": RnaBranch, "self": AtacBranch}  # by attention


class PosteriorHead(nn.Module):
    """Hidden layer to the mean and the log-variance of q(z|.)."""

    def __init__(self, n_in: int, n_hidden: int, n_latent: int):
        super().__init__()
        self.mean = self._head(n_in, n_hidden, n_latent)
        self.log_var = self._head(n_in, n_hidden, n_latent)

    @staticmethod
    def _head(n_in: int, n_hidden: int, n_latent: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_latent))

    def forward(self, h: Tensor) -> Gaussian:
        return Gaussian(self.mean(h), self.log_var(h).clamp(-10, 10))


class Encoder(nn.Module):
    """q(z|.) from the branch of one modality, or from those of all side by side."""

    def __init__(self, branches: dict[str, nn.Module], n_hidden: int, n_latent: int):
        super().__init__()
        self.branches = nn.ModuleDict(branches)
        self.head = PosteriorHead(len(branches) * n_hidden, n_hidden, n_latent)

    def forward(self, *inputs: SparseRows | Tensor, observed: bool = True) -> Gaussian:
        hidden = [
            branch(x, observed) for branch, x in zip(self.branches.values(), inputs, strict=True)
        ]
        return self.head(torch.cat(hidden, 1))


class ClusterGate(nn.Module):
    """Weights of the hidden units given p(c|z), with mean 1 over the units."""

    def __init__(self, n_clusters: int, n_hidden: int):
        super().__init__()
        self.score = nn.Linear(n_clusters, n_hidden, bias=False)
        nn.init.normal_(self.score.weight, std=0.1)

    def forward(self, h: Tensor, p_c: Tensor) -> Tensor:
        return h * (self.score(p_c).softmax(-1) * h.shape[-1])


class Decoder(nn.Module):
    """z, and the cell's batches, to the expected proportions of the features.

    A batch shifts the logarithms of the proportions of all cells alike: effects that differ between
    cell types are left to the latent.
    """

    def __init__(
        self,
        branch: nn.Module,
        n_hidden: int,
        n_clusters: int,
        bias: Tensor,
        log_factor: Tensor | None = None,
        levels: bool = False,
    ):
        """Start at what is known of all cells.

        Args:
            branch: z to the hidden layer.
            n_hidden: H.
            n_clusters: K.
            bias: (F,), log proportions of the features, or log odds of their levels.
            log_factor: (S, F), what batches add to these.
            levels: Whether features have levels between 0 and 1 each, and not proportions.
        """
        super().__init__()
        self.levels = levels
        self.branch = branch
        self.gate = ClusterGate(n_clusters, n_hidden)
        self.output = nn.Linear(n_hidden, len(bias))
        with torch.no_grad():
            # mean proportions are known before training starts; only differences are to be learned
            self.output.bias.copy_(bias)
            nn.init.normal_(self.output.weight, std=0.01)
        self.of_level: nn.Parameter | None = None  # (F, S)
        if log_factor is not None:
            # known, too; otherwise the latent would learn the batches, as it is faster
            self.of_level = nn.Parameter(log_factor.t().contiguous())

    def hidden(self, z: Tensor, p_c: Tensor | None) -> Tensor:
        """The last hidden layer, (B, H)."""
        h = self.branch(z)
        return h if p_c is None else self.gate(h, p_c)

    def with_design(self, h: Tensor, design: Tensor | None) -> tuple[Tensor, Tensor]:
        """Hidden layer and batches side by side, and the weights of both."""
        if self.of_level is None or design is None:
            return h, self.output.weight
        return torch.cat([h, design], 1), torch.cat([self.output.weight, self.of_level], 1)

    def logits(self, h: Tensor, design: Tensor | None = None) -> Tensor:
        """Log proportions, up to a constant of each cell, or log odds of levels, (B, F)."""
        return F.linear(*self.with_design(h, design), self.output.bias)

    def proportions(self, h: Tensor, design: Tensor | None = None) -> Tensor:
        """Expected proportions f, or levels, (B, F)."""
        logits = self.logits(h, design)
        return logits.sigmoid() if self.levels else logits.softmax(-1)

    def forward(self, z: Tensor, p_c: Tensor | None, design: Tensor | None = None) -> Tensor:
        return self.proportions(self.hidden(z, p_c), design)
