"""The former place of :mod:`workings.disentangling.dsprites_renderer`, for imports that still name it."""

from workings.disentangling.dsprites_renderer import SHAPES, block_average, render_dsprites

__all__ = ["SHAPES", "block_average", "render_dsprites"]
