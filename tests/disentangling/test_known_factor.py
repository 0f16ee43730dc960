"""The known-factor experiment: rates that sum to the capacity, the order of the factors on data where it is known, resuming."""

import math

import pytest
import torch
from torch import nn

from workings.disentangling.factor_channel import FactorChannel, standardise
from workings.disentangling.known_factor import KnownFactorModel, RateHistory, onset_capacity, train_known_factor
from workings.disentangling.networks import MLPDecoder, initialise
from workings.disentangling.objectives import capacity_schedule
from workings.seeding import torch_generator


def striped(n: int = 512, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (n, 1, 4, 4) of two independent coins: the first lights 12 pixels, the second 2; factors standardised."""
    coins = torch.randint(0, 2, (n, 2), generator=torch_generator(seed, "coins")).float()
    pictures = torch.zeros(n, 16)
    pictures[:, :12] = coins[:, :1]
    pictures[:, 12:14] = coins[:, 1:]
    return standardise(coins), pictures.view(n, 1, 4, 4)


def model(seed: int = 0, factors: int = 2) -> KnownFactorModel:
    decoder = initialise(MLPDecoder(4, factors, (16,)), torch_generator(seed, "decoder"))
    return KnownFactorModel(FactorChannel(factors), decoder)


def run(steps: int = 400, seed: int = 0, net: KnownFactorModel | None = None, **settings) -> RateHistory:
    factors, pictures = striped()
    settings = {"c_max": 3.0, "rising": 360, "batch": 32, "learning_rate": 5e-3, "window": 20, **settings}
    return train_known_factor(model(seed) if net is None else net, factors, pictures, steps, seed=seed, **settings)


def test_rates_sum_to_the_scheduled_capacity_in_every_window():
    found = run(100, rising=90, window=10)
    wanted = [sum(capacity_schedule(s, 3.0, 90) for s in range(a, a + 10)) / 10 for a in range(0, 100, 10)]
    # float32 softmax times capacity, ten steps averaged in float64: 1e-6 relative
    torch.testing.assert_close(found.capacity, torch.tensor(wanted, dtype=torch.float64), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.rates.sum(1), found.capacity)
    assert found.rates.shape == (10, 2) and found.nll.shape == (10,)


def test_the_factor_that_moves_more_pixels_gets_capacity_first():
    for seed in (0, 1):
        found = run(seed=seed)
        first, second = onset_capacity(found, 0.3)
        assert first < second
        early = int((found.capacity - 0.7).abs().argmin())
        assert found.rates[early, 0] > 2 * found.rates[early, 1]


def test_the_order_follows_the_picture_and_not_the_column():
    factors, pictures = striped()
    found = train_known_factor(
        model(), factors.flip(1), pictures, 400, c_max=3.0, rising=360, seed=0, batch=32, learning_rate=5e-3, window=20
    )
    first, second = onset_capacity(found)
    assert second < first


def test_learned_rates_reconstruct_better_than_equal_ones_while_capacity_is_scarce():
    learned, equal = run(), run(learn_rates=False)
    early = int((learned.capacity - 1.0).abs().argmin())
    assert learned.nll[early] < equal.nll[early]
    torch.testing.assert_close(equal.rates[:, 0], equal.rates[:, 1])


def test_without_capacity_nothing_is_learned_of_the_factors():
    found = run(200, c_max=0.0)
    assert (found.rates == 0).all()
    # 12 + 2 pixels are fair coins to such a decoder: ln 2 each, and it cannot do better in the mean
    assert found.nll[-3:].mean() > 14 * math.log(2) * 0.97


def test_a_run_follows_from_its_seed():
    one, two, other = run(40), run(40), run(40, seed=1)
    assert torch.equal(one.nll, two.nll) and torch.equal(one.rates, two.rates)
    assert not torch.equal(one.nll, other.nll)


def test_kept_models_are_copies_at_the_steps_asked_for():
    net = model()
    found = run(100, rising=100, net=net, keep_at=[10, 50, 100])
    assert [float(m.channel.capacity) for m in found.kept] == pytest.approx([0.27, 1.47, 2.97])  # of step 9, 49, 99
    weights = [m.decoder.linears[0].weight for m in found.kept]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[2], net.decoder.linears[0].weight) and weights[2] is not net.decoder.linears[0].weight


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(tmp_path):
    class Stopping:
        """Pictures that fail after a number of batches."""

        def __init__(self, pictures, after):
            self.pictures, self.left = pictures, after

        def __len__(self):
            return len(self.pictures)

        def images(self, indices):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return self.pictures[indices]

    factors, pictures = striped()
    settings = dict(c_max=3.0, rising=50, seed=0, batch=32, window=10, checkpoint_every=20)
    whole = train_known_factor(model(), factors, pictures, 60, **settings, checkpoint=tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        stopping = Stopping(pictures, 37)
        train_known_factor(model(), factors, stopping, 60, **settings, checkpoint=tmp_path / "cut.pt")
    again = train_known_factor(model(), factors, pictures, 60, **settings, checkpoint=tmp_path / "cut.pt")
    assert torch.equal(whole.nll, again.nll) and torch.equal(whole.rates, again.rates)


def test_onset_capacity_is_where_a_rate_stays_above_the_threshold():
    rates = torch.tensor([[0.0, 0.5, 0.0], [0.4, 0.1, 0.0], [0.6, 0.2, 0.1], [0.9, 0.4, 0.2]], dtype=torch.float64)
    found = RateHistory(torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64), rates, torch.zeros(4), [])
    assert onset_capacity(found, 0.3) == [1.0, 3.0, math.inf]
    assert onset_capacity(RateHistory(found.capacity, rates + 1, found.nll, []), 0.3) == [0.5] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(keep_at=[5, 3]), "keep_at must increase"),
        (dict(keep_at=[500]), "at most 400"),
        (dict(c_max=-1.0), "c_max"),
        (dict(rising=0), "n_steps"),
        (dict(window=0), "window"),
        (dict(checkpoint="never-written", keep_at=[1]), "leave keep_at empty"),
        (dict(checkpoint="never-written", checkpoint_every=30), "multiple of window"),
    ],
)
def test_bad_settings_are_refused_before_training(change, message):
    with pytest.raises(ValueError, match=message):
        run(**change)


def test_factors_and_pictures_must_go_together():
    factors, pictures = striped()
    with pytest.raises(ValueError, match="one row per picture"):
        train_known_factor(model(), factors[:-1], pictures, 2, c_max=1.0, rising=1, seed=0)


def test_the_model_gives_the_decoder_noisy_factors():
    net = KnownFactorModel(FactorChannel(2, 40.0), nn.Identity())
    f = torch.tensor([[1.0, -1.0]])
    # 20 nats per factor leave noise of e^-20: the factors come through
    torch.testing.assert_close(net(f, torch_generator(0)), f)
    closed = KnownFactorModel(FactorChannel(2, 0.0), nn.Identity())
    assert torch.equal(closed(f, torch_generator(1)), closed(-f, torch_generator(1)))
