"""Give every page a description for search engines, and a card for whoever shares its address.

The description is the page's own, or its first paragraph. The card has title, description, address and picture;
addresses begin with ``html_baseurl``, which ``tools/contribute.py stamp`` writes.
"""

import html
import re

from docutils import nodes

LONGEST = 200
CARD = "_static/card.png"  # drawn by tools/social_card.py
CARD_ALT = (
    "Workings: machine-learning papers, taken apart, derived again and run again. "
    "Beside it 200 patients as dots, and the band that was to hold 90% of them and held 89.5%."
)
OWN = re.compile(r'<meta (?=[^>]*name="description")[^>]*content="([^"]*)"')


def first_paragraph(doctree):
    """The text of the first paragraph that is a sentence, shortened at a word's end."""
    for node in doctree.findall(nodes.paragraph):
        text = " ".join(node.astext().split())
        if len(text) >= 60:
            return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " ..."
    return ""


def card(base, address, title, description, site):
    """The tags of one page's card."""
    said = {
        "og:type": "website",
        "og:site_name": site,
        "og:title": title,
        "og:description": description,
        "og:url": base + address,
        "og:image": base + CARD,
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": CARD_ALT,
    }
    tags = [f'<meta property="{name}" content="{html.escape(text)}" />' for name, text in said.items()]
    return "\n".join([*tags, '<meta name="twitter:card" content="summary_large_image" />'])


def citation(config, address, title):
    """The tags by which reference managers and search engines for papers read a chapter."""
    said = {
        "citation_title": title,
        "citation_author": config.author,
        "citation_inbook_title": config.project or config.html_title,
        "citation_publication_date": re.search(r"\d{4}", config.copyright)[0],
        "citation_language": config.language,
        "citation_public_url": address,
    }
    return "\n".join(f'<meta name="{name}" content="{html.escape(text)}" />' for name, text in said.items())


def add_description(app, pagename, templatename, context, doctree):
    if doctree is None:
        return
    tags = context.get("metatags") or ""
    title = html.unescape(re.sub(r"<[^>]*>", "", context.get("title") or app.config.html_title))
    own = OWN.search(tags)
    if own:
        text = html.unescape(own[1])
    else:
        text = first_paragraph(doctree) or f"{title}, a page of {app.config.html_title}."
        tags += f'\n<meta name="description" content="{html.escape(text)}" />'
    base = app.config.html_baseurl
    if base:
        tags += "\n" + card(base, app.builder.get_target_uri(pagename), title, text, app.config.html_title)
    if pagename.startswith("notebooks/"):
        tags += "\n" + citation(app.config, base + app.builder.get_target_uri(pagename), title)
    context["metatags"] = tags


def setup(app):
    app.connect("html-page-context", add_description)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
