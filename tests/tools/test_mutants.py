"""The tests that mutants are tried against."""

import ast

import mutants

KERNELS = mutants.ROOT / "lib/workings"


def test_every_kernel_with_a_formula_has_tests():
    assert [file.name for file in mutants.kernels() if not mutants.tests_of(file)] == []


def test_a_kernel_without_tests_in_its_part_has_those_of_others_and_a_process_those_of_whoever_starts_it():
    assert mutants.tests_of(KERNELS / "disentangling/linear_vae.py") == ["tests/chapters/test_beta_vae_capacity.py"]
    of_the_child = mutants.tests_of(KERNELS / "language_models/_sandbox_child.py")
    assert of_the_child == [f"tests/language_models/test_{name}.py" for name in ("grading_code", "sandbox")]
    assert "tests/test_calibration.py" in mutants.tests_of(KERNELS / "calibration.py")


def test_a_mutant_changes_one_place_of_a_formula_and_no_check():
    source = """
def f(a: int = 2) -> int:
    \"\"\"1 + 1\"\"\"
    if a < 0:
        raise ValueError(a + 1)
    return a * 3
"""
    found = {(m.before, m.after) for m in mutants.mutants(source)}
    assert found == {("a * 3", "a / 3"), ("a * 3", "a"), ("a * 3", "3"), ("3", "4")}


def test_arguments_are_swapped_where_that_says_something_else():
    found = {m.after for m in mutants.mutants("def f(a, b):\n    return max(a, b) + round(a, b)\n")}
    assert "round(b, a)" in found and "max(b, a)" not in found


def test_what_is_said_to_compute_the_same_still_stands_in_its_module():
    for name, changes in mutants.alike().items():
        source = (mutants.ROOT / name).read_text(encoding="utf-8")
        text = ast.unparse(ast.parse(source))
        for change, reason in changes.items():
            told, _, where = change.partition(" in ")
            before, arrow, after = told.partition(" -> ")
            assert before in text and where in source and arrow and after and reason, f"{name}: {change}"


def test_a_change_can_be_listed_for_one_line_alone():
    assert mutants.is_said("0 -> 1", "a = f(0, x)", "0 -> 1")
    assert mutants.is_said("0 -> 1", "a = f(0, x)", "0 -> 1 in f(0, x)")
    assert not mutants.is_said("0 -> 1", "a = g(0, x)", "0 -> 1 in f(0, x)")
    assert not mutants.is_said("1 -> 2", "a = f(0, x)", "0 -> 1 in f(0, x)")
