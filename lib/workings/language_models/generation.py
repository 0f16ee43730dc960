"""Continue prompts with a :class:`~workings.language_models.decoder.TinyDecoder`, and find where each answer ends.

Axes: B rows, P tokens of the prompt, N new tokens, T = P + N.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from workings.checks import as_float, as_generator, as_int, check_tensor, in_transform, values_hidden
from workings.language_models.decoder import Attention, Block, Cache, TinyDecoder
from workings.language_models.rotary import rotary_tables, rotate


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
    """``prompt`` (B, P) continued by ``n_new`` tokens: (B, P + n_new), all rows at once.

    ``temperature=0`` takes the likeliest token; above 0 tokens are drawn from ``softmax(logits / temperature)``,
    among the ``top_k`` likeliest if given, with ``generator`` (on the model's device). After the token ``stop`` a row
    holds only ``stop``, and nothing is computed or drawn once every row has stopped. ``theta`` may be a function of the
    number of tokens read so far (a base that grows with the text). ``use_cache=False`` recomputes everything for each
    token and gives the same, except where ``theta`` changes in a model of several layers, see
    :class:`~workings.language_models.decoder.Cache`. All prompts have one length: a padded prompt would be read with
    its padding. Sequences drawn for training are scored anew with gradients, see
    :func:`~workings.language_models.sequence_scores.sequence_log_prob`.

    Raises ``ValueError`` for a temperature below 0, one above 0 without a generator, ``top_k`` or ``stop`` outside the
    vocabulary, and what ``TinyDecoder.states`` refuses.
    """
    n_new = as_int(n_new, "n_new", minimum=0)
    check_tensor(prompt, "prompt", floating=False)
    temperature = as_float(temperature, "temperature", minimum=0.0)
    vocabulary = model.embed.num_embeddings
    if temperature > 0 and generator is None:
        raise ValueError(
            "temperature > 0 draws tokens; pass generator=workings.seeding.torch_generator(seed, 'samples')."
        )
    if generator is not None:
        as_generator(generator)
    if top_k is not None:
        top_k = as_int(top_k, "top_k", minimum=1, maximum=vocabulary)
    if stop is not None:
        stop = as_int(stop, "stop", minimum=0, maximum=vocabulary - 1)
    cache = Cache(len(model.blocks)) if use_cache else None
    plain = use_cache and theta is None and not position_options and _is_plain(model)
    steps: _Steps | None = None
    tokens, fresh = prompt, prompt
    done = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    for made in range(n_new):
        if steps is not None:
            logits = steps(fresh)  # (B, V)
        else:
            frequencies = theta(tokens.shape[1]) if callable(theta) else theta
            seen = fresh if use_cache else tokens
            logits = model.lm_head(model.states(seen, theta=frequencies, cache=cache, **position_options)[:, -1])
            if plain and made + 1 < n_new:
                steps = _Steps(model, cache, n_new - 1)
        fresh = _next_tokens(logits, temperature, top_k, generator)
        if stop is not None:
            fresh = fresh.masked_fill(done[:, None], stop)
            done = done | (fresh[:, 0] == stop)
        tokens = torch.cat([tokens, fresh], dim=1)
        if stop is not None and not values_hidden(done) and bool(done.all()):
            return F.pad(tokens, (0, n_new - made - 1), value=stop)
    return tokens


def response_mask(tokens: torch.Tensor, stop: int, *, prompt: int = 0) -> torch.Tensor:
    """Where ``tokens`` (B, T) hold the response: (B, T) bool, True from index ``prompt`` to the first ``stop``, with it.

    The token ``stop`` counts as a part of the response, and what follows it does not. A response without ``stop`` was
    cut off: it counts to the end, as the longest there is. ``mask.sum(1)`` is the length of each response, at least 1.
    Raises ``ValueError`` unless ``tokens`` are (B, T) and 0 <= ``prompt`` < T, ``TypeError`` for other than whole numbers.
    """
    check_tensor(tokens, "tokens", floating=False)
    if tokens.dim() != 2 or not tokens.shape[1]:
        raise ValueError(f"tokens must be (B, T) with at least one column, got shape {tuple(tokens.shape)}.")
    if tokens.dtype.is_floating_point or tokens.dtype.is_complex or tokens.dtype == torch.bool:
        raise TypeError(f"tokens must be whole numbers, got {tokens.dtype}; call .long().")
    prompt = as_int(prompt, "prompt", minimum=0, maximum=tokens.shape[1] - 1)
    ended = tokens[:, prompt:] == as_int(stop, "stop")  # (B, N)
    before = ended.long().cumsum(1) - ended.long()  # how many stops stand before each place
    return F.pad(before == 0, (prompt, 0), value=False)


def _next_tokens(
    logits: torch.Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None
) -> torch.Tensor:
    """One token for each row of ``logits`` (B, V): (B, 1) int64.

    Draws by inverting the cumulative distribution, summed in float64, at a uniform number in (0, 1]: a token of
    probability zero cannot come.
    """
    if temperature == 0:
        return logits.argmax(dim=1, keepdim=True)
    likeliest = None
    if top_k is not None:
        logits, likeliest = logits.topk(top_k, dim=1)
    weights = (logits - logits.amax(1, keepdim=True)).div(temperature).softmax(dim=1).cumsum(1, dtype=torch.float64)
    above = 1 - torch.rand(len(logits), 1, dtype=torch.float64, device=logits.device, generator=generator)
    drawn = torch.searchsorted(weights, above * weights[:, -1:])
    return drawn if likeliest is None else likeliest.gather(1, drawn)


def _is_plain(model: nn.Module) -> bool:
    """Whether :class:`_Steps` computes what calling ``model`` would: every part is of exactly the class that the model made
    it of, in single or double precision on the CPU, without hooks, without a ``forward`` of its own; and there is no window.
    """
    if type(model) is not TinyDecoder or model.window is not None or nn.modules.module._has_any_global_hook():
        return False
    known = (TinyDecoder, Block, Attention, nn.Linear, nn.Embedding, nn.RMSNorm, nn.ModuleList, nn.ModuleDict)
    for part in model.modules():
        own = {"forward", "states", "__call__"} & set(part.__dict__)
        if type(part) not in known or own or part._forward_hooks or part._forward_pre_hooks:
            return False
    dtypes = {p.dtype for p in model.parameters()}
    on_cpu = all(p.is_cpu for p in model.parameters())
    usual = len(dtypes) == 1 and dtypes <= {torch.float32, torch.float64}
    return on_cpu and usual and not torch.is_autocast_enabled("cpu") and not in_transform()


class _Steps:
    """Logits (B, V) after one new token and then another, following a first pass that filled ``cache``.

    The same sums as ``TinyDecoder.forward`` with a cache, without what only changing frequencies need: keys are rotated
    once, the tables of all positions are made once, keys and values have their place from the start, and the weights of
    a norm are multiplied into the layer behind it. In numpy, whose calls cost less: in a small model on a CPU the
    calls, not the sums, take the time. For a model that :func:`_is_plain`.
    """

    def __init__(self, model: TinyDecoder, cache: Cache, n_new: int):
        total = cache.length + n_new
        self.at, self.last, self.keys, self.values, self.weights = cache.length, None, [], [], []
        self.tables = None
        if model.theta is not None:
            dtype = torch.float64 if cache.keys[0].dtype == torch.float64 else torch.float32
            self.tables = rotary_tables(torch.arange(total), model.theta, dtype=dtype)
        self.place = None
        if model.place is not None:
            limit = model.place.num_embeddings
            if total > limit:
                raise ValueError(
                    f"positions must be in [0, {limit - 1}] (max_len = {limit}), got 0 to {total - 1}; "
                    "ask for fewer new tokens."
                )
            self.place = model.place.weight.numpy()
        self.embedding = model.embed.weight.numpy()
        if model.shift is not None:
            self.shift, self.last = model.shift.weight.t().numpy(), cache.last[:, 0].numpy()
        attention = model.blocks[0].attention
        self.n_heads, self.size = attention.n_heads, attention.q_proj.out_features // attention.n_heads
        for block, keys, values in zip(model.blocks, cache.keys, cache.values, strict=True):
            if self.tables is not None:
                keys = rotate(keys, *(table[: self.at] for table in self.tables))
            self.keys.append(F.pad(keys, (0, 0, 0, n_new)).numpy())
            self.values.append(F.pad(values, (0, 0, 0, n_new)).numpy())
            a = block.attention
            inputs = torch.cat([a.q_proj.weight / self.size**0.5, a.k_proj.weight, a.v_proj.weight])
            layers = (
                inputs * block.attention_norm.weight, a.o_proj.weight, block.up_proj.weight * block.mlp_norm.weight,
                block.down_proj.weight,
            )  # fmt: skip
            eps = (block.attention_norm.eps, block.mlp_norm.eps)
            self.weights.append((*(layer.t().contiguous().numpy() for layer in layers), *eps))
        self.head, self.eps = (model.lm_head.weight * model.norm.weight).t().contiguous().numpy(), model.norm.eps

    def __call__(self, fresh: torch.Tensor) -> torch.Tensor:
        """What comes after the token ``fresh`` (B, 1), which stands behind all those before."""
        at, rows = self.at, len(fresh)
        x = self.embedding[fresh[:, 0].numpy()]  # (B, D)
        if self.last is not None:
            x, self.last = x + self.last @ self.shift, x
        if self.place is not None:
            x = x + self.place[at]
        for layer, (inputs, outputs, up, down, eps, mlp_eps) in enumerate(self.weights):
            projected = (_scaled(x, eps) @ inputs).reshape(rows, 3, self.n_heads, self.size)
            q, k, v = projected[:, 0], projected[:, 1], projected[:, 2]  # each (B, H, d)
            if self.tables is not None:
                row = [table[at : at + 1] for table in self.tables]
                q, k = (rotate(torch.from_numpy(part)[:, :, None], *row)[:, :, 0].numpy() for part in (q, k))
            keys, values = self.keys[layer], self.values[layer]
            keys[:, :, at], values[:, :, at] = k, v
            scores = (keys[:, :, : at + 1] @ q[..., None])[..., 0]  # (B, H, T)
            scores = np.exp(scores - scores.max(axis=2, keepdims=True))
            scores /= scores.sum(axis=2, keepdims=True)
            out = (scores[:, :, None] @ values[:, :, : at + 1]).reshape(rows, -1)
            x = x + out @ outputs
            x = x + F.gelu(torch.from_numpy(_scaled(x, mlp_eps) @ up)).numpy() @ down
        self.at = at + 1
        return torch.from_numpy(_scaled(x, self.eps) @ self.head)


def _scaled(x: np.ndarray, eps: float) -> np.ndarray:
    """Rows of ``x`` (B, D) over their root mean square."""
    size = x.dtype.type(x.shape[1])
    return x / np.sqrt(np.einsum("bd,bd->b", x, x) / size + x.dtype.type(eps))[:, None]
