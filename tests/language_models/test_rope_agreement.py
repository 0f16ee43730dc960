"""Agreement with transformers: every rope type it offers, and its rotation of queries and keys."""

from __future__ import annotations

import pytest
import torch

from workings.language_models.rope_scaling import scale_frequencies
from workings.language_models.rotary import apply_rotary, rope_frequencies, rotary_tables
from workings.seeding import torch_generator

utils = pytest.importorskip(
    "transformers.modeling_rope_utils", reason="transformers is not installed: nothing to agree with"
)
llama = pytest.importorskip("transformers.models.llama.modeling_llama")

# Theirs is float32: base^(2i/d), its inverse and one or two products, each off by up to 1e-7.
RELATIVE = 2e-6
L = 2048
SHORT, LONG = [1.0 + i / 32 for i in range(64)], [1.5 + i / 4 for i in range(64)]

# rope type, its parameters there, current length; kind here, factor, options
CASES = [
    ("linear", {"factor": 4.0}, None, "linear", 4.0, {}),
    ("dynamic", {"factor": 3.0}, None, "dynamic_ntk", 3.0, {}),
    ("dynamic", {"factor": 3.0}, 100, "dynamic_ntk", 3.0, {}),
    ("dynamic", {"factor": 3.0}, 3 * L, "dynamic_ntk", 3.0, {}),
    ("dynamic", {"factor": 1.0}, 5 * L, "ntk", 5.0, {}),
    ("yarn", {"factor": 16.0}, None, "yarn", 16.0, {"ramp": "index"}),
    ("yarn", {"factor": 4.0, "truncate": False}, None, "yarn", 4.0, {"ramp": "index", "truncate": False}),
    (
        "yarn",
        {"factor": 8.0, "beta_fast": 16.0, "beta_slow": 2.0},
        None,
        "yarn",
        8.0,
        {"ramp": "index", "beta_fast": 16.0, "beta_slow": 2.0},
    ),
    (
        "yarn",
        {"factor": 8.0, "mscale": 1.0, "mscale_all_dim": 0.7},
        None,
        "yarn",
        8.0,
        {"ramp": "index", "mscale": 1.0, "mscale_all_dim": 0.7},
    ),
    ("yarn", {"factor": 8.0, "attention_factor": 1.1}, None, "yarn", 8.0, {"ramp": "index", "attention_factor": 1.1}),
    ("llama3", {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}, None, "llama3", 8.0, {}),
    (
        "llama3",
        {"factor": 32.0, "low_freq_factor": 2.0, "high_freq_factor": 9.0},
        None,
        "llama3",
        32.0,
        {"low_freq_factor": 2.0, "high_freq_factor": 9.0},
    ),
    *(
        (
            "longrope",
            {"factor": 4.0, "short_factor": SHORT, "long_factor": LONG},
            length,
            "longrope",
            4.0,
            {"short_factor": SHORT, "long_factor": LONG},
        )
        for length in (None, L, L + 1)
    ),
    *(
        ("proportional", {"partial_rotary_factor": p, "factor": 2.0}, None, "proportional", 2.0, {"fraction": p})
        for p in (0.0, 0.25, 0.3, 41 / 64, 1.0)
    ),
    *([("default", {}, None, "default", 1.0, {})] if "default" in utils.ROPE_INIT_FUNCTIONS else []),  # 4.x
]


def theirs(name, parameters, seq_len, base):
    trained = {"original_max_position_embeddings": L} if name in ("yarn", "llama3", "longrope") else {}
    config = llama.LlamaConfig(
        hidden_size=512,
        num_attention_heads=4,
        head_dim=128,
        max_position_embeddings=L,
        rope_parameters={"rope_type": name, "rope_theta": base, **trained, **parameters},
    )
    return utils.ROPE_INIT_FUNCTIONS[name](config, "cpu", seq_len=seq_len)


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
@pytest.mark.parametrize(("name", "parameters", "seq_len", "kind", "factor", "options"), CASES)
def test_frequencies_and_attention_factor_are_those_of_transformers(
    name, parameters, seq_len, kind, factor, options, base
):
    inverse, attention_factor = theirs(name, parameters, seq_len, base)
    ours = scale_frequencies(rope_frequencies(128, base), kind, factor=factor, orig_len=L, seq_len=seq_len, **options)
    torch.testing.assert_close(ours.theta, inverse.double(), rtol=RELATIVE, atol=0)
    assert ours.attention_factor == pytest.approx(attention_factor, rel=RELATIVE)


def test_every_rope_type_of_transformers_is_compared():
    assert set(utils.ROPE_INIT_FUNCTIONS) == {name for name, *_ in CASES}


def test_the_rotation_is_that_of_the_llama_model():
    q, k = (torch.randn(2, 3, 50, 128, generator=torch_generator(0, name)) for name in "qk")
    cos, sin = rotary_tables(torch.arange(50), rope_frequencies(128), scale=1.2)
    turned = llama.apply_rotary_pos_emb(q, k, *(torch.cat((t, t), dim=-1)[None] for t in (cos, sin)))
    for ours, other in zip((q, k), turned, strict=True):
        got = apply_rotary(ours, torch.arange(50), rope_frequencies(128), layout="half", scale=1.2)
        torch.testing.assert_close(got, other, rtol=0, atol=2e-6)  # float32, numbers up to 6


def test_the_embedding_module_of_the_llama_model_gives_the_same_tables():
    config = llama.LlamaConfig(hidden_size=512, num_attention_heads=4, max_position_embeddings=L)
    cos, sin = llama.LlamaRotaryEmbedding(config)(torch.zeros(1), torch.arange(L)[None])
    ours = rotary_tables(torch.arange(L), rope_frequencies(128))
    for table, other in zip(ours, (cos, sin), strict=True):
        # its angles are float32: up to 2048 rad, off by 2048 * 2^-23 = 2.4e-4 with the frequency's own rounding
        torch.testing.assert_close(torch.cat((table, table), dim=-1)[None], other, rtol=0, atol=4e-4)
