"""What is measured of a trained network on dSprites, with a hand-made network whose code is known."""

import pytest
import torch

from workings.chapters.sprite_runs import Run, encoder, measure
from workings.disentangling.dsprites_data import DSprites, sub_grid


class Surveyor:
    """A "VAE" that measures: latents are x, y and size of the sprite, each standardised, and x again, a thousandth high."""

    def encode(self, images):
        ink = images[:, 0]
        area, place = ink.sum(dim=(1, 2)), torch.arange(64.0)
        x, y = (ink.sum(dim=1) @ place) / area, (ink.sum(dim=2) @ place) / area
        mu = torch.stack([(x - 31.5) / 9, (y - 31.5) / 9, (area.sqrt() - 14) / 3.3, (x - 31.5) / 9000], dim=1)
        return mu, torch.tensor([-4.0, -4.0, -4.0, 0.0]).expand_as(mu)

    def decode(self, z):
        return torch.zeros(len(z), 1, 64, 64)


@pytest.fixture(scope="module")
def squares():
    return DSprites(classes=sub_grid((0, 1), range(6), range(0, 40, 20), range(0, 32, 4), range(0, 32, 4)))


def measured(squares, model=None, **options):
    run = Run("fc", "beta", 4.0, steps=1, seed=0)
    return measure(run, model or Surveyor(), squares, n_images=600, n_train=60, n_eval=30, **options)


def test_a_silent_latent_that_copies_a_factor_hides_the_gap_unless_it_is_left_out(squares):
    everything, active = measured(squares), measured(squares, active_above=0.1)
    assert everything["kl_per_latent"][3] < 1e-5 and min(everything["kl_per_latent"][:3]) > 1
    for found in (everything, active):
        assert min(found["corr"].values()) > 0.9 and found["latent"]["pos_y"] == 1 and found["latent"]["scale"] == 2
    assert everything["gap"]["pos_x"] < 1e-6
    assert active["gap"]["pos_x"] > 0.85 and active["latent"]["pos_x"] == 0
    assert everything["gap"]["pos_y"] == pytest.approx(active["gap"]["pos_y"])


class Whisperer(Surveyor):
    """The same code a thousandth high, with the prior's width: it tells all and carries nothing."""

    def encode(self, images):
        mu, logvar = super().encode(images)
        return mu / 1000, torch.zeros_like(logvar)


def test_a_code_that_carries_nothing_scores_like_chance_once_silent_latents_are_left_out(squares):
    everything, active = (measured(squares, model=Whisperer(), **o) for o in ({}, {"active_above": 0.1}))
    assert everything["score"] > 0.6 and everything["mig"] > 0.05 and min(everything["corr"].values()) > 0.9
    # 30 answers, each right by chance in one case of five: 16 or more have a probability below 1e-4
    assert active["score"] <= 0.5 and active["mig"] == 0 and max(active["corr"].values()) == 0


def test_nats_do_not_depend_on_which_latents_count(squares):
    everything, active = measured(squares), measured(squares, active_above=0.1)
    for name in ("kl", "nll_mean", "nll_sampled", "kl_per_latent"):
        assert everything[name] == active[name]
    assert everything["nll_mean"] == pytest.approx(4096 * torch.log(torch.tensor(2.0)).item(), rel=1e-6)


def test_the_encoder_silences_what_is_not_kept(squares):
    images = squares.images(torch.arange(5))
    mu, _ = Surveyor().encode(images)
    assert torch.equal(encoder(Surveyor())(images), mu)
    kept = encoder(Surveyor(), torch.tensor([True, False, True, False]))(images)
    assert torch.equal(kept[:, ::2], mu[:, ::2]) and not kept[:, 1::2].any()
