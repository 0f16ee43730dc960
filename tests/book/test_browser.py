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
# Chapters with a control over pictures; controls that compute have the same demands made of them in test_live.py.
PICTURED = [page for page in CHAPTERS if re.search(r'<figure class="wk-control" id="[\w-]+">', page.read_text())]
COLOURED = ("color-contrast", "link-in-text-block")


# Marks one element of each look: colours of letters and ground, size, weight and opacity, in a link or not. What axe says of the
# contrast of one holds for all of them, and a page has thousands. Returns how many looks there are.
ONE_OF_EACH = """() => {
    const ground = at => {
        for (let e = at; e; e = e.parentElement) {
            const style = getComputedStyle(e);
            if (style.backgroundImage !== "none") return style.backgroundImage;
            if (!/, 0\\)$|transparent/.test(style.backgroundColor)) return style.backgroundColor;
        }
    };
    const looks = new Map();
    for (const e of document.querySelectorAll("body *")) {
        const says = [...e.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
        if (!says || !e.checkVisibility()) continue;
        const s = getComputedStyle(e), inside = e.closest("a") ? e.closest("p, li") ? "link in text" : "link" : "";
        const look = [s.color, ground(e), s.fontSize, s.fontWeight, s.opacity, s.textDecorationLine, inside].join();
        if (!looks.has(look)) looks.set(look, e);
    }
    for (const e of looks.values()) e.dataset.wkOne = "";
    return looks.size;
}"""


def test_the_book_was_built():
    assert CHAPTERS, "no built chapter found: run `make book` first (make test does)"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_a_page_opens_from_disk_without_network_or_console_error(look, path):
    page = look(path)
    page.wait_for_timeout(300)  # what goes wrong late
    assert page.faults == []
    assert page.locator("h1:visible").count() == 1
    assert page.locator("meta[name=description]").count() >= 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_no_page_scrolls_sideways(look, path, scheme):
    """On a desktop and, turned into one, on a phone."""
    for viewport in (DESKTOP, PHONE):
        page = look(path, viewport, scheme)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        too_wide = page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{too_wide} pixels too wide at {viewport['width']}"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_maths_is_typeset_offline(look, path):
    page = look(path)
    page.wait_for_selector("mjx-container", state="attached")
    assert page.locator("mjx-container").count() >= 5
    assert page.locator("mjx-merror").count() == 0
    loose = page.evaluate(
        "[...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container')).length"
    )
    assert loose == 0


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_no_equation_is_wider_than_a_phone(look, path):
    page = look(path, PHONE)
    page.wait_for_selector("article mjx-container[display]", state="attached")
    page.evaluate("document.fonts.ready.then(() => true)")
    wide = page.evaluate(
        "[...document.querySelectorAll('article mjx-container[display]')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 60) + e.scrollWidth)"
    )
    assert wide == []


def test_every_chapter_has_a_control():
    assert [page.stem for page in CHAPTERS if '<figure class="wk-control"' not in page.read_text()] == []


@pytest.mark.parametrize("path", PICTURED, ids=lambda p: p.stem)
def test_a_control_moves_its_picture_by_keyboard_and_touch(open_page, path):
    page = open_page(path, PHONE, has_touch=True)
    controls = page.locator(".wk-control:not([data-live])")
    assert controls.count() >= 1
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
def test_without_script_and_in_print_a_control_shows_one_named_frame(open_page, look, path):
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
    page = look(path)
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
    claim = re.findall(r'<a id="([a-z0-9]+-\d+)"', path.read_text())[-1]
    goals = [claim, "references"] if viewport == DESKTOP else [claim]
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


# Takes away what no rule looks at, which is most of a page: the glyphs of a formula (its MathML stays), and the spans of code
# that were not marked.
LESS = """() => {
    for (const e of document.querySelectorAll("mjx-math")) e.replaceChildren();
    for (const e of [...document.querySelectorAll("pre span:not([data-wk-one])")].reverse()) e.replaceWith(...e.childNodes);
    for (const e of document.querySelectorAll("pre")) e.normalize();
}"""


def axe_faults(page, scheme):
    """``(rule, element, what axe says)`` of every fault of ``page`` that is not the theme's. The page is of no use afterwards."""
    script = (resources.files("axe_playwright_python") / "axe.min.js").read_text()
    page.keyboard.press("Shift")  # from the first key on, every box that scrolls can be reached
    page.evaluate(script)
    assert page.evaluate(ONE_OF_EACH) >= 8
    page.evaluate(LESS)
    runs = [("{include: [['[data-wk-one]']]}", {"runOnly": [*COLOURED]})]
    if scheme == "light":  # the other rules do not depend on colours
        runs.append(("document", {"rules": {rule: {"enabled": False} for rule in COLOURED}}))
    wrong = []
    for where, rules in runs:
        found = page.evaluate(f"rules => axe.run({where}, {{resultTypes: ['violations'], ...rules}})", rules)
        for violation in found["violations"]:
            theme = THEME_AXE.get(violation["id"], ())
            for node in violation["nodes"]:
                if not any(part in node["html"] or part in str(node["target"]) for part in theme):
                    html = re.sub(r"base64,[^\"]+", "", node["html"])[:200]
                    wrong.append((violation["id"], html, node["failureSummary"][:200]))
    return wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_axe_finds_nothing_of_ours(look, path, scheme):
    page = look(path, DESKTOP, scheme)
    for name, _ in browser.live_figures(path):
        browser.come_near(page, name)
    page.styled(browser.SEEN)  # look at all of it, not at the window
    assert axe_faults(page, scheme) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("where", ["article section:last-of-type p:last-of-type", "article pre span:last-of-type"])
def test_one_pale_sentence_or_word_of_code_is_found(open_page, scheme, where):
    page = open_page(CHAPTERS[0] if "pre" in where else browser.HTML / "book" / "how-to.html", DESKTOP, scheme)
    page.add_style_tag(content=f"{where} {{ color: #777 !important; background: #888; }}")
    page.add_style_tag(content=browser.SEEN)
    assert "color-contrast" in {rule for rule, _, _ in axe_faults(page, scheme)}
