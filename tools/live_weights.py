"""The networks of live figures, put before the scripts that run them: a page opened from disk may fetch no data."""

import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def put(folder, results=ROOT / "results"):
    """Put the arrays that ``workings.show.live.keep_weights`` stored before the scripts under ``folder``/_static/live.

    Raises ``ValueError`` for arrays that are not what their checksum says, or that no script runs.
    """
    for file in sorted(results.glob("*/*/live_weights.json")):
        slug, stored = file.parent.name, json.loads(file.read_text(encoding="utf-8"))
        arrays = stored["arrays"]
        if hashlib.sha256(json.dumps(arrays, sort_keys=True).encode()).hexdigest() != stored["sha256"]:
            raise ValueError(
                f"{file.relative_to(results)} was changed by hand or cut; run `make refresh NOTEBOOK={slug}`."
            )
        script = folder / "_static" / "live" / f"{slug}.js"
        if not script.is_file():
            raise ValueError(f"{file.relative_to(results)} has no script book/assets/live/{slug}.js to run it.")
        before = f'workingsLive.networks["{slug}"] = {json.dumps(arrays, separators=(",", ":"))};\n'
        script.write_text(before + script.read_text(encoding="utf-8"), encoding="utf-8")
