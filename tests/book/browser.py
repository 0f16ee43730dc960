"""A real browser on the built book: found, or skipped with a message (never in CI)."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from workings.runs import checkout

HTML = checkout.root() / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # the network is off: every name fails to resolve
]


def executable() -> str:
    """The system's Chromium, or a skip that says how to get one (a failure where CI is set)."""
    found = os.environ.get("WORKINGS_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        message = "no Chromium or Chrome on the PATH; install one (Debian: apt-get install chromium) to test the book"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def pages() -> list[Path]:
    """Every page of the built book."""
    if not (HTML / "index.html").exists():
        return []
    skipped = {"genindex.html", "search.html"}
    found = [p for p in HTML.rglob("*.html") if "_static" not in p.parts and p.name not in skipped]
    return sorted(p for p in found if 'http-equiv="Refresh"' not in p.read_text())  # the top page only forwards


PAGES = pages()
CHAPTERS = [page for page in PAGES if "notebooks" in page.parts]
PATIENCE = 120_000  # milliseconds; when to give up, never how long a thing may take
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


# A style under which every section is drawn, and not only what is near the window.
SEEN = "* { content-visibility: visible !important; }"


def until(page, condition: str, argument=None) -> None:
    """Wait until the JavaScript ``condition`` holds on ``page``, however slow the machine is.

    A test that waits for a condition cannot lose a race; one that waits for a while can. The condition is no async
    function: a promise would count as true.
    """
    every = 50  # milliseconds, and not a frame: a page may be given no frames for long
    page.wait_for_function(condition, arg=argument, timeout=PATIENCE, polling=every)


def live_figures(path: Path) -> list[tuple[str, str]]:
    """Name and script of each figure of the page at ``path`` that computes in it."""
    return re.findall(r'<figure class="wk-control" id="([\w-]+)" data-live="(\w+)"', path.read_text())


# Sections that are laid out for the first time can push a figure away again: a reader goes on scrolling, and so does this.
NEAR = """name => {
    const there = window.workingsLive?.figures[name] !== undefined;
    if (!there) document.getElementById(name).scrollIntoView({ block: 'nearest' });
    return there;
}"""


def come_near(page, name: str):
    """The live figure ``name`` of ``page``, once it is there."""
    until(page, NEAR, name)
    return page.locator(f"#{name}")
