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
# # DARLA: what survives a new coat of paint?
#
# <p class="wk-run"><a href="https://colab.research.google.com/github/workings-book/workings/blob/main/notebooks/disentangling/darla.ipynb">Run this chapter on Colab</a></p>
#
# An agent learns to do something in one room. Then somebody paints the walls, and it fails, although nothing that matters has changed.
# [Higgins et al. (2017)](https://arxiv.org/abs/1707.08475) propose to learn to *see* before learning to *act*: a beta-VAE
# first finds the causes of the pictures, is then frozen, and reinforcement learning gets its code in the place of pixels.
# This chapter builds the three stages in a world small enough to know everything about, and tests them against agents
# that could refute the idea.
#
# - **You need** the [beta-VAE](early_visual_concepts.ipynb), and a rough idea of Q-learning.
# - **It takes** 35 minutes to read and about a minute to run.
# - **Afterwards you can** set up a fair test of zero-shot transfer, say why agents hold on to things that never mattered, and use
#   a perceptual loss for what a loss on pixels overlooks.
#
# Of the paper we had the abstract, public programs that follow it, and a public level that its authors made from it; not its
# tables. So the page quotes none of its numbers.

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
# "demo", or "full" for the sequential world (see "At full scale")
tier = "demo"
# with "full": a few steps, to see that it works
dry_run = False

# %% tags=["hide-input"]
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch

from workings import ledger
from workings.chapters.darla import demo
from workings.chapters.darla import full as full_tier
from workings.chapters.darla.live import arrays, cases
from workings.chapters.darla.settings import Settings
from workings.disentangling.denoising import FeatureMap, mask_rectangles
from workings.disentangling.domains import assert_conjunction_heldout
from workings.disentangling.environments import WorldEnv
from workings.disentangling.perceptual import (
    darla_vision_loss,
    perceptual_loss,
)
from workings.disentangling.transfer import (
    disentanglement_agreement,
    mean_interval,
    transfer_report,
)
from workings.disentangling.value_learning import double_q_target, q_target
from workings.seeding import torch_generator
from workings.show.controls import Axis, Control, Frame
from workings.show.figures import COLOURS, png_bytes, use_style
from workings.show.live import keep_cases, keep_weights

torch.set_num_threads(1)  # many small networks, two groups at a time
use_style()
settings = Settings.for_tier(tier, dry_run=dry_run)
small = Settings.demo(dry_run=dry_run)  # the experiments of this page
ledger_ = ledger.open("darla", tier=tier)


def tile(ax, picture, title):
    """One picture (3, H, W) without axes, under its title."""
    ax.imshow(np.clip(np.asarray(picture), 0, 1).transpose(1, 2, 0))
    ax.set_title(title, fontsize=9)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set(visible=True, color=COLOURS["ink"], linewidth=0.5)


# %% [markdown]
# ## The failure first
#
# A tiny world. You stand in a room with a wall and a floor, each in one of eight hues. A square object is to your left or
# to your right: white objects are good, black ones bad. You may step left, wait, or step right, once. A step towards a good
# object pays 1 and away from it -1; a step away from a bad one pays 0.5 and towards it -0.5; waiting pays 0. Knowing what to do, you
# earn 0.75 on average. Choosing at random, 0.
#
# An agent learns in the **source** domain, where walls and floors have the first three hues (red to yellow). Then we paint
# the room in the last three hues (cyan to blue), the **target** domain, and look at what it earns there without another
# lesson: **zero-shot** transfer. The task has not changed at all.

# %%
world, domains = small.world(), small.domains()
scenes = demo.all_scenes(world)  # every picture there is
pixels = demo.pixel_table(scenes)
on_pixels = demo.act(world, domains, pixels, small.seeds, small)
print(f"{len(scenes.pictures)} scenes of {pixels.shape[1]} numbers each")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six small pictures. The upper three have red, orange and yellow walls and floors, the lower three cyan and blue ones; each shows one white or black square at the edge between wall and floor."}, "figure": {"caption": "Three scenes of the source (above) and the same three states in the target (below). Only the paint differs.", "name": "fig-darla-rooms"}}
states = np.array([[1, -2], [0, 1], [1, 2]])
looks = {
    "source": np.array([[0, 1], [2, 0], [1, 2]]),
    "target": np.array([[5, 6], [7, 5], [6, 7]]),
}
fig, axes = plt.subplots(2, 3, figsize=(4.2, 3.1))
for row, (name, own) in zip(axes, looks.items(), strict=True):
    for ax, picture in zip(row, world.render(own, states), strict=True):
        tile(ax, picture, name)
plt.show()

# %% [markdown]
# The agent is a network with two hidden layers that predicts the reward of each action from the 192 numbers of a picture. It learns
# from 1,000 random moves, and takes the action with the highest prediction. There are five seeds; each is the mean of two such agents. Returns
# are exact, over all scenes of a domain.
#
# > **Predict.** The object is pure white or pure black in both domains. How much of the 0.75 is left after repainting?

# %%
source, target = (
    mean_interval(r) for r in (on_pixels.source, on_pixels.target)
)
print(f"source: {source.mean:.2f} of 0.75")
print("target, upper end of the 95% interval below it:", target.high < 0.75)
kept = on_pixels.target < on_pixels.source - 0.03
print(f"seeds that lose: {kept.sum()} of {len(kept)}")

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Not all. Every seed loses some, from a few per cent to about a third (the red dots of a figure further down). Every
# agent is perfect in the source. A blue wall moves weighted sums of its first layer to places where they have not been.
#
# </details>
#
# ## A family of tasks
#
# In words: one task, many looks. All domains share the actions, how states follow each other, and the rewards. They
# differ in how a state is drawn. A domain is therefore a set of **conjunctions** of factor values (this wall with this
# floor and this object):
#
# $$
# x = g(s, v), \qquad v \in \mathcal V_S \;\text{(source)}, \quad v \in \mathcal V_T \;\text{(target)},
# \qquad \mathcal V_S \cap \mathcal V_T = \emptyset . \tag{1}
# $$
#
# | symbol | what it is | here |
# |---|---|---|
# | $s$ | state: what the task is about | kind and place of the object |
# | $v$ | look: what it is not about | hues of wall and floor |
# | $g$ | the renderer | 8 x 8 pixels, 3 colours |
# | $x$ | observation | 192 numbers in [0, 1] |
# | $\mathcal V_U$ | looks of the vision stage | all 64 |
#
# DARLA, the method of this chapter, has a third set of looks, $\mathcal V_U$, for seeing without rewards.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four small pictures of the same white square: a room of red and orange, a room of blues, a room with a red wall and a blue floor, and one with green walls and floor."}, "figure": {"caption": "One state in four looks. In the unlabelled data any wall meets any floor: hues of the source with hues of the target (third), and hues of neither (fourth).", "name": "fig-darla-family"}}
shown = {
    "source": [(0, 1)],
    "target": [(7, 5)],
    "unsupervised": [(0, 6), (4, 3)],
}
fig, axes = plt.subplots(1, 4, figsize=(4.6, 1.4))
left_to_right = iter(axes)
for name, own in shown.items():
    for look in own:
        assert (*look, 1) in domains[name].rows
        picture = world.render(np.array([look]), np.array([[1, 1]]))[0]
        title = "unlabelled" if name == "unsupervised" else name
        tile(next(left_to_right), picture, title)
plt.show()

# %% [markdown]
# Every single value of the target must occur in $\mathcal V_U$. That is a real condition on your data, and it can be checked before
# anything is trained:

# %%
names = ("source", "target", "unsupervised")
assert_conjunction_heldout(*(domains[name] for name in names))

envs = [WorldEnv(world, domains[name]) for name in names[:2]]
(first, info), (other, its) = (env.reset(seed=3) for env in envs)
print("states:", info["state"].tolist(), "and", its["state"].tolist())
apart = (first != other).sum()
print(f"numbers of the picture that differ: {apart} of {first.size}")

# %% [markdown]
# `WorldEnv` has the interface of Gymnasium (`reset`, `step` with five results). The world also exists as a sequence of 20
# steps, and beside it an arm that reaches for a disk; the library tests both.
#
# ## What would a perfect code give?
#
# DARLA's remedy is to act not on $x$ but on a **code** $z$ in which each number follows one cause of the picture, a
# *disentangled* code. Before we learn one, let us take the best there is: the four true factors (wall, floor, kind, place).
# Its rival is *entangled*: the same four numbers, turned by a random rotation, so that each holds a bit of every factor.
#
# The agent learns by regression on a target. In one equation, for a transition from $s$ by action $a$ with reward $r$ to $s'$,
# and discount $\gamma$:
#
# $$
# Q(s, a) \leftarrow r + \gamma \max_{a'} Q(s', a'), \tag{2}
# $$
#
# and $r$ alone where nothing follows, as in our one-step world. *Double* Q-learning chooses $a'$ with the network and
# values it with an older copy, because a maximum over noisy values is too high on average. **By hand:** with $r = 1$, $\gamma = 0.5$, values (2, 4)
# and old values (3, 1) the two targets are $1 + 0.5 \cdot 4 = 3$ and $1 + 0.5 \cdot 1 = 1.5$.

# %%
r, gamma = torch.tensor([1.0, 1.0]), 0.5
over = torch.tensor([False, True])
values = torch.tensor([[2.0, 4.0], [2.0, 4.0]])
old = torch.tensor([[3.0, 1.0], [3.0, 1.0]])
plain = r + gamma * values.max(dim=1).values * ~over
choice = values.argmax(dim=1)
double = r + gamma * old[torch.arange(2), choice] * ~over

assert torch.equal(plain, q_target(r, over, values, gamma))
kernel = double_q_target(r, over, values, old, gamma)
assert torch.equal(double, kernel)  # agrees with the kernel
print("plain:", plain.tolist(), "double:", double.tolist())

# %% [markdown]
# > **Predict.** The agent has two hidden layers. Which code keeps more in the target, the aligned factors or the rotated
# > ones? Is either perfect?

# %%
codes = {
    turn: demo.true_factors(small, rotated=turn == "rotated")
    for turn in ("aligned", "rotated")
}
perfect = {
    name: demo.act(world, domains, code, small.seeds, small)
    for name, code in codes.items()
}
gap = demo.difference(perfect["aligned"].target, perfect["rotated"].target)
level = "no difference" if gap.low < 0 < gap.high else "a difference"
print(f"over {len(small.seeds)} seeds, 95% interval: {level}")
for name, found in perfect.items():
    whole = (found.target > found.source - 1e-9).all()
    print(f"{name}: all of the return kept in every seed: {whole}")

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# No difference that five seeds can show, and neither is perfect. A fully connected layer that begins with random weights
# has no idea which directions are axes: whatever it does with a code, it does about as well with the rotated one. In the
# source the hue tells nothing about the reward, so nothing pulls the weights on it
# to zero; they stay near their random start, and what they add is made up for elsewhere. In the target the hue, standardised, has the other
# sign, and the leftovers speak up (exercise 1).
#
# </details>
#
# So disentangling by itself does not make *this* agent ignore what it should ignore. Something must prefer axes. One such
# thing is a penalty on the inputs of the agent: with $w_j$ the weights that leave input $j$,
#
# $$
# \text{loss} = \text{mean}\,(Q(s,a) - \text{target})^2 + \lambda \sum_j \lVert w_j \rVert_2 . \tag{3}
# $$
#
# The length, not its square, so that an input that tells nothing is pushed all the way to zero. Rotated factors offer no
# such input: every number holds the object too. With $\lambda = 0.01$:
#
# <a id="darla-9"></a>

# %%
sparse = {
    name: demo.act(world, domains, code, small.seeds, small, small.penalty)
    for name, code in {**codes, "pixels": pixels}.items()
}
for name, found in sparse.items():
    lost = 0.75 - found.target.mean()
    print(f"{name}: loses less than 0.02 of 0.75: {lost < 0.02}")
gap = demo.difference(sparse["aligned"].target, sparse["rotated"].target)
print(f"aligned less rotated: {round(gap.mean, 2) + 0.0:.2f}, on average")
equal = abs(gap.mean) < 0.01
why = "both keep all but a hundredth: there is no loss to tell apart"

# %%
ledger_.check(
    "darla-9", gap.low, seeds=small.seeds, digits=0, at="demo",
    too_small=why if equal else None,
)  # fmt: skip

# %% [markdown]
# We expected rotation to cost something here, and wrote that down before the run. It costs next to nothing. (The criterion, a lower
# end of at least 0, could be met by two columns that are equal; so we leave the claim undecided.) What we did *not* expect is the
# last line: with the penalty the agent on raw pixels keeps everything. In this world the right baseline for DARLA is not the plain pixel agent but a pixel agent that was
# asked to look at as little as possible. (One reason may be that here many pixels hold only paint and can be switched off.
# In a room seen from moving eyes no pixel is so obliging, and that is the case the paper is about.)
#
# ## Why a loss on pixels loses the object
#
# Now the code is to be learnt, from pictures alone. A [beta-VAE](early_visual_concepts.ipynb) squeezes a picture through a
# few noisy numbers and pays for what it rebuilds wrongly. What is right and wrong is a matter of the loss. Compare two bad
# reconstructions of a room with a small object, two by two pixels: one has a wall that is one hue off, one lacks the object.

# %%
tiny = small.world(small.small_object)
x, off_wall = torch.from_numpy(
    tiny.render(np.array([[4, 3], [5, 3]]), np.array([[1, 1], [1, 1]]))
).split(1)
paint = lambda rooms: rooms.median(dim=3, keepdim=True).values
empty = paint(x).expand_as(x)  # most of a row is wall, or floor
for name, wrong in (("wall one hue off", off_wall), ("no object", empty)):
    print(f"{name}: squared error {perceptual_loss(x, wrong)[0]:.1f}")
share = 4 / 64
print(f"the object's share of the pixels: {share:.0%}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Above, three pictures: a room with a small white object, the same with another hue of wall, the same without the object. Below the last two, maps of their squared error: a pale area as large as the wall, and four dark pixels where the object was."}, "figure": {"caption": "The room, the two bad reconstructions, and below them where their squared error lies (summed over the three colours; the sum of a map is the number above). A little everywhere on the wall is more than much in four pixels.", "name": "fig-darla-loss-map"}}
fig, axes = plt.subplots(2, 3, figsize=(4.4, 3.0), layout="constrained")
seen = {"the room": x, "wall one off": off_wall, "no object": empty}
for column, (title, picture) in zip(axes.T, seen.items(), strict=True):
    tile(column[0], picture[0], title)
    error = (picture - x).square().sum(dim=1)[0]
    shade = column[1].imshow(error, cmap="Blues", vmin=0, vmax=1.2)
    column[1].set(xticks=[], yticks=[])
    column[1].grid(False)
    column[1].spines[:].set(visible=True, linewidth=0.5)
axes[1, 0].set_visible(False)
fig.colorbar(shade, ax=axes[1], label="squared error\n(per pixel)")
plt.show()

# %% [markdown]
# The object is all that matters to the task and a few per cent of the picture; in this room losing it costs less than a wall that is
# slightly off. A compressor that has to save begins there. The paper's
# answer is to compare pictures in the eyes of another network: a **denoising autoencoder** (DAE) that was trained to fill in
# a hidden rectangle. To fill in it has to know what rooms are made of. Let $J(x)$ be what one of its layers says about
# $x$. Then the loss of the vision stage is
#
# $$
# \mathcal L = \mathbb E_{q(z \mid x)}\lVert J(\hat x) - J(x) \rVert_2^2 + \beta\, D_{KL}\big(q(z \mid x)\,\Vert\, \mathcal N(0, I)\big). \tag{4}
# $$
#
# Gradients go *through* $J$ to the reconstruction $\hat x$ of a draw of $z$, never into the weights of $J$; $J(x)$ is computed on the
# clean picture, without noise. First the mask, and what the trained DAE makes of it:

# %%
found = demo.denoiser(small)
some = found.data[:3]
masked, where = mask_rectangles(some, torch_generator(4, "masks"))
by_hand = some.clone()
by_hand[where.expand_as(some)] = 0.0
assert torch.equal(masked, by_hand)  # agrees with the kernel
for row in where[:, 0]:
    height, width = int(row.any(1).sum()), int(row.any(0).sum())
    assert int(row.sum()) == height * width  # one full rectangle
with torch.no_grad():
    filled = found.autoencoder(masked)
print("layers:", ", ".join(found.autoencoder.layers))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three rows of three pictures of rooms with a small object: the clean picture, the same with a black rectangle over part of it, and the reconstruction, in which wall and floor are filled in."}, "figure": {"caption": "What the denoising autoencoder is trained on. It sees the middle column and has to give back the left one; the right column is what it gives. A wall that is partly seen can be filled in; an object that is wholly hidden cannot.", "name": "fig-darla-masks"}}
fig, axes = plt.subplots(3, 3, figsize=(3.9, 4.2))
for row, one in zip(
    axes, zip(some, masked, filled, strict=True), strict=True
):
    for ax, picture, title in zip(
        row, one, ("clean", "masked", "filled in"), strict=True
    ):
        tile(ax, picture, title)
plt.show()

# %% [markdown]
# Formula (4) on the page. If $J$ is a matrix $W$, the first term must be $\lVert W(\hat x - x)\rVert^2$, and if $J$ is the
# identity, the squared error of pixels; that is the claim below.

# %%
J = FeatureMap(found.autoencoder, "bottleneck").eval()
guess = filled.clone().requires_grad_()
mu, logvar = torch.randn(2, 3, 4, generator=torch_generator(0, "page"))
with torch.no_grad():
    wanted = J(some)
error = (J(guess) - wanted).square().sum(dim=1)
kl = (mu**2 + logvar.exp() - logvar - 1).sum(dim=1) / 2
loss = error.mean() + 4.0 * kl.mean()

kernel = darla_vision_loss(some, guess, mu, logvar, J, beta=4.0)
assert torch.allclose(loss, kernel)  # agrees with the kernel
kernel.backward()
moved = int((guess.grad != 0).flatten(1).any(dim=1).sum())
print(f"pictures that get a gradient: {moved} of {len(guess)}")
parts = [part.grad is not None for part in J.parameters()]
print(f"layers' arrays of J that get one: {sum(parts)} of {len(parts)}")

# %% [markdown]
# <a id="darla-7"></a>

# %%
a, b = some.double(), filled.double()
W = torch.randn(192, 5, generator=torch_generator(1, "page")).double()
linear = lambda rows: rows.flatten(1) @ W
direct = ((b - a).flatten(1) @ W).square().sum(dim=1)
plain = (b - a).square().sum(dim=(1, 2, 3))
off = [
    ((perceptual_loss(a, b, linear) - direct) / direct).abs().max(),
    ((perceptual_loss(a, b) - plain) / plain).abs().max(),
]
ledger_.check("darla-7", float(max(off)), digits=0, at="demo")

# %% [markdown]
# Now the two mistakes again, in every room with a small object whose wall has a next hue, seen by pixels and by $J$.
#
# > **Predict.** In pixels the wall is the dearer mistake. And in the features of the trained DAE?

# %%
looks, state = tiny.scenes()
inner = looks[:, 0] < small.hues - 1  # walls that have a next hue
looks, state = looks[inner], state[inner]
rooms_of = lambda these: torch.from_numpy(tiny.render(these, state))
plenty, next_wall = rooms_of(looks), rooms_of(looks + np.array([1, 0]))
bare = paint(plenty).expand_as(plenty)
for name, eyes in (("pixels", None), ("features", J)):
    lost, moved = (
        perceptual_loss(plenty, wrong, eyes).mean()
        for wrong in (bare, next_wall)
    )
    print(f"{name}: a lost object costs {lost / moved:.1f}", end=" ")
    print("times what a wall one hue off costs")

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# The wall, and by more than before. That is not what the argument promised: these features do not make the lost object
# dear. A wall that is partly hidden can be filled in from the rest and an object that is wholly hidden cannot; that may be why.
#
# </details>
#
# Does it help the code all the same? Two kinds of encoder see the room with the small object. They have the same $\beta$, and their losses are scaled
# so that what is compared, pixels or features, has the same variance. (Without that, one $\beta$ would mean two
# things.) We ask a linear rule to tell from the code whether the object is good or bad. Chance is one half.
#
# > **Predict.** Which code knows the object's kind? And which encoder rebuilds the *pixels* better?
#
# <a id="darla-3"></a>

# %%
compared = demo.losses_compared(found, small)
room = demo.all_scenes(tiny)
accuracy = {
    name: np.array([demo.kind_accuracy(one, room) for one in group])
    for name, group in compared.items()
}
for name, group in compared.items():
    explained = np.mean([one.explained for one in group])
    better = "better" if explained > 0 else "worse"
    told = accuracy[name].mean() > 0.65
    print(f"{name}: kind told in more than 65%: {told}", end="; ")
    print(f"pixels {better} than the mean picture")
gap = demo.difference(accuracy["bottleneck"], accuracy["pixels"])

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# The one that compares features knows the object more often (the figure below, first two columns). And its pixels are worse than the
# mean picture would be: nothing asks for the right pixels, only for pixels that look right to $J$, and many wrong pictures
# do. An agent sees only the code; who looks at reconstructions is misled.
#
# </details>

# %% [markdown]
# Two questions are open. All of this is one denoiser: would another do? And is it the *filling in* that helps? So: three denoisers from
# different random starts, and the same three after a single step of training, which have learnt next to nothing.


# %%
def through(steps, seed):
    """Encoders that see through another denoiser, one per seed."""
    eyes = demo.denoiser(replace(small, denoiser_steps=steps), seed=seed)
    denoisers[steps, seed] = eyes
    return demo.losses_compared(eyes, small, ("bottleneck",))["bottleneck"]


long = small.denoiser_steps
denoisers = {(long, 0): found}
trained = [compared["bottleneck"]]  # of the first denoiser, above
trained += [through(long, seed) for seed in (1, 2)]
untrained = [through(1, seed) for seed in (0, 1, 2)]
shares = {"pixels": [accuracy["pixels"]]}
for name, groups in (("trained", trained), ("untrained", untrained)):
    kinds = [[demo.kind_accuracy(e, room) for e in g] for g in groups]
    shares[name] = [np.array(one) for one in kinds]
pairs = zip(shares["trained"], shares["untrained"], strict=True)
ahead = sum(demo.difference(a, b).low > 0 for a, b in pairs)
print(f"denoisers that are better trained than untrained: {ahead} of 3")

# %%
leads = [demo.difference(a, *shares["pixels"]) for a in shares["trained"]]
unsure = any(one.low <= 0 for one in leads)
why = "another denoiser's lead is not told from none" if unsure else None
options = dict(seeds=small.seeds, digits=0, at="demo")
ledger_.check("darla-3", gap.low, too_small=why, **options)

# %% tags=["nbval-ignore-output"]
# not compared because trainings end elsewhere on another processor
for name in ("trained", "untrained"):
    print(f"{name}: lead over pixels, 95% interval", end=" ")
    leads = [demo.difference(a, *shares["pixels"]) for a in shares[name]]
    print("; ".join(f"{one.low:.2f} to {one.high:.2f}" for one in leads))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Seven columns of five dots. First the loss on pixels, accuracies near six tenths; then three trained denoisers, mostly between six and eight tenths; then three untrained ones, mostly above seven tenths and up to nearly one."}, "figure": {"caption": "How often a linear rule tells the kind of a small object from the code: one dot per seed of the encoder, one column per denoiser (the first trained one is that of the claim), the short bar is the mean, the dashed line is chance.", "name": "fig-darla-losses"}}
fig, ax = plt.subplots(figsize=(4.6, 2.9))
tints = {"pixels": "red", "trained": "blue", "untrained": "green"}
columns = [(name, one) for name, group in shares.items() for one in group]
for k, (name, one) in enumerate(columns):
    colour = COLOURS[tints[name]]
    ax.plot([k] * len(one), one, "o", color=colour, alpha=0.7)
    ax.plot([k - 0.3, k + 0.3], [one.mean()] * 2, "-", color=colour)
ax.axhline(0.5, color=COLOURS["ink"], linestyle="--")
under = [
    "loss on\npixels",
    "features,\ntrained DAE",
    "features,\nuntrained DAE",
]
ax.set_xticks([0, 2, 5], under)
ax.set(ylim=(0.4, 1.02), ylabel="share of scenes")
ax.set_title("Does the code know the object?")
plt.show()

# %% [markdown]
# What was shown, then: a linear rule tells the kind more often from codes learnt through features than from codes learnt
# through pixels (in all six columns, on average). Not that denoising does it: untrained features do as well or better, so it is
# due to something else. And with the first denoiser alone the claim would be met; with the
# other two trained ones the lead is smaller, and five seeds do not tell it from none. So it stays undecided.
#
# ## See
#
# Back to the larger object, which a loss on pixels does not lose. Encoders with 8 latents and squared error see 4,000 rooms of
# all hues, at three strengths of $\beta$, five seeds each. Which $\beta$ shall the agent get? Choosing the one with the best
# return in the target would be cheating: it would be a lesson in the target after all. Two numbers need no reward and
# no factor:
#
# - **explained**: the share of the pictures' variance that the reconstruction explains; we ask for at least 0.85;
# - **agreement** (the UDR of [Duan et al. 2020](https://arxiv.org/abs/1905.12614)): do two seeds find the same latents? The highest is chosen. With
#   $R$ the absolute rank correlations of the latents of one with those of the other (only latents of more than 0.01 nats count), each
#   of them scores
#
# $$
# \frac{(\max_b R_{ab})^2}{\sum_b R_{ab}} , \tag{5}
# $$
#
# which is 1 when it follows exactly one latent of the other. Entangled codes are mostly entangled in a different way each time.

# %%
encoders = demo.see(small)
low, high = small.betas[0], small.betas[-1]
one, two = encoders[high][:2]
live = [e.codes[:, e.kl > 0.01].double().numpy() for e in (one, two)]
ranks = [np.apply_along_axis(demo.stats.rankdata, 0, z) for z in live]
R = np.abs(np.corrcoef(*ranks, rowvar=False))
R = R[: live[0].shape[1], live[0].shape[1] :]
scores = [R.max(axis=k) ** 2 / R.sum(axis=k) for k in (0, 1)]
by_hand = np.concatenate(scores).mean()

kernel = disentanglement_agreement(one.codes, one.kl, two.codes, two.kl)
assert abs(by_hand - kernel) < 1e-6  # agrees with the kernel
print("each latent of a pair has a score of its own: (5)")

# %%
chosen, table = demo.unsupervised_choice(encoders, small.explained)
for row in table:
    print(f"beta {row.beta:g}: explained {row.explained:.1f}", end=", ")
    print(f"agreement {row.agreement:.1f}")
print(f"chosen: beta {chosen:g}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Rows of small pictures, one row per latent; from left to right the latent is moved. Some rows change the hue of the wall or of the floor, some change the object, some change nothing."}, "figure": {"caption": "Traversals of one encoder at the chosen beta, the one with the largest MIG (below; picked with the true factors, to be shown): every row moves one latent from low to high and leaves the others, for the latents with most nats. Look for rows that change one thing only, and for rows that do not.", "name": "fig-darla-traversals"}}
best = max(encoders[chosen], key=lambda e: e.mig)
order = best.kl.argsort(descending=True)[:4]
with torch.no_grad():
    centre = best.model.encode(scenes.pictures[100:101])[0]
    spread = best.model.encode(scenes.pictures)[0].std(dim=0)
    fig, axes = plt.subplots(4, 7, figsize=(4.5, 3.0))
    for row, latent in zip(axes, order, strict=True):
        for ax, step in zip(row, np.linspace(-1.8, 1.8, 7), strict=True):
            z = centre.clone()
            z[0, latent] = float(step) * spread[latent]
            tile(ax, torch.sigmoid(best.model.decode(z))[0], "")
plt.show()

# %% [markdown]
# These encoders compare pixels. The method of the paper compares features, so one more group is trained with (4): at the chosen
# $\beta$, with the same seeds, steps and network, through a denoiser made as above from pictures of this room. Nothing
# was varied here: layer, scale and sizes are those of the section before, and its first training is the one on this page.

# %%
eyes = demo.denoiser(small, small.object_size)
perceptual = demo.see(small, (chosen,), eyes)[chosen]
kinds = [demo.kind_accuracy(one, scenes) for one in perceptual]
print("kind told in more than 95%, every seed:", min(kinds) > 0.95)
worse = all(one.explained < 0 for one in perceptual)
print("pixels worse than the mean picture, every seed:", worse)

# %% [markdown]
# ## Freeze, act, repaint
#
# Now the encoders are frozen, and the agents learn from the posterior means (not from samples: noise is no help for
# acting), standardised by the data of the vision stage. Entangled means the smallest $\beta$. All agents of one seed learn from
# the same moves. Returns are reported beside those of the random and of the best policy, because alone they mean little; *kept* is the share of the gain over random that is left in the target.
#
# One rival leaves the VAE out: *DAE only* acts on the 32 features of the denoiser themselves, $J(x)$, standardised like the codes. It has
# one denoiser for all seeds.
#
# > **Predict.** Order the agents by their return in the target: pixels, entangled, disentangled (the chosen $\beta$), perceptual (the
# > same $\beta$, trained through the denoiser), DAE only.

# %%
looks_at = {
    beta: demo.code_table(group) for beta, group in encoders.items()
}
looks_at["perceptual"] = demo.code_table(perceptual)
looks_at["DAE only"] = demo.feature_table(eyes, scenes)
returns = {"pixels": on_pixels} | demo.act_on_all(looks_at, small)
ends = {
    "random": [world.random_return(domains[d]) for d in names[:2]],
    "optimal": [world.optimal_return(domains[d]) for d in names[:2]],
}
reports = {
    name: transfer_report(found.source, found.target, **ends)
    for name, found in returns.items()
}
perfect_there = all(r.source_gap < 0.01 for r in reports.values())
print("source matched, all within 0.01 of the best:", perfect_there)

# %%
kept_by = {"pixels": "pixels", "entangled": low, "disentangled": chosen}
kept_by |= {name: name for name in ("perceptual", "DAE only")}
print(f"{'':12}  source  target (95% interval)  kept")
for name, key in kept_by.items():
    report = reports[key]
    mean, low_end, high_end = report.target
    interval = f"{mean:.1f} ({low_end:.1f} to {high_end:.1f})"
    print(f"{name:12}  {report.source.mean:.2f}    {interval}", end="")
    print(f"       {report.kept.mean:.1f}")
for name, (home, away) in ends.items():
    print(f"{name:12}  {home:.2f}    {away:.2f}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six columns of five dots with a bar for each mean: target returns on pixels, on codes at three strengths of beta, on codes learnt through the denoiser, and on the denoiser's features. The columns overlap widely between about one sixth and three quarters; a dashed line at three quarters marks the best possible return."}, "figure": {"caption": "Return in the repainted room: one dot per seed (a mean of two agents), the short bar is their mean, the dashed line the best there is. In the source all are at the dashed line.", "name": "fig-darla-transfer"}}
fig, ax = plt.subplots(figsize=(4.6, 3.0))
for k, found in enumerate(returns.values()):
    colour = COLOURS["red" if k == 0 else "blue"]
    ax.plot([k] * len(found.target), found.target, "o", color=colour)
    middle = [found.target.mean()] * 2
    ax.plot([k - 0.2, k + 0.2], middle, color=colour, linestyle="-")
ax.axhline(ends["optimal"][1], color=COLOURS["ink"], linestyle="--")
labels = [n if isinstance(n, str) else f"beta {n:g}" for n in returns]
ax.set_xticks(range(len(labels)), [n.replace(" ", "\n") for n in labels])
ax.set(ylabel="target return (per episode)", ylim=(-0.05, 0.85))
ax.set_title("What survives the paint?")
plt.show()

# %%
against = {
    name: demo.difference(returns[chosen].target, returns[name].target)
    for name in ("pixels", low)
}
for name, gap in against.items():
    who = "pixels" if name == "pixels" else "entangled"
    verdict = (
        "ahead" if gap.low > 0 else "behind" if gap.high < 0 else "level"
    )
    print(f"the chosen code against {who}: {verdict}", end="")
    print(f" (95% interval {gap.low:.1f} to {gap.high:.1f})")

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# There is no order that five seeds can show. The chosen code is not ahead of pixels, nor of the entangled code of the
# same architecture. After the experiment with the true factors this is less of a surprise: even those kept no more when
# they were aligned. The perceptual code, which is the method as the paper has it, does no better: its mean is the lowest of the table, its
# interval overlaps all the others. (In this room the loss on pixels keeps the object, so there was little to win.) And the denoiser
# without a VAE does no worse than any of them.
#
# </details>
#
# And with the penalty of (3), which gave the pixel agent everything back?

# %%
chosen_sparse = demo.act(
    world, domains, looks_at[chosen], small.seeds, small, small.penalty
)
gap = demo.difference(sparse["pixels"].target, chosen_sparse.target)
ahead = "ahead of" if gap.low > 0 else "not ahead of"
print(f"penalised pixels are {ahead} the penalised code")

# %% [markdown]
# A penalty can switch off an input that holds paint and nothing else. Whether the learnt code has one can be seen in the control
# below. It is not the whole reason: the rotated factors had no such input either, and kept everything.
#
# So back to the room with the small object, where the perceptual loss has something to win. The encoders of that section
# are frozen, and agents learn on their codes. Here they need not be equal in the source; returns are shares of the best.

# %%
on_small = {
    "code, pixel loss": demo.code_table(compared["pixels"]),
    "code, features": demo.code_table(trained[0]),
    "code, untrained": demo.code_table(untrained[0]),
    "raw pixels": demo.pixel_table(room),
}
for name, code in on_small.items():
    earned = demo.act(tiny, domains, code, small.seeds, small)
    print(f"{name:16}", end="")
    both = {"source": earned.source, "target": earned.target}
    for there, one in both.items():
        share = one / tiny.optimal_return(domains[there])
        mean, sd = round(share.mean(), 1) + 0.0, share.std(ddof=1)
        print(f"  {there} {mean:.1f} ± {sd:.1f}", end="")
    print()

# %% [markdown]
# Mean and standard deviation over five seeds; *untrained* is the denoiser of one step. Agents on a code that has lost the object earn
# about half even at home, and nothing after repainting; through features they earn all at home, which is what the loss is for, though
# denoising is again not what does it. Zero-shot it wins nothing over raw pixels: after repainting, agents on such codes keep no more than those.
#
# Now without the VAE: agents on the features themselves, of the three trained denoisers and of the three of one step.

# %%
for name, steps in (("trained", long), ("untrained", 1)):
    print(f"DAE only, {name:9}", end="  target")
    for seed in range(3):
        code = demo.feature_table(denoisers[steps, seed], room)
        earned = demo.act(tiny, domains, code, small.seeds, small)
        best_there = tiny.optimal_return(domains["target"])
        print(f" {earned.target.mean() / best_there:.1f}", end="")
    print()

# %% [markdown]
# Means over five seeds. On each of the three trained denoisers agents keep more than on raw pixels, on average, and more than on the code that the VAE
# made of the first one's features. Nothing asks these features to be disentangled. So in this room the VAE seems to lose something that the
# features have; whether that is due to its 8 numbers in place of 32, to its noise, or to something else was not tried. Of the untrained denoisers one does as
# well, two do not: here the filling in may help. We had not asked this beforehand, and in the room with the large object
# (above) the intervals of *DAE only* and of pixels overlap.
#
# <a id="darla-1"></a><a id="darla-2"></a>

# %%
gap = against["pixels"]
ledger_.check("darla-1", gap.low, seeds=small.seeds, digits=1, at="demo")

# %%
gap = against[low]
ledger_.check("darla-2", gap.low, seeds=small.seeds, digits=1, at="demo")

# %% [markdown]
# Does transfer at least grow with disentanglement, from encoder to encoder? We measure the latter with the true factors:
# the mutual information gap (MIG), 1 where every factor has a latent of its own. Each of the fifteen encoders is a dot.
#
# <a id="darla-6"></a>

# %%
correlation, pairs = demo.rank_correlation(encoders, returns)
print(f"{len(pairs)} encoders; all MIG below 0.5:", pairs[:, 0].max() < 0.5)
sign = (
    "holds 0" if correlation.low < 0 < correlation.high else "is one-sided"
)
print(f"95% bootstrap interval of the rank correlation: {sign}")

# %% tags=["nbval-ignore-output"]
# not compared because trainings end elsewhere on another processor
middle, low_end, high_end = correlation
print(f"rank correlation {middle:.1f} ({low_end:.1f} to {high_end:.1f})")

# %%
ledger_.check("darla-6", correlation.low, digits=0, at="demo")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Scatter plot of target return against mutual information gap for fifteen encoders in three colours, one per beta. The dots form a cloud without a clear trend; all gaps are below one half."}, "figure": {"caption": "Target return of the agents on each encoder against how disentangled it is. Encoders of this size and training time do not disentangle well: the right half of the axis is empty.", "name": "fig-darla-scatter"}}
fig, ax = plt.subplots(figsize=(4.6, 3.0))
looks_of = zip(
    encoders, ("red", "green", "blue"), ("o", "s", "^"), strict=True
)
for beta, colour, mark in looks_of:
    migs = [e.mig for e in encoders[beta]]
    ax.plot(
        migs, returns[beta].target, mark,
        color=COLOURS[colour], label=f"beta {beta:g}",
    )  # fmt: skip
ax.set(xlabel="mutual information gap (0 to 1)", xlim=(0, 1))
ax.set(ylabel="target return (per episode)", ylim=(-0.05, 0.85))
ax.set_title("Does transfer follow disentanglement?")
ax.legend()
plt.show()

# %% [markdown]
# ## Play: paint the wall yourself
#
# A good object stands to the right, so *right* is the answer. Paint the wall: what would the agents do? They learnt with the first three hues only. Then look at the chosen code, of the encoder drawn above (bars in Jupyter; in
# the book's page choose *the two codes*, and there floor and object can be changed too). If the chosen code were disentangled, one of its numbers would move.

# %% tags=["hide-input"]
moves = ("left", "wait", "right")
seed_at = small.seeds.index(best.seed) * small.agents
act_names = {"pixels": "pixels", low: "entangled", chosen: "chosen"}


def frame(hue):
    """Picture, code and actions for one hue of the wall."""
    place = world.index(np.array([[hue, 1]]), np.array([[1, 2]]))
    said = {}
    for key, name in act_names.items():
        found = returns[key]
        best_moves = found.agents.greedy(found.table[:, place])
        said[name] = moves[int(best_moves[seed_at, 0])]
    words = ", ".join(f"{name}: {move}" for name, move in said.items())
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(4.4, 2.3), width_ratios=(1, 1.6)
    )
    tile(left, scenes.pictures[place[0]], f"wall hue {hue + 1}")
    right.bar(
        range(small.latents), best.codes[place[0]], color=COLOURS["blue"]
    )
    right.set(ylim=(-3, 3), xlabel="latent", ylabel="code")
    fig.suptitle(words, fontsize=9)
    seen = "seen with rewards" if hue < 3 else "never rewarded"
    alt = f"Room with wall hue {hue + 1}, {seen}; actions: {words}."
    return Frame(png_bytes(fig), alt)


# %% tags=["hide-input"]
hues = tuple(str(hue + 1) for hue in range(small.hues))
Control(
    "darla-wall-hue",
    [Axis("Hue of the wall", hues, start=6)],
    [partial(frame, hue) for hue in range(small.hues)],
    caption="A white object to the right; floor of hue 2. Hues 1 to 3 were in the source.",
    live="darla",
)

# %% tags=["remove-cell"]
# The book's page runs these networks in the browser. Its script is compared
# with what the kernels give:
learners = {
    "pixels": on_pixels,
    "penalised": sparse["pixels"],
    "entangled": returns[low],
    "chosen": returns[chosen],
}
if not dry_run:  # whose networks have other shapes
    twin = encoders[low][small.seeds.index(best.seed)]
    keep_weights(
        "darla",
        arrays(
            {"entangled": twin, "chosen": best},
            {name: (one, seed_at) for name, one in learners.items()},
            demo.vision_data(
                world, domains["unsupervised"], small.pictures
            ),
            scenes.pictures,
        ),
    )
    keep_cases("darla", cases())

# %% [markdown]
# ## Where it breaks
#
# **Poor vision data.** The public level that the authors made from their task has rooms of two looks, A and B, and four objects: hat and can, cake and balloon. The source has
# all four in room A and cake and balloon in room B; the target is hat and can in room B: no new look, a new pair of look and object. Suppose that the vision stage sees
# no more than the source, in 300 steps of training.
#
# > **Predict.** Pixels or codes: which agent knows what to do with a hat in room B?
#
# <a id="darla-8"></a>

# %%
rooms = demo.two_rooms(small, (low, high))
print(f"random {rooms.random[1]:.0f}, best {rooms.optimal[1]:.0f}")
results = {"pixels": rooms.pixels} | {
    f"beta {beta:g}": found for beta, found in rooms.codes.items()
}
for name, found in results.items():
    good = (found.target > 0.5).sum()
    print(f"{name}: source {found.source.mean():.0f}", end="; ")
    print(f"target above one half in {good} of {len(found.target)} seeds")
worst = min(
    demo.difference(rooms.pixels.target, found.target).low
    for found in rooms.codes.values()
)

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Pixels. The hat looks the same in both rooms and fills pixels of its own, so a rule learnt in room A carries over. The
# encoder has never seen a hat in room B. In its data room and object are not independent, and nothing holds its code in place for a
# picture unlike all of them. Do not let the vision stage be as poor as the task. (In the paper it may well have been richer.)
#
# </details>

# %%
ledger_.check("darla-8", worst, seeds=small.seeds, digits=1, at="demo")

# %% [markdown]
# **What this page does not show.** Our encoders are small and trained briefly; none disentangles well. The paper's agents
# see three-dimensional rooms, in which no pixel belongs to the wall for good. Before this version of
# the page, trial runs chose the size of the pictures and the sizes of the networks by how well encoders explained and disentangled;
# some also computed returns (12 x 12 pixels with hues to green only, and this world with shorter and longer training). In the first
# the chosen code was behind the entangled one, in the others level with it. To save time the agents of a seed were then cut from three to two. So what is said above did not hang on one choice, and it is not evidence against the paper:
# it says that a disentangled code does not do the work alone.
#
# Agents on a perceptual code had one denoiser, one layer and one $\beta$ in each of the two rooms; what else would have helped
# was not searched for.
#
# **Which layer is $J$?** Descriptions differ: the bottleneck, or the reconstruction before its non-linearity. A $\beta$ means
# nothing until it is said. Here it is the bottleneck, of 32 numbers.
#
# **Not tested:** the robot arm, fine-tuning the encoder, and the paper's numbers, whose tables were not at hand.
#
# ## At full scale
#
# The full tier makes the world sequential: 32 x 32 pixels, 20 steps, a reward only when the object is reached, and another object after
# it. Twenty encoders (four strengths of $\beta$, five seeds) see all its hues. They are fully connected, and all are trained with the
# squared error of pixels: none of them sees through a denoiser, so the loss (4) has no part in this run.
#
# DQN with double targets acts on every encoder and on pixels; A2C on pixels, the smallest $\beta$ and the chosen one. A2C is *advantage
# actor-critic*: a network gives a policy $\pi$ and a value $V$, and each move costs
#
# $$
# \begin{aligned}
# &-(R - V(s)) \log \pi(a \mid s) \cr
# &+ \tfrac12 (R - V(s))^2 - 0.01\, H(\pi(\cdot \mid s)),
# \end{aligned} \tag{6}
# $$
#
# with $R$ the discounted rewards of up to five moves and the value of the state after them, $H$ the entropy, and no gradient through the first
# bracket. It stands in for the paper's A3C, which does the same in asynchronous threads.
#
# <a id="darla-10"></a>
#
# Both algorithms also have a control that needs no encoder: the true factors, aligned and rotated. Does it matter in a world of many steps
# which of the two an agent gets? (That is darla-10 of the ledger.)
#
# Returns are exact, by backward induction over all scenes. The run needs no GPU. Start it with
#
# ```
# workings run darla --tier full
# ```
#
# The paper's third algorithm, episodic control, is in the library (`EpisodicControl`) and not in this run.
#
# The paper's second world, an arm that reaches for an object, is an optional extra (`pip install dm_control gymnasium "mujoco<4"`): six factors of look, of which the target
# shows conjunctions that the source never does. A dry run goes through it where these packages are; with `full_tier.run(settings, arm=True)` the cell below
# would run it at full size. Nobody has: we know that it renders, learns a few steps and gives returns, and nothing else.

# %%
if tier == "full":
    tables = full_tier.run(settings)
    for name, rows in tables.items():
        ledger_.attach(name, rows)
else:
    tables = {
        name: ledger.attachment("darla", "full", name) or []
        for name in ("encoders", "returns")
    }
encoders, acted = tables["encoders"], tables["returns"]
print(f"recorded: {len(encoders)} encoders, {len(acted)} agents")

# %%
if tier == "full":
    for claim, value in full_tier.claim_values(tables).items():
        ledger_.check(claim, value, seeds=settings.seeds)

# %% tags=["hide-input"] mystnb={"code_prompt_show": "Show how the recorded runs are averaged", "code_prompt_hide": "Hide how the recorded runs are averaged"}
for beta in dict.fromkeys(row["beta"] for row in encoders):
    rows = [row for row in encoders if row["beta"] == beta]
    nats, gap = (np.mean([r[key] for r in rows]) for key in ("nats", "mig"))
    word = ", chosen" if rows[0]["chosen"] else ""
    print(f"beta {beta:<4g} {nats:4.1f} nats, MIG {gap:.2f}{word}")
for kind in dict.fromkeys((r["algorithm"], r["code"]) for r in acted):
    rows = [r for r in acted if (r["algorithm"], r["code"]) == kind]
    earned = np.array([(row["source"], row["target"]) for row in rows])
    mean, sd = earned.mean(axis=0), earned.std(axis=0, ddof=1)
    print(
        f"{kind[0]} on {kind[1]:8s} source {mean[0]:.2f} ± {sd[0]:.2f}",
        end="",
    )
    print(f", target {mean[1]:.2f} ± {sd[1]:.2f}")

# %% [markdown]
# Mean and standard deviation over five seeds; the best policy earns 2.86 in either domain, a random one 0.19. **The first two claims are not
# met**, with either algorithm, and the ledger still calls them undecided. No strength of $\beta$ untangled these pictures (a MIG of 1 would be perfect), and agents on the strength that the
# unsupervised criteria chose earn little even in the source. (With DQN it is less than on $\beta = 36$, which keeps fewer nats; A2C was not run
# there.) They are no test of what untangled codes do; we have not searched for a world in which they are. (One of the five DQN agents on pixels learnt nothing in the source.)
#
# We had not asked what the line *a2c on beta 0.3* shows: the *entangled* code carries nearly all of the return into the repainted room, in
# each of five seeds more than the pixels do. Its encoder had seen all pairs of colours before the agent began. So seeing first may be
# enough, without untangling; an encoder that had not seen them was not tried. With DQN little transfers, on any learnt code or on pixels: their means in the target are 0.40 to 0.61. That is no comparison of the two
# algorithms: an agent of DQN made 48,000 moves at a learning rate of 0.001, one of A2C 480,000 at 0.002, and neither was varied. So the
# difference may be due to ten times the moves as well.
#
# The control says what DQN can do. On the true factors it keeps about half of its gain over the random policy, aligned or rotated, as a mean; single
# agents keep from a quarter of their return to nearly all. On learnt codes its means are 0.40 to 0.61. So DQN as it was run here can carry more
# than it carries on these codes. That these codes cannot carry does not follow: on one of them, $\beta = 0.3$, A2C carries nearly all. And in
# neither algorithm is *aligned* told from *rotated* (darla-10 does not hold): the seeds spread so widely that five of them would miss all but a
# large difference. Even the true factors carry only a part, on average.

# %% [markdown]
# ## The ledger
#
# What the paper claims and what this notebook found a moment ago. Criteria were written before the experiments of this page, some with a pilot's outcome known;
# the verdicts are computed. The last three claims are our own.

# %%
ledger_.table()

# %% [markdown]
# ## Take it home
#
# You have returns of an agent, in the domain it learnt in and in another one, one pair per seed. These lines run by themselves; put
# yours in.

# %%
# pip install torch "git+https://github.com/workings-book/workings@main"
from workings.disentangling.transfer import transfer_report

source = [0.74, 0.75, 0.73, 0.75]  # your returns, one per seed
target = [0.52, 0.61, 0.35, 0.58]
report = transfer_report(
    source, target, random=(0.0, 0.0), optimal=(0.75, 0.75)
)
mean, low_end, high_end = report.kept
print(f"kept: {mean:.0%} of the gain over random", end=", ")
print(f"95% interval {low_end:.0%} to {high_end:.0%}")
print(f"short of the optimum in the target: {report.target_gap:.2f}")

# %% [markdown]
# Before you believe the number: is no conjunction of the target in the source (`assert_conjunction_heldout`)? Are agents that
# you compare equally good in the source? Was nothing, not even $\beta$, chosen by the target's return? And is the interval over
# seeds of the *whole* pipeline, encoder included?
#
# ## Exercises
#
# **1.** The agent never needs the hue. Set the first-layer weights on wall and floor of the aligned agents to zero after training.
# What do they earn in the target?
#
# <details>
# <summary>Show the solution</summary>
#
# Everything (next cell). The hue entered only through leftovers of the random start, so removing them costs nothing in
# the source and gives back the target.
#
# </details>

# %% tags=["hide-input"]
found = perfect["aligned"]
with torch.no_grad():
    found.agents.layers.weights[0][:, :2] = 0.0  # wall and floor come first
again = demo.returns_of(
    world, domains, found.agents, found.table, len(small.seeds)
)
print(f"source {again.source.mean():.2f}, target {again.target.mean():.2f}")

# %% [markdown]
# **2.** Does more experience in the source help the agent on pixels? Try ten times as many moves.
#
# <details>
# <summary>Show the solution</summary>
#
# Not enough (next cell): more of the same rooms says nothing about others. The seeds still lose.
#
# </details>

# %% tags=["hide-input"]
more = replace(small, experience=10 * small.experience)
longer = demo.act(world, domains, pixels, small.seeds, more)
lost = (longer.target < longer.source - 0.03).sum()
print(f"seeds that lose: {lost} of {len(small.seeds)}")

# %% [markdown]
# **3.** A mask has height and width uniform on 1 to 8. Which share of a picture does it hide on average?
#
# <details>
# <summary>Show the solution</summary>
#
# The mean side is $(8 + 1)/2$, and height and width are independent, so the share is $(9/2)^2/64$, a little under a third (next
# cell).
#
# </details>

# %% tags=["hide-input"]
ones = torch.ones(20_000, 1, 8, 8)
_, where = mask_rectangles(ones, torch_generator(0, "exercise"))
print(f"by counting {where.float().mean():.2f}, exactly {4.5**2 / 64:.2f}")

# %% [markdown]
# ## References
#
# - Higgins, Pal, Rusu, Matthey, Burgess, Pritzel, Botvinick, Blundell, Lerchner. *DARLA: Improving Zero-Shot Transfer in Reinforcement Learning.* ICML 2017, PMLR 70:1480-1490. [arXiv 1707.08475](https://arxiv.org/abs/1707.08475)
# - Duan, Matthey, Saraiva, Watters, Burgess, Lerchner, Higgins. *Unsupervised Model Selection for Variational Disentangled Representation Learning.* ICLR 2020. [arXiv 1905.12614](https://arxiv.org/abs/1905.12614)
# - van Hasselt, Guez, Silver. *Deep Reinforcement Learning with Double Q-learning.* AAAI 2016. [arXiv 1509.06461](https://arxiv.org/abs/1509.06461)
# - Mnih et al. *Asynchronous Methods for Deep Reinforcement Learning.* ICML 2016. [arXiv 1602.01783](https://arxiv.org/abs/1602.01783)
# - Blundell et al. *Model-Free Episodic Control.* 2016. [arXiv 1606.04460](https://arxiv.org/abs/1606.04460)
# - Chen, Li, Grosse, Duvenaud. *Isolating Sources of Disentanglement in Variational Autoencoders.* NeurIPS 2018. [arXiv 1802.04942](https://arxiv.org/abs/1802.04942)
