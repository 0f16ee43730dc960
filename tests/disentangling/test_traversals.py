"""Latent traversals against a linear decoder, where every answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from workings.disentangling.traversal import latent_traversal, traversal_grid
from workings.seeding import torch_generator

M, PIXELS = 4, 6
WEIGHT = torch.randn(M, PIXELS, generator=torch_generator(0, "weight"), dtype=torch.float64)
Z0 = torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64)
VALUES = torch.linspace(-3, 3, 7, dtype=torch.float64)


def linear(z):
    return z @ WEIGHT


def images(z):
    return (z @ WEIGHT).view(-1, 1, 2, 3)


def test_along_one_latent_a_linear_decoder_moves_along_its_row():
    for dim in range(M):
        expected = Z0 @ WEIGHT + (VALUES - Z0[dim])[:, None] * WEIGHT[dim]
        # Sums of four products in another order.
        torch.testing.assert_close(latent_traversal(linear, Z0, dim, VALUES), expected, rtol=0, atol=1e-13)


def test_only_the_chosen_latent_moves_and_it_takes_the_values_themselves():
    codes = traversal_grid(lambda z: z, Z0, [2, 0], VALUES)
    assert codes.shape == (2, 7, M)
    assert torch.equal(codes[0, :, 2], VALUES) and torch.equal(codes[1, :, 0], VALUES)
    assert torch.equal(codes[0][:, [0, 1, 3]], Z0[[0, 1, 3]].expand(7, 3))
    assert torch.equal(codes[1][:, [1, 2, 3]], Z0[[1, 2, 3]].expand(7, 3))


def test_at_its_own_value_the_traversal_shows_the_start():
    for dim in range(M):
        assert torch.equal(latent_traversal(lambda z: z, Z0, dim, [Z0[dim].item()])[0], Z0)


def test_rows_of_the_grid_are_the_single_traversals_with_image_shape():
    grid = traversal_grid(images, Z0, [3, 1], VALUES)
    assert grid.shape == (2, 7, 1, 2, 3)
    for row, dim in zip(grid, (3, 1), strict=True):
        torch.testing.assert_close(row, latent_traversal(images, Z0, dim, VALUES), rtol=0, atol=1e-13)


def test_the_decoder_is_called_once_without_gradients_and_the_start_is_left_alone():
    start = Z0.clone().requires_grad_()
    calls = []

    def decode(z):
        calls.append((tuple(z.shape), torch.is_grad_enabled()))
        return z * 2.0

    drawn = traversal_grid(decode, start, [0, 1, 2], [0.0, 1.0])
    assert calls == [((6, M), False)]
    assert not drawn.requires_grad and torch.equal(start.detach(), Z0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_codes_keep_the_dtype_of_the_start(dtype):
    assert latent_traversal(lambda z: z, Z0.to(dtype), 0, VALUES).dtype == dtype


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: latent_traversal(linear, Z0, M, VALUES), ValueError, "at most 3"),
        (lambda: latent_traversal(linear, Z0, -1, VALUES), ValueError, "at least 0"),
        (lambda: latent_traversal(linear, Z0, 0.0, VALUES), TypeError, "integer"),
        (lambda: latent_traversal(linear, Z0, 0, []), ValueError, "values"),
        (lambda: latent_traversal(linear, Z0, 0, 1.0), ValueError, "values"),
        (lambda: latent_traversal(linear, Z0, 0, [math.nan]), ValueError, "finite"),
        (lambda: latent_traversal(linear, Z0 * math.inf, 0, VALUES), ValueError, "finite"),
        (lambda: latent_traversal(linear, Z0[None], 0, VALUES), ValueError, "one code"),
        (lambda: latent_traversal(linear, Z0.long(), 0, VALUES), TypeError, "floats"),
        (lambda: latent_traversal(linear, [0.0, 1.0], 0, VALUES), TypeError, "floats"),
        (lambda: latent_traversal(lambda z: z[:1], Z0, 0, VALUES), ValueError, "keep the batch"),
        (lambda: traversal_grid(linear, Z0, [], VALUES), ValueError, "dims is empty"),
        (lambda: traversal_grid(linear, Z0, [0, 4], VALUES), ValueError, "at most 3"),
    ],
)
def test_a_traversal_refuses_what_it_cannot_mean(call, error, words):
    with pytest.raises(error, match=words):
        call()
