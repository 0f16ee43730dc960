"""JMVAE: its loss by torch's own distributions, and that it learns both ways on a tiny set."""

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from workings.disentangling.concepts import khot, read_symbol
from workings.disentangling.jmvae import JMVAE, JMVAEJob, jmvae_terms, train_jmvaes
from workings.disentangling.rooms import ATTRIBUTE_SIZES, all_rooms, read_rooms, render_rooms, room_attributes
from workings.seeding import torch_generator


def normal(*shape, name="normal"):
    return torch.randn(*shape, generator=torch_generator(0, "jmvae tests", name))


def test_the_loss_is_its_terms():
    joint, image, symbol = ((normal(4, 3, name=f"m{i}"), normal(4, 3, name=f"v{i}")) for i in range(3))
    as_torch = lambda q: Independent(Normal(q[0], torch.exp(q[1] / 2)), 1)
    prior = Independent(Normal(torch.zeros(4, 3), torch.ones(4, 3)), 1)
    near = sum(kl_divergence(as_torch(joint), as_torch(q)) for q in (image, symbol))
    expected = 1.0 + 2.0 + 3.0 * kl_divergence(as_torch(joint), prior) + 0.5 * near
    found = jmvae_terms(torch.ones(4), torch.full((4,), 2.0), joint, image, symbol, beta=3.0, alpha=0.5)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_small_set_is_learnt_both_ways():
    classes = all_rooms()[::7]
    pictures, shown = render_rooms(classes), room_attributes(classes)
    (model,) = train_jmvaes([JMVAEJob(pictures, shown, 0)], ATTRIBUTE_SIZES, 500, latent_dim=4, hidden=(32, 32))
    with torch.no_grad():
        named = read_symbol(model.decode_symbol(model.encode_image(pictures).mu), ATTRIBUTE_SIZES)
        drawn = torch.sigmoid(model.decode(model.encode_symbol(khot(shown, ATTRIBUTE_SIZES)).mu))
    # Chance is 1/4 for hues and 1/3 for shapes; 110 rooms, so 0.5 is over five standard errors above.
    assert (named == shown).double().mean() > 0.5
    assert (room_attributes(read_rooms(drawn)) == shown).double().mean() > 0.5
    joint = model.encode_joint(pictures[:3], khot(shown[:3], ATTRIBUTE_SIZES))
    assert joint.mu.shape == (3, 4)


def test_a_job_does_not_depend_on_its_neighbours():
    classes = all_rooms()[::9]
    jobs = [JMVAEJob(render_rooms(classes), room_attributes(classes), seed) for seed in (0, 1)]
    options = dict(sizes=ATTRIBUTE_SIZES, steps=5, latent_dim=2, hidden=(8,), batch=16)
    both, (alone,) = train_jmvaes(jobs, **options), train_jmvaes(jobs[1:], **options)
    for a, b in zip(both[1].parameters(), alone.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: train_jmvaes([], ATTRIBUTE_SIZES, 3), "jobs is empty"),
        (
            lambda: train_jmvaes(
                [JMVAEJob(torch.rand(8, 1, 2, 2), torch.zeros(8, 1).long(), 0, beta=b) for b in (1.0, 2.0)], (2,), 3
            ),
            "share beta",
        ),
        (lambda: jmvae_terms(normal(1), normal(1), *[(normal(1, 2), normal(1, 2))] * 3, beta=-1.0, alpha=1.0), "beta"),
        (lambda: JMVAE((1, 2, 2), (2,), 2, (4,)).encode_symbol(torch.zeros(1, 3)), "resize or reshape"),
    ],
)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words), torch.random.fork_rng():
        call()
