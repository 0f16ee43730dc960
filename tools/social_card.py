"""Draw the picture that stands beside a shared address of the book: ``book/assets/card.png``, 1200 x 630.

    python tools/social_card.py        (in the full environment)

The chart is the first figure of the chapter on prediction sets, computed here with the chapter's kernels.
"""

import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from sklearn.datasets import load_diabetes

from workings.show import figures
from workings.uncertainty.conformal import conformal_threshold

ROOT = Path(__file__).resolve().parent.parent
CARD = ROOT / "book" / "assets" / "card.png"
INK, BLUE, SKY, GREY = (figures.COLOURS[name] for name in ("ink", "blue", "sky", "grey"))


def band(axes):
    """Split conformal prediction on 442 patients, as in the chapter: fit, calibrate on 100, show the rest."""
    data, progression = load_diabetes(return_X_y=True, scaled=False)
    bmi = data[:, 2]
    order = np.random.default_rng(0).permutation(len(bmi))
    fit, held, shown = order[:142], order[142:242], order[242:]
    line = np.polyfit(bmi[fit], progression[fit], 1)
    tau = conformal_threshold(np.abs(progression[held] - np.polyval(line, bmi[held])), 0.1)
    grid = np.array([bmi.min(), bmi.max()])
    middle = np.polyval(line, grid)
    inside = np.abs(progression[shown] - np.polyval(line, bmi[shown])) <= tau
    axes.fill_between(grid, middle - tau, middle + tau, color=SKY, alpha=0.28, linewidth=0)
    axes.plot(grid, middle, color=BLUE, linewidth=3)
    axes.scatter(bmi[shown][inside], progression[shown][inside], s=22, color=INK, linewidth=0, alpha=0.8)
    axes.scatter(
        bmi[shown][~inside], progression[shown][~inside], s=46, marker="x", color=figures.COLOURS["red"], linewidth=2
    )
    axes.set(xlim=(grid[0], grid[1]), ylim=(-45, 415), xticks=[], yticks=[])
    axes.grid(False)
    axes.set_xlabel("body mass index", color=GREY, fontsize=17, labelpad=8)
    axes.set_ylabel("disease, a year later", color=GREY, fontsize=17, labelpad=8)
    return inside.mean()


def draw():
    """The card as a Matplotlib figure of 1200 x 630 pixels."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figures.use_style()
    with plt.rc_context({"figure.constrained_layout.use": False}):
        figure = plt.figure(figsize=(12, 6.3), dpi=100, facecolor="white")
    figure.patches.append(plt.Rectangle((0, 0), 0.012, 1, transform=figure.transFigure, color=BLUE, linewidth=0))
    logo = figure.add_axes((0.055, 0.755, 0.0735, 0.14))  # the book's sign: stairs on blue
    logo.set(xlim=(0, 32), ylim=(32, 0))
    logo.axis("off")
    corner = matplotlib.patches.FancyBboxPatch(
        (2, 2), 28, 28, boxstyle="round,pad=2,rounding_size=6", color=BLUE, linewidth=0
    )
    logo.add_patch(corner)
    logo.plot(
        [6, 11, 11, 16, 16, 21, 21], [24, 24, 18, 18, 12, 12, 7], color="white", linewidth=6, solid_joinstyle="round"
    )
    words = {"color": INK, "va": "baseline", "ha": "left"}
    figure.text(0.145, 0.785, "Workings", fontsize=54, fontweight="bold", **words)
    for row, line in enumerate(("Machine-learning papers,", "taken apart, derived again", "and run again.")):
        figure.text(0.055, 0.60 - 0.083 * row, line, fontsize=28, **words)
    axes = figure.add_axes((0.585, 0.14, 0.375, 0.75))
    share = band(axes)
    said = f"The band was asked to hold 90% of patients.\nOf 200 new ones it held {share:.1%}."
    figure.text(0.055, 0.125, said, fontsize=17, linespacing=1.6, **(words | {"color": GREY}))
    return figure


def main():
    figure, raw = draw(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=100)
    Image.open(raw).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(CARD, optimize=True)
    print(f"{CARD.relative_to(ROOT)}: {CARD.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
