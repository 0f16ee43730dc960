"""Run every benchmark of this folder and write ``results/bench.json`` (`make bench`).

Each module here with a function ``rows()`` is one chapter's comparison. A chapter named on the command
line replaces its own rows and leaves the others: ``make bench ARGS=conformal_set_size``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT / "lib")]

from workings import paths  # noqa: E402
from workings.runs import provenance  # noqa: E402

HELPERS = {"run", "timing", "sweep_scaling"}


def chapters() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in HELPERS)


def main(wanted: list[str]) -> None:
    unknown = set(wanted) - set(chapters())
    if unknown:
        sys.exit(f"no benchmark called {', '.join(sorted(unknown))}; there are: {', '.join(chapters())}.")
    target = ROOT / "results" / "bench.json"
    old = json.loads(target.read_text()) if target.exists() else {"rows": [], "circumstances": {}}
    for name in wanted or chapters():
        print(f"measuring {name} ...", flush=True)
        stopwatch = provenance.Stopwatch()
        rows = importlib.import_module(name).rows()
        kept = [row for row in old["rows"] if row["chapter"] not in {row["chapter"] for row in rows}]
        old["rows"] = kept + rows
        old["circumstances"][name] = {
            **provenance.circumstances(stopwatch, ()),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        }
        paths.write_atomically(target, json.dumps(old, indent=1) + "\n")
        for row in rows:
            ratio = "" if row["ratio"] is None else f"  ratio {row['ratio']:.2f}"
            print(f"  {row['id']}: ours {row['ours']}, {row['peer']} {row['theirs']} {row['unit'] or ''}{ratio}")


if __name__ == "__main__":
    main(sys.argv[1:])
