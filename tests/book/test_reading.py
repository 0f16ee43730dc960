"""Links that explain: glossary, symbols, equations, citations, and their previews."""

import gzip
import json
import re

import pytest

import book.browser as browser
from workings.runs import checkout

ROOT = checkout.root()
HTML = browser.HTML
CHAPTERS = [page for page in browser.pages() if "notebooks" in page.parts]
DATA = HTML / "_static" / "previews-data.js"
LINK = re.compile(r'<a (?=[^>]*class="(wk-(?:term|sym|cite|eq)))[^>]*?href="([^"]+)"')


def said():
    return json.loads(DATA.read_text().removeprefix("window.workingsPreviews=").rstrip().rstrip(";"))


def article(page):
    text = page.read_text()
    return text[text.index('<article class="bd-article"') : text.index("</article>")]


def bib_entries():
    text = (ROOT / "book" / "references.bib").read_text()
    return {key: body for key, body in re.findall(r"(?ms)^@\w+\{([^,]+),(.*?)^\}", text)}


def test_a_symbol_leads_to_its_own_meaning_where_a_part_has_two():
    known, links = said(), {page.stem: LINK.findall(article(page)) for page in CHAPTERS}
    lines = {
        chapter: [known[url.partition("#")[2]] for kind, url in found if kind == "wk-sym"]
        for chapter, found in links.items()
    }
    says = lambda chapter, words: any(words in line for line in lines[chapter])
    assert says("scan", "weight of the KL from pictures to symbol") and says("scan", "k-hot code")
    assert says("giraffe", "base of its frequencies") and says("giraffe", "trained length")
    assert not says("l3m", "base of its frequencies") and not says("l3m", "trained length")
    assert not says("darla", "weight with which the KL") and not says("beta_vae_capacity", "renderer of a task")
    assert not says("early_visual_concepts", "water level") and not says("vtune", "judged")
    assert not says("few_shot_baseline", "momentum") and not says("livebench", "base of its frequencies")
    assert not re.search(r"mathcal|dots", " ".join(known.values()))


def test_there_are_chapters_to_look_at():
    assert CHAPTERS, "run `make book` first (make test does)"


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_links_each_term_once_and_every_link_has_something_to_say(page):
    known, links = said(), LINK.findall(article(page))
    for kind, least in {"wk-term": 8, "wk-sym": 1, "wk-cite": 3, "wk-eq": 1}.items():
        assert sum(kind == found for found, _ in links) >= least, kind
    terms = [url for kind, url in links if kind == "wk-term"]
    assert len(terms) == len(set(terms))
    for kind, url in links:
        if kind in ("wk-term", "wk-sym"):
            assert url.partition("#")[2] in known
        elif kind == "wk-cite":
            title, rest = known[re.sub(r"^https?://(doi\.org|arxiv\.org/abs)/", "", url)].split("\n")
            assert title and re.search(r"\. .+, (19|20)\d\d\.$", rest)


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda p: p.stem)
def test_no_term_is_linked_in_a_heading_a_table_code_or_a_fold(page):
    for tag in ("h1", "h2", "h3", "table", "pre", "code", "details", "figcaption"):
        for inside in re.findall(rf"(?s)<{tag}\b.*?</{tag}>", article(page)):
            assert not re.search(r'<a class="wk-(term|sym)', inside), (tag, inside[:200])


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda p: p.stem)
def test_every_reference_to_an_equation_of_the_page_is_a_link(page):
    text = re.sub(r"(?s)<(script|style|pre|code|h[1-4]|figcaption)\b.*?</\1>|<!--.*?-->", "", article(page))
    text = re.sub(r'(?s)<mjx-container.*?</mjx-container>|<div class="math.*?</div>', "", text)
    tags = set(re.findall(r'id="equation-(\d+)"', text + article(page)))
    assert tags, "a chapter numbers its equations"
    loose = re.findall(r"\((\d+)\)", re.sub(r"(?s)<a\b.*?</a>", "", text))
    assert tags.isdisjoint(loose)
    source = (ROOT / page.relative_to(HTML)).with_suffix(".py").read_text()
    assert tags == set(re.findall(r"\\tag\{(\d+)\}", source))


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_leads_to_its_neighbours(page):
    neighbours = re.findall(r'class="(left-prev|right-next)"[^>]*?href="([^"]+)"', page.read_text())
    assert {side for side, _ in neighbours} == {"left-prev", "right-next"}
    assert all((page.parent / url).resolve().exists() for _, url in neighbours)


def test_glossary_entries_are_short_and_lead_to_the_page_that_teaches_them():
    text = article(HTML / "book" / "glossary.html")
    entries = re.findall(r"(?s)<dd>(.*?)</dd>", text)
    assert len(entries) >= 40
    for entry in entries:
        paragraphs = re.findall(r"(?s)<p>(.*?)</p>", entry)
        assert len(paragraphs) == 2 and len(re.sub("<.*?>", "", paragraphs[0])) <= 170
        assert (HTML / "book" / re.search(r'href="([^"]+)"', paragraphs[1])[1]).resolve().exists()
    assert [text for text in said().values() if len(text) > 330 or re.search(r"[\\\\{}$]", text)] == []


def test_every_entry_of_the_bibliography_links_to_its_doi_or_arxiv_number():
    text = article(HTML / "book" / "bibliography.html")
    entries = bib_entries()
    assert len(re.findall(r'class="citation"', text)) == len(entries) >= 25
    for key, body in entries.items():
        fields = dict(re.findall(r"(doi|eprint|url)\s*=\s*\{([^}]*)\}", body))
        urls = [
            f"https://doi.org/{fields.get('doi')}",
            f"https://arxiv.org/abs/{fields.get('eprint')}",
            fields.get("url"),
        ]
        assert any(f'href="{url}"' in text for url in urls if url), key


def test_chapters_cite_what_the_bibliography_holds():
    known = said()
    for page in CHAPTERS:
        for number in re.findall(r'href="https?://(?:doi\.org|arxiv\.org/abs)/([^"]+)"', article(page)):
            assert number in known, f"{page.stem} cites {number}, which book/references.bib does not have"


def test_previews_weigh_little():
    script = (ROOT / "book" / "assets" / "previews.js").read_bytes()
    assert len(script) < 6_500 and script.count(b"\n") < 170
    weight = len(gzip.compress(DATA.read_bytes()))  # loaded at the first preview, not with the page
    assert weight < 900 * len(CHAPTERS), "previews are short: a sentence or two for a term, one line for a source"


# In a browser


@pytest.fixture
def chapter(chromium):
    contexts = []

    def opened(stem="conformal_set_size", **options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        context.set_default_timeout(browser.PATIENCE)
        page = context.new_page()
        page.goto(next(path for path in CHAPTERS if path.stem == stem).as_uri(), wait_until="load")
        page.wait_for_selector("mjx-container", state="attached")
        if options.get("java_script_enabled", True):  # sections get their heights as they come near; here, all at once
            page.add_style_tag(content=browser.SEEN)
        page.wait_for_timeout(700)
        return page

    yield opened
    for context in contexts:
        context.close()


EXPECTED = {
    "a.wk-term": "Conformal prediction|conformal prediction",
    "a.wk-cite": "Deligiannidis",
    "a.wk-sym": "answer",
    "a.wk-eq": r"\(1\)",
    'a.reference[href^="#fig-"]': r"Fig\. \d+",
}


@pytest.mark.browser
@pytest.mark.parametrize("how", ["mouse", "keyboard"])
@pytest.mark.parametrize("kind", EXPECTED)
def test_a_preview_shows_by_mouse_and_by_keyboard_and_escape_closes_it(chapter, kind, how):
    page = chapter()
    link, tip = page.locator("article " + kind).first, page.locator(".wk-tip")
    link.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    assert tip.count() == 0, "made only when wanted"
    before = page.evaluate("document.querySelector('article').getBoundingClientRect().height")
    if how == "mouse":
        link.hover()
    else:
        page.keyboard.press("Tab")  # from now on focus is the keyboard's
        link.focus()
    tip.wait_for(state="visible")
    page.wait_for_timeout(300)
    assert re.search(EXPECTED[kind], tip.inner_text())
    assert tip.get_attribute("role") == "tooltip" and link.get_attribute("aria-describedby") == tip.get_attribute("id")
    assert page.evaluate("document.querySelectorAll('.wk-tip [id], .wk-tip mjx-merror').length") == 0
    assert page.evaluate("document.querySelector('article').getBoundingClientRect().height") == before
    box = tip.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1280 and box["height"] > 20
    page.keyboard.press("Escape")
    assert tip.count() == 0 and link.get_attribute("aria-describedby") is None


@pytest.mark.browser
def test_the_pointer_may_rest_on_a_preview_and_leaving_both_closes_it(chapter):
    page = chapter()
    page.locator("article a.wk-term").first.hover()
    tip = page.locator(".wk-tip")
    tip.wait_for(state="visible")
    tip.hover()
    page.wait_for_timeout(600)
    assert tip.is_visible()
    page.locator("article h1").hover()
    tip.wait_for(state="detached")


@pytest.mark.browser
@pytest.mark.parametrize("kind", EXPECTED)
def test_a_touch_opens_a_note_and_the_note_leads_on(chapter, kind):
    page = chapter(viewport={"width": 390, "height": 844}, has_touch=True)
    link, tip = page.locator("article " + kind).first, page.locator(".wk-tip")
    link.scroll_into_view_if_needed()
    goal = link.evaluate("e => e.href")
    link.tap()
    tip.wait_for(state="visible")
    box = tip.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["y"] + box["height"] <= 844
    assert re.search(EXPECTED[kind], tip.inner_text()) and page.url.endswith("conformal_set_size.html")
    on = tip.locator("a").last
    assert on.evaluate("e => e.href") == goal and on.bounding_box()["height"] >= 24
    page.touchscreen.tap(200, 100)
    tip.wait_for(state="detached")


@pytest.mark.browser
def test_a_second_touch_follows_the_link(chapter):
    page = chapter(viewport={"width": 390, "height": 844}, has_touch=True)
    link = page.locator("article a.wk-term").first
    link.tap()
    page.locator(".wk-tip").wait_for(state="visible")
    link.tap()
    page.wait_for_url("**/glossary.html#term-*")


@pytest.mark.browser
@pytest.mark.parametrize("height", [900, 500])
def test_the_preview_of_a_figure_is_whole_undistorted_and_within_the_window(chapter, height):
    page = chapter()
    page.set_viewport_size({"width": 1280, "height": height})
    links = page.locator('article a.reference[href^="#fig-"]')
    for i in range(links.count()):
        links.nth(i).scroll_into_view_if_needed()
        links.nth(i).hover()
        picture = page.locator(".wk-tip img")
        picture.wait_for(state="visible")
        page.wait_for_function("document.querySelector('.wk-tip img').complete")
        natural = picture.evaluate("e => e.naturalWidth / e.naturalHeight")
        size, box = picture.bounding_box(), page.locator(".wk-tip").bounding_box()
        assert abs(size["width"] / size["height"] / natural - 1) < 0.02
        assert box["y"] >= 0 and box["y"] + box["height"] <= height
        page.keyboard.press("Escape")


@pytest.mark.browser
def test_maths_is_no_stop_of_the_tab_key(chapter):
    page = chapter()
    assert page.locator("mjx-container[tabindex]").count() == 0
    assert page.locator("mjx-container math").count() > 10, "screen readers need the MathML"


@pytest.mark.browser
def test_a_preview_appears_without_motion_where_motion_is_unwanted(chapter):
    page = chapter(reduced_motion="reduce")
    page.locator("article a.wk-term").first.hover()
    page.locator(".wk-tip").wait_for(state="visible")
    assert page.evaluate("getComputedStyle(document.querySelector('.wk-tip')).animationName") == "none"


@pytest.mark.browser
@pytest.mark.parametrize(
    "path",
    # the top page forwards to the front page before it can be looked at
    sorted(p for p in HTML.rglob("*.html") if "_static" not in p.parts and p != HTML / "index.html"),
    ids=lambda p: p.stem,
)
def test_no_request_leaves_the_folder_and_none_fails(chromium, path):
    """Every page of the folder: styles, scripts, pictures, fonts, the text of previews, the index of the search."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    asked, failed = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.goto(path.as_uri() + ("?q=quantile" if path.name == "search.html" else ""), wait_until="load")
    link = page.locator("article a.wk-term")
    if link.count():
        link.first.hover()
        page.locator(".wk-tip").wait_for(state="visible")
    page.evaluate("document.querySelectorAll('img').forEach(picture => (picture.loading = 'eager'))")
    page.evaluate("document.fonts.ready.then(() => true)")
    page.wait_for_timeout(300)
    folder = HTML.as_uri() + "/"
    assert asked and [url for url in asked if not url.startswith((folder, "data:", "blob:"))] == []
    if path.name == "search.html":
        assert page.locator("#search-results li").count() >= 3
    assert failed == []
    page.close()
