"""The authors' published tables of results by subject: read, checked, and what the chapter computes from them."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from workings import paths
from workings.runs.fetch import cache_dir, download, sha256_of

_COMMIT = "d4583a27b60c97bcf37f95e4171d01b62df04638"
_ADDRESS = f"https://raw.githubusercontent.com/activatedgeek/calibration-tuning/{_COMMIT}/notebooks/results/{{name}}"
SHA256 = {
    "sampling_results.csv": "1354528ff07b9bf6ebe020ed1432ac761d0dc4afe995e8d3969bc36ab76665c0",
    "classifier_results.csv": "1df7be92dfc82d1df191c1b5774ba6b9e5cfbb78792329d06489a0578e4f4747",
}
GRADER = "fuzzy_gpt-3.5-turbo-1106_"  # open answers were graded by this model


def find(name: str, sha256: str, address: str, root: str | Path | None, folder: str) -> Path:
    """The file ``name``: in ``root`` (or its folder ``folder``), else fetched from ``address``; checked by its SHA-256.

    Raises ``FileNotFoundError`` where ``root`` has no such file and ``ValueError`` where it is another one.
    """
    if root is None:
        path = cache_dir() / "taught_to_know" / name
        download(address, path, sha256)
        return path
    path = next((p for p in (Path(root) / name, Path(root) / folder / name) if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{paths.shown(Path(root))} holds no {name}; put the public file there, or give no folder to fetch it."
        )
    if sha256_of(path) != sha256:
        raise ValueError(f"{paths.shown(path)} is not the file that the record was made from (another SHA-256).")
    return path


def read(name: str, root: str | Path | None = None) -> list[dict[str, str]]:
    """The rows of one published table; a backslash before a dot in a column's name is taken off."""
    path = find(name, SHA256[name], _ADDRESS.format(name=name), root, "calibration_tuning")
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        header = [column.replace("\\", "") for column in next(rows)]
        return [dict(zip(header, row, strict=True)) for row in rows]


def _mean(rows: list[dict[str, str]], column: str) -> float | None:
    found = [float(row[column]) for row in rows if row[column]]
    return fmean(found) if found else None


def sampling(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """One row per model: macro means over its test subjects of AUROC and ECE, by counting samples and by their likelihood."""
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        if row["split"] == "test":
            groups[row["model"]].append(row)
    keys = ("auroc_counting", "ece_counting", "auroc_likelihood", "ece_likelihood")
    return [
        {"model": model, "subjects": len(group)} | {key: _mean(group, GRADER + key) for key in keys}
        for model, group in sorted(groups.items())
    ]


def probe(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """One row per (format of the training answers, format of the test answers): macro means over models and test subjects of AUROC and
    ECE ("choice": multiple choice).

    The authors' plotting notebook names this file "Probe" and another one "Probe-TS". Its column ``ts`` is read nowhere: their scripts
    write the seconds of an evaluation under that name.
    """
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        if row["split"] == "test":
            groups[row["train_mode"], row["eval_mode"]].append(row)
    found = []
    for (train, test), group in sorted(groups.items()):
        prefix = GRADER if test == "oe" else ""
        means = {"auroc": _mean(group, prefix + "unc_auroc"), "ece": _mean(group, prefix + "unc_ece")}
        found.append({"trained": train, "tested": test, "rows": len(group)} | means)
    return found


def tables(root: str | Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """The tables of the chapter, by name: ``sampling`` and ``probe``."""
    return {
        "sampling": sampling(read("sampling_results.csv", root)),
        "probe": probe(read("classifier_results.csv", root)),
    }


def made_up() -> dict[str, list[dict[str, Any]]]:
    """The same from three invented subjects, for a dry run."""
    drawn = [
        {"model": m, "split": "test"} | {GRADER + k: "0.5" for k in ("auroc_counting", "ece_counting", "auroc_likelihood", "ece_likelihood")}
        for m in ("a", "b") for _ in range(3)
    ]  # fmt: skip
    trained = {"split": "test", "train_mode": "choice", "eval_mode": "choice", "unc_auroc": "0.5", "unc_ece": "0.1"}
    return {"sampling": sampling(drawn), "probe": probe([trained])}
