"""A small decoder-only transformer whose notion of position can be chosen, and changed after training.

Axes: B batch, T tokens, D width, H heads, d = D / H head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from workings.checks import as_float, as_generator, as_int, as_tensor, one_of, values_hidden
from workings.language_models.rotary import LAYOUTS, rope_frequencies, rotary_tables, rotate
from workings.language_models.xpos import xpos_scales

POSITIONS = ("rope", "learned", "none")


class Rotation(NamedTuple):
    """What one forward pass needs to rotate: tables (cos, sin) for the queries and for the keys, and the layout."""

    queries: tuple[torch.Tensor, torch.Tensor]
    keys: tuple[torch.Tensor, torch.Tensor]
    layout: str


class Cache:
    """What generation keeps between calls: keys *before* rotation and values of each layer, the last embedding.

    Keys are rotated anew at every call, so all of them always turn at the frequencies of that call. With frequencies
    that change while the text grows this is exact for one layer. Deeper layers read hidden states that were computed
    at the earlier frequencies; only recomputing everything, or fixed frequencies, avoids that.
    """

    def __init__(self, n_layers: int):
        self.keys: list[torch.Tensor | None] = [None] * n_layers  # each (B, H, T, d)
        self.values: list[torch.Tensor | None] = [None] * n_layers
        self.last: torch.Tensor | None = None  # (B, 1, D)
        self.length = 0

    def extend(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Append one layer's new keys and values; returns all of them."""
        if self.keys[layer] is not None:
            keys = torch.cat([self.keys[layer], keys], dim=2)
            values = torch.cat([self.values[layer], values], dim=2)
        self.keys[layer], self.values[layer] = keys, values
        return keys, values


class Attention(nn.Module):
    """Causal multi-head attention: ``softmax(q k^T / sqrt(d)) v`` with rotated q and k, where a rotation is given."""

    __constants__ = ("n_heads",)

    def __init__(self, width: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.q_proj = _linear(width, width)
        self.k_proj = _linear(width, width)
        self.v_proj = _linear(width, width)
        self.o_proj = _linear(width, width)

    def forward(
        self, x: torch.Tensor, rotation: Rotation | None, mask: torch.Tensor | None, cache: Cache | None, layer: int
    ) -> torch.Tensor:
        """(B, T, D) to (B, T, D). ``mask`` (T, S) is True where a query may look; ``None`` is plain causal."""
        q, k, v = (self._split(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))  # (B, H, T, d)
        if cache is not None:
            k, v = cache.extend(layer, k, v)  # (B, H, S, d)
        if rotation is not None:
            q = rotate(q, *rotation.queries, rotation.layout)
            k = rotate(k, *rotation.keys, rotation.layout)
        causal = mask is None and q.shape[2] > 1
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)  # (B, H, T, d)
        return self.o_proj(out.transpose(1, 2).flatten(2))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))`` with RMS norms and a GELU."""

    def __init__(self, width: int, n_heads: int, mlp_width: int):
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.attention = Attention(width, n_heads)
        self.mlp_norm = nn.RMSNorm(width, eps=1e-6)
        self.up_proj = _linear(width, mlp_width)
        self.down_proj = _linear(mlp_width, width)

    def forward(
        self, x: torch.Tensor, rotation: Rotation | None, mask: torch.Tensor | None, cache: Cache | None, layer: int
    ) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x), rotation, mask, cache, layer)
        return x + self.down_proj(F.gelu(self.up_proj(self.mlp_norm(x))))


class TinyDecoder(nn.Module):
    """Decoder-only transformer: tokens (B, T) to logits (B, T, V). Pre-RMSNorm, GELU MLP, no biases, no dropout.

    ``positions``: ``"rope"`` rotates queries and keys by angle ``position * theta_i``, ``theta_i = rope_base^(-2i/d)``;
    ``"learned"`` adds one vector for each position below ``max_len``; ``"none"`` gives the causal mask only.
    ``key_shift`` replaces the embedding ``x_t`` by ``x_t + W x_(t-1)`` (with ``x_(-1) = 0``), so that one layer can
    match a token and read the next. ``window=w`` lets a token see itself and the w - 1 before it. ``tie`` shares the
    embedding with the output layer. ``heads={"value": 16}`` adds output layers by name, see ``forward(head=...)``.

    Weights are drawn from ``generator`` (CPU) and nothing else: embeddings N(0, ``embedding_std``^2), linear layers
    uniform within ``1 / sqrt(fan_in)``. The projections are plain ``nn.Linear``: q_proj, k_proj, v_proj, o_proj,
    up_proj, down_proj. ``mlp_width`` is ``4 width`` by default.
    """

    __constants__ = ("positions", "rope_base", "window", "tied")  # what weights of the same shapes can differ in

    def __init__(
        self,
        vocab_size: int,
        width: int = 64,
        n_layers: int = 1,
        n_heads: int = 2,
        mlp_width: int | None = None,
        *,
        positions: str = "rope",
        rope_base: float = 100.0,
        key_shift: bool = False,
        window: int | None = None,
        tie: bool = False,
        max_len: int | None = None,
        embedding_std: float = 0.3,
        heads: Mapping[str, int] | None = None,
        generator: torch.Generator,
    ):
        super().__init__()
        vocab_size = as_int(vocab_size, "vocab_size", minimum=1)
        width, n_heads = as_int(width, "width", minimum=1), as_int(n_heads, "n_heads", minimum=1)
        n_layers = as_int(n_layers, "n_layers", minimum=1)
        mlp_width = 4 * width if mlp_width is None else as_int(mlp_width, "mlp_width", minimum=1)
        if width % n_heads:
            raise ValueError(f"width must be a multiple of n_heads, got {width} and {n_heads}.")
        one_of(positions, "positions", POSITIONS)
        if (positions == "learned") != (max_len is not None):
            raise ValueError(f"max_len goes with positions='learned' and only with it; got {max_len}, {positions!r}.")
        self.positions = positions
        self.rope_base = float(rope_base) if positions == "rope" else None
        self.tied = bool(tie)
        self.window = None if window is None else as_int(window, "window", minimum=1)
        # A plain attribute, not a buffer: model.half() would round a buffer's frequencies.
        self.theta = rope_frequencies(width // n_heads, rope_base) if positions == "rope" else None
        self.embed = _embedding(vocab_size, width)
        self.place = None if max_len is None else _embedding(as_int(max_len, "max_len", minimum=1), width)
        self.shift = _linear(width, width) if key_shift else None
        self.blocks = nn.ModuleList(Block(width, n_heads, mlp_width) for _ in range(n_layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.lm_head = _linear(width, vocab_size)
        self.heads = nn.ModuleDict(
            {name: _linear(width, as_int(size, f"heads[{name!r}]", minimum=1)) for name, size in (heads or {}).items()}
        )
        as_generator(generator)
        _initialise(self, as_float(embedding_std, "embedding_std", minimum=0.0, open_ends=True), generator)
        if tie:
            self.lm_head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor, *, head: str | None = None, **position_options) -> torch.Tensor:
        """Logits (B, T, V) of ``tokens`` (B, T); through ``heads[head]`` where ``head`` names one.

        ``position_options`` are those of :meth:`states`.
        """
        states = self.states(tokens, **position_options)
        if head is None:
            return self.lm_head(states)
        one_of(head, "head", tuple(self.heads))
        return self.heads[head](states)

    def states(
        self,
        tokens: torch.Tensor,
        *,
        positions: torch.Tensor | None = None,
        theta: torch.Tensor | None = None,
        attention_factor: float = 1.0,
        layout: str = "half",
        xpos_gamma: float | None = None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """Last hidden states (B, T, D), after the final norm.

        ``positions`` (T,) or (B, T) replace ``0..T-1`` (real numbers for RoPE). For RoPE only: ``theta`` (d/2,)
        replaces the frequencies; ``attention_factor`` multiplies the rotated q and k, so the attention scores by
        its square; ``layout`` is ``"half"`` or ``"interleaved"``; ``xpos_gamma`` adds xPos damping on that scale.
        With ``cache`` the tokens continue those of earlier calls (one at a time after the first call).

        Raises ``ValueError`` for tokens that are not (B, T) or not in the vocabulary, for options that the model's
        kind of position does not have, and for shapes that do not fit.
        """
        self._check_tokens(tokens)
        start = 0 if cache is None else cache.length
        if cache is not None and (positions is not None or (start and tokens.shape[1] != 1)):
            raise ValueError("with a cache positions must be None and, after the first call, tokens one at a time.")
        x = self.embed(tokens)  # (B, T, D)
        if self.shift is not None:
            before = F.pad(x, (0, 0, 1, 0))[:, :-1] if not start else cache.last
            if cache is not None:
                cache.last = x[:, -1:]
            x = x + self.shift(before)
        total = start + tokens.shape[1]  # S, the number of keys
        positions = self._checked_positions(positions, tokens, total)
        rotation = None
        if self.theta is not None:
            rotation = self._rotation(x, positions, start, theta, attention_factor, layout, xpos_gamma)
        elif theta is not None or xpos_gamma is not None or attention_factor != 1.0 or layout != "half":
            raise ValueError(
                f"theta, attention_factor, layout and xpos_gamma need positions='rope', not {self.positions!r}."
            )
        if self.place is not None:
            x = x + self.place(self._places(positions)[..., start:])
        mask = self._mask(start, total, tokens.device)
        for layer, block in enumerate(self.blocks):
            x = block(x, rotation, mask, cache, layer)
        if cache is not None:
            cache.length = total
        return self.norm(x)

    def _check_tokens(self, tokens: torch.Tensor) -> None:
        if not isinstance(tokens, torch.Tensor) or tokens.ndim != 2 or tokens.numel() == 0:
            shape = tuple(tokens.shape) if isinstance(tokens, torch.Tensor) else type(tokens).__name__
            raise ValueError(f"tokens must be a tensor of shape (B, T) with at least one token, got {shape}.")
        if tokens.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"tokens must be int64 or int32, got {tokens.dtype}; call .long().")
        if tokens.device.type == "cpu" and not values_hidden(
            tokens
        ):  # on other devices the check would wait for the device at every step
            low, high = (int(v) for v in torch.aminmax(tokens))
            if low < 0 or high >= self.embed.num_embeddings:
                raise ValueError(f"tokens must be in [0, {self.embed.num_embeddings - 1}], got {low} to {high}.")

    def _checked_positions(self, positions: torch.Tensor | None, tokens: torch.Tensor, total: int) -> torch.Tensor:
        if positions is None:
            return torch.arange(total, device=tokens.device)
        if self.positions == "none":
            raise ValueError("a model with positions='none' has no use for positions; leave them out.")
        positions = as_tensor(positions, "positions").to(tokens.device)
        if positions.shape not in ((total,), tuple(tokens.shape)):
            raise ValueError(
                f"positions must have shape ({total},) or {tuple(tokens.shape)}, got {tuple(positions.shape)}."
            )
        return positions

    def _rotation(
        self,
        x: torch.Tensor,
        positions: torch.Tensor,
        start: int,
        theta: torch.Tensor | None,
        attention_factor: float,
        layout: str,
        xpos_gamma: float | None,
    ) -> Rotation:
        one_of(layout, "layout", LAYOUTS)
        attention_factor = as_float(attention_factor, "attention_factor", minimum=0.0, open_ends=True)
        theta = self.theta if theta is None else as_tensor(theta, "theta")
        if theta.shape != self.theta.shape:
            raise ValueError(f"theta must have shape {tuple(self.theta.shape)}, got {tuple(theta.shape)}.")
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        if xpos_gamma is None:
            queries = keys = rotary_tables(positions, theta, scale=attention_factor, dtype=dtype)
        else:
            zeta = xpos_scales(2 * len(theta), positions, xpos_gamma, dtype=dtype)  # (S, d/2) or (B, S, d/2)
            queries = rotary_tables(positions, theta, scale=attention_factor * zeta, dtype=dtype)
            keys = rotary_tables(positions, theta, scale=attention_factor / zeta, dtype=dtype)
        return Rotation(tuple(table[..., start:, :] for table in queries), keys, layout)

    def _places(self, positions: torch.Tensor) -> torch.Tensor:
        if positions.is_floating_point():
            raise TypeError(f"learned positions must be integers, got {positions.dtype}.")
        low, high, limit = int(positions.min()), int(positions.max()), self.place.num_embeddings
        if low < 0 or high >= limit:
            raise ValueError(f"positions must be in [0, {limit - 1}] (max_len = {limit}), got {low} to {high}.")
        return positions

    def _mask(self, start: int, total: int, device: torch.device) -> torch.Tensor | None:
        """(T, S) boolean mask for a window that matters, else None (causal, or one query that sees everything)."""
        if self.window is None or self.window >= total:
            return None
        back = torch.arange(start, total, device=device)[:, None] - torch.arange(total, device=device)
        return (back >= 0) & (back < self.window)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer without bias whose weights are not drawn yet, so that torch's global stream stays untouched."""
    return nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False)


def _embedding(size: int, width: int) -> nn.Embedding:
    return nn.utils.skip_init(nn.Embedding, size, width)


def _initialise(model: nn.Module, embedding_std: float, generator: torch.Generator) -> None:
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * embedding_std)
            elif isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.in_features)
                module.weight.copy_((2 * torch.rand(module.weight.shape, generator=generator) - 1) * bound)
