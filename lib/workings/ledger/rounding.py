"""Numbers rounded to what their spread supports, so that a printed result is stable."""

from __future__ import annotations

import math

SMALL = 1e-6
"""A bound below this is about rounding errors; a zero under a larger bound is a count of nothing."""

NOISE = 1e-9
"""Below this an error or a difference is rounding noise: its digits change from machine to machine."""


def round_to_spread(value: float, spread: float | None = None, digits: int | None = None) -> tuple[str, str | None]:
    """``(value, spread)`` as text, the value cut where the spread's second significant digit stands.

    ``round_to_spread(3.31132, 0.00521)`` is ``("3.3113", "0.0052")``. Without a spread the value keeps
    four significant digits and the second text is ``None``. ``digits`` overrides both rules: the value
    keeps that many significant digits and the spread the same decimals. A spread below ``1e-12`` of the
    value is rounding noise and counts as zero. Raises ``ValueError`` for a value or spread that is not
    finite, a negative spread and ``digits`` outside 1 to 15.
    """
    value = _finite(value, "value")
    if digits is not None and not 1 <= digits <= 15:
        raise ValueError(f"digits must be between 1 and 15, got {digits}.")
    if spread is None:
        return significant(value, 4 if digits is None else digits), None
    spread = _finite(spread, "spread")
    if spread < 0:
        raise ValueError(f"spread must be zero or more, got {spread!r}.")
    if spread <= 1e-12 * abs(value):
        return significant(value, 4 if digits is None else digits), "0"
    if digits is None:
        place = _place(spread, 2)
    else:
        place = _place(value, digits)
    if place > 12:  # very small numbers read better in scientific notation
        return significant(value, 4 if digits is None else digits), significant(spread, 2)
    value_text = _at_place(value, place)
    spread_text = _at_place(spread, place)
    return value_text, spread_text if float(spread_text) > 0 else significant(spread, 1)


def significant(value: float, digits: int = 4) -> str:
    """``value`` with ``digits`` significant digits; scientific outside ``[1e-4, 1e6)``."""
    value = _finite(value, "value")
    if value == 0:
        return "0"
    text = f"{value:.{digits - 1}e}"
    mantissa, exponent = text.split("e")
    power = int(exponent)
    if -4 <= power < 6:
        return _at_place(value, digits - 1 - power)
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{power}"


def plain(value: float) -> str:
    """A number that someone wrote (a target, a paper's figure): as short as it was written."""
    if isinstance(value, int) or (abs(value) < 1e15 and float(value).is_integer()):
        return str(int(value))
    return significant(float(f"{value:.12g}"), 1) if _is_power_of_ten(value) else f"{value:.12g}"


def with_spread(value: float, spread: float | None = None, digits: int | None = None) -> str:
    """``"3.3113 ± 0.0052"``, or the value alone when there is no spread."""
    value_text, spread_text = round_to_spread(value, spread, digits)
    return value_text if spread_text is None else f"{value_text} ± {spread_text}"


def _finite(number: float, name: str) -> float:
    number = float(number)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number!r}.")
    return number


def _place(number: float, digits: int) -> int:
    """The decimal place of the ``digits``-th significant digit, after rounding to it (0.0996 -> 0.10)."""
    if number == 0:
        return digits - 1
    return digits - 1 - int(f"{number:.{digits - 1}e}".split("e")[1])


def _at_place(number: float, place: int) -> str:
    """``number`` rounded at decimal ``place``, which may be negative (tens, hundreds)."""
    if place < 0:
        text = str(round(round(number), place))
    else:
        text = f"{number:.{place}f}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text


def _is_power_of_ten(value: float) -> bool:
    return value > 0 and f"{value:.12e}".startswith("1.000000000000e") and not 1e-4 <= value < 1e6
