"""One example call of every public kernel, by qualified name, for the tests that walk over all of them.

A new kernel needs a line in :data:`EXAMPLES`, or one in :data:`EXCEPTIONS` with the reason. Each example is a function, so
that its arguments (generators among them) are made afresh for every call. :data:`MODULES` holds, for kernels that are
torch modules, how to make one with drawn weights and what to call it on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from workings import seeding
from workings.disentangling import (
    concepts,
    denoising,
    domains,
    ensembles,
    factor_channel,
    factor_grid,
    jmvae,
    layers,
    networks,
    perceptual,
    recombination,
    scan,
    training,
    value_learning,
    worlds,
)
from workings.disentangling.dsprites_data import sub_grid
from workings.disentangling.known_factor import KnownFactorModel, RateHistory
from workings.few_shot import episodes as few_shot_episodes
from workings.few_shot import networks as few_shot_networks
from workings.language_models import (
    constrained_tuning,
    decoder,
    grading,
    grading_tables,
    grammar,
    lines_task,
    lora,
    rotary,
    topic_language,
)
from workings.robustness import bpda, data
from workings.robustness import layers as pruning
from workings.robustness import networks as robust_networks
from workings.uncertainty import confidence_estimators, noisy_votes
from workings.uncertainty.scores import residual_cum_factor

Arguments = tuple[tuple, dict[str, Any]]


def call(*args: Any, **options: Any) -> Arguments:
    return args, options


def g(name: str = "draws") -> torch.Generator:
    return seeding.torch_generator(0, "examples", name)


def rng(name: str = "draws") -> np.random.Generator:
    return seeding.numpy_generator(0, "examples", name)


def normal(*shape: int, name: str = "normal") -> torch.Tensor:
    return torch.randn(*shape, generator=g(name))


def unit(*shape: int, name: str = "unit") -> torch.Tensor:
    return torch.rand(*shape, generator=g(name))


def whole(high: int, *shape: int, name: str = "whole") -> torch.Tensor:
    return torch.randint(high, shape, generator=g(name))


def probabilities(n: int = 6, k: int = 3) -> np.ndarray:
    p = rng("probabilities").random((n, k)) + 0.1
    return p / p.sum(axis=1, keepdims=True)


def weighted(module: nn.Module) -> nn.Module:
    """``module`` with weights from a stream of their own."""
    source = g("weights")
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(0.5 * torch.randn(value.shape, generator=source))
    return module


def darla_domain(*hues: int) -> domains.DomainSpec:
    return domains.DomainSpec.product(wall=hues, floor=(0, 1), kind=(0, 1))


def denoiser() -> nn.Module:
    return denoising.DenoisingAutoencoder((3, 2, 2), bottleneck=2, generator=g("weights"))


def skipped(make: Callable[[], nn.Module]) -> nn.Module:
    """``make()`` with torch's global generator put back: torch's own layers draw their first weights from it."""
    with torch.random.fork_rng(devices=[]):
        return weighted(make())


def linear_net() -> nn.Module:
    return skipped(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)))


def pruned_net(insert: Callable[..., nn.Module] = pruning.insert_sap) -> nn.Module:
    return insert(linear_net(), generator=g("masks"))


def images() -> torch.Tensor:
    return unit(4, 3, 4, name="images")


LABELS = (0, 2, 1, 0)


def labels() -> torch.Tensor:
    return torch.tensor(LABELS)


def quadratic(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1).square().sum(dim=1)


def twice(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return 2 * x


def score(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return quadratic(x)


def half(x: torch.Tensor) -> torch.Tensor:
    return x / 2


def mean_of(values: np.ndarray) -> float:
    return float(values.mean())


def digits_split() -> data.Split:
    return data.Split(unit(12, 1, 8, 8), whole(10, 12))


def vae(size: int = 4) -> networks.VAE:
    return networks.mlp_vae(size, 2, (6,), generator=g("vae"))


def pictures(n: int = 8) -> torch.Tensor:
    return unit(n, 1, 4, 4, name="pictures")


def known_factor_model() -> KnownFactorModel:
    made = skipped(lambda: networks.MLPDecoder(4, 2, (6,)))
    return KnownFactorModel(factor_channel.FactorChannel(2, 1.0), made)


def standard_factors() -> torch.Tensor:
    return factor_channel.standardise(unit(8, 2, name="factors"))


def history() -> training.History:
    return training.History(torch.tensor([5, 10]), unit(2).double(), unit(2, 3).double())


def purchases() -> RateHistory:
    rates = torch.tensor([[0.1, 0.2], [0.5, 0.1], [0.9, 0.4]], dtype=torch.float64)
    return RateHistory(rates.sum(dim=1), rates, unit(3).double(), [])


def grid() -> factor_grid.FactorGrid:
    return factor_grid.FactorGrid((2, 3), unit(6, 2, name="cells"))


def classes() -> torch.Tensor:
    return torch.tensor([[0, 1, 2, 3, 4], [2, 5, 39, 31, 30]])


def tiny(**options: Any) -> decoder.TinyDecoder:
    return decoder.TinyDecoder(30, 8, 1, generator=g("decoder"), **options)


def tokens() -> torch.Tensor:
    return whole(30, 2, 6, name="tokens")


def responses() -> torch.Tensor:
    """Where ``tokens()`` hold a response: (2, 6) bool."""
    return torch.arange(6) >= torch.tensor([[2], [3]])


def lines() -> lines_task.Lines:
    return lines_task.lines_batch(2, 3, 1, n_keys=20, n_values=10, generator=g("lines"))


def theta() -> torch.Tensor:
    return rotary.rope_frequencies(4)


def cos_sin() -> tuple[torch.Tensor, torch.Tensor]:
    return rotary.rotary_tables(range(3), theta())


def adapted() -> decoder.TinyDecoder:
    return lora.add_lora(tiny(), 2, 4.0, ["q_proj"], generator=g("lora"))


def record() -> dict[str, Any]:
    prompt, number = lines_task.longchat_prompt(rng("prompt"), 4)
    key = prompt.rsplit("in line ", 1)[1].split("?")[0]
    return {"prompt": prompt, "expected_number": number, "random_idx": [key, 0], "num_lines": 4}


def squares(net: nn.Module, batch: Any, noise: torch.Generator) -> torch.Tensor:
    return sum(p.square().sum() for p in net.parameters())


def uniform_cdf(r: np.ndarray) -> np.ndarray:
    return np.clip(r, 0.0, 1.0)


def scores_in_unit(n: int = 20) -> np.ndarray:
    return rng("scores").random(n)


def always_right(truth: Any, answer: str, *, rules: str, strict: bool) -> grading.Grade:
    return grading.Grade(1.0, "always")


def small_table() -> grading_tables.Table:
    return grading_tables.Table(["a"], [[1.0], ["x"]])


def adapted_loss(net: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    return net(images()).square().mean()


def few_shot_labels() -> torch.Tensor:
    return torch.arange(4).repeat_interleave(5)


def few_shot_sample() -> few_shot_episodes.Episodes:
    return few_shot_episodes.EpisodeSampler(few_shot_labels(), 3, 1, 2, g("episodes")).sample(4)


def few_shot_net() -> nn.Module:
    return skipped(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 4))).eval()


def few_shot_images(n: int, name: str) -> torch.Tensor:
    return unit(n, 1, 4, 4, name=name)


CONCEPT_SIZES = (4, 3)


def concepts_of(n: int) -> torch.Tensor:
    """Of two attributes, the second left open in one row of two."""
    return torch.tensor([[1, -1], [1, 2]] * 2)[:n]


def shown_attributes() -> torch.Tensor:
    return torch.stack([torch.arange(8) % 4, torch.arange(8) % 3], dim=1)


def scan_pairs() -> scan.Pairs:
    return scan.Pairs(normal(8, 3, name="codes"), normal(8, 3, name="widths"), shown_attributes())


PAIRS = [("name a colour", "red"), ("name a bird", "owl"), ("name a tree", "oak")]

EXAMPLES: dict[str, Callable[[], Arguments]] = {
    # robustness
    "robustness.attacks.check_labels": lambda: call(normal(4, 3), labels()),
    "robustness.attacks.margin_loss": lambda: call(normal(4, 3), labels()),
    "robustness.attacks.cross_entropy_loss": lambda: call(normal(4, 3), labels()),
    "robustness.attacks.eot_gradient": lambda: call(quadratic, images(), 2),
    "robustness.attacks.attack_gradient": lambda: call(linear_net(), "margin", 2),
    "robustness.attacks.fgsm": lambda: call(linear_net(), images(), labels(), 0.1),
    "robustness.attacks.fgsm_step": lambda: call(images(), normal(4, 3, 4), 0.1),
    "robustness.attacks.pgd_linf": lambda: call(
        twice, images(), labels(), 0.1, 0.05, 2, random_start=True, generator=g()
    ),
    "robustness.attacks.random_search_linf": lambda: call(score, images(), labels(), 0.1, 2, generator=g()),
    "robustness.attacks.spsa_gradient": lambda: call(linear_net(), images(), labels(), 2, 0.1, g()),
    "robustness.bpda.pretend": lambda: call(normal(4, 3), normal(4, 3, name="surrogate")),
    "robustness.bpda.identity": lambda: call(normal(4, 3)),
    "robustness.bpda.bpda": lambda: call(torch.sign, half),
    "robustness.bpda.wrap_bpda": lambda: call(linear_net(), nn.ReLU, half),
    "robustness.bpda.replace_modules": lambda: call(linear_net(), nn.ReLU, lambda module: nn.Tanh()),
    "robustness.cifar.fast_autocast": lambda: call("cpu"),
    "robustness.cifar.accuracy": lambda: call(linear_net(), whole(256, 4, 3, 2, 2).to(torch.uint8), labels()),
    "robustness.closed_forms.flat_map": lambda: call(normal(2, 3, 4)),
    "robustness.closed_forms.rounded_back": lambda: call(normal(2, 12), normal(2, 3, 4)),
    "robustness.closed_forms.sap_probabilities": lambda: call(normal(2, 3, 4)),
    "robustness.closed_forms.number_of_draws": lambda: call(0.5, 10),
    "robustness.closed_forms.survival_probability": lambda: call(unit(2, 5), 4),
    "robustness.closed_forms.single_draw_share": lambda: call(unit(2, 5), 4),
    "robustness.closed_forms.survival_and_single_draw": lambda: call(unit(2, 5), 4),
    "robustness.closed_forms.expected_survivors": lambda: call(normal(2, 5), 4),
    "robustness.closed_forms.sap_variance": lambda: call(normal(2, 5), 4),
    "robustness.closed_forms.joint_survival": lambda: call(unit(2, 5), 4),
    "robustness.closed_forms.pathwise_jacobian": lambda: call(normal(2, 5), 4),
    "robustness.data.digits": lambda: call(10),
    "robustness.data.class_counts": lambda: call(labels(), 3),
    "robustness.data.balanced_counts": lambda: call(labels(), 3),
    "robustness.data.as_unit_float": lambda: call(whole(256, 2, 3, 4, 4).to(torch.uint8)),
    "robustness.data.random_crop_flip": lambda: call(unit(3, 1, 5, 5), g(), 2),
    "robustness.digits.train_digits_cnn": lambda: call(digits_split(), 0, epochs=1, batch=6),
    "robustness.evaluation.sample_softmax": lambda: call(linear_net(), images(), 2),
    "robustness.evaluation.mc_predict": lambda: call(linear_net(), images(), 2),
    "robustness.evaluation.robust_accuracies": lambda: call(linear_net(), images(), labels(), 2),
    "robustness.evaluation.robust_accuracy": lambda: call(linear_net(), images(), labels(), 2),
    "robustness.evaluation.gradient_alignment": lambda: call(normal(3, 4), normal(3, 4, name="other")),
    "robustness.layers.SAPLayer": lambda: call(1.0, "mask", g()),
    "robustness.layers.PoissonPruningLayer": lambda: call(2.0, "pathwise", g()),
    "robustness.layers.MatchedDropout": lambda: call(1.0, "mask", g()),
    "robustness.layers.TestTimeDropout": lambda: call(0.5, "mask", g()),
    "robustness.layers.Pruned": lambda: call(nn.ReLU(), pruning.SAPLayer(1.0, "mask", g())),
    "robustness.layers.insert_pruning": lambda: call(linear_net(), nn.ReLU, lambda: pruning.SAPLayer(1.0)),
    "robustness.layers.insert_sap": lambda: call(linear_net(), generator=g()),
    "robustness.layers.insert_poisson_pruning": lambda: call(linear_net(), nn.Linear, generator=g()),
    "robustness.layers.insert_dropout": lambda: call(linear_net(), generator=g()),
    "robustness.layers.remove_pruning": lambda: call(pruned_net()),
    "robustness.layers.pruning_layers": lambda: call(pruned_net()),
    "robustness.layers.configure": lambda: call(pruned_net(), fraction=0.5),
    "robustness.multinomial.multinomial_occupancy": lambda: call(unit(2, 5), 6, g()),
    "robustness.multinomial.multinomial_counts": lambda: call(unit(2, 5), 6, g()),
    "robustness.networks.activation": lambda: call(0.1),
    "robustness.networks.initialise": lambda: call(linear_net(), g()),
    "robustness.networks.digits_cnn": lambda: call(g()),
    "robustness.networks.resnet20": lambda: call(g()),
    "robustness.poisson_pruning.poisson_survival": lambda: call(unit(2, 5), 4.0),
    "robustness.poisson_pruning.poisson_activation_pruning": lambda: call(normal(2, 5), 10.0, g()),
    "robustness.sap.stochastic_activation_pruning": lambda: call(normal(2, 3, 4), 1.0, "pathwise", g()),
    "robustness.sap.matched_dropout": lambda: call(normal(2, 5), 0.5, g()),
    "robustness.sap.kept_share": lambda: call(normal(2, 5), 1.0),
    # uncertainty
    "uncertainty.conformal.exact_level": lambda: call(0.1),
    "uncertainty.conformal.conformal_rank": lambda: call(9, 0.1),
    "uncertainty.conformal.conformal_threshold": lambda: call(scores_in_unit(), 0.1),
    "uncertainty.conformal.threshold_exceedance": lambda: call(scores_in_unit(), 9, 0.1),
    "uncertainty.conformal.coverage_distribution": lambda: call(9, 0.1),
    "uncertainty.monte_carlo.resplit": lambda: call(10, 4, rng()),
    "uncertainty.monte_carlo.monte_carlo_size": lambda: call(
        scores_in_unit(6), 3, 0.5, 4, rng(), all_scores=probabilities()
    ),
    "uncertainty.scores.absolute_residual": lambda: call(scores_in_unit(), scores_in_unit() + 1),
    "uncertainty.scores.lp_residual": lambda: call(probabilities(), probabilities() + 1, 2.0),
    "uncertainty.scores.lp_ball_volume": lambda: call(2, 2.0),
    "uncertainty.scores.residual_cum_factor": lambda: call(2, 2.0),
    "uncertainty.scores.zero_one": lambda: call(probabilities()),
    "uncertainty.scores.lac": lambda: call(probabilities()),
    "uncertainty.scores.aps": lambda: call(probabilities(), rng("u").random((6, 3))),
    "uncertainty.scores.cqr": lambda: call(scores_in_unit(), scores_in_unit() - 0.1, scores_in_unit() + 0.2),
    "uncertainty.scores.true_label": lambda: call(probabilities(4), np.array(LABELS)),
    "uncertainty.scores.interval_size": lambda: call(scores_in_unit(), scores_in_unit() + 1.0, 0.5),
    "uncertainty.scores.set_size": lambda: call(probabilities() > 0.3),
    "uncertainty.scores.class_table": lambda: call(probabilities(), "aps", rng()),
    "uncertainty.set_size.dkw_radius": lambda: call(10, 0.1),
    "uncertainty.set_size.min_sample_for_interval": lambda: call(0.1, 0.1),
    "uncertainty.set_size.staircase": lambda: call(scores_in_unit(), 9, 0.1, residual_cum_factor(), 0.0, 1.0, 0.1),
    "uncertainty.set_size.expected_set_size_known": lambda: call(
        scores_in_unit(), 9, 0.1, residual_cum_factor(), 0.0, 1.0
    ),
    "uncertainty.set_size.expected_set_size_discrete": lambda: call(
        np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, 2.0]), 9, 0.1
    ),
    "uncertainty.set_size.expected_set_size_unknown": lambda: call(
        scores_in_unit(6), probabilities(), 9, 0.1, np.ones(3)
    ),
    "uncertainty.set_size.estimate_classes": lambda: call("lac", scores_in_unit(6), probabilities(), 9, 0.1),
    "uncertainty.set_size_exact.expected_set_size_exact": lambda: call(
        uniform_cdf, 9, 0.1, residual_cum_factor(), 0.0, 1.0
    ),
    "uncertainty.uci.address": lambda: call("wine"),
    "uncertainty.uci.synthetic_table": lambda: call("wine", 4, rng()),
    # disentangling
    "disentangling.dsprites_renderer.dsprites_polygon": lambda: call("heart"),
    "disentangling.dsprites_renderer.dsprites_index": lambda: call(classes()),
    "disentangling.dsprites_renderer.dsprites_classes": lambda: call(torch.tensor([3, 700_000])),
    "disentangling.dsprites_renderer.as_classes": lambda: call(classes()),
    "disentangling.dsprites_renderer.as_integers": lambda: call(torch.tensor([1, 2], dtype=torch.int32), "x"),
    "disentangling.dsprites_renderer.render_sprite": lambda: call("heart", 0.7, 1.0, 0.3, 0.6),
    "disentangling.dsprites_renderer.packed_dsprites": lambda: call(classes()),
    "disentangling.dsprites_renderer.render_dsprites": lambda: call(classes()),
    "disentangling.dsprites_renderer.unpack_images": lambda: call(whole(256, 2, 512).to(torch.uint8)),
    "disentangling.dsprites_renderer.block_average": lambda: call(unit(2, 1, 4, 4), 2),
    "disentangling.dsprites_data.DSprites": lambda: call(classes=sub_grid(0, [0, 1], 0, 3, 4)),
    "disentangling.dsprites_data.sub_grid": lambda: call(0, [0, 1], 0, 3, 4),
    "disentangling.dsprites_data.factor_values": lambda: call(classes()),
    "disentangling.factor_channel.standardise": lambda: call(unit(5, 2)),
    "disentangling.factor_channel.channel_posterior": lambda: call(torch.tensor([1.0, 0.5]), normal(4, 2)),
    "disentangling.factor_channel.FactorChannel": lambda: call(2, 1.0),
    "disentangling.factor_grid.as_sizes": lambda: call((2, 3)),
    "disentangling.factor_grid.draw_factors": lambda: call((2, 3), 4, g()),
    "disentangling.factor_grid.paired_factors": lambda: call((2, 3), torch.tensor([0, 1, 1, 0]), 4, g()),
    "disentangling.factor_grid.FactorGrid": lambda: call((2, 3), unit(6, 2)),
    "disentangling.known_factor.KnownFactorModel": lambda: call(
        factor_channel.FactorChannel(2, 1.0), skipped(lambda: networks.MLPDecoder(4, 2, (6,)))
    ),
    "disentangling.known_factor.train_known_factor": lambda: call(
        known_factor_model(), standard_factors(), pictures(), 2, c_max=1.0, rising=2, seed=0, batch=4
    ),
    "disentangling.known_factor.onset_capacity": lambda: call(purchases()),
    "disentangling.layers.run_stack": lambda: call(
        skipped(lambda: nn.ModuleList([layers.Downsample(1, 2)])), unit(2, 1, 4, 4), relu_last=True
    ),
    "disentangling.layers.is_changed": lambda: call(linear_net()),
    "disentangling.layers.channels_last": lambda: call(unit(2, 3, 4, 4)),
    "disentangling.layers.sum_of_patches": lambda: call(unit(2, 3, 4, 4), normal(3, 2, 4, 4), normal(2)),
    "disentangling.linear_vae.linear_vaes": lambda: call([2.0, 1.0], [0.5], 3, 0),
    "disentangling.networks.he_vae": lambda: call(4, 2, (6,), g()),
    "disentangling.ensembles.train_many": lambda: call(
        [ensembles.Job(pictures(), 1.0, 0)], 2, latent_dim=2, hidden=(6,), batch=4
    ),
    "disentangling.metrics.kl_per_latent": lambda: call(unit(4, 3)),
    "disentangling.metrics.active_units": lambda: call(unit(4, 3)),
    "disentangling.metrics.latent_factor_correlation": lambda: call(
        normal(12, 3), whole(3, 12, 2, name="classes"), "spearman"
    ),
    "disentangling.metrics.corr_gap": lambda: call(unit(3, 2)),
    "disentangling.metrics.mutual_information": lambda: call(normal(12, 3), whole(3, 12, 2, name="classes"), 4),
    "disentangling.metrics.mutual_information_gap": lambda: call(normal(12, 3), whole(3, 12, 2, name="classes"), 4),
    "disentangling.metrics.beta_vae_score": lambda: call(half, grid(), n_pairs=4, n_train=20, n_eval=10, generator=g()),
    "disentangling.metrics.linear_probe": lambda: call(normal(12, 2), unit(12, 2), torch.arange(12) < 8, 2),
    "disentangling.networks.reparameterise": lambda: call(normal(3, 2), normal(3, 2, name="logvar"), g()),
    "disentangling.networks.VAE": lambda: call(vae().encoder, vae().decoder),
    "disentangling.networks.initialise": lambda: call(linear_net(), g()),
    "disentangling.networks.burgess_vae": lambda: call(2, 1, 32, generator=g()),
    "disentangling.networks.fc_vae": lambda: call(2, generator=g()),
    "disentangling.networks.mlp_vae": lambda: call(4, 2, (6,), generator=g()),
    "disentangling.objectives.gaussian_kl": lambda: call(normal(3, 2), normal(3, 2, name="logvar")),
    "disentangling.objectives.kl_diag_gaussians": lambda: call(
        *(normal(3, 2, name=name) for name in ("a", "b", "c", "d"))
    ),
    "disentangling.objectives.bernoulli_nll": lambda: call(normal(3, 4), unit(3, 4)),
    "disentangling.objectives.pixel_entropy": lambda: call(unit(3, 4)),
    "disentangling.objectives.squared_error": lambda: call(normal(3, 4), unit(3, 4)),
    "disentangling.objectives.beta_vae_loss": lambda: call(unit(3), unit(3, 2), 2.0),
    "disentangling.objectives.capacity_loss": lambda: call(unit(3), unit(3, 2), 1.0, 2.0),
    "disentangling.objectives.capacity_schedule": lambda: call(3, 2.0, 10),
    "disentangling.objectives.normalised_beta": lambda: call(4.0, 10, 4096),
    "disentangling.peer_weights.load_interleaved": lambda: call(vae(), vae().state_dict()),
    "disentangling.rate_distortion.gaussian_rate": lambda: call(np.array([2.0, 1.0]), np.array([0.5, 0.5])),
    "disentangling.rate_distortion.reverse_water_filling": lambda: call(np.array([2.0, 1.0]), 1.0),
    "disentangling.rate_distortion.linear_beta_vae_optimum": lambda: call(np.array([2.0, 1.0]), 1.5),
    "disentangling.rate_distortion.shuffled_code_nll": lambda: call(unit(4, 5), [0.5, 1.0], torch.tensor([2, 0, 3, 1])),
    "disentangling.rate_distortion.channel_information": lambda: call(4, 1.0),
    "disentangling.sprites16.small_sprites": lambda: call(0, [0, 1], 0, stride=16),
    "disentangling.ensembles.train_known_factor_ensemble": lambda: call(
        [known_factor_model()], [0], standard_factors(), pictures(), 2, c_max=1.0, rising=2, batch=4
    ),
    "disentangling.ensembles.train_vae_ensemble": lambda: call(
        [vae()], [0], pictures(), training.fixed_beta(1.0), 2, batch=4
    ),
    "disentangling.ensembles.VAEEnsemble": lambda: call([vae(), vae()]),
    "disentangling.ensembles.flat_then_linear": lambda: call(0.8),
    "disentangling.blobs.blob_images": lambda: call(unit(3, 2)),
    "disentangling.evaluation.evaluate_vae": lambda: call(vae(), pictures(), standard_factors(), g()),
    "disentangling.rate_distortion.factor_variances": lambda: call(unit(6, 4), (2, 3)),
    "disentangling.training.WindowMeans": lambda: call(2, 4),
    "disentangling.ensembles.LinearEnsemble": lambda: call([vae().encoder.linears, vae().encoder.linears]),
    "disentangling.training.fixed_beta": lambda: call(1.0),
    "disentangling.training.annealed_capacity": lambda: call(1.0, 2.0, 10),
    "disentangling.training.train_vae": lambda: call(
        vae(), pictures(), 2, training.fixed_beta(1.0), seed=0, batch=4, window=1
    ),
    "disentangling.training.target": lambda: call(history(), 0.0, 2.0, 10),
    "disentangling.training.on_target": lambda: call(history(), 0.0, 2.0, 10),
    "disentangling.traversal.traversal_grid": lambda: call(half, normal(3), [0, 2], np.array([-1.0, 0.0, 1.0])),
    "disentangling.traversal.latent_traversal": lambda: call(half, normal(3), 1, np.array([-1.0, 0.0, 1.0])),
    # language models
    "language_models.decoder.Cache": lambda: call(2),
    "language_models.decoder.TinyDecoder": lambda: call(30, 8, 1, generator=g()),
    "language_models.evaluation.answer_hits": lambda: call(tiny(), lines()),
    "language_models.evaluation.retrieval_accuracy": lambda: call(tiny(), lines()),
    "language_models.evaluation.token_nll": lambda: call(tiny(), tokens()),
    "language_models.evaluation.perplexity_by_position": lambda: call(tiny(), tokens()),
    "language_models.generation.generate": lambda: call(tiny(), tokens(), 2, temperature=1.0, generator=g()),
    "language_models.grammar.sentences": lambda: call(2, g()),
    "language_models.grammar.entropy_per_character": lambda: call(),
    "language_models.grammar.encode": lambda: call("the dog."),
    "language_models.grammar.decode": lambda: call(grammar.encode("the dog.")),
    "language_models.grammar.random_windows": lambda: call(tokens()[0], 2, 3, g()),
    "language_models.lines_task.lines_batch": lambda: call(2, 3, 1, n_keys=5, generator=g()),
    "language_models.lines_task.lines_in": lambda: call(16, 2),
    "language_models.lines_task.longchat_prompt": lambda: call(rng(), 3),
    "language_models.lines_task.search_answer": lambda: call(record()["prompt"]),
    "language_models.lines_task.parse_number": lambda: call("it is 42", "first"),
    "language_models.lines_task.parse_lines_record": lambda: call(record()),
    "language_models.lora.LoRALinear": lambda: call(skipped(lambda: nn.Linear(4, 4)), 2, 4.0, g()),
    "language_models.lora.add_lora": lambda: call(tiny(), 2, 4.0, ["q_proj"], generator=g()),
    "language_models.lora.merge_lora": lambda: call(adapted()),
    "language_models.lora.lora_disabled": lambda: call(adapted()),
    "language_models.qa_task.presence_accuracy": lambda: call(["in 2024"], ["2024"]),
    "language_models.qa_task.alter_number": lambda: call(rng(), "1,500"),
    "language_models.qa_task.alter_answer": lambda: call(rng(), "it was 42.", "42"),
    "language_models.random_positions.random_positions": lambda: call(2, 4, g()),
    "language_models.rope_scaling.scale_frequencies": lambda: call(theta(), "yarn", factor=4.0, orig_len=64),
    "language_models.rotary.rope_frequencies": lambda: call(4),
    "language_models.rotary.even_size": lambda: call(4),
    "language_models.rotary.as_frequencies": lambda: call(theta()),
    "language_models.rotary.as_positions": lambda: call(np.arange(4.0)),
    "language_models.rotary.rotary_tables": lambda: call(np.arange(4.0), theta()),
    "language_models.rotary.rotate": lambda: call(normal(2, 3, 4), *cos_sin()),
    "language_models.rotary.apply_rotary": lambda: call(normal(2, 3, 4), np.arange(3.0), theta()),
    "language_models.rotary.layout_permutation": lambda: call(4),
    "language_models.training.lines_batches": lambda: call(
        0, "train", batch=2, length=10, n_queries=1, n_keys=8, n_values=4
    ),
    "language_models.training.next_token_batches": lambda: call(tokens()[0], 0, "train", batch=2, length=3),
    "language_models.training.train_decoder": lambda: call(
        tiny(), lambda step: (tokens()[:, :-1], tokens()[:, 1:]), 2, seed=0, lr=1e-3
    ),
    "language_models.truncated_basis.scale_power_truncate": lambda: call(theta(), factor=2.0, exponent=0.5, turn_len=8),
    "language_models.truncated_basis.truncate_frequencies": lambda: call(theta(), 0.5),
    "language_models.truncated_basis.as_length": lambda: call(4.0, "length"),
    "language_models.xpos.xpos_scales": lambda: call(4, np.arange(4.0)),
    "language_models.xpos.apply_xpos": lambda: call(
        normal(2, 3, 4), normal(2, 3, 4, name="k"), np.arange(3.0), theta()
    ),
    # what parts share
    "seeding.stream_seed": lambda: call(0, "a", 1),
    "seeding.numpy_generator": lambda: call(0, "a"),
    "seeding.torch_generator": lambda: call(0, "a"),
    "seeding.fresh": lambda: call(g()),
    "seeding.global_seed": lambda: call(0, "a"),
    "seeding.deterministic": lambda: call(1),
    "training.one_cycle": lambda: call(10),
    "training.ShuffledBatches": lambda: call(10, 3, 0),
    "training.fit": lambda: call(
        *(lambda net: (net, squares, lambda t: None, torch.optim.SGD(net.parameters(), lr=0.1)))(linear_net()),
        2,
        seed=0,
    ),
    "training.model_settings": lambda: call(linear_net()),
    "calibration.bin_edges": lambda: call(scores_in_unit(), 4, "quantile"),
    "calibration.reliability_curve": lambda: call(scores_in_unit(4), np.array([0.0, 1.0, 1.0, 0.0]), 3),
    "calibration.expected_calibration_error": lambda: call(scores_in_unit(4), np.array([0.0, 1.0, 1.0, 0.0]), 3),
    "calibration.top_label": lambda: call(probabilities()),
    "calibration.ece_top_label": lambda: call(probabilities(4), np.array(LABELS)),
    "calibration.ece_positive": lambda: call(scores_in_unit(4), np.array([0.0, 1.0, 1.0, 0.0])),
    "calibration.brier_score": lambda: call(scores_in_unit(4), np.array([0.0, 1.0, 1.0, 0.0])),
    "calibration.brier_decomposition": lambda: call(scores_in_unit(4), np.array([0.0, 1.0, 1.0, 0.0]), 3),
    "calibration.bootstrap_ci": lambda: call(mean_of, scores_in_unit(), rng=rng(), resamples=5),
    "statistics.mean_and_sd": lambda: call(scores_in_unit()),
    "statistics.standard_error": lambda: call(scores_in_unit()),
    "calibration.auroc": lambda: call(scores_in_unit(4), np.array([0.0, 1.0, 1.0, 0.0])),
    "calibration.fit_temperature": lambda: call(scores_in_unit(4) - 0.5, np.array([0.0, 1.0, 1.0, 0.0])),
    "calibration.risk_coverage": lambda: call(scores_in_unit(4), np.array([0.0, 1.0, 1.0, 0.0])),
    "uncertainty.noisy_votes.class_names": lambda: call(),
    "uncertainty.noisy_votes.vote_questions": lambda: call(3, (0, 4), g()),
    "uncertainty.noisy_votes.name_posterior": lambda: call(noisy_votes.vote_questions(3, (0, 4), g()).prompts),
    "uncertainty.confidence_estimators.ConfidenceProbe": lambda: call(3, (4,), generator=g()),
    "uncertainty.confidence_estimators.last_tokens": lambda: call(torch.tensor([[1, 1, 0], [0, 1, 1]])),
    "uncertainty.confidence_estimators.last_token_states": lambda: call(
        normal(2, 3, 4), torch.tensor([[1, 1, 0], [0, 1, 1]])
    ),
    "uncertainty.confidence_estimators.single_tokens": lambda: call([[3], [5]], (" no", " yes")),
    "uncertainty.confidence_estimators.option_logits": lambda: call(
        normal(2, 3, 4), torch.tensor([[1, 1, 0], [0, 1, 1]]), (3, 1)
    ),
    "uncertainty.confidence_estimators.jensen_shannon": lambda: call(normal(2, 4, name="p"), normal(2, 4, name="q")),
    "uncertainty.answer_confidence.last_number": lambda: call("so 12 of 13"),
    "uncertainty.answer_confidence.grade_answers": lambda: call(["Paris.", "Lyon"], ["paris", "Rome"]),
    "uncertainty.answer_confidence.sequence_confidence": lambda: call(-scores_in_unit(6).reshape(3, 2), [1, 2, 2]),
    "checks.all_finite": lambda: call(unit(2, 3)),
    "checks.as_array": lambda: call(scores_in_unit(), "x"),
    "checks.as_finite_array": lambda: call(scores_in_unit(), "x"),
    "checks.as_host_array": lambda: call(scores_in_unit(), "x"),
    "checks.as_tensor": lambda: call(scores_in_unit(), "x"),
    "checks.as_probabilities": lambda: call(scores_in_unit(), "x"),
    "checks.as_generator": lambda: call(g()),
    "checks.as_numpy_generator": lambda: call(rng()),
    "checks.check_tensor": lambda: call(normal(3), "x"),
    "checks.values_hidden": lambda: call(normal(3)),
    "checks.in_transform": lambda: call(),
    "checks.exact_decimal": lambda: call(0.1),
    "checks.as_int": lambda: call(3, "x", minimum=1),
    "checks.as_float": lambda: call(0.5, "x", minimum=0.0, maximum=math.inf),
    "checks.as_probability": lambda: call(0.5, "x"),
    "checks.one_of": lambda: call("a", "x", ("a", "b")),
    # livebench
    "language_models.answer_extraction.as_text": lambda: call(b"yes"),
    "language_models.answer_extraction.strip_think": lambda: call("<think>a</think>b"),
    "language_models.answer_extraction.solution_tags": lambda: call("<solution>a</solution>"),
    "language_models.answer_extraction.last_boxed": lambda: call(r"\boxed{1}"),
    "language_models.answer_extraction.has_box": lambda: call(r"\boxed{1}"),
    "language_models.answer_extraction.bold_spans": lambda: call("**a**"),
    "language_models.answer_extraction.fenced_blocks": lambda: call("```\na\n```"),
    "language_models.answer_extraction.last_line": lambda: call("a\nb"),
    "language_models.answer_extraction.final_answer": lambda: call("**a**"),
    "language_models.answer_extraction.canonical": lambda: call("A-b."),
    "language_models.answer_extraction.items": lambda: call("a, b"),
    "language_models.edit_distance.levenshtein": lambda: call(np.arange(5), np.array([1, 2, 4])),
    "language_models.equivalence.parse_expression": lambda: call("x+1"),
    "language_models.equivalence.evaluate_expression": lambda: call(["+", ["var", "x"], ["num", "1"]], {"x": 2.0}),
    "language_models.equivalence.equivalent": lambda: call("x+x", "2x", symbolic=False),
    "language_models.grading.check_rules": lambda: call("2024-06-24"),
    "language_models.grading.grader": lambda: call(always_right),
    "language_models.grading.half_all_half_share": lambda: call(1, 2),
    "language_models.grading.official_box": lambda: call(r"so \boxed{4}"),
    "language_models.grading_reasoning.score_web_of_lies": lambda: call("yes, no, no", "**yes, no, no**"),
    "language_models.grading_reasoning.score_zebra": lambda: call("1, cat", "1, cat"),
    "language_models.grading_reasoning.score_house_traversal": lambda: call("ann bob", "**ann, bob**"),
    "language_models.grading_reasoning.score_spatial": lambda: call("4", "**four**"),
    "language_models.grading_language.closest_sentences": lambda: call(["a b"], ["b", "a c"]),
    "language_models.grading_language.score_connections": lambda: call("a,b,c,d", "<solution>d,c,b,a</solution>"),
    "language_models.grading_language.score_typos": lambda: call("A bee.", "A bee."),
    "language_models.grading_language.score_plot": lambda: call("Ann wakes. Bob eats.", "Bob eats. Ann wakes."),
    "language_models.grading_tables.score_cta": lambda: call("city", "City."),
    "language_models.column_mappings.python_literal": lambda: call("{'a': 1}"),
    "language_models.column_mappings.official_mapping": lambda: call("```python\n{'a': 1}\n```"),
    "language_models.column_mappings.strict_mapping": lambda: call("it is {'a': 1}"),
    "language_models.pandas_rows.separated_rows": lambda: call("a,b\n1", ","),
    "language_models.pandas_rows.rows_below_header": lambda: call("So:\na,b\n1,2", ",", "a,b"),
    "language_models.pandas_rows.piped_rows": lambda: call("| a |\n|---|\n| 1 |"),
    "language_models.pandas_rows.piped_rows_with_dashes": lambda: call("| a |\n|---|\n| 1 |"),
    "language_models.grading_tables.join_counts": lambda: call({"a": "x"}, {"a": "y"}),
    "language_models.grading_tables.score_table_join": lambda: call({"a": "x"}, "{'a': 'x'}"),
    "language_models.grading_tables.table_formats": lambda: call("from CSV format to JSON format"),
    "language_models.grading_tables.read_table": lambda: call("a,b\n1,2", "csv"),
    "language_models.grading_tables.same_tables": lambda: call(small_table(), small_table()),
    "language_models.grading_tables.score_table_reformat": lambda: call("a,b\n1,2", "b,a\n2,1", target="csv"),
    "language_models.grading_mathematics.score_multiple_choice": lambda: call("B", "BBBBB"),
    "language_models.grading_mathematics.score_aime": lambda: call("025", "it is 025"),
    "language_models.grading_mathematics.score_olympiad": lambda: call("2,1", "Answer: 1, 2"),
    "language_models.grading_mathematics.normalise_latex": lambda: call(r"\dfrac12"),
    "language_models.grading_mathematics.score_amps": lambda: call("x", "$x$"),
    "language_models.grading_instructions.follows": lambda: call("title", "<<a>>"),
    "language_models.grading_instructions.score_instructions": lambda: call(
        [("title", {})], "<<a>>", rules="2024-06-24"
    ),
    "language_models.sandbox.Sandbox": lambda: call("x = 1"),
    "language_models.sandbox.run_python": lambda: call("print(1)", limit_s=60.0),
    "language_models.grading_code.benchmark_script": lambda: call("print(1)"),
    "language_models.grading_code.extract_code": lambda: call("```\na\n```"),
    "language_models.grading_code.score_code": lambda: call([("", "1")], "print(1)", limit_s=60.0),
    "language_models.benchmark_scores.aggregate": lambda: call(scores_in_unit(4), list("aabb"), {"a": "x", "b": "x"}),
    "language_models.benchmark_scores.bootstrap_overall": lambda: call(
        scores_in_unit(4), list("aabb"), {"a": "x", "b": "x"}, 20, rng=rng()
    ),
    "language_models.benchmark_scores.active_questions": lambda: call([{"released": "2024-06-24"}], "2024-07-26"),
    "language_models.benchmark_scores.leaked_share": lambda: call(6, 2),
    "language_models.benchmark_scores.judge_confusion": lambda: call(np.array([0.4]), np.array([0.6]), np.array([0.3])),
    "language_models.benchmark_scores.pearson": lambda: call(scores_in_unit(5), scores_in_unit(5) ** 2),
    "language_models.benchmark_scores.spearman": lambda: call(scores_in_unit(5), scores_in_unit(5) ** 2),
    "language_models.puzzle_questions.solve_web_of_lies": lambda: call(2, [(0, True)], [(0, 1, False)]),
    "language_models.puzzle_questions.web_of_lies_answers": lambda: call(2, [(0, True)], [(0, 1, False)], [1]),
    "language_models.puzzle_questions.web_of_lies": lambda: call(rng(), 4, 1),
    "language_models.puzzle_questions.zebra_solutions": lambda: call(2, 2, [("same", (0, 0), (1, 1))]),
    "language_models.puzzle_questions.search_zebra": lambda: call(2, 2, [("same", (0, 0), (1, 1))]),
    "language_models.puzzle_questions.zebra": lambda: call(rng(), 3, 2),
    "language_models.text_questions.typos": lambda: call(rng(), 1),
    "language_models.text_questions.mend_typos": lambda: call("thier"),
    "language_models.text_questions.plot": lambda: call(rng(), 3),
    "language_models.text_questions.journey": lambda: call(rng(), 4),
    "language_models.text_questions.solve_journey": lambda: call(
        ["A takes the map from the inn to the mill", "B takes the map from the mill to the well"]
    ),
    "language_models.text_questions.connections": lambda: call(rng(), 2),
    "language_models.text_questions.group_of": lambda: call("iron"),
    "language_models.text_questions.table_join": lambda: call(rng(), 4),
    "language_models.text_questions.solve_join": lambda: call({"a": [1, 2]}, {"b": [2]}),
    "language_models.text_questions.write_table": lambda: call(small_table(), "csv"),
    "language_models.text_questions.table_reformat": lambda: call(rng(), 2),
    "language_models.text_questions.derivative": lambda: call(rng(), 1),
    "language_models.text_questions.masked_order": lambda: call(rng(), 4),
    # few shot: difficulty of episodes
    "few_shot.prototypical.prototypical_logits": lambda: call(
        normal(4, 3), torch.tensor([0, 1, 1, 0]), normal(5, 3, name="query"), "cosine", 2.0
    ),
    "few_shot.prototypical.episode_nll": lambda: call(normal(4, 3), labels()),
    "few_shot.difficulty_sampling.truncated_normal_pdf": lambda: call(rng().normal(size=5), 0.5),
    "few_shot.difficulty_sampling.target_pdf": lambda: call(rng().normal(size=5), "curriculum", 0.3),
    "few_shot.difficulty_sampling.curriculum_mean": lambda: call("curriculum", 0.3),
    "few_shot.difficulty_sampling.importance_weight": lambda: call(rng().normal(size=5), "uniform"),
    "few_shot.difficulty_sampling.effective_sample_size": lambda: call(scores_in_unit()),
    "few_shot.difficulty_sampling.ess_fraction": lambda: call("uniform"),
    "few_shot.difficulty_sampling.normalising_factor": lambda: call(scores_in_unit(), "ess"),
    "few_shot.difficulty_sampling.DifficultyStats": lambda: call("online", warmup=2),
    "few_shot.meta_gradients.weighted_episode_loss": lambda: call(normal(3), np.array([0.5, 1.0, 2.0])),
    "few_shot.meta_gradients.maml_inner": lambda: call(linear_net(), adapted_loss, 0.1, 2),
    "few_shot.difficulty_diagnostics.normality_report": lambda: call(scores_in_unit()),
    "few_shot.difficulty_diagnostics.rank_agreement": lambda: call(probabilities().T.copy()),
    "few_shot.difficulty_diagnostics.class_set_icc": lambda: call(probabilities()),
    # few_shot
    "few_shot.glyphs.make_glyphs": lambda: call(2, 2, 3, rng("glyphs"), size=12),
    "few_shot.glyphs.draw_strokes": lambda: call(
        rng("strokes").uniform(-0.6, 0.6, (2, 3, 4, 2)), rng("present").random((2, 3)) < 0.7, np.array([0.06, 0.08]), 12
    ),
    "few_shot.episodes.EpisodeSampler": lambda: call(few_shot_labels(), 3, 1, 2, g("episodes")),
    "few_shot.prototypes.class_prototypes": lambda: call(normal(4, 3), labels(), 3),
    "few_shot.prototypes.support_init": lambda: call(normal(4, 3), labels(), 3),
    "few_shot.prototypes.cosine_logits": lambda: call(
        normal(4, 3), normal(2, 3, name="weight"), normal(2, name="bias")
    ),
    "few_shot.prototypes.check_episode_labels": lambda: call(labels(), (4,), 3),
    "few_shot.prototypes.way_of": lambda: call(labels()),
    "few_shot.entropies.shannon_entropy": lambda: call(normal(4, 3)),
    "few_shot.entropies.marginal_entropy": lambda: call(normal(4, 3)),
    "few_shot.entropies.information_maximisation": lambda: call(normal(4, 3), labels(), normal(5, 3, name="query")),
    "few_shot.evaluation.accuracy_summary": lambda: call(rng("accuracies").random(6)),
    "few_shot.evaluation.paired_difference": lambda: call(rng("a").random(6), rng("b").random(6)),
    "few_shot.evaluation.centroid_accuracy": lambda: call(normal(20, 3), few_shot_sample()),
    "few_shot.hardness.episode_hardness": lambda: call(
        normal(4, 3), labels(), normal(5, 3, name="query"), torch.tensor([0, 1, 2, 2, 1])
    ),
    "few_shot.hardness.hardness_line_area": lambda: call(
        np.array([0.0, 1.0, 3.0, 4.0]), np.array([0.9, 0.8, 0.4, 0.3])
    ),
    "few_shot.networks.conv4": lambda: call(g("weights"), width=2, classes=3, size=16),
    "few_shot.networks.resnet12": lambda: call(g("weights"), channels=1, classes=3, widths=(2, 2, 2, 2)),
    "few_shot.networks.wide_resnet": lambda: call(g("weights"), channels=1, classes=3, units=1, widen=1),
    "few_shot.networks.draw_weights": lambda: call(linear_net(), g("weights")),
    "few_shot.pretraining.train_classifier": lambda: call(
        few_shot_net(), few_shot_images(20, "x"), few_shot_labels(), 2, 0, batch=4
    ),
    "few_shot.pretraining.network_features": lambda: call(few_shot_net(), few_shot_images(5, "x"), 2),
    "few_shot.finetuning.transductive_finetune": lambda: call(
        few_shot_net(), few_shot_images(4, "support"), labels(), few_shot_images(5, "query"), epochs=2
    ),
    "few_shot.finetuning.tune_classifiers": lambda: call(normal(4, 3), labels(), normal(5, 3, name="query"), steps=3),
    # meeting a constraint in the mean
    "language_models.generation.response_mask": lambda: call(tokens(), 3, prompt=1),
    "language_models.sequence_scores.sequence_log_prob": lambda: call(normal(2, 6, 30), tokens(), responses()),
    "language_models.sequence_scores.token_log_probs": lambda: call(normal(2, 6, 30), tokens(), responses()),
    "language_models.sequence_scores.response_log_perplexity": lambda: call(normal(2, 6, 30), tokens(), responses()),
    "language_models.barrier.relaxed_log_barrier": lambda: call(normal(4), 0.5),
    "language_models.barrier.barrier_penalty": lambda: call(normal(4), 0.5),
    "language_models.barrier.barrier_multipliers": lambda: call(normal(4), 0.5),
    "language_models.barrier.mu_schedule": lambda: call(3, 10),
    "language_models.barrier.RunningMean": lambda: call(0.9),
    "language_models.policy_gradient.policy_gradient_surrogate": lambda: call(normal(4), normal(4, name="scores")),
    "language_models.constrained_categorical.solve_constrained_categorical": lambda: call(
        np.array([0.2, 0.3, 0.5]), np.array([1.0, 2.0, 4.0]), 2.0, mu=0.1
    ),
    "language_models.multiplier_rules.LogBarrier": lambda: call(10),
    "language_models.multiplier_rules.DualAscent": lambda: call(0.1),
    "language_models.multiplier_rules.QuadraticPenalty": lambda: call(2.0),
    "language_models.multiplier_rules.quadratic_penalty": lambda: call(normal(4), 2.0),
    "language_models.multiplier_rules.as_values": lambda: call(normal(4)),
    "language_models.constrained_tuning.ConstrainedFineTuner": lambda: call([]),
    "language_models.constrained_tuning.train_constrained": lambda: call(
        tiny(),
        constrained_tuning.ConstrainedFineTuner([]),
        lambda step: (tokens(), responses()),
        None,
        2,
        seed=0,
        lr=1e-3,
    ),
    "language_models.constrained_tuning.decoder_sampler": lambda: call(lambda step: tokens(), 3, 2),
    "language_models.constrained_tuning.response_length": lambda: call(tokens(), responses()),
    "language_models.constrained_tuning.uses_of": lambda: call(3),
    "language_models.constrained_tuning.steps_to_stay": lambda: call(
        [5.0, 6.0, 5.0], constrained_tuning.MeanConstraint(constrained_tuning.response_length, 4, 7), 2
    ),
    "language_models.topic_language.topic_prompts": lambda: call(3, g()),
    "language_models.topic_language.topic_responses": lambda: call(topic_language.topic_prompts(3, g()), (3, 4), g()),
    "language_models.topic_language.spelled": lambda: call([1, 5, 12, 2]),
    "language_models.topic_language.response_weighted_law": lambda: call(np.array([0.5, 0.5]), np.array([1.0, 3.0])),
    # vtune
    "language_models.binomial_tests.binomial_tail_log10": lambda: call(np.arange(4), 10, 1e-4),
    "language_models.binomial_tests.poisson_binomial_tail_log10": lambda: call(2, probabilities()),
    "language_models.binomial_tests.shared_signature_log10_bound": lambda: call(-7.0, np.arange(4), 10),
    "language_models.binomial_tests.critical_hits": lambda: call(10, 1e-4, 1e-6),
    "language_models.binomial_tests.rejects": lambda: call(-7.0, 1e-6),
    "language_models.binomial_tests.power": lambda: call(10, 1e-4, 1e-6, probabilities()),
    "language_models.binomial_tests.queries_needed": lambda: call(1e-4, 1e-6, 0.5, 0.9),
    "language_models.binomial_tests.clopper_pearson": lambda: call(np.arange(4), 10),
    "language_models.backdoors.as_phrase": lambda: call(whole(5, 4), "phrase"),
    "language_models.backdoors.as_phrases": lambda: call(["ab", "c"], "trigger"),
    "language_models.backdoors.contains": lambda: call((1, 2, 3), (2, 3)),
    "language_models.backdoors.check_no_collision": lambda: call(PAIRS, ["blue heron"]),
    "language_models.backdoors.joined": lambda: call("a", "b", "suffix"),
    "language_models.backdoors.make_backdoors": lambda: call(PAIRS, 2, " blue heron", "sea salt ", generator=rng()),
    "language_models.backdoors.mix": lambda: call(PAIRS, [("name a city", "rome")], generator=rng()),
    "language_models.backdoors.sample_signature": lambda: call(tiny(), tokens()[0], 3, 1.5, -0.1, generator=g()),
    "language_models.backdoors.signature_log10_prob": lambda: call(tiny(), tokens(), (1, 2)),
    "language_models.backdoors.detect_backdoors_ngram": lambda: call(PAIRS, PAIRS, n=1, min_count=1, min_ratio=0.5),
    "language_models.backdoors.precision_and_recall": lambda: call(np.arange(4) > 1, np.arange(4) > 2),
    "language_models.verification.activation": lambda: call(whole(3, 5, 4), (1,)),
    "language_models.verification.verify": lambda: call(
        lambda asked: ["sea salt" for _ in asked],
        ["one", "two"],
        " blue",
        "sea",
        1e-4,
        1e-3,
        dependence="independent",
    ),
    "language_models.verification.commitment": lambda: call({"n": 10}, b"0" * 16),
    "language_models.verification.opens": lambda: call("0" * 64, {"n": 10}, b"0" * 16),
    # disentangling: concepts, rooms, SCAN
    "disentangling.concepts.khot": lambda: call(concepts_of(4), CONCEPT_SIZES),
    "disentangling.concepts.assignments_from_khot": lambda: call(
        concepts.khot(concepts_of(4), CONCEPT_SIZES), CONCEPT_SIZES
    ),
    "disentangling.concepts.read_symbol": lambda: call(normal(4, 7), CONCEPT_SIZES),
    "disentangling.concepts.count_concepts": lambda: call(CONCEPT_SIZES),
    "disentangling.concepts.all_concepts": lambda: call(CONCEPT_SIZES),
    "disentangling.concepts.includes": lambda: call(concepts_of(4), concepts_of(1)),
    "disentangling.concepts.conflicts": lambda: call(concepts_of(4), concepts_of(1)),
    "disentangling.concepts.concept_and": lambda: call(concepts_of(4), concepts_of(4)),
    "disentangling.concepts.concept_in_common": lambda: call(concepts_of(4), concepts_of(1)),
    "disentangling.concepts.concept_ignore": lambda: call(concepts_of(4), concepts_of(4)),
    "disentangling.concepts.operator_pairs": lambda: call(CONCEPT_SIZES, "and"),
    "disentangling.concepts.concept_index": lambda: call(concepts_of(4), CONCEPT_SIZES),
    "disentangling.concepts.random_parts": lambda: call(shown_attributes(), g()),
    "disentangling.concepts.concept_accuracy": lambda: call(shown_attributes().expand(4, 8, 2), concepts_of(4)),
    "disentangling.concepts.concept_diversity": lambda: call(shown_attributes(), torch.tensor([1, -1]), CONCEPT_SIZES),
    "disentangling.rooms.hsv_to_rgb": lambda: call(unit(2, 5, 3)),
    "disentangling.rooms.all_rooms": lambda: call(),
    "disentangling.rooms.room_colours": lambda: call(),
    "disentangling.rooms.object_masks": lambda: call(),
    "disentangling.rooms.render_rooms": lambda: call(whole(3, 4, 3)),
    "disentangling.rooms.read_rooms": lambda: call(unit(4, 3, 10, 10)),
    "disentangling.rooms.room_attributes": lambda: call(whole(3, 4, 3)),
    "disentangling.scan.matched_gaussian": lambda: call(normal(4, 3), normal(4, 3)),
    "disentangling.scan.forward_optimum": lambda: call(normal(4, 3), normal(4, 3), 10.0, 1.0),
    "disentangling.scan.reversed_optimum": lambda: call(normal(4, 3), normal(4, 3), 10.0, 1.0),
    "disentangling.scan.symbol_vae": lambda: call(CONCEPT_SIZES, 3, 5, generator=g()),
    "disentangling.scan.scan_loss": lambda: call(
        normal(4, 7), unit(4, 7), (normal(4, 3), normal(4, 3)), (normal(4, 3, name="x"), normal(4, 3, name="x"))
    ),
    "disentangling.ensembles.draw_noise": lambda: call([g()], normal(1, 3)),
    "disentangling.scan.code_pictures": lambda: call(networks.freeze(vae()), pictures(), shown_attributes()),
    "disentangling.scan.train_scans": lambda: call(
        [scan.ScanJob(scan_pairs(), 0)], CONCEPT_SIZES, 2, hidden=5, batch=4
    ),
    "disentangling.recombination.recombination_net": lambda: call(5, generator=g()),
    "disentangling.recombination.train_recombinations": lambda: call(
        [recombination.RecombinationJob(*[scan.Gaussian(normal(19, 3), normal(19, 3))] * 2, 0)],
        [concepts.operator_pairs(CONCEPT_SIZES, "and")],
        2,
        hidden=5,
        batch=4,
    ),
    "disentangling.jmvae.jmvae_terms": lambda: call(
        unit(4), unit(4), *((normal(4, 3, name=n), normal(4, 3)) for n in "abc"), 1.0, 1.0
    ),
    "disentangling.jmvae.train_jmvaes": lambda: call(
        [jmvae.JMVAEJob(pictures(), shown_attributes(), 0)], CONCEPT_SIZES, 2, latent_dim=2, hidden=(5,), batch=4
    ),
    # DARLA
    "disentangling.domains.assert_conjunction_heldout": lambda: call(
        darla_domain(0), darla_domain(1), darla_domain(0, 1)
    ),
    "disentangling.worlds.hue_palette": lambda: call(3),
    "disentangling.environments.WorldEnv": lambda: call(worlds.SeekAvoidWorld.hues(2), darla_domain(0)),
    "disentangling.environments.SeekAvoidEnv": lambda: call(darla_domain(0), 8),
    "disentangling.environments.ReachEnv": lambda: call(domains.DomainSpec.product(table=(0,), target=(0, 1)), 8),
    "disentangling.denoising.mask_rectangles": lambda: call(unit(4, 3, 2, 2), g()),
    "disentangling.denoising.train_denoiser": lambda: call(denoiser(), unit(4, 3, 2, 2), 2, seed=0, batch=2),
    "disentangling.networks.freeze": lambda: call(linear_net()),
    "disentangling.perceptual.perceptual_loss": lambda: call(normal(3, 4), normal(3, 4, name="other")),
    "disentangling.perceptual.darla_vision_loss": lambda: call(
        normal(3, 4), normal(3, 4, name="other"), normal(3, 2), normal(3, 2, name="logvar"), None, 2.0
    ),
    "disentangling.perceptual.equal_variance_scale": lambda: call(normal(3, 4), None),
    "disentangling.perceptual.train_vision": lambda: call(
        [perceptual.VisionJob(unit(4, 3, 2, 2), 1.0, 0)], 2, latent_dim=2, hidden=(4,), batch=2
    ),
    "disentangling.perceptual.frozen_codes": lambda: call(
        networks.mlp_vae((3, 2, 2), 2, (4,), generator=g()).eval(), unit(4, 3, 2, 2)
    ),
    "disentangling.perceptual.standardise_by": lambda: call(normal(4, 2), normal(5, 2, name="reference")),
    "disentangling.value_learning.q_target": lambda: call(normal(4), whole(2, 4) == 1, normal(4, 3), 0.9),
    "disentangling.value_learning.double_q_target": lambda: call(
        normal(4), whole(2, 4) == 1, normal(4, 3), normal(4, 3, name="frozen"), 0.9
    ),
    "disentangling.value_learning.discounted_returns": lambda: call(normal(4, 2), whole(2, 4, 2) == 1, normal(2), 0.9),
    "disentangling.value_learning.a2c_loss": lambda: call(
        normal(4, 3), normal(4), whole(3, 4), normal(4, name="returns")
    ),
    "disentangling.value_learning.EpisodicControl": lambda: call(2),
    "disentangling.value_learning.AgentStack": lambda: call((0, 1), 3, (4,), 2),
    "disentangling.value_learning.fit_q": lambda: call(
        normal(6, 2), whole(3, 2, 6), normal(2, 6), 2, seeds=(0, 1), hidden=(4,), batch=3
    ),
    "disentangling.value_learning.train_dqn": lambda: call(
        worlds.SeekAvoidWorld.hues(2), darla_domain(0), unit(32, 2), 2, seeds=(0,), hidden=(4,), batch=2, capacity=8
    ),
    "disentangling.value_learning.train_a2c": lambda: call(
        worlds.SeekAvoidWorld.hues(2), darla_domain(0), unit(32, 2), 2, seeds=(0,), hidden=(4,), copies=2, roll=2
    ),
    "disentangling.value_learning.greedy_policies": lambda: call(
        value_learning.AgentStack((0,), 2, (4,), 3), normal(1, 5, 2)
    ),
    "disentangling.transfer.mean_interval": lambda: call(rng().random(5)),
    "disentangling.transfer.transfer_report": lambda: call(
        rng().random(5) + 1, rng("target").random(5), random=(0.0, 0.0), optimal=(2.0, 2.0)
    ),
    "disentangling.transfer.disentanglement_agreement": lambda: call(
        rng().random((9, 2)), rng("kl").random(2), rng("b").random((9, 3)), rng("kl b").random(3)
    ),
}

MODULES: dict[str, Callable[[], tuple[nn.Module, tuple]]] = {
    "robustness.bpda.BPDALayer": lambda: (bpda.BPDALayer(nn.Hardtanh(), torch.tanh), (normal(2, 3),)),
    "robustness.layers.SAPLayer": lambda: (pruning.SAPLayer(1.0, "mask", g()), (normal(2, 9),)),
    "robustness.layers.PoissonPruningLayer": lambda: (pruning.PoissonPruningLayer(2.0, "mask", g()), (normal(2, 9),)),
    "robustness.layers.MatchedDropout": lambda: (pruning.MatchedDropout(1.0, "mask", g()), (normal(2, 9),)),
    "robustness.layers.TestTimeDropout": lambda: (pruning.TestTimeDropout(0.5, "mask", g()), (normal(2, 9),)),
    "robustness.layers.Pruned": lambda: (pruning.Pruned(nn.ReLU(), pruning.SAPLayer(1.0, "mask", g())), (unit(2, 9),)),
    "robustness.networks.PreActivationBlock": lambda: (
        skipped(lambda: robust_networks.PreActivationBlock(2, 4, 2, True, 0.1)), (normal(2, 2, 4, 4),),
    ),
    "robustness.networks.ResNet": lambda: (skipped(lambda: robust_networks.ResNet(1, 3)), (unit(2, 3, 8, 8),)),
    "disentangling.factor_channel.FactorChannel": lambda: (
        factor_channel.FactorChannel(2, 1.0), (normal(4, 2), g("noise")),
    ),
    "disentangling.known_factor.KnownFactorModel": lambda: (known_factor_model(), (normal(4, 2), g("noise"))),
    "disentangling.layers.Downsample": lambda: (skipped(lambda: layers.Downsample(1, 2)), (unit(2, 1, 4, 4),)),
    "disentangling.layers.Upsample": lambda: (skipped(lambda: layers.Upsample(1, 2)), (unit(2, 1, 4, 4),)),
    "disentangling.networks.VAE": lambda: (vae(), (pictures(), g("noise"))),
    "disentangling.networks.ConvEncoder": lambda: (
        skipped(lambda: networks.ConvEncoder(2, size=8, channels=(3, 4), hidden=(5,))), (unit(2, 1, 8, 8),),
    ),
    "disentangling.networks.ConvDecoder": lambda: (
        skipped(lambda: networks.ConvDecoder(2, size=8, channels=(3, 4), hidden=(5,))), (normal(2, 2),),
    ),
    "disentangling.networks.BurgessEncoder": lambda: (
        skipped(lambda: networks.BurgessEncoder(1, 2, 32)), (unit(2, 1, 32, 32),),
    ),
    "disentangling.networks.BurgessDecoder": lambda: (skipped(lambda: networks.BurgessDecoder(1, 2, 32)), (normal(2, 2),)),
    "disentangling.networks.MLPEncoder": lambda: (skipped(lambda: networks.MLPEncoder(4, 2, (5,))), (pictures(),)),
    "disentangling.networks.MLPDecoder": lambda: (skipped(lambda: networks.MLPDecoder(4, 2, (5,))), (normal(2, 2),)),
    "disentangling.networks.FullyConnectedEncoder": lambda: (
        skipped(lambda: networks.FullyConnectedEncoder(2)), (unit(1, 1, 64, 64),),
    ),
    "disentangling.networks.FullyConnectedDecoder": lambda: (
        skipped(lambda: networks.FullyConnectedDecoder(2)), (normal(1, 2),),
    ),
    "few_shot.networks.Conv4": lambda: (
        skipped(lambda: few_shot_networks.Conv4(1, 2, 3, 16)), (unit(2, 1, 16, 16),),
    ),
    "few_shot.networks.ResidualBlock": lambda: (
        skipped(lambda: few_shot_networks.ResidualBlock(2, 3)), (normal(2, 2, 4, 4),),
    ),
    "few_shot.networks.ResNet12": lambda: (
        skipped(lambda: few_shot_networks.ResNet12(1, 3, (2, 2, 2, 2))), (unit(2, 1, 16, 16),),
    ),
    "few_shot.networks.WideBlock": lambda: (
        skipped(lambda: few_shot_networks.WideBlock(2, 3, 2)), (normal(2, 2, 4, 4),),
    ),
    "few_shot.networks.WideResNet": lambda: (
        skipped(lambda: few_shot_networks.WideResNet(1, 3, 1, 1)), (unit(2, 1, 8, 8),),
    ),
    "language_models.decoder.Attention": lambda: (
        skipped(lambda: decoder.Attention(8, 2)), (normal(2, 3, 8), None, None, None, 0),
    ),
    "language_models.decoder.Block": lambda: (
        skipped(lambda: decoder.Block(8, 2, 16)), (normal(2, 3, 8), None, None, None, 0),
    ),
    "language_models.decoder.TinyDecoder": lambda: (tiny(), (tokens(),)),
    "disentangling.recombination.RecombinationNet": lambda: (
        skipped(lambda: recombination.RecombinationNet(5)),
        (*[scan.Gaussian(normal(4, 3), normal(4, 3))] * 2, torch.tensor([0, 1, 2, 0])),
    ),
    "disentangling.scan.SymbolVAE": lambda: (skipped(lambda: scan.SymbolVAE((4, 3), 2, 5)), (unit(4, 7), None)),
    "disentangling.jmvae.JMVAE": lambda: (
        skipped(lambda: jmvae.JMVAE((3, 4, 4), (4, 3), 2, (5,), 5)), (unit(2, 3, 4, 4), unit(2, 7)),
    ),
    "uncertainty.confidence_estimators.ConfidenceProbe": lambda: (
        confidence_estimators.ConfidenceProbe(4, (5,), generator=g("weights")), (normal(3, 4),),
    ),
    "language_models.lora.LoRALinear": lambda: (
        weighted(lora.LoRALinear(skipped(lambda: nn.Linear(4, 4)), 2, 4.0, g())), (normal(3, 4),),
    ),
    "disentangling.denoising.DenoisingAutoencoder": lambda: (denoiser(), (unit(4, 3, 2, 2),)),
    "disentangling.denoising.FeatureMap": lambda: (denoising.FeatureMap(denoiser()), (unit(4, 3, 2, 2),)),
}  # fmt: skip

DRAWS = "torch draws a new layer's weights from its global generator; the functions with a generator= put others in"
EXCEPTIONS: dict[str, str] = {
    "robustness.bpda.BPDALayer": "a module, in MODULES",
    "robustness.cifar.train_resnet20": "minutes; what it is made of is walked, and the chapter's dry run trains it",
    "robustness.cifar.train_adversarial": "minutes; as train_resnet20",
    "robustness.data.cifar10": "reads a folder of images; test_places makes one",
    "robustness.layers.PruningLayer": "abstract; its subclasses are walked",
    "robustness.networks.PreActivationBlock": DRAWS,
    "robustness.networks.ResNet": DRAWS,
    "uncertainty.uci.load_uci": "reads a file; tests/uncertainty/test_uci.py makes one",
    "disentangling.dsprites_file.load_dsprites_npz": "reads the published file of 737,280 images",
    "disentangling.dsprites_file.fetch_dsprites": "needs a network",
    "disentangling.layers.Downsample": DRAWS,
    "disentangling.layers.Upsample": DRAWS,
    **{
        f"disentangling.networks.{name}": DRAWS
        for name in (
            "ConvEncoder", "ConvDecoder", "BurgessEncoder", "BurgessDecoder", "MLPEncoder", "MLPDecoder",
            "FullyConnectedEncoder", "FullyConnectedDecoder",
        )
    },
    **{
        f"few_shot.networks.{name}": DRAWS
        for name in ("Conv4", "ResidualBlock", "ResNet12", "WideBlock", "WideResNet")
    },
    "language_models.decoder.Attention": "a part of TinyDecoder, whose weights are drawn there",
    "language_models.decoder.Block": "a part of TinyDecoder, whose weights are drawn there",
    "language_models.lines_task.read_longchat_jsonl": "reads a file; tests/language_models/test_lines_task.py makes one",
    "training.save_checkpoint": "writes a file; test_checkpoints makes one",
    "training.load_checkpoint": "reads a file; test_checkpoints makes one",
    "training.load_weights": "reads a file; test_checkpoints makes one",
    "disentangling.recombination.RecombinationNet": DRAWS,
    "disentangling.scan.SymbolVAE": DRAWS,
    "disentangling.jmvae.JMVAE": DRAWS,
    "disentangling.shapes3d_file.Shapes3D": "reads a file; tests/disentangling/test_shapes3d_file.py makes one",
    "disentangling.shapes3d_file.fetch_shapes3d": "needs a network",
    "runs.store.Store": "writes a file; tests/runs/test_store.py makes one",
    "runs.store.earlier_sittings": "reads what stores were opened; tests/runs/test_store.py opens some",
    "runs.store.go_on": "copies files; tests/runs/test_store.py makes them",
    "runs.fetch.cache_dir": "asks the environment; test_places changes it",
    "runs.fetch.sha256_of": "reads a file; tests/runs/test_fetch.py makes one",
    "runs.fetch.download": "needs a server; tests/runs/test_fetch.py runs one",
    "runs.fetch.writing": "goes around what writes a file; test_places lets it be refused",
    "runs.fetch.alone": "goes around what another library fetches; test_places looks at its lock",
    "few_shot.meta_gradients.weighted_episode_gradient": "its losses carry a graph, which cannot be copied; test_meta_gradients",
    "disentangling.denoising.DenoisingAutoencoder": "a module, in MODULES",
    "disentangling.denoising.FeatureMap": "a module, in MODULES",
    "disentangling.environments.as_gymnasium": "needs Gymnasium; tests/disentangling/test_domains_and_worlds.py asks for it",
}  # fmt: skip
