"""What a live figure needs from Python: cases by which it is tested, and the networks that it runs.

A live figure (``book/assets/live/<slug>.js``) computes in the reader's browser what a kernel computes here. The chapter's
notebook hands inputs and kernels to :func:`keep_cases`; recording, it writes ``results/<part>/<slug>/live.json``, and at any
other time it compares the file with the kernels. ``tests/book/test_live.py`` compares the file with the script in a browser.

A figure that runs a trained network has its weights from :func:`keep_weights`, in half precision or as small whole numbers;
``tools/live_weights.py`` puts them before the script. Kernel and script are then compared with the weights as they are stored.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workings import paths

FILE = "live.json"
WEIGHTS = "live_weights.json"
CLOSE = 1e-11  # relative to the larger of 1 and the value: what another processor may change
DIGITS = 15
LARGEST = 45  # of the whole numbers that one letter holds
ZERO = 80  # the letter that stands for 0, so that all are printable and a script's text holds them


def keep_cases(
    slug: str,
    cases: Mapping[str, tuple[Callable[..., Any], Iterable[tuple]]],
    *,
    record: bool | None = None,
    results: Path | None = None,
) -> None:
    """Write or compare the cases of the live figure of chapter ``slug``.

    ``cases`` maps the name of a function of the script to the Python function that it repeats and the tuples of arguments
    to try; arguments and results are numbers, texts, true or false, or lists of them. ``record`` writes the file where it
    differs; ``None`` asks the environment variable ``WORKINGS_RECORD``. ``results`` names another folder.

    Raises ``ValueError`` for a result that is no finite number, and where a file that is not to be written says something
    else than the kernels; a file that does not exist (an installed package may lack it) is then not missed.
    """
    recording = os.environ.get("WORKINGS_RECORD") == "1" if record is None else record
    root = paths.writable_results_root() if recording else paths.results_root()
    file = (root if results is None else Path(results)) / paths.find_part(slug) / slug / FILE
    found = {
        name: [[_plain(given, name), _plain(function(*given), name)] for given in map(tuple, inputs)]
        for name, (function, inputs) in cases.items()
    }
    stored = json.loads(file.read_text(encoding="utf-8"))["functions"] if file.is_file() else None
    if stored is not None and _close(stored, found):
        return
    if recording:
        rows = lambda kept: ",\n".join(f"   {json.dumps(row)}" for row in kept)
        tables = ",\n".join(f"  {json.dumps(name)}: [\n{rows(kept)}\n  ]" for name, kept in found.items())
        text = f'{{\n "chapter": {json.dumps(slug)},\n "functions": {{\n{tables}\n }}\n}}\n'  # a case per line
        paths.write_atomically(file, text)
    elif stored is not None:
        raise ValueError(
            f"{paths.shown(file)} does not hold what the kernels give now; run `make refresh NOTEBOOK={slug}`, "
            f"and see that book/assets/live/{slug}.js still agrees."
        )


def keep_weights(
    slug: str, arrays: Mapping[str, Any], *, record: bool | None = None, results: Path | None = None
) -> dict[str, np.ndarray]:
    """Write the arrays that the live figure of chapter ``slug`` runs with, and give them as they are stored.

    ``arrays`` maps names to arrays or tensors of any shape. Those of dtype int8, from -45 to 45, are stored as
    text, one letter a number, which a server compresses to little more than their entropy; all others are rounded to half
    precision. With ``record`` (``None`` asks the environment variable ``WORKINGS_RECORD``) the file is written. At any other time the stored arrays are given,
    whatever ``arrays`` hold: training ends a little differently on another processor. A file that does not exist (an
    installed package may lack it) is not missed: then ``arrays`` themselves are given, rounded.

    Raises ``ValueError`` for an int8 beyond 45 or a number that half precision cannot hold, and where the stored
    arrays have other names or shapes than ``arrays``.
    """
    recording = os.environ.get("WORKINGS_RECORD") == "1" if record is None else record
    root = paths.writable_results_root() if recording else paths.results_root()
    file = (root if results is None else Path(results)) / paths.find_part(slug) / slug / WEIGHTS
    kept = {name: _stored(np.asarray(array), name) for name, array in arrays.items()}
    if recording:
        text = json.dumps({"chapter": slug, "sha256": _checksum(kept), "arrays": kept}, indent=1) + "\n"
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            paths.write_atomically(file, text)
    rounded = {name: _given(one) for name, one in kept.items()}
    if not file.is_file():
        return rounded
    stored = load_weights(slug, results=results)
    shapes = [{name: array.shape for name, array in one.items()} for one in (stored, rounded)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{paths.shown(file)} holds arrays of other names or shapes ({shapes[0]}) than the chapter trains "
            f"({shapes[1]}); run `make refresh NOTEBOOK={slug}`."
        )
    return stored


def load_weights(slug: str, *, results: Path | None = None) -> dict[str, np.ndarray]:
    """The arrays that :func:`keep_weights` stored for chapter ``slug``, in single precision.

    Raises ``FileNotFoundError`` where there are none, and ``ValueError`` where they are not what their checksum says.
    """
    file = (paths.results_root() if results is None else Path(results)) / paths.find_part(slug) / slug / WEIGHTS
    if not file.is_file():
        raise FileNotFoundError(f"{paths.shown(file)} does not exist; run `make refresh NOTEBOOK={slug}`.")
    found = json.loads(file.read_text(encoding="utf-8"))
    if _checksum(found["arrays"]) != found["sha256"]:
        raise ValueError(f"{paths.shown(file)} was changed by hand or cut; run `make refresh NOTEBOOK={slug}`.")
    return {name: _given(one) for name, one in found["arrays"].items()}


def _stored(array: np.ndarray, name: str) -> dict[str, Any]:
    """What the file says of ``array``: its shape, and its numbers as ``letters`` or, in ``half`` precision, as base64."""
    if array.dtype == np.int8:
        if (array > LARGEST).any() or (array < -LARGEST).any():
            raise ValueError(
                f"{name}: a letter holds numbers from -{LARGEST} to {LARGEST}, and this array has another."
            )
        return {"shape": list(array.shape), "letters": (array + ZERO).tobytes().decode("ascii")}
    with np.errstate(over="ignore"):
        half = array.astype("<f2")
    if not np.isfinite(half).all():
        raise ValueError(f"{name}: half precision holds finite numbers up to 65504, and this array has another.")
    return {"shape": list(array.shape), "half": base64.b64encode(half.tobytes()).decode()}


def _given(one: Mapping[str, Any]) -> np.ndarray:
    """The array that :func:`_stored` describes, in single precision."""
    if "letters" in one:
        numbers = np.frombuffer(one["letters"].encode("ascii"), np.int8).astype(np.float32) - ZERO
    else:
        numbers = np.frombuffer(base64.b64decode(one["half"]), "<f2").astype(np.float32)
    return numbers.reshape(one["shape"])


def _checksum(arrays: Any) -> str:
    return hashlib.sha256(json.dumps(arrays, sort_keys=True).encode()).hexdigest()


def _plain(value: Any, name: str) -> Any:
    """``value`` as JSON has it, numbers with fifteen digits."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(one, name) for one in value]
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    raise ValueError(f"{name}: a case must hold finite numbers, texts, true or false and lists of them, got {value!r}.")


def _close(one: Any, other: Any) -> bool:
    """Whether two values have the same shape and texts, and numbers up to rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_close, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return abs(one - other) <= CLOSE * max(1.0, abs(other))
    return one == other
