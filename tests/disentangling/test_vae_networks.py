"""The networks: their sizes, that the fast convolutions are the plain ones, and that noise and weights are seeded."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from workings.disentangling.layers import FEW_CHANNELS, channels_last, run_stack, sum_of_patches
from workings.disentangling.networks import (
    VAE,
    BurgessDecoder,
    BurgessEncoder,
    ConvDecoder,
    ConvEncoder,
    FullyConnectedDecoder,
    FullyConnectedEncoder,
    MLPDecoder,
    MLPEncoder,
    burgess_vae,
    fc_vae,
    initialise,
    mlp_vae,
    reparameterise,
)
from workings.disentangling.objectives import bernoulli_nll, capacity_loss, gaussian_kl
from workings.disentangling.peer_weights import load_interleaved
from workings.seeding import torch_generator


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def images(*shape: int) -> torch.Tensor:
    return (torch.rand(*shape, generator=torch_generator(0, "images")) < 0.1).float()


# Architecture -------------------------------------------------------------------------------------------------


def test_the_burgess_network_has_its_published_parts():
    encoder, decoder = BurgessEncoder(), BurgessDecoder()
    assert count(encoder) == 252_052 and count(decoder) == 249_953
    assert [count(m) for m in (*encoder.convs, *encoder.linears)] == [544, *[16_416] * 3, 131_328, 65_792, 5_140]
    # The mirror, by hand: 10-256, 256-256, 256-512, three of 32 * 32 * 16 + 32, and 32 * 16 + 1.
    assert [count(m) for m in (*decoder.linears, *decoder.convs)] == [2_816, 65_792, 131_584, *[16_416] * 3, 513]
    for conv in (*encoder.convs, *decoder.convs):
        assert (conv.kernel_size, conv.stride, conv.padding) == ((4, 4), (2, 2), (1, 1))


def test_the_burgess_network_for_32_pixels_drops_one_convolution_on_each_side():
    encoder, decoder = BurgessEncoder(size=32), BurgessDecoder(size=32)
    assert count(encoder) == 252_052 - 16_416 and count(decoder) == 249_953 - 16_416
    assert BurgessEncoder(img_channels=3, latent_dim=32).convs[0].in_channels == 3


def test_the_fully_connected_network_has_its_published_parts():
    with torch.device("meta"):  # 14 million weights that nobody needs here
        encoder, decoder = FullyConnectedEncoder(), FullyConnectedDecoder()
    assert count(encoder) == 6_381_620 and count(decoder) == 7_814_896
    assert [m.out_features for m in encoder.linears] == [1200, 1200, 20]
    assert [m.out_features for m in decoder.linears] == [1200, 1200, 1200, 4096]


def test_the_encoders_hidden_layers_are_relu_and_the_fully_connected_decoders_are_tanh():
    x, z = (
        torch.rand(3, 1, 4, 4, generator=torch_generator(0, "x")),
        torch.randn(3, 2, generator=torch_generator(0, "z")),
    )
    model = mlp_vae(4, 2, (5, 3), generator=torch_generator(0, "w"))
    a, b, c = model.encoder.linears
    out = c(F.relu(b(F.relu(a(x.flatten(1))))))
    torch.testing.assert_close(torch.cat(model.encode(x), 1), out)
    a, b, c = model.decoder.linears
    assert a.out_features == 3 and b.out_features == 5  # mirrored
    torch.testing.assert_close(model.decode(z).flatten(1), c(F.relu(b(F.relu(a(z))))))
    with torch.device("meta"):
        assert FullyConnectedDecoder(2).activation is torch.tanh
    a, b, c = (decoder := MLPDecoder(4, 2, (5, 3), torch.tanh)).linears
    torch.testing.assert_close(decoder(z).flatten(1), c(torch.tanh(b(torch.tanh(a(z))))))


@pytest.mark.parametrize(
    ("make", "shape", "latents"),
    [
        (lambda g: burgess_vae(generator=g), (1, 64, 64), 10),
        (lambda g: burgess_vae(6, 3, 32, generator=g), (3, 32, 32), 6),
        (lambda g: mlp_vae(16, 4, generator=g), (1, 16, 16), 4),
        (lambda g: mlp_vae((3, 8, 6), 5, (7,), generator=g), (3, 8, 6), 5),
        (lambda g: fc_vae(3, generator=g), (1, 64, 64), 3),
    ],
)
def test_shapes_and_the_gradient_reaches_every_weight(make, shape, latents):
    model = make(torch_generator(0, "w"))
    x = images(5, *shape)
    logits, mu, logvar = model(x, torch_generator(0, "noise"))
    assert logits.shape == x.shape and mu.shape == logvar.shape == (5, latents)
    assert model.decode(mu).shape == x.shape
    capacity_loss(bernoulli_nll(logits, x), gaussian_kl(mu, logvar), 1.0, 10.0).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name


def test_other_convolutional_shapes_are_mirrored_too():
    settings = {"img_channels": 3, "size": 16, "channels": (8, 12), "hidden": (20, 10)}
    encoder, decoder = ConvEncoder(5, **settings), ConvDecoder(5, **settings)
    assert [m.in_features for m in encoder.linears] == [12 * 4 * 4, 20, 10]
    assert [m.in_features for m in decoder.linears] == [5, 10, 20]
    assert [(m.in_channels, m.out_channels) for m in decoder.convs] == [(12, 8), (8, 3)]
    assert decoder(encoder(torch.rand(2, 3, 16, 16))[0]).shape == (2, 3, 16, 16)


# The fast convolutions ----------------------------------------------------------------------------------------


def plain_twin(model: VAE) -> tuple[nn.Sequential, nn.Sequential]:
    """The Burgess network for 64 pixels written out with PyTorch's layers, channels first, same weights."""
    channels = model.encoder.convs[0].in_channels
    convs = [m for a in (channels, 32, 32, 32) for m in (nn.Conv2d(a, 32, 4, stride=2, padding=1), nn.ReLU())]
    linears = [nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 20)]
    encoder = nn.Sequential(*convs, nn.Flatten(), *linears)
    linears = [nn.Linear(10, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU()]
    convs = [m for _ in range(3) for m in (nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1), nn.ReLU())]
    last = nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1)
    decoder = nn.Sequential(*linears, nn.Unflatten(1, (32, 4, 4)), *convs, last)
    for plain, ours in ((encoder, model.encoder), (decoder, model.decoder)):
        plain.load_state_dict(dict(zip(plain.state_dict(), ours.state_dict().values(), strict=True)))
    return encoder, decoder


@pytest.mark.parametrize("channels", [1, 3])
def test_the_fast_network_is_the_plain_one_in_value_and_gradient(channels):
    model = burgess_vae(img_channels=channels, generator=torch_generator(0, "w")).double()
    encoder, decoder = (m.double() for m in plain_twin(model))
    x = images(3, channels, 64, 64).double()
    logits, mu, logvar = model(x, torch_generator(0, "noise"))
    mu2, logvar2 = encoder(x).chunk(2, dim=1)
    logits2 = decoder(reparameterise(mu2, logvar2, torch_generator(0, "noise")))
    # Double precision: the sums of at most 512 products differ in their order only.
    for ours, plain in ((mu, mu2), (logvar, logvar2), (logits, logits2)):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)
    for out in ((logits, mu, logvar), (logits2, mu2, logvar2)):
        capacity_loss(bernoulli_nll(out[0], x), gaussian_kl(*out[1:]), 1.0, 1000.0).backward()
    theirs = [p.grad for p in (*encoder.parameters(), *decoder.parameters())]
    for (name, p), grad in zip(model.named_parameters(), theirs, strict=True):
        torch.testing.assert_close(p.grad, grad, rtol=1e-8, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")


def test_in_single_precision_the_fast_and_the_slow_way_agree_to_rounding():
    model = burgess_vae(generator=torch_generator(0, "w"))
    slow = copy.deepcopy(model)
    slow.encoder.fast = slow.decoder.fast = False
    x = images(4, 1, 64, 64)
    for ours, plain in zip(model(x, torch_generator(0, "n")), slow(x, torch_generator(0, "n")), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)  # float32, sums of 512 terms, eight layers


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("relu_last", [False, True])
def test_the_stacks_gradients_are_those_of_finite_differences(transposed, relu_last):
    settings = {"img_channels": 2, "size": 8, "channels": (3, 4), "hidden": ()}
    stack = (ConvDecoder if transposed else ConvEncoder)(1, **settings)
    layers = initialise(stack, torch_generator(0, "w")).double().convs
    shape = (2, 4, 2, 2) if transposed else (2, 2, 8, 8)
    x = torch.randn(shape, generator=torch_generator(0, "x"), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda *_: run_stack(layers, x, relu_last=relu_last), (x, *layers.parameters()))


@pytest.mark.parametrize("outputs", [1, 3, FEW_CHANNELS, FEW_CHANNELS + 1])
def test_the_sum_of_patches_is_the_transposed_convolution(outputs):
    x = torch.randn(2, 6, 5, 3, generator=torch_generator(0, "x"), dtype=torch.float64)
    weight = torch.randn(6, outputs, 4, 4, generator=torch_generator(0, "w"), dtype=torch.float64)
    bias = torch.randn(outputs, generator=torch_generator(0, "b"), dtype=torch.float64)
    expected = F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
    torch.testing.assert_close(sum_of_patches(x, weight, bias), expected)
    torch.testing.assert_close(sum_of_patches(channels_last(x), weight, bias), expected)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_channels_last_changes_strides_and_no_value(channels):
    x = torch.randn(3, channels, 4, 6, generator=torch_generator(0, "x"))
    made = channels_last(x)
    assert torch.equal(made, x) and made.stride() == (24 * channels, 1, 6 * channels, channels)
    assert torch.equal(channels_last(x.transpose(2, 3)), x.transpose(2, 3))


def test_frozen_weights_get_no_gradient_and_pass_it_on():
    encoder = initialise(ConvEncoder(2, size=16, channels=(4, 4), hidden=()), torch_generator(0, "w"))
    x = images(2, 1, 16, 16).requires_grad_()
    encoder.convs[0].weight.requires_grad_(False)
    encoder(x)[0].sum().backward()
    assert encoder.convs[0].weight.grad is None and encoder.convs[0].bias.grad is not None
    open_gradient = x.grad.clone()
    x.grad = None
    encoder.requires_grad_(False)(x)[0].sum().backward()
    torch.testing.assert_close(x.grad, open_gradient)


def test_the_backward_pass_leaves_the_callers_gradient_alone():
    for make, x in ((ConvEncoder, images(2, 1, 16, 16)), (ConvDecoder, torch.randn(2, 4, 4, 4))):
        module = initialise(make(2, size=16, channels=(4, 4), hidden=()), torch_generator(0, "w"))
        out = run_stack(module.convs, x, relu_last=True)
        grad = torch.randn(out.shape, generator=torch_generator(0, "g")).contiguous(memory_format=torch.channels_last)
        before = grad.clone()
        out.backward(grad, retain_graph=True)
        assert torch.equal(grad, before)
        first = [p.grad.clone() for p in module.convs.parameters()]
        module.zero_grad()
        out.backward(grad)  # a second pass through the same graph finds everything as it was
        for a, b in zip(first, module.convs.parameters(), strict=True):
            assert torch.equal(a, b.grad)


def test_hooks_replaced_layers_and_second_derivatives_take_the_slow_way():
    encoder = initialise(ConvEncoder(2, size=8, channels=(3, 3), hidden=()), torch_generator(0, "w")).double()
    x = torch.rand(2, 1, 8, 8, generator=torch_generator(0, "x"), dtype=torch.float64)
    seen = []
    handle = encoder.convs[1].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    hooked = encoder(x)[0]
    handle.remove()
    assert seen == [(2, 3, 2, 2)]
    torch.testing.assert_close(hooked, encoder(x)[0])
    dilated = nn.Conv2d(3, 3, 4, stride=2, padding=4, dilation=3).double()
    encoder.convs[1] = dilated
    torch.testing.assert_close(
        run_stack(encoder.convs, x, relu_last=True), F.relu(dilated(F.relu(encoder.convs[0](x))))
    )

    decoder = initialise(ConvDecoder(2, size=4, channels=(3,), hidden=()), torch_generator(0, "w")).double()
    z = torch.randn(1, 2, generator=torch_generator(0, "z"), dtype=torch.float64)

    def slope(z):
        return torch.autograd.grad(decoder(z).square().sum(), z, create_graph=True)[0].sum()

    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope(z.clone().requires_grad_()).backward()
    decoder.fast = False
    assert torch.autograd.gradcheck(slope, (z.clone().requires_grad_(),))
    assert torch.func.jacrev(decoder)(z).shape == (1, 1, 4, 4, 1, 2)


def test_an_empty_batch_and_mixed_precision_work():
    model = initialise(
        VAE(ConvEncoder(2, size=8, channels=(3,)), ConvDecoder(2, size=8, channels=(3,))), torch_generator(0, "w")
    )
    assert model(torch.zeros(0, 1, 8, 8))[0].shape == (0, 1, 8, 8)
    x = images(2, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(x)[0]
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), model(x)[0], rtol=0.05, atol=0.02)  # bfloat16 keeps 8 bits
    half.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in model.decoder.parameters())


# Noise and weights --------------------------------------------------------------------------------------------


def test_without_a_generator_the_code_is_the_posterior_mean():
    model = mlp_vae(4, 3, (8,), generator=torch_generator(0, "w"))
    x = images(5, 1, 4, 4)
    logits, mu, logvar = model(x)
    assert torch.equal(logits, model.decode(mu))
    z = reparameterise(mu, logvar, torch_generator(1, "n"))
    assert torch.equal(model(x, torch_generator(1, "n"))[0], model.decode(z))


def test_the_code_has_the_posteriors_mean_and_standard_deviation():
    n = 100_000
    mu, logvar = torch.tensor([[2.0, -1.0]]).expand(n, 2).double(), torch.tensor([[0.0, 2.0]]).expand(n, 2).double()
    z = reparameterise(mu, logvar, torch_generator(0, "n"))
    noise = (z - mu) / torch.tensor([1.0, math.e])  # exp(2 / 2): logvar is a log-variance, not a log-deviation
    # Standard normal by design: mean within 5 / sqrt(n), mean square within 5 sqrt(2 / n); 4 checks, 2.3e-6 false alarms.
    assert (noise.mean(0).abs() < 5 / math.sqrt(n)).all()
    assert ((noise.square().mean(0) - 1).abs() < 5 * math.sqrt(2 / n)).all()


def test_gradients_flow_through_the_noise_to_both_parameters():
    mu, logvar = torch.zeros(1, 2, requires_grad=True), torch.tensor([[0.0, 1.0]], requires_grad=True)
    z = reparameterise(mu, logvar, torch_generator(0, "n"))
    z.sum().backward()
    assert torch.equal(mu.grad, torch.ones(1, 2))
    torch.testing.assert_close(logvar.grad, z.detach() / 2)  # d z / d logvar = e^(logvar / 2) eps / 2 = (z - mu) / 2


def test_weights_come_from_the_generator_alone_and_within_pytorchs_own_bounds():
    state = torch.random.get_rng_state()
    a, b, c = (burgess_vae(generator=torch_generator(seed, "w")).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in a.items():
        assert torch.equal(value, b[name]) and not torch.equal(value, c[name])
        fan = a[name.replace("bias", "weight")][0].numel()
        assert value.abs().max() <= 1 / math.sqrt(fan)
        if value.numel() > 5000:
            # Uniform within the bound: the chance that all n values stay below 0.99 of it is 0.99^n < 1e-21.
            assert value.abs().max() > 0.99 / math.sqrt(fan)
            assert value.mean().abs() < 5 / math.sqrt(3 * fan * value.numel())  # sd bound / sqrt(3 n); 5.7e-7 a tensor


def test_weights_of_a_peer_with_interleaved_means_and_log_variances_can_be_loaded():
    model = burgess_vae(generator=torch_generator(0, "w"))
    encoder, decoder = plain_twin(burgess_vae(generator=torch_generator(1, "peer")))
    peer = {f"{part}.{k}": v for part, m in (("e", encoder), ("d", decoder)) for k, v in m.state_dict().items()}
    assert load_interleaved(model, peer) is model
    x = images(2, 1, 64, 64)
    mu, logvar = encoder(x).unflatten(1, (10, 2)).unbind(-1)  # the peer's reading of its 20 outputs
    ours = model.encode(x)
    torch.testing.assert_close(ours[0], mu)
    torch.testing.assert_close(ours[1], logvar)
    torch.testing.assert_close(model.decode(mu), decoder(mu), rtol=1e-4, atol=1e-6)
    short = dict(list(peer.items())[:-1])
    with pytest.raises(ValueError, match="27 tensors, this model has 28"):
        load_interleaved(model, short)
    with pytest.raises(ValueError, match=r"'e\.0\.weight' has shape \(32, 1, 4, 4\) where 'encoder\.convs\.0\.weight'"):
        load_interleaved(burgess_vae(img_channels=3, generator=torch_generator(0, "w")), peer)


# Hostile input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BurgessEncoder(size=28), "64 or 32"),
        (lambda: BurgessDecoder(size=128), "64 or 32"),
        (lambda: BurgessEncoder(latent_dim=0), "latent_dim"),
        (lambda: BurgessEncoder(img_channels=0), "img_channels"),
        (lambda: ConvEncoder(2, size=20, channels=(4, 4, 4)), "divisible by 8"),
        (lambda: ConvDecoder(2, size=16, channels=()), "channels is empty"),
        (lambda: ConvEncoder(2, size=16, channels=(0,)), "filters"),
        (lambda: ConvEncoder(2, size=16, channels=(4,), hidden=(0,)), "width"),
        (lambda: MLPEncoder((1, 4), 2), "channels, height, width"),
        (lambda: MLPDecoder(0, 2), "size"),
        (lambda: BurgessEncoder()(torch.zeros(2, 1, 32, 32)), r"images must be \(B, 1, 64, 64\)"),
        (lambda: BurgessEncoder()(torch.zeros(1, 64, 64)), "images must be"),
        (lambda: MLPEncoder(4, 2)(torch.zeros(2, 16)), "images must be"),
        (lambda: BurgessDecoder()(torch.zeros(2, 9)), r"codes must be \(B, 10\)"),
        (lambda: MLPDecoder(4, 2)(torch.zeros(2)), "codes must be"),
    ],
)
def test_bad_sizes_are_refused_with_a_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()
