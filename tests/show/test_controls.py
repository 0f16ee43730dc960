"""Controls: the frames, their weight, their names, and both of their forms."""

import html
import json
import re
from functools import partial

import matplotlib.pyplot as plt
import pytest

from workings.show.controls import Axis, Control, Frame
from workings.show.figures import COLOURS, png_bytes, use_style

DOT = b"\x89PNG\r\n\x1a\n" + b"0" * 50


def frames(count):
    return [Frame(DOT + bytes([i]), f"a picture of the value number {i}") for i in range(count)]


def two_axes():
    axes = [Axis("rule", ("mask", "identity"), 1), Axis("fraction", ("0.25", "0.5", "1"), 2)]
    return Control("two", axes, frames(6), caption="Two things to move.")


def test_the_starting_frame_is_the_only_one_visible_without_script():
    page = two_axes().to_html()
    shown = [bool("display:block" in tag) for tag in re.findall(r"<img[^>]*>", page)]
    assert shown == [False, False, False, False, False, True]
    assert '<div class="wk-bar" hidden>' in page and "Shown here: rule: identity; fraction: 1." in page


def test_every_slider_has_a_label_a_spoken_value_and_its_steps():
    page = two_axes().to_html()
    for i, axis in enumerate(two_axes().axes):
        assert f'<label for="two-{i}">{axis.label}</label>' in page
        found = re.search(
            rf'id="two-{i}" min="0" max="(\d)" step="1" value="(\d)" aria-valuetext="(\w.*?)" data-names="(.*?)"', page
        )
        assert int(found[1]) == len(axis.values) - 1 and int(found[2]) == axis.start
        assert found[3] == axis.values[axis.start] and json.loads(html.unescape(found[4])) == list(axis.values)


def test_markup_and_script_cost_under_three_kilobytes():
    control = Control("one", [Axis("m", tuple("1234567"))], frames(7), caption="One slider.")
    assert len(control.to_html()) - control.weight < 3_000


def test_text_that_could_be_markup_is_escaped():
    axis = Axis("<b>&", ('"q"', "<i>"))
    page = Control("safe", [axis], frames(2), caption="<script>").to_html()
    assert "<b>&" not in page and "<i>" not in page and "<figcaption>&lt;script&gt;" in page


def test_the_live_widget_moves_to_the_frame_of_both_sliders():
    box = two_axes().to_widget()
    first, second, picture = box.children[:3]
    every = frames(6)
    assert every[5].src in picture.value and every[5].alt in picture.value
    first.index, second.index = 0, 1
    assert every[1].src in picture.value and every[5].src not in picture.value


def lazy(drawn, **options):
    """A control of six frames that notes in ``drawn`` which were drawn."""

    def draw(at):
        drawn.append(at)
        return frames(6)[at]

    axes = [Axis("rule", ("mask", "identity"), 1), Axis("fraction", ("0.25", "0.5", "1"), 2)]
    return Control("two", axes, [partial(draw, at) for at in range(6)], caption="Two things to move.", **options)


def test_a_frame_that_is_a_function_is_drawn_when_it_is_asked_for_and_once(monkeypatch):
    monkeypatch.delenv("WORKINGS_RECORD", raising=False)
    drawn = []
    control = lazy(drawn, live="one")
    assert drawn == [] and repr(control) == "Control two: rule (2) x fraction (3), 6 frames"
    page = control.to_html()
    assert drawn == [5] and page.count("<img") == 1 and "Shown here: rule: identity; fraction: 1." in page
    assert 'data-live="one"' in page and "<input" not in page and "<script" not in page
    box = control.to_widget()
    box.children[1].index = 0
    box.children[1].index = 2
    assert drawn == [5, 3]
    assert control.frames == tuple(frames(6)) and sorted(drawn) == [0, 1, 2, 3, 4, 5]


def test_without_a_live_figure_the_page_has_every_frame_whoever_draws_it():
    assert lazy([]).to_html() == two_axes().to_html()


def test_where_a_page_is_recorded_every_frame_is_drawn_and_weighed(monkeypatch):
    monkeypatch.setenv("WORKINGS_RECORD", "1")
    drawn = []
    lazy(drawn, live="one").to_html()
    assert sorted(drawn) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="budget"):
        lazy([], live="one", budget=100).to_html()


def test_what_draws_no_frame_is_named():
    control = Control("bad", [Axis("m", ("1", "2"))], [lambda: DOT, lambda: DOT], caption="", live="one")
    with pytest.raises(ValueError, match="frame 0 of control 'bad' must be drawn as a Frame, got bytes"):
        control.to_html()


def test_the_text_form_never_changes():
    assert repr(two_axes()) == "Control two: rule (2) x fraction (3), 6 frames"
    assert set(two_axes()._repr_mimebundle_()) == {"text/plain", "text/html"}  # no kernel here: no widget view


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Axis("m", ("1",)), "at least 2"),
        (lambda: Axis("m", ("1", "2"), 2), "outside 0..1"),
        (lambda: Frame(b"GIF", "a long enough description"), "not a PNG"),
        (lambda: Frame(DOT, "short"), "too short"),
        (lambda: Control("Bad Name", [Axis("m", ("1", "2"))], frames(2), caption=""), "lower-case"),
        (lambda: Control("none", [], frames(2), caption=""), "at least one Axis"),
        (lambda: Control("few", [Axis("m", ("1", "2", "3"))], frames(2), caption=""), "missing"),
        (lambda: Control("many", [Axis("m", ("1", "2"))], frames(3), caption=""), "1 too many"),
        (lambda: Control("heavy", [Axis("m", ("1", "2"))], frames(2), caption="", budget=100), "budget"),
    ],
)
def test_a_mistake_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_frame_from_a_figure_is_small_and_closes_the_figure():
    use_style()
    figure, axes = plt.subplots()
    axes.plot([0, 1], [0, 1])
    data = png_bytes(figure)
    assert data.startswith(b"\x89PNG") and len(data) < 40_000 and not plt.get_fignums()
    with pytest.raises(ValueError, match="colours"):
        png_bytes(plt.figure(), colours=1)
    plt.close("all")


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_line_colours_stand_out_from_white_paper():
    # WCAG 2.1 asks 3:1 for graphics; the light ones are used for fills and beside a darker line.
    for name in ("ink", "blue", "green", "red", "purple", "grey"):
        assert 1.05 / (luminance(COLOURS[name]) + 0.05) >= 3.0, name
