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
# # LiveBench: who grades the graders?
#
# <p class="wk-run"><a href="https://colab.research.google.com/github/workings-book/workings/blob/main/notebooks/language_models/livebench.ipynb">Run this chapter on Colab</a></p>
#
# A leaderboard says that one language model scores 58 and another 61. Between the model and the number stand four things that
# nobody looks at: whether the model has seen the questions before, a program that has to find the answer in a page of free text,
# a rule for partial credit, and an average. Each of them can move the number; each of the first two moves it by about eight points or more below. This chapter opens all four, with
# [White et al. (2024)](https://arxiv.org/abs/2406.19314), whose benchmark takes each of them seriously.
#
# - **You need** probability, Python's strings, and a rough idea of what a language model is asked.
# - **It takes** 40 minutes to read and under half a minute to run.
# - **Afterwards you can** grade free-text answers with a rule that says why, average scores with an interval, and name what a
#   benchmark number does not tell you.
#
# We read both versions of the paper whole: v1 of June 2024 and the ICLR version of April 2025, whose title says
# "contamination-*limited*" where v1 said "-free". The official scorers were read too and are described here in our own words. No language
# model is run in the demo: its "models" are small solvers with a chosen competence. The public leaderboard tables are real.

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
# "demo", or "full" for the public tables (see "At full scale")
tier = "demo"
# with "full": small tables that are made up, to see that it works
dry_run = False
# folder with the public tables, if you have them already
data_root = None

# %% tags=["hide-input"]
from functools import partial

import matplotlib.pyplot as plt
import numpy as np

from workings import ledger
from workings.chapters.livebench import demo, full, paper_tables, published
from workings.chapters.livebench.live import cases
from workings.chapters.livebench.settings import Settings
from workings.language_models.benchmark_scores import (
    aggregate,
    bootstrap_overall,
    judge_confusion,
    leaked_share,
)
from workings.language_models.edit_distance import levenshtein
from workings.language_models.equivalence import equivalent
from workings.language_models.grading_code import PRELUDE, score_code
from workings.language_models.grading_instructions import score_instructions
from workings.language_models.grading_language import (
    score_connections,
    score_plot,
)
from workings.language_models.grading_mathematics import (
    score_aime,
    score_amps,
    score_multiple_choice,
)
from workings.language_models.grading_reasoning import (
    score_web_of_lies,
    score_zebra,
)
from workings.language_models.grading_tables import (
    score_cta,
    score_table_join,
)
from workings.language_models.puzzle_questions import (
    solve_web_of_lies,
    web_of_lies,
    web_of_lies_answers,
)
from workings.language_models.sandbox import Sandbox, run_python
from workings.language_models.text_questions import journey, solve_journey
from workings.seeding import numpy_generator
from workings.show.controls import Axis, Control, Frame
from workings.show.figures import COLOURS, png_bytes, use_style
from workings.show.live import keep_cases

use_style()
settings = Settings.for_tier(tier, dry_run=dry_run)
seeds = list(settings.seeds)
ledger_ = ledger.open("livebench", tier=tier)

# %% [markdown]
# ## An exam that has been read
#
# Two candidates sit an exam of public questions. One, the *solver*, has true skill $p$: it answers a fresh question with probability $p$.
# The other, the *memoriser*, has the same skill, and has also read every question that has leaked into its training data. If a
# share $\kappa$ of the questions has leaked, the memoriser is expected to score
#
# $$
# p + (1 - p)\,\kappa. \tag{1}
# $$
#
# | symbol | what it is | range |
# |---|---|---|
# | $p$ | chance of answering a fresh question | 0 to 1 |
# | $\kappa$ | share of questions that have leaked | 0 to 1 |
# | $\tau$ | months from a question's release to its leak | 0, 1, 2, ... |
#
# The published number cannot tell $p$ from $\kappa$. LiveBench does two things about it. Its questions come from sources younger than most
# models, or from a program, and about a sixth of them is replaced each month.
#
# **By hand.** Replace the *oldest* sixth each month, and let a question leak exactly $\tau$ months after its release. Right after a
# refresh the questions are 0, 1, 2, 3, 4 and 5 months old, a sixth each. Those of age $\tau$ or more have leaked:
#
# $$
# \kappa = \frac{6 - \tau}{6}, \qquad \tau = 0, 1, \dots, 6. \tag{2}
# $$
#
# With $\tau = 2$, four questions in six have leaked, although none is older than five months.


# %%
def leaked_after(months, period, leak, questions=60):
    """Replace the oldest 1/period of the questions month by month."""
    age = np.zeros(questions, dtype=int)
    for _ in range(months):
        age = np.sort(age + 1)[::-1]  # oldest first
        age[: questions // period] = 0
    return (age >= leak).mean()


counted = [leaked_after(24, 6, leak) for leak in range(7)]
computed = [leaked_share(6, leak) for leak in range(7)]
assert np.allclose(counted, computed)  # agrees with the kernel
for leak, share in enumerate(counted):
    print(f"leak after {leak} months: {share:.2f}")

# %% [markdown]
# <a id="lb-10"></a>

# %%
worst = float(np.abs(np.subtract(counted, computed)).max())
ledger_.check("lb-10", worst, at="demo", digits=0)

# %% [markdown]
# Real leaks come at no fixed age. Suppose that each month a public question leaks with probability 0.15, and that nothing is ever
# replaced; or that a sixth is.
#
# > **Predict.** Both candidates have skill 0.5. With a sixth replaced each month, where does the memoriser's score settle: near 0.5,
# > half-way to 1, or at 1?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Scores over twelve months. The solver stays at 0.5. Without refresh the memoriser climbs from 0.5 to above 0.9; with a sixth replaced each month it climbs for five months and then stays near 0.65."}, "figure": {"caption": "Expected scores of two candidates of the same skill. A refresh does not remove contamination; it stops its growth.", "name": "fig-lb-contamination"}}
fig, ax = plt.subplots()
months = np.arange(13)
for share, label, colour, dash in (
    (0.0, "memoriser, never refreshed", "red", "--"),
    (1 / 6, "memoriser, a sixth a month", "blue", "-"),
):
    score = demo.measured_history(share, 0.15, 0.5)
    ax.plot(months, score, dash, color=COLOURS[colour], label=label)
ax.axhline(0.5, color=COLOURS["ink"], linewidth=1, label="solver")
ax.set(xlabel="months after the first release", ylabel="expected score")
ax.set(title="Same skill, different memory", ylim=(0.4, 1.0))
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Between the first two, near 0.65: five months after the start the ages no longer change, and with them the leaked share. Fresh questions *limit*
# contamination. They do not end it, and after the reviewers had objected, the title was changed to say so.
#
# </details>
#
# How much has to be replaced, then?

# %%
for share in (0.0, 0.05, 1 / 6, 0.5):
    after = demo.measured_history(share, 0.15, 0.5)[-1]
    print(f"{share:4.0%} replaced each month: {after:.2f} after a year")

# %% [markdown]
# Even half of the questions a month leaves something: a question is public for a month before it can be replaced.
# LiveBench also keeps its newest questions private for a month.
#
# ## Make a question, and prove its answer
#
# Questions that a program writes cost nothing to replace. One of LiveBench's tasks is the *web of lies*: everybody always tells the
# truth or always lies, and people talk about each other.
#
# Write $t_a = 1$ if person $a$ tells the truth, else 0. "$a$ says that $b$ tells the truth" can be said by an honest $a$ about an honest $b$, or by
# a liar about a liar: $t_a = t_b$. "$a$ says that $b$ lies" means $t_a \ne t_b$. So each sentence says whether two people are alike,
# and one known person starts a chain. The solver is a loop:

# %%
lies = web_of_lies(numpy_generator(0, "lies", 0), people=7, herrings=2)
meta = lies.meta
known = {}
waiting = list(meta["facts"])  # what is told outright
while waiting:
    person, honest = waiting.pop()
    known[person] = honest
    for a, b, alike in meta["sayings"]:
        other = {a: b, b: a}.get(person)
        if other is not None and other not in known:
            waiting.append((other, honest == alike))
people = range(meta["people"])
kernel = solve_web_of_lies(7, meta["facts"], meta["sayings"])
assert [known[p] for p in people] == kernel  # agrees with the kernel
# %%
print(lies.prompt.split(" Does")[0].replace(". ", ".\n"))
print("asked:", [meta["places"][p] for p in meta["asked"]], lies.truth)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Seven people as circles on a ring, joined by arrows. Solid arrows say that someone tells the truth, dashed arrows that someone lies. Filled circles are honest, open ones are liars, and one circle with a thick edge is the person about whom we are told."}, "figure": {"caption": "The question as a graph. An arrow is a sentence: solid for 'tells the truth', dashed for 'lies'. Filled circles turn out honest. The thick circle is the one fact.", "name": "fig-lb-web"}}
fig, ax = plt.subplots(figsize=(4.6, 3.9))
angle = 2 * np.pi * np.arange(meta["people"]) / meta["people"]
at = np.stack([np.cos(angle), np.sin(angle)], axis=1)
for a, b, alike in meta["sayings"]:
    colour, line = (
        (COLOURS["blue"], "-") if alike else (COLOURS["red"], "--")
    )
    arrow = {"arrowstyle": "->", "linestyle": line, "color": colour}
    ax.annotate("", at[b], at[a], arrowprops=arrow | {"shrinkA": 9, "shrinkB": 9})  # fmt: skip
for p in people:
    face = COLOURS["sky"] if known[p] else "white"
    edge = 3 if p in dict(meta["facts"]) else 1
    ax.plot(*at[p], "o", ms=15, mfc=face, mec=COLOURS["ink"], mew=edge)
    ax.text(*(1.35 * at[p]), meta["places"][p], ha="center", va="center")
ax.set(xlim=(-2, 2), ylim=(-1.55, 1.55), aspect="equal")
ax.set_title("Who lies?")
ax.axis("off")
plt.show()

# %% [markdown]
# Does the question have *one* answer? Trying all $2^7$ assignments settles it. For a puzzle of the other kind that we generate, a zebra puzzle with four
# people and three attributes, there are $(4!)^3 = 13{,}824$ assignments, and they can be tried too. (Five people with four attributes have $(5!)^4$, over two hundred million: there
# our generator uses a search that strikes out what a clue forbids and stops at the second solution.) A generator that does not check may ship
# questions without one answer, and then the score measures the generator.

# %%
every = web_of_lies_answers(
    7, meta["facts"], meta["sayings"], meta["asked"]
)
nothing = web_of_lies_answers(7, [], meta["sayings"], meta["asked"])
print(f"with the fact: {len(every)} answer; without it: {len(nothing)}")

# %% [markdown]
# The sentences of a free plot have no such proof: *Her brother laughs* may stand anywhere. A plot has one where each sentence takes a thing on from the place where the one before
# has left it, and no place comes twice. (The plots that a model is asked below are free ones.)

# %%
trip = journey(numpy_generator(0, "trip"), 4)
print(*trip.meta["shown"], sep="\n")
print("orders:", solve_journey(trip.meta["shown"]))

# %% [markdown]
# <a id="lb-11"></a>

# %%
wrong = demo.wrong_puzzles(settings.checked_puzzles)
ledger_.check("lb-11", wrong, seeds=[0], at="demo")

# %% [markdown]
# ## From free text to a score
#
# The model has answered, in a page of text. A program must now find the three words. The official one of 2024 tried four places in turn:
# the `<solution>` tag, bold words, a LaTeX box, and the last triple of words anywhere. The first two in a few lines:


# %%
def find_and_compare(truth, answer):
    """First two steps of the official rule of 2024 for webs of lies."""
    tags = re.findall(r"<solution>(.*?)</solution>", answer)
    words = re.findall(
        r"\w+", " ".join(re.findall(r"\*\*(.*?)\*\*", answer))
    )
    words = [
        w.lower() for w in words if w.lower() in ("yes", "no", "unknown")
    ]
    found = tags[-1] if tags else ", ".join(words[-3:])
    said = sum(found.count(word) for word in ("yes", "no", "unknown"))
    return float(found == truth or (said == 3 and truth in found))


# %%
truth = "yes, no, yes"
forms = {
    "in the tag": "<solution>yes, no, yes</solution>",
    "one bold span": "The answer is **yes, no, yes**.",
    "three bold words": "**Yes**, **no** and **yes**.",
    "capitals in the tag": "<solution>Yes, No, Yes</solution>",
    "no spaces in the tag": "<solution>yes,no,yes</solution>",
    "tag over two lines": "<solution>yes,\nno, yes</solution>",
    "another span after it": "**yes, no, yes**, so **no** doubt.",
    "unfinished thought": "<think>Say yes, no, yes? No: ",
}

# %% [markdown]
# > **Predict.** Seven of these eight texts say *yes, no, yes*; the last one is a thought that was cut off. Which of the eight earned the
# > point by the official rule of 2024?

# %%
rules, late = {"rules": "2024-08-31"}, {"rules": "2025-05-30"}
grades, later, strict = (
    {k: score_web_of_lies(truth, a, **how) for k, a in forms.items()}
    for how in (rules, late, {"strict": True})
)
for name in list(forms)[:5]:
    same = find_and_compare(truth, forms[name]) == grades[name].score
    assert same  # agrees with the kernel

# %% tags=["hide-input"]
ledger.Grid(
    "One answer written eight ways: official scores of August 2024 and May 2025, and ours",
    ["answer", "2024", "2025", "ours", "what fired in 2024", "in 2025"],
    [
        [k, *(f"{found[k].score:.2g}" for found in (grades, later, strict)), g.rule, later[k].rule]
        for k, g in grades.items()
    ],
)  # fmt: skip

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# In 2024 four: the tag, one bold span, three bold words, and the unfinished thought, because a think block that was never closed is read as an answer.
# Capitals inside the tag lose, while capitals in bold win. In 2025 four again, and not the same: the bold step is gone, so that three bold words earn nothing and a
# second span does no harm. A tag without spaces now earns a sixth, because items are split at commas and not trimmed.
#
# </details>
#
# Beside it stands a **strict rule of ours**: drop think blocks, closed or not; take the last tag, else the last box, else the last bold
# span, else the last line; compare item by item without case and spacing. It serves ten of our sixteen graders (typos, plots, joins, reformatted tables, instructions and programs
# have strict rules of their own), and it is not lenient either: it refuses the three
# separate bold words, because the last bold span is just "yes". No rule is right for every text. What a grader owes you is the *trace*: which rule
# fired, on what. Ours returns it with each score.
#
# How well we copied the official rules we checked by running the official scorers beside ours, on generated answers in some fifty forms: the
# book's page of benchmarks says on how many the scores differ. The stored public answers were not at hand (see *At full scale*).
#
# ### Play: memory and form
#
# So far two things have come between skill and score. Here is a memoriser of skill 0.5 again, and a leak of 0.15 a month. Move the share of the questions that is
# replaced, and the share of its right answers that it writes with capitals in the tag. In the book's page you can type any answer, and both rules grade it at once. Try to find
# one that is wrong and still earns the official point; the zebra rule of 2025 is a good place to look.


# %% tags=["hide-input"]
shares, slips = (0.0, 1 / 6, 0.5), (0.0, 0.3, 0.6, 1.0)
capitals = forms["capitals in the tag"]


def frame(share, slip):
    """One picture: scores by both rules while questions are replaced."""
    tidy = demo.measured_history(share, 0.15, 0.5)
    fig, ax = plt.subplots(figsize=(4.6, 2.8))
    memory = dict(color=COLOURS["sky"], alpha=0.5, label="memory")
    ax.fill_between(months, 0.5, tidy, **memory)
    ax.axhline(0.5, color=COLOURS["ink"], linestyle=":", label="true skill")
    alt = (
        f"{share:.0%} replaced each month, {slip:.0%} written in capitals:"
    )
    for name, colour, dash, strictly in (
        ("strict", "blue", "-", True),
        ("official", "red", "--", False),
    ):
        grade = score_web_of_lies(truth, capitals, strict=strictly, **rules)
        score = tidy * (1 - slip + slip * grade.score)
        ax.plot(months, score, dash, color=COLOURS[colour], label=name)
        alt += f" {name} score {score[-1]:.2f} after a year;"
    ax.set(ylim=(0, 1.25), xlabel="months", ylabel="expected score")
    ax.set_title(f"{share:.0%} replaced, {slip:.0%} in capitals")
    ax.legend(loc="upper left", ncols=2)
    return Frame(png_bytes(fig), alt + " the true skill is 0.50.")


# %% tags=["hide-input"]
Control(
    "lb-refresh",
    [
        Axis("Replaced each month", tuple(f"{v:.0%}" for v in shares), 1),
        Axis("Written in capitals", tuple(f"{v:.0%}" for v in slips), 1),
    ],
    [partial(frame, share, slip) for share in shares for slip in slips],
    caption="Score of a memoriser of skill 0.5 over twelve releases, by both rules, when a share of its right answers is written with capitals in the tag, which the official rule of 2024 refuses (and so does that of 2025).",
    live="livebench",
)

# %% tags=["remove-cell"]
# The book's page computes this figure in the browser. Its script is compared
# with what the kernels give:
keep_cases("livebench", cases())

# %% [markdown]
# ### Fourteen findings, with an answer for each
#
# Reading the official scorers line by line, and running them beside our copies, turns up rules that accept what is wrong or refuse what is right. Each row below is a short answer
# that shows one, graded by our copy of the official rule and by our own. The rules are those of the code as it stood in August 2026 (or of the release named); how often they matter on real answers, we
# cannot say without those.

# %% tags=["hide-input"]
wants = lambda word: [("include keywords", {"words": [word]})]
keyword = lambda word, *text, **o: score_instructions(
    wants(word), *text, **o
)
found = [
    ("zebra: an item may hold the truth", score_zebra, "1, cat", "<solution>12, cat</solution>", late),
    ("zebra: number words are not numbers", score_zebra, "1, cat", "<solution>one, cat</solution>", late),
    ("zebra, until Nov 2024: hyphens", score_zebra, "cross-stitch", "***cross-stitch***", rules),
    ("lies, from Apr 2025: not trimmed", score_web_of_lies, "no, no, yes", "<solution>no,no,yes</solution>", late),
    ("connections: a repeat is free", score_connections, "a,b,c,d", "<solution>a,a,b,c,d</solution>", late),
    ("connections: bold is ignored", score_connections, "a,b,c,d", "**a, b, c, d**", late),
    ("column type: any suffix", score_cta, "country", "not a country", late),
    ("choice: letters anywhere", score_multiple_choice, "B", "BBBBB? No: <solution>CCCCC</solution>", late),
    ("AIME: last 50 characters", score_aime, "123", "Not 123. <solution>124</solution>", late),
    ("AIME: nothing for the tag", score_aime, "123", "<solution>123</solution> I have checked this twice, and every step of it holds.", late),
    ("expressions: within 0.001", score_amps, r"\frac{1}{3}", r"\boxed{0.333}", {"symbolic": False}),
    ("keywords: inside a word", keyword, "art", "a party", late),
    ("joins: rounded to 0.01", score_table_join, "{'a': 'x', 'b': 'y'}", "<solution>{'a': 'x'}</solution>", late),
    ("plot: a sentence of chat costs 2/n", score_plot, "Ann wakes. Bob eats. Eve goes.", "Sure, here it is. Ann wakes. Bob eats. Eve goes.", late),
]  # fmt: skip
ledger.Grid(
    "Found in the official scorers",
    ["rule", "truth", "answer", "official", "ours"],
    [
        [name, gold, text, f"{f(gold, text, **o).score:.3g}", f"{f(gold, text, strict=True, **o).score:.3g}"]
        for name, f, gold, text, o in found
    ],
)  # fmt: skip

# %% [markdown]
# ### Symbols
#
# Is $\frac{x^2}{2}$ the same as $0.5x^2$? Evaluating both at a few points *refutes* equality when they differ; when they agree,
# a computer algebra system may prove it. Such a system can run for ever, so ours runs in a process of its own that is stopped after a
# time limit, and without a proof the verdict says that only the points agree.

# %%
pairs = [
    (r"\frac{x^2}{2}", "0.5x^2", {}),
    (r"\sin^2 x", r"-\cos^2 x", {"up_to_constant": True}),
    ("x^2", "-x^2", {"up_to_constant": True}),
    ("9^9^9^9^9", "1", {}),
]
for one, other, options in pairs:
    verdict = equivalent(one, other, symbolic=False, **options)
    print(f"{one:14} {other:10} {verdict.equal!s:6} {verdict.how}")

# %% [markdown]
# ### Programs
#
# For coding questions the answer is a program, and the grader has to *run* it. It does so in a process that has given up what it does not need: no network, no new
# processes, no files to read but Python's own and the system's under `/usr` and `/lib`, none to write, limits on time, memory and output. Linux offers four ways to take these away without any
# privilege, and `run_python` uses those that the machine has; its report says which held. (Where one is missing, what it would have prevented can happen. Ask for
# `require=` and the program is not run at all.)

# %%
hostile = {
    "adds": "print(sum(map(int, input().split())))",
    "waits for ever": "while True: pass",
    "never stops writing": "while True: print('x' * 1000)",
    "fills the disk": "open('disk', 'w').write('x' * 10**9)",
}
for name, program in hostile.items():
    limit = 0.5 if name == "waits for ever" else 60
    print(f"{name:20} {run_python(program, '1 2 3', limit_s=limit).status}")

# %% [markdown]
# A program that ends well is then compared with the expected output, on every test; one test missed is a score of 0. What is compared is not quite what the model wrote. The
# benchmark (as its code stood in November 2026) puts the names of sixteen modules in front of it and makes the rest the body of one function. Where the question asks for a function instead, it is called, and its
# value may equal the expected list *or the first item of that list*.
#
# %%
five = {  # a program, its input, the output or value, a function's name
    "a name without import": ("print(gcd(6, 9))", "", "3", None),
    "an exit at the end": ("print(3)\nexit()", "", "3", None),
    "a guard turned round": (
        "if '__main__' == __name__: print(3)", "", "3", None
    ),
    "a global variable": (
        "n = 3\ndef f():\n    global n\n    print(n)\nf()",
        "", "3", None,
    ),
    "the first item only": ("def f(n): return 3", "0", "[3, 4]", "f"),
}  # fmt: skip

# %% [markdown]
# > **Predict.** Ours runs a program as it stands and wants the whole value. Which of these five pass by the official rule, and which by ours?

# %% tags=["hide-input"]
with Sandbox(PRELUDE) as sandbox:
    both = [
        [
            score_code([(given, out)], code, function=called, limit_s=60, sandbox=sandbox, strict=strict)
            for strict in (False, True)
        ]
        for code, given, out, called in five.values()
    ]  # fmt: skip
ledger.Grid(
    "Five programs, by the official rule and by ours",
    ["program", "official", "what fired", "ours", "what fired"],
    [
        [name, f"{one.score:.0f}", one.rule, f"{two.score:.0f}", two.rule]
        for name, (one, two) in zip(five, both, strict=True)
    ],
)

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Officially the first and the last, by ours the three between them. `gcd` was never imported, and the benchmark gives it away. The three that print 3 when you run them lose: `exit` has been
# taken away; the guard of a main program is undone only where it stands last in its usual form, and the answer is not the main program; what the body of a function assigns is no global variable. The last returns 3 where `[3, 4]` is expected.
#
# </details>

# %% [markdown]
# ## Partial credit
#
# *Plot unscrambling* shows the sentences of a story in random order. Right or wrong would give 0 for one misplaced sentence. LiveBench finds each true
# sentence in the answer, notes its place, and counts how many single insertions, deletions and replacements turn the
# places into $0, 1, \dots, n-1$. That count is **Levenshtein's distance** $D$, and the score is $1 - D/n$.
#
# The distance fills a table row by row: $D_{ij}$ is the distance between the first $i$ items of one list and the first $j$ of the other,
#
# $$
# D_{ij} = \begin{cases} D_{i-1,j-1} & \text{if } a_i = b_j, \cr
# 1 + \min(D_{i-1,j},\, D_{i,j-1},\, D_{i-1,j-1}) & \text{otherwise,} \end{cases} \tag{3}
# $$
#
# with $D_{i0} = i$ and $D_{0j} = j$. **By hand:** from $(0, 1, 2)$ to $(1, 2, 3)$ delete the 0 and append a 3: $D = 2$, so a list that is merely *shifted* loses 2 of
# $n$, however long it is.


# %%
def distance(a, b):
    """Formula (3), keeping one row of the table at a time."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            best = 1 + min(row[j], row[j - 1], last)
            last, row[j] = row[j], last if x == y else best
    return row[-1]


draw = numpy_generator(0, "lists").integers(0, 4, (200, 2, 8)).tolist()
kernel = [levenshtein(a, b) for a, b in draw]
assert [distance(a, b) for a, b in draw] == kernel  # agrees with the kernel
print("shifted by one, 20 items:", distance(range(20), range(1, 21)))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Mean plot score against the number of exchanges of two random sentences, for a plot of twenty sentences. It falls from 1 with one tenth per exchange at first, to about 0.4 after ten and 0.1 after forty."}, "figure": {"caption": "What an exchange of two sentences costs, in a plot of 20. The first costs two twentieths; later ones cost less, because places that are wrong already can be hit again.", "name": "fig-lb-swaps"}}
fig, ax = plt.subplots(figsize=(4.6, 2.8))
swaps = (0, 1, 2, 3, 5, 8, 12, 20, 30, 40)
for seed in seeds:
    mean = [demo.plot_after_swaps(seed, k) for k in swaps]
    ax.plot(
        swaps,
        mean,
        "o-",
        markersize=3,
        color=COLOURS["blue"],
        alpha=0.6,
        label="a seed" if seed == seeds[0] else None,
    )
ax.plot(
    [0, 10], [1, 0], ":", color=COLOURS["ink"], label="a tenth per exchange"
)
ax.set(
    xlabel="exchanges of two random sentences",
    ylabel="mean score",
    ylim=(0, 1.02),
)
ax.set_title("Plot score")
ax.legend()
plt.show()

# %% [markdown]
# The sentences need not be copied word for word: each is matched with the most similar one by `difflib`. For *joins* of two tables the credit is the
# harmonic mean of precision and recall, $F_1 = 2\,\mathrm{TP}/(2\,\mathrm{TP} + \mathrm{FP} + \mathrm{FN})$: TP columns are mapped rightly, FP are mapped wrongly, FN are missed, and a column with
# a wrong target counts in both. And where a question has several parts (zebra puzzles, instructions), half of the credit is for
# the share that is right, and half for having all of them.

# %%
gold = {"city": "x", "price": "y", "year": "z"}
answer = "<solution>{'city': 'x', 'price': 'q'}</solution>"
tp, fp, fn = 1, 1, 2  # city; price; price and year
f1 = 2 * tp / (2 * tp + fp + fn)
assert score_table_join(gold, answer).score == f1  # agrees with the kernel
print(f"F1 = {f1:.2f}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Nine by nine squares, pairs mapped rightly against pairs mapped wrongly, for a join of eight columns. F1 is 0 in the lowest row, 1 in the upper left corner, and falls to two thirds in the upper right one. Lines of equal F1 run upwards to the right."}, "figure": {"caption": "F1 of a join whose truth has eight columns. Along a line F1 is the same: what is wrong has to be paid for with what is right.", "name": "fig-lb-f1"}}
fp, tp = np.meshgrid(np.arange(9), np.arange(9))
surface = 2 * tp / (tp + fp + 8)  # since FN = 8 - TP
fig, ax = plt.subplots(figsize=(4.6, 3.4))
image = ax.imshow(surface, origin="lower", vmax=1, cmap="Blues", alpha=0.6)
lines = ax.contour(surface, [0.25, 0.5, 0.75], colors=COLOURS["ink"])
ax.clabel(lines)
ax.grid(False)
fig.colorbar(image, label="F1")
ax.set(xlabel="pairs mapped wrongly", ylabel="pairs mapped rightly")
ax.set_title("Credit for a join")
plt.show()
score = surface[5, 0]
print(f"five right, none wrong: {score:.2f}, half of it {score / 2:.2f}")

# %% [markdown]
# May a model guess? In $2\,\mathrm{TP}/(\mathrm{TP} + \mathrm{FP} + 8)$ one pair more adds 1 to the denominator in any case, and 2 to the numerator if it is right. So a guess raises the
# expected score where its chance is above *half of the F1* that stands. With five right pairs and none wrong, a chance of 0.4 is enough.
#
# ## Does it work? Six models, eight tasks
#
# Now the whole way, from questions to a leaderboard. Our six models are solvers: each step (a deduction, a corrected word, a sentence in its place) is right with a chance that rises with the
# model's *competence*, and with its *slip rate* the final answer is written in a form that a person would accept but that nobody asked for. A and B
# know the same, and B is untidy; so do D and E. There are eight tasks in four categories, with forty questions each, and three seeds.
# The competence is put in by us. That a stronger solver scores more is therefore no discovery; what the *scorers* do with untidiness is.

# %%
runs = {seed: demo.run_models(settings, seed) for seed in seeds}
names = demo.task_names(settings.questions)


def overall_scores(rule):
    """Overall score of each model, in points: (seeds, 6)."""
    overall = lambda row: aggregate(row, names, demo.CATEGORY).overall
    return 100 * np.array(
        [[overall(r) for r in runs[s][rule]] for s in seeds]
    )


totals = {rule: overall_scores(rule) for rule in ("official", "strict")}
for rule, total in totals.items():
    print(f"{rule:8} mean:", total.mean(0).round().astype(int), end=" ")
    print("spread at most", int(np.ceil(total.std(0, ddof=1).max())))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Heat map of six models by eight tasks, mean official score over three seeds. Models A to F from top to bottom; A has 0.8 or more everywhere, F between 0.1 and 0.7. B, which knows what A knows, is paler in several tasks."}, "figure": {"caption": "Mean official score over three seeds. A and B have the same competence, and so have D and E: what differs between them is how the answer is written.", "name": "fig-lb-heat"}}
heat = np.mean(
    [run["official"].reshape(6, 8, -1).mean(2) for run in runs.values()],
    axis=0,
)
fig, ax = plt.subplots(figsize=(4.6, 3.9))
ax.imshow(heat, vmin=0, vmax=1, cmap="Blues", aspect="auto")
ax.grid(False)
for (i, j), value in np.ndenumerate(heat):
    ax.text(
        j,
        i,
        f"{value:.1f}",
        ha="center",
        va="center",
        color="white" if value > 0.6 else COLOURS["ink"],
    )
ax.set_xticks(range(8), list(demo.TASKS), rotation=50, ha="right")
ax.set_yticks(range(6), [model.name[0] for model in demo.MODELS])
ax.set(ylabel="model", xlabel="task", title="Official scores")
plt.show()

# %% [markdown]
# ### The average, and its interval
#
# LiveBench's overall score is a mean of means. With $s_q$ in $[0, 1]$ for question $q$, $Q_t$ the questions of task $t$, $c$ a category's set of tasks and $K$ the number of categories,
#
# $$
# T_t = \frac{1}{|Q_t|}\sum_{q \in Q_t} s_q, \quad C_c = \frac{1}{|c|}\sum_{t \in c} T_t, \quad \text{overall} = \frac{1}{K}\sum_c C_c, \tag{4}
# $$
#
# shown times 100. A task counts the same whether it has 36 questions or 100. That is a choice: it makes a question of a small task weigh more. The paper
# draws 95% bootstrap intervals without saying what is resampled. We draw questions anew *within each task*, so that the weights stay.

# %%
first = runs[seeds[0]]["official"][3]  # model D
task_mean = {t: first[np.array(names) == t].mean() for t in demo.TASKS}
groups = {}
for task, group in demo.CATEGORY.items():
    groups.setdefault(group, []).append(task_mean[task])
overall = np.mean([np.mean(group) for group in groups.values()])
kernel = aggregate(first, names, demo.CATEGORY)
assert np.isclose(overall, kernel.overall)  # agrees with the kernel
print(f"mean of categories {overall:.2f}, of questions {first.mean():.2f}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six models with two dots each, official and strict score, with 95% intervals. A is about 92 by both. B is near 80 officially and near 90 strictly. E lies below D officially and at or above it strictly."}, "figure": {"caption": "One seed, 320 questions: overall scores with 95% bootstrap intervals, by the official rules and by our strict ones.", "name": "fig-lb-bars"}}
fig, ax = plt.subplots(figsize=(4.6, 3.2))
for rule, colour, marker, shift in (
    ("official", "blue", "o", -0.13),
    ("strict", "orange", "s", 0.13),
):
    rows = runs[seeds[0]][rule]
    middle = np.array(
        [aggregate(row, names, demo.CATEGORY).overall for row in rows]
    )
    ends = np.array([
        bootstrap_overall(row, names, demo.CATEGORY, settings.draws, rng=numpy_generator(0, "bootstrap", rule, i))
        for i, row in enumerate(rows)
    ])  # fmt: skip
    bars = 100 * np.abs(ends.T - middle)
    ax.errorbar(
        100 * middle,
        np.arange(6) + shift,
        xerr=bars,
        fmt=marker,
        color=COLOURS[colour],
        label=rule,
    )
ax.set_yticks(range(6), [model.name for model in demo.MODELS])
ax.invert_yaxis()
ax.set(xlabel="overall score (points)", title="A leaderboard")
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# Two comparisons of equals:

# %%
lead = {rule: total[:, 0] - total[:, 1] for rule, total in totals.items()}
last = {rule: total[:, 3] - total[:, 4] for rule, total in totals.items()}
for rule in totals:
    a, d = lead[rule].mean(), last[rule].mean()
    print(f"{rule:8} A over B: {a:2.0f} points, D over E: {d:2.0f} points")
more = lead["official"] > lead["strict"]
print(f"A's lead is larger officially in {more.sum()} of {len(more)} seeds")

# %% [markdown]
# Under the official rules tidiness alone is worth some eight to ten points here: B knows what A knows, and E what D knows. Under our rule nearly all of both gaps closes. (The
# untidy forms are ones that our rule reads: this shows how large the effect of a parser can be, not that ours is the better one.) Whoever compares two models compares two models *and* a parser.
#
# How far can the interval be trusted? We simulate models on the same eight tasks with known chances of success and count how often the interval holds the
# expected score.
#
# <a id="lb-12"></a>

# %%
held = demo.coverage(settings.coverage_sets)
error = (held * (1 - held) / settings.coverage_sets) ** 0.5
ledger_.check("lb-12", held, error=error, seeds=[0], at="demo", digits=2)

# %% [markdown]
# The interval is about *questions like these*. It knows nothing of another run of the same model at a temperature above 0, of another parser, or of memory.
#
# Is the average that the paper prints really (4)? From the rows that we copied out of its two tables, ten of v1 and seventeen of the ICLR version:
#
# <a id="lb-2"></a>

# %%
gap = max(
    paper_tables.largest_gap(rows)
    for rows in (paper_tables.V1, paper_tables.ICLR)
)
ledger_.check("lb-2", gap, at="demo", digits=1)

# %% [markdown]
# Rounding of seven numbers to one decimal allows 0.1 point. (The "not reproduced" is the full run's, from tasks: see below.)
#
# ## What a refresh does to a ranking
#
# Twenty simulated models of different skill answer 240 questions of different difficulty. Then a sixth is replaced by fresh ones: at random, or, as the authors do
# among other things, the *easiest* ones. The log-odds of a right answer are the model's skill minus the question's difficulty.
#
# > **Predict.** Which of the two keeps the ranking? Which lowers the mean?

# %%
fresh = [demo.refresh_experiment(seed) for seed in seeds]
for kind in ("random", "easiest"):
    ranks = [row[f"rank_{kind}"] for row in fresh]
    moved = [row[f"change_{kind}"] for row in fresh]
    print(f"{kind:8} rank correlation at least {min(ranks):.2f}", end="; ")
    print(f"mean moves by {min(moved):.0f} to {max(moved):.0f} points")

# %% [markdown]
# <details>
# <summary>Show the answer</summary>
#
# Both keep the ranking, since five sixths of the questions are the same. Replacing the easiest lowers the mean, although no model has
# changed and the new questions are like the old ones: who picks the easy questions and asks anew finds harder ones. A fall of the mean after a refresh can be partly
# this *selection*.
#
# </details>
#
# <a id="lb-3"></a><a id="lb-4"></a>

# %%
ranks = [row["rank_random"] for row in fresh]
ledger_.check(
    "lb-3",
    np.mean(ranks),
    spread=np.std(ranks, ddof=1),
    seeds=seeds,
    at="demo",
    digits=2,
)

# %%
falls = [row["change_easiest"] for row in fresh]
ledger_.check(
    "lb-4",
    np.mean(falls),
    spread=np.std(falls, ddof=1),
    seeds=seeds,
    at="demo",
    digits=1,
)

# %% [markdown]
# ## The real leaderboard
#
# The benchmark publishes its scores by task. We recomputed what the paper says from six of those tables (June 2024 to May 2025) and recorded it.

# %%
if tier == "full":
    tables = full.run(settings, data_root)
    for name, rows in tables.items():
        ledger_.attach(name, rows)
else:
    tables = {
        name: ledger.attachment("livebench", "full", name) or []
        for name in full.TABLES
    }
print(
    len(tables["releases"]),
    "releases,",
    len(tables["updates"]),
    "comparisons",
)

# %% tags=["hide-input"]
ledger.Grid(
    "Six public tables, models that have every task",
    ["release", "models", "tasks", "mean", "best model", "its score"],
    [
        [r["release"], f"{r['models']}", f"{r['tasks']}", f"{r['mean']:.1f}", r["best"], f"{r['best_overall']:.1f}"]
        for r in tables["releases"]
    ],
)  # fmt: skip

# %% [markdown]
# "All below 70" (lb-1) is true of the tables of June and August 2024. That of November 2024 kept growing with models of 2025, and its best stands above 80. Each table has other models, so the
# column of means is not a trend.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Scatter of overall scores before and after an update of the questions, for two updates. The points lie close to the diagonal; those of the larger update lie slightly below it."}, "figure": {"caption": "The same models before and after the questions changed. Two updates are drawn: June to July 2024, and June to August 2024.", "name": "fig-lb-refresh"}}
fig, ax = plt.subplots(figsize=(4.6, 3.7))
for to, colour, marker in (
    ("2024-07-26", "orange", "s"),
    ("2024-08-31", "blue", "o"),
):
    rows = [row for row in tables["scatter"] if row["to"] == to]
    label = f"{to} ({len(rows)} models)"
    x, y = [row["before"] for row in rows], [row["after"] for row in rows]
    ax.plot(
        x,
        y,
        marker,
        markersize=4,
        alpha=0.7,
        color=COLOURS[colour],
        label=label,
    )
ax.plot([0, 70], [0, 70], color=COLOURS["ink"], linewidth=1)
ax.set(
    xlabel="overall score in June 2024 (points)",
    ylabel="overall score after the update",
)
ax.set_title("Do ranks survive a refresh?")
ax.legend(loc="upper left")
plt.show()

# %% tags=["hide-input"]
ledger.Grid(
    "Successive releases, and the first against the third; models in both",
    ["from", "to", "models", "rank correlation", "its standard error", "mean change", "its standard error", "median change", "models that fell"],
    [
        [r["from"], r["to"], f"{r['models']}", f"{r['rank']:.4f}", f"{r['rank_error']:.3f}", f"{r['mean_change']:+.2f}", f"{r['mean_error']:.2f}", f"{r['median_change']:+.2f}", f"{r['fell']}"]
        for r in tables["updates"]
    ],
)  # fmt: skip

# %% [markdown]
# The paper's two updates keep the ranking, as it says: the rank correlation is above 0.997 in the first two rows. But the smaller of the two is above it by 0.0002, and if the same number of
# models is drawn anew from these with replacement, two thousand times, it varies by many times as much (its standard error in the table). So lb-3 is undecided: that ranks are *kept* is plain, on which side of 0.997 is not. It also says that mean and median fall by
# about 1.2%, which we read as points. The mean of the forty models in the June and August tables falls by about as much (lb-4); *their median does not*. Two later updates have lower
# numbers, 0.996 and 0.979, but neither is lower by much more than one standard error, and the last row of successive releases has three models, which says nothing.
#
# ### What goes with what
#
# Which task tells most about the overall score? The text of the paper says `math_comp`. Its own Table 6 says `web_of_lies_v2`. The public
# table of August 2024, whose 59 models are not the 40 of the paper, gives:

# %% tags=["hide-input"]
ledger.Grid(
    "Correlation over models (Pearson), August 2024: of a task with the overall score, and with the other five categories only",
    ["task", "overall", "other categories", "paper's Table 6"],
    [
        [r["task"], f"{r['overall']:.3f}", f"{r['rest']:.3f}", "" if r["printed"] is None else f"{r['printed']:.4f}"]
        for r in tables["task_ties"]
    ],
)  # fmt: skip

# %%
printed = paper_tables.TASK_CORRELATIONS
best = sorted(printed, key=printed.get)[::-1][:2]
print("highest in the paper's Table 6:", best)
rest = sorted(tables["task_ties"], key=lambda r: -r["rest"])[:2]
print("highest with the other categories:", [r["task"] for r in rest])
for row in tables["task_ties"]:
    if row["printed"] and abs(row["overall"] - row["printed"]) > 0.1:
        print(f"far from Table 6: {row['task']}, {row['overall']:.2f}")

# %% [markdown]
# The overall score *contains* the task, so every number in the first column is too high. The second column leaves the task's whole category out, and there `tablejoin` stands above `math_comp`, by less than a hundredth; we drew no samples for this column. And which models are in the table is partly chance:

# %%
tasks = tables["task_ties"]
often = sorted(tasks, key=lambda r: -r["first"])[:3]
for r in often:
    print(f"{r['task']} is first in {r['first']:.0%} of the resamples")
for r in tasks:
    if r["task"] == "math_comp":
        print(f"its lead: {r['lead']:.3f}, error {r['lead_error']:.3f}")

# %% [markdown]
# With the 59 models drawn anew, two thousand times, `math_comp` comes first in about two samples of five. Its lead over the best of the other tasks is a third of the lead's standard error. So "highest" is not
# a finding in this table, and lb-5 is undecided. Why zebra puzzles go so much less with the rest here than in the paper, we do not know.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six by six matrix of correlations between categories. Coding with mathematics and data analysis with language are the highest, near 0.89; instruction following has the two lowest, 0.68 and 0.71, and none above 0.79."}, "figure": {"caption": "Correlations between categories over the models of the public table of August 2024.", "name": "fig-lb-ties"}}
rows = tables["category_ties"]
order = [row["category"] for row in rows]
matrix = (
    np.array([[row[other] for other in order] for row in rows])
    if rows
    else np.eye(6)
)
fig, ax = plt.subplots(figsize=(4.6, 4.0))
ax.imshow(matrix, vmin=0.4, vmax=1, cmap="Blues")
ax.grid(False)
for (i, j), value in np.ndenumerate(matrix):
    ax.text(
        j,
        i,
        f"{value:.2f}",
        ha="center",
        va="center",
        color="white" if value > 0.8 else COLOURS["ink"],
    )
ax.set_xticks(range(len(order)), order, rotation=40, ha="right")
ax.set_yticks(range(len(order)), order)
ax.set(
    title="Which skills go together?", xlabel="category", ylabel="category"
)
if rows and not dry_run:  # as the alternative text says
    low, second, *_, high, _own = np.sort(matrix[order.index("IF")])
    assert [round(low, 2), round(second, 2)] == [0.68, 0.71]
    assert high < 0.79
    assert round(matrix[matrix < 0.999].max(), 2) == 0.89
plt.show()

# %% [markdown]
# In this table instruction following is the category least tied to the others. How surely?

# %%
for r in tables["category_ties"]:
    if r["category"] in ("IF", "Reasoning"):
        often = f"{r['last']:.0%} of the resamples"
        rest = f"{r['last_rest']:.0%} against the other categories"
        print(f"{r['category']}: last in {often}, in {rest}")
    if r["category"] == "IF":
        behind = f"{r['behind']:.3f}, error {r['behind_error']:.3f}"
        print(f"behind the next one by {behind}")

# %% [markdown]
# The paper has instruction following last (lb-6), and so has this table, by little more than one standard error over the models: in about one resample of six
# another category is last, mostly reasoning, and in more than one of four if the overall score is left out. Coding goes with mathematics, and language with data analysis.
#
# ### Do the paper's numbers follow from the public tables?

# %% tags=["hide-input"]
ledger.Grid(
    "Rows of v1, recomputed from the public table of June 2024",
    ["model", "printed", "recomputed", "largest gap", "where"],
    [
        [r["model"], f"{r['printed']:.1f}", f"{r['recomputed']:.1f}", f"{r['gap']:.2f}", r["where"]]
        for r in tables["rows_v1"]
    ],
)  # fmt: skip

# %%
gaps = [row["gap"] for row in tables["rows_v1"]]
tight = sum(gap <= 0.1 for gap in gaps)
print(f"{tight} of {len(gaps)} rows within 0.1 point in every category")
late_gaps = [row["overall_gap"] for row in tables["rows_iclr"]]
print(f"ICLR rows and the table of November 2024: {len(late_gaps)} models,")
if late_gaps:
    low, high = min(late_gaps), max(late_gaps)
    print(f"overall off by {low:.1f} to {high:.1f} points")

# %% [markdown]
# For the four strongest of these ten models they do, to the decimal (lb-2). For the others they do not, by up to fifteen points in one category; so lb-2 is not reproduced as we wrote it, though nothing here speaks against formula (4): answers or scorers may have changed after v1, we cannot
# tell. And the rows of the ICLR version are not those of the public table of November 2024. Which is "the" score of a small model? A score needs a date, *and* the version of the scorer.
#
# ## Can a model be the judge?
#
# Many benchmarks of open answers let a language model judge. The authors tried gpt-4-turbo on questions with a known answer (v1, Tables 2 and 5) and printed error rates. An
# error rate does not say which way a judge errs. But with the true share of right answers $g$ and the judged share $j$ it does: wrong answers passed ($P$) and right answers failed ($F$), as shares of all,
# satisfy $P + F = e$ and $P - F = j - g$, so
#
# $$
# P = \frac{e + (j - g)}{2}, \qquad F = \frac{e - (j - g)}{2}. \tag{5}
# $$

# %%
for name, (g, j, e) in paper_tables.JUDGED_ZEBRA.items():
    passed, failed = (e + j - g) / 2, (e - j + g) / 2
    kernel = judge_confusion(g, j, e)
    assert np.allclose(kernel, (passed, failed))  # agrees with the kernel
    print(f"{name:14} of 50: {50 * passed:.0f} wrong passed", end=", ")
    print(f"{50 * failed:.0f} right failed")

# %% [markdown]
# Whole numbers of fifty puzzles, as they should be. This judge is generous: of the 31 wrong answers of gpt-4-turbo it passes 18. Its printed error rates on four kinds of questions:

# %% tags=["hide-input"]
ledger.Grid(
    "Share of answers on which the judge, gpt-4-turbo, was wrong (v1, Tables 2 and 5)",
    ["questions", *(f"answers of {name}" for name in paper_tables.JUDGED_ZEBRA)],
    [[name, *(f"{rate:.3f}" for rate in rates)] for name, rates in paper_tables.JUDGE_ERRORS.items()],
)  # fmt: skip

# %% [markdown]
# It errs least on AIME, where an answer is a number. The largest rate is 0.46: a coin would do hardly worse.
#
# <a id="lb-9"></a>

# %%
worst = max(demo.judge_errors(seed) for seed in seeds)
ledger_.check("lb-9", worst, seeds=seeds, at="demo", digits=0)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two lines over the share of wrong answers that the judge passes, from 0 to 0.4, for models that are truly right in 45 and 38 percent. The first model writes plainly and its judged share rises slowly; the second writes persuasively, its wrong answers are passed twice as often, and its line crosses the first."}, "figure": {"caption": "How a judge turns a ranking round: model 1 is better, but wrong answers of model 2 are passed twice as often. A made-up case, by the arithmetic of (5).", "name": "fig-lb-judge"}}
fig, ax = plt.subplots(figsize=(4.6, 2.9))
rate = np.linspace(0, 0.4, 41)
ax.plot(
    rate,
    0.45 + 0.55 * rate,
    color=COLOURS["blue"],
    label="model 1, truly 0.45",
)
ax.plot(
    rate,
    0.38 + 0.62 * 2 * rate,
    "--",
    color=COLOURS["red"],
    label="model 2, truly 0.38",
)
ax.set(
    xlabel="share of model 1's wrong answers that pass",
    ylabel="judged right",
)
ax.set_title("A generous judge")
ax.legend()
plt.show()

# %% [markdown]
# Error that hits all models alike compresses a ranking. Error that depends on style can turn it round. This is LiveBench's case for objective answers, and it has a
# price: what has no checkable answer is not asked.
#
# ## Where it breaks
#
# **A score mixes skill and chance.** One task masks 10, 50 or 80% of a proof's formulae and asks for their order. The paper's mean over 34 models falls from 57 (easy) to 30 to 19
# (hard). We let a solver know each place with one fixed probability, whatever the share that is masked, and guess the rest; the last one below guesses everything.
#
# <a id="lb-15"></a>

# %%
chances = (0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
masked = {c: [demo.masking(seed, c) for seed in seeds] for c in chances}
for c, runs_of in masked.items():
    mean = [
        np.mean([run[level] for run in runs_of]) for level in demo.SHARES
    ]
    points = " ".join(f"{value:3.0f}" for value in mean)
    print(f"knows {c:3.0%}: easy, medium, hard: {points}")
falling = [run["easy"] > run["medium"] > run["hard"] for run in masked[0.5]]
print(f"easy > medium > hard in {sum(falling)} of {len(falling)} seeds")

# %%
ledger_.check("lb-15", bool(all(falling)), seeds=seeds, at="demo")

# %% [markdown]
# With three formulae missing, guessing earns over forty points; with fifteen or twenty-four, little. So from easy to medium a large part of the fall is arithmetic: a short list is easy to guess.
# The solver that knows one place in five comes within two points of the paper's first two numbers, with one fixed chance.
# From medium to hard the solver that knows half hardly falls, in one of our three seeds (40 proofs each) not at all; and none of the six falls by more than six points. We had written down "falls for every seed" before the run; it failed, and we leave it. The paper's models
# fall from 30 to 19 there, which no fixed chance among ours explains: it suggests that they know *less of each place* when more is missing. (So this is our own claim about our own
# solver, lb-15. The paper's, lb-7, is about language models, and we have not run any on such proofs.)
#
# **Fresh is not unseen.** The authors say that some items are contaminated: coding problems from November 2023, and competition problems that were only lightly changed.
#
# **The rules change.** The scorer of a task was replaced more than once. In one version of the authors' program an expression that is not found equal to the truth goes to a language model, which is asked
# whether the two are equal or negatives of each other. Quote the release with every score.
#
# **The paper contradicts itself** in places: 960 against 910 questions in v1; in the ICLR version the highest task (above), the second-best model, and the dearest run (text: o1-preview at 47.87 US dollars;
# Table 16: claude-3-opus at 53.80; what a run costs, lb-17, we did not measure). It reports a correlation with Chatbot Arena of 0.91 (lb-16), which we could not recompute: the Arena scores are not among the public tables.
#
# **One run at temperature 0** does not show how far runs spread. The interval of a bootstrap is not that spread.
#
# ## At full scale
#
# The full tier reads the six public tables (fetched from the benchmark's site with a checksum, or from a folder you name) in a second. Then, in about half an hour on two cores with the small model, it puts 25 generated questions of each of our eight tasks to a language model:
# the one in the folder `own_model` of the settings, or SmolLM2 (135 million parameters) where its optional package is installed, or else **a tiny network with random weights, which shows that the way works and nothing about models**. If the folder also holds the stored public
# answers, their judgments and the questions, as JSON lines or as the Parquet files of the public data sets, it scores them again (of each coding task 200 answers, whose programs run in the sandbox), and counts how often our official rules give the official score (lb-13; the aim is 99% for every task).
# And if it holds the published questions, the model in the folder `own_model` is asked those that were active on 24 June 2024, graded by the rules of that day, and averaged by (4): that is the paper's small model on its own questions where the folder is named `qwen2-1.5b-instruct` (lb-8),
# and masked proofs by the share that is masked (lb-7). The SHA-256 of every such file goes into the record. *We could do neither*: answers and questions were not at hand, so these claims are marked as not run, and the way was tried on made-up files with random weights. The whole benchmark
# on a model of 1.5 billion parameters would take a GPU.
#
# ```
# workings run livebench --tier full
# ```

# %% tags=["hide-input"]
name_of = lambda tables: (tables["own_model"] or [{"model": "none"}])[0][
    "model"
]
ledger.Grid(
    f"Generated questions, answered by {name_of(tables)}",
    ["task", "questions", "official", "strict"],
    [[r["task"], f"{r['questions']}", f"{r['official']:.2f}", f"{r['strict']:.2f}"] for r in tables["own_model"]],
)  # fmt: skip

# %%
answered = tables["own_model"]
if answered:
    for rule in ("official", "strict"):
        points = 100 * np.mean([row[rule] for row in answered])
        print(f"{rule}: {points:.1f} of 100 points")
    begun = {row["task"]: row.get("first", "") for row in answered}
    print(begun["typos"][:68])
    print(begun["plot"][:68])

# %% [markdown]
# SmolLM2 earns 1.3 points of 100 (lb-14), nearly all of them for plots. Asked to mend spelling, its first answer repeats what it was asked. A plot that it retells as a numbered list scores less by the official
# rule than by ours: the official one splits at full stops, so that every "1." counts as a sentence and shifts the places. Claim lb-8 is about a model ten times larger and the paper's own questions, and stays open.

# %% tags=["hide-input"]
ledger.Grid(
    "Stored public answers, scored again by our official rules",
    ["task", "answers", "same score", "rules that gave another"],
    [[r["task"], f"{r['answers']}", f"{r['identical']:.1%}", r["differences"]] for r in tables["agreement"]],
) if tables["agreement"] else None  # fmt: skip

# %% tags=["hide-input"]
asked = tables["published"]
if tier == "full" and not asked:
    why = published.why_not(settings, data_root)
    print(f"No published question was asked: {why}.")
ledger.Grid(
    "A model's answers to the published questions, official rules",
    ["what", "questions", "asked", "points", "standard error"],
    [[r["name"], f"{r['questions']}", f"{r['asked']}", *("" if r[key] is None else f"{r[key]:.1f}" for key in ("score", "error"))] for r in asked],
) if asked else None  # fmt: skip

# %% tags=["hide-input"]
if tier == "full" and asked:
    whole, model = asked[-1], published.PAPERS_MODEL
    if whole["kind"] == "overall" and whole["model"].lower() == model:
        few = published.overall_too_small(asked)
        size = dict(error=whole["error"], too_small=few)
        ledger_.check("lb-8", whole["score"], seeds=[0], **size)
    if order := published.masking_order(tables["masked"]):
        ledger_.check("lb-7", order[0], too_small=order[1], seeds=[0])
    else:
        print("lb-7 is not asked: a share of masked formulae is missing")

# %% tags=["hide-input"]
if tier == "full" and answered and "SmolLM2-135M" in answered[0]["model"]:
    each = np.array([(r["official"], r["error"]) for r in answered])
    error = 100 * np.sqrt((each[:, 1] ** 2).sum()) / len(each)
    ledger_.check("lb-14", 100 * each[:, 0].mean(), error=error, seeds=[0])

# %% tags=["hide-input"]
if tier == "full":
    by_pair = {(r["from"], r["to"]): r for r in tables["updates"]}
    early = ("2024-06-24", "2024-08-31")
    top = [
        r["best_overall"]
        for r in tables["releases"]
        if r["release"] in early
    ]
    steps = [("2024-06-24", "2024-07-26"), ("2024-07-26", "2024-08-31")]
    ledger_.check("lb-1", max(top))
    if gaps:
        ledger_.check("lb-2", max(gaps), digits=3)
    low = min((by_pair[step] for step in steps), key=lambda r: r["rank"])
    ledger_.check("lb-3", low["rank"], error=low["rank_error"], digits=4)
    change = by_pair[early]
    drop, error = change["mean_change"], change["mean_error"]
    ledger_.check("lb-4", drop, error=error, digits=3)
    if tables["agreement"]:
        ledger_.check(
            "lb-13", min(r["identical"] for r in tables["agreement"])
        )


# %% tags=["hide-input"]
def unsure(ahead, error):
    """Why a place settles nothing; None where it is sure enough."""
    if abs(ahead) > error:
        return None
    return f"it stands {abs(ahead):.3f} from the next one, within one standard error ({error:.3f}) over the models"  # fmt: skip


if tier == "full":
    by_task = [r["task"] for r in tables["task_ties"]]
    place = by_task.index("math_comp")
    one = tables["task_ties"][place]
    few = unsure(one["lead"], one["lead_error"])
    ledger_.check("lb-5", place + 1, too_small=few)
    tied = sorted(tables["category_ties"], key=lambda r: -r["overall"])
    place = [r["category"] for r in tied].index("IF")
    one = tied[place]
    few = unsure(one["behind"], one["behind_error"])
    ledger_.check("lb-6", place + 1, too_small=few)

# %% [markdown]
# ## The ledger
#
# What the paper claims, what this notebook found a moment ago, and what the recorded full run found. The criteria were written before these runs (for lb-2 to lb-6
# after a first look at the public tables); the verdicts are computed.
#
# <a id="lb-1"></a><a id="lb-5"></a><a id="lb-6"></a><a id="lb-8"></a><a id="lb-13"></a><a id="lb-14"></a><a id="lb-7"></a><a id="lb-16"></a><a id="lb-17"></a>

# %%
ledger_.table()

# %% [markdown]
# ## Take it home
#
# You have answers of a model and their truths. These lines run by themselves, in an empty file; put your own in the place of ours.

# %%
# pip install "git+https://github.com/workings-book/workings@main"
import numpy as np

from workings.language_models.benchmark_scores import bootstrap_overall
from workings.language_models.grading_reasoning import score_zebra

your_answers = [
    "<solution>1, cat</solution>",
    "<solution>two, cat</solution>",
] * 20
your_truths = ["1, cat", "2, cat"] * 20
your_tasks = ["pets"] * 40

for rule in (False, True):
    pairs = zip(your_truths, your_answers, strict=True)
    grades = [score_zebra(t, a, strict=rule) for t, a in pairs]
    scores = [grade.score for grade in grades]
    low, high = bootstrap_overall(
        scores, your_tasks, {"pets": "all"}, rng=np.random.default_rng(0)
    )
    name = "strict" if rule else "official"
    print(
        f"{name:8} {np.mean(scores):.2f}, {low:.2f} to {high:.2f};", end=" "
    )
    print("rules that fired:", sorted({grade.rule for grade in grades}))

# %% [markdown]
# Before you believe the number: read ten answers beside the rule that fired on each. If two rules disagree on more than a few answers, you are measuring the parser. And ask when
# the questions became public.
#
# ## Exercises
#
# **1.** A quarter of the questions is replaced each month, oldest first, and a question leaks two months after its release. What share has leaked right after a refresh?
#
# <details>
# <summary>Show the solution</summary>
#
# Ages 0, 1, 2, 3 with a quarter each; 2 and 3 have leaked: one half.
#
# </details>

# %% tags=["hide-input"]
print(leaked_share(4, 2), leaked_after(24, 4, 2))

# %% [markdown]
# **2.** A judge has $g = 0.5$, $j = 0.5$ and $e = 0.3$. Is it harmless, since it gets the share right?
#
# <details>
# <summary>Show the solution</summary>
#
# By (5) it passes 15% and fails 15%: 30 answers in 100 have the wrong label, and they cancel in the share. For a ranking of models it may be harmless; for
# training on its labels it is not.
#
# </details>

# %% tags=["hide-input"]
print([round(float(rate), 2) for rate in judge_confusion(0.5, 0.5, 0.3)])

# %% [markdown]
# **3.** Write an answer to the truth "1, cat" that is wrong in both parts and earns the full official score for zebra puzzles of 2025.
#
# <details>
# <summary>Show the solution</summary>
#
# An item is right when it *holds* the truth: "21, caterpillar".
#
# </details>

# %% tags=["hide-input"]
trick = "<solution>21, caterpillar</solution>"
for rule in (False, True):
    print(score_zebra("1, cat", trick, strict=rule).score)

# %% [markdown]
# **4.** Two tasks form one category; one has 90 questions and the other 10. By how much does one more right answer in each raise the category?
#
# <details>
# <summary>Show the solution</summary>
#
# By $\frac12\cdot\frac1{90}$ and $\frac12\cdot\frac1{10}$: nine times as much in the small task. Equal weights for tasks are unequal weights for questions.
#
# </details>
#
# ## References
#
# - White et al. *LiveBench: A Challenging, Contamination-Limited LLM Benchmark.* ICLR 2025. [arXiv 2406.19314](https://arxiv.org/abs/2406.19314). Code: LiveBench/LiveBench.
# - Zhou et al. *Instruction-Following Evaluation for Large Language Models.* 2023. [arXiv 2311.07911](https://arxiv.org/abs/2311.07911). The instructions that a program can check.
# - Zheng et al. *Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena.* NeurIPS 2023. [arXiv 2306.05685](https://arxiv.org/abs/2306.05685). The case for judges.
# - Jain et al. *LiveCodeBench: Holistic and Contamination Free Evaluation of Large Language Models for Code.* 2024. [arXiv 2403.07974](https://arxiv.org/abs/2403.07974). Where the coding questions come from.
# - Efron, Tibshirani. *An Introduction to the Bootstrap.* Chapman and Hall 1993. [doi 10.1201/9780429246593](https://doi.org/10.1201/9780429246593)
