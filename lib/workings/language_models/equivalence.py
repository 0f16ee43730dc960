r"""Are two expressions equal? Random points first, then sympy in a process of its own, under a hard time limit.

Expressions are read by a small parser of LaTeX and of plain notation (no code is evaluated): numbers, one-letter variables,
Greek letters, ``+ - * / ^``, ``\frac``, ``\sqrt[n]{}``, functions such as ``\sin`` and ``\ln``, brackets, implied products.
What differs at a point is not equal, which needs no sympy. What agrees at every point goes to sympy, which is stopped by the
system when its time is over. Source: the check that White et al. 2024 (arXiv 2406.19314) describe for AMPS_Hard, with the points added by us.
"""

from __future__ import annotations

import cmath
import importlib.util
import json
import math
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workings.checks import as_float

_LONGEST, _DEEPEST = 2000, 60  # characters and nested brackets of an expression that is read
_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)|\\([A-Za-z]+)|(\*\*|[-+*/^(){}\[\]|!,_])|([A-Za-z]+))")
_FUNCTIONS = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "asin": cmath.asin, "acos": cmath.acos, "atan": cmath.atan,
    "sinh": cmath.sinh, "cosh": cmath.cosh, "tanh": cmath.tanh, "exp": cmath.exp, "log": cmath.log, "sqrt": cmath.sqrt,
    "abs": abs, "sec": lambda z: 1 / cmath.cos(z), "csc": lambda z: 1 / cmath.sin(z), "cot": lambda z: 1 / cmath.tan(z),
}  # fmt: skip
_ALIASES = {"ln": "log", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "Abs": "abs"}
_GREEK = ("alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "phi", "omega", "rho", "sigma", "tau")
# Where expressions are compared: irrational, of both signs, of different sizes; one per variable, shifted.
_POINTS = (
    0.7390851332,
    1.3247179572,
    2.2360679775,
    0.2709034391,
    3.3166247904,
    1.8392867552,
    -0.5671432904,
    -1.7320508076,
)

Node = Any  # ["num", text] | ["var", name] | ["const", name] | ["fn", name, node] | [operator, node, node]


@dataclass(frozen=True)
class Verdict:
    """Whether two expressions are equal, and ``how`` that was found."""

    equal: bool
    how: str


class _Unreadable(ValueError):
    pass


class _Parser:
    def __init__(self, text: str):
        self.tokens: list[tuple[str, str]] = []
        at, text = 0, text.strip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise _Unreadable(f"cannot read {text[at : at + 10]!r}")
            number, command, sign, letters = found.groups()
            at = found.end()
            if number:
                self.tokens.append(("num", number))
            elif sign:
                self.tokens.append(("sign", "^" if sign == "**" else sign))
            elif command or letters in _FUNCTIONS or letters in _ALIASES or letters in ("pi", "E"):
                self.tokens.append(("word", command or letters))
            else:
                self.tokens += [("word", letter) for letter in letters]
        self.at = self.depth = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, sign: str) -> bool:
        if self.peek() == ("sign", sign):
            self.at += 1
            return True
        return False

    def need(self, sign: str) -> None:
        if not self.take(sign):
            raise _Unreadable(f"expected {sign!r}, found {self.peek()[1]!r}")

    def whole(self) -> Node:
        node = self.sum()
        if self.peek()[0] != "end":
            raise _Unreadable(f"{self.peek()[1]!r} is left over")
        return node

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _Unreadable("too deeply nested")
        node = self.product()
        while self.peek() in (("sign", "+"), ("sign", "-")):
            sign = self.peek()[1]
            self.at += 1
            node = [sign, node, self.product()]
        self.depth -= 1
        return node

    def product(self) -> Node:
        if self.take("-"):
            return ["-", ["num", "0"], self.product()]
        if self.take("+"):
            return self.product()
        node = self.power()
        while True:
            if self.take("*"):
                node = ["*", node, self.signed()]
            elif self.take("/"):
                node = ["/", node, self.signed()]
            elif self.starts_atom():
                node = ["*", node, self.power()]
            else:
                return node

    def signed(self) -> Node:
        return ["-", ["num", "0"], self.power()] if self.take("-") else self.power()

    def starts_atom(self) -> bool:
        kind, text = self.peek()
        return kind in ("num", "word") or (kind == "sign" and text in "({[")

    def power(self) -> Node:
        base = self.atom()
        return ["^", base, self.exponent()] if self.take("^") else base

    def exponent(self) -> Node:
        """``{...}``, a signed power, or in LaTeX one digit; powers nest to the right."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _Unreadable("too deeply nested")
        node = self.signed()
        self.depth -= 1
        return node

    def bracketed(self) -> Node:
        for opener, closer in (("(", ")"), ("{", "}"), ("[", "]")):
            if self.take(opener):
                node = self.sum()
                self.need(closer)
                return node
        raise _Unreadable(f"expected a bracket, found {self.peek()[1]!r}")

    def argument(self) -> Node:
        """Of a function: a bracket, or what follows up to the next sign (sin 2x)."""
        if self.peek()[0] == "sign" and self.peek()[1] in "({[":
            return self.bracketed()
        node = self.power()
        while self.peek()[0] in ("num",) or (self.peek()[0] == "word" and len(self.peek()[1]) == 1):
            node = ["*", node, self.power()]
        return node

    def atom(self) -> Node:
        kind, text = self.peek()
        if kind == "num":
            self.at += 1
            return ["num", text]
        if kind == "word":
            self.at += 1
            return self.word(text)
        if self.take("|"):
            node = self.sum()
            self.need("|")
            return ["fn", "abs", node]
        return self.bracketed()

    def word(self, name: str) -> Node:
        name = _ALIASES.get(name, name)
        if name == "frac":
            return ["/", self.bracketed(), self.bracketed()]
        if name == "sqrt":
            if self.take("["):
                root = self.sum()
                self.need("]")
                return ["^", self.bracketed(), ["/", ["num", "1"], root]]
            return ["fn", "sqrt", self.bracketed()]
        if name in _FUNCTIONS:
            power = self.exponent() if self.take("^") else None
            base = None
            if name == "log" and self.take("_"):
                base = self.atom()
            node = ["fn", name, self.argument()]
            if base is not None:
                node = ["/", node, ["fn", "log", base]]
            if power == ["-", ["num", "0"], ["num", "1"]] and f"a{name}" in _FUNCTIONS:
                return ["fn", f"a{name}", node[2]]
            return node if power is None else ["^", node, power]
        if name == "pi" or name in ("e", "E"):
            return ["const", "pi" if name == "pi" else "e"]
        if name == "i":
            return ["const", "i"]
        if len(name) == 1 or name in _GREEK:
            return ["var", name]
        raise _Unreadable(f"unknown command {name!r}")


def parse_expression(text: str) -> Node:
    r"""The tree of an expression in LaTeX or plain notation: nested lists, for instance ``["+", ["var", "x"], ["num", "1"]]``.

    Raises ``ValueError`` for what is no expression, is nested more than 60 deep or longer than 2,000 characters.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}.")
    if len(text) > _LONGEST:
        raise ValueError(f"an expression of {len(text)} characters is not read; at most {_LONGEST} are.")
    try:
        return _Parser(
            re.sub(r"\\(?:left|right|,|;|!|:)|\$", "", text).replace("\\cdot", "*").replace("\\ ", " ")
        ).whole()
    except RecursionError:
        raise ValueError("the expression is too deeply nested.") from None


def evaluate_expression(node: Node, values: dict[str, complex]) -> complex:
    """The value of a tree of :func:`parse_expression` at ``values`` of its variables, by complex arithmetic.

    NaN where it is not defined or overflows. Raises ``KeyError`` for a variable without a value.
    """
    if not isinstance(values, dict):
        raise TypeError(f"values must be a dict of numbers, got {type(values).__name__}.")
    try:
        return _value(node, values)
    except (ZeroDivisionError, OverflowError, ValueError):
        return complex(math.nan, math.nan)


def _value(node: Node, values: dict[str, complex]) -> complex:
    kind = node[0]
    if kind == "num":
        return complex(float(node[1]))
    if kind == "var":
        return complex(values[node[1]])
    if kind == "const":
        return {"pi": complex(math.pi), "e": complex(math.e), "i": 1j}[node[1]]
    if kind == "fn":
        return complex(_FUNCTIONS[node[1]](_value(node[2], values)))
    a, b = _value(node[1], values), _value(node[2], values)
    if kind == "^":
        return complex(a.real**b.real) if a.imag == b.imag == 0 and a.real > 0 else a**b
    return a + b if kind == "+" else a - b if kind == "-" else a * b if kind == "*" else a / b


def _variables(node: Node) -> set[str]:
    if node[0] == "var":
        return {node[1]}
    return set().union(*(_variables(part) for part in node[1:] if isinstance(part, list)))


def equivalent(
    expr1: str,
    expr2: str,
    *,
    up_to_constant: bool = False,
    tolerance: float = 0.0,
    symbolic: bool = True,
    limit_s: float = 8.0,
) -> Verdict:
    """Whether two expressions (LaTeX or plain) are equal, and how that was found; never an exception about their content.

    Both are evaluated at eight fixed points. A difference beyond rounding (1e-9, relative) at one of them settles it: not
    equal. ``up_to_constant`` lets them differ by one number, as indefinite integrals may, and never by a sign. ``tolerance`` is
    allowed between two numbers (the authors allow 1e-3). Where all points agree, ``symbolic`` asks sympy for a proof, in a process
    that is killed after ``limit_s`` seconds; without a proof or without sympy, agreement at four points or more counts as equal, and ``how`` says so.
    """
    limit_s = as_float(limit_s, "limit_s", minimum=0.0, maximum=600.0)
    tolerance = as_float(tolerance, "tolerance", minimum=0.0, maximum=1.0)
    for name, value in (("expr1", expr1), ("expr2", expr2)):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str, got {type(value).__name__}.")
    if expr1.strip() and "".join(expr1.split()) == "".join(expr2.split()):
        return Verdict(True, "same text")
    try:
        first, second = parse_expression(expr1), parse_expression(expr2)
        names = sorted(_variables(first) | _variables(second))
    except (ValueError, RecursionError) as error:
        return Verdict(False, f"not read: {str(error)[:60]}")
    pairs = []
    for point in _POINTS:
        values = {name: point * (1 + 0.37 * i) + 0.11 * i for i, name in enumerate(names)}
        a, b = evaluate_expression(first, values), evaluate_expression(second, values)
        if cmath.isfinite(a) and cmath.isfinite(b):
            pairs.append((a, b))
    if not pairs:
        return Verdict(False, "defined at no point")
    offset = pairs[0][0] - pairs[0][1] if up_to_constant else 0
    slack = tolerance if not names else 0.0
    for a, b in pairs:
        if abs(a - b - offset) > max(slack, 1e-9 * max(abs(a), abs(b), abs(offset), 1e-3)):
            return Verdict(False, "differs at a point")
    if slack and abs(pairs[0][0] - pairs[0][1]) > 1e-9:
        return Verdict(True, "numbers within the tolerance")
    proof = _ask_sympy(first, second, names, up_to_constant, limit_s) if symbolic else "not asked"
    if proof == "equal":
        return Verdict(True, "proved by sympy")
    enough = len(pairs) >= 4 or not names
    return Verdict(enough, f"agrees at {len(pairs)} points" + ("" if proof == "not asked" else f", sympy: {proof}"))


def _ask_sympy(first: Node, second: Node, names: list[str], up_to_constant: bool, limit_s: float) -> str:
    """``equal``, ``no proof``, ``out of time``, ``failed`` or ``not installed``, from a process that is killed after ``limit_s``."""
    if importlib.util.find_spec("sympy") is None:
        return "not installed"
    job = json.dumps({"first": first, "second": second, "names": names, "up_to_constant": up_to_constant})
    worker = Path(__file__).with_name("_symbolic_worker.py")
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(worker)], input=job, capture_output=True, text=True, timeout=limit_s
        )
    except subprocess.TimeoutExpired:
        return "out of time"
    except OSError:
        return "failed"
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() in ("equal", "no proof") else "failed"
