# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # {{title}}
#
# <p class="wk-run"><a href="https://colab.research.google.com/github/workings-book/workings/blob/main/notebooks/{{part}}/{{slug}}.ipynb">Run this chapter on Colab</a></p>
#
# The question, and why anyone should care, in a paragraph. This text comes from the template of {{part}}/{{slug}}: it works
# through the simplest claim in statistics, so that every piece of a chapter can be seen at work before you replace it.
#
# - **You need** the mean and the standard deviation.
# - **It takes** 5 minutes to read and a few seconds to run.
# - **Afterwards you can** put an interval around a mean, and say how often such an interval is right.

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
# "demo", or "full" for the protocol of the paper (see "At full scale")
tier = "demo"
dry_run = False

# %% tags=["hide-input"]
from functools import partial

import matplotlib.pyplot as plt
import numpy as np

from workings import ledger
from workings.show.controls import Axis, Control, Frame
from workings.show.figures import COLOURS, png_bytes, use_style
from workings.show.live import keep_cases
from workings.chapters.{{slug}}.demo import run_protocol
from workings.chapters.{{slug}} import full
from workings.chapters.{{slug}}.live import cases
from workings.chapters.{{slug}}.settings import Settings
from workings.{{part}}.{{slug}} import interval, mean_and_standard_error

use_style()
settings = Settings.for_tier(tier, dry_run=dry_run)
ledger_ = ledger.open("{{slug}}", tier=tier)

# %% [markdown]
# ## The idea
#
# In words first. We draw $n$ values from a source and call each of them $x$. Their mean $\bar x$ is not the true mean
# $\mu$, but an interval around $\bar x$ may hold $\mu$. Its *coverage* is the share of samples for which it does. Then one
# equation, every symbol named: for the values $x_1, \dots, x_n$,
#
# $$
# \bar x = \frac1n \sum_{i=1}^n x_i, \qquad
# \mathrm{se} = \sqrt{\frac{1}{n(n-1)} \sum_{i=1}^n (x_i - \bar x)^2}. \tag{1}
# $$
#
# The interval is $\bar x \pm t\,\mathrm{se}$ with the number $t$ that leaves $2.5\%$ of Student's distribution above it,
# its 97.5% quantile, for $n - 1$ degrees of freedom.
#
# **By hand.** For the two values $1$ and $3$: $\bar x = 2$, and by (1) $\mathrm{se} = \sqrt{\frac12\cdot 2} = 1$.

# %%
x = np.array([1.0, 3.0])
n, mean = len(x), x.sum() / len(x)
se = (((x - mean) ** 2).sum() / (n * (n - 1))) ** 0.5
print(f"mean {mean:.0f}, standard error {se:.0f}")
assert np.allclose(mean_and_standard_error(x), (mean, se))  # agrees with the kernel

# %% [markdown]
# The interval multiplies the standard error by $t$:

# %%
from scipy import stats

x = np.random.default_rng(0).standard_normal(50)
se = x.std(ddof=1) / 50**0.5
half = stats.t.ppf(0.975, 49) * se
print(f"{x.mean():.2f} ± {half:.2f}")
assert np.allclose(interval(x), (x.mean(), half))  # agrees with the kernel

# %% [markdown]
# The kernel takes many samples at once, one per row:

# %%
many = np.random.default_rng(1).standard_normal((3, 50))
one_by_one = [interval(sample) for sample in many]
assert np.allclose(np.transpose(one_by_one), interval(many))  # agrees with the kernel
print("three samples, one by one and at once: the same")

# %% [markdown]
# > **Predict.** In what share of samples does $\bar x \pm t\,\mathrm{se}$ hold $\mu$, for $n = 50$? And for $n = 2$?
#
# <details>
# <summary>Show the answer</summary>
#
# In 95 of 100, for both. With $n = 50$, $t$ is $2.01$; with $n = 2$ it is $12.7$, and the interval is so wide that it pays
# for knowing so little.
#
# </details>

# %%
if tier == "demo":
    measured = run_protocol(settings)
else:
    measured = full.run(settings)["protocol"][0]
print(f"{measured['share']:.2f} of {settings.repeats} intervals hold the mean")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Forty vertical intervals side by side around zero, nearly all of the same length; a few of them miss the horizontal line at zero."}, "figure": {"caption": "Forty samples, with their intervals. The line is the true mean.", "name": "fig-{{anchor}}-intervals"}}
rng = np.random.default_rng(settings.seed)
samples = rng.standard_normal((500, 50))
mean, half = interval(samples)
fig, ax = plt.subplots()
ax.errorbar(np.arange(40), mean[:40], yerr=half[:40], fmt="o", color=COLOURS["blue"])
ax.axhline(0, color=COLOURS["ink"], linewidth=1)
ax.set(xlabel="sample", ylabel="mean and interval", title="Forty intervals")
plt.show()

# %% [markdown]
# ## Play
#
# How do the means of samples spread, when $n$ grows? By (1) the width falls with $\sqrt n$: four times as many values, half
# the width. And what does one value far off do to the mean, and to its standard error?


# %% tags=["hide-input"]
def frame(n):
    """One picture of the control: the distribution of the mean of ``n`` values."""
    fig, ax = plt.subplots()
    ax.hist(samples[:, :n].mean(1), bins=np.linspace(-1.5, 1.5, 41), color=COLOURS["sky"], edgecolor="white")
    ax.set(xlabel="mean of the sample", ylabel="samples", title=f"n = {n}")
    return Frame(png_bytes(fig), f"Histogram of the means of {n} values, centred on zero, narrower for larger n.")


Control(
    "{{anchor}}-size",
    [Axis("Sample size n", ("2", "5", "20", "50"), start=1)],
    [partial(frame, n) for n in (2, 5, 20, 50)],
    caption="Means of n standard normal values.",
    live="{{slug}}",
)

# %% tags=["remove-cell"]
keep_cases("{{slug}}", cases())  # the live figure must give the same

# %% [markdown]
# ## Where it breaks
#
# The equation knows $n$ values that do not depend on each other, from a source that is close to normal. Conformal
# prediction asks for less: a conformity score, a calibration set, and examples that are exchangeable; its prediction set
# then holds the true answer $y$ as often as promised
# ([Vovk, Gammerman and Shafer, 2005](https://doi.org/10.1007/b106715);
# [Lei et al., 2018](https://doi.org/10.1080/01621459.2017.1307116)).
#
# ## At full scale
#
# The demo tier draws 2,000 samples; the full tier draws 20,000, on any laptop, in a second:
#
# ```
# workings run {{slug}} --tier full
# ```
#
# ## The ledger
#
# Every claim of the paper, what this notebook found a moment ago with its seed, and a verdict that is computed.
#
# <a id="{{anchor}}-1"></a>

# %%
share = measured["share"]
ledger_.check("{{anchor}}-1", share, spread=(share * (1 - share) / settings.repeats) ** 0.5, seeds=[settings.seed])

# %%
ledger_.table()

# %% [markdown]
# ## Take it home
#
# The lines below run by themselves, in an empty file; put your own values in the place of ours.

# %%
# pip install "git+https://github.com/workings-book/workings@main"
import numpy as np

from workings.{{part}}.{{slug}} import interval

your_values = np.array([4.1, 3.8, 4.4, 4.0, 3.9])
middle, half_width = interval(your_values)
print(f"{middle:.2f} ± {half_width:.2f}")

# %% [markdown]
# Before you believe the interval: do your values depend on each other, and is their source close to normal?
#
# ## Try it yourself
#
# **1.** What is the interval for the values $1$, $2$ and $3$? Student's $t$ with two degrees of freedom is $4.30$.
#
# <details>
# <summary>Show the solution</summary>
#
# $\bar x = 2$ and $\mathrm{se} = \sqrt{\frac16 \cdot 2} = 0.58$, so the interval is $2 \pm 2.48$.
#
# </details>
#
# **2.** How many values do you need for an interval half as wide as that of 50 values?
#
# <details>
# <summary>Show the solution</summary>
#
# About 200: the standard error falls with $\sqrt n$, and $t$ hardly changes.
#
# </details>
#
# **3.** Someone looks at 20 such intervals and reports the one that misses $0$. What has been found?
#
# <details>
# <summary>Show the solution</summary>
#
# Nothing yet: of 20 intervals that all should hold $0$, one is expected to miss it.
#
# </details>
#
# ## References
#
# - Vovk, Gammerman, Shafer. *Algorithmic Learning in a Random World.* Springer 2005. [doi 10.1007/b106715](https://doi.org/10.1007/b106715)
# - Lei et al. *Distribution-Free Predictive Inference for Regression.* JASA 2018. [doi 10.1080/01621459.2017.1307116](https://doi.org/10.1080/01621459.2017.1307116)
# - Angelopoulos, Bates. *Conformal Prediction: A Gentle Introduction.* 2023. [doi 10.1561/2200000101](https://doi.org/10.1561/2200000101). Where to read on.
