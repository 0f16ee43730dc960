"""Pruning layers, and functions that insert them into any network and remove them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import nn

from workings.checks import as_float, as_generator, one_of
from workings.robustness.bpda import replace_modules
from workings.robustness.poisson_pruning import poisson_activation_pruning
from workings.robustness.sap import BACKWARD_RULES, kept_share, matched_dropout, stochastic_activation_pruning

Types = type[nn.Module] | tuple[type[nn.Module], ...]
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU)


class PruningLayer(nn.Module):
    """A random layer that is on in training *and* evaluation mode, unlike ``nn.Dropout``.

    ``fraction=None`` or ``enabled=False`` switches it off: the input comes back as the same tensor.
    ``generator`` is where it draws from (``None``: torch's global one); layers may share one.
    """

    __constants__ = ("fraction", "backward")

    def __init__(
        self, fraction: float | None = 1.0, backward: str = "mask", generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if fraction is not None:
            as_float(fraction, "fraction", minimum=0.0, finite=False)
        self.fraction = fraction
        self.backward = one_of(backward, "backward", BACKWARD_RULES)
        self.generator = None if generator is None else as_generator(generator)
        self.enabled = True

    def prune(self, h: torch.Tensor) -> torch.Tensor:
        """The layer's random map of ``h`` (B, ...); same shape."""
        raise NotImplementedError

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """``h`` (B, ...) pruned, or ``h`` itself when switched off."""
        return h if self.fraction is None or not self.enabled else self.prune(h)

    def extra_repr(self) -> str:
        """The settings, for printing a model."""
        return f"fraction={self.fraction}, backward={self.backward!r}, enabled={self.enabled}"

    def __deepcopy__(self, memo: dict) -> PruningLayer:
        made = type(self).__new__(type(self))  # not from the constructor: hooks and a subclass's attributes go along
        memo[id(self)] = made
        if self.generator is not None:
            memo[id(self.generator)] = self.generator  # a generator is shared, not copied
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made


class SAPLayer(PruningLayer):
    """Stochastic Activation Pruning as a layer: ``floor(fraction * a)`` draws, see :mod:`workings.robustness.sap`."""

    def prune(self, h: torch.Tensor) -> torch.Tensor:
        """See :func:`~workings.robustness.sap.stochastic_activation_pruning`."""
        return stochastic_activation_pruning(h, self.fraction, self.backward, self.generator)


class PoissonPruningLayer(PruningLayer):
    """The layer of the 2018 program: independent keeps, ``fraction * a`` draws on average (2018: ``fraction=2``)."""

    def prune(self, h: torch.Tensor) -> torch.Tensor:
        """See :func:`~workings.robustness.poisson_pruning.poisson_activation_pruning`."""
        return poisson_activation_pruning(h, self.fraction * h[0].numel(), self.generator, self.backward)


class MatchedDropout(PruningLayer):
    """Test-time dropout that keeps the share of non-zero activations which SAP of ``fraction`` keeps on average."""

    def prune(self, h: torch.Tensor) -> torch.Tensor:
        """See :func:`~workings.robustness.sap.matched_dropout`; ``backward`` is always ``"mask"``."""
        with torch.no_grad():
            keep = kept_share(h, self.fraction)
        return matched_dropout(h, keep, self.generator)


class TestTimeDropout(PruningLayer):
    """Dropout that stays on at test time: each activation is kept with chance ``fraction`` and divided by it."""

    __test__ = False  # not a test, whatever its name begins with

    def prune(self, h: torch.Tensor) -> torch.Tensor:
        """See :func:`~workings.robustness.sap.matched_dropout`; ``backward`` is always ``"mask"``."""
        return matched_dropout(h, self.fraction, self.generator)


class Pruned(nn.Sequential):
    """``pruning(layer(x))``: what :func:`insert_pruning` puts in the place of ``layer``."""

    def __init__(self, layer: nn.Module, pruning: PruningLayer):
        super().__init__()
        self.layer = layer
        self.pruning = pruning


def insert_pruning(model: nn.Module, after: Types, make: Callable[[], PruningLayer]) -> nn.Module:
    """A copy of ``model`` with a layer ``make()`` behind every module of the types ``after``.

    Weights are copied too. Raises ``ValueError`` when no module matches or the model is pruned already.
    """
    if any(pruning_layers(model)):
        raise ValueError("the model has pruning layers already; change them with configure, or remove_pruning first.")
    return replace_modules(copy.deepcopy(model), after, lambda layer: Pruned(layer, make()))


def insert_sap(
    model: nn.Module,
    after: Types = ACTIVATIONS,
    fraction: float | None = 1.0,
    backward: str = "mask",
    generator: torch.Generator | None = None,
) -> nn.Module:
    """A copy of ``model`` with SAP after every activation: the paper's defence, no training needed.

    The paper prunes after *every* ReLU, the last one before pooling included; that is the default
    (``nn.ReLU`` and ``nn.LeakyReLU`` modules; an activation called as a function cannot be found).
    ``fraction=None`` gives the dense output bit for bit. Raises ``ValueError`` when nothing matches.
    """
    return insert_pruning(model, after, lambda: SAPLayer(fraction, backward, generator))


def insert_poisson_pruning(
    model: nn.Module,
    after: Types = nn.Conv2d,
    fraction: float | None = 2.0,
    backward: str = "pathwise",
    generator: torch.Generator | None = None,
) -> nn.Module:
    """A copy of ``model`` pruned like the program attacked in 2018: convolution outputs, ``2a`` draws on average, autodiff.

    This is not SAP (arXiv 2010.00071). ``after`` and ``fraction`` can be changed, so that the place of the layer and the number of
    draws can be studied one at a time. Raises ``ValueError`` when no module matches or the model is pruned already.
    """
    return insert_pruning(model, after, lambda: PoissonPruningLayer(fraction, backward, generator))


def insert_dropout(
    model: nn.Module,
    after: Types = ACTIVATIONS,
    fraction: float | None = 1.0,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """A copy of ``model`` with :class:`MatchedDropout` after every activation."""
    return insert_pruning(model, after, lambda: MatchedDropout(fraction, "mask", generator))


def remove_pruning(model: nn.Module) -> nn.Module:
    """A copy of ``model`` without the layers that ``insert_*`` added; ``ValueError`` when it has none."""
    if not any(isinstance(module, Pruned) for module in model.modules()):
        raise ValueError(f"{type(model).__name__} has no layers of insert_sap or another insert_ function to remove.")
    return replace_modules(copy.deepcopy(model), Pruned, lambda pruned: pruned.layer)


def pruning_layers(model: nn.Module) -> Iterator[PruningLayer]:
    """The pruning layers of ``model`` in order of registration."""
    return (module for module in model.modules() if isinstance(module, PruningLayer))


_KEEP = object()


def configure(
    model: nn.Module,
    *,
    fraction: float | object | None = _KEEP,
    backward: str | object = _KEEP,
    generator: torch.Generator | object | None = _KEEP,
    enabled: bool | object = _KEEP,
) -> nn.Module:
    """Set what is given on every pruning layer of ``model``, in place; returns ``model``.

    Raises ``ValueError`` when the model has no pruning layer or a value is not allowed.
    """
    layers = list(pruning_layers(model))
    if not layers:
        raise ValueError(f"{type(model).__name__} has no pruning layer; make one with insert_sap first.")
    if fraction is not _KEEP and fraction is not None:
        as_float(fraction, "fraction", minimum=0.0, finite=False)
    if backward is not _KEEP:
        one_of(backward, "backward", BACKWARD_RULES)
    if generator is not _KEEP and generator is not None:
        as_generator(generator)
    for layer in layers:
        layer.fraction = layer.fraction if fraction is _KEEP else fraction
        layer.backward = layer.backward if backward is _KEEP else backward
        layer.generator = layer.generator if generator is _KEEP else generator
        layer.enabled = layer.enabled if enabled is _KEEP else bool(enabled)
    return model
