"""Hostile programs do no harm, and never keep us longer than their limit.

What a machine cannot isolate is not tested there: each layer is asserted where :attr:`Outcome.isolation` says that it holds.
Nothing here measures time: a program that must be stopped runs for ever, and one that must not has minutes.
"""

import sys
from pathlib import Path

import pytest

from workings.language_models.sandbox import LAYERS, Sandbox, run_python

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
    ):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            call()
    with pytest.raises(TypeError, match="program"):
        run_python(None)


def test_one_sandbox_runs_many_programs_and_keeps_nothing_between_them():
    with Sandbox() as sandbox:
        first = sandbox.run(
            "import builtins, os\nbuiltins.kept = 1\nos.environ['KEPT'] = 'x'\nprint(kept)", limit_s=PATIENT
        )
        assert first.stdout == "1\n"
        second = sandbox.run("import os\nprint('KEPT' in os.environ)\nprint(kept)", limit_s=PATIENT)
        assert second.status == "error" and second.stdout == "False\n" and "NameError" in second.stderr
        assert sandbox.run("while True: pass", limit_s=0.2).status == "time"
        assert sandbox.run("while True: print('x' * 1000)", limit_s=PATIENT, output=5000).status == "output"
        assert sandbox.run("print(input())", "still here", limit_s=PATIENT).stdout == "still here\n"


def test_random_programs_differ_and_the_sandbox_can_be_opened_again():
    draw = "import random\nprint(random.random())"
    with Sandbox() as sandbox:
        drawn = {sandbox.run(draw, limit_s=PATIENT).stdout for _ in range(3)}
    assert len(drawn) == 3
    assert sandbox.run("print(1)", limit_s=PATIENT).stdout == "1\n"
    sandbox.close()


def test_a_sandbox_whose_process_is_gone_starts_another():
    with Sandbox() as sandbox:
        assert sandbox.run("print(1)", limit_s=PATIENT).status == "ok"
        sandbox._process.kill()
        sandbox._process.wait()
        assert sandbox.run("print(2)", limit_s=PATIENT).stdout == "2\n"


def test_what_a_program_leaves_for_its_end_is_done():
    assert run_python("import atexit\natexit.register(print, 'last')", limit_s=PATIENT).stdout == "last\n"
    late = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()"
    assert run_python(late, limit_s=PATIENT).stdout == "late\n"
    for ending, status in (
        ("exit()", "ok"),
        ("quit(0)", "ok"),
        ("import sys; sys.exit('why')", "error"),
        ("exit(256 + 7)", "error"),
    ):
        assert run_python(f"print(1)\n{ending}", limit_s=PATIENT).status == status
    assert run_python("import sys; sys.exit('why')", limit_s=PATIENT).stderr == "why\n"


def test_what_is_installed_can_be_imported():
    assert run_python("import numpy\nprint(numpy.arange(4).sum())", limit_s=PATIENT).stdout == "6\n"
