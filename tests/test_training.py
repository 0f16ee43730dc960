"""The training loop: exact resuming, and refusals that say what is wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from workings.seeding import deterministic, torch_generator
from workings.training import ShuffledBatches, fit, load_checkpoint, load_weights, one_cycle


class Stop(Exception):
    """Raised from ``on_step`` to kill a run."""


def make_model(width: int = 8) -> nn.Sequential:
    """Batch-norm (running statistics), dropout (global randomness) and weights: all kinds of state."""
    model = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 3))
    noise = torch_generator(0, "test", "init")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=noise) * 0.3)
    return model


def make_data():
    noise = torch_generator(0, "test", "data")
    x = torch.randn(60, 4, generator=noise)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()


def noisy_loss(model, batch, noise):
    """Reads all three sources of randomness: the batch, the step's generator and dropout's global one."""
    x, y = batch
    return nn.functional.cross_entropy(model(x + 0.1 * torch.randn(x.shape, generator=noise)), y)


def run(steps=30, *, model=None, optimiser=torch.optim.Adam, rate=0.01, seed=1, **options):
    model = make_model() if model is None else model
    x, y = make_data()
    order = ShuffledBatches(60, 16, seed)
    result = fit(
        model,
        noisy_loss,
        lambda t: (x[order(t)], y[order(t)]),
        optimiser(model.parameters(), lr=rate),
        steps,
        seed=seed,
        schedule=one_cycle(steps),
        **options,
    )
    return model, result


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(u, v) for u, v in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("optimiser", [torch.optim.Adam, lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)])
@pytest.mark.parametrize("killed_at", [0, 9, 13, 29])
def test_a_killed_and_resumed_run_ends_with_the_same_losses_bit_for_bit(tmp_path, optimiser, killed_at):
    def kill(step, loss):
        if step == killed_at:
            raise Stop

    with deterministic(threads=1):
        whole, straight = run(optimiser=optimiser)
        options = {"checkpoint": tmp_path / "state.pt", "checkpoint_every": 5, "optimiser": optimiser}
        with pytest.raises(Stop):
            run(on_step=kill, **options)
        torch.manual_seed(99)  # what happened in between must not matter
        again, resumed = run(**options)
    # A kill inside step k comes before the save that follows it.
    assert resumed.resumed_at == (0 if killed_at < 5 else killed_at // 5 * 5)
    assert torch.equal(resumed.losses, straight.losses)
    assert same_weights(whole, again)


def test_a_finished_run_is_not_trained_again(tmp_path):
    first, one = run(checkpoint=tmp_path / "state.pt")
    second, two = run(checkpoint=tmp_path / "state.pt")
    assert two.resumed_at == 30
    assert torch.equal(one.losses, two.losses)
    assert same_weights(first, second)


def test_training_mode_is_switched_on_whatever_mode_the_model_came_in():
    waiting, ready = make_model().eval(), make_model()
    assert torch.equal(run(steps=4, model=waiting)[1].losses, run(steps=4, model=ready)[1].losses)
    assert waiting.training


def test_another_seed_gives_another_run_and_the_same_seed_the_same():
    (a, one), (b, two), (_, three) = run(), run(), run(seed=2)
    assert torch.equal(one.losses, two.losses) and same_weights(a, b)
    assert not torch.equal(one.losses, three.losses)


def test_the_global_generator_is_put_back():
    model = make_model()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(steps=3, model=model)
    assert torch.equal(before, torch.get_rng_state())


def test_dropout_does_not_depend_on_the_callers_global_state():
    torch.manual_seed(1)
    one = run(steps=5)[1].losses
    torch.manual_seed(2)
    assert torch.equal(one, run(steps=5)[1].losses)


def test_plain_gradient_descent_matches_the_closed_form():
    # f(w) = |w - 3|^2 / 2 with rate 0.1: w_t = 3 - 3 * 0.9^t exactly; loss_t = (3 * 0.9^t)^2 / 2.
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    loss = lambda net, batch, noise: (net.weight - 3.0).square().sum() / 2
    result = fit(model, loss, lambda t: None, torch.optim.SGD(model.parameters(), lr=0.1), 20, seed=0)
    expected = torch.tensor([(3 * 0.9**t) ** 2 / 2 for t in range(20)], dtype=torch.float64)
    torch.testing.assert_close(result.losses, expected, rtol=1e-12, atol=0)  # 20 float64 multiplications


def test_clipping_bounds_the_gradient_norm_and_leaves_small_gradients_alone():
    def travelled(gradient, clip):
        model = nn.Linear(2, 1, bias=False)
        nn.init.zeros_(model.weight)
        loss = lambda net, batch, noise: (net.weight * torch.tensor(gradient)).sum()
        fit(model, loss, lambda t: None, torch.optim.SGD(model.parameters(), lr=1.0), 1, seed=0, clip_norm=clip)
        return model.weight.detach().norm().item()

    assert travelled([3.0, 4.0], 1.0) == pytest.approx(1.0, rel=1e-5)  # torch divides by norm + 1e-6
    assert travelled([0.3, 0.4], 1.0) == pytest.approx(0.5, rel=1e-6)


def test_the_schedule_multiplies_the_initial_rate():
    seen = []
    model = make_model()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    x, y = make_data()
    fit(
        model,
        noisy_loss,
        lambda t: (x, y),
        optimiser,
        4,
        seed=0,
        schedule=lambda t: 1 / (t + 1),
        on_step=lambda t, loss: seen.append(optimiser.param_groups[0]["lr"]),
    )
    assert seen == [0.5 / (t + 1) for t in range(4)]


def test_one_cycle_rises_to_one_and_falls_to_its_end():
    factor = one_cycle(100, warmup=0.3, start=0.04, end=1e-4)
    values = [factor(t) for t in range(101)]
    assert values[0] == pytest.approx(0.04) and values[30] == pytest.approx(1.0) and values[100] == pytest.approx(1e-4)
    assert values[:31] == sorted(values[:31]) and values[30:] == sorted(values[30:], reverse=True)
    assert all(math.isfinite(one_cycle(n, warmup=w)(0)) for n in (1, 2) for w in (0.0, 1.0))


def test_every_epoch_is_a_permutation_and_any_step_can_be_asked_first():
    order = ShuffledBatches(23, 5, seed=3)
    assert order.per_epoch == 4
    epochs = [torch.cat([order(4 * e + i) for i in range(4)]) for e in range(3)]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 20 and set(epoch.tolist()) <= set(range(23))
    assert not torch.equal(epochs[0], epochs[1])
    fresh = ShuffledBatches(23, 5, seed=3)
    assert torch.equal(fresh(9), order(9)) and torch.equal(fresh(2), order(2))
    assert not torch.equal(ShuffledBatches(23, 5, seed=4)(0), order(0))
    assert not torch.equal(ShuffledBatches(23, 5, seed=3, name="other")(0), order(0))


def test_mixed_precision_trains_on_the_cpu():
    _, result = run(autocast=torch.bfloat16)
    assert torch.isfinite(result.losses).all() and result.losses[-5:].mean() < result.losses[:5].mean()


def test_a_checkpoint_of_another_architecture_is_refused_by_name(tmp_path):
    path = tmp_path / "state.pt"
    run(checkpoint=path, steps=3)
    with pytest.raises(ValueError, match=r"another architecture: '0.weight' has shape \(8, 4\) there and \(9, 4\)"):
        run(checkpoint=path, steps=3, model=make_model(9))
    with pytest.raises(ValueError, match="another architecture"):
        load_weights(nn.Linear(4, 8), path)


def test_a_schedule_that_differs_at_the_last_step_alone_is_another_one(tmp_path):
    path = tmp_path / "state.pt"
    x, y = make_data()

    def train(steps, last):
        torch.manual_seed(0)
        model, rate = make_model(), lambda t: last if t == 5 else 1.0
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        return fit(
            model, noisy_loss, lambda t: (x, y), optimiser, steps, seed=0, schedule=rate, checkpoint=path
        )  # fmt: skip

    train(6, last=0.5)
    with pytest.raises(ValueError, match="another schedule"):
        train(8, last=0.25)


def test_a_checkpoint_of_another_seed_optimiser_rate_or_length_is_refused(tmp_path):
    path = tmp_path / "state.pt"
    run(checkpoint=path, steps=6)
    with pytest.raises(ValueError, match="of seed 1, this run has 2"):
        run(checkpoint=path, steps=6, seed=2)
    with pytest.raises(ValueError, match="beyond the 3 steps"):
        run(checkpoint=path, steps=3)
    with pytest.raises(ValueError, match=r"another optimiser, Adam with learning rate\(s\) \[0.01\], not .* \[0.02\]"):
        run(checkpoint=path, steps=8, rate=0.02)
    with pytest.raises(ValueError, match="not SGD"):
        run(checkpoint=path, steps=8, optimiser=torch.optim.SGD)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"not a checkpoint at all")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        run(checkpoint=path)
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not written by workings"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="train first"):
        load_weights(make_model(), tmp_path / "absent.pt")


def test_a_checkpoint_never_runs_code_when_it_is_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran')",))

    torch.save({"format": 1, "model": Evil()}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path / "state.pt")


def test_load_weights_gives_the_trained_model_back(tmp_path):
    trained, _ = run(checkpoint=tmp_path / "deep" / "state.pt", steps=5)
    fresh = make_model()
    assert not same_weights(trained, fresh)
    assert load_weights(fresh, tmp_path / "deep" / "state.pt") is fresh
    assert same_weights(trained, fresh)


def test_divergence_is_an_error_and_is_never_saved(tmp_path):
    path = tmp_path / "state.pt"
    model = make_model()
    loss = lambda net, batch, noise: net[0].weight.sum() * float("inf")
    with pytest.raises(FloatingPointError, match="at step 0"):
        fit(model, loss, lambda t: None, torch.optim.SGD(model.parameters(), lr=1.0), 2, seed=0, checkpoint=path)
    assert not path.exists()


def test_a_loss_that_is_not_one_number_is_refused():
    model = make_model()
    with pytest.raises(ValueError, match="take its mean"):
        fit(model, lambda *_: model[0].weight, lambda t: None, torch.optim.SGD(model.parameters(), lr=1.0), 1, seed=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps"),
        ({"steps": 2.0}, TypeError, "steps"),
        ({"checkpoint_every": 5}, ValueError, "needs a checkpoint file"),
        ({"clip_norm": 0.0}, ValueError, "clip_norm"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        run(**options)


def test_a_model_without_parameters_and_too_large_batches_are_refused():
    with pytest.raises(ValueError, match="no parameters"):
        fit(nn.ReLU(), noisy_loss, lambda t: None, torch.optim.SGD([torch.zeros(1)], lr=1.0), 1, seed=0)
    with pytest.raises(ValueError, match="batch"):
        ShuffledBatches(10, 11, seed=0)
