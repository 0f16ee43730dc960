"""Pages stay light: what they load, what the build drops and what it must not drop, maths without a script."""

import json
import re
import subprocess

import pytest

import book.browser as browser
from book.browser import CHAPTERS, PAGES, PHONE
from workings.runs import checkout

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]
ROOT = checkout.root()
BOOK_PYTHON = ROOT / ".venv-book" / "bin" / "python"
KINDS = re.compile(r'(?:src|href)="([^"#?]+\.(?:js|css|png|svg|woff))"')


# Every section that a swipe can reach (as far as book/assets/controls.js looks ahead, less a little) has its layout.
LAID_OUT = """() => {
    const near = [...document.querySelectorAll(".bd-article > section > section")].filter(section => {
        const box = section.getBoundingClientRect();
        return box.top < innerHeight + 3900 && box.bottom > -3900;
    });
    const ready = near.every(section => getComputedStyle(section).contentVisibility === "visible");
    return document.readyState === "complete" && ready && (near.length > 0 || !document.querySelector(".cell"));
}"""
ARRIVED = "to => scrollY + 2 >= Math.min(to, document.documentElement.scrollHeight - innerHeight)"


def in_book_environment(code):
    """What ``code`` prints under the book's own Python, which has the packages that compiling needs."""
    if not BOOK_PYTHON.exists():
        pytest.skip("the book's environment is missing: run `make book` first (make test does)")
    before = f"import sys, json; sys.path.insert(0, {str(ROOT / 'tools')!r}); import maths, slim\n"
    done = subprocess.run([BOOK_PYTHON, "-c", before + code], capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def loaded(page):
    """``(bytes of the page with its scripts and pictures, of that the frames of controls)``."""
    text = page.read_text()
    frames = {
        src for box in re.findall(r'<figure class="wk-control".*?</figure>', text, re.S) for src in KINDS.findall(box)
    }
    files = {(page.parent / src).resolve(): src in frames for src in KINDS.findall(text) if "://" not in src}
    sizes = {file: file.stat().st_size for file in files if file.is_file() and file.suffix != ".html"}
    return len(text.encode()) + sum(sizes.values()), sum(size for file, size in sizes.items() if files[file])


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_a_page_weighs_at_most_what_a_phone_can_carry(path):
    whole, frames = loaded(path)
    assert whole - frames <= 1_500_000 and whole <= 5_000_000
    text = path.read_text()
    sheets = re.findall(r'<link[^>]+rel="stylesheet"[^>]*>', text)
    assert all('media="print"' in sheet for sheet in sheets), "a style sheet would hold up the first paint"
    late = re.findall(r"<script[^>]*\bsrc=[^>]*>", text)
    assert late and all("defer" in tag or "async" in tag for tag in late)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_maths_and_icons_need_no_script(open_page, path):
    page = open_page(path, PHONE, java_script_enabled=False)
    formulas, typeset = page.locator(".math").count(), page.locator(".math > mjx-container").count()
    assert formulas == typeset > 20
    assert page.locator(".math > mjx-container mjx-assistive-mml math").count() == typeset, "for screen readers"
    fonts = page.evaluate("[...document.querySelectorAll('mjx-c')].map(e => getComputedStyle(e).fontFamily)")
    assert len(fonts) > 50 and all("MJX" in font for font in fonts), "the style sheet is whole"
    assert "\\(" not in re.sub(r"(?s)<(script|pre|code).*?</\1>", "", path.read_text())
    assert page.locator("svg.svg-inline--fa").count() >= 5 and page.locator("i[class*=fa-]").count() == 0


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_nothing_moves_while_a_page_loads_or_is_scrolled(open_page, path):
    page = open_page(path, PHONE)
    page.evaluate(
        "() => { window.moved = 0; new PerformanceObserver(list => { for (const e of list.getEntries()) "
        "if (!e.hadRecentInput) window.moved += e.value; }).observe({type: 'layout-shift', buffered: true}); }"
    )
    browser.until(page, LAID_OUT)  # a reader who has just arrived needs longer than this before the first swipe
    for step in range(1, 7):
        page.mouse.wheel(0, 1500)
        browser.until(page, ARRIVED, 1500 * step)
        browser.until(page, LAID_OUT)
    assert page.evaluate("window.moved") <= 0.1


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_what_a_swipe_can_reach_is_laid_out_before_it_comes_into_sight(open_page, path):
    page = open_page(path, PHONE)
    for to in (0, 0.4, 0.8):
        page.evaluate("to => scrollTo({top: to * document.documentElement.scrollHeight, behavior: 'instant'})", to)
        browser.until(page, LAID_OUT)  # waits for ever, and fails, where a section far below is left for later


def test_every_picture_has_its_size_so_that_the_text_does_not_jump():
    for path in PAGES:
        for tag in re.findall(r"<img\b[^>]*>", path.read_text()):
            assert re.search(r'\bwidth="\d+"', tag) or "wk-" in tag or ".svg" in tag, (path.name, tag[:120])


def test_rules_that_a_page_cannot_use_go_and_all_others_stay():
    css = """
    .here, .gone { color: red } .gone > p { color: blue } #id .here:not(.gone) { margin: 0 } p.here { b: 1 } div.here { b: 2 }
    p:is(.gone, b)  {  top : 0 } mjx-c.mjx-c41 { x: 1 } mjx-mi { y: 1 } a[class*="gone"] { z: 1 } a[title] { z: 2 }
    .here.other { t: 1 } .one.two { t: 2 } button.later { l: 1 } .here.later { l: 2 } /* a comment */
    @media (max-width: 5px) { .here { a: b } .gone { c: d } } @media print { .gone { paper: 1 } }
    :root { --read: 1; --chain: var(--read2); --read2: 2; --unread: 3;
      --picture: url("data:image/svg+xml;a,%3Csvg d='M4 7h22'%3E;") } .here { after: 1 } p { w: var(--read) } @keyframes k { from { o: 0 } }
    .icon::before { font: var(--fa-font-solid) } .sd\\:big { q: 1 }
    """
    page = """<p class="here one" id="id"><mjx-c class="mjx-c41"></mjx-c><a class="two icon other sd:big" href="x">x</a></p>
    <script>document.body.classList.add("later")</script>"""
    found, paper = in_book_environment(
        f"rules = slim.Rules({css!r}); print(rules.for_page(slim.Page({page!r}, set()))); print(rules.for_print())"
    ).splitlines()
    for kept in (".here{color: red}", "#id .here:not(.gone){margin: 0}", "p.here{b: 1}", "p:is(.gone, b){top : 0}",
                 "mjx-c.mjx-c41{x: 1}", 'a[class*="gone"]{z: 1}', "button.later{l: 1}", ".here.later{l: 2}",
                 "@media (max-width: 5px){.here{a: b}}", "--read: 1", "from { o: 0 }", ".here{after: 1}", ".sd\\:big{q: 1}"):  # fmt: skip
        assert kept in found, kept
    for gone in (".gone{", ".gone >", "mjx-mi", "div.here", "[title]", ".here.other", ".one.two", "paper", "--unread",
                 "--chain", "--read2", "--picture", "svg", "M4", "comment", "fa-font"):  # fmt: skip
        assert gone not in found, gone
    assert paper == ".gone{paper: 1}", "paper has a sheet of its own, which no screen waits for"


def test_a_picture_inside_a_page_becomes_a_file_with_its_size(tmp_path):
    png = (ROOT / "book" / "assets" / "card.png").read_bytes()
    code = (
        "import base64, pathlib, re; folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.'); "
        f"folder = pathlib.Path({str(tmp_path)!r}); page = folder / 'a' / 'b.html'; (folder / '_images').mkdir(); page.parent.mkdir()\n"
        f"data = base64.b64encode(open({str(ROOT / 'book' / 'assets' / 'card.png')!r}, 'rb').read()).decode()\n"
        "text = slim.EMBEDDED.sub(lambda found: slim._to_file(found, folder, page), f'<img src=\"data:image/png;base64,{data}\">')\n"
        "print(slim.IMAGE.sub(lambda found: slim._sized(found, page), text))"
    )
    tag = in_book_environment(code)
    size = re.search(r'width="(\d+)" height="(\d+)"', tag)
    assert (int(size[1]), int(size[2])) == (1200, 630) and 'loading="lazy"' in tag
    assert (tmp_path / "a" / re.search(r'src="([^"]+)"', tag)[1]).read_bytes() == png


def typeset(page):
    """``page`` with its formulas typeset, or the last line of the error."""
    return in_book_environment(f"with maths.Typesetter() as typesetter: print(typesetter.page({page!r}))")


@pytest.mark.parametrize("wrong", [r"\frac{1", r"\nosuchcommand", r"x_1_2"])
def test_a_formula_that_is_not_tex_stops_the_build_and_is_named(wrong):
    said = typeset(rf'<p><span class="math notranslate">\({wrong}\)</span></p>')
    assert said.startswith("ValueError") and "in the formula" in said


def test_a_page_keeps_its_words_around_the_formulas():
    out = typeset(r'<p>a <span class="math notranslate nohighlight">\(x &lt; 1\)</span> b <code>\(y\)</code></p>')
    plain = re.sub(r"<mjx-container.*</mjx-container>", "", out)
    assert plain == r'<p>a <span class="math notranslate nohighlight"></span> b <code>\(y\)</code></p>'
    assert "<mo>&lt;</mo>" in out


def test_lighthouse_was_run_and_its_goals_were_met():
    site = json.loads((ROOT / "results" / "site.json").read_text())
    assert len(site["pages"]) >= 3 and site["circumstances"]["runs"] >= 3
    for name, page in site["pages"].items():
        for category, goal in site["goals"].items():
            assert page[category] >= goal, (name, category)
        assert page["fcp_slowed_ms"] < 1000 and page["cls"] <= 0.1, name
        assert (browser.HTML / page["page"]).is_file()
