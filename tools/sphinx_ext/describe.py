"""Give every page a description for search engines and link previews: its own, or its first paragraph."""

from docutils import nodes

LONGEST = 200


def first_paragraph(doctree):
    """The text of the first paragraph that is a sentence, shortened at a word's end."""
    for node in doctree.findall(nodes.paragraph):
        text = " ".join(node.astext().split())
        if len(text) >= 60:
            return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " ..."
    return ""


def add_description(app, pagename, templatename, context, doctree):
    if doctree is None or 'name="description"' in (context.get("metatags") or ""):
        return
    text = first_paragraph(doctree) or f"{context.get('title', 'A page')} of {app.config.project}."
    content = app.builder.templates.environment.filters["e"](text)
    context["metatags"] = (context.get("metatags") or "") + f'\n<meta name="description" content="{content}" />'


def setup(app):
    app.connect("html-page-context", add_description)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
