"""The training of the part's VAEs: objectives by step, recording, and resuming."""

import numpy as np
import pytest
import torch

from workings.disentangling.networks import mlp_vae
from workings.disentangling.objectives import bernoulli_nll, capacity_schedule, gaussian_kl
from workings.disentangling.training import History, annealed_capacity, fixed_beta, on_target, target, train_vae
from workings.seeding import torch_generator


def images(n=40):
    return (torch.rand(n, 1, 4, 4, generator=torch_generator(0, "x")) > 0.5).float()


def model():
    return mlp_vae(4, 3, (16,), generator=torch_generator(0, "net"))


def adam(net):
    return torch.optim.Adam(net.parameters(), lr=1e-2)


class Interrupt(Exception):
    pass


def test_fixed_beta_and_annealed_capacity_are_the_formulas_at_their_step():
    nll, kl = torch.tensor([3.0, 5.0]), torch.tensor([[1.0, 0.5], [0.5, 2.0]])  # means 4 and 2 nats
    assert fixed_beta(3.0)(nll, kl, 7).item() == pytest.approx(4 + 3 * 2)
    rising = annealed_capacity(10.0, 8.0, 100)
    assert rising(nll, kl, 0).item() == pytest.approx(4 + 10 * 2)  # C = 0
    assert rising(nll, kl, 25).item() == pytest.approx(4)  # C = 2
    assert rising(nll, kl, 1000).item() == pytest.approx(4 + 10 * 6)  # C = 8


@pytest.mark.parametrize("bad", [(-1.0, 8.0, 100), (1.0, 8.0, 0), (1.0, -1.0, 100)])
def test_bad_capacity_settings_are_refused_before_training(bad):
    with pytest.raises(ValueError, match=r"gamma|n_steps|c_max"):
        annealed_capacity(*bad)


def test_the_history_holds_window_means_of_the_batches():
    net = model()
    seen = []

    def objective(nll, kl, step):
        seen.append((nll.mean().item(), *kl.mean(dim=0).tolist()))
        return nll.mean() + kl.sum(dim=1).mean()

    history = train_vae(net, images(), 7, objective, seed=0, batch=8, optimiser=adam(net), window=3)
    assert history.steps.tolist() == [3, 6, 7]  # the last window is short
    rows = torch.tensor(seen, dtype=torch.float64)
    for row, part in zip(range(3), (rows[:3], rows[3:6], rows[6:]), strict=True):
        torch.testing.assert_close(history.nll[row], part[:, 0].mean(), rtol=1e-6, atol=1e-6)  # float32 sums
        torch.testing.assert_close(history.kl[row], part[:, 1:].mean(dim=0), rtol=1e-6, atol=1e-6)


def test_training_lowers_the_bound_on_the_training_images():
    net, x = model(), images()
    before, *_ = net(x)
    train_vae(net, x, 300, fixed_beta(1.0), seed=0, batch=20, optimiser=adam(net))
    logits, mu, logvar = net(x)
    after = bernoulli_nll(logits, x).mean() + gaussian_kl(mu, logvar).sum(dim=1).mean()
    assert after < bernoulli_nll(before, x).mean()


def test_a_run_killed_in_the_middle_and_resumed_gives_the_same_weights_and_history(tmp_path):
    whole = model()
    expected = train_vae(whole, images(), 40, fixed_beta(1.0), seed=3, batch=8, optimiser=adam(whole), window=5)
    broken = model()

    class Interrupted:
        asked = 0

        def __len__(self):
            return len(images())

        def images(self, indices):
            self.asked += 1
            if self.asked == 28:
                raise Interrupt
            return images()[indices]

    options = {"seed": 3, "batch": 8, "window": 5, "checkpoint": tmp_path / "run.pt", "checkpoint_every": 10}
    with pytest.raises(Interrupt):
        train_vae(broken, Interrupted(), 40, fixed_beta(1.0), optimiser=adam(broken), **options)
    resumed = model()
    history = train_vae(resumed, images(), 40, fixed_beta(1.0), optimiser=adam(resumed), **options)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(history.nll, expected.nll) and torch.equal(history.kl, expected.kl)
    assert torch.equal(history.steps, expected.steps)


def test_a_checkpoint_of_another_architecture_or_other_sizes_is_refused(tmp_path):
    options = {"seed": 0, "window": 5, "checkpoint": tmp_path / "run.pt", "checkpoint_every": 10}
    net = model()
    train_vae(net, images(), 10, fixed_beta(1.0), batch=8, optimiser=adam(net), **options)
    other = mlp_vae(4, 5, (16,), generator=torch_generator(0, "net"))
    with pytest.raises(ValueError, match="another architecture"):
        train_vae(other, images(), 10, fixed_beta(1.0), batch=8, optimiser=adam(other), **options)
    with pytest.raises(ValueError, match="other settings"):
        train_vae(net, images(), 10, fixed_beta(1.0), batch=9, optimiser=adam(net), **options)


def test_a_window_that_a_checkpoint_would_cut_is_refused(tmp_path):
    with pytest.raises(ValueError, match="multiple of window"):
        train_vae(
            model(), images(), 10, fixed_beta(1.0), seed=0, window=3, checkpoint=tmp_path / "a", checkpoint_every=10
        )


def test_pictures_may_be_an_object_that_gives_images_by_index():
    class Half:
        def __len__(self):
            return 20

        def images(self, indices):
            assert indices.max() < 20
            return images()[indices]

    one, two = model(), model()
    a = train_vae(one, Half(), 12, fixed_beta(1.0), seed=0, batch=8, optimiser=adam(one))
    b = train_vae(two, images()[:20], 12, fixed_beta(1.0), seed=0, batch=8, optimiser=adam(two))
    assert torch.equal(a.kl, b.kl)


def history(kl: torch.Tensor, steps: torch.Tensor) -> History:
    return History(steps, torch.zeros(len(steps), dtype=torch.float64), kl[:, None])


def test_target_is_the_mean_of_the_schedule_over_each_window():
    ends = torch.tensor([10, 20, 30, 35])
    found = target(history(torch.zeros(4), ends), 1.0, 5.0, 20)
    wanted = [np.mean([capacity_schedule(s, 5.0, 20, 1.0) for s in range(a, b)]) for a, b in
              ((0, 10), (10, 20), (20, 30), (30, 35))]  # fmt: skip
    np.testing.assert_allclose(found, wanted)


def test_on_target_counts_late_windows_only():
    ends = torch.arange(10, 201, 10)
    goal = target(history(torch.zeros(20), ends), 0.0, 4.0, 100)
    exact = history(goal, ends)
    assert on_target(exact, 0.0, 4.0, 100) == 1.0
    early = goal.clone()
    early[:2] += 3  # steps 1 to 20 are the first tenth
    assert on_target(history(early, ends), 0.0, 4.0, 100) == 1.0
    late = goal.clone()
    late[-9:] = 4.5  # as far away as is allowed is too far
    assert on_target(history(late, ends), 0.0, 4.0, 100) == pytest.approx(0.5)
