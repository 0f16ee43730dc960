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
# # Taught to know: does a model know when it is wrong?
#
# <p class="wk-run"><a href="https://colab.research.google.com/github/workings-book/workings/blob/main/notebooks/uncertainty/taught_to_know.ipynb">Run this chapter on Colab</a></p>
#
# A language model answers a question, and you have to decide whether to act on it. You could ask: "are you sure?"
# [Kapoor et al. (2024)](https://arxiv.org/abs/2406.08391) say that asking is not enough. A model must be *taught* to know: let it
# answer, grade some thousand of its answers, and fine-tune it to tell the right ones from the wrong ones. Here we do that on a task whose doubt can be computed
# exactly, so that every estimate has a truth beside it. Part of the paper's story then holds, and part does not.
#
# - **You need** probability, cross-entropy, and what a transformer's logits and hidden states are.
# - **It takes** 40 minutes to read and under two minutes to run.
# - **Afterwards you can** train an estimator of a model's confidence, measure ranking and calibration separately, and say which of the
#   usual numbers can fool you.
#
# We read the paper with its appendices and the authors' code. The bars of its figures we did not read off: where no number is printed, the one beside a claim was
# recomputed once from their published result files, by hand and not in this notebook.

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
# "demo", or "full" for real answers and a public model (see "At full scale")
tier = "demo"
# with "full": a few steps on made-up data, to see that it works
dry_run = False
# folder with the authors' table and the graded answers, if you have them
data_root = None
# folder with a language model, if you have one
model_root = None

# %% tags=["hide-input"]
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch

from workings import ledger
from workings.calibration import (
    auroc,
    bootstrap_ci,
    brier_decomposition,
    ece_positive,
    ece_top_label,
    expected_calibration_error,
    fit_temperature,
    reliability_curve,
    risk_coverage,
)
from workings.chapters.taught_to_know import (
    demo,
    full,
    graded_mathematics,
    self_knowledge,
)
from workings.chapters.taught_to_know.live import cases, kept
from workings.chapters.taught_to_know.settings import Settings
from workings.seeding import numpy_generator, torch_generator
from workings.show.controls import Axis, Control, Frame
from workings.show.figures import COLOURS, png_bytes, use_style
from workings.show.live import keep_cases, keep_weights
from workings.uncertainty import noisy_votes as votes
from workings.uncertainty.answer_confidence import sequence_confidence
from workings.uncertainty.confidence_estimators import jensen_shannon

use_style()
torch.set_num_threads(1)  # on tiny matrices threads wait for each other
settings = Settings.for_tier(tier, dry_run=dry_run)
seeds = settings.seeds
ledger_ = ledger.open("taught_to_know", tier=tier)

# %% [markdown]
# ## A task with doubt that can be computed
#
# To judge a confidence we need to know how sure one *can* be. So we invent a task. A question names one of six domains and shows eight votes. It has a
# hidden class out of six. Each vote names that class with probability $\rho$ (the domain's reliability), and otherwise any of the six. The answer
# is two tokens: a filler word ("it is", "probably", ...; four of them, all equally good), and the name of the class. Each domain orders the six names in its own way.
#
# What is the chance that class $k$ is the hidden one? With a flat prior and $n_k$ votes for $k$ among the eight, Bayes' rule gives the posterior
#
# $$
# p(k \mid \text{votes}) \;\propto\; \Big( \rho + \frac{1-\rho}{6} \Big)^{n_k} \Big( \frac{1-\rho}{6} \Big)^{8 - n_k}. \tag{1}
# $$
#
# **By hand:** $\rho = 0.4$: a vote for $k$ multiplies the odds of $k$ by $0.5 / 0.1 = 5$. With three votes for one class and two for another, the first is five times as likely as the second.
# The question below has $\rho = 0.25$. There a vote counts $0.375 / 0.125 = 3$ times, and three votes against two make a class three times as likely.

# %%
asked = votes.vote_questions(4, [0, 4], torch_generator(0, "a look"))
for prompt in asked.prompts[:1]:
    domain = int(prompt[1]) - votes.FIRST_DOMAIN
    rho = votes.RELIABILITY[domain]
    classes = prompt[2:-1] - votes.FIRST_VOTE
    count = torch.bincount(classes, minlength=6).double()
    weight = (rho + (1 - rho) / 6) ** count * ((1 - rho) / 6) ** (8 - count)
    by_class = weight / weight.sum()
    names = votes.class_names()[domain] - votes.FIRST_NAME
    by_name = torch.zeros(6).double().scatter(0, names, by_class)
    kernel = votes.name_posterior(asked.prompts)[0]
    assert torch.allclose(by_name, kernel)  # agrees with the kernel
print("rho:", rho)
print("votes per class:", count.int().tolist())
print("posterior:", [round(p, 2) for p in by_class.tolist()])

# %% [markdown]
# A small transformer (two blocks, width 48) is trained from scratch on right answers to such questions, once for each of three seeds. One row in five goes on with a
# question about the answer, `ASK`, and is told "yes" 19 times out of 20, *whatever the answer is*. That is our stand-in for a model that has read much more
# agreement than doubt. We made it over-confident on purpose.
#
# The next cell does everything that takes time: it trains the models, lets them answer (greedily: the likeliest token at each step), grades the answers, and fits
# every estimator of this page.

# %%
runs = demo.run_seeds(settings)
test = [run.answers.test for run in runs]
grades = [answers.right.numpy() for answers in test]
print(f"{len(runs)} models, {len(grades[0]):,} test answers each")


# %%
def mean(value):
    """Mean over the seeds and standard deviation of value(run)."""
    return demo.over_seeds(runs, value)[:2]


right = mean(lambda run: run.answers.test.accuracy)
possible = mean(lambda run: float(run.answers.test.posterior.mean()))
near = lambda share: f"{round(20 * share) / 20:.2f}"  # to the nearest 0.05
print(f"right answers: about {near(right[0])} of all")
print(f"mean exact posterior of the answers: about {near(possible[0])}")

# %% [markdown]
# About three answers in four are right. Most of the wrong ones are nobody's fault: the votes mislead. What a good estimator should do is say *which* answers are doubtful.
#
# ## Two questions about a confidence
#
# Write $c_i \in \{0, 1\}$ for whether answer $i$ is right, and $g_i \in [0, 1]$ for the confidence. Two things can go wrong.
#
# **Ranking.** Does a right answer get more confidence than a wrong one? AUROC is the share of (right, wrong) pairs in the right order, a tie counting one half:
#
# $$
# \mathrm{AUROC} = P\big( g_{\text{right}} > g_{\text{wrong}} \big) + \tfrac12\, P\big( g_{\text{right}} = g_{\text{wrong}} \big). \tag{2}
# $$
#
# One half is what a coin reaches. **Calibration.** Of the answers with confidence 0.8, are 80 in 100 right? The expected calibration error (ECE) sorts the answers into ten bins $b$ by their confidence and averages the gaps:
#
# $$
# \mathrm{ECE} = \sum_{b} \frac{n_b}{n} \,\big|\, \overline{c}_b - \overline{g}_b \,\big|. \tag{3}
# $$
#
# They are different virtues. A constant $g$ equal to the share of right answers is perfectly calibrated and ranks nothing. Halving every $g$ ruins calibration and leaves the order alone.

# %%
g = demo.probability(runs[0].odds[demo.PROBE])
c = grades[0]
difference = g[c == 1][:, None] - g[c == 0][None, :]
pairs = np.mean((difference > 0) + 0.5 * (difference == 0))
assert abs(pairs - auroc(g, c)) < 1e-12  # agrees with the kernel

bins = np.minimum((10 * g).astype(int), 9)  # 1.0 joins the last bin
gaps = [abs(c[bins == b].mean() - g[bins == b].mean()) for b in set(bins)]
share = [np.mean(bins == b) for b in set(bins)]
by_hand = sum(s * gap for s, gap in zip(share, gaps, strict=True))
kernel = expected_calibration_error(g, c)
assert abs(by_hand - kernel) < 1e-9  # agrees with the kernel

# %% [markdown]
# ## Ask
#
# Zero-shot, as in [Kadavath et al. (2022)](https://arxiv.org/abs/2207.05221): put `ASK` behind the model's own answer and compare the logits of "yes" and "no",
#
# $$
# g(x, a) = \frac{e^{z_{\text{yes}}}}{e^{z_{\text{yes}}} + e^{z_{\text{no}}}} . \tag{4}
# $$
#
# **Predict:** the model has seen 95% yes. What will its ECE be, and what its AUROC?

# %% tags=["hide-input"] mystnb={"image": {"alt": "A reliability diagram. The points of the exact posterior follow the diagonal from left to right, but for a small one at the left. All the points of asking sit at the far right, at a confidence close to one, well below the diagonal. The points of the answer's likelihood sit at the far left, at small confidences, high above the diagonal."}, "figure": {"caption": "Confidence against the share of right answers, one seed; the larger a point, the more answers. Asking says yes to everything; the likelihood of the whole answer says that nearly everything is improbable; the exact posterior is what could be known.", "name": "fig-ttk-ask"}}
fig, ax = plt.subplots()
ax.plot([0, 1], [0, 1], color=COLOURS["grey"], linewidth=1, linestyle="-")
for label, p, name, marker in (
    ("exact posterior", test[0].posterior.numpy(), "green", "o"),
    ("asked", demo.probability(runs[0].odds[demo.ASKED]), "red", "s"),
    ("likelihood", demo.probability(runs[0].odds[demo.LIKELIHOOD]), "blue", "^"),
):  # fmt: skip
    curve = reliability_curve(p, grades[0])
    look = dict(color=COLOURS[name], marker=marker, label=label, alpha=0.8)
    look["s"] = 15 + 200 * curve.count / len(p)
    ax.scatter(curve.confidence, curve.accuracy, **look)
ax.set(xlabel="confidence", ylabel="share of right answers")
ax.set(xlim=(0, 1.03), ylim=(0, 1.03), title="What it says, and what is so")
ax.legend(loc="lower center", markerscale=0.6)
plt.show()

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# The confidence is near 0.95 everywhere and about 0.75 of the answers are right, so the ECE is about 0.2. And since the yes had nothing to do with the answer, the order is,
# over the seeds, about that of a coin; a single seed may lie clearly to either side (exercise 3).
#
# </details>


# %%
def quality(name, key="auroc"):
    """Mean over the seeds of one number of one method, and its spread."""
    of = lambda run: demo.quality(run.odds[name], run.answers.test.right)
    return mean(lambda run: of(run)[key])


says = quality(demo.ASKED, "mean")[0]
print(f"it says {near(says)} on average; {near(right[0])} are right")
order, error = quality(demo.ASKED), quality(demo.ASKED, "ece")
print(f"AUROC {order[0]:.1f}, ECE about {near(error[0])}")

# %% [markdown]
# We built it so, and so there is nothing to conclude from it. Whether a real model is like this is what claims 1 and 2 say; a recorded run asks one, see "At full scale".
#
# <a id="ttk-1"></a><a id="ttk-2"></a>
#
# ## The probability of the answer
#
# A language model comes with a confidence of its own: the probability that it gave to the answer, the product over its tokens. In the figure it sits far too low. Why?

# %%
answers = test[0]
log_p = np.stack([answers.filler, answers.name], axis=1)  # (n, 2)
whole = sequence_confidence(log_p)
product = np.exp(log_p[:, 0]) * np.exp(log_p[:, 1])
assert np.allclose(whole, product)  # agrees with the kernel
filler, name = np.exp(log_p).mean(axis=0)
print(f"mean probability of the filler {near(filler)}")
assert abs(name - answers.accuracy) < 0.1 or dry_run  # the name's: right

# %%
value, spread = mean(
    lambda run: (
        run.answers.test.accuracy
        - float(
            (run.answers.test.filler + run.answers.test.name).exp().mean()
        )
    )
)
ledger_.check(
    "ttk-14", value, spread=spread, seeds=seeds, digits=1, at="demo"
)

# %% [markdown]
# Because one answer can be said in four ways, and the probability is split among them. What does the probability of one token say?


# %%
def scored(measure, *tokens):
    """Mean over the seeds of one measure of the tokens' probability."""
    of = lambda a: sum(getattr(a, token) for token in tokens).exp().numpy()
    return np.mean([measure(of(a), a.right.numpy()) for a in test])


for words, tokens in (("the name", ["name"]), ("both", ["filler", "name"])):
    rank, off = scored(auroc, *tokens), scored(ece_positive, *tokens)
    print(f"{words:8}  AUROC about {near(rank)}, ECE about {near(off)}")

# %% [markdown]
# The *name* alone is a good confidence: the model was trained with cross-entropy on
# answers to this very task. Which token carries the meaning, we know and a program does not. For free text nobody can sum over all wordings; sampling some and grouping them by
# meaning is one way ([Kuhn et al. 2023](https://arxiv.org/abs/2302.09664)), at the price of many answers for each question. The paper's sampling baselines are of this kind.
# (Ranking does not suffer here: the filler's probability is nearly the same for all questions, so that the product ranks about as well as the name.)
#
# ## Grade, and teach
#
# Let the model answer 1,000 questions, grade the answers, and minimise the cross-entropy of the grade,
#
# $$
# \min_\phi\; \mathbb{E}\big[ -c \log g_\phi(x, a) - (1 - c) \log (1 - g_\phi(x, a)) \big], \tag{5}
# $$
#
# a proper scoring rule: its minimum is at the true probability. Three forms of $g_\phi$, as in the paper:
#
# - **Probe**: a small network on the frozen hidden state of the answer's last token (three hidden layers of 256, 128 and 64; the *linear probe* of other chapters is its simplest relative).
# - **LoRA**: the same head, and low-rank adapters on the model, so that the features can change too.
# - **LoRA + Prompt**: no head. Adapters, and the question `ASK` in the prompt: (4) again, now trained.
#
# Training the adapters changes the model, and with it the answers whose confidence we wanted. So the last two carry a regulariser: at every answer token $t$, the Jensen-Shannon divergence from the untouched model,
#
# $$
# \lambda \sum_t \mathrm{JSD}\big( \pi_\phi(\cdot \mid x, a_{<t}) \,\|\, \pi_0(\cdot \mid x, a_{<t}) \big), \quad \mathrm{JSD}(p \,\|\, q) = \tfrac12 \mathrm{KL}(p \,\|\, h) + \tfrac12 \mathrm{KL}(q \,\|\, h), \quad h = \tfrac{p+q}2. \tag{6}
# $$
#
# Unlike a KL divergence it is symmetric and at most $\ln 2$ nats, so that no single token can dominate.

# %%
two = torch.randn(2, 5, 10, generator=torch_generator(0, "two")).double()
p, q = two.softmax(-1)
h = (p + q) / 2
kl = lambda a, b: (a * (a / b).log()).sum(-1)
jsd = (kl(p, h) + kl(q, h)) / 2
assert torch.allclose(jsd, jensen_shannon(*two))  # agrees with the kernel
apart = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
far = jensen_shannon(*(1e3 * one for one in apart))
print(f"largest possible: {float(far):.4f} = ln 2 nats")

# %% [markdown]
# **Predict:** which of the three ranks best on fresh answers? Does any reach the exact posterior? And which beats the likelihood of the answer, which needs no training at all?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels of horizontal bars with a dot and a thin interval for each seed. Left, AUROC: asking is near one half; Probe, LoRA and LoRA plus Prompt lie close together, a little above seven tenths; the question's words alone and the likelihood are higher, and the exact posterior is highest. Right, ECE: the likelihood is far above all others, asking second, and all trained estimators are small."}, "figure": {"caption": "Ranking and calibration of every method, mean over three seeds as a bar and each seed as a dot with its 95% bootstrap interval over the questions (that of an ECE leans upwards: resampling adds noise, which an ECE counts as error). The three taught estimators have the blue bars. Left, longer is better; right, shorter.", "name": "fig-ttk-methods"}}
exact = [demo.logit(answers.posterior).numpy() for answers in test]
ece_of = lambda odds, c: ece_positive(demo.probability(odds), c)
rng = numpy_generator(0, "intervals of the methods")
options = dict(rng=rng, resamples=settings.resamples)
ink = dict(color=COLOURS["ink"], markersize=3)
apart_by = np.linspace(-0.2, 0.2, len(runs))  # one seed above the other
fig, panels = plt.subplots(1, 2, sharey=True, figsize=(4.6, 3.6))
for ax, measure, title in zip(panels, (auroc, ece_of), ("AUROC", "ECE"), strict=True):  # fmt: skip
    for place, (method, odds) in enumerate(demo.by_method(runs, exact)):
        both = zip(odds, grades, strict=True)
        found = [bootstrap_ci(measure, o, c, **options) for o, c in both]
        colour = COLOURS["sky" if method in demo.TAUGHT else "pale"]
        ax.barh(place, np.mean([f.estimate for f in found]), color=colour)
        for f, y in zip(found, place + apart_by, strict=True):
            ax.plot([f.low, f.high], [y, y], "-", linewidth=0.8, **ink)
            ax.plot(f.estimate, y, "o", **ink)
    names = [name for name, _ in demo.by_method(runs, exact)]
    ax.set_yticks(range(len(names)), names)
    ax.set(title=title)
panels[0].set(xlim=(0.35, 0.95), xlabel="one half is a coin")
panels[1].set(xlabel="0 is perfect")
plt.show()

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# All three taught estimators rank far better than asking, and their ECE is small. Between them there is little here, no more than between seeds. None reaches
# the exact posterior, and none beats the likelihood, which in this toy ranks the answers almost as well as the posterior does.
#
# </details>


# %%
def gain(better, worse):
    """AUROC of one method above another's, seed by seed."""
    both = lambda run: [
        demo.quality(run.odds[name], run.answers.test.right)["auroc"]
        for name in (better, worse)
    ]
    return mean(lambda run: both(run)[0] - both(run)[1])


value, spread = gain(demo.PROMPT, demo.ASKED)
ledger_.check(
    "ttk-3", value, spread=spread, seeds=seeds, digits=0, at="demo"
)

# %%
value, spread = gain(demo.PROMPT, demo.PROBE)
ledger_.check(
    "ttk-5", value, spread=spread, seeds=seeds, digits=0, at="demo"
)

# %%
value, spread = gain(demo.PROMPT, demo.LIKELIHOOD)
ledger_.check(
    "ttk-6", value, spread=spread, seeds=seeds, digits=0, at="demo"
)

# %%
ratio = lambda run: (
    demo.quality(run.odds[demo.PROMPT], run.answers.test.right)["ece"]
    / demo.quality(run.odds[demo.ASKED], run.answers.test.right)["ece"]
)
value, spread = mean(ratio)
ledger_.check(
    "ttk-4", value, spread=spread, seeds=seeds, digits=0, at="demo"
)

# %% [markdown]
# Asked, our model says nothing of use, because we made it so. Taught, it ranks its answers.
#
# **Probe does about as well as training the features**, as far as three seeds can tell. In the paper's open-ended questions it is worse than LoRA + Prompt by about 0.12, but than LoRA by only 0.03 (three chat models); in its multiple-choice questions Probe too is enough to beat the baselines. Why is it enough
# in the toy? The last state of a two-block model may still hold some of the votes that it has just counted. A deep model's last layer has long turned to
# predicting the next word. That was our guess; the one deep model of our record does not bear it out (see "At full scale"): there the probe even ranks better.
#
# **The likelihood ranks best.** Among the paper's baselines are likelihoods of sampled whole answers, which is another case than ours: one token that carries the answer, and a model trained on exactly that
# token. Where your answers are like that, try it first: it costs nothing.
#
# ### What the regulariser is for
#
# The ablation: the same training without (6). In the tables and the code it is called "LoRA + Prompt, free".

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bars with a dot for each seed: the share of right answers of the model before tuning and after LoRA plus Prompt with the regulariser are equal, about three quarters; without the regulariser the share is much lower and differs from seed to seed."}, "figure": {"caption": "Right answers of the model itself, on the same questions, before and after it was taught. With the regulariser the share stays; without it it falls, by an amount that differs from seed to seed.", "name": "fig-ttk-kept"}}
fig, ax = plt.subplots(figsize=(4.6, 2.6))
before = [run.answers.test.accuracy for run in runs]
with_it = [run.kept[demo.PROMPT] for run in runs]
without = [run.kept[demo.FREE] for run in runs]
labels = ("before", "taught,\nregulariser", "taught,\nwithout")
for place, found in enumerate((before, with_it, without)):
    ax.bar(
        place,
        np.mean(found),
        color=COLOURS["sky" if place < 2 else "pale"],
        width=0.6,
    )
    ax.plot(
        [place] * len(found), found, "o", color=COLOURS["ink"], markersize=4
    )
ax.set_xticks(range(3), labels)
ax.set(
    ylabel="share of right answers",
    ylim=(0, 1),
    title="Does it still answer?",
)
plt.show()

# %%
lost = lambda name: mean(
    lambda run: 100 * (run.answers.test.accuracy - run.kept[name])
)
value, spread = lost(demo.PROMPT)
ledger_.check(
    "ttk-11", value, spread=spread, seeds=seeds, digits=0, at="demo"
)

# %%
value, spread = lost(demo.FREE)
ledger_.check(
    "ttk-12", value, spread=spread, seeds=seeds, digits=0, at="demo"
)

# %%
drift = [
    [run.drift[name] for run in runs] for name in (demo.PROMPT, demo.FREE)
]
assert max(drift[0]) < max(drift[1]) or dry_run  # nats per answer
fewer = lambda run: (
    demo.quality(run.odds[demo.FREE], run.answers.test.right)["ece"]
    - demo.quality(run.odds[demo.PROMPT], run.answers.test.right)["ece"]
)
value, spread = mean(fewer)
ledger_.check(
    "ttk-13", value, spread=spread, seeds=seeds, digits=0, at="demo"
)

# %% [markdown]
# The paper gives the regulariser another merit: in its Table 1 the ECE falls from 29.9% without it to 10.8% with it. When these two numbers were recomputed from the published files (by hand, as above),
# the first agreed with runs *after* temperature scaling and the second with runs *without*. So the two rows seem to differ in more than the regulariser. Like with like, the toy shows no gain.
#
# ## How many graded answers?
#
# The paper: about 1,000 come close to 20,000. We have 100, 1,000 and 4,000, and the same number of steps (4,000 draws) each, so more steps might still help the largest set.

# %% tags=["hide-input"] mystnb={"image": {"alt": "AUROC against the number of graded answers on a logarithmic axis, one line for each seed. All lines rise from one hundred to one thousand; from one thousand to four thousand they change much less. A dashed line near one half marks asking; a dotted line, above all of them, marks the likelihood."}, "figure": {"caption": "LoRA + Prompt by the number of graded answers, one line per seed, beside two baselines that need no graded answers (means). Most of what 4,000 gain is there by 1,000; no line reaches the likelihood.", "name": "fig-ttk-sizes"}}
fig, ax = plt.subplots(figsize=(4.6, 2.8))
ranks_by_size = [
    [auroc(odds, c) for odds in run.sizes.values()]
    for run, c in zip(runs, grades, strict=True)
]
sizes = list(runs[0].sizes)
colours = ("blue", "orange", "green")
for ranks, name in zip(ranks_by_size, colours, strict=False):
    ax.plot(sizes, ranks, "o-", color=COLOURS[name])
for method, name, dash in (
    (demo.LIKELIHOOD, "purple", ":"),
    (demo.ASKED, "red", "--"),
):
    line = dict(color=COLOURS[name], linestyle=dash)
    ax.axhline(quality(method)[0], label=f"{method} (mean)", **line)
ax.set(
    xscale="log",
    xlabel="graded answers (log scale)",
    ylabel="AUROC",
    title="Little more after a thousand",
)
ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
ax.minorticks_off()
ax.legend(loc="center right", bbox_to_anchor=(1, 0.4))
plt.show()

# %%
pairs = zip(ranks_by_size, runs, grades, strict=True)
crossed = [
    max(ranks) > auroc(run.odds[demo.LIKELIHOOD], c)
    for ranks, run, c in pairs
]
print(f"lines that cross the likelihood: {sum(crossed)} of {len(crossed)}")

# %%
more = lambda run: (
    auroc(run.sizes[settings.many], run.answers.test.right.numpy())
    - auroc(run.sizes[settings.graded], run.answers.test.right.numpy())
)
value, spread = mean(more)
ledger_.check("ttk-7", value, spread=spread, seeds=seeds, digits=0)

# %% [markdown]
# ## Elsewhere: other domains, another model, no model
#
# Is what was learnt a property of these questions, or does it carry over? Three tests. *Held-out domains*: the graded answers came from domains 0 to 3; test on 4 and 5, whose order of names the estimator has never seen graded. *Another
# model*: the answers of a weak model (the same training, stopped half way) to the same questions, judged by the strong model's estimator and by one made for the weak model.
# *No model*: a head that sees only how often each word stands in the question, as the paper does with sentence embeddings. If that does as well, nothing shows that *answers* are judged.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Dots for each seed on a scale of AUROC, in five rows. On held-out domains Probe and LoRA plus Prompt lie above one half but below the question's words alone. On the weak model's answers its own estimator is above the strong model's in every seed."}, "figure": {"caption": "AUROC away from home, one dot per seed, the mean as a line. The upper three rows: held-out domains. The lower two: the weak model's answers.", "name": "fig-ttk-elsewhere"}}
away = lambda name: [
    auroc(run.held_out[name], run.answers.held_out.right.numpy())
    for run in runs
]
judged = lambda who: [
    auroc(run.weak[who], run.answers.weak_test.right.numpy())
    for run in runs
]
rows = {
    "Probe, held out": away(demo.PROBE),
    "LoRA + Prompt, held out": away(demo.PROMPT),
    "words only, held out": away(demo.WORDS),
    "weak model, strong's estimator": judged("strong"),
    "weak model, its own": judged("own"),
}
fig, ax = plt.subplots(figsize=(4.6, 2.8))
for place, found in enumerate(reversed(rows.values())):
    ax.plot(found, [place] * len(found), "o", color=COLOURS["blue"])
    ax.plot(
        [np.mean(found)] * 2,
        [place - 0.25, place + 0.25],
        color=COLOURS["ink"],
        linestyle="-",
    )
ax.axvline(0.5, color=COLOURS["red"], linestyle="--", linewidth=1)
ax.set_yticks(range(len(rows)), list(reversed(rows)))
ax.set(xlabel="AUROC", title="Away from home", xlim=(0.4, 0.95))
plt.show()

# %%
value, spread = mean(
    lambda run: auroc(
        run.held_out[demo.PROMPT], run.answers.held_out.right.numpy()
    )
)
ledger_.check(
    "ttk-8", value, spread=spread, seeds=seeds, digits=0, at="demo"
)

# %%
change = np.array(judged("strong")) - np.array(judged("own"))
options = dict(spread=float(change.std(ddof=1)), seeds=seeds, digits=0)
ledger_.check("ttk-9", change.mean(), **options, at="demo")


# %%
def words_win(odds, answers):
    """Whether the words alone rank better than every taught estimator."""
    rank = {name: auroc(z, answers.right) for name, z in odds.items()}
    return rank[demo.WORDS] > max(rank[name] for name in demo.TAUGHT)


near_by = [words_win(run.odds, run.answers.test) for run in runs]
far = [words_win(run.held_out, run.answers.held_out) for run in runs]
print("the words rank better than Probe, LoRA and LoRA + Prompt:")
print(f"at home in {sum(near_by)} of {len(near_by)} seeds", end=", ")
print(f"on held-out domains in {sum(far)} of {len(far)}")

# %%
value, spread = quality(demo.WORDS)
ledger_.check(
    "ttk-10", value, spread=spread, seeds=seeds, digits=1, at="demo"
)

# %% [markdown]
# On held-out domains the taught estimators stay above a coin and below what they reach at home; whether LoRA + Prompt stays above 0.60, three seeds do not decide. The other two come out against the paper. The strong model's estimator
# judges the weak one's answers better than a coin, but worse than the weak model's own. And the words alone beat Probe, LoRA (which
# the figure leaves out) and LoRA + Prompt in every seed, at home and away. That is a property of *our* questions: six votes for one class make an easy question, and a glance at the counts says so. A question about the capital of Tuvalu does not show
# how hard it is in this way. Before you trust an estimator, train this baseline: it tells you how much of your AUROC recognising hard questions would give.
#
# ## Temperature
#
# A temperature $T$ divides the log-odds: $g_T = 1 / (1 + e^{-z / T})$. It is fitted on held-back answers by minimising (5) over the single number $T$. In $\beta = 1/T$ the loss is convex, and its slope,
#
# $$
# \frac{d}{d\beta} = \frac1n \sum_i z_i \big( g_i - c_i \big), \qquad g_i = \frac1{1 + e^{-\beta z_i}}, \tag{7}
# $$
#
# has at most one zero: halve an interval.

# %%
z, c = runs[0].odds[demo.LORA], grades[0]
half = len(c) // 2  # fit on one half, measure on the other
low, high = 0.0, 100.0
for _ in range(100):
    beta = (low + high) / 2
    slope = np.mean(
        z[:half] * (demo.probability(beta * z[:half]) - c[:half])
    )
    low, high = (beta, high) if slope < 0 else (low, beta)
fitted = fit_temperature(z[:half], c[:half])
assert np.isclose(beta, 1 / fitted.temperature)  # agrees with the kernel
assert abs(fitted.gradient) < 1e-8 or fitted.at_infinity
print("slope at the minimum: below 1e-8")

# %% [markdown]
# ### Play: the temperature
#
# Move $T$ on the log-odds of LoRA + Prompt. The reliability diagram and the ECE move. Which number does not? In the book's page you can also take other
# confidences, other bins and fewer answers. Try this there: choose the untaught model and press "Fit T". What has it learnt?


# %% tags=["hide-input"]
def frame(T):
    """One picture: the reliability diagram at one temperature."""
    p, c = demo.probability(runs[0].odds[demo.PROMPT] / T), grades[0]
    curve = reliability_curve(p, c)
    fig, ax = plt.subplots(figsize=(4.2, 2.6))
    ax.plot(
        [0, 1], [0, 1], color=COLOURS["grey"], linewidth=1, linestyle="-"
    )
    look = dict(s=15 + 200 * curve.count / len(p), color=COLOURS["blue"])
    ax.scatter(curve.confidence, curve.accuracy, **look)
    ax.set(xlabel="confidence", ylabel="share right")
    ax.set(xlim=(0, 1.03), ylim=(0, 1.03))
    said = f"ECE {expected_calibration_error(p, c):.2f}, AUROC {auroc(p, c):.2f}"
    ax.set_title(said)
    alt = f"Reliability diagram at temperature {T:.2g}: {said}."
    return Frame(png_bytes(fig), alt)


stops = (0.2, 0.35, 0.6, 1.0, 1.7, 3.0, 5.0)
Control(
    "ttk-temperature",
    [Axis("temperature T", tuple(f"{T:g}" for T in stops), 3)],
    [partial(frame, T) for T in stops],
    caption="Dividing the log-odds by T: confidence moves towards one half as T grows, and the order stays.",
    live="taught_to_know",
)

# %% tags=["remove-cell"]
# The book's page computes this figure in the browser, from the log-odds of the
# first seed. Its script is compared with what the kernels give:
if not dry_run:
    keep_weights("taught_to_know", kept(runs[0]))
keep_cases("taught_to_know", cases())

# %%
c, z = grades[0], runs[0].odds[demo.PROMPT]
ranks = [auroc(z / T, c) for T in stops]
ledger_.check("ttk-15", max(ranks) - min(ranks))

# %% [markdown]
# AUROC sees only the order. (In floating point keep to the log-odds: a confidence that has been rounded to exactly 1 has lost its place in the order.) So a table in which a method's AUROC changes with scaling compares two
# different runs. And our toy that was only asked can be fitted too:

# %%
first, second = slice(0, half), slice(half, None)
scaled, plain = [], []
for run, c in zip(runs, grades, strict=True):
    z = run.odds[demo.ASKED]
    T = fit_temperature(z[first], c[first]).temperature
    plain.append(ece_of(z[second], c[second]))
    scaled.append(ece_of(z[second] / T, c[second]))
print(f"asked: ECE about {near(np.mean(plain))}", end="; ")
low = sum(ece < 0.05 for ece in scaled)
print(f"scaled: below 0.05 in {low} of {len(scaled)} seeds")

# %% [markdown]
# Its ECE becomes small, its AUROC stays what it was: it has learnt how often it is right but not when. This works because it is too sure of a yes that is mostly right.
#
# The optimum may be at infinity: where the slope (7) is not negative at $\beta = 0$, the best temperature wipes the scores out, and every confidence is one half. On a test set where half of the answers are right that has an ECE of about 0:

# %%
rng = numpy_generator(0, "useless scores")
useless, coin = rng.normal(size=4000), np.arange(4000) % 2
useless -= 0.1 * coin  # the tiny bit that they say is wrong
fitted = fit_temperature(useless, coin)
flat = np.full(len(coin), 0.5)
assert fitted.at_infinity
print(f"best temperature: {fitted.temperature:g}")
print(f"ECE then {ece_positive(flat, coin):.2f}")
parts = brier_decomposition(flat, coin)
print(f"resolution {parts.resolution:.2f} of {parts.uncertainty:.2f}")

# %% [markdown]
# Never report an ECE without an AUROC, or without the resolution of the Brier score: the part of the outcome's variance that the confidences explain.
#
# ## Where it breaks
#
# **Which ECE?** The paper's appendix A.4 bins $P(\text{correct})$, as (3) does. Its code bins the confidence of the *decision*, $\max(g, 1-g)$, against whether the decision (right, if $g \ge \frac12$) is true. As long as every $g$ is above one half the two are
# the same number. They differ where doubt is spoken: then the bins at $g$ and $1 - g$ become one, in which too sure and too unsure decisions cancel, so that the decision's ECE comes out smaller (with ten even bins, and no $g$ on an edge, never larger):

# %%
g, c = np.array([0.1, 0.1, 0.9, 0.9]), np.array([0, 0, 0, 1])
print(f"P(correct): {ece_positive(g, c):.2f}, decision", end=" ")
print(f"{ece_top_label(g, c):.2f}")

# %%
gap = lambda run: abs(
    demo.quality(run.odds[demo.ASKED], run.answers.test.right)["ece"]
    - demo.quality(run.odds[demo.ASKED], run.answers.test.right)[
        "ece_decision"
    ]
)
value, spread = mean(gap)
ledger_.check(
    "ttk-16", value, spread=spread, seeds=seeds, digits=1, at="demo"
)

# %% [markdown]
# We expected a clear difference for the asked model (claim 16) and had not thought of this: it never says no, so there is none. **The other conventions.** How many bins, of equal widths or equal counts, which of their ends is closed. And **the last bin**: the official
# code's bins are $[a, b)$, so a confidence of exactly 1, common in half precision, falls out of all of them. All of these on LoRA's scores of one seed: as they are, and over-confident ($T = 0.2$) and kept in half precision:

# %%
z, c = runs[0].odds[demo.LORA], grades[0]
plain = demo.probability(z)
sure = demo.probability(z / 0.2).astype(np.float16).astype(float)
lost = lambda p, c: np.mean(p < 1) * ece_positive(p[p < 1], c[p < 1])
conventions = {
    "P(correct), 10 bins": ece_positive,
    "decision, 10 bins": ece_top_label,
    "P(correct), 15 bins": partial(ece_positive, n_bins=15),
    "10 bins, equal counts": partial(ece_positive, binning="quantile"),
    "10 bins (a, b]": partial(ece_positive, closed="right"),
    "10 bins [a, b), 1.0 lost": lost,
}
ledger.Grid(
    "ECE of one seed's scores by six conventions",
    ["convention", "as they are", "T = 0.2, half precision"],
    [
        [name, *(f"{ece(p, c):.3f}" for p in (plain, sure))]
        for name, ece in conventions.items()
    ],
)

# %%
print(f"confidences of exactly 1: {near(np.mean(sure == 1))}")

# %% [markdown]
# (The last three rows are of P(correct) too.) Where the ECE is small, fifteen bins say half as much again as ten. Where it is large, the bins hardly matter, and the lost 1.0 does: nearly half of the answers drop out of the sum, and
# the model looks better for being too sure. No score lies on an inner edge of the bins, so which of their ends is closed changes nothing. Compare two ECEs only if both were computed alike.
#
# **Padding.** "The last token's state" is `states[:, -1]` only if the padding is on the left; on the right it is the state of a padding token. Our `last_token_states` takes the mask and refuses one with holes.
#
# **Base rates.** An estimator learns how often *this* model is right. What does the strong model's estimator say of the weak model's answers?

# %%
weak = {"said": [], "right": [], "ece": [], "own ece": []}
for run in runs:
    c = run.answers.weak_test.right.numpy()
    weak["said"].append(demo.probability(run.weak["strong"]).mean())
    weak["right"].append(c.mean())
    weak["ece"].append(ece_of(run.weak["strong"], c))
    weak["own ece"].append(ece_of(run.weak["own"], c))
high = [s > r for s, r in zip(weak["said"], weak["right"], strict=True)]
says, so, off, own_off = (np.mean(found) for found in weak.values())
print(f"it says {says:.1f} on average, {so:.1f} are right", end="; ")
print(f"too high in {sum(high)} of {len(high)} seeds")
print(f"ECE about {near(off)}; the weak model's own {near(own_off)}")

# %% [markdown]
# It ranks them, but its confidences are too high: calibrate again.
#
# **Whose grade?** We graded exactly. The paper grades open answers by another language model, which is wrong
# at times (by its Table 2 the estimated accuracy is off by 8.7 points with GPT-3.5, 4.5 with GPT-4). An estimator learns the grader's errors with the rest.
#
# **What a confidence is good for.** Answer only where it is high, and fewer answers are wrong:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Risk against coverage for three methods. All curves end at the same point on the right, a risk of about one quarter. Towards the left the exact posterior falls to almost zero, LoRA plus Prompt falls to about one tenth and, at the very end, one twentieth, and asking stays between about one sixth and three tenths."}, "figure": {"caption": "Share of wrong answers among those that are given, when only the surest are given. One seed. A flat line means that the confidence selects nothing.", "name": "fig-ttk-risk"}}
fig, ax = plt.subplots(figsize=(4.6, 2.8))
for label, score, name, dash in (
    ("asked", runs[0].odds[demo.ASKED], "red", ":"),
    (demo.PROMPT, runs[0].odds[demo.PROMPT], "blue", "-"),
    ("exact posterior", exact[0], "green", "--"),
):
    curve = risk_coverage(score, grades[0])
    keep = curve.coverage > 0.05
    ax.plot(
        curve.coverage[keep],
        curve.risk[keep],
        color=COLOURS[name],
        linestyle=dash,
        label=label,
    )
ax.set(
    xlabel="coverage (share answered)",
    ylabel="risk (share wrong)",
    ylim=(0, None),
    title="Answer less, err less",
)
ax.legend()
plt.show()

# %% [markdown]
# ## At full scale
#
# Six parts. *The authors' tables of results*, by subject, published with their code. *Real graded answers*: solutions of 1,319 grade-school problems by four models (two sizes, each alone and with a verifier that picks the answer), with the grade of each
# ([Cobbe et al. 2021](https://arxiv.org/abs/2110.14168)); here the estimators are logistic regressions on words, split by question, and *on the states of a small language model* that reads 600 of the problems. *A small public model on itself*: SmolLM2 with 135 million parameters answers questions on geography and chemistry (two Python packages hold them), its answers are graded, and all estimators of this page are
# trained on them, one type of question held out. *The authors' graded answers of Llama 2 7B*, if you put their files into the data folder, judged by the same small model; we did not have them. *The small model on multiple-choice questions*: taught on the training questions of four public sets and tested on MMLU, if you put their files into the data folder; we did not have these either. What is not there is said and not run. The first two take minutes on two cores, the next two, by our notes, about an hour and a quarter on one, and go on where they were stopped (the record's seconds are those of its last sitting). Run it with
#
# ```
# workings run taught_to_know --tier full
# ```

# %%
if tier == "full":
    tables = full.run(settings, data_root, model_root)
    for name, rows in tables.items():
        ledger_.attach(name, rows)
    for row in tables["note"]:
        print(row["message"])
else:
    parts = ["sampling", "probe", "graded", "embedded", "self"]
    folders = ["released", "choice"]  # read from your folder only
    table = partial(ledger.attachment, "taught_to_know", "full")
    tables = {name: table(name) or [] for name in [*parts, *folders]}
    if not tables["probe"]:  # it has another name in older records
        tables["probe"] = table("temperatures") or []
    print("recorded rows:", {k: len(v) for k, v in tables.items() if v})

# %% tags=["hide-input"]
if tier == "full":
    for row in tables["values"]:
        ledger_.check(
            row["claim"],
            row["value"],
            error=row["error"],
            too_small=row["too_small"],
            seeds=[0],
        )

# %% [markdown]
# In the authors' table of sampling results: ten samples per question, and how many agree with the greedy answer. (The file does not hold each of the 57 subjects once for every model; a mean is over the rows there are.)

# %% tags=["hide-input"]
shown = lambda value, digits=3: (
    "" if value is None else f"{value:.{digits}f}"
)
ledger.Grid(
    "Sampling, by the authors' published rows: macro means over subjects",
    ["model", "rows", "AUROC, counting", "ECE, counting", "AUROC, likelihood", "ECE, likelihood"],
    [
        [row["model"], str(row["subjects"]), shown(row["auroc_counting"]), shown(row["ece_counting"]),
         shown(row["auroc_likelihood"]), shown(row["ece_likelihood"])]
        for row in tables["sampling"]
    ],
)  # fmt: skip

# %% [markdown]
# A second published table holds Probe (their plotting notebook loads it under that name, and another file as its temperature-scaled form), trained on multiple choice or open answers and tested on either:

# %% tags=["hide-input"]
format_ = {"choice": "multiple choice", "oe": "open"}
ledger.Grid(
    "Probe, by the authors' published rows: macro means over models and subjects",
    ["trained on", "tested on", "rows", "AUROC", "ECE, decision"],
    [
        [format_[row["trained"]], format_[row["tested"]], str(row["rows"]), shown(row["auroc"]), shown(row["ece"])]
        for row in tables["probe"]
    ],
)  # fmt: skip

# %% [markdown]
# The AUROC says that these probes rank hardly better than a coin. So an ECE of 0.112 or 0.165 is no merit by itself: read it beside the AUROC. (For its plot of rankings that notebook reads Probe from a later file, which we did not find, so these need not be the paper's bars.) The file's column `ts` is most likely the seconds of the evaluation, since an authors' script writes them under that name and they grow with the number of questions; it is not used.
#
# On the graded mathematics answers, an estimator that reads only the words of a solution, made for one model and tested on each; in the first row, one that reads only the question. The models are named as in the file: "6b" and "175b" are billions of parameters, "finetuning" gives the model's own answer, and "verification" the one that a verifier picks among many:

# %% tags=["hide-input"]
models = list(dict.fromkeys(row["tested"] for row in tables["graded"]))
cell = {
    (row["reads"], row["trained"], row["tested"]): row
    for row in tables["graded"]
}
text = lambda row: (
    f"{row['auroc']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
)
ledger.Grid(
    "AUROC (95% bootstrap interval) by the model whose answers are judged",
    ["estimator", *models],
    [
        ["question's words", *(text(cell["question", m, m]) for m in models)],
        *([f"made for {a}", *(text(cell["answer", a, m]) for m in models)] for a in models),
    ] if models else [],
)  # fmt: skip

# %%
if tables["graded"]:
    apart, sd = graded_mathematics.transfer(tables["graded"])
    print(f"another model's estimator minus the own one: {apart:+.3f}")
    print(f"  standard error over {len(models)} models: {sd / 2:.3f}")
    own = [r for r in tables["graded"] if r["trained"] == r["tested"]]
    other = [r for r in tables["graded"] if r["trained"] != r["tested"]]
    for reads in ("question", "answer"):
        found = [r["auroc"] for r in own if r["reads"] == reads]
        print(f"the {reads}'s words: AUROC {np.mean(found):.3f}")
    base = [r["right"] for r in own]
    print(f"share of right answers: {min(base):.2f} to {max(base):.2f}")
    off = max(r["ece"] for r in other)
    print(f"largest ECE on another model's answers: {off:.2f}")

# %% [markdown]
# Here the paper's claim about other models holds: an estimator made for another model does about as well as one made for the model itself. (Its confidences do not: the share of right answers runs from 0.22 to 0.56, so
# its ECE on another model reaches 0.35.) But the words of the question alone rank the answers as well as the words of the solution. We take it that these weak estimators know mostly how hard
# a problem is, which is much the same for all four models. A transfer like this is no evidence of judging *answers*.

# %% [markdown]
# Do the *states* of a language model tell more than words? SmolLM2, which gave none of these answers, reads 600 of the problems with their solutions. A head (logistic regression; its penalty is tuned, which that of the words is not) sees the mean of its last states, over the problem or over the solution:

# %% tags=["hide-input"]
embedded = {
    (row["reads"], row["trained"], row["tested"]): row
    for row in tables["embedded"]
}
judged = list(dict.fromkeys(row["tested"] for row in tables["embedded"]))
ledger.Grid(
    "AUROC (95% bootstrap interval) on 600 problems, by the model whose answers are judged",
    ["the head reads", *judged],
    [
        [f"the {reads}" + (f", made for {a}" if a else ""), *(text(embedded[reads, a or m, m]) for m in judged)]
        for reads, a in (
            ("question's words", ""), ("question's states", ""), ("answer's words", ""), ("answer's states", ""),
            *(("answer's states", a) for a in judged),
        )
    ] if judged else [],
)  # fmt: skip

# %%
reading = {}
for (reads, trained, tested), row in embedded.items():
    kind = "own" if trained == tested else "another"
    reading.setdefault((reads, kind), []).append(row["auroc"])
for (reads, kind), found in reading.items():
    made = f"made for {kind} model" if reads[0] == "a" else "any model"
    print(f"the {reads:17}  {made:24} {np.mean(found):.2f}")

# %% [markdown]
# They do, a little: 0.63 from the states of the answer, 0.57 from its words. Most of that is again the question (0.60 from its states), and a head made for another model loses about 0.02. So the
# small model's states know something of how hard a problem is, and not much of whether a solution is right. Between single models the intervals overlap widely.
#
# Now SmolLM2 on its own answers. It is asked in two ways: "plain" (is this answer correct? no or yes) and "options" ((A) False, (B) True). "Per token" is the mean log-probability of the answer's tokens, "kind of question" only the share of right training answers of that type, "free" the training without the regulariser, and
# "sentences" marks answers of one sentence. "Seen" are types of question that were trained on; the held-out type, capitals, has 242 answers, where we had asked for at least 500. "Right before, after" is the share on the 300 test questions that were asked again, in the rows of sentences on all 1,142.

# %% tags=["hide-input"]
own = ledger.Grid(
    "A small public model on its own answers",
    ["method", "tested on", "answers", "AUROC (95% interval)", "ECE, P(correct)", "ECE, decision", "right before, after"],
    [
        [self_knowledge.called(row), row["test"], str(row["answers"]),
         "" if row["auroc"] is None else text(row), shown(row["ece"]), shown(row["ece_decision"]),
         f"{row['accuracy']:.2f}, {row['kept']:.2f}" if row.get("accuracy") is not None else ""]
        for row in tables["self"]
    ],
)  # fmt: skip
own if tables["self"] else None

# %%
on_seen = {r["method"]: r for r in tables["self"] if r["test"] == "seen"}
for name in ("likelihood", "likelihood, sentences") if on_seen else ():
    row = on_seen[name]
    print(f"{name}: {row['confidence']:.2f} on average", end="")
    print(f", AUROC {shown(row['auroc'], 2)}, ECE {row['ece']:.2f}")

# %% [markdown]
# On this model the first half of the paper's story holds, and was not built in. **Asked, it says next to nothing of its answers**: AUROC 0.46 and 0.52 in the two ways, ECE 0.29 and 0.27 (claims 1 and 2; on the held-out type one way ranks them upside down, 0.30). **Taught, it ranks them**: LoRA + Prompt reaches 0.69 with an ECE of 0.06
# (claims 3 and 4). On the type of question that no training row had it is 0.63, too near the line to call, and 242 answers are too few (claim 8). Without the regulariser 17 points of accuracy go (claim 12). With it LoRA + Prompt has one right answer fewer among the 300 that were asked again, a third of a point; LoRA, which claim 11 does not ask about, has four fewer. The line of claim 11 is two answers further,
# and the record kept only the two shares, so no error of their paired difference is known and the claim stays undecided. The regulariser shows no gain in calibration here (claim 13).
# And the two definitions of ECE agree to the last digit (claim 16), for the toy's reason turned round: asked, this model nearly always says no.
# For the same reason no temperature helps it: it says no, and a little more than half of the 1,142 answers are right, so the fitted $T$ is infinite and every confidence becomes one half (there the order is lost too: all are tied, AUROC 0.50). The ECE is then how far the share of right answers lies from one half: 0.034 on seen types,
# where it was 0.290, but 0.178 on the held-out type, where it was 0.104.
#
# The second half does not. On the seen types the head on frozen states ranks better than LoRA + Prompt (0.84; claim 5), and the likelihood of the answer, which costs nothing, has the highest number (0.87; claim 6); on capitals the likelihood per token has (0.83), and the head 0.72. Our training is short, 120 steps of 8 answers, where the paper's code takes 5,000 steps and its text 10,000 of 32, so the adapters may not be at their end. But the
# likelihood is hard to beat here by anything: answers are a word or two, and the model's own probability of that word is what its training was about.
#
# **When is the likelihood bad?** Answers of one sentence, worded in four ways in the examples (last rows of the table). Its *calibration* goes at once: the whole sentence has probability 0.14 on average where 0.54 are right, ECE 0.41 in place of 0.05 (claim 14). Its *ranking* stays, 0.85 for 0.87, less of a loss than we had
# written down (claim 20): perhaps the model keeps to one wording for every question of a kind, so that the wording's part is the same for all; we did not count. What would break the ranking is a wording that varies from question to question; we have not made one.
#
# Two things to distrust. The questions are drawn as the packages have them: some "cities" are districts of one, and an answer like "Astana" is wrong where the package says "Nur-Sultan". And the intervals are over questions; there is one model and one training of each estimator.
#
# **Another model's answers, as the authors released them.** They publish the answers of Llama 2 7B with grades, about 18,000 to train on and 2,000 to validate. The full run reads them from a folder (the module `released_answers` says which) and trains an estimator on 1,000 of them, on a GPU also on all. No such run is recorded.

# %% tags=["hide-input"]
released = ledger.Grid(
    "Released answers of another model, judged by a small one (95% bootstrap interval)",
    ["method", "answers tested", "AUROC", "ECE"],
    [
        [row["method"], str(row["answers"]), text(row), shown(row["ece"])]
        for row in tables["released"]
    ],
)  # fmt: skip
released if tables["released"] else None

# %% [markdown]
# **Multiple choice.** The paper teaches on questions with options as well, and tests on the 57 subjects of MMLU. The full run does the same with the small model: it shows four solved questions, takes the most probable letter for the answer, grades it, teaches the estimators on 1,000 graded answers to training questions of SciQ, OpenBookQA, ARC and CommonsenseQA, and tests them on 20 questions of each subject of MMLU, 100 on a GPU (the module `choice_questions` says which files it reads). A training question that stands in MMLU's test too is left out. It has not been run here, since the data sets are not at hand; claims 21 and 22 wait for it.

# %% tags=["hide-input"]
rank = {
    row["method"]: row
    for row in tables["choice"]
    if row["subject"] == "mean of subjects"
}
ranked = lambda row: "" if row["auroc"] is None else text(row)
choice = ledger.Grid(
    "A public model on MMLU, taught on other questions (95% bootstrap intervals over subjects)",
    ["method", "answers", "right", "AUROC, mean of subjects", "AUROC, pooled", "ECE, P(correct)"],
    [
        [row["method"], str(row["answers"]), f"{row['accuracy']:.2f}", ranked(rank[row["method"]]), ranked(row), shown(row["ece"])]
        for row in tables["choice"] if row["subject"] == "all together"
    ],
)  # fmt: skip
choice if tables["choice"] else None

# %% [markdown]
# ## The ledger
#
# What the paper claims, what this notebook found a moment ago, and what a recorded full run found. The criteria were committed before the first run of what they judge; where a prototype's outcome was known, the claims file says so, and what failed stands as it came out.
# After that commit, and before the recorded run, we changed the toy: six classes for ten, what the pre-training loss covers (first the answer, then every token, then the answer and what follows it), and all sizes, for the running time. Which layers carry adapters, and their learning rate, was chosen by the training loss of one seed. During these trials Probe was anything from clearly better to slightly worse than LoRA + Prompt, so do not read much into claim 5.
#
# <a id="ttk-17"></a>

# %%
ledger_.table()

# %% [markdown]
# ## Take it home
#
# You have log-odds (or logits) that an answer is right, and grades. These lines run by themselves, in an empty file; put your own arrays in the place of ours.

# %%
# pip install "git+https://github.com/workings-book/workings@main"
import numpy as np

from workings import calibration as cal

rng = np.random.default_rng(0)
your_odds = rng.normal(1, 2, 1000)  # log-odds that answer i is right
your_grades = rng.random(1000) < 1 / (1 + np.exp(-your_odds / 2))
fit, rest = slice(0, 300), slice(300, None)  # never on the same answers
T = cal.fit_temperature(your_odds[fit], your_grades[fit])
p = 1 / (1 + np.exp(-your_odds[rest] / T.temperature))
rank = cal.bootstrap_ci(cal.auroc, p, your_grades[rest], rng=rng)
print(f"temperature {T.temperature:.1f}, at infinity: {T.at_infinity}")
print(f"AUROC {rank.estimate:.2f} ({rank.low:.2f} to {rank.high:.2f})")
print(f"ECE {cal.ece_positive(p, your_grades[rest]):.2f} of P(correct)")

# %% [markdown]
# Before you believe it: the grades come from answers that nothing was trained on. Several answers to one question are not independent: pass `by=question` to the bootstrap. An ECE of 500 answers in ten bins is above 0 by noise
# alone. And train the baseline that sees only the question.
#
# ## Exercises
#
# **1.** Take perfectly calibrated confidences, drawn evenly from [0, 1], and 100, 500 and 5,000 answers. What does the ECE say?
#
# <details>
# <summary>Show the solution</summary>
#
# It is above 0, because the share of right answers in a bin is noisy, and the absolute value does not let the noise cancel. It falls with the root of the number of answers. So an ECE of 0.05 on 100 answers is no evidence of bad calibration.
#
# </details>

# %% tags=["hide-input"]
rng = numpy_generator(0, "exercise")
for n in (100, 500, 5000):
    found = []
    for _ in range(200):
        p = rng.random(n)
        found.append(ece_positive(p, rng.random(n) < p))
    print(f"{n:5,} answers: mean ECE {np.mean(found):.2f}")
assert np.mean([ece_positive(p, rng.random(5000) < p)]) < 0.05

# %% [markdown]
# **2.** Does the average of two estimators' log-odds rank better than each? Try Probe and the words of the question.
#
# <details>
# <summary>Show the solution</summary>
#
# It ranks better than Probe in every seed, and on average no better than the words alone: the words are the stronger of the two here, and an equal weight does not help.
#
# </details>

# %% tags=["hide-input"]
better, over = [], []
for run, c in zip(runs, grades, strict=True):
    a, b = run.odds[demo.PROBE], run.odds[demo.WORDS]
    better.append(auroc(a + b, c) > auroc(a, c))
    over.append(auroc(a + b, c) - auroc(b, c))
print(f"better than Probe in {sum(better)} of {len(better)} seeds")
print(f"mean AUROC minus that of the words: {np.mean(over):+.2f}")

# %% [markdown]
# **3.** Give an interval for the AUROC of asking in one seed. Does it exclude one half?
#
# <details>
# <summary>Show the solution</summary>
#
# It can: with some hundreds of wrong answers the half width is a few hundredths. One seed can look clearly better or worse than a coin, by an accident of its training and not of the sample: in the figure of all methods the seeds lie further apart than that. Bootstrap intervals do not know about seeds.
#
# </details>

# %% tags=["hide-input"]
rng = numpy_generator(0, "interval")
options = dict(rng=rng, resamples=settings.resamples)
found = bootstrap_ci(auroc, runs[0].odds[demo.ASKED], grades[0], **options)
half_width = (found.high - found.low) / 2
assert 0.01 < half_width < 0.06 or dry_run
print("half width: between 0.01 and 0.06")

# %% [markdown]
# ## References
#
# - Kapoor, Gruver, Roberts, Collins, Pal, Bhatt, Weller, Dooley, Goldblum, Wilson. *Large Language Models Must Be Taught to Know What They Don't Know.* NeurIPS 2024. [arXiv 2406.08391](https://arxiv.org/abs/2406.08391). Code: activatedgeek/calibration-tuning.
# - Kadavath et al. *Language Models (Mostly) Know What They Know.* 2022. [arXiv 2207.05221](https://arxiv.org/abs/2207.05221)
# - Kuhn, Gal, Farquhar. *Semantic Uncertainty.* ICLR 2023. [arXiv 2302.09664](https://arxiv.org/abs/2302.09664)
# - Guo, Pleiss, Sun, Weinberger. *On Calibration of Modern Neural Networks.* ICML 2017. [arXiv 1706.04599](https://arxiv.org/abs/1706.04599). Temperature scaling.
# - Hu et al. *LoRA: Low-Rank Adaptation of Large Language Models.* 2021. [arXiv 2106.09685](https://arxiv.org/abs/2106.09685)
# - Cobbe et al. *Training Verifiers to Solve Math Word Problems.* 2021. [arXiv 2110.14168](https://arxiv.org/abs/2110.14168). The graded answers.
# - El-Yaniv, Wiener. *On the Foundations of Noise-free Selective Classification.* JMLR 11, 2010. [jmlr.org](https://jmlr.org/papers/v11/el-yaniv10a.html)
