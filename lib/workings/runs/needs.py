"""What a chapter's full tier needs, which device it takes, and the answer when memory runs out.

A chapter says it once, as ``needs`` of its ``Settings``; the notebook, ``workings run`` and ``workings needs`` read it there.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from workings.runs import provenance

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_CPU_WORDS = ("can't allocate memory", "not enough memory", "std::bad_alloc")  # torch on Linux, on Windows, and C++
_CUDA_WORDS = ("out of memory", "ALLOC_FAILED")


class OutOfMemory(RuntimeError):
    """The full tier did not fit in memory; the message names the setting to lower, the cause is the error itself."""


@dataclass(frozen=True)
class Needs:
    """What the full tier takes. Sentences begin small and have no full stop.

    ``paper``: what is run at the paper's scale. ``gpu``: the GPU that takes, with its memory, or ``None`` where a CPU
    does. ``shortened``: what is run without a GPU. ``lower``: settings to lower when memory runs out, the first
    first, each with what it counts; they are fields of the classes ``settings``, given as ``module.Class`` of ``workings.chapters.<slug>``.
    """

    paper: str
    gpu: str | None
    shortened: str | None
    settings: tuple[str, ...]
    lower: dict[str, str]

    def __post_init__(self) -> None:
        if (self.gpu is None) != (self.shortened is None):
            raise ValueError("give gpu and shortened together, or neither: a run that needs no GPU is not shortened.")
        if not self.lower:
            raise ValueError("lower is empty; name at least one setting that saves memory.")

    def statement(self, *, dry_run: bool = False) -> str:
        """One line: the device that is taken here, and without a GPU what the paper's scale would need."""
        if dry_run:
            return "Full tier, dry run: a few steps on generated data."
        gpu = provenance.gpu_name()
        if self.gpu is None:
            return f"Full tier on the CPU; it needs no GPU: {self.paper}."
        if gpu is not None:
            return f"Full tier on the GPU ({gpu}): {self.paper}."
        return (
            f"Full tier on the CPU, shortened: {self.shortened}. No GPU was found; the paper's scale ({self.paper}) would need "
            f"{self.gpu}."
        )

    def advice(self) -> str:
        """What to do when memory has run out, in one sentence."""
        first, *others = (f"`{name}` ({what})" for name, what in self.lower.items())
        rest = f", then {' and '.join(others)}" if others else ""
        return f"Lower {first}{rest} of {' or '.join(self.settings)}, half at a time, and run again"

    def guard(self, work: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """``work`` that answers running out of memory, on a GPU or a CPU, with :class:`OutOfMemory`."""

        @functools.wraps(work)
        def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            try:
                return work(*args, **kwargs)
            except Exception as error:
                device = device_out_of_memory(error)
                if device is None:
                    raise
                traceback.clear_frames(error.__traceback__)  # the cause would keep the tensors that filled the memory
                said = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise OutOfMemory(f"out of memory on the {device}. {self.advice()}. The error was: {said}") from error

        return guarded


def device_out_of_memory(error: BaseException) -> str | None:
    """``"GPU"`` or ``"CPU"`` when ``error`` says that its memory ran out, else ``None``. Does not import torch."""
    torch = sys.modules.get("torch")
    said = str(error)
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return "GPU"
    if isinstance(error, MemoryError):
        return "CPU"
    if isinstance(error, OutOfMemory) or not isinstance(error, RuntimeError):
        return None
    if any(word in said for word in _CPU_WORDS):
        return "CPU"
    return "GPU" if any(word in said for word in _CUDA_WORDS) else None
