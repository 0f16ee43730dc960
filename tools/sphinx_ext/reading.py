"""Links that explain: terms, symbols, numbered equations and citations of the chapters, and the text of their previews.

Chapters are plain notebooks, so nothing in them marks a term. When a page is written, the first
use of each glossary term and of each symbol of the notation page becomes a link, ``(2)`` becomes a
link to the equation with that tag, and a link to a paper of ``references.bib`` is marked as a
citation. ``previews-data.js`` holds what a reader sees when resting on such a link.
"""

import json
import re
import unicodedata
from pathlib import Path

from docutils import nodes
from pybtex.database import parse_file
from pybtex.richtext import Text
from sphinx.util.osutil import relative_uri

GLOSSARY, NOTATION, BIBLIOGRAPHY = "book/glossary", "book/notation", "book/bibliography"
# Words that mean the term in one part of the book only.
ALSO = {
    "uncertainty": {"conformity score": ["score"], "calibration set": ["calibration point"]},
    "robustness": {"transfer attack": ["transfer"], "gradient masking": ["masked gradient"]},
    "language_models": {"LoRA": ["low-rank adapter"], "RoPE": ["rotary embedding"]},
    "disentangling": {"latent": ["latents"], "disentangled code": ["disentangled"]},
}
# Words that are a term in one part, and plain English in the others.
ONLY = {"factor": "disentangling", "capacity": "disentangling"}
# Letters that mean something else in a chapter than their line in the notation of its part says: not linked there.
OTHERWISE = {
    "beta_vae_capacity": ["v"],
    "darla": [r"\gamma", r"\lambda", "R"],
    "early_visual_concepts": [r"\lambda", r"\theta"],
    "episode_difficulty": ["q"],
    "few_shot_baseline": [r"\beta", r"\sigma", "a", "c"],
    "l3m": ["L", "b"],
    "livebench": ["b", "j"],
    "taught_to_know": ["c"],
    "vtune": ["j"],
}
CLOSED = (nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.math_block, nodes.caption)
TAG = re.compile(r"\\tag\{(\d+)\}")
ADDRESS = re.compile(r"^https?://(?:dx\.)?(?:doi\.org|arxiv\.org/abs)/")


def clean(text):
    return " ".join(text.split())


def untex(text):
    return clean(Text.from_latex(text.replace(r"$\beta$", "beta")).render_as("text").replace("\u2013", "-"))


SIGNS = {
    "lceil": "⌈",
    "rceil": "⌉",
    "lfloor": "⌊",
    "rfloor": "⌋",
    "mid": "| ",
    "ge": "≥ ",
    "mathbf": "",
    "mathcal": "",
    "dots": "…",
}
LOW = str.maketrans("0123456789ijktu", "₀₁₂₃₄₅₆₇₈₉ᵢⱼₖₜᵤ")


def plain_maths(tex):
    """A small formula in plain letters: a preview is text, and needs no typesetting."""

    def sign(match):
        name = match[1]
        if name in SIGNS:
            return SIGNS[name]
        case = "SMALL" if name.islower() else "CAPITAL"
        try:
            return unicodedata.lookup(f"GREEK {case} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}")
        except KeyError:
            return name  # no letter: a preview shows the name rather than stopping the build

    text = re.sub(r"\\hat\s*(\w)", "\\1\u0302", tex)
    text = re.sub(r"\\([A-Za-z]+)\s*", sign, text)
    text = re.sub(r"_(\w)", lambda match: match[1].translate(LOW), text)
    return re.sub(r"\^\{([^}]*)\}", r"^(\1)", text).replace("{", "").replace("}", "").replace("-", "−")


# What the previews say


def glossary_entries(env):
    """``{id: ([names], text)}`` of the glossary page; the text is the first paragraph of an entry."""
    found = {}
    if GLOSSARY in env.found_docs:
        for item in env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
            terms = list(item.findall(nodes.term))
            text = next(item.findall(nodes.paragraph)).astext()
            found[terms[0]["ids"][0]] = ([clean(term.astext()) for term in terms], clean(text))
    return found


def notation_entries(env):
    """``{id: (part or "", [symbols in TeX], meaning)}`` of the notation page's tables."""
    found = {}
    if NOTATION not in env.found_docs:
        return found
    for row in env.get_doctree(NOTATION).findall(nodes.row):
        if row.get("ids"):
            symbol, meaning = row.children[:2]
            tex = [math.astext() for math in symbol.findall(nodes.math)]
            text = "".join(
                plain_maths(node.astext()) if isinstance(node.parent, nodes.math) else node.astext()
                for node in meaning.findall(nodes.Text)
            )
            found[row["ids"][0]] = (row["part"], tex, clean(text))
    return found


def citations(app):
    """``{DOI or arXiv number: text}`` of every entry of the bibliography; the first line is the title."""
    found = {}
    for name in app.config.bibtex_bibfiles:
        for entry in parse_file(str(Path(app.srcdir) / name)).entries.values():
            fields, people = entry.fields, entry.persons.get("author", [])
            names = [" ".join(part.render_as("text") for part in person.rich_last_names) for person in people]
            who = ", ".join(names) if len(names) <= 4 else f"{names[0]} et al"
            where = (
                fields.get("journal")
                or fields.get("booktitle")
                or fields.get("publisher")
                or fields.get("howpublished")
                or ""
            )
            where = where.replace("Advances in Neural Information Processing Systems", "NeurIPS")
            text = f"{untex(fields['title'])}\n{who}. {untex(where)}, {fields['year']}."
            url = ADDRESS.sub("", fields.get("url", ""))
            for key in {fields.get("doi"), fields.get("eprint"), url} - {None, ""}:
                found[key] = text
    return found


# Marks on pages


def number_equations(app, doctree):
    """Give an equation with ``\\tag{2}`` the id ``equation-2``."""
    for block in doctree.findall(nodes.math_block):
        for number in TAG.findall(block.astext()):
            if f"equation-{number}" not in doctree.ids:
                block["ids"].append(f"equation-{number}")


def name_symbols(app, doctree):
    """Give each row of the notation page an id, and the part of the book whose section it stands in."""
    if app.env.docname == NOTATION:
        rows = [row for body in doctree.findall(nodes.tbody) for row in body.findall(nodes.row)]
        for number, row in enumerate(rows):
            section = row
            while not isinstance(section, nodes.section):
                section = section.parent
            name = section["names"][0].replace(" ", "_")
            row["part"] = "" if name == "in_every_chapter" else name
            row["ids"].append(f"symbol-{number}")


def open_text(doctree):
    """Running text and inline maths outside headings, links and code; True with what is folded away or in a table."""
    folded = 0
    for node in list(doctree.findall()):
        if isinstance(node, nodes.raw):
            folded += node.astext().count("<details") - node.astext().count("</details")
        elif isinstance(node, nodes.Text | nodes.math) and not isinstance(node.parent, nodes.raw | nodes.math):
            above, closed, tabled = node.parent, False, False
            while above is not None and not closed:
                closed = isinstance(above, CLOSED) or "cell" in above.get("classes", ())
                tabled = tabled or isinstance(above, nodes.table)
                above = above.parent
            if not closed:
                yield node, folded > 0 or tabled


def pattern(names):
    """One expression for the names of a term: whole words, a plural allowed, a capital at a sentence's start."""
    forms = []
    for name in sorted(names, key=len, reverse=True):
        first = re.escape(name[0]) if not name.islower() else f"[{name[0].lower()}{name[0].upper()}]"
        forms.append(first + re.escape(name[1:]).replace(r"\ ", r"\s+") + "(?:s|es)?")
    return rf"(?<![\w-])(?:{'|'.join(forms)})(?![\w-])"


def finder(terms):
    """One expression for every term that is still to come, and for references such as ``(2)``."""
    return re.compile("|".join([r"\((?P<equation>\d+)\)", *(f"(?P<{key}>{form})" for key, (_, form) in terms.items())]))


def marked(text, terms, address, equations):
    """``text`` cut into pieces, with links; a term that was linked is taken out of ``terms``."""
    pieces, at = [], 0
    while match := finder(terms).search(text, at):
        key, made = match.lastgroup, None
        if key != "equation":
            made = nodes.reference(
                "", match[0], internal=True, refuri=address(GLOSSARY, terms.pop(key)[0]), classes=["wk-term"]
            )
        elif f"equation-{match['equation']}" in equations:
            made = nodes.reference(
                "", match[0], internal=True, refid=f"equation-{match['equation']}", classes=["wk-eq"]
            )
        pieces += [nodes.Text(text[at : match.start()]), made or nodes.Text(match[0])]
        at = match.end()
    return [*pieces, nodes.Text(text[at:])]


def explain(app, doctree, docname):
    """Make the links of one page."""
    if app.builder.format != "html":
        return
    for made in doctree.findall(nodes.reference):
        if docname != BIBLIOGRAPHY and ADDRESS.sub("", made.get("refuri", "")) in app.env.wk_citations:
            made["classes"].append("wk-cite")
    if not docname.startswith("notebooks/"):
        return
    part = docname.split("/")[1]
    equations = {name for block in doctree.findall(nodes.math_block) for name in block["ids"]}
    terms = {}
    for name, (names, _) in app.env.wk_glossary.items():
        if ONLY.get(names[0], part) != part:
            continue
        also = [word for name in names for word in ALSO.get(part, {}).get(name, [])]
        terms[f"g{len(terms)}"] = (name, pattern(names + also))
    notation = app.env.wk_notation.items()
    symbols = {}
    for where in (part, ""):  # the part's own lines first, and the first of two lines with one letter
        for name, (section, found, _) in notation:
            for tex in found if section == where else ():
                symbols.setdefault(tex, name)
    for tex in OTHERWISE.get(docname.split("/")[-1], ()):
        del symbols[tex]

    def address(page, name):
        return relative_uri(app.builder.get_target_uri(docname), app.builder.get_target_uri(page)) + "#" + name

    for node, aside in open_text(doctree):
        if isinstance(node, nodes.Text):
            node.parent.replace(node, marked(node.astext(), {} if aside else terms, address, equations))
        elif not aside and node.astext() in symbols:
            uri = address(NOTATION, symbols.pop(node.astext()))
            made = nodes.reference("", "", node.deepcopy(), internal=True, refuri=uri, classes=["wk-sym"])
            node.parent.replace(node, made)


def number_figures(app, env):
    """Count figures from 1 in every chapter, as equations are: Sphinx counts them through the book."""
    for kinds in env.toc_fignumbers.values():
        for numbers in kinds.values():
            for place, name in enumerate(sorted(numbers, key=numbers.get), start=1):
                numbers[name] = (place,)


def collect(app, env):
    env.wk_glossary, env.wk_notation, env.wk_citations = glossary_entries(env), notation_entries(env), citations(app)


def write_data(app, error):
    """The text of every preview, in one script: pages opened from disk may not fetch anything else."""
    if error or app.builder.name != "html":
        return
    env = app.env
    said = {id_: f"{', '.join(names)}\n{text}" for id_, (names, text) in env.wk_glossary.items()}
    for id_, (_, tex, text) in env.wk_notation.items():
        said[id_] = f"\n{', '.join(map(plain_maths, tex))}: {text}"
    said |= env.wk_citations
    data = json.dumps(said, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    (Path(app.outdir) / "_static" / "previews-data.js").write_text(
        f"window.workingsPreviews={data};\n", encoding="utf-8"
    )


def setup(app):
    app.connect("doctree-read", number_equations)
    app.connect("doctree-read", name_symbols)
    app.connect("env-updated", collect)
    app.connect("env-check-consistency", number_figures)
    app.connect("doctree-resolved", explain)
    app.connect("build-finished", write_data)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
