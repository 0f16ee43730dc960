"""Batched sampling from the tiny decoder: the fast way equals the plain one, and responses end where they end."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch

from workings.language_models import generation
from workings.language_models.decoder import TinyDecoder
from workings.language_models.generation import generate, response_mask
from workings.language_models.lora import LoRALinear, add_lora
from workings.seeding import torch_generator

V = 9
KINDS = {
    "rope": {},
    "learned": {"positions": "learned", "max_len": 16},
    "none": {"positions": "none"},
    "shifted": {"key_shift": True},
    "tied": {"tie": True},
    "two layers": {"n_layers": 2},
}


def model(dtype: torch.dtype = torch.float64, **options) -> TinyDecoder:
    chosen = {"width": 16, "n_heads": 2, "mlp_width": 24, "embedding_std": 1.0, **options}
    made = TinyDecoder(V, **chosen, generator=torch_generator(0, "model")).to(dtype)
    for part in made.modules():
        if isinstance(part, torch.nn.RMSNorm):  # not all ones, so that multiplying them into the next layer shows
            part.weight.data = 0.5 + torch.rand(part.weight.shape, generator=torch_generator(0, "norm")).to(dtype)
    return made


def prompts(rows: int = 50, length: int = 3) -> torch.Tensor:
    return torch.randint(V, (rows, length), generator=torch_generator(0, "prompts"))


def both(net: TinyDecoder, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens drawn with the cache and without, from the same stream."""
    ways = (True, False)
    return tuple(generate(net, prompts(), 10, generator=torch_generator(0, "g"), use_cache=c, **options) for c in ways)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_cached_sampling_equals_uncached(options, temperature):
    net = model(**options)
    assert generation._is_plain(net)  # so the fast steps are what is tried
    cached, uncached = both(net, temperature=temperature, stop=2)
    assert torch.equal(cached, uncached) and cached.shape == (50, 13)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_the_logits_of_the_fast_steps_are_the_models(options):
    net, text = model(**options), prompts(5, 12)
    cache = generation.Cache(len(net.blocks))
    with torch.no_grad():
        net.states(text[:, :4], cache=cache)
        steps = generation._Steps(net, cache, 8)
        found = torch.stack([steps(text[:, t : t + 1]) for t in range(4, 12)], dim=1)
        torch.testing.assert_close(found, net(text)[:, 4:], rtol=0, atol=1e-12)


def changed(way: str) -> TinyDecoder:
    """A model that does more than its class: a replaced or hooked part that turns the sign of what it gives."""
    net = model()
    attention = net.blocks[0].attention
    turn = lambda layer, inputs, output: -output
    if way == "lora":
        add_lora(net, 2, 8.0, generator=torch_generator(0, "lora"))
        for part in net.modules():
            if isinstance(part, LoRALinear):
                part.B.data = torch.randn(part.B.shape, generator=torch_generator(0, "b")).double()
    elif way == "hook on a block":
        net.blocks[0].register_forward_hook(turn)
    elif way == "hook on a layer":
        attention.v_proj.register_forward_hook(turn)
    elif way == "forward of its own":
        plain = attention.forward
        attention.forward = lambda *inputs: -plain(*inputs)
    elif way == "window":
        net.window = 2
    else:
        net.lm_head = type("Turned", (torch.nn.Linear,), {"forward": lambda self, x: -x @ self.weight.t()})(16, V)
        net.lm_head.weight = copy.deepcopy(model().lm_head.weight)
    return net


@pytest.mark.parametrize(
    "way", ["lora", "hook on a block", "hook on a layer", "forward of its own", "window", "subclass"]
)
def test_a_model_that_does_more_than_its_class_is_called(way):
    net = changed(way)
    assert not generation._is_plain(net)
    cached, uncached = both(net, temperature=1.0)
    assert torch.equal(cached, uncached)
    assert not torch.equal(cached, both(model(), temperature=1.0)[0])


def test_nothing_is_drawn_once_every_row_has_stopped():
    net = model()
    net.lm_head.weight.data.zero_()  # every token is equally likely: all 3 rows have stopped soon
    source = torch_generator(0, "g")
    out = generate(net, prompts(3), 400, temperature=1.0, generator=source, stop=0)
    # P(a row has not stopped in 400 draws) = (8/9)^400 < 1e-20.
    last = (
        int((out[:, 3:] != 0).any(0).nonzero().max()) + 1
    )  # the longest response has this many tokens before its stop
    assert out.shape == (3, 403) and bool((out[:, 3 + last :] == 0).all())
    used = torch_generator(0, "g")
    for _ in range(last + 1):
        torch.rand(3, 1, dtype=torch.float64, generator=used)
    assert torch.equal(used.get_state(), source.get_state())


def test_one_seed_gives_one_sample_and_leaves_the_global_stream_alone():
    net, state = model(), torch.get_rng_state()
    first, second, other = (
        generate(net, prompts(), 8, temperature=1.0, generator=torch_generator(seed, "g")) for seed in (0, 0, 1)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_whole_sequences_come_as_often_as_the_model_says():
    """All 1 + 3 * 4 = 13 continuations of at most two tokens that a vocabulary of four allows: an exact multinomial."""
    net = (
        TinyDecoder(4, 8, 1, 2, positions="none", embedding_std=1.0, generator=torch_generator(3, "m"))
        .double()
        .requires_grad_(False)
    )
    prompt, n = torch.tensor([[1]]), 20_000
    out = generate(net, prompt.expand(n, 1), 2, temperature=1.0, generator=torch_generator(0, "g"), stop=0)[:, 1:]
    p = {}
    first = net(prompt)[0, -1].softmax(0)
    for a, b in itertools.product(range(4), range(4)):
        after = net(torch.tensor([[1, a]]))[0, -1].softmax(0)
        p[a, b] = float(first[a]) * (float(b == 0) if a == 0 else float(after[b]))
    assert sum(p.values()) == pytest.approx(1.0)
    for (a, b), chance in p.items():
        found = int((out == torch.tensor([a, b])).all(1).sum())
        # Normal bound on 13 binomial counts at 4.5 standard deviations: false alarm below 1e-4. What is impossible never comes.
        assert abs(found - n * chance) <= 4.5 * (n * chance * (1 - chance)) ** 0.5 + 1e-9


def test_a_token_of_probability_zero_never_comes():
    logits = torch.full((5000, 6), -torch.inf)
    logits[:, 2], logits[:, 4] = (
        0.0,
        -60.0,
    )  # exp(-60) is 0 beside 1 in float32's cumulative sum, first and last are impossible
    drawn = generation._next_tokens(logits, 1.0, None, torch_generator(0, "g"))
    assert set(drawn.flatten().tolist()) == {2}


def test_sampling_works_in_half_precision_and_at_tiny_temperatures():
    net = model(torch.bfloat16)
    cold = generate(net, prompts(), 4, temperature=1e-6, generator=torch_generator(0, "g"), use_cache=False)
    assert torch.equal(cold[:, 3], net(prompts())[:, -1].argmax(1))


# ---------------------------------------------------------------- where a response ends


def test_a_response_holds_its_first_stop_and_nothing_after():
    tokens = torch.tensor([[1, 0, 5, 6, 0, 0], [1, 2, 0, 3, 4, 0], [1, 2, 3, 4, 5, 6]])
    mask = response_mask(tokens, 0, prompt=2)  # the 0 inside the first prompt is not a stop
    assert mask.int().tolist() == [[0, 0, 1, 1, 1, 0], [0, 0, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]]
    assert mask.sum(1).tolist() == [3, 1, 4]  # a response that was cut off counts as the longest there is
    assert torch.equal(response_mask(tokens[:, 2:], 0), mask[:, 2:])


def test_masks_of_generated_text_cover_what_came_up_to_the_stop():
    out = generate(model(), prompts(), 9, temperature=1.0, generator=torch_generator(0, "g"), stop=2)
    for row, length in zip(out[:, 3:].tolist(), response_mask(out, 2, prompt=3).sum(1).tolist(), strict=True):
        assert length == (row.index(2) + 1 if 2 in row else 9)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature must be"),
        ({"temperature": 1.0}, "pass generator"),
        ({"stop": V}, "stop must be at most"),
        ({"top_k": 0}, "top_k must be at least"),
        ({"n_new": -1}, "n_new must be at least"),
        ({"n_new": 40}, "ask for fewer new tokens|positions must be"),
    ],
)
def test_bad_requests_are_refused(options, message):
    net = model(positions="learned", max_len=16)
    with pytest.raises(ValueError, match=message):
        generate(net, prompts(), **{"n_new": 3, **options})


def test_a_generator_of_another_kind_is_refused():
    with pytest.raises(TypeError, match=r"torch\.Generator"):
        generate(model(), prompts(), 3, temperature=1.0, generator=7)


@pytest.mark.parametrize(
    ("tokens", "prompt", "error", "message"),
    [
        (torch.zeros(3).long(), 0, ValueError, r"\(B, T\)"),
        (torch.zeros(2, 3).long(), 3, ValueError, "prompt must be at most 2"),
        (torch.zeros(2, 3), 0, TypeError, "whole numbers"),
        ([[1, 2]], 0, TypeError, "torch tensor"),
    ],
)
def test_bad_tokens_are_refused(tokens, prompt, error, message):
    with pytest.raises(error, match=message):
        response_mask(tokens, 0, prompt=prompt)
