"""Tiers and the command line: the full path of every chapter runs, on generated data, within the tests."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import contribute
import new
from workings import cli, ledger
from workings.ledger.criteria import KINDS
from workings.runs import checkout

ROOT = checkout.root()
SLUGS = [path.stem for path in checkout.notebook_scripts()]
pytestmark = pytest.mark.filterwarnings("default")  # papermill and nbclient warn about each other


def run(*arguments, cwd=ROOT, **variables):
    command = [
        sys.executable,
        *(["-m", "workings.cli"] if arguments[0] == "run" else ["tools/contribute.py"]),
        *arguments,
    ]
    environment = {**os.environ, "WORKINGS_QUIET": "1", **variables}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.mark.alone
@pytest.mark.parametrize("slug", SLUGS)
def test_the_full_tier_runs_dry(slug, tmp_path):
    before = {path: path.read_bytes() for path in (ROOT / "results").rglob("*.json")}
    done = run("run", slug, "--tier", "full", "--dry-run", WORKINGS_RUNS=str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    first, *rest = done.stdout.splitlines()
    assert first.startswith("Full tier, dry run")
    assert any(re.match(r"This run took [\d.]+ (s|min|h); peak memory \d+ MiB", line) for line in rest)
    executed = nbformat.read(tmp_path / slug / "full-dry.ipynb", as_version=4)
    injected = [c for c in executed.cells if "injected-parameters" in c.metadata.get("tags", [])]
    assert 'tier = "full"' in injected[0].source and "dry_run = True" in injected[0].source
    after = {path: path.read_bytes() for path in (ROOT / "results").rglob("*.json")}
    assert after == before, "a dry run must record nothing"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "no_such_chapter"], "no notebook called 'no_such_chapter'"),
        (["run", SLUGS[0], "--tier", "huge"], "tier must be one of demo, full, got 'huge'"),
        (["refresh", "no_such_chapter"], "there are: "),
        (["new", "no_part", "thing"], "part 'no_part' is not one of"),
        (["new", "uncertainty", "Bad-Slug"], "slug 'Bad-Slug' must be"),
        (["new", "uncertainty", "conformal_set_size"], "exists already"),
        (["address", "example.org"], "must look like https://"),
    ],
)
def test_a_mistake_ends_with_status_two_and_one_line(arguments, message, capsys):
    assert (cli if arguments[0] == "run" else contribute).main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert message in said and said.count("\n") == 0


def test_list_names_every_chapter_and_counts_its_verdicts(capsys):
    assert cli.main(["list"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    for slug in SLUGS:
        (at,) = [n for n, line in enumerate(lines) if f"/{slug}: " in line]
        for kind, words in ledger.counts_of(slug).items():
            at += 1
            head, _, said = lines[at].strip().partition(": ")
            assert head == f"{KINDS[kind]} ({sum(words.values())})"
            assert [int(one.rsplit(": ", 1)[1]) for one in said.split("; ")] == list(words.values())


def test_the_table_of_contents_takes_a_chapter_in_its_part():
    toc = (ROOT / "_toc.yml").read_text()
    grown = new.add_to_toc(toc, "uncertainty", "abc")
    assert (
        grown.index("conformal_set_size") < grown.index("notebooks/uncertainty/abc") < grown.index("caption: Reference")
    )
    without = re.sub(r"  - caption: Few shot\n(?:    .*\n)+", "", toc)  # as if that part had no chapter yet
    fresh = new.add_to_toc(without, "few_shot", "abc")
    assert (
        "  - caption: Few shot\n    chapters:\n      - file: notebooks/few_shot/abc\n  - caption: Disentangling"
        in fresh
    )


@pytest.fixture(scope="module")
def copy_with_new_chapter(tmp_path_factory):
    """A copy of the checkout in which `make new` began a chapter and `make refresh` executed it."""
    copy = tmp_path_factory.mktemp("checkout") / "workings"
    skip = shutil.ignore_patterns(".venv*", "_build", ".git", ".cache", ".hypothesis", "__pycache__", "*.ipynb")
    at_the_top = lambda folder, names: {"runs"} & set(names) if Path(folder) == ROOT else set()
    shutil.copytree(ROOT, copy, ignore=lambda folder, names: skip(folder, names) | at_the_top(folder, names))
    for script in copy.glob("notebooks/*/*.py"):  # the others are not under test here
        shutil.copy(ROOT / script.relative_to(copy).with_suffix(".ipynb"), script.with_suffix(".ipynb"))
    path = {"PYTHONPATH": str(copy / "lib")}
    made = run("new", "few_shot", "template_trial", cwd=copy, **path)
    assert made.returncode == 0, made.stderr
    stored = run("refresh", "template_trial", cwd=copy, **path)
    assert stored.returncode == 0, stored.stderr[-2000:]
    return copy


def test_a_new_chapter_passes_the_tests_it_comes_with(copy_with_new_chapter):
    copy = copy_with_new_chapter
    tests = ["tests/few_shot", "tests/chapters", "tests/test_notebooks.py", "tests/test_dependencies.py",
             "tests/runs/test_needs.py", "tests/runs/test_sweep.py"]  # fmt: skip
    mine = "template_trial or there_is_at_least_one or every_entry or are_those_of_chapters"
    notebook = "notebooks/few_shot/template_trial.ipynb"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env",
               "--nbval-sanitize-with", "tests/nbval.cfg", "-k", mine, *tests, notebook]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(copy / "lib")}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(command, capture_output=True, text=True, cwd=copy, env=environment)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "template_trial.ipynb::Cell" not in done.stdout.split("short test summary")[-1]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 40, "the choice of tests has lost some of them"


def test_a_new_chapter_is_in_the_style_that_make_lint_asks_for(copy_with_new_chapter):
    made = [str(path) for path in copy_with_new_chapter.rglob("*.py") if "template_trial" in str(path)]
    assert len(made) == 10
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, *made], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_a_new_chapter_has_its_card_on_the_front_page(copy_with_new_chapter, tmp_path):
    """The generator in the copy, as `make book` calls it: it refuses a chapter without a card, question or figure."""
    copy = copy_with_new_chapter
    code = "import sys, pathlib; import front_page; f = pathlib.Path(sys.argv[1]); front_page.write(f, f / 'cards')"
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(copy / "lib"), str(copy / "tools")])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=copy, env=path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    cards = (tmp_path / "cards.md").read_text()
    card = cards[cards.index("template_trial.png") :]
    assert "Template trial" in card and "5 minutes to read, 10 seconds to run" in card
    assert len(re.search(r'alt="([^"]+)"', card)[1]) > 60
    assert (tmp_path / "cards" / "template_trial.png").stat().st_size < 60_000
    assert "Template trial" in (tmp_path / "questions.md").read_text()


def test_a_new_chapter_has_its_record_and_its_line_in_the_book(copy_with_new_chapter):
    copy = copy_with_new_chapter
    record = json.loads((copy / "results/few_shot/template_trial/demo.json").read_text())
    assert set(record["rows"]) == {"template-trial-1"}
    assert "notebooks/few_shot/template_trial" in (copy / "_toc.yml").read_text()
    code = "import ledger_page; print(ledger_page.ledger_markdown())"
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(copy / "lib"), str(copy / "tools")])}
    page = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=copy, env=path).stdout
    assert "template-trial-1" in page


def test_a_new_chapter_brings_what_the_tests_of_built_pages_ask_of_every_chapter(copy_with_new_chapter):
    text = (copy_with_new_chapter / "notebooks/few_shot/template_trial.py").read_text()
    assert len(re.findall(r"<details>", text)) >= 4 and r"\tag{1}" in text and "(1)" in text
    assert "# ## References" in text and len(re.findall(r"(?<!\$)\$[^$]+\$(?!\$)", text)) > 20
    known = (ROOT / "book" / "references.bib").read_text()
    links = set(re.findall(r"https://(?:doi\.org|arxiv\.org/abs)/([^)\s\"]+)", text))
    assert len(links) >= 3 and all(link in known for link in links)
    terms = re.findall(
        r"(?m)^([A-Za-z][^\n:]*)$", (ROOT / "book" / "glossary.md").read_text().split(":::{glossary}")[1]
    )
    prose = " ".join(re.sub(r"(?ms)^# <details>.*?</details>$", "", text).replace("\n#", "").lower().split())
    assert sum(f" {term.lower()}" in prose for term in terms) >= 8, "links to the glossary"


def test_every_link_to_the_literature_is_in_the_bibliography():
    known = (ROOT / "book" / "references.bib").read_text().lower()
    for script in checkout.notebook_scripts():
        text = script.read_text()
        for link in re.findall(r"https://(?:doi\.org|arxiv\.org/abs)/([^)\s\"]+)", text):
            assert link.lower() in known, f"{Path(script).stem}: {link} is not in book/references.bib"
