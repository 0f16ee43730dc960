"""Prototypes and the classifier that starts from them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.few_shot.prototypes import class_prototypes, cosine_logits, support_init
from workings.seeding import torch_generator


def randn(*shape, name="x"):
    return torch.randn(*shape, generator=torch_generator(0, "prototypes", name), dtype=torch.float64)


def test_a_prototype_is_the_mean_of_its_class_and_one_shot_is_the_image_itself():
    x, y = randn(7, 4), torch.tensor([2, 0, 1, 0, 2, 2, 1])
    found = class_prototypes(x, y, 3)
    torch.testing.assert_close(found, torch.stack([x[y == k].mean(dim=0) for k in range(3)]))
    assert torch.equal(class_prototypes(x[:3], [2, 0, 1], 3), x[[1, 2, 0]])


@given(st.permutations(list(range(8))))
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_items_does_not_matter_and_renumbered_classes_renumber_the_rows(order):
    x, y = randn(8, 3), torch.tensor([0, 0, 1, 1, 1, 2, 2, 2])
    torch.testing.assert_close(class_prototypes(x[order], y[order], 3), class_prototypes(x, y, 3))
    turn = torch.tensor([1, 2, 0])
    torch.testing.assert_close(class_prototypes(x, turn[y], 3)[turn], class_prototypes(x, y, 3))


def test_first_rectify_then_average_then_normalise():
    support = torch.tensor([[1.0, -1.0], [0.0, 2.0]])
    weight, bias = support_init(support, [0, 0], 1)
    torch.testing.assert_close(weight, torch.tensor([[0.447214, 0.894427]]), atol=1e-6, rtol=0)
    assert torch.equal(bias, torch.zeros(1))
    other, _ = support_init(support, [0, 0], 1, relu=False)  # the mean first: (0.5, 0.5)
    torch.testing.assert_close(other, torch.tensor([[0.5, 0.5]]) * 2**0.5)


def test_rows_have_length_one_and_a_common_scale_changes_nothing():
    x, y = randn(9, 5), torch.arange(3).repeat(3)
    weight, bias = support_init(x, y, 3)
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(3, dtype=torch.float64))
    for scale in (1e-150, 1e-3, 7.0, 1e150):
        torch.testing.assert_close(support_init(scale * x, y, 3)[0], weight)
        torch.testing.assert_close(cosine_logits(scale * x, weight, bias), cosine_logits(x, weight, bias))


def test_a_prototype_of_zeros_is_a_row_of_zeros_and_never_nan():
    x = torch.tensor([[-1.0, -2.0], [3.0, 4.0]], requires_grad=True)
    weight, bias = support_init(x, [0, 1], 2)
    assert torch.equal(weight.detach(), torch.tensor([[0.0, 0.0], [0.6, 0.8]]))
    logits = cosine_logits(x, weight, bias)
    assert torch.equal(logits[0].detach(), torch.zeros(2))
    [slope] = torch.autograd.grad(logits.sum(), x)
    assert torch.isfinite(slope).all()


def test_untuned_logits_are_cosines_of_rectified_features():
    x, y, q = randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]), randn(5, 4, name="q")
    logits = cosine_logits(q, *support_init(x, y, 3))
    means = torch.stack([x.clamp(min=0)[y == k].mean(dim=0) for k in range(3)])
    cosines = torch.nn.functional.cosine_similarity(q.clamp(min=0)[:, None], means[None], dim=2)
    torch.testing.assert_close(logits, cosines)
    assert (logits >= 0).all() and (logits <= 1 + 1e-12).all()
    assert (cosine_logits(q, *support_init(x, y, 3, relu=False), relu=False) < 0).any()


def test_a_block_of_episodes_is_its_episodes_one_by_one():
    x, q = randn(2, 3, 6, 4), randn(2, 3, 5, 4, name="q")
    y = torch.stack([torch.randperm(6, generator=torch_generator(k)) % 3 for k in range(6)]).view(2, 3, 6)
    weight, bias = support_init(x, y, 3)
    logits = cosine_logits(q, weight, bias)
    for i in range(2):
        for j in range(3):
            one = support_init(x[i, j], y[i, j], 3)
            torch.testing.assert_close(weight[i, j], one[0])
            torch.testing.assert_close(logits[i, j], cosine_logits(q[i, j], *one))
    torch.testing.assert_close(class_prototypes(x, y[0, 0], 3)[1, 2], class_prototypes(x[1, 2], y[0, 0], 3))


def test_the_gradient_is_that_of_the_formula():
    x, y = randn(6, 4).requires_grad_(), torch.tensor([0, 1, 2, 0, 1, 2])
    assert torch.autograd.gradcheck(lambda v: class_prototypes(v, y, 3), (x,))
    assert torch.autograd.gradcheck(lambda v: cosine_logits(v, *support_init(v, y, 3)), (x,))


X = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("features", "labels", "way", "error", "match"),
    [
        (X, [0, 1, 1], 3, ValueError, "class 2 has no support item"),
        (X, [0, 1, 2], 2, ValueError, r"must be 0\.\.1 for 2 ways, got 0\.\.2"),
        (X, [-1, 0, 1], 2, ValueError, "got -1"),
        (X, [3, 7, 9], 3, ValueError, "number the classes of an episode by their place"),
        (X, ["a", "b", "b"], 2, TypeError, "number the classes first"),
        (X, [0.0, 1.0, 1.0], 2, TypeError, "whole numbers"),
        (X, [0, 1], 2, ValueError, "one per item"),
        (X, [0, 1, 1], 0, ValueError, "way"),
        (X * torch.nan, [0, 1, 1], 2, ValueError, "NaN"),
        (X[:0], [], 1, (ValueError, TypeError), "features"),
        (np.ones((3, 2)), [0, 1, 1], 2, TypeError, "torch tensor"),
        (X.long(), [0, 1, 1], 2, TypeError, "floating point"),
    ],
)
def test_what_makes_no_prototypes_is_refused(features, labels, way, error, match):
    for function in (class_prototypes, support_init):
        with pytest.raises(error, match=match):
            function(features, labels, way)


@pytest.mark.parametrize(
    ("weight", "bias", "match"),
    [
        (torch.ones(2, 3), torch.zeros(2), "3 numbers per class and features have 2"),
        (torch.ones(2, 2), torch.zeros(3), "bias must have shape"),
        (torch.ones(2, 2).double(), torch.zeros(2), "dtype"),
        (torch.ones(4, 2, 2), torch.zeros(4, 2), "leading dimensions"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(weight, bias, match):
    with pytest.raises(ValueError, match=match):
        cosine_logits(X, weight, bias)
