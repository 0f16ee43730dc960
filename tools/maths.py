"""Typeset the book's formulas when it is built, so that a page needs no script to show them.

MathJax runs in a V8 engine inside Python; both come from the package index. Every formula becomes CHTML beside
hidden MathML, which screen readers use.
"""

import html
import re
from importlib import metadata
from pathlib import Path

PACKAGE = "sphinx-mathjax-offline"
COMPONENTS = ("startup", "core", "adaptors/liteDOM", "input/tex-full", "output/chtml", "output/chtml/fonts/tex")
COMPONENTS += ("a11y/assistive-mml",)
FONTS = "output/chtml/fonts/woff-v2"
FORMULA = re.compile(
    r'(<(?P<tag>span|div)[^>]*\bclass="(?:[^"]* )?math notranslate[^"]*"[^>]*>)(?P<tex>.*?)(</(?P=tag)>)', re.S
)
DELIMITED = re.compile(r"\\\((.*)\\\)|\\\[(.*)\\\]", re.S)
# Assistive MathML off screen, and the size at which MathJax's letters match the text's.
EXTRA = """
mjx-container[jax="CHTML"] { font-size: 1.12em; }
mjx-assistive-mml { position: absolute !important; top: 0; left: 0; clip: rect(1px, 1px, 1px, 1px); padding: 1px 0 0 0 !important;
 border: 0 !important; display: block !important; width: auto !important; overflow: hidden !important; user-select: none; }
mjx-assistive-mml[display="block"] { width: 100% !important; }
"""


def mathjax_folder():
    """Where the installed package keeps MathJax."""
    for file in metadata.distribution(PACKAGE).files or ():
        if file.as_posix().endswith("static/mathjax/core.js"):
            return Path(str(file.locate())).parent
    raise SystemExit(f"\nThe package {PACKAGE} carries no MathJax; delete .venv-book and run `make book` again.\n")


class Typesetter:
    """MathJax with no browser: :meth:`page` typesets what a page holds, :meth:`css` is the style of all so far.

    To be used in a ``with``: an engine that is left open keeps Python from ending.
    """

    def __init__(self, folder=None):
        from py_mini_racer import MiniRacer

        self.folder = folder or mathjax_folder()
        self.engine = MiniRacer()
        self.done = {}
        self.engine.eval(
            "var global = globalThis, console = {log() {}, warn() {}, error() {}};"
            "globalThis.MathJax = {loader: {load: []}, startup: {typeset: false, ready() {}},"
            f"chtml: {{fontURL: 'static:{FONTS}', adaptiveCSS: true}}, tex: {{tags: 'none', packages: {{'[-]': ['noundefined', 'noerrors']}}}}}}; 0"
        )
        for name in COMPONENTS:
            self.engine.eval((self.folder / f"{name}.js").read_text(encoding="utf-8") + "; 0")
        self.engine.eval(
            "MathJax.startup.defaultReady();"
            "function typeset(tex, display) { return MathJax.startup.adaptor.outerHTML(MathJax.tex2chtml(tex, {display})); } 0"
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.engine.close()

    def formula(self, tex, display=False):
        """CHTML of one formula; raises ``ValueError`` with MathJax's words where it is not TeX."""
        key = (tex, display)
        if key not in self.done:
            found = self.engine.call("typeset", tex, display)
            wrong = re.search(r'data-mjx-error="([^"]*)"|<merror[^>]*title="([^"]*)"', found)
            if wrong:
                raise ValueError(f"{html.unescape(wrong[1] or wrong[2])} in the formula {tex.strip()!r}")
            self.done[key] = found
        return self.done[key]

    def page(self, text):
        """``text``, the HTML of a page, with its formulas typeset."""

        def typeset(match):
            inside = DELIMITED.fullmatch(html.unescape(match["tex"]).strip())
            if inside is None:
                return match[0]
            display = inside[2] is not None
            return match[1] + self.formula(inside[2] if display else inside[1], display) + match[4]

        return FORMULA.sub(typeset, text)

    def css(self):
        """The style sheet of every character typeset so far; fonts have the address ``static:...``."""
        return self.engine.eval("MathJax.startup.adaptor.textContent(MathJax.chtmlStylesheet())") + EXTRA
