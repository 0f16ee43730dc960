"""What the live figure of the page (book/assets/live/beta_vae_capacity.js) is compared with, and the measured nats beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from workings.chapters.beta_vae_capacity.demo import FactorData
from workings.chapters.beta_vae_capacity.settings import Settings
from workings.disentangling.known_factor import RateHistory
from workings.disentangling.rate_distortion import linear_beta_vae_optimum, reverse_water_filling
from workings.seeding import torch_generator
from workings.show.live import load_weights

SLUG = "beta_vae_capacity"
CAPACITIES = np.linspace(0.0, 20.0, 41)  # where measured rates are stored


@torch.no_grad()
def arrays(
    runs: Sequence[RateHistory], data: FactorData, alone: np.ndarray, rows: Sequence[int]
) -> dict[str, np.ndarray | torch.Tensor]:
    """What the figure stores: ``alone``, the mean rates of ``runs`` at each of the ``CAPACITIES``, and pictures ``rows`` with what was received.

    What was received is one noisy message at each of the settings' stops, of the first run.
    """
    kept = [torch.sigmoid(model(data.factors[rows], torch_generator(0, "frame")))[:, 0] for model in runs[0].kept]
    mean = torch.stack([run.rates for run in runs]).mean(0)
    return {
        "variances": alone, "rates": np.stack([np.interp(CAPACITIES, runs[0].capacity, one) for one in mean.T], axis=1),
        "stops": np.array(Settings().factor_stops), "pictures": data.images[rows, 0], "received": torch.stack(kept),
    }  # fmt: skip


def cases(stored: Mapping[str, np.ndarray] | None = None) -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try). ``stored``: the arrays of the figure."""
    stored = load_weights(SLUG) if stored is None else stored

    def water(variances: Sequence[float], capacity: float) -> list[float]:
        found = reverse_water_filling(variances, capacity)
        return [found.theta, *found.rates.tolist()]

    def measured(capacity: float) -> list[float]:
        return [float(np.interp(capacity, CAPACITIES, rates)) for rates in stored["rates"].T]

    price = lambda variances, beta: linear_beta_vae_optimum(variances, beta).kl
    worlds = [[16.0, 4.0, 1.0], [1e-4, 100.0, 1e-4, 1.0, 0.03], [2.0] * 5, [float(v) for v in stored["variances"]]]
    return {
        "water": (water, [(v, c) for v in worlds for c in (0.0, 0.7, 2.0, 7.4, 20.0)]),
        "price": (price, [(v, beta) for v in worlds for beta in (1e-5, 0.5, 4.0, 100.0)]),
        "measured": (measured, [(c,) for c in (0.0, 0.2, 3.0, 11.1, 19.9, 20.0)]),
    }
