"""Criteria that say they were set before a run stand in the history of this repository before its record does."""

import json
import subprocess
from functools import cache

import pytest
import yaml

from workings import paths
from workings.ledger.claims import load_all
from workings.ledger.criteria import TIERS, Criterion

ROOT = paths.checkout_root()
SINCE = "2026-11-29T13:00:00+00:00"
"""From here on a criterion is committed before the first record that it decides. Older rows say in words how it was."""
NUMBERS = ("compare", "target", "tolerance", "low", "high", "unit")


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@cache
def has_history() -> bool:
    try:
        return git("rev-parse", "--is-shallow-repository").strip() == "false"
    except (OSError, subprocess.CalledProcessError):
        return False


@cache
def versions(path: str) -> list[tuple[str, str]]:
    """``(commit, date)`` of each version of a file, oldest first."""
    lines = git("log", "--reverse", "--format=%H %cI", "--", path).split("\n")
    return [tuple(line.split(" ", 1)) for line in lines if line]


@cache
def content(commit: str, path: str):
    text = subprocess.run(["git", "show", f"{commit}:{path}"], cwd=ROOT, capture_output=True, text=True).stdout
    return (yaml.safe_load(text) if path.endswith(".yml") else json.loads(text)) if text else None


def written(claims: dict | None, claim_id: str, tier: str) -> tuple | None:
    """What a version of a claims file compares, as it is written there: numbers and unit, not the words around them."""
    for claim in (claims or {}).get("claims", []):
        if claim["id"] == claim_id:
            return tuple(claim[tier].get(key) for key in NUMBERS)
    return None


def since_when(path: str, claim_id: str, tier: str) -> tuple[str, str] | None:
    """The commit from which on the criterion reads as it does now; ``None`` when that is not committed yet."""
    now = written(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")), claim_id, tier)
    found = None
    for commit, date in versions(path):
        same = written(content(commit, path), claim_id, tier) == now
        found = (found or (commit, date)) if same else None
    return found


def first_record(path: str, claim_id: str, criterion: Criterion) -> tuple[str, str] | None:
    """The first commit with a row that this criterion decides: a row in another unit is about another quantity."""
    for commit, date in versions(path):
        row = ((content(commit, path) or {}).get("rows") or {}).get(claim_id)
        if row is not None and row.get("unit") in (None, criterion.unit):
            return commit, date
    return None


CRITERIA = [
    pytest.param(chapter, claim, tier, id=f"{claim.id}-{tier}")
    for chapter in load_all()
    for claim in chapter.claims
    for tier in TIERS
    if isinstance(claim.plan(tier), Criterion)
]


@pytest.mark.parametrize(("chapter", "claim", "tier"), CRITERIA)
def test_a_criterion_was_set_when_it_says(chapter, claim, tier):
    if not has_history():
        pytest.skip("this copy has no history")
    plan = claim.plan(tier)
    claims = f"claims/{chapter.part}/{chapter.slug}.yml"
    results = f"results/{chapter.part}/{chapter.slug}/{tier}.json"
    record, criterion = first_record(results, claim.id, plan), since_when(claims, claim.id, tier)
    if not plan.set.startswith("before"):
        assert record, (
            f"{claim.id}, {tier}: nothing is recorded, so the criterion is set before the run: let 'set' say so"
        )
        assert record[1] < SINCE, (
            f"{claim.id}, {tier}: recorded before its criterion was committed; commit claims first"
        )
    elif record:
        assert criterion, f"{claim.id}, {tier}: commit the claims file, alone, before the run that it decides"
        same = criterion[0] == record[0]
        earlier = (
            subprocess.run(["git", "merge-base", "--is-ancestor", criterion[0], record[0]], cwd=ROOT).returncode == 0
        )
        assert earlier and not same, (
            f"{claim.id}, {tier}: 'set' says {plan.set!r}, but the criterion reads as it does only since {criterion[0][:7]} "
            f"({criterion[1]}), and {record[0][:7]} ({record[1]}) holds a record"
        )
    else:
        file = ROOT / results
        recorded = file.is_file() and claim.id in json.loads(file.read_text(encoding="utf-8"))["rows"]
        assert criterion or not recorded, (
            f"{claim.id}, {tier}: commit the claims file, alone, before the run that it decides"
        )
