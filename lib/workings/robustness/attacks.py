"""Attacks in the l-infinity ball: FGSM and projected gradient ascent with averaged gradients, random search, SPSA."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from workings.checks import as_float, as_generator, as_int, check_tensor, one_of, values_hidden

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
GradFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class EOTGradient(NamedTuple):
    """``mean`` and per-sample ``variance`` (``None`` for one sample), as ``x``; ``nans`` entries were set to 0."""

    mean: torch.Tensor
    variance: torch.Tensor | None
    nans: int


def check_labels(logits: torch.Tensor, y: torch.Tensor) -> None:
    """Raise unless ``logits`` is (B, K) with K >= 2 and ``y`` (B,) holds integers in 0..K-1."""
    check_tensor(logits, "logits")
    check_tensor(y, "labels", floating=False)
    if logits.dim() != 2 or logits.shape[0] == 0:
        raise ValueError(f"logits must be a non-empty (B, K) tensor, got shape {tuple(logits.shape)}.")
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(f"there is nothing to attack with K = {classes} class; logits need at least 2 columns.")
    if y.shape != logits.shape[:1] or y.dtype.is_floating_point or y.dtype == torch.bool:
        raise ValueError(f"labels must be ({len(logits)},) integers, got {y.dtype} of shape {tuple(y.shape)}.")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        raise ValueError(f"labels must be in 0..{classes - 1}, got values from {low} to {high}.")


def margin_loss(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``max_{k != y} z_k - z_y`` per example (B,): positive where the prediction is wrong.

    ``logits`` (B, K), ``y`` (B,). Unchanged when a constant is added to an example's logits.
    Carlini and Wagner, arXiv 1608.04644, loss f6. Raises ``ValueError`` for K = 1 or labels outside 0..K-1.
    """
    check_labels(logits, y)
    return _margin(logits, y)


def cross_entropy_loss(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``-log softmax(z)_y`` per example (B,). Raises as :func:`margin_loss`."""
    check_labels(logits, y)
    return F.cross_entropy(logits, y.long(), reduction="none")


def _margin(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    true = logits.gather(1, y[:, None].long()).squeeze(1)
    own = F.one_hot(y.long(), logits.shape[1]).bool()
    return logits.masked_fill(own, -torch.inf).amax(dim=1) - true


def _total_cross_entropy(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, y.long(), reduction="sum")


LOSSES: dict[str, Loss] = {"margin": margin_loss, "cross-entropy": cross_entropy_loss}
# The sum over the batch, for labels that were checked before: what every step of an attack needs.
_TOTALS: dict[str, Loss] = {"margin": lambda logits, y: _margin(logits, y).sum(), "cross-entropy": _total_cross_entropy}


def eot_gradient(
    loss_fn: Callable[..., torch.Tensor],
    x: torch.Tensor,
    samples: int,
    generator: torch.Generator | None = None,
) -> EOTGradient:
    """Expectation over transformation: the gradient at ``x`` averaged over ``samples`` runs of a random loss.

    ``loss_fn(x)`` (or ``loss_fn(x, generator)`` when a generator is given) returns one loss per example
    (B,), drawing afresh on each call. Gradients are averaged, not logits or losses: the mean is
    that of ``d loss / dx``. The variance is the unbiased one of a single sample, entry by entry.
    NaN entries of a sample count as 0 and are counted. Averaging removes noise, not a bias of the
    backward rule. Athalye et al., arXiv 1707.07397.
    """
    samples = as_int(samples, "samples", minimum=1)
    if check_tensor(x, "x").dim() < 1:
        raise ValueError("x must be a batch (B, ...), got a single number.")
    mean = torch.zeros_like(x)
    spread = torch.zeros_like(x)
    nans = 0
    call = loss_fn if generator is None else lambda point: loss_fn(point, generator)
    for k in range(1, samples + 1):
        grad = _one_gradient(call, x)
        bad = torch.isnan(grad)
        nans += int(bad.sum())
        grad = torch.where(bad, 0, grad)
        step = grad - mean  # Welford's update
        mean += step / k
        spread += step * (grad - mean)
    return EOTGradient(mean, spread / (samples - 1) if samples > 1 else None, nans)


def _one_gradient(loss_fn: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Gradient of the summed per-example loss at ``x``: one sample, shape of ``x``."""

    def total(point: torch.Tensor) -> torch.Tensor:
        loss = loss_fn(point)
        if loss.shape != x.shape[:1]:
            raise ValueError(f"the loss must be one number per example ({len(x)},), got shape {tuple(loss.shape)}.")
        return loss.sum()

    return _gradient(total, x)


def _gradient(total: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    x = x.clone() if x.is_inference() else x.detach()
    point = x.requires_grad_(True)  # a new leaf on the same memory, which nothing here writes to
    with torch.enable_grad():
        return torch.autograd.grad(total(point.clone()), point)[0]  # a network may begin in place


def attack_gradient(model: nn.Module, loss: str | Loss = "margin", samples: int = 1) -> GradFunction:
    """``grad_fn(x, y)`` for :func:`pgd_linf`: the mean gradient of ``loss(model(x), y)`` over ``samples`` passes.

    ``loss`` is ``"margin"``, ``"cross-entropy"`` or a function of (logits, y) giving (B,). The model
    is used as it is (its mode and backward rules); its parameters get no gradient. NaN counts as 0 and the
    mean is :func:`eot_gradient`'s, without its variance. Labels are checked on the first call with them, not on
    every step of an attack.
    """
    total_loss = None
    if isinstance(loss, str):
        name = one_of(loss, "loss", tuple(LOSSES))
        loss, total_loss = LOSSES[name], _TOTALS[name]
    samples = as_int(samples, "samples", minimum=1)
    seen: tuple[torch.Tensor | None, int] = (None, -1)  # the labels last checked, and their version

    def checked(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return _one_gradient(lambda point: loss(model(point), y), x)

    def unchecked(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return _gradient(lambda point: total_loss(model(point), y), x)

    def grad_fn(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        if check_tensor(y, "labels", floating=False).is_inference():
            y = y.clone()  # labels made in inference mode can take no part in a gradient
        known = total_loss is not None and seen[0] is y and seen[1] == y._version
        total = None
        for _ in range(samples):
            grad = (unchecked if known else checked)(x, y).nan_to_num_(nan=0.0)
            total = grad if total is None else total.add_(grad)
            known = total_loss is not None
        seen = (y, y._version)
        return total if samples == 1 else total.div_(samples)

    return grad_fn


def fgsm(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    eps: float,
    grad_samples: int = 1,
    *,
    loss: str | Loss = "cross-entropy",
    clip: tuple[float, float] = (0.0, 1.0),
) -> torch.Tensor:
    """Fast gradient sign method: ``clip(x + eps sign(g))`` with ``g`` the mean gradient over ``grad_samples`` passes.

    ``x`` (B, ...) inside the box ``clip``, ``y`` (B,). Goodfellow et al., arXiv 1412.6572; averaged over
    masks as in the SAP paper, Sections 3.2 and 4.4. To reuse one gradient for many radii call
    :func:`fgsm_step`. Raises ``ValueError`` for ``eps < 0``, a reversed box or labels out of range.
    """
    _check_box(x, eps, clip)
    return fgsm_step(x, attack_gradient(model, loss, grad_samples)(x, y), eps, clip)


def fgsm_step(
    x: torch.Tensor, gradient: torch.Tensor, eps: float, clip: tuple[float, float] = (0.0, 1.0)
) -> torch.Tensor:
    """``clip(x + eps sign(gradient))``; shape of ``x``. ``eps = 0`` returns the values of ``x``."""
    _check_box(x, eps, clip)
    if check_tensor(gradient, "gradient").shape != x.shape:
        raise ValueError(f"gradient must have the shape of x, {tuple(x.shape)}, got {tuple(gradient.shape)}.")
    return (x.detach() + eps * gradient.sign()).clamp(*clip)


def pgd_linf(
    grad_fn: GradFunction,
    x: torch.Tensor,
    y: torch.Tensor,
    eps: float,
    step: float,
    steps: int,
    clip: tuple[float, float] = (0.0, 1.0),
    random_start: bool = False,
    optimizer: str = "sign",
    generator: torch.Generator | None = None,
    on_step: Callable[[int, torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """Projected gradient ascent in ``{|x' - x| <= eps}`` and the box ``clip``: the last iterate, shape of ``x``.

    ``grad_fn(x', y)`` is the gradient to ascend (see :func:`attack_gradient`; for a transfer attack take
    another network's). With ``optimizer="sign"`` a step is ``step * sign(g)`` (Madry et al.,
    arXiv 1706.06083). With ``"sign-adam"`` the sign is fed into Adam (betas 0.9, 0.999), as in the public
    2018 attack on SAP: where signs flip from mask to mask the steps shrink, so it averages over masks.
    ``random_start`` begins at a uniform point of the ball, from ``generator``. NaN gradients count as 0.
    ``on_step(t, x')`` sees every iterate, from t = 1.

    The attack does not stop when an image is misread: one lucky pass of a random network proves nothing.
    Raises ``ValueError`` for ``eps < 0``, ``step < 0`` or a reversed box.
    """
    _check_box(x, eps, clip)
    step = as_float(step, "step", minimum=0.0)
    steps = as_int(steps, "steps", minimum=0)
    one_of(optimizer, "optimizer", ("sign", "sign-adam"))
    x = x.detach()
    adv = x.clone()
    if random_start:
        noise = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        adv = (adv + eps * (2 * noise - 1)).clamp(*clip)
    lowest, highest = (x - eps).clamp_(*clip), (x + eps).clamp_(*clip)
    first = second = 0.0
    for t in range(1, steps + 1):
        direction = grad_fn(adv.clone(), y).detach().nan_to_num(nan=0.0).sign_()
        if optimizer == "sign-adam":
            first = 0.9 * first + 0.1 * direction
            second = 0.999 * second + 0.001 * direction.square()
            direction = (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        adv = torch.add(adv, direction, alpha=step)
        adv.clamp_(lowest, highest)
        if on_step is not None:
            on_step(t, adv)
    return adv


def random_search_linf(
    score_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    eps: float,
    tries: int,
    clip: tuple[float, float] = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """The best of ``tries`` random corners of the ball by ``score_fn(x', y)`` (B,), example by example; shape of ``x``.

    No gradient is used. If it beats an attack by gradients, those gradients are poor. ``x`` itself is the first try, and the draws come
    from ``generator``. Raises ``ValueError`` for ``eps < 0``, ``tries < 0`` or a reversed box.
    """
    _check_box(x, eps, clip)
    with torch.no_grad():  # the scores of a trainable network would keep the graph of every try alive
        return _random_search(score_fn, x, y, eps, tries, clip, generator)


def _random_search(
    score_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    eps: float,
    tries: int,
    clip: tuple[float, float],
    generator: torch.Generator | None,
) -> torch.Tensor:
    best, score = x.detach().clone(), score_fn(x.clone(), y)
    for _ in range(as_int(tries, "tries", minimum=0)):
        sign = torch.randint(0, 2, x.shape, device=x.device, generator=generator).to(x.dtype) * 2 - 1
        trial = (x + eps * sign).clamp(*clip)
        value = score_fn(trial.clone(), y)
        better = value > score
        best[better], score = trial[better], torch.where(better, value, score)
    return best


def _check_box(x: torch.Tensor, eps: float, clip: tuple[float, float]) -> None:
    as_float(eps, "eps", minimum=0.0)
    check_tensor(x, "x")
    low, high = as_float(clip[0], "clip[0]"), as_float(clip[1], "clip[1]")
    if low > high:
        raise ValueError(f"clip must be (low, high) with low <= high, got {clip!r}; swap its ends.")
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(f"x must be a non-empty batch (B, ...), got shape {tuple(x.shape)}.")
    if values_hidden(x):
        return
    least, most = (float(v) for v in x.detach().aminmax())
    if not (low - 1e-6 <= least and most <= high + 1e-6):
        raise ValueError(f"x must lie in the box [{low:g}, {high:g}], got values from {least:g} to {most:g}.")


def spsa_gradient(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    pairs: int,
    width: float,
    generator: torch.Generator,
    chunk: int = 1500,
) -> torch.Tensor:
    """Gradient of the *expected* margin loss at ``x`` (B, ...) from forward passes alone; shape of ``x``.

    Simultaneous perturbation (SPSA): each of ``pairs`` pairs of passes evaluates the network at ``x + width u`` and
    ``x - width u`` with random signs ``u``, and ``g = mean of (L(x + width u) - L(x - width u)) u / (2 width)``. A random network
    draws fresh masks in every pass. No backward rule enters, so ``g`` can serve as reference for all of them: its mean is the gradient of the
    expected loss up to terms of order ``width^2`` (third derivatives). ``u`` is drawn from ``generator`` on the device of ``x``;
    at most about ``chunk`` images go through the network at once. Points ``x +- width u`` may leave the box of pixels.

    Spall, IEEE Transactions on Automatic Control 37 (1992) 332-341; as a test of defences: Uesato et al., arXiv 1802.05666.
    Raises ``ValueError`` for ``pairs < 1``, ``width <= 0`` or labels out of range.
    """
    pairs = as_int(pairs, "pairs", minimum=1)
    as_generator(generator)
    if check_tensor(x, "x").dim() < 2 or x.numel() == 0:
        raise ValueError(f"x must be a non-empty batch (B, ...), got shape {tuple(x.shape)}.")
    if check_tensor(y, "labels", floating=False).shape != x.shape[:1]:
        raise ValueError(f"labels must be ({len(x)},), one per example, got shape {tuple(y.shape)}.")
    width = as_float(width, "width", minimum=0.0, open_ends=True)
    total = torch.zeros_like(x)
    copies = max(1, min(pairs, as_int(chunk, "chunk", minimum=1) // len(x)))
    done = 0
    with torch.no_grad():
        while done < pairs:
            n = min(copies, pairs - done)
            point, labels = x.repeat(n, *[1] * (x.dim() - 1)), y.repeat(n)
            u = torch.randint(0, 2, point.shape, generator=generator, device=x.device).to(x.dtype) * 2 - 1
            up = margin_loss(model(point + width * u), labels)
            down = margin_loss(model(point - width * u), labels)
            weight = ((up - down) / (2 * width)).reshape(-1, *[1] * (x.dim() - 1))
            total += (weight * u).reshape(n, *x.shape).sum(dim=0)
            done += n
    return total / pairs
