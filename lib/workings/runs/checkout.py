"""Where the pieces of a chapter stand in a checkout, and what the project says of itself."""

from __future__ import annotations

import importlib
import os
import re
import tomllib
from pathlib import Path

from workings import PARTS, paths

SLUG = re.compile(r"[a-z][a-z0-9_]{1,40}")


def root() -> Path:
    """The checkout's top folder; ``RuntimeError`` for an installed package, which has none."""
    found = paths.checkout_root()
    if found is not None:
        return found
    here = next((place for place in (Path.cwd(), *Path.cwd().parents) if _is_clone(place)), None)
    if here is not None:
        python = "Scripts\\workings.exe" if os.name == "nt" else "bin/workings"
        raise RuntimeError(
            "this is the command of an installed package, which has no notebooks, though you stand in a clone that has. Run "
            f"`make env-full` there once, then use its own command, .venv/{python}."
        )
    raise RuntimeError(
        "this is the command of an installed package, which has no notebooks. Clone the repository, run `make env-full` "
        "there once, then use its own command, .venv/bin/workings."
    )


def _is_clone(place: Path) -> bool:
    return (place / "lib" / "workings" / "runs").is_dir() and (place / "claims").is_dir()


def project() -> dict:
    """The ``[project]`` table of pyproject.toml."""
    return tomllib.loads((root() / "pyproject.toml").read_text())["project"]


def address() -> str:
    """The repository's public address, from the one place where it stands."""
    return project()["urls"]["Repository"].rstrip("/")


def tag() -> str:
    """What the pages' links name: the tag of a released version, such as ``v0.1.0``, and ``main`` until there is one."""
    version = project()["version"]
    return f"v{version}" if re.fullmatch(r"\d+\.\d+\.\d+", version) else "main"


def notebook_scripts(slug: str | None = None) -> list[Path]:
    """Every chapter's ``.py`` (or the one called ``slug``), sorted."""
    folder = root() / "notebooks"
    found = sorted(path for part in PARTS for path in (folder / part).glob("*.py"))
    scripts = [path for path in found if SLUG.fullmatch(path.stem)]  # no copy, no file of a system such as `._x.py`
    if slug is None:
        return scripts
    wanted = Path(slug).stem
    chosen = [path for path in scripts if path.stem == wanted]
    if not chosen:
        known = ", ".join(path.stem for path in scripts) or "none yet"
        raise ValueError(f"no notebook called {wanted!r}; there are: {known}.")
    return chosen


def chapter_settings(slug: str) -> type:
    """The class ``Settings`` of chapter ``slug``, from ``workings.chapters.<slug>.settings``, in a checkout or installed."""
    paths.find_part(slug)
    name = f"workings.chapters.{slug}.settings"
    try:
        return importlib.import_module(name).Settings
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("workings"):
            raise  # a package that is not installed: the settings are there
        raise ValueError(
            f"chapter {slug!r} has no class Settings in {name} ({error}); see another chapter's."
        ) from None


def check_slug(part: str, slug: str) -> None:
    """Raise ``ValueError`` unless ``part`` is one of ours and ``slug`` is a usable file and module name."""
    if part not in PARTS:
        raise ValueError(f"part {part!r} is not one of {', '.join(PARTS)}; say PART=uncertainty, for example.")
    if not SLUG.fullmatch(slug):
        raise ValueError(f"slug {slug!r} must be 2 to 41 lower-case letters, digits and underscores; SLUG=my_chapter.")
