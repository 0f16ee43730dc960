"""The build: what is generated, what counts as changed, and how a failure reads."""

import re
import shutil
import subprocess
import sys

import pytest

from workings.runs import checkout

ROOT = checkout.root()
HTML = ROOT / "_build" / "html"
PAGES = sorted(p for p in HTML.rglob("*.html") if "_static" not in p.parts) if HTML.exists() else []


def tool(code):
    path = f"import sys; sys.path[:0] = [{str(ROOT / 'tools')!r}, {str(ROOT / 'lib')!r}]; import build_book; "
    return subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, cwd=ROOT)


def test_a_second_build_finds_nothing_to_do():
    done = tool("build_book.main()")
    assert done.returncode == 0 and "up to date" in done.stdout


def test_the_fingerprint_sees_a_changed_result(tmp_path):
    code = (
        "import pathlib, shutil; new = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None;"
        f"a = build_book.fingerprint(); build_book.ROOT = pathlib.Path({str(tmp_path)!r}); b = build_book.fingerprint(); print(a != b)"
    )
    assert tool(code).stdout.strip() == "True"


def test_a_failed_compilation_names_the_warning_and_keeps_the_old_book(tmp_path):
    for name in ("_config.yml", "_toc.yml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (tmp_path / "book" / "assets").mkdir(parents=True)
    (tmp_path / "book" / "references.bib").write_text("")
    (tmp_path / "book" / "assets" / "favicon.svg").write_text("<svg/>")
    (tmp_path / "book" / "index.md").write_text("# Title\n\nSee {ref}`a-label-that-does-not-exist`.\n")
    shutil.copytree(ROOT / "tools" / "sphinx_ext", tmp_path / "tools" / "sphinx_ext")
    old = tmp_path / "_build" / "html"
    old.mkdir(parents=True)
    (old / "index.html").write_text("the old book")
    code = (
        f"import pathlib; r = pathlib.Path({str(tmp_path)!r}); build_book.ROOT = r; build_book.HTML = r / '_build/html';"
        "build_book.SOURCE = r / '_build/source'; build_book.SCRATCH = r / '_build/next'; build_book.stage();"
        "build_book.compile_book()"
    )
    done = tool(code)
    assert done.returncode == 1 and "a-label-that-does-not-exist" in done.stderr
    assert (old / "index.html").read_text() == "the old book"


def test_every_internal_link_and_anchor_exists():
    assert PAGES, "run `make book` first (make test does)"
    ids = {page: set(re.findall(r'\bid="([^"]+)"', page.read_text())) for page in PAGES}
    missing = []
    for page in PAGES:
        for target in re.findall(r'href="([^"]+)"', re.sub(r"(?s)<script.*?</script>", "", page.read_text())):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            name = name.partition("?")[0]
            goal = (page.parent / name).resolve() if name else page
            if not goal.exists() or (anchor and goal in ids and anchor not in ids[goal]):
                missing.append((page.name, target))
    assert missing[:5] == []


def test_no_page_asks_the_network_for_a_script_style_font_or_picture():
    for page in PAGES:
        text = re.sub(r'<link rel="canonical"[^>]*>', "", page.read_text())
        assert re.findall(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="(https?://[^"]+)"', text) == [], page.name


@pytest.mark.parametrize("path", sorted((ROOT / "book").glob("*.md")), ids=lambda p: p.stem)
def test_a_text_page_has_one_title(path):
    text = re.sub(r"(?s)\A---.*?---\n", "", path.read_text())
    text = re.sub(r"(?s)```.*?```", "", text)
    assert len(re.findall(r"(?m)^# ", text)) == 1


def test_a_claims_file_that_is_wrong_stops_the_build_with_its_line_and_no_traceback():
    code = (
        "from workings.ledger import claims; build_book.HTML = build_book.HTML / 'none'\n"
        "def wrong(): raise claims.ClaimsError(['claims/uncertainty/x.yml:17: did you mean compare?'])\n"
        "build_book.write_pages = wrong; build_book.main()"
    )
    done = tool(code)
    assert done.returncode == 1 and "x.yml:17: did you mean compare?" in done.stderr
    assert "Traceback" not in done.stderr
