"""What the search looks through: every section of every page with its text, in one script that opens from disk as well."""

import html
import json
import re

ARTICLE = re.compile(r'<article class="bd-article".*?</article>', re.S)
# Not text for a reader who searches: scripts, links of headings, figures of axes, formulas' hidden halves, stamps.
DROPPED = re.compile(
    r"<(script|style|svg|mjx-assistive-mml|button)\b.*?</\1>|<a class=\"headerlink\".*?</a>"
    r'|<aside class="wk-stamp".*?</aside>|<div class="wk-end">.*?</div>|<ul class="wk-offers".*?</ul>|<!--.*?-->',
    re.S,
)
FORMULA = re.compile(r"<mjx-container.*?</mjx-container>", re.S)
HEADING = re.compile(r'(?:<section[^>]*\bid="(?P<section>[^"]+)"[^>]*>\s*(?:<span id="[^"]*"></span>\s*)*)?<h(?P<level>[1-4])(?: [^>]*?\bid="(?P<own>[^"]+)")?[^>]*>(?P<title>.*?)</h(?P=level)>', re.S)  # fmt: skip
TERM = re.compile(r'<dt id="(?P<id>[^"]+)"[^>]*>(?P<title>.*?)</dt>', re.S)
NOT_FOUND = ("search.html", "genindex.html")


def words(text):
    """The plain text of a piece of HTML; a formula is left out, for nobody types one."""
    text = re.sub(r"<[^>]+>", " ", FORMULA.sub(" … ", DROPPED.sub(" ", text)))
    return re.sub(r"\s+([.,;:!?)])", r"\1", re.sub(r"\s+", " ", html.unescape(text))).strip()


def sections(page):
    """``[(id or "", heading, text)]`` of a page's HTML: what stands before the next heading belongs to the one above."""
    article = DROPPED.sub(" ", ARTICLE.search(page)[0])
    at = [(found.start(), found.end(), found["section"] or found["own"] or "", words(found["title"])) for found in HEADING.finditer(article)]  # fmt: skip
    at += [(found.start(), found.end(), found["id"], words(found["title"])) for found in TERM.finditer(article)]
    at.sort()
    ends = [start for start, *_ in at[1:]] + [len(article)]
    return [(name, title, words(article[end:stop])) for (_, end, name, title), stop in zip(at, ends, strict=True)]


def script(folder):
    """The script: ``window.workingsSections``, a list of ``[page's address, page's title, [[id, heading, text], ...]]``."""
    found = []
    for path in sorted(folder.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        if "_static" in path.parts or path.name in NOT_FOUND or not ARTICLE.search(text):
            continue
        pieces = sections(text)
        if pieces:
            found.append([path.relative_to(folder).as_posix(), pieces[0][1], pieces])
    return f"window.workingsSections={json.dumps(found, ensure_ascii=False, separators=(',', ':'))};\n"


def write(folder):
    """Put the script beside the search page, and let that page load it in the place of Sphinx's own search."""
    (folder / "_static" / "search-data.js").write_text(script(folder), encoding="utf-8")
    page = folder / "search.html"
    text = page.read_text(encoding="utf-8")
    own = re.compile(r'\s*<script defer src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>')
    ours = '\n<script defer src="_static/search-data.js"></script>\n<script defer src="_static/search.js"></script>'
    page.write_text(own.sub("", text).replace("</head>", f"{ours}</head>", 1), encoding="utf-8")
    for name in ("searchindex.js", "_static/searchtools.js", "_static/language_data.js"):
        (folder / name).unlink(missing_ok=True)
