"""Named streams of randomness.

A run has one seed. Each place that needs random numbers names its stream, and the stream's own
seed is a hash of both: adding a stream, or drawing more from one, changes no other. Torch is
imported only by the functions that return torch objects.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from workings.checks import as_generator, as_int

if TYPE_CHECKING:
    import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """The seed of the stream ``names`` under ``seed``: an integer in ``[0, 2**63)``.

    The first 63 bits of BLAKE2b over the seed and the names, each with its type and length, so
    that ``("ab", "c")`` and ``("a", "bc")``, or ``1`` and ``"1"``, are different streams. The value
    depends on nothing else (no ``PYTHONHASHSEED``, no platform) and is part of the stored results.

    Raises ``ValueError`` for a negative seed and ``TypeError`` for a name that is neither ``str`` nor ``int``.
    """
    parts: list[str | int] = [as_int(seed, "seed", minimum=0)]
    for name in names:
        if isinstance(name, str):
            parts.append(name)
        elif isinstance(name, (int, np.integer)) and not isinstance(name, bool):
            parts.append(int(name))
        else:
            raise TypeError(f"a stream name must be a str or an int, got {name!r}; pass for instance 'masks' or 3.")
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        kind = b"s" if isinstance(part, str) else b"i"
        text = str(part).encode("utf-8")
        digest.update(kind + len(text).to_bytes(8, "big") + text)
    return int.from_bytes(digest.digest(), "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A fresh ``numpy.random.Generator`` (PCG64) at the start of the stream ``names`` under ``seed``."""
    return np.random.default_rng(stream_seed(seed, *names))


def torch_generator(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A fresh ``torch.Generator`` on ``device`` at the start of the stream ``names`` under ``seed``.

    CPU and CUDA generators of one stream give different numbers: torch uses different algorithms.
    """
    import torch

    return torch.Generator(device=device).manual_seed(stream_seed(seed, *names))


def fresh(source: torch.Generator | None) -> torch.Generator | None:
    """``source``, for a draw that the backward pass must find again; ``RuntimeError`` where it cannot.

    Activation checkpointing (``torch.utils.checkpoint``) runs a layer a second time in the backward pass and puts only
    torch's global generator back first: from a generator of one's own the second run would draw other numbers.
    """
    import torch

    if source is not None and as_generator(source) and torch._C._current_graph_task_id() != -1:
        raise RuntimeError(
            "a layer that draws from its own generator is being run again in a backward pass (activation "
            "checkpointing): it would draw other numbers than in the forward pass, and the gradient would be wrong. "
            "Leave the layer out of the checkpointed part, or give it generator=None: torch's global generator is put back."
        )
    return source


@contextlib.contextmanager
def global_seed(seed: int, *names: str | int) -> Iterator[None]:
    """Within the block torch's global CPU generator is at the start of the stream ``names`` under ``seed``.

    For libraries that draw initial weights from it and take no generator. It is put back on leaving.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, *names))
        yield


@contextlib.contextmanager
def deterministic(threads: int | None = None) -> Iterator[None]:
    """Within the block torch uses deterministic algorithms only, and ``threads`` CPU threads if given.

    Sums depend on the number of CPU threads, so results that must agree bit for bit need the same
    ``threads``. An operation without a deterministic version raises ``RuntimeError`` (torch's own).
    Everything is put back on leaving. On CUDA the cuBLAS workspace is set through the environment;
    that takes effect only when no cuBLAS call was made before.
    """
    import torch

    if threads is not None:
        as_int(threads, "threads", minimum=1)
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_num_threads(),
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )
    try:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = before[2]
        torch.set_num_threads(before[3])
        if before[4] is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
