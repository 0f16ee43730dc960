"""A copy of a module is the module: hooks, attributes and a subclass's parameters go along."""

import copy
import pickle

import torch
from torch import nn

from workings.disentangling.training import annealed_capacity, fixed_beta
from workings.robustness.layers import SAPLayer, insert_sap, pruning_layers
from workings.seeding import torch_generator


class Scaled(SAPLayer):
    """A subclass with a parameter and a constructor of its own."""

    def __init__(self, factor):
        super().__init__(0.5, "identity")
        self.factor = nn.Parameter(torch.tensor(factor))

    def prune(self, h):
        return self.factor * super().prune(h)


def test_a_copied_layer_keeps_what_it_was_given_and_shares_its_generator():
    source = torch_generator(0, "masks")
    layer = SAPLayer(0.5, "pathwise", source)
    layer.note, layer.enabled = ["kept"], False
    layer.register_forward_hook(lambda module, inputs, output: output + 1)
    layer.eval()
    made = copy.deepcopy(layer)
    assert made.generator is source and made.note == ["kept"] and made.note is not layer.note
    assert (made.fraction, made.backward, made.enabled, made.training) == (0.5, "pathwise", False, False)
    assert torch.equal(made(torch.zeros(1, 2)), torch.ones(1, 2))


def test_a_copied_subclass_has_a_parameter_of_its_own():
    layer = Scaled(3.0)
    made = copy.deepcopy(layer)
    assert made.factor is not layer.factor and made.factor.item() == 3.0
    with torch.no_grad():
        made.factor.fill_(0.0)
    assert layer.factor.item() == 3.0


def test_layers_that_share_a_generator_share_it_in_the_copy_and_in_the_pickle():
    source = torch_generator(0, "masks")
    model = insert_sap(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU()), generator=source)
    assert {id(layer.generator) for layer in pruning_layers(copy.deepcopy(model))} == {id(source)}
    again = pickle.loads(pickle.dumps(model))
    assert len({id(layer.generator) for layer in pruning_layers(again)}) == 1
    x = torch.rand(3, 2, generator=torch_generator(0, "x"))
    assert torch.equal(again(x), model(x))  # the pickle holds the generator's state


def test_objectives_can_be_pickled():
    nll, kl = torch.tensor([3.0]), torch.tensor([[1.0, 0.5]])
    for objective in (fixed_beta(2.0), annealed_capacity(3.0, 2.0, 10)):
        again = pickle.loads(pickle.dumps(objective))
        assert again == objective and again(nll, kl, 5) == objective(nll, kl, 5)
