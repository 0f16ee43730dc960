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
# # The attack that broke something else
#
# <p class="wk-run"><a href="https://colab.research.google.com/github/workings-book/workings/blob/v0.1.0/notebooks/robustness/sap_erratum.ipynb">Run this chapter on Colab</a></p>
#
# In 2018 a defence called Stochastic Activation Pruning (SAP) was reported broken: 0% accuracy under attack. Two years
# later one author of the defence and one of the attack wrote an erratum together: **the program that had been attacked was
# not SAP**. With SAP as published, that attack is not effective. And yet SAP falls, to another attack. This chapter rebuilds
# both programs, measures all of it again on a small network, and says which parts we could not reproduce. The paper is
# [Dhillon and Carlini (2020)](https://arxiv.org/abs/2010.00071).
#
# - **You need** the chapter on {doc}`SAP itself <sap>`, gradients, and a rough idea of an adversarial example.
# - **It takes** 40 minutes to read and one to two minutes to run.
# - **Afterwards you can** tell a robust random network from one whose gradient is wrong.
#
# The body of the erratum was not at hand, only its abstract. What differed between the two programs we read in their public
# code. From the attack paper and the erratum we quote two numbers, 0% and 0.1%; numbers of the SAP paper are marked as such, and all others on
# this page are ours.

# %% tags=["hide-input"]
# Set-up: installs the package where it is missing (as on Colab); elsewhere it only reports.
import importlib.util
import os
import subprocess
import sys

source = os.environ.get(
    "WORKINGS_SOURCE",
    "git+https://github.com/workings-book/workings@v0.1.0",
)
if importlib.util.find_spec("workings") is None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            source,
            "torch",
            "torchvision",
        ],
        check=True,
    )

from workings.runs.provenance import environment_line

print(environment_line())

# %% tags=["parameters"]
tier = "demo"  # "full" attacks a ResNet-20 on CIFAR-10: see "At full scale"
dry_run = False  # with "full": a few steps on generated data, to see that it works
data_root = None  # folder with CIFAR-10, if you have it already

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import torch
from workings.robustness.flawed import (
    poisson_activation_pruning,
    poisson_survival,
)

from workings import ledger
from workings.chapters.sap_erratum.demo import (
    FLAWED,
    Defence,
    alignment_curves,
    backward_rules,
    budget_grid,
    checklist,
    five_differences,
    one_neuron,
    over_seeds,
    radius_sweep,
    train_networks,
)
from workings.chapters.sap_erratum.full import (
    FullSettings,
    cifar_table,
    find,
)
from workings.chapters.sap_erratum.settings import ATTACKS, RULES, Settings
from workings.robustness.attacks import (
    attack_gradient,
    margin_loss,
    pgd_linf,
)
from workings.robustness.bpda import wrap_bpda
from workings.robustness.closed_forms import (
    pathwise_jacobian,
    single_draw_share,
)
from workings.robustness.evaluation import robust_accuracies
from workings.robustness.layers import MatchedDropout, insert_dropout
from workings.robustness.sap import (
    kept_share,
    stochastic_activation_pruning,
)
from workings.runs.progress import progress
from workings.seeding import generator
from workings.show.controls import Axis, Control, Frame
from workings.show.figures import COLOURS, png_bytes, use_style

use_style()
torch.set_num_threads(
    1
)  # sums are added in the same order whatever the machine
settings = Settings.for_tier(tier, dry_run=dry_run)
book = ledger.open("sap_erratum", tier=tier)
looks = {
    "2018": dict(color=COLOURS["grey"], linestyle="-.", marker="D"),
    "pathwise": dict(color=COLOURS["red"], linestyle=":", marker="s"),
    "mask": dict(color=COLOURS["green"], linestyle="--", marker="^"),
    "identity": dict(color=COLOURS["blue"], linestyle="-", marker="o"),
    "transfer": dict(color=COLOURS["purple"], linestyle="-", marker="v"),
}

# %% [markdown]
# ## A result, and a quiet question
#
# | year | who | what was reported for SAP |
# |---|---|---|
# | 2018 | [Dhillon et al.](https://arxiv.org/abs/1803.01442) | a defence: draw neurons at random, keep the drawn ones |
# | 2018 | [Athalye, Carlini and Wagner](https://arxiv.org/abs/1802.00420), Table 1 | 0% accuracy under attack (CIFAR-10, radius 0.031) |
# | 2020 | [Dhillon and Carlini](https://arxiv.org/abs/2010.00071), the erratum | that attack is not effective on SAP as published; another one leaves 0.1% |
#
# The middle row stood for two years. It rests on a quiet question that every such result must answer first: *was it SAP?*
#
# A reminder of the defence. One example's activation map $h$ has $a$ entries. Give entry $j$ the probability
# $p_j = |h_j| / \sum_k |h_k|$, draw $r = \lfloor f a \rfloor$ entries with replacement, and keep those that were drawn, divided by
# their chance of being drawn:
#
# $$
# M(h)_j = \frac{h_j}{q_j}\,\mathbb 1[N_j \ge 1], \qquad q_j = 1-(1-p_j)^r, \qquad N \sim \mathrm{Multinomial}(r, p). \tag{1}
# $$
#
# The output is unbiased, $\mathbb E[M(h)] = h$. The paper's own setting is $f = 1$: as many draws as entries.
#
# ## Two programs
#
# That the two differ we read in their public code. We rebuilt both layers from it, and each row below checks that the two rebuilds really differ in that respect.

# %%
differences = five_differences(settings.draws)
ledger.Grid(
    "SAP and the program attacked in 2018",
    ["what", "SAP", "2018 program", "our rebuilds differ"],
    [
        [
            row["what"],
            row["faithful"],
            row["flawed"],
            "yes" if row["differ"] else "no",
        ]
        for row in differences
    ],
)

# %% [markdown]
# <a id="err-1"></a>

# %%
differ = all(row["differ"] for row in differences)
book.check("err-1", differ, at="demo")

# %% [markdown]
# The fourth row is the one that matters most later. The 2018 program draws with **twice the budget**, $2a$ in place of $a$, so it
# keeps more and adds less noise. (It also pruned before batch-normalisation, and its own evaluation took one pass of a random network
# for the whole truth.) See it on the first layer of a small network that reads real 8x8 digits; we train three, from three seeds.

# %%
nets = train_networks(settings)
test = nets[0].test
for trained in nets:
    clean = robust_accuracies(trained.net, *test, samples=1)["single"].value
    print(
        f"seed {trained.seed}: more than nine in ten right: {clean > 0.9 or dry_run}"
    )

# %%
before = nets[0].net[0](test.images[:1]).detach()
after = before.relu()
draw = generator(settings.seed, "erratum", "masks")
pruned = {
    "SAP (after the ReLU)": (
        after,
        stochastic_activation_pruning(after, 1.0, generator=draw),
    ),
    "2018 program (before the ReLU)": (
        before,
        poisson_activation_pruning(before, 2.0 * before[0].numel(), draw),
    ),
}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two grids of small squares for the sixteen channels of one layer. In the left grid, SAP, kept and dropped squares lie between pale regions where the activation was zero. In the right grid, the 2018 program, no square is pale: about two in three are kept, and the dropped ones are scattered."}, "figure": {"caption": "One draw of each program on the same digit and the same layer (16 channels of 8x8). SAP prunes what comes out of the ReLU, so zeros stay zero; the 2018 program prunes what goes in.", "name": "fig-err-masks"}}
colours = ("pale", "orange", "blue")  # zero before, dropped, kept
fig, axes = plt.subplots(1, 2, figsize=(5.8, 3.9))
for ax, (title, (h, out)) in zip(axes, pruned.items(), strict=True):
    state = (h != 0).int() + (out != 0).int()
    tiles = state.reshape(4, 4, 8, 8).permute(0, 2, 1, 3).reshape(32, 32)
    ax.imshow(
        tiles,
        cmap=plt.matplotlib.colors.ListedColormap(
            [COLOURS[c] for c in colours]
        ),
        vmin=0,
        vmax=2,
    )
    ax.set_title(title, fontsize=9.5)
    ax.set(xticks=[], yticks=[], xlabel="4 x 4 channels, 8 x 8 pixels each")
    ax.grid(False)
words = dict(zip(("was zero", "dropped", "kept"), colours, strict=True))
marks = [
    plt.Rectangle((0, 0), 1, 1, color=COLOURS[c]) for c in words.values()
]
fig.legend(marks, words, loc="outside lower center", ncols=3)
plt.show()

# %%
h = nets[0].net[0](test.images[:100]).detach()
weights = h.flatten(1).abs() / h.flatten(1).abs().sum(1, keepdim=True)
flat = torch.ones(1, 4096, dtype=torch.float64)
shares = {
    "SAP": (float(kept_share(flat)), float(kept_share(h.relu()).mean())),
    "2018 program": (
        float(poisson_survival(flat / 4096, 8192).mean()),
        float(poisson_survival(weights, 2 * weights.shape[1]).mean()),
    ),
}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Pairs of bars of the share of non-zero activations kept. On a flat layer SAP keeps 0.632 and the 2018 program 0.865. On the first layer for a real digit both keep less, and the 2018 program still keeps more than SAP."}, "figure": {"caption": "Share of non-zero activations that survive. Flat layer: all activations equal, the shares are 1 - exp(-1) and 1 - exp(-2). Right: mean over 100 test digits, first layer.", "name": "fig-err-kept"}}
fig, ax = plt.subplots(figsize=(5.8, 3.0))
for i, (name, colour, hatch) in enumerate(
    (("SAP", "blue", ""), ("2018 program", "orange", "//"))
):
    bars = ax.bar(
        np.arange(2) + 0.36 * i - 0.18,
        shares[name],
        0.34,
        label=name,
        color=COLOURS[colour],
        hatch=hatch,
        edgecolor="white",
    )
    ax.bar_label(bars, fmt="%.3f")
ax.set(
    xticks=range(2),
    xticklabels=["flat layer", "first layer, real digits"],
    ylim=(0, 1.15),
)
ax.set(ylabel="share kept", title="The attacked program kept more")
ax.legend(loc="upper right", ncols=2)
plt.show()

# %% [markdown]
# ## One neuron, three gradients
#
# An attack needs the derivative of the loss through this random layer. There are three ways to take it, and the choice decides the whole story:
#
# - **mask**: treat the drawn mask and its scale as constants. Right on average, noisy.
# - **identity**: pretend the layer did nothing. This is one choice of *backward pass differentiable approximation* (BPDA): run the real layer
#   forward, another function backward. No noise.
# - **pathwise**: let automatic differentiation run through everything it sees. It sees $1/q_j$, which depends on $h_j$. It does not see that
#   *which* neurons are drawn depends on $h$ too.
#
# **By hand.** Two neurons, $h = (1, 1)$, two draws. Neuron 1 is missed with probability $\frac14$, so $q_1 = \frac34$ and the output is $\frac43$ three times
# in four: mean 1. Of the kept cases, a share $w_1 = P(N_1 = 1 \mid N_1 \ge 1) = \frac12 / \frac34 = \frac23$ had one draw only. Differentiating $h_1/q_1(p(h))$ gives on average
#
# $$
# J = \begin{pmatrix} \frac13+\frac13 & \frac13 \cr \frac13 & \frac13+\frac13 \end{pmatrix}, \qquad
# J_{kj} = \mathbb 1[k=j](1-w_k) + s_k s_j\, p_k w_k, \quad s = \mathrm{sign}\,h. \tag{2}
# $$
#
# But the mean output is $h$ itself, whose derivative is the identity matrix. Pathwise differentiation is **biased**.

# %%
print(
    pathwise_jacobian(torch.tensor([[1.0, 1.0]], dtype=torch.float64), 2)[0]
    .numpy()
    .round(6)
)

# %% [markdown]
# In a layer of many neurons the second term of (2) is spread thin, and a neuron keeps only the share
# $1-w = P(N\ge2 \mid N\ge1)$ of its own gradient. It depends on $rp$, the mean number of times the neuron is drawn.
#
# > **Predict.** A neuron that is drawn once on average, $rp = 1$: which part of its own gradient does automatic differentiation see?
#
# <details>
# <summary>Show the answer</summary>
#
# About two fifths. At $rp = 0.1$ one part in twenty. To automatic differentiation a small activation looks as if it had almost no influence on its own output.
#
# </details>

# %%
for mean_draws in (0.1, 1.0, 2.0, 5.0):
    p = torch.tensor([mean_draws / 1e6], dtype=torch.float64)
    left = 1 - single_draw_share(p, 1_000_000).item()
    print(
        f"rp = {mean_draws:3.1f}: share of its own gradient left {left:.3f}"
    )

# %%
h = torch.linspace(0.1, 4.0, 14, dtype=torch.float64)
neuron = one_neuron(
    h, 64, settings.draws, generator(settings.seed, "erratum", "neuron")
)
p = h / (h + 63)
w = single_draw_share(p, 64)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels. Left: the mean output of one neuron lies on the diagonal, equal to its input. Right: slopes against the input. The mask slope scatters around one with wide error bars for small inputs; the pathwise slope starts near zero, rises past 0.4 at an input of one and approaches one only for large inputs, following the curve P(N at least 2 given N at least 1)."}, "figure": {"caption": "One neuron among 64, the others held at 1, f = 1. Left: the mean output has slope 1. Right: what two of the rules believe the slope to be (the identity rule says 1 by definition). The neuron is drawn rp times on average. Bars are two standard errors; the dotted curve is P(N at least 2 given N at least 1) plus the small second term of (2).", "name": "fig-err-neuron"}}
fig, (left, right) = plt.subplots(1, 2, figsize=(5.8, 3.3))
bars = dict(fmt="o", color=COLOURS["ink"], label="mean output")
left.errorbar(h, neuron.output, 2 * neuron.output_error, **bars)
left.plot(h, h, color=COLOURS["blue"], label="slope 1")
left.set(
    xlabel="activation h", ylabel="mean output", title="What the layer does"
)
right.axhline(1, color=COLOURS["blue"], label="identity, truth")
for rule in ("mask", "pathwise"):
    look = {**looks[rule], "linestyle": "none"}
    slope, error = getattr(neuron, rule), getattr(neuron, f"{rule}_error")
    right.errorbar(h, slope, 2 * error, label=rule, **look)
right.plot(h, 1 - w + p * w, ":", color=COLOURS["red"])
right.set(xlabel="activation h (≈ rp)", ylabel="mean slope", ylim=(0, 1.6))
right.set_title("What a gradient sees")
left.legend()
right.legend(loc="upper right", fontsize=9)
plt.show()

# %% [markdown]
# ## More masks do not help
#
# The usual cure for a random network is *expectation over transformation*: average the gradient over many masks. Averaging removes noise. It cannot
# remove a bias. To see which is which we need the true gradient of the mean loss, and we must not get it from any of the three rules. So we take it from
# forward passes alone: nudge all 64 pixels at random, see whether the loss goes up, repeat thousands of times.
#
# > **Predict.** Average each rule over 1, 2, ... 64 masks and compare with the true direction (cosine: 1 is perfect, 0 is unrelated). Which curves rise, and
# > which stays?

# %%
probe = alignment_curves(
    nets[0], Defence(budget=settings.fraction), settings
)
first, last = (
    probe.cosine["identity"][0].mean(),
    probe.cosine["pathwise"][-1].mean(),
)
print(
    f"identity with 1 mask beats pathwise with {settings.samples[-1]}: {bool(first > last) or dry_run}"
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Cosine with the true gradient against the number of masks averaged, from 1 to 64 on a logarithmic axis. The identity curve starts near 0.6 and rises above 0.8, the mask curve starts lower and rises to nearly the same height, the pathwise curve stays around 0.3. A thin line between 0.8 and 0.9 marks the best that this reference can show."}, "figure": {"caption": "Cosine between each rule's averaged gradient and a gradient from forward passes only, SAP at f = 0.5. Mean and standard error over test images. The thin line is the cosine that the reference would reach with the truth, estimated from its two halves.", "name": "fig-err-cosine"}}
fig, ax = plt.subplots()
for rule in RULES:
    cosine = probe.cosine[rule]
    error = cosine.std(1) / cosine.shape[1] ** 0.5
    ax.errorbar(
        settings.samples, cosine.mean(1), error, label=rule, **looks[rule]
    )
ax.axhline(
    probe.ceiling.mean(),
    color=COLOURS["ink"],
    linewidth=1,
    label="best visible",
)
ax.set(
    xscale="log",
    xlabel="masks averaged (log scale)",
    ylabel="cosine with the true gradient",
)
ax.set_xticks(
    settings.samples, [str(k) for k in settings.samples], minor=False
)
ax.set(ylim=(0, 1.15), title="Averaging converges, to the wrong vector")
ax.legend(loc="upper center", ncols=4, fontsize=9)
plt.show()

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Mask and identity rise to the same height, which is as high as our reference can show. Pathwise levels off early: sixty-four masks are no better than
# eight. "We used more samples" is no answer to a biased gradient.
#
# </details>
#
# <a id="err-5"></a>

# %%
gap = float(first - last)
book.check("err-5", gap, seeds=[settings.seed], at="demo", digits=0)

# %% [markdown]
# ## Same defence, other gradient
#
# Now attack. Projected gradient descent on the margin $\max_{k\ne y} z_k - z_y$ of the logits $z$, inside a box of radius $\epsilon = 0.25$ around each image (pixels run from 0 to 1).
# Five attacks, same radius, and about the same number of gradients:
#
# - *2018*: autodiff, one mask a step, the sign of the gradient fed into Adam, as in the public attack code;
# - *pathwise*, *mask*, *identity*: sign steps, five masks a step, the three backward rules;
# - *transfer*: attack the dense network, which has no randomness, and carry the image over (fewer gradients: one a step is enough).
#
# Accuracy of a random network needs a rule of its own. **Single pass**: the chance that one run is right. **Mean of passes**: whether the averaged
# softmax is right. They can differ by a lot, and papers often report one of them. We show both, with fresh masks that the attack never saw.
#
# First a choice we owe you. The paper's setting is $f = 1$. **We picked $f = 0.5$ for this demo after seeing numbers**, because at $f = 1$ this small
# network falls to the 2018 attack as well (you will see). So read the next figure for one thing only: on *one and the same* defence, what changes
# when only the backward rule changes?

# %%
faithful = Defence(budget=settings.fraction)
attacked = backward_rules(nets, faithful, ATTACKS, settings)
flawed = backward_rules(nets, FLAWED, ATTACKS, settings)
published = backward_rules(nets, Defence(), ("2018", "pathwise"), settings)
dense = backward_rules(nets, None, ("identity",), settings)
groups = (attacked, flawed, published, dense)
nans = sum(
    row["nans"]
    for group in groups
    for rows in group.values()
    for row in rows
)
print(f"NaN gradient entries replaced by 0: {nans}")
print(
    f"dense network under attack, less than one in ten right: {over_seeds(dense['identity'])[0] < 0.1}"
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels of bars, single pass and mean of passes. For SAP at f = 0.5 the bars of the 2018 and pathwise attacks are tall, above 0.5, and those of the mask, identity and transfer attacks are below 0.1. For SAP at f = 1, where only the 2018 and pathwise attacks were run, both bars are below 0.1. For the 2018 program with its double budget every bar is zero."}, "figure": {"caption": "Accuracy left by five attacks at radius 0.25; mean and standard deviation over three networks. Within a group the defence is the same; among pathwise, mask and identity only the backward rule changes. At f = 1 two attacks were run.", "name": "fig-err-rules"}}
fig, axes = plt.subplots(2, 1, figsize=(5.8, 5.2), sharex=True)
titles = {"single": "Single pass", "mean": "Mean of passes"}
for ax, (rule, title) in zip(axes, titles.items(), strict=True):
    for i, kind in enumerate(ATTACKS):
        shown = [
            group
            for group in (attacked, published, flawed)
            if kind in group
        ]
        stats = [over_seeds(group[kind], rule) for group in shown]
        value, spread = zip(*stats, strict=True)
        place = np.linspace(0, 2, len(shown)) + (i - 2) * 0.17
        fill = ("//", "..", "\\\\", "", "xx")[i]
        bars = ax.bar(
            place,
            value,
            0.16,
            yerr=spread,
            label=kind,
            color=looks[kind]["color"],
            hatch=fill,
            edgecolor="white",
        )
        ax.bar_label(bars, fmt="%.2f", fontsize=8)
    ax.set(ylabel="accuracy under attack", ylim=(0, 1.05), title=title)
names = (f"SAP, f = {settings.fraction}", "SAP, f = 1", "2018 program, 2a")
ax.set_xticks(range(3), names)
axes[0].legend(ncols=3, fontsize=9)
plt.show()

# %% [markdown]
# In the left group, between *pathwise*, *mask* and *identity* nothing changes but the backward rule, and nearly all of the accuracy that pathwise left turns out never to have been there. (The 2018 attack has another optimiser as well, and one mask a step.) The
# *transfer* bar deserves a second look: an attacker who knows nothing of the randomness beats one who differentiates through it. That is the
# textbook sign of a masked gradient, and it was in the SAP paper already: in its Section 4.5, images made on the dense network hurt more than those made on
# SAP itself (75.2, 67.0, 50.8% against 82.0, 80.2, 76.7% accuracy at $\lambda = 1, 2, 4$ of 255).
#
# Now the claims. For each we take the less favourable of the two accuracy rules.
#
# <a id="err-2"></a><a id="err-4"></a>

# %%
seeds = list(settings.seeds)


def worse(rows, pick):
    """Mean and spread over seeds under the rule that ``pick`` (max or min) selects."""
    return pick(over_seeds(rows, rule) for rule in ("single", "mean"))


value, spread = worse(flawed["2018"], max)
book.check("err-2", value, spread=spread, seeds=seeds, at="demo", digits=0)

# %%
value, spread = worse(attacked["identity"], max)
book.check("err-4", value, spread=spread, seeds=seeds, at="demo", digits=0)

# %% [markdown]
# And the erratum's statement that the 2018 attack is not effective on SAP *as published*, $f = 1$?
#
# <a id="err-3"></a>

# %%
value, spread = worse(published["2018"], min)
base, _ = worse(flawed["2018"], max)
book.check(
    "err-3", value - base, spread=spread, seeds=seeds, at="demo", digits=0
)

# %% [markdown]
# **Not reproduced here.** On this network SAP at $f = 1$ falls to the old attack as the 2018 program does. That does not say the erratum is wrong: it
# attacked a wide residual network with many more pruned layers, and the loss of gradient may multiply from layer to layer. That is a guess, and the full tier is there to test it.
#
# ## How much of it is the budget?
#
# We just compared a program with budget $2a$ with SAP at $0.5a$. Between them *four* things changed: the law of the draw, its place, its budget, and one more pruned layer (the second row of the first table). Here we leave that layer, the one behind the linear layer, out everywhere, and change
# the other three one at a time. Twelve cells, pathwise attack in all:
#
# > **Predict.** Which change matters most: independent draws instead of competing ones, before instead of after the activation, or the budget?

# %%
grid = budget_grid(nets, settings)
half = over_seeds(grid["independent", "convolutions", 0.5])[0]
double = over_seeds(grid["independent", "convolutions", 2.0])[0]
target = over_seeds(grid["multinomial", "activations", 0.5])[0]
print(
    f"2018 program with budget 0.5a instead of 2a resists too: {half > 0.2 or dry_run}"
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two heat maps with numbers, single pass and mean of passes: four rows for the combinations of law and place, three columns for the budgets 0.5, 1 and 2. In every row the first column is between about 0.3 and 0.45 and the other two are near zero. The rows look alike for the single pass; for the mean of passes they differ by up to 0.1, with spreads as large."}, "figure": {"caption": "Accuracy under pathwise PGD at radius 0.25, mean and standard deviation over three networks (single pass and mean of passes). Columns: budget. Rows: law of the draw and place of the layer.", "name": "fig-err-grid"}}
columns, rows = (
    (0.5, 1.0, 2.0),
    list(dict.fromkeys(cell[:2] for cell in grid)),
)
fig, axes = plt.subplots(1, 2, figsize=(5.8, 3.4), sharey=True)
for ax, (rule, title) in zip(axes, titles.items(), strict=True):
    cells = [
        [over_seeds(grid[*row, b], rule) for b in columns] for row in rows
    ]
    shade = np.array(cells)[:, :, 0]
    ax.imshow(shade, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(shade):
        words = f"{value:.2f}\n±{cells[i][j][1]:.2f}"
        ax.text(j, i, words, ha="center", va="center", fontsize=8)
    ax.set_xticks(range(3), [f"{b:g}a" for b in columns])
    ax.set(xlabel="budget (draws)", title=title)
    ax.grid(False)
axes[0].set_yticks(range(4), [",\n".join(row) for row in rows], fontsize=9)
plt.show()

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Of these three the budget, by far. At $0.5a$ all four programs resist, at $a$ and $2a$ none does; within a column the rows differ by no more than the networks do. So the figure before this one must *not* be read as "the
# wrong program was weak and the right one is strong". At $0.5a$ the 2018 program hides its gradient as well as SAP on the same three layers. The fourth layer counts too: with it SAP at $0.5a$ kept clearly more in {numref}`fig-err-rules` (there with other numbers of images and masks, so do not read the difference to the digit).
#
# </details>
#
# <a id="err-7"></a>

# %%
share = (half - double) / (target - double) if target > double else 0.0
book.check("err-7", share, seeds=seeds, at="demo", digits=0)

# %% [markdown]
# ## Play: turn up the radius
#
# A sound attack must win in the end. At radius 0.5 every image can be turned into the same grey one, all pixels at 0.5, and on that no network does better than guess: one in ten. An attack that
# leaves clearly more is failing for its own reasons, and its failure says nothing about the defence. (Passing the test is necessary, not sufficient.) Move the rule, then the fraction, and watch
# the right end of the curve.

# %%
plans = [(rule, f) for f in settings.fractions for rule in RULES]
sweep = {
    (rule, f): radius_sweep(
        nets if f == settings.fraction else nets[:1], settings, f, rule
    )
    for rule, f in progress(plans, "rules and fractions")
}
far = settings.radii[-1]
ends = {
    rule: over_seeds(sweep[rule, settings.fraction][far]) for rule in RULES
}
for rule in RULES:
    print(
        f"{rule:9s} leaves accuracy at radius {far}: {'yes' if ends[rule][0] > 0.1 else 'no'}"
    )


# %% tags=["hide-input"]
def curve(ax, rule, f, accuracy, **look):
    """Accuracy against radius with error bars over networks."""
    stats = [over_seeds(rows, accuracy) for rows in sweep[rule, f].values()]
    value, spread = zip(*stats, strict=True)
    ax.errorbar(list(sweep[rule, f]), value, spread, **look)


def frame(rule, f):
    """One picture of the control: both accuracy rules for one backward rule and fraction."""
    fig, ax = plt.subplots(figsize=(5.8, 3.2))
    one = dict(color=COLOURS["blue"], linestyle="-", marker="o")
    many = dict(color=COLOURS["orange"], linestyle="--", marker="s")
    curve(ax, rule, f, "single", label="single pass", **one)
    curve(ax, rule, f, "mean", label="mean of passes", **many)
    ax.set(
        ylim=(-0.02, 1.05),
        xlabel="radius ε (pixels in 0..1)",
        ylabel="accuracy",
    )
    ax.set_title(f"{rule} gradient, f = {f:g}")
    ax.legend(loc="upper right")
    low = over_seeds(sweep[rule, f][far])[0] < 0.1
    end = "falls to nearly zero" if low else "stays well above zero"
    alt = f"{rule} gradient, f = {f:g}: with growing radius accuracy {end} at {far}."
    return Frame(png_bytes(fig), alt)


# %% tags=["hide-input"]
Control(
    "err-rule-fraction",
    [
        Axis("Backward rule", RULES),
        Axis(
            "Fraction f",
            tuple(f"{f:g}" for f in settings.fractions),
            start=1,
        ),
    ],
    [frame(rule, f) for rule in RULES for f in settings.fractions],
    caption="Accuracy of faithful SAP against the attack's radius, two masks a step. "
    "Error bars at f = 0.5: standard deviation over three networks; one network elsewhere.",
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Accuracy against radius from 0 to 0.5 for three gradients at f = 0.5. All start near 0.8. The mask and identity curves fall together and reach zero by radius 0.3 to 0.5; the pathwise curve falls slowly and is still about 0.3 at radius 0.5."}, "figure": {"caption": "SAP at f = 0.5, single-pass accuracy, three networks. Only two of these attacks pass the test.", "name": "fig-err-radius"}}
fig, ax = plt.subplots()
for rule in RULES:
    curve(ax, rule, settings.fraction, "single", label=rule, **looks[rule])
ax.set(
    xlabel="radius ε (pixels in 0..1)",
    ylabel="single-pass accuracy",
    ylim=(-0.02, 1.0),
)
ax.set_title("A sound attack reaches zero")
ax.legend()
plt.show()

# %% [markdown]
# <a id="err-6"></a>

# %%
left_over = ends["pathwise"][0] - ends["identity"][0]
book.check(
    "err-6",
    left_over,
    spread=ends["pathwise"][1],
    seeds=seeds,
    at="demo",
    digits=0,
)

# %% [markdown]
# ## The checklist
#
# You will meet defences for which nobody has written an erratum. Four questions, answered here for the pathwise attack on SAP at $f = 0.5$:
#
# 1. *Does it get stronger with more steps?* It should not still be gaining, and it should not be stuck high either.
# 2. *Does it reach zero at a large radius?*
# 3. *Does a transfer attack beat it?*
# 4. *Does random search beat it?* Blind guessing must never do better than a gradient.

# %%
answers = checklist(nets[0], settings)
white_box = answers["pathwise PGD"]["single"]
for name in ("transfer", "random search"):
    print(
        f"{name} beats the pathwise attack: {answers[name]['single'] < white_box}"
    )

# %% tags=["hide-input"] mystnb={"image": {"alt": "Horizontal bars of accuracy for six attacks, single pass and mean of passes. Pathwise PGD and the variant with four times the steps leave the most, the larger radius leaves a good part, random search leaves less than pathwise PGD, transfer and identity leave nearly nothing."}, "figure": {"caption": "The checklist on one network, SAP at f = 0.5, radius 0.25 unless stated. Random search tries sixty random corners of the box and keeps the worst: it uses no gradient and still beats pathwise PGD.", "name": "fig-err-checklist"}}
fig, ax = plt.subplots(figsize=(5.8, 3.6))
names = list(answers)
for i, (rule, colour, fill) in enumerate(
    (("single", "blue", ""), ("mean", "orange", "//"))
):
    values = [answers[name][rule] for name in names]
    bars = ax.barh(
        np.arange(len(names)) + 0.38 * i,
        values,
        0.36,
        color=COLOURS[colour],
        hatch=fill,
        edgecolor="white",
        label=titles[rule].lower(),
    )
    ax.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
ax.set_yticks(np.arange(len(names)) + 0.19, names)
ax.invert_yaxis()
ax.set(
    xlim=(0, 1),
    xlabel="accuracy left",
    title="Four questions to a failed attack",
)
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# ## What this does and does not show
#
# - **Shown:** on one defence, the choice of gradient alone moves accuracy from more than a half to almost nothing. A failed attack proves nothing.
# - **Shown:** the program that was attacked differed from SAP in five ways. A broken re-implementation proves nothing either. Neither the 0% nor the defence's
#   survival of that attack was evidence about SAP.
# - **Not shown:** that SAP as published resists the 2018 attack. At $f = 1$ it did not, here.
# - **Not shown:** which BPDA rule the erratum used. We report three: identity, mask, and the dense network's gradient (transfer).
# - The 2018 authors were **right about the conclusion**: SAP can be broken. What failed was the evidence for it.
#
# ## At full scale
#
# The full tier trains the paper's ResNet-20 on CIFAR-10 (or reads the checkpoint that the SAP chapter left in `runs/resnet20/`) and fills a table of our own: the 2018 program
# and SAP at $f = 1$ under the five attacks at $\epsilon = 8/255$, and the dense network under two of them. With a GPU: 1,000 images, 100 steps, 1 and 10 masks, 100 passes, leaky ReLU as in 2018, and the 2018 attack with its 500 steps. Without
# one: 100 images, 20 steps, one mask, 20 passes, 40 steps for the 2018 attack, and the plain ReLU network. The last column of the table says which it was.
#
# ```
# workings run sap_erratum --tier full
# ```

# %%
if tier == "full":
    cores = (
        1 if dry_run else os.environ.get("OMP_NUM_THREADS", os.cpu_count())
    )
    torch.set_num_threads(int(cores or 1))
    measured = cifar_table(FullSettings.here(dry_run=dry_run), data_root)
    torch.set_num_threads(1)
    book.attach("cifar", measured)
else:
    measured = ledger.attachment("sap_erratum", "full", "cifar") or []
print(f"{len(measured)} cells recorded")

# %% tags=["hide-input"]
ledger.Grid(
    "CIFAR-10, ResNet-20: accuracy left (single pass, mean of passes)",
    ["defence", "attack", "masks", "radius x 255", "single", "mean", "images", "steps", "passes", "device"],
    [
        [row["defence"], row["attack"], *(f"{row[c]:g}" for c in ("masks", "radius")), f"{row['single']:.3f}",
         f"{row['mean']:.3f}", *(str(row[c]) for c in ("images", "steps", "passes", "device"))]
        for row in measured
    ],
)  # fmt: skip

# %% [markdown]
# In the table *faithful* is SAP as published and *flawed* is the 2018 program.
#
# **What our record says.** It is the small CPU run: one ResNet-20 with plain ReLU, trained for 20 epochs to 85% on the test set, and 100 images, so a standard error of up to five points.
#
# - SAP as published did **not** resist here either. The shortened 2018 attack left about 1% of it. So depth alone, twenty layers of it, does not hide the gradient at $f = 1$, and our guess above is not
#   supported. A wide ResNet 28-10, leaky ReLU and per-image standardisation remain untested.
# - On its own target the 2018 attack left 8%, about one standard error above our bound of 5%, with 40 of its 500 steps. The ledger says "not reproduced", by the rule fixed beforehand. More steps might lower it; we did not test that.
# - The order is the opposite of what the story leads one to expect: under the 2018, pathwise and mask attacks our 2018 program kept *more* than SAP, in spite of its double budget. We cannot explain it.
# - The identity rule left none of the 100 images (so, with 95% confidence, at most 3%). That agrees with the erratum's 0.1% but cannot test it so finely, and the other attacks on SAP, mask apart, left about 1% or less too.
# - At radius 32/255 the pathwise attack left none either: at $f = 1$ this test finds no fault with it, though its gradient is still biased. Our own claim 6 was met for the small budget only.
# - The mask rule with *one* mask a step was the weakest attack on both programs. Unbiased is not enough in 20 steps: its noise has to be averaged away, and here nothing was averaged.

# %%
if tier == "full":
    eps, far = 8.0, max(row["radius"] for row in measured)
    most = max(r["masks"] for r in measured)
    old = {
        d: find(measured, defence=d, attack="2018", radius=eps)
        for d in ("flawed", "faithful")
    }
    bpda = find(
        measured,
        defence="faithful",
        attack="identity",
        masks=most,
        radius=eps,
    )
    tail = {
        r: find(measured, defence="faithful", attack=r, radius=far)
        for r in ("pathwise", "identity")
    }
    values = {
        "err-2": max(old["flawed"]["single"], old["flawed"]["mean"]),
        "err-3": min(
            old["faithful"][r] - old["flawed"][r]
            for r in ("single", "mean")
        ),
        "err-4": max(bpda["single"], bpda["mean"]),
        "err-6": tail["pathwise"]["single"] - tail["identity"]["single"],
    }
    for name, value in values.items():
        book.check(name, value, seeds=[settings.seed])

# %% [markdown]
# ## The ledger
#
# What the two papers claim, what this notebook found a moment ago, and what the recorded full run found, if there is one. Verdicts are computed. The criteria
# of claims 1 to 3 and of every full tier were fixed before the runs; the demo threshold of claim 4 and those of claims 5 to 7, which are our own, were set after a first trial run of the demo.

# %%
book.table()

# %% [markdown]
# ## Take it home
#
# You have a model with a random layer. Here it is a network with test-time dropout, written as if by a stranger; put yours in its place. Name the random layers, wrap them,
# and attack the copy with any attack you like:

# %%
your_model = insert_dropout(
    nets[0].net, fraction=0.5, generator=generator(7, "yours")
)
your_layers = MatchedDropout  # the class (or classes) of your random layers
x, y = test.images[:40], test.labels[:40]

wrapped = wrap_bpda(
    your_model, your_layers
)  # real layer forward, identity backward
for name, model in (
    ("autodiff", your_model),
    ("identity", wrapped),
    ("transfer", nets[0].net),
):
    gradient = attack_gradient(model, "margin", samples=5)
    adv = pgd_linf(
        gradient, x, y, eps=0.25, step=0.04, steps=settings.steps
    )
    left = robust_accuracies(your_model, adv, y, samples=20)
    print(
        f"{name}: less than one in five right: {left['single'].value < 0.2 or dry_run}"
    )

# %% [markdown]
# Here all three succeed. Autodiff takes this layer's mask and scale as constants: that is the *mask* rule, noisy but right on average for the layer. If yours disagree, believe the lowest accuracy and distrust your gradient. Before you call anything robust: fresh masks for the evaluation; both accuracy rules with their standard error;
# a curve that reaches zero; a transfer attack; a random search; the layer still switched on in `eval()` mode; and a test that the program you attacked *is* the defence. `wrap_bpda`
# finds modules, not functions called inside `forward`.
#
# ## Exercises
#
# **1.** A flat layer of 1,000 neurons. By which factor does the 2018 budget $2a$ change the share of its own gradient that a neuron keeps under autodiff?
#
# <details>
# <summary>Show the solution</summary>
#
# From 0.418 to 0.687 in the limit of a large layer, a factor of about 1.6 a layer. Over four layers that would be a factor of seven.
#
# </details>

# %% tags=["hide-input"]
flat = torch.tensor([1e-3], dtype=torch.float64)
kept = [1 - single_draw_share(flat, draws).item() for draws in (1000, 2000)]
print(f"{kept[0]:.3f} and {kept[1]:.3f}, ratio {kept[1] / kept[0]:.2f}")

# %% [markdown]
# **2.** Show that $Jh = h$ for the biased Jacobian (2), although $J$ is not the identity. Why does that make the bias easy to miss?
#
# <details>
# <summary>Show the solution</summary>
#
# $M$ is scale-equivariant for a fixed set of drawn neurons: doubling $h$ leaves $p$ and $q$ alone and doubles the output. So along $h$ itself the pathwise derivative is right,
# and a finite-difference check along that one direction passes. The bias is in all the others.
#
# </details>

# %% tags=["hide-input"]
h = torch.tensor([[3.0, -2.0, 1.0, 0.5]], dtype=torch.float64)
J = pathwise_jacobian(h, 4)[0]
print(
    "J h = h:",
    torch.allclose(J @ h[0], h[0]),
    "  J = identity:",
    torch.allclose(J, torch.eye(4, dtype=torch.float64)),
)

# %% [markdown]
# **3.** A colleague averages *logits* over 8 masks and differentiates the loss of the mean. Does that repair the pathwise attack?
#
# <details>
# <summary>Show the solution</summary>
#
# No (next cell). The loss is another one, but the derivative still runs through $1/q(p(h))$ with the drawn set held fixed. The bias is in the layer's backward rule, and no average outside the layer reaches it.
#
# </details>

# %% tags=["hide-input"]
model = Defence(budget=settings.fraction).build(
    nets[0].net, "pathwise", generator(3, "logits")
)


def averaged_logits(point, labels, masks=8):
    """Gradient of the margin of the mean logits."""
    point = point.clone().requires_grad_(True)
    logits = torch.stack([model(point) for _ in range(masks)]).mean(0)
    return torch.autograd.grad(margin_loss(logits, labels).sum(), point)[0]


adv = pgd_linf(
    averaged_logits, x, y, eps=0.25, step=0.04, steps=settings.steps
)
left = robust_accuracies(model, adv, y, samples=20)["single"].value
print(f"still leaves more than a third: {left > 1 / 3 or dry_run}")

# %% [markdown]
# ## References
#
# - Dhillon, Carlini. *Erratum Concerning the Obfuscated Gradients Attack on Stochastic Activation Pruning.* 2020. [arXiv 2010.00071](https://arxiv.org/abs/2010.00071). Code: Guneet-Dhillon/obfuscated-gradients.
# - Dhillon et al. *Stochastic Activation Pruning for Robust Adversarial Defense.* ICLR 2018. [arXiv 1803.01442](https://arxiv.org/abs/1803.01442)
# - Athalye, Carlini, Wagner. *Obfuscated Gradients Give a False Sense of Security.* ICML 2018. [arXiv 1802.00420](https://arxiv.org/abs/1802.00420). Code: anishathalye/obfuscated-gradients.
# - Athalye et al. *Synthesizing Robust Adversarial Examples.* ICML 2018. [arXiv 1707.07397](https://arxiv.org/abs/1707.07397). Expectation over transformation.
# - Madry et al. *Towards Deep Learning Models Resistant to Adversarial Attacks.* ICLR 2018. [arXiv 1706.06083](https://arxiv.org/abs/1706.06083). Projected gradient descent.
