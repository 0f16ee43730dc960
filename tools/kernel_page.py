"""The book's page of kernels: every public function and class of the library's parts, read from the code and never imported.

Signatures and docstrings are taken with ``ast``, so that compiling the book needs neither numpy nor torch.
"""

import ast
import html
import re
from pathlib import Path

from workings import PARTS

LIB = Path(__file__).resolve().parent.parent / "lib" / "workings"
SHARED = ("calibration", "seeding", "statistics", "training")
PAGE = "book/generated/kernels"
_INTRODUCTION = """---
myst:
  html_meta:
    "description lang=en": "Every public function of the library, with its arguments, shapes, errors and source, part by part."
---

# Kernels

The functions that the chapters call, part by part, made from the code when the book is compiled. Each says what it computes,
the shapes and units of what it takes and gives, what it refuses, and which paper it comes from. {doc}`../how-to` says how to
install them; those that take tensors need PyTorch. The search box finds a kernel by name.
"""


def modules():
    """``(part or "shared", dotted name inside the package, path)`` of every module whose functions are public, in order."""
    found = [(part, f"{part}.{path.stem}", path) for part in PARTS for path in sorted((LIB / part).glob("[a-z]*.py"))]
    return found + [("shared", name, LIB / f"{name}.py") for name in SHARED]


def anchor(module, name):
    """The id of a kernel's entry on the page."""
    kind = "-class" if name[:1].isupper() else ""  # a class and a function may differ by that letter alone
    return f"kernel-{module}.{name}{kind}".replace("_", "-").replace(".", "-").lower()


def public(path):
    """The public functions and classes that a module defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return tree, [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def kernels_markdown():
    """The page, as MyST Markdown."""
    pieces, heading = [_INTRODUCTION], None
    for part, module, path in modules():
        tree, nodes = public(path)
        if not nodes:
            continue
        if part != heading:
            heading = part
            title = part.replace("_", " ").capitalize() if part != "shared" else "Shared by the parts"
            pieces.append(f"## {title}\n")
        pieces.append(f"### workings.{module}\n")
        pieces.append(_said(ast.get_docstring(tree) or "") + "\n")
        pieces += [_entry(module, node) for node in nodes]
    return "\n".join(pieces)


def used_by(notebook):
    """``[(module, name)]`` of the kernels that a notebook's cells import, in order, each once."""
    known = {module: {node.name for node in public(path)[1]} for _, module, path in modules()}
    found = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        try:
            tree = ast.parse("".join(cell["source"]))
        except SyntaxError:
            continue  # a cell with a line of IPython's own
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workings."):
                module = node.module.removeprefix("workings.")
                for name in node.names:
                    if name.name in known.get(module, ()):
                        found[module, name.name] = None
                    inside = f"{module}.{name.name}"
                    if inside in known:  # a whole module, whose functions are called by its name
                        found |= {(inside, one): None for one in sorted(known[inside])}
    return list(found)


def _entry(module, node):
    """One kernel: its heading, how it is called, what it says of itself; of a class, its methods too."""
    methods = ""
    if isinstance(node, ast.ClassDef):
        call = _call(node.name, _init(node))
        items = [
            f"<li><code>{html.escape(_call(one.name, _arguments(one)) + _gives(one))}</code> {_first(one)}</li>"
            for one in node.body
            if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")
        ]
        methods = f"<ul>{''.join(items)}</ul>" if items else ""
    else:
        call = _call(node.name, _arguments(node)) + _gives(node)
    said = _said(ast.get_docstring(node) or "")
    return (
        f'<section class="wk-kernel"><h4 id="{anchor(module, node.name)}">{html.escape(node.name)}</h4>\n'
        f"<pre>{html.escape(call)}</pre>\n{said}{methods}</section>\n"
    )


def _arguments(node):
    """The arguments of a function as they are written, without ``self``."""
    given = node.args
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    words = [_argument(one, default) for one, default in zip(plain, defaults, strict=True)]
    if plain and plain[0].arg in ("self", "cls"):
        words = words[1:]
    if given.vararg:
        words.append(f"*{_argument(given.vararg, None)}")
    elif given.kwonlyargs:
        words.append("*")
    words += [_argument(one, default) for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return words + ([f"**{_argument(given.kwarg, None)}"] if given.kwarg else [])


def _argument(one, default):
    text = one.arg + (f": {ast.unparse(one.annotation)}" if one.annotation else "")
    return text if default is None else f"{text} = {ast.unparse(default)}"


def _init(node):
    """The arguments of a class: of its ``__init__``, or the fields of a dataclass or a named tuple."""
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            return _arguments(one)
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
    words = [f"{one.target.id}: {ast.unparse(one.annotation)}" for one in fields if isinstance(one.target, ast.Name)]
    return [
        w if one.value is None else f"{w} = {ast.unparse(one.value)}" for w, one in zip(words, fields, strict=False)
    ]


def _call(name, words):
    line = f"{name}({', '.join(words)})"
    return line if len(line) <= 76 else f"{name}(\n    " + ",\n    ".join(words) + ",\n)"


def _gives(node):
    return f" -> {ast.unparse(node.returns)}" if node.returns else ""


def _first(node):
    return _inline((ast.get_docstring(node) or "").partition("\n\n")[0])


def _inline(text):
    """A docstring's words as HTML: code in double or single backquotes, and roles such as ``:func:`` by their name."""
    text = html.escape(text, quote=False)
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?([\w]+)`", r"<code>\1</code>", text)
    text = re.sub(r"``(.+?)``", r"<code>\1</code>", text, flags=re.S)
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", text)


def _said(text):
    """A docstring as paragraphs; indented ones (formulas, tables) keep their columns."""
    out = []
    for paragraph in filter(str.strip, re.split(r"\n\s*\n", text)):
        if all(line.startswith("    ") for line in paragraph.splitlines()):
            out.append(f"<pre>{html.escape(paragraph)}</pre>\n")
            continue
        lead, *items = re.split(r"(?m)^- ", "\n" + paragraph if paragraph.startswith("- ") else paragraph)
        if lead.strip():
            out.append(f"<p>{_inline(lead.strip())}</p>\n")
        if items:
            out.append(f"<ul>{''.join(f'<li>{_inline(one.strip())}</li>' for one in items)}</ul>\n")
    return "".join(out)
