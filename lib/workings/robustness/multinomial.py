"""Exact multinomial draws for many large maps at once: which neurons are drawn, or how often.

``torch.multinomial(p, r, replacement=True)`` makes ``r`` searches in a table of ``a`` entries, lists
every draw and stops at ``2**24`` categories. Pruning needs only the set of drawn neurons. Here that
set costs one exponential variate per neuron, whatever ``r`` is.

Why it is exact. Give neuron ``j`` its own Poisson process of rate ``p_j`` and watch all until time
``L``. The number of events ``N`` is Poisson(``L``), and given ``N = n`` the counts are
Multinomial(``n, p``): events pick their neuron independently. Three consequences:

1. *First events tell the set.* Neuron ``j`` was drawn iff its first event, at ``E_j / p_j`` with
   ``E_j`` standard exponential, came before ``L``: iff ``E_j <= L p_j``.
2. *The rest of N is one Poisson number.* After its first event neuron ``j`` goes on at rate ``p_j`` for
   the time left. The sum of independent Poisson processes is Poisson, so given all first events the
   number of repeated draws is Poisson with mean ``sum_j max(L p_j - E_j, 0)``. Hence
   ``N = #drawn + repeats`` without listing a single draw.
3. *Topping up.* Take ``L = r - 2 sqrt(r)``, so ``N <= r`` in about 98 of 100 rows, and add ``r - N`` draws
   from ``p``: Multinomial(``n, p``) plus ``r - n`` independent draws is Multinomial(``r, p``) for every
   ``n <= r``. A row with ``N > r`` is drawn again; whether that happens depends on ``N`` alone, so
   the law given ``N`` is untouched. No approximation is left but float64 rounding (of ``2**-53`` in
   ``E_j`` and in the cumulative sums).

Neurons with ``p_j = 0`` are never drawn. On CUDA the repeats are drawn in pieces of mean at most 32, since
the library's Poisson sampler turns normal for large means.
"""

from __future__ import annotations

import torch

from workings.checks import as_int

_FEW = 256  # below this many draws per row, or an eighth of the categories, draw one by one
_MARGIN = 2.0  # L stays this many standard deviations of N below the draws that are wanted
_PIECE = 32.0
_CPU_CELLS = 2**17  # float64 entries handled at a time: 1 MiB stays in the cache
_GPU_CELLS = 2**26


def multinomial_occupancy(p: torch.Tensor, draws: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Which categories are drawn at least once in ``draws`` draws with replacement: bool (B, a).

    ``p`` (B, a) holds non-negative weights, each row proportional to its probabilities; the rows are
    independent. An all-zero row has nothing drawn. The law is that of ``N >= 1`` for
    ``N ~ Multinomial(draws, p)``, dependence between categories included; see the module's proof.
    The result is on ``p``'s device; ``generator`` must be on the same device. Time and memory do
    not grow with ``draws`` (except for about ``2 sqrt(draws)`` single draws per row).

    Raises ``ValueError`` for weights that are negative or not finite, another shape, or ``draws < 0``.
    """
    return _draw(p, draws, generator, counts=False)


def multinomial_counts(p: torch.Tensor, draws: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """How often each category is drawn, ``N ~ Multinomial(draws, p)`` row by row: int64 (B, a).

    As :func:`multinomial_occupancy`, with all events of a category in place of the first.
    Rows sum to ``draws`` (all-zero rows to 0).
    """
    return _draw(p, draws, generator, counts=True)


def _draw(p: torch.Tensor, draws: int, generator: torch.Generator | None, counts: bool) -> torch.Tensor:
    draws = as_int(draws, "draws", minimum=0)
    _check_weights(p)
    drawn = torch.empty(p.shape, dtype=torch.int64 if counts else torch.bool, device=p.device)
    cells = _CPU_CELLS if p.device.type == "cpu" else _GPU_CELLS
    rows = max(1, cells // p.shape[1])
    for start in range(0, len(p), rows):
        drawn[start : start + rows] = _draw_rows(p[start : start + rows].double(), draws, generator, counts)
    return drawn


def _draw_rows(p: torch.Tensor, draws: int, generator: torch.Generator | None, counts: bool) -> torch.Tensor:
    """The set (bool) or the counts (int64) for weights (R, a) float64."""
    total = p.sum(dim=1, keepdim=True)
    if not bool(torch.isfinite(total).all()):
        raise ValueError("a row of p sums to infinity; divide its weights by their largest first.")
    p = p / torch.where(total > 0, total, 1.0)
    missing = (total[:, 0] > 0) * draws  # draws still to be made, (R,)
    drawn = torch.zeros(p.shape, dtype=torch.int64 if counts else torch.bool, device=p.device)
    many = max(_FEW, p.shape[1] // 8)
    while draws >= many:
        todo = (missing >= many).nonzero().squeeze(1)
        if len(todo) == 0:
            break
        wanted = missing[todo].double()
        level = wanted - _MARGIN * wanted.sqrt()  # L
        found, number = (_all_events if counts else _first_events)(p[todo].mul_(level[:, None]), generator)
        kept = number <= wanted
        drawn[todo[kept]] += found[kept]
        missing[todo[kept]] -= number[kept].long()
    return _draw_one_by_one(p, missing, drawn, generator)


def _first_events(mean: torch.Tensor, generator: torch.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Set of neurons with an event (R, a) and the number of events in all (R,); ``mean`` = L p is consumed."""
    first, left = _after_first_event(mean, generator)
    return first, first.count_nonzero(dim=1) + _poisson(left.sum(dim=1), generator)


def _all_events(mean: torch.Tensor, generator: torch.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Number of events of each neuron (R, a) and in all (R,); ``mean`` = L p is consumed."""
    first, left = _after_first_event(mean, generator)
    events = _poisson(left.view(-1), generator).view_as(left).add_(first).long()
    return events, events.sum(dim=1)


def _after_first_event(mean: torch.Tensor, generator: torch.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether each neuron's first event comes in time, and the mean number of events after it."""
    uniform = torch.rand(mean.shape, dtype=torch.float64, device=mean.device, generator=generator)
    left = mean.add_(uniform.log_())  # L p - E, since E = -log(uniform)
    return left > 0, left.clamp_(min=0)


def _poisson(mean: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Poisson numbers (float64) with means (R,); off the CPU as sums of pieces with small means."""
    if mean.device.type == "cpu":
        return torch.poisson(mean, generator=generator)
    pieces = (mean / _PIECE).ceil().clamp_(min=1).long()
    owner = torch.repeat_interleave(torch.arange(len(mean), device=mean.device), pieces)
    part = torch.poisson((mean / pieces)[owner], generator=generator)
    return torch.zeros_like(mean).index_add_(0, owner, part)


def _draw_one_by_one(
    p: torch.Tensor, missing: torch.Tensor, drawn: torch.Tensor, generator: torch.Generator | None
) -> torch.Tensor:
    """Add ``missing`` (R,) inverse-CDF draws per row to ``drawn`` (R, a), in place."""
    categories, most = p.shape[1], int(missing.max())
    if most == 0:
        return drawn
    cumulative = p.cumsum(dim=1)  # (R, a)
    top = cumulative[:, -1:].contiguous()
    height = torch.rand((len(p), most), dtype=torch.float64, device=p.device, generator=generator).mul_(top)
    # The first category whose cumulative sum is above the height: never one with p = 0. Rounding
    # can lift a height to the very top, where it belongs to the last category that has p > 0.
    category = torch.searchsorted(cumulative, height, right=True).minimum(torch.searchsorted(cumulative, top))
    row, column = (torch.arange(most, device=p.device) < missing[:, None]).nonzero(as_tuple=True)
    place = row * categories + category[row, column]
    if drawn.dtype == torch.bool:
        drawn.view(-1)[place] = True
    else:
        drawn.view(-1).index_add_(0, place, torch.ones_like(place))
    return drawn


def _check_weights(p: torch.Tensor) -> None:
    if not isinstance(p, torch.Tensor):
        raise TypeError(f"p must be a torch tensor of weights, got {type(p).__name__}.")
    if p.dim() != 2 or p.numel() == 0 or not p.dtype.is_floating_point:
        raise ValueError(f"p must be a non-empty floating-point (B, a) tensor, got {p.dtype} of {tuple(p.shape)}.")
    low, high = (float(v) for v in p.aminmax())
    if not (low >= 0 and high < float("inf")):
        raise ValueError(f"p must be finite and not negative, got values from {low} to {high}; repair them first.")
