"""Graders beside what the official scorers are made of (difflib's search, the textbook table of edit distances), and beside themselves.

Agreement first, then interleaved times. The official scorers are on no package index: where ``LIVEBENCH_HOME`` names a folder that
holds the package ``livebench`` of LiveBench/LiveBench, each of them is a row (`livebench_official`); elsewhere they are left out, and a line says so.

    LIVEBENCH_HOME=folder PYTHONPATH=lib:benchmarks python benchmarks/livebench.py [rows.json]
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from typing import Any

import livebench_official
import numpy as np
from timing import interleaved, ratio

from workings.language_models.answer_extraction import solution_tags
from workings.language_models.edit_distance import levenshtein
from workings.language_models.grading_language import closest_sentences


def _row(row_id: str, what: str, peer: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("ours", "theirs", "unit", "ratio", "ratio_low", "ratio_high", "repeats"))
    return {
        "id": f"livebench-{row_id}",
        "chapter": "livebench",
        "what": what,
        "peer": peer,
        "note": "",
        **empty,
        **values,
    }


def _table(a: list[int], b: list[int]) -> int:
    """The whole table of distances, entry by entry."""
    d = [[max(i, j) if i == 0 or j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            same = a[i - 1] == b[j - 1]
            d[i][j] = d[i - 1][j - 1] if same else 1 + min(d[i - 1][j], d[i][j - 1], d[i - 1][j - 1])
    return d[-1][-1]


def _sentences(rng: np.random.Generator, count: int) -> list[str]:
    words = [
        "the",
        "a",
        "letter",
        "ship",
        "captain",
        "island",
        "storm",
        "seeds",
        "tea",
        "boat",
        "brother",
        "harbour",
        "story",
        "old",
        "rusty",
        "finds",
        "sells",
        "map",
        "night",
    ]
    return [
        " ".join(words[int(k)] for k in rng.integers(0, len(words), int(rng.integers(8, 20)))) for _ in range(count)
    ]


def _difflib(sentences: list[str], candidates: list[str]) -> list[int]:
    return [candidates.index(difflib.get_close_matches(s, candidates, n=1, cutoff=0.0)[0]) for s in sentences]


def rows(repeats: int = 15) -> list[dict[str, Any]]:
    """All rows: about half a minute on one core, with the official scorers about four minutes."""
    rng = np.random.default_rng(0)
    truth = _sentences(rng, 40)
    shuffled = [truth[i] for i in rng.permutation(40)]
    changed = [s.replace("the", "this").replace("old", "young") for s in shuffled]
    text = "so\n".join(f"<solution>{s}</solution>" for s in truth * 20)
    lists = [rng.integers(0, 60, 60).tolist() for _ in range(2)]
    pairs = {
        "closest-copied": ("closest of 40 copied sentences for 40", "difflib.get_close_matches", lambda: closest_sentences(truth, shuffled)[0], lambda: _difflib(truth, shuffled)),
        "closest-changed": ("closest of 40 changed sentences for 40", "difflib.get_close_matches", lambda: closest_sentences(truth, changed)[0], lambda: _difflib(truth, changed)),
        "tags": ("800 tags in a text", "re.findall", lambda: solution_tags(text), lambda: re.findall(r"<solution>(.*?)</solution>", text)),
        "distance": ("edit distance of two lists of 60", "whole table in Python (written here)", lambda: levenshtein(*lists), lambda: _table(*lists)),
    }  # fmt: skip
    out = []
    for name, (what, peer, ours, theirs) in pairs.items():
        agree = ours() == theirs()
        seconds = interleaved({"ours": ours, "theirs": theirs}, repeats)
        middle, low, high = ratio(seconds["ours"], seconds["theirs"])
        out.append(
            _row(
                name, what, peer, ours=float(np.median(seconds["ours"])), theirs=float(np.median(seconds["theirs"])),
                unit="s", ratio=middle, ratio_low=low, ratio_high=high, repeats=repeats,
                note="same result" if agree else "another result",
            )
        )  # fmt: skip
    return out + livebench_official.rows(_row)


if __name__ == "__main__":
    result = json.dumps(rows(), indent=1)
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(result + "\n")
    print(result)
