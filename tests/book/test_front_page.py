"""The front page, the ledger's filter and the stamps: made from the chapters and their records, and nothing else."""

import json
import re
from collections import Counter
from html import unescape

import pytest
import yaml

import book.browser as browser
from book.browser import CHAPTERS, DESKTOP, PHONE
from workings import ledger
from workings.ledger.claims import load_all
from workings.ledger.criteria import KINDS
from workings.ledger.results import load_results
from workings.ledger.verdicts import SYMBOLS, WORDS
from workings.runs import checkout, provenance

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]
ROOT = checkout.root()
FRONT = browser.HTML / "book" / "index.html"
LEDGER = browser.HTML / "book" / "generated" / "ledger.html"
CARD = re.compile(r'<article class="wk-card">.*?</article>', re.S)
STAMP = re.compile(r'<aside class="wk-stamp".*?</aside>', re.S)


def cards():
    """``{slug: html}`` of the front page's cards."""
    found = CARD.findall(FRONT.read_text())
    return {re.search(r'href="\.\./notebooks/\w+/(\w+)\.html"', card)[1]: card for card in found}


def test_the_front_page_has_one_card_a_chapter_of_the_book_and_none_for_chapters_to_come():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    slugs = [file.rsplit("/", 1)[1] for file in files if file.startswith("notebooks/")]
    assert list(cards()) == slugs == [slug for slug in slugs if any((ROOT / "claims").glob(f"*/{slug}.yml"))]
    questions = re.search(r'<ul class="wk-questions">.*?</ul>', FRONT.read_text(), re.S)[0]
    assert [slug for slug in slugs if f"/{slug}.html" in questions] == slugs


def test_a_card_shows_the_verdicts_of_the_ledger_by_kind_and_the_minutes_of_the_chapter():
    for slug, card in cards().items():
        shown = {}
        for kind, chips in re.findall(r'<ul class="wk-verdicts" aria-label="Verdicts: ([^"]*)">(.*?)</ul>', card):
            found = re.findall(r"<li class=\"wk-[\w-]+\">([^<]*): (\d+)</li>", chips)
            shown[unescape(kind)] = {unescape(word): int(number) for word, number in found}
        assert shown == {
            KINDS[kind]: {f"{SYMBOLS[word]} {WORDS[kind].get(word, word)}": number for word, number in words.items()}
            for kind, words in ledger.counts_of(slug).items()
        }
        chapter = next(page for page in CHAPTERS if page.stem == slug).read_text()
        minutes = re.search(r"It takes</strong> (\d+) minutes to read", chapter)[1]
        assert f"{minutes} minutes to read" in card and re.search(r"\d+ seconds to run", card)
        picture = re.search(r'src="([^"]+)"', card)[1]
        assert (FRONT.parent / picture).stat().st_size < 90_000
        assert len(re.search(r'alt="([^"]+)"', card)[1]) > 60, "a blind reader gets no picture"


def test_a_card_of_an_unknown_chapter_or_figure_is_an_error(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import front_page

    entries = yaml.safe_load((ROOT / "book" / "front.yml").read_text())
    for change, message in (
        ({"a_chapter_to_come": {}}, "a_chapter_to_come"),
        ({"giraffe": entries["giraffe"] | {"figure": "fig-of-nothing"}}, "fig-of-nothing"),
    ):
        root = tmp_path / message
        (root / "book").mkdir(parents=True)
        (root / "book" / "front.yml").write_text(yaml.safe_dump(entries | change))
        for name in ("_toc.yml", "notebooks"):
            (root / name).symlink_to(ROOT / name)
        monkeypatch.setattr(front_page, "ROOT", root)
        with pytest.raises(SystemExit, match=message):
            front_page.write(root, root / "pictures")


def test_the_table_of_the_pages_speed_has_a_head_for_every_column():
    page = (browser.HTML / "book" / "how-we-know.html").read_text()
    table = next(t for t in re.findall(r"(?s)<table.*?</table>", page) if "first paint, slowed" in t)
    rows = [re.findall(r"(?s)<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"(?s)<tr.*?</tr>", table)]
    assert {len(row) for row in rows} == {len(rows[0])} and len(rows) >= 5
    assert all(re.sub("<[^>]*>", "", cell).strip() for row in rows[2:] for cell in row), "measured rows have no gaps"
    assert rows[0][-1].strip().endswith("weight</p>") and all("kB" in row[-1] for row in rows[1:])


def test_all_questions_are_on_the_first_screen_of_a_phone(open_page):
    page = open_page(FRONT, PHONE)
    last = page.locator(".wk-questions li").last.bounding_box()
    assert last["y"] + last["height"] <= PHONE["height"]


def test_every_chapter_ends_with_the_circumstances_of_its_runs():
    for chapter in load_all():
        page = next(page for page in CHAPTERS if page.stem == chapter.slug).read_text()
        stamp = STAMP.search(page)[0]
        assert page.index(stamp) > page.index('id="references"')
        for tier in ("demo", "full"):
            results = load_results(chapter, tier)
            if results is None:
                assert "not run." in stamp
                continue
            run = list(results.runs.values())[-1]
            for said in (run["commit"][:12], run["date"], run["hardware"]["cpu"], f"Python {run['python']}"):
                assert said in stamp, (chapter.slug, tier, said)


def test_every_other_page_ends_with_what_it_was_compiled_from():
    commit, _ = provenance.code_state(ROOT)
    written = [page for page in browser.PAGES if "book" in page.relative_to(browser.HTML).parts]
    assert len(written) >= 9
    for page in written:
        text = page.read_text()
        stamps = STAMP.findall(text)
        assert len(stamps) == 1, page
        assert re.search(r"Python 3\.\d+\.\d+; jupyter-book \d\S+; sphinx \d[\d.]+\.", stamps[0]), page
        if commit:
            assert re.search(r"compiled from commit [0-9a-f]{12} of \d{4}-\d\d-\d\d", stamps[0]), page
        after = text[text.index(stamps[0]) + len(stamps[0]) :].split("<footer")[0]
        assert not re.search(r"<(p|h\d|li|table|figure)\b", after), page


@pytest.mark.parametrize("name", ["bench", "site", "sweep_scaling"])
def test_a_page_made_from_a_record_names_the_record_s_newest_run(name):
    page = {"bench": "generated/benchmarks", "site": "how-we-know", "sweep_scaling": "sweeps"}[name]
    about = json.loads((ROOT / "results" / f"{name}.json").read_text())["circumstances"]
    newest = about if "date" in about else sorted(about.values(), key=lambda run: run["date"])[-1]
    stamp = STAMP.search((browser.HTML / "book" / f"{page}.html").read_text())[0]
    for said in (newest["date"], newest["commit"][:12], newest["hardware"]["cpu"]):
        assert said in stamp


def claims_found():
    """``(part, kind, verdict)`` of every claim of the book."""
    return [
        (chapter.part, claim.kind, ledger.verdicts_of(chapter.slug)[claim.id])
        for chapter in load_all()
        for claim in chapter.claims
    ]


def test_the_ledger_is_filtered_by_part_kind_and_verdict_without_a_kernel(open_page):
    found = claims_found()
    page = open_page(LEDGER)
    shown = lambda: page.locator("#the-ledger details.wk-claim:visible").count()
    page.add_style_tag(content=browser.SEEN)
    assert shown() == len(found)
    (part, kind, verdict), _ = Counter(found).most_common(1)[0]
    for name, value, place in (("verdict", verdict, 2), ("part", part, 0), ("kind", kind, 1)):
        page.locator(f"select[name={name}]").select_option(value)
        found = [one for one in found if one[place] == value]
        assert shown() == len(found) > 0
    everything = len(claims_found())
    assert page.locator(".wk-filter output").inner_text() == f"{shown()} of {everything} claims"
    assert f"part={part}" in page.url and f"kind={kind}" in page.url
    again = open_page(LEDGER)
    again.goto(page.url)
    assert again.locator(".wk-filter output").inner_text() == page.locator(".wk-filter output").inner_text()
    again.goto(LEDGER.as_uri() + "#verdict=nonsense")
    assert again.locator(".wk-filter output").inner_text() == f"{everything} of {everything} claims"


def test_without_script_and_on_paper_the_ledger_shows_every_claim(open_page):
    page = open_page(LEDGER, DESKTOP, java_script_enabled=False)
    page.emulate_media(media="print")
    assert page.locator("#the-ledger details.wk-claim:visible").count() == len(claims_found())
    assert page.locator("#the-ledger details.wk-claim dl:visible").count() == len(claims_found()), "unfolded on paper"


def test_an_address_that_ends_in_a_claim_opens_it(open_page):
    name = load_all()[-1].claims[-1].id
    page = open_page(LEDGER)
    assert not page.locator(f"#{name} dl").is_visible()
    page.goto(f"{LEDGER.as_uri()}#{name}")
    page.locator(f"#{name} dl").wait_for(state="visible")
    assert page.locator("#the-ledger details.wk-claim[open]").count() == 1


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_ledger_begins_with_counts_and_has_one_line_per_claim(open_page, size):
    page = open_page(LEDGER, size)
    page.add_style_tag(content=browser.SEEN)
    first = page.locator("#the-ledger table").first.bounding_box()
    lines = page.locator("#the-ledger details.wk-claim")
    assert first["y"] < lines.first.bounding_box()["y"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    heights = [box["height"] for box in map(lambda one: one.bounding_box(), lines.all())]
    most = 180 if size is DESKTOP else 330  # a claim is a sentence or two: six lines of text, ten on a phone
    assert max(heights) < most, max(heights)
    lines.first.locator("summary").click()
    assert lines.first.locator("dl").is_visible()
    assert lines.first.locator("dl").bounding_box()["width"] <= size["width"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_on_a_phone_the_ledgers_of_a_chapter_are_cards_that_fit_and_say_what_each_line_is(look, path):
    page = look(path, PHONE)
    page.styled(browser.SEEN)
    tables = page.locator('.workings-ledger[aria-label^="Ledger"]')
    assert tables.count() >= 3
    one = page.locator('.workings-ledger[aria-label^="Ledger of"]').first
    head = one.locator("thead th").all_text_contents()
    cells = "e => [...e.querySelector('tbody tr').cells].map(c => getComputedStyle(c, '::before').content)"
    said = one.evaluate(cells)
    assert said[:3] == ["none"] * 3 and '"Demo: "' in said and len(said) == len(head)
    for column, words in zip(head[3:], said[3:], strict=True):
        assert words == f'"{column.removesuffix(" here")}: "', (column, words)
    wide = "es => es.filter(e => e.querySelector('tbody tr, dl') && e.scrollWidth > e.clientWidth + 1).length"
    assert tables.evaluate_all(wide) == 0
    desk = look(path)
    assert (
        desk.evaluate("""getComputedStyle(document.querySelector('[aria-label^="Ledger of"] td')).display""")
        == "table-cell"
    )
