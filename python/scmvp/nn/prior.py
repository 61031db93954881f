"""p(z, c): a mixture of Gaussians, kept in the coordinates of the whitened latent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import distributions as dist
from .networks import Gaussian

_POINTS = 8_192  # of which responsibilities are computed at a time


class MixturePrior(nn.Module):
    """p(z, c); K diagonal Gaussians that all start as N(0, I).

    They are diagonal in the whitened latent u = (z - centre) @ axes, which users see. With
    `mixture_update="refit"`, the covariance that all components share is the identity there; with
    "gradient", each component has a diagonal covariance of its own and u is z.
    """

    centre: Tensor
    axes: Tensor
    started: Tensor

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
        """Normalized log-weights (K,), means (K, D), log-variances (K, D), whitened."""
        return self.logit.log_softmax(0), self.mean, self.log_var

    @torch.no_grad()
    def start(self, weight: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Place the components: weights (K,), means (K, D), variances (K, D), whitened."""
        self.logit.copy_(weight.clamp_min(1e-8).log())
        self.mean.copy_(mean)
        self.log_var.copy_(variance.log())
        self.note_start()

    def note_start(self) -> None:
        """The components are where they belong."""
        self.started.fill_(True)
        self.has_started = True

    @torch.no_grad()
    def set_whitening(self, centre: Tensor, axes: Tensor) -> None:
        """Set centre (D,) and axes (D, D), not singular; the components stay as they are."""
        self.centre.copy_(centre)
        self.axes.copy_(axes)

    def whiten(self, z: Tensor) -> Tensor:
        """The whitened latent u of the latent z of the networks, (B, D)."""
        return (z - self.centre) @ self.axes

    def unwhiten(self, u: Tensor) -> Tensor:
        """The latent z of the networks of the whitened latent u, (B, D)."""
        return torch.linalg.solve(self.axes, u, left=False) + self.centre

    def responsibilities(self, u: Tensor) -> Tensor:
        """p(c|z) at points of the whitened latent, (B, K)."""
        parts = self.parts()  # (points, K, D) of all cells would be the most memory of a fit
        return torch.cat([dist.responsibilities(some, *parts) for some in u.split(_POINTS)])

    def kl(self, q: Gaussian, z: Tensor) -> Tensor:
        """KL(q(z,c|x,y) || p(z,c)) at a sample z of q, (B,).

        With q(c|z) = p(c|z) the component drops out exactly: what is left is
        E_q[log q(z) - log p(z)], p(z) being the whole mixture. In closed form under N(0, I).
        """
        if not self.has_started:
            zero = q.mean.new_zeros(())
            return dist.gaussian_kl(q.mean, q.log_var, zero, zero)
        log_q = dist.gaussian_log_density(z, q.mean, q.log_var)
        log_p = dist.mixture_log_joint(self.whiten(z), *self.parts()).logsumexp(-1)
        return log_q - log_p - torch.linalg.slogdet(self.axes).logabsdet
