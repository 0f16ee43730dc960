"""Networks trained in an ensemble end where each would have ended alone."""

import pytest
import torch
from torch import nn

from workings.disentangling.ensembles import (
    Job,
    LinearEnsemble,
    VAEEnsemble,
    draw_noise,
    flat_then_linear,
    train_known_factor_ensemble,
    train_many,
    train_vae_ensemble,
)
from workings.disentangling.factor_channel import FactorChannel, standardise
from workings.disentangling.known_factor import KnownFactorModel, train_known_factor
from workings.disentangling.networks import VAE, MLPDecoder, MLPEncoder, initialise, mlp_vae
from workings.disentangling.training import annealed_capacity, fixed_beta, train_vae
from workings.seeding import torch_generator

PICTURES = torch.rand(100, 1, 4, 4, dtype=torch.float64, generator=torch_generator(0, "pictures"))
FACTORS = standardise(torch.randn(100, 3, dtype=torch.float64, generator=torch_generator(0, "factors")))
PLAN = dict(c_max=6.0, rising=30, batch=16, learning_rate=2e-3, window=10)


def fresh(seed: int, hidden=(8, 6)):
    return mlp_vae(4, 3, hidden, generator=torch_generator(seed, "start")).double()


def fresh_known(seed: int) -> KnownFactorModel:
    decoder = initialise(MLPDecoder(4, 3, (8, 6)), torch_generator(seed, "start"))
    return KnownFactorModel(FactorChannel(3), decoder).double()


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    """Equal but for sums in another order: float64, 45 steps of Adam, whose steps are of size 2e-3 and 1e-2."""
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_an_ensemble_of_layers_is_vmap_over_the_networks_stacked_by_torch():
    models = [fresh(seed).encoder for seed in range(3)]
    x = torch.rand(3, 5, 16, dtype=torch.float64, generator=torch_generator(0, "x"))
    ensemble = LinearEnsemble([model.linears for model in models])
    parameters, buffers = torch.func.stack_module_state(models)
    call = lambda p, b, rows: torch.func.functional_call(models[0], (p, b), (rows.view(-1, 1, 4, 4),))
    mu, logvar = torch.func.vmap(call)(parameters, buffers, x)
    found = ensemble(x)
    close(found, torch.cat([mu, logvar], dim=2))
    found.square().sum().backward()
    torch.cat([mu, logvar], dim=2).square().sum().backward()
    for k, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
        close(weight.grad.transpose(1, 2), parameters[f"linears.{k}.weight"].grad)
        close(bias.grad[:, 0], parameters[f"linears.{k}.bias"].grad)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Squared(MLPDecoder):
    def forward(self, z):
        return super().forward(z).square()


def with_forward(module):
    module.forward = lambda x: 2 * type(module).forward(module, x)
    return module


def hooked(module, register):
    getattr(module, register)(lambda *given: None)
    return module


LINEARS = {
    "hook": lambda: hooked(nn.Linear(6, 6), "register_forward_hook"),
    "pre-hook": lambda: hooked(nn.Linear(6, 6), "register_forward_pre_hook"),
    "backward hook": lambda: hooked(nn.Linear(6, 6), "register_full_backward_hook"),
    "own forward": lambda: with_forward(nn.Linear(6, 6)),
    "other class": lambda: Doubled(6, 6),
    "normed": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)),
    "no bias": lambda: nn.Linear(6, 6, bias=False),
}


@pytest.mark.parametrize("kind", LINEARS)
def test_a_layer_that_does_more_than_a_linear_map_is_refused(kind):
    plain = [nn.Linear(6, 6), nn.Linear(6, 6)]
    LinearEnsemble([plain, plain])
    with pytest.raises(ValueError, match="plain linear layers"):
        LinearEnsemble([plain, [nn.Linear(6, 6), LINEARS[kind]()]])


NETWORKS = {
    "tanh": lambda: VAE(MLPEncoder(4, 3, (8, 6)), MLPDecoder(4, 3, (6, 8), torch.tanh)),
    "decoder's hook": lambda: (lambda m: VAE(m.encoder, hooked(m.decoder, "register_forward_hook")))(fresh(0)),
    "encoder's hook": lambda: (lambda m: VAE(hooked(m.encoder, "register_forward_pre_hook"), m.decoder))(fresh(0)),
    "decoder's own forward": lambda: (lambda m: VAE(m.encoder, with_forward(m.decoder)))(fresh(0)),
    "other decoder": lambda: VAE(MLPEncoder(4, 3, (8, 6)), Squared(4, 3, (6, 8))),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_that_an_ensemble_would_compute_as_another_is_refused(kind):
    plain, odd = fresh(1), NETWORKS[kind]().double()
    with pytest.raises(ValueError, match="one by one"):
        VAEEnsemble([plain, odd])
    with pytest.raises(ValueError, match="one by one"):
        train_vae_ensemble([plain, odd], (0, 1), PICTURES, fixed_beta(1.0), 1)
    if kind != "encoder's hook":
        model = KnownFactorModel(FactorChannel(3), odd.decoder).double()
        with pytest.raises(ValueError, match="one by one"):
            train_known_factor_ensemble([model], [0], FACTORS, PICTURES, 1, **PLAN)


@pytest.mark.parametrize("activation", [torch.relu, nn.functional.relu, nn.ReLU()])
def test_relu_by_any_of_its_names_is_taken(activation):
    model = VAE(fresh(0).encoder, MLPDecoder(4, 3, (6, 8), activation).double())
    z = torch.randn(5, 3, dtype=torch.float64, generator=torch_generator(0, "z"))
    close(VAEEnsemble([model]).decoder(z[None])[0], model.decode(z).flatten(1).detach())


@pytest.mark.parametrize("objective", [fixed_beta(2.0), annealed_capacity(10.0, 3.0, 20, 0.5)])
def test_each_vae_ends_where_it_would_have_ended_alone(objective):
    seeds, steps = (3, 0, 7), 45
    together = train_vae_ensemble([fresh(s) for s in seeds], seeds, PICTURES, objective, steps, batch=16, window=10)
    for found, seed in zip(together, seeds, strict=True):
        alone = fresh(seed)
        adam = torch.optim.Adam(alone.parameters(), lr=2e-3)
        history = train_vae(alone, PICTURES, steps, objective, seed=seed, batch=16, optimiser=adam, window=10)
        for mine, other in zip(found.model.parameters(), alone.parameters(), strict=True):
            close(mine, other)
        assert found.seed == seed and torch.equal(found.history.steps, history.steps)
        close(found.history.nll, history.nll)
        close(found.history.kl, history.kl)


def test_copies_are_the_networks_of_the_steps_asked_for():
    models = [fresh(0), fresh(1)]
    long = train_vae_ensemble(models, (0, 1), PICTURES, fixed_beta(1.0), 12, batch=16, keep_at=(5, 12))
    short = train_vae_ensemble([fresh(0), fresh(1)], (0, 1), PICTURES, fixed_beta(1.0), 5, batch=16)
    for found, cut in zip(long, short, strict=True):
        first, last = found.kept
        for mine, other, end, now in zip(
            first.parameters(), cut.model.parameters(), last.parameters(), found.model.parameters(), strict=True
        ):
            assert torch.equal(mine, other) and torch.equal(end, now) and end is not now


@pytest.mark.parametrize("learn_rates", [True, False])
def test_each_known_factor_model_ends_where_it_would_have_ended_alone(learn_rates):
    seeds, steps = (3, 0, 7), 45
    models = [fresh_known(seed) for seed in seeds]
    together = train_known_factor_ensemble(
        models, seeds, FACTORS, PICTURES, steps, learn_rates=learn_rates, keep_at=(20, 45), **PLAN
    )
    for found, model, seed in zip(together, models, seeds, strict=True):
        alone = fresh_known(seed)
        wanted = train_known_factor(
            alone, FACTORS, PICTURES, steps, seed=seed, learn_rates=learn_rates, keep_at=(20, 45), **PLAN
        )
        for a, b in zip(found[:3], wanted[:3], strict=True):
            close(a, b)
        for mine, other in zip([model, *found.kept], [alone, *wanted.kept], strict=True):
            assert mine is not other and mine.channel.capacity == other.channel.capacity
            for a, b in zip(mine.parameters(), other.parameters(), strict=True):
                close(a, b)
        assert bool((model.channel.logits != 0).any()) == learn_rates


def test_a_job_ends_where_it_ends_whatever_the_other_jobs_are():
    jobs = [Job(PICTURES, 1.0, 0), Job(PICTURES[:60], 4.0, 1), Job(PICTURES, 0.0, 2, noisy=False)]
    plan = dict(latent_dim=3, hidden=(8, 6), batch=16)
    together = train_many(jobs, 45, **plan)
    for job, found in zip(jobs, together, strict=True):
        (alone,) = train_many([job], 45, **plan)
        for mine, other in zip(found.parameters(), alone.parameters(), strict=True):
            close(mine, other)


def test_the_learning_rate_stays_for_seven_tenths_and_ends_at_a_twentieth():
    assert [flat_then_linear(p) for p in (0.0, 0.5, 0.7)] == [1.0, 1.0, 1.0]
    assert flat_then_linear(0.85) == pytest.approx(0.525) and flat_then_linear(1.0) == pytest.approx(0.05)


def test_networks_of_several_shapes_or_none_or_without_a_seed_are_refused():
    for models, seeds, why in (
        ([fresh(0), fresh(1, (8, 7))], (0, 1), "all of one shape"),
        ([], (), "all of one shape"),
        ([fresh(0)], (0, 1), "a seed for each"),
    ):
        with pytest.raises(ValueError, match=why):
            train_vae_ensemble(models, seeds, PICTURES, fixed_beta(1.0), 1)
    with pytest.raises(ValueError, match="a seed for each"):
        train_known_factor_ensemble([fresh_known(0)], (0, 1), FACTORS, PICTURES, 1, **PLAN)


def test_a_loss_that_is_not_finite_is_an_error():
    vae, known = fresh(0), fresh_known(0)
    with torch.no_grad():
        for model in (vae, known):
            model.decoder.linears[-1].bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        train_vae_ensemble([vae], (0,), PICTURES, fixed_beta(1.0), 1)
    with pytest.raises(FloatingPointError, match="not finite"):
        train_known_factor_ensemble([known], (0,), FACTORS, PICTURES, 1, **PLAN)


def test_a_row_of_noise_is_what_its_generator_gives_alone():
    streams = lambda: [torch_generator(seed, "noise") for seed in (4, 5)]
    together = draw_noise(streams(), torch.empty(2, 3, 2, dtype=torch.float64))
    alone = [torch.randn(3, 2, generator=stream, dtype=torch.float64) for stream in streams()]
    assert torch.equal(together, torch.stack(alone))
    with pytest.raises(ValueError, match="2 generators and 3 rows"):
        draw_noise(streams(), torch.empty(3, 2))
