"""Fine-tuning of a whole network on one episode, with and without the help of its unlabelled queries.

Dhillon et al., ICLR 2020 (arXiv 1909.02729), section 3.2, with the loop of the official code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from workings import require_torch
from workings.checks import as_float, as_generator, as_int, check_tensor, one_of
from workings.few_shot.entropies import information_maximisation, shannon_entropy
from workings.few_shot.prototypes import check_episode_labels, cosine_logits, support_init, way_of

with require_torch("few_shot.finetuning"):
    import torch
    import torch.nn.functional as F
    from torch import nn

NORM_MODES = ("train", "eval", "batch-only")
Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


class Trace(NamedTuple):
    """What happened, epoch by epoch, each measured before the step it belongs to.

    ``support_loss`` (epochs,): cross-entropy in nats; ``query_entropy`` (epochs,): mean entropy in nats, and ``marginal``
    (epochs, K): average prediction over the queries, both with no rows when the queries are not used.
    """

    support_loss: torch.Tensor
    query_entropy: torch.Tensor
    marginal: torch.Tensor


class Adapted(NamedTuple):
    """A network adapted to one episode: the tuned copy of the ``backbone`` in eval mode, its classifier and the trace."""

    backbone: nn.Module
    weight: torch.Tensor
    bias: torch.Tensor
    relu: bool
    trace: Trace

    @torch.no_grad()
    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (M, K) of images ``x`` (M, ...), batch-norm by its running statistics."""
        return cosine_logits(self.backbone(x), self.weight, self.bias, self.relu)

    def accuracy(self, x: torch.Tensor, labels: torch.Tensor) -> float:
        """Share of ``x`` (M, ...) whose largest logit is at ``labels`` (M,)."""
        guess = self.logits(x).argmax(dim=1)
        labels = check_episode_labels(labels, (len(x),), len(self.weight), "labels", every=False)
        return float((guess == labels.to(guess.device)).double().mean())


def transductive_finetune(
    backbone: nn.Module,
    support: torch.Tensor,
    support_labels: Any,
    query: torch.Tensor,
    *,
    lr: float = 5e-5,
    epochs: int = 25,
    entropy_weight: float = 1.0,
    norm_mode: str = "train",
    chunk: int = 75,
    relu: bool = True,
    augment: Augment | None = None,
    generator: torch.Generator | None = None,
) -> Adapted:
    """Adapt a copy of ``backbone`` to one episode; the given one is not touched, batch-norm statistics included.

    ``backbone`` maps images to features, in the paper its logits over the training classes. ``support`` (N, ...) are
    labelled images with ``support_labels`` (N,) 0..K-1, ``query`` (M, ...) unlabelled ones. The classifier starts from
    :func:`~workings.few_shot.prototypes.support_init` in eval mode. Then, ``epochs`` times, **one** Adam (rate ``lr``) over all
    weights of network and classifier takes two steps: one on the cross-entropy of the support set, then one on
    ``entropy_weight`` times the mean entropy of the query predictions. With ``entropy_weight=0`` the second step is left out, which
    is plain fine-tuning; it is not the same as a step with a zero gradient, after which Adam's moments would have decayed and moved
    the weights once more. Since the steps are separate, the weight acts only through those shared moments.

    ``norm_mode`` says what batch-norm does in the loop. "train", the paper's: the whole network is in training mode, so batches
    are normalised by themselves, and the running statistics, with which queries are classified in the end, move to those of
    this episode. "eval": the network stays in eval mode. "batch-only": running statistics move as in "train", and no
    weight does. Batches above ``chunk`` images go through the network in parts of that size, each with statistics of its own.

    ``augment(images, generator)`` alters each batch in the loop and needs ``generator``. Only parameters that require a gradient
    are tuned. A network with dropout draws from torch's global generator in training mode.

    Raises ``ValueError`` for a class without support, an unknown ``norm_mode``, or NaN features, and ``FloatingPointError`` when a
    loss is not finite.
    """
    support, query = check_tensor(support, "support"), check_tensor(query, "query")
    if support.ndim < 2 or query.ndim != support.ndim or support.shape[1:] != query.shape[1:] or 0 in query.shape:
        raise ValueError(
            f"support and query must be images of one shape, got {tuple(support.shape)} and {tuple(query.shape)}."
        )
    if support.dtype != query.dtype:
        raise TypeError(f"support and query must have one dtype, got {support.dtype} and {query.dtype}.")
    lr = as_float(lr, "lr", minimum=0.0)
    epochs, chunk = as_int(epochs, "epochs", minimum=0), as_int(chunk, "chunk", minimum=1)
    entropy_weight = as_float(entropy_weight, "entropy_weight", minimum=0.0)
    one_of(norm_mode, "norm_mode", NORM_MODES)
    if augment is not None:
        as_generator(generator)
    way = way_of(support_labels, "support_labels")
    labels = check_episode_labels(support_labels, support.shape[:1], way, "support_labels").to(support.device)
    model = copy.deepcopy(backbone).eval()
    with torch.no_grad():
        weight, bias = support_init(model(support.clone()), labels, way, relu)  # a network may work in place
    weight, bias = nn.Parameter(weight), nn.Parameter(bias)
    tuned = [p for p in model.parameters() if p.requires_grad] + [weight, bias]
    optimiser = torch.optim.Adam(tuned, lr=lr)
    model.train(norm_mode != "eval")
    moves = norm_mode != "batch-only"
    losses, entropies, marginals = [], [], []

    def logits(images: torch.Tensor) -> torch.Tensor:
        if augment is not None:
            images = augment(images, generator)
        return cosine_logits(torch.cat([model(part.clone()) for part in images.split(chunk)]), weight, bias, relu)

    def step(loss: torch.Tensor) -> None:
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()}; lower lr.")
        if moves:
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()

    with torch.set_grad_enabled(moves):
        for _ in range(epochs):
            loss = F.cross_entropy(logits(support), labels)
            losses.append(loss.detach())
            step(loss)
            if entropy_weight:
                guess = logits(query)
                entropy = shannon_entropy(guess)
                entropies.append(entropy.detach())
                marginals.append(guess.detach().softmax(dim=1).mean(dim=0))
                step(entropy_weight * entropy)
    empty = support.new_zeros(0)
    trace = Trace(
        torch.stack(losses) if losses else empty,
        torch.stack(entropies) if entropies else empty,
        torch.stack(marginals) if marginals else support.new_zeros(0, way),
    )
    return Adapted(model.eval(), weight.detach(), bias.detach(), relu, trace)


def tune_classifiers(
    support: torch.Tensor,
    support_labels: Any,
    query: torch.Tensor,
    *,
    steps: int = 25,
    lr: float = 0.01,
    entropy_weight: float = 1.0,
    marginal_weight: float = 0.0,
    relu: bool = True,
    history: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tune only the classifiers of a block of episodes on frozen features, all at once.

    ``support`` (..., N, D) and ``query`` (..., M, D) are features, ``support_labels`` (N,) or (..., N). Each classifier starts
    from :func:`~workings.few_shot.prototypes.support_init` and minimises, by ``steps`` of one Adam step on the sum,
    cross-entropy + ``entropy_weight`` · entropy of the queries - ``marginal_weight`` · entropy of their average
    prediction. With both weights 1 this is the loss of Boudiaf et al., NeurIPS 2020 (arXiv 2008.11297), up to its own weights and
    temperature. Episodes do not influence one another: Adam works entry by entry.

    Gives weight (..., K, D) and bias (..., K); with ``history`` those of every step, (steps + 1, ..., K, D) and
    (steps + 1, ..., K), the start first.
    """
    steps, lr = as_int(steps, "steps", minimum=0), as_float(lr, "lr", minimum=0.0)
    entropy_weight = as_float(entropy_weight, "entropy_weight", minimum=0.0)
    marginal_weight = as_float(marginal_weight, "marginal_weight", minimum=0.0)
    way = way_of(support_labels, "support_labels")
    with torch.no_grad():
        weight, bias = support_init(support, support_labels, way, relu)
        cosine_logits(query, weight, bias, relu)  # refuses what does not fit together
    labels = check_episode_labels(support_labels, support.shape[:-1], way, "support_labels")
    labels = labels.to(support.device).expand(support.shape[:-1])
    support, query = support.detach(), query.detach()
    weight, bias = weight.detach().clone().requires_grad_(), bias.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([weight, bias], lr=lr)
    kept = [(weight.detach().clone(), bias.detach().clone())]
    with torch.enable_grad():
        for _ in range(steps):
            loss = information_maximisation(
                cosine_logits(support, weight, bias, relu), labels, cosine_logits(query, weight, bias, relu),
                entropy_weight, marginal_weight,
            ).sum()  # fmt: skip
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if history:
                kept.append((weight.detach().clone(), bias.detach().clone()))
    if history:
        return torch.stack([w for w, _ in kept]), torch.stack([b for _, b in kept])
    return weight.detach(), bias.detach()
