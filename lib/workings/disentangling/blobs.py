"""Pictures of one Gaussian blob: two factors, its x and its y, and nothing else."""

from __future__ import annotations

import torch

from workings.checks import as_tensor, values_hidden


def blob_images(position: torch.Tensor, width: float = 1.5) -> torch.Tensor:
    """Gaussian blobs (N, 1, 16, 16) with peak 1 at ``position`` (N, 2), (x, y) in [0, 1].

    The centre stands 3.2 pixels from the rim at 0 and at 1; ``width`` is the blob's standard deviation in pixels. The
    form of Burgess et al., arXiv 1804.03599, Figure 2. Raises ``ValueError`` for another shape, a position outside
    [0, 1] or a width that is not above 0.
    """
    position = as_tensor(position, "position")
    if position.ndim != 2 or position.shape[1] != 2:
        raise ValueError(f"position must be (N, 2), columns x and y, got {tuple(position.shape)}.")
    if len(position) and not values_hidden(position) and not bool(((position >= 0) & (position <= 1)).all()):
        raise ValueError("position must lie in [0, 1]; divide pixel coordinates by the size of the picture.")
    if not width > 0:
        raise ValueError(f"width must be above 0 pixels, got {width!r}.")
    pixel = torch.arange(16) + 0.5
    centre = 16 * (0.2 + 0.6 * position)
    profile = torch.exp(-((pixel - centre[..., None]) ** 2) / (2 * width**2))  # (N, 2, 16)
    return (profile[:, 1, :, None] * profile[:, 0, None, :])[:, None]
