"""The vision stage of DARLA: masks, the denoising autoencoder, the perceptual loss, trainings side by side."""

import numpy as np
import pytest
import torch
from torch import nn

from workings.disentangling.denoising import DenoisingAutoencoder, FeatureMap, mask_rectangles, train_denoiser
from workings.disentangling.ensembles import draw_noise, flat_then_linear
from workings.disentangling.networks import freeze, he_vae, mlp_vae
from workings.disentangling.objectives import gaussian_kl, squared_error
from workings.disentangling.perceptual import (
    VisionJob,
    darla_vision_loss,
    equal_variance_scale,
    frozen_codes,
    perceptual_loss,
    standardise_by,
    train_vision,
)
from workings.seeding import torch_generator
from workings.training import ShuffledBatches


def g(name="draws"):
    return torch_generator(0, "darla tests", name)


def images(n=6, size=8, name="images"):
    return torch.rand(n, 3, size, size, generator=g(name))


def autoencoder(**options):
    return DenoisingAutoencoder((3, 8, 8), bottleneck=5, hidden=(7,), generator=g("weights"), **options)


def test_a_mask_is_one_rectangle_and_leaves_the_rest():
    x = images(200) + 0.1
    masked, mask = mask_rectangles(x, g())
    assert (masked == torch.where(mask, 0.0, x)).all() and mask.shape == (200, 1, 8, 8)
    for one in mask[:, 0]:
        rows, columns = one.any(dim=1), one.any(dim=0)
        assert one.any() and (one == rows[:, None] & columns[None]).all()
        for line in (rows, columns):
            assert (line.int().diff() != 0).sum() <= 2 and (line.int().diff() == 1).sum() <= 1
    assert torch.equal(mask_rectangles(x, g())[1], mask), "one generator, one mask"


def test_the_mean_hidden_share_is_the_one_of_the_docstring():
    n, height, width = 40_000, 6, 4
    _, mask = mask_rectangles(torch.ones(n, 1, height, width), g())
    share = mask.float().mean(dim=(1, 2, 3)).double()
    expected = (height + 1) * (width + 1) / (4 * height * width)
    # A mean of 40,000: beyond 4.5 standard errors once in 150,000 seeds.
    assert abs(float(share.mean()) - expected) < 4.5 * float(share.std()) / n**0.5
    sizes = mask[:, 0].any(dim=2).sum(dim=1)
    # Each of 6 heights has mean n / 6 with a standard deviation of 74.5.
    assert (torch.bincount(sizes, minlength=7)[1:] - n / 6).abs().max() < 5 * 74.6


def test_masks_refuse_what_is_no_batch_of_images():
    with pytest.raises(ValueError, match="must be \\(B, C, H, W\\)"):
        mask_rectangles(torch.ones(3, 8, 8), g())
    with pytest.raises(TypeError, match="floating"):
        mask_rectangles(torch.ones(1, 1, 8, 8, dtype=torch.uint8), g())


@pytest.mark.parametrize(
    ("options", "layers"),
    [({}, ("hidden1", "bottleneck", "reconstruction")), ({"channels": (4, 6)}, ("conv1", "conv2", "hidden1", "bottleneck", "reconstruction"))],
)  # fmt: skip
def test_layers_have_names_and_follow_each_other(options, layers):
    net, x = autoencoder(**options), images()
    assert net.layers == layers
    assert net.features(x, "bottleneck").shape == (6, 5) and net(x).shape == x.shape
    assert torch.equal(net(x).flatten(1), net.features(x, "reconstruction"))
    hidden = net.features(x, "hidden1")
    assert torch.allclose(net.encoder[-1](hidden), net.features(x, "bottleneck"))
    assert torch.equal(FeatureMap(net, "hidden1")(x), hidden)
    with pytest.raises(ValueError, match="layer must be one of"):
        net.features(x, "hidden9")
    with pytest.raises(ValueError, match="x must be"):
        net.features(images(size=4))


def test_a_denoiser_learns_to_fill_in_from_the_clean_picture():
    x = torch.zeros(64, 3, 8, 8)
    x[:, 0] = torch.linspace(0, 1, 64)[:, None, None]
    net = autoencoder()
    losses = train_denoiser(net, x, 150, seed=0, batch=32, learning_rate=1e-2)
    assert losses.shape == (150,) and losses[-20:].mean() < 0.1 * losses[:5].mean()
    assert not net.training
    masked, mask = mask_rectangles(x, g("new"))
    filled = squared_error(net(masked) * mask, x * mask).sum()
    assert filled < 0.3 * squared_error(masked * mask, x * mask).sum(), "what is hidden comes back"


def test_perceptual_loss_of_identity_and_linear_maps_is_the_closed_form():
    x, xhat = images().double(), images(name="other").double()
    assert torch.allclose(perceptual_loss(x, xhat), (x - xhat).square().sum(dim=(1, 2, 3)))
    assert torch.allclose(perceptual_loss(x, xhat, nn.Identity().eval()), perceptual_loss(x, xhat))
    w = torch.randn(192, 4, generator=g("w"), dtype=torch.float64)
    linear = lambda rows: rows.flatten(1) @ w
    expected = ((xhat - x).flatten(1) @ w).square().sum(dim=1)
    assert torch.allclose(perceptual_loss(x, xhat, linear), expected, rtol=1e-12)
    hidden = torch.linalg.svd(w.T, full_matrices=True)[2][10]  # a direction that W does not see
    moved = xhat + hidden.view(3, 8, 8)
    assert torch.allclose(perceptual_loss(x, moved, linear), expected, rtol=1e-9)
    assert (perceptual_loss(x, x, linear) == 0).all()


def test_the_gradient_goes_through_the_features_and_not_into_them():
    net = FeatureMap(autoencoder()).eval()  # its parameters still ask for a gradient
    x, xhat = images().requires_grad_(), images(name="other").requires_grad_()
    perceptual_loss(x, xhat, net).sum().backward()
    assert xhat.grad.abs().sum() > 0 and x.grad is None
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    # The gradient is 2 (J(xhat) - J(x)) dJ/dxhat, by finite differences along a random direction.
    direction = images(name="direction") - 0.5
    double = FeatureMap(autoencoder().double()).eval()
    a, b, d = x.detach().double(), xhat.detach().double(), direction.double()
    step = (perceptual_loss(a, b + 1e-6 * d, double) - perceptual_loss(a, b - 1e-6 * d, double)).sum() / 2e-6
    assert float((xhat.grad.double() * d).sum()) == pytest.approx(float(step), rel=1e-3)


def test_a_feature_map_in_training_mode_and_misfits_are_refused():
    net, x = FeatureMap(autoencoder()), images()
    with pytest.raises(ValueError, match="training mode"):
        perceptual_loss(x, x, net)
    assert perceptual_loss(x, x, freeze(net)).shape == (6,)
    assert not any(p.requires_grad for p in net.parameters())
    with pytest.raises(ValueError, match="one shape"):
        perceptual_loss(x, x[:3])
    with pytest.raises(ValueError, match="one row per image"):
        perceptual_loss(x, x, lambda rows: rows.sum(dim=0))
    with pytest.raises(TypeError, match="function or a module"):
        perceptual_loss(x, x, "bottleneck")


def test_the_vision_loss_adds_beta_times_the_kl():
    x, xhat = images(), images(name="other")
    mu, logvar = torch.randn(6, 4, generator=g("mu")), torch.randn(6, 4, generator=g("lv"))
    found = darla_vision_loss(x, xhat, mu, logvar, None, 3.0)
    assert torch.allclose(found, squared_error(xhat, x).mean() + 3 * gaussian_kl(mu, logvar).sum(1).mean())
    with pytest.raises(ValueError, match="beta"):
        darla_vision_loss(x, xhat, mu, logvar, None, -1.0)


def test_the_scale_makes_both_losses_one_size():
    x = images(50).double()
    features = lambda rows: 3 * rows.flatten(1)
    assert equal_variance_scale(x, None) == pytest.approx(1)
    assert equal_variance_scale(x, features) == pytest.approx(1 / 9)
    with pytest.raises(ValueError, match="nothing to scale"):
        equal_variance_scale(x, lambda rows: torch.zeros(len(rows), 2))


def test_a_job_ends_where_it_ends_alone_and_learns():
    x = images(80)
    jobs = [VisionJob(x, beta, seed) for beta, seed in ((0.1, 0), (0.1, 1), (5.0, 0))]
    options = {"latent_dim": 3, "hidden": (16, 16), "batch": 32}
    together = train_vision(jobs, 20, **options)
    alone = train_vision(jobs[1:2], 20, **options)[0]
    for a, b in zip(together[1].parameters(), alone.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    flat = torch.linspace(0, 1, 80)[:, None, None, None].expand(80, 3, 8, 8).contiguous()
    model = train_vision([VisionJob(flat, 0.1, 0)], 200, **options)[0]
    wrong = squared_error(torch.sigmoid(model(flat)[0]), flat).mean()
    assert wrong < 0.2 * squared_error(flat.mean(dim=0).expand_as(flat), flat).mean()


def test_bad_jobs_are_refused():
    for jobs, words in (
        ([], "empty"),
        ([VisionJob(images(), -1.0, 0)], "beta"),
        ([VisionJob(images(), 1.0, 0)], "at least 64 pictures"),
        ([VisionJob(images(80), 1.0, 0), VisionJob(images(80, size=4), 1.0, 0)], "one size"),
    ):
        with pytest.raises(ValueError, match=words):
            train_vision(jobs, 1)


def test_codes_are_means_of_a_frozen_encoder_of_the_right_width():
    model, x = mlp_vae((3, 8, 8), 4, (8,), generator=g("vae")), images()
    with pytest.raises(ValueError, match="training mode"):
        frozen_codes(model, x)
    codes = frozen_codes(freeze(model), x, 4)
    assert torch.equal(codes, model.encode(x)[0]) and not codes.requires_grad
    with pytest.raises(ValueError, match="agent was built for 5"):
        frozen_codes(model, x, 5)
    with pytest.raises(TypeError, match="VAE"):
        frozen_codes(nn.Identity(), x)


def test_codes_are_standardised_by_the_reference():
    reference = torch.randn(400, 2, generator=g("r")) * torch.tensor([3.0, 0.0]) + 7
    done = standardise_by(reference, reference)
    assert done[:, 0].mean().abs() < 1e-5 and float(done[:, 0].std()) == pytest.approx(1)
    assert (done[:, 1] == 0).all()
    assert np.allclose(standardise_by(reference + 3.0, reference)[:, 1], 3.0)
    with pytest.raises(ValueError, match="one width"):
        standardise_by(reference, reference[:, :1])


def test_the_training_is_the_loss_step_by_step():
    """The same training in plain PyTorch, one network, in double precision."""
    x, scale, beta, steps = images(60, name="loop").double(), 0.7, 0.3, 8
    job = VisionJob(x, beta, 4)
    (ours,) = train_vision([job], steps, scale=scale, latent_dim=3, hidden=(16,), batch=16, learning_rate=1e-2)
    net = he_vae((3, 8, 8), 3, (16,), torch_generator(4, "vision", "weights")).double()
    order, noise = ShuffledBatches(60, 16, 4), torch_generator(4, "vision", "noise")
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 1e-2 * flat_then_linear(step / steps)
        picture = x[order(step)]
        mu, logvar = net.encode(picture)
        z = mu + logvar.exp().sqrt() * draw_noise([noise], mu[None])[0]
        error = (torch.sigmoid(net.decode(z)) - picture).square().flatten(1).sum(dim=1)
        kl = (mu.square() + logvar.exp() - logvar - 1).sum(dim=1) / 2
        optimiser.zero_grad()
        (scale * error + beta * kl).mean().backward()
        optimiser.step()
    assert flat_then_linear((steps - 1) / steps) < 1  # the rate did fall
    for a, b in zip(ours.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
