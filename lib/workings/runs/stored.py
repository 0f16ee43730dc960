"""The stored form of an executed notebook: from which inputs it was made, and whether anything has touched it since.

Only the standard library is needed, so that compiling the book can ask as well.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

KEY = "workings"


def read(path: Path) -> dict[str, Any]:
    """The notebook at ``path`` as JSON; ``ValueError`` with file and cause for one that cannot be read."""
    data = Path(path).read_bytes()
    if data.startswith(b"\xef\xbb\xbf"):
        raise ValueError(f"{path} begins with a byte-order mark; save it as UTF-8 without one.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}).") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(("<<<<<<< ", ">>>>>>> ")):
            raise ValueError(f"{path}:{number}: git has left the marks of a conflict; settle it first.")
    try:
        notebook = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is no notebook: {error}.") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ValueError(f"{path} is no notebook: it has no list of cells.")
    return notebook


def checksum(notebook: dict[str, Any]) -> str:
    """Checksum of all that the notebook's file says, sources, outputs, counts, ids and metadata, but for itself."""
    bare = copy.deepcopy(notebook)
    bare.get("metadata", {}).get(KEY, {}).pop("stored_as", None)
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()


def seal(notebook: dict[str, Any], made_from: str) -> str:
    """The text of the notebook's file: with the checksum of its inputs, and with its own."""
    sealed = copy.deepcopy(notebook)
    sealed.setdefault("metadata", {})[KEY] = {"made_from": made_from}
    sealed["metadata"][KEY]["stored_as"] = checksum(sealed)
    return json.dumps(sealed, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def made_from(notebook: dict[str, Any]) -> str | None:
    """The checksum of the inputs that the notebook was made from; ``None`` where it does not say."""
    return notebook.get("metadata", {}).get(KEY, {}).get("made_from")


def untouched(notebook: dict[str, Any]) -> bool:
    """Whether the notebook is exactly what was stored after its execution."""
    return notebook.get("metadata", {}).get(KEY, {}).get("stored_as") == checksum(notebook)


def fault(notebook: dict[str, Any]) -> str | None:
    """Why the notebook's outputs must not be shown: a cell that raised or was never run, or an edit. ``None`` if they may."""
    for cell in notebook["cells"]:
        if cell.get("cell_type") != "code":
            continue
        first = "".join(cell.get("source", [])).strip().partition("\n")[0][:60]
        for output in cell.get("outputs", []):
            if output.get("output_type") == "error":
                return f"the cell that begins {first!r} holds the error {output.get('ename')}: {output.get('evalue')}"
        if cell.get("execution_count") is None and first:
            return f"the cell that begins {first!r} was not executed"
    if "stored_as" in notebook.get("metadata", {}).get(KEY, {}) and not untouched(notebook):
        return "it has been edited or run by hand since it was stored"
    return None
