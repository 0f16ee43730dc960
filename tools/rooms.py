"""Draw the rooms of the library and the arrows between them into CONTRIBUTING.md, from the imports in the code.

    python tools/rooms.py

A room is a folder of ``lib/workings`` or, for the science that parts share, a file of its own. An arrow leads from a
room to one that it imports. Chapters are one room, and so are parts: contracts in pyproject.toml keep each apart.
"""

from __future__ import annotations

from collections import defaultdict

import grimp

from workings import PARTS
from workings.runs import checkout

BEGIN, END = "<!-- rooms: made by tools/rooms.py -->\n", "<!-- rooms: end -->\n"
SHARED = ("seeding", "training", "calibration", "statistics")
GROUND = ("paths", "checks")
ROOMS = {
    "cli": "the command `workings`",
    "chapters": "what each chapter runs: settings, demo, full, sweep, and what its live figure is compared with",
    "parts": ", ".join(PARTS) + ": kernels only",
    "ledger": "claims, results, criteria, verdicts, display",
    "show": "figures, controls, cases of live figures",
    "runs": "tiers, needs, store, sweep, fetch, locks, progress, parallel, notebook, isolation, imports, stored, provenance",
    "shared": ", ".join(SHARED) + ": science that parts share",
    "ground": "paths (where claims, results and runs stand) and checks (of arguments)",
}


def room_of(module: str) -> str:
    """The room that ``module``, such as ``workings.robustness.sap``, stands in."""
    top = [*module.split("."), ""][1]
    groups = {"parts": PARTS, "shared": SHARED, "ground": GROUND}
    return next((room for room, names in groups.items() if top in names), top)


def arrows() -> dict[str, list[str]]:
    """For each room the rooms that it imports, in the order of :data:`ROOMS`."""
    graph = grimp.build_graph("workings", cache_dir=None)
    found = defaultdict(set)
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            found[room_of(module)].add(room_of(other))
    unknown = {room for room in found if room} - set(ROOMS)
    if unknown:
        raise ValueError(f"rooms without a line in tools/rooms.py: {', '.join(sorted(unknown))}.")
    return {room: [other for other in ROOMS if other in found[room] and other != room] for room in ROOMS}


def drawing() -> str:
    """The rooms, one per line, what they hold and what they import."""
    width = max(map(len, ROOMS))
    lines = []
    for room, targets in arrows().items():
        lines += [f"{room:{width}}   {ROOMS[room]}", f"{'':{width}}   └─▶ {', '.join(targets) or 'nothing'}", ""]
    return "```\n" + "\n".join(lines).rstrip() + "\n```\n"


def drawn(text: str, picture: str) -> str:
    """``text`` with ``picture`` between the two marks; ``ValueError`` where they are missing."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError("CONTRIBUTING.md has lost the marks between which the rooms are drawn.")
    return text[: text.index(BEGIN) + len(BEGIN)] + picture + text[text.index(END) :]


if __name__ == "__main__":
    page = checkout.root() / "CONTRIBUTING.md"
    page.write_text(drawn(page.read_text(), drawing()))
