# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # beta-VAE and capacity: what would you say first?
#
# <p class="wk-run"><a href="https://colab.research.google.com/github/workings-book/workings/blob/main/notebooks/disentangling/beta_vae_capacity.ipynb">Run this chapter on Colab</a></p>
#
# You describe pictures to a friend over a line that carries very little. With a few words you say *where* the thing is. With more you add how
# large it is, then what it is, and at last which way it is turned. [Burgess et al. (2018)](https://arxiv.org/abs/1804.03599) argue that this is what
# a beta-VAE does, that it explains why such a model separates the factors of its pictures, and that it suggests a recipe:
# open the line slowly. This chapter derives their picture from one formula, watches the order appear in an experiment whose factors are known, and
# then asks how much of it survives in a real model. Part of it does not.
#
# - **You need** the chapter [on early visual concepts](early_visual_concepts.ipynb), or another first meeting with the VAE and its KL term.
# - **It takes** 45 minutes to read and one to two minutes to run.
# - **Afterwards you can** say which factor the next nat is best spent on, steer the capacity of a VAE, and tell nats that are spent from nats that are used.
#
# The paper was not at hand. What we say of its figures comes from page-referenced notes and from people who quote it in public, and is marked so. All
# measured numbers are ours. At the first use of most methods the page writes the method out and checks that the library does the same (the linear VAEs and the information of a channel are called only); after that it calls the library.

# %% tags=["hide-input"]
# Set-up: takes the package of this clone, or the installed one, or installs it.
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

packages = [
    "git+https://github.com/workings-book/workings@main",
    "torch",
    "torchvision",
]
above = [folder / "lib" for folder in (Path.cwd() / "x").parents]
clone = [str(lib) for lib in above if (lib / "workings/runs").is_dir()][:1]
sys.path[:0] = clone
try:
    import workings.runs

    version = workings.__version__
except ImportError:  # it is missing, or only a folder has its name
    version = ""
number = lambda text: [int(word) for word in re.findall(r"\d+", text)[:3]]
wanted = packages[0].rpartition("@")[2]  # a version, or the newest state
is_old = not version or number(version) < number(wanted)
if is_old and not clone and "checkout" not in version:
    packages[0] = os.environ.get("WORKINGS_SOURCE", packages[0])
    pip = [sys.executable, "-m", "pip", "install", "-q", *packages]
    if subprocess.run(pip).returncode:
        line = " ".join(pip)
        raise RuntimeError(f"Run this in a terminal, then restart: {line}")
    for name in [n for n in sys.modules if n.split(".")[0] == "workings"]:
        del sys.modules[name]
    importlib.invalidate_caches()

from workings.runs.provenance import environment_line

print(environment_line())

# %% tags=["parameters"]
tier = "demo"  # "full" trains on all of dSprites: see "At full scale"
dry_run = (
    False  # with "full": a few steps on a few sprites, to see that it works
)
data_root = None  # folder with the published dSprites file, if you have it

# %% tags=["hide-input"]
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional as F

from workings import ledger
from workings.chapters.beta_vae_capacity import full as full_tier
from workings.chapters.beta_vae_capacity.demo import (
    blob_runs,
    evaluate,
    factor_data,
    known_factor_runs,
    latent_maps,
    sprite_variances,
    square_start,
    square_vaes,
    squares,
    tiled,
)
from workings.chapters.beta_vae_capacity.live import arrays, cases
from workings.chapters.beta_vae_capacity.settings import FACTORS, Settings
from workings.disentangling.dsprites_data import factor_values
from workings.disentangling.factor_channel import FactorChannel
from workings.disentangling.known_factor import onset_capacity
from workings.disentangling.linear_vae import linear_vaes
from workings.disentangling.objectives import capacity_loss, pixel_entropy
from workings.disentangling.rate_distortion import (
    channel_information,
    gaussian_rate,
    linear_beta_vae_optimum,
    reverse_water_filling,
    shuffled_code_nll,
)
from workings.disentangling.sprites16 import small_sprites
from workings.disentangling.training import (
    annealed_capacity,
    on_target,
    target,
    train_vae,
)
from workings.disentangling.traversal import traversal_grid
from workings.runs.progress import progress
from workings.seeding import torch_generator
from workings.show.controls import Axis, Control, Frame
from workings.show.figures import COLOURS, png_bytes, use_style
from workings.show.live import keep_cases, keep_weights
from workings.training import ShuffledBatches

use_style()
torch.set_num_threads(
    1
)  # sums are added in the same order whatever the machine
settings = Settings.for_tier(tier, dry_run=dry_run)
seeds = list(settings.seeds)
ledger_ = ledger.open("beta_vae_capacity", tier=tier)
looks = {
    "x": dict(color=COLOURS["blue"], linestyle="-"),
    "y": dict(color=COLOURS["orange"], linestyle="--"),
    "scale": dict(color=COLOURS["green"], linestyle="-."),
    "shape": dict(color=COLOURS["red"], linestyle=":"),
    "orientation": dict(
        color=COLOURS["purple"], linestyle=(0, (5, 1, 1, 1))
    ),
}

# %% [markdown]
# ## The pictures
#
# dSprites again: one white shape on black. Five **factors** make each picture: x, y, scale, shape and orientation. For the demo we take 16 x 16
# pixels (4 x 4 blocks averaged) and about a sixth of the 46,080 pictures that remain when every second position and every fourth orientation is kept.

# %%
data = factor_data(settings)
print(
    f"{len(data.images)} pictures of {tuple(data.images.shape[1:])} pixels"
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Twelve small grey pictures in two rows: squares, ellipses and hearts of several sizes, turned and placed at random on black."}, "figure": {"caption": "Twelve of the pictures, drawn at random. At 16 x 16 pixels the position is plain, the size fairly so, and the shape and its angle are a matter of a few grey pixels.", "name": "fig-cap-sprites"}}
fig, axes = plt.subplots(2, 6, figsize=(4.6, 1.7))
for ax, picture in zip(axes.flat, data.images, strict=False):
    ax.imshow(picture[0], cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
fig.suptitle("One shape, five factors", fontsize=10.5, fontweight="bold")
plt.show()

# %% [markdown]
# > **Predict.** Your line carries only 2 nats a picture (1 nat is 1.44 bits, so: three yes-no answers, almost). You choose how to spend them on the five factors, so that your
# > friend's guess is as near to the picture as possible. Which factors get something, and which nothing?
#
# Keep your answer. First, the mathematics of such choices.
#
# ## One number over a narrow line
#
# Let the message be one Gaussian number of variance $v$. If your friend's guess may be off by a mean squared error $D$, you need
#
# $$
# R = \tfrac12 \ln \frac{v}{D} \ \text{ nats}, \qquad \text{so } D = v\,e^{-2R}. \tag{1}
# $$
#
# This is Shannon's rate-distortion function, and no scheme does better. Each nat divides the error by $e^2 \approx 7.4$, whatever it is now. **By hand:** $v = 4$ and one nat leave
# $D = 4 \cdot 0.135 = 0.54$.

# %%
print(f"nats to get from 4 to 0.54: {gaussian_rate(4.0, 0.54):.2f}")

# %% [markdown]
# ## Several numbers: reverse water-filling
#
# Now $K$ independent numbers of variances $v_1, \dots, v_K$ share $C$ nats. The next bit of a nat is best spent where the error is largest *now*. So you spend on the largest variance until its error
# has come down to that of the second, then on both, and so on. At the end all that were served have the same error $\theta$:
#
# $$
# R_k = \max\!\Big(0, \tfrac12 \ln \frac{v_k}{\theta}\Big), \qquad \sum_k R_k = C. \tag{2}
# $$
#
# | symbol | what it is | in code |
# |---|---|---|
# | $C$ | capacity: nats a picture, in all | `capacity` |
# | $v_k$ | how much factor $k$ moves the picture: its variance | `variances` |
# | $R_k$ | rate: nats given to factor $k$ | `rates` |
# | $\theta$ | water level: the error left on every factor that gets something | `theta` |
#
# **By hand.** $v = (16, 4, 1)$ and $C = 2$. Suppose that two are served: $\frac12 \ln\frac{16}{\theta} + \frac12 \ln\frac{4}{\theta} = 2$, so $\theta = 8\,e^{-2} = 1.083$. That is
# above 1, so the third really gets nothing. Then $R = (1.347, 0.653, 0)$.


# %%
def fill(variances, capacity):
    low, high = 1e-9, max(variances)
    for _ in range(100):  # halve the interval that holds the level
        level = (low * high) ** 0.5
        rates = np.maximum(0, np.log(np.array(variances) / level) / 2)
        enough = rates.sum() > capacity
        low, high = (level, high) if enough else (low, level)
    return rates, level


rates, theta = fill((16, 4, 1), 2.0)
print("rates", rates.round(4), " water level", round(theta, 4))
kernel = reverse_water_filling((16, 4, 1), 2.0)
assert np.allclose(rates, kernel.rates)  # agrees with the kernel

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels for 0.5, 2 and 4 nats. Each shows three bars of falling height, the variances on a logarithmic scale, and a dashed water level. At 0.5 nats only the first bar stands above the level, at 2 nats two do, at 4 nats all three; what stands above the level is filled."}, "figure": {"caption": "Reverse water-filling with variances 16, 4 and 1. Lower the water level until the filled lengths (half the logarithm of variance over level) add up to the capacity.", "name": "fig-cap-water"}}
variances = np.array([16.0, 4.0, 1.0])
fig, axes = plt.subplots(1, 3, figsize=(4.6, 2.5), sharey=True)
for ax, capacity in zip(axes, (0.5, 2.0, 4.0), strict=True):
    level = reverse_water_filling(variances, capacity).theta
    ax.bar(range(3), variances, 0.7, color=COLOURS["pale"])
    above = variances > level
    ax.bar(
        np.arange(3)[above],
        (variances - level)[above],
        0.7,
        bottom=level,
        color=COLOURS["blue"],
    )
    ax.axhline(level, color=COLOURS["red"], linestyle="--")
    ax.set(
        yscale="log",
        ylim=(0.1, 30),
        xticks=range(3),
        xticklabels=("1", "2", "3"),
    )
    ax.set(title=f"C = {capacity:g}", xlabel="factor")
axes[0].set(ylabel="variance (log scale)")
plt.show()

# %% tags=["hide-input"] mystnb={"image": {"alt": "Nats for each of three factors against the total capacity from 0 to 5. The first line rises alone from zero, the second joins at about 0.7 nats, the third at about 2.1, and each time the slopes of the earlier ones become smaller."}, "figure": {"caption": "The same rule as a staircase: each factor switches on at its own capacity and from then on shares every further nat equally with those before it.", "name": "fig-cap-water-stairs"}}
fig, ax = plt.subplots(figsize=(4.6, 2.7))
capacities = np.linspace(0, 5, 101)
paid = np.array(
    [reverse_water_filling(variances, c).rates for c in capacities]
)
for k in range(3):
    ax.plot(capacities, paid[:, k], label=f"variance {variances[k]:g}")
ax.set(
    xlabel="capacity C (nats)",
    ylabel="rate (nats)",
    title="Who is served when?",
)
ax.legend()
joins = capacities[(paid > 1e-9).argmax(axis=0)]
assert np.allclose(joins[1:], [0.7, 2.1], atol=0.1)  # as the text says
plt.show()

# %% [markdown]
# ## Why this is about VAEs
#
# A beta-VAE encodes a picture $x$ as a Gaussian $q(z|x)$ over latents $z$, decodes, and minimises
#
# $$
# \underbrace{\mathbb E\,[-\log p(x|z)]}_{\text{NLL}} \;+\; \beta\,\underbrace{D_{KL}\big(q(z|x)\,\|\,p(z)\big)}_{\text{KL}}. \tag{3}
# $$
#
# The KL, averaged over pictures, is an upper bound on the nats that $z$ can carry about $x$. So (3) puts a price $\beta$ on a nat. To see that it is the same problem, make everything linear: $x$ has independent
# components of variances $v_k$, encoder and decoder are matrices, and $-\log p$ is half the squared error. Take one latent with one component. Its loss is
# $\frac12 v\,e^{-2R} + \beta R$ at the best code of $R$ nats, by (1). The derivative is zero where $v\,e^{-2R} = \beta$, so
#
# $$
# R_k = \max\!\Big(0, \tfrac12 \ln \frac{v_k}{\beta}\Big). \tag{4}
# $$
#
# **That is (2) with $\theta = \beta$.** The price is the water level. Lowering $\beta$ and raising $C$ are two ways to walk along one curve, and the factors come aboard in the order of their
# variances. If you keep one formula of this chapter, keep this one.
#
# Does training find it? Three random starts at each of seven prices:

# %%
prices = np.array([0.25, 0.5, 1.0827, 2.0, 4.0, 8.0, 12.0])
expected = np.array(
    [linear_beta_vae_optimum(variances, b).kl for b in prices]
)
trained = [
    linear_vaes(variances, prices, settings.linear_steps, s).kl
    for s in progress(seeds, "linear VAEs")
]
worst = max(float(np.abs(kl.numpy() - expected).max()) for kl in trained)
print(f"largest distance from the formula: {worst:.2f} nats")

# %% tags=["hide-input"] mystnb={"image": {"alt": "KL of three latents against beta on a logarithmic axis. Three falling lines from the formula reach zero at beta 16, 4 and 1; the markers of three trained linear VAEs lie on them."}, "figure": {"caption": "Linear beta-VAEs on Gaussian data with variances 16, 4 and 1. Lines: formula (4). Markers: trained, three seeds on top of each other. Read from right to left: as a nat becomes cheaper, one latent after another switches on.", "name": "fig-cap-linear"}}
fig, ax = plt.subplots(figsize=(4.6, 2.9))
fine = np.geomspace(0.2, 20, 200)
lines = np.array([linear_beta_vae_optimum(variances, b).kl for b in fine])
for k, colour in enumerate(("blue", "orange", "green")):
    ax.plot(
        fine,
        lines[:, k],
        color=COLOURS[colour],
        label=f"v = {variances[k]:g}",
    )
    for kl, mark in zip(trained, "osx", strict=True):
        ax.plot(
            prices, kl[:, k], mark, color=COLOURS[colour], fillstyle="none"
        )
ax.set(
    xscale="log",
    xlabel="price of a nat, beta (log scale)",
    ylabel="KL (nats)",
)
ax.set_title("A linear VAE fills water in reverse")
ax.legend()
plt.show()

# %% [markdown]
# ## The recipe
#
# If the price sets the water level, then a fixed large $\beta$ can never afford the later factors: they stay blurred for good. The paper's recipe is to fix the *amount* in place of the price, and to raise it slowly:
#
# $$
# \min\; \mathbb E\,[-\log p(x|z)] + \gamma\,\big|\,\overline{\mathrm{KL}} - C(t)\,\big|, \tag{5}
# $$
#
# where $C(t)$ rises linearly from near 0 to $C_{max}$ and then stays there for the rest of the training, $\gamma$ is a weight that is large enough (how large, in a moment), and the bar is the mean over the batch, taken *before* the absolute value. A batch of two pictures, worth 5 and 15 nats, meets $C = 10$:

# %%
kl = torch.tensor([[5.0], [15.0]])
print(
    "penalty:",
    float(capacity_loss(torch.zeros(2), kl, capacity=10.0, gamma=1.0)),
)
print(
    "mean of the absolute values:", float((kl.sum(1) - 10.0).abs().mean())
)

# %% [markdown]
# (One public library takes the second. It is another objective: it wants every picture to cost the same.) The gradient of the penalty is $\pm\gamma$ times that of the KL. So $\gamma$ is a price that
# changes sign at the target, and below the target **the model is paid to spend**. Remember this sentence.
#
# How large must $\gamma$ be? At the target one more nat saves $\theta$, the water level there. If $\gamma < \theta(C)$, the model does better to overspend and to pay the penalty. So $\gamma$ must exceed the water level at $C$. With our variances and $C = 2$ that is 1.083:

# %%
for gamma in (0.9, 1.2):
    spent = linear_beta_vae_optimum(variances, gamma).kl.sum()
    verdict = "overspends" if spent > 2 else "stops at the target"
    print(f"gamma {gamma}: worth {spent:.2f} nats, so it {verdict}")

# %% [markdown]
# The level falls as $C$ rises, so the start of the schedule is where $\gamma$ must be largest. Above the level its size makes no difference to the optimum of (5). It does to the training, as we shall see.
#
# ## Why neighbours must look alike
#
# Formula (2) says *how much* each factor gets. Why should a factor keep its order inside the code, so that moving along a latent moves the sprite smoothly? Because with few nats the code is noisy, and the decoder
# confuses neighbours. Send x over a noisy channel with $R$ nats: $z = \sqrt{1-e^{-2R}}\,f + e^{-R}\varepsilon$ with $f$ the standardised x and $\varepsilon \sim \mathcal N(0,1)$. Here are
# the 16 positions as the decoder sees them:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three rows of sixteen bell curves along the code z. At 0.5 nats they are wide and lie on top of each other; at 2 nats each overlaps its neighbours; at 4 nats they are separate spikes."}, "figure": {"caption": "Where the code of each of 16 positions may land, at three rates. What overlaps, the decoder cannot tell apart.", "name": "fig-cap-overlap"}}
fig, axes = plt.subplots(3, 1, figsize=(4.6, 2.8), sharex=True)
place = (np.arange(16) - 7.5) / np.std(np.arange(16))
z = np.linspace(-3, 3, 600)
for ax, rate in zip(axes, (0.5, 2.0, 4.0), strict=True):
    share, spread = np.sqrt(-np.expm1(-2 * rate)), np.exp(-rate)
    for i, f in enumerate(place):
        shade = plt.get_cmap("cividis")(i / 15)
        ax.plot(
            z,
            np.exp(-(((z - share * f) / spread) ** 2) / 2) / spread,
            "-",
            color=shade,
            lw=1,
        )
    ax.set(yticks=[], title=f"{rate:g} nats")
axes[1].set_ylabel("density")
axes[-1].set_xlabel("code z")
plt.show()

# %% [markdown]
# Now an experiment that needs no training. Take the 16 pictures of one square moving along x. Send them in order, or give them code points in a **shuffled** order: position 7 next to position 2, and so on. The KL is the same, and the noise, and the information
# in $z$. In both cases let the decoder be the best one there is. (Given $z$ it answers with the mean of the pictures that $z$ may stand for; the loss that remains is an integral.)
#
# > **Predict.** Does the shuffled code lose? By how much at 0.5, 2 and 4 nats?

# %%
row = small_sprites(0, 5, 0)
row = row.images[
    row.classes[:, 4] == 16
]  # the largest square, 16 places along x
pixels = row.flatten(1).double()


# %%
def best_decoder_nll(order, rate):
    f = (order - 7.5) / 21.25**0.5  # the 16 code points, standardised
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    noise = np.exp(-2 * rate)  # variance; the rest is signal
    log_p = -((z[:, None] - (1 - noise) ** 0.5 * f) ** 2) / (2 * noise)
    answer = (torch.softmax(log_p, dim=1) @ pixels).clamp(0, 1)
    density = log_p.exp().mean(dim=1) / (2 * np.pi * noise) ** 0.5
    return (density * pixel_entropy(answer)).sum() * (z[1] - z[0])


order = torch.randperm(16, generator=torch_generator(0, "shuffle"))
mine = best_decoder_nll(order, 1.5)
kernel = shuffled_code_nll(row, [1.5], order)[0]
assert abs(mine - kernel) < 1e-5  # agrees with the kernel

# %%
nats = np.linspace(0.05, 4.5, 24)
ordered = shuffled_code_nll(row, nats, torch.arange(16))
orders = [
    torch.randperm(16, generator=torch_generator(s, "shuffle"))
    for s in range(5)
]
mixed = torch.stack(
    [shuffled_code_nll(row, nats, order) for order in orders]
)
least = float((mixed - ordered).min())
print(f"least loss at any of the 24 rates: {abs(least):.1f} nats")
for rate in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0):
    lost = np.mean(
        [np.interp(rate, nats, curve - ordered) for curve in mixed]
    )
    whole = np.interp(rate, nats, ordered)
    print(
        f"{rate:g} nats: {whole:2.0f} in order, shuffled {lost:2.0f} more"
    )

# %% tags=["hide-input"] mystnb={"image": {"alt": "NLL against nats for the code in order and for five shuffled codes. The ordered curve falls fast at once; the shuffled curves fall slowly and stay well above it in between, and all meet at the right end."}, "figure": {"caption": "The same information, the same KL, the best decoder: only the order of the code points differs. On average over the five shuffles the order is worth 10 to 17 nats of reconstruction between 0.5 and 2 nats, at 3 nats only 1; with 4 nats, where codes no longer overlap, it is worth nothing.", "name": "fig-cap-shuffle"}}
fig, ax = plt.subplots(figsize=(4.6, 2.9))
for curve in mixed:
    line = ax.plot(nats, curve, "--", color=COLOURS["orange"], lw=1.2)
line[0].set_label("shuffled, five orders")
ax.plot(nats, ordered, color=COLOURS["blue"], label="in order")
ax.set(xlabel="rate (nats)", ylabel="NLL (nats a picture)", ylim=(0, None))
ax.set_title("Under noise a code in order is cheaper")
ax.legend()
plt.show()

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# It loses at 0.5 nats already, most around 1.5, and at 2 nats its NLL is still about twice that of the ordered code. At 4 nats it loses nothing, for then every position is read without error and any labelling is as good as any other. So the pressure towards a smooth code
# exists only while nats are scarce. This is the paper's reason to *start* with a tight channel; it is not a reason to expect order from a wide one.
#
# </details>
#
# ## Give it the factors
#
# Now your prediction from the beginning. We give the model the true factors, each through a noisy channel like the one above, and let it learn two things only: a decoder, and how to split $C$ nats among the five channels. (The paper's Figure 3 does this too. There the total is held to $C$
# by the penalty (5); here by construction, $R = C\,\mathrm{softmax}(a)$ with five learned numbers $a$ that start equal, so there is nothing to enforce.) $C$ rises from 0 to 20 nats. As a baseline, the same with the nats split equally. The channel, with the split as it is at the start:

# %%
split = torch.zeros(5, requires_grad=True)  # the five numbers a


def send(f, capacity, noise):
    rates = capacity * torch.softmax(split, dim=0)
    signal = (1 - torch.exp(-2 * rates)).sqrt() * f
    return signal + torch.exp(-rates) * noise


f = data.factors[:64]  # (pictures, factors), each standardised
noise = torch.randn(f.shape, generator=torch_generator(0, "noise"))
kernel = FactorChannel(5, capacity=3.0)(f, torch_generator(0, "noise"))
assert torch.allclose(send(f, 3.0, noise), kernel)  # agrees with the kernel

# %% [markdown]
# Training is Adam on the NLL of a decoder of these five noisy numbers, whose gradient flows into `split` too. $C$ rises over nine tenths of the 1,600 steps and then stays at 20.

# %%
known = known_factor_runs(data, settings)
onsets = np.array([onset_capacity(run) for run in known["learned"]])
floor = float(pixel_entropy(data.images.double()).mean())  # grey pixels

# %% tags=["hide-input"] mystnb={"image": {"alt": "Nats for each of five factors against total capacity from 0 to 20, three seeds each. The curves of x and y rise together from the start. Scale has a small bump near 1 nat, falls back and rises from about 3 nats, shape steeply from about 8, and orientation stays near zero until about 15 and then rises steeply."}, "figure": {"caption": "The staircase. Nats that each factor gets as the capacity rises; three seeds each, which differ little. The vertical strokes at 20 nats are the last tenth of the training: C stays there while the split still moves.", "name": "fig-cap-staircase"}}
fig, ax = plt.subplots(figsize=(4.6, 3.6))
for k, name in enumerate(FACTORS):
    for i, run in enumerate(known["learned"]):
        ax.plot(
            run.capacity,
            run.rates[:, k],
            lw=1.6,
            label=name if i == 0 else None,
            **looks[name],
        )
ax.set(
    xlabel="capacity C (nats)",
    ylabel="rate of the factor (nats)",
    title="Position, scale, shape, orientation",
)
ax.legend()
plt.show()

# %%
print("capacity from where a factor stays above 0.3 nats, three seeds")
for name, places in zip(FACTORS, onsets.T, strict=True):
    print(f"{name:11s}", *(f"{place:5.1f}" for place in places + 1e-3))

# %% [markdown]
# <a id="cap-2"></a>

# %%
in_order = all(full_tier.in_order(run) for run in known["learned"])
ledger_.check("cap-2", in_order, seeds=seeds, at="demo")

# %% [markdown]
# At two nats most goes to x and y. (The split starts even and takes until about 2.5 nats to sort itself out; in that time scale rises for a moment, and falls back. So "passes" means: stays above from there on.) The order is the one that is reported of the paper, found again from three random starts.
#
# ### Does the formula foresee it?
#
# Formula (2) wants the variances $v_k$ of the factors, and the grid of pictures has them. But which variance? *Alone*: tell only factor $k$, take the mean of all pictures that have this value, and see how much it varies. *Moving*: hold the other four, and see how much the picture varies as $k$ moves. Were the picture a sum of five independent parts, as in (2), the two would agree.

# %%
alone, moving = [], []
for k in (3, 4, 1, 0, 2):  # the axes of x, y, scale, shape, orientation
    others = [axis for axis in range(5) if axis != k]
    told = data.grid.mean(dim=others)  # (values of the factor, pixels)
    alone.append(told.var(dim=0, unbiased=False).sum().item())
    spread = data.grid.var(dim=k, unbiased=False).sum(dim=-1)
    moving.append(spread.mean().item())
kernel = sprite_variances(data)
assert np.allclose(alone, kernel.alone, rtol=1e-4)
assert np.allclose(moving, kernel.moving)  # agrees with the kernel
for row_of in zip(FACTORS, alone, moving, strict=True):
    print("{:11s} alone {:.3f}   moving {:.2f}".format(*row_of))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Nats per factor against capacity: broad pale lines measured, thin lines predicted. The predicted lines of x, y, scale and shape run near the measured ones; scale and shape start earlier than measured, and orientation begins at about 11 nats, where the measured line waits until about 15."}, "figure": {"caption": "Water-filling laid over the staircase. Broad: measured, mean of three seeds. Thin: formula (2) with the variances of each sprite factor alone.", "name": "fig-cap-predicted"}}
measured = torch.stack([run.rates for run in known["learned"]]).mean(0)
capacity = known["learned"][0].capacity
line = np.linspace(0, settings.factor_c_max, 201)
filled = {
    what: np.array([reverse_water_filling(v, c).rates for c in line])
    for what, v in (("alone", alone), ("moving", moving))
}
predicted = {
    what: [line[(rates[:, k] > 0.3).argmax()] for k in range(5)]
    for what, rates in filled.items()
}
fig, ax = plt.subplots(figsize=(4.6, 3.2))
for k, name in enumerate(FACTORS):
    colour = looks[name]["color"]
    ax.plot(capacity, measured[:, k], "-", color=colour, lw=4, alpha=0.3)
    ax.plot(line, filled["alone"][:, k], lw=1.4, label=name, **looks[name])
ax.set(
    xlabel="capacity C (nats)",
    ylabel="rate (nats)",
    title="Foreseen from the variances alone",
)
ax.legend(fontsize=8)
plt.show()

# %%
print("capacity at which a factor passes 0.3 nats")
for k, name in enumerate(FACTORS):
    print(
        f"{name:11s} measured {onsets[:, k].mean() + 1e-3:4.1f},"
        f" alone {predicted['alone'][k]:4.1f},"
        f" moving {predicted['moving'][k]:4.1f}"
    )

# %% [markdown]
# Both variances give the measured order. The variances *alone* also give the shape of the staircase, though every step too early: orientation at 12 nats, measured 17. The variances *moving* put scale, shape and orientation within 1.3 nats of each other, which is wrong. We looked at both before we chose what to write here, so this is a description and not a test.
#
# Why too early, and why orientation most? Formula (1) says that the *first* half nat of a factor is the best: it takes away 63% of the error. That holds for a number that enters the picture in a straight line. An angle does not. It shows only where the other factors are known (told alone it moves the mean picture by 0.002, beside them by 0.82), and even then, we think, a rough angle leaves most of the error (we did not measure it). Nor is the measured onset that of the best split, as you will see below. So the formula foresees the order, and the timing only roughly.
#
# ### Look at it
#
# Move the capacity. You see the nats, and four pictures with what one noisy message at this capacity makes of each. (On the book's page the bars are formula (2), the points are measured, and you can move the variances as well.) Watch a haze become a place, the place get a size, and the size a shape.

# %% tags=["hide-input"]
shown = [0, 1, 2, 5]
kept = known["learned"][0].kept


def frame(model, capacity):
    """Bars of the rates above, pictures and their reconstructions below."""
    with torch.no_grad():
        noisy = model(data.factors[shown], torch_generator(0, "frame"))
    rates = model.channel.rates.detach()
    fig = plt.figure(figsize=(4.6, 4.2))
    top, bottom = fig.subfigures(2, 1, height_ratios=(1, 1))
    ax = top.subplots()
    ax.bar(FACTORS, rates, color=[looks[name]["color"] for name in FACTORS])
    ax.set(ylim=(0, 6), ylabel="nats", title=f"{capacity:g} nats in all")
    rows = torch.stack([data.images[shown, 0], torch.sigmoid(noisy)[:, 0]])
    ax = bottom.subplots()
    ax.imshow(tiled(rows), cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[])
    ax.set_yticks((7.5, 24.5), ("picture", "received"))
    ax.grid(False)
    served = [n for n, r in zip(FACTORS, rates, strict=True) if r > 0.6]
    alt = f"{capacity:g} nats: {', '.join(served) or 'no factor'} above "
    alt += "0.6 nats; below, four sprites and what is received."
    return Frame(png_bytes(fig), alt)


# %% tags=["hide-input"]
Control(
    "cap-capacity",
    [
        Axis(
            "Capacity (nats)",
            tuple(f"{c:g}" for c in settings.factor_stops),
            start=3,
        )
    ],
    [
        partial(frame, m, c)
        for m, c in zip(kept, settings.factor_stops, strict=True)
    ],
    caption="Known factors, a channel of rising capacity, first seed.",
    live="beta_vae_capacity",
)

# %% tags=["remove-cell"]
# The book's page computes formula (2) in the browser, beside what was
# measured here. The script is compared with what the kernels give:
live_data = arrays(known["learned"], data, np.array(alone), shown)
keep_cases(
    "beta_vae_capacity",
    cases(keep_weights("beta_vae_capacity", live_data)),
)

# %% [markdown]
# ### Was it the best split?
#
# An order is only interesting if it pays. So compare the NLL with that of the equal split, at every capacity.

# %%
mean_nll = {
    kind: torch.stack([run.nll for run in runs]).mean(0)
    for kind, runs in known.items()
}
capacity = known["learned"][0].capacity


def gain(at):
    """Nats of NLL by which the learned split beats the equal one."""
    i = int((capacity - at).abs().argmin())
    return float(mean_nll["equal"][i] - mean_nll["learned"][i])


for at in (4, 17):
    print(
        f"at {at:2d} nats the learned split is {gain(at):.0f} nats better"
    )

# %% tags=["hide-input"] mystnb={"image": {"alt": "NLL above its floor against capacity, logarithmic vertical axis. The two curves start together; from about 1 to 5 nats the learned split falls much faster; from there on the equal split slowly catches up, and they meet near 17 nats."}, "figure": {"caption": "What the nats are worth: NLL above the entropy of the grey pixels (which no model can go below), three seeds each. Learned split against equal split.", "name": "fig-cap-equal"}}
fig, ax = plt.subplots(figsize=(4.6, 3.0))
kinds = {
    "learned": dict(color=COLOURS["blue"]),
    "equal": dict(color=COLOURS["orange"], linestyle="--"),
}
for kind, look in kinds.items():
    for i, run in enumerate(known[kind]):
        label = f"{kind} split" if i == 0 else None
        ax.plot(run.capacity, run.nll - floor, lw=1.6, label=label, **look)
ax.set(
    yscale="log",
    xlabel="capacity C (nats)",
    ylabel="NLL above the floor (nats)",
)
ax.set_yticks((3, 5, 10, 20, 50), ("3", "5", "10", "20", "50"), minor=False)
ax.yaxis.set_minor_formatter("")
ax.set_title("The order pays, while nats are scarce")
ax.legend()
plt.show()

# %% [markdown]
# While nats are scarce the learned split is far ahead. But look at the right end. Near 17 nats the equal split, which by then gives orientation more than 3 nats, is *as good*. The learned split has hardly begun to give orientation anything, and at 20 nats, where $C$ stands still, its share goes on rising. So the last step of the
# staircase stands late partly because learning is slow: a split that gives orientation next to nothing gets little signal that it would pay. Read the order, not the position of the last step.
#
# The curve also measures the water level: its slope is what one more nat saves.

# %%
slope = -np.gradient(mean_nll["learned"].numpy(), capacity.numpy())
for at in (1, 2, 4, 8, 12):
    i = int((capacity - at).abs().argmin())
    print(f"level near {at:2d} nats: {slope[i - 1 : i + 2].mean():4.1f}")

# %% [markdown]
# (The first number is too high, since the decoder is still learning there.) In the next section a target rises from 1 to 12 nats with $\gamma = 10$. By this table, which is of other pictures (all shapes, known factors), that is enough from about 2 nats on, and perhaps not at the very start.
#
# A second caution. x takes 16 values here, and $\ln 16 = 2.8$ nats name one of them. At the end the model pays over 5. Nats in this chapter are what is *paid*, an upper bound on what is *told*, and the gap is exactly computable:

# %%
for rate in (1.0, 2.8, 5.0):
    told = channel_information(16, rate)
    print(f"{rate:.1f} nats paid for one of 16 places: {told:.2f} told")

# %% [markdown]
# ## Now without the factors
#
# A real VAE gets pictures only. Ours is a small fully connected network with five latents; it sees 8,000 of the set's 15,360 squares (six sizes, ten angles, 256 places). The target rises from 1 to 12 nats over 1,280 of 1,600 steps, with $\gamma = 10$. Here are the pictures, a start, and its first step by equation (5):

# %%
images = squares(settings)
factors = factor_values(images.classes)[:, [3, 4, 1]]  # x, y, scale
pixels = images.images.double()
model, twin = (square_start(0, settings).double() for _ in range(2))
adam, twin_adam = (
    torch.optim.Adam(net.parameters(), lr=2e-3) for net in (model, twin)
)
x = pixels[ShuffledBatches(len(pixels), 64, seed=0)(0)]
stream = torch_generator(0, "fit", "loss", 0)  # the noise of the first step

# %%
mu, logvar = model.encode(x)
noise = torch.randn(mu.shape, generator=stream, dtype=x.dtype)
logits = model.decode(mu + torch.exp(logvar / 2) * noise)
nll = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
nll = nll.sum(dim=(1, 2, 3)).mean()  # over pixels, then the batch
kl = ((mu**2 + logvar.exp() - logvar - 1) / 2).sum(dim=1).mean()
loss = nll + 10 * (kl - 1).abs()  # (5) with gamma = 10 and C(0) = 1
loss.backward()
adam.step()
rule = annealed_capacity(gamma=10, c_max=12, n_steps=1280, c_min=1)
train_vae(twin, pixels, 1, rule, seed=0, optimiser=twin_adam)
theirs = twin.state_dict()
same = [torch.allclose(v, theirs[k]) for k, v in model.state_dict().items()]
assert all(same)  # agrees with the kernel

# %% [markdown]
# Beside it, from the same starts and with as many steps: fixed $\beta = 4$ and
# $\beta = 1$, and the same schedule with $\gamma = 1000$, which is quoted from the paper's supplement (there for pictures with sixteen times the pixels; public programs raise $C$ over 100,000 steps). Three seeds of each, all shown.

# %%
fitted = square_vaes(images.images, settings)
read = {
    name: [evaluate(f.model, images.images, factors, f.seed) for f in runs]
    for name, runs in fitted.items()
}
plan = (settings.c_min, settings.c_max, settings.vae_rising)
annealed, dear = (
    f"gamma = {g:g}" for g in (settings.gamma, settings.paper_gamma)
)
for name in (annealed, dear):
    share = min(on_target(f.history, *plan) for f in fitted[name])
    print(f"{name}: within 0.5 nats of the target {share:.0%} of the time")
for name, runs in read.items():
    spent = np.mean([float(m.kl.sum()) for m in runs])
    print(f"{name:12s} ends at {spent:2.0f} nats")

# %% [markdown]
# (The share is the least of the three seeds, counted after the first tenth of the training, on means over windows of 40 steps.) The last two lines measure the water level once more: a fixed price stops where a nat is worth just that, so the level of these pictures is about 1 at 6 nats and 4 at 3.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three stacked panels, one per seed: nats of each of five latents against the target capacity from 1 to 12. In every panel two latents end at four nats or more, a third between three and four, and two near zero. On the way there the panels differ: in the first the latent that ends third is high at the beginning, falls and comes back; in the second the latents rise one after another; in the last three rise almost together."}, "figure": {"caption": "The annealed VAE: nats in each latent (sorted by their final value) against the target, one panel per seed. Nothing told the model that there are factors.", "name": "fig-cap-latents"}}
fig, axes = plt.subplots(3, 1, figsize=(4.6, 5.4), sharex=True, sharey=True)
for ax, fit, found in zip(
    axes, fitted[annealed], read[annealed], strict=True
):
    goal = target(fit.history, *plan)
    for rank, latent in enumerate(found.kl.argsort(descending=True)):
        ax.plot(goal, fit.history.kl[:, latent], label=f"latent {rank + 1}")
    ax.set(ylabel="KL (nats)", title=f"seed {fit.seed}")
axes[0].legend(ncols=2, fontsize=8)
axes[-1].set_xlabel("target capacity (nats)")
plt.show()

# %% [markdown]
# In the end two latents carry most, a third somewhat less, and two next to nothing. But this is no clean staircase, and the seeds get there differently: in one the latent that ends third leads at first and gives way, in another the latents come one at a time, in the last nearly together. What do they mean?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows of three small heat maps with numbers between 0 and 1: annealed VAE and beta 4, three seeds each, three latents by x, y and scale. Annealed, seed 0: x and y are spread over two latents with middling numbers; seeds 1 and 2 have one dark cell for x and one for y. Beta 4: in all seeds x and y are spread, with middling to high numbers. Scale is followed by the third latent only, strongly in the first seed of beta 4 and weakly everywhere else."}, "figure": {"caption": "Absolute correlation of the three busiest latents with x, y and scale. A clean code has one dark cell in each column.", "name": "fig-cap-corr"}}
names = (annealed, "beta = 4")
fig, axes = plt.subplots(2, 3, figsize=(4.6, 3.9), sharex=True, sharey=True)
for axrow, name in zip(axes, names, strict=True):
    for ax, found, seed in zip(axrow, read[name], seeds, strict=True):
        corr = found.corr[found.kl.argsort(descending=True)[:3]]
        ax.imshow(corr, cmap="Blues", vmin=0, vmax=1)
        for (i, j), value in np.ndenumerate(corr.numpy()):
            colour = "white" if value > 0.6 else COLOURS["ink"]
            ax.text(
                j,
                i,
                f"{value:.2f}",
                ha="center",
                va="center",
                color=colour,
                size=8,
            )
        ax.set(
            xticks=range(3),
            xticklabels=("x", "y", "scale"),
            yticks=range(3),
        )
        ax.set_yticklabels(("1", "2", "3"))
        ax.grid(False)
        ax.set_title(f"{name}, seed {seed}", fontsize=8)
    axrow[0].set_ylabel("latent")
plt.show()

# %% [markdown]
# <a id="cap-3"></a>

# %%
good = [
    on_target(f.history, *plan) >= 0.95 and m.one_latent_each()
    for f, m in zip(fitted[annealed], read[annealed], strict=True)
]
ledger_.check("cap-3", sum(good), seeds=seeds, at="demo", digits=0)

# %% [markdown]
# **Not met here.** The target is met all the way; the code is not cleanly aligned. In one seed the first two latents hold *mixtures* of x and y, a rotated frame; in two they lie near the axes; with $\beta = 4$ all three are rotated. And over all places together none of the busy latents of the annealed models follows scale. In a moment we see why axes are a matter of luck.
#
# What a latent does is easiest seen by moving it. Rows are the three busiest latents of the first seed; columns move one of them from -2 to 2 while the others stay at the code of one square near the middle; the three blocks are the model as it was at 4, 8 and 12 nats.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Nine rows of seven small pictures in three blocks. At 4 nats the first two rows show a soft blob that moves, in the second fading out on the way, and the third changes little but its brightness. At 8 and 12 nats the spot is sharp, the first two rows move it along slanted paths, and in the third row it grows from darkness to full size."}, "figure": {"caption": "Traversals of the annealed model, first seed. The third latent is weak at 4 nats and at work at 12; the first two keep their directions while the picture sharpens.", "name": "fig-cap-traversals"}}
fit = fitted[annealed][0]
top = read[annealed][0].kl.argsort(descending=True)[:3].tolist()
ideal = torch.tensor(
    [0.5, 0.5, 0.9]
)  # x, y, scale of the square to start from
start = int((factors - ideal).abs().sum(1).argmin())
moves = torch.linspace(-2, 2, 7)
fig, axes = plt.subplots(3, 1, figsize=(4.6, 6.0))
for ax, model, at in zip(axes, fit.kept, settings.vae_stops, strict=True):
    code = model.encode(images.images[start : start + 1])[0][0].detach()
    grid = torch.sigmoid(traversal_grid(model.decode, code, top, moves))
    ax.imshow(tiled(grid[:, :, 0]), cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], ylabel=f"latent, at {at:g} nats")
    ax.set_yticks((7.5, 24.5, 41.5), ("1", "2", "3"))
    ax.grid(False)
axes[-1].set_xlabel("value of the latent, from -2 to 2")
fig.suptitle(
    "Moving one latent at a time", fontsize=10.5, fontweight="bold"
)
plt.show()

# %% [markdown]
# Position becomes sharp and keeps its directions. The third latent does little at 4 nats. Later it is the size, read on one half of its range; the other half, where the picture is black, is hardly used by this position. Such a code is orderly to the eye and has a low correlation with
# scale: one reason to look at traversals as well as at numbers.
#
# ## Fixed price or fixed amount?
#
# Put every model in one plane: nats spent, and what is left to explain.

# %% tags=["hide-input"] mystnb={"code_prompt_show": "Show the entropy of the pixels and the lines' looks", "code_prompt_hide": "Hide the entropy of the pixels and the lines' looks"}
floor = float(pixel_entropy(pixels).mean())
plane_looks = {annealed: ("blue", "-"), dear: ("red", ":")}

# %% tags=["hide-input"] mystnb={"image": {"alt": "NLL above the floor on a logarithmic axis against KL from 0 to 13. The three annealed trajectories fall from the upper left to the lower right, above the points of beta 4, near 3 nats, and of beta 1, near 6 nats, and end lowest of all at 12 nats. The three trajectories with gamma 1000 reach 12 nats too, far above the others."}, "figure": {"caption": "Reconstruction against capacity. Lines: during annealing, three seeds each. Markers: models trained with a fixed beta. The lines with gamma 1000 pay the same nats and learn little from them.", "name": "fig-cap-plane"}}
fig, ax = plt.subplots(figsize=(4.6, 3.5))
for name, (colour, dash) in plane_looks.items():
    for i, f in enumerate(fitted[name]):
        label = f"annealed, {name}" if i == 0 else None
        ax.plot(
            f.history.kl.sum(1),
            f.history.nll - floor,
            dash,
            color=COLOURS[colour],
            lw=1.5,
            label=label,
        )
for beta, mark in zip(settings.betas, "s^", strict=True):
    points = [
        (float(m.kl.sum()), m.nll - floor) for m in read[f"beta = {beta:g}"]
    ]
    ax.plot(
        *np.transpose(points),
        mark,
        color=COLOURS["ink"],
        label=f"beta = {beta:g}",
    )
ax.set(
    yscale="log", xlabel="KL (nats)", ylabel="NLL above the floor (nats)"
)
ax.set_yticks((3, 5, 10, 20, 50), ("3", "5", "10", "20", "50"), minor=False)
ax.yaxis.set_minor_formatter("")
ax.set(ylim=(0.7, 70), title="What the nats are worth")
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# Three things to see.
#
# 1. *Annealing does not beat a fixed price at the same KL.* Its lines pass well above the points of $\beta = 4$ and $\beta = 1$. By formula (4) amount and price lead to the same *optimum*, so all should lie on one curve; but a model whose target moves is
#    not at its optimum: when the line passes 3 nats the decoder has had few steps. What you gain is the right to walk on.
# 2. *It does walk on.* At 12 nats the NLL is far below that of $\beta = 4$, which stopped near 3, and a little below that of $\beta = 1$.
# 3. *Nats can be wasted.* With $\gamma = 1000$ the target is met as exactly, and the reconstruction is poor. Below the target the model is paid $\gamma = 1000$ for every nat, whether or not it tells the decoder anything;
#    so the latents fill with nats that are worth little. Reaching the target KL does not mean that the decoder uses the code.
#
# The claim that annealing keeps the alignment of $\beta = 4$ *and* loses its blur:
#
# <a id="cap-4"></a>


# %%
def mean_of(name, value):
    return float(np.mean([value(m) for m in read[name]]))


def alignment(m):
    return float(m.corr.max(0).values.mean())


fixed = "beta = 4"
sharper = mean_of(fixed, lambda m: m.nll) - mean_of(
    annealed, lambda m: m.nll
)
lost = mean_of(fixed, alignment) - mean_of(annealed, alignment)
tens = round(sharper, -1)  # on other processors a nat or two more or less
print(f"annealed NLL below that of beta 4 by about {tens:.0f} nats")
print(f"its mean best |corr| lower by {round(lost, 1) + 0.0:.1f}")

# %%
ledger_.check("cap-4", sharper > 2 and lost < 0.05, seeds=seeds, at="demo")


# %% tags=["nbval-ignore-output"]
# not compared because trainings end elsewhere on another processor
def busiest(m):
    return float(m.corr[m.kl.argsort()[-3:]].max(0).values.mean())


less = mean_of(fixed, busiest) - mean_of(annealed, busiest)
print(f"of the three busiest latents alone: lower by {less:.2f}")

# %% [markdown]
# Met, with as many steps on either side. But cheaply: here $\beta = 4$ had no aligned position to lose, latents of next to no nats count (the three busiest alone stand at the edge), and from seed to seed either |corr| differs by more than the 0.05 allowed.
#
# ## Where it breaks: nothing names the axes
#
# Formula (4) decides how many nats go to each *variance*. If two variances are equal, it says nothing about directions: any rotation of x and y costs the same. Take the linear VAE with variances 4, 4 and 1, where everything is exact, and print how far its first two latents are turned
# from the axes:

# %%
for variances_now in ((4.0, 4.0, 1.0), (4.0, 3.0, 1.0)):
    turns = []
    for seed in range(5):
        found = linear_vaes(
            variances_now, [0.5], settings.linear_steps, seed
        )
        x, y, _ = found.encoder[0, 0].abs().tolist()
        turns.append(np.degrees(np.arctan2(y, x)))
    aligned = sum(min(t, 90 - t) < 1 for t in turns)
    print(
        f"variances {variances_now}: {aligned} of 5 seeds",
        "within 1 degree of an axis",
    )

# %% [markdown]
# In dSprites, x and y *are* as good as equal: the same range, the same effect on the picture, switched on at the same capacity. The staircase tells position from size. It cannot tell x from y. Whatever does, if anything, is outside the formula: the shape of the range (a square, not a disc), or a network whose layers prefer the axes of the image.
#
# The paper's own illustration is the smallest one: pictures of one Gaussian blob, two factors (Figure 2; by the notes, $\beta = 1$ spreads them over four latents, with jumps, and $\beta = 150$ uses two). Ours at 16 x 16, where 4 is already a large $\beta$, with ten seeds. (The weights start wider than
# above, as in the [chapter before](early_visual_concepts.ipynb): a choice made after a trial run, in which the narrow start showed less of a difference.) And once more at $\beta = 4$ with y confined to a third of its range, so that the two variances differ.

# %%
blobs = blob_runs(settings)
for name in ("low", "high"):
    run = blobs[name]
    used = [int((m.kl > 0.1).sum()) for m in run.evaluations]
    print(
        f"beta {run.beta:g}: {np.mean(used):.0f} latents in use, on average"
    )

# %% tags=["hide-input"] mystnb={"image": {"alt": "A grid of small colour maps in three blocks of two rows. For beta 1 the maps of the two busiest latents over the position of the blob are curved or folded. For beta 4 they are even gradients, some along the axes and some slanted, seed by seed. With a narrow range of y the first row is a clean left-right gradient for all five seeds and the second row is blank."}, "figure": {"caption": "Mean of the two busiest latents as the blob moves over the picture (x to the right, y down), first five seeds side by side; one colour scale. Aligned latents would be stripes along an axis. A blank map is a latent that is not used.", "name": "fig-cap-maps"}}
fig, axes = plt.subplots(3, 1, figsize=(4.6, 6.3))
colours = plt.get_cmap("cividis", 12)
for ax, (name, run) in zip(axes, blobs.items(), strict=True):
    maps = [
        latent_maps(model, height=run.height)[:2]
        for model in run.models[:5]
    ]
    ax.imshow(
        tiled(torch.stack(maps, 1)), cmap=colours, vmin=-2.4, vmax=2.4
    )
    ax.set_yticks((11.5, 36.5), ("1", "2"))
    ax.set(
        xticks=[],
        ylabel="latent",
        title=f"beta = {run.beta:g}" + ", y narrow" * (name == "narrow"),
    )
    ax.grid(False)
axes[-1].set_xlabel("seeds 0 to 4")
plt.show()

# %% [markdown]
# <a id="cap-1"></a>

# %%
aligned = {
    name: sum(m.one_latent_each() for m in run.evaluations)
    for name, run in blobs.items()
}
print("with own latents for x and y, of ten seeds:", end=" ")
print(f"{aligned['low']} at beta 1, {aligned['high']} at beta 4")

# %%
value = aligned["high"] if aligned["low"] <= 2 else 0
ledger_.check(
    "cap-1", value, seeds=settings.blob_seeds, at="demo", digits=0
)

# %%
for least in (0.9, 0.98):
    luck = 4 * np.arccos(least) / np.pi  # both sides of two axes
    ours = [m.one_latent_each(least) for m in blobs["high"].evaluations]
    share = f"by luck {luck:.0%}, ours {np.mean(ours):.0%}"
    print(f"|corr| above {least}: {share}")

# %%
first = [
    float(m.corr[m.kl.argmax(), 0]) for m in blobs["narrow"].evaluations
]
on_x = sum(c > 0.95 for c in first)
print(f"y narrow: the busiest latent is x in {on_x} of {len(first)} seeds")

# %% [markdown]
# **Nearly, and then not.** The large $\beta$ gets by with about two latents where $\beta = 1$ spreads the position over four, with folds, and most of its seeds pass. But some of $\beta = 1$ pass as well, one more than the criterion allows and that one barely, so the criterion is not met. Had it been met, little would be settled:
# a |corr| of 0.9 is a turn of up to 26 degrees, and of two straight directions turned at random 57% pass. Ask for 0.98, and few of our ten do. The maps say the same: two directions, some along the axes and some aslant. With y in a third of its range, so that the two factors have *different*
# variances, the first latent is x in every seed (and y gets nothing). That x comes first is what (4) predicts: it gives a reason for these axes where variances differ, and none where they are equal.
#
# ### A public run
#
# How does the recipe do at full size, in other hands? The repository YannDubs/disentangling-vae publishes networks trained on all of dSprites (about 345,000 steps, one seed). When this chapter was prepared they were measured again, on 3,000 random pictures:
#
# | network | KL | NLL, mean code | NLL, sampled code | active latents | largest correlation with scale, x, y |
# |---|---|---|---|---|---|
# | VAE ($\beta = 1$) | 25.2 | 12.7 | 17.2 | 10 | 0.85, 0.51, 0.54 |
# | $\beta = 4$ | 15.3 | 23.0 | 35.8 | 10 | 0.90, 0.66, 0.67 |
# | annealed, $\gamma = 100$, to 25 nats | 25.0 | **79.1** | 79.3 | 4 | 0.89, **0.99, 0.99** |
#
# Alignment: yes, for x and y by far the best of the three. Sharp pictures: **no**, by far the worst of the three at the KL of the first. 21.6 of its 25 nats sit in three latents (7.7, 7.5 and 6.4) that follow x, y and scale, and a fourth holds 3.4. Position and size are known far more exactly than the pixels can show: sampling the code costs it 0.2 nats. Nats are wasted here too, though otherwise than
# on our red line in the plane of nats and NLL above: the decoder can read them, they are finer than it needs. One seed, and not the paper's $\gamma$.
#
# ## What this does and does not show
#
# - **Shown:** for linear models, price and amount are the same walk, exactly; and factors come in the order of their variances.
# - **Shown, for one row of 16 pictures:** while nats are scarce, a code in order costs less than a shuffled one; when they are plentiful, it costs the same. (That an ordered code is cheaper is not yet that training finds it.)
# - **Shown:** given the factors, the order is position, scale, shape, orientation, and the learned split is better than an equal one while nats are scarce. The variances of the factors foresee the order, and the capacities only roughly.
# - **Not shown:** that annealing aligns latents with factors. In our small models it did so for x and y in some seeds and not in others, and formula (4) says why it need not. (In the recorded run below it did for x, y and scale in three of three seeds at $\gamma = 25$; at $\beta = 4$ in one of three; the others each miss one factor.)
# - **Not shown:** that a KL on target means a better picture. It depends on $\gamma$. (Whether it depends on how slowly the target rises our runs do not tell: at $\gamma = 1000$ slow and fast ended alike, and no other $\gamma$ was run both ways.)
#
# ## At full scale
#
# The full tier trains the convolutional network that five public programs give as the paper's, ten latents, on all 737,280 sprites: $\gamma = 1000$ with $C$ to 25 nats, $\beta = 4$ and $\beta = 1$, and $\gamma = 100$; and the known-factor channel with the convolutional decoder. With a GPU: 64 x 64 pixels, 300,000 steps, $C$ rising over 100,000, three seeds of
# each, known factors over 100,000 steps. **Without one** it is shortened, and the table says so: 32 x 32 pixels, $\beta$ for
# 8,000 steps, known factors over 4,000. Most annealed runs take the *first* 20,000 steps of that schedule, in which $C$ reaches 5 nats; one takes the whole rise,
# 25 nats in 100,000 steps. A quarter of the pixels has about a quarter of the nats, so $\gamma = 250$ and $25$ press as 1000 and 100
# do at 64 x 64; 1000 itself is there too. Three more runs raise $C$ 33 times faster, to see what haste does. Batch 64, Adam at 5e-4. The sprites are drawn by our renderer (about one picture in 7,000 differs, by a pixel, from the published file) unless `data_root` holds that file.
#
# ```
# workings run beta_vae_capacity --tier full
# ```

# %%
if tier == "full":
    cores = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    torch.set_num_threads(1 if dry_run else cores)
    sizes = full_tier.FullSettings.here(dry_run=dry_run)
    tables = full_tier.run(sizes, data_root)
    torch.set_num_threads(1)
    for name, table in tables.items():
        ledger_.attach(name, table)
else:
    tables = {
        name: ledger.attachment("beta_vae_capacity", "full", name) or []
        for name in ("runs", "known", "curves")
    }
rows, starts, curves = (tables[n] for n in ("runs", "known", "curves"))
print(f"{len(rows)} VAEs and {len(starts)} known-factor runs recorded")

# %%
if tier == "full":
    used = sorted({row["seed"] for row in tables["runs"]})
    for claim, value in full_tier.claim_values(tables).items():
        ledger_.check(claim, value, seeds=used)

# %% tags=["hide-input"]
ledger.Grid(
    "All of dSprites: nats a picture, metric score, largest |corr| with scale, x and y",
    ["run", "seed", "C", "on target", "KL", "NLL sampled", "NLL mean", "score", "MIG", "scale", "x", "y", "pixels", "steps", "device"],
    [
        [f"{'gamma' if row['rule'] == 'capacity' else 'beta'} {row['strength']:g}", str(row["seed"])]
        + (["-", "-"] if row["c_end"] is None else [f"{row['c_end']:.0f}", f"{row['on_target']:.0%}"])
        + [f"{row[c]:.1f}" for c in ("kl", "nll_sampled", "nll_mean")]
        + [f"{row[c]:.2f}" for c in ("score", "mig", "corr_scale", "corr_pos_x", "corr_pos_y")]
        + [f"{row['size']} x {row['size']}", str(row["steps"]), row["device"]]
        for row in rows
    ],
)  # fmt: skip

# %% tags=["hide-input"]
ledger.Grid(
    "Known factors: capacity in nats above which each stays over 0.3 nats",
    ["seed", *FACTORS, "in order", "pixels", "steps", "sprites"],
    [
        [
            str(row["seed"]),
            *(
                "never" if row[f] is None else f"{row[f]:.1f}"
                for f in FACTORS
            ),
            "yes" if row["ordered"] else "no",
            f"{row['size']} x {row['size']}",
            str(row["steps"]),
            str(row["images"]),
        ]
        for row in starts
    ],
)

# %% [markdown]
# *C* is the target at the last step, and *on target* the share of the training, after its first tenth, in which the KL, as a mean over windows of 50 steps, was within half a nat of the target; *KL* is that of the finished network on 3,000 pictures. *Sampled* and *mean*: decoded from a draw, and from the posterior mean. *score* is the beta-VAE metric, a linear classifier's accuracy, and *MIG* the mutual
# information gap (both are in [the chapter before](early_visual_concepts.ipynb)); *scale*, *x*, *y* the largest |corr| of any latent, silent ones included.
#
# **What our record says**, in one figure (two processor cores, 32 x 32 pixels; every row is above):

# %% tags=["hide-input"] mystnb={"code_prompt_show": "Show the mark and colour of each kind of run", "code_prompt_hide": "Hide the mark and colour of each kind of run"}
kinds = {
    ("beta", 1.0): ("^", "ink"),
    ("beta", 4.0): ("s", "ink"),
    ("capacity", 25.0): ("o", "blue"),
    ("capacity", 100.0): ("v", "orange"),
    ("capacity", 250.0): ("D", "green"),
    ("capacity", 1000.0): ("x", "red"),
}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two stacked panels. Upper: nats of five factors against capacity from 0 to 25, three seeds: x and y rise from the start, scale from about 4 nats, shape from 8, orientation from 16. Lower: NLL against KL of seventeen networks. Those of gamma 25 and of fixed beta lie between 25 and 39; those of gamma 250 and 1000, and the hasty ones, lie at about 142 whatever their KL."}, "figure": {"caption": "The recorded run. Above: the staircase of the known factors with the convolutional decoder, three seeds. Below: NLL with sampled codes against KL, one marker per network.", "name": "fig-cap-record"}}
fig, axes = plt.subplots(2, 1, figsize=(4.6, 5.0))
for name in FACTORS:
    for seed in sorted({row["seed"] for row in curves}):
        mine = [row for row in curves if row["seed"] == seed]
        axes[0].plot(
            [row["capacity"] for row in mine],
            [row[name] for row in mine],
            label=name if seed == 0 else None,
            **looks[name],
        )
axes[0].set(xlabel="capacity C (nats)", ylabel="rate (nats)")
axes[0].set_title("Known factors, 32 x 32 pixels")
for (rule, strength), (mark, colour) in kinds.items():
    mine = [
        r for r in rows if (r["rule"], r["strength"]) == (rule, strength)
    ]
    label = f"{'beta' if rule == 'beta' else 'gamma'} {strength:g}"
    axes[1].plot(
        [row["kl"] for row in mine],
        [row["nll_sampled"] for row in mine],
        mark,
        color=COLOURS[colour],
        fillstyle="none",
        label=label,
    )
axes[1].set(xlabel="KL (nats)", ylabel="NLL (nats)", ylim=(0, 160))
axes[1].set_title("Seventeen networks")
for ax in axes:
    ax.legend(fontsize=8)
plt.show()

# %% tags=["hide-input"] mystnb={"code_prompt_show": "Show how the recorded water level is read off", "code_prompt_hide": "Hide how the recorded water level is read off"}
recorded = {}
for at in (1, 2, 5, 12):
    falls = []
    for seed in sorted({row["seed"] for row in curves}):
        mine = [row for row in curves if row["seed"] == seed]
        c, nll_of = (
            np.array([row[key] for row in mine])
            for key in ("capacity", "nll")
        )
        i = int(np.abs(c - at).argmin())
        falls.append(-np.gradient(nll_of, c)[max(0, i - 1) : i + 2].mean())
    recorded[at] = float(np.mean(falls)) if falls else float("nan")
print("recorded water level, nats of NLL for one more nat:")
print(", ".join(f"{v:.0f} at {c} nats" for c, v in recorded.items()))

# %% [markdown]
# - *The order holds.* Given the true factors, in all three seeds x and y pass 0.3 nats by 2 nats, scale at 4.5, shape at about 8 and orientation at about 16.
# - *A large $\gamma$ leaves a decoder that ignores the code.* With $\gamma = 1000$ (three seeds) and $250$ the KL is on target, its nats lie spread over all ten latents, no latent follows any factor, and the NLL is 140 to 143 whether the code is sampled or not. Such a run begins as a VAE with $\beta = 1000$, which shuts its code; then, as $C$ rises,
#   it must add nats at once, and is paid $\gamma$ for each, told or not. After these 20,000 steps the decoder has found no signal in them. Whether the remaining 280,000 steps would mend that, we do not know.
# - *A small $\gamma$ aligns, and $\beta = 4$ comes close.* With $\gamma = 25$ all three seeds give x, y and scale a latent each (|corr| 0.99, 0.99 and 0.90). Its KL keeps within half a nat of the target only 88% of the time. We think that 25 is below the water level at the start (the levels printed above, 137 at 1 nat and 66 at 2, are too high, since that decoder was still learning); 250 and 1000 hold it. With sampled codes its NLL is 39 at 5 nats, and that of $\beta = 4$ is 35 to 36 at 5.7 to 6.1 nats. At 4 to 6 nats of NLL for one more nat, the levels at hand, the difference in KL alone can account for that. Of the three seeds of
#   $\beta = 4$, in fewer steps, one is above 0.9 on all three factors and each of the others has one factor at 0.87. So at these pressures this network tends to give x and y a latent each, although formula (4) does not ask for it. Why, we did not test; its convolutions are a candidate.
# - *The whole rise adds no latent.* At 25 nats the same three latents hold everything, 8.9 nats for each direction and 7.2 for scale. The NLL with sampled codes falls from 39 (at 5 nats) to 25.3; $\beta = 1$ has 26.9 to 29.1 at 8.4 to 9.5 nats, after a twelfth of the steps. Sampling the code costs nothing: position is known far more exactly than a
#   pixel can show. Shape and orientation got no latent of their own; whether the three tell something of them the table does not say. Over-exact position is what the public run showed too; but here the NLL is below that of $\beta = 4$, there it was far above.
# - *Haste* (25 nats in 3,000 steps) ends with the NLL of the large $\gamma$, at $\gamma = 100$ as well.
#
# The full criteria of cap-3 and cap-4 are read from the runs of $\gamma = 1000$ that reached 25 nats, as written down beforehand, and on two cores those are the two *hasty* ones, whose decoders ignore the code (NLL 142; in one of them a latent still follows scale, with |corr| 0.75). Cap-3 asks for three of three seeds, and only two such runs exist (neither passes). So this record is too small to decide either claim, the ledger has withdrawn it for both, and of the slow rise at that $\gamma$ only the first fifth was run, to 5 nats (NLL 140 to 143, above). (One of the two ends at 26.3 nats although it was on target all the way: its means over 50 steps were, and a single step at this $\gamma$ can be off by more than a nat.) Judged by the rule of cap-4, the long run of $\gamma = 25$
# would meet its first half (NLL 25 against 35 for $\beta = 4$) and narrowly miss the second (score 0.80, against a mean of 0.83 less 0.02); it is one seed, with twelve times the steps. What we varied: $\gamma$, the speed of the rise, and the size of the pictures, which is not the paper's. The NLLs of $\beta$ are those of 8,000 steps and may fall further.

# %% [markdown]
# ## The ledger
#
# What the paper claims, what this notebook found a moment ago, and what the recorded full run found, if there is one. Verdicts are computed. Criteria of the full tier were written before its runs; those of the demo, and its sizes, after a pilot.

# %%
ledger_.table()

# %% [markdown]
# ## Take it home
#
# You have a VAE of your own. All you need from its training loop is the NLL of each picture (summed over pixels) and the KL of each picture and latent. The loss is one line, and two readings tell where the nats are. The cell runs by itself in an empty file; here both tensors are made up; put yours in their place.

# %%
# pip install torch "git+https://github.com/workings-book/workings@main"
import torch

from workings.disentangling.metrics import active_units, kl_per_latent
from workings.disentangling.training import annealed_capacity

your_nll = torch.full((64,), 9.0)  # (batch,), summed over pixels
one_picture = torch.tensor([4.2, 4.0, 1.7, 0.02, 0.01])
your_kl = one_picture.repeat(64, 1)  # (batch, latents)
step = 1200  # optimiser steps so far

loss = annealed_capacity(gamma=10.0, c_max=12.0, n_steps=1600, c_min=1.0)
print(f"loss to minimise: {loss(your_nll, your_kl, step):.2f}")
print("nats per latent:", kl_per_latent(your_kl).round(2))
print("active latents:", int(active_units(your_kl).sum()))

# %% [markdown]
# Before you believe the result:
#
# - Is the batch-mean KL within about a nat of $C$? (The first author's advice in public: $\gamma$ just large enough for that and not so large that training shakes; $C$ from 0 or 1; $C_{max}$ the KL of a low-$\beta$ model that reconstructs well.)
# - Does the NLL fall while the KL rises? If it stands still, nats are wasted: lower $\gamma$. (Raising $C$ more slowly may help too; at $\gamma = 1000$ it did not help us.)
# - Compare the NLL with posterior means and with sampled codes. Equal and low: the code is more exact than the picture needs (25.3 and 25.3 in our record). Equal, and as high as for a constant picture: the decoder ignores the code (142.6 and 142.6).
# - Are two factors alike in variance? Then do not count on the latents to choose your axes.
#
# ## Exercises
#
# **1.** Variances 9 and 1. At what capacity does the second factor switch on, and what is the water level there?
#
# <details>
# <summary>Show the solution</summary>
#
# When the level has come down to 1: $C = \frac12 \ln 9 = \ln 3$ nats, a little over one, all of them in the first factor.
#
# </details>

# %% tags=["hide-input"]
for capacity in (1.09, 1.11):
    rates, theta = reverse_water_filling((9.0, 1.0), capacity)
    print(
        f"C = {capacity}: the second gets {rates[1]:.2f} nats, level {theta:.2f}"
    )

# %% [markdown]
# **2.** In (5), put $C = 0$. Which objective is it?
#
# <details>
# <summary>Show the solution</summary>
#
# The KL is never negative, so the absolute value does nothing: it is the beta-VAE with $\beta = \gamma$, exactly. A run with $\gamma = 1000$ begins as a VAE with $\beta = 1000$.
#
# </details>

# %% tags=["hide-input"]
from workings.disentangling.objectives import beta_vae_loss

zero = capacity_loss(your_nll, your_kl, capacity=0.0, gamma=10.0)
same = beta_vae_loss(your_nll, your_kl, beta=10.0)
print(f"difference of the two losses: {float((zero - same).abs()):g}")

# %% [markdown]
# **3.** Sixteen places need $\ln 16 = 2.77$ nats. How many nats must be *paid* on the channel above to be *told* 99% of that?
#
# <details>
# <summary>Show the solution</summary>
#
# About 0.4 nats more than the name of the place is worth: the channel must set the places far apart compared with its noise.
#
# </details>

# %% tags=["hide-input"]
rate = next(
    r
    for r in np.arange(2.0, 6.0, 0.05)
    if channel_information(16, r) > 0.99 * np.log(16)
)
print(f"{rate:.2f} nats, {rate - np.log(16):.1f} more")

# %% [markdown]
# ## References
#
# - Burgess, Higgins, Pal, Matthey, Watters, Desjardins, Lerchner. *Understanding disentangling in beta-VAE.* NIPS 2017 workshop. [arXiv 1804.03599](https://arxiv.org/abs/1804.03599)
# - Higgins et al. *Early Visual Concept Learning with Unsupervised Deep Learning.* 2016. [arXiv 1606.05579](https://arxiv.org/abs/1606.05579)
# - Kingma, Welling. *Auto-Encoding Variational Bayes.* ICLR 2014. [arXiv 1312.6114](https://arxiv.org/abs/1312.6114)
# - Cover, Thomas. *Elements of Information Theory.* Wiley. Chapter on rate distortion theory: the Gaussian source, and parallel Gaussian sources (reverse water-filling).
# - Matthey, Higgins, Hassabis, Lerchner. *dSprites: Disentanglement testing Sprites dataset.* 2017. google-deepmind/dsprites-dataset.
# - YannDubs/disentangling-vae, GitHub: code and trained networks of the public run.
