"""Which modules of a package a piece of code reaches by its imports, found by reading and not by running.

What a notebook or a sweep was made from is known by this: a change in any module that it reaches is a change of it.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple


class Module(NamedTuple):
    """The source of a module, whether it is a package's ``__init__``, and its file where it has one."""

    source: str
    is_package: bool
    file: Path | None


Reader = Callable[[str], Module | None]
"""Finds a module by its dotted name; ``None`` where there is none (the name may be a function's)."""


def installed(name: str) -> Module | None:
    """Module ``name`` as Python would import it here. Its packages are imported to find it."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # its parent is a module, not a package
        return None
    if spec is None or spec.loader is None:
        return None
    source = spec.loader.get_source(name)
    file = Path(spec.origin) if spec.origin and spec.has_location else None
    return None if source is None else Module(source, spec.submodule_search_locations is not None, file)


def standing_in(folder: Path) -> Reader:
    """A reader of the package whose files stand in ``folder``, installed or not; the folder's name is the package's."""
    folder = Path(folder)

    def read(name: str) -> Module | None:
        first, *rest = name.split(".")
        if first != folder.name:
            return None
        place = folder.joinpath(*rest)
        for file in (place / "__init__.py", *([place.with_suffix(".py")] if rest else [])):
            if file.is_file():
                return Module(file.read_text(encoding="utf-8"), file.name == "__init__.py", file)
        return None

    return read


def names(source: str, package: str = "") -> set[str]:
    """Dotted names of all that ``source`` imports, inside functions too: modules, and what is taken out of them.

    Relative imports start at ``package``.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package or None)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def reached(start: Iterable[str], read: Reader = installed) -> dict[str, Module]:
    """Every module that is one of ``start`` or imported by it, directly or through others, by name.

    Only packages that ``start`` names are followed. A module's packages are reached as well: they run before it.
    """
    todo = list(start)
    own = {name.partition(".")[0] for name in todo}
    found: dict[str, Module] = {}
    while todo:
        name = todo.pop()
        module = None if name in found else read(name)
        parent = name.rpartition(".")[0]
        if parent and parent not in found:
            todo.append(parent)
        if module is None:
            continue
        found[name] = module
        imported = names(module.source, name if module.is_package else parent)
        todo += [other for other in imported if other.partition(".")[0] in own and other not in found]
    return found


def imported_files(script: Path, library: Path) -> set[Path]:
    """The files of the package in folder ``library`` that ``script`` reaches."""
    library = Path(library)
    start = [name for name in names(Path(script).read_text(encoding="utf-8")) if name.split(".")[0] == library.name]
    return {module.file for module in reached(start, standing_in(library)).values() if module.file is not None}
