"""Four programs for one small layer: SAP, and three that look like it. Their dice are given as numbers.

The page's figure draws with the same numbers in the reader's browser, so both can be compared pruning by pruning.
"""

from __future__ import annotations

import torch

from workings.chapters.given_draws import drawn_set
from workings.checks import one_of
from workings.robustness.closed_forms import sap_probabilities, survival_probability

PROGRAMS = {
    "sap": "SAP",
    "distinct": "drawn without replacement",
    "channels": "channel by channel",
    "undivided": "not divided by q",
}
CHANNELS = 2


def divisor(h: torch.Tensor, draws: int, program: str) -> torch.Tensor:
    """The number that a survivor is divided by: (a,). ``"channels"`` has its own, the others have ``q`` (which one leaves out)."""
    maps = CHANNELS if program == "channels" else 1
    p = sap_probabilities(h.reshape(maps, -1))
    return survival_probability(p, draws // maps).reshape(-1)


def prune_by_numbers(h: torch.Tensor, dice: torch.Tensor, program: str = "sap") -> torch.Tensor:
    """``n`` prunings (n, a) of one layer ``h`` (a,), whose draws are the numbers ``dice`` (n, r) in [0, 1).

    ``"sap"`` draws with replacement from the whole map and divides survivors by their chance ``q`` to survive. Each of the
    others changes one thing: ``"distinct"`` draws without replacement and divides by the same ``q``; ``"channels"``
    gives either half of the map its own probabilities, half of the draws, and its own ``q``; ``"undivided"`` leaves the
    division out. Raises ``ValueError`` for another program, a layer that is not one list of an even length, or ``dice`` that
    are not two or more numbers in [0, 1) per pruning.
    """
    one_of(program, "program", tuple(PROGRAMS))
    if h.dim() != 1 or len(h) % CHANNELS or len(h) == 0:
        raise ValueError(f"h must be one list of neurons that two channels share evenly, got shape {tuple(h.shape)}.")
    if dice.dim() != 2 or dice.shape[1] < CHANNELS or not bool(((dice >= 0) & (dice < 1)).all()):
        raise ValueError(f"dice must be (prunings, 2 draws or more), each in [0, 1), got shape {tuple(dice.shape)}.")
    size = h.abs()
    if program == "channels":
        each = dice.shape[1] // CHANNELS
        parts = zip(size.chunk(CHANNELS), dice.split(each, dim=1), strict=False)  # an odd draw is left over
        kept = torch.cat([drawn_set(part, numbers) for part, numbers in parts], dim=1)
    else:
        kept = drawn_set(size, dice, distinct=program == "distinct")
    if program == "undivided":
        return torch.where(kept, h, 0)
    return torch.where(kept, h / divisor(h, dice.shape[1], program), 0)
