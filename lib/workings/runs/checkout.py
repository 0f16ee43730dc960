"""Where the pieces of a chapter stand in a checkout, and what the project says of itself."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

from workings import PARTS, paths


def root() -> Path:
    """The checkout's top folder; ``RuntimeError`` for an installed package, which has none."""
    found = paths.checkout_root()
    if found is None:
        raise RuntimeError("this command works in a checkout of the repository; clone it and run it there.")
    return found


def project() -> dict:
    """The ``[project]`` table of pyproject.toml."""
    return tomllib.loads((root() / "pyproject.toml").read_text())["project"]


def address() -> str:
    """The repository's public address, from the one place where it stands."""
    return project()["urls"]["Repository"].rstrip("/")


def tag() -> str:
    return "v" + project()["version"]


def notebook_scripts(slug: str | None = None) -> list[Path]:
    """Every chapter's ``.py`` (or the one called ``slug``), sorted."""
    folder = root() / "notebooks"
    scripts = sorted(path for part in PARTS for path in (folder / part).glob("*.py"))
    if slug is None:
        return scripts
    wanted = Path(slug).stem
    chosen = [path for path in scripts if path.stem == wanted]
    if not chosen:
        known = ", ".join(path.stem for path in scripts) or "none yet"
        raise ValueError(f"no notebook called {wanted!r}; there are: {known}.")
    return chosen


def chapter_settings(slug: str) -> type:
    """The class ``Settings`` of chapter ``slug``, from ``workings.chapters.<slug>.settings``."""
    name = f"workings.chapters.{notebook_scripts(slug)[0].stem}.settings"
    try:
        return importlib.import_module(name).Settings
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(
            f"chapter {slug!r} has no class Settings in {name} ({error}); see another chapter's."
        ) from None


def check_slug(part: str, slug: str) -> None:
    """Raise ``ValueError`` unless ``part`` is one of ours and ``slug`` is a usable file and module name."""
    if part not in PARTS:
        raise ValueError(f"part {part!r} is not one of {', '.join(PARTS)}; say PART=uncertainty, for example.")
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,40}", slug):
        raise ValueError(f"slug {slug!r} must be 2 to 41 lower-case letters, digits and underscores; SLUG=my_chapter.")
