"""Weights that others trained, in our networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from workings.disentangling.networks import VAE


def load_interleaved(model: VAE, weights: Mapping[str, torch.Tensor]) -> VAE:
    """Copy the weights of a peer's network of the same layers into ``model``, in place; returns ``model``.

    ``weights`` is a state dict in the order of the layers, encoder first, whatever the names; its head
    gives ``mean_1, log-variance_1, mean_2, ...`` in turn, as in YannDubs/disentangling-vae, where ours
    gives all means first. Raises ``ValueError`` naming the first shape that differs.
    """
    own = model.state_dict()
    if len(own) != len(weights):
        raise ValueError(f"the weights have {len(weights)} tensors, this model has {len(own)}; take the same network.")
    new = dict(zip(own, weights.values(), strict=True))
    for (name, value), peer in zip(own.items(), weights, strict=True):
        if value.shape != new[name].shape:
            raise ValueError(
                f"{peer!r} has shape {tuple(new[name].shape)} where {name!r} has {tuple(value.shape)}; "
                "take the same network, with its tensors in the order of the layers."
            )
    last = f"encoder.linears.{len(model.encoder.linears) - 1}"
    for name in (f"{last}.weight", f"{last}.bias"):
        new[name] = torch.cat([new[name][0::2], new[name][1::2]])
    model.load_state_dict(new)
    return model
