"""The pages made from records: long runs, and mutation scores."""

import json

import pytest

import long_runs_page
import mutants_page
from workings.ledger.claims import load_all
from workings.ledger.results import ResultsError
from workings.runs import provenance

CLAIMS = """\
chapter: toy
part: uncertainty
title: "A toy"
paper: {authors: "A. Author", year: 2024, key: author2024}
source: "We read the abstract."
claims:
  - id: toy-1
    kind: paper
    claim: "A | width."
    where: "table"
    paper: {value: 1.33, unit: "sd", source: plot}
    demo: {compare: within, target: 1.33, tolerance: 0.5, unit: "sd", indicative: "a toy", set: "after a trial"}
    full: {compare: within, target: 1.33, tolerance: 0.05, unit: "sd", set: "before any run"}
  - id: toy-2
    kind: paper
    claim: "A height."
    where: "table"
    paper: {value: 1.0, unit: "sd", source: plot}
    demo: {compare: within, target: 1.0, tolerance: 0.5, unit: "sd", set: "after a trial"}
    full: {not_planned: "the demo is the paper's size"}
"""


def write(folder, tier, rows):
    run = {**provenance.circumstances(), "date": "2026-11-29T10:00:00Z", "wall_s": 7200.0, "peak_memory_mib": 2048.0}
    run["hardware"] = {"cpu": "A processor", "cores": 2, "memory_gib": 23.5, "gpu": None}
    rows = {name: {"value": value, "run": "2026-11-29T08:00:00Z"} for name, value in rows.items()}
    record = {"schema": 1, "chapter": "toy", "part": "uncertainty", "tier": tier, "rows": rows, "tables": {}}
    place = folder / "uncertainty" / "toy"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{tier}.json").write_text(json.dumps({**record, "runs": {"2026-11-29T08:00:00Z": run}}))


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "claims" / "uncertainty").mkdir(parents=True)
    (tmp_path / "claims" / "uncertainty" / "toy.yml").write_text(CLAIMS)
    write(tmp_path / "results", "demo", {"toy-1": 1.4, "toy-2": 1.2})
    return {"claims": tmp_path / "claims", "results": tmp_path / "results"}


def test_a_chapter_without_a_full_run_says_what_waits_for_it(toy):
    page = long_runs_page.long_runs_markdown(**toy)
    assert "| A toy | not run | – | – | – |" in page
    assert "It would decide toy-1." in page


def test_a_full_run_says_its_cost_and_the_verdicts_that_it_changed(toy):
    write(toy["results"], "full", {"toy-1": 1.31})
    page = long_runs_page.long_runs_markdown(**toy)
    assert "| A toy | 2026-11-29 | 2.0 h | 2.0 GiB | 2 cores |" in page
    assert "| toy-1 | A \\| width. | ≈ same direction, smaller scale | ✓ reproduced |" in page
    assert "toy-2" not in page


def test_a_full_run_that_measured_no_claim_changes_nothing(toy):
    write(toy["results"], "full", {})
    assert "It changed no verdict." in long_runs_page.long_runs_markdown(**toy)


def test_every_chapter_stands_on_the_page_of_long_runs():
    page = long_runs_page.long_runs_markdown()
    assert page.count("\n## ") == len(load_all())


SCORE = {"commit": "a" * 40, "source": "b" * 16, "tests": ["tests/x.py"], "survivors": []}


def test_mutation_scores_are_summed_by_part(tmp_path):
    record = {
        "lib/workings/robustness/sap.py": {**SCORE, "date": "2026-11-28", "mutants": 40, "run": 10, "noticed": 9},
        "lib/workings/robustness/attacks.py": {
            **SCORE,
            "date": "2026-11-29",
            "mutants": 60,
            "run": 11,
            "noticed": 10,
            "alike": ["line 3: a -> b"],
        },
        "lib/workings/statistics.py": {**SCORE, "date": "2026-11-29", "mutants": 5, "run": 5, "noticed": 4},
    }
    (tmp_path / "mutants.json").write_text(json.dumps(record))
    page = mutants_page.mutants_markdown(tmp_path)
    assert "| robustness | 2 | 100 | 21 | 1 | 19 | 95% |" in page
    assert "| shared | 1 | 5 | 5 | 0 | 4 | 80% |" in page
    assert "| together | 3 | 105 | 26 | 1 | 23 | 92% |" in page
    assert "between 2026-11-28 and 2026-11-29" in page


def test_without_a_record_of_mutants_the_page_says_so(tmp_path):
    assert "Not measured yet" in mutants_page.mutants_markdown(tmp_path)


def test_a_damaged_record_of_mutants_is_named(tmp_path):
    (tmp_path / "mutants.json").write_text("{")
    with pytest.raises(ResultsError, match=r"mutants\.json"):
        mutants_page.mutants_markdown(tmp_path)
