"""What the book is compiled from, checked before anything is: each fault in one line with its file and its cause."""

import re
from pathlib import Path

import yaml

from workings.runs import stored

YAML_FILES = ("_toc.yml", "_config.yml", "book/front.yml")


def read_yaml(path, shown):
    """The content of a YAML file; ``ValueError`` with file, line and cause for one that cannot be read."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ValueError(f"{shown} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown} is no text in UTF-8 ({error.reason} at byte {error.start}).") from None
    if text.startswith("\ufeff"):
        raise ValueError(f"{shown} begins with a byte-order mark; save it as UTF-8 without one.")
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(("<<<<<<< ", ">>>>>>> ")):
            raise ValueError(f"{shown}:{number}: git has left the marks of a conflict; settle it first.")
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{shown}:{line}: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{shown}: {error}.") from None


def chapters(root):
    """The notebooks that the table of contents lists, in its order, relative to ``root`` and without an ending."""
    toc = read_yaml(Path(root) / "_toc.yml", "_toc.yml")
    try:
        files = [chapter["file"] for part in toc.get("parts", []) for chapter in part["chapters"]]
    except (AttributeError, KeyError, TypeError):
        raise ValueError("_toc.yml must be a list of parts, each with chapters that have a file.") from None
    return [Path(file) for file in files if file.startswith("notebooks/")]


def strays(root):
    """Notebooks that lie in a part's folder and belong to no chapter, such as ``Untitled.ipynb``; they are not compiled."""
    listed = {path.with_suffix(".ipynb") for path in chapters(root)}
    return sorted(
        path for path in (p.relative_to(root) for p in Path(root).glob("notebooks/*/*.ipynb")) if path not in listed
    )


def faults(root):
    """Every reason why the book must not be compiled from what stands in ``root``, one line each."""
    root, found = Path(root), []
    for name in YAML_FILES:
        try:
            read_yaml(root / name, name)
        except ValueError as error:
            found.append(str(error))
    try:
        listed = chapters(root)
    except ValueError as error:
        return list(dict.fromkeys([*found, str(error)]))
    for path in listed:
        file = path.with_suffix(".ipynb")
        remedy = f"run: make refresh NOTEBOOK={path.name}"
        if not (root / file).is_file():
            found.append(f"{file.as_posix()} does not exist, but _toc.yml lists it; {remedy}")
            continue
        try:
            notebook = stored.read(root / file)
        except ValueError as error:
            found.append(str(error).replace(f"{root}/", ""))
            continue
        wrong = stored.fault(notebook)
        if wrong:
            found.append(f"{file.as_posix()}: {wrong}; {remedy}")
    return found


def causes(log):
    """The lines of a build's log that say why it failed: warnings and errors, or else the exception behind a traceback."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in log.splitlines()]
    wrong = [line for line in lines if "WARNING" in line or re.search(r"\bERROR\b", line)]
    if wrong:
        return wrong[:20]
    raised = [
        line.strip()
        for line in lines
        if re.match(r"\s*(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt)\b\s*(?::|$)", line)
    ]
    own = [line for line in raised if "look above" not in line.lower()]
    kept = list(dict.fromkeys(own or raised))
    return kept[:5] or [line for line in lines if line.strip()][-20:]
