"""Stroke glyphs: what is drawn is a function of the generator, and a picture of the strokes."""

import numpy as np
import pytest
import torch

from workings.few_shot.episodes import EpisodeSampler
from workings.few_shot.evaluation import centroid_accuracy
from workings.few_shot.glyphs import EDGE, _drawers, draw_strokes, make_glyphs
from workings.seeding import numpy_generator, torch_generator


def strokes(n=3, s=2):
    rng = numpy_generator(0, "strokes")
    return rng.uniform(-0.6, 0.6, (n, s, 4, 2)), np.ones((n, s), dtype=bool), np.full(n, 0.07)


def test_equal_seeds_give_equal_pictures_bit_for_bit_and_others_do_not():
    first, again, other = (make_glyphs(3, 4, 5, np.random.default_rng(seed)) for seed in (0, 0, 1))
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(first.images, other.images)


def test_the_order_is_alphabet_character_drawer_and_pixels_are_shares_of_ink():
    found = make_glyphs(3, 4, 5, np.random.default_rng(0), size=20)
    assert found.images.shape == (60, 1, 20, 20) and found.images.dtype == np.float32
    assert found.images.min() >= 0 and found.images.max() <= 1 and found.images.max() > 0.9
    assert found.characters.tolist() == [c for c in range(12) for _ in range(5)]
    assert found.alphabets.tolist() == [a for a in range(3) for _ in range(20)]
    assert found.drawers.tolist() == list(range(5)) * 12


def test_without_noise_and_with_neutral_drawers_every_drawing_of_a_character_is_the_same():
    plain = make_glyphs(2, 3, 4, np.random.default_rng(0), noise=0, shift=0, drawer_spread=0).images.reshape(6, 4, -1)
    assert np.array_equal(plain, np.broadcast_to(plain[:, :1], plain.shape))
    assert len(np.unique(plain[:, 0], axis=0)) == 6
    drawn = make_glyphs(2, 3, 4, np.random.default_rng(0), noise=0, shift=0).images.reshape(6, 4, -1)
    assert all(len(np.unique(rows, axis=0)) == 4 for rows in drawn)  # drawers differ


def test_a_step_of_the_grid_moves_the_picture_by_a_pixel():
    control, present, pen = strokes()
    step = 2 * EDGE / 27
    still = draw_strokes(control, present, pen)
    right = draw_strokes(control + np.array([step, 0]), present, pen)
    up = draw_strokes(control + np.array([0, step]), present, pen)
    assert np.allclose(right[:, :, 1:], still[:, :, :-1], atol=2e-5)
    assert np.allclose(up[:, :-1], still[:, 1:], atol=2e-5)  # y points up, row 0 is the top


def test_one_blob_is_what_the_formula_says():
    control, pen = np.full((1, 1, 4, 2), 0.0), np.array([0.1])  # a stroke without length: 20 points at the centre
    grid = np.linspace(-EDGE, EDGE, 21)
    ink = 20 * np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * 0.1**2))
    assert np.allclose(draw_strokes(control, np.array([[True]]), pen, 21)[0], 1 - np.exp(-1.2 * ink), atol=1e-5)


def test_a_stroke_that_is_not_present_leaves_no_ink_and_strokes_add_up():
    control, present, pen = strokes(2, 2)
    present[0, 1] = present[1, 0] = False
    alone = draw_strokes(control, present, pen)
    assert np.allclose(alone[0], draw_strokes(control[:1, :1], np.array([[True]]), pen[:1])[0], atol=1e-6)
    one, two = (draw_strokes(control[:1, k : k + 1], np.array([[True]]), pen[:1])[0] for k in (0, 1))
    both = draw_strokes(control[:1], np.ones((1, 2), dtype=bool), pen[:1])[0]
    assert np.allclose(1 - both, (1 - one) * (1 - two), atol=1e-5)  # exp of a sum


def test_pixels_tell_characters_apart_a_little_and_better_across_alphabets():
    # Four collections of this size gave 0.52 to 0.53 across alphabets and 0.495 to 0.52 within; 2,000 episodes with a standard
    # deviation of about 0.12 give a mean to within 0.003. The bands are far wider, and far from chance, 0.2.
    g = make_glyphs(30, 15, 20, np.random.default_rng(0))
    pixels, labels = torch.from_numpy(g.images).flatten(1), torch.from_numpy(g.characters)
    across = EpisodeSampler(labels, 5, 1, 15, torch_generator(0, "across"))
    within = EpisodeSampler(labels, 5, 1, 15, torch_generator(0, "within"), groups=g.alphabets)
    easy, hard = (centroid_accuracy(pixels, sampler.sample(2000)).mean().item() for sampler in (across, within))
    assert 0.42 < easy < 0.60 and 0.2 < hard < easy


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"alphabets": 0}, ValueError, "alphabets must be at least 1"),
        ({"characters": 1.5}, TypeError, "characters"),
        ({"drawers": 0}, ValueError, "drawers"),
        ({"size": 1}, ValueError, "size"),
        ({"noise": -0.1}, ValueError, "noise"),
        ({"drawer_spread": float("nan")}, ValueError, "drawer_spread"),
        ({"generator": 0}, TypeError, "numpy.random.Generator"),
    ],
)
def test_bad_settings_are_named(change, error, match):
    given = {"alphabets": 1, "characters": 1, "drawers": 1, "generator": np.random.default_rng(0), **change}
    with pytest.raises(error, match=match):
        make_glyphs(**given)


def test_bad_strokes_are_named():
    control, present, pen = strokes()
    for arguments, error, match in (
        ((control[..., :3, :], present, pen), ValueError, "four points"),
        ((control, present.astype(int), pen), TypeError, "True or False"),
        ((control, present[:, :1], pen), ValueError, "one entry per stroke"),
        ((control, present, -pen), ValueError, "above 0"),
        ((control * np.nan, present, pen), ValueError, "NaN"),
    ):
        with pytest.raises(error, match=match):
            draw_strokes(*arguments)


def test_a_drawer_turns_shears_and_stretches_by_its_draws_times_the_spread():
    shape, spread = (3, 4), 0.7
    matrices, pen, sloppiness = _drawers(numpy_generator(0, "drawers"), *shape, spread)
    rng = numpy_generator(0, "drawers")  # the same draws again, in their order
    turn, shear, scale = rng.normal(0, 0.13, shape), rng.normal(0, 0.15, shape), rng.normal(0, 0.12, (*shape, 2))
    ink, loose = rng.uniform(-0.0175, 0.0175, shape), rng.normal(0, 0.35, shape)
    for drawer in np.ndindex(shape):
        t = spread * turn[drawer]
        turned = np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
        sheared = np.array([[1, 0], [spread * shear[drawer], 1]])
        stretched = np.diag(np.exp(spread * scale[drawer]))
        np.testing.assert_allclose(matrices[drawer], stretched @ sheared @ turned, rtol=1e-12)
    np.testing.assert_allclose(pen, 0.0725 + spread * ink, rtol=1e-12)
    np.testing.assert_allclose(np.log(sloppiness), spread * loose, rtol=1e-12)
