"""The small decoder: causality, what each kind of position can and cannot see, generation, and LoRA on top."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from workings.language_models.decoder import Cache, TinyDecoder
from workings.language_models.generation import generate
from workings.language_models.lora import PROJECTIONS, LoRALinear, add_lora, lora_disabled, merge_lora
from workings.language_models.rope_scaling import scale_frequencies
from workings.language_models.rotary import layout_permutation, rope_frequencies
from workings.seeding import torch_generator

V, B, T = 11, 3, 12
# Models run in float64 here: two orders of summation then differ by about 1e-14, so 1e-10 is far from both
# rounding and any real difference.
CLOSE = {"rtol": 0.0, "atol": 1e-10}
VARIANTS = {
    "rope": {},
    "shifted": {"key_shift": True},
    "windowed": {"window": 4},
    "learned": {"positions": "learned", "max_len": 40},
    "none": {"positions": "none"},
}


def model(seed: int = 0, **options) -> TinyDecoder:
    chosen = {"width": 16, "n_layers": 2, "n_heads": 2, "mlp_width": 24, "embedding_std": 1.0, **options}
    made = TinyDecoder(V, **chosen, generator=torch_generator(seed, "model")).double()
    # Queries and keys larger than at the start of training, so that attention is far from uniform.
    for block in made.blocks:
        block.attention.q_proj.weight.data *= 4
        block.attention.k_proj.weight.data *= 4
    return made


def tokens(rows: int = B, length: int = T, name: str = "tokens") -> torch.Tensor:
    return torch.randint(V, (rows, length), generator=torch_generator(0, name))


# ---------------------------------------------------------------- what a token can see


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_future_tokens_cannot_change_past_logits(options):
    net, x = model(**options), tokens()
    for t in (0, 5, T - 2):
        other = x.clone()
        other[:, t + 1 :] = (other[:, t + 1 :] + 1) % V
        before, after = net(x), net(other)
        torch.testing.assert_close(after[:, : t + 1], before[:, : t + 1], **CLOSE)
        assert (after[:, t + 1] - before[:, t + 1]).abs().max() > 1e-3  # the change itself is seen


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_rows_of_a_batch_do_not_see_each_other(options):
    net, x = model(**options), tokens()
    torch.testing.assert_close(torch.cat([net(row[None]) for row in x]), net(x), **CLOSE)


SETTINGS = {
    "plain": {},
    "linear 4": {"theta": scale_frequencies(rope_frequencies(8, 100.0), "linear", factor=4).theta},
    "yarn factor": {"attention_factor": 1.3},
    "interleaved": {"layout": "interleaved"},
    "xpos": {"xpos_gamma": 16.0},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_shifting_all_positions_by_1000_leaves_rotary_logits_unchanged(settings):
    # Fails when q and k are rotated by different frequencies: their scores then depend on the place itself.
    net, x = model(key_shift=True), tokens()
    here = net(x, **settings)
    there = net(x, positions=torch.arange(1000, 1000 + T), **settings)
    torch.testing.assert_close(there, here, rtol=0, atol=1e-9)  # angles near 1000 carry 1000 times the rounding
    stretched = net(x, positions=2 * torch.arange(T), **settings)
    assert (stretched - here).abs().max() > 1e-2  # but distances do matter


def test_every_sequence_can_have_its_own_positions():
    net, x = model(), tokens()
    positions = torch.rand(B, T, generator=torch_generator(0, "p"), dtype=torch.float64).cumsum(1)
    rows = [net(x[b : b + 1], positions=positions[b]) for b in range(B)]
    torch.testing.assert_close(net(x, positions=positions), torch.cat(rows), **CLOSE)
    damped = [net(x[b : b + 1], positions=positions[b], xpos_gamma=8.0) for b in range(B)]
    torch.testing.assert_close(net(x, positions=positions, xpos_gamma=8.0), torch.cat(damped), **CLOSE)


def test_without_positions_one_layer_cannot_tell_the_order_of_what_came_before():
    x = tokens()
    order = torch.cat([torch.randperm(T - 1, generator=torch_generator(0, "order")), torch.tensor([T - 1])])
    one = model(n_layers=1, positions="none")
    torch.testing.assert_close(one(x[:, order])[:, -1], one(x)[:, -1], **CLOSE)
    # With two layers the causal mask itself tells early from late, and with RoPE or key shift the order shows at once.
    for options in ({"n_layers": 2, "positions": "none"}, {"n_layers": 1}):
        net = model(**options)
        assert (net(x[:, order])[:, -1] - net(x)[:, -1]).abs().max() > 1e-3
    shifted = model(n_layers=1, positions="none", key_shift=True)
    assert (shifted(x[:, order])[:, -1] - shifted(x)[:, -1]).abs().max() > 1e-3


def test_zero_frequencies_are_no_positions_at_all():
    rope, none, x = model(), model(positions="none"), tokens()
    torch.testing.assert_close(rope(x, theta=torch.zeros(4)), none(x), **CLOSE)
    assert (rope(x) - none(x)).abs().max() > 1e-2


def test_learned_positions_move_with_the_positions_given():
    net, x = model(positions="learned", max_len=40), tokens()
    assert (net(x, positions=torch.arange(20, 20 + T)) - net(x)).abs().max() > 1e-2
    torch.testing.assert_close(net(x, positions=torch.arange(T).expand(B, T)), net(x), **CLOSE)


@pytest.mark.parametrize(("layers", "window", "key_shift"), [(1, 3, False), (2, 3, False), (3, 2, False), (2, 3, True)])
def test_a_window_limits_the_reach_to_window_minus_one_a_layer(layers, window, key_shift):
    net, x = model(n_layers=layers, window=window, key_shift=key_shift), tokens(rows=8, length=16)
    changed = x.clone()
    changed[:, 4] = (changed[:, 4] + 1) % V
    effect = (net(changed) - net(x)).abs().amax(dim=(0, 2))  # by position
    reach = 4 + layers * (window - 1) + int(key_shift)
    assert (effect[:4] < 1e-12).all() and (effect[reach + 1 :] < 1e-12).all()
    assert (effect[4 : reach + 1] > 1e-7).all()  # the bound is attained


def test_a_window_at_least_as_long_as_the_text_changes_nothing():
    x = tokens()
    torch.testing.assert_close(model(window=T)(x), model()(x), **CLOSE)
    assert (model(window=T - 1)(x) - model()(x)).abs()[:, -1].max() > 1e-9


# ---------------------------------------------------------------- the formula


def by_the_formula(
    net: TinyDecoder, x: torch.Tensor, theta: torch.Tensor, factor: float = 1.0, gamma: float = math.inf
) -> torch.Tensor:
    """The decoder written out: loops over layers, heads and positions; rotation by complex numbers, xPos by distance."""

    def norm(h, layer):
        return h / (h.square().mean(-1, keepdim=True) + 1e-6).sqrt() * layer.weight

    h = net.embed.weight[x]
    if net.shift is not None:
        moved = torch.zeros_like(h)
        moved[:, 1:] = h[:, :-1]
        h = h + moved @ net.shift.weight.T
    for block in net.blocks:
        a, heads = block.attention, block.attention.n_heads
        y = norm(h, block.attention_norm)
        q, k, v = (y @ p.weight.T for p in (a.q_proj, a.k_proj, a.v_proj))
        d = q.shape[-1] // heads
        out = torch.zeros_like(q)
        for b in range(x.shape[0]):
            for head in range(heads):
                part = slice(head * d, (head + 1) * d)
                qc, kc = (torch.complex(z[b, :, part][:, : d // 2], z[b, :, part][:, d // 2 :]) for z in (q, k))
                for n in range(x.shape[1]):
                    first = 0 if net.window is None else max(0, n - net.window + 1)
                    m = torch.arange(first, n + 1)
                    turn = torch.polar(torch.ones(len(m), d // 2).double(), (n - m)[:, None] * theta)
                    zeta = (2 * torch.arange(d // 2).double() + 0.4 * d) / (1.4 * d)
                    damped = (qc[n] * kc[m].conj() * turn).real * zeta ** ((n - m).double()[:, None] / gamma)
                    scores = damped.sum(-1) * factor**2 / math.sqrt(d)
                    out[b, n, part] = scores.softmax(0) @ v[b, m, part]
        h = h + out @ a.o_proj.weight.T
        y = norm(h, block.mlp_norm) @ block.up_proj.weight.T
        h = h + (y * 0.5 * (1 + torch.erf(y / math.sqrt(2)))) @ block.down_proj.weight.T
    return norm(h, net.norm) @ net.lm_head.weight.T


@pytest.mark.parametrize("options", [{}, {"key_shift": True}, {"window": 4}, {"window": 1}], ids=str)
def test_the_decoder_is_an_explicit_masked_softmax(options):
    net, x = model(**options), tokens(rows=2)
    for layer in net.modules():
        if isinstance(layer, torch.nn.RMSNorm):  # weights other than one, so that a norm left out would show
            layer.weight.data = 0.5 + torch.rand(layer.weight.shape, generator=torch_generator(0, "norm")).double()
    torch.testing.assert_close(net(x), by_the_formula(net, x, net.theta), **CLOSE)
    scaled = scale_frequencies(net.theta, "yarn", factor=4, orig_len=64, beta_fast=4.0)
    torch.testing.assert_close(
        net(x, theta=scaled.theta, attention_factor=scaled.attention_factor),
        by_the_formula(net, x, scaled.theta, scaled.attention_factor),
        **CLOSE,
    )
    damped = by_the_formula(net, x, net.theta, gamma=6.0)
    torch.testing.assert_close(net(x, xpos_gamma=6.0), damped, **CLOSE)
    assert options == {"window": 1} or (damped - net(x)).abs().max() > 1e-3


def test_the_attention_factor_enters_the_scores_squared():
    net, x = model(), tokens()
    louder = copy.deepcopy(net)
    for block in louder.blocks:
        block.attention.q_proj.weight.data *= 1.2**2
    torch.testing.assert_close(net(x, attention_factor=1.2), louder(x), **CLOSE)


def test_other_frequencies_at_call_equal_a_model_built_with_them():
    x = tokens()
    torch.testing.assert_close(model()(x, theta=rope_frequencies(8, 5000.0)), model(rope_base=5000.0)(x), **CLOSE)
    torch.testing.assert_close(model()(x, positions=torch.arange(T) / 4), model()(x, theta=model().theta / 4), **CLOSE)


def test_the_layouts_agree_after_permuting_queries_and_keys_and_only_then():
    net, x = model(), tokens()
    assert (net(x, layout="interleaved") - net(x)).abs().max() > 1e-2
    turned = copy.deepcopy(net)
    rows = torch.cat([layout_permutation(8) + 8 * head for head in range(2)])
    for block in turned.blocks:
        for name in ("q_proj", "k_proj"):
            layer = getattr(block.attention, name)
            layer.weight.data = layer.weight.data[rows]
    torch.testing.assert_close(turned(x, layout="interleaved"), net(x), **CLOSE)


def test_key_shift_adds_the_previous_embedding_and_zero_before_the_first():
    net, plain, x = model(key_shift=True), model(), tokens()
    assert net.shift.weight.shape == (16, 16)
    seen = []
    net.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(x)
    e = net.embed(x)
    torch.testing.assert_close(seen[0][:, 0], e[:, 0], **CLOSE)
    torch.testing.assert_close(seen[0][:, 1:], e[:, 1:] + net.shift(e[:, :-1]), **CLOSE)
    net.shift.weight.data.zero_()
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("shift")})
    torch.testing.assert_close(net(x), plain(x), **CLOSE)


# ---------------------------------------------------------------- weights


def test_weights_are_drawn_from_the_given_generator_only():
    state = torch.get_rng_state()
    first = TinyDecoder(
        V, key_shift=True, positions="learned", max_len=9, generator=torch_generator(3, "a")
    ).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng():
        torch.manual_seed(12345)
        second = TinyDecoder(
            V, key_shift=True, positions="learned", max_len=9, generator=torch_generator(3, "a")
        ).state_dict()
    other = TinyDecoder(
        V, key_shift=True, positions="learned", max_len=9, generator=torch_generator(4, "a")
    ).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if "norm" not in name)


def test_weights_have_the_stated_distributions():
    net = TinyDecoder(2000, width=64, embedding_std=0.3, generator=torch_generator(0, "a"))
    # 128,000 normal numbers: their standard deviation errs by 0.3 / sqrt(2 * 128000) = 0.0006; six of those.
    assert abs(net.embed.weight.std().item() - 0.3) < 0.0036
    for layer in (net.blocks[0].attention.q_proj, net.blocks[0].up_proj, net.blocks[0].down_proj, net.lm_head):
        bound = 1 / math.sqrt(layer.in_features)
        assert layer.bias is None and layer.weight.abs().max() <= bound
        # At least 4096 uniform numbers: the mean errs by bound / sqrt(3 * 4096) = 0.009 bound, the maximum by 1/4096.
        assert abs(layer.weight.mean().item()) < 0.05 * bound and layer.weight.max() > 0.99 * bound
    assert all((m.weight == 1).all() for m in net.modules() if isinstance(m, torch.nn.RMSNorm))


def test_half_precision_keeps_the_frequencies_exact():
    net = model().to(torch.bfloat16)
    assert net.theta.dtype == torch.float64
    torch.testing.assert_close(net.theta, rope_frequencies(8, 100.0), rtol=0, atol=0)
    # Far out a bfloat16 position would be off by up to 16: shifting by 5000 must not matter beyond bfloat16 noise.
    x = tokens()
    far = net(x, positions=torch.arange(5000, 5000 + T)).double()
    assert (far - net(x).double()).abs().max() < 0.1 * net(x).double().std()


def test_heads_and_tied_weights():
    plain, headed = model(), model(heads={"value": 5})
    x = tokens()
    assert headed(x, head="value").shape == (B, T, 5)
    torch.testing.assert_close(headed(x, head="value"), headed.states(x) @ headed.heads["value"].weight.T, **CLOSE)
    torch.testing.assert_close(headed(x), plain(x), **CLOSE)  # a head is drawn last and changes nothing else
    tied = model(tie=True)
    assert tied.lm_head.weight is tied.embed.weight
    torch.testing.assert_close(tied(x), tied.states(x) @ tied.embed.weight.T, **CLOSE)


def test_gradients_reach_every_weight():
    net, x = model(key_shift=True), tokens()
    F.cross_entropy(net(x[:, :-1]).transpose(1, 2), x[:, 1:]).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


# ---------------------------------------------------------------- generation


def growing(length: int) -> torch.Tensor:
    """A base that grows with the text, as dynamic NTK does."""
    return scale_frequencies(
        rope_frequencies(8, 100.0), "dynamic_ntk", factor=2.0, orig_len=4, base=100.0, seq_len=length
    ).theta


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_cached_logits_equal_uncached_ones(options):
    net, x = model(**options), tokens()
    cache = Cache(2)
    pieces = [net.states(x[:, :5], cache=cache)] + [net.states(x[:, t : t + 1], cache=cache) for t in range(5, T)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), net.states(x), **CLOSE)


@pytest.mark.parametrize("settings", [{}, {"layout": "interleaved"}, {"attention_factor": 1.2}, {"xpos_gamma": 9.0}])
def test_cached_rotations_of_one_layer_equal_uncached_ones_while_the_base_grows(settings):
    # Fails when keys are cached after rotation: old keys would keep the old base.
    net, x = model(n_layers=1, key_shift=True), tokens()
    assert last_states_differ(net, x, **settings) < 1e-10


def test_no_cache_is_exact_for_several_layers_while_the_base_grows():
    # The second layer's keys come from hidden states that an older base has shaped; the docstring says so.
    assert last_states_differ(model(n_layers=2), tokens()) > 1e-4


def last_states_differ(net: TinyDecoder, x: torch.Tensor, **settings) -> float:
    """The largest difference between cached and recomputed states of the newest token, over growing prefixes."""
    cache, worst = Cache(len(net.blocks)), 0.0
    net.states(x[:, :4], cache=cache, theta=growing(4), **settings)
    for t in range(5, T + 1):
        cached = net.states(x[:, t - 1 : t], cache=cache, theta=growing(t), **settings)
        fresh = net.states(x[:, :t], theta=growing(t), **settings)
        worst = max(worst, (cached[:, -1] - fresh[:, -1]).abs().max().item())
    assert (growing(T) - growing(4)).abs().max() > 0.01  # the base did grow
    return worst


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_generation_with_and_without_a_cache_give_the_same_tokens(options):
    net, prompt = model(**options), tokens(length=3)
    assert torch.equal(generate(net, prompt, 9), generate(net, prompt, 9, use_cache=False))
    draws = [
        generate(net, prompt, 9, temperature=0.7, top_k=6, generator=torch_generator(0, "g"), use_cache=use)
        for use in (True, False)
    ]
    assert torch.equal(*draws) and draws[0].shape == (B, 12) and torch.equal(draws[0][:, :3], prompt)


def test_greedy_generation_takes_the_likeliest_token_each_time():
    net, prompt = model(n_layers=1), tokens(length=3)
    lengths = []
    out = generate(net, prompt, 6, theta=lambda length: lengths.append(length) or growing(length))
    assert lengths == [3, 4, 5, 6, 7, 8]  # the number of tokens read at each step
    for t in range(3, 9):
        assert torch.equal(out[:, t], net(out[:, :t], theta=growing(t))[:, -1].argmax(1))
    assert torch.equal(
        generate(net, prompt, 6, temperature=2.0, top_k=1, generator=torch_generator(0, "g")), generate(net, prompt, 6)
    )
    assert torch.equal(
        generate(net, prompt, 6, temperature=1e-6, generator=torch_generator(0, "g")), generate(net, prompt, 6)
    )
    assert torch.equal(generate(net, prompt, 0), prompt)


@pytest.mark.parametrize("top_k", [None, 4])
def test_samples_follow_the_tempered_distribution(top_k):
    net, n = model(), 20_000
    prompt = tokens(rows=1, length=4)
    out = generate(net, prompt.expand(n, 4), 1, temperature=1.5, top_k=top_k, generator=torch_generator(1, "g"))[:, -1]
    logits = net(prompt)[0, -1] / 1.5
    if top_k is not None:
        logits[logits.argsort()[:-top_k]] = -math.inf
    p = logits.softmax(0)
    counts = torch.bincount(out, minlength=V).double()
    # Normal bound on 11 binomial counts at 4.5 standard deviations: false alarm below 1e-4. Zero stays zero.
    assert ((counts - n * p).abs() <= 4.5 * (n * p * (1 - p)).sqrt() + 1e-9).all()


def test_after_the_stop_token_a_row_holds_only_that():
    net, prompt = model(), tokens(rows=40, length=2)
    free = generate(net, prompt, 12, temperature=1.0, generator=torch_generator(0, "g"))
    stopped = generate(net, prompt, 12, temperature=1.0, generator=torch_generator(0, "g"), stop=5)
    hit = 0
    for a, b in zip(free[:, 2:].tolist(), stopped[:, 2:].tolist(), strict=True):
        end = b.index(5) if 5 in b else 12
        assert a[: end + 1] == b[: end + 1] and set(b[end:]) <= {5}
        hit += end < 12
    assert 0 < hit < 40


# ---------------------------------------------------------------- LoRA


def test_lora_starts_as_the_identity_and_merges_to_the_same_function():
    net, x = model(key_shift=True), tokens()
    before = net(x)
    add_lora(net, 2, 8.0, generator=torch_generator(0, "lora"))
    torch.testing.assert_close(net(x), before, rtol=0, atol=0)
    layers = [m for m in net.modules() if isinstance(m, LoRALinear)]
    assert len(layers) == 2 * len(PROJECTIONS)
    trainable = {name: p for name, p in net.named_parameters() if p.requires_grad}
    assert all(name.endswith((".A", ".B")) for name in trainable)
    # q, k, v, o are 16 x 16, up and down 16 x 24; rank 2, two blocks
    assert sum(p.numel() for p in trainable.values()) == 2 * 2 * (4 * 32 + 2 * 40)
    for layer in layers:
        layer.B.data = torch.randn(layer.B.shape, generator=torch_generator(0, "b")).double()
    changed = net(x)
    assert (changed - before).abs().max() > 1e-2
    with lora_disabled(net):
        torch.testing.assert_close(net(x), before, rtol=0, atol=0)
    torch.testing.assert_close(net(x), changed, rtol=0, atol=0)
    merge_lora(net)
    assert not any(isinstance(m, LoRALinear) for m in net.modules())
    torch.testing.assert_close(net(x), changed, **CLOSE)


def test_the_lora_layer_is_its_formula_with_and_without_bias():
    for bias in (False, True):
        base = torch.nn.utils.skip_init(torch.nn.Linear, 5, 7, bias=bias).double()
        for p in base.parameters():
            p.data = torch.randn(p.shape, generator=torch_generator(0, "w")).double()
        layer = LoRALinear(base, 3, 12.0, torch_generator(0, "lora"))
        layer.B.data = torch.randn(7, 3, generator=torch_generator(0, "b")).double()
        x = torch.randn(4, 5, generator=torch_generator(0, "x")).double()
        expected = base(x) + x @ (12.0 / 3 * layer.B @ layer.A).T
        torch.testing.assert_close(layer(x), expected, **CLOSE)
        torch.testing.assert_close(layer.merged()(x), expected, **CLOSE)


def test_lora_gradients_move_only_the_new_weights():
    net, x = model(), tokens()
    add_lora(net, 2, 4.0, ["q_proj", "v_proj"], generator=torch_generator(0, "lora"))
    F.cross_entropy(net(x[:, :-1]).transpose(1, 2), x[:, 1:]).backward()
    moved = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    # With B = 0 the gradient of A is zero: in the first step only B moves.
    assert moved == {f"blocks.{i}.attention.{n}.B" for i in (0, 1) for n in ("q_proj", "v_proj")}


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "n_heads": 4}, "multiple of n_heads"),
        ({"width": 6, "n_heads": 2}, "even"),
        ({"positions": "alibi"}, "must be one of"),
        ({"positions": "learned"}, "max_len"),
        ({"max_len": 5}, "max_len"),
        ({"window": 0}, "window"),
        ({"n_layers": 0}, "n_layers"),
        ({"embedding_std": 0.0}, "embedding_std"),
        ({"rope_base": 1.0}, "base"),
        ({"heads": {"value": 0}}, "heads"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TinyDecoder(V, **options, generator=torch_generator(0, "m"))


@pytest.mark.parametrize(
    ("options", "x", "call", "message"),
    [
        ({}, torch.zeros(3, dtype=torch.int64), {}, "shape"),
        ({}, torch.zeros(1, 0, dtype=torch.int64), {}, "at least one token"),
        ({}, torch.full((1, 2), V), {}, "tokens must be in"),
        ({}, torch.full((1, 2), -1), {}, "tokens must be in"),
        ({}, tokens(), {"theta": torch.ones(3)}, "theta must have shape"),
        ({}, tokens(), {"theta": torch.full((4,), math.nan)}, "theta"),
        ({}, tokens(), {"attention_factor": 0.0}, "attention_factor"),
        ({}, tokens(), {"layout": "thirds"}, "layout"),
        ({}, tokens(), {"xpos_gamma": -1.0}, "gamma"),
        ({}, tokens(), {"positions": torch.arange(T - 1)}, "positions must have shape"),
        ({}, tokens(), {"head": "value"}, "head"),
        ({"positions": "none"}, tokens(), {"theta": torch.ones(4)}, "need positions='rope'"),
        ({"positions": "none"}, tokens(), {"positions": torch.arange(T)}, "no use for positions"),
        ({"positions": "learned", "max_len": 8}, tokens(), {}, "max_len = 8"),
        ({"positions": "learned", "max_len": 8}, tokens(), {"attention_factor": 2.0}, "need positions='rope'"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(options, x, call, message):
    with pytest.raises(ValueError, match=message):
        model(**options)(x, **call)


def test_tokens_and_learned_positions_must_be_whole_numbers():
    with pytest.raises(TypeError, match="int64"):
        model()(torch.zeros(1, 2))
    with pytest.raises(TypeError, match="integers"):
        model(positions="learned", max_len=40)(tokens(), positions=torch.arange(T) / 2)


def test_a_cache_takes_one_token_at_a_time_and_no_positions():
    net, cache = model(), Cache(2)
    with pytest.raises(ValueError, match="cache"):
        net.states(tokens(), positions=torch.arange(T), cache=cache)
    net.states(tokens(), cache=cache)
    with pytest.raises(ValueError, match="one at a time"):
        net.states(tokens(), cache=cache)


def test_sampling_needs_a_generator_and_sensible_numbers():
    net, prompt = model(), tokens(length=3)
    with pytest.raises(ValueError, match="generator"):
        generate(net, prompt, 2, temperature=1.0)
    with pytest.raises(ValueError, match="temperature"):
        generate(net, prompt, 2, temperature=-1.0)
    with pytest.raises(ValueError, match="top_k"):
        generate(net, prompt, 2, top_k=V + 1)
    with pytest.raises(ValueError, match="max_len"):
        generate(model(positions="learned", max_len=4), prompt, 3)


def test_lora_that_fits_nothing_is_refused():
    with pytest.raises(ValueError, match="no linear layer is called w_proj"):
        add_lora(model(), 2, 4.0, ["q_proj", "w_proj"], generator=torch_generator(0, "l"))
    with pytest.raises(ValueError, match="rank"):
        add_lora(model(), 17, 4.0, generator=torch_generator(0, "l"))
    with pytest.raises(TypeError, match="list"):
        add_lora(model(), 2, 4.0, "q_proj", generator=torch_generator(0, "l"))
    once = add_lora(model(), 2, 4.0, generator=torch_generator(0, "l"))
    with pytest.raises(ValueError, match="already"):
        add_lora(once, 2, 4.0, generator=torch_generator(0, "l"))


def test_the_mlp_is_four_times_as_wide_as_the_rest_unless_said():
    counted = [
        sum(p.numel() for p in TinyDecoder(9, 8, 1, 2, *more, generator=torch_generator(0, "mlp")).parameters())
        for more in ((), (32,), (31,))
    ]
    assert counted[0] == counted[1] > counted[2]
