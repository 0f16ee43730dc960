"""What a kernel keeps from one iteration to the next carries no graph, and networks may begin in place."""

import gc
import weakref

import pytest
import torch
from torch import nn

from workings.robustness.attacks import attack_gradient, random_search_linf
from workings.robustness.evaluation import mc_predict, robust_accuracies, sample_softmax
from workings.seeding import torch_generator


def test_a_search_over_a_trainable_network_keeps_none_of_its_graphs():
    model = nn.Linear(6, 3)
    x, y = torch.rand(4, 6, generator=torch_generator(0, "x")), torch.tensor([0, 1, 2, 0])
    alive, most = [], 0

    def score(point, labels):
        nonlocal most
        out = nn.functional.cross_entropy(model(point), labels, reduction="none")
        gc.collect()
        most = max(most, sum(reference() is not None for reference in alive))
        alive.append(weakref.ref(out))
        assert out.grad_fn is None
        return out

    gc.collect()
    gc.freeze()  # what was there before is not searched forty times over
    try:
        random_search_linf(score, x, y, 0.1, 20, generator=torch_generator(0, "signs"))
    finally:
        gc.unfreeze()
    assert most <= 2  # the best so far and the one before it


@pytest.mark.parametrize("inplace", [False, True])
def test_passes_and_tries_start_from_the_same_images_whatever_the_network_does_to_its_input(inplace):
    class Shift(nn.Module):
        def forward(self, v):
            return v.sub_(0.3) if inplace else v - 0.3

    model = nn.Sequential(Shift(), nn.Flatten(), nn.Linear(6, 3))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=torch_generator(0, "w", *p.shape)))
    x, y = torch.rand(5, 6, generator=torch_generator(0, "x")), torch.tensor([0, 1, 2, 0, 1])
    before = x.clone()
    once = nn.functional.softmax(model[2](before - 0.3), dim=1)
    for found in (*sample_softmax(model, x, 3), mc_predict(model, x, 3)):
        torch.testing.assert_close(found, once)
    assert robust_accuracies(model, x, y, 3)["all"] == robust_accuracies(model, x, y, 3)["any"]
    loss = lambda point, labels: nn.functional.cross_entropy(model(point), labels, reduction="none")
    found = random_search_linf(loss, x, y, 0.1, 5, generator=torch_generator(0, "signs"))
    assert (found - before).abs().max() <= 0.1 + 1e-6 and torch.equal(x, before)


def test_labels_made_in_inference_mode_are_labels():
    with torch.inference_mode():
        y = torch.tensor([0, 1])
    x = torch.rand(2, 6, generator=torch_generator(0, "x"))
    gradient = attack_gradient(nn.Linear(6, 3), "cross-entropy")
    assert torch.equal(gradient(x, y), gradient(x, y.clone()))
