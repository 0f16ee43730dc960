"""One look for every figure: readable on a phone, safe for colour-blind readers, legible in grey.

``use_style()`` is called once at the top of a notebook. Colours come from Okabe and Ito's palette,
ordered so that neighbours differ in lightness too; lines differ in dash as well as in colour.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Name -> colour. Luminance (0 dark, 1 light) in the comment: what a grey print keeps.
COLOURS = {
    "ink": "#1b1f24",  # 0.12
    "blue": "#0072b2",  # 0.38
    "orange": "#e69f00",  # 0.67
    "green": "#009e73",  # 0.50
    "red": "#c8501e",  # 0.44
    "sky": "#56b4e9",  # 0.65
    "purple": "#a8558a",  # 0.46
    "grey": "#6b7280",  # 0.45
    "pale": "#d9dee5",  # 0.87
}

WIDTH = 4.6  # inches, with 10 point text: legible when a phone shows it 350 pixels wide
PIXELS_AN_INCH = 130  # of a page, where a figure of WIDTH is 598 pixels wide
SHARP = 2 * PIXELS_AN_INCH  # dots an inch of a stored figure: two for every pixel, as sharp screens have them


def use_style() -> None:
    """Set the book's look (idempotent; touches rcParams and, in a notebook, how figures are shown).

    Starts from Matplotlib's own defaults, so that a reader's ``matplotlibrc`` changes no figure. In a notebook a figure
    is stored as a PNG and in no other form, whatever the reader's IPython settings ask for.
    """
    import matplotlib as mpl
    from cycler import cycler

    mpl.style.use("default")

    order = ["blue", "orange", "green", "red", "purple", "sky"]
    dashes = ["-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (8, 2))]
    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.1),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlepad": 8,
            "axes.labelsize": 10,
            "axes.labelcolor": COLOURS["ink"],
            "axes.edgecolor": COLOURS["grey"],
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e8ebef",
            "grid.linewidth": 0.8,
            "axes.axisbelow": True,
            "xtick.color": COLOURS["ink"],
            "ytick.color": COLOURS["ink"],
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "lines.linewidth": 2.0,
            "lines.markersize": 5,
            "errorbar.capsize": 3,
            "svg.hashsalt": "workings",
            "axes.prop_cycle": cycler(color=[COLOURS[name] for name in order]) + cycler(linestyle=dashes),
        }
    )
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None:
        from matplotlib.figure import Figure

        shell.run_line_magic("matplotlib", "inline")
        for formatter in shell.display_formatter.formatters.values():
            if Figure in formatter:
                formatter.pop(Figure)
        shell.display_formatter.formatters["image/png"].for_type(Figure, _shown)


def staircase_panel(ax: Axes, edges: np.ndarray, heights: dict[str, np.ndarray], labels: dict[str, str]) -> None:
    """Draw a point staircase, filled, and where given its lower and upper ones, on ``ax``.

    ``edges`` (cells + 1,); ``heights`` maps "point", "lower", "upper" to (cells,); ``labels`` are the legend's words.
    """
    looks = {"point": ("blue", "-"), "lower": ("green", "--"), "upper": ("red", ":")}
    ax.stairs(heights["point"], edges, fill=True, color=COLOURS["sky"], alpha=0.45)
    for name, height in heights.items():
        colour, dash = looks[name]
        ax.stairs(height, edges, color=COLOURS[colour], linestyle=dash, linewidth=2, label=labels[name])


def png_bytes(figure: Figure, *, dpi: int = SHARP, colours: int = 64) -> bytes:
    """``figure`` as a small PNG: drawn, reduced to a palette of ``colours``, and closed.

    A palette of 64 colours keeps line art crisp at about a third of the bytes.
    """
    import matplotlib.pyplot as plt

    if not 2 <= colours <= 256:
        raise ValueError(f"colours must be in [2, 256], got {colours}.")
    data = _encode(figure, dpi, colours)
    plt.close(figure)
    return data


def _shown(figure: Figure) -> tuple[bytes, dict[str, int]]:
    """``figure`` as a notebook stores it: twice as many dots as it has pixels on the page, and its size there."""
    width, height = (round(PIXELS_AN_INCH * float(side)) for side in figure.get_size_inches())
    return _encode(figure), {"width": width, "height": height}


def _encode(figure: Figure, dpi: int = SHARP, colours: int = 96) -> bytes:
    from PIL import Image

    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=dpi)
    raw.seek(0)
    small = Image.open(raw).convert("RGB").quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    out = io.BytesIO()
    small.save(out, format="png", optimize=True, dpi=(dpi, dpi))  # the dots an inch tell a page how large to show it
    return out.getvalue()
