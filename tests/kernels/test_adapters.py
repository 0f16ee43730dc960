"""A layer that stands in two places of a model is one layer, with one adapter."""

import pytest
import torch
from torch import nn

from workings.language_models.lora import LoRALinear, add_lora, merge_lora
from workings.seeding import torch_generator


class Twice(nn.Module):
    """One linear layer under two names, and in one more module."""

    def __init__(self):
        super().__init__()
        layer = nn.Linear(4, 4, dtype=torch.float64)
        self.q_proj = self.k_proj = layer
        self.inner = nn.ModuleDict({"v_proj": layer})

    def forward(self, x):
        return self.inner["v_proj"](self.k_proj(self.q_proj(x)))


def test_a_shared_layer_gets_one_adapter_and_stays_shared_when_merged():
    model = Twice()
    x = torch.randn(3, 4, generator=torch_generator(0, "x"), dtype=torch.float64)
    before = model(x)
    add_lora(model, 2, 4.0, ["q_proj", "k_proj", "v_proj"], generator=torch_generator(0, "lora"))
    assert model.q_proj is model.k_proj is model.inner["v_proj"] and isinstance(model.q_proj, LoRALinear)
    assert torch.equal(model(x), before)  # B starts at zero
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 2 * (4 + 4)
    with torch.no_grad():
        model.q_proj.B.copy_(torch.randn(4, 2, generator=torch_generator(0, "B"), dtype=torch.float64))
    adapted = model(x)
    merge_lora(model)
    assert model.q_proj is model.k_proj is model.inner["v_proj"] and type(model.q_proj) is nn.Linear
    torch.testing.assert_close(model(x), adapted)


def test_an_adapter_that_is_the_whole_model_is_merged():
    layer = LoRALinear(nn.Linear(3, 3), 1, 2.0, torch_generator(0, "lora"))
    with torch.no_grad():
        layer.B.fill_(1.0)
    x = torch.randn(2, 3, generator=torch_generator(0, "x"))
    merged = merge_lora(layer)
    assert type(merged) is nn.Linear
    torch.testing.assert_close(merged(x), layer(x))


def test_yarn_needs_both_of_its_scales_or_none():
    from workings.language_models.rope_scaling import scale_frequencies
    from workings.language_models.rotary import rope_frequencies

    yarn = lambda **o: scale_frequencies(rope_frequencies(8), "yarn", factor=4.0, orig_len=64, **o).attention_factor
    for one in ({"mscale": 2.0}, {"mscale_all_dim": 2.0}):
        with pytest.raises(ValueError, match="give both or none"):
            yarn(**one)
    assert yarn(mscale=1.0, mscale_all_dim=1.0) == 1.0
