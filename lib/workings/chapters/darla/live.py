"""The networks of the live figure of the page (book/assets/live/darla.js), and what the figure is compared with."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from workings.chapters.darla.demo import Encoder, Returns
from workings.disentangling.ensembles import LinearEnsemble
from workings.disentangling.perceptual import frozen_codes
from workings.disentangling.worlds import SeekAvoidWorld, hue_palette
from workings.show.live import load_weights

HUES = 8


def arrays(
    encoders: Mapping[str, Encoder], agents: Mapping[str, tuple[Returns, int]], data: torch.Tensor, pixels: torch.Tensor
) -> dict[str, torch.Tensor]:
    """What the figure runs: for each name its layers ("<name> 0 weight", ...), and how inputs are standardised.

    ``encoders`` by name, their codes standardised by ``data``; ``agents`` by name: returns, and which agent of them; ``pixels``:
    all pictures, by which pixels are standardised.
    """
    found = {"pixels scale": torch.stack([pixels.mean(), pixels.std()])}
    for name, one in encoders.items():
        raw = frozen_codes(one.model, data)
        found[f"{name} scale"] = torch.stack([raw.mean(dim=0), raw.std(dim=0).clamp(min=1e-3)])
        layers = list(one.model.encoder.linears)
        means = raw.shape[1]  # of the last layer, the first half of which gives the posterior's means
        for k, layer in enumerate(layers):
            rows = means if k == len(layers) - 1 else None
            found |= {f"{name} code {k} weight": layer.weight[:rows], f"{name} code {k} bias": layer.bias[:rows]}
    for name, (returns, at) in agents.items():
        stack = returns.agents.layers
        for k, (weight, bias) in enumerate(zip(stack.weights, stack.biases, strict=True)):
            found |= {f"{name} act {k} weight": weight[at].t(), f"{name} act {k} bias": bias[at, 0]}
    return {name: array.detach() for name, array in found.items()}


def network(stored: Mapping[str, np.ndarray], name: str) -> LinearEnsemble:
    """The stored layers of ``name`` ("pixels act", "chosen code", ...) as the library's network, in double precision."""
    layers = []
    for k in itertools.count():
        if f"{name} {k} weight" not in stored:
            return LinearEnsemble([layers])
        weight, bias = (torch.from_numpy(stored[f"{name} {k} {part}"]).double() for part in ("weight", "bias"))
        layer = nn.Linear(*weight.shape[::-1], dtype=torch.float64)
        layer.weight.data, layer.bias.data = weight, bias
        layers.append(layer)


def cases() -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try). Hues count from 1, and may lie between two."""
    stored = load_weights("darla")
    fine = 0.25  # steps of a hue
    palette = hue_palette(int((HUES - 1) / fine) + 1)
    world = SeekAvoidWorld(
        palette, palette, SeekAvoidWorld.hues(HUES).kinds, size=8, object_size=4, stride=1, horizon=1
    )
    at = lambda hue: round((hue - 1) / fine)

    def picture(wall: float, floor: float, kind: int, place: int) -> np.ndarray:
        return world.render(np.array([[at(wall), at(floor)]]), np.array([[kind, place]])).reshape(-1)

    def run(name: str, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return network(stored, name)(x.reshape(1, 1, -1))[0, 0]

    def code(name: str, *scene: float) -> torch.Tensor:
        centre, spread = torch.from_numpy(stored[f"{name} scale"]).double()
        return (run(f"{name} code", torch.from_numpy(picture(*scene)).double()) - centre) / spread

    def values(name: str, *scene: float) -> torch.Tensor:
        if f"{name} scale" in stored and name != "pixels":
            return run(f"{name} act", code(name, *scene))
        centre, spread = torch.from_numpy(stored["pixels scale"]).double()
        return run(f"{name} act", (torch.from_numpy(picture(*scene)).double() - centre) / spread)

    def reward(kind: int, place: int) -> np.ndarray:
        return world.rewards()[world.index(np.array([[0, 0]]), np.array([[kind, place]]))[0]]

    scenes = ((1, 2, 1, 2), (7, 2, 1, 2), (8, 8, 0, -2), (4.25, 1.5, 0, 1), (6, 7, 1, -1))
    return {
        "picture": (picture, scenes),
        "code": (code, [(name, *scene) for name in ("entangled", "chosen") for scene in scenes]),
        "values": (values, [(name, *scene) for name in ("pixels", "penalised", "entangled", "chosen") for scene in scenes]),
        "reward": (reward, list(itertools.product((0, 1), (-2, -1, 1, 2)))),
    }  # fmt: skip
