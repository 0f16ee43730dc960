"""Continue a prompt with a :class:`~workings.language_models.decoder.TinyDecoder`, with and without a cache."""

from __future__ import annotations

from collections.abc import Callable

import torch

from workings.checks import as_float, as_int, check_tensor
from workings.language_models.decoder import Cache, TinyDecoder


@torch.no_grad()
def generate(
    model: TinyDecoder,
    prompt: torch.Tensor,
    n_new: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
    stop: int | None = None,
    theta: torch.Tensor | Callable[[int], torch.Tensor] | None = None,
    use_cache: bool = True,
    **position_options,
) -> torch.Tensor:
    """``prompt`` (B, P) continued by ``n_new`` tokens: (B, P + n_new).

    ``temperature=0`` takes the likeliest token; above 0 tokens are drawn from ``softmax(logits / temperature)``,
    among the ``top_k`` likeliest if given, with ``generator`` (on the model's device). After the token ``stop`` a row
    holds only ``stop``. ``theta`` may be a function of the number of tokens read so far (a base that grows with the
    text). ``use_cache=False`` recomputes everything for each token and gives the same, except where ``theta`` changes
    in a model of several layers, see :class:`~workings.language_models.decoder.Cache`.
    """
    n_new = as_int(n_new, "n_new", minimum=0)
    check_tensor(prompt, "prompt", floating=False)
    temperature = as_float(temperature, "temperature", minimum=0.0)
    if temperature > 0 and generator is None:
        raise ValueError(
            "temperature > 0 draws tokens; pass generator=workings.seeding.torch_generator(seed, 'samples')."
        )
    if top_k is not None:
        as_int(top_k, "top_k", minimum=1, maximum=model.embed.num_embeddings)
    cache = Cache(len(model.blocks)) if use_cache else None
    tokens, fresh = prompt, prompt
    done = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    for _ in range(n_new):
        frequencies = theta(tokens.shape[1]) if callable(theta) else theta
        seen = fresh if use_cache else tokens
        logits = model.lm_head(model.states(seen, theta=frequencies, cache=cache, **position_options)[:, -1])  # (B, V)
        if temperature == 0:
            fresh = logits.argmax(dim=1, keepdim=True)
        else:
            logits, likeliest = logits.topk(top_k or logits.shape[1], dim=1)  # sorted, so column 0 is the greatest
            weights = ((logits - logits[:, :1]) / temperature).softmax(dim=1)
            fresh = likeliest.gather(1, torch.multinomial(weights, 1, generator=generator))
        if stop is not None:
            fresh = fresh.masked_fill(done[:, None], stop)
            done = done | (fresh[:, 0] == stop)
        tokens = torch.cat([tokens, fresh], dim=1)
    return tokens
