"""Targets, returns, losses, episodic control, agents side by side, and reports on transfer."""

import itertools

import numpy as np
import pytest
import torch

from workings.disentangling.domains import DomainSpec
from workings.disentangling.transfer import disentanglement_agreement, mean_interval, transfer_report
from workings.disentangling.value_learning import (
    AgentStack,
    EpisodicControl,
    a2c_loss,
    discounted_returns,
    double_q_target,
    fit_q,
    greedy_policies,
    q_target,
    train_a2c,
    train_dqn,
)
from workings.disentangling.worlds import SeekAvoidWorld

SOURCE = DomainSpec.product(wall=(0,), floor=(0, 1), kind=(0, 1))


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def test_targets_by_hand():
    reward, done = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([False, True, False])
    q, frozen = torch.tensor([[1.0, 5.0], [9.0, 9.0], [4.0, 2.0]]), torch.tensor([[7.0, 3.0], [9.0, 9.0], [1.0, 8.0]])
    assert q_target(reward, done, q, 0.5).tolist() == [3.5, 2.0, 5.0]
    assert double_q_target(reward, done, q, frozen, 0.5).tolist() == [2.5, 2.0, 3.5]
    assert q_target(reward, done, q, 0.0).tolist() == reward.tolist()
    assert torch.equal(double_q_target(reward, done, q, q, 0.9), q_target(reward, done, q, 0.9))
    assert (double_q_target(reward, done, q, frozen, 0.9) <= q_target(reward, done, frozen, 0.9)).all()
    with pytest.raises(ValueError, match="gamma"):
        q_target(reward, done, q, 1.5)
    with pytest.raises(ValueError, match="done must be"):
        q_target(reward, done[:2], q, 0.5)
    with pytest.raises(ValueError, match="q_next must be"):
        q_target(reward, done, q[:2], 0.5)
    with pytest.raises(ValueError, match="one shape"):
        double_q_target(reward, done, q, frozen[:, :1], 0.5)


def test_returns_are_sums_that_an_end_cuts():
    reward = torch.tensor([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    done = torch.tensor([[False, False], [False, True], [False, False]])
    found = discounted_returns(reward, done, torch.tensor([8.0, 8.0]), 0.5)
    assert found.tolist() == [[1 + 1 + 1 + 1, 1 + 1], [2 + 2 + 2, 2], [8.0, 8.0]]
    with pytest.raises(ValueError, match="bootstrap"):
        discounted_returns(reward, done, torch.zeros(3), 0.5)


def test_the_actor_critic_loss_is_its_three_terms():
    logits = torch.randn(2, 5, 3, generator=g(), dtype=torch.float64, requires_grad=True)
    values, returns = (torch.randn(2, 5, generator=g(k), dtype=torch.float64) for k in (1, 2))
    actions = torch.randint(3, (2, 5), generator=g(3))
    found = a2c_loss(logits, values, actions, returns, value_weight=0.5, entropy_weight=0.1)
    p = logits.softmax(-1)
    expected = []
    for s in range(2):
        terms = [
            -(returns[s, n] - values[s, n]) * p[s, n, actions[s, n]].log()
            + 0.5 * (returns[s, n] - values[s, n]) ** 2
            + 0.1 * (p[s, n] * p[s, n].log()).sum()
            for n in range(5)
        ]
        expected.append(sum(terms) / 5)
    assert torch.allclose(found, torch.stack(expected))
    # Without the other terms the gradient in the logits is the advantage times (pi - the action taken).
    (gradient,) = torch.autograd.grad(
        a2c_loss(logits, values, actions, returns, value_weight=0, entropy_weight=0).sum(), logits
    )
    one_hot = torch.nn.functional.one_hot(actions, 3)
    assert torch.allclose(gradient, (returns - values)[..., None] * (p - one_hot) / 5)
    with pytest.raises(ValueError, match="from 0 to 2"):
        a2c_loss(logits, values, actions + 1, returns)
    with pytest.raises(TypeError, match="whole numbers"):
        a2c_loss(logits, values, actions.bool(), returns)


def test_episodic_control_remembers_the_best_and_asks_neighbours():
    memory = EpisodicControl(2, k=2, capacity=3)
    assert memory.values(np.zeros((1, 2))).tolist() == [[0.0, 0.0]]
    for place, value in ((0.0, 1.0), (0.0, 5.0), (0.0, 2.0), (1.0, 3.0), (9.0, -1.0)):
        memory.update(np.array([place, 0.0]), 0, value)
    assert len(memory) == 3
    states = np.array([[0.0, 0.0], [0.4, 0.0], [8.0, 0.0]])
    assert memory.values(states)[:, 0].tolist() == [5.0, 4.0, 1.0]
    memory.update(np.array([4.0, 0.0]), 0, 7.0)  # (0, 0) was updated longest ago and gives way
    assert len(memory) == 3 and memory.values(states)[0, 0] == 5.0, "now the mean of 3 and 7"
    memory.update(np.array([-0.0, 0.0]), 1, 2.0)
    assert memory.values(states)[0, 1] == 2.0
    with pytest.raises(ValueError, match="2 entries"):
        memory.update(np.zeros(3), 0, 1.0)
    with pytest.raises(ValueError, match="action"):
        memory.update(np.zeros(2), 2, 1.0)
    with pytest.raises(ValueError, match="infinite"):
        memory.values(np.array([[np.inf, 0.0]]))


def bandit(n=400):
    """Features (n, 2): the first decides which of two actions pays, the second is noise."""
    x = torch.randn(n, 2, generator=g(5))
    actions = torch.randint(2, (2, n), generator=g(6))
    return x, actions, torch.where(actions == (x[:, 0] > 0), 1.0, 0.0)


def test_fitted_q_learns_a_bandit_and_the_penalty_switches_idle_inputs_off():
    x, actions, rewards = bandit()
    plain, lasso = (fit_q(x, actions, rewards, 400, seeds=(0, 1), n_actions=2, input_penalty=p) for p in (0.0, 0.02))
    for agents in (plain, lasso):
        right = (agents.greedy(x, 2) == (x[:, 0] > 0).long()).double().mean(dim=1)
        assert (right > 0.95).all()
    length = lambda agents: agents.layers.weights[0].square().sum(dim=2).sqrt()  # (agents, inputs)
    assert (length(lasso)[:, 1] < 0.1 * length(lasso)[:, 0]).all()
    assert (length(plain)[:, 1] > 0.1 * length(plain)[:, 0]).all()


def test_agents_do_not_depend_on_their_neighbours():
    x, actions, rewards = bandit()
    both = fit_q(x, actions, rewards, 30, seeds=(0, 1), n_actions=2)
    alone = fit_q(x, actions[1:], rewards[1:], 30, seeds=(1,), n_actions=2)
    assert torch.allclose(both(x)[1], alone(x)[0], atol=1e-5)
    with pytest.raises(ValueError, match="works with the encoder"):
        both(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="from 0 to 1"):
        fit_q(x, actions + 1, rewards, 1, seeds=(0, 1), n_actions=2)
    with pytest.raises(ValueError, match="for 3 seeds"):
        fit_q(x, actions, rewards, 1, seeds=(0, 1, 2), n_actions=2)
    with pytest.raises(ValueError, match="seeds is empty"):
        AgentStack((), 2, (4,), 2)


@pytest.mark.parametrize("train", [train_dqn, train_a2c])
def test_agents_of_both_algorithms_learn_a_short_corridor(train):
    world = SeekAvoidWorld.hues(2, size=8, object_size=4, horizon=6, rule="reach")
    table = torch.eye(len(world.scenes()[0]))
    steps = {"train_dqn": 900, "train_a2c": 500}[train.__name__]
    agents = train(world, SOURCE, table, steps, seeds=(0, 1), hidden=(32,), learning_rate=1e-2)
    best, none = world.optimal_return(SOURCE), world.random_return(SOURCE)
    for policy in greedy_policies(agents, table):
        assert world.expected_return(SOURCE, policy) > none + 0.8 * (best - none)
    with pytest.raises(ValueError, match="one row per scene"):
        train(world, SOURCE, table[1:], 1, seeds=(0,))


class Watched(SeekAvoidWorld):
    """A world that notes each agent's scenes and actions, and how often copies begin."""

    def step(self, domain, looks, state, actions, generator):
        self.moves.append((self.index(looks, state), actions))
        return super().step(domain, looks, state, actions, generator)

    def draw_looks(self, domain, n, generator):
        self.begun.append(n)
        return super().draw_looks(domain, n, generator)


def watched(**sizes):
    world = Watched.hues(2, size=8, object_size=4, **sizes)
    for name in ("moves", "begun"):
        object.__setattr__(world, name, [])
    return world, torch.eye(len(world.scenes()[0]))


def test_exploration_falls_from_all_to_a_tenth_over_the_first_half():
    world, table = watched(horizon=6)
    steps, copies, seeds = 100, 100, (0, 1)
    agents = train_dqn(world, SOURCE, table, steps, seeds=seeds, copies=copies, hidden=(8,), learning_rate=0.0)
    best = greedy_policies(agents, table).argmax(axis=-1)  # that of the first step too: nothing is learnt
    other = np.array([(best[k % 2][scene] != action).sum() for k, (scene, action) in enumerate(world.moves)])
    other = other.reshape(steps, 2).sum(axis=1)
    explored = (
        np.maximum(0.1, 1 - 1.8 * np.arange(steps) / steps) * 2 / 3
    )  # one random action of three is the greedy one
    for part in (slice(0, 5), slice(20, 30), slice(45, 50), slice(50, 100)):
        chance, moves = explored[part], copies * len(seeds)
        deviation = np.sqrt((chance * (1 - chance)).sum() * moves)
        # four sums, each beyond 4.5 standard deviations once in 150,000 seeds
        assert abs(other[part].sum() - chance.sum() * moves) < 4.5 * deviation


def test_copies_end_their_episodes_one_after_another():
    world, table = watched(horizon=6)
    train_dqn(world, SOURCE, table, 6, seeds=(0,), copies=6, hidden=(8,))
    assert len(world.begun) == 1 + 6  # all at first, then one copy at every step


def test_a_report_needs_the_random_and_the_best_return():
    ends = {"random": (0.0, 0.0), "optimal": (1.0, 2.0)}
    report = transfer_report([0.8, 1.0], [0.4, 0.5], **ends)
    assert report.kept.mean == pytest.approx((0.2 / 0.8 + 0.25 / 1.0) / 2)
    assert report.source_gap == pytest.approx(0.1) and report.target_gap == pytest.approx(2 - 0.45)
    for missing in ("random", "optimal"):
        with pytest.raises(ValueError, match=f"{missing} must be"):
            transfer_report([0.8, 1.0], [0.4, 0.5], **{**ends, missing: None})
    with pytest.raises(ValueError, match="no better than random"):
        transfer_report([0.0, 1.0], [0.4, 0.5], **ends)
    with pytest.raises(ValueError, match="above the random"):
        transfer_report([0.8, 1.0], [0.4, 0.5], random=(1.0, 0.0), optimal=(1.0, 1.0))
    with pytest.raises(ValueError, match="one value per seed"):
        transfer_report([0.8, 1.0], [0.4], **ends)


def test_what_is_kept_is_counted_from_the_random_returns():
    report = transfer_report([2.0, 3.0], [2.0, 4.0], random=(1.0, 1.0), optimal=(3.0, 5.0))
    # half and all of the source's 2 above random, a quarter and three quarters of the target's 4
    assert report.kept.mean == pytest.approx((0.25 / 0.5 + 0.75 / 1.0) / 2)


def test_students_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).standard_normal((4000, 5))
    covered = np.mean([(i := mean_interval(row)).low <= 0 <= i.high for row in draws])
    # Binomial with standard deviation 0.0034: beyond 4.5 of them once in 150,000 seeds.
    assert abs(covered - 0.95) < 4.5 * 0.0035
    with pytest.raises(ValueError, match="at least 2"):
        mean_interval([1.0])


def test_agreement_is_one_for_permuted_latents_and_low_for_rotated_ones():
    codes = np.random.default_rng(1).standard_normal((2000, 3))
    kl = np.ones(3)
    same = disentanglement_agreement(codes, kl, -codes[:, [2, 0, 1]], kl)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0]
    turned = disentanglement_agreement(codes, kl, codes @ turn, kl)
    # Independent columns correlate by about 0.02, which leaves 1 / (1 + 2 * 0.02).
    assert same > 0.9 and turned < 0.75
    assert disentanglement_agreement(codes, kl * 0, codes, kl) == 0
    padded = np.c_[codes, np.zeros(2000)]
    assert disentanglement_agreement(padded, [1, 1, 1, 0], codes, kl) == pytest.approx(
        disentanglement_agreement(codes, kl, codes, kl)
    )
    for bad in ((codes[1:], kl), (codes, kl[1:])):
        with pytest.raises(ValueError, match="codes"):
            disentanglement_agreement(*bad, codes, kl)


def test_agreement_by_hand():
    rising, swapped, turned = (
        [1.0, 2, 3, 4],
        [1.0, 2, 4, 3],
        [4.0, 1, 2, 3],
    )  # rank correlations .8 and -.2 with the first
    one = np.array([rising]).T
    assert disentanglement_agreement(one, [1], np.array([swapped]).T, [1]) == pytest.approx(0.8**2 / 0.8)
    found = disentanglement_agreement(one, [1], np.array([swapped, turned]).T, [1, 1])
    assert found == pytest.approx((0.8**2 / (0.8 + 0.2) + 0.8**2 / 0.8 + 0.2**2 / 0.2) / 3)


def test_agreement_does_not_depend_on_the_order_of_the_pair():
    pair = [np.random.default_rng(k).standard_normal((50, 2 + k)) for k in range(2)]
    kls = [np.ones(2), np.ones(3)]
    found = [disentanglement_agreement(pair[i], kls[i], pair[j], kls[j]) for i, j in itertools.permutations((0, 1))]
    assert found[0] == pytest.approx(found[1])
