"""The comparison with the authors' scorers: without their package a line says so, with a package of that name it is asked and counted."""

import importlib
import sys
import types

import pytest

from workings.runs import checkout

NAMES = ("timing", "livebench_programs", "livebench_pairs", "livebench_official")


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(checkout.root() / "benchmarks"))
    module = importlib.import_module("livebench_official")
    yield module
    for name in NAMES:
        sys.modules.pop(name, None)


def row(row_id, what, peer, **values):
    return {"id": row_id, "what": what, "peer": peer, "theirs": None, "ratio": None, **values}


@pytest.fixture
def package(tmp_path):
    """A package of the authors' name with one scorer of AIME, which fails on answers that hold a box, and one that cannot be imported."""
    folder = tmp_path / "livebench" / "process_results" / "math"
    for name, text in {
        "math_competitions": "def aime_process_results(truth, answer):\n    assert 'boxed' not in answer\n    return int(truth in answer[-50:])\n",
        "olympiad": "import a_package_that_nobody_has\n",
    }.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "utils.py").write_text(text)
    return tmp_path


def test_without_the_package_every_row_says_so_and_one_line_is_printed(bench, monkeypatch, tmp_path, capsys):
    for named in (None, str(tmp_path)):
        monkeypatch.setenv(bench.VARIABLE, named) if named else monkeypatch.delenv(bench.VARIABLE, raising=False)
        rows = bench.rows(row)
        assert len(rows) == len(bench.SCORERS) == len({found["id"] for found in rows})
        assert all("not installed" in found["note"] and found["theirs"] is None for found in rows)
        assert capsys.readouterr().out.count("\n") == 1


def test_scores_are_compared_and_the_name_of_the_package_is_given_back(bench, package, monkeypatch):
    ours = types.ModuleType("livebench")
    monkeypatch.setitem(sys.modules, "livebench", ours)
    theirs = bench.official("aime", package)
    assert sys.modules["livebench"] is ours and str(package) not in sys.path
    pair = lambda answer: bench.Pair("025", answer)
    assert [theirs(pair(text)) for text in ("so 025", "no", "\\boxed{025}", "<think>025</think>")] == [1, 0, 0, 0]
    different = bench.compare("aime", theirs, 120)
    assert different and all(
        "boxed" in pair.answer and score == 0 and grade.score == 1 for pair, score, grade in different
    )
    assert "last 50 characters" in bench._note(different, 120) and bench._note([], 3) == "same score on all 3 pairs"
    assert "found but not importable: ModuleNotFoundError" in bench.official("olympiad", package)
    assert "copy without its history" in bench.peer(package)


def test_pairs_are_the_same_at_every_call_and_every_scorer_meets_right_and_wrong_answers(bench):
    assert set(bench.SCORERS) == set(sys.modules["livebench_pairs"].VARIANTS)
    for name, scorer in bench.SCORERS.items():
        made = bench.pairs(name, 150)
        assert made == bench.pairs(name, 150) and len({pair.answer for pair in made}) > 100
        if name in bench.STARTS:
            continue
        scores = [scorer.ours(pair).score for pair in made]
        assert min(scores) == 0.0 and max(scores) == 1.0 and 0.05 < sum(scores) / 150 < 0.9


@pytest.mark.skipif(sys.platform == "win32", reason="programs are run on Unix only")
def test_programs_that_a_model_may_write_pass_and_fail(bench):
    for name in ("program", "function"):
        rules = [bench.SCORERS[name].ours(pair).rule for pair in bench.pairs(name, 24)]
        passed = sum("tests passed" in rule for rule in rules)
        assert 4 < passed < 20 and any(rule.endswith("another output") for rule in rules)
    bench.PROGRAMS.close()
