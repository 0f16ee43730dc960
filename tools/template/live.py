"""What the live figure of the page (book/assets/live/{{slug}}.js) is compared with: kernels and arguments."""

from collections.abc import Callable, Sequence

import numpy as np

from workings.{{part}}.{{slug}} import mean_and_standard_error


def in_one_list(x: Sequence[float]) -> list[float]:
    """Mean and standard error of :func:`mean_and_standard_error`, in one list."""
    return [float(value) for value in mean_and_standard_error(x)]


def cases() -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try)."""
    samples = [np.linspace(-1, 1, n).tolist() for n in (2, 3, 5, 8, 20)]
    return {"error": (in_one_list, [([*sample, last],) for sample in samples for last in (-10.0, -0.5, 0.0, 2.0, 10.0)])}
