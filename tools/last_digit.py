"""A pytest plugin: a notebook's printed decimals may differ from the stored ones by one unit of their last digit.

Another processor adds in another order, and a value that stands near the edge of two roundings then prints the other one.
Whole numbers, words and verdicts are compared to the letter, and so is how many digits are printed. Each decimal that
differed is named at the end of the run. (Two decimals that near one another have different signs only around zero.)
"""

from __future__ import annotations

import copy
import re
from decimal import Decimal
from typing import Any

import pytest

# Spaces before it pad a column. A part of a name or of a version has another form.
DECIMAL = re.compile(r"( *[-−+]?)(?<![\w.])(\d*\.\d+)(e[-+]?\d+)?(?!\.?\w)")
COUNTED = "last digits"


def as_stored(new: str, stored: str) -> tuple[str, list[str]]:
    """``new`` with ``stored``'s text where its decimals are at most one unit of the last digit away, and those decimals.

    Where anything but decimals differs, ``new`` comes back as it is.
    """
    if new == stored or _between(new) != (between := _between(stored)):
        return new, []
    parts, differ = [between[0]], []
    for a, b, after in zip(DECIMAL.finditer(new), DECIMAL.finditer(stored), between[1:], strict=True):
        near = _near(a, b)
        if near and a[0] != b[0]:
            differ.append(f"{b[0].strip()} -> {a[0].strip()}")
        parts += [(b if near else a)[0], after]
    return "".join(parts), differ


def _between(text: str) -> list[str]:
    """What stands before, between and after the decimals."""
    ends = [0, *(edge for found in DECIMAL.finditer(text) for edge in found.span()), len(text)]
    return [text[a:b] for a, b in zip(ends[::2], ends[1::2], strict=True)]


def _near(a: re.Match[str], b: re.Match[str]) -> bool:
    one, other = (Decimal((found[1] + found[2]).strip().replace("−", "-")) for found in (a, b))
    digits = other.as_tuple().exponent
    same_form = (one.as_tuple().exponent, a[3]) == (digits, b[3])
    return same_form and abs(one - other) <= Decimal(1).scaleb(digits)


def near_outputs(item: Any, test: list[Any], stored: list[Any]) -> tuple[list[Any], list[str]]:
    """The outputs ``test`` of a cell with decimals as ``stored`` has them where they are near, and those decimals."""
    if [o.output_type for o in test] != [o.output_type for o in stored]:
        return test, []
    test, differ = copy.deepcopy(test), []
    for new, old in zip(test, stored, strict=True):
        holders = [(new, old, "text")] if "text" in old else []
        holders += [(new.data, old.data, kind) for kind in old.get("data", {}) if kind.startswith("text/")]
        for there, here, key in holders:
            if isinstance(there.get(key), str) and isinstance(here[key], str):
                there[key], found = as_stored(item.sanitize(there[key]), item.sanitize(here[key]))
                differ += found
    return test, differ


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("nbval", default=False):
        return
    from nbval.plugin import IPyNbCell

    exactly = IPyNbCell.compare_outputs

    def compare_outputs(self: Any, test: list[Any], ref: list[Any], skip_compare: Any = None) -> bool:
        near, differ = near_outputs(self, test, ref)
        if differ:
            self.user_properties.append((COUNTED, (self.nodeid, differ)))
        return exactly(self, near, ref, skip_compare)

    IPyNbCell.compare_outputs = compare_outputs


def reported(terminalreporter: Any, wanted: str) -> dict[str, Any]:
    """What reports of this run carry under the name ``wanted``, by the first thing of each: the name of a cell or notebook."""
    return {
        value[0]: value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name == wanted
    }


def pytest_terminal_summary(terminalreporter) -> None:
    found = reported(terminalreporter, COUNTED)
    if found:
        terminalreporter.section("decimals one unit of their last digit away from the stored ones")
    for name in sorted(found):
        terminalreporter.write_line(f"{name}: {', '.join(found[name][1])}")
