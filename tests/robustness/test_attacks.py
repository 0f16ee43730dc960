"""Attacks against closed forms: linear models, exact expectations, and a slow loop written from the papers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from workings.robustness.attacks import (
    attack_gradient,
    cross_entropy_loss,
    eot_gradient,
    fgsm,
    fgsm_step,
    margin_loss,
    pgd_linf,
    random_search_linf,
    spsa_gradient,
)
from workings.robustness.closed_forms import pathwise_jacobian
from workings.robustness.evaluation import gradient_alignment
from workings.robustness.layers import configure, insert_sap
from workings.robustness.networks import digits_cnn
from workings.robustness.sap import stochastic_activation_pruning
from workings.seeding import torch_generator

steady = settings(derandomize=True, deadline=None, max_examples=50)


def linear_model(inputs=6, classes=3):
    model = nn.Linear(inputs, classes, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.randn(classes, inputs, generator=torch_generator(0, "w"), dtype=torch.float64))
    return model


def middle(n=5, inputs=6):
    """Points well inside the box, and labels."""
    x = 0.3 + 0.4 * torch.rand(n, inputs, generator=torch_generator(0, "x"), dtype=torch.float64)
    return x, torch.arange(n) % 3


@steady
@given(st.lists(st.lists(st.floats(-50, 50), min_size=4, max_size=4), min_size=1, max_size=3), st.floats(-30, 30))
def test_the_margin_is_the_best_other_logit_minus_the_true_one_and_ignores_shifts(rows, shift):
    z = torch.tensor(rows, dtype=torch.float64)
    y = torch.arange(len(rows)) % 4
    expected = torch.tensor([max(v for k, v in enumerate(r) if k != t) - r[t] for r, t in zip(rows, y, strict=True)])
    torch.testing.assert_close(margin_loss(z, y).float(), expected.float())
    torch.testing.assert_close(margin_loss(z + shift, y), margin_loss(z, y), rtol=0, atol=1e-12 * 80)
    wrong = z.argmax(dim=1) != y
    assert (margin_loss(z, y)[wrong] >= 0).all() and (margin_loss(z, y)[~wrong] <= 0).all()


@pytest.mark.parametrize("loss", [margin_loss, cross_entropy_loss])
@pytest.mark.parametrize(
    ("logits", "y", "message"),
    [
        (torch.zeros(2, 1), torch.zeros(2, dtype=torch.long), "K = 1 class"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "0..2"),
        (torch.zeros(2, 3), torch.tensor([-1, 0]), "0..2"),
        (torch.zeros(2, 3), torch.tensor([0, 1, 2]), "labels must be"),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.0]), "integers"),
        (torch.zeros(3), torch.tensor([0]), r"\(B, K\)"),
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), "non-empty"),
    ],
)
def test_losses_refuse_one_class_and_labels_out_of_range(loss, logits, y, message):
    with pytest.raises(ValueError, match=message):
        loss(logits, y)


def test_fgsm_on_a_linear_model_follows_the_exact_gradient():
    model, (x, y) = linear_model(), middle()
    # d cross-entropy / dx = W^T (softmax(z) - onehot(y))
    exact = (model(x).softmax(1) - nn.functional.one_hot(y, 3)) @ model.weight
    torch.testing.assert_close(fgsm(model, x, y, 0.1), x + 0.1 * exact.sign(), rtol=1e-15, atol=0)


def test_fgsm_with_radius_zero_returns_x_and_otherwise_stays_in_the_box():
    model, (x, y) = linear_model(), middle()
    assert torch.equal(fgsm(model, x, y, 0.0), x)
    far = fgsm(model, x, y, 5.0)
    assert far.min() == 0 and far.max() == 1
    wide = fgsm(model, x * 255, y, 8.0, clip=(0.0, 255.0))
    assert wide.max() > 8 and (wide - x * 255).abs().max() <= 8 + 1e-12


def test_one_gradient_serves_every_radius():
    model, (x, y) = linear_model(), middle()
    gradient = attack_gradient(model, "cross-entropy")(x, y)
    for eps in (0.0, 0.05, 0.4):
        assert torch.equal(fgsm_step(x, gradient, eps), fgsm(model, x, y, eps))


@pytest.mark.parametrize("optimizer", ["sign", "sign-adam"])
@pytest.mark.parametrize("random_start", [False, True])
def test_pgd_reaches_the_best_corner_of_a_linear_two_class_problem(optimizer, random_start):
    model = linear_model(classes=2)
    x, _ = middle()
    y = torch.tensor([0, 1, 0, 1, 0])
    eps = 0.1
    adv = pgd_linf(
        attack_gradient(model, "margin"),
        x,
        y,
        eps,
        0.05,
        40,
        random_start=random_start,
        optimizer=optimizer,
        generator=torch_generator(0, "s"),
    )
    w = model.weight.detach()
    torch.testing.assert_close(adv, x + eps * (w[1 - y] - w[y]).sign(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sign", "sign-adam"])
def test_every_iterate_stays_in_the_box_and_in_the_ball(optimizer):
    net = insert_sap(digits_cnn(torch_generator(0, "net")).eval(), generator=torch_generator(0, "m"))
    x = torch.rand(6, 1, 8, 8, generator=torch_generator(0, "x"))
    y = torch.arange(6)
    seen = []
    out = pgd_linf(
        attack_gradient(net, samples=2),
        x,
        y,
        0.2,
        0.07,
        8,
        random_start=True,
        optimizer=optimizer,
        generator=torch_generator(0, "start"),
        on_step=lambda t, a: seen.append((t, a.clone())),
    )
    assert [t for t, _ in seen] == list(range(1, 9)) and torch.equal(seen[-1][1], out)
    for _, adv in seen:
        assert (adv - x).abs().max() <= 0.2 + 1e-6 and adv.min() >= 0 and adv.max() <= 1
    assert (out - x).abs().max() > 0.15


@pytest.mark.parametrize("optimizer", ["sign", "sign-adam"])
def test_radius_zero_or_no_steps_return_x(optimizer):
    model, (x, y) = linear_model(), middle()
    grad = attack_gradient(model)
    assert torch.equal(pgd_linf(grad, x, y, 0.0, 0.1, 5, random_start=True, optimizer=optimizer), x)
    assert torch.equal(pgd_linf(grad, x, y, 0.1, 0.1, 0), x)


def slow_pgd(model, x, y, eps, alpha, steps):
    """Madry et al. written out for one example at a time; also the update that torchattacks' PGD makes."""
    out = []
    for image, label in zip(x, y, strict=True):
        adv = image.clone()
        for _ in range(steps):
            adv = adv.detach().requires_grad_(True)
            loss = nn.functional.cross_entropy(model(adv[None]), label[None])
            (grad,) = torch.autograd.grad(loss, adv)
            delta = torch.clamp(adv.detach() + alpha * grad.sign() - image, min=-eps, max=eps)
            adv = torch.clamp(image + delta, min=0, max=1)
        out.append(adv)
    return torch.stack(out)


def test_pgd_equals_a_slow_loop_on_a_deterministic_network():
    net = digits_cnn(torch_generator(1, "net")).eval()
    x = torch.rand(5, 1, 8, 8, generator=torch_generator(0, "x"))
    y = torch.arange(5)
    ours = pgd_linf(attack_gradient(net, "cross-entropy"), x, y, 0.1, 0.03, 6)
    # Batched and single convolutions round differently; a flipped sign would be 0.03 or more.
    torch.testing.assert_close(ours, slow_pgd(net, x, y, 0.1, 0.03, 6), rtol=0, atol=1e-6)
    assert torch.equal(fgsm(net, x, y, 0.1), pgd_linf(attack_gradient(net, "cross-entropy"), x, y, 0.1, 0.1, 1))


def test_iterates_equal_those_of_torchattacks():
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks lives in the benchmark environment")
    net = digits_cnn(torch_generator(1, "net")).eval()
    x = torch.rand(5, 1, 8, 8, generator=torch_generator(0, "x"))
    y = torch.arange(5)
    peers = {
        "FGSM": (torchattacks.FGSM(net, eps=0.1), fgsm(net, x, y, 0.1)),
        "PGD": (
            torchattacks.PGD(net, eps=0.1, alpha=0.03, steps=6, random_start=False),
            pgd_linf(attack_gradient(net, "cross-entropy"), x, y, 0.1, 0.03, 6),
        ),
        "EOTPGD": (
            torchattacks.EOTPGD(net, eps=0.1, alpha=0.03, steps=6, eot_iter=2, random_start=False),
            pgd_linf(attack_gradient(net, "cross-entropy", 2), x, y, 0.1, 0.03, 6),
        ),
    }
    for name, (attack, ours) in peers.items():
        assert (attack(x, y) - ours).abs().max() < 1e-6, name


def test_sign_adam_is_adam_fed_with_signs():
    # Reference: torch's own Adam on the same signs, unconstrained.
    signs = [torch.tensor([[1.0, -1.0, 1.0]]), torch.tensor([[1.0, 1.0, -1.0]]), torch.tensor([[-1.0, 1.0, 0.0]])]
    stream = iter(signs)
    ours = pgd_linf(
        lambda x, y: next(stream), torch.full((1, 3), 0.5), torch.zeros(1), 0.5, 0.01, 3, optimizer="sign-adam"
    )
    theirs = torch.full((1, 3), 0.5, requires_grad=True)
    adam = torch.optim.Adam([theirs], lr=0.01, maximize=True)
    for sign in signs:
        theirs.grad = sign.clone()
        adam.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-6)


def test_sign_adam_damps_steps_whose_sign_keeps_flipping():
    flip = {"n": 0}

    def grad(x, y):
        flip["n"] += 1
        return torch.tensor([[1.0, (-1.0) ** flip["n"]]])

    moves = []
    start = torch.full((1, 2), 0.5)
    pgd_linf(
        grad, start, torch.zeros(1), 0.5, 0.01, 20, optimizer="sign-adam", on_step=lambda t, a: moves.append(a.clone())
    )
    last = (moves[-1] - moves[-2]).abs()[0]
    assert last[0] == pytest.approx(0.01, rel=1e-3) and last[1] < 0.002


def test_nan_gradients_count_as_zero():
    grad = lambda x, y: torch.tensor([[math.nan, 1.0]])
    out = pgd_linf(grad, torch.full((1, 2), 0.5), torch.zeros(1), 0.1, 0.1, 3)
    torch.testing.assert_close(out, torch.tensor([[0.5, 0.6]]))

    def loss(x):
        return (x[:, 0] * 0).sqrt() + x[:, 1]  # sqrt'(0) * 0 is NaN

    found = eot_gradient(loss, torch.ones(3, 2), 2)
    assert found.nans == 6 and torch.equal(found.mean, torch.tensor([[0.0, 1.0]]).expand(3, 2))


def test_random_starts_fill_the_ball_and_repeat_with_the_seed():
    x = torch.full((2000, 3), 0.5)
    start = lambda seed: pgd_linf(
        lambda a, y: a, x, None, 0.2, 0.0, 1, random_start=True, generator=torch_generator(seed, "s")
    )
    one = start(0) - x
    assert torch.equal(one, start(0) - x) and not torch.equal(one, start(1) - x)
    assert one.abs().max() <= 0.2 + 1e-6 and one.min() < -0.195 and one.max() > 0.195
    assert abs(float(one.mean())) < 5 * 0.2 / math.sqrt(3 * 6000)


def sap_then_linear(weight, fraction, rule, g):
    """Loss that is linear after SAP: its expectation has the dense gradient ``weight`` exactly."""
    return lambda h: (stochastic_activation_pruning(h, fraction, rule, g) * weight).sum(dim=1)


H = torch.tensor([[2.0, -1.0, 0.5, 0.25, 3.0, 1.0]], dtype=torch.float64)
V = torch.tensor([[1.0, -2.0, 0.5, 3.0, 1.0, -1.0]], dtype=torch.float64)


def test_under_the_identity_rule_one_sample_is_the_dense_gradient():
    found = eot_gradient(sap_then_linear(V, 0.5, "identity", torch_generator(0, "e")), H, 1)
    assert torch.equal(found.mean, V) and found.variance is None and found.nans == 0
    assert eot_gradient(sap_then_linear(V, 0.5, "identity", torch_generator(0, "e")), H, 5).variance.abs().max() == 0


def test_under_the_mask_rule_the_error_falls_as_one_over_root_k():
    loss = sap_then_linear(V.expand(3000, 6), 1.0, "mask", torch_generator(0, "mask"))
    errors = {}
    for k in (1, 4, 16, 64):
        errors[k] = float((eot_gradient(loss, H.expand(3000, 6), k).mean - V).square().mean().sqrt())
    for k in (1, 4, 16):
        # The root mean square of 3000 rows is known to about 3%.
        assert errors[k] / errors[4 * k] == pytest.approx(2.0, rel=0.15)


def test_under_the_pathwise_rule_averaging_converges_to_the_wrong_vector():
    found = eot_gradient(
        sap_then_linear(V.expand(4000, 6), 0.5, "pathwise", torch_generator(0, "pw")), H.expand(4000, 6), 10
    )
    mean = found.mean.mean(dim=0)
    error = found.mean.std(dim=0) / math.sqrt(4000)
    wrong = pathwise_jacobian(H, 3)[0].T @ V[0]
    assert ((mean - wrong).abs() < 5 * error).all()
    assert ((mean - V[0]).abs() > 20 * error).any()


def test_the_variance_is_that_of_a_single_sample():
    noise = torch_generator(0, "noise")
    loss = lambda x, g: (x * (1 + 2 * torch.randn(x.shape, generator=g, dtype=x.dtype))).sum(dim=1)
    found = eot_gradient(loss, torch.zeros(400, 5, dtype=torch.float64), 50, noise)
    # 2000 coordinates of variance 4 from 50 samples each: standard error 4 sqrt(2 / 49 / 2000) = 0.018.
    assert float(found.variance.mean()) == pytest.approx(4.0, abs=0.09)
    assert float(found.mean.mean()) == pytest.approx(1.0, abs=5 * 2 / math.sqrt(50 * 2000))


def test_eot_averages_gradients_not_logits():
    # loss (b x)^2 with b = +-1: the gradient is 2x in every pass; the loss of the averaged output has gradient 0.
    signs = iter([1.0, -1.0] * 4)
    found = eot_gradient(lambda x: (next(signs) * x[:, 0]).square(), torch.full((2, 1), 3.0), 8)
    assert torch.equal(found.mean, torch.full((2, 1), 6.0))


def test_attack_gradient_leaves_model_and_input_alone():
    net = insert_sap(digits_cnn(torch_generator(0, "net")).eval(), generator=torch_generator(0, "m"))
    x = torch.rand(3, 1, 8, 8, generator=torch_generator(0, "x"))
    copy = x.clone()
    grad = attack_gradient(net, samples=3)(x, torch.arange(3))
    assert grad.shape == x.shape and not grad.requires_grad
    assert torch.equal(x, copy) and not x.requires_grad
    assert all(p.grad is None for p in net.parameters()) and not net.training


def test_attacks_work_inside_no_grad():
    model, (x, y) = linear_model(), middle()
    with torch.no_grad():
        inside = fgsm(model, x, y, 0.1)
    assert torch.equal(inside, fgsm(model, x, y, 0.1))


def test_the_backward_rule_changes_the_attack_and_nothing_else():
    net = insert_sap(digits_cnn(torch_generator(0, "net")).eval())
    x = torch.rand(8, 1, 8, 8, generator=torch_generator(0, "x"))
    y = torch.arange(8)
    found = {}
    for rule in ("mask", "identity", "pathwise"):
        configure(net, backward=rule, generator=torch_generator(0, "m"))
        assert torch.equal(net(x), configure(net, generator=torch_generator(0, "m"))(x))
        configure(net, generator=torch_generator(0, "m"))
        found[rule] = attack_gradient(net)(x, y)
    assert not torch.equal(found["mask"], found["identity"]) and not torch.equal(found["mask"], found["pathwise"])


def test_random_search_never_gets_worse_and_finds_a_linear_problems_corner():
    model = linear_model(classes=2)
    x, _ = middle()
    y = torch.tensor([0, 1, 0, 1, 0])
    score = lambda point, label: margin_loss(model(point), label).detach()
    found = random_search_linf(score, x, y, 0.1, 400, generator=torch_generator(0, "r"))  # 64 corners
    w = model.weight.detach()
    torch.testing.assert_close(found, x + 0.1 * (w[1 - y] - w[y]).sign(), rtol=0, atol=1e-12)
    assert torch.equal(random_search_linf(score, x, y, 0.1, 0), x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": -0.1}, "eps"),
        ({"eps": math.nan}, "eps"),
        ({"clip": (1.0, 0.0)}, "swap its ends"),
        ({"clip": (0.0, 0.5)}, r"box \[0, 0.5\]"),
    ],
)
def test_a_negative_radius_a_reversed_box_and_points_outside_are_refused(options, message):
    model, (x, y) = linear_model(), middle()
    given_options = {"eps": 0.1, **options}
    with pytest.raises(ValueError, match=message):
        fgsm(model, x, y, **given_options)
    with pytest.raises(ValueError, match=message):
        pgd_linf(attack_gradient(model), x, y, step=0.1, steps=2, **given_options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x, y: fgsm(m, x, y, 0.1, 0), ValueError, "samples"),
        (lambda m, x, y: fgsm(m, x, y, 0.1, loss="hinge"), ValueError, "'margin', 'cross-entropy'"),
        (lambda m, x, y: fgsm(m, x, y + 5, 0.1), ValueError, "0..2"),
        (lambda m, x, y: fgsm(m, x[0], y, 0.1), ValueError, "batch"),
        (lambda m, x, y: fgsm_step(x, x[:, :2], 0.1), ValueError, "shape of x"),
        (lambda m, x, y: pgd_linf(attack_gradient(m), x, y, 0.1, -0.1, 2), ValueError, "step"),
        (lambda m, x, y: pgd_linf(attack_gradient(m), x, y, 0.1, 0.1, 2, optimizer="adam"), ValueError, "optimizer"),
        (lambda m, x, y: pgd_linf(attack_gradient(m), x, y, 0.1, 0.1, 2.0), TypeError, "steps"),
        (lambda m, x, y: eot_gradient(lambda p: m(p).sum(), x, 1), ValueError, "one number per example"),
    ],
)
def test_other_bad_input_is_refused(call, error, message):
    model, (x, y) = linear_model(), middle()
    with pytest.raises(error, match=message):
        call(model, x, y)


def test_attack_gradient_is_the_eot_mean():
    net = insert_sap(digits_cnn(torch_generator(0, "net")).eval())
    x, y = torch.rand(3, 1, 8, 8, generator=torch_generator(0, "x")), torch.arange(3)
    configure(net, generator=torch_generator(0, "m"))
    quick = attack_gradient(net, "cross-entropy", 5)(x, y)
    configure(net, generator=torch_generator(0, "m"))
    full = eot_gradient(lambda point: cross_entropy_loss(net(point), y), x, 5)
    torch.testing.assert_close(quick, full.mean, rtol=1e-5, atol=1e-8)  # two orders of summing five float32 numbers
    bad = attack_gradient(lambda point: (point[:, :2] * 0).sqrt() + point[:, :2], samples=2)
    assert torch.equal(bad(torch.ones(1, 2), torch.tensor([0])), torch.zeros(1, 2))


def test_labels_are_checked_anew_when_they_change_between_the_steps_of_an_attack():
    model, (x, y) = linear_model(), middle()
    grad_fn = attack_gradient(model, "cross-entropy")
    first = grad_fn(x, y)
    assert torch.equal(grad_fn(x, y), first)  # the second call takes the unchecked path
    with pytest.raises(ValueError, match=r"0\.\.2"):
        grad_fn(x, y + 5)
    y.add_(5)
    with pytest.raises(ValueError, match=r"0\.\.2"):
        grad_fn(x, y)


@pytest.mark.parametrize("loss", ["margin", "cross-entropy"])
def test_the_gradient_is_the_same_with_and_without_the_check_of_labels(loss):
    net = digits_cnn(torch_generator(0, "net")).eval()
    x, y = torch.rand(3, 1, 8, 8, generator=torch_generator(0, "x")), torch.arange(3)
    grad_fn = attack_gradient(net, loss)
    assert torch.equal(grad_fn(x, y), grad_fn(x, y))


def test_spsa_finds_the_gradient_of_a_smooth_deterministic_network():
    # The noise of 4,000 directions in 64 dimensions is about sqrt(64 / 4000) = 0.13 of the gradient: a cosine of 0.99.
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(10, 64, generator=torch_generator(3, "w")))
    x = torch.rand(3, 1, 8, 8, generator=torch_generator(1, "images"), dtype=torch.float64)
    y = torch.arange(3)
    point = x.clone().requires_grad_(True)
    (exact,) = torch.autograd.grad(margin_loss(model(point), y).sum(), point)
    found = spsa_gradient(model, x, y, 4000, 1e-3, torch_generator(4, "u"))
    assert gradient_alignment(found, exact).min() > 0.97
    assert (found.norm() / exact.norm() - 1).abs() < 0.1


def test_spsa_is_exact_in_one_dimension_and_sees_the_mean_of_a_random_network():
    """One pixel, f(x) = (0, s x) with a fresh s = 1 or 3: the expected margin of class 0 has slope 2."""

    class Noisy(nn.Module):
        source = torch_generator(5, "slopes")

        def forward(self, x):
            slope = 1 + 2 * torch.randint(0, 2, (len(x), 1), generator=self.source).double()
            return torch.cat([torch.zeros_like(x), slope * x], dim=1)

    x, y = torch.full((1, 1), 0.5, dtype=torch.float64), torch.tensor([0])
    found = spsa_gradient(Noisy(), x, y, 20_000, 0.1, torch_generator(6, "u"))
    # A pair at 0.6 and 0.4 has slopes s, s': (0.6 s - 0.4 s') / 0.2, variance (0.36 + 0.16) / 0.04 = 13; 5 sigma = 0.13.
    assert abs(float(found) - 2) < 0.13


@pytest.mark.parametrize(("pairs", "width", "message"), [(0, 0.1, "pairs"), (1, 0.0, "width"), (1, -1.0, "width")])
def test_spsa_refuses_no_pairs_and_no_width(pairs, width, message):
    with pytest.raises(ValueError, match=message):
        spsa_gradient(nn.Flatten(), torch.zeros(1, 2), torch.tensor([0]), pairs, width, torch_generator(0, "u"))
