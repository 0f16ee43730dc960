"""The episode sampler: what an episode is, that draws are uniform, and what is refused."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from workings.few_shot.episodes import EpisodeSampler
from workings.seeding import torch_generator


def sampler(labels, way=5, shot=1, query=15, seed=0, **options):
    return EpisodeSampler(labels, way, shot, query, torch_generator(seed, "episodes"), **options)


@given(st.lists(st.integers(3, 9), min_size=2, max_size=7), st.integers(1, 2), st.integers(0, 1), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_an_episode_has_distinct_classes_and_distinct_items_of_each(counts, shot, query, seed):
    rng = np.random.default_rng(seed)
    names = rng.permutation(100)[: len(counts)] - 50  # any whole numbers, not consecutive
    labels = rng.permutation(np.repeat(names, counts))
    way = int(rng.integers(1, len(counts) + 1))
    found = sampler(labels, way, shot, query, seed).sample(20)
    assert found.support.shape == (20, way, shot) and found.query.shape == (20, way, query)
    items = torch.cat([found.support, found.query], dim=2)
    assert (torch.from_numpy(labels)[items] == found.classes[:, :, None]).all()
    for episode, classes in zip(items, found.classes, strict=True):
        assert len(classes.unique()) == way and len(episode.unique()) == episode.numel()
    assert found.support_labels().tolist() == [k for k in range(way) for _ in range(shot)]
    assert found.query_labels().tolist() == [k for k in range(way) for _ in range(query)]


def test_a_generator_decides_and_its_own_episodes_differ():
    labels = torch.arange(10).repeat_interleave(20)
    a, b = (sampler(labels).sample(50) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(a.support, sampler(labels, seed=1).sample(50).support)
    assert len(torch.cat([e.support for e in islice(sampler(labels), 30)]).flatten(1).unique(dim=0)) == 30


def test_a_block_boundary_changes_nothing_in_kind(monkeypatch):
    monkeypatch.setattr("workings.few_shot.episodes._BLOCK", 100)
    found = sampler(torch.arange(6).repeat_interleave(5), 3, 1, 2).sample(40)
    assert len(found.classes) == 40 and all(len(row.unique()) == 3 for row in found.classes)


def test_classes_items_and_order_are_uniform():
    # Chi-squared tests at 1e-4 each, five of them on a fixed seed: a false alarm would have had probability 5e-4.
    labels = np.repeat(np.arange(7), (4, 5, 6, 5, 4, 6, 5))
    found = sampler(labels, 3, 1, 2).sample(6000)
    flat = lambda x, n: np.bincount(x.numpy().ravel(), minlength=n)
    first_items = found.support[(found.classes == 2).nonzero(as_tuple=True)].ravel() - 9  # class 2 has items 9 to 14
    last_items = found.query[(found.classes == 2).nonzero(as_tuple=True)][:, -1] - 9
    pairs = found.classes[:, 0] * 7 + found.classes[:, 1]
    distinct = [a * 7 + b for a in range(7) for b in range(7) if a != b]
    for counts in (
        flat(found.classes[:, 0], 7), flat(found.classes[:, 2], 7), flat(first_items, 6), flat(last_items, 6),
        flat(pairs, 49)[distinct],
    ):  # fmt: skip
        assert stats.chisquare(counts).pvalue > 1e-4


def test_within_groups_a_group_is_drawn_first_and_small_ones_are_left_out():
    groups_of = np.array([0, 0, 0, 1, 1, 1, 1, 1, 2, 2])  # of the ten classes
    labels = np.repeat(np.arange(10), 4)
    found = sampler(labels, 3, 1, 2, groups=groups_of[labels]).sample(4000)
    drawn = groups_of[found.classes.numpy()]
    assert (drawn == drawn[:, :1]).all() and set(drawn.ravel()) == {0, 1}
    share = (drawn[:, 0] == 0).mean()
    assert abs(share - 0.5) < 0.032  # four standard errors of 1/2 over 4,000: false alarm 6e-5
    assert stats.chisquare(np.bincount(found.classes.numpy()[drawn[:, 0] == 1].ravel(), minlength=8)[3:]).pvalue > 1e-4


def test_some_episodes_can_be_chosen():
    found = sampler(torch.arange(6).repeat_interleave(5), 3, 1, 2).sample(10)
    for which in (slice(2, 5), [1, 7], found.classes[:, 0] == 2):
        part = found.only(which)
        assert torch.equal(part.support, found.support[which]) and part.way == 3


LABELS = np.repeat(np.arange(4), 5)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"way": 5}, ValueError, r"way is 5, but labels hold 4 class"),
        (
            {"labels": np.repeat([7, 8, 9], (5, 5, 2))},
            ValueError,
            r"class 9 has 2 item\(s\), fewer than shot \+ query = 3",
        ),
        ({"labels": np.array(["a", "b"] * 5)}, TypeError, "whole numbers.*return_inverse"),
        ({"labels": LABELS.astype(float)}, TypeError, "whole numbers"),
        ({"labels": LABELS[:, None]}, ValueError, r"shape \(N,\)"),
        ({"labels": []}, (TypeError, ValueError), "labels"),
        ({"shot": 0}, ValueError, "shot"),
        ({"query": -1}, ValueError, "query"),
        ({"generator": np.random.default_rng(0)}, TypeError, r"torch\.Generator"),
        ({"groups": np.zeros(3, dtype=int)}, ValueError, "one entry per label"),
        ({"groups": np.arange(20)}, ValueError, "more than one group"),
        ({"groups": np.repeat(np.arange(4), 5)}, ValueError, "largest group has 1"),
    ],
)
def test_what_cannot_be_sampled_is_refused_with_what_to_do(change, error, match):
    given = {"labels": LABELS, "way": 2, "shot": 1, "query": 2, "generator": torch_generator(0), **change}
    with pytest.raises(error, match=match):
        EpisodeSampler(**given)
