"""How pages look and read: names, numbers, folds, code, figures, the way in and the way back."""

import ast
import io
import re
import tomllib
from html import unescape

import pytest
import yaml
from PIL import Image

import book.browser as browser
from book.browser import CHAPTERS, DESKTOP, PAGES, PHONE
from workings import PARTS
from workings.runs import checkout

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]
ROOT, HTML = checkout.root(), browser.HTML
ORDER = [path.rsplit("/", 1)[1] for path in re.findall(r"file: (notebooks/\S+)", (ROOT / "_toc.yml").read_text())]
FRONT = yaml.safe_load((ROOT / "book" / "front.yml").read_text())


def article(page):
    text = page.read_text()
    return text[text.index('<article class="bd-article"') : text.rindex("</article>")]


def plain(text):
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]*>", "", text))).strip().removesuffix("#")


def of(stem):
    return next(page for page in CHAPTERS if page.stem == stem)


# Names and numbers


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_has_one_name_on_its_page_in_the_sidebar_and_on_the_front_page(path):
    title = FRONT[path.stem]["title"]
    assert plain(re.search(r"(?s)<h1>(.*?)</h1>", article(path))[1]) == title
    front = (HTML / "book" / "index.html").read_text()
    links = re.findall(rf'(?s)<a [^>]*href="[^"]*/{path.stem}\.html"[^>]*>(.*?)</a>', front)
    names = {plain(words) for words in links} - {""}  # the picture of the first screen is a link without words
    assert names == {title} and len(links) >= 3
    method, _, question = title.partition(": ")
    assert method and question.endswith("?") and len(title) <= 60, "the method, then the reader's question"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_figures_are_counted_from_one_in_every_chapter_as_equations_are(path):
    numbers = [int(n) for n in re.findall(r'<span class="caption-number">Fig\. (\d+) </span>', article(path))]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 5


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_says_where_it_stands_and_what_to_read_before_it(path):
    where = plain(re.search(r'(?s)<p class="wk-where">(.*?)</p>', article(path))[1])
    assert where.startswith(f"Chapter {ORDER.index(path.stem) + 1}, ")
    for before in FRONT[path.stem].get("after", []):
        assert FRONT[before]["title"] in where
    assert ("It needs no other chapter" in where) != ("after" in FRONT[path.stem])


# Folds


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_every_fold_of_code_says_what_it_hides(path):
    names = [plain(name) for name in re.findall(r'(?s)<p class="collapsed admonition-title">(.*?)</p>', article(path))]
    assert names and not {"Show code cell source", "Show the code"} & set(names) and len(set(names)) >= 3
    assert "Set-up: installing, settings, imports" in article(path)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_solution_opens_with_the_cell_that_checks_it(open_page, path):
    page = open_page(path)
    page.add_style_tag(content=browser.SEEN)
    assert page.locator("#exercises > .cell").count() == 0, "no code or output of an exercise stands outside its fold"
    checked = page.locator("#exercises > details:has(.cell_output)")
    assert checked.count() >= 2
    output = checked.first.locator(".cell_output").first
    assert not output.is_visible()
    checked.first.locator("summary").first.click()
    assert output.is_visible() and checked.first.locator(".cell_input").first.is_visible()


# Code and tables


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_seventy_six_columns_of_code_fit_and_columns_never_wrap(look, path):
    state = """() => [...document.querySelectorAll('article pre')].filter(e => e.offsetParent).map(e => ({
        longest: Math.max(...e.textContent.split('\\n').map(line => line.length)), text: e.textContent.slice(0, 50),
        over: e.scrollWidth - e.clientWidth, space: getComputedStyle(e).whiteSpace, box: getComputedStyle(e).overflowX}))"""
    for viewport in (DESKTOP, PHONE):
        page = look(path, viewport)
        page.styled(browser.SEEN)
        blocks = page.evaluate(state)
        assert len(blocks) > 10
        assert [
            b for b in blocks if b["space"] != "pre" or (b["over"] > 0 and b["box"] not in ("auto", "scroll"))
        ] == []
        if viewport == DESKTOP:
            assert [b for b in blocks if b["longest"] <= 76 and b["over"] > 0] == []


def test_on_a_phone_a_benchmark_is_read_without_swiping_and_word_by_word(open_page):
    page = open_page(HTML / "book" / "generated" / "benchmarks.html", PHONE)
    rows = page.evaluate(
        "[...document.querySelectorAll('article tbody tr')].map(e => e.getBoundingClientRect().height)"
    )
    assert len(rows) > 10 and sum(rows) / len(rows) < 120, "with one letter a line a row took over 300 pixels"
    narrow = page.evaluate(
        "[...document.querySelectorAll('article td')].filter(e => e.textContent.trim().length > 12 && e.getBoundingClientRect().width < 60).length"
    )
    assert narrow == 0


# Figures


def paper(page, box):
    """The colour of a picture's corner, as the screen shows it."""
    clip = {"x": box["x"] + 12, "y": box["y"] + box["height"] - 6, "width": 3, "height": 3}
    return Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("L").getpixel((1, 1))


def test_a_drawing_has_a_dark_ground_in_the_dark_and_a_light_one_in_the_light(open_page):
    for scheme, low, high in (("light", 240, 255), ("dark", 0, 60)):
        page = open_page(of("conformal_set_size"), scheme=scheme)
        page.add_style_tag(content=browser.SEEN)
        picture = page.locator("#fig-css-band img")
        picture.scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector('#fig-css-band img').complete")
        assert low <= paper(page, picture.bounding_box()) <= high, scheme


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_tap_opens_a_figure_large_and_escape_closes_it(open_page, viewport):
    page = open_page(of("sap"), viewport, has_touch=viewport == PHONE)
    page.add_style_tag(content=browser.SEEN)
    picture = page.locator("#fig-sap-turn img")
    page.evaluate("document.querySelector('#fig-sap-turn').closest('details')?.setAttribute('open', '')")
    picture.scroll_into_view_if_needed()
    before = picture.bounding_box()
    picture.tap() if viewport == PHONE else picture.click()
    large = page.locator("dialog.wk-large img")
    large.wait_for(state="visible")
    box = large.bounding_box()
    assert box["width"] > 1.15 * before["width"]
    assert abs(box["width"] / box["height"] - before["width"] / before["height"]) < 0.02, "not distorted"
    page.keyboard.press("Escape")
    assert large.count() == 0 or not large.is_visible()
    assert page.locator("#fig-sap-turn button").get_attribute("aria-label") == "Show this figure large"


# The way in, and back


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_first_screen_of_the_front_page_shows_a_picture(open_page, viewport):
    box = open_page(HTML / "book" / "index.html", viewport).locator(".wk-hero img").bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= viewport["height"] and box["height"] > 100


def test_how_to_read_leads_to_the_first_chapter():
    following = re.search(r'class="right-next"[^>]*?href="([^"]+)"', (HTML / "book" / "how-to.html").read_text())[1]
    assert following.endswith(f"/{ORDER[0]}.html")


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_every_page_offers_to_report_to_edit_and_to_see_its_changes(path):
    offers = re.search(r'(?s)<ul class="wk-offers".*?</ul>', article(path))[0]
    links = dict(zip(re.findall(r">([^<]+)</a>", offers), re.findall(r'href="([^"]+)"', offers), strict=True))
    assert set(links) == {"Report an error", "Edit this page", "What changed on this page"}
    assert all(url.startswith(checkout.address()) for url in links.values())
    file = links["Edit this page"].partition("/edit/main/")[2]
    assert (ROOT / file).is_file() and not file.endswith(".ipynb"), "the script is edited, never the notebook"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_can_be_cited(path):
    text, title = path.read_text(), FRONT[path.stem]["title"]
    tags = dict(re.findall(r'<meta name="(citation_\w+)" content="([^"]*)"', text))
    assert unescape(tags["citation_title"]) == title and tags["citation_author"] and tags["citation_publication_date"]
    assert tags["citation_inbook_title"] == "Workings"
    assert tags["citation_public_url"].endswith(f"{path.stem}.html")
    entry = plain(re.search(r"(?s)<pre>(@incollection.*?)</pre>", text)[1])
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert title in entry and f"Version {version}" in entry and entry.count("{") == entry.count("}")


# Kernels


def test_the_page_of_kernels_lists_every_public_function_and_class():
    text = (HTML / "book" / "generated" / "kernels.html").read_text()
    for part in PARTS:
        for file in sorted((ROOT / "lib" / "workings" / part).glob("[a-z]*.py")):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                    kind = "-class" if isinstance(node, ast.ClassDef) else ""  # staircase and Staircase are two entries
                    anchor = f"kernel-{part}-{file.stem}-{node.name}{kind}".replace("_", "-").lower()
                    assert f'<h4 id="{anchor}">{node.name}</h4>' in text, anchor
    entry = text[text.index('id="kernel-uncertainty-conformal-conformal-rank"') :].partition("</section>")[0]
    assert "conformal_rank(n: int, alpha:" in unescape(entry) and "<p>" in entry


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_leads_to_its_kernels(path):
    links = re.findall(r'generated/kernels\.html#(kernel-[a-z0-9-]+)"', article(path))
    assert len(links) >= 5
    page = (HTML / "book" / "generated" / "kernels.html").read_text()
    assert [link for link in links if f'id="{link}"' not in page] == []


# Search


def found(open_page, words):
    page = open_page(HTML / "search.html")
    page.goto((HTML / "search.html").as_uri() + f"?q={words}")
    page.wait_for_selector(".wk-found li")
    return page, [item.inner_text() for item in page.locator(".wk-found li").all()]


@pytest.mark.parametrize(
    ("words", "page"),
    [("prune", "sap"), ("RoPE", "giraffe"), ("beta-VAE", "early_visual|beta_vae"), ("conformal", "conformal_set_size"), ("conformal_rank", "kernels")],
)  # fmt: skip
def test_the_search_puts_the_page_that_teaches_a_word_first(open_page, words, page):
    shown, _ = found(open_page, words)
    assert shown.faults == []
    assert re.search(page, shown.locator(".wk-found a").first.get_attribute("href"))


def test_results_are_sections_with_an_excerpt_that_holds_the_word(open_page):
    page, items = found(open_page, "prune")
    links = [link.get_attribute("href") for link in page.locator(".wk-found a").all()]
    assert sum("#" in link for link in links) >= 3 and len(links) == len(set(links))
    assert all(re.search("prun", item, re.I) for item in items)
    assert not any(re.search(r"\.(html|md|ipynb)\b", item) for item in items), "text, not file names"
    page.locator('.wk-found a[href*="#"]').first.click()
    page.wait_for_url("**#*")
    assert page.evaluate("document.getElementById(decodeURIComponent(location.hash.slice(1))) !== null")


# The head of a page


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_icons_in_the_header_stand_on_one_line(open_page, viewport):
    page = open_page(of("sap"), viewport)
    middles = page.evaluate(
        "[...document.querySelectorAll('.bd-header-article svg')].filter(e => e.getClientRects().length)"
        ".map(e => { const b = e.getBoundingClientRect(); return (b.top + b.bottom) / 2; })"
    )
    assert len(middles) >= 4 and max(middles) - min(middles) <= 1.5, middles
