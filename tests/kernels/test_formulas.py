"""Formulas that no other test holds in every factor; each was found by a change that nothing noticed."""

import math

import pytest
import torch

from workings.language_models.decoder import TinyDecoder
from workings.seeding import torch_generator


@pytest.mark.parametrize("gamma", [None, 7.0])
def test_the_attention_factor_enters_the_scores_squared_with_and_without_damping(gamma):
    """One head, one layer: scores are written out from the model's own projections."""
    model = TinyDecoder(9, 6, 1, 1, generator=torch_generator(0, "net")).double()
    tokens = torch.randint(9, (2, 5), generator=torch_generator(0, "tokens"))
    factor = 1.7
    [block] = model.blocks
    x = model.embed(tokens)
    h = block.attention_norm(x)
    q, k, v = (project(h) for project in (block.attention.q_proj, block.attention.k_proj, block.attention.v_proj))
    scores = torch.zeros(2, 5, 5, dtype=torch.float64)
    for i in range(3):  # pair i is (i, i + 3); its score at distance n - m is Re(q_n conj(k_m) e^(i (n - m) theta))
        theta = model.theta[i]
        zeta = 1.0 if gamma is None else ((2 * i + 0.4 * 6) / (1.4 * 6)) ** (1 / gamma)
        for n in range(5):
            for m in range(n + 1):
                a = torch.complex(q[:, n, i], q[:, n, i + 3])
                b = torch.complex(k[:, m, i], k[:, m, i + 3])
                turned = a * b.conj() * torch.polar(torch.ones(()).double(), (n - m) * theta)
                scores[:, n, m] += factor**2 * zeta ** (n - m) * turned.real
    scores = (scores / math.sqrt(6)).masked_fill(torch.triu(torch.ones(5, 5, dtype=torch.bool), 1), -math.inf)
    y = x + block.attention.o_proj(scores.softmax(dim=-1) @ v)
    y = y + block.down_proj(torch.nn.functional.gelu(block.up_proj(block.mlp_norm(y))))
    found = model(tokens, attention_factor=factor, xpos_gamma=gamma)
    torch.testing.assert_close(found, model.lm_head(model.norm(y)), rtol=1e-10, atol=1e-10)
