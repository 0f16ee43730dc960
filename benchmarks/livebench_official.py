"""Our graders and the authors' scorers on the same pairs of truth and answer: who gives another score, and what a call takes.

The authors' program is on no package index. ``LIVEBENCH_HOME`` names a folder that holds its package ``livebench`` (a clone of
LiveBench/LiveBench, or its folders ``process_results`` and ``if_runner``); nothing of it is part of this book. Their scorer of AMPS_Hard
needs lark, the one of tables pandas and lxml, the one of programs tqdm. A scorer that cannot be imported is named with the reason.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from livebench_pairs import Pair, pairs
from timing import interleaved, ratio

from workings.chapters.livebench.stored_answers import option_text
from workings.language_models.grading import Grade
from workings.language_models.grading_code import PRELUDE, score_code
from workings.language_models.grading_instructions import score_instructions
from workings.language_models.grading_language import score_connections, score_plot, score_typos
from workings.language_models.grading_mathematics import score_aime, score_amps, score_multiple_choice, score_olympiad
from workings.language_models.grading_reasoning import (
    score_house_traversal,
    score_spatial,
    score_web_of_lies,
    score_zebra,
)
from workings.language_models.grading_tables import score_cta, score_table_join, score_table_reformat, table_formats
from workings.language_models.sandbox import Sandbox

VARIABLE = "LIVEBENCH_HOME"
ABSENT = f"not installed: {VARIABLE} names no folder with the authors' package livebench"
PAIRS, FEW_PAIRS = 400, 64
PROGRAMS = Sandbox(PRELUDE)  # ours run in it, as they do where stored answers are scored
OLD, LATE = "2024-06-24", "2025-05-30"
_THINK = re.compile(r"<think>.*?</think>", re.DOTALL)


Theirs = Callable[[Pair, str], float]
Take = Callable[[Any], Theirs]


class Scorer(NamedTuple):
    """``module`` and ``take`` find the authors' function in it, as ``(pair, answer) -> score``; ``ours`` is our grader of the pair."""

    what: str
    module: str
    take: Take
    ours: Callable[[Pair], Grade]


def _their_instructions(module: Any) -> Theirs:
    main = module.evaluation_main

    def score(pair: Pair, answer: str) -> float:
        names, given = pair.question
        asked = main.InputExample(key=0, instruction_id_list=names, prompt="p", kwargs=given)
        found = main.test_instruction_following_strict(asked, {"p": answer})
        return module.score_results(found.follow_all_instructions, found.follow_instruction_list)

    return score


def _plain(name: str) -> Take:
    """The authors' function ``name``, called with truth and answer."""

    def take(module: Any) -> Theirs:
        function = getattr(module, name)
        return lambda pair, answer: function(pair.truth, answer)

    return take


def _with_question(name: str) -> Take:
    def take(module: Any) -> Theirs:
        function = getattr(module, name)
        return lambda pair, answer: function(pair.truth, answer, pair.question)

    return take


def _their_join(module: Any) -> Theirs:
    return lambda pair, answer: module.joinmap_process_results(None, pair.truth, answer)


def _their_table(version: str) -> Take:
    def take(module: Any) -> Theirs:
        return lambda pair, answer: module.table_process_results(pair.question, pair.truth, answer, version)

    return take


def _their_order(module: Any) -> Theirs:
    return lambda pair, answer: module.proof_rearrangement_process_results(pair.truth, answer, edit_distance=True)


def _their_programs(module: Any) -> Theirs:
    package = {name: found for name, found in sys.modules.items() if name.split(".")[0] == "livebench"}

    def score(pair: Pair, answer: str) -> float:
        with mock.patch.dict(sys.modules, package):  # the processes that it starts look their functions up by name
            return module.LCB_generation_process_results(pair.question, answer)

    return score


def _our_programs(pair: Pair) -> Grade:
    name = json.loads(pair.question["original_json"]["metadata"]).get("func_name")
    return score_code(pair.truth, pair.answer, function=name, sandbox=PROGRAMS)


def _our_table(rules: str) -> Callable[[Pair], Grade]:
    return lambda pair: score_table_reformat(
        pair.truth, pair.answer, target=table_formats(pair.question)[1], rules=rules
    )


def _ours(grader: Callable[..., Grade], **options: Any) -> Callable[[Pair], Grade]:
    return lambda pair: grader(pair.truth, pair.answer, **options)


SCORERS: dict[str, Scorer] = {
    "lies-v2": Scorer("web of lies, version 2", "reasoning.web_of_lies_v2", _plain("web_of_lies_process_results"), _ours(score_web_of_lies, rules=OLD)),
    "lies-v3": Scorer("web of lies, version 3", "reasoning.web_of_lies_v3", _plain("web_of_lies_v3_process_results"), _ours(score_web_of_lies, rules=LATE)),
    "zebra-old": Scorer("zebra puzzle before 2024-11-25", "reasoning.zebra_puzzle", _plain("zebra_puzzle_process_results_old"), _ours(score_zebra, rules=OLD)),
    "zebra": Scorer("zebra puzzle", "reasoning.zebra_puzzle", _plain("zebra_puzzle_process_results"), _ours(score_zebra, rules=LATE)),
    "houses": Scorer("house traversal", "reasoning.house_traversal", _plain("house_traversal_process_results"), _ours(score_house_traversal)),
    "spatial": Scorer("spatial", "reasoning.spatial", _plain("spatial_process_results"), _ours(score_spatial)),
    "connections-old": Scorer("connections before 2024-11-25", "writing.connections", _plain("connections_process_results_old"), _ours(score_connections, rules=OLD)),
    "connections": Scorer("connections", "writing.connections", _plain("connections_process_results"), _ours(score_connections)),
    "typos": Scorer("typos", "writing.typos", _plain("typos_process_results"), _ours(score_typos)),
    "plot": Scorer("plot unscrambling", "writing.plot_unscrambling", _plain("plot_unscrambling_process_results"), _ours(score_plot)),
    "cta": Scorer("column type", "data_analysis.cta", _plain("cta_process_results"), _ours(score_cta)),
    "join": Scorer("table join", "data_analysis.tablejoin", _their_join, _ours(score_table_join)),
    "table-old": Scorer("table reformatting before 2025-04-25", "data_analysis.tablereformat", _their_table("v1"), _our_table(OLD)),
    "table": Scorer("table reformatting", "data_analysis.tablereformat", _their_table("v2"), _our_table(LATE)),
    "choice": Scorer("competition, multiple choice", "math.math_competitions", _with_question("mathcontest_process_results"), lambda pair: score_multiple_choice(pair.truth, pair.answer, value=option_text(pair.question, pair.truth))),
    "aime": Scorer("competition, AIME", "math.math_competitions", _plain("aime_process_results"), _ours(score_aime)),
    "olympiad": Scorer("olympiad", "math.olympiad", _their_order, _ours(score_olympiad)),
    "amps": Scorer("AMPS_Hard, limit 8 s", "math.AMPS_Hard", _plain("amps_hard_process_results"), _ours(score_amps, limit_s=8.0)),
    "instructions": Scorer("instruction following, 15 of 16 instructions", "instruction_following", _their_instructions, _ours(score_instructions)),
    "program": Scorer("program that reads its input, 12 to 24 tests", "coding", _their_programs, _our_programs),
    "function": Scorer("function that is called, 12 to 24 tests", "coding", _their_programs, _our_programs),
}  # fmt: skip
STARTS, SLOW = ("amps", "program", "function"), ("plot", "table", "table-old")
"""Scorers that start processes, and others that take long."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def home() -> Path | None:
    """The folder that :data:`VARIABLE` names, if it holds the authors' package."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named and (Path(named) / "livebench" / "process_results").is_dir() else None


def peer(folder: Path | None) -> str:
    """Name of the peer, with its commit where the folder is a clone."""
    if folder is None:
        return "LiveBench"
    asked = ["git", "-C", str(folder), "rev-parse", "--show-toplevel", "HEAD"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split("\n")
    own = len(found) > 1 and Path(found[0]).resolve() == folder.resolve()
    return f"LiveBench {found[1][:7]}" if own else "LiveBench, a copy without its history"


@contextlib.contextmanager
def _their_package(folder: Path) -> Iterator[None]:
    """The name ``livebench`` is the authors' package inside, and whatever it was before (this folder's module) outside."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "livebench"}
    paths = list(sys.path)
    sys.path[:] = [str(folder), *(path for path in paths if not (Path(path) / "livebench.py").exists())]
    try:
        yield
    finally:
        sys.path[:] = paths
        for name in [name for name in sys.modules if name.split(".")[0] == "livebench"]:
            del sys.modules[name]
        sys.modules.update(before)


def official(name: str, folder: Path) -> Callable[[Pair], float] | str:
    """The authors' scorer of an answer without its think blocks, an error of which scores 0; or why there is none.

    Their program takes the blocks out before it calls a scorer, and our graders do so themselves.
    """
    scorer = SCORERS[name]
    try:
        with _their_package(folder):
            function = scorer.take(importlib.import_module(f"livebench.process_results.{scorer.module}.utils"))
    except Exception as error:  # their modules ask for packages and for downloads
        return f"found but not importable: {type(error).__name__}, {error}"

    def score(pair: Pair) -> float:
        try:
            return float(function(pair, _THINK.sub("", pair.answer)))
        except Exception:  # whatever their program ends in scores 0 there
            return 0.0

    return score


def compare(name: str, theirs: Callable[[Pair], float], count: int) -> list[tuple[Pair, float, Grade]]:
    """The pairs among ``count`` on which the scores differ by more than 1e-9: each with their score and our grade."""
    scorer = SCORERS[name]
    with _quiet():
        found = [(pair, theirs(pair), scorer.ours(pair)) for pair in pairs(name, count)]
    return [(pair, score, grade) for pair, score, grade in found if abs(score - grade.score) > 1e-9]


def _note(different: list[tuple[Pair, float, Grade]], count: int) -> str:
    if not different:
        return f"same score on all {count} pairs"
    rules = Counter(grade.rule for _, _, grade in different)
    named = "; ".join(f"{rule} ({k})" for rule, k in rules.most_common(4))
    return f"another score on {len(different)} of {count} pairs, by our rule: {named}"


def rows(make: Callable[..., dict[str, Any]], repeats: int = 9) -> list[dict[str, Any]]:
    """One row a scorer: seconds a call on the same pairs (of a processor, so that a busy machine does not count), and on how many the scores differ."""
    folder = home()
    clock = {name: "on the wall" if name in STARTS else "of a processor" for name in SCORERS}
    what = {name: f"official scorer: {scorer.what}, time {clock[name]} per call" for name, scorer in SCORERS.items()}
    if folder is None:
        print(f"  the authors' scorers: {ABSENT}")
        return [make(f"official-{name}", what[name], "LiveBench", note=ABSENT) for name in SCORERS]
    out = []
    for name, scorer in SCORERS.items():
        theirs = official(name, folder)
        if isinstance(theirs, str):
            out.append(make(f"official-{name}", what[name], peer(folder), note=theirs))
            continue
        count = FEW_PAIRS if name in STARTS else PAIRS
        note = _note(compare(name, theirs, count), count)
        timed = pairs(name, 20 if name in STARTS else 100 if name in SLOW else PAIRS)
        both = {"ours": scorer.ours, "theirs": theirs}
        calls = {side: lambda score=score, timed=timed: [score(pair) for pair in timed] for side, score in both.items()}
        rounds = 3 if name in STARTS else 5 if name in SLOW else repeats
        with _quiet():
            if name in STARTS:  # both sides start processes, whose time only a clock on the wall sees
                seconds = interleaved(calls, rounds, warmup=0)
            else:
                seconds = interleaved(calls, rounds, clock=time.process_time)
        middle, low, high = ratio(seconds["ours"], seconds["theirs"])
        each = {side: float(np.median(taken)) / len(timed) for side, taken in seconds.items()}
        out.append(make(f"official-{name}", what[name], peer(folder), **each, unit="s", ratio=middle, ratio_low=low, ratio_high=high, repeats=rounds, note=note))  # fmt: skip
    return out
