"""Paper: a printed chapter, and the whole book as one PDF."""

import os
import re
import subprocess
import sys

import pytest

import book.browser as browser
from workings.runs import checkout

ROOT = checkout.root()
HTML = browser.HTML
CHAPTERS = [page for page in browser.pages() if "notebooks" in page.parts]
sys.path.append(str(ROOT / "tools"))
import make_pdf  # noqa: E402


@pytest.fixture(scope="module")
def whole():
    assert CHAPTERS, "run `make book` first (make test does)"
    return make_pdf.document()


def test_the_whole_book_holds_every_page_in_the_order_of_its_contents(whole):
    pages = [page for _, pages in make_pdf.contents() for page in pages]
    assert sorted(pages) == sorted(p.relative_to(HTML).with_suffix("").as_posix() for p in browser.pages())
    at = [whole.index(f'id="p{number}"') for number in range(len(pages))]
    assert at == sorted(at)
    assert whole.count("<h1") == len(pages) + 1  # and the cover's


def test_links_inside_the_whole_book_stay_inside_and_arrive(whole):
    ids = re.findall(r'\bid="([^"]+)"', whole)
    assert len(ids) == len(set(ids))
    links = re.findall(r'href="([^"]+)"', whole)
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert [link for link in links if not re.match(r"#|https?://|mailto:", link)] == []


def test_the_whole_book_asks_for_no_script_and_only_for_files_that_exist(whole):
    assert "<script" not in whole and 'loading="lazy"' not in whole
    for name in {
        *re.findall(r'<img[^>]*?src="(?!data:)([^"]+)"', whole),
        *re.findall(r'url\("(?!data:)([^"#]+)"\)', whole),
    }:
        assert (HTML / name).is_file(), name
    assert whole.count("<mjx-container") > 500
    assert re.findall(r"<details(?![^>]* open)[^>]*>", whole) == []


def test_the_whole_book_follows_the_rules_of_paper(whole):
    paper = whole[whole.index("@media print") :].partition("</style>")[0]
    for rule in (".wk-bar", ".wk-paper", "break-inside: avoid"):
        assert rule in paper, rule
    assert whole.count("@media print") == 1, "the one sheet that all pages share, once"


def test_style_sheets_are_merged_in_their_common_order():
    sheets = ["a{x:1}c{x:1}", "a{x:1}b{x:1}c{x:1}", "b{x:1}d{x:1}"]
    assert re.findall(r"\w(?=\{)", make_pdf.merged(sheets)) in (list("abcd"), list("abdc"))


def test_without_a_browser_the_message_says_what_to_install():
    for environment in ({"PATH": "/nonexistent"}, {"WORKINGS_BROWSER": "/no/such/chrome"}):
        run = [sys.executable, str(ROOT / "tools" / "make_pdf.py")]
        done = subprocess.run(run, capture_output=True, text=True, env=os.environ | environment)
        assert done.returncode == 1 and "apt-get install chromium" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.browser
def test_a_chapter_prints_with_its_formulas(tmp_path):
    pdf = tmp_path / "chapter.pdf"
    page = next(path for path in CHAPTERS if path.stem == "conformal_set_size")
    assert 10 <= make_pdf.print_page(page, pdf, browser.executable()) <= 40
    raw = pdf.read_bytes()
    assert len(set(re.findall(rb"/FontName\s*/\w+\+MathJax_\w+", raw))) >= 3, (
        "MathJax's fonts are in the PDF: formulas are typeset"
    )
    assert b"/Outlines" in raw and b"/StructTreeRoot" in raw


@pytest.mark.browser
@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_paper_shows_answers_and_no_controls(chromium, path, script):
    page = chromium.new_page(viewport={"width": 700, "height": 1000}, java_script_enabled=script)
    page.goto(path.as_uri(), wait_until="load")
    page.emulate_media(media="print")
    folds = page.locator("article details:not(.hide, .wk-quiet)")
    assert folds.count() >= 4
    for i in range(folds.count()):
        assert (
            folds.nth(i).locator("p:visible").count() >= 1
        )  # the first may name the fold of a plot's code, which paper leaves out
        assert folds.nth(i).bounding_box()["height"] > 30
    for gone in (
        ".wk-bar",
        ".wk-run",
        "details.above-input",
        "details.wk-quiet",
        ".bd-sidebar-primary",
        ".bd-header-article",
        ".copybtn",
    ):
        assert page.locator(f"{gone}:visible").count() == 0, gone
    for control in page.locator(".wk-control").all():
        assert control.locator("img:visible").count() == 1 and control.locator(".wk-paper").is_visible()
    if script:
        wide = "[...document.querySelectorAll('article pre')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
        assert page.evaluate(wide) == 0
    page.close()


@pytest.mark.browser
def test_paper_is_light_and_unfolded_and_the_screen_is_as_before_afterwards(chromium):
    page = chromium.new_page(color_scheme="dark")
    page.goto(CHAPTERS[0].as_uri(), wait_until="load")
    count = "document.querySelectorAll('article details[open]:not(.hide)').length"
    for event, theme, opened in (("beforeprint", "light", True), ("afterprint", "dark", False)):
        page.evaluate(f"window.dispatchEvent(new Event('{event}'))")
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        assert (page.evaluate(count) > 0) == opened
    page.close()


@pytest.mark.browser
def test_the_letters_of_far_formulas_are_there_before_anybody_prints(chromium):
    """Sections far from the window are not drawn, and a printer does not wait for what they ask for."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(browser.PATIENCE)
    page = context.new_page()
    page.goto(next(path for path in CHAPTERS if path.stem == "conformal_set_size").as_uri(), wait_until="load")
    page.wait_for_function("[...document.fonts].every((font) => font.status !== 'loading')")
    kinds = page.evaluate("[...document.querySelectorAll('[class*=TEX-]')].flatMap((node) => [...node.classList])")
    kinds = {kind for kind in kinds if kind.startswith("TEX-")}
    there = set(page.evaluate("[...document.fonts].filter((font) => font.status === 'loaded').map((f) => f.family)"))
    context.close()
    assert len(kinds) >= 3 and {f"MJX{kind}" for kind in kinds} <= there
