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
# # SCAN: what does a word mean to a picture model?
#
# <p class="wk-run"><a href="https://colab.research.google.com/github/workings-book/workings/blob/main/notebooks/disentangling/scan.ipynb">Run this chapter on Colab</a></p>
#
# Say "a red wall". You have said nothing about what stands before it, and everybody imagines something else there. [Higgins et al. (2018)](https://arxiv.org/abs/1707.03389) take this
# seriously: a word is a *distribution* over a picture model's code, narrow in what the word names and wide in everything else. From a few labelled
# pictures a small network learns such distributions. Then words can be drawn, pictures can be named, and words can be put together to new ones. We build all of it, derive what the
# loss must do, and find that the order of two letters in a KL decides whether a word stays open. Some of what we then measure is not what the paper leads one to expect.
#
# - **You need** the chapters [on early visual concepts](early_visual_concepts.ipynb) (what a beta-VAE and a latent are) and, for one remark, [on capacity](beta_vae_capacity.ipynb).
# - **It takes** 40 minutes to read and about a minute to run.
# - **Afterwards you can** say which KL covers and which picks, what a frozen code can be taught, and how to score pictures for being right *and* various.
#
# The paper's body was not at hand. Its abstract and the captions of its first two figures were, and two public re-implementations that quote its equations. Its table of results was not, so no number
# of it is compared here. All measured numbers are ours.

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
tier = "demo"  # "full" trains on 3D Shapes or sprites: see "At full scale"
dry_run = False  # with "full": a few steps on a few pictures
data_root = None  # folder with 3dshapes.h5, if you have it

# %% tags=["hide-input"]
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
from torch.nn import functional as F

from workings import ledger
from workings.chapters.scan import full as full_tier
from workings.chapters.scan import record as full_record
from workings.chapters.scan.demo import (
    active_latents,
    as_claimed,
    beats,
    concept_table,
    deviations,
    draw_pictures,
    explained,
    held_out,
    jmvae_runs,
    matched_table,
    named_rightly,
    operator_runs,
    operator_scores,
    ratio_and_error,
    rooms,
    score_symbols,
    shown_concepts,
    split_pairs,
    symbol_runs,
    visions,
)
from workings.chapters.scan.live import arrays, cases
from workings.chapters.scan.settings import Settings
from workings.disentangling.concepts import (
    all_concepts,
    concept_accuracy,
    concept_and,
    concept_diversity,
    concept_ignore,
    concept_in_common,
    count_concepts,
    includes,
    khot,
    read_symbol,
)
from workings.disentangling.rooms import VALUE_NAMES
from workings.disentangling.scan import (
    Gaussian,
    ScanJob,
    forward_optimum,
    matched_gaussian,
    reversed_optimum,
    scan_loss,
    train_scans,
)
from workings.disentangling.traversal import traversal_grid
from workings.seeding import torch_generator
from workings.show.controls import Axis, Control, Frame
from workings.show.figures import COLOURS, png_bytes, use_style
from workings.show.live import keep_cases, keep_weights

use_style()
torch.set_num_threads(1)  # sums are added in the same order everywhere
settings = Settings.for_tier(tier, dry_run=dry_run)
seeds = list(settings.seeds)
ledger_ = ledger.open("scan", tier=tier)

# %% [markdown]
# ## The pictures and the words
#
# Our rooms have a wall, an object and a grey floor, on 10 x 10 pixels. Three **factors** make a room: the hue of the wall and that of the object (16 each, from red to cyan) and the
# shape of the object (pillar, box, beam). That is 768 rooms. A *symbol* may name the wall, the object, the shape, or any part of these; hues have four names of four hues each.

# %%
world = rooms()
sizes = world.sizes
print(f"{len(world.pictures)} rooms, names per attribute: {sizes}")
print("concepts that name something:", count_concepts(sizes))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Twelve small square pictures in two rows. Each has a pale wall of one colour between red and cyan, a grey strip of floor, and a strongly coloured upright bar, square or lying bar in the middle."}, "figure": {"caption": "Twelve rooms, drawn at random: a pale wall, a strong object, one of three shapes.", "name": "fig-scan-rooms"}}
fig, axes = plt.subplots(2, 6, figsize=(4.6, 1.7))
some = torch.randperm(len(world.pictures), generator=torch_generator(0))
for ax, row in zip(axes.flat, some.tolist(), strict=False):
    ax.imshow(world.pictures[row].permute(1, 2, 0))
    ax.set(xticks=[], yticks=[])
fig.suptitle("Wall, object, shape", fontsize=10.5, fontweight="bold")
plt.show()

# %% [markdown]
# A symbol is written as a **k-hot code**: one block of places for each attribute, a 1 at the value that it names, and a block of zeros where it says nothing. "A red wall and a beam": wall 0, object open, shape 2.


# %%
def code(labels):
    """The k-hot code of labels, -1 where the symbol says nothing."""
    blocks = []
    for label, k in zip(labels, sizes, strict=True):
        block = [0.0] * k
        if label >= 0:
            block[label] = 1.0
        blocks += block
    return torch.tensor(blocks)


red_wall_and_beam = [0, -1, 2]
print(code(red_wall_and_beam).int().tolist())
kernel = khot(torch.tensor(red_wall_and_beam), sizes)
assert torch.equal(
    code(red_wall_and_beam), kernel
)  # agrees with the kernel

# %% [markdown]
# ## See first, without words
#
# The first step knows no word. A beta-VAE learns to code the rooms: an encoder gives a Gaussian $q_{\phi_x}(z|x)$ over six latents, a decoder draws from it, and the KL to the prior has the weight
# $\beta_x = 2$. Three seeds, 1,200 steps each. As a control that comes in at the end, three more with $\beta_x = 0.05$, which hardly presses. From here on all of them are **frozen**.
#
# Some of the six latents stay at the prior and say nothing. We call a latent **active** if it carries more than 0.1 nats of KL to the prior, as a mean over the rooms, and look at these only. Which factor does a latent follow? We take the share of a latent's variance that lies *between* the values of an attribute: near 1 if it follows that attribute alone, 0 if it does not care.

# %%
found = visions(world, settings)
seen = found["disentangled"]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three heat maps, one per seed, of active latents by the attributes wall, object and shape. In each, every attribute has one latent with a dark cell of about three quarters or more, a different one for each attribute; the other cells are pale."}, "figure": {"caption": "Share of each active latent's variance that an attribute explains, three seeds. A dark cell in each row and column is what is meant by disentangled.", "name": "fig-scan-latents"}}
fig, axes = plt.subplots(1, 3, figsize=(4.6, 2.2))
for ax, vision, seed in zip(axes, seen, seeds, strict=False):
    active = active_latents(vision.pairs)
    share = explained(vision.pairs.mu[:, active], world.attributes, sizes)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(share.numpy()):
        colour = "white" if value > 0.6 else COLOURS["ink"]
        ax.text(
            j, i, f"{value:.1f}", ha="center", va="center", color=colour
        )
    ax.set(
        xticks=range(3),
        yticks=range(len(share)),
        title=f"seed {seed}",
    )
    ax.set_xticklabels(("wall", "object", "shape"), fontsize=7)
    ax.set_yticklabels([str(i + 1) for i in range(len(share))])
    ax.grid(False)
axes[0].set_ylabel("active latent")
plt.show()


# %%
def own_latents(visions):
    """Number of models in which each attribute has a latent of its own."""
    count = 0
    for vision in visions:
        share = explained(vision.pairs.mu, world.attributes, sizes)
        share = share[active_latents(vision.pairs)]
        best = share.argmax(dim=0).tolist()
        enough = float(share.max(0).values.min()) > 0.6
        count += len(set(best)) == 3 and enough
    return count


print(
    "each attribute has a latent of its own in",
    f"{own_latents(seen)} of {len(seen)}",
)

# %% [markdown]
# A number is one test of a latent; the other is to move it and look. We start at the mean of all codes and move one latent at a time. The rows are named by the heat map, not by what is seen in them. A row should run through all values of its own attribute, and leave the names of the other two alone.


# %%
def moved(vision):
    """Rooms drawn as each attribute's latent moves, and which those are."""
    active = active_latents(vision.pairs).nonzero()[:, 0]
    codes = vision.pairs.mu
    own = explained(codes[:, active], world.attributes, sizes).argmax(0)
    decode, middle = vision.model.decode, codes.mean(0)
    moves = torch.linspace(-2, 2, 9)
    grid = traversal_grid(decode, middle, active[own].tolist(), moves)
    return torch.sigmoid(grid), own  # (3 rows, 9, 3, 10, 10), (3,)


# %%
grids = [moved(vision)[0] for vision in seen]
reads = [[world.read(row).T.tolist() for row in grid] for grid in grids]
values = np.array(  # how many of each attribute are read in each row
    [
        [[len(set(column)) for column in row] for row in read]
        for read in reads
    ]
)
own = np.diagonal(values, axis1=1, axis2=2)  # (seeds, 3 rows)
every = int((own == sizes).all(axis=1).sum())
print(f"all rows run through all values in {every} of {len(seen)}")
others = (values > 1).sum(axis=2) > (own > 1)
print("another attribute changes its name, too, in", end=" ")
print(f"{int(others.sum())} of {others.size} rows")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three rows of nine small rooms. In the row of the wall its colour runs from pink over yellow and green to cyan, while the object drifts from green to ochre and widens. In the row of the object its colour runs from red to cyan, while the wall drifts from yellow to green. In the row of the shape a box becomes a lying bar and then an upright one, and both colours drift."}, "figure": {"caption": "One latent moves from -2 to 2, the others stay at their means, first seed. Each row is named by the attribute that explains most of its latent in the heat map (its number there in brackets).", "name": "fig-scan-traversals"}}
grid, own = moved(seen[0])
fig, axes = plt.subplots(3, 9, figsize=(4.6, 2.0))
for row, pictures, name, number in zip(
    axes, grid, ("wall", "object", "shape"), own.tolist(), strict=True
):
    for ax, picture in zip(row, pictures, strict=True):
        ax.imshow(picture.permute(1, 2, 0))
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    row[0].set_ylabel(
        f"{name} ({number + 1})",
        rotation=0,
        ha="right",
        va="center",
        fontsize=8,
    )
axes[-1, 4].set_xlabel("value of the latent, from -2 to 2", fontsize=8)
fig.suptitle(
    "Moving one latent at a time", fontsize=10.5, fontweight="bold"
)
plt.show()

# %% [markdown]
# Each row runs through its own attribute. But it does not leave the others alone: in every row, of every seed, another attribute changes its *name* on the way, though the heat map gives each attribute a latent. A likely reason, not tested: a share of the variance is a mean over the rooms' codes, while a row goes through the mean of all codes, where no room need be. We chose the rooms' colours and shapes in trial runs of *this* step, so that a small model finds the three factors; nothing after this step was chosen so. (Rooms with a coloured floor, as in the paper, came out mixed in our small models.
# [The chapter on capacity](beta_vae_capacity.ipynb) says when such a model can tell factors apart: when their effects on the picture differ in size.)
#
# ## What is a concept?
#
# Take all rooms with a red wall and look where the encoder puts them. In the latent of the wall they fill a strip; in the latent of the object they lie everywhere.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Scatter of posterior means of all rooms in the plane of the wall's latent and the object's latent, pale. The rooms with a red wall are red and fill the left part: narrow along the wall's latent, as tall as all the others along the object's. An upright ellipse lies among them."}, "figure": {"caption": "Every room's code in two latents of the first seed; red: red walls. The ellipse is the Gaussian with their mean and variance, one standard deviation around.", "name": "fig-scan-scatter"}}
pairs = seen[0].pairs
share = explained(pairs.mu, world.attributes, sizes)
share = share * active_latents(pairs)[:, None]
w, o = (int(share[:, a].argmax()) for a in (0, 1))
red = world.attributes[:, 0] == 0
ball = matched_gaussian(pairs.mu[red], pairs.logvar[red])
turn = np.linspace(0, 2 * np.pi, 100)
fig, ax = plt.subplots(figsize=(4.6, 3.4))
ax.plot(pairs.mu[:, w], pairs.mu[:, o], ".", ms=3, color=COLOURS["sky"])
ax.plot(pairs.mu[red, w], pairs.mu[red, o], ".", ms=4, color=COLOURS["red"])
ax.plot(
    ball.mu[w].item() + ball.deviation[w].item() * np.cos(turn),
    ball.mu[o].item() + ball.deviation[o].item() * np.sin(turn),
    color=COLOURS["ink"],
)
ax.set(
    xlabel="latent of the wall",
    ylabel="latent of the object",
    title="A red wall is a strip, not a point",
)
assert (
    dry_run or ball.deviation[w] < 0.6 * ball.deviation[o]
)  # as the text says
plt.show()

# %% [markdown]
# So the natural meaning of a word is the scatter of what it can be said of. If it has to be one Gaussian with independent latents, take the one with the scatter's mean and variance. Each picture $i$ of the concept is itself a
# Gaussian, $\mathcal N(\mu_i, \sigma_i^2)$ in each latent, so
#
# $$
# m = \frac1N\sum_i \mu_i, \qquad v = \frac1N\sum_i \big(\sigma_i^2 + (\mu_i - m)^2\big). \tag{1}
# $$
#
# **By hand.** Two pictures at $-1$ and $1$, each with variance $0.5$: $m = 0$ and $v = 0.5 + 1 = 1.5$. Four pictures that we keep for the next section:

# %%
mu = torch.tensor([[-1.2], [-0.4], [0.3], [1.3]]).double()
variance = torch.tensor([[0.04], [0.01], [0.09], [0.02]]).double()
m = mu.mean()
v = (variance + (mu - m) ** 2).mean()
print(f"mean {m.abs():.2f}, variance {v:.4f}")
kernel = matched_gaussian(mu, variance.log())
assert torch.allclose(kernel.mu, m)
assert torch.allclose(kernel.logvar.exp(), v)  # agrees with the kernel

# %% [markdown]
# ## Two letters in a KL
#
# We want a network that finds this by itself: it gives a Gaussian $q_y$ for a symbol $y$, and the loss ties it to the codes $q_x$ of pictures of which $y$ holds. A KL is the natural tie. But there are two:
#
# $$
# \underbrace{D_{KL}(q_x \,\|\, q_y)}_{\text{forward}} \qquad\text{and}\qquad \underbrace{D_{KL}(q_y \,\|\, q_x)}_{\text{reversed}}. \tag{2}
# $$
#
# > **Predict.** The four pictures above lie between $-1.2$ and $1.3$. Which Gaussian has the least *mean* forward KL, and which the least mean reversed KL? Think of how large each becomes where one density is nearly zero and the other is not.

# %%
codes = (mu, variance.log())
for name, best in (
    ("forward", matched_gaussian(*codes)),
    ("reversed", reversed_optimum(*codes)),
):
    print(f"{name:8s} variance {best.logvar.exp().item():.4f}")

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# The forward KL is huge if $q_y$ is nearly zero where some picture is, so $q_y$ must cover them all. Its best Gaussian is exactly (1), of variance 0.8850. The reversed KL is huge if $q_y$ reaches where a picture is not, and each picture is a
# narrow bell, so $q_y$ must stay narrow: $\sigma_y^2 = 1 / \mathrm{mean}(1/\sigma_i^2)$, here 0.0215. It does not matter how far the pictures lie apart.
#
# </details>
#
# That is the paper's argument (by its Fig. 2 forward covers and reversed picks one; tied to single pictures, as here, reversed settles on an average). Reversed, "red wall" would come with one object and forget that others are possible.
#
# The whole loss also has the usual VAE terms for the symbol. With weights $\lambda$ and $\beta_y$ it is
#
# $$
# \mathbb E_{z_y \sim q_y}\big[-\log p(y|z_y)\big] + \beta_y D_{KL}(q_y \,\|\, p) + \lambda\, D_{KL}(q_x \,\|\, q_y). \tag{3}
# $$
#
# | symbol | what it is | in code |
# |---|---|---|
# | $y$ | k-hot code, 11 places here | `y` |
# | $q_x$, $q_y$ | Gaussians of a picture and of a symbol, 6 latents | `q_x`, `q_y` |
# | $p$ | the prior, $\mathcal N(0, 1)$ in each latent; $p(y\vert z_y)$ is the symbol's decoder | - |
# | $\beta_y$, $\lambda$ | weight of the prior, and of the tie to the pictures | `beta`, `lam` |
#
# What does the prior do to (1)? Leave the first term out, and set the derivatives of the other two to zero (with $M = \mathrm{mean}(\sigma_i^2 + (\mu_i - \mu_y)^2)$):
#
# $$
# \mu_y = \frac{\lambda m}{\lambda + \beta_y \sigma_y^2}, \qquad \beta_y \sigma_y^4 + (\lambda - \beta_y)\,\sigma_y^2 = \lambda M. \tag{4}
# $$
#
# A latent whose scatter is already that of the prior ($m = 0$, $M = 1$) gives $\sigma_y = 1$ whatever the weights: an unnamed factor stays wide. We solve (4) by going round it, and compare with gradient descent on the loss itself.

# %%
lam, beta = 10.0, 1.0
spread, mean = v, m
for _ in range(100):  # go round (4) until it stands still
    M = (variance + (mu - mean) ** 2).mean()
    b = lam - beta
    spread = (-b + (b**2 + 4 * beta * lam * M).sqrt()) / (2 * beta)
    mean = lam * m / (lam + beta * spread)
print(f"lambda {lam:g}, beta {beta:g}: variance {spread:.4f}")
kernel = forward_optimum(*codes, lam, beta)
same = [kernel.mu - mean, kernel.logvar.exp() - spread]
assert max(gap.abs() for gap in same) < 1e-6  # agrees with the kernel


# %%
def descend(lam, beta, direction):
    """The Gaussian that gradient descent on the loss finds."""
    free = torch.zeros(2, 1, dtype=torch.double, requires_grad=True)
    steps = torch.optim.LBFGS([free], max_iter=300, tolerance_grad=1e-12)

    def loss():
        steps.zero_grad()
        q_y = tuple(part.expand(4, 1) for part in free)
        none = torch.zeros(4, 1).double()  # no symbol to explain
        value = scan_loss(none, none, q_y, codes, beta, lam, direction)
        value.backward()
        return value

    steps.step(loss)
    return free.detach()


# %% [markdown]
# <a id="scan-8"></a>

# %%
worst = 0.0
for lam, beta in ((1.0, 0.0), (10.0, 1.0), (1.0, 1.0), (1.0, 10.0)):
    for name, optimum in (
        ("forward", forward_optimum),
        ("reversed", reversed_optimum),
    ):
        mean, logvar = descend(lam, beta, name)
        best = optimum(*codes, lam, beta)
        gaps = (mean - best.mu, logvar.exp() - best.logvar.exp())
        worst = max([worst, *(float(gap.abs().max()) for gap in gaps)])
ledger_.check("scan-8", worst, digits=0)

# %% [markdown]
# ### Move it
#
# Four pictures (grey bells), the prior (dotted), and the symbol's best Gaussian. $\beta_y = 1$. Raise $\lambda$ in both orders. In the forward order, what do you see change?


# %% tags=["hide-input"]
line = np.linspace(-3.2, 3.2, 400)


def bell(mean, deviation):
    return np.exp(-0.5 * ((line - mean) / deviation) ** 2) / deviation


# %% tags=["hide-input"]
def frame(lam, name):
    optimum = forward_optimum if name == "forward" else reversed_optimum
    best = optimum(*codes, lam, 1.0)
    fig, ax = plt.subplots(figsize=(4.6, 2.4))
    for place, width in zip(mu, variance.sqrt(), strict=True):
        shape = bell(place.item(), width.item())
        ax.fill_between(line, shape / shape.max(), color=COLOURS["pale"])
    wide = bell(0, 1)
    ax.plot(line, wide / wide.max(), ":", color=COLOURS["ink"])
    own = bell(best.mu.item(), best.deviation.item())
    ax.plot(line, own / own.max(), color=COLOURS["blue"], lw=2)
    ax.set(
        xlabel="one latent", yticks=[], title=f"{name}, lambda = {lam:g}"
    )
    ax.set_ylabel("density, highest = 1")
    alt = f"{name} order, lambda {lam:g}: the symbol's Gaussian has mean "
    alt += (
        f"{best.mu.item():.2f} and deviation {best.deviation.item():.2f}."
    )
    return Frame(png_bytes(fig), alt)


lambdas = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
orders = ("forward", "reversed")

# %% tags=["hide-input"]
Control(
    "scan-lambda",
    [
        Axis("lambda", tuple(f"{x:g}" for x in lambdas), start=5),
        Axis("order of the KL", orders),
    ],
    [frame(x, name) for x in lambdas for name in orders],
    caption="The best Gaussian of four pictures, in both orders.",
)

# %% [markdown]
# In the forward order it hardly moves from the prior, since these pictures are spread nearly like it. In the reversed order it shrinks to about the width of a single picture as $\lambda$ grows.
#
# ## Teach it words
#
# The symbols' network is a small VAE of its own: 11 places, 100 hidden units, six latents, and back. A step takes pictures, says of each a *random part* of what it shows (each attribute with probability one half), and minimises (3). The
# parts matter: a network that only ever hears full descriptions never meets a factor that is left open. Here is (3) on made-up numbers:

# %%
draw = torch_generator(0, "page")
y = khot(torch.tensor([[0, -1, 2], [3, 1, -1]]), sizes)
logits = torch.randn(2, 11, generator=draw)
q_y, q_x = (
    [torch.randn(2, 6, generator=draw) for _ in range(2)] for _ in range(2)
)

# %%
(m_y, l_y), (m_x, l_x) = q_y, q_x
say = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
prior = (m_y**2 + l_y.exp() - l_y - 1) / 2
tie = ((m_x - m_y) ** 2 + l_x.exp()) / l_y.exp() + l_y - l_x - 1
loss = (say.sum(1) + 1.0 * prior.sum(1) + 10.0 * tie.sum(1) / 2).mean()
kernel = scan_loss(logits, y, q_y, q_x, beta=1.0, lam=10.0)
assert torch.isclose(loss, kernel)  # agrees with the kernel

# %% [markdown]
# The same network is trained in several ways, three seeds each: forward ($\lambda = 10$, $\beta_y = 1$), reversed, with other weights, on entangled vision, and with few labelled pictures. Four
# combinations of wall and object (red with green, yellow with cyan, and so on, 4 of 16) are **held out**: no symbol ever names both. They come back with the operators.

# %%
symbols = symbol_runs(found, world, settings)
scan = symbols["forward"]
print(int(shown_concepts(sizes).sum()), "concepts are shown as symbols")

# %% tags=["hide-input"]
ones = all_concepts(sizes)
ones = ones[(ones != -1).sum(dim=1) == 1]  # the eleven of one attribute
kinds = (" wall", " object", "")


def label(concept):
    """ "red wall" of a concept of one attribute."""
    a = int((concept != -1).int().argmax())
    return VALUE_NAMES[a][int(concept[a])] + kinds[a]


# %% tags=["hide-input"] mystnb={"image": {"alt": "Two heat maps of standard deviations, forward on the left and reversed on the right: eleven one-attribute symbols by the three active latents of the first seed. Forward: in each group of rows one column is dark, around a half, and the other two are near 1. Reversed: every cell is dark, far below a half."}, "figure": {"caption": "Standard deviation of each one-attribute symbol in each active latent, first seed. Forward: narrow in its own latent, wide elsewhere. Reversed: narrow everywhere.", "name": "fig-scan-widths"}}
fig, axes = plt.subplots(1, 2, figsize=(4.6, 3.6), sharey=True)
for ax, kind in zip(axes, ("forward", "reversed"), strict=True):
    width = deviations(symbols[kind][0], seen[0].pairs, sizes)[0]
    ax.imshow(width, cmap="Blues_r", vmin=0, vmax=1.2, aspect="auto")
    for (i, j), value in np.ndenumerate(width.numpy()):
        colour = "white" if value < 0.6 else COLOURS["ink"]
        ax.text(
            j,
            i,
            f"{value:.1f}",
            ha="center",
            va="center",
            color=colour,
            size=7,
        )
    ax.set(xticks=range(width.shape[1]), title=kind, xlabel="active latent")
    ax.set_xticklabels([str(i + 1) for i in range(width.shape[1])])
    ax.set_yticks(range(len(ones)), [label(c) for c in ones])
    ax.grid(False)
assert dry_run or width.max() < 0.5  # reversed: narrow everywhere
plt.show()

# %% [markdown]
# The picture is as promised. The criterion that was written down beforehand is strict: below 0.5 in a latent that the symbol names (half the latent's variance or more is explained by its attribute), 0.8 to 1.1 in one that it does not name (a twentieth or less), for nine tenths of all pairs.
#
# <a id="scan-1"></a>

# %%
counts = [
    as_claimed(network, vision.pairs, sizes)
    for network, vision in zip(scan, seen, strict=True)
]
share = [right / max(1, of) for right, of in counts]
print(f"as claimed: {np.mean(share):.1f} of the pairs (asked: 0.9)")
ledger_.check(
    "scan-1",
    np.mean(share),
    spread=np.std(share, ddof=1),
    seeds=seeds,
    at="demo",
    digits=0,
)

# %% tags=["nbval-ignore-output"]
# not compared because trainings end elsewhere on another processor
one = (all_concepts(sizes) != -1).sum(dim=1) == 1
apart, ordered, narrow, wide = [], 0, [], []
for network, vision in zip(scan, seen, strict=True):
    width, named, unnamed = deviations(network, vision.pairs, sizes)
    scatter = matched_table(vision.pairs, sizes)[0].deviation[one]
    scatter = scatter[:, active_latents(vision.pairs)]  # by (1)
    apart.append(float((width - scatter)[named | unnamed].abs().mean()))
    narrow.append(width[named] < 0.5)
    wide.append(width[unnamed] > 1.1)
    order = width[named][:, None] < width[unnamed]  # each pair of them
    ordered += bool(order.all())
print(f"from the scatter's deviation: {np.mean(apart):.2f} on average")
print(f"named and below 0.5: {torch.cat(narrow).double().mean():.1f}")
print(f"not named and above 1.1: {torch.cat(wide).double().mean():.1f}")
print("every named narrower than every unnamed:", end=" ")
print(f"{ordered} of {len(seen)} seeds")

# %% [markdown]
# Not met, and the codes are the reason: the scatters themselves have, by (1), nearly these deviations. A quarter of the hues is a stretch of the latent that is about half a unit wide by itself, so "named" ends on either side of 0.5; and many an unnamed latent ends above 1.1. The *order* of narrow and wide is right in most seeds.
#
# ## Draw what is said
#
# To draw a symbol, take a code from its Gaussian and decode it with the vision model. Two questions can be asked of the pictures: do they show what was said, and do they differ in what was not? The pictures of "a red wall and a beam":

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows of nine small rooms. Forward: pink, orange and one yellow wall, with lying bars and a blurred box in green, olive, yellow and cyan. Reversed: nine rooms much alike, an orange or pink wall with a bar in shades of green."}, "figure": {"caption": "Nine pictures drawn for \"a red wall and a beam\" from the forward network (above) and the reversed one (below), first seed. The object's colour was not named.", "name": "fig-scan-draw"}}
asked = khot(torch.tensor([red_wall_and_beam]), sizes)
fig, axes = plt.subplots(2, 9, figsize=(4.6, 1.5))
for row, kind in zip(axes, ("forward", "reversed"), strict=True):
    with torch.no_grad():
        q = symbols[kind][0].encode(asked)
    drawn = draw_pictures(q, seen[0].model.decode, 9, seed=0)[0]
    for ax, picture in zip(row, drawn, strict=True):
        ax.imshow(picture.permute(1, 2, 0))
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    row[0].set_ylabel(kind, fontsize=8)
fig.suptitle("A red wall and a beam", fontsize=10.5, fontweight="bold")
plt.show()

# %% [markdown]
# Every drawn picture is read by the renderer itself: the nearest colour of a wall, then the object and shape that fit best. (On the 768 rooms it makes no mistake.) **Accuracy** is the share of named attributes that are right. **Diversity** is, for each attribute left open, the KL of its shares among the pictures to the even distribution: 0 is even, $\ln 4 = 1.39$ is always the same colour.
# Lower is better. Six pictures, by hand:

# %%
read = torch.tensor(
    [[0, 0, 2], [0, 1, 2], [0, 1, 1], [1, 2, 2], [0, 3, 2], [0, 3, 2]]
)
right = ((read[:, 0] == 0).sum() + (read[:, 2] == 2).sum()) / 12
shares = torch.bincount(read[:, 1], minlength=4) / 6
kl = (shares * torch.log(shares * 4)).sum()
print(f"accuracy {right:.2f}, diversity {kl:.2f} nats")
asked = torch.tensor(red_wall_and_beam)
kernel = (
    concept_accuracy(read, asked),
    concept_diversity(read, asked, sizes),
)
assert np.allclose((right, kl), kernel, atol=1e-6)  # agrees with the kernel

# %% [markdown]
# (With $n$ pictures that are truly even, the estimate is about $(K-1)/(2n)$ and not 0; with our 64 pictures and four colours, 0.02.) Now all 83 concepts that symbols were trained on, 64 pictures each.
#
# > **Predict.** Which order of the KL has the higher *accuracy*?


# %%
def scored(kind, vision="disentangled"):
    """Accuracy and diversity of each seed, (seeds, 2)."""
    runs = zip(symbols[kind], found[vision], seeds, strict=True)
    return np.array(
        [
            score_symbols(
                network.encode, sight.model.decode, world, settings, s
            )
            for network, sight, s in runs
        ]
    )


def show(name, scores):
    accuracy, kl = scores.mean(0)
    print(f"{name:24s} accuracy {accuracy:.1f}, diversity {kl:.1f} nats")


forward, backward = scored("forward"), scored("reversed")
show("forward", forward)
show("reversed", backward)

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# The reversed one, clearly: it has nothing to do but to draw one picture that is right, while the forward network draws from a whole stretch and sometimes steps over its edge. Who looks at accuracy alone would choose the wrong loss. The diversity tells.
#
# </details>
#
# <a id="scan-2"></a>

# %%
times, error = ratio_and_error(backward[:, 1], forward[:, 1])
ledger_.check(
    "scan-2", times, error=error, seeds=seeds, at="demo", digits=0
)

# %% [markdown]
# <a id="scan-3"></a>

# %% tags=["nbval-ignore-output"]
# not compared because it ends near the line, on either side by processor
sd = forward.std(axis=0, ddof=1)
ledger_.check(
    "scan-3",
    forward[:, 0].mean(),
    spread=sd[0],
    seeds=seeds,
    at="demo",
    digits=0,
)

# %% [markdown]
# <a id="scan-3b"></a>

# %%
ledger_.check(
    "scan-3b",
    forward[:, 1].mean(),
    spread=sd[1],
    seeds=seeds,
    at="demo",
    digits=0,
)

# %% [markdown]
# ### Two settings in one paper
#
# A public thread quotes the paper with two settings that cannot both be meant: the main text with $\lambda = 1$, $\beta_y = 10$, beside a sentence that the forward term is weighted up, and the appendix with $\lambda = 10$, $\beta_y = 1$. Equation (4), which leaves the symbol's decoder out, says what the first does: the prior pulls every mean to
# $\lambda m / (\lambda + \beta_y\sigma_y^2)$, about a tenth of where the pictures are.

# %%
text = scored("main text")
show("lambda 10, beta 1", forward)
show("lambda 1, beta 10", text)
print(f"guessing: accuracy {(1 / 4 + 1 / 4 + 1 / 3) / 3:.1f}")

# %% [markdown]
# <a id="scan-9"></a>

# %%
lost = forward[:, 0] - text[:, 0]
ledger_.check(
    "scan-9",
    lost.mean(),
    spread=lost.std(ddof=1),
    seeds=seeds,
    at="demo",
    digits=0,
)

# %% [markdown]
# With the main text's weights the pictures are nearly guesses. So the appendix may be what was run, or the losses are scaled otherwise than written; which, we cannot tell.
#
# ## Name what is seen
#
# The same latents work the other way: code a picture, and let the *symbol's* decoder speak. Of each block the largest is taken. (A threshold at one half would not do: the network has seen every attribute left open about half the time.)

# %%
named = np.array(
    [
        named_rightly(vision.pairs, network.decode, sizes, seed).numpy()
        for vision, network, seed in zip(seen, scan, seeds, strict=True)
    ]
)
for name, column in zip(("wall", "object", "shape"), named.T, strict=True):
    print(f"{name:6s} named rightly: {column.mean():.1f}")

# %%
noise = torch.randn(pairs.mu.shape, generator=torch_generator(0, "names"))
with torch.no_grad():
    z = pairs.mu + torch.exp(pairs.logvar / 2) * noise
    said = read_symbol(scan[0].decode(z), sizes)
gap = (said - world.attributes)[:, :2].abs()
near = float((gap == 1).sum() / (gap > 0).sum())
print(f"of the wrong colours {min(near, 0.95):.0%} or more", end=" ")
print("are next to the right one")

# %% [markdown]
# Some rooms and their names. The rule: in the random order of this page's first figure, the first four rooms of which all three names are right, and the first four of which they are not.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Eight small rooms in two rows, each with the three words that the network says and those that are true. In the upper row both agree. In the lower row they differ in the name of one colour: twice a yellow wall is called green, once a cyan object and once a yellow one."}, "figure": {"caption": "What the network says of rooms that it names rightly (above) and wrongly (below), and what they are. First seed; taken by rule.", "name": "fig-scan-named"}}
fine = (said == world.attributes).all(dim=1)
rows = [*some[fine[some]][:4].tolist(), *some[~fine[some]][:4].tolist()]


def in_words(labels):
    """Its three names, with commas."""
    named = zip(VALUE_NAMES, labels.tolist(), strict=True)
    return ", ".join(values[label] for values, label in named)


fig, axes = plt.subplots(2, 4, figsize=(4.6, 3.1), layout="constrained")
fig.get_layout_engine().set(hspace=0.08)
for ax, row in zip(axes.flat, rows, strict=False):
    ax.imshow(world.pictures[row].permute(1, 2, 0))
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.set_title(
        in_words(said[row]),
        fontsize=7,
        loc="center",
        color=COLOURS["ink" if fine[row] else "red"],
    )
    ax.set_xlabel(f"is: {in_words(world.attributes[row])}", fontsize=7)
fig.suptitle("Wall, object, shape", fontsize=10.5, fontweight="bold")
plt.show()

# %% [markdown]
# <a id="scan-4"></a>

# %%
worst = named.min(axis=1)
print(f"the worst attribute: {worst.mean():.2f} (asked: 0.85)")
ledger_.check(
    "scan-4",
    worst.mean(),
    spread=worst.std(ddof=1),
    seeds=seeds,
    at="demo",
    digits=0,
)

# %% [markdown]
# Below the line of 0.85. Wrong colours are nearly all neighbours of the right one (first seed): four hues have one name, a picture's code has a width of its own, and a hue next to the border of its name is often read as the next name. A vision model with a lower $\beta_x$ codes hues more exactly; we kept the one that we had frozen.
#
# ## How few pictures?
#
# The abstract says that very few pairs of symbol and picture are enough. So far every room had its symbol. Now only 1, 5 or 20 pictures for each of the eleven attribute values, so at most 11, 55 or 220 rooms, with all that can be said of each.

# %%
few = {n: scored(n) for n in settings.labelled}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels against labelled pictures per attribute value: 1, 5, 20 and all. Left, accuracy: somewhat lower with one picture, level from five on. Right, diversity KL: above half a nat with one picture, under a fifth with five, then below a tenth."}, "figure": {"caption": "Accuracy and diversity against the number of labelled pictures per attribute value, three seeds (dots) and their mean. Accuracy is there after five; variety takes longer.", "name": "fig-scan-few"}}
fig, axes = plt.subplots(1, 2, figsize=(4.6, 2.5))
curve = [*few.values(), forward]
for k, (ax, title) in enumerate(
    zip(axes, ("accuracy", "diversity KL"), strict=True)
):
    values = np.array([scores[:, k] for scores in curve])
    ax.plot(range(4), values, "o", ms=3, color=COLOURS["sky"])
    ax.plot(range(4), values.mean(1), color=COLOURS["blue"])
    ax.set_xticks(range(4), [*map(str, settings.labelled), "all"])
    ax.set(title=title, xlabel="pictures per value", ylim=(0, 1 - 0.3 * k))
axes[0].set_ylabel("share of named attributes")
axes[1].set_ylabel("nats")
kl = values.mean(axis=1)
assert dry_run or kl[0] > 0.5 > 0.2 > kl[1] > 0.1 > kl[2]
plt.show()

# %% [markdown]
# <a id="scan-5"></a>

# %%
cost = forward[:, 0] - few[20][:, 0]
five = (forward[:, 0] - few[5][:, 0]).mean()
print(f"five pictures cost at most 0.05, too: {bool(five <= 0.05)}")
ledger_.check(
    "scan-5",
    cost.mean(),
    spread=cost.std(ddof=1),
    seeds=seeds,
    at="demo",
    digits=0,
)

# %% [markdown]
# Met, already with five. But the criterion looks at accuracy. With one picture per value a word rests on a few rooms, and nothing in (3) can know better: (1) needs a scatter. The diversity says so.
#
# ## Put words together
#
# A concept is a set of attributes. Three operations: **AND** unites two that do not conflict, **IN COMMON** keeps what both say, **IGNORE** takes a part away.


# %%
def combine(a, b, operator):
    """The result for two lists of labels, -1 where nothing is said."""
    both = list(zip(a, b, strict=True))
    if operator == "and":
        assert all(x == z for x, z in both if x >= 0 and z >= 0)
        return [z if x < 0 else x for x, z in both]
    if operator == "in_common":
        return [x if x == z else -1 for x, z in both]
    return [x if z < 0 else -1 for x, z in both]


# %%
a, b, part = [0, 1, -1], [0, -1, 2], [0, -1, -1]
kernels = {
    "and": concept_and,
    "in_common": concept_in_common,
    "ignore": concept_ignore,
}
for name, other in (("and", b), ("in_common", b), ("ignore", part)):
    result = kernels[name](torch.tensor(a), torch.tensor(other)).tolist()
    print(name.ljust(9), result)
    assert combine(a, other, name) == result  # agrees with the kernel

# %% [markdown]
# On labels this is easy. The paper does it on the *Gaussians*, so that the result can be drawn, and lets a network learn how. The network looks at one latent at a time: four numbers in (mean and log-variance of both concepts), two out, with one pair of outputs per operator. It is the same for all latents, so it cannot know which
# factor it is working on.

# %%
splits = split_pairs(sizes, settings)
nets = operator_runs(scan, seen, splits, world, settings)

# %%
q = concept_table(scan[0])  # the Gaussians of all 99 concepts
a, b = (
    Gaussian(q.mu[rows], q.logvar[rows])
    for rows in (slice(5), slice(5, 10))
)

# %%
x = torch.stack([*a, *b], dim=1)  # (5, 4 numbers, latents)
weights = [(n.weight[..., None], n.bias) for n in nets[0].linears]
h = torch.relu(F.conv1d(x, *weights[0]))  # (5, hidden, latents)
out = F.conv1d(h, *weights[1])  # (5, 3 operators x 2, latents)
kernel = nets[0](a, b, torch.full((5,), 1))  # 1 is IN COMMON
made = torch.stack(kernel, dim=1)
assert torch.allclose(
    out[:, 2:4], made, atol=1e-4
)  # agrees with the kernel

# %% [markdown]
# What is it trained on? Pictures of which the *result* holds, by the forward KL from their codes. By (1) that is the same as the KL from their matched Gaussian, up to a constant; so we train on that, without drawing pictures at all. AND is tested on the held-out combinations, whose symbols neither this network nor the symbols' network ever met; the other two on pairs that were
# kept aside. The measuring rod is the symbol of the result itself (for AND it was never shown either).

# %%
scores = [
    operator_scores(net, network, vision, splits, world, settings, seed)
    for net, network, vision, seed in zip(
        nets, scan, seen, seeds, strict=True
    )
]
table = {  # (seeds, learned or own symbol, accuracy or diversity)
    name: np.array([run[name] for run in scores]) for name in splits
}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels of bars for AND, IN COMMON and IGNORE: the learned operator beside the symbol of the result. Accuracy, left: the learned one is lower in all three, least for IGNORE and most for IN COMMON. Diversity KL, right: all below a fifth of a nat; the learned one is clearly higher for IN COMMON only. Dots mark three seeds."}, "figure": {"caption": "Accuracy and diversity of pictures drawn from the learned operators' results, beside the symbols of the same results. Bars: mean, dots: three seeds. Of the diversity KL the lower is the more various.", "name": "fig-scan-operators"}}
fig, axes = plt.subplots(1, 2, figsize=(4.6, 2.8), layout="constrained")
looks = (
    ("learned operator", "blue", -0.2),
    ("its own symbol", "orange", 0.2),
)
for score, (ax, title) in enumerate(
    zip(axes, ("accuracy", "diversity KL, nats"), strict=True)
):
    for k, (name, colour, shift) in enumerate(looks):
        places = np.arange(3) + shift
        values = np.array([table[o][:, k, score] for o in splits])
        colour = COLOURS[colour]
        ax.bar(places, values.mean(1), 0.38, color=colour, label=name)
        ax.plot(places, values, ".", color=COLOURS["ink"])
    ax.set_xticks(range(3), ("AND", "IN\nCOMMON", "IGNORE"), fontsize=7)
    ax.set_title(title, fontsize=9)
fig.suptitle("Words put together", fontsize=10.5, fontweight="bold")
names = ax.get_legend_handles_labels()
fig.legend(*names, loc="outside lower center", ncols=2)
below = {o: (v[:, 1] - v[:, 0]).mean(0) for o, v in table.items()}
last = max(below, key=lambda o: below[o][0])
assert dry_run or (last == min(below, key=lambda o: below[o][1]))
assert dry_run or last == "in_common"
assert dry_run or min(gap[0] for gap in below.values()) > 0
assert dry_run or max(v.mean(0)[:, 1].max() for v in table.values()) < 0.2
plt.show()

# %% [markdown]
# <a id="scan-6"></a>

# %%
lost = table[last][:, 1, 0] - table[last][:, 0, 0]
print(f"{last} loses {lost.mean():.2f} (asked: at most 0.1)")
ledger_.check(
    "scan-6",
    lost.mean(),
    spread=lost.std(ddof=1),
    seeds=seeds,
    at="demo",
    digits=0,
)

# %% [markdown]
# AND and IGNORE come near their own symbols. On the combinations never shown the symbols' network needs no AND: it draws them better by itself. IN COMMON, the worst, decides the row, and it is the one that costs variety as well; the other two stay about as various as the symbols. A likely reason, which we did not test: it must compare (two narrow Gaussians that agree stay, two that do not become wide), and with symbols about half a unit wide, whether two agree is a close call. (1,500 steps of 64 pairs.)
#
# ### Say it yourself
#
# Two concepts, A and B, and an operator. Rows: rooms drawn for A, for B, and for what the operator's network makes of both. Some rooms miss their words: the accuracy above is not 1. (Here are three examples; on the book's page you choose the words, and the networks run there.) Then try AND with two walls of different colours: it means nothing, and nothing keeps the network from answering.


# %% tags=["hide-input"]
def said(name, a, b):
    """Rooms drawn for two concepts and for what an operator makes of them."""
    number = torch.tensor([list(splits).index(name)])
    with torch.no_grad():
        q = scan[0].encode(khot(torch.tensor([a, b]), sizes))
        one, other = (
            Gaussian(q.mu[i : i + 1], q.logvar[i : i + 1]) for i in (0, 1)
        )
        parts = zip(q, nets[0](one, other, number), strict=True)
        rows = Gaussian(*(torch.cat(part) for part in parts))
    drawn = draw_pictures(rows, seen[0].model.decode, 7, seed=0)
    fig, axes = plt.subplots(3, 7, figsize=(4.6, 2.3))
    for row, pictures, label in zip(
        axes, drawn, ("A", "B", "="), strict=True
    ):
        for ax, picture in zip(row, pictures, strict=True):
            ax.imshow(picture.permute(1, 2, 0))
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
        row[0].set_ylabel(label, rotation=0, va="center", labelpad=8)
    operator = name.replace("_", " ").upper()
    alt = f"{operator}: seven rooms each for A, for B and for the result."
    return Frame(png_bytes(fig), alt)


examples = (
    ("and", [0, -1, -1], [-1, -1, 2]),
    ("in_common", [0, -1, 2], [0, 1, -1]),
    ("ignore", [0, -1, 2], [-1, -1, 2]),
)

# %% tags=["hide-input"]
Control(
    "scan-said",
    [
        Axis(
            "example",
            (
                "red wall AND beam",
                "(red wall, beam) IN COMMON (red wall, yellow object)",
                "(red wall, beam) IGNORE beam",
            ),
        )
    ],
    [partial(said, *one) for one in examples],
    caption="Two concepts and what the operators' network makes of them, first seed.",
    live="scan",
)

# %% tags=["remove-cell"]
# The book's page runs these networks in the browser. They are stored, and
# the script is compared with what the kernels give:
if not dry_run:  # whose networks are smaller
    weights = arrays(scan[0], seen[0].model, nets[0])
    keep_cases("scan", cases(keep_weights("scan", weights)))

# %% [markdown]
# ## Does it need a disentangled eye?
#
# So the paper is said to find; we have not read it there. The same training on the vision models with $\beta_x = 0.05$:

# %%
entangled = scored("entangled", vision="entangled")
show("beta 2", forward)
show("beta 0.05", entangled)
worse = entangled[:, 1].mean() / forward[:, 1].mean()
print("beta 0.05: diversity KL more than twice as large:", bool(worse > 2))
most = own_latents(found["entangled"]) > len(seeds) / 2
print("beta 0.05: a latent for each attribute in most seeds:", bool(most))

# %% [markdown]
# <a id="scan-7"></a>

# %%
lost = forward[:, 0] - entangled[:, 0]
print(f"beta 0.05 loses {lost.mean():.1f} (asked: at least 0.05)")
ledger_.check(
    "scan-7",
    lost.mean(),
    spread=lost.std(ddof=1),
    seeds=seeds,
    at="demo",
    digits=0,
)

# %% [markdown]
# **Not as expected: the eye with little pressure is the more accurate one.** But look at the diversity, which is several times worse. By our test it too has a latent for every attribute, in most seeds; only its other latents are entangled. A likely reason, not tested further: a small $\beta_x$ codes every hue exactly, so that a symbol's stretch ends where it should; and since many of its latents belong to no single factor, naming one factor ties the others down too. So it costs variety, the half that our criterion did not ask about. We had
# written the criterion beforehand, and it stays.
#
# ## Against a joint model
#
# JMVAE ([Suzuki et al., 2016](https://arxiv.org/abs/1611.01891)) learns pictures and symbols together in one latent space, with a symbol's encoder pulled to the joint one by the same forward order of the KL. Ours has the vision model's layers and as many steps, $\beta = 1$, and hears the same random parts.

# %%
joint = jmvae_runs(world, settings)
both = np.array(
    [
        score_symbols(
            model.encode_symbol, model.decode, world, settings, seed
        )
        for model, seed in zip(joint, seeds, strict=True)
    ]
)
show("SCAN", forward)
show("JMVAE", both)
spread = both[:, 0].max() - both[:, 0].min()
print(f"JMVAE's accuracy differs between seeds by over 0.1: {spread > 0.1}")
more = both[:, 1].mean() / forward[:, 1].mean()
print(f"its mean diversity KL is over 1.5 times SCAN's: {more > 1.5}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels with three dots each for SCAN and for JMVAE. Accuracy: SCAN's dots lie together, JMVAE's lie far apart, two above SCAN's and one below. Diversity KL: SCAN's lie together and low, JMVAE's reach from there to several times as high."}, "figure": {"caption": "Accuracy (higher is better) and diversity KL (lower is more various) of SCAN and JMVAE, one dot per seed; the first seed is the darkest.", "name": "fig-scan-jmvae"}}
fig, axes = plt.subplots(1, 2, figsize=(4.6, 2.3), layout="constrained")
for k, (ax, title) in enumerate(
    zip(axes, ("accuracy", "diversity KL, nats"), strict=True)
):
    for place, values in enumerate((forward[:, k], both[:, k])):
        for i, value in enumerate(values):
            look = dict(color=COLOURS["blue"], alpha=1 - 0.3 * i)
            ax.plot(place + 0.1 * (i - 1), value, "o", **look)
    ax.set_xticks((0, 1), ("SCAN", "JMVAE"))
    ax.set(xlim=(-0.5, 1.5))
    ax.set_title(title, fontsize=9)
axes[0].set_ylim(0, 1)
axes[1].set_ylim(bottom=0)
fig.suptitle("Two models, three seeds", fontsize=10.5, fontweight="bold")
middle, ends = forward[:, 0].mean(), both[:, 0]
assert dry_run or sorted(ends > middle) == [False, True, True]
plt.show()

# %% [markdown]
# <a id="scan-3c"></a>

# %% tags=["nbval-ignore-output"]
# not compared because it ends near the line, on either side by processor
holds, tie = beats(forward, both)
ledger_.check("scan-3c", holds, seeds=seeds, at="demo", too_small=tie)

# %% [markdown]
# No winner. In accuracy JMVAE is better in two seeds and worse in one, and three are too few for such a spread. In diversity SCAN is ahead on average, mostly by one seed of JMVAE. (As "better" we count a paired difference of more than its standard error, in both scores; as worse, one such difference the other way; anything between is undecided.) JMVAE's own weight, $\alpha = 1$, was taken as it is and not tuned. By our notes the paper compares with TrELBO as well; that was not run. What SCAN has for certain is the order of learning: its eye needed no symbol, so a new vocabulary costs seconds, and some 55 labelled rooms were enough to draw what is named.
#
# ## Where it breaks
#
# - **One Gaussian, independent latents.** "Red or cyan" has a hole in the middle that a Gaussian fills with yellow and green. "The wall has the object's colour" is a diagonal in our scatter, and a Gaussian of independent latents cannot be one.
# - **The eye decides.** What the frozen code leaves out, no word can name; what it mixes, words mix.
# - **A ring does not fit on a line.** The full circle of hues has no end. Ours is cut at red and cyan, by choice.
# - **Accuracy misleads.** Twice in the rooms (reversed order, entangled eye) the more accurate model was the less various one. Look at what is left open too.
# - **Small.** Ten pixels, three attributes and 99 concepts. The paper's rooms had a fourth primitive, the floor's colour (its Fig. 1). Its photographs of faces (CelebA) were not tried.
#
# ## At full scale
#
# The full tier takes 3D Shapes (480,000 pictures of a room with one object) where `data_root` is the folder of its file `3dshapes.h5`, and without `data_root` coloured dSprites that it draws. Vision is convolutional. Sprites are read by the colours of edge and middle and, for the shape, by a small network on moments of the sprite's mask that turning does not change; 3D Shapes by a small convolutional network. What either reads of pictures kept from its training is recorded for each attribute. With a GPU: 64 x 64 pixels and
# 150,000 steps for each of six vision models; without one, 32 x 32 and fewer steps. By the re-implementations, the paper's vision loss compares what a denoising autoencoder makes of the pictures, not the pixels; that is not done here. JMVAE is fully connected at this tier too, so beside a convolutional vision it is not on level ground.
#
# ```
# workings run scan --tier full
# ```
#
# `fetch_shapes3d()` of `workings.disentangling.shapes3d_file` fetches the file (256 MiB, checked by its SHA-256) and returns its path; its folder is your `data_root`, or `--data` on the command line. Reading it needs `pip install h5py`.

# %%
if tier == "full":
    sizes_here = full_tier.FullSettings.here(dry_run=dry_run)
    tables = full_tier.run(sizes_here, data_root)
    for name, rows in tables.items():
        ledger_.attach(name, rows)
else:
    tables = {
        name: ledger.attachment("scan", "full", name) or []
        for name in ("runs", "operators", "vision", "reader")
    }
print(full_record.standing(tables))

# %% tags=["hide-input"]
for one in full_record.grids(tables):
    display(one)

# %%
if tier == "full":
    small = full_tier.too_small(sizes_here.vision_steps, tables)
    for claim, one in full_tier.claim_values(tables).items():
        ledger_.check(
            claim,
            one.value,
            spread=one.spread,
            error=one.error,
            seeds=seeds,
            too_small=small or one.too_small,
        )

# %% [markdown]
# What stands in these tables, though the vision models still changed and the run decides nothing:
#
# - **The eye has lost the shape.** Of pictures that the disentangled models code and draw again, the reader gets the shape hardly more often than by guessing one of three; of those of the entangled models, about three in four. A symbol can say no more than the eye has kept, so the lost shape must weigh on every row but those of the entangled eye and JMVAE.
# - **The order of the KL** matters in the same direction as in the rooms, and less: in every seed reversed symbols draw what they name more surely, and their diversity KL is about three times as large in the mean (5 was asked).
# - **The main text's weights**, by accuracy, leave most of the meaning out here too: it is little more than guessing.
# - **Few pictures**: with 20 per value accuracy is that of all; with one, two or five variety suffers in every seed, with one accuracy as well on average.
# - **The learned operators** stay close to the symbols of their results; IN COMMON is the worst again.
# - **The entangled eye** is the other way round than in the rooms. It shows what is named a little less often (as a mean; one of three seeds is level), its diversity KL is about a quarter in the mean, and it names the worst attribute, the shape, far better, the two colours a little less well. So at this length of training pressing gave a little accuracy and cost variety and the shape.
# - **JMVAE** is a little more accurate, and more various (about half the diversity KL), in every seed. Its latents are not those of the eye that lost the shape.
#
# When does a run count? A first one without a GPU, of 2,000 of the protocol's 150,000 steps, was looked at and not kept: its vision models
# left out most of what the words name, so it could say nothing about words, for or against. Steps alone are no test, though. So a rule was set
# before the next run: a run counts if its vision models have the protocol's steps, or if they have levelled. And its reader must read: a limit for
# each attribute was set after a first reader of the sprites, a convolutional network, had taken one shape in four for another, and before any run with this one.

# %%
short = full_tier.FullSettings.here(device="cpu")
print(f"a GPU: {full_tier.PROTOCOL_STEPS:,} steps per vision model")
print(f"no GPU: {short.vision_steps:,}, and in the last half at most")
print(f"{full_tier.LOSS_LEVEL:.0%} of the loss above its floor and")
print(f"{full_tier.NAMED_LEVEL:.0%} of pictures may change")
print(f"either: {full_tier.READER_LEVEL:.0%} of each attribute read")

# %% [markdown]
# The *loss* is the mean NLL, the *floor* the entropy of the pixels, below which no model comes. The *pictures* are those named rightly in the worst attribute, by a symbols' network trained on the codes of half way and by one
# on those of the end. Both are means over the seeds, for either kind of vision, and both must hold. What is *read* are real pictures that the reader was not trained on. Drawn ones are blurred. So the record also says what is read of pictures that a vision model has coded and drawn again, beside what the symbols' network
# names from the same codes: where both are low, the code has lost the attribute. (A blob without a shape must still be read as one, so a vision model that draws blobs pays for it in accuracy and in diversity.) The recorded run, without a GPU, took 83 minutes beside other work.

# %% [markdown]
# ## The ledger
#
# What the paper claims, what this notebook found a moment ago, and what a recorded full run found, if there is one. Criteria were written before any run of this code, with the outcome of an earlier prototype on other rooms known. Verdicts are computed. After the first runs we changed numbers of steps, and batch and learning rate of the symbols' and the operators' networks, to fit the page's time; that cost some hundredths of accuracy.

# %%
ledger_.table()

# %% [markdown]
# ## Take it home
#
# You have a model with Gaussian codes and some labelled examples. What does a label mean in your latent space? The cell runs by itself; put your encoder's means and log-variances in the place of ours.

# %%
# pip install torch "git+https://github.com/workings-book/workings@main"
import torch

from workings.disentangling.scan import matched_gaussian

your_mu = torch.tensor([[0.9, -1.2], [1.1, 0.1], [1.0, 1.1]])
your_logvar = torch.full((3, 2), -3.0)  # (examples, latents)

concept = matched_gaussian(your_mu, your_logvar)
print("mean     ", [round(x, 2) for x in concept.mu.tolist()])
print("deviation", [round(x, 2) for x in concept.deviation.tolist()])

# %% [markdown]
# A deviation well below 1 is what the label fixes; one near 1 is what it leaves open. Before you believe it:
#
# - Is your code's aggregate close to the prior? If a latent's deviation over *all* data is not near 1, compare with that.
# - Do you have enough examples? With very few, everything looks fixed.
# - Are your labels tied to each other? If all your red walls have boxes, "red" will mean boxes, and no loss can tell.
#
# ## Exercises
#
# **1.** How many concepts name at least one attribute, if there are 16 colours each of wall, floor and object, and three objects?
#
# <details>
# <summary>Show the solution</summary>
#
# Each attribute has one more choice, "not said": $17^3 \cdot 4 - 1 = 19651$.
#
# </details>

# %% tags=["hide-input"]
print(count_concepts((16, 16, 16, 3)))

# %% [markdown]
# **2.** Two pictures of a concept lie at $-1$ and $1$ in a latent, each with variance $0.1$. What are $\mu_y$ and $\sigma_y^2$ in the forward and in the reversed order (without a prior term)?
#
# <details>
# <summary>Show the solution</summary>
#
# Both have mean 0. Forward: $0.1 + 1 = 1.1$. Reversed: $0.1$, the width of one picture, at a place where there is none.
#
# </details>

# %% tags=["hide-input"]
pictures = torch.tensor([[-1.0], [1.0]]), torch.full((2, 1), 0.1).log()
for optimum in (forward_optimum, reversed_optimum):
    q = optimum(*pictures)
    print(f"mean {q.mu.item():.1f}, variance {q.logvar.exp().item():.1f}")

# %% [markdown]
# **3.** You feed the symbols' network full descriptions only, never parts. What happens to the symbol "a red wall", which was never met? Guess both scores before you run it.
#
# <details>
# <summary>Show the solution</summary>
#
# It comes out narrow everywhere, also where it says nothing. Its code has two empty blocks, and nothing in the loss says what these mean; the network answers as it has always answered, with everything fixed. The drawn pictures are no less right for it, but they have lost their variety. It is the reversed order's lesson again: accuracy alone would choose the wrong one.
#
# </details>

# %% tags=["hide-input"]
shown = ~includes(world.attributes[:, None], held_out(sizes)).any(dim=1)
weights = (settings.lam, settings.symbol_beta)
jobs = [
    ScanJob(vision.pairs.select(shown), seed, *weights)
    for vision, seed in zip(seen, seeds, strict=True)
]
symbols["whole"] = train_scans(
    jobs,
    sizes,
    settings.scan_steps,
    batch=settings.scan_batch,
    learning_rate=settings.scan_rate,
    parts=False,
)
for kind, name in (("forward", "parts"), ("whole", "full descriptions")):
    show(name, scored(kind))
    open_ = []
    for network, vision in zip(symbols[kind], seen, strict=True):
        width, _, unnamed = deviations(network, vision.pairs, sizes)
        open_.append(float(width[unnamed].mean()))
    print(f"  deviation where nothing is said: {np.mean(open_):.1f}")

# %% [markdown]
# ## References
#
# - Higgins, Sonnerat, Matthey, Pal, Burgess, Bosnjak, Shanahan, Botvinick, Hassabis, Lerchner. *SCAN: Learning Hierarchical Compositional Visual Concepts.* ICLR 2018. [arXiv 1707.03389](https://arxiv.org/abs/1707.03389)
# - Suzuki, Nakayama, Matsuo. *Joint Multimodal Learning with Deep Generative Models.* 2016. [arXiv 1611.01891](https://arxiv.org/abs/1611.01891)
# - Burgess et al. *Understanding disentangling in beta-VAE.* NIPS 2017 workshop. [arXiv 1804.03599](https://arxiv.org/abs/1804.03599)
# - miyosuda/scan and shadimanafi/SCAN_PyTorch, GitHub: the re-implementations by which equations and settings were checked.
