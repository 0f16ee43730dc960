"""The book for readers who use a keyboard, a screen reader, large letters or no motion."""

import re

import pytest

import book.browser as browser
from book.browser import CHAPTERS, DESKTOP, PAGES, PHONE

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]
ZOOMED = {"width": 640, "height": 450}  # what a window of 1280 x 900 shows at 200 %
# Where the focus is, whether the eye can tell, and whether it is on the screen.
FOCUS = """() => {
  const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
  const ring = (s) => (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== 'none';
  let near = at;
  while (near && !ring(getComputedStyle(near))) near = near.parentElement?.matches('article.wk-card, label') ? near.parentElement : null;
  return {tag: at.tagName, name: (at.getAttribute('aria-label') || at.labels?.[0]?.innerText || at.innerText || at.title || at.placeholder || '').trim().slice(0, 40),
          seen: Boolean(near), on: box.bottom > 0 && box.top < innerHeight, html: at.outerHTML.slice(0, 120),
          id: at.dataset.walked = at.dataset.walked || String(Math.random())};
}"""


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_can_be_walked_by_keyboard_alone(open_page, path):
    page = open_page(path, reduced_motion="reduce")  # else the page is still scrolling when we look
    page.keyboard.press("Tab")
    first = page.evaluate(FOCUS)
    assert first["name"].startswith("Skip to main content") and first["seen"]
    page.keyboard.press("Enter")
    seen, stops = {}, []
    for _ in range(400):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUS)
        if at["tag"] == "BODY" or at["id"] in seen:
            break
        seen[at["id"]] = True
        stops.append(at)
    assert len(stops) > 25, "the walk ended early: the focus is trapped or lost"
    assert [s["html"] for s in stops if not s["seen"]] == [], "focus that cannot be seen"
    assert [s["html"] for s in stops if not s["on"]] == [], "focus outside the window"
    assert [s["html"] for s in stops if not s["name"] and s["tag"] != "INPUT"] == [], "a stop without a name"
    tags = {s["tag"] for s in stops}
    assert {"A", "SUMMARY", "INPUT"} <= tags, "links, folded answers and the control are all reached"


def test_a_folded_answer_opens_and_closes_by_keyboard(open_page):
    page = open_page(CHAPTERS[0])
    answer = page.locator("article details:not(.hide, .wk-quiet)").first
    answer.locator("summary").focus()
    for wanted in (True, False):
        page.keyboard.press("Enter")
        assert answer.evaluate("e => e.open") is wanted


# No box that scrolls is left out of the walk by keyboard, and there are such boxes.
REACHED = """() => {
  const scrolls = [...document.querySelectorAll('.pst-scrollable-table-container')].filter(e => e.scrollWidth > e.clientWidth);
  return scrolls.length > 0 && scrolls.every(e => e.tabIndex === 0);
}"""


def test_what_scrolls_in_a_fold_can_be_reached_when_it_is_opened_after_a_key_was_pressed(open_page):
    page = open_page(CHAPTERS[0], PHONE)
    page.keyboard.press("Shift")
    wide = 0
    for box in page.locator("article details pre").all()[:30]:
        box.evaluate(
            "e => { for (let at = e; at = at.closest('details:not([open])');) at.open = true; e.scrollIntoView(); }"
        )
        browser.until(page, "e => e.scrollWidth <= e.clientWidth || e.tabIndex === 0", box.element_handle())
        wide += box.evaluate("e => e.scrollWidth > e.clientWidth")
    assert wide > 0, "no box in a fold scrolls: this test saw nothing"


def test_a_wide_table_stays_within_reach_when_the_window_changes_its_size(open_page):
    page = open_page(browser.HTML / "book" / "how-we-know.html")
    for viewport in (PHONE, DESKTOP):  # before the first key: only what comes near is asked
        page.set_viewport_size(viewport)
        page.wait_for_timeout(400)  # the theme asks 300 ms after a change
    page.keyboard.press("Shift")
    browser.until(page, REACHED)
    for viewport in (PHONE, {"width": 2400, "height": 900}, PHONE):  # and after it: all of them
        page.set_viewport_size(viewport)
        page.wait_for_timeout(400)
    browser.until(page, REACHED)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_at_200_per_cent_nothing_is_cut_off(look, path):
    page = look(path, ZOOMED)
    page.wait_for_timeout(150)
    assert page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth") <= 0
    letters = look(path, PHONE)
    letters.styled("html { font-size: 200% !important; } * { content-visibility: visible !important; }")
    letters.wait_for_timeout(150)
    cut = letters.evaluate(
        "[...document.querySelectorAll('article p, article li, article h1, article h2, article h3')]"
        ".filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 2 && getComputedStyle(e).overflowX === 'hidden')"
        ".map(e => e.textContent.slice(0, 60))"
    )
    assert cut == []


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_reduced_motion_is_respected(look, path):
    page = look(path)
    page.emulate_media(reduced_motion="reduce")
    moving = page.evaluate(
        "[document.documentElement, ...document.querySelectorAll('*')].filter(e => { const s = getComputedStyle(e);"
        " return s.scrollBehavior === 'smooth' || [s.transitionDuration, s.animationDuration]"
        ".some(d => d.split(',').some(x => parseFloat(x) > 0.01)); }).map(e => e.outerHTML.slice(0, 80))"
    )
    assert moving == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_every_figure_can_be_heard(path):
    text = path.read_text()
    article = text[text.index("<article") : text.index("</article>")]
    said = [re.search(r'\balt="([^"]*)"', tag) for tag in re.findall(r"<img\b[^>]*>", article)]
    assert len(said) >= 5 and None not in said
    short = [alt[1] for alt in said if len(alt[1]) < 40]
    assert short == [], "an alternative text says what the picture shows"
    assert len({alt[1] for alt in said}) == len(said), "two pictures with the same words"
