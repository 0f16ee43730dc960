"""Live figures: they compute what the kernels compute, and are for the keyboard, the finger, the ear and the link as well.

What axe says of them is asked with their page (test_browser.py).
"""

import gzip
import json
import re
import statistics

import pytest

import book.browser as browser
import new
from book.browser import CHAPTERS, DESKTOP, HTML, PHONE, come_near
from workings.runs import checkout

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]
SCRIPTS = HTML / "_static" / "live"
LIVE = [(page, *figure) for page in CHAPTERS for figure in browser.live_figures(page)]
figures = pytest.mark.parametrize("path, name, slug", LIVE, ids=[slug for _, _, slug in LIVE])
# What the script gives for stored arguments, as flat lists of numbers.
ASK = """([slug, functions]) => Object.entries(functions).map(([name, cases]) =>
    cases.map(([given]) => [workingsLive.modules[slug].pure[name](...given)].flat(9)))"""
# Makes room at the top of a page for a figure that is none of the book's.
PLACE = """slug => {
    const box = Object.assign(document.createElement('figure'), {id: slug, innerHTML: '<figcaption>A trial</figcaption>'});
    box.dataset.live = slug;
    document.querySelector('article').prepend(box);
    box.scrollIntoView();
}"""
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
MOVED = """() => { window.moved = 0; new PerformanceObserver(list => { for (const e of list.getEntries())
    if (!e.hadRecentInput) window.moved += e.value; }).observe({type: 'layout-shift', buffered: true}); }"""


def flat(value):
    return [one for part in value for one in flat(part)] if isinstance(value, list) else [value]


def stored(path, slug):
    return json.loads((checkout.root() / "results" / path.parent.name / slug / "live.json").read_text())["functions"]


def test_every_script_has_its_page_and_every_page_its_script():
    assert LIVE, "no live figure found: run `make book` first (make test does)"
    scripts = {script.stem for script in (checkout.root() / "book" / "assets" / "live").glob("*.js")}
    assert {slug for _, _, slug in LIVE} | {"live"} == scripts == {script.stem for script in SCRIPTS.glob("*.js")}


@figures
def test_the_script_gives_what_the_kernels_give(look, path, name, slug):
    page = look(path)
    come_near(page, name)
    cases = stored(path, slug)
    assert sorted(cases) == sorted(page.evaluate("slug => Object.keys(workingsLive.modules[slug].pure)", slug))
    given = page.evaluate(ASK, [slug, cases])
    assert sum(map(len, cases.values())) >= 20
    stores_numbers = page.evaluate("slug => slug in workingsLive.networks", slug)
    close = 1e-5 if stores_numbers else 1e-10
    for (function, rows), found in zip(cases.items(), given, strict=True):
        for (inputs, wanted), got in zip(rows, found, strict=True):
            told = [[one for one in values if isinstance(one, str)] for values in (got, flat(wanted))]
            numbers = [[one for one in values if not isinstance(one, str)] for values in (got, flat(wanted))]
            assert told[0] == told[1], (function, inputs)
            assert numbers[0] == pytest.approx(numbers[1], rel=0, abs=close), (function, inputs)
    assert page.faults == []


@figures
def test_no_request_leaves_the_folder_and_scripts_are_small(look, path, name, slug):
    page = look(path)
    come_near(page, name)
    here = HTML.as_uri() + "/"
    assert {f"{here}_static/live/{script}.js" for script in ("live", slug)} <= set(page.asked)
    assert all(url.startswith((here, "data:")) for url in page.asked)
    written = checkout.root() / "book" / "assets" / "live"
    assert all(len(gzip.compress((written / f"{one}.js").read_bytes())) <= 8_000 for one in ("live", slug))
    assert len((written / f"{slug}.js").read_text().splitlines()) <= 150
    assert len(gzip.compress((SCRIPTS / f"{slug}.js").read_bytes())) <= 150_000, "with the networks that it runs"


@figures
def test_keyboard_and_touch_move_the_picture_and_the_values(open_page, path, name, slug):
    page = open_page(path, PHONE, has_touch=True)
    box = come_near(page, name)
    assert box.locator(".wk-bar:visible, .wk-frames:visible, .wk-paper:visible").count() == 0
    assert box.locator("svg[role=img]:visible").count() == 1
    sliders = box.locator("input[type=range]:visible")
    assert sliders.count() >= 2
    for i in range(sliders.count()):
        slider = sliders.nth(i)
        label = page.locator(f"label[for={slider.get_attribute('id')}]")
        seen = set()
        slider.focus()
        for key in ("Home", "ArrowRight", "End"):
            page.keyboard.press(key)
            said = slider.get_attribute("aria-valuetext")
            assert label.locator("output").inner_text() == said and label.inner_text() != said
            seen.add((said, box.locator(".wk-chart").inner_html(), box.locator(".wk-values").inner_text()))
        assert len(seen) == 3, "each key gives another value, another picture and other numbers"
        page.keyboard.press("Home")
        first = slider.get_attribute("aria-valuetext")
        slider.scroll_into_view_if_needed()
        at = slider.bounding_box()
        assert at["height"] >= 44, "too small to touch"
        page.touchscreen.tap(at["x"] + at["width"] - 4, at["y"] + at["height"] / 2)
        assert slider.get_attribute("aria-valuetext") == said != first
    # What is seen is said, once the reader rests.
    heard = "name => { const at = document.getElementById(name); return at.querySelector('[role=status]').textContent === at.querySelector('.wk-says').textContent; }"
    browser.until(page, heard, name)
    assert box.locator("svg[role=img]").get_attribute("aria-label") == box.locator(".wk-says").inner_text()
    assert page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert page.faults == []


@figures
def test_a_link_brings_another_reader_to_what_was_set(open_page, path, name, slug):
    page = open_page(path)
    box = come_near(page, name)
    for slider in box.locator("input[type=range]:visible").all():
        slider.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
    browser.until(page, "name => new URLSearchParams(location.hash.slice(1)).get('live') === name", name)
    page.wait_for_timeout(400)  # the address is written when the reader rests
    state = "name => JSON.stringify(workingsLive.figures[name].state)"
    wanted = page.evaluate(state, name)
    other = open_page(path)
    other.goto("about:blank")
    other.goto(page.url)
    browser.until(other, "name => window.workingsLive?.figures[name] !== undefined", name)
    assert other.evaluate(state, name) == wanted
    browser.until(other, "name => { const at = document.getElementById(name).getBoundingClientRect(); return at.top < innerHeight && at.bottom > 0; }", name)  # fmt: skip
    other.goto(path.as_uri() + f"#live={name}&k=900&n=-1&b=x&law=none&alpha=7")  # no state of any figure
    other.reload()
    browser.until(other, "name => window.workingsLive?.figures[name] !== undefined", name)
    assert "NaN" not in other.locator(f"#{name} .wk-live").inner_html() and other.faults == []
    other.locator(f"#{name}").get_by_role("button", name="Start again").click()
    start = other.evaluate("slug => workingsLive.modules[slug].figure.start", slug)
    assert json.loads(other.evaluate(state, name)) == start


@figures
def test_paper_and_readers_without_scripts_have_the_picture(look, path, name, slug):
    page = look(path)
    box = come_near(page, name)
    page.emulate_media(media="print")
    assert box.locator(".wk-live").is_hidden() and box.locator(".wk-on-screen").is_hidden()
    assert box.locator(".wk-paper").is_visible()
    assert box.locator("img:visible").count() == 1
    assert box.locator("figcaption").inner_text().strip()
    page.emulate_media(media="screen")
    assert box.locator(".wk-live").is_visible() and box.locator("img:visible").count() == 0


@figures
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_moves_when_the_figure_comes_and_a_frame_is_little_work(open_page, path, name, slug, viewport):
    page = open_page(path, viewport)
    # That a section keeps its place when it is drawn late is another test's question.
    page.add_style_tag(content=browser.SEEN)
    page.evaluate(TWO_FRAMES)
    page.locator(f"#{name}").evaluate("at => { const box = at.getBoundingClientRect(); window.before = box.height; }")
    page.evaluate(MOVED)
    box = come_near(page, name)
    assert abs(box.bounding_box()["height"] - page.evaluate("before")) <= 1, "its place had its size"
    assert page.evaluate("moved") <= 0.1
    assert box.locator(".wk-chart *").count() <= 60, "a picture of few elements is drawn fast"


@figures
def test_play_runs_to_the_end_and_is_not_offered_to_who_wants_no_motion(open_page, path, name, slug):
    page = open_page(path)
    box = come_near(page, name)
    spec = page.evaluate("slug => workingsLive.modules[slug].figure.play || null", slug)
    if spec:
        box.get_by_role("button", name=spec["label"]).click()
        box.get_by_role("button", name="Stop").wait_for()
        first = page.evaluate("([name, key]) => workingsLive.figures[name].state[key]", [name, spec["key"]])
        browser.until(page, "([name, key, first]) => workingsLive.figures[name].state[key] !== first", [name, spec["key"], first])  # fmt: skip
        box.get_by_role("button", name="Stop").click()
        box.get_by_role("button", name=spec["label"]).wait_for()
    page = open_page(path, reduced_motion="reduce")
    box = come_near(page, name)
    own = page.evaluate("slug => (workingsLive.modules[slug].figure.buttons || []).map(one => one.label)", slug)
    assert box.locator(".wk-buttons button").all_inner_texts() == [*own, "Start again"]


def test_the_template_of_a_live_figure_computes_and_moves(open_page, tmp_path):
    script = new.fill((checkout.root() / "tools" / "template" / "live.js").read_text(), "few_shot", "trial")
    page = open_page(HTML / "book" / "how-to.html", reduced_motion="reduce")
    page.evaluate(PLACE, "trial")
    for text in ((SCRIPTS / "live.js").read_text(), script):
        page.add_script_tag(content=text)
    sample = [0.5, 3.0, -1.0, 4.0]
    wanted = [statistics.mean(sample), statistics.stdev(sample) / 2]
    assert page.evaluate("x => workingsLive.modules.trial.pure.error(x)", sample) == pytest.approx(wanted, abs=1e-12)
    box = page.locator("#trial")
    assert "The mean of 5 values is 0.40" in box.locator("svg[role=img]").get_attribute("aria-label")
    box.locator("input[type=range]").first.press("Home")
    assert "The mean of 5 values is \u22122.00" in box.locator(".wk-says").inner_text()
    assert page.faults == []


def test_scores_can_be_pasted_and_stay_out_of_the_address(open_page):
    path, name, _ = next(one for one in LIVE if one[2] == "conformal_set_size")
    page = open_page(path)
    box = come_near(page, name)
    box.get_by_role("combobox").select_option("own")
    paste = box.get_by_role("textbox")
    for words, fault in (
        ("1 two 3", "must be a number"),
        ("4", "at least two"),
        ("1, -2", "0 or more"),
        ("1\n2;3 4, 5", ""),
    ):
        paste.fill(words)
        assert fault in box.locator("[role=alert]").text_content()
        assert bool(fault) == bool(box.locator("[role=alert]").text_content())
    assert "5 scores say" in box.locator(".wk-says").inner_text()
    wanted = page.evaluate("workingsLive.modules.conformal_set_size.pure.estimate([1, 2, 3, 4, 5], 200, 0.1, 10, 0.1)")
    assert f"{wanted[0]:.4g}" == f"{float(box.locator('.wk-values dd').first.inner_text()):.4g}"
    browser.until(page, "location.hash.includes('law=own')")
    page.wait_for_timeout(400)  # nothing follows it
    assert "law=own" in page.url and "own=" not in page.url.replace("law=own", "")


# A figure with everything that a figure may have, in a box of its own on a page that has live figures.
EVERYTHING = """() => {
    workingsLive.networks.everything = {w: {shape: [4], half: btoa(String.fromCharCode(0, 0x3c, 0, 0xc0, 1, 0, 0xff, 0x7b))},
                                        v: {shape: [4], letters: '#P\\\\}'}};
    workingsLive.add('everything', (live) => ({
        pure: { uniform: (seed, n) => { const next = live.random(seed); return live.range(n).map(next); },
                weights: () => Object.values(live.weights('everything')).map(({ data }) => [...data]) },
        figure: {
            start: {a: 1, presses: 0, at: ''}, kept: ['presses'], caption: 'all',
            knobs: [{key: 'a', label: 'a', min: 0, max: 9, step: 1, text: String}],
            buttons: [{label: 'Press', press: (state) => { state.presses = Number(state.presses) + 1; }}],
            point: (state, x, y, phase) => { state.at = [x.toPrecision(3), y.toPrecision(3), phase].join(' '); return true; },
            draw: (state, size) => ({
                x: {min: 1, max: 10000, log: true, label: 'x'}, y: {min: 0, max: 2, label: 'y', ticks: [[0, 'none'], [2, 'two']]},
                values: [['at', state.at], ['presses', String(state.presses)]], says: `All kinds of marks in ${size.join(' by ')}.`,
                marks: [{kind: 'points', x: [10, 100], y: [1, 2], look: 'wk-a', name: 'dots'},
                        {kind: 'arrow', x: [1, 100], y: [0, 1], look: 'wk-b', name: 'way'},
                        {kind: 'text', x: 100, y: 1, text: 'here'},
                        {kind: 'cells', x: [1, 10], y: [0, 1], width: 3, height: 2, rgb: true,
                         data: [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0.5, 0.5, 0.5, 1, 2, 1]}],
            }),
        },
    }));
}"""


# Width, height and colours of a picture, row by row from the top, as the browser decodes it.
PIXELS = """async (address) => {
    const image = Object.assign(new Image(), {src: address}), canvas = document.createElement('canvas');
    await image.decode();
    const {width, height} = Object.assign(canvas, {width: image.width, height: image.height}), at = canvas.getContext('2d');
    at.drawImage(image, 0, 0);
    const found = at.getImageData(0, 0, width, height).data;
    return [width, height, ...Array.from({length: width * height}, (_, i) => [...found.slice(4 * i, 4 * i + 3)])];
}"""


def test_every_kind_of_mark_a_button_and_a_finger_on_the_chart(open_page):
    path, name, _ = LIVE[0]
    page = open_page(path, reduced_motion="reduce")
    come_near(page, name)
    page.evaluate(PLACE, "everything")
    page.evaluate(EVERYTHING)
    box = page.locator("#everything")
    texts = box.locator("svg[role=img] text").all_text_contents()
    assert {"1", "10", "100", "1000", "10000", "none", "two", "here"} <= set(texts)
    seen = page.evaluate(PIXELS, box.locator("svg[role=img] image").get_attribute("href"))
    assert seen == [3, 2, [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0], [128, 128, 128], [255, 255, 255]]
    assert box.locator(".wk-legend li").all_inner_texts() == ["dots", "way"]
    box.get_by_role("button", name="Press").click()
    size = [int(float(one)) for one in box.locator("svg[role=img]").get_attribute("viewBox").split()[2:]]
    assert box.locator(".wk-says").inner_text() == f"All kinds of marks in {size[0]} by {size[1]}."
    values = box.locator(".wk-values")
    assert values.inner_text().split() == ["at", "presses", "1"]
    browser.until(page, "location.hash.includes('presses=1')")
    chart = box.locator(".wk-chart")
    corner = {"x": chart.bounding_box()["width"] - 10, "y": 10}  # the upper right one of the axes
    chart.click(position=corner)  # once the page stands still
    assert re.fullmatch(r"at\s+1.00e\+4 2.00 down\s+presses\s+1", values.inner_text())
    pure = "workingsLive.modules.everything.pure"
    # The reference outputs of splitmix64 with seed 1234567, of which the upper 53 bits count.
    reference = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert page.evaluate(f"{pure}.uniform(1234567, 3)") == [(one >> 11) / 2**53 for one in reference]
    assert page.evaluate(f"{pure}.weights()") == [
        [1, -2, 2**-24, 65504],  # half precision, the least and the largest too
        [-45, 0, 12, 45],  # letters
    ]
    assert page.faults == []
