"""What the live figure of the page (book/assets/live/early_visual_concepts.js) runs and is compared with.

Nine whole networks are too much for a page at half precision. So each row of a weight matrix is rounded to nine steps, from
-4 to 4 times a scale of its own, and two steps share one stored number: 9 times the first plus the second. Rounded one by
one, the weights would blur the pictures; :func:`rounded` lets the weights that come later make up for those before. Pictures
redrawn from the means of all squares then differ from those of the exact networks by 0.0033 a pixel on average (0.0036 in the
network where it is most), and the nats of a code by 0.05 to 0.06 of 3 at beta 4, 0.1 of 7 at beta 1, 0.25 of 21 at beta 0.05.
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
from workings.seeding import torch_generator
from workings.show.live import LARGEST, load_weights

SLUG = "early_visual_concepts"
LEVELS = 4  # steps each way of a weight, in units of its row's scale
FINE = 6  # steps of a bias in one such unit
OCTAVE = 8  # scales are whole powers of the eighth root of 2
DAMPING = 0.003  # of the mean square of an input: keeps weights on inputs that sprites never give near their own value
NAMES = tuple(f"{beta:g} {seed}" for beta in Settings().main_betas for seed in Settings().few_seeds)


def arrays(models: Mapping[tuple[float, int], VAE], sprites: SmallSprites) -> dict[str, np.ndarray]:
    """What the figure stores: the networks of three seeds at each of the main prices, their latents by falling KL."""
    chosen = {f"{beta:g} {seed}": model for (beta, seed), model in models.items()}
    return {
        f"{name} {part}": values
        for name in NAMES
        for part, values in packed(chosen[name], latent_statistics(chosen[name], sprites).order, sprites.images).items()
    }


@torch.no_grad()
def packed(model: VAE, order: Sequence[int], images: torch.Tensor) -> dict[str, np.ndarray]:
    """The weights of ``model`` as the figure stores them, its latents in ``order``: ``codes``, ``scales`` and ``biases``, int8.

    They are rounded for the pictures ``images`` (N, 1, 16, 16): the encoder for these, the decoder for the means of their
    codes, for one draw of each code and for one of the prior.
    """
    order = list(order)
    pixels = images.flatten(1).double()
    encoder, decoder = (
        [[layer.weight.double(), layer.bias.double()] for layer in half.linears]
        for half in (model.encoder, model.decoder)
    )
    rows = [*order, *(len(order) + j for j in order)]  # means, then log-variances
    encoder[-1] = [part[rows] for part in encoder[-1]]
    decoder[0][0] = decoder[0][0][:, order]
    layers, coded = _rounded_in_turn(encoder, pixels)
    mu, logvar = coded.chunk(2, dim=1)
    noise = torch.randn(2, *mu.shape, generator=torch_generator(0, "evc", "rounding"), dtype=mu.dtype)
    layers += _rounded_in_turn(decoder, torch.cat([mu, mu + torch.exp(logvar / 2) * noise[0], noise[1]]))[0]
    steps, fine, exponents = (torch.cat([layer[k].flatten() for layer in layers]) for k in range(3))
    pairs = steps.view(-1, 2)
    found = {"codes": (2 * LEVELS + 1) * pairs[:, 0] + pairs[:, 1], "scales": exponents, "biases": fine}
    return {part: values.numpy().astype(np.int8) for part, values in found.items()}


def _rounded_in_turn(layers: Sequence[Sequence[torch.Tensor]], given: torch.Tensor) -> tuple[list[tuple], torch.Tensor]:
    """:func:`rounded` for each of ``layers``, ReLU between them, and the outputs of the exact ones for ``given``."""
    exact, seen, found = given, given, []
    for k, (weight, bias) in enumerate(layers):
        if k:
            exact, seen = exact.relu(), seen.relu()
        exact = exact @ weight.T + bias
        steps, fine, exponents = rounded(weight, bias, seen, exact)
        scale = 2 ** (exponents / OCTAVE)
        seen = seen @ (steps * scale[:, None]).T + fine * scale / FINE
        found.append((steps, fine, exponents))
    return found, exact


def rounded(
    weight: torch.Tensor, bias: torch.Tensor, inputs: torch.Tensor, wanted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A linear layer in whole numbers that gives nearly ``wanted`` (N, m) for ``inputs`` (N, n).

    Weights (m, n) and bias (m,) are first moved, as little as ``DAMPING`` asks, to where their outputs fit best: so they
    make up for the rounding of the layers below. Then column after column is rounded, those of the largest inputs first,
    and after each the columns left take the values that are best given what was rounded. With the Gram matrix G of the
    inputs, an error e in column i moves the columns j after it by -e U_ij / U_ii, where U is upper triangular and U' U the
    inverse of G (Frantar et al., GPTQ, arXiv 2210.17323, section 3).

    Returns (steps, fine, exponents), whole numbers as float64: with scales s = 2^(exponents / 8) the weights are steps s, of
    at most 4 steps, and the bias is fine s / 6, of at most 45.
    """
    x = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
    left = torch.cat([weight, bias[:, None]], dim=1)
    gram = x.T @ x / len(x)
    gram += DAMPING * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    left = left + torch.linalg.solve(gram, x.T @ (wanted - x @ left.T) / len(x)).T
    unit = torch.ones(len(gram), dtype=gram.dtype)
    unit[-1], most = 1 / FINE, torch.full_like(unit, LEVELS)
    most[-1] = LARGEST
    exponents = torch.ceil(OCTAVE * torch.log2((left.abs() / (unit * most)).amax(dim=1))).clamp(-LARGEST, LARGEST)
    step = 2 ** (exponents / OCTAVE)[:, None] * unit
    order = gram.diagonal().argsort(descending=True, stable=True)
    upper = torch.linalg.cholesky(torch.linalg.inv(gram[order][:, order]), upper=True)
    whole = torch.zeros_like(left)
    for i, column in enumerate(order.tolist()):
        whole[:, column] = (left[:, column] / step[:, column]).round().clamp(-most[column], most[column])
        error = (left[:, column] - whole[:, column] * step[:, column]) / upper[i, i]
        left[:, order[i:]] -= error[:, None] * upper[i, i:]
    return whole[:, :-1], whole[:, -1], exponents


def unpacked(stored: Mapping[str, np.ndarray], name: str) -> VAE:
    """The network ``name``, in double precision, of what is ``stored``."""
    model, base = Settings().untrained(0).double(), 2 * LEVELS + 1
    codes = stored[f"{name} codes"].astype(float)
    first = np.round(codes / base)
    steps = torch.from_numpy(np.stack([first, codes - base * first], axis=1).ravel())
    exponents, fine = (torch.from_numpy(stored[f"{name} {part}"]).double() for part in ("scales", "biases"))
    scales = 2 ** (exponents / OCTAVE)
    biases = fine * scales / FINE
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
    models = {name: unpacked(stored, name) for name in NAMES}
    column = lambda values: torch.tensor([values], dtype=torch.float64)
    encode = lambda name, pixels: torch.cat(models[name].encode(column(pixels).view(1, 1, 16, 16)), dim=1)[0].detach()
    decode = lambda name, z: models[name].decode(column(z)).flatten().detach()
    nats = lambda mu, logvar: gaussian_kl(column(mu), column(logvar))[0]
    lost = lambda logits, pixels: float(bernoulli_nll(column(logits), column(pixels)) - pixel_entropy(column(pixels)))
    places = [(0, 0, 0), (5, 15, 15), (3, 7, 12), (2, 0, 15), (4, 9, 1), (1, 14, 8), (3, 3, 3), (0, 12, 5), (5, 1, 10)]
    far = [3.0, -3.0, 0.5, 2.0, 0.0, -1.0, 0.25, 0.0]
    codes = [far[k % 8 :] + far[: k % 8] for k in range(len(models))]
    pixels, logits = [0.0, 1.0, 0.25, 0.0625, 1.0], [-30.0, 3.0, -0.5, 0.0, 40.0]
    return {
        "square": (square, places),
        "encode": (encode, [(name, square(*place)) for name, place in zip(models, places, strict=True)] + [("4 0", [0.0] * 256)]),
        "decode": (decode, [*zip(models, codes, strict=True), ("4 0", [0.0] * 8)]),
        "nats": (nats, [([0.0, 1.0], [0.0, 0.0]), ([-2.5, 0.1], [-6.0, 1.0]), ([0.0], [-9.0])]),
        "lost": (lost, [(logits, pixels), (logits[::-1], pixels), ([0.0] * 5, pixels), (logits, [0.0] * 5)]),
    }  # fmt: skip
