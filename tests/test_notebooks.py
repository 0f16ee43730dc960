"""What every stored notebook must be, besides passing nbval: nbval compares nothing in a cell that never ran."""

import ast
import base64
import io
import json
import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from PIL import Image

import inputs
import stamp
from refresh import WIDGET_VIEW, fingerprint, read_script
from workings.ledger.claims import load_all
from workings.runs import checkout
from workings.runs import stored as storing
from workings.show.figures import PIXELS_AN_INCH, WIDTH

SCRIPTS = checkout.notebook_scripts()
WITHOUT_FRAMES, WITH_FRAMES = 800_000, 1_400_000
ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:root|home|work|tmp|usr|opt|Users|content|mnt|var)/[\w.-]+|[A-Z]:\\\\\w+")
AGREES = "# agrees with the kernel"
COLAB_TARGET = re.compile(r"https://colab\.research\.google\.com/github/(\S+?)/blob/(\S+?)/(notebooks/\S+?\.ipynb)")


@pytest.fixture(params=SCRIPTS, ids=lambda path: path.stem)
def script(request) -> Path:
    return request.param


@pytest.fixture
def notebook(script):
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def own_lines(source):
    """Lines of a cell that are not import statements."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return len(source.splitlines()) - sum(node.end_lineno - node.lineno + 1 for node in nodes)


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def test_there_is_at_least_one_notebook():
    assert SCRIPTS, "no notebooks found: every test below would pass on nothing"


def test_every_notebook_has_a_script():
    stray = [path.as_posix() for path in inputs.strays(checkout.root())]
    assert not stray, f"{', '.join(stray)}: no chapter of _toc.yml; delete it, or begin a chapter with `make new`"
    assert all(path.with_suffix(".ipynb").is_file() for path in SCRIPTS), (
        "make refresh makes the notebook of a new script"
    )


def test_nothing_has_touched_the_notebook_since_it_was_stored(script):
    notebook = storing.read(script.with_suffix(".ipynb"))
    remedy = f"run: make refresh NOTEBOOK={script.stem}"
    wrong = storing.fault(notebook)
    assert wrong is None, f"{wrong}; {remedy}"
    assert storing.untouched(notebook), remedy


def test_the_notebook_was_run_with_the_script_library_claims_and_record_of_today(script):
    made_from = storing.made_from(storing.read(script.with_suffix(".ipynb")))
    assert made_from == fingerprint(script), (
        f"what decides its outputs has changed since it was run; run: make refresh NOTEBOOK={script.stem}"
    )


def test_every_code_cell_was_executed_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_the_notebook_says_what_its_script_says(script, notebook):
    fresh = read_script(script)
    remedy = f"edit only {script.name}, never the .ipynb, then run: make refresh NOTEBOOK={script.stem}"
    if len(notebook.cells) != len(fresh.cells):
        pytest.fail(f"{len(fresh.cells)} cells in the script, {len(notebook.cells)} in the notebook; {remedy}")
    for stored, cell in zip(notebook.cells, fresh.cells, strict=True):
        if stored.source != cell.source:
            pytest.fail(f"the notebook differs in the cell that begins {cell.source[:60]!r}; {remedy}")
    assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in fresh.cells]
    assert [dict(c.metadata) for c in notebook.cells] == [dict(c.metadata) for c in fresh.cells]
    assert [c.id for c in notebook.cells] == [c.id for c in fresh.cells]


def test_the_script_is_what_jupytext_would_write(script, notebook):
    again = jupytext.writes(read_script(script), fmt="py:percent")
    body = lambda text: text.split("# ---\n", 2)[-1]
    assert body(again) == body(script.read_text())


def test_outputs_hold_no_stderr_error_or_absolute_path(notebook):
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.get("text")
        text = json.dumps([v for k, v in output.get("data", {}).items() if not k.startswith("image/")])
        text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text + str(output.get("text", "")))
        assert not ABSOLUTE.search(text), ABSOLUTE.search(text)
        assert WIDGET_VIEW not in output.get("data", {}), "widget views die without a kernel; `make refresh` drops them"
        assert "it/s]" not in text, "a progress bar left its text behind"


VERDICT = re.compile(r"([^;]*?)(?::\s*|^\s*)(?:\[?(?:(?:True|False), )*(?:True|False)\]?)(?=\s*$|\s{2,}|[;,])")
LINE = re.compile(
    r"\d|\b(above|below|over|under|between|within|at least|at most|more|most|less|least|fewer|larger|smaller|longer|shorter"
    r"|nearer|every|each|all|none|no|never|only)\b"
)


def bare_verdicts(text):
    """What ``text`` prints as ``...: True`` or ``...: False`` (or a list of them), in words that hold no line to compare with.

    A number, or a word such as *above* or *every*, says what was asked; "equal: True" asks the reader for trust.
    """
    verdicts = [words for line in text.splitlines() for words in VERDICT.findall(line)]
    return [words.strip() for words in verdicts if not LINE.search(words)]


def test_a_printed_verdict_says_what_was_asked(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            plain = "" if "text/html" in output.get("data", {}) else output.get("data", {}).get("text/plain", "")
            bare = bare_verdicts(str(output.get("text", "")) + plain)
            assert not bare, (
                f"print the numbers, or the line they are held against, beside {bare[0]!r}: {cell.source[:60]!r}"
            )


def test_a_verdict_without_its_line_is_found():
    assert bare_verdicts("equal: True\nJ h = h: True   J = identity: False\nTrue\n as the text says: True") == [
        "equal", "J h = h", "J = identity", "", "as the text says"
    ]  # fmt: skip
    assert bare_verdicts("gap 0.1: True   same: False; same: True") == ["same", "same"], "each verdict has its own line"
    fine = "mean accuracy above one half: True\nall MIG below 0.5: True; better\nlower in every seed: False"
    assert bare_verdicts(fine) == []
    assert bare_verdicts("x^2   True   agrees at 8 points") == [], "a table's column"
    assert bare_verdicts("right: [True, False]\nat most 2: [True, True]") == ["right"], "a list"


def test_some_cells_have_outputs(notebook):
    assert sum(bool(cell.outputs) for cell in code_cells(notebook)) >= 3


def test_every_picture_has_alt_text_and_a_caption(notebook):
    for cell in code_cells(notebook):
        if not any("image/png" in output.get("data", {}) for output in cell.outputs):
            continue
        render = cell.metadata.get("mystnb", {})
        alt, figure = render.get("image", {}).get("alt", ""), render.get("figure", {})
        assert len(alt) >= 40, f"alt text missing or too short in the cell that begins: {cell.source[:60]!r}"
        assert len(figure.get("caption", "")) >= 20 and figure.get("name"), cell.source[:60]


def picture_widths(notebook):
    """``(inches, source)`` of every stored picture, and of a control's frames: how wide they were drawn."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                drawn = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                told = output.metadata["image/png"]["width"]
                assert 2 * told == pytest.approx(drawn.width, abs=1), "two dots a pixel"
                yield told / PIXELS_AN_INCH, cell.source
            for data in re.findall(
                r"data:image/png;base64,([A-Za-z0-9+/=]+)", output.get("data", {}).get("text/html", "")
            ):
                frame = Image.open(io.BytesIO(base64.b64decode(data)))
                yield frame.width / frame.info["dpi"][0], cell.source


def test_every_picture_is_narrow_enough_for_a_phone(notebook):
    for inches, source in picture_widths(notebook):
        assert inches <= WIDTH + 0.01, (
            f"{inches:.1f} inches wide, over {WIDTH}, in the cell that begins {source[:60]!r}"
        )


def test_every_picture_inside_html_has_alt_text(notebook):
    for output in outputs(notebook):
        for tag in re.findall(r"<img\b[^>]*>", output.get("data", {}).get("text/html", "")):
            alt = re.search(r'alt="([^"]*)"', tag)
            assert alt and len(alt.group(1)) >= 20


def test_the_notebook_is_small_enough(script, notebook):
    size = script.with_suffix(".ipynb").stat().st_size
    frames = sum(len(m) for o in outputs(notebook) for m in re.findall(r"data:image/png;base64,[A-Za-z0-9+/=]+",
                 o.get("data", {}).get("text/html", "")))  # fmt: skip
    assert size - frames <= WITHOUT_FRAMES
    assert size <= WITH_FRAMES


def test_cells_are_short_and_the_sizes_come_from_settings(notebook):
    lengths = [own_lines(cell.source) for cell in code_cells(notebook)]
    assert max(lengths) <= 30, "a cell over 30 lines is a kernel that has not been written yet"
    tagged = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1 and 'tier = "demo"' in tagged[0].source


def shown(notebook):
    """Sources of the cells that a reader sees without opening a fold; the parameters cell is not the reader's."""
    hidden = {"hide-input", "hide-cell", "remove-input", "remove-cell", "parameters"}
    return [cell.source for cell in code_cells(notebook) if not hidden & set(cell.metadata.get("tags", []))]


def test_the_method_stands_on_the_page_and_agrees_with_the_kernel(notebook):
    cells = [source for source in shown(notebook) if AGREES in source]
    assert len(cells) >= 3, f"{len(cells)} visible cells write a method and assert that the kernel agrees ({AGREES})"
    for source in cells:
        tree = ast.parse(source)
        asserted = {
            n
            for node in ast.walk(tree)
            if isinstance(node, ast.Assert)
            for n in range(node.lineno, node.end_lineno + 1)
        }
        marked = [n for n, line in enumerate(source.splitlines(), start=1) if AGREES in line]
        assert asserted.issuperset(marked), f"no assertion where the cell that begins {source[:60]!r} claims agreement"
        assert written_lines(source) <= 15, f"{written_lines(source)} lines in the cell that begins {source[:60]!r}"


def written_lines(source):
    """Lines of a cell that say something: no import, no empty line."""
    return own_lines(source) - sum(not line.strip() for line in source.splitlines())


def test_visible_code_fits_its_column(notebook):
    for source in shown(notebook):
        assert written_lines(source) <= 20, f"a visible cell of {written_lines(source)} lines: {source[:60]!r}"
        wide = [line for line in source.splitlines() if len(line) > 76]
        assert not wide, f"cut off at the column's edge: {wide[0]!r}"


def test_no_role_of_the_book_shows_raw_outside_it(notebook):
    for cell in notebook.cells:
        raw = re.search(r"\{(numref|doc|ref|cite|term|eq)\}`", cell.source) if cell.cell_type == "markdown" else None
        assert not raw, f"{raw[0]} shows as such on Colab and GitHub; write a plain link, or 'the figure below'"


def test_nbval_is_switched_off_only_with_a_reason(notebook):
    for cell in code_cells(notebook):
        if any(tag.startswith("nbval-") for tag in cell.metadata.get("tags", [])):
            assert "# not compared because" in cell.source, cell.source[:80]


def test_badge_and_setup_cell_carry_the_one_address_and_tag(script, notebook):
    owner_repo = "/".join(checkout.address().split("/")[-2:])
    found = COLAB_TARGET.findall(notebook.cells[0].source)
    assert found == [(owner_repo, checkout.tag(), f"notebooks/{script.parent.name}/{script.stem}.ipynb")]
    setup = code_cells(notebook)[0].source
    assert f"git+{checkout.address()}@{checkout.tag()}" in setup


def test_no_other_file_disagrees_about_the_address():
    address, tag = checkout.address(), checkout.tag()
    for path in stamp.stamped_files():
        assert stamp.stamped(path.read_text(), address, tag) == path.read_text(), (
            f"{path.name}: run `tools/contribute.py stamp`"
        )


def test_changing_the_address_changes_badge_setup_and_config_together():
    before = "https://colab.research.google.com/github/a/b/blob/v0/notebooks/x/y.ipynb git+https://github.com/a/b@v0"
    before += '\n  url: https://github.com/a/b\n  branch: v0\nrepository-code: "https://github.com/a/b"\n'
    after = stamp.stamped(before, "https://example.org/new/place", "v2.0.0")
    assert after.count("new/place") == 4 and after.count("v2.0.0") == 3 and "a/b" not in after


def test_one_command_moves_the_project(tmp_path, monkeypatch):
    for name in ("pyproject.toml", "_config.yml", "CITATION.cff", "README.md"):
        (tmp_path / name).write_text((checkout.root() / name).read_text())
    for script in SCRIPTS[:1]:
        for path in (script, script.with_suffix(".ipynb")):
            copy = tmp_path / path.relative_to(checkout.root())
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    old = checkout.address()
    changed = stamp.set_address("https://github.com/someone/else.git")
    assert checkout.address() == "https://github.com/someone/else" and len(changed) >= 6
    for path in tmp_path.rglob("*.*"):
        assert old.removeprefix("https://github.com/") not in path.read_text(), path.name
    assert stamp.stamp() == [], "a second stamp has nothing left to do"
    with pytest.raises(ValueError, match="must look like"):
        stamp.set_address("github.com/someone/else")


def test_the_readme_names_every_paper():
    text = (checkout.root() / "README.md").read_text(encoding="utf-8")
    for chapter in load_all():
        first = chapter.paper.authors.split(",")[0].split()[-1]
        assert re.search(rf"{first} et al\. {chapter.paper.year}|erratum", text), (chapter.slug, first)


def names_of(tree, context):
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def bound_later(sources):
    """Names that frames drawn on demand read, and that later cells of ``sources`` (the code of a page) give another value.

    Such a frame is right when the page is made and wrong when a reader moves the slider at the end of a live notebook.
    """
    functions, wrong = {}, set()
    trees = [ast.parse(source) for source in sources]
    for tree in trees:
        functions |= {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for i, tree in enumerate(trees):
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "partial"]
        asked, seen = [call.args[0].id for call in calls if isinstance(call.args[0], ast.Name)], set()
        while asked:
            name = asked.pop()
            if name in seen or name not in functions:
                continue
            seen.add(name)
            own = functions[name]
            inner = {arg.arg for arg in ast.walk(own.args) if isinstance(arg, ast.arg)} | names_of(own, ast.Store)
            read = names_of(own, ast.Load) - inner
            asked += read
            for later in trees[i + 1 :]:
                at_top = {n for node in later.body for n in _bound(node)}
                wrong |= {(name, one) for one in read & at_top}
    return wrong


def _bound(node):
    """Names that a statement of a cell binds in the page."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return set()  # the same thing again
    inside = {n for part in ast.walk(node) if isinstance(part, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)) for n in names_of(part, ast.Store)}  # fmt: skip
    return names_of(node, ast.Store) - inside


def test_a_frame_drawn_when_a_reader_asks_is_the_one_of_its_cell(notebook):
    wrong = bound_later([cell.source for cell in code_cells(notebook)])
    assert not wrong, (
        "names that get another value further down the page: take them as arguments of the frame's function"
    )


def test_a_name_that_changes_below_is_found():
    page = ["def help(): return c", "a, c = 1, 2\ndef frame(x): return a + x + help()\nControl([partial(frame, 1)])"]
    assert bound_later(page) == set()
    assert bound_later([*page, "b = [a for a in range(3)]\nx = 2"]) == set()
    assert bound_later([*page, "for a in range(3): pass"]) == {("frame", "a")}
    assert bound_later([*page, "c: int = 3"]) == {("help", "c")}
