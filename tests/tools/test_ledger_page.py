"""The ledger page and the benchmark page: one line per claim, links, and no word that turns into markup."""

import json
import os
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

import ledger_page
from workings import PARTS, ledger, paths
from workings.ledger import claims
from workings.ledger.criteria import KINDS
from workings.ledger.results import ResultsError
from workings.ledger.verdicts import SYMBOLS
from workings.runs import provenance

TOOLS = paths.checkout_root() / "tools"
CLAIMS = """\
chapter: toy
part: uncertainty
title: "A toy"
paper: {authors: "A. Author", year: 2024, key: author2024}
source: "We read the abstract."
claims:
  - id: toy-1
    kind: identity
    claim: "Sizes | pipes *stars* _lines_ `code` <b>tags</b> $x$ {role} [link](x)"
    where: "theorem"
    paper: {value: null, note: "identity", source: abstract}
    demo: {compare: at_most, target: 1.0e-10, unit: "relative error", set: "after a trial"}
    full: {not_planned: "an identity"}
  - id: toy-2
    kind: paper
    claim: "A width."
    where: "table"
    paper: {value: 1.33, unit: "sd", source: plot}
    demo: {compare: within, target: 1.33, tolerance: 0.5, unit: "sd", indicative: "a toy", set: "after a trial"}
    full: {compare: within, target: 1.33, tolerance: 0.05, unit: "sd", set: "before any run"}
"""


@pytest.fixture
def house(tmp_path):
    (tmp_path / "claims" / "uncertainty").mkdir(parents=True)
    (tmp_path / "claims" / "uncertainty" / "toy.yml").write_text(CLAIMS)
    return {"claims": tmp_path / "claims", "results": tmp_path / "results"}


def tables(text) -> list[list[list[str]]]:
    """The cells of every table, as a Markdown parser reads them: plain words only, markup would show up as tags."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and found[-1] and token.level > 2:
            found[-1][-1].append("".join(f"<{t.type}>" if t.type != "text" else t.content for t in token.children))
    return found


class Claims(HTMLParser):
    """The claims of a page as a browser reads them: attributes, the line, and the names and words that it opens."""

    def __init__(self, text):
        super().__init__()
        self.found, self.names = {}, []
        blocks = MarkdownIt("commonmark").parse(text)  # only what Markdown leaves alone is HTML
        self.feed("\n".join(token.content for token in blocks if token.type == "html_block"))

    def handle_starttag(self, tag, attrs):
        self.tag = tag
        if tag == "details":
            self.one = {**dict(attrs), "line": "", "links": []}
            self.found[self.one["id"]] = self.one
        elif tag == "a":
            self.one["links"].append(dict(attrs)["href"])
        elif tag == "dt":
            self.names.append("")
        elif tag not in ("summary", "strong", "span", "dl", "dd", "p"):
            raise AssertionError(f"markup out of a claim's words: {tag}")

    def handle_endtag(self, tag):
        self.tag = "summary" if tag in ("span", "strong") else None

    def handle_data(self, data):
        if self.tag in ("strong", "span", "summary"):
            self.one["line"] += data
        elif self.tag == "dt":
            self.names[-1] += data
        elif self.tag == "dd":
            self.one[self.names[-1]] = self.one.get(self.names[-1], "") + data


def test_every_claim_is_one_line_that_opens_with_a_link_to_its_cell(house):
    found = Claims(ledger_page.ledger_markdown(**house)).found
    assert list(found) == ["toy-1", "toy-2"]
    two = found["toy-2"]
    assert " ".join(two["line"].split()) == "toy-2 A width. – not run"
    assert two["Full"] == "Not run. Asked: within 0.05 of 1.33 sd."
    assert two["Demo"] == "Not run. Asked: within 0.5 of 1.33 sd. Only a hint: a toy."
    assert two["The source says"] == "1.33 sd; read off a plot of the paper or of its code's pages."
    assert two["Criteria set"] == "Demo: After a trial. Full: Before any run."
    assert two["links"] == ["../../notebooks/uncertainty/toy.html#toy-2"]
    assert (two["data-part"], two["data-kind"], two["data-verdict"]) == ("uncertainty", "paper", "not run")
    assert "(identity)" in found["toy-1"]["line"] and found["toy-1"]["Full"] == "Not planned: an identity."


def test_a_claim_that_its_chapter_does_not_show_yet_leads_to_the_chapter():
    found = Claims(ledger_page.ledger_markdown()).found
    for chapter in claims.load_all():
        page = f"../../notebooks/{chapter.part}/{chapter.slug}.html"
        script = (TOOLS.parent / "notebooks" / chapter.part / f"{chapter.slug}.py").read_text()
        for name in chapter.ids():
            goal = f"{page}#{name}" if f'id="{name}"' in script else page
            assert found[name]["links"] == [goal]


def test_no_word_of_a_claim_turns_into_markup(house):
    found = Claims(ledger_page.ledger_markdown(**house)).found
    assert "Sizes | pipes *stars* _lines_ `code` <b>tags</b> $x$ {role} [link](x)" in found["toy-1"]["line"]


def test_counts_come_first_for_each_kind_and_chapter_apart(house):
    book = ledger.open("toy", record=True, **house)
    book.check("toy-1", 0.0)
    book.check("toy-2", 1.4)
    book.close()
    text = ledger_page.ledger_markdown(**house)
    (table,) = tables(text)
    assert table[0] == ["Chapter", *(name.capitalize() for name in KINDS.values())]
    assert table[1:] == [["All chapters", "≈ 1", "✓ 1", "", ""], ["A toy", "≈ 1", "✓ 1", "", ""]]
    assert text.index("## Counts") < text.index("What the words mean") < text.index("<details")


def test_the_counts_of_the_book_are_those_of_its_chapters():
    whole = {kind: Counter() for kind in KINDS}
    for chapter in claims.load_all():
        for kind, words in ledger.counts_of(chapter.slug).items():
            whole[kind].update(words)
    table = tables(ledger_page.ledger_markdown())[0]
    symbols = {symbol: word for word, symbol in SYMBOLS.items()}
    pairs = [[one.split() for one in cell.split(", ") if one] for cell in table[1][1:]]
    assert [{symbols[symbol]: int(n) for symbol, n in one} for one in pairs] == [dict(whole[kind]) for kind in KINDS]
    assert [row[0] for row in table[2:]] == [c.title for part in PARTS for c in claims.load_all() if c.part == part]


def test_recorded_runs_appear_with_verdict_spread_and_circumstances(house, monkeypatch):
    monkeypatch.setattr(provenance, "code_state", lambda *_: ("0123456789abcdef0123", True))
    book = ledger.open("toy", "full", record=True, **house)
    book.check("toy-2", 1.3412, spread=0.031, seeds=[0, 1, 2, 5])
    book.stopwatch.add(600)
    book.close()
    text = ledger_page.ledger_markdown(**house)
    two = Claims(text).found["toy-2"]
    assert two["data-verdict"] == "reproduced" and two["Verdict"] == "✓ reproduced: the full run met its criterion."
    assert two["Full"] == "1.341 ± 0.031: met. Asked: within 0.05 of 1.33 sd."
    (line,) = [line for line in text.splitlines() if line.startswith("- full, ")]
    line = line.replace("\\", "")
    for word in ("full, toy-2: ", "commit 0123456789ab with uncommitted changes", "Python 3.", "wall time 10 min",
                 "peak memory", "seeds 0-2, 5", "cores of"):  # fmt: skip
        assert word in line, (word, line)


def test_earlier_sittings_of_a_run_are_named():
    sitting = {"commit": "a" * 40, "cpu": "x", "results": 3, "seconds": 100.0, "from": "2026-11-30", "to": "2026-12-01"}
    unknown = dict.fromkeys(sitting) | {"results": 1}
    told = ledger_page.run_text({"wall_s": 160.0, "earlier": [sitting, unknown]})
    assert "; 3 results of an earlier sitting (2026-11-30, commit aaaaaaaaaaaa, x, 100 s)" in told
    assert "; 1 result of an earlier sitting (day unknown, commit unknown, processor unknown)" in told


def test_a_run_that_settles_nothing_says_why(house):
    book = ledger.open("toy", "full", record=True, **house)
    book.check("toy-2", 1.41, too_small="one seed")
    book.close()
    two = Claims(ledger_page.ledger_markdown(**house)).found["toy-2"]
    assert two["Full"].startswith("1.4: undecided, because one seed.")
    assert two["data-verdict"] == "undecided"


def test_a_criterion_that_changed_after_the_run_is_pointed_out(house):
    book = ledger.open("toy", "full", record=True, **house)
    book.check("toy-2", 1.41)
    book.close()
    file = house["claims"] / "uncertainty" / "toy.yml"
    file.write_text(file.read_text().replace("tolerance: 0.05", "tolerance: 0.1"))
    said = Claims(ledger_page.ledger_markdown(**house)).found["toy-2"]["Full"]
    assert said == "1.4: met. Asked: within 0.1 of 1.33 sd. When it ran, the criterion was: within 0.05 of 1.33 sd."
    file.write_text(
        file.read_text().replace('0.1, unit: "sd"', '0.1, unit: "cm"')
    )  # another quantity: the value says nothing
    assert Claims(ledger_page.ledger_markdown(**house)).found["toy-2"]["Full"].startswith("Not run.")


def test_no_run_no_claims_and_no_benchmark_are_said(house, tmp_path):
    assert "No run has been recorded yet." in ledger_page.ledger_markdown(**house)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "No chapter has claims yet." in ledger_page.ledger_markdown(empty, empty)
    assert "Not run yet" in ledger_page.bench_markdown(empty)


def test_each_part_has_its_section_in_the_books_order(house):
    (house["claims"] / "robustness").mkdir()
    text = CLAIMS.replace("toy", "aaa").replace("part: uncertainty", "part: robustness")
    (house["claims"] / "robustness" / "aaa.yml").write_text(text)
    heads = [line for line in ledger_page.ledger_markdown(**house).splitlines() if line.startswith("## ")]
    assert heads == ["## Counts", "## Robustness", "## Uncertainty"]


def test_a_malformed_claims_or_results_file_stops_the_page(house):
    file = house["results"] / "uncertainty" / "toy" / "demo.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    with pytest.raises(ResultsError, match=r"demo\.json"):
        ledger_page.ledger_markdown(**house)
    (house["claims"] / "uncertainty" / "toy.yml").write_text("title: x")
    with pytest.raises(claims.ClaimsError, match=r"toy\.yml:1"):
        ledger_page.ledger_markdown(**house)


ROW = {
    "id": "rank", "chapter": "conformal_set_size", "what": "10^6 scores", "ours": 0.01234, "peer": "peer|x",
    "theirs": 0.0456, "unit": "s", "ratio": 3.6951, "ratio_low": 3.5, "ratio_high": 4.0, "repeats": 7, "note": None,
}  # fmt: skip
BENCH = {"rows": [ROW], "circumstances": {"date": "2026-01-01T00:00:00Z", "versions": {"numpy": "2.4"}, "seeds": [1]}}


def write_bench(folder, content):
    (folder / "bench.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_the_benchmark_page_shows_rows_ratios_with_spread_and_circumstances(tmp_path):
    text = ledger_page.bench_markdown(write_bench(tmp_path, BENCH))
    (table,) = tables(text)
    assert table[1] == ["peer|x", "0.0456 s", "3.70 (3.50 to 4.00)", "7", "–"]
    assert "**10\\^6 scores.** Ours: 0.0123 s." in text
    assert "## On the Expected Size of Conformal Prediction Sets" in text
    assert "versions, numpy: 2.4" in text and "seeds: 1" in text


def test_rows_of_one_comparison_stand_in_one_table_under_their_chapter(tmp_path):
    rows = [ROW, ROW | {"chapter": "giraffe"}, ROW | {"peer": "other"}, ROW | {"what": "memory"}]
    text = ledger_page.bench_markdown(write_bench(tmp_path, BENCH | {"rows": rows}))
    assert [[row[0] for row in table[1:]] for table in tables(text)] == [["peer|x", "other"], ["peer|x"], ["peer|x"]]
    assert text.count("## ") == 2 and text.index("Conformal") < text.index("Giraffe")


def test_a_benchmark_without_a_number_keeps_its_words(tmp_path):
    row = ROW | {"ours": "exact", "theirs": "1 rank too many", "ratio": None, "ratio_low": None, "ratio_high": None}
    (table,) = tables(ledger_page.bench_markdown(write_bench(tmp_path, BENCH | {"rows": [row]})))
    assert table[1][:3] == ["peer|x", "1 rank too many", "–"]
    assert "Nothing was measured." in ledger_page.bench_markdown(write_bench(tmp_path, BENCH | {"rows": []}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ([], "expected an object with 'rows' and 'circumstances'"),
        ({"rows": []}, "expected an object with 'rows' and 'circumstances'"),
        (BENCH | {"rows": [{"id": "x"}]}, r"rows\[0\]: key 'chapter' is missing"),
        (BENCH | {"rows": [ROW | {"rato": 1}]}, r"unknown key 'rato'; did you mean 'ratio'"),
        (BENCH | {"rows": [ROW | {"ratio": "3"}]}, r"rows\[0\].ratio: expected a number"),
        (BENCH | {"rows": [ROW | {"ours": [1]}]}, r"rows\[0\].ours"),
        (BENCH | {"rows": {}}, "rows: expected a list"),
    ],
)
def test_a_benchmark_file_edited_into_nonsense_is_named_with_key_and_remedy(tmp_path, content, words):
    with pytest.raises(ResultsError, match=rf"bench\.json.*{words}(.|\n)*`make bench` writes this file"):
        ledger_page.bench_markdown(write_bench(tmp_path, content))


def test_the_pages_are_made_with_pyyaml_and_pydantic_alone():
    # The book's environment has no numpy: every import but the standard library's and those two's fails here.
    code = """
import sys
PYDANTIC = {'pydantic', 'pydantic_core', 'annotated_types', 'typing_extensions', 'typing_inspection'}
class Wall:
    def find_spec(self, name, path=None, target=None):
        top = name.partition('.')[0]
        known = sys.stdlib_module_names | {'workings', 'yaml', '_yaml', 'ledger_page', *PYDANTIC}
        if top not in known and not top.startswith('_sysconfigdata'):
            raise ImportError('not in the book: ' + name)
sys.meta_path.insert(0, Wall())
import ledger_page
sys.exit(not (ledger_page.ledger_markdown() and ledger_page.bench_markdown()))
"""
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [paths.checkout_root() / "lib", TOOLS]))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path)
    assert done.returncode == 0, done.stderr
