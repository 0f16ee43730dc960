"""A channel that knows the true factors and only has to decide how many nats each of them gets.

The known-factor experiment of Burgess et al., arXiv 1804.03599, Figure 3, in a form where the
rates are exact: the total is the capacity at every step, so no penalty and no trap at zero.
"""

from __future__ import annotations

import torch
from torch import nn

from workings.checks import as_float, as_generator, as_int, check_tensor, values_hidden
from workings.seeding import fresh


def standardise(f: torch.Tensor) -> torch.Tensor:
    """Each column of ``f`` (N, K) shifted and scaled to mean 0 and variance 1 over the N rows.

    The variance is the population's (divided by N), so that the mean KL of :class:`FactorChannel` over
    these rows is its rate exactly. Sums in float64; integers come back in torch's default dtype.
    Raises ``ValueError`` for a wrong shape, values that are not finite and a constant column.
    """
    check_tensor(f, "f", floating=False)
    if f.ndim != 2 or f.numel() == 0:
        raise ValueError(f"f must be (N, K) with at least one row and column, got {tuple(f.shape)}.")
    wide = f.double()
    if not values_hidden(wide) and not torch.isfinite(wide).all():
        raise ValueError("f has values that are not finite; drop or repair those rows first.")
    centred = wide - wide.mean(dim=0)
    scale = centred.square().mean(dim=0).sqrt()
    constant = (wide == wide[0]).all(dim=0)
    if not values_hidden(wide) and constant.any():
        columns = constant.nonzero().flatten().tolist()
        raise ValueError(f"column(s) {columns} of f are constant and carry no information; leave them out.")
    return (centred / scale).to(f.dtype if f.is_floating_point() else torch.get_default_dtype())


def channel_posterior(rates: torch.Tensor, f: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log-variance of ``z`` given factors ``f`` (..., K) sent at ``rates`` (K,) nats, each of the shape of ``f``.

    ``rates`` may have more dimensions, as long as they broadcast to those of ``f``.
    """
    check_tensor(rates, "rates")
    check_tensor(f, "f")
    try:
        fits = torch.broadcast_shapes(rates.shape, f.shape) == f.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"rates must broadcast to f, got shapes {tuple(rates.shape)} and {tuple(f.shape)}.")
    # The slope of the root is infinite at rate 0, and infinity times the softmax's 0 would be NaN.
    # The product's limit is 0: a closed channel passes nothing and no gradient.
    is_open = rates > 0.0
    share = -torch.expm1(-2.0 * torch.where(is_open, rates, 1.0))
    gain = torch.where(is_open, share.sqrt(), 0.0)
    return gain * f, (-2.0 * rates).expand_as(f)


class FactorChannel(nn.Module):
    """K parallel Gaussian channels, one per factor, which share ``capacity`` nats: ``r = C softmax(a)``.

    ``z_k = sqrt(1 - e^(-2 r_k)) f_k + e^(-r_k) eps_k``. For a factor of mean 0 and variance 1, ``z_k`` has
    variance 1 and the KL to N(0, 1) has mean exactly ``r_k``. Only the logits ``a`` (K,) are learned;
    they start equal. Raises ``ValueError`` for a negative or infinite capacity.
    """

    def __init__(self, n_factors: int, capacity: float = 0.0):
        super().__init__()
        self.n_factors = as_int(n_factors, "n_factors", minimum=1)
        self.logits = nn.Parameter(torch.zeros(self.n_factors))
        self.register_buffer("capacity", torch.zeros(()))
        self.set_capacity(capacity)

    def set_capacity(self, capacity: float) -> None:
        """Set the total of the rates, in nats."""
        self.capacity.fill_(as_float(capacity, "capacity", minimum=0.0))

    @property
    def rates(self) -> torch.Tensor:
        """Nats per factor, (K,), at least 0, sum ``capacity``; differentiable in ``logits``."""
        return self.capacity * torch.softmax(self.logits, dim=0)

    def posterior(self, f: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-variance of ``z`` given standardised factors ``f`` (B, K), each (B, K)."""
        check_tensor(f, "f")
        if f.ndim != 2 or f.shape[1] != self.n_factors:
            raise ValueError(f"f must be (B, {self.n_factors}), got {tuple(f.shape)}; one column per factor.")
        return channel_posterior(self.rates, f)

    def forward(self, f: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Noisy factors ``z`` (B, K) of standardised factors ``f`` (B, K); noise from ``generator``."""
        mean, logvar = self.posterior(f)
        noise = torch.randn(f.shape, generator=fresh(as_generator(generator)), device=f.device, dtype=f.dtype)
        return mean + torch.exp(0.5 * logvar) * noise
