"""Sweeps: one chapter's experiment over a grid of settings and seeds, on any number of processes or machines.

The work is mapped by ``dask.distributed``: a local cluster by default, any cluster when given its scheduler's
address. Each result is on disk before it is counted, so a sweep that was killed goes on where it stopped.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from workings import paths
from workings.checks import as_int
from workings.runs import imports, locks
from workings.runs.isolation import changed
from workings.runs.store import Store

Point = dict[str, Any]


class Experiment(NamedTuple):
    """A chapter's ``sweep_point``: where it is, the settings that a grid may name with their defaults, and a checksum."""

    slug: str
    part: str
    module: str
    defaults: Point
    code: str


class Summary(NamedTuple):
    """How many points were found done, computed now, and failed (with the error of each)."""

    found: int
    computed: int
    failed: dict[str, str]


def experiment(slug: str) -> Experiment:
    """The experiment of chapter ``slug``: ``sweep_point(*, name: type = default, ...) -> dict of numbers``.

    It stands in ``workings.chapters.<slug>.sweep``; the checksum is over that module and every module of this package
    that it reaches. Raises ``ValueError`` for an unknown chapter and for one without an experiment to sweep.
    """
    part = paths.find_part(slug)
    name = f"workings.chapters.{slug}.sweep"
    if importlib.util.find_spec(f"workings.chapters.{slug}") and importlib.util.find_spec(name):
        function = getattr(importlib.import_module(name), "sweep_point", None)
        if function is not None:
            return Experiment(slug, part, name, _defaults(function), code_of(name))
    raise ValueError(f"chapter {slug!r} has no sweep_point; give it a module {name}, as other chapters have.")


def code_of(module: str) -> str:
    """Checksum of the source of ``module`` and of all modules of this package that it imports, directly or through others."""
    sources = {name: found.source for name, found in imports.reached([module], imports.installed).items()}
    return hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()[:12]


def _defaults(function: Callable[..., Any]) -> Point:
    found = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    for name, value in found.items():
        if type(value) not in (int, float, str, bool):
            raise TypeError(f"sweep_point's {name!r} needs a plain default (int, float, str or bool), got {value!r}.")
    return found


def grid(words: Sequence[str], defaults: Mapping[str, Any]) -> list[Point]:
    """Every combination of ``words`` such as ``"gamma=10,100"`` and ``"seed=0:5"`` (0 to 4), the last varying fastest.

    Settings that are not named keep their ``defaults``, which also give each its type. Raises ``ValueError``
    for a key that is none of them (naming the nearest), one given twice or without values, and a value of another type.
    """
    axes: dict[str, list[Any]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if key not in defaults:
            raise ValueError(
                f"unknown grid key {key!r}{paths.did_you_mean(key, list(defaults))} A grid may name: {', '.join(defaults)}."
            )
        if key in axes:
            raise ValueError(f"grid key {key!r} is given twice; list its values once, as in {key}=1,2,3.")
        if not equals or not text:
            raise ValueError(f"grid key {key!r} has no values; write {key}=VALUE,VALUE or {key}=FIRST:END.")
        axes[key] = _values(key, text, type(defaults[key]))
    return [{**defaults, **dict(zip(axes, choice, strict=True))} for choice in itertools.product(*axes.values())]


def _values(key: str, text: str, kind: type) -> list[Any]:
    words = text.split(",")
    if kind is int and ":" in text:
        first, _, end = text.partition(":")
        try:
            values: list[Any] = list(range(int(first), int(end)))
        except ValueError:
            raise ValueError(f"{key}={text} is no range; write whole numbers, as in {key}=0:5.") from None
        if not values:
            raise ValueError(f"{key}={text} is empty: the range ends before it begins.")
        return values
    values = []
    for word in words:
        try:
            value = {"true": True, "false": False}[word.lower()] if kind is bool else kind(word)
        except (ValueError, KeyError):
            raise ValueError(f"{key}={word} is not of type {kind.__name__}.") from None
        if kind is float and not math.isfinite(value):
            raise ValueError(f"{key}={word} is not a finite number.")
        if value in values:
            raise ValueError(f"{key} has the value {word} twice.")
        values.append(value)
    return values


def key(point: Mapping[str, Any]) -> str:
    """The name of a point in the store: its settings, in alphabetical order."""
    return json.dumps(dict(sorted(point.items())))


def store(plan: Experiment, name: str = "sweep", folder: Path | None = None) -> Store:
    """The file ``<results>/<part>/<slug>/sweeps/<name>.jsonl`` that results are streamed to.

    Results of other code are not mixed in: the file remembers a checksum of the experiment's module.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"a sweep's name may have letters, digits, - and _, got {name!r}.")
    root = paths.writable_results_root() if folder is None else Path(folder)
    file = root / plan.part / plan.slug / "sweeps" / f"{name}.jsonl"
    return Store(file, {"experiment": plan.module, "code": plan.code})


def run_sweep(
    plan: Experiment,
    points: Sequence[Point],
    results: Store,
    *,
    scheduler: str | None = None,
    workers: int = 2,
    timeout: float = 10.0,
    on_done: Callable[[str, dict[str, Any]], None] | None = None,
) -> Summary:
    """Compute every point that ``results`` does not have yet, each on one process, and store it as it finishes.

    ``scheduler`` is the address of a running cluster; without one, ``workers`` processes are started here with one
    thread each. A process that dies has its points computed again by another. A point that raises is
    reported in the summary, and the others go on. ``on_done(key, payload)`` is called after each is on disk.

    Raises ``RuntimeError`` when no scheduler answers at the address within ``timeout`` seconds, when another process is
    computing the same sweep, and when the disk is full (what was stored stays; the same call goes on from it).
    """
    workers = as_int(workers, "workers", minimum=1)
    try:
        with locks.locked(results.path.with_name(results.path.name + ".lock"), wait=False):
            return _run_sweep(plan, points, results, scheduler, workers, timeout, on_done)
    except locks.Busy:
        raise RuntimeError(
            f"another process is computing the sweep {paths.shown(results.path)}. Wait until it has ended and run the "
            "same command again, which then goes on from there; or give this one another --name."
        ) from None


def _run_sweep(
    plan: Experiment,
    points: Sequence[Point],
    results: Store,
    scheduler: str | None,
    workers: int,
    timeout: float,
    on_done: Callable[[str, dict[str, Any]], None] | None,
) -> Summary:
    todo = {key(point): point for point in points if not results.done(key(point))}
    found, failed = len({key(point) for point in points}) - len(todo), {}
    if not todo:
        return Summary(found, 0, failed)
    try:
        from distributed import as_completed
    except ModuleNotFoundError:
        raise RuntimeError("a sweep needs dask.distributed, which is not installed; pip install distributed.") from None

    with _client(scheduler, min(workers, len(todo)), timeout) as client:
        futures = {
            client.submit(_compute, plan.module, point, plan.code, pure=False): name for name, point in todo.items()
        }
        for future in as_completed(futures):
            name = futures[future]
            if future.status != "finished":
                error = future.exception()
                failed[name] = f"{type(error).__name__}: {error}"
                continue
            try:
                results.put(name, future.result())
            except OSError as error:
                client.cancel(list(futures), force=True)
                done = sum(results.done(other) for other in todo)
                raise RuntimeError(
                    f"the result of {name} could not be written ({error.strerror}). {found + done} points are safe in "
                    f"{paths.shown(results.path)}; free some space and run the same command again."
                ) from None
            if on_done is not None:
                on_done(name, results.get(name))
    return Summary(found, len(todo) - len(failed), failed)


_code_here = functools.cache(code_of)  # a worker looks once: what it has imported does not change


def _compute(module: str, point: Point, code: str | None = None) -> dict[str, Any]:
    """On a worker: one point, with its time and the process that did it. Refuses where its own code is not ``code``."""
    try:
        function = importlib.import_module(module).sweep_point
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"a worker cannot import {module} ({error}); install this package in the workers' environment."
        ) from None
    if code is not None and _code_here(module) != code:
        raise RuntimeError(
            f"a worker has other code for {module} than the one who asks ({_code_here(module)}, not {code}); "
            "install the same version of this package everywhere and start the workers again."
        )
    start = time.perf_counter()
    with changed({"WORKINGS_QUIET": "1"}):  # a worker's bars would be drawn over the sweep's own
        values = function(**point)
    seconds = time.perf_counter() - start
    return {"point": point, "values": values, "seconds": round(seconds, 3), "process": os.getpid()}


@contextlib.contextmanager
def _client(scheduler: str | None, workers: int, timeout: float) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        if scheduler is None:
            quiet = {"distributed.admin.log-level": "error", "distributed.worker.daemon": True}
            stack.enter_context(dask.config.set(quiet))
            stack.enter_context(changed({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}))
            _refuse_without_a_guard()
            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50)
            yield stack.enter_context(Client(stack.enter_context(cluster)))
            return
        try:
            client = Client(scheduler, timeout=timeout)
        except (OSError, TimeoutError, ValueError) as error:
            raise RuntimeError(
                f"no scheduler answers at {scheduler!r} ({type(error).__name__}). Start one with `dask scheduler` and "
                "workers with `dask worker ADDRESS`, check the address it prints, or leave --scheduler out."
            ) from None
        yield stack.enter_context(client)


def _refuse_without_a_guard() -> None:
    """Raise ``RuntimeError`` in a script that the processes started here would run again from its first line."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if not file or not file.endswith(".py") or not Path(file).is_file():
        return
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    if not any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in tree.body):
        raise RuntimeError(
            f"{Path(file).name} would be run again by every process that a sweep starts. Put what it does under "
            '`if __name__ == "__main__":`, or give the address of a running scheduler.'
        )
