"""What a chapter's page says before and after its text: where it stands in the book, what was read, how to cite it, where to write.

Everything is made from ``book/front.yml``, the claims file, ``pyproject.toml`` and the notebook itself.
"""

import html
import re
import tomllib
from pathlib import Path
from urllib.parse import quote

import yaml

import kernel_page
from workings.ledger.claims import load_chapter
from workings.ledger.criteria import SOURCES

ROOT = Path(__file__).resolve().parent.parent
BRANCH = "main"


def project():
    """``(address of the repository, version, year, address of the book)``."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    return about["urls"]["Repository"], about["version"], str(config["copyright"]), config["html"]["baseurl"]


def source_of(page):
    """The file that an author edits to change ``page``, such as ``book/how-to`` or ``notebooks/robustness/sap``."""
    if page.startswith("notebooks/"):
        return f"{page}.py"
    made = {
        "book/generated/ledger": "tools/ledger_page.py",
        "book/generated/long_runs": "tools/long_runs_page.py",
        "book/generated/benchmarks": "tools/ledger_page.py",
        kernel_page.PAGE: "tools/kernel_page.py",
    }
    return made.get(page, f"{page}.md")


def offers(page, title):
    """Links at the end of every page: report an error, edit the page, what changed on it."""
    repository = project()[0]
    file = source_of(page)
    body = f"Page: {page}.html\nWhat is wrong, and what should stand there:\n"
    report = f"{repository}/issues/new?title={quote('Error on the page: ' + title)}&body={quote(body)}"
    links = [
        (report, "Report an error"),
        (f"{repository}/edit/{BRANCH}/{file}", "Edit this page"),
        (f"{repository}/commits/{BRANCH}/{file}", "What changed on this page"),
    ]
    items = "".join(f'<li><a href="{html.escape(url)}">{words}</a></li>' for url, words in links)
    return f'<ul class="wk-offers" aria-label="This page">{items}</ul>\n'


def bibtex(slug, page, title):
    """A BibTeX entry for one chapter."""
    _, version, year, base = project()
    fields = {
        "title": f"{{{title}}}",
        "author": "{{The Workings authors}}",
        "booktitle": "{Workings: machine-learning papers, re-derived and re-run}",
        "year": f"{{{year}}}",
        "note": f"{{Version {version}}}",
        "url": f"{{{base}{page}.html}}",
    }
    lines = ",\n".join(f"  {name} = {value}" for name, value in fields.items())
    return f"@incollection{{workings_{slug},\n{lines},\n}}"


def head(slug, part, number, front):
    """The line under a chapter's title: its number, its part, and what to read before it."""
    before = front[slug].get("after", [])
    links = [f'<a href="{_relative(one)}">{html.escape(front[one]["title"])}</a>' for one in before]
    read = f"Read before it: {' and '.join(links)}." if links else "It needs no other chapter."
    name = part.replace("_", " ").capitalize()
    return f'<p class="wk-where">Chapter {number}, {name}. {read}</p>'


def _relative(slug):
    (path,) = (ROOT / "notebooks").glob(f"*/{slug}.ipynb")
    return f"../{path.parent.name}/{slug}.html"


def what_was_read(slug, part):
    """What was read of the paper, from the claims file: its ``source`` for the whole chapter, and that of each claim in words."""
    chapter = load_chapter(slug, ROOT / "claims")
    stored = ROOT / "notebooks" / part / f"{slug}.ipynb"
    page = stored.read_text(encoding="utf-8") if stored.is_file() else ""
    link = lambda name: f'<a href="#{name}">{name}</a>' if f'id=\\"{name}\\"' in page else name  # JSON writes \" for "
    rows = "".join(f"<li>{link(one.id)}: {html.escape(SOURCES[one.paper.source])}</li>" for one in chapter.claims)
    fold = "<details><summary>Where each number comes from</summary><p>Claim by claim:</p>"
    said = f"<p><strong>What was read.</strong></p><p>{html.escape(chapter.source)}</p>{fold}<ul>{rows}</ul></details>"
    return f'<aside class="wk-source" aria-label="What was read of the paper">{said}</aside>\n'


def end(slug, part, title, notebook):
    """The last cell of a chapter before its stamp: its kernels, how to cite it, and where to write."""
    page = f"notebooks/{part}/{slug}"
    links = [
        f'<a href="../../{kernel_page.PAGE}.html#{kernel_page.anchor(module, name)}"><code>{name}</code></a>'
        for module, name in kernel_page.used_by(notebook)
    ]
    kernels = f'<p class="wk-kernels">Kernels of this chapter: {", ".join(links)}.</p>\n' if links else ""
    cite = f'<details class="wk-quiet"><summary>Cite this chapter</summary><pre>{html.escape(bibtex(slug, page, title))}</pre></details>\n'
    return f'<div class="wk-end">{kernels}{cite}{offers(page, title)}</div>\n'


def with_ends(notebook, slug, part, number, front):
    """``notebook``'s content with its title from ``book/front.yml``, the line under it, what was read, and the end."""
    title = front[slug]["title"]
    first, *rest = notebook["cells"]
    text = "".join(first["source"])
    titled, count = re.subn(r"\A# .*", lambda _: f"# {title}\n\n{head(slug, part, number, front)}", text)
    if count != 1:
        raise SystemExit(
            f"\nThe first cell of {slug} does not begin with a title, a line '# ...'. Correct notebooks/{part}/{slug}.py.\n"
        )
    titled += f"\n\n{what_was_read(slug, part)}"
    cell = {"cell_type": "markdown", "id": "ends", "metadata": {}, "source": end(slug, part, title, notebook)}
    return notebook | {"cells": [first | {"source": titled}, *rest, cell]}
