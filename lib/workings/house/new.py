"""Begin a chapter: its five places, made from ``tools/template``."""

from __future__ import annotations

from pathlib import Path

from workings.house import checkout

# Template file -> where it goes.
PLACES = {
    "notebook.py": "notebooks/{part}/{slug}.py",
    "kernel.py": "lib/workings/{part}/{slug}.py",
    "test_kernel.py": "tests/{part}/test_{slug}.py",
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
    end = next(i for i, line in enumerate(lines) if "caption: Reference" in line)
    block = f"  - caption: {caption}\n    chapters:\n{entry}"
    return "".join([*lines[:end], block, *lines[end:]])


def new(part: str, slug: str) -> list[Path]:
    """Create chapter ``slug`` in ``part``; returns the files made. Nothing existing is overwritten."""
    checkout.check_slug(part, slug)
    root = checkout.root()
    targets = {name: root / place.format(part=part, slug=slug) for name, place in PLACES.items()}
    taken = [path.relative_to(root) for path in targets.values() if path.exists()]
    if taken:
        raise ValueError(f"chapter {slug!r} exists already ({', '.join(map(str, taken))}); choose another SLUG.")
    package = root / "lib" / "workings" / part / "__init__.py"
    made = []
    if not package.exists():
        package.parent.mkdir(parents=True, exist_ok=True)
        package.write_text(f'"""Part {part}."""\n')
        made.append(package)
    for name, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(fill((root / "tools" / "template" / name).read_text(), part, slug))
        made.append(target)
    toc = root / "_toc.yml"
    toc.write_text(add_to_toc(toc.read_text(), part, slug))
    return [*made, toc]
