"""Run every benchmark of this folder and write ``results/bench.json`` (`make bench`).

Each module here with a function ``rows()`` is one chapter's comparison. A chapter named on the command
line replaces its own rows and leaves the others: ``make bench ARGS=conformal_set_size``. Where a peer is not installed, the row
that was measured before stays, with its day.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT / "lib")]

from workings import paths  # noqa: E402
from workings.runs import provenance  # noqa: E402

HELPERS = {"run", "timing", "sweep_scaling", "livebench_official", "livebench_pairs", "livebench_programs"}


def chapters() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in HELPERS)


def kept(rows: list[dict[str, Any]], before: list[dict[str, Any]], date: str) -> list[dict[str, Any]]:
    """``rows``, where a peer that is missing here keeps the row of ``before``, measured on ``date``; its note says so.

    A peer that comes as source only cannot be built everywhere, and its last figures say more than an empty row.
    """
    earlier = {row["id"]: row for row in before if row["theirs"] is not None}
    out = []
    for row in rows:
        last = earlier.get(row["id"])
        if row["theirs"] is None and "installed" in row["note"] and last is not None:
            remark = (
                "" if "measured on" in last["note"] else f"measured on {date[:10]}, {row['note']} in the latest run"
            )
            row = {**last, "note": "; ".join(filter(None, [last["note"], remark]))}
        out.append(row)
    return out


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
        rows = kept(rows, old["rows"], old["circumstances"].get(name, {}).get("date", "an unknown day"))
        others = [row for row in old["rows"] if row["chapter"] not in {row["chapter"] for row in rows}]
        old["rows"] = others + rows
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
