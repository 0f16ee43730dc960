"""Hostile programs do no harm, and never keep us longer than their limit.

What a machine cannot isolate is not tested there: each layer is asserted where :attr:`Outcome.isolation` says that it holds.
Nothing here measures time: a program that must be stopped runs for ever, and one that must not has minutes.
"""

import sys
from pathlib import Path

import pytest

from workings.language_models.sandbox import LAYERS, extract_code, run_python, score_code

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="programs are run on Unix only")
PATIENT = 120.0  # seconds for a program that ends by itself, on however busy a machine
HELD = run_python("pass", limit_s=PATIENT).isolation if sys.platform != "win32" else frozenset()


def needs(layer):
    return pytest.mark.skipif(layer not in HELD, reason=f"this machine cannot isolate {layer}")


def test_a_good_program_reads_and_writes():
    found = run_python("print(sum(map(int, input().split())))", "1 2 3", limit_s=PATIENT)
    assert (found.status, found.stdout, found.stderr) == ("ok", "6\n", "")
    assert "memory" in found.isolation <= set(LAYERS)


@pytest.mark.parametrize(
    "program", ["while True: pass", "import time\nwhile True: time.sleep(1000)", "import os\nos.close(1)\nos.close(2)\nwhile True: pass"]
)  # fmt: skip
def test_a_program_that_never_ends_is_stopped(program):
    assert run_python(program, limit_s=0.5).status == "time"


def test_a_program_that_waits_for_input_gets_its_end():
    found = run_python("input()", limit_s=PATIENT)
    assert found.status == "error" and "EOFError" in found.stderr


def test_a_program_that_takes_all_memory_gets_none():
    found = run_python("x = bytearray(1 << 36)", limit_s=PATIENT)
    assert found.status == "memory"


def test_a_program_that_never_stops_writing_is_stopped():
    found = run_python("while True: print('x' * 1000)", limit_s=PATIENT, output=5000)
    assert found.status == "output" and len(found.stdout) < 5000 + (1 << 17)


def test_no_file_grows(tmp_path):
    target = tmp_path / "disk"
    found = run_python(f"open({str(target)!r}, 'w').write('x' * 10**6)", limit_s=PATIENT)
    assert found.status != "ok" and (not target.exists() or target.stat().st_size == 0)


@needs("writing")
def test_no_file_is_made_or_deleted(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("kept")
    for line in (
        f"os.remove({str(mine)!r})",
        f"os.rename({str(mine)!r}, 'x')",
        f"open({str(mine)!r}, 'w')",
        f"os.mkdir({str(tmp_path / 'new')!r})",
    ):
        assert run_python(f"import os\n{line}", limit_s=PATIENT).status == "error"
    assert mine.read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


@needs("reading")
def test_your_files_are_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("key")
    found = run_python(f"print(open({str(secret)!r}).read())", limit_s=PATIENT)
    assert found.status == "error" and "key" not in found.stdout
    home = str(Path.home())
    assert run_python(f"import os\nprint(os.listdir({home!r}))", limit_s=PATIENT).stdout == ""
    assert run_python("import os\nprint(sorted(os.environ))", limit_s=PATIENT).stdout.count("HOME") == 1


@needs("processes")
@pytest.mark.parametrize(
    "program",
    ["import os\nwhile True: os.fork()", "import subprocess\nsubprocess.run(['sleep', '1'])", "import os\nos.kill(os.getppid(), 9)",
     "import os\nos.execv('/bin/sh', ['sh'])"],
)  # fmt: skip
def test_no_process_is_started_or_killed(program):
    found = run_python(program, limit_s=PATIENT)
    assert found.status == "error" and "PermissionError" in found.stderr


@needs("network")
def test_no_connection_is_made():
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        program = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 60)\nprint('in')"
        assert run_python(program, limit_s=PATIENT).status == "error"


@needs("processes")
def test_threads_are_allowed():
    program = "import threading\nt = threading.Thread(target=print, args=('t',))\nt.start()\nt.join()"
    assert run_python(program, limit_s=PATIENT).stdout == "t\n"


def test_a_layer_that_is_required_and_missing_refuses_the_program(monkeypatch):
    missing = set(LAYERS) - HELD
    assert run_python("print(1)", limit_s=PATIENT, require=HELD).status == "ok"
    for layer in missing:
        assert run_python("print(1)", limit_s=PATIENT, require=[layer]).status == "refused"


@pytest.mark.parametrize(
    ("program", "status"), [("1/0", "error"), ("import sys; sys.exit(3)", "error"), ("print(", "error"), ("\x00", "error"), ("", "ok")]
)  # fmt: skip
def test_how_a_program_ended(program, status):
    assert run_python(program, limit_s=PATIENT).status == status


def test_bad_settings_are_refused():
    for call, word in (
        (lambda: run_python("", limit_s=0), "limit_s"), (lambda: run_python("", memory=10), "memory"),
        (lambda: run_python("", output=0), "output"), (lambda: run_python("", require=["magic"]), "magic"),
        (lambda: score_code([], "x"), "truth"), (lambda: score_code("x", "x"), "truth"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            call()
    with pytest.raises(TypeError, match="program"):
        run_python(None)


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("text\n```python\nx = 1\n```\nmore", "x = 1"),
        ("```\na\n```\n```\nb\n```", "b"),
        ("x = 1\n```", "x = 1"),
        ("x = 1", "x = 1"),
    ],
)
def test_the_program_is_found(answer, program):
    assert extract_code(answer) == program


def test_a_program_passes_all_tests_or_none():
    tests = [("1 2", "3"), ("4 5", "9")]
    good = "```python\nprint(sum(map(int, input().split())))\n```"
    assert score_code(tests, good, limit_s=PATIENT).score == 1
    assert score_code(tests, "print(3)", limit_s=PATIENT).rule == "test 2: another output"
    assert score_code(tests, "print(sum(row))", prefix="row = map(int, input().split())\n", limit_s=PATIENT).score == 1
    strict = score_code(tests, good, strict=True, limit_s=PATIENT)
    assert strict.score == float(set(LAYERS) == HELD)


HOSTILE_ANSWERS = {
    "longer than is read": "print(3)\n" * 30_000, "bytes that are not UTF-8": b"\xff\xfe \x80", "nul": "\x00" * 1000, "fences": "```\n" * 50_000,
    "open braces": "{" * 190_000, "brackets": "[" * 90_000 + "]" * 90_000, "minus signs": "-" * 190_000 + "1", "one long sum": "1+" * 90_000 + "1",
    "deep blocks": "".join(" " * i + "if 1:\n" for i in range(101)) + " " * 101 + "print(3)", "digits": "9" * 190_000, "a lone surrogate": "print('\ud800')",
    "a huge power": "print(9**9**9)", "a huge list": "print(len([0] * 10**12))", "itself": "import sys\nf = lambda: f()\nsys.setrecursionlimit(10**9)\nf()",
    "all that there is": "while True: print('x' * 10**6)", "for ever": "while True: pass", "asleep": "import time\ntime.sleep(10**6)",
    "the interpreter's end": "import ctypes\nctypes.string_at(0)", "an early end": "import os\nos._exit(0)", "the answer, then a fault": "print(3)\n1/0",
}  # fmt: skip


def test_any_answer_to_a_coding_question_gets_a_score_within_its_processor_seconds():
    # A program has one second; it may take ten, of its own processor time (of the clock's any).
    import resource

    spent = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    for name, answer in HOSTILE_ANSWERS.items():
        before = spent()
        grade = score_code([("1 2", "3")], answer, limit_s=1.0)
        assert grade.score == 0.0 and grade.rule and spent() - before < 10.0, name
