"""What Stochastic Activation Pruning does to one map on average, in closed form.

Notation of the paper and of this module: ``h`` (B, ...) activations, one example per row; ``a`` their
number in one example; ``p_j = |h_j| / sum_k |h_k|``; ``r`` draws with replacement; ``N`` the counts,
Multinomial(r, p); ``q_j = P(N_j >= 1)``. Source of the method: Dhillon et al., ICLR 2018,
arXiv 1803.01442, Section 3 and Algorithm 1; the moments follow from the multinomial law.
"""

from __future__ import annotations

import math

import torch

from workings.checks import as_float, as_int, check_tensor, exact_decimal, in_transform, values_hidden


def flat_map(h: torch.Tensor) -> torch.Tensor:
    """``h`` (B, ...) as (B, a): one example's whole map, channels and positions together; half precision as float32.

    Raises ``TypeError``/``ValueError`` for something that is not a non-empty floating-point batch.
    """
    if not isinstance(h, torch.Tensor):
        raise TypeError(f"h must be a torch tensor of activations, got {type(h).__name__}.")
    if not h.dtype.is_floating_point:
        raise TypeError(f"h must be floating point, got {h.dtype}; convert it with h.float().")
    if h.dim() < 2 or h.numel() == 0:
        raise ValueError(f"h must be a non-empty batch (B, ...), got shape {tuple(h.shape)}; add a batch dimension.")
    if in_transform():
        raise NotImplementedError(
            "the kernels of random pruning look at their activations, so torch.func (vmap, grad, jvp) cannot transform "
            "them; give them a whole batch, and differentiate with torch.autograd."
        )
    flat = h.flatten(1)
    return flat if flat.dtype in (torch.float32, torch.float64) else flat.float()


def rounded_back(out: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """``out`` (B, a) in the shape and dtype of ``h``; ``ValueError`` where float16 cannot hold a value.

    A survivor is about as large as the sum of its map divided by the number of draws, which can exceed 65,504.
    """
    check_tensor(h, "h")
    check_tensor(out, "out")
    if out.shape[:1] != h.shape[:1] or out.numel() != h.numel():
        raise ValueError(f"out must hold the entries of h, {tuple(h.shape)}, got shape {tuple(out.shape)}.")
    if h.dtype == torch.float16 and not bool((out.detach().abs() <= torch.finfo(h.dtype).max).all()):
        raise ValueError(
            f"a survivor reaches {float(out.detach().abs().max()):.3g}, which float16 cannot hold; use bfloat16 or float32, "
            "or draw more."
        )
    return out.reshape(h.shape).to(h.dtype)


def sap_probabilities(h: torch.Tensor) -> torch.Tensor:
    """Sampling probabilities ``p_j = |h_j| / sum_k |h_k|`` of each example's whole map: (B, a).

    Rows sum to 1 and do not change when an example is multiplied by a constant. An all-zero row
    gives zeros (nothing to draw from). Same dtype and device as ``h`` (half precision: float32).

    Raises ``ValueError`` for NaN or infinite activations.
    """
    size = flat_map(h).abs()
    peak = size.amax(dim=1, keepdim=True)  # dividing by it first keeps the sum away from overflow
    if not bool(torch.isfinite(peak).all()):
        raise ValueError("h contains NaN or infinite activations; look for a diverged layer before pruning.")
    size = size / torch.where(peak > 0, peak, 1)
    total = size.sum(dim=1, keepdim=True)
    return size / torch.where(total > 0, total, 1)


def number_of_draws(fraction: float, size: int) -> float:
    """``r = floor(fraction * size)``; ``math.inf`` stays. "SAP-100" is fraction 1: as many draws as neurons.

    The fraction is the decimal that is meant (:func:`workings.checks.exact_decimal`): 0.29 of 100 gives 29, and
    ``1 - 0.9`` of 100 gives 10. Raises
    ``ValueError`` for a fraction that is negative, NaN or too small to give one draw.
    """
    fraction = as_float(fraction, "fraction", minimum=0.0, finite=False)
    size = as_int(size, "size", minimum=1)
    if math.isinf(fraction):
        return math.inf
    draws = math.floor(exact_decimal(fraction) * size)
    if draws < 1:
        raise ValueError(f"fraction {fraction!r} of {size} activations gives no draw; use at least {1 / size:.3g}.")
    return draws


def _check_draws(r: float) -> float:
    if isinstance(r, float) and (r == math.inf or r.is_integer()):
        return math.inf if r == math.inf else as_int(int(r), "r", minimum=0)
    return as_int(r, "r", minimum=0)


def _check_probabilities(p: torch.Tensor) -> torch.Tensor:
    if not isinstance(p, torch.Tensor) or not p.dtype.is_floating_point:
        raise TypeError(f"p must be a floating-point torch tensor, got {getattr(p, 'dtype', type(p).__name__)}.")
    if p.numel() and not values_hidden(p):
        low, high = (float(v) for v in p.detach().aminmax())
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(f"p must be in [0, 1], got values from {low} to {high}; normalise with sap_probabilities.")
    return p


def survival_probability(p: torch.Tensor, r: float) -> torch.Tensor:
    """``q = 1 - (1 - p)^r``, the probability of being drawn at least once in ``r`` draws; shape of ``p``.

    Computed as ``-expm1(r log1p(-p))``, accurate for tiny ``p`` also in float32. q(0) = 0, q(1) = 1
    for r >= 1, and r = 1 gives ``p``. ``r`` may be ``math.inf`` (1 wherever p > 0).

    Raises ``ValueError`` for ``r < 0`` or ``p`` outside [0, 1].
    """
    _check_probabilities(p)
    r = _check_draws(r)
    if r == 0:
        return torch.zeros_like(p)
    if math.isinf(r):
        return (p > 0).to(p.dtype)
    return -torch.expm1(r * torch.log1p(-p))


def single_draw_share(p: torch.Tensor, r: float) -> torch.Tensor:
    """``w = P(N = 1 | N >= 1) = r p (1 - p)^(r-1) / q``; 1 in the limit ``p = 0``. Shape of ``p``, r >= 1.

    Automatic differentiation through the scale ``1/q(p(h))`` loses this share of a neuron's own
    gradient: all but ``P(N >= 2 | N >= 1)``, which is 0.049 at rp = 0.1 and 0.418 at rp = 1.
    """
    q = survival_probability(p, r)
    if r == 0:
        raise ValueError("r must be at least 1: with no draw nothing survives.")
    if math.isinf(r):
        return (p == 0).to(p.dtype)
    once = r * p * (torch.log1p(-p) * (r - 1) if r > 1 else torch.zeros_like(p)).exp()
    return torch.where(q > 0, once / torch.where(q > 0, q, 1), 1)


def survival_and_single_draw(p: torch.Tensor, r: float) -> tuple[torch.Tensor, torch.Tensor]:
    """``q`` of :func:`survival_probability` and ``w`` of :func:`single_draw_share`, which share a logarithm: each as ``p``.

    The values are those of the two functions, bit for bit. ``r >= 1``; raises as they do.
    """
    _check_probabilities(p)
    r = _check_draws(r)
    if r < 2 or math.isinf(r):
        return survival_probability(p, r), single_draw_share(p, r)
    logarithm = torch.log1p(-p)
    q = -torch.expm1(r * logarithm)
    once = r * p * (logarithm * (r - 1)).exp()
    return q, torch.where(q > 0, once / torch.where(q > 0, q, 1), 1)


def expected_survivors(h: torch.Tensor, r: float) -> torch.Tensor:
    """Expected number of neurons kept, ``sum_j q_j <= min(r, a)``: (B,)."""
    return survival_probability(sap_probabilities(h), r).sum(dim=1)


def sap_variance(h: torch.Tensor, r: float) -> torch.Tensor:
    """Variance of each output, ``h_j^2 (1/q_j - 1)``: shape of ``h``; 0 where ``h_j = 0``. ``r >= 1``."""
    flat = flat_map(h)
    q = survival_probability(sap_probabilities(h), r)
    if r == 0:
        raise ValueError("r must be at least 1: with no draw the output is not an unbiased one.")
    return torch.where(q > 0, flat.square() * (1 - q) / torch.where(q > 0, q, 1), 0).reshape(h.shape)


def joint_survival(p: torch.Tensor, r: float) -> torch.Tensor:
    """``P(N_i >= 1 and N_j >= 1) = q_i + q_j - 1 + (1 - p_i - p_j)^r``: (B, a, a); the diagonal is ``q``.

    Off the diagonal it is at most ``q_i q_j``: draws spent on one neuron are missing for another
    (negative association). Independent Bernoulli masks would have exactly ``q_i q_j``.
    """
    q = survival_probability(p, r).double()
    if p.dim() != 2:
        raise ValueError(f"p must be (B, a), got shape {tuple(p.shape)}.")
    if r == 0 or math.isinf(r):
        joint = q[:, :, None] * q[:, None, :]
    else:
        both = (p.double()[:, :, None] + p.double()[:, None, :]).clamp(max=1.0)
        joint = q[:, :, None] + q[:, None, :] - survival_probability(both, r)
    joint = joint.clamp_(min=0.0)
    joint.diagonal(dim1=1, dim2=2).copy_(q)
    return joint.to(p.dtype)


def pathwise_jacobian(h: torch.Tensor, r: float) -> torch.Tensor:
    """Mean Jacobian that automatic differentiation through the scale gives: (B, a, a), ``[b, k, j] = dM_k/dh_j``.

    ``J_kj = 1[k=j] (1 - w_k) + s_k s_j p_k w_k`` with ``s = sign h`` and ``w`` of
    :func:`single_draw_share`. The Jacobian of the mean output is the identity, so this is the
    expectation of a biased gradient. Euler's identity ``J h = h`` still holds (scale invariance of p).
    """
    flat = flat_map(h)
    p = sap_probabilities(h)
    w = single_draw_share(p, r)
    sign = flat.sign()
    return torch.diag_embed(1 - w) + (sign * p * w)[:, :, None] * sign[:, None, :]
