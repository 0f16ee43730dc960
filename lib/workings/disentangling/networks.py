"""Variational autoencoders of the part: encoder, decoder and the noise between them.

An encoder maps images (B, C, H, W) to the mean and the log-variance of a diagonal Gaussian code,
each (B, M); a decoder maps codes (B, M) to Bernoulli logits (B, C, H, W).

The classes draw their first weights as torch's own layers do, by torch's default rule from its global generator. The
functions that take a generator draw the weights from it and leave the global one alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from workings.checks import as_generator, as_int, check_tensor
from workings.disentangling.layers import Downsample, Upsample, run_stack
from workings.seeding import fresh

ImageSize = int | tuple[int, int, int]


def reparameterise(mu: torch.Tensor, logvar: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """``z = mu + e^(logvar / 2) eps`` with standard normal ``eps`` from ``generator``; (B, M) to (B, M).

    The generator must be on the device of ``mu``. Kingma and Welling, arXiv 1312.6114, section 2.4.
    """
    check_tensor(mu, "mu")
    check_tensor(logvar, "logvar")
    if mu.shape != logvar.shape:
        raise ValueError(f"mu and logvar must have one shape, got {tuple(mu.shape)} and {tuple(logvar.shape)}.")
    noise = torch.randn(mu.shape, generator=fresh(as_generator(generator)), device=mu.device, dtype=mu.dtype)
    return mu + torch.exp(0.5 * logvar) * noise


class VAE(nn.Module):
    """An encoder and a decoder, joined by a noisy code.

    ``encoder(x)`` must return ``(mu, logvar)``, each (B, M); ``decoder(z)`` logits (B, C, H, W).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, C, H, W) to the posterior's mean and log-variance, each (B, M)."""
        return self.encoder(x)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Codes (B, M) to logits (B, C, H, W); ``torch.sigmoid`` of them are pixel probabilities."""
        return self.decoder(z)

    def forward(
        self, x: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``(logits, mu, logvar)`` of images (B, C, H, W).

        The code is drawn from the posterior with ``generator``; without one it is the posterior mean.
        """
        mu, logvar = self.encoder(x)
        z = mu if generator is None else reparameterise(mu, logvar, generator)
        return self.decoder(z), mu, logvar


class ConvEncoder(nn.Module):
    """4x4 convolutions of stride 2, then linear layers, ReLU after each, then a linear head.

    ``channels`` are the filters of the convolutions, each of which halves the image, and ``hidden``
    the widths of the linear layers. The head has ``2 latent_dim`` outputs: means, then log-variances.
    ``size`` must be divisible by ``2 ** len(channels)``, else ``ValueError``. ``fast = False`` on the
    instance calls the convolutions one by one (see :func:`~workings.disentangling.layers.run_stack`).
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        img_channels: int = 1,
        size: int = 64,
        channels: Sequence[int] = (32, 32, 32, 32),
        hidden: Sequence[int] = (256, 256),
    ):
        super().__init__()
        self.latent_dim, self.shape, side = _geometry(latent_dim, img_channels, size, channels)
        self.convs = nn.ModuleList(Downsample(a, b) for a, b in itertools.pairwise([self.shape[0], *channels]))
        self.fast = True
        self.linears = _linears([channels[-1] * side * side, *hidden, 2 * self.latent_dim])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, C, size, size) to mean and log-variance, each (B, M)."""
        x = _check_images(x, self.shape)
        h = run_stack(self.convs, x, relu_last=True, fast=self.fast)  # (B, channels[-1], size / 2^n, size / 2^n)
        return _head(self.linears, h.flatten(1))


class ConvDecoder(nn.Module):
    """The mirror of :class:`ConvEncoder`: linear layers, then 4x4 transposed convolutions of stride 2.

    Takes the encoder's arguments in the encoder's order and turns the layers around: the linear
    widths are ``reversed(hidden)`` and then the flat feature map. ReLU after all but the last layer. ``fast`` as there.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        img_channels: int = 1,
        size: int = 64,
        channels: Sequence[int] = (32, 32, 32, 32),
        hidden: Sequence[int] = (256, 256),
    ):
        super().__init__()
        self.latent_dim, self.shape, side = _geometry(latent_dim, img_channels, size, channels)
        self.start = (channels[-1], side, side)
        self.linears = _linears([self.latent_dim, *reversed(hidden), math.prod(self.start)])
        self.convs = nn.ModuleList(Upsample(a, b) for a, b in itertools.pairwise([*reversed(channels), self.shape[0]]))
        self.fast = True

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Codes (B, M) to logits (B, C, size, size)."""
        h = _check_codes(z, self.latent_dim)
        for linear in self.linears:
            h = torch.relu(linear(h))
        return run_stack(self.convs, h.unflatten(1, self.start), relu_last=False, fast=self.fast)


class BurgessEncoder(ConvEncoder):
    """Convolutions 32@4x4 down to 4x4 (four from 64 pixels, three from 32), linear 256, 256, 2M.

    252,052 parameters for one channel, 10 latents and 64 pixels. ``size`` is 64 or 32, else
    ``ValueError``. Burgess et al., arXiv 1804.03599, as five public implementations agree on it
    (they hold log-variances where the paper holds log standard deviations).
    """

    def __init__(self, img_channels: int = 1, latent_dim: int = 10, size: int = 64):
        super().__init__(latent_dim, img_channels=img_channels, size=size, channels=_burgess_channels(size))


class BurgessDecoder(ConvDecoder):
    """The mirror of :class:`BurgessEncoder`: linear 256, 256, 512, then transposed convolutions.

    249,953 parameters for one channel, 10 latents and 64 pixels. Same sizes, same source.
    """

    def __init__(self, img_channels: int = 1, latent_dim: int = 10, size: int = 64):
        super().__init__(latent_dim, img_channels=img_channels, size=size, channels=_burgess_channels(size))


class MLPEncoder(nn.Module):
    """Flattened images through linear layers of widths ``hidden`` (ReLU), then a linear head of ``2 latent_dim``.

    ``size`` is the side of a square image of one channel, or (channels, height, width).
    """

    __constants__ = ("shape",)

    def __init__(self, size: ImageSize, latent_dim: int, hidden: Sequence[int] = (256, 256)):
        super().__init__()
        self.shape, self.latent_dim = _image_shape(size), as_int(latent_dim, "latent_dim", minimum=1)
        self.linears = _linears([math.prod(self.shape), *hidden, 2 * self.latent_dim])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, C, H, W) to mean and log-variance, each (B, M)."""
        return _head(self.linears, _check_images(x, self.shape).flatten(1))


class MLPDecoder(nn.Module):
    """Codes through linear layers of widths ``hidden``, in the order given, to logits of the image ``size``.

    ``activation`` is applied after every layer but the last.
    """

    __constants__ = ("shape", "activation")  # what weights of the same shapes can differ in

    def __init__(
        self,
        size: ImageSize,
        latent_dim: int,
        hidden: Sequence[int] = (256, 256),
        activation: Callable[[torch.Tensor], torch.Tensor] = torch.relu,
    ):
        super().__init__()
        self.shape, self.latent_dim = _image_shape(size), as_int(latent_dim, "latent_dim", minimum=1)
        self.linears = _linears([self.latent_dim, *hidden, math.prod(self.shape)])
        self.activation = activation

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Codes (B, M) to logits (B, C, H, W)."""
        h = _check_codes(z, self.latent_dim)
        for linear in self.linears[:-1]:
            h = self.activation(linear(h))
        return self.linears[-1](h).unflatten(1, self.shape)


class FullyConnectedEncoder(MLPEncoder):
    """4096-1200-1200-2M with ReLU: 6,381,620 parameters for 10 latents.

    Higgins et al., arXiv 1606.05579, and row 1 of Table 1 of "beta-VAE", ICLR 2017 (2D shapes).
    """

    def __init__(self, latent_dim: int = 10):
        super().__init__(64, latent_dim, (1200, 1200))


class FullyConnectedDecoder(MLPDecoder):
    """M-1200-1200-1200-4096 with tanh: 7,814,896 parameters for 10 latents. Same source."""

    def __init__(self, latent_dim: int = 10):
        super().__init__(64, latent_dim, (1200, 1200, 1200), torch.tanh)


def initialise(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw every weight and bias anew, in place, uniform within ``1 / sqrt(fan)``; returns ``model``.

    This is PyTorch's default rule, with its ``fan`` (the size of ``weight[0]``: inputs of a linear
    layer or convolution, outputs of a transposed one), from an explicit CPU ``generator``.
    """
    as_generator(generator)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            bound = 1.0 / math.sqrt(module.weight[0].numel())
            with torch.no_grad():
                for value in (module.weight, module.bias):
                    value.copy_((2.0 * torch.rand(value.shape, generator=generator) - 1.0) * bound)
    return model


def burgess_vae(latent_dim: int = 10, img_channels: int = 1, size: int = 64, *, generator: torch.Generator) -> VAE:
    """The convolutional network of Burgess et al. with weights drawn from ``generator`` (CPU)."""
    return _drawn(
        lambda: VAE(BurgessEncoder(img_channels, latent_dim, size), BurgessDecoder(img_channels, latent_dim, size)),
        generator,
    )


def fc_vae(latent_dim: int = 10, *, generator: torch.Generator) -> VAE:
    """The fully connected network for 64x64 sprites with weights drawn from ``generator`` (CPU)."""
    return _drawn(lambda: VAE(FullyConnectedEncoder(latent_dim), FullyConnectedDecoder(latent_dim)), generator)


def mlp_vae(size: ImageSize, latent_dim: int, hidden: Sequence[int] = (256, 256), *, generator: torch.Generator) -> VAE:
    """A small ReLU network for demos, decoder mirrored, with weights drawn from ``generator`` (CPU).

    ``size`` is the side of a square image of one channel, or (channels, height, width).
    """
    hidden = tuple(hidden)
    return _drawn(
        lambda: VAE(MLPEncoder(size, latent_dim, hidden), MLPDecoder(size, latent_dim, hidden[::-1])), generator
    )


def he_vae(size: ImageSize, latent_dim: int, hidden: Sequence[int], source: torch.Generator) -> VAE:
    """An :func:`mlp_vae` with weights of variance ``2 / inputs``, which keeps a ReLU network's signal from fading.

    The library's own start has a sixth of that variance. He et al., arXiv 1502.01852.
    """
    model = mlp_vae(size, latent_dim, hidden, generator=source)
    with torch.no_grad():
        for linear in (*model.encoder.linears, *model.decoder.linears):
            linear.weight.mul_(math.sqrt(6.0))
    return model


def _drawn(make: Callable[[], VAE], generator: torch.Generator) -> VAE:
    """A model whose weights come from ``generator``; torch's global generator is not touched."""
    with torch.device("meta"):
        model = make()
    return initialise(model.to_empty(device="cpu"), generator)


def _linears(widths: Sequence[int]) -> nn.ModuleList:
    for width in widths:
        as_int(width, "a layer's width", minimum=1)
    return nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))


def _head(linears: nn.ModuleList, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """ReLU layers, then a linear one whose outputs are cut into means and log-variances."""
    for linear in linears[:-1]:
        h = torch.relu(linear(h))
    mu, logvar = linears[-1](h).chunk(2, dim=1)
    return mu, logvar


def _geometry(
    latent_dim: int, img_channels: int, size: int, channels: Sequence[int]
) -> tuple[int, tuple[int, int, int], int]:
    """(latents, image shape, side of the smallest feature map), all checked."""
    latent_dim = as_int(latent_dim, "latent_dim", minimum=1)
    img_channels = as_int(img_channels, "img_channels", minimum=1)
    size = as_int(size, "size", minimum=1)
    if not channels:
        raise ValueError("channels is empty; give the filters of at least one convolution.")
    for width in channels:
        as_int(width, "a convolution's number of filters", minimum=1)
    side, rest = divmod(size, 2 ** len(channels))
    if rest:
        raise ValueError(
            f"size must be divisible by {2 ** len(channels)} for {len(channels)} halvings, got {size}; "
            "give fewer channels or resize the images."
        )
    return latent_dim, (img_channels, size, size), side


def _burgess_channels(size: int) -> tuple[int, ...]:
    if size not in (64, 32):
        raise ValueError(f"size must be 64 or 32, got {size!r}; use ConvEncoder and ConvDecoder for other sizes.")
    return (32,) * (4 if size == 64 else 3)


def _image_shape(size: ImageSize) -> tuple[int, int, int]:
    shape = (1, size, size) if isinstance(size, int) else tuple(size)
    if len(shape) != 3:
        raise ValueError(f"size must be a side or (channels, height, width), got {size!r}.")
    return tuple(as_int(n, "size", minimum=1) for n in shape)


def _check_images(x: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    check_tensor(x, "images")
    if x.ndim != 4 or tuple(x.shape[1:]) != shape:
        raise ValueError(f"images must be (B, {', '.join(map(str, shape))}), got {tuple(x.shape)}; resize or reshape.")
    return x


def _check_codes(z: torch.Tensor, latent_dim: int) -> torch.Tensor:
    check_tensor(z, "codes")
    if z.ndim != 2 or z.shape[1] != latent_dim:
        raise ValueError(
            f"codes must be (B, {latent_dim}), got {tuple(z.shape)}; the decoder has {latent_dim} latents."
        )
    return z


def freeze(module: nn.Module) -> nn.Module:
    """``module`` in eval mode, no parameter asking for a gradient or holding one; changed in place and returned."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch module, got {type(module).__name__}.")
    module.zero_grad(set_to_none=True)
    return module.eval().requires_grad_(False)
