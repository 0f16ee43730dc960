"""What counts as a right program: found in the answer, run on every test, and compared; the official rule's gifts and losses, and the strict rule."""

import ast
import sys

import pytest

from workings.language_models.grading_code import PRELUDE, benchmark_script, extract_code, score_code
from workings.language_models.sandbox import LAYERS, Sandbox, run_python

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="programs are run on Unix only")
PATIENT = 120.0  # seconds for a program that ends by itself, on however busy a machine
HELD = run_python("pass", limit_s=PATIENT).isolation if sys.platform != "win32" else frozenset()


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(PRELUDE) as opened:
        yield opened


@pytest.fixture
def score(sandbox):
    """The grader on one sandbox of all tests."""
    return lambda truth, answer, **options: score_code(truth, answer, limit_s=PATIENT, sandbox=sandbox, **options)


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


def test_a_program_passes_all_tests_or_none(score):
    tests = [("1 2", "3"), ("4 5", "9")]
    good = "```python\nprint(sum(map(int, input().split())))\n```"
    assert score(tests, good).rule == "all tests passed"
    assert score(tests, "print(3)").rule == "test 2: another output"
    assert score(tests, "1/0").rule == "test 1: error" and score(tests, "print(").rule == "test 1: error"
    for strict in (False, True):
        assert score(tests, "print(sum(row))", prefix="row = map(int, input().split())", strict=strict).score == 1
        assert score(tests, "a = 1\nprint(sum(map(int, input().split())))", prefix="a = 1", strict=strict).score == 1
    for layer, score_there in (*((layer, 1) for layer in HELD), *((layer, 0) for layer in set(LAYERS) - HELD)):
        assert score_code(tests, good, require=[layer], limit_s=PATIENT).score == score_there
    with Sandbox() as plain:  # one without the names of the prelude: they are put in front of each program
        assert score_code([("", "3")], SCRIPTS["imports are a gift"][0], sandbox=plain, limit_s=PATIENT).score == 1
        assert (
            score_code(
                [("0", "3")], "def f(n): return len(deque([1, 2, 3]))", function="f", sandbox=plain, limit_s=PATIENT
            ).score
            == 1
        )


SCRIPTS = {  # a script that prints 3, and whether it passes by the official and by the strict rule
    "as it stands": ("print(3)", 1, 1),
    "imports are a gift": ("print(len(deque([1, 2, 3])))", 1, 0),
    "the last main guard is unwrapped": ("def main():\n    print(3)\nif __name__ == '__main__':\n    main()", 1, 1),
    "an earlier one does not run": ("if __name__ == '__main__':\n    print(3)\nx = 1", 0, 1),
    "nor one that is written otherwise": ("if '__main__' == __name__:\n    print(3)", 0, 1),
    "a global variable is not found": ("n = 0\ndef add():\n    global n\n    n += 3\nadd()\nprint(n)", 0, 1),
    "first imports stay outside": ("from math import *\nprint(ceil(2.5))", 1, 1),
    "later ones may not be of everything": ("x = 2.5\nfrom math import *\nprint(ceil(x))", 0, 1),
    "exit is taken away": ("print(3)\nexit()", 0, 1),
    "any exit status will do": ("import sys\nprint(3)\nsys.exit(7)", 1, 0),
    "nothing but imports": ("import math", 0, 0),
    "a text of several lines": (
        "x = '''1\n22'''\nprint(len(x) - 1)",
        0,
        1,
    ),  # the official body is moved in by a tab, the text with it
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_the_official_program_gives_and_takes(score, name):
    program, official, strict = SCRIPTS[name]
    assert (score([("", "3")], program).score, score([("", "3")], program, strict=True).score) == (official, strict)


def test_outputs_that_pass_only_by_the_official_comparison(score):
    for printed, expected, rule in (
        ("1\n\n2", "1\n2", "all tests passed, 1 with empty lines left out"),
        ("0.333333", "0.3333334", "all tests passed, 1 with numbers to 1e-5"),
        ("2.0\n5", "2\n5", "all tests passed, 1 with numbers to 1e-5"),
    ):
        program = f"print({printed!r})"
        assert score([("", expected)], program).rule == rule
        assert score([("", expected)], program, strict=True).rule == "test 1: another output"
    for printed, expected in (("0.333", "0.3334"), ("1 2.0", "1 2"), ("4", "5"), ("nan", "nan2"), ("1.5\n2", "1.5")):
        assert score([("", expected)], f"print({printed!r})").score == 0
    for strict in (False, True):
        assert score([("", "1 \n 2\n\n")], "print('  1\\n2')", strict=strict).rule == "all tests passed"


FUNCTIONS = {  # what f returns, the expected JSON, and whether it passes by the official and by the strict rule
    "a number": ("3", "3", 1, 1),
    "another one": ("4", "3", 0, 0),
    "a list": ("[1, [2]]", "[1, [2]]", 1, 1),
    "a tuple is a list": ("(1, 2)", "[1, 2]", 1, 1),
    "not one inside": ("[(1, 2)]", "[[1, 2]]", 0, 0),
    "the first item alone": ("7", "[7, 8, 9]", 1, 0),
    "tuples for the first item": ("[(1, 2), (3, 4)]", "[[[1, 2], [3, 4]], 5]", 1, 0),
    "a truth": ("True", "1", 1, 1),
    "a text": ("'\\u00e9'", '"\u00e9"', 1, 1),
    "nothing": ("None", "null", 1, 1),
    "keys that are numbers": ("{1: 2}", '{"1": 2}', 1, 1),
    "a counter": ("collections.Counter('aa')", '{"a": 2}', 1, 1),
    "a set is no JSON": ("{1}", "[1]", 0, 0),
    "not a number": ("float('nan')", "NaN", 0, 0),
    "its own notation": ("type('T', (int,), {'__repr__': lambda self: '3'})(4)", "3", 0, 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_called_and_its_value_compared(score, name):
    value, expected, official, strict = FUNCTIONS[name]
    program = (
        f"class Solution:\n    def f(self, n: Optional[int]) -> Any:\n        print('noise')\n        return {value}"
    )
    for text in (program, f"def f(n):\n    return {value}"):
        found = [score([("0", expected)], text, function="f", strict=rule).score for rule in (False, True)]
        assert found == [official, strict]
    if name == "the first item alone":
        assert score([("0", expected)], program, function="f").rule == "all tests passed, 1 with the first item alone"


def test_a_function_gets_its_arguments_and_no_other_test_s_memory(score):
    tests = [('[1, 2]\n"x"', '["x", 3]'), ('[]\n"y"', '["y", 0]')]
    assert score(tests, "def f(a, b): return b, sum(a)", function="f").score == 1
    assert score([('{"1": 2}', "2")], "def f(d): return d[1]", function="f").score == 1
    kept = "seen = []\ndef f(a, b):\n    seen.append(b)\n    return b, sum(a) if len(seen) == 1 else None"
    assert score(tests, kept, function="f").score == 1
    for wrong in ("def g(a, b): return 1", "def f(a): return 1", "def f(a, b): exit()", "f = 3"):
        assert score(tests, wrong, function="f").score == 0


def test_the_program_cannot_write_the_verdict(score):
    told = "import os\nos.write(1, b'3')\ndef f(n): return 4"
    assert score([("0", "3")], told, function="f").score == 0
    assert (
        score(
            [("0", "[3]")], "import sys\ndef f(n):\n    sys.__stdout__.write('[3]')\n    return 4", function="f"
        ).score
        == 0
    )


def test_bad_truths_are_refused():
    for call, word in (
        (lambda: score_code([], "x"), "truth"), (lambda: score_code("x", "x"), "truth"), (lambda: score_code([("1",)], "x"), "truth"),
        (lambda: score_code([("1", "2")], "x", function="a b"), "function"), (lambda: score_code([("one", "2")], "x", function="f"), "JSON"),
        (lambda: score_code([("1", "two")], "x", function="f"), "JSON"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            call()
    with pytest.raises(TypeError, match="prefix"):
        score_code([("1", "2")], "x", prefix=None)


def test_the_official_script_is_a_program_whatever_it_holds():
    for program in ("print(1)", "", "import math", "x = (", "\x00", "(" * 500, "if 1:\n  pass\nelse:\n  pass"):
        script = benchmark_script(program)
        assert script.startswith(PRELUDE) and "def code():" in script
    ast.parse(PRELUDE)


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
