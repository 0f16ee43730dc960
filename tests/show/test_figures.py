"""Figures: one look whatever the reader's settings, and sharp enough for a screen with two dots a pixel."""

import io
import struct

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.figure import Figure
from PIL import Image

from workings.show import figures


@pytest.fixture(autouse=True)
def own_settings():
    with mpl.rc_context():
        yield
    plt.close("all")


def drawn():
    figures.use_style()
    figure, axes = plt.subplots()
    axes.plot([0, 1], [1, 0], label="a line")
    axes.legend()
    return figure


def dots(figure):
    return Image.open(io.BytesIO(figures.png_bytes(figure))).convert("RGB").tobytes()


def test_a_reader_s_matplotlibrc_changes_no_figure():
    plain = dots(drawn())
    strange = {"axes.facecolor": "black", "lines.marker": "o", "legend.loc": "lower left", "text.color": "red"}
    mpl.rcParams.update(strange | {"savefig.transparent": True, "axes.xmargin": 0.4, "path.sketch": (1, 100, 2)})
    assert dots(drawn()) == plain


def test_a_stored_figure_has_two_dots_for_every_pixel_of_the_page_and_says_so():
    png, said = figures._shown(drawn())
    size = struct.unpack(">II", png[16:24])
    assert said["width"] == 598 and size == (2 * said["width"], 2 * said["height"])
    at = png.index(b"pHYs")
    across, _, unit = struct.unpack(">IIB", png[at + 4 : at + 13])
    assert unit == 1 and round(across * 0.0254) == figures.SHARP and at < png.index(b"IDAT")
    assert len(png) < 40_000, "twice as sharp in each direction, and still light"


def test_a_notebook_stores_png_alone_whatever_the_user_s_ipython_asks_for(monkeypatch):
    shell = InteractiveShell.instance()
    monkeypatch.setattr(shell, "run_line_magic", lambda *_: None)
    formatters = shell.display_formatter.formatters
    formatters["image/svg+xml"].for_type(Figure, lambda figure: "<svg/>")
    formatters["image/jpeg"].for_type(Figure, lambda figure: b"jpeg")
    figures.use_style()
    data, about = shell.display_formatter.format(drawn())
    assert set(data) == {"image/png", "text/plain"} and about["image/png"]["width"] == 598
    InteractiveShell.clear_instance()
