"""Release a version: one number in every file that names it, a commit, and a tag that the pages' links lead to."""

from __future__ import annotations

import re
import subprocess

import stamp
from workings.runs import checkout


def git(*arguments: str) -> str:
    """Output of a git command in the checkout; ``RuntimeError`` with git's own words when it fails."""
    done = subprocess.run(["git", "-C", str(checkout.root()), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"git {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def tags() -> list[str]:
    """Every tag of the repository."""
    return git("tag", "--list").split()


def release(version: str | None = None) -> str:
    """Release ``version`` (default: the one in pyproject.toml, which ends with ``.dev0`` before its release); returns the tag.

    Raises ``ValueError`` for a version that is none or has its tag already, and where something is not committed.
    """
    version = version or checkout.project()["version"].partition(".dev")[0]
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"a version has three numbers, such as 0.2.0; got {version!r}.")
    if f"v{version}" in tags():
        raise ValueError(f"v{version} exists already; name a later one: make release VERSION=0.2.0")
    if changed := git("status", "--porcelain"):
        raise ValueError(
            f"commit first, so that the tag names what you see: {len(changed.splitlines())} file(s) differ."
        )
    root = checkout.root()
    for name, pattern in (("pyproject.toml", r'(?m)^version = "[^"]*"'), ("CITATION.cff", r"(?m)^version: .*")):
        text = (root / name).read_text(encoding="utf-8")
        new = f'version = "{version}"' if name == "pyproject.toml" else f"version: {version}"
        (root / name).write_text(re.sub(pattern, new, text, count=1), encoding="utf-8")
    stamp.stamp()
    if git("status", "--porcelain"):
        git("commit", "--all", "--message", f"Release v{version}")
    git("tag", "--annotate", f"v{version}", "--message", f"Workings {version}")
    return f"v{version}"
