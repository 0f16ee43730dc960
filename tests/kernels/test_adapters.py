"""A layer that stands in two places of a model is one layer, with one adapter."""

import pytest
import torch
from torch import nn

from workings.language_models.lora import LoRALinear, add_lora, merge_lora
from workings.seeding import global_seed, torch_generator


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


def test_dropout_thins_the_input_of_the_adapter_alone_and_only_in_training():
    """With ``A`` and ``B`` all ones, what the adapter adds counts the inputs that were kept, each divided by 1 - dropout."""
    layer = LoRALinear(nn.Linear(8, 1, dtype=torch.float64), 1, 1.0, torch_generator(0, "lora"), dropout=0.25)
    with torch.no_grad():
        layer.A.fill_(1.0)
        layer.B.fill_(1.0)
    x = torch.ones(4000, 8, dtype=torch.float64)
    with global_seed(0, "dropout"):
        added = (layer(x) - layer.base(x)).detach()
    kept = added * 0.75
    torch.testing.assert_close(kept, kept.round())
    assert kept.min() >= 0 and kept.max() <= 8 and abs(float(added.mean()) - 8) < 0.1  # sd of the mean 0.026
    torch.testing.assert_close(layer.eval()(x), layer.merged()(x))
    never = LoRALinear(nn.Linear(8, 1), 1, 1.0, torch_generator(0, "lora"))
    assert never.dropout is None and torch.equal(never(x.float()), never.eval()(x.float()))
    with pytest.raises(ValueError, match="dropout must be in"):
        LoRALinear(nn.Linear(8, 1), 1, 1.0, torch_generator(0, "lora"), dropout=1.5)


def test_an_adapter_on_the_output_layer_leaves_an_embedding_tied_to_it_alone():
    """The tied weight stays one tensor and is not trained; merging unties it, so that the embedding keeps its values."""
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "lm_head": nn.Linear(3, 5, bias=False)}).double()
    model["lm_head"].weight = model["embedding"].weight
    before = model["embedding"].weight.detach().clone()
    add_lora(model, 2, 4.0, ["lm_head"], generator=torch_generator(0, "lora"))
    assert model["lm_head"].base.weight is model["embedding"].weight
    assert not model["embedding"].weight.requires_grad
    with torch.no_grad():
        model["lm_head"].B.copy_(torch.randn(5, 2, generator=torch_generator(0, "B"), dtype=torch.float64))
    x = model["embedding"](torch.arange(5))
    adapted = model["lm_head"](x)
    merge_lora(model)
    torch.testing.assert_close(model["lm_head"](x), adapted)
    assert torch.equal(model["embedding"].weight, before) and not torch.equal(model["lm_head"].weight, before)


def test_yarn_needs_both_of_its_scales_or_none():
    from workings.language_models.rope_scaling import scale_frequencies
    from workings.language_models.rotary import rope_frequencies

    yarn = lambda **o: scale_frequencies(rope_frequencies(8), "yarn", factor=4.0, orig_len=64, **o).attention_factor
    for one in ({"mscale": 2.0}, {"mscale_all_dim": 2.0}):
        with pytest.raises(ValueError, match="give both or none"):
            yarn(**one)
    assert yarn(mscale=1.0, mscale_all_dim=1.0) == 1.0
