"""Print the compiled book as one PDF, ``_build/workings.pdf``, with an installed Chromium or Chrome.

Run by `make pdf`. The articles of all pages are put one behind the other, in the order of ``_toc.yml``, with links
between pages turned into links inside the document. Formulas are typeset already. Nothing is fetched.
"""

import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tinycss2
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
PDF = ROOT / "_build" / "workings.pdf"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
LOCAL = re.compile(r"^(?![a-z]+:|//|#)")
PAPER = """
@page { size: A4; }
.wk-caption { break-before: page; color: #555; letter-spacing: 0.06em; text-transform: uppercase; margin: 0 0 0.4em; }
.wk-chapter + .wk-chapter { break-before: page; }
.wk-cover { height: 235mm; display: flex; flex-direction: column; justify-content: center; }
#jb-print-docs-body, .wk-cover h1, .wk-chapter h1 { display: block !important; }
.wk-cover h1 { font-size: 44pt !important; margin: 0 0 0.2em; }
.wk-cover p { font-size: 14pt; max-width: 120mm; }
.wk-inside { break-before: page; break-after: page; }
.bd-main, .bd-content, .bd-article-container { display: block !important; max-width: none !important; padding: 0 !important; }
"""


def browser():
    """The installed Chromium; stops with a remedy where there is none."""
    named = os.environ.get("WORKINGS_BROWSER")
    found = named or next(filter(None, map(shutil.which, NAMES)), None) or (MAC if Path(MAC).exists() else None)
    if found is None or not shutil.which(found):
        wrong = f"WORKINGS_BROWSER names {named!r}, which is not a program." if named else "None was found."
        sys.exit(
            f"\nThe PDF is printed by Chromium or Chrome. {wrong}\nInstall one (Debian and Ubuntu: apt-get install chromium), "
            "or name it: WORKINGS_BROWSER=/path/to/chrome make pdf\n"
        )
    return found


def contents():
    """``[(part, [page, ...])]`` in reading order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = [("", [toc["root"]])]
    return parts + [(part["caption"], [chapter["file"] for chapter in part["chapters"]]) for part in toc["parts"]]


def merged(sheets):
    """Style sheets that are extracts of one sheet, put together again in its order."""
    rules = []
    for sheet in sheets:
        at = 0
        for rule in tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True):
            text = rule.serialize()
            try:
                at = rules.index(text, at) + 1
            except ValueError:
                if text not in rules:
                    rules.insert(at, text)
                    at += 1
    return "\n".join(rules)


def with_addresses(css, folder):
    """``css`` of a page in ``folder``, with the files it names written from the top of the book."""
    return re.sub(
        r'url\("(?!data:)([^")]+)"\)',
        lambda found: f'url("{posixpath.normpath(posixpath.join(folder, found[1]))}")',
        css,
    )


def article(page, number, numbers):
    """The article of one page: identifiers made unique, links led to their place in the document."""
    folder = posixpath.dirname(page)
    if not (HTML / f"{page}.html").exists():
        sys.exit(f"\nThe compiled book has no page {page}; run `make book` again.\n")
    soup = BeautifulSoup((HTML / f"{page}.html").read_text(encoding="utf-8"), "html.parser")
    found = soup.select_one("article.bd-article")
    for node in found.select("script, .headerlink, .wk-run, details.hide.above-input, .tocnav"):
        node.decompose()
    for node in found.find_all(True):
        for name in ("aria-describedby", "aria-labelledby", "loading", "for"):
            node.attrs.pop(name, None)
        if node.get("id"):
            node["id"] = f"p{number}-{node['id']}"
        if node.name == "details":
            node["open"] = ""
        for name in {"src", "href"} & node.attrs.keys():
            path, _, anchor = node[name].partition("#")
            if not LOCAL.match(node[name]) and path:
                continue
            goal = posixpath.normpath(posixpath.join(folder, path)) if path else f"{page}.html"
            if name == "src":
                node[name] = goal
            elif goal.removesuffix(".html") in numbers:
                where = numbers[goal.removesuffix(".html")]
                node[name] = f"#p{where}-{anchor}" if anchor else f"#p{where}"
            else:
                del node[name]
    found["id"] = f"p{number}"
    found["class"] = [*found.get("class", []), "wk-chapter"]
    sheets = [with_addresses(style.string or "", folder) for style in soup.head.find_all("style")]
    for link in soup.head.select('link[rel="stylesheet"][media="print"]'):
        sheet = posixpath.normpath(posixpath.join(folder, link["href"]))
        rules = with_addresses((HTML / sheet).read_text(encoding="utf-8"), posixpath.dirname(sheet))
        sheets.append(f"@media print {{{rules}}}")
    return found, "\n".join(sheets)


def document():
    """The whole book as one page of HTML."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    parts = contents()
    numbers = {page: number for number, page in enumerate(page for _, pages in parts for page in pages)}
    body, listed, sheets = [], [], []
    for part, pages in parts:
        listed.append(f"<li>{part}<ul>" if part else "<li><ul>")
        for page in pages:
            text, sheet = article(page, numbers[page], numbers)
            title = text.h1.get_text(" ", strip=True)
            if part and page == pages[0]:
                body.append(f'<p class="wk-caption">{part}</p>')
                text["style"] = "break-before: avoid"
            listed.append(f'<li><a href="#p{numbers[page]}">{title}</a></li>')
            body.append(str(text))
            sheets.append(sheet)
        listed.append("</ul></li>")
    repository = config["repository"]
    cover = (
        f'<section class="wk-cover"><h1>{config["title"]}</h1>'
        "<p>Machine-learning papers, taken apart, derived again and run again.</p>"
        f"<p>{config['author']}<br>{repository['branch']}, {config['copyright']}</p><p>{config['html']['baseurl']}</p>"
        f"<p>{config['html']['extra_footer'].strip()}</p></section>"
        f'<nav class="wk-inside"><h2>Contents</h2><ul>{"".join(listed)}</ul></nav>'
    )
    return (
        '<!DOCTYPE html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>{config['title']}</title><style>{merged(sheets)}\n{PAPER}</style></head>"
        '<body><main class="bd-main"><div class="bd-content"><div class="bd-article-container">'
        f'<div class="bd-article">{cover}</div>{"".join(body)}</div></div></main></body></html>'
    )


def print_page(page, pdf, program):
    """Print an HTML file with headless Chromium; returns the number of pages."""
    with tempfile.TemporaryDirectory() as profile:
        command = [program, "--headless", "--disable-gpu", "--no-sandbox", f"--user-data-dir={profile}"]
        command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--no-first-run"]
        command += ["--no-pdf-header-footer", "--generate-pdf-document-outline", "--virtual-time-budget=20000"]
        done = subprocess.run(
            [*command, f"--print-to-pdf={pdf}", page.as_uri()], capture_output=True, text=True, timeout=600
        )
    if done.returncode != 0 or not pdf.exists():
        sys.exit(f"\n{program} could not print the book:\n\n{done.stderr.strip()[-1500:]}\n")
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf.read_bytes()))


def main():
    program = browser()
    if not (HTML / "book" / "index.html").exists():
        sys.exit("\nThere is no compiled book to print; run `make book` first.\n")
    page = HTML / ".whole-book.html"
    page.write_text(document(), encoding="utf-8")
    PDF.unlink(missing_ok=True)
    try:
        pages = print_page(page, PDF, program)
    finally:
        page.unlink()
    print(f"The book is printed: {PDF.relative_to(ROOT)}, {pages} pages, {PDF.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
