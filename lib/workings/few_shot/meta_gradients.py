"""Gradients over episodes: the weighted gradient of a batch, and MAML's inner loop by ``torch.func``.

Weights as in arXiv 2108.01662; MAML is Finn, Abbeel and Levine, arXiv 1703.03400; with ``names`` only a part adapts, as in
ANIL (Raghu et al., arXiv 1909.09157).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from workings import require_torch
from workings.checks import as_float, as_int, as_tensor, check_tensor, values_hidden
from workings.few_shot.difficulty_sampling import normalising_factor

with require_torch("few_shot.meta_gradients"):
    import torch
    from torch import nn
    from torch.func import functional_call


def weighted_episode_loss(losses: torch.Tensor, weights: Any, normalise: str = "ess") -> torch.Tensor:
    """The scalar ``c sum_i w_i losses_i`` whose gradient is the weighted gradient of a batch of B episodes.

    ``losses`` (B,) carry the graph; ``weights`` (B,), at least 0, are constants. The factor c is
    :func:`~workings.few_shot.difficulty_sampling.normalising_factor`. Weights that are all 1 give the mean for every
    ``normalise``. Raises ``ValueError`` for NaN, shapes that differ, bad weights and an unknown ``normalise``.
    """
    check_tensor(losses, "losses")
    if losses.dim() != 1 or len(losses) == 0:
        raise ValueError(f"losses must have shape (episodes,), got {tuple(losses.shape)}.")
    if not values_hidden(losses) and not bool(losses.isfinite().all()):
        raise ValueError("losses contain NaN or an infinite value; a learning rate may be too high.")
    factor = normalising_factor(weights, normalise)
    constant = as_tensor(weights, "weights").detach().to(losses)
    if constant.shape != losses.shape:
        raise ValueError(f"weights {tuple(constant.shape)} and losses {tuple(losses.shape)} differ; one per episode.")
    return factor * (constant * losses).sum()


def weighted_episode_gradient(
    losses: torch.Tensor, weights: Any, parameters: Iterable[torch.Tensor], normalise: str = "ess"
) -> tuple[torch.Tensor, ...]:
    """Gradient of :func:`weighted_episode_loss` by each of ``parameters``; a parameter without influence gets zeros.

    No gradient flows through the weights, even where they were computed from the losses. The graph of ``losses`` is freed.
    """
    parameters = tuple(parameters)
    if not parameters:
        raise ValueError("parameters is empty; give the tensors to differentiate by, such as model.parameters().")
    frozen = [i for i, p in enumerate(parameters) if not check_tensor(p, "parameters").requires_grad]
    if frozen:
        raise ValueError(
            f"parameter {frozen[0]} requires no gradient; call requires_grad_() before computing the losses."
        )
    loss = weighted_episode_loss(losses, weights, normalise)
    if not loss.requires_grad:
        raise ValueError(
            "losses depend on no parameter that requires a gradient; compute them outside torch.no_grad()."
        )
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return tuple(torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True))


def maml_inner(
    model: nn.Module,
    loss: Callable[[Callable[..., Any]], torch.Tensor],
    lr: float,
    steps: int,
    *,
    names: Iterable[str] | None = None,
    first_order: bool = False,
) -> dict[str, torch.Tensor]:
    """Parameters of ``model`` after ``steps`` gradient steps on ``loss``, by name, still connected to the model's own.

    ``loss(net)`` is the support loss, a scalar, where ``net(...)`` calls the model with the parameters of the moment. With
    the result ``fast``, ``torch.func.functional_call(model, fast, (query,))`` is the adapted model, and the gradient of its
    loss by ``model.parameters()`` passes through all the steps. ``first_order=True`` takes each step's gradient as a
    constant instead. ``names`` are the parameters that adapt (default: all); the others are returned as they are. The model
    is left as it was, its buffers (batch-norm's) included.

    Raises ``ValueError`` for an unknown name, a negative ``lr`` or ``steps``, a model without parameters, and a loss that
    is not one finite number.
    """
    lr = as_float(lr, "lr", minimum=0.0)
    steps = as_int(steps, "steps", minimum=0)
    fast = dict(model.named_parameters())
    adapt = list(fast) if names is None else list(names)
    unknown = [name for name in adapt if name not in fast]
    if unknown:
        raise ValueError(f"names has {unknown[0]!r}, which is no parameter of the model; it has {', '.join(fast)}.")
    if not adapt:
        raise ValueError("no parameter adapts; give at least one name of model.named_parameters().")
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.enable_grad():
        for _ in range(steps):
            here = {**fast, **buffers}
            value = loss(lambda *x, here=here, **more: functional_call(model, here, x, more))
            if value.numel() != 1 or not bool(value.isfinite()):
                raise ValueError(f"loss must return one finite number, got {value.detach().flatten()[:3].tolist()}.")
            moved = [fast[name] for name in adapt]
            gradients = torch.autograd.grad(value.reshape(()), moved, create_graph=not first_order)
            for name, parameter, gradient in zip(adapt, moved, gradients, strict=True):
                fast[name] = parameter - lr * gradient
    return fast
