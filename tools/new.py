"""Begin a chapter: its places, its line in the contents and its card on the front page, from ``tools/template``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from workings import PARTS
from workings.runs import checkout

# Template file -> where it goes.
PLACES = {
    "notebook.py": "notebooks/{part}/{slug}.py",
    "kernel.py": "lib/workings/{part}/{slug}.py",
    "settings.py": "lib/workings/chapters/{slug}/settings.py",
    "demo.py": "lib/workings/chapters/{slug}/demo.py",
    "full.py": "lib/workings/chapters/{slug}/full.py",
    "sweep.py": "lib/workings/chapters/{slug}/sweep.py",
    "live.py": "lib/workings/chapters/{slug}/live.py",
    "live.js": "book/assets/live/{slug}.js",
    "test_kernel.py": "tests/{part}/test_{slug}.py",
    "test_chapter.py": "tests/chapters/test_{slug}.py",
    "claims.yml": "claims/{part}/{slug}.yml",
}


def fill(text: str, part: str, slug: str) -> str:
    title = slug.replace("_", " ").capitalize()
    values = {"part": part, "slug": slug, "title": title, "anchor": slug.replace("_", "-")}
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", value)
    return text


def add_to_toc(toc: str, part: str, slug: str) -> str:
    """``toc`` with the chapter at the end of its part (a part without chapters gets its caption)."""
    entry = f"      - file: notebooks/{part}/{slug}\n"
    lines = toc.splitlines(keepends=True)
    inside = [i for i, line in enumerate(lines) if f"file: notebooks/{part}/" in line]
    if inside:
        return "".join([*lines[: inside[-1] + 1], entry, *lines[inside[-1] + 1 :]])
    caption = part.replace("_", " ").capitalize()
    later = [name.replace("_", " ").capitalize() for name in PARTS[PARTS.index(part) + 1 :]] + ["Reference"]
    end = next(i for i, line in enumerate(lines) if line.strip().removeprefix("- caption: ") in later)
    block = f"  - caption: {caption}\n    chapters:\n{entry}"
    return "".join([*lines[:end], block, *lines[end:]])


def add_to_contracts(pyproject: str, slug: str) -> str:
    """``pyproject`` with the chapter under the contract by which no chapter runs another."""
    end = "]  # chapters: `make new` adds its own"
    return pyproject.replace(end, f'  "workings.chapters.{slug}",\n{end}')


def tidy(paths: list[Path]) -> None:
    """Sort imports and break lines as `make lint` wants them: both depend on how long part and slug are."""
    for command in (["check", "--select", "I", "--fix"], ["format"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, "--quiet", *map(str, paths)], check=True)


def new(part: str, slug: str) -> list[Path]:
    """Create chapter ``slug`` in ``part``; returns the files made. Nothing existing is overwritten."""
    checkout.check_slug(part, slug)
    root = checkout.root()
    targets = {name: root / place.format(part=part, slug=slug) for name, place in PLACES.items()}
    taken = [path.relative_to(root) for path in targets.values() if path.exists()]
    if taken:
        raise ValueError(f"chapter {slug!r} exists already ({', '.join(map(str, taken))}); choose another SLUG.")
    library, made = root / "lib" / "workings", []
    packages = {library / part: f"Part {part}.", library / "chapters" / slug: f"What the chapter `{slug}` runs."}
    for folder, said in packages.items():
        if not (folder / "__init__.py").exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "__init__.py").write_text(f'"""{said}"""\n')
            made.append(folder / "__init__.py")
    for name, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(fill((root / "tools" / "template" / name).read_text(), part, slug))
        made.append(target)
    tidy([path for path in made if path.suffix == ".py"])
    toc, front = root / "_toc.yml", root / "book" / "front.yml"
    toc.write_text(add_to_toc(toc.read_text(), part, slug))
    pyproject = root / "pyproject.toml"
    pyproject.write_text(add_to_contracts(pyproject.read_text(), slug))
    card = fill((root / "tools" / "template" / "front.yml").read_text(), part, slug)
    front.write_text(front.read_text().rstrip("\n") + "\n" + card)
    return [*made, toc, front, pyproject]
