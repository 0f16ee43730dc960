"""What the book says of its own chapters: the cards of the front page, and the stamp at the end of each page."""

import base64
import html
import json
import re
from pathlib import Path

import yaml

import ledger_page
import page_ends
from workings.ledger import counts_of
from workings.ledger.claims import load_all
from workings.ledger.criteria import KINDS
from workings.ledger.results import load_results
from workings.ledger.verdicts import SYMBOLS, WORDS

ROOT = Path(__file__).resolve().parent.parent
MINUTES = re.compile(r"\*\*It takes\*\* (\d+) minutes to read")
RECORDS = {"generated/benchmarks": "bench.json", "how-we-know": "site.json", "sweeps": "sweep_scaling.json"}
ABOUT_RUNS = {
    "index": "each chapter ends with its own",
    "generated/ledger": "each chapter's are under the table of its part",
    "generated/long_runs": "each chapter's full run is described under its title",
}
HERO = "conformal_set_size"  # whose figure stands on the first screen
HELP = "Correct book/front.yml or the chapter, then run `make book` again."


def write(folder, pictures):
    """Write ``hero.md``, ``questions.md`` and ``cards.md`` into ``folder``, one card per chapter by part, and pictures into ``pictures``."""
    entries = yaml.safe_load((ROOT / "book" / "front.yml").read_text(encoding="utf-8"))
    chapters = {chapter.slug: chapter for chapter in load_all()}
    order = [slug for slug in _toc() if slug in chapters]
    if sorted(entries) != sorted(order):
        raise SystemExit(f"\nbook/front.yml has cards for {sorted(entries)}, the book has {sorted(order)}. {HELP}\n")
    pictures.mkdir(parents=True, exist_ok=True)
    parts = {}
    for slug in order:
        parts.setdefault(chapters[slug].part, []).append(_card(chapters[slug], entries[slug], pictures))
    pieces = [
        f'<h3 class="wk-part" id="part-{part}">{_name(part)}</h3>\n<div class="wk-cards">\n{"".join(cards)}</div>\n'
        for part, cards in parts.items()
    ]
    questions = "".join(
        f'<li><a href="{_page(chapters[slug])}">{_method_and_question(entries[slug]["title"])}</a> '
        f'<span class="wk-from">{_name(chapters[slug].part)}</span></li>\n'
        for slug in order
    )
    (folder / "hero.md").write_text(_hero(chapters[HERO], entries[HERO], pictures), encoding="utf-8")
    (folder / "questions.md").write_text(f'<ul class="wk-questions">\n{questions}</ul>\n', encoding="utf-8")
    (folder / "cards.md").write_text("\n".join(pieces), encoding="utf-8")


def _method_and_question(title):
    """A title as HTML in which a phone can leave out the method, so that all questions stand on its first screen."""
    method, colon, question = title.partition(": ")
    if not colon:
        return html.escape(title)
    return "".join(
        f'<span class="wk-{kind}">{html.escape(text)}</span>'
        for kind, text in (("method", f"{method}: "), ("question", question))
    )


def stamp(slug):
    """Markdown for the end of a chapter: commit, date, versions and hardware of the runs whose numbers it shows."""
    chapter = next(chapter for chapter in load_all() if chapter.slug == slug)
    items = []
    for tier, name in (("demo", "What this page shows"), ("full", "The recorded full run")):
        results = load_results(chapter, tier)
        runs = [] if results is None else list(results.runs.values())
        items += [f"<li><strong>{name}:</strong> {html.escape(ledger_page.run_text(run))}.</li>" for run in runs[-1:]]
        if not runs:
            items.append(f"<li><strong>{name}:</strong> not run.</li>")
    return _stamp(items)


def page_stamp(page, compiled):
    """The same for a page that no notebook makes, such as ``how-we-know``: how it was ``compiled``, and the newest run it shows."""
    items = [f"<li><strong>This page:</strong> {html.escape(compiled)}.</li>"]
    file = ROOT / "results" / RECORDS.get(page, "none")
    if page in ABOUT_RUNS:
        items.append(f"<li><strong>The runs it speaks of:</strong> {ABOUT_RUNS[page]}.</li>")
    elif file.is_file():
        about = json.loads(file.read_text(encoding="utf-8"))["circumstances"]
        runs = [about] if "date" in about else list(about.values())
        name = "The run it shows" if len(runs) == 1 else f"The newest of the {len(runs)} runs it shows"
        newest = max(runs, key=lambda run: run["date"])
        items.append(f"<li><strong>{name}:</strong> {html.escape(ledger_page.run_text(newest))}.</li>")
    elif page not in RECORDS:
        items.append("<li><strong>Runs:</strong> none is behind this page.</li>")
    return page_ends.offers(f"book/{page}", page.rpartition("/")[2].replace("-", " ")) + "\n" + _stamp(items)


def _stamp(items):
    return (
        f'<aside class="wk-stamp" aria-label="How this page was made"><p>Stamp</p><ul>{"".join(items)}</ul></aside>\n'
    )


def site_markdown():
    """The table of what Lighthouse measured on the built book, from ``results/site.json``; says so where it was not run."""
    file = ROOT / "results" / "site.json"
    if not file.is_file():
        return "Not measured yet: `make lighthouse` does it.\n"
    site = json.loads(file.read_text(encoding="utf-8"))
    paint = ["first paint", "first paint, slowed", "largest paint"]
    head = ["page", *(name.replace("-", " ") for name in site["goals"]), *paint, "shift", "weight"]
    rows = [["goal", *(f"{goal}" for goal in site["goals"].values()), "1.0 s", "1.0 s", "", "0.1", "1,500 kB"]]
    for name, page in site["pages"].items():
        scores = [str(page[category]) for category in site["goals"]]
        paints = [f"{page[key] / 1000:.2f} s" for key in ("fcp_ms", "fcp_slowed_ms", "lcp_ms")]
        rows.append([name, *scores, *paints, f"{page['cls']:.3f}", f"{page['bytes'] / 1000:,.0f} kB"])
    table = "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
    about = site["circumstances"]
    return (
        f"{table}\n\nMedians of {about['runs']} runs of Lighthouse {about['lighthouse']}, {about['profile']}, on "
        f"{about['hardware']['cores']} cores of {about['hardware']['cpu']}, {about['date'][:10]}, commit {about['commit'][:12]}. "
        "Weight is what a phone loads before it scrolls. Paints are computed by Lighthouse for a slow phone from a fast run; "
        "*slowed* is measured, with network and processor slowed down.\n"
    )


def with_stamp(notebook):
    """The notebook's content with what a page says around it, the stamp last; the notebook itself is left as it is."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    front = yaml.safe_load((ROOT / "book" / "front.yml").read_text(encoding="utf-8"))
    number = _toc().index(notebook.stem) + 1
    content = page_ends.with_ends(content, notebook.stem, notebook.parent.name, number, front)
    content["cells"].append({"cell_type": "markdown", "id": "stamp", "metadata": {}, "source": stamp(notebook.stem)})
    return content


def _hero(chapter, entry, pictures):
    """What the book is, beside one of its figures."""
    notebook = json.loads((ROOT / "notebooks" / chapter.part / f"{chapter.slug}.ipynb").read_text(encoding="utf-8"))
    source, alt = _figure(notebook, entry["figure"], pictures / f"{chapter.slug}.png")
    return (
        '<div class="wk-hero"><div><p><strong>Machine-learning papers, taken apart, derived again and run again.</strong></p>'
        "<p>Each chapter asks one paper's question, derives its method by hand, runs its claims again in front of you, and says "
        "what held up.</p></div>"
        f'<figure><a href="{_page(chapter)}"><img class="wk-drawing" src="{source}" alt="{html.escape(alt)}"></a></figure></div>\n'
    )


def _card(chapter, entry, pictures):
    notebook = json.loads((ROOT / "notebooks" / chapter.part / f"{chapter.slug}.ipynb").read_text(encoding="utf-8"))
    source, alt = _figure(notebook, entry["figure"], pictures / f"{chapter.slug}.png")
    minutes = MINUTES.search("".join("".join(cell["source"]) for cell in notebook["cells"][:2]))
    demo = load_results(chapter, "demo")
    seconds = next(reversed(demo.runs.values()))["wall_s"] if demo and demo.runs else None
    facts = [f"{minutes[1]} minutes to read"] if minutes else []
    facts += [f"{10 * round(seconds / 10) or 10} seconds to run"] if seconds else []
    lists = "".join(_verdicts(kind, words) for kind, words in counts_of(chapter.slug).items())
    said = re.search(r"\b(19|20)\d\d\b", chapter.paper.venue)
    venue = chapter.paper.venue if said else f"{chapter.paper.venue} {chapter.paper.year}"
    paper = f"<cite>{html.escape(chapter.title)}</cite>, {html.escape(venue)}"
    return (
        f'<article class="wk-card"><img src="{source}" alt="{html.escape(alt)}">'
        f'<h4><a href="{_page(chapter)}">{html.escape(entry["title"])}</a></h4><p>{html.escape(entry["says"])}</p>'
        f'<p class="wk-facts">{paper}. {", ".join(facts)}.</p>'
        f"{lists}</article>\n"
    )


def _verdicts(kind, words):
    """One line of a card: how often each verdict was reached for one kind of claim; the kinds are never added up."""
    name = html.escape(KINDS[kind])
    chips = "".join(
        f'<li class="wk-{word.replace(", ", "-").replace(" ", "-")}">{html.escape(f"{SYMBOLS[word]} {WORDS[kind].get(word, word)}")}: {number}</li>'
        for word, number in words.items()
    )
    return f'<ul class="wk-verdicts" aria-label="Verdicts: {name}"><li>{name[:1].upper()}{name[1:]}</li>{chips}</ul>'


def _page(chapter):
    return f"../notebooks/{chapter.part}/{chapter.slug}.html"


def _figure(notebook, name, target):
    """Write the picture of the figure called ``name`` to ``target``; returns its address from the front page and its alt text."""
    for cell in notebook["cells"]:
        about = cell["metadata"].get("mystnb", {})
        if about.get("figure", {}).get("name") == name:
            for output in cell["outputs"]:
                if "image/png" in output.get("data", {}):
                    target.write_bytes(base64.b64decode(output["data"]["image/png"]))
                    return f"../_static/{target.parent.name}/{target.name}", about["image"]["alt"]
    raise SystemExit(f"\nNo figure is called {name!r} in the chapter of that card. {HELP}\n")


def written_pages(root=ROOT):
    """The pages that no notebook makes, as ``index`` or ``generated/ledger``."""
    return [file.removeprefix("book/") for file in _files(root) if file.startswith("book/")]


def _toc():
    return [Path(file).name for file in _files(ROOT) if file.startswith("notebooks/")]


def notebooks(root=ROOT):
    """The notebooks of the table of contents."""
    return [root / f"{file}.ipynb" for file in _files(root) if file.startswith("notebooks/")]


def _files(root):
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    return [toc["root"], *(chapter["file"] for part in toc.get("parts", []) for chapter in part["chapters"])]


def _name(part):
    return part.replace("_", " ").capitalize()
