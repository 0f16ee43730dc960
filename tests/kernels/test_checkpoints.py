"""A checkpoint is that of one run: whatever decides its result is in it, and a difference is named."""

import functools

import pytest
import torch
from torch import nn

from workings.chapters.giraffe import models as giraffe
from workings.disentangling.denoising import DenoisingAutoencoder, FeatureMap
from workings.disentangling.factor_channel import FactorChannel, standardise
from workings.disentangling.known_factor import KnownFactorModel, train_known_factor
from workings.disentangling.networks import MLPDecoder, initialise, mlp_vae
from workings.disentangling.training import annealed_capacity, fixed_beta, train_vae
from workings.few_shot.networks import conv4
from workings.language_models.decoder import TinyDecoder
from workings.language_models.lora import add_lora
from workings.language_models.training import lines_batches, train_decoder
from workings.robustness.bpda import BPDALayer
from workings.robustness.cifar import train_adversarial, train_resnet20
from workings.robustness.data import Split
from workings.robustness.layers import SAPLayer
from workings.robustness.networks import resnet20
from workings.seeding import torch_generator
from workings.training import ShuffledBatches, fit, load_weights, model_settings


def saved(model, path):
    loss = lambda net, batch, noise: sum(p.square().sum() for p in net.parameters())
    fit(model, loss, lambda t: None, torch.optim.SGD(model.parameters(), lr=1e-3), 1, seed=0, checkpoint=path)
    return path


def decoder(**options):
    return TinyDecoder(7, 8, 1, **{"n_heads": 2, **options}, generator=torch_generator(0, "net"))


@pytest.mark.parametrize(
    ("there", "here", "name"),
    [
        ({}, {"positions": "none"}, "positions"),
        ({}, {"rope_base": 50.0}, "rope_base"),
        ({}, {"window": 3}, "window"),
        ({}, {"n_heads": 4}, "n_heads"),
        ({"tie": True}, {}, "tied"),
        ({"positions": "none", "window": 2}, {"window": 2}, "positions"),
    ],
)
def test_weights_of_a_decoder_with_other_settings_are_refused_by_name(tmp_path, there, here, name):
    path = saved(decoder(**there), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"another architecture: '(.*\.)?{name}' is .* there and .* same shapes"):
        load_weights(decoder(**here), path)
    load_weights(decoder(**there), path)


def test_other_slopes_activations_and_image_shapes_are_other_networks(tmp_path):
    path = saved(resnet20(torch_generator(0, "net")), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"'blocks\.0\.act1' is ReLU there and LeakyReLU in this ResNet"):
        load_weights(resnet20(torch_generator(0, "net"), slope=0.1), path)
    path = saved(resnet20(torch_generator(0, "net"), slope=0.2), tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"negative_slope' is 0\.2 there and 0\.1"):
        load_weights(resnet20(torch_generator(0, "net"), slope=0.1), path)
    plain = lambda *a: initialise(MLPDecoder(*a), torch_generator(0, "net"))
    path = saved(plain(4, 2, (8,), torch.tanh), tmp_path / "c.pt")
    with pytest.raises(ValueError, match="'activation' is tanh there and relu"):
        load_weights(plain(4, 2, (8,)), path)
    path = saved(plain((1, 4, 4), 2, (8,)), tmp_path / "d.pt")
    with pytest.raises(ValueError, match=r"'shape' is \(1, 4, 4\) there and \(1, 2, 8\)"):
        load_weights(plain((1, 2, 8), 2, (8,)), path)


def lora(alpha):
    return add_lora(decoder(), 2, alpha, ["q_proj"], generator=torch_generator(0, "lora"))


def denoiser(shape=(3, 2, 4)):
    return DenoisingAutoencoder(shape, bottleneck=3, hidden=(24,), generator=torch_generator(0, "net"))


def before_a_layer(layer):
    return nn.Sequential(nn.Linear(3, 3), layer)


@pytest.mark.parametrize(
    ("make", "there", "here", "name"),
    [
        (lora, 2.0, 4.0, "scale"),
        (lambda fraction: before_a_layer(SAPLayer(fraction)), 1.0, 2.0, "fraction"),
        (denoiser, (3, 2, 4), (3, 4, 2), "shape"),
        (lambda layer: FeatureMap(denoiser(), layer), "hidden1", "bottleneck", "layer"),
        (lambda size: conv4(torch_generator(0, "net"), width=2, size=size), 16, 20, "size"),
    ],
)
def test_a_layer_that_computes_something_else_with_the_same_weights_is_refused(tmp_path, make, there, here, name):
    path = saved(make(there), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"another architecture: '(.*\.)?{name}' is .* there and .* same shapes"):
        load_weights(make(here), path)
    load_weights(make(there), path)
    state = torch.load(path)  # as an older version wrote it, which did not record this setting
    recorded = state["model_settings"]
    state["model_settings"] = {key: recorded[key] for key in recorded if key.rpartition(".")[2] != name}
    assert len(state["model_settings"]) < len(recorded)
    torch.save(state, path)
    load_weights(make(there), path)


def test_a_layer_without_weights_that_the_checkpoint_does_not_know_is_refused(tmp_path):
    path = saved(nn.Sequential(nn.Linear(3, 3)), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="'1' is absent there and ReLU"):
        load_weights(before_a_layer(nn.ReLU()), path)


@pytest.mark.parametrize(
    ("make", "there", "here", "name"),
    [
        (lambda rule: SAPLayer(1.0, rule), "mask", "pathwise", "backward"),
        (lambda surrogate: BPDALayer(nn.Hardtanh(), surrogate), torch.tanh, torch.sigmoid, "surrogate"),
    ],
)
def test_how_a_layer_is_differentiated_decides_a_run_and_not_what_weights_compute(tmp_path, make, there, here, name):
    path = saved(before_a_layer(make(there)), tmp_path / "a.pt")
    load_weights(before_a_layer(make(here)), path)
    with pytest.raises(ValueError, match=rf"'1\.{name}' is"):
        saved(before_a_layer(make(here)), path)
    saved(before_a_layer(make(there)), path)


def test_settings_hold_no_place_in_memory():
    def settings(limit):
        def clip(x, low):
            return x.clamp(low, limit)

        return model_settings(BPDALayer(nn.Hardtanh(), functools.partial(clip, low=-1.0)))

    first = settings(1.0)
    assert first == settings(1.0) and "clip" in first["surrogate"] and "0x" not in first["surrogate"]


def test_what_does_not_change_the_function_is_no_difference(tmp_path):
    make = lambda p, inplace: nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace), nn.Dropout(p))
    path = saved(make(0.1, False), tmp_path / "a.pt")
    load_weights(make(0.5, True), path)  # dropout is off in evaluation
    assert model_settings(make(0.1, True)) == model_settings(make(0.1, False))


def test_a_checkpoint_of_an_older_version_without_settings_still_loads(tmp_path):
    path = saved(decoder(), tmp_path / "a.pt")
    state = torch.load(path)
    for name in ("model_settings", "settings", "rates"):
        del state[name]
    torch.save(state, path)
    load_weights(decoder(), path)
    saved(decoder(), path)


def images():
    return (torch.rand(20, 1, 4, 4, generator=torch_generator(0, "x")) > 0.5).float()


def vae_run(path, objective, *, steps=10, weight_decay=0.0, lr=1e-2, batch=8, n=20, **options):
    net = mlp_vae(4, 2, (8,), generator=torch_generator(0, "net"))
    adam = torch.optim.Adam(net.parameters(), lr=lr, weight_decay=weight_decay)
    return train_vae(
        net, images()[:n], steps, objective, seed=0, batch=batch, window=5, optimiser=adam, checkpoint=path,
        checkpoint_every=5, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"objective": fixed_beta(50.0)}, r"beta was 0\.0, is 50\.0"),
        ({"objective": annealed_capacity(1.0, 2.0, 5)}, "objective was 'FixedBeta', is 'AnnealedCapacity'"),
        ({"weight_decay": 0.1}, "weight_decay .* was 0.0, is 0.1"),
        ({"batch": 9}, "batch was 8, is 9"),
        ({"n": 19}, "images was 20, is 19"),
        ({"autocast": torch.bfloat16}, "autocast was None, is torch.bfloat16"),
    ],
)
def test_a_vae_run_with_another_setting_is_refused_by_name(tmp_path, changed, name):
    path = tmp_path / "run.pt"
    objective = fixed_beta(0.0)
    vae_run(path, objective)
    with pytest.raises(ValueError, match=name):
        vae_run(path, **{"objective": objective, **changed})
    vae_run(path, objective)


def test_capacities_with_another_target_are_other_objectives(tmp_path):
    vae_run(tmp_path / "run.pt", annealed_capacity(1.0, 2.0, 5))
    with pytest.raises(ValueError, match=r"c_max was 2\.0, is 3\.0"):
        vae_run(tmp_path / "run.pt", annealed_capacity(1.0, 3.0, 5))


def test_a_checkpoint_that_was_deleted_takes_its_history_with_it(tmp_path):
    path = tmp_path / "run.pt"
    first = vae_run(path, fixed_beta(0.0))
    path.unlink()
    again = vae_run(path, fixed_beta(50.0))
    fresh = vae_run(tmp_path / "other.pt", fixed_beta(50.0))
    assert torch.equal(again.kl, fresh.kl) and not torch.equal(again.kl, first.kl)


def test_a_history_that_was_deleted_is_missed(tmp_path):
    path = tmp_path / "run.pt"
    whole = vae_run(path, fixed_beta(0.0))
    (tmp_path / "run.pt.history.jsonl").unlink()
    with pytest.raises(ValueError, match=r"the history of .*run\.pt is gone .*delete the checkpoint"):
        vae_run(path, fixed_beta(0.0))
    path.unlink()
    assert torch.equal(vae_run(path, fixed_beta(0.0)).kl, whole.kl)


def test_a_known_factor_run_with_another_capacity_is_refused(tmp_path):
    def run(n=20, **options):
        model = KnownFactorModel(FactorChannel(2), initialise(MLPDecoder(4, 2, (8,)), torch_generator(0, "net")))
        factors = standardise(torch.rand(20, 2, generator=torch_generator(0, "f")))[:n]
        options = {"c_max": 2.0, "rising": 5, **options}
        train_known_factor(
            model, factors, images()[:n], 10, seed=0, batch=8, window=5, checkpoint=tmp_path / "k.pt", checkpoint_every=5,
            **options,
        )  # fmt: skip

    run()
    run()
    with pytest.raises(ValueError, match=r"c_max was 2\.0, is 3\.0"):
        run(c_max=3.0)
    with pytest.raises(ValueError, match="learn_rates was True, is False"):
        run(learn_rates=False)
    with pytest.raises(ValueError, match="images was 20, is 19"):
        run(n=19)


def test_plain_and_adversarial_training_are_different_runs(tmp_path):
    data = Split(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4) % 2)
    plain = lambda path: train_resnet20(data, 1, 0, path, batch=4)
    adversarial = lambda path: train_adversarial(data, 1, 0, path, batch=4, device="cpu")
    plain(tmp_path / "plain.pt")
    with pytest.raises(ValueError, match="loss was not given, is 'adversarial'"):
        adversarial(tmp_path / "plain.pt")
    adversarial(tmp_path / "adv.pt")
    with pytest.raises(ValueError, match="loss was 'adversarial', is not given"):
        plain(tmp_path / "adv.pt")
    assert plain(tmp_path / "plain.pt")[1].resumed_at == 1


def test_a_decoder_run_compares_what_it_is_told_of_its_batches(tmp_path):
    def run(length, **options):
        batches = lines_batches(0, "lines", batch=2, length=length, n_queries=2, n_keys=4, n_values=3)
        return train_decoder(
            decoder(), batches, 1, seed=0, lr=1e-3, checkpoint=tmp_path / "d.pt", settings={"length": length}, **options
        )

    run(12)
    assert run(12).resumed_at == 1
    with pytest.raises(ValueError, match="length was 12, is 16"):
        run(16)
    with pytest.raises(ValueError, match="random_positions was not given, is True"):
        run(12, random_positions=True)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"length": 32}, "length was 16, is 32"),
        ({"batch": 3}, "batch was 2, is 3"),
        ({"stream": "b"}, "stream was 'a'"),
    ],
)
def test_the_models_of_giraffe_resume_on_the_same_sequences_only(tmp_path, changed, name):
    codes = giraffe.character_corpus(0, n_sentences=5)

    def lines(**options):
        net = giraffe.lines_model(torch_generator(0, "net"), width=8, mlp_width=8)
        return giraffe.train_lines(net, 0, 1, n_queries=2, checkpoint=tmp_path / "lines.pt", **options)

    def characters(text=codes, **options):
        net = giraffe.character_model(torch_generator(0, "net"), width=8, mlp_width=8)
        return giraffe.train_characters(net, text, 0, 1, checkpoint=tmp_path / "characters.pt", **options)

    for run in (lines, characters):
        options = {"length": 16, "batch": 2, "stream": "a"}
        run(**options)
        assert run(**options).resumed_at == 1
        with pytest.raises(ValueError, match=name):
            run(**{**options, **changed})
    with pytest.raises(ValueError, match="codes was"):
        characters(codes[:-1], **options)
    with pytest.raises(ValueError, match="n_queries was 2, is 3"):
        giraffe.train_lines(
            giraffe.lines_model(torch_generator(0, "net"), width=8, mlp_width=8), 0, 1, n_queries=3,
            checkpoint=tmp_path / "lines.pt", **options,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"schedule": lambda t: 0.5}, "another schedule"),
        ({"clip_norm": 1.0}, "clip_norm was None, is 1.0"),
        ({"settings": {"loss": "l1"}}, "loss was not given, is 'l1'"),
        ({"momentum": 0.9}, "momentum .* was 0, is 0.9"),
    ],
)
def test_any_run_with_another_setting_is_refused_by_name(tmp_path, changed, name):
    def run(momentum=0.0, **options):
        model = nn.Linear(2, 1)
        loss = lambda net, batch, noise: net.weight.square().sum()
        sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
        fit(model, loss, lambda t: None, sgd, 4, seed=0, checkpoint=tmp_path / "run.pt", **options)

    run(momentum=0)
    with pytest.raises(ValueError, match=name):
        run(**{"momentum": 0, **changed})


def test_indices_that_a_caller_changes_are_the_callers_own():
    order = ShuffledBatches(10, 5, seed=0)
    before = order(0).clone()
    order(0).add_(100)
    assert torch.equal(order(0), before)
