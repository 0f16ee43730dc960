"""Make the compiled pages light: one style sheet in each page's head, one script after it, no script for icons or maths.

Sphinx and its theme give every page thirteen style sheets, a dozen scripts that hold up the first paint, and 1.5 MB
of script to draw a dozen icons. Here the rules that no page can use are dropped, the rest is put into the page, the
scripts are joined and deferred, icons become inline drawings, and formulas are typeset (``maths.py``).
"""

import base64
import hashlib
import html
import posixpath
import re
import shutil
import zlib

import tinycss2

HEAD = re.compile(r"<head>.*?</head>", re.S)
SHEET = re.compile(r'\s*<link[^>]*?href="(?P<href>[^"]+\.css)[^"]*"[^>]*?rel="stylesheet"[^>]*?/?>|'
                   r'\s*<link[^>]*?rel="stylesheet"[^>]*?href="(?P<other>[^"]+\.css)[^"]*"[^>]*?/?>')  # fmt: skip
SCRIPT = re.compile(r"\s*<script(?P<attributes>[^>]*)>(?P<code>.*?)</script>", re.S)
PRELOAD = re.compile(r'\s*<link rel="preload" as="script"[^>]*/?>')
SOURCE = re.compile(r'\bsrc="([^"?]+)')
ICON = re.compile(
    r'<(?P<tag>i|span) class="(?P<classes>(?:[\w-]+\s+)*(?:fa-solid|fa-brands|fas|fab)(?:\s+[\w-]+)*)"(?P<rest>[^>]*)>\s*</(?P=tag)>'
)
STYLES = {"fa-solid": False, "fas": False, "fa-brands": True, "fab": True}  # is it a brand's drawing?
EMBEDDED = re.compile(r'src="data:image/(png|webp|jpeg);base64,([A-Za-z0-9+/=]+)"')
IMAGE = re.compile(r'<img\b[^>]*\bsrc="(?P<src>[^":]+\.png)"[^>]*>')
SYMBOL = re.compile(
    r'<a((?![^>]*aria-label)[^>]*)>((?:<span[^>]*>)*<span class="math[^>]*>\\\((.*?)\\\)(?=</span>(?:</span>)*</a>))'
)
CITATION_ROLE = re.compile(
    r' role="doc-biblioentry"|(?<=<div) role="list"(?= class="citation-list")'
)  # no list of items
PLAIN_TOKEN = re.compile(r'<span class="(?:n|p|w)">([^<]*)</span>')  # code in the colour that all code has
DRAWING = 0.6  # share of white paper
PIXELS_AN_INCH = 130  # as in lib/workings/show/figures.py
VIEWPORT = re.compile(r'<meta name="viewport"[^>]*/?>')
# Scripts that the book never uses: a live kernel in the page, tabs, the icons (drawn here), MathJax (typeset here).
UNUSED = ("fontawesome.js", "sphinx-thebe.js", "design-tabs.js", "tex-chtml.js")
UNUSED_SHEETS = ("sphinx-thebe.css",)
BEFORE_PAINT = "document.documentElement.dataset"  # the theme's choice of light or dark: it must run at once
# The theme asks every box on a page whether it scrolls (so that a keyboard can reach it), which lays out the whole page
# before it is shown. The book asks when a box comes near (wkNear in book/assets/controls.js).
SCROLLERS = "e.tabIndex=e.scrollWidth>e.clientWidth||e.scrollHeight>e.clientHeight?0:-1"
# What Bootstrap's script may add to a page that uses its collapse, tooltips and scroll spy.
DYNAMIC = {"show", "collapsing", "collapsed", "fade", "active", "disabled", "tooltip", "tooltip-inner", "tooltip-arrow"}
DYNAMIC |= {
    "bs-tooltip-auto",
    "bs-tooltip-top",
    "bs-tooltip-bottom",
    "bs-tooltip-start",
    "bs-tooltip-end",
    "modal-open",
}
LIBRARIES = ("bootstrap.js",)  # whose words are not taken for class names
ICON_RULE = re.compile(r"\.fa-[\w-]+::?before")
PROPERTY = re.compile(
    r"""(--[\w-]+)\s*:(?:[^;{}"'(]|"[^"]*"|'[^']*'|\((?:[^()"']|"[^"]*"|'[^']*'|\([^()]*\))*\))*(?:;|(?=\}))"""
)
LITERAL = re.compile(r"""\"[^"\n]*\"|'[^'\n]*'|`[^`]*`""")
DYNAMIC_ATTRIBUTES = {"open", "hidden", "disabled", "checked", "tabindex", "data-theme", "data-mode", "aria-expanded"}
WORD = re.compile(r"[A-Za-z_][\w-]*")


def slim(folder, typesetter=None):
    """Rewrite every page under ``folder`` in place, and leave out the files that nothing asks for any more."""
    pages = {
        path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts
    }
    pages = {path: text for path, text in pages.items() if "<head>" in text}
    icons = Icons(folder / "_static" / "scripts" / "fontawesome.js")
    sheets, scripts = _wanted(folder, pages)
    for path, text in pages.items():
        text = SYMBOL.sub(_named, text)
        text = typesetter.page(text) if typesetter else text
        text = PLAIN_TOKEN.sub(r"\1", text)
        text = CITATION_ROLE.sub("", ICON.sub(icons, text))
        text = EMBEDDED.sub(lambda found, path=path: _to_file(found, folder, path), text)
        pages[path] = IMAGE.sub(lambda found, path=path: _sized(found, path), text)
    joined = _join_scripts(folder, scripts)
    rules = "\n".join(_with_addresses(folder / sheet) for sheet in sheets) + (typesetter.css() if typesetter else "")
    rules, always = Rules(rules), _words_of_scripts(folder, scripts)
    paper = f"_static/paper-{hashlib.sha256(rules.for_print().encode()).hexdigest()[:10]}.css"
    (folder / paper).write_text(rules.for_print().replace("static:", ""), encoding="utf-8")
    for path, text in pages.items():
        head, style = HEAD.search(text), rules.for_page(Page(text, always))
        body = SCRIPT.sub(_of_body, text[head.end() :]).replace('data-bs-spy="scroll"', "", 1)  # see controls.js
        path.write_text(
            text[: head.start()] + _head(head[0], path, folder, style, joined, paper) + body, encoding="utf-8"
        )
    if typesetter:
        fonts = folder / "_static" / FONTS
        fonts.mkdir(parents=True, exist_ok=True)
        for font in (typesetter.folder / FONTS).glob("*.woff"):
            shutil.copyfile(font, fonts / font.name)
    _prune(
        folder / "_static",
        [*folder.rglob("*.html"), folder / joined, folder / "_static" / "searchtools.js"],
        keep=(
            "search.js",
            *(script.name for script in folder.glob("_static/live/*.js")),
        ),  # loaded by name when a figure comes near
    )


def _prune(static, readers, keep=()):
    """Delete the static files whose names stand in none of ``readers``, but for the fonts that style sheets name in parts."""
    named = "".join(
        path.read_text(encoding="utf-8") for path in readers if static not in path.parents or path.suffix == ".js"
    )
    for path in sorted(static.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.name not in named and path.name not in keep:
            path.unlink()


PRINT = "@media print"
FONTS = "output/chtml/fonts/woff-v2"


class Icons:
    """The theme's icons as inline SVG: a replacement for matches of :data:`ICON`. Drawings: Font Awesome Free, CC BY 4.0."""

    def __init__(self, script):
        self.library = script.read_text(encoding="utf-8")
        self.drawn = {}

    def draw(self, name, brands):
        found = list(re.finditer(rf'(?<![\w-])"?{name}"?:\[(\d+),(\d+),\[[^\]]*\],"\w+","([^"]+)"', self.library))
        if not found:
            raise SystemExit(f"\nThe theme asks for an icon {name!r} that its own library does not have.\n")
        return found[0 if brands else -1].groups()  # solid drawings stand last in the file

    def __call__(self, match):
        classes = match["classes"].split()
        name = next(c for c in classes if c.startswith("fa-") and c not in STYLES and c not in ("fa-lg", "fa-fw"))
        key = (name, any(STYLES.get(c) for c in classes))
        if key not in self.drawn:
            self.drawn[key] = self.draw(name[3:], key[1])
        width, height, path = self.drawn[key]
        kept = " ".join(c for c in classes if c not in STYLES)
        return (
            f'<svg class="svg-inline--fa {kept}"{match["rest"]} aria-hidden="true" focusable="false" '
            f'viewBox="0 0 {width} {height}"><path fill="currentColor" d="{path}"></path></svg>'
        )


class Rules:
    """A style sheet, read once, of which :meth:`for_page` gives what a page can use, without comments and spare blanks."""

    def __init__(self, text):
        self.rules = _read(tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True))

    def for_print(self):
        """The rules of paper, for all pages: a sheet of their own, which no screen waits for."""
        return "".join(_written(body, None) for head, body in self.rules if head == PRINT)

    def for_page(self, page):
        """The rules that something on ``page`` can match; custom properties that nothing reads go."""
        css = _written([rule for rule in self.rules if rule[0] != PRINT], page)
        while True:
            read = set(re.findall(r"var\(\s*(--[\w-]+)", css)) | page.read
            shorter = PROPERTY.sub(lambda found, read=read: found[0] if found[1] in read else "", css)
            if shorter == css:
                return re.sub(r"(?<=[{}])[^{}]*\{\s*\}", "", css)
            css = shorter


def _read(nodes):
    """``(selectors with what each demands, body)`` or ``(at-rule, inner rules or text)``, in order."""
    out = []
    for node in nodes:
        if node.type == "error":
            raise SystemExit(f"\nA style sheet of the book cannot be read: {node.message} (line {node.source_line}).\n")
        if node.type == "qualified-rule":
            if "--fa-font" in tinycss2.serialize(node.content) or ICON_RULE.match(tinycss2.serialize(node.prelude)):
                continue  # an icon set in the font that is gone
            selectors = [(selector, _demands(selector)) for selector in _selectors(node.prelude)]
            out.append((selectors, _tight(tinycss2.serialize(node.content))))
            continue
        head = f"@{node.at_keyword} {_tight(tinycss2.serialize(node.prelude))}"
        if node.content is None:
            inside = ";" if node.lower_at_keyword != "charset" else ""
        elif node.lower_at_keyword in ("media", "supports", "layer", "container"):
            inside = _read(tinycss2.parse_rule_list(node.content, skip_comments=True, skip_whitespace=True))
        else:
            inside = _tight(tinycss2.serialize(node.content))
            inside = (
                ""
                if "fontawesome" in inside or (node.lower_at_keyword.endswith("keyframes") and "fa-" in head)
                else f"{{{inside}}}"
            )
        out.append((head, inside))
    return out


def _written(rules, page):
    out = []
    for head, body in rules:
        if isinstance(head, list):
            kept = [selector for selector, demands in head if page is None or all(map(page.has, demands))]
            out.append(f"{','.join(kept)}{{{body}}}" if kept and body else "")
        elif isinstance(body, list):
            inside = _written(body, page)
            out.append(f"{head}{{{inside}}}" if inside else "")
        else:
            out.append(head + body if body else "")
    return "".join(out)


def _selectors(prelude):
    """The selectors of a rule: its prelude cut at the outermost commas."""
    parts, now = [], []
    for token in prelude:
        if token.type == "literal" and token.value == ",":
            parts.append(now)
            now = []
        else:
            now.append(token)
    return [_tight(tinycss2.serialize(part)) for part in [*parts, now]]


def _demands(selector):
    """What ``selector`` asks of single elements: ``(tag or "", names)`` a compound; :not(), :is() ask for nothing."""
    plain = re.sub(r":[\w-]+\((?:[^()]|\([^()]*\))*\)", "", selector)
    plain = re.sub(r"\[([\w-]+)[^\]]*\]", r"[\1]", plain)
    compounds = set()
    for compound in re.split(r"\s*[>+~]\s*|\s+", plain):
        tag = re.match(r"[a-zA-Z][\w-]*", compound)
        names = re.findall(r"[.#]((?:[\w-]|\\.)+)", compound) + re.findall(r"\[([\w-]+)\]", compound)
        compounds.add((tag[0].lower() if tag else "", frozenset(name.replace("\\", "") for name in names)))
    return compounds


def _tight(css):
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    return re.sub(r"\s+", " ", css).strip()


def _words_of_scripts(folder, scripts):
    """What the scripts that are not libraries may set, and what the libraries do set."""
    words = DYNAMIC | DYNAMIC_ATTRIBUTES
    for script in [*scripts, "_static/search.js"]:
        if not script.endswith(LIBRARIES):
            words |= _spoken((folder / script).read_text(encoding="utf-8"))
    return words


def _spoken(code):
    """The words inside the string literals of a script: a class, an id or an attribute that it sets is among them."""
    return {word for text in LITERAL.findall(code) for word in WORD.findall(text)}


def _elements(text):
    """The kinds of elements of a page, ``(tag, names)`` with the names of classes, ids and attributes, each kind once."""
    found = set()
    for tag, attributes in set(re.findall(r"<([a-zA-Z][\w-]*)((?:\s[^<>]*)?)>", text)):
        values = " ".join(re.findall(r'\b(?:class|id)="([^"]*)"', attributes))
        names = values.split() + re.findall(r"\s([a-zA-Z][\w-]*)", re.sub(r'"[^"]*"', "", attributes))
        found.add((tag.lower(), frozenset(names)))
    return found


class Page:
    """What can be on a page: the kinds of elements it is written with, and the names that scripts may give them."""

    def __init__(self, text, set_by_scripts):
        inline = "".join(re.findall(r"<script[^>]*>(.*?)</script>", text, re.S))
        self.late = set_by_scripts | _spoken(inline)
        self.elements = [(tag, names | self.late) for tag, names in _elements(text)]
        self.tags = {tag for tag, _ in self.elements}
        self.read = set(re.findall(r"var\(\s*(--[\w-]+)", text))
        self.known = {}

    def has(self, compound):
        """Whether some element can match ``compound``, now or once scripts have run."""
        if compound not in self.known:
            tag, names = compound
            made = bool(names & self.late)  # the element itself may come from a script
            self.known[compound] = (made and names <= self.late) or any(
                names <= own and (made or tag in ("", own_tag)) for own_tag, own in self.elements
            )
        return self.known[compound]


def _wanted(folder, pages):
    """Style sheets and scripts that pages ask for, each once, in the order of the pages."""
    sheets, scripts = {}, {}
    for path, text in pages.items():
        for found in SHEET.finditer(text):
            sheets[_inside(folder, path, found["href"] or found["other"])] = None
        for found in SCRIPT.finditer(text):
            source = SOURCE.search(found["attributes"])
            if source and "search" not in posixpath.basename(source[1]) and "language_data" not in source[1]:
                scripts[_inside(folder, path, source[1])] = None
    keep = lambda names, unused: [name for name in names if posixpath.basename(name) not in unused]
    return keep(sheets, UNUSED_SHEETS), keep(scripts, UNUSED)


def _inside(folder, page, address):
    return posixpath.normpath(posixpath.join(page.parent.relative_to(folder).as_posix(), address))


def _with_addresses(sheet):
    """A style sheet's text, its relative addresses written ``static:...`` from the folder of static files."""
    static = next(parent for parent in sheet.parents if parent.name == "_static")
    base = sheet.parent.relative_to(static).as_posix()

    def absolute(found):
        address = found[1].strip("'\"")
        if re.match(r"data:|https?:|static:|#", address):
            return found[0]
        return f'url("static:{posixpath.normpath(posixpath.join(base, address))}")'

    def imported(found):
        return _with_addresses(sheet.parent / found[1])

    text = re.sub(r"""@import\s+(?:url\()?["']?([^"')]+\.css)["']?\)?;""", imported, sheet.read_text(encoding="utf-8"))
    return re.sub(r"""url\((?!["']?data:)([^)]+)\)""", absolute, text)


def _join_scripts(folder, scripts):
    """One file of all ``scripts``, in their order; its name carries its checksum."""
    texts = [(folder / name).read_text(encoding="utf-8") for name in scripts]
    texts.insert(1, "DOCUMENTATION_OPTIONS.pagename = window.wkPage")  # the first script declares the options
    text = ";\n".join(re.sub(r"\n//# sourceMappingURL=\S+", "", text) for text in texts)
    if SCROLLERS not in text:
        raise SystemExit("\nThe theme's script has changed: look up in tools/slim.py how SCROLLERS is used.\n")
    text = text.replace(SCROLLERS, f"wkNear(e,(()=>{{{SCROLLERS}}}))")
    name = f"_static/site-{hashlib.sha256(text.encode()).hexdigest()[:10]}.js"
    (folder / name).write_text(text, encoding="utf-8")
    return name


def _to_file(found, folder, page):
    """An embedded picture as a file of its own."""
    picture = base64.b64decode(found[2])
    name = f"_images/{hashlib.sha256(picture).hexdigest()[:20]}.{found[1]}"
    (folder / name).write_bytes(picture)
    return f'src="{_root(page, folder)}{name}"'


def _sized(found, page):
    """A picture with its width and height, so that nothing moves when it arrives, and loaded when it comes near."""
    tag, picture = found[0], page.parent / found["src"]
    if "class=" not in tag and picture.is_file() and _is_drawing(picture.read_bytes()):
        tag = tag.replace("<img", '<img class="wk-drawing"', 1)
    if not re.search(r"\b(width|height)=", tag) and picture.is_file():
        width, height = _pixels(picture.read_bytes())
        tag = tag.replace("<img", f'<img width="{width}" height="{height}"', 1)
    return tag if "loading=" in tag else tag.replace("<img", '<img loading="lazy" decoding="async"', 1)


def _pixels(png):
    """How large a page shows a picture: its dots, or fewer where it says how many it has an inch (see show/figures.py)."""
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    at = png.find(b"pHYs", 0, 4000)  # stands before the picture's data
    if at > 0 and png[at + 12] == 1:  # dots a metre
        inch = 0.0254 * int.from_bytes(png[at + 4 : at + 8], "big")
        width, height = (round(PIXELS_AN_INCH * side / inch) for side in (width, height))
    return width, height


def _is_drawing(png):
    """Whether a picture is lines on white paper, mostly: then its lightness may be turned round in the dark.

    Photographs, sprites and heat maps keep theirs. Read from the palette, which the pictures of the book have.
    """
    width = int.from_bytes(png[16:20], "big")
    at, chunks = 8, {}
    while at < len(png):
        size, name = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        chunks[name] = chunks.get(name, b"") + png[at + 8 : at + 8 + size]
        at += size + 12
    if png[24] != 8 or b"PLTE" not in chunks:
        return False
    colours, dots = chunks[b"PLTE"], zlib.decompress(chunks[b"IDAT"])
    if any(dots[:: width + 1]):  # rows that are written as differences
        return False
    white = [i for i in range(len(colours) // 3) if min(colours[3 * i : 3 * i + 3]) >= 250]
    ground = sum(dots.count(i) for i in white) - (len(dots) // (width + 1) if 0 in white else 0)
    return ground >= DRAWING * len(dots)


def _root(page, folder):
    return "../" * (len(page.relative_to(folder).parts) - 1)


def _named(found):
    """A link whose words are a formula, with a name that can be spoken: the TeX without its signs."""
    spoken = " ".join(re.findall(r"[A-Za-z]+|\d+", re.sub(r"\\math[a-z]+", "", html.unescape(found[3]))))
    return f'<a aria-label="symbol {spoken}"{found[1]}>{found[2]}'


def _of_body(found):
    """A script of a page's body: inline ones stay, but for the set-up of a live kernel."""
    gone = (
        SOURCE.search(found["attributes"]) or "x-thebe-config" in found["attributes"] or "kernelName" in found["code"]
    )
    return "" if gone else found[0]


def _head(head, path, folder, style, joined, paper):
    """The page's head with its style inside, one deferred script, and inline scripts after that one."""
    root = _root(path, folder)
    seen = set()

    def script(found):
        source = SOURCE.search(found["attributes"])
        if source:
            own = "search" in posixpath.basename(source[1]) or "language_data" in source[1]
            return f'\n<script defer src="{source[1]}"></script>' if own else ""
        code = found["code"].strip()
        if BEFORE_PAINT in code:
            return found[0]
        if "THEBE" in code or "MathJax" in code or code in seen:
            return ""
        seen.add(code)
        return f"\n<script>{code}</script>" if not code.startswith("DOCUMENTATION_OPTIONS") else ""

    head = PRELOAD.sub("", SHEET.sub("", head))
    head = SCRIPT.sub(script, head)
    first = VIEWPORT.search(head)
    head = head[: first.end()] + VIEWPORT.sub("", head[first.end() :])
    page = path.relative_to(folder).with_suffix("").as_posix()
    inside = style.replace("static:", f"{root}_static/")
    added = f'<style>{inside}</style>\n<link rel="stylesheet" media="print" href="{root}{paper}" />\n'
    added += f'<script>window.wkPage = "{page}"</script>\n<script defer src="{root}{joined}"></script>\n'
    # Search's own scripts stand after the joined one, on which they rely.
    late = re.findall(r"\n<script defer src=[^>]*></script>", head)
    for one in late:
        head = head.replace(one, "", 1)
    return head.replace("</head>", added + "".join(late) + "</head>")
