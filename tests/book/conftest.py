"""The browser that tests of the built book share, and the page that stays open for those that only look at it."""

from pathlib import Path

import pytest

import book.browser as browser

LAST = ("test_axe_finds_nothing_of_ours",)  # it leaves marks in the page


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Tests that look at one page in one colour scheme follow each other, on one worker."""
    looking = [item for item in items if "look" in getattr(item, "fixturenames", ())]
    for item in looking if config.pluginmanager.hasplugin("xdist") else ():
        item.add_marker(pytest.mark.xdist_group(f"look at {'-'.join(_page(item))}"))
    looking.sort(key=lambda item: (*_page(item), item.originalname in LAST))
    others = [item for item in items if "look" not in getattr(item, "fixturenames", ())]
    items[:] = [*looking, *others]


def _page(item):
    asked = item.callspec.params
    path = asked["path"]
    if not isinstance(path, Path):  # no page was built yet: pytest has a stand-in, and will skip the test
        return "", "", ""
    return path.parent.name, path.stem, asked.get("scheme", "light")


@pytest.fixture(scope="session")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    path = browser.executable()
    with sync_api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=browser.ARGUMENTS)
        yield running
        running.close()


def _opened(chromium, path, viewport, scheme, **options):
    context = chromium.new_context(viewport=viewport, color_scheme=scheme, **options)
    context.set_default_timeout(browser.PATIENCE)
    page = context.new_page()
    page.faults, page.asked = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(path.as_uri(), wait_until="load")
    return page


@pytest.fixture
def open_page(chromium):
    contexts = []

    def opened(path, viewport=browser.DESKTOP, scheme="light", **options):
        page = _opened(chromium, path, viewport, scheme, **options)
        contexts.append(page.context)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def _kept_open():
    kept = {}
    yield kept
    for page in kept.values():
        page.context.close()


@pytest.fixture
def look(chromium, _kept_open):
    """As ``open_page``, for tests that change nothing but the window's size, the medium and styles.

    The page was perhaps opened by the test before. ``page.styled(css)`` adds a style until the end of the test.
    """
    added = []

    def looked(path, viewport=browser.DESKTOP, scheme="light"):
        key = (path, scheme)
        if key not in _kept_open:
            for page in _kept_open.values():
                page.context.close()
            _kept_open.clear()
            _kept_open[key] = _opened(chromium, path, browser.DESKTOP, scheme)
        page = _kept_open[key]
        page.styled = lambda css: added.append(page.add_style_tag(content=css))
        page.bring_to_front()
        page.set_viewport_size(viewport)
        browser.until(page, "width => innerWidth === width && document.readyState === 'complete'", viewport["width"])
        return page

    yield looked
    for style in added:
        style.evaluate("element => element.remove()")
    for page in _kept_open.values():
        page.emulate_media(media="screen", reduced_motion="no-preference")
