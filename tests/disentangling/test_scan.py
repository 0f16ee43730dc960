"""SCAN: the closed forms of the best Gaussian, the loss, the frozen vision model, and the trained symbols."""

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from workings.disentangling import scan
from workings.disentangling.concepts import khot
from workings.disentangling.networks import freeze, mlp_vae
from workings.disentangling.objectives import bernoulli_nll, gaussian_kl, kl_diag_gaussians
from workings.disentangling.scan import (
    Gaussian,
    Pairs,
    ScanJob,
    code_pictures,
    forward_optimum,
    matched_gaussian,
    reversed_optimum,
    scan_loss,
    symbol_vae,
    train_scans,
)
from workings.seeding import torch_generator

MU = torch.tensor([[-1.2], [-0.4], [0.3], [1.3]], dtype=torch.float64)
LOGVAR = torch.tensor([[0.04], [0.01], [0.09], [0.02]], dtype=torch.float64).log()
SIZES = (4, 3)


def normal(*shape, name="normal"):
    return torch.randn(*shape, generator=torch_generator(0, "scan tests", name), dtype=torch.float64)


def descend(mu, logvar, lam, beta, direction):
    """The Gaussian that gradient descent on scan_loss finds, without the symbol's likelihood."""
    n, m = mu.shape
    free = [torch.zeros(m, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    silent = torch.zeros(n, 1, dtype=torch.float64)
    optimiser = torch.optim.LBFGS(free, max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe")  # fmt: skip

    def closure():
        optimiser.zero_grad()
        q_y = tuple(part.expand(n, m) for part in free)
        loss = scan_loss(silent, silent, q_y, (mu, logvar), beta, lam, direction)
        loss.backward()
        return loss

    optimiser.step(closure)
    return Gaussian(*(part.detach() for part in free))


def test_the_four_numbers_of_the_small_example():
    variance = lambda q: q.logvar.exp().item()
    assert variance(matched_gaussian(MU, LOGVAR)) == pytest.approx(0.8850, abs=5e-5)
    assert variance(forward_optimum(MU, LOGVAR, lam=10.0, beta=1.0)) == pytest.approx(0.8944, abs=5e-5)
    assert variance(forward_optimum(MU, LOGVAR)) == pytest.approx(0.8850, abs=5e-5)
    assert variance(forward_optimum(MU, LOGVAR, lam=1.0, beta=1.0)) == pytest.approx(0.9407, abs=5e-5)
    assert variance(reversed_optimum(MU, LOGVAR)) == pytest.approx(0.0215, abs=5e-5)


@pytest.mark.parametrize(("lam", "beta"), [(1.0, 0.0), (10.0, 1.0), (1.0, 1.0), (1.0, 10.0)])
@pytest.mark.parametrize("direction", ["forward", "reversed"])
def test_gradient_descent_on_the_loss_finds_the_closed_forms(direction, lam, beta):
    mu, logvar = 1.5 * normal(12, 3, name="mu") + 0.4, normal(12, 3, name="logvar") - 2.0
    found = descend(mu, logvar, lam, beta, direction)
    formula = (forward_optimum if direction == "forward" else reversed_optimum)(mu, logvar, lam, beta)
    assert torch.allclose(found.mu, formula.mu, atol=1e-5)
    assert torch.allclose(found.logvar, formula.logvar, atol=1e-5)


@pytest.mark.parametrize(("lam", "beta"), [(0.1, 1.0), (1.0, 10.0), (7.0, 2.0)])
def test_what_is_like_the_prior_stays_like_the_prior_at_any_weights(lam, beta):
    mu = torch.tensor([[-0.6], [0.6]], dtype=torch.float64)
    logvar = torch.full_like(mu, 0.64).log()  # 0.64 + 0.36 = 1
    found = forward_optimum(mu, logvar, lam, beta)
    assert found.mu.abs().max() < 1e-9 and found.logvar.abs().max() < 1e-6


def test_no_weight_on_the_pictures_leaves_the_prior():
    for optimum in (forward_optimum, reversed_optimum):
        found = optimum(MU, LOGVAR, lam=0.0, beta=2.0)
        assert found.mu.abs().max() < 1e-9 and found.logvar.abs().max() < 1e-6


def test_pictures_teach_no_more_than_their_matched_gaussian():
    mu, logvar = normal(9, 4, name="codes"), normal(9, 4, name="widths") - 1
    matched = matched_gaussian(mu, logvar)
    gaps = []
    for i in range(3):
        q = (normal(4, name=f"q{i}"), normal(4, name=f"r{i}"))
        to_all = kl_diag_gaussians(mu, logvar, *(part.expand(9, 4) for part in q)).mean(0)
        gaps.append(to_all - kl_diag_gaussians(*(part[None] for part in (*matched, *q)))[0])
    assert torch.allclose(gaps[0], gaps[1]) and torch.allclose(gaps[0], gaps[2])


def test_the_loss_is_its_three_terms_and_the_order_matters():
    logits, y = normal(5, 7), (normal(5, 7, name="y") > 0).double()
    q_y, q_x = (normal(5, 3, name="a"), normal(5, 3, name="b")), (normal(5, 3, name="c"), normal(5, 3, name="d"))
    as_torch = lambda q: Independent(Normal(q[0], torch.exp(q[1] / 2)), 1)
    rest = bernoulli_nll(logits, y) + 2.0 * gaussian_kl(*q_y).sum(1)
    forward = (rest + 3.0 * kl_divergence(as_torch(q_x), as_torch(q_y))).mean()
    backward = (rest + 3.0 * kl_divergence(as_torch(q_y), as_torch(q_x))).mean()
    assert torch.isclose(scan_loss(logits, y, q_y, q_x, 2.0, 3.0), forward)
    assert torch.isclose(scan_loss(logits, y, q_y, q_x, 2.0, 3.0, "reversed"), backward)
    assert not torch.isclose(forward, backward)


def test_a_symbol_that_names_nothing_is_answered_by_the_biases_and_costs_what_holds_of_nothing():
    model = symbol_vae(SIZES, 2, generator=torch_generator(0, "nothing"))
    first, last = model.encoder.linears
    with torch.no_grad():
        first.bias.copy_(normal(100, name="bias"))
    q = model.encode(torch.zeros(3, 7))
    expected = last(torch.relu(first.bias))
    assert torch.allclose(torch.cat(q, dim=1), expected.expand(3, 4), atol=1e-6)
    # The loss: softplus for each place that is not named, and the two KLs as for any symbol.
    logits, q_y, q_x = normal(5, 7), [normal(5, 2, name=n) for n in "ab"], [normal(5, 2, name=n) for n in "cd"]
    rest = 2.0 * gaussian_kl(*q_y).sum(1) + 3.0 * kl_diag_gaussians(*q_x, *q_y).sum(1)
    loss = scan_loss(logits, torch.zeros_like(logits), q_y, q_x, 2.0, 3.0)
    assert torch.isclose(loss, (torch.log1p(logits.exp()).sum(1) + rest).mean())


@pytest.mark.parametrize("direction", ["forward", "reversed"])
def test_no_gradient_reaches_the_vision_model(direction):
    q_x = [normal(4, 2, name=n).requires_grad_() for n in "ab"]
    q_y = [normal(4, 2, name=n).requires_grad_() for n in "cd"]
    logits = normal(4, 7).requires_grad_()
    scan_loss(logits, torch.zeros(4, 7, dtype=torch.float64), q_y, q_x, direction=direction).backward()
    assert all(part.grad is None for part in q_x)
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in (*q_y, logits))


def made_up_pairs(n=600):
    """Codes in which latent 0 follows the first attribute, latent 1 the second, and latent 2 nothing."""
    shown = torch.stack([torch.arange(n) % 4, torch.arange(n) // 4 % 3], dim=1)
    spread = normal(n, 3, name="spread").float()
    mu = torch.stack([0.8 * shown[:, 0] - 1.2, 1.1 * (shown[:, 1] - 1.0), 0.95 * spread[:, 2]], dim=1)
    mu[:, :2] += 0.1 * spread[:, :2]
    return Pairs(mu, torch.full_like(mu, 0.1).log(), shown)


def test_trained_symbols_are_narrow_where_they_speak_and_wide_elsewhere():
    pairs = made_up_pairs()
    forward, backward = train_scans(
        [ScanJob(pairs, 0), ScanJob(pairs, 0, direction="reversed")], SIZES, 1500, learning_rate=3e-3
    )
    symbols = torch.tensor([[0, -1], [3, -1], [-1, 0], [-1, 2]])
    q = forward.encode(khot(symbols, SIZES))
    for row, (symbol, said) in enumerate(zip(symbols, (0, 0, 1, 1), strict=True)):
        of = matched_gaussian(*(part[pairs.assignments[:, said] == symbol[said]] for part in pairs[:2]))
        best = forward_optimum(*(part[pairs.assignments[:, said] == symbol[said]] for part in pairs[:2]), 10.0, 1.0)
        # The likelihood of the symbol moves the optimum a little, and 1500 steps leave a little.
        assert (q.mu[row] - best.mu).abs().max() < 0.25
        assert (q.logvar[row] - best.logvar).abs().max() < 0.5
        assert q.deviation[row, said] < 0.5 < 0.7 < q.deviation[row, 1 - said]
        assert of.deviation[said] < 0.5
    narrow = backward.encode(khot(symbols, SIZES)).deviation
    assert narrow.max() < 0.5


def test_without_parts_every_symbol_is_a_full_description(monkeypatch):
    pairs, said = made_up_pairs(50), []
    keep = lambda labels, sizes: said.append(labels) or khot(labels, sizes)
    monkeypatch.setattr(scan, "khot", keep)
    train_scans([ScanJob(pairs, 0)], SIZES, 3, batch=20, hidden=10)
    assert bool((torch.cat(said) == -1).any())
    said.clear()
    train_scans([ScanJob(pairs, 0)], SIZES, 3, batch=20, hidden=10, parts=False)
    assert not bool((torch.cat(said) == -1).any())


@pytest.mark.parametrize("direction", ["forward", "reversed"])
def test_training_is_adam_on_the_loss_with_the_symbols_own_noise(monkeypatch, direction):
    pairs = made_up_pairs(64)
    y = khot(pairs.assignments, SIZES).float()
    monkeypatch.setattr(scan, "_Feed", lambda *_: lambda step: (pairs.mu, pairs.logvar, y))
    trained = train_scans([ScanJob(pairs, 3, 2.0, 0.5, direction)], SIZES, 5, hidden=10, learning_rate=0.05)[0]
    by_hand = symbol_vae(SIZES, 3, 10, generator=torch_generator(3, "scan", "weights"))
    optimiser, noise = torch.optim.Adam(by_hand.parameters(), lr=0.05), torch_generator(3, "scan", "noise")
    for _ in range(5):
        q = by_hand.encode(y)
        logits = by_hand.decode(q.mu + q.deviation * torch.randn(q.mu.shape, generator=noise))
        loss = scan_loss(logits, y, q, (pairs.mu, pairs.logvar), 0.5, 2.0, direction)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for a, b in zip(trained.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_a_job_does_not_depend_on_its_neighbours_and_repeats():
    pairs = made_up_pairs(50)
    jobs = [ScanJob(pairs, seed, lam) for seed, lam in ((0, 10.0), (1, 2.0))]
    both = train_scans(jobs, SIZES, 30, batch=64, hidden=10)
    alone = train_scans(jobs[1:], SIZES, 30, batch=64, hidden=10)
    for a, b in zip(both[1].parameters(), alone[0].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert not torch.allclose(next(both[0].parameters()), next(both[1].parameters()))


def test_vision_must_be_frozen_before_its_codes_are_kept():
    vision = mlp_vae((3, 4, 4), 3, (8,), generator=torch_generator(0))
    pictures, shown = torch.rand(5, 3, 4, 4, generator=torch_generator(1)), torch.zeros(5, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="still in training"):
        code_pictures(vision, pictures, shown)
    with pytest.raises(ValueError, match="still in training"):
        code_pictures(freeze(vision).train(), pictures, shown)
    pairs = code_pictures(freeze(vision), pictures, shown, batch=2)
    assert torch.allclose(pairs.mu, vision.encode(pictures)[0], atol=1e-6)
    with pytest.raises(ValueError, match="one assignment per picture"):
        code_pictures(vision, pictures, shown[:4])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: forward_optimum(MU, LOGVAR[:3]), r"\(N, M\)"),
        (lambda: forward_optimum(MU[:0], LOGVAR[:0]), "at least 1"),
        (lambda: forward_optimum(MU, LOGVAR, 0.0, 0.0), "both 0"),
        (lambda: reversed_optimum(MU, LOGVAR, -1.0), "lam"),
        (lambda: scan_loss(normal(2, 7), torch.zeros(2, 7).double(), (MU[:2], MU[:2]), (MU[:2], MU[:2]), direction="both"), "direction"),
        (lambda: scan_loss(normal(2, 7), torch.zeros(2, 7).double(), (normal(2, 3), normal(2, 3)), (MU[:2], MU[:2])), "as many latents"),
        (lambda: symbol_vae(SIZES, 3, generator=torch_generator(0)).encode(torch.zeros(2, 6)), r"must be \(B, 7\)"),
        (lambda: train_scans([], SIZES, 3), "jobs is empty"),
        (lambda: train_scans([ScanJob(made_up_pairs(8), 0)], SIZES, 3, avoid=torch.tensor([[0, 0]]), parts=False), "needs parts"),
        (lambda: train_scans([ScanJob(made_up_pairs(8), 0, direction="up")], SIZES, 3), "direction"),
        (
            lambda: train_scans(
                [ScanJob(made_up_pairs(8), 0), ScanJob(Pairs(torch.zeros(8, 2), torch.zeros(8, 2), made_up_pairs(8)[2]), 0)], SIZES, 3
            ),
            "one width",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()
