"""One training loop: seeded, checkpointed, resumable to the same losses.

Everything random or scheduled in a run is a function of ``(seed, step)``: the batch, the loss's
noise and the learning rate. So a run that was stopped and resumed goes on as if nothing had
happened, bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from workings import paths, require_torch
from workings.checks import as_float, as_int
from workings.runs.progress import bar as live_bar
from workings.seeding import stream_seed, torch_generator

with require_torch("training"):
    import torch
    from torch import nn

LossFunction = Callable[[nn.Module, Any, torch.Generator], torch.Tensor]
_FORMAT = 1
_RATES = {"params", "lr", "initial_lr"}  # of an optimiser's group: not settings, or compared by themselves
_WAYS = {"fused", "foreach", "capturable", "differentiable"}  # other ways to the same step
# Of a layer: dropout's, batch-norm's, and how it is differentiated, all without effect on what evaluation computes.
_TRAINING_ONLY = ("p", "momentum", "backward", "surrogate")


class Trained(NamedTuple):
    """What :func:`fit` returns: ``losses`` (steps,) float64 on the CPU; ``resumed_at`` is the first step run now."""

    losses: torch.Tensor
    resumed_at: int


def one_cycle(steps: int, warmup: float = 0.3, start: float = 0.04, end: float = 1e-4) -> Callable[[int], float]:
    """Learning-rate factor by step: cosine from ``start`` up to 1 over ``warmup * steps``, cosine down to ``end``.

    Smith and Topin, arXiv 1708.07120, with cosine halves. Multiply with the optimiser's own (peak) rate.
    """
    steps = as_int(steps, "steps", minimum=1)
    warmup = as_float(warmup, "warmup", minimum=0.0, maximum=1.0)
    start = as_float(start, "start", minimum=0.0, maximum=1.0)
    end = as_float(end, "end", minimum=0.0, maximum=1.0)
    rise = warmup * steps

    def factor(step: int) -> float:
        if step < rise:
            return start + (1.0 - start) * (1.0 - math.cos(math.pi * step / rise)) / 2.0
        fraction = (step - rise) / max(steps - rise, 1.0)
        return end + (1.0 - end) * (1.0 + math.cos(math.pi * min(fraction, 1.0))) / 2.0

    return factor


class ShuffledBatches:
    """Indices of batch ``step``: every epoch is a fresh permutation of ``0..size-1`` cut into batches.

    A pure function of ``(seed, step)``: ``batches(step)`` can be asked in any order. The last,
    incomplete batch of an epoch is dropped, so every batch has ``batch`` indices (int64, CPU).
    """

    def __init__(self, size: int, batch: int, seed: int, name: str = "batches"):
        self.size = as_int(size, "size", minimum=1)
        self.batch = as_int(batch, "batch", minimum=1, maximum=self.size)
        self.seed, self.name = as_int(seed, "seed", minimum=0), name
        self.per_epoch = self.size // self.batch
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __call__(self, step: int) -> torch.Tensor:
        epoch, place = divmod(as_int(step, "step", minimum=0), self.per_epoch)
        if epoch != self._epoch:
            order = torch.randperm(self.size, generator=torch_generator(self.seed, self.name, epoch))
            self._epoch, self._order = epoch, order
        return self._order[place * self.batch : (place + 1) * self.batch].clone()


def fit(
    model: nn.Module,
    loss: LossFunction,
    batches: Callable[[int], Any],
    optimiser: torch.optim.Optimizer,
    steps: int,
    *,
    seed: int,
    schedule: Callable[[int], float] | None = None,
    autocast: torch.dtype | None = None,
    scaler: torch.amp.GradScaler | None = None,
    clip_norm: float | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    on_step: Callable[[int, torch.Tensor], None] | None = None,
    progress: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Trained:
    """Train ``model`` in place for ``steps`` optimiser steps and return its losses.

    At step ``t`` (from 0): ``loss(model, batches(t), generator)`` is a scalar to minimise, where
    ``generator`` is a fresh stream of ``(seed, t)`` on the model's device for noise and
    augmentation; the learning rate is the optimiser's initial one times ``schedule(t)``. Torch's
    global generator (``nn.Dropout`` reads it) is seeded per step inside and put back on return.
    The model is put in training mode and left in it.

    ``autocast`` is a dtype for mixed precision (bfloat16 needs no ``scaler``, float16 does);
    ``clip_norm`` bounds the gradient's global 2-norm. ``on_step(t, loss)`` is called after each step
    with the detached loss; a caller may stop a run by raising from it. ``progress=True`` draws a live bar.

    With ``checkpoint`` (a file) the state is saved every ``checkpoint_every`` steps and at the
    end, and a run that finds the file goes on from it. The file holds tensors and plain values only. What
    the run was told is in it as well: the seed, every option of the optimiser, the model's own settings (see
    :func:`model_settings`), ``clip_norm``, ``autocast``, the learning rates of the steps done, and ``settings``: names and plain
    values of whatever else decides the result, such as the weights of the loss or the batch size, which only the caller knows.

    Raises ``ValueError`` naming what differs when the checkpoint belongs to another run or to more steps, or when
    the loss is not a scalar, and ``FloatingPointError`` when a loss is not finite (no such state is saved).
    """
    steps = as_int(steps, "steps", minimum=1)
    if checkpoint_every is not None:
        as_int(checkpoint_every, "checkpoint_every", minimum=1)
        if checkpoint is None:
            raise ValueError("checkpoint_every needs a checkpoint file; pass checkpoint=PATH.")
    if clip_norm is not None:
        as_float(clip_norm, "clip_norm", minimum=0.0, open_ends=True)
    device = _device(model)
    for group in optimiser.param_groups:
        group.setdefault("initial_lr", group["lr"])
    losses = torch.empty(0, dtype=torch.float64)
    told = {**(settings or {}), "clip_norm": clip_norm, "autocast": autocast}
    told = {name: repr(value) for name, value in told.items()}
    if checkpoint is not None and Path(checkpoint).is_file():
        losses = _resume(Path(checkpoint), model, optimiser, scaler, seed, steps, told, schedule)
    first = done = len(losses)
    pending: list[torch.Tensor] = []
    model.train()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        bar = stack.enter_context(live_bar(total=steps, initial=done, unit="step")) if progress else None
        for step in range(done, steps):
            torch.manual_seed(stream_seed(seed, "fit", "global", step))
            noise = torch_generator(seed, "fit", "loss", step, device=device)
            if schedule is not None:
                for group in optimiser.param_groups:
                    group["lr"] = group["initial_lr"] * schedule(step)
            with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                value = loss(model, batches(step), noise)
            if value.numel() != 1:
                raise ValueError(f"loss must return one number, got shape {tuple(value.shape)}; take its mean.")
            _update(model, optimiser, scaler, clip_norm, value)
            value = value.detach().reshape(())
            pending.append(value)
            if on_step is not None:
                on_step(step, value)
            if bar is not None:
                bar.update()
            last = step + 1 == steps
            save = checkpoint is not None and (last or (checkpoint_every and (step + 1) % checkpoint_every == 0))
            if save or last or len(pending) == 100:  # one host round trip for many steps
                losses = torch.cat([losses, torch.stack(pending).double().cpu()])
                pending.clear()
                if not torch.isfinite(losses).all():
                    where = int((~torch.isfinite(losses)).nonzero()[0])
                    raise FloatingPointError(
                        f"the loss is {losses[where].item()} at step {where}; lower the learning rate or clip_norm."
                    )
            if save:
                save_checkpoint(Path(checkpoint), model, optimiser, scaler, seed, losses, told, schedule)
    return Trained(losses, first)


def _update(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    clip_norm: float | None,
    value: torch.Tensor,
) -> None:
    """One backward pass and optimiser step, with loss scaling and clipping when asked."""
    optimiser.zero_grad(set_to_none=True)
    (value if scaler is None else scaler.scale(value)).backward()
    if clip_norm is not None:
        if scaler is not None:
            scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], clip_norm)
    if scaler is None:
        optimiser.step()
    else:
        scaler.step(optimiser)
        scaler.update()


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    seed: int,
    losses: torch.Tensor,
    settings: Mapping[str, str] | None = None,
    schedule: Callable[[int], float] | None = None,
) -> None:
    """Write the state after ``len(losses)`` steps to ``path``; a crash half way leaves the old file whole.

    Raises ``OSError`` naming ``WORKINGS_RUNS`` when ``path`` cannot be written.
    """
    state = {
        "format": _FORMAT,
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "optimiser_class": type(optimiser).__name__,
        "scaler": {} if scaler is None else scaler.state_dict(),
        "seed": seed,
        "losses": losses,
        "model_settings": model_settings(model),
        "settings": dict(settings or {}),
        "rates": _rates(schedule, len(losses)),
    }
    with paths.writing_run(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:  # a name of its own: two processes never write to one file
            torch.save(state, file)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """The dictionary that :func:`fit` saved (tensors and plain values only; no code is run).

    Raises ``FileNotFoundError`` when there is none and ``ValueError`` for a file of another kind.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {str(path)!r}; train first, or give the file's right place.")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{str(path)!r} is not a readable checkpoint ({reason}); delete it and train again.") from None
    if not isinstance(state, dict) or state.get("format") != _FORMAT or "model" not in state:
        raise ValueError(f"{str(path)!r} was not written by workings.training; use another file name.")
    return state


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    """Copy the weights of the checkpoint ``path`` into ``model`` (in place); returns ``model``.

    Raises ``ValueError`` naming the first difference when the checkpoint is of another architecture, or of one with
    the same shapes and other settings (:func:`model_settings`), such as another number of heads.
    """
    state = load_checkpoint(path, _device(model))
    _same_architecture(model, state, path, ignore=_TRAINING_ONLY)
    model.load_state_dict(state["model"])
    return model


def model_settings(model: nn.Module) -> dict[str, str]:
    """What decides what ``model`` computes besides its weights, by name: ``{"blocks.0.attention.n_heads": "2", ...}``.

    These are the attributes that each module's class lists in ``__constants__``, as torch's own layers do (strides, slopes,
    groups), and the classes of modules without weights (ReLU or GELU). Functions stand by their names, and no place in
    memory is in them: the same model has the same settings in every process.
    """
    found = {}
    for path, module in model.named_modules():
        where = path + "." if path else ""
        if path and not any(True for _ in module.children()) and not module.state_dict():
            found[path] = type(module).__name__
        names = {name for kind in type(module).__mro__ for name in getattr(kind, "__constants__", ())}
        for name in sorted(names - {"inplace"}):
            value = getattr(module, name, None)
            plain = value.__name__ if hasattr(value, "__name__") else repr(value)
            found[where + name] = re.sub(r" at 0x[0-9a-fA-F]+", "", plain)
    return found


def _resume(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    seed: int,
    steps: int,
    settings: Mapping[str, str],
    schedule: Callable[[int], float] | None,
) -> torch.Tensor:
    state = load_checkpoint(path, _device(model))
    _same_architecture(model, state, path)
    if state["seed"] != seed:
        raise ValueError(
            f"the checkpoint {str(path)!r} is of seed {state['seed']}, this run has {seed}; use one file per seed."
        )
    losses = state["losses"].cpu()
    if len(losses) > steps:
        raise ValueError(f"the checkpoint {str(path)!r} is at step {len(losses)}, beyond the {steps} steps asked for.")
    rates = [group["initial_lr"] for group in optimiser.param_groups]
    found = [group["initial_lr"] for group in state["optimiser"]["param_groups"]]
    if (state.get("optimiser_class"), found) != (type(optimiser).__name__, rates):
        raise ValueError(
            f"the checkpoint {str(path)!r} is of another optimiser, {state.get('optimiser_class', 'an unnamed one')} with learning rate(s) "
            f"{found}, not {type(optimiser).__name__} with {rates}; use another file."
        )
    groups = [{k: v for k, v in g.items() if k not in _RATES | _WAYS} for g in optimiser.param_groups]
    there = [{k: v for k, v in g.items() if k not in _RATES | _WAYS} for g in state["optimiser"]["param_groups"]]
    for k, (old, new) in enumerate(zip(there, groups, strict=True)):
        _same_settings(path, old, new, f"the optimiser's {{}} (parameter group {k})")
    if "settings" in state:  # a checkpoint of an older version says nothing about them
        _same_settings(path, state["settings"], settings, "{}")
        if state["rates"] != (rates := _rates(schedule, len(losses))):
            raise ValueError(
                f"the checkpoint {str(path)!r} was trained with another schedule: the factors of its steps "
                f"{_probes(len(losses))} are {state['rates']}, here {rates}; use another file."
            )
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    if scaler is not None and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    return losses


def _probes(done: int) -> list[int]:
    """Steps at which two schedules are compared."""
    return sorted({0, done // 2, done - 1})


def _rates(schedule: Callable[[int], float] | None, done: int) -> list[float]:
    return [1.0 if schedule is None else float(schedule(step)) for step in _probes(done)]


def _same_settings(path: str | Path, old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> None:
    """``ValueError`` naming the first setting that differs."""
    for name in [*new, *(set(old) - set(new))]:
        was, now = old.get(name, "not given"), new.get(name, "not given")
        if was != now and not (isinstance(was, (tuple, list)) and isinstance(now, (tuple, list)) and [*was] == [*now]):
            raise ValueError(
                f"the checkpoint {str(path)!r} is of another run: {where.format(name)} was {was}, is {now}; "
                "go back to that, or use another file."
            )


def _same_architecture(model: nn.Module, state: dict[str, Any], path: str | Path, ignore: Sequence[str] = ()) -> None:
    weights = state["model"]
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in [*own, *found]:
        if own.get(name) != found.get(name):
            raise ValueError(
                f"the checkpoint {str(path)!r} is of another architecture: {name!r} has shape "
                f"{found.get(name, 'absent')} there and {own.get(name, 'absent')} in this {type(model).__name__}."
            )
    there, here = state.get("model_settings"), model_settings(model)
    if there is None:  # a checkpoint of an older version
        return
    modules = dict(model.named_modules())
    for name in [*here, *there]:
        if name not in there and name not in modules:
            continue  # a setting that the version which wrote the file did not record
        if name.rpartition(".")[2] not in ignore and there.get(name) != here.get(name):
            raise ValueError(
                f"the checkpoint {str(path)!r} is of another architecture: {name!r} is {there.get(name, 'absent')} there "
                f"and {here.get(name, 'absent')} in this {type(model).__name__}, which has the same shapes."
            )


def _device(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise ValueError(f"{type(model).__name__} has no parameters; there is nothing to train or load.")
    return parameter.device
