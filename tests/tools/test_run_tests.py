"""`make test` runs every stage whatever fails, sums up, and ends with the worst status."""

import os
import re
import subprocess
import sys

import pytest

import run_tests
from run_tests import Done, Stage
from workings.runs import checkout

ROOT = checkout.root()


def ends_with(status):
    return [sys.executable, "-c", f"import sys; sys.exit({status})"]


@pytest.mark.parametrize(
    ("statuses", "options", "status", "words"),
    [
        ([0, 0, 0], [], 0, ["passed", "passed", "passed"]),
        ([1, 0, 0], [], 1, ["failed", "passed", "passed"]),
        ([1, 2, 0], [], 2, ["failed", "failed", "passed"]),
        ([0, 5, 0], [], 5, ["passed", "no test chosen", "passed"]),  # tests have gone missing
        ([0, 5, 5], ["-k", "alt_text"], 0, ["passed", "no test chosen", "no test chosen"]),
        ([5, 5, 5], ["-k", "alt_txet"], 5, ["no test chosen"] * 3),
        ([1, 5, 0], ["-k", "alt_text"], 1, ["failed", "no test chosen", "passed"]),
    ],
)
def test_every_stage_runs_and_the_worst_status_is_the_last_word(monkeypatch, capfd, statuses, options, status, words):
    names = ["kernels", "notebooks", "pages"]
    planned = [Stage(name, [ends_with(code)]) for name, code in zip(names, statuses, strict=True)]
    monkeypatch.setattr(run_tests, "stages", lambda chapter, given: planned)
    assert run_tests.main(options) == status
    said = capfd.readouterr().out.split("=== summary ===\n")[1].splitlines()
    for line, name, word in zip(said, names, words, strict=False):
        assert re.fullmatch(rf"{name} +{word}( \(exit status \d\))?, \d+ s", line), line
    assert ("Nowhere" in said[-1]) == (statuses == [5, 5, 5])


def test_within_a_stage_what_comes_after_a_failure_is_left_out(tmp_path):
    never = [sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"]
    assert run_tests.run(Stage("pages", [ends_with(3), never])).status == 3
    assert not (tmp_path / "ran").exists()


def test_a_stage_ended_by_a_signal_is_a_failure():
    assert run_tests.summary([Done("kernels", -9, 1.0)], [])[1] == 1


def test_the_summary_names_what_failed_and_what_it_said(tmp_path, monkeypatch, capfd):
    (tmp_path / "test_sums.py").write_text(
        "import pytest\n"
        "def test_good():\n    assert 1 + 1 == 2\n"
        "def test_wrong():\n    assert 1 + 1 == 3, 'it is two'\n"
        "@pytest.fixture\ndef broken():\n    raise OSError('no such thing')\n"
        "def test_never(broken):\n    pass\n"
    )
    here = ["--rootdir", str(tmp_path), "-p", "no:cacheprovider", str(tmp_path)]
    pytest_here = [sys.executable, "-m", "pytest", "-q", *here]
    planned = [Stage("sums", [pytest_here]), Stage("rest", [ends_with(0)])]
    monkeypatch.setattr(run_tests, "stages", lambda chapter, given: planned)
    assert run_tests.main([]) == 1
    said = capfd.readouterr().out.split("=== summary ===\n")[1].splitlines()
    assert said[0].startswith("sums  failed") and said[1].startswith("rest  passed")
    assert len(said) == 4 and all(len(line) <= run_tests.WIDTH + 2 for line in said)
    assert "test_sums::test_wrong: AssertionError: it is two" in said[2]
    assert "test_sums::test_never: " in said[3] and "no such thing" in said[3]


def test_the_summary_of_many_failures_stays_short(tmp_path):
    lines = tuple(f"test_{i}: wrong" for i in range(run_tests.NAMED + 3))
    said = run_tests.summary([Done("kernels", 1, 1.0, lines)], [])[0].splitlines()
    assert said[-1] == "  and 3 more" and said[-2] == f"  {lines[run_tests.NAMED - 1]}"
    assert run_tests.failures(tmp_path / "none.xml") == ()
    (tmp_path / "half.xml").write_text("<testsuites><testsuite>")
    assert run_tests.failures(tmp_path / "half.xml") == ()


def test_durations_read_like_words():
    assert [run_tests.duration(seconds) for seconds in (0.2, 59.4, 59.6, 184)] == [
        "0 s",
        "59 s",
        "1 min 0 s",
        "3 min 4 s",
    ]


def test_the_stages_hold_every_test_once_and_all_notebooks():
    kernels, notebooks, pages = run_tests.stages(None, ["-x"])
    assert "tests" in kernels.commands[0] and "--ignore=tests/book" in kernels.commands[0]
    stored = {path.relative_to(ROOT).with_suffix(".ipynb").as_posix() for path in checkout.notebook_scripts()}
    assert {"--nbval", *stored} <= set(notebooks.commands[0])
    assert pages.commands[0][-1] == "book" and "tests/book" in pages.commands[1]
    for command in (kernels.commands[0], notebooks.commands[0], pages.commands[1]):
        together = "loadscope" if command is notebooks.commands[0] else "loadgroup"
        assert command[-1] == "-x" and command[command.index("--dist") + 1] == together
    reads_pages = [
        test.relative_to(ROOT).as_posix()
        for test in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"(?m)^(?:import|from) book\.browser", test.read_text())
    ]
    assert reads_pages and all(name.startswith("tests/book/") for name in reads_pages), "pages are built for these only"


@pytest.mark.parametrize("slug", [path.stem for path in checkout.notebook_scripts()])
def test_a_chapters_check_holds_its_rules_its_part_and_its_notebook(slug):
    rules, notebook = run_tests.stages(slug, [])
    part = checkout.notebook_scripts(slug)[0].parent.name
    assert f"notebooks/{part}/{slug}.ipynb" in notebook.commands[0]
    chosen = [word for word in rules.commands[0] if word.startswith("tests/")]
    assert f"tests/{part}" in chosen and "tests/test_notebooks.py" in chosen
    assert all((ROOT / name).exists() for name in chosen)


@pytest.mark.parametrize("wrong", ["", "no_such_chapter", "../up", "*"])
def test_an_unknown_chapter_is_answered_with_the_known_ones(wrong):
    with pytest.raises(SystemExit, match="conformal_set_size"):
        run_tests.stages(wrong, [])


def test_continuous_integration_runs_exactly_the_readmes_test_command():
    (command,) = re.findall(r"(?m)^(make test)\b", (ROOT / "README.md").read_text())
    last = (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1]
    assert last == command


def test_the_makefile_names_a_python_to_the_set_up_only_where_somebody_named_it(tmp_path):
    (tmp_path / "Makefile").write_text(
        (ROOT / "Makefile").read_text() + "\nshow:\n\t@echo '[$(NAMED)]' \"[$$PYTHONPATH$$PYTHONSAFEPATH]\"\n"
    )
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS", "MAKELEVEL")}
    for words, variables, expected in [
        ([], {}, "[] []"),
        (["PYTHON=python3"], {}, "[--this-python] []"),
        ([], {"PYTHON": "python3"}, "[--this-python] []"),
        ([], {"PYTHONPATH": "x", "PYTHONSAFEPATH": "1"}, "[] []"),
    ]:
        done = subprocess.run(
            ["make", "-s", "show", *words], cwd=tmp_path, env=plain | variables, capture_output=True, text=True
        )
        assert done.stdout.strip() == expected, done.stderr
