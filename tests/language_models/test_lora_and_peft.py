"""Our adapters compute what peft's do, on copied weights."""

import pytest
import torch
from torch import nn

from workings.language_models.lora import LoRALinear, add_lora
from workings.seeding import torch_generator

pytestmark = pytest.mark.filterwarnings("ignore")  # peft and transformers speak about their own future


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.v_proj = nn.Linear(6, 5), nn.Linear(5, 4, bias=False)

    def forward(self, x):
        return self.v_proj(torch.tanh(self.q_proj(x)))


def test_copied_weights_give_the_same_outputs():
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    ours, theirs = Two(), Two()
    theirs.load_state_dict(ours.state_dict())
    add_lora(ours, 2, 8.0, ["q_proj", "v_proj"], generator=torch_generator(0, "lora"))
    theirs = peft.get_peft_model(theirs, peft.LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "v_proj"]))
    with torch.no_grad():
        for name in ("q_proj", "v_proj"):
            a, b = getattr(ours, name), getattr(theirs.base_model.model, name)
            a.B.copy_(torch.randn(a.B.shape, generator=torch_generator(0, name)))
            b.lora_A["default"].weight.copy_(a.A)
            b.lora_B["default"].weight.copy_(a.B)
    x = torch.randn(7, 6, generator=torch_generator(0, "x"))
    torch.testing.assert_close(ours(x), theirs(x))
    count = lambda model: sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert count(ours) == count(theirs) == 2 * (6 + 5) + 2 * (5 + 4)


def test_the_inner_matrix_starts_uniform_within_one_over_the_root_of_the_inputs():
    inner = LoRALinear(nn.Linear(400, 30), 8, 1.0, torch_generator(0, "start")).A.detach()
    assert 0.99 / 20 < inner.abs().max() <= 1 / 20  # the largest of 3,200: below 0.99 with probability 1e-14
    assert abs(float(inner.mean())) < 4 / 20 / (3 * 3200) ** 0.5
