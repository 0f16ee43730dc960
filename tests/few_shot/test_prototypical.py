"""Logits from prototypes, and the difficulty of an episode."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workings import seeding
from workings.few_shot.prototypical import METRICS, episode_nll, prototypical_logits

WAY, SHOT, QUERY, SIZE = 4, 3, 5, 6
LABELS = torch.arange(WAY).repeat_interleave(SHOT)
ASKED = torch.arange(WAY).repeat_interleave(QUERY)


def episode(seed: int = 0, batch: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor]:
    g = seeding.torch_generator(seed, "episode")
    draw = lambda items: torch.randn(*batch, items, SIZE, generator=g, dtype=torch.float64)
    return draw(WAY * SHOT), draw(WAY * QUERY)


def rotation(seed: int) -> torch.Tensor:
    g = seeding.torch_generator(seed, "rotation")
    return torch.linalg.qr(torch.randn(SIZE, SIZE, generator=g, dtype=torch.float64))[0]


def test_the_distance_is_squared():
    logits = prototypical_logits(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1]), torch.tensor([[0.5]]))
    assert logits.tolist() == [[-0.25, -2.25]]


def test_a_plain_distance_would_give_other_predictions_of_probability():
    support, query = episode()
    prototypes = support.reshape(WAY, SHOT, SIZE).mean(1)
    plain = -torch.cdist(query, prototypes)
    squared = prototypical_logits(support, LABELS, query)
    torch.testing.assert_close(squared, -plain.square())
    assert (episode_nll(squared, ASKED) - episode_nll(plain, ASKED)).abs() > 0.1


def test_a_prototype_is_the_mean_and_not_the_first_of_its_support():
    support = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
    logits = prototypical_logits(support, torch.tensor([0, 0, 1]), torch.tensor([[2.0, 0.0]]))
    assert logits.tolist() == [[0.0, -13.0]]


def test_the_loss_is_the_one_that_published_code_for_batches_of_episodes_computes():
    # prototypical_loss of torchmeta, derived anew: distances (batch, way, queries), cross-entropy over the ways
    support, query = episode(1, (3,))
    prototypes = support.reshape(3, WAY, SHOT, SIZE).mean(2)
    distances = ((prototypes.unsqueeze(2) - query.unsqueeze(1)) ** 2).sum(-1)
    theirs = torch.nn.functional.cross_entropy(-distances, ASKED.expand(3, -1))
    ours = episode_nll(prototypical_logits(support, LABELS, query), ASKED).mean()
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize("metric", METRICS)
def test_a_batch_of_episodes_is_its_episodes_one_by_one(metric):
    support, query = episode(2, (2, 3))
    together = prototypical_logits(support, LABELS, query, metric, 1.5)
    assert together.shape == (2, 3, WAY * QUERY, WAY)
    for i in range(2):
        for j in range(3):
            alone = prototypical_logits(support[i, j], LABELS, query[i, j], metric, 1.5)
            torch.testing.assert_close(together[i, j], alone)
    losses = episode_nll(together, ASKED)
    assert losses.shape == (2, 3)
    torch.testing.assert_close(losses[1, 2], torch.nn.functional.cross_entropy(together[1, 2], ASKED))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(-5, 5))
def test_squared_distances_do_not_see_a_rotation_or_a_shift(seed, shift):
    support, query = episode(seed)
    turn = rotation(seed)
    moved = prototypical_logits(support @ turn + shift, LABELS, query @ turn + shift)
    torch.testing.assert_close(moved, prototypical_logits(support, LABELS, query), atol=1e-9, rtol=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(0.1, 10))
def test_cosine_logits_do_not_see_the_length_of_features_and_are_at_most_the_squared_scale(seed, longer, scale):
    support, query = episode(seed)
    logits = prototypical_logits(support, LABELS, query, "cosine", scale)
    stretched = prototypical_logits(support * longer, LABELS, query * longer, "cosine", scale)
    torch.testing.assert_close(stretched, logits, atol=1e-9 * scale**2, rtol=1e-9)
    assert logits.abs().max() <= scale**2 * (1 + 1e-12)


def test_a_cosine_is_a_cosine_times_the_squared_scale():
    support, query = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0]])
    logits = prototypical_logits(support, torch.tensor([0, 1]), query, "cosine", 3.0)
    torch.testing.assert_close(logits, torch.full((1, 2), 9 / math.sqrt(2)))


def test_scale_multiplies_features_so_logits_grow_with_its_square():
    support, query = episode()
    torch.testing.assert_close(
        prototypical_logits(support, LABELS, query, scale=3.0), prototypical_logits(3 * support, LABELS, 3 * query)
    )


def test_a_trained_scale_has_the_gradient_of_its_square():
    support, query = episode()
    scale = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    logits = prototypical_logits(support, LABELS, query, "cosine", scale)
    (slope,) = torch.autograd.grad(logits.sum(), scale)
    torch.testing.assert_close(slope, logits.detach().sum().reshape(1))  # d(c^2 s)/dc = 2 c s = c^2 s at c = 2


def test_a_zero_prototype_has_cosine_zero_with_everything_and_finite_gradients():
    support = torch.zeros(2, 3, requires_grad=True)
    logits = prototypical_logits(support, torch.tensor([0, 1]), torch.ones(1, 3), "cosine", 5.0)
    assert logits.tolist() == [[0.0, 0.0]]
    (slope,) = torch.autograd.grad(logits.sum(), support)
    assert slope.isfinite().all()


def test_far_from_the_origin_float32_keeps_the_distance():
    support, query = torch.tensor([[4096.0], [4098.0]]), torch.tensor([[4096.5]])
    assert prototypical_logits(support, torch.tensor([0, 1]), query).tolist() == [[-0.25, -2.25]]


@pytest.mark.parametrize("way", [2, 5, 20])
def test_without_knowledge_an_episode_is_as_difficult_as_the_logarithm_of_its_way(way):
    assert episode_nll(torch.full((7, way), 3.0), torch.zeros(7, dtype=torch.int64)).item() == pytest.approx(
        math.log(way), abs=1e-6
    )


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.permutations(range(WAY)))
def test_renaming_the_classes_changes_no_difficulty(seed, order):
    support, query = episode(seed)
    names = torch.tensor(order)
    before = episode_nll(prototypical_logits(support, LABELS, query), ASKED)
    after = episode_nll(prototypical_logits(support, names[LABELS], query), names[ASKED])
    torch.testing.assert_close(before, after)


def test_labels_may_differ_between_episodes():
    g = seeding.torch_generator(0, "nll")
    logits, labels = torch.randn(2, 6, 3, generator=g), torch.randint(3, (2, 6), generator=g)
    each = [torch.nn.functional.cross_entropy(a, b) for a, b in zip(logits, labels, strict=True)]
    torch.testing.assert_close(episode_nll(logits, labels), torch.stack(each))


GOOD = (torch.ones(2, 3), torch.tensor([0, 1]), torch.ones(4, 3))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({0: torch.full((2, 3), math.nan)}, ValueError, "support holds NaN"),
        ({2: torch.full((4, 3), math.nan)}, ValueError, "query holds NaN"),
        ({0: torch.ones(2, 3, dtype=torch.int64)}, TypeError, "support must be floating"),
        ({0: [[1.0]]}, TypeError, "torch tensor"),
        ({0: torch.ones(3)}, ValueError, "items, features"),
        ({2: torch.ones(4, 2)}, ValueError, "agree"),
        ({2: torch.ones(2, 4, 3)}, ValueError, "agree"),
        ({2: torch.ones(4, 3).double()}, TypeError, "convert"),
        ({1: torch.tensor([0, 2])}, ValueError, "class 1 has no support"),
        ({1: torch.tensor([-1, 0])}, ValueError, "must be 0"),
        ({1: torch.tensor([0])}, ValueError, "one per item"),
        ({1: torch.tensor([0.0, 1.0])}, TypeError, "whole numbers"),
        ({1: ["cat", "dog"]}, TypeError, "whole numbers"),
    ],
)
def test_episodes_that_make_no_sense_are_refused(change, error, words):
    arguments = [change.get(i, value) for i, value in enumerate(GOOD)]
    with pytest.raises(error, match=words):
        prototypical_logits(*arguments)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"metric": "euclidean"}, "metric"), ({"scale": 0.0}, "scale"), ({"scale": torch.ones(2)}, "scale")],
)
def test_unknown_metrics_and_scales_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        prototypical_logits(*GOOD, **options)


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), "shape"),
        (torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64), "labels must have shape"),
        (torch.zeros(3, 2), torch.tensor([0, 1, 2]), r"0..1"),
        (torch.zeros(3, 2), torch.tensor([0, 1, -1]), r"0..1"),
        (torch.full((3, 2), math.nan), torch.zeros(3, dtype=torch.int64), "NaN"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), "shape"),
    ],
)
def test_logits_that_make_no_sense_are_refused(logits, labels, words):
    with pytest.raises(ValueError, match=words):
        episode_nll(logits, labels)
