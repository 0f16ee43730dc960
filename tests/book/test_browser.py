"""The built book in a real browser, from disk, with the network off."""

import re
from importlib import resources

import pytest

import book.browser as browser
from book.browser import CHAPTERS, DESKTOP, PAGES, PHONE

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]
# Faults of the theme and of the packages beneath it, by name; anything else is ours.
THEME_AXE = {
    # rule -> a fragment of the faulty element: the theme's own search button and skip regions
    "button-name": ("search-button",),
    "region": ("sidebar-primary-item", "bd-header", "skip-link", "pst-", "scroll-pixel", "back-to-top"),
    "landmark-unique": ("bd-", "sidebar"),
    "aria-allowed-role": ("pst-",),
}
COLOURED = ("color-contrast", "link-in-text-block")


def test_the_book_was_built():
    assert CHAPTERS, "no built chapter found: run `make book` first (make test does)"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_a_page_opens_from_disk_without_network_or_console_error(open_page, path):
    page = open_page(path)
    browser.until(page, "document.readyState === 'complete'")
    page.wait_for_timeout(300)  # what goes wrong late
    assert page.faults == []
    assert page.locator("h1:visible").count() == 1
    assert page.locator("meta[name=description]").count() >= 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_no_page_scrolls_sideways(open_page, path, scheme):
    """On a desktop and, turned into one, on a phone."""
    page = open_page(path, DESKTOP, scheme)
    for viewport in (DESKTOP, PHONE):
        page.set_viewport_size(viewport)
        browser.until(page, "width => innerWidth === width && document.readyState === 'complete'", viewport["width"])
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        too_wide = page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{too_wide} pixels too wide at {viewport['width']}"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_maths_is_typeset_offline(open_page, path):
    page = open_page(path)
    page.wait_for_selector("mjx-container", state="attached")
    assert page.locator("mjx-container").count() >= 5
    assert page.locator("mjx-merror").count() == 0
    loose = page.evaluate(
        "[...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container')).length"
    )
    assert loose == 0


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_no_equation_is_wider_than_a_phone(open_page, path):
    page = open_page(path, PHONE)
    page.wait_for_selector("article mjx-container[display]", state="attached")
    page.evaluate("document.fonts.ready.then(() => true)")
    wide = page.evaluate(
        "[...document.querySelectorAll('article mjx-container[display]')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 60) + e.scrollWidth)"
    )
    assert wide == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_control_moves_its_picture_by_keyboard_and_touch(open_page, path):
    page = open_page(path, PHONE, has_touch=True)
    controls = page.locator(".wk-control")
    assert controls.count() >= 1, "a chapter has one control"
    for i in range(controls.count()):
        control = controls.nth(i)
        control.scroll_into_view_if_needed()
        control.locator("img:visible").wait_for()
        slider, shown = control.locator("input").first, control.locator("img:visible")
        before, said = shown.get_attribute("alt"), slider.get_attribute("aria-valuetext")
        slider.focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        assert shown.count() == 1
        assert slider.get_attribute("aria-valuetext") == control.locator("output").first.inner_text()
        page.keyboard.press("End")
        last = shown.get_attribute("alt")
        page.keyboard.press("Home")
        first = shown.get_attribute("alt")
        assert first != last and {before, said} and len({first, last, before}) >= 2
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        assert box["height"] >= 44, "too small to touch"
        page.touchscreen.tap(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
        assert shown.get_attribute("alt") == last
        label = page.locator(f"label[for={slider.get_attribute('id')}]")
        assert label.inner_text().strip()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_without_script_and_in_print_a_control_shows_one_named_frame(open_page, path):
    page = open_page(path, java_script_enabled=False)
    for control in page.locator(".wk-control").all():
        control.scroll_into_view_if_needed()
        control.locator("img:visible").wait_for()
        assert control.locator("img:visible").count() == 1
        assert control.locator(".wk-bar").is_hidden()
        said = control.locator(".wk-paper")
        said.scroll_into_view_if_needed()
        said.wait_for()
        assert said.text_content().startswith("Shown here:")
    page = open_page(path)
    page.emulate_media(media="print")
    for control in page.locator(".wk-control").all():
        assert control.locator("img:visible").count() == 1 and control.locator(".wk-bar").is_hidden()


# The goal stands at the top of the window, or in the window at the page's end, in two pictures one after the other.
LANDED = """id => {
    const top = document.getElementById(id).getBoundingClientRect().top;
    const end = scrollY + innerHeight >= document.scrollingElement.scrollHeight - 2;
    const there = (-5 <= top && top <= 200) || (end && 0 <= top && top <= innerHeight);
    const before = window.landedAt;
    window.landedAt = there && document.readyState === "complete" ? scrollY : null;
    return window.landedAt !== null && before === scrollY;
}"""


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_link_into_a_chapter_lands_where_it_points(open_page, path, viewport):
    goals = [*re.findall(r'<a id="([a-z0-9]+-\d+)"', path.read_text())[-1:], "exercises", "references"]
    assert len(goals) == 3
    page = open_page(path, viewport, reduced_motion="reduce")  # else it is still on its way
    page.evaluate("document.querySelector('a[href=\"#exercises\"]').click()")
    browser.until(page, LANDED, "exercises")
    for goal in goals:
        page.goto("about:blank")  # as from another page: the address alone would scroll the page that is open
        page.goto(f"{path.as_uri()}#{goal}")
        browser.until(page, LANDED, goal)


def test_search_finds_a_word_from_disk(open_page):
    page = open_page(browser.HTML / "search.html")
    page.goto((browser.HTML / "search.html").as_uri() + "?q=binomial")
    page.wait_for_selector("#search-results li")
    assert "Conformal prediction: how big" in page.locator("#search-results").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_axe_finds_nothing_of_ours(open_page, path, scheme):
    script = (resources.files("axe_playwright_python") / "axe.min.js").read_text()
    page = open_page(path, DESKTOP, scheme)
    page.keyboard.press("Shift")  # from the first key on, every box that scrolls can be reached
    page.evaluate(script)
    page.add_style_tag(content="* { content-visibility: visible !important; }")  # look at all of it, not at the window
    rules = {} if scheme == "light" else {"runOnly": [*COLOURED]}  # the others do not depend on colours
    found = page.evaluate("rules => axe.run(document, {resultTypes: ['violations'], ...rules})", rules)["violations"]
    wrong = []
    for violation in found:
        for node in violation["nodes"]:
            excused = any(
                part in node["html"] or part in str(node["target"]) for part in THEME_AXE.get(violation["id"], ())
            )
            if not excused:
                wrong.append(
                    (violation["id"], re.sub(r"base64,[^\"]+", "", node["html"])[:200], node["failureSummary"][:200])
                )
    assert wrong == []
