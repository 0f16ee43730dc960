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
# # Conformal prediction: how big will my sets be?
#
# <p class="wk-run"><a href="https://colab.research.google.com/github/workings-book/workings/blob/main/notebooks/uncertainty/conformal_set_size.ipynb">Run this chapter on Colab</a></p>
#
# Conformal prediction wraps any model and promises that its prediction sets cover the truth with at least the probability you
# choose. It does not say how large the sets will be. A doctor told "somewhere between healthy and dying" has been promised the truth and
# told nothing. This chapter works through
# [Dhillon, Deligiannidis and Rainforth (2024)](https://arxiv.org/abs/2306.07254), who show that the expected size of
# the sets has an exact formula, and that one sample of scores is enough to estimate it, with an interval.
#
# - **You need** order statistics, the binomial distribution, and a rough idea of a random forest.
# - **It takes** 40 minutes to read and under half a minute to run.
# - **Afterwards you can** estimate from one sample of scored points how large your sets will be on average, for other
#   calibration sizes and coverages, before you collect a calibration set of that size, and say when the sample is too small
#   for it. (One exception: a score that contains the coverage itself, such as CQR below, answers for its own coverage only.)
#
# Of the paper we read the abstract, public summaries and the authors' code, not the body or its printed tables. Where we
# compare numbers, we compare with our runs of the authors' published code, and say so.

# %% tags=["hide-input"]
# Set-up: takes the package of this clone, or the installed one, or installs it.
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

packages = ["git+https://github.com/workings-book/workings@main"]
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
# "demo", or "full": the protocol of the authors' code (see "At full scale")
tier = "demo"
# with "full": a few steps on generated data, to see that it works
dry_run = False
# folder with the tables, if you have them already
data_root = None

# %% tags=["hide-input"]
import itertools
import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from scipy import special, stats
from scipy.integrate import quad
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestClassifier

from workings import ledger
from workings.chapters.conformal_set_size import full
from workings.chapters.conformal_set_size.demo import digits, interval_ends
from workings.chapters.conformal_set_size.live import cases
from workings.chapters.conformal_set_size.settings import Settings
from workings.show.controls import Axis, Control, Frame
from workings.show.figures import (
    COLOURS,
    png_bytes,
    staircase_panel,
    use_style,
)
from workings.show.live import keep_cases
from workings.uncertainty import scores as score
from workings.uncertainty.conformal import (
    conformal_rank,
    conformal_threshold,
    threshold_exceedance,
)
from workings.uncertainty.monte_carlo import monte_carlo_size
from workings.uncertainty.scores import class_table
from workings.uncertainty.set_size import (
    dkw_radius,
    estimate_classes,
    expected_set_size_known,
    expected_set_size_unknown,
    min_sample_for_interval,
    staircase,
)
from workings.uncertainty.set_size_exact import expected_set_size_exact

use_style()
settings = Settings.for_tier(tier, dry_run=dry_run)
alpha, gamma = settings.alpha, settings.gamma
ledger_ = ledger.open("conformal_set_size", tier=tier)

# %% [markdown]
# ## A band around a prediction
#
# Here are 442 real patients with diabetes. From a patient's body mass index we predict a number that says how far the
# disease has progressed a year later. A straight line is fitted to 142 of them. It is a poor model, and that is the
# point: conformal prediction takes the model as it is.
#
# **Split conformal prediction** then needs one more thing, a *score* that says how badly an answer $y$ fits an input
# $x$. For regression the usual score is the absolute residual, $s(x, y) = |y - \hat y(x)|$. Compute it for $n$
# fresh patients, the *calibration set*, and sort. Choose the share $\alpha$ of answers that may be missed, say 10%. The threshold $\tau$ is the $k$-th
# smallest score, with
#
# $$
# k = \lceil (1-\alpha)(n+1) \rceil. \tag{1}
# $$
#
# The prediction set of a new patient holds every answer that fits at least that well, $C(x) = \{y : s(x, y) \le \tau\}$:
# here, an interval of width $2\tau$.
#
# Why does it work? Suppose that the model was fixed beforehand, and that calibration patients and the new one are
# *exchangeable*: any order of them is equally likely. If no scores tie, the new score is equally likely to fall in each
# of the $n+1$ gaps that the calibration scores leave, so it is at most $\tau$ with probability $k/(n+1) \ge 1-\alpha$.
# Ties only help. (If $k = n+1$, put $\tau = \infty$.) That is the whole guarantee. The probability averages over
# calibration sets and patients: it says nothing about this calibration set, or this patient.

# %%
bmi, progression = load_diabetes(return_X_y=True, scaled=False)
bmi = bmi[:, 2]
order = np.random.default_rng(settings.seed).permutation(len(bmi))
train, held = order[:142], order[142:]
line = np.polyfit(bmi[train], progression[train], 1)
r_max = 400.0  # an assumption: progression stays between 0 and 400
predict = lambda x: np.clip(np.polyval(line, x), 0, r_max)
residual = np.abs(progression[held] - predict(bmi[held]))

# %% [markdown]
# Formula (1), as it stands, on the first 100 of the 300 scores that are left:

# %%
n = 100
k = math.ceil((1 - alpha) * (n + 1))
tau = np.sort(residual[:n])[k - 1]

assert k == conformal_rank(n, alpha)  # agrees with the kernel
assert tau == conformal_threshold(residual[:n], alpha)
low, high = progression.min(), progression.max()
print(f"n = {n}: the threshold is the score of rank {k}")
print(f"intervals are {2 * tau:.0f} wide", end="; ")
print(f"progression goes from {low:.0f} to {high:.0f}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Scatter plot of disease progression against body mass index. A rising straight line runs through a wide cloud; a shaded band of constant width around the line holds about nine in ten of the points."}, "figure": {"caption": "Split conformal prediction on real patients. The band is calibrated on 100 of them and drawn over the 200 that were neither used to fit nor to calibrate.", "name": "fig-css-band"}}
fig, ax = plt.subplots()
grid = np.linspace(bmi.min(), bmi.max(), 50)
middle = predict(grid)
band = dict(color=COLOURS["sky"], alpha=0.3, label="90% conformal band")
dots = dict(color=COLOURS["ink"], alpha=0.6, label="test patients")
ax.fill_between(grid, middle - tau, middle + tau, **band)
ax.plot(grid, middle, color=COLOURS["blue"], label="fitted line")
ax.plot(bmi[held[n:]], progression[held[n:]], ".", **dots)
ax.set(xlabel="body mass index (kg/m²)", ylabel="progression after a year")
ax.set_title("How wide is the band?")
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# ## The quantity we want
#
# Had we calibrated on another 100 patients, the band would have had another width. We have 300 scored
# patients, so we can see it happen: choose 100 of them for calibration, note the width, and repeat.
#
# > **Predict.** The band above came from one draw of 100 patients. Over other draws, does its width change by about
# > 1%, 10%, or by half?

# %%
width_of = score.residual_cum_factor()  # a threshold r gives a width of 2r


def recalibrate(n, alpha):
    """Widths over many random calibration sets of n of the 300 patients."""
    rng, draws = np.random.default_rng(1), settings.resplits
    return monte_carlo_size(
        residual, n, alpha, draws, rng, size_function=width_of
    )


repeats = recalibrate(n, alpha)
print(f"mean width over {settings.resplits} draws: {repeats.mean_size:.0f}")
print(f"standard deviation of a single width: {repeats.sizes.std():.0f}")
print(f"coverage over the same draws: mean {repeats.mean_coverage:.2f}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Histogram of interval widths over 200 calibration draws, in lumps from about 180 to 255; a dashed vertical line marks the mean, near 213."}, "figure": {"caption": "The width is a random variable: it depends on who is in the calibration set. The dashed line, the mean of the draws, estimates the expected set size, which this chapter estimates without any redrawing.", "name": "fig-css-widths"}}
fig, ax = plt.subplots(figsize=(4.6, 2.7))
ax.hist(repeats.sizes, bins=20, color=COLOURS["sky"], edgecolor="white")
ax.axvline(
    repeats.mean_size, color=COLOURS["ink"], linestyle="--", label="mean"
)
ax.set(
    xlabel="width of the interval (progression units)",
    ylabel="number of draws",
)
ax.set_title(f"{settings.resplits} calibration draws")
ax.legend()
plt.show()

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Nearest to 10%: one standard deviation is about 7% of the width, and an unlucky draw is off by a fifth. The threshold is
# a single score, the tenth largest of 100, and which patient lands there is luck. (The lumps in the histogram are people:
# each width is twice the residual of one patient. Our draws overlap, so fresh patients would vary somewhat more.)
#
# </details>
#
# The **expected set size** is the mean size over all calibration sets and all test points; the dashed line estimates it.
# Resampling could do so because we had 300 scored patients and needed only 100. Usually you have one sample, and the
# question is about a *different* one: what if I calibrate on 1,000? What if I ask for 95%?
#
# ## The binomial argument
#
# From here on the scores are independent, with one distribution. When is the threshold at least as high as some level
# $r$? Take the $n$ calibration scores one by one: each is either below $r$ or not. The $k$-th smallest is at or above
# $r$ exactly when **at most $k-1$ of the $n$ scores are below $r$**. Each is below $r$ with the same probability
#
# $$
# G(r) = P(R < r), \tag{2}
# $$
#
# with a strict inequality, which will matter. The number below $r$ is therefore binomial, and
#
# $$
# \begin{aligned}
# P(\tau \ge r) &= B\big(G(r)\big), \cr
# B(p) &= \sum_{i=0}^{k-1} \binom{n}{i} p^i (1-p)^{n-i}.
# \end{aligned} \tag{3}
# $$
#
# | symbol | what it is | range |
# |---|---|---|
# | $n$ | calibration points | 1, 2, ... |
# | $k$ | rank of the threshold, from (1) | 1 to $n+1$ |
# | $r$ | a score level | the score's units |
# | $G(r)$ | chance that one score lies below $r$ | 0 to 1 |
# | $B(p)$ | chance that the threshold reaches a level with $G(r) = p$ | 0 to 1, decreasing; 1 throughout if $k = n+1$ |
#
# **By hand.** Take $n = 3$ and $\alpha = 1/2$, so $k = 2$: the threshold is the middle one of three scores. Then
# $B(p) = (1-p)^3 + 3p(1-p)^2$. If scores are uniform on $[0, 1]$, $G(r) = r$ and
# the mean threshold is $\int_0^1 B(r)\,dr = \frac14 + \frac14 = \frac12$, which is where the middle of three should be.


# %%
def B(p, n, k):
    """Formula (3) for probabilities p (P,): the sum as it stands."""
    i, p = np.arange(k), np.asarray(p)[:, None]
    return (special.comb(n, i) * p**i * (1 - p) ** (n - i)).sum(axis=1)


p = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
by_hand = (1 - p) ** 3 + 3 * p * (1 - p) ** 2
print("B for n = 3, k = 2:", B(p, 3, 2).round(6))

assert np.allclose(B(p, 3, 2), by_hand)
kernel = threshold_exceedance(p, n=100, alpha=0.1)
assert np.allclose(B(p, 100, 91), kernel)  # agrees with the kernel

# %% tags=["hide-input"] mystnb={"image": {"alt": "A falling curve from one to zero over score levels from 0 to about 160, drawn above a grey histogram of the 300 scores. The curve stays at one until about 80, crosses one half near 107 and reaches zero near 130."}, "figure": {"caption": "Grey: the 300 scores. Blue: the probability, were the 300 all patients, that the threshold of a 100-patient calibration set reaches each level. The curve falls where the 91st of 100 scores may lie. (Bar heights are not to scale.)", "name": "fig-css-exceedance"}}
fig, ax = plt.subplots()
levels = np.linspace(0, residual.max(), 300)
G = np.searchsorted(np.sort(residual), levels, side="left") / len(residual)
heights, edges = np.histogram(residual, bins=30)
bars = heights / heights.max() * 0.6
ax.stairs(bars, edges, fill=True, color=COLOURS["pale"], label="scores")
reach = threshold_exceedance(G, n, alpha)
ax.plot(levels, reach, color=COLOURS["blue"], label="P(threshold ≥ level)")
ax.set(xlabel="score level r (progression units)", ylabel="probability")
ax.set_title("How far does the threshold reach?")
ax.set_ylim(top=1.3)
ax.legend(loc="upper center", ncols=2)
plt.show()

# %% [markdown]
# ## From the threshold to the size
#
# An interval $\hat y \pm \tau$ contains the labels with score at most $\tau$. How much *label space* sits at score
# levels up to $r$? For the absolute residual, two points ($\hat y - r$ and $\hat y + r$) sit at every level, so up to
# level $r$ there is $\Lambda(r) = 2r$ of it. A slice of label space at level $r$ is in the set exactly when the
# threshold reaches $r$, so the size of a set is $\int 1\{\tau \ge r\}\, d\Lambda(r)$. Take expectations under the integral:
#
# $$
# \begin{aligned}
# \mathbb{E}\,|C(X)| &= \int P(\tau \ge r)\, d\Lambda(r) \cr
# &= \int B\big(G(r)\big)\, d\Lambda(r).
# \end{aligned} \tag{4}
# $$
#
# The expectation is over the calibration set and the test point. Everything on the right is known except $G$, the
# distribution of one score. Nothing was approximated. ($d\Lambda(r)$, the amount of label space at a level, is the score's *factor*. Here it is
# known: 2 per unit of $r$. For scores where it depends on $x$ it is *unknown*, and (7) below takes its place.)
#
# **Check it where the answer is known.** If scores are uniform on $[0,1]$, the $k$-th of $n$ is on average
# $k/(n+1)$, so the expected width is $2k/(n+1)$. If they are exponential, it is $2\sum_{i=0}^{k-1} \frac{1}{n-i}$. We integrate (4) numerically, and beside it
# ask the library, which integrates the same expectation in another form, over the quantiles of $\tau$. Printed: (4), then
# the known width.


# %%
def formula_4(cdf, size, end):
    """The integral (4) for residual scores with a known distribution."""
    chance = lambda r: 2 * float(threshold_exceedance(cdf(r), size, alpha))
    return quad(chance, 0, end, epsabs=1e-13, limit=200)[0]


worst = 0.0
for size in (10, 99, 200):
    rank = conformal_rank(size, alpha)
    exponential = 2 * sum(1 / (size - i) for i in range(rank))
    known = 2 * rank / (size + 1), exponential
    laws = (stats.uniform, 1), (stats.expon, 50)
    for (law, end), width in zip(laws, known, strict=True):
        found = formula_4(law.cdf, size, end)
        ours = expected_set_size_exact(
            law.cdf, size, alpha, width_of, 0.0, law.support()[1]
        )
        worst = max(worst, abs(found / width - 1), abs(ours / width - 1))
        print(f"n = {size:3d}, {law.name:7s}: {found:.6f}, {width:.6f}")

# %% [markdown]
# <a id="css-1"></a>

# %%
ledger_.check("css-1", worst, at="demo")

# %% [markdown]
# ## One sample is enough
#
# Suppose $m$ points have been scored: our *accessible* sample. Put its empirical distribution $\hat G(r)$, the share of
# scores below $r$, in the place of $G$:
#
# $$
# \hat S = \int B\big(\hat G(r)\big)\, d\Lambda(r). \tag{5}
# $$
#
# Putting $\hat G$ for $G$ is the only approximation. The integral itself is exact: between one sorted score and the next
# $\hat G$ is constant, so (5) is a sum of $m+1$ rectangles, the area under the staircase in [the figure below](#fig-css-staircase). With the
# sorted scores $r_{(1)} \le \dots \le r_{(m)}$ between $r_{(0)} = 0$ and $r_{(m+1)} = r_{\max}$,
#
# $$
# \hat S = \sum_{j=0}^{m} B\big(j/m\big)\,\big[\Lambda(r_{(j+1)}) - \Lambda(r_{(j)})\big]. \tag{5'}
# $$
#
# The last rectangle ends at $r_{\max}$, the largest score that can ever occur. As long as $k \le n$ it has height
# $B(1) = 0$: the bound does not enter the estimate, only the upper end of the interval that follows. If $k = n + 1$, the
# threshold is infinite, every $B$ is 1, and (5') answers $\Lambda(r_{\max})$, the most it can.
#
# **By hand.** Two scores, 1 and 3; $n = 3$ and $k = 2$ as before; $\Lambda(r) = 2r$; $r_{\max} = 5$. The three rectangles are
# $B(0)\cdot 2 + B(\frac12)\cdot 4 + B(1)\cdot 4 = 2 + 2 + 0 = 4$. There is another way to read this: draw three
# calibration scores *with replacement* from the two, and $B(\hat G(r))$ is exactly the chance that their middle one
# reaches $r$. So (5) is the mean size over all bootstrap calibration sets, without drawing one. Here all eight can be listed:


# %%
def plug_in(scores, n, k, size, r_max, shift=0.0):
    """Formula (5'): the area under the staircase; ``shift`` moves G."""
    r = np.concatenate([[0.0], np.sort(scores), [r_max]])
    share_below = np.arange(len(scores) + 1) / len(scores)
    height = B(np.clip(share_below + shift, 0, 1), n, k)
    return (height * np.diff(size(r))).sum()


eight = itertools.product([1.0, 3.0], repeat=3)
middle = [sorted(drawn)[1] for drawn in eight]
area = plug_in([1.0, 3.0], 3, 2, width_of, 5.0)
print(f"by (5'): {area:.1f}; mean of eight: {2 * np.mean(middle):.1f}")

# %%
estimate = plug_in(residual, n, k, width_of, r_max)
kernel = expected_set_size_known(
    residual, n, alpha, width_of, 0.0, r_max, gamma
)
assert np.isclose(estimate, kernel.point)  # agrees with the kernel
print(f"area under the staircase: {estimate:.0f}")
print(f"mean of 200 recalibrations: {repeats.mean_size:.0f}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "A staircase of three hundred small steps, equal to one up to a width of about 160 and falling to zero near 260. The shaded area beneath it is the estimated expected width, 211. Two more staircases, dashed on its left and dotted on its right, belong to the next section; the right one keeps a low shelf up to the largest possible width."}, "figure": {"caption": "The estimated expected width is the area under the staircase (shaded). The two outer staircases are explained in the next section: their areas are the ends of an interval.", "name": "fig-css-staircase"}}
steps = staircase(residual, n, alpha, width_of, 0.0, r_max, gamma)
heights = {"point": steps.point, "lower": steps.lower, "upper": steps.upper}
labels = {
    name: f"{name}: area {getattr(kernel, name):.0f}" for name in heights
}
fig, ax = plt.subplots()
staircase_panel(ax, steps.cumulative, heights, labels)
ax.set(
    xlabel="label space, 2r (progression units)", ylabel="P(threshold ≥ r)"
)
ax.set_title("A size is an area")
ax.legend()
plt.show()

# %% [markdown]
# ## An interval, for every $n$ and $\alpha$ at once
#
# How wrong can $\hat G$ be? The Dvoretzky-Kiefer-Wolfowitz inequality, with
# [Massart's (1990)](https://doi.org/10.1214/aop/1176990746) constant, bounds the error everywhere at once: with
# probability at least $1-\gamma$,
#
# $$
# \begin{aligned}
# \sup_r |\hat G(r) - G(r)| &\le \delta, \cr
# \delta &= \sqrt{\frac{\ln(2/\gamma)}{2m}}.
# \end{aligned} \tag{6}
# $$
#
# $B$ decreases, so a *larger* $G$ gives a *smaller* set. Push the whole staircase through (5) with
# $\min(\hat G + \delta, 1)$ for the lower end and $\max(\hat G - \delta, 0)$ for the upper. Whenever (6) holds, the truth
# lies between, for every $n$ and every $\alpha$ simultaneously: you may look first and choose afterwards.

# %%
delta = math.sqrt(math.log(2 / gamma) / (2 * len(residual)))
lower = plug_in(residual, n, k, width_of, r_max, shift=delta)
upper = plug_in(residual, n, k, width_of, r_max, shift=-delta)
ends = (kernel.lower, kernel.upper)
assert np.allclose((lower, upper), ends)  # agrees with the kernel
print(f"delta {delta:.3f}: interval from {lower:.0f} to {upper:.0f}")

# %% [markdown]
# To test it we need a truth. Our toy has scores $|Z|$ with $Z$ standard normal, as if a perfect model faced noise of one
# unit, and $n = m = 200$. No score above 8 will occur in the lifetime of this book, so $r_{\max} = 8$.
#
# > **Predict.** We ask for 90% confidence, $\gamma = 0.1$. In 2,000 simulated data sets of 200 scores, how many intervals
# > will miss?

# %%
m, seed = settings.toy_n, settings.seed
truth = expected_set_size_exact(
    stats.halfnorm.cdf, m, alpha, width_of, 0.0, math.inf
)
noise = np.random.default_rng(seed).standard_normal((settings.toy_sets, m))
draws = np.abs(noise)
toy = [
    expected_set_size_known(row, m, alpha, width_of, 0.0, 8.0, gamma)
    for row in draws
]
points = np.array([guess.point for guess in toy])
misses = sum(not guess.contains(truth) for guess in toy)
print(f"truth {truth:.4f}; mean of {len(toy)}: {points.mean():.3f}")
print(f"standard deviation of one estimate: {points.std():.2f}")
print(f"intervals that missed: {misses} of {len(toy)}")

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# None. Two hundred misses were allowed and none came. The band (6) guards the whole distribution function, while the
# size feels only a short stretch of it, near the 90th percentile. The interval is **conservative**: its promise is kept with a
# lot to spare, and you pay for that with width. And $\delta$ is sized for the middle of the distribution: at the 90th
# percentile one standard deviation of $\hat G$ is 0.02, and the band allows four times as much. Do not read "90%" as "wrong one time in ten".
#
# </details>
#
# <a id="css-2"></a><a id="css-3"></a>

# %%
bias = abs(points.mean() - truth)
ledger_.check(
    "css-2",
    bias,
    spread=points.std() / math.sqrt(len(toy)),
    seeds=[settings.seed],
    at="demo",
)

# %%
ledger_.check("css-3", misses / len(toy), seeds=[settings.seed], at="demo")

# %% [markdown]
# ## Play: how many scores do you need?
#
# Move the number of scores and watch one thing: the shelf on the right of the upper staircase (red, dotted). In the book's page
# you can also move $n$, $\alpha$ and $\gamma$, take other scores, and paste your own.

# %% tags=["hide-input"]
sizes = (50, 100, 150, 250, 500, 1000, 2000)
pool = np.abs(np.random.default_rng(7).standard_normal(sizes[-1]))


def frame(count, alpha=alpha):
    """One picture: the three staircases from the first ``count`` scores."""
    cells = staircase(pool[:count], m, alpha, width_of, 0.0, 8.0, gamma)
    guess = cells.estimate()
    heights = {
        "point": cells.point,
        "lower": cells.lower,
        "upper": cells.upper,
    }
    labels = {
        name: f"{name}: {getattr(guess, name):.2f}" for name in heights
    }
    fig, ax = plt.subplots(figsize=(4.6, 3.1))
    staircase_panel(ax, cells.cumulative, heights, labels)
    ax.axvline(
        truth,
        color=COLOURS["ink"],
        linewidth=1,
        label=f"truth: {truth:.2f}",
    )
    ax.set(xlim=(0, 16), xlabel="width of label space, 2r (noise sd)")
    ax.set(ylabel="P(threshold ≥ r)", title=f"m = {count} scores")
    ax.legend(loc="upper right")
    ends = f"interval from {guess.lower:.2f} to {guess.upper:.2f}"
    alt = f"{count} scores: estimate {guess.point:.2f}, {ends}, truth {truth:.2f}."
    return Frame(png_bytes(fig), alt)


# %% tags=["hide-input"]
Control(
    "css-accessible-size",
    [
        Axis(
            "Accessible scores m",
            tuple(f"{count:,}" for count in sizes),
            start=3,
        )
    ],
    [partial(frame, count) for count in sizes],
    caption="Expected width of a 90% interval calibrated on 200 points, estimated "
    "from m scores. A full-height rectangle that ends at the vertical line has the true area.",
    live="conformal_set_size",
)

# %% tags=["remove-cell"]
# The book's page computes this figure in the browser. Its script is compared
# with what the kernels give:
keep_cases("conformal_set_size", cases())

# %% [markdown]
# The number to watch is the height of the shelf:

# %%
for c in sizes:
    shelf = staircase(pool[:c], m, alpha, width_of, 0.0, 8.0, gamma).upper[
        -1
    ]
    print(f"{c:5d} scores: shelf at {shelf:.2f}")

# %% [markdown]
# With 50 scores the upper staircase never comes down, and the upper end reports $r_{\max}$, not data. With 150 half of the
# shelf is still there. By 500 it is gone, and only then does the interval tighten like $1/\sqrt m$. (The seven samples are
# nested, so their estimates err together; the 2,000 toy samples showed no bias.)
#
# ## Sets of labels: real handwritten digits
#
# For classification a set is a list of classes, and its size a count. We use three scores; $K$ is the number of classes
# and $\hat p_y$ the model's probability of class $y$:
#
# - **0-1**: is $y$ the model's first choice? Score 0 if so, else 1. One class sits at level 0 and $K-1$ at level 1, so the
#   factor is known, and the estimate is $1 + (K-1)\,B(\text{accuracy})$.
# - **LAC**, $1 - \hat p_y$: keep every class with enough probability ([Sadinle et al. 2019](https://doi.org/10.1080/01621459.2017.1395341)).
# - **APS**: add up the probabilities of all classes ranked above $y$, plus a share $u$ of $y$'s own,
#   $\sum_{c:\,\hat p_c > \hat p_y} \hat p_c + u\,\hat p_y$ ([Romano et al. 2020](https://arxiv.org/abs/2006.02544)). The $u$ are uniform
#   on $[0, 1]$, one draw for each point and each candidate class, as in the authors' code.
#
# For LAC and APS, how many classes sit at a level depends on $x$. But a class $y$ is in the set exactly when the threshold
# reaches its score, so $\mathbb{E}\,|C(X)| = \mathbb{E}_X \sum_y B\big(G(s(X, y))\big)$. Put $\hat G$ for $G$, and the
# average over the scored points for the expectation over $X$:
#
# $$
# \hat S = \frac1m \sum_{i=1}^m \sum_{y=1}^{K} B\big(\hat G(s(X_i, y))\big). \tag{7}
# $$

# %%
images, label = digits()
order = np.random.default_rng(settings.seed).permutation(len(label))
n_digits = len(label) // 4
train, held = order[:n_digits], order[n_digits:]
forest = RandomForestClassifier(settings.trees, random_state=0).fit(
    images[train], label[train]
)
probs = forest.predict_proba(images[held])
right = probs.argmax(1) == label[held]
print(f"{len(train)} digits to train on, {len(held)} held out", end=", ")
print(f"accuracy {right.mean():.2f}")

# %% [markdown]
# The two scores and formula (7), each as it is written above:


# %%
def aps_score(p, u):
    """APS of every class: probabilities (m, K) and uniforms (m, K)."""
    ahead = p[:, None, :] > p[:, :, None]  # is c ranked above y?
    return (ahead * p[:, None, :]).sum(axis=2) + u * p


def formula_7(own, table, n, k):
    """Mean over points of the sum over classes of B(G(score))."""
    G = np.searchsorted(np.sort(own), table, side="left") / len(own)
    return B(G.ravel(), n, k).sum() / len(table)


u = np.random.default_rng(2).random(probs.shape)
assert np.allclose(1 - probs, score.lac(probs))  # agrees with the kernel
assert np.allclose(aps_score(probs, u), score.aps(probs, u))

# %% [markdown]
# > **Predict.** All three are asked for 90% coverage, and the forest is right about 95 times in 100. Which score gives sets
# > that are smaller than one class on average?

# %%
kinds = ("zero_one", "lac", "aps")
tables = {
    kind: class_table(probs, kind, np.random.default_rng(2))
    for kind in kinds
}
own = {
    kind: score.true_label(table, label[held])
    for kind, table in tables.items()
}

# %%
# One sample of 449 scored digits is all that the estimates look at.
k_digits = conformal_rank(n_digits, alpha)
one = np.random.default_rng(3).permutation(len(held))[:n_digits]
guess = {}
for kind in kinds:
    mine, all_labels = own[kind][one], tables[kind][one]
    g = guess[kind] = estimate_classes(
        kind, mine, all_labels, n_digits, alpha, gamma
    )
    by_7 = formula_7(mine, all_labels, n_digits, k_digits)
    assert np.isclose(by_7, g.point)  # agrees with the kernel
    interval = f"interval {g.lower:.1f} to {g.upper:.1f}"
    print(f"{kind:8s} estimate {g.point:.2f}, {interval}")

# %%
reference = {
    kind: monte_carlo_size(
        own[kind],
        n_digits,
        alpha,
        settings.resplits,
        np.random.default_rng(4),
        all_scores=table,
    )
    for kind, table in tables.items()
}
for kind, mc in reference.items():
    spread = f"(sd {mc.sizes.std():.2f}), coverage {mc.mean_coverage:.2f}"
    print(f"{kind:8s} recalibrated: {mc.mean_size:.2f} {spread}")

# %%
sets = {
    kind: tables[kind] <= conformal_threshold(own[kind][one], alpha)
    for kind in kinds
}
unsure = np.argsort(probs.max(1), kind="stable")[: len(held) // 10]
for kind in kinds:
    covered = sets[kind][np.arange(len(held)), label[held]]
    nothing = (sets[kind].sum(1) == 0).mean()
    hardest = f"on the least confident tenth {covered[unsure].mean():.1f}"
    print(f"{kind:8s} empty sets {nothing:.0%}, coverage {hardest}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Eight handwritten digits in four rows of two. Beside each stand its true class, its LAC set and its APS set. Clear digits get the one right class from LAC; some sets are empty, under LAC and under APS; the two with the largest APS sets list several classes."}, "figure": {"caption": "Eight digits that neither trained nor calibrated, and their sets: three clear ones, two with an empty LAC set and an APS set that is not, one with an empty APS set only, and two of the largest APS sets, which LAC leaves empty too. A dash marks an empty set.", "name": "fig-css-digits"}}
count = {kind: sets[kind].sum(1) for kind in kinds}
fresh = ~np.isin(np.arange(len(held)), one)
clear = np.flatnonzero(fresh & (count["lac"] == 1) & (count["aps"] == 1))[
    :3
]
silent = np.flatnonzero(fresh & (count["lac"] == 0) & (count["aps"] > 0))[
    :2
]
coin = np.flatnonzero(fresh & (count["lac"] == 1) & (count["aps"] == 0))[:1]
large = np.argsort(-count["aps"] * fresh, kind="stable")[:2]
fig, axes = plt.subplots(4, 2, figsize=(4.6, 5.4))
for i, ax in zip([*clear, *silent, *coin, *large], axes.flat, strict=False):
    names = {
        k: " ".join(map(str, np.flatnonzero(sets[k][i]))) or "–"
        for k in kinds
    }
    ax.imshow(images[held[i]].reshape(8, 8), cmap="gray_r")
    words = f"true {label[held[i]]}\nLAC {{{names['lac']}}}\nAPS {{{names['aps']}}}"
    ax.text(8.2, 3.5, words, va="center", fontsize=11)
    ax.set_axis_off()
plt.show()

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# LAC. The forest is right more often than coverage demands, so LAC can afford to answer *nothing* for the inputs it finds
# hardest: an empty set is wrong, and being wrong one time in ten was allowed. The 0-1 sets hold one class and cover 95%,
# more than asked (and their interval, 1 to 7 of 10 classes, says almost nothing: accuracy minus $\delta$ is below 90%).
# APS leaves sets empty about as often, but by the luck of the uniform share, and on inputs where the forest is surer than on average. On the least confident tenth
# it covers where LAC does not, and that is what its extra classes buy. (It is not even either: its misses fall among the inputs
# where the forest is surest, where the empty sets are.)
#
# </details>
#
# A smaller set is not a better set. Average size rewards LAC for leaving the hardest cases without an answer, and cannot
# see that.
#
# The claim at stake is that one recipe serves all scores: here the absolute residual, 0-1, LAC and APS. Every estimate
# must lie within two standard deviations of a single recalibration, plus 0.01, and every interval must hold the mean. (The
# reference reuses the estimate's own points, so this can fail but proves little. The full tier reuses points in the same way, a third of the held-out ones in
# each run, and adds ten trained models and other data. The independent tests are the toy samples of css-2, css-3 and css-5.)
#
# <a id="css-4"></a>

# %% tags=["open"]
one_patients = expected_set_size_known(
    residual[:200], n, alpha, width_of, 0.0, r_max, gamma
)
pairs = [
    (one_patients, repeats),
    *((guess[kind], reference[kind]) for kind in tables),
]
close = [
    abs(g.point - mc.mean_size) <= 2 * mc.sizes.std() + 0.01
    and g.contains(mc.mean_size)
    for g, mc in pairs
]
ledger_.check("css-4", sum(close), seeds=[settings.seed], at="demo")

# %% [markdown]
# ## Other $n$, other $\alpha$, same sample
#
# The estimate takes $n$ and $\alpha$ as arguments and the sample only supplies $\hat G$. So one sample of 300 patients
# answers for calibration sets of 20 or of 200, and for 80% or 95% coverage. The dots redraw calibration sets from the
# same 300 patients, so they check the formula, not whether 300 patients speak for everyone.

# %%
ns, some = (20, 40, 60, 80, 100, 150, 200), (60, 100, 200)


def curve(a):
    """Estimated width at each n, from the one sample of 300 scores."""
    estimates = [
        expected_set_size_known(residual, c, a, width_of, 0.0, r_max)
        for c in ns
    ]
    return [guess.point for guess in estimates]


curves = {a: curve(a) for a in (0.05, 0.1, 0.2)}
redrawn = {a: [recalibrate(c, a) for c in some] for a in curves}
for a in curves:
    pairs = [f"{curves[a][ns.index(c)]:.0f}" for c in some]
    print(f"{1 - a:.0%} coverage, n = {some}: widths {', '.join(pairs)}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three curves of expected width against calibration size, for coverage 95, 90 and 80 per cent, from top to bottom. They fall at first and then level off; the top one rises slightly at 150. Dots with error bars from recalibration lie on the curves."}, "figure": {"caption": "Lines: estimated from one sample of 300 scores. Dots: mean width over 200 recalibrations at that size, with bars of one standard deviation of a single width. Small calibration sets pay twice: wider bands, and less certain ones. (The bars at 200 are too short: each draw takes two thirds of the same patients. The bump at 150 is the rank, which moves in whole steps.)", "name": "fig-css-extrapolate"}}
looks = {0.05: ("red", "--"), 0.1: ("blue", "-"), 0.2: ("green", "-.")}
fig, ax = plt.subplots()
for a, (colour, dash) in looks.items():
    means = [mc.mean_size for mc in redrawn[a]]
    sds = [mc.sizes.std() for mc in redrawn[a]]
    ax.plot(
        ns,
        curves[a],
        dash,
        color=COLOURS[colour],
        label=f"{1 - a:.0%} coverage",
    )
    ax.errorbar(some, means, yerr=sds, fmt="o", color=COLOURS[colour])
ax.set(
    xlabel="calibration points n",
    ylabel="expected width (progression units)",
)
ax.set_title("One sample, many questions")
ax.set_ylim(top=350)
ax.legend(ncols=2, loc="upper center")
plt.show()

# %% [markdown]
# So the test of this claim uses generated scores, where the truth is known: from 200 scores, estimate the size at $n = 50$
# and at $n = 1000$, and compare the mean of 2,000 estimates with the exact value. This tests for bias only; a single
# sample of 200 scores misses by 5 or 6% (one standard deviation).
#
# <a id="css-5"></a>

# %%
errors, spreads = [], []
for other in (50, 1000):
    exact = expected_set_size_exact(
        stats.halfnorm.cdf, other, alpha, width_of, 0.0, math.inf
    )
    guesses = [
        expected_set_size_known(row, other, alpha, width_of, 0.0, 8.0).point
        for row in draws
    ]
    errors.append(abs(np.mean(guesses) / exact - 1))
    spreads.append(np.std(guesses) / exact / math.sqrt(len(guesses)))
    middle, sd = np.mean(guesses), np.std(guesses)
    print(f"n = {other:4d}: exact {exact:.3f}", end=", ")
    print(f"mean estimate {middle:.2f}, sd {sd:.2f}")

# %%
ledger_.check(
    "css-5",
    max(errors),
    spread=max(spreads),
    seeds=[settings.seed],
    at="demo",
)

# %% [markdown]
# ## Where it breaks
#
# **The wall at 150.** The upper staircase comes down to earth only if its last cell does, and that cell has the height
# $B(1-\delta)$. For a large calibration set $B$ falls from one to zero close to $1-\alpha$. So the last cell is high where
# $\delta > \alpha$, low where $\delta < \alpha$, and about one half where $\delta = \alpha$. We call that midpoint the wall: the first
# $m > \ln(2/\gamma)/(2\alpha^2)$. For a smaller calibration set the fall begins earlier and ends later:

# %%
wall = min_sample_for_interval(alpha, gamma)
print(f"the wall: m = {wall}. Height of the last cell, B(1 - delta):")
for count in (50, 100, wall, 250, 500):
    delta = dkw_radius(count, gamma)
    heights = [
        threshold_exceedance(1 - delta, c, alpha) for c in (100, 1000)
    ]
    print(f"m = {count:3d}, delta {delta:.3f}:", end=" ")
    print("n = 100: {:.2f}, n = 1000: {:.2f}".format(*heights))

# %% tags=["hide-input"] mystnb={"code_prompt_show": "Show how the ends are simulated", "code_prompt_hide": "Hide how the ends are simulated"}
counts = (40, 60, 80, 100, 125, 150, 200, 300, 500, 1000, 2000)
ends = interval_ends(
    counts, 1000, alpha, gamma, 8.0, 20, np.random.default_rng(11)
)
low, middle, high = np.quantile(ends, [0.1, 0.5, 0.9], axis=1)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Upper and lower end of the interval against the number of scores on a logarithmic axis, medians of twenty samples with bars from the 10th to the 90th percentile. The upper end stays at the largest possible width, 16, up to 100 scores, and then falls, steeply up to 300; beyond, it closes in on the truth, 3.3. The lower end rises slowly from 2."}, "figure": {"caption": "The ends of the interval against m (expected width at n = 1,000; medians of 20 samples, bars from the 10th to the 90th percentile). Left of the vertical line the upper end is mostly the assumed largest score; at the line about half of that share is left, and by 500 nothing. The lower end needs no such number of scores.", "name": "fig-css-wall"}}
fig, ax = plt.subplots()
for side, name, colour, dash in (
    (1, "upper", "red", ":"),
    (0, "lower", "green", "--"),
):
    bars = [(middle - low)[:, side], (high - middle)[:, side]]
    look = dict(
        color=COLOURS[colour],
        linestyle=dash,
        marker="o",
        label=f"{name} end",
    )
    ax.errorbar(counts, middle[:, side], yerr=bars, **look)
exact = expected_set_size_exact(
    stats.halfnorm.cdf, 1000, alpha, width_of, 0.0, math.inf
)
assert abs(exact - 3.3) < 0.05  # as the text says
ax.axhline(exact, color=COLOURS["ink"], linewidth=1, label="truth")
ax.axvline(wall, color=COLOURS["grey"], linestyle=":", linewidth=1.5)
ax.set(xscale="log", ylim=(0, 17), xlabel="accessible scores m (log scale)")
ax.set_xticks(
    [50, 100, 200, 500, 1000, 2000],
    ["50", "100", "200", "500", "1,000", "2,000"],
)
ax.minorticks_off()
ax.set(ylabel="expected width (noise sd)", title=f"The wall at m = {wall}")
ax.legend(handlelength=3.5)
plt.show()

# %% [markdown]
# **$r_{\max}$ is an assumption.** A forest predicts inside the range of labels it saw, so the length of the label range bounds
# its residuals, if that range is the true one. A line or a network can leave the range: that is why we cut our line's
# predictions to 0 to 400. That progression itself stays there remains assumed. Our function refuses a sample that violates
# the bound; it cannot see a future one.
#
# **It cannot see past the sample's largest score.** For $\alpha$ below about $1/m$ the threshold wants to be larger than
# anything in the sample. The estimate is then mostly too small, and only the upper end warns you:

# %%
rare, many = 0.001, 1000
exact = expected_set_size_exact(
    stats.halfnorm.cdf, many, rare, width_of, 0.0, math.inf
)
blind = [
    expected_set_size_known(row, many, rare, width_of, 0.0, 8.0).point
    for row in draws
]
print(f"alpha = {rare}, n = {many}, m = {m} (1/m = {1 / m})")
print(f"exact {exact:.2f}, mean estimate {np.mean(blind):.1f}")

# %% [markdown]
# **Unknown factors have a gap.** For LAC and APS (and for CQR, below), the interval of the authors' code covers the error in $\hat G$ but not
# the averaging over $X_i$ in (7). Whether the paper's proof covers it we could not check. Splitting $\gamma$ in two halves
# closes the gap: one half goes into (6), the other into Hoeffding's inequality for the mean of $m$ set sizes, each between 0
# and $K$. Both ends move out by $K\sqrt{\ln(4/\gamma)/(2m)}$, here with $K = 10$ and $m = 449$, and are cut to $[0, K]$. This wider
# interval is ours, not the paper's:

# %%
wide = expected_set_size_unknown(
    own["aps"][one],
    tables["aps"][one],
    n_digits,
    alpha,
    gamma=gamma / 2,
    outer_gamma=gamma / 2,
)
g, moved = guess["aps"], 10 * dkw_radius(n_digits, gamma / 2)
print(f"APS, authors' code:   {g.lower:.1f} to {g.upper:.1f}")
print(f"APS, ours (+- {moved:.2f}):  {wide.lower:.1f} to {wide.upper:.1f}")

# %% [markdown]
# **The rank is easy to get wrong.** In floating point, $(1-\alpha)(n+1)$ can land just above an integer, and rounding up then
# picks the next score. Ours is computed with fractions:

# %%
for size, level in ((149, 0.18), (9, 0.7), (99, 0.1)):
    floating = math.ceil((1 - level) * (size + 1))
    exact = conformal_rank(size, level)
    print(f"n = {size:3d}, alpha = {level}: exact {exact}", end=", ")
    print(f"in floating point {floating}")

# %% [markdown]
# Some libraries take other ranks too. crepes 0.9.1 takes the 91st score at $n = 99$, $\alpha = 0.1$, where the 90th is enough, and
# at $n = 9$ the tenth of nine: an infinite interval. The book's benchmark page counts such settings for four
# libraries. One rank too many keeps the guarantee and costs width, as a rule a little. One too few would break it; we found none.
#
# **The expectation is about one trained model.** Train again and $G$ changes. In the protocol below ten models are pooled,
# as in the authors' code, so the reference mixes two kinds of luck. The table also counts misses against each model's own
# average, to which the guarantee refers (where there is one: for the residual and 0-1).
#
# ## At full scale
#
# The full tier is the protocol of the authors' code: a quarter of the data trains a random forest, a quarter calibrates,
# the rest tests; ten training splits times a hundred calibration splits, and all of that from five seeds; targets standardised, so
# a width of 1 is one standard deviation of the target. The tables (airfoil noise, concrete strength, red wine quality; UCI, CC BY 4.0) are
# fetched with a checksum, or read from a folder you name. One row uses **CQR**, which scores
# $\max(\hat q_{\alpha/2} - y,\; y - \hat q_{1-\alpha/2})$ with a forest's quantiles
# ([Romano et al. 2019](https://arxiv.org/abs/1905.03222)); there the sum in (7) runs over 100 cells of the label range, each weighted by its width, and what a set holds outside
# that range is not counted. The full tier needs no GPU and about eight minutes on two cores. Run it with
#
# ```
# workings run conformal_set_size --tier full
# ```

# %%
if tier == "full":
    tables = full.run(settings, data_root)
    for name, rows in tables.items():
        ledger_.attach(name, rows)
    measured = tables["protocol"]
else:
    recorded = ledger.attachment("conformal_set_size", "full", "protocol")
    measured = recorded or []
runs = sum(row["runs"] for row in measured[:1])
print(f"{len(measured)} rows, {runs} runs each")

# %% tags=["hide-input"]
ends = ("lower", "size", "point", "upper")
names = {
    "l1": "residual",
    "cqr": "CQR",
    "zero_one": "0-1",
    "lac": "LAC",
    "aps": "APS",
}
ledger.Grid(
    "The full protocol: mean (standard deviation within a seed)",
    ["data", "lower end", "recalibrated", "estimate", "upper end", "error", "missed", "missed own", "miscoverage"],
    [
        [f"{row['data']}, {names[row['score']]}", *(f"{row[c]:.2f} ({row[c + '_sd']:.2f})" for c in ends),
         *(f"{row[c]:.3f}" for c in ("abs_error", "interval_error", "interval_error_own", "miscoverage"))]
        for row in measured
    ],
)  # fmt: skip

# %% [markdown]
# *Error* is how far a single estimate is from its seed's recalibrated mean, on average; *missed* the share of runs whose interval
# misses that mean, *missed own* the share that misses the mean of its own model; *miscoverage* the share of test labels
# outside their set. In six of the seven rows the means of estimate and recalibration agree more closely than single estimates
# do, since errors of single estimates cancel: agreement of means tests for bias only. In the 0-1 row nothing cancels: no
# estimate lies below one class, $B$ bends, and the bias is the whole error. That row is why css-2 and css-4 are undecided.
# Misses are rare, as in the toy; and because runs of one seed share their points (see above), their number does not say how
# conservative the interval is.
#
# Beside the authors' code, with the tolerance that was set before the first run. Its numbers are one run of the whole
# protocol; ours are means of five, and $\sqrt5$ times their standard errors is how far a single run strays:

# %% tags=["hide-input"]
compared = [
    (row, ledger_.chapter.claim(f"css-{number}").full)
    for number, row in enumerate(measured, start=6)
]
ledger.Grid(
    "Expected size: the authors' code and ours",
    [
        "data",
        "their code",
        "ours (standard error)",
        "difference",
        "tolerance",
    ],
    [
        [
            f"{row['data']}, {names[row['score']]}",
            f"{asked.target:.2f}",
            f"{row['point']:.3f} ({row['point_se'] or 0:.3f})",
            f"{row['point'] - asked.target:+.3f}",
            f"{asked.tolerance}",
        ]
        for row, asked in compared
    ],
)

# %%
if tier == "full":
    for number, row in enumerate(measured, start=6):
        sd = (row["point_se"] or 0) * math.sqrt(row["seeds"])
        ledger_.check(
            f"css-{number}",
            row["point"],
            spread=sd,
            seeds=settings.seeds,
        )

# %% tags=["hide-input"]
if tier == "full":
    gaps, errors = [], []  # mean difference per row, and its standard error
    for row in measured:
        same = [
            one["point"] - one["size"]
            for one in tables["seeds"]
            if (one["data"], one["score"]) == (row["data"], row["score"])
        ]
        gaps.append(abs(np.mean(same)))
        spread = np.std(same, ddof=1) if len(same) > 1 else 0.0
        errors.append(spread / math.sqrt(len(same)))
    widest = int(np.argmax(gaps))
    missed = [row["interval_error"] for row in measured]
    both = zip(gaps, missed, strict=True)
    passed = sum(gap <= 0.02 and miss <= gamma for gap, miss in both)
    near = [abs(g - 0.02) <= e for g, e in zip(gaps, errors, strict=True)]
    why = "a row lies within one standard error of css-2's line"
    for claim, value, options in (
        ("css-2", gaps[widest], {"error": errors[widest], "digits": 2}),
        ("css-3", max(missed), {"digits": 1}),
        ("css-4", passed, {"too_small": why if any(near) else None}),
    ):
        ledger_.check(claim, value, seeds=settings.seeds, **options)

# %% [markdown]
# ## The ledger
#
# What the paper claims, what this notebook found a moment ago, and what the recorded full run found. The numbers in the criteria of
# the full tier were set before its first run; those of the demo came with its first record, for the toy of css-2 and css-3 after a prototype's run. The verdicts are computed. Claims 6 to 12 repeat rows that were measured with the authors' code on these tables; they are not tables of the paper.
#
# <a id="css-6"></a><a id="css-7"></a><a id="css-8"></a><a id="css-9"></a><a id="css-10"></a><a id="css-11"></a><a id="css-12"></a>

# %%
ledger_.table()

# %% [markdown]
# ## Take it home
#
# You have a model and one array of held-out scores. These lines run by themselves, in an empty file; put your own scores and
# your own bound in the place of ours.

# %%
# pip install "git+https://github.com/workings-book/workings@main"
import numpy as np
from sklearn.datasets import load_diabetes

from workings.uncertainty import set_size
from workings.uncertainty.scores import residual_cum_factor

x, y = load_diabetes(return_X_y=True, scaled=False)
line = np.polyfit(x[:142, 2], y[:142], 1)
prediction = np.clip(np.polyval(line, x[142:, 2]), 0, 400)
your_scores = np.abs(y[142:] - prediction)  # on points kept from training
your_range = 400.0  # the largest score that can ever occur
known = (residual_cum_factor(), 0.0, your_range, 0.1)
for n, alpha in ((100, 0.1), (1000, 0.1), (1000, 0.05)):
    size = set_size.expected_set_size_known(your_scores, n, alpha, *known)
    wall = set_size.min_sample_for_interval(alpha, 0.1)
    print(f"n = {n}, {1 - alpha:.0%}: expect {size.point:.0f}", end=", ")
    print(f"interval {size.lower:.0f} to {size.upper:.0f}", end="; ")
    print(f"wall {wall}, scores {len(your_scores)}")

# %% [markdown]
# The last upper end says nothing: at 95% the wall stands beyond our 300 scores, and twice `your_range` is 800, whatever the
# scores. Beside the wall, look at the upper end itself: for a small $n$ it still contains some of the bound.
#
# Before you believe the number, check three things. The scores come from points that played no part in training. They are
# independent, and distributed like the points you will meet (not last year's customers for this year's). And the bound `your_range` holds
# for scores to come.
#
# ## Exercises
#
# **1.** Duplicate every score in your sample. Does the point estimate change? Does the interval? Should it?
#
# <details>
# <summary>Show the solution</summary>
#
# The empirical distribution is the same, so the estimate is the same. The interval shrinks, because $m$ doubled, and
# it should not have: the copies are not independent. The function cannot know; you must.
#
# </details>

# %% tags=["hide-input"]
twice = np.concatenate([residual, residual])
for name, sample in (("once ", residual), ("twice", twice)):
    size = expected_set_size_known(
        sample, 100, 0.1, width_of, 0.0, r_max, gamma
    )
    interval = f"interval {size.lower:.0f} to {size.upper:.0f}"
    print(f"{name}: {size.point:.0f}, {interval}")

# %% [markdown]
# **2.** For 0-1 scores the estimate is $1 + (K-1) B(\text{accuracy})$. With $K = 10$, $n = 449$ and $\alpha = 0.1$, how accurate must a model be before its expected
# set holds less than 1.01 classes?
#
# <details>
# <summary>Show the solution</summary>
#
# $B$ must fall below $0.01/9$. Search for the accuracy (next cell): about 94%, a few points above the coverage asked for.
# Near the coverage asked for, some calibration sets give all ten classes to everyone and the others one: the expected size
# slides from ten to one.
#
# </details>

# %% tags=["hide-input"]
classes = lambda accuracy: 1 + 9 * threshold_exceedance(accuracy, 449, 0.1)
accuracy = np.linspace(0.85, 0.99, 1401)
needed = accuracy[np.argmax(classes(accuracy) < 1.01)]
print(f"accuracy needed: {needed:.3f}")
for level in (0.88, 0.90, 0.92, 0.94):
    print(f"accuracy {level:.2f}: {classes(level):.2f} classes")

# %% [markdown]
# **3.** Write $\hat G$ with $\le$ instead of $<$ for the 0-1 score. What does the estimate say for a model that is always right?
#
# <details>
# <summary>Show the solution</summary>
#
# Every score is 0. With $<$, $\hat G(0) = 0$ and $\hat G(1) = 1$, so the estimate is $1\cdot B(0) + 9\cdot B(1) = 1$: right. With $\le$,
# $\hat G(0) = 1$ too, so it is $1\cdot B(1) + 9 \cdot B(1) = 0$: a perfect model would be expected to say nothing.
#
# </details>
#
# ## References
#
# - Dhillon, Deligiannidis, Rainforth. *On the Expected Size of Conformal Prediction Sets.* AISTATS 2024, PMLR 238:1549-1557. [arXiv 2306.07254](https://arxiv.org/abs/2306.07254). Code: Guneet-Dhillon/expected-conformal-prediction-set-size.
# - Vovk, Gammerman, Shafer. *Algorithmic Learning in a Random World.* Springer 2005. [doi 10.1007/b106715](https://doi.org/10.1007/b106715)
# - Lei et al. *Distribution-Free Predictive Inference for Regression.* JASA 2018. [doi 10.1080/01621459.2017.1307116](https://doi.org/10.1080/01621459.2017.1307116)
# - Massart. *The Tight Constant in the Dvoretzky-Kiefer-Wolfowitz Inequality.* Annals of Probability 1990. [doi 10.1214/aop/1176990746](https://doi.org/10.1214/aop/1176990746)
# - Sadinle, Lei, Wasserman. *Least Ambiguous Set-Valued Classifiers With Bounded Error Levels.* JASA 2019. [doi 10.1080/01621459.2017.1395341](https://doi.org/10.1080/01621459.2017.1395341)
# - Romano, Patterson, Candès. *Conformalized Quantile Regression.* NeurIPS 2019. [arXiv 1905.03222](https://arxiv.org/abs/1905.03222)
# - Romano, Sesia, Candès. *Classification with Valid and Adaptive Coverage.* NeurIPS 2020. [arXiv 2006.02544](https://arxiv.org/abs/2006.02544)
# - Angelopoulos, Bates. *Conformal Prediction: A Gentle Introduction.* 2023. [doi 10.1561/2200000101](https://doi.org/10.1561/2200000101). Where to read on.
