"""The evaluation of a VAE, on a model whose codes and reconstructions are known."""

import pytest
import torch
from torch import nn

from workings.disentangling.evaluation import Evaluation, evaluate_vae
from workings.disentangling.objectives import bernoulli_nll
from workings.seeding import torch_generator


class Known(nn.Module):
    """Codes are two numbers of the picture, the first with its sign turned; pictures are rebuilt from the code's first number."""

    def __init__(self, logvar):
        super().__init__()
        self.logvar = logvar

    def encode(self, x):
        mu = torch.stack([-x[:, 0, 0, 0], x[:, 0, 0, 1]], dim=1)
        return mu, torch.full_like(mu, self.logvar)

    def decode(self, z):
        return z[:, :1, None, None].expand(-1, 1, 2, 2)


@pytest.mark.parametrize("logvar", [-40.0, 0.5])
def test_each_number_is_the_formula_of_its_name(logvar):
    source = torch_generator(0, "known")
    x = torch.rand(400, 1, 2, 2, generator=source)
    factors = x[:, 0, 0, :2].clone()
    found = evaluate_vae(Known(logvar), x, factors, torch_generator(1, "known"))
    mu = torch.stack([-factors[:, 0], factors[:, 1]], dim=1).double()
    kl = (mu.square() + torch.tensor(logvar).double().exp() - logvar - 1) / 2
    torch.testing.assert_close(found.kl, kl.mean(dim=0), rtol=1e-6, atol=1e-6)
    plain = float(bernoulli_nll(mu[:, :1, None, None].float().expand(-1, 1, 2, 2), x).mean())
    assert found.nll_mean == pytest.approx(plain, rel=1e-6)
    # noise of variance 1.65 in a logit costs at least a quarter of a nat over four pixels; of variance e^-40, nothing
    assert (found.nll == pytest.approx(plain, rel=1e-6)) if logvar < 0 else (found.nll > plain + 0.25)
    assert (found.corr.diagonal() > 0.999).all() and (found.corr >= 0).all()
    assert found.one_latent_each()


def test_a_factor_has_a_latent_of_its_own_by_its_column():
    seen = lambda *rows: Evaluation(torch.zeros(3), 0.0, 0.0, torch.tensor(rows)).one_latent_each()
    assert seen([0.95, 0.1], [0.0, 0.2], [0.3, 0.97])  # a latent (row) may follow nothing
    assert not seen([0.95, 0.96], [0.0, 0.2], [0.3, 0.1])  # one latent for both factors
    assert not seen([0.95, 0.1], [0.0, 0.8], [0.3, 0.7])  # the second factor has none
