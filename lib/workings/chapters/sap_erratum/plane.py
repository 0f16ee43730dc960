"""A network with two inputs, small enough that the gradient of its mean output is exact: SAP and its three backward rules.

Two inputs, a layer of ``a`` ReLUs, SAP, a second layer of ReLUs, SAP, and one output ``z``: positive for points of the disc. Over the first
layer's ``2^a`` sets of kept neurons everything can be summed; the second SAP layer is followed by a linear map, so on
average it passes its input on. Notation of :mod:`~workings.robustness.closed_forms`; float64 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from workings.chapters.given_draws import drawn_set
from workings.checks import one_of
from workings.robustness.closed_forms import sap_probabilities, single_draw_share, survival_probability
from workings.robustness.sap import BACKWARD_RULES
from workings.seeding import torch_generator

NEURONS = 8  # in each of the two layers
Network = Mapping[str, torch.Tensor]  # W1 (a, 2), b1 (a,), W2 (a, a), b2 (a,), v (a,), c (1,)


def disc_and_ring(points: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """``points`` of a disc (class 1) and of a ring around it (class 0), in turn: (n, 2) and (n,)."""
    angle = 2 * math.pi * torch.rand(points, generator=generator, dtype=torch.float64)
    inside = torch.arange(points) % 2 == 0
    radius = torch.where(inside, 0.45, 1.25) + 0.12 * torch.randn(points, generator=generator, dtype=torch.float64)
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1), inside.double()


def train_plane(seed: int, steps: int = 800) -> tuple[dict[str, torch.Tensor], float]:
    """The dense network, trained on 400 points with a little weight decay, and its accuracy on 400 others."""
    dice = torch_generator(seed, "erratum", "plane")
    x, y = disc_and_ring(400, dice)
    sizes = {
        "W1": (NEURONS, 2),
        "b1": (NEURONS,),
        "W2": (NEURONS, NEURONS),
        "b2": (NEURONS,),
        "v": (NEURONS,),
        "c": (1,),
    }
    scale = {"W1": 1.0, "b1": 0.5, "W2": 1.4 * NEURONS**-0.5, "b2": 0.0, "v": NEURONS**-0.5, "c": 0.0}
    net = {
        name: (scale[name] * torch.randn(size, generator=dice, dtype=torch.float64)).requires_grad_()
        for name, size in sizes.items()
    }
    optimiser = torch.optim.Adam(net.values(), lr=0.02)
    for _ in range(steps):
        loss = F.binary_cross_entropy_with_logits(dense(net, x), y)
        loss = loss + 1e-3 * sum(part.square().sum() for part in net.values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    trained = {name: part.detach() for name, part in net.items()}
    x, y = disc_and_ring(400, dice)
    return trained, float(((dense(trained, x) > 0) == (y > 0)).double().mean())


def as_network(arrays: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Stored arrays as the tensors that this module takes."""
    return {name: torch.as_tensor(array).double() for name, array in arrays.items()}


def first_layer(net: Network, x: torch.Tensor) -> torch.Tensor:
    """Activations of the first layer at ``x`` (B, 2), before SAP: (B, a)."""
    return (x @ net["W1"].T + net["b1"]).relu()


def second_layer(net: Network, h: torch.Tensor) -> torch.Tensor:
    """Activations of the second layer for what SAP made of the first: (..., a)."""
    return (h @ net["W2"].T + net["b2"]).relu()


def dense(net: Network, x: torch.Tensor) -> torch.Tensor:
    """The output without SAP: (B,)."""
    return second_layer(net, first_layer(net, x)) @ net["v"] + net["c"]


def kept_sets(p: torch.Tensor, r: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All sets of neurons, bool (2^a, a), and the chance that just these are drawn, (B, 2^a): by inclusion and exclusion.

    ``P(S) = sum over T in S of (-1)^(|S| - |T|) (sum of p over T)^r``, for ``p`` (B, a) and ``r >= 2`` draws.
    """
    size = p.shape[1]
    sets = (torch.arange(2**size)[:, None] >> torch.arange(size)) % 2 == 1
    number = sets.sum(1)
    within = (sets[None] <= sets[:, None]).all(2)
    sign = torch.where(within, (-1.0) ** (number[:, None] - number), 0.0).double()
    chance = (p @ sets.T.double()) ** r @ sign.T
    silent = F.one_hot(torch.zeros(len(p), dtype=torch.int64), 2**size)  # a map of zeros: nothing is drawn, for certain
    return sets, torch.where(p.sum(1, keepdim=True) > 0, chance, silent)


def mean_output(net: Network, x: torch.Tensor, r: int) -> torch.Tensor:
    """The output's exact mean over all masks of ``r`` draws a layer, at ``x`` (B, 2): (B,)."""
    return _mean(net, x, r, "true")


def limit_gradient(net: Network, x: torch.Tensor, r: int, rule: str) -> torch.Tensor:
    """Exact gradient of the mean output (``rule="true"``), or what a backward rule gives on average over all masks: (B, 2)."""
    one_of(rule, "rule", ("true", *BACKWARD_RULES))
    x = x.clone().requires_grad_()
    return torch.autograd.grad(_mean(net, x, r, rule).sum(), x)[0]


def _mean(net: Network, x: torch.Tensor, r: int, rule: str) -> torch.Tensor:
    h = first_layer(net, x)
    p, q = _chances(h, r)
    sets, chance = kept_sets(p, r)
    if rule != "true":  # no rule sees that the chances of the sets depend on x
        chance = chance.detach()
    out = second_layer(net, _passed(h, sets, q, rule))  # (B, 2^a, a)
    if rule == "pathwise":  # of a linear map only the mean counts: q times h / q, the first q a constant
        _, q2 = _chances(out.flatten(0, 1), r)
        q2 = q2.reshape(out.shape)
        out = torch.where(q2 > 0, q2.detach() * out / q2, 0)
    return (chance * (out @ net["v"])).sum(1) + net["c"]


def _chances(h: torch.Tensor, r: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``p`` and ``q``; the latter 1 for a silent neuron, which nothing divides."""
    total = h.sum(1, keepdim=True)
    p = h / torch.where(total > 0, total, 1)
    return p, torch.where(p > 0, 1 - (1 - p) ** r, 1)


def _passed(h: torch.Tensor, kept: torch.Tensor, q: torch.Tensor, rule: str) -> torch.Tensor:
    """What SAP passes on for each set of ``kept`` (n, a): (B, n, a), with the derivative that ``rule`` gives it."""
    h, q = h[:, None], q[:, None]
    if rule == "mask":
        q = q.detach()
    out = torch.where(kept, h / q, 0)
    return h + (out - h).detach() if rule == "identity" else out


def sampled_gradient(net: Network, x: torch.Tensor, dice: torch.Tensor, rule: str) -> torch.Tensor:
    """Gradient of the output at ``x`` (2,), averaged over masks whose draws are ``dice`` (K, 2 r) in [0, 1): (2,).

    The first ``r`` numbers of a row draw the first layer's mask, the others the second's. The backward rules are written
    out here; :func:`~workings.robustness.sap.stochastic_activation_pruning` has the same ones.
    """
    one_of(rule, "rule", BACKWARD_RULES)
    r = dice.shape[1] // 2
    h = first_layer(net, x[None])[0]
    kept = drawn_set(h, dice[:, :r])
    p, q = _of_a_map(h[None], r)
    out = torch.where(kept, h / q, 0)  # (K, a)
    h2 = second_layer(net, out)
    p2, q2 = _of_a_map(h2, r)
    kept2 = torch.cat([drawn_set(one, row[None]) for one, row in zip(h2, dice[:, r:], strict=True)])
    g2 = _backward(net["v"].expand_as(h2), h2, kept2, p2, q2, r, rule)
    g = _backward((g2 * (h2 > 0)) @ net["W2"], h.expand_as(out), kept, p, q, r, rule)
    return ((g * (h > 0)) @ net["W1"]).mean(0)


def _of_a_map(h: torch.Tensor, r: int) -> tuple[torch.Tensor, torch.Tensor]:
    p = sap_probabilities(h)
    q = survival_probability(p, r)
    return p, torch.where(q > 0, q, 1)


def _backward(
    g: torch.Tensor, h: torch.Tensor, kept: torch.Tensor, p: torch.Tensor, q: torch.Tensor, r: int, rule: str
) -> torch.Tensor:
    """The gradient ``g`` (K, a) of a pruned map's output, as ``rule`` passes it on; activations are not negative."""
    if rule == "identity":
        return g
    through = torch.where(kept, g / q, 0)
    if rule == "mask":
        return through
    w = single_draw_share(p, r)
    return through * (1 - w) + (h > 0) * (through * p * w).sum(1, keepdim=True)


def walk(
    net: Network, x: torch.Tensor, dice: torch.Tensor, r: int, rule: str, length: float, sign: int
) -> torch.Tensor:
    """Steps of one ``length`` along the gradient of ``rule`` times ``sign``, from ``x`` (2,): the path (steps + 1, 2).

    ``dice`` (steps, K, 2 r) are the numbers for the masks of each step; ``rule="true"`` takes the exact gradient and only counts
    them. Where the gradient is 0 the walk stands still.
    """
    path = [x]
    for row in dice:
        here = path[-1]
        g = limit_gradient(net, here[None], r, rule)[0] if rule == "true" else sampled_gradient(net, here, row, rule)
        size = g.norm()
        path.append(here + (sign * length * g / size if size > 0 else 0 * g))
    return torch.stack(path)
