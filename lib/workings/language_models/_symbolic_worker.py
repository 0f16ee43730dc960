"""Run as a script by `equivalence`: reads two trees as JSON, asks sympy whether their difference is zero, and answers in a word."""

import json
import sys


def _limit_memory(size: int = 2 << 30) -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    except (ImportError, ValueError, OSError):
        return  # no such limit on this system; the time limit holds all the same


def _expression(node, sympy, symbols):
    kind = node[0]
    if kind == "num":
        return sympy.Rational(node[1])
    if kind == "var":
        return symbols[node[1]]
    if kind == "const":
        return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}[node[1]]
    parts = [_expression(part, sympy, symbols) for part in node[1:] if isinstance(part, list)]
    if kind == "fn":
        return getattr(sympy, {"abs": "Abs"}.get(node[1], node[1]))(*parts)
    a, b = parts
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b, "^": lambda: a**b}[kind]()


def _main() -> None:
    _limit_memory()
    job = json.load(sys.stdin)
    import sympy

    symbols = {name: sympy.Symbol(name) for name in job["names"]}
    difference = _expression(job["first"], sympy, symbols) - _expression(job["second"], sympy, symbols)
    if job["up_to_constant"]:
        zero = all(sympy.simplify(sympy.diff(difference, symbol)) == 0 for symbol in symbols.values())
    else:
        zero = sympy.simplify(difference) == 0
    sys.stdout.write("equal" if zero else "no proof")


if __name__ == "__main__":
    _main()
