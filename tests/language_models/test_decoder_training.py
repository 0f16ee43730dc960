"""Training of a tiny decoder: which numbers the loss counts, what a step does, and where positions enter."""

import pytest
import torch
import torch.nn.functional as F

from workings.language_models.decoder import TinyDecoder
from workings.language_models.lines_task import IGNORE, lines_batch
from workings.language_models.random_positions import random_positions
from workings.language_models.training import lines_batches, next_token_batches, train_decoder
from workings.seeding import deterministic, torch_generator

LINES = {"batch": 3, "length": 16, "n_queries": 2, "n_keys": 12, "n_values": 4}


def model(seed=0):
    return TinyDecoder(16, width=8, n_heads=2, mlp_width=8, key_shift=True, generator=torch_generator(seed, "model"))


def test_the_first_loss_is_the_mean_cross_entropy_at_the_targets():
    net, batches = model(), lines_batches(5, "lines", **LINES)
    tokens, targets = batches(0)
    logp = net(tokens, theta=net.theta / 2).detach().log_softmax(-1)
    asked = [(b, t) for b in range(3) for t in range(16) if targets[b, t] != IGNORE]
    expected = -sum(float(logp[b, t, targets[b, t]]) for b, t in asked) / 6
    trained = train_decoder(net, batches, 1, seed=5, lr=1e-3, theta=net.theta / 2)
    assert len(asked) == 6 and trained.losses[0].item() == pytest.approx(expected, abs=1e-5)  # float32


def test_two_steps_are_adamw_by_hand():
    net, by_hand, batches = model(), model(), lines_batches(1, "lines", **LINES)
    with deterministic(threads=1):
        train_decoder(net, batches, 2, seed=1, lr=0.01, warmup=0, clip_norm=0.5, betas=(0.8, 0.9), weight_decay=0.1)
        weights = list(by_hand.parameters())
        first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
        for step in (0, 1):
            tokens, targets = batches(step)
            loss = F.cross_entropy(by_hand(tokens).flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
            grads = torch.autograd.grad(loss, weights)
            norm = torch.stack([g.norm() for g in grads]).norm()
            rate = 0.01 * (1.0 if step == 0 else 0.5)  # half way down the cosine to zero
            for w, g, m, v in zip(weights, grads, first, second, strict=True):
                g = g * min(1.0, 0.5 / float(norm))
                m.mul_(0.8).add_(0.2 * g)
                v.mul_(0.9).add_(0.1 * g**2)
                ahead = (m / (1 - 0.8 ** (step + 1))) / ((v / (1 - 0.9 ** (step + 1))).sqrt() + 1e-8)
                w.data -= rate * (0.1 * w.data + ahead)
    for ours, theirs in zip(net.parameters(), weights, strict=True):
        # Adam divides by |g|: where a gradient is near the rounding of float32, a step of the rate is all that is sure.
        assert torch.allclose(ours, theirs, atol=2e-4)


def test_random_positions_are_drawn_anew_in_every_step_and_exclude_given_ones():
    seen = []

    class Spy(TinyDecoder):
        def states(self, tokens, **options):
            seen.append(options["positions"])
            return super().states(tokens, **options)

    net = Spy(16, width=8, n_heads=2, mlp_width=8, generator=torch_generator(0, "model"))
    batches = lines_batches(0, "lines", **LINES)
    train_decoder(net, batches, 2, seed=3, lr=1e-3, random_positions=True)
    expected = [random_positions(3, 16, torch_generator(3, "fit", "loss", step)) for step in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True)) and not torch.equal(*seen)
    with pytest.raises(ValueError, match="not both"):
        train_decoder(model(), batches, 1, seed=0, lr=1e-3, random_positions=True, positions=torch.arange(16))


def test_batches_are_functions_of_the_step_and_of_the_stream():
    batches, other = lines_batches(0, "a", **LINES), lines_batches(0, "b", **LINES)
    direct = lines_batch(3, 6, 2, n_keys=12, n_values=4, generator=torch_generator(0, "a", 7))
    assert torch.equal(batches(7)[0], direct.tokens) and torch.equal(batches(7)[1], direct.targets)
    assert not torch.equal(batches(7)[0], batches(8)[0]) and not torch.equal(batches(7)[0], other(7)[0])


def test_the_target_of_a_character_is_the_next_one():
    codes = torch.arange(100)
    tokens, targets = next_token_batches(codes, 0, "text", batch=4, length=9)(0)
    assert tokens.shape == targets.shape == (4, 9) and torch.equal(targets, tokens + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"lr": 0.0}, "lr"), ({"steps": 0}, "steps"), ({"warmup": -1}, "warmup"), ({"clip_norm": 0.0}, "clip_norm")],
)
def test_a_training_that_makes_no_sense_is_refused(change, message):
    options = {"steps": 1, "lr": 1e-3, **change}
    with pytest.raises(ValueError, match=message):
        train_decoder(model(), lines_batches(0, "a", **LINES), options.pop("steps"), seed=0, **options)


def test_batches_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="length"):
        lines_batches(0, "a", **{**LINES, "length": 15})
    with pytest.raises(ValueError, match="length"):
        next_token_batches(torch.arange(10), 0, "a", batch=1, length=0)
    with pytest.raises(ValueError, match="N >= length"):
        next_token_batches(torch.arange(10), 0, "a", batch=1, length=10)(0)


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ({}, {"random_positions": True}, "random_positions"),
        ({"random_positions": True}, {}, "random_positions"),
        ({"layout": "half"}, {"layout": "interleaved"}, "layout"),
        ({"theta": torch.tensor([1.0, 0.01])}, {"theta": torch.tensor([1.0, 0.02])}, "theta"),
    ],
)
def test_a_checkpoint_of_other_positions_is_refused_by_name(first, second, name, tmp_path):
    batches, file = lines_batches(5, "lines", **LINES), tmp_path / "state.pt"
    train_decoder(model(), batches, 2, seed=5, lr=1e-3, checkpoint=file, **first)
    with pytest.raises(ValueError, match=name):
        train_decoder(model(), batches, 3, seed=5, lr=1e-3, checkpoint=file, **second)
    again = train_decoder(model(), batches, 2, seed=5, lr=1e-3, checkpoint=file, **first)
    assert again.resumed_at == 2
