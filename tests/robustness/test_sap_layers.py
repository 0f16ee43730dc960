"""Pruning layers: where they go, what switches them, and that the dense network comes back bit for bit."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from workings.robustness.layers import (
    MatchedDropout,
    PoissonPruningLayer,
    Pruned,
    SAPLayer,
    TestTimeDropout,
    configure,
    insert_dropout,
    insert_poisson_pruning,
    insert_pruning,
    insert_sap,
    pruning_layers,
    remove_pruning,
)
from workings.robustness.networks import digits_cnn, resnet20
from workings.robustness.poisson_pruning import poisson_activation_pruning
from workings.seeding import torch_generator


def images(n=4, channels=1, size=8):
    return torch.rand(n, channels, size, size, generator=torch_generator(0, "images"))


def digits_net():
    return digits_cnn(torch_generator(0, "net")).eval()


def record_inputs(model, wanted):
    """Run hooks that collect every input of the modules of type ``wanted``, in order of the forward pass."""
    seen = []
    for module in model.modules():
        if isinstance(module, wanted):
            module.register_forward_hook(lambda m, inputs, out: seen.append((m, inputs[0].detach(), out.detach())))
    return seen


def test_a_layer_stands_behind_every_activation_the_last_one_included():
    net = insert_sap(digits_net())
    seen = record_inputs(net, SAPLayer)
    net(images())
    assert [h.shape[1:].numel() for _, h, _ in seen] == [1024, 512, 512, 64]
    assert all((h >= 0).all() for _, h, _ in seen)


def test_the_resnet_has_19_maps_and_188416_draws_an_image():
    net = insert_sap(resnet20(torch_generator(0, "net")).eval())
    seen = record_inputs(net, SAPLayer)
    net(images(2, 3, 32))
    assert len(seen) == 19
    assert sum(h[0].numel() for _, h, _ in seen) == 188_416
    assert seen[-1][1].shape == (2, 64, 8, 8)  # after the last ReLU, before pooling


def test_the_next_layer_sees_the_pruned_signal():
    net = nn.Sequential(nn.Linear(6, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU())
    pruned = insert_sap(net, fraction=0.2, generator=torch_generator(0, "x"))
    seen = record_inputs(pruned, (SAPLayer, nn.Linear))
    pruned(torch.rand(3, 6, generator=torch_generator(0, "in")))
    _, sap, second, _ = seen
    assert torch.equal(second[1], sap[2]) and (sap[2] == 0).sum() > (sap[1] == 0).sum()


@pytest.mark.parametrize("switch", ["fraction=None", "enabled=False", "built with None", "removed", "infinite"])
@pytest.mark.parametrize("make", [digits_net, lambda: resnet20(torch_generator(1, "r"), slope=0.1).eval()])
def test_switching_off_restores_the_dense_output_bit_for_bit(switch, make):
    dense = make()
    x = images() if isinstance(dense, nn.Sequential) else images(2, 3, 32)
    expected = dense(x)
    net = insert_sap(dense, fraction=None if switch == "built with None" else 1.0, generator=torch_generator(0, "x"))
    if switch != "built with None":
        assert not torch.equal(net(x), expected)
    if switch == "fraction=None":
        configure(net, fraction=None)
    elif switch == "enabled=False":
        configure(net, enabled=False)
    elif switch == "removed":
        net = remove_pruning(net)
        assert not any(pruning_layers(net))
        assert list(net.state_dict()) == list(dense.state_dict())
    elif switch == "infinite":
        configure(net, fraction=math.inf)
    assert torch.equal(net(x), expected)


def test_pruning_is_as_random_in_evaluation_mode_as_in_training_mode():
    # Attack libraries call eval(); a defence tied to model.training would be off then.
    net = insert_sap(digits_net(), generator=torch_generator(0, "x"))
    x = images()
    for mode in (True, False):
        net.train(mode)
        assert not torch.equal(net(x), net(x))


def test_the_original_model_is_left_alone_and_its_weights_are_copied():
    dense = digits_net()
    net = insert_sap(dense)
    assert not any(isinstance(m, (SAPLayer, Pruned)) for m in dense.modules())
    with torch.no_grad():
        next(net.parameters()).zero_()
    assert next(dense.parameters()).abs().sum() > 0
    assert list(net.state_dict()) == list(dense.state_dict())  # activations have no weights: checkpoints still fit


def test_one_generator_serves_all_layers_and_copies_of_the_model_share_it():
    g = torch_generator(0, "shared")
    net = insert_sap(digits_net(), generator=g)
    assert all(layer.generator is g for layer in pruning_layers(net))
    assert all(layer.generator is g for layer in pruning_layers(copy.deepcopy(net)))
    first = net(images())
    configure(net, generator=torch_generator(0, "shared"))
    assert torch.equal(first, net(images()))


def test_a_copy_keeps_the_settings():
    net = insert_sap(digits_net(), fraction=0.5, backward="pathwise")
    configure(net, enabled=False)
    twin = copy.deepcopy(net)
    assert all((m.fraction, m.backward, m.enabled) == (0.5, "pathwise", False) for m in pruning_layers(twin))
    configure(net, fraction=1.0)
    assert all(m.fraction == 0.5 for m in pruning_layers(twin))
    assert "fraction=0.5" in repr(twin)


def test_activations_that_are_shared_nested_or_the_root_are_all_found():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            relu = nn.ReLU()
            self.first, self.again = relu, relu
            self.inner = nn.ModuleDict({"deep": nn.Sequential(nn.Linear(3, 3), nn.LeakyReLU(0.1))})
            self.empty = None

        def forward(self, x):
            return self.inner["deep"](self.again(self.first(x) - 0.2))

    net = insert_sap(Net())
    assert net.first is net.again and isinstance(net.first, Pruned)
    assert isinstance(net.inner["deep"][1], Pruned)
    root = insert_sap(nn.ReLU())
    assert isinstance(root, Pruned) and root(torch.ones(2, 5)).shape == (2, 5)
    assert isinstance(remove_pruning(root), nn.ReLU)


def test_a_model_without_a_matching_activation_is_refused():
    with pytest.raises(ValueError, match="no module of type ReLU, LeakyReLU"):
        insert_sap(nn.Sequential(nn.Linear(3, 3), nn.GELU()))
    with pytest.raises(ValueError, match="no module of type Conv2d"):
        insert_poisson_pruning(nn.Linear(3, 3))
    assert any(pruning_layers(insert_sap(nn.Sequential(nn.Linear(3, 3), nn.GELU()), after=nn.GELU)))


def test_pruning_twice_and_configuring_or_removing_nothing_are_refused():
    net = insert_sap(digits_net())
    for insert in (insert_sap, insert_poisson_pruning, insert_dropout):
        with pytest.raises(ValueError, match="already"):
            insert(net)
    with pytest.raises(ValueError, match="no pruning layer"):
        configure(digits_net(), fraction=1.0)
    with pytest.raises(ValueError, match="no layers of insert_sap"):
        remove_pruning(digits_net())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"fraction": -1.0}, "fraction"), ({"backward": "none"}, "backward"), ({"fraction": math.nan}, "fraction")],
)
def test_bad_settings_are_refused_when_they_are_set(options, message):
    with pytest.raises(ValueError, match=message):
        insert_sap(digits_net(), **options)
    net = insert_sap(digits_net())
    with pytest.raises(ValueError, match=message):
        configure(net, **options)
    assert all(layer.fraction == 1.0 and layer.backward == "mask" for layer in pruning_layers(net))


def test_identity_rule_inside_a_network_gives_gradients_that_ignore_the_mask_of_the_last_layer():
    # linear after SAP: the input gradient of the head is exact whatever was drawn.
    head = nn.Linear(20, 3)
    net = insert_sap(nn.Sequential(nn.ReLU(), head), backward="identity", generator=torch_generator(0, "x"))
    x = torch.rand(4, 20, generator=torch_generator(0, "in")).requires_grad_(True)
    (grad,) = torch.autograd.grad(net(x)[:, 1].sum(), x)
    assert torch.equal(grad, head.weight[1].detach().expand(4, 20))


def test_matched_dropout_stands_where_sap_stands_and_keeps_as_many():
    dense = digits_net()
    x = images(64)
    kept = {}
    for name, insert in (("sap", insert_sap), ("dropout", insert_dropout)):
        net = insert(dense, fraction=0.5, generator=torch_generator(0, name))
        seen = record_inputs(net, (SAPLayer, MatchedDropout))
        net(x)
        _, h, out = seen[0]  # the first layer sees the same map in both networks
        kept[name] = float((out != 0).sum() / (h != 0).sum())
    # 64 maps of about 500 live neurons: standard error below 0.003.
    assert kept["sap"] == pytest.approx(kept["dropout"], abs=0.015)


def test_the_flawed_variant_prunes_convolutions_before_batch_norm_and_not_the_last_activation():
    # The five differences of the erratum, as far as placement goes; see test_poisson_pruning.py for the mask.
    net = insert_poisson_pruning(resnet20(torch_generator(0, "net")).eval())
    layers = [m for m in net.modules() if isinstance(m, Pruned)]
    assert all(isinstance(m.layer, nn.Conv2d) and isinstance(m.pruning, PoissonPruningLayer) for m in layers)
    assert len(layers) == 1 + 18 + 3  # stem, two a block, three projections
    assert all(m.pruning.fraction == 2.0 and m.pruning.backward == "pathwise" for m in layers)
    assert isinstance(net.stem, Pruned) and isinstance(net.act, nn.ReLU)
    seen = record_inputs(net, PoissonPruningLayer)
    net(images(2, 3, 32))
    assert (seen[0][1] < 0).any()  # pre-activations have both signs


def test_variant_and_placement_can_be_crossed():
    # The grid of the chapter needs this layer after the activations too, with any number of draws.
    net = insert_poisson_pruning(digits_net(), after=nn.ReLU, fraction=0.5, generator=torch_generator(0, "x"))
    seen = record_inputs(net, PoissonPruningLayer)
    net(images())
    assert len(seen) == 4 and all((h >= 0).all() for _, h, _ in seen)


def test_any_pruning_layer_can_be_inserted():
    made = []
    net = insert_pruning(digits_net(), nn.ReLU, lambda: made.append(SAPLayer(0.5)) or made[-1])
    assert list(pruning_layers(net)) == made and len(made) == 4


def test_test_time_dropout_keeps_the_same_share_whatever_the_activations():
    h = torch.cat([torch.ones(1, 20_000), torch.rand(1, 20_000, generator=torch_generator(0, "h")) ** 8 + 1e-3])
    out = TestTimeDropout(0.9, generator=torch_generator(1, "masks")).eval()(h)
    kept = (out != 0).double().mean(1)
    assert (kept - 0.9).abs().max() < 5 * (0.09 / 20_000) ** 0.5
    torch.testing.assert_close(out[out != 0], (h / 0.9)[out != 0])


def test_the_older_layer_draws_its_share_of_the_number_of_activations():
    h = images(3, 2, 4)
    layer = PoissonPruningLayer(0.5, "identity", torch_generator(1, "draws"))
    wanted = poisson_activation_pruning(h, 0.5 * 32, torch_generator(1, "draws"), "identity")
    assert torch.equal(layer(h), wanted) and 0 < int((wanted == 0).sum()) < h.numel()
