"""What the live figure of the page (book/assets/live/early_visual_concepts.js) runs and is compared with.

Three whole networks are too much for a page at half precision. So each row of a weight matrix is rounded to 63 steps, from -31 to 31
times a scale of its own, and two steps share one stored number: 63 times the first plus the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from workings.chapters.early_visual_concepts.demo import latent_statistics
from workings.chapters.early_visual_concepts.settings import Settings
from workings.disentangling.networks import VAE
from workings.disentangling.objectives import bernoulli_nll, gaussian_kl, pixel_entropy
from workings.disentangling.sprites16 import SmallSprites, small_sprites
from workings.show.live import load_weights

SLUG = "early_visual_concepts"
LEVELS = 31  # steps each way


def arrays(models: Mapping[tuple[float, int], VAE], sprites: SmallSprites) -> dict[str, np.ndarray]:
    """What the figure stores: the networks of seed 0 at the main prices, their latents by falling KL."""
    chosen = {f"{beta:g}": models[beta, 0] for beta in Settings().main_betas}
    return {
        f"{name} {part}": values
        for name, model in chosen.items()
        for part, values in packed(model, latent_statistics(model, sprites).order).items()
    }


def packed(model: VAE, order: Sequence[int]) -> dict[str, np.ndarray]:
    """The weights of ``model`` as the figure stores them, its latents in ``order``: ``codes``, ``scales`` and ``biases``."""
    order = list(order)
    encoder, decoder = ([layer for layer in half.linears] for half in (model.encoder, model.decoder))
    layers = [
        [layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()] for layer in encoder + decoder
    ]
    rows = [*order, *(len(order) + j for j in order)]  # means, then log-variances
    layers[len(encoder) - 1] = [part[rows] for part in layers[len(encoder) - 1]]
    layers[len(encoder)][0] = layers[len(encoder)][0][:, order]
    scales = [(np.abs(weight).max(axis=1) / LEVELS).astype(np.float16).astype(float) for weight, _ in layers]
    steps = [np.clip(np.round(w / s[:, None]), -LEVELS, LEVELS) for (w, _), s in zip(layers, scales, strict=True)]
    flat = np.concatenate([one.ravel() for one in steps]).reshape(-1, 2)
    return {
        "codes": flat @ [2 * LEVELS + 1, 1],
        "scales": np.concatenate(scales),
        "biases": np.concatenate([bias for _, bias in layers]),
    }


def unpacked(stored: Mapping[str, np.ndarray], name: str) -> VAE:
    """The network ``name``, in double precision, of what is ``stored``."""
    model, base = Settings().untrained(0).double(), 2 * LEVELS + 1
    codes = stored[f"{name} codes"].astype(float)
    first = np.round(codes / base)
    steps = torch.from_numpy(np.stack([first, codes - base * first], axis=1).ravel())
    scales, biases = (torch.from_numpy(stored[f"{name} {part}"]).double() for part in ("scales", "biases"))
    with torch.no_grad():
        for layer in (*model.encoder.linears, *model.decoder.linears):
            rows, count = len(layer.bias), layer.weight.numel()
            layer.weight.copy_(steps[:count].view_as(layer.weight) * scales[:rows, None])
            layer.bias.copy_(biases[:rows])
            steps, scales, biases = steps[count:], scales[rows:], biases[rows:]
    return model


def square(size: int, x: int, y: int) -> list[float]:
    """The pixels (256,) of an upright square of the demo, by the classes of its factors."""
    return small_sprites(0, [size], 0).grid().observations(torch.tensor([[x, y]])).flatten().tolist()


def cases(stored: Mapping[str, np.ndarray] | None = None) -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try). ``stored``: the arrays that the figure runs with."""
    stored = load_weights(SLUG) if stored is None else stored
    models = {name: unpacked(stored, name) for name in (f"{beta:g}" for beta in Settings().main_betas)}
    column = lambda values: torch.tensor([values], dtype=torch.float64)
    encode = lambda name, pixels: torch.cat(models[name].encode(column(pixels).view(1, 1, 16, 16)), dim=1)[0].detach()
    decode = lambda name, z: models[name].decode(column(z)).flatten().detach()
    nats = lambda mu, logvar: gaussian_kl(column(mu), column(logvar))[0]
    lost = lambda logits, pixels: float(bernoulli_nll(column(logits), column(pixels)) - pixel_entropy(column(pixels)))
    places = [(0, 0, 0), (5, 15, 15), (3, 7, 12), (2, 0, 15), (4, 9, 1), (1, 14, 8)]
    far = [3.0, -3.0, 0.5, 2.0, 0.0, -1.0, 0.25, 0.0]
    codes = [far[k:] + far[:k] for k in range(len(models))]
    pixels, logits = [0.0, 1.0, 0.25, 0.0625, 1.0], [-30.0, 3.0, -0.5, 0.0, 40.0]
    return {
        "square": (square, places),
        "encode": (encode, [(name, square(*place)) for name, place in zip(models, places, strict=False)] + [("4", [0.0] * 256)]),
        "decode": (decode, [*zip(models, codes, strict=True), ("4", [0.0] * 8)]),
        "nats": (nats, [([0.0, 1.0], [0.0, 0.0]), ([-2.5, 0.1], [-6.0, 1.0]), ([0.0], [-9.0])]),
        "lost": (lost, [(logits, pixels), (logits[::-1], pixels), ([0.0] * 5, pixels), (logits, [0.0] * 5)]),
    }  # fmt: skip
