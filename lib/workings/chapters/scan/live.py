"""What the live figure of the page (book/assets/live/scan.js) runs and is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from workings.chapters.scan.settings import Settings
from workings.disentangling.concepts import OPERATORS, concept_and, concept_ignore, concept_in_common, khot
from workings.disentangling.networks import VAE, MLPDecoder
from workings.disentangling.recombination import RecombinationNet
from workings.disentangling.rooms import ATTRIBUTE_SIZES, SIDE
from workings.disentangling.scan import Gaussian, SymbolVAE
from workings.show.live import load_weights

SLUG = "scan"


def arrays(symbols: SymbolVAE, vision: VAE, net: RecombinationNet) -> dict[str, torch.Tensor]:
    """The weights and biases that the figure runs with: of the symbols' encoder, the vision model's decoder and the operators."""
    return {
        f"{name} {i} {part}": getattr(layer, part).detach()
        for name, layers in _layers(symbols, vision.decoder, net).items()
        for i, layer in enumerate(layers)
        for part in ("weight", "bias")
    }


def _layers(symbols: SymbolVAE, decoder: nn.Module, net: RecombinationNet) -> dict[str, nn.ModuleList]:
    return {"symbol": symbols.encoder.linears, "decoder": decoder.linears, "operator": net.linears}


def cases(stored: Mapping[str, np.ndarray] | None = None) -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try). ``stored``: the arrays of the figure."""
    stored, settings = load_weights(SLUG) if stored is None else stored, Settings()
    symbols = SymbolVAE(ATTRIBUTE_SIZES, settings.latents)
    decoder = MLPDecoder((3, SIDE, SIDE), settings.latents, (settings.hidden,) * 2)
    net = RecombinationNet(n_ops=len(OPERATORS))
    for name, layers in _layers(symbols, decoder, net).items():
        for i, layer in enumerate(layers):
            for part in ("weight", "bias"):
                getattr(layer, part).data = torch.from_numpy(stored[f"{name} {i} {part}"]).double()

    column = lambda values: torch.tensor([values], dtype=torch.float64)
    marks = lambda labels: khot(torch.tensor(labels), ATTRIBUTE_SIZES).int()
    encode = lambda labels: torch.cat(symbols.encode(marks(labels)[None].double()), dim=1)[0].detach()
    decode = lambda z: decoder(column(z)).flatten().detach()

    def recombine(a: Sequence[float], b: Sequence[float], operator: int) -> torch.Tensor:
        q = [Gaussian(*column(one).chunk(2, dim=1)) for one in (a, b)]
        return torch.cat(net(*q, torch.tensor([operator])), dim=1)[0].detach()

    kernels = (concept_and, concept_in_common, concept_ignore)
    combine = lambda a, b, operator: kernels[operator](torch.tensor(a), torch.tensor(b))
    concepts = [[0, -1, -1], [0, -1, 2], [-1, 3, 0], [3, 1, 1], [-1, -1, -1]]
    pairs = [([0, -1, -1], [-1, -1, 2]), ([0, 1, -1], [0, -1, 2]), ([3, 3, 0], [-1, 3, 0])]
    rounded = lambda labels: [round(one, 3) for one in encode(labels).tolist()]
    far = [[0.0] * settings.latents, [2.5, -2.5, 1.0, 0.0, -1.0, 0.5], [-3.0, 0.25, 3.0, -0.5, 2.0, -2.0]]
    return {
        "khot": (marks, [(one,) for one in concepts]),
        "encode": (encode, [(one,) for one in concepts]),
        "combine": (combine, [(a, b, 0) for a, b in pairs] + [(a, b, 1) for a, b in pairs] + [([0, 1, 2], [-1, 1, -1], 2), ([3, 3, 0], [-1, 3, 0], 2)]),
        "recombine": (recombine, [(rounded(a), rounded(b), k) for k, (a, b) in enumerate(pairs)] + [([0.0] * 12, [1.0] * 12, k) for k in range(3)]),
        "decode": (decode, [(one,) for one in far]),
    }  # fmt: skip
