"""Measure how `workings sweep` scales from one worker to two on this machine; writes ``results/sweep_scaling.json``.

On a quiet machine: ``OMP_NUM_THREADS=1 .venv/bin/python benchmarks/sweep_scaling.py`` (about two minutes on two cores). Every figure is of the
command as a reader types it, in a process of its own, with an empty results folder.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "lib"), str(ROOT / "tools")]

import sweep_page  # noqa: E402
from workings import paths  # noqa: E402
from workings.runs import provenance  # noqa: E402

CHAPTER, POINTS, REPEATS = "conformal_set_size", 12, 3
GRID = ["sets=12000", f"seed=0:{POINTS}"]  # a little more than a second a point
TINY, MANY = ["sets=2", "m=2"], 400  # next to nothing to compute: what is left is the machinery


def command(workers: int, grid: list[str]) -> tuple[float, list[float]]:
    """Wall seconds of one sweep, start to end, and the seconds that each point took on its worker."""
    with tempfile.TemporaryDirectory() as folder:
        call = [
            sys.executable,
            "-m",
            "workings.cli",
            "sweep",
            CHAPTER,
            "--workers",
            str(workers),
            "--grid",
            *grid,
        ]
        variables = {"WORKINGS_RESULTS": folder, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "lib")}
        start = time.perf_counter()
        subprocess.run(call, check=True, capture_output=True, env={**os.environ, **variables})
        wall = time.perf_counter() - start
        (file,) = Path(folder).rglob("*.jsonl")
        lines = [json.loads(line) for line in file.read_text().splitlines()[1:]]
        return wall, [line["payload"]["seconds"] for line in lines]


def measure() -> dict[str, object]:
    """The content of the file: raw figures only; what follows from them is computed where the page is made."""
    stopwatch = provenance.Stopwatch()
    command(1, [*TINY, "seed=0:2"])  # the first start reads everything from disk; it is not counted
    rows: dict[int, dict[str, object]] = {
        workers: {"workers": workers, "wall_s": [], "point_s": [], "start_s": []} for workers in (1, 2)
    }
    many: dict[str, list[float]] = {"wall_s": [], "point_s": []}
    for _ in range(REPEATS):
        for workers, row in rows.items():
            wall, seconds = command(workers, GRID)
            row["wall_s"].append(round(wall, 3))
            row["point_s"].append(round(statistics.median(seconds), 3))
            row["start_s"].append(round(command(workers, [*TINY, "seed=0:2"])[0], 3))
        wall, seconds = command(1, [*TINY, f"seed=0:{MANY}"])
        many["wall_s"].append(round(wall, 3))
        many["point_s"].append(round(statistics.mean(seconds), 6))
    facts = provenance.circumstances(stopwatch)
    facts["versions"] |= {name: metadata.version(name) for name in ("dask", "distributed")}
    about = {"chapter": CHAPTER, "grid": GRID, "points": POINTS, "repeats": REPEATS, "empty_points": MANY}
    return {"schema": 1, "sweep": about, "rows": list(rows.values()), "empty": many, "circumstances": facts}


def main() -> None:
    target = ROOT / "results" / sweep_page.FILE
    paths.write_atomically(target, json.dumps(measure(), indent=1) + "\n")
    print(sweep_page.scaling_markdown())


if __name__ == "__main__":
    main()
