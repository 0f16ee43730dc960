"""Compile the book from the committed, executed notebooks: from clean, warnings as errors.

Run by `make book` inside the book's environment. Nothing is executed and torch is not needed:
pages come from stored outputs, the ledger and the benchmark page from data files. When no input
has changed since the last good build, nothing is done.
"""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import cells
import front_page
import inputs
import share
from workings.runs import locks, provenance

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
# Sphinx reads [, ] and * in the path of what it compiles as a pattern: a checkout in such a folder is compiled elsewhere.
WORK = (
    ROOT / "_build"
    if not re.search(r"[][*?]", str(ROOT))
    else Path(tempfile.gettempdir()) / ("workings-book-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:12])
)
SOURCE = WORK / "source"
SCRATCH = WORK / "next"
INPUTS = ["_config.yml", "_toc.yml", "pyproject.toml", "requirements/book.lock", "tools/build_book.py"]
INPUTS += [
    "tools/inputs.py",
    "tools/maths.py",
    "tools/slim.py",
    "tools/share.py",
    "tools/front_page.py",
    "tools/cells.py",
    "tools/live_weights.py",
    "tools/page_ends.py",
    "tools/search_data.py",
]
TEXTS = {".md", ".py", ".yml", ".json", ".ipynb", ".css", ".js", ".svg", ".bib", ".toml", ".lock"}
GLOBS = [
    "book/**/*",
    "notebooks/**/*.ipynb",
    "claims/**/*.yml",
    "results/**/*.json",
    "lib/workings/**/*.py",
    "tools/*_page.py",
    "tools/sphinx_ext/*.py",
]


def generated(path):
    return ROOT / "book" / "generated" in path.parents


def fingerprint():
    """Checksum of every input of the build."""
    paths = {ROOT / name for name in INPUTS} | {path for glob in GLOBS for path in ROOT.glob(glob)}
    digest = hashlib.sha256()
    for path in sorted(path for path in paths if path.is_file() and not generated(path)):
        content = path.read_bytes()
        if path.suffix in TEXTS:
            content = content.replace(b"\r\n", b"\n")  # another system's line ends change no page
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + content)
    digest.update(str(history()[1]).encode())  # the pages say so, and no longer once it is committed
    return digest.hexdigest()


def history():
    """``(commit, dirty)`` of the inputs of the build."""
    return provenance.code_state(ROOT, [*INPUTS, *(f":(glob){glob}" for glob in GLOBS)])


def compiled():
    """What the book is compiled from, and with what, in one line."""
    commit, dirty = history()
    code = "compiled from a copy without its history"
    if provenance.why_no_commit(ROOT):
        code = "compiled from a copy whose history git did not read"
    if commit:
        words = " with uncommitted changes" if dirty else ""
        code = f"compiled from commit {commit[:12]} of {provenance.commit_day(ROOT, commit)}{words}"
    made_with = [f"{name} {metadata.version(name)}" for name in ("jupyter-book", "sphinx")]
    return "; ".join([code, f"Python {platform.python_version()}", *made_with])


def write_pages():
    """The pages that are made from data: the ledger and the benchmarks."""
    import kernel_page
    import ledger_page
    import long_runs_page
    import mutants_page
    import sweep_page

    folder = ROOT / "book" / "generated"
    folder.mkdir(exist_ok=True)
    (folder / "ledger.md").write_text(ledger_page.ledger_markdown(), encoding="utf-8")
    (folder / "long_runs.md").write_text(long_runs_page.long_runs_markdown(), encoding="utf-8")
    (folder / "mutants.md").write_text(mutants_page.mutants_markdown(), encoding="utf-8")
    (folder / "benchmarks.md").write_text(ledger_page.bench_markdown(), encoding="utf-8")
    (folder / "kernels.md").write_text(kernel_page.kernels_markdown(), encoding="utf-8")
    (folder / "sweep_scaling.md").write_text(sweep_page.scaling_markdown(), encoding="utf-8")
    (folder / "site.md").write_text(front_page.site_markdown(), encoding="utf-8")
    front_page.write(folder, folder / "static" / "cards")


def stage():
    """Copy what pages are made from into a folder of its own: Sphinx then walks a few files, no environments."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for name in ("_config.yml", "_toc.yml"):
        SOURCE.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, SOURCE / name)
    for folder in ("book", "tools/sphinx_ext"):
        shutil.copytree(ROOT / folder, SOURCE / folder, ignore=shutil.ignore_patterns("__pycache__"))
    made = compiled()
    for page in front_page.written_pages(SOURCE):
        with open(SOURCE / "book" / f"{page}.md", "a", encoding="utf-8") as file:
            file.write("\n" + front_page.page_stamp(page, made))
    for chapter in inputs.chapters(ROOT):
        notebook = (ROOT / chapter).with_suffix(".ipynb")
        target = SOURCE / notebook.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(cells.arranged(front_page.with_stamp(notebook))), encoding="utf-8")


def compile_book():
    shutil.rmtree(SCRATCH, ignore_errors=True)
    run = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", run, "build", str(SOURCE), "--path-output", str(SCRATCH)]
    command += ["-W", "-n", "--keep-going"]
    log = ROOT / "_build" / "build.log"
    log.parent.mkdir(exist_ok=True)
    with open(log, "wb") as sink:
        code = subprocess.call(command, stdout=sink, stderr=subprocess.STDOUT, cwd=str(SOURCE), env=own_environment())
    text = log.read_text(errors="replace").replace(str(SOURCE) + "/", "")
    if code != 0:
        lines = "\n".join(inputs.causes(text))
        sys.exit(f"\nThe book did not compile. What Sphinx said (all of it is in _build/build.log):\n\n{lines}\n")
    import live_weights
    import maths  # with what only the book's own environment has
    import search_data
    import slim

    try:
        with maths.Typesetter() as typesetter:
            slim.slim(SCRATCH / "_build" / "html", typesetter)
        live_weights.put(SCRATCH / "_build" / "html")
    except ValueError as error:
        sys.exit(f"\nThe book did not compile. {error}\n")
    search_data.write(SCRATCH / "_build" / "html")
    share.finish(SCRATCH / "_build" / "html")
    shutil.rmtree(HTML, ignore_errors=True)
    shutil.move(str(SCRATCH / "_build" / "html"), str(HTML))
    shutil.rmtree(SCRATCH, ignore_errors=True)


def own_environment():
    """The environment for Sphinx: without a user's IPython and Jupyter settings, which the notebook reader looks at."""
    home = tempfile.gettempdir()
    own = {
        name: os.path.join(home, "workings-none") for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")
    }
    return {**os.environ, **own}


def check_links():
    """Ask every link of the book whether it is alive; the report is ``_build/links.txt``."""
    write_pages()
    stage()
    run = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", run, "build", str(SOURCE), "--path-output", str(SCRATCH), "--builder", "linkcheck"]
    code = subprocess.call(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=str(SOURCE), env=own_environment()
    )
    found = next(SCRATCH.rglob("output.txt"), None)
    report = ROOT / "_build" / "links.txt"
    report.write_text(found.read_text() if found else "")
    dead = [line for line in report.read_text().splitlines() if "[broken]" in line]
    shutil.rmtree(SCRATCH, ignore_errors=True)
    if code != 0 or dead or found is None:
        sys.exit("\n".join([f"{len(dead)} link(s) do not answer (all are in _build/links.txt):", *dead]))
    print("Every link answers.")


def main():
    if sys.argv[1:] == ["--links"]:
        return check_links()
    with one_at_a_time():
        build()


@contextlib.contextmanager
def one_at_a_time():
    """Wait until no other command compiles this book."""
    lock = ROOT / "_build" / "compiling.lock"
    try:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locks.locked(lock, wait=False))
            except locks.Busy:
                print("Another command is compiling the book; waiting for it ...", flush=True)
                stack.enter_context(locks.locked(lock))
            yield
    except OSError as error:
        if error.filename and Path(str(error.filename)).name == lock.name:
            sys.exit(f"\nThe book cannot be compiled here: {error.filename} cannot be written ({error.strerror}).\n")
        raise


def build():
    began = time.time()
    stamp = HTML / ".fingerprint"
    wrong = inputs.faults(ROOT)
    if wrong:
        sys.exit("\n".join(["\nThe book did not compile:", *wrong, ""]))
    for stray in inputs.strays(ROOT):
        print(f"Not in the book: {stray.as_posix()} belongs to no chapter of _toc.yml.", flush=True)
    now = fingerprint()
    if stamp.exists() and stamp.read_text() == now:
        print("The book is up to date: _build/html/index.html")
        return
    trouble = provenance.why_no_commit(ROOT)
    if trouble:
        print(f"The pages will not name their commit: {trouble}", flush=True)
    if shutil.disk_usage(str(ROOT)).free < 3e8:
        sys.exit("\nLess than 0.3 GB of disk is free here; free some space, then run `make book` again.\n")
    from workings.ledger.claims import ClaimsError

    try:
        write_pages()
    except ClaimsError as error:
        sys.exit(f"\nThe book did not compile, a claims file is wrong:\n\n{error}\n")
    stage()
    compile_book()
    stamp.write_text(now)
    print(f"The book is compiled ({time.time() - began:.0f} s): open _build/html/index.html")


if __name__ == "__main__":
    main()
