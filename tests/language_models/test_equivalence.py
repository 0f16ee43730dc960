"""Expressions are equal or not, whatever sympy has time for; nothing that is read is ever executed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workings.language_models.equivalence import Verdict, equivalent, evaluate_expression, parse_expression

EQUAL = [
    (r"\frac{x^2}{2}", "0.5x^2"), (r"\sin^2 x + \cos^2 x", "1"), (r"\sqrt{8}", r"2\sqrt{2}"), ("x^{2}y", "yx^2"),
    (r"\frac{1}{x}-\frac{1}{x+1}", r"\frac{1}{x(x+1)}"), (r"\tan^{-1} x", r"\arctan x"), ("-x^2", "-(x)(x)"), ("2^3^2", "512"),
    (r"\log_2 8", "3"), ("|x|^2", "x^2"), (r"e^{x}e^{-x}", "1"), (r"\sqrt[3]{27}", "3"), ("x**2", "x^2"), (r"\left(x+1\right)^2", "x^2+2x+1"),
]  # fmt: skip
DIFFERENT = [
    ("x^2", "-x^2"),
    ("x", "y"),
    ("1/3", "0.333"),
    (r"\sin x", r"\cos x"),
    ("x^2", "x^2+1"),
    ("(-x)^2", "-x^2"),
    ("2", "3"),
]


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_equal_expressions(a, b):
    assert equivalent(a, b, symbolic=False).equal and equivalent(b, a, symbolic=False).equal


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different_expressions(a, b):
    assert equivalent(a, b) == Verdict(False, "differs at a point")  # sympy is not needed for a difference


def test_integrals_may_differ_by_a_constant_and_never_by_a_sign():
    assert equivalent("x^2 + 3", "x^2", up_to_constant=True, symbolic=False).equal
    assert equivalent(r"\sin^2 x", r"-\cos^2 x", up_to_constant=True, symbolic=False).equal
    for a, b in (("x^2", "-x^2"), ("2x", "x"), (r"\sin x + 1", r"-\sin x")):
        assert not equivalent(a, b, up_to_constant=True).equal


def test_a_proof_by_sympy_is_asked_for():
    pytest.importorskip("sympy")
    assert equivalent(r"\frac{x^2-1}{x-1}", "x+1", limit_s=120).how == "proved by sympy"
    assert equivalent("x^2 + 3", "x^2", up_to_constant=True, limit_s=120).how == "proved by sympy"


def test_without_time_for_sympy_the_points_decide_and_say_so():
    found = equivalent("2x", "x+x", limit_s=0.0)
    assert found.equal and found.how in (
        "agrees at 8 points, sympy: out of time",
        "agrees at 8 points, sympy: not installed",
    )


def test_the_tolerance_is_for_numbers_only():
    assert equivalent("0.333", "1/3", tolerance=1e-3).equal and not equivalent("0.33", "1/3", tolerance=1e-3).equal
    assert not equivalent("x+0.0001", "x", tolerance=1e-3).equal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "}" * 50,
        "(" * 500 + ")" * 500,
        "\\foo",
        "x +",
        "^",
        "__import__('os')",
        "x" * 3000,
        "日本",
        "-" * 1900 + "x",
    ],
)
def test_what_is_no_expression_is_equal_to_nothing(text):
    found = equivalent(text, "x + 1", limit_s=0.0)
    assert not found.equal
    if text != "__import__('os')":
        with pytest.raises(ValueError):
            parse_expression(text)


@given(st.integers(-9, 9), st.integers(1, 9), st.integers(-9, 9), st.floats(0.5, 2))
def test_a_tree_has_the_value_of_its_formula(a, b, c, x):
    node = parse_expression(rf"\frac{{{a}}}{{{b}}}x^2 + {c}\cos(x)")
    assert evaluate_expression(node, {"x": x}).real == pytest.approx(a / b * x**2 + c * math.cos(x))


def test_undefined_values_are_nan_and_bad_calls_are_refused():
    assert math.isnan(evaluate_expression(parse_expression("1/x"), {"x": 0}).real)
    assert not equivalent("1/0", "2/0").equal
    for call in (
        lambda: equivalent(1, "x"),
        lambda: parse_expression(None),
        lambda: evaluate_expression(["num", "1"], None),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="limit_s"):
        equivalent("x", "y", limit_s=-1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\sec x", 1 / math.cos(0.7)), (r"\csc x", 1 / math.sin(0.7)), (r"\cot x", 1 / math.tan(0.7)),
        (r"\sinh x", math.sinh(0.7)), (r"\cosh x", math.cosh(0.7)), (r"\tanh x", math.tanh(0.7)),
        (r"\arcsin x", math.asin(0.7)), (r"\arccos x", math.acos(0.7)), (r"\ln x", math.log(0.7)), (r"\exp x", math.exp(0.7)),
        (r"\pi", math.pi), ("e", math.e), (r"\pi e", math.pi * math.e), (r"\cos 2x", math.cos(1.4)), (r"\sin xy", math.sin(0.7 * 1.3)),
        (r"\sin x \cos y", math.sin(0.7) * math.cos(1.3)), (r"\sin 2 + x", math.sin(2) + 0.7), (r"\sqrt[4]{y}", 1.3**0.25),
    ],
)  # fmt: skip
def test_functions_constants_and_how_far_an_argument_reaches(text, value):
    assert evaluate_expression(parse_expression(text), {"x": 0.7, "y": 1.3}) == pytest.approx(value, rel=1e-14)
