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
# <p class="wk-run"><a href="https://colab.research.google.com/github/workings-book/workings/blob/v0.1.0/notebooks/{{part}}/{{slug}}.ipynb">Run this chapter on Colab</a></p>
#
# The question, and why anyone should care, in a paragraph. This text comes from the template: it works through the
# simplest claim in statistics, so that every piece of a chapter can be seen at work before you replace it.
#
# | | |
# |---|---|
# | **You need** | what a reader must know already |
# | **Time** | to read, and to run |
# | **The paper** | title, venue, link |

# %%
# Set-up: installs the package where it is missing (as on Colab); elsewhere it only reports.
import importlib.util
import os
import subprocess
import sys

source = os.environ.get("WORKINGS_SOURCE", "git+https://github.com/workings-book/workings@v0.1.0")
if importlib.util.find_spec("workings") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

from workings.record import environment_line

print(environment_line())

# %% tags=["parameters"]
tier = "demo"
dry_run = False

# %%
import matplotlib.pyplot as plt
import numpy as np
from workings import ledger
from workings.controls import Axis, Control, Frame
from workings.figures import COLOURS, png_bytes, use_style
from workings.{{part}}.{{slug}} import Settings, mean_and_standard_error

use_style()
settings = Settings.for_tier(tier, dry_run=dry_run)
book = ledger.open("{{slug}}", tier=tier)

# %% [markdown]
# ## The idea
#
# In words; then one equation, every symbol named with its shape. For $n$ values $x_1, \dots, x_n$,
#
# $$
# \bar x = \frac1n \sum_{i=1}^n x_i, \qquad \mathrm{se} = \sqrt{\frac{1}{n(n-1)} \sum_{i=1}^n (x_i - \bar x)^2}. \tag{1}
# $$
#
# **By hand.** For the two values $1$ and $3$: $\bar x = 2$ and $\mathrm{se} = \sqrt{\frac12\cdot 2} = 1$.
#
# > **Predict.** In what share of samples does $\bar x \pm 2.01\,\mathrm{se}$ hold the true mean, for $n = 50$?
#
# <details>
# <summary>Show the answer</summary>
#
# About 95 in 100: with $n - 1 = 49$ degrees of freedom, $2.01$ is the 97.5th percentile of Student's $t$.
#
# </details>

# %%
rng = np.random.default_rng(settings.seed)
samples = rng.standard_normal((settings.repeats, settings.sample))
mean, error = mean_and_standard_error(samples)
share = float((np.abs(mean) <= 2.01 * error).mean())
print(f"{share:.2f} of {settings.repeats} intervals hold the mean")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Forty vertical intervals side by side around zero; two or three of them miss the horizontal line at zero."}, "figure": {"caption": "Forty of the samples, with their intervals. The line is the true mean.", "name": "fig-{{anchor}}-intervals"}}
fig, ax = plt.subplots()
ax.errorbar(np.arange(40), mean[:40], yerr=2.01 * error[:40], fmt="o", color=COLOURS["blue"])
ax.axhline(0, color=COLOURS["ink"], linewidth=1)
ax.set(xlabel="sample", ylabel="mean and interval", title="Forty intervals")
plt.show()

# %% [markdown]
# ## Play

# %% tags=["hide-input"]
def frame(n):
    """One picture of the control: the distribution of the mean of ``n`` values."""
    fig, ax = plt.subplots(figsize=(5.8, 3.0))
    ax.hist(samples[:, :n].mean(1), bins=np.linspace(-1.5, 1.5, 41), color=COLOURS["sky"], edgecolor="white")
    ax.set(xlabel="mean of the sample", ylabel="samples", title=f"n = {n}")
    return Frame(png_bytes(fig), f"Histogram of the means of {n} values, centred on zero, narrower for larger n.")


Control(
    "{{anchor}}-size",
    [Axis("Sample size n", ("2", "10", "50"), start=1)],
    [frame(n) for n in (2, 10, 50)],
    caption="Means of n standard normal values.",
)

# %% [markdown]
# ## The ledger
#
# <a id="{{anchor}}-1"></a>

# %%
book.check("{{anchor}}-1", share, spread=(share * (1 - share) / settings.repeats) ** 0.5, seeds=[settings.seed])

# %%
book.table()
