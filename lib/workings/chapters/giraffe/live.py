"""What the live figure of the page (book/assets/live/giraffe.js) runs and is compared with: weights, kernels, arguments."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from workings.chapters.giraffe.models import LENGTH, N_KEYS, lines_model
from workings.language_models.decoder import TinyDecoder
from workings.language_models.lines_task import lines_batch
from workings.language_models.rope_scaling import scale_frequencies
from workings.language_models.rotary import apply_rotary, rope_frequencies
from workings.seeding import torch_generator
from workings.show.live import load_weights

OPTIONS = {"ntk_by_parts": {"beta": 4.0}, "yarn": {"beta_fast": 4.0}}  # the ramp of the page ends at 4 turns
KINDS = ("default", "linear", "power", "truncated", "ntk", "ntk_by_parts", "yarn")


def weights_to_keep(model: TinyDecoder) -> dict[str, torch.Tensor]:
    """What the script needs of a lines model of one block: of the output layer the rows of the values alone."""
    named = {name.rpartition(".weight")[0].rpartition(".")[2]: w.detach() for name, w in model.state_dict().items()}
    return named | {"lm_head": named["lm_head"][N_KEYS:]}


def stored_model(stored: Mapping[str, np.ndarray]) -> TinyDecoder:
    """The lines model with the arrays of :func:`weights_to_keep`, in double precision; its output layer is 0 for tokens that are keys."""
    model = lines_model(torch_generator(0, "live")).double()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            array = torch.from_numpy(stored[name.rpartition(".weight")[0].rpartition(".")[2]]).double()
            weight.copy_(torch.cat([torch.zeros(N_KEYS, array.shape[1]), array]) if name == "lm_head.weight" else array)
    return model.eval()


def scaled(theta: Sequence[float], kind: str, s: float, length: float) -> list[float]:
    """New frequencies and attention factor of :func:`scale_frequencies`, in one list."""
    old = torch.tensor(theta, dtype=torch.float64)
    new = scale_frequencies(old, kind, factor=s, orig_len=length, **OPTIONS.get(kind, {}))
    return [*new.theta.tolist(), new.attention_factor]


@torch.no_grad()
def asked(model: TinyDecoder, tokens: Sequence[int], key: int, kind: str, s: float) -> list[float]:
    """``model`` reads ``tokens`` and then ``key``: chances of the 16 values, and the last token's attention in both heads."""
    text = torch.tensor([[*tokens, key]])
    new = scale_frequencies(model.theta, kind, factor=s, orig_len=LENGTH, **OPTIONS.get(kind, {}))
    chances = model(text, **new._asdict())[0, -1, N_KEYS:].softmax(0)
    embedded = model.embed(text[0])
    shifted = embedded + model.shift(torch.cat([torch.zeros(1, embedded.shape[1]), embedded[:-1]]))
    block = model.blocks[0]
    inside = block.attention_norm(shifted)
    turn = lambda x: apply_rotary(
        x.unflatten(1, (2, -1)).transpose(0, 1), torch.arange(len(x)), new.theta, scale=new.attention_factor
    )
    q, k = turn(block.attention.q_proj(inside)), turn(block.attention.k_proj(inside))
    attention = (k @ q[:, -1, :, None] / math.sqrt(q.shape[-1])).softmax(1)
    return [*chances.tolist(), *attention.flatten().tolist()]


def cases(stored: Mapping[str, np.ndarray] | None = None) -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try); with the weights ``stored`` with the results."""
    model = stored_model(load_weights("giraffe") if stored is None else stored)
    bases, small = (10.0, 100.0, 10_000.0, 1e6), rope_frequencies(32, 100.0).tolist()
    large = rope_frequencies(32, 10_000.0).tolist()
    ends = [(small, 64.0), (large, 2048.0), (small, 16.0)]
    texts = [lines_batch(1, n, 1, generator=torch_generator(n, "live")).tokens[0].tolist() for n in (4, 24, 48)]
    changes = (
        ("default", 1.0),
        ("linear", 4.0),
        ("ntk", 16.0),
        ("ntk_by_parts", 4.0),
        ("yarn", 2.5),
        ("power", 1.0),
        ("truncated", 1.0),
    )
    return {
        "frequencies": (rope_frequencies, [(d, base) for d in (2, 32, 128) for base in bases]),
        "scaled": (
            scaled,
            [(theta, kind, s, length) for (theta, length), kind, s in itertools.product(ends, KINDS, (1.0, 4.0, 16.0))],
        ),
        "asked": (functools.partial(asked, model), [(text[:-2], text[-2], *change) for text in texts for change in changes]),
    }  # fmt: skip
